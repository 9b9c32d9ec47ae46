//! Docker compose starts and stops containers of its services as its own commands say. What it
//! makes of the number is taken over, and changed again only after a cooldown: two that put the
//! same thing right in turn would never come to rest.

use crate::decide::classify::ReplicaCounts;
use crate::decide::lifecycle::{ExternalChanges, is_away};
use crate::model::memory::ServiceMemory;
use crate::model::plan::{Cause, Rule};
use crate::model::replica::{ContainerState, Replica};
use crate::model::service::Origin;
use crate::model::snapshot::Snapshot;

/// Somebody else may change the number as well.
pub(crate) fn is_shared(snapshot: &Snapshot) -> bool {
    let is_composed = matches!(snapshot.service.container.origin, Origin::Compose { .. });
    is_composed || snapshot.swarm.is_some()
}

/// No container of compose's runs, so that there is no pattern for another one, and compose is not
/// about to start one again. What it took down it may bring up.
pub(crate) fn is_asleep(snapshot: &Snapshot) -> bool {
    let is_composed = matches!(snapshot.service.container.origin, Origin::Compose { .. });
    let is_pattern = |r: &Replica| r.state == ContainerState::Running;
    is_composed && !snapshot.replicas.iter().any(is_pattern)
}

/// The number that compose made, if it made one.
pub(crate) fn adopt(
    snapshot: &Snapshot,
    others: ExternalChanges,
    next: &mut ServiceMemory,
) -> Option<Cause> {
    let wanted = next.wanted.filter(|_| is_shared(snapshot))?;
    let found = ReplicaCounts::take(snapshot, next).size();
    let is_new =
        |r: &Replica| next.last_number < r.number && !snapshot.starting.contains(&r.number);
    let grew = wanted < found && (0 < others.came || snapshot.replicas.iter().any(is_new));
    let shrank = found < wanted && (0 < others.went || is_calm(snapshot, next));
    // What else is missing, this daemon is about to put right.
    let number = match (grew, shrank) {
        (true, _) => found,
        (false, true) if 0 < others.went => {
            wanted.saturating_sub(others.went).saturating_add(others.came).max(found)
        }
        (false, true) => found,
        (false, false) => return None,
    };
    // Of a service that sleeps one is wanted, so that it goes on as soon as compose starts it.
    let is_swarm = snapshot.swarm.is_some();
    let number = if is_swarm { number } else { number.max(1) };
    if number == wanted {
        return None;
    }
    next.wanted = Some(number);
    next.changed_at = Some(snapshot.now);
    Some(Cause { rule: Rule::Adopted(number), number })
}

/// Nothing that this daemon does, or that happened to a replica, explains that one is missing.
fn is_calm(snapshot: &Snapshot, memory: &ServiceMemory) -> bool {
    snapshot.starting.is_empty()
        && snapshot.failed_starts == 0
        && snapshot
            .replicas
            .iter()
            .all(|r| is_away(r) || r.state == ContainerState::Running && !r.busy)
        && memory.failures.count == 0
        && memory.drains.is_empty()
        && memory.ill.is_empty()
        && memory.rollout.under_way.is_none()
}
