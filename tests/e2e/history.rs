//! The load history and the forecast on a real host: a disk that is full, folders that somebody
//! takes away, kills and reloads. Rows come once a minute, so the tests of a kind run side by side.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::daemon::{Daemon, plimsoll, polled, reached, secs};
use crate::faults::SmallDisk;
use crate::load::{Kind, Load};
use crate::raw_http::To;
use crate::scaling::assert_clean;
use crate::testbed::{Testbed, clients, free_port};

/// A row is written once its minute is over.
const A_ROW: Duration = Duration::from_secs(100);
const SOON: Duration = Duration::from_secs(40);
/// Bytes that a small disk gives a file at a time.
const PAGE: usize = 4096;

#[allow(clippy::disallowed_methods, reason = "the daemon's files are of its own time")]
fn now() -> DateTime<Utc> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    DateTime::from_timestamp(i64::try_from(now.as_secs()).unwrap(), 0).unwrap()
}

/// Of the minute.
fn second() -> i64 {
    now().timestamp().rem_euclid(60)
}

fn folder(testbed: &Testbed) -> PathBuf {
    testbed.dir.join("state/history")
}

/// The file of the day that was so long ago.
fn day_file(testbed: &Testbed, ago: i64) -> PathBuf {
    let day = (now() - TimeDelta::days(ago)).format("%Y-%m-%d");
    folder(testbed).join(format!("{}-{day}.csv", testbed.service))
}

/// What `plimsoll history` prints of these days: the time of each row, in seconds.
fn rows(testbed: &Testbed) -> Vec<i64> {
    let config = testbed.dir.join("config.json").display().to_string();
    let args = ["history", &testbed.service, "--since", "3d", "--json", "--config", &config];
    let out = plimsoll(&args);
    let text = String::from_utf8(out.stdout).unwrap();
    let stderr = String::from_utf8(out.stderr).unwrap();
    // No row yet is an error, too.
    assert!(stderr.is_empty() || text.is_empty(), "{stderr}");
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        DateTime::parse_from_rfc3339(row["time"].as_str().unwrap()).unwrap().timestamp()
    };
    text.lines().map(row).collect()
}

fn status(testbed: &Testbed) -> Value {
    To::Unix(testbed.dir.join("api.sock")).get("/status").json()
}

fn has_problem(testbed: &Testbed) -> bool {
    let problems = status(testbed)["problems"].as_array().cloned().unwrap_or_default();
    problems.iter().any(|problem| problem["kind"] == "history.not_saved")
}

fn mount(args: &[&str], path: &Path) {
    assert!(Command::new("mount").args(args).arg(path).status().unwrap().success());
}

/// One that costs rows until it is mended.
struct FolderFault {
    name: &'static str,
    is_on_a_disk: bool,
    /// Of the event.
    words: &'static str,
    strike: fn(&Path),
    mend: fn(&Path),
}

const FAULTS: [FolderFault; 3] = [
    FolderFault {
        name: "hi-full",
        is_on_a_disk: true,
        words: "No space left on device",
        // As much as goes.
        strike: |folder| drop(fs::write(folder.join("filler"), vec![0; 1 << 20])),
        mend: |folder| fs::remove_file(folder.join("filler")).unwrap(),
    },
    FolderFault {
        name: "hi-ro",
        is_on_a_disk: true,
        words: "Read-only file system",
        strike: |folder| mount(&["-o", "remount,ro"], folder),
        mend: |folder| mount(&["-o", "remount,rw"], folder),
    },
    FolderFault {
        name: "hi-file",
        is_on_a_disk: false,
        words: "cannot be written",
        strike: |folder| {
            fs::rename(folder, folder.with_extension("away")).unwrap();
            fs::write(folder, "").unwrap();
        },
        mend: |folder| {
            fs::remove_file(folder).unwrap();
            fs::rename(folder.with_extension("away"), folder).unwrap();
        },
    },
];

/// Ten rows of yesterday, and of today as many of one minute as leave a part of a page.
fn write_past(testbed: &Testbed) {
    let head = "\n# [[\"cpu\",70.0]]\n";
    let row = |minute: u32| format!("{minute},1,1,9,0,0,1,1,7,9\n");
    let yesterday: String = (600..610).map(row).collect();
    fs::write(day_file(testbed, 1), head.to_owned() + &yesterday).unwrap();
    let mut today = head.to_owned();
    while today.len() + row(0).len() < PAGE {
        today += &row(0);
    }
    fs::write(day_file(testbed, 0), today).unwrap();
}

