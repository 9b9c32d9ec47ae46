//! Points in time as people type them.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

use crate::model::time::Wall;
use crate::model::zone::Zone;

/// A date, or a date and a time of day, without a zone.
pub(crate) fn local(text: &str) -> Option<NaiveDateTime> {
    let date = |t| NaiveDate::parse_from_str(t, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    let time = |format| NaiveDateTime::parse_from_str(text, format).ok();
    date(text).or_else(|| time("%Y-%m-%dT%H:%M")).or_else(|| time("%Y-%m-%dT%H:%M:%S"))
}

/// A timestamp, or a local time of the zone: the first of two, the first after a gap.
pub(crate) fn instant(option: &str, text: &str, zone: &Zone) -> Result<Wall, String> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(Wall(at.timestamp()));
    }
    let at = local(text).and_then(|local| zone.instants(local)?.first());
    at.ok_or_else(|| {
        let fix = "write 2026-10-25T07:30, or add Z for UTC";
        format!("{option}: `{text}` is not a valid time in {zone}; {fix}")
    })
}
