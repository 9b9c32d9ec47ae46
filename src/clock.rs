//! The only file that reads a system clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::model::schedule::Wall;
use crate::model::time::Moment;
use crate::outside::Clock;

pub(crate) struct SystemClock {
    started: Instant,
    started_unix: Duration,
}

impl SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the file that reads the clocks")]
    pub(crate) fn new() -> SystemClock {
        let started_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        SystemClock { started: Instant::now(), started_unix }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment(0).plus(self.started_unix).plus(self.started.elapsed())
    }

    #[allow(clippy::disallowed_methods, reason = "this is the file that reads the clocks")]
    fn wall(&self) -> Wall {
        Wall(chrono::Utc::now().timestamp())
    }
}

/// The time of day for a log line, UTC, to the millisecond, as RFC 3339 writes it.
#[allow(clippy::disallowed_methods, reason = "this is the file that reads the clocks")]
pub(crate) fn stamp() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
