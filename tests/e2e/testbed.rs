//! One service of a test's own on the real Docker and HAProxy: config, daemon, traffic, clean-up.

#![allow(dead_code, reason = "each test crate uses a part of it")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::Duration;
use std::{fs, process, thread};

use crate::daemon::{Daemon, Dir, reached, secs, signal};
use crate::load::{Client, Kind, Load};

pub(crate) const IMAGE: &str = "plimsoll-demo-app:1";
pub(crate) const HAPROXY: &str = "/usr/sbin/haproxy";
/// As contrib/setup.sh fetches it.
pub(crate) const HAPROXY_3_0: &str = "/var/cache/plimsoll/haproxy-3.0/usr/sbin/haproxy";

/// Tests that go by times share it; those that keep the machine busy have it alone.
pub(crate) static QUIET: RwLock<()> = RwLock::new(());

pub(crate) struct Testbed {
    pub(crate) dir: Dir,
    pub(crate) service: String,
    pub(crate) port: u16,
    /// Where the test itself asks Docker.
    pub(crate) docker_socket: PathBuf,
    /// Where the daemon does, if not there.
    pub(crate) daemons_socket: Option<PathBuf>,
    pub(crate) haproxy: PathBuf,
}

impl Testbed {
    pub(crate) fn new(name: &str) -> Testbed {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let testbed = Testbed {
            dir: Dir::new(name),
            service: format!("e2e-{name}-{}-{n}", process::id()),
            port: free_port(),
            docker_socket: PathBuf::from("/var/run/docker.sock"),
            daemons_socket: None,
            haproxy: PathBuf::from(HAPROXY),
        };
        let image = testbed.docker(&["image", "inspect", IMAGE]);
        assert!(image.is_some(), "no Docker, or no image {IMAGE}: run `make test`");
        testbed
    }

    /// `service` holds the keys beside image, port, listen and health check.
    pub(crate) fn configure(&self, service: &str) -> PathBuf {
        self.configure_with(service, "")
    }

