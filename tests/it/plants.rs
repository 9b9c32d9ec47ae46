//! What others put in the place of the daemon's files, and folders that let them: nothing is
//! written through it, nothing hangs, and what is wrong is said with its path and a remedy.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::daemon::{Daemon, Dir, PLIMSOLL, plimsoll, reached};
use crate::harness::{Harness, each};

/// The longest until a problem, or its end, is reported.
const SOON: Duration = Duration::from_secs(5);
const FOREIGN: &str = "somebody else's\n";

#[derive(Clone, Copy, Debug)]
enum Plant {
    Symlink,
    /// To what is not there, and would be made.
    Dangling,
    Hardlink,
    Pipe,
    Folder,
}

const PLANTS: [Plant; 5] =
    [Plant::Symlink, Plant::Dangling, Plant::Hardlink, Plant::Pipe, Plant::Folder];

impl Plant {
    fn put(self, harness: &Harness, name: &str) {
        let at = harness.dir.join(name);
        let foreign = harness.dir.join("foreign/file");
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::create_dir_all(foreign.parent().unwrap()).unwrap();
        fs::write(&foreign, FOREIGN).unwrap();
        match self {
            Plant::Symlink => symlink(&foreign, &at).unwrap(),
            Plant::Dangling => symlink(foreign.with_file_name("made"), &at).unwrap(),
            Plant::Hardlink => fs::hard_link(&foreign, &at).unwrap(),
            Plant::Pipe => assert!(Command::new("mkfifo").arg(&at).status().unwrap().success()),
            Plant::Folder => fs::create_dir(&at).unwrap(),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Plant::Symlink | Plant::Dangling => "symbolic link",
            Plant::Hardlink => "2 hard links",
            Plant::Pipe | Plant::Folder => "not a regular file",
        }
    }
}

fn is_untouched(harness: &Harness) {
    let foreign = harness.dir.join("foreign");
    assert_eq!(fs::read_to_string(foreign.join("file")).unwrap(), FOREIGN);
    assert_eq!(fs::read_dir(foreign).unwrap().count(), 1, "it made a file through a link");
}

/// What it says when it does not start.
#[track_caller]
fn refused(harness: &Harness) -> String {
    let mut daemon = Daemon::start(&harness.write());
    let status = daemon.wait_exit(SOON);
    assert_eq!(status.code(), Some(1), "{:#?}", daemon.lines());
    assert!(reached(SOON, || !daemon.lines().is_empty()), "it ended without a word");
    daemon.lines().join("\n")
}

#[test]
fn a_lock_that_is_no_file_of_ours_keeps_the_daemon_from_starting() {
    let rows: Vec<(&str, Plant)> = ["state/lock", "haproxy.cfg.daemon"]
        .into_iter()
        .flat_map(|n| PLANTS.map(|p| (n, p)))
        .collect();
    each(&rows, |(name, plant)| {
        let harness = Harness::new(&format!("plant-{}-{plant:?}", name.replace('/', "-")));
        plant.put(&harness, name);
        let said = refused(&harness);
        let path = harness.dir.join(name).display().to_string();
        for words in [path.as_str(), plant.words(), "remove"] {
            assert!(said.contains(words), "{name} {plant:?}: no {words} in {said}");
        }
        is_untouched(&harness);
    });
}

#[test]
fn a_state_and_events_that_are_no_files_of_ours_are_reported_and_the_daemon_goes_on() {
    for plant in PLANTS {
        let harness = Harness::new(&format!("plant-{plant:?}"));
        let names = ["state.json", "state.json.new", "events.jsonl", "events.jsonl.1"];
        names.iter().for_each(|name| plant.put(&harness, &format!("state/{name}")));
        plant.put(&harness, "api.sock");
        let daemon = harness.start();
        harness.wait_served();
        let reported = |name: &str, words: &str| {
            let path = harness.dir.join(name).display().to_string();
            daemon.wait(&[&path, words], SOON);
        };
        match plant {
            // One more name of a file does no harm where it is only read.
            Plant::Hardlink => reported("state/state.json", "kept as"),
            Plant::Symlink | Plant::Dangling | Plant::Pipe | Plant::Folder => {
                reported("state/state.json", plant.words());
            }
        }
        // Under one more name, none is written to; alone, it would be.
        for name in ["state/state.json.new", "state/events.jsonl"] {
            reported(
                name,
                match plant {
                    Plant::Hardlink => "hard links",
                    Plant::Symlink | Plant::Dangling | Plant::Pipe | Plant::Folder => plant.words(),
                },
            );
            reported(name, "remove");
        }
        reported("api.sock", "api.socket");
        is_untouched(&harness);
    }
}

