//! What a span of a service's load history comes to: its replicas and requests, the minutes above
//! target, and what its events say. Pure: takes rows and events, gives numbers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::model::event::{Entry, Kind, LOG_BEGINS};
use crate::model::load_history::MinuteRow;
use crate::model::metric::{self, Milli};
use crate::model::time::{MINUTE, Wall, wall_of_ms};
use crate::model::zone::Zone;

/// Minutes that are kept as the worst.
pub(crate) const WORST: usize = 10;
/// Of a cause of deaths.
const CAUSE_CHARS_MAX: usize = 100;
/// Different causes that are counted; later ones count as the last.
const CAUSES_MAX: usize = 20;
const OTHER_CAUSE: &str = "other causes";
/// Seconds: offsets of zones are multiples of it, so that one lies within one day everywhere.
const SLOT: i64 = 15 * MINUTE;

/// Of one service, in minutes that have a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoadReport {
    pub(crate) service: String,
    pub(crate) from: Wall,
    pub(crate) until: Wall,
    /// The most replicas that it may ever have. `None`: it is not in the config.
    pub(crate) max: Option<u32>,
    /// Minutes with a row.
    pub(crate) minutes: u64,
    /// Of all replicas that were desired or ready, summed.
    pub(crate) replica_minutes: u64,
    /// `None`: no minute had a load that replicas divide.
    pub(crate) fixed: Option<FixedNumber>,
    /// Metrics with a load that no number of replicas divides.
    pub(crate) undivided: BTreeSet<String>,
    pub(crate) requests: u64,
    pub(crate) errors_5xx: u64,
    /// Minutes in which the average load was above target.
    pub(crate) above_target: u64,
    /// The begins of the times that have such a minute.
    above_slots: Vec<Wall>,
    /// Minutes above target, with responses 5xx, or both.
    pub(crate) bad_minutes: u64,
    /// The worst first; at most `WORST`.
    pub(crate) worst: Vec<WorstMinute>,
    /// `None`: no event of the span nor of an earlier time is stored.
    pub(crate) events: Option<EventTally>,
}

/// The smallest number of replicas that would have kept the target in every minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FixedNumber {
    pub(crate) replicas: u32,
    /// In the minute that needs so many, the replicas had more load than their target: without
    /// that limit the load might have been higher.
    pub(crate) is_lower_bound: bool,
}

/// A minute above target, or with responses 5xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorstMinute {
    pub(crate) at: Wall,
    /// As a share of the target, in thousandths.
    pub(crate) load: Option<Milli>,
    pub(crate) errors_5xx: u64,
    pub(crate) ready: u32,
    pub(crate) desired: u32,
}

/// What the events of a service say about a span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EventTally {
    pub(crate) ups: u64,
    pub(crate) downs: u64,
    pub(crate) deaths: u64,
    /// Why replicas died, the most frequent first.
    pub(crate) causes: Vec<(String, u64)>,
}

impl LoadReport {
    pub(crate) fn new(service: &str, (from, until): (Wall, Wall), max: Option<u32>) -> LoadReport {
        LoadReport {
            service: service.to_owned(),
            from,
            until,
            max,
            minutes: 0,
            replica_minutes: 0,
            fixed: None,
            undivided: BTreeSet::new(),
            requests: 0,
            errors_5xx: 0,
            above_target: 0,
            above_slots: Vec::new(),
            bad_minutes: 0,
            worst: Vec::new(),
            events: None,
        }
    }

    /// The whole report. Rows come in the order of time, each minute once.
    pub(crate) fn of(
        service: &str,
        span: (Wall, Wall),
        max: Option<u32>,
        rows: impl Iterator<Item = MinuteRow>,
        events: &[Entry],
    ) -> LoadReport {
        let mut report = LoadReport::new(service, span, max);
        rows.for_each(|row| report.add(&row));
        report.finish(events);
        report
    }

