//! From the number of replicas to the starts and stops that lead there. `rolling_update.rs` says
//! how many of each group; this file chooses which ones.

use crate::decide::after_exit::{self, AfterExit};
use crate::decide::classify::{ReplicaClass, hidden};
use crate::decide::plan_builder::PlanBuilder;
use crate::decide::rolling_update::GroupSizes;
use crate::decide::rollout::DesiredRevision;
use crate::decide::{adopt, backoff, drain};
use crate::model::action::Action;
use crate::model::memory::{Drain, DrainStep, ServiceMemory};
use crate::model::plan::ReplicaTransition;
use crate::model::reason::Rule;
use crate::model::replica::{ContainerState, Health, NUMBER_MAX, Replica};
use crate::model::snapshot::{ProxyObservation, Snapshot};

/// A replica and its class.
type Classed<'a> = (ReplicaClass, &'a Replica);

/// The replicas by what becomes of them. Each group is in removal order: the most recently started
/// first, because the oldest have the warmest caches.
#[derive(Default)]
struct ReplicaGroups<'a> {
    /// Of the desired revision; those that do not serve yet in front.
    new: Vec<Classed<'a>>,
    outdated: Vec<Classed<'a>>,
    outdated_idle: Vec<Classed<'a>>,
    unhealthy: Vec<Classed<'a>>,
    sizes: GroupSizes,
}

