//! Replicas that do not start, and clients that do not wait.

use std::net::SocketAddr;
use std::sync::PoisonError;

use crate::daemon::{Daemon, polled, reached, secs};
use crate::sleep::kinds::{Answer, get, is_hello, open, send, timed_get};
use crate::sleep::{Dormitory, SLEEPY, at_once, events};
use crate::testbed::{IMAGE, QUIET};

/// Of `wake_timeout` 3 s. Each tick and HAProxy itself take some.
const GIVEN_UP: u64 = 7;

fn is_refusal(answer: &Answer) -> bool {
    answer.status == 503 && answer.head.contains("\r\nretry-after: ")
}

/// So many clients at once learn in time that there is no replica, and the next one makes the
/// daemon try again.
fn check_refused(service: &str, to: SocketAddr, clients: usize, daemon: &Daemon) {
    at_once(0..clients, |_| {
        let (answer, took) = timed_get(to, "/", "");
        let answer = answer.unwrap_or_else(|err| panic!("{service}: {err}"));
        assert!(is_refusal(&answer), "{service}: {answer:?}\n{:#?}", daemon.lines());
        assert!(took < secs(GIVEN_UP), "{service}: {took:?}\n{:#?}", daemon.lines());
    });
}

#[test]
fn what_cannot_start_is_refused_in_time_and_served_once_it_can() {
    let _quiet = QUIET.read().unwrap_or_else(PoisonError::into_inner);
    let mut dormitory = Dormitory::new("sleep-broken");
    // No registry is there, which Docker finds out at once.
    let image = format!("127.0.0.1:1/{}:1", dormitory.testbed.service);
    let keys = format!(r#"{SLEEPY}, "wake_timeout": "3s""#);
    let absent = dormitory.add(&keys.clone());
    dormitory.others[0].2 = dormitory.others[0].2.replace(IMAGE, &image);
    let own = (dormitory.testbed.service.clone(), dormitory.testbed.address());
    let never = format!(r#"{keys}, "environment": {{ "START_DELAY_MS": "3600000" }}"#);
    let daemon = dormitory.start(&never);
    let both = || [&absent, &own];
    at_once(both(), |(name, to)| check_refused(name, *to, 5, &daemon));
    at_once(both(), |(name, to)| check_refused(name, *to, 1, &daemon));
    assert!(1 < events(&daemon, "replica.failed", &absent.0), "{:#?}", daemon.lines());
    // Nobody waits, and so nothing is kept.
    dormitory.wait_all_asleep(&daemon);

    dormitory.testbed.docker(&["tag", IMAGE, &image]).expect("docker tag");
    dormitory.write(&keys);
    daemon.signal("HUP");
    daemon.wait(&["kind=config.reloaded"], secs(10));
    at_once(both(), |(name, to)| {
        let served = polled(secs(60), secs(1) / 2, || {
            let answer = get(*to, "/", "").unwrap_or_else(|err| panic!("{name}: {err}"));
            assert!(is_refusal(&answer) || is_hello(&answer).is_ok(), "{name}: {answer:?}");
            answer.status == 200
        });
        assert!(served, "{name}: {:#?}", daemon.lines());
    });
    dormitory.wait_all_asleep(&daemon);
    drop(daemon);
    drop(dormitory.testbed.docker(&["rmi", &image]));
}

/// It would stay awake for a minute without a request.
#[test]
fn no_replica_is_kept_for_clients_that_went_away() {
    let _quiet = QUIET.read().unwrap_or_else(PoisonError::into_inner);
    let dormitory = Dormitory::new("sleep-gone");
    let testbed = &dormitory.testbed;
    let keys = SLEEPY.replace(r#""2s""#, r#""60s""#);
    let keys = format!(r#"{keys}, "environment": {{ "START_DELAY_MS": "3000" }}"#);
    let daemon = dormitory.start(&keys);
    let ask = |_| {
        let mut client = open(testbed.address()).unwrap();
        send(&mut client, b"GET / HTTP/1.1\r\nHost: sleepy.example\r\n\r\n").unwrap();
        client
    };
    for clients in [1, 5] {
        let gone: Vec<_> = (0..clients).map(ask).collect();
        testbed.wait_waiting(&testbed.service, (1, clients - 1), &daemon);
        drop(gone);
        let is_so = || testbed.waiting(&testbed.service) == (0, 0);
        assert!(reached(secs(10), is_so), "{:#?}", daemon.lines());
        let is_so = || testbed.is_asleep(&testbed.service);
        assert!(reached(secs(20), is_so), "{clients}: {:#?}", daemon.lines());
    }
    let answer = get(testbed.address(), "/", "").and_then(|answer| is_hello(&answer));
    assert_eq!(answer, Ok(()), "{:#?}", daemon.lines());
}
