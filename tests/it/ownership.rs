//! Which HAProxy is ours, what its binary may say, and which services it may spoil.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::daemon::{Daemon, PLIMSOLL, delay, plimsoll, reached, secs, signal};
use crate::fake_http;
use crate::harness::{Harness, end, free_address};

const HAPROXY: &str = "/usr/sbin/haproxy";
/// Debian's `nobody`.
const NOBODY: u32 = 65_534;

/// Calls itself an HAProxy that runs our file. It ends at any signal.
struct Pretender(Child);

impl Pretender {
    fn new(harness: &Harness, uid: u32) -> Pretender {
        let file = harness.dir.join("haproxy.cfg");
        let script = "exec -a haproxy bash -c 'while :; do read -t 1 <> <(:); done' -f \"$0\"";
        let mut command = Command::new("bash");
        let child = command.args(["-c", script]).arg(&file).uid(uid).gid(uid).spawn().unwrap();
        let path = format!("/proc/{}/cmdline", child.id());
        let pretends = || fs::read(&path).unwrap_or_default().starts_with(b"haproxy\0-c\0while");
        assert!(reached(secs(5), pretends), "it does not call itself haproxy");
        Pretender(child)
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Pretender {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Another interval of the health check takes a reload.
#[track_caller]
fn reload(harness: &mut Harness, daemon: &Daemon, seconds: u32) {
    let from = daemon.lines().len();
    harness.set("/services/web/health_check/interval", json!(format!("{seconds}s")));
    harness.write();
    daemon.signal("HUP");
    daemon.wait_from(from, &["kind=haproxy.reloaded"], secs(10));
}

#[test]
fn a_command_line_makes_no_process_our_haproxy() {
    let mut harness = Harness::new("pretend");
    let mut pretenders: Vec<Pretender> =
        (0..12).map(|n| Pretender::new(&harness, if n % 2 == 0 { 0 } else { NOBODY })).collect();
    let daemon = harness.start();
    harness.wait_served();
    for seconds in 2..5 {
        reload(&mut harness, &daemon, seconds);
    }
    assert!(harness.serves());
    let alive = pretenders.iter_mut().filter_map(|p| p.lives().then_some(())).count();
    assert_eq!(alive, 12, "a stranger was signalled");
    let reported = daemon.count(&["kind=haproxy.reload_failed"])
        + daemon.count(&["kind=haproxy.reload_deferred"]);
    assert_eq!(reported, 0, "{:#?}", daemon.lines());
    end(daemon, "TERM", secs(5));
}

/// All files of the daemon's, and the socket of its Docker.
fn give_to_nobody(harness: &Harness) {
    let owner = format!("{NOBODY}:{NOBODY}");
    let chown = Command::new("chown").args(["-R", &owner]).arg(harness.dir.path()).status();
    assert!(chown.unwrap().success());
}

#[test]
fn a_command_line_stops_no_reload_of_a_daemon_that_is_not_roots() {
    let mut harness = Harness::new("user");
    let _pretenders = [Pretender::new(&harness, 0), Pretender::new(&harness, NOBODY)];
    let config = harness.write();
    give_to_nobody(&harness);
    let mut program = Command::new(PLIMSOLL);
    program.uid(NOBODY).gid(NOBODY);
    let daemon = Daemon::start_by(program, &config, &[]);
    harness.wait_served();
    reload(&mut harness, &daemon, 2);
    assert!(harness.serves());
    assert_eq!(daemon.count(&["kind=haproxy.reload_failed"]), 0, "{:#?}", daemon.lines());
    end(daemon, "TERM", secs(5));
}

#[test]
fn a_haproxy_that_root_left_is_reported_to_a_daemon_that_is_not_roots() {
    let harness = Harness::new("roots");
    let daemon = harness.start();
    harness.wait_served();
    harness.wait_quiet();
    daemon.kill();
    let (left, _) = harness.haproxies();
    let config = harness.write();
    give_to_nobody(&harness);
    let mut program = Command::new(PLIMSOLL);
    program.uid(NOBODY).gid(NOBODY);
    let daemon = Daemon::start_by(program, &config, &[]);
    let pid = left[0].to_string();
    let words = ["kind=haproxy.reload_failed", "belongs to another user", &pid];
    daemon.wait(&words, secs(15));
    assert!(harness.serves(), "it serves on");
    signal(left[0], "USR1");
    let failed = daemon.lines().len();
    daemon.wait_from(failed, &["kind=haproxy.reloaded"], secs(30));
    harness.wait_served();
    end(daemon, "TERM", secs(5));
}

#[test]
fn the_next_daemon_knows_every_haproxy_that_an_earlier_one_left() {
    let mut harness = Harness::new("known");
    harness.set("/load_balancer/hard_stop_after", json!("20s"));
    let daemon = harness.start();
    harness.wait_served();
    daemon.kill();
    let (before, _) = harness.haproxies();
    // Each tells alone which one serves: the socket, the pid file, the record.
    for gone in [&["pid"][..], &["pid.known"], &["pid", "pid.known"], &["sock"]] {
        for ending in gone {
            fs::remove_file(harness.dir.join(&format!("haproxy.{ending}"))).unwrap();
        }
        let daemon = harness.start();
        daemon.wait(&["kind=daemon.started"], secs(10));
        reload(&mut harness, &daemon, if gone.contains(&"sock") { 3 } else { 2 });
        reload(&mut harness, &daemon, 1);
        let one = || harness.haproxies().0.len() == 1;
        assert!(reached(secs(15), one), "{gone:?}: {:?} of {before:?}", harness.haproxies().0);
        daemon.kill();
    }
}

#[test]
fn a_socket_that_answers_a_byte_at_a_time_delays_no_tick() {
    let mut harness = Harness::new("drip");
    // No HAProxy comes up that would take the socket.
    put_script(&mut harness, "exit 1");
    let listener = UnixListener::bind(harness.dir.join("haproxy.sock")).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                while stream.write_all(b"x").is_ok() {
                    delay(Duration::from_millis(1500));
                }
            });
        }
    });
    let daemon = harness.start();
    daemon.wait(&["kind=haproxy.reload_failed"], secs(20));
    harness.wait_evaluations(3);
    end(daemon, "TERM", secs(12));
}

