//! One exchange of the load client: a connection, a request, and the whole of its answer.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::load::Failure;

const HEAD_BYTES_MAX: u64 = 16 * 1024;
/// What is checked of a body.
const KEPT_BYTES_MAX: usize = 1024 * 1024;
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long a whole answer may take, however steadily it trickles.
const ANSWER_MAX: Duration = Duration::from_secs(300);

pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
    reused: bool,
    asked: Instant,
    /// Of the last answer, as far as [`KEPT_BYTES_MAX`].
    body: Vec<u8>,
}

/// What the head of an answer says about the rest.
struct Head {
    status: u16,
    reusable: bool,
    body: Body,
}

enum Body {
    Bytes(u64),
    Chunked,
    UntilClose,
}

impl Connection {
    pub(crate) fn open(target: SocketAddr, silence_max: Duration) -> Result<Connection, Failure> {
        let stream = TcpStream::connect_timeout(&target, silence_max).map_err(|error| {
            if error.kind() == ErrorKind::TimedOut { Failure::Timeout } else { Failure::Refused }
        })?;
        let timed = stream
            .set_read_timeout(Some(silence_max))
            .and_then(|()| stream.set_write_timeout(Some(silence_max)));
        assert!(timed.is_ok(), "a silence of {silence_max:?} is no timeout: {timed:?}");
        let reader = BufReader::new(stream);
        Ok(Connection { reader, reused: false, asked: Instant::now(), body: Vec::new() })
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn send(&mut self, request: &[u8]) -> Result<(), Failure> {
        if !self.reader.buffer().is_empty() {
            return Err(Failure::Garbage); // an answer before the question
        }
        self.asked = Instant::now();
        self.send_more(request)
    }

    pub(crate) fn send_more(&mut self, part: &[u8]) -> Result<(), Failure> {
        let sent = self.reader.get_mut().write_all(part);
        sent.map_err(|error| if is_timeout(&error) { Failure::Timeout } else { self.no_answer() })
    }

    /// Reads one whole answer. Returns whether another request may follow on this connection.
    pub(crate) fn read_answer(&mut self) -> Result<bool, Failure> {
        match self.arrived() {
            Ok([]) | Err(Failure::Truncated) => return Err(self.no_answer()),
            Ok(_) => {}
            Err(failure) => return Err(failure),
        }
        let head = self.read_head()?;
        self.body.clear();
        let body = match head.body {
            Body::Bytes(count) if count > BODY_BYTES_MAX => Err(Failure::Garbage),
            Body::Bytes(count) => self.skip(count),
            Body::Chunked => self.skip_chunks(),
            Body::UntilClose => self.skip_until_close(),
        };
        if head.status >= 400 {
            return Err(Failure::Status(head.status)); // this says more than a bad body
        }
        body?;
        self.reused = true;
        Ok(head.reusable)
    }

    fn no_answer(&self) -> Failure {
        if self.reused { Failure::StaleClose } else { Failure::Reset }
    }

    /// The bytes that are there, after waiting for the first. None when the target has closed.
    fn arrived(&mut self) -> Result<&[u8], Failure> {
        if self.asked.elapsed() > ANSWER_MAX {
            return Err(Failure::Timeout);
        }
        loop {
            match self.reader.fill_buf() {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => return Err(Failure::Timeout),
                Err(_) => return Err(Failure::Truncated),
            }
        }
        Ok(self.reader.buffer())
    }

    /// Reads up to a line feed, which it leaves out, and takes the bytes from what is left.
    fn read_line(&mut self, bytes_left: &mut u64) -> Result<String, Failure> {
        let mut line = Vec::new();
        loop {
            let arrived = self.arrived()?;
            if arrived.is_empty() {
                return Err(Failure::Truncated);
            }
            let end = arrived.iter().position(|byte| *byte == b'\n');
            let part = end.unwrap_or(arrived.len());
            line.extend_from_slice(&arrived[..part]);
            let taken = part + usize::from(end.is_some());
            self.reader.consume(taken);
            *bytes_left = bytes_left.checked_sub(taken as u64).ok_or(Failure::Garbage)?;
            if end.is_some() {
                let line = String::from_utf8(line).map_err(|_| Failure::Garbage)?;
                return Ok(line.trim_end_matches('\r').to_owned());
            }
        }
    }

    fn read_head(&mut self) -> Result<Head, Failure> {
        let mut bytes_left = HEAD_BYTES_MAX;
        // Interim answers come before the real one and share its bound.
        loop {
            let first = self.read_line(&mut bytes_left)?;
            let (version, status) = status_of(&first)?;
            let mut reusable = version == "HTTP/1.1";
            let mut body = Body::UntilClose;
            loop {
                let line = self.read_line(&mut bytes_left)?;
                if line.is_empty() {
                    break;
                }
                let (name, value) = line.split_once(':').ok_or(Failure::Garbage)?;
                let value = value.trim();
                match name.to_ascii_lowercase().as_str() {
                    "content-length" if !matches!(body, Body::Chunked) => {
                        body = Body::Bytes(value.parse().map_err(|_| Failure::Garbage)?);
                    }
                    "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => {
                        body = Body::Chunked;
                    }
                    "connection" if value.eq_ignore_ascii_case("close") => reusable = false,
                    "connection" if value.eq_ignore_ascii_case("keep-alive") => reusable = true,
                    _ => {}
                }
            }
            match status {
                // Nobody asked for an upgrade.
                101 => return Err(Failure::Garbage),
                100..=199 => continue,
                204 | 304 => body = Body::Bytes(0),
                _ => {}
            }
            reusable &= !matches!(body, Body::UntilClose);
            return Ok(Head { status, reusable, body });
        }
    }