    /// `more` are whole further services.
    pub(crate) fn configure_with(&self, service: &str, more: &str) -> PathBuf {
        let dir = self.dir.path().display();
        let text = format!(
            r#"{{
  "autoscaler": {{
    "check_interval": 1, "log_level": "debug", "state_dir": "{dir}/state", "labels": false,
    "cpu_reserve": 0
  }},
  "docker": {{ "socket": "{docker}", "timeout": 10 }},
  "api": {{ "listen": null, "socket": "{dir}/api.sock" }},
  "load_balancer": {{
    "binary": "{haproxy}", "config": "{dir}/haproxy.cfg", "pid_file": "{dir}/haproxy.pid",
    "socket": "{dir}/haproxy.sock", "min_reload_interval": "200ms"
  }},
  "services": {{
    "{name}": {{
      "image": "{IMAGE}", "port": 8080, "listen": "127.0.0.1:{port}", "stop_timeout": 1,
      "health_check": {{ "path": "/health", "interval": 1, "timeout": 1 }},
      {service}
    }}{more}
  }}
}}
"#,
            docker = self.daemons_socket.as_ref().unwrap_or(&self.docker_socket).display(),
            haproxy = self.haproxy.display(),
            name = self.service,
            port = self.port,
        );
        self.dir.write("config.json", &text)
    }

    /// A whole further service without a replica, for `configure_with`. That it comes or goes takes
    /// a reload of HAProxy, where servers come and go without.
    pub(crate) fn other(&self, listen: u16) -> String {
        format!(
            r#", "{}-b": {{ "image": "{IMAGE}", "port": 8080, "max_replicas": 1, "min_replicas": 0,
             "scale_up_threshold": 90, "scale_down_threshold": 10,
             "listen": "127.0.0.1:{listen}" }}"#,
            self.service
        )
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Waits until so many replicas are in service.
    #[track_caller]
    pub(crate) fn wait_serving(&self, count: usize, within: Duration, daemon: &Daemon) {
        let mut seen = Vec::new();
        let done = reached(within, || {
            seen = self.serving();
            seen.len() == count
        });
        assert!(done, "{seen:?} serve, not {count}, after {within:?}: {:#?}", daemon.lines());
    }

    /// Names of the servers that HAProxy sends new requests to.
    pub(crate) fn serving(&self) -> Vec<String> {
        self.serving_for(&self.service)
    }

    pub(crate) fn serving_for(&self, service: &str) -> Vec<String> {
        let rows = self.ask_haproxy("show stat");
        let rows = rows.lines().filter(|l| l.starts_with(&format!("{service},")));
        let fields = rows.map(|l| l.split(',').collect::<Vec<_>>());
        let up = fields.filter(|f| f.get(17).is_some_and(|s| s.starts_with("UP")));
        let names = up.map(|f| f[1].to_owned());
        names.filter(|n| !["FRONTEND", "BACKEND"].contains(&n.as_str())).collect()
    }

    /// Kills the first process of a container, once it runs.
    #[track_caller]
    pub(crate) fn crash(&self, container: &str) {
        let mut pid = 0;
        let runs = reached(secs(20), || {
            let shown = self.docker(&["inspect", "--format", "{{.State.Pid}}", container]);
            // 0: it does not run, as between two runs of a restart policy.
            pid = shown.and_then(|pid| pid.trim().parse().ok()).unwrap_or(0);
            pid != 0
        });
        assert!(runs, "{container} does not run");
        signal(pid, "KILL");
    }

    /// Empty when nobody answers.
    pub(crate) fn ask_haproxy(&self, command: &str) -> String {
        let mut answer = String::new();
        let Ok(mut stream) = UnixStream::connect(self.dir.join("haproxy.sock")) else {
            return answer;
        };
        stream.set_read_timeout(Some(secs(2))).unwrap();
        let asked = stream.write_all(format!("{command}\n").as_bytes());
        drop(asked.and_then(|()| stream.read_to_string(&mut answer)));
        answer
    }

    pub(crate) fn haproxy_pid(&self) -> u32 {
        let info = self.ask_haproxy("show info");
        let pid = info.lines().find_map(|l| l.strip_prefix("Pid: "));
        pid.expect("HAProxy answers").trim().parse().unwrap()
    }

    /// Every HAProxy that runs this testbed's file.
    pub(crate) fn haproxy_pids(&self) -> Vec<u32> {
        let dir = self.dir.path().to_str().unwrap().to_owned();
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
        let ours = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            line.split('\0').next().is_some_and(|p| p.ends_with("haproxy")) && line.contains(&dir)
        };
        pids.filter(ours).collect()
    }

    /// `(id, name, state)` of every container of the service.
    pub(crate) fn containers(&self) -> Vec<(String, String, String)> {
        let label = format!("label=io.plimsoll.service={}", self.service);
        let format = "{{.ID}} {{.Names}} {{.State}}";
        let out = self.docker(&["ps", "-a", "--filter", &label, "--format", format]);
        let out = out.expect("docker answers");
        let mut rows: Vec<_> = out
            .lines()
            .filter_map(|l| {
                let mut words = l.split(' ').map(str::to_owned);
                Some((words.next()?, words.next()?, words.next()?))
            })
            .collect();
        rows.sort_by(|a, b| a.1.cmp(&b.1));
        rows
    }

    /// What the client prints; `None` when it fails.
    pub(crate) fn docker(&self, args: &[&str]) -> Option<String> {
        let host = format!("unix://{}", self.docker_socket.display());
        let out = Command::new("docker").args(["--host", &host]).args(args).output().ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
    }

    /// Of every container of a service; none when Docker does not answer.
    pub(crate) fn container_ids(&self, service: &str) -> Vec<String> {
        let label = format!("label=io.plimsoll.service={service}");
        let ids = self.docker(&["ps", "-aq", "--filter", &label]).unwrap_or_default();
        ids.lines().map(str::to_owned).collect()
    }

    pub(crate) fn remove_containers(&self, service: &str) {
        for id in self.container_ids(service) {
            drop(self.docker(&["rm", "-f", "-v", &id]));
        }
    }

    pub(crate) fn clean_up(&self) {
        for (id, ..) in self.containers() {
            drop(self.docker(&["rm", "-f", "-v", &id]));
        }
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        self.haproxy_pids().into_iter().for_each(|pid| signal(pid, "KILL"));
        self.remove_containers(&self.service);
        if thread::panicking() {
            eprintln!("failed on {}", self.service);
        }
    }
}

/// Free when asked, and never given twice by this process.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

/// So many clients of one kind.
pub(crate) fn clients(count: usize, kind: Kind, path: &str, pause_ms: u64) -> Vec<Client> {
    let pause = Duration::from_millis(pause_ms);
    vec![Client { kind, method: "GET", path: path.to_owned(), pause }; count]
}

/// Keep-alive, close and slow clients at once, light enough for one replica.
pub(crate) fn everyone(testbed: &Testbed) -> Load {
    let mut all = clients(3, Kind::KeepAlive, "/", 10);
    all.extend(clients(3, Kind::Close, "/", 20));
    all.extend(clients(2, Kind::Slow, "/slow?ms=700", 10));
    Load::start(testbed.address(), all)
}
