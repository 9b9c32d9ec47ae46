//! What the load history takes: on disk, to read, and of a daemon that forecasts from it. 200
//! services with three metrics and a row for each minute of 90 days; the other services are hard
//! links to the files of the first.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may panic")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod account;
#[path = "../common/daemon.rs"]
mod daemon;

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::account::{cpu_ms, status};
use crate::daemon::{Daemon, Dir, PLIMSOLL, reached, secs};

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
    println!("a dry run of {SERVICES} services   CPU-ms until forecast  CPU-ms a minute  RSS, MB");
    for mode in ["off", "shadow"] {
        let [start, minute, rss] = forecasting(&dir, mode);
        println!("forecast {mode:<18} {start:>27} {minute:>16} {:>8.1}", rss as f64 / 1000.0);
    }
}

/// CPU-ms until each service has its forecast, and of the minute after that; KiB at its end.
fn forecasting(dir: &Dir, mode: &str) -> [u64; 3] {
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let service = |n: u32| {
        let service = json!({
            "image": "demo:1", "port": 80, "min_replicas": 1, "max_replicas": 9,
            "scale_up_threshold": 70, "scale_down_threshold": 20, "forecast": { "mode": mode },
        });
        (format!("s{n}"), service)
    };
    let config = json!({
        "autoscaler": { "state_dir": at("state"), "labels": false, "dry_run": true },
        "api": { "listen": null, "socket": at("api.sock") },
        "load_balancer": {
            "config": at("haproxy.cfg"), "pid_file": at("haproxy.pid"),
            "socket": at("haproxy.sock"),
        },
        "services": Value::Object((0..SERVICES).map(service).collect()),
    });
    let config = dir.write("forecast.json", &config.to_string());
    let program = std::env::var("PLIMSOLL_BENCH_BIN").unwrap_or_else(|_| PLIMSOLL.to_owned());
    let daemon = Daemon::start_by(Command::new(program), &config, &[]);
    let all = reached(secs(120), || forecasts(&dir.join("api.sock")) == Some(mode == "shadow"));
    assert!(all, "{:#?}", daemon.lines());
    let start = cpu_ms(daemon.pid());
    daemon::delay(secs(60));
    let rss = status(daemon.pid(), "VmRSS:");
    [start, cpu_ms(daemon.pid()) - start, rss]
}

/// Whether every service has a forecast; `None` while some do and some do not.
fn forecasts(socket: &Path) -> Option<bool> {
    let shown = Command::new("curl")
        .args(["-s", "--unix-socket"])
        .arg(socket)
        .arg("http://a/services")
        .output()
        .unwrap();
    let services: Value = serde_json::from_slice(&shown.stdout).ok()?;
    let has = |one: &&Value| one["forecast"]["metrics"][0]["replicas"].is_u64();
    let services = services.as_array()?;
    let count = services.iter().filter(has).count();
    [(0, false), (services.len(), true)].into_iter().find(|(n, _)| *n == count).map(|(_, all)| all)
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
