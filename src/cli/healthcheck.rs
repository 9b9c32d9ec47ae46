//! `plimsoll healthcheck`: the daemon's readiness as an exit status.

use std::process::ExitCode;

use crate::cli::args::cli_command::DaemonAddr;
use crate::cli::client;
use crate::cli::output::{complain, say};

pub(crate) fn healthcheck(to: &DaemonAddr) -> ExitCode {
    match client::send(to, "GET", "/readyz", None) {
        Ok((200, _)) => say("ready\n"),
        Ok((_, document)) => {
            complain(&client::words(&document));
            ExitCode::FAILURE
        }
        Err(code) => code,
    }
}
