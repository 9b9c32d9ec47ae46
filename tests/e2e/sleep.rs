//! Services that sleep, with no replica, until a request comes: nothing that comes is lost.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use serde_json::Value;

use crate::daemon::{Daemon, PLIMSOLL, polled, reached, secs};
use crate::raw_http::To;
use crate::testbed::{IMAGE, Testbed, free_port};

mod cycles;
mod deaths;
mod kinds;
mod operator;
mod sessions;
mod sizes;
mod starts;
mod waking;

/// Falls asleep soon, and no load adds a replica.
pub(crate) const SLEEPY: &str = r#""min_replicas": 0, "max_replicas": 2,
      "scale_up_threshold": 5000, "scale_down_threshold": 50, "sleep_after": "2s""#;

/// The testbed's service and others, which all may sleep.
pub(crate) struct Dormitory {
    pub(crate) testbed: Testbed,
    /// Each with its address.
    others: Vec<(String, SocketAddr, String)>,
    frontends: String,
}

impl Dormitory {
    pub(crate) fn new(name: &str) -> Dormitory {
        Dormitory { testbed: Testbed::new(name), others: Vec::new(), frontends: String::new() }
    }

    pub(crate) fn with_haproxy(name: &str, haproxy: &str) -> Dormitory {
        let mut dormitory = Dormitory::new(name);
        dormitory.testbed.haproxy = PathBuf::from(haproxy);
        assert!(Path::new(haproxy).exists(), "no {haproxy}: run `make test`");
        dormitory
    }

    /// One more, of which `keys` say the rest; gives its name and where it listens.
    pub(crate) fn add(&mut self, keys: &str) -> (String, SocketAddr) {
        let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let text = format!(
            r#""image": "{IMAGE}", "port": 8080, "listen": "{listen}", "stop_timeout": 1,
      "health_check": {{ "path": "/health", "interval": 1, "timeout": 1 }}, {keys}"#
        );
        self.insert(listen, text)
    }

