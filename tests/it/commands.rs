//! Commands that ask a running daemon: what they print, and what they say when nobody answers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::{PLIMSOLL, plimsoll, reached};
use crate::golden;
use crate::harness::Harness;

const SOON: Duration = Duration::from_secs(10);

struct Said {
    status: Option<i32>,
    out: String,
    err: String,
}

fn run(harness: &Harness, args: &[&str]) -> Said {
    let config = harness.dir.join("config.json");
    let out = plimsoll(&[args, &["--config", config.to_str().unwrap()]].concat());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Said { status: out.status.code(), out: text(&out.stdout), err: text(&out.stderr) }
}

#[track_caller]
fn good(harness: &Harness, args: &[&str]) -> String {
    let said = run(harness, args);
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""), "{args:?}");
    said.out
}

#[track_caller]
fn bad(harness: &Harness, args: &[&str], words: &str) {
    let said = run(harness, args);
    assert_eq!((said.status, said.out.as_str()), (Some(1), ""), "{args:?}: {}", said.err);
    let reported = said.err.starts_with("plimsoll: ") && said.err.contains(words);
    assert!(reported, "{args:?}: no {words} in {}", said.err);
}

/// Times and places of a document.
fn masked(value: &mut Value) {
    const PLACES: [&str; 10] = [
        "at",
        "config",
        "listen",
        "address",
        "version",
        "started",
        "since",
        "container",
        "cpu_percent",
        "response_ms",
    ];
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if PLACES.contains(&key.as_str())
                    || key == "port"
                    || (key.ends_with("_s") && value.is_number())
                {
                    *value = json!("...");
                }
                masked(value);
            }
        }
        Value::Array(all) => all.iter_mut().for_each(masked),
        _ => (),
    }
}

#[test]
fn status_and_explain_show_what_the_daemon_knows() {
    let harness = Harness::new("shown");
    let _daemon = harness.start();
    harness.wait_served();
    let held = good(&harness, &["scale", "web", "1", "--reason", "sale"]);
    assert_eq!(held, "web: 1 replica, until further notice: sale\n");
    assert_eq!(good(&harness, &["pause", "--all"]), "web: scaling paused, until further notice\n");
    let documents = || {
        let all = ["status --json", "status web --json", "explain web --json"].map(|line| {
            let args: Vec<&str> = line.split(' ').collect();
            let mut value: Value = serde_json::from_str(&good(&harness, &args)).unwrap();
            masked(&mut value);
            format!("$ plimsoll {line}\n{value:#}\n")
        });
        all.join("\n")
    };
    // Both commands count at once, and the readings are of the next evaluation.
    let golden = Path::new("tests/it/golden/status.txt");
    let want = fs::read_to_string(golden).unwrap_or_default();
    reached(SOON, || documents() == want);
    golden::check(golden, &documents());
    let text = good(&harness, &["status"]);
    for words in ["up ", "checks every 1s", "service", "web: held at 1 until", "web: paused until"]
    {
        assert!(text.contains(words), "no {words} in\n{text}");
    }
    let text = good(&harness, &["status", "web"]);
    assert!(text.contains("web-1") && text.contains("ready"), "{text}");
    assert_eq!(
        good(&harness, &["scale", "web", "auto"]),
        "web: released by command; load decides again\n"
    );
    assert_eq!(good(&harness, &["resume", "web"]), "web: scaling resumed\n");
    bad(&harness, &["scale", "web", "+1"], "max_replicas");
    bad(&harness, &["scale", "web", "-2"], "less than none");
    for args in [&["status", "shop"][..], &["explain", "shop"], &["pause", "shop"]] {
        bad(&harness, args, "the config has no service shop; it has: web");
    }
    bad(&harness, &["explain", "../status"], "is not a valid service name");
    assert_eq!(good(&harness, &["healthcheck"]), "ready\n");
}

#[test]
fn without_a_daemon_the_fix_is_reported() {
    let harness = Harness::new("alone");
    harness.write();
    let none = format!("no daemon answers on {}", harness.dir.join("api.sock").display());
    for args in [
        &["status"][..],
        &["explain", "web"],
        &["scale", "web", "2"],
        &["reload"],
        &["healthcheck"],
    ] {
        bad(
            &harness,
            args,
            &format!("{none} (api.socket of its config); start one with `plimsoll run`"),
        );
    }
    bad(
        &harness,
        &["status", "--socket", "/nowhere/a.sock"],
        "no daemon answers on /nowhere/a.sock",
    );
    // A daemon that was killed leaves its socket.
    let daemon = harness.start();
    harness.wait_served();
    good(&harness, &["status"]);
    daemon.kill();
    assert!(harness.dir.join("api.sock").exists());
    bad(&harness, &["status"], &none);
    let _daemon = harness.start();
    assert!(reached(SOON, || run(&harness, &["status"]).status == Some(0)));
    // A config that is bad by now still tells where the daemon is; one that is no JSON does not.
    harness.dir.write("config.json", &harness.config.to_string().replace("demo:1", ""));
    good(&harness, &["healthcheck"]);
    harness.dir.write("config.json", "{");
    bad(&harness, &["healthcheck"], "or give --socket PATH");
    let socket = harness.dir.join("api.sock");
    good(&harness, &["healthcheck", "--socket", socket.to_str().unwrap()]);
}

#[test]
fn one_that_may_not_ask_learns_who_may() {
    let harness = Harness::new("may");
    let _daemon = harness.start();
    harness.wait_served();
    // What others could not reach at all would prove nothing.
    fs::set_permissions(harness.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = harness.dir.join("plimsoll");
    fs::copy(PLIMSOLL, &program).unwrap();
    let socket = harness.dir.join("api.sock");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    command.args(["status", "--socket"]).arg(&socket).stdin(Stdio::null());
    let out = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("run this as root or as a member of group "), "{stderr}");
}

#[test]
fn reload_prints_what_changed_or_every_problem() {
    let mut harness = Harness::new("reload");
    let daemon = harness.start();
    harness.wait_served();
    let config = harness.config.clone();
    harness.set("/services/web/max_replicas", json!(0));
    harness.set("/autoscaler/log_level", json!("loud"));
    harness.write();
    for words in ["autoscaler.log_level", "services.web.max_replicas", "keeps the old one"] {
        bad(&harness, &["reload"], words);
    }
    harness.config = config;
    harness.set("/services/web/cooldown_period", json!(7));
    let file = harness.write();
    let copy = harness.dir.join("copy.json");
    fs::copy(&file, &copy).unwrap();
    let out = plimsoll(&["reload", "--config", copy.to_str().unwrap()]);
    let stderr = String::from_utf8_lossy(&out.stderr);
    let other = format!("runs with {}, not with {}", file.display(), copy.display());
    assert!(out.status.code() == Some(1) && stderr.contains(&other), "{stderr}");
    assert_eq!(daemon.count(&["kind=config.reloaded"]), 0);
    let said = good(&harness, &["reload"]);
    assert!(said.contains("config.json, 1 service: services.web: cooldown_period"), "{said}");
    daemon.wait(&["kind=config.reloaded", "services.web: cooldown_period"], SOON);
    harness.set("/autoscaler/state_dir", json!(harness.dir.join("elsewhere")));
    harness.write();
    bad(&harness, &["reload"], "taken at the start only");
}
