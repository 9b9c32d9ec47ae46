//! Sleep and wake-up: a service whose bounds allow no replica has none while nobody asks for it.
//!
//! It falls asleep when there was no session and no request for `sleep_after`, and no metric asks
//! for a replica. A request that waits, in HAProxy's queue or at the daemon, wakes it at once, at
//! any tick. Metrics, schedules and operators wake it by the number that they give.
//!
//! A replica that was started for a request that nobody waits for any more gets ready all the same:
//! its client may come back, as one that retries. It is stopped soon after that.

use std::time::Duration;

use crate::decide::plan_builder::PlanBuilder;
use crate::model::bounds::Bounds;
use crate::model::decision::MetricResult;
use crate::model::metric::{Field, Milli, Source};
use crate::model::plan::ServiceTransition;
use crate::model::reason::Rule;
use crate::model::sleep::{SleepMemory, SleepObservation, WakeCause, WakeUp};

/// Since the last request, where none was answered since the wake-up.
const UNUSED_MAX: Duration = Duration::from_secs(10);

/// Adjusts the number that the rules gave.
pub(crate) fn adjust(plan: &mut PlanBuilder) {
    let snapshot = plan.snapshot;
    let Some(seen) = &snapshot.sleep else {
        plan.next.sleep = SleepMemory::default();
        return;
    };
    let bounds = snapshot.service.timetable.at(snapshot.wall).bounds;
    let is_free = plan.next.hold.is_none() && plan.next.pause.is_none();
    if is_free && bounds.min() == 0 && 0 < bounds.max() {
        match plan.from() {
            0 => wake(plan, seen, bounds),
            _ => stay_or_sleep(plan, seen, bounds),
        }
    }
    remember(plan, seen, is_free);
}

fn wake(plan: &mut PlanBuilder, seen: &SleepObservation, bounds: Bounds) {
    let waiting = seen.waiting();
    if 0 < waiting {
        raise(plan, waiting, bounds);
    } else if plan.desired == 0 {
        set(plan, Rule::Asleep { idle: seen.idle }, 0);
    }
}

fn stay_or_sleep(plan: &mut PlanBuilder, seen: &SleepObservation, bounds: Bounds) {
    let waiting = seen.waiting();
    if plan.snapshot.due && sleeps(plan, seen) {
        return set(plan, Rule::Asleep { idle: seen.idle }, 0);
    }
    if plan.next.sleep.waking().is_some() && 0 < waiting {
        raise(plan, waiting, bounds);
    } else if plan.desired == 0 {
        set(plan, Rule::Awake { left: left(plan, seen) }, 1);
    }
}

fn raise(plan: &mut PlanBuilder, waiting: u64, bounds: Bounds) {
    let number = plan.desired.max(for_waiting(plan, waiting, bounds));
    set(plan, Rule::Woken { waiting }, number);
}

/// That the number was to stay is no reason for the one that it gets.
fn set(plan: &mut PlanBuilder, rule: Rule, number: u32) {
    plan.because.retain(|cause| !matches!(cause.rule, Rule::LastOne | Rule::Unchanged));
    plan.is_by_load = false;
    plan.set_number(rule, number);
}

/// As many as the targets of sessions and queue ask for, at least one.
fn for_waiting(plan: &PlanBuilder, waiting: u64, bounds: Bounds) -> u32 {
    let by_target = |source: &Source, target: Milli| match source {
        Source::Haproxy(Field::Sessions | Field::Queue) => {
            waiting.saturating_mul(1000).div_ceil(target.0.max(1))
        }
        _ => 1,
    };
    let metrics = plan.snapshot.service.metrics.iter();
    let most = metrics.map(|metric| by_target(&metric.source, metric.target)).max();
    u32::try_from(most.unwrap_or(1)).unwrap_or(u32::MAX).clamp(1, bounds.max())
}

/// How long the service may be idle.
fn limit(plan: &PlanBuilder) -> Duration {
    let after = plan.snapshot.service.sleep.after;
    let is_unused =
        |wake_up: WakeUp| wake_up.by == WakeCause::Request && wake_up.is_ready && !wake_up.is_used;
    match plan.next.sleep.wake_up.is_some_and(is_unused) {
        true => after.min(UNUSED_MAX),
        false => after,
    }
}

fn left(plan: &PlanBuilder, seen: &SleepObservation) -> Option<Duration> {
    Some(limit(plan).saturating_sub(seen.idle?)).filter(|left| !left.is_zero())
}

