//! The desired revision, which replicas are outdated, and the progress of a rollout.
//!
//! Nothing here starts or stops a replica: `rolling_update.rs` does, as long as there are outdated
//! ones. A rollout that is interrupted anywhere goes on from the replicas that run.

use std::sync::Arc;
use std::time::Duration;

use crate::decide::classify::{Classified, ReplicaClass};
use crate::decide::plan_builder::PlanBuilder;
use crate::model::image::ImageMemory;
use crate::model::memory::{Failures, ServiceMemory};
use crate::model::plan::ServiceTransition;
use crate::model::replica::Replica;
use crate::model::rollout::{Progress, Revision, RolloutMemory};
use crate::model::service::{ContainerSpec, Origin, Service};
use crate::model::time::Moment;

/// Ticks come at least once a minute. A longer gap means that the daemon did not run: it does not
/// count as time without progress.
const UNWATCHED: Duration = Duration::from_secs(120);

/// The revision that new replicas are made from.
pub(crate) struct DesiredRevision {
    pub(crate) service: Arc<Service>,
    spec: String,
    restart_up_to: u32,
}

impl DesiredRevision {
    /// The config's revision; the last good one while the config's is rejected. A rejection ends
    /// when the config has another revision.
    pub(crate) fn choose(service: &Arc<Service>, memory: &mut RolloutMemory) -> DesiredRevision {
        let spec = service.spec_hash();
        memory.rejected.take_if(|rejected| *rejected != spec);
        let restart_up_to = memory.restart_up_to;
        match memory.good.as_ref().filter(|_| memory.rejected.is_some()) {
            None => DesiredRevision { service: pinned(service, memory), spec, restart_up_to },
            Some(good) => {
                let service = Arc::new(good.applied_to(service));
                DesiredRevision { spec: service.spec_hash(), service, restart_up_to }
            }
        }
    }

    /// It has another revision, or is older than a requested restart. A replica without the label
    /// counts as up to date; so do containers of docker compose, which compose replaces.
    pub(crate) fn is_outdated(&self, replica: &Replica) -> bool {
        let is_outdated = replica.number <= self.restart_up_to || self.has_other_spec(replica);
        is_outdated && replica.owner.may_be_replaced()
    }

    fn has_other_spec(&self, replica: &Replica) -> bool {
        let pin = self.service.container.pin.as_ref();
        replica.spec.as_ref().is_some_and(|spec| *spec != self.spec)
            || pin.is_some_and(|pin| replica.image.is_other(pin))
    }

    /// Equal for revisions that make the same replicas.
    pub(crate) fn key(&self) -> String {
        key(&self.service)
    }
}

/// The spec, and the image where that is pinned.
pub(crate) fn key(service: &Service) -> String {
    let spec = service.spec_hash();
    match &service.container.pin {
        None => spec,
        Some(pin) => format!("{spec}@{}", pin.digest),
    }
}

fn pinned(service: &Arc<Service>, memory: &RolloutMemory) -> Arc<Service> {
    let images = &memory.images;
    let is_its = service.container.origin == Origin::Image(images.image.clone());
    match images.pin.as_ref().filter(|_| is_its) {
        None => service.clone(),
        Some(pin) => {
            let container = ContainerSpec { pin: Some(pin.clone()), ..service.container.clone() };
            Arc::new(Service { container, ..Service::clone(service) })
        }
    }
}

/// The revision of a new replica outside a tick, as for a start that begins later.
pub(crate) fn to_make(service: &Arc<Service>, memory: Option<&RolloutMemory>) -> Arc<Service> {
    let mut memory = memory.cloned().unwrap_or_default();
    DesiredRevision::choose(service, &mut memory).service
}

/// An operator requested that all replicas are replaced, whatever their revision.
pub(crate) fn restart(service: &Service, memory: &mut ServiceMemory, now: Moment) {
    memory.rollout.restart_up_to = memory.last_number;
    memory.rollout.rejected = None;
    memory.rollout.images.rejected.clear();
    let target = DesiredRevision::choose(&Arc::new(service.clone()), &mut memory.rollout);
    memory.rollout.under_way = Some(Progress::begun(target.key(), now));
}

struct RolloutCounts {
    /// Ready, and of the desired revision.
    new: u32,
    old: u32,
    /// The part of `old` that has another revision.
    other: u32,
}

impl RolloutCounts {
    fn of(classified: &Classified, target: &DesiredRevision) -> RolloutCounts {
        let mut counts = RolloutCounts { new: 0, old: 0, other: 0 };
        for (class, replica) in &classified.replicas {
            if matches!(class, ReplicaClass::Leaving | ReplicaClass::Away) {
                continue;
            }
            if target.is_outdated(replica) {
                counts.old += 1;
                counts.other += u32::from(target.has_other_spec(replica));
            } else if *class == ReplicaClass::Ready {
                counts.new += 1;
            }
        }
        counts
    }
}

