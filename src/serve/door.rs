//! Where clients come in: TCP and the control socket. One request a connection, one thread each, as
//! many as there is room for; the others are turned away at once.

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

use crate::model::counted::Counted;
use crate::outside::{Clock, Tally};
use crate::regular_file::folder;
use crate::serve::desk::Via;
use crate::serve::inside::Inside;
use crate::serve::intake::{Line, Request};
use crate::serve::reply::{self, Reply};
use crate::serve::routes::Route;
use crate::serve::{Files, spawn};
use crate::unix;

/// Those of the control socket are its own, so that a crowd on TCP locks no operator out.
const TCP_CONNECTIONS: usize = 64;
const CONTROL_CONNECTIONS: usize = 16;
/// One client leaves room for others, however many it opens.
const ADDRESS_CONNECTIONS: usize = 16;
/// For whom there is no room.
const FULL: u16 = 503;
/// In place of what a client made up.
const OTHER: &str = "other";
/// Between two tries to listen.
const RETRY: Duration = Duration::from_secs(10);
/// After an error to accept, as when no file may be opened any more.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Files that the daemon needs for its job, whatever clients there are.
const FILES_KEPT: usize = 64;

/// What all connections share.
pub(crate) struct Hall {
    clock: Arc<dyn Clock>,
    inside: Inside,
    files: Arc<Files>,
    tcp: Arc<Taken>,
    control: Arc<Taken>,
    tally: Tally,
}

impl Hall {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        inside: Inside,
        files: Arc<Files>,
        tally: Tally,
    ) -> Hall {
        Hall { clock, inside, files, tcp: Arc::default(), control: Arc::default(), tally }
    }

    /// A request that never became whole has neither method nor route.
    fn count(&self, request: Option<&Request>, code: u16, took: Option<Duration>) {
        let route = request.and_then(|request| Route::of(&request.head.target));
        let route = route.map_or(OTHER, |route| route.pattern());
        let method = request.map_or(OTHER, |request| method(&request.head.method));
        (self.tally)(Counted::Request { method, route, code, took });
    }
}

pub(crate) enum Place {
    Tcp(SocketAddr),
    Control(PathBuf),
}

impl Place {
    pub(crate) fn thread(&self) -> &'static str {
        match self {
            Place::Tcp(_) => "http",
            Place::Control(_) => "control",
        }
    }

    fn listen(&self, files: &Files) -> io::Result<Socket> {
        match self {
            Place::Tcp(address) => Ok(Socket::from(OwnedFd::from(TcpListener::bind(address)?))),
            Place::Control(path) => {
                folder::make(path.parent().unwrap_or(Path::new("/")))?;
                let socket = unix::listen(path, 0o660)?;
                files.add(path);
                Ok(socket)
            }
        }
    }

    fn shown(&self) -> String {
        match self {
            Place::Tcp(address) => address.to_string(),
            Place::Control(path) => path.display().to_string(),
        }
    }

    fn trouble(&self, err: &io::Error) -> String {
        let key = match self {
            Place::Tcp(_) => "api.listen",
            Place::Control(_) => "api.socket",
        };
        let remedy = match err.kind() {
            ErrorKind::AddrInUse => format!("end what is there, or give another {key}"),
            ErrorKind::PermissionDenied => format!("allow this user to, or give another {key}"),
            _ => format!("see {key}"),
        };
        let (place, retry) = (self.shown(), RETRY.as_secs());
        format!("cannot listen on {place}: {err}; {remedy}; it is tried again every {retry} s")
    }
}

/// For ever. Trouble is told once, and so is its end.
pub(crate) fn keep(place: &Place, hall: &Arc<Hall>) {
    let mut told = false;
    let listener = loop {
        match place.listen(&hall.files) {
            Ok(listener) => break listener,
            Err(err) if !told => log::error!("message={:?}", place.trouble(&err)),
            Err(_) => (),
        }
        told = true;
        thread::park_timeout(RETRY);
    };
    log::info!("message={:?}", format!("listening on {}", place.shown()));
    let (taken, room) = match place {
        Place::Tcp(_) => (&hall.tcp, TCP_CONNECTIONS),
        Place::Control(_) => (&hall.control, CONTROL_CONNECTIONS),
    };
    let room = room.min(room_by_limit());
    loop {
        match listener.accept() {
            Ok((socket, from)) => {
                let from = from.as_socket().map(|from| host(from.ip()));
                welcome(place, hall, Slot::take(taken, from, room), socket);
            }
            Err(err) if err.kind() == ErrorKind::Interrupted => (),
            // One client's trouble, or too many open files: the next one may fare better.
            Err(_) => thread::park_timeout(ACCEPT_PAUSE),
        }
    }
}

