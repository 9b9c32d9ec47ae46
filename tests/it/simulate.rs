//! `plimsoll simulate`: what it prints and draws for the traces in contrib, and how it refuses.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::daemon::{Dir, plimsoll};
use crate::golden;

const CONFIG: &str = "contrib/examples/simulate.json";
/// Half an hour before the office hours of the config end.
const SPIKE: [&str; 4] = ["--load", "contrib/examples/spike.csv", "--start", "2026-03-02T17:30"];
const DAY: [&str; 4] = ["--load", "contrib/examples/day.csv", "--start", "2026-03-02"];
/// In seconds.
const WEEKS: u64 = 3 * 7 * 24 * 3600;
const PICTURE: &str = "contrib/examples/spike.svg";
const PICTURE_BYTES_MAX: usize = 60_000;

fn simulate(config: &str, more: &[&str]) -> Output {
    plimsoll(&[&["simulate", "--config", config], more].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Everything a run says; folders of this run are called `DIR`.
fn shown(dir: &Dir, config: &str, more: &[&str]) -> String {
    let out = simulate(config, more);
    let line = [&["$ plimsoll simulate --config", config], more].concat().join(" ");
    let stdout = text(&out.stdout);
    let stderr = text(&out.stderr);
    let status = out.status.code().unwrap();
    let all = format!("{line}\n{stdout}--- stderr\n{stderr}--- status {status}\n");
    all.replace(dir.path().to_str().unwrap(), "DIR")
}

#[track_caller]
fn check(name: &str, got: &str) {
    golden::check(&Path::new("tests/it/golden").join(format!("{name}.txt")), got);
}

#[test]
fn the_traces_in_contrib_give_what_is_written() {
    let dir = Dir::new("simulate");
    let slow = [&SPIKE[..], &["--start-up", "90s"]].concat();
    let runs = [&SPIKE[..], &slow, &DAY];
    let got: Vec<String> = runs.map(|run| shown(&dir, CONFIG, run)).into();
    check("simulate", &got.join("\n"));
}

#[test]
fn a_program_gets_one_object_for_each_evaluation() {
    let mut changes = String::new();
    // The bounds of the day change at 07:50, which is at an evaluation.
    for (run, looks) in [(SPIKE, 240), (DAY, 5760)] {
        let out = simulate(CONFIG, &[&run[..], &["--json"]].concat());
        assert!(out.status.success(), "{}", text(&out.stderr));
        let mut seen = 0;
        let mut desired = None;
        for line in text(&out.stdout).lines() {
            let object: Value = serde_json::from_str(line).unwrap();
            let keys: Vec<&str> = line.split('"').filter(|key| object.get(key).is_some()).collect();
            assert_eq!(keys, ["t", "replicas", "desired", "value", "reason"], "{line}");
            let now = object["desired"].as_u64();
            let is_change = desired.is_none_or(|before| before != now);
            let t = object["t"].as_f64().unwrap();
            let next = f64::from(seen * 15);
            // Between two evaluations there are rows of changes only, as by an early one.
            assert!(t == next || t < next && is_change, "{line}");
            seen += u32::from(t == next);
            if is_change {
                changes += &format!("{line}\n");
            }
            desired = Some(now);
        }
        assert_eq!(seen, looks);
    }
    check("simulate-json", &changes);
}

#[test]
fn what_changes_between_two_evaluations_is_reported() {
    let dir = Dir::new("simulate");
    // The office hours begin five seconds before an evaluation.
    let trace = dir.write("low.csv", "0,20\n60,20\n");
    let trace = trace.to_str().unwrap();
    let run = ["--load", trace, "--start", "2026-03-02T07:49:40", "--json"];
    let out = text(&simulate(CONFIG, &run).stdout);
    let times: Vec<String> =
        out.lines().map(|line| line.split(['{', ',', '}']).take(4).collect()).collect();
    assert_eq!(
        times,
        [
            r#""t":0"replicas":1"desired":1"#,
            r#""t":15"replicas":1"desired":1"#,
            r#""t":20"replicas":1"desired":3"#,
            r#""t":30"replicas":3"desired":3"#,
            r#""t":45"replicas":3"desired":3"#,
        ]
    );
    assert!(out.lines().nth(2).unwrap().ends_with(r#""reason":"TooFewReplicas"}"#), "{out}");
}

#[test]
fn the_picture_in_contrib_is_what_the_command_draws() {
    let dir = Dir::new("simulate");
    let file = dir.join("spike.svg");
    let out = simulate(CONFIG, &[&SPIKE[..], &["--svg", file.to_str().unwrap()]].concat());
    assert!(out.status.success(), "{}", text(&out.stderr));
    let got = fs::read_to_string(&file).unwrap();
    assert!(got.len() <= PICTURE_BYTES_MAX, "{} bytes", got.len());
    golden::check(Path::new(PICTURE), &got);
}

#[test]
fn the_same_input_gives_the_same_output() {
    let [one, other] = [0, 1].map(|_| simulate(CONFIG, &[&DAY[..], &["--json"]].concat()));
    assert_eq!(one, other);
}

#[test]
fn a_run_that_cannot_be_is_refused_with_the_reason() {
    let dir = Dir::new("simulate");
    let file = |name: &str, text: &str| dir.write(name, text).to_str().unwrap().to_owned();
    let bad = file("bad.csv", "time_s,value\n0,5\n15,many\n");
    let year = file("year.csv", "0,5\n31000000,5\n");
    let quick = file(
        "quick.json",
        r#"{ "autoscaler": { "check_interval": 5 }, "services": {
             "web": { "image": "a:1", "port": 80, "min_replicas": 1, "max_replicas": 1 } } }"#,
    );
    let load = ["--load", "contrib/examples/spike.csv"];
    let with = |more: &[&'static str]| [&load[..], more].concat();
    let two = "tests/configs/good/two-services.json";
    let runs = [
        (CONFIG, vec!["--load", &bad]),
        (CONFIG, vec!["--load", "none.csv"]),
        (&quick, vec!["--load", &year]),
        (CONFIG, with(&["--service", "shop"])),
        (two, with(&[])),
        (two, with(&["--service", "none"])),
        ("tests/configs/good/none.json", with(&[])),
        ("tests/configs/bad/several.json", with(&[])),
        (CONFIG, with(&["--start", "tomorrow"])),
        (CONFIG, with(&["--start-up", "2 hours"])),
        (CONFIG, with(&["--start-up", "61m"])),
        (CONFIG, with(&["--capacity", "0"])),
        (CONFIG, with(&["--capacity", "much"])),
        (CONFIG, vec![]),
    ];
    let got: Vec<String> = runs.iter().map(|(config, run)| shown(&dir, config, run)).collect();
    check("simulate-refused", &got.join("\n"));
}

#[test]
fn what_cannot_be_drawn_or_is_not_simulated_is_reported() {
    let dir = Dir::new("simulate");
    let trace = dir.write("short.csv", "0,85\n60,85\n");
    let trace = trace.to_str().unwrap();
    let service = r#""image": "a:1", "port": 80, "min_replicas": 2,"#;
    let config = |name: &str, more: &str| {
        let text = format!(r#"{{ "services": {{ "web": {{ {service} {more} }} }} }}"#);
        dir.write(name, &text).to_str().unwrap().to_owned()
    };
    let fixed = config("fixed.json", r#""max_replicas": 2"#);
    let several = config(
        "several.json",
        r#""max_replicas": 4, "scale_up_threshold": 70, "scale_down_threshold": 20,
           "metrics": [{ "source": "memory", "target": 60 },
                       { "source": "haproxy", "field": "sessions", "target": 9 }]"#,
    );
    let at = ["--start", "2026-03-02", "--load", trace];
    let nowhere = dir.join("no/such.svg");
    let drawn = [&at[..], &["--svg", nowhere.to_str().unwrap()]].concat();
    let runs = [(&fixed, &at[..]), (&several, &at), (&fixed, &drawn)];
    let got: Vec<String> = runs.iter().map(|(config, run)| shown(&dir, config, run)).collect();
    check("simulate-undrawn", &got.join("\n"));
}

#[test]
fn the_forecast_halves_the_time_above_target_for_a_twentieth_more() {
    // The third week, by the two before it, evaluated each minute: the benchmark has all of both
    // traces, and two that nothing was adjusted to.
    let dir = Dir::new("simulate-forecast");
    let config = fs::read_to_string("contrib/examples/forecast.json").unwrap();
    let config =
        config.replace(r#""history": "90d","#, r#""history": "90d", "check_interval": 60,"#);
    assert!(config.contains("check_interval"), "{config}");
    let config = dir.write("forecast.json", &config);
    let weekly = fs::read_to_string("contrib/examples/weekly.csv").unwrap();
    let weeks = |line: &&str| line.split(',').next().and_then(|at| at.parse().ok()) <= Some(WEEKS);
    let weekly: Vec<&str> = weekly.lines().filter(weeks).collect();
    let load = dir.write("weekly.csv", &(weekly.join("\n") + "\n"));
    let more = ["--forecast", "--json", "--start", "2026-03-02", "--start-up", "30s", "--load"];
    let out = simulate(config.to_str().unwrap(), &[&more[..], &[load.to_str().unwrap()]].concat());
    assert!(out.status.success(), "{}", text(&out.stderr));
    let figures: Value = serde_json::from_slice(&out.stdout).unwrap();
    let of = |figure: &str| ["without", "with"].map(|run| figures[run][figure].as_f64().unwrap());
    let [without, with] = of("above_s");
    assert!(600.0 < without && with <= without / 2.0, "{figures}");
    let [without, with] = of("replica_hours");
    assert!(700.0 < without && with <= without * 1.05, "{figures}");
    assert_eq!(figures["fewer_replicas_at"], 0, "{figures}");
}
