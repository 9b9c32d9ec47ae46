//! Removes a server without cutting a request, in steps:
//!
//! 1. Draining: HAProxy gives the server no new sessions.
//! 2. Drained: two polls in a row show no session, and no old HAProxy process can reach the server.
//! 3. The server leaves HAProxy's list.
//! 4. Only when HAProxy shows that it has left, the container is stopped.
//!
//! Every shorter sequence lost requests when measured.

use std::time::Duration;

use crate::decide::plan_builder::PlanBuilder;
use crate::decide::rollout::DesiredRevision;
use crate::model::action::{Action, Removal};
use crate::model::memory::{Drain, DrainStep, ServiceMemory};
use crate::model::owner::Owner;
use crate::model::plan::ReplicaTransition;
use crate::model::proxy::KEEP_ALIVE;
use crate::model::replica::{AdminState, ContainerId, ContainerState, Health, Replica, ServerSeen};
use crate::model::snapshot::{ProxyObservation, Snapshot};

const QUIET_LOOKS: u32 = 2;
/// After this time an old HAProxy process has closed its idle client connections: a server that it
/// has no connection to now gets none later.
const IDLE_CLIENTS_GONE: Duration = KEEP_ALIVE.saturating_add(Duration::from_secs(1));

pub(crate) fn advance(plan: &mut PlanBuilder) {
    let PlanBuilder { snapshot, next, actions, transitions, .. } = plan;
    for replica in &snapshot.replicas {
        let Some(drain) = next.drains.get_mut(&replica.id) else { continue };
        if let DrainStep::Draining { quiet } = drain.step {
            // `drain_timeout` counts from when HAProxy shows the state, not from our decision.
            if !is_out_of_rotation(snapshot, replica) {
                *drain = Drain { since: snapshot.now, step: DrainStep::Draining { quiet: 0 } };
            }
            drain.step = emptying(snapshot, replica, drain, quiet, transitions);
        }
        let may_go = match drain.step {
            DrainStep::Draining { .. } => false,
            DrainStep::Drained | DrainStep::Ended => may_stop(snapshot, replica, drain),
        };
        if may_go {
            let hooks = next.rollout.hooks(&snapshot.service, replica.spec.as_deref());
            actions.push(Action::Remove(Removal {
                service: snapshot.service.name.as_str().to_owned(),
                number: replica.number,
                id: replica.id.clone(),
                is_up: is_up(replica),
                is_paused: replica.state == ContainerState::Paused,
                started: replica.started,
                before_stop: hooks.before_stop().filter(|_| is_up(replica)),
                stop_timeout: snapshot.service.stop_timeout,
                ill: next.unhealthy.get(&replica.id).map(|unhealthy| unhealthy.error.clone()),
            }));
        }
    }
}

/// Forgets drains of replicas that are gone, of exited ones that somebody started again, and of
/// the last container of docker compose: the others went while this one drained.
pub(crate) fn forget(snapshot: &Snapshot, next: &mut ServiceMemory) {
    let last = lone_of_compose(snapshot, next);
    next.drains.retain(|id, drain| {
        let replica = snapshot.replicas.iter().find(|r| r.id == *id);
        let stays = last.as_ref() != Some(id);
        stays && replica.is_some_and(|r| drain.step != DrainStep::Ended || !is_up(r))
    });
}

/// The only container of docker compose, while no action is under way on it.
fn lone_of_compose(snapshot: &Snapshot, memory: &ServiceMemory) -> Option<ContainerId> {
    let mut composed = snapshot.replicas.iter().filter(|r| r.owner == Owner::Compose);
    let is_kept = |r: &Replica| !memory.drains.contains_key(&r.id);
    if composed.clone().any(is_kept) {
        return None;
    }
    composed.find(|r| r.state == ContainerState::Running && !r.busy).map(|r| r.id.clone())
}

/// Replicas whose drain can be cancelled without a trace.
pub(crate) fn cancellable<'a>(
    snapshot: &'a Snapshot,
    target: &DesiredRevision,
    memory: &ServiceMemory,
) -> impl Iterator<Item = &'a Replica> {
    snapshot.replicas.iter().filter(move |r| {
        let emptying = memory.drains.get(&r.id).map(|d| d.step);
        matches!(emptying, Some(DrainStep::Draining { .. }))
            && r.state == ContainerState::Running
            && (r.is_served() || snapshot.proxy == ProxyObservation::Absent)
            && !r.busy
            && !target.is_outdated(r)
            && !matches!(r.health, Health::Unhealthy { .. })
            // Its health is unknown after a restart of the daemon; this is remembered.
            && !memory.is_unhealthy(&r.id)
    })
}

