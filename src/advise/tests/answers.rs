//! Made-up histories with known best answers.

use crate::advise::advice::{Advice, NoAdvice, Verdict, saved_percent};
use crate::advise::screen::{Trial, one_line, screen};
use crate::advise::tests::{DAY, Situation, advice, hill, history, noise};
use crate::sim::random::Random;

const BAND: &str = r#""min_replicas": 2, "max_replicas": 12, "scale_up_threshold": 60,
    "scale_down_threshold": 20"#;

const BOUNDS: &str = r#""min_replicas": 1, "max_replicas": 12"#;

fn usual() -> Situation {
    Situation { slo: 99.5, start_up_s: 5 }
}

const TRIAL: Trial = Trial { since: "14d", start_up: None, config: None, is_by_labels: false };

fn text(advice: &Advice) -> String {
    screen(advice, &TRIAL)
}

#[test]
fn a_constant_load_gets_a_fixed_number() {
    let service = BAND.replace(r#""min_replicas": 2"#, r#""min_replicas": 5"#);
    let got = advice(&service, &history(3, "cpu", |_| 150.0), usual()).unwrap();
    assert_eq!(got.verdict, Verdict::Change, "{}", text(&got));
    // 150 % at 60 % each.
    assert_eq!((got.fixed, got.is_constant, got.needs_max), (3, true, None));
    assert_eq!(got.found.figures.replica_hours.round(), 3.0 * 36.0);
    assert_eq!(got.found.figures.hours_above, 0.0);
    assert!(text(&got).contains("3 replicas at any time would do as well"), "{}", text(&got));
    let line = one_line(&got);
    assert!(line.starts_with("min_replicas 5 -> "), "{line}");
    assert!(line.ends_with(": 40% fewer replica-hours, 100.0% within target"), "{line}");
}

#[test]
fn a_fixed_number_has_to_do_in_both_halves() {
    let service = BAND.replace(r#""min_replicas": 2"#, r#""min_replicas": 1"#);
    // 500 % at 60 % each.
    for (second, fixed, is_constant) in [(50.0, 1, true), (500.0, 9, false)] {
        let load = move |s| if s < 2 * DAY { 50.0 } else { second };
        let got = advice(&service, &history(4, "cpu", load), usual()).unwrap();
        assert_eq!((got.fixed, got.is_constant), (fixed, is_constant), "{}", text(&got));
        let shown = text(&got);
        assert_eq!(shown.contains("at any time would do as well"), is_constant, "{shown}");
        assert_eq!(shown.contains("The second half had 1000% of"), !is_constant, "{shown}");
    }
}

#[test]
fn what_the_figures_leave_out_is_named() {
    let left_out = |more: &str, metric: &str| {
        let got = advice(&format!("{BOUNDS}, {more}"), &history(3, metric, |_| 55.0), usual());
        let shown = text(&got.unwrap()).replace('\n', " ");
        let (_, rest) = shown.split_once("Not in the figures, and left as they are: ")?;
        rest.split_once('.').map(|(named, _)| named.to_owned())
    };
    let cpu = r#""metrics": [{ "source": "cpu", "target": 60 }]"#;
    for (mode, want) in [("on", Some("the forecast")), ("shadow", None), ("off", None)] {
        let forecast = format!(r#"{cpu}, "forecast": {{ "mode": "{mode}" }}"#);
        assert_eq!(left_out(&forecast, "cpu").as_deref(), want, "{mode}");
    }
    // The first metric that replicas divide is the one that counts.
    let two = r#""forecast": { "mode": "on" }, "metrics": [
        { "source": "haproxy", "field": "response_time_ms", "target": 200 },
        { "source": "haproxy", "field": "sessions", "target": 20 }]"#;
    let got = left_out(two, "haproxy sessions");
    assert_eq!(got.as_deref(), Some("haproxy response_time_ms, the forecast"));
}

#[test]
fn without_load_the_least_number_does() {
    let got = advice(BAND, &history(3, "cpu", |_| 0.0), usual()).unwrap();
    assert!(got.is_idle);
    assert_eq!((got.verdict, got.found.tuning.bounds.min()), (Verdict::Change, 1));
    assert_eq!(got.found.figures.replica_hours.round(), 36.0);
    // What sleeps may go on sleeping, and what does not is not put to sleep.
    let sleepy = BAND.replace(r#""min_replicas": 2"#, r#""min_replicas": 0"#);
    let got = advice(&sleepy, &history(3, "cpu", |_| 0.0), usual()).unwrap();
    assert_eq!((got.verdict, got.found.tuning.bounds.min()), (Verdict::NothingBetter, 0));
    assert!(text(&got).contains("  as many replica-hours\n"), "{}", text(&got));
}

#[test]
fn too_low_a_maximum_is_named_with_what_the_load_needs() {
    let service = BAND.replace(r#""max_replicas": 12"#, r#""max_replicas": 4"#);
    let got = advice(&service, &history(3, "cpu", |s| hill(s, 30.0, 450.0)), usual()).unwrap();
    // 480 % at 60 % each.
    assert_eq!((got.needs_max, got.found.tuning.bounds.max()), (Some(8), 8));
    assert!(got.today.figures.within_percent() < 60.0, "{}", text(&got));
    assert_eq!(got.verdict, Verdict::Change, "{}", text(&got));
    assert!(99.5 <= got.found.figures.within_percent(), "{}", text(&got));
    assert!(text(&got).contains("max_replicas 4 is too low"), "{}", text(&got));
    assert!(text(&got).contains("\"max_replicas\": 8"), "{}", text(&got));
}

#[test]
fn an_over_provisioned_service_gets_cheaper_and_the_advice_is_stable() {
    let load = || {
        let mut random = Random::new(5);
        let all: Vec<f64> =
            (0..4 * 1440).map(|m| noise(&mut random, hill(60 * m, 40.0, 300.0), 5)).collect();
        history(4, "cpu", move |s| all[(s / 60) as usize])
    };
    let service = BAND.replace(r#""min_replicas": 2"#, r#""min_replicas": 7"#);
    let got = advice(&service, &load(), usual()).unwrap();
    assert_eq!(got.verdict, Verdict::Change, "{}", text(&got));
    let saved = saved_percent(&got.today.figures, &got.found.figures);
    assert!(30.0 < saved, "{}", text(&got));
    assert!(99.5 <= got.found.figures.within_percent(), "{}", text(&got));
    // Who follows it is not sent on to something else.
    let again = advice(&super::followed(&service, &got), &load(), usual()).unwrap();
    assert!(!again.verdict.is_change(), "{}\n{}", text(&got), text(&again));
    assert!(text(&again).contains("Keep what you have: "), "{}", text(&again));
    assert!(text(&got).lines().all(|line| line.chars().count() <= 80), "{}", text(&got));
}

#[test]
fn what_does_not_hold_in_the_second_half_is_not_advised() {
    // A calm start; then bursts from nothing, which only a higher minimum carries.
    let burst = |s: i64| if 2 * DAY <= s && s / 300 % 2 == 1 { 400.0 } else { 60.0 };
    let service = BAND.replace(r#""min_replicas": 2"#, r#""min_replicas": 7"#);
    let situation = Situation { start_up_s: 120, ..usual() };
    let got = advice(&service, &history(4, "cpu", burst), situation).unwrap();
    assert_eq!(got.verdict, Verdict::DoesNotHold, "{}", text(&got));
    assert!(99.5 <= got.today.figures.within_percent(), "{}", text(&got));
    assert!(got.found.figures.within_percent() < 99.5, "{}", text(&got));
    assert!(one_line(&got).starts_with("keep what you have: "), "{}", one_line(&got));
    assert!(300.0 < got.growth.unwrap(), "{:?}", got.growth);
}

#[test]
fn slow_starts_before_office_hours_get_a_schedule_from_two_weeks_on() {
    // Local time: the history begins at midnight in Berlin.
    let office = |s: i64| {
        let is_workday = s / DAY % 7 < 5;
        let hour = s % DAY / 3600;
        if is_workday && (8..18).contains(&hour) { 540.0 } else { 50.0 }
    };
    let situation = Situation { slo: 99.9, start_up_s: 600 };
    let got = advice(BAND, &history(14, "cpu", office), situation).unwrap();
    assert_eq!(got.verdict, Verdict::Change, "{}", text(&got));
    assert!(99.9 <= got.found.figures.within_percent(), "{}", text(&got));
    let [window] = &got.found.tuning.windows[..] else { panic!("{}", text(&got)) };
    assert!(window.name.starts_with("mon-fri 07:") || window.name.starts_with("mon-fri 08:"));
    assert_eq!(window.window.zone.to_string(), "Europe/Berlin");
    assert!(text(&got).contains("\"timezone\": \"Europe/Berlin\""), "{}", text(&got));
    let got = advice(BAND, &history(8, "cpu", office), situation).unwrap();
    assert_eq!(got.found.tuning.windows, []);
}

#[test]
fn too_little_history_is_refused_with_what_is_missing() {
    let missing = |service: &str, rows: &[_]| match advice(service, rows, usual()) {
        Err(NoAdvice::Missing(why)) => why,
        other => panic!("{other:?}"),
    };
    let refused = |rows: &[_]| missing(BAND, rows);
    let almost = history(2, "cpu", |s| if s < 2 * DAY - 3600 { 50.0 } else { -1.0 });
    let want = "the history of web covers 1d 23h, and advice needs 2d: ask again in 1h";
    assert_eq!(refused(&almost), want);
    // Gaps do not count.
    let gap = history(3, "cpu", |s| if (DAY..2 * DAY + 3600).contains(&s) { -1.0 } else { 50.0 });
    assert!(refused(&gap).contains("covers 1d 23h, "), "{}", refused(&gap));
    for (missing, is_enough) in [(0, true), (300, true), (420, false)] {
        let rows = history(2, "cpu", |s| if s < 2 * DAY - missing { 50.0 } else { -1.0 });
        assert_eq!(advice(BAND, &rows, usual()).is_ok(), is_enough, "{missing}");
    }
    let other = refused(&history(3, "memory", |_| 50.0));
    assert!(other.starts_with("no load by cpu is recorded; recorded are: memory. "), "{other}");
    let time = r#""min_replicas": 2, "max_replicas": 4, "metrics":
        [{ "source": "haproxy", "field": "response_time_ms", "target": 200 }]"#;
    let time = missing(time, &history(3, "haproxy response_time_ms", |_| 50.0));
    assert!(time.starts_with("haproxy response_time_ms cannot be replayed: "), "{time}");
    // An option that advise does not have.
    assert!(!time.contains("--load"), "{time}");
    let fixed = r#""min_replicas": 2, "max_replicas": 2"#;
    let none = missing(fixed, &history(3, "cpu", |_| 50.0));
    assert!(none.starts_with("web has no metric to scale by"), "{none}");
}

#[test]
fn outages_and_holidays_leave_sense() {
    // Hours without a row, hours of zeros, and a day off.
    let odd = |s: i64| match s / 3600 {
        10..15 => -1.0,
        30..36 => 0.0,
        48..72 => 20.0,
        _ => hill(s, 40.0, 300.0),
    };
    let service = BAND.replace(r#""min_replicas": 2"#, r#""min_replicas": 6"#);
    let got = advice(&service, &history(5, "cpu", odd), usual()).unwrap();
    assert_eq!((got.coverage.gaps, got.needs_max), (1, None));
    assert_eq!(got.coverage.covered.as_secs(), (5 * 24 - 5) * 3600);
    assert_eq!(got.verdict, Verdict::Change, "{}", text(&got));
    let saved = saved_percent(&got.today.figures, &got.found.figures);
    assert!((20.0..80.0).contains(&saved), "{}", text(&got));
    assert!(text(&got).contains("1 gap of the history"), "{}", text(&got));
}

#[test]
fn a_target_and_its_stabilization_are_advised_as_keys_that_parse() {
    let service = r#""min_replicas": 6, "max_replicas": 12, "cooldown_period": 0,
        "metrics": [{ "source": "haproxy", "field": "sessions", "target": 20 }],
        "behavior": { "tolerance": 0.05, "scale_up": { "policies":
            [{ "type": "replicas", "value": 2, "period": 60 }] },
            "scale_down": { "stabilization": 3000 } }"#;
    let load = |s: i64| hill(s, 10.0, 90.0);
    let got = advice(service, &history(3, "haproxy sessions", load), usual()).unwrap();
    assert_eq!(got.verdict, Verdict::Change, "{}", text(&got));
    assert!(99.5 <= got.found.figures.within_percent(), "{}", text(&got));
    let (_, new) = super::parsed(&super::followed(service, &got));
    let own = got.service.behavior.as_ref().unwrap();
    let behavior = new.behavior.as_ref().unwrap();
    assert_eq!((behavior.tolerance, &behavior.scale_up), (own.tolerance, &own.scale_up));
}
