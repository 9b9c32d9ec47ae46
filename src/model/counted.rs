//! What an exchange with the outside came to, as whoever had it tells it to be counted. Words are of
//! fixed lists: what a client or a container says is none of them.

use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// A client asked, and was answered with `code`. `took` is `None` where that says nothing of
    /// us, as when its request never became whole.
    Request { method: &'static str, route: &'static str, code: u16, took: Option<Duration> },
    /// Docker was asked. It failed: there was no answer, or one that says so of Docker itself.
    Docker { op: &'static str, took: Duration, failed: bool },
    /// How many containers the last sweep read in which way.
    Load { files: usize, statistics: usize },
}
