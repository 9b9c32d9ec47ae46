//! Which request of a shared frontend goes to which service.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// Segments that `strip_path` takes away at most.
pub(crate) const STRIP_SEGMENTS_MAX: usize = 8;

/// The hosts that a route is for. In the order in which they are tried.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HostPattern {
    /// In lower case and as punycode.
    Exact(String),
    /// Exactly one label before this name, which has no `*.`.
    Wildcard(String),
    Any,
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(name) => f.write_str(name),
            HostPattern::Wildcard(name) => write!(f, "*.{name}"),
            HostPattern::Any => f.write_str("*"),
        }
    }
}

/// Requests that a service gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpRoute {
    pub(crate) host: HostPattern,
    /// A prefix of whole segments, without a slash at its end: empty is every path.
    pub(crate) path: String,
    /// `None`: every frontend that does not redirect.
    pub(crate) frontend: Option<String>,
    /// The replica gets the path without the prefix.
    pub(crate) strip_path: bool,
}

impl fmt::Display for HttpRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        write!(f, "{}{path}", self.host)
    }
}

impl HttpRoute {
    /// What is compared with a request: host, path and a slash. It has no spaces.
    pub(crate) fn key(&self) -> String {
        format!("{}{}/", self.host, self.path)
    }

    /// Whether it would take all requests of the other one.
    pub(crate) fn covers(&self, other: &HttpRoute) -> bool {
        let has_host = match (&self.host, &other.host) {
            (HostPattern::Any, _) => true,
            (HostPattern::Wildcard(domain), HostPattern::Exact(name)) => {
                name.split_once('.').is_some_and(|(_, rest)| rest == domain)
            }
            (own, its) => own == its,
        };
        has_host && format!("{}/", other.path).starts_with(&format!("{}/", self.path))
    }

    /// Segments of the path that the replica does not get.
    pub(crate) fn stripped(&self) -> usize {
        if self.strip_path { self.path.matches('/').count() } else { 0 }
    }
}

/// A network, as in `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) address: IpAddr,
    pub(crate) prefix: u8,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The routes of one frontend by their keys, as HAProxy has them.
#[derive(Clone, Debug)]
pub(crate) struct RouteTable<T> {
    routes: BTreeMap<String, T>,
}

impl<T> RouteTable<T> {
    pub(crate) fn new() -> RouteTable<T> {
        RouteTable { routes: BTreeMap::new() }
    }

    /// A second route with the same key is given back.
    pub(crate) fn add(&mut self, route: &HttpRoute, target: T) -> Option<T> {
        self.routes.insert(route.key(), target)
    }

    /// By key: the host, then the path, then `/`.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.routes.iter().map(|(key, target)| (key.as_str(), target))
    }

    /// The route of a request: the exact host before the wildcard before any host, and of these the
    /// longest path. `host` may have a port, `path` has no query.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<&T> {
        let host = plain_host(host);
        let wildcard = host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let hosts = [Some(host), wildcard, Some("*".to_owned())];
        hosts.into_iter().flatten().find_map(|host| self.longest(&host, path))
    }

    fn longest(&self, host: &str, path: &str) -> Option<&T> {
        let asked = format!("{host}{path}/");
        // A key ends in a slash, and the first one is the end of the host.
        let ends = asked.match_indices('/').map(|(at, _)| at + 1);
        let ends: Vec<usize> = ends.collect();
        ends.iter().rev().find_map(|end| self.routes.get(&asked[..*end]))
    }
}

