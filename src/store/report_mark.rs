//! `report.json` in the state folder: the Mondays of the last weekly reports, so that no daemon
//! makes one twice. There are several, because a clock that was wrong for a while has reports of
//! its own.

use std::io;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use serde_json::{Value, json};

use crate::regular_file;

/// Mondays that are kept: a host without a clock of its own may begin in 1970, go on with the day
/// of its last update, and have the right time after that.
pub(crate) const KEPT: usize = 4;

#[derive(Clone, Debug)]
pub(crate) struct ReportMark {
    path: PathBuf,
}

impl ReportMark {
    pub(crate) fn new(state_dir: &Path) -> ReportMark {
        ReportMark { path: state_dir.join("report.json") }
    }

    /// The last one first. None: there was no report yet, or the file is unreadable.
    pub(crate) fn read(&self) -> Vec<NaiveDate> {
        let json = regular_file::own_text(&self.path).unwrap_or_default();
        let json: Value = serde_json::from_str(&json).unwrap_or_default();
        let before = json["before"].as_array().map(Vec::as_slice).unwrap_or_default();
        let days = std::iter::once(&json["monday"]).chain(before);
        days.filter_map(|day| day.as_str()?.parse().ok()).take(KEPT).collect()
    }

    /// The last one first.
    pub(crate) fn write(&self, made: &[NaiveDate]) -> io::Result<()> {
        let mut days = made.iter().map(NaiveDate::to_string);
        let monday = days.next();
        let json = json!({ "monday": monday, "before": days.collect::<Vec<_>>() });
        let new = self.path.with_extension("json.new");
        regular_file::replace(&self.path, &new, format!("{json}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use chrono::NaiveDate;

    use crate::store::load_history::tests::Folder;
    use crate::store::report_mark::ReportMark;

    #[test]
    fn the_last_mondays_are_read_and_what_is_unreadable_is_none() {
        let folder = Folder::new("mark");
        let mark = ReportMark::new(&folder.0);
        assert_eq!(mark.read(), []);
        let days: Vec<NaiveDate> =
            ["1969-12-22", "2026-11-30"].map(|day| day.parse().unwrap()).into();
        mark.write(&days).unwrap();
        assert_eq!(mark.read(), days);
        let file = folder.0.join("report.json");
        // As a daemon before this one wrote it.
        fs::write(&file, r#"{"monday":"2026-11-30"}"#).unwrap();
        assert_eq!(mark.read(), days[1..]);
        for bad in [
            "",
            "[]",
            "{\"monday\":5,\"before\":{}}",
            "{\"monday\":\"today\"}",
            "{\"before\":[null",
        ] {
            fs::write(&file, bad).unwrap();
            assert_eq!(mark.read(), [], "{bad}");
        }
    }
}
