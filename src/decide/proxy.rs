//! How HAProxy gets from its observed state to the desired one: server states by `set server`,
//! changed servers at run time (dynamic servers), everything else by a reload.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::action::{Action, ActionError, RollbackState, SetServerState};
use crate::model::proxy::{
    Backend, Lingering, ProxyMemory, ProxySeen, ReloadFailure, Routes, SeenServer, Server,
    WakeServer,
};
use crate::model::replica::AdminState;
use crate::model::sleep::WAKE_SERVER;
use crate::model::time::Moment;

const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);
/// Between two polls while a server waits for its first health check by HAProxy.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// The same while requests may wait for it.
const LOOK_AGAIN_WAKING: Duration = Duration::from_millis(50);
/// Between two attempts to delete a server that idle client connections keep in HAProxy's list.
const SWEEP: Duration = Duration::from_secs(5);

/// An old process closes its listeners as soon as it is asked to finish. One that still accepts
/// connections after this time hangs, and so does every connection that it accepts.
const LINGER_MAX: Duration = Duration::from_secs(2);

/// Old processes that may finish at once: each has the memory of a whole HAProxy.
const OLD_MAX: u32 = 10;

/// What to do now, or how long to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProxyPlan {
    Nothing,
    Do(Action),
    Wait(Duration),
    /// A reload is deferred until some of the old processes have finished.
    Crowded {
        old_processes: u32,
    },
}

/// `seen` is `None` when HAProxy does not answer. No action on HAProxy may be running.
pub(crate) fn plan_proxy(
    now: Moment,
    routes: &Routes,
    seen: Option<&ProxySeen>,
    memory: &ProxyMemory,
    min_reload_interval: Duration,
) -> ProxyPlan {
    let plan = plan_routes(now, routes, seen, memory, min_reload_interval);
    let lingering = seen.map_or(&[][..], |seen| &seen.lingering);
    let left = |l: &Lingering| left(now, Some(l.since), LINGER_MAX);
    let over = lingering.iter().filter(|l| left(l).is_none());
    let processes: Vec<u32> = over.map(|l| l.process).collect();
    // Setting server states comes first: a drain must not wait.
    let sets_states = matches!(plan, ProxyPlan::Do(Action::SetServerStates { .. }));
    if !processes.is_empty() && !sets_states {
        return ProxyPlan::Do(Action::EndProxies { processes });
    }
    match (plan, lingering.iter().filter_map(left).min()) {
        (ProxyPlan::Nothing, Some(left)) => ProxyPlan::Wait(left),
        (ProxyPlan::Wait(wait), Some(left)) => ProxyPlan::Wait(wait.min(left)),
        (plan, _) => plan,
    }
}

/// The order of the checks is the order of urgency:
///
/// 1. Server states: a server that must get no new sessions, before anything that may fail.
/// 2. HAProxy agrees with the desired state: retry a part that was left out, else settle.
/// 3. Only servers differ: update them at run time.
/// 4. Too many old processes: the reload is deferred.
/// 5. A reload, after the retry backoff or the minimal interval between two reloads.
fn plan_routes(
    now: Moment,
    routes: &Routes,
    seen: Option<&ProxySeen>,
    memory: &ProxyMemory,
    min_reload_interval: Duration,
) -> ProxyPlan {
    let loaded = memory.applied.as_ref().is_some_and(|a| a.same_file(routes));
    let failure = memory.failure.as_ref().filter(|f| f.routes.same_file(routes));
    let retry_in = failure.and_then(|f| left(now, Some(f.at), retry_after(f)));
    if let Some(seen) = seen {
        let states = states_to_set(seen, routes);
        // Backends that HAProxy refused are not expected to be there.
        let agrees = loaded
            && match failure {
                Some(f) => routes.without(&f.left_out).agree(seen.in_use()),
                None => routes.agree(seen.in_use()),
            };
        if !states.is_empty() && (agrees || !memory.is_state_unset) {
            return ProxyPlan::Do(Action::SetServerStates { servers: states });
        }
        if agrees && !seen.is_stale {
            return match (failure, retry_in) {
                // Partially applied: the rest is tried again.
                (Some(_), None) => ProxyPlan::Do(reload(routes, Some(seen))),
                (Some(_), Some(wait)) => ProxyPlan::Wait(wait),
                (None, _) => settle(now, seen, routes, memory),
            };
        }
        if !agrees && seen.takes_dynamic_servers && changes_servers_only(routes, seen, memory) {
            return ProxyPlan::Do(Action::UpdateServers { routes: routes.clone() });
        }
        if OLD_MAX <= seen.old_processes {
            return ProxyPlan::Crowded { old_processes: seen.old_processes };
        }
    }
    let pause = match failure {
        Some(_) if !loaded => retry_in,
        // No process runs: nothing to be careful with.
        _ if seen.is_none() => None,
        _ => left(now, memory.reloaded_at, min_reload_interval),
    };
    match pause {
        Some(pause) => ProxyPlan::Wait(pause),
        None => ProxyPlan::Do(reload(routes, seen)),
    }
}

