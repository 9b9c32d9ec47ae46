//! The HTTP client of the whole program: ureq over TCP and over Unix sockets, with the limits that
//! it lacks. One deadline holds for all reads of an answer and one for all writes of a request,
//! however little each of them moves. The heads of an answer have a size limit. The transport
//! traits of ureq may change in a minor release: this is the only file that names them, and
//! Cargo.toml pins the minor.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use socket2::Socket;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::time::Instant;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Agent, Error};

use crate::unix;

/// All heads of one answer, in bytes: any number of interim ones (1xx) may precede the last.
const HEADS_BYTES_MAX: u64 = 64 << 10;
/// The shortest deadline that a socket takes.
const WAIT_MIN: Duration = Duration::from_millis(1);
/// A peer on the same host accepts a connection at once or not at all.
const UNIX_CONNECT_TIME: Duration = Duration::from_secs(5);
/// Name lookups under way at once. One whose caller gave up may still run.
const LOOKUPS_MAX: usize = 16;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;
const CHUNK_BYTES: usize = 16 << 10;

/// Connects to any host by TCP, anew for each request. `body_max` is the limit for an answer
/// without its heads, in bytes as they are sent.
pub(crate) fn tcp_agent(body_max: u64) -> Agent {
    Agent::with_parts(agent_config(0), TcpConnector { body_max }, DeadlineResolver::default())
}

/// Connects to this socket, whatever host the address of a request names. `body_max` as in
/// [`tcp_agent`]; `None` is a stream without an end. Up to `idle_max` connections are kept.
pub(crate) fn unix_agent(socket: &Path, body_max: Option<u64>, idle_max: usize) -> Agent {
    let connector = UnixConnector { path: socket.to_owned(), body_max };
    Agent::with_parts(agent_config(idle_max), connector, NoResolver)
}

/// The environment's proxies know nothing of our networks. A redirect and an error status are
/// answers like any other.
fn agent_config(idle_max: usize) -> Config {
    Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("plimsoll/", env!("CARGO_PKG_VERSION")))
        .input_buffer_size(16 << 10)
        .output_buffer_size(8 << 10)
        .max_idle_connections(idle_max)
        .max_idle_connections_per_host(idle_max)
        .build()
}

/// Reads to the end, or `bytes_max` bytes. The deadline is the reader's.
pub(crate) fn read_up_to(reader: &mut dyn Read, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let left = bytes_max.saturating_sub(bytes.len() as u64);
        let room = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        match reader.read(&mut chunk[..room])? {
            0 => return Ok(bytes),
            read => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

/// One connection, with the limits.
struct LimitedTransport {
    socket: Socket,
    buffers: LazyBuffers,
    now: Arc<dyn Fn() -> Instant + Send + Sync>,
    heads: HeadCounter,
    /// Chunk sizes and trailers count as body. `None` is a stream without an end.
    body_max: Option<u64>,
    body_bytes: u64,
}

impl fmt::Debug for LimitedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitedTransport").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl LimitedTransport {
    pub(crate) fn new(
        socket: Socket,
        details: &ConnectionDetails,
        body_max: Option<u64>,
    ) -> LimitedTransport {
        let input_bytes = details.config.input_buffer_size();
        let output_bytes = details.config.output_buffer_size();
        LimitedTransport {
            socket,
            buffers: LazyBuffers::new(input_bytes, output_bytes),
            now: details.current_time.clone(),
            heads: HeadCounter::default(),
            body_max,
            body_bytes: 0,
        }
    }

    /// Counts the last `amount` bytes of the input against the limits.
    fn count(&mut self, amount: usize) -> Result<(), Error> {
        let input = self.buffers.input();
        let new = &input[input.len().saturating_sub(amount)..];
        let of_heads = self.heads.take(new);
        self.body_bytes += (new.len() - of_heads) as u64;
        if HEADS_BYTES_MAX < self.heads.bytes {
            let kib = HEADS_BYTES_MAX >> 10;
            return Err(over_limit(format!("the heads of the answer are longer than {kib} KiB")));
        }
        match self.body_max {
            Some(most) if most < self.body_bytes => {
                Err(over_limit(format!("the answer is longer than {most} bytes as it was sent")))
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn over_limit(message: String) -> Error {
    Error::Io(io::Error::other(message))
}

/// One deadline for any number of socket calls.
struct Deadline<'a> {
    now: &'a (dyn Fn() -> Instant + Send + Sync),
    begun: Instant,
    timeout: NextTimeout,
}

impl Deadline<'_> {
    fn new(now: &(dyn Fn() -> Instant + Send + Sync), timeout: NextTimeout) -> Deadline<'_> {
        Deadline { now, begun: now(), timeout }
    }

    /// `None` is no deadline, which only a stream has.
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

/// A signal, or the deadline of the socket: the caller asks the clock which.
fn is_pause(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

impl Transport for LimitedTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.heads = HeadCounter::default();
        self.body_bytes = 0;
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

/// Finds the end of the heads of an answer: the first that is not interim is the last.
#[derive(Debug, Default)]
struct HeadCounter {
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

impl HeadCounter {
    /// The number of these bytes that belong to heads.
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

#[derive(Debug)]
struct TcpConnector {
    body_max: u64,
}

impl Connector<()> for TcpConnector {
    type Out = LimitedTransport;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _chained: Option<()>,
    ) -> Result<Option<LimitedTransport>, Error> {
        let deadline = Deadline::new(&*details.current_time, details.timeout);
        let addresses: Vec<SocketAddr> = details.addrs.iter().copied().collect();
        let mut failure = Error::HostNotFound;
        for (address, others) in addresses.iter().zip((1..=addresses.len()).rev()) {
            // An address that does not answer leaves time for those after it.
            let share = deadline.left()?.map(|left| left / u32::try_from(others).unwrap_or(1));
            let stream = match share {
                Some(share) => TcpStream::connect_timeout(address, share.max(WAIT_MIN)),
                None => TcpStream::connect(address),
            };
            match stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream)) {
                Ok(stream) => {
                    let socket = Socket::from(OwnedFd::from(stream));
                    let body_max = Some(self.body_max);
                    return Ok(Some(LimitedTransport::new(socket, details, body_max)));
                }
                Err(err) if is_pause(&err) => failure = Error::Timeout(details.timeout.reason),
                Err(err) => failure = Error::Io(err),
            }
        }
        Err(failure)
    }
}

#[derive(Debug)]
struct UnixConnector {
    path: PathBuf,
    body_max: Option<u64>,
}

impl Connector<()> for UnixConnector {
    type Out = LimitedTransport;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _chained: Option<()>,
    ) -> Result<Option<LimitedTransport>, Error> {
        let timeout = details.timeout;
        if timeout.after.is_zero() {
            return Err(Error::Timeout(timeout.reason));
        }
        let left = timeout.not_zero().map_or(UNIX_CONNECT_TIME, |left| *left);
        let stream = unix::connect(&self.path, left.min(UNIX_CONNECT_TIME));
        let stream = stream.map_err(|err| match err.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Error::Timeout(timeout.reason),
            _ => Error::Io(err),
        })?;
        let socket = Socket::from(OwnedFd::from(stream));
        Ok(Some(LimitedTransport::new(socket, details, self.body_max)))
    }
}

/// ureq wants an address before it connects; the connector ignores it.
#[derive(Debug)]
struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut addresses = self.empty();
        addresses.push(([0, 0, 0, 0], 0).into());
        Ok(addresses)
    }
}

