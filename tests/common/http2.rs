//! HTTP/2 over one connection without TLS (the client knows beforehand that the target speaks it),
//! with several requests under way at once. It understands what HAProxy sends, and takes anything
//! else for garbage. Headers are sent as plain literals, and the target may keep no table.

use std::collections::BTreeMap;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::load::Failure;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// HEADER_TABLE_SIZE and ENABLE_PUSH: 0.
const SETTINGS: &[u8] = &[0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0];
const FRAME_BYTES_MAX: usize = 16 * 1024;
const WINDOW: i64 = 65_535;
/// What was read is given back to the target in portions of so many bytes.
const WINDOW_UPDATE: u32 = 16 * 1024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS_FRAME: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_FRAME: u8 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED_OR_PRIORITY: u8 = 0x28;

const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;

pub(crate) struct Http2 {
    reader: BufReader<TcpStream>,
    host: String,
    next: u32,
    streams: BTreeMap<u32, Stream>,
    /// The target said GOAWAY or does not read any more: no request may follow here.
    pub(crate) is_leaving: bool,
    has_served: bool,
    send_window: i64,
    read: u32,
}

pub(crate) struct Stream {
    pub(crate) asked: Instant,
    pub(crate) sent: Vec<u8>,
    status: u16,
    pub(crate) body: Vec<u8>,
}

/// What became of a request.
pub(crate) enum Ended {
    Answered(Stream, Result<(), Failure>),
    /// The target declares that it has not begun with it: to ask again is no retry.
    Unprocessed,
}

impl Http2 {
    pub(crate) fn open(target: SocketAddr, silence_max: Duration) -> Result<Http2, Failure> {
        let stream =
            TcpStream::connect_timeout(&target, silence_max).map_err(|_| Failure::Refused)?;
        let set = stream
            .set_read_timeout(Some(silence_max))
            .and_then(|()| stream.set_write_timeout(Some(silence_max)))
            .and_then(|()| stream.set_nodelay(true));
        assert!(set.is_ok(), "{set:?}");
        let mut connection = Http2 {
            reader: BufReader::new(stream),
            host: target.to_string(),
            next: 1,
            streams: BTreeMap::new(),
            is_leaving: false,
            has_served: false,
            send_window: WINDOW,
            read: 0,
        };
        let mut hello = PREFACE.to_vec();
        append_frame(&mut hello, SETTINGS_FRAME, 0, 0, SETTINGS);
        connection.write(&hello);
        Ok(connection)
    }

    pub(crate) fn under_way(&self) -> usize {
        self.streams.len()
    }

    pub(crate) fn send(&mut self, method: &str, path: &str, body: Vec<u8>) {
        let id = self.next;
        self.next += 2;
        let mut head = Vec::new();
        let length = body.len().to_string();
        let fields = [(":method", method), (":scheme", "http"), (":path", path)];
        let more = [(":authority", self.host.as_str()), ("content-length", &length)];
        for (name, value) in fields.into_iter().chain(more) {
            append_field(&mut head, name, value);
        }
        let mut frames = Vec::new();
        let last = if body.is_empty() { END_STREAM } else { 0 };
        append_frame(&mut frames, HEADERS, END_HEADERS | last, id, &head);
        if !body.is_empty() {
            append_frame(&mut frames, DATA, END_STREAM, id, &body);
            self.send_window -= body.len() as i64;
            assert!(0 <= self.send_window, "more is sent than the target gave room for");
        }
        let stream = Stream { asked: Instant::now(), sent: body, status: 0, body: Vec::new() };
        self.streams.insert(id, stream);
        self.write(&frames);
    }

    /// Reads one frame. An error ends every request that is under way.
    pub(crate) fn read(&mut self) -> Result<Vec<Ended>, Failure> {
        let mut head = [0; 9];
        self.fill(&mut head)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        if FRAME_BYTES_MAX < length {
            return Err(Failure::Garbage);
        }
        let (kind, flags) = (head[3], head[4]);
        let id = number(&head[5..])? & 0x7fff_ffff;
        let mut payload = vec![0; length];
        self.fill(&mut payload)?;
        match kind {
            DATA | HEADERS if flags & PADDED_OR_PRIORITY != 0 => return Err(Failure::Garbage),
            HEADERS if flags & END_HEADERS == 0 => return Err(Failure::Garbage),
            HEADERS => {
                let status = status_of(&payload)?;
                let stream = self.streams.get_mut(&id).ok_or(Failure::Garbage)?;
                // Trailers have no status, and an interim answer comes before the real one.
                stream.status = status.unwrap_or(stream.status);
            }
            DATA => {
                let stream = self.streams.get_mut(&id).ok_or(Failure::Garbage)?;
                stream.body.extend_from_slice(&payload);
                self.give_back(length as u32);
            }
            RST_STREAM => return self.reset(id, number(&payload)?),
            SETTINGS_FRAME if flags & ACK == 0 => self.write_frame(SETTINGS_FRAME, ACK, &[]),
            PING if flags & ACK == 0 => self.write_frame(PING, ACK, &payload),
            GOAWAY => return self.leave(&payload),
            WINDOW_FRAME if id == 0 => self.send_window += i64::from(number(&payload)?),
            // Of what is left nothing matters here.
            _ => return Ok(Vec::new()),
        }
        if [DATA, HEADERS].contains(&kind) && flags & END_STREAM != 0 {
            self.has_served = true;
            return Ok(self.streams.remove(&id).map(answered).into_iter().collect());
        }
        Ok(Vec::new())
    }

