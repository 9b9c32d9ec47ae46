//! Copies a connection of HAProxy's to a replica and back, until one of them ends it. A thread
//! has one connection and waits for both of its sides at once, so that it notices when either peer
//! is gone, whatever the other one does.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{SockRef, TcpKeepalive};

use crate::activator::held::CountedCopy;

/// As HAProxy's own timeout for a replica.
const CONNECT: Duration = Duration::from_millis(500);
/// An idle replica is asked whether it is still there. One whose container is gone may never say.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Once HAProxy is gone, a replica has so long to accept some of what is left.
const STALL_GONE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// The same once both have sent their last byte. HAProxy may be there and wait, or may be gone.
const STALL_ENDED: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };
const BUFFER_BYTES: usize = 16 << 10;
/// One direction does not keep the other one waiting for more buffers than these.
const BUFFERS_MAX: u32 = 16;

/// Begins a thread. Without one the connection is held again, as the copy is dropped.
pub(crate) fn start(copy: CountedCopy) {
    let thread = thread::Builder::new().name("copy".to_owned()).stack_size(128 << 10);
    drop(thread.spawn(move || run(copy)));
}

fn run(mut copy: CountedCopy) {
    let Ok(replica) = connect(copy.to) else { return };
    let Some(haproxy) = copy.take() else { return };
    // An error of `poll`. Both ends close, and neither of them looks complete.
    drop(copy_all(&haproxy, &replica, || copy.record_answer()));
    drop((haproxy, replica));
}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, CONNECT)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

/// One direction of a copy.
struct HalfCopy {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    has_read: bool,
    /// Its source sent its last byte, which was passed on, or nothing is passed on any more.
    is_done: bool,
}

/// Which side of a direction failed.
#[derive(Debug)]
enum CopyFault {
    Source,
    Sink,
}

impl HalfCopy {
    fn new() -> HalfCopy {
        let buffer = vec![0; BUFFER_BYTES];
        HalfCopy { buffer, start: 0, end: 0, has_read: false, is_done: false }
    }

    fn is_pending(&self) -> bool {
        !self.is_done && self.start < self.end
    }

    fn wants_read(&self) -> bool {
        !self.is_done && self.start == self.end
    }

    /// Moves what can be moved without waiting. Returns whether it is done now, and was not.
    fn advance(&mut self, mut source: impl Read, mut sink: impl Write) -> Result<bool, CopyFault> {
        for _ in 0..BUFFERS_MAX {
            while self.is_pending() {
                match sink.write(&self.buffer[self.start..self.end]) {
                    Ok(0) => return Err(CopyFault::Sink),
                    Ok(count) => self.start += count,
                    Err(err) if is_for_later(&err) => return Ok(false),
                    Err(_) => return Err(CopyFault::Sink),
                }
            }
            if self.is_done {
                return Ok(false);
            }
            match source.read(&mut self.buffer) {
                Ok(0) => {
                    self.is_done = true;
                    return Ok(true);
                }
                Ok(count) => (self.start, self.end, self.has_read) = (0, count, true),
                Err(err) if is_for_later(&err) => return Ok(false),
                Err(_) => return Err(CopyFault::Source),
            }
        }
        Ok(false)
    }

    fn source_events(&self) -> PollFlags {
        if self.wants_read() { PollFlags::IN } else { PollFlags::empty() }
    }

    fn sink_events(&self) -> PollFlags {
        if self.is_pending() { PollFlags::OUT } else { PollFlags::empty() }
    }
}

