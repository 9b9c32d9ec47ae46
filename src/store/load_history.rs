//! The load history: `history/SERVICE-2026-11-28.csv` in the state folder, a file for each service
//! and day (UTC), a row for each minute.
//!
//! ```text
//! # [["cpu",70.0]]
//! 1439,2,2,531,0,0,45,62,98.4,150
//! ```
//!
//! A line with `#` names the metrics of the rows below it, with their targets. A row has the minute
//! of the day, ready and desired replicas, requests, responses 5xx, the queue, CPU and memory of
//! the host in percent, and of each metric the average and the highest load of all replicas, the
//! latter empty where it is the same. Where there is a forecast, that of each metric comes last:
//! the highest load that was expected for the horizon that ends with the row. What is unknown is
//! empty. Rows are appended, so that a killed daemon loses at most the minute that it collected.
//! Each line with `#` has an empty line before it: a row without one was torn, and is skipped even
//! if it looks whole.
//! `src/store/history_reader.rs` reads the files.

#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, NaiveDate};
use serde_json::Value;

use crate::model::load_history::{METRIC_NAME_CHARS_MAX, MinuteLoad, MinuteRow};
use crate::model::metric::Milli;
use crate::model::time::{DAY, Wall};
use crate::regular_file::{self, folder};

/// Bytes of a file that is read: a day's rows of twenty metrics take less.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;
const EXTENSION: &str = ".csv";
const DATE: &str = "%Y-%m-%d";

#[derive(Debug)]
pub(crate) struct HistoryFiles {
    folder: PathBuf,
    /// The file and the line with `#` that were written last, by service.
    headers: BTreeMap<String, (PathBuf, String)>,
}

impl HistoryFiles {
    pub(crate) fn new(state_dir: &Path) -> HistoryFiles {
        HistoryFiles { folder: state_dir.join("history"), headers: BTreeMap::new() }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Appends in one write. A failure loses the row.
    pub(crate) fn append(&mut self, service: &str, row: &MinuteRow) -> io::Result<()> {
        let path = path(&self.folder, service, row.at);
        let header = header(row);
        let known = self.headers.remove(service);
        let is_known = known.is_some_and(|(file, line)| file == path && line == header);
        folder::make(&self.folder)?;
        let mut file = regular_file::append(&path)?;
        // Somebody may have removed or emptied it.
        let size = file.metadata()?.len();
        let is_known = is_known && size != 0;
        // The first line of this run may stand behind a torn one.
        let head = if is_known { String::new() } else { format!("\n{header}\n") };
        let text = format!("{head}{}\n", line(row));
        if FILE_BYTES_MAX < size.saturating_add(text.len() as u64) {
            let words = "would be larger than 1 MiB and not be read any more; no day has so many \
                         rows: find out who else wrote to it, and remove it";
            return Err(io::Error::other(format!("{} {words}", path.display())));
        }
        file.write_all(text.as_bytes())?;
        self.headers.insert(service.to_owned(), (path, header));
        Ok(())
    }

    /// Removes files of days that ended so long ago, known by their exact names. The newest days
    /// stay whatever the clock shows: one that is set forward by a year costs no history. What is
    /// not a regular file is nobody's history. The error is the first; the other files are removed.
    pub(crate) fn remove_old(&self, now: Wall, keep: Duration) -> io::Result<()> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(()),
            Err(err) => return Err(err),
        };
        let mut days: BTreeMap<i64, Vec<PathBuf>> = BTreeMap::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            if let Some((_, day)) = name.to_str().and_then(named)
                && entry.file_type()?.is_file()
            {
                days.entry(day).or_default().push(entry.path());
            }
        }
        let keep = i64::try_from(keep.as_secs()).unwrap_or(i64::MAX);
        let newest = usize::try_from(keep.saturating_add(DAY - 1) / DAY).unwrap_or(usize::MAX);
        let before = now.0.saturating_sub(keep);
        let old = days.iter().rev().skip(newest).filter(|(day, _)| **day + DAY <= before);
        let mut removed = Ok(());
        for file in old.flat_map(|(_, files)| files) {
            removed = removed.and(fs::remove_file(file));
        }
        removed
    }
}

pub(super) fn path(folder: &Path, service: &str, at: Wall) -> PathBuf {
    let day = DateTime::from_timestamp(at.0, 0).unwrap_or_default().format(DATE);
    folder.join(format!("{service}-{day}{EXTENSION}"))
}

/// The service of a file with this name, and the first second of its day.
pub(super) fn named(name: &str) -> Option<(&str, i64)> {
    let stem = name.strip_suffix(EXTENSION)?;
    let (service, date) = stem.split_at_checked(stem.len().checked_sub("-2026-11-28".len())?)?;
    let date = NaiveDate::parse_from_str(date.strip_prefix('-')?, DATE).ok()?;
    let day = date.and_hms_opt(0, 0, 0)?.and_utc().timestamp();
    // Exactly as it is written here, and of a service.
    let is_exact =
        !service.is_empty() && path(Path::new(""), service, Wall(day)) == Path::new(name);
    is_exact.then_some((service, day))
}

fn header(row: &MinuteRow) -> String {
    let metric = |load: &MinuteLoad| {
        let name: String = load.metric.chars().take(METRIC_NAME_CHARS_MAX).collect();
        Value::from(vec![Value::from(name), Value::from(load.target.0 as f64 / 1000.0)])
    };
    format!("# {}", Value::from(row.loads.iter().map(metric).collect::<Vec<_>>()))
}