    /// What was under way when the connection failed, with what that was for each.
    pub(crate) fn unanswered(self, failure: Failure) -> impl Iterator<Item = (Stream, Failure)> {
        let begun = move |stream: &Stream| stream.status != 0 && failure != Failure::Timeout;
        let ended = move |stream: Stream| match begun(&stream) {
            true => (stream, Failure::Truncated),
            false => (stream, failure),
        };
        self.streams.into_values().map(ended)
    }

    fn reset(&mut self, id: u32, code: u32) -> Result<Vec<Ended>, Failure> {
        let Some(stream) = self.streams.remove(&id) else { return Ok(Vec::new()) };
        let ended = match code {
            REFUSED_STREAM => Ended::Unprocessed,
            // The whole answer came before: the target did not want the rest of the request.
            NO_ERROR => answered(stream),
            _ => Ended::Answered(stream, Err(Failure::Reset)),
        };
        Ok(vec![ended])
    }

    fn leave(&mut self, payload: &[u8]) -> Result<Vec<Ended>, Failure> {
        if payload.len() < 8 || number(&payload[4..])? != NO_ERROR {
            return Err(Failure::Garbage);
        }
        self.is_leaving = true;
        let last = number(payload)? & 0x7fff_ffff;
        let unprocessed = self.streams.split_off(&(last + 1));
        Ok(unprocessed.into_values().map(|_| Ended::Unprocessed).collect())
    }

    fn give_back(&mut self, count: u32) {
        self.read += count;
        if WINDOW_UPDATE <= self.read {
            let count = std::mem::take(&mut self.read);
            self.write_frame(WINDOW_FRAME, 0, &count.to_be_bytes());
        }
    }

    fn write_frame(&mut self, kind: u8, flags: u8, payload: &[u8]) {
        let mut frame = Vec::new();
        append_frame(&mut frame, kind, flags, 0, payload);
        self.write(&frame);
    }

    /// When that fails, what the target said before tells what became of the requests.
    fn write(&mut self, bytes: &[u8]) {
        self.is_leaving |= self.reader.get_mut().write_all(bytes).is_err();
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Failure> {
        self.reader.read_exact(bytes).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Failure::Timeout,
            _ if self.has_served => Failure::StaleClose,
            _ => Failure::Reset,
        })
    }
}

fn answered(stream: Stream) -> Ended {
    let result = match stream.status {
        200..=399 => Ok(()),
        400.. => Err(Failure::Status(stream.status)),
        _ => Err(Failure::Garbage),
    };
    Ended::Answered(stream, result)
}

fn append_frame(out: &mut Vec<u8>, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    assert!(payload.len() <= FRAME_BYTES_MAX, "a frame of {} bytes", payload.len());
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A literal that is not to be indexed, with a new name.
fn append_field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(0);
    for text in [name, value] {
        assert!(text.len() < 127, "{text:?} needs a longer length");
        out.push(text.len() as u8);
        out.extend_from_slice(text.as_bytes());
    }
}

/// `:status` is the first field of an answer: one of the static table, or its name there with a
/// literal of three digits. Before it may stand that the table has no room now. `None` in trailers.
fn status_of(block: &[u8]) -> Result<Option<u16>, Failure> {
    const STATIC: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    match block.strip_prefix(&[0x20]).unwrap_or(block) {
        [first @ 0x88..=0x8e, ..] => Ok(Some(STATIC[usize::from(first - 0x88)])),
        [0x08 | 0x18 | 0x48, 3, digits @ ..] if 3 <= digits.len() => {
            let digits = std::str::from_utf8(&digits[..3]).map_err(|_| Failure::Garbage)?;
            Ok(Some(digits.parse().map_err(|_| Failure::Garbage)?))
        }
        [] => Err(Failure::Garbage),
        _ => Ok(None),
    }
}

fn number(bytes: &[u8]) -> Result<u32, Failure> {
    let bytes = bytes.get(..4).and_then(|four| four.try_into().ok());
    bytes.map(u32::from_be_bytes).ok_or(Failure::Garbage)
}
