//! A daemon with a history of three weeks starts replicas ahead of a peak; without one that can be
//! read it says why not, and goes on.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::DateTime;
use serde_json::{Value, json};

use crate::daemon::{Daemon, PLIMSOLL, reached};
use crate::harness::{Harness, each};
use crate::raw_http::To;

const MINUTE: i64 = 60;
const DAY: i64 = 24 * 60 * MINUTE;
const SOON: Duration = Duration::from_secs(60);
/// Minutes from now until each earlier week had its peak.
const PEAK_IN: i64 = 6;

#[allow(clippy::disallowed_methods, reason = "the daemon's files are of its own time")]
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    (now.as_secs() as i64).div_euclid(MINUTE) * MINUTE
}

/// With two thresholds, and one replica that has little to do.
fn scaled(name: &str, mode: &str) -> Harness {
    let mut harness = Harness::new(name);
    for (key, value) in [
        ("max_replicas", json!(4)),
        ("scale_up_threshold", json!(90)),
        ("scale_down_threshold", json!(1)),
        ("forecast", json!({ "mode": mode, "horizon": "10m", "percentile": 90 })),
    ] {
        harness.set(&format!("/services/web/{key}"), value);
    }
    harness
}

/// Three weeks in which 20 % became 400 % a few minutes from now, and the last hours at 20 %.
fn write_history(harness: &Harness, metric: &str) {
    let now = now();
    let mut days: BTreeMap<i64, String> = BTreeMap::new();
    let mut write = |at: i64, load: u32| {
        let head = format!("# [[\"{metric}\",90.0]]\n");
        let text = days.entry(at.div_euclid(DAY)).or_insert(head);
        let minute = at.rem_euclid(DAY) / MINUTE;
        *text += &format!("{minute},1,1,600,0,0,50,40,{load},{load}\n");
    };
    for week in (1..=3).rev() {
        for minute in -240..240 {
            let load = if minute < PEAK_IN { 20 } else { 400 };
            write(now - 7 * week * DAY + minute * MINUTE, load);
        }
    }
    (-240..0).for_each(|minute| write(now + minute * MINUTE, 20));
    fs::create_dir_all(harness.dir.join("state/history")).unwrap();
    for (day, text) in days {
        harness.dir.write(&file(day), &text);
    }
}

/// Of a day, as the daemon names it.
fn file(day: i64) -> String {
    let date = DateTime::from_timestamp(day * DAY, 0).unwrap().format("%Y-%m-%d");
    format!("state/history/web-{date}.csv")
}

fn ask(harness: &Harness, path: &str) -> Value {
    To::Unix(harness.dir.join("api.sock")).get(path).json()
}

