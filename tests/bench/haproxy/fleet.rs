//! Four services behind one HAProxy, scaled by orders as an operator gives them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{fs, thread};

use crate::crowd::Crowd;
use crate::daemon::{Daemon, PLIMSOLL, reached, secs};
use crate::testbed::{IMAGE, Testbed, free_port};

const LANES: usize = 4;
const FEWEST: u32 = 2;
/// Replicas that one order brings or takes away.
const STEP: u32 = 2;
/// Longer than any drain may take, and any reload.
const PATIENCE: Duration = Duration::from_secs(90);

/// `drain_timeout` is longer than a run: a drain that does not end by itself must be seen.
const KEYS: &str = r#""min_replicas": 2, "max_replicas": 8, "scale_up_threshold": 9000,
      "scale_down_threshold": 0, "drain_timeout": "80s",
      "environment": { "START_DELAY_MS": "300" }"#;

/// One service and its frontend.
pub(crate) struct Lane {
    pub(crate) service: String,
    front: SocketAddr,
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
        Crowd::at(&self.lanes.iter().map(|lane| lane.front).collect::<Vec<_>>())
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        for lane in &self.lanes {
            let label = format!("label=io.plimsoll.service={}", lane.service);
            let ids = self.testbed.docker(&["ps", "-aq", "--filter", &label]).unwrap_or_default();
            for id in ids.lines() {
                drop(self.testbed.docker(&["rm", "-f", "-v", id]));
            }
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
        fs::write(&config, text.replace(r#""log_level": "debug""#, r#""log_level": "info""#))
            .unwrap();
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

    /// So many replicas brought in or taken away, in services that do not wait for each other,
    /// and so many reloads beside.
    pub(crate) fn run(&self, events: u32, reloads: u32) {
        let left = AtomicU32::new(events);
        thread::scope(|scope| {
            for lane in self.remains.lanes.iter().filter(|_| 0 < events) {
                scope.spawn(|| while self.up_and_down(lane, &left) {});
            }
            for _ in 0..reloads {
                self.force_reload();
                // With nothing else to wait for, one every few hundred milliseconds.
                let over = || 0 < events && left.load(Ordering::Relaxed) == 0;
                reached(Duration::from_secs(u64::from(events != 0)), over);
            }
        });
    }

    /// False when no events are left.
    fn up_and_down(&self, lane: &Lane, left: &AtomicU32) -> bool {
        let taken = |n: u32| n.checked_sub(2 * STEP);
        if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_err() {
            return false;
        }
        let gone = || self.daemon.count(&["kind=replica.removed", &named(lane)]);
        let before = gone();
        self.scale(lane, FEWEST + STEP);
        self.wait_serving(lane, FEWEST + STEP);
        self.scale(lane, FEWEST);
        let removed = reached(PATIENCE, || before + STEP as usize <= gone());
        assert!(removed, "{} keeps its replicas: {:#?}", lane.service, self.daemon.lines());
        true
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
        assert!(reached(PATIENCE, done), "no reload: {:#?}", self.daemon.lines());
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
        let done = reached(PATIENCE, || {
            seen = self.remains.testbed.serving_for(&lane.service);
            seen.len() == number as usize
        });
        assert!(done, "{} has {seen:?}: {:#?}", lane.service, self.daemon.lines());
    }

    pub(crate) fn print_facts(&self) {
        let count = |kind: &str| self.daemon.count(&[&format!("kind={kind}")]);
        println!(
            "{} services, {} replicas in and {} out, {} reloads of HAProxy, {} failed, {} cut",
            self.remains.lanes.len(),
            count("replica.started"),
            count("replica.removed"),
            count("haproxy.reloaded"),
            count("haproxy.reload_failed"),
            count("replica.drain_timed_out")
        );
    }

    pub(crate) fn stop(mut self) -> Remains {
        self.daemon.signal("TERM");
        assert!(self.daemon.wait_exit(secs(20)).success());
        self.remains
    }
}

fn spelled(n: u32) -> String {
    format!(r#""interval": "{}ms","#, 1001 + n % 2)
}

fn named(lane: &Lane) -> String {
    format!("service={} ", lane.service)
}

/// The release build, where there is one.
pub(crate) fn program() -> String {
    std::env::var("PLIMSOLL_BENCH_BIN").unwrap_or_else(|_| PLIMSOLL.to_owned())
}
