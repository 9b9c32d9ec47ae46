//! Replicas are started only while the host's memory has room for them.
//!
//! What was just started has not taken its memory yet, so each replica that is not ready is counted
//! at the limit of its container. A service without a memory limit cannot be counted, and is not
//! capped.

use crate::decide::classify::ReplicaCounts;
use crate::model::memory::ServiceMemory;
use crate::model::plan::Rule;
use crate::model::snapshot::Snapshot;

/// Bytes that the service's replicas that are not ready may still take.
pub(crate) fn promised(snapshot: &Snapshot, memory: &ServiceMemory) -> u64 {
    let each = snapshot.service.container.memory;
    each.map_or(0, |each| {
        each.saturating_mul(u64::from(ReplicaCounts::take(snapshot, memory).unready))
    })
}

/// `free_memory` is what is left beside all that was promised.
///
/// How many more replicas may be started, and the rule that allows no more; `None` where nothing
/// is known.
pub(crate) fn room(snapshot: &Snapshot) -> Option<(u32, Rule)> {
    let needed = snapshot.service.container.memory.filter(|bytes| 0 < *bytes)?;
    let free = snapshot.free_memory?;
    let room = u32::try_from(free / needed).unwrap_or(u32::MAX);
    Some((room, Rule::NoHeadroom { free, needed }))
}
