//! What the daemon costs while nothing happens: processor time a tick and memory, with 1 and with
//! 50 replicas, beside what `docker stats --no-stream` costs for the same containers in the same
//! run. Processor time is the kernel's own account of each process, not wall time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may panic")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "../common/daemon.rs"]
mod daemon;
#[path = "../common/load.rs"]
mod load;
#[path = "../e2e/testbed.rs"]
mod testbed;

use std::fs;
use std::process::Command;

use crate::daemon::{Daemon, PLIMSOLL, secs};
use crate::testbed::Testbed;

const TICKS: u32 = 20;
/// Of the kernel's account: USER_HZ is 100 on Linux.
const MS_A_JIFFY: u64 = 10;

struct Cost {
    replicas: u32,
    tick_ms: f64,
    dockerd_ms: f64,
    rss_kib: u64,
    stats_ms: f64,
}

fn main() {
    let costs: Vec<Cost> = [1, 50].into_iter().map(measure).collect();
    println!("{TICKS} ticks each, one a second; CPU-ms a tick, memory in KiB");
    println!(
        "replicas  plimsoll  dockerd meanwhile      RSS  docker stats (client)  plimsoll/stats"
    );
    for c in &costs {
        println!(
            "{:>8} {:>9.2} {:>18.2} {:>8} {:>22.1} {:>14.1}%",
            c.replicas,
            c.tick_ms,
            c.dockerd_ms,
            c.rss_kib,
            c.stats_ms,
            100.0 * c.tick_ms / c.stats_ms
        );
    }
    println!("50 replicas cost {:.1} times what 1 costs", costs[1].tick_ms / costs[0].tick_ms);
}

fn measure(replicas: u32) -> Cost {
    let testbed = Testbed::new("bench");
    let config = testbed.configure(&format!(
        r#""min_replicas": {replicas}, "max_replicas": 60, "environment": {{ "WORKERS": "1" }},
           "scale_up_threshold": 9000, "scale_down_threshold": 0"#
    ));
    let quiet = fs::read_to_string(&config)
        .unwrap()
        .replace(r#""log_level": "debug""#, r#""log_level": "info""#);
    fs::write(&config, quiet).unwrap();
    let program = std::env::var("PLIMSOLL_BENCH_BIN").unwrap_or_else(|_| PLIMSOLL.to_owned());
    let daemon = Daemon::start_by(Command::new(program), &config, &[]);
    let count = usize::try_from(replicas).unwrap();
    testbed.wait_serving(count, secs(180), &daemon);
    // Two more evaluations, so that counters are open and drains and reloads over.
    wait_ticks(&daemon, 3);
    let dockerd = pid_of("dockerd");
    let before = (cpu_ms(daemon.pid()), cpu_ms(dockerd));
    wait_ticks(&daemon, TICKS);
    let after = (cpu_ms(daemon.pid()), cpu_ms(dockerd));
    let each = |from: f64, to: f64| (to - from) / f64::from(TICKS);
    Cost {
        replicas,
        tick_ms: each(before.0, after.0),
        dockerd_ms: each(before.1, after.1),
        rss_kib: rss_kib(daemon.pid()),
        stats_ms: docker_stats_ms(&testbed),
    }
}

/// One a second; there is nothing in the log of a quiet daemon to wait for.
fn wait_ticks(daemon: &Daemon, ticks: u32) {
    let end = std::time::Instant::now() + secs(u64::from(ticks));
    daemon::reached(secs(u64::from(ticks) + 1), || end <= std::time::Instant::now());
    assert_eq!(daemon.count(&[" error "]), 0, "{:#?}", daemon.lines());
}

fn stat_fields(pid: u32) -> Vec<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = text.rsplit_once(')').unwrap();
    rest.split_whitespace().map(|f| f.parse().unwrap_or(0)).collect()
}

/// Time on a processor of all its threads that live, to the nanosecond.
fn cpu_ms(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let ns = |path: std::path::PathBuf| {
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    };
    tasks.filter_map(|t| ns(t.path())).sum::<f64>() / 1e6
}

fn rss_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn pid_of(name: &str) -> u32 {
    let out = Command::new("pidof").arg("-s").arg(name).output().unwrap();
    String::from_utf8_lossy(&out.stdout).trim().parse().expect("dockerd runs")
}

/// What the client alone uses for one reading of the same containers.
fn docker_stats_ms(testbed: &Testbed) -> f64 {
    let mine = || {
        let fields = stat_fields(std::process::id());
        // Children that were waited for.
        (fields[13] + fields[14]) * MS_A_JIFFY
    };
    let ids: Vec<String> = testbed.containers().into_iter().map(|(id, ..)| id).collect();
    let mut args = vec!["stats", "--no-stream"];
    args.extend(ids.iter().map(String::as_str));
    const TIMES: u32 = 5;
    let before = mine();
    for _ in 0..TIMES {
        testbed.docker(&args).expect("docker stats");
    }
    (mine() - before) as f64 / f64::from(TIMES)
}