fn is_for_later(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Where a copy is.
struct CopyProgress {
    /// From HAProxy to the replica.
    up: HalfCopy,
    /// From the replica to HAProxy.
    down: HalfCopy,
    /// HAProxy closed its side: it sends nothing more than what is there, and reads nothing. Then
    /// the replica has so long to accept some of it.
    hung_up: Option<Timespec>,
    /// The replica reads no more. What it sent before is still passed on.
    is_broken: bool,
}

/// Returns when there is nothing left to copy. The caller closes both: where the replica failed,
/// HAProxy's side was not shut down before, so that bytes it still sent make the close a reset.
pub(crate) fn copy_all(
    haproxy: &UnixStream,
    replica: &TcpStream,
    answered: impl Fn(),
) -> io::Result<()> {
    let (up, down) = (HalfCopy::new(), HalfCopy::new());
    let mut copy = CopyProgress { up, down, hung_up: None, is_broken: false };
    let mut is_answered = false;
    loop {
        let goes_on = copy.advance_up(haproxy, replica) && copy.advance_down(haproxy, replica);
        if copy.down.has_read && !is_answered {
            is_answered = true;
            answered();
        }
        if !goes_on || !copy.wait(haproxy, replica)? {
            return Ok(());
        }
    }
}

impl CopyProgress {
    /// Returns whether the copy goes on.
    fn advance_up(&mut self, haproxy: &UnixStream, replica: &TcpStream) -> bool {
        match self.up.advance(haproxy, replica) {
            Ok(false) => (),
            // A peer that is gone needs no end.
            Ok(true) => drop(replica.shutdown(Shutdown::Write)),
            Err(CopyFault::Source) => {
                self.hang_up(haproxy);
                self.up.is_done = true;
            }
            Err(CopyFault::Sink) => {
                self.is_broken = true;
                self.up.is_done = true;
            }
        }
        let is_over = self.up.is_done && (self.hung_up.is_some() || self.down.is_done);
        if is_over {
            drop(replica.shutdown(Shutdown::Both));
        }
        !is_over
    }

    fn advance_down(&mut self, haproxy: &UnixStream, replica: &TcpStream) -> bool {
        match self.down.advance(replica, haproxy) {
            Ok(false) => (),
            Ok(true) if self.is_broken => return false,
            Ok(true) => drop(haproxy.shutdown(Shutdown::Write)),
            Err(CopyFault::Source) => return false,
            Err(CopyFault::Sink) => self.hang_up(haproxy),
        }
        !(self.up.is_done && self.down.is_done)
    }

    /// What HAProxy sent before can still be read, and an end comes after it.
    fn hang_up(&mut self, haproxy: &UnixStream) {
        drop(haproxy.shutdown(Shutdown::Both));
        let stall = if self.down.is_done { STALL_ENDED } else { STALL_GONE };
        self.hung_up.get_or_insert(stall);
        self.down.is_done = true;
    }

    /// Until one of the two can advance. Returns whether the copy goes on.
    fn wait(&mut self, haproxy: &UnixStream, replica: &TcpStream) -> io::Result<bool> {
        if self.hung_up.is_some() && self.up.wants_read() {
            // What is left is in the buffer of the socket.
            return Ok(true);
        }
        let haproxy_events = self.up.source_events() | self.down.sink_events();
        let replica_events = self.down.source_events() | self.up.sink_events();
        let mut fds = Vec::with_capacity(2);
        // A side that has hung up is always ready, so it is left out when nothing is wanted of it.
        let has_haproxy = self.hung_up.is_none();
        if has_haproxy {
            fds.push(PollFd::new(haproxy, haproxy_events));
        }
        // Once it has sent its last byte, only its end is of interest.
        let has_replica = !replica_events.is_empty() || self.down.is_done;
        if has_replica {
            fds.push(PollFd::new(replica, replica_events));
        }
        match poll(&mut fds, self.hung_up.as_ref()).map_err(io::Error::from) {
            Ok(0) => return Ok(false),
            Ok(_) => (),
            Err(err) if err.kind() == ErrorKind::Interrupted => return Ok(true),
            Err(err) => return Err(err),
        }
        let hung = PollFlags::HUP | PollFlags::ERR;
        let is_gone = |fd: Option<&PollFd<'_>>| fd.is_some_and(|fd| fd.revents().intersects(hung));
        let replica_gone = is_gone(fds.last().filter(|_| has_replica));
        if is_gone(fds.first().filter(|_| has_haproxy)) {
            self.hang_up(haproxy);
        }
        Ok(!(replica_gone && replica_events.is_empty()))
    }
}
