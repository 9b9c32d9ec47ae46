//! `plimsoll status`: the state of every service, or of one with its replicas.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use crate::cli::args::cli_command::StatusArgs;
use crate::cli::changes::Changes;
use crate::cli::client;
use crate::cli::client::Daemon;
use crate::cli::interrupt::Interrupt;
use crate::cli::output::{complain, show_painted, write};
use crate::cli::paint::{Colour, Paint};
use crate::cli::table::{
    amount, awaited, cut, ended, hanging, operator_lines, span, table, word, wrapped,
};
use crate::cli::{forecast, problems, width};

const NAME_WIDTH: usize = 16;

/// Between two updates of `--watch`.
const WATCH_SPAN: Duration = Duration::from_secs(2);
/// Lines are cleared one by one, so that nothing flickers.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

pub(crate) fn status(asked: &StatusArgs) -> ExitCode {
    let done = if asked.watch { watch(asked) } else { once(asked) };
    done.err().unwrap_or(ExitCode::SUCCESS)
}

fn once(asked: &StatusArgs) -> Result<(), ExitCode> {
    let style =
        if asked.json { OutputFormat::Document } else { OutputFormat::Table(Paint::for_stdout()) };
    let seen = StatusQuery::of(asked)?.read().map_err(|message| client::failed(&message))?;
    show_painted(&seen.text(style), Paint::for_stdout())
}

/// Runs until it is interrupted, also while the daemon is away. Only a failure of the first request
/// ends it.
fn watch(asked: &StatusArgs) -> Result<(), ExitCode> {
    let source = StatusQuery::of(asked)?;
    let style =
        if asked.json { OutputFormat::Line } else { OutputFormat::Table(Paint::for_stdout()) };
    let mut seen: Result<Seen, String> =
        Ok(source.read().map_err(|message| client::failed(&message))?);
    let mut changes = Changes::default();
    let interrupt = Interrupt::listen()?;
    let paint = Paint::for_stdout();
    let on_terminal = !asked.json && io::stdout().is_terminal();
    loop {
        let text = seen.map(|seen| {
            changes.note(&seen.all, seen.service.as_ref());
            seen.text(style) + &changed(&changes, style)
        });
        match text {
            Ok(text) if on_terminal => write(&redrawn(&paint.plain(&text)))?,
            Ok(text) => show_painted(&text, paint)?,
            Err(message) if on_terminal => {
                write(&redrawn(&paint.plain(&format!("{message}\n"))))?;
            }
            Err(message) => complain(&message),
        }
        if !interrupt.wait(WATCH_SPAN) {
            return Ok(());
        }
        seen = source.read();
    }
}

fn redrawn(text: &str) -> String {
    let lines: String = text.lines().map(|line| format!("{line}{CLEAR_LINE}\n")).collect();
    format!("{HOME}{lines}{CLEAR_BELOW}")
}

#[derive(Clone, Copy)]
enum OutputFormat {
    Table(Paint),
    Document,
    /// A document on one.
    Line,
}

struct StatusQuery {
    daemon: Daemon,
    /// Of one service.
    path: Option<String>,
}

impl StatusQuery {
    fn of(asked: &StatusArgs) -> Result<StatusQuery, ExitCode> {
        let path = asked.service.as_ref().map(|name| client::path(name, "/stats")).transpose()?;
        Ok(StatusQuery { daemon: Daemon::of(&asked.to)?, path })
    }

    fn read(&self) -> Result<Seen, String> {
        let service = self.path.as_deref().map(|path| self.daemon.get(path)).transpose()?;
        Ok(Seen { service, all: self.daemon.get("/status")? })
    }
}

/// The daemon's answers.
struct Seen {
    /// Of the service that was asked for.
    service: Option<Value>,
    all: Value,
}

