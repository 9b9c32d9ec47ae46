//! How long after a step in load the first new replica serves, at the default `check_interval`, and
//! how much of it Docker's own start takes. The steps begin at different times after an evaluation.

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
use std::time::Instant;

use crate::daemon::{Daemon, PLIMSOLL, secs};
use crate::load::{Kind, Load};
use crate::testbed::{Testbed, clients};

/// Seconds after an evaluation.
const OFFSETS: [u64; 5] = [1, 4, 7, 10, 13];

fn main() {
    println!("seconds from a step in load to the first new replica in service, interval 15 s");
    println!("step after evaluation  serving after  Docker's start  beyond it");
    let mut beyond = OFFSETS.map(|offset| {
        let (serving, start) = step(offset);
        println!("{offset:>19} s {serving:>14.1} {start:>15.1} {:>10.1}", serving - start);
        serving - start
    });
    beyond.sort_by(f64::total_cmp);
    let median = beyond[OFFSETS.len() / 2];
    let worst = beyond[OFFSETS.len() - 1];
    println!("median {median:.1} s, worst {worst:.1} s beyond Docker's start");
}

fn step(offset: u64) -> (f64, f64) {
    let testbed = Testbed::new("steps");
    let config = testbed.configure(
        r#""min_replicas": 1, "max_replicas": 2, "cpus": 0.3,
           "scale_up_threshold": 70, "scale_down_threshold": 10"#,
    );
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace(r#""check_interval": 1,"#, r#""check_interval": 15,"#);
    fs::write(&config, text).unwrap();
    let program = std::env::var("PLIMSOLL_BENCH_BIN").unwrap_or_else(|_| PLIMSOLL.to_owned());
    let daemon = Daemon::start_by(Command::new(program), &config, &[]);
    testbed.wait_serving(1, secs(30), &daemon);
    let light = Load::start(testbed.address(), clients(1, Kind::Close, "/burn?ms=5", 100));
    // The second evaluation with a replica has a sample of the light load.
    for _ in 0..2 {
        let from = daemon.lines().len();
        daemon.wait_from(from, &["debug service=", "desired="], secs(30));
    }
    daemon::delay(secs(offset));
    let begun = Instant::now();
    let heavy = Load::start(testbed.address(), clients(4, Kind::KeepAlive, "/burn?ms=20", 0));
    testbed.wait_serving(2, secs(60), &daemon);
    let serving = begun.elapsed().as_secs_f64();
    drop((heavy.stop(), light.stop()));
    let started = daemon.wait(&["kind=replica.started", "-2 "], secs(10));
    let line = daemon.lines()[started].clone();
    let ms =
        line.split("took ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    (serving, ms.expect("how long the start took") / 1000.0)
}
