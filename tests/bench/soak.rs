//! Whether anything grows: the daemon with four services under load, scaled, reloaded, restarted
//! and with replicas that are killed, for an hour. Each half minute is a sample; at the end the
//! median of the last third of each is compared with that of the third before.
//!
//! `PLIMSOLL_SOAK_MINUTES` (60) makes it shorter or longer. What clients lose is shown and not
//! judged: a replica that is killed takes what it had in hand with it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may panic")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod account;
#[path = "haproxy/crowd.rs"]
mod crowd;
#[path = "../common/daemon.rs"]
mod daemon;
#[path = "haproxy/fleet.rs"]
mod fleet;
#[path = "../common/load.rs"]
mod load;
#[allow(dead_code, reason = "made for tests, which use more of it")]
#[path = "../it/raw_http.rs"]
mod raw_http;
#[path = "../e2e/testbed.rs"]
mod testbed;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::crowd::Crowd;
use crate::daemon::{polled, secs};
use crate::fleet::Fleet;

const EVERY: Duration = Duration::from_secs(30);
/// Pools and caches are full by then; earlier samples are shown and not judged.
const WARM_UP: usize = 2;
/// A third of the judged samples.
const THIRD_LEAST: usize = 2;

/// What is sampled, and by how much the last third may exceed the one before: a share in percent,
/// and a number that is allowed anyway, because threads and processes come and go.
const SERIES: [(&str, u64, u64); 7] = [
    ("RSS KiB", 5, 256),
    ("threads", 10, 4),
    ("descriptors", 10, 6),
    ("HAProxy processes", 0, 2),
    ("HAProxy RSS KiB", 10, 1024),
    ("containers", 0, 4),
    ("log bytes", 25, 4096),
];

type Sample = [u64; SERIES.len()];

fn main() -> ExitCode {
    let minutes = std::env::var("PLIMSOLL_SOAK_MINUTES").unwrap_or_else(|_| "60".to_owned());
    let minutes: u64 = minutes.parse().expect("PLIMSOLL_SOAK_MINUTES is a whole number");
    let fleet = Fleet::start();
    let before = fleet.totals();
    let crowd = Crowd::of_one_each(fleet.fronts());
    let over = AtomicBool::new(false);
    let samples = thread::scope(|scope| {
        let busy = scope.spawn(|| unrest(&fleet, &over));
        let samples = watch(&fleet, secs(60 * minutes), || busy.is_finished());
        over.store(true, Ordering::Relaxed);
        busy.join().expect("scaling went well");
        samples
    });
    let row = crowd.leave(format!("{minutes} minutes"));
    row.print_by_kind();
    fleet.totals().print_since(&before);
    judge(&samples)
}

/// Orders that each change something, until it is over.
fn unrest(fleet: &Fleet, over: &AtomicBool) {
    let is_over = || over.load(Ordering::Relaxed);
    for round in 0.. {
        let lane = fleet.lane(round);
        let next: [&dyn Fn(); 4] = [
            &|| fleet.up_and_down(lane),
            &|| fleet.force_reload(),
            &|| fleet.restart(lane),
            &|| fleet.kill_one(lane),
        ];
        for event in next {
            if is_over() {
                return;
            }
            event();
            polled(secs(2), Duration::from_millis(100), is_over);
        }
    }
}

fn watch(fleet: &Fleet, length: Duration, has_failed: impl Fn() -> bool) -> Vec<Sample> {
    let begun = Instant::now();
    let mut samples = Vec::new();
    let mut log_bytes = fleet.log_bytes();
    print!("seconds");
    SERIES.iter().for_each(|(name, ..)| print!("  {name}"));
    println!();
    while begun.elapsed() < length && !has_failed() {
        let end = begun + EVERY * (samples.len() as u32 + 1);
        polled(EVERY, EVERY.min(secs(1)), || end <= Instant::now() || has_failed());
        let sample = sample(fleet, &mut log_bytes);
        print!("{:>7}", begun.elapsed().as_secs());
        SERIES.iter().zip(&sample).for_each(|((name, ..), n)| print!("  {n:>0$}", name.len()));
        println!();
        samples.push(sample);
    }
    samples
}

fn sample(fleet: &Fleet, log_bytes: &mut u64) -> Sample {
    let pid = fleet.daemon_pid();
    let before = std::mem::replace(log_bytes, fleet.log_bytes());
    let haproxy = fleet.testbed().haproxy_pids();
    [
        account::status(pid, "VmRSS:"),
        account::status(pid, "Threads:"),
        account::open_files(pid),
        haproxy.len() as u64,
        account::status(fleet.testbed().haproxy_pid(), "VmRSS:"),
        fleet.containers() as u64,
        *log_bytes - before,
    ]
}

fn judge(samples: &[Sample]) -> ExitCode {
    let judged = &samples[WARM_UP.min(samples.len())..];
    let third = judged.len() / 3;
    if third < THIRD_LEAST {
        println!("{} samples are too few to judge; 4 minutes are enough", samples.len());
        return ExitCode::FAILURE;
    }
    let last = &judged[judged.len() - third..];
    let before = &judged[judged.len() - 2 * third..judged.len() - third];
    let mut growing = 0;
    println!("medians of the last third and of the one before, and the most that is allowed");
    for (n, (name, percent, free)) in SERIES.into_iter().enumerate() {
        let (before, last) = (median(before, n), median(last, n));
        let most = most(before, percent, free);
        let word = if last <= most { "flat" } else { "grows" };
        growing += usize::from(most < last);
        println!("{name:<18} {before:>9} {last:>9} {most:>9}  {word}");
    }
    if growing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn most(before: u64, percent: u64, free: u64) -> u64 {
    before + (before * percent / 100).max(free)
}

fn median(samples: &[Sample], n: usize) -> u64 {
    let mut values: Vec<u64> = samples.iter().map(|sample| sample[n]).collect();
    values.sort_unstable();
    values[values.len() / 2]
}
