//! `Activator` for the real world. One thread waits for all listeners and all held connections, so
//! a service costs a listener and no thread. A connection that is copied has a thread of its own.

mod held;
pub(crate) mod listeners;
mod poller;
mod copy;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::activator::held::ActivatorState;
use crate::activator::listeners::{AddressKinds, WakeListeners};
use crate::model::sleep::Activity;
use crate::outside::{Activator, Clock, Error, Result};

/// The sockets of services that sleep, beside HAProxy's own.
pub(crate) struct SocketActivator {
    state: Arc<ActivatorState>,
    /// Only `listen` locks it.
    listeners: Mutex<WakeListeners>,
}

impl SocketActivator {
    /// Starts the thread and listens for nobody yet. `owner` is the account that HAProxy changes
    /// to, if it does: only that account may connect to the socket files. `wake` reports to the
    /// event loop that `look` returns something else than before. It must not block.
    pub(crate) fn new(
        haproxy_socket: PathBuf,
        owner: Option<u32>,
        kinds: AddressKinds,
        clock: Arc<dyn Clock>,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<SocketActivator> {
        let cannot = |err| Error::caused("cannot start the thread that holds connections", err);
        let (nudge, nudged) = UnixStream::pair().map_err(cannot)?;
        nudge.set_nonblocking(true).map_err(cannot)?;
        nudged.set_nonblocking(true).map_err(cannot)?;
        let state = Arc::new(ActivatorState::new(clock, wake, nudge));
        let thread = thread::Builder::new().name("activator".to_owned()).stack_size(256 << 10);
        let watched = state.clone();
        thread.spawn(move || poller::run(&watched, &nudged)).map_err(cannot)?;
        let listeners = Mutex::new(WakeListeners::new(haproxy_socket, owner, kinds));
        Ok(SocketActivator { state, listeners })
    }

    /// It has no connection of HAProxy's, so that nobody loses one when the process ends.
    pub(crate) fn is_idle(&self) -> bool {
        self.state.is_idle()
    }
}

impl Activator for SocketActivator {
    fn listen(&self, services: &BTreeSet<String>) -> BTreeMap<String, String> {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let (is_changed, failures) = listeners.update(services, self.state.now());
        if is_changed {
            self.state.set_listeners(listeners.open());
        }
        failures
    }

    fn look(&self) -> BTreeMap<String, Activity> {
        self.state.look()
    }

    fn forward(&self, service: &str, to: &[SocketAddr]) {
        self.state.set_targets(service, to);
    }

    fn refuse(&self, service: &str, retry_after: Option<Duration>) {
        self.state.refuse(service, retry_after);
    }
}

/// The thread ends. Socket files stay, as after a death of the process: the next one replaces them.
impl Drop for SocketActivator {
    fn drop(&mut self) {
        self.state.end();
    }
}
