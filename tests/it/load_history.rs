//! The load history on disk: written, lost with a full disk, read after a restart.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::daemon::{Daemon, PLIMSOLL, plimsoll, reached};
use crate::harness::Harness;
use crate::raw_http::To;

const MINUTE: i64 = 60;
const SOON: Duration = Duration::from_secs(30);
/// A row is written once its minute is over.
const A_MINUTE: Duration = Duration::from_secs(90);

#[allow(clippy::disallowed_methods, reason = "the daemon's files are of its own time")]
pub(crate) fn now() -> DateTime<Utc> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    DateTime::from_timestamp(now.as_secs() as i64, 0).unwrap()
}

/// With two thresholds, so that there is a load.
fn scaled(mut harness: Harness) -> Harness {
    for (key, value) in
        [("max_replicas", 3), ("scale_up_threshold", 90), ("scale_down_threshold", 1)]
    {
        harness.set(&format!("/services/web/{key}"), json!(value));
    }
    harness
}

fn ask(harness: &Harness, path: &str) -> Value {
    To::Unix(harness.dir.join("api.sock")).get(path).json()
}

fn files(harness: &Harness) -> Vec<PathBuf> {
    let entries = fs::read_dir(harness.dir.join("state/history")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn what_was_before_a_restart_is_shown_after_it() {
    // Without Docker nothing changes meanwhile.
    let harness = scaled(Harness::without_docker("history-past"));
    let now = now();
    let at = |ago: i64| now - chrono::TimeDelta::seconds(ago);
    // Of each of the minutes half an hour, half a day and three days ago.
    fs::create_dir_all(harness.dir.join("state/history")).unwrap();
    for ago in [30 * MINUTE, 12 * 60 * MINUTE, 3 * 24 * 60 * MINUTE] {
        let at = at(ago);
        let name = format!("state/history/web-{}.csv", at.format("%Y-%m-%d"));
        let minute = at.timestamp().rem_euclid(24 * 3600) / MINUTE;
        let before = fs::read_to_string(harness.dir.join(&name)).unwrap_or_default();
        let row = format!("\n# [[\"cpu\",90.0]]\n{minute},2,3,600,0,0,50,40,90,180\n");
        harness.dir.write(&name, &(before + &row));
    }
    let change = json!({
        "at": at(600).to_rfc3339_opts(SecondsFormat::Millis, true), "kind": "scale.up",
        "service": "web", "replica": null, "reason": "DesiredWithinRange",
        "message": "cpu 95% >= 90%", "from": 1, "to": 2,
    });
    harness.dir.write("state/events.jsonl", &format!("{change}\n"));
    let daemon = harness.start();
    daemon.wait(&["kind=docker.lost"], SOON);
    daemon.wait(&["listening on"], SOON);
    let control = To::Unix(harness.dir.join("api.sock"));
    assert!(reached(SOON, || control.get("/status").status == 200), "{:#?}", daemon.lines());

    let count = |path: &str| ask(&harness, path)["web"].as_array().unwrap().len();
    assert_eq!(count("/history?service=web&range=day"), 2, "{:#?}", daemon.lines());
    assert_eq!(count("/history?service=web&range=week"), 3);
    for path in ["/history", "/history?service=web", "/history?range=hour&service=web"] {
        let hour = ask(&harness, path);
        let first = &hour["web"][0];
        let half_an_hour_ago = at(30 * MINUTE).timestamp().div_euclid(MINUTE) * MINUTE;
        // 90 % of all replicas together, of two with a target of 90 %.
        assert_eq!(*first, json!([half_an_hour_ago, 0.5, 2, 3]), "{path}: {hour}");
        assert_eq!(hour["web"].as_array().unwrap().len(), 1, "{path}: {hour}");
    }
    let shown = &ask(&harness, "/services/web")["last_change"];
    assert_eq!((&shown["text"], &shown["from"]), (&json!("cpu 95% >= 90%"), &json!(1)), "{shown}");

    for (query, want) in [
        ("service=wbe", "404"),
        ("service=web&range=month", "`range` must be hour, day or week"),
        ("range=day", "a range needs a service"),
        ("servce=web", "did you mean `service`?"),
    ] {
        let answer = control.get(&format!("/history?{query}"));
        assert!([400, 404].contains(&answer.status), "{query}: {answer:?}");
        assert!(answer.body.contains(want) || want == answer.status.to_string(), "{answer:?}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_costs_rows_and_one_event_and_a_kill_at_most_a_minute() {
    let harness = scaled(Harness::new("history-lost"));
    fs::create_dir_all(harness.dir.join("state")).unwrap();
    // A file where the folder should be.
    let in_the_way = harness.dir.write("state/history", "");
    let daemon = harness.start();
    daemon.wait(&["warn kind=history.not_saved", "cannot be written"], A_MINUTE);
    // An event is logged just before the status that has its problem.
    let problems = || ask(&harness, "/status")["problems"].clone();
    let of_it = |p: &&Value| p["kind"] == "history.not_saved" && p["severity"] == "warning";
    let once = |all: Value| all.as_array().unwrap().iter().filter(of_it).count() == 1;
    assert!(reached(SOON, || once(problems())), "{}", problems());

    fs::remove_file(in_the_way).unwrap();
    daemon.wait(&["info kind=history.not_saved", "resolved: it is written again"], A_MINUTE);
    assert_eq!(daemon.count(&["warn kind=history.not_saved"]), 1, "{:#?}", daemon.lines());
    daemon.kill();
    let killed = now().timestamp();
    assert_eq!(files(&harness).len(), 1, "{:?}", files(&harness));
    let text = fs::read_to_string(&files(&harness)[0]).unwrap();
    let rows: Vec<&str> =
        text.lines().filter(|line| line.contains(',') && !line.starts_with('#')).collect();
    assert!(!rows.is_empty() && rows.iter().all(|row| row.len() < 64), "{text}");
    assert!(rows.iter().all(|row| row.split(',').nth(2) == Some("1")), "one is desired: {text}");

    // A row of which the kill left a part that looks whole, but for its end.
    let torn = text.trim_end().trim_end_matches(|c: char| c.is_ascii_digit()).to_owned() + "9";
    fs::write(&files(&harness)[0], text.clone() + torn.lines().last().unwrap()).unwrap();
    let config = harness.dir.join("config.json");
    let out = plimsoll(&["history", "web", "--json", "--config", config.to_str().unwrap()]);
    let shown = String::from_utf8(out.stdout).unwrap();
    let shown: Vec<Value> = shown.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(shown.len(), rows.len(), "{shown:?} of {text}");
    let last = shown.last().unwrap()["time"].as_str().unwrap();
    let last = DateTime::parse_from_rfc3339(last).unwrap().timestamp();
    assert!(killed - last < 3 * MINUTE, "whole minutes before the kill: {last}, {killed}");

    let daemon = harness.start();
    daemon.wait(&["listening on"], SOON);
    let day = || ask(&harness, "/history?service=web&range=day");
    let read = |day: Value| day["web"].as_array().is_some_and(|rows| !rows.is_empty());
    assert!(reached(SOON, || read(day())), "{}", day());
}

#[test]
fn a_history_of_zero_writes_nothing() {
    let mut harness = scaled(Harness::new("history-off"));
    harness.set("/autoscaler/history", json!(0));
    let _daemon = harness.start();
    harness.wait_served();
    // Over the end of a minute.
    let minute = now().timestamp().div_euclid(MINUTE);
    assert!(reached(A_MINUTE, || minute < now().timestamp().div_euclid(MINUTE)));
    harness.wait_evaluations(2);
    assert!(files(&harness).is_empty(), "{:?}", files(&harness));
}

#[test]
fn a_full_disk_costs_rows_and_one_event_and_the_rest_is_read() {
    let harness = scaled(Harness::new("history-full"));
    fs::create_dir_all(harness.dir.join("state/history")).unwrap();
    let limit = 64 * 512;
    // Of today and tomorrow: it may be midnight. There is room for a part of a row.
    for day in 0..2 {
        let day = (now() + chrono::TimeDelta::days(day)).format("%Y-%m-%d");
        let name = format!("state/history/web-{day}.csv");
        harness.dir.write(&name, &"x".repeat(limit - 30));
    }
    let mut program = Command::new("sh");
    // Nothing but the history is so long. The signal would kill the daemon; a full disk sends none.
    program.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"", PLIMSOLL]);
    let daemon = Daemon::start_by(program, &harness.write(), &[]);
    let lost =
        daemon.wait(&["warn kind=history.not_saved", "the row of web", "File too large"], A_MINUTE);
    // A second row is lost without a second event.
    let minute = now().timestamp().div_euclid(MINUTE);
    assert!(reached(A_MINUTE, || minute < now().timestamp().div_euclid(MINUTE)));
    harness.wait_evaluations(2);
    let len = |file: &PathBuf| fs::metadata(file).unwrap().len() as usize;
    assert!(files(&harness).iter().any(|file| len(file) == limit), "a part of a row was written");
    files(&harness).iter().for_each(|file| fs::write(file, "").unwrap());
    let words = ["info kind=history.not_saved", "resolved: it is written again, without 2 rows"];
    let again = daemon.wait(&words, A_MINUTE);
    assert_eq!(daemon.count(&["warn kind=history.not_saved"]), 1, "{:#?}", daemon.lines());
    assert!(lost < again);
    let day = ask(&harness, "/history?service=web&range=day");
    assert_eq!(day["web"].as_array().unwrap().len(), 1, "{day}");
}

#[test]
fn a_week_is_reported_once_and_not_without_rows() {
    let mut harness = scaled(Harness::without_docker("history-weekly"));
    harness.set("/autoscaler/report", json!("weekly"));
    let mut empty = scaled(Harness::without_docker("history-weekly-empty"));
    empty.set("/autoscaler/report", json!("weekly"));
    // Whatever day it is: the last two weeks but for today, so also the one that is due.
    fs::create_dir_all(harness.dir.join("state/history")).unwrap();
    for ago in 1..15 {
        let day = (now() - chrono::TimeDelta::days(ago)).format("%Y-%m-%d");
        let row = "\n# [[\"cpu\",90.0]]\n600,2,2,1000,1,0,50,40,90,180\n";
        harness.dir.write(&format!("state/history/web-{day}.csv"), row);
    }
    let daemon = harness.start();
    let other = empty.start();
    let words =
        ["info kind=report.weekly", "web: 0.2 replica-hours of 0.4 at max (3), 7,000 requests"];
    daemon.wait(&words, SOON);
    let mark = |harness: &Harness| fs::read_to_string(harness.dir.join("state/report.json"));
    assert!(mark(&harness).unwrap().contains("monday"));
    // The line comes before the file.
    let reports = |harness: &Harness| {
        let events = fs::read_to_string(harness.dir.join("state/events.jsonl"));
        events.unwrap_or_default().matches("report.weekly").count()
    };
    assert!(reached(SOON, || reports(&harness) == 1), "{:#?}", daemon.lines());
    daemon.kill();
    let daemon = harness.start();
    daemon.wait(&["kind=docker.lost"], SOON);
    // Longer than the report of the first took.
    assert!(
        reached(SOON, || mark(&empty).is_ok_and(|mark| !mark.contains("null"))),
        "{:#?}",
        other.lines()
    );
    let control = To::Unix(harness.dir.join("api.sock"));
    assert!(reached(SOON, || control.get("/status").status == 200), "{:#?}", daemon.lines());
    assert_eq!(daemon.count(&["report.weekly"]), 0, "{:#?}", daemon.lines());
    assert_eq!(other.count(&["report.weekly"]), 0, "{:#?}", other.lines());
    assert_eq!(reports(&harness), 1);
}
