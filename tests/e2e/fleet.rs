//! Many services on one daemon and one HAProxy, each with clients of its own, and a ledger of every
//! container that Docker makes and removes meanwhile.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::daemon::{plimsoll, secs};
use crate::load::{Kind, Load};
use crate::testbed::{IMAGE, Testbed, clients, free_port};

/// On everything that a fleet makes or has made, also on what is copied from that.
const RUN: &str = "plimsoll.e2e.run";

/// Orders that Docker takes at once without making one wait for long.
const AT_ONCE: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Ours,
    Compose,
    Clone,
}

/// One service: a name, its door, and how many of its containers compose made.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) owner: Owner,
    pub(crate) originals: u32,
    pub(crate) replicas: u32,
}

impl Member {
    /// As docker compose calls it, or we do.
    pub(crate) fn container(&self, number: u32) -> String {
        match self.owner {
            Owner::Ours => format!("{}-{number}", self.name),
            Owner::Compose | Owner::Clone => format!("{}-web-{number}", self.name),
        }
    }

    pub(crate) fn load(&self, kind: Kind, path: &str, count: usize, pause_ms: u64) -> Load {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let silence_max = if kind == Kind::Slow { secs(40) } else { secs(8) };
        Load::start_with_silence(address, clients(count, kind, path, pause_ms), silence_max)
    }
}

/// What `docker ps` shows of one container.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) state: String,
}

pub(crate) struct Fleet {
    pub(crate) testbed: Testbed,
    pub(crate) members: Vec<Member>,
    pub(crate) network: String,
    pub(crate) image: String,
    run: String,
    volumes: Mutex<Vec<String>>,
}

impl Fleet {
    /// With an image that has a volume and a network, and no container yet.
    pub(crate) fn new(name: &str) -> Fleet {
        let testbed = Testbed::new(name);
        let run = testbed.service.clone();
        let image = format!("{run}:1");
        let build = format!("FROM {IMAGE}\nVOLUME /data\n");
        let file = testbed.dir.write("Dockerfile", &build);
        let dir = testbed.dir.path().display().to_string();
        let args = ["build", "-q", "-t", &image, "-f", file.to_str().unwrap(), &dir];
        assert!(testbed.docker(&args).is_some(), "no image with a volume");
        assert!(testbed.docker(&["network", "create", &run]).is_some(), "no network");
        let network = run.clone();
        Fleet { testbed, members: Vec::new(), network, image, run, volumes: Mutex::default() }
    }

    pub(crate) fn add(&mut self, name: &str, owner: Owner, originals: u32, replicas: u32) {
        let name = format!("{}-{name}", self.run);
        self.members.push(Member { name, port: free_port(), owner, originals, replicas });
    }

    /// As `docker compose up` makes them, all at once, and their volumes noted.
    pub(crate) fn run_originals(&self) {
        self.on(&self.members, |member| {
            (1..=member.originals).for_each(|n| self.run_original(member, n, &[]));
        });
    }

