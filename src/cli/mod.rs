//! Commands. Answers go to stdout, complaints to stderr.

mod args;
mod ask;
mod check;
mod completions;
mod doctor;
mod events;
mod explain;
mod healthcheck;
mod help;
mod init;
mod paint;
mod pause;
mod reload;
mod restart;
mod run;
mod scale;
mod schedule;
mod simulate;
mod status;
mod table;
mod turns;

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use crate::cli::args::Command;
use crate::cli::paint::Paint;
use crate::model::terminal;

/// Exit status for words that make no sense; a failure is 1.
const USAGE: u8 = 2;

pub(crate) fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match args::parse(args) {
        Ok(Command::Help(topic)) => say(&help::text(topic)),
        Ok(Command::Version) => say(concat!("plimsoll ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::Check { config, json, live }) => check::check(&config, json, live),
        Ok(Command::Completions(shell)) => completions::completions(shell),
        Ok(Command::Doctor { config, json }) => doctor::doctor(&config, json),
        Ok(Command::Events(asked)) => events::events(&asked),
        Ok(Command::Explain { service, json, to }) => explain::explain(&service, json, &to),
        Ok(Command::Healthcheck { to }) => healthcheck::healthcheck(&to),
        Ok(Command::Init(asked)) => init::init(&asked),
        Ok(Command::Pause { what, span, to }) => pause::pause(&what, span.as_deref(), &to),
        Ok(Command::Reload { to }) => reload::reload(&to),
        Ok(Command::Restart { service, to }) => restart::restart(&service, &to),
        Ok(Command::Resume { what, to }) => pause::resume(&what, &to),
        Ok(Command::Run(options)) => run::run(options),
        Ok(Command::Scale(asked)) => scale::scale(&asked),
        Ok(Command::Schedule(asked)) => schedule::schedule(&asked),
        Ok(Command::Simulate(asked)) => simulate::simulate(&asked),
        Ok(Command::Status(asked)) => status::status(&asked),
        Err(message) => {
            complain(&format!("{message}; see `plimsoll help`"));
            ExitCode::from(USAGE)
        }
    }
}

fn say(text: &str) -> ExitCode {
    show(text).err().unwrap_or(ExitCode::SUCCESS)
}

/// `Err` is how the command ends: well, when the reader has seen enough, as `head` does. Whatever
/// was put into `text`, a terminal obeys none of it.
fn show(text: &str) -> Result<(), ExitCode> {
    write(&terminal::plain(text))
}

/// With our own colours in it.
fn show_painted(text: &str, paint: Paint) -> Result<(), ExitCode> {
    write(&paint.plain(text))
}

/// Everything that goes to stdout goes through here, and is plain already.
fn write(text: &str) -> Result<(), ExitCode> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(err) if err.kind() == ErrorKind::BrokenPipe => Err(ExitCode::SUCCESS),
        Err(err) => {
            complain(&format!("cannot write: {err}"));
            Err(ExitCode::FAILURE)
        }
    }
}

fn complain(message: &str) {
    // With stderr gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "plimsoll: {}", terminal::plain(message));
}
