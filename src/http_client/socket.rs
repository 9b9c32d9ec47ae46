//! The transport over one socket: one deadline for all writes of a request and one for all reads of
//! an answer, however little each of them moves.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use socket2::Socket;
use ureq::Error;
use ureq::unversioned::transport::time::Instant;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, LazyBuffers, NextTimeout, Transport,
};

/// The shortest deadline that a socket takes.
pub(super) const WAIT_MIN: Duration = Duration::from_millis(1);

pub(super) struct SocketTransport {
    socket: Socket,
    buffers: LazyBuffers,
    now: Arc<dyn Fn() -> Instant + Send + Sync>,
}

impl fmt::Debug for SocketTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketTransport").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl SocketTransport {
    pub(super) fn new(socket: Socket, details: &ConnectionDetails) -> SocketTransport {
        let input_bytes = details.config.input_buffer_size();
        let output_bytes = details.config.output_buffer_size();
        SocketTransport {
            socket,
            buffers: LazyBuffers::new(input_bytes, output_bytes),
            now: details.current_time.clone(),
        }
    }
}

/// One deadline for any number of socket calls.
pub(super) struct Deadline<'a> {
    now: &'a (dyn Fn() -> Instant + Send + Sync),
    begun: Instant,
    timeout: NextTimeout,
}

impl Deadline<'_> {
    pub(super) fn new(
        now: &(dyn Fn() -> Instant + Send + Sync),
        timeout: NextTimeout,
    ) -> Deadline<'_> {
        Deadline { now, begun: now(), timeout }
    }

    /// `None` is no deadline, which only a stream has.
    pub(super) fn left(&self) -> Result<Option<Duration>, Error> {
        if self.timeout.after.is_not_happening() {
            return Ok(None);
        }
        let past = match ((self.now)(), self.begun) {
            (Instant::Exact(now), Instant::Exact(begun)) => now.saturating_duration_since(begun),
            _ => Duration::ZERO,
        };
        match self.timeout.after.checked_sub(past).filter(|left| !left.is_zero()) {
            Some(left) => Ok(Some(left.max(WAIT_MIN))),
            None => Err(Error::Timeout(self.timeout.reason)),
        }
    }
}

/// A signal, or the deadline of the socket: the caller asks the clock which.
pub(super) fn is_pause(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

impl Transport for SocketTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let deadline = Deadline::new(&*self.now, timeout.for_write());
        let mut output = &self.buffers.output()[..amount];
        while !output.is_empty() {
            self.socket.set_write_timeout(deadline.left()?)?;
            match self.socket.write(output) {
                Ok(0) => return Err(Error::Io(ErrorKind::WriteZero.into())),
                Ok(written) => output = &output[written..],
                Err(err) if is_pause(&err) => (),
                // A server that rejects a connection may have answered before it closed it. If
                // not, the next read fails.
                Err(err) if err.kind() == ErrorKind::BrokenPipe => return Ok(()),
                Err(err) => return Err(Error::Io(err)),
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let deadline = Deadline::new(&*self.now, timeout.for_read());
        let input = self.buffers.input_append_buf();
        let amount = loop {
            self.socket.set_read_timeout(deadline.left()?)?;
            match self.socket.read(input) {
                Err(err) if is_pause(&err) => (),
                read => break read?,
            }
        };
        self.buffers.input_appended(amount);
        Ok(0 < amount)
    }

    /// The pool trusts this: an idle connection is open when there is nothing to read yet.
    fn is_open(&mut self) -> bool {
        if self.socket.set_nonblocking(true).is_err() {
            return false;
        }
        let idle = matches!(
            self.socket.read(&mut [0]),
            Err(err) if err.kind() == ErrorKind::WouldBlock
        );
        self.socket.set_nonblocking(false).is_ok() && idle
    }
}
