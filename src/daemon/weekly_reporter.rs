//! The event `report.weekly`: once for each week that has rows in the load history. The files are
//! read on a thread of its own, which ends with the event.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::NaiveDate;

use crate::advise::brief;
use crate::advise::effort::Effort;
use crate::clock::SystemClock;
use crate::daemon::spawn::spawn;
use crate::daemon::webhooks::ReportEvent;
use crate::model::config::{Config, ReportSchedule};
use crate::model::event::{Event, Kind};
use crate::model::time::{MINUTE, Moment, Wall};
use crate::model::zone::Zone;
use crate::outside::Clock;
use crate::report::load_report::LoadReport;
use crate::report::weekly_report::{self, RankedReports, ReportWeek, SERVICES_MAX};
use crate::store::events;
use crate::store::history_reader::HistoryReader;
use crate::store::left_out::LeftOut;
use crate::store::report_mark::{KEPT, ReportMark};

/// Of one processor, for the advice on all services together.
const WORK_MAX: Duration = Duration::from_secs(60);
/// After so much work the search rests.
const WORK_AT_ONCE: Duration = Duration::from_millis(50);
/// Times as long as it worked: it takes a quarter of a processor, which replicas may need.
const REST: u32 = 3;

pub(crate) struct WeeklyReporter {
    state_dir: PathBuf,
    mark: ReportMark,
    report: ReportEvent,
    /// The Mondays of the last reports that were begun, of this daemon, or made by one before.
    made: Vec<NaiveDate>,
    /// The Monday whose report could not be marked; that was logged.
    unmarked: Option<NaiveDate>,
    /// When that was tried last: each time takes a sync of the disk, on the thread that decides.
    tried: Option<Wall>,
    /// Dropped, it ends the thread that makes a report.
    running: Option<Sender<()>>,
}

impl WeeklyReporter {
    pub(crate) fn new(state_dir: &Path, report: ReportEvent) -> WeeklyReporter {
        let mark = ReportMark::new(state_dir);
        let made = mark.read();
        let state_dir = state_dir.to_owned();
        let (unmarked, tried, running) = (None, None, None);
        WeeklyReporter { state_dir, mark, report, made, unmarked, tried, running }
    }

    /// Begins the report that is due, if one is.
    pub(crate) fn ticked(&mut self, config: &Config, now: Wall) {
        if config.report == ReportSchedule::Off {
            return;
        }
        let zone = config.zone_of(None).unwrap_or(Zone::UTC);
        let Some(week) = weekly_report::due(now, &zone) else { return };
        if week.is_made(&self.made) {
            return;
        }
        if self.tried.is_some_and(|tried| (tried.0..tried.0 + MINUTE).contains(&now.0)) {
            return;
        }
        // Whether it can be written at all: a report that cannot be marked would be made twice.
        if let Err(err) = self.mark.write(&self.made) {
            self.tried = Some(now);
            self.unmarkable(week, &err.to_string());
            return;
        }
        self.made.insert(0, week.monday);
        self.made.truncate(KEPT);
        let (running, stop) = mpsc::channel();
        self.running = Some(running);
        let pace = SearchPace::new(stop);
        let (state_dir, config) = (self.state_dir.clone(), config.clone());
        let begun = WeekInMaking { state_dir, config, week, made: self.made.clone() };
        let (mark, report) = (self.mark.clone(), self.report.clone());
        let started = spawn("report", move || begun.finish(&zone, &pace, &mark, &report));
        if let Err(err) = started {
            log::warn!("message={:?}", err.to_string());
        }
    }

    /// Once a week; a tick after a minute tries again.
    fn unmarkable(&mut self, week: ReportWeek, err: &str) {
        if self.unmarked.replace(week.monday) != Some(week.monday) {
            let folder = self.state_dir.display();
            let message =
                format!("no weekly report: report.json in {folder} cannot be written: {err}");
            log::warn!("message={message:?}");
        }
    }
}

/// The report of a week, on its own thread.
struct WeekInMaking {
    state_dir: PathBuf,
    config: Config,
    week: ReportWeek,
    /// With its Monday.
    made: Vec<NaiveDate>,
}

impl WeekInMaking {
    /// A daemon that ends before leaves the report to the next one.
    fn finish(&self, zone: &Zone, pace: &SearchPace, mark: &ReportMark, report: &ReportEvent) {
        let message = self.message(zone, pace);
        if pace.is_stopped() {
            return;
        }
        // Marked first: a kill in between loses the report, but none is made twice.
        if let Err(err) = mark.write(&self.made) {
            let message = format!("the weekly report may come again after a restart: {err}");
            log::warn!("message={message:?}");
        }
        if let Some(message) = message {
            report(Event::new(Kind::ReportWeekly, message));
        }
    }

