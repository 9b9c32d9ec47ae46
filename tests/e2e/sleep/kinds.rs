//! Clients of every kind, each of which asks once and checks the whole answer.

#![allow(clippy::disallowed_methods, reason = "how long a client waited is what is tested")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::daemon::{delay, secs};
use crate::load::http2::{self, Http2};

/// Longer than any test waits for a replica.
const SILENCE_MAX: u64 = 60;
/// The example of RFC 6455.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Get,
    /// With so many bytes, which come back.
    Post(usize),
    Chunked(usize),
    /// The body is sent once the target said that it wants it.
    Continue(usize),
    /// Sends nothing for a second.
    Late,
    WebSocket,
    /// Three requests at once over one connection.
    Http2,
}

pub(crate) const EVERY_KIND: [Ask; 11] = [
    Ask::Get,
    Ask::Post(0),
    Ask::Post(10_000),
    Ask::Post(200_000),
    Ask::Post(5_000_000),
    Ask::Chunked(10_000),
    Ask::Chunked(200_000),
    Ask::Continue(200_000),
    Ask::Late,
    Ask::WebSocket,
    Ask::Http2,
];

/// Of each protocol one, to see it quickly.
pub(crate) const MIXED: [Ask; 5] =
    [Ask::Get, Ask::Post(10_000), Ask::Chunked(10_000), Ask::WebSocket, Ask::Http2];

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

type Ended = Result<(), String>;

/// Clients that have asked and wait.
pub(crate) struct Waiting {
    threads: Vec<(Ask, SocketAddr, JoinHandle<Ended>)>,
}

impl Waiting {
    pub(crate) fn start(all: impl IntoIterator<Item = (Ask, SocketAddr)>) -> Waiting {
        let start = |(ask, to): (Ask, SocketAddr)| (ask, to, thread::spawn(move || ask.run(to)));
        Waiting { threads: all.into_iter().map(start).collect() }
    }

    /// What failed, when all have ended.
    pub(crate) fn failures(self) -> Vec<String> {
        let ended = self.threads.into_iter().filter_map(|(ask, to, thread)| {
            let failure = thread.join().expect("no client panics").err()?;
            Some(format!("{ask:?} at {to}: {failure}"))
        });
        ended.collect()
    }
}

impl Ask {
    pub(crate) fn run(self, to: SocketAddr) -> Result<(), String> {
        match self {
            Ask::Get | Ask::Late => {
                let mut client = open(to)?;
                if self == Ask::Late {
                    delay(secs(1));
                }
                send(&mut client, head("GET /", "").as_bytes())?;
                is_hello(&read_answer(&mut client)?)
            }
            Ask::Post(length) => {
                let body = body(length);
                let headers = format!("Content-Length: {length}\r\n");
                let mut client = open(to)?;
                send(&mut client, &[head("POST /echo", &headers).as_bytes(), &body].concat())?;
                is_echo(&body, &read_answer(&mut client)?)
            }
            Ask::Chunked(length) => {
                let body = body(length);
                let mut client = open(to)?;
                let headers = "Transfer-Encoding: chunked\r\n";
                send(&mut client, head("POST /echo", headers).as_bytes())?;
                for part in body.chunks(7_000) {
                    let size = format!("{:x}\r\n", part.len());
                    send(&mut client, &[size.as_bytes(), part, b"\r\n"].concat())?;
                }
                send(&mut client, b"0\r\n\r\n")?;
                is_echo(&body, &read_answer(&mut client)?)
            }
            Ask::Continue(length) => {
                let body = body(length);
                let headers = format!("Content-Length: {length}\r\nExpect: 100-continue\r\n");
                let mut client = open(to)?;
                send(&mut client, head("POST /echo", &headers).as_bytes())?;
                let interim = read_head(&mut client)?;
                if !interim.starts_with("http/1.1 100") {
                    return Err(format!("no 100: {interim}"));
                }
                send(&mut client, &body)?;
                is_echo(&body, &read_answer(&mut client)?)
            }
            Ask::WebSocket => {
                let mut socket = WebSocket::open(to)?;
                [0, 5, 200, 40_000].into_iter().try_for_each(|length| socket.echo(length))?;
                socket.close()
            }
            Ask::Http2 => ask_over_http2(to),
        }
    }
}

/// One GET with more headers, which end in CR and LF each.
pub(crate) fn get(to: SocketAddr, path: &str, headers: &str) -> Result<Answer, String> {
    let mut client = open(to)?;
    send(&mut client, head(&format!("GET {path}"), headers).as_bytes())?;
    read_answer(&mut client)
}

/// The same, with how long it took.
pub(crate) fn timed_get(
    to: SocketAddr,
    path: &str,
    headers: &str,
) -> (Result<Answer, String>, Duration) {
    let asked = Instant::now();
    (get(to, path, headers), asked.elapsed())
}

fn ask_over_http2(to: SocketAddr) -> Result<(), String> {
    let mut client = Http2::open(to, secs(SILENCE_MAX)).map_err(|f| f.to_string())?;
    client.send("GET", "/", Vec::new());
    client.send("POST", "/echo", body(10_000));
    client.send("POST", "/echo", body(1));
    while 0 < client.under_way() {
        for ended in client.read().map_err(|f| f.to_string())? {
            match ended {
                http2::Ended::Unprocessed => return Err("it is not processed".to_owned()),
                http2::Ended::Answered(_, Err(failure)) => return Err(failure.to_string()),
                http2::Ended::Answered(stream, Ok(())) if stream.sent.is_empty() => {
                    is_hello(&Answer { status: 200, head: String::new(), body: stream.body })?;
                }
                http2::Ended::Answered(stream, Ok(())) => {
                    let answer = Answer { status: 200, head: String::new(), body: stream.body };
                    is_echo(&stream.sent, &answer)?;
                }
            }
        }
    }
    Ok(())
}

