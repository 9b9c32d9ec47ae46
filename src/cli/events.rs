//! `plimsoll events`: past events, and with `--follow` new ones.

use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;

use crate::cli::args::cli_command::EventsArgs;
use crate::cli::client::{self, Daemon};
use crate::cli::interrupt::Interrupt;
use crate::cli::output::{complain, show, show_painted};
use crate::cli::paint::{Colour, Paint};
use crate::cli::table::{beside_or_below, word};
use crate::cli::width;
use crate::model::event::Kind;
use crate::outside::Clock;

/// Shown without `--since`, and before the first new event of `--follow`.
const LAST: usize = 100;
const LAST_BEFORE_FOLLOWING: usize = 10;
/// The capacity of the daemon.
const LIMIT: usize = 1000;
/// Columns of the longest kind, and of most services and replicas.
const KIND_WIDTH: usize = 23;
const WHO_WIDTH: usize = 12;
const FOLLOW_SPAN: Duration = Duration::from_secs(1);

pub(crate) fn events(args: &EventsArgs) -> ExitCode {
    run(args).err().unwrap_or(ExitCode::SUCCESS)
}

fn run(args: &EventsArgs) -> Result<(), ExitCode> {
    let daemon = Daemon::of(&args.to)?;
    let since = args.since.as_ref().map(|since| since.instant(daemon.clock.wall()));
    let got = get(&daemon, since).map_err(|message| client::failed(&message))?;
    let is_asked = |event: &Value| match &args.service {
        Some(service) => event["service"] == service.as_str(),
        None => true,
    };
    let mut shown: Vec<Value> = got.iter().filter(|event| is_asked(event)).cloned().collect();
    if let Some(service) = args.service.as_ref().filter(|_| shown.is_empty()) {
        // An unknown service has no events either, and is an error.
        let known = daemon.get(&client::path(service, "")?);
        known.map_err(|message| client::failed(&message))?;
    }
    if since.is_none() {
        let last = if args.follow { LAST_BEFORE_FOLLOWING } else { LAST };
        shown.drain(..shown.len().saturating_sub(last));
    }
    if args.json && !args.follow {
        shown.reverse();
        return show(&format!("{:#}\n", Value::Array(shown)));
    }
    let paint = Paint::for_stdout();
    let line = |event: &Value| {
        if args.json { format!("{event}\n") } else { line(event, paint, width::of_terminal()) }
    };
    show_painted(&shown.iter().map(line).collect::<String>(), paint)?;
    if !args.follow {
        return Ok(());
    }
    let begun = DateTime::from_timestamp(daemon.clock.wall().0, 0).unwrap_or_default();
    follow(&daemon, got, begun, |new| {
        let new = new.iter().filter(|event| is_asked(event)).map(line);
        show_painted(&new.collect::<String>(), paint)
    })
}

/// Runs until it is interrupted, also while the daemon is away: a new one has the earlier events.
fn follow(
    daemon: &Daemon,
    mut before: Vec<Value>,
    begun: DateTime<Utc>,
    tell: impl Fn(&[Value]) -> Result<(), ExitCode>,
) -> Result<(), ExitCode> {
    let interrupt = Interrupt::listen()?;
    let mut is_lost = false;
    while interrupt.wait(FOLLOW_SPAN) {
        let last = before.iter().rev().find_map(at).unwrap_or(begun);
        match get(daemon, Some(last)) {
            Ok(now) => {
                tell(&fresh(&before, &now))?;
                if !now.is_empty() {
                    before = now;
                }
                is_lost = false;
            }
            Err(message) => {
                if !is_lost {
                    complain(&message);
                }
                is_lost = true;
            }
        }
    }
    Ok(())
}

/// The events of `now` that `before` does not have: the answer includes events at its start time.
fn fresh(before: &[Value], now: &[Value]) -> Vec<Value> {
    let mut known: Vec<&Value> = before.iter().collect();
    let mut new = Vec::new();
    for event in now {
        match known.iter().position(|known| *known == event) {
            Some(place) => drop(known.swap_remove(place)),
            None => new.push(event.clone()),
        }
    }
    new
}