    /// One more behind a frontend that others could share.
    pub(crate) fn add_routed(&mut self, keys: &str) -> (String, SocketAddr) {
        let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
        self.frontends =
            format!(r#""frontends": {{ "http": {{ "listen": "{listen}" }} }}, "min_reload"#);
        let text = format!(
            r#""image": "{IMAGE}", "port": 8080, "stop_timeout": 1,
      "health_check": {{ "path": "/health", "interval": 1, "timeout": 1 }},
      "routes": [ {{ "path": "/" }} ], {keys}"#
        );
        self.insert(listen, text)
    }

    fn insert(&mut self, listen: SocketAddr, text: String) -> (String, SocketAddr) {
        let name = format!("{}-{}", self.testbed.service, self.others.len() + 1);
        self.others.push((name.clone(), listen, text));
        (name, listen)
    }

    /// Of the testbed's own service and of all others.
    pub(crate) fn all(&self) -> Vec<(String, SocketAddr)> {
        let own = (self.testbed.service.clone(), self.testbed.address());
        let others = self.others.iter().map(|(name, listen, _)| (name.clone(), *listen));
        std::iter::once(own).chain(others).collect()
    }

    /// `keys` are those of the testbed's own service.
    pub(crate) fn write(&self, keys: &str) -> PathBuf {
        let others = self.others.iter();
        let more: String =
            others.map(|(name, _, keys)| format!(", \"{name}\": {{ {keys} }}")).collect();
        let config = self.testbed.configure_with(keys, &more);
        if !self.frontends.is_empty() {
            let text = fs::read_to_string(&config).unwrap();
            fs::write(&config, text.replace(r#""min_reload"#, &self.frontends)).unwrap();
        }
        config
    }

    /// Starts a daemon and waits until all services sleep.
    #[track_caller]
    pub(crate) fn start(&self, keys: &str) -> Daemon {
        let daemon = Daemon::start(&self.write(keys));
        self.wait_all_asleep(&daemon);
        daemon
    }

    #[track_caller]
    pub(crate) fn wait_all_asleep(&self, daemon: &Daemon) {
        self.all().iter().for_each(|(name, _)| self.wait_asleep(name, daemon));
    }

    #[track_caller]
    pub(crate) fn wait_asleep(&self, service: &str, daemon: &Daemon) {
        let is_so = || self.testbed.is_asleep(service);
        let rows = || self.testbed.ask_haproxy("show stat");
        assert!(reached(secs(60), is_so), "{service}:\n{}\n{:#?}", rows(), daemon.lines());
    }
}

impl Drop for Dormitory {
    fn drop(&mut self) {
        let ids = |name: &String| self.testbed.container_ids(name);
        let ids: Vec<String> = self.others.iter().flat_map(|(name, ..)| ids(name)).collect();
        if !ids.is_empty() {
            let ids = ids.iter().map(String::as_str);
            let remove: Vec<&str> = ["rm", "-f", "-v"].into_iter().chain(ids).collect();
            drop(self.testbed.docker(&remove));
        }
    }
}

impl Testbed {
    /// HAProxy sends what comes to the daemon, and no container is there.
    fn is_asleep(&self, service: &str) -> bool {
        let is_listed = self.wakes(service).is_some_and(|row| !row[17].starts_with("MAINT"));
        is_listed && self.serving_for(service).is_empty() && self.container_ids(service).is_empty()
    }

    /// HAProxy's row of the daemon's socket.
    fn wakes(&self, service: &str) -> Option<Vec<String>> {
        self.row(service, "wake")
    }

    fn row(&self, service: &str, server: &str) -> Option<Vec<String>> {
        let rows = self.ask_haproxy("show stat");
        let start = format!("{service},{server},");
        let row = rows.lines().find(|row| row.starts_with(&start))?;
        let fields: Vec<String> = row.split(',').map(str::to_owned).collect();
        (17 < fields.len()).then_some(fields)
    }

    /// Connections that HAProxy has to the daemon for this service, and those that it queues.
    fn waiting(&self, service: &str) -> (u32, u32) {
        let number = |row: Option<Vec<String>>, at: usize| {
            row.and_then(|row| row[at].parse().ok()).unwrap_or(0)
        };
        (number(self.wakes(service), 4), number(self.row(service, "BACKEND"), 2))
    }

    #[track_caller]
    fn wait_waiting(&self, service: &str, waiting: (u32, u32), daemon: &Daemon) {
        let mut seen = (0, 0);
        let is_so = || {
            seen = self.waiting(service);
            seen.0 == waiting.0 && waiting.1 <= seen.1
        };
        let is_so = reached(secs(10), is_so);
        assert!(is_so, "{seen:?} wait, not {waiting:?}: {:#?}", daemon.lines());
    }

    /// What `/status` has of the service.
    fn status(&self, service: &str) -> Value {
        let socket = To::Unix(self.dir.join("api.sock"));
        let status = socket.ask("GET /status", "Connection: close\r\n", "").json();
        let services = status["services"].as_array().expect("a list").clone();
        let own = services.into_iter().find(|one| one["name"] == service);
        own.unwrap_or_else(|| panic!("no {service}: {status}"))
    }

    /// What a command of an operator prints. The daemon may be too busy to take it at once.
    #[track_caller]
    fn order(&self, words: &[&str]) -> String {
        let mut said = String::new();
        let taken = polled(secs(20), secs(1) / 10, || {
            let mut command = Command::new(PLIMSOLL);
            let command = command.args(words).arg("--socket").arg(self.dir.join("api.sock"));
            let out = command.output().unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            said = text(&out.stdout) + &text(&out.stderr);
            assert!(out.status.success() || said.contains("try again"), "{words:?}: {said}");
            out.status.success()
        });
        assert!(taken, "{words:?}: {said}");
        said
    }
}

/// How many lines tell of this kind of event of the service.
fn events(daemon: &Daemon, kind: &str, service: &str) -> usize {
    daemon.count(&[&format!("kind={kind} "), &format!("service={service} ")])
}

/// Runs it for all at the same time.
fn at_once<T: Send>(all: impl IntoIterator<Item = T>, run: impl Fn(T) + Sync) {
    let run = &run;
    thread::scope(|scope| {
        all.into_iter().for_each(|one| {
            scope.spawn(move || run(one));
        });
    });
}
