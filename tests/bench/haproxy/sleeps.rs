//! What clients lose while a service sleeps and is woken, again and again.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::crowd::Row;
use crate::daemon::{Daemon, polled, secs};
use crate::fleet::program;
use crate::load::{Client, Counts, Kind, Load};
use crate::testbed::{Testbed, clients};

const KEYS: &str = r#""min_replicas": 0, "max_replicas": 2, "scale_up_threshold": 9000,
      "scale_down_threshold": 50, "sleep_after": "1s""#;
/// Of the clients after an answer: with the first the service sleeps wholly; with the others it is
/// about to.
const PAUSES_MS: [u64; 4] = [5000, 2200, 1500, 1100];

pub(crate) struct Sleeps {
    pub(crate) rows: Vec<Row>,
    asleep: usize,
    woken: usize,
}

/// All ask at the same time: what wakes the service has the answers of all ready.
fn crowd(pause_ms: u64) -> Vec<Client> {
    let mut all = clients(3, Kind::KeepAlive, "/", pause_ms);
    all.extend(clients(3, Kind::Close, "/", pause_ms));
    all.extend(clients(2, Kind::Slow, "/slow?ms=300", pause_ms));
    let mut posts = clients(3, Kind::Post, "/echo", pause_ms);
    posts.extend(clients(1, Kind::Http2, "/echo", pause_ms));
    posts.iter_mut().for_each(|client| client.method = "POST");
    all.extend(posts);
    all
}

/// So many times asleep with the longest pauses, then as long with each of the shorter ones.
pub(crate) fn measure(times: usize) -> Sleeps {
    let testbed = Testbed::new("sleeps");
    let config = testbed.configure(KEYS);
    let daemon = Daemon::start_by(Command::new(program()), &config, &[]);
    daemon.wait(&["kind=haproxy.reloaded"], secs(30));
    let events = |kind: &str| daemon.count(&[&format!("kind={kind} ")]);
    let mut rows = Vec::new();
    let mut took = Duration::ZERO;
    for pause_ms in PAUSES_MS {
        let load = Load::start(testbed.address(), crowd(pause_ms));
        let since = Instant::now();
        let is_first = rows.is_empty();
        let is_over =
            || if is_first { times <= events("service.asleep") } else { took <= since.elapsed() };
        let patience = secs(20) * u32::try_from(times.max(1)).unwrap();
        let is_over = polled(patience, secs(1) / 10, is_over);
        let counts: Counts = load.stop();
        took = since.elapsed();
        let name = format!("a service that sleeps, asked each {pause_ms} ms");
        rows.push(Row::of(name, counts, took));
        if !is_over || rows.iter().any(|row| 0 < row.failed()) {
            daemon.lines().iter().for_each(|line| eprintln!("{line}"));
        }
        assert!(is_over, "it does not sleep");
    }
    Sleeps { rows, asleep: events("service.asleep"), woken: events("service.woken") }
}

pub(crate) fn print(sleeps: &Sleeps) {
    crate::crowd::print(sleeps.rows.iter());
    println!("{} times asleep, {} times woken", sleeps.asleep, sleeps.woken);
    if let Some(row) = sleeps.rows.first() {
        // The client of HTTP/2 pauses between the answers of its streams.
        let kinds = row.counts.kinds.iter().filter(|(kind, _)| **kind != Kind::Http2);
        let slowest = kinds.map(|(_, of)| of.slowest).max().unwrap_or_default();
        println!("the longest wait for an answer: {} ms", slowest.as_millis());
    }
}

impl Sleeps {
    pub(crate) fn failed(&self) -> u64 {
        self.rows.iter().map(Row::failed).sum()
    }
}
