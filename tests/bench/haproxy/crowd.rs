//! The clients of a run, and a row for what they saw.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::load::{Counts, Kind, Load};
use crate::testbed::clients;

const KINDS: [Kind; 4] = [Kind::KeepAlive, Kind::Close, Kind::Slow, Kind::Streaming];

/// Fourteen clients of each service, that never ask twice for the same answer.
pub(crate) struct Crowd {
    loads: Vec<Load>,
    since: Instant,
}

impl Crowd {
    pub(crate) fn at(fronts: &[SocketAddr]) -> Crowd {
        let mut all = clients(2, Kind::KeepAlive, "/", 15);
        all.extend(clients(2, Kind::Close, "/", 25));
        for path in ["/slow?ms=200", "/slow?ms=600", "/slow?ms=1200", "/slow?ms=2000"] {
            all.extend(clients(2, Kind::Slow, path, 10));
        }
        // HAProxy would hide a failure of the others by sending a GET again.
        all.iter_mut().step_by(2).for_each(|client| client.method = "POST");
        all.extend(clients(2, Kind::Streaming, "/stream?chunks=15&ms=100", 10));
        let loads = fronts.iter().map(|front| Load::start(*front, all.clone())).collect();
        Crowd { loads, since: Instant::now() }
    }

    /// Each client ends the request that it is at.
    pub(crate) fn leave(self, name: String) -> Row {
        let counts = self.loads.into_iter().map(Load::stop);
        let counts = counts.fold(Counts::default(), |all, one| all + one);
        Row { name, counts, seconds: self.since.elapsed().as_secs_f64() }
    }
}

pub(crate) struct Row {
    name: String,
    counts: Counts,
    seconds: f64,
}

impl Row {
    pub(crate) fn of(name: String, counts: Counts, took: Duration) -> Row {
        Row { name, counts, seconds: took.as_secs_f64() }
    }

    pub(crate) fn failed(&self) -> u64 {
        self.counts.failed()
    }
}

pub(crate) fn print<'a>(rows: impl Iterator<Item = &'a Row>) {
    print!("{:<40}", "");
    KINDS.iter().for_each(|kind| print!(" {kind:>13}"));
    println!(" {:>14}  seconds", "all");
    for Row { name, counts, seconds } in rows {
        print!("{name:<40}");
        for kind in KINDS {
            let metrics_sink = counts.of(kind);
            print!(" {:>13}", format!("{} / {}", metrics_sink.failed(), metrics_sink.sent()));
        }
        println!(" {:>14} {seconds:>8.0}", format!("{} / {}", counts.failed(), counts.sent()));
        let mut classes = BTreeMap::new();
        for (failure, times) in
            counts.kinds.values().flat_map(|metrics_sink| &metrics_sink.failures)
        {
            *classes.entry(failure).or_insert(0) += times;
        }
        if !classes.is_empty() {
            let classes: Vec<String> =
                classes.iter().map(|(failure, times)| format!("{times} {failure}")).collect();
            println!("  of which {}", classes.join(", "));
        }
    }
}
