//! The daemon as the unit of contrib starts it: an account with a group that has Docker's socket,
//! and two rights of root's. HAProxy gets neither the group nor the right to take it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::{Daemon, PLIMSOLL, reached};
use crate::harness::Harness;

const ACCOUNT: u32 = 12_346;
const DOCKER: u32 = 54_321;
const CAP_SETGID: u64 = 1 << 6;
const SOON: Duration = Duration::from_secs(20);

/// Of `/proc/PID/status`.
fn status(pid: u32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap().trim().to_owned()
}

fn rights(pid: u32, key: &str) -> u64 {
    u64::from_str_radix(&status(pid, key), 16).unwrap()
}

/// As `contrib/systemd/plimsoll.service` has it.
fn rights_of_the_unit() -> String {
    let unit = fs::read_to_string("contrib/systemd/plimsoll.service").unwrap();
    let line = unit.lines().find_map(|line| line.strip_prefix("AmbientCapabilities=")).unwrap();
    let names = line.split(' ').map(|name| name.trim_start_matches("CAP_").to_lowercase());
    names.map(|name| format!("+{name}")).collect::<Vec<_>>().join(",")
}

/// To the account, but for Docker's socket. Gives the config.
fn give(harness: &Harness) -> PathBuf {
    let docker = harness.dir.join("docker.sock");
    chown(&docker, Some(0), Some(DOCKER)).unwrap();
    fs::set_permissions(&docker, fs::Permissions::from_mode(0o660)).unwrap();
    let config = harness.write();
    chown(harness.dir.path(), Some(ACCOUNT), Some(ACCOUNT)).unwrap();
    config
}

/// The arguments of `setpriv`.
fn as_the_unit() -> [String; 6] {
    let rights = rights_of_the_unit();
    [
        format!("--reuid={ACCOUNT}"),
        format!("--regid={ACCOUNT}"),
        format!("--groups={DOCKER}"),
        format!("--inh-caps=-all,{rights}"),
        format!("--ambient-caps=-all,{rights}"),
        "--no-new-privs".to_owned(),
    ]
}

#[test]
fn haproxy_is_not_in_the_group_that_has_docker() {
    let harness = Harness::new("groups");
    let config = give(&harness);
    let mut program = Command::new("setpriv");
    program.args(as_the_unit()).arg(PLIMSOLL);
    let daemon = Daemon::start_by(program, &config, &[]);
    harness.wait_served();
    assert_eq!(status(daemon.pid(), "Groups"), DOCKER.to_string());
    let check = || {
        let (real, _) = harness.haproxies();
        assert!(!real.is_empty());
        for pid in real {
            assert_eq!(status(pid, "Groups"), "", "HAProxy {pid}");
            assert_eq!(status(pid, "Uid").split_whitespace().next(), Some("12346"));
            for key in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
                assert_eq!(rights(pid, key) & CAP_SETGID, 0, "HAProxy {pid}: {key}");
            }
            // Ports below 1024 are its business.
            assert_ne!(rights(pid, "CapEff") & 1 << 10, 0, "HAProxy {pid}");
        }
    };
    check();
    // One that takes over from it as well.
    let (before, _) = harness.haproxies();
    let text = fs::read_to_string(&config).unwrap();
    let changed = text.replace("\"interval\": \"1s\"", "\"interval\": \"2s\"");
    assert_ne!(text, changed);
    fs::write(&config, changed).unwrap();
    daemon.signal("HUP");
    let others = || harness.haproxies().0.iter().any(|pid| !before.contains(pid));
    assert!(reached(SOON, others), "{:#?}", daemon.lines());
    daemon.wait(&["kind=haproxy.reloaded"], SOON);
    assert!(reached(SOON, || harness.haproxies().0.len() == 1), "{:?}", harness.haproxies());
    check();
    assert!(harness.serves());
}

/// The program that takes the groups away is `/usr/bin/setpriv`, which is hidden here.
#[test]
fn doctor_warns_where_haproxy_would_keep_the_group_that_has_docker() {
    let harness = Harness::new("kept-groups");
    let config = give(&harness);
    let setpriv = harness.dir.join("setpriv");
    fs::copy("/usr/bin/setpriv", &setpriv).unwrap();
    for (hide, want) in [("mount -t tmpfs none /usr/bin", true), ("true", false)] {
        let script = format!("{hide} && exec \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "sh"]).arg(&setpriv).args(as_the_unit());
        command.args([PLIMSOLL, "doctor", "--json", "--config"]).arg(&config);
        let out = command.output().unwrap();
        let document: Value = serde_json::from_slice(&out.stdout).unwrap();
        let findings = document["findings"].as_array().unwrap();
        let about = |f: &&Value| f["check"] == "haproxy.groups";
        let found = findings.iter().find(about);
        assert_eq!(found.is_some(), want, "{hide}: {document:#}");
        if let Some(found) = found {
            assert_eq!(
                (&found["verdict"], &found["remedy"]),
                (&json!("warning"), &json!("install util-linux, which contains it"))
            );
            let message = found["message"].as_str().unwrap();
            assert!(message.contains("keeps the daemon's groups (54321)"), "{message}");
        }
    }
}
