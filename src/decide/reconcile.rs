//! From a number to what has to be done.

use std::time::Duration;

use crate::decide::classify::{ReplicaClass, classify};
use crate::decide::health::News;
use crate::decide::lifecycle::{self, AfterExit};
use crate::decide::rolling_update::GroupSizes;
use crate::decide::rollout::DesiredRevision;
use crate::decide::{adopt, backoff, swarm};
use crate::model::action::Action;
use crate::model::memory::{Drain, DrainStep, ServiceMemory};
use crate::model::plan::{Cause, Milestone, Rule, Step};
use crate::model::proxy::Server;
use crate::model::replica::{ContainerState, Health, NUMBER_MAX, Replica};
use crate::model::snapshot::{ProxyStanding, Snapshot};

/// Between two looks at a replica that empties.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What this turn begins.
pub(crate) struct Work {
    pub(crate) actions: Vec<Action>,
    pub(crate) steps: Vec<Step>,
    pub(crate) milestones: Vec<Milestone>,
    /// How long no replica may be started yet.
    held_back: Option<Duration>,
    /// How many may be started, and what allows no more.
    room: Option<(u32, Rule)>,
    /// By number. Where both run, `snapshot.starting` knows of starts before containers do.
    starting: Vec<u32>,
}

impl Work {
    pub(crate) fn new(snapshot: &Snapshot, room: Option<(u32, Rule)>, news: News) -> Work {
        let (starting, actions) = (snapshot.starting.clone(), Vec::new());
        let News { steps, milestones, .. } = news;
        Work { actions, steps, milestones, held_back: None, room, starting }
    }

    /// When to look again, if nothing wakes us before.
    pub(crate) fn requeue_after(&self, next: &ServiceMemory) -> Option<Duration> {
        if next.drains.is_empty() { self.held_back } else { Some(LOOK_AGAIN) }
    }
}

/// The replicas by what becomes of them; each in the order in which they would go, the most
/// recently started first, because the oldest have the warmest caches.
#[derive(Default)]
struct ReplicaGroups<'a> {
    /// As they should be, those that do not serve yet in front.
    new: Vec<&'a Replica>,
    old: Vec<&'a Replica>,
    old_idle: Vec<&'a Replica>,
    ill: Vec<&'a Replica>,
    seats: GroupSizes,
}

impl<'a> ReplicaGroups<'a> {
    fn of(
        snapshot: &'a Snapshot,
        memory: &ServiceMemory,
        target: &DesiredRevision,
        starting: &[u32],
    ) -> ReplicaGroups<'a> {
        let mut cast = ReplicaGroups::default();
        let is_shown = |n: &u32| snapshot.replicas.iter().any(|r| r.number == *n);
        let hidden = starting.iter().filter(|n| !is_shown(n)).count();
        cast.seats.pending = hidden;
        cast.seats.under_way = hidden;
        for replica in snapshot.replicas.iter().rev() {
            let class = classify(replica, memory);
            let is_leaving =
                class == ReplicaClass::Leaving && replica.state == ContainerState::Running;
            cast.seats.ill_leave |= is_leaving && memory.is_ill(&replica.id);
            cast.seat(replica, class, target, starting);
        }
        // Compose's own go after all clones. Whoever serves and passes its check goes last, also
        // while the check is doubted.
        let passes = |r: &Replica| !memory.ill.contains_key(&r.id);
        let stays = |r: &Replica| !r.owner.may_be_replaced();
        cast.new.sort_by_key(|r| (stays(r), classify(r, memory) == ReplicaClass::Ready, passes(r)));
        cast.old.sort_by_key(|r| (r.is_served(), passes(r)));
        let ReplicaGroups { old, old_idle, ill, seats, .. } = &mut cast;
        (seats.old, seats.old_idle, seats.ill) = (old.len(), old_idle.len(), ill.len());
        cast
    }

    fn seat(
        &mut self,
        replica: &'a Replica,
        class: ReplicaClass,
        target: &DesiredRevision,
        starting: &[u32],
    ) {
        let (is_outdated, is_starting) =
            (target.is_outdated(replica), starting.contains(&replica.number));
        let is_known = replica.health != Health::Unknown;
        // A start that failed takes away what it made before it is told to have ended.
        let is_undone = replica.state == ContainerState::Removing;
        match class {
            _ if is_starting && (class != ReplicaClass::Leaving || is_undone) => {
                self.seats.pending += 1;
                self.seats.under_way += 1;
                return;
            }
            ReplicaClass::Away => return,
            // Compose's own is left to compose; another one takes its seat meanwhile.
            ReplicaClass::Ill if !replica.owner.may_be_replaced() => return,
            ReplicaClass::Leaving => {
                let runs = replica.state == ContainerState::Running;
                self.seats.leaving += usize::from(runs);
                self.seats.rolls |= runs && is_outdated;
                return;
            }
            ReplicaClass::Ill => self.ill.push(replica),
            ReplicaClass::Ready if is_outdated => self.old.push(replica),
            ReplicaClass::Unready
                if is_outdated && (is_known || replica.state == ContainerState::Created) =>
            {
                self.old_idle.push(replica);
            }
            // Nobody knows yet what it does.
            ReplicaClass::Unready if is_outdated => self.old.push(replica),
            ReplicaClass::Ready => {
                self.seats.ready += 1;
                self.new.push(replica);
            }
            ReplicaClass::Unready => {
                self.seats.pending += 1;
                self.new.push(replica);
            }
        }
        self.seats.rolls |= is_outdated;
    }
}

