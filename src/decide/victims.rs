//! Which service lacks room, and which one may give a replica up for it.

use crate::decide::classify::{Classified, ReplicaClass};
use crate::model::host_cpu::ProcessorObservation;
use crate::model::memory::ServiceMemory;
use crate::model::plan::Plan;
use crate::model::preemption::Shortage;
use crate::model::reason::Rule;
use crate::model::service::Platform;
use crate::model::snapshot::{EngineSeen, Snapshot};

/// In hundredths of a percent of the host's processors: a replica that uses less makes no room.
const SHARE_MIN: u64 = 2_00;

/// A service that the host has no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoomNeed<'a> {
    pub(crate) name: &'a str,
    pub(crate) priority: u8,
    /// Replicas that it has.
    pub(crate) has: u32,
    pub(crate) shortage: Shortage,
    /// Bytes that are missing. 0 where the processor is short.
    pub(crate) missing: u64,
    /// One of its replicas starts, so that it gets no other one yet: one after the other.
    pub(crate) is_waiting: bool,
}

/// A service that may give replicas up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VictimCandidate<'a> {
    pub(crate) name: &'a str,
    pub(crate) priority: u8,
    pub(crate) desired: u32,
    /// How many it may give up.
    pub(crate) spare: u32,
    /// What each of them has at least: bytes, and hundredths of a percent of the processors.
    pub(crate) memory: u64,
    pub(crate) share: u64,
}

/// Replicas that count towards the number.
pub(crate) fn size(plan: &Plan) -> u32 {
    let counts = plan.decision.counts;
    counts.ready + counts.unready + counts.unhealthy
}

/// What the host has too little of, and the bytes that are missing, where this rule says so.
fn limited_by(rule: Rule) -> Option<(Shortage, u64)> {
    match rule {
        Rule::NoHeadroom { free, needed } => {
            let memory = Shortage::Memory { needed };
            Some((memory, memory.missing(Some(free))))
        }
        Rule::HostBusy { .. } => Some((Shortage::Processor, 0)),
        _ => None,
    }
}

/// What the number was limited by, and the number that was asked for before. A replica that is
/// replaced needs room as well: then it is the number itself.
pub(crate) fn shortage(plan: &Plan) -> Option<((Shortage, u64), u32)> {
    let because = &plan.decision.because;
    let (at, limit) =
        because.iter().enumerate().find_map(|(i, cause)| Some((i, limited_by(cause.rule)?)))?;
    let before = at.checked_sub(1).and_then(|i| because.get(i));
    let wanted = before.map_or(plan.decision.desired, |cause| cause.number);
    Some((limit, wanted))
}

/// `None`: it has what it asks for.
pub(crate) fn need<'a>(snapshot: &'a Snapshot, plan: &Plan) -> Option<RoomNeed<'a>> {
    let ((shortage, missing), wanted) = shortage(plan)?;
    let has = size(plan);
    let starts = plan.actions.iter().any(|action| action.as_start().is_some());
    let is_waiting = starts || 0 < plan.decision.counts.unready;
    let is_ours = snapshot.engine == EngineSeen::Answers && snapshot.swarm.is_none();
    let name = snapshot.service.name.as_str();
    let priority = snapshot.service.priority;
    let need = RoomNeed { name, priority, has, shortage, missing, is_waiting };
    (is_ours && has < wanted).then_some(need)
}

/// It has the number that it should have, and nothing of it moves.
pub(crate) fn is_settled(snapshot: &Snapshot, memory: &ServiceMemory, plan: &Plan) -> bool {
    let starts = plan.actions.iter().any(|action| action.as_start().is_some());
    snapshot.engine == EngineSeen::Answers
        && snapshot.service.runs == Platform::Docker
        && memory.hold.is_none()
        && memory.pause.is_none()
        && memory.drains.is_empty()
        && memory.panic_mode.is_none()
        && memory.rollout.under_way.is_none()
        && memory.sleep.waking().is_none()
        && snapshot.starting.is_empty()
        && !starts
        && size(plan) == plan.decision.desired
}

