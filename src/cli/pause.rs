//! `plimsoll pause` and `plimsoll resume`: stop and restart scaling.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::args::cli_command::{DaemonAddr, Scope};
use crate::cli::client;
use crate::cli::output::say;

pub(crate) fn pause(what: &Scope, span: Option<&str>, to: &DaemonAddr) -> ExitCode {
    let body = span.map_or(json!({}), |span| json!({ "for": span }));
    send(what, "/pause", body, to)
}

pub(crate) fn resume(what: &Scope, to: &DaemonAddr) -> ExitCode {
    send(what, "/resume", json!({}), to)
}

fn send(what: &Scope, verb: &str, body: Value, to: &DaemonAddr) -> ExitCode {
    let path = match what {
        Scope::One(service) => client::path(service, verb),
        Scope::All => Ok(verb.to_owned()),
    };
    let done = path.and_then(|path| client::post(to, &path, body));
    // One service a line.
    done.map_or_else(|code| code, |done| say(&format!("{}\n", done.replace("; ", "\n"))))
}
