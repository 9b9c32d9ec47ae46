//! The command line: words to a [`CliCommand`].

pub(crate) mod cli_command;
pub(crate) mod commands;
pub(crate) mod options;
mod raw_args;
mod readers;
#[cfg(test)]
mod tests;

use std::ffi::OsString;

use lexopt::Parser;
use lexopt::prelude::{Long, Short, Value};

use crate::cli::args::cli_command::{CliCommand, Topic};
use crate::cli::args::raw_args::Parsed;

pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<CliCommand, String> {
    let mut parser = Parser::from_iter(args);
    let next = parser.next().map_err(|err| err.to_string())?;
    let Some(first) = next else {
        return Err("no command given".to_owned());
    };
    let spec = match first {
        Short('h') => return Ok(CliCommand::Help(Topic::Short)),
        Long("help") => return Ok(CliCommand::Help(Topic::All)),
        Short('V') | Long("version") => return Ok(CliCommand::Version),
        Value(word) => commands::find(&word.to_string_lossy())?,
        other => return Err(other.unexpected().to_string()),
    };
    match raw_args::read(&mut parser, spec.operands, spec.options, spec.name)? {
        Parsed::Args(args) => (spec.read)(args),
        Parsed::Help(topic) => Ok(CliCommand::Help(topic)),
    }
}
