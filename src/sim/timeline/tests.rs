//! Figures and texts of made-up runs.

use std::time::Duration;

use crate::model::time::Wall;
use crate::model::zone::Zone;
use crate::sim::recorded_load::TimeRange;
use crate::sim::timeline::{Point, Summary, Timeline, short, span};
use crate::sim::trace::Trace;
use crate::sim::waiting::WaitTimes;

/// A target of 50; each row is `seconds value ready replicas desired`, 1 to 8 allowed. The
/// start is 2026-03-29 01:50 in Berlin, ten minutes before an hour that does not exist.
fn timeline(end_s: u64, rows: &str) -> Timeline {
    let point = |row: &str| {
        let fields: Vec<f64> = row.split_whitespace().map(|n| n.parse().unwrap()).collect();
        let [at, value, ready, replicas, desired] = fields[..] else { panic!("{row}") };
        let [ready, replicas, desired] = [ready, replicas, desired].map(|n| n as u32);
        let at = Duration::from_secs_f64(at);
        let reason = "DesiredWithinRange";
        Point { at, is_look: true, value, ready, replicas, desired, min: 1, max: 8, reason }
    };
    Timeline {
        service: "web".to_owned(),
        unit: "% CPU".to_owned(),
        target: 50.0,
        zone: Zone::find("Europe/Berlin").unwrap(),
        start: Wall(1_774_745_400),
        points: rows.split(',').filter(|row| !row.trim().is_empty()).map(point).collect(),
        windows: Vec::new(),
        waits: None,
        gaps: Vec::new(),
        end: Duration::from_secs(end_s),
    }
}

#[track_caller]
fn check(end_s: u64, rows: &str, want: impl Fn(Summary) -> bool) {
    let sum = timeline(end_s, rows).summary();
    assert!(want(sum), "{rows}: {sum:?}");
}

#[test]
fn replica_hours_count_what_exists_until_the_end() {
    check(3600, "0 0 1 1 1", |s| (s.replica_hours, s.replica_hours_at_max) == (1.0, 8.0));
    check(7200, "0 0 1 1 1, 1800 0 1 3 3", |s| s.replica_hours == 5.0);
    check(7200, "0 0 0 2 1", |s| (s.peak, s.max, s.replica_hours) == (2, 8, 4.0));
    check(3600, "0 0 9 16 1", |s| s.saved_percent() == -100.0);
    check(3600, "0 0 9 2 1", |s| s.saved_percent() == 75.0);
    check(3600, "", |s| s == Summary::default() && s.saved_percent() == 0.0);
    let mut higher = timeline(3600, "0 0 1 1 1, 1800 0 1 1 1, 2700 0 1 1 1");
    higher.points[1].max = 20;
    assert_eq!(higher.summary().replica_hours_at_max, 20.0, "the highest max, all the time");
}

#[test]
fn time_is_above_target_only_beyond_what_serving_replicas_carry() {
    let s = Duration::from_secs;
    check(100, "0 100 2 2 2", |sum| sum.above == s(0) && sum.unmet == 0.0);
    check(100, "0 100.1 2 2 2", |sum| (sum.above, sum.above_longest) == (s(100), s(100)));
    check(100, "0 100.1 2 3 3", |sum| sum.above == s(100));
    check(100, "0 0 0 1 1", |sum| sum.above == s(0));
    check(100, "0 1 0 1 1", |sum| sum.above == s(100) && sum.unmet == 1.0);
    check(100, "0 99 1 1 1, 10 99 2 2 2, 40 99 1 1 1, 60 101 2 2 2, 70 9 2 2 2", |sum| {
        (sum.above, sum.above_longest) == (s(40), s(30))
    });
    check(100, "0 100 1 1 1, 75 100 3 3 3", |sum| sum.unmet == 0.375);
    let sum = timeline(100, "0 60 1 1 1, 25 0 1 1 1").summary();
    assert_eq!((sum.above_percent(s(100)), sum.above_percent(s(0))), (25.0, 0.0));
}

