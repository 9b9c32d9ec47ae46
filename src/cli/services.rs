//! `plimsoll services`: each service, and where its settings come from.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::args::cli_command::DaemonAddr;
use crate::cli::client;
use crate::cli::output::say;
use crate::cli::table::{ended, hanging, plain, table, word};
use crate::cli::width;

pub(crate) fn services(json: bool, to: &DaemonAddr) -> ExitCode {
    let status = match client::get(to, "/status") {
        Ok(status) => status,
        Err(code) => return code,
    };
    if json {
        let document = json!({ "services": status["services"], "labels": status["labels"] });
        return say(&format!("{document:#}\n"));
    }
    say(&text(&status, width::of_terminal().unwrap_or(usize::MAX)))
}

fn text(status: &Value, width: usize) -> String {
    let services = entries(&status["services"]);
    if services.is_empty() {
        return none(status, width);
    }
    let rows: Vec<[String; 6]> = services.into_iter().map(row).collect();
    let heads = ["SERVICE", "SETTINGS FROM", "RUNS", ">PORT", "REPLICAS", "REACHED BY"];
    let mut out: String = table(heads, &rows, width).iter().map(|lines| ended(lines)).collect();
    out += &problems(status, width);
    out
}

fn none(status: &Value, width: usize) -> String {
    let words = "no services: label a service of a compose file (plimsoll.port, plimsoll.host, \
                 plimsoll.max), or write the config file";
    ended(&hanging("", words, width)) + &problems(status, width)
}

fn entries(value: &Value) -> Vec<&Value> {
    value.as_array().into_iter().flatten().collect()
}

fn row(service: &Value) -> [String; 6] {
    let bounds = [&service["min"], &service["max"]].map(word);
    let listen = service["listen"].as_str().map(str::to_owned);
    let routes = entries(&service["routes"]).into_iter().map(word);
    let ways: Vec<String> = listen.into_iter().chain(routes).collect();
    let reached = if ways.is_empty() { "nothing".to_owned() } else { ways.join(", ") };
    [
        word(&service["name"]),
        word(&service["source"]),
        word(&service["origin"]),
        word(&service["port"]),
        bounds.join(" to "),
        reached,
    ]
}

/// What is wrong with labels, below the table.
fn problems(status: &Value, width: usize) -> String {
    let mut out = String::new();
    for verdict in entries(&status["labels"]) {
        let errors = entries(&verdict["errors"]);
        let warnings = entries(&verdict["warnings"]);
        if errors.is_empty() && warnings.is_empty() {
            continue;
        }
        let so = match verdict["outcome"].as_str() {
            Some("last_good") => "its labels are refused, the last good ones stay in force",
            Some("rejected") => "its labels are refused, it is not taken",
            _ => "its labels have a warning",
        };
        out += &format!("\n{}: {so}\n", plain(&word(&verdict["service"])));
        for problem in errors.into_iter().chain(warnings) {
            out += &ended(&hanging("  ", &word(problem), width));
        }
    }
    out
}
