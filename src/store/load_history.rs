//! The load history: `history/SERVICE-2026-11-28.csv` in the state folder, a file for each service
//! and day (UTC), a row for each minute.
//!
//! ```text
//! # [["cpu",70.0]]
//! 1439,2,2,531,0,0,45,62,123.4,150.2
//! ```
//!
//! A line with `#` names the metrics of the rows below it, with their targets. A row has the
//! minute of the day, ready and desired replicas, requests, responses 5xx, the queue, CPU and
//! memory of the host in percent, and of each metric the average and the highest load of all
//! replicas. Where there is a forecast, that of each metric comes last: the highest load that was
//! expected for the horizon that ends with the row. What is unknown is empty. Rows are appended, so
//! that a killed daemon loses at most the minute that it collected; a torn line is skipped.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate};
use serde_json::Value;

use crate::model::load_history::{MinuteLoad, MinuteRow};
use crate::model::metric::Milli;
use crate::model::time::{DAY, Wall};
use crate::regular_file::{self, folder};

/// Bytes of a file that is read: a day's rows of twenty metrics take less.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Characters of a metric's name, which may be a long query.
const NAME_CHARS_MAX: usize = 200;
const EXTENSION: &str = ".csv";
const DATE: &str = "%Y-%m-%d";

/// Reads the files; cheap to copy to where they are read.
#[derive(Clone, Debug)]
pub(crate) struct HistoryReader {
    folder: PathBuf,
}

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
        // The first line of this run may stand behind a torn one.
        let head = if is_known { String::new() } else { format!("\n{header}\n") };
        folder::make(&self.folder)?;
        let mut file = regular_file::append(&path)?;
        file.write_all(format!("{head}{}\n", line(row)).as_bytes())?;
        self.headers.insert(service.to_owned(), (path, header));
        Ok(())
    }

    /// Removes files of days that ended before this time, known by their exact names.
    pub(crate) fn remove_before(&self, time: Wall) -> io::Result<()> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(()),
            Err(err) => return Err(err),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let day = name.to_str().and_then(day_of);
            if day.is_some_and(|day| day + DAY <= time.0) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

impl HistoryReader {
    pub(crate) fn new(state_dir: &Path) -> HistoryReader {
        HistoryReader { folder: state_dir.join("history") }
    }

    /// The rows of a service from one time up to another, in order; of a minute that was written
    /// twice, the later one. Files that cannot be read have none.
    pub(crate) fn read(&self, service: &str, from: Wall, until: Wall) -> Vec<MinuteRow> {
        self.rows(service, from, until, |_| Ok(())).unwrap_or_default()
    }

    /// As `read`.
    ///
    /// # Errors
    ///
    /// A file that is there and cannot be read, with its path.
    pub(crate) fn try_read(
        &self,
        service: &str,
        from: Wall,
        until: Wall,
    ) -> io::Result<Vec<MinuteRow>> {
        self.rows(service, from, until, Err)
    }

    /// How many of the last days, at most so many, there have been files of the service.
    pub(crate) fn days(&self, service: &str, now: Wall, most: u32) -> u32 {
        let is_there = |days: &u32| {
            let day = Wall(now.0.saturating_sub(DAY.saturating_mul(i64::from(*days))));
            path(&self.folder, service, day).exists()
        };
        (1..=most).rev().find(is_there).unwrap_or(0)
    }

    fn rows(
        &self,
        service: &str,
        from: Wall,
        until: Wall,
        failed: impl Fn(io::Error) -> io::Result<()>,
    ) -> io::Result<Vec<MinuteRow>> {
        let mut rows = BTreeMap::new();
        let mut day = from.0 - from.0.rem_euclid(DAY);
        while day < until.0 {
            let file = path(&self.folder, service, Wall(day));
            let bytes = match regular_file::own_bytes(&file, FILE_BYTES_MAX) {
                Ok(bytes) => bytes.unwrap_or_default(),
                Err(err) if err.kind() == ErrorKind::NotFound => Vec::new(),
                Err(err) => {
                    failed(io::Error::new(err.kind(), format!("{}: {err}", file.display())))?;
                    Vec::new()
                }
            };
            let all = parse(&String::from_utf8_lossy(&bytes), day);
            let own = all.into_iter().filter(|row| from <= row.at && row.at < until);
            rows.extend(own.map(|row| (row.at, row)));
            day += DAY;
        }
        Ok(rows.into_values().collect())
    }
}

fn path(folder: &Path, service: &str, at: Wall) -> PathBuf {
    let day = DateTime::from_timestamp(at.0, 0).unwrap_or_default().format(DATE);
    folder.join(format!("{service}-{day}{EXTENSION}"))
}

