//! tiny_http, where no client reaches it: on a private Unix socket, which is given whole requests
//! one a connection, in words that this program chose. It has no deadlines and no limits of its
//! own, so both are kept here.

use std::io::{self, Cursor, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::Socket;
use tiny_http::{Header, Response, Server, StatusCode};

use crate::model::time::Moment;
use crate::outside::Clock;
use crate::regular_file::folder;
use crate::serve::desk::{Asked, Desk, Via};
use crate::serve::head::BODY_BYTES_MAX;
use crate::serve::intake::{Line, Request};
use crate::serve::reply::{self, Reply};
use crate::serve::{Files, spawn};
use crate::unix;

/// Requests at the desk at once; more orders than it takes are refused there, so that some of
/// these are free for those who only look.
const HANDLERS: usize = 4;
/// Requests that tiny_http has at once. Others wait at the gate.
const EXCHANGES: usize = 8;
/// From the gate to the answer. An order may take 10 s.
const EXCHANGE_TIME: Duration = Duration::from_secs(14);
const CONNECT_TIME: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Ours alone: only the listed headers of a client are handed on.
const VIA: &str = "X-Plimsoll-Via";

pub(crate) struct Inside {
    path: PathBuf,
    files: Arc<Files>,
    clock: Arc<dyn Clock>,
    desk: Arc<Desk>,
    gate: Gate,
    server: Mutex<Option<Arc<Server>>>,
}

impl Inside {
    /// Nothing runs before somebody asks.
    pub(crate) fn new(
        path: PathBuf,
        files: Arc<Files>,
        clock: Arc<dyn Clock>,
        desk: Desk,
    ) -> Inside {
        let gate = Gate { free: Mutex::new(EXCHANGES), changed: Condvar::new() };
        Inside { path, files, clock, desk: Arc::new(desk), gate, server: Mutex::new(None) }
    }

    /// The answer, whatever happens.
    pub(crate) fn exchange(&self, request: &Request, via: Via) -> Vec<u8> {
        let until = self.clock.now().plus(EXCHANGE_TIME);
        let Some(_pass) = self.gate.enter(&*self.clock, until) else {
            return Reply::busy("too many requests at once; try again").bytes();
        };
        let words = words(request, via);
        let answered = self.ask(&words, until).or_else(|err| match request.head.method.as_str() {
            // tiny_http may have given up just now. What changes something may have been done.
            "GET" | "HEAD" => self.ask(&words, until),
            _ => Err(err),
        });
        answered.unwrap_or_else(|err| {
            let remedy = "the log may tell more; see api.socket for where it works";
            Reply::busy(format!("no answer from inside: {err}")).detail(remedy).bytes()
        })
    }

    fn ask(&self, words: &[u8], until: Moment) -> io::Result<Vec<u8>> {
        let socket = Socket::from(OwnedFd::from(self.connect()?));
        let line = Line::new(&socket, &*self.clock);
        line.write(words, until)?;
        let answer = line.all(ANSWER_BYTES_MAX, until)?;
        reply::pass_on(&answer).ok_or_else(|| io::Error::other("it broke off"))
    }

    /// tiny_http gives up for ever at the first error of its own, as when no file may be opened
    /// any more. Then nobody answers, and it is started again.
    fn connect(&self) -> io::Result<UnixStream> {
        let connect = || match unix::connect(&self.path, CONNECT_TIME) {
            Ok(stream) => Ok(Some(stream)),
            Err(err) if is_nobody(&err) => Ok(None),
            // No file left for our end of it, say: the other end is well.
            Err(err) => Err(err),
        };
        if let Some(stream) = connect()? {
            return Ok(stream);
        }
        let mut server = lock(&self.server);
        // Another may have seen to it meanwhile.
        if let Some(stream) = connect()? {
            return Ok(stream);
        }
        if let Some(old) = server.replace(self.start()?) {
            (0..HANDLERS).for_each(|_| old.unblock());
        }
        unix::connect(&self.path, CONNECT_TIME)
    }

    fn start(&self) -> io::Result<Arc<Server>> {
        folder::make(self.path.parent().unwrap_or(Path::new("/")))?;
        // First, since a server that answers nobody would be taken for one that does.
        let handlers: Vec<SyncSender<Arc<Server>>> =
            (0..HANDLERS).map(|_| handler(self.desk.clone())).collect::<io::Result<_>>()?;
        let listener = UnixListener::from(OwnedFd::from(unix::listen(&self.path, 0o600)?));
        self.files.add(&self.path);
        let server = Server::from_listener(listener, None).map_err(io::Error::other)?;
        let server = Arc::new(server);
        // Dropped, it would remove the file by its name, which may be that of the next one by
        // then. `Files` removes it.
        std::mem::forget(server.clone());
        for handler in handlers {
            // It waits for nothing else.
            drop(handler.send(server.clone()));
        }
        Ok(server)
    }
}

/// Answers what the server that it is given takes in, until that is unblocked or gives up.
fn handler(desk: Arc<Desk>) -> io::Result<SyncSender<Arc<Server>>> {
    let (sender, given) = mpsc::sync_channel::<Arc<Server>>(1);
    spawn("desk", move || {
        let Ok(server) = given.recv() else { return };
        while let Ok(request) = server.recv() {
            handle(request, &desk);
        }
    })?;
    Ok(sender)
}

/// What tiny_http is told, all of it.
fn words(request: &Request, via: Via) -> Vec<u8> {
    let head = &request.head;
    let mut text = format!("{} {} HTTP/1.1\r\nConnection: close\r\n", head.method, head.target);
    for (name, value) in &head.headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("{VIA}: {}\r\nContent-Length: {}\r\n\r\n", via.word(), request.body.len());
    [text.as_bytes(), &request.body].concat()
}

fn handle(mut request: tiny_http::Request, desk: &Desk) {
    let reply = match asked(&mut request) {
        Some(asked) => {
            let answer = || desk.answer(&asked);
            catch_unwind(AssertUnwindSafe(answer)).unwrap_or_else(|_| {
                let (method, target) = (&asked.method, &asked.target);
                log::error!("message=\"an answer failed\" method={method} target={target:?}");
                Reply::error(500, "the answer failed by a bug of plimsoll's; see the log")
            })
        }
        None => Reply::error(500, "the request did not come through whole"),
    };
    let text = reply.text();
    let header =
        |(name, value): &(&str, String)| Header::from_bytes(name.as_bytes(), value.as_bytes()).ok();
    let headers = reply.headers.iter().filter_map(header).collect();
    let (status, length) = (StatusCode(reply.status), Some(text.len()));
    let response = Response::new(status, headers, Cursor::new(text), length, None);
    // Whoever asked may have been out of time.
    drop(request.respond(response.with_chunked_threshold(usize::MAX)));
}

fn asked(request: &mut tiny_http::Request) -> Option<Asked> {
    let find = |name: &'static str| {
        let header = request.headers().iter().find(|header| header.field.equiv(name));
        header.map(|header| header.value.as_str().to_owned())
    };
    let mut asked = Asked {
        via: Via::of(&find(VIA)?)?,
        method: request.method().as_str().to_owned(),
        target: request.url().to_owned(),
        host: find("host"),
        accept: find("accept"),
        authorization: find("authorization"),
        origin: find("origin"),
        fetch_site: find("sec-fetch-site"),
        body: Vec::new(),
    };
    let mut reader = request.as_reader().take(BODY_BYTES_MAX as u64);
    io::copy(&mut reader, &mut asked.body).ok()?;
    Some(asked)
}

fn is_nobody(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

struct Gate {
    free: Mutex<usize>,
    changed: Condvar,
}

/// Gives its place back when dropped.
struct Pass<'a>(&'a Gate);

impl Gate {
    fn enter(&self, clock: &dyn Clock, until: Moment) -> Option<Pass<'_>> {
        let mut free = lock(&self.free);
        while *free == 0 {
            let left = until.since(clock.now());
            if left.is_zero() {
                return None;
            }
            let waited = self.changed.wait_timeout(free, left);
            free = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *free -= 1;
        Some(Pass(self))
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        *lock(&self.0.free) += 1;
        self.0.changed.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
