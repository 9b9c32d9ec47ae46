//! `plimsoll healthcheck`: whether the daemon does its job, as an exit status.

use std::process::ExitCode;

use crate::cli::args::Whom;
use crate::cli::{ask, complain, say};

pub(crate) fn healthcheck(to: &Whom) -> ExitCode {
    match ask::send(to, "GET", "/readyz", None) {
        Ok((200, _)) => say("ready\n"),
        Ok((_, document)) => {
            complain(&ask::words(&document));
            ExitCode::FAILURE
        }
        Err(code) => code,
    }
}
