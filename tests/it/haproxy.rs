//! The daemon when HAProxy's binary is missing, refuses, hangs, or its process goes away.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::daemon::{Daemon, reached, secs, signal};
use crate::fake_http;
use crate::harness::{Harness, each, end, free_address};

const SOON: Duration = Duration::from_secs(10);
const HAPROXY: &str = "/usr/sbin/haproxy";

fn binary(harness: &Harness) -> PathBuf {
    harness.dir.join("haproxy")
}

/// In one step: it is never half there while the daemon runs it.
fn put_script(harness: &Harness, body: &str) {
    let new = harness.dir.write("script", &format!("#!/bin/sh\n{body}\n"));
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, binary(harness)).unwrap();
}

fn put_real(harness: &Harness) {
    let new = harness.dir.join("link");
    symlink(HAPROXY, &new).unwrap();
    fs::rename(new, binary(harness)).unwrap();
}

/// It answers `-c` as HAProxy does.
fn validates_then(body: &str) -> String {
    format!("case \"$1\" in -c) exec {HAPROXY} \"$@\";; esac\n{body}")
}

#[test]
fn a_binary_that_fails_or_hangs_is_reported_outlasted_and_healed() {
    let checks = [
        failures_are_reported_and_healed,
        failures_in_a_row_are_tried_again_ever_more_slowly,
        a_hang_delays_the_end_by_ten_seconds_at_most,
    ];
    each(&checks, |check| check());
}

fn failures_are_reported_and_healed() {
    let refuses = "echo \"[ALERT]  (7) : config : parsing [x:1] : unknown keyword 'foo'\" >&2\n\
                   exit 1";
    // `-D -f FILE -p FILE`, and no process has that number.
    let leaves_a_dead_one = "echo 4000000 >$5\necho '[ALERT]  (7) : Cannot fork.' >&2\nexit 0";
    let rows = [
        (None, "haproxy (see load_balancer.binary): No such file or directory"),
        (
            Some(refuses.to_owned()),
            "the file is refused: config : parsing [x:1] : unknown keyword 'foo'",
        ),
        (Some(validates_then("echo no memory\nexit 1")), "HAProxy does not start: no memory"),
        (Some(validates_then("exit 0")), "haproxy: the new process does not serve: haproxy does"),
        (Some(validates_then(leaves_a_dead_one)), "right after its start: Cannot fork."),
        (Some(hang()), "did not end within 10 s and was killed"),
    ];
    each(&rows, |(script, words)| {
        let mut harness = Harness::new("fails");
        harness.set("/load_balancer/binary", json!(binary(&harness)));
        script.iter().for_each(|script| put_script(&harness, script));
        let daemon = harness.start();
        let failed = daemon.wait(&["kind=haproxy.reload_failed", words], secs(20));
        put_real(&harness);
        // A second run of what hung may have begun already.
        daemon.wait_from(failed, &["kind=haproxy.reloaded"], secs(25));
        harness.wait_served();
        assert_eq!(harness.haproxies().1, [0; 0], "nothing that hung is left");
        end(daemon, "TERM", secs(3));
    });
}

/// Blocked for ever, by a process of its own name.
fn hang() -> String {
    "mkfifo \"$0.never\" 2>&-\nread -r line <\"$0.never\"".to_owned()
}

fn a_hang_delays_the_end_by_ten_seconds_at_most() {
    let mut harness = Harness::new("hangs");
    harness.set("/load_balancer/binary", json!(binary(&harness)));
    put_script(&harness, &hang());
    let daemon = harness.start();
    daemon.wait(&["kind=replica.started"], SOON);
    end(daemon, "TERM", secs(12));
}

#[allow(clippy::disallowed_methods, reason = "a test measures")]
fn failures_in_a_row_are_tried_again_ever_more_slowly() {
    let mut harness = Harness::new("slowly");
    harness.set("/load_balancer/binary", json!(binary(&harness)));
    put_script(&harness, "echo run >>\"$0.runs\"\necho no more memory\nexit 1");
    let daemon = harness.start();
    let runs = || fs::read_to_string(harness.dir.join("haproxy.runs")).unwrap_or_default();
    let mut times = Vec::new();
    // The first may be of the list without the replica, which is another file.
    for n in 1..=4 {
        assert!(reached(secs(20), || n <= runs().lines().count()), "{n} runs");
        times.push(Instant::now());
    }
    let one = times[2] - times[1];
    let two = times[3] - times[2];
    let enough = Duration::from_millis(900) <= one && one.mul_f32(1.5) <= two;
    assert!(enough, "{one:?}, {two:?}");
    // One line when it began, and one when it is over.
    assert_eq!(daemon.count(&["kind=haproxy.reload_failed"]), 1, "{:#?}", daemon.lines());
    put_real(&harness);
    daemon.wait(&["kind=haproxy.reloaded", "ms, after ", " failures"], secs(20));
    assert_eq!(daemon.count(&["kind=haproxy.reload_failed"]), 1, "{:#?}", daemon.lines());
}