fn line(row: &MinuteRow) -> String {
    let minute = row.at.0.rem_euclid(DAY) / 60;
    let MinuteRow { ready, desired, requests, errors_5xx, queue, .. } = row;
    let mut out = format!("{minute},{ready},{desired},{requests},{errors_5xx},{queue}");
    for percent in [row.host_cpu, row.host_memory] {
        out += &percent.map_or(",".to_owned(), |percent| format!(",{percent}"));
    }
    for load in &row.loads {
        let [average, highest] =
            [load.average, load.highest].map(|load| load.map(short).unwrap_or_default());
        let highest = if highest == average { "" } else { highest.as_str() };
        out += &format!(",{average},{highest}");
    }
    let known = row.loads.iter().rposition(|load| load.forecast.is_some());
    for load in row.loads.iter().take(known.map_or(0, |last| last + 1)) {
        out.push(',');
        out += &load.forecast.map(short).unwrap_or_default();
    }
    out
}

/// To a tenth below 100, from there on to the whole, then in thousands and in millions: at least
/// three digits, and no more than four bytes below 10,000.
fn short(load: Milli) -> String {
    let Milli(milli) = load;
    let tenths = milli.div_ceil(100);
    if 1000 <= tenths {
        let (one, unit) = match milli {
            0..100_000_000 => (1000, ""),
            100_000_000..100_000_000_000 => (1_000_000, "k"),
            100_000_000_000.. => (1_000_000_000, "M"),
        };
        return format!("{}{unit}", milli.saturating_add(one / 2) / one);
    }
    if tenths % 10 == 0 {
        (tenths / 10).to_string()
    } else {
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}

/// The rows of a file in their order, and how many lines are none: those that were torn, as by a
/// kill, do not count.
pub(super) fn parse(text: &str, day: i64) -> (Vec<MinuteRow>, usize) {
    let mut rows = Vec::new();
    let mut odd_lines = 0;
    // Rows before the first readable line with `#` are of unknown metrics.
    let mut metrics: Option<Vec<(String, Milli)>> = None;
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let is_torn =
            !line.ends_with('\n') || lines.peek().is_some_and(|next| next.starts_with('#'));
        let line = line.trim_end();
        let is_read = match line.strip_prefix("# ") {
            Some(header) => {
                metrics = parsed_header(header);
                metrics.is_some()
            }
            None if is_torn => true,
            None => {
                let row = metrics.as_ref().and_then(|known| parsed_row(line, day, known));
                let is_row = row.is_some();
                rows.extend(row);
                is_row
            }
        };
        odd_lines += usize::from(!is_read && !is_torn && !line.is_empty());
    }
    (rows, odd_lines)
}

fn parsed_header(text: &str) -> Option<Vec<(String, Milli)>> {
    let metrics: Vec<(String, f64)> = serde_json::from_str(text).ok()?;
    let target = |target: f64| Milli((target * 1000.0).round() as u64);
    Some(metrics.into_iter().map(|(name, value)| (name, target(value))).collect())
}

/// The metric with its target, the average and the highest load, and the forecast.
type LoadFields<'a> = ((&'a (String, Milli), &'a [&'a str]), Option<Milli>);

fn parsed_row(line: &str, day: i64, metrics: &[(String, Milli)]) -> Option<MinuteRow> {
    let fields: Vec<&str> = line.split(',').collect();
    // As many as there have to be: a torn line has fewer.
    let (counts, loads) = fields.split_at_checked(8)?;
    let (loads, forecasts) = loads.split_at_checked(2 * metrics.len())?;
    if metrics.len() < forecasts.len() {
        return None;
    }
    let forecasts = forecasts.iter().map(|field| parsed_load(field));
    let forecasts = forecasts.chain(std::iter::repeat(None));
    let minute = counts[0].parse::<i64>().ok().filter(|minute| (0..DAY / 60).contains(minute))?;
    let percent = |field: &str| field.parse().ok().filter(|percent| *percent <= 100);
    let load = |(((metric, target), values), forecast): LoadFields| {
        let average = values.first().copied().and_then(parsed_load);
        let highest = values.last().copied().filter(|field| !field.is_empty());
        MinuteLoad {
            metric: metric.clone(),
            target: *target,
            average,
            highest: highest.map_or(average, parsed_load),
            forecast,
        }
    };
    Some(MinuteRow {
        at: Wall(day + 60 * minute),
        ready: counts[1].parse().ok()?,
        desired: counts[2].parse().ok()?,
        requests: counts[3].parse().ok()?,
        errors_5xx: counts[4].parse().ok()?,
        queue: counts[5].parse().ok()?,
        host_cpu: percent(counts[6]),
        host_memory: percent(counts[7]),
        loads: metrics.iter().zip(loads.chunks(2)).zip(forecasts).map(load).collect(),
    })
}

fn parsed_load(field: &str) -> Option<Milli> {
    let of = |(unit, ones): (&str, u64)| Some((field.strip_suffix(unit)?, ones));
    let (number, ones) =
        [("k", 1000), ("M", 1_000_000)].into_iter().find_map(of).unwrap_or((field, 1));
    crate::model::units::decimal(number, 3)?.checked_mul(ones).map(Milli)
}
