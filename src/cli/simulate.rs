//! `plimsoll simulate`: replays a load trace, or the recorded load, through the daemon's
//! controller. Needs no daemon, Docker or HAProxy.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::args::cli_command::{LoadSource, SimulateArgs};
use crate::cli::effective;
use crate::cli::local_instant::instant;
use crate::cli::output::{announce, complain, say};
use crate::cli::replay_options::{ReplicaOptions, SimulateError, basis, service};
use crate::cli::what_if;
use crate::clock::SystemClock;
use crate::model::time::Wall;
use crate::outside::Clock;
use crate::regular_file;
use crate::sim::forecast_effect::ForecastEffect;
use crate::sim::replay::{Replay, replay};
use crate::sim::svg;
use crate::sim::trace::Trace;
use crate::sim::workload::LoadMetric;

/// A trace of a day takes no second.
const LONG: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a simulation prints.
struct SimulationOutput {
    text: Result<String, serde_json::Error>,
    picture: Option<String>,
    violations: Vec<String>,
}

pub(crate) fn simulate(asked: &SimulateArgs) -> ExitCode {
    if let Some(message) = asked.svg.as_deref().and_then(no_folder) {
        complain(&message);
        return ExitCode::FAILURE;
    }
    let answer = match &asked.load {
        LoadSource::Trace(file) => of_trace(asked, file),
        LoadSource::History { span, default } if asked.forecast => {
            what_if::forecast(asked, *span, default).map(|effect| of_effect(asked, effect))
        }
        LoadSource::History { span, default } => {
            what_if::compared(asked, *span, default).map(|(comparison, violations)| {
                SimulationOutput {
                    text: if asked.json { comparison.json() } else { Ok(comparison.table()) },
                    picture: asked.svg.as_ref().map(|_| svg::compared::draw(&comparison)),
                    violations,
                }
            })
        }
    };
    answer.map_or_else(SimulateError::report, |answer| show(asked, &answer))
}

/// Why a file cannot be written, before a long simulation is in vain.
fn no_folder(file: &Path) -> Option<String> {
    // A name alone has the empty path as its parent.
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty())?;
    let path = file.display();
    (!folder.is_dir())
        .then(|| format!("cannot write {path}: there is no folder {}", folder.display()))
}

fn of_trace(asked: &SimulateArgs, file: &Path) -> Result<SimulationOutput, SimulateError> {
    let config = effective::config(&asked.config)?;
    let service = service(asked.service.as_deref(), &config)?;
    let zone = service.timetable.zone();
    let start = match &asked.start {
        Some(text) => instant("--start", text, &zone).map_err(SimulateError::Usage)?,
        None => Wall(SystemClock::new().wall().0.div_euclid(60) * 60),
    };
    let options = ReplicaOptions::of(asked)?;
    let trace = Trace::read(file)?;
    let (basis, note) = basis(&service, LoadMetric::first(&service));
    note.iter().for_each(|note| complain(note));
    let of_file = Replay {
        config: &config,
        capacity: options.capacity(&basis, &service),
        service,
        basis: &basis,
        trace: &trace,
        start,
        start_up: options.start_up,
    };
    if LONG <= trace.span() {
        announce("simulating");
    }
    if asked.forecast {
        return Ok(of_effect(asked, ForecastEffect::of(&of_file, &[])?));
    }
    let replayed = replay(&of_file)?;
    let timeline = &replayed.timeline;
    Ok(SimulationOutput {
        text: if asked.json { timeline.json_lines() } else { Ok(timeline.table()) },
        picture: asked.svg.as_ref().map(|_| svg::draw(timeline)),
        violations: replayed.violations,
    })
}

fn of_effect(asked: &SimulateArgs, effect: ForecastEffect) -> SimulationOutput {
    SimulationOutput {
        text: if asked.json { effect.json() } else { Ok(effect.table()) },
        picture: asked.svg.as_ref().map(|_| svg::draw(&effect.replayed.timeline)),
        violations: effect.replayed.violations,
    }
}

fn show(asked: &SimulateArgs, answer: &SimulationOutput) -> ExitCode {
    let mut status = match &answer.text {
        Ok(text) => say(text),
        Err(err) => {
            complain(&format!("cannot write: {err}"));
            ExitCode::FAILURE
        }
    };
    if let (Some(file), Some(picture)) = (&asked.svg, &answer.picture)
        && let Err(err) = regular_file::put(file, picture.as_bytes())
    {
        complain(&format!("cannot write {}: {err}", file.display()));
        status = ExitCode::FAILURE;
    }
    for violation in &answer.violations {
        complain(&format!("bug in plimsoll (please report): {violation}"));
        status = ExitCode::FAILURE;
    }
    status
}