fn sleeps(plan: &PlanBuilder, seen: &SleepObservation) -> bool {
    seen.idle.is_some_and(|idle| limit(plan) <= idle)
        && seen.waiting() == 0
        && seen.copies == 0
        && !plan.measured.iter().any(|measured| keeps_awake(plan, measured))
}

/// CPU and memory are those of the replicas themselves: one that does nothing needs some. A metric
/// that has no value may need a replica.
fn keeps_awake(plan: &PlanBuilder, measured: &MetricResult) -> bool {
    let is_of_replicas = matches!(measured.name.as_str(), "cpu" | "memory");
    let is_ready = 0 < plan.classified.counts.by_state().ready;
    match (measured.rule, measured.proposal) {
        (_, None) => !is_of_replicas || is_ready,
        (Rule::LastOne | Rule::BelowBand { .. }, Some(proposal)) => 1 < proposal,
        (Rule::InsideBand { .. } | Rule::AboveBand { .. } | Rule::GapsOutweigh { .. }, _) => true,
        (_, Some(proposal)) => u32::from(is_of_replicas) < proposal,
    }
}

/// What changed: the service was woken, is ready, or sleeps.
fn remember(plan: &mut PlanBuilder, seen: &SleepObservation, is_free: bool) {
    let now = plan.snapshot.now;
    let is_ready = 0 < plan.classified.counts.by_state().ready;
    let cause = cause(plan);
    let is_asleep = plan.desired == 0;
    let was_asleep = plan.from() == 0;
    let sleep = &mut plan.next.sleep;
    if is_asleep && !is_free {
        // An operator has switched it off.
        *sleep = SleepMemory::default();
        return;
    }
    if is_asleep {
        // Whoever finds it so has nothing to report.
        sleep.is_told |= was_asleep && sleep.asleep.is_none();
        sleep.asleep = sleep.asleep.or(Some(now));
        sleep.wake_up = None;
        if !was_asleep {
            // What was proposed before would wake it at the next evaluation.
            plan.next.history.recommendations.clear();
        }
        return;
    }
    if was_asleep && sleep.wake_up.is_none() {
        let is_told = false;
        sleep.wake_up =
            Some(WakeUp { since: now, by: cause, is_ready: false, is_used: false, is_told });
    }
    (sleep.asleep, sleep.is_told) = (None, false);
    if let Some(wake_up) = &mut sleep.wake_up {
        wake_up.is_ready |= is_ready;
        wake_up.is_used |= !seen.answered.is_empty();
    }
}

fn cause(plan: &PlanBuilder) -> WakeCause {
    match plan.because.last().map(|cause| &cause.rule) {
        Some(Rule::Woken { .. }) => WakeCause::Request,
        Some(Rule::Held { .. } | Rule::Paused { .. }) => WakeCause::Operator,
        Some(Rule::BelowMin(_) | Rule::OutsideHours) => WakeCause::Schedule,
        _ => WakeCause::Metric,
    }
}

/// Reports what was reached.
pub(crate) fn report(plan: &mut PlanBuilder) {
    let snapshot = plan.snapshot;
    let Some(seen) = &snapshot.sleep else { return };
    let has_replicas = !plan.classified.replicas.is_empty() || !snapshot.starting.is_empty();
    let sleep = &mut plan.next.sleep;
    if sleep.asleep.is_some() && !sleep.is_told && !has_replicas {
        sleep.is_told = true;
        let idle = seen.idle.unwrap_or_default();
        plan.service_transitions.push(ServiceTransition::Asleep { idle });
    }
    let Some(wake_up) = sleep.wake_up.as_mut().filter(|wake_up| !wake_up.is_told) else { return };
    let waits = seen.waiting() != 0 || seen.copies != 0;
    let took = match (wake_up.by, seen.answered.first()) {
        (WakeCause::Request, Some(first)) => *first,
        (WakeCause::Request, None) if waits => return,
        (_, _) if wake_up.is_ready => snapshot.now.since(wake_up.since),
        (_, _) => return,
    };
    wake_up.is_told = true;
    let by = wake_up.by;
    plan.service_transitions.push(ServiceTransition::Woken { by, took });
}

/// When the longest held connection has waited for too long.
pub(crate) fn requeue_after(plan: &PlanBuilder) -> Option<Duration> {
    let snapshot = plan.snapshot;
    let until = snapshot.sleep.as_ref()?.held_since?.plus(snapshot.service.sleep.wake_timeout);
    (snapshot.now < until).then(|| until.since(snapshot.now))
}