#[test]
fn a_haproxy_that_was_killed_is_brought_back() {
    let mut harness = Harness::new("killed");
    harness.set("/autoscaler/check_interval", json!(3600));
    let daemon = harness.start();
    harness.wait_served();
    harness.wait_quiet();
    let (pids, _) = harness.haproxies();
    assert!(!pids.is_empty());
    for pid in &pids {
        signal(*pid, "KILL");
    }
    assert!(reached(secs(5), || harness.haproxies().0.iter().any(|pid| !pids.contains(pid))));
    harness.wait_served();
    assert_eq!(daemon.count(&["kind=haproxy.reload_failed"]), 0);
}

/// Sets min and max to two, which needs another list in HAProxy.
fn ask_for_two(harness: &mut Harness, daemon: &Daemon) {
    harness.set("/services/web/min_replicas", json!(2));
    harness.set("/services/web/max_replicas", json!(2));
    harness.write();
    daemon.signal("HUP");
}

#[test]
fn a_reload_that_fails_leaves_what_worked_and_is_tried_again() {
    let fails = "echo no more memory\nexit 1";
    let dies = validates_then(fails);
    each(&[("file", fails, false), ("start", &dies, true)], |(name, script, rolls_back)| {
        let mut harness = Harness::new(name);
        harness.set("/load_balancer/binary", json!(binary(&harness)));
        put_real(&harness);
        let daemon = harness.start();
        harness.wait_served();
        put_script(&harness, script);
        // Servers alone would come without a reload.
        harness.set("/services/web/health_check/interval", json!("2s"));
        ask_for_two(&mut harness, &daemon);
        let failed = daemon.wait(&["kind=haproxy.reload_failed", "no more memory"], SOON);
        if *rolls_back {
            daemon.wait_from(failed, &["kind=haproxy.rolled_back"], secs(1));
        }
        assert!(harness.serves(), "{name}");
        let lists_two = || {
            let file = fs::read_to_string(harness.dir.join("haproxy.cfg")).unwrap();
            file.contains("server web-1 ") && file.contains("server web-2 ")
        };
        assert!(!lists_two(), "{name}: the file is that which worked");
        put_real(&harness);
        daemon.wait_from(failed, &["kind=haproxy.reloaded"], SOON);
        assert!(reached(SOON, lists_two) && harness.serves(), "{name}");
        assert_eq!(daemon.count(&["kind=haproxy.rolled_back"]) != 0, *rolls_back, "{name}");
        end(daemon, "TERM", secs(3));
    });
}

#[test]
fn a_port_that_is_taken_is_reported_and_the_old_one_serves_on() {
    let mut harness = Harness::new("port");
    let daemon = harness.start();
    harness.wait_served();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let front = taken.local_addr().unwrap().to_string();
    harness.set("/services/web/listen", json!(front));
    harness.write();
    daemon.signal("HUP");
    daemon.wait(&["kind=haproxy.reload_failed", &front], secs(20));
    assert!(harness.serves());
    drop(taken);
    harness.front = front;
    assert!(reached(secs(20), || harness.serves()), "the new one once it is free");
    end(daemon, "TERM", secs(5));
}

#[test]
fn an_address_that_this_host_has_not_is_reported_and_all_else_served() {
    let mut harness = Harness::new("far");
    let daemon = harness.start();
    harness.wait_served();
    // On a port that HAProxy has open already, at an address that is kept for documents.
    let far = format!("192.0.2.1:{}", harness.front.rsplit(':').next().unwrap());
    let web = harness.config["services"]["web"].clone();
    let near = free_address();
    harness.set("/services/web/listen", json!(far));
    harness.set("/services/near", web);
    harness.set("/services/near/listen", json!(near));
    harness.write();
    daemon.signal("HUP");
    daemon.wait(&["kind=haproxy.reload_failed", &far, "all else is up to date"], SOON);
    assert!(reached(SOON, || fake_http::get(&near) == Some(200)), "{:#?}", daemon.lines());
    assert!(harness.serves(), "the old address goes on");
    end(daemon, "TERM", secs(5));
}

