//! `Snapshot` and `ServiceMemory` in, `Plan` and `ServiceMemory` out. Pure: no clock, no I/O, no
//! logging, no error. Every phase has a file of its own; this file alone knows their order.

mod adopt;
mod after_exit;
pub(crate) mod all_services;
mod arbiter;
pub(crate) mod desired_backends;
mod backoff;
mod bounds;
mod classify;
mod combine;
pub(crate) mod commands;
mod cooldown;
mod drain;
mod forecast;
pub(crate) mod headroom;
mod health;
mod image_update;
mod hpa;
mod kept_addresses;
mod lifecycle;
pub(crate) mod metrics;
mod normalize;
mod plan_builder;
mod policies;
mod preemption;
mod processor;
pub(crate) mod proxy;
mod reconcile;
mod replica_calculation;
mod requeue;
mod sleep;
mod rolling_update;
pub(crate) mod rollout;
mod desired_servers;
mod stabilize;
mod swarm;
mod threshold;
mod victims;
mod wake_plan;
#[cfg(test)]
mod tests;

use crate::decide::plan_builder::PlanBuilder;
use crate::decide::replica_calculation::ReplicaCalculation;
use crate::decide::rollout::DesiredRevision;
use crate::model::memory::ServiceMemory;
use crate::model::plan::Plan;
use crate::model::reason::Rule;
use crate::model::snapshot::{EngineSeen, Snapshot};

/// Plans one service: the number of replicas and why, the actions that lead there, HAProxy's
/// servers, and the memory of the next tick.
pub(crate) fn plan_service(snapshot: &Snapshot, memory: &ServiceMemory) -> (Plan, ServiceMemory) {
    let mut plan = PlanBuilder::new(snapshot, memory);
    commands::expire(snapshot.now, &mut plan.next);
    if let Some(rule) = unavailable(snapshot.engine) {
        return plan.unchanged(rule);
    }
    if let Some(swarm) = &snapshot.swarm {
        return swarm::plan_swarm_service(plan, swarm);
    }
    // 1. Health: which replicas fail, and what others did to them.
    plan.next.swarm = None;
    drain::forget(snapshot, &mut plan.next);
    health::judge(&mut plan);
    let external = lifecycle::follow(&mut plan);
    plan.classify();
    // 2. Revision: what new replicas are made from.
    image_update::follow(&mut plan);
    let revision = DesiredRevision::choose(&snapshot.service, &mut plan.next.rollout);
    // 3. Number: what docker compose made of it, the rules and load, sleep, the
    //    forecast, preemptions, the host's processors and free memory.
    adopt::adopt(&mut plan, external);
    ReplicaCalculation::run(&mut plan);
    adopt::keep_one(&mut plan);
    sleep::adjust(&mut plan);
    forecast::raise(&mut plan);
    preemption::apply(&mut plan);
    processor::limit(&mut plan);
    headroom::limit(&mut plan, &revision);
    plan.commit_number();
    // 4. Failures and drains: both change classes.
    backoff::count_failures(&mut plan);
    drain::advance(&mut plan);
    plan.classify();
    // 5. Rollout: a rollback forgets failures, which changes classes again.
    let revision = rollout::advance(&mut plan, revision);
    plan.classify();
    // 6. Starts and stops.
    reconcile::reconcile_replicas(&mut plan, &revision);
    sleep::report(&mut plan);
    // 7. The plan and the time of the next tick.
    let requeue_after = requeue::requeue_after(&plan);
    plan.finish(requeue_after)
}

/// The number alone, by the stages that give it: no health, drains, rollout or memory of the host.
/// For a search that tries many settings on the same load.
pub(crate) fn plan_number(snapshot: &Snapshot, memory: &ServiceMemory) -> (Plan, ServiceMemory) {
    let mut plan = PlanBuilder::new(snapshot, memory);
    ReplicaCalculation::run(&mut plan);
    sleep::adjust(&mut plan);
    plan.commit_number();
    plan.finish(None)
}

/// Why the service cannot be observed now.
fn unavailable(engine: EngineSeen) -> Option<Rule> {
    match engine {
        EngineSeen::Answers => None,
        EngineSeen::Lost => Some(Rule::EngineLost),
        EngineSeen::Untold => Some(Rule::SwarmUnavailable),
    }
}

/// A plan that changes nothing.
pub(crate) fn keep_service(snapshot: &Snapshot, memory: &ServiceMemory, rule: Rule) -> Plan {
    PlanBuilder::new(snapshot, memory).unchanged(rule).0
}
