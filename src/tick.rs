//! One turn: observe, decide, remember, act, report. Start reading here.

use std::any::Any;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::decide;
use crate::decide::proxy::ProxyPlan;
use crate::model::action::{Action, Claim, Done};
use crate::model::config::Config;
use crate::model::event::Event;
use crate::model::memory::{Memory, ServiceMemory};
use crate::model::plan::{Plan, Rule};
use crate::model::proxy::{Backend, ProxyMemory, Routes};
use crate::model::replica::{ContainerId, ContainerState, Probed};
use crate::model::service::Service;
use crate::model::snapshot::Snapshot;
use crate::model::time::Moment;
use crate::observe;
use crate::observe::cpu::Sampler;
use crate::observe::{Answers, Known, Last, Seen};
use crate::outside::{Clock, Crew, Engine, Proxy, Store};
use crate::report::events::{self, Told};

/// Whom a turn deals with.
pub(crate) struct World<'a> {
    pub(crate) clock: &'a dyn Clock,
    pub(crate) engine: &'a dyn Engine,
    pub(crate) proxy: &'a dyn Proxy,
    pub(crate) store: &'a dyn Store,
    pub(crate) crew: &'a mut dyn Crew,
}

/// What one turn leaves for the next. Only `memory` outlives the daemon.
#[derive(Default)]
pub(crate) struct Mind {
    pub(crate) memory: Memory,
    /// `memory` as it was stored last.
    saved: Option<Memory>,
    proxy: ProxyMemory,
    sampler: Sampler,
    last: Last,
    told: Told,
    /// The first turn.
    started: Option<Moment>,
}

impl Mind {
    pub(crate) fn new(memory: Memory) -> Mind {
        Mind { memory, ..Mind::default() }
    }
}

/// What came in since the last turn.
pub(crate) struct Inputs<'a> {
    pub(crate) config: &'a Config,
    /// The interval is over.
    pub(crate) due: bool,
    pub(crate) probed: &'a Answers,
    pub(crate) done: Vec<Done>,
}

pub(crate) struct Turn {
    pub(crate) events: Vec<Event>,
    pub(crate) plans: BTreeMap<String, Plan>,
    /// When to take the next turn if nothing wakes us before.
    pub(crate) again: Option<Duration>,
    /// Replicas that run and are not known to serve.
    pub(crate) to_probe: Vec<Target>,
    /// Every replica there is.
    pub(crate) known: Vec<ContainerId>,
    pub(crate) engine_answers: bool,
}

/// A replica to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) id: ContainerId,
    pub(crate) number: u32,
    pub(crate) address: SocketAddr,
    pub(crate) service: Arc<Service>,
}

/// Memory is stored before the world is touched: a crash in between costs a wait that was not
/// needed, never an action that was not remembered.
pub(crate) fn tick(world: &mut World, mind: &mut Mind, inputs: Inputs) -> Turn {
    let now = world.clock.now();
    let mut events: Vec<Event> = inputs.done.iter().flat_map(events::done).collect();
    let failed_starts = learn(mind, now, &inputs.done);
    let claims = world.crew.claims();
    let known = Known {
        now,
        wall: world.clock.wall(),
        due: inputs.due,
        config: inputs.config,
        memory: &mind.memory,
        applied: mind.proxy.applied.as_ref(),
        reloaded_at: mind.proxy.reloaded_at,
        claims: &claims,
        probed: inputs.probed,
        failed_starts: &failed_starts,
    };
    let seen = observe::look(&known, world.engine, world.proxy, &mut mind.sampler, &mut mind.last);
    events.extend(mind.told.engine(seen.engine_error.as_deref()));
    events.extend(mind.told.orphans(seen.orphans.clone()));

    let (plans, next) = decide_all(&seen, &mind.memory);
    // A dry run remembers nothing, so between two looks it would say the same again and again.
    if inputs.due || !inputs.config.dry_run {
        events.extend(plans.iter().flat_map(|(name, plan)| mind.told.plan(name, plan)));
    }
    let mut actions: Vec<Action> = plans.values().flat_map(|p| p.actions.clone()).collect();
    let mut again = plans.values().filter_map(|p| p.again).min();
    let age = now.since(*mind.started.get_or_insert(now));
    if age < BLIND_MAX && is_blind(&seen, &mind.proxy) {
        again = again.into_iter().chain([CROWDED]).min();
    } else if !claims.contains(&Claim::Proxy) && seen.ever_listed {
        let routes = routes(&seen.snapshots, &plans);
        let interval = inputs.config.fixed.proxy.min_reload_interval;
        match decide::proxy::decide(now, &routes, seen.proxy.as_ref(), &mind.proxy, interval) {
            ProxyPlan::Nothing => (),
            ProxyPlan::Do(action) => actions.push(action),
            ProxyPlan::Wait(wait) => again = again.into_iter().chain([wait]).min(),
        }
    }
    if !inputs.config.dry_run {
        mind.memory = next;
        events.extend(save(world.store, mind));
        for action in actions {
            if !world.crew.begin(action) {
                again = again.into_iter().chain([CROWDED]).min();
            }
        }
    }
    let replicas = seen.snapshots.iter().flat_map(|s| &s.replicas);
    let known = replicas.map(|r| r.id.clone()).collect();
    let to_probe = to_probe(&seen, inputs.probed);
    Turn { events, plans, again, to_probe, known, engine_answers: seen.engine_error.is_none() }
}