impl Seen {
    fn text(&self, style: OutputFormat) -> String {
        let all = &self.all;
        let asked = self.service.as_ref().unwrap_or(all);
        let paint = match style {
            OutputFormat::Document => return format!("{asked:#}\n"),
            OutputFormat::Line => return format!("{asked}\n"),
            OutputFormat::Table(paint) => paint,
        };
        let width = width::of_stdout();
        if let Some(service) = &self.service {
            return one(all, service, paint, width);
        }
        let mut each: Vec<&Value> = all["services"].as_array().into_iter().flatten().collect();
        each.sort_by_key(|service| trouble(all, service));
        let table = services(all, &each, paint, width);
        format!("{}\n{table}", daemon(all, paint, width))
    }
}

/// Below the tables.
fn changed(changes: &Changes, style: OutputFormat) -> String {
    let lines = changes.lines();
    let OutputFormat::Table(paint) = style else { return String::new() };
    if lines.is_empty() {
        return String::new();
    }
    let width = width::of_stdout();
    let lines: Vec<String> = lines.iter().flat_map(|line| wrapped(line, width)).collect();
    let head = paint.paint(Colour::Faint, "changed while watching");
    format!("\n{head}\n{}", ended(&lines))
}

/// One service with its problems, its replicas, and what those that fail logged.
fn one(all: &Value, service: &Value, paint: Paint, width: usize) -> String {
    let name = service["name"].as_str();
    let mut out = services(all, &[service], paint, width);
    let problems = problems::of(all, name);
    if !problems.is_empty() {
        out += "\n";
        out += &ended(&problems::lines(&problems, &all["at"], paint, width));
    }
    out += &traffic(&service["haproxy"], width);
    let forecast = forecast::lines(&service["forecast"]);
    let forecast: Vec<String> =
        forecast.iter().flat_map(|line| hanging("forecast: ", line, width)).collect();
    if !forecast.is_empty() {
        out += &format!("\n{}", ended(&forecast));
    }
    let replicas = replicas(&all["at"], service, width);
    out + "\n" + &replicas + &failures(&all["at"], service, width)
}

/// The last lines of replicas that fail, or of the last one that failed and is gone.
fn failures(now: &Value, service: &Value, width: usize) -> String {
    let replicas = service["replicas"].as_array().into_iter().flatten();
    let failing: Vec<&Value> = replicas.filter(|replica| !replica["error"].is_null()).collect();
    let mut lines = Vec::new();
    for replica in &failing {
        let name = word(&replica["name"]);
        lines.extend(hanging(&format!("{name}: "), &word(&replica["error"]), width));
        lines.extend(log(&replica["log"], width));
    }
    let last = &service["last_failure"];
    let is_shown = |replica: &&Value| replica["name"] == last["replica"];
    if !last.is_null() && !failing.iter().any(is_shown) {
        let ago = problems::ago(now, &last["at"]).unwrap_or_default();
        let name = word(&last["replica"]);
        let first = format!("{name}, {ago} ago: ");
        lines.extend(hanging(&first, &word(&last["message"]), width));
        lines.extend(log(&last["log"], width));
    }
    if lines.is_empty() { String::new() } else { format!("\n{}", ended(&lines)) }
}

fn log(lines: &Value, width: usize) -> Vec<String> {
    let lines = lines.as_array().into_iter().flatten();
    lines.flat_map(|line| hanging("  | ", &word(line), width)).collect()
}

/// What is in trouble comes first.
fn trouble(all: &Value, service: &Value) -> u8 {
    let problems = problems::of(all, service["name"].as_str());
    if problems.iter().any(|problem| problem["severity"] == "critical") {
        0
    } else if !problems.is_empty() {
        1
    } else {
        2
    }
}

