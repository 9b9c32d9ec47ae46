//! One tick: observe, decide, remember, report, and say what to begin. Start reading here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::controller::effective_config::{EffectiveConfig, Listed};
use crate::controller::load_watch::WatchTarget;
use crate::decide;
use crate::decide::all_services::{self, Decided};
use crate::decide::desired_backends::{self, ProxyInput, ProxyOutcome, ProxyState};
use crate::model::action::{Action, ActionOutput, Claim, Done};
use crate::model::certificate::CertificateSeen;
use crate::model::config::{Config, ProxyMode};
use crate::model::event::Event;
use crate::model::forecast::ServiceForecast;
use crate::model::host_cpu::ProcessorState;
use crate::model::image::{ImageTarget, RegistryObservation};
use crate::model::memory::{Failures, Memory, Started};
use crate::model::plan::{Plan, ReplicaTransition};
use crate::model::preemption::Preemption;
use crate::model::proxy::ProxyMemory;
use crate::model::replica::ContainerId;
use crate::model::service::{Origin, Service};
use crate::model::snapshot::Snapshot;
use crate::model::status::ServiceStatus;
use crate::model::swarm::SwarmNode;
use crate::model::time::{Moment, Wall};
use crate::model::traffic_policy::Protocol;
use crate::observe;
use crate::observe::health::ProbeTarget;
use crate::observe::health::probe_results::ProbeResults;
use crate::observe::metric::{EarlyEvaluation, RemoteMetrics, Sampler};
use crate::observe::{Answers, LastKnown, Observation, ObserveInput};
use crate::outside::{Activator, Clock, Engine, Proxy, Store};
use crate::report::events::{self, Conditions};
use crate::report::status::StatusHistory;

/// The outside, as far as a tick needs it.
pub(crate) struct Adapters<'a> {
    pub(crate) clock: &'a dyn Clock,
    pub(crate) engine: &'a dyn Engine,
    pub(crate) proxy: &'a dyn Proxy,
    pub(crate) activator: &'a dyn Activator,
    pub(crate) store: &'a dyn Store,
}

/// What one tick leaves for the next. Only `memory` outlives the daemon.
#[derive(Default)]
pub(crate) struct ControllerState {
    pub(crate) memory: Memory,
    /// `memory` as it was stored last, and when.
    saved: Option<(Memory, Moment)>,
    proxy: ProxyState,
    sampler: Sampler,
    last: LastKnown,
    conditions: Conditions,
    history: StatusHistory,
}

impl ControllerState {
    /// Events of an action that ended when no tick follows.
    pub(crate) fn ended(&mut self, done: &Done) -> Vec<Event> {
        self.conditions.done(done)
    }

    /// The host's, as last seen.
    pub(crate) fn processor(&self) -> Option<ProcessorState> {
        self.sampler.processor.observation().state()
    }

    pub(crate) fn new(memory: Memory) -> ControllerState {
        ControllerState { memory, ..ControllerState::default() }
    }

    /// What the status shows of the time before this start.
    pub(crate) fn with_past(self, history: StatusHistory) -> ControllerState {
        ControllerState { history, ..self }
    }

    /// `missing` is the file that it would have been read from.
    pub(crate) fn opened(memory: Memory, missing: Option<PathBuf>) -> ControllerState {
        let mut state = ControllerState::new(memory);
        state.conditions.miss_state(missing);
        state
    }
}

/// Everything that a tick needs besides its state.
pub(crate) struct TickInput<'a> {
    pub(crate) config: &'a mut EffectiveConfig,
    /// The interval is over: load is read, and the number may change.
    pub(crate) is_evaluation: bool,
    pub(crate) early: &'a EarlyEvaluation,
    pub(crate) probed: &'a ProbeResults,
    pub(crate) remote_metrics: &'a RemoteMetrics,
    /// By image, what its registry answered last.
    pub(crate) registries: &'a BTreeMap<String, RegistryObservation>,
    /// By service, those that are forecast.
    pub(crate) forecasts: &'a BTreeMap<String, Arc<ServiceForecast>>,
    /// What actions that have not ended keep others from touching.
    pub(crate) claims: &'a BTreeSet<Claim>,
    pub(crate) done: Vec<Done>,
    /// Whether to fill `TickOutput::readings`.
    pub(crate) is_verbose: bool,
}

