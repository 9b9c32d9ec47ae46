//! Replicas that die while clients are served: nothing fails but what they had in hand, and no
//! request goes through them one after the other. On each version of HAProxy.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use crate::daemon::{Daemon, reached, secs};
use crate::load::{Counts, Failure, Kind, Load};
use crate::testbed::{HAPROXY, HAPROXY_3_0, Testbed, clients};

const CLIENTS: usize = 8;
const FOUR: &str = r#""min_replicas": 4, "max_replicas": 4"#;

/// With four replicas in service.
fn four(name: &str, haproxy: &str, retry: &str) -> (Testbed, Daemon) {
    let mut testbed = Testbed::new(name);
    testbed.haproxy = PathBuf::from(haproxy);
    assert!(testbed.haproxy.exists(), "no {haproxy}: run `make test`");
    let daemon = Daemon::start(&testbed.configure(&format!(r#"{FOUR}, "retry": "{retry}""#)));
    testbed.wait_serving(4, secs(30), &daemon);
    (testbed, daemon)
}

/// Answers take long enough that a dead server, which has none in hand, looks like the best one.
fn everyone(testbed: &Testbed, method: &'static str) -> Load {
    let mut all = clients(CLIENTS / 2, Kind::KeepAlive, "/slow?ms=200", 0);
    all.extend(clients(CLIENTS / 2, Kind::Slow, "/slow?ms=200", 0));
    all.iter_mut().for_each(|client| client.method = method);
    Load::start(testbed.address(), all)
}

fn kill(testbed: &Testbed, count: usize) {
    let all = testbed.containers();
    let running = all.iter().filter(|(.., state)| state == "running");
    let ids: Vec<&str> = running.take(count).map(|(id, ..)| id.as_str()).collect();
    assert_eq!(ids.len(), count, "{all:?}");
    testbed.docker(&[&["kill"], &ids[..]].concat()).expect("they are killed");
}

/// That HAProxy found no replica for it, though one served.
fn unserved(counts: &Counts) -> u64 {
    let of =
        |failure| counts.kinds.values().filter_map(move |t| t.failures.get(&failure)).sum::<u64>();
    of(Failure::Status(503)) + of(Failure::Status(504)) + of(Failure::Timeout)
}

#[track_caller]
fn check_kill(testbed: &Testbed, daemon: &Daemon, count: usize) {
    let load = everyone(testbed, "POST");
    load.wait_for(secs(10), |c| 40 < c.sent());
    kill(testbed, count);
    let before = load.counts().sent();
    load.wait_for(secs(20), |c| before + 100 < c.sent());
    let counts = load.stop();
    assert_eq!(unserved(&counts), 0, "{count} killed: {counts}\n{:#?}", daemon.lines());
    // One client may lose a request to each of those that were killed one after the other.
    let most = u64::try_from(CLIENTS + count).unwrap();
    assert!(counts.failed() <= most, "{count} killed: {counts}");
    testbed.wait_serving(4, secs(30), daemon);
}

#[track_caller]
fn check_deaths(name: &str, haproxy: &str) {
    let (testbed, daemon) = four(name, haproxy, "connect");
    // Servers that were added to the HAProxy that runs, then those of a file.
    check_kill(&testbed, &daemon, 3);
    testbed.configure_with(FOUR, &testbed.other(crate::testbed::free_port()));
    let before = daemon.lines().len();
    daemon.signal("HUP");
    daemon.wait_from(before, &["kind=haproxy.reloaded"], secs(20));
    testbed.wait_serving(4, secs(20), &daemon);
    check_kill(&testbed, &daemon, 2);
}

#[test]
fn only_what_killed_replicas_had_in_hand_fails() {
    check_deaths("deaths", HAPROXY);
}

#[test]
fn only_what_killed_replicas_had_in_hand_fails_on_haproxy_3_0() {
    check_deaths("deaths3", HAPROXY_3_0);
}

/// The status of one request, if there was an answer.
fn ask(testbed: &Testbed, method: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(testbed.address()).unwrap();
    stream.set_read_timeout(Some(secs(10))).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    // One that ends without an answer may be reset.
    drop(stream.read_to_string(&mut answer));
    answer.split(' ').nth(1).map(str::to_owned)
}

/// How many requests the replicas that run have seen, each asked at its own address.
fn hits(testbed: &Testbed) -> u64 {
    let rows = testbed.ask_haproxy("show servers state");
    let of_ours = rows.lines().map(|l| l.split(' ').collect::<Vec<_>>());
    let of_ours = of_ours.filter(|f| f.get(1) == Some(&testbed.service.as_str()));
    let asked = of_ours.map(|fields| {
        let mut stream = TcpStream::connect((fields[4], 8080)).unwrap();
        stream.write_all(b"GET /hits HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.lines().last().unwrap().parse::<u64>().unwrap()
    });
    asked.sum()
}

/// How many replicas one request that kills each that sees it may kill.
#[track_caller]
fn check_poison(name: &str, haproxy: &str, retry: &str, method: &str, want: usize) {
    let (testbed, daemon) = four(name, haproxy, retry);
    let before = hits(&testbed);
    assert_eq!(ask(&testbed, "GET", "/503").as_deref(), Some("503"), "the app's own");
    assert_eq!(hits(&testbed) - before, 1, "and asked for once");
    let answer = ask(&testbed, method, "/die");
    assert!(answer.as_deref().is_none_or(|status| status == "502"), "{answer:?}");
    let dead = || daemon.count(&["kind=replica.exited"]);
    assert!(reached(secs(10), || want <= dead()), "{:#?}", daemon.lines());
    testbed.wait_serving(4, secs(30), &daemon);
    assert_eq!(dead(), want, "{retry} {method}: {:#?}", daemon.lines());
}

#[test]
fn what_was_sent_is_never_sent_again() {
    check_poison("poison", HAPROXY, "connect", "GET", 1);
}

#[test]
fn what_was_sent_is_never_sent_again_on_haproxy_3_0() {
    check_poison("poison3", HAPROXY_3_0, "connect", "GET", 1);
}

#[test]
fn a_get_that_may_be_sent_again_is_seen_by_two_replicas_at_most() {
    check_poison("twice", HAPROXY, "safe", "GET", 2);
    check_poison("once", HAPROXY, "safe", "POST", 1);
}

#[test]
fn a_get_that_may_be_sent_again_is_seen_by_two_replicas_at_most_on_haproxy_3_0() {
    check_poison("twice3", HAPROXY_3_0, "safe", "GET", 2);
    check_poison("once3", HAPROXY_3_0, "safe", "POST", 1);
}

#[track_caller]
fn check_safe(name: &str, haproxy: &str) {
    let (testbed, daemon) = four(name, haproxy, "safe");
    let load = everyone(&testbed, "GET");
    load.wait_for(secs(10), |c| 40 < c.sent());
    kill(&testbed, 1);
    let before = load.counts().sent();
    load.wait_for(secs(20), |c| before + 100 < c.sent());
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "{counts}\n{:#?}", daemon.lines());
}

#[test]
fn a_get_that_may_be_sent_again_survives_its_replica() {
    check_safe("safe", HAPROXY);
    check_safe("safe3", HAPROXY_3_0);
}
