//! What the commands that need a daemon share: finding it, asking it, and saying what it said.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use crate::cli::args::cli_command::DaemonAddr;
use crate::cli::check;
use crate::cli::output::complain;
use crate::clock::SystemClock;
use crate::config;
use crate::serve::client as api;

/// A failure was told already.
type CliResult<T> = Result<T, ExitCode>;

/// What the daemon shows at this path.
pub(crate) fn get(to: &DaemonAddr, path: &str) -> CliResult<Value> {
    told(send(to, "GET", path, None)?)
}

/// An order: what the daemon says was done.
pub(crate) fn post(to: &DaemonAddr, path: &str, body: Value) -> CliResult<String> {
    let done = told(send(to, "POST", path, Some(&body))?)?;
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

/// One that is asked again and again. Nothing is told: its failures may pass.
pub(crate) struct Daemon {
    socket: PathBuf,
    pub(crate) clock: SystemClock,
}

impl Daemon {
    pub(crate) fn of(to: &DaemonAddr) -> CliResult<Daemon> {
        Ok(Daemon { socket: socket(to)?, clock: SystemClock::new() })
    }

    /// What it shows at this path, or why not.
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

/// A config that became bad meanwhile still tells where the daemon is.
fn socket(to: &DaemonAddr) -> CliResult<PathBuf> {
    if let Some(socket) = &to.socket {
        return Ok(socket.clone());
    }
    let loaded = config::load(&to.config);
    loaded.socket.ok_or_else(|| {
        let so = "; --socket PATH does without it";
        check::refuse(&to.config, &loaded.problems, so)
    })
}

fn told((status, document): (u16, Value)) -> CliResult<Value> {
    if (200..300).contains(&status) {
        return Ok(document);
    }
    Err(failed(&words(&document)))
}

/// The daemon's own, on one line.
pub(crate) fn words(document: &Value) -> String {
    let what = document["error"].as_str().unwrap_or("the daemon refuses");
    match document["detail"].as_str() {
        Some(detail) => format!("{what}: {detail}"),
        None => what.to_owned(),
    }
}

/// The path of what belongs to a service. What can be no name is told as the daemon would.
pub(crate) fn path(service: &str, rest: &str) -> CliResult<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if service.is_empty() || !service.bytes().all(plain) {
        return Err(failed(&format!("`{service}` can be no name of a service")));
    }
    Ok(format!("/services/{service}{rest}"))
}
