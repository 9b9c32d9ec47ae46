//! Four services behind one HAProxy, scaled by orders as an operator gives them.

#![allow(dead_code, reason = "`haproxy` and `soak` each use a part of it")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{fs, thread};

use crate::account::cpu_ms;
use crate::crowd::Crowd;
use crate::daemon::{Daemon, PLIMSOLL, polled, reached, secs};
use crate::raw_http::To;
use crate::testbed::{IMAGE, Testbed, free_port};

const LANES: usize = 4;
const FEWEST: u32 = 2;
/// Replicas that one order brings or takes away.
const STEP: u32 = 2;
/// Longer than any drain may take, any reload, and a few calls of Docker that end without an
/// answer.
const PATIENCE: Duration = Duration::from_secs(240);
/// Between two looks, which cost the clients processor time.
const PAUSE: Duration = Duration::from_millis(100);

/// `drain_timeout` is longer than a run: a drain that does not end by itself must be seen.
const KEYS: &str = r#""min_replicas": 2, "max_replicas": 8, "scale_up_threshold": 9000,
      "scale_down_threshold": 0, "drain_timeout": "80s",
      "environment": { "START_DELAY_MS": "300" }"#;

/// One service and its frontend.
pub(crate) struct Lane {
    pub(crate) service: String,
    front: SocketAddr,
}

/// What a run has to come to.
pub(crate) struct Goal {
    pub(crate) requests: u64,
    /// One is one replica in or out.
    pub(crate) events: u32,
    pub(crate) reloads: u32,
}

/// What is left when the daemon has ended: HAProxy and the replicas run on.
pub(crate) struct Remains {
    pub(crate) testbed: Testbed,
    pub(crate) lanes: Vec<Lane>,
}

pub(crate) struct Fleet {
    daemon: Daemon,
    config: PathBuf,
    remains: Remains,
    reloads: AtomicU32,
    orders: Mutex<()>,
}

impl Remains {
    pub(crate) fn crowd(&self) -> Crowd {
        Crowd::at(self.lanes.iter().map(|lane| lane.front))
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        for lane in &self.lanes {
            self.testbed.remove_containers(&lane.service);
        }
    }
}

