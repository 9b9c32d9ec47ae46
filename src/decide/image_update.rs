//! Takes up the digest that the registry has behind a service's tag. `rollout.rs` rolls it, and
//! rolls it back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::decide::classify::ReplicaClass;
use crate::decide::plan_builder::PlanBuilder;
use crate::decide::rollout::DesiredRevision;
use crate::model::image::{ImageAnswer, ImageMemory, ImagePin};
use crate::model::memory::Failures;
use crate::model::rollout::{Progress, Revision};
use crate::model::service::Origin;

/// 1. What the replicas run is pinned before anything else, so that there is a way back.
/// 2. Another digest is taken unless it was rolled back, the hours are closed, or a rollout is
///    under way that is not stalled.
/// 3. It is pulled before the first replica is replaced: a registry that fails costs nothing.
pub(crate) fn follow(plan: &mut PlanBuilder) {
    let snapshot = plan.snapshot;
    let service = &snapshot.service;
    let images = &mut plan.next.rollout.images;
    images.wanted = None;
    let (Some(updates), Origin::Image(image)) = (&service.image_updates, &service.container.origin)
    else {
        // An update that has begun is finished. The tag names the pinned image then.
        if plan.next.rollout.under_way.is_none() {
            plan.next.rollout.images = ImageMemory::default();
        }
        return;
    };
    if images.image != *image {
        *images = ImageMemory { image: image.clone(), ..ImageMemory::default() };
    }
    let Some(answer) = &snapshot.registry.answer else { return };
    let under_way = plan.next.rollout.under_way.as_ref();
    let is_asleep = plan.next.desired == Some(0);
    if under_way.is_some_and(|progress| !progress.is_stalled) && !is_asleep {
        return;
    }
    let is_quiet = under_way.is_none();
    let known = plan.next.rollout.images.pin.clone();
    let was_known = known.is_some();
    let Some(old) = known.or_else(|| running(plan, answer)) else { return };
    if is_quiet && !was_known && is_uniform(plan, &old) {
        plan.next.rollout.images.pin = Some(old.clone());
    }
    let spec = service.spec_hash();
    let is_same = old.digest == answer.digest || answer.is_current(&old.id);
    let is_closed =
        updates.hours.as_ref().is_some_and(|hours| !hours.holds(snapshot.wall, Duration::ZERO));
    let is_rejected = plan.next.rollout.images.is_rejected(&answer.digest, &spec);
    // What was tried with a rejected spec is known only if it was pinned.
    let is_unknown = plan.next.rollout.rejected.is_some() && !was_known;
    if is_same || is_closed || is_rejected || is_unknown {
        return;
    }
    match &answer.id {
        None => plan.next.rollout.images.wanted = Some(answer.digest.clone()),
        Some(id) => {
            let new = ImagePin { digest: answer.digest.clone(), id: id.clone() };
            take(plan, old, new);
        }
    }
}

fn take(plan: &mut PlanBuilder, old: ImagePin, new: ImagePin) {
    let snapshot = plan.snapshot;
    let rollout = &mut plan.next.rollout;
    if let Some(good) = &rollout.good
        && good.container.pin.is_none()
        && good.is_of(&snapshot.service)
    {
        let mut container = good.container.clone();
        container.pin = Some(old.clone());
        rollout.good = Some(Arc::new(Revision { container, ..Revision::clone(good) }));
    }
    // An update that replaces another one that failed is one from what served.
    rollout.images.from.get_or_insert(old.digest);
    rollout.images.pin = Some(new);
    rollout.rejected = None;
    // A new image does not wait for the backoff of the one before.
    plan.next.failures = Failures::default();
    if plan.next.desired == Some(0) || ids(plan).is_empty() {
        // Nothing runs that would be outdated; the next replica shows whether it works.
        let key = DesiredRevision::choose(&snapshot.service, &mut plan.next.rollout).key();
        plan.next.rollout.under_way = Some(Progress::begun(key, snapshot.now));
    }
}

fn ids<'s>(plan: &'s PlanBuilder) -> BTreeSet<&'s str> {
    let there = plan.classified.replicas.iter();
    let there =
        there.filter(|(class, _)| !matches!(class, ReplicaClass::Leaving | ReplicaClass::Away));
    there.map(|(_, replica)| replica.image.id.as_str()).filter(|id| !id.is_empty()).collect()
}

/// The image that the replicas run, or without any that the tag names here. Of several images one
/// that the registry does not have any more. `None`: nothing is known of it yet.
fn running(plan: &PlanBuilder, answer: &ImageAnswer) -> Option<ImagePin> {
    let ids = ids(plan);
    let old = ids.iter().find(|id| !answer.is_current(id)).or(ids.first()).copied();
    let id = old.or(answer.tagged.as_deref())?;
    let digest = match answer.is_current(id) {
        true => answer.digest.clone(),
        false => answer.digests.get(id)?.first()?.clone(),
    };
    Some(ImagePin { digest, id: id.to_owned() })
}

fn is_uniform(plan: &PlanBuilder, pin: &ImagePin) -> bool {
    ids(plan).iter().all(|id| *id == pin.id)
}
