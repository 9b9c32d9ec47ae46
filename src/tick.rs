//! One turn: observe, decide, remember, act, report. Start reading here.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::decide;
use crate::decide::proxy::ProxyPlan;
use crate::model::action::{Action, Claim, Done, Effect};
use crate::model::config::{Config, ProxyMode};
use crate::model::event::Event;
use crate::model::memory::{Memory, ServiceMemory, Started};
use crate::model::plan::{Plan, Rule, Step};
use crate::model::proxy::{Backend, ProxyMemory, Routes};
use crate::model::replica::{ContainerId, ContainerState, Health};
use crate::model::service::Service;
use crate::model::snapshot::Snapshot;
use crate::model::status::ServiceStatus;
use crate::model::swarm::SwarmNode;
use crate::model::time::Moment;
use crate::observe;
use crate::observe::health::Target;
use crate::observe::metric::{Heard, Sampler};
use crate::observe::{Answers, Known, Last, Seen};
use crate::outside::{Clock, Crew, Engine, Proxy, Store};
use crate::report::events::{self, Told};
use crate::report::status::{self, Past};

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
    /// `memory` as it was stored last, and when.
    saved: Option<(Memory, Moment)>,
    proxy: ProxyMemory,
    sampler: Sampler,
    last: Last,
    told: Told,
    past: Past,
    /// Services that HAProxy does not have yet, since when.
    newcomers: BTreeMap<String, Moment>,
    /// The first turn.
    started: Option<Moment>,
}

impl Mind {
    /// Of an action that ended when no turn follows.
    pub(crate) fn told(&mut self, done: &Done) -> Vec<Event> {
        self.told.done(done)
    }

    pub(crate) fn new(memory: Memory) -> Mind {
        Mind { memory, ..Mind::default() }
    }

    /// `missing` is the file that it would have been read from.
    pub(crate) fn opened(memory: Memory, missing: Option<PathBuf>) -> Mind {
        let mut mind = Mind::new(memory);
        mind.told.miss_state(missing);
        mind
    }
}

/// What came in since the last turn.
pub(crate) struct Inputs<'a> {
    pub(crate) config: &'a Config,
    /// The interval is over.
    pub(crate) due: bool,
    pub(crate) probed: &'a Answers,
    pub(crate) heard: &'a Heard,
    pub(crate) done: Vec<Done>,
}

pub(crate) struct Turn {
    pub(crate) events: Vec<Event>,
    pub(crate) plans: BTreeMap<String, Plan>,
    /// What each metric showed, a line each for the log at level debug. Only of a look.
    pub(crate) readings: Vec<String>,
    /// When to take the next turn if nothing wakes us before.
    pub(crate) again: Option<Duration>,
    /// Replicas that run.
    pub(crate) to_probe: Vec<Target>,
    /// Every replica there is.
    pub(crate) known: Vec<ContainerId>,
    /// How every service stands.
    pub(crate) services: Vec<ServiceStatus>,
    /// Why the engine gave no list.
    pub(crate) engine_error: Option<String>,
    /// Why HAProxy does not serve what it should.
    pub(crate) proxy_error: Option<String>,
    /// Earlier processes that still finish; `None` when HAProxy does not answer.
    pub(crate) old_proxies: Option<u32>,
    pub(crate) orphans: Vec<String>,
    /// Of the Swarm, where one is looked at.
    pub(crate) nodes: Vec<SwarmNode>,
}