pub(crate) struct TickOutput {
    pub(crate) events: Vec<Event>,
    pub(crate) plans: BTreeMap<String, Plan>,
    /// To be begun, in this order.
    pub(crate) actions: Vec<Action>,
    /// What each metric showed, a line each for the log at level debug. Only of an evaluation.
    pub(crate) readings: Vec<String>,
    /// When to tick again if nothing wakes the controller before.
    pub(crate) requeue_after: Option<Duration>,
    /// Replicas that run.
    pub(crate) to_probe: Vec<ProbeTarget>,
    /// Services whose CPU load could scale them up before the next evaluation.
    pub(crate) to_watch: Vec<WatchTarget>,
    /// Images to watch.
    pub(crate) images: Vec<ImageTarget>,
    /// Every replica there is.
    pub(crate) known: Vec<ContainerId>,
    pub(crate) services: Vec<ServiceStatus>,
    /// Why the engine gave no list.
    pub(crate) engine_error: Option<String>,
    /// Why HAProxy does not serve what it should.
    pub(crate) proxy_error: Option<String>,
    /// Old processes that still finish; `None` when HAProxy does not answer.
    pub(crate) old_proxies: Option<u32>,
    /// Of the shared frontends.
    pub(crate) certificates: Vec<CertificateSeen>,
    pub(crate) orphans: Vec<String>,
    /// Of the Swarm, where the config has a service of one.
    pub(crate) nodes: Vec<SwarmNode>,
    /// Labels changed the config.
    pub(crate) is_reconfigured: bool,
    /// Messages of panics that were caught, each with its service.
    pub(crate) panics: Vec<(String, String)>,
}

/// Memory is stored before the world is touched: a crash in between costs a wait that was not
/// needed, never an action that was not remembered.
pub(crate) fn tick(
    adapters: &Adapters,
    state: &mut ControllerState,
    input: TickInput,
) -> TickOutput {
    let now = adapters.clock.now();
    let mut events: Vec<Event> =
        input.done.iter().flat_map(|done| state.conditions.done(done)).collect();
    let failed_starts = learn(state, now, &input.done);

    // Observe, first what the config is now.
    let (answers, is_reconfigured) = ask(adapters, state, input.config, &mut events);
    let config = input.config.get();
    let known = ObserveInput {
        now,
        wall: adapters.clock.wall(),
        due: input.is_evaluation,
        early: input.early,
        config,
        unconfigured: &input.config.unconfigured(),
        memory: &state.memory,
        proxied: &state.proxy.memory,
        claims: input.claims,
        probed: input.probed,
        remote_metrics: input.remote_metrics,
        registries: input.registries,
        forecasts: input.forecasts,
        failed_starts: &failed_starts,
    };
    let kept = (&mut state.sampler, &mut state.last);
    let mut seen = observe::look(&known, answers, (adapters.engine, adapters.proxy), kept);
    events.extend(seen_events(&mut state.conditions, (now, known.wall), &seen));

    // Decide for each service, then for HAProxy as a whole.
    let Decided { plans, next, panics } = decide_all(&mut seen, &state.memory, input.claims);
    let services = stand(&mut state.history, &known, &seen, &plans, &next);
    state.conditions.retain(|name| plans.contains_key(name));
    // A dry run remembers nothing: between evaluations it would report the same again and again.
    if input.is_evaluation || !config.dry_run {
        events.extend(plan_events(adapters, state, config, &seen, &plans, &next));
    }
    let proxy = proxy_outcome(now, config, input.claims, &seen, &plans, &mut state.proxy);
    events.extend(state.conditions.addresses_kept(proxy.kept_addresses));
    events.extend(proxy.deferred.and_then(|deferred| state.conditions.crowded(deferred)));
    let mut actions = actions(&plans, proxy.action);
    let requeue = plans.values().filter_map(|plan| plan.again).chain(seen.wait);
    let to_watch = to_watch(&seen, &plans, &next);

    // Remember, before anything is begun.
    if config.dry_run {
        remember_asked(&mut state.memory, next);
        actions.clear();
    } else {
        wake(adapters.activator, &seen.snapshots, &plans);
        events.extend(remember(adapters.store, now, state, next));
    }
    TickOutput {
        readings: readings(&seen, input.is_verbose && input.is_evaluation),
        known: known_replicas(&seen),
        proxy_error: proxy_error(config, &seen, &state.proxy.memory),
        old_proxies: old_proxies(config, &seen),
        certificates: seen.proxy.as_ref().map(|p| p.certificates.clone()).unwrap_or_default(),
        images: images(&seen, &state.memory),
        to_watch,
        to_probe: seen.targets,
        orphans: seen.orphans.into_iter().collect(),
        nodes: seen.nodes,
        engine_error: seen.engine_error,
        events,
        requeue_after: requeue.chain(proxy.requeue_after).min(),
        plans,
        actions,
        services,
        is_reconfigured,
        panics,
    }
}

