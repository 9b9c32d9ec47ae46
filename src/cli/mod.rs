//! Commands. Answers go to stdout, complaints to stderr.

mod advise;
mod args;
mod client;
mod changes;
mod check;
mod check_compose;
mod compose_file;
mod completions;
mod doctor;
mod effective;
mod events;
mod explain;
mod forecast;
mod healthcheck;
mod help;
mod history;
mod history_table;
mod host_zone;
mod init;
mod interrupt;
mod local_instant;
mod notify;
mod output;
mod paint;
mod pause;
mod problems;
mod reload;
mod replay_options;
mod report;
mod report_text;
mod restart;
mod routes;
mod run;
mod scale;
mod schedule;
mod services;
mod simulate;
mod status;
mod stored_history;
mod table;
mod untried_hooks;
mod what_if;
mod width;
mod yaml;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::cli::args::cli_command::CliCommand;
use crate::cli::output::{USAGE, complain, say};

pub(crate) fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match args::parse(args) {
        Ok(CliCommand::Help(topic)) => match help::text(&topic) {
            Ok(text) => say(&text),
            Err(message) => wrong_usage(&message),
        },
        Ok(CliCommand::Version) => say(concat!("plimsoll ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(CliCommand::Advise(asked)) => advise::advise(&asked),
        Ok(CliCommand::Check(asked)) => check::check(&asked),
        Ok(CliCommand::Completions(shell)) => completions::completions(shell),
        Ok(CliCommand::Doctor { config, json }) => doctor::doctor(&config, json),
        Ok(CliCommand::Events(asked)) => events::events(&asked),
        Ok(CliCommand::Explain { service, json, to }) => explain::explain(&service, json, &to),
        Ok(CliCommand::Healthcheck { verbose, to }) => healthcheck::healthcheck(verbose, &to),
        Ok(CliCommand::History(asked)) => history::history(&asked),
        Ok(CliCommand::Init(asked)) => init::init(&asked),
        Ok(CliCommand::Notify { config, json }) => notify::notify(&config, json),
        Ok(CliCommand::Pause { what, span, to }) => pause::pause(&what, span.as_deref(), &to),
        Ok(CliCommand::Reload { to }) => reload::reload(&to),
        Ok(CliCommand::Report(asked)) => report::report(&asked),
        Ok(CliCommand::Restart { service, to }) => restart::restart(&service, &to),
        Ok(CliCommand::Resume { what, to }) => pause::resume(&what, &to),
        Ok(CliCommand::Run(options)) => run::run(options),
        Ok(CliCommand::Scale(asked)) => scale::scale(&asked),
        Ok(CliCommand::Routes(asked)) => routes::routes(&asked),
        Ok(CliCommand::Schedule(asked)) => schedule::schedule(&asked),
        Ok(CliCommand::Services { json, to }) => services::services(json, &to),
        Ok(CliCommand::Simulate(asked)) => simulate::simulate(&asked),
        Ok(CliCommand::Status(asked)) => status::status(&asked),
        Err(message) => wrong_usage(&message),
    }
}

fn wrong_usage(message: &str) -> ExitCode {
    complain(&format!("{message}; see `plimsoll help`"));
    ExitCode::from(USAGE)
}
