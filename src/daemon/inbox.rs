//! Everything that wakes the tick.

use crate::model::action::Done;
use crate::model::replica::ContainerId;

pub(crate) enum Event {
    /// Something happened to one of our containers, or may have.
    Docker,
    /// An action ended.
    Done(Done),
    /// A probe ended; the error is what the operator is to read.
    Probed { id: ContainerId, result: Result<(), String> },
    /// SIGHUP.
    Reload,
    /// SIGTERM or SIGINT.
    Stop,
}
