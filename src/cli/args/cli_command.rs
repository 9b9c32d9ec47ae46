//! A command line as data, before anything is looked up.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::config::ConfigFile;
use crate::daemon::Options;
use crate::model::time::Wall;

pub(crate) enum CliCommand {
    Advise(AdviseArgs),
    Help(Topic),
    Version,
    Check(CheckArgs),
    Completions(Shell),
    Doctor { config: ConfigFile, json: bool },
    Events(EventsArgs),
    Explain { service: String, json: bool, to: DaemonAddr },
    History(HistoryArgs),
    Healthcheck { verbose: bool, to: DaemonAddr },
    Init(InitArgs),
    Notify { config: ConfigFile, json: bool },
    Pause { what: Scope, span: Option<String>, to: DaemonAddr },
    Reload { to: DaemonAddr },
    Report(ReportArgs),
    Restart { service: String, to: DaemonAddr },
    Resume { what: Scope, to: DaemonAddr },
    Run(Options),
    Scale(ScaleArgs),
    Routes(RoutesArgs),
    Schedule(ScheduleArgs),
    Services { json: bool, to: DaemonAddr },
    Simulate(SimulateArgs),
    Status(StatusArgs),
}

/// Where the daemon is found.
#[derive(Debug)]
pub(crate) struct DaemonAddr {
    pub(crate) config: ConfigFile,
    /// Its control socket. Without it the config names one.
    pub(crate) socket: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug)]
pub(crate) enum Scope {
    One(String),
    All,
}

#[derive(Debug)]
pub(crate) struct ScaleArgs {
    pub(crate) service: String,
    pub(crate) count: CountArg,
    pub(crate) span: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) to: DaemonAddr,
}

#[derive(Debug)]
pub(crate) enum CountArg {
    Auto,
    Exactly(u32),
    /// `+2` and `-1`; never 0.
    By(i64),
}

pub(crate) struct StatusArgs {
    pub(crate) service: Option<String>,
    pub(crate) watch: bool,
    pub(crate) json: bool,
    pub(crate) to: DaemonAddr,
}

pub(crate) struct EventsArgs {
    pub(crate) service: Option<String>,
    pub(crate) since: Option<SinceArg>,
    pub(crate) follow: bool,
    pub(crate) json: bool,
    pub(crate) to: DaemonAddr,
}

#[derive(Debug)]
pub(crate) struct RoutesArgs {
    /// `None`: all routes.
    pub(crate) url: Option<String>,
    pub(crate) json: bool,
    pub(crate) config: ConfigFile,
}

pub(crate) struct HistoryArgs {
    pub(crate) service: String,
    pub(crate) since: Option<HistorySince>,
    pub(crate) format: HistoryFormat,
    pub(crate) config: ConfigFile,
}

#[derive(Debug)]
pub(crate) enum HistoryFormat {
    Table,
    Csv,
    Json,
    Svg(PathBuf),
}

/// As it was given, and what it is.
#[derive(Debug)]
pub(crate) struct HistorySince {
    pub(crate) text: String,
    /// `None`: a local time, whose zone the config has.
    pub(crate) at: Option<SinceArg>,
}

pub(crate) struct ReportArgs {
    pub(crate) since: Option<HistorySince>,
    pub(crate) json: bool,
    pub(crate) config: ConfigFile,
}

#[derive(Debug)]
pub(crate) enum SinceArg {
    Ago(Duration),
    At(DateTime<Utc>),
}

pub(crate) struct AdviseArgs {
    pub(crate) service: String,
    pub(crate) since: SinceArg,
    /// As it was given.
    pub(crate) since_text: String,
    /// Percent of the time.
    pub(crate) slo: Option<String>,
    pub(crate) start_up: Option<String>,
    pub(crate) json: bool,
    pub(crate) config: ConfigFile,
    /// What it would be without `--config`.
    pub(crate) default: ConfigFile,
}

impl SinceArg {
    pub(crate) fn instant(&self, now: Wall) -> DateTime<Utc> {
        match self {
            SinceArg::At(at) => *at,
            SinceArg::Ago(span) => {
                let span = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
                DateTime::from_timestamp(now.0.saturating_sub(span), 0).unwrap_or_default()
            }
        }
    }
}

pub(crate) struct CheckArgs {
    pub(crate) config: ConfigFile,
    /// A compose file is checked, and not the config.
    pub(crate) compose: Option<PathBuf>,
    pub(crate) json: bool,
    pub(crate) live: bool,
}

pub(crate) struct InitArgs {
    pub(crate) compose: Option<PathBuf>,
    /// Labels are written, and no config.
    pub(crate) labels: bool,
    pub(crate) output: Option<PathBuf>,
}

pub(crate) struct ScheduleArgs {
    pub(crate) service: String,
    pub(crate) from: Option<String>,
    pub(crate) until: Option<String>,
    pub(crate) json: bool,
    pub(crate) config: ConfigFile,
}

/// Which load is replayed.
pub(crate) enum LoadSource {
    Trace(PathBuf),
    /// What was recorded so far back.
    History {
        span: Duration,
        default: ConfigFile,
    },
}

pub(crate) struct SimulateArgs {
    pub(crate) load: LoadSource,
    pub(crate) service: Option<String>,
    pub(crate) start: Option<String>,
    pub(crate) start_up: Option<String>,
    pub(crate) capacity: Option<String>,
    pub(crate) forecast: bool,
    pub(crate) json: bool,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) config: ConfigFile,
}

/// The names are of commands, and may be unknown.
pub(crate) enum Topic {
    /// `-h`
    Short,
    /// `COMMAND -h`
    Brief(String),
    /// `--help`
    All,
    /// `COMMAND --help` and `help COMMAND`
    Whole(String),
}
