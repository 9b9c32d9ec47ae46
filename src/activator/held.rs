//! The connections of HAProxy's that the daemon has: held, copied, or refused and not yet closed.
//! All threads share them under one lock, which nobody holds while something may block.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::mem;
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::activator::listeners::OpenListeners;
use crate::model::sleep::Activity;
use crate::model::time::Moment;
use crate::outside::Clock;

/// Of one service. HAProxy sends one, and one more for each process that it replaced.
pub(crate) const HELD_MAX: usize = 16;
/// Of all services. Each has a thread and two descriptors.
const COPIES_MAX: usize = 256;
/// Of one service, since the last look.
const ANSWERED_MAX: usize = 256;
/// Of all services; the oldest is closed at once when there are more.
const CLOSING_MAX: usize = 128;
/// HAProxy has so long to read an answer before the connection is closed.
const CLOSING: Duration = Duration::from_secs(1);
/// After a refusal, what HAProxy queued behind it comes and is refused too: it has waited as well.
const REFUSING: Duration = Duration::from_millis(500);
/// What is discarded of a request that was refused.
const DISCARDED_BYTES_MAX: usize = 4 << 20;
const PART_BYTES: usize = 16 << 10;

/// Nothing was read from it.
#[derive(Clone, Debug)]
pub(crate) struct HeldConnection {
    pub(crate) stream: Arc<UnixStream>,
    pub(crate) since: Moment,
    /// The same time on the fine clock.
    accepted: Duration,
}

/// It was answered, and HAProxy may still send its request.
pub(crate) struct ClosingConnection {
    pub(crate) stream: Arc<UnixStream>,
    pub(crate) until: Moment,
    left: usize,
}

/// What one service has.
#[derive(Default)]
pub(crate) struct WakeService {
    /// `None`: it is not listened for, and what it has is copied to its end.
    pub(crate) open: Option<OpenListeners>,
    pub(crate) held: VecDeque<HeldConnection>,
    copies: BTreeMap<SocketAddr, u32>,
    /// Replicas that connections are copied to as they come. Empty: they are held.
    targets: Vec<SocketAddr>,
    /// Until when what comes is refused, and how.
    refusing: Option<(Moment, Option<Duration>)>,
    answered: Vec<Duration>,
    /// Counts connections, to choose replicas in turn.
    turn: usize,
}

/// What the threads share.
#[derive(Default)]
pub(crate) struct WakeServices {
    pub(crate) by_name: BTreeMap<String, WakeService>,
    pub(crate) closing: VecDeque<ClosingConnection>,
    copies: usize,
    pub(crate) is_ended: bool,
}

/// The shared state, and whom to tell of changes.
pub(crate) struct ActivatorState {
    services: Mutex<WakeServices>,
    clock: Arc<dyn Clock>,
    wake: Arc<dyn Fn() + Send + Sync>,
    nudge: UnixStream,
}

/// A connection on its way to a replica, which counts as a copy from now on until this is dropped.
/// If nothing of it was read by then, it is held again.
pub(crate) struct CountedCopy {
    state: Arc<ActivatorState>,
    service: String,
    pub(crate) to: SocketAddr,
    accepted: Duration,
    unread: Option<HeldConnection>,
}

