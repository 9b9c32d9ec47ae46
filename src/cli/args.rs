//! What was typed, before anything is looked up.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::Parser;
use lexopt::prelude::{Long, Short, Value};

use crate::cli::help::Topic;
use crate::daemon::Options;
use crate::model::units;

/// Where the config is when nobody says.
const CONFIG_DEFAULT: &str = "/etc/plimsoll/config.json";
const CONFIG_VARIABLE: &str = "PLIMSOLL_CONFIG";

pub(crate) enum Command {
    Help(Topic),
    Version,
    Check { config: PathBuf, json: bool, live: bool },
    Explain { service: String, json: bool, to: Whom },
    Healthcheck { to: Whom },
    Pause { what: Over, span: Option<String>, to: Whom },
    Reload { to: Whom },
    Resume { what: Over, to: Whom },
    Run(Options),
    Scale(ScaleAsked),
    Schedule(ScheduleAsked),
    Simulate(SimulateAsked),
    Status { service: Option<String>, json: bool, to: Whom },
}

/// Which daemon.
#[derive(Debug)]
pub(crate) struct Whom {
    pub(crate) config: PathBuf,
    /// Its control socket, whatever the config says.
    pub(crate) socket: Option<PathBuf>,
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
    match first {
        Short('h') => Ok(Command::Help(Topic::Short)),
        Long("help") => Ok(Command::Help(Topic::All)),
        Short('V') | Long("version") => Ok(Command::Version),
        Value(word) if word == "help" => help(&mut parser),
        Value(word) if word == "check" => check(&mut parser),
        Value(word) if word == "explain" => explain(&mut parser),
        Value(word) if word == "healthcheck" => healthcheck(&mut parser),
        Value(word) if word == "pause" => pause(&mut parser),
        Value(word) if word == "reload" => reload(&mut parser),
        Value(word) if word == "resume" => resume(&mut parser),
        Value(word) if word == "run" => run(&mut parser),
        Value(word) if word == "scale" => scale(&mut parser),
        Value(word) if word == "schedule" => schedule(&mut parser),
        Value(word) if word == "simulate" => simulate(&mut parser),
        Value(word) if word == "status" => status(&mut parser),
        Value(word) => Err(format!("`{}` is no command", word.to_string_lossy())),
        other => Err(other.unexpected().to_string()),
    }
}

fn help(parser: &mut Parser) -> Result<Command, String> {
    match parser.next().map_err(|err| err.to_string())? {
        None => Ok(Command::Help(Topic::All)),
        Some(Value(word)) => {
            let topic = Topic::of(&word.to_string_lossy());
            topic.map(Command::Help).ok_or(format!("`{}` is no command", word.to_string_lossy()))
        }
        Some(other) => Err(other.unexpected().to_string()),
    }
}

/// All that may follow a command; which of it may, the command says.
#[derive(Default)]
struct Given {
    operands: Vec<String>,
    config: Option<PathBuf>,
    socket: Option<PathBuf>,
    span: Option<String>,
    reason: Option<String>,
    all: bool,
    from: Option<String>,
    until: Option<String>,
    load: Option<PathBuf>,
    service: Option<String>,
    start: Option<String>,
    start_up: Option<String>,
    capacity: Option<String>,
    svg: Option<PathBuf>,
    json: bool,
    live: bool,
    dry_run: bool,
    once: bool,
}

impl Given {
    fn config(&self) -> PathBuf {
        let from_environment = || std::env::var_os(CONFIG_VARIABLE).filter(|v| !v.is_empty());
        let given = self.config.clone().or_else(|| from_environment().map(PathBuf::from));
        given.unwrap_or_else(|| PathBuf::from(CONFIG_DEFAULT))
    }

    fn whom(&self) -> Whom {
        Whom { config: self.config(), socket: self.socket.clone() }
    }

    fn over(&mut self, command: &str) -> Result<Over, String> {
        match (self.operands.pop(), self.all) {
            (Some(service), false) => Ok(Over::One(service)),
            (None, true) => Ok(Over::All),
            (Some(_), true) => Err(format!("{command}: a service or --all, not both")),
            (None, false) => Err(format!("{command}: which service? or --all")),
        }
    }

    /// A wrong one is told before anybody is asked.
    fn span(&mut self) -> Result<Option<String>, String> {
        let Some(text) = self.span.take() else { return Ok(None) };
        match units::duration(&text) {
            Some(span) if !span.is_zero() => Ok(Some(text)),
            Some(_) | None => Err(format!("`--for {text}` is no time like 90s, 30m or 2h")),
        }
    }
}

