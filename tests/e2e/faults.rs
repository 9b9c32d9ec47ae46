//! The fault matrix: each fault is suffered by two replicas under load, and then the same must be
//! true of all of them. Nothing is leaked, doubled, or taken of what is another's; HAProxy never
//! has fewer servers than the fault itself leaves; no request is lost while a replica and HAProxy
//! live; and all is as it should be three evaluations after the fault has ended. Run with
//! `--nocapture` it prints the figures.

#![allow(clippy::disallowed_methods, reason = "a test measures by the clock")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{process, thread};

use crate::daemon::{Daemon, reached, secs, signal};
use crate::fault_proxy::{Behaviour, FaultProxy};
use crate::load::{Kind, Load};
use crate::private_docker::{Dockerd, ONE, testbed_on};
use crate::testbed::{IMAGE, Testbed, clients};

/// Long, so that a quick reaction is none to an evaluation that happened to come.
const EVALUATION: Duration = Duration::from_secs(10);
const EVALUATIONS_MAX: u32 = 3;
const SAMPLED_EVERY: Duration = Duration::from_millis(50);

fn configure(testbed: &Testbed, replicas: u32) -> PathBuf {
    let keys =
        format!(r#""min_replicas": {replicas}, "max_replicas": {replicas}, "drain_timeout": 10"#);
    let config = testbed.configure(&keys);
    let interval = format!(r#""check_interval": {}"#, EVALUATION.as_secs());
    let text = fs::read_to_string(&config).unwrap().replace(r#""check_interval": 1"#, &interval);
    fs::write(&config, text).unwrap();
    config
}

fn order(testbed: &Testbed, daemon: &Daemon, replicas: u32) {
    configure(testbed, replicas);
    daemon.signal("HUP");
}

/// A container that is nobody's business.
struct ForeignContainer<'a> {
    testbed: &'a Testbed,
    id: String,
    born: String,
}

impl ForeignContainer<'_> {
    fn new(testbed: &Testbed) -> ForeignContainer<'_> {
        let id = testbed.docker(&["run", "-d", IMAGE]).expect("docker run").trim().to_owned();
        let born = ForeignContainer::started(testbed, &id);
        ForeignContainer { testbed, id, born }
    }

    fn started(testbed: &Testbed, id: &str) -> String {
        let format = "{{.State.Running}} {{.State.StartedAt}}";
        testbed.docker(&["inspect", "--format", format, id]).unwrap_or_default()
    }

    fn is_untouched(&self) -> bool {
        ForeignContainer::started(self.testbed, &self.id) == self.born
    }
}

impl Drop for ForeignContainer<'_> {
    fn drop(&mut self) {
        drop(self.testbed.docker(&["rm", "-f", "-v", &self.id]));
    }
}

/// What a fault leaves room for.
struct Allowed {
    /// Servers of HAProxy's that are up, at the least.
    servers: usize,
    /// Whether requests may be lost: where HAProxy itself is gone, or what a replica had in hand
    /// that was killed; `deaths.rs` tells how many those are.
    losses: bool,
}

const NOTHING: Allowed = Allowed { servers: 2, losses: false };

/// One line of the matrix: suffers, and holds up to the rules.
fn suffer(
    fault: &str,
    testbed: &Testbed,
    wanted: usize,
    allowed: &Allowed,
    body: impl FnOnce(&mut Daemon) -> String,
) {
    let mut daemon = Daemon::start(&configure(testbed, 2));
    testbed.wait_serving(2, secs(40), &daemon);
    let foreign = ForeignContainer::new(testbed);
    let mut all = clients(2, Kind::Close, "/slow?ms=20", 10);
    all.extend(clients(2, Kind::KeepAlive, "/", 20));
    let load = Load::start(testbed.address(), all);
    load.wait_for(secs(20), |c| 20 < c.sent());
    let lowest = AtomicUsize::new(2);
    let done = AtomicBool::new(false);
    let mut figures = (String::new(), Duration::ZERO);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !reached(SAMPLED_EVERY, || done.load(Ordering::Relaxed)) {
                let up = testbed.serving().len();
                // No answer says nothing.
                if 0 < up {
                    lowest.fetch_min(up, Ordering::Relaxed);
                }
            }
        });
        let note = body(&mut daemon);
        let ended = Instant::now();
        let settled = reached(EVALUATION * EVALUATIONS_MAX, || is_settled(testbed, wanted));
        figures = (note, ended.elapsed());
        done.store(true, Ordering::Relaxed);
        let containers = testbed.containers();
        let serving = testbed.serving();
        assert!(settled, "{fault}: {containers:?}, {serving:?}\n{:#?}", daemon.lines());
    });
    let sent = load.counts().sent();
    load.wait_for(secs(20), |c| sent + 20 < c.sent());
    let counts = load.stop();
    let lowest = lowest.into_inner();
    let looks = figures.1.as_secs_f64() / EVALUATION.as_secs_f64();
    println!(
        "| {fault} | {} | {} of {} | {lowest} | {:.1} s, {looks:.2} looks |",
        figures.0,
        counts.failed(),
        counts.sent(),
        figures.1.as_secs_f64()
    );
    let log = daemon.lines();
    assert!(allowed.losses || counts.failed() == 0, "{fault}: {counts}\n{log:#?}");
    assert!(allowed.servers <= lowest, "{fault}: {lowest} servers were up\n{log:#?}");
    assert!(is_settled(testbed, wanted), "{fault}: {:?}\n{log:#?}", testbed.containers());
    assert!(foreign.is_untouched(), "{fault}: a foreign was touched\n{log:#?}");
    drop(foreign);
    drop(daemon);
    testbed.haproxy_pids().into_iter().for_each(|pid| signal(pid, "KILL"));
    testbed.clean_up();
}

