//! What is done to the outside, one call of a worker each.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::model::proxy::Routes;
use crate::model::replica::{ContainerId, Duty};
use crate::model::service::Service;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Makes the container of this number unless it is there, and starts it. The service never has
    /// more than `most` containers because of it.
    Start {
        service: Arc<Service>,
        number: u32,
        most: u32,
    },
    Remove(Removal),
    /// Has Swarm keep up so many replicas, where it still kept `from`.
    Resize {
        service: String,
        swarm_service: String,
        from: u32,
        to: u32,
    },
    /// Writes, validates and loads HAProxy's file; a process that is not there is started.
    Reload {
        routes: Routes,
    },
    /// Brings the servers of the running HAProxy to these, and its file. A new one drains until it
    /// is steered.
    Amend {
        routes: Routes,
    },
    /// Tells the running HAProxy what to do with servers; its file stays.
    Steer {
        servers: Vec<Steering>,
    },
    /// Ends earlier HAProxy processes that do not answer and still take connections.
    EndProxies {
        processes: Vec<u32>,
    },
}

/// A container that is to be stopped gently and removed, as it was when that was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Removal {
    pub(crate) service: String,
    pub(crate) number: u32,
    pub(crate) id: ContainerId,
    /// Its processes run, or are frozen.
    pub(crate) is_up: bool,
    pub(crate) is_paused: bool,
    /// As `Container` has it.
    pub(crate) started: Option<u64>,
    pub(crate) stop_timeout: Duration,
    /// What was wrong with it, or how it ended, when nobody wanted it to go.
    pub(crate) ill: Option<String>,
}

/// What one server of HAProxy is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Steering {
    pub(crate) backend: String,
    pub(crate) server: String,
    pub(crate) duty: Duty,
}

/// What an action keeps others from touching while it is under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Claim {
    Start {
        service: String,
        number: u32,
    },
    Container(ContainerId),
    /// The number of a Swarm service.
    Number(String),
    Proxy,
}

impl Action {
    pub(crate) fn claim(&self) -> Claim {
        match self {
            Action::Start { service, number, .. } => {
                Claim::Start { service: service.name.as_str().to_owned(), number: *number }
            }
            Action::Remove(removal) => Claim::Container(removal.id.clone()),
            Action::Resize { service, .. } => Claim::Number(service.clone()),
            Action::Reload { .. }
            | Action::Amend { .. }
            | Action::Steer { .. }
            | Action::EndProxies { .. } => Claim::Proxy,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Start { service, number, .. } => write!(f, "start {}-{number}", service.name),
            Action::Remove(Removal { service, number, .. }) => {
                write!(f, "remove {service}-{number}")
            }
            Action::Resize { service, from, to, .. } => write!(f, "resize {service} {from}->{to}"),
            Action::Reload { .. } => write!(f, "reload haproxy"),
            Action::Amend { .. } => write!(f, "amend haproxy"),
            Action::EndProxies { processes } => write!(f, "end haproxy {processes:?}"),
            Action::Steer { servers } => {
                write!(f, "steer")?;
                servers.iter().try_for_each(|s| write!(f, " {}={}", s.server, s.duty.word()))
            }
        }
    }
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) action: Action,
    pub(crate) took: Duration,
    pub(crate) result: Result<Effect, Trouble>,
}

/// What a successful action did to the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Changed,
    /// This container runs.
    Started(ContainerId),
    /// It was so already.
    Unchanged,
}

/// Why an action failed, as the operator is to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) message: String,
    pub(crate) aftermath: Aftermath,
}

/// How the world is after a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Aftermath {
    /// As it was, as far as is known.
    AsBefore,
    /// HAProxy was brought back with the configuration that worked last.
    RolledBack,
    /// All was done but what the message names. HAProxy does without these services.
    DoneButForThat { left_out: BTreeSet<String> },
}
