//! As much of HTTP as the scripted servers need.

use std::collections::BTreeSet;
use std::io::{BufRead, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::thread;

pub(crate) struct Request {
    pub(crate) method: String,
    /// Without the query.
    pub(crate) path: String,
    query: String,
    pub(crate) body: Vec<u8>,
    /// The header `X-Registry-Auth`; empty: there is none.
    pub(crate) registry_auth: String,
}

impl Request {
    pub(crate) fn query(&self, key: &str) -> &str {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(k, _)| *k == key).map(|(_, value)| value).next().unwrap_or_default()
    }
}

/// `None` when the client has left.
pub(crate) fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut words = line.split_whitespace();
    let method = words.next()?.to_owned();
    let target = words.next()?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.to_owned();
    let query = query.to_owned();
    let mut length = 0;
    let mut registry_auth = String::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let whole = header.trim();
        let header = whole.to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("x-registry-auth:") {
            registry_auth = whole[whole.len() - value.trim().len()..].to_owned();
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, query, body, registry_auth })
}

/// What runs in the "containers": it answers every request on every local address with status 200
/// and what it got: its own address, the request's first line and its headers in lower case. It
/// never answers `/silent`, and `/drop-once/KEY` not the first time. It ends with the test program.
pub(crate) fn start_app() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve_app(stream));
        }
    });
    port
}

fn serve_app(mut stream: TcpStream) {
    let reader = std::io::BufReader::new(stream.try_clone().unwrap());
    let lines = reader.lines().map_while(Result::ok);
    let mut lines = lines.take_while(|line| !line.is_empty());
    // A client that hung up meanwhile is its own affair.
    let (Some(line), Ok(own)) = (lines.next(), stream.local_addr()) else { return };
    if line.contains(" /silent") {
        // Until the client has hung up.
        drop(stream.read_to_end(&mut Vec::new()));
        return;
    }
    if let Some((_, key)) = line.split_once(" /drop-once/") {
        static DROPPED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
        if DROPPED.lock().unwrap().insert(key.to_owned()) {
            return;
        }
    }
    let headers: String = lines.map(|line| line.to_ascii_lowercase() + "\n").collect();
    let body = format!("{own}\n{line}\n{headers}");
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    drop(stream.write_all((head + &body).as_bytes()));
}

/// The status of `GET /`; `None` when there is no whole answer.
pub(crate) fn get(address: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()
}
