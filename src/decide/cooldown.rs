//! Holding still after a change.

use crate::model::memory::ServiceMemory;
use crate::model::plan::Rule;
use crate::model::snapshot::Snapshot;

/// The span that counts is that of the change which is about to come.
pub(crate) fn hold(
    snapshot: &Snapshot,
    memory: &ServiceMemory,
    current: u32,
    proposed: u32,
    because: &mut Vec<Rule>,
) -> u32 {
    let cooldown = snapshot.service.cooldown;
    let span = if current < proposed { cooldown.up } else { cooldown.down };
    let Some(until) = memory.changed_at.map(|at| at.plus(span)) else { return proposed };
    if proposed == current || until <= snapshot.now {
        return proposed;
    }
    because.push(Rule::CoolingDown { left: until.since(snapshot.now) });
    current
}

/// A correction to the bounds is no change by load: it starts no cooldown.
pub(crate) fn remember(
    snapshot: &Snapshot,
    from: u32,
    wanted: u32,
    because: &[Rule],
    next: &mut ServiceMemory,
) {
    let by_load =
        because.iter().any(|r| matches!(r, Rule::AboveBand { .. } | Rule::BelowBand { .. }));
    if by_load && from != wanted {
        next.changed_at = Some(snapshot.now);
    }
}
