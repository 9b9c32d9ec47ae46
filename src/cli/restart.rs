//! `plimsoll restart`: every replica anew, while the service serves.

use std::process::ExitCode;

use serde_json::json;

use crate::cli::args::Whom;
use crate::cli::{ask, say};

pub(crate) fn restart(service: &str, to: &Whom) -> ExitCode {
    let path = ask::path(service, "/restart");
    let done = path.and_then(|path| ask::post(to, &path, json!({})));
    done.map_or_else(|code| code, |done| say(&format!("{done}\n")))
}
