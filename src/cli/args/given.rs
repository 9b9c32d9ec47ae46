//! What followed a command, before it means anything.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::Parser;
use lexopt::prelude::{Long, Short, Value};

use crate::cli::args::menu::{self, Choice, Entry, Operand, Takes};
use crate::cli::args::{Over, Whom};
use crate::cli::help::Topic;
use crate::model::units;

/// Where the config is when nobody says.
const CONFIG_DEFAULT: &str = "/etc/plimsoll/config.json";
const CONFIG_VARIABLE: &str = "PLIMSOLL_CONFIG";

#[derive(Default)]
pub(crate) struct Given {
    operands: VecDeque<String>,
    /// By name; a flag has an empty value.
    options: BTreeMap<&'static str, OsString>,
}

pub(crate) enum Followed {
    By(Given),
    Help(Topic),
}

/// Options are each given at most once.
pub(crate) fn read(parser: &mut Parser, entry: &'static Entry) -> Result<Followed, String> {
    let mut given = Given::default();
    let told = |err: lexopt::Error| err.to_string();
    while let Some(arg) = parser.next().map_err(told)? {
        let next = entry.operands.get(given.operands.len());
        let choice = match arg {
            Short('h') => return Ok(Followed::Help(Topic::Brief(entry))),
            Long("help") => return Ok(Followed::Help(Topic::Whole(entry))),
            Value(word) if next.is_some() => {
                given.operands.push_back(word.to_string_lossy().into_owned());
                continue;
            }
            // `-12` is a number here.
            Short(digit) if digit.is_ascii_digit() && next == Some(&Operand::Count) => {
                let rest = parser.optional_value().unwrap_or_default();
                given.operands.push_back(format!("-{digit}{}", rest.to_string_lossy()));
                continue;
            }
            Long(name) => match entry.options.iter().find(|choice| choice.name == name) {
                Some(choice) => *choice,
                None => return Err(Long(name).unexpected().to_string()),
            },
            other => return Err(other.unexpected().to_string()),
        };
        let value = match choice.takes {
            Takes::Nothing => OsString::new(),
            Takes::File | Takes::Service | Takes::Text => parser.value().map_err(told)?,
        };
        if given.options.insert(choice.name, value).is_some() {
            return Err(format!("`--{}` is given twice", choice.name));
        }
    }
    Ok(Followed::By(given))
}

impl Given {
    /// The next one.
    pub(crate) fn operand(&mut self) -> Option<String> {
        self.operands.pop_front()
    }

    pub(crate) fn has(&self, choice: Choice) -> bool {
        self.options.contains_key(choice.name)
    }

    pub(crate) fn text(&mut self, choice: Choice) -> Option<String> {
        self.options.remove(choice.name).map(|value| value.to_string_lossy().into_owned())
    }

    pub(crate) fn path(&mut self, choice: Choice) -> Option<PathBuf> {
        self.options.remove(choice.name).map(PathBuf::from)
    }

    pub(crate) fn config(&mut self) -> PathBuf {
        let from_environment = || std::env::var_os(CONFIG_VARIABLE).filter(|v| !v.is_empty());
        let given = self.path(menu::CONFIG).or_else(|| from_environment().map(PathBuf::from));
        given.unwrap_or_else(|| PathBuf::from(CONFIG_DEFAULT))
    }

    pub(crate) fn whom(&mut self) -> Whom {
        Whom { config: self.config(), socket: self.path(menu::SOCKET) }
    }

    pub(crate) fn over(&mut self, command: &str) -> Result<Over, String> {
        match (self.operand(), self.has(menu::ALL)) {
            (Some(service), false) => Ok(Over::One(service)),
            (None, true) => Ok(Over::All),
            (Some(_), true) => Err(format!("{command}: a service or --all, not both")),
            (None, false) => Err(format!("{command}: which service? or --all")),
        }
    }

    /// A wrong one is told before anybody is asked.
    pub(crate) fn span(&mut self, choice: Choice) -> Result<Option<String>, String> {
        let Some(text) = self.text(choice) else { return Ok(None) };
        match units::span(&text) {
            Some(span) if !span.is_zero() => Ok(Some(text)),
            Some(_) | None => {
                Err(format!("`--{} {text}` is no time like 90s, 30m or 2h", choice.name))
            }
        }
    }
}