impl ActivatorState {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        wake: Arc<dyn Fn() + Send + Sync>,
        nudge: UnixStream,
    ) -> ActivatorState {
        ActivatorState { services: Mutex::default(), clock, wake, nudge }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, WakeServices> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Reports to the event loop that something changed.
    pub(crate) fn wake(&self) {
        (self.wake)();
    }

    /// The poller looks at the shared state again. A full socket means that it will.
    fn nudge(&self) {
        drop((&self.nudge).write(&[0]));
    }

    pub(crate) fn end(&self) {
        self.lock().is_ended = true;
        self.nudge();
    }

    pub(crate) fn is_idle(&self) -> bool {
        let services = self.lock();
        let has_held = services.by_name.values().any(|service| !service.held.is_empty());
        !has_held && services.copies == 0 && services.closing.is_empty()
    }

    /// What services that are not among these hold is closed.
    pub(crate) fn set_listeners(&self, mut open: BTreeMap<String, OpenListeners>) {
        let mut services = self.lock();
        for (name, service) in &mut services.by_name {
            service.open = open.remove(name);
            if service.open.is_none() {
                service.held.clear();
                // By the time it is listened for again they may be of other services.
                service.targets.clear();
            }
        }
        for (name, open) in open {
            let service = WakeService { open: Some(open), ..WakeService::default() };
            services.by_name.insert(name, service);
        }
        services.by_name.retain(|_, service| service.is_needed());
        drop(services);
        self.nudge();
    }

    pub(crate) fn look(&self) -> BTreeMap<String, Activity> {
        let mut services = self.lock();
        services.by_name.iter_mut().map(|(name, one)| (name.clone(), one.look())).collect()
    }

    pub(crate) fn hold(&self, stream: UnixStream) -> HeldConnection {
        let stream = Arc::new(stream);
        HeldConnection { stream, since: self.clock.now(), accepted: self.clock.fine() }
    }

    /// What is held now, and what comes until another call.
    pub(crate) fn set_targets(&self, service: &str, to: &[SocketAddr]) {
        let mut services = self.lock();
        let own = services.by_name.get_mut(service);
        let Some(own) = own.filter(|own| own.open.is_some()) else { return };
        own.targets = to.to_vec();
        if !to.is_empty() {
            own.refusing = None;
        }
        let has_work = !own.held.is_empty() && !to.is_empty();
        drop(services);
        if has_work {
            self.nudge();
        }
    }

    /// While there is room for copies, the oldest of each service first.
    pub(crate) fn take_for_copies(self: &Arc<ActivatorState>) -> Vec<CountedCopy> {
        let mut taken = Vec::new();
        let mut services = self.lock();
        let WakeServices { by_name, copies, .. } = &mut *services;
        for (service, own) in by_name {
            while *copies < COPIES_MAX && !own.targets.is_empty() {
                let Some(held) = own.held.pop_front() else { break };
                let to = own.targets[own.turn % own.targets.len()];
                own.turn = own.turn.wrapping_add(1);
                *own.copies.entry(to).or_default() += 1;
                *copies += 1;
                let state = self.clone();
                let service = service.clone();
                let accepted = held.accepted;
                taken.push(CountedCopy { state, service, to, accepted, unread: Some(held) });
            }
        }
        taken
    }

    fn end_copy(&self, service: &str, to: SocketAddr, unread: Option<HeldConnection>) {
        let mut services = self.lock();
        services.copies = services.copies.saturating_sub(1);
        if let Some(own) = services.by_name.get_mut(service) {
            if let Some(count) = own.copies.get_mut(&to) {
                *count -= 1;
            }
            own.copies.retain(|_, count| 0 < *count);
            // In the order of arrival. The next tick says where to try again.
            if let Some(held) = unread.filter(|_| own.open.is_some()) {
                own.targets.clear();
                let place = own.held.partition_point(|other| other.since <= held.since);
                own.held.insert(place, held);
            }
        }
        services.by_name.retain(|_, service| service.is_needed());
        drop(services);
        self.nudge();
        self.wake();
    }

    fn record_answer(&self, service: &str, accepted: Duration) {
        let span = self.clock.fine().saturating_sub(accepted);
        let mut services = self.lock();
        let own = services.by_name.get_mut(service);
        if let Some(own) = own.filter(|own| own.answered.len() < ANSWERED_MAX) {
            own.answered.push(span);
        }
    }

    /// What is held now, and what comes soon after it.
    pub(crate) fn refuse(&self, service: &str, retry_after: Option<Duration>) {
        let mut services = self.lock();
        let own = services.by_name.get_mut(service).filter(|own| !own.held.is_empty());
        let Some(own) = own else { return };
        own.refusing = Some((self.clock.now().plus(REFUSING), retry_after));
        let held = mem::take(&mut own.held);
        drop(services);
        self.close(held, retry_after);
        self.nudge();
    }

    /// What came since a refusal.
    pub(crate) fn refuse_more(&self) {
        let now = self.clock.now();
        let mut services = self.lock();
        let mut all = Vec::new();
        for own in services.by_name.values_mut() {
            own.refusing = own.refusing.filter(|(until, _)| now < *until);
            if let Some((_, retry_after)) = own.refusing {
                all.push((mem::take(&mut own.held), retry_after));
            }
        }
        drop(services);
        all.into_iter().for_each(|(held, retry_after)| self.close(held, retry_after));
    }

    /// With an answer if there is a `retry_after`.
    fn close(&self, held: VecDeque<HeldConnection>, retry_after: Option<Duration>) {
        let Some(retry_after) = retry_after else { return };
        let until = self.clock.now().plus(CLOSING);
        let closing = held.into_iter().filter_map(|held| answered(held, retry_after, until));
        let closing: Vec<ClosingConnection> = closing.collect();
        let mut services = self.lock();
        services.closing.extend(closing);
        let surplus = services.closing.len().saturating_sub(CLOSING_MAX);
        drop(services.closing.drain(..surplus));
    }
}

