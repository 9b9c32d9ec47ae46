//! What preemptions make of the number of one service; `arbiter.rs` decides on them. An operator's
//! hold or pause and the minimum of the moment outrank them.

use crate::decide::plan_builder::PlanBuilder;
use crate::model::preemption::{PreemptionCap, PreemptionLimits};
use crate::model::reason::Rule;

pub(crate) fn apply(plan: &mut PlanBuilder) {
    let PreemptionLimits { cap, back, granted } = plan.snapshot.preemption;
    if plan.next.hold.is_some() || plan.next.pause.is_some() {
        return;
    }
    let bounds = plan.snapshot.service.timetable.at(plan.snapshot.wall).bounds;
    let is_asleep = plan.because.last().is_some_and(|c| matches!(c.rule, Rule::Asleep { .. }));
    if let Some(number) = back.map(|number| number.min(bounds.max()))
        && plan.desired < number
        && !is_asleep
    {
        set(plan, Rule::GivenBack, number);
    }
    // An evaluation asks load anew.
    if let Some(number) = granted.map(|number| number.min(bounds.max()))
        && plan.desired < number
        && !is_asleep
        && !plan.snapshot.due
    {
        set(plan, Rule::RoomMade, number);
    }
    if let Some(PreemptionCap { most, taken, priority }) = cap {
        let most = most.max(bounds.min());
        if most < plan.desired {
            set(plan, Rule::Preempted { taken, priority }, most);
        }
    }
}

fn set(plan: &mut PlanBuilder, rule: Rule, number: u32) {
    plan.because.retain(|cause| cause.rule != Rule::Unchanged);
    // No cooldown follows a number that load did not give.
    plan.is_by_load = false;
    plan.set_number(rule, number);
}
