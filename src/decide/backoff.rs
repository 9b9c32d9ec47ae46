//! Exponential backoff: a service whose replicas keep failing starts them ever more slowly, as
//! kubelet does with `CrashLoopBackOff`.

use std::time::Duration;

use crate::decide::after_exit::{AfterExit, after_exit};
use crate::decide::lifecycle::is_abandoned;
use crate::decide::plan_builder::PlanBuilder;
use crate::model::memory::{Drain, DrainStep, Failures, ServiceMemory, Unhealthy};
use crate::model::plan::ReplicaTransition;
use crate::model::replica::{ContainerState, Ending, Health, Replica};
use crate::model::snapshot::Snapshot;
use crate::model::time::Moment;

/// After the second failure in a row. It doubles with each further one.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);
/// The failure count is reset once the service has run at full size for 10 minutes in total.
/// Counting only failure-free time would reset it too early for a container that takes minutes to
/// crash. The 10 minutes need not be contiguous, because scaling up briefly leaves fewer ready
/// replicas than desired.
const FORGIVEN: Duration = Duration::from_secs(600);

/// Counts failures since the last tick and resets the count after enough time at full size. All
/// failures of one tick count as one: they most likely share a cause. An exited replica gets a
/// drain entry, so that it is counted once, and is marked unhealthy if it is replaced, so that its
/// removal is reported as `health.replaced`.
pub(crate) fn count_failures(plan: &mut PlanBuilder) {
    let staying = plan.classified.counts.size();
    let PlanBuilder { snapshot, next, transitions, has_failed, .. } = plan;
    let snapshot: &Snapshot = snapshot;
    let mut failed = *has_failed || 0 < snapshot.failed_starts;
    let mut missed = next.desired.unwrap_or(0).saturating_sub(staying);
    let is_over =
        |r: &&Replica| r.state == ContainerState::Exited && after_exit(r) == AfterExit::Replaced;
    for replica in snapshot.replicas.iter().filter(is_over) {
        if !replica.busy && !next.drains.contains_key(&replica.id) {
            let drain = Drain { since: snapshot.now, step: DrainStep::Ended };
            next.drains.insert(replica.id.clone(), drain);
            let by = replica.ended.map(|ended| ended.by);
            let number = replica.number;
            let exit = replica.exit;
            transitions.push(ReplicaTransition::Exited { number, exit, by, is_restarted: false });
            // `docker stop`, `docker kill` or a shutdown is no failure of the service.
            failed |= by.is_none_or(|by| by == Ending::Crashed);
            // A replica is missing, so another one replaces it.
            if 0 < missed {
                missed -= 1;
                next.unhealthy.insert(replica.id.clone(), ended(snapshot.now, replica));
            }
        }
    }
    for replica in &snapshot.replicas {
        if is_abandoned(snapshot, replica, next) && !next.drains.contains_key(&replica.id) {
            let drain = Drain { since: snapshot.now, step: DrainStep::Ended };
            next.drains.insert(replica.id.clone(), drain);
        }
    }
    let now = snapshot.now;
    let Failures { well_since, short_since, .. } = next.failures;
    let good = well_since.map(|since| short_since.unwrap_or(now).since(since));
    if good.is_some_and(|good| FORGIVEN <= good) {
        next.failures = Failures::default();
    }
    if failed {
        let count = next.failures.count.saturating_add(1);
        next.failures = Failures { count, last: now, ..Failures::default() };
    } else if 0 < next.failures.count {
        let is_well = is_well(snapshot, next);
        next.failures.short_since = well_since.filter(|_| !is_well).and(short_since.or(Some(now)));
        if is_well {
            let short = short_since.map_or(Duration::ZERO, |short| now.since(short));
            next.failures.well_since = Some(well_since.map_or(now, |since| since.plus(short)));
        }
    }
}

fn is_well(snapshot: &Snapshot, memory: &ServiceMemory) -> bool {
    let serves = |r: &&Replica| {
        let runs = r.state == ContainerState::Running && !memory.is_unhealthy(&r.id);
        runs && (r.health == Health::Healthy || r.is_served())
    };
    let serving = snapshot.replicas.iter().filter(serves).count();
    memory.desired.is_none_or(|desired| desired as usize <= serving)
}

fn ended(now: Moment, replica: &Replica) -> Unhealthy {
    let error = replica.exit.map_or("it stopped".to_owned(), |exit| exit.to_string());
    Unhealthy { since: now, error, served: replica.is_served(), ignored: false }
}

/// How long the next start is delayed. The first failure delays nothing.
pub(crate) fn left(snapshot: &Snapshot, failures: Failures) -> Option<Duration> {
    let doublings = failures.count.checked_sub(2)?.min(16);
    let span = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    let until = failures.last.plus(span);
    (snapshot.now < until).then(|| until.since(snapshot.now))
}
