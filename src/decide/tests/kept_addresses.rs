//! Who serves an address until the service that it belongs to can.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::decide::kept_addresses::{KeepInput, keep_addresses};
use crate::decide::tests::address;
use crate::model::bounds::Bounds;
use crate::model::front_door::{FrontDoor, Frontend};
use crate::model::proxy::{Backend, ProxySeen, Routes, SeenServer, Server};
use crate::model::replica::{AdminState, ServerCheck, ServerSeen};
use crate::model::route::{HostPattern, HttpRoute};
use crate::model::schedule::Timetable;
use crate::model::service::{ContainerSpec, Listen, Origin, Service, ServiceName};

/// Services with `;` between them: a name, then what it has. `:80` is its port, a word with a slash
/// a route (`a/api@` without its path, `a/api!b` on frontend b alone), `default` that of frontend
/// a. Numbers are servers, one with a tilde drains.
fn routes(text: &str) -> Routes {
    let frontend = |name: &str| Frontend {
        name: name.to_owned(),
        listen: Listen { address: None, port: 8000 },
        redirects: false,
        certificates: Vec::new(),
        http2: true,
        hsts: None,
        default: None,
    };
    let frontends = vec![frontend("a"), frontend("b")];
    let front_door = FrontDoor { frontends, ..FrontDoor::default() };
    let mut routes = Routes { front_door, backends: Vec::new() };
    for part in text.split(';') {
        let mut words = part.split_whitespace();
        let name = ServiceName::new(words.next().unwrap()).unwrap();
        let container = ContainerSpec::new(Origin::Image(String::new()));
        let always = Timetable::always(Bounds::exactly(1));
        let service = Service::new(name.clone(), container, 80, always);
        let mut backend = Backend::of(&service, Vec::new());
        for word in words {
            if let Some(port) = word.strip_prefix(':') {
                backend.listen = Some(Listen { address: None, port: port.parse().unwrap() });
            } else if word == "default" {
                routes.front_door.frontends[0].default = Some(name.clone());
            } else if let Some((host, rest)) = word.split_once('/') {
                backend.routes.push(route(host, rest));
            } else {
                backend.servers.push(server(word));
            }
        }
        routes.backends.push(backend);
    }
    routes
}

fn server(word: &str) -> Server {
    let number = word.trim_end_matches('~');
    let name = format!("web-{number}");
    let draining = word.ends_with('~');
    Server { name, address: address(number.parse().unwrap()), draining }
}

fn route(host: &str, rest: &str) -> HttpRoute {
    let (rest, frontend) = rest.split_once('!').unwrap_or((rest, ""));
    let strip_path = rest.ends_with('@');
    let path = rest.trim_end_matches('@');
    let path = if path.is_empty() { String::new() } else { format!("/{path}") };
    let host = match host.strip_prefix("*.") {
        Some(domain) => HostPattern::Wildcard(domain.to_owned()),
        None if host == "*" => HostPattern::Any,
        None => HostPattern::Exact(host.to_owned()),
    };
    let frontend = (!frontend.is_empty()).then(|| frontend.to_owned());
    HttpRoute { host, path, frontend, strip_path }
}

fn shown(routes: &Routes) -> String {
    let one = |b: &Backend| {
        let mut words = vec![b.service.to_string()];
        words.extend(b.listen.as_ref().map(ToString::to_string));
        words.extend(b.routes.iter().map(|r| {
            let strip = if r.strip_path { "@" } else { "" };
            let frontend = r.frontend.as_ref().map(|f| format!("!{f}")).unwrap_or_default();
            format!("{r}{strip}{frontend}")
        }));
        let is_default = routes.front_door.frontends[0].default.as_ref() == Some(&b.service);
        words.extend(is_default.then(|| "default".to_owned()));
        words.extend(b.servers.iter().map(|s| {
            format!("{}{}", s.name.trim_start_matches("web-"), if s.draining { "~" } else { "" })
        }));
        words.join(" ")
    };
    routes.backends.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// One row is `desired | applied | running | result | kept`, the last as
/// `service successor: addresses`; `active` are services that are to have
/// replicas.
#[track_caller]
fn table(active: &str, rows: &str) {
    for row in rows.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let columns: Vec<&str> = row.split('|').map(str::trim).collect();
        let [desired, applied, running, want, want_kept] = columns[..] else { panic!("{row}") };
        let applied = routes(applied);
        let running: BTreeSet<IpAddr> =
            running.split_whitespace().map(|n| address(n.parse().unwrap()).ip()).collect();
        let mut got = routes(desired);
        let keep = |routes: &mut Routes, applied: &Routes| {
            let active = active.split_whitespace().collect();
            keep_addresses(routes, &KeepInput { applied, running: &running, active, seen: None })
        };
        let kept = keep(&mut got, &applied);
        assert_eq!(shown(&got), want, "{row}");
        let words: Vec<String> = kept
            .iter()
            .map(|k| {
                let by = if k.is_orphan { "left " } else { "" };
                format!("{by}{} {}: {}", k.service, k.successor, k.addresses.join(", "))
            })
            .collect();
        assert_eq!(words.join("; "), want_kept, "{row}");
        // With what HAProxy was brought to, the answer is the same again.
        let mut again = routes(desired);
        let kept_again = keep(&mut again, &got);
        assert_eq!((shown(&again), kept_again), (shown(&got), kept), "{row}");
    }
}