/// HAProxy's comes last.
fn actions(plans: &BTreeMap<String, Plan>, of_proxy: Option<Action>) -> Vec<Action> {
    plans.values().flat_map(|plan| plan.actions.clone()).chain(of_proxy).collect()
}

/// Of each metric, for the log.
fn readings(seen: &Observation, are_shown: bool) -> Vec<String> {
    let shown = seen.snapshots.iter().filter(|_| are_shown);
    shown.flat_map(events::readings).collect()
}

/// Asks HAProxy and the engine, and follows the labels of what it lists. Gives also whether the
/// config is another one.
fn ask(
    adapters: &Adapters,
    state: &mut ControllerState,
    config: &mut EffectiveConfig,
    events: &mut Vec<Event>,
) -> (Answers, bool) {
    let ControllerState { memory, conditions, .. } = state;
    let proxy = observe::look_at(adapters.proxy, config.get());
    let Listed { listing, events: found, changed } =
        config.list(adapters.engine, observe::known(memory));
    events.extend(found);
    if memory.labels != config.good() {
        memory.labels = config.good().to_vec();
    }
    let sleepers = sleepers(config.get());
    let refused = adapters.activator.listen(&sleepers);
    events.extend(conditions.unwakeable.update(&sleepers, refused, proxy.0.as_ref()));
    for name in &changed {
        // What kept failing may work with the new labels.
        let service = memory.services.get_mut(name);
        service.into_iter().for_each(|service| service.failures = Failures::default());
    }
    // After HAProxy: a request that it has sent on meanwhile is held by now.
    let activity = adapters.activator.look();
    (Answers { activity, proxy, listing }, !changed.is_empty())
}

/// Services that a request may have to wake. A dry run leaves HAProxy alone.
fn sleepers(config: &Config) -> BTreeSet<String> {
    if config.fixed.proxy.mode == ProxyMode::None || config.dry_run {
        return BTreeSet::new();
    }
    let sleepers = config.services.values().filter(|service| service.may_sleep());
    sleepers.map(|service| service.name.as_str().to_owned()).collect()
}

/// Before any action begins: what HAProxy sends while a replica leaves is held.
fn wake(activator: &dyn Activator, snapshots: &[Snapshot], plans: &BTreeMap<String, Plan>) {
    for snapshot in snapshots {
        let service = &snapshot.service;
        let name = service.name.as_str();
        let Some(plan) = plans.get(name).and_then(|plan| plan.wake.as_ref()) else { continue };
        activator.forward(name, &plan.forward);
        if let Some(retry_after) = plan.refuse {
            // Of another protocol there is no answer that its client understands.
            let is_http = service.policy.protocol == Protocol::Http;
            activator.refuse(name, is_http.then_some(retry_after));
        }
    }
}

/// The images of services that follow their registry.
fn images(seen: &Observation, memory: &Memory) -> Vec<ImageTarget> {
    let target = |snapshot: &Snapshot| {
        let service = &snapshot.service;
        let every = service.image_updates.as_ref()?.check;
        let Origin::Image(image) = &service.container.origin else { return None };
        let ids = snapshot.replicas.iter().map(|replica| replica.image.id.clone());
        let ids: BTreeSet<String> = ids.filter(|id| !id.is_empty()).collect();
        let memory = memory.services.get(service.name.as_str());
        let wanted = memory.and_then(|memory| memory.rollout.images.wanted.clone());
        let ids = ids.into_iter().collect();
        Some(ImageTarget { image: image.clone(), every, ids, wanted })
    };
    seen.snapshots.iter().filter_map(target).collect()
}

fn to_watch(seen: &Observation, plans: &BTreeMap<String, Plan>, next: &Memory) -> Vec<WatchTarget> {
    let target = |snapshot: &Snapshot| {
        let name = snapshot.service.name.as_str();
        WatchTarget::of(snapshot, &plans.get(name)?.decision, next.services.get(name)?)
    };
    seen.snapshots.iter().filter_map(target).collect()
}