/// Memory is stored before the world is touched: a crash in between costs a wait that was not
/// needed, never an action that was not remembered.
pub(crate) fn tick(world: &mut World, mind: &mut Mind, inputs: Inputs) -> Turn {
    let now = world.clock.now();
    let mut events: Vec<Event> = inputs.done.iter().flat_map(|done| mind.told.done(done)).collect();
    let failed_starts = learn(mind, now, &inputs.done);
    let claims = world.crew.claims();
    let known = Known {
        now,
        wall: world.clock.wall(),
        due: inputs.due,
        config: inputs.config,
        memory: &mind.memory,
        proxied: &mind.proxy,
        claims: &claims,
        probed: inputs.probed,
        heard: inputs.heard,
        failed_starts: &failed_starts,
    };
    let mut seen =
        observe::look(&known, world.engine, world.proxy, &mut mind.sampler, &mut mind.last);
    events.extend(seen_events(&mut mind.told, now, &seen));

    let (plans, next) = decide_all(&mut seen, &mind.memory, &claims);
    let services = stand(&mut mind.past, &known, &seen, &plans, &next);
    mind.told.retain(|name| plans.contains_key(name));
    // A dry run remembers nothing, so between two looks it would say the same again and again.
    if inputs.due || !inputs.config.dry_run {
        let words = observe::last_words(world.clock, world.engine, ended(&seen, &plans));
        events.extend(plans.iter().flat_map(|(name, plan)| {
            let failures = next.services.get(name).map_or(0, |memory| memory.failures.count);
            let told = mind.told.plan(name, plan, failures, &words);
            if inputs.config.dry_run { mind.told.dry(name, told) } else { told }
        }));
    }
    let mut actions: Vec<Action> = plans.values().flat_map(|p| p.actions.clone()).collect();
    let (proxy_plan, held, kept) = proxy_plan(now, inputs.config, &claims, &seen, &plans, mind);
    let mut again = plans.values().filter_map(|p| p.again).chain(seen.wait).chain(held).min();
    events.extend(kept);
    let is_idle = seen.ever_listed && !claims.contains(&Claim::Proxy);
    events.extend(crowd(&proxy_plan, is_idle).and_then(|crowd| mind.told.crowded(crowd)));
    match proxy_plan {
        ProxyPlan::Nothing => (),
        ProxyPlan::Do(action) => actions.push(action),
        ProxyPlan::Wait(wait) => again = again.into_iter().chain([wait]).min(),
        ProxyPlan::Crowded { .. } => again = again.into_iter().chain([CROWDED * 4]).min(),
    }
    if inputs.config.dry_run {
        remember_asked(&mut mind.memory, next);
    } else {
        events.extend(remember(world.store, now, mind, next));
        for action in actions {
            if !world.crew.begin(action) {
                again = again.into_iter().chain([CROWDED]).min();
            }
        }
    }
    Turn {
        readings: readings(&seen, inputs.due),
        known: known_replicas(&seen),
        proxy_error: proxy_error(inputs.config, &seen, &mind.proxy),
        old_proxies: old_proxies(inputs.config, &seen),
        to_probe: seen.targets,
        orphans: seen.orphans.into_iter().collect(),
        nodes: seen.nodes,
        engine_error: seen.engine_error,
        events,
        plans,
        again,
        services,
    }
}

/// What begins and ends with what is seen, whatever is made of it.
fn seen_events(told: &mut Told, now: Moment, seen: &Seen) -> Vec<Event> {
    let mut events: Vec<Event> = told.engine(seen.engine_error.as_deref()).into_iter().collect();
    if seen.engine_error.is_none() && seen.ever_listed {
        events.extend(told.missing(&seen.snapshots));
    }
    events.extend(told.orphans(seen.orphans.clone(), &seen.leaving));
    events.extend(seen.strangers.iter().flat_map(|listed| told.strangers.news(now, listed)));
    events.extend(seen.proxy.as_ref().and_then(|proxy| told.full.told(proxy.connections)));
    for snapshot in &seen.snapshots {
        events.extend(told.metrics(snapshot));
        events.extend(told.swarm(snapshot));
        events.extend(told.short.news(now, snapshot));
        events.extend(told.stale.news(snapshot));
    }
    events
}

/// For how many earlier processes a reload waits, if for any. `None`: that cannot be told now, as
/// something else is to be done first or under way.
fn crowd(plan: &ProxyPlan, is_idle: bool) -> Option<Option<u32>> {
    match plan {
        ProxyPlan::Crowded { old_processes } => Some(Some(*old_processes)),
        ProxyPlan::Do(Action::Reload { .. }) => Some(None),
        ProxyPlan::Nothing if is_idle => Some(None),
        ProxyPlan::Nothing | ProxyPlan::Do(_) | ProxyPlan::Wait(_) => None,
    }
}

/// Replicas whose last words say why they are where they are.
fn ended(seen: &Seen, plans: &BTreeMap<String, Plan>) -> Vec<(String, u32, ContainerId)> {
    let mut ended = Vec::new();
    for snapshot in &seen.snapshots {
        let name = snapshot.service.name.as_str();
        let steps = plans.get(name).map_or(&[][..], |plan| &plan.steps);
        for step in steps {
            let (Step::Exited { number, .. } | Step::FellIll { number, .. }) = step else {
                continue;
            };
            let replica = snapshot.replicas.iter().find(|r| r.number == *number);
            ended.extend(replica.map(|r| (name.to_owned(), *number, r.id.clone())));
        }
    }
    ended
}

