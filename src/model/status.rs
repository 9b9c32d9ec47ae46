//! The status of the daemon at one moment, without any formatting.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::model::certificate::CertificateSeen;
use crate::model::decision::Decision;
use crate::model::forecast::ForecastRaise;
use crate::model::host_cpu::ProcessorState;
use crate::model::label_set::LabelVerdict;
use crate::model::memory::{Hold, Pause};
use crate::model::metric::Milli;
use crate::model::preemption::Preemption;
use crate::model::problem::ActiveProblem;
use crate::model::proxy::ServiceTraffic;
use crate::model::replica::{Load, ServerCheck};
use crate::model::service::{Listen, Service};
use crate::model::sleep::{SleepState, WakeCause};
use crate::model::swarm::SwarmNode;
use crate::model::time::{Moment, Wall};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// `None`: there is none, and labels configure services.
    pub(crate) config_file: Option<String>,
    /// The time of the status, on both clocks.
    pub(crate) now: Moment,
    pub(crate) at: Wall,
    pub(crate) started: Moment,
    pub(crate) check_interval: Duration,
    pub(crate) dry_run: bool,
    /// The end of the last tick in which Docker answered.
    pub(crate) last_good: Option<Moment>,
    /// Why Docker gave no answer.
    pub(crate) docker_error: Option<String>,
    /// Why HAProxy does not serve what it should.
    pub(crate) proxy_error: Option<String>,
    /// Old processes that still finish. `None`: HAProxy does not answer.
    pub(crate) old_proxies: Option<u32>,
    /// Of the host. `None`: it is not known yet, or not looked at.
    pub(crate) processor: Option<ProcessorState>,
    /// By name.
    pub(crate) services: Vec<ServiceStatus>,
    /// Of the shared frontends.
    pub(crate) certificates: Vec<CertificateSeen>,
    /// Services that left the config and whose containers run on.
    pub(crate) orphans: Vec<String>,
    /// Of docker compose's services that labels configure, or are to.
    pub(crate) labels: Vec<LabelVerdict>,
    /// Of the Swarm, where it runs a service of the config.
    pub(crate) nodes: Vec<SwarmNode>,
    /// The critical ones first, orphans last, among each the oldest first.
    pub(crate) problems: Vec<ActiveProblem>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceStatus {
    pub(crate) name: String,
    pub(crate) listen: Option<Listen>,
    /// Of the last tick. Between two evaluations its rules are those of the last evaluation.
    pub(crate) decision: Decision,
    /// Names of its schedules; any of them may be `effective`'s.
    pub(crate) windows: Vec<String>,
    /// Only some hours of the week are business hours.
    pub(crate) has_hours: bool,
    pub(crate) hold: Option<Hold>,
    pub(crate) pause: Option<Pause>,
    pub(crate) rollout: Option<RolloutStatus>,
    /// Panic mode: all became unhealthy at once, and health checks are ignored.
    pub(crate) suspect: bool,
    pub(crate) last_change: Option<LastScale>,
    /// The last evaluation.
    pub(crate) record: Option<Arc<Record>>,
    pub(crate) replicas: Vec<ReplicaStatus>,
    /// The last evaluations, oldest first.
    pub(crate) course: Arc<VecDeque<LoadPoint>>,
    /// As the config has it.
    pub(crate) service: Arc<Service>,
    /// Of a replica that may be gone by now. `None`: the service has been whole since.
    pub(crate) last_failure: Option<Failure>,
    /// `None`: HAProxy does not show the service, or does not answer.
    pub(crate) traffic: Option<ServiceTraffic>,
    /// `None`: it cannot sleep.
    pub(crate) sleep: Option<SleepStatus>,
    /// Those in which it gave a replica up or got one.
    pub(crate) preemptions: Vec<Preemption>,
    /// `None`: the forecast has not raised the number.
    pub(crate) raise: Option<ForecastRaise>,
}

