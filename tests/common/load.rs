//! A load client: threads that ask one address over HTTP/1.1 and count how each request ended.
//! Included as a plain module wherever load is needed, so it uses nothing but the standard library.
//! It never asks a second time for the same answer: a retry would hide what it is there to see.
#![allow(dead_code, reason = "each program that includes this uses a part of it")]
#![allow(clippy::disallowed_methods, reason = "a load client measures real time")]

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::ops::Add;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

mod app_answers;
mod exchange;
pub(crate) mod http2;
pub(crate) mod latency;

use crate::load::app_answers::{is_right, parameter};
use crate::load::exchange::Connection;
use crate::load::http2::{Ended, Http2};
use crate::load::latency::Latency;

/// How long a target may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// A dead target is not to be hammered.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);
const STACK_BYTES: usize = 128 * 1024;
/// Requests of one HTTP/2 client that are under way at the same time.
const STREAMS: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// One connection for all requests, as long as the target allows it.
    KeepAlive,
    /// A new connection for each request, which asks to close it.
    Close,
    /// A new connection for each request, counted apart because the path is a slow one.
    Slow,
    /// The same, because the answer comes in many parts.
    Streaming,
    /// Like keep-alive; each request has a body of its own, which the answer repeats.
    Post,
    /// HTTP/2 without TLS, several requests at once over one connection.
    Http2,
}

/// One thread that asks for one path, with a pause after each answer.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) kind: Kind,
    /// A proxy may send a GET once more when its answer fails, and a POST never.
    pub(crate) method: &'static str,
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
    /// A whole answer, but not the one to this request.
    Body,
}

/// How the requests of one kind ended. A request counts once it is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KindCounts {
    pub(crate) ok: u64,
    pub(crate) failures: BTreeMap<Failure, u64>,
    /// The longest time from before the connection to the end, failures included.
    pub(crate) slowest: Duration,
    pub(crate) latency: Latency,
    /// Requests that the target declared not to have begun (HTTP/2 alone); they are not counted as
    /// sent, and others took their place.
    pub(crate) unprocessed: u64,
    /// When it was, the request, and how it failed.
    pub(crate) first_failure: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) kinds: BTreeMap<Kind, KindCounts>,
}

