//! `plimsoll explain`: the last decision, number by number.

use std::process::ExitCode;

use serde_json::Value;

use crate::cli::args::cli_command::DaemonAddr;
use crate::cli::client;
use crate::cli::output::{say, show_painted};
use crate::cli::paint::Paint;
use crate::cli::table::{
    amount, awaited, cut, ended, hanging, operator_lines, preemption_lines, table, word,
};
use crate::cli::{forecast, problems, width};

const NAME_WIDTH: usize = 32;

pub(crate) fn explain(service: &str, json: bool, to: &DaemonAddr) -> ExitCode {
    let document = client::path(service, "/explain").and_then(|path| client::get(to, &path));
    match document {
        Ok(document) if json => say(&format!("{document:#}\n")),
        Ok(document) => {
            let paint = Paint::for_stdout();
            let text = text(&document, paint, width::of_stdout());
            show_painted(&text, paint).err().unwrap_or(ExitCode::SUCCESS)
        }
        Err(code) => code,
    }
}

fn text(record: &Value, paint: Paint, width: usize) -> String {
    let at = |key: &str| word(&record[key]);
    let number = if record["from"] == record["desired"] {
        format!("stays at {}", at("desired"))
    } else {
        format!("goes from {} to {}", at("from"), at("desired"))
    };
    let mut out = format!("{} {number}: {}, at {}\n\n", at("service"), at("reason"), at("at"));
    let counts = &record["replicas"];
    let count = |key: &str| word(&counts[key]);
    let ready = count("ready");
    let unready = count("unready");
    let leaving = count("leaving");
    let unhealthy = counts["unhealthy"].as_u64().filter(|count| 0 < *count);
    let unhealthy = unhealthy.map(|count| format!("{count} unhealthy, ")).unwrap_or_default();
    out += &format!(
        "replicas  {ready} ready, {unready} not ready yet, {unhealthy}{leaving} leaving\n"
    );
    let window = record["window"].as_str();
    let window = window.map(|name| format!(", by schedule {name}")).unwrap_or_default();
    let by_load = if record["scaling"] == false { "; not scaled by load now" } else { "" };
    out += &format!("bounds    {} to {}{window}{by_load}\n", at("min"), at("max"));
    for line in operator_lines(record) {
        out += &format!("command   {line}\n");
    }
    for line in preemption_lines(record) {
        out += &format!("priority  {}: {line}\n", at("priority"));
    }
    for line in forecast::lines(&record["forecast"]) {
        out += &ended(&hanging("forecast  ", &line, width));
    }
    let problems = problems::lines(&problems::of(record, None), &record["at"], paint, width);
    if !problems.is_empty() {
        out += &format!("\n{}", ended(&problems));
    }
    out + &replicas(record, width)
        + &metrics(record, width)
        + &rules(record, width)
        + &outlook(record)
}

/// How each replica counted, with its readings.
fn replicas(record: &Value, width: usize) -> String {
    let percent = |value: &Value| amount(value, &Value::from("%"));
    let row = |seen: &Value| {
        let name = cut(&word(&seen["name"]), NAME_WIDTH);
        let class = awaited(&seen["class"], &seen["waits_for"]);
        [name, percent(&seen["cpu_percent"]), percent(&seen["memory_percent"]), class]
    };
    let all: Vec<[String; 4]> = record["seen"].as_array().into_iter().flatten().map(row).collect();
    if all.is_empty() {
        return String::new();
    }
    format!(
        "\n{}",
        ended(&table(["replica", ">cpu", ">memory", "counts as"], &all, width).concat())
    )
}

fn metrics(record: &Value, width: usize) -> String {
    let row = |metric: &Value| {
        let why = if metric["error"].is_null() { &metric["text"] } else { &metric["error"] };
        [
            cut(&word(&metric["name"]), NAME_WIDTH),
            amount(&metric["value"], &metric["unit"]),
            amount(&metric["target"], &metric["unit"]),
            amount(&metric["ratio"], &Value::Null),
            word(&metric["proposal"]),
            word(why),
        ]
    };
    let all: Vec<[String; 6]> =
        record["metrics"].as_array().into_iter().flatten().map(row).collect();
    if all.is_empty() {
        return String::new();
    }
    let heads = ["metric", ">value", ">target", ">ratio", ">proposes", "because"];
    format!("\n{}", ended(&table(heads, &all, width).concat()))
}

