//! What a forecast is worth: on the two traces of six weeks beside the examples, and on two of
//! another seed that nothing was adjusted to. First the forecasts alone, compared with what came;
//! then the whole daemon in simulated time, with and without. And what one forecast costs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may panic")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(dead_code, unused_imports, reason = "tests come with what is compiled in, unused")]

#[path = "../../src/forecast/backtest.rs"]
mod backtest;
#[path = "../../src/forecast/mod.rs"]
mod forecast;
#[path = "../../src/model/mod.rs"]
mod model;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use std::{env, fs, process};

use crate::backtest::Trace;
use crate::model::forecast::{ForecastConfig, ForecastInput, WeekSlice};
use crate::model::metric::Milli;

const EXAMPLES: &str = "contrib/examples";
const OTHER_SEED: &str = "4711";
const TRACES: [&str; 2] = ["daily.csv", "weekly.csv"];
const FORECASTS: u32 = 20_000;
const ROUNDS: u32 = 5;

fn main() {
    let other = env::temp_dir().join(format!("plimsoll-bench-{}", process::id()));
    fs::create_dir(&other).unwrap();
    let script = Path::new(EXAMPLES).join("weeks.py");
    let made = Command::new("python3").arg(script).arg(OTHER_SEED).arg(&other).status().unwrap();
    assert!(made.success(), "{made}");
    let sets = [("default", PathBuf::from(EXAMPLES)), (OTHER_SEED, other.clone())];

    println!(
        "the highest load of the next ten minutes, from the third week on, one forecast a minute"
    );
    println!("trace       seed     error, mean  median  minutes up to the 90th percentile");
    for (seed, folder) in &sets {
        for name in TRACES {
            let trace = Trace::parse(&fs::read_to_string(folder.join(name)).unwrap());
            let got = trace.backtest(1);
            println!(
                "{name:<11} {seed:<7} {:>12.1} % {:>5.1} % {:>32.1} %",
                got.mean_error, got.median_error, got.covered
            );
        }
    }
    cost();
    for (seed, folder) in &sets {
        TRACES.iter().for_each(|name| simulated(name, seed, folder));
    }
    fs::remove_dir_all(&other).unwrap();
}

/// Of a forecast from eight weeks, the most that there are.
fn cost() {
    let text = fs::read_to_string(Path::new(EXAMPLES).join(TRACES[0])).unwrap();
    let trace = Trace::parse(&text);
    let now = trace.judged().end - 1;
    let mut input = trace.input(now);
    input.weeks = input.weeks.iter().cycle().take(8).cloned().collect();
    let config = ForecastConfig::default();
    let round = || {
        let start = Instant::now();
        for _ in 0..FORECASTS {
            black_box(forecast::forecast(black_box(&input), black_box(&config)).unwrap());
        }
        start.elapsed()
    };
    let best = (0..ROUNDS).map(|_| round()).min().unwrap();
    println!(
        "\none forecast from eight weeks: {:.1} us; its input: {:.1} KiB",
        best.as_secs_f64() * 1e6 / f64::from(FORECASTS),
        bytes(&input) as f64 / 1024.0
    );
}

fn bytes(input: &ForecastInput) -> usize {
    let weeks = input.weeks.iter().map(|week| week.before.len() + week.ahead.len());
    let minutes = input.recent.len() + weeks.sum::<usize>();
    minutes * size_of::<Option<Milli>>() + input.weeks.len() * size_of::<WeekSlice>()
}

/// As `plimsoll simulate` tells it.
fn simulated(name: &str, seed: &str, folder: &Path) {
    let program =
        env::var("PLIMSOLL_BENCH_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_plimsoll").into());
    let mut command = Command::new(&program);
    command.args(["simulate", "--config", "contrib/examples/forecast.json", "--forecast"]);
    command.args(["--start", "2026-03-02", "--start-up", "30s", "--load"]).arg(folder.join(name));
    let start = Instant::now();
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    println!("\n{name}, seed {seed}, in {:.1} s", start.elapsed().as_secs_f64());
    print!("{}", String::from_utf8_lossy(&output.stdout));
}
