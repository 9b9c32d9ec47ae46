//! Health checks of every kind, by the daemon and by HAProxy.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;

use crate::daemon::{reached, secs};
use crate::fake_docker::Route;
use crate::harness::{Harness, each};

/// Heads of requests, in small letters.
type Heads = Arc<Mutex<Vec<String>>>;

/// Answers on every local address as `answer` says of a request's head; `None` is silence for as
/// long as the client has patience.
fn app(answer: impl Fn(&TcpStream, &str) -> Option<u16> + Send + Sync + 'static) -> (u16, Heads) {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads = Heads::default();
    let answer = Arc::new(answer);
    let seen = heads.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let seen = seen.clone();
            let answer = answer.clone();
            thread::spawn(move || serve(stream, &seen, &*answer));
        }
    });
    (port, heads)
}

fn serve(mut stream: TcpStream, seen: &Heads, answer: &dyn Fn(&TcpStream, &str) -> Option<u16>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    let head = head.join("\n").to_ascii_lowercase();
    seen.lock().unwrap().push(head.clone());
    match answer(&stream, &head) {
        Some(status) => {
            let answer = format!(
                "HTTP/1.1 {status} X\r\nLocation: /else\r\n\
                                  Connection: close\r\nContent-Length: 0\r\n\r\n"
            );
            // A client that hung up meanwhile is its own affair.
            drop(stream.write_all(answer.as_bytes()));
        }
        None => lines.for_each(drop),
    }
}

#[test]
fn daemon_and_haproxy_ask_with_the_same_headers_and_take_the_same_statuses() {
    let key = "x-key: a '100%' \"b\"";
    let answer = move |_: &TcpStream, head: &str| {
        let asked = head.starts_with("get /up?a=1 http/1.1\n");
        let named = head.contains("\nhost: web.example\n") || head.ends_with("\nhost: web.example");
        Some(if asked && named && head.contains(key) { 302 } else { 401 })
    };
    let (port, heads) = app(answer);
    let mut harness = Harness::new("headers");
    harness.set("/services/web/port", json!(port));
    let headers = json!({ "Host": "web.example", "X-Key": "a '100%' \"b\"" });
    harness.set("/services/web/health_check", json!({
        "path": "/up?a=1", "interval": "200ms", "expect_status": "204,300-399", "headers": headers,
    }));
    let daemon = harness.start();
    daemon.wait(&["kind=haproxy.reloaded"], secs(10));
    let ours = "user-agent: plimsoll/";
    let theirs = "\nx-key: ";
    let asked = || {
        let heads = heads.lock().unwrap();
        let by_us = heads.iter().filter(|h| h.contains(ours)).count();
        (by_us, heads.iter().filter(|h| !h.contains(ours) && h.contains(theirs)).count())
    };
    let both = || asked().0 >= 5 && asked().1 >= 5;
    assert!(reached(secs(20), both), "{:?}, {:?}\n{:?}", asked(), heads.lock(), daemon.lines());
    let heads = heads.lock().unwrap();
    // A redirect is an answer like any other: nobody goes there.
    let odd = heads.iter().find(|h| !h.starts_with("get /up?a=1 ") || !h.contains(key));
    assert_eq!(odd, None);
}

#[test]
fn replicas_that_hang_delay_nobody() {
    let last = Arc::new(Mutex::new(String::new()));
    let answers = last.clone();
    let (port, _) = app(move |stream, _| {
        let asked = stream.local_addr().unwrap().ip().to_string();
        (asked == *answers.lock().unwrap()).then_some(200)
    });
    let mut harness = Harness::new("hang");
    harness.set("/services/web/port", json!(port));
    harness.set("/services/web/min_replicas", json!(80));
    harness.set("/services/web/max_replicas", json!(80));
    harness.set("/services/web/health_check/timeout", json!("900ms"));
    for number in 1..=80 {
        harness.docker.add(&format!("web-{number}"), Some(("web", number)), "running");
    }
    last.lock().unwrap().clone_from(&harness.docker.containers().last().unwrap().address);
    let daemon = harness.start();
    assert!(reached(secs(20), || harness.serves()), "{:?}", daemon.lines());
    daemon.wait(&["kind=replica.not_ready", "replica=web-1 ", "no answer within 900 ms"], secs(20));
    assert_eq!(daemon.count(&["kind=replica.not_ready", "replica=web-80 "]), 0);
}

#[test]
fn a_replica_that_serves_is_asked_on() {
    let (port, heads) = app(|_, _| Some(200));
    let mut harness = Harness::new("on");
    harness.set("/services/web/port", json!(port));
    harness.set("/services/web/health_check/interval", json!("300ms"));
    harness.set("/services/web/health_check/timeout", json!("300ms"));
    let daemon = harness.start();
    daemon.wait(&["kind=replica.started"], secs(10));
    let asked = || {
        heads.lock().unwrap().iter().filter(|head| head.contains("user-agent: plimsoll/")).count()
    };
    assert!(reached(secs(20), || 10 <= asked()), "{}", asked());
    harness.wait_quiet();
}