impl Fleet {
    pub(crate) fn start() -> Fleet {
        let testbed = Testbed::new("fleet");
        let mut lanes = vec![Lane { service: testbed.service.clone(), front: testbed.address() }];
        let mut more = String::new();
        for n in 1..LANES {
            let service = format!("{}-{n}", testbed.service);
            let front = SocketAddr::from(([127, 0, 0, 1], free_port()));
            more += &format!(
                r#",
    "{service}": {{ "image": "{IMAGE}", "port": 8080, "listen": "{front}", "stop_timeout": 1,
      "health_check": {{ "path": "/health", "interval": 1, "timeout": 1 }}, {KEYS} }}"#
            );
            lanes.push(Lane { service, front });
        }
        let config = testbed.configure_with(KEYS, &more);
        let text = fs::read_to_string(&config).unwrap();
        let text = text.replace(r#""log_level": "debug""#, r#""log_level": "info""#);
        // The default: on a busy host Docker needs it.
        let text = text.replace(r#""timeout": 10 }"#, r#""timeout": 30 }"#);
        fs::write(&config, text.replace(IMAGE, &image())).unwrap();
        let daemon = Daemon::start_by(Command::new(program()), &config, &[]);
        let remains = Remains { testbed, lanes };
        let fleet =
            Fleet { daemon, config, remains, reloads: AtomicU32::new(0), orders: Mutex::new(()) };
        fleet.settle();
        fleet
    }

    /// Every service has its fewest replicas, and no earlier HAProxy is left.
    pub(crate) fn settle(&self) {
        self.remains.lanes.iter().for_each(|lane| self.wait_serving(lane, FEWEST));
        let alone = reached(PATIENCE, || self.remains.testbed.haproxy_pids().len() == 1);
        assert!(alone, "earlier processes do not end: {:#?}", self.daemon.lines());
    }

    pub(crate) fn crowd(&self) -> Crowd {
        self.remains.crowd()
    }

    pub(crate) fn testbed(&self) -> &Testbed {
        &self.remains.testbed
    }

    pub(crate) fn fronts(&self) -> impl Iterator<Item = SocketAddr> + Clone {
        self.remains.lanes.iter().map(|lane| lane.front)
    }

    /// Replicas brought in or taken away, in services that do not wait for each other, and reloads,
    /// both spread over the requests that the clients send meanwhile. Whether all of it was done:
    /// what clients saw is worth knowing also when it was not.
    pub(crate) fn run(&self, goal: &Goal, crowd: &Crowd) -> bool {
        let begun = AtomicU32::new(0);
        let scale = |lane| {
            while let Some(event) = self.next_event(&begun, goal.events) {
                wait_sent(crowd, share(goal.requests, event, goal.events));
                self.up_and_down(lane);
            }
        };
        let scale = &scale;
        thread::scope(|scope| {
            let lanes = self.remains.lanes.iter();
            let lanes: Vec<_> = lanes.map(|lane| scope.spawn(move || scale(lane))).collect();
            for n in 0..goal.reloads {
                wait_sent(crowd, share(goal.requests, n, goal.reloads));
                self.force_reload();
                println!("reload {} after {} requests", n + 1, crowd.sent());
            }
            wait_sent(crowd, goal.requests);
            // Each is joined, so that no panic goes on from here.
            let failed = lanes.into_iter().filter_map(|lane| lane.join().err()).count();
            failed == 0
        })
    }

    /// Up and down are so many events; `None` when all have begun.
    fn next_event(&self, begun: &AtomicU32, events: u32) -> Option<u32> {
        let event = begun.fetch_add(2 * STEP, Ordering::Relaxed);
        (event < events).then_some(event)
    }

    pub(crate) fn up_and_down(&self, lane: &Lane) {
        let gone = || self.daemon.count(&["kind=replica.removed", &named(lane)]);
        let before = gone();
        self.scale(lane, FEWEST + STEP);
        self.wait_serving(lane, FEWEST + STEP);
        self.scale(lane, FEWEST);
        let removed = polled(PATIENCE, PAUSE, || before + STEP as usize <= gone());
        assert!(removed, "{} keeps its replicas: {:#?}", lane.service, self.daemon.lines());
    }

    pub(crate) fn restart(&self, lane: &Lane) {
        let done = || self.daemon.count(&["kind=rollout.finished", &named(lane)]);
        let before = done();
        self.command(&["restart", &lane.service]);
        let restarted = polled(PATIENCE, PAUSE, || before < done());
        assert!(restarted, "{} is not restarted: {:#?}", lane.service, self.daemon.lines());
        self.wait_serving(lane, FEWEST);
    }

    /// What failed is forgotten then, else it would be replaced ever more slowly.
    pub(crate) fn kill_one(&self, lane: &Lane) {
        let name = self.testbed().serving_for(&lane.service).pop().expect("a replica serves");
        let exited = || self.daemon.count(&["kind=replica.exited", &named(lane)]);
        let before = exited();
        self.testbed().docker(&["kill", &name]).expect("it is killed");
        assert!(polled(PATIENCE, PAUSE, || before < exited()), "{name} is not missed");
        self.daemon.signal("HUP");
        self.wait_serving(lane, FEWEST);
    }

    pub(crate) fn lane(&self, n: usize) -> &Lane {
        &self.remains.lanes[n % LANES]
    }

    pub(crate) fn daemon_pid(&self) -> u32 {
        self.daemon.pid()
    }

    pub(crate) fn log_bytes(&self) -> u64 {
        self.daemon.lines().iter().map(|line| line.len() as u64 + 1).sum()
    }

    /// Of all services, in whatever state.
    pub(crate) fn containers(&self) -> usize {
        let of = |lane: &Lane| {
            let label = format!("label=io.plimsoll.service={}", lane.service);
            let ids = self.testbed().docker(&["ps", "-aq", "--filter", &label]);
            ids.expect("docker answers").lines().count()
        };
        self.remains.lanes.iter().map(of).sum()
    }

    fn scale(&self, lane: &Lane, number: u32) {
        self.command(&["scale", &lane.service, &number.to_string()]);
    }

    /// Another interval of the health check is another file.
    pub(crate) fn force_reload(&self) {
        let n = self.reloads.fetch_add(1, Ordering::Relaxed);
        let text = fs::read_to_string(&self.config).unwrap();
        let old = spelled(n.wrapping_sub(1));
        let new = spelled(n);
        let text =
            if n == 0 { text.replace(r#""interval": 1,"#, &new) } else { text.replace(&old, &new) };
        fs::write(&self.config, text).unwrap();
        let before = self.daemon.count(&["kind=haproxy.reloaded"]);
        self.command(&["reload"]);
        let done = || before < self.daemon.count(&["kind=haproxy.reloaded"]);
        assert!(polled(PATIENCE, PAUSE, done), "no reload: {:#?}", self.daemon.lines());
    }

    /// The daemon takes few orders at a time, and none while Docker is slow to answer; it asks to
    /// come again.
    fn command(&self, words: &[&str]) {
        let _one = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = self.remains.testbed.dir.join("api.sock");
        let mut said = String::new();
        let taken = reached(PATIENCE, || {
            let mut command = Command::new(program());
            let out = command.args(words).arg("--socket").arg(&socket).output().unwrap();
            said = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(out.status.success() || said.contains("try again"), "{words:?}: {said}");
            out.status.success()
        });
        assert!(taken, "{words:?}: {said}");
    }

    fn wait_serving(&self, lane: &Lane, number: u32) {
        let mut seen = Vec::new();
        let done = polled(PATIENCE, PAUSE, || {
            seen = self.remains.testbed.serving_for(&lane.service);
            seen.len() == number as usize
        });
        assert!(done, "{} has {seen:?}: {:#?}", lane.service, self.daemon.lines());
    }

    /// As the daemon counts it.
    pub(crate) fn totals(&self) -> Totals {
        let socket = To::Unix(self.remains.testbed.dir.join("api.sock"));
        let text = socket.ask("GET /metrics", "Connection: close\r\n", "").body;
        let of = |series: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(series));
            value.map_or(0, |value| value.trim().parse().expect("a whole number"))
        };
        let event = |kind: &str| of(&format!("plimsoll_events_total{{kind=\"{kind}\"}}"));
        Totals {
            started: event("replica.started"),
            removed: event("replica.removed"),
            reloads: of("plimsoll_haproxy_reloads_total{result=\"ok\"}"),
            failed_reloads: event("haproxy.reload_failed"),
            cut: event("replica.drain_timed_out"),
            cpu_ms: cpu_ms(self.daemon.pid()),
        }
    }

    /// To find out what a lost request met.
    pub(crate) fn print_log(&self) {
        self.daemon.lines().iter().for_each(|line| eprintln!("{line}"));
    }

    pub(crate) fn stop(mut self) -> Remains {
        self.daemon.signal("TERM");
        assert!(self.daemon.wait_exit(secs(20)).success());
        self.remains
    }
}

pub(crate) struct Totals {
    started: u64,
    removed: u64,
    reloads: u64,
    failed_reloads: u64,
    cut: u64,
    cpu_ms: u64,
}

impl Totals {
    pub(crate) fn print_since(&self, before: &Totals) {
        println!(
            "{} replicas in and {} out, {} reloads of HAProxy, {} failed, {} drains cut; \
             {:.2} s of CPU for plimsoll",
            self.started - before.started,
            self.removed - before.removed,
            self.reloads - before.reloads,
            self.failed_reloads - before.failed_reloads,
            self.cut - before.cut,
            (self.cpu_ms - before.cpu_ms) as f64 / 1000.0
        );
    }
}

/// The requests after which event or reload `n` of `all` is due.
fn share(requests: u64, n: u32, all: u32) -> u64 {
    requests * u64::from(n) / u64::from(all)
}

/// A minute without a request sent is not waited for.
fn wait_sent(crowd: &Crowd, number: u64) {
    let mut sent = crowd.sent();
    while sent < number {
        let before = sent;
        polled(secs(60), PAUSE, || {
            sent = crowd.sent();
            number <= sent
        });
        assert!(before < sent, "the clients are stuck after {sent} requests");
    }
}

fn spelled(n: u32) -> String {
    format!(r#""interval": "{}ms","#, 1001 + n % 2)
}

fn named(lane: &Lane) -> String {
    format!("service={} ", lane.service)
}

/// Another tag, where it is to be measured beside programs that use the usual one.
fn image() -> String {
    std::env::var("PLIMSOLL_BENCH_IMAGE").unwrap_or_else(|_| IMAGE.to_owned())
}

/// The release build, where there is one.
pub(crate) fn program() -> String {
    std::env::var("PLIMSOLL_BENCH_BIN").unwrap_or_else(|_| PLIMSOLL.to_owned())
}
