//! The cooldown: no change by load for a time after the last one.

use crate::model::memory::ServiceMemory;
use crate::model::reason::{AppliedRule, Rule};
use crate::model::snapshot::Snapshot;

/// Returns the number after the cooldown. The direction of the new change says which span counts.
pub(crate) fn hold(
    snapshot: &Snapshot,
    memory: &ServiceMemory,
    current: u32,
    proposed: u32,
    because: &mut Vec<AppliedRule>,
) -> u32 {
    let cooldown = snapshot.service.cooldown;
    let span = if current < proposed { cooldown.up } else { cooldown.down };
    let Some(until) = memory.changed_at.map(|at| at.plus(span)) else { return proposed };
    if proposed == current || until <= snapshot.now {
        return proposed;
    }
    let rule = Rule::CoolingDown { left: until.since(snapshot.now) };
    because.push(AppliedRule { rule, number: current });
    current
}
