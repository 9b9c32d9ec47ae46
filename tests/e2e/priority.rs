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

/// The testbed's service, which has a low priority, and another one. Load never removes a replica
/// of the first; the number of the second is its minimum.
struct Pair<'a> {
    testbed: &'a Testbed,
    low: String,
    high: String,
    port: u16,
}

impl Pair<'_> {
    fn new(testbed: &Testbed) -> Pair<'_> {
        let low = testbed.service.clone();
        Pair { testbed, high: format!("{low}-high"), low, port: free_port() }
    }

    fn configure(&self, low_min: u32, high_min: u32) -> PathBuf {
        let (high, port) = (&self.high, self.port);
        let more = format!(
            r#", "{high}": {{ "image": "{IMAGE}", "port": 8080, "listen": "127.0.0.1:{port}",
              "health_check": {{ "path": "/health", "interval": 1, "timeout": 1 }},
              "stop_timeout": 1, "memory": "8m", "priority": 80, "cooldown_period": 1,
              "min_replicas": {high_min}, "max_replicas": 2,
              "scale_up_threshold": 5000, "scale_down_threshold": 50 }}"#
        );
        let keys = format!(
            r#""min_replicas": {low_min}, "max_replicas": 3, "priority": 20, "drain_timeout": 30,
            "behavior": {{ "scale_down": {{ "select": "disabled" }} }},
            "scale_up_threshold": 5000, "scale_down_threshold": 50, "memory": "8m""#
        );
        self.testbed.configure_with(&keys, &more)
    }

    fn loads(&self) -> [Load; 3] {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let own = self.testbed.address();
        [
            Load::start(own, clients(6, Kind::Slow, "/slow?ms=3000", 0)),
            Load::start(own, clients(2, Kind::KeepAlive, "/", 10)),
            Load::start(address, clients(2, Kind::KeepAlive, "/", 10)),
        ]
    }

    /// Whether so many of each serve and nothing else of them is there.
    fn is_settled(&self, low: usize, high: usize) -> bool {
        let is = |service: &str, count: usize| {
            self.testbed.serving_for(service).len() == count
                && self.testbed.container_ids(service).len() == count
        };
        is(&self.low, low) && is(&self.high, high)
    }

    #[track_caller]
    fn wait_settled(&self, low: usize, high: usize, daemon: &Daemon) {
        let is_so = || self.is_settled(low, high);
        assert!(polled(secs(60), secs(1) / 4, is_so), "{low} {high}: {:#?}", daemon.lines());
        let stat = self.testbed.ask_haproxy("show stat");
        assert!(!stat.contains(",DRAIN"), "{stat}");
    }
}

impl Drop for Pair<'_> {
    fn drop(&mut self) {
        self.testbed.remove_containers(&self.high);
    }
}

