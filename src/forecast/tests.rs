//! Made-up weeks, and what is forecast of them. A minute of the test counts from a Monday, 0:00.

mod clock_change;
mod traces;

use std::time::Duration;

use crate::forecast::forecast;
use crate::model::forecast::{
    ForecastConfig, ForecastInput, ForecastMode, LoadForecast, NoForecast, WeekSlice,
};
use crate::model::metric::Milli;

const HOUR: i64 = 60;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;
/// Of earlier weeks, before the one in which a test looks.
const WEEKS: i64 = 4;
/// Thursday, 8:20: the load rises from 100 at 8:00 to 700 at 9:00.
const RISE: i64 = WEEKS * WEEK + 3 * DAY + 8 * HOUR + 20;
const MINUTES: i64 = 10;

const CONFIG: ForecastConfig =
    ForecastConfig { mode: ForecastMode::On, horizon: Duration::from_secs(600), percentile: 90 };

/// Each day the same.
fn usual(minute: i64) -> f64 {
    let of_day = minute.rem_euclid(DAY) as f64 / 60.0;
    100.0 + 600.0 * (of_day - 8.0).clamp(0.0, 1.0) - 600.0 * (of_day - 18.0).clamp(0.0, 1.0)
}

/// With noise of 3 % to either side, the same on each run.
fn noisy(minute: i64) -> f64 {
    usual(minute) * (0.97 + 0.06 * chance(minute))
}

/// From 0 to 1, another one for each minute.
fn chance(minute: i64) -> f64 {
    let mut bits = minute.cast_unsigned().wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits ^= bits >> 29;
    bits = bits.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (bits >> 40) as f64 / (1_u64 << 24) as f64
}

fn input(now: i64, load: impl Fn(i64) -> Option<f64>) -> ForecastInput {
    let minutes = |from: i64, to: i64| -> Vec<Option<Milli>> {
        let load = |minute| load(minute).map(|load| Milli((load * 1000.0) as u64));
        (from..to).map(|minute| if minute < 0 { None } else { load(minute) }).collect()
    };
    let week = |back: i64| {
        let then = now - back * WEEK;
        WeekSlice { before: minutes(then - 120, then), ahead: minutes(then, then + MINUTES + 1) }
    };
    ForecastInput { recent: minutes(now - 120, now), weeks: (1..=8).map(week).collect() }
}

fn of(now: i64, load: impl Fn(i64) -> Option<f64>) -> Result<LoadForecast, NoForecast> {
    forecast(&input(now, load), &CONFIG)
}

/// The expected load is within some percent of what comes, and the upper value not below it.
#[track_caller]
fn check(case: &str, now: i64, load: impl Fn(i64) -> Option<f64>, comes: f64, percent: f64) {
    let forecast = of(now, load).unwrap_or_else(|why| panic!("{case}: {why:?}"));
    let expected = forecast.expected.0 as f64 / 1000.0;
    let off = 100.0 * (expected / comes - 1.0);
    assert!(
        off.abs() <= percent,
        "{case}: {expected:.0} is {off:.1} % off {comes:.0}: {forecast:?}"
    );
    assert!(forecast.expected <= forecast.upper, "{case}: {forecast:?}");
}

fn is_in(minute: i64, week: i64) -> bool {
    minute.div_euclid(WEEK) == week
}

#[test]
fn a_rise_is_seen_ahead() {
    // At 8:30.
    check("without noise", RISE, |m| Some(usual(m)), 400.0, 1.0);
    check("with noise", RISE, |m| Some(noisy(m)), 400.0, 3.0);
    let quiet = of(RISE, |m| Some(usual(m))).unwrap();
    let loud = of(RISE, |m| Some(usual(m) * (0.85 + 0.3 * chance(m)))).unwrap();
    assert!(quiet.upper < loud.upper, "{quiet:?} {loud:?}");
    assert_eq!((quiet.weeks, quiet.peak_in), (4, Duration::from_secs(600)));
    assert!((990..=1010).contains(&quiet.correction.0), "{quiet:?}");
    check("on the way down", RISE + 10 * HOUR, |m| Some(noisy(m)), 500.0, 4.0);
}

