//! `load_balancer.frontends`, and the `routes` of services.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::cursor::{Node, Section};
use crate::config::host_name;
use crate::config::listens::Listens;
use crate::config::values;
use crate::model::front_door::{FrontDoor, Frontend};
use crate::model::route::{HostPattern, HttpRoute, Network, RouteTable, STRIP_SEGMENTS_MAX};
use crate::model::service::{Service, ServiceName};
use crate::model::traffic_policy::Protocol;

/// Of `hsts`.
const HSTS_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

pub(crate) const PLAIN_FILE: &str = "letters, digits, `/`, `.`, `_` and `-` only: it is part of \
                                     HAProxy's expressions";

/// `file` is the config that HAProxy reads; files of the frontends are beside it.
pub(crate) fn front_door(section: &Section, file: &Path, listens: &mut Listens) -> FrontDoor {
    let trusted_proxies = section.get("trusted_proxies").map(|n| networks(&n)).unwrap_or_default();
    let acme_webroot = values::path(section.get("acme_webroot"));
    let Some(node) = section.get("frontends") else {
        section.unused("acme_webroot", "has no effect without `frontends`");
        return FrontDoor { trusted_proxies, ..FrontDoor::default() };
    };
    let Some(all) = node.section() else { return FrontDoor::default() };
    let mut frontends: BTreeMap<&str, Frontend> = BTreeMap::new();
    let mut redirects = Vec::new();
    for (name, node) in all.entries() {
        // A duplicate was reported already.
        if frontends.contains_key(name) {
            continue;
        }
        if ServiceName::new(name).is_none() {
            node.bad_name(
                "the name of a frontend must start with a letter or digit and consist of at most \
                 63 letters, digits, `_`, `.` and `-`",
            );
            continue;
        }
        let Some(body) = node.section() else { continue };
        redirects.extend(body.get("redirect"));
        if let Some(frontend) = frontend(name, &node, body, listens) {
            frontends.insert(name, frontend);
        }
    }
    if !frontends.values().any(Frontend::is_tls) {
        for node in redirects {
            node.error("needs a frontend with `certificates` that it can redirect to");
        }
    }
    if !frontends.is_empty() && !is_plain(file) {
        node.error(format!("needs a `load_balancer.config` of {PLAIN_FILE}"));
    }
    if acme_webroot.is_some() && frontends.values().all(Frontend::is_tls) {
        section.unused("acme_webroot", "has no effect: every frontend has certificates");
    }
    let frontends = frontends.into_values().collect();
    FrontDoor { frontends, trusted_proxies, acme_webroot }
}

/// Whether a path can be part of HAProxy's expressions.
pub(crate) fn is_plain(file: &Path) -> bool {
    file.to_string_lossy().chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
}

fn frontend(name: &str, node: &Node, section: Section, listens: &mut Listens) -> Option<Frontend> {
    let listen = section.need("listen", r#"the port, or address and port, that HAProxy opens"#);
    let listen = listen.and_then(|n| listens.read(&n, &node.path));
    let redirect = section.get("redirect");
    let known = |word: &str| (word == "https").then_some(());
    let redirects = redirect.is_some_and(|n| n.word("https", known).is_some());
    let certificates = section.get("certificates").map(|n| certificates(&n)).unwrap_or_default();
    let http2 = section.get("http2").and_then(|n| n.boolean());
    let second = Duration::from_secs(1);
    let hsts = section.get("hsts").and_then(|n| n.duration(second..=HSTS_MAX));
    let default = section.get("default").and_then(|n| service_name(&n));
    if redirects {
        for key in ["certificates", "default"] {
            if let Some(node) = section.get(key) {
                node.error("cannot be used with `redirect`, which answers every request");
            }
        }
    }
    if certificates.is_empty() && !section.has("certificates") {
        for key in ["http2", "hsts"] {
            if let Some(node) = section.get(key) {
                node.error("needs `certificates`: without them the frontend serves plain HTTP");
            }
        }
    }
    section.done();
    let http2 = http2.unwrap_or(true);
    let name = name.to_owned();
    Some(Frontend { name, listen: listen?, redirects, certificates, http2, hsts, default })
}

fn service_name(node: &Node) -> Option<ServiceName> {
    ServiceName::new(&node.text()?).or_else(|| node.wrong("the name of a service"))
}

fn certificates(node: &Node) -> Vec<PathBuf> {
    let nodes = node.list().unwrap_or_default();
    if nodes.is_empty() {
        node.complain("needs at least one file or folder");
    }
    nodes.into_iter().filter_map(|node| values::path(Some(node))).collect()
}

pub(crate) fn networks(node: &Node) -> Vec<Network> {
    node.list().unwrap_or_default().iter().filter_map(network).collect()
}

/// `10.0.0.0/8`, or one address.
fn network(node: &Node) -> Option<Network> {
    let text = node.text()?;
    let (address, prefix) = text.split_once('/').map_or((&*text, None), |(a, p)| (a, Some(p)));
    let read = || {
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(most), |text| text.parse().ok())?;
        (prefix <= most).then_some(Network { address, prefix })
    };
    read().or_else(|| node.wrong(r#"a network like "10.0.0.0/8", or an address"#))
}

/// Reads routes, and knows those of the services before.
#[derive(Clone)]
pub(crate) struct RouteReader<'a> {
    door: &'a FrontDoor,
    /// Of each frontend, where each route stands.
    tables: Vec<RouteTable<String>>,
}

impl RouteReader<'_> {
    pub(crate) fn new(door: &FrontDoor) -> RouteReader<'_> {
        let tables = door.frontends.iter().map(|_| RouteTable::new()).collect();
        RouteReader { door, tables }
    }

    /// Takes the routes of a service that was read.
    pub(crate) fn take(&mut self, service: &Service, owner: &str) {
        for route in &service.routes {
            for (frontend, table) in self.door.frontends.iter().zip(&mut self.tables) {
                if frontend.has(route) {
                    table.add(route, owner.to_owned());
                }
            }
        }
    }

    /// Of one service.
    pub(crate) fn routes(&mut self, section: &Section, owner: &str) -> Vec<HttpRoute> {
        let Some(node) = section.get("routes") else { return Vec::new() };
        let nodes = node.list().unwrap_or_default();
        if self.door.frontends.is_empty() && !nodes.is_empty() {
            node.error("needs `load_balancer.frontends`, the addresses that services share");
        }
        let mut routes = Vec::new();
        for node in nodes {
            let Some(route) = node.section().and_then(|section| route(section, self.door)) else {
                continue;
            };
            self.note(&route, &node, owner);
            routes.push(route);
        }
        routes
    }

    fn note(&mut self, route: &HttpRoute, node: &Node, owner: &str) {
        for (frontend, table) in self.door.frontends.iter().zip(&mut self.tables) {
            if !frontend.has(route) {
                continue;
            }
            if let Some(other) = table.add(route, node.place(owner)) {
                let name = &frontend.name;
                node.error(format!("is the same as {other}: {route} on frontend {name}"));
            }
        }
    }
}

