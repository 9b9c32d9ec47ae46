//! The plan of one service: the decision, its actions and transitions. `decide` returns it.

use std::time::Duration;

use crate::model::action::Action;
use crate::model::decision::Decision;
use crate::model::proxy::Server;
use crate::model::replica::{Ending, Exit};
use crate::model::sleep::{WakeCause, WakePlan};

/// The plan of one tick for one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) decision: Decision,
    pub(crate) actions: Vec<Action>,
    pub(crate) transitions: Vec<ReplicaTransition>,
    pub(crate) service_transitions: Vec<ServiceTransition>,
    /// The servers that HAProxy should have for the service.
    pub(crate) servers: Vec<Server>,
    /// `None`: it cannot sleep.
    pub(crate) wake: Option<WakePlan>,
    /// When to tick again if nothing wakes the controller before.
    pub(crate) again: Option<Duration>,
}

/// A change of state of one replica, to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaTransition {
    DrainStarted {
        number: u32,
    },
    /// The number rose again before the replica had drained.
    DrainCancelled {
        number: u32,
    },
    /// Its process ended.
    Exited {
        number: u32,
        exit: Option<Exit>,
        by: Option<Ending>,
        /// It is started again instead of replaced.
        is_restarted: bool,
    },
    /// Somebody restarted it.
    Restarted {
        number: u32,
    },
    Renamed {
        number: u32,
        from: String,
        to: String,
    },
    /// Its owner, as docker compose, stopped it.
    Stopped {
        number: u32,
        exit: Option<Exit>,
    },
    /// Its owner paused it, or unpaused it.
    Paused {
        number: u32,
    },
    Unpaused {
        number: u32,
    },
    /// It runs, and cannot serve.
    NotReady {
        number: u32,
        why: String,
    },
    /// It was started, but Docker does not list it.
    Lost {
        number: u32,
    },
    /// No session is left, or `drain_timeout` is over with `cut` sessions left.
    DrainEnded {
        number: u32,
        cut: u64,
    },
    /// Its health check failed too often in a row.
    BecameUnhealthy {
        number: u32,
        error: String,
    },
    Recovered {
        number: u32,
    },
}

/// A change of state of a service, to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServiceTransition {
    /// All replicas became unhealthy at once: health checks are ignored.
    PanicModeEntered {
        count: u32,
    },
    /// Health checks are trusted again.
    PanicModeLeft,
    /// `old` replicas are outdated.
    RolloutStarted {
        old: u32,
    },
    RolloutFinished {
        took: Duration,
        /// It was a rollback.
        is_back: bool,
    },
    /// No progress for `idle`. `to` is the last good image; `None`: the remaining replicas are
    /// kept.
    RolledBack {
        idle: Duration,
        new: u32,
        old: u32,
        to: Option<String>,
    },
    /// All replicas run the new image. Both are digests.
    ImageUpdated {
        image: String,
        from: String,
        to: String,
    },
    /// The digest was rolled back.
    ImageRejected {
        digest: String,
    },
    /// Docker's restart policy restarts replicas in a loop.
    RestartLoop,
    RestartLoopOver,
    /// It has no replica any more; `idle` is how long nobody asked for it.
    Asleep {
        idle: Duration,
    },
    /// Awake again; `took` is until the first answer, or until a replica was ready where no request
    /// woke it.
    Woken {
        by: WakeCause,
        took: Duration,
    },
    /// No progress, and no earlier revision to roll back to.
    RolloutStalled {
        idle: Duration,
        new: u32,
        old: u32,
    },
}
