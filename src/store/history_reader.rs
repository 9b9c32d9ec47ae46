//! Reads the load history, a file at a time. Files that cannot be read cost their day.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::model::load_history::MinuteRow;
use crate::model::time::{DAY, Wall};
use crate::regular_file;
use crate::store::load_history::{FILE_BYTES_MAX, named, parse, path};

/// Days that are looked for at most: more are never kept.
const DAYS_MAX: i64 = 3651;
/// Files of the folder that are listed at most: 200 services have as many in seven years.
const FILES_MAX: usize = 500_000;

/// Cheap to copy to where the files are read.
#[derive(Clone, Debug)]
pub(crate) struct HistoryReader {
    folder: PathBuf,
}

/// What the file of one day has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StoredDay {
    /// In order, each minute once.
    pub(crate) rows: Vec<MinuteRow>,
    pub(crate) file: PathBuf,
    /// Its lines that are no rows, but for those that a kill or a full disk tore.
    pub(crate) odd_lines: usize,
}

/// The days of a service that have a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeptDays {
    /// The first second of the first and of the last day.
    pub(crate) first: Wall,
    pub(crate) last: Wall,
}

impl HistoryReader {
    pub(crate) fn new(state_dir: &Path) -> HistoryReader {
        HistoryReader { folder: state_dir.join("history") }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The rows of a service from one time up to another, in order; of a minute that was written
    /// twice, the later one. Files that cannot be read have none.
    pub(crate) fn read(&self, service: &str, from: Wall, until: Wall) -> Vec<MinuteRow> {
        self.days(service, from, until).flatten().flat_map(|day| day.rows).collect()
    }

    /// How many of the last days, at most so many, there have been files of the service.
    pub(crate) fn age_in_days(&self, service: &str, now: Wall, most: u32) -> u32 {
        let is_there = |days: &u32| {
            let day = Wall(now.0.saturating_sub(DAY.saturating_mul(i64::from(*days))));
            path(&self.folder, service, day).exists()
        };
        (1..=most).rev().find(is_there).unwrap_or(0)
    }

    /// As `read`, one day (UTC) at a time, so that a long span takes little memory. Days without a
    /// file are left out. An error is of one file, and names it.
    pub(crate) fn days(
        &self,
        service: &str,
        from: Wall,
        until: Wall,
    ) -> impl Iterator<Item = io::Result<StoredDay>> {
        let first = from.0.max(until.0.saturating_sub(DAYS_MAX * DAY));
        let first = first.saturating_sub(first.rem_euclid(DAY));
        let days = (0..=DAYS_MAX).map(move |n| first.saturating_add(n * DAY));
        let days = days.take_while(move |day| *day < until.0);
        days.filter_map(move |day| {
            let stored = match self.day(service, day) {
                Ok(stored) => stored?,
                Err(err) => return Some(Err(err)),
            };
            let own = stored.rows.into_iter().filter(|row| from <= row.at && row.at < until);
            let rows: BTreeMap<Wall, MinuteRow> = own.map(|row| (row.at, row)).collect();
            Some(Ok(StoredDay { rows: rows.into_values().collect(), ..stored }))
        })
    }

    /// Its rows as they stand there. `None`: there is no file.
    fn day(&self, service: &str, day: i64) -> io::Result<Option<StoredDay>> {
        let file = path(&self.folder, service, Wall(day));
        let wrong = |why: &dyn std::fmt::Display, kind: ErrorKind| {
            io::Error::new(kind, format!("{}: {why}", file.display()))
        };
        let bytes = match regular_file::own_bytes(&file, FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(wrong(&err, err.kind())),
        };
        let too_long = || wrong(&"it is larger than 1 MiB", ErrorKind::FileTooLarge);
        let bytes = bytes.ok_or_else(too_long)?;
        let (rows, odd_lines) = parse(&String::from_utf8_lossy(&bytes), day);
        Ok(Some(StoredDay { rows, file, odd_lines }))
    }

    /// Every service that has a file, by name. There is none without the folder.
    pub(crate) fn services(&self) -> io::Result<BTreeMap<String, KeptDays>> {
        let mut services: BTreeMap<String, KeptDays> = BTreeMap::new();
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(services),
            Err(err) => return Err(err),
        };
        for entry in entries.take(FILES_MAX) {
            let name = entry?.file_name();
            let Some((service, day)) = name.to_str().and_then(named) else { continue };
            let day = Wall(day);
            let new = KeptDays { first: day, last: day };
            let kept = services.entry(service.to_owned()).or_insert(new);
            kept.first = kept.first.min(day);
            kept.last = kept.last.max(day);
        }
        Ok(services)
    }
}
