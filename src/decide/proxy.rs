//! When HAProxy is reloaded, and when it is only told who drains.

use std::time::Duration;

use crate::model::action::{Action, Aftermath, Steering};
use crate::model::proxy::{ProxyMemory, ProxySeen, ReloadFailure, Routes};
use crate::model::time::Moment;

const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);

/// What is to be done now, or how long to wait with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProxyPlan {
    Nothing,
    Do(Action),
    Wait(Duration),
}

/// `seen` is `None` when HAProxy does not answer. Call it only while nothing is under way on it.
pub(crate) fn decide(
    now: Moment,
    routes: &Routes,
    seen: Option<&ProxySeen>,
    memory: &ProxyMemory,
    min_reload_interval: Duration,
) -> ProxyPlan {
    let agrees = seen.is_some_and(|s| routes.agree(&s.servers));
    let loaded = memory.applied.as_ref().is_some_and(|a| a.same_file(routes));
    let failure = memory.failure.as_ref().filter(|f| f.routes.same_file(routes));
    let retry_in = failure.and_then(|f| left(now, Some(f.at), retry_after(f)));
    if let Some(seen) = seen.filter(|_| agrees && loaded) {
        return match (steer(seen, routes), failure, retry_in) {
            // All but a part of it was done: the part is tried again, meanwhile the rest goes on.
            (_, Some(_), None) => ProxyPlan::Do(Action::Reload { routes: routes.clone() }),
            (ProxyPlan::Nothing, Some(_), Some(wait)) => ProxyPlan::Wait(wait),
            (steered, _, _) => steered,
        };
    }
    let pause = match failure {
        Some(_) if !loaded => retry_in,
        // A process that is not there is worth no waiting.
        _ if seen.is_none() => None,
        _ => left(now, memory.reloaded_at, min_reload_interval),
    };
    match pause {
        Some(pause) => ProxyPlan::Wait(pause),
        None => ProxyPlan::Do(Action::Reload { routes: routes.clone() }),
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

fn steer(seen: &ProxySeen, routes: &Routes) -> ProxyPlan {
    let mut servers = Vec::new();
    for backend in &routes.backends {
        for server in &backend.servers {
            let now = seen.server(backend.service.as_str(), &server.name);
            if now.is_some_and(|s| s.draining != server.draining) {
                servers.push(Steering {
                    backend: backend.service.as_str().to_owned(),
                    server: server.name.clone(),
                    draining: server.draining,
                });
            }
        }
    }
    if servers.is_empty() { ProxyPlan::Nothing } else { ProxyPlan::Do(Action::Steer { servers }) }
}

/// What a reload that ended leaves for the next one; `trouble` is `None` when all went well.
pub(crate) fn remember(
    now: Moment,
    routes: &Routes,
    trouble: Option<Aftermath>,
    memory: &ProxyMemory,
) -> ProxyMemory {
    let applied = match trouble {
        None | Some(Aftermath::DoneButForThat) => Some(routes.clone()),
        Some(Aftermath::AsBefore | Aftermath::RolledBack) => None,
    };
    let before = memory.failure.as_ref().filter(|f| f.routes.same_file(routes));
    let count = before.map_or(0, |f| f.count).saturating_add(1);
    let failure = trouble.map(|_| ReloadFailure { routes: routes.clone(), at: now, count });
    ProxyMemory { applied, reloaded_at: Some(now), failure }
}