fn suffer(fault: &FolderFault) {
    let testbed = Testbed::new(fault.name);
    let folder = folder(&testbed);
    fs::create_dir_all(&folder).unwrap();
    let _disk = fault.is_on_a_disk.then(|| SmallDisk::new(folder.clone()));
    write_past(&testbed);
    let day = now().date_naive();
    let keys = |replicas: u32| {
        format!(
            r#""min_replicas": {replicas}, "max_replicas": 3, "drain_timeout": 10,
            "scale_up_threshold": 5000, "scale_down_threshold": 1"#
        )
    };
    // A second service, whose rows are lost at the same time.
    let more = testbed.other(free_port());
    // Its first row is to come after that.
    assert!(reached(A_ROW, || (0..40).contains(&second())));
    let daemon = Daemon::start(&testbed.configure_with(&keys(1), &more));
    daemon.wait(&["listening on"], SOON);
    (fault.strike)(&folder);
    testbed.wait_serving(1, SOON, &daemon);
    let load = Load::start(testbed.address(), clients(2, Kind::KeepAlive, "/", 20));
    let before = rows_unless_away(&testbed, &folder);

    daemon.wait(&["warn kind=history.not_saved", fault.words], A_ROW);
    // The line comes before the status.
    assert!(reached(SOON, || has_problem(&testbed)), "{}", status(&testbed));
    testbed.configure_with(&keys(2), &more);
    daemon.signal("HUP");
    testbed.wait_serving(2, SOON, &daemon);
    if fault.name == "hi-full" && now().date_naive() == day {
        let size = fs::metadata(day_file(&testbed, 0)).unwrap().len();
        assert_eq!(size, PAGE as u64, "a part of a line was written");
    }
    assert_eq!(rows_unless_away(&testbed, &folder), before, "what was there is read");

    (fault.mend)(&folder);
    let words = ["info kind=history.not_saved", "resolved: it is written again, without "];
    let again = daemon.wait(&words, A_ROW);
    let line = daemon.lines()[again].clone();
    let lost = line.split("without ").nth(1).and_then(|rest| rest.split(' ').next());
    let lost: u32 = lost.unwrap().parse().unwrap();
    assert!(2 <= lost && lost.is_multiple_of(2), "of each of two services: {line}");
    assert_eq!(daemon.count(&["warn kind=history.not_saved"]), 1, "{:#?}", daemon.lines());
    assert!(reached(SOON, || !has_problem(&testbed)), "{}", status(&testbed));
    let after = rows(&testbed);
    // Those of yesterday, the one of today, and new ones.
    assert!(11 < after.len(), "{after:?}");
    testbed.configure_with(&keys(1), &more);
    daemon.signal("HUP");
    assert_clean(&load.stop(), 100);
}

fn rows_unless_away(testbed: &Testbed, folder: &Path) -> Vec<i64> {
    if folder.is_dir() { rows(testbed) } else { Vec::new() }
}

/// It costs nothing but what was in it.
fn lose_the_folder() {
    let testbed = Testbed::new("hi-gone");
    let keys = r#""min_replicas": 1, "max_replicas": 1,
        "scale_up_threshold": 5000, "scale_down_threshold": 1"#;
    let daemon = Daemon::start(&testbed.configure(keys));
    testbed.wait_serving(1, SOON, &daemon);
    let written = || fs::metadata(day_file(&testbed, 0)).is_ok_and(|file| 0 < file.len());
    assert!(reached(A_ROW, written), "{:#?}", daemon.lines());
    fs::remove_dir_all(folder(&testbed)).unwrap();
    assert!(reached(A_ROW, written), "{:#?}", daemon.lines());
    assert!(!rows(&testbed).is_empty());
    assert_eq!(daemon.count(&["kind=history.not_saved"]), 0, "{:#?}", daemon.lines());
}

