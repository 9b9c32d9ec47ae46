//! A host without room: a service of a higher priority gets the room of a lower one, and load gets
//! no more replicas while the processors are busy. Docker, HAProxy, containers and traffic are
//! real; of the host's memory the daemon sees what a test writes.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::PoisonError;

use crate::daemon::{Daemon, PLIMSOLL, plimsoll, polled, reached, secs};
use crate::load::{Kind, Load};
use crate::scaling::assert_clean;
use crate::testbed::{IMAGE, QUIET, Testbed, clients, free_port};

/// In KiB: 5 % of it are kept free.
const TOTAL: u64 = 2_000_000;
const RESERVE: u64 = TOTAL / 20;
/// The limit of a replica.
const REPLICA: u64 = 8 * 1024;

/// What the daemon takes for /proc/meminfo.
struct HostMemory(PathBuf);

impl HostMemory {
    /// `free` KiB above the reserve. In one write, so that nobody reads half of it.
    fn set(&self, free: u64) {
        let text = format!("MemTotal: {TOTAL:>12} kB\nMemAvailable: {:>12} kB\n", RESERVE + free);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&self.0);
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Starts the daemon in a mount namespace of its own.
    fn daemon(&self, config: &Path) -> Daemon {
        let mut command = Command::new("unshare");
        let script =
            format!(r#"mount --bind {} /proc/meminfo && exec "$0" "$@""#, self.0.display());
        command.args(["--mount", "sh", "-c", &script, PLIMSOLL]);
        Daemon::start_by(command, config, &[])
    }
}

#[test]
fn a_service_of_higher_priority_gets_the_room_of_a_lower_one_and_no_request_is_lost() {
    let testbed = Testbed::new("prio");
    let memory = HostMemory(testbed.dir.join("meminfo"));
    memory.set(1_000_000);
    let low = testbed.service.clone();
    let high = format!("{low}-high");
    let port = free_port();
    // Load never removes one of these; the number of the other is its minimum.
    let configure = |low_min: u32, high_min: u32| {
        let stays = r#""behavior": { "scale_down": { "select": "disabled" } },
            "scale_up_threshold": 5000, "scale_down_threshold": 50, "memory": "8m""#;
        let more = format!(
            r#", "{high}": {{ "image": "{IMAGE}", "port": 8080, "listen": "127.0.0.1:{port}",
              "health_check": {{ "path": "/health", "interval": 1, "timeout": 1 }},
              "stop_timeout": 1, "memory": "8m", "priority": 80, "cooldown_period": 1,
              "min_replicas": {high_min}, "max_replicas": 2,
              "scale_up_threshold": 5000, "scale_down_threshold": 50 }}"#
        );
        let keys = format!(
            r#""min_replicas": {low_min}, "max_replicas": 3, "priority": 20, "drain_timeout": 30,
            {stays}"#
        );
        testbed.configure_with(&keys, &more)
    };
    let daemon = memory.daemon(&configure(3, 1));
    testbed.wait_serving(3, secs(40), &daemon);
    let serving = |count: usize| testbed.serving_for(&high).len() == count;
    assert!(reached(secs(20), || serving(1)), "{:#?}", daemon.lines());
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let slow = Load::start(testbed.address(), clients(6, Kind::Slow, "/slow?ms=3000", 0));
    let quick = Load::start(testbed.address(), clients(2, Kind::KeepAlive, "/", 10));
    let other = Load::start(address, clients(2, Kind::KeepAlive, "/", 10));

    // 200 KiB are missing: a replica of the other one has more than that.
    configure(1, 1);
    daemon.signal("HUP");
    daemon.wait(&["kind=config.reloaded"], secs(10));
    memory.set(REPLICA - 200);
    configure(1, 2);
    daemon.signal("HUP");
    let drains = daemon.wait(&["kind=replica.draining", &low], secs(20));
    daemon.wait(&["kind=scale.preempted", &format!("service={low} ")], secs(5));
    daemon.wait(&["kind=scale.preempted", &format!("service={high}")], secs(5));
    let status =
        plimsoll(&["status", "--socket", &testbed.dir.join("api.sock").display().to_string()]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains(&format!("gave a replica up for {high}")), "{status}");
    let removed = daemon.wait_from(drains, &["kind=replica.removed", &low], secs(40));
    assert!(!serving(2), "it was started before there was room");
    memory.set(REPLICA + 500);
    let started = daemon.wait_from(removed, &["kind=replica.started", &high], secs(20));
    memory.set(500);
    assert!(removed < started);
    assert!(reached(secs(20), || serving(2)), "{:#?}", daemon.lines());
    testbed.wait_serving(2, secs(5), &daemon);

    // It needs the second one no longer.
    configure(1, 1);
    daemon.signal("HUP");
    daemon.wait_from(started, &["kind=replica.removed", &high], secs(60));
    memory.set(2 * REPLICA);
    daemon.wait_from(started, &["kind=scale.preempted", "resolved", &low], secs(20));
    testbed.wait_serving(3, secs(30), &daemon);
    assert!(serving(1));
    assert_eq!(daemon.count(&["kind=replica.drain_timed_out"]), 0);
    assert_eq!(daemon.count(&["kind=scale.preempted", "gives a replica up"]), 1);
    assert_clean(&slow.stop(), 6);
    assert_clean(&quick.stop(), 100);
    assert_clean(&other.stop(), 100);
    testbed.remove_containers(&high);
}

/// Processes that use all of the processors, ended by their ids.
struct Burners(Vec<Child>);

impl Burners {
    fn start(count: usize) -> Burners {
        let one = || {
            let mut command = Command::new("sh");
            command.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
            command.spawn().unwrap()
        };
        Burners((0..count).map(|_| one()).collect())
    }
}

impl Drop for Burners {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It runs until it is killed here.
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

#[test]
fn on_a_busy_host_load_gets_no_more_replicas_and_who_has_the_processors_is_said() {
    let _busy = QUIET.write().unwrap_or_else(PoisonError::into_inner);
    let testbed = Testbed::new("busy");
    let keys = r#""min_replicas": 1, "max_replicas": 2, "cooldown_period": 1,
        "scale_up_threshold": 10, "scale_down_threshold": 1"#;
    let config = testbed.configure(keys);
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace(r#""cpu_reserve": 0"#, r#""cpu_reserve": 5"#)).unwrap();
    let cpus = std::thread::available_parallelism().unwrap().get();
    let burners = Burners::start(4 * cpus);
    let daemon = Daemon::start(&config);
    testbed.wait_serving(1, secs(60), &daemon);
    // Two looks of a second each, and one more that they are compared with.
    let has_looked = || 5 <= daemon.count(&["desired=", "because="]);
    assert!(reached(secs(60), has_looked), "{:#?}", daemon.lines());
    let load = Load::start(testbed.address(), clients(2, Kind::KeepAlive, "/burn?ms=50", 50));
    let words = ["kind=scale.capped", "reason=NoHeadroom", "the host's processor is busy"];
    let capped = daemon.wait(&words, secs(60));
    let line = daemon.lines()[capped].clone();
    assert!(line.contains("it works for ") && line.contains("others "), "{line}");
    assert!(line.contains(&format!("{} ", testbed.service)), "{line}");
    assert_eq!(testbed.serving().len(), 1);
    drop(burners);
    // Others may use the host as well.
    let is_over = || 0 < daemon.count(&["kind=scale.up", "from=1 to=2"]);
    assert!(polled(secs(300), secs(1), is_over), "{:#?}", daemon.lines());
    daemon.wait(&["kind=scale.capped", "resolved: the host has room"], secs(30));
    assert_clean(&load.stop(), 10);
}
