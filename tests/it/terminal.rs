//! What others call their things reaches no terminal as what it would obey: escape sequences,
//! control characters, and those that show text in another order or not at all. Nor does a secret.

use std::process::Command;

use serde_json::{Value, json};

use crate::daemon::{Dir, PLIMSOLL, plimsoll, reached, secs};
use crate::fake_docker::{Fault, Route};
use crate::harness::{Harness, free_address};
use crate::raw_http::To;

/// With every class that is meant: C0, DEL, C1, Cf, Zl, Zp.
const EVIL: &str =
    "x\u{1b}[2J\u{7}\r\u{7f}\u{9b}31m\u{202e}\u{2066}\u{200b}\u{feff}\u{2028}\u{2029}\u{e0041}y";
const EVIL_WORDS: &str = "no \u{1b}]0;title\u{7} \u{9b}2J \u{202e}drawkcab";

/// Nothing but what can be seen, and ends of lines.
#[track_caller]
fn harmless(what: &str, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap();
    let odd = |c: char| {
        let hidden = ['\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}', '\u{2028}', '\u{2029}'];
        (c.is_control() && c != '\n') || hidden.contains(&c) || c == '\u{e0041}'
    };
    assert!(!text.contains(odd), "{what}: {text:?}");
}

#[test]
fn names_in_files_are_shown_and_not_obeyed() {
    let dir = Dir::new("evil-files");
    let raw = format!("services:\n  web:\n    image: a\n    ports: ['80:80']\n    {EVIL}: 1\n");
    // A line of YAML has no control characters but the tab; JSON's texts may stand for any.
    let visible = raw.replace(['\r', '\u{1b}', '\u{7}', '\u{7f}', '\u{2028}', '\u{2029}'], "");
    let key = serde_json::to_string(EVIL).unwrap();
    let printed = format!(
        r#"{{"services":{{"web":{{"image":{key},"ports":["80:80"],
           "environment":{{"A":{key}}},{key}:1}}}}}}"#
    );
    for (name, text) in [("a.yaml", &raw), ("b.yaml", &visible), ("c.json", &printed)] {
        let file = dir.write(name, text);
        let file = file.to_str().unwrap();
        let out = plimsoll(&["init", "--compose", file]);
        harmless(name, &out.stdout);
        harmless(name, &out.stderr);
        let written = dir.join(&format!("{name}.out"));
        let out = plimsoll(&["init", "--compose", file, "--output", written.to_str().unwrap()]);
        if out.status.success() {
            harmless(name, &std::fs::read(&written).unwrap());
            let checked = plimsoll(&["check", "--config", written.to_str().unwrap()]);
            assert!(checked.status.success(), "{name}: {checked:?}");
        }
    }
    let config = format!(r#"{{ {key}: 1, "services": {{ {key}: {{ "image": {key} }} }} }}"#);
    let config = dir.write("config.json", &config);
    let config = config.to_str().unwrap();
    for args in [&["check"][..], &["check", "--json"], &["doctor"], &["doctor", "--json"]] {
        let out = plimsoll(&[args, &["--config", config]].concat());
        harmless(args[0], &out.stdout);
        harmless(args[0], &out.stderr);
        if args.len() == 2 {
            serde_json::from_slice::<Value>(&out.stdout).expect("it is JSON still");
        }
    }
    let out = plimsoll(&["status", "--config", &format!("/no/{EVIL}")]);
    harmless("an argument", &out.stderr);
}

