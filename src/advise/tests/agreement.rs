//! The search's figures are those of the simulator, within a tolerance.

use std::time::Duration;

use crate::advise::effort::Effort;
use crate::advise::evaluator::{LoadConditions, evaluate};
use crate::advise::judge::{Court, runs};
use crate::advise::load::load_spans;
use crate::advise::tests::{MONDAY, hill, history, noise, parsed_with};
use crate::model::load_history::MinuteRow;
use crate::sim::random::Random;
use crate::sim::recorded_load::{LoadLimits, RecordedLoad};
use crate::sim::workload::LoadMetric;

/// Percent of the replica-hours, and of the time within target.
const HOURS_APART: f64 = 2.0;
const WITHIN_APART: f64 = 0.5;

#[track_caller]
fn check(service: &str, rows: &[MinuteRow], start_up: u64) {
    let (config, of) = parsed_with(15, service);
    let basis = LoadMetric::first(&of).unwrap();
    let conditions = LoadConditions {
        source: basis.source.clone(),
        carries: basis.target,
        capacity: basis.capacity(&of),
        start_up: Duration::from_secs(start_up),
        check_interval: config.check_interval,
        wakes: true,
    };
    let limits = LoadLimits { timetable: &of.timetable, capacity: None };
    let recorded = RecordedLoad::new(rows, &basis, limits).unwrap();
    let fast = evaluate(&of, &load_spans(&recorded), &conditions);
    let runs = runs(rows, &basis, limits);
    let court = Court { config: &config, conditions: &conditions, basis: &basis, runs };
    let whole = court.judge(&of, Effort::full(&|| true)).unwrap().unwrap();
    assert_eq!(fast.hours.round(), whole.hours.round(), "{service}");
    let hours = 100.0 * (fast.replica_hours / whole.replica_hours - 1.0);
    let within = fast.within_percent() - whole.within_percent();
    assert!(hours.abs() <= HOURS_APART, "{hours:.2}% {service}\n{fast:?}\n{whole:?}");
    assert!(within.abs() <= WITHIN_APART, "{within:.2} {service}\n{fast:?}\n{whole:?}");
    // The test would say nothing of a load that never moves.
    assert!(4 <= whole.changes, "{service}\n{whole:?}");
    let changes = i64::from(fast.changes) - i64::from(whole.changes);
    assert!(changes.abs() <= 2 + i64::from(whole.changes) / 10, "{service}\n{fast:?}\n{whole:?}");
}

const BAND: &str = r#""min_replicas": 1, "max_replicas": 20, "scale_up_threshold": 70,
    "scale_down_threshold": 30"#;

fn busy(days: i64, metric: &str) -> Vec<MinuteRow> {
    let mut random = Random::new(3);
    let loads: Vec<f64> =
        (0..days * 1440).map(|m| noise(&mut random, hill(60 * m, 40.0, 600.0), 8)).collect();
    history(days, metric, |s| loads[(s / 60) as usize])
}

#[test]
fn thresholds_with_cooldowns() {
    check(BAND, &busy(1, "cpu"), 5);
    check(&format!(r#"{BAND}, "cooldown_period": {{ "up": 0, "down": 600 }}"#), &busy(1, "cpu"), 5);
    check(BAND, &busy(1, "cpu"), 60);
}

#[test]
fn a_limit_hides_load() {
    check(&format!(r#"{BAND}, "cpus": 1"#), &busy(1, "cpu"), 20);
}

#[test]
fn targets_with_stabilization_and_policies() {
    let of = |source: &str, target: u32, more: &str| {
        format!(
            r#""min_replicas": 1, "max_replicas": 20, {more}
               "metrics": [{{ {source}, "target": {target} }}]"#
        )
    };
    check(&of(r#""source": "cpu""#, 70, ""), &busy(1, "cpu"), 5);
    let sessions = r#""source": "haproxy", "field": "sessions""#;
    check(&of(sessions, 60, r#""cooldown_period": 0,"#), &busy(1, "haproxy sessions"), 5);
    let slow = r#""behavior": { "tolerance": 0.05, "scale_down": { "stabilization": 900,
        "policies": [{ "type": "replicas", "value": 1, "period": 120 }] } },"#;
    check(&of(sessions, 60, slow), &busy(1, "haproxy sessions"), 5);
}

#[test]
fn schedules_and_business_hours() {
    let schedules = r#""schedules": [{ "name": "noon", "start": "08:30", "end": "14:00",
        "timezone": "Europe/Berlin", "min_replicas": 9, "max_replicas": 20, "prewarm": "10m" }]"#;
    check(&format!("{BAND}, {schedules}"), &busy(1, "cpu"), 5);
    let hours = r#""business_hours_only": true, "outside_hours": "min", "business_hours":
        { "start": "06:00", "end": "20:00", "timezone": "Europe/Berlin" }"#;
    check(&format!("{BAND}, {hours}"), &busy(1, "cpu"), 5);
}

#[test]
fn sleep_and_gaps() {
    let sleepy = BAND.replace(r#""min_replicas": 1"#, r#""min_replicas": 0"#);
    let naps = history(1, "cpu", |s| if s / 3600 % 3 == 0 { 90.0 } else { 0.0 });
    check(&sleepy, &naps, 5);
    let mut rows = busy(2, "cpu");
    rows.retain(|row| !(40_000..60_000).contains(&(row.at.0 - MONDAY)));
    check(BAND, &rows, 5);
}