    pub(crate) fn run_original(&self, member: &Member, number: u32, more: &[&str]) {
        let container = member.container(number);
        let labels = [
            format!("com.docker.compose.project={}", member.name),
            "com.docker.compose.service=web".to_owned(),
            format!("com.docker.compose.container-number={number}"),
            "com.docker.compose.config-hash=5a5a".to_owned(),
            "com.docker.compose.oneoff=False".to_owned(),
            format!("{RUN}={}", self.run),
        ];
        let mut args = vec!["run", "-d", "--name", &container, "--network", &self.network];
        args.extend(["--network-alias", "web", "--stop-timeout", "1"]);
        args.extend(labels.iter().flat_map(|label| ["--label", label.as_str()]));
        args.extend(more);
        args.push(&self.image);
        assert!(self.testbed.docker(&args).is_some(), "{container} does not start");
        let volumes = self.volumes_of(&container);
        assert!(!volumes.is_empty(), "{container} has no volume");
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner).extend(volumes);
    }

    /// From then on these have to stay.
    pub(crate) fn note_volumes(&self, container: &str) {
        let volumes = self.volumes_of(container);
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner).extend(volumes);
    }

    fn volumes_of(&self, container: &str) -> Vec<String> {
        let format = "{{range .Mounts}}{{.Name}}\n{{end}}";
        let out =
            self.testbed.docker(&["inspect", "--format", format, container]).unwrap_or_default();
        out.lines().filter(|l| !l.is_empty()).map(str::to_owned).collect()
    }

    pub(crate) fn volumes_lost(&self) -> Vec<String> {
        let there = self.testbed.docker(&["volume", "ls", "-q"]).expect("docker answers");
        let there: Vec<&str> = there.lines().collect();
        let noted = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        noted.iter().filter(|v| !there.contains(&v.as_str())).cloned().collect()
    }

    /// `keys` are those of a service beside where it comes from and where it listens.
    pub(crate) fn configure(&self, keys: impl Fn(&Member) -> String) -> PathBuf {
        let dir = self.testbed.dir.path().display();
        let mut services = String::new();
        for (at, member) in self.members.iter().enumerate() {
            let Member { name, port, owner, .. } = member;
            let from = match owner {
                Owner::Ours => {
                    let label = format!(r#""labels": {{ "{RUN}": "{}" }}"#, self.run);
                    format!(r#""image": "{}", {label}"#, self.image)
                }
                Owner::Compose | Owner::Clone => {
                    format!(r#""compose": {{ "project": "{name}", "service": "web" }}"#)
                }
            };
            let comma = if at == 0 { "" } else { "," };
            let keys = keys(member);
            let _ = write!(
                services,
                r#"{comma}
    "{name}": {{
      {from}, "port": 8080, "listen": "127.0.0.1:{port}", "stop_timeout": 1, "drain_timeout": 20,
      "health_check": {{ "path": "/health", "interval": 1, "timeout": 1, "start_period": 12,
                        "unhealthy_after": 6 }},
      "cooldown_period": {{ "up": 3, "down": 1 }}, {keys}
    }}"#
            );
        }
        let text = format!(
            r#"{{
  "autoscaler": {{
    "check_interval": 1, "log_level": "debug", "state_dir": "{dir}/state", "labels": false,
    "cpu_reserve": 0
  }},
  "docker": {{ "timeout": 30 }},
  "api": {{ "listen": null, "socket": "{dir}/api.sock" }},
  "load_balancer": {{
    "binary": "{haproxy}", "config": "{dir}/haproxy.cfg", "pid_file": "{dir}/haproxy.pid",
    "socket": "{dir}/haproxy.sock", "min_reload_interval": "500ms"
  }},
  "services": {{{services}
  }}
}}
"#,
            haproxy = self.testbed.haproxy.display(),
        );
        self.testbed.dir.write("config.json", &text)
    }

    /// The servers of each service that HAProxy sends requests to.
    pub(crate) fn serving(&self) -> BTreeMap<String, Vec<String>> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in self.testbed.ask_haproxy("show stat").lines() {
            let fields: Vec<&str> = line.split(',').collect();
            let &[service, server, ..] = fields.as_slice() else { continue };
            let is_up = fields.get(17).is_some_and(|state| state.starts_with("UP"));
            if is_up && !["FRONTEND", "BACKEND"].contains(&server) {
                all.entry(service.to_owned()).or_default().push(server.to_owned());
            }
        }
        all
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        let label = format!("label={RUN}={}", self.run);
        let format = "{{.ID}}|{{.Names}}|{{.State}}";
        let args = ["ps", "-a", "--no-trunc", "--filter", &label, "--format", format];
        let out = self.testbed.docker(&args).expect("docker answers");
        let rows = out.lines().map(|line| {
            let mut words = line.split('|').map(str::to_owned);
            let mut next = || words.next().unwrap_or_default();
            Row { id: next(), name: next(), state: next() }
        });
        rows.collect()
    }

    /// On all, so many at once that the engine answers each within seconds.
    pub(crate) fn on<T: Sync>(&self, of: &[T], act: impl Fn(&T) + Sync) {
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(one) = of.get(next.fetch_add(1, Ordering::Relaxed)) {
                act(one);
            }
        };
        thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(of.len()) {
                scope.spawn(work);
            }
        });
    }

    pub(crate) fn ask(&self, args: &[&str]) -> String {
        let socket = self.testbed.dir.join("api.sock");
        let mut all = args.to_vec();
        all.extend(["--socket", socket.to_str().unwrap()]);
        let out = plimsoll(&all);
        format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
    }

    /// What everything of it has to carry.
    pub(crate) fn label(&self) -> (&str, &str) {
        (RUN, &self.run)
    }

    pub(crate) fn ledger(&self) -> Ledger {
        Ledger::open(&format!("{RUN}={}", self.run))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let label = format!("label={RUN}={}", self.run);
        let ids = self.testbed.docker(&["ps", "-aq", "--filter", &label]).unwrap_or_default();
        let ids: Vec<&str> = ids.lines().collect();
        // Docker 20.10 waits for ever for the end of a paused container on control groups v1.
        let paused = ["ps", "-q", "--filter", &label, "--filter", "status=paused"];
        for id in self.testbed.docker(&paused).unwrap_or_default().lines() {
            drop(self.testbed.docker(&["unpause", id]));
        }
        for some in ids.chunks(20) {
            drop(self.testbed.docker(&[&["rm", "-f", "-v"], some].concat()));
        }
        let volumes = self.volumes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let volumes: Vec<&str> = volumes.iter().map(String::as_str).collect();
        drop(self.testbed.docker(&[&["volume", "rm", "-f"], volumes.as_slice()].concat()));
        let images = self.testbed.docker(&["images", "-q", "--filter", &label]).unwrap_or_default();
        let images: Vec<&str> = images.lines().chain([self.image.as_str()]).collect();
        drop(self.testbed.docker(&[&["rmi", "-f"], images.as_slice()].concat()));
        drop(self.testbed.docker(&["network", "rm", &self.network]));
    }
}

