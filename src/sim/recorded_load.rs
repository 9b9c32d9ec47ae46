//! The load history of a service as a load trace. A minute of the history has the average load and
//! the highest; the trace has both: the highest for a quarter of the minute at most, which is one
//! evaluation of the default interval, and for the rest what keeps the average. Without the peaks
//! a simulation would scale less than the daemon did, which acts on a single evaluation.
//!
//! A missing minute is one that the daemon did not run, or in which the metric failed. Up to
//! `HELD_MINUTES` on end, the load before holds: a restart takes no longer, and the load of most
//! services hardly changes meanwhile. A longer gap belongs in no figure. In the trace the load
//! before holds there, and that after it from an hour before its end, so that what comes begins
//! settled, as a simulation does.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::load_history::{MinuteLoad, MinuteRow};
use crate::model::metric::Milli;
use crate::model::schedule::Timetable;
use crate::model::time::{MINUTE, Wall};
use crate::sim::trace::Trace;
use crate::sim::workload::LoadMetric;

/// Missing minutes on end that are bridged.
const HELD_MINUTES: i64 = 5;
/// Before the end of a longer gap, the load after it applies for so long.
const SETTLE: Duration = Duration::from_secs(3600);
/// The highest load of a minute is taken to last for so long, at most.
const PEAK: Duration = Duration::from_secs(15);
const MINUTE_SPAN: Duration = Duration::from_secs(60);
/// From this share of its limit on, a replica is taken to do what it can: a meter shows a little
/// less than the limit also of one that always works.
const SATURATED: f64 = 0.95;

/// A part of the trace, in time since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeRange {
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

impl TimeRange {
    pub(crate) fn span(self) -> Duration {
        self.to.saturating_sub(self.from)
    }
}

/// Limits that can have kept the load down.
#[derive(Clone, Copy)]
pub(crate) struct LoadLimits<'a> {
    /// For the most replicas at a time. The history does not have it, so it is that of today.
    pub(crate) timetable: &'a Timetable,
    /// The most that a replica can carry, in the unit of the metric. `None`: unknown.
    pub(crate) capacity: Option<Milli>,
}

/// A recorded load, of at least one minute.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RecordedLoad {
    /// The first second of the first minute with a load.
    pub(crate) start: Wall,
    /// Ends with the last minute that has a load.
    pub(crate) trace: Trace,
    /// Without a known load, and in no figure. In the order of time, apart from each other, and
    /// neither at the start nor at the end.
    pub(crate) gaps: Vec<TimeRange>,
    /// The number or each replica was at its limit, so that the true load was at least this. In
    /// the order of time, and apart from each other.
    pub(crate) lower_bounds: Vec<TimeRange>,
    /// What was at its limit, for people. Empty without lower bounds.
    pub(crate) limit_words: &'static str,
}

impl RecordedLoad {
    /// The rows are in the order of time, each of another minute. `Err` says why the load cannot be
    /// replayed, and what would help.
    pub(crate) fn new(
        rows: &[MinuteRow],
        metric: &LoadMetric,
        limits: LoadLimits,
    ) -> Result<RecordedLoad, String> {
        if !metric.is_shared() {
            return Err(format!(
                "{} cannot be replayed: replicas do not share it, so nobody knows its value with \
                 another number of them; scale by another metric",
                metric.source
            ));
        }
        let name = metric.source.to_string();
        let minutes: Vec<Minute> =
            rows.iter().filter_map(|row| Minute::of(row, &name, limits)).collect();
        let has_load = rows.iter().any(|row| load_by(row, &name).is_some());
        let (trace, gaps) = trace(&minutes);
        match (minutes.first().filter(|_| has_load), Trace::of_rows(trace)) {
            (Some(first), Some(trace)) => {
                let lower_bounds = lower_bounds(&minutes);
                let limit_words = limit_words(&minutes);
                Ok(RecordedLoad { start: first.at, trace, gaps, lower_bounds, limit_words })
            }
            _ => Err(format!("no load by {name} is recorded; {}", recorded_metrics(rows))),
        }
    }

    /// The time whose load is known.
    pub(crate) fn covered(&self) -> Duration {
        let gaps: Duration = self.gaps.iter().map(|gap| gap.span()).sum();
        self.trace.span().saturating_sub(gaps)
    }
}

