//! `plimsoll status`: how every service stands, or one with its replicas.

use std::process::ExitCode;

use chrono::DateTime;
use serde_json::Value;

use crate::cli::args::Whom;
use crate::cli::table::{amount, cut, orders, span, table, word};
use crate::cli::{ask, say};

const NAME_WIDTH: usize = 16;

pub(crate) fn status(service: Option<&str>, json: bool, to: &Whom) -> ExitCode {
    match shown(service, json, to) {
        Ok(text) => say(&text),
        Err(code) => code,
    }
}

fn shown(service: Option<&str>, json: bool, to: &Whom) -> Result<String, ExitCode> {
    let one = service.map(|name| ask::get(to, &ask::path(name, "/stats")?)).transpose()?;
    if let Some(one) = one.as_ref().filter(|_| json) {
        return Ok(format!("{one:#}\n"));
    }
    let all = ask::get(to, "/status")?;
    Ok(match one {
        _ if json => format!("{all:#}\n"),
        Some(one) => format!("{}\n{}", services(&all, &[&one]), replicas(&one)),
        None => {
            let each: Vec<&Value> = all["services"].as_array().into_iter().flatten().collect();
            format!("{}\n{}", daemon(&all), services(&all, &each))
        }
    })
}

/// What concerns all services.
fn daemon(all: &Value) -> String {
    let uptime = span(all["uptime_s"].as_u64().unwrap_or(0));
    let (version, config) = (word(&all["version"]), word(&all["config"]));
    let interval = amount(&all["check_interval_s"], &Value::from("s"));
    let mut out = format!("plimsoll {version}, up {uptime}, looks every {interval}\n{config}\n");
    if all["dry_run"] == true {
        out += "a dry run: nothing is changed\n";
    }
    if let Some(error) = all["docker"]["error"].as_str() {
        out += &format!("docker does not answer: {error}\n");
    }
    if all["haproxy"]["answers"] == false {
        out += "haproxy does not answer\n";
    }
    let orphans: Vec<String> = all["orphans"].as_array().into_iter().flatten().map(word).collect();
    if !orphans.is_empty() {
        out += &format!("not in the config, and running on: {}\n", orphans.join(", "));
    }
    out
}

fn services(all: &Value, services: &[&Value]) -> String {
    let row = |service: &&Value| {
        [
            word(&service["name"]),
            word(&service["ready"]),
            word(&service["wanted"]),
            word(&service["min"]),
            word(&service["max"]),
            load(service),
            hours(service),
            change(&all["at"], &service["last_change"]),
        ]
    };
    let rows: Vec<[String; 8]> = services.iter().map(row).collect();
    let heads = ["service", ">ready", ">wanted", ">min", ">max", "load", "schedule", "last change"];
    let mut out = table(heads, &rows);
    for service in services {
        for order in orders(service) {
            let line = format!("{}: {order}", word(&service["name"]));
            out += &format!("{}\n", cut(&line, crate::cli::table::WIDTH));
        }
    }
    out
}

/// The metric that asks for most, against its target.
fn load(service: &Value) -> String {
    let metrics: Vec<&Value> = service["metrics"].as_array().into_iter().flatten().collect();
    let proposal = |metric: &&&Value| metric["proposal"].as_u64();
    let Some(most) = metrics.iter().rev().max_by_key(proposal) else { return "-".to_owned() };
    let (value, target) = (&most["value"], &most["target"]);
    let name = cut(&word(&most["name"]), NAME_WIDTH);
    let (value, target) = (amount(value, &most["unit"]), amount(target, &most["unit"]));
    let more = if 1 < metrics.len() { format!(" +{}", metrics.len() - 1) } else { String::new() };
    format!("{name} {value}/{target}{more}")
}

/// The schedule that gave the bounds, and whether load counts.
fn hours(service: &Value) -> String {
    let window = cut(&word(&service["window"]), NAME_WIDTH);
    if service["scaling"] == false { format!("{window} (not by load)") } else { window }
}

fn change(now: &Value, change: &Value) -> String {
    if change.is_null() {
        return "-".to_owned();
    }
    let at = |value: &Value| DateTime::parse_from_rfc3339(value.as_str()?).ok();
    let ago = at(now).zip(at(&change["at"])).map(|(now, at)| (now - at).num_seconds());
    let ago = span(u64::try_from(ago.unwrap_or(0)).unwrap_or(0));
    let (from, to) = (word(&change["from"]), word(&change["to"]));
    format!("{from}->{to} {ago} ago: {}", word(&change["text"]))
}

fn replicas(service: &Value) -> String {
    let percent = Value::from("%");
    let row = |replica: &Value| {
        [
            word(&replica["name"]),
            word(&replica["container"]),
            word(&replica["state"]),
            word(&replica["address"]),
            amount(&replica["cpu_percent"], &percent),
            amount(&replica["memory_percent"], &percent),
            word(&replica["sessions"]),
        ]
    };
    let all = service["replicas"].as_array().into_iter().flatten();
    let rows: Vec<[String; 7]> = all.map(row).collect();
    table(["replica", "container", "state", "address", ">cpu", ">memory", ">sessions"], &rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::cli::status::{daemon, replicas, services};

    #[test]
    fn services_stand_in_a_table() {
        let all = json!({
            "version": "1.2.3", "uptime_s": 7500, "check_interval_s": 15.0, "config": "/etc/c",
            "at": "2026-11-23T10:00:30Z", "dry_run": true, "docker": { "error": "it is gone" },
            "haproxy": { "answers": false }, "orphans": ["old"],
        });
        let web = json!({
            "name": "web", "ready": 2, "wanted": 3, "min": 1, "max": 8, "window": "monday",
            "scaling": false, "hold": { "replicas": 3, "left_s": 90, "reason": null },
            "pause": null,
            "metrics": [
                { "name": "cpu", "unit": "%", "value": 62.1, "target": 70.0, "proposal": 2 },
                { "name": "memory", "unit": "%", "value": 90.0, "target": 80.0, "proposal": 3 },
            ],
            "last_change": { "at": "2026-11-23T10:00:00Z", "from": 2, "to": 3,
                             "text": "memory 90% for a target of 80%" },
            "replicas": [ { "name": "web-1", "container": "0123456789ab", "state": "ready",
                            "address": "172.17.0.2:80", "cpu_percent": 62.1,
                            "memory_percent": null, "sessions": 3 } ],
        });
        let mut shop = web.clone();
        for key in ["window", "hold", "last_change"] {
            shop[key] = json!(null);
        }
        (shop["name"], shop["scaling"], shop["metrics"]) = (json!("shop"), json!(true), json!([]));
        let want = "\
plimsoll 1.2.3, up 2h 5m, looks every 15s
/etc/c
a dry run: nothing is changed
docker does not answer: it is gone
haproxy does not answer
not in the config, and running on: old

service  ready  wanted  min  max  load               schedule              last change
web          2       3    1    8  memory 90%/80% +1  monday (not by load)  2->3 30s ago: memory 90%…
shop         2       3    1    8  -                  -                     -
web: held at 3 for 1m 30s more

replica  container     state  address          cpu  memory  sessions
web-1    0123456789ab  ready  172.17.0.2:80  62.1%       -         3
";
        let got = [daemon(&all), services(&all, &[&web, &shop]), replicas(&web)].join("\n");
        assert_eq!(got, want);
    }
}