fn said_by(harness: &Harness, args: &[&str]) -> String {
    let config = harness.dir.join("config.json");
    let to = ["--config", config.to_str().unwrap()];
    let output = Command::new(PLIMSOLL).args(args).args(to).output().unwrap();
    // Lines are broken where the terminal ends.
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What the forecast of the only metric says, or why there is none.
fn metric(harness: &Harness) -> Value {
    ask(harness, "/status")["services"][0]["forecast"]["metrics"][0].clone()
}

/// One that answers.
fn started(harness: &Harness) -> Daemon {
    let daemon = harness.start();
    daemon.wait(&["listening on"], SOON);
    let status = || To::Unix(harness.dir.join("api.sock")).get("/status").status;
    assert!(reached(SOON, || status() == 200), "{:#?}", daemon.lines());
    daemon
}

fn why(harness: &Harness) -> String {
    metric(harness)["why_none"].as_str().unwrap_or_default().to_owned()
}

fn desired(harness: &Harness) -> Value {
    ask(harness, "/status")["services"][0]["desired"].clone()
}

#[test]
fn a_peak_of_earlier_weeks_starts_replicas_ahead_of_it() {
    let harness = scaled("forecast-on", "on");
    write_history(&harness, "cpu");
    let daemon = started(&harness);
    let status = || ask(&harness, "/status")["services"][0].clone();
    assert!(reached(SOON, || status()["desired"] == 4), "{} {:#?}", status(), daemon.lines());
    daemon.wait(&["kind=scale.up", "to=4", "reason=Forecast", "cpu up to"], SOON);
    harness.wait_evaluations(2);

    let shown = status();
    let forecast = &shown["forecast"];
    assert_eq!(forecast["mode"], "on", "{shown}");
    assert_eq!(forecast["by_load"], 1, "{shown}");
    assert_eq!(forecast["metrics"][0]["weeks"], 3, "{shown}");
    let upper = forecast["metrics"][0]["upper"].as_f64().unwrap();
    assert!((300.0..=800.0).contains(&upper), "{shown}");
    assert_eq!(shown["last_change"]["reason"], "Forecast", "{shown}");

    let explain = said_by(&harness, &["explain", "web"]);
    for part in ["forecast on, cpu: up to", "from 3 weeks", "load alone would have 1", "Forecast"] {
        assert!(explain.contains(part), "{part}: {explain}");
    }
    let shown = said_by(&harness, &["status", "web"]);
    assert!(shown.contains("forecast: on, cpu: up to"), "{shown}");
    let page = To::Unix(harness.dir.join("api.sock")).get("/metrics").body;
    for line in [
        r#"plimsoll_forecast_load{service="web",metric="cpu",bound="expected"} "#,
        r#"plimsoll_forecast_load{service="web",metric="cpu",bound="upper"} "#,
        r#"plimsoll_forecast_replicas{service="web"} "#,
        r#"plimsoll_decision_reason{service="web",reason="Forecast"} 1"#,
    ] {
        assert!(page.lines().any(|got| got.starts_with(line)), "{line}: {page}");
    }
    let events = ask(&harness, "/events").to_string();
    assert!(events.contains(r#""reason":"Forecast""#), "{events}");
}

#[test]
fn shadow_shows_it_and_starts_nothing() {
    let harness = scaled("forecast-shadow", "shadow");
    write_history(&harness, "cpu");
    let daemon = started(&harness);
    let is_made = || 4 <= metric(&harness)["replicas"].as_u64().unwrap_or(0);
    assert!(reached(SOON, is_made), "{} {:#?}", metric(&harness), daemon.lines());
    harness.wait_evaluations(2);
    assert_eq!(ask(&harness, "/status")["services"][0]["desired"], 1);
    assert_eq!(daemon.count(&["reason=Forecast"]), 0, "{:#?}", daemon.lines());
}

#[test]
fn without_a_history_there_is_no_forecast_and_the_number_of_load() {
    type Spoil = fn(&Harness);
    let rows: [(&str, &str, Spoil); 5] = [
        ("none", "needs one week of history, better two; has 0 d", |_| ()),
        ("short", "needs one week of history, better two; has 5 d", |harness| {
            fs::create_dir_all(harness.dir.join("state/history")).unwrap();
            harness.dir.write(&file(now().div_euclid(DAY) - 5), "");
        }),
        ("other", "no earlier week has this metric", |harness| write_history(harness, "memory")),
        ("renamed", "needs one week of history, better two; has 0 d", |harness| {
            write_history(harness, "cpu");
            for entry in fs::read_dir(harness.dir.join("state/history")).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().replace("web", "shop");
                fs::rename(&path, path.with_file_name(name)).unwrap();
            }
        }),
        ("torn", "no earlier week has this metric", |harness| {
            write_history(harness, "cpu");
            for entry in fs::read_dir(harness.dir.join("state/history")).unwrap() {
                fs::write(entry.unwrap().path(), "# [[\"cpu\",9\0\n,,,\n1439,1,1,\u{fffd}")
                    .unwrap();
            }
        }),
    ];
    each(&rows, |(name, why, spoil)| {
        let harness = scaled(&format!("forecast-{name}"), "on");
        spoil(&harness);
        let daemon = started(&harness);
        let said = || metric(&harness)["why_none"].as_str().unwrap_or_default().to_owned();
        let is_said = || said().contains(why);
        assert!(reached(SOON, is_said), "{name}: {} {:#?}", said(), daemon.lines());
        assert_eq!(ask(&harness, "/status")["services"][0]["desired"], 1, "{name}");
        let explain = said_by(&harness, &["explain", "web"]);
        assert!(explain.contains(&format!("on, cpu: none, {why}")), "{name}: {explain}");
    });
}

#[test]
fn a_file_that_cannot_be_read_costs_its_week_and_without_any_other_is_named() {
    let mut harness = scaled("forecast-unreadable", "on");
    write_history(&harness, "cpu");
    let folder = harness.dir.join("state/history");
    let today = now().div_euclid(DAY);
    // All but those of the last two days.
    let weeks: Vec<PathBuf> = (7..=22).map(|ago| harness.dir.join(&file(today - ago))).collect();
    let weeks: Vec<(PathBuf, String)> = weeks
        .into_iter()
        .filter_map(|file| Some((file.clone(), fs::read_to_string(file).ok()?)))
        .collect();
    assert!((3..=9).contains(&weeks.len()), "{weeks:?}");
    for (file, _) in &weeks {
        fs::remove_file(file).unwrap();
        fs::create_dir(file).unwrap();
    }
    let daemon = started(&harness);
    assert!(
        reached(SOON, || why(&harness).contains("cannot be read")),
        "{} {:#?}",
        why(&harness),
        daemon.lines()
    );
    assert!(why(&harness).contains(folder.to_str().unwrap()), "{}", why(&harness));
    daemon.wait(&["forecast goes without a file", "it is not a regular file"], SOON);

    // The oldest one stays bad.
    for (file, text) in &weeks {
        let is_oldest = *file <= harness.dir.join(&self::file((now() - 20 * DAY).div_euclid(DAY)));
        if !is_oldest {
            fs::remove_dir(file).unwrap();
            fs::write(file, text).unwrap();
        }
    }
    // What the config changes is read at once.
    harness.set("/services/web/forecast/horizon", json!("11m"));
    harness.write();
    let config = harness.dir.join("config.json");
    let reload = ["reload", "--config", config.to_str().unwrap()];
    assert!(Command::new(PLIMSOLL).args(reload).status().unwrap().success());
    assert!(reached(SOON, || desired(&harness) == 4), "{} {:#?}", why(&harness), daemon.lines());

    // Without it the number is that of load again, at once.
    harness.set("/services/web/forecast/mode", json!("off"));
    harness.write();
    assert!(Command::new(PLIMSOLL).args(reload).status().unwrap().success());
    assert!(
        reached(SOON, || desired(&harness) == 1),
        "{} {:#?}",
        desired(&harness),
        daemon.lines()
    );
}

#[test]
fn damage_to_the_history_neither_stops_the_daemon_nor_lifts_a_bound() {
    type Spoil = fn(&Path);
    let rows: [(&str, &str, Spoil); 3] = [
        ("pipe", "not a regular file", |path| {
            assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
        }),
        ("link", "symbolic link", |path| symlink("/dev/zero", path).unwrap()),
        // One line without an end. Nothing of it takes room on the disk.
        ("long", "larger than 1 MiB", |path| {
            fs::File::create(path).unwrap().set_len(1 << 30).unwrap();
        }),
    ];
    each(&rows, |(name, words, spoil)| {
        let harness = scaled(&format!("forecast-{name}"), "on");
        write_history(&harness, "cpu");
        let week_ago = harness.dir.join(&file((now() - 7 * DAY).div_euclid(DAY)));
        fs::remove_file(&week_ago).unwrap();
        spoil(&week_ago);
        let daemon = started(&harness);
        let path = week_ago.to_str().unwrap();
        daemon.wait(&["forecast goes without a file", words, path], SOON);
        // The other weeks do.
        let is_four = reached(SOON, || desired(&harness) == 4);
        assert!(is_four, "{name}: {} {:#?}", why(&harness), daemon.lines());
    });

    // As many as can be written.
    let harness = scaled("forecast-huge", "on");
    write_history(&harness, "cpu");
    for entry in fs::read_dir(harness.dir.join("state/history")).unwrap() {
        let path = entry.unwrap().path();
        let most = "18446744073709551";
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace(",400,400\n", &format!(",{most},{most}.615\n"));
        fs::write(&path, text.replace(",600,", &format!(",{},", u64::MAX))).unwrap();
    }
    let daemon = started(&harness);
    assert!(reached(SOON, || desired(&harness) == 4), "{} {:#?}", why(&harness), daemon.lines());
    harness.wait_evaluations(2);
    assert_eq!(desired(&harness), 4, "its maximum");
}