#[test]
fn what_happens_to_the_folder_of_the_history_costs_rows_and_one_event() {
    thread::scope(|scope| {
        FAULTS.iter().for_each(|fault| drop(scope.spawn(|| suffer(fault))));
        scope.spawn(lose_the_folder);
    });
}

/// Kills the daemon once `is_time`, after its first row.
fn be_killed(name: &str, is_time: fn() -> bool) {
    let testbed = Testbed::new(name);
    let keys = r#""min_replicas": 1, "max_replicas": 2,
        "scale_up_threshold": 5000, "scale_down_threshold": 1"#;
    let config = testbed.configure(keys);
    let daemon = Daemon::start(&config);
    testbed.wait_serving(1, SOON, &daemon);
    let files = || fs::read_dir(folder(&testbed)).into_iter().flatten().flatten();
    let size = || files().map(|file| file.metadata().unwrap().len()).sum::<u64>();
    assert!(reached(A_ROW, || 0 < size()), "{:#?}", daemon.lines());
    let load = Load::start(testbed.address(), clients(2, Kind::KeepAlive, "/", 20));
    assert!(reached(secs(60), is_time));
    daemon.kill();
    let (first, before) = (rows(&testbed), size());
    assert!(!first.is_empty());

    let daemon = Daemon::start(&config);
    let mut all = Vec::new();
    let goes_on = || {
        all = rows(&testbed);
        first.len() < all.len()
    };
    assert!(polled(A_ROW, secs(1), goes_on), "{all:?}: {:#?}", daemon.lines());
    assert!(all.starts_with(&first), "{first:?}, {all:?}");
    let lost = |pair: &[i64]| (pair[1] - pair[0]) / 60 - 1;
    assert!(all.windows(2).all(|pair| lost(pair) <= 2), "{all:?}");
    // Of a day that is not over.
    let days: std::collections::BTreeSet<i64> = all.iter().map(|at| at / 86_400).collect();
    assert_eq!(files().count(), days.len());
    assert!(before < size(), "the file goes on");
    assert_clean(&load.stop(), 100);
}

#[test]
fn a_kill_loses_two_minutes_at_most_and_the_next_daemon_goes_on_with_the_file() {
    thread::scope(|scope| {
        scope.spawn(|| be_killed("hi-row", || true));
        scope.spawn(|| be_killed("hi-half", || (20..40).contains(&second())));
    });
}

/// Each day of five weeks, at the time of the day around now: 20 %, and from a few minutes ahead
/// on 400 %.
fn write_weeks(testbed: &Testbed) {
    fs::create_dir_all(folder(testbed)).unwrap();
    let minute_now = now().timestamp().div_euclid(60);
    for ago in (0..35).rev() {
        for minute in -150..150 {
            let at = minute_now - ago * 24 * 60 + minute;
            if minute_now <= at {
                continue;
            }
            let load = if minute < 5 { 20 } else { 400 };
            let row = format!("{},1,1,9,0,0,1,1,{load},{load}\n", at.rem_euclid(24 * 60));
            let day = DateTime::from_timestamp(at * 60, 0).unwrap().format("%Y-%m-%d");
            let path = folder(testbed).join(format!("{}-{day}.csv", testbed.service));
            let text = fs::read_to_string(&path).unwrap_or("# [[\"cpu\",90.0]]\n".to_owned());
            fs::write(&path, text + &row).unwrap();
        }
    }
}

fn own_files(testbed: &Testbed) -> usize {
    let entries = fs::read_dir(folder(testbed)).unwrap().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(&format!("{}-2", testbed.service))).count()
}

/// The daemon ends first: it would start again what the testbed removes.
struct Reloaded {
    daemon: Daemon,
    testbed: Testbed,
}

