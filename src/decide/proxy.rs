//! How HAProxy gets from what it shows to what it is to have: it is told who drains, amended while
//! it runs where nothing but servers changes, and reloaded where it has to be.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::model::action::{Action, Aftermath, Steering, Trouble};
use crate::model::proxy::{
    Backend, KeptPort, Lingering, ProxyMemory, ProxySeen, ReloadFailure, Routes, SeenServer, Server,
};
use crate::model::replica::Duty;
use crate::model::service::ServiceName;
use crate::model::time::Moment;

const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);
/// Between two looks at a server whose first health check HAProxy has not done yet.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// A server that is out of use stays in HAProxy's list while idle clients hold on to it.
const SWEEP: Duration = Duration::from_secs(5);

/// An earlier process gives up its listeners as soon as it is told to finish. One that still takes
/// connections after so long does not answer: each that it takes hangs.
const LINGER_MAX: Duration = Duration::from_secs(2);

/// So many earlier processes may finish at once: each has the memory of a whole HAProxy.
const OLD_MAX: u32 = 10;

/// A service that left the config keeps its port as long as the one that has it now has nobody to
/// serve it, as after a change of its name. `running` are addresses of containers that no service
/// of the config has. Gives who keeps a port, which, and for whom.
pub(crate) fn keep_ports(
    routes: &mut Routes,
    applied: Option<&Routes>,
    running: &BTreeSet<IpAddr>,
) -> Vec<KeptPort> {
    let mut kept: Vec<(KeptPort, Backend)> = Vec::new();
    let names: BTreeSet<ServiceName> = routes.backends.iter().map(|b| b.service.clone()).collect();
    for backend in routes.backends.iter_mut().filter(|b| b.servers.is_empty()) {
        let Some(listen) = backend.listen.clone() else { continue };
        let had_it =
            |old: &&Backend| old.listen.as_ref() == Some(&listen) && !names.contains(&old.service);
        let old = applied.and_then(|applied| applied.backends.iter().find(had_it));
        let Some(mut old) = old.cloned() else { continue };
        old.servers.retain(|server| running.contains(&server.address.ip()));
        if old.servers.is_empty() {
            continue;
        }
        old.servers.iter_mut().for_each(|server| server.draining = false);
        backend.listen = None;
        let (service, successor) = (old.service.clone(), backend.service.clone());
        kept.push((KeptPort { service, listen, successor }, old));
    }
    let (told, backends): (Vec<_>, Vec<_>) = kept.into_iter().unzip();
    routes.backends.extend(backends);
    routes.backends.sort_by(|a, b| a.service.cmp(&b.service));
    told
}

/// What is to be done now, or how long to wait with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProxyPlan {
    Nothing,
    Do(Action),
    Wait(Duration),
    /// A reload waits until some of the earlier processes have finished.
    Crowded {
        old_processes: u32,
    },
}

/// `seen` is `None` when HAProxy does not answer. Call it only while nothing is under way on it.
pub(crate) fn plan_proxy(
    now: Moment,
    routes: &Routes,
    seen: Option<&ProxySeen>,
    memory: &ProxyMemory,
    min_reload_interval: Duration,
) -> ProxyPlan {
    let plan = decide_routes(now, routes, seen, memory, min_reload_interval);
    let lingering = seen.map_or(&[][..], |seen| &seen.lingering);
    let left = |l: &Lingering| left(now, Some(l.since), LINGER_MAX);
    let over = lingering.iter().filter(|l| left(l).is_none());
    let processes: Vec<u32> = over.map(|l| l.process).collect();
    // Who must get nothing more is told first.
    let is_steering = matches!(plan, ProxyPlan::Do(Action::Steer { .. }));
    if !processes.is_empty() && !is_steering {
        return ProxyPlan::Do(Action::EndProxies { processes });
    }
    match (plan, lingering.iter().filter_map(left).min()) {
        (ProxyPlan::Nothing, Some(left)) => ProxyPlan::Wait(left),
        (ProxyPlan::Wait(wait), Some(left)) => ProxyPlan::Wait(wait.min(left)),
        (plan, _) => plan,
    }
}

fn decide_routes(
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
        // Who must get nothing more is told before anything that may take long or fail.
        let steered = steer(seen, routes);
        // What HAProxy does not take it is not expected to show.
        let agrees = loaded
            && match failure {
                Some(f) => routes.without(&f.left_out).agree(seen.in_use()),
                None => routes.agree(seen.in_use()),
            };
        if !steered.is_empty() && (agrees || !memory.is_unsteered) {
            return ProxyPlan::Do(Action::Steer { servers: steered });
        }
        if agrees && !seen.is_stale {
            return match (failure, retry_in) {
                // All but a part of it was done: the part is tried again.
                (Some(_), None) => ProxyPlan::Do(reload(routes, Some(seen))),
                (Some(_), Some(wait)) => ProxyPlan::Wait(wait),
                (None, _) => settle(now, seen, routes, memory),
            };
        }
        if !agrees && seen.is_amendable && is_amendment(routes, memory) {
            return ProxyPlan::Do(Action::Amend { routes: routes.clone() });
        }
        if OLD_MAX <= seen.old_processes {
            return ProxyPlan::Crowded { old_processes: seen.old_processes };
        }
    }
    let pause = match failure {
        Some(_) if !loaded => retry_in,
        // A process that is not there is worth no waiting.
        _ if seen.is_none() => None,
        _ => left(now, memory.reloaded_at, min_reload_interval),
    };
    match pause {
        Some(pause) => ProxyPlan::Wait(pause),
        None => ProxyPlan::Do(reload(routes, seen)),
    }
}

