//! Answers ACME's http-01 challenge (RFC 8555, section 8.3) with the files that a client like
//! certbot writes. HAProxy passes the requests on by a socket beside its own, or by one in the
//! abstract namespace if it has another root folder. The files are for everybody, and nothing else
//! is served.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::model::front_door::{ACME_PATH, abstract_acme_socket, acme_socket};
use crate::outside::{Error, Result};
use crate::regular_file;
use crate::unix;

/// HAProxy sends whole requests, so one takes milliseconds.
const TIMEOUT: Duration = Duration::from_secs(1);
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Of a token's file; one has about 90.
const FILE_BYTES_MAX: u64 = 16 << 10;
const TOKEN_BYTES_MAX: usize = 256;
/// After a failed `accept`, as when no more files may be opened.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Opened once a config names a folder.
pub(crate) struct AcmeServer {
    /// HAProxy's, which tells daemons apart.
    socket: PathBuf,
    webroot: Arc<Mutex<Option<PathBuf>>>,
    has_file: bool,
    has_abstract: bool,
}

impl AcmeServer {
    pub(crate) fn new(socket: &Path) -> AcmeServer {
        let socket = socket.to_owned();
        AcmeServer { socket, webroot: Arc::default(), has_file: false, has_abstract: false }
    }

    /// From now on this folder is served, or none.
    pub(crate) fn serve(&mut self, webroot: Option<&Path>) -> Result<()> {
        *self.webroot.lock().unwrap_or_else(PoisonError::into_inner) = webroot.map(Path::to_owned);
        if webroot.is_some() { self.open() } else { Ok(()) }
    }

    /// Opens what could not be opened before, as while an earlier daemon ended.
    pub(crate) fn retry(&mut self) {
        let is_wanted = self.webroot.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if is_wanted && !(self.has_file && self.has_abstract) && self.open().is_ok() {
            log::info!("message=\"ACME challenges are answered\"");
        }
    }

    /// Both are tried: HAProxy uses either.
    fn open(&mut self) -> Result<()> {
        let mut opened = Ok(());
        if !self.has_file {
            let path = acme_socket(&self.socket);
            // HAProxy connects as another account.
            let socket = unix::listen(&path, 0o666);
            let listener = socket.map(|socket| UnixListener::from(OwnedFd::from(socket)));
            opened = self.answer(listener, &path.display());
            self.has_file = opened.is_ok();
        }
        if !self.has_abstract {
            let name = abstract_acme_socket(&self.socket);
            let other = self.answer(unix::listen_abstract(&name), &format_args!("@{name}"));
            self.has_abstract = other.is_ok();
            opened = opened.and(other);
        }
        opened
    }

    fn answer(&self, listener: io::Result<UnixListener>, name: &dyn Display) -> Result<()> {
        let cannot = |err| Error::caused(format!("cannot answer ACME challenges at {name}"), err);
        let listener = listener.map_err(cannot)?;
        let webroot = self.webroot.clone();
        let body = move || answer_all(&listener, &webroot);
        let thread = thread::Builder::new().name("acme".to_owned()).stack_size(256 << 10);
        thread.spawn(body).map(drop).map_err(cannot)
    }
}

/// One after the other: each is bounded in time, and there are a handful in 60 days.
fn answer_all(listener: &UnixListener, webroot: &Mutex<Option<PathBuf>>) {
    loop {
        let Ok((stream, _)) = listener.accept() else {
            thread::park_timeout(ACCEPT_RETRY);
            continue;
        };
        let webroot = webroot.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // A client that hung up needs no answer.
        drop(answer(stream, webroot.as_deref()));
    }
}

fn answer(mut stream: UnixStream, webroot: Option<&Path>) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let head = head(&mut stream)?;
    let content = token(&head).zip(webroot).and_then(|(token, webroot)| file(webroot, token));
    let (status, body) = match content {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", b"no such challenge\n".to_vec()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)
}

/// Up to the empty line.
fn head(stream: &mut UnixStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut part = [0; 2048];
    // So many reads, each bounded in time.
    for _ in 0..HEAD_BYTES_MAX / part.len() {
        let count = stream.read(&mut part)?;
        head.extend_from_slice(&part[..count]);
        if count == 0 || head.windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The token of a GET: letters of base64url, so no path leads out of the folder.
fn token(head: &str) -> Option<&str> {
    let (target, _) = head.strip_prefix("GET ")?.split_once(' ')?;
    let token = target.strip_prefix(ACME_PATH)?;
    let is_good = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    let length = 1..=TOKEN_BYTES_MAX;
    (length.contains(&token.len()) && token.bytes().all(is_good)).then_some(token)
}

/// A plain file of the folder itself: neither the file nor the folders above it lead out.
fn file(webroot: &Path, token: &str) -> Option<Vec<u8>> {
    let root = webroot.canonicalize().ok()?;
    let folder = webroot.join(ACME_PATH.trim_matches('/'));
    if !folder.canonicalize().ok()?.starts_with(&root) {
        return None;
    }
    regular_file::own_bytes(&folder.join(token), FILE_BYTES_MAX).ok()?
}

#[cfg(test)]
mod tests {
    use crate::serve::acme::token;

    #[test]
    fn a_token_is_the_last_part_of_a_get() {
        let long = "a".repeat(257);
        for (head, want) in [
            ("GET /.well-known/acme-challenge/aB-_9 HTTP/1.1\r\n", Some("aB-_9")),
            ("HEAD /.well-known/acme-challenge/a HTTP/1.1\r\n", None),
            ("GET /.well-known/acme-challenge/ HTTP/1.1\r\n", None),
            ("GET /.well-known/acme-challenge/../a HTTP/1.1\r\n", None),
            ("GET /.well-known/acme-challenge/a/b HTTP/1.1\r\n", None),
            ("GET /.well-known/acme-challenge/a?b HTTP/1.1\r\n", None),
            ("GET /.well-known/acme-challenge/%2e HTTP/1.1\r\n", None),
            ("GET /a HTTP/1.1\r\n", None),
            ("GET ", None),
            ("", None),
            (&format!("GET /.well-known/acme-challenge/{long} HTTP/1.1"), None),
        ] {
            assert_eq!(token(head), want, "{head}");
        }
    }
}