    fn skip(&mut self, count: u64) -> Result<(), Failure> {
        let mut left = count;
        while left > 0 {
            let arrived = self.arrived()?.len();
            if arrived == 0 {
                return Err(Failure::Truncated);
            }
            let taken = left.min(arrived as u64);
            self.take(taken as usize);
            left -= taken;
        }
        Ok(())
    }

    fn take(&mut self, count: usize) {
        let kept = count.min(KEPT_BYTES_MAX - self.body.len());
        self.body.extend_from_slice(&self.reader.buffer()[..kept]);
        self.reader.consume(count);
    }

    /// Sizes and trailers count as part of the body here.
    fn skip_chunks(&mut self) -> Result<(), Failure> {
        let mut body_left = BODY_BYTES_MAX;
        loop {
            let line = self.read_line(&mut body_left)?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let count = u64::from_str_radix(digits, 16).map_err(|_| Failure::Garbage)?;
            if count == 0 {
                break;
            }
            body_left = body_left.checked_sub(count).ok_or(Failure::Garbage)?;
            self.skip(count)?;
            if !self.read_line(&mut body_left)?.is_empty() {
                return Err(Failure::Garbage);
            }
        }
        while !self.read_line(&mut body_left)?.is_empty() {}
        Ok(())
    }

    fn skip_until_close(&mut self) -> Result<(), Failure> {
        let mut body_left = BODY_BYTES_MAX;
        loop {
            let arrived = self.arrived()?.len();
            if arrived == 0 {
                return Ok(());
            }
            self.take(arrived);
            body_left = body_left.checked_sub(arrived as u64).ok_or(Failure::Garbage)?;
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// The version and the status in a line such as "HTTP/1.1 200 OK".
fn status_of(line: &str) -> Result<(&str, u16), Failure> {
    let mut words = line.split(' ');
    let version =
        words.next().filter(|word| word.starts_with("HTTP/1.")).ok_or(Failure::Garbage)?;
    let status = words.next().and_then(|word| word.parse().ok()).ok_or(Failure::Garbage)?;
    if (100..600).contains(&status) { Ok((version, status)) } else { Err(Failure::Garbage) }
}