/// No file may be opened any more: the limit is below those that are open.
fn limit_files(pid: u32, soft: &str) {
    let limit = format!("--nofile={soft}:");
    let done = Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status();
    assert!(done.unwrap().success());
}

#[test]
fn a_replica_that_cannot_be_asked_for_want_of_files_stays_what_it_was() {
    let (port, heads) = app(|_, _| Some(200));
    let mut harness = Harness::new("want");
    harness.set("/services/web/port", json!(port));
    harness.set("/services/web/health_check/interval", json!("200ms"));
    harness.set("/services/web/health_check/timeout", json!("200ms"));
    let daemon = harness.start();
    daemon.wait(&["kind=replica.started"], secs(10));
    harness.wait_served();
    let asked = |by_us: bool| {
        let heads = heads.lock().unwrap();
        heads.iter().filter(|head| head.contains("user-agent: plimsoll/") == by_us).count()
    };
    assert!(reached(secs(10), || 2 <= asked(true)));
    limit_files(daemon.pid(), "3");
    daemon.wait(&["kind=health.not_probed", "Too many open files"], secs(10));
    // HAProxy asks as often as the daemon would.
    let ours = asked(true);
    let theirs = asked(false);
    assert!(reached(secs(20), || theirs + 20 <= asked(false)), "{:?}", daemon.lines());
    assert_eq!(asked(true), ours);
    assert_eq!(daemon.count(&["kind=health.not_probed"]), 1);
    limit_files(daemon.pid(), "1024");
    assert!(reached(secs(10), || ours < asked(true)), "{:?}", daemon.lines());
    daemon.wait(&["kind=health.not_probed", "resolved: "], secs(30));
    for kind in ["health.unhealthy", "health.replaced", "replica.removed", "replica.draining"] {
        assert_eq!(daemon.count(&[&format!("kind={kind}")]), 0, "{:?}", daemon.lines());
    }
    assert!(harness.serves());
}

#[test]
fn kinds_that_ask_nobody_go_by_docker() {
    each(&[docker, docker_that_stopped_checking, docker_without_a_check, none], |f| f());
}

fn docker() {
    let mut harness = Harness::new("own");
    harness.set("/services/web/health_check", json!({ "type": "docker" }));
    harness.docker.add("web-1", Some(("web", 1)), "running");
    harness.docker.judge("web-1", "health: starting");
    let daemon = harness.start();
    daemon.wait(&["kind=haproxy.reloaded"], secs(10));
    harness.wait_evaluations(5);
    assert!(!harness.serves());
    harness.docker.judge("web-1", "healthy");
    harness.wait_served();
}

/// As after dockerd began anew beside containers that ran on.
fn docker_that_stopped_checking() {
    let old = "2020-01-01T00:00:00.5Z";
    let new = "2100-01-01T00:00:00.5+02:00";
    let mut harness = Harness::new("stale");
    harness.set("/services/web/health_check", json!({ "type": "docker" }));
    harness.docker.add("web-1", Some(("web", 1)), "running");
    harness.docker.check_ran("web-1", old, "healthy");
    let daemon = harness.start();
    let reported =
        ["kind=health.stale", "replica=web-1", "has not run the image's HEALTHCHECK for"];
    daemon.wait(&reported, secs(10));
    harness.wait_evaluations(5);
    assert!(!harness.serves(), "an old word let it in");
    harness.docker.check_ran("web-1", new, "healthy");
    harness.wait_served();
    daemon.wait(&["kind=health.stale", "resolved: "], secs(10));
    harness.docker.check_ran("web-1", old, "healthy");
    assert!(reached(secs(10), || daemon.count(&reported) == 2), "{:?}", daemon.lines());
    harness.wait_evaluations(5);
    assert!(harness.serves(), "an old word took it out");
    assert_eq!(daemon.count(&reported), 2, "{:?}", daemon.lines());
    assert_eq!(harness.docker.names("running"), ["web-1"]);
    let config = harness.write();
    let out = crate::daemon::plimsoll(&["doctor", "--config", config.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.contains("web-1: Docker has not run its health check for"), "{said}");
    let asked = harness.docker.count(Route::Inspect);
    harness.wait_evaluations(5);
    // Once in ten seconds.
    let more = harness.docker.count(Route::Inspect) - asked;
    assert!(more <= 1, "it is asked at every look: {more}");
}

fn docker_without_a_check() {
    let mut harness = Harness::new("nocheck");
    harness.set("/services/web/health_check", json!({ "type": "docker" }));
    let daemon = harness.start();
    let words = "the image has no HEALTHCHECK; give it another health_check.type";
    let reported = || {
        harness.docker.wake();
        0 < daemon.count(&["kind=replica.not_ready", "replica=web-1", words])
    };
    assert!(reached(secs(30), reported), "{:?}", daemon.lines());
    assert!(!harness.serves());
}

fn none() {
    let mut harness = Harness::new("none");
    harness.set("/services/web/health_check", json!({ "type": "none" }));
    let daemon = harness.start();
    harness.wait_served();
    assert_eq!(daemon.count(&["kind=replica.not_ready"]), 0);
}