fn check(parser: &mut Parser) -> Result<Command, String> {
    let Some(given) = options(parser, &["config", "json", "live"])? else {
        return Ok(Command::Help(Topic::Check));
    };
    Ok(Command::Check { config: given.config(), json: given.json, live: given.live })
}

fn explain(parser: &mut Parser) -> Result<Command, String> {
    let Some(mut given) = options(parser, &["SERVICE", "json", "config", "socket"])? else {
        return Ok(Command::Help(Topic::Explain));
    };
    let service = given.operands.pop().ok_or("explain: which service?")?;
    Ok(Command::Explain { service, json: given.json, to: given.whom() })
}

fn healthcheck(parser: &mut Parser) -> Result<Command, String> {
    let Some(given) = options(parser, &["config", "socket"])? else {
        return Ok(Command::Help(Topic::Healthcheck));
    };
    Ok(Command::Healthcheck { to: given.whom() })
}

fn pause(parser: &mut Parser) -> Result<Command, String> {
    let Some(mut given) = options(parser, &["SERVICE", "all", "for", "config", "socket"])? else {
        return Ok(Command::Help(Topic::Pause));
    };
    let (what, span) = (given.over("pause")?, given.span()?);
    Ok(Command::Pause { what, span, to: given.whom() })
}

fn resume(parser: &mut Parser) -> Result<Command, String> {
    let Some(mut given) = options(parser, &["SERVICE", "all", "config", "socket"])? else {
        return Ok(Command::Help(Topic::Resume));
    };
    Ok(Command::Resume { what: given.over("resume")?, to: given.whom() })
}

fn reload(parser: &mut Parser) -> Result<Command, String> {
    let Some(given) = options(parser, &["config", "socket"])? else {
        return Ok(Command::Help(Topic::Reload));
    };
    Ok(Command::Reload { to: given.whom() })
}

