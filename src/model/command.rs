//! Commands to the daemon, and its answers.

use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// `None` is every service.
    Order { service: Option<String>, order: Order },
    /// The config file is read again.
    Reload,
}

/// A span of `None` has no end.
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
    /// Ends the hold: load gives the number again.
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
    /// Relative to the number now.
    More(u32),
    Fewer(u32),
}

/// The effect, as text for people. It is stored before it is returned.
pub(crate) type Answer = Result<String, Refusal>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No such service; the text names the existing ones.
    Unknown(String),
    /// It conflicts with the current state, as a step beyond a bound.
    Conflict(String),
    /// It is never valid.
    Invalid(String),
    /// The daemon was too busy and did nothing.
    Unavailable(String),
    /// The config is bad: every problem, one each.
    BadConfig(Vec<String>),
}
