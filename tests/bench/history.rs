//! What the load history takes: on disk, and to read. 200 services with three metrics and a row for
//! each minute of 90 days; the other services are hard links to the files of the first.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may panic")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "../common/daemon.rs"]
mod daemon;

use std::fmt::Write;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::daemon::{Dir, PLIMSOLL};

const SERVICES: u32 = 200;
const DAYS: i64 = 90;
const DAY_S: i64 = 24 * 3600;
const MINUTES: i64 = 1440;

fn main() {
    let dir = Dir::new("bench-history");
    let config = write_config(&dir);
    let bytes = write_files(&dir);
    let services = f64::from(SERVICES);
    let megabytes = bytes as f64 / 1e6;
    println!("{DAYS} days of a service: {megabytes:.1} MB, {:.1} bytes a row", row_bytes(bytes));
    println!("{DAYS} days of {SERVICES} services: {:.2} GB", megabytes * services / 1000.0);
    println!("command                                     seconds  RSS at most, MB");
    let since = format!("{DAYS}d");
    for args in [
        &["history", "s0", "--since", &since][..],
        &["history", "s0", "--since", &since, "--csv"],
        &["history", "s0", "--since", "1d"],
        &["report", "--since", "7d"],
    ] {
        let (seconds, megabytes) = measure(args, &config);
        println!("{:<42} {seconds:>8.2} {megabytes:>16.1}", args.join(" "));
    }
}

fn row_bytes(bytes: u64) -> f64 {
    bytes as f64 / (DAYS * MINUTES) as f64
}

fn write_config(dir: &Dir) -> String {
    let state = dir.join("state");
    let text = format!(
        r#"{{ "autoscaler": {{ "state_dir": "{}", "labels": false }}, "services": {{}} }}"#,
        state.display()
    );
    dir.write("config.json", &text).to_str().unwrap().to_owned()
}

/// Gives the bytes of one service.
fn write_files(dir: &Dir) -> u64 {
    fs::create_dir_all(dir.join("state/history")).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
    let mut bytes = 0;
    for ago in 0..DAYS {
        let day = chrono::DateTime::from_timestamp(now - ago * DAY_S, 0).unwrap();
        let name =
            |service: u32| format!("state/history/s{service}-{}.csv", day.format("%Y-%m-%d"));
        let first = dir.write(&name(0), &rows(ago));
        bytes += fs::metadata(&first).unwrap().len();
        for service in 1..SERVICES {
            fs::hard_link(&first, dir.join(&name(service))).unwrap();
        }
    }
    bytes
}

fn rows(day: i64) -> String {
    let mut out = "\n# [[\"cpu\",70.0],[\"memory\",80.0],[\"request_rate\",100.0]]\n".to_owned();
    for minute in 0..MINUTES {
        let n = (day * MINUTES + minute) * 7919 % 1000;
        let cpu = format!("{}.{},{}.{}", 100 + n / 5, n % 10, 150 + n / 4, n % 7);
        let rest = format!("{}.5,{}.1,{},{}", 120 + n % 90, 130 + n % 90, n * 3, n * 4);
        writeln!(out, "{minute},4,4,{},0,0,{},61,{cpu},{rest}", n * 70, n % 100).unwrap();
    }
    out
}

/// The output goes nowhere. The peak is the kernel's, as it was at the last look.
fn measure(args: &[&str], config: &str) -> (f64, f64) {
    let program = std::env::var("PLIMSOLL_BENCH_BIN").unwrap_or_else(|_| PLIMSOLL.to_owned());
    let mut command = Command::new(program);
    command.args(args).args(["--config", config]).stdout(Stdio::null());
    let begun = Instant::now();
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        // Between its exit and the wait for it the file has no such line.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        peak = peak.max(kilobytes.unwrap_or(0));
        daemon::delay(std::time::Duration::from_millis(1));
    }
    let seconds = begun.elapsed().as_secs_f64();
    assert!(child.wait().unwrap().success(), "{args:?}");
    (seconds, peak as f64 / 1000.0)
}
