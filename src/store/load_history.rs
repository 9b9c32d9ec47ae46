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
//! that a killed daemon loses at most the minute that it collected. Each line with `#` has an empty
//! line before it: a row without one was torn, and is skipped even if it looks whole.
//! `src/store/history_reader.rs` reads the files.

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
        let is_known = is_known && file.metadata()?.len() != 0;
        // The first line of this run may stand behind a torn one.
        let head = if is_known { String::new() } else { format!("\n{header}\n") };
        file.write_all(format!("{head}{}\n", line(row)).as_bytes())?;
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
pub(super) mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::time::Duration;

    use crate::model::load_history::{MinuteLoad, MinuteRow};
    use crate::model::metric::Milli;
    use crate::model::time::{DAY, Wall};
    use crate::store::history_reader::HistoryReader;
    use crate::store::load_history::{HistoryFiles, line};

    /// 2026-11-28, in seconds.
    const TODAY: i64 = 1_795_824_000;

    pub(crate) struct Folder(pub(crate) PathBuf);

    impl Folder {
        pub(crate) fn new(name: &str) -> Folder {
            let name = format!("plimsoll-history-{name}-{}", std::process::id());
            let folder = Folder(std::env::temp_dir().join(name));
            drop(fs::remove_dir_all(&folder.0));
            fs::create_dir(&folder.0).unwrap();
            folder
        }

        pub(crate) fn read(&self, service: &str, from: i64, until: i64) -> Vec<MinuteRow> {
            HistoryReader::new(&self.0).read(service, Wall(from), Wall(until))
        }

        pub(crate) fn file(&self, name: &str) -> PathBuf {
            self.0.join("history").join(name)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    pub(crate) fn load(metric: &str, target: u64, values: Option<(u64, u64)>) -> MinuteLoad {
        let metric = metric.to_owned();
        let average = values.map(|(average, _)| Milli(average));
        let highest = values.map(|(_, highest)| Milli(highest));
        MinuteLoad { metric, target: Milli(target), average, highest, forecast: None }
    }

    pub(crate) fn row(at: i64, loads: Vec<MinuteLoad>) -> MinuteRow {
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
    fn the_age_is_that_of_the_oldest_file_that_is_looked_for() {
        let folder = Folder::new("unreadable");
        let mut files = HistoryFiles::new(&folder.0);
        files.append("web", &row(TODAY - 2 * DAY, Vec::new())).unwrap();
        let reader = HistoryReader::new(&folder.0);
        let ages = [14, 2, 1].map(|most| reader.age_in_days("web", Wall(TODAY), most));
        assert_eq!(ages, [2, 2, 0]);
    }

    #[test]
    fn torn_and_odd_lines_are_skipped_and_the_later_of_two_rows_counts() {
        let folder = Folder::new("torn");
        let cpu = || vec![load("cpu", 70_000, Some((1_000, 2_000)))];
        let first = row(TODAY, cpu());
        HistoryFiles::new(&folder.0).append("web", &first).unwrap();
        let path = folder.file("web-2026-11-28.csv");
        let mut text = fs::read(&path).unwrap();
        let odd = "1440,1,1,1,0,0,1,1,1,1\n# [[\n5,1,1\n,,,,,,,,,\n3,2,2,53";
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
    fn a_file_that_somebody_removes_or_empties_begins_again() {
        let folder = Folder::new("removed");
        let mut files = HistoryFiles::new(&folder.0);
        let row = |at| row(at, vec![load("cpu", 70_000, Some((1_000, 2_000)))]);
        let path = folder.file("web-2026-11-28.csv");
        files.append("web", &row(TODAY)).unwrap();
        fs::remove_file(&path).unwrap();
        files.append("web", &row(TODAY + 60)).unwrap();
        assert_eq!(folder.read("web", TODAY, TODAY + DAY), [row(TODAY + 60)]);
        fs::write(&path, "").unwrap();
        files.append("web", &row(TODAY + 120)).unwrap();
        assert_eq!(folder.read("web", TODAY, TODAY + DAY), [row(TODAY + 120)]);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        files.append("web", &row(TODAY + 180)).unwrap();
        assert_eq!(folder.read("web", TODAY, TODAY + DAY), [row(TODAY + 180)]);
    }

    const DAYS: Duration = Duration::from_secs(DAY as u64);

    #[test]
    fn old_files_are_removed_by_their_exact_names() {
        let folder = Folder::new("old");
        let mut files = HistoryFiles::new(&folder.0);
        files.remove_old(Wall(TODAY), DAYS).unwrap();
        for day in [TODAY - 2 * DAY, TODAY - DAY, TODAY] {
            files.append("web", &row(day, Vec::new())).unwrap();
            files.append("web-2", &row(day, Vec::new())).unwrap();
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
        // Neither is a file of ours, and neither keeps the others.
        fs::create_dir(folder.file("web-2026-01-01.csv")).unwrap();
        std::os::unix::fs::symlink("/dev/null", folder.file("web-2026-01-02.csv")).unwrap();
        // A day is old when its end is.
        files.remove_old(Wall(TODAY - 1), DAYS).unwrap();
        assert!(folder.file("web-2026-11-26.csv").exists());
        files.remove_old(Wall(TODAY), DAYS).unwrap();
        assert!(!folder.file("web-2026-11-26.csv").exists());
        assert!(!folder.file("web-2-2026-11-26.csv").exists());
        let kept = ["web-2026-11-27.csv", "web-2-2026-11-27.csv", "web-2026-11-28.csv"];
        for name in others.iter().chain(&kept).chain(&["web-2026-01-01.csv", "web-2026-01-02.csv"])
        {
            assert!(folder.file(name).exists(), "{name}");
        }
    }

    #[test]
    fn a_clock_that_is_set_forward_costs_no_history() {
        let folder = Folder::new("forward");
        let mut files = HistoryFiles::new(&folder.0);
        let years = 365 * DAY;
        for day in [TODAY - 2 * DAY, TODAY - DAY, TODAY, TODAY + years] {
            files.append("web", &row(day, Vec::new())).unwrap();
        }
        files.remove_old(Wall(TODAY + years + 60), 3 * DAYS).unwrap();
        assert!(!folder.file("web-2026-11-26.csv").exists(), "three days are kept");
        assert!(folder.file("web-2026-11-27.csv").exists());
        // Back again: the row of the future is none of now.
        files.remove_old(Wall(TODAY + 60), 3 * DAYS).unwrap();
        assert!(folder.file("web-2026-11-27.csv").exists());
        assert_eq!(folder.read("web", TODAY - 90 * DAY, TODAY + DAY).len(), 2);
    }

    #[test]
    fn a_row_that_looks_whole_but_was_torn_is_skipped() {
        let folder = Folder::new("whole");
        let cpu = || vec![load("cpu", 70_000, Some((1_000, 20_500)))];
        HistoryFiles::new(&folder.0).append("web", &row(TODAY, cpu())).unwrap();
        let path = folder.file("web-2026-11-28.csv");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.ends_with(",1,20.5\n"), "{text}");
        // Of the highest load of 20.5 a kill left 20, or of 20 a 2.
        for cut in [3, 4] {
            fs::write(&path, &text[..text.len() - cut]).unwrap();
            assert_eq!(folder.read("web", TODAY, TODAY + DAY), [], "{cut}");
            let next = row(TODAY + 60, cpu());
            HistoryFiles::new(&folder.0).append("web", &next).unwrap();
            assert_eq!(folder.read("web", TODAY, TODAY + DAY), [next], "{cut}");
        }
    }

    #[test]
    fn services_are_those_of_the_files_whatever_they_are_named() {
        let folder = Folder::new("services");
        let mut files = HistoryFiles::new(&folder.0);
        let names = ["web", "web-2026-11-28", "a.b_c-1"];
        for name in names {
            files.append(name, &row(TODAY - DAY, Vec::new())).unwrap();
            files.append(name, &row(TODAY, Vec::new())).unwrap();
        }
        fs::write(folder.file("notes.csv"), "").unwrap();
        let services = HistoryReader::new(&folder.0).services().unwrap();
        assert_eq!(
            services.keys().map(String::as_str).collect::<Vec<_>>(),
            ["a.b_c-1", "web", "web-2026-11-28"]
        );
        assert!(services.values().all(|d| (d.first, d.last) == (Wall(TODAY - DAY), Wall(TODAY))));
        for name in names {
            assert_eq!(folder.read(name, TODAY - DAY, TODAY + DAY).len(), 2, "{name}");
        }
    }

    #[test]
    fn what_is_no_file_of_rows_is_an_error_of_its_day() {
        let folder = Folder::new("odd");
        let mut files = HistoryFiles::new(&folder.0);
        files.append("web", &row(TODAY, Vec::new())).unwrap();
        fs::create_dir(folder.file("web-2026-11-27.csv")).unwrap();
        fs::write(folder.file("web-2026-11-26.csv"), "").unwrap();
        let reader = HistoryReader::new(&folder.0);
        let days: Vec<_> = reader.days("web", Wall(TODAY - 9 * DAY), Wall(TODAY + DAY)).collect();
        let rows: Vec<Option<usize>> =
            days.iter().map(|day| day.as_ref().ok().map(|day| day.rows.len())).collect();
        assert_eq!(rows, [Some(0), None, Some(1)]);
        let words = days[1].as_ref().unwrap_err().to_string();
        assert!(words.contains("web-2026-11-27.csv: it is not a regular file"), "{words}");
        let err = files.append("web", &row(TODAY - DAY, Vec::new())).unwrap_err().to_string();
        assert!(err.contains("not a regular file"), "{err}");
        // The least and the most that can be asked for ends.
        for (from, until) in [(i64::MIN, i64::MAX), (TODAY, TODAY), (TODAY, TODAY - DAY)] {
            assert!(folder.read("web", from, until).len() <= 1);
        }
    }
}
