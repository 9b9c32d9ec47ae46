//! The load history as a table that fits a screen or two: the hours of a day, the days of a week.

use std::collections::BTreeMap;

use chrono::NaiveDate;

use crate::cli::table::{ended, hanging, span, table};
use crate::model::load_history::MinuteRow;
use crate::model::time::{DAY, MINUTE, Wall};
use crate::model::zone::Zone;
use crate::sim::timeline::short;

/// Lines of a table at most.
const LINES_MAX: i64 = 48;
const HOUR: i64 = 3600;
/// The widths of a line's time, in seconds.
const STEPS: [i64; 8] = [MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, DAY, 7 * DAY, 28 * DAY, 364 * DAY];
/// The first Monday after 1970 began: weeks begin on Monday.
const MONDAY: i64 = 4 * DAY;
/// 1970-01-01, counted from the year 1.
const UNIX_DAY: i32 = 719_163;
const LEGEND: &str = "load, peak: of the target, on average and in the worst minute; replicas: \
    ready, in brackets desired where that is more; host: CPU and memory; metrics: average and \
    highest of all replicas together, of memory and response time that of one";

/// What a line is of.
#[derive(Debug, Default)]
struct HistoryLine {
    minutes: u64,
    ready: Option<(u32, u32)>,
    desired: u32,
    requests: u64,
    errors_5xx: u64,
    queue: u64,
    cpu: Mean,
    memory: Mean,
    load: Mean,
    /// Average and highest, by metric.
    metrics: BTreeMap<String, (Mean, Mean)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: u128,
    count: u64,
    highest: u64,
}

impl Mean {
    fn add(&mut self, value: u64) {
        self.sum += u128::from(value);
        self.count += 1;
        self.highest = self.highest.max(value);
    }

    fn average(&self) -> Option<u64> {
        let average = self.sum.checked_div(u128::from(self.count))?;
        u64::try_from(average).ok()
    }
}

impl HistoryLine {
    fn add(&mut self, row: &MinuteRow) {
        self.minutes += 1;
        let (low, high) = self.ready.unwrap_or((row.ready, row.ready));
        self.ready = Some((low.min(row.ready), high.max(row.ready)));
        self.desired = self.desired.max(row.desired);
        self.requests = self.requests.saturating_add(row.requests);
        self.errors_5xx = self.errors_5xx.saturating_add(row.errors_5xx);
        self.queue = self.queue.max(row.queue);
        row.host_cpu.into_iter().for_each(|percent| self.cpu.add(percent.into()));
        row.host_memory.into_iter().for_each(|percent| self.memory.add(percent.into()));
        row.load().into_iter().for_each(|load| self.load.add(load.0));
        for load in row.shown_loads() {
            let (average, highest) = self.metrics.entry(load.metric).or_default();
            load.average.into_iter().for_each(|value| average.add(value.0));
            load.highest.into_iter().for_each(|value| highest.add(value.0));
        }
    }

    /// Behind the time: all but what is missing.
    fn cells(&self) -> [String; 7] {
        let (low, high) = self.ready.unwrap_or_default();
        let mut replicas = if low == high { low.to_string() } else { format!("{low}-{high}") };
        if high < self.desired {
            replicas += &format!(" ({})", self.desired);
        }
        let percent = |milli: u64| format!("{}%", milli.div_ceil(10));
        let load = self.load.average();
        let host = match (self.cpu.average(), self.memory.average()) {
            (None, None) => "-".to_owned(),
            (cpu, memory) => {
                let [cpu, memory] =
                    [cpu, memory].map(|part| part.map_or("-".to_owned(), |part| part.to_string()));
                format!("{cpu}/{memory}%")
            }
        };
        [
            replicas,
            load.map_or("-".to_owned(), percent),
            load.map_or("-".to_owned(), |_| percent(self.load.highest)),
            short(self.requests as f64),
            short(self.errors_5xx as f64),
            self.queue.to_string(),
            host,
        ]
    }

    fn metrics(&self) -> String {
        let number = |milli: u64| short(milli as f64 / 1000.0);
        let metric = |(name, (average, highest)): (&String, &(Mean, Mean))| match average.average()
        {
            Some(value) => format!("{name} {}/{}", number(value), number(highest.highest)),
            None => format!("{name} -"),
        };
        self.metrics.iter().map(metric).collect::<Vec<_>>().join(", ")
    }
}

/// `None`: there is no row. The rows are of a time in `span`, in their order.
pub(crate) fn text(
    service: &str,
    zone: &Zone,
    (from, until): (Wall, Wall),
    rows: impl Iterator<Item = MinuteRow>,
    width: usize,
) -> Option<String> {
    let mut rows = rows.peekable();
    // A service that is new has lines of the time since then.
    let begin = rows.peek()?.at.max(from);
    let fits = |step: &i64| until.0 - begin.0 <= LINES_MAX * step;
    let step = STEPS.into_iter().find(fits).unwrap_or(STEPS[STEPS.len() - 1]);
    let mut lines: BTreeMap<i64, HistoryLine> = BTreeMap::new();
    let mut minutes = 0;
    for row in rows {
        minutes += 1;
        lines.entry(place(row.at, step, zone)).or_default().add(&row);
    }
    let heads =
        ["FROM", ">REPLICAS", ">LOAD", ">PEAK", ">REQUESTS", ">5XX", ">QUEUE", ">HOST", "METRICS"];
    let cells = rows_of(&lines, step, zone);
    let mut out =
        format!("{service}, {} times, {}\n\n", zone, covered(minutes, (until.0 - from.0) / MINUTE));
    out += &table(heads, &cells, width).iter().map(|lines| ended(lines)).collect::<String>();
    out += "\n";
    out += &ended(&hanging("", LEGEND, width));
    Some(out)
}

