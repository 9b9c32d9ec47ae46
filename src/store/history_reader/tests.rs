//! Steps of the clock, and files and lines that are no rows.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use chrono::DateTime;

use crate::model::load_history::MinuteRow;
use crate::model::time::{DAY, MINUTE, Wall};
use crate::store::history_reader::HistoryReader;
use crate::store::left_out::LeftOut;
use crate::store::load_history::HistoryFiles;
use crate::store::load_history::tests::{Folder, load, row};

fn at(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text).unwrap().timestamp()
}

/// Whose number of requests says which one it is.
fn nth(at: i64, n: u64) -> MinuteRow {
    MinuteRow { requests: n, ..row(at, vec![load("cpu", 70_000, Some((1_000, 2_000)))]) }
}

fn plain(time: &str) -> &str {
    time.trim_start_matches("| ")
}

/// What is read of rows that are written one after the other, and with another daemon from each
/// `|` on: the times of all, and which one counts.
fn read_back(name: &str, written: &[&str]) -> Vec<(String, u64)> {
    let folder = Folder::new(name);
    let mut files = HistoryFiles::new(&folder.0);
    for (time, n) in written.iter().zip(1..) {
        if time.starts_with("| ") {
            files = HistoryFiles::new(&folder.0);
        }
        files.append("web", &nth(at(plain(time)), n)).unwrap();
    }
    let all = |from: i64, until: i64| folder.read("web", from, until).into_iter();
    let times = || written.iter().map(|time| at(plain(time)));
    let (first, last) = (times().min().unwrap(), times().max().unwrap());
    // No more days are ever read than are ever kept.
    let rows: Vec<MinuteRow> = if last - first < 3_000 * DAY {
        all(first, last + 1).collect()
    } else {
        all(first, first + DAY).chain(all(last - 2 * DAY, last + 1)).collect()
    };
    assert!(rows.is_sorted_by(|a, b| a.at < b.at), "each minute once, in order: {rows:?}");
    rows.into_iter().map(|row| (row.at.to_string(), row.requests)).collect()
}

#[test]
fn a_step_of_the_clock_loses_no_row_and_no_minute_counts_twice() {
    let steps: [(&str, &[&str], &[u64]); 8] = [
        (
            "a day forward and back",
            &["2026-11-28T10:00:00Z", "2026-11-29T10:00:00Z", "2026-11-28T10:01:00Z"],
            &[1, 3, 2],
        ),
        (
            "a year forward, and a restart with the right time",
            &["2026-11-28T10:00:00Z", "2027-11-28T10:00:00Z", "| 2026-11-28T10:01:00Z"],
            &[1, 3, 2],
        ),
        (
            "an hour back: the later row of a minute counts",
            &[
                "2026-11-28T10:00:00Z",
                "2026-11-28T10:59:00Z",
                "2026-11-28T10:00:00Z",
                "2026-11-28T10:01:00Z",
                "2026-11-28T10:59:00Z",
                "2026-11-28T11:00:00Z",
            ],
            &[3, 4, 5, 6],
        ),
        (
            "a year back and forward",
            &["2026-11-28T10:00:00Z", "2025-11-28T10:00:00Z", "| 2026-11-28T10:01:00Z"],
            &[2, 1, 3],
        ),
        (
            "each start in 1970",
            &[
                "1970-01-01T00:00:00Z",
                "2026-11-28T10:00:00Z",
                "| 1970-01-01T00:00:00Z",
                "1970-01-01T00:01:00Z",
                "2026-11-28T10:01:00Z",
            ],
            &[3, 4, 2, 5],
        ),
        (
            "back over midnight",
            &["2026-11-28T23:59:00Z", "2026-11-29T00:00:00Z", "| 2026-11-28T23:59:00Z"],
            &[3, 2],
        ),
        (
            "a leap day",
            &[
                "2028-02-28T23:59:00Z",
                "2028-02-29T00:00:00Z",
                "2028-02-29T23:59:00Z",
                "2028-03-01T00:00:00Z",
            ],
            &[1, 2, 3, 4],
        ),
        ("before 1970", &["1969-12-31T23:59:00Z", "1970-01-01T00:00:00Z"], &[1, 2]),
    ];
    for (i, (what, written, want)) in steps.into_iter().enumerate() {
        let got = read_back(&format!("step-{i}"), written);
        let which: Vec<u64> = got.iter().map(|(_, n)| *n).collect();
        assert_eq!(which, want, "{what}: {got:?}");
        for (time, n) in &got {
            let place = usize::try_from(*n).unwrap() - 1;
            assert_eq!(*time, plain(written[place]), "{what}");
        }
    }
}

#[test]
fn an_hour_that_comes_twice_by_local_time_is_two_hours_of_the_history() {
    // In Berlin it is 02:00 to 02:59 twice, and in spring never.
    for (name, begin, hours) in
        [("autumn", "2026-10-24T22:00:00Z", 25), ("spring", "2026-03-28T23:00:00Z", 23)]
    {
        let folder = Folder::new(name);
        let mut files = HistoryFiles::new(&folder.0);
        let first = at(begin);
        for minute in 0..hours * 60 {
            files.append("web", &nth(first + minute * MINUTE, 1)).unwrap();
        }
        let rows = folder.read("web", first, first + hours * 60 * MINUTE);
        assert_eq!(rows.len(), usize::try_from(hours).unwrap() * 60, "{name}");
    }
}

