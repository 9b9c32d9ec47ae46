//! Which replicas are unhealthy, and when the health check is ignored (panic mode).
//!
//! An unhealthy replica leaves HAProxy's list at once and counts towards the number until another
//! one is ready. When all replicas become unhealthy at once, the check or a common dependency is
//! the likely cause: no replica is replaced and HAProxy keeps its list. Envoy's panic threshold
//! does the same for a share of the hosts.

use std::time::Duration;

use crate::decide::lifecycle;
use crate::decide::plan_builder::PlanBuilder;
use crate::model::memory::{PanicMode, ServiceMemory, Unhealthy};
use crate::model::plan::{ReplicaTransition, ServiceTransition};
use crate::model::replica::{ContainerId, ContainerState, Health, Replica};
use crate::model::snapshot::{ProxyObservation, Snapshot};
use crate::model::time::Moment;

/// Updates who is unhealthy, and whether the health check is trusted.
pub(crate) fn judge(plan: &mut PlanBuilder) {
    let PlanBuilder { snapshot, next, transitions, .. } = plan;
    let snapshot: &Snapshot = snapshot;
    let drains = &next.drains;
    let stays = |r: &Replica| runs(r) || is_useless(snapshot, r) || drains.contains_key(&r.id);
    next.unhealthy.retain(|id, _| snapshot.replicas.iter().any(|r| r.id == *id && stays(r)));
    for replica in snapshot.replicas.iter().filter(|r| runs(r)) {
        let id = &replica.id;
        let number = replica.number;
        match &replica.health {
            Health::Unhealthy { since, error } => match next.unhealthy.get_mut(id) {
                Some(unhealthy) => unhealthy.error.clone_from(error),
                // It is being removed already.
                None if next.drains.contains_key(id) => (),
                None => {
                    let since = *since;
                    let error = error.clone();
                    transitions
                        .push(ReplicaTransition::BecameUnhealthy { number, error: error.clone() });
                    let served = replica.is_served();
                    let ignored = next.panic_mode.is_some();
                    next.unhealthy.insert(id.clone(), Unhealthy { since, error, served, ignored });
                }
            },
            // A replica that drains because it was unhealthy is removed even if it recovers.
            Health::Healthy if next.drains.contains_key(id) => (),
            Health::Healthy => {
                let was_ill = next.unhealthy.remove(id).is_some();
                transitions.extend(was_ill.then_some(ReplicaTransition::Recovered { number }));
            }
            // Not probed since the daemon started: the stored result still holds.
            Health::Unknown | Health::Starting | Health::AwaitsHook => (),
        }
    }
    let fell_ill =
        transitions.iter().any(|step| matches!(step, ReplicaTransition::BecameUnhealthy { .. }));
    let is_useless = useless(snapshot, next, transitions);
    plan.service_transitions.extend(suspect(snapshot, next, fell_ill));
    plan.has_failed = is_useless || fell_ill && plan.next.panic_mode.is_none();
}

/// It runs and cannot serve, whatever its health check says: it is paused, or has no address.
/// Containers of docker compose are reported, but left alone.
fn is_useless(snapshot: &Snapshot, replica: &Replica) -> bool {
    replica.owner.may_be_replaced()
        && match replica.state {
            ContainerState::Paused => !replica.is_held,
            ContainerState::Running => replica.address.is_none() && snapshot.swarm.is_none(),
            ContainerState::Created
            | ContainerState::Restarting
            | ContainerState::Exited
            | ContainerState::Removing => false,
        }
}

/// Marks replicas that cannot serve as unhealthy. Returns whether there was a new one.
fn useless(
    snapshot: &Snapshot,
    next: &mut ServiceMemory,
    transitions: &mut Vec<ReplicaTransition>,
) -> bool {
    let mut failed = false;
    for replica in snapshot.replicas.iter().filter(|r| is_useless(snapshot, r)) {
        let id = &replica.id;
        let number = replica.number;
        if next.unhealthy.contains_key(id) || next.drains.contains_key(id) {
            continue;
        }
        let known = next.known.get(id).and_then(|known| known.unaddressed);
        let waits =
            known.map_or(Duration::ZERO, |unaddressed| snapshot.now.since(unaddressed.since));
        let error = match replica.state {
            ContainerState::Paused => "its processes are paused".to_owned(),
            _ if snapshot.service.health.start_period <= waits && known.is_some() => {
                lifecycle::no_address(replica)
            }
            _ => continue,
        };
        transitions.push(ReplicaTransition::BecameUnhealthy { number, error: error.clone() });
        let since = snapshot.now;
        let served = replica.is_served();
        next.unhealthy.insert(id.clone(), Unhealthy { since, error, served, ignored: false });
        failed = true;
    }
    failed
}