/// A new server, or one that still drains from before, serves only after the reload. Until all of a
/// backend's servers do, the reload itself drains none that serves.
fn reload(routes: &Routes, seen: Option<&ProxySeen>) -> Action {
    let mut routes = routes.clone();
    let Some(seen) = seen else { return Action::Reload { routes } };
    for backend in &mut routes.backends {
        let waits = !is_in_service(backend, seen);
        let serving: Vec<bool> = backend.servers.iter().map(|s| serves(backend, s, seen)).collect();
        for (server, serves) in backend.servers.iter_mut().zip(serving) {
            server.draining &= !(waits && serves);
        }
    }
    Action::Reload { routes }
}

/// Whether only servers change. After a partially applied reload, a whole one is due.
fn changes_servers_only(routes: &Routes, seen: &ProxySeen, memory: &ProxyMemory) -> bool {
    memory.failure.is_none()
        && memory.applied.as_ref().is_some_and(|applied| {
            applied.same_but_servers(routes)
                && (seen.takes_dynamic_cookies || applied.same_sticky_servers(routes))
        })
}

/// HAProxy has the desired state; only first health checks and deletions are left.
fn settle(now: Moment, seen: &ProxySeen, routes: &Routes, memory: &ProxyMemory) -> ProxyPlan {
    let waiting = routes.backends.iter().filter(|backend| !is_in_service(backend, seen));
    let wait = |backend: &Backend| match backend.wake {
        Some(WakeServer { is_ready: true, .. }) => LOOK_AGAIN_WAKING,
        Some(_) | None => LOOK_AGAIN,
    };
    if let Some(wait) = waiting.map(wait).min() {
        return ProxyPlan::Wait(wait);
    }
    if !seen.takes_dynamic_servers || routes.strangers(&seen.servers).next().is_none() {
        return ProxyPlan::Nothing;
    }
    match left(now, memory.servers_updated_at, SWEEP) {
        Some(wait) => ProxyPlan::Wait(wait),
        None => ProxyPlan::Do(Action::UpdateServers { routes: routes.clone() }),
    }
}

fn left(now: Moment, since: Option<Moment>, span: Duration) -> Option<Duration> {
    let until = since?.plus(span);
    (now < until).then(|| until.since(now))
}

fn retry_after(failure: &ReloadFailure) -> Duration {
    let doublings = failure.count.saturating_sub(1).min(16);
    RETRY_FIRST.saturating_mul(1 << doublings).min(RETRY_LONGEST)
}

