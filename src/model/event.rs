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
    /// What it is about where one service may have several: a metric, a certificate's file.
    pub(crate) subject: Option<String>,
}

/// Between the message of an event and the container's last log lines in it.
pub(crate) const LOG_BEGINS: &str = "; its last log lines:\n";

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
            subject: None,
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

    pub(crate) fn subject(mut self, name: String) -> Event {
        self.subject = Some(name);
        self
    }

    /// The message without the container's log, and the last line of that.
    pub(crate) fn message_and_log(&self) -> (&str, Option<&str>) {
        match self.message.split_once(LOG_BEGINS) {
            Some((message, log)) => (message, log.lines().last()),
            None => (&self.message, None),
        }
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

macro_rules! kinds {
    ($($kind:ident $level:ident $word:literal)*) => {
        /// The fixed list of kinds, each with its level: errors are what keeps the daemon from its
        /// job, warnings what may soon.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Kind {
            $($kind,)*
        }

        impl Kind {
            pub(crate) const ALL: &[Kind] = &[$(Kind::$kind,)*];

            pub(crate) fn word(self) -> &'static str {
                match self {
                    $(Kind::$kind => $word,)*
                }
            }

            pub(crate) fn level(self) -> log::Level {
                match self {
                    $(Kind::$kind => log::Level::$level,)*
                }
            }
        }
    };
}

impl Kind {
    /// The kind whose condition an event of this kind ends, if it ends one.
    pub(crate) fn ends(self, event: &Event) -> Option<Kind> {
        match (self, event.phase) {
            (kind, Phase::Resolved) => Some(kind),
            (Kind::HealthRecovered, Phase::Started) if event.replica.is_none() => {
                Some(Kind::HealthSuspect)
            }
            (Kind::HealthRecovered, Phase::Started) => Some(Kind::HealthUnhealthy),
            (Kind::MetricRecovered, Phase::Started) => Some(Kind::MetricFailed),
            (Kind::DockerBack, Phase::Started) => Some(Kind::DockerLost),
            (Kind::SwarmRecovered, Phase::Started) => Some(Kind::SwarmDegraded),
            (_, Phase::Started) => None,
        }
    }
}

kinds! {
    ScaleUp Info "scale.up"
    ScaleDown Info "scale.down"
    ScaleCapped Warn "scale.capped"
    ScalePreempted Warn "scale.preempted"
    ScheduleChanged Info "schedule.changed"
    ReplicaStarted Info "replica.started"
    ReplicaFailed Warn "replica.failed"
    ReplicaNotReady Warn "replica.not_ready"
    ReplicaDraining Info "replica.draining"
    ReplicaDrainCancelled Info "replica.drain_cancelled"
    ReplicaDrainTimedOut Warn "replica.drain_timed_out"
    ReplicaExited Warn "replica.exited"
    ReplicaRestarted Info "replica.restarted"
    ReplicaRenamed Info "replica.renamed"
    ReplicaRemoved Info "replica.removed"
    HookFailed Warn "hook.failed"
    ComposeStopped Info "compose.stopped"
    ComposePaused Info "compose.paused"
    ComposeUnpaused Info "compose.unpaused"
    ContainerIgnored Warn "container.ignored"
    ImagePulling Info "image.pulling"
    ImagePulled Info "image.pulled"
    ImageUpdated Info "image.updated"
    ImageRejected Warn "image.rejected"
    ImageCheckFailed Warn "image.check_failed"
    CrashLoop Warn "health.crash_loop"
    HealthUnhealthy Warn "health.unhealthy"
    HealthRecovered Info "health.recovered"
    HealthReplaced Info "health.replaced"
    HealthSuspect Warn "health.suspect"
    HealthStale Warn "health.stale"
    HealthNotProbed Warn "health.not_probed"
    RolloutStarted Info "rollout.started"
    RolloutFinished Info "rollout.finished"
    RolloutStalled Warn "rollout.stalled"
    RolloutRolledBack Warn "rollout.rolled_back"
    HoldSet Info "hold.set"
    HoldReleased Info "hold.released"
    ScalingPaused Info "scaling.paused"
    ScalingResumed Info "scaling.resumed"
    MetricFailed Warn "metric.failed"
    MetricRecovered Info "metric.recovered"
    ProxyReloaded Info "haproxy.reloaded"
    ProxyReloadFailed Error "haproxy.reload_failed"
    ProxyRolledBack Error "haproxy.rolled_back"
    ProxyServersUpdated Info "haproxy.servers_updated"
    ProxyUpdateFailed Warn "haproxy.update_failed"
    ProxyReloadDeferred Warn "haproxy.reload_deferred"
    RouteDeferred Info "route.deferred"
    ProxyFull Warn "haproxy.full"
    ProxyKilled Warn "haproxy.killed"
    ProxyDied Warn "haproxy.died"
    CertificateRejected Warn "certificate.rejected"
    CertificateRenewed Info "certificate.renewed"
    CertificateExpires Warn "certificate.expires"
    DockerLost Error "docker.lost"
    DockerBack Info "docker.back"
    DockerRefused Warn "docker.refused"
    SwarmDegraded Warn "swarm.degraded"
    SwarmRecovered Info "swarm.recovered"
    SwarmShort Warn "swarm.short"
    SleepUnavailable Warn "sleep.unavailable"
    ServiceOrphaned Warn "service.orphaned"
    ServiceAsleep Info "service.asleep"
    ServiceWoken Info "service.woken"
    StateDamaged Error "state.damaged"
    StateMissing Warn "state.missing"
    StateNotSaved Error "state.not_saved"
    ReportWeekly Info "report.weekly"
    HistoryNotSaved Warn "history.not_saved"
    WebhookFailed Warn "webhook.failed"
    WebhookTest Info "webhook.test"
    ConfigReloaded Info "config.reloaded"
    ConfigRejected Error "config.rejected"
    LabelsApplied Info "labels.applied"
    LabelsRejected Warn "labels.rejected"
    LabelsWarning Warn "labels.warning"
    DaemonStarted Info "daemon.started"
    DaemonSlow Warn "daemon.slow"
    DaemonStopping Info "daemon.stopping"
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
