//! The clients of a run, and a table of what they saw.

#![allow(dead_code, reason = "`haproxy` and `soak` each use a part of it")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::load::{Client, Counts, Kind, Load};
use crate::testbed::clients;

const KINDS: [Kind; 6] =
    [Kind::KeepAlive, Kind::Close, Kind::Slow, Kind::Streaming, Kind::Post, Kind::Http2];

/// Sixteen clients of each service, that never ask twice for the same answer.
pub(crate) struct Crowd {
    loads: Vec<Load>,
    since: Instant,
}

impl Crowd {
    pub(crate) fn at(fronts: impl Iterator<Item = SocketAddr>) -> Crowd {
        let mut all = clients(3, Kind::KeepAlive, "/", 0);
        all.extend(clients(2, Kind::Close, "/", 0));
        all.extend(clients(2, Kind::Slow, "/slow?ms=600", 10));
        all.extend(clients(1, Kind::Slow, "/slow?ms=2000", 10));
        // HAProxy would hide a failure of the others by sending a GET again.
        let mut posts = clients(2, Kind::Slow, "/echo?pieces=5&ms=300", 10);
        posts.extend(clients(2, Kind::Post, "/echo", 0));
        posts.iter_mut().for_each(|client| client.method = "POST");
        all.extend(posts);
        all.extend(clients(2, Kind::Streaming, "/stream?chunks=15&ms=100", 10));
        let mut both = clients(2, Kind::Http2, "/", 5);
        both[0].method = "POST";
        "/echo".clone_into(&mut both[0].path);
        all.extend(both);
        Crowd::of(fronts, &all)
    }

    /// One client of each kind and service, which leave the host room.
    pub(crate) fn of_one_each(fronts: impl Iterator<Item = SocketAddr>) -> Crowd {
        let mut all = clients(1, Kind::KeepAlive, "/", 20);
        all.extend(clients(1, Kind::Close, "/", 40));
        all.extend(clients(1, Kind::Slow, "/slow?ms=600", 10));
        all.extend(clients(1, Kind::Streaming, "/stream?chunks=15&ms=100", 10));
        let mut both = clients(1, Kind::Post, "/echo", 20);
        both.extend(clients(1, Kind::Http2, "/echo", 20));
        both.iter_mut().for_each(|client| client.method = "POST");
        all.extend(both);
        Crowd::of(fronts, &all)
    }

    /// These clients at each front.
    fn of(fronts: impl Iterator<Item = SocketAddr>, clients: &[Client]) -> Crowd {
        let loads = fronts.map(|front| Load::start(front, clients.to_vec())).collect();
        Crowd { loads, since: Instant::now() }
    }

    pub(crate) fn sent(&self) -> u64 {
        self.loads.iter().map(Load::sent).sum()
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
    pub(crate) counts: Counts,
    seconds: f64,
}

impl Row {
    pub(crate) fn of(name: String, counts: Counts, took: Duration) -> Row {
        Row { name, counts, seconds: took.as_secs_f64() }
    }

    pub(crate) fn failed(&self) -> u64 {
        self.counts.failed()
    }

    /// A line for each kind of client, and how the first of each that failed did so.
    pub(crate) fn print_by_kind(&self) {
        let Row { name, counts, seconds } = self;
        let each_second = counts.sent() as f64 / seconds;
        println!("{name}: {seconds:.0} s, {each_second:.0} requests each second");
        println!(
            "{:<12} {:>10} {:>8} {:>9} {:>9} {:>9}",
            "", "sent", "failed", "p50", "p99", "most"
        );
        let ms = |took: Duration| format!("{:.1} ms", took.as_secs_f64() * 1000.0);
        for kind in KINDS {
            let of = counts.of(kind);
            let (p50, p99) = (ms(of.latency.percentile(50)), ms(of.latency.percentile(99)));
            let (sent, failed, most) = (of.sent(), of.failed(), ms(of.slowest));
            println!("{kind:<12} {sent:>10} {failed:>8} {p50:>9} {p99:>9} {most:>9}");
            for (failure, times) in &of.failures {
                println!("  of which {times} {failure}");
            }
            if let Some(first) = &of.first_failure {
                println!("  the first: {first}");
            }
            if 0 < of.unprocessed {
                println!("  {} more were left to the next process by GOAWAY", of.unprocessed);
            }
        }
        println!("{:<12} {:>10} {:>8}", "all", counts.sent(), counts.failed());
    }
}

/// One line for each row: failed / sent.
pub(crate) fn print<'a>(rows: impl Iterator<Item = &'a Row>) {
    for Row { name, counts, seconds } in rows {
        print!("{name:<36} {seconds:>5.0} s ");
        for kind in KINDS {
            let of = counts.of(kind);
            if 0 < of.sent() {
                print!(" {kind} {} / {}", of.failed(), of.sent());
            }
        }
        println!();
        for (failure, times) in counts.kinds.values().flat_map(|of| &of.failures) {
            println!("  of which {times} {failure}");
        }
    }
}