/// Starts, advances or ends the rollout. Returns the revision that new replicas get in this tick.
///
/// 1. No rollout is under way and none is needed: a complete service confirms its revision.
/// 2. The revision changed: a new rollout starts.
/// 3. All replicas are new and ready: it is finished, and the revision is remembered as good.
/// 4. No progress within `progress_deadline`: rollback, or stalled.
pub(crate) fn advance(plan: &mut PlanBuilder, target: DesiredRevision) -> DesiredRevision {
    let now = plan.snapshot.now;
    let service = &plan.snapshot.service;
    let desired = plan.desired;
    let counts = RolloutCounts::of(&plan.classified, &target);
    let is_enough = desired <= counts.new.saturating_add(service.rollout.max_unavailable)
        && (0 < counts.new || desired == 0);
    let is_complete = counts.old == 0 && is_enough;
    let key = target.key();
    let rollout = &mut plan.next.rollout;
    let mut progress = match rollout.under_way.take() {
        Some(progress) if progress.spec == key => progress,
        // With a number of zero all replicas stop anyway.
        None if counts.old == 0 || desired == 0 => {
            if is_complete {
                remember(&target.service, &counts, rollout);
            }
            return target;
        }
        Some(_) | None => {
            plan.service_transitions.push(ServiceTransition::RolloutStarted { old: counts.old });
            Progress::begun(key, now)
        }
    };
    if desired == 0 && rollout.images.from.is_some() {
        // Whether the new image works, the next replica shows.
        progress.moved = now;
        progress.watched = now;
        rollout.under_way = Some(progress);
        return target;
    }
    if is_complete {
        let took = now.since(progress.began);
        let is_back = rollout.rejected.is_some() || progress.is_back;
        plan.service_transitions.push(ServiceTransition::RolloutFinished { took, is_back });
        remember(&target.service, &counts, rollout);
        plan.service_transitions.extend(image_updated(&target, &mut rollout.images));
        return target;
    }
    note(&mut progress, &counts, now);
    let idle = now.since(progress.moved);
    if service.rollout.progress_deadline <= idle {
        return give_up(plan, target, progress, &counts);
    }
    rollout.under_way = Some(progress);
    target
}

fn image_updated(target: &DesiredRevision, images: &mut ImageMemory) -> Option<ServiceTransition> {
    let from = images.from.take()?;
    let to = target.service.container.pin.as_ref()?.digest.clone();
    (from != to).then(|| ServiceTransition::ImageUpdated { image: images.image.clone(), from, to })
}

/// Remembers the config's revision as good: replicas of it served.
fn remember(service: &Service, counts: &RolloutCounts, memory: &mut RolloutMemory) {
    let is_known = memory.good.as_ref().is_some_and(|good| good.is_of(service));
    if 0 < counts.new && memory.rejected.is_none() && !is_known {
        memory.good = Some(Arc::new(Revision::of(service)));
    }
}

/// Updates the progress clock, which leaves out the time that the daemon did not run.
fn note(progress: &mut Progress, counts: &RolloutCounts, now: Moment) {
    let gap = now.since(progress.watched);
    if UNWATCHED < gap {
        progress.moved = progress.moved.plus(gap).min(now);
    }
    progress.watched = now;
    if progress.most_new < counts.new || counts.old < progress.fewest_old {
        progress.most_new = progress.most_new.max(counts.new);
        progress.fewest_old = progress.fewest_old.min(counts.old);
        progress.moved = now;
        progress.is_stalled = false;
    }
}

/// Only the image differs: its digest is rejected. Else the config's spec is.
fn reject(
    rollout: &mut RolloutMemory,
    target: DesiredRevision,
    good: &Service,
) -> Option<ServiceTransition> {
    rollout.images.from = None;
    let pin = target.service.container.pin.clone();
    match pin.filter(|_| good.spec_hash() == target.spec) {
        None => {
            rollout.rejected = Some(target.spec);
            None
        }
        Some(pin) => {
            rollout.images.reject(pin.digest.clone(), target.spec);
            rollout.images.pin = good.container.pin.clone();
            Some(ServiceTransition::ImageRejected { digest: pin.digest })
        }
    }
}

/// Without progress there are three outcomes: back to the last good revision; for a restart, the
/// replicas that run are kept; else the rollout is stalled and goes on trying.
fn give_up(
    plan: &mut PlanBuilder,
    target: DesiredRevision,
    mut progress: Progress,
    counts: &RolloutCounts,
) -> DesiredRevision {
    let PlanBuilder { snapshot, next, service_transitions, .. } = plan;
    let service = &snapshot.service;
    let rollout = &mut next.rollout;
    let idle = snapshot.now.since(progress.moved);
    let may = service.rollout.rollback && rollout.rejected.is_none();
    let good = rollout.good.clone().filter(|_| may);
    let good = good.map(|good| (key(&good.applied_to(service)), good));
    let new = counts.new;
    let old = counts.old;
    if let Some((back, good)) = good.filter(|(back, _)| *back != target.key()) {
        let to = good.container.image_reference();
        let to = Some(to.unwrap_or_else(|| good.container.origin.to_string()));
        service_transitions.push(ServiceTransition::RolledBack { idle, new, old, to });
        let mut back = Progress::begun(back, snapshot.now);
        back.is_back = true;
        rollout.under_way = Some(back);
        service_transitions.extend(reject(rollout, target, &good.applied_to(service)));
    } else if may && counts.other == 0 {
        // A restart of the same revision: the replicas that run work, their successors do not.
        service_transitions.push(ServiceTransition::RolledBack { idle, new, old, to: None });
    } else {
        if !std::mem::replace(&mut progress.is_stalled, true) {
            service_transitions.push(ServiceTransition::RolloutStalled { idle, new, old });
        }
        rollout.under_way = Some(progress);
        return target;
    }
    rollout.restart_up_to = 0;
    // The good revision does not wait for the backoff of the failed one.
    next.failures = Failures::default();
    DesiredRevision::choose(service, &mut next.rollout)
}
