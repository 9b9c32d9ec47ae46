//! The thread that waits for all listeners and connections at once: it accepts, and notices which
//! connection HAProxy closed. It reads nothing from a connection that is held.

use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::activator::copy;
use crate::activator::held::{ActivatorState, HELD_MAX, WakeService};
use crate::model::time::Moment;

/// After a failure, as when no more files may be opened.
const RETRY: Duration = Duration::from_millis(100);

/// What the thread waits for. Each has its own count of the socket, so that the shared state may
/// let go of it meanwhile.
enum Watch {
    Listener(String, Arc<UnixListener>),
    Held(String, Arc<UnixStream>),
    Closing(Arc<UnixStream>),
}

impl Watch {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Watch::Listener(_, listener) => listener.as_fd(),
            Watch::Held(_, stream) | Watch::Closing(stream) => stream.as_fd(),
        }
    }

    /// HUP and ERR come unasked. Bytes that wait in a held connection are no event.
    fn events(&self) -> PollFlags {
        match self {
            Watch::Listener(..) | Watch::Closing(_) => PollFlags::IN,
            Watch::Held(..) => PollFlags::empty(),
        }
    }
}

/// Until the state is ended.
pub(crate) fn run(state: &Arc<ActivatorState>, nudged: &UnixStream) {
    // No connection is accepted before.
    let mut paused: Option<Moment> = None;
    loop {
        let now = state.now();
        paused = paused.filter(|until| now < *until);
        let Some((watches, timeout)) = watches(state, paused, now) else { return };
        let Ok(ready) = wait(nudged, &watches, timeout) else {
            thread::park_timeout(RETRY);
            continue;
        };
        drain(nudged);
        let mut is_changed = false;
        for watch in ready {
            match handle(state, watch) {
                Ok(change) => is_changed |= change,
                Err(_) => paused = Some(now.plus(RETRY)),
            }
        }
        drop(watches);
        state.refuse_more();
        let copies = state.take_for_copies();
        is_changed |= !copies.is_empty();
        copies.into_iter().for_each(copy::start);
        if is_changed {
            state.wake();
        }
    }
}

/// And how long to wait for them. `None` when the state is ended.
fn watches(
    state: &ActivatorState,
    paused: Option<Moment>,
    now: Moment,
) -> Option<(Vec<Watch>, Option<Duration>)> {
    let mut services = state.lock();
    if services.is_ended {
        return None;
    }
    services.closing.retain(|closing| now < closing.until);
    let mut watches = Vec::new();
    for (name, service) in &services.by_name {
        let has_room = service.held.len() < HELD_MAX && paused.is_none();
        let open = service.open.iter().filter(|_| has_room).flat_map(|open| &open.listeners);
        watches.extend(open.map(|one| Watch::Listener(name.clone(), one.clone())));
        let held = service.held.iter();
        watches.extend(held.map(|held| Watch::Held(name.clone(), held.stream.clone())));
    }
    watches.extend(services.closing.iter().map(|one| Watch::Closing(one.stream.clone())));
    let ends = services.closing.iter().map(|one| one.until).chain(paused);
    Some((watches, ends.min().map(|end| end.since(now))))
}

/// Returns those with an event.
fn wait<'a>(
    nudged: &UnixStream,
    watches: &'a [Watch],
    timeout: Option<Duration>,
) -> io::Result<Vec<&'a Watch>> {
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    let mut fds = vec![PollFd::new(nudged, PollFlags::IN)];
    fds.extend(watches.iter().map(|one| PollFd::from_borrowed_fd(one.fd(), one.events())));
    match poll(&mut fds, timeout.as_ref()).map_err(io::Error::from) {
        Err(err) if err.kind() != ErrorKind::Interrupted => return Err(err),
        Ok(_) | Err(_) => (),
    }
    let ready = fds[1..].iter().zip(watches).filter(|(fd, _)| !fd.revents().is_empty());
    Ok(ready.map(|(_, watch)| watch).collect())
}

fn drain(nudged: &UnixStream) {
    let mut part = [0; 64];
    while let Ok(1..) = (&*nudged).read(&mut part) {}
}

/// Returns whether `look` returns something else than before. Fails if nothing can be accepted
/// at present.
fn handle(state: &ActivatorState, watch: &Watch) -> io::Result<bool> {
    let mut services = state.lock();
    match watch {
        Watch::Listener(name, listener) => {
            let service = services.by_name.get_mut(name);
            match service.filter(|service| service.has_listener(listener)) {
                Some(service) => accept(state, service, listener),
                None => Ok(false),
            }
        }
        Watch::Held(name, stream) => {
            let Some(service) = services.by_name.get_mut(name) else { return Ok(false) };
            let before = service.held.len();
            service.held.retain(|held| !Arc::ptr_eq(&held.stream, stream));
            Ok(service.held.len() != before)
        }
        Watch::Closing(stream) => {
            services.closing.retain_mut(|one| !Arc::ptr_eq(&one.stream, stream) || one.discard());
            Ok(false)
        }
    }
}

/// All that wait, while there is room. None of the calls blocks.
fn accept(
    state: &ActivatorState,
    service: &mut WakeService,
    listener: &UnixListener,
) -> io::Result<bool> {
    let before = service.held.len();
    while service.held.len() < HELD_MAX {
        let accepted = listener.accept().and_then(|(stream, _)| {
            stream.set_nonblocking(true)?;
            Ok(stream)
        });
        match accepted {
            Ok(stream) => service.held.push_back(state.hold(stream)),
            Err(err) => match err.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {
                    break;
                }
                _ if before < service.held.len() => break,
                _ => return Err(err),
            },
        }
    }
    Ok(before < service.held.len())
}
