//! The words after a command, sorted into operands and options.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::Parser;
use lexopt::prelude::{Long, Short, Value};

use crate::cli::args::cli_command::{DaemonAddr, Scope, Topic};
use crate::cli::args::options::{self, Operand, OptionSpec, Takes};
use crate::config::ConfigFile;
use crate::model::units;

const CONFIG_DEFAULT: &str = "/etc/plimsoll/config.json";
const CONFIG_VARIABLE: &str = "PLIMSOLL_CONFIG";

#[derive(Default)]
pub(crate) struct RawArgs {
    operands: VecDeque<String>,
    /// By name; a flag has an empty value.
    options: BTreeMap<&'static str, OsString>,
}

pub(crate) enum Parsed {
    Args(RawArgs),
    Help(Topic),
}

/// Options are each args at most once.
pub(crate) fn read(
    parser: &mut Parser,
    operands: &[Operand],
    options: &[OptionSpec],
    command: &str,
) -> Result<Parsed, String> {
    let mut args = RawArgs::default();
    let message = |err: lexopt::Error| err.to_string();
    while let Some(arg) = parser.next().map_err(message)? {
        let next = operands.get(args.operands.len());
        let choice = match arg {
            Short('h') => return Ok(Parsed::Help(Topic::Brief(command.to_owned()))),
            Long("help") => return Ok(Parsed::Help(Topic::Whole(command.to_owned()))),
            Value(word) if next.is_some() => {
                args.operands.push_back(word.to_string_lossy().into_owned());
                continue;
            }
            // `-12` is a number here.
            Short(digit) if digit.is_ascii_digit() && next == Some(&Operand::Count) => {
                let rest = parser.optional_value().unwrap_or_default();
                args.operands.push_back(format!("-{digit}{}", rest.to_string_lossy()));
                continue;
            }
            Long(name) => match options.iter().find(|choice| choice.name == name) {
                Some(choice) => *choice,
                None => return Err(unknown(name, options)),
            },
            other => return Err(other.unexpected().to_string()),
        };
        let value = match choice.takes {
            Takes::Nothing => OsString::new(),
            Takes::File | Takes::Service | Takes::Text => parser.value().map_err(message)?,
        };
        // Not the name of a file, but the next option.
        let is_option = |value: &str| {
            let known = options.iter().map(|choice| choice.name).chain(["help"]);
            value.strip_prefix("--").is_some_and(|name| known.into_iter().any(|n| n == name))
        };
        if value.to_str().is_some_and(is_option) {
            return Err(format!("`--{}` needs a value", choice.name));
        }
        if args.options.insert(choice.name, value).is_some() {
            return Err(format!("`--{}` is given twice", choice.name));
        }
    }
    Ok(Parsed::Args(args))
}

fn unknown(name: &str, options: &[OptionSpec]) -> String {
    let known = options.iter().map(|choice| choice.name).chain(["help"]);
    let near = units::nearest_key(name, known).map(|near| format!("--{near}"));
    let hint = units::did_you_mean(near.as_deref());
    format!("unknown option `--{name}`{hint}")
}

impl RawArgs {
    /// The next one.
    pub(crate) fn operand(&mut self) -> Option<String> {
        self.operands.pop_front()
    }

    pub(crate) fn has(&self, choice: OptionSpec) -> bool {
        self.options.contains_key(choice.name)
    }

    pub(crate) fn text(&mut self, choice: OptionSpec) -> Option<String> {
        self.options.remove(choice.name).map(|value| value.to_string_lossy().into_owned())
    }

    pub(crate) fn path(&mut self, choice: OptionSpec) -> Option<PathBuf> {
        self.options.remove(choice.name).map(PathBuf::from)
    }

    pub(crate) fn config(&mut self) -> ConfigFile {
        let from_environment = || std::env::var_os(CONFIG_VARIABLE).filter(|v| !v.is_empty());
        let named = self.path(options::CONFIG).or_else(|| from_environment().map(PathBuf::from));
        let is_named = named.is_some();
        ConfigFile { path: named.unwrap_or_else(|| PathBuf::from(CONFIG_DEFAULT)), is_named }
    }

    pub(crate) fn daemon_addr(&mut self) -> DaemonAddr {
        DaemonAddr { config: self.config(), socket: self.path(options::SOCKET) }
    }

    pub(crate) fn scope(&mut self, command: &str) -> Result<Scope, String> {
        match (self.operand(), self.has(options::ALL)) {
            (Some(service), false) => Ok(Scope::One(service)),
            (None, true) => Ok(Scope::All),
            (Some(_), true) => Err(format!("{command}: give a service or --all, not both")),
            (None, false) => Err(format!("{command}: which service? or give --all")),
        }
    }

    /// Checked here, before the daemon is asked. Given on as it was typed.
    pub(crate) fn span(&mut self, choice: OptionSpec) -> Result<Option<String>, String> {
        let Some(text) = self.text(choice) else { return Ok(None) };
        match units::span(&text) {
            Some(span) if !span.is_zero() => Ok(Some(text)),
            Some(_) | None => {
                Err(format!("`--{} {text}` is not a duration; write 90s, 30m or 2h", choice.name))
            }
        }
    }
}
