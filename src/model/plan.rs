//! What to do, and why. The answer of `decide`, the input of `act`.

use std::time::Duration;

use crate::model::action::Action;
use crate::model::decision::Decision;
use crate::model::proxy::Server;
use crate::model::replica::{Ending, Exit};

/// What one service needs now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) decision: Decision,
    pub(crate) actions: Vec<Action>,
    pub(crate) steps: Vec<Step>,
    pub(crate) milestones: Vec<Milestone>,
    /// The servers HAProxy is to have for the service.
    pub(crate) servers: Vec<Server>,
    /// When to look again if nothing wakes us before, because something waits to go on.
    pub(crate) again: Option<Duration>,
}

/// A change in what is remembered about one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Drain {
        number: u32,
    },
    /// Load came back before the replica was empty.
    PutBack {
        number: u32,
    },
    /// It does not run any more, or did not for a moment.
    Exited {
        number: u32,
        exit: Option<Exit>,
        by: Option<Ending>,
        /// It is started again, and not replaced.
        is_restarted: bool,
    },
    /// Somebody started it anew.
    Restarted {
        number: u32,
    },
    Renamed {
        number: u32,
        from: String,
        to: String,
    },
    /// Its owner, docker compose or whoever runs it, stopped it.
    Stopped {
        number: u32,
        exit: Option<Exit>,
    },
    /// Its owner froze it, or let it go on.
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
    /// It was started, and no look showed it.
    Lost {
        number: u32,
    },
    /// Empty, or out of time with `cut` sessions left.
    Release {
        number: u32,
        cut: u64,
    },
    /// Its health check failed too often in a row.
    FellIll {
        number: u32,
        error: String,
    },
    Recovered {
        number: u32,
    },
}

/// A change in what is remembered about all replicas of a service together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Milestone {
    /// All fell ill at once, so that the health check is doubted.
    Suspected {
        count: u32,
    },
    /// The health check is believed again.
    Trusted,
    /// So many replicas are not made from what they should be.
    RolloutStarted {
        old: u32,
    },
    RolloutFinished {
        took: Duration,
        /// It was on its way back to what worked before.
        is_back: bool,
    },
    /// There was no progress for so long. `to` is the image that worked before; `None`: the
    /// replicas that are left stay as they are.
    RolledBack {
        idle: Duration,
        new: u32,
        old: u32,
        to: Option<String>,
    },
    /// Docker's restart policy starts replicas again and again.
    RestartLoop,
    RestartLoopOver,
    /// There is no progress, and no way back.
    RolloutStalled {
        idle: Duration,
        new: u32,
        old: u32,
    },
}