/// How long to wait when the workers had no room, or too little is known yet.
const CROWDED: Duration = Duration::from_millis(250);

/// So long after its start the daemon waits for a first answer of every replica, and no longer: one
/// that hangs must not keep the others out.
const BLIND_MAX: Duration = Duration::from_secs(3);

/// A replica that HAProxy may serve was not asked yet, as after a start: a list made now would
/// leave it out. What HAProxy shows then proves nothing either, since a start that another daemon
/// began may still be under way.
fn is_blind(seen: &Seen, proxy: &ProxyMemory) -> bool {
    let mut replicas = seen.snapshots.iter().flat_map(|s| &s.replicas);
    (seen.proxy.is_none() || proxy.applied.is_none())
        && replicas.any(|r| {
            r.state == ContainerState::Running
                && r.address.is_some()
                && r.probed == Probed::NotYet
                && !r.is_served()
        })
}

/// Takes in what ended; gives how many starts failed, by service.
fn learn(mind: &mut Mind, now: Moment, done: &[Done]) -> BTreeMap<String, u32> {
    let mut failed_starts = BTreeMap::new();
    for done in done {
        match &done.action {
            Action::Reload { routes } => {
                let trouble = done.result.as_ref().err().map(|t| t.aftermath);
                mind.proxy = decide::proxy::remember(now, routes, trouble, &mind.proxy);
            }
            Action::Start { service, .. } if done.result.is_err() => {
                *failed_starts.entry(service.name.as_str().to_owned()).or_default() += 1;
            }
            Action::Start { .. } | Action::Remove { .. } | Action::Steer { .. } => (),
        }
    }
    failed_starts
}

fn decide_all(seen: &Seen, memory: &Memory) -> (BTreeMap<String, Plan>, Memory) {
    let mut plans = BTreeMap::new();
    let mut next = memory.clone();
    for snapshot in &seen.snapshots {
        let name = snapshot.service.name.as_str().to_owned();
        let old = memory.services.get(&name).cloned().unwrap_or_default();
        let (plan, new) = decide_one(snapshot, &old);
        plans.insert(name.clone(), plan);
        next.services.insert(name, new);
    }
    if seen.engine_error.is_none() {
        let known = |name: &String| plans.contains_key(name) || seen.orphans.contains(name);
        next.services.retain(|name, _| known(name));
    }
    (plans, next)
}

/// A bug that one service's state brings to light must not take the others down with it.
fn decide_one(snapshot: &Snapshot, memory: &ServiceMemory) -> (Plan, ServiceMemory) {
    let decided = catch_unwind(AssertUnwindSafe(|| decide::decide(snapshot, memory)));
    decided.unwrap_or_else(|panic: Box<dyn Any + Send>| {
        let literal = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
        let words = panic.downcast_ref::<String>().cloned().or(literal).unwrap_or_default();
        log::error!(
            "service={} message=\"decision failed\" panic={words:?}",
            snapshot.service.name
        );
        (decide::keep(snapshot, memory, Rule::DecisionFailed), memory.clone())
    })
}

fn routes(snapshots: &[Snapshot], plans: &BTreeMap<String, Plan>) -> Routes {
    let backend = |snapshot: &Snapshot| {
        let plan = plans.get(snapshot.service.name.as_str())?;
        Some(Backend::of(&snapshot.service, plan.servers.clone()))
    };
    Routes { backends: snapshots.iter().filter_map(backend).collect() }
}

fn save(store: &dyn Store, mind: &mut Mind) -> Option<Event> {
    if mind.saved.as_ref() == Some(&mind.memory) {
        return None;
    }
    match store.save(&mind.memory) {
        Ok(()) => {
            mind.saved = Some(mind.memory.clone());
            mind.told.saving(None)
        }
        // Not stored is no reason to leave a service without replicas; it is tried again.
        Err(err) => mind.told.saving(Some(err.to_string())),
    }
}

fn to_probe(seen: &Seen, probed: &Answers) -> Vec<Target> {
    let mut targets = Vec::new();
    for snapshot in &seen.snapshots {
        for replica in &snapshot.replicas {
            let answer = observe::answer(probed, &replica.id, replica.address);
            let passed = answer == Some(Probed::Passed);
            if let Some(address) = replica.address
                && replica.state == ContainerState::Running
                && !passed
            {
                let (id, number) = (replica.id.clone(), replica.number);
                targets.push(Target { id, number, address, service: snapshot.service.clone() });
            }
        }
    }
    targets
}
