//! What was typed, before anything is looked up.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::{Long, Short, Value};
use lexopt::{Arg, Parser};

use crate::cli::help::Topic;
use crate::daemon::Options;

/// Where the config is when nobody says.
const CONFIG_DEFAULT: &str = "/etc/plimsoll/config.json";
const CONFIG_VARIABLE: &str = "PLIMSOLL_CONFIG";

pub(crate) enum Command {
    Help(Topic),
    Version,
    Check { config: PathBuf },
    Run(Options),
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

/// What `check` and `run` share, and what only `run` takes.
struct Given {
    config: Option<PathBuf>,
    dry_run: bool,
    once: bool,
}

impl Given {
    fn config(self) -> PathBuf {
        let from_environment = || std::env::var_os(CONFIG_VARIABLE).filter(|v| !v.is_empty());
        let given = self.config.or_else(|| from_environment().map(PathBuf::from));
        given.unwrap_or_else(|| PathBuf::from(CONFIG_DEFAULT))
    }
}

fn check(parser: &mut Parser) -> Result<Command, String> {
    match options(parser, Topic::Check, &["config"])? {
        Ok(given) => Ok(Command::Check { config: given.config() }),
        Err(help) => Ok(help),
    }
}

fn run(parser: &mut Parser) -> Result<Command, String> {
    match options(parser, Topic::Run, &["config", "dry-run", "once"])? {
        Ok(given) => {
            let (once, dry_run) = (given.once, given.dry_run);
            Ok(Command::Run(Options { config_file: given.config(), once, dry_run }))
        }
        Err(help) => Ok(help),
    }
}

/// The inner error is a wish for help.
fn options(
    parser: &mut Parser,
    topic: Topic,
    allowed: &[&str],
) -> Result<Result<Given, Command>, String> {
    let mut given = Given { config: None, dry_run: false, once: false };
    while let Some(arg) = parser.next().map_err(|err| err.to_string())? {
        match arg {
            Short('h') | Long("help") => return Ok(Err(Command::Help(topic))),
            Long(name) if !allowed.contains(&name) => {
                return Err(Arg::Long(name).unexpected().to_string());
            }
            Long("config") if given.config.is_none() => {
                let value = parser.value().map_err(|err| err.to_string())?;
                given.config = Some(PathBuf::from(value));
            }
            Long("dry-run") if !given.dry_run => given.dry_run = true,
            Long("once") if !given.once => given.once = true,
            Long(name) => return Err(format!("`--{name}` is given twice")),
            other => return Err(other.unexpected().to_string()),
        }
    }
    Ok(Ok(given))
}

#[cfg(test)]
mod tests {
    use crate::cli::args::{Command, parse};

    fn parsed(line: &str) -> String {
        match parse(["plimsoll"].into_iter().chain(line.split_whitespace()).map(Into::into)) {
            Ok(Command::Help(topic)) => format!("help {topic:?}"),
            Ok(Command::Version) => "version".to_owned(),
            Ok(Command::Check { config }) => format!("check {}", config.display()),
            Ok(Command::Run(o)) => {
                format!("run {} once={} dry={}", o.config_file.display(), o.once, o.dry_run)
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
            ("check --config a.json", "check a.json"),
            ("check --config=a.json", "check a.json"),
            ("run --config a --once --dry-run", "run a once=true dry=true"),
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
            ("run --once --once", "`--once` is given twice"),
            ("run --config a --config b", "`--config` is given twice"),
            ("run --once=yes", "--once"),
        ] {
            let got = parsed(line);
            assert!(got.starts_with("error: ") && got.contains(want), "{line}: {got}");
        }
    }
}
