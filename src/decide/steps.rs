//! From a number to what has to be done.

use std::cmp::Reverse;
use std::time::Duration;

use crate::decide::backoff;
use crate::decide::census::{Class, class};
use crate::model::action::Action;
use crate::model::memory::{Drain, DrainStep, ServiceMemory};
use crate::model::plan::{Cause, Rule, Step};
use crate::model::proxy::Server;
use crate::model::replica::{ContainerState, Replica};
use crate::model::snapshot::{ProxyStanding, Snapshot};

/// Between two looks at a replica that empties.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What this turn begins.
pub(crate) struct Work {
    pub(crate) actions: Vec<Action>,
    pub(crate) steps: Vec<Step>,
    /// How long no replica may be started yet.
    held_back: Option<Duration>,
    /// How many may be started, and what allows no more.
    room: Option<(u32, Rule)>,
    /// By number. Where both run, `snapshot.starting` knows of starts before containers do.
    starting: Vec<u32>,
}

impl Work {
    pub(crate) fn new(snapshot: &Snapshot, room: Option<(u32, Rule)>) -> Work {
        let starting = snapshot.starting.clone();
        Work { actions: Vec::new(), steps: Vec::new(), held_back: None, room, starting }
    }

    /// When to look again, if nothing wakes us before.
    pub(crate) fn again(&self, next: &ServiceMemory) -> Option<Duration> {
        if next.drains.is_empty() { self.held_back } else { Some(LOOK_AGAIN) }
    }
}

pub(crate) fn toward(
    snapshot: &Snapshot,
    wanted: u32,
    next: &mut ServiceMemory,
    work: &mut Work,
    because: &mut Vec<Cause>,
) {
    // Of all that are seen: a number must not come again when its replica is gone.
    let seen = snapshot.replicas.iter().map(|r| r.number).chain(work.starting.iter().copied());
    next.last_number = seen.fold(next.last_number, u32::max);
    let active = snapshot.replicas.iter().filter(|r| class(r, next) != Class::Leaving);
    let active: Vec<&Replica> = active.collect();
    let hidden =
        work.starting.iter().filter(|n| !snapshot.replicas.iter().any(|r| r.number == **n));
    let size = active.len() + hidden.count();
    let number = wanted;
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    if size < wanted {
        let missing = wanted - size;
        let mut missing = missing - put_back(snapshot, missing, next, work);
        if let Some((room, rule)) = work.room
            && (room as usize) < missing
        {
            missing = room as usize;
            because.push(Cause { rule, number });
        }
        start(snapshot, missing, &active, next, work, because);
    } else {
        let mut victims = active.clone();
        victims.retain(|r| !work.starting.contains(&r.number));
        // A start that is under way is let finish. It goes at a later look, and none instead of it.
        let under_way = size - victims.len();
        let surplus = (size - wanted).saturating_sub(under_way);
        retire(snapshot, surplus, &mut victims, next, work);
        let kept = active.into_iter().filter(|r| !next.drains.contains_key(&r.id));
        start(snapshot, 0, &kept.collect::<Vec<_>>(), next, work, because);
    }
}

/// Replicas that can be put back as if nothing had been.
pub(crate) fn returnable<'a>(
    snapshot: &'a Snapshot,
    memory: &ServiceMemory,
) -> impl Iterator<Item = &'a Replica> {
    snapshot.replicas.iter().filter(move |r| {
        let emptying = memory.drains.get(&r.id).map(|d| d.step);
        matches!(emptying, Some(DrainStep::Emptying { .. }))
            && r.state == ContainerState::Running
            && r.is_served()
            && !r.busy
    })
}

/// A drain that has not been released yet is the quickest new replica.
fn put_back(snapshot: &Snapshot, most: usize, next: &mut ServiceMemory, work: &mut Work) -> usize {
    let back: Vec<_> = returnable(snapshot, next).take(most).map(|r| (&r.id, r.number)).collect();
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
    active: &[&Replica],
    next: &mut ServiceMemory,
    work: &mut Work,
    because: &mut Vec<Cause>,
) {
    let made = active.iter().filter(|r| r.state == ContainerState::Created).map(|r| r.number);
    let mut numbers: Vec<u32> = made.filter(|n| !work.starting.contains(n)).collect();
    if missing == 0 && numbers.is_empty() {
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
        next.last_number = next.last_number.saturating_add(1);
        numbers.push(next.last_number);
    }
    let service = &snapshot.service;
    let starts = numbers.into_iter().map(|n| Action::Start { service: service.clone(), number: n });
    work.actions.extend(starts);
}

/// Those that do not serve yet go first; then the most recently started, because the oldest have
/// the warmest caches.
fn retire(
    snapshot: &Snapshot,
    surplus: usize,
    victims: &mut Vec<&Replica>,
    next: &mut ServiceMemory,
    work: &mut Work,
) {
    victims.sort_by_key(|r| (class(r, next) == Class::Ready, Reverse(r.number)));
    for replica in victims.iter().take(surplus) {
        let may_serve = snapshot.proxy == ProxyStanding::Silent
            && replica.state == ContainerState::Running
            && replica.address.is_some();
        let step = match class(replica, next) {
            Class::Ready => DrainStep::Emptying { quiet: 0 },
            // An HAProxy that does not answer may serve it: it goes when that is known.
            Class::Unready if may_serve => continue,
            Class::Unready | Class::Leaving => DrainStep::Released,
        };
        next.drains.insert(replica.id.clone(), Drain { since: snapshot.now, step });
        work.steps.push(Step::Drain { number: replica.number });
    }
}

/// What HAProxy is to have: everyone who can serve, and those who still empty.
pub(crate) fn servers(snapshot: &Snapshot, memory: &ServiceMemory) -> Vec<Server> {
    let server = |r: &Replica| {
        let address = r.address.filter(|_| r.state == ContainerState::Running)?;
        let draining = match memory.drains.get(&r.id).map(|d| d.step) {
            Some(DrainStep::Released) => return None,
            Some(DrainStep::Emptying { .. }) => true,
            None if class(r, memory) == Class::Ready => false,
            None => return None,
        };
        let name = snapshot.service.replica_name(r.number);
        Some(Server { name, address, draining })
    };
    snapshot.replicas.iter().filter_map(server).collect()
}
