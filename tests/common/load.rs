//! A load client: threads that ask one address over HTTP/1.1 and count how each request ended.
//! Included as a plain module wherever load is needed, so it uses nothing but the standard library.
//! It never asks a second time for the same answer: a retry would hide what it is there to see.
#![allow(dead_code, reason = "each program that includes this uses a part of it")]
#![allow(clippy::disallowed_methods, reason = "a load client measures real time")]

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Add;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

const HEAD_BYTES_MAX: u64 = 16 * 1024;
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long a target may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long a whole answer may take, however steadily it trickles.
const ANSWER_MAX: Duration = Duration::from_secs(300);
/// A dead target is not to be hammered.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);
const STACK_BYTES: usize = 128 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// One connection for all requests, as long as the target allows it.
    KeepAlive,
    /// A new connection for each request, which asks to close it.
    Close,
    /// A new connection for each request, counted apart because the path is a slow one.
    Slow,
}

/// One thread that asks for one path, with a pause after each answer.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) kind: Kind,
    pub(crate) path: String,
    pub(crate) pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// No connection could be had, for whatever reason.
    Refused,
    /// A fresh connection ended before any byte of the answer.
    Reset,
    /// A whole answer, with a status of 400 or more.
    Status(u16),
    /// The answer ended in its middle.
    Truncated,
    /// A connection that had served before ended before any byte of the next answer.
    StaleClose,
    /// Silence for too long.
    Timeout,
    /// Not HTTP, or more of it than anybody would send.
    Garbage,
}

/// How the requests of one kind ended. A request counts once it is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) ok: u64,
    pub(crate) failures: BTreeMap<Failure, u64>,
    /// The longest time from before the connection to the end, failures included.
    pub(crate) slowest: Duration,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) kinds: BTreeMap<Kind, Tally>,
}

/// Clients at work. Dropping it tells them to stop and does not wait.
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    target: SocketAddr,
    silence_max: Duration,
    counts: Mutex<Counts>,
    counted: Condvar,
    stopping: Mutex<bool>,
    stopped: Condvar,
}

impl Load {
    /// Starts one thread for each client. To ramp up, start another `Load` and add the counts.
    pub(crate) fn start(target: SocketAddr, clients: Vec<Client>) -> Load {
        Load::start_with_silence(target, clients, SILENCE_MAX)
    }

    pub(crate) fn start_with_silence(
        target: SocketAddr,
        clients: Vec<Client>,
        silence_max: Duration,
    ) -> Load {
        let shared = Arc::new(Shared {
            target,
            silence_max,
            counts: Mutex::default(),
            counted: Condvar::new(),
            stopping: Mutex::new(false),
            stopped: Condvar::new(),
        });
        let mut load = Load { shared, threads: Vec::with_capacity(clients.len()) };
        for (number, client) in clients.into_iter().enumerate() {
            let shared = Arc::clone(&load.shared);
            let name = format!("{}-{number}", client.kind);
            let thread = Builder::new().name(name).stack_size(STACK_BYTES);
            match thread.spawn(move || shared.ask_until_stopped(&client)) {
                Ok(thread) => load.threads.push(thread),
                Err(error) => panic!("no thread for load client {number}: {error}"),
            }
        }
        load
    }

    /// How it stands now.
    pub(crate) fn counts(&self) -> Counts {
        lock(&self.shared.counts).clone()
    }