/// The same, with gaps in seconds.
#[track_caller]
fn check_gaps(end_s: u64, gaps: &[(u64, u64)], rows: &str, want: impl Fn(Summary) -> bool) {
    let s = Duration::from_secs;
    let mut gapped = timeline(end_s, rows);
    gapped.gaps = gaps.iter().map(|(from, to)| TimeRange { from: s(*from), to: s(*to) }).collect();
    let sum = gapped.summary();
    assert!(want(sum), "{rows}: {sum:?}");
}

#[test]
fn gaps_count_in_no_figure() {
    let s = Duration::from_secs;
    check_gaps(7200, &[(0, 3600)], "0 0 1 4 1", |sum| {
        (sum.replica_hours, sum.replica_hours_at_max) == (4.0, 8.0)
    });
    check_gaps(7200, &[(900, 1800), (3600, 6300)], "0 0 1 1 1", |sum| sum.replica_hours == 1.0);
    let high = "0 60 1 1 1, 100 60 1 1 1, 200 60 1 9 1, 300 60 1 1 1";
    check_gaps(400, &[], high, |sum| (sum.above, sum.above_longest) == (s(400), s(400)));
    check_gaps(400, &[(200, 300)], high, |sum| {
        (sum.above, sum.above_longest, sum.peak) == (s(300), s(200), 1)
    });
    check_gaps(400, &[(250, 260)], high, |sum| {
        (sum.above, sum.above_longest, sum.peak) == (s(390), s(290), 9)
    });
    check_gaps(400, &[(0, 400)], high, |sum| sum == Summary::default());
    let changes = "0 0 1 1 1, 100 0 1 1 4, 200 0 1 1 2, 300 0 1 1 1";
    check_gaps(400, &[], changes, |sum| (sum.up, sum.down, sum.flaps) == (1, 2, 1));
    check_gaps(400, &[(100, 200)], changes, |sum| (sum.up, sum.down, sum.flaps) == (0, 2, 0));
    check_gaps(400, &[(101, 201)], changes, |sum| (sum.up, sum.down, sum.flaps) == (1, 1, 1));
}

#[test]
fn another_load_measures_the_same_replicas() {
    let load = Trace::parse(b"0,10\n15,120\n30,40\n45,0").unwrap();
    let run = timeline(45, "0 1 1 1 1, 20 1 2 3 2").measured_by(&load, "sessions", 60.0);
    let points: Vec<(u64, f64, u32)> =
        run.points.iter().map(|p| (p.at.as_secs(), p.value, p.ready)).collect();
    assert_eq!(points, [(0, 10.0, 1), (15, 120.0, 1), (20, 120.0, 2), (30, 40.0, 2)]);
    assert_eq!((run.unit.as_str(), run.summary().above), ("sessions", Duration::from_secs(5)));
}

#[test]
fn a_change_back_within_five_minutes_is_a_flap() {
    let counts = |s: Summary| (s.up, s.down, s.flaps);
    check(999, "0 0 1 1 1, 10 0 1 1 1", |s| counts(s) == (0, 0, 0));
    check(999, "0 0 1 1 1, 10 0 1 1 4, 310 0 1 1 3", |s| counts(s) == (1, 1, 1));
    check(999, "0 0 1 1 1, 10 0 1 1 4, 310.001 0 1 1 3", |s| counts(s) == (1, 1, 0));
    check(999, "0 0 1 1 1, 10 0 1 1 2, 20 0 1 1 3", |s| counts(s) == (2, 0, 0));
    check(999, "0 0 1 1 3, 10 0 1 1 2, 20 0 1 1 3, 30 0 1 1 1", |s| counts(s) == (1, 2, 2));
    check(999, "0 0 1 1 1, 10 0 1 1 2, 300 0 1 1 3, 600 0 1 1 2", |s| counts(s) == (2, 1, 1));
}

#[test]
fn the_table_tells_changes_and_their_sum() {
    let rows = "0 40 1 1 1, 15 44.44 1 1 1, 300 120 1 1 3, 330 120 3 3 3, 3600 9 0 3 2";
    let want = "\
web
2h from Sun 2026-03-29 01:50, Europe/Berlin
load in % CPU; a replica is to carry 50

when            elapsed  load  each  replicas  reason
03-29 01:50:00  0:00:00    40    40         1  DesiredWithinRange
03-29 01:55:00  0:05:00   120   120      1->3  DesiredWithinRange
03-29 03:50:00  1:00:00     9     -      3->2  DesiredWithinRange

replica-hours  5.82 of 16 at max 8: 63.6% saved
above target   50.4% of the time: 1h, at most 1h on end
unmet load     7.8%
changes        1 up, 1 down, 0 flaps (back within 5m)
peak           3 replicas
";
    assert_eq!(timeline(7200, rows).table(), want);
}