/// The admin states to set, on servers that have the desired address.
fn states_to_set(seen: &ProxySeen, routes: &Routes) -> Vec<SetServerState> {
    let mut servers = Vec::new();
    for backend in &routes.backends {
        let is_in_service = is_in_service(backend, seen);
        let wakes = seen.wakes.get(backend.service.as_str()).copied();
        let mut takes_queue = false;
        // Before the last replica drains, requests have another place to go.
        let is_wanted = backend.wake.is_some_and(|wake| wake.is_ready);
        let turns_ready = |server: &Server| {
            !server.draining && shown(backend, server, seen).is_some_and(|s| s.seen.is_checked)
        };
        if is_wanted && wakes == Some(AdminState::Maint) && !backend.servers.iter().any(turns_ready)
        {
            servers.push(wake_order(backend, AdminState::Ready));
        }
        for server in &backend.servers {
            let Some(now) = shown(backend, server, seen) else { continue };
            let is_due = match server.admin_state() {
                // Until its first health check HAProxy assumes that a server is up.
                AdminState::Ready => now.seen.is_checked,
                // A server drains only once its replacements serve, however long that takes.
                // Unhealthy ones are not in the desired list at all.
                AdminState::Drain | AdminState::Maint => {
                    is_in_service || now.seen.admin_state == AdminState::Maint
                }
            };
            if now.seen.admin_state == server.admin_state() || !is_due {
                continue;
            }
            // A server that leaves maintenance takes what waits in the backend's queue; one that
            // leaves drain does not.
            if !server.draining && wakes == Some(AdminState::Ready) {
                takes_queue = true;
                servers.extend(
                    (now.seen.admin_state != AdminState::Maint)
                        .then(|| order(now, AdminState::Maint)),
                );
            }
            servers.push(order(now, server.admin_state()));
        }
        let is_over = takes_queue || backend.wake.is_some_and(|wake| !wake.is_ready);
        if is_over && wakes == Some(AdminState::Ready) {
            servers.push(wake_order(backend, AdminState::Maint));
        }
    }
    // Their addresses may belong to other containers by now, of any service.
    let strangers =
        routes.strangers(&seen.servers).filter(|s| s.seen.admin_state != AdminState::Maint);
    servers.extend(strangers.map(|stranger| order(stranger, AdminState::Maint)));
    servers
}

fn order(to: &SeenServer, admin_state: AdminState) -> SetServerState {
    SetServerState { backend: to.backend.clone(), server: to.name.clone(), admin_state }
}

fn wake_order(backend: &Backend, admin_state: AdminState) -> SetServerState {
    let backend = backend.service.as_str().to_owned();
    SetServerState { backend, server: WAKE_SERVER.to_owned(), admin_state }
}

fn shown<'a>(backend: &Backend, server: &Server, seen: &'a ProxySeen) -> Option<&'a SeenServer> {
    seen.servers.iter().find(|s| {
        s.backend == backend.service.as_str()
            && s.name == server.name
            && s.seen.address == server.address
    })
}

/// Every server that should get requests does.
fn is_in_service(backend: &Backend, seen: &ProxySeen) -> bool {
    backend.servers.iter().filter(|server| !server.draining).all(|s| serves(backend, s, seen))
}

/// HAProxy sends requests to the server.
pub(crate) fn serves(backend: &Backend, server: &Server, seen: &ProxySeen) -> bool {
    shown(backend, server, seen).is_some_and(|s| s.seen.admin_state == AdminState::Ready)
}

/// The memory after a reload; `trouble` is `None` when it succeeded.
pub(crate) fn remember(
    now: Moment,
    routes: &Routes,
    trouble: Option<&ActionError>,
    memory: &ProxyMemory,
) -> ProxyMemory {
    let (is_applied, left_out) = match trouble.map(|trouble| &trouble.rollback_state) {
        None => (true, BTreeSet::new()),
        Some(RollbackState::PartiallyApplied { left_out }) => (true, left_out.clone()),
        Some(RollbackState::AsBefore | RollbackState::RolledBack) => (false, BTreeSet::new()),
    };
    let applied = is_applied.then(|| routes.clone());
    let before = memory.failure.as_ref().filter(|f| f.routes.same_file(routes));
    let count = before.map_or(0, |f| f.count).saturating_add(1);
    let failure = trouble.map(|trouble| {
        let routes = routes.clone();
        let words = trouble.message.clone();
        ReloadFailure { routes, left_out, words, at: now, count }
    });
    ProxyMemory { applied, reloaded_at: Some(now), failure, ..ProxyMemory::default() }
}

/// The memory after a run-time update of servers. A reload repairs one that failed halfway.
pub(crate) fn remember_update(
    now: Moment,
    routes: &Routes,
    is_refused: bool,
    memory: &ProxyMemory,
) -> ProxyMemory {
    let applied = (!is_refused).then(|| routes.clone());
    ProxyMemory { applied, servers_updated_at: Some(now), is_state_unset: false, ..memory.clone() }
}