    /// Waits until the counts are as wanted, or for as long as said, and returns them either way.
    pub(crate) fn wait_for(&self, within: Duration, reached: impl Fn(&Counts) -> bool) -> Counts {
        let counts = lock(&self.shared.counts);
        let waited =
            self.shared.counted.wait_timeout_while(counts, within, |counts| !reached(counts));
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Lets every client end the request it is at, and returns the last counts.
    pub(crate) fn stop(mut self) -> Counts {
        self.shared.stop();
        for thread in std::mem::take(&mut self.threads) {
            assert!(thread.join().is_ok(), "a load client panicked");
        }
        self.counts()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Shared {
    fn ask_until_stopped(&self, client: &Client) {
        let mut kept = None;
        loop {
            let started = Instant::now();
            let ended = self.ask(client, &mut kept);
            let mut pause = client.pause;
            if ended.is_err() {
                kept = None;
                pause = pause.max(PAUSE_AFTER_FAILURE);
            }
            lock(&self.counts).kinds.entry(client.kind).or_default().add(ended, started.elapsed());
            self.counted.notify_all();
            if self.stopped_within(pause) {
                return;
            }
        }
    }

    /// Asks once, over the connection kept from the last time if there is one.
    fn ask(&self, client: &Client, kept: &mut Option<Connection>) -> Result<(), Failure> {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => Connection::open(self.target, self.silence_max)?,
        };
        let keep = client.kind == Kind::KeepAlive;
        let wish = if keep { "keep-alive" } else { "close" };
        let (path, host) = (&client.path, self.target);
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {wish}\r\n\r\n");
        connection.send(&request)?;
        let reusable = connection.read_answer()?;
        if keep && reusable {
            *kept = Some(connection);
        }
        Ok(())
    }

    fn stop(&self) {
        *lock(&self.stopping) = true;
        self.stopped.notify_all();
    }

    fn stopped_within(&self, pause: Duration) -> bool {
        let stopping = lock(&self.stopping);
        let waited = self.stopped.wait_timeout_while(stopping, pause, |stopping| !*stopping);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The counts stay true after a panic elsewhere: nothing here leaves them half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Connection {
    reader: BufReader<TcpStream>,
    reused: bool,
    asked: Instant,
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
    fn open(target: SocketAddr, silence_max: Duration) -> Result<Connection, Failure> {
        let stream = TcpStream::connect_timeout(&target, silence_max).map_err(|error| {
            if error.kind() == ErrorKind::TimedOut { Failure::Timeout } else { Failure::Refused }
        })?;
        let timed = stream
            .set_read_timeout(Some(silence_max))
            .and_then(|()| stream.set_write_timeout(Some(silence_max)));
        assert!(timed.is_ok(), "a silence of {silence_max:?} is no timeout: {timed:?}");
        Ok(Connection { reader: BufReader::new(stream), reused: false, asked: Instant::now() })
    }

    fn send(&mut self, request: &str) -> Result<(), Failure> {
        if !self.reader.buffer().is_empty() {
            return Err(Failure::Garbage); // an answer before the question
        }
        self.asked = Instant::now();
        let sent = self.reader.get_mut().write_all(request.as_bytes());
        sent.map_err(|error| if is_timeout(&error) { Failure::Timeout } else { self.no_answer() })
    }

    /// Reads one whole answer. Returns whether another request may follow on this connection.
    fn read_answer(&mut self) -> Result<bool, Failure> {
        match self.arrived() {
            Ok([]) | Err(Failure::Truncated) => return Err(self.no_answer()),
            Ok(_) => {}
            Err(failure) => return Err(failure),
        }
        let head = self.read_head()?;
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
            self.reader.consume(taken as usize);
            left -= taken;
        }
        Ok(())
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
            self.reader.consume(arrived);
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

impl Tally {
    pub(crate) fn sent(&self) -> u64 {
        self.ok + self.failed()
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    fn add(&mut self, ended: Result<(), Failure>, took: Duration) {
        match ended {
            Ok(()) => self.ok += 1,
            Err(failure) => *self.failures.entry(failure).or_default() += 1,
        }
        self.slowest = self.slowest.max(took);
    }
}

impl Counts {
    pub(crate) fn sent(&self) -> u64 {
        self.kinds.values().map(Tally::sent).sum()
    }

    pub(crate) fn failed(&self) -> u64 {
        self.kinds.values().map(Tally::failed).sum()
    }

    pub(crate) fn of(&self, kind: Kind) -> Tally {
        self.kinds.get(&kind).cloned().unwrap_or_default()
    }
}

impl Add for Counts {
    type Output = Counts;

    fn add(mut self, other: Counts) -> Counts {
        for (kind, tally) in other.kinds {
            let mine = self.kinds.entry(kind).or_default();
            mine.ok += tally.ok;
            mine.slowest = mine.slowest.max(tally.slowest);
            for (failure, times) in tally.failures {
                *mine.failures.entry(failure).or_default() += times;
            }
        }
        self
    }
}

impl Display for Kind {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Kind::KeepAlive => "keep-alive",
            Kind::Close => "close",
            Kind::Slow => "slow",
        })
    }
}

impl Display for Failure {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused => to.write_str("refused"),
            Failure::Reset => to.write_str("reset"),
            Failure::Status(status) => write!(to, "status-{status}"),
            Failure::Truncated => to.write_str("truncated"),
            Failure::StaleClose => to.write_str("stale-close"),
            Failure::Timeout => to.write_str("timeout"),
            Failure::Garbage => to.write_str("garbage"),
        }
    }
}

impl Display for Tally {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        write!(to, "{} sent {} failed", self.sent(), self.failed())?;
        for (failure, times) in &self.failures {
            write!(to, " {failure}={times}")?;
        }
        write!(to, " slowest {} ms", self.slowest.as_millis())
    }
}

/// One line for each kind, without a line end after the last.
impl Display for Counts {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        for (number, (kind, tally)) in self.kinds.iter().enumerate() {
            let between = if number > 0 { "\n" } else { "" };
            write!(to, "{between}{kind} {tally}")?;
        }
        Ok(())
    }
}