/// Bytes in an order of their own, so that a lost or doubled part shows.
fn body(length: usize) -> Vec<u8> {
    let mut state = length as u32 | 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn head(line: &str, headers: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: sleepy.example\r\nConnection: close\r\n{headers}\r\n")
}

pub(crate) fn open(to: SocketAddr) -> Result<TcpStream, String> {
    let client = TcpStream::connect(to).map_err(|err| format!("connect: {err}"))?;
    client.set_read_timeout(Some(secs(SILENCE_MAX))).unwrap();
    client.set_write_timeout(Some(secs(SILENCE_MAX))).unwrap();
    Ok(client)
}

pub(crate) fn send(client: &mut TcpStream, bytes: &[u8]) -> Result<(), String> {
    client.write_all(bytes).map_err(|err| {
        // What was said before tells more.
        let said = read_answer(client).map(|answer| answer.head);
        format!("write: {err}, after {said:?}")
    })
}

/// In lower case, with the empty line.
fn read_head(client: &mut TcpStream) -> Result<String, String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        let read = client.read(&mut byte).map_err(|err| format!("read: {err}"))?;
        if read == 0 {
            return Err(format!("it ended after {:?}", String::from_utf8_lossy(&head)));
        }
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).to_ascii_lowercase())
}

pub(crate) fn read_answer(client: &mut TcpStream) -> Result<Answer, String> {
    let head = read_head(client)?;
    let mut body = Vec::new();
    client.read_to_end(&mut body).map_err(|err| format!("read after {head:?}: {err}"))?;
    if head.contains("\r\ntransfer-encoding: chunked\r\n") {
        body = dechunked(&body).ok_or_else(|| format!("bad chunks of {} bytes", body.len()))?;
    }
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Answer { status: status.ok_or_else(|| format!("no status: {head}"))?, head, body })
}

fn dechunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?, 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return (rest == b"\r\n").then_some(out);
        }
        out.extend_from_slice(rest.get(..size)?);
        rest = rest[size..].strip_prefix(b"\r\n")?;
    }
}

pub(crate) fn is_hello(answer: &Answer) -> Result<(), String> {
    let is_right = answer.status == 200 && answer.body.starts_with(b"hello from ");
    if is_right { Ok(()) } else { Err(format!("{} {}", answer.head, answer.text())) }
}

fn is_echo(sent: &[u8], answer: &Answer) -> Result<(), String> {
    match answer.status {
        200 if answer.body == sent => Ok(()),
        200 => Err(format!("{} bytes came back of {}", answer.body.len(), sent.len())),
        _ => Err(answer.head.clone()),
    }
}

/// The client's side of a WebSocket (RFC 6455).
pub(crate) struct WebSocket {
    stream: TcpStream,
}

impl WebSocket {
    pub(crate) fn open(to: SocketAddr) -> Result<WebSocket, String> {
        let mut stream = open(to)?;
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: sleepy.example\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        send(&mut stream, request.as_bytes())?;
        let head = read_head(&mut stream)?;
        let accept = format!("\r\nsec-websocket-accept: {}\r\n", ACCEPT.to_ascii_lowercase());
        if !head.starts_with("http/1.1 101") || !head.contains(&accept) {
            return Err(format!("no upgrade: {head}"));
        }
        Ok(WebSocket { stream })
    }

    /// One message there and back, and a ping.
    pub(crate) fn echo(&mut self, length: usize) -> Result<(), String> {
        let text = "w".repeat(length).into_bytes();
        self.send(TEXT, &text)?;
        self.receive(TEXT, &text)?;
        self.send(PING, b"still there?")?;
        self.receive(PONG, b"still there?")
    }

    pub(crate) fn close(mut self) -> Result<(), String> {
        self.send(CLOSE, &1000_u16.to_be_bytes())?;
        self.receive(CLOSE, &1000_u16.to_be_bytes())
    }

    fn send(&mut self, opcode: u8, payload: &[u8]) -> Result<(), String> {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            short @ 0..=125 => frame.push(0x80 | short as u8),
            long => {
                frame.push(0x80 | 126);
                let long = u16::try_from(long).expect("no test sends more");
                frame.extend_from_slice(&long.to_be_bytes());
            }
        }
        frame.extend_from_slice(&MASK);
        let masked = payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        frame.extend(masked);
        self.stream.write_all(&frame).map_err(|err| format!("write of a frame: {err}"))
    }

    fn receive(&mut self, opcode: u8, payload: &[u8]) -> Result<(), String> {
        let mut want = vec![0x80 | opcode];
        match payload.len() {
            short @ 0..=125 => want.push(short as u8),
            long => {
                want.push(126);
                want.extend_from_slice(&(long as u16).to_be_bytes());
            }
        }
        want.extend_from_slice(payload);
        let mut got = vec![0; want.len()];
        let read = self.stream.read_exact(&mut got);
        read.map_err(|err| format!("frame {opcode} of {}: {err}", payload.len()))?;
        if got == want { Ok(()) } else { Err(format!("frame {opcode}: {:x?}", &got[..2])) }
    }
}
