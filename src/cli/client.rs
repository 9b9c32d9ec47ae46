//! What the commands that need a daemon share: its address, requests to it, and its answers.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

use crate::cli::args::cli_command::DaemonAddr;
use crate::cli::check;
use crate::cli::output::complain;
use crate::clock::SystemClock;
use crate::config;
use crate::serve::client as api;

/// An error was printed already.
type CliResult<T> = Result<T, ExitCode>;

/// The document at this path.
pub(crate) fn get(to: &DaemonAddr, path: &str) -> CliResult<Value> {
    checked(send(to, "GET", path, None)?)
}

/// Sends a change. Gives what was done, in the daemon's words.
pub(crate) fn post(to: &DaemonAddr, path: &str, body: Value) -> CliResult<String> {
    let done = checked(send(to, "POST", path, Some(&body))?)?;
    Ok(done["done"].as_str().unwrap_or_default().to_owned())
}

/// Status and document, whatever they are.
pub(crate) fn send(
    to: &DaemonAddr,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> CliResult<(u16, Value)> {
    let daemon = Daemon::of(to)?;
    api::send(&daemon.socket, method, path, body).map_err(|err| failed(&err.to_string()))
}

/// For repeated requests. Errors are returned and not printed: they may pass.
pub(crate) struct Daemon {
    socket: PathBuf,
    pub(crate) clock: SystemClock,
}

impl Daemon {
    pub(crate) fn of(to: &DaemonAddr) -> CliResult<Daemon> {
        Ok(Daemon { socket: socket(to)?, clock: SystemClock::new() })
    }

    /// The document at this path.
    pub(crate) fn get(&self, path: &str) -> Result<Value, String> {
        let answer = api::send(&self.socket, "GET", path, None);
        let (status, document) = answer.map_err(|err| err.to_string())?;
        if (200..300).contains(&status) { Ok(document) } else { Err(words(&document)) }
    }
}

pub(crate) fn failed(message: &str) -> ExitCode {
    complain(message);
    ExitCode::FAILURE
}

/// A config with problems elsewhere still names the socket.
fn socket(to: &DaemonAddr) -> CliResult<PathBuf> {
    if let Some(socket) = &to.socket {
        return Ok(socket.clone());
    }
    let loaded = config::load_or_default(&to.config);
    loaded.socket().map(Path::to_owned).ok_or_else(|| {
        let so = "; or give --socket PATH";
        check::refuse(&to.config.path, &loaded.problems, so)
    })
}

fn checked((status, document): (u16, Value)) -> CliResult<Value> {
    if (200..300).contains(&status) {
        return Ok(document);
    }
    Err(failed(&words(&document)))
}

/// The daemon's error, on one line.
pub(crate) fn words(document: &Value) -> String {
    let what = document["error"].as_str().unwrap_or("the daemon refused the request");
    match document["detail"].as_str() {
        Some(detail) => format!("{what}: {detail}"),
        None => what.to_owned(),
    }
}

/// The API path of a service. The name is checked, as it becomes a part of the path.
pub(crate) fn path(service: &str, rest: &str) -> CliResult<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if service.is_empty() || !service.bytes().all(plain) {
        return Err(failed(&format!("`{service}` is not a valid service name")));
    }
    Ok(format!("/services/{service}{rest}"))
}