#[test]
fn a_port_stays_with_who_serves_it_until_its_successor_can() {
    table(
        "new",
        "
        new :80   | old :80 1 2~ | 1 2 | new; old :80 1 2 | left old new: :80
        new :80   | old :80 1 2  | 2   | new; old :80 2   | left old new: :80
        new :80   | old :80 1 2  |     | new :80          |
        new :80   | old :80      | 1   | new :80          |
        new :80   | old :81 1    | 1   | new :80          |
        new       | old 1        | 1   | new              |
        new :80 3 | old :80 1 2  | 1 2 | new :80 3        |
        new :80   | new :80 1    | 1   | new :80          |
        ",
    );
}

#[test]
fn routes_and_a_default_stay_with_a_service_that_left_the_config() {
    table(
        "new api",
        "
        new s/      | old s/ 1             | 1   | new; old s/ 1             | left old new: s/
        new s/api@|old s/api 1|1|new; old s/api 1|left old new: s/api
        new s/; api s/api|old s/ 1|1|api; new; old s/ 1|left old new: s/; left old api: s/api
        new :80 s/  | old :80 s/ 1         | 1   | new; old :80 s/ 1         | left old new: :80, s/
        new s/ s/x|old s/ 1|1|new; old s/ 1|left old new: s/; left old new: s/x
        new s/!a    | old s/ 1             | 1   | new; old s/!a 1           | left old new: s/
        new s/!a    | old s/!b 1           | 1   | new s/!a                  |
        new default|old default 1|1|new; old default 1|left old new: the default of frontend a
        new default | old 1                | 1   | new default               |
        new s/ t/|a s/ 1; b t/ 2|1 2|a s/ 1; b t/ 2; new|left a new: s/; left b new: t/
        new s/ 3    | old s/ 1             | 1   | new s/ 3                  |
        new s/      | old s/ 1             |     | new s/                    |
        ",
    );
}

#[test]
fn a_new_route_waits_for_a_replica_where_its_requests_are_served() {
    table(
        "api web b",
        "
        api s/api; web s/ 1     | web s/ 1            |  | api; web s/ 1           | web api: s/api
        api s/api 2; web s/ 1   | web s/ 1            |  | api s/api 2; web s/ 1   |
        api s/api; web s/       | web s/ 1            |  | api s/api; web s/       |
        api s/api; web s/ 1     | api s/api; web s/ 1 |  | api s/api; web s/ 1     |
        api s/api; web t/ 1     | web s/ 1            |  | api s/api; web t/ 1     |
        api s/api; web t/ 1     | web s/api@ t/ 1     |  | api; web t/ s/api@ 1    | web api: s/api
        api s/api@; web t/ 1    | web s/api t/ 1      |  | api; web t/ s/api 1     | web api: s/api
        api s/apis; web s/api 1 | web s/api 1         |  | api s/apis; web s/api 1 |
        api a.s/; web *.s/ 1    | web *.s/ 1          |  | api; web *.s/ 1         | web api: a.s/
        api s/x; web */ 1       | web */ 1            |  | api; web */ 1           | web api: s/x
        api s/x; b s/; web */ 1 | b s/; web */ 1      |  | api s/x; b s/; web */ 1 |
        api s/x!a; web s/!b 1   | web s/!b 1          |  | api s/x!a; web s/!b 1   |
        api s/!a; web default 1 | web default 1       |  | api; web default 1      | web api: s/
        api s/; web default 1   | web default 1       |  | api s/; web default 1   |
        api s/!a; web default 1 | web 1               |  | api s/!a; web default 1 |
        api s/!a; web default   | web default 1       |  | api s/!a; web default   |
        ",
    );
    // It is not to have a replica.
    table("web", "api s/api; web s/ 1 | web s/ 1 | | api s/api; web s/ 1 |");
}

#[test]
fn a_new_route_waits_until_haproxy_sends_requests_to_a_server() {
    let desired = "api s/api 2; web s/ 1";
    for (state, want) in [
        (None, "api 2; web s/ 1"),
        (Some(AdminState::Drain), "api 2; web s/ 1"),
        (Some(AdminState::Ready), desired),
    ] {
        let servers = state.map(|admin_state| SeenServer {
            backend: "api".to_owned(),
            name: "web-2".to_owned(),
            seen: ServerSeen {
                address: address(2),
                admin_state,
                is_checked: true,
                sessions: 0,
                check: ServerCheck::default(),
            },
        });
        let servers = servers.into_iter().collect();
        let seen = ProxySeen { servers, ..ProxySeen::default() };
        let mut got = routes(desired);
        let (applied, running) = (routes("web s/ 1"), BTreeSet::new());
        let active = BTreeSet::from(["api"]);
        let seen = Some(&seen);
        let input = KeepInput { applied: &applied, running: &running, active, seen };
        keep_addresses(&mut got, &input);
        assert_eq!(shown(&got), want, "{state:?}");
    }
}