#[test]
fn what_docker_containers_and_clients_say_is_shown_and_not_obeyed() {
    let mut harness = Harness::new("evil-words");
    let address = free_address();
    harness.set("/api/listen", json!(address));
    harness.set("/services/web/max_replicas", json!(3));
    harness.set("/services/web/scale_up_threshold", json!(90));
    harness.set("/services/web/scale_down_threshold", json!(0));
    harness.docker.fault(Route::Create, Fault::Refuse(500, EVIL_WORDS));
    let daemon = harness.start();
    daemon.wait(&["kind=replica.failed"], secs(10));
    harness.docker.heal();
    let control = To::Unix(harness.dir.join("api.sock"));
    // Text that has no control characters is a good reason, whatever it looks like.
    let reason = json!({ "replicas": 2, "reason": "sale \u{202e}\u{2066}\u{200b}\u{feff}" });
    let held = || control.ask("POST /services/web/scale", "", &reason.to_string()).status == 202;
    assert!(reached(secs(10), held));
    harness.docker.fault(Route::List, Fault::Refuse(500, EVIL_WORDS));
    daemon.wait(&["kind=docker.lost"], secs(10));
    let config = harness.dir.join("config.json");
    let config = config.to_str().unwrap();
    for args in [
        &["status"][..],
        &["status", "--json"],
        &["status", "web"],
        &["events"],
        &["events", "--json"],
        &["explain", "web"],
        &["explain", "web", "--json"],
        &["healthcheck"],
    ] {
        let out = plimsoll(&[args, &["--config", config]].concat());
        harmless(&args.join(" "), &out.stdout);
        harmless(&args.join(" "), &out.stderr);
        if args.contains(&"--json") {
            serde_json::from_slice::<Value>(&out.stdout).expect("it is JSON still");
        }
    }
    daemon.lines().iter().for_each(|line| harmless("the log", line.as_bytes()));
    // On a terminal there are colours, which are ours.
    let shown = "stty cols 200; exec \"$0\" \"$@\"";
    let mut command = Command::new("script");
    let words = format!("sh -c '{shown}' {PLIMSOLL} status --config {config}");
    command.args(["-qec", &words, "/dev/null"]).env("TERM", "xterm").env_remove("NO_COLOR");
    let out = command.output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let ours = ["\u{1b}[31m", "\u{1b}[33m", "\u{1b}[2m", "\u{1b}[0m", "\r"];
    let rest = ours.iter().fold(text.clone(), |rest, code| rest.replace(code, ""));
    assert_ne!(rest.len(), text.len(), "no colours: {text:?}");
    harmless("a terminal", rest.as_bytes());
}

#[test]
fn long_words_of_dockers_are_cut() {
    static LONG: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let long = LONG.get_or_init(|| format!("{}END", "x".repeat(4000)));
    let harness = Harness::new("long-words");
    harness.docker.fault(Route::Create, Fault::Refuse(500, long));
    let daemon = harness.start();
    daemon.wait(&["kind=replica.failed", "xxx"], secs(10));
    let failed = daemon.lines().into_iter().find(|line| line.contains("kind=replica.failed"));
    let count = failed.unwrap().matches('x').count();
    assert!((390..=420).contains(&count), "{count}");
}

#[test]
fn a_password_in_an_address_reaches_nothing_that_is_shown() {
    let mut harness = Harness::new("password");
    let address = free_address();
    harness.set("/api/listen", json!(address));
    harness.set("/services/web/max_replicas", json!(3));
    let metric = |url: &str| json!([{ "source": "http", "url": url, "target": 40 }]);
    // Nobody answers there: every request fails and is reported.
    harness
        .set("/services/web/metrics", metric("http://me:sEcReT%2Fword@127.0.0.1:9/a?key=sEcReT"));
    let hook = json!([{ "url": "http://me:sEcReT%2Fword@127.0.0.1:9/sEcReT" }]);
    harness.config["notifications"] = hook;
    let daemon = harness.start();
    daemon.wait(&["kind=metric.failed"], secs(20));
    daemon.wait(&["kind=webhook.failed"], secs(20));
    let tcp = To::Tcp(address);
    for path in ["/status", "/events", "/metrics", "/services/web/explain", "/services/web/stats"] {
        let answer = tcp.get(path);
        assert!(answer.status == 200 && !answer.body.contains("sEcReT"), "{answer:?}");
    }
    assert!(!daemon.lines().iter().any(|line| line.contains("sEcReT")), "{:?}", daemon.lines());
    let events = std::fs::read_dir(harness.dir.join("state")).unwrap().flatten();
    for file in events.filter(|file| file.path().is_file()) {
        let text = std::fs::read(file.path()).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains("sEcReT"), "{:?}", file.path());
    }
    drop(daemon);
    // What could be read in two ways is refused, and not shown either.
    for url in [
        "http://me:sEc/ReT@h/",
        "http://me:1/sEcReT@h",
        "http://me:sEc?ReT@h",
        "https://me:sEc/ReT@h",
    ] {
        harness.set("/services/web/metrics", metric(url));
        harness.config["notifications"] = json!([{ "url": url }]);
        let config = harness.write();
        for command in ["check", "doctor"] {
            let out = plimsoll(&[command, "--config", config.to_str().unwrap()]);
            let said = [out.stdout, out.stderr].concat();
            let said = String::from_utf8(said).unwrap();
            assert!(!out.status.success(), "{url}: {said}");
            assert!(!said.contains("sEc") && !said.contains("ReT"), "{url}: {said}");
        }
    }
}
