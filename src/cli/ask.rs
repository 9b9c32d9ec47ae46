//! What the commands that need a daemon share: finding it, asking it, and saying what it said.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use crate::cli::args::Whom;
use crate::cli::{check, complain};
use crate::clock::SystemClock;
use crate::config;
use crate::serve::client;

/// A failure was told already.
type Asked<T> = Result<T, ExitCode>;

/// What the daemon shows at this path.
pub(crate) fn get(to: &Whom, path: &str) -> Asked<Value> {
    told(send(to, "GET", path, None)?)
}

/// An order: what the daemon says was done.
pub(crate) fn post(to: &Whom, path: &str, body: Value) -> Asked<String> {
    let done = told(send(to, "POST", path, Some(&body))?)?;
    Ok(done["done"].as_str().unwrap_or_default().to_owned())
}

/// Status and document, whatever they are.
pub(crate) fn send(
    to: &Whom,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Asked<(u16, Value)> {
    let socket = socket(to)?;
    client::ask(&socket, &SystemClock::new(), method, path, body).map_err(|err| {
        complain(&err.to_string());
        ExitCode::FAILURE
    })
}

/// A config that became bad meanwhile still tells where the daemon is.
fn socket(to: &Whom) -> Asked<PathBuf> {
    if let Some(socket) = &to.socket {
        return Ok(socket.clone());
    }
    let loaded = config::load(&to.config);
    loaded.socket.ok_or_else(|| {
        let so = "; --socket PATH does without it";
        check::refuse(&to.config, &loaded.problems, so)
    })
}

fn told((status, document): (u16, Value)) -> Asked<Value> {
    if (200..300).contains(&status) {
        return Ok(document);
    }
    complain(&words(&document));
    Err(ExitCode::FAILURE)
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
pub(crate) fn path(service: &str, rest: &str) -> Asked<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if service.is_empty() || !service.bytes().all(plain) {
        complain(&format!("`{service}` can be no name of a service"));
        return Err(ExitCode::FAILURE);
    }
    Ok(format!("/services/{service}{rest}"))
}
