//! What of the load history could not be read, for those who must say so.

use std::io;
use std::path::PathBuf;

use crate::model::load_history::MinuteRow;
use crate::model::units::plural;
use crate::store::history_reader::StoredDay;

#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    /// The first file that cannot be read, and how many there are.
    unreadable: Option<io::Error>,
    files: u64,
    /// The first file with lines that are no rows, how many such files there are, and lines in all.
    odd: Option<PathBuf>,
    odd_files: u64,
    lines: u64,
}

impl LeftOut {
    /// The rows of a day; none of a file that cannot be read.
    pub(crate) fn rows(&mut self, day: io::Result<StoredDay>) -> Vec<MinuteRow> {
        match day {
            Ok(day) => {
                if 0 < day.odd_lines {
                    self.lines = self.lines.saturating_add(day.odd_lines as u64);
                    self.odd_files += 1;
                    self.odd.get_or_insert(day.file);
                }
                day.rows
            }
            Err(err) => {
                self.files += 1;
                self.unreadable.get_or_insert(err);
                Vec::new()
            }
        }
    }

    pub(crate) fn unreadable_files(&self) -> u64 {
        self.files
    }

    pub(crate) fn unreadable(&self) -> Option<&io::Error> {
        self.unreadable.as_ref()
    }

    /// Files that cannot be read; `why` is about the first.
    pub(crate) fn files(&self, why: &str) -> String {
        let more = match self.files {
            0 | 1 => String::new(),
            count => format!(" ({} in all)", plural(count, "file")),
        };
        format!("rows are missing{more}: {why}")
    }

    /// `None`: all lines are rows.
    pub(crate) fn lines(&self) -> Option<String> {
        let file = self.odd.as_ref()?.display();
        let lines = plural(self.lines, "line");
        let is = if self.lines == 1 { "is no row" } else { "are no rows" };
        Some(match self.odd_files {
            1 => format!("{lines} of {file} {is}, and left out"),
            files => format!("{lines} of {files} files {is}, and left out; the first is {file}"),
        })
    }

    /// All that was left out, a sentence each.
    pub(crate) fn notes(&self) -> Vec<String> {
        let files = self.unreadable.as_ref().map(|err| self.files(&err.to_string()));
        files.into_iter().chain(self.lines()).collect()
    }
}
