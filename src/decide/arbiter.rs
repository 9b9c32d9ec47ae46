//! Who gives a replica up for whom. Where the host has no room for a replica that a service needs,
//! a service of a lower priority that has more than its minimum gives one up:
//!
//! 1. `Draining`: the number of the victim is capped, so that it drains and removes one.
//! 2. `Ready`: that one is gone, and its room is kept for the beneficiary, which starts one.
//! 3. `Used`: it runs. The cap stays until there is room for both for a while.
//! 4. `Returning`: it is not needed any more. The victim gets its own back once there is room.
//!
//! At most one replica is under way at a time. Kubernetes lets anybody take the room of a victim,
//! so that the preemptor may starve: here it is kept for the one that it was made for. Nomad was
//! seen not to start victims again: here each preemption ends with a replica given back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::decide::backoff;
use crate::decide::classify::Classified;
use crate::decide::victims::{self, RoomNeed};
use crate::model::memory::{DrainStep, ServiceMemory};
use crate::model::plan::Plan;
use crate::model::preemption::{
    Preemption, PreemptionCap, PreemptionLimits, PreemptionMemory, PreemptionStep, REFUSED,
    Shortage,
};
use crate::model::snapshot::{EngineSeen, Snapshot};
use crate::model::time::Moment;

/// Beyond the victim's `drain_timeout` and `stop_timeout`: how long it may take to leave.
const LEAVING_MAX: Duration = Duration::from_secs(120);
/// How long room is kept for a service that does not start a replica in it.
const READY_MAX: Duration = Duration::from_secs(120);
/// A replica that is in use is given back after this time, if there was room for so long.
const USED_MIN: Duration = Duration::from_secs(120);
const ROOM_FOR: Duration = Duration::from_secs(60);
/// Until another replica is given up for the same start: what the first one had is free by then.
const NEXT_AFTER: Duration = Duration::from_secs(5);
/// Replicas that may be given up for one start.
const VICTIMS_MAX: usize = 4;
/// Failures in a row after which a service gets no room.
const FAILURES_MAX: u32 = 3;

/// All services at one moment, by name.
pub(crate) struct Everyone<'a> {
    pub(crate) now: Moment,
    pub(crate) snapshots: &'a BTreeMap<&'a str, &'a Snapshot>,
    pub(crate) memory: &'a BTreeMap<String, ServiceMemory>,
}

impl<'a> Everyone<'a> {
    fn of(&self, name: &str) -> Option<(&'a Snapshot, &'a ServiceMemory)> {
        Some((*self.snapshots.get(name)?, self.memory.get(name)?))
    }
}

/// Numbers that services get back, by name.
pub(crate) type Returned = BTreeMap<String, u32>;

/// What became of a preemption since the last tick.
enum Course {
    Stays,
    Moves(PreemptionStep),
    /// The beneficiary could not use it.
    Refused,
    /// It ends now: the victim gets its number back, and starts as soon as the host has room.
    Ends,
    /// An operator decides on the victim, or it left the config.
    Forgotten,
}

/// Before the services are planned: follows what was begun.
pub(crate) fn advance(everyone: &Everyone, memory: &mut PreemptionMemory) -> Returned {
    let mut returned = Returned::new();
    let now = everyone.now;
    memory.refused.retain(|name, until| now < *until && everyone.snapshots.contains_key(&**name));
    let courses: Vec<Course> =
        memory.list.iter().map(|preemption| course(everyone, &memory.list, preemption)).collect();
    let before = std::mem::take(&mut memory.list);
    for (preemption, course) in before.into_iter().zip(courses) {
        match course {
            Course::Stays => memory.list.push(preemption),
            Course::Moves(step) => memory.list.push(Preemption { step, since: now, ..preemption }),
            Course::Refused => {
                memory.refused.insert(preemption.beneficiary.clone(), now.plus(REFUSED));
                let step = PreemptionStep::Returning;
                memory.list.push(Preemption { step, since: now, ..preemption });
            }
            Course::Ends => give_back(everyone, &preemption, &mut returned),
            Course::Forgotten => (),
        }
    }
    returned
}

fn course(everyone: &Everyone, all: &[Preemption], one: &Preemption) -> Course {
    let Some((victim, own)) = everyone.of(&one.victim) else { return Course::Forgotten };
    if own.hold.is_some() {
        return Course::Forgotten;
    }
    let bounds = victim.service.timetable.at(victim.wall).bounds;
    let Some((beneficiary, its)) = everyone.of(&one.beneficiary) else { return Course::Ends };
    let is_lower = victim.service.priority < beneficiary.service.priority;
    if !is_lower || one.cap < bounds.min() {
        return Course::Ends;
    }
    let waited = everyone.now.since(one.since);
    match one.step {
        PreemptionStep::Draining => {
            let service = &victim.service;
            let longest = service.drain_timeout + service.stop_timeout + LEAVING_MAX;
            if has_left(victim, own, one.cap) {
                Course::Moves(PreemptionStep::Ready)
            } else if longest < waited {
                Course::Refused
            } else {
                Course::Stays
            }
        }
        PreemptionStep::Ready => {
            let is_next = |other: &Preemption| {
                other.beneficiary == one.beneficiary && other.step == PreemptionStep::Draining
            };
            let is_late = READY_MAX < waited && !all.iter().any(is_next);
            match is_late || keeps_failing(beneficiary, its) {
                true => Course::Refused,
                false => Course::Stays,
            }
        }
        PreemptionStep::Used if keeps_failing(beneficiary, its) => Course::Refused,
        PreemptionStep::Used if its.desired.is_some_and(|desired| desired <= one.had) => {
            Course::Moves(PreemptionStep::Returning)
        }
        PreemptionStep::Used | PreemptionStep::Returning => Course::Stays,
    }
}