    /// `None`: the week has no rows.
    fn message(&self, zone: &Zone, pace: &SearchPace) -> Option<String> {
        let ReportWeek { from, until, .. } = self.week;
        let reader = HistoryReader::new(&self.state_dir);
        let events = events::stored(&self.state_dir);
        let mut left_out = LeftOut::default();
        // Also those that left the config within the week.
        let kept = reader.services().unwrap_or_default();
        let of_config = self.config.services.keys().map(|name| name.as_str());
        let names: BTreeSet<&str> = of_config.chain(kept.keys().map(String::as_str)).collect();
        let services = names.into_iter().map(|name| {
            let max = self.config.service(name).map(|service| service.timetable.most());
            let rows = reader.days(name, from, until).flat_map(|day| left_out.rows(day));
            LoadReport::of(name, (from, until), max, rows, &events)
        });
        let reports: Vec<LoadReport> = services.collect();
        let reports = RankedReports::new(&reports);
        let goes_on = || pace.goes_on();
        let advice = brief::of_each(
            reports.names().take(SERVICES_MAX),
            &self.config,
            Effort::on_one_thread(&goes_on),
            |service| self.config.zone_of(Some(service)).unwrap_or(Zone::UTC),
            |name| reader.read(name, from, until),
        );
        let clause = |name: &str| advice.get(name)?.clause(&format!("plimsoll advise {name}"));
        reports.message(zone, &left_out.notes(), clause)
    }
}

/// Keeps a search from taking a processor from replicas, and ends it.
struct SearchPace {
    clock: SystemClock,
    state: Mutex<PaceState>,
}

struct PaceState {
    stop: Receiver<()>,
    is_stopped: bool,
    worked: Duration,
    /// Since when it has been working.
    since: Moment,
}

impl SearchPace {
    fn new(stop: Receiver<()>) -> SearchPace {
        let clock = SystemClock::new();
        let since = clock.now();
        let state = PaceState { stop, is_stopped: false, worked: Duration::ZERO, since };
        SearchPace { clock, state: Mutex::new(state) }
    }

    /// Waits where a rest is due.
    fn goes_on(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = state.rest(self.clock.now());
        state.pause(rest);
        if !rest.is_zero() {
            state.since = self.clock.now();
        }
        !state.is_stopped && state.worked < WORK_MAX
    }

    fn is_stopped(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pause(Duration::ZERO);
        state.is_stopped
    }
}

impl PaceState {
    /// What is due after the work until now.
    fn rest(&mut self, now: Moment) -> Duration {
        let worked = now.since(self.since);
        if worked < WORK_AT_ONCE {
            return Duration::ZERO;
        }
        self.worked = self.worked.saturating_add(worked);
        worked.saturating_mul(REST)
    }

