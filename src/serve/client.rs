//! How a command asks the daemon, over its control socket.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use socket2::Socket;

use crate::outside::{Clock, Error, Result};
use crate::serve::intake::Line;
use crate::serve::reply;
use crate::unix;

/// An order may take 10 s inside.
const TIME: Duration = Duration::from_secs(15);
const CONNECT_TIME: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Status and document. An error says what to do about it.
pub(crate) fn ask(
    socket: &Path,
    clock: &dyn Clock,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<(u16, Value)> {
    let stream = unix::connect(socket, CONNECT_TIME).map_err(|err| unreachable(socket, err))?;
    let peer = Socket::from(OwnedFd::from(stream));
    let line = Line::new(&peer, clock);
    let until = clock.now().plus(TIME);
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    // What turned us away may have answered before it closed.
    let written = line.write(request.as_bytes(), until);
    let answer = line.all(ANSWER_BYTES_MAX, until).map_err(|err| silent(socket, err))?;
    if answer.is_empty() {
        written.map_err(|err| silent(socket, err))?;
    }
    let parsed = reply::parse(&answer).and_then(|(status, _, body)| {
        let document = serde_json::from_slice(body).ok()?;
        Some((status, document))
    });
    parsed.ok_or_else(|| {
        let socket = socket.display();
        Error::new(format!("what answers on {socket} is no plimsoll; see api.socket"))
    })
}

fn unreachable(socket: &Path, err: io::Error) -> Error {
    let shown = socket.display();
    match err.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => Error::new(format!(
            "no daemon answers on {shown} (api.socket of its config); `plimsoll run` starts one"
        )),
        ErrorKind::PermissionDenied => {
            let group = fs::metadata(socket).map(|meta| format!("of group {}", meta.gid()));
            let group = group.unwrap_or("of the group of its folder".to_owned());
            Error::new(format!(
                "may not use {shown}; run this as root, or as a member {group}, whose socket it is"
            ))
        }
        _ => Error::caused(format!("cannot reach the daemon on {shown}"), err),
    }
}

fn silent(socket: &Path, err: io::Error) -> Error {
    let shown = socket.display();
    match err.kind() {
        ErrorKind::TimedOut => Error::new(format!(
            "the daemon on {shown} does not answer within {} s; its log may tell why",
            TIME.as_secs()
        )),
        _ => Error::caused(format!("the daemon on {shown} broke off"), err),
    }
}