fn welcome(place: &Place, hall: &Arc<Hall>, slot: Option<Slot>, socket: Socket) {
    let via = match place {
        Place::Tcp(_) => Via::Tcp,
        Place::Control(_) => Via::Control,
    };
    let full = || Reply::busy("all connections are taken; try again").bytes();
    let Some(slot) = slot else {
        hall.count(None, FULL, None);
        Line::new(&socket, &*hall.clock).turn_away(&full());
        return;
    };
    let socket = Arc::new(socket);
    let kept = socket.clone();
    let serve = {
        let hall = hall.clone();
        move || {
            let _slot = slot;
            let line = Line::new(&socket, &*hall.clock);
            // What a bug costs is this connection.
            drop(catch_unwind(AssertUnwindSafe(|| converse(&line, &hall, via))));
        }
    };
    if spawn("client", serve).is_err() {
        hall.count(None, FULL, None);
        Line::new(&kept, &*hall.clock).turn_away(&full());
    }
}

fn converse(line: &Line, hall: &Hall, via: Via) {
    match line.request() {
        Ok(Some(request)) => {
            let begun = hall.clock.fine();
            let answer = hall.inside.exchange(&request, via);
            let took = hall.clock.fine().saturating_sub(begun);
            hall.count(Some(&request), reply::status(&answer), Some(took));
            line.answer(&answer);
        }
        Ok(None) => (),
        Err(bad) => {
            hall.count(None, bad.0, None);
            line.answer(&Reply::error(bad.0, bad.1).bytes());
        }
    }
}

/// What clients may call a method is without end.
fn method(asked: &str) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.into_iter().find(|known| *known == asked).unwrap_or(OTHER)
}

/// Connections by whom they come from; `None` is the control socket, where nobody is told apart.
#[derive(Debug, Default)]
struct Taken(Mutex<BTreeMap<Option<IpAddr>, usize>>);

/// One connection's room.
struct Slot {
    taken: Arc<Taken>,
    from: Option<IpAddr>,
}

impl Slot {
    fn take(taken: &Arc<Taken>, from: Option<IpAddr>, room: usize) -> Option<Slot> {
        let mut all = lock(&taken.0);
        let of_one = all.get(&from).copied().unwrap_or(0);
        let is_crowd = from.is_some() && ADDRESS_CONNECTIONS <= of_one;
        if is_crowd || room <= all.values().sum() {
            return None;
        }
        all.insert(from, of_one + 1);
        Some(Slot { taken: taken.clone(), from })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut all = lock(&self.taken.0);
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

/// Whoever has one address of IPv6 has all of its network, which are 64 bits of it.
fn host(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => {
            let network = ip.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

/// A connection needs a file, and an exchange inside some more.
fn room_by_limit() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok());
    soft.map_or(usize::MAX, |soft| (soft.saturating_sub(FILES_KEPT) / 2).max(2))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use crate::serve::door::{ADDRESS_CONNECTIONS, Slot, Taken, host};

    #[test]
    fn one_address_has_its_share_and_all_have_no_more_than_there_is() {
        let taken = Arc::new(Taken::default());
        let ip = |text: &str| Some(host(text.parse::<IpAddr>().unwrap()));
        let take = |from| Slot::take(&taken, from, 40);
        let mut held: Vec<Slot> = (0..16).map(|_| take(ip("10.0.0.1")).unwrap()).collect();
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
        assert!(taken.0.lock().unwrap().is_empty());
        // The control socket's clients have no address, and no share.
        assert_eq!((0..50).map_while(|_| take(None)).collect::<Vec<_>>().len(), 40);
    }
}
