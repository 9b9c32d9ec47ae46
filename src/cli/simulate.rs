//! `plimsoll simulate`: replays a load trace through the daemon's controller. Needs no daemon,
//! Docker or HAProxy.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::args::cli_command::SimulateArgs;
use crate::cli::effective;
use crate::cli::output::{USAGE, complain, say};
use crate::cli::schedule::instant;
use crate::clock::SystemClock;
use crate::model::config::Config;
use crate::model::metric::Milli;
use crate::model::service::Service;
use crate::model::time::Wall;
use crate::model::units;
use crate::outside::Clock;
use crate::regular_file;
use crate::sim::replay::{Replay, Replayed, replay};
use crate::sim::svg;
use crate::sim::trace::{Trace, parsed};
use crate::sim::workload::LoadMetric;

pub(super) const START_UP_DEFAULT: Duration = Duration::from_secs(5);
const START_UP_MAX: Duration = Duration::from_secs(3600);

/// `is_usage` is wrong usage, which has an exit status of its own.
struct SimulateError {
    message: String,
    is_usage: bool,
}

impl From<String> for SimulateError {
    fn from(message: String) -> SimulateError {
        SimulateError { message, is_usage: false }
    }
}

pub(crate) fn simulate(asked: &SimulateArgs) -> ExitCode {
    let config = match effective::config(&asked.config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match run(asked, &config) {
        Ok(replayed) => show(asked, &replayed),
        Err(refusal) if refusal.is_usage => {
            complain(&format!("{}; see `plimsoll help simulate`", refusal.message));
            ExitCode::from(USAGE)
        }
        Err(refusal) => {
            complain(&refusal.message);
            ExitCode::FAILURE
        }
    }
}

fn run(asked: &SimulateArgs, config: &Config) -> Result<Replayed, SimulateError> {
    let usage = |message| SimulateError { message, is_usage: true };
    let service = service(asked.service.as_deref(), config)?;
    let zone = service.timetable.zone();
    let start = match &asked.start {
        Some(text) => instant("--start", text, &zone).map_err(usage)?,
        None => Wall(SystemClock::new().wall().0.div_euclid(60) * 60),
    };
    let start_up = asked.start_up.as_deref().map(start_up).transpose().map_err(usage)?;
    let given = asked.capacity.as_deref().map(capacity).transpose().map_err(usage)?;
    let trace = Trace::read(&asked.load)?;
    let first = LoadMetric::first(&service);
    if first.is_none() {
        complain(&format!(
            "{} has no metric to scale by: only its bounds change the number; the load is taken \
             as % CPU with a target of 100 per replica",
            service.name
        ));
    }
    let basis = first.unwrap_or_else(LoadMetric::none);
    if !basis.others.is_empty() {
        complain(&format!(
            "{} is simulated with {} only; always 0: {}",
            service.name,
            basis.source,
            basis.others.join(", ")
        ));
    }
    let asked = Replay {
        config,
        capacity: given.or_else(|| basis.capacity(&service)),
        service,
        basis: &basis,
        trace: &trace,
        start,
        start_up: start_up.unwrap_or(START_UP_DEFAULT),
    };
    Ok(replay(&asked)?)
}

/// The named one, or the only one.
fn service(name: Option<&str>, config: &Config) -> Result<Arc<Service>, String> {
    let mut all = config.services.values();
    let found = match name {
        Some(name) => all.find(|s| s.name.as_str() == name),
        None if config.services.len() == 1 => all.next(),
        None => None,
    };
    found.cloned().ok_or_else(|| {
        let known: Vec<&str> = config.services.keys().map(|name| name.as_str()).collect();
        match name {
            _ if known.is_empty() => "the config has no services".to_owned(),
            Some(name) => {
                format!("the config has no service `{name}`; it has: {}", known.join(", "))
            }
            None => format!("which service? give --service; the config has: {}", known.join(", ")),
        }
    })
}

pub(super) fn start_up(text: &str) -> Result<Duration, String> {
    units::span(text).filter(|span| *span <= START_UP_MAX).ok_or_else(|| {
        format!("--start-up: `{text}` is not a duration of at most 1h; write 500ms or 20s")
    })
}

fn capacity(text: &str) -> Result<Milli, String> {
    let number = parsed(text).filter(|n| (0.001..=1e12).contains(n));
    let milli = number.map(|n| Milli((n * 1000.0).round() as u64));
    milli.ok_or_else(|| format!("--capacity: `{text}` is not a number from 0.001 to 1e12"))
}

fn show(asked: &SimulateArgs, replayed: &Replayed) -> ExitCode {
    let timeline = &replayed.timeline;
    let text = if asked.json { timeline.json_lines() } else { Ok(timeline.table()) };
    let mut status = match text {
        Ok(text) => say(&text),
        Err(err) => {
            complain(&format!("cannot write: {err}"));
            ExitCode::FAILURE
        }
    };
    if let Some(file) = &asked.svg
        && let Err(err) = regular_file::put(file, svg::draw(timeline).as_bytes())
    {
        complain(&format!("cannot write {}: {err}", file.display()));
        status = ExitCode::FAILURE;
    }
    for violation in &replayed.violations {
        complain(&format!("bug in plimsoll (please report): {violation}"));
        status = ExitCode::FAILURE;
    }
    status
}
