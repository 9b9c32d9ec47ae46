//! What a run over a load trace was like: the points of it, their sum, and both as text. Knows
//! neither controller nor world; the run fills it.

use std::fmt::Write;
use std::time::Duration;

use chrono::{DateTime, FixedOffset};
use serde::Serialize;

use crate::model::time::Wall;
use crate::model::zone::Zone;
use crate::sim::recorded_load::TimeRange;
use crate::sim::trace::Trace;
use crate::sim::waiting::WaitTimes;

/// A change back within this time of the one before is a flap: what the first change cost, it
/// cannot have earned in the meantime. The limit itself is still a flap.
pub(crate) const FLAP: Duration = Duration::from_secs(300);

/// A run of one service, from zero to `end`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Timeline {
    pub(crate) service: String,
    /// What load is counted in, like `% CPU`.
    pub(crate) unit: String,
    /// What one replica is to carry, in `unit`; of a band the upper threshold. More than 0.
    pub(crate) target: f64,
    /// The zone in which people think of the service.
    pub(crate) zone: Zone,
    pub(crate) start: Wall,
    /// Each holds until the next, the last until `end`. Their times rise.
    pub(crate) points: Vec<Point>,
    /// In the order of their starts.
    pub(crate) windows: Vec<Span>,
    /// `None`: the service never sleeps.
    pub(crate) waits: Option<WaitTimes>,
    /// What counts in no figure. In the order of time, and apart from each other.
    pub(crate) gaps: Vec<TimeRange>,
    pub(crate) end: Duration,
}

/// The state after one tick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    /// Since the start.
    pub(crate) at: Duration,
    /// Load was looked at; the others are there because something changed in between.
    pub(crate) is_look: bool,
    /// The load of the whole service.
    pub(crate) value: f64,
    /// The replicas that serve.
    pub(crate) ready: u32,
    /// Those that exist: that start, serve or drain.
    pub(crate) replicas: u32,
    pub(crate) desired: u32,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) reason: &'static str,
}

/// A schedule that held, from and to in time since the start.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    pub(crate) name: String,
}

/// What a run comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Summary {
    pub(crate) replica_hours: f64,
    /// Of the highest max of the run, all the time.
    pub(crate) replica_hours_at_max: f64,
    /// The time in which the load was more than the replicas that served carry at target.
    pub(crate) above: Duration,
    pub(crate) above_longest: Duration,
    /// How much of the load was beyond that, from 0 to 1.
    pub(crate) unmet: f64,
    /// Changes of the desired number.
    pub(crate) up: u32,
    pub(crate) down: u32,
    pub(crate) flaps: u32,
    /// The most replicas that existed at a time.
    pub(crate) peak: u32,
    pub(crate) max: u32,
    /// The time without a replica.
    pub(crate) asleep: Duration,
    /// Changes of the desired number to 0, and from 0.
    pub(crate) sleeps: u32,
    pub(crate) wake_ups: u32,
}

impl Summary {
    /// In percent. Less than nothing when replicas that drain came on top of max.
    pub(crate) fn saved_percent(&self) -> f64 {
        if self.replica_hours_at_max <= 0.0 {
            return 0.0;
        }
        100.0 * (1.0 - self.replica_hours / self.replica_hours_at_max)
    }

    pub(crate) fn above_percent(&self, span: Duration) -> f64 {
        percent(self.above, span)
    }

    pub(crate) fn asleep_percent(&self, span: Duration) -> f64 {
        percent(self.asleep, span)
    }

    /// Compared with one replica that always runs.
    fn hours_asleep(&self) -> f64 {
        self.asleep.as_secs_f64() / 3600.0
    }
}

pub(crate) fn percent(part: Duration, span: Duration) -> f64 {
    if span.is_zero() { 0.0 } else { 100.0 * part.as_secs_f64() / span.as_secs_f64() }
}

impl Timeline {
    /// What the replicas that serve at a point carry at target.
    pub(crate) fn capacity(&self, point: &Point) -> f64 {
        self.target * f64::from(point.ready)
    }

    pub(crate) fn is_above(&self, point: &Point) -> bool {
        self.capacity(point) < point.value
    }

    pub(crate) fn local(&self, at: Duration) -> DateTime<FixedOffset> {
        // A made-up clock may stand beyond every date; what it shows then is of no matter.
        let s = self.start.0.saturating_add(i64::try_from(at.as_secs()).unwrap_or(i64::MAX));
        self.zone.local(Wall(s))
    }