/// What concerns all services, and every problem.
fn daemon(all: &Value, paint: Paint, width: usize) -> String {
    let uptime = span(all["uptime_s"].as_u64().unwrap_or(0));
    let version = word(&all["version"]);
    let config = match &all["config"] {
        Value::Null => "no config file: labels configure services".to_owned(),
        file => word(file),
    };
    let interval = amount(&all["check_interval_s"], &Value::from("s"));
    let mut out = format!("plimsoll {version}, up {uptime}, checks every {interval}\n{config}\n");
    if all["dry_run"] == true {
        out += &format!("{}\n", paint.paint(Colour::Odd, "dry run: nothing is changed"));
    }
    let problems = problems::of(all, None);
    if !problems.is_empty() {
        out += &format!("{}\n", problems::counted(&problems));
        out += "\n";
        out += &ended(&problems::lines(&problems, &all["at"], paint, width));
    }
    out
}

fn services(all: &Value, services: &[&Value], paint: Paint, width: usize) -> String {
    let row = |service: &&Value| {
        [
            word(&service["name"]),
            word(&service["ready"]),
            word(&service["desired"]),
            word(&service["min"]),
            word(&service["max"]),
            load(service),
            hours(service),
            change(&all["at"], &service["last_change"]),
        ]
    };
    let rows: Vec<[String; 8]> = services.iter().map(row).collect();
    let heads =
        ["service", ">ready", ">desired", ">min", ">max", "load", "schedule", "last change"];
    let mut rows = table(heads, &rows, width);
    for (lines, service) in rows.iter_mut().skip(1).zip(services) {
        let ready = service["ready"].as_u64();
        // Starting, or failing to start.
        if ready < service["desired"].as_u64() {
            let colour = if ready == Some(0) { Colour::Bad } else { Colour::Odd };
            lines.iter_mut().for_each(|line| *line = paint.paint(colour, line));
        }
    }
    let mut lines: Vec<String> = rows.into_iter().flatten().collect();
    for service in services {
        let name = format!("{}: ", word(&service["name"]));
        let shortage = shortage(service).into_iter();
        let shortage = shortage.flat_map(|line| hanging(&name, &line, width));
        lines.extend(shortage.map(|line| paint.paint(Colour::Odd, &line)));
        let asleep = asleep(&service["sleep"]).into_iter();
        let asleep = asleep.flat_map(|line| hanging(&name, &line, width));
        lines.extend(asleep.map(|line| paint.paint(Colour::Faint, &line)));
        let commands = operator_lines(service).into_iter();
        let commands = commands.flat_map(|line| hanging(&name, &line, width));
        lines.extend(commands.map(|line| paint.paint(Colour::Faint, &line)));
    }
    ended(&lines)
}

/// `asleep for 2h 5m, 12 waiting`; nothing of one that is awake.
fn asleep(sleep: &Value) -> Option<String> {
    let state = sleep["state"].as_str().filter(|state| *state != "awake")?;
    let state = state.replace('_', " ");
    let time = sleep["for_s"].as_u64().map(|seconds| format!(" for {}", span(seconds)));
    let waiting = sleep["waiting"].as_u64().filter(|waiting| *waiting != 0);
    let waiting = waiting.map(|waiting| format!(", {waiting} waiting"));
    Some(format!("{state}{}{}", time.unwrap_or_default(), waiting.unwrap_or_default()))
}

/// Why fewer replicas are ready than desired, if a rule of the decision says so.
fn shortage(service: &Value) -> Option<String> {
    if service["desired"].as_u64() <= service["ready"].as_u64() {
        return None;
    }
    let last = service["because"].as_array()?.last()?;
    let reason = last["reason"].as_str()?;
    let is_it = ["StoppedByCompose", "CrashLoop", "NoHeadroom"].contains(&reason);
    is_it.then(|| word(&last["text"]))
}