/// Looks names up with a deadline. A literal IP address needs no thread.
#[derive(Debug, Default)]
struct DeadlineResolver {
    under_way: Arc<AtomicUsize>,
}

impl Resolver for DeadlineResolver {
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

impl DeadlineResolver {
    /// The system's lookup has no deadline, so it runs on a thread of its own.
    fn look_up(
        &self,
        host: String,
        port: u16,
        timeout: NextTimeout,
    ) -> Result<Vec<SocketAddr>, Error> {
        let lookup = LookupSlot(self.under_way.clone());
        if LOOKUPS_MAX <= self.under_way.fetch_add(1, Ordering::Relaxed) {
            let words =
                format!("{LOOKUPS_MAX} name lookups do not return; check the DNS of this host");
            return Err(Error::Io(io::Error::other(words)));
        }
        let (sender, answer) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("lookup".to_owned());
        thread
            .spawn(move || {
                let _lookup = lookup;
                let found = (host.as_str(), port).to_socket_addrs();
                // The caller may have given up.
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

/// The kernel's error for a thread is the same "try again" as for a socket without data.
fn no_thread(err: &io::Error) -> io::Error {
    io::Error::new(ErrorKind::OutOfMemory, format!("no thread could be started: {err}"))
}

/// One that is under way, until it is dropped.
struct LookupSlot(Arc<AtomicUsize>);

impl Drop for LookupSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use crate::http_client::{HeadCounter, read_up_to};

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
            let mut at_once = HeadCounter::default();
            assert_eq!(at_once.take(all.as_bytes()), heads.len(), "{all:?}");
            let mut each = HeadCounter::default();
            let taken: usize = all.as_bytes().chunks(1).map(|byte| each.take(byte)).sum();
            assert_eq!((taken, each.bytes), (heads.len(), heads.len() as u64), "{all:?}");
        }
    }

    #[test]
    fn an_answer_is_read_to_its_limit_and_not_beyond() {
        let text = vec![b'x'; 40_000];
        for (bytes_max, read) in
            [(0, 0), (1, 1), (39_999, 39_999), (40_000, 40_000), (50_000, 40_000)]
        {
            assert_eq!(read_up_to(&mut text.as_slice(), bytes_max).unwrap().len(), read);
        }
    }
}