impl WakeService {
    fn is_needed(&self) -> bool {
        self.open.is_some() || !self.copies.is_empty()
    }

    fn look(&mut self) -> Activity {
        Activity {
            is_listening: self.open.as_ref().is_some_and(|open| open.is_complete),
            held: u32::try_from(self.held.len()).unwrap_or(u32::MAX),
            held_since: self.held.front().map(|held| held.since),
            copies: self.copies.clone(),
            answered: mem::take(&mut self.answered),
        }
    }

    /// The listener may have been closed since the poller saw it.
    pub(crate) fn has_listener(&self, listener: &Arc<UnixListener>) -> bool {
        let mut listeners = self.open.iter().flat_map(|open| &open.listeners);
        listeners.any(|own| Arc::ptr_eq(own, listener))
    }
}

impl CountedCopy {
    /// From now on its bytes are read, so that it is not held again.
    pub(crate) fn take(&mut self) -> Option<Arc<UnixStream>> {
        self.unread.take().map(|held| held.stream)
    }

    pub(crate) fn record_answer(&self) {
        self.state.record_answer(&self.service, self.accepted);
    }
}

impl Drop for CountedCopy {
    fn drop(&mut self) {
        self.state.end_copy(&self.service, self.to, self.unread.take());
    }
}

/// With status 503. `None` if HAProxy is gone.
fn answered(
    held: HeldConnection,
    retry_after: Duration,
    until: Moment,
) -> Option<ClosingConnection> {
    let stream = held.stream;
    // Into an empty buffer, which takes all of it.
    (&*stream).write_all(unavailable(retry_after).as_bytes()).ok()?;
    stream.shutdown(Shutdown::Write).ok()?;
    Some(ClosingConnection { stream, until, left: DISCARDED_BYTES_MAX })
}

fn unavailable(retry_after: Duration) -> String {
    let seconds = retry_after.as_secs() + u64::from(0 < retry_after.subsec_nanos());
    let body = "no replica is ready yet\n";
    let length = body.len();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\n\
         Retry-After: {seconds}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

impl ClosingConnection {
    /// A close with unread bytes would reset the connection, and HAProxy might lose the answer.
    /// Returns whether more may come.
    pub(crate) fn discard(&mut self) -> bool {
        let mut part = [0; PART_BYTES];
        while 0 < self.left {
            match (&*self.stream).read(&mut part) {
                Ok(0) => return false,
                Ok(count) => self.left = self.left.saturating_sub(count),
                Err(err) => return err.kind() == ErrorKind::WouldBlock,
            }
        }
        false
    }
}