/// Nothing of the victim drains, stops or counts above the cap any more.
fn has_left(snapshot: &Snapshot, memory: &ServiceMemory, cap: u32) -> bool {
    let counts = Classified::new(snapshot, memory).counts;
    snapshot.engine == EngineSeen::Answers
        && !snapshot.replicas.iter().any(|replica| memory.drains.contains_key(&replica.id))
        && counts.by_state().leaving == 0
        && counts.size() <= cap
}

/// A service that cannot start must not take the replicas of others.
fn keeps_failing(snapshot: &Snapshot, memory: &ServiceMemory) -> bool {
    let failures = memory.failures;
    FAILURES_MAX <= failures.count || backoff::left(snapshot, failures).is_some()
}

fn give_back(everyone: &Everyone, one: &Preemption, returned: &mut Returned) {
    let own = everyone.memory.get(&one.victim);
    if own.and_then(|own| own.desired) == Some(one.cap) {
        returned.insert(one.victim.clone(), one.cap.saturating_add(1));
    }
}

/// What the preemptions make of this service's number.
pub(crate) fn limits(
    service: &str,
    memory: &PreemptionMemory,
    returned: &Returned,
) -> PreemptionLimits {
    let given = memory.list.iter().filter(|one| one.victim == service);
    let cap = given.clone().map(|one| one.cap).min().map(|most| PreemptionCap {
        most,
        taken: u32::try_from(given.clone().count()).unwrap_or(u32::MAX),
        priority: given.map(|one| one.priority).max().unwrap_or_default(),
    });
    let ready = memory
        .list
        .iter()
        .filter(|one| one.beneficiary == service && one.step == PreemptionStep::Ready);
    PreemptionLimits {
        cap,
        back: returned.get(service).copied(),
        granted: ready.map(|one| one.had.saturating_add(1)).max(),
    }
}

/// Bytes that are kept for a replica of this service.
pub(crate) fn kept_for(service: &str, memory: &PreemptionMemory) -> Option<u64> {
    let own = memory.list.iter().find(|one| one.beneficiary == service && one.is_in_flight())?;
    match own.shortage {
        Shortage::Memory { needed } => Some(needed),
        Shortage::Processor => Some(0),
    }
}

/// After the services are planned. `left` is the memory that is left beside all that was promised.
/// Returns the services to plan again, and the numbers that they get back.
pub(crate) fn arbitrate(
    everyone: &Everyone,
    plans: &BTreeMap<String, Plan>,
    left: Option<u64>,
    memory: &mut PreemptionMemory,
) -> (BTreeSet<String>, Returned) {
    let mut changed = BTreeSet::new();
    let mut returned = Returned::new();
    follow_in_flight(everyone, plans, memory, (&mut changed, &mut returned));
    let needs = needs(everyone, plans, memory);
    let highest = needs.first().map(|need| need.priority);
    if let Some(victim) = return_one(everyone, plans, (left, highest), memory, &mut returned) {
        changed.insert(victim);
    } else if let Some(new) = take_one(everyone, plans, &needs, memory) {
        changed.extend([new.victim.clone(), new.beneficiary.clone()]);
        memory.list.push(new);
    }
    (changed, returned)
}

/// Whether the beneficiary started its replica, or needs none any more.
fn follow_in_flight(
    everyone: &Everyone,
    plans: &BTreeMap<String, Plan>,
    memory: &mut PreemptionMemory,
    (changed, returned): (&mut BTreeSet<String>, &mut Returned),
) {
    let mut kept = Vec::new();
    for one in std::mem::take(&mut memory.list) {
        let known = plans.get(&one.beneficiary).zip(everyone.snapshots.get(&*one.beneficiary));
        let Some((plan, snapshot)) = known.filter(|_| one.is_in_flight()) else {
            kept.push(one);
            continue;
        };
        let starts = plan.actions.iter().any(|action| action.as_start().is_some());
        let has_started =
            one.had < plan.decision.desired && (starts || one.had < victims::size(plan));
        let is_over = !has_started
            && victims::shortage(plan).is_none()
            && plan.decision.desired <= one.had
            && (snapshot.due || one.had == 0);
        let may_stay = one.step == PreemptionStep::Draining && drains(everyone, &one.victim);
        match (has_started, is_over) {
            (true, _) | (_, true) if may_stay => {
                give_back(everyone, &one, returned);
                changed.insert(one.victim);
            }
            (true, _) => {
                kept.push(Preemption { step: PreemptionStep::Used, since: everyone.now, ..one });
            }
            (false, true) => {
                let step = PreemptionStep::Returning;
                kept.push(Preemption { step, since: everyone.now, ..one });
            }
            (false, false) => kept.push(one),
        }
    }
    memory.list = kept;
}

