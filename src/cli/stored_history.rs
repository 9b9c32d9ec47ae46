//! The load history on disk, for commands that need no daemon: where it is, what of it there is,
//! and why there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::process::ExitCode;
use std::sync::Arc;

use crate::cli::args::cli_command::HistorySince;
use crate::cli::check;
use crate::cli::client::failed;
use crate::cli::effective;
use crate::cli::local_instant;
use crate::cli::output::{USAGE, complain};
use crate::clock::SystemClock;
use crate::config::{self, ConfigFile};
use crate::model::config::{Config, Fixed};
use crate::model::load_history::MinuteRow;
use crate::model::service::Service;
use crate::model::time::{DAY, MINUTE, Wall};
use crate::model::units;
use crate::model::zone::Zone;
use crate::outside::Clock;
use crate::preflight::lock;
use crate::store::history_reader::{HistoryReader, KeptDays};
use crate::store::left_out::LeftOut;

pub(crate) struct StoredHistory {
    pub(crate) reader: HistoryReader,
    /// `None`: it is a bad one; its history is shown all the same.
    pub(crate) config: Option<Config>,
    /// Why services may be missing in the config.
    pub(crate) unread: Option<String>,
    /// Services with files, also those that left the config.
    pub(crate) kept: BTreeMap<String, KeptDays>,
    pub(crate) fixed: Fixed,
}

impl StoredHistory {
    /// An error was printed already.
    pub(crate) fn open(file: &ConfigFile) -> Result<StoredHistory, ExitCode> {
        let loaded = config::load_or_default(file);
        let Some(fixed) = loaded.fixed else {
            return Err(check::refuse(&file.path, &loaded.problems, ""));
        };
        let read = loaded.config.map(|config| effective::with_labels(file, config));
        let (config, unread) = match read {
            Some((config, unread)) => (Some(config), unread),
            None => (None, Some(format!("{} is bad: see `plimsoll check`", file.path.display()))),
        };
        if let Some(problem) = loaded.problems.iter().find(|problem| !problem.is_warning)
            && config.is_none()
        {
            let state_dir = fixed.state_dir.display();
            complain(&format!("{problem}; the load history is read from {state_dir} all the same"));
        }
        let stored = StoredHistory::new(fixed, config).map_err(|message| failed(&message))?;
        Ok(StoredHistory { unread, ..stored })
    }

    /// `Err` says why its folder cannot be read.
    pub(crate) fn of(config: &Config) -> Result<StoredHistory, String> {
        StoredHistory::new(config.fixed.clone(), Some(config.clone()))
    }

    fn new(fixed: Fixed, config: Option<Config>) -> Result<StoredHistory, String> {
        let reader = HistoryReader::new(&fixed.state_dir);
        let kept = reader.services().map_err(|err| unreadable(&reader, &fixed, &err))?;
        Ok(StoredHistory { reader, config, unread: None, kept, fixed })
    }

    /// Of the config.
    pub(crate) fn service(&self, name: &str) -> Option<&Arc<Service>> {
        self.config.as_ref()?.service(name)
    }

    /// Of the config and of the files.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        let of_config = self.config.iter().flat_map(|config| config.services.keys());
        let of_config = of_config.map(|name| name.as_str());
        of_config.chain(self.kept.keys().map(String::as_str)).collect()
    }

    /// All rows of a service in a span, as far as they can be read; what cannot is complained of.
    /// `Err` says why there is none.
    pub(crate) fn rows(
        &self,
        service: &str,
        (from, until): (Wall, Wall),
    ) -> Result<Vec<MinuteRow>, String> {
        let mut left_out = LeftOut::default();
        let days = self.reader.days(service, from, until);
        let rows: Vec<MinuteRow> = days.flat_map(|day| left_out.rows(day)).collect();
        let missing = self.missing(&left_out);
        if rows.is_empty() {
            let absence = || match self.kept.contains_key(service) {
                true => self.none_since(service, from),
                false => self.absence(Some(service)),
            };
            return Err(missing.unwrap_or_else(absence));
        }
        missing.into_iter().chain(left_out.lines()).for_each(|message| complain(&message));
        Ok(rows)
    }

    /// `None`: all files could be read.
    fn missing(&self, left_out: &LeftOut) -> Option<String> {
        let err = left_out.unreadable()?;
        Some(left_out.files(&unreadable(&self.reader, &self.fixed, err)))
    }

    /// In which people think of a service, or of all.
    pub(crate) fn zone(&self, service: Option<&str>) -> Zone {
        let own = service.and_then(|name| self.service(name));
        let zone = self.config.as_ref().and_then(|config| config.zone_of(own.map(|own| &**own)));
        zone.unwrap_or(Zone::UTC)
    }

    /// Why a service, or all of them, have no file.
    pub(crate) fn absence(&self, service: Option<&str>) -> String {
        let folder = self.reader.folder().display();
        let names = self.names();
        let kept: Vec<&str> = self.kept.keys().map(String::as_str).collect();
        if let Some(name) = service.filter(|name| self.service(name).is_none())
            && !names.is_empty()
        {
            let known: Vec<&str> = names.into_iter().collect();
            return match units::nearest_key(name, known.iter().copied()) {
                Some(near) => format!("no load history of {name}; did you mean {near}?"),
                None if kept.is_empty() => format!(
                    "no load history of {name} in {folder}, nor of any other service; the config \
                     has: {}",
                    known.join(", ")
                ),
                None => format!(
                    "no load history of {name} in {folder}; there is history of: {}",
                    kept.join(", ")
                ),
            };
        }
        let of = service.map(|name| format!(" of {name}")).unwrap_or_default();
        let why = if self.config.as_ref().is_some_and(|config| config.history.is_zero()) {
            "autoscaler.history is 0, so none is written; set it to 90d"
        } else if !self.kept.is_empty() {
            "its first row is written within two minutes of its first evaluation"
        } else {
            "a daemon with this autoscaler.state_dir writes the first row within two minutes; if \
             one runs for longer, it has another config: name it with --config FILE"
        };
        // It may have had another name.
        let others =
            (!kept.is_empty()).then(|| format!("; there is history of: {}", kept.join(", ")));
        format!("no load history{of} in {folder}: {why}{}", others.unwrap_or_default())
    }

    /// After all was printed: says what was left out. An error, if days are missing.
    pub(crate) fn end(&self, left_out: &LeftOut) -> Result<(), ExitCode> {
        if let Some(lines) = left_out.lines() {
            complain(&lines);
        }
        self.missing(left_out).map_or(Ok(()), |message| Err(failed(&message)))
    }

    /// There are files, but no row in the time that was asked for.
    pub(crate) fn none_since(&self, service: &str, from: Wall) -> String {
        let folder = self.reader.folder().display();
        match self.kept.get(service).map(|kept| kept.last) {
            Some(last) if last.0 + DAY <= from.0 => {
                let day = last.to_string();
                let day = day.split('T').next().unwrap_or_default();
                format!(
                    "no row of {service} since {from}: the last ones are of {day}; give an earlier \
                     --since"
                )
            }
            _ => format!("no row of {service} since {from} in {folder}"),
        }
    }
}

