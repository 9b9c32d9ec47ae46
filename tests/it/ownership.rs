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

use crate::daemon::{Daemon, PLIMSOLL, plimsoll, reached, secs, signal};
use crate::fake_http;
use crate::stage::{Stage, end, free_address};

const HAPROXY: &str = "/usr/sbin/haproxy";
/// Debian's `nobody`.
const NOBODY: u32 = 65_534;

/// Calls itself an HAProxy that runs our file. It ends at any signal.
struct Pretender(Child);

impl Pretender {
    fn new(stage: &Stage, uid: u32) -> Pretender {
        let file = stage.dir.join("haproxy.cfg");
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
fn reload(stage: &mut Stage, daemon: &Daemon, seconds: u32) {
    let from = daemon.lines().len();
    stage.set("/services/web/health_check/interval", json!(format!("{seconds}s")));
    stage.write();
    daemon.signal("HUP");
    daemon.wait_from(from, &["kind=haproxy.reloaded"], secs(10));
}

#[test]
fn a_command_line_makes_no_process_our_haproxy() {
    let mut stage = Stage::new("pretend");
    let mut pretenders: Vec<Pretender> =
        (0..12).map(|n| Pretender::new(&stage, if n % 2 == 0 { 0 } else { NOBODY })).collect();
    let daemon = stage.start();
    stage.wait_served();
    for seconds in 2..5 {
        reload(&mut stage, &daemon, seconds);
    }
    assert!(stage.serves());
    let alive = pretenders.iter_mut().filter_map(|p| p.lives().then_some(())).count();
    assert_eq!(alive, 12, "a stranger was told to end");
    let told = daemon.count(&["kind=haproxy.reload_failed"])
        + daemon.count(&["kind=haproxy.reload_waits"]);
    assert_eq!(told, 0, "{:#?}", daemon.lines());
    end(daemon, "TERM", secs(5));
}

/// All files of the daemon's, and the socket of its Docker.
fn give_to_nobody(stage: &Stage) {
    let owner = format!("{NOBODY}:{NOBODY}");
    let chown = Command::new("chown").args(["-R", &owner]).arg(stage.dir.path()).status();
    assert!(chown.unwrap().success());
}

#[test]
fn a_command_line_stops_no_reload_of_a_daemon_that_is_not_roots() {
    let mut stage = Stage::new("user");
    let _pretenders = [Pretender::new(&stage, 0), Pretender::new(&stage, NOBODY)];
    let config = stage.write();
    give_to_nobody(&stage);
    let mut program = Command::new(PLIMSOLL);
    program.uid(NOBODY).gid(NOBODY);
    let daemon = Daemon::start_by(program, &config, &[]);
    stage.wait_served();
    reload(&mut stage, &daemon, 2);
    assert!(stage.serves());
    assert_eq!(daemon.count(&["kind=haproxy.reload_failed"]), 0, "{:#?}", daemon.lines());
    end(daemon, "TERM", secs(5));
}

#[test]
fn a_haproxy_that_root_left_is_told_to_a_daemon_that_is_not_roots() {
    let stage = Stage::new("roots");
    let daemon = stage.start();
    stage.wait_served();
    stage.wait_quiet();
    daemon.kill();
    let (left, _) = stage.haproxies();
    let config = stage.write();
    give_to_nobody(&stage);
    let mut program = Command::new(PLIMSOLL);
    program.uid(NOBODY).gid(NOBODY);
    let daemon = Daemon::start_by(program, &config, &[]);
    let pid = left[0].to_string();
    let words = ["kind=haproxy.reload_failed", "belongs to another user", &pid];
    daemon.wait(&words, secs(15));
    assert!(stage.serves(), "it serves on");
    signal(left[0], "USR1");
    let failed = daemon.lines().len();
    daemon.wait_from(failed, &["kind=haproxy.reloaded"], secs(30));
    stage.wait_served();
    end(daemon, "TERM", secs(5));
}

#[test]
fn the_next_daemon_knows_every_haproxy_that_an_earlier_one_left() {
    let mut stage = Stage::new("known");
    stage.set("/load_balancer/hard_stop_after", json!("20s"));
    let daemon = stage.start();
    stage.wait_served();
    daemon.kill();
    let (before, _) = stage.haproxies();
    // Each tells alone which one serves: the socket, the pid file, the record.
    for gone in [&["pid"][..], &["pid.known"], &["pid", "pid.known"], &["sock"]] {
        for ending in gone {
            fs::remove_file(stage.dir.join(&format!("haproxy.{ending}"))).unwrap();
        }
        let daemon = stage.start();
        daemon.wait(&["kind=daemon.started"], secs(10));
        reload(&mut stage, &daemon, if gone.contains(&"sock") { 3 } else { 2 });
        reload(&mut stage, &daemon, 1);
        let one = || stage.haproxies().0.len() == 1;
        assert!(reached(secs(15), one), "{gone:?}: {:?} of {before:?}", stage.haproxies().0);
        daemon.kill();
    }
}

#[test]
fn a_socket_that_answers_a_byte_at_a_time_holds_no_turn_up() {
    let mut stage = Stage::new("drip");
    // No HAProxy comes up that would take the socket.
    put_script(&mut stage, "exit 1");
    let listener = UnixListener::bind(stage.dir.join("haproxy.sock")).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                while stream.write_all(b"x").is_ok() {
                    thread::park_timeout(Duration::from_millis(1500));
                }
            });
        }
    });
    let daemon = stage.start();
    daemon.wait(&["kind=haproxy.reload_failed"], secs(20));
    stage.wait_looks(3);
    end(daemon, "TERM", secs(12));
}

