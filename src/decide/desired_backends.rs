//! The backends that HAProxy should have now, and the next action on it. A list made before the
//! first probes would leave out replicas that serve, so some backends wait.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::decide::kept_addresses::{KeepInput, keep_addresses};
use crate::decide::proxy::{self, ProxyPlan};
use crate::model::action::{Action, Done};
use crate::model::front_door::FrontDoor;
use crate::model::plan::Plan;
use crate::model::proxy::{Backend, KeptAddresses, ProxyMemory, ProxySeen, Routes, Server};
use crate::model::replica::{ContainerState, Health};
use crate::model::snapshot::Snapshot;
use crate::model::time::Moment;

/// After its start the daemon waits this long for a first probe result of every replica, and no
/// longer: one that hangs must not keep the others out.
const BLIND_MAX: Duration = Duration::from_secs(3);
/// Between two ticks while probe results are missing.
const REQUEUE_BLIND: Duration = Duration::from_millis(250);
/// Between two ticks while a reload is deferred.
const REQUEUE_DEFERRED: Duration = Duration::from_secs(1);

/// What one tick leaves for the next. Not stored.
#[derive(Debug, Default)]
pub(crate) struct ProxyState {
    pub(crate) memory: ProxyMemory,
    /// What HAProxy was brought to before a failed action.
    last_applied: Option<Routes>,
    /// Services that HAProxy does not have yet, since when.
    unrouted_since: BTreeMap<String, Moment>,
    /// The first tick.
    started: Option<Moment>,
}

pub(crate) struct ProxyInput<'a> {
    pub(crate) now: Moment,
    pub(crate) front_door: &'a FrontDoor,
    pub(crate) snapshots: &'a [Snapshot],
    pub(crate) plans: &'a BTreeMap<String, Plan>,
    /// `None` when HAProxy does not answer.
    pub(crate) seen: Option<&'a ProxySeen>,
    /// Addresses of containers that no service of the config has.
    pub(crate) orphaned: &'a BTreeSet<IpAddr>,
    /// An action on HAProxy has not ended.
    pub(crate) is_busy: bool,
    /// The engine gave a list once.
    pub(crate) ever_listed: bool,
    pub(crate) min_reload_interval: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct ProxyOutcome {
    pub(crate) action: Option<Action>,
    pub(crate) requeue_after: Option<Duration>,
    pub(crate) kept_addresses: Vec<KeptAddresses>,
    /// `Some(Some(n))`: a reload is deferred behind n old processes. `Some(None)`: none is.
    /// `None`: unknown now, as something else is to be done first or has not ended.
    pub(crate) deferred: Option<Option<u32>>,
}

pub(crate) fn plan(input: &ProxyInput, state: &mut ProxyState) -> ProxyOutcome {
    let is_idle = input.ever_listed && !input.is_busy;
    let (plan, held, kept_addresses) = choose(input, state);
    let deferred = match &plan {
        ProxyPlan::Crowded { old_processes } => Some(Some(*old_processes)),
        ProxyPlan::Do(Action::Reload { .. }) => Some(None),
        ProxyPlan::Nothing if is_idle => Some(None),
        ProxyPlan::Nothing | ProxyPlan::Do(_) | ProxyPlan::Wait(_) => None,
    };
    let (action, wait) = match plan {
        ProxyPlan::Nothing => (None, None),
        ProxyPlan::Do(action) => (Some(action), None),
        ProxyPlan::Wait(wait) => (None, Some(wait)),
        ProxyPlan::Crowded { .. } => (None, Some(REQUEUE_DEFERRED)),
    };
    let requeue_after = held.into_iter().chain(wait).min();
    ProxyOutcome { action, requeue_after, kept_addresses, deferred }
}

fn choose(
    input: &ProxyInput,
    state: &mut ProxyState,
) -> (ProxyPlan, Option<Duration>, Vec<KeptAddresses>) {
    let age = input.now.since(*state.started.get_or_insert(input.now));
    if age < BLIND_MAX && lacks_probe_results(input, &state.memory) {
        return (ProxyPlan::Wait(REQUEUE_BLIND), None, Vec::new());
    }
    if input.is_busy || !input.ever_listed {
        return (ProxyPlan::Nothing, None, Vec::new());
    }
    let mut routes = routes(input);
    if state.memory.applied.is_some() && state.last_applied != state.memory.applied {
        state.last_applied.clone_from(&state.memory.applied);
    }
    let kept = keep(input, state.last_applied.as_ref(), &mut routes);
    let held = withhold_unprobed(input, state, &mut routes);
    let interval = input.min_reload_interval;
    let plan = proxy::plan_proxy(input.now, &routes, input.seen, &state.memory, interval);
    (plan, held, kept)
}