#[test]
fn a_service_of_higher_priority_gets_the_room_of_a_lower_one_and_no_request_is_lost() {
    let testbed = Testbed::new("prio");
    let memory = HostMemory(testbed.dir.join("meminfo"));
    memory.set(1_000_000);
    let pair = Pair::new(&testbed);
    let (low, high) = (pair.low.as_str(), pair.high.as_str());
    let configure = |low_min: u32, high_min: u32| pair.configure(low_min, high_min);
    let daemon = memory.daemon(&configure(3, 1));
    testbed.wait_serving(3, secs(40), &daemon);
    let serving = |count: usize| testbed.serving_for(high).len() == count;
    assert!(reached(secs(20), || serving(1)), "{:#?}", daemon.lines());
    let loads = pair.loads();

    // 200 KiB are missing: a replica of the other one has more than that.
    configure(1, 1);
    daemon.signal("HUP");
    daemon.wait(&["kind=config.reloaded"], secs(10));
    memory.set(REPLICA - 200);
    configure(1, 2);
    daemon.signal("HUP");
    let drains = daemon.wait(&["kind=replica.draining", low], secs(20));
    daemon.wait(&["kind=scale.preempted", &format!("service={low} ")], secs(5));
    daemon.wait(&["kind=scale.preempted", &format!("service={high}")], secs(5));
    let status =
        plimsoll(&["status", "--socket", &testbed.dir.join("api.sock").display().to_string()]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains(&format!("gave a replica up for {high}")), "{status}");
    let removed = daemon.wait_from(drains, &["kind=replica.removed", low], secs(40));
    assert!(!serving(2), "it was started before there was room");
    memory.set(REPLICA + 500);
    let started = daemon.wait_from(removed, &["kind=replica.started", high], secs(20));
    memory.set(500);
    assert!(removed < started);
    assert!(reached(secs(20), || serving(2)), "{:#?}", daemon.lines());
    testbed.wait_serving(2, secs(5), &daemon);

    // It needs the second one no longer.
    configure(1, 1);
    daemon.signal("HUP");
    daemon.wait_from(started, &["kind=replica.removed", high], secs(60));
    memory.set(2 * REPLICA);
    daemon.wait_from(started, &["kind=scale.preempted", "resolved", low], secs(20));
    testbed.wait_serving(3, secs(30), &daemon);
    assert!(serving(1));
    assert_eq!(daemon.count(&["kind=replica.drain_timed_out"]), 0);
    assert_eq!(daemon.count(&["kind=scale.preempted", "gives a replica up"]), 1);
    loads.into_iter().for_each(|load| assert_clean(&load.stop(), 6));
}

/// Of a daemon that is dead its HAProxy goes on.
#[test]
fn a_kill_at_each_step_of_a_preemption_leaves_no_service_below_its_minimum_and_loses_no_request() {
    let testbed = Testbed::new("prio-kill");
    let memory = HostMemory(testbed.dir.join("meminfo"));
    memory.set(1_000_000);
    let pair = Pair::new(&testbed);
    let daemon = memory.daemon(&pair.configure(3, 1));
    pair.wait_settled(3, 1, &daemon);
    let loads = pair.loads();
    pair.configure(1, 1);
    daemon.signal("HUP");
    daemon.wait(&["kind=config.reloaded"], secs(10));
    memory.set(REPLICA - 200);
    let config = pair.configure(1, 2);
    daemon.signal("HUP");
    daemon.wait(&["kind=replica.draining", &pair.low], secs(20));
    daemon.kill();

    // While it drained: the next one ends that, and begins no second.
    let daemon = memory.daemon(&config);
    daemon.wait(&["kind=replica.removed", &pair.low], secs(60));
    pair.wait_settled(2, 1, &daemon);
    daemon.kill();

    // Nothing was started yet: the room is still kept for the one that it was made for.
    memory.set(REPLICA + 500);
    let daemon = memory.daemon(&config);
    daemon.wait(&["kind=replica.started", &pair.high], secs(40));
    memory.set(500);
    daemon.kill();

    // It was started a moment ago.
    let daemon = memory.daemon(&config);
    pair.wait_settled(2, 2, &daemon);
    assert_eq!(daemon.count(&["kind=replica.draining"]), 0, "{:#?}", daemon.lines());
    let shown = || {
        let socket = testbed.dir.join("api.sock").display().to_string();
        String::from_utf8(plimsoll(&["status", "--socket", &socket]).stdout).unwrap()
    };
    let words = format!("gave a replica up for {}", pair.high);
    assert!(reached(secs(20), || shown().contains(&words)), "{}", shown());

    // The other one needs it no longer, and the daemon dies once more before there is room.
    let config = pair.configure(1, 1);
    daemon.signal("HUP");
    daemon.wait(&["kind=replica.removed", &pair.high], secs(60));
    pair.wait_settled(2, 1, &daemon);
    daemon.kill();
    memory.set(2 * REPLICA);
    let daemon = memory.daemon(&config);
    pair.wait_settled(3, 1, &daemon);
    assert!(reached(secs(20), || !shown().contains(&words)), "{}", shown());
    loads.into_iter().for_each(|load| assert_clean(&load.stop(), 6));
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
