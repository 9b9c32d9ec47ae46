//! `plimsoll simulate --history`: what was recorded, today's config and another one.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::daemon::{Dir, PLIMSOLL, reached};
use crate::harness::Harness;
use crate::raw_http::To;

const DAY: i64 = 24 * 3600;
const SOON: Duration = Duration::from_secs(30);

/// The first second of this minute.
#[allow(clippy::disallowed_methods, reason = "the command's history ends now")]
fn minute() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs() as i64 / 60 * 60
}

/// A folder with a history of `web`, and configs for it.
struct Past {
    dir: Dir,
}

impl Past {
    fn new(name: &str) -> Past {
        let past = Past { dir: Dir::new(name) };
        past.config("today.json", json!({}));
        past
    }

    fn config(&self, file: &str, service: Value) -> PathBuf {
        let mut web = json!({
            "image": "a:1", "port": 80, "min_replicas": 1, "max_replicas": 4,
            "scale_up_threshold": 70, "scale_down_threshold": 40,
        });
        for (key, value) in service.as_object().unwrap() {
            web[key] = value.clone();
        }
        self.write(file, json!({ "web": web }))
    }

    fn write(&self, file: &str, services: Value) -> PathBuf {
        let at = |name: &str| self.dir.join(name).to_str().unwrap().to_owned();
        let config = json!({
            "autoscaler": { "state_dir": at("state"), "labels": false },
            "api": { "socket": at("api.sock") }, "services": services,
        });
        self.dir.write(file, &config.to_string())
    }

    /// Rows of so many minutes ago up to another, each of this load on two replicas.
    fn record(&self, metrics: &str, ago: std::ops::Range<i64>, fields: &str) {
        record(&self.dir, metrics, ago, fields);
    }

    fn simulate(&self, words: &str) -> Output {
        let today = self.dir.join("today.json");
        let words = words.split_whitespace().map(|word| {
            let file = self.dir.join(word);
            if word.ends_with(".json") || word.ends_with(".svg") {
                file.to_str().unwrap().to_owned()
            } else {
                word.to_owned()
            }
        });
        let mut command = Command::new(PLIMSOLL);
        command.arg("simulate").args(words).env("PLIMSOLL_CONFIG", today);
        command.stdin(Stdio::null()).output().unwrap()
    }

    #[track_caller]
    fn table(&self, words: &str) -> String {
        let out = self.simulate(words);
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout)
    }

    /// The runs of `--json`, and all of it.
    #[track_caller]
    fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.table(&format!("{words} --json"))).unwrap()
    }

    #[track_caller]
    fn refused(&self, words: &str, status: i32, want: &[&str]) {
        let out = self.simulate(words);
        let stderr = text(&out.stderr);
        assert_eq!(out.status.code(), Some(status), "{words}: {stderr}");
        for piece in want {
            assert!(stderr.contains(piece), "{words}: {piece}\n{stderr}");
        }
    }
}

