//! Ticks at round numbers and at round local times, with labels that do not touch.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};

use crate::model::time::Wall;
use crate::model::zone::LocalTime;
use crate::sim::svg::curve::column;
use crate::sim::timeline::{Timeline, decimal, short};

const HOUR_S: i64 = 3600;
const DAY_S: i64 = 24 * HOUR_S;
/// Seconds between two ticks, of which each goes into the day or is one of whole days.
const STEPS_S: [i64; 24] = [
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    HOUR_S,
    2 * HOUR_S,
    3 * HOUR_S,
    6 * HOUR_S,
    12 * HOUR_S,
    DAY_S,
    2 * DAY_S,
    7 * DAY_S,
    14 * DAY_S,
    28 * DAY_S,
    56 * DAY_S,
    112 * DAY_S,
];
/// A clock that changes may put that much between local time and time that passes.
const CHANGE_S: i64 = 3 * HOUR_S;
const TIMES_MAX: i64 = 12;
const NUMBERS_MAX: f64 = 6.0;

/// A place on the axis. Where labels would touch, the later one is empty.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    /// Pixels from the left.
    pub(crate) x: u32,
    pub(crate) label: String,
}

/// The width of a text in a font of this size. Nobody knows the reader's font: these are the widths
/// of a wide one.
pub(crate) fn text_width(text: &str, size: f64) -> f64 {
    let width = |c| match c {
        'f' | 'i' | 'j' | 'l' | 'r' | 't' | ' ' | '.' | ',' | ':' | '-' => 0.37,
        'm' | 'w' | 'M' | 'W' | '%' | '…' => 0.98,
        _ => 0.64,
    };
    text.chars().map(width).sum::<f64>() * size
}

/// From zero to `top` in steps of 1, 2 or 5 and zeros, with what to write there.
pub(crate) fn numbers(top: f64, whole: bool) -> Vec<(f64, String)> {
    let power = 10f64.powi(exponent(top / NUMBERS_MAX));
    let fits = |factor: &f64| top / (factor * power) <= NUMBERS_MAX;
    let factor = [1.0, 2.0, 5.0].into_iter().find(fits).unwrap_or(10.0);
    let step = if whole { (factor * power).max(1.0) } else { factor * power };
    let ticks = (0..=10).map(|i| f64::from(i) * step).filter(|tick| *tick <= top);
    ticks.map(|tick| (tick, number(tick, step))).collect()
}

/// As short as possible while all of them differ.
fn number(value: f64, step: f64) -> String {
    if value == 0.0 || 0.01 <= step {
        return short(value);
    }
    let exponent = exponent(value);
    format!("{}e{exponent}", decimal(value / 10f64.powi(exponent), 1))
}

/// Of the largest power of ten that is not more than the value. Without a logarithm: those of the
/// standard library bring long tables along.
fn exponent(value: f64) -> i32 {
    let fits = |exponent: &i32| 10f64.powi(*exponent) <= value;
    (-20..20).rev().find(fits).unwrap_or(-20)
}

/// Ticks of the local wall clock; the first of each day has its date when the run has several.
pub(crate) fn times(timeline: &Timeline, width: u32, font: f64) -> Vec<Tick> {
    let span_s = i64::try_from(timeline.end.as_secs()).unwrap_or(i64::MAX);
    let fits = |step: &i64| span_s / step <= TIMES_MAX;
    let step_s = STEPS_S.into_iter().find(fits).unwrap_or(STEPS_S[STEPS_S.len() - 1]);
    let mut ticks = Vec::new();
    let mut free_from = f64::NEG_INFINITY;
    for (at, local) in instants(timeline, step_s) {
        let since = (at - timeline.start.0).unsigned_abs();
        let x = column(Duration::from_secs(since), timeline.end, width);
        let mut label = match (local.time() == NaiveTime::MIN && DAY_S < span_s, step_s < 60) {
            (true, _) => local.format("%a %-d %b").to_string(),
            (false, true) => local.format("%H:%M:%S").to_string(),
            (false, false) => local.format("%H:%M").to_string(),
        };
        let half = text_width(&label, font) / 2.0;
        if f64::from(x) - half < free_from {
            label.clear();
        } else {
            free_from = f64::from(x) + half + font / 2.0;
        }
        ticks.push(Tick { x, label });
    }
    ticks
}