impl Reloaded {
    fn configure(testbed: &Testbed, history: &str, mode: &str) -> PathBuf {
        let keys = format!(
            r#""min_replicas": 1, "max_replicas": 3, "cooldown_period": 1, "drain_timeout": 5,
            "scale_up_threshold": 90, "scale_down_threshold": 1,
            "forecast": {{ "mode": "{mode}", "horizon": "10m" }}"#
        );
        let config = testbed.configure(&keys);
        let text = fs::read_to_string(&config).unwrap();
        let value = if history == "0" { "0".to_owned() } else { format!("\"{history}\"") };
        let set = format!(r#""labels": false, "history": {value},"#);
        fs::write(&config, text.replace(r#""labels": false,"#, &set)).unwrap();
        config
    }

    /// Reloads, and waits for the answer, which has this word.
    #[track_caller]
    fn reload(&self, history: &str, mode: &str, word: &str) {
        let before = self.daemon.lines().len();
        Reloaded::configure(&self.testbed, history, mode);
        self.daemon.signal("HUP");
        self.daemon.wait_from(before, &[word], SOON);
    }

    fn service(&self) -> Value {
        status(&self.testbed)["services"][0].clone()
    }

    fn explain(&self) -> String {
        let socket = self.testbed.dir.join("api.sock").display().to_string();
        let out = plimsoll(&["explain", &self.testbed.service, "--socket", &socket]);
        let text = String::from_utf8(out.stdout).unwrap();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Whether status, explain and metrics agree that it is in this mode; `off`: that there is
    /// none.
    fn is_in(&self, mode: &str) -> bool {
        let forecast = self.service()["forecast"].clone();
        let explain = self.explain();
        let page = To::Unix(self.testbed.dir.join("api.sock")).get("/metrics").body;
        let series = format!("plimsoll_forecast_replicas{{service=\"{}\"}} ", self.testbed.service);
        let has_series = page.lines().any(|line| line.starts_with(&series));
        if mode == "off" {
            return forecast.is_null() && !explain.contains("forecast") && !has_series;
        }
        forecast["mode"] == mode
            && forecast["metrics"][0]["upper"].is_number()
            && explain.contains(&format!("forecast {mode}, cpu: up to"))
            && has_series
    }

    #[track_caller]
    fn wait_for(&self, mode: &str, desired: u32) {
        let is_so = || self.is_in(mode) && self.service()["desired"] == desired;
        let done = polled(SOON, secs(1) / 4, is_so);
        assert!(done, "{mode} {desired}: {}\n{}", self.service(), self.explain());
    }
}

#[test]
fn reloads_change_the_history_and_the_forecast_at_once_and_delete_no_file_of_others() {
    let testbed = Testbed::new("hi-hup");
    write_weeks(&testbed);
    let others = ["notes.txt", "2020-01-01.csv", "web-2020-01-01.csv.bak", "web-2020-1-1.csv"];
    others.iter().for_each(|name| fs::write(folder(&testbed).join(name), "mine").unwrap());
    let at_first = own_files(&testbed);
    assert!(35 <= at_first, "{at_first}");
    let config = Reloaded::configure(&testbed, "90d", "off");
    let daemon = Daemon::start(&config);
    testbed.wait_serving(1, SOON, &daemon);
    let it = Reloaded { daemon, testbed };
    let testbed = &it.testbed;
    let own = |want: std::ops::RangeInclusive<usize>| want.contains(&own_files(testbed));
    let reloaded = "kind=config.reloaded";
    it.wait_for("off", 1);
    it.reload("90d", "on", reloaded);
    it.wait_for("on", 3);
    it.daemon.wait(&["kind=scale.up", "to=3", "reason=Forecast"], SOON);
    it.reload("90d", "shadow", reloaded);
    it.wait_for("shadow", 1);
    // A forecast needs a history, and one of two weeks.
    it.reload("0", "shadow", "kind=config.rejected");
    it.wait_for("shadow", 1);
    it.reload("0", "off", reloaded);
    it.wait_for("off", 1);
    assert!(own(at_first..=at_first + 1), "a history that is off keeps what it has");
    it.reload("90d", "on", reloaded);
    it.wait_for("on", 3);
    it.reload("20d", "shadow", reloaded);
    it.wait_for("shadow", 1);
    assert!(reached(SOON, || own(20..=22)), "{:#?}", it.daemon.lines());
    it.reload("2d", "off", reloaded);
    it.wait_for("off", 1);
    assert!(reached(SOON, || own(2..=4)), "{:#?}", it.daemon.lines());
    for name in others {
        assert!(folder(testbed).join(name).exists(), "{name}");
    }
    assert!(!rows(testbed).is_empty());
    assert_eq!(it.daemon.count(&["panic"]), 0, "{:#?}", it.daemon.lines());
}
