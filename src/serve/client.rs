//! Sends one request of a command to the daemon, over its control socket.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Request, Response};
use ureq::{AsSendBody, Body};

use crate::http_client::unix_agent;
use crate::outside::{Error, Result};

/// The daemon may work on a command for 10 s.
const TIMEOUT: Duration = Duration::from_secs(15);
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Gives status and document. An error says what to do about it.
pub(crate) fn send(
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<(u16, Value)> {
    send_within(socket, method, path, body, TIMEOUT)
}

/// As `send`, for answers without which it goes on as well.
pub(crate) fn send_within(
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<&Value>,
    timeout: Duration,
) -> Result<(u16, Value)> {
    let request = Request::builder().method(method).uri(format!("http://localhost{path}"));
    let answer = match body {
        Some(body) => request.body(body.to_string()).map(|request| run(socket, request, timeout)),
        None => request.body(()).map(|request| run(socket, request, timeout)),
    };
    let mut answer = answer
        .map_err(|err| Error::caused(format!("cannot ask for {path}"), err))?
        .map_err(|err| explained(socket, err, timeout))?;
    let status = answer.status().as_u16();
    let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
    let text = text.map_err(|err| explained(socket, err, timeout))?;
    let document = serde_json::from_slice(&text).map_err(|_| stranger(socket))?;
    Ok((status, document))
}

fn run(
    socket: &Path,
    request: Request<impl AsSendBody>,
    timeout: Duration,
) -> std::result::Result<Response<Body>, ureq::Error> {
    let agent = unix_agent(socket, Some(ANSWER_BYTES_MAX), 0);
    let request = agent.configure_request(request).timeout_global(Some(timeout)).build();
    agent.run(request)
}

fn explained(socket: &Path, err: ureq::Error, timeout: Duration) -> Error {
    let shown = socket.display();
    match err {
        ureq::Error::Io(err) => match err.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Error::new(format!(
                "no daemon answers on {shown} (api.socket of its config); \
                 start one with `plimsoll run`"
            )),
            ErrorKind::PermissionDenied => Error::new(format!(
                "no permission to use {shown}; run this as root or as a member of {}",
                group(socket)
            )),
            _ => Error::caused(format!("the daemon on {shown} closed the connection"), err),
        },
        ureq::Error::Timeout(_) => Error::new(format!(
            "the daemon on {shown} did not answer within {} s; see its log",
            timeout.as_secs()
        )),
        ureq::Error::Protocol(_) => stranger(socket),
        err => Error::caused(format!("cannot ask the daemon on {shown}"), err),
    }
}

fn group(socket: &Path) -> String {
    match fs::metadata(socket) {
        Ok(meta) => format!("group {}", meta.gid()),
        Err(_) => "the group of its folder".to_owned(),
    }
}

fn stranger(socket: &Path) -> Error {
    let shown = socket.display();
    Error::new(format!("the program that answers on {shown} is not plimsoll; check api.socket"))
}