/// Every instant of the run at which the local clock shows a multiple of the step, and what it
/// shows. An hour that comes twice is there twice, one that does not exist is not.
fn instants(timeline: &Timeline, step_s: i64) -> BTreeMap<i64, NaiveDateTime> {
    let start = timeline.local(Duration::ZERO);
    let end = timeline.local(timeline.end);
    let origin = monday();
    let since = |local: NaiveDateTime| local.signed_duration_since(origin).num_seconds();
    let first = (since(start.naive_local()) - CHANGE_S).div_euclid(step_s);
    let last = (since(end.naive_local()) + CHANGE_S).div_euclid(step_s);
    let mut found = BTreeMap::new();
    for k in first..=last {
        let Some(local) = origin.checked_add_signed(TimeDelta::seconds(k * step_s)) else {
            continue;
        };
        let instants = match timeline.zone.instants(local) {
            Some(LocalTime::Once(at)) => [Some(at), None],
            Some(LocalTime::Twice(first, second)) => [Some(first), Some(second)],
            // The day begins an hour late, but has its date all the same.
            Some(LocalTime::Skipped(at)) => {
                let is_late_midnight = local.time() == NaiveTime::MIN
                    && timeline.zone.local(at).date_naive() == local.date();
                [is_late_midnight.then_some(at), None]
            }
            None => [None, None],
        };
        let run = start.timestamp()..=end.timestamp();
        for Wall(at) in instants.into_iter().flatten().filter(|at| run.contains(&at.0)) {
            found.entry(at).or_insert(local);
        }
    }
    found
}

