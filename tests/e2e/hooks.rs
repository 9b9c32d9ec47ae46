//! Hooks: commands in the replica between drain and SIGTERM, and between the first pass of the
//! health check and traffic. Under traffic, and while the daemon dies.

#![allow(clippy::disallowed_methods, reason = "a test measures")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, plimsoll, reached, secs};
use crate::load::Counts;
use crate::testbed::{IMAGE, Testbed, everyone};

/// The app in an image with a shell and little else.
pub(crate) const SHELL_IMAGE: &str = "plimsoll-demo-base:1";

#[track_caller]
fn assert_clean(counts: &Counts) {
    assert_eq!(counts.failed(), 0, "requests were lost:\n{counts}");
    assert!(100 <= counts.sent(), "hardly any traffic:\n{counts}");
}

/// Copies the app out of its image, to be mounted where there is a shell. Gives its path.
pub(crate) fn app_of(testbed: &Testbed) -> String {
    let holder = format!("{}-app", testbed.service);
    testbed.docker(&["create", "--name", &holder, IMAGE]).unwrap();
    let app = testbed.dir.join("app");
    let app = app.to_str().unwrap();
    testbed.docker(&["cp", &format!("{holder}:/app"), app]).unwrap();
    testbed.docker(&["rm", &holder]).unwrap();
    app.to_owned()
}

struct HookBed {
    testbed: Testbed,
}

impl HookBed {
    fn new(name: &str) -> HookBed {
        let testbed = Testbed::new(name);
        app_of(&testbed);
        fs::create_dir(testbed.dir.join("out")).unwrap();
        HookBed { testbed }
    }