    /// What there is from `from` on, with times as they are.
    pub(crate) fn after(&self, from: Duration) -> Timeline {
        let first = self.points.partition_point(|p| p.at <= from).saturating_sub(1);
        let mut points = self.points[first.min(self.points.len())..].to_vec();
        if let Some(point) = points.first_mut() {
            point.at = point.at.max(from);
        }
        Timeline { points, ..self.clone() }
    }

    /// Each point, with how long it holds and counts, and whether a gap takes a part of that.
    fn held(&self) -> impl Iterator<Item = (&Point, Duration, bool)> {
        let ends = self.points.iter().skip(1).map(|p| p.at).chain([self.end]);
        self.points.iter().zip(ends).map(|(point, end)| {
            let gap = self.gap_within(point.at, end);
            (point, end.saturating_sub(point.at).saturating_sub(gap), !gap.is_zero())
        })
    }

    fn gap_within(&self, from: Duration, to: Duration) -> Duration {
        let first = self.gaps.partition_point(|gap| gap.to <= from);
        let gaps = self.gaps.iter().skip(first).take_while(|gap| gap.from < to);
        gaps.map(|gap| gap.to.min(to).saturating_sub(gap.from.max(from))).sum()
    }

    /// The time that counts.
    pub(crate) fn counted(&self) -> Duration {
        let begin = self.points.first().map_or(self.end, |p| p.at);
        self.end.saturating_sub(begin).saturating_sub(self.gap_within(begin, self.end))
    }

    /// The points at which the desired number is not that of the point before.
    fn changes(&self) -> impl Iterator<Item = (&Point, &Point)> {
        let pairs = self.points.iter().zip(self.points.iter().skip(1));
        pairs.filter(|(before, point)| before.desired != point.desired)
    }

    /// The same replicas, measured by this load and target.
    pub(crate) fn measured_by(&self, load: &Trace, unit: &str, target: f64) -> Timeline {
        let mut points: Vec<Point> = Vec::new();
        let mut rows = load.rows().iter().peekable();
        let mut value = 0.0;
        for (i, point) in self.points.iter().enumerate() {
            while let Some((_, now)) = rows.next_if(|(at, _)| *at <= point.at) {
                value = *now;
            }
            points.push(Point { value, ..*point });
            let end = self.points.get(i + 1).map_or(self.end, |next| next.at);
            while let Some((at, now)) = rows.next_if(|(at, _)| *at < end) {
                value = *now;
                points.push(Point { at: *at, is_look: false, value, ..*point });
            }
        }
        let unit = unit.to_owned();
        Timeline { points, unit, target, ..self.clone() }
    }

    pub(crate) fn summary(&self) -> Summary {
        let mut sum = Summary::default();
        let mut load = 0.0;
        let mut unmet = 0.0;
        let mut stretch = Duration::ZERO;
        for (point, held, has_gap) in self.held() {
            if has_gap && held.is_zero() {
                stretch = Duration::ZERO;
                continue;
            }
            let seconds = held.as_secs_f64();
            sum.replica_hours += f64::from(point.replicas) * seconds / 3600.0;
            sum.peak = sum.peak.max(point.replicas);
            sum.max = sum.max.max(point.max);
            load += point.value * seconds;
            unmet += (point.value - self.capacity(point)).max(0.0) * seconds;
            stretch = if self.is_above(point) { stretch + held } else { Duration::ZERO };
            sum.above += if self.is_above(point) { held } else { Duration::ZERO };
            sum.above_longest = sum.above_longest.max(stretch);
            stretch = if has_gap { Duration::ZERO } else { stretch };
            sum.asleep += if point.replicas == 0 { held } else { Duration::ZERO };
        }
        let hours = self.counted().as_secs_f64() / 3600.0;
        sum.replica_hours_at_max = f64::from(sum.max) * hours;
        sum.unmet = if 0.0 < load { unmet / load } else { 0.0 };
        let mut last: Option<(bool, Duration)> = None;
        let counts = |at: Duration| self.gap_within(at, at + Duration::from_millis(1)).is_zero();
        for (before, point) in self.changes().filter(|(_, point)| counts(point.at)) {
            let up = before.desired < point.desired;
            *(if up { &mut sum.up } else { &mut sum.down }) += 1;
            sum.sleeps += u32::from(point.desired == 0);
            sum.wake_ups += u32::from(before.desired == 0);
            let turned =
                last.is_some_and(|(was, at)| was != up && point.at.saturating_sub(at) <= FLAP);
            sum.flaps += u32::from(turned);
            last = Some((up, point.at));
        }
        sum
    }

