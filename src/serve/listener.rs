//! Accepts clients on TCP and on the control socket: one request a connection, one thread each, up
//! to a limit. A connection beyond the limit is rejected at once.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use socket2::Socket;

use crate::model::metric_event::MetricEvent;
use crate::outside::{Clock, MetricsSink};
use crate::regular_file::folder;
use crate::serve::connection::{Connection, RawRequest};
use crate::serve::request::Channel;
use crate::serve::response::{self, Response};
use crate::serve::routes::Route;
use crate::serve::socket_files::SocketFiles;
use crate::serve::threads::spawn;
use crate::serve::tiny_bridge::TinyBridge;
use crate::unix;

/// The control socket has a limit of its own, so that a crowd on TCP locks no operator out.
const TCP_CONNECTIONS: usize = 64;
const CONTROL_CONNECTIONS: usize = 16;
/// From one IP address.
const ADDRESS_CONNECTIONS: usize = 16;
/// The status of a rejected connection.
const FULL: u16 = 503;
/// In addr of what a client made up.
const OTHER: &str = "other";
/// Between two attempts to listen.
const RETRY: Duration = Duration::from_secs(10);
/// After a failed accept, as when the limit of open files is reached.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// SocketFiles that the daemon needs for its job, whatever clients there are.
const FILES_RESERVED: usize = 64;

/// What all connections share.
pub(crate) struct ServerContext {
    clock: Arc<dyn Clock>,
    bridge: TinyBridge,
    files: Arc<SocketFiles>,
    tcp: Arc<ConnectionCounts>,
    control: Arc<ConnectionCounts>,
    metrics_sink: MetricsSink,
}

impl ServerContext {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        bridge: TinyBridge,
        files: Arc<SocketFiles>,
        metrics_sink: MetricsSink,
    ) -> ServerContext {
        ServerContext {
            clock,
            bridge,
            files,
            tcp: Arc::default(),
            control: Arc::default(),
            metrics_sink,
        }
    }

    /// An incomplete request has neither method nor route.
    fn count(&self, request: Option<&RawRequest>, code: u16, took: Option<Duration>) {
        let route = request.and_then(|request| Route::of(&request.head.target));
        let route = route.map_or(OTHER, |route| route.pattern());
        let method = request.map_or(OTHER, |request| method(&request.head.method));
        (self.metrics_sink)(MetricEvent::Request { method, route, code, took });
    }
}

pub(crate) enum ListenAddr {
    Tcp(SocketAddr),
    Control(PathBuf),
}

impl ListenAddr {
    pub(crate) fn thread(&self) -> &'static str {
        match self {
            ListenAddr::Tcp(_) => "http",
            ListenAddr::Control(_) => "control",
        }
    }

    fn listen(&self, files: &SocketFiles) -> io::Result<Socket> {
        match self {
            ListenAddr::Tcp(address) => {
                Ok(Socket::from(OwnedFd::from(TcpListener::bind(address)?)))
            }
            ListenAddr::Control(path) => {
                folder::make(path.parent().unwrap_or(Path::new("/")))?;
                let socket = unix::listen(path, 0o660)?;
                files.add(path);
                Ok(socket)
            }
        }
    }

    fn text(&self) -> String {
        match self {
            ListenAddr::Tcp(address) => address.to_string(),
            ListenAddr::Control(path) => path.display().to_string(),
        }
    }

    fn listen_failure(&self, err: &io::Error) -> String {
        let key = match self {
            ListenAddr::Tcp(_) => "api.listen",
            ListenAddr::Control(_) => "api.socket",
        };
        let remedy = match err.kind() {
            ErrorKind::AddrInUse => format!("end what is there, or give another {key}"),
            ErrorKind::PermissionDenied => format!("allow this user to, or give another {key}"),
            _ => format!("see {key}"),
        };
        let addr = self.text();
        let retry = RETRY.as_secs();
        format!("cannot listen on {addr}: {err}; {remedy}; it is tried again every {retry} s")
    }
}

/// Does not return. A failure to listen is logged once, until it succeeds.
pub(crate) fn serve_forever(addr: &ListenAddr, context: &Arc<ServerContext>) {
    let mut is_logged = false;
    let listener = loop {
        match addr.listen(&context.files) {
            Ok(listener) => break listener,
            Err(err) if !is_logged => log::error!("message={:?}", addr.listen_failure(&err)),
            Err(_) => (),
        }
        is_logged = true;
        thread::park_timeout(RETRY);
    };
    log::info!("message={:?}", format!("listening on {}", addr.text()));
    let (counts, limit) = match addr {
        ListenAddr::Tcp(_) => (&context.tcp, TCP_CONNECTIONS),
        ListenAddr::Control(_) => (&context.control, CONTROL_CONNECTIONS),
    };
    let limit = limit.min(connections_by_file_limit());
    loop {
        match listener.accept() {
            Ok((socket, from)) => {
                let from = from.as_socket().map(|from| host(from.ip()));
                accept(addr, context, ConnectionSlot::take(counts, from, limit), socket);
            }
            Err(err) if err.kind() == ErrorKind::Interrupted => (),
            // The client left, or too many files are open: the next accept may succeed.
            Err(_) => thread::park_timeout(ACCEPT_PAUSE),
        }
    }
}

