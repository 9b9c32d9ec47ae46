//! The last events, for `GET /events`, and its query.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::DateTime;

use crate::model::event::{Entry, is_meant};
use crate::model::time::Wall;
use crate::model::units;
use crate::serve::query;
use crate::serve::response::Response;

const ENTRIES_MAX: usize = 1000;
const BYTES_MAX: usize = 1 << 20;
const LIMIT_DEFAULT: usize = 100;
const KEYS: [&str; 4] = ["limit", "since", "service", "kind"];

/// The last events, up to 1000 and 1 MiB of JSON.
#[derive(Debug, Default)]
pub(crate) struct EventRing {
    kept: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    /// Oldest first.
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl EventRing {
    pub(crate) fn push(&self, entry: Entry) {
        let mut kept = self.kept();
        kept.bytes += entry.json.len();
        kept.entries.push_back(entry);
        while ENTRIES_MAX < kept.entries.len() || BYTES_MAX < kept.bytes {
            let Some(oldest) = kept.entries.pop_front() else { return };
            kept.bytes -= oldest.json.len();
        }
    }

    fn kept(&self) -> MutexGuard<'_, Entries> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A JSON array, newest first.
    pub(crate) fn read(&self, wish: &EventQuery) -> String {
        let kept = self.kept();
        let wished = kept.entries.iter().rev().filter(|entry| wish.is_met_by(entry));
        let wished: Vec<&str> = wished.take(wish.limit).map(|entry| entry.json.as_str()).collect();
        format!("[{}]\n", wished.join(",\n"))
    }
}

/// The query part of `GET /events`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventQuery {
    limit: usize,
    since_ms: u64,
    service: Option<String>,
    kind: Option<String>,
}

impl EventQuery {
    /// `target` is a path with its query.
    pub(crate) fn of(target: &str, now: Wall) -> Result<EventQuery, Response> {
        let mut wish = EventQuery { limit: LIMIT_DEFAULT, since_ms: 0, service: None, kind: None };
        for (key, value) in query::pairs(target, &KEYS)? {
            match key {
                "limit" => wish.limit = limit(&value)?,
                "since" => wish.since_ms = since(&value, now)?,
                "service" => wish.service = Some(value),
                _ => wish.kind = Some(value),
            }
        }
        Ok(wish)
    }

    fn is_met_by(&self, entry: &Entry) -> bool {
        self.since_ms <= entry.at_ms
            && (self.service.is_none() || self.service == entry.service)
            && self.kind.as_ref().is_none_or(|pattern| is_meant(&entry.kind, pattern))
    }
}

/// Any number above the capacity is the capacity, however many digits it has.
fn limit(value: &str) -> Result<usize, Response> {
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let limit = is_number.then(|| value.parse().unwrap_or(usize::MAX).min(ENTRIES_MAX));
    limit.filter(|limit| 0 < *limit).ok_or_else(|| {
        let what = format!("`limit` must be a whole number, at least 1, not {value:?}");
        Response::error(400, what)
    })
}

/// Milliseconds since 1970.
fn since(value: &str, now: Wall) -> Result<u64, Response> {
    let span = units::span(value);
    let ms = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    let moment = || DateTime::parse_from_rfc3339(value).ok().map(|at| at.timestamp_millis());
    let ago = |span| now.0.saturating_mul(1000).saturating_sub(ms(span));
    let since = span.map(ago).or_else(moment);
    // Every event is after 1970.
    since.map(|ms| u64::try_from(ms).unwrap_or(0)).ok_or_else(|| {
        let allowed = r#"a time like "10m" or "2h", or a timestamp like "2026-11-26T03:00:00Z""#;
        Response::error(400, format!("`since` must be {allowed}, not {value:?}"))
    })
}

#[cfg(test)]
mod tests {
    use crate::model::event::Entry;
    use crate::model::time::Wall;
    use crate::serve::event_log::{BYTES_MAX, ENTRIES_MAX, EventQuery, EventRing};

