//! What a service costs that sleeps.

use std::fs;

use crate::daemon::{Daemon, polled, secs};
use crate::sleep::kinds::{MIXED, Waiting};
use crate::sleep::{Dormitory, SLEEPY};

const FEW: usize = 5;
const MANY: usize = 55;
const KIB_MOST: u64 = 64;

/// Threads, and KiB of resident memory.
fn size(daemon: &Daemon) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let number = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).expect("a line");
        line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
    };
    (number("Threads:"), number("VmRSS:"))
}

#[test]
fn a_service_that_sleeps_costs_no_thread_and_little_memory() {
    let measure = |count: usize| {
        let mut dormitory = Dormitory::new("sleep-many");
        (1..count).for_each(|_| drop(dormitory.add(SLEEPY)));
        let daemon = dormitory.start(SLEEPY);
        // Some evaluations of all, so that what they need is there.
        let from = daemon.lines().len();
        (0..3).fold(from, |from, _| {
            daemon.wait_from(from, &["debug service="], secs(10));
            daemon.lines().len()
        });
        let mut least = size(&daemon);
        polled(secs(2), secs(1) / 10, || {
            let now = size(&daemon);
            least = (least.0.min(now.0), least.1.min(now.1));
            false
        });
        let all = dormitory.all();
        let failures = Waiting::start(MIXED.map(|ask| (ask, all[count - 1].1))).failures();
        assert!(failures.is_empty(), "{failures:#?}\n{:#?}", daemon.lines());
        least
    };
    let [few, many] = [FEW, MANY].map(measure);
    let each = many.1.saturating_sub(few.1) / (MANY - FEW) as u64;
    println!("{FEW} asleep: {few:?} threads and KiB, {MANY} asleep: {many:?}; {each} KiB each");
    assert_eq!(few.0, many.0, "threads");
    assert!(each <= KIB_MOST, "{each} KiB for each service");
}