/// Clients at work. Dropping it tells them to stop and does not wait.
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    target: SocketAddr,
    silence_max: Duration,
    bodies: AtomicU64,
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
            bodies: AtomicU64::new(0),
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

    pub(crate) fn sent(&self) -> u64 {
        lock(&self.shared.counts).sent()
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
        if client.kind == Kind::Http2 {
            return self.ask_over_http2(client);
        }
        let mut kept = None;
        loop {
            let started = Instant::now();
            let ended = self.ask(client, &mut kept);
            if ended.is_err() {
                kept = None;
            }
            if self.stopped_within(self.count(client, ended, started.elapsed())) {
                return;
            }
        }
    }

    /// Gives how long to pause then.
    fn count(&self, client: &Client, ended: Result<(), Failure>, took: Duration) -> Duration {
        let mut counts = lock(&self.counts);
        let kind = counts.kinds.entry(client.kind).or_default();
        if let (Err(failure), None) = (ended, &kind.first_failure) {
            let (method, path, ms) = (client.method, &client.path, took.as_millis());
            let at = time_of_day();
            kind.first_failure = Some(format!("{at} {method} {path}: {failure} after {ms} ms"));
        }
        kind.add(ended, took);
        drop(counts);
        self.counted.notify_all();
        client.pause.max(ended.map_or(PAUSE_AFTER_FAILURE, |()| Duration::ZERO))
    }

    /// Asks once, over the connection kept from the last time if there is one.
    fn ask(&self, client: &Client, kept: &mut Option<Connection>) -> Result<(), Failure> {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => Connection::open(self.target, self.silence_max)?,
        };
        let keep = matches!(client.kind, Kind::KeepAlive | Kind::Post);
        let wish = if keep { "keep-alive" } else { "close" };
        let (method, path, host) = (client.method, &client.path, self.target);
        let body = self.body(client);
        let length = match method {
            "GET" => String::new(),
            _ => format!("Content-Length: {}\r\n", body.len()),
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {wish}\r\n{length}\r\n"
        );
        match parameter(path, "pieces") {
            None => connection.send(&[head.as_bytes(), &body].concat())?,
            Some(pieces) => {
                connection.send(head.as_bytes())?;
                let pause = Duration::from_millis(parameter(path, "ms").unwrap_or_default());
                for piece in body.chunks(body.len().div_ceil(pieces.max(1) as usize)) {
                    // The request goes on after `stop`, only faster.
                    self.stopped_within(pause);
                    connection.send_more(piece)?;
                }
            }
        }
        let reusable = connection.read_answer()?;
        if !is_right(path, &body, connection.body()) {
            return Err(Failure::Body);
        }
        if keep && reusable {
            *kept = Some(connection);
        }
        Ok(())
    }

    /// What to send: for `/echo` no other request has the same.
    fn body(&self, client: &Client) -> Vec<u8> {
        let echoes = client.method != "GET" && client.path.starts_with("/echo");
        let number = self.bodies.fetch_add(u64::from(echoes), Ordering::Relaxed);
        format!("{number}.").repeat(if echoes { 64 } else { 0 }).into_bytes()
    }

    /// After `stop` it waits for what is under way and asks no more.
    fn ask_over_http2(&self, client: &Client) {
        let mut kept: Option<Http2> = None;
        let mut pause = Duration::ZERO;
        loop {
            let stopping = self.stopped_within(pause);
            pause = Duration::ZERO;
            let opened = kept.take().filter(|c| !c.is_leaving || 0 < c.under_way());
            if opened.is_none() && stopping {
                return;
            }
            let started = Instant::now();
            let opened = opened.map_or_else(|| Http2::open(self.target, self.silence_max), Ok);
            let mut connection = match opened {
                Ok(connection) => connection,
                Err(failure) => {
                    pause = self.count(client, Err(failure), started.elapsed());
                    continue;
                }
            };
            while !stopping && !connection.is_leaving && connection.under_way() < STREAMS {
                connection.send(client.method, &client.path, self.body(client));
            }
            if connection.under_way() == 0 {
                continue;
            }
            match connection.read() {
                Ok(all) => {
                    for ended in all {
                        pause = pause.max(self.count_stream(client, ended));
                    }
                    kept = Some(connection);
                }
                Err(failure) => {
                    for (stream, failure) in connection.unanswered(failure) {
                        pause = self.count(client, Err(failure), stream.asked.elapsed());
                    }
                }
            }
        }
    }

    fn count_stream(&self, client: &Client, ended: Ended) -> Duration {
        let Ended::Answered(stream, mut result) = ended else {
            lock(&self.counts).kinds.entry(client.kind).or_default().unprocessed += 1;
            return Duration::ZERO;
        };
        if result.is_ok() && !is_right(&client.path, &stream.sent, &stream.body) {
            result = Err(Failure::Body);
        }
        self.count(client, result, stream.asked.elapsed())
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

/// In UTC, as a log has it.
fn time_of_day() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, ms) = (now.as_secs(), now.subsec_millis());
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{ms:03}", seconds % 60)
}

/// The counts stay true after a panic elsewhere: nothing here leaves them half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl KindCounts {
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
        self.latency.add(took);
    }
}

impl Counts {
    pub(crate) fn sent(&self) -> u64 {
        self.kinds.values().map(KindCounts::sent).sum()
    }

    pub(crate) fn failed(&self) -> u64 {
        self.kinds.values().map(KindCounts::failed).sum()
    }

    pub(crate) fn of(&self, kind: Kind) -> KindCounts {
        self.kinds.get(&kind).cloned().unwrap_or_default()
    }
}

impl Add for Counts {
    type Output = Counts;

    fn add(mut self, other: Counts) -> Counts {
        for (kind, metrics_sink) in other.kinds {
            let mine = self.kinds.entry(kind).or_default();
            mine.ok += metrics_sink.ok;
            mine.slowest = mine.slowest.max(metrics_sink.slowest);
            mine.unprocessed += metrics_sink.unprocessed;
            mine.latency.merge(&metrics_sink.latency);
            mine.first_failure = mine.first_failure.take().or(metrics_sink.first_failure);
            for (failure, times) in metrics_sink.failures {
                *mine.failures.entry(failure).or_default() += times;
            }
        }
        self
    }
}

impl Display for Kind {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        to.pad(match self {
            Kind::KeepAlive => "keep-alive",
            Kind::Close => "close",
            Kind::Slow => "slow",
            Kind::Streaming => "streaming",
            Kind::Post => "POST",
            Kind::Http2 => "h2",
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
            Failure::Body => to.write_str("wrong-body"),
        }
    }
}

impl Display for KindCounts {
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
        for (number, (kind, metrics_sink)) in self.kinds.iter().enumerate() {
            let between = if number > 0 { "\n" } else { "" };
            write!(to, "{between}{kind} {metrics_sink}")?;
        }
        Ok(())
    }
}