/// The oldest first.
fn get(daemon: &Daemon, since: Option<DateTime<Utc>>) -> Result<Vec<Value>, String> {
    let since = since.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true));
    let since = since.map(|at| format!("&since={at}")).unwrap_or_default();
    let mut all = match daemon.get(&format!("/events?limit={LIMIT}{since}"))? {
        Value::Array(all) => all,
        _ => return Err("the daemon sent no list of events; is it another version?".to_owned()),
    };
    all.reverse();
    Ok(all)
}

fn at(event: &Value) -> Option<DateTime<Utc>> {
    let at = DateTime::parse_from_rfc3339(event["at"].as_str()?).ok()?;
    Some(at.to_utc())
}

/// Without a width, on one line.
fn line(event: &Value, paint: Paint, width: Option<usize>) -> String {
    let kind = word(&event["kind"]);
    let known = Kind::ALL.iter().copied().find(|known| known.word() == kind);
    let is_resolved = event["phase"] == "resolved";
    let known = known.filter(|_| !is_resolved);
    let colour = known.and_then(|kind| match kind.level() {
        log::Level::Error => Some(Colour::Bad),
        log::Level::Warn => Some(Colour::Odd),
        log::Level::Info | log::Level::Debug | log::Level::Trace => None,
    });
    let kind = format!("{kind:<KIND_WIDTH$}");
    let kind = colour.map_or(kind.clone(), |colour| paint.paint(colour, &kind));
    let who = if event["replica"].is_null() { &event["service"] } else { &event["replica"] };
    let change = match (event["from"].as_u64(), event["to"].as_u64()) {
        (Some(from), Some(to)) => format!("{from}->{to} "),
        _ => String::new(),
    };
    let at = word(&event["at"]);
    let who = format!("{:<WHO_WIDTH$}", word(who));
    let indent =
        [&at, &who].map(|text| text.chars().count() + 2).iter().sum::<usize>() + KIND_WIDTH + 2;
    let at = paint.paint(Colour::Faint, &at);
    let message = if event["message"] == "" { String::new() } else { word(&event["message"]) };
    let first = format!("{at}  {kind}  {who}  ");
    let text = change + &message;
    let lines = match width {
        Some(width) => beside_or_below(&first, indent, &text, width),
        None => vec![first + &text],
    };
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::cli::events::{fresh, line};
    use crate::cli::paint::Paint;

    #[test]
    fn an_event_is_one_line_for_people() {
        let mut event = json!({
            "at": "2026-11-23T10:18:57Z", "kind": "scale.up", "service": "web", "replica": null,
            "reason": "DesiredWithinRange", "message": "cpu 90% >= 70%\n", "from": 1, "to": 2,
        });
        let want =
            "2026-11-23T10:18:57Z  scale.up                 web           1->2 cpu 90% >= 70%";
        assert_eq!(line(&event, Paint::none(), None), format!("{want}\\n\n"));
        for key in ["service", "message", "from", "to"] {
            event[key] = json!(null);
        }
        (event["kind"], event["message"]) = (json!("docker.back"), json!(""));
        let want = "2026-11-23T10:18:57Z  docker.back              -\n";
        assert_eq!(line(&event, Paint::none(), None), want);
    }

    #[test]
    fn the_end_of_a_condition_has_no_colour() {
        let paint = Paint::all();
        let mut event = json!({ "at": "", "kind": "scale.capped", "message": "x" });
        let started = line(&event, paint, None);
        event["phase"] = json!("resolved");
        assert_ne!(started, line(&event, paint, None));
    }

    #[test]
    fn what_is_asked_again_is_shown_once() {
        let a = json!({ "at": 1, "kind": "a" });
        let b = json!({ "at": 1, "kind": "b" });
        let all = |events: &[&serde_json::Value]| -> Vec<_> {
            events.iter().map(|event| (*event).clone()).collect()
        };
        for (before, now, want) in [
            (all(&[]), all(&[&a]), all(&[&a])),
            (all(&[&a, &b]), all(&[&b]), all(&[])),
            (all(&[&a]), all(&[&a, &a, &b]), all(&[&a, &b])),
        ] {
            assert_eq!(fresh(&before, &now), want);
        }
    }
}
