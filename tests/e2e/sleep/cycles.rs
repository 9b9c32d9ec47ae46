//! A service that falls asleep and is woken, again and again.

use crate::daemon::{delay, reached, secs};
use crate::sleep::kinds::{Ask, MIXED, Waiting};
use crate::sleep::{Dormitory, SLEEPY, events};

const CYCLES: usize = 10;
/// Many more than are needed, so that one without end is a failure.
const ROUNDS: u32 = 60;

/// What ends the pause of a client: whatever step of falling asleep is under way, one comes then.
#[derive(Clone, Copy)]
enum Until {
    Gone,
    Leaving,
    Listening,
    /// So many milliseconds after the last answer.
    Passed(u64),
}

const PAUSES: [Until; 8] = [
    Until::Leaving,
    Until::Listening,
    Until::Passed(980),
    Until::Gone,
    Until::Leaving,
    Until::Passed(1030),
    Until::Listening,
    Until::Passed(1200),
];

#[test]
fn ten_times_asleep_and_woken_and_nothing_is_lost() {
    let dormitory = Dormitory::new("sleep-ten");
    let testbed = &dormitory.testbed;
    let daemon = dormitory.start(&SLEEPY.replace(r#""2s""#, r#""1s""#));
    let service = testbed.service.clone();
    let slept = || events(&daemon, "service.asleep", &service);
    let mut rounds = 0;
    while slept() < CYCLES {
        assert!(rounds < ROUNDS, "{} of {CYCLES}: {:#?}", slept(), daemon.lines());
        // All at once, or one that is alone.
        let alone = [MIXED[rounds as usize / 2 % MIXED.len()]];
        let kinds: &[Ask] = if rounds % 2 == 0 { &MIXED } else { &alone };
        let waiting = Waiting::start(kinds.iter().map(|ask| (*ask, testbed.address())));
        let failures = waiting.failures();
        assert!(failures.is_empty(), "round {rounds}: {failures:#?}\n{:#?}", daemon.lines());
        let is_listening =
            || testbed.wakes(&service).is_some_and(|row| !row[17].starts_with("MAINT"));
        let done = match PAUSES[rounds as usize % PAUSES.len()] {
            Until::Gone => reached(secs(30), || testbed.is_asleep(&service)),
            Until::Leaving => reached(secs(30), || testbed.serving().is_empty()),
            Until::Listening => reached(secs(30), is_listening),
            Until::Passed(ms) => {
                delay(std::time::Duration::from_millis(ms));
                true
            }
        };
        assert!(done, "round {rounds}: it does not fall asleep: {:#?}", daemon.lines());
        rounds += 1;
    }
    dormitory.wait_all_asleep(&daemon);
    let woken = events(&daemon, "service.woken", &service);
    println!("{rounds} rounds, {} times asleep, {woken} times woken", slept());
    assert!(CYCLES <= woken, "{:#?}", daemon.lines());
    assert_eq!(slept(), woken, "{:#?}", daemon.lines());
}