fn put_script(harness: &mut Harness, body: &str) {
    let script = harness.dir.write("haproxy", &format!("#!/bin/sh\n{body}\n"));
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    harness.set("/load_balancer/binary", json!(script));
}

#[test]
fn a_binary_that_prints_without_end_takes_neither_the_disk_nor_the_memory() {
    for body in ["exec yes", "yes &\nexec yes >&2", "yes | head -c 9000000; exit 1"] {
        let mut harness = Harness::new("prints");
        put_script(&mut harness, body);
        let daemon = harness.start();
        let words =
            if body.contains("head") { "the file is refused: y" } else { "wrote more than" };
        daemon.wait(&["kind=haproxy.reload_failed", words], secs(20));
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
        let peak_kb: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(peak_kb < 64 << 10, "{body}: {peak_kb} KB");
        let files = harness.dir.path().read_dir().unwrap().map(|e| e.unwrap().metadata().unwrap());
        let bytes: u64 = files.map(|meta| meta.len()).sum();
        assert!(bytes < 1 << 20, "{body}: {bytes} bytes");
        let line = daemon.lines().into_iter().find(|l| l.contains("reload_failed")).unwrap();
        assert!(line.len() < 4000, "{}", line.len());
        end(daemon, "TERM", secs(12));
    }
}

/// HAProxy, on a file whose backend `bad` is spoilt.
fn spoil_bad(harness: &mut Harness) {
    let spoil = "case \"$1\" in -c) sed -i '/^backend bad$/a no_such_keyword' \"$3\";; esac";
    put_script(harness, &format!("{spoil}\nexec {HAPROXY} \"$@\""));
}

