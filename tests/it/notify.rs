//! What a service manager hears from the daemon, and what SIGUSR1 does. The manager is a socket.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{self, Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::daemon::{Daemon, PLIMSOLL, plimsoll, secs};
use crate::harness::{Harness, end};

const SOON: Duration = Duration::from_secs(30);

struct Manager {
    socket: UnixDatagram,
    address: OsString,
}

impl Manager {
    fn at_path(harness: &Harness) -> Manager {
        let path = harness.dir.join("notify");
        Manager { socket: UnixDatagram::bind(&path).unwrap(), address: path.into() }
    }

    fn abstract_one(name: &str) -> Manager {
        let name = format!("plimsoll-{name}-{}", process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Manager { socket, address: format!("@{name}").into() }
    }

    fn starts(&self, harness: &Harness, watchdog: Option<Duration>) -> Daemon {
        let mut program = Command::new(PLIMSOLL);
        program.env("NOTIFY_SOCKET", &self.address);
        program.env_remove("WATCHDOG_PID").env_remove("WATCHDOG_USEC");
        program.envs(watchdog.map(|span| ("WATCHDOG_USEC", span.as_micros().to_string())));
        Daemon::start_by(program, &harness.write(), &[])
    }

    /// `None` when nothing comes for so long.
    fn hears_within(&self, within: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(within)).unwrap();
        let mut buffer = [0; 1024];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// Reads on until a message has this line; gives that message.
    #[track_caller]
    fn waits_for(&self, line: &str) -> String {
        loop {
            let message = self.hears_within(SOON);
            let message = message.unwrap_or_else(|| panic!("`{line}` never came"));
            if message.lines().any(|l| l == line) {
                return message;
            }
        }
    }
}

#[test]
fn a_manager_hears_of_a_life_from_ready_to_stopping() {
    let harness = Harness::without_docker("notify");
    let manager = Manager::at_path(&harness);
    let daemon = manager.starts(&harness, None);
    // Ready without Docker: it serves its own status, and waits for Docker better than a manager.
    let first = manager.hears_within(SOON).unwrap();
    let lost = "0 of 0 replicas ready; Docker does not answer; HAProxy does not answer";
    assert_eq!(first, format!("READY=1\nSTATUS=1 service, {lost}"));
    harness.docker.open();
    manager.waits_for("STATUS=1 service, 1 of 1 replicas ready");
    for text in [None, Some("{ this is no config")] {
        text.into_iter().for_each(|text| drop(harness.dir.write("config.json", text)));
        daemon.signal("HUP");
        let reloading = manager.waits_for("RELOADING=1");
        let time = reloading.lines().find_map(|l| l.strip_prefix("MONOTONIC_USEC=")).unwrap();
        assert!(0 < time.parse::<u64>().unwrap(), "{reloading}");
        manager.waits_for("READY=1");
    }
    end(daemon, "TERM", secs(10));
    manager.waits_for("STOPPING=1");
    // It asked for no watchdog, and the daemon that ended says no more.
    assert_eq!(manager.hears_within(Duration::from_millis(10)), None);
}

/// A thread that a debugger holds, all others running. It goes on when this is dropped.
struct StoppedThread(Child);

impl StoppedThread {
    /// A process's first thread has the number of the process.
    fn new(thread: u32) -> StoppedThread {
        let call = match cfg!(target_arch = "x86_64") {
            true => "101",
            // As on all processors that Linux has got since.
            false => "117",
        };
        // PTRACE_SEIZE and PTRACE_INTERRUPT: unlike attaching, they send it no signal.
        let script = "$| = 1; for my $what (0x4206, 0x4207) {
            syscall($ARGV[0] + 0, $what, $ARGV[1] + 0, 0, 0) == 0 or die \"ptrace: $!\" }
            print \"stopped\\n\"; <STDIN>";
        let mut perl = Command::new("perl");
        perl.args(["-e", script, call, &thread.to_string()]);
        let mut perl = perl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(perl.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "stopped\n");
        StoppedThread(perl)
    }
}

impl Drop for StoppedThread {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

#[test]
fn a_stuck_tick_leaves_the_watchdog_unfed_though_all_else_goes_on() {
    let harness = Harness::new("watchdog");
    let manager = Manager::abstract_one("watchdog");
    let daemon = manager.starts(&harness, Some(secs(3)));
    for _ in 0..3 {
        manager.waits_for("WATCHDOG=1");
    }
    harness.wait_served();
    let stopped = StoppedThread::new(daemon.pid());
    let silent = (0..20).any(|_| manager.hears_within(secs(5)).is_none());
    assert!(silent, "the watchdog is fed, whether the tick turns or not");
    let socket = harness.dir.join("api.sock");
    let status = plimsoll(&["status", "--socket", socket.to_str().unwrap()]);
    assert!(status.status.success(), "{status:?}");
    drop(stopped);
    manager.waits_for("WATCHDOG=1");
}

#[test]
fn a_manager_that_is_not_there_keeps_nothing_from_running() {
    let harness = Harness::new("nobody");
    let manager = Manager { socket: UnixDatagram::unbound().unwrap(), address: "/nobody".into() };
    let daemon = manager.starts(&harness, Some(secs(3)));
    harness.wait_served();
    harness.wait_evaluations(3);
    assert_eq!(daemon.count(&["cannot notify the service manager: No such file"]), 1);
    let odd = Manager { address: "vsock:2:1".into(), ..manager };
    drop(daemon);
    let daemon = odd.starts(&harness, None);
    daemon.wait(&["cannot use NOTIFY_SOCKET vsock:2:1: neither a path nor an @name"], SOON);
    harness.wait_served();
}

#[test]
fn sigusr1_turns_debug_on_and_off() {
    let mut harness = Harness::new("usr1");
    harness.set("/autoscaler/log_level", json!("info"));
    let daemon = harness.start();
    harness.wait_served();
    let decision = ["service=web desired="];
    assert_eq!(daemon.count(&decision), 0);
    daemon.signal("USR1");
    let on = daemon.wait(&["log level is debug until the next SIGUSR1 or reload"], SOON);
    daemon.wait_from(on, &decision, SOON);
    daemon.signal("USR1");
    daemon.wait_from(on, &["log level is info again"], SOON);
    let reported = daemon.count(&decision);
    harness.wait_evaluations(2);
    assert_eq!(daemon.count(&decision), reported);
}