fn put_script(stage: &mut Stage, body: &str) {
    let script = stage.dir.write("haproxy", &format!("#!/bin/sh\n{body}\n"));
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    stage.set("/load_balancer/binary", json!(script));
}

#[test]
fn a_binary_that_prints_without_end_takes_neither_the_disk_nor_the_memory() {
    for body in ["exec yes", "yes &\nexec yes >&2", "yes | head -c 9000000; exit 1"] {
        let mut stage = Stage::new("prints");
        put_script(&mut stage, body);
        let daemon = stage.start();
        let words =
            if body.contains("head") { "the file is refused: y" } else { "wrote more than" };
        daemon.wait(&["kind=haproxy.reload_failed", words], secs(20));
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
        let peak_kb: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(peak_kb < 64 << 10, "{body}: {peak_kb} KB");
        let files = stage.dir.path().read_dir().unwrap().map(|e| e.unwrap().metadata().unwrap());
        let bytes: u64 = files.map(|meta| meta.len()).sum();
        assert!(bytes < 1 << 20, "{body}: {bytes} bytes");
        let line = daemon.lines().into_iter().find(|l| l.contains("reload_failed")).unwrap();
        assert!(line.len() < 4000, "{}", line.len());
        end(daemon, "TERM", secs(12));
    }
}

/// HAProxy, on a file whose backend `bad` is spoilt.
fn spoil_bad(stage: &mut Stage) {
    let spoil = "case \"$1\" in -c) sed -i '/^backend bad$/a no_such_keyword' \"$3\";; esac";
    put_script(stage, &format!("{spoil}\nexec {HAPROXY} \"$@\""));
}

#[test]
fn a_service_that_haproxy_refuses_keeps_no_other_one_out() {
    let mut stage = Stage::new("bad");
    spoil_bad(&mut stage);
    let mut bad = stage.config["services"]["web"].clone();
    let front = free_address();
    bad["listen"] = json!(front);
    let good = bad.clone();
    stage.set("/services/bad", bad);
    let daemon = stage.start();
    stage.wait_served();
    let words = ["kind=haproxy.reload_failed", "service bad is left out", "no_such_keyword"];
    daemon.wait(&words, secs(10));
    let config = stage.dir.join("config.json");
    let asked = || plimsoll(&["healthcheck", "--config", config.to_str().unwrap()]);
    let is_told = || String::from_utf8_lossy(&asked().stderr).contains("service bad is left out");
    assert!(reached(secs(5), is_told), "healthcheck fails and says why");
    // It is tried again ever more slowly, and told once.
    stage.wait_looks(5);
    assert_eq!(daemon.count(&words), 1, "{:#?}", daemon.lines());
    assert!(stage.serves());
    assert_eq!(fake_http::get(&front), None, "nobody is there");
    // Servers of the other one come all the same.
    stage.set("/services/web/min_replicas", json!(2));
    stage.set("/services/web/max_replicas", json!(2));
    stage.write();
    daemon.signal("HUP");
    let file = stage.dir.join("haproxy.cfg");
    let has_two = || fs::read_to_string(&file).unwrap().contains("server web-2 ");
    assert!(reached(secs(15), has_two), "{:#?}", daemon.lines());
    // Mended, it is served and all is well.
    put_script(&mut stage, &format!("exec {HAPROXY} \"$@\""));
    stage.set("/services/bad", good);
    assert!(reached(secs(70), || fake_http::get(&front) == Some(200)), "{:#?}", daemon.lines());
    assert!(reached(secs(10), || asked().status.success()), "{:?}", asked());
    end(daemon, "TERM", secs(5));
}

#[test]
fn a_service_whose_new_settings_are_refused_is_served_with_the_old_ones() {
    let mut stage = Stage::new("former");
    // Only an interval of 7 s is disliked.
    let spoil = "case \"$1\" in -c) sed -i 's/inter 7000ms/no_such_keyword/' \"$3\";; esac";
    put_script(&mut stage, &format!("{spoil}\nexec {HAPROXY} \"$@\""));
    let daemon = stage.start();
    stage.wait_served();
    stage.set("/services/web/health_check/interval", json!("7s"));
    stage.write();
    daemon.signal("HUP");
    let words = ["kind=haproxy.reload_failed", "service web keeps its former settings"];
    daemon.wait(&words, secs(10));
    assert!(stage.serves());
    stage.set("/services/web/health_check/interval", json!("1s"));
    stage.write();
    let from = daemon.lines().len();
    daemon.signal("HUP");
    daemon.wait_from(from, &["kind=haproxy.reloaded"], secs(10));
    assert!(stage.serves());
    end(daemon, "TERM", secs(5));
}

#[test]
fn what_we_write_for_haproxy_nobody_else_may_read() {
    let stage = Stage::new("modes");
    let daemon = stage.start();
    stage.wait_served();
    for name in ["haproxy.cfg", "haproxy.cfg.good", "haproxy.cfg.lock", "haproxy.pid.known"] {
        let path = stage.dir.join(name);
        assert!(reached(secs(5), || path.exists()), "{name}");
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
    assert!(!stage.dir.join("haproxy.cfg.said").exists());
    end(daemon, "TERM", secs(5));
}

#[test]
fn a_pipe_in_place_of_the_lock_is_told_and_holds_nothing_up() {
    let stage = Stage::new("pipe");
    let lock = stage.dir.join("haproxy.cfg.lock");
    assert!(Command::new("mkfifo").arg(&lock).status().unwrap().success());
    let daemon = stage.start();
    let words = ["kind=haproxy.reload_failed", "haproxy.cfg.lock", "it is not a regular file"];
    daemon.wait(&words, secs(10));
    fs::remove_file(lock).unwrap();
    stage.wait_served();
    end(daemon, "TERM", secs(5));
}