/// The metric that proposes the most replicas, with its target.
fn load(service: &Value) -> String {
    let metrics: Vec<&Value> = service["metrics"].as_array().into_iter().flatten().collect();
    let proposal = |metric: &&&Value| metric["proposal"].as_u64();
    let Some(most) = metrics.iter().rev().max_by_key(proposal) else { return "-".to_owned() };
    let value = &most["value"];
    let target = &most["target"];
    let name = cut(&word(&most["name"]), NAME_WIDTH);
    let value = amount(value, &most["unit"]);
    let target = amount(target, &most["unit"]);
    let more = if 1 < metrics.len() { format!(" +{}", metrics.len() - 1) } else { String::new() };
    format!("{name} {value}/{target}{more}")
}

/// The schedule that gives the bounds, and whether the load counts.
fn hours(service: &Value) -> String {
    let window = cut(&word(&service["window"]), NAME_WIDTH);
    if service["scaling"] == false { format!("{window} (not by load)") } else { window }
}

fn change(now: &Value, change: &Value) -> String {
    if change.is_null() {
        return "-".to_owned();
    }
    let ago = problems::ago(now, &change["at"]).unwrap_or_else(|| "0s".to_owned());
    let from = word(&change["from"]);
    let to = word(&change["to"]);
    format!("{from}->{to} {ago} ago: {}", word(&change["text"]))
}

/// What HAProxy does for the service; nothing where it does not tell.
fn traffic(figures: &Value, width: usize) -> String {
    if figures.is_null() {
        return String::new();
    }
    let figure = |(key, per, unit, name): (&str, f64, &str, &str)| {
        let value = figures[key].as_f64().map(|number| number / per);
        format!("{name} {}", amount(&Value::from(value), &Value::from(unit)))
    };
    let all = [
        ("requests_per_s", 1.0, "/s", "requests"),
        ("errors_4xx_per_s", 1.0, "/s", "4xx"),
        ("errors_5xx_per_s", 1.0, "/s", "5xx"),
        ("response_ms", 1.0, " ms", "response time"),
        ("sessions", 1.0, "", "sessions"),
        ("queue", 1.0, "", "queue"),
        ("retries_per_s", 1.0, "/s", "retries"),
        ("bytes_in_per_s", 1000.0, " kB/s", "in"),
        ("bytes_out_per_s", 1000.0, " kB/s", "out"),
    ];
    let figures: Vec<String> = all.map(figure).into();
    format!("\n{}", ended(&hanging("HAProxy: ", &figures.join(", "), width)))
}

/// `up 2h 5m, L7OK`
fn checked(now: &Value, check: &Value) -> String {
    let state = match check["up"].as_bool() {
        Some(true) => "up",
        Some(false) => "down",
        None => return "-".to_owned(),
    };
    let since = problems::ago(now, &check["since"]).map(|ago| format!(" {ago}"));
    let result = check["check"].as_str().map(|result| format!(", {result}"));
    format!("{state}{}{}", since.unwrap_or_default(), result.unwrap_or_default())
}

fn replicas(now: &Value, service: &Value, width: usize) -> String {
    let all: Vec<&Value> = service["replicas"].as_array().into_iter().flatten().collect();
    if all.iter().any(|replica| replica["node"].is_string()) {
        return tasks(&all, width);
    }
    let percent = Value::from("%");
    let row = |replica: &Value| {
        [
            word(&replica["name"]),
            word(&replica["container"]),
            awaited(&replica["state"], &replica["waits_for"]),
            word(&replica["address"]),
            amount(&replica["cpu_percent"], &percent),
            amount(&replica["memory_percent"], &percent),
            word(&replica["sessions"]),
            checked(now, &replica["haproxy"]),
        ]
    };
    let rows: Vec<[String; 8]> = all.into_iter().map(row).collect();
    let heads =
        ["replica", "container", "state", "address", ">cpu", ">memory", ">sessions", "haproxy"];
    ended(&table(heads, &rows, width).concat())
}

