//! Events that an operator may want to know: one log line each.

use std::fmt;

/// Whether an event reports that something happened, or that a condition of its kind has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Started,
    Resolved,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) kind: Kind,
    pub(crate) phase: Phase,
    pub(crate) service: Option<String>,
    pub(crate) replica: Option<String>,
    pub(crate) reason: Option<&'static str>,
    pub(crate) message: String,
    /// The number of replicas before and after.
    pub(crate) change: Option<(u32, u32)>,
    /// The webhook that it is about: its place in `notifications`.
    pub(crate) webhook: Option<usize>,
}

impl Event {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Event {
        let phase = Phase::Started;
        let message = message.into();
        Event {
            kind,
            phase,
            service: None,
            replica: None,
            reason: None,
            message,
            change: None,
            webhook: None,
        }
    }

    /// A condition that was reported as `kind` has ended. The words of Prometheus' Alertmanager:
    /// who reads the message alone sees it too.
    pub(crate) fn resolved(kind: Kind, how: &str) -> Event {
        Event { phase: Phase::Resolved, ..Event::new(kind, format!("resolved: {how}")) }
    }

    /// The end of a condition is nothing to act on.
    pub(crate) fn level(&self) -> log::Level {
        match self.phase {
            Phase::Started => self.kind.level(),
            Phase::Resolved => log::Level::Info,
        }
    }

    pub(crate) fn service(mut self, name: &str) -> Event {
        self.service = Some(name.to_owned());
        self
    }

    pub(crate) fn replica(mut self, name: String) -> Event {
        self.replica = Some(name);
        self
    }
}

/// An event as it is stored and served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Milliseconds since 1970. No two of one daemon are the same.
    pub(crate) at_ms: u64,
    pub(crate) kind: String,
    pub(crate) service: Option<String>,
    /// All of it, on one line.
    pub(crate) json: String,
}

/// Whether a kind is one that a pattern means: a kind, or its beginning and `*`.
pub(crate) fn is_meant(kind: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => kind.starts_with(start),
        None => kind == pattern,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    ScaleUp,
    ScaleDown,
    ScaleCapped,
    ScheduleChanged,
    ReplicaStarted,
    ReplicaFailed,
    ReplicaNotReady,
    ReplicaDraining,
    ReplicaDrainCancelled,
    ReplicaDrainTimedOut,
    ReplicaExited,
    ReplicaRestarted,
    ReplicaRenamed,
    ReplicaRemoved,
    ComposeStopped,
    ComposePaused,
    ComposeUnpaused,
    ContainerIgnored,
    ImagePulling,
    ImagePulled,
    CrashLoop,
    HealthUnhealthy,
    HealthRecovered,
    HealthReplaced,
    HealthSuspect,
    HealthStale,
    HealthNotProbed,
    RolloutStarted,
    RolloutFinished,
    RolloutStalled,
    RolloutRolledBack,
    HoldSet,
    HoldReleased,
    ScalingPaused,
    ScalingResumed,
    MetricFailed,
    MetricRecovered,
    ProxyReloaded,
    ProxyReloadFailed,
    ProxyRolledBack,
    ProxyServersUpdated,
    ProxyUpdateFailed,
    ProxyReloadDeferred,
    RouteDeferred,
    ProxyFull,
    ProxyKilled,
    ProxyDied,
    CertificateRejected,
    CertificateRenewed,
    CertificateExpires,
    DockerLost,
    DockerBack,
    SwarmDegraded,
    SwarmRecovered,
    SwarmShort,
    ServiceOrphaned,
    StateDamaged,
    StateMissing,
    StateNotSaved,
    HistoryNotSaved,
    WebhookFailed,
    ConfigReloaded,
    ConfigRejected,
    LabelsApplied,
    LabelsRejected,
    LabelsWarning,
    DaemonStarted,
    DaemonSlow,
    DaemonStopping,
}

