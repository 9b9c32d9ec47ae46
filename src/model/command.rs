//! What people and programs may ask of the daemon, and what it answers.

use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// `None` is every service.
    Order { service: Option<String>, order: Order },
    /// The config file is read again.
    Reload,
}

/// Spans of `None` are until further notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Hold {
        count: Count,
        span: Option<Duration>,
        reason: Option<String>,
    },
    /// One more, or one fewer, within the bounds, for one cooldown.
    Step {
        up: bool,
    },
    /// The number is load's again.
    Release,
    Pause {
        span: Option<Duration>,
    },
    Resume,
    /// Every replica is replaced by a new one, one after the other.
    Restart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    Exactly(u32),
    /// Of the number that is wanted now.
    More(u32),
    Fewer(u32),
}

/// What was done, in words for people. It is stored before it is said.
pub(crate) type Answer = Result<String, Refusal>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No such service; the words name those there are.
    Unknown(String),
    /// It cannot be done as things stand, as at a bound.
    Conflict(String),
    /// It can never be done.
    Invalid(String),
    /// The daemon could not see to it, and did not.
    Unavailable(String),
    /// The config is bad: every problem, one each.
    BadConfig(Vec<String>),
}
