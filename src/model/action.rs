//! Actions on the outside. A worker runs each in one call.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::model::hooks::{HookCommand, HookFailure};
use crate::model::proxy::Routes;
use crate::model::replica::{AdminState, ContainerId};
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
    /// Runs the hook `after_ready`.
    RunHook(HookRun),
    /// Sets the replicas of a Swarm service, if it still has `from`.
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
    UpdateServers {
        routes: Routes,
    },
    /// Sets admin states of servers in the running HAProxy (`set server … state`), not its file.
    SetServerStates {
        servers: Vec<SetServerState>,
    },
    /// Kills old HAProxy processes that do not answer and still accept connections.
    EndProxies {
        processes: Vec<u32>,
    },
}

/// A container to stop gracefully and remove, as it was when that was decided.
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
    /// Runs before it is stopped, if its process runs.
    pub(crate) before_stop: Option<HookCommand>,
    pub(crate) stop_timeout: Duration,
    /// The error of its health check, or how it exited; `None` when it is removed for another
    /// reason.
    pub(crate) ill: Option<String>,
}

/// The hook `after_ready` of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HookRun {
    pub(crate) service: String,
    pub(crate) number: u32,
    pub(crate) id: ContainerId,
    /// As `Container` has it. In a later run of the container the command is not run.
    pub(crate) started: Option<u64>,
    pub(crate) hook: HookCommand,
}

/// The admin state to set on one server of HAProxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SetServerState {
    pub(crate) backend: String,
    pub(crate) server: String,
    pub(crate) admin_state: AdminState,
}

/// What an action keeps locked while it runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Claim {
    Start {
        service: String,
        number: u32,
    },
    Container(ContainerId),
    /// The hook of a container: what else is done to the container does not wait for it.
    Hook(ContainerId),
    /// The number of a Swarm service.
    SwarmCount(String),
    Proxy,
}

impl Action {
    /// The service and number of a start.
    pub(crate) fn as_start(&self) -> Option<(&Service, u32)> {
        match self {
            Action::Start { service, number, .. } => Some((service, *number)),
            Action::Remove(_)
            | Action::RunHook(_)
            | Action::Resize { .. }
            | Action::Reload { .. }
            | Action::UpdateServers { .. }
            | Action::SetServerStates { .. }
            | Action::EndProxies { .. } => None,
        }
    }

    pub(crate) fn claim(&self) -> Claim {
        match self {
            Action::Start { service, number, .. } => {
                Claim::Start { service: service.name.as_str().to_owned(), number: *number }
            }
            Action::Remove(removal) => Claim::Container(removal.id.clone()),
            Action::RunHook(run) => Claim::Hook(run.id.clone()),
            Action::Resize { service, .. } => Claim::SwarmCount(service.clone()),
            Action::Reload { .. }
            | Action::UpdateServers { .. }
            | Action::SetServerStates { .. }
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
            Action::RunHook(HookRun { service, number, .. }) => {
                write!(f, "run hook after_ready of {service}-{number}")
            }
            Action::Resize { service, from, to, .. } => write!(f, "resize {service} {from}->{to}"),
            Action::Reload { .. } => write!(f, "reload haproxy"),
            Action::UpdateServers { .. } => write!(f, "update servers of haproxy"),
            Action::EndProxies { processes } => write!(f, "end haproxy {processes:?}"),
            Action::SetServerStates { servers } => {
                write!(f, "set server state")?;
                servers.iter().try_for_each(|s| write!(f, " {}={}", s.server, s.admin_state.word()))
            }
        }
    }
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) action: Action,
    pub(crate) took: Duration,
    pub(crate) result: Result<ActionOutput, ActionError>,
}

/// What a successful action did to the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ActionOutput {
    Changed,
    /// This container runs.
    Started(ContainerId),
    /// It was in the desired state already.
    Unchanged,
    /// All was done, but the hook failed.
    HookFailed(HookFailure),
}

/// Why an action failed, as text for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ActionError {
    pub(crate) message: String,
    pub(crate) rollback_state: RollbackState,
}

/// The state after a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RollbackState {
    /// Unchanged, as far as is known.
    AsBefore,
    /// HAProxy has the last good configuration again.
    RolledBack,
    /// Everything was applied except these services, which HAProxy refused.
    PartiallyApplied { left_out: BTreeSet<String> },
}
