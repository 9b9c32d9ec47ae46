//! Raw words to a command, one function for each.

use std::time::Duration;

use chrono::DateTime;

use crate::cli::args::cli_command::{
    AdviseArgs, CheckArgs, CliCommand, CountArg, EventsArgs, HistoryArgs, HistoryFormat,
    HistorySince, InitArgs, LoadSource, ReportArgs, RoutesArgs, ScaleArgs, ScheduleArgs, Shell,
    SimulateArgs, SinceArg, StatusArgs, Topic,
};
use crate::cli::args::options;
use crate::cli::args::raw_args::RawArgs;
use crate::cli::local_instant;
use crate::daemon::Options;
use crate::model::units;

/// Less says nothing about scaling.
const HISTORY_MIN: Duration = Duration::from_secs(600);
const HISTORY_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

pub(crate) fn help(mut args: RawArgs) -> Result<CliCommand, String> {
    Ok(CliCommand::Help(args.operand().map_or(Topic::All, Topic::Whole)))
}

fn service(args: &mut RawArgs, command: &str) -> Result<String, String> {
    args.operand().ok_or_else(|| format!("{command}: which service?"))
}

/// Of history, unless told otherwise.
const ADVISE_SINCE: &str = "14d";

pub(crate) fn advise(mut args: RawArgs) -> Result<CliCommand, String> {
    let service = service(&mut args, "advise")?;
    let since_text = args.text(options::SINCE).unwrap_or_else(|| ADVISE_SINCE.to_owned());
    let since = instant(&since_text)?;
    let slo = args.text(options::SLO);
    let start_up = args.text(options::START_UP);
    let json = args.has(options::JSON);
    let config = args.config();
    // With --config taken, the default is left.
    let default = args.config();
    let given = AdviseArgs { service, since, since_text, slo, start_up, json, config, default };
    Ok(CliCommand::Advise(given))
}

pub(crate) fn check(mut args: RawArgs) -> Result<CliCommand, String> {
    let json = args.has(options::JSON);
    let live = args.has(options::LIVE);
    let compose = args.path(options::COMPOSE);
    if live && compose.is_some() {
        return Err("check: --live goes with the config file, not with --compose".to_owned());
    }
    Ok(CliCommand::Check(CheckArgs { config: args.config(), compose, json, live }))
}

pub(crate) fn completions(mut args: RawArgs) -> Result<CliCommand, String> {
    match args.operand().as_deref() {
        Some("bash") => Ok(CliCommand::Completions(Shell::Bash)),
        Some("zsh") => Ok(CliCommand::Completions(Shell::Zsh)),
        Some("fish") => Ok(CliCommand::Completions(Shell::Fish)),
        Some(word) => {
            Err(format!("completions: `{word}` is not a known shell; give bash, zsh or fish"))
        }
        None => Err("completions: for which shell? give bash, zsh or fish".to_owned()),
    }
}

pub(crate) fn doctor(mut args: RawArgs) -> Result<CliCommand, String> {
    Ok(CliCommand::Doctor { config: args.config(), json: args.has(options::JSON) })
}

pub(crate) fn events(mut args: RawArgs) -> Result<CliCommand, String> {
    let since = since(&mut args)?;
    let follow = args.has(options::FOLLOW);
    let json = args.has(options::JSON);
    let service = args.text(options::SERVICE);
    let to = args.daemon_addr();
    Ok(CliCommand::Events(EventsArgs { service, since, follow, json, to }))
}

fn since(args: &mut RawArgs) -> Result<Option<SinceArg>, String> {
    args.text(options::SINCE).map(|text| instant(&text)).transpose()
}

fn history_since(args: &mut RawArgs) -> Result<Option<HistorySince>, String> {
    let Some(text) = args.text(options::SINCE) else { return Ok(None) };
    let at = match instant(&text) {
        Ok(at) => Some(at),
        Err(_) if local_instant::local(&text).is_some() => None,
        Err(message) => return Err(format!("{message}, or a local one like 2026-10-25")),
    };
    Ok(Some(HistorySince { text, at }))
}

