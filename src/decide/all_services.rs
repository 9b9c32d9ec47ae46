//! Plans all services of one moment, those of the highest priority first, and decides who gives a
//! replica up for whom.

use std::any::Any;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::decide::arbiter::{self, ObservedServices, Returned};
use crate::decide::{headroom, keep_service, plan_service};
use crate::model::action::Action;
use crate::model::memory::{Memory, ServiceMemory};
use crate::model::plan::Plan;
use crate::model::preemption::PreemptionMemory;
use crate::model::reason::Rule;
use crate::model::snapshot::{EngineSeen, Snapshot};
use crate::model::time::Moment;

/// What was decided for all services.
pub(crate) struct Decided {
    pub(crate) plans: BTreeMap<String, Plan>,
    pub(crate) next: Memory,
    /// Messages of panics that were caught, each with its service.
    pub(crate) panics: Vec<(String, String)>,
}

/// `leaving` are services that left the config.
pub(crate) fn plan_all(
    snapshots: &mut [Snapshot],
    leaving: &mut [Snapshot],
    memory: &Memory,
) -> Decided {
    let mut all = AllServices::new(memory, snapshots);
    let mut preemptions = memory.preemptions.clone();
    // Before the first list there is nobody, and while Docker is lost nothing is known.
    let is_known = snapshots.iter().all(|snapshot| snapshot.engine != EngineSeen::Lost)
        && !snapshots.is_empty();
    let before = &memory.services;
    let mut returned = Returned::new();
    if is_known {
        let named = named(snapshots);
        let observed = ObservedServices { now: all.now, snapshots: &named, memory: before };
        returned = arbiter::advance(&observed, &mut preemptions);
    }
    for i in order(snapshots, &preemptions) {
        let Some(snapshot) = snapshots.get_mut(i) else { continue };
        let name = snapshot.service.name.as_str();
        snapshot.preemption = arbiter::limits(name, &preemptions, &returned);
        all.plan_next(snapshot, &preemptions);
    }
    for snapshot in leaving.iter_mut() {
        all.plan_next(snapshot, &preemptions);
    }
    if is_known {
        let left = all.free.map(|free| free.saturating_sub(all.taken));
        let (changed, returned) = {
            let named = named(snapshots);
            let observed = ObservedServices { now: all.now, snapshots: &named, memory: before };
            arbiter::arbitrate(&observed, &all.plans, left, &mut preemptions)
        };
        all.plan_again(snapshots, &changed, (&preemptions, &returned));
    }
    let next = Memory {
        services: all.next,
        preemptions,
        labels: memory.labels.clone(),
        has_config_file: memory.has_config_file,
    };
    Decided { plans: all.plans, next, panics: all.panics }
}

fn named(snapshots: &[Snapshot]) -> BTreeMap<&str, &Snapshot> {
    snapshots.iter().map(|snapshot| (snapshot.service.name.as_str(), snapshot)).collect()
}

/// By priority, then the one that room was made for, then by name.
fn order(snapshots: &[Snapshot], preemptions: &PreemptionMemory) -> Vec<usize> {
    let mut order: Vec<(Reverse<u8>, bool, &str, usize)> = Vec::new();
    for (i, snapshot) in snapshots.iter().enumerate() {
        let name = snapshot.service.name.as_str();
        let has_room = arbiter::kept_for(name, preemptions).is_some();
        order.push((Reverse(snapshot.service.priority), !has_room, name, i));
    }
    order.sort_unstable();
    order.into_iter().map(|(.., i)| i).collect()
}

struct AllServices<'a> {
    now: Moment,
    memory: &'a Memory,
    /// Bytes above the reserve. `None`: unknown.
    free: Option<u64>,
    /// Bytes that are promised to replicas which have not taken them yet.
    taken: u64,
    plans: BTreeMap<String, Plan>,
    next: BTreeMap<String, ServiceMemory>,
    panics: Vec<(String, String)>,
}

impl<'a> AllServices<'a> {
    fn new(memory: &'a Memory, snapshots: &[Snapshot]) -> AllServices<'a> {
        let none = ServiceMemory::default();
        let old = |s: &Snapshot| memory.services.get(s.service.name.as_str()).unwrap_or(&none);
        let promised = snapshots.iter().map(|s| headroom::promised(s, old(s)));
        let taken = promised.fold(0, u64::saturating_add);
        AllServices {
            now: snapshots.first().map_or(Moment::default(), |snapshot| snapshot.now),
            memory,
            free: snapshots.first().and_then(|snapshot| snapshot.free_memory),
            taken,
            plans: BTreeMap::new(),
            next: memory.services.clone(),
            panics: Vec::new(),
        }
    }

    /// Memory promised to one service is not available to the next.
    fn plan_next(&mut self, snapshot: &mut Snapshot, preemptions: &PreemptionMemory) {
        snapshot.free_memory = snapshot.free_memory.map(|free| free.saturating_sub(self.taken));
        self.plan(snapshot);
        let name = snapshot.service.name.as_str();
        let actions = self.plans.get(name).map_or(&[][..], |plan| &plan.actions);
        let starts = actions.iter().filter_map(memory_of).fold(0, u64::saturating_add);
        // Room that was made for it stays its own until it starts there.
        let kept = arbiter::kept_for(name, preemptions).filter(|_| starts == 0).unwrap_or(0);
        self.taken = self.taken.saturating_add(starts).saturating_add(kept);
    }

    fn plan(&mut self, snapshot: &Snapshot) {
        let name = snapshot.service.name.as_str();
        let none = ServiceMemory::default();
        let old = self.memory.services.get(name).unwrap_or(&none);
        let (plan, new) = plan_one(snapshot, old, &mut self.panics);
        self.plans.insert(name.to_owned(), plan);
        self.next.insert(name.to_owned(), new);
    }

    /// Those whose preemptions changed. Of one that gives a replica up, nothing starts; of one that
    /// gets it, nothing before that one is gone.
    fn plan_again(
        &mut self,
        snapshots: &mut [Snapshot],
        changed: &BTreeSet<String>,
        (preemptions, returned): (&PreemptionMemory, &Returned),
    ) {
        for snapshot in snapshots {
            let name = snapshot.service.name.as_str();
            if changed.contains(name) {
                snapshot.preemption = arbiter::limits(name, preemptions, returned);
                self.plan(snapshot);
            }
        }
    }
}

/// Memory limit of a start in bytes, if it has one.
fn memory_of(action: &Action) -> Option<u64> {
    action.as_start()?.0.container.memory
}

/// A bug that one service's state brings to light must not take the others down with it.
fn plan_one(
    snapshot: &Snapshot,
    memory: &ServiceMemory,
    panics: &mut Vec<(String, String)>,
) -> (Plan, ServiceMemory) {
    let decided = catch_unwind(AssertUnwindSafe(|| plan_service(snapshot, memory)));
    decided.unwrap_or_else(|panic: Box<dyn Any + Send>| {
        let literal = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
        let words = panic.downcast_ref::<String>().cloned().or(literal).unwrap_or_default();
        panics.push((snapshot.service.name.as_str().to_owned(), words));
        (keep_service(snapshot, memory, Rule::DecisionFailed), memory.clone())
    })
}
