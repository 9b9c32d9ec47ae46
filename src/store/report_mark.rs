//! `report.json` in the state folder: the Monday of the last weekly report, so that no daemon makes
//! it twice.

use std::io;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use serde_json::{Value, json};

use crate::regular_file;

#[derive(Clone, Debug)]
pub(crate) struct ReportMark {
    path: PathBuf,
}

impl ReportMark {
    pub(crate) fn new(state_dir: &Path) -> ReportMark {
        ReportMark { path: state_dir.join("report.json") }
    }

    /// `None`: there was no report yet, or the file is unreadable.
    pub(crate) fn read(&self) -> Option<NaiveDate> {
        let text = regular_file::own_text(&self.path).ok()?;
        let json: Value = serde_json::from_str(&text).ok()?;
        json["monday"].as_str()?.parse().ok()
    }

    /// `None`: there was no report yet.
    pub(crate) fn write(&self, monday: Option<NaiveDate>) -> io::Result<()> {
        let monday = monday.map(|day| day.to_string());
        let text = format!("{}\n", json!({ "monday": monday }));
        let new = self.path.with_extension("json.new");
        regular_file::replace(&self.path, &new, text.as_bytes())
    }
}