    /// What changed, and what it comes to. At most 80 columns.
    pub(crate) fn table(&self) -> String {
        let mut rows = vec![["when", "elapsed", "load", "each", "replicas", "reason"].map(text)];
        let first = self.points.first().map(|p| self.row(p, p.desired.to_string()));
        rows.extend(first);
        rows.extend(self.changes().map(|(before, point)| {
            self.row(point, format!("{}->{}", before.desired, point.desired))
        }));
        let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
        let widths: [usize; 6] = std::array::from_fn(width);
        let mut out = format!(
            "{}\n{} from {}, {}\nload in {}; a replica is to carry {}\n\n",
            self.service,
            span(self.end),
            self.local(Duration::ZERO).format("%a %Y-%m-%d %H:%M"),
            self.zone,
            self.unit,
            short(self.target),
        );
        for [when, elapsed, load, each, replicas, reason] in rows {
            let [a, b, c, d, e, _] = widths;
            let line = format!(
                "{when:<a$}  {elapsed:>b$}  {load:>c$}  {each:>d$}  {replicas:>e$}  {reason}"
            );
            out += line.trim_end();
            out.push('\n');
        }
        out.push('\n');
        out + &self.summary_text()
    }

    fn row(&self, point: &Point, replicas: String) -> [String; 6] {
        let s = point.at.as_secs();
        [
            self.local(point.at).format("%m-%d %H:%M:%S").to_string(),
            format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60),
            short(point.value),
            // None of them carries anything when there is none.
            if point.ready == 0 { text("-") } else { short(point.value / f64::from(point.ready)) },
            replicas,
            text(point.reason),
        ]
    }

    fn summary_text(&self) -> String {
        let sum = self.summary();
        let mut out = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{name:<14} {value}");
        };
        let hours = short(sum.replica_hours);
        let full = short(sum.replica_hours_at_max);
        let saved = decimal(sum.saved_percent(), 1);
        line("replica-hours", format!("{hours} of {full} at max {}: {saved}% saved", sum.max));
        let above = decimal(sum.above_percent(self.end), 1);
        let time = span(sum.above);
        let longest = span(sum.above_longest);
        line("above target", format!("{above}% of the time: {time}, at most {longest} on end"));
        line("unmet load", format!("{}%", decimal(100.0 * sum.unmet, 1)));
        let flaps = flaps(sum.flaps);
        let within = span(FLAP);
        line(
            "changes",
            format!("{} up, {} down, {flaps} (back within {within})", sum.up, sum.down),
        );
        line("peak", format!("{} replicas", sum.peak));
        if let Some(waits) = &self.waits {
            let hours = short(sum.hours_asleep());
            let part = decimal(sum.asleep_percent(self.end), 1);
            let value =
                format!("{hours} replica-hours saved: {part}% of the time without a replica");
            line("asleep", value);
            line("sleeps", format!("{}, woken {}", times(sum.sleeps), times(sum.wake_ups)));
            line("waited", waited(waits));
        }
        out
    }

    fn sleep_line(&self, waits: &WaitTimes) -> LastLine {
        let sum = self.summary();
        let sleep = SleepFields {
            saved_replica_hours: sum.hours_asleep(),
            sleeps: sum.sleeps,
            wake_ups: sum.wake_ups,
            waited: waits.requests,
            wait_median_s: (0 < waits.requests).then_some(waits.median.as_secs_f64()),
            wait_longest_s: (0 < waits.requests).then_some(waits.longest.as_secs_f64()),
            refused: waits.refused,
        };
        LastLine { t: seconds(self.end), sleep }
    }

    /// One JSON object a line: each evaluation, and each tick between that changed the number. Of a
    /// service that may sleep the last line tells of that.
    pub(crate) fn json_lines(&self) -> Result<String, serde_json::Error> {
        let mut out = String::new();
        let mut desired = None;
        for point in &self.points {
            if desired.replace(point.desired) == Some(point.desired) && !point.is_look {
                continue;
            }
            let line = Line {
                t: seconds(point.at),
                replicas: point.replicas,
                desired: point.desired,
                value: point.value,
                reason: point.reason,
            };
            out += &serde_json::to_string(&line)?;
            out.push('\n');
        }
        if let Some(waits) = &self.waits {
            out += &serde_json::to_string(&self.sleep_line(waits))?;
            out.push('\n');
        }
        Ok(out)
    }
}

