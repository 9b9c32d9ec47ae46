//! What earlier HAProxy processes cost, while long answers keep them up over many reloads.

use std::fs;

use crate::daemon::{reached, secs};
use crate::fleet::Fleet;
use crate::load::{Counts, Kind, Load};
use crate::testbed::clients;

/// A reload waits while so many earlier processes still finish.
pub(crate) const MOST: usize = 10;
const SAMPLES: u32 = 5;
/// An answer takes 12 s.
const LONG: &str = "/stream?chunks=120&ms=100";
/// One more at each reload up to here, so that each process has one of them when it gets the
/// signal to finish.
const CLIENTS: usize = 25;

pub(crate) struct Old {
    samples: Vec<Sample>,
    pub(crate) most: usize,
    counts: Counts,
    /// Until the last of them had ended, from when the last client had its answer.
    ended_ms: u128,
}

struct Sample {
    reloads: u32,
    processes: usize,
    current: Memory,
    /// Of all earlier ones together.
    old: Memory,
}

#[derive(Clone, Copy, Default)]
struct Memory {
    resident_kib: u64,
    /// What several processes share is counted in parts.
    share_kib: u64,
}

pub(crate) fn measure(fleet: &Fleet, reloads: u32) -> Old {
    let mut fronts = fleet.fronts().cycle().take(CLIENTS);
    let mut loads = Vec::new();
    let mut samples = Vec::new();
    let mut most = 0;
    for n in 1..=reloads {
        let long = |front| Load::start(front, clients(1, Kind::Streaming, LONG, 10));
        loads.extend(fronts.next().map(long));
        fleet.force_reload();
        let sample = sample(fleet, n);
        most = most.max(sample.processes);
        if n.is_multiple_of(reloads.div_ceil(SAMPLES)) || n == reloads {
            samples.push(sample);
        }
    }
    let counts = loads.into_iter().map(Load::stop).fold(Counts::default(), |all, one| all + one);
    let answered = std::time::Instant::now();
    let alone = reached(secs(60), || fleet.testbed().haproxy_pids().len() == 1);
    assert!(alone, "earlier processes do not end though nobody needs them");
    Old { samples, most, counts, ended_ms: answered.elapsed().as_millis() }
}

fn sample(fleet: &Fleet, reloads: u32) -> Sample {
    let current = fleet.testbed().haproxy_pid();
    let all = fleet.testbed().haproxy_pids().into_iter();
    let old: Vec<Memory> = all.filter(|pid| *pid != current).filter_map(memory).collect();
    let sum = old.iter().fold(Memory::default(), |sum, one| Memory {
        resident_kib: sum.resident_kib + one.resident_kib,
        share_kib: sum.share_kib + one.share_kib,
    });
    let current = memory(current).expect("it serves");
    Sample { reloads, processes: old.len(), current, old: sum }
}

/// `None` when it has ended meanwhile.
fn memory(pid: u32) -> Option<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let kib = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(Memory { resident_kib: kib("Rss:")?, share_kib: kib("Pss:")? })
}

pub(crate) fn print(old: &Old) {
    println!("earlier processes, kept up by answers of 12 s; memory in KiB (RSS, and PSS)");
    println!("reloads  processes  RSS all  PSS all  RSS each  the current one: RSS      PSS");
    for Sample { reloads, processes, current, old } in &old.samples {
        let each = old.resident_kib / u64::try_from((*processes).max(1)).unwrap();
        println!(
            "{reloads:>7} {processes:>10} {:>8} {:>8} {each:>9} {:>21} {:>8}",
            old.resident_kib, old.share_kib, current.resident_kib, current.share_kib
        );
    }
    println!(
        "{} at most at the same time; the last had ended {} ms after the last answer; \
         {} of {} answers lost",
        old.most,
        old.ended_ms,
        old.counts.failed(),
        old.counts.sent()
    );
}

impl Old {
    pub(crate) fn failed(&self) -> u64 {
        self.counts.failed()
    }
}
