//! A service that Docker Swarm runs. The same stages give its number; Swarm starts, places, heals
//! and stops, so that nothing else is decided here.

use crate::decide::forecast;
use crate::decide::plan_builder::PlanBuilder;
use crate::decide::replica_calculation::ReplicaCalculation;
use crate::decide::requeue::requeue_after;
use crate::model::action::Action;
use crate::model::memory::ServiceMemory;
use crate::model::plan::Plan;
use crate::model::reason::Rule;
use crate::model::swarm::{SwarmMemory, SwarmServiceState};

/// Commands that expired have left the plan's memory already.
pub(crate) fn plan_swarm_service(
    mut plan: PlanBuilder,
    swarm: &SwarmServiceState,
) -> (Plan, ServiceMemory) {
    forget_replicas(&mut plan);
    plan.classify();
    adopt(&mut plan, swarm);
    ReplicaCalculation::run(&mut plan);
    forecast::raise(&mut plan);
    plan.commit_number();
    resize(&mut plan, swarm);
    let requeue_after = requeue_after(&plan);
    plan.finish(requeue_after)
}

/// What is remembered of replicas is about containers of this host, from before Swarm ran the
/// service; so is the number.
fn forget_replicas(plan: &mut PlanBuilder) {
    let ServiceMemory { desired, changed_at, hold, pause, history, forecast, swarm, .. } =
        std::mem::take(&mut plan.next);
    let desired = desired.filter(|_| swarm.is_some());
    plan.before = desired;
    plan.next = ServiceMemory {
        desired,
        changed_at,
        hold,
        pause,
        history,
        forecast,
        swarm,
        ..ServiceMemory::default()
    };
}

/// A number that Swarm did not have at the last tick and that we did not request was set by
/// somebody else. It is taken over, and changed again only after a cooldown: two controllers that
/// correct each other at once would never come to rest.
fn adopt(plan: &mut PlanBuilder, swarm: &SwarmServiceState) {
    if swarm.busy {
        return;
    }
    let found = swarm.desired;
    let next = &mut plan.next;
    let new = SwarmMemory { seen: found, asked: None };
    let Some(before) = next.swarm.replace(new) else { return };
    let is_known = before.seen == found || before.asked == Some(found);
    if is_known || next.desired == Some(found) {
        return;
    }
    next.desired = Some(found);
    next.changed_at = Some(plan.snapshot.now);
    plan.set_number(Rule::Rescaled(found), found);
}

fn resize(plan: &mut PlanBuilder, swarm: &SwarmServiceState) {
    let is_due = swarm.leads && !swarm.busy && plan.desired != swarm.desired;
    let service = &plan.snapshot.service;
    let Some(name) = service.runs.swarm().filter(|_| is_due) else { return };
    plan.actions.push(Action::Resize {
        service: service.name.as_str().to_owned(),
        swarm_service: name.to_owned(),
        from: swarm.desired,
        to: plan.desired,
    });
    if let Some(memory) = &mut plan.next.swarm {
        memory.asked = Some(plan.desired);
    }
}
