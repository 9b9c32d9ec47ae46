//! When the history is read, and what is said meanwhile.

use std::sync::Arc;
use std::time::Duration;

use crate::config;
use crate::controller::forecaster::{
    AT_ONCE, DEADLINE, ForecastRead, Forecaster, REACH, RETRY, SLACK, minute_of,
};
use crate::controller::history_slices::{HistorySlices, MetricSlices, MinuteValues, RECENT};
use crate::model::config::Config;
use crate::model::decision::MetricResult;
use crate::model::forecast::{ForecastFailure, MetricForecast, NoForecast};
use crate::model::load_history::{MinuteLoad, MinuteRow};
use crate::model::metric::Milli;
use crate::model::reason::Rule;
use crate::model::status::ReplicaState;
use crate::model::time::{MINUTE, Moment, Wall};
use crate::report::problems::tests as samples;

const NOON: i64 = 1_775_131_200;
const S: Duration = Duration::from_secs(1);

fn config(services: &[(&str, &str)]) -> Config {
    let service = |(name, forecast): &(&str, &str)| {
        format!(
            r#""{name}": {{ "image": "a", "port": 80, "max_replicas": 9,
                 "scale_up_threshold": 50, "scale_down_threshold": 20,
                 "forecast": {{ {forecast} }} }}"#
        )
    };
    let services: Vec<String> = services.iter().map(service).collect();
    let text = format!(r#"{{ "services": {{ {} }} }}"#, services.join(","));
    config::parse("made up", &text).config.unwrap()
}

fn at(minutes: u64) -> Moment {
    Moment(60_000 * minutes)
}

fn wall(minutes: i64) -> Wall {
    Wall(NOON + 60 * minutes)
}

/// Each week and the last two hours are flat.
fn flat(read: &ForecastRead, weeks: usize, load: u64) -> Arc<HistorySlices> {
    let values = |count: usize| MinuteValues::new((0..count).map(|_| Some(Milli(load))));
    let metric = MetricSlices {
        weeks: (0..weeks).map(|_| values(RECENT + read.history.minutes)).collect(),
        recent: values(RECENT),
        errors: Vec::new(),
    };
    let from = Wall(read.history.now.0 - MINUTE * i64::try_from(RECENT).unwrap());
    Arc::new(HistorySlices { from, metrics: vec![metric], days: 3 })
}

fn one(forecaster: &mut Forecaster, minute: i64) -> MetricForecast {
    forecaster.forecasts(wall(minute))["web"].metrics[0].clone()
}

fn failure(forecaster: &mut Forecaster, minute: i64) -> Option<ForecastFailure> {
    one(forecaster, minute).result.err()
}

