//! Where the host's processors are busy, more replicas get no more of them.
//!
//! Load alone is limited by it. An operator, the bounds and the schedules give the number for other
//! reasons, and a service that a request wakes gets its first replica. A service whose replicas are
//! at their own CPU limit grows: the next one has a limit of its own.

use crate::decide::plan_builder::PlanBuilder;
use crate::model::host_cpu::ProcessorState;
use crate::model::reason::Rule;
use crate::model::service::Percent;

/// At this share of their limit on average, replicas are at it: the kernel stops a container for
/// the rest of each period, so that few show 100 %.
const AT_LIMIT: Percent = Percent::from_hundredths(90_00);

/// Caps the number at what it was.
pub(crate) fn limit(plan: &mut PlanBuilder) {
    let Some(state) = plan.snapshot.processor.state().filter(|state| state.is_busy) else { return };
    if !is_by_load(plan) || is_at_limit(plan) {
        return;
    }
    let ProcessorState { idle, pressure, reserve, .. } = state;
    let bounds = plan.snapshot.service.timetable.at(plan.snapshot.wall).bounds;
    let granted = plan.snapshot.preemption.granted.unwrap_or(0);
    let least = bounds.min().max(granted).max(1);
    plan.cap_load(plan.load_before().max(least));
    let most = plan.from().max(least);
    if most < plan.desired {
        // What waits is said only where what is idle does not explain it.
        let pressure = pressure.filter(|_| reserve <= idle);
        plan.set_number(Rule::HostBusy { idle, pressure }, most);
    }
}

fn is_by_load(plan: &PlanBuilder) -> bool {
    let last = plan.because.last().map(|cause| cause.rule);
    plan.is_by_load || matches!(last, Some(Rule::Woken { .. }))
}

fn is_at_limit(plan: &PlanBuilder) -> bool {
    let snapshot = plan.snapshot;
    let has_limit = snapshot.service.container.nano_cpus.is_some()
        || snapshot.replicas.iter().any(|replica| replica.usage.has_cpu_limit);
    has_limit && plan.average_alone().is_some_and(|average| AT_LIMIT <= average)
}