fn rules(record: &Value, width: usize) -> String {
    let row = |rule: &Value| [word(&rule["replicas"]), word(&rule["reason"]), word(&rule["text"])];
    let all: Vec<[String; 3]> = record["rules"].as_array().into_iter().flatten().map(row).collect();
    format!("\n{}", ended(&table([">replicas", "reason", "rule, in order"], &all, width).concat()))
}

/// What keeps the load from changing the number, if anything does.
fn outlook(record: &Value) -> String {
    let name = word(&record["service"]);
    let words = if !record["hold"].is_null() {
        format!("to scale by load again: `plimsoll scale {name} auto`")
    } else if !record["pause"].is_null() {
        format!("to scale by load again: `plimsoll resume {name}`")
    } else if record["min"] == record["max"] {
        "min and max are equal now, so the load cannot change the number".to_owned()
    } else if record["scaling"] == false {
        "the load changes nothing until business hours begin".to_owned()
    } else {
        return String::new();
    };
    format!("\n{words}\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::cli::explain::text;
    use crate::cli::paint::Paint;

    #[test]
    fn a_decision_is_shown_number_by_number() {
        let mut record = json!({
            "service": "web", "at": "2026-11-23T10:18:57Z", "from": 2, "desired": 4,
            "reason": "ScaleUpLimit", "min": 1, "max": 8, "scaling": true, "window": "monday",
            "replicas": { "ready": 2, "unready": 1, "leaving": 0 },
            "seen": [
                { "name": "web-1", "class": "ready", "cpu_percent": 210.5,
                  "memory_percent": null },
                { "name": "web-2", "class": "unready", "cpu_percent": null,
                  "memory_percent": null },
            ],
            "hold": null, "pause": null,
            "metrics": [
                { "name": "cpu", "unit": "%", "value": 210.5, "target": 70.0, "ratio": 3.007,
                  "proposal": 7, "text": "cpu 210.5% for a target of 70%", "error": null },
                { "name": "memory", "unit": "%", "value": null, "target": 80.0, "ratio": null,
                  "proposal": null, "text": "memory is unavailable", "error": "no limit" },
            ],
            "rules": [
                { "reason": "DesiredWithinRange", "text": "cpu 210.5% for a target of 70%",
                  "replicas": 7 },
                { "reason": "ScaleUpLimit", "text": "at most 2 more in 15s", "replicas": 4 },
            ],
        });
        let want = "\
web goes from 2 to 4: ScaleUpLimit, at 2026-11-23T10:18:57Z

replicas  2 ready, 1 not ready yet, 0 leaving
bounds    1 to 8, by schedule monday

replica     cpu  memory  counts as
web-1    210.5%       -  ready
web-2         -       -  unready

metric   value  target  ratio  proposes  because
cpu     210.5%     70%   3.01         7  cpu 210.5% for a target of 70%
memory       -     80%      -         -  no limit

replicas  reason              rule, in order
       7  DesiredWithinRange  cpu 210.5% for a target of 70%
       4  ScaleUpLimit        at most 2 more in 15s
";
        assert_eq!(text(&record, Paint::none(), 100), want);
        record["desired"] = json!(2);
        record["scaling"] = json!(false);
        let still = text(&record, Paint::none(), 100);
        assert!(still.starts_with("web stays at 2: "), "{still}");
        assert!(still.ends_with("\nthe load changes nothing until business hours begin\n"));
        let step = json!({ "step": "used", "for_s": 61 });
        let one = |victim: &str, to: &str| {
            let mut one = step.clone();
            one["victim"] = json!(victim);
            one["beneficiary"] = json!(to);
            one
        };
        record["priority"] = json!(40);
        record["preemptions"] = json!([one("web", "api"), one("cron", "web")]);
        let given = text(&record, Paint::none(), 100);
        let line = "priority  40: gave a replica up for api (used for 1m 1s)\n\
                    priority  40: got a replica of cron (used for 1m 1s)\n";
        assert!(given.contains(line), "{given}");
        record["pause"] = json!({ "left_s": 61 });
        assert!(text(&record, Paint::none(), 100).contains("\ncommand   paused for 1m 1s more\n"));
        assert!(text(&record, Paint::none(), 100).ends_with("again: `plimsoll resume web`\n"));
    }
}