#[test]
fn a_service_that_haproxy_refuses_keeps_no_other_one_out() {
    let mut harness = Harness::new("bad");
    spoil_bad(&mut harness);
    let mut bad = harness.config["services"]["web"].clone();
    let front = free_address();
    bad["listen"] = json!(front);
    let good = bad.clone();
    harness.set("/services/bad", bad);
    let daemon = harness.start();
    harness.wait_served();
    let words = ["kind=haproxy.reload_failed", "service bad is left out", "no_such_keyword"];
    daemon.wait(&words, secs(10));
    let config = harness.dir.join("config.json");
    let asked = || plimsoll(&["healthcheck", "--config", config.to_str().unwrap()]);
    let is_reported =
        || String::from_utf8_lossy(&asked().stderr).contains("service bad is left out");
    assert!(reached(secs(5), is_reported), "healthcheck fails and says why");
    // It is tried again ever more slowly, and reported once.
    harness.wait_evaluations(5);
    assert_eq!(daemon.count(&words), 1, "{:#?}", daemon.lines());
    assert!(harness.serves());
    assert_eq!(fake_http::get(&front), None, "nobody is there");
    // Servers of the other one come all the same.
    harness.set("/services/web/min_replicas", json!(2));
    harness.set("/services/web/max_replicas", json!(2));
    harness.write();
    daemon.signal("HUP");
    let file = harness.dir.join("haproxy.cfg");
    let has_two = || fs::read_to_string(&file).unwrap().contains("server web-2 ");
    assert!(reached(secs(15), has_two), "{:#?}", daemon.lines());
    // Mended, it is served and all is well.
    put_script(&mut harness, &format!("exec {HAPROXY} \"$@\""));
    harness.set("/services/bad", good);
    assert!(reached(secs(70), || fake_http::get(&front) == Some(200)), "{:#?}", daemon.lines());
    assert!(reached(secs(10), || asked().status.success()), "{:?}", asked());
    end(daemon, "TERM", secs(5));
}

#[test]
fn a_service_whose_new_settings_are_refused_is_served_with_the_old_ones() {
    let mut harness = Harness::new("former");
    // Only an interval of 7 s is disliked.
    let spoil = "case \"$1\" in -c) sed -i 's/inter 7000ms/no_such_keyword/' \"$3\";; esac";
    put_script(&mut harness, &format!("{spoil}\nexec {HAPROXY} \"$@\""));
    let daemon = harness.start();
    harness.wait_served();
    harness.set("/services/web/health_check/interval", json!("7s"));
    harness.write();
    daemon.signal("HUP");
    let words = ["kind=haproxy.reload_failed", "service web keeps its former settings"];
    daemon.wait(&words, secs(10));
    assert!(harness.serves());
    harness.set("/services/web/health_check/interval", json!("1s"));
    harness.write();
    let from = daemon.lines().len();
    daemon.signal("HUP");
    daemon.wait_from(from, &["kind=haproxy.reloaded"], secs(10));
    assert!(harness.serves());
    end(daemon, "TERM", secs(5));
}

#[test]
fn what_we_write_for_haproxy_nobody_else_may_read() {
    let harness = Harness::new("modes");
    let daemon = harness.start();
    harness.wait_served();
    for name in ["haproxy.cfg", "haproxy.cfg.good", "haproxy.cfg.lock", "haproxy.pid.known"] {
        let path = harness.dir.join(name);
        assert!(reached(secs(5), || path.exists()), "{name}");
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
    assert!(!harness.dir.join("haproxy.cfg.said").exists());
    end(daemon, "TERM", secs(5));
}

#[test]
fn a_pipe_in_place_of_the_lock_is_reported_and_holds_nothing_up() {
    let harness = Harness::new("pipe");
    let lock = harness.dir.join("haproxy.cfg.lock");
    assert!(Command::new("mkfifo").arg(&lock).status().unwrap().success());
    let daemon = harness.start();
    let words = ["kind=haproxy.reload_failed", "haproxy.cfg.lock", "it is not a regular file"];
    daemon.wait(&words, secs(10));
    fs::remove_file(lock).unwrap();
    harness.wait_served();
    end(daemon, "TERM", secs(5));
}