    fn pause(&mut self, rest: Duration) {
        let ended = self.stop.recv_timeout(rest) == Err(RecvTimeoutError::Disconnected);
        self.is_stopped |= ended;
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::{Arc, Mutex, mpsc};
    use std::time::Duration;
    use std::{env, fs, process};

    use crate::config;
    use crate::daemon::webhooks::ReportEvent;
    use crate::daemon::weekly_reporter::{SearchPace, WORK_MAX, WeekInMaking, WeeklyReporter};
    use crate::model::config::{Config, ReportSchedule};
    use crate::model::load_history::{MinuteLoad, MinuteRow};
    use crate::model::metric::Milli;
    use crate::model::time::{DAY, Moment, Wall};
    use crate::model::zone::Zone;
    use crate::report::weekly_report::due;
    use crate::store::load_history::HistoryFiles;
    use crate::store::report_mark::ReportMark;

    /// Monday, 2026-11-30, 08:00.
    const DUE: Wall = Wall(1_796_025_600);

    /// The state of a service with two hours of load in the week before.
    fn week(name: &str) -> (PathBuf, WeekInMaking) {
        let state_dir = env::temp_dir().join(format!("plimsoll-{name}-{}", process::id()));
        drop(fs::remove_dir_all(&state_dir));
        fs::create_dir(&state_dir).unwrap();
        let mut files = HistoryFiles::new(&state_dir);
        for minute in 0..120 {
            let average = Some(Milli(50_000));
            let load = MinuteLoad {
                metric: "cpu".to_owned(),
                target: Milli(60_000),
                average,
                highest: average,
                forecast: None,
            };
            let at = Wall(DUE.0 - 3 * DAY + 60 * minute);
            files.append("web", &MinuteRow::loaded(at, (2, 2), load)).unwrap();
        }
        let text = r#"{ "services": { "web": { "image": "a:1", "port": 80, "max_replicas": 4,
            "scale_up_threshold": 60, "scale_down_threshold": 20 } } }"#;
        let config = config::parse("made up", text).config.unwrap();
        let week = due(DUE, &Zone::UTC).unwrap();
        let made = vec![week.monday];
        (state_dir.clone(), WeekInMaking { state_dir, config, week, made })
    }

    #[test]
    fn what_there_was_no_time_for_is_named() {
        let (folder, week) = week("weekly-time");
        let (_running, stop) = mpsc::channel();
        let pace = SearchPace::new(stop);
        pace.state.lock().unwrap().worked = WORK_MAX;
        let message = week.message(&Zone::UTC, &pace).unwrap();
        let words = "web: 4 replica-hours of 8 at max (4), 0 requests, changes and deaths unknown, \
            from 1.1% of the minutes, advice not searched: plimsoll advise web; all of it: \
            plimsoll report";
        assert!(message.ends_with(words), "{message}");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_service_that_left_the_config_within_the_week_is_in_its_report() {
        let (folder, week) = week("weekly-left");
        let mut files = HistoryFiles::new(&folder);
        let row = |at| MinuteRow { at, ready: 9, desired: 9, ..MinuteRow::default() };
        (0..60).for_each(|n| files.append("gone", &row(Wall(DUE.0 - 5 * DAY + 60 * n))).unwrap());
        files.append("older", &row(Wall(DUE.0 - 9 * DAY))).unwrap();
        let (_running, stop) = mpsc::channel();
        let message = week.message(&Zone::UTC, &SearchPace::new(stop)).unwrap();
        assert!(message.contains("; gone: 9 replica-hours, 0 requests, "), "{message}");
        assert!(!message.contains("older"), "{message}");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_daemon_that_ends_leaves_the_report_to_the_next() {
        let (folder, week) = week("weekly-end");
        let mark = ReportMark::new(&folder);
        let events = Arc::new(Mutex::new(Vec::new()));
        let own = events.clone();
        let report: ReportEvent = Arc::new(move |event| own.lock().unwrap().push(event));
        let (running, stop) = mpsc::channel();
        drop(running);
        week.finish(&Zone::UTC, &SearchPace::new(stop), &mark, &report);
        assert_eq!((mark.read(), events.lock().unwrap().len()), (Vec::new(), 0));
        let (_running, stop) = mpsc::channel();
        week.finish(&Zone::UTC, &SearchPace::new(stop), &mark, &report);
        assert_eq!((mark.read(), events.lock().unwrap().len()), (week.made.clone(), 1));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_search_rests_three_times_as_long_as_it_works() {
        let (_running, stop) = mpsc::channel();
        let mut state = SearchPace::new(stop).state.into_inner().unwrap();
        state.since = Moment(1_000);
        for (now, rest, worked) in
            [(1_000, 0, 0), (1_049, 0, 0), (1_050, 150, 50), (1_100, 300, 150)]
        {
            assert_eq!(state.rest(Moment(now)), Duration::from_millis(rest), "{now}");
            assert_eq!(state.worked, Duration::from_millis(worked), "{now}");
        }
    }

    #[test]
    fn it_ends_with_its_time_and_with_its_daemon() {
        let (running, stop) = mpsc::channel();
        let pace = SearchPace::new(stop);
        assert!(pace.goes_on());
        pace.state.lock().unwrap().worked = WORK_MAX;
        assert!(!pace.goes_on() && !pace.is_stopped());
        let pace = SearchPace { state: pace.state, ..SearchPace::new(mpsc::channel().1) };
        pace.state.lock().unwrap().worked = Duration::ZERO;
        drop(running);
        assert!(!pace.goes_on() && pace.is_stopped());
    }
    #[test]
    fn a_mark_that_cannot_be_written_is_tried_again_after_a_minute() {
        let (folder, WeekInMaking { config, .. }) = week("weekly-mark");
        let config = Config { report: ReportSchedule::Weekly, ..config };
        let file = folder.join("report.json");
        fs::create_dir(&file).unwrap();
        let mut reporter = WeeklyReporter::new(&folder, Arc::new(|_| ()));
        reporter.ticked(&config, DUE);
        fs::remove_dir(&file).unwrap();
        // Also after the clock was set back.
        for (second, is_made) in [(1, false), (59, false), (-1, true)] {
            reporter.ticked(&config, Wall(DUE.0 + second));
            assert_eq!(!reporter.made.is_empty(), is_made, "{second}");
        }
        reporter.made.clear();
        reporter.ticked(&config, Wall(DUE.0 + 60));
        assert!(!reporter.made.is_empty());
        drop(reporter);
        drop(fs::remove_dir_all(&folder));
    }
}
