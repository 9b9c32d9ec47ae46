//! Reads one whole request and writes one answer, within limits of bytes and time. A client that is
//! slow or wrong costs its own connection and nothing else.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use socket2::Socket;

use crate::model::time::Moment;
use crate::outside::Clock;
use crate::serve::request_parser::{self, HEAD_BYTES_MAX, Rejection, RequestHead};

const HEAD_TIME: Duration = Duration::from_secs(5);
/// For head and body.
const REQUEST_TIME: Duration = Duration::from_secs(15);
/// For the client to read the answer.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// After the answer, until the client closes; and how much it may send meanwhile.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;
const CHUNK_BYTES: usize = 4 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawRequest {
    pub(crate) head: RequestHead,
    pub(crate) body: Vec<u8>,
}

/// One connection, with a deadline for everything.
pub(crate) struct Connection<'a> {
    socket: &'a Socket,
    clock: &'a dyn Clock,
}

impl Connection<'_> {
    pub(crate) fn new<'a>(socket: &'a Socket, clock: &'a dyn Clock) -> Connection<'a> {
        Connection { socket, clock }
    }

    /// `Ok(None)`: the client has closed the connection.
    pub(crate) fn request(&self) -> Result<Option<RawRequest>, Rejection> {
        let begun = self.clock.now();
        let mut bytes = Vec::new();
        let mut checked_bytes = 0;
        let end = loop {
            let end = request_parser::end(&bytes, checked_bytes);
            request_parser::check_prefix(&bytes[..end.unwrap_or(bytes.len())], checked_bytes)?;
            if let Some(end) = end {
                break end;
            }
            checked_bytes = bytes.len();
            let room = (HEAD_BYTES_MAX + 1 - bytes.len()).min(CHUNK_BYTES);
            match self.read(&mut bytes, room, begun.plus(HEAD_TIME)) {
                Ok(0) => return Ok(None),
                Ok(_) => (),
                Err(err) if is_late(&err) => {
                    return Err(Rejection(408, "the request head did not arrive within 5 s"));
                }
                Err(_) => return Ok(None),
            }
        };
        let head = request_parser::parse(&bytes[..end])?;
        let mut body = bytes.split_off(end);
        if head.expects_continue && body.len() < head.body_bytes {
            // If the client has left, the next read notices it.
            drop(self.write(b"HTTP/1.1 100 Continue\r\n\r\n", begun.plus(REQUEST_TIME)));
        }
        while body.len() < head.body_bytes {
            let room = (head.body_bytes - body.len()).min(CHUNK_BYTES);
            match self.read(&mut body, room, begun.plus(REQUEST_TIME)) {
                Ok(0) => return Ok(None),
                Ok(_) => (),
                Err(err) if is_late(&err) => {
                    return Err(Rejection(408, "the request did not arrive within 15 s"));
                }
                Err(_) => return Ok(None),
            }
        }
        // A second request on the same connection is not answered.
        body.truncate(head.body_bytes);
        Ok(Some(RawRequest { head, body }))
    }

    /// Waits for data and appends up to `room` bytes of it.
    pub(crate) fn read(&self, into: &mut Vec<u8>, room: usize, until: Moment) -> io::Result<usize> {
        let have = into.len();
        into.resize(have + room, 0);
        let read = loop {
            let left = until.since(self.clock.now());
            if left.is_zero() {
                break Err(io::Error::from(ErrorKind::TimedOut));
            }
            let read = self.socket.set_read_timeout(Some(left));
            match read.and_then(|()| (&*self.socket).read(&mut into[have..])) {
                // A signal, or the deadline: the clock decides which.
                Err(err) if err.kind() == ErrorKind::Interrupted || is_late(&err) => (),
                done => break done,
            }
        };
        into.truncate(have + read.as_ref().copied().unwrap_or(0));
        read
    }

    pub(crate) fn write(&self, mut bytes: &[u8], until: Moment) -> io::Result<()> {
        while !bytes.is_empty() {
            let left = until.since(self.clock.now());
            if left.is_zero() {
                return Err(io::Error::from(ErrorKind::TimedOut));
            }
            self.socket.set_write_timeout(Some(left))?;
            match (&*self.socket).write(bytes) {
                Ok(0) => return Err(io::Error::from(ErrorKind::WriteZero)),
                Ok(written) => bytes = &bytes[written..],
                Err(err) if err.kind() == ErrorKind::Interrupted || is_late(&err) => (),
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    /// Reads on for a moment: if it closed with bytes unread, the kernel would drop the answer.
    pub(crate) fn answer(&self, bytes: &[u8]) {
        let written = self.write(bytes, self.clock.now().plus(ANSWER_TIME));
        if written.and_then(|()| self.socket.shutdown(Shutdown::Write)).is_err() {
            return;
        }
        let until = self.clock.now().plus(LINGER_TIME);
        let mut scrap = Vec::new();
        let mut discarded_bytes = 0;
        while discarded_bytes < LINGER_BYTES {
            match self.read(&mut scrap, CHUNK_BYTES, until) {
                Ok(0) | Err(_) => return,
                Ok(bytes) => discarded_bytes += bytes,
            }
            scrap.clear();
        }
    }

    /// Everything until the peer closes. More than `bytes_max` bytes are an error.
    pub(crate) fn read_all(&self, bytes_max: usize, until: Moment) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while 0 < self.read(&mut bytes, CHUNK_BYTES, until)? {
            if bytes_max < bytes.len() {
                return Err(io::Error::other(format!("the answer is over {bytes_max} bytes")));
            }
        }
        Ok(bytes)
    }

    /// Answers without blocking the thread that accepts.
    pub(crate) fn reject(&self, bytes: &[u8]) {
        if self.socket.set_nonblocking(true).is_err() {
            return;
        }
        let mut scrap = [0; CHUNK_BYTES];
        // The connection ends whether or not this succeeds.
        drop((&*self.socket).write(bytes));
        drop(self.socket.shutdown(Shutdown::Write));
        drop((&*self.socket).read(&mut scrap));
    }
}

fn is_late(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
