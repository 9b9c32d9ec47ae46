//! What the advice and the forecast make of the traces beside the examples, and of two of another
//! seed that nothing was adjusted to. Each is written as a load history that ends now. The advice
//! is chosen by the third and fourth of six weeks, the forecast knows those before the time it
//! speaks of, and all figures are of the last two.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may panic")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod examples;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs, process};

use chrono::DateTime;
use serde_json::{Map, Value, json};

use crate::examples::TRACES;

const DAYS: u64 = 42;
const DAY_S: u64 = 86_400;

fn main() {
    let folder = env::temp_dir().join(format!("plimsoll-bench-traces-{}", process::id()));
    let other = folder.join("other");
    fs::create_dir_all(&other).unwrap();
    println!("the last two of six weeks; above target in minutes, load unmet in %");
    println!("trace       seed     settings           replica-hours   above  unmet  changes");
    for (seed, traces) in examples::by_seed(&other) {
        for name in TRACES {
            write_history(&folder, &fs::read_to_string(traces.join(name)).unwrap());
            compare(&folder, name, seed);
        }
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// As the daemon writes it, of a service that ran at its target.
fn write_history(folder: &Path, trace: &str) {
    let rows = trace.lines().filter_map(|line| line.split_once(','));
    let rows: BTreeMap<u64, f64> =
        rows.filter_map(|(at, load)| Some((at.parse().ok()?, load.parse().ok()?))).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let begin = now / DAY_S * DAY_S - (DAYS - 1) * DAY_S;
    let history = folder.join("history");
    fs::create_dir_all(&history).unwrap();
    for day in 0..DAYS {
        let mut text = String::from("# [[\"cpu\",70.0]]\n");
        let first = day * DAY_S;
        for minute in (0..1440).filter(|minute| begin + first + 60 * minute + 60 <= now) {
            let (_, load) = rows.range(..=first + 60 * minute).next_back().unwrap();
            let n = (load / 70.0).ceil().max(1.0);
            writeln!(text, "{minute},{n},{n},600,0,0,50,40,{load},{load}").unwrap();
        }
        let day = DateTime::from_timestamp((begin + first).cast_signed(), 0).unwrap();
        fs::write(history.join(format!("web-{}.csv", day.format("%Y-%m-%d"))), text).unwrap();
    }
}

fn compare(folder: &Path, trace: &str, seed: &str) {
    let today = config(folder, "today", &Map::new());
    let advice = figures(&["advise", "web", "--since", "28d"], &today);
    let advised = config(folder, "advised", advice["keys"].as_object().unwrap_or(&Map::new()));
    let what_if = figures(&["simulate", "--history", "14d"], &advised);
    let run = what_if["runs"].as_array().unwrap().iter().find(|run| run["name"] != "recorded");
    let run = run.unwrap();
    let changes = run["up"].as_u64().unwrap() + run["down"].as_u64().unwrap();
    let forecast = figures(&["simulate", "--history", "28d", "--forecast"], &today);
    let both = figures(&["simulate", "--history", "28d", "--forecast"], &advised);
    let without = hours(&forecast["without"]);
    let row = |settings: &str, run: &Value, unmet: f64, changes: &Value| {
        let above = run["above_s"].as_f64().unwrap() / 60.0;
        let hours = hours(run);
        let more = 100.0 * (hours / without - 1.0);
        println!(
            "{trace:<11} {seed:<8} {settings:<19} {hours:>5.0} {more:>+5.1} % {above:>7.0} \
             {unmet:>6.3} {changes:>8}"
        );
    };
    for (settings, run) in [("as it is", &forecast["without"]), ("forecast", &forecast["with"])] {
        row(settings, run, 100.0 * run["unmet"].as_f64().unwrap(), &run["changes"]);
    }
    row("advice", run, run["unmet_percent"].as_f64().unwrap(), &json!(changes));
    let with = &both["with"];
    row("advice + forecast", with, 100.0 * with["unmet"].as_f64().unwrap(), &with["changes"]);
    println!("{:<20} {}", "", advice["advice"].as_str().unwrap());
}

fn hours(run: &Value) -> f64 {
    run["replica_hours"].as_f64().unwrap()
}

/// What `forecast.json` of the examples has, with these keys of the service.
fn config(folder: &Path, name: &str, keys: &Map<String, Value>) -> PathBuf {
    let mut service = json!({
        "image": "shop/web:1.4", "port": 8080, "min_replicas": 1, "max_replicas": 20,
        "scale_up_threshold": 70, "scale_down_threshold": 40,
        "cooldown_period": { "up": 15, "down": "2m" },
        "health_check": { "start_period": "2m" }, "cpus": 0.5,
        "forecast": { "horizon": "10m", "percentile": 90 },
    });
    service.as_object_mut().unwrap().extend(keys.clone());
    let config =
        json!({ "autoscaler": { "state_dir": folder.to_str() }, "services": { "web": service } });
    let path = folder.join(format!("{name}.json"));
    fs::write(&path, config.to_string()).unwrap();
    path
}

/// What a command prints as JSON.
fn figures(args: &[&str], config: &Path) -> Value {
    let program =
        env::var("PLIMSOLL_BENCH_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_plimsoll").into());
    let mut command = Command::new(program);
    command.args(args).args(["--start-up", "30s", "--json", "--config"]).arg(config);
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}