pub(crate) fn is_up(replica: &Replica) -> bool {
    match replica.state {
        ContainerState::Running | ContainerState::Paused | ContainerState::Restarting => true,
        ContainerState::Created | ContainerState::Exited | ContainerState::Removing => false,
    }
}

/// HAProxy sends the replica no new sessions. While HAProxy does not answer, that is unknown.
fn is_out_of_rotation(snapshot: &Snapshot, replica: &Replica) -> bool {
    match snapshot.proxy {
        ProxyObservation::Settled { .. } | ProxyObservation::Changing => {
            replica.state != ContainerState::Running || replica.server.is_none_or(gets_nothing_new)
        }
        ProxyObservation::Silent => replica.state != ContainerState::Running,
        ProxyObservation::Absent => true,
    }
}

fn gets_nothing_new(server: ServerSeen) -> bool {
    match server.admin_state {
        AdminState::Ready => false,
        AdminState::Drain | AdminState::Maint => true,
    }
}

fn emptying(
    snapshot: &Snapshot,
    replica: &Replica,
    drain: &Drain,
    quiet: u32,
    transitions: &mut Vec<ReplicaTransition>,
) -> DrainStep {
    if !is_up(replica) {
        // Somebody may start it again, and an old HAProxy process may still send it requests then.
        return DrainStep::Ended;
    }
    if replica.state != ContainerState::Running {
        return DrainStep::Drained;
    }
    let waited = snapshot.now.since(drain.since);
    let sessions = replica.server.map_or(0, |s| s.sessions);
    let quiet = match snapshot.proxy {
        ProxyObservation::Settled { old, reloaded_at }
            if is_empty(replica, old, snapshot.now.since(reloaded_at.max(drain.since))) =>
        {
            quiet + 1
        }
        ProxyObservation::Settled { .. } => 0,
        // Without HAProxy nothing knows of open sessions: the drain lasts `drain_timeout`.
        ProxyObservation::Absent => 0,
        ProxyObservation::Changing | ProxyObservation::Silent => quiet,
    };
    let cut = sessions.saturating_add(replica.old_connections.unwrap_or(0));
    let cut = cut.saturating_add(u64::from(replica.copies));
    if QUIET_LOOKS <= quiet {
        transitions.push(ReplicaTransition::DrainEnded { number: replica.number, cut: 0 });
        DrainStep::Drained
    } else if snapshot.service.drain_timeout <= waited {
        transitions.push(ReplicaTransition::DrainEnded { number: replica.number, cut });
        DrainStep::Drained
    } else {
        DrainStep::Draining { quiet }
    }
}

/// Whether no session is left and none can come. `undisturbed` is how long the replica has drained
/// without a reload in between: a process that began to finish in that time may not know of the
/// drain.
fn is_empty(replica: &Replica, old_processes: u32, undisturbed: Duration) -> bool {
    let here = replica.copies == 0
        && replica.server.is_none_or(|s| gets_nothing_new(s) && s.sessions == 0);
    let elsewhere = old_processes == 0
        || (replica.old_connections == Some(0) && IDLE_CLIENTS_GONE <= undisturbed);
    here && elsewhere
}

/// Whether the container may be stopped. One that runs must have left every HAProxy process: the
/// current one shows `maint` without sessions, and old ones have no connection to it. After
/// `drain_timeout`, sessions that are left are cut.
fn may_stop(snapshot: &Snapshot, replica: &Replica, drain: &Drain) -> bool {
    let out_of_time = snapshot.service.drain_timeout <= snapshot.now.since(drain.since);
    let left_haproxy = match snapshot.proxy {
        // An old process may have the address under another name: Docker reuses addresses.
        ProxyObservation::Settled { old, .. } => {
            let is_free = old == 0 || replica.old_connections == Some(0);
            // HAProxy keeps a server in its list while idle client connections use it.
            let is_out = |s: ServerSeen| {
                s.admin_state == AdminState::Maint && (s.sessions == 0 || out_of_time)
            };
            replica.server.is_none_or(is_out) && (is_free || out_of_time)
        }
        // It has waited for `drain_timeout`.
        ProxyObservation::Absent => true,
        ProxyObservation::Changing | ProxyObservation::Silent => false,
    };
    !replica.busy
        && !snapshot.starting.contains(&replica.number)
        && (replica.copies == 0 || out_of_time)
        && match replica.state {
            ContainerState::Running | ContainerState::Paused | ContainerState::Restarting => {
                left_haproxy
            }
            ContainerState::Created | ContainerState::Exited => true,
            ContainerState::Removing => false,
        }
}