/// With a history of two weeks that was read at noon.
fn read_at_noon() -> Forecaster {
    let mut forecaster = Forecaster::default();
    forecaster.watch(&config(&[("web", r#""mode": "on""#)]), at(0));
    let reads = forecaster.due(at(0), wall(0));
    forecaster.answered(reads[0].id, "web", Ok(flat(&reads[0], 2, 120_000)), at(0));
    forecaster
}

#[test]
fn a_read_reaches_an_hour_and_comes_again_before_that() {
    let mut forecaster = read_at_noon();
    assert!(forecaster.due(at(29), wall(29)).is_empty());
    let next = forecaster.idle(at(0)).unwrap();
    assert!((30 * 60 * S..55 * 60 * S).contains(&next), "{next:?}");
    let made = one(&mut forecaster, 0).result.unwrap();
    assert_eq!((made.expected, made.weeks), (Milli(120_000), 2));
    assert_eq!(one(&mut forecaster, 0).replicas(), Some(3));
    // The history knows nothing of the present hour: it is not forecast without recent load.
    let recent = i64::try_from(REACH + SLACK).unwrap();
    for (minute, is_there) in [(-1, false), (0, true), (recent - 1, true), (recent, false)] {
        let failed = failure(&mut forecaster, minute);
        assert_eq!(failed != Some(ForecastFailure::NotRead), is_there, "{minute}: {failed:?}");
    }
}

#[test]
fn a_clock_that_was_set_is_read_for_at_once_and_not_in_a_loop() {
    let mut forecaster = read_at_noon();
    for hours in [-5, 7] {
        let minute = 60 * hours;
        let reads = forecaster.due(at(1), wall(minute));
        assert_eq!(reads.len(), 1, "{hours} h");
        assert_eq!(reads[0].history.now, wall(minute));
        assert!(forecaster.due(at(1), wall(minute)).is_empty(), "one at a time");
        assert_eq!(failure(&mut forecaster, minute), Some(ForecastFailure::NotRead));
        forecaster.answered(reads[0].id, "web", Ok(flat(&reads[0], 2, 9_000)), at(1));
        assert!(forecaster.due(at(1), wall(minute)).is_empty());
        assert!(one(&mut forecaster, minute).result.is_ok(), "{hours} h");
    }
}

#[test]
fn a_read_that_fails_or_hangs_is_tried_again_and_what_was_read_stands() {
    let mut forecaster = Forecaster::default();
    forecaster.watch(&config(&[("web", r#""mode": "shadow""#)]), at(0));
    assert_eq!(failure(&mut forecaster, 0), Some(ForecastFailure::NotRead));
    let first = forecaster.due(at(0), wall(0)).remove(0);
    forecaster.answered(first.id, "web", Err("denied".to_owned()), at(0));
    let denied = ForecastFailure::Unreadable("denied".to_owned());
    assert_eq!(failure(&mut forecaster, 0), Some(denied));
    assert_eq!(forecaster.idle(at(0)), Some(RETRY));

    // It hangs: it has failed after the deadline, and what it says later is of no use.
    let hung = forecaster.due(at(1), wall(1)).remove(0);
    assert_eq!(forecaster.idle(at(1)), Some(DEADLINE));
    assert!(forecaster.due(at(1).plus(DEADLINE), wall(1)).is_empty());
    forecaster.answered(hung.id, "web", Ok(flat(&hung, 2, 1_000)), at(2));
    let late = failure(&mut forecaster, 1).unwrap().to_string();
    assert!(late.ends_with("no answer within 30 s"), "{late}");

    let good = forecaster.due(at(3), wall(3)).remove(0);
    forecaster.answered(good.id, "web", Ok(flat(&good, 2, 1_000)), at(3));
    assert!(one(&mut forecaster, 3).result.is_ok());
    let again = forecaster.due(at(60), wall(60)).remove(0);
    forecaster.answered(again.id, "web", Err("denied".to_owned()), at(60));
    forecaster.services.get_mut("web").unwrap().add(&row(59, 1_000));
    assert!(one(&mut forecaster, 60).result.is_ok(), "what was read reaches further");
}

fn row(minute: i64, load: u64) -> MinuteRow {
    let load = MinuteLoad {
        metric: "cpu".to_owned(),
        target: Milli(50_000),
        average: Some(Milli(load)),
        highest: Some(Milli(load)),
        forecast: None,
    };
    MinuteRow { at: wall(minute), loads: vec![load], ..MinuteRow::default() }
}

#[test]
fn services_take_turns() {
    let names: Vec<String> = (0..50).map(|n| format!("s{n}")).collect();
    let on = r#""mode": "on""#;
    let services: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), on)).collect();
    let mut forecaster = Forecaster::default();
    forecaster.watch(&config(&services), at(0));
    let mut read = 0;
    while read < 50 {
        let reads = forecaster.due(at(0), wall(0));
        assert!((1..=AT_ONCE).contains(&reads.len()), "{read}");
        assert!(forecaster.due(at(0), wall(0)).is_empty());
        for one in reads {
            read += 1;
            forecaster.answered(one.id, &one.history.service, Ok(flat(&one, 2, 1)), at(0));
        }
    }
    let due: Vec<Moment> = forecaster.services.values().map(|watch| watch.due).collect();
    let in_minute = |m: u64| due.iter().filter(|d| (at(m)..at(m + 1)).contains(d)).count();
    assert!((30..55).all(|minute| in_minute(minute) <= 8), "{due:?}");
    assert_eq!((30..55).map(in_minute).sum::<usize>(), 50);
}

#[test]
fn a_reload_reads_at_once_what_changed_and_keeps_the_rest() {
    let mut forecaster = read_at_noon();
    forecaster.watch(&config(&[("web", r#""mode": "shadow""#)]), at(1));
    assert!(forecaster.due(at(1), wall(1)).is_empty(), "the same history");
    forecaster.services.get_mut("web").unwrap().add(&row(0, 120_000));
    assert!(one(&mut forecaster, 1).result.is_ok());
    forecaster.watch(&config(&[("web", r#""mode": "on", "horizon": "20m""#)]), at(1));
    let reads = forecaster.due(at(1), wall(1));
    assert_eq!(reads[0].history.minutes, REACH + 20 + SLACK);
    assert_eq!(failure(&mut forecaster, 1), Some(ForecastFailure::NotRead));
    forecaster.watch(&config(&[("web", r#""mode": "off""#)]), at(1));
    assert!(forecaster.forecasts(wall(1)).is_empty());
    forecaster.answered(reads[0].id, "web", Ok(flat(&reads[0], 2, 1)), at(1));
    assert_eq!(forecaster.idle(at(1)), None);
}

#[test]
fn a_history_without_a_week_says_how_long_it_is() {
    for (days, want) in [
        (3, ForecastFailure::TooShort { days: 3 }),
        (14, ForecastFailure::None(NoForecast::NoWeek)),
    ] {
        let mut forecaster = Forecaster::default();
        forecaster.watch(&config(&[("web", r#""mode": "on""#)]), at(0));
        let read = forecaster.due(at(0), wall(0)).remove(0);
        let slices = HistorySlices { days, ..(*flat(&read, 0, 1)).clone() };
        forecaster.answered(read.id, "web", Ok(Arc::new(slices)), at(0));
        assert_eq!(failure(&mut forecaster, 0), Some(want));
    }
}

#[test]
fn what_was_forecast_is_compared_with_the_highest_load_of_its_horizon() {
    let mut forecaster = read_at_noon();
    let mut errors = Vec::new();
    for minute in 0..=12 {
        // A fifth less than forecast from the sixth minute on.
        let made = one(&mut forecaster, minute);
        errors.push((made.earlier.map(|load| load.0 / 1000), made.error));
        let load = if minute < 6 { 150_000 } else { 100_000 };
        forecaster.services.get_mut("web").unwrap().add(&row(minute, load));
    }
    assert!(errors[..10].iter().all(|said| *said == (None, None)), "{errors:?}");
    assert_eq!(errors[10].0, Some(120), "made at noon");
    // Of the minutes 0 to 10, 150 % was the highest.
    assert_eq!(errors[11].1, Some(Milli(200)), "{errors:?}");
}

#[test]
fn with_a_long_interval_the_last_hours_are_known_and_forecasts_are_compared() {
    for interval in [1, 3, 7, 60] {
        let mut forecaster = Forecaster::default();
        let config = config(&[("web", r#""mode": "on""#)]);
        let check_interval = Duration::from_secs(60 * interval);
        forecaster.watch(&Config { check_interval, ..config }, at(0));
        let read = forecaster.due(at(0), wall(0)).remove(0);
        let mut slices = (*flat(&read, 2, 120_000)).clone();
        slices.metrics[0].recent = MinuteValues::default();
        forecaster.answered(read.id, "web", Ok(Arc::new(slices)), at(0));
        let step = usize::try_from(interval).unwrap();
        let mut last = None;
        for minute in (0..=60).step_by(step) {
            last = Some(one(&mut forecaster, minute));
            forecaster.services.get_mut("web").unwrap().add(&row(minute, 120_000));
        }
        let made = one(&mut forecaster, 64);
        assert!(made.result.is_ok(), "{interval} min: {made:?}");
        let earlier = last.and_then(|made| made.earlier);
        let want = (interval < 60).then_some(Milli(120_000));
        assert_eq!(earlier, want, "{interval} min");
    }
}

#[test]
fn the_minute_before_counts_at_the_first_evaluation_of_a_minute() {
    let mut forecaster = read_at_noon();
    let mut service = samples::service("web", 1, &[(1, ReplicaState::Ready)]);
    service.decision.measured.push(MetricResult {
        name: "cpu".to_owned(),
        unit: "%",
        target: Milli(50_000),
        value: Some(Milli(240_000)),
        ratio: None,
        proposal: None,
        rule: Rule::NoMetric,
        failure: None,
    });
    let usual = one(&mut forecaster, 0).result.unwrap();
    forecaster.evaluated(wall(0), &[service.clone()]);
    let same = one(&mut forecaster, 0).result.unwrap();
    assert_eq!(same, usual, "the minute is not over");
    let next = one(&mut forecaster, 1).result.unwrap();
    assert!(usual.expected < next.expected, "{next:?}");
    // It is made once, also after the evaluation.
    forecaster.evaluated(wall(1), &[service]);
    assert!(forecaster.services["web"].made.is_some());
}

#[test]
fn a_panic_costs_the_forecast_of_one_service_and_minute() {
    let mut forecaster = read_at_noon();
    let watch = forecaster.services.get_mut("web").unwrap();
    let made = watch
        .guarded(minute_of(wall(0)), |_, minute| panic!("in minute {minute}, as the test wants"));
    assert_eq!(made.metrics[0].result, Err(ForecastFailure::Internal));
    assert_eq!((made.metrics[0].name.as_str(), made.largest()), ("cpu", None));
    assert_eq!(failure(&mut forecaster, 0), Some(ForecastFailure::Internal), "once a minute");
    assert!(one(&mut forecaster, 1).result.is_ok());
}

#[test]
fn weeks_are_counted_in_the_zone_of_the_service_else_of_the_daemon_else_in_utc() {
    let berlin = r#""business_hours": { "timezone": "Europe/Berlin" }"#;
    let schedule = |zone: &str| {
        format!(
            r#", "schedules": [{{ "start": "08:00", "end": "18:00", "timezone": "{zone}",
                 "min_replicas": 2, "max_replicas": 9 }}]"#
        )
    };
    for (autoscaler, more, want) in [
        ("", String::new(), "UTC"),
        (berlin, String::new(), "Europe/Berlin"),
        (berlin, schedule("Asia/Tokyo"), "Asia/Tokyo"),
        (berlin, schedule("UTC"), "UTC"),
        ("", schedule("Asia/Tokyo"), "Asia/Tokyo"),
    ] {
        let text = format!(
            r#"{{ "autoscaler": {{ {autoscaler} }}, "services": {{ "web": {{ "image": "a",
                 "port": 80, "max_replicas": 9, "scale_up_threshold": 50,
                 "scale_down_threshold": 20, "forecast": {{ "mode": "on" }} {more} }} }} }}"#
        );
        let loaded = config::parse("made up", &text);
        let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        assert!(loaded.config.is_some(), "{problems:?}");
        let mut forecaster = Forecaster::default();
        forecaster.watch(&loaded.config.unwrap(), at(0));
        let read = forecaster.due(at(0), wall(0)).remove(0);
        assert_eq!(read.history.zone.to_string(), want, "{text}");
    }
}