    /// Rows come in the order of time, each minute once.
    pub(crate) fn add(&mut self, row: &MinuteRow) {
        self.minutes += 1;
        self.replica_minutes += u64::from(row.ready.max(row.desired));
        self.requests = self.requests.saturating_add(row.requests);
        self.errors_5xx = self.errors_5xx.saturating_add(row.errors_5xx);
        let load = row.load();
        let is_above = load.is_some_and(|load| Milli(1000) < load);
        self.above_target += u64::from(is_above);
        let slot = Wall(row.at.0 - row.at.0.rem_euclid(SLOT));
        if is_above && self.above_slots.last() != Some(&slot) {
            self.above_slots.push(slot);
        }
        self.need(row);
        if is_above || 0 < row.errors_5xx {
            self.bad_minutes += 1;
            let MinuteRow { at, errors_5xx, ready, desired, .. } = *row;
            self.worst.push(WorstMinute { at, load, errors_5xx, ready, desired });
        }
        if 8 * WORST < self.worst.len() {
            self.sort_worst();
        }
    }

    /// After the last row.
    pub(crate) fn finish(&mut self, events: &[Entry]) {
        self.sort_worst();
        let is_known = events.first().is_some_and(|first| wall_of_ms(first.at_ms) < self.until);
        self.events = is_known.then(|| tally(events, &self.service, (self.from, self.until)));
    }

    /// How many replicas carry the load of a minute at target, by the metric that asks for most.
    fn need(&mut self, row: &MinuteRow) {
        for load in &row.loads {
            let Some(average) = load.average else { continue };
            if !metric::is_divided(&load.metric) {
                if !self.undivided.contains(&load.metric) {
                    self.undivided.insert(load.metric.clone());
                }
                continue;
            }
            let replicas = average.0.div_ceil(load.target.0.max(1)).max(1);
            let replicas = u32::try_from(replicas).unwrap_or(u32::MAX);
            if self.fixed.is_none_or(|fixed| fixed.replicas < replicas) {
                let is_lower_bound = row.ready.max(1) < replicas;
                self.fixed = Some(FixedNumber { replicas, is_lower_bound });
            }
        }
    }

    /// Days of this zone that have a minute above target.
    pub(crate) fn days_above(&self, zone: &Zone) -> u64 {
        let days = self.above_slots.iter().map(|slot| zone.local(*slot).date_naive());
        days.collect::<BTreeSet<_>>().len() as u64
    }

    fn sort_worst(&mut self) {
        self.worst.sort_by_key(|minute| {
            let above = minute.load.map_or(0, |load| load.0.saturating_sub(1000));
            std::cmp::Reverse((above, minute.errors_5xx, std::cmp::Reverse(minute.at)))
        });
        self.worst.truncate(WORST);
    }

    /// In minutes.
    pub(crate) fn span(&self) -> u64 {
        u64::try_from(self.until.0.saturating_sub(self.from.0) / MINUTE).unwrap_or(0)
    }

    pub(crate) fn minutes_at(&self, replicas: u32) -> u64 {
        self.minutes.saturating_mul(u64::from(replicas))
    }
}

/// Entries of other services, of other times and of other kinds count nothing.
fn tally(events: &[Entry], service: &str, (from, until): (Wall, Wall)) -> EventTally {
    let mut out = EventTally::default();
    let mut causes: BTreeMap<String, u64> = BTreeMap::new();
    for entry in events.iter().filter(|entry| entry.service.as_deref() == Some(service)) {
        let at = wall_of_ms(entry.at_ms);
        if at < from || until <= at {
            continue;
        }
        let is = |kind: Kind| entry.kind == kind.word();
        out.ups += u64::from(is(Kind::ScaleUp));
        out.downs += u64::from(is(Kind::ScaleDown));
        if is(Kind::ReplicaExited) || is(Kind::HealthReplaced) {
            out.deaths += 1;
            let cause = cause(entry);
            let is_known = causes.contains_key(&cause) || causes.len() < CAUSES_MAX;
            *causes.entry(if is_known { cause } else { OTHER_CAUSE.to_owned() }).or_default() += 1;
        }
    }
    out.causes = causes.into_iter().collect();
    out.causes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    out
}