/// A minute with a known load, in the unit of the metric.
struct Minute {
    at: Wall,
    average: f64,
    highest: f64,
    /// No replica could be added, and those that there were had too much.
    is_held: bool,
    /// Each replica did all that it can.
    is_saturated: bool,
}

impl Minute {
    fn of(row: &MinuteRow, metric: &str, limits: LoadLimits) -> Option<Minute> {
        let Some(load) = load_by(row, metric) else {
            return is_asleep(row).then_some(Minute {
                at: row.at,
                average: 0.0,
                highest: 0.0,
                is_held: false,
                is_saturated: false,
            });
        };
        let average = load.average.map_or(0.0, units);
        let highest = load.highest.map_or(average, units).max(average);
        let replicas = f64::from(row.ready.max(1));
        let effective = limits.timetable.at(row.at);
        let is_held = effective.bounds.max() <= row.ready.max(row.desired) || !effective.scaling;
        let is_above = units(load.target) * replicas <= average;
        let is_saturated =
            limits.capacity.is_some_and(|most| SATURATED * units(most) * replicas <= highest);
        let is_held = is_held && is_above;
        Some(Minute { at: row.at, average, highest, is_held, is_saturated })
    }

    /// The time since this minute began.
    fn until(&self, at: Wall) -> Duration {
        Duration::from_secs(u64::try_from(at.0.saturating_sub(self.at.0)).unwrap_or(0))
    }

    /// How long the highest load can have lasted, and the load of the rest. `None`: the load was
    /// the same all the time.
    fn peak(&self) -> Option<(Duration, f64)> {
        if self.highest <= self.average {
            return None;
        }
        let minute = MINUTE_SPAN.as_secs_f64();
        // No longer than all of the load.
        let most = minute * self.average / self.highest;
        let peak = Duration::from_millis((1000.0 * PEAK.as_secs_f64().min(most)).floor() as u64);
        let rest = minute * self.average - peak.as_secs_f64() * self.highest;
        let rest = rest / (minute - peak.as_secs_f64());
        (!peak.is_zero()).then_some((peak, rest.max(0.0)))
    }
}

/// Those in which the load by each of these metrics is known.
pub(crate) fn with_loads(rows: Vec<MinuteRow>, metrics: &[&LoadMetric]) -> Vec<MinuteRow> {
    let names: Vec<String> = metrics.iter().map(|metric| metric.source.to_string()).collect();
    let is_known =
        |row: &MinuteRow| is_asleep(row) || names.iter().all(|name| load_by(row, name).is_some());
    rows.into_iter().filter(is_known).collect()
}

/// Without replicas there is no load, and the metrics of replicas show none.
fn is_asleep(row: &MinuteRow) -> bool {
    row.ready == 0 && row.desired == 0
}

fn load_by<'a>(row: &'a MinuteRow, metric: &str) -> Option<&'a MinuteLoad> {
    row.loads.iter().find(|load| load.is_of(metric) && load.average.is_some())
}

fn units(load: Milli) -> f64 {
    load.0 as f64 / 1000.0
}

/// The rows of the trace, and its gaps.
fn trace(minutes: &[Minute]) -> (Vec<(Duration, f64)>, Vec<TimeRange>) {
    let mut rows: Vec<(Duration, f64)> = Vec::new();
    let mut gaps = Vec::new();
    let Some(first) = minutes.first() else { return (rows, gaps) };
    for (i, minute) in minutes.iter().enumerate() {
        let at = first.until(minute.at);
        let end = at + MINUTE_SPAN;
        let before = i.checked_sub(1).and_then(|i| minutes.get(i));
        let next = minutes.get(i + 1);
        match minute.peak() {
            None => rows.push((at, minute.average)),
            // Loads rise to their peak and fall from it.
            Some((peak, rest)) if rises(before, next) => {
                rows.extend([(at, rest), (end - peak, minute.highest)]);
            }
            Some((peak, rest)) => rows.extend([(at, minute.highest), (at + peak, rest)]),
        }
        let missing = next.map_or(0, |next| (next.at.0 - minute.at.0) / MINUTE - 1);
        if let Some(next) = next.filter(|_| 0 < missing) {
            rows.push((end, minute.average));
            let gap = TimeRange { from: end, to: first.until(next.at) };
            if HELD_MINUTES < missing {
                rows.push((gap.to.saturating_sub(SETTLE).max(end), next.average));
                gaps.push(gap);
            }
        }
        if next.is_none() {
            rows.push((end, minute.average));
        }
    }
    // Of two loads from the same time on, the later one.
    let mut at = None;
    rows.reverse();
    rows.retain(|(time, _)| at.replace(*time) != Some(*time));
    rows.reverse();
    (rows, gaps)
}

