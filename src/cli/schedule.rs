//! `plimsoll schedule`: future changes of a service's bounds. Needs no daemon.

use std::process::ExitCode;
use std::time::Duration;

use chrono::SecondsFormat;
use serde_json::{Value, json};

use crate::cli::args::cli_command::ScheduleArgs;
use crate::cli::effective;
use crate::cli::local_instant::instant;
use crate::cli::output::{USAGE, complain, say};
use crate::clock::SystemClock;
use crate::model::schedule::{EffectiveSchedule, Timetable};
use crate::model::time::Wall;
use crate::model::units;
use crate::model::zone::{LocalTime, Zone};
use crate::outside::Clock;

const SPAN_DEFAULT: i64 = 7 * 24 * 3600;
/// A hundred years. Nobody knows the zone rules beyond that.
const SPAN_MAX: i64 = 100 * 366 * 24 * 3600;

pub(crate) fn schedule(asked: &ScheduleArgs) -> ExitCode {
    let config = match effective::config(&asked.config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let service = config.service(&asked.service);
    let Some(service) = service else {
        let known = config.services.keys().map(|name| name.as_str());
        complain(&units::no_service(&asked.service, known));
        return ExitCode::FAILURE;
    };
    match span(asked, &service.timetable.zone()) {
        Ok((from, until)) if asked.json => say(&json(&service.timetable, from, until)),
        Ok((from, until)) => say(&table(&asked.service, &service.timetable, from, until)),
        Err(message) => {
            complain(&format!("{message}; see `plimsoll help schedule`"));
            ExitCode::from(USAGE)
        }
    }
}

fn span(asked: &ScheduleArgs, zone: &Zone) -> Result<(Wall, Wall), String> {
    let from = match &asked.from {
        Some(text) => instant("--from", text, zone)?,
        None => SystemClock::new().wall(),
    };
    let until = match &asked.until {
        Some(text) => instant("--until", text, zone)?,
        None => Wall(from.0.saturating_add(SPAN_DEFAULT)),
    };
    if until <= from || SPAN_MAX < until.0.saturating_sub(from.0) {
        return Err("--until must be after --from, by 100 years at most".to_owned());
    }
    Ok((from, until))
}

fn json(timetable: &Timetable, from: Wall, until: Wall) -> String {
    let zone = timetable.zone();
    let row = |(at, s): (Wall, EffectiveSchedule)| {
        json!({
            "at": zone.local(at).to_rfc3339_opts(SecondsFormat::Secs, false),
            "min": s.bounds.min(),
            "max": s.bounds.max(),
            "scaling": s.scaling,
            "window": s.window,
        })
    };
    let rows: Vec<Value> = timetable.course(from, until).into_iter().map(row).collect();
    format!("{:#}\n", Value::Array(rows))
}

fn table(name: &str, timetable: &Timetable, from: Wall, until: Wall) -> String {
    let zone = timetable.zone();
    let mut out = format!("{name}, local times of {zone}\n\n");
    out += "from                        min   max  by load  schedule\n";
    for (at, effective) in timetable.course(from, until) {
        let when = zone.local(at);
        let by_load = if effective.scaling { "yes" } else { "no" };
        let line = format!(
            "{} {:>5} {:>5}  {by_load:<7}  {:<12} {}",
            when.format("%a %Y-%m-%d %H:%M %:z"),
            effective.bounds.min(),
            effective.bounds.max(),
            effective.window.as_deref().unwrap_or("-"),
            mark(&zone, at),
        );
        out += line.trim_end();
        out.push('\n');
    }
    out
}

/// Whether a DST change skips or repeats this local time.
fn mark(zone: &Zone, at: Wall) -> String {
    let local = zone.local(at).naive_local();
    if let Some(LocalTime::Twice(first, _)) = zone.instants(local) {
        let which = if first == at { "first" } else { "second" };
        return format!("({} occurs twice, this is the {which})", local.format("%H:%M"));
    }
    let before = zone.local(Wall(at.0.saturating_sub(1))).naive_local();
    if 1 < (local - before).num_seconds() {
        let gone = before + Duration::from_secs(1);
        return format!("({} to {} does not exist)", gone.format("%H:%M"), local.format("%H:%M"));
    }
    String::new()
}
