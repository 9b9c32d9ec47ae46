//! How a service with no load sleeps, with no replica, and how a request wakes it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::hash::fnv1a;
use crate::model::time::Moment;

/// HAProxy's server at the daemon's socket, of each service that may sleep. No replica is called
/// so: those have a number at the end.
pub(crate) const WAKE_SERVER: &str = "wake";

/// The settings of one service. It sleeps where its bounds allow 0 replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SleepPolicy {
    /// Without a request or a session for so long, it sleeps.
    pub(crate) after: Duration,
    /// How long a request waits for a replica before it gets 503.
    pub(crate) wake_timeout: Duration,
    /// A browser gets a page that reloads when it has waited so long. `None`: it waits on.
    pub(crate) page: Option<Duration>,
}

impl Default for SleepPolicy {
    fn default() -> SleepPolicy {
        SleepPolicy {
            after: Duration::from_secs(300),
            wake_timeout: Duration::from_secs(60),
            page: None,
        }
    }
}

/// The daemon's socket for a service, beside HAProxy's own.
pub(crate) fn wake_socket(haproxy: &Path, service: &str) -> PathBuf {
    let mut name = haproxy.as_os_str().to_owned();
    name.push(format!(".wake.{service}"));
    PathBuf::from(name)
}

/// The name of its other socket, in the abstract namespace, for an HAProxy whose root folder is
/// another. All accounts of the host share those names. `haproxy` is HAProxy's socket.
pub(crate) fn abstract_wake_socket(haproxy: &Path, service: &str) -> String {
    let site = fnv1a(haproxy.as_os_str().as_encoded_bytes());
    format!("plimsoll-wake-{site:016x}-{service}")
}

/// The connections of one service that the daemon has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Activity {
    /// It listens for the service: HAProxy may send it connections.
    pub(crate) is_listening: bool,
    /// Connections that are held, and nothing of them was read.
    pub(crate) held: u32,
    /// Since when the longest of them is held.
    pub(crate) held_since: Option<Moment>,
    /// Connections that are copied to each replica.
    pub(crate) copies: BTreeMap<SocketAddr, u32>,
    /// Of connections that were held, since the last look: time to the first byte of the answer.
    pub(crate) answered: Vec<Duration>,
}