/// `None`: it gives none up now. Its last replica stays whatever the minimum is.
pub(crate) fn candidate<'a>(
    snapshot: &'a Snapshot,
    memory: &ServiceMemory,
    plan: &Plan,
) -> Option<VictimCandidate<'a>> {
    let decision = &plan.decision;
    let floor = decision.effective.bounds.min().max(1);
    let classified = Classified::new(snapshot, memory);
    let counted = classified.replicas.iter().filter(|(class, _)| {
        matches!(class, ReplicaClass::Ready | ReplicaClass::Unready | ReplicaClass::Unhealthy)
    });
    let counted = counted.map(|(_, replica)| *replica);
    // Docker compose's own stay.
    let ours = counted.clone().filter(|replica| replica.owner.may_be_replaced()).count();
    let ours = u32::try_from(ours).unwrap_or(u32::MAX);
    let spare = decision.desired.saturating_sub(floor).min(ours);
    let is_free = is_settled(snapshot, memory, plan) && decision.effective.scaling && 0 < spare;
    let used = counted.clone().map(|replica| replica.usage.memory.unwrap_or(0)).min();
    let nano = counted.map(|replica| replica.usage.nano_cpus.unwrap_or(0)).min();
    is_free.then_some(VictimCandidate {
        name: snapshot.service.name.as_str(),
        priority: snapshot.service.priority,
        desired: decision.desired,
        spare,
        memory: used.unwrap_or(0),
        share: share(snapshot, nano.unwrap_or(0)),
    })
}

/// Of the host's processors, in hundredths of a percent.
fn share(snapshot: &Snapshot, nano_cpus: u64) -> u64 {
    let cores = snapshot.processor.state().map_or(1, |processor| processor.cores.max(1));
    nano_cpus / 100_000 / u64::from(cores)
}

/// The one to give up a replica first, so that at most `most` together make the room; `None` if
/// they cannot. The lowest priority first, among equals the largest. None is given up that the
/// others make superfluous.
pub(crate) fn choose<'a>(
    need: &RoomNeed,
    mut candidates: Vec<VictimCandidate<'a>>,
    most: usize,
) -> Option<VictimCandidate<'a>> {
    candidates.retain(|candidate| candidate.priority < need.priority);
    if need.shortage == Shortage::Processor {
        candidates.retain(|candidate| SHARE_MIN <= candidate.share);
        return candidates
            .into_iter()
            .min_by_key(|one| (one.priority, std::cmp::Reverse(one.share), one.name));
    }
    candidates.retain(|candidate| 0 < candidate.memory);
    candidates.sort_by_key(|one| (one.priority, std::cmp::Reverse(one.memory), one.name));
    let each = |one: &VictimCandidate<'a>| {
        std::iter::repeat_n(*one, usize::try_from(one.spare).unwrap_or(most).min(most))
    };
    let mut chosen: Vec<VictimCandidate> = Vec::new();
    for one in candidates.iter().flat_map(each) {
        if need.missing <= total(&chosen) {
            break;
        }
        chosen.push(one);
        let smallest = (0..chosen.len()).min_by_key(|i| chosen.get(*i).map(|one| one.memory));
        if let Some(smallest) = smallest.filter(|_| most < chosen.len()) {
            chosen.remove(smallest);
        }
    }
    // Those of the highest priority are spared first.
    for i in (0..chosen.len()).rev() {
        let without = total(&chosen).saturating_sub(chosen.get(i).map_or(0, |one| one.memory));
        if need.missing <= without {
            chosen.remove(i);
        }
    }
    let is_enough = need.missing <= total(&chosen);
    chosen.into_iter().next().filter(|_| is_enough)
}

fn total(chosen: &[VictimCandidate]) -> u64 {
    chosen.iter().fold(0, |sum, one| sum.saturating_add(one.memory))
}

/// Whether the host has room for one more replica of this service. `has_margin`: and so much more
/// that it stays there.
pub(crate) fn has_room(
    snapshot: &Snapshot,
    shortage: Shortage,
    left: Option<u64>,
    has_margin: bool,
) -> bool {
    let used = snapshot.replicas.iter().filter_map(|replica| replica.usage.memory).max();
    let needed = snapshot.service.container.memory.or(used).unwrap_or(0);
    let margin = if has_margin { needed / 8 } else { 0 };
    let has_memory = left.is_none_or(|left| needed.saturating_add(margin) <= left);
    let nano = snapshot.replicas.iter().filter_map(|replica| replica.usage.nano_cpus).max();
    let has_processor = match snapshot.processor {
        ProcessorObservation::Unlimited => true,
        ProcessorObservation::Awaited => shortage != Shortage::Processor,
        ProcessorObservation::Known(processor) => {
            let share = share(snapshot, nano.unwrap_or(0));
            let reserve = processor.reserve.hundredths() * 3 / 2;
            let is_free = !has_margin
                || shortage != Shortage::Processor
                || reserve.saturating_add(share) <= processor.idle.hundredths();
            !processor.is_busy && is_free
        }
    };
    has_memory && has_processor
}