impl Kind {
    pub(crate) const ALL: [Kind; 69] = [
        Kind::ScaleUp,
        Kind::ScaleDown,
        Kind::ScaleCapped,
        Kind::ScheduleChanged,
        Kind::ReplicaStarted,
        Kind::ReplicaFailed,
        Kind::ReplicaNotReady,
        Kind::ReplicaDraining,
        Kind::ReplicaDrainCancelled,
        Kind::ReplicaDrainTimedOut,
        Kind::ReplicaExited,
        Kind::ReplicaRestarted,
        Kind::ReplicaRenamed,
        Kind::ReplicaRemoved,
        Kind::ComposeStopped,
        Kind::ComposePaused,
        Kind::ComposeUnpaused,
        Kind::ContainerIgnored,
        Kind::ImagePulling,
        Kind::ImagePulled,
        Kind::CrashLoop,
        Kind::HealthUnhealthy,
        Kind::HealthRecovered,
        Kind::HealthReplaced,
        Kind::HealthSuspect,
        Kind::HealthStale,
        Kind::HealthNotProbed,
        Kind::RolloutStarted,
        Kind::RolloutFinished,
        Kind::RolloutStalled,
        Kind::RolloutRolledBack,
        Kind::HoldSet,
        Kind::HoldReleased,
        Kind::ScalingPaused,
        Kind::ScalingResumed,
        Kind::MetricFailed,
        Kind::MetricRecovered,
        Kind::ProxyReloaded,
        Kind::ProxyReloadFailed,
        Kind::ProxyRolledBack,
        Kind::ProxyServersUpdated,
        Kind::ProxyUpdateFailed,
        Kind::ProxyReloadDeferred,
        Kind::RouteDeferred,
        Kind::ProxyFull,
        Kind::ProxyKilled,
        Kind::ProxyDied,
        Kind::CertificateRejected,
        Kind::CertificateRenewed,
        Kind::CertificateExpires,
        Kind::DockerLost,
        Kind::DockerBack,
        Kind::SwarmDegraded,
        Kind::SwarmRecovered,
        Kind::SwarmShort,
        Kind::ServiceOrphaned,
        Kind::StateDamaged,
        Kind::StateMissing,
        Kind::StateNotSaved,
        Kind::HistoryNotSaved,
        Kind::WebhookFailed,
        Kind::ConfigReloaded,
        Kind::ConfigRejected,
        Kind::LabelsApplied,
        Kind::LabelsRejected,
        Kind::LabelsWarning,
        Kind::DaemonStarted,
        Kind::DaemonSlow,
        Kind::DaemonStopping,
    ];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::ScaleUp => "scale.up",
            Kind::ScaleDown => "scale.down",
            Kind::ScaleCapped => "scale.capped",
            Kind::ScheduleChanged => "schedule.changed",
            Kind::ReplicaStarted => "replica.started",
            Kind::ReplicaFailed => "replica.failed",
            Kind::ReplicaNotReady => "replica.not_ready",
            Kind::ReplicaDraining => "replica.draining",
            Kind::ReplicaDrainCancelled => "replica.drain_cancelled",
            Kind::ReplicaDrainTimedOut => "replica.drain_timed_out",
            Kind::ReplicaExited => "replica.exited",
            Kind::ReplicaRestarted => "replica.restarted",
            Kind::ReplicaRenamed => "replica.renamed",
            Kind::ReplicaRemoved => "replica.removed",
            Kind::ComposeStopped => "compose.stopped",
            Kind::ComposePaused => "compose.paused",
            Kind::ComposeUnpaused => "compose.unpaused",
            Kind::ContainerIgnored => "container.ignored",
            Kind::ImagePulling => "image.pulling",
            Kind::ImagePulled => "image.pulled",
            Kind::CrashLoop => "health.crash_loop",
            Kind::HealthUnhealthy => "health.unhealthy",
            Kind::HealthRecovered => "health.recovered",
            Kind::HealthReplaced => "health.replaced",
            Kind::HealthSuspect => "health.suspect",
            Kind::HealthStale => "health.stale",
            Kind::HealthNotProbed => "health.not_probed",
            Kind::RolloutStarted => "rollout.started",
            Kind::RolloutFinished => "rollout.finished",
            Kind::RolloutStalled => "rollout.stalled",
            Kind::RolloutRolledBack => "rollout.rolled_back",
            Kind::HoldSet => "hold.set",
            Kind::HoldReleased => "hold.released",
            Kind::ScalingPaused => "scaling.paused",
            Kind::ScalingResumed => "scaling.resumed",
            Kind::MetricFailed => "metric.failed",
            Kind::MetricRecovered => "metric.recovered",
            Kind::ProxyReloaded => "haproxy.reloaded",
            Kind::ProxyReloadFailed => "haproxy.reload_failed",
            Kind::ProxyRolledBack => "haproxy.rolled_back",
            Kind::ProxyServersUpdated => "haproxy.servers_updated",
            Kind::ProxyUpdateFailed => "haproxy.update_failed",
            Kind::ProxyReloadDeferred => "haproxy.reload_deferred",
            Kind::RouteDeferred => "route.deferred",
            Kind::ProxyFull => "haproxy.full",
            Kind::ProxyKilled => "haproxy.killed",
            Kind::ProxyDied => "haproxy.died",
            Kind::CertificateRejected => "certificate.rejected",
            Kind::CertificateRenewed => "certificate.renewed",
            Kind::CertificateExpires => "certificate.expires",
            Kind::DockerLost => "docker.lost",
            Kind::DockerBack => "docker.back",
            Kind::SwarmDegraded => "swarm.degraded",
            Kind::SwarmRecovered => "swarm.recovered",
            Kind::SwarmShort => "swarm.short",
            Kind::ServiceOrphaned => "service.orphaned",
            Kind::StateDamaged => "state.damaged",
            Kind::StateMissing => "state.missing",
            Kind::StateNotSaved => "state.not_saved",
            Kind::HistoryNotSaved => "history.not_saved",
            Kind::WebhookFailed => "webhook.failed",
            Kind::ConfigReloaded => "config.reloaded",
            Kind::ConfigRejected => "config.rejected",
            Kind::LabelsApplied => "labels.applied",
            Kind::LabelsRejected => "labels.rejected",
            Kind::LabelsWarning => "labels.warning",
            Kind::DaemonStarted => "daemon.started",
            Kind::DaemonSlow => "daemon.slow",
            Kind::DaemonStopping => "daemon.stopping",
        }
    }

    /// Errors are what keeps the daemon from its job, warnings what may soon.
    pub(crate) fn level(self) -> log::Level {
        match self {
            Kind::ProxyReloadFailed
            | Kind::ProxyRolledBack
            | Kind::DockerLost
            | Kind::StateDamaged
            | Kind::StateNotSaved
            | Kind::ConfigRejected => log::Level::Error,
            Kind::ReplicaFailed
            | Kind::ReplicaNotReady
            | Kind::ReplicaDrainTimedOut
            | Kind::ReplicaExited
            | Kind::ContainerIgnored
            | Kind::CrashLoop
            | Kind::HealthUnhealthy
            | Kind::HealthSuspect
            | Kind::HealthStale
            | Kind::DaemonSlow
            | Kind::HealthNotProbed
            | Kind::RolloutStalled
            | Kind::RolloutRolledBack
            | Kind::ScaleCapped
            | Kind::ProxyUpdateFailed
            | Kind::ProxyReloadDeferred
            | Kind::ProxyFull
            | Kind::ProxyKilled
            | Kind::ProxyDied
            | Kind::CertificateRejected
            | Kind::CertificateExpires
            | Kind::MetricFailed
            | Kind::LabelsRejected
            | Kind::LabelsWarning
            | Kind::StateMissing
            | Kind::HistoryNotSaved
            | Kind::WebhookFailed
            | Kind::SwarmDegraded
            | Kind::SwarmShort
            | Kind::ServiceOrphaned => log::Level::Warn,
            _ => log::Level::Info,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kind={}", self.kind.word())?;
        if let Some(service) = &self.service {
            write!(f, " service={service}")?;
        }
        if let Some(replica) = &self.replica {
            write!(f, " replica={replica}")?;
        }
        if let Some((from, to)) = self.change {
            write!(f, " from={from} to={to}")?;
        }
        if let Some(reason) = self.reason {
            write!(f, " reason={reason}")?;
        }
        if self.message.is_empty() { Ok(()) } else { write!(f, " message={:?}", self.message) }
    }
}
