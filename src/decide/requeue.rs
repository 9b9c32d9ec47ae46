//! When a service needs another tick if nothing wakes the controller before.

use std::time::Duration;

use crate::decide::plan_builder::PlanBuilder;
use crate::decide::{commands, health, lifecycle, sleep};
use crate::model::snapshot::Snapshot;
use crate::model::time::Wall;

/// Between two ticks while a replica drains.
const DRAIN_POLL: Duration = Duration::from_millis(250);

pub(crate) fn requeue_after(plan: &PlanBuilder) -> Option<Duration> {
    let snapshot = plan.snapshot;
    let next = &plan.next;
    let start = if next.drains.is_empty() { plan.start_delay } else { Some(DRAIN_POLL) };
    let waits = [
        start,
        next_schedule_edge(snapshot),
        commands::requeue_after(snapshot.now, next),
        health::requeue_after(snapshot.now, next),
        lifecycle::requeue_after(snapshot, next),
        sleep::requeue_after(plan),
    ];
    waits.into_iter().flatten().min()
}

/// The next evaluation may be an hour away, and a schedule takes effect on time. The controller
/// ticks at least once a minute, so later edges need no wake-up of their own.
fn next_schedule_edge(snapshot: &Snapshot) -> Option<Duration> {
    const HORIZON_S: i64 = 60;
    let now = snapshot.wall;
    let edges = snapshot.service.timetable.edges(now, Wall(now.0.saturating_add(HORIZON_S)));
    let seconds = edges.first()?.0.saturating_sub(now.0);
    u64::try_from(seconds).ok().map(Duration::from_secs)
}
