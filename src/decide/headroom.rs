//! Replicas are started only while the host's memory has room for them.
//!
//! What was just started has not taken its memory yet, so each replica that is not ready is counted
//! at the limit of its container. A service without a memory limit cannot be counted, and is not
//! capped.

use crate::decide::classify::Classified;
use crate::decide::drain;
use crate::decide::plan_builder::PlanBuilder;
use crate::decide::rollout::DesiredRevision;
use crate::model::memory::ServiceMemory;
use crate::model::reason::Rule;
use crate::model::snapshot::Snapshot;

/// Bytes that the service's replicas that are not ready may still take.
pub(crate) fn promised(snapshot: &Snapshot, memory: &ServiceMemory) -> u64 {
    let each = snapshot.service.container.memory;
    each.map_or(0, |each| {
        each.saturating_mul(u64::from(Classified::new(snapshot, memory).counts.unready))
    })
}

/// `free_memory` is what is left beside all that was promised.
///
/// How many more replicas may be started, and the rule that allows no more; `None` where nothing
/// is known.
fn room(snapshot: &Snapshot) -> Option<(u32, Rule)> {
    let needed = snapshot.service.container.memory.filter(|bytes| 0 < *bytes)?;
    let free = snapshot.free_memory?;
    let room = u32::try_from(free / needed).unwrap_or(u32::MAX);
    Some((room, Rule::NoHeadroom { free, needed }))
}

/// Caps the number at what the host has memory for. A drain that is cancelled takes no memory, and
/// the replicas of the last tick have theirs already.
pub(crate) fn limit(plan: &mut PlanBuilder, revision: &DesiredRevision) {
    plan.room = room(plan.snapshot);
    let Some((room, rule)) = plan.room else { return };
    let back = drain::cancellable(plan.snapshot, revision, &plan.next).count();
    let back = u32::try_from(back).unwrap_or(u32::MAX);
    let there = plan.classified.counts.size().saturating_add(back);
    let most = there.saturating_add(room).max(plan.from());
    if most < plan.desired {
        plan.set_number(rule, most);
    }
}