/// And when to look again at what HAProxy does not get yet, and what is to be told.
fn proxy_plan(
    now: Moment,
    config: &Config,
    claims: &BTreeSet<Claim>,
    seen: &Seen,
    plans: &BTreeMap<String, Plan>,
    mind: &mut Mind,
) -> (ProxyPlan, Option<Duration>, Vec<Event>) {
    let age = now.since(*mind.started.get_or_insert(now));
    if config.fixed.proxy.mode == ProxyMode::None {
        return (ProxyPlan::Nothing, None, Vec::new());
    }
    if age < BLIND_MAX && is_blind(seen, &mind.proxy) {
        return (ProxyPlan::Wait(CROWDED), None, Vec::new());
    }
    if claims.contains(&Claim::Proxy) || !seen.ever_listed {
        return (ProxyPlan::Nothing, None, Vec::new());
    }
    let mut routes = routes(&seen.snapshots, plans);
    let kept = decide::proxy::keep_ports(&mut routes, mind.proxy.applied.as_ref(), &seen.orphaned);
    let events = mind.told.ports_kept(kept);
    let held = hold_newcomers(now, seen, mind, &mut routes);
    let interval = config.fixed.proxy.min_reload_interval;
    let plan = decide::proxy::decide(now, &routes, seen.proxy.as_ref(), &mind.proxy, interval);
    (plan, held, events)
}

/// For whoever reads the log at that level; others need not pay for the words.
fn readings(seen: &Seen, due: bool) -> Vec<String> {
    let wanted = due && log::log_enabled!(log::Level::Debug);
    seen.snapshots.iter().filter(|_| wanted).flat_map(events::readings).collect()
}

/// Of an HAProxy that there is none of, none is missed.
fn old_proxies(config: &Config, seen: &Seen) -> Option<u32> {
    let none = (config.fixed.proxy.mode == ProxyMode::None).then_some(0);
    seen.proxy.as_ref().map(|proxy| proxy.old_processes).or(none)
}

/// Of a dry run nothing is expected.
fn proxy_error(config: &Config, seen: &Seen, memory: &ProxyMemory) -> Option<String> {
    if config.fixed.proxy.mode == ProxyMode::None || config.dry_run {
        return None;
    }
    let failed = memory.failure.as_ref().map(|failure| failure.words.clone());
    failed.or_else(|| seen.proxy.is_none().then(|| "haproxy does not answer".to_owned()))
}

fn known_replicas(seen: &Seen) -> Vec<ContainerId> {
    seen.snapshots.iter().flat_map(|s| &s.replicas).map(|r| r.id.clone()).collect()
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
    (seen.proxy.is_none() || proxy.applied.is_none()) && seen.snapshots.iter().any(is_unasked)
}

/// Whether a replica of the service runs that may serve and was not asked yet.
fn is_unasked(snapshot: &Snapshot) -> bool {
    snapshot.replicas.iter().any(|r| {
        r.state == ContainerState::Running
            && r.address.is_some()
            && r.health == Health::Unknown
            && !r.is_served()
    })
}

/// A service that comes into the config again may have replicas that run. HAProxy opens its port
/// when they were asked: before, it had nobody to send a request to. Gives how long to wait.
fn hold_newcomers(
    now: Moment,
    seen: &Seen,
    mind: &mut Mind,
    routes: &mut Routes,
) -> Option<Duration> {
    let Some(applied) = &mind.proxy.applied else { return None };
    let is_known = |name: &str| applied.backends.iter().any(|b| b.service.as_str() == name);
    let new = seen.snapshots.iter().filter(|s| !is_known(s.service.name.as_str()));
    let new: BTreeMap<&str, &Snapshot> = new.map(|s| (s.service.name.as_str(), s)).collect();
    mind.newcomers.retain(|name, _| new.contains_key(name.as_str()));
    let mut held = None;
    for (name, snapshot) in new {
        let since = *mind.newcomers.entry(name.to_owned()).or_insert(now);
        if is_unasked(snapshot) && now.since(since) < BLIND_MAX {
            routes.backends.retain(|b| b.service.as_str() != name);
            held = Some(CROWDED);
        }
    }
    held
}

/// Takes in what ended; gives how many starts failed, by service.
fn learn(mind: &mut Mind, now: Moment, done: &[Done]) -> BTreeMap<String, u32> {
    let mut failed_starts = BTreeMap::new();
    for done in done {
        match &done.action {
            Action::Reload { routes } => {
                let trouble = done.result.as_ref().err();
                mind.proxy = decide::proxy::remember(now, routes, trouble, &mind.proxy);
            }
            Action::Start { service, .. } if done.result.is_err() => {
                *failed_starts.entry(service.name.as_str().to_owned()).or_default() += 1;
            }
            Action::Amend { routes } => {
                let is_refused = done.result.is_err();
                mind.proxy = decide::proxy::remember_amended(now, routes, is_refused, &mind.proxy);
            }
            Action::Steer { .. } => mind.proxy.is_unsteered = done.result.is_err(),
            Action::Start { service, number, .. } => {
                if let Ok(Effect::Started(id)) = &done.result {
                    let memory = mind.memory.services.entry(service.name.as_str().to_owned());
                    let started = Started { id: id.clone(), looks: 0 };
                    memory.or_default().started.insert(*number, started);
                }
            }
            Action::Remove(_) | Action::Resize { .. } | Action::EndProxies { .. } => (),
        }
    }
    failed_starts
}