/// Of Swarm. Only their own nodes know what they use.
fn tasks(all: &[&Value], width: usize) -> String {
    let row = |task: &&Value| ["name", "container", "state", "node"].map(|key| word(&task[key]));
    let rows: Vec<[String; 4]> = all.iter().map(row).collect();
    ended(&table(["replica", "task", "state", "node"], &rows, width).concat())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::cli::paint::Paint;
    use crate::cli::status::{daemon, redrawn, replicas, services, traffic};

    #[test]
    fn tasks_of_swarms_are_shown_with_their_nodes() {
        let task = |name, state, node| {
            json!({ "name": name, "container": "0123456789ab", "state": state, "node": node,
                    "address": null, "cpu_percent": null, "sessions": null })
        };
        let tasks = [task("web-1", "ready", json!("far")), task("web-2", "starting", json!(null))];
        let want = "\
replica  task          state     node
web-1    0123456789ab  ready     far
web-2    0123456789ab  starting  -
";
        assert_eq!(replicas(&json!(null), &json!({ "replicas": tasks }), 80), want);
    }

    #[test]
    fn services_stand_in_a_table() {
        let all = json!({
            "version": "1.2.3", "uptime_s": 7500, "check_interval_s": 15.0, "config": "/etc/c",
            "at": "2026-11-23T10:00:30Z", "dry_run": true, "docker": { "error": "it is gone" },
            "haproxy": { "answers": false }, "orphans": ["old"],
            "problems": [{
                "since": "2026-11-23T10:00:00Z", "kind": "docker.lost", "service": null,
                "severity": "critical", "message": "it is gone", "fix": "start it",
            }],
        });
        let web = json!({
            "name": "web", "ready": 2, "desired": 3, "min": 1, "max": 8, "window": "monday",
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
                            "memory_percent": null, "sessions": 3,
                            "haproxy": { "up": true, "check": "L7OK",
                                         "since": "2026-11-23T09:58:30Z" } } ],
            "haproxy": { "requests_per_s": 12.5, "errors_4xx_per_s": 0.25,
                         "errors_5xx_per_s": 0.0, "response_ms": 31, "sessions": 3,
                         "queue": 0, "retries_per_s": null, "bytes_in_per_s": 1234.0,
                         "bytes_out_per_s": 56789.5 },
        });
        let mut shop = web.clone();
        for key in ["window", "hold", "last_change"] {
            shop[key] = json!(null);
        }
        (shop["name"], shop["scaling"], shop["metrics"]) = (json!("shop"), json!(true), json!([]));
        shop["because"] = json!([
            { "reason": "TooFewReplicas", "text": "at least 3", "number": 3 },
            { "reason": "StoppedByCompose", "text": "stopped by compose", "number": 3 },
        ]);
        let want = "\
plimsoll 1.2.3, up 2h 5m, checks every 15s
/etc/c
dry run: nothing is changed
1 problem, critical

critical  it is gone
          fix: start it
          since 2026-11-23T10:00:00Z, 30s ago

service  ready  desired  min  max  load               schedule              last change
web          2        3    1    8  memory 90%/80% +1  monday (not by load)  2->3 30s ago: memory 90%
                                                                            for a target of 80%
shop         2        3    1    8  -                  -                     -
web: held at 3 for 1m 30s more
shop: stopped by compose


HAProxy: requests 12.5/s, 4xx 0.25/s, 5xx 0/s, response time 31 ms, sessions 3, queue 0, retries -,
         in 1.23 kB/s, out 56.79 kB/s

replica  container     state  address          cpu  memory  sessions  haproxy
web-1    0123456789ab  ready  172.17.0.2:80  62.1%       -         3  up 2m, L7OK
";
        let none = Paint::none();
        let table = services(&all, &[&web, &shop], none, 100);
        let traffic = traffic(&web["haproxy"], 100);
        let replicas = replicas(&all["at"], &web, 100);
        assert_eq!([daemon(&all, none, 100), table, traffic, replicas].join("\n"), want);
        assert_eq!(redrawn("a\nb\n"), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    }
}