#[test]
fn a_higher_percentile_and_a_longer_horizon_give_more() {
    let at = |percentile, minutes: u64| {
        let mut input = input(RISE, |m| Some(noisy(m)));
        for (i, week) in (1..).zip(&mut input.weeks) {
            let then = RISE - i * WEEK;
            let ahead = (then..then + 61).map(|m| (0 <= m).then(|| Milli(noisy(m) as u64 * 1000)));
            week.ahead = ahead.collect();
        }
        let horizon = Duration::from_secs(minutes * 60);
        let config = ForecastConfig { percentile, horizon, ..CONFIG };
        forecast(&input, &config).unwrap()
    };
    for pair in [50, 75, 90, 99].windows(2) {
        let (low, high) = (at(pair[0], 10), at(pair[1], 10));
        assert!(low.upper <= high.upper && low.expected == high.expected, "{low:?} {high:?}");
    }
    assert!(at(50, 10).upper < at(99, 10).upper);
    for pair in [1, 10, 30, 60].windows(2) {
        let (near, far) = (at(90, pair[0]), at(90, pair[1]));
        assert!(near.expected < far.expected && near.peak_in < far.peak_in, "{near:?} {far:?}");
    }
}

#[test]
fn one_week_that_is_unlike_the_others_changes_little() {
    let latest = WEEKS - 1;
    for (case, other, percent) in [
        ("dead", 0.06, 3.0),
        ("half", 0.5, 3.0),
        ("doubled", 2.0, 3.0),
        ("ten times as much", 10.0, 3.0),
    ] {
        for week in 0..WEEKS {
            let odd = |m| Some(noisy(m) * if is_in(m, week) { other } else { 1.0 });
            check(&format!("week {week} {case}"), RISE, odd, 400.0, percent);
        }
    }
    // The shape is another one: nothing happened before 8:20 that would tell.
    let off = |m: i64| Some(if is_in(m, latest) { 100.0 } else { noisy(m) });
    check("a day off", RISE, off, 400.0, 8.0);
    let calm = RISE - 30;
    check("a day off, before the rise", calm, off, 100.0, 5.0);
}

#[test]
fn a_dead_week_beside_one_that_fits_says_nothing_of_the_margin() {
    let margin = |dead: i64, now: i64| {
        let of_week = |m| if is_in(m, dead) { 0.06 } else { 1.0 };
        let load = |m: i64| ((WEEKS - 2) * WEEK <= m).then(|| noisy(m) * of_week(m));
        let forecast = of(now, load).unwrap();
        assert_eq!(forecast.weeks, 2);
        forecast.upper.0 as f64 / forecast.expected.0 as f64 - 1.0
    };
    for now in [RISE, RISE - HOUR, RISE + 6 * HOUR] {
        let without = margin(0, now);
        for dead in [WEEKS - 2, WEEKS - 1] {
            let with = margin(dead, now);
            assert!(
                with <= without + 0.02,
                "{now}: {with:.3} with a dead week, {without:.3} without"
            );
        }
    }
}

#[test]
fn a_spike_that_came_once_is_not_expected_again() {
    let rush = |m: i64| Some(noisy(m) + if m / 60 == (RISE - WEEK) / 60 { 2000.0 } else { 0.0 });
    let forecast = of(RISE - 30, rush).unwrap();
    assert!(forecast.upper.0 < 300_000, "{forecast:?}");
}

#[test]
fn a_spike_that_shifts_by_20_minutes_costs_no_more_than_its_own_height() {
    // Each day at 2:00, for 20 minutes, 500 more; in one week or today 20 minutes later.
    let spike =
        |m: i64, late: i64| 100.0 + if (m - late).rem_euclid(DAY) / 20 == 6 { 500.0 } else { 0.0 };
    let two = WEEKS * WEEK + 3 * DAY + 2 * HOUR;
    for week in 0..WEEKS {
        let load = |m| Some(spike(m, if is_in(m, week) { 20 } else { 0 }));
        check(&format!("in week {week}"), two - 5, load, 600.0, 20.0);
    }
    let late_today = |m| Some(spike(m, if is_in(m, WEEKS) { 20 } else { 0 }));
    check("expected in vain", two - 5, late_today, 600.0, 1.0);
    for minute in 0..60 {
        let forecast = of(two + minute, late_today).unwrap();
        assert!(forecast.upper.0 <= 1_200_000, "{minute}: {forecast:?}");
    }
}