fn decide_all(
    seen: &mut Seen,
    memory: &Memory,
    claims: &BTreeSet<Claim>,
) -> (BTreeMap<String, Plan>, Memory) {
    let mut plans = BTreeMap::new();
    let mut next = memory.clone();
    let none = ServiceMemory::default();
    let old = |name: &str| memory.services.get(name).unwrap_or(&none);
    let promised = |s: &Snapshot| decide::headroom::promised(s, old(s.service.name.as_str()));
    let mut taken = seen.snapshots.iter().map(promised).fold(0, u64::saturating_add);
    for snapshot in seen.snapshots.iter_mut().chain(&mut seen.leaving) {
        let name = snapshot.service.name.as_str().to_owned();
        // What one service takes of the host's memory, another cannot have.
        snapshot.free_memory = snapshot.free_memory.map(|free| free.saturating_sub(taken));
        let (plan, new) = decide_one(snapshot, old(&name));
        taken = plan.actions.iter().filter_map(memory_of).fold(taken, u64::saturating_add);
        plans.insert(name.clone(), plan);
        next.services.insert(name, new);
    }
    if seen.engine_error.is_none() {
        // One whose start is under way has no container yet.
        let starts = |name: &String| {
            let is_its =
                |claim: &Claim| matches!(claim, Claim::Start { service, .. } if service == name);
            claims.iter().any(is_its)
        };
        let known =
            |name: &String| plans.contains_key(name) || seen.orphans.contains(name) || starts(name);
        next.services.retain(|name, _| known(name));
    }
    (plans, next)
}

/// Bytes that a start takes, as far as they are known.
fn memory_of(action: &Action) -> Option<u64> {
    match action {
        Action::Start { service, .. } => service.container.memory,
        Action::Remove(_)
        | Action::Resize { .. }
        | Action::Reload { .. }
        | Action::Amend { .. }
        | Action::Steer { .. }
        | Action::EndProxies { .. } => None,
    }
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

fn stand(
    past: &mut Past,
    known: &Known,
    seen: &Seen,
    plans: &BTreeMap<String, Plan>,
    next: &Memory,
) -> Vec<ServiceStatus> {
    if !seen.ever_listed {
        return unseen(known, next);
    }
    past.retain(|name| plans.contains_key(name));
    let one = |snapshot: &Snapshot| {
        let name = snapshot.service.name.as_str();
        Some(past.service(snapshot, plans.get(name)?, next.services.get(name)?))
    };
    seen.snapshots.iter().filter_map(one).collect()
}

/// Before the engine's first list nothing was decided, but the config and what was ordered hold.
fn unseen(known: &Known, memory: &Memory) -> Vec<ServiceStatus> {
    let one = |service: &Arc<Service>| {
        let memory = memory.services.get(service.name.as_str());
        let mut memory = memory.cloned().unwrap_or_default();
        decide::orders::expire(known.now, &mut memory);
        status::unseen(service, known.wall, &memory)
    };
    known.config.services.values().map(one).collect()
}

fn routes(snapshots: &[Snapshot], plans: &BTreeMap<String, Plan>) -> Routes {
    let backend = |snapshot: &Snapshot| {
        let plan = plans.get(snapshot.service.name.as_str())?;
        Some(Backend::of(&snapshot.service, plan.servers.clone()))
    };
    Routes { backends: snapshots.iter().filter_map(backend).collect() }
}

/// A dry run changes nothing, but what was asked for is what its next decisions look back on.
fn remember_asked(memory: &mut Memory, next: Memory) {
    for (name, next) in next.services {
        memory.services.entry(name).or_default().history = next.history;
    }
}

fn remember(store: &dyn Store, now: Moment, mind: &mut Mind, next: Memory) -> Vec<Event> {
    let mut events = events::over(&mind.memory, &next);
    mind.memory = next;
    events.extend(save(store, now, mind));
    events
}

/// What only tells again what was asked for before is not worth a write to the disk at every look:
/// after a crash a window may end so much earlier.
const SAME_AGAIN: Duration = Duration::from_secs(60);

fn save(store: &dyn Store, now: Moment, mind: &mut Mind) -> Option<Event> {
    if let Some((saved, at)) = &mind.saved
        && (*saved == mind.memory || now.since(*at) < SAME_AGAIN && saved.is_like(&mind.memory))
    {
        return None;
    }
    match store.save(&mind.memory) {
        Ok(()) => {
            mind.saved = Some((mind.memory.clone(), now));
            mind.told.saving(None)
        }
        // Not stored is no reason to leave a service without replicas; it is tried again.
        Err(err) => mind.told.saving(Some(err.to_string())),
    }
}
