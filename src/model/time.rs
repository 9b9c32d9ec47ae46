//! Time as the decision core sees it.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};

/// In seconds.
pub(crate) const MINUTE: i64 = 60;
/// In seconds, of UTC.
pub(crate) const DAY: i64 = 24 * 3600;

/// Seconds since the Unix epoch, of the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wall(pub(crate) i64);

/// Of milliseconds since the Unix epoch.
pub(crate) fn wall_of_ms(ms: u64) -> Wall {
    Wall(i64::try_from(ms / 1000).unwrap_or(i64::MAX))
}

/// In UTC by RFC 3339, as `2026-01-31T12:00:00Z`.
impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = DateTime::from_timestamp(self.0, 0).unwrap_or_default();
        f.write_str(&at.to_rfc3339_opts(SecondsFormat::Secs, true))
    }
}

/// Milliseconds since the Unix epoch at which the daemon started, carried on by the monotonic
/// clock. So a step of the system's clock moves nothing while the daemon runs, and a moment that
/// was stored still means something after a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    pub(crate) fn plus(self, span: Duration) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Zero when `earlier` is in fact later.
    pub(crate) fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}