fn runs(replica: &Replica) -> bool {
    replica.state == ContainerState::Running && replica.address.is_some()
}

/// Enters and leaves panic mode. The states, and what leads from one to the next:
///
/// ```text
/// trusted     -> panic       two or more became unhealthy within one interval, none is healthy
/// panic       -> recovering  one is healthy again: the others get `healthy_after` checks
/// recovering  -> panic       none is healthy any more
/// recovering  -> trusted     the time is over: replicas that still fail are replaced
/// ```
fn suspect(
    snapshot: &Snapshot,
    next: &mut ServiceMemory,
    fell_ill: bool,
) -> Option<ServiceTransition> {
    // A replica that never served says nothing about the health check.
    let is_well = |r: &Replica| {
        let stays = !next.drains.contains_key(&r.id) && !next.unhealthy.contains_key(&r.id);
        stays && runs(r) && is_well(r)
    };
    let none_is_well = !snapshot.replicas.iter().any(is_well);
    let check = &snapshot.service.health;
    let now = snapshot.now;
    // Replicas that never served do not count towards panic mode; without HAProxy, all count.
    let is_absent = snapshot.proxy == ProxyObservation::Absent;
    let is_asked = |id: &ContainerId| snapshot.replicas.iter().any(|r| r.id == *id && runs(r));
    let counts = |id: &ContainerId, unhealthy: &Unhealthy| {
        !next.drains.contains_key(id) && is_asked(id) && (unhealthy.served || is_absent)
    };
    let ill = next.unhealthy.iter().filter(|(id, unhealthy)| counts(id, unhealthy));
    let Some(panic_mode) = &mut next.panic_mode else {
        // Replicas that were unhealthy before have a cause of their own.
        let span = check.interval.saturating_add(check.timeout);
        let last = ill.clone().map(|(_, unhealthy)| unhealthy.since).max()?;
        let together = ill.filter(|(_, unhealthy)| last.since(unhealthy.since) <= span);
        let together: Vec<ContainerId> = together.map(|(id, _)| id.clone()).collect();
        if !fell_ill || !none_is_well || together.len() < 2 {
            return None;
        }
        next.panic_mode = Some(PanicMode { until: None });
        for id in &together {
            next.unhealthy.entry(id.clone()).and_modify(|unhealthy| unhealthy.ignored = true);
        }
        let count = u32::try_from(together.len()).unwrap_or(u32::MAX);
        return Some(ServiceTransition::PanicModeEntered { count });
    };
    let is_ignored = ill.clone().any(|(_, unhealthy)| unhealthy.ignored);
    if none_is_well && is_ignored {
        panic_mode.until = None;
        return None;
    }
    // The other replicas get time to recover as well.
    let grace = check.interval.saturating_mul(check.healthy_after);
    let until = *panic_mode.until.get_or_insert(now.plus(grace.saturating_add(check.timeout)));
    if now < until {
        return None;
    }
    next.panic_mode = None;
    next.unhealthy.values_mut().for_each(|unhealthy| unhealthy.ignored = false);
    Some(ServiceTransition::PanicModeLeft)
}

fn is_well(replica: &Replica) -> bool {
    match replica.health {
        Health::Healthy => true,
        Health::Unknown | Health::Starting | Health::AwaitsHook => replica.is_served(),
        Health::Unhealthy { .. } => false,
    }
}

/// How long until the check is trusted again.
pub(crate) fn requeue_after(now: Moment, memory: &ServiceMemory) -> Option<Duration> {
    Some(memory.panic_mode?.until?.since(now))
}