#[test]
fn what_the_daemon_writes_is_for_its_owner_alone() {
    let harness = Harness::new("modes");
    fs::create_dir(harness.dir.join("state")).unwrap();
    // Whoever can read a lock can take it.
    harness.dir.write("state/lock", "");
    fs::set_permissions(harness.dir.join("state/lock"), fs::Permissions::from_mode(0o644)).unwrap();
    let _daemon = harness.start();
    harness.wait_served();
    assert!(reached(SOON, || harness.dir.join("state/state.json").exists()));
    let mode =
        |name: &str| fs::metadata(harness.dir.join(name)).unwrap().permissions().mode() & 0o7777;
    for name in ["state/lock", "state/state.json", "state/events.jsonl", "haproxy.cfg.daemon"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    assert_eq!(mode("state") & 0o022, 0);
}

#[test]
fn a_folder_that_others_may_write_to_is_refused_by_run_and_warned_of_by_check_and_doctor() {
    for (folder, key, mode, words) in [
        ("state", "autoscaler.state_dir", 0o777, "everybody may write to"),
        ("state", "autoscaler.state_dir", 0o770, "group"),
        ("proxy", "load_balancer.config", 0o1777, "everybody may write to"),
        ("api", "api.socket", 0o757, "everybody may write to"),
        ("state", "autoscaler.state_dir", 0o755, ""),
    ] {
        let mut harness = Harness::new(&format!("folder-{folder}-{mode:o}"));
        harness.set("/load_balancer/config", json!(harness.dir.join("proxy/haproxy.cfg")));
        harness.set("/api/socket", json!(harness.dir.join("api/api.sock")));
        for name in ["state", "proxy", "api"] {
            fs::create_dir(harness.dir.join(name)).unwrap();
        }
        let path = harness.dir.join(folder);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let config = harness.write();
        let run = |command: &str| {
            let out = plimsoll(&[command, "--config", config.to_str().unwrap()]);
            (String::from_utf8(out.stdout).unwrap(), out.status.code())
        };
        let (check, status) = run("check");
        assert_eq!(status, Some(0), "a warning alone is no failure: {check}");
        let (doctor, _) = run("doctor");
        if words.is_empty() {
            assert!(
                !check.contains("warning") && !doctor.contains("may write to"),
                "{check}{doctor}"
            );
            let _daemon = harness.start();
            harness.wait_served();
            continue;
        }
        for said in [check, doctor, refused(&harness)] {
            for words in [key, words, path.to_str().unwrap(), "chmod go-w"] {
                assert!(said.contains(words), "{key} {mode:o}: no {words} in {said}");
            }
        }
        let made: Vec<_> = fs::read_dir(Path::new(&path)).unwrap().collect();
        assert!(made.is_empty(), "{key}: something was written: {made:?}");
    }
}

#[test]
fn a_config_that_is_no_plain_file_is_refused_at_once() {
    let dir = Dir::new("odd-config");
    let pipe = dir.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [pipe.as_path(), dir.path(), "/dev/zero".as_ref(), "/proc/kmsg".as_ref()] {
        let mut check = Command::new("timeout");
        check.args(["5", PLIMSOLL, "check", "--config"]).arg(path);
        let out = check.output().unwrap();
        let said = String::from_utf8(out.stdout).unwrap();
        assert_eq!(out.status.code(), Some(1), "{}: {said}", path.display());
        // The last is a plain file by name, and may be root's alone.
        let words = ["not a regular file", "Permission denied", "Operation not permitted"];
        assert!(words.iter().any(|words| said.contains(words)), "{}: {said}", path.display());
    }
    // A link is as good as what it leads to.
    let real = dir.write("real.json", r#"{ "services": {} }"#);
    let link = dir.join("link.json");
    symlink(real, &link).unwrap();
    let out = plimsoll(&["check", "--config", link.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
}
