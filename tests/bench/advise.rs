//! What `plimsoll advise` costs for four weeks of one service: time and memory of the release
//! binary, by thresholds and by a target, for few and for many replicas.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may panic")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(dead_code, reason = "not all of the test harness is used")]

#[path = "../common/daemon.rs"]
mod daemon;

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs, process};

const DAYS: u64 = 28;
const DAY_S: u64 = 86_400;

fn main() {
    let folder = env::temp_dir().join(format!("plimsoll-bench-advise-{}", process::id()));
    fs::create_dir_all(folder.join("history")).unwrap();
    println!("advise, {DAYS} days of one service");
    println!("scaled by    replicas at most  seconds  MiB");
    let band = r#""scale_up_threshold": 60, "scale_down_threshold": 20"#;
    let target = r#""metrics": [{ "source": "cpu", "target": 60 }]"#;
    for (name, metric, factor) in [
        ("thresholds", band, 1.0),
        ("target", target, 1.0),
        ("thresholds", band, 10.0),
        ("target", target, 10.0),
    ] {
        write_history(&folder, factor);
        let max = (12.0 * factor) as u32;
        let config = folder.join("config.json");
        let text = format!(
            r#"{{ "autoscaler": {{ "state_dir": {folder:?} }}, "services": {{ "web": {{
               "image": "a:1", "port": 80, "min_replicas": 2, "max_replicas": {max}, {metric}
               }} }} }}"#
        );
        fs::write(&config, text).unwrap();
        let (seconds, mib) = run(&config);
        println!("{name:<12} {max:>16} {seconds:>8.1} {mib:>4}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// Two hills a day, quieter at weekends, with noise, as the daemon writes it.
fn write_history(folder: &Path, factor: f64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let first = now / DAY_S * DAY_S - (DAYS - 1) * DAY_S;
    for day in 0..DAYS {
        let mut text = String::from("# [[\"cpu\",60.0]]\n");
        for minute in 0..1440 {
            let hour = f64::from(minute) / 60.0;
            let hill = |at: f64, high: f64| high * (-((hour - at) / 2.5).powi(2)).exp();
            let load = 40.0 + hill(11.0, 230.0) + hill(20.0, 330.0);
            let noise = f64::from((minute + 1440 * day as u32) * 7919 % 101) / 500.0 + 0.9;
            let quiet = if day % 7 < 5 { 1.0 } else { 0.6 };
            let load = factor * load * quiet * noise;
            let n = (load / 60.0).ceil();
            let highest = load * 1.05;
            writeln!(text, "{minute},{n},{n},100,0,0,20,30,{load:.1},{highest:.1}").unwrap();
        }
        let at = first + day * DAY_S;
        let date = Command::new("date").args(["-u", "-d", &format!("@{at}"), "+%F"]).output();
        let date = String::from_utf8(date.unwrap().stdout).unwrap();
        let file = folder.join("history").join(format!("web-{}.csv", date.trim()));
        fs::write(file, text).unwrap();
    }
}

/// Seconds, and MiB of memory at most.
fn run(config: &Path) -> (f64, u64) {
    let program =
        env::var("PLIMSOLL_BENCH_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_plimsoll").into());
    let start = Instant::now();
    let mut child = Command::new(&program)
        .args(["advise", "web", "--since", &format!("{DAYS}d"), "--json", "--config"])
        .arg(config)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let status = loop {
        let text = fs::read_to_string(&status_file).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak = peak.max(kib.unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        daemon::delay(Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
    (start.elapsed().as_secs_f64(), peak / 1024)
}