/// A `Host` header as routes have it: in lower case, without port and without a dot at its end.
fn plain_host(host: &str) -> String {
    let name = host.split(':').next().unwrap_or_default();
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use crate::model::route::{HostPattern, HttpRoute, RouteTable};

    fn route(host: &str, path: &str) -> HttpRoute {
        let host = match host.strip_prefix("*.") {
            Some(rest) => HostPattern::Wildcard(rest.to_owned()),
            None if host == "*" => HostPattern::Any,
            None => HostPattern::Exact(host.to_owned()),
        };
        HttpRoute { host, path: path.to_owned(), frontend: None, strip_path: true }
    }

    #[test]
    fn the_exact_host_goes_before_the_wildcard_and_the_longer_path_before_the_shorter() {
        let mut table = RouteTable::new();
        for (host, path) in [
            ("shop.example", ""),
            ("shop.example", "/api"),
            ("shop.example", "/api/v1"),
            ("*.shop.example", "/api"),
            ("eu.shop.example", "/docs"),
            ("*", "/up"),
        ] {
            assert_eq!(table.add(&route(host, path), (host, path)), None);
        }
        for (host, path, want) in [
            ("shop.example", "/", Some(("shop.example", ""))),
            ("SHOP.example.:8443", "/x", Some(("shop.example", ""))),
            ("shop.example", "/api", Some(("shop.example", "/api"))),
            ("shop.example", "/api/", Some(("shop.example", "/api"))),
            ("shop.example", "/apis", Some(("shop.example", ""))),
            ("shop.example", "/api/v1/x", Some(("shop.example", "/api/v1"))),
            ("shop.example", "/api/v10", Some(("shop.example", "/api"))),
            ("shop.example", "/API", Some(("shop.example", ""))),
            ("eu.shop.example", "/docs/x", Some(("eu.shop.example", "/docs"))),
            // The exact host has no route for it.
            ("eu.shop.example", "/api/x", Some(("*.shop.example", "/api"))),
            ("a.eu.shop.example", "/api", None),
            ("shop.example", "/up", Some(("shop.example", ""))),
            ("other.example", "/up/", Some(("*", "/up"))),
            ("", "/up", Some(("*", "/up"))),
            ("other.example", "/", None),
        ] {
            assert_eq!(table.find(host, path).copied(), want, "{host} {path}");
        }
    }

    #[test]
    fn as_many_segments_are_taken_away_as_the_route_has() {
        for (path, want) in [("", 0), ("/api", 1), ("/api/v1", 2)] {
            assert_eq!(route("a", path).stripped(), want);
        }
        assert_eq!(HttpRoute { strip_path: false, ..route("a", "/api") }.stripped(), 0);
    }

    #[test]
    fn a_route_covers_what_it_would_take() {
        for (own, its, want) in [
            (("a.b", ""), ("a.b", "/api"), true),
            (("a.b", "/api"), ("a.b", "/api"), true),
            (("a.b", "/api"), ("a.b", "/apis"), false),
            (("a.b", "/api"), ("a.b", ""), false),
            (("a.b", ""), ("c.b", ""), false),
            (("*.b", ""), ("a.b", "/x"), true),
            (("*.b", ""), ("*.b", "/x"), true),
            (("*.b", ""), ("b", ""), false),
            (("*.b", ""), ("c.a.b", ""), false),
            (("a.b", ""), ("*.b", ""), false),
            (("*", "/x"), ("*.b", "/x/y"), true),
            (("*.b", ""), ("*", ""), false),
        ] {
            assert_eq!(route(own.0, own.1).covers(&route(its.0, its.1)), want, "{own:?} {its:?}");
        }
    }

    /// Of the routes that match, compared part by part: exact before wildcard before any, then the
    /// one with the most segments.
    fn by_parts(routes: &[(&str, &str)], host: &str, path: &str) -> Option<usize> {
        let labels: Vec<&str> = host.split('.').collect();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let rank = |route: &str| match route.strip_prefix("*.") {
            Some(rest) => {
                let rest: Vec<&str> = rest.split('.').collect();
                (labels[1..] == rest[..]).then_some(1)
            }
            None if route == "*" => Some(0),
            None => (route.split('.').collect::<Vec<_>>() == labels).then_some(2),
        };
        let matches = |(at, (route, prefix)): (usize, &(&str, &str))| {
            let prefix: Vec<&str> = prefix.split('/').skip(1).collect();
            let has_prefix = segments.len() >= prefix.len() && segments[..prefix.len()] == prefix;
            Some((rank(route).filter(|_| has_prefix)?, prefix.len(), at))
        };
        routes.iter().enumerate().filter_map(matches).max().map(|(_, _, at)| at)
    }

    #[test]
    fn a_hundred_thousand_tables_agree_with_a_matcher_of_another_kind() {
        const HOSTS: [&str; 7] = ["a", "a.b", "*.b", "b.a.b", "*.a.b", "*.c", "*"];
        const PATHS: [&str; 7] = ["", "/a", "/a/b", "/ab", "/a/b/c", "/b", "/a/a"];
        const ASKED_HOSTS: [&str; 8] = ["a", "a.b", "c.b", "b.a.b", "c.a.b", "b", "a.a.a.b", "x.c"];
        const ASKED_PATHS: [&str; 9] =
            ["/", "/a", "/a/", "/ab", "/a/b", "/a/b/c/d", "/a//b", "/abc", "/b/a"];
        let mut state: u64 = 1;
        let mut below = |limit: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(state >> 33).unwrap() % limit
        };
        let mut matched = 0;
        for _ in 0..100_000 {
            let mut table = RouteTable::new();
            let mut routes: Vec<(&str, &str)> = Vec::new();
            for _ in 0..below(8) {
                let one = (HOSTS[below(HOSTS.len())], PATHS[below(PATHS.len())]);
                if !routes.contains(&one) {
                    assert_eq!(table.add(&route(one.0, one.1), routes.len()), None);
                    routes.push(one);
                }
            }
            let host = ASKED_HOSTS[below(ASKED_HOSTS.len())];
            let path = ASKED_PATHS[below(ASKED_PATHS.len())];
            let got = table.find(host, path).copied();
            assert_eq!(got, by_parts(&routes, host, path), "{host}{path} in {routes:?}");
            matched += usize::from(got.is_some());
        }
        assert!(20_000 < matched, "{matched}");
    }
}