/// With a line for each time in which rows are missing.
fn rows_of(lines: &BTreeMap<i64, HistoryLine>, step: i64, zone: &Zone) -> Vec<[String; 9]> {
    let mut rows = Vec::new();
    let mut next: Option<i64> = None;
    let last = lines.keys().last().copied();
    for (place, line) in lines {
        let is_first = next.is_none();
        if let Some(expected) = next.filter(|expected| expected < place) {
            let gap = format!("no rows for {}", length(place - expected));
            let mut cells: [String; 9] = Default::default();
            cells[0] = label(expected, step, zone);
            cells[8] = gap;
            rows.push(cells);
        }
        next = Some(place + step);
        let mut metrics = line.metrics();
        let is_inner = !is_first && Some(*place) != last;
        let have = i64::try_from(line.minutes).unwrap_or(i64::MAX) * MINUTE;
        // A change of the clocks takes less of a day.
        if is_inner && have * 100 < step * 95 {
            metrics += &format!(" ({} of {})", length(have), length(step));
        }
        let [replicas, load, peak, requests, errors, queue, host] = line.cells();
        let at = label(*place, step, zone);
        rows.push([at, replicas, load, peak, requests, errors, queue, host, metrics]);
    }
    rows
}

/// The second at which the line of an instant begins; of days and longer the first of the local
/// date, as if that were UTC.
fn place(at: Wall, step: i64, zone: &Zone) -> i64 {
    let local = zone.local(at);
    let clock = local.naive_local().and_utc().timestamp();
    if step < DAY {
        return at.0 - clock.rem_euclid(step);
    }
    clock - (clock - MONDAY).rem_euclid(step)
}

fn label(place: i64, step: i64, zone: &Zone) -> String {
    if step < DAY {
        let local = zone.local(Wall(place));
        return local.format("%a %H:%M").to_string();
    }
    let days = i32::try_from(place / DAY).unwrap_or(0);
    let date = NaiveDate::from_num_days_from_ce_opt(days.saturating_add(UNIX_DAY));
    let date = date.unwrap_or_default();
    if 7 * DAY < step { date.to_string() } else { date.format("%a %-d %b").to_string() }
}

fn length(seconds: i64) -> String {
    span(u64::try_from(seconds).unwrap_or(0))
}