/// Whole minutes up to the current one; a local time is of this zone.
pub(crate) fn span(
    since: Option<&HistorySince>,
    default: i64,
    zone: &Zone,
    command: &str,
) -> Result<(Wall, Wall), ExitCode> {
    let now = SystemClock::new().wall();
    bounds(since, default, zone, now).map_err(|problem| {
        complain(&format!("{problem}; see `plimsoll help {command}`"));
        ExitCode::from(USAGE)
    })
}

fn bounds(
    since: Option<&HistorySince>,
    default: i64,
    zone: &Zone,
    now: Wall,
) -> Result<(Wall, Wall), String> {
    let until = now.0 - now.0.rem_euclid(MINUTE);
    let from = match since {
        None => Wall(now.0 - default),
        Some(HistorySince { at: Some(at), .. }) => Wall(at.instant(now).timestamp()),
        Some(HistorySince { text, .. }) => local_instant::instant("--since", text, zone)?,
    };
    if let Some(since) = since.filter(|_| now < from) {
        return Err(format!("--since {} is in the future", since.text));
    }
    let from = from.0 - from.0.rem_euclid(MINUTE);
    if until <= from {
        return Err("--since must be a minute ago or longer".to_owned());
    }
    Ok((Wall(from), Wall(until)))
}

fn unreadable(reader: &HistoryReader, fixed: &Fixed, err: &io::Error) -> String {
    let folder = reader.folder().display();
    let message = format!("cannot read the load history in {folder}: {err}");
    if err.kind() != ErrorKind::PermissionDenied {
        return message;
    }
    match lock::user(fixed) {
        Some(0) => format!("{message}; its files are root's: run this command as root"),
        Some(user) => format!(
            "{message}; its files are those of user {user}, as whom the daemon runs: run this \
             command as that user or as root"
        ),
        None => format!("{message}; run this command as the daemon's user or as root"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::cli::args::cli_command::{HistorySince, SinceArg};
    use crate::cli::stored_history::bounds;
    use crate::model::time::Wall;
    use crate::model::zone::Zone;

    #[test]
    fn a_span_begins_in_the_past_where_people_think_of_it() {
        // 2026-11-30T00:00:30Z, in Berlin 01:00:30.
        let now = Wall(1_795_996_830);
        let of = |text: &str, seconds: Option<u64>| {
            let at = seconds.map(|seconds| SinceArg::Ago(Duration::from_secs(seconds)));
            let since = HistorySince { text: text.to_owned(), at };
            let span = bounds(Some(&since), 60, &Zone::find("Europe/Berlin").unwrap(), now);
            span.map(|(from, until)| {
                assert_eq!(until.0, 1_795_996_800);
                until.0 - from.0
            })
        };
        assert_eq!(of("31", Some(31)), Ok(60));
        let soon = "--since must be a minute ago or longer";
        assert_eq!(of("30", Some(30)), Err(soon.to_owned()));
        assert_eq!(of("2026-11-30", None), Ok(3600));
        assert_eq!(of("2026-11-30T00:59", None), Ok(60));
        assert_eq!(of("2026-11-30T01:00", None), Err(soon.to_owned()));
        let future = "--since 2026-11-30T01:01 is in the future";
        assert_eq!(of("2026-11-30T01:01", None), Err(future.to_owned()));
        let skipped = of("2026-03-29T02:30", None).unwrap_err();
        assert!(skipped.contains("is not a valid time in Europe/Berlin; write "), "{skipped}");
        assert_eq!(bounds(None, 120, &Zone::UTC, now).unwrap().0, Wall(1_795_996_680));
    }
}
