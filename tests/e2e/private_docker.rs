//! A dockerd of the test's own, that may be stopped and started: containers with and without
//! live-restore, while clients are served.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::daemon::{Daemon, Dir, reached, secs, signal};
use crate::testbed::{IMAGE, Testbed, everyone};

/// One at a time: each has a bridge and a network of its own.
pub(crate) static ONE: Mutex<()> = Mutex::new(());
const BRIDGE: &str = "plimsoll-e2e0";
const GATEWAY: &str = "172.31.251.1/24";

pub(crate) struct Dockerd {
    dir: Dir,
    live_restore: bool,
    /// Further arguments.
    more: Vec<String>,
    child: Option<Child>,
}

fn run(program: &str, args: &[&str]) -> bool {
    let out = Command::new(program).args(args).output().unwrap();
    out.status.success()
}

impl Dockerd {
    pub(crate) fn start(live_restore: bool) -> Dockerd {
        Dockerd::start_with(live_restore, &[])
    }

    pub(crate) fn start_with(live_restore: bool, more: &[String]) -> Dockerd {
        run("ip", &["link", "add", "name", BRIDGE, "type", "bridge"]);
        run("ip", &["addr", "add", GATEWAY, "dev", BRIDGE]);
        assert!(
            run("ip", &["link", "set", BRIDGE, "up"]),
            "cannot make a bridge: is iproute2 there?"
        );
        let more = more.to_vec();
        let dir = Dir::new("dockerd");
        let mut dockerd = Dockerd { dir, live_restore, more, child: None };
        dockerd.up();
        dockerd
    }

    fn host(&self) -> String {
        format!("unix://{}", self.dir.join("docker.sock").display())
    }

    pub(crate) fn up(&mut self) {
        let at = |name: &str| self.dir.join(name).display().to_string();
        let log = File::options().create(true).append(true).open(self.dir.join("log")).unwrap();
        let mut command = Command::new("dockerd");
        command.args([
            "--host",
            &self.host(),
            "--data-root",
            &at("data"),
            "--exec-root",
            &at("exec"),
        ]);
        command.args([
            "--pidfile",
            &at("pid"),
            "--bridge",
            BRIDGE,
            "--iptables=false",
            "--ip6tables=false",
        ]);
        command.arg(format!("--live-restore={}", self.live_restore)).args(&self.more);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.child = Some(child);
        let answers = || run("docker", &["--host", &self.host(), "version"]);
        assert!(reached(secs(30), answers), "dockerd does not start, see {}", at("log"));
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// No chance to tidy up.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn down(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        signal(child.id(), "TERM");
        let ended = reached(secs(30), || child.try_wait().unwrap().is_some());
        assert!(ended, "dockerd does not end");
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let ids = Command::new("docker").args(["--host", &self.host(), "ps", "-aq"]).output();
        let ids = ids.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        for id in ids.lines() {
            run("docker", &["--host", &self.host(), "rm", "-f", id]);
        }
        self.down();
        run("ip", &["link", "del", BRIDGE]);
    }
}

/// A testbed on that engine, with the example image carried over to it.
pub(crate) fn testbed_on(dockerd: &Dockerd, name: &str) -> Testbed {
    let tar = dockerd.dir.join("image.tar").display().to_string();
    assert!(run("docker", &["save", "-o", &tar, IMAGE]), "no image {IMAGE}: run `make test`");
    assert!(run("docker", &["--host", &dockerd.host(), "load", "-i", &tar]));
    let mut testbed = Testbed::new(name);
    testbed.docker_socket = dockerd.dir.join("docker.sock");
    testbed
}

const TWO: &str = r#""min_replicas": 2, "max_replicas": 2"#;

#[test]
fn with_live_restore_a_restart_of_docker_costs_no_request() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut dockerd = Dockerd::start(true);
    let testbed = testbed_on(&dockerd, "live");
    let daemon = Daemon::start(&testbed.configure(TWO));
    testbed.wait_serving(2, secs(30), &daemon);
    let load = everyone(&testbed);
    let before = testbed.containers();
    dockerd.down();
    daemon.wait(&["kind=docker.lost", "cannot reach Docker"], secs(10));
    load.wait_for(secs(5), |c| 200 < c.sent());
    assert_eq!(testbed.serving().len(), 2, "HAProxy keeps its list");
    dockerd.up();
    daemon.wait(&["kind=docker.back"], secs(10));
    assert_eq!(testbed.containers(), before);
    testbed.configure(r#""min_replicas": 3, "max_replicas": 3"#);
    daemon.signal("HUP");
    testbed.wait_serving(3, secs(20), &daemon);
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "{counts}\n{:#?}", daemon.lines());
    assert_eq!(daemon.count(&["kind=docker.lost"]), 1, "{:#?}", daemon.lines());
    testbed.clean_up();
}

