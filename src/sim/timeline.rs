//! What a run over a load trace was like: the points of it, their sum, and both as text. Knows
//! neither controller nor world; the run fills it.

#[cfg(test)]
mod tests;

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

/// The reason of a point of which nothing is known.
pub(crate) const NO_ROWS: &str = "not recorded";

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

impl Point {
    pub(crate) fn is_known(&self) -> bool {
        self.reason != NO_ROWS
    }
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