#[test]
fn two_hours_of_outage_in_the_history_are_no_low_load() {
    let latest = WEEKS * WEEK - WEEK;
    for from in [RISE - WEEK - 110, RISE - WEEK - 20, RISE - WEEK] {
        for outage in [Some(0.0), Some(0.3), None] {
            let is_out = |m: i64| latest <= m && (from..from + 120).contains(&m);
            let load = |m| if is_out(m) { outage } else { Some(noisy(m)) };
            check(&format!("{outage:?} from {from}"), RISE, load, 400.0, 4.0);
            // With two weeks, one of which has it.
            let two = |m| load(m).filter(|_| 2 * WEEK <= m);
            check(&format!("{outage:?} from {from}, of two weeks"), RISE, two, 400.0, 6.0);
        }
    }
}

#[test]
fn an_outage_now_does_not_end_what_was_to_come() {
    for outage in [Some(0.0), None] {
        for minutes in [1, 15, 60, 110] {
            let load = |m| if RISE - minutes <= m { outage } else { Some(noisy(m)) };
            check(&format!("{outage:?} for {minutes} minutes"), RISE, load, 400.0, 6.0);
            let over = |m| {
                let is_out = (RISE - 5 - minutes..RISE - 5).contains(&m);
                if is_out { outage } else { Some(noisy(m)) }
            };
            check(&format!("{outage:?} for {minutes} minutes, over"), RISE, over, 400.0, 6.0);
        }
        // All that is known is known to be nothing: that may go on for a week.
        let load = |m| if RISE - 119 <= m { outage } else { Some(noisy(m)) };
        assert_eq!(of(RISE, load), Err(NoForecast::NoRecentLoad), "{outage:?}");
    }
}

#[test]
fn a_service_on_another_level_is_forecast_on_that_level() {
    for (factor, since, percent) in [
        (2.0, 120, 6.0),
        (2.0, 2 * DAY, 6.0),
        (2.0, WEEK + DAY, 3.0),
        (1.5, 2 * DAY, 3.0),
        (0.5, 2 * DAY, 3.0),
        (0.06, 2 * DAY, 12.0),
    ] {
        let load = |m| Some(noisy(m) * if RISE - since <= m { factor } else { 1.0 });
        check(&format!("{factor} since {since}"), RISE, load, 400.0 * factor, percent);
    }
    let grown = of(RISE, |m| Some(usual(m) * if RISE - 2 * DAY <= m { 2.0 } else { 1.0 })).unwrap();
    assert!((1900..=2000).contains(&grown.correction.0), "{grown:?}");
}

#[test]
fn next_to_no_load_says_nothing_of_what_is_to_come() {
    // A request instead of three in an hour without clients; the morning is what it always is.
    let night = |m: i64| if m.rem_euclid(DAY) < 8 * HOUR { 1.0 } else { 700.0 };
    let opens = WEEKS * WEEK + 3 * DAY + 8 * HOUR;
    for factor in [0.1, 1.0, 3.0, 30.0] {
        let load = |m| Some(night(m) * if opens - 200 <= m { factor } else { 1.0 });
        check(&format!("{factor}"), opens - 5, load, 700.0, 3.0);
    }
    check("nothing at all", opens - 5, |m| Some(night(m) - 1.0), 699.0, 1.0);
}

#[test]
fn what_never_changes_is_forecast_as_it_is() {
    for load in [0.0, 0.001, 1.0, 1e15] {
        let forecast = of(RISE, |_| Some(load)).unwrap();
        let want = Milli((load * 1000.0) as u64);
        assert_eq!((forecast.expected, forecast.upper), (want, want), "{load}");
        assert_eq!((forecast.correction, forecast.peak_in), (Milli(1000), Duration::ZERO));
    }
}

