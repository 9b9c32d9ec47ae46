//! What the rest of the daemon hands to the API.

use std::sync::{Arc, Mutex, PoisonError};

use crate::model::command::{Answer, Command};
use crate::model::host::Host;
use crate::model::load_history::MinuteRow;
use crate::model::status::Status;
use crate::model::time::Wall;
use crate::serve::event_log::EventRing;

/// The latest published status. A reader keeps the one that it took.
#[derive(Debug, Default)]
pub(crate) struct StatusCell {
    latest: Mutex<Option<Arc<Status>>>,
}

impl StatusCell {
    pub(crate) fn publish(&self, status: Status) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(status));
    }

    /// `None` before the first tick.
    pub(crate) fn read(&self) -> Option<Arc<Status>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

type ReadHistory = dyn Fn(&str, Wall, Wall) -> Vec<MinuteRow> + Send + Sync;

/// Where the handlers read, and where they send commands.
pub(crate) struct Sources {
    pub(crate) status_cell: Arc<StatusCell>,
    /// Sends a command to the controller and waits for its answer, 10 s at most.
    pub(crate) ask: Box<dyn Fn(Command) -> Answer + Send + Sync>,
    pub(crate) event_ring: Arc<EventRing>,
    /// The host that the containers run on. May ask Docker.
    pub(crate) host: Box<dyn Fn() -> Host + Send + Sync>,
    /// In Prometheus' text format.
    pub(crate) metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// The minutes of a service from one time up to another. Reads files.
    pub(crate) history: Box<ReadHistory>,
}
