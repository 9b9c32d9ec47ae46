//! How long a reload takes with few servers and with many: the daemon and HAProxy are real, Docker
//! and the replicas are made up, because a host of this kind has no room for a thousand of them.

use std::process::Command;
use std::time::Instant;

use serde_json::json;

use crate::daemon::{Daemon, reached, secs};
use crate::fleet::program;
use crate::harness::Harness;
use crate::testbed::HAPROXY;

const RELOADS: usize = 7;

pub(crate) struct Size {
    servers: u32,
    /// Of each reload, in order of length.
    ms: Vec<u64>,
    /// Of `haproxy -c` alone, which is a part of it.
    check_ms: Vec<u64>,
}

pub(crate) fn measure(servers: u32) -> Size {
    let mut harness = Harness::without_docker("sizes");
    let service = "/services/web";
    harness.set(&format!("{service}/min_replicas"), json!(servers));
    harness.set(&format!("{service}/max_replicas"), json!(servers));
    harness.set("/docker/timeout", json!(10));
    harness.set("/autoscaler/log_level", json!("info"));
    for n in 1..=servers {
        harness.docker.add(&format!("web-{n}"), Some(("web", n)), "running");
    }
    harness.docker.open();
    let daemon = Daemon::start_by(Command::new(program()), &harness.write(), &[]);
    // A file has so many servers once every one of them has answered.
    let file = harness.dir.join("haproxy.cfg.good");
    let in_file = || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.lines().filter(|l| l.starts_with("    server web-")).count()
    };
    let all = usize::try_from(servers).unwrap();
    assert!(reached(secs(90), || in_file() == all), "{} of {servers}", in_file());
    let mut ms: Vec<u64> = (0..RELOADS).map(|n| reload(&mut harness, &daemon, n)).collect();
    ms.sort_unstable();
    let mut check_ms: Vec<u64> = (0..RELOADS).map(|_| check(&harness)).collect();
    check_ms.sort_unstable();
    Size { servers, ms, check_ms }
}

fn check(harness: &Harness) -> u64 {
    let started = Instant::now();
    let mut check = Command::new(HAPROXY);
    let out = check.arg("-c").arg("-f").arg(harness.dir.join("haproxy.cfg")).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    u64::try_from(started.elapsed().as_millis()).unwrap()
}

/// How long the daemon says it took, from the first byte of the file to the new process that
/// answers with its servers.
fn reload(harness: &mut Harness, daemon: &Daemon, n: usize) -> u64 {
    let from = daemon.lines().len();
    harness.set("/services/web/health_check/interval", json!(format!("{}ms", 5000 + n)));
    harness.write();
    daemon.signal("HUP");
    let words = ["kind=haproxy.reloaded", "took "];
    let line = daemon.wait_from(from, &words, secs(30));
    let line = daemon.lines()[line].clone();
    let took = line.split("took ").nth(1).and_then(|rest| rest.split(' ').next());
    took.and_then(|ms| ms.parse().ok()).expect("the line says how long it took")
}

pub(crate) fn print(sizes: &[Size]) {
    println!("a reload, from writing the file to the new process answering; {RELOADS} of each");
    println!("servers   least ms  median ms    most ms  of which haproxy -c, median");
    let median = |ms: &[u64]| ms[ms.len() / 2];
    for Size { servers, ms, check_ms } in sizes {
        let least = ms[0];
        let most = ms[ms.len() - 1];
        let (median, check) = (median(ms), median(check_ms));
        println!("{servers:>7} {least:>10} {median:>10} {most:>10} {check:>28}");
    }
}