fn rises(before: Option<&Minute>, next: Option<&Minute>) -> bool {
    matches!((before, next), (Some(before), Some(next)) if before.average < next.average)
}

fn lower_bounds(minutes: &[Minute]) -> Vec<TimeRange> {
    let mut ranges: Vec<TimeRange> = Vec::new();
    let Some(first) = minutes.first() else { return ranges };
    for minute in minutes.iter().filter(|minute| minute.is_held || minute.is_saturated) {
        let from = first.until(minute.at);
        let to = from + MINUTE_SPAN;
        match ranges.last_mut().filter(|last| last.to == from) {
            Some(last) => last.to = to,
            None => ranges.push(TimeRange { from, to }),
        }
    }
    ranges
}

fn limit_words(minutes: &[Minute]) -> &'static str {
    let is_held = minutes.iter().any(|minute| minute.is_held);
    let is_saturated = minutes.iter().any(|minute| minute.is_saturated);
    match (is_held, is_saturated) {
        (true, true) => "no more replicas could be added, or each did all it can",
        (true, false) => "no more replicas could be added",
        (false, true) => "each replica did all it can",
        (false, false) => "",
    }
}

/// Since when there is a load by the metric, if others are recorded for longer. For people.
pub(crate) fn later_than_others(rows: &[MinuteRow], metric: &LoadMetric) -> Option<String> {
    let name = metric.source.to_string();
    let first = rows.iter().position(|row| load_by(row, &name).is_some())?;
    let (before, _) = rows.split_at(first);
    let others = known_metrics(before);
    let since = rows.get(first)?.at;
    (!others.is_empty()).then(|| {
        format!("{name} is recorded since {since} only; before that there is {}", others.join(", "))
    })
}

/// Those of which a load is known.
fn known_metrics(rows: &[MinuteRow]) -> Vec<&str> {
    let loads = rows.iter().flat_map(|row| &row.loads);
    let known = loads.filter(|load| load.average.is_some()).map(|load| load.metric.as_str());
    known.collect::<BTreeSet<&str>>().into_iter().collect()
}

