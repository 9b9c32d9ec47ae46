//! HTTP over one socket for ureq, with limits that it lacks: one deadline for all reads of an
//! answer and one for all writes of a request, however little each moves, and a number of bytes for
//! all heads of an exchange. Its transport traits may change in a minor release, so this file and
//! `docker/transport.rs` are the only ones that name them, and Cargo.toml pins the minor.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use socket2::Socket;
use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::time::Instant;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

/// Of all heads of one exchange: there may be any number of interim ones (1xx) before the last.
const HEADS_BYTES_MAX: u64 = 64 << 10;
/// Less than this a socket cannot wait.
const WAIT_MIN: Duration = Duration::from_millis(1);
/// Lookups of names under way: one whose caller has given up may last longer.
const LOOKUPS: usize = 16;
/// As many addresses of one name are tried.
const ADDRESSES_MAX: usize = 16;
const PIECE: usize = 16 << 10;

/// `longest` bytes of it at most. The deadline is the reader's.
pub(crate) fn beginning(reader: &mut dyn Read, longest: u64) -> io::Result<Vec<u8>> {
    let (mut bytes, mut piece) = (Vec::new(), vec![0; PIECE]);
    loop {
        let left = longest.saturating_sub(bytes.len() as u64);
        let room = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        match reader.read(&mut piece[..room])? {
            0 => return Ok(bytes),
            read => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

/// One connection. After its head an answer may have so many bytes as `rest_max`, with what
/// chunks and trailers add; `None`: it is a stream without an end.
pub(crate) struct Wire {
    socket: Socket,
    buffers: LazyBuffers,
    now: Arc<dyn Fn() -> Instant + Send + Sync>,
    heads: Heads,
    rest_max: Option<u64>,
    rest: u64,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Wire {
    pub(crate) fn new(
        socket: Socket,
        details: &ConnectionDetails,
        rest_max: Option<u64>,
    ) -> Result<Wire, Error> {
        let (input, output) =
            (details.config.input_buffer_size(), details.config.output_buffer_size());
        let (buffers, now) = (LazyBuffers::new(input, output), details.current_time.clone());
        Ok(Wire { socket, buffers, now, heads: Heads::default(), rest_max, rest: 0 })
    }

    /// What came is within the limits.
    fn count(&mut self, amount: usize) -> Result<(), Error> {
        let input = self.buffers.input();
        let new = &input[input.len().saturating_sub(amount)..];
        let of_heads = self.heads.take(new);
        self.rest += (new.len() - of_heads) as u64;
        if HEADS_BYTES_MAX < self.heads.bytes {
            let kib = HEADS_BYTES_MAX >> 10;
            return Err(over(format!("the heads of the answer are longer than {kib} KiB")));
        }
        match self.rest_max {
            Some(most) if most < self.rest => {
                Err(over(format!("the answer is longer than {most} bytes as it was sent")))
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn over(words: String) -> Error {
    Error::Io(io::Error::other(words))
}

/// A span that ends at one moment, whatever is done meanwhile.
struct Deadline<'a> {
    now: &'a (dyn Fn() -> Instant + Send + Sync),
    begun: Instant,
    timeout: NextTimeout,
}

impl Deadline<'_> {
    fn new(now: &(dyn Fn() -> Instant + Send + Sync), timeout: NextTimeout) -> Deadline<'_> {
        Deadline { now, begun: now(), timeout }
    }

    /// `None` waits for ever, which only a stream without a deadline asks for.
    fn left(&self) -> Result<Option<Duration>, Error> {
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

/// A signal came, or a socket has waited long enough: the clock tells which.
fn is_pause(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        // What is answered to this has heads of its own.
        (self.heads, self.rest) = (Heads::default(), 0);
        let deadline = Deadline::new(&*self.now, timeout.for_write());
        let mut output = &self.buffers.output()[..amount];
        while !output.is_empty() {
            self.socket.set_write_timeout(deadline.left()?)?;
            match self.socket.write(output) {
                Ok(0) => return Err(Error::Io(ErrorKind::WriteZero.into())),
                Ok(written) => output = &output[written..],
                Err(err) if is_pause(&err) => (),
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
        self.count(amount)?;
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

/// Where the heads of an answer end: the first that is not interim is the last.
#[derive(Debug, Default)]
struct Heads {
    bytes: u64,
    /// The beginning of the status line, as far as its number.
    status: Vec<u8>,
    is_status_whole: bool,
    /// Bytes of the line that is not over yet.
    line: usize,
    is_over: bool,
}

/// `HTTP/1.1 100`
const STATUS_BYTES: usize = 12;

impl Heads {
    /// How many of these bytes are of heads.
    fn take(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            if self.is_over {
                return at;
            }
            self.bytes += 1;
            match byte {
                b'\r' => (),
                b'\n' if self.line == 0 => self.end(),
                b'\n' => (self.is_status_whole, self.line) = (true, 0),
                byte => {
                    self.line += 1;
                    if !self.is_status_whole && self.status.len() < STATUS_BYTES {
                        self.status.push(*byte);
                    }
                }
            }
        }
        bytes.len()
    }

    fn end(&mut self) {
        // Empty lines may stand before the status line.
        if !self.is_status_whole {
            return;
        }
        let number = self.status.get(STATUS_BYTES - 3..).unwrap_or_default();
        self.is_over = !number.starts_with(b"1") || number == b"101";
        self.status.clear();
        self.is_status_whole = false;
    }
}

/// To any host, by TCP.
#[derive(Debug)]
pub(crate) struct Tcp {
    pub(crate) rest_max: u64,
}

impl Connector<()> for Tcp {
    type Out = Wire;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _chained: Option<()>,
    ) -> Result<Option<Wire>, Error> {
        let deadline = Deadline::new(&*details.current_time, details.timeout);
        let addresses: Vec<SocketAddr> = details.addrs.iter().copied().collect();
        let mut failure = Error::HostNotFound;
        for (address, others) in addresses.iter().zip((1..=addresses.len()).rev()) {
            // One that is silent leaves some of the time to those behind it.
            let share = deadline.left()?.map(|left| left / u32::try_from(others).unwrap_or(1));
            let stream = match share {
                Some(share) => TcpStream::connect_timeout(address, share.max(WAIT_MIN)),
                None => TcpStream::connect(address),
            };
            match stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream)) {
                Ok(stream) => {
                    let socket = Socket::from(OwnedFd::from(stream));
                    return Wire::new(socket, details, Some(self.rest_max)).map(Some);
                }
                Err(err) if is_pause(&err) => failure = Error::Timeout(details.timeout.reason),
                Err(err) => failure = Error::Io(err),
            }
        }
        Err(failure)
    }
}

/// An address that is written as such is no question, and needs no thread.
#[derive(Debug, Default)]
pub(crate) struct Names {
    under_way: Arc<AtomicUsize>,
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(80);
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let mut found = self.empty();
        match literal.unwrap_or(host).parse::<IpAddr>() {
            Ok(ip) => found.push(SocketAddr::new(ip, port)),
            Err(_) if host.is_empty() => return Err(Error::HostNotFound),
            Err(_) => {
                let all = self.look_up(host.to_owned(), port, timeout)?;
                all.into_iter().take(ADDRESSES_MAX).for_each(|address| found.push(address));
            }
        }
        if found.is_empty() { Err(Error::HostNotFound) } else { Ok(found) }
    }
}

impl Names {
    /// The system's lookup has no deadline, so a thread waits for it.
    fn look_up(
        &self,
        host: String,
        port: u16,
        timeout: NextTimeout,
    ) -> Result<Vec<SocketAddr>, Error> {
        let lookup = Lookup(self.under_way.clone());
        if LOOKUPS <= self.under_way.fetch_add(1, Ordering::Relaxed) {
            let words = format!("{LOOKUPS} lookups of names hang; see the DNS of this host");
            return Err(Error::Io(io::Error::other(words)));
        }
        let (sender, answer) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("lookup".to_owned());
        thread
            .spawn(move || {
                let _lookup = lookup;
                let found = (host.as_str(), port).to_socket_addrs();
                // Whoever asked may have been out of time.
                drop(sender.send(found.map(Iterator::collect)));
            })
            .map_err(|err| Error::Io(no_thread(&err)))?;
        let found = match timeout.after.is_not_happening() {
            true => answer.recv().ok(),
            false => match answer.recv_timeout(*timeout.after) {
                Err(mpsc::RecvTimeoutError::Timeout) => return Err(Error::Timeout(timeout.reason)),
                done => done.ok(),
            },
        };
        Ok(found.ok_or(Error::HostNotFound)??)
    }
}

/// The kernel says "try again" of a thread and of a socket that has nothing yet: told apart.
fn no_thread(err: &io::Error) -> io::Error {
    io::Error::new(ErrorKind::OutOfMemory, format!("no thread could be started: {err}"))
}

/// One that is under way, until it is dropped.
struct Lookup(Arc<AtomicUsize>);

impl Drop for Lookup {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use crate::exchange::{Heads, beginning};

    #[test]
    fn interim_heads_are_counted_with_the_last_one_and_a_body_is_not() {
        let last = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        for (heads, rest) in [
            (last.to_owned(), "body\r\n\r\n"),
            (format!("{early}{early}{last}"), "HTTP/1.1 100 no head\r\n\r\n"),
            (format!("HTTP/1.1 100 C\n\n{last}"), ""),
            (format!("\r\n\r\n{last}"), "x"),
            ("HTTP/1.1 101 Other\r\n\r\n".to_owned(), "spoken here"),
            ("HTTP/1.1\r\n\r\n".to_owned(), "no status"),
        ] {
            let all = format!("{heads}{rest}");
            // In one piece, and a byte a time.
            let mut at_once = Heads::default();
            assert_eq!(at_once.take(all.as_bytes()), heads.len(), "{all:?}");
            let mut each = Heads::default();
            let taken: usize = all.as_bytes().chunks(1).map(|byte| each.take(byte)).sum();
            assert_eq!((taken, each.bytes), (heads.len(), heads.len() as u64), "{all:?}");
        }
    }

    #[test]
    fn an_answer_is_read_to_its_limit_and_not_beyond() {
        let text = vec![b'x'; 40_000];
        for (longest, read) in
            [(0, 0), (1, 1), (39_999, 39_999), (40_000, 40_000), (50_000, 40_000)]
        {
            assert_eq!(beginning(&mut text.as_slice(), longest).unwrap().len(), read);
        }
    }
}
