//! What the daemon costs while nothing happens, with 1 and with 50 replicas: evaluated and probed
//! each second, and at the default intervals. Beside it stands what `docker stats --no-stream`
//! costs for the same containers in the same run. Processor time is the kernel's own account of the
//! process, threads that ended included.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may panic")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod account;
#[path = "../common/daemon.rs"]
mod daemon;
#[path = "../common/load.rs"]
mod load;
#[path = "../e2e/testbed.rs"]
mod testbed;

use std::fs;
use std::process::Command;

use crate::account::{children_ms, cpu_ms, dockerd, status, switches};
use crate::daemon::{Daemon, PLIMSOLL, secs};
use crate::testbed::Testbed;

struct Row {
    replicas: u32,
    probe: &'static str,
    /// `check_interval` and the interval of the health check, in seconds.
    intervals: (u32, u32),
    /// How long it is measured.
    seconds: u32,
}

struct Cost {
    cpu_ms: f64,
    dockerd_ms: f64,
    wakeups: f64,
    threads: u64,
    rss_kib: u64,
    stats_ms: f64,
}

fn main() {
    let each_second = |replicas| Row { replicas, probe: "http", intervals: (1, 1), seconds: 20 };
    let at_defaults = |probe| Row { replicas: 50, probe, intervals: (15, 10), seconds: 60 };
    let rows = [each_second(1), each_second(50), at_defaults("tcp"), at_defaults("http")];
    println!("per second: CPU-ms of the whole process, voluntary context switches; memory in KiB");
    println!(
        "replicas  probe  intervals   CPU-ms  dockerd meanwhile  switches  threads      RSS  \
         docker stats (client)  CPU-ms/stats"
    );
    let costs = rows.map(|row| {
        let cost = measure(&row);
        println!(
            "{:>8} {:>6} {:>7} s,{:>2} {:>8.2} {:>18.2} {:>9.1} {:>8} {:>8} {:>22.1} {:>12.1}%",
            row.replicas,
            row.probe,
            row.intervals.0,
            row.intervals.1,
            cost.cpu_ms,
            cost.dockerd_ms,
            cost.wakeups,
            cost.threads,
            cost.rss_kib,
            cost.stats_ms,
            100.0 * cost.cpu_ms / cost.stats_ms
        );
        cost
    });
    println!("50 replicas cost {:.1} times what 1 costs", costs[1].cpu_ms / costs[0].cpu_ms);
}

fn measure(row: &Row) -> Cost {
    let testbed = Testbed::new("bench");
    let config = testbed.configure(&format!(
        r#""min_replicas": {}, "max_replicas": 60, "environment": {{ "WORKERS": "1" }},
           "scale_up_threshold": 9000, "scale_down_threshold": 0"#,
        row.replicas
    ));
    let (check, probe) = row.intervals;
    let mut text = fs::read_to_string(&config).unwrap();
    for (from, to) in [
        (r#""log_level": "debug""#, r#""log_level": "info""#.to_owned()),
        (r#""check_interval": 1,"#, format!(r#""check_interval": {check},"#)),
        (
            r#""path": "/health", "interval": 1,"#,
            match row.probe {
                "tcp" => format!(r#""type": "tcp", "interval": {probe},"#),
                _ => format!(r#""path": "/health", "interval": {probe},"#),
            },
        ),
    ] {
        assert!(text.contains(from), "{from} in {text}");
        text = text.replace(from, &to);
    }
    fs::write(&config, text).unwrap();
    let program = std::env::var("PLIMSOLL_BENCH_BIN").unwrap_or_else(|_| PLIMSOLL.to_owned());
    let daemon = Daemon::start_by(Command::new(program), &config, &[]);
    let count = usize::try_from(row.replicas).unwrap();
    testbed.wait_serving(count, secs(180), &daemon);
    // Until new replicas are probed at their interval, and threads that starts took have ended.
    wait(&daemon, if check == 1 { 3 } else { 75 });
    let docker = dockerd();
    let before = (cpu_ms(daemon.pid()), cpu_ms(docker), switches(daemon.pid()));
    wait(&daemon, row.seconds);
    let after = (cpu_ms(daemon.pid()), cpu_ms(docker), switches(daemon.pid()));
    let each = |from: u64, to: u64| (to - from) as f64 / f64::from(row.seconds);
    Cost {
        cpu_ms: each(before.0, after.0),
        dockerd_ms: each(before.1, after.1),
        wakeups: each(before.2, after.2.max(before.2)),
        threads: status(daemon.pid(), "Threads:"),
        rss_kib: status(daemon.pid(), "VmRSS:"),
        stats_ms: docker_stats_ms(&testbed),
    }
}

/// There is nothing in the log of a quiet daemon to wait for.
fn wait(daemon: &Daemon, seconds: u32) {
    let end = std::time::Instant::now() + secs(u64::from(seconds));
    daemon::reached(secs(u64::from(seconds) + 1), || end <= std::time::Instant::now());
    assert_eq!(daemon.count(&[" error "]), 0, "{:#?}", daemon.lines());
}

/// What the client alone uses for one reading of the same containers.
fn docker_stats_ms(testbed: &Testbed) -> f64 {
    let ids: Vec<String> = testbed.containers().into_iter().map(|(id, ..)| id).collect();
    let mut args = vec!["stats", "--no-stream"];
    args.extend(ids.iter().map(String::as_str));
    const TIMES: u32 = 5;
    let before = children_ms();
    for _ in 0..TIMES {
        testbed.docker(&args).expect("docker stats");
    }
    (children_ms() - before) as f64 / f64::from(TIMES)
}
