//! The bridge to tiny_http, the HTTP server that the handlers run in. tiny_http has no deadlines
//! and no limits, so it never meets a client: it listens on a private Unix socket, and each checked
//! request is written to it anew, one a connection. Deadlines and limits are kept here.

use std::io::{self, Cursor, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::Socket;
use tiny_http::{Header, Server, StatusCode};

use crate::model::time::Moment;
use crate::outside::Clock;
use crate::regular_file::folder;
use crate::serve::connection::{Connection, RawRequest};
use crate::serve::handlers::ApiHandler;
use crate::serve::request::{ApiRequest, Channel};
use crate::serve::request_parser::BODY_BYTES_MAX;
use crate::serve::response::{self, Response};
use crate::serve::socket_files::SocketFiles;
use crate::serve::threads::spawn;
use crate::unix;

/// Requests that are handled at once. `handlers` lets fewer commands in, so that reads always find
/// a free thread.
const HANDLERS: usize = 4;
/// Requests that tiny_http has at once. Others wait for the semaphore.
const EXCHANGES: usize = 8;
/// Includes the wait for the semaphore. A command may take 10 s.
const EXCHANGE_TIME: Duration = Duration::from_secs(14);
const CONNECT_TIME: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// No client can set it: the request parser keeps only listed headers.
const VIA: &str = "X-Plimsoll-Channel";

pub(crate) struct TinyBridge {
    path: PathBuf,
    files: Arc<SocketFiles>,
    clock: Arc<dyn Clock>,
    handler: Arc<ApiHandler>,
    permits: Semaphore,
    server: Mutex<Option<Arc<Server>>>,
}

impl TinyBridge {
    /// tiny_http is started by the first request.
    pub(crate) fn new(
        path: PathBuf,
        files: Arc<SocketFiles>,
        clock: Arc<dyn Clock>,
        handler: ApiHandler,
    ) -> TinyBridge {
        let permits = Semaphore { free: Mutex::new(EXCHANGES), changed: Condvar::new() };
        let handler = Arc::new(handler);
        TinyBridge { path, files, clock, handler, permits, server: Mutex::new(None) }
    }

    /// Always gives an answer, as the bytes for the client.
    pub(crate) fn answer(&self, request: &RawRequest, via: Channel) -> Vec<u8> {
        let until = self.clock.now().plus(EXCHANGE_TIME);
        let Some(_permit) = self.permits.acquire(&*self.clock, until) else {
            return Response::busy("too many requests at once; try again").bytes();
        };
        let bytes = serialized(request, via);
        let answered = self.ask(&bytes, until).or_else(|err| match request.head.method.as_str() {
            // tiny_http may have stopped just now. A change is not sent twice.
            "GET" | "HEAD" => self.ask(&bytes, until),
            _ => Err(err),
        });
        answered.unwrap_or_else(|err| {
            let fix = "see the log; the internal socket is beside api.socket";
            Response::busy(format!("the internal HTTP server failed: {err}")).detail(fix).bytes()
        })
    }

    fn ask(&self, request: &[u8], until: Moment) -> io::Result<Vec<u8>> {
        let socket = Socket::from(OwnedFd::from(self.connect()?));
        let connection = Connection::new(&socket, &*self.clock);
        connection.write(request, until)?;
        let answer = connection.read_all(ANSWER_BYTES_MAX, until)?;
        response::filtered(&answer).ok_or_else(|| io::Error::other("its answer is incomplete"))
    }

    /// tiny_http stops for good at its first error to accept, as when the limit of open files is
    /// reached. Then nothing listens any more, and it is started again.
    fn connect(&self) -> io::Result<UnixStream> {
        let connect = || match unix::connect(&self.path, CONNECT_TIME) {
            Ok(stream) => Ok(Some(stream)),
            Err(err) if is_absent(&err) => Ok(None),
            // Of our own end, as when no file may be opened: the server still listens.
            Err(err) => Err(err),
        };
        if let Some(stream) = connect()? {
            return Ok(stream);
        }
        let mut server = lock(&self.server);
        // Another thread may have started it meanwhile.
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
        // First: a server without handlers would accept requests and never answer.
        let handlers: Vec<SyncSender<Arc<Server>>> = (0..HANDLERS)
            .map(|_| handler_thread(self.handler.clone()))
            .collect::<io::Result<_>>()?;
        let listener = UnixListener::from(OwnedFd::from(unix::listen(&self.path, 0o600)?));
        self.files.add(&self.path);
        let server = Server::from_listener(listener, None).map_err(io::Error::other)?;
        let server = Arc::new(server);
        // Its drop would remove the socket file by name, by then perhaps its successor's.
        // `SocketFiles` removes the file.
        std::mem::forget(server.clone());
        for handler in handlers {
            // A thread that ended is one handler fewer.
            drop(handler.send(server.clone()));
        }
        Ok(server)
    }
}

/// A thread that answers the requests of the server that it is sent, until that one is unblocked or
/// stops.
fn handler_thread(handler: Arc<ApiHandler>) -> io::Result<SyncSender<Arc<Server>>> {
    let (sender, given) = mpsc::sync_channel::<Arc<Server>>(1);
    spawn("handler", move || {
        let Ok(server) = given.recv() else { return };
        while let Ok(request) = server.recv() {
            handle(request, &handler);
        }
    })?;
    Ok(sender)
}

/// All that tiny_http gets to see.
fn serialized(request: &RawRequest, via: Channel) -> Vec<u8> {
    let head = &request.head;
    let mut text = format!("{} {} HTTP/1.1\r\nConnection: close\r\n", head.method, head.target);
    for (name, value) in &head.headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("{VIA}: {}\r\nContent-Length: {}\r\n\r\n", via.word(), request.body.len());
    [text.as_bytes(), &request.body].concat()
}

fn handle(mut request: tiny_http::Request, handler: &ApiHandler) {
    let answer = match parsed(&mut request) {
        Some(api_request) => {
            let answer = || handler.answer(&api_request);
            catch_unwind(AssertUnwindSafe(answer)).unwrap_or_else(|_| {
                let ApiRequest { method, target, .. } = &api_request;
                log::error!("message=\"a handler panicked\" method={method} target={target:?}");
                Response::error(500, "internal error in plimsoll (please report); see the log")
            })
        }
        None => Response::error(500, "the internal HTTP server lost a part of the request"),
    };
    let text = answer.text();
    let header =
        |(name, value): &(&str, String)| Header::from_bytes(name.as_bytes(), value.as_bytes()).ok();
    let headers = answer.headers.iter().filter_map(header).collect();
    let status = StatusCode(answer.status);
    let length = Some(text.len());
    let response = tiny_http::Response::new(status, headers, Cursor::new(text), length, None);
    // The client may have given up.
    drop(request.respond(response.with_chunked_threshold(usize::MAX)));
}

fn parsed(request: &mut tiny_http::Request) -> Option<ApiRequest> {
    let find = |name: &'static str| {
        let header = request.headers().iter().find(|header| header.field.equiv(name));
        header.map(|header| header.value.as_str().to_owned())
    };
    let mut api_request = ApiRequest {
        via: Channel::of(&find(VIA)?)?,
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
    io::copy(&mut reader, &mut api_request.body).ok()?;
    Some(api_request)
}

fn is_absent(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

struct Semaphore {
    free: Mutex<usize>,
    changed: Condvar,
}

/// Given back when dropped.
struct Permit<'a>(&'a Semaphore);

impl Semaphore {
    /// `None` when `until` has passed.
    fn acquire(&self, clock: &dyn Clock, until: Moment) -> Option<Permit<'_>> {
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
        Some(Permit(self))
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *lock(&self.0.free) += 1;
        self.0.changed.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
