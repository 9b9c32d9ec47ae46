//! What comes while a service sleeps: every kind alone, all kinds at once, and very many.

use std::sync::PoisonError;

use crate::daemon::{reached, secs};
use crate::sleep::kinds::{Ask, EVERY_KIND, MIXED, Waiting};
use crate::sleep::{Dormitory, SLEEPY, events};
use crate::testbed::{HAPROXY, HAPROXY_3_0, QUIET};

/// Each kind is the first at a service of its own; then all kinds come at once to each service
/// that has something special.
#[track_caller]
fn check_every_kind(name: &str, haproxy: &str) {
    let _busy = QUIET.write().unwrap_or_else(PoisonError::into_inner);
    let mut dormitory = Dormitory::with_haproxy(name, haproxy);
    let own = (dormitory.testbed.service.clone(), dormitory.testbed.address());
    let mut specials = vec![own];
    specials.push(dormitory.add(&format!(r#"{SLEEPY}, "balance": "source""#)));
    specials.push(dormitory.add(&format!(r#"{SLEEPY}, "sticky": true"#)));
    specials.push(dormitory.add(&format!(r#"{SLEEPY}, "retry": "safe""#)));
    specials.push(dormitory.add(&format!(r#"{SLEEPY}, "protocol": "tcp""#)));
    let routed = dormitory.add_routed(SLEEPY);
    let tcp = specials[4].clone();
    let mut firsts = vec![(Ask::Get, routed.1), (Ask::Get, specials[0].1), (Ask::Late, tcp.1)];
    firsts.extend(EVERY_KIND.map(|ask| (ask, dormitory.add(SLEEPY).1)));
    specials.push(routed);

    let daemon = dormitory.start(SLEEPY);
    let failures = Waiting::start(firsts).failures();
    assert!(failures.is_empty(), "{failures:#?}\n{:#?}", daemon.lines());
    dormitory.wait_all_asleep(&daemon);
    let burst = |service: &(String, _)| {
        let is_tcp = service.0 == tcp.0;
        let kinds = EVERY_KIND.into_iter().filter(move |ask| !is_tcp || *ask != Ask::Http2);
        kinds.chain(MIXED.into_iter().filter(move |ask| !is_tcp || *ask != Ask::Http2))
    };
    let bursts = specials.iter().flat_map(|one| burst(one).map(|ask| (ask, one.1)));
    let failures = Waiting::start(bursts).failures();
    assert!(failures.is_empty(), "{failures:#?}\n{:#?}", daemon.lines());
    dormitory.wait_all_asleep(&daemon);
    for (service, _) in &specials {
        assert_eq!(dormitory.testbed.waiting(service), (0, 0), "{service}");
        for kind in ["service.woken", "service.asleep"] {
            let is_told = || 0 < events(&daemon, kind, service);
            assert!(reached(secs(5), is_told), "{kind} {service}: {:#?}", daemon.lines());
        }
    }
}

#[test]
fn every_kind_of_request_wakes_a_service_and_is_answered() {
    check_every_kind("sleep-kinds", HAPROXY);
}

#[test]
fn every_kind_of_request_wakes_a_service_behind_haproxy_3_0() {
    check_every_kind("sleep-kinds3", HAPROXY_3_0);
}

#[test]
fn five_hundred_requests_at_once_wake_a_service_and_are_answered() {
    let _busy = QUIET.write().unwrap_or_else(PoisonError::into_inner);
    let dormitory = Dormitory::new("sleep-500");
    let daemon = dormitory.start(SLEEPY);
    let to = dormitory.testbed.address();
    let failures = Waiting::start((0..500).map(|_| (Ask::Get, to))).failures();
    assert!(failures.is_empty(), "{} {:?}\n{:#?}", failures.len(), failures[0], daemon.lines());
    dormitory.wait_all_asleep(&daemon);
}
