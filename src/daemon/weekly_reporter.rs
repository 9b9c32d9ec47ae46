//! The event `report.weekly`: once for each week that has rows in the load history. The files are
//! read on a thread of its own, which ends with the event.

use std::path::{Path, PathBuf};

use chrono::NaiveDate;

use crate::daemon::spawn::spawn;
use crate::daemon::webhooks::ReportEvent;
use crate::model::config::{Config, ReportSchedule};
use crate::model::event::{Event, Kind};
use crate::model::time::Wall;
use crate::model::zone::Zone;
use crate::report::load_report::LoadReport;
use crate::report::weekly_report::{self, ReportWeek};
use crate::store::events;
use crate::store::history_reader::HistoryReader;
use crate::store::left_out::LeftOut;
use crate::store::report_mark::{KEPT, ReportMark};

pub(crate) struct WeeklyReporter {
    state_dir: PathBuf,
    mark: ReportMark,
    report: ReportEvent,
    /// The Mondays of the last reports that were made, of this daemon or of one before.
    made: Vec<NaiveDate>,
    /// The Monday whose report could not be marked; that was logged.
    unmarked: Option<NaiveDate>,
}

impl WeeklyReporter {
    pub(crate) fn new(state_dir: &Path, report: ReportEvent) -> WeeklyReporter {
        let mark = ReportMark::new(state_dir);
        let made = mark.read();
        WeeklyReporter { state_dir: state_dir.to_owned(), mark, report, made, unmarked: None }
    }

    /// Makes the report that is due, if one is.
    pub(crate) fn ticked(&mut self, config: &Config, now: Wall) {
        if config.report == ReportSchedule::Off {
            return;
        }
        let zone = config.business_hours.as_ref().map_or(Zone::UTC, |hours| hours.zone.clone());
        let Some(week) = weekly_report::due(now, &zone) else { return };
        if week.is_made(&self.made) {
            return;
        }
        let made: Vec<NaiveDate> =
            std::iter::once(week.monday).chain(self.made.iter().copied()).take(KEPT).collect();
        // Marked first: a report may be lost by a kill, but none is made twice.
        if let Err(err) = self.mark.write(&made) {
            self.unmarkable(week, &err.to_string());
            return;
        }
        self.made = made;
        let (state_dir, report) = (self.state_dir.clone(), self.report.clone());
        let most = config.services.iter();
        let most: Vec<(String, u32)> =
            most.map(|(name, service)| (name.to_string(), service.timetable.most())).collect();
        let started = spawn("report", move || {
            if let Some(message) = message(&state_dir, &most, week, &zone) {
                report(Event::new(Kind::ReportWeekly, message));
            }
        });
        if let Err(err) = started {
            log::warn!("message={:?}", err.to_string());
        }
    }

    /// Once a week; the next tick tries again.
    fn unmarkable(&mut self, week: ReportWeek, err: &str) {
        if self.unmarked.replace(week.monday) != Some(week.monday) {
            let folder = self.state_dir.display();
            let message =
                format!("no weekly report: report.json in {folder} cannot be written: {err}");
            log::warn!("message={message:?}");
        }
    }
}

/// `None`: the week has no rows.
fn message(
    state_dir: &Path,
    most: &[(String, u32)],
    week: ReportWeek,
    zone: &Zone,
) -> Option<String> {
    let reader = HistoryReader::new(state_dir);
    let events = events::stored(state_dir);
    let mut left_out = LeftOut::default();
    let report = |(name, max): &(String, u32)| {
        let days = reader.days(name, week.from, week.until);
        let rows = days.flat_map(|day| left_out.rows(day));
        LoadReport::of(name, (week.from, week.until), Some(*max), rows, &events)
    };
    let reports: Vec<LoadReport> = most.iter().map(report).collect();
    weekly_report::message(&reports, &left_out.notes(), zone)
}
