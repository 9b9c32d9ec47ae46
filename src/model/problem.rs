//! What is wrong now and needs somebody: one list for the page, the commands, metrics and alerts.

use crate::model::time::Wall;

/// A condition that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ActiveProblem {
    /// When it was first seen.
    pub(crate) since: Wall,
    pub(crate) kind: ProblemKind,
    /// `None`: it concerns the daemon or HAProxy as a whole.
    pub(crate) service: Option<String>,
    /// Of a failing webhook: its place in the config. Of a certificate: its file. Of a refused call
    /// of Docker: its method and path.
    pub(crate) replica: Option<String>,
    /// What is wrong, and the cause where it is known. One line.
    pub(crate) message: String,
    /// What an operator can do. One line.
    pub(crate) fix: String,
}

/// In the words of Prometheus' alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProblemSeverity {
    /// Requests fail, or nothing can be changed: somebody has to act now.
    Critical,
    /// It serves, with less than it should have.
    Warning,
}

impl ProblemSeverity {
    pub(crate) fn word(self) -> &'static str {
        match self {
            ProblemSeverity::Critical => "critical",
            ProblemSeverity::Warning => "warning",
        }
    }
}

macro_rules! kinds {
    ($($kind:ident $severity:ident $word:literal)*) => {
        /// The fixed list of kinds. Where an event begins one, they have the same word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum ProblemKind {
            $($kind,)*
        }

        impl ProblemKind {
            pub(crate) fn word(self) -> &'static str {
                match self {
                    $(ProblemKind::$kind => $word,)*
                }
            }

            pub(crate) fn severity(self) -> ProblemSeverity {
                match self {
                    $(ProblemKind::$kind => ProblemSeverity::$severity,)*
                }
            }
        }

        #[cfg(test)]
        impl ProblemKind {
            pub(crate) const ALL: &[ProblemKind] = &[$(ProblemKind::$kind,)*];
        }
    };
}

kinds! {
    DockerLost Critical "docker.lost"
    HaproxyDown Critical "haproxy.down"
    HaproxyReloadFailed Critical "haproxy.reload_failed"
    NoneReady Critical "service.none_ready"
    HaproxyFull Critical "haproxy.full"
    StateNotSaved Critical "state.not_saved"
    LabelsRejected Warning "labels.rejected"
    ConfigRejected Warning "config.rejected"
    HistoryNotSaved Warning "history.not_saved"
    WebhookFailed Warning "webhook.failed"
    CertificateRejected Warning "certificate.rejected"
    CertificateExpires Warning "certificate.expires"
    CrashLoop Warning "health.crash_loop"
    ReplicaNotReady Warning "replica.not_ready"
    HealthUnhealthy Warning "health.unhealthy"
    ReplicaFailed Warning "replica.failed"
    HealthSuspect Warning "health.suspect"
    HealthStale Warning "health.stale"
    HealthNotProbed Warning "health.not_probed"
    DockerRefused Warning "docker.refused"
    ImageCheckFailed Warning "image.check_failed"
    MetricFailed Warning "metric.failed"
    RolloutStalled Warning "rollout.stalled"
    RolloutRolledBack Warning "rollout.rolled_back"
    ScaleCapped Warning "scale.capped"
    HaproxyDied Warning "haproxy.died"
    HaproxyReloadDeferred Warning "haproxy.reload_deferred"
    ServiceOrphaned Warning "service.orphaned"
    SwarmDegraded Warning "swarm.degraded"
    SwarmShort Warning "swarm.short"
    DaemonSlow Warning "daemon.slow"
}