#[test]
fn without_an_earlier_week_or_a_recent_load_there_is_none() {
    let only = |from: i64| move |m: i64| (from <= m).then(|| noisy(m));
    assert_eq!(of(RISE, |_| None), Err(NoForecast::NoWeek));
    assert_eq!(of(RISE, only(RISE - 6 * DAY)), Err(NoForecast::NoWeek));
    assert_eq!(forecast(&ForecastInput::default(), &CONFIG), Err(NoForecast::NoWeek));
    // Five of the eleven minutes of the only week are too few.
    assert_eq!(of(RISE, only(RISE - WEEK + 6)), Err(NoForecast::NoWeek));
    assert_eq!(of(RISE, only(RISE - WEEK + 5)).unwrap().weeks, 1);
    check("one week", RISE, only(RISE - WEEK - DAY), 400.0, 4.0);
    check("two weeks", RISE, only(RISE - 2 * WEEK - DAY), 400.0, 4.0);
    for (known, is_enough) in [(0, false), (4, false), (5, true)] {
        let load = |m| (m < RISE - 120 || RISE - known <= m).then(|| noisy(m));
        assert_eq!(of(RISE, load).is_ok(), is_enough, "{known}");
    }
}

#[test]
fn lists_may_have_any_length() {
    let whole = input(RISE, |m| Some(noisy(m)));
    let lengths = [0, 1, 4, 5, 30, 119, 120];
    for recent in lengths {
        for before in lengths {
            for ahead in [0, 5, 6, 11] {
                let mut cut = whole.clone();
                cut.recent.drain(..120 - recent);
                for week in &mut cut.weeks {
                    week.before.drain(..120 - before);
                    week.ahead.truncate(ahead);
                }
                let got = forecast(&cut, &CONFIG);
                let want = match (ahead, recent) {
                    (..6, _) => Err(NoForecast::NoWeek),
                    (_, ..5) => Err(NoForecast::NoRecentLoad),
                    _ => Ok(()),
                };
                assert_eq!(got.map(|_| ()), want, "{recent} {before} {ahead}");
            }
        }
    }
    // More than two hours, eight weeks and the horizon are not looked at.
    let mut more = whole.clone();
    more.recent.insert(0, Some(Milli(1)));
    more.weeks.iter_mut().for_each(|week| week.ahead.push(Some(Milli(u64::MAX))));
    more.weeks.iter_mut().for_each(|week| week.before.insert(0, Some(Milli(1))));
    more.weeks.push(more.weeks[0].clone());
    assert_eq!(forecast(&more, &CONFIG), forecast(&whole, &CONFIG));
}

#[test]
fn no_forecast_is_beyond_what_was_seen() {
    for seed in 0..600 {
        let kind = |m: i64| chance(seed * 7919 + m.rem_euclid(WEEK) / 7);
        let load = |m: i64| match (chance(seed * 104_729 + m) * 8.0) as u32 {
            0 => None,
            1 => Some(0.0),
            2 => Some(kind(m) * 1e15),
            _ => Some(kind(m) * 10_f64.powi((seed % 15) as i32 - 2)),
        };
        let input = input(RISE - seed * 11, load);
        let Ok(got) = forecast(&input, &CONFIG) else { continue };
        let seen = input.weeks.iter().flat_map(|w| w.before.iter().chain(&w.ahead));
        let seen = seen.chain(&input.recent).flatten().max().unwrap();
        assert!(got.expected <= got.upper, "{seed}: {got:?}");
        assert!(got.upper.0 <= 2 * seen.0, "{seed}: {got:?} {seen:?}");
        assert!(got.peak_in <= CONFIG.horizon, "{seed}: {got:?}");
    }
    let all = forecast(&input(RISE, |_| Some(f64::INFINITY)), &CONFIG).unwrap();
    assert_eq!(all.upper, Milli(u64::MAX));
}