/// How much of a span has rows, both in minutes. The last two minutes may not be written yet.
pub(crate) fn covered(minutes: i64, span_minutes: i64) -> String {
    let whole = length(span_minutes * MINUTE);
    if span_minutes <= minutes + 2 {
        return format!("covers all of {whole}");
    }
    format!("covers {} of {whole}", length(minutes * MINUTE))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use crate::cli::history_table::{covered, text};
    use crate::model::load_history::{MinuteLoad, MinuteRow};
    use crate::model::metric::Milli;
    use crate::model::time::{DAY, Wall};
    use crate::model::zone::Zone;

    const HOUR: i64 = 3600;

    fn wall(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp()
    }

    fn row(at: i64, ready: u32, load: u64) -> MinuteRow {
        let metric = "cpu".to_owned();
        let (average, highest) = (Some(Milli(load)), Some(Milli(2 * load)));
        MinuteRow {
            at: Wall(at),
            ready,
            desired: 2,
            requests: 100,
            errors_5xx: 1,
            queue: 3,
            host_cpu: Some(45),
            host_memory: None,
            loads: vec![MinuteLoad {
                metric,
                target: Milli(50_000),
                average,
                highest,
                forecast: None,
            }],
        }
    }

    fn table(zone: &str, span: (i64, i64), rows: Vec<MinuteRow>, width: usize) -> String {
        let zone = Zone::find(zone).unwrap();
        text("web", &zone, (Wall(span.0), Wall(span.1)), rows.into_iter(), width).unwrap()
    }

    /// The first cell of each line.
    fn labels(table: &str) -> Vec<String> {
        let lines = table.lines().skip(3).take_while(|line| !line.is_empty());
        let lines = lines.filter(|line| !line.starts_with(' '));
        lines.map(|line| line.split("  ").next().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_day_has_its_hours_and_says_what_is_missing() {
        let start = wall("2026-11-28T00:00:00Z");
        let rows = (0..24 * 60).filter(|minute| !(130..300).contains(minute));
        let rows = rows.map(|n| row(start + 60 * n, 1 + u32::from(600 < n), 30_000)).collect();
        let table = table("UTC", (start, start + DAY), rows, 100);
        assert!(table.starts_with("web, UTC times, covers 21h 10m of 1d\n\n"), "{table}");
        let line = |label: &str| table.lines().find(|line| line.starts_with(label)).unwrap();
        let want = "Sat 00:00     1 (2)   60%   60%      6000   60      3  45/-%  cpu 30/60";
        assert_eq!(line("Sat 00:00"), want);
        assert!(line("Sat 02:00").ends_with("cpu 30/60 (10m of 1h)"), "{table}");
        assert!(line("Sat 03:00").ends_with("  no rows for 2h"), "{table}");
        assert!(line("Sat 10:00").contains(" 1-2 "), "{table}");
        assert_eq!(labels(&table).len(), 23, "{table}");
    }

    #[test]
    fn what_is_of_each_replica_is_no_sum_over_them() {
        let start = wall("2026-11-28T00:00:00Z");
        // 380 ms and 40 % with two replicas and with three, as they are stored.
        let rows = (0..60).map(|n| {
            let ready = if n < 30 { 2 } else { 3 };
            let mut row = row(start + 60 * n, ready, 0);
            let cpu = row.loads.remove(0);
            let each = [
                ("cpu", 50_000, 0),
                ("haproxy response_time_ms", 380_000, 1000),
                ("memory", 40_000, 0),
            ];
            row.loads = each
                .map(|(metric, value, more)| MinuteLoad {
                    metric: metric.to_owned(),
                    average: Some(Milli(value * u64::from(ready))),
                    highest: Some(Milli((value + more) * u64::from(ready))),
                    ..cpu.clone()
                })
                .into();
            row
        });
        let table = table("UTC", (start, start + 30 * HOUR), rows.collect(), 200);
        let want = "cpu 125/150, haproxy response_time_ms 380/381, memory 40/40";
        assert!(table.contains(want), "{table}");
    }

    #[test]
    fn a_table_of_any_span_fits_a_screen_or_two() {
        let until = wall("2026-11-29T20:15:00Z");
        for (span, first, lines) in [
            (48 * 60, "Sun 19:27", 48),
            (3 * HOUR, "Sun 17:15", 36),
            (12 * HOUR, "Sun 08:15", 48),
            (DAY, "Sat 20:00", 25),
            (7 * DAY, "Sun 22 Nov", 8),
            (90 * DAY, "Mon 31 Aug", 13),
            (3650 * DAY, "2016-", 11),
        ] {
            let step = if span < 100 * DAY { 60 } else { 3 * HOUR };
            let rows = (1..=span / step).rev().map(|n| row(until - n * step, 2, 1000)).collect();
            let table = table("UTC", (until - span, until), rows, 80);
            let labels = labels(&table);
            assert!(labels[0].starts_with(first), "{table}");
            assert_eq!(labels.len(), lines, "{table}");
            assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        }
    }

    #[test]
    fn lines_follow_the_local_clock_through_its_changes() {
        let minutes = |start: i64, span: i64| -> Vec<MinuteRow> {
            (0..span / 60).map(|n| row(start + 60 * n, 2, 1000)).collect()
        };
        let all_of = |zone, start: &str, span: i64| {
            let start = wall(start);
            let table = table(zone, (start, start + span), minutes(start, span), 100);
            assert!(!table.contains("no rows") && !table.contains(" of 1"), "{table}");
            labels(&table).join(",")
        };
        let night = all_of("Europe/Berlin", "2026-10-24T22:00:00Z", 20 * HOUR);
        assert!(night.starts_with("Sun 00:00,Sun 01:00,Sun 02:00,Sun 02:00,Sun 03:00"), "{night}");
        let night = all_of("Europe/Berlin", "2026-03-28T23:00:00Z", 20 * HOUR);
        assert!(night.starts_with("Sun 00:00,Sun 01:00,Sun 03:00"), "{night}");
        let days = all_of("Europe/Berlin", "2026-03-27T23:00:00Z", 4 * DAY - HOUR);
        assert_eq!(days, "Sat 28 Mar,Sun 29 Mar,Mon 30 Mar,Tue 31 Mar");
        let hours = all_of("Asia/Kathmandu", "2026-03-27T23:15:00Z", 20 * HOUR);
        assert!(hours.starts_with("Sat 05:00,Sat 06:00"), "{hours}");
    }

    #[test]
    fn a_history_that_is_shorter_has_lines_of_its_own_time() {
        let until = wall("2026-11-29T20:00:00Z");
        let rows = (0..60).map(|n| row(until - HOUR + 60 * n, 2, 1000)).collect();
        let table = table("UTC", (until - 90 * DAY, until), rows, 100);
        assert!(table.starts_with("web, UTC times, covers 1h of 90d\n"), "{table}");
        assert_eq!(labels(&table).len(), 12, "{table}");
    }

    #[test]
    fn the_last_two_minutes_may_not_be_written_yet() {
        assert_eq!(covered(58, 60), "covers all of 1h");
        assert_eq!(covered(57, 60), "covers 57m of 1h");
    }
}