#[test]
fn a_year_forward_keeps_what_there_is_and_a_year_back_removes_nothing_new() {
    let folder = Folder::new("keep");
    let mut files = HistoryFiles::new(&folder.0);
    let today = at("2026-11-28T00:00:00Z");
    let keep = std::time::Duration::from_secs(14 * 24 * 3600);
    (0..14).for_each(|ago| files.append("web", &nth(today - ago * DAY, 1)).unwrap());
    let count = || fs::read_dir(folder.0.join("history")).unwrap().count();
    for years in [1, -1, 10, -56, 0] {
        files.remove_old(Wall(today + years * 365 * DAY), keep).unwrap();
        assert_eq!(count(), 14, "{years}");
    }
}

/// The notes about what a folder with this in the place of a day has, and the rows of the others.
fn with(name: &str, plant: impl Fn(&Path)) -> (Vec<String>, usize) {
    let folder = Folder::new(name);
    let mut files = HistoryFiles::new(&folder.0);
    let today = at("2026-11-28T00:00:00Z");
    files.append("web", &nth(today, 1)).unwrap();
    plant(&folder.file("web-2026-11-27.csv"));
    let reader = HistoryReader::new(&folder.0);
    let mut left_out = LeftOut::default();
    let days = reader.days("web", Wall(today - 9 * DAY), Wall(today + DAY));
    let rows = days.flat_map(|day| left_out.rows(day)).count();
    (left_out.notes(), rows)
}

#[test]
fn what_is_no_file_of_rows_costs_its_day_and_is_said() {
    let pipe = |path: &Path| {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    type Plant<'a> = &'a dyn Fn(&Path);
    let plants: [(&str, Plant); 5] = [
        ("is not a regular file", &|path| fs::create_dir(path).unwrap()),
        ("is not a regular file", &pipe),
        ("is a symbolic link", &|path| symlink("/dev/zero", path).unwrap()),
        ("is a symbolic link", &|path| symlink("nowhere", path).unwrap()),
        // One line without an end. Nothing of it takes room on the disk.
        ("larger than 1 MiB", &|path| fs::File::create(path).unwrap().set_len(1 << 30).unwrap()),
    ];
    for (words, plant) in plants {
        let (notes, rows) = with("no-file", plant);
        assert_eq!((notes.len(), rows), (1, 1), "{notes:?}");
        assert!(
            notes[0].contains("web-2026-11-27.csv: it ") && notes[0].contains(words),
            "{notes:?}"
        );
    }
}

#[test]
fn lines_that_are_no_rows_are_counted_but_for_those_that_a_kill_tore() {
    let head = "\n# [[\"cpu\",70]]\n";
    let most = u64::MAX;
    for (text, rows, lines) in [
        ("", 0, 0),
        ("\n\n\n", 0, 0),
        // Torn, or zeros that a loss of power left.
        ("5,1,1", 0, 0),
        ("# [[\"cp", 0, 0),
        (&format!("{head}5,1,1,1,0,0,1,1,1,1\n6,1,1,1,0{head}7,1,1,1,0,0,1,1,1,1\n"), 2, 0),
        (&format!("{head}5,1,1,1,0,0,1,1,1,1\n\0\0\0\0{head}7,1,1,1,0,0,1,1,1,1\n"), 2, 0),
        (&format!("{head}5,1,1,1,0,0,1,1,1,1\n\0\0\0\0\n6,1,1,1,0,0,1,1,1,1\n"), 2, 1),
        ("garbage\n\u{fffd}\u{1b}[2J\n", 0, 2),
        // Of unknown metrics.
        ("5,1,1,1,0,0,1,1,1,1\n", 0, 1),
        ("# {}\n5,1,1,1,0,0,1,1,1,1\n", 0, 2),
        // Out of range.
        (&format!("{head}1440,1,1,1,0,0,1,1,1,1\n-1,1,1,1,0,0,1,1,1,1\n"), 0, 2),
        (&format!("{head}5,4294967296,1,1,0,0,1,1,1,1\n5,-1,1,1,0,0,1,1,1,1\n"), 0, 2),
        (&format!("{head}5,1,1,18446744073709551616,0,0,1,1,1,1\n"), 0, 1),
        (&format!("{head}5,4294967295,4294967295,{most},{most},{most},1,1,1,1\n"), 1, 0),
        // A load that is no number, or a percentage above 100, is unknown.
        (&format!("{head}5,1,1,1,0,0,101,-1,NaN,1e300\n"), 1, 0),
    ] {
        let (notes, read) = with("no-rows", |path| fs::write(path, text).unwrap());
        assert_eq!(read, rows + 1, "{text:?}");
        let said = match lines {
            0 => None,
            1 => Some("1 line of ".to_owned()),
            lines => Some(format!("{lines} lines of ")),
        };
        assert_eq!(notes.len(), usize::from(said.is_some()), "{text:?}: {notes:?}");
        assert!(notes.iter().all(|note| note.starts_with(said.as_ref().unwrap())), "{notes:?}");
    }
}
