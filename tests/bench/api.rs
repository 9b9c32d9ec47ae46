//! What it costs to ask a daemon of 100 services with 10 replicas each: response times of what
//! monitors read, and the daemon's memory. Docker is a scripted one, HAProxy the real one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may panic")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(dead_code, reason = "the tests' harness does more than is needed here")]

#[path = "../common/daemon.rs"]
mod daemon;
#[path = "../it/fake_docker.rs"]
mod fake_docker;
#[path = "../it/fake_http.rs"]
mod fake_http;
#[path = "../it/raw_http.rs"]
mod raw_http;
#[path = "../it/harness.rs"]
mod harness;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::daemon::{Daemon, PLIMSOLL, reached, secs};
use crate::harness::{Harness, free_address};
use crate::raw_http::To;

const SERVICES: usize = 100;
const REPLICAS: usize = 10;
const REQUESTS: usize = 300;

fn main() {
    let mut harness = Harness::new("bench-api");
    let address = free_address();
    harness.set("/api/listen", json!(address));
    harness.set("/autoscaler/log_level", json!("info"));
    harness.set("/autoscaler/check_interval", json!(15));
    harness.set("/docker/timeout", json!(30));
    let services = services(&harness.config["services"]["web"]);
    harness.set("/services", Value::Object(services));
    let program = std::env::var("PLIMSOLL_BENCH_BIN").unwrap_or_else(|_| PLIMSOLL.to_owned());
    let daemon = Daemon::start_by(Command::new(program), &harness.write(), &[]);
    let tcp = To::Tcp(address);
    let ready = format!("\"ready\":{REPLICAS},");
    let begun = Instant::now();
    // It may not listen yet.
    let status = || tcp.say(b"GET /status HTTP/1.0\r\n\r\n").map_or(String::new(), |a| a.body);
    let all = || status().matches(&ready).count() == SERVICES;
    assert!(reached(secs(240), all), "{}", status());
    println!(
        "{SERVICES} services with {REPLICAS} replicas each, ready after {:.0} s; {REQUESTS} \
         requests each, one connection a request",
        begun.elapsed().as_secs_f64()
    );
    println!("idle: {} KiB of memory, {} threads", field(&daemon, "VmRSS:"), threads(&daemon));
    println!("{:<12} {:>9} {:>9} {:>9} {:>9}", "", "KiB", "p50 ms", "p99 ms", "max ms");
    for path in ["/metrics", "/status", "/services/s1", "/events", "/healthz"] {
        measure(&tcp, path);
    }
    println!("then: {} KiB of memory, {} threads", field(&daemon, "VmRSS:"), threads(&daemon));
}

/// Each scaled by two metrics, so that there is something to tell of it.
fn services(like: &Value) -> Map<String, Value> {
    let one = |n: usize| {
        let mut service = like.clone();
        let keys = service.as_object_mut().unwrap();
        keys.remove("listen");
        keys.insert("min_replicas".to_owned(), json!(REPLICAS));
        keys.insert("max_replicas".to_owned(), json!(REPLICAS + 2));
        let metrics = json!([
            { "source": "cpu", "target": 60 },
            { "source": "haproxy", "field": "sessions", "target": 40 },
        ]);
        keys.insert("metrics".to_owned(), metrics);
        let health = json!({ "path": "/", "interval": 30, "timeout": 5 });
        keys.insert("health_check".to_owned(), health);
        (format!("s{n}"), service)
    };
    (1..=SERVICES).map(one).collect()
}

fn measure(tcp: &To, path: &str) {
    let mut times: Vec<Duration> = Vec::new();
    let mut bytes = 0;
    for _ in 0..REQUESTS {
        let begun = Instant::now();
        let answer = tcp.get(path);
        times.push(begun.elapsed());
        assert_eq!(answer.status, 200, "{path}");
        bytes = answer.body.len();
    }
    times.sort();
    let at = |hundredths: usize| times[(times.len() - 1) * hundredths / 100].as_secs_f64() * 1e3;
    let p50 = at(50);
    let p99 = at(99);
    let most = at(100);
    let kib = bytes as f64 / 1024.0;
    println!("{path:<12} {kib:>9.0} {p50:>9.1} {p99:>9.1} {most:>9.1}");
}

fn field(daemon: &Daemon, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().to_owned()
}

fn threads(daemon: &Daemon) -> String {
    field(daemon, "Threads:")
}
