//! A client that sends exactly the bytes of the test, over TCP or a Unix socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::Value;

use crate::daemon::secs;

#[derive(Clone)]
pub(crate) enum To {
    Tcp(String),
    Unix(PathBuf),
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|err| panic!("{err}: {self:?}"))
    }
}

impl To {
    /// What comes back until the end; `None`: nothing that is an answer.
    pub(crate) fn say(&self, bytes: &[u8]) -> Option<Answer> {
        let mut text = Vec::new();
        // A server that has heard enough closes; what it said before is what counts.
        match self {
            To::Tcp(address) => {
                let mut stream = TcpStream::connect(address).ok()?;
                stream.set_read_timeout(Some(secs(30))).ok()?;
                drop(stream.write_all(bytes));
                drop(stream.read_to_end(&mut text));
            }
            To::Unix(path) => {
                let mut stream = UnixStream::connect(path).ok()?;
                stream.set_read_timeout(Some(secs(30))).ok()?;
                drop(stream.write_all(bytes));
                drop(stream.read_to_end(&mut text));
            }
        }
        parse(&text)
    }

    /// `line` is a method and a path, `headers` end in CR and LF each.
    #[track_caller]
    pub(crate) fn ask(&self, line: &str, headers: &str, body: &str) -> Answer {
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        self.say(request.as_bytes()).unwrap_or_else(|| panic!("no answer to {line}"))
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), "", "")
    }
}

pub(crate) fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()?;
    Some(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}