    /// `hooks` and `more` are text of the config. What hooks write is in `/out`.
    fn configure(&self, replicas: u32, hooks: &str, more: &str) -> PathBuf {
        let dir = self.testbed.dir.path().display();
        let config = self.testbed.configure(&format!(
            r#""min_replicas": {replicas}, "max_replicas": {replicas}, "drain_timeout": 20,
               "command": ["/bin/app"], "volumes": ["{dir}/app:/bin/app:ro", "{dir}/out:/out"],
               "hooks": {{ {hooks} }}{more}"#
        ));
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text.replacen(IMAGE, SHELL_IMAGE, 1)).unwrap();
        config
    }

    /// Lines that hooks wrote.
    fn wrote(&self) -> Vec<String> {
        let text = fs::read_to_string(self.testbed.dir.join("out/log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn wait_wrote(&self, lines: usize, daemon: &Daemon) {
        let done = reached(secs(30), || lines <= self.wrote().len());
        assert!(done, "{:?}: {:#?}", self.wrote(), daemon.lines());
    }

    fn status(&self) -> String {
        let socket = self.testbed.dir.join("api.sock");
        let socket = socket.to_str().unwrap();
        let shown = plimsoll(&["status", &self.testbed.service, "--socket", socket]);
        String::from_utf8(shown.stdout).unwrap()
    }
}

fn hook(key: &str, script: &str) -> String {
    format!(r#""{key}": ["sh", "-c", "{script}"]"#)
}

/// One GET; returns the whole answer.
fn get(testbed: &Testbed, path: &str) -> String {
    let mut stream = TcpStream::connect(testbed.address()).unwrap();
    stream.set_read_timeout(Some(secs(30))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_slow_hook_before_the_stop_begins_after_the_drain_and_ends_before_sigterm() {
    let bed = HookBed::new("hook-stop");
    let hooks = hook("before_stop", "echo begin >> /out/log; sleep 2; echo end >> /out/log");
    let daemon = Daemon::start(&bed.configure(2, &hooks, ""));
    bed.testbed.wait_serving(2, secs(30), &daemon);
    let load = everyone(&bed.testbed);
    // Enough of them that each replica has one.
    let slow: Vec<_> = (0..6)
        .map(|_| {
            let address = bed.testbed.address();
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(secs(30))).unwrap();
                let head = "GET /slow?ms=4000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
                stream.write_all(head.as_bytes()).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                (answer, Instant::now())
            })
        })
        .collect();
    assert!(reached(secs(5), || {
        let stat = bed.testbed.ask_haproxy("show stat");
        stat.lines().filter(|line| line.starts_with(&bed.testbed.service)).count() > 2
    }));
    bed.configure(1, &hooks, "");
    daemon.signal("HUP");
    let mut begun = None;
    let done = reached(secs(30), || {
        begun = begun.or_else(|| (!bed.wrote().is_empty()).then(Instant::now));
        bed.testbed.containers().len() == 1
    });
    assert!(done, "{:#?}", daemon.lines());
    assert_eq!(bed.wrote(), ["begin", "end"], "the stop did not wait for the hook");
    for slow in slow {
        let (answer, ended) = slow.join().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
        assert!(ended <= begun.unwrap() + Duration::from_millis(500), "the drain was not over");
    }
    assert_eq!(daemon.count(&["kind=hook.failed"]), 0, "{:#?}", daemon.lines());
    assert_clean(&load.stop());
}

#[test]
fn a_hook_that_hangs_ends_with_its_timeout_and_the_stop_goes_on() {
    let bed = HookBed::new("hook-hang");
    let hang = hook("before_stop", "echo begin >> /out/log; echo stuck; exec sleep 300");
    let hooks = format!(r#"{hang}, "timeout": 2"#);
    let daemon = Daemon::start(&bed.configure(2, &hooks, ""));
    bed.testbed.wait_serving(2, secs(30), &daemon);
    let load = everyone(&bed.testbed);
    bed.configure(1, &hooks, "");
    daemon.signal("HUP");
    bed.wait_wrote(1, &daemon);
    let begun = Instant::now();
    daemon.wait(
        &["kind=hook.failed", "did not end within hooks.timeout (2s)", "last output: stuck"],
        secs(20),
    );
    daemon.wait(&["kind=replica.removed"], secs(20));
    let took = begun.elapsed();
    assert!(took < secs(8), "{took:?}");
    assert_eq!(bed.testbed.containers().len(), 1);
    // A program that the image does not have holds up nothing either.
    let hooks = r#""before_stop": ["/no/such", "x"]"#;
    bed.configure(2, hooks, "");
    daemon.signal("HUP");
    bed.testbed.wait_serving(2, secs(30), &daemon);
    bed.configure(1, hooks, "");
    daemon.signal("HUP");
    daemon.wait(&["kind=hook.failed", "cannot be executed", "/no/such"], secs(30));
    assert!(reached(secs(20), || bed.testbed.containers().len() == 1));
    assert_clean(&load.stop());
}

#[test]
fn no_request_comes_before_the_hook_after_ready_has_ended() {
    let bed = HookBed::new("hook-ready");
    // It ends once the test lets it.
    let wait = "while [ ! -e /out/go ]; do sleep 1; done";
    let script = format!("echo begin >> /out/log; {wait}; echo end >> /out/log");
    let hooks = hook("after_ready", &script);
    let go = bed.testbed.dir.join("out/go");
    fs::write(&go, "").unwrap();
    let daemon = Daemon::start(&bed.configure(1, &hooks, ""));
    bed.testbed.wait_serving(1, secs(30), &daemon);
    assert_eq!(bed.wrote(), ["begin", "end"]);
    let load = everyone(&bed.testbed);
    fs::remove_file(&go).unwrap();
    bed.configure(2, &hooks, "");
    daemon.signal("HUP");
    bed.wait_wrote(3, &daemon);
    let waits = reached(secs(10), || bed.status().contains("starting (hook after_ready)"));
    assert!(waits, "{}", bed.status());
    let second = format!("{}-2", bed.testbed.service);
    assert!(!bed.testbed.serving().contains(&second), "it serves while its hook runs");
    fs::write(&go, "").unwrap();
    let done = reached(secs(20), || bed.testbed.serving().contains(&second));
    assert!(done, "{:#?}", daemon.lines());
    assert_eq!(bed.wrote(), ["begin", "end", "begin", "end"], "it serves before its hook ended");
    // A restart of the container is a new run.
    fs::remove_file(&go).unwrap();
    let (id, ..) =
        bed.testbed.containers().into_iter().find(|(_, name, _)| *name == second).unwrap();
    bed.testbed.docker(&["restart", "-t", "0", &id]).unwrap();
    bed.wait_wrote(5, &daemon);
    assert!(!bed.testbed.serving().contains(&second), "it serves while its hook runs");
    fs::write(&go, "").unwrap();
    bed.testbed.wait_serving(2, secs(20), &daemon);
    assert_eq!(bed.wrote().len(), 6);
    let counts = load.stop();
    // What the restarted one had in hand is lost.
    assert!(counts.failed() <= 16, "{counts}");
    // A daemon that starts beside replicas that serve runs no hook again.
    drop(daemon.kill());
    let daemon = Daemon::start(&bed.configure(2, &hooks, ""));
    daemon.wait(&["kind=daemon.started"], secs(20));
    bed.testbed.wait_serving(2, secs(20), &daemon);
    assert!(reached(secs(10), || bed.status().matches(" ready ").count() >= 2), "{}", bed.status());
    assert_eq!(bed.wrote().len(), 6, "{:#?}", daemon.lines());
    let answer = get(&bed.testbed, "/");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn a_hook_that_fails_takes_a_rollout_back_and_loses_no_request() {
    let bed = HookBed::new("hook-back");
    let script = "if [ -n \\\"$BAD\\\" ]; then echo no luck; exit 3; fi; echo up >> /out/log";
    let hooks = hook("after_ready", script);
    let more = |more: &str| format!(r#", "rollout": {{ "progress_deadline": 8 }}{more}"#);
    let daemon = Daemon::start(&bed.configure(2, &hooks, &more("")));
    bed.testbed.wait_serving(2, secs(30), &daemon);
    let before = bed.testbed.serving();
    let load = everyone(&bed.testbed);
    bed.configure(2, &hooks, &more(r#", "environment": { "BAD": "1" }"#));
    daemon.signal("HUP");
    let mut others = Vec::new();
    let back = reached(secs(60), || {
        others.extend(bed.testbed.serving().into_iter().filter(|name| !before.contains(name)));
        0 < daemon.count(&["kind=rollout.rolled_back"])
    });
    assert!(back, "{:#?}", daemon.lines());
    assert!(others.is_empty(), "{others:?} serve");
    daemon.wait(&["kind=hook.failed", "exit code 3", "last output: no luck"], secs(1));
    daemon.wait(&["kind=health.replaced", "hook after_ready failed: exit code 3"], secs(20));
    daemon.wait(&["kind=rollout.finished"], secs(60));
    assert_eq!(bed.testbed.serving(), before);
    assert_eq!(bed.wrote(), ["up", "up"]);
    assert_clean(&load.stop());
}

#[test]
fn the_end_of_a_hook_is_that_of_its_program_not_of_its_output() {
    let bed = HookBed::new("hook-output");
    // A child keeps the output open.
    let ready = hook("after_ready", "sleep 300 & echo up >> /out/log");
    // It writes without a pause, and more than anybody keeps.
    let stop = hook("before_stop", "while :; do echo and so on; done");
    let hooks = format!(r#"{ready}, {stop}, "timeout": 3"#);
    let begun = Instant::now();
    let daemon = Daemon::start(&bed.configure(2, &hooks, ""));
    bed.testbed.wait_serving(2, secs(10), &daemon);
    assert_eq!(daemon.count(&["kind=hook.failed"]), 0, "{:#?}", daemon.lines());
    println!("with hooks that leave a child: {:.1} s", begun.elapsed().as_secs_f64());
    bed.configure(1, &hooks, "");
    daemon.signal("HUP");
    let at = daemon.wait(&["kind=hook.failed", "and so on | and so on"], secs(20));
    assert!(daemon.lines()[at].len() < 600, "{:?}", daemon.lines()[at]);
    assert!(reached(secs(5), || bed.testbed.containers().len() == 1));
    // One that ends the app itself is no failure, though it dies of it.
    let hooks = hook("before_stop", "kill -TERM 1; sleep 300");
    bed.configure(2, &hooks, "");
    daemon.signal("HUP");
    bed.testbed.wait_serving(2, secs(20), &daemon);
    bed.configure(1, &hooks, "");
    daemon.signal("HUP");
    assert!(reached(secs(10), || bed.testbed.containers().len() == 1), "{:#?}", daemon.lines());
    assert_eq!(daemon.count(&["kind=hook.failed"]), 1, "{:#?}", daemon.lines());
}

#[test]
fn a_daemon_that_dies_during_a_hook_leaves_it_to_the_next_one() {
    let bed = HookBed::new("hook-crash");
    let ready = hook("after_ready", "echo up >> /out/log; sleep 4; echo warm >> /out/log");
    let stop = hook("before_stop", "echo down >> /out/log; sleep 4; echo clean >> /out/log");
    let hooks = format!("{ready}, {stop}");
    let daemon = Daemon::start(&bed.configure(1, &hooks, ""));
    bed.testbed.wait_serving(1, secs(30), &daemon);
    let load = everyone(&bed.testbed);
    let config = bed.configure(2, &hooks, "");
    daemon.signal("HUP");
    bed.wait_wrote(3, &daemon);
    drop(daemon.kill());
    // The same run of the hook, by the words of the command.
    let daemon = Daemon::start(&config);
    bed.testbed.wait_serving(2, secs(30), &daemon);
    assert_eq!(bed.wrote(), ["up", "warm", "up", "warm"], "{:#?}", daemon.lines());
    let config = bed.configure(1, &hooks, "");
    daemon.signal("HUP");
    bed.wait_wrote(5, &daemon);
    drop(daemon.kill());
    let daemon = Daemon::start(&config);
    let done = reached(secs(30), || bed.testbed.containers().len() == 1);
    assert!(done, "{:#?}", daemon.lines());
    assert_eq!(bed.wrote()[4..], ["down", "clean"], "{:#?}", daemon.lines());
    bed.testbed.wait_serving(1, secs(10), &daemon);
    assert_clean(&load.stop());
}
