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

/// What a tick knows of a service that HAProxy can wake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SleepObservation {
    /// How long there was no session and no request. `None`: HAProxy does not answer.
    pub(crate) idle: Option<Duration>,
    /// Connections that the daemon holds.
    pub(crate) held: u32,
    pub(crate) held_since: Option<Moment>,
    /// Requests that wait in HAProxy.
    pub(crate) queue: u64,
    /// Connections that the daemon copies to replicas.
    pub(crate) copies: u32,
    /// As in [`Activity`].
    pub(crate) answered: Vec<Duration>,
}

impl SleepObservation {
    /// Requests without a replica.
    pub(crate) fn waiting(&self) -> u64 {
        self.queue.saturating_add(u64::from(self.held))
    }
}

/// What woke a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WakeCause {
    Request,
    Metric,
    Schedule,
    Operator,
}

impl WakeCause {
    pub(crate) const ALL: [WakeCause; 4] =
        [WakeCause::Request, WakeCause::Metric, WakeCause::Schedule, WakeCause::Operator];

    pub(crate) fn word(self) -> &'static str {
        match self {
            WakeCause::Request => "request",
            WakeCause::Metric => "metric",
            WakeCause::Schedule => "schedule",
            WakeCause::Operator => "operator",
        }
    }
}

/// A wake-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WakeUp {
    pub(crate) since: Moment,
    pub(crate) by: WakeCause,
    /// A replica was ready since.
    pub(crate) is_ready: bool,
    /// A request was answered since.
    pub(crate) is_used: bool,
    /// It was reported.
    pub(crate) is_told: bool,
}

/// What the next decision needs of a service that may sleep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SleepMemory {
    /// Since when no replica is desired. `None`: it is awake.
    pub(crate) asleep: Option<Moment>,
    /// That it sleeps was reported, or was so at the start.
    pub(crate) is_told: bool,
    /// The last wake-up. `None`: it sleeps, or was awake at the start.
    pub(crate) wake_up: Option<WakeUp>,
}

impl SleepMemory {
    /// The wake-up that has brought no ready replica so far.
    pub(crate) fn waking(&self) -> Option<WakeUp> {
        self.wake_up.filter(|wake_up| !wake_up.is_ready)
    }
}

/// What HAProxy and the activator are to do for a service that may sleep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WakePlan {
    /// While no replica serves, requests wait at the daemon. Otherwise HAProxy answers 503.
    pub(crate) accepts: bool,
    /// The replicas that held connections are copied to. Empty: they are held.
    pub(crate) forward: Vec<SocketAddr>,
    /// The held connections waited too long; when the next request is worth a try.
    pub(crate) refuse: Option<Duration>,
}

/// As operators see a service that may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SleepState {
    Awake,
    /// No replica is desired, but some still drain.
    FallingAsleep,
    Asleep,
    /// A replica is desired, and none was ready yet.
    Waking,
}

impl SleepState {
    pub(crate) fn word(self) -> &'static str {
        match self {
            SleepState::Awake => "awake",
            SleepState::FallingAsleep => "falling_asleep",
            SleepState::Asleep => "asleep",
            SleepState::Waking => "waking",
        }
    }
}