fn plan_events(
    adapters: &Adapters,
    state: &mut ControllerState,
    config: &Config,
    seen: &Observation,
    plans: &BTreeMap<String, Plan>,
    next: &Memory,
) -> Vec<Event> {
    let words = observe::last_words(adapters.clock, adapters.engine, ended(seen, plans));
    state.conditions.processor(&seen.snapshots);
    let mut events = Vec::new();
    for (name, plan) in plans {
        let failures = next.services.get(name).map_or(0, |memory| memory.failures.count);
        let told = state.conditions.plan(name, plan, failures, &words);
        events.extend(if config.dry_run { state.conditions.dry(name, told) } else { told });
    }
    events
}

fn proxy_outcome(
    now: Moment,
    config: &Config,
    claims: &BTreeSet<Claim>,
    seen: &Observation,
    plans: &BTreeMap<String, Plan>,
    state: &mut ProxyState,
) -> ProxyOutcome {
    if config.fixed.proxy.mode == ProxyMode::None {
        return ProxyOutcome::default();
    }
    let input = ProxyInput {
        now,
        front_door: &config.front_door,
        snapshots: &seen.snapshots,
        plans,
        seen: seen.proxy.as_ref(),
        orphaned: &seen.orphaned,
        is_busy: claims.contains(&Claim::Proxy),
        ever_listed: seen.ever_listed,
        min_reload_interval: config.fixed.proxy.min_reload_interval,
    };
    desired_backends::plan(&input, state)
}

/// Events about what is observed, whatever is decided.
fn seen_events(
    conditions: &mut Conditions,
    (now, wall): (Moment, Wall),
    seen: &Observation,
) -> Vec<Event> {
    let mut events: Vec<Event> =
        conditions.engine(seen.engine_error.as_deref()).into_iter().collect();
    if seen.engine_error.is_none() && seen.ever_listed {
        events.extend(conditions.missing(&seen.snapshots));
    }
    events.extend(conditions.orphans(seen.orphans.clone(), &seen.leaving));
    events
        .extend(seen.strangers.iter().flat_map(|listed| conditions.strangers.update(now, listed)));
    events.extend(seen.proxy.as_ref().and_then(|proxy| conditions.full.update(proxy.connections)));
    if let Some(proxy) = &seen.proxy {
        events.extend(conditions.certificates.update(wall, &proxy.certificates));
    }
    for snapshot in &seen.snapshots {
        events.extend(conditions.metrics(snapshot));
        events.extend(conditions.swarm(snapshot));
        events.extend(conditions.short.update(now, snapshot));
        events.extend(conditions.stale.update(snapshot));
        events.extend(conditions.image_checks.update(snapshot));
    }
    events
}

/// Replicas that just failed, whose logs explain it.
fn ended(seen: &Observation, plans: &BTreeMap<String, Plan>) -> Vec<(String, u32, ContainerId)> {
    let mut ended = Vec::new();
    for snapshot in &seen.snapshots {
        let name = snapshot.service.name.as_str();
        let transitions = plans.get(name).map_or(&[][..], |plan| &plan.transitions);
        for step in transitions {
            let (ReplicaTransition::Exited { number, .. }
            | ReplicaTransition::NotReady { number, .. }
            | ReplicaTransition::BecameUnhealthy { number, .. }) = step
            else {
                continue;
            };
            let replica = snapshot.replicas.iter().find(|r| r.number == *number);
            ended.extend(replica.map(|r| (name.to_owned(), *number, r.id.clone())));
        }
    }
    ended
}

/// In mode `none` there are no old processes.
fn old_proxies(config: &Config, seen: &Observation) -> Option<u32> {
    let none = (config.fixed.proxy.mode == ProxyMode::None).then_some(0);
    seen.proxy.as_ref().map(|proxy| proxy.old_processes).or(none)
}

/// A dry run reports no error of HAProxy's.
fn proxy_error(config: &Config, seen: &Observation, memory: &ProxyMemory) -> Option<String> {
    if config.fixed.proxy.mode == ProxyMode::None || config.dry_run {
        return None;
    }
    let failed = memory.failure.as_ref().map(|failure| failure.words.clone());
    failed.or_else(|| seen.proxy.is_none().then(|| "haproxy does not answer".to_owned()))
}

