//! What both kinds of `plimsoll simulate` share: which service, by which metric, on what replicas.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::args::cli_command::SimulateArgs;
use crate::cli::output::{USAGE, complain};
use crate::model::config::Config;
use crate::model::metric::Milli;
use crate::model::service::Service;
use crate::model::units;
use crate::sim::replay::START_UP;
use crate::sim::trace::parsed;
use crate::sim::workload::LoadMetric;

const START_UP_MAX: Duration = Duration::from_secs(3600);

/// Why nothing is simulated.
pub(crate) enum SimulateError {
    Failed(String),
    /// Has an exit status of its own.
    Usage(String),
    /// It was printed already.
    Printed(ExitCode),
}

impl From<String> for SimulateError {
    fn from(message: String) -> SimulateError {
        SimulateError::Failed(message)
    }
}

impl From<ExitCode> for SimulateError {
    fn from(code: ExitCode) -> SimulateError {
        SimulateError::Printed(code)
    }
}

impl SimulateError {
    pub(crate) fn report(self) -> ExitCode {
        match self {
            SimulateError::Failed(message) => {
                complain(&message);
                ExitCode::FAILURE
            }
            SimulateError::Usage(message) => {
                complain(&format!("{message}; see `plimsoll help simulate`"));
                ExitCode::from(USAGE)
            }
            SimulateError::Printed(code) => code,
        }
    }
}

/// What a replica is like.
pub(crate) struct ReplicaOptions {
    pub(crate) start_up: Duration,
    /// `None`: as the service says.
    pub(crate) capacity: Option<Milli>,
}

impl ReplicaOptions {
    pub(crate) fn of(asked: &SimulateArgs) -> Result<ReplicaOptions, SimulateError> {
        let start_up = asked.start_up.as_deref().map(start_up).transpose();
        let capacity = asked.capacity.as_deref().map(capacity).transpose();
        let start_up = start_up.map_err(SimulateError::Usage)?.unwrap_or(START_UP);
        Ok(ReplicaOptions { start_up, capacity: capacity.map_err(SimulateError::Usage)? })
    }

    pub(crate) fn capacity(&self, basis: &LoadMetric, service: &Service) -> Option<Milli> {
        self.capacity.or_else(|| basis.capacity(service))
    }
}

/// The named one, or the only one.
pub(crate) fn service(name: Option<&str>, config: &Config) -> Result<Arc<Service>, String> {
    let found = match name {
        Some(name) => config.service(name),
        None if config.services.len() == 1 => config.services.values().next(),
        None => None,
    };
    found.cloned().ok_or_else(|| {
        let known: Vec<&str> = config.services.keys().map(|name| name.as_str()).collect();
        match name {
            Some(name) => units::no_service(name, known),
            None if known.is_empty() => "the config has no services".to_owned(),
            None => format!("which service? give --service; the config has: {}", known.join(", ")),
        }
    })
}

/// The metric that a simulation is based on, and what that leaves out.
pub(crate) fn basis(service: &Service, metric: Option<LoadMetric>) -> (LoadMetric, Option<String>) {
    let name = &service.name;
    let Some(basis) = metric else {
        let note = format!(
            "{name} has no metric to scale by: only its bounds change the number; the load is \
             taken as % CPU with a target of 100 per replica"
        );
        return (LoadMetric::none(), Some(note));
    };
    let others = basis.others.join(", ");
    let note = format!("{name} is simulated with {} only; always 0: {others}", basis.source);
    let note = (!basis.others.is_empty()).then_some(note);
    (basis, note)
}

pub(crate) fn start_up(text: &str) -> Result<Duration, String> {
    units::span(text).filter(|span| *span <= START_UP_MAX).ok_or_else(|| {
        format!("--start-up: `{text}` is not a duration of at most 1h; write 500ms or 20s")
    })
}

fn capacity(text: &str) -> Result<Milli, String> {
    let number = parsed(text).filter(|n| (0.001..=1e12).contains(n));
    let milli = number.map(|n| Milli((n * 1000.0).round() as u64));
    milli.ok_or_else(|| format!("--capacity: `{text}` is not a number from 0.001 to 1e12"))
}