pub(crate) fn reconcile_replicas(
    snapshot: &Snapshot,
    wanted: u32,
    target: &DesiredRevision,
    next: &mut ServiceMemory,
    work: &mut Work,
    because: &mut Vec<Cause>,
) {
    // Of all that are seen: a number must not come again when its replica is gone.
    let seen = snapshot.replicas.iter().map(|r| r.number).chain(work.starting.iter().copied());
    next.last_number = seen.fold(next.last_number, u32::max);
    let mut cast = ReplicaGroups::of(snapshot, next, target, &work.starting);
    let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    let rollout = snapshot.service.rollout;
    let seats = &mut cast.seats;
    seats.wanted = count(wanted);
    seats.max_surge = count(rollout.max_surge);
    seats.max_unavailable = count(rollout.max_unavailable);
    seats.room = work.room.map(|(room, _)| count(room));
    let missing = seats.wanted.saturating_sub(seats.total());
    let back = put_back(snapshot, missing, target, next, work);
    cast.seats.ready += back;
    cast.seats.leaving -= back;
    let moves = cast.seats.moves();
    if let Some((_, rule)) = work.room.filter(|_| 0 < moves.no_room) {
        because.push(Cause { rule, number: wanted });
    }
    cast.new.retain(|r| !next.drains.contains_key(&r.id));
    let drop_new = droppable(&cast, moves.drop_new, next);
    let go = [
        (&cast.ill, moves.drop_ill),
        (&cast.old_idle, moves.drop_old_idle),
        (&cast.old, moves.drop_old),
        (&cast.new, drop_new),
    ];
    for replica in go.iter().flat_map(|(whom, count)| whom.iter().take(*count)) {
        retire(snapshot, replica, next, work);
    }
    let kept = cast.new.into_iter().filter(|r| !next.drains.contains_key(&r.id));
    start(snapshot, moves.start, &kept.collect::<Vec<_>>(), target, next, work, because);
}

/// A clone goes before compose's own, but not one that serves while those do not: as many as are
/// wanted serve first.
fn droppable(cast: &ReplicaGroups, most: usize, memory: &ServiceMemory) -> usize {
    let serves = |r: &&&Replica| classify(r, memory) == ReplicaClass::Ready;
    let mut serving = cast.new.iter().filter(serves).count() + cast.seats.old;
    let floor = serving.min(cast.seats.wanted);
    let may_go = |r: &&&Replica| {
        let is_serving = serves(r);
        serving -= usize::from(is_serving);
        !is_serving || floor <= serving
    };
    cast.new.iter().take(most).take_while(may_go).count()
}

/// Replicas that can be put back as if nothing had been.
pub(crate) fn returnable<'a>(
    snapshot: &'a Snapshot,
    target: &DesiredRevision,
    memory: &ServiceMemory,
) -> impl Iterator<Item = &'a Replica> {
    snapshot.replicas.iter().filter(move |r| {
        let emptying = memory.drains.get(&r.id).map(|d| d.step);
        matches!(emptying, Some(DrainStep::Emptying { .. }))
            && r.state == ContainerState::Running
            && (r.is_served() || snapshot.proxy == ProxyStanding::Absent)
            && !r.busy
            && !target.is_outdated(r)
            && !matches!(r.health, Health::Unhealthy { .. })
            // After a restart of the daemon its health is not known yet.
            && !memory.is_ill(&r.id)
    })
}

/// A drain that has not been released yet is the quickest new replica.
fn put_back(
    snapshot: &Snapshot,
    most: usize,
    target: &DesiredRevision,
    next: &mut ServiceMemory,
    work: &mut Work,
) -> usize {
    let back = returnable(snapshot, target, next).take(most);
    let back: Vec<_> = back.map(|r| (&r.id, r.number)).collect();
    for (id, number) in &back {
        next.drains.remove(*id);
        work.steps.push(Step::PutBack { number: *number });
    }
    back.len()
}