    const NOW: Wall = Wall(1_000);

    fn entry(at_ms: u64, kind: &str, service: Option<&str>) -> Entry {
        let service = service.map(str::to_owned);
        Entry { at_ms, kind: kind.to_owned(), service, json: at_ms.to_string() }
    }

    fn read(event_ring: &EventRing, target: &str) -> String {
        match EventQuery::of(target, NOW) {
            Ok(wish) => event_ring.read(&wish).replace(['[', ']', '\n'], ""),
            Err(reply) => format!("{} {}", reply.status, reply.text()),
        }
    }

    #[test]
    fn what_is_asked_for_comes_newest_first() {
        let event_ring = EventRing::default();
        event_ring.push(entry(400_000, "daemon.started", None));
        event_ring.push(entry(940_000, "scale.up", Some("web")));
        event_ring.push(entry(990_000, "scale.down", Some("a b")));
        for (target, want) in [
            ("/events", "990000,940000,400000"),
            ("/events?", "990000,940000,400000"),
            ("/events?limit=2", "990000,940000"),
            ("/events?limit=1&since=1m", "990000"),
            ("/events?since=60", "990000,940000"),
            ("/events?since=59", "990000"),
            ("/events?since=59999ms", "990000"),
            ("/events?since=1h", "990000,940000,400000"),
            ("/events?since=1970-01-01T00:15:40Z", "990000,940000"),
            ("/events?since=1970-01-01T01:15:40.001%2b01:00", "990000"),
            ("/events?since=1970-01-01T01:15:40.001+01:00", "990000"),
            ("/events?since=1969-01-01T00:00:00Z", "990000,940000,400000"),
            ("/events?service=web", "940000"),
            ("/events?service=a%20b", "990000"),
            ("/events?service=", ""),
            ("/events?kind=scale.*", "990000,940000"),
            ("/events?kind=scale", ""),
        ] {
            assert_eq!(read(&event_ring, target), want, "{target}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_with_what_is_allowed() {
        let event_ring = EventRing::default();
        for (query, want) in [
            ("limit=0", "`limit` must be a whole number, at least 1, not"),
            ("limit=1e3", "`limit` must be"),
            ("limit=", "`limit` must be"),
            ("limit=-1", "`limit` must be"),
            ("limit", "`limit` must be"),
            ("since=yesterday", "`since` must be a time like"),
            ("since=2026-11-26", "`since` must be"),
            ("since=", "`since` must be"),
            ("sinc=1h", "unknown query key `sinc`; did you mean `since`?"),
            ("after=1", "unknown query key `after`; allowed: limit, since, service, kind"),
            ("service=%f", "is not valid UTF-8"),
            ("service=%+1", "is not valid UTF-8"),
            ("service=%ff", "is not valid UTF-8"),
        ] {
            let got = read(&event_ring, &format!("/events?{query}"));
            assert!(got.starts_with("400 ") && got.contains(want), "{query}: {got}");
        }
    }

    #[test]
    fn there_is_room_for_so_many_and_so_much() {
        let event_ring = EventRing::default();
        (0..=ENTRIES_MAX as u64).for_each(|at| event_ring.push(entry(at, "a", None)));
        for limit in ["1000", "1001", "5000", "99999999999999999999"] {
            assert!(
                read(&event_ring, &format!("/events?limit={limit}")).ends_with(",2,1"),
                "{limit}"
            );
        }
        let long = |at_ms| Entry { json: "x".repeat(BYTES_MAX / 2), ..entry(at_ms, "long", None) };
        (0..3).for_each(|at| event_ring.push(long(at)));
        assert_eq!(event_ring.kept().entries.len(), 2);
        event_ring.push(Entry { json: "x".repeat(BYTES_MAX + 1), ..entry(9, "longer", None) });
        let kept = event_ring.kept();
        assert_eq!((kept.entries.len(), kept.bytes), (0, 0));
    }
}