/// A service that may sleep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SleepStatus {
    pub(crate) state: SleepState,
    /// Since when it sleeps, or wakes up. `None`: it is awake.
    pub(crate) since: Option<Moment>,
    /// Requests that wait for a replica.
    pub(crate) waiting: u64,
    /// Connections that the daemon holds or copies.
    pub(crate) held: u32,
    /// What woke it in this tick.
    pub(crate) woken: Option<WakeCause>,
    /// In this tick, the times until held requests got the first byte of their answers.
    pub(crate) answered: Vec<Duration>,
}

/// How a replica failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) at: Wall,
    pub(crate) replica: String,
    /// One line.
    pub(crate) message: String,
    /// The last lines that its container logged.
    pub(crate) log: Vec<String>,
}

/// One evaluation in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoadPoint {
    pub(crate) at: Wall,
    /// The highest ratio of value to target of all metrics; `None`: no metric has a value.
    pub(crate) load: Option<Milli>,
    /// As `load`, what was forecast for the horizon that ends then, on the replicas that were
    /// ready.
    pub(crate) forecast: Option<Milli>,
    pub(crate) ready: u32,
    pub(crate) desired: u32,
}

/// A rollout that is under way, stalled or rolled back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RolloutStatus {
    pub(crate) state: RolloutState,
    /// The most new replicas that served at once, and the fewest outdated ones left.
    pub(crate) new: u32,
    pub(crate) old: u32,
    /// How long there was no progress.
    pub(crate) idle: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RolloutState {
    Rolling,
    Stalled,
    /// On its way back to the last good revision.
    RollingBack,
    /// The config's revision made no progress and is not tried again.
    RolledBack,
}

impl RolloutState {
    pub(crate) fn word(self) -> &'static str {
        match self {
            RolloutState::Rolling => "rolling",
            RolloutState::Stalled => "stalled",
            RolloutState::RollingBack => "rolling_back",
            RolloutState::RolledBack => "rolled_back",
        }
    }
}

/// A change of the number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastScale {
    pub(crate) at: Wall,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) reason: &'static str,
    pub(crate) words: String,
}

/// The decision of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) at: Wall,
    pub(crate) decision: Decision,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplicaStatus {
    pub(crate) name: String,
    /// As Docker shows it to people.
    pub(crate) container: String,
    /// The node of the Swarm that it is on. `None`: this host, or it has none yet.
    pub(crate) node: Option<String>,
    pub(crate) state: ReplicaState,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) cpu: Load,
    pub(crate) memory: Load,
    /// `None`: HAProxy does not have it.
    pub(crate) sessions: Option<u64>,
    /// As `sessions`.
    pub(crate) server_check: Option<ServerCheck>,
    /// The error of its health check, or how it exited.
    pub(crate) error: Option<String>,
    /// The last lines that the container logged, if it fails.
    pub(crate) log: Vec<String>,
    /// When it was started last, in milliseconds since 1970.
    pub(crate) started: Option<u64>,
    /// How often Docker's restart policy started it since somebody did.
    pub(crate) restarts: u32,
    /// Whether its health check passes. `None`: not known yet.
    pub(crate) is_healthy: Option<bool>,
    /// It passed its health check, and its hook `after_ready` has not succeeded yet.
    pub(crate) awaits_hook: bool,
    pub(crate) drain: Option<DrainStatus>,
}

/// A replica that gets no new requests and finishes those that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DrainStatus {
    pub(crate) sessions: u64,
    /// When it is stopped whatever it still has.
    pub(crate) until: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaState {
    Starting,
    Ready,
    Unhealthy,
    Draining,
    Stopping,
    Exited,
}

impl ReplicaState {
    pub(crate) const ALL: [ReplicaState; 6] = [
        ReplicaState::Starting,
        ReplicaState::Ready,
        ReplicaState::Unhealthy,
        ReplicaState::Draining,
        ReplicaState::Stopping,
        ReplicaState::Exited,
    ];

    pub(crate) fn word(self) -> &'static str {
        match self {
            ReplicaState::Starting => "starting",
            ReplicaState::Ready => "ready",
            ReplicaState::Unhealthy => "unhealthy",
            ReplicaState::Draining => "draining",
            ReplicaState::Stopping => "stopping",
            ReplicaState::Exited => "exited",
        }
    }
}
