//! What the forecast needs of the load history: a few hours of each of the last weeks, at the same
//! local time. Pure: the driver of the controller has the rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use crate::model::load_history::MinuteRow;
use crate::model::metric::Milli;
use crate::model::time::{DAY, MINUTE, Wall};
use crate::model::zone::Zone;

/// Earlier weeks that are looked at.
const WEEKS: u32 = 8;
/// Seconds between two rows while the daemon runs: a tick may be late for a minute.
const ROWS_APART_MAX: i64 = 2 * MINUTE;
/// Minutes before the read that count as recent.
pub(crate) const RECENT: usize = 120;

/// Asks for the slices of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HistoryRead {
    pub(crate) service: String,
    /// As `MinuteLoad::metric` has them.
    pub(crate) metrics: Vec<String>,
    /// In which weeks are counted: its local times stay the same where clocks are changed.
    pub(crate) zone: Zone,
    /// The present minute.
    pub(crate) now: Wall,
    /// From now on.
    pub(crate) minutes: usize,
    /// Of the forecast, in minutes.
    pub(crate) horizon: usize,
    /// Between two evaluations.
    pub(crate) interval: Duration,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HistorySlices {
    /// The minute that each slice begins with, `RECENT` before the read.
    pub(crate) from: Wall,
    /// In the order of the read.
    pub(crate) metrics: Vec<MetricSlices>,
    /// How many days there is a history of, if no week is known; 14 at most.
    pub(crate) days: u32,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct MetricSlices {
    /// Each an earlier week, the latest first. Empty: nothing of it is known.
    pub(crate) weeks: Vec<MinuteValues>,
    /// The minutes before the read.
    pub(crate) recent: MinuteValues,
    /// How far forecasts of the last day were off, as shares, the oldest first.
    pub(crate) errors: Vec<f32>,
}

/// One value a minute, in thousandths; seven digits of it are kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct MinuteValues(Vec<f32>);

impl MinuteValues {
    pub(crate) fn new(values: impl Iterator<Item = Option<Milli>>) -> MinuteValues {
        MinuteValues(values.map(packed).collect())
    }

    /// What lies outside is unknown.
    pub(crate) fn range(&self, from: usize, until: usize) -> Vec<Option<Milli>> {
        let one = |place: usize| self.0.get(place).copied().and_then(unpacked);
        (from..until).map(one).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Nothing where nothing is known.
    fn or_empty(self) -> MinuteValues {
        let is_known = self.0.iter().any(|value| !value.is_nan());
        if is_known { self } else { MinuteValues::default() }
    }
}

pub(crate) fn packed(value: Option<Milli>) -> f32 {
    value.map_or(f32::NAN, |value| value.0 as f32)
}

fn unpacked(value: f32) -> Option<Milli> {
    (!value.is_nan()).then_some(Milli(value as u64))
}

/// How far a forecast was off: a share of the load that came. `None`: there was no load.
pub(crate) fn error(expected: Milli, highest: Milli) -> Option<f32> {
    let off = expected.0.abs_diff(highest.0) as f32;
    (0 < highest.0).then(|| off / highest.0 as f32)
}

/// What an evaluation saw holds until the next one is due: a minute in between is known.
pub(crate) struct HeldLoad {
    minutes: i64,
    last: Option<(i64, Milli)>,
}

impl HeldLoad {
    pub(crate) fn new(interval: Duration) -> HeldLoad {
        HeldLoad { minutes: held_minutes(interval), last: None }
    }

    /// Of a minute that is later than those before, with what was seen in it.
    pub(crate) fn at(&mut self, minute: i64, seen: Option<Milli>) -> Option<Milli> {
        self.last = seen.map(|load| (minute, load)).or(self.last);
        let (_, load) = self.last.filter(|(at, _)| minute - at <= self.minutes)?;
        Some(load)
    }
}

/// For how many minutes after its own the load of an evaluation holds.
pub(crate) fn held_minutes(interval: Duration) -> i64 {
    i64::try_from(interval.as_secs()).unwrap_or(i64::MAX) / MINUTE
}

/// Where rows come from: the files of the history, or a trace.
pub(crate) trait RowSource {
    /// The rows of the service from one time up to another, in order. What cannot be read of them
    /// is left out; without any other row it is an error.
    fn rows(&self, from: Wall, until: Wall) -> Result<Vec<MinuteRow>, String>;

    /// Of how many days there are any, back from this time; 14 at most.
    fn days(&self, now: Wall) -> u32;
}

impl HistoryRead {
    /// A week that cannot be read is not known.
    ///
    /// # Errors
    ///
    /// The first of them, if no week is left.
    pub(crate) fn answer(&self, source: &dyn RowSource) -> Result<HistorySlices, String> {
        let reach = |minutes: usize| MINUTE.saturating_mul(i64::try_from(minutes).unwrap_or(0));
        let from = Wall(self.now.0 - reach(RECENT));
        let count = RECENT + self.minutes;
        let mut unreadable = None;
        let mut read = |from: Wall, until: Wall| {
            source.rows(from, until).unwrap_or_else(|why| {
                unreadable.get_or_insert(why);
                Vec::new()
            })
        };
        let mut metrics = vec![MetricSlices::default(); self.metrics.len()];
        for week in 1..=WEEKS {
            let times: Vec<Option<Wall>> =
                (0..count).map(|i| self.earlier(Wall(from.0 + reach(i)), week)).collect();
            let known = times.iter().flatten();
            let rows = match (known.clone().min(), known.max()) {
                (Some(first), Some(last)) => {
                    let first = Wall(first.0.saturating_sub(self.held_before()));
                    read(first, Wall(last.0 + MINUTE))
                }
                _ => Vec::new(),
            };
            for (name, slices) in self.metrics.iter().zip(&mut metrics) {
                let loads = self.loads(&rows, name);
                let value = |at: &Option<Wall>| loads.get(at.as_ref()?).copied();
                let week = MinuteValues::new(times.iter().map(value));
                slices.weeks.push(week.or_empty());
            }
        }
        let day = read(Wall(self.now.0 - DAY), self.now);
        for (name, slices) in self.metrics.iter().zip(&mut metrics) {
            let loads = self.loads(&day, name);
            let value = |i: usize| loads.get(&Wall(from.0 + reach(i))).copied();
            slices.recent = MinuteValues::new((0..RECENT).map(value));
            slices.errors = self.errors(name, &day);
        }
        let has_week = metrics.iter().any(|m| m.weeks.iter().any(|week| !week.is_empty()));
        if let Some(why) = unreadable.filter(|_| !has_week) {
            return Err(why);
        }
        let days = if has_week { 14 } else { source.days(self.now) };
        Ok(HistorySlices { from, metrics, days })
    }

    /// Seconds before the first minute, in which the evaluation may lie that it goes by.
    fn held_before(&self) -> i64 {
        MINUTE.saturating_mul(held_minutes(self.interval))
    }

    /// By minute. Nothing holds over a time without rows: no daemon ran in it.
    fn loads(&self, rows: &[MinuteRow], metric: &str) -> BTreeMap<Wall, Milli> {
        let mut loads = BTreeMap::new();
        let mut held = HeldLoad::new(self.interval);
        let mut before: Option<Wall> = None;
        for row in rows {
            if before.is_some_and(|before| ROWS_APART_MAX < row.at.0 - before.0) {
                held = HeldLoad::new(self.interval);
            }
            before = Some(row.at);
            let held = held.at(row.at.0.div_euclid(MINUTE), load(row, metric));
            loads.extend(held.map(|load| (row.at, load)));
        }
        loads
    }

    /// The same local time of an earlier week; of one that came twice, the first. `None`: clocks
    /// skipped it.
    fn earlier(&self, at: Wall, weeks: u32) -> Option<Wall> {
        let local = self.zone.local(at).naive_local();
        let then = local.checked_sub_signed(TimeDelta::weeks(i64::from(weeks)))?;
        self.zone.instants(then)?.first()
    }

    /// Each forecast that a row has was made for the horizon that ends with it.
    fn errors(&self, metric: &str, rows: &[MinuteRow]) -> Vec<f32> {
        let of = |(i, row): (usize, &MinuteRow)| {
            let expected = row.loads.iter().find(|load| load.is_of(metric))?.forecast?;
            let first = rows.get(i.saturating_sub(self.horizon)..=i)?;
            error(expected, first.iter().filter_map(|row| load(row, metric)).max()?)
        };
        rows.iter().enumerate().filter_map(of).collect()
    }
}

fn load(row: &MinuteRow, metric: &str) -> Option<Milli> {
    row.loads.iter().find(|load| load.is_of(metric))?.average
}

/// Shared with the thread that reads.
pub(crate) type ReadSlices = Result<Arc<HistorySlices>, String>;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::time::Duration;

    use crate::controller::history_slices::{HistoryRead, RECENT, RowSource};
    use crate::model::load_history::{METRIC_NAME_CHARS_MAX, MinuteLoad, MinuteRow};
    use crate::model::metric::Milli;
    use crate::model::time::{DAY, MINUTE, Wall};
    use crate::model::zone::Zone;

    pub(crate) struct Rows {
        pub(crate) rows: BTreeMap<i64, MinuteRow>,
        asked: RefCell<Vec<(i64, i64)>>,
        /// Times that cannot be read.
        bad: Vec<i64>,
    }

    impl RowSource for Rows {
        fn rows(&self, from: Wall, until: Wall) -> Result<Vec<MinuteRow>, String> {
            self.asked.borrow_mut().push((from.0, until.0));
            if self.bad.iter().any(|at| (from.0..until.0).contains(at)) {
                return Err(format!("bad {}", self.bad.len()));
            }
            Ok(self.rows.range(from.0..until.0).map(|(_, row)| row.clone()).collect())
        }

        fn days(&self, _: Wall) -> u32 {
            5
        }
    }

    fn row(at: i64, load: u64, forecast: Option<u64>) -> MinuteRow {
        let load = MinuteLoad {
            metric: "cpu".to_owned(),
            target: Milli(50_000),
            average: Some(Milli(load)),
            highest: Some(Milli(load)),
            forecast: forecast.map(Milli),
        };
        MinuteRow { at: Wall(at), loads: vec![load], ..MinuteRow::default() }
    }

    fn read(zone: &str, now: i64, minutes: usize) -> HistoryRead {
        HistoryRead {
            service: "web".to_owned(),
            metrics: vec!["cpu".to_owned(), "memory".to_owned()],
            zone: Zone::find(zone).unwrap(),
            now: Wall(now),
            minutes,
            horizon: 2,
            interval: Duration::from_secs(15),
        }
    }

    /// Each minute's load is the minute of its local day, so that a value says its time.
    fn local_rows(zone: &str, from: i64, until: i64) -> Rows {
        use chrono::Timelike;
        let zone = Zone::find(zone).unwrap();
        let load = |at: i64| {
            let local = zone.local(Wall(at));
            u64::from(local.hour() * 60 + local.minute())
        };
        let minutes = (from..until).step_by(60);
        let rows = minutes.map(|at| (at, row(at, load(at), None))).collect();
        Rows { rows, asked: RefCell::default(), bad: Vec::new() }
    }

    /// 2026-04-02T00:00:00Z, a Thursday. Clocks in Berlin were set forward on March 29th.
    const APRIL: i64 = 1_775_088_000;

    #[test]
    fn an_earlier_week_is_at_the_same_local_time_across_a_change_of_clocks() {
        let week = 7 * DAY;
        for zone in ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"] {
            let rows = local_rows(zone, APRIL - 4 * week, APRIL);
            let slices = read(zone, APRIL, 30).answer(&rows).unwrap();
            let want = local_rows(zone, APRIL - 120 * MINUTE, APRIL + 30 * MINUTE);
            let want: Vec<_> = want.rows.values().map(|row| row.loads[0].average).collect();
            for i in 0..3 {
                assert_eq!(slices.metrics[0].weeks[i].range(0, RECENT + 30), want, "{zone} {i}");
            }
            assert_eq!(slices.metrics[0].recent.range(0, RECENT), want[..RECENT], "{zone}");
            assert_eq!(slices.days, 14);
            // A metric that the rows do not have.
            assert!(slices.metrics[1].weeks.iter().all(|week| week.is_empty()));
        }
    }

    #[test]
    fn a_local_time_that_was_skipped_is_unknown() {
        // A week after the change, 02:00 to 02:59 in Berlin: the week before had none of it.
        let now = APRIL + 3 * DAY;
        let rows = local_rows("Europe/Berlin", now - 14 * DAY, now);
        let slices = read("Europe/Berlin", now, 60).answer(&rows).unwrap();
        let week = slices.metrics[0].weeks[0].range(RECENT, RECENT + 60);
        // Midnight in London is 02:00 in Berlin then.
        assert_eq!(week, [None; 60]);
        let before = slices.metrics[0].weeks[0].range(0, RECENT);
        assert_eq!(before.iter().flatten().count(), RECENT);
    }

    #[test]
    fn of_a_local_time_that_came_twice_the_first_counts() {
        // 2026-11-01, a week after 02:00 to 02:59 came twice in Berlin.
        let now = 1_793_491_200 + 3600;
        let rows = local_rows("Europe/Berlin", now - 8 * DAY, now);
        let slices = read("Europe/Berlin", now, 60).answer(&rows).unwrap();
        // 01:00 UTC is 02:00 there; a week before, 00:00 UTC was the first one.
        let rows = Rows { rows: rows.rows, asked: RefCell::default(), bad: Vec::new() };
        let first = rows.rows(Wall(now - 7 * DAY - 3600), Wall(now - 7 * DAY)).unwrap();
        let first: Vec<_> = first.iter().map(|row| row.loads[0].average).collect();
        assert_eq!(first[0], Some(Milli(120)));
        assert_eq!(slices.metrics[0].weeks[0].range(RECENT, RECENT + 60), first);
        // The two hours before are those before both.
        let before = slices.metrics[0].weeks[0].range(0, RECENT);
        let want: Vec<_> = (0..120).map(|minute| Some(Milli(minute))).collect();
        assert_eq!(before, want);
    }

    #[test]
    fn a_leap_day_and_the_first_days_of_1970_are_days_like_others() {
        // 2028-03-07T12:00:00Z: the week before had February 29th.
        let leap = 1_835_956_800 + 12 * 3600;
        for (now, weeks) in [(leap, 2), (leap - 7 * DAY, 2), (3600, 0), (-DAY, 0), (15 * DAY, 2)] {
            let rows = local_rows("Europe/Berlin", now - 15 * DAY, now);
            let rows = Rows {
                rows: rows.rows.into_iter().filter(|_| 0 < weeks).collect(),
                asked: RefCell::default(),
                bad: Vec::new(),
            };
            let slices = read("Europe/Berlin", now, 30).answer(&rows).unwrap();
            let known = slices.metrics[0].weeks.iter().filter(|week| !week.is_empty());
            assert_eq!(known.count(), weeks, "{now}");
            let want = local_rows("Europe/Berlin", now - 120 * MINUTE, now + 30 * MINUTE);
            let want: Vec<_> = want.rows.values().map(|row| row.loads[0].average).collect();
            for week in slices.metrics[0].weeks.iter().take(weeks) {
                assert_eq!(week.range(0, RECENT + 30), want, "{now}");
            }
        }
    }

    #[test]
    fn no_more_is_read_than_a_few_hours_of_each_week_and_the_last_day() {
        let rows = local_rows("UTC", APRIL - DAY, APRIL);
        let slices = read("UTC", APRIL, 70).answer(&rows).unwrap();
        assert_eq!(slices.days, 5, "no week is known");
        let asked = rows.asked.into_inner();
        assert_eq!(asked.len(), 9);
        for (from, until) in &asked[..8] {
            assert_eq!(until - from, MINUTE * (120 + 70));
        }
        assert_eq!(asked[8], (APRIL - DAY, APRIL));
    }

    /// Those of a week before that `read` gives, when only each so many minutes had an evaluation.
    fn week_of(every: i64, interval: u64, gap: std::ops::Range<i64>) -> Vec<Option<Milli>> {
        let from = APRIL - 7 * DAY;
        let minutes = (-180..30).filter(|minute| !gap.contains(minute));
        let one = |minute: i64| {
            let at = from + MINUTE * minute;
            let seen = minute.rem_euclid(every) == 0;
            let mut row = row(at, u64::try_from(1000 + minute).unwrap(), None);
            row.loads[0].average = row.loads[0].average.filter(|_| seen);
            (at, row)
        };
        let source =
            Rows { rows: minutes.map(one).collect(), asked: RefCell::default(), bad: Vec::new() };
        let interval = Duration::from_secs(interval);
        let read = HistoryRead { interval, ..read("UTC", APRIL, 30) };
        let slices = read.answer(&source).unwrap();
        slices.metrics[0].weeks[0].range(0, RECENT + 30)
    }

    #[test]
    fn what_an_evaluation_saw_holds_until_the_next_one_is_due() {
        // The interval in seconds, the minutes between two evaluations, the known ones of 150.
        for (interval, every, known) in [
            (15, 1, 150),
            (59, 2, 75),
            (60, 2, 150),
            (60, 3, 100),
            (90, 2, 150),
            (119, 2, 150),
            (180, 3, 150),
            (180, 4, 150),
            (180, 5, 120),
            (3600, 60, 150),
        ] {
            let week = week_of(every, interval, 0..0);
            assert_eq!(week.iter().flatten().count(), known, "{interval} s, {every} min");
        }
        // That of before the first minute is looked for, too.
        let week = week_of(50, 3600, 0..0);
        assert_eq!(
            (week[0], week[19], week[20]),
            (Some(Milli(850)), Some(Milli(850)), Some(Milli(900)))
        );
    }

    #[test]
    fn nothing_holds_over_a_time_in_which_no_daemon_ran() {
        let known = |week: Vec<Option<Milli>>| week[RECENT..].iter().flatten().count();
        // A tick that was late for a minute costs that minute; a gap costs all up to the next
        // evaluation, after 10 minutes.
        assert_eq!(known(week_of(10, 600, 1..2)), 29);
        assert_eq!(known(week_of(10, 600, 1..3)), 21);
    }

    #[test]
    fn a_week_that_cannot_be_read_is_unknown_and_without_any_other_it_is_an_error() {
        let week = |n: i64| APRIL - n * 7 * DAY;
        let days = local_rows("UTC", week(3) - DAY, APRIL);
        let answer = |bad: Vec<i64>| {
            read("UTC", APRIL, 10).answer(&Rows {
                bad,
                rows: days.rows.clone(),
                asked: RefCell::default(),
            })
        };
        let known = |bad: Vec<i64>| -> Vec<bool> {
            let slices = answer(bad).unwrap();
            slices.metrics[0].weeks.iter().take(4).map(|week| !week.is_empty()).collect()
        };
        assert_eq!(known(vec![week(7)]), [true, true, true, false]);
        assert_eq!(known(vec![week(2)]), [true, false, true, false]);
        assert_eq!(known(vec![week(2), week(3)]), [true, false, false, false]);
        // Of the last day nothing is known then.
        let slices = answer(vec![APRIL - 60]).unwrap();
        assert_eq!(slices.metrics[0].recent.range(0, RECENT), [None; RECENT]);
        let all = vec![week(1), week(2), week(3)];
        assert_eq!(answer(all), Err("bad 3".to_owned()));
    }

    #[test]
    fn a_long_name_is_known_by_its_beginning() {
        let name = "é".repeat(METRIC_NAME_CHARS_MAX);
        let mut source = local_rows("UTC", APRIL - 8 * DAY, APRIL);
        let loads = source.rows.values_mut().flat_map(|row| &mut row.loads);
        loads.for_each(|load| (load.metric, load.forecast) = (name.clone(), Some(Milli(1))));
        for (metric, is_known) in [(name.clone(), true), (name + "x", true), ("é".into(), false)] {
            let read = HistoryRead { metrics: vec![metric], ..read("UTC", APRIL, 10) };
            let slices = read.answer(&source).unwrap();
            assert_eq!(!slices.metrics[0].weeks[0].is_empty(), is_known);
            assert_eq!(!slices.metrics[0].errors.is_empty(), is_known);
        }
    }

    #[test]
    fn an_error_is_a_share_of_the_highest_load_of_the_horizon() {
        let minute = |n: i64| APRIL - n * MINUTE;
        // Made for the minutes 4 to 2: the highest load is 200, so half too much and half too
        // little.
        let rows = [
            row(minute(4), 200, None),
            row(minute(3), 100, None),
            row(minute(2), 50, Some(300)),
            row(minute(1), 0, Some(50)),
        ];
        let rows = rows.into_iter().map(|row| (row.at.0, row)).collect();
        let source = Rows { rows, asked: RefCell::default(), bad: Vec::new() };
        let slices = read("UTC", APRIL, 10).answer(&source).unwrap();
        assert_eq!(slices.metrics[0].errors, [0.5, 0.5]);
        assert_eq!(slices.metrics[1].errors, [0.0_f32; 0]);
    }
}
