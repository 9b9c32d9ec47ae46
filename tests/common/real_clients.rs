//! A site of four services behind one HAProxy, and programs of others that use it: h2load over
//! HTTP/2, Python's grpcio and websockets, and pgbench on PostgreSQL. Their containers have the
//! host's own programs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fs, io};

use crate::certificate::self_signed;
use crate::daemon::{Daemon, reached, secs};
use crate::testbed::{Testbed, free_port};

/// Docker starts three containers for each step, one of them a database.
const PATIENCE: Duration = Duration::from_secs(90);

/// What the clients of one kind sent and lost.
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) sent: u64,
    pub(crate) failed: u64,
    pub(crate) first_failure: String,
}

pub(crate) struct RealSite {
    /// First: it ends before its containers are removed.
    pub(crate) daemon: Daemon,
    host: Host,
}

/// What is left when the daemon has ended.
struct Host {
    testbed: Testbed,
    https: SocketAddr,
    postgres: SocketAddr,
    image: String,
}

/// Of the site's certificate.
const NAMES: [&str; 3] = ["shop.example", "grpc.example", "ws.example"];

impl RealSite {
    pub(crate) fn start(name: &str, program: Command) -> RealSite {
        let testbed = Testbed::new(name);
        let [https, postgres] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        // Clients trust it as its own authority.
        let (chain, key) = self_signed(&NAMES);
        testbed.dir.write("site.pem", &(chain + &key));
        let image = format!("{}-host", testbed.service);
        make_image(&testbed, &image);
        let host = Host { testbed, https, postgres, image };
        let config = host.configure(1, "0");
        let site = RealSite { daemon: Daemon::start_by(program, &config, &[]), host };
        site.wait_serving(1);
        site
    }

    /// Each service gets so many replicas; another `header` takes a reload of HAProxy.
    pub(crate) fn change(&self, count: u32, header: &str) {
        self.host.configure(count, header);
        let from = self.daemon.lines().len();
        self.daemon.signal("HUP");
        self.daemon.wait_from(from, &["kind=config.reloaded"], secs(20));
        self.wait_serving(count);
        let good = self.host.testbed.dir.join("haproxy.cfg.good");
        let text = format!("'X-Version' '{header}'");
        let is_loaded = || fs::read_to_string(&good).unwrap().contains(&text);
        assert!(reached(PATIENCE, is_loaded), "{:#?}", self.daemon.lines());
        self.wait_containers(count);
    }

    /// Addresses of the replicas that speak HTTP.
    #[allow(dead_code, reason = "the benchmark alone asks")]
    pub(crate) fn servers(&self) -> Vec<String> {
        let Host { testbed, .. } = &self.host;
        let states = testbed.ask_haproxy(&format!("show servers state {}", testbed.service));
        let lines = states.lines().filter(|line| line.contains(&testbed.service));
        let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
        words.filter(|w| 18 < w.len()).map(|w| format!("{}:{}", w[4], w[18])).collect()
    }

    /// Of HTTPS, and the folder with its certificate.
    #[allow(dead_code, reason = "the benchmark alone asks")]
    pub(crate) fn front(&self) -> (SocketAddr, &Path) {
        (self.host.https, self.host.testbed.dir.path())
    }

    fn wait_serving(&self, count: u32) {
        for service in self.host.services() {
            let is_so = || self.host.testbed.serving_for(&service).len() == count as usize;
            assert!(reached(PATIENCE, is_so), "{service}: {:#?}", self.daemon.lines());
        }
    }

    /// Replicas that drain are gone.
    fn wait_containers(&self, count: u32) {
        let number = || {
            let all = self.host.services().map(|s| self.host.testbed.container_ids(&s).len());
            all.iter().sum::<usize>()
        };
        let is_so = || number() == 4 * count as usize;
        assert!(reached(PATIENCE, is_so), "{}: {:#?}", number(), self.daemon.lines());
    }

