//! Everything that one daemon needs: a folder, a scripted Docker, the real HAProxy, a config that
//! points at all of them. What the daemon started ends with the harness.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use std::{fs, thread};

use serde_json::{Value, json};

use crate::daemon::{Daemon, Dir, PLIMSOLL, reached, secs, signal};
use crate::fake_docker::{FakeDocker, Route};
use crate::fake_http;

/// Declare the harness before its daemons: they end first, or they would bring HAProxy back.
pub(crate) struct Harness {
    /// What `start` writes.
    pub(crate) config: Value,
    /// Where HAProxy serves `web`.
    pub(crate) front: String,
    pub(crate) docker: FakeDocker,
    pub(crate) dir: Dir,
}

impl Harness {
    /// With a Docker that answers and one service `web` of one replica.
    pub(crate) fn new(name: &str) -> Harness {
        let harness = Harness::without_docker(name);
        harness.docker.open();
        harness
    }

    pub(crate) fn without_docker(name: &str) -> Harness {
        static APP_PORT: OnceLock<u16> = OnceLock::new();
        let dir = Dir::new(name);
        let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let front = free_address();
        let config = json!({
            "autoscaler": {
                "check_interval": 1, "cpu_reserve": 0, "log_level": "debug",
                "state_dir": at("state"),
                "labels": false,
            },
            "docker": { "socket": at("docker.sock"), "timeout": 1 },
            "api": { "listen": null, "socket": at("api.sock") },
            "load_balancer": {
                "config": at("haproxy.cfg"), "pid_file": at("haproxy.pid"),
                "socket": at("haproxy.sock"), "min_reload_interval": "100ms",
                "hard_stop_after": "1s",
            },
            "services": { "web": {
                "image": "demo:1", "port": APP_PORT.get_or_init(fake_http::start_app),
                "min_replicas": 1, "max_replicas": 1, "listen": front.clone(),
                "health_check": { "path": "/", "interval": "1s", "timeout": "1s" },
                "drain_timeout": "1s", "stop_timeout": 0,
            } },
        });
        let docker = FakeDocker::new(&dir.join("docker.sock"));
        Harness { config, front, docker, dir }
    }

    pub(crate) fn set(&mut self, pointer: &str, value: Value) {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        self.config.pointer_mut(parent).unwrap()[key] = value;
    }

    pub(crate) fn write(&self) -> PathBuf {
        self.dir.write("config.json", &format!("{:#}\n", self.config))
    }

    pub(crate) fn start(&self) -> Daemon {
        Daemon::start(&self.write())
    }

    pub(crate) fn start_with(&self, options: &[&str]) -> Daemon {
        Daemon::start_by(Command::new(PLIMSOLL), &self.write(), options)
    }

    pub(crate) fn serves(&self) -> bool {
        fake_http::get(&self.front) == Some(200)
    }

    #[track_caller]
    pub(crate) fn wait_served(&self) {
        assert!(reached(secs(10), || self.serves()), "{} does not serve", self.front);
    }

    /// Until the daemon has looked at the containers `times` more. It is woken for it.
    #[track_caller]
    pub(crate) fn wait_evaluations(&self, times: usize) {
        for _ in 0..times {
            let before = self.docker.count(Route::List);
            self.docker.wake();
            let looked = reached(secs(10), || before < self.docker.count(Route::List));
            assert!(looked, "it looks at the containers no more");
        }
    }

    /// Until the daemon does not tick: whatever it does next has a cause of its own.
    #[track_caller]
    pub(crate) fn wait_quiet(&self) {
        let mut looks = 0;
        let mut same = 0;
        let quiet = reached(secs(10), || {
            let now = self.docker.count(Route::List);
            same = if now == looks { same + 1 } else { 0 };
            looks = now;
            30 <= same
        });
        assert!(quiet, "it looks again and again");
    }

    /// Its HAProxy processes, and the scripts that stand for one.
    pub(crate) fn haproxies(&self) -> (Vec<u32>, Vec<u32>) {
        let all = processes_with(&format!("{}/", self.dir.path().display()));
        let mut all: Vec<_> = all
            .into_iter()
            .filter_map(|pid| Some((pid, fs::read_link(format!("/proc/{pid}/exe")).ok()?)))
            .collect();
        all.retain(|(_, program)| !program.ends_with("plimsoll"));
        let is_real = |(_, program): &(u32, PathBuf)| program.ends_with("haproxy");
        let (real, scripts): (Vec<_>, Vec<_>) = all.into_iter().partition(is_real);
        let pids = |of: Vec<(u32, PathBuf)>| of.into_iter().map(|(pid, _)| pid).collect();
        (pids(real), pids(scripts))
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        let marker = format!("{}/", self.dir.path().display());
        let all_gone = || {
            let pids = processes_with(&marker);
            // One that ends by itself meanwhile is as well.
            pids.iter().for_each(|pid| drop(kill(*pid)));
            pids.is_empty()
        };
        let gone = reached(secs(5), all_gone);
        assert!(gone || thread::panicking(), "processes of {marker} do not end");
    }
}

fn kill(pid: u32) -> std::io::Result<process::Output> {
    Command::new("kill").arg("-KILL").arg(pid.to_string()).output()
}

/// Those that have a path of this folder among their arguments. A daemon is not one: its test
/// ended it before.
fn processes_with(marker: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse().ok());
    let named = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.split('\0').any(|argument| argument.starts_with(marker)) && *pid != process::id()
    };
    pids.filter(named).collect()
}

/// On a local address that no other harness has, so that nobody else takes the port meanwhile.
pub(crate) fn free_address() -> String {
    static COUNT: AtomicU16 = AtomicU16::new(1);
    let own = process::id() % 60_000;
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    // After 250 an address comes again, then with another port.
    let address = format!("127.{}.{}.{}", 1 + own / 250, own % 250, 1 + n % 250);
    let port = TcpListener::bind((address.as_str(), 0)).unwrap().local_addr().unwrap().port();
    format!("{address}:{port}")
}

/// Tells the daemon to end, and that it did so in time and in order.
#[track_caller]
pub(crate) fn end(mut daemon: Daemon, name: &str, within: Duration) {
    signal(daemon.pid(), name);
    let status = daemon.wait_exit(within);
    assert_eq!(status.code(), Some(0), "after {name}");
    daemon.wait(&["kind=daemon.stopping"], secs(1));
}

/// Runs `check` for every row at the same time: they mostly wait.
pub(crate) fn each<T: Sync>(rows: &[T], check: impl Fn(&T) + Sync) {
    thread::scope(|scope| {
        for row in rows {
            scope.spawn(|| check(row));
        }
    });
}