/// Its replica may still be put back.
fn drains(everyone: &Everyone, service: &str) -> bool {
    let is_draining = |step: DrainStep| matches!(step, DrainStep::Draining { .. });
    let own = everyone.memory.get(service);
    own.is_some_and(|own| own.drains.values().any(|drain| is_draining(drain.step)))
}

/// Services that lack room, the highest priority first.
fn needs<'a>(
    everyone: &Everyone<'a>,
    plans: &BTreeMap<String, Plan>,
    memory: &PreemptionMemory,
) -> Vec<RoomNeed<'a>> {
    let need = |(name, snapshot): (&&'a str, &&'a Snapshot)| {
        let own = everyone.memory.get(*name)?;
        let is_refused = memory.refused.contains_key(*name) || keeps_failing(snapshot, own);
        victims::need(snapshot, plans.get(*name)?).filter(|_| !is_refused)
    };
    let mut needs: Vec<RoomNeed> = everyone.snapshots.iter().filter_map(need).collect();
    needs.sort_by_key(|need| (std::cmp::Reverse(need.priority), need.name));
    needs
}

/// Gives one replica back if there is room for it; nothing is under way then. `highest` is the
/// priority of a service that lacks room: it goes first.
fn return_one(
    everyone: &Everyone,
    plans: &BTreeMap<String, Plan>,
    (left, highest): (Option<u64>, Option<u8>),
    memory: &mut PreemptionMemory,
    returned: &mut Returned,
) -> Option<String> {
    if memory.list.iter().any(Preemption::is_in_flight) {
        memory.room_since = None;
        return None;
    }
    let now = everyone.now;
    let may_return = |one: &Preemption, has_margin: bool| {
        let known = everyone.of(&one.victim).zip(plans.get(&one.victim));
        let Some(((snapshot, own), plan)) = known else { return false };
        highest.is_none_or(|highest| highest <= one.victim_priority)
            && plan.decision.desired <= one.cap
            && victims::is_settled(snapshot, own, plan)
            && victims::has_room(snapshot, one.shortage, left, has_margin)
    };
    let rank =
        |(i, one): &(usize, &Preemption)| (std::cmp::Reverse(one.victim_priority), one.cap, *i);
    let all = || memory.list.iter().enumerate();
    let is_lowest =
        |one: &Preemption| all().all(|(_, o)| o.victim != one.victim || one.cap <= o.cap);
    let is_of = |one: &Preemption, step: PreemptionStep| one.step == step && is_lowest(one);
    let over = all()
        .filter(|(_, one)| is_of(one, PreemptionStep::Returning) && may_return(one, false))
        .min_by_key(rank)
        .map(|(i, _)| i);
    let used = all().filter(|(_, one)| {
        let is_old = USED_MIN <= now.since(one.since);
        is_of(one, PreemptionStep::Used) && is_old && may_return(one, true)
    });
    let used = used.min_by_key(rank).map(|(i, _)| i);
    memory.room_since = used.and(memory.room_since.or(Some(now)));
    let is_long = memory.room_since.is_some_and(|since| ROOM_FOR <= now.since(since));
    let one = memory.list.remove(over.or(used.filter(|_| is_long))?);
    memory.room_since = None;
    give_back(everyone, &one, returned);
    Some(one.victim)
}

fn take_one(
    everyone: &Everyone,
    plans: &BTreeMap<String, Plan>,
    needs: &[RoomNeed],
    memory: &PreemptionMemory,
) -> Option<Preemption> {
    let in_flight = || memory.list.iter().filter(|one| one.is_in_flight());
    // Several small ones may make room for a large one, one after the other.
    let is_its = |need: &RoomNeed| {
        let is_next = |one: &Preemption| {
            let is_gone = one.step == PreemptionStep::Ready;
            one.beneficiary == need.name && is_gone && NEXT_AFTER <= everyone.now.since(one.since)
        };
        in_flight().all(is_next)
            && (in_flight().count() == 0 || matches!(need.shortage, Shortage::Memory { .. }))
    };
    let may_give = VICTIMS_MAX.saturating_sub(in_flight().count());
    needs.iter().filter(|need| is_its(need)).find_map(|need| {
        let candidates = everyone.snapshots.iter().filter_map(|(name, snapshot)| {
            let is_busy = in_flight().any(|one| one.beneficiary == **name);
            let plan = plans.get(*name).filter(|_| !is_busy)?;
            victims::candidate(snapshot, everyone.memory.get(*name)?, plan)
        });
        let victim = victims::choose(need, candidates.collect(), may_give)?;
        Some(Preemption {
            victim: victim.name.to_owned(),
            victim_priority: victim.priority,
            cap: victim.desired.saturating_sub(1),
            beneficiary: need.name.to_owned(),
            priority: need.priority,
            had: need.has,
            shortage: need.shortage,
            step: PreemptionStep::Draining,
            since: everyone.now,
        })
    })
}
