//! What the same job costs with plimsoll, and with a Python daemon that asks Docker for the
//! statistics of each container (`stats_daemon.py`): the same containers, interval and length,
//! one after the other. What dockerd uses for others is measured with neither of them, and taken
//! off in the ratios: on a busy host these are worth nothing.
//!
//! `PLIMSOLL_BENCH_BESIDE` is how many seconds each is measured (60).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may panic")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod account;
#[path = "../common/daemon.rs"]
mod daemon;
#[path = "../common/load.rs"]
mod load;
#[allow(dead_code, reason = "made for tests, which use more of it")]
#[path = "../it/raw_http.rs"]
mod raw_http;
#[path = "../e2e/testbed.rs"]
mod testbed;

use std::fs::{self, File};
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::Value;

use crate::account::{cpu_ms, dockerd, status};
use crate::daemon::{Daemon, PLIMSOLL, delay, reached, secs};
use crate::raw_http::To;
use crate::testbed::Testbed;

const SCRIPT: &str = "tests/bench/stats_daemon.py";
/// The default of `check_interval`, in seconds.
const INTERVAL: u32 = 15;
/// Until connections are open and threads that starts took have ended.
const SETTLE: Duration = Duration::from_secs(35);

struct Cost {
    cpu_ms: f64,
    dockerd_ms: f64,
    rss_kib: u64,
    look_ms: f64,
}

fn main() {
    println!("CPU-ms each second at an interval of {INTERVAL} s; RSS in KiB; one full look in ms");
    println!(
        "{:>8}  {:<28} {:>8} {:>8} {:>8} {:>8}",
        "replicas", "", "CPU", "dockerd", "RSS", "look"
    );
    for replicas in [1, 10, 50] {
        let testbed = Testbed::new("beside");
        let (ours, others) = measure_plimsoll(&testbed, replicas);
        println!("{replicas:>8}  {:<28} {:>8} {others:>8.2}", "neither", "");
        show(replicas, "plimsoll, HTTP probes too", &ours);
        for (name, more) in [("Python, stats", None), ("Python, one-shot", Some("--one-shot"))] {
            let theirs = measure_python(&testbed, replicas, more);
            show(replicas, name, &theirs);
            let with = |cost: &Cost| cost.cpu_ms + cost.dockerd_ms - others;
            println!(
                "{:>10}times that of plimsoll: CPU {:.1}, with dockerd {:.1}, RSS {:.1}",
                "",
                theirs.cpu_ms / ours.cpu_ms,
                with(&theirs) / with(&ours),
                theirs.rss_kib as f64 / ours.rss_kib as f64
            );
        }
    }
}

fn show(replicas: u32, name: &str, cost: &Cost) {
    let Cost { cpu_ms, dockerd_ms, rss_kib, look_ms } = cost;
    println!(
        "{replicas:>8}  {name:<28} {cpu_ms:>8.2} {dockerd_ms:>8.2} {rss_kib:>8} {look_ms:>8.1}"
    );
}

fn seconds() -> u64 {
    let text = std::env::var("PLIMSOLL_BENCH_BESIDE").unwrap_or_else(|_| "60".to_owned());
    text.parse().expect("PLIMSOLL_BENCH_BESIDE is a whole number of seconds")
}

/// The replicas run on when it has ended. Gives what dockerd uses for others too.
fn measure_plimsoll(testbed: &Testbed, replicas: u32) -> (Cost, f64) {
    let config = testbed.configure(&format!(
        r#""min_replicas": {replicas}, "max_replicas": 60, "environment": {{ "WORKERS": "1" }},
           "scale_up_threshold": 9000, "scale_down_threshold": 0"#
    ));
    let mut text = fs::read_to_string(&config).unwrap();
    for (from, to) in [
        (r#""log_level": "debug""#, r#""log_level": "info""#.to_owned()),
        (r#""check_interval": 1,"#, format!(r#""check_interval": {INTERVAL},"#)),
        (
            r#""path": "/health", "interval": 1,"#,
            r#""path": "/health", "interval": 10,"#.to_owned(),
        ),
    ] {
        assert!(text.contains(from), "{from} in {text}");
        text = text.replace(from, &to);
    }
    fs::write(&config, text).unwrap();
    let program = std::env::var("PLIMSOLL_BENCH_BIN").unwrap_or_else(|_| PLIMSOLL.to_owned());
    let mut daemon = Daemon::start_by(Command::new(program), &config, &[]);
    testbed.wait_serving(usize::try_from(replicas).unwrap(), secs(180), &daemon);
    delay(SETTLE);
    let before = ticks(testbed);
    let (cpu_ms, dockerd_ms) = used_by(daemon.pid());
    let after = ticks(testbed);
    let rss_kib = status(daemon.pid(), "VmRSS:");
    daemon.signal("TERM");
    assert!(daemon.wait_exit(secs(20)).success());
    let (_, others) = used_by(dockerd());
    let look_ms = 1000.0 * (after.0 - before.0) / (after.1 - before.1);
    (Cost { cpu_ms, dockerd_ms, rss_kib, look_ms }, others)
}

/// Seconds in ticks, and their number.
fn ticks(testbed: &Testbed) -> (f64, f64) {
    let socket = To::Unix(testbed.dir.join("api.sock"));
    let text = socket.ask("GET /metrics", "Connection: close\r\n", "").body;
    let of = |name: &str| {
        let name = format!("plimsoll_tick_duration_seconds_{name} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&name));
        value.expect("it is there").trim().parse::<f64>().unwrap()
    };
    (of("sum"), of("count"))
}

fn measure_python(testbed: &Testbed, replicas: u32, more: Option<&str>) -> Cost {
    let log = testbed.dir.join("looks");
    let mut command = Command::new("python3");
    command.arg(SCRIPT).arg(&testbed.docker_socket);
    command.arg(format!("io.plimsoll.service={}", testbed.service)).arg(INTERVAL.to_string());
    let child = command.args(more).stdout(File::create(&log).unwrap()).spawn();
    let python = Ended(child.expect("python3 runs"));
    let looks = || -> Vec<Value> {
        let text = fs::read_to_string(&log).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    assert!(reached(secs(60), || !looks().is_empty()), "no look in a minute");
    let from = looks().len();
    let (cpu_ms, dockerd_ms) = used_by(python.0.id());
    let rss_kib = status(python.0.id(), "VmRSS:");
    let looks = looks().split_off(from);
    assert!(!looks.is_empty(), "it stopped looking");
    assert!(looks.iter().all(|look| look["containers"] == replicas), "{looks:?}");
    assert!(looks.iter().all(|look| look["cpu"].is_number()), "{looks:?}");
    let all: f64 = looks.iter().filter_map(|look| look["ms"].as_f64()).sum();
    Cost { cpu_ms, dockerd_ms, rss_kib, look_ms: all / looks.len() as f64 }
}

/// CPU-ms each second of the process and of dockerd.
fn used_by(pid: u32) -> (f64, f64) {
    let docker = dockerd();
    let before = (cpu_ms(pid), cpu_ms(docker));
    let length = secs(seconds());
    delay(length);
    let each = |from: u64, to: u64| (to - from) as f64 / length.as_secs_f64();
    (each(before.0, cpu_ms(pid)), each(before.1, cpu_ms(docker)))
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