/// So many containers, all running, each with a name of its own, and just these in service.
fn is_settled(testbed: &Testbed, count: usize) -> bool {
    let containers = testbed.containers();
    let mut serving = testbed.serving();
    let mut names: Vec<String> = containers.iter().map(|(_, name, _)| name.clone()).collect();
    names.dedup();
    serving.sort();
    names == serving
        && names.len() == count
        && containers.iter().all(|(_, _, state)| state == "running")
}

fn shown(span: Duration) -> String {
    format!("{} ms", span.as_millis())
}

#[test]
fn the_death_of_a_replica_or_of_haproxy_is_answered_at_once() {
    let testbed = Testbed::new("f-die");
    let gone = Allowed { servers: 1, losses: true };
    suffer("a replica is killed", &testbed, 2, &gone, |daemon| {
        let (id, name, _) = testbed.containers().remove(0);
        let died = Instant::now();
        testbed.crash(&id);
        let out = || !testbed.serving().contains(&name);
        assert!(reached(secs(30), out), "{:#?}", daemon.lines());
        let out = died.elapsed();
        assert!(out < EVALUATION / 2, "{out:?}: an evaluation found it, not Docker's event");
        testbed.wait_serving(2, secs(30), daemon);
        format!("out of HAProxy after {}, replaced after {}", shown(out), shown(died.elapsed()))
    });
    suffer("HAProxy is killed", &testbed, 2, &gone, |daemon| {
        let pid = testbed.haproxy_pid();
        let died = Instant::now();
        signal(pid, "KILL");
        let back = || !testbed.haproxy_pids().contains(&pid) && testbed.serving().len() == 2;
        assert!(reached(secs(30), back), "{:#?}", daemon.lines());
        format!("back after {}", shown(died.elapsed()))
    });
    suffer("the daemon is killed", &testbed, 3, &NOTHING, |daemon| {
        signal(daemon.pid(), "KILL");
        daemon.wait_exit(secs(10));
        *daemon = Daemon::start(&configure(&testbed, 3));
        "and started again with one more wanted".to_owned()
    });
}

#[test]
fn a_docker_that_refuses_or_is_slow_changes_nothing_but_the_time() {
    let mut testbed = Testbed::new("f-broken");
    let socket = testbed.dir.join("proxy.sock");
    let proxy = FaultProxy::new(&socket, &testbed.docker_socket);
    testbed.daemons_socket = Some(socket);
    suffer("Docker answers 500", &testbed, 3, &NOTHING, |daemon| {
        proxy.set_behaviour(Behaviour::Refuses);
        order(&testbed, daemon, 3);
        daemon.wait(&["kind=replica.failed", "Docker is broken"], secs(30));
        proxy.set_behaviour(Behaviour::Well);
        "one more was wanted meanwhile".to_owned()
    });
    suffer("Docker is slow", &testbed, 3, &NOTHING, |daemon| {
        proxy.set_behaviour(Behaviour::Slow(Duration::from_millis(700)));
        order(&testbed, daemon, 3);
        testbed.wait_serving(3, secs(60), daemon);
        order(&testbed, daemon, 2);
        assert!(reached(secs(60), || is_settled(&testbed, 2)), "{:#?}", daemon.lines());
        order(&testbed, daemon, 3);
        proxy.set_behaviour(Behaviour::Well);
        "one more, one fewer and one more, 0.7 s each call".to_owned()
    });
}

#[test]
fn a_docker_that_freezes_or_dies_costs_no_request() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut dockerd = Dockerd::start(true);
    let testbed = testbed_on(&dockerd, "f-away");
    suffer("dockerd is frozen", &testbed, 3, &NOTHING, |daemon| {
        signal(dockerd.pid(), "STOP");
        order(&testbed, daemon, 3);
        daemon.wait(&["kind=docker.lost"], secs(30));
        signal(dockerd.pid(), "CONT");
        daemon.wait(&["kind=docker.back"], secs(30));
        "one more was wanted meanwhile".to_owned()
    });
    suffer("dockerd is killed", &testbed, 3, &NOTHING, |daemon| {
        dockerd.kill();
        daemon.wait(&["kind=docker.lost"], secs(30));
        order(&testbed, daemon, 3);
        dockerd.up();
        "with live-restore; one more was wanted meanwhile".to_owned()
    });
}

/// A small file system of the test's own, in place of a folder.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(crate) fn new(path: PathBuf) -> SmallDisk {
        fs::create_dir_all(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256k,mode=0755", "none"]).arg(&path);
        assert!(mount.status().unwrap().success(), "cannot mount a tmpfs: is this root?");
        SmallDisk(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn a_full_disk_under_the_state_keeps_nothing_up() {
    let testbed = Testbed::new("f-disk");
    let disk = SmallDisk::new(testbed.dir.join("state"));
    let filler = disk.0.join(format!("filler-{}", process::id()));
    suffer("the state's disk is full", &testbed, 3, &NOTHING, |daemon| {
        // As much as goes.
        drop(fs::write(&filler, vec![0; 1 << 20]));
        order(&testbed, daemon, 3);
        daemon.wait(&["kind=state.not_saved"], secs(30));
        testbed.wait_serving(3, secs(30), daemon);
        assert_eq!(daemon.count(&["kind=state.not_saved"]), 1, "{:#?}", daemon.lines());
        fs::remove_file(&filler).unwrap();
        order(&testbed, daemon, 2);
        assert!(reached(secs(30), || is_settled(&testbed, 2)), "{:#?}", daemon.lines());
        let saved = || fs::read_to_string(disk.0.join("state.json")).unwrap_or_default();
        assert!(saved().contains(&testbed.service), "{}", saved());
        order(&testbed, daemon, 3);
        "one more was wanted meanwhile, and came".to_owned()
    });
}
