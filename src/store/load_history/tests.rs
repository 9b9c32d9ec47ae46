//! What is written and what is read of it, torn lines, and which files are removed.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::load_history::{MinuteLoad, MinuteRow};
use crate::model::metric::Milli;
use crate::model::time::{DAY, Wall};
use crate::store::history_reader::HistoryReader;
use crate::store::load_history::{FILE_BYTES_MAX, HistoryFiles, line, parse, parsed_load, short};

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
        row(TODAY - 60, vec![cpu(Some((98_400, 150_000)))]),
        row(TODAY, vec![cpu(Some((0, 100)))]),
        row(TODAY + 60, vec![cpu(None)]),
        // A reload brought a metric, and the target is another now.
        row(TODAY + 120, vec![load("cpu", 60_500, None), sessions]),
        row(TODAY + 180, Vec::new()),
        row(TODAY + 420, vec![cpu(Some((50_000, 50_000)))]),
        row(TODAY + DAY - 60, vec![cpu(Some((1_234_000, 123_000_000)))]),
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
fn a_row_takes_64_bytes_at_most_with_three_metrics_or_with_two_that_are_forecast() {
    let bytes = |metrics: usize, (average, highest): (u64, u64), forecast: Option<u64>| {
        let forecast = forecast.map(Milli);
        let one = MinuteLoad { forecast, ..load("cpu", 70_000, Some((average, highest))) };
        let row = MinuteRow {
            ready: 99,
            desired: 99,
            requests: 999_999,
            errors_5xx: 999,
            queue: 999,
            host_cpu: Some(100),
            host_memory: Some(100),
            ..row(TODAY + DAY - 60, vec![one; metrics])
        };
        (line(&row) + "\n").len()
    };
    let longest = (9_998_000, 9_999_000);
    assert_eq!(bytes(3, longest, None), 64);
    assert_eq!(bytes(2, longest, Some(9_999_000)), 64);
    // One digit, or one metric, more is more.
    assert_eq!(bytes(3, (9_998_000, 10_000_000), None), 67);
    assert_eq!(bytes(4, longest, None), 74);
    assert_eq!(bytes(4, (9_998_000, 9_998_000), None), 58);
    // No load below 10,000 is longer.
    for milli in (0..9_999_500).step_by(37) {
        let text = short(Milli(milli));
        assert!(text.len() <= 4, "{text}");
    }
}

#[test]
fn a_load_keeps_three_digits_and_those_of_before_are_read() {
    for (milli, text) in [
        (0, "0"),
        (1, "0.1"),
        (99_900, "99.9"),
        (99_901, "100"),
        (100_499, "100"),
        (100_500, "101"),
        (999_800, "1000"),
        (99_999_499, "99999"),
        (100_000_000, "100k"),
        (5_000_499_999, "5000k"),
        (5_368_709_120_000, "5369M"),
    ] {
        assert_eq!(short(Milli(milli)), text, "{milli}");
        let read = parsed_load(text).unwrap();
        let off = read.0.abs_diff(milli);
        assert!(off <= 100 || off <= milli / 199, "{milli}: {read:?}");
    }
    let odd = ["", "k", "1.2345", "1kk", "-1", "99999999999999999999", "9999999999999999M"];
    assert_eq!(odd.map(parsed_load), [None; 7]);
    let old = parse("# [[\"cpu\",70.0]]\n7,2,2,531,0,0,45,62,123.4,150.2,99.5\n", TODAY);
    let load = &old.0[0].loads[0];
    let want = [123_400, 150_200, 99_500].map(|milli| Some(Milli(milli)));
    assert_eq!([load.average, load.highest, load.forecast], want);
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
    for name in others.iter().chain(&kept).chain(&["web-2026-01-01.csv", "web-2026-01-02.csv"]) {
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

#[test]
fn no_file_becomes_too_large_to_be_read() {
    let folder = Folder::new("large");
    let mut files = HistoryFiles::new(&folder.0);
    let row = |at| row(at, vec![load("cpu", 70_000, Some((1_000, 2_000)))]);
    files.append("web", &row(TODAY)).unwrap();
    let path = folder.file("web-2026-11-28.csv");
    let written = fs::read_to_string(&path).unwrap();
    let next = (line(&row(TODAY + 60)).len() + 1) as u64;
    for (size, is_written) in
        [(FILE_BYTES_MAX - next, true), (FILE_BYTES_MAX - next + 1, false), (1 << 30, false)]
    {
        // With holes in it, which take no room on the disk.
        let file = fs::File::create(&path).unwrap();
        file.set_len(size - written.len() as u64).unwrap();
        drop(file);
        let mut file = fs::File::options().append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut file, written.as_bytes()).unwrap();
        let appended = files.append("web", &row(TODAY + 60));
        assert_eq!(appended.is_ok(), is_written, "{size}: {appended:?}");
        let why = appended.err().map(|err| err.to_string()).unwrap_or_default();
        assert_eq!(why.contains("web-2026-11-28.csv would be larger than 1 MiB"), !is_written);
        if is_written {
            assert_eq!(folder.read("web", TODAY, TODAY + DAY).len(), 2, "{size}");
        } else {
            assert_eq!(fs::metadata(&path).unwrap().len(), size);
            // The next one begins with its metrics.
            fs::remove_file(&path).unwrap();
            files.append("web", &row(TODAY + 60)).unwrap();
            assert_eq!(folder.read("web", TODAY, TODAY + DAY), [row(TODAY + 60)]);
        }
        // The file and its metrics are known again.
        fs::write(&path, &written).unwrap();
        files.append("web", &row(TODAY + 60)).unwrap();
    }
}
