//! With real sockets, and a clock that only the tests move.

mod copying;
mod holding;
mod listening;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;
use std::{env, fs, process};

use socket2::{Domain, Socket, Type};

use crate::activator::SocketActivator;
use crate::activator::listeners::AddressKinds;
use crate::model::sleep::{Activity, wake_socket};
use crate::model::time::{Moment, Wall};
use crate::outside::{Activator, Clock};
use crate::unix;

const BOUND: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(5);

struct HandClock(AtomicU64);

impl HandClock {
    fn pass(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::SeqCst))
    }

    fn wall(&self) -> Wall {
        Wall(0)
    }
}

struct Rig {
    folder: PathBuf,
    clock: Arc<HandClock>,
    wakes: Arc<AtomicUsize>,
    activator: SocketActivator,
}

impl Rig {
    fn new() -> Rig {
        let rig = Rig::of(None, AddressKinds::File);
        assert_eq!(rig.listen(&["web"]), BTreeMap::new());
        rig
    }

    fn of(owner: Option<u32>, kinds: AddressKinds) -> Rig {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let folder = env::temp_dir().join(format!("plimsoll-wake-{}-{number}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let clock = Arc::new(HandClock(AtomicU64::new(1_000_000)));
        let wakes = Arc::new(AtomicUsize::new(0));
        let count = wakes.clone();
        let wake = Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let socket = folder.join("haproxy.sock");
        let activator = SocketActivator::new(socket, owner, kinds, clock.clone(), wake).unwrap();
        Rig { folder, clock, wakes, activator }
    }

    fn listen(&self, services: &[&str]) -> BTreeMap<String, String> {
        self.activator.listen(&services.iter().map(|name| (*name).to_owned()).collect())
    }

    fn path(&self, service: &str) -> PathBuf {
        wake_socket(&self.folder.join("haproxy.sock"), service)
    }

    /// As HAProxy does.
    fn connect(&self) -> UnixStream {
        unix::connect(&self.path("web"), BOUND).unwrap()
    }

    fn web(&self) -> Activity {
        self.activator.look().remove("web").unwrap_or_default()
    }

    #[track_caller]
    fn reached(&self, held: u32, copies: u32) {
        let mut last = Activity::default();
        let is_reached = reached(|| {
            last = self.web();
            (last.held, last.copies.values().sum::<u32>()) == (held, copies)
        });
        assert!(is_reached, "{held} held and {copies} copies were wanted: {last:?}");
    }

    /// A connection that is held, and then copied to this replica.
    #[track_caller]
    fn copied(&self, to: SocketAddr) -> UnixStream {
        self.activator.forward("web", &[]);
        let stream = self.connect();
        self.reached(1, 0);
        self.activator.forward("web", &[to]);
        stream
    }

    fn wakes(&self) -> usize {
        self.wakes.load(Ordering::SeqCst)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn reached(mut is_so: impl FnMut() -> bool) -> bool {
    for _ in 0..BOUND.as_millis() / PAUSE.as_millis() {
        if is_so() {
            return true;
        }
        thread::park_timeout(PAUSE);
    }
    is_so()
}

/// Serves one connection.
fn replica<T: Send + 'static>(
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, mpsc::Receiver<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (done, result) = mpsc::channel();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        stream.set_write_timeout(Some(BOUND)).unwrap();
        drop(done.send(serve(stream)));
    });
    (address, result)
}

/// An address where nobody listens. It is taken, or another test might get it.
fn closed() -> SocketAddr {
    static TAKEN: OnceLock<Socket> = OnceLock::new();
    let socket = TAKEN.get_or_init(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        socket
    });
    socket.local_addr().unwrap().as_socket().unwrap()
}

/// Up to the end.
fn all(mut stream: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::copy(&mut stream, &mut bytes).map(|_| bytes)
}

/// It ends, with or without a reset, and no byte comes before.
#[track_caller]
fn assert_cut(stream: UnixStream) {
    match all(stream) {
        Ok(bytes) => assert_eq!(bytes, b""),
        Err(err) => assert_eq!(err.kind(), ErrorKind::ConnectionReset),
    }
}

fn body(length: u32, salt: u32) -> Vec<u8> {
    (0..length).map(|i| u8::try_from((i ^ (i >> 8) ^ salt) & 0xff).unwrap()).collect()
}