fn record(dir: &Dir, metrics: &str, ago: std::ops::Range<i64>, fields: &str) {
    fs::create_dir_all(dir.join("state/history")).unwrap();
    let now = minute();
    for minutes in ago.rev() {
        let at = chrono::DateTime::from_timestamp(now - 60 * minutes, 0).unwrap();
        let name = format!("state/history/web-{}.csv", at.format("%Y-%m-%d"));
        let before = fs::read_to_string(dir.join(&name)).unwrap_or_default();
        let header = format!("# {metrics}\n");
        let head = if before.contains(&header) { "" } else { &header };
        let row = format!("{head}{},{fields}\n", at.timestamp().rem_euclid(DAY) / 60);
        dir.write(&name, &(before + &row));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

const CPU: &str = r#"[["cpu",70.0]]"#;
/// Two replicas, 120 % together.
const TWO: &str = "2,2,600,0,0,45,62,120,120";

#[test]
fn configs_are_compared_by_what_was_recorded() {
    let past = Past::new("what-if");
    past.record(CPU, 100..160, TWO);
    past.record(CPU, 1..61, TWO);
    past.config("lax.json", json!({ "scale_up_threshold": 150, "scale_down_threshold": 100 }));

    let alone = past.json("--history 1d");
    let names = |all: &Value| {
        let runs = all["runs"].as_array().unwrap();
        runs.iter().map(|run| run["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&alone), ["recorded", "today"], "{alone}");
    // A minute may begin meanwhile.
    let recorded = alone["recorded_s"].as_u64().unwrap();
    assert!([7200, 7200 - 60].contains(&recorded), "{alone}");
    assert_eq!(alone["asked_s"], 86_400);
    let gap = &alone["gaps"].as_array().unwrap()[..];
    assert_eq!(gap.len(), 1, "{alone}");

    let both = past.json("--history 1d --config lax.json --service web --svg both.svg");
    assert_eq!(names(&both), ["recorded", "today", "lax.json"], "{both}");
    let [was, today, lax] = [0, 1, 2].map(|i| &both["runs"][i]);
    assert!((was["replica_hours"].as_f64().unwrap() - 4.0).abs() < 0.05, "{was}");
    assert!((today["replica_hours"].as_f64().unwrap() - 4.0).abs() < 0.05, "{today}");
    assert!((lax["replica_hours"].as_f64().unwrap() - 2.0).abs() < 0.05, "{lax}");
    assert_eq!(was["above_s"], 0, "{was}");
    // By its own target it looks fine, by today's it does not.
    assert_eq!((&lax["above_own_target_s"], &lax["target"]), (&json!(0), &json!(150.0)), "{lax}");
    assert_eq!(lax["above_s"], both["recorded_s"], "{lax}");
    let svg = fs::read_to_string(past.dir.join("both.svg")).unwrap();
    assert!(svg.contains("lax.json") && svg.contains("class=\"gap\""), "{svg}");

    let table = past.table("--history 1d --config lax.json");
    let today = past.dir.join("today.json");
    for line in [
        " of 1d are recorded; a gap of 39m is left out\n",
        "above and unmet by a target of 70\n",
        "target                        70              70             150\n",
        &format!("today: {}\n", today.display()),
    ] {
        assert!(table.contains(line), "{line}\n{table}");
    }

    // Half a core has 120 % where a whole one has 60.
    past.config("half.json", json!({ "cpus": 0.5 }));
    let half = past.json("--history 1d --config half.json");
    assert!((half["runs"][2]["replica_hours"].as_f64().unwrap() - 8.0).abs() < 0.2, "{half}");

    past.config("same.json", json!({ "max_replicas": 4 }));
    let out = past.simulate("--history 1d --config same.json --json");
    let same: Value = serde_json::from_str(&text(&out.stdout)).unwrap();
    assert_eq!(names(&same), ["recorded", "today"], "{same}");
    let stderr = text(&out.stderr);
    assert!(stderr.contains("has the same settings for web as today's config"), "{stderr}");
}

#[test]
fn what_was_capped_is_marked() {
    let past = Past::new("what-if-capped");
    past.record(CPU, 1..61, "4,4,600,0,0,45,62,280,280");
    past.record(CPU, 61..100, "4,4,600,0,0,45,62,279,279");
    let capped = past.json("--history 2h");
    let bounds = capped["lower_bounds"].as_array().unwrap();
    assert_eq!((&capped["at_least"], bounds.len()), (&json!(true), 1), "{capped}");
    let table = past.table("--history 2h --capacity 200");
    assert!(table.contains("no more replicas could be added"), "{table}");
    past.config("today.json", json!({ "max_replicas": 5 }));
    assert_eq!(past.json("--history 2h")["at_least"], json!(false));
}

#[test]
fn what_cannot_be_compared_is_refused_with_the_reason() {
    let past = Past::new("what-if-refused");
    let nothing = ["no load history of web in ", "writes the first row within two minutes"];
    past.refused("--history 14d", 1, &nothing);
    past.record(CPU, 1..61, TWO);
    assert_eq!(past.json("--history 10m")["asked_s"], 600);

    let sessions = json!({ "source": "haproxy", "field": "sessions", "target": 9 });
    let time = json!({ "source": "haproxy", "field": "response_time_ms", "target": 9 });
    let without_band = |file: &str, metrics: Value| {
        let mut web = json!({ "image": "a:1", "port": 80, "min_replicas": 1, "max_replicas": 4 });
        web["metrics"] = metrics;
        past.write(file, json!({ "web": web }));
    };
    without_band("sessions.json", json!([sessions]));
    without_band("time.json", json!([time]));
    let never = "web: no load by haproxy sessions is recorded; recorded are: cpu";
    past.refused("--history 1d --config sessions.json", 1, &[never]);
    let time =
        ["web: haproxy response_time_ms cannot be replayed: ", ", or give a trace with --load"];
    past.refused("--history 1d --config time.json", 1, &time);
    // From then on it is recorded, in other minutes than the other one.
    past.record(r#"[["haproxy sessions",9.0]]"#, 61..91, TWO);
    past.refused("--history 1d --config sessions.json", 1, &["in the same minute"]);
    let out = past.simulate("--history 1d");
    let (later, before) =
        ("web: cpu is recorded since ", " only; before that there is haproxy sessions");
    let stderr = text(&out.stderr);
    assert!(stderr.contains(later) && stderr.contains(before), "{stderr}");

    past.write(
        "shop.json",
        json!({ "shop": { "image": "a:1", "port": 80, "min_replicas": 1,
        "max_replicas": 1 } }),
    );
    let missing = ["shop.json has a service `shop` and today's config, ", "today.json, has none"];
    past.refused("--history 1d --config shop.json", 1, &missing);
    past.refused("--history 1d --service shop", 1, &["the config has no service shop"]);
    past.refused("--history 1d --config none.json", 1, &["none.json"]);
    past.refused("--history 1d --start 2026-03-02", 2, &["--start goes with --load"]);
    let folder = ["cannot write ", "none/both.svg: there is no folder "];
    past.refused("--history 1d --svg none/both.svg", 1, &folder);
    let weeks = ["--history needs more than 14d with --forecast, for example 28d"];
    past.refused("--history 14d --forecast", 2, &weeks);
    let weeks = ["web: the recorded load goes back ", "; the first 14d are", "come back in 14d"];
    past.refused("--history 28d --forecast", 1, &weeks);
    past.refused("--history 1d --capacity 0", 2, &["--capacity"]);
    past.refused("--history 1d --load a.csv", 2, &["not both"]);
    past.refused("--history fortnight", 2, &["not a duration from 10m to 366d"]);

    fs::remove_dir_all(past.dir.join("state/history")).unwrap();
    past.dir.write("state/history", "");
    past.refused("--history 14d", 1, &["cannot read the load history in "]);
}

#[test]
fn todays_config_is_that_of_the_daemon_that_runs() {
    let mut harness = Harness::without_docker("what-if-daemon");
    harness.set("/autoscaler/check_interval", json!(15));
    for (key, value) in
        [("max_replicas", 3), ("scale_up_threshold", 70), ("scale_down_threshold", 40)]
    {
        harness.set(&format!("/services/web/{key}"), json!(value));
    }
    record(&harness.dir, CPU, 1..61, TWO);
    let daemon = harness.start();
    let control = To::Unix(harness.dir.join("api.sock"));
    daemon.wait(&["listening on"], SOON);
    assert!(reached(SOON, || control.get("/status").status == 200), "{:#?}", daemon.lines());
    harness.set("/services/web/max_replicas", json!(1));
    let new = harness.dir.write("new.json", &harness.config.to_string());
    let new = new.to_str().unwrap();
    let ask = |variable: Option<&str>| {
        let mut command = Command::new(PLIMSOLL);
        command.args(["simulate", "--history", "1h", "--json", "--config", new]);
        command.env_remove("PLIMSOLL_CONFIG").envs(variable.map(|file| ("PLIMSOLL_CONFIG", file)));
        let out = command.stdin(Stdio::null()).output().unwrap();
        let answer: Value = serde_json::from_str(&text(&out.stdout))
            .unwrap_or_else(|_| panic!("{}", text(&out.stderr)));
        let is_alone =
            text(&out.stderr).contains("new.json stands for today's config; name today's");
        (answer["runs"].clone(), is_alone)
    };
    let file = harness.dir.join("config.json");
    let (runs, is_alone) = ask(None);
    assert!(!is_alone);
    assert_eq!(runs[1]["config"], json!(file), "{runs}");
    assert_eq!((&runs[1]["peak"], &runs[2]["peak"]), (&json!(2), &json!(1)), "{runs}");
    drop(daemon);
    // Nobody answers, and the default is of another state folder: then there is only this one.
    let elsewhere = harness.dir.write("other.json", r#"{ "services": {} }"#);
    let (runs, is_alone) = ask(elsewhere.to_str());
    assert!(is_alone);
    assert_eq!((&runs[1]["config"], &runs[2]), (&json!(new), &Value::Null), "{runs}");
    // One of the same folder is today's.
    let (runs, is_alone) = ask(file.to_str());
    assert!(!is_alone);
    assert_eq!(runs[1]["config"], json!(file), "{runs}");
    assert_eq!(runs[2]["name"], "new.json", "{runs}");
}