fn scale(parser: &mut Parser) -> Result<Command, String> {
    let allowed = ["SERVICE", "COUNT", "for", "reason", "config", "socket"];
    let Some(mut given) = options(parser, &allowed)? else {
        return Ok(Command::Help(Topic::Scale));
    };
    let words = std::mem::take(&mut given.operands);
    let [service, count] = words.try_into().map_err(|words: Vec<String>| match words.len() {
        0 => "scale: which service?",
        _ => "scale: to how many? N, +N, -N or auto",
    })?;
    let count = count_of(&count)?;
    let (span, reason) = (given.span()?, given.reason.take());
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

fn status(parser: &mut Parser) -> Result<Command, String> {
    let Some(mut given) = options(parser, &["SERVICE", "json", "config", "socket"])? else {
        return Ok(Command::Help(Topic::Status));
    };
    let service = given.operands.pop();
    Ok(Command::Status { service, json: given.json, to: given.whom() })
}

fn run(parser: &mut Parser) -> Result<Command, String> {
    let Some(given) = options(parser, &["config", "dry-run", "once"])? else {
        return Ok(Command::Help(Topic::Run));
    };
    let (config_file, once, dry_run) = (given.config(), given.once, given.dry_run);
    Ok(Command::Run(Options { config_file, once, dry_run }))
}

fn schedule(parser: &mut Parser) -> Result<Command, String> {
    let Some(mut given) = options(parser, &["SERVICE", "config", "from", "until", "json"])? else {
        return Ok(Command::Help(Topic::Schedule));
    };
    let config = given.config();
    let service = given.operands.pop().ok_or("schedule: which service?")?;
    let (from, until, json) = (given.from, given.until, given.json);
    Ok(Command::Schedule(ScheduleAsked { service, from, until, json, config }))
}

fn simulate(parser: &mut Parser) -> Result<Command, String> {
    let allowed = ["load", "service", "start", "start-up", "capacity", "json", "svg", "config"];
    let Some(given) = options(parser, &allowed)? else {
        return Ok(Command::Help(Topic::Simulate));
    };
    let config = given.config();
    let load = given.load.ok_or("simulate: which trace? say --load F.csv")?;
    let Given { service, start, start_up, capacity, json, svg, .. } = given;
    let asked = SimulateAsked { load, service, start, start_up, capacity, json, svg, config };
    Ok(Command::Simulate(asked))
}

/// `None` is a wish for help. Options are long, each at most once; `SERVICE` allows an operand.
/// `None` is a wish for help. Options are long, each at most once; `SERVICE` allows an operand, and
/// `COUNT` one after it.
fn options(parser: &mut Parser, allowed: &[&str]) -> Result<Option<Given>, String> {
    let mut given = Given::default();
    let mut seen = BTreeSet::new();
    let room = allowed.iter().filter(|name| **name == "SERVICE" || **name == "COUNT").count();
    while let Some(arg) = parser.next().map_err(|err| err.to_string())? {
        let name = match arg {
            Short('h') | Long("help") => return Ok(None),
            Long(name) if allowed.contains(&name) => name.to_owned(),
            Value(word) if given.operands.len() < room => {
                given.operands.push(word.to_string_lossy().into_owned());
                continue;
            }
            // `-12` is a number here.
            Short(digit)
                if digit.is_ascii_digit()
                    && allowed.get(given.operands.len()) == Some(&"COUNT") =>
            {
                let rest = parser.optional_value().unwrap_or_default();
                given.operands.push(format!("-{digit}{}", rest.to_string_lossy()));
                continue;
            }
            other => return Err(other.unexpected().to_string()),
        };
        if !seen.insert(name.clone()) {
            return Err(format!("`--{name}` is given twice"));
        }
        let mut value = || parser.value().map_err(|err| err.to_string());
        let text = |value: OsString| Some(value.to_string_lossy().into_owned());
        match name.as_str() {
            "config" => given.config = Some(PathBuf::from(value()?)),
            "from" => given.from = text(value()?),
            "until" => given.until = text(value()?),
            "load" => given.load = Some(PathBuf::from(value()?)),
            "service" => given.service = text(value()?),
            "start" => given.start = text(value()?),
            "start-up" => given.start_up = text(value()?),
            "capacity" => given.capacity = text(value()?),
            "svg" => given.svg = Some(PathBuf::from(value()?)),
            "json" => given.json = true,
            "live" => given.live = true,
            "dry-run" => given.dry_run = true,
            "once" => given.once = true,
            "all" => given.all = true,
            "for" => given.span = Some(value()?.to_string_lossy().into_owned()),
            "reason" => given.reason = Some(value()?.to_string_lossy().into_owned()),
            "socket" => given.socket = Some(PathBuf::from(value()?)),
            name => unreachable!("--{name} is allowed and nobody takes it"),
        }
    }
    Ok(Some(given))
}

#[cfg(test)]
mod tests {
    use crate::cli::args::{Command, Whom, parse};

    fn whom(to: &Whom) -> String {
        to.socket.as_ref().unwrap_or(&to.config).display().to_string()
    }

    fn parsed(line: &str) -> String {
        match parse(["plimsoll"].into_iter().chain(line.split_whitespace()).map(Into::into)) {
            Ok(Command::Help(topic)) => format!("help {topic:?}"),
            Ok(Command::Version) => "version".to_owned(),
            Ok(Command::Check { config, json, live }) => {
                format!("check {} json={json} live={live}", config.display())
            }
            Ok(Command::Reload { to }) => format!("reload {}", whom(&to)),
            Ok(Command::Explain { service, json, to }) => {
                format!("explain {service} json={json} {}", whom(&to))
            }
            Ok(Command::Healthcheck { to }) => format!("healthcheck {}", whom(&to)),
            Ok(Command::Pause { what, span, to }) => {
                format!("pause {what:?} {span:?} {}", whom(&to))
            }
            Ok(Command::Resume { what, to }) => format!("resume {what:?} {}", whom(&to)),
            Ok(Command::Scale(a)) => {
                let (span, reason) = (a.span.as_deref(), a.reason.as_deref());
                format!("scale {} {:?} {span:?} {reason:?} {}", a.service, a.count, whom(&a.to))
            }
            Ok(Command::Status { service, json, to }) => {
                format!("status {service:?} json={json} {}", whom(&to))
            }
            Ok(Command::Run(o)) => {
                format!("run {} once={} dry={}", o.config_file.display(), o.once, o.dry_run)
            }
            Ok(Command::Schedule(a)) => {
                let (from, until) = (a.from.as_deref(), a.until.as_deref());
                format!("schedule {} {from:?} {until:?} json={}", a.service, a.json)
            }
            Ok(Command::Simulate(a)) => {
                let times = [a.start, a.start_up, a.capacity].map(Option::unwrap_or_default);
                let svg = a.svg.unwrap_or_default();
                let (load, svg) = (a.load.display(), svg.display());
                let service = a.service.unwrap_or_default();
                format!("simulate {load} {service:?} {} {svg} json={}", times.join("/"), a.json)
            }
            Err(message) => format!("error: {message}"),
        }
    }

    #[test]
    fn words_become_commands() {
        for (line, want) in [
            ("-h", "help Short"),
            ("--help", "help All"),
            ("help", "help All"),
            ("help run", "help Run"),
            ("run --help", "help Run"),
            ("check -h", "help Check"),
            ("--version", "version"),
            ("check --config a.json", "check a.json json=false live=false"),
            ("check --live --config=a.json --json", "check a.json json=true live=true"),
            ("run --config a --once --dry-run", "run a once=true dry=true"),
            ("reload --config a", "reload a"),
            ("reload -h", "help Reload"),
            ("schedule --help", "help Schedule"),
            ("schedule web", "schedule web None None json=false"),
            (
                "schedule --json --from=a web --until b",
                r#"schedule web Some("a") Some("b") json=true"#,
            ),
            ("run --config a", "run a once=false dry=false"),
            ("simulate --load a", r#"simulate a "" //  json=false"#),
            (
                "simulate --svg=s --load a --json --start b --start-up=c --capacity d --service e",
                r#"simulate a "e" b/c/d s json=true"#,
            ),
            ("simulate -h", "help Simulate"),
            ("help simulate", "help Simulate"),
            ("status --socket s", "status None json=false s"),
            ("status web --json --socket=s --config c", r#"status Some("web") json=true s"#),
            ("explain web --config c", "explain web json=false c"),
            ("healthcheck --config c", "healthcheck c"),
            ("healthcheck -h", "help Healthcheck"),
            ("scale web 4 --config c", "scale web Exactly(4) None None c"),
            ("scale web 0 --for 2h --config c", r#"scale web Exactly(0) Some("2h") None c"#),
            ("scale --reason sale web +2 --config c", r#"scale web By(2) None Some("sale") c"#),
            ("scale web -1 --config c", "scale web By(-1) None None c"),
            ("scale web -12 --for 5m --config c", r#"scale web By(-12) Some("5m") None c"#),
            ("scale web auto --config c", "scale web Auto None None c"),
            ("pause web --for 10m --config c", r#"pause One("web") Some("10m") c"#),
            ("pause --all --config c", "pause All None c"),
            ("resume web --config c", r#"resume One("web") c"#),
        ] {
            assert_eq!(parsed(line), want, "{line}");
        }
    }

    #[test]
    fn wrong_words_are_told() {
        for (line, want) in [
            ("", "no command is given"),
            ("start", "`start` is no command"),
            ("help start", "`start` is no command"),
            ("--frobnicate", "--frobnicate"),
            ("check --once", "--once"),
            ("check --config", "--config"),
            ("run extra", "extra"),
            ("reload web", "web"),
            ("schedule", "which service?"),
            ("schedule a b", "b"),
            ("schedule a --once", "--once"),
            ("run --once --once", "`--once` is given twice"),
            ("run --config a --config b", "`--config` is given twice"),
            ("run --once=yes", "--once"),
            ("simulate", "which trace?"),
            ("simulate a", "\"a\""),
            ("simulate --load", "--load"),
            ("simulate --load a --load b", "`--load` is given twice"),
            ("schedule a --load b", "--load"),
            ("explain", "which service?"),
            ("scale", "which service?"),
            ("scale web", "to how many?"),
            ("scale -1 web", "-1"),
            ("scale web -1 2", "2"),
            ("scale web -0", "`-0` is none of"),
            ("scale web -1x", "`-1x` is none of"),
            ("scale web ++1", "`++1` is none of"),
            ("scale web 4294967296", "is none of"),
            ("scale web many", "`many` is none of"),
            ("scale web 4 --for 5", "`--for 5` is no time"),
            ("scale web 4 --for 0s", "`--for 0s` is no time"),
            ("scale web auto --for 5m", "go with a number"),
            ("pause", "which service? or --all"),
            ("pause web --all", "not both"),
            ("resume web --for 5m", "--for"),
            ("status a b", "b"),
            ("status -1", "-1"),
        ] {
            let got = parsed(line);
            assert!(got.starts_with("error: ") && got.contains(want), "{line}: {got}");
        }
    }
}
