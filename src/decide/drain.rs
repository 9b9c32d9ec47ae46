//! Taking a server away without cutting a request.
//!
//! HAProxy gives a draining server no new sessions. Once it shows none left, twice, and no earlier
//! HAProxy process can reach it any more, it is released: it leaves HAProxy's list, and only when
//! it is seen to have left is the container stopped. Every shorter way was measured to fail.

use std::time::Duration;

use crate::decide::plan_builder::PlanBuilder;
use crate::decide::rollout::DesiredRevision;
use crate::model::action::{Action, Removal};
use crate::model::memory::{Drain, DrainStep, ServiceMemory};
use crate::model::plan::Step;
use crate::model::proxy::KEEP_ALIVE;
use crate::model::replica::{ContainerState, Duty, Health, Replica, ServerSeen};
use crate::model::snapshot::{ProxyStanding, Snapshot};

const QUIET_LOOKS: u32 = 2;
/// After so long an earlier process has closed its idle clients, so that a connection it does not
/// hold now is one it will not make either.
const IDLE_CLIENTS_GONE: Duration = KEEP_ALIVE.saturating_add(Duration::from_secs(1));

pub(crate) fn advance(plan: &mut PlanBuilder) {
    let PlanBuilder { snapshot, next, actions, steps, .. } = plan;
    for replica in &snapshot.replicas {
        let Some(drain) = next.drains.get_mut(&replica.id) else { continue };
        if let DrainStep::Emptying { quiet } = drain.step {
            // The time runs from when HAProxy is seen to know, not from when we decided.
            if !is_told(snapshot, replica) {
                *drain = Drain { since: snapshot.now, step: DrainStep::Emptying { quiet: 0 } };
            }
            drain.step = emptying(snapshot, replica, drain, quiet, steps);
        }
        let may_go = match drain.step {
            DrainStep::Emptying { .. } => false,
            DrainStep::Released | DrainStep::Ended => may_stop(snapshot, replica, drain),
        };
        if may_go {
            actions.push(Action::Remove(Removal {
                service: snapshot.service.name.as_str().to_owned(),
                number: replica.number,
                id: replica.id.clone(),
                is_up: is_up(replica),
                is_paused: replica.state == ContainerState::Paused,
                started: replica.started,
                stop_timeout: snapshot.service.stop_timeout,
                ill: next.ill.get(&replica.id).map(|illness| illness.error.clone()),
            }));
        }
    }
}

/// Those that are gone, and those that ended and that somebody started again.
pub(crate) fn forget(snapshot: &Snapshot, next: &mut ServiceMemory) {
    next.drains.retain(|id, drain| {
        let replica = snapshot.replicas.iter().find(|r| r.id == *id);
        replica.is_some_and(|r| drain.step != DrainStep::Ended || !is_up(r))
    });
}

/// Replicas whose drain can be cancelled without a trace.
pub(crate) fn cancellable<'a>(
    snapshot: &'a Snapshot,
    target: &DesiredRevision,
    memory: &ServiceMemory,
) -> impl Iterator<Item = &'a Replica> {
    snapshot.replicas.iter().filter(move |r| {
        let emptying = memory.drains.get(&r.id).map(|d| d.step);
        matches!(emptying, Some(DrainStep::Emptying { .. }))
            && r.state == ContainerState::Running
            && (r.is_served() || snapshot.proxy == ProxyStanding::Absent)
            && !r.busy
            && !target.is_outdated(r)
            && !matches!(r.health, Health::Unhealthy { .. })
            // After a restart of the daemon its health is not known yet.
            && !memory.is_ill(&r.id)
    })
}

fn is_up(replica: &Replica) -> bool {
    match replica.state {
        ContainerState::Running | ContainerState::Paused | ContainerState::Restarting => true,
        ContainerState::Created | ContainerState::Exited | ContainerState::Removing => false,
    }
}

/// HAProxy sends it nothing new. While it does not answer nobody knows.
fn is_told(snapshot: &Snapshot, replica: &Replica) -> bool {
    match snapshot.proxy {
        ProxyStanding::Settled { .. } | ProxyStanding::Changing => {
            replica.state != ContainerState::Running || replica.server.is_none_or(gets_nothing_new)
        }
        ProxyStanding::Silent => replica.state != ContainerState::Running,
        ProxyStanding::Absent => true,
    }
}

fn gets_nothing_new(server: ServerSeen) -> bool {
    match server.duty {
        Duty::Ready => false,
        Duty::Drain | Duty::Maint => true,
    }
}

fn emptying(
    snapshot: &Snapshot,
    replica: &Replica,
    drain: &Drain,
    quiet: u32,
    steps: &mut Vec<Step>,
) -> DrainStep {
    if replica.state != ContainerState::Running {
        return DrainStep::Released;
    }
    let waited = snapshot.now.since(drain.since);
    let sessions = replica.server.map_or(0, |s| s.sessions);
    let quiet = match snapshot.proxy {
        ProxyStanding::Settled { old, reloaded_at }
            if is_empty(replica, old, snapshot.now.since(reloaded_at.max(drain.since))) =>
        {
            quiet + 1
        }
        ProxyStanding::Settled { .. } => 0,
        // Who sends it requests, and whether some are left, is known to nobody here.
        ProxyStanding::Absent => 0,
        ProxyStanding::Changing | ProxyStanding::Silent => quiet,
    };
    let cut = sessions.saturating_add(replica.old_connections.unwrap_or(0));
    if QUIET_LOOKS <= quiet {
        steps.push(Step::Release { number: replica.number, cut: 0 });
        DrainStep::Released
    } else if snapshot.service.drain_timeout <= waited {
        steps.push(Step::Release { number: replica.number, cut });
        DrainStep::Released
    } else {
        DrainStep::Emptying { quiet }
    }
}

/// `undisturbed` is how long it has been draining without a reload in between: a process that was
/// told to finish in that time may never have been told who drains.
fn is_empty(replica: &Replica, old_processes: u32, undisturbed: Duration) -> bool {
    let here = replica.server.is_none_or(|s| gets_nothing_new(s) && s.sessions == 0);
    let elsewhere = old_processes == 0
        || (replica.old_connections == Some(0) && IDLE_CLIENTS_GONE <= undisturbed);
    here && elsewhere
}

/// A container that runs is stopped only where it is known that nothing reaches it any more.
fn may_stop(snapshot: &Snapshot, replica: &Replica, drain: &Drain) -> bool {
    let out_of_time = snapshot.service.drain_timeout <= snapshot.now.since(drain.since);
    let left_haproxy = match snapshot.proxy {
        // An earlier process may know its address by another name: addresses are used again.
        ProxyStanding::Settled { old, .. } => {
            let is_free = old == 0 || replica.old_connections == Some(0);
            // HAProxy keeps a server in its list while idle clients hold on to it.
            let is_out = |s: ServerSeen| s.duty == Duty::Maint && (s.sessions == 0 || out_of_time);
            replica.server.is_none_or(is_out) && (is_free || out_of_time)
        }
        // It waited for as long as it may.
        ProxyStanding::Absent => true,
        ProxyStanding::Changing | ProxyStanding::Silent => false,
    };
    !replica.busy
        && !snapshot.starting.contains(&replica.number)
        && match replica.state {
            ContainerState::Running | ContainerState::Paused | ContainerState::Restarting => {
                left_haproxy
            }
            ContainerState::Created | ContainerState::Exited => true,
            ContainerState::Removing => false,
        }
}