#[test]
fn without_live_restore_the_replicas_come_back_with_docker() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut dockerd = Dockerd::start(false);
    let testbed = testbed_on(&dockerd, "plain");
    let daemon = Daemon::start(&testbed.configure(TWO));
    testbed.wait_serving(2, secs(30), &daemon);
    dockerd.down();
    daemon.wait(&["kind=docker.lost"], secs(20));
    dockerd.up();
    daemon.wait(&["kind=docker.back"], secs(10));
    testbed.wait_serving(2, secs(30), &daemon);
    let running = || {
        let containers = testbed.containers();
        containers.len() == 2 && containers.iter().all(|(_, _, state)| state == "running")
    };
    assert!(reached(secs(20), running), "{:?} {:#?}", testbed.containers(), daemon.lines());
    testbed.clean_up();
}

/// Containers as docker compose makes them, without a restart policy and with a volume each.
pub(crate) fn run_composes(testbed: &Testbed, count: u32) {
    for number in 1..=count {
        let name = format!("{}-web-{number}", testbed.service);
        let labels = [
            format!("com.docker.compose.project={}", testbed.service),
            "com.docker.compose.service=web".to_owned(),
            format!("com.docker.compose.container-number={number}"),
            "com.docker.compose.config-hash=5a5a".to_owned(),
            "com.docker.compose.oneoff=False".to_owned(),
        ];
        let mut args = vec!["run", "-d", "--restart", "no", "--name", &name, "-v", "/data"];
        args.extend(labels.iter().flat_map(|label| ["--label", label.as_str()]));
        args.push(IMAGE);
        assert!(testbed.docker(&args).is_some(), "{name} does not start");
    }
}

pub(crate) fn composes(testbed: &Testbed) -> Vec<String> {
    let out = testbed.docker(&["ps", "-aq", "--no-trunc"]).expect("docker answers");
    let mut ids: Vec<String> = out.lines().map(str::to_owned).collect();
    ids.sort();
    ids
}

pub(crate) fn configure_composes(testbed: &Testbed) -> std::path::PathBuf {
    let path = testbed.configure(TWO);
    let text = fs::read_to_string(&path).unwrap();
    let from = format!(r#""compose": {{ "project": "{}", "service": "web" }}"#, testbed.service);
    let text = text.replace(&format!(r#""image": "{IMAGE}""#), &from);
    fs::write(&path, text).unwrap();
    path
}

/// As after an upgrade of Docker, and as after a reboot, where the daemon went down as well.
fn composes_are_started_again(name: &str, with_daemon: bool) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut dockerd = Dockerd::start(false);
    let testbed = testbed_on(&dockerd, name);
    run_composes(&testbed, 2);
    let volumes = testbed.docker(&["volume", "ls", "-q"]);
    let config = configure_composes(&testbed);
    let mut daemon = Daemon::start(&config);
    testbed.wait_serving(2, secs(30), &daemon);
    let before = composes(&testbed);
    if with_daemon {
        drop(daemon);
        dockerd.down();
        dockerd.up();
        daemon = Daemon::start(&config);
    } else {
        dockerd.down();
        daemon.wait(&["kind=docker.lost"], secs(20));
        dockerd.up();
        daemon.wait(&["kind=docker.back"], secs(10));
    }
    let run = || testbed.docker(&["ps", "-q"]).unwrap_or_default().lines().count();
    assert!(reached(secs(30), || run() == 2), "{} run: {:#?}", run(), daemon.lines());
    testbed.wait_serving(2, secs(30), &daemon);
    assert_eq!(composes(&testbed), before, "{:#?}", daemon.lines());
    assert_eq!(testbed.docker(&["volume", "ls", "-q"]), volumes);
    assert_eq!(daemon.count(&["kind=compose.stopped"]), 0, "{:#?}", daemon.lines());
}

#[test]
fn what_compose_made_is_started_again_after_a_restart_of_docker() {
    composes_are_started_again("upgrade", false);
}

#[test]
fn what_compose_made_is_started_again_after_a_reboot() {
    composes_are_started_again("reboot", true);
}
