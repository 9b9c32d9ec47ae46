//! The daemon or HAProxy dies, or HAProxy is reloaded, while requests wait for a replica.

use crate::daemon::{Daemon, reached, secs, signal};
use crate::sleep::kinds::{Ask, MIXED, Waiting, get, is_hello};
use crate::sleep::{Dormitory, SLEEPY};
use crate::testbed::{Testbed, free_port};

const KILLS: usize = 3;

/// Long enough that what waits is seen to wait.
fn slow_to_start() -> String {
    format!(r#"{SLEEPY}, "environment": {{ "START_DELAY_MS": "3000" }}"#)
}

/// One that the daemon holds, and others that HAProxy queues.
fn let_wait(testbed: &Testbed, daemon: &Daemon) -> Waiting {
    let all = MIXED.into_iter().chain([Ask::Post(200_000), Ask::Continue(10_000)]);
    let all = all.chain([Ask::Get; 8]).map(|ask| (ask, testbed.address()));
    let waiting = Waiting::start(all);
    testbed.wait_waiting(&testbed.service, (1, 14), daemon);
    waiting
}

#[test]
fn the_daemon_is_killed_while_it_holds_and_what_is_queued_is_answered() {
    let dormitory = Dormitory::new("sleep-kill");
    let keys = slow_to_start();
    let mut daemon = dormitory.start(&keys);
    let waiting = let_wait(&dormitory.testbed, &daemon);
    let config = dormitory.write(&keys);
    let mut before = Vec::new();
    for _ in 0..KILLS {
        dormitory.testbed.wait_waiting(&dormitory.testbed.service, (1, 1), &daemon);
        before.extend(daemon.kill());
        daemon = Daemon::start(&config);
        daemon.wait(&["desired=1 reason=Woken"], secs(10));
    }
    let failures = waiting.failures();
    let logs = || [&before[..], &daemon.lines()].concat();
    assert!(failures.len() <= KILLS, "{failures:#?}\n{:#?}", logs());
    dormitory.wait_all_asleep(&daemon);
    // Whatever the first one left behind, it wakes as ever.
    let failures = Waiting::start(MIXED.map(|ask| (ask, dormitory.testbed.address()))).failures();
    assert!(failures.is_empty(), "{failures:#?}\n{:#?}", daemon.lines());
}

/// As at an upgrade.
#[test]
fn the_daemon_is_stopped_while_it_holds_and_all_is_answered() {
    let dormitory = Dormitory::new("sleep-stop");
    let keys = slow_to_start();
    let mut daemon = dormitory.start(&keys);
    let waiting = let_wait(&dormitory.testbed, &daemon);
    daemon.signal("TERM");
    assert!(daemon.wait_exit(secs(15)).success(), "{:#?}", daemon.lines());
    let next = Daemon::start(&dormitory.write(&keys));
    let failures = waiting.failures();
    assert!(failures.is_empty(), "{failures:#?}\n{:#?}", daemon.lines());
    dormitory.wait_all_asleep(&next);
}

#[test]
fn haproxy_is_reloaded_while_requests_wait_and_nothing_is_lost() {
    let dormitory = Dormitory::new("sleep-reload");
    let testbed = &dormitory.testbed;
    let keys = slow_to_start();
    let daemon = dormitory.start(&keys);
    let waiting = let_wait(testbed, &daemon);
    let old = testbed.haproxy_pid();
    testbed.configure_with(&keys, &testbed.other(free_port()));
    daemon.signal("HUP");
    let is_new = || {
        let info = testbed.ask_haproxy("show info");
        info.contains("\nPid: ") && !info.contains(&format!("\nPid: {old}\n"))
    };
    assert!(reached(secs(10), is_new), "{:#?}", daemon.lines());
    // They come to the new process, beside those of the old one.
    let more = Waiting::start(MIXED.map(|ask| (ask, testbed.address())));
    let failures = [waiting.failures(), more.failures()].concat();
    assert!(failures.is_empty(), "{failures:#?}\n{:#?}", daemon.lines());
    dormitory.wait_all_asleep(&daemon);
    let alone = || testbed.haproxy_pids() == [testbed.haproxy_pid()];
    assert!(reached(secs(10), alone), "{:?}", testbed.haproxy_pids());
}

#[test]
fn haproxy_is_killed_while_requests_wait_and_the_service_wakes_afterwards() {
    let dormitory = Dormitory::new("sleep-crash");
    let testbed = &dormitory.testbed;
    let daemon = dormitory.start(&slow_to_start());
    let waiting = let_wait(testbed, &daemon);
    let old = testbed.haproxy_pid();
    signal(old, "KILL");
    // Their connections went with the process.
    assert_eq!(waiting.failures().len(), 15, "{:#?}", daemon.lines());
    let is_back = || testbed.ask_haproxy("show info").contains("Pid: ");
    assert!(reached(secs(10), is_back), "{:#?}", daemon.lines());
    let all = MIXED.map(|ask| (ask, testbed.address()));
    let failures = Waiting::start(all).failures();
    assert!(failures.is_empty(), "{failures:#?}\n{:#?}", daemon.lines());
    dormitory.wait_all_asleep(&daemon);
    let answer = get(testbed.address(), "/", "").and_then(|answer| is_hello(&answer));
    assert_eq!(answer, Ok(()), "{:#?}", daemon.lines());
}
