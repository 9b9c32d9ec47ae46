//! What was typed, before anything is looked up.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::Parser;
use lexopt::prelude::{Long, Short, Value};

use crate::cli::help::Topic;
use crate::daemon::Options;

/// Where the config is when nobody says.
const CONFIG_DEFAULT: &str = "/etc/plimsoll/config.json";
const CONFIG_VARIABLE: &str = "PLIMSOLL_CONFIG";

pub(crate) enum Command {
    Help(Topic),
    Version,
    Check { config: PathBuf, json: bool, live: bool },
    Run(Options),
    Schedule(ScheduleAsked),
}

pub(crate) struct ScheduleAsked {
    pub(crate) service: String,
    pub(crate) from: Option<String>,
    pub(crate) until: Option<String>,
    pub(crate) json: bool,
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
        Value(word) if word == "run" => run(&mut parser),
        Value(word) if word == "schedule" => schedule(&mut parser),
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
    operand: Option<String>,
    config: Option<PathBuf>,
    from: Option<String>,
    until: Option<String>,
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
}

fn check(parser: &mut Parser) -> Result<Command, String> {
    let Some(given) = options(parser, &["config", "json", "live"])? else {
        return Ok(Command::Help(Topic::Check));
    };
    Ok(Command::Check { config: given.config(), json: given.json, live: given.live })
}

fn run(parser: &mut Parser) -> Result<Command, String> {
    let Some(given) = options(parser, &["config", "dry-run", "once"])? else {
        return Ok(Command::Help(Topic::Run));
    };
    let (config_file, once, dry_run) = (given.config(), given.once, given.dry_run);
    Ok(Command::Run(Options { config_file, once, dry_run }))
}

fn schedule(parser: &mut Parser) -> Result<Command, String> {
    let Some(given) = options(parser, &["SERVICE", "config", "from", "until", "json"])? else {
        return Ok(Command::Help(Topic::Schedule));
    };
    let config = given.config();
    let service = given.operand.ok_or("schedule: which service?")?;
    let (from, until, json) = (given.from, given.until, given.json);
    Ok(Command::Schedule(ScheduleAsked { service, from, until, json, config }))
}

/// `None` is a wish for help. Options are long, each at most once; `SERVICE` allows an operand.
fn options(parser: &mut Parser, allowed: &[&str]) -> Result<Option<Given>, String> {
    let mut given = Given::default();
    let mut seen = BTreeSet::new();
    while let Some(arg) = parser.next().map_err(|err| err.to_string())? {
        let name = match arg {
            Short('h') | Long("help") => return Ok(None),
            Long(name) if allowed.contains(&name) => name.to_owned(),
            Value(word) if allowed.contains(&"SERVICE") && given.operand.is_none() => {
                given.operand = Some(word.to_string_lossy().into_owned());
                continue;
            }
            other => return Err(other.unexpected().to_string()),
        };
        if !seen.insert(name.clone()) {
            return Err(format!("`--{name}` is given twice"));
        }
        let mut value = || parser.value().map_err(|err| err.to_string());
        match name.as_str() {
            "config" => given.config = Some(PathBuf::from(value()?)),
            "from" => given.from = Some(value()?.to_string_lossy().into_owned()),
            "until" => given.until = Some(value()?.to_string_lossy().into_owned()),
            "json" => given.json = true,
            "live" => given.live = true,
            "dry-run" => given.dry_run = true,
            "once" => given.once = true,
            name => unreachable!("--{name} is allowed and nobody takes it"),
        }
    }
    Ok(Some(given))
}

#[cfg(test)]
mod tests {
    use crate::cli::args::{Command, parse};

    fn parsed(line: &str) -> String {
        match parse(["plimsoll"].into_iter().chain(line.split_whitespace()).map(Into::into)) {
            Ok(Command::Help(topic)) => format!("help {topic:?}"),
            Ok(Command::Version) => "version".to_owned(),
            Ok(Command::Check { config, json, live }) => {
                format!("check {} json={json} live={live}", config.display())
            }
            Ok(Command::Run(o)) => {
                format!("run {} once={} dry={}", o.config_file.display(), o.once, o.dry_run)
            }
            Ok(Command::Schedule(a)) => {
                let (from, until) = (a.from.as_deref(), a.until.as_deref());
                format!("schedule {} {from:?} {until:?} json={}", a.service, a.json)
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
            ("schedule --help", "help Schedule"),
            ("schedule web", "schedule web None None json=false"),
            (
                "schedule --json --from=a web --until b",
                r#"schedule web Some("a") Some("b") json=true"#,
            ),
            ("run --config a", "run a once=false dry=false"),
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
            ("schedule", "which service?"),
            ("schedule a b", "b"),
            ("schedule a --once", "--once"),
            ("run --once --once", "`--once` is given twice"),
            ("run --config a --config b", "`--config` is given twice"),
            ("run --once=yes", "--once"),
        ] {
            let got = parsed(line);
            assert!(got.starts_with("error: ") && got.contains(want), "{line}: {got}");
        }
    }
}
