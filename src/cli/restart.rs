//! `plimsoll restart`: replaces every replica while the service serves.

use std::process::ExitCode;

use serde_json::json;

use crate::cli::args::cli_command::DaemonAddr;
use crate::cli::client;
use crate::cli::output::say;

pub(crate) fn restart(service: &str, to: &DaemonAddr) -> ExitCode {
    let path = client::path(service, "/restart");
    let done = path.and_then(|path| client::post(to, &path, json!({})));
    done.map_or_else(|code| code, |done| say(&format!("{done}\n")))
}
