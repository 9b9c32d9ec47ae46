//! Docker compose starts and stops containers of its services by its own commands. The number that
//! it leaves is taken over, and changed again only after a cooldown: two controllers that correct
//! each other at once would never come to rest.

use crate::decide::after_exit::is_away;
use crate::decide::lifecycle::ExternalChanges;
use crate::decide::plan_builder::PlanBuilder;
use crate::model::memory::ServiceMemory;
use crate::model::reason::Rule;
use crate::model::replica::{ContainerState, Replica};
use crate::model::service::Origin;
use crate::model::snapshot::Snapshot;

/// Somebody else may change the number as well.
pub(crate) fn is_shared(snapshot: &Snapshot) -> bool {
    let is_composed = matches!(snapshot.service.container.origin, Origin::Compose { .. });
    is_composed || snapshot.swarm.is_some()
}

/// No container of compose runs, so there is no pattern to copy for another one. Only compose
/// starts the service again.
pub(crate) fn is_asleep(snapshot: &Snapshot) -> bool {
    let is_composed = matches!(snapshot.service.container.origin, Origin::Compose { .. });
    let is_pattern = |r: &Replica| r.state == ContainerState::Running;
    is_composed && !snapshot.replicas.iter().any(is_pattern)
}

/// Takes over the number that compose made, if it made one.
pub(crate) fn adopt(plan: &mut PlanBuilder, external: ExternalChanges) {
    let Some(number) = adopted_number(plan, external) else { return };
    plan.next.desired = Some(number);
    plan.next.changed_at = Some(plan.snapshot.now);
    plan.set_number(Rule::Adopted(number), number);
}

fn adopted_number(plan: &PlanBuilder, external: ExternalChanges) -> Option<u32> {
    let PlanBuilder { snapshot, next, .. } = plan;
    let desired = next.desired.filter(|_| is_shared(snapshot))?;
    let found = plan.classified.counts.size();
    let ExternalChanges { came, went } = external;
    let is_new =
        |r: &Replica| next.last_number < r.number && !snapshot.starting.contains(&r.number);
    let grew = desired < found && (0 < came || snapshot.replicas.iter().any(is_new));
    let shrank = found < desired && (0 < went || is_calm(snapshot, next));
    // What else is missing, this daemon replaces.
    let number = match (grew, shrank) {
        (true, _) => found,
        (false, true) if 0 < went => desired.saturating_sub(went).saturating_add(came).max(found),
        (false, true) => found,
        (false, false) => return None,
    };
    // A service that sleeps has a number of one, so that it goes on as soon as compose starts it.
    let number = number.max(1);
    (number != desired).then_some(number)
}

/// A service of compose never goes to zero: without a container of compose there is no pattern
/// for the next one.
pub(crate) fn keep_one(plan: &mut PlanBuilder) {
    if plan.desired == 0 && is_shared(plan.snapshot) {
        plan.set_number(Rule::BelowMin(1), 1);
    }
}

/// No action of this daemon and no failure explains a missing replica.
fn is_calm(snapshot: &Snapshot, memory: &ServiceMemory) -> bool {
    snapshot.starting.is_empty()
        && snapshot.failed_starts == 0
        && snapshot
            .replicas
            .iter()
            .all(|r| is_away(r) || r.state == ContainerState::Running && !r.busy)
        && memory.failures.count == 0
        && memory.drains.is_empty()
        && memory.unhealthy.is_empty()
        && memory.rollout.under_way.is_none()
}