/// Why a replica died, without what was done about it.
fn cause(entry: &Entry) -> String {
    let json: Value = serde_json::from_str(&entry.json).unwrap_or_default();
    let message = json["message"].as_str().unwrap_or_default();
    let message = message.split(LOG_BEGINS).next().unwrap_or_default();
    let why = match message.split_once("replaced because: ") {
        Some((_, why)) => why,
        None => message.split("; ").next().unwrap_or_default(),
    };
    let why: String = why.chars().take(CAUSE_CHARS_MAX).collect();
    if why.is_empty() { "unknown".to_owned() } else { why }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::model::event::Entry;
    use crate::model::load_history::{MinuteLoad, MinuteRow};
    use crate::model::metric::Milli;
    use crate::model::time::Wall;
    use crate::model::zone::Zone;
    use crate::report::load_report::{EventTally, FixedNumber, LoadReport, WORST};

    const SPAN: (Wall, Wall) = (Wall(0), Wall(600));

    /// Minute, ready, load of all replicas with a target of 10 each, requests, 5xx. A load of `-`
    /// is unknown.
    fn row(text: &str) -> MinuteRow {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, ready, load, requests, errors_5xx] = fields[..] else { panic!("{text}") };
        let average = load.parse().ok().map(|load: u64| Milli(load * 1000));
        let load = MinuteLoad {
            metric: "cpu".to_owned(),
            target: Milli(10_000),
            average,
            highest: average,
            forecast: None,
        };
        MinuteRow {
            at: Wall(60 * minute.parse::<i64>().unwrap()),
            ready: ready.parse().unwrap(),
            desired: 1,
            requests: requests.parse().unwrap(),
            errors_5xx: errors_5xx.parse().unwrap(),
            queue: 0,
            host_cpu: None,
            host_memory: None,
            loads: vec![load],
        }
    }

    fn report(rows: &str) -> LoadReport {
        let mut report = LoadReport::new("web", SPAN, Some(4));
        rows.split(',').filter(|r| !r.is_empty()).for_each(|text| report.add(&row(text)));
        report.finish(&[]);
        report
    }

    #[test]
    fn the_smallest_fixed_number_keeps_every_minute_within_target() {
        let fixed = |replicas, is_lower_bound| Some(FixedNumber { replicas, is_lower_bound });
        for (rows, want, above) in [
            ("", None, 0),
            ("0 2 - 0 0", None, 0),
            ("0 2 0 0 0", fixed(1, false), 0),
            ("0 2 20 0 0", fixed(2, false), 0),
            ("0 2 20 0 0,1 3 21 0 0", fixed(3, false), 0),
            // More than the target of the replicas that were there.
            ("0 2 21 0 0", fixed(3, true), 1),
            ("0 5 45 0 0,1 1 11 0 0", fixed(5, false), 1),
            // Nobody was ready: one replica counts.
            ("0 0 11 0 0", fixed(2, true), 1),
        ] {
            let report = report(rows);
            assert_eq!((report.fixed, report.above_target), (want, above), "{rows}");
        }
    }

    #[test]
    fn no_number_of_replicas_keeps_what_they_do_not_divide_within_target() {
        let of = |metrics: &[(&str, u64)]| {
            let mut report = LoadReport::new("web", SPAN, Some(4));
            let mut row = row("0 2 1 0 0");
            let load = row.loads.remove(0);
            row.loads = metrics
                .iter()
                .map(|(name, load_of_all)| MinuteLoad {
                    metric: (*name).to_owned(),
                    average: Some(Milli(1000 * load_of_all)),
                    ..load.clone()
                })
                .collect();
            report.add(&row);
            let undivided = report.undivided.into_iter().collect::<Vec<_>>().join(", ");
            (report.fixed.map(|fixed| (fixed.replicas, fixed.is_lower_bound)), undivided)
        };
        for name in ["memory", "haproxy queue", "haproxy response_time_ms"] {
            assert_eq!(of(&[(name, 90)]), (None, name.to_owned()));
            // Far above target, which says nothing of the load that is divided.
            assert_eq!(of(&[(name, 90), ("cpu", 20)]), (Some((2, false)), name.to_owned()));
        }
        for name in ["cpu", "haproxy sessions", "haproxy request_rate", "http a:1 /load"] {
            assert_eq!(of(&[(name, 21)]), (Some((3, true)), String::new()), "{name}");
        }
    }

    #[test]
    fn days_above_target_are_those_of_the_zone() {
        let rows: Vec<String> =
            [0, 1, 17, 1439, 4320].iter().map(|n| format!("{n} 1 11 0 0")).collect();
        let report = report(&rows.join(","));
        assert_eq!((report.above_target, report.bad_minutes), (5, 5));
        assert_eq!(report.days_above(&Zone::UTC), 2);
        // There it is 05:30 then, and the next day.
        assert_eq!(report.days_above(&Zone::find("Asia/Kathmandu").unwrap()), 3);
        // And here 19:00 of the day before, and of the days after.
        assert_eq!(report.days_above(&Zone::find("America/Lima").unwrap()), 3);
        assert_eq!(self::report("0 1 5 9 3").days_above(&Zone::UTC), 0);
    }

    #[test]
    fn without_events_changes_and_deaths_are_unknown() {
        let tally = |at_ms: &[u64]| {
            let entry = |at_ms: &u64| Entry {
                at_ms: *at_ms,
                kind: "daemon.started".to_owned(),
                service: None,
                json: String::new(),
            };
            let mut report = LoadReport::new("web", SPAN, None);
            report.finish(&at_ms.iter().map(entry).collect::<Vec<_>>());
            report.events
        };
        assert_eq!(tally(&[]), None);
        assert_eq!(tally(&[600_000]), None, "all of a later time");
        assert_eq!(tally(&[599_999]), Some(EventTally::default()));
        assert_eq!(tally(&[0, 700_000]), Some(EventTally::default()));
    }

    #[test]
    fn hours_and_requests_are_of_the_minutes_that_have_a_row() {
        let report = report("0 2 5 100 1,1 0 - 50 0,9 3 5 0 2");
        // Where none was ready one was desired.
        assert_eq!((report.minutes, report.span(), report.replica_minutes), (3, 10, 6));
        assert_eq!((report.requests, report.errors_5xx), (150, 3));
        assert_eq!(report.minutes_at(4), 12);
    }

    #[test]
    fn the_worst_minutes_are_those_furthest_above_target_then_those_with_most_errors() {
        let worst = |rows: &str| -> Vec<i64> {
            report(rows).worst.iter().map(|minute| minute.at.0 / 60).collect()
        };
        assert_eq!(worst("0 1 10 9 0,1 1 5 9 0"), [0; 0], "none was bad");
        let rows = "0 1 11 0 0,1 1 30 0 0,2 1 9 0 7,3 1 5 0 9,4 1 11 0 1,5 1 - 0 9";
        assert_eq!(worst(rows), [1, 4, 0, 3, 5, 2]);
        let many: Vec<String> = (0..200).map(|n| format!("{n} 1 {} 0 0", 11 + n % 100)).collect();
        let many = worst(&many.join(","));
        assert_eq!((many.len(), many[..3].to_vec()), (WORST, vec![99, 199, 98]));
    }

    #[test]
    fn events_of_the_service_and_the_span_are_counted() {
        let entry = |at_ms: u64, kind: &str, service: &str, message: &str| Entry {
            at_ms,
            kind: kind.to_owned(),
            service: Some(service.to_owned()),
            json: json!({ "message": message }).to_string(),
        };
        let exit = "exit code 137; it is started again; its last log lines:\nbad; really";
        let ill = "took 5 ms; replaced because: refused; twice";
        let events = [
            entry(599_999, "scale.up", "web", ""),
            entry(0, "scale.down", "web", ""),
            entry(600_000, "scale.up", "web", ""),
            entry(1, "scale.up", "web-2", ""),
            entry(1, "replica.exited", "web", exit),
            entry(2, "replica.exited", "web", "exit code 137"),
            entry(3, "health.replaced", "web", ill),
            entry(3, "replica.removed", "web", ill),
        ];
        let mut report = LoadReport::new("web", SPAN, None);
        report.finish(&events);
        let tally = report.events.unwrap();
        assert_eq!((tally.ups, tally.downs, tally.deaths), (1, 1, 3));
        let want = [("exit code 137".to_owned(), 2), ("refused; twice".to_owned(), 1)];
        assert_eq!(tally.causes, want);
    }
}
