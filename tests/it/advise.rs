//! `plimsoll advise` on files that a daemon left: what it proposes, that it changes nothing, and
//! how it refuses.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::DateTime;
use serde_json::{Value, json};

use crate::daemon::{Dir, PLIMSOLL, plimsoll};

const DAY: i64 = 24 * 3600;

#[allow(clippy::disallowed_methods, reason = "the command goes by the host's time")]
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

/// A config, and files of the last days in its `state_dir` with a load that never changes.
fn written(dir: &Dir, days: i64, load: u32) -> String {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let now = now();
    for minute in (now - days * DAY) / 60..now / 60 {
        let day = DateTime::from_timestamp(60 * minute, 0).unwrap().format("%Y-%m-%d");
        let file = files.entry(format!("web-{day}.csv"));
        let text = file.or_insert_with(|| "# [[\"cpu\",60.0]]\n".to_owned());
        *text += &format!("{},5,5,100,0,0,20,30,{load},{load}\n", minute % 1440);
    }
    fs::create_dir_all(dir.path().join("state/history")).unwrap();
    for (name, text) in files {
        fs::write(dir.path().join("state/history").join(name), text).unwrap();
    }
    let state = dir.path().join("state");
    let config = json!({
        "autoscaler": { "state_dir": state, "check_interval": 60 },
        "api": { "socket": dir.path().join("api.sock") },
        "services": {
            "web": { "image": "a:1", "port": 80, "min_replicas": 5, "max_replicas": 8,
                     "scale_up_threshold": 60, "scale_down_threshold": 20 },
            "api": { "image": "a:1", "port": 81, "min_replicas": 1, "max_replicas": 2,
                     "scale_up_threshold": 60, "scale_down_threshold": 20 },
        }
    });
    dir.write("config.json", &config.to_string()).to_str().unwrap().to_owned()
}

fn advise(config: &str, more: &[&str]) -> Output {
    plimsoll(&[&["advise", "--config", config], more].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Every file with its content.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => drop(all.insert(path.display().to_string(), fs::read(&path).unwrap())),
        }
    }
    all
}

#[test]
fn what_it_proposes_passes_check_and_nothing_is_changed() {
    let dir = Dir::new("advise");
    let config = written(&dir, 3, 150);
    let before = files(dir.path());
    let out = advise(&config, &["web"]);
    let shown = text(&out.stdout);
    assert_eq!((out.status.code(), text(&out.stderr).as_str()), (Some(0), ""), "{shown}");
    assert!(shown.contains("40% fewer replica-hours"), "{shown}");
    assert!(shown.contains("plimsoll simulate --history 14d --service web"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    let out = advise(&config, &["web", "--json", "--since", "2d", "--slo", "100"]);
    // Two days back from now there are two days less some minutes.
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let out = advise(&config, &["web", "--json"]);
    let advice: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(advice["verdict"], "change");
    assert_eq!(advice["found"]["within_percent"], 100.0);
    assert_eq!((&advice["fixed_replicas"], &advice["is_constant"]), (&json!(3), &json!(true)));
    assert_eq!(files(dir.path()), before);
    // Its keys in place of the old ones are a good config.
    let mut new: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    let keys = advice["keys"].as_object().unwrap().clone();
    assert!(keys.contains_key("min_replicas"), "{keys:?}");
    new["services"]["web"].as_object_mut().unwrap().extend(keys);
    let new = dir.write("new.json", &new.to_string());
    let out = plimsoll(&["check", "--config", new.to_str().unwrap()]);
    assert!(out.status.success(), "{}", text(&out.stderr));
}

#[test]
fn the_command_that_it_prints_compares_the_advice_with_today() {
    let dir = Dir::new("advise-command");
    let config = written(&dir, 3, 150);
    let since = DateTime::from_timestamp(now() - 3 * DAY - 60, 0).unwrap();
    let since = since.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let out = advise(&config, &["web", "--since", &since, "--start-up", "20s"]);
    let shown = text(&out.stdout);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let (_, rest) = shown.split_once("new.json:\n\n").unwrap();
    let (command, _) = rest.split_once("\n\n").unwrap();
    // Up to the next hour.
    let want = "plimsoll simulate --history 73h --service web --start-up 20s";
    assert!(command.contains(want), "{command}");
    let mut new: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    new["services"]["web"]["min_replicas"] = json!(3);
    dir.write("new.json", &new.to_string());
    let folder = Path::new(PLIMSOLL).parent().unwrap().to_str().unwrap();
    let out = Command::new("/bin/sh")
        .args(["-c", command])
        .current_dir(dir.path())
        .env_clear()
        .env("PATH", format!("{folder}:/usr/bin:/bin"))
        .output()
        .unwrap();
    let shown = text(&out.stdout);
    assert_eq!((out.status.code(), text(&out.stderr).as_str()), (Some(0), ""), "{command}");
    let is_head = |line: &str| line.split_whitespace().eq(["recorded", "today", "new.json"]);
    assert!(shown.lines().any(is_head), "{shown}");
    assert!(shown.contains(&format!("today: {config}\n")), "{shown}");
}

#[test]
fn what_cannot_be_advised_is_refused_with_what_is_missing() {
    let dir = Dir::new("advise");
    let config = written(&dir, 1, 150);
    for (more, status, want) in [
        (&["web"][..], 1, "covers 1d, and advice needs 2d: ask again in 1d"),
        (&["api"], 1, "no load history of api in "),
        (&["wbe"], 1, "the config has no service wbe; did you mean web?"),
        (&["shop"], 1, "it has: api, web; labels are not read for a file that is named"),
        (&["web", "--since", "1d"], 2, "`--since 1d` is not between 2d and 90d before now"),
        (&["web", "--since", "91d"], 2, "`--since 91d` is not between"),
        (&["web", "--since", "2999-01-01T00:00:00Z"], 2, "is not between 2d and 90d"),
        (&["web", "--slo", "50"], 2, "`--slo 50` is no percentage above 50, at most 100"),
        (&["web", "--slo", "100.01"], 2, "`--slo 100.01` is no percentage"),
        (&["web", "--slo", "most"], 2, "`--slo most` is no percentage"),
        (&["web", "--start-up", "2h"], 2, "--start-up: `2h` is not a duration of at most 1h"),
        (&[], 2, "advise: which service?"),
    ] {
        let out = advise(&config, more);
        let shown = text(&out.stderr);
        assert_eq!((out.status.code(), text(&out.stdout).as_str()), (Some(status), ""), "{shown}");
        assert!(shown.contains(want), "{more:?}: {shown}");
    }
    let none = r#"{ "autoscaler": { "state_dir": "/nowhere" }, "services": { "web": {
        "image": "a:1", "port": 80, "max_replicas": 2, "scale_up_threshold": 60,
        "scale_down_threshold": 20 } } }"#;
    let none = dir.write("none.json", none);
    let shown = text(&advise(none.to_str().unwrap(), &["web"]).stderr);
    assert!(shown.contains("no load history of web in /nowhere/history: "), "{shown}");
    assert!(shown.contains("name it with --config FILE"), "{shown}");
}