/// For people, with what to do.
fn recorded_metrics(rows: &[MinuteRow]) -> String {
    match &known_metrics(rows)[..] {
        [] => "nor is that of any other metric; `plimsoll explain` says why a metric has no value"
            .to_owned(),
        names => format!(
            "recorded are: {}. The daemon records the metrics of its config: come back when it has \
             run with this one for some time",
            names.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::model::bounds::Bounds;
    use crate::model::load_history::{MinuteLoad, MinuteRow};
    use crate::model::metric::{Field, Milli, Source};
    use crate::model::schedule::Timetable;
    use crate::model::time::Wall;
    use crate::sim::recorded_load::{LoadLimits, RecordedLoad, TimeRange, later_than_others};
    use crate::sim::workload::LoadMetric;

    const START: i64 = 1_795_824_000;

    fn cpu() -> LoadMetric {
        LoadMetric::none()
    }

    /// Rows of `minute average highest ready desired`, with a target of 70; `-` is no value.
    fn rows(text: &str) -> Vec<MinuteRow> {
        text.split(',').map(|text| row(text, "cpu")).collect()
    }

    fn row(text: &str, metric: &str) -> MinuteRow {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, average, highest, ready, desired] = fields[..] else { panic!("{text}") };
        let load = |field: &str| field.parse::<f64>().ok().map(|n| Milli((n * 1000.0) as u64));
        let at = Wall(START + 60 * minute.parse::<i64>().unwrap());
        let count = |field: &str| field.parse().unwrap();
        let target = Milli(70_000);
        let average = load(average);
        let highest = load(highest);
        let load =
            MinuteLoad { metric: metric.to_owned(), target, average, highest, forecast: None };
        MinuteRow::loaded(at, (count(ready), count(desired)), load)
    }

    fn recorded(rows: &[MinuteRow]) -> RecordedLoad {
        let timetable = Timetable::always(Bounds::new(1, 4).unwrap());
        let limits = LoadLimits { timetable: &timetable, capacity: Some(Milli(100_000)) };
        RecordedLoad::new(rows, &cpu(), limits).unwrap()
    }

    fn ranges(ranges: &[TimeRange]) -> String {
        let text = |r: &TimeRange| format!("{}-{}", r.from.as_secs() / 60, r.to.as_secs() / 60);
        ranges.iter().map(text).collect::<Vec<_>>().join(" ")
    }

    /// The trace as `seconds=load`, and the gaps in minutes.
    #[track_caller]
    fn check(text: &str, trace: &str, gaps: &str) {
        let got = recorded(&rows(text));
        let shown = got.trace.rows().iter().map(|(t, v)| format!("{}={v:.0}", t.as_secs_f64()));
        assert_eq!(shown.collect::<Vec<_>>().join(" "), trace, "{text}");
        assert_eq!(ranges(&got.gaps), gaps, "{text}");
    }

    #[test]
    fn a_minute_keeps_its_average_and_its_highest_load() {
        check("7 90 90 1 1", "0=90 60=90", "");
        check("7 90 90 1 1, 8 30 30 1 1", "0=90 60=30 120=30", "");
        // A quarter of the minute at 120, and 80 for the rest: 90 on average.
        check("7 90 120 1 1", "0=120 15=80 60=90", "");
        // More would not be left than the peak: 60 s at 10 are 6 s at 100.
        check("7 10 100 1 1", "0=100 6=0 60=10", "");
        check("7 0 0.1 1 1", "0=0 60=0", "");
        check("7 90 - 1 1", "0=90 60=90", "");
        // Beside the minute that has more.
        check("1 10 10 1 1, 2 90 120 1 1, 3 99 99 1 1", "0=10 60=80 105=120 120=99 180=99", "");
        check("1 99 99 1 1, 2 90 120 1 1, 3 10 10 1 1", "0=99 60=120 75=80 120=10 180=10", "");
        let whole = recorded(&rows("0 37 81 1 1, 1 60 99 1 1, 2 5 90 1 1"));
        let rows = whole.trace.rows();
        let sum: f64 = rows.windows(2).map(|w| w[0].1 * (w[1].0 - w[0].0).as_secs_f64()).sum();
        assert!((sum - 60.0 * (37.0 + 60.0 + 5.0)).abs() < 1.0, "{sum}");
    }

    #[test]
    fn a_short_gap_holds_the_load_and_a_long_one_is_left_out() {
        check("0 50 50 1 1, 6 90 90 1 1", "0=50 60=50 360=90 420=90", "");
        check("0 50 50 1 1, 7 90 90 1 1", "0=50 60=90 420=90 480=90", "1-7");
        check("0 50 80 1 1, 2 90 90 1 1", "0=80 15=40 60=50 120=90 180=90", "");
        let day = "0 50 50 1 1, 1440 90 90 1 1";
        check(day, "0=50 60=50 82800=90 86400=90 86460=90", "1-1440");
        assert_eq!(recorded(&rows(day)).covered(), Duration::from_secs(120));
        // A metric that failed, beside replicas that sleep and have no load.
        check("0 50 50 1 1, 1 - - 1 1, 2 - - 0 0, 3 - - 0 1", "0=50 60=50 120=0 180=0", "");
        check("0 - - 1 1, 5 50 50 1 1", "0=50 60=50", "");
    }

    #[test]
    fn a_service_at_its_limit_had_at_least_that_load() {
        let limits = |text: &str| ranges(&recorded(&rows(text)).lower_bounds);
        // Of at most 4 replicas, of which each is to carry 70.
        for (text, want) in [
            ("0 279.9 279.9 4 4", ""),
            ("0 280 280 4 4", "0-1"),
            ("0 280 280 3 3", ""),
            ("0 210 210 3 4", "0-1"),
            ("0 209.9 209.9 3 4", ""),
            ("0 999 999 9 9", "0-1"),
            // Each can do 100, and is taken to be at its limit from 95 on.
            ("0 94 94.9 1 1", ""),
            ("0 60 95 1 1", "0-1"),
            ("0 189 189.9 2 2", ""),
            ("0 190 190 2 2", "0-1"),
            ("0 5 5 1 1, 1 - - 0 0", ""),
            ("0 280 280 4 4, 1 290 290 4 4, 2 9 9 4 4, 3 280 280 4 4", "0-2 3-4"),
        ] {
            assert_eq!(limits(text), want, "{text}");
        }
    }

    #[test]
    fn a_lower_bound_names_the_limit_that_was_reached() {
        for (text, want) in [
            ("0 5 5 1 1", ""),
            ("0 280 280 4 4", "no more replicas could be added"),
            ("0 60 95 1 1", "each replica did all it can"),
            (
                "0 280 280 4 4, 1 60 95 1 1",
                "no more replicas could be added, or each did all it can",
            ),
        ] {
            assert_eq!(recorded(&rows(text)).limit_words, want, "{text}");
        }
    }

    #[test]
    fn a_metric_that_came_later_is_named_with_those_before_it() {
        let later = |rows: &[MinuteRow]| later_than_others(rows, &cpu());
        let want = "cpu is recorded since 2026-11-28T00:02:00Z only; before that there is haproxy \
                    sessions, memory";
        let mut all = vec![row("0 5 5 1 1", "memory"), row("1 5 5 1 1", "haproxy sessions")];
        assert_eq!(later(&all), None);
        all.push(row("2 5 5 1 1", "cpu"));
        assert_eq!(later(&all).as_deref(), Some(want));
        assert_eq!(later(&all[2..]), None);
        // A metric that failed, and replicas that sleep, are no other metric.
        assert_eq!(later(&[row("0 - - 1 1", "memory"), row("1 5 5 1 1", "cpu")]), None);
        assert_eq!(later(&[row("0 - - 0 0", "cpu"), row("1 5 5 1 1", "cpu")]), None);
    }

    #[test]
    fn a_load_that_is_not_there_is_refused_with_what_is() {
        let timetable = Timetable::always(Bounds::exactly(1));
        let limits = LoadLimits { timetable: &timetable, capacity: None };
        let refused = |rows: &[MinuteRow], field: Option<Field>| {
            let source = field.map_or(Source::Cpu, Source::Haproxy);
            let metric = LoadMetric { source, ..LoadMetric::none() };
            RecordedLoad::new(rows, &metric, limits).unwrap_err()
        };
        let rows = [row("0 5 5 1 1", "memory"), row("1 5 5 1 1", "haproxy queue")];
        assert_eq!(
            refused(&rows, None),
            "no load by cpu is recorded; recorded are: haproxy queue, memory. The daemon records \
             the metrics of its config: come back when it has run with this one for some time"
        );
        let none = "no load by haproxy sessions is recorded; nor is that of any other metric; \
                    `plimsoll explain` says why a metric has no value";
        assert_eq!(refused(&[], Some(Field::Sessions)), none);
        let failed = [row("0 - - 1 1", "haproxy sessions"), row("1 - - 0 0", "haproxy sessions")];
        assert_eq!(refused(&failed, Some(Field::Sessions)), none);
        let time = refused(&rows, Some(Field::ResponseTimeMs));
        assert!(time.starts_with("haproxy response_time_ms cannot be replayed: "), "{time}");
    }

    #[test]
    fn the_rows_of_the_metric_count_and_a_long_name_is_one_by_its_beginning() {
        let all = [row("0 5 5 1 1", "memory"), row("1 6 6 1 1", "cpu"), row("2 7 7 1 1", "cpu")];
        let got = recorded(&all);
        assert_eq!((got.start, got.covered()), (Wall(START + 60), Duration::from_secs(120)));
        let name = "é".repeat(200);
        let load = row("0 5 5 1 1", &name).loads.remove(0);
        for (asked, want) in [
            (name.clone(), true),
            (format!("{name}x"), true),
            ("é".repeat(199), false),
            (String::new(), false),
        ] {
            assert_eq!(load.is_of(&asked), want, "{asked}");
        }
    }
}
