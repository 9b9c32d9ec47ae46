//! What others did to replicas since the last tick: people, docker compose and the engine stop,
//! restart, rename and remove containers. Each change is reported once. `ServiceMemory::known`
//! keeps the last observed state of each replica.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decide::after_exit::{AfterExit, after_exit, is_away};
use crate::decide::plan_builder::PlanBuilder;
use crate::model::memory::{KnownReplica, ServiceMemory, Unaddressed};
use crate::model::owner::Owner;
use crate::model::plan::{ReplicaTransition, ServiceTransition};
use crate::model::replica::{ContainerId, ContainerState, Ending, Health, Replica};
use crate::model::snapshot::Snapshot;
use crate::model::time::Moment;

/// Restarts by Docker's policy within [`LOOP_SPAN`] that are worth a warning.
const LOOP: usize = 5;
const LOOP_SPAN: Duration = Duration::from_secs(600);
/// A replica without an address is reported after this time.
const UNADDRESSED_TOLD: Duration = Duration::from_secs(10);
/// A start that succeeded and that this many lists did not show has failed.
const LOOKS_MAX: u32 = 3;

/// A clone that somebody stopped is removed after this time if another replica of its service is
/// healthy. When compose stops the whole service, its clones stay.
const STOPPED_FOR: Duration = Duration::from_secs(60);

/// A clone that somebody stopped for good.
pub(crate) fn is_abandoned(snapshot: &Snapshot, replica: &Replica, memory: &ServiceMemory) -> bool {
    let away = memory.known.get(&replica.id).and_then(|known| known.away);
    let is_long = away.is_some_and(|since| STOPPED_FOR <= snapshot.now.since(since));
    let serves = |r: &Replica| r.state == ContainerState::Running && r.health == Health::Healthy;
    is_long
        && replica.state == ContainerState::Exited
        && replica.owner == Owner::Clone
        && !replica.busy
        && snapshot.replicas.iter().any(serves)
}

/// How others changed the number of replicas since the last tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExternalChanges {
    /// New, or running again.
    pub(crate) came: u32,
    /// Removed, stopped or paused.
    pub(crate) went: u32,
}

pub(crate) fn follow(plan: &mut PlanBuilder) -> ExternalChanges {
    let snapshot = plan.snapshot;
    let before = std::mem::take(&mut plan.next.known);
    let mut others = ExternalChanges::default();
    let is_first = before.is_empty();
    for replica in &snapshot.replicas {
        let old = before.get(&replica.id);
        let is_ours = snapshot.starting.contains(&replica.number)
            || plan.next.drains.contains_key(&replica.id)
            || replica.busy;
        let is_away = is_away(replica);
        match old {
            None if !is_first && !is_ours && !is_away => others.came += 1,
            Some(old) if old.away.is_some() && !is_away && !is_ours => others.came += 1,
            Some(old) if old.away.is_none() && is_away && !is_ours => others.went += 1,
            Some(_) | None => (),
        }
        let known = one(replica, old, (is_ours, is_first), plan);
        plan.next.known.insert(replica.id.clone(), known);
    }
    for (id, old) in &before {
        let is_gone = !snapshot.replicas.iter().any(|r| r.id == *id);
        let is_ours = plan.next.drains.contains_key(id) || snapshot.starting.contains(&old.number);
        others.went += u32::from(is_gone && !is_ours && old.away.is_none());
    }
    count_restarts(&before, plan);
    expire_started(plan);
    others
}

/// Reports what changed about one replica, and returns its state for the next tick.
fn one(
    replica: &Replica,
    old: Option<&KnownReplica>,
    (is_ours, is_first): (bool, bool),
    plan: &mut PlanBuilder,
) -> KnownReplica {
    let snapshot = plan.snapshot;
    let number = replica.number;
    let is_up = matches!(replica.state, ContainerState::Running | ContainerState::Paused);
    let hooks = plan.next.rollout.hooks(&snapshot.service, replica.spec.as_deref());
    let has_hook = !hooks.after_ready.is_empty();
    let mut known = old.cloned().unwrap_or_else(|| KnownReplica {
        name: replica.name.clone(),
        number,
        run: replica.started,
        proven: replica.started,
        is_unready: has_hook && !(is_first && replica.is_served()),
        restarts: replica.restarts,
        away: None,
        paused: None,
        is_ended: false,
        unaddressed: None,
    });
    if known.name != replica.name {
        let to = replica.name.clone();
        let from = std::mem::replace(&mut known.name, to.clone());
        plan.transitions.push(ReplicaTransition::Renamed { number, from, to });
    }
    known.number = number;
    let is_new_run = known.run.zip(replica.started).is_some_and(|(a, b)| a != b);
    let was_away = known.away.is_some();
    if is_up {
        known.is_ended = false;
        if is_new_run && !is_ours && replica.restarts <= known.restarts {
            plan.transitions.push(ReplicaTransition::Restarted { number });
        } else if was_away && !is_new_run && replica.state == ContainerState::Running {
            plan.transitions.push(ReplicaTransition::Unpaused { number });
        }
    }
    known.run = replica.started.or(known.run);
    known.restarts = replica.restarts;
    if replica.health == Health::Healthy || known.proven.is_none() {
        known.proven = replica.started.or(known.proven);
    }
    let is_unready = known.is_unready || is_new_run;
    known.is_unready = has_hook && is_unready && replica.health != Health::Healthy;
    let is_paused = replica.state == ContainerState::Paused;
    known.paused = is_paused.then(|| known.paused.unwrap_or(snapshot.now));
    known.away = is_away(replica).then(|| known.away.unwrap_or(snapshot.now));
    if known.away.is_some() && !was_away && old.is_some() {
        plan.transitions.extend(away(replica));
    }
    end(replica, &mut known, is_ours, plan);
    known.unaddressed = unaddressed(replica, known.unaddressed, plan);
    known
}