/// Some Monday, from which steps of weeks are counted.
fn monday() -> NaiveDateTime {
    NaiveDate::default().checked_add_days(Days::new(4)).unwrap_or_default().and_time(NaiveTime::MIN)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::DateTime;

    use crate::model::time::Wall;
    use crate::model::zone::Zone;
    use crate::sim::svg::axis::{numbers, times};
    use crate::sim::timeline::Timeline;

    #[track_caller]
    fn check_numbers(top: f64, whole: bool, want: &str) {
        let labels: Vec<String> = numbers(top, whole).into_iter().map(|(_, text)| text).collect();
        assert_eq!(labels.join(" "), want, "up to {top}");
    }

    #[test]
    fn number_ticks_are_round_and_few() {
        check_numbers(6.0, false, "0 1 2 3 4 5 6");
        check_numbers(6.1, false, "0 2 4 6");
        check_numbers(10.0, false, "0 2 4 6 8 10");
        check_numbers(30.0, false, "0 5 10 15 20 25 30");
        check_numbers(30.1, false, "0 10 20 30");
        check_numbers(1.0, false, "0 0.2 0.4 0.6 0.8 1");
        check_numbers(1.0, true, "0 1");
        check_numbers(1.06, true, "0 1");
        check_numbers(8.48, true, "0 2 4 6 8");
        check_numbers(1060.0, true, "0 200 400 600 800 1000");
        check_numbers(74_200.0, false, "0 20k 40k 60k");
        check_numbers(0.06, false, "0 0.01 0.02 0.03 0.04 0.05 0.06");
        check_numbers(0.000_13, false, "0 5.0e-5 1.0e-4");
    }

    /// Labels from a start for a while, with `.` for a tick that has none.
    #[track_caller]
    fn check_times(zone: &str, start: &str, seconds: u64, want: &str) {
        let start = DateTime::parse_from_rfc3339(start).unwrap().timestamp();
        let timeline = Timeline {
            service: "web".to_owned(),
            unit: "% CPU".to_owned(),
            target: 1.0,
            zone: Zone::find(zone).unwrap(),
            start: Wall(start),
            points: Vec::new(),
            windows: Vec::new(),
            waits: None,
            gaps: Vec::new(),
            end: Duration::from_secs(seconds),
        };
        let ticks = times(&timeline, 880, 11.0);
        let label = |text: &str| if text.is_empty() { ".".to_owned() } else { text.to_owned() };
        let labels: Vec<String> = ticks.iter().map(|tick| label(&tick.label)).collect();
        assert_eq!(labels.join(", "), want, "{seconds} s from {start} in {zone}");
        assert!(ticks.windows(2).all(|pair| pair[0].x < pair[1].x), "{ticks:?}");
    }

    #[test]
    fn time_ticks_are_round_on_the_local_clock() {
        let hours = "00:00, 02:00, 04:00, 06:00, 08:00, 10:00, 12:00, 14:00, 16:00, 18:00, 20:00";
        check_times("UTC", "2026-03-02T00:00:00Z", 86_400, &format!("{hours}, 22:00, 00:00"));
        let want =
            "06:00, 06:10, 06:20, 06:30, 06:40, 06:50, 07:00, 07:10, 07:20, 07:30, 07:40, 07:50";
        check_times("Asia/Kathmandu", "2026-03-02T00:10:00Z", 7200, want);
        let want = "00:00:03, 00:00:04, 00:00:05, 00:00:06, 00:00:07, 00:00:08, 00:00:09, \
            00:00:10, 00:00:11";
        check_times("UTC", "2026-03-02T00:00:03Z", 8, want);
        let want = "00:01, 00:02, 00:03, 00:04, 00:05, 00:06, 00:07, 00:08, 00:09, 00:10";
        check_times("UTC", "2026-03-02T00:00:03Z", 600, want);
        check_times("UTC", "2026-03-02T00:00:00Z", 0, "00:00:00");
    }

    #[test]
    fn a_run_of_days_has_dates_at_midnight() {
        let want = "10:00, 12:00, 14:00, 16:00, 18:00, 20:00, 22:00, Tue 3 Mar, 02:00, \
            04:00, 06:00, 08:00, 10:00";
        check_times("Europe/Berlin", "2026-03-02T10:00:00+01:00", 86_401, want);
        let want = "Mon 2 Mar, Tue 3 Mar, Wed 4 Mar, Thu 5 Mar, Fri 6 Mar, Sat 7 Mar, \
            Sun 8 Mar, Mon 9 Mar";
        check_times("UTC", "2026-03-02T00:00:00Z", 7 * 86_400, want);
        let want = "Mon 13 Apr, Mon 8 Jun, Mon 3 Aug, Mon 28 Sep, Mon 23 Nov, Mon 18 Jan";
        check_times("UTC", "2026-03-02T01:00:00Z", 366 * 86_400, want);
    }

    #[test]
    fn clocks_that_change_neither_lose_nor_repeat_a_tick() {
        let want = "00:00, 00:30, 01:00, 01:30, 03:00, 03:30, 04:00, 04:30, 05:00, 05:30, \
            06:00, 06:30, 07:00";
        check_times("Europe/Berlin", "2026-03-29T00:00:00+01:00", 6 * 3600, want);
        let want = "00:00, 00:30, 01:00, 01:30, 02:00, 02:30, 02:00, 02:30, 03:00, 03:30, \
            04:00, 04:30, 05:00";
        check_times("Europe/Berlin", "2026-10-25T00:00:00+02:00", 6 * 3600, want);
        let want = "02:20, 02:22, 02:24, 02:26, 02:28, 02:30, 02:32, 02:34, 02:36, 02:38, 02:40";
        check_times("Europe/Berlin", "2026-10-25T02:20:00+01:00", 1200, want);
        let want = "02:50, 02:52, 02:54, 02:56, 02:58, 02:00, 02:02, 02:04, 02:06, 02:08, 02:10";
        check_times("Europe/Berlin", "2026-10-25T02:50:00+02:00", 1200, want);
        let want = "12:00, 14:00, 16:00, 18:00, 20:00, 22:00, Sun 25 Oct, 02:00, ., \
            04:00, 06:00, 08:00, 10:00";
        check_times("Europe/Berlin", "2026-10-24T12:00:00+02:00", 86_500, want);
        // Midnight does not exist on that day.
        let want = "12:00, 14:00, 16:00, 18:00, 20:00, 22:00, Sun 29 Mar, ., 04:00, \
            06:00, 08:00, 10:00, 12:00";
        check_times("Asia/Beirut", "2026-03-28T12:00:00+02:00", 86_500, want);
    }
}
