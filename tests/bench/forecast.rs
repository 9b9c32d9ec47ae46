//! What a forecast is worth: on the two traces of six weeks beside the examples, and on two of
//! another seed that nothing was adjusted to. First the forecasts alone, compared with what came;
//! then the whole daemon in simulated time, with and without. And what one forecast costs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may panic")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::duplicate_mod, reason = "a test build of the forecast has the backtest too")]
#![allow(dead_code, unused_imports, reason = "tests come with what is compiled in, unused")]

#[path = "../../src/forecast/backtest.rs"]
mod backtest;
mod examples;
#[path = "../../src/forecast/mod.rs"]
mod forecast;
#[path = "../../src/model/mod.rs"]
mod model;

use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use std::{env, fs, process};

use crate::backtest::Trace;
use crate::examples::{EXAMPLES, TRACES};
use crate::model::forecast::{ForecastConfig, ForecastInput, WeekSlice};
use crate::model::metric::Milli;

const FORECASTS: u32 = 20_000;
const ROUNDS: u32 = 5;

fn main() {
    let other = env::temp_dir().join(format!("plimsoll-bench-{}", process::id()));
    fs::create_dir(&other).unwrap();
    let sets = examples::by_seed(&other);

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
    println!("\nthe daemon, simulated without and with the forecast; minutes above target");
    println!(
        "trace                      seed     replica-hours        minutes above target   \
         unmet load, %  fewer"
    );
    for (seed, folder) in &sets {
        for name in TRACES {
            let file = other.join(format!("of-{seed}-{name}"));
            fs::copy(folder.join(name), &file).unwrap();
            simulated(name, seed, &file, "UTC");
        }
    }
    cases(&other);
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

/// The whole daemon in simulated time, from the third week on.
fn simulated(name: &str, seed: &str, file: &Path, zone: &str) {
    let program =
        env::var("PLIMSOLL_BENCH_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_plimsoll").into());
    let text = fs::read_to_string(Path::new(EXAMPLES).join("forecast.json")).unwrap();
    let config = file.with_extension("json");
    // It changes nothing but the zone.
    let always = format!(
        r#""schedules": [{{ "name": "always", "days": ["mon", "tue", "wed", "thu", "fri", "sat",
            "sun"], "start": "00:00", "end": "23:59", "timezone": "{zone}", "min_replicas": 1,
            "max_replicas": 40 }}], "max_replicas": 40"#
    );
    fs::write(&config, text.replace(r#""max_replicas": 20"#, &always)).unwrap();
    let mut command = Command::new(&program);
    command.args(["simulate", "--forecast", "--json", "--start", "2026-03-02"]);
    command.args(["--start-up", "30s", "--load"]).arg(file).arg("--config").arg(&config);
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |run: &str, figure: &str| figures[run][figure].as_f64().unwrap();
    let (hours, hours_with) = (of("without", "replica_hours"), of("with", "replica_hours"));
    let (above, above_with) = (of("without", "above_s"), of("with", "above_s"));
    println!(
        "{name:<26} {seed:<7} {hours:>5.0} {hours_with:>5.0} {:>+5.1} % {:>6.0} {:>5.0} {:>+6.0} % \
         {:>7.3} {:>6.3} {:>6}",
        100.0 * (hours_with / hours - 1.0),
        above / 60.0,
        above_with / 60.0,
        100.0 * (above_with / above - 1.0),
        100.0 * of("without", "unmet"),
        100.0 * of("with", "unmet"),
        figures["fewer_replicas_at"],
    );
}

/// What goes wrong: each is the weekly trace with one thing changed.
fn cases(folder: &Path) {
    let text = fs::read_to_string(Path::new(EXAMPLES).join("weekly.csv")).unwrap();
    let rows: Vec<f64> = text.lines().filter_map(|l| l.split_once(',')?.1.parse().ok()).collect();
    let day = 288;
    let at = |row: usize| rows[row.min(rows.len() - 1)];
    let cases: [(&str, &dyn Fn(usize) -> f64); 4] = [
        // Tuesday of the second week, 9:00, and so in two of the weeks that are looked back on.
        ("two hours of outage", &|row| {
            if (8 * day + 108..8 * day + 132).contains(&row) { 0.0 } else { at(row) }
        }),
        ("twice as much", &|row| if row < 16 * day { at(row) } else { 2.0 * at(row) }),
        // Sunday of the fourth week, 2:00 in Berlin: from then on people come an hour earlier.
        ("clock change", &|row| if row < 27 * day + 24 { at(row) } else { at(row + 12) }),
        ("a rush in the second week", &|row| at(row) * if row / day == 9 { 2.0 } else { 1.0 }),
    ];
    for (name, load) in cases {
        let mut text = String::from("time_s,value\n");
        for row in 0..rows.len() {
            writeln!(text, "{},{:.1}", 300 * row, load(row)).unwrap();
        }
        let file = folder.join("case.csv");
        fs::write(&file, text).unwrap();
        simulated(name, "default", &file, "Europe/Berlin");
    }
}