#[test]
fn the_table_fits_a_terminal() {
    let rows = "0 123456 1000 1 1, 1000000 123456 1 1 1000, 30000000 98760000000 3 3 999";
    let mut wide = timeline(31_622_400, rows);
    wide.service = "s".repeat(63);
    for line in wide.table().lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(timeline(0, "").table().contains("peak           0 replicas"));
}

#[test]
fn a_program_gets_one_object_a_point() {
    let lines = timeline(60, "0 40 1 1 1, 1.5 44.44 1 2 3").json_lines().unwrap();
    let want = r#"{"t":0,"replicas":1,"desired":1,"value":40.0,"reason":"DesiredWithinRange"}
{"t":1.5,"replicas":2,"desired":3,"value":44.44,"reason":"DesiredWithinRange"}
"#;
    assert_eq!(lines, want);
}

#[test]
fn only_of_a_service_that_may_sleep_the_sleep_is_told() {
    let rows = "0 0 0 0 0, 900 9 0 0 1, 900.1 9 0 1 1, 903 9 1 1 1, 1800 0 1 1 0, 1803 0 0 0 0";
    let s = Duration::from_secs;
    check(3600, rows, |sum| (sum.sleeps, sum.wake_ups) == (1, 1));
    let want = "\
peak           1 replicas
asleep         0.75 replica-hours saved: 74.9% of the time without a replica
sleeps         once, woken once
";
    for (requests, refused, told) in [
        (0, 2, "0 requests; 2 refused"),
        (1, 0, "1 request: 3.0s; 0 refused"),
        (12_345, 0, "12.3k requests: median 2.0s, longest 3.0s; 0 refused"),
    ] {
        let mut one = timeline(3600, rows);
        assert!(!one.table().contains("asleep") && !one.json_lines().unwrap().contains("sleep"));
        one.waits = Some(WaitTimes { requests, median: s(2), longest: s(3), refused });
        let table = one.table();
        assert!(table.ends_with(&format!("{want}waited         {told}\n")), "{table}");
    }
    let mut one = timeline(3600, rows);
    one.waits = Some(WaitTimes { requests: 7, median: s(2), longest: s(3), refused: 1 });
    let lines = one.json_lines().unwrap();
    let last = r#"{"t":3600,"sleep":{"saved_replica_hours":0.7491944444444444,"sleeps":1,"#;
    let last = format!(r#"{last}"wake_ups":1,"#);
    let waits = r#""waited":7,"wait_median_s":2.0,"wait_longest_s":3.0,"refused":1}}"#;
    assert_eq!(lines.lines().last(), Some(&*format!("{last}{waits}")));
}

#[test]
fn numbers_have_three_digits_or_four_before_the_point() {
    for (value, want) in [
        (0.0, "0"),
        (0.004, "0"),
        (0.126, "0.13"),
        (9.994, "9.99"),
        (9.995, "10"),
        (12.34, "12.3"),
        (99.94, "99.9"),
        (99.95, "100"),
        (100.0, "100"),
        (9999.4, "9999"),
        (9999.5, "10k"),
        (12_345.0, "12.3k"),
        (999_499.0, "999k"),
        (999_500.0, "1M"),
        (1e15, "1P"),
        (1e18, "1E"),
        (-56.78, "-56.8"),
    ] {
        assert_eq!(short(value), want, "{value}");
    }
}

#[test]
fn spans_have_their_two_largest_units() {
    for (s, want) in [
        (0, "0s"),
        (59, "59s"),
        (60, "1m"),
        (61, "1m 1s"),
        (3600, "1h"),
        (3661, "1h 1m"),
        (3601, "1h"),
        (90_000, "1d 1h"),
        (604_800, "7d"),
    ] {
        assert_eq!(span(Duration::from_secs(s)), want, "{s}");
    }
}