fn keep(input: &ProxyInput, applied: Option<&Routes>, routes: &mut Routes) -> Vec<KeptAddresses> {
    let Some(applied) = applied else { return Vec::new() };
    let active = input.plans.iter().filter(|(_, plan)| 0 < plan.decision.desired);
    let active = active.map(|(name, _)| name.as_str()).collect();
    let input = KeepInput { applied, running: input.orphaned, active, seen: input.seen };
    keep_addresses(routes, &input)
}

fn routes(input: &ProxyInput) -> Routes {
    let backend = |snapshot: &Snapshot| {
        let plan = input.plans.get(snapshot.service.name.as_str())?;
        let mut backend = Backend::of(&snapshot.service, plan.servers.clone());
        if let Some(wake) = &plan.wake {
            let serves = |s: &Server| {
                !s.draining && input.seen.is_none_or(|seen| proxy::serves(&backend, s, seen))
            };
            let is_ready = wake.accepts && !backend.servers.iter().any(serves);
            backend.set_wake(&snapshot.service, is_ready);
        }
        Some(backend)
    };
    let backends = input.snapshots.iter().filter_map(backend).collect();
    Routes { front_door: input.front_door.clone(), backends }
}

/// A replica that HAProxy may serve was not probed yet, as after a start: a list made now would
/// leave it out. What HAProxy shows then proves nothing either, since a start that another daemon
/// began may still be under way.
fn lacks_probe_results(input: &ProxyInput, memory: &ProxyMemory) -> bool {
    (input.seen.is_none() || memory.applied.is_none()) && input.snapshots.iter().any(is_unprobed)
}

/// Whether a replica of the service runs that may serve and was not probed yet.
fn is_unprobed(snapshot: &Snapshot) -> bool {
    snapshot.replicas.iter().any(|r| {
        r.state == ContainerState::Running
            && r.address.is_some()
            && r.health == Health::Unknown
            && !r.is_served()
    })
}

/// A service that comes into the config again may have replicas that run. HAProxy opens its port
/// once they were probed: before, it had nobody to send a request to. Returns how long to wait.
fn withhold_unprobed(
    input: &ProxyInput,
    state: &mut ProxyState,
    routes: &mut Routes,
) -> Option<Duration> {
    let applied = state.memory.applied.as_ref()?;
    let is_known = |name: &str| applied.backends.iter().any(|b| b.service.as_str() == name);
    let new = input.snapshots.iter().filter(|s| !is_known(s.service.name.as_str()));
    let new: BTreeMap<&str, &Snapshot> = new.map(|s| (s.service.name.as_str(), s)).collect();
    state.unrouted_since.retain(|name, _| new.contains_key(name.as_str()));
    let mut wait = None;
    for (name, snapshot) in new {
        let since = *state.unrouted_since.entry(name.to_owned()).or_insert(input.now);
        if is_unprobed(snapshot) && input.now.since(since) < BLIND_MAX {
            routes.backends.retain(|b| b.service.as_str() != name);
            wait = Some(REQUEUE_BLIND);
        }
    }
    wait
}

/// Takes in an action that ended.
pub(crate) fn remember(now: Moment, done: &Done, memory: &mut ProxyMemory) {
    match &done.action {
        Action::Reload { routes } => {
            *memory = proxy::remember(now, routes, done.result.as_ref().err(), memory);
        }
        Action::UpdateServers { routes } => {
            *memory = proxy::remember_update(now, routes, done.result.is_err(), memory);
        }
        Action::SetServerStates { .. } => memory.is_state_unset = done.result.is_err(),
        Action::Start { .. }
        | Action::Remove(_)
        | Action::RunHook(_)
        | Action::Resize { .. }
        | Action::EndProxies { .. } => (),
    }
}