#[test]
fn a_service_that_comes_back_into_the_config_is_open_when_it_can_serve() {
    let mut harness = Harness::new("back");
    let web = harness.config["services"]["web"].clone();
    let idle = json!({ "image": "demo:1", "port": 1, "min_replicas": 0, "max_replicas": 1,
        "scale_up_threshold": 90, "scale_down_threshold": 10 });
    harness.set("/services/idle", idle.clone());
    let daemon = harness.start();
    harness.wait_served();
    harness.set("/services", json!({ "idle": idle }));
    harness.write();
    daemon.signal("HUP");
    let is_open = |harness: &Harness| fake_http::get(&harness.front).is_some();
    assert!(reached(SOON, || !is_open(&harness)), "its port is closed");
    harness.set("/services/web", web);
    harness.write();
    daemon.signal("HUP");
    let mut first = None;
    reached(SOON, || {
        first = fake_http::get(&harness.front);
        first.is_some()
    });
    assert_eq!(first, Some(200), "{:#?}", daemon.lines());
    end(daemon, "TERM", secs(3));
}

/// Answers at once, except requests for `/hang`: the test decides when these are answered.
fn start_hanging_app(asked: mpsc::Sender<mpsc::Sender<()>>) -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let asked = asked.clone();
            thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let Some(request) = fake_http::read_request(&mut reader) else { return };
                if request.path == "/hang" {
                    let (go, gone) = mpsc::channel();
                    asked.send(go).unwrap();
                    // The end of the test is as good as a word.
                    let _: Result<(), mpsc::RecvError> = gone.recv();
                }
                let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
                drop(stream.write_all(answer.as_bytes()));
            });
        }
    });
    port
}

#[test]
fn a_replica_that_comes_back_at_another_address_takes_no_reload_and_costs_no_request() {
    let mut harness = Harness::new("moved");
    let (answer, answered) = mpsc::channel();
    harness.set("/services/web/port", json!(start_hanging_app(answer)));
    let daemon = harness.start();
    harness.wait_served();
    harness.wait_quiet();
    let reloads = daemon.count(&["kind=haproxy.reloaded"]);
    let (pids, _) = harness.haproxies();
    let mut client = TcpStream::connect(&harness.front).unwrap();
    client.write_all(b"GET /hang HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let go = answered.recv_timeout(SOON).unwrap();
    for address in ["127.9.0.2", "127.9.0.3", "127.9.0.2"] {
        let from = daemon.lines().len();
        harness.docker.move_to("web-1", address);
        daemon.wait_from(from, &["kind=haproxy.servers_updated"], SOON);
        harness.wait_served();
        let file = fs::read_to_string(harness.dir.join("haproxy.cfg")).unwrap();
        assert!(file.contains(&format!("server web-1 {address}:")), "{file}");
    }
    go.send(()).unwrap();
    let mut answer = String::new();
    client.set_read_timeout(Some(SOON)).unwrap();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "what was asked before is answered: {answer}");
    assert_eq!(daemon.count(&["kind=haproxy.update_failed"]), 0, "{:#?}", daemon.lines());
    assert_eq!(daemon.count(&["kind=haproxy.reloaded"]), reloads, "{:#?}", daemon.lines());
    assert_eq!(harness.haproxies().0, pids);
    end(daemon, "TERM", secs(5));
}

/// Two replicas. The one that is asked for `/busy` is busy until the test ends, and tells the test.
/// From then on the other one dies: it closes each connection without an answer for 100 ms from the
/// first, and still accepts. After that it answers, in place of a third replica.
fn start_dying_app(asked: mpsc::Sender<()>) -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut busy = None;
        let mut dies_until = None;
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let Some(request) = fake_http::read_request(&mut reader) else { continue };
            if request.path == "/busy" {
                busy = Some(stream);
                asked.send(()).unwrap();
                continue;
            }
            #[allow(clippy::disallowed_methods, reason = "how long a process takes to die")]
            let now = Instant::now();
            let is_dying = busy.is_some()
                && request.path == "/"
                && now < *dies_until.get_or_insert(now + Duration::from_millis(100));
            if !is_dying {
                let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
                drop(stream.write_all(answer.as_bytes()));
            }
        }
    });
    port
}

#[test]
fn a_get_is_not_sent_again_while_its_replica_is_still_dying() {
    let mut harness = Harness::new("dying");
    let (asked, is_busy) = mpsc::channel();
    harness.set("/services/web/port", json!(start_dying_app(asked)));
    harness.set("/services/web/min_replicas", json!(2));
    harness.set("/services/web/max_replicas", json!(2));
    harness.set("/services/web/retry", json!("safe"));
    let daemon = harness.start();
    daemon.wait(&["kind=replica.started", "replica=web-2"], SOON);
    harness.wait_served();
    harness.wait_quiet();
    let mut busy = TcpStream::connect(&harness.front).unwrap();
    busy.write_all(b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    is_busy.recv_timeout(SOON).unwrap();
    assert_eq!(fake_http::get(&harness.front), Some(200), "{:#?}", daemon.lines());
    end(daemon, "TERM", secs(5));
}
