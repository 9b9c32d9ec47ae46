//! Who serves an address whose service has no ready replica yet: the service that had it before,
//! as after a change of a service's name or when a part of a site becomes a service of its own.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::decide::proxy;
use crate::model::front_door::Frontend;
use crate::model::proxy::{Backend, KeptAddresses, ProxySeen, Routes, Server};
use crate::model::route::HttpRoute;
use crate::model::service::ServiceName;

/// What shows who can serve.
pub(crate) struct KeepInput<'a> {
    /// What HAProxy was brought to last.
    pub(crate) applied: &'a Routes,
    /// Addresses of containers that belong to no service of the config: a service that left the
    /// config serves with those.
    pub(crate) running: &'a BTreeSet<IpAddr>,
    /// Services that are to have replicas.
    pub(crate) active: BTreeSet<&'a str>,
    /// `None` when HAProxy does not answer.
    pub(crate) seen: Option<&'a ProxySeen>,
}

/// Lets each address of a service without servers stay with the service that HAProxy has at it. A
/// new route waits even until HAProxy sends requests to a server, but not for a service that is to
/// have no replica now. Returns what stays where.
pub(crate) fn keep_addresses(routes: &mut Routes, input: &KeepInput) -> Vec<KeptAddresses> {
    let KeepInput { applied, running, active, seen } = input;
    let mut left = left_services(routes, applied, running);
    let mut kept = Vec::new();
    let names = |waits: &dyn Fn(&Backend) -> bool| -> Vec<ServiceName> {
        let waiting = routes.backends.iter().filter(|backend| waits(backend));
        waiting.map(|backend| backend.service.clone()).collect()
    };
    let is_empty = names(&|backend| backend.servers.is_empty());
    let serves = |b: &Backend, s: &Server| seen.is_none_or(|seen| proxy::serves(b, s, seen));
    let is_unserved =
        names(&|b| active.contains(b.service.as_str()) && !b.servers.iter().any(|s| serves(b, s)));
    for service in &is_empty {
        for old in &mut left {
            let addresses = give(routes, service, old, applied);
            add(&mut kept, service, &old.service, true, addresses);
        }
    }
    left.retain(|old| kept.iter().any(|k| k.service == old.service));
    let orphans: BTreeSet<ServiceName> = left.iter().map(|old| old.service.clone()).collect();
    routes.backends.extend(left);
    for service in &is_unserved {
        defer_routes(routes, service, applied, &orphans, &mut kept);
    }
    routes.backends.sort_by(|a, b| a.service.cmp(&b.service));
    kept
}

fn add(
    kept: &mut Vec<KeptAddresses>,
    successor: &ServiceName,
    service: &ServiceName,
    is_orphan: bool,
    addresses: Vec<String>,
) {
    if !addresses.is_empty() {
        let (service, successor) = (service.clone(), successor.clone());
        kept.push(KeptAddresses { service, successor, is_orphan, addresses });
    }
}

/// Services that are not in the config any more and could still serve, without any address.
fn left_services(routes: &Routes, applied: &Routes, running: &BTreeSet<IpAddr>) -> Vec<Backend> {
    let is_named = |old: &&Backend| find(routes, &old.service).is_none();
    let left = applied.backends.iter().filter(is_named).map(|old| {
        let mut old = Backend { listen: None, routes: Vec::new(), ..old.clone() };
        old.servers.retain(|server| running.contains(&server.address.ip()));
        old.servers.iter_mut().for_each(|server| server.draining = false);
        old
    });
    left.filter(|old| !old.servers.is_empty()).collect()
}

/// Gives the addresses of `service` that `old` had to `old`.
fn give(
    routes: &mut Routes,
    service: &ServiceName,
    old: &mut Backend,
    applied: &Routes,
) -> Vec<String> {
    let mut given = Vec::new();
    let Some(before) = find(applied, &old.service) else { return given };
    for backend in routes.backends.iter_mut().filter(|b| b.service == *service) {
        if old.listen.is_none() && before.listen == backend.listen {
            old.listen = backend.listen.take();
            given.extend(old.listen.as_ref().map(ToString::to_string));
        }
        let mut stay = Vec::new();
        for route in std::mem::take(&mut backend.routes) {
            // Its replicas get the path that they know.
            match before.routes.iter().find(|had| is_same(had, &route)) {
                Some(had) => {
                    given.push(route.to_string());
                    old.routes.push(HttpRoute { strip_path: had.strip_path, ..route });
                }
                None => stay.push(route),
            }
        }
        backend.routes = stay;
    }
    for frontend in &mut routes.front_door.frontends {
        let was = default_of(applied, &frontend.name);
        if frontend.default.as_ref() == Some(service) && was == Some(&old.service) {
            frontend.default = Some(old.service.clone());
            given.push(format!("the default of frontend {}", frontend.name));
        }
    }
    given
}