/// The first second of the day of a file with this name.
fn day_of(name: &str) -> Option<i64> {
    let stem = name.strip_suffix(EXTENSION)?;
    let (service, date) = stem.split_at_checked(stem.len().checked_sub("-2026-11-28".len())?)?;
    let date = NaiveDate::parse_from_str(date.strip_prefix('-')?, DATE).ok()?;
    let day = date.and_hms_opt(0, 0, 0)?.and_utc().timestamp();
    // Exactly as it is written here, and of a service.
    (!service.is_empty() && path(Path::new(""), service, Wall(day)) == Path::new(name))
        .then_some(day)
}

fn header(row: &MinuteRow) -> String {
    let metric = |load: &MinuteLoad| {
        let name: String = load.metric.chars().take(NAME_CHARS_MAX).collect();
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
    for load in row.loads.iter().flat_map(|load| [load.average, load.highest]) {
        out.push(',');
        out += &load.map(short).unwrap_or_default();
    }
    let known = row.loads.iter().rposition(|load| load.forecast.is_some());
    for load in row.loads.iter().take(known.map_or(0, |last| last + 1)) {
        out.push(',');
        out += &load.forecast.map(short).unwrap_or_default();
    }
    out
}

/// To a tenth, and from 1,000 on to the whole.
fn short(load: Milli) -> String {
    let Milli(milli) = load;
    if 1_000_000 <= milli {
        return (milli / 1000).to_string();
    }
    let tenths = milli.div_ceil(100);
    if tenths % 10 == 0 {
        (tenths / 10).to_string()
    } else {
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}

fn parse(text: &str, day: i64) -> Vec<MinuteRow> {
    let mut rows = Vec::new();
    // Rows before the first readable line with `#` are of unknown metrics.
    let mut metrics: Option<Vec<(String, Milli)>> = None;
    for line in text.lines() {
        match line.strip_prefix("# ") {
            Some(header) => metrics = parsed_header(header),
            None => rows.extend(metrics.as_ref().and_then(|known| parsed_row(line, day, known))),
        }
    }
    rows
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
    let load = |(((metric, target), values), forecast): LoadFields| MinuteLoad {
        metric: metric.clone(),
        target: *target,
        average: values.first().copied().and_then(parsed_load),
        highest: values.last().copied().and_then(parsed_load),
        forecast,
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
    crate::model::units::decimal(field, 3).map(Milli)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use crate::model::load_history::{MinuteLoad, MinuteRow};
    use crate::model::metric::Milli;
    use crate::model::time::{DAY, Wall};
    use crate::store::load_history::{HistoryFiles, HistoryReader, line};

    /// 2026-11-28, in seconds.
    const TODAY: i64 = 1_795_824_000;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let name = format!("plimsoll-history-{name}-{}", std::process::id());
            let folder = Folder(std::env::temp_dir().join(name));
            drop(fs::remove_dir_all(&folder.0));
            fs::create_dir(&folder.0).unwrap();
            folder
        }

        fn read(&self, service: &str, from: i64, until: i64) -> Vec<MinuteRow> {
            HistoryReader::new(&self.0).read(service, Wall(from), Wall(until))
        }

        fn file(&self, name: &str) -> PathBuf {
            self.0.join("history").join(name)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn load(metric: &str, target: u64, values: Option<(u64, u64)>) -> MinuteLoad {
        let metric = metric.to_owned();
        let average = values.map(|(average, _)| Milli(average));
        let highest = values.map(|(_, highest)| Milli(highest));
        MinuteLoad { metric, target: Milli(target), average, highest, forecast: None }
    }

    fn row(at: i64, loads: Vec<MinuteLoad>) -> MinuteRow {
        MinuteRow {
            at: Wall(at),
            ready: 3,
            desired: 4,
            requests: 5_310,
            errors_5xx: 2,
            queue: 1,
            host_cpu: Some(45),
            host_memory: None,
            loads,
        }
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        let folder = Folder::new("rows");
        let mut files = HistoryFiles::new(&folder.0);
        let cpu = |values| load("cpu", 70_000, values);
        let sessions = load("haproxy sessions", 20_000, Some((12_000, 31_000)));
        let rows = [
            row(TODAY - 60, vec![cpu(Some((123_400, 150_200)))]),
            row(TODAY, vec![cpu(Some((0, 100)))]),
            row(TODAY + 60, vec![cpu(None)]),
            // A reload brought a metric, and the target is another now.
            row(TODAY + 120, vec![load("cpu", 60_500, None), sessions]),
            row(TODAY + 180, Vec::new()),
            row(TODAY + DAY - 60, vec![cpu(Some((1_234_000, 5_000_000)))]),
        ];
        let forecast = |row: &MinuteRow, at: i64, values: [Option<u64>; 2]| {
            let mut row = MinuteRow { at: Wall(TODAY + at), ..row.clone() };
            for (load, value) in row.loads.iter_mut().zip(values) {
                load.forecast = value.map(Milli);
            }
            row
        };
        let forecasts = [
            forecast(&rows[1], 240, [Some(150_000), None]),
            forecast(&rows[3], 300, [None, Some(12_500)]),
            forecast(&rows[3], 360, [Some(0), None]),
        ];
        let rows = [&rows[..5], &forecasts, &rows[5..]].concat();
        rows.iter().for_each(|row| files.append("web", row).unwrap());
        files.append("web-b", &rows[1]).unwrap();
        assert_eq!(folder.read("web", TODAY - DAY, TODAY + DAY), rows);
        assert_eq!(folder.read("web", TODAY, TODAY + 120), rows[1..3]);
        assert_eq!(folder.read("web-b", TODAY, TODAY + DAY), rows[1..2]);
        assert_eq!(folder.read("api", TODAY, TODAY + DAY), []);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_and_one_that_is_not_there_has_no_rows() {
        let folder = Folder::new("unreadable");
        let mut files = HistoryFiles::new(&folder.0);
        files.append("web", &row(TODAY - 2 * DAY, Vec::new())).unwrap();
        let reader = HistoryReader::new(&folder.0);
        let read = || reader.try_read("web", Wall(TODAY - 3 * DAY), Wall(TODAY));
        assert_eq!(read().unwrap().len(), 1);
        let days = [14, 2, 1].map(|most| reader.days("web", Wall(TODAY), most));
        assert_eq!(days, [2, 2, 0]);
        fs::create_dir(folder.file("web-2026-11-27.csv")).unwrap();
        let why = read().unwrap_err().to_string();
        assert!(why.contains("web-2026-11-27.csv: "), "{why}");
        assert_eq!(folder.read("web", TODAY - 3 * DAY, TODAY).len(), 1);
    }

    #[test]
    fn torn_and_odd_lines_are_skipped_and_the_later_of_two_rows_counts() {
        let folder = Folder::new("torn");
        let cpu = || vec![load("cpu", 70_000, Some((1_000, 2_000)))];
        let first = row(TODAY, cpu());
        HistoryFiles::new(&folder.0).append("web", &first).unwrap();
        let path = folder.file("web-2026-11-28.csv");
        let mut text = fs::read(&path).unwrap();
        let odd =
            "1440,1,1,1,0,0,1,1,1,1\n# [[\n5,1,1\n,,,,,,,,,\n4,1,1,1,0,0,1,1,1,1,1,1\n3,2,2,53";
        text.extend_from_slice(odd.as_bytes());
        text.push(0xff);
        fs::write(&path, text).unwrap();
        // The next daemon; its clock was set back meanwhile.
        let mut files = HistoryFiles::new(&folder.0);
        let second = MinuteRow { ready: 9, ..row(TODAY, cpu()) };
        files.append("web", &second).unwrap();
        assert_eq!(folder.read("web", TODAY, TODAY + DAY), [second]);
    }

    #[test]
    fn a_row_of_three_metrics_takes_64_bytes_at_most() {
        let large = || load("cpu", 70_000, Some((999_999, 999_999)));
        let row = MinuteRow {
            ready: 99,
            desired: 99,
            requests: 99_999,
            errors_5xx: 99,
            queue: 99,
            host_cpu: Some(100),
            host_memory: Some(99),
            ..row(TODAY + DAY - 60, vec![large(), large(), large()])
        };
        let text = line(&row) + "\n";
        assert!(text.len() <= 64, "{} bytes: {text}", text.len());
    }

    #[test]
    fn old_files_are_removed_by_their_exact_names() {
        let folder = Folder::new("old");
        let mut files = HistoryFiles::new(&folder.0);
        files.remove_before(Wall(TODAY)).unwrap();
        for day in [TODAY - 2 * DAY, TODAY - DAY, TODAY] {
            files.append("web", &row(day, Vec::new())).unwrap();
        }
        let others = [
            "web-2026-11-01.csv.bak",
            "2026-11-01.csv",
            "-2026-11-01.csv",
            "web-2026-1-01.csv",
            "web-2026-02-30.csv",
            "notes.csv",
            "ö.csv",
        ];
        others.iter().for_each(|name| fs::write(folder.file(name), "").unwrap());
        // A day is old when its end is.
        files.remove_before(Wall(TODAY - DAY - 1)).unwrap();
        assert!(folder.file("web-2026-11-26.csv").exists());
        files.remove_before(Wall(TODAY - DAY)).unwrap();
        assert!(!folder.file("web-2026-11-26.csv").exists());
        for name in others.iter().chain(&["web-2026-11-27.csv", "web-2026-11-28.csv"]) {
            assert!(folder.file(name).exists(), "{name}");
        }
    }
}