/// `2w`: the config has no weeks.
fn weeks(text: &str) -> Option<Duration> {
    let number: u64 = text.strip_suffix('w')?.parse().ok()?;
    number.checked_mul(7 * 24 * 3600).map(Duration::from_secs)
}

fn instant(text: &str) -> Result<SinceArg, String> {
    let ago = units::span(text).or_else(|| weeks(text)).map(SinceArg::Ago);
    let at = || DateTime::parse_from_rfc3339(text).ok().map(|at| SinceArg::At(at.to_utc()));
    ago.or_else(at).ok_or_else(|| {
        let allowed = "a duration like 10m or a timestamp like 2026-10-25T00:00:00Z";
        format!("`--since {text}` is not a time; write {allowed}")
    })
}

pub(crate) fn explain(mut args: RawArgs) -> Result<CliCommand, String> {
    let service = service(&mut args, "explain")?;
    let json = args.has(options::JSON);
    Ok(CliCommand::Explain { service, json, to: args.daemon_addr() })
}

pub(crate) fn healthcheck(mut args: RawArgs) -> Result<CliCommand, String> {
    let verbose = args.has(options::VERBOSE);
    Ok(CliCommand::Healthcheck { verbose, to: args.daemon_addr() })
}

pub(crate) fn history(mut args: RawArgs) -> Result<CliCommand, String> {
    let service = service(&mut args, "history")?;
    let since = history_since(&mut args)?;
    let svg = args.path(options::SVG);
    let format = match (args.has(options::CSV), args.has(options::JSON), svg) {
        (false, false, None) => HistoryFormat::Table,
        (true, false, None) => HistoryFormat::Csv,
        (false, true, None) => HistoryFormat::Json,
        (false, false, Some(file)) => HistoryFormat::Svg(file),
        _ => return Err("history: give one of --csv, --json and --svg FILE".to_owned()),
    };
    Ok(CliCommand::History(HistoryArgs { service, since, format, config: args.config() }))
}

pub(crate) fn init(mut args: RawArgs) -> Result<CliCommand, String> {
    let compose = args.path(options::COMPOSE);
    let output = args.path(options::OUTPUT);
    let labels = args.has(options::LABELS);
    if labels && compose.is_none() {
        return Err("init: --labels goes with --compose FILE, whose services get them".to_owned());
    }
    Ok(CliCommand::Init(InitArgs { compose, labels, output }))
}

pub(crate) fn notify(mut args: RawArgs) -> Result<CliCommand, String> {
    // Whoever types the bare command may expect something else than messages to people.
    if !args.has(options::TEST) {
        return Err("notify: add --test to send a test message to every webhook".to_owned());
    }
    Ok(CliCommand::Notify { config: args.config(), json: args.has(options::JSON) })
}

pub(crate) fn pause(mut args: RawArgs) -> Result<CliCommand, String> {
    let what = args.scope("pause")?;
    let span = args.span(options::FOR)?;
    Ok(CliCommand::Pause { what, span, to: args.daemon_addr() })
}

pub(crate) fn reload(mut args: RawArgs) -> Result<CliCommand, String> {
    Ok(CliCommand::Reload { to: args.daemon_addr() })
}

pub(crate) fn report(mut args: RawArgs) -> Result<CliCommand, String> {
    let since = history_since(&mut args)?;
    let json = args.has(options::JSON);
    Ok(CliCommand::Report(ReportArgs { since, json, config: args.config() }))
}

pub(crate) fn restart(mut args: RawArgs) -> Result<CliCommand, String> {
    Ok(CliCommand::Restart { service: service(&mut args, "restart")?, to: args.daemon_addr() })
}

pub(crate) fn resume(mut args: RawArgs) -> Result<CliCommand, String> {
    Ok(CliCommand::Resume { what: args.scope("resume")?, to: args.daemon_addr() })
}