    pub(crate) fn clients(&self) -> Clients {
        let stop = Arc::new(AtomicBool::new(false));
        let dir = self.host.testbed.dir.path();
        let ca = dir.join("site.pem");
        let python = |script: &str, name: &str| {
            let mut command = Command::new("/usr/bin/python3");
            command.arg(here().join(script)).arg(self.host.https.to_string()).arg(name).arg(&ca);
            let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
            command.stderr(Stdio::null()).spawn().expect("python3 runs")
        };
        let script = self.host.testbed.dir.write("one.sql", "SELECT 1;\n");
        let pgbench = |more: &'static [&'static str]| {
            let mut command = Command::new("pgbench");
            command.args(["-n", "-c", "2", "-T", "3", "-U", "postgres", "-h", "127.0.0.1", "-p"]);
            command.arg(self.host.postgres.port().to_string()).arg("-f").arg(&script);
            command.args(more).arg("postgres");
            command
        };
        let mut h2load = Command::new("h2load");
        h2load.args(["-n", "400", "-c", "2", "-m", "4"]);
        h2load.arg(format!("--connect-to={}", self.host.https)).arg("https://shop.example/");
        let repeated = [
            ("h2load, HTTP/2", h2load, read_h2load as fn(&str) -> Option<(u64, u64)>),
            ("pgbench, kept connections", pgbench(&[]), read_pgbench),
            ("pgbench, a connection each", pgbench(&["-C"]), read_pgbench),
        ];
        let repeated = repeated.map(|(name, command, read)| {
            let stop = stop.clone();
            thread::spawn(move || repeat(name, command, read, &stop))
        });
        Clients {
            stop,
            repeated: repeated.into(),
            python: vec![
                ("grpcio, calls and streams", python("grpc_client.py", "grpc.example")),
                ("websockets", python("websocket_client.py", "ws.example")),
            ],
        }
    }
}

pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    repeated: Vec<JoinHandle<Outcome>>,
    python: Vec<(&'static str, Child)>,
}

impl Clients {
    /// Each ends what it is at.
    pub(crate) fn stop(self) -> Vec<Outcome> {
        self.stop.store(true, Ordering::Relaxed);
        let mut outcomes = Vec::new();
        for (name, mut child) in self.python {
            drop(child.stdin.take());
            let said = child.wait_with_output().expect("it ends").stdout;
            let said = String::from_utf8_lossy(&said).trim().to_owned();
            let mut words = said.splitn(3, ' ');
            let mut number = || words.next().and_then(|word| word.parse().ok());
            let (sent, failed) = number().zip(number()).unwrap_or((1, 1));
            let first_failure = words.next().unwrap_or_default().to_owned();
            outcomes.push(Outcome { name, sent, failed, first_failure });
        }
        outcomes.extend(self.repeated.into_iter().map(|thread| thread.join().unwrap()));
        outcomes
    }
}

/// Runs the program again and again; `read` finds what it sent and what failed in what it prints.
fn repeat(
    name: &'static str,
    mut command: Command,
    read: fn(&str) -> Option<(u64, u64)>,
    stop: &AtomicBool,
) -> Outcome {
    let mut outcome = Outcome { name, sent: 0, failed: 0, first_failure: String::new() };
    while !stop.load(Ordering::Relaxed) {
        let out = command.output().expect("it is installed");
        let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        let counted = read(&text).filter(|_| out.status.success());
        let (sent, failed) = counted.unwrap_or((1, 1));
        if 0 < failed && outcome.failed == 0 {
            outcome.first_failure = text;
        }
        outcome.sent += sent;
        outcome.failed += failed;
    }
    outcome
}

/// What stands before a word.
fn before(text: &str, word: &str) -> Option<u64> {
    let (head, _) = text.split_once(word)?;
    head.trim_end().rsplit([' ', ',', '\n']).next()?.parse().ok()
}