fn route(section: Section, door: &FrontDoor) -> Option<HttpRoute> {
    let host = section.get("host").map_or(Some(HostPattern::Any), |n| host(&n));
    let path = section.get("path").map_or(Some(String::new()), |n| path(&n));
    let frontend = section.get("frontend").map(|n| frontend_of(&n, door));
    let strip = section.get("strip_path");
    let strip_path = strip.as_ref().and_then(|n| n.boolean()).unwrap_or(false);
    section.done();
    if let Some(node) = strip.filter(|_| strip_path) {
        match path.as_deref().map(|path| path.matches('/').count()) {
            Some(0) => node.warning("has no effect on the path `/`"),
            Some(count) if STRIP_SEGMENTS_MAX < count => node.error(format!(
                "takes away at most {STRIP_SEGMENTS_MAX} segments, and the path has {count}"
            )),
            Some(_) | None => (),
        }
    }
    let frontend = match frontend {
        Some(frontend) => Some(frontend?),
        None => None,
    };
    Some(HttpRoute { host: host?, path: path?, frontend, strip_path })
}

fn host(node: &Node) -> Option<HostPattern> {
    let text = node.text()?;
    let (rest, is_wildcard) = match text.strip_prefix("*.") {
        Some(rest) => (rest, true),
        None => (&*text, false),
    };
    let Some(name) = host_name::ascii(rest) else {
        return node.wrong(
            r#"a host name without port like "shop.example", or "*.shop.example" for one label"#,
        );
    };
    Some(if is_wildcard { HostPattern::Wildcard(name) } else { HostPattern::Exact(name) })
}

/// Without the slash at its end.
fn path(node: &Node) -> Option<String> {
    let text = node.text()?;
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\'?#@;".contains(&b));
    let path = text.strip_suffix('/').unwrap_or(&text);
    let is_segment = |segment: &str| !["", ".", ".."].contains(&segment);
    let segments = path.strip_prefix('/').unwrap_or_default();
    let good = segments.is_empty() || segments.split('/').all(is_segment);
    if text.starts_with('/') && plain && good {
        return Some(path.to_owned());
    }
    node.wrong(
        "a path like \"/api\": whole segments after a `/` each, not `.` or `..`, and without \
         spaces, quotes, `\\`, `?`, `#`, `;` or `@`",
    )
}

fn frontend_of(node: &Node, door: &FrontDoor) -> Option<String> {
    let name = node.text()?;
    let Some(frontend) = door.frontends.iter().find(|f| f.name == *name) else {
        let known: Vec<&str> = door.frontends.iter().map(|f| f.name.as_str()).collect();
        // Without any, the routes as a whole were reported.
        if !known.is_empty() {
            node.error(format!("no frontend is called {name}; there are: {}", known.join(", ")));
        }
        return None;
    };
    if frontend.redirects {
        node.error(format!("{name} redirects every request, so it has no routes"));
    }
    Some(name.into_owned())
}

/// Checks that need the services. `section` is `load_balancer`.
pub(crate) fn beside<'a>(
    section: &Section,
    door: &FrontDoor,
    services: impl Iterator<Item = &'a Service>,
) {
    let services: BTreeMap<&ServiceName, Protocol> =
        services.map(|service| (&service.name, service.policy.protocol)).collect();
    let all = section.section("frontends").map(|all| all.entries()).unwrap_or_default();
    for (name, node) in all {
        let default =
            door.frontends.iter().find(|f| f.name == name).and_then(|f| f.default.as_ref());
        let Some(default) = default else { continue };
        let wrong = match services.get(default) {
            Some(Protocol::Tcp) => format!("{default} has protocol tcp, and frontends speak HTTP"),
            Some(Protocol::Http | Protocol::H2) => continue,
            None => format!("no service is called {default}"),
        };
        if let Some(node) = node.section().and_then(|section| section.get("default")) {
            node.error(wrong);
        }
    }
}
