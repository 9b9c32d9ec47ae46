//! What was typed, before anything is looked up.

mod given;
pub(crate) mod menu;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use lexopt::Parser;
use lexopt::prelude::{Long, Short, Value};

use crate::cli::args::given::{Followed, Given};
use crate::cli::help::Topic;
use crate::daemon::Options;
use crate::model::units;

pub(crate) enum Command {
    Help(Topic),
    Version,
    Check { config: PathBuf, json: bool, live: bool },
    Completions(Shell),
    Doctor { config: PathBuf, json: bool },
    Events(EventsAsked),
    Explain { service: String, json: bool, to: Whom },
    Healthcheck { to: Whom },
    Init(InitAsked),
    Pause { what: Over, span: Option<String>, to: Whom },
    Reload { to: Whom },
    Restart { service: String, to: Whom },
    Resume { what: Over, to: Whom },
    Run(Options),
    Scale(ScaleAsked),
    Schedule(ScheduleAsked),
    Simulate(SimulateAsked),
    Status(StatusAsked),
}

/// Which daemon.
#[derive(Debug)]
pub(crate) struct Whom {
    pub(crate) config: PathBuf,
    /// Its control socket, whatever the config says.
    pub(crate) socket: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug)]
pub(crate) enum Over {
    One(String),
    All,
}

#[derive(Debug)]
pub(crate) struct ScaleAsked {
    pub(crate) service: String,
    pub(crate) count: Count,
    pub(crate) span: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) to: Whom,
}

#[derive(Debug)]
pub(crate) enum Count {
    Auto,
    Exactly(u32),
    /// `+2` and `-1`; never 0.
    By(i64),
}

pub(crate) struct StatusAsked {
    pub(crate) service: Option<String>,
    pub(crate) watch: bool,
    pub(crate) json: bool,
    pub(crate) to: Whom,
}

pub(crate) struct EventsAsked {
    pub(crate) service: Option<String>,
    pub(crate) since: Option<Since>,
    pub(crate) follow: bool,
    pub(crate) json: bool,
    pub(crate) to: Whom,
}

#[derive(Debug)]
pub(crate) enum Since {
    Ago(Duration),
    At(DateTime<Utc>),
}

pub(crate) struct InitAsked {
    pub(crate) compose: Option<PathBuf>,
    pub(crate) output: Option<PathBuf>,
}

pub(crate) struct ScheduleAsked {
    pub(crate) service: String,
    pub(crate) from: Option<String>,
    pub(crate) until: Option<String>,
    pub(crate) json: bool,
    pub(crate) config: PathBuf,
}

pub(crate) struct SimulateAsked {
    pub(crate) load: PathBuf,
    pub(crate) service: Option<String>,
    pub(crate) start: Option<String>,
    pub(crate) start_up: Option<String>,
    pub(crate) capacity: Option<String>,
    pub(crate) json: bool,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) config: PathBuf,
}

pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = Parser::from_iter(args);
    let next = parser.next().map_err(|err| err.to_string())?;
    let Some(first) = next else {
        return Err("no command is given".to_owned());
    };
    let entry = match first {
        Short('h') => return Ok(Command::Help(Topic::Short)),
        Long("help") => return Ok(Command::Help(Topic::All)),
        Short('V') | Long("version") => return Ok(Command::Version),
        Value(word) => named(&word.to_string_lossy())?,
        other => return Err(other.unexpected().to_string()),
    };
    match given::read(&mut parser, entry)? {
        Followed::By(given) => (entry.read)(given),
        Followed::Help(topic) => Ok(Command::Help(topic)),
    }
}

fn named(word: &str) -> Result<&'static menu::Entry, String> {
    menu::find(word).ok_or_else(|| {
        let near = units::nearest(word, menu::names(), 1);
        let near = near.map(|near| format!(", `{near}` is")).unwrap_or_default();
        format!("`{word}` is no command{near}")
    })
}

fn help(mut given: Given) -> Result<Command, String> {
    Ok(Command::Help(match given.operand() {
        None => Topic::All,
        Some(word) => Topic::Whole(named(&word)?),
    }))
}

fn service(given: &mut Given, command: &str) -> Result<String, String> {
    given.operand().ok_or_else(|| format!("{command}: which service?"))
}

fn check(mut given: Given) -> Result<Command, String> {
    let (json, live) = (given.has(menu::JSON), given.has(menu::LIVE));
    Ok(Command::Check { config: given.config(), json, live })
}

fn completions(mut given: Given) -> Result<Command, String> {
    match given.operand().as_deref() {
        Some("bash") => Ok(Command::Completions(Shell::Bash)),
        Some("zsh") => Ok(Command::Completions(Shell::Zsh)),
        Some("fish") => Ok(Command::Completions(Shell::Fish)),
        Some(word) => Err(format!("completions: `{word}` is none of bash, zsh and fish")),
        None => Err("completions: for which shell? bash, zsh or fish".to_owned()),
    }
}

