//! Commands that run until they are interrupted: on a terminal, into a pipe, while daemons are
//! restarted.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::daemon::{PLIMSOLL, reached, secs, signal};
use crate::harness::Harness;

/// One that runs, and what it wrote until now.
struct Going {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Going {
    fn start(harness: &Harness, command: &mut Command) -> Going {
        let out = harness.dir.join("going.out");
        let err = harness.dir.join("going.err");
        let file = |path: &Path| File::create(path).unwrap();
        command.stdin(Stdio::piped()).stdout(file(&out)).stderr(file(&err));
        Going { child: command.spawn().unwrap(), out, err }
    }

    fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    #[track_caller]
    fn wait(&self, what: impl Fn(&str) -> bool) {
        assert!(reached(secs(30), || what(&self.out())), "{}", self.out());
    }

    #[track_caller]
    fn ends_well(mut self) {
        let mut status = None;
        let ended = reached(secs(30), || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended && status.is_some_and(|s| s.success()), "{status:?}\n{}", self.out());
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn command(harness: &Harness, args: &[&str]) -> Command {
    let mut command = Command::new(PLIMSOLL);
    command.args(args).arg("--config").arg(harness.dir.join("config.json"));
    command
}

#[test]
fn a_watch_goes_on_until_it_is_ended_whatever_becomes_of_the_daemon() {
    let harness = Harness::new("watch");
    let daemon = harness.start();
    harness.wait_served();
    let going = Going::start(&harness, &mut command(&harness, &["status", "--watch"]));
    let tables = |out: &str| out.matches("service  ready").count();
    going.wait(|out| 2 <= tables(out));
    daemon.kill();
    let reported = || fs::read_to_string(&going.err).unwrap().contains("no daemon answers on");
    assert!(reached(secs(30), reported), "nothing is said of it");
    let before = tables(&going.out());
    let _daemon = harness.start();
    going.wait(|out| before < tables(out));
    signal(going.child.id(), "INT");
    going.ends_well();
    // One document a line.
    let watch = ["status", "web", "--watch", "--json"];
    let going = Going::start(&harness, &mut command(&harness, &watch));
    going.wait(|out| 2 <= out.lines().count());
    for line in going.out().lines().take(2) {
        let document: Value = serde_json::from_str(line).unwrap();
        assert_eq!(document["name"], "web");
    }
    signal(going.child.id(), "TERM");
    going.ends_well();
}

#[test]
fn events_are_reported_and_followed_from_one_daemon_to_the_next() {
    let harness = Harness::new("follow");
    let daemon = harness.start();
    harness.wait_served();
    let reported = |args: &[&str]| {
        let out = command(&harness, &[&["events"], args].concat()).output().unwrap();
        assert!(out.status.success() && out.stderr.is_empty(), "{args:?}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    let text = reported(&[]);
    let at = |words: &str| text.find(words).unwrap_or_else(|| panic!("no {words} in {text}"));
    assert!(at("daemon.started") < at("scale.up") && at("scale.up") < at("replica.started"));
    assert!(!reported(&["--service", "web"]).contains("daemon.started"));
    assert_eq!(reported(&["--since", "2100-01-01T00:00:00Z"]), "");
    let document: Value = serde_json::from_str(&reported(&["--json", "--since", "1h"])).unwrap();
    let last = document.as_array().unwrap().last().unwrap();
    assert_eq!(last["kind"], "daemon.started", "{document:#}");
    let out = command(&harness, &["events", "--service", "shop"]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && said.contains("no service shop; it has: web"));
    let going = Going::start(&harness, &mut command(&harness, &["events", "--follow", "--json"]));
    going.wait(|out| out.contains("daemon.started"));
    assert!(command(&harness, &["pause", "web"]).status().unwrap().success());
    going.wait(|out| out.contains("scaling.paused"));
    daemon.kill();
    let _daemon = harness.start();
    going.wait(|out| 2 <= out.matches("daemon.started").count());
    let out = going.out();
    assert_eq!(out.matches("scaling.paused").count(), 1, "{out}");
    let moments = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let moments: Vec<String> = moments.map(|event| event["at"].to_string()).collect();
    assert!(moments.is_sorted(), "{moments:?}");
    signal(going.child.id(), "INT");
    going.ends_well();
}

#[test]
fn on_a_terminal_a_watch_draws_in_place_until_it_is_interrupted() {
    let harness = Harness::new("tty");
    let _daemon = harness.start();
    harness.wait_served();
    let config = harness.dir.join("config.json");
    // A shell that stayed around it would die of the interruption.
    let line = format!("exec {PLIMSOLL} status --watch --config {} 2>&1", config.display());
    for (no_colour, words) in [("", "\x1b[2mweb: held"), ("1", "web: held")] {
        assert!(command(&harness, &["scale", "web", "1"]).status().unwrap().success());
        let mut script = Command::new("script");
        script.args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"]);
        script.env("TERM", "xterm").env("NO_COLOR", no_colour);
        let mut going = Going::start(&harness, &mut script);
        going.wait(|out| 2 <= out.matches("\x1b[H").count() && out.contains(words));
        let painted = going.out().contains("\x1b[2m");
        assert_eq!(painted, no_colour.is_empty(), "{:?}", going.out());
        // As a keyboard has it.
        going.child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
        going.ends_well();
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_what_goes_on() {
    let harness = Harness::new("enough");
    let _daemon = harness.start();
    harness.wait_served();
    let (mut reader, writer) = io::pipe().unwrap();
    let mut command = command(&harness, &["status", "--watch"]);
    let mut child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    // The writer's other end is in the command, which would keep the pipe open.
    drop(command);
    reader.read_exact(&mut [0; 8]).unwrap();
    drop(reader);
    let ended = reached(secs(30), || child.try_wait().unwrap().is_some());
    assert!(ended, "it goes on");
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
}

#[test]
fn what_fails_at_first_does_not_go_on() {
    let harness = Harness::new("first");
    harness.write();
    let out = command(&harness, &["status", "--watch"]).output().unwrap();
    assert_eq!((out.status.code(), out.stdout.len()), (Some(1), 0));
}