/// A new route of a service without servers waits where its requests went to a service of the
/// config that still serves them.
fn defer_routes(
    routes: &mut Routes,
    service: &ServiceName,
    applied: &Routes,
    orphans: &BTreeSet<ServiceName>,
    kept: &mut Vec<KeptAddresses>,
) {
    let new = |route: &&HttpRoute| {
        find(applied, service).is_none_or(|b| !b.routes.iter().any(|a| is_same(a, route)))
    };
    let own = find(routes, service).map_or(&[][..], |b| &b.routes);
    let own: Vec<HttpRoute> = own.iter().filter(new).cloned().collect();
    for route in own {
        let Some(former) = former(routes, applied, service, &route) else { continue };
        let address = vec![route.to_string()];
        let (by, moved) = match former {
            Former::Moved(by, strip_path) => (by, Some(HttpRoute { strip_path, ..route.clone() })),
            Former::Covered(by) => (by, None),
        };
        for backend in &mut routes.backends {
            if backend.service == *service {
                backend.routes.retain(|r| *r != route);
            } else if backend.service == by {
                backend.routes.extend(moved.clone());
            }
        }
        add(kept, service, &by, orphans.contains(&by), address);
    }
}

enum Former {
    /// It had the same route, and has it no more; with or without `strip_path`.
    Moved(ServiceName, bool),
    /// It gets these requests as soon as there is no such route.
    Covered(ServiceName),
}

/// The service that serves the requests of a route while `service` cannot.
fn former(
    routes: &Routes,
    applied: &Routes,
    service: &ServiceName,
    route: &HttpRoute,
) -> Option<Former> {
    let serves = |name: &ServiceName| {
        name != service && find(routes, name).is_some_and(|b| !b.servers.is_empty())
    };
    let all = applied.backends.iter().flat_map(|b| b.routes.iter().map(move |r| (&b.service, r)));
    // The last is the one that HAProxy takes: the most exact host, then the longest path.
    let rank = |r: &HttpRoute| (Reverse(r.host.clone()), r.path.len());
    let covers = all.filter(|(_, r)| share_frontend(r, route) && r.covers(route));
    if let Some((name, old)) = covers.max_by_key(|(_, r)| rank(r)) {
        if !serves(name) {
            return None;
        }
        if old.key() == route.key() {
            return Some(Former::Moved(name.clone(), old.strip_path));
        }
        let still = find(routes, name).is_some_and(|b| b.routes.contains(old));
        return still.then(|| Former::Covered(name.clone()));
    }
    let mut frontends = routes.front_door.frontends.iter().filter(|f| f.has(route)).peekable();
    let default = frontends.peek()?.default.clone().filter(serves)?;
    let had = |f: &Frontend| {
        f.default.as_ref() == Some(&default) && default_of(applied, &f.name) == Some(&default)
    };
    frontends.all(had).then_some(Former::Covered(default))
}

fn find<'a>(routes: &'a Routes, service: &ServiceName) -> Option<&'a Backend> {
    routes.backends.iter().find(|b| b.service == *service)
}

fn default_of<'a>(routes: &'a Routes, frontend: &str) -> Option<&'a ServiceName> {
    let frontend = routes.front_door.frontends.iter().find(|f| f.name == frontend)?;
    frontend.default.as_ref()
}

fn is_same(a: &HttpRoute, b: &HttpRoute) -> bool {
    a.key() == b.key() && share_frontend(a, b)
}

fn share_frontend(a: &HttpRoute, b: &HttpRoute) -> bool {
    a.frontend.is_none() || b.frontend.is_none() || a.frontend == b.frontend
}