fn known_replicas(seen: &Observation) -> Vec<ContainerId> {
    seen.snapshots.iter().flat_map(|s| &s.replicas).map(|r| r.id.clone()).collect()
}

/// Records actions that ended; returns how many starts failed, by service.
fn learn(state: &mut ControllerState, now: Moment, done: &[Done]) -> BTreeMap<String, u32> {
    let mut failed_starts = BTreeMap::new();
    for done in done {
        desired_backends::remember(now, done, &mut state.proxy.memory);
        let Action::Start { service, number, .. } = &done.action else { continue };
        let name = service.name.as_str().to_owned();
        match &done.result {
            Err(_) => *failed_starts.entry(name).or_default() += 1,
            Ok(ActionOutput::Started(id)) => {
                let started = Started { id: id.clone(), looks: 0 };
                let memory = state.memory.services.entry(name).or_default();
                memory.started.insert(*number, started);
            }
            Ok(ActionOutput::Changed | ActionOutput::Unchanged | ActionOutput::HookFailed(_)) => (),
        }
    }
    failed_starts
}

fn decide_all(seen: &mut Observation, memory: &Memory, claims: &BTreeSet<Claim>) -> Decided {
    let mut decided = all_services::plan_all(&mut seen.snapshots, &mut seen.leaving, memory);
    if seen.engine_error.is_none() {
        // A service whose first start is in flight has no container yet.
        let starts = |name: &String| {
            let is_its =
                |claim: &Claim| matches!(claim, Claim::Start { service, .. } if service == name);
            claims.iter().any(is_its)
        };
        let Decided { plans, next, .. } = &mut decided;
        let known =
            |name: &String| plans.contains_key(name) || seen.orphans.contains(name) || starts(name);
        next.services.retain(|name, _| known(name));
    }
    decided
}

fn stand(
    history: &mut StatusHistory,
    known: &ObserveInput,
    seen: &Observation,
    plans: &BTreeMap<String, Plan>,
    next: &Memory,
) -> Vec<ServiceStatus> {
    if !seen.ever_listed {
        return unseen(history, known, next);
    }
    history.retain(|name| plans.contains_key(name));
    let one = |snapshot: &Snapshot| {
        let name = snapshot.service.name.as_str();
        let status = history.service(snapshot, plans.get(name)?, next.services.get(name)?);
        let of = |one: &&Preemption| one.victim == name || one.beneficiary == name;
        let preemptions = next.preemptions.list.iter().filter(of).cloned().collect();
        let traffic = seen.traffic.get(name).copied();
        Some(ServiceStatus { traffic, preemptions, ..status })
    };
    seen.snapshots.iter().filter_map(one).collect()
}

/// Before the engine's first list nothing was decided; config and operator commands still apply.
fn unseen(history: &StatusHistory, known: &ObserveInput, memory: &Memory) -> Vec<ServiceStatus> {
    let one = |service: &Arc<Service>| {
        let memory = memory.services.get(service.name.as_str());
        let mut memory = memory.cloned().unwrap_or_default();
        decide::commands::expire(known.now, &mut memory);
        history.unseen(service, known.wall, &memory)
    };
    known.config.services.values().map(one).collect()
}

/// A dry run changes nothing, but its next decisions need the history of recommendations.
fn remember_asked(memory: &mut Memory, next: Memory) {
    for (name, next) in next.services {
        memory.services.entry(name).or_default().history = next.history;
    }
}

fn remember(
    store: &dyn Store,
    now: Moment,
    state: &mut ControllerState,
    next: Memory,
) -> Vec<Event> {
    let mut events = events::over(&state.memory, &next);
    state.memory = next;
    events.extend(save(store, now, state));
    events
}

/// A history that only repeats the last recommendation is not written at every evaluation:
/// after a crash a stabilization window may end earlier by this much.
const SAME_AGAIN: Duration = Duration::from_secs(60);

fn save(store: &dyn Store, now: Moment, state: &mut ControllerState) -> Option<Event> {
    if let Some((saved, at)) = &state.saved
        && (*saved == state.memory || now.since(*at) < SAME_AGAIN && saved.is_like(&state.memory))
    {
        return None;
    }
    match store.save(&state.memory) {
        Ok(()) => {
            state.saved = Some((state.memory.clone(), now));
            state.conditions.saving(None)
        }
        // A failed write must not leave a service without replicas; it is retried at the next tick.
        Err(err) => state.conditions.saving(Some(err.to_string())),
    }
}
