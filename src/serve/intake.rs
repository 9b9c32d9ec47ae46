//! Reads one whole request, or says why not, within limits of bytes and time. A client that is slow
//! or wrong costs its own connection and nothing else.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use socket2::Socket;

use crate::model::time::Moment;
use crate::outside::Clock;
use crate::serve::head::{self, Bad, HEAD_BYTES_MAX, Head};

const HEAD_TIME: Duration = Duration::from_secs(5);
/// For head and body.
const REQUEST_TIME: Duration = Duration::from_secs(15);
/// For the answer to be taken.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How long a client may take to hang up once it has the answer, and what it may send meanwhile.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;
const PIECE: usize = 4 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// One connection, with a deadline for everything.
pub(crate) struct Line<'a> {
    socket: &'a Socket,
    clock: &'a dyn Clock,
}

impl Line<'_> {
    pub(crate) fn new<'a>(socket: &'a Socket, clock: &'a dyn Clock) -> Line<'a> {
        Line { socket, clock }
    }

    /// `Ok(None)`: the client has left, and nobody waits for an answer.
    pub(crate) fn request(&self) -> Result<Option<Request>, Bad> {
        let begun = self.clock.now();
        let (mut bytes, mut looked) = (Vec::new(), 0);
        let end = loop {
            let end = head::end(&bytes, looked);
            head::begins_well(&bytes[..end.unwrap_or(bytes.len())], looked)?;
            if let Some(end) = end {
                break end;
            }
            looked = bytes.len();
            let room = (HEAD_BYTES_MAX + 1 - bytes.len()).min(PIECE);
            match self.read(&mut bytes, room, begun.plus(HEAD_TIME)) {
                Ok(0) => return Ok(None),
                Ok(_) => (),
                Err(err) if is_late(&err) => {
                    return Err(Bad(408, "the head did not come within 5 s"));
                }
                Err(_) => return Ok(None),
            }
        };
        let head = head::parse(&bytes[..end])?;
        let mut body = bytes.split_off(end);
        if head.expects && body.len() < head.body_bytes {
            // A client that has left is noticed by the next read.
            drop(self.write(b"HTTP/1.1 100 Continue\r\n\r\n", begun.plus(REQUEST_TIME)));
        }
        while body.len() < head.body_bytes {
            let room = (head.body_bytes - body.len()).min(PIECE);
            match self.read(&mut body, room, begun.plus(REQUEST_TIME)) {
                Ok(0) => return Ok(None),
                Ok(_) => (),
                Err(err) if is_late(&err) => {
                    return Err(Bad(408, "the request did not come within 15 s"));
                }
                Err(_) => return Ok(None),
            }
        }
        // A second request on the same connection is not answered.
        body.truncate(head.body_bytes);
        Ok(Some(Request { head, body }))
    }

    /// Appends what is there, `room` bytes at most; waits for the first of them.
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
                // A signal came, or the deadline: the clock tells which.
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

    /// Closed with bytes unread, the kernel would throw away the answer as well.
    pub(crate) fn answer(&self, bytes: &[u8]) {
        let written = self.write(bytes, self.clock.now().plus(ANSWER_TIME));
        if written.and_then(|()| self.socket.shutdown(Shutdown::Write)).is_err() {
            return;
        }
        let until = self.clock.now().plus(LINGER_TIME);
        let (mut scrap, mut swallowed) = (Vec::new(), 0);
        while swallowed < LINGER_BYTES {
            match self.read(&mut scrap, PIECE, until) {
                Ok(0) | Err(_) => return,
                Ok(bytes) => swallowed += bytes,
            }
            scrap.clear();
        }
    }

    /// All that comes until the other side has ended, `most` bytes at most.
    pub(crate) fn all(&self, most: usize, until: Moment) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while 0 < self.read(&mut bytes, PIECE, until)? {
            if most < bytes.len() {
                return Err(io::Error::other(format!("an answer of more than {most} bytes")));
            }
        }
        Ok(bytes)
    }

    /// As far as it goes at once: whoever accepts must not wait.
    pub(crate) fn turn_away(&self, bytes: &[u8]) {
        if self.socket.set_nonblocking(true).is_err() {
            return;
        }
        let mut scrap = [0; PIECE];
        // None of this has to succeed: the connection ends either way.
        drop((&*self.socket).write(bytes));
        drop(self.socket.shutdown(Shutdown::Write));
        drop((&*self.socket).read(&mut scrap));
    }
}

fn is_late(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
