//! The complete input of one decision, together with the memory.

use std::sync::Arc;

use crate::model::forecast::ServiceForecast;
use crate::model::host_cpu::ProcessorObservation;
use crate::model::image::RegistryObservation;
use crate::model::metric::Reading;
use crate::model::preemption::PreemptionLimits;
use crate::model::replica::Replica;
use crate::model::service::Service;
use crate::model::sleep::SleepObservation;
use crate::model::swarm::SwarmServiceState;
use crate::model::time::{Moment, Wall};

/// One service at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) now: Moment,
    /// For schedules alone: it follows the system clock, including its steps.
    pub(crate) wall: Wall,
    /// An evaluation: load was read, and may change the number. Other ticks only carry on.
    pub(crate) due: bool,
    pub(crate) service: Arc<Service>,
    /// By number, smallest first.
    pub(crate) replicas: Vec<Replica>,
    /// One for each of the service's metrics, in their order. All pending between two evaluations.
    pub(crate) readings: Vec<Reading>,
    /// `None`: it is off, or this is no evaluation.
    pub(crate) forecast: Option<Arc<ServiceForecast>>,
    /// Numbers of starts that have not ended; their container may be listed already.
    pub(crate) starting: Vec<u32>,
    /// Starts that failed since the last decision.
    pub(crate) failed_starts: u32,
    /// Free bytes of the host's memory above `memory_reserve`. `None`: unknown.
    pub(crate) free_memory: Option<u64>,
    pub(crate) processor: ProcessorObservation,
    pub(crate) preemption: PreemptionLimits,
    pub(crate) engine: EngineSeen,
    pub(crate) proxy: ProxyObservation,
    /// `None`: HAProxy cannot wake it, or its bounds never allow 0 replicas.
    pub(crate) sleep: Option<SleepObservation>,
    /// Of its image, where that is watched.
    pub(crate) registry: RegistryObservation,
    /// `None`: its replicas are containers of this host. Otherwise they are Swarm tasks.
    pub(crate) swarm: Option<SwarmServiceState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineSeen {
    Answers,
    /// Docker does not answer; `replicas` is the last list. Nothing may start, stop or count as
    /// gone.
    Lost,
    /// Docker answers, but this Swarm service could not be inspected: treat it as `Lost`.
    Untold,
}

/// The state of HAProxy as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyObservation {
    /// It has the applied configuration, and no action on it is running. `old` counts old processes
    /// that still finish their sessions; the last reload was at `reloaded_at` or before.
    Settled { old: u32, reloaded_at: Moment },
    /// Its state is about to change: a reload is running or needed, or none has succeeded yet.
    Changing,
    /// It does not answer.
    Silent,
    /// Mode `none`: another load balancer reads our status.
    Absent,
}
