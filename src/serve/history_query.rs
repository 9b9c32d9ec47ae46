//! `GET /history`: the load and the replicas of services in the past.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::model::load_history::MinuteRow;
use crate::model::metric::Milli;
use crate::model::status::{LoadPoint, Status};
use crate::model::time::{DAY, Wall};
use crate::model::units;
use crate::serve::query;
use crate::serve::response::Response;
use crate::serve::sources::Sources;

/// Points of an answer about one service.
const POINTS_MAX: usize = 720;

/// In seconds.
const WEEK: i64 = 7 * DAY;

const KEYS: [&str; 2] = ["service", "range"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HistoryRange {
    /// What the daemon has in memory.
    Hour,
    Day,
    Week,
}

/// By service, each point as `[at, load, ready, desired]`, and what was forecast for it as a fifth:
/// there are many. Without a service, or for an hour, these are the last evaluations; else the
/// minutes of the highest load, one for each of at most `POINTS_MAX` equal parts of the time.
pub(crate) fn answer(target: &str, status: &Status, sources: &Sources) -> Result<Value, Response> {
    let (service, range) = parsed(target)?;
    let Some(service) = service else {
        if range != HistoryRange::Hour {
            return Err(Response::error(400, "a range needs a service: ?service=NAME&range=day"));
        }
        let all = status.services.iter().map(|s| (s.name.as_str(), &*s.course));
        return Ok(shown(all.map(|(name, course)| (name, course.iter().cloned().collect()))));
    };
    let own = status.services.iter().find(|s| s.name == service).ok_or_else(|| {
        let known = status.services.iter().map(|s| s.name.as_str());
        Response::error(404, units::no_service(&service, known))
    })?;
    let span = match range {
        HistoryRange::Hour => {
            let course = own.course.iter().cloned().collect();
            return Ok(shown([(own.name.as_str(), course)]));
        }
        HistoryRange::Day => DAY,
        HistoryRange::Week => WEEK,
    };
    let from = Wall(status.at.0 - span);
    let rows = (sources.history)(&service, from, Wall(status.at.0 + 1));
    Ok(shown([(own.name.as_str(), thinned(&rows, from, span))]))
}

fn parsed(target: &str) -> Result<(Option<String>, HistoryRange), Response> {
    let mut service = None;
    let mut range = HistoryRange::Hour;
    for (key, value) in query::pairs(target, &KEYS)? {
        if key == "service" {
            service = Some(value);
            continue;
        }
        range = match value.as_str() {
            "hour" => HistoryRange::Hour,
            "day" => HistoryRange::Day,
            "week" => HistoryRange::Week,
            _ => {
                let what = format!("`range` must be hour, day or week, not {value:?}");
                return Err(Response::error(400, what));
            }
        };
    }
    Ok((service, range))
}

fn thinned(rows: &[MinuteRow], from: Wall, span: i64) -> Vec<LoadPoint> {
    let part = (span / i64::try_from(POINTS_MAX).unwrap_or(i64::MAX)).max(1);
    let mut points: BTreeMap<i64, LoadPoint> = BTreeMap::new();
    for row in rows {
        let load = row.load();
        let point = LoadPoint {
            at: row.at,
            load,
            forecast: row.forecast(),
            ready: row.ready,
            desired: row.desired,
        };
        let place = (row.at.0 - from.0) / part;
        if points.get(&place).is_none_or(|kept| kept.load < load) {
            points.insert(place, point);
        }
    }
    points.into_values().collect()
}

fn shown<'a>(services: impl IntoIterator<Item = (&'a str, Vec<LoadPoint>)>) -> Value {
    let number = |share: Option<Milli>| share.map(|share| share.0 as f64 / 1000.0);
    let point = |p: &LoadPoint| match p.forecast {
        None => json!([p.at.0, number(p.load), p.ready, p.desired]),
        forecast => json!([p.at.0, number(p.load), p.ready, p.desired, number(forecast)]),
    };
    let course = |(name, course): (&str, Vec<LoadPoint>)| {
        (name.to_owned(), course.iter().map(point).collect::<Vec<_>>())
    };
    json!(services.into_iter().map(course).collect::<BTreeMap<_, _>>())
}

#[cfg(test)]
mod tests {
    use crate::model::load_history::{MinuteLoad, MinuteRow};
    use crate::model::metric::Milli;
    use crate::model::time::Wall;
    use crate::serve::history_query::{HistoryRange, POINTS_MAX, WEEK, parsed, thinned};

    fn row(minute: i64, load: Option<u64>) -> MinuteRow {
        let load = MinuteLoad {
            metric: "cpu".to_owned(),
            target: Milli(50_000),
            average: load.map(Milli),
            highest: load.map(Milli),
            forecast: None,
        };
        MinuteRow {
            at: Wall(60 * minute),
            ready: 2,
            desired: 3,
            requests: 0,
            errors_5xx: 0,
            queue: 0,
            host_cpu: None,
            host_memory: None,
            loads: vec![load],
        }
    }

    #[test]
    fn a_peak_of_one_minute_is_still_there_in_a_week() {
        let load = |minute: i64| match minute {
            5_000 => Some(150_000),
            5_001..5_100 => None,
            _ => Some(10_000),
        };
        let rows: Vec<MinuteRow> = (0..7 * 24 * 60).map(|m| row(m, load(m))).collect();
        let points = thinned(&rows, Wall(0), WEEK);
        assert_eq!(points.len(), POINTS_MAX);
        let peak = points.iter().max_by_key(|point| point.load).unwrap();
        // Of two replicas with a target of 50.
        assert_eq!((peak.at, peak.load), (Wall(300_000), Some(Milli(1_500))));
        assert_eq!(points.iter().filter(|point| point.load.is_none()).count(), 6);
    }

    #[test]
    fn a_query_has_a_service_and_a_range() {
        for (query, want) in [
            ("", (None, HistoryRange::Hour)),
            ("?service=web", (Some("web"), HistoryRange::Hour)),
            ("?service=a%2Eb&range=day", (Some("a.b"), HistoryRange::Day)),
            ("?range=week&service=web", (Some("web"), HistoryRange::Week)),
        ] {
            let got = parsed(&format!("/history{query}")).ok().unwrap();
            assert_eq!(got, (want.0.map(str::to_owned), want.1), "{query}");
        }
        for bad in ["?range=month", "?rang=day", "?service=%ff", "?range="] {
            assert!(parsed(&format!("/history{bad}")).is_err(), "{bad}");
        }
    }
}