impl<'a> ReplicaGroups<'a> {
    fn of(plan: &PlanBuilder<'a>, revision: &DesiredRevision) -> ReplicaGroups<'a> {
        let snapshot = plan.snapshot;
        let memory = &plan.next;
        let mut groups = ReplicaGroups::default();
        let hidden = hidden(snapshot).count();
        groups.sizes.pending = hidden;
        groups.sizes.starting = hidden;
        for (class, replica) in plan.classified.replicas.iter().rev() {
            let is_leaving =
                *class == ReplicaClass::Leaving && replica.state == ContainerState::Running;
            groups.sizes.unhealthy_leave |= is_leaving && memory.is_unhealthy(&replica.id);
            groups.add((*class, replica), revision, &snapshot.starting);
        }
        // Compose's containers go after all clones. A replica that serves and passes its check goes
        // last, also in panic mode.
        let passes = |r: &Replica| !memory.unhealthy.contains_key(&r.id);
        let stays = |r: &Replica| !r.owner.may_be_replaced();
        groups.new.sort_by_key(|(class, r)| (stays(r), *class == ReplicaClass::Ready, passes(r)));
        groups.outdated.sort_by_key(|(_, r)| (r.is_served(), passes(r)));
        groups.measure(plan);
        groups
    }

    /// The order of the arms matters: a start under way counts as pending whatever its class, and
    /// only what stays is distinguished by revision.
    fn add(&mut self, classed: Classed<'a>, revision: &DesiredRevision, starting: &[u32]) {
        let (class, replica) = classed;
        let is_outdated = revision.is_outdated(replica);
        let is_starting = starting.contains(&replica.number);
        let is_known = replica.health != Health::Unknown;
        // A start that failed removes its container before the failure is reported.
        let is_undone = replica.state == ContainerState::Removing;
        match class {
            _ if is_starting && (class != ReplicaClass::Leaving || is_undone) => {
                self.sizes.pending += 1;
                self.sizes.starting += 1;
                return;
            }
            ReplicaClass::Away => return,
            // Compose's own is left to compose; another one takes its place meanwhile.
            ReplicaClass::Unhealthy if !replica.owner.may_be_replaced() => return,
            ReplicaClass::Leaving => {
                let runs = replica.state == ContainerState::Running;
                self.sizes.leaving += usize::from(runs);
                self.sizes.has_outdated |= runs && is_outdated;
                return;
            }
            ReplicaClass::Unhealthy => self.unhealthy.push(classed),
            ReplicaClass::Ready if is_outdated => self.outdated.push(classed),
            ReplicaClass::Unready
                if is_outdated && (is_known || replica.state == ContainerState::Created) =>
            {
                self.outdated_idle.push(classed);
            }
            // Not probed yet: it may serve.
            ReplicaClass::Unready if is_outdated => self.outdated.push(classed),
            ReplicaClass::Ready => {
                self.sizes.ready += 1;
                self.new.push(classed);
            }
            ReplicaClass::Unready => {
                self.sizes.pending += 1;
                self.new.push(classed);
            }
        }
        self.sizes.has_outdated |= is_outdated;
    }

    fn measure(&mut self, plan: &PlanBuilder) {
        let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let rollout = plan.snapshot.service.rollout;
        let sizes = &mut self.sizes;
        sizes.outdated = self.outdated.len();
        sizes.outdated_idle = self.outdated_idle.len();
        sizes.unhealthy = self.unhealthy.len();
        sizes.desired = count(plan.desired);
        sizes.max_surge = count(rollout.max_surge);
        sizes.max_unavailable = count(rollout.max_unavailable);
        sizes.room = plan.room.map(|(room, _)| count(room));
    }

    /// How many of the first `most` new ones may stop. A clone goes before compose's own, but one
    /// that serves does not go before those that do not: as many as are desired serve first.
    fn stoppable(&self, most: usize) -> usize {
        let serves = |(class, _): &Classed| *class == ReplicaClass::Ready;
        let mut serving = self.new.iter().filter(|r| serves(r)).count() + self.sizes.outdated;
        let floor = serving.min(self.sizes.desired);
        let may_go = |classed: &&Classed| {
            let is_serving = serves(classed);
            serving -= usize::from(is_serving);
            !is_serving || floor <= serving
        };
        self.new.iter().take(most).take_while(may_go).count()
    }
}

/// Cancels drains, then stops, then starts.
pub(crate) fn reconcile_replicas(plan: &mut PlanBuilder, revision: &DesiredRevision) {
    let snapshot = plan.snapshot;
    // Of all that are seen: a number must not come again when its replica is gone.
    let seen = snapshot.replicas.iter().map(|r| r.number).chain(snapshot.starting.iter().copied());
    plan.next.last_number = seen.fold(plan.next.last_number, u32::max);
    let mut groups = ReplicaGroups::of(plan, revision);
    let missing = groups.sizes.desired.saturating_sub(groups.sizes.total());
    let cancelled = cancel_drains(plan, missing, revision);
    groups.sizes.ready += cancelled;
    groups.sizes.leaving -= cancelled;
    let moves = groups.sizes.moves();
    if let Some((_, rule)) = plan.room.filter(|_| 0 < moves.lacks_memory) {
        plan.set_number(rule, plan.desired);
    }
    let stop_new = groups.stoppable(moves.stop_new);
    let stops = [
        (&groups.unhealthy, moves.stop_unhealthy),
        (&groups.outdated_idle, moves.stop_outdated_idle),
        (&groups.outdated, moves.stop_outdated),
        (&groups.new, stop_new),
    ];
    for classed in stops.iter().flat_map(|(group, count)| group.iter().take(*count)) {
        stop(plan, *classed);
    }
    plan.classify();
    let kept = groups.new.iter().filter(|(_, r)| !plan.next.drains.contains_key(&r.id));
    let created = kept.filter(|(_, r)| r.state == ContainerState::Created);
    let created: Vec<u32> = created.rev().map(|(_, r)| r.number).collect();
    start(plan, moves.start, created, revision);
}

/// A drain that is cancelled is the quickest new replica. Returns how many were.
fn cancel_drains(plan: &mut PlanBuilder, most: usize, revision: &DesiredRevision) -> usize {
    let PlanBuilder { snapshot, next, transitions, .. } = plan;
    let back = drain::cancellable(snapshot, revision, next).take(most);
    let back: Vec<_> = back.map(|r| (&r.id, r.number)).collect();
    for (id, number) in &back {
        next.drains.remove(*id);
        transitions.push(ReplicaTransition::DrainCancelled { number: *number });
    }
    back.len()
}

/// Starts `missing` new replicas, those that were `created` but never started, and compose's own
/// that exited. Nothing starts while compose has stopped the service, or during the backoff.
fn start(plan: &mut PlanBuilder, missing: usize, created: Vec<u32>, revision: &DesiredRevision) {
    let snapshot = plan.snapshot;
    let mut numbers = created;
    // First choice, also where another one is started beside it.
    let ended = snapshot.replicas.iter().filter(|r| is_to_restart(r, snapshot, &plan.next));
    numbers.extend(ended.map(|r| r.number));
    if missing == 0 && numbers.is_empty() {
        return;
    }
    if numbers.is_empty() && adopt::is_asleep(snapshot) {
        return plan.set_number(Rule::StoppedByCompose, plan.desired);
    }
    let failures = plan.next.failures;
    if let Some(left) = backoff::left(snapshot, failures) {
        plan.start_delay = Some(left);
        return plan.set_number(Rule::CrashLoop { failures: failures.count, left }, plan.desired);
    }
    for _ in 0..missing {
        numbers.push(give_number(snapshot, &numbers, &mut plan.next));
    }
    let service = &revision.service;
    let most = containers_max(plan);
    let start = |number| Action::Start { service: service.clone(), number, most };
    plan.actions.extend(numbers.into_iter().map(start));
}

/// A container of compose, or a clone of one, that exited without its owner stopping it.
fn is_to_restart(replica: &Replica, snapshot: &Snapshot, memory: &ServiceMemory) -> bool {
    replica.state == ContainerState::Exited
        && after_exit::after_exit(replica) == AfterExit::Restarts
        && !replica.busy
        && !memory.drains.contains_key(&replica.id)
        && !snapshot.starting.contains(&replica.number)
}

/// The next number. Above `NUMBER_MAX` it could not be read back from a name: then the lowest free
/// number, and numbers no longer tell which replicas are older than a requested restart.
fn give_number(snapshot: &Snapshot, given: &[u32], next: &mut ServiceMemory) -> u32 {
    if next.last_number < NUMBER_MAX {
        next.last_number += 1;
        return next.last_number;
    }
    next.rollout.restart_up_to = 0;
    let is_taken = |n: &u32| {
        given.contains(n)
            || snapshot.starting.contains(n)
            || snapshot.replicas.iter().any(|r| r.number == *n)
    };
    (1..NUMBER_MAX).find(|n| !is_taken(n)).unwrap_or(NUMBER_MAX)
}

/// Containers that the service may have in all, whatever their state. `Action::Start` carries it as
/// a last limit.
fn containers_max(plan: &PlanBuilder) -> u32 {
    let service = &plan.snapshot.service;
    let desired = plan.desired.max(service.timetable.most());
    // Those that do not count towards the number: they go, or their owner has stopped them.
    let idle = |(class, r): &&Classed| match class {
        ReplicaClass::Leaving | ReplicaClass::Away => true,
        ReplicaClass::Unhealthy => !r.owner.may_be_replaced(),
        ReplicaClass::Ready | ReplicaClass::Unready => false,
    };
    let idle = plan.classified.replicas.iter().filter(idle).count();
    let idle = u32::try_from(idle).unwrap_or(u32::MAX);
    desired.saturating_add(service.rollout.max_surge.max(1)).saturating_add(idle)
}

fn stop(plan: &mut PlanBuilder, (class, replica): Classed) {
    let PlanBuilder { snapshot, next, transitions, .. } = plan;
    let runs = replica.state == ContainerState::Running && replica.address.is_some();
    let may_serve = snapshot.proxy == ProxyObservation::Silent && runs;
    let has_old = matches!(snapshot.proxy, ProxyObservation::Settled { old, .. } if 0 < old);
    let step = match class {
        _ if !drain::is_up(replica) => DrainStep::Ended,
        // An ill one has left HAProxy's list, but it may finish its open requests.
        ReplicaClass::Ready | ReplicaClass::Unhealthy => DrainStep::Draining { quiet: 0 },
        // An HAProxy that does not answer may serve it: it goes when that is known.
        ReplicaClass::Unready if may_serve => return,
        // One that was restarted is known to an old HAProxy process as one that serves.
        ReplicaClass::Unready if has_old && runs => DrainStep::Draining { quiet: 0 },
        ReplicaClass::Unready | ReplicaClass::Leaving | ReplicaClass::Away => DrainStep::Drained,
    };
    next.drains.insert(replica.id.clone(), Drain { since: snapshot.now, step });
    transitions.push(ReplicaTransition::DrainStarted { number: replica.number });
}
