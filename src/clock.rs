//! The only file that reads a system clock.

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::model::time::{Moment, Wall};
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

    fn fine(&self) -> Duration {
        self.started_unix.saturating_add(self.started.elapsed())
    }
}

/// The time for a log line: RFC 3339, UTC, with milliseconds.
#[allow(clippy::disallowed_methods, reason = "this is the file that reads the clocks")]
pub(crate) fn stamp() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// Microseconds since boot. The kernel gives hundredths of a second, rounded down; one hundredth is
/// added, so that the result is never before the call.
pub(crate) fn since_boot_us() -> Option<u64> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    hundredths(&uptime).map(|n| (n + 1) * 10_000)
}

/// The first number, which has two decimals, in hundredths.
fn hundredths(uptime: &str) -> Option<u64> {
    let (seconds, places) = uptime.split_whitespace().next()?.split_once('.')?;
    let places: u64 = places.parse().ok().filter(|places| *places < 100)?;
    seconds.parse::<u64>().ok()?.checked_mul(100)?.checked_add(places)
}

/// The time of day in milliseconds since 1970.
#[allow(clippy::disallowed_methods, reason = "this is the file that reads the clocks")]
pub(crate) fn unix_ms() -> u64 {
    u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use crate::clock::hundredths;

    #[test]
    fn the_kernels_uptime_is_read_whole() {
        assert_eq!(hundredths("350735.07 234388.90\n"), Some(35_073_507));
        for odd in ["", "12", "12.x 1", "-1.00 1", "1.234 1"] {
            assert_eq!(hundredths(odd), None, "{odd:?}");
        }
    }
}
