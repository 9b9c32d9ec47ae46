//! A service that falls asleep and is woken, again and again.

use std::time::Duration;

use crate::daemon::{delay, reached, secs};
use crate::sleep::kinds::{Ask, MIXED, Waiting};
use crate::sleep::{Dormitory, SLEEPY, events};

const CYCLES: usize = 10;
/// Many more than are needed, so that one without end is a failure.
const ROUNDS: usize = 40;

/// What ends the pause of a client: whatever step of falling asleep is under way, one comes then.
#[derive(Clone, Copy)]
enum Until {
    Gone,
    Leaving,
    Listening,
    /// So many milliseconds after the last answer.
    Passed(u64),
}

/// Between those that are asleep wholly. It is looked at once a second whether to fall asleep.
const PAUSES: [Until; 5] = [
    Until::Leaving,
    Until::Listening,
    Until::Passed(1050),
    Until::Passed(1400),
    Until::Passed(1900),
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
        let alone = [MIXED[rounds / 4 % MIXED.len()]];
        let kinds: &[Ask] = if rounds % 4 < 2 { &MIXED } else { &alone };
        let waiting = Waiting::start(kinds.iter().map(|ask| (*ask, testbed.address())));
        let failures = waiting.failures();
        assert!(failures.is_empty(), "round {rounds}: {failures:#?}\n{:#?}", daemon.lines());
        let is_listening =
            || testbed.wakes(&service).is_some_and(|row| !row[17].starts_with("MAINT"));
        let before = slept();
        let pause = match rounds % 2 {
            0 => PAUSES[rounds / 2 % PAUSES.len()],
            _ => Until::Gone,
        };
        let done = match pause {
            Until::Gone => reached(secs(30), || before < slept()),
            Until::Leaving => reached(secs(30), || testbed.serving().is_empty()),
            Until::Listening => reached(secs(30), is_listening),
            Until::Passed(ms) => {
                delay(Duration::from_millis(ms));
                true
            }
        };
        assert!(done, "round {rounds}: it does not fall asleep: {:#?}", daemon.lines());
        rounds += 1;
    }
    dormitory.wait_all_asleep(&daemon);
    let woken = events(&daemon, "service.woken", &service);
    println!("{rounds} rounds, {} times asleep, {woken} times woken", slept());
    // One that was woken while it fell asleep was not asleep.
    assert!(slept() <= woken, "{:#?}", daemon.lines());
}