/// It opens no further connection when HAProxy ends one by GOAWAY, as at a reload, and counts what
/// it then never sends, or sent too late, as failed. HTTP/2 has clients send those again, as
/// browsers and gRPC do, so only answers count here.
fn read_h2load(text: &str) -> Option<(u64, u64)> {
    let of = |class: &str| before(text, &format!(" {class}"));
    let failed = of("3xx,")? + of("4xx,")? + of("5xx\n")? + of("timeout\n")?;
    Some((of("2xx,")? + failed, failed))
}

fn read_pgbench(text: &str) -> Option<(u64, u64)> {
    let after = |words: &str| {
        let (_, rest) = text.split_once(words)?;
        rest.split_whitespace().next()?.parse().ok()
    };
    let failed = after("number of failed transactions: ")?;
    Some((after("number of transactions actually processed: ")? + failed, failed))
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/real_clients")
}

/// Folders and links of a Debian, whose programs are mounted.
fn make_image(testbed: &Testbed, name: &str) {
    let root = testbed.dir.join("root");
    let make = || -> io::Result<()> {
        for folder in ["usr", "etc", "tmp", "app"] {
            fs::create_dir_all(root.join(folder))?;
        }
        for link in ["bin", "lib", "lib64", "sbin"] {
            std::os::unix::fs::symlink(format!("usr/{link}"), root.join(link))?;
        }
        fs::write(root.join("etc/passwd"), "nobody:x:65534:65534::/tmp:/bin/sh\n")
    };
    make().unwrap();
    let archive = testbed.dir.join("root.tar");
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(&root).args(["--mode=a+rwX", "-cf"]).arg(&archive).arg(".");
    let packed = tar.output().unwrap();
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    testbed.docker(&["import", archive.to_str().unwrap(), name]).expect("it is imported");
}

impl Host {
    fn services(&self) -> [String; 4] {
        let own = &self.testbed.service;
        [own.clone(), format!("{own}-grpc"), format!("{own}-ws"), format!("{own}-db")]
    }

    fn configure(&self, count: u32, header: &str) -> PathBuf {
        let Host { testbed, https, postgres, image } = self;
        let own = &testbed.service;
        let here = here().display().to_string();
        let certificate = testbed.dir.join("site.pem").display().to_string();
        let common =
            format!(r#""min_replicas": {count}, "max_replicas": {count}, "drain_timeout": "30s""#);
        let app = format!(
            r#"{common}, "routes": [ {{ "host": "shop.example" }} ],
               "response_headers": {{ "X-Version": "{header}" }}"#
        );
        let host = format!(
            r#"{common}, "image": "{image}", "volumes": [ "/usr:/usr:ro", "{here}:/app:ro" ],
               "stop_timeout": 2, "health_check": {{ "interval": 1, "timeout": 1 }}, "port": 9000"#
        );
        let more = format!(
            r#",
        "{own}-grpc": {{ {host}, "protocol": "h2", "routes": [ {{ "host": "grpc.example" }} ],
          "command": ["/usr/bin/python3", "/app/grpc_app.py", "9000"] }},
        "{own}-ws": {{ {host}, "routes": [ {{ "host": "ws.example" }} ],
          "command": ["/usr/bin/python3", "/app/websocket_app.py", "9000"] }},
        "{own}-db": {{ {host}, "protocol": "tcp", "listen": "{postgres}",
          "command": ["/bin/sh", "/app/postgres.sh", "9000"] }}"#
        );
        let config = testbed.configure_with(&app, &more);
        let text = fs::read_to_string(&config).unwrap();
        let frontends = format!(
            r#""frontends": {{
              "https": {{ "listen": "{https}", "certificates": ["{certificate}"] }} }},
            "min_reload_interval""#
        );
        fs::write(&config, text.replace(r#""min_reload_interval""#, &frontends)).unwrap();
        config
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for service in self.services() {
            self.testbed.remove_containers(&service);
        }
        drop(self.testbed.docker(&["rmi", &self.image]));
    }
}