/// A container that was created and not started yet is nothing to report.
fn away(replica: &Replica) -> Option<ReplicaTransition> {
    let number = replica.number;
    match replica.state {
        ContainerState::Paused => Some(ReplicaTransition::Paused { number }),
        ContainerState::Exited => Some(ReplicaTransition::Stopped { number, exit: replica.exit }),
        ContainerState::Created
        | ContainerState::Running
        | ContainerState::Restarting
        | ContainerState::Removing => None,
    }
}

/// A replica that exited and is started again: reported once, and a failure unless the host or
/// Docker shut it down.
fn end(replica: &Replica, known: &mut KnownReplica, is_ours: bool, plan: &mut PlanBuilder) {
    let restarts =
        replica.state == ContainerState::Exited && after_exit(replica) == AfterExit::Restarts;
    if restarts && !is_ours && !std::mem::replace(&mut known.is_ended, true) {
        let by = replica.ended.map(|ended| ended.by);
        let number = replica.number;
        let exit = replica.exit;
        plan.transitions.push(ReplicaTransition::Exited { number, exit, by, is_restarted: true });
        plan.has_failed |= by != Some(Ending::Shutdown);
    }
}

fn unaddressed(
    replica: &Replica,
    before: Option<Unaddressed>,
    plan: &mut PlanBuilder,
) -> Option<Unaddressed> {
    let snapshot = plan.snapshot;
    let lacks = replica.state == ContainerState::Running && replica.address.is_none();
    if !lacks || snapshot.swarm.is_some() {
        return None;
    }
    let since = before.map_or(snapshot.now, |before| before.since);
    let was_told = before.is_some_and(|before| before.is_told);
    let is_told = UNADDRESSED_TOLD <= snapshot.now.since(since);
    if is_told && !was_told {
        let why = no_address(replica);
        plan.transitions.push(ReplicaTransition::NotReady { number: replica.number, why });
    }
    Some(Unaddressed { since, is_told })
}

pub(crate) fn no_address(replica: &Replica) -> String {
    let name = &replica.name;
    let network = &replica.network;
    format!("it has no address in network {network}; `docker network connect {network} {name}`")
}

/// Docker's restart policy started a replica again. The replica stays, but each exit is reported.
fn count_restarts(before: &BTreeMap<ContainerId, KnownReplica>, plan: &mut PlanBuilder) {
    let PlanBuilder { snapshot, next, transitions, service_transitions, .. } = plan;
    let now = snapshot.now;
    let was_loop = next.restarts.len() == LOOP;
    next.restarts.retain(|at| now.since(*at) < LOOP_SPAN);
    for replica in &snapshot.replicas {
        let Some(old) = before.get(&replica.id) else { continue };
        let more = replica.restarts.saturating_sub(old.restarts);
        if 0 < more && replica.state != ContainerState::Exited {
            let number = replica.number;
            let exit = replica.exit;
            transitions.push(ReplicaTransition::Exited {
                number,
                exit,
                by: None,
                is_restarted: true,
            });
            let more = usize::try_from(more).unwrap_or(LOOP).min(LOOP);
            next.restarts.extend(std::iter::repeat_n(now, more));
        }
    }
    let surplus = next.restarts.len().saturating_sub(LOOP);
    next.restarts.drain(..surplus);
    match (was_loop, next.restarts.len() == LOOP) {
        (false, true) => service_transitions.push(ServiceTransition::RestartLoop),
        (true, false) => service_transitions.push(ServiceTransition::RestartLoopOver),
        (true, true) | (false, false) => (),
    }
}

/// A start that succeeded counts as a replica until a list shows it, or too many did not.
fn expire_started(plan: &mut PlanBuilder) {
    let PlanBuilder { snapshot, next, transitions, has_failed, .. } = plan;
    next.started.retain(|number, started| {
        if snapshot.replicas.iter().any(|r| r.id == started.id) {
            return false;
        }
        started.looks += 1;
        let is_lost = LOOKS_MAX <= started.looks;
        if is_lost {
            transitions.push(ReplicaTransition::Lost { number: *number });
            *has_failed = true;
        }
        !is_lost
    });
}

/// How long until one of the times above is over.
pub(crate) fn requeue_after(snapshot: &Snapshot, memory: &ServiceMemory) -> Option<Duration> {
    const SOON: Duration = Duration::from_millis(250);
    let now = snapshot.now;
    let start_period = snapshot.service.health.start_period;
    let unaddressed = memory.known.values().filter_map(|known| known.unaddressed);
    let edges = unaddressed.flat_map(|unaddressed| {
        [UNADDRESSED_TOLD, start_period].map(|span| unaddressed.since.plus(span))
    });
    let waits = |r: &Replica| r.is_held || r.ended.is_some_and(|ended| ended.is_fresh);
    let is_fresh = snapshot.replicas.iter().any(waits) || !memory.started.is_empty();
    let edges = edges.filter(|edge| now < *edge).map(|edge: Moment| edge.since(now));
    edges.chain(is_fresh.then_some(SOON)).min()
}