/// One container came or went.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) action: String,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) member: String,
}

/// Docker's own account of what came and went, in order and with nothing left out.
pub(crate) struct Ledger {
    child: Child,
    entries: Arc<Mutex<Vec<Entry>>>,
}

impl Ledger {
    fn open(label: &str) -> Ledger {
        let label = format!("label={label}");
        let mut command = Command::new("docker");
        // From a moment ago on, so that nothing is missed until the stream is there.
        command.args(["events", "--since", "2s"]);
        command.args(["--filter", "type=container", "--filter", &label]);
        for action in ["create", "start", "die", "destroy"] {
            command.args(["--filter", &format!("event={action}")]);
        }
        command.args(["--format", "{{json .}}"]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("docker events");
        let entries = Arc::new(Mutex::new(Vec::new()));
        let out = child.stdout.take().unwrap();
        let sink = entries.clone();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if let Some(entry) = Entry::read(&line) {
                    sink.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
                }
            }
        });
        Ledger { child, entries }
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The most containers that there were at once.
    pub(crate) fn most(&self, member: &str) -> usize {
        let mut now = 0usize;
        let mut most = 0;
        for entry in self.entries().iter().filter(|e| e.member == member && !e.is_stranger()) {
            match entry.action.as_str() {
                "create" => now += 1,
                "destroy" => now = now.saturating_sub(1),
                _ => {}
            }
            most = most.max(now);
        }
        most
    }

    pub(crate) fn count(&self, member: &str, action: &str) -> usize {
        let of = |e: &&Entry| e.member == member && e.action == action && !e.is_stranger();
        self.entries().iter().filter(of).count()
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Entry {
    fn read(line: &str) -> Option<Entry> {
        let event: serde_json::Value = serde_json::from_str(line).ok()?;
        let of = |key: &str| {
            let text = event["Actor"]["Attributes"][key].as_str();
            text.unwrap_or_default().to_owned()
        };
        let ours = of("io.plimsoll.service");
        let project = of("com.docker.compose.project");
        Some(Entry {
            action: event["Action"].as_str()?.to_owned(),
            id: event["Actor"]["ID"].as_str()?.to_owned(),
            name: of("name"),
            member: if project.is_empty() { ours } else { project },
        })
    }

    /// Of somebody who ran a copy.
    pub(crate) fn is_stranger(&self) -> bool {
        self.name.starts_with("stranger-")
    }
}
