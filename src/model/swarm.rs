//! What Docker Swarm runs, as a manager of it shows it, and what a decision sees of that.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::model::replica::ContainerId;

/// One sweep over a Swarm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swarm {
    pub(crate) nodes: Vec<SwarmNode>,
    /// By the name that Swarm has for it; an error if one could not be inspected.
    pub(crate) services: BTreeMap<String, Result<SwarmSeen, String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SwarmNode {
    pub(crate) id: String,
    pub(crate) name: String,
    /// In Swarm's words: `ready`, `down` and so on.
    pub(crate) state: String,
    /// In Swarm's words: `active`, `pause` or `drain`.
    pub(crate) availability: String,
    pub(crate) cpus: u64,
    /// Bytes.
    pub(crate) memory: u64,
    /// The one manager of all that decides.
    pub(crate) leads: bool,
    /// The daemon runs on it.
    pub(crate) is_here: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SwarmSeen {
    /// How many replicas Swarm is to keep up.
    pub(crate) desired: u32,
    /// Its own ports, and those on which every node takes connections for them.
    pub(crate) published: BTreeMap<u16, u16>,
    /// Those that are to run.
    pub(crate) tasks: Vec<Task>,
}

/// One replica, which Swarm places, starts and replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) id: ContainerId,
    /// Which of the replicas it is; its successor gets the same.
    pub(crate) slot: u32,
    pub(crate) state: TaskState,
    /// The identifier of its node; empty while it has none.
    pub(crate) node: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskState {
    Starting,
    /// Also that it passes its image's own check, where there is one.
    Running,
    Ended,
}

/// A Swarm service at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SwarmServiceState {
    /// As Swarm shows it, or showed it last.
    pub(crate) desired: u32,
    /// This node leads: only then the number is changed from here.
    pub(crate) leads: bool,
    /// A change of the number is under way.
    pub(crate) busy: bool,
    /// Where HAProxy reaches all of it. `None`: it publishes no port.
    pub(crate) address: Option<SocketAddr>,
    /// What keeps it from being scaled or served, for people.
    pub(crate) trouble: Option<String>,
    /// The name of each replica's node.
    pub(crate) nodes: BTreeMap<ContainerId, String>,
}

/// What one decision about a Swarm service leaves for the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SwarmMemory {
    /// The number that Swarm had.
    pub(crate) seen: u32,
    /// The number that it was asked for and did not show yet.
    pub(crate) asked: Option<u32>,
}