fn accept(
    addr: &ListenAddr,
    context: &Arc<ServerContext>,
    slot: Option<ConnectionSlot>,
    socket: Socket,
) {
    let via = match addr {
        ListenAddr::Tcp(_) => Channel::Tcp,
        ListenAddr::Control(_) => Channel::Control,
    };
    let full = || Response::busy("all connections are taken; try again").bytes();
    let Some(slot) = slot else {
        context.count(None, FULL, None);
        Connection::new(&socket, &*context.clock).reject(&full());
        return;
    };
    let socket = Arc::new(socket);
    let kept = socket.clone();
    let serve = {
        let context = context.clone();
        move || {
            let _slot = slot;
            let connection = Connection::new(&socket, &*context.clock);
            // A panic ends only this connection.
            drop(catch_unwind(AssertUnwindSafe(|| handle(&connection, &context, via))));
        }
    };
    if spawn("client", serve).is_err() {
        context.count(None, FULL, None);
        Connection::new(&kept, &*context.clock).reject(&full());
    }
}

fn handle(connection: &Connection, context: &ServerContext, via: Channel) {
    match connection.request() {
        Ok(Some(request)) => {
            let begun = context.clock.fine();
            let answer = context.bridge.answer(&request, via);
            let took = context.clock.fine().saturating_sub(begun);
            context.count(Some(&request), response::status(&answer), Some(took));
            connection.answer(&answer);
        }
        Ok(None) => (),
        Err(bad) => {
            context.count(None, bad.0, None);
            connection.answer(&Response::error(bad.0, bad.1).bytes());
        }
    }
}

/// As a metric label: clients can send any word.
fn method(asked: &str) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.into_iter().find(|known| *known == asked).unwrap_or(OTHER)
}

/// Open connections by client address. `None` is the control socket, whose clients have none.
#[derive(Debug, Default)]
struct ConnectionCounts(Mutex<BTreeMap<Option<IpAddr>, usize>>);

/// One connection's share of the limits, until it is dropped.
struct ConnectionSlot {
    counts: Arc<ConnectionCounts>,
    from: Option<IpAddr>,
}

impl ConnectionSlot {
    fn take(
        counts: &Arc<ConnectionCounts>,
        from: Option<IpAddr>,
        limit: usize,
    ) -> Option<ConnectionSlot> {
        let mut all = lock(&counts.0);
        let of_one = all.get(&from).copied().unwrap_or(0);
        let is_crowd = from.is_some() && ADDRESS_CONNECTIONS <= of_one;
        if is_crowd || limit <= all.values().sum() {
            return None;
        }
        all.insert(from, of_one + 1);
        Some(ConnectionSlot { counts: counts.clone(), from })
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut all = lock(&self.counts.0);
        let left = all.get(&self.from).copied().unwrap_or(0).saturating_sub(1);
        match left {
            0 => drop(all.remove(&self.from)),
            _ => drop(all.insert(self.from, left)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An IPv6 client has the whole /64 network of its address.
fn host(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => {
            let network = ip.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

/// A connection needs one open file, and its request to tiny_http another.
fn connections_by_file_limit() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok());
    soft.map_or(usize::MAX, |soft| (soft.saturating_sub(FILES_RESERVED) / 2).max(2))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use crate::serve::listener::{ADDRESS_CONNECTIONS, ConnectionCounts, ConnectionSlot, host};

    #[test]
    fn one_address_has_its_share_and_all_have_no_more_than_there_is() {
        let counts = Arc::new(ConnectionCounts::default());
        let ip = |text: &str| Some(host(text.parse::<IpAddr>().unwrap()));
        let take = |from| ConnectionSlot::take(&counts, from, 40);
        let mut held: Vec<ConnectionSlot> =
            (0..16).map(|_| take(ip("10.0.0.1")).unwrap()).collect();
        assert_eq!(held.len(), ADDRESS_CONNECTIONS);
        assert!(take(ip("10.0.0.1")).is_none() && take(ip("::ffff:10.0.0.1")).is_none());
        // One network of IPv6 is one client, and the next is another.
        held.extend((0..16).map(|n| take(ip(&format!("2001:db8::{n}"))).unwrap()));
        assert!(take(ip("2001:db8::1:2:3:4")).is_none());
        held.extend((0..8).map(|_| take(ip("2001:db8:0:1::")).unwrap()));
        assert!(take(ip("10.0.0.2")).is_none(), "40 are taken");
        held.remove(0);
        held.push(take(ip("10.0.0.1")).unwrap());
        held.clear();
        assert!(counts.0.lock().unwrap().is_empty());
        // The control socket's clients have no address, and no share.
        assert_eq!((0..50).map_while(|_| take(None)).collect::<Vec<_>>().len(), 40);
    }
}