fn doctor(mut given: Given) -> Result<Command, String> {
    Ok(Command::Doctor { config: given.config(), json: given.has(menu::JSON) })
}

fn events(mut given: Given) -> Result<Command, String> {
    let since = given.text(menu::SINCE).map(|text| since(&text)).transpose()?;
    let (follow, json) = (given.has(menu::FOLLOW), given.has(menu::JSON));
    let (service, to) = (given.text(menu::SERVICE), given.whom());
    Ok(Command::Events(EventsAsked { service, since, follow, json, to }))
}

fn since(text: &str) -> Result<Since, String> {
    let ago = units::span(text).map(Since::Ago);
    let at = || DateTime::parse_from_rfc3339(text).ok().map(|at| Since::At(at.to_utc()));
    ago.or_else(at).ok_or_else(|| {
        format!("`--since {text}` is neither a time like 10m nor one like 2026-10-25T00:00:00Z")
    })
}

fn explain(mut given: Given) -> Result<Command, String> {
    let (service, json) = (service(&mut given, "explain")?, given.has(menu::JSON));
    Ok(Command::Explain { service, json, to: given.whom() })
}

fn healthcheck(mut given: Given) -> Result<Command, String> {
    Ok(Command::Healthcheck { to: given.whom() })
}

fn init(mut given: Given) -> Result<Command, String> {
    let (compose, output) = (given.path(menu::COMPOSE), given.path(menu::OUTPUT));
    Ok(Command::Init(InitAsked { compose, output }))
}

fn pause(mut given: Given) -> Result<Command, String> {
    let (what, span) = (given.over("pause")?, given.span(menu::FOR)?);
    Ok(Command::Pause { what, span, to: given.whom() })
}

fn reload(mut given: Given) -> Result<Command, String> {
    Ok(Command::Reload { to: given.whom() })
}

fn restart(mut given: Given) -> Result<Command, String> {
    Ok(Command::Restart { service: service(&mut given, "restart")?, to: given.whom() })
}

fn resume(mut given: Given) -> Result<Command, String> {
    Ok(Command::Resume { what: given.over("resume")?, to: given.whom() })
}

fn scale(mut given: Given) -> Result<Command, String> {
    let service = service(&mut given, "scale")?;
    let count = given.operand().ok_or("scale: to how many? N, +N, -N or auto")?;
    let count = count_of(&count)?;
    let (span, reason) = (given.span(menu::FOR)?, given.text(menu::REASON));
    if matches!(count, Count::Auto) && (span.is_some() || reason.is_some()) {
        return Err("scale: --for and --reason go with a number, not with auto".to_owned());
    }
    Ok(Command::Scale(ScaleAsked { service, count, span, reason, to: given.whom() }))
}

fn count_of(word: &str) -> Result<Count, String> {
    let wrong = || format!("scale: `{word}` is none of N, +N, -N and auto");
    if word == "auto" {
        return Ok(Count::Auto);
    }
    let (sign, digits) = match word.split_at_checked(1) {
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        _ => (0, word),
    };
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    let number = digits.parse::<u32>().ok().filter(|_| plain).ok_or_else(wrong)?;
    match sign {
        0 => Ok(Count::Exactly(number)),
        _ if number == 0 => Err(wrong()),
        _ => Ok(Count::By(sign * i64::from(number))),
    }
}

fn status(mut given: Given) -> Result<Command, String> {
    let (service, to) = (given.operand(), given.whom());
    let (watch, json) = (given.has(menu::WATCH), given.has(menu::JSON));
    Ok(Command::Status(StatusAsked { service, watch, json, to }))
}

fn run(mut given: Given) -> Result<Command, String> {
    let (once, dry_run) = (given.has(menu::ONCE), given.has(menu::DRY_RUN));
    Ok(Command::Run(Options { config_file: given.config(), once, dry_run }))
}

fn schedule(mut given: Given) -> Result<Command, String> {
    let service = service(&mut given, "schedule")?;
    let (from, until) = (given.text(menu::FROM), given.text(menu::UNTIL));
    let (json, config) = (given.has(menu::JSON), given.config());
    Ok(Command::Schedule(ScheduleAsked { service, from, until, json, config }))
}

fn simulate(mut given: Given) -> Result<Command, String> {
    let load = given.path(menu::LOAD).ok_or("simulate: which trace? say --load F.csv")?;
    let (service, start) = (given.text(menu::SERVICE), given.text(menu::START));
    let (start_up, capacity) = (given.text(menu::START_UP), given.text(menu::CAPACITY));
    let (json, svg) = (given.has(menu::JSON), given.path(menu::SVG));
    let config = given.config();
    let asked = SimulateAsked { load, service, start, start_up, capacity, json, svg, config };
    Ok(Command::Simulate(asked))
}