/// A server that is new, or that still drains from before, serves only after a reload. Until then
/// nobody who serves is told to drain by it.
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

/// Nothing but servers changes. A reload that did all but a part is to be tried again whole.
fn is_amendment(routes: &Routes, memory: &ProxyMemory) -> bool {
    memory.failure.is_none() && memory.applied.as_ref().is_some_and(|a| a.same_but_servers(routes))
}

/// All is as it should be, but for what takes its time.
fn settle(now: Moment, seen: &ProxySeen, routes: &Routes, memory: &ProxyMemory) -> ProxyPlan {
    if routes.backends.iter().any(|backend| !is_in_service(backend, seen)) {
        return ProxyPlan::Wait(LOOK_AGAIN);
    }
    if !seen.is_amendable || routes.strangers(&seen.servers).next().is_none() {
        return ProxyPlan::Nothing;
    }
    match left(now, memory.amended_at, SWEEP) {
        Some(wait) => ProxyPlan::Wait(wait),
        None => ProxyPlan::Do(Action::Amend { routes: routes.clone() }),
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

/// What running servers have to be told, each under the address that it should have.
fn steer(seen: &ProxySeen, routes: &Routes) -> Vec<Steering> {
    let mut servers = Vec::new();
    for backend in &routes.backends {
        let is_in_service = is_in_service(backend, seen);
        for server in &backend.servers {
            let Some(now) = shown(backend, server, seen) else { continue };
            let is_due = match server.duty() {
                // HAProxy takes one for healthy until it has looked.
                Duty::Ready => now.seen.is_checked,
                // Whoever goes stays until those have come that take its place, however long that
                // takes. Whoever is ill is not among them.
                Duty::Drain | Duty::Maint => is_in_service || now.seen.duty == Duty::Maint,
            };
            if now.seen.duty != server.duty() && is_due {
                servers.push(order(now, server.duty()));
            }
        }
    }
    // Its address may be another container's by now, in any service.
    let strangers = routes.strangers(&seen.servers).filter(|s| s.seen.duty != Duty::Maint);
    servers.extend(strangers.map(|stranger| order(stranger, Duty::Maint)));
    servers
}

fn order(to: &SeenServer, duty: Duty) -> Steering {
    Steering { backend: to.backend.clone(), server: to.name.clone(), duty }
}

fn shown<'a>(backend: &Backend, server: &Server, seen: &'a ProxySeen) -> Option<&'a SeenServer> {
    seen.servers.iter().find(|s| {
        s.backend == backend.service.as_str()
            && s.name == server.name
            && s.seen.address == server.address
    })
}

/// Every server that is to get requests does.
fn is_in_service(backend: &Backend, seen: &ProxySeen) -> bool {
    backend.servers.iter().filter(|server| !server.draining).all(|s| serves(backend, s, seen))
}

fn serves(backend: &Backend, server: &Server, seen: &ProxySeen) -> bool {
    shown(backend, server, seen).is_some_and(|s| s.seen.duty == Duty::Ready)
}

/// What a reload that ended leaves for the next one; `trouble` is `None` when all went well.
pub(crate) fn remember(
    now: Moment,
    routes: &Routes,
    trouble: Option<&Trouble>,
    memory: &ProxyMemory,
) -> ProxyMemory {
    let (is_applied, left_out) = match trouble.map(|trouble| &trouble.aftermath) {
        None => (true, BTreeSet::new()),
        Some(Aftermath::DoneButForThat { left_out }) => (true, left_out.clone()),
        Some(Aftermath::AsBefore | Aftermath::RolledBack) => (false, BTreeSet::new()),
    };
    let applied = is_applied.then(|| routes.clone());
    let before = memory.failure.as_ref().filter(|f| f.routes.same_file(routes));
    let count = before.map_or(0, |f| f.count).saturating_add(1);
    let failure = trouble.map(|trouble| {
        let (routes, words) = (routes.clone(), trouble.message.clone());
        ReloadFailure { routes, left_out, words, at: now, count }
    });
    ProxyMemory { applied, reloaded_at: Some(now), failure, ..ProxyMemory::default() }
}

/// The same of an amendment. What a refused one left half done, a reload puts right.
pub(crate) fn remember_amended(
    now: Moment,
    routes: &Routes,
    is_refused: bool,
    memory: &ProxyMemory,
) -> ProxyMemory {
    let applied = (!is_refused).then(|| routes.clone());
    ProxyMemory { applied, amended_at: Some(now), is_unsteered: false, ..memory.clone() }
}
