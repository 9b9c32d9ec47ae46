//! One observation for our metrics. Label values come from fixed lists, never from client or
//! container input.

use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MetricEvent<'a> {
    /// A client asked, and was answered with `code`. `took` is `None` where that says nothing of
    /// us, as when its request never became whole.
    Request { method: &'static str, route: &'static str, code: u16, took: Option<Duration> },
    /// Docker was asked. It failed: there was no answer, or one that says so of Docker itself.
    Docker { op: &'static str, took: Duration, failed: bool },
    /// How many containers the last sweep read in which way.
    Load { files: usize, statistics: usize },
    /// A replica was asked whether it can serve.
    Probe { service: &'a str, took: Duration, failure: Option<ProbeFailureReason> },
}

/// Why a probe failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProbeFailureReason {
    Timeout,
    /// Nobody listens there.
    Refused,
    /// It answered, but not what was expected.
    Answer,
    Other,
}

impl ProbeFailureReason {
    pub(crate) const ALL: [ProbeFailureReason; 4] = [
        ProbeFailureReason::Timeout,
        ProbeFailureReason::Refused,
        ProbeFailureReason::Answer,
        ProbeFailureReason::Other,
    ];

    pub(crate) fn word(self) -> &'static str {
        match self {
            ProbeFailureReason::Timeout => "timeout",
            ProbeFailureReason::Refused => "refused",
            ProbeFailureReason::Answer => "answer",
            ProbeFailureReason::Other => "other",
        }
    }
}
