//! The app that the demo and the end-to-end tests scale: a small HTTP server, to be run as
//! process 1 of a container made from nothing but this binary. It must not be kind: on SIGTERM it
//! cuts what it is answering, so that any mistake in draining is seen by a client.
//!
//! `PORT` (8080), `START_DELAY_MS` (0: how long until it listens) and `WORKERS` (32) come from the
//! environment. Paths: `/`, `/health`, `/burn?ms=N`, `/slow?ms=N`, `/stream?chunks=C&ms=M`, `/echo`
//! (the body of the request), `/ws` (a WebSocket that sends back each message), `/503` (refused
//! with that status), `/die` (it ends without an answer), `/hits` (how many requests this replica
//! has seen, those for `/hits` and `/health` aside).
//! With `--self-test` it prints "ok" and ends, which proves that the binary runs in its image.
#![allow(
    clippy::disallowed_methods,
    reason = "an app under test has a clock and pauses of its own"
)]

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::error::Error;
use std::fmt::Display;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};
use tiny_http::{Method, Request, Response, Server};

#[path = "app/websocket.rs"]
mod websocket;

const CHUNK_BYTES: usize = 1024;
const ECHO_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What every worker shares: how this replica names itself, and what a millisecond of work is.
struct App {
    host: String,
    rounds_per_ms: u64,
    hits: AtomicU64,
}

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).as_deref() == Some("--self-test") {
        println!("ok");
        return Ok(());
    }
    let port: u16 = from_env("PORT", 8080)?;
    let start_delay_ms: u64 = from_env("START_DELAY_MS", 0)?;
    let workers: usize = from_env("WORKERS", 32)?;

    // First of all, for the kernel drops a SIGTERM that process 1 of a container has no handler
    // for, also while it is still starting.
    end_on_signal()?;
    thread::sleep(Duration::from_millis(start_delay_ms));
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "unnamed".to_owned());
    let app = Arc::new(App { host, rounds_per_ms: calibrate(), hits: AtomicU64::new(0) });
    let server = Arc::new(Server::http(("0.0.0.0", port)).map_err(|error| error.to_string())?);
    println!("app listens on {port}");

    let mut running = Vec::new();
    for number in 0..workers {
        let app = Arc::clone(&app);
        let server = Arc::clone(&server);
        let worker = Builder::new().name(format!("worker-{number}"));
        running.push(worker.spawn(move || serve(&app, &server))?);
    }
    for worker in running {
        worker.join().map_err(|_| "a worker panicked")?;
    }
    Err("no worker is left".into())
}

fn from_env<T>(name: &str, default: T) -> Result<T, String>
where
    T: FromStr,
    T::Err: Display,
{
    match std::env::var(name) {
        Err(_) => Ok(default),
        Ok(text) => text.parse().map_err(|error| format!("{name}: {error}, got {text:?}")),
    }
}

fn end_on_signal() -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    Builder::new().name("signals".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            std::process::exit(0);
        }
    })?;
    Ok(())
}

/// How many rounds a full core does in a millisecond. The fastest try counts: another process, or
/// the container's own limit, can only make a try slower.
fn calibrate() -> u64 {
    const TRIES: usize = 20;
    const ROUNDS: u64 = 500_000;
    let fastest = (0..TRIES)
        .map(|_| {
            let started = Instant::now();
            work(ROUNDS);
            started.elapsed()
        })
        .min()
        .unwrap_or_default();
    let nanos = u64::try_from(fastest.as_nanos()).unwrap_or(u64::MAX).max(1);
    (ROUNDS * 1_000_000 / nanos).max(1)
}

/// Each round needs the one before, so that no compiler and no wider core shortens it.
fn work(rounds: u64) {
    let mut value: u64 = black_box(1);
    for _ in 0..rounds {
        value = value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
    }
    black_box(value);
}

fn serve(app: &App, server: &Server) {
    while let Ok(request) = server.recv() {
        // A client that went away is no event for this app.
        let _ = answer(app, request);
    }
}

fn answer(app: &App, request: Request) -> io::Result<()> {
    let url = request.url().to_owned();
    let (path, query) = url.split_once('?').unwrap_or((&url, ""));
    if !["/health", "/hits"].contains(&path) {
        app.hits.fetch_add(1, Ordering::Relaxed);
    }
    let text = match path {
        "/" => format!("hello from {}\n", app.host),
        "/health" => "ok\n".to_owned(),
        "/burn" => {
            let ms = parameter(query, "ms", 10).min(5_000);
            work(ms * app.rounds_per_ms);
            format!("burnt {ms} ms on {}\n", app.host)
        }
        "/slow" => {
            let ms = parameter(query, "ms", 500).min(30_000);
            thread::sleep(Duration::from_millis(ms));
            format!("slept {ms} ms on {}\n", app.host)
        }
        "/hits" => format!("{}\n", app.hits.load(Ordering::Relaxed)),
        "/echo" => return echo(request),
        "/ws" => return websocket::converse(request),
        "/503" => {
            return request.respond(Response::from_string("not now\n").with_status_code(503));
        }
        "/die" => std::process::exit(1),
        // HTTP/1.0 knows no chunks, and the answer to a HEAD has none.
        "/stream" if *request.method() == Method::Get && *request.http_version() >= (1, 1) => {
            let chunks = parameter(query, "chunks", 10).min(1_000);
            let between = Duration::from_millis(parameter(query, "ms", 100).min(30_000));
            return stream(request, chunks, between);
        }
        _ => return request.respond(Response::from_string("not found\n").with_status_code(404)),
    };
    request.respond(Response::from_string(text))
}

fn echo(mut request: Request) -> io::Result<()> {
    let mut body = Vec::new();
    request.as_reader().take(ECHO_BYTES_MAX).read_to_end(&mut body)?;
    request.respond(Response::from_data(body))
}

/// Written by hand, because tiny_http gathers 8 KiB before it sends anything: the chunks would
/// leave in bursts, and the first byte late.
fn stream(request: Request, chunks: u64, between: Duration) -> io::Result<()> {
    let mut client = request.into_writer();
    client.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n",
    )?;
    let chunk = format!("{CHUNK_BYTES:x}\r\n{}\r\n", "x".repeat(CHUNK_BYTES));
    for number in 0..chunks {
        if number > 0 {
            thread::sleep(between);
        }
        client.write_all(chunk.as_bytes())?;
        client.flush()?;
    }
    client.write_all(b"0\r\n\r\n")?;
    client.flush()
}

/// A parameter that is absent or no number has its default.
fn parameter(query: &str, name: &str, default: u64) -> u64 {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.find(|(key, _)| *key == name).and_then(|(_, value)| value.parse().ok());
    value.unwrap_or(default)
}