/// `missing` new ones, and those that were made but never started.
fn start(
    snapshot: &Snapshot,
    missing: usize,
    new: &[&Replica],
    target: &DesiredRevision,
    next: &mut ServiceMemory,
    work: &mut Work,
    because: &mut Vec<Cause>,
) {
    let made = new.iter().filter(|r| r.state == ContainerState::Created);
    let mut numbers: Vec<u32> = made.rev().map(|r| r.number).collect();
    // First choice, also where another one is started beside it.
    let ended = snapshot.replicas.iter().filter(|r| is_to_restart(r, snapshot, next));
    numbers.extend(ended.map(|r| r.number));
    if missing == 0 && numbers.is_empty() {
        return;
    }
    let is_asleep = numbers.is_empty() && adopt::is_asleep(snapshot);
    if is_asleep {
        let number = next.wanted.unwrap_or_default();
        because.push(Cause { rule: Rule::StoppedByCompose, number });
        return;
    }
    if let Some(left) = backoff::left(snapshot, next.failures) {
        let number = next.wanted.unwrap_or_default();
        let rule = Rule::CrashLoop { failures: next.failures.count, left };
        because.push(Cause { rule, number });
        work.held_back = Some(left);
        return;
    }
    for _ in 0..missing {
        numbers.push(give_number(snapshot, &numbers, next));
    }
    let (service, most) = (&target.service, most(snapshot, next));
    let start = |number| Action::Start { service: service.clone(), number, most };
    work.actions.extend(numbers.into_iter().map(start));
}

/// Compose's own that ended by itself or with the host, and the clones of it.
fn is_to_restart(replica: &Replica, snapshot: &Snapshot, memory: &ServiceMemory) -> bool {
    replica.state == ContainerState::Exited
        && lifecycle::after_exit(replica) == AfterExit::Restarts
        && !replica.busy
        && !memory.drains.contains_key(&replica.id)
        && !snapshot.starting.contains(&replica.number)
}

/// The next one. Where that could not be read back, the lowest that is free; then no number tells
/// any more who was there before a restart was ordered.
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

/// Containers that the service may have in all, whatever is known of them.
fn most(snapshot: &Snapshot, memory: &ServiceMemory) -> u32 {
    let service = &snapshot.service;
    let wanted = memory.wanted.unwrap_or(0).max(service.timetable.most());
    // Those that hold no seat: they go, or their owner has stopped them.
    let idle = |r: &&Replica| match classify(r, memory) {
        ReplicaClass::Leaving | ReplicaClass::Away => true,
        ReplicaClass::Ill => !r.owner.may_be_replaced(),
        ReplicaClass::Ready | ReplicaClass::Unready => false,
    };
    let idle = snapshot.replicas.iter().filter(idle).count();
    let idle = u32::try_from(idle).unwrap_or(u32::MAX);
    wanted.saturating_add(service.rollout.max_surge.max(1)).saturating_add(idle)
}

fn retire(snapshot: &Snapshot, replica: &Replica, next: &mut ServiceMemory, work: &mut Work) {
    let may_serve = snapshot.proxy == ProxyStanding::Silent
        && replica.state == ContainerState::Running
        && replica.address.is_some();
    let step = match classify(replica, next) {
        // An ill one has left HAProxy's list, but what it has in hand it may finish.
        ReplicaClass::Ready | ReplicaClass::Ill => DrainStep::Emptying { quiet: 0 },
        // An HAProxy that does not answer may serve it: it goes when that is known.
        ReplicaClass::Unready if may_serve => return,
        ReplicaClass::Unready | ReplicaClass::Leaving | ReplicaClass::Away => DrainStep::Released,
    };
    next.drains.insert(replica.id.clone(), Drain { since: snapshot.now, step });
    work.steps.push(Step::Drain { number: replica.number });
}

/// What HAProxy is to have: everyone who can serve, and those who still empty.
pub(crate) fn servers(snapshot: &Snapshot, memory: &ServiceMemory) -> Vec<Server> {
    if let Some(swarm) = &snapshot.swarm {
        return swarm::servers(snapshot, swarm);
    }
    let server = |r: &Replica| {
        let address = r.address.filter(|_| r.state == ContainerState::Running || r.is_held)?;
        let draining = match memory.drains.get(&r.id).map(|d| d.step) {
            Some(DrainStep::Released | DrainStep::Ended) => return None,
            Some(DrainStep::Emptying { .. }) if memory.is_ill(&r.id) => return None,
            Some(DrainStep::Emptying { .. }) => true,
            None if classify(r, memory) == ReplicaClass::Ready => false,
            None => return None,
        };
        let name = snapshot.service.replica_name(r.number);
        Some(Server { name, address, draining })
    };
    snapshot.replicas.iter().filter_map(server).collect()
}