/// In the order in which a reader wants the fields.
#[derive(Serialize)]
struct Line {
    /// Seconds, whole ones without a point.
    t: serde_json::Value,
    replicas: u32,
    desired: u32,
    value: f64,
    reason: &'static str,
}

#[derive(Serialize)]
struct LastLine {
    t: serde_json::Value,
    sleep: SleepFields,
}

#[derive(Serialize)]
struct SleepFields {
    saved_replica_hours: f64,
    sleeps: u32,
    wake_ups: u32,
    waited: u64,
    wait_median_s: Option<f64>,
    wait_longest_s: Option<f64>,
    refused: u64,
}

pub(crate) fn seconds(at: Duration) -> serde_json::Value {
    if at.subsec_millis() == 0 { at.as_secs().into() } else { at.as_secs_f64().into() }
}

fn times(count: u32) -> String {
    if count == 1 { text("once") } else { format!("{} times", short(f64::from(count))) }
}

fn waited(waits: &WaitTimes) -> String {
    let number = |count: u64| short(count as f64);
    let refused = format!("{} refused", number(waits.refused));
    let s = |span: Duration| decimal(span.as_secs_f64(), 1);
    let (median, longest) = (s(waits.median), s(waits.longest));
    match waits.requests {
        0 => format!("0 requests; {refused}"),
        1 => format!("1 request: {longest}s; {refused}"),
        n => format!("{} requests: median {median}s, longest {longest}s; {refused}", number(n)),
    }
}

fn text(text: &str) -> String {
    text.to_owned()
}

pub(crate) fn flaps(flaps: u32) -> String {
    if flaps == 1 { text("1 flap") } else { format!("{} flaps", short(f64::from(flaps))) }
}

/// Three digits, or all of them before the point up to four; above that `k`, `M` and so on.
pub(crate) fn short(value: f64) -> String {
    let mut value = value;
    for unit in ["", "k", "M", "G", "T", "P"] {
        // What would be rounded up to the next power belongs there already.
        let digits = match value.abs() {
            v if v < 9.995 => 2,
            v if v < 99.95 => 1,
            v if v < 999.5 || unit.is_empty() && v < 9999.5 => 0,
            _ => {
                value /= 1000.0;
                continue;
            }
        };
        let text = decimal(value, digits);
        let text = if digits == 0 { &text } else { text.trim_end_matches('0') };
        return format!("{}{unit}", text.trim_end_matches('.'));
    }
    format!("{}E", decimal(value, 0))
}

/// With this many digits after the point. The standard library does it exactly for any number,
/// which takes more code than all of this file.
pub(crate) fn decimal(value: f64, digits: u32) -> String {
    let all = (value * 10f64.powi(digits.cast_signed())).round() as i64;
    let sign = if all < 0 { "-" } else { "" };
    let all = all.unsigned_abs();
    let unit = 10u64.pow(digits);
    let width = digits as usize;
    match digits {
        0 => format!("{sign}{all}"),
        _ => format!("{sign}{}.{:0width$}", all / unit, all % unit),
    }
}

/// `2h 5m`, `45s`: the two largest units that say something.
pub(crate) fn span(span: Duration) -> String {
    let s = span.as_secs();
    let parts = [(s / 86_400, "d"), (s / 3600 % 24, "h"), (s / 60 % 60, "m"), (s % 60, "s")];
    let parts = parts.iter().skip_while(|(n, _)| *n == 0).take(2).filter(|(n, _)| *n != 0);
    let parts: Vec<String> = parts.map(|(n, unit)| format!("{n}{unit}")).collect();
    if parts.is_empty() { text("0s") } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
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
        gapped.gaps =
            gaps.iter().map(|(from, to)| TimeRange { from: s(*from), to: s(*to) }).collect();
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
            assert!(
                !one.table().contains("asleep") && !one.json_lines().unwrap().contains("sleep")
            );
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
}