pub(crate) fn scale(mut args: RawArgs) -> Result<CliCommand, String> {
    let service = service(&mut args, "scale")?;
    let count = args.operand().ok_or("scale: to how many replicas? give N, +N, -N or auto")?;
    let count = count_of(&count)?;
    let span = args.span(options::FOR)?;
    let reason = args.text(options::REASON);
    if matches!(count, CountArg::Auto) && (span.is_some() || reason.is_some()) {
        return Err("scale: --for and --reason go with a number, not with auto".to_owned());
    }
    Ok(CliCommand::Scale(ScaleArgs { service, count, span, reason, to: args.daemon_addr() }))
}

fn count_of(word: &str) -> Result<CountArg, String> {
    let wrong = || format!("scale: `{word}` is not a count; give N, +N, -N or auto");
    if word == "auto" {
        return Ok(CountArg::Auto);
    }
    let (sign, digits) = match word.split_at_checked(1) {
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        _ => (0, word),
    };
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    let number = digits.parse::<u32>().ok().filter(|_| plain).ok_or_else(wrong)?;
    match sign {
        0 => Ok(CountArg::Exactly(number)),
        _ if number == 0 => Err(wrong()),
        _ => Ok(CountArg::By(sign * i64::from(number))),
    }
}

pub(crate) fn status(mut args: RawArgs) -> Result<CliCommand, String> {
    let service = args.operand();
    let to = args.daemon_addr();
    let watch = args.has(options::WATCH);
    let json = args.has(options::JSON);
    Ok(CliCommand::Status(StatusArgs { service, watch, json, to }))
}

pub(crate) fn run(mut args: RawArgs) -> Result<CliCommand, String> {
    let once = args.has(options::ONCE);
    let dry_run = args.has(options::DRY_RUN);
    Ok(CliCommand::Run(Options { config_file: args.config(), once, dry_run }))
}

pub(crate) fn routes(mut args: RawArgs) -> Result<CliCommand, String> {
    let url = args.operand();
    let json = args.has(options::JSON);
    Ok(CliCommand::Routes(RoutesArgs { url, json, config: args.config() }))
}

pub(crate) fn schedule(mut args: RawArgs) -> Result<CliCommand, String> {
    let service = service(&mut args, "schedule")?;
    let from = args.text(options::FROM);
    let until = args.text(options::UNTIL);
    let json = args.has(options::JSON);
    let config = args.config();
    Ok(CliCommand::Schedule(ScheduleArgs { service, from, until, json, config }))
}

pub(crate) fn services(mut args: RawArgs) -> Result<CliCommand, String> {
    let json = args.has(options::JSON);
    Ok(CliCommand::Services { json, to: args.daemon_addr() })
}

fn history_span(text: &str) -> Result<Duration, String> {
    let span = units::span(text).filter(|span| (HISTORY_MIN..=HISTORY_MAX).contains(span));
    span.ok_or_else(|| {
        format!("`--history {text}` is not a duration from 10m to 366d; write 14d or 12h")
    })
}

pub(crate) fn simulate(mut args: RawArgs) -> Result<CliCommand, String> {
    let trace = args.path(options::LOAD);
    let history = args.text(options::HISTORY_SPAN).map(|text| history_span(&text)).transpose()?;
    let service = args.text(options::SERVICE);
    let start = args.text(options::START);
    let start_up = args.text(options::START_UP);
    let capacity = args.text(options::CAPACITY);
    let forecast = args.has(options::FORECAST);
    let json = args.has(options::JSON);
    let svg = args.path(options::SVG);
    let config = args.config();
    let load = match (trace, history) {
        (Some(trace), None) => LoadSource::Trace(trace),
        (None, Some(_)) if start.is_some() => {
            return Err("simulate: --start goes with --load; a history has its own time".to_owned());
        }
        // With --config taken, the default is left.
        (None, Some(span)) => LoadSource::History { span, default: args.config() },
        (Some(_), Some(_)) => {
            return Err("simulate: give --load or --history, not both".to_owned());
        }
        (None, None) => {
            let message = "simulate: which load? give --load F.csv or --history 14d";
            return Err(message.to_owned());
        }
    };
    Ok(CliCommand::Simulate(SimulateArgs {
        load,
        service,
        start,
        start_up,
        capacity,
        forecast,
        json,
        svg,
        config,
    }))
}
