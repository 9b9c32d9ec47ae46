//! `plimsoll reload`: makes the daemon read its config again.

use std::path;
use std::process::ExitCode;

use serde_json::json;

use crate::cli::args::cli_command::DaemonAddr;
use crate::cli::client;
use crate::cli::output::{complain, say};

pub(crate) fn reload(to: &DaemonAddr) -> ExitCode {
    if let Err(code) = same_file(to) {
        return code;
    }
    let answer = client::send(to, "POST", "/config/reload", Some(&json!({})));
    let (status, document) = match answer {
        Ok(answer) => answer,
        Err(code) => return code,
    };
    if let (200, Some(done)) = (status, document["done"].as_str()) {
        return say(&format!("{done}\n"));
    }
    for problem in document["detail"].as_array().into_iter().flatten() {
        complain(problem.as_str().unwrap_or_default());
    }
    complain(&client::words(&document));
    ExitCode::FAILURE
}

/// The daemon reads the file that it was started with. Another one given here would be ignored
/// silently, so it is an error. With `--socket` no file is given.
fn same_file(to: &DaemonAddr) -> Result<(), ExitCode> {
    if to.socket.is_some() {
        return Ok(());
    }
    let status = client::get(to, "/status")?;
    let theirs = status["config"].as_str();
    let ours = path::absolute(&to.config.path).ok();
    if theirs.is_none() || theirs.map(path::Path::new) == ours.as_deref() {
        return Ok(());
    }
    complain(&format!(
        "the daemon runs with {}, not with {}; give its file with --config",
        theirs.unwrap_or_default(),
        to.config.path.display()
    ));
    Err(ExitCode::FAILURE)
}
