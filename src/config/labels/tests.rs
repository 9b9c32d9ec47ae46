//! Labels beside the file, a row for each side of each rule.

use crate::config::labels::{Resolution, resolve};
use crate::config::parse;
use crate::model::bounds::Bounds;
use crate::model::config::Config;
use crate::model::health::HealthKind;
use crate::model::label_set::{ContainerFacts, LabelOutcome, LabelSet};
use crate::model::metric::{Milli, Source};
use crate::model::schedule::Outside;
use crate::model::service::Service;

/// `service` is PROJECT/SERVICE.
pub(super) fn set(service: &str, labels: &[(&str, &str)]) -> LabelSet {
    let (project, name) = service.split_once('/').unwrap();
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    LabelSet {
        project: project.to_owned(),
        service: name.to_owned(),
        container: format!("{project}-{name}-1"),
        created: 1,
        labels: labels.collect(),
        is_cut: false,
        facts: Some(ContainerFacts { ports: Vec::new(), has_health_check: false, replicas: 1 }),
    }
}

pub(super) fn file(text: &str) -> Config {
    let loaded = parse("config.json", text);
    loaded.config.unwrap_or_else(|| panic!("{:?}\n{text}", loaded.problems))
}

fn empty() -> Config {
    file(r#"{"services": {}}"#)
}

pub(super) fn problems(resolution: &Resolution) -> Vec<String> {
    resolution.verdicts.iter().flat_map(|verdict| verdict.errors.clone()).collect()
}

/// The one service that these labels configure.
#[track_caller]
fn service(set: &LabelSet) -> Service {
    let resolution = resolve(&empty(), std::slice::from_ref(set), &[]);
    let services = resolution.config.services.values();
    let [service] = &services.collect::<Vec<_>>()[..] else {
        panic!("{:?}", problems(&resolution))
    };
    Service::clone(service)
}

#[track_caller]
fn check_bad(labels: &[(&str, &str)], want: &[&str]) {
    let base = [("port", "80"), ("max", "3")];
    let labels: Vec<_> = base.into_iter().chain(labels.iter().copied()).collect();
    let resolution = resolve(&empty(), &[set("shop/web", &labels)], &[]);
    assert_eq!(problems(&resolution), want);
    assert!(resolution.config.services.is_empty() && resolution.good.is_empty());
}

#[test]
fn three_labels_are_enough() {
    let web = service(&set("shop/web", &[("port", "80"), ("host", "a.example"), ("max", "6")]));
    assert_eq!(web.name.as_str(), "shop-web");
    assert_eq!(web.container.origin.to_string(), "compose shop/web");
    assert_eq!((web.port, web.timetable.bounds), (80, Bounds::new(1, 6).unwrap()));
    let routes: Vec<String> = web.routes.iter().map(ToString::to_string).collect();
    assert_eq!(routes, ["a.example/"]);
    let metrics: Vec<_> = web.metrics.iter().map(|m| (m.source.clone(), m.target)).collect();
    assert_eq!(metrics, [(Source::Cpu, Milli(70_000))]);
    assert!(matches!(web.health.kind, HealthKind::Http(check) if check.path == "/"));
    assert_eq!((web.band, web.behavior), (None, None));
}

#[test]
fn what_labels_do_not_say_is_taken_from_the_container() {
    let least = [("port", "80"), ("max", "6")];
    let with = |facts: ContainerFacts, labels: &[(&str, &str)]| {
        service(&LabelSet { facts: Some(facts), ..set("shop/web", labels) })
    };
    let facts = || ContainerFacts { ports: vec![8080], has_health_check: false, replicas: 1 };
    let of_one = with(facts(), &[("max", "6")]);
    assert_eq!((of_one.port, &of_one.health.kind), (8080, &HealthKind::Tcp));
    assert_eq!(with(facts(), &least).port, 80);
    let checked = || ContainerFacts { has_health_check: true, ..facts() };
    assert_eq!(with(checked(), &[("max", "6"), ("host", "a")]).health.kind, HealthKind::Docker);
    let own = [("max", "6"), ("health_check.path", "/up")];
    assert!(matches!(with(checked(), &own).health.kind, HealthKind::Http(_)));
    for (replicas, want) in [(0, 1), (1, 1), (2, 2), (6, 6), (7, 6)] {
        let web = with(ContainerFacts { replicas, ..facts() }, &[("max", "6")]);
        assert_eq!(web.timetable.bounds.min(), want, "{replicas}");
    }
    let two = ContainerFacts { ports: vec![80, 443], ..facts() };
    let both = LabelSet { facts: Some(two), ..set("shop/web", &[("max", "6")]) };
    let resolution = resolve(&empty(), &[both], &[]);
    let want = [
        "container shop-web-1: exposes the ports 80, 443: say which",
        "container shop-web-1: `plimsoll.port` is missing: the port that a replica listens on in \
         its container",
    ];
    assert_eq!(problems(&resolution), want);
}

#[test]
fn short_forms() {
    let web = service(&set(
        "shop/web",
        &[
            ("port", "80"),
            ("min", "2"),
            ("max", "5"),
            ("cpu", "60.5"),
            ("metrics.0.source", "haproxy"),
            ("metrics.0.field", "queue"),
            ("metrics.0.target", "3"),
            ("host", "a.example, *.b.example"),
            ("path", "/api"),
            ("routes.0.host", "c.example"),
            ("hours", "sat-mon,wed 08:00-18:30 Europe/Berlin"),
            ("outside_hours", "min"),
        ],
    ));
    assert_eq!(web.timetable.bounds, Bounds::new(2, 5).unwrap());
    let metrics: Vec<_> = web.metrics.iter().map(|m| (m.source.to_string(), m.target.0)).collect();
    assert_eq!(metrics, [("haproxy queue".to_owned(), 3000), ("cpu".to_owned(), 60_500)]);
    let routes: Vec<String> = web.routes.iter().map(ToString::to_string).collect();
    assert_eq!(routes, ["c.example/", "a.example/api", "*.b.example/api"]);
    let hours = web.timetable.hours.unwrap();
    assert_eq!(hours.outside, Outside::Count(2));
    let window = file(
        r#"{"autoscaler": {"business_hours": {"days": ["sat", "sun", "mon", "wed"],
            "start": "08:00", "end": "18:30", "timezone": "Europe/Berlin"}}, "services": {}}"#,
    );
    assert_eq!(Some(hours.window), window.business_hours);
    for (text, is_good) in [
        ("08:00-18:00", true),
        ("mon 08:00-18:00", true),
        ("08:00-18:00 UTC", true),
        ("mon", false),
        ("", false),
        ("mon 08:00", false),
        ("mon 08:00-18:00 UTC x", false),
        ("mon 08:00-18:00 Nowhere", false),
        ("mun 08:00-18:00", false),
        ("mon-fra 08:00-18:00", false),
    ] {
        let labels = [("port", "80"), ("max", "5"), ("hours", text)];
        let resolution = resolve(&empty(), &[set("a/b", &labels)], &[]);
        assert_eq!(resolution.config.services.len() == 1, is_good, "{text}");
    }
}

#[test]
fn a_mistake_names_container_and_label() {
    let place = "container shop-web-1, label plimsoll";
    for (label, value, want) in [
        ("prot", "80", "prot: unknown key; did you mean `port`?"),
        ("min", "two", "min: must be a whole number from 0 to 1000, got \"two\""),
        (
            "min",
            "\"2\"",
            "min: must be a whole number from 0 to 1000, got \"\"2\"\"; the quotes are a part of \
             the value: put them around the whole of a list's entry, or leave them out",
        ),
        ("max_replicas", "3", "max: sets the same key as label plimsoll.max_replicas; remove one"),
        ("cooldown_period.up.x", "3", "cooldown_period.up: must be a duration"),
        ("enable", "yes", "enable: must be true or false, got \"yes\""),
        (
            "enable",
            "'false'",
            "enable: must be true or false, got \"'false'\"; the quotes are a part",
        ),
        ("name", "a b", "name: a service cannot be called \"a b\""),
        ("schedules.0.days", "mon,tux", "schedules.0.days: must be one of mon, tue"),
        ("routes.first.host", "a", "routes: must be a list: number its elements from 0"),
        ("engine", "swarm", "engine: labels cannot scale a service of Swarm"),
        ("swarm_service", "s", "swarm_service: labels cannot scale a service of Swarm"),
        ("compose.service", "b", "compose.service: sets the same key as what docker compose says"),
        ("image", "b", "image: the compose file has the image"),
        ("environment.A", "b", "environment: cannot be used with `compose`"),
        ("host", "a,a", "host: is the same as container shop-web-1, label plimsoll.host: a/ on"),
        ("config", "{\n  \"port\": \"x\" }", ""),
        ("a.b.c.d.e.f.g.h.i.j.k", "1", "a.b.c.d.e.f.g.h.i.j.k: has more than 10 parts"),
    ] {
        let base = [("port", "80"), ("max", "3"), (label, value)];
        let resolution = resolve(&empty(), &[set("shop/web", &base)], &[]);
        let found = problems(&resolution);
        let want = format!("{place}.{want}");
        // What the label `port` says goes before `config`.
        let is_found = found.iter().any(|problem| problem.starts_with(&want));
        assert_eq!(is_found, label != "config", "{found:?} lacks {want}");
    }
    check_bad(
        &[("config", "{ \"retry\":\n  5 }")],
        &["container shop-web-1, label plimsoll.config:2:3: services.shop-web.retry: must be a \
           text in double quotes, got 5"],
    );
    check_bad(
        &[("config", "{ \"engine\": \"docker\" }")],
        &["container shop-web-1, label plimsoll.config:1:3: labels cannot scale a service of \
             Swarm; write it into the config file"],
    );
    check_bad(
        &[("config", "[1]")],
        &["container shop-web-1, label plimsoll.config:1:1: must be one object, { ... }"],
    );
}

#[test]
fn labels_bring_out_nothing_that_the_daemon_alone_may_read() {
    check_bad(
        &[("health_check.headers.X.file", "/etc/hostname")],
        &["container shop-web-1, label plimsoll.health_check.headers.X.file: labels cannot name \
           files of the host; write this service into the config file"],
    );
    let web = service(&set(
        "shop/web",
        &[("port", "80"), ("max", "3"), ("health_check.headers.X", "${PATH}")],
    ));
    let HealthKind::Http(check) = web.health.kind else { panic!("{:?}", web.health) };
    assert_eq!(check.headers[0].1.expose(), "${PATH}");
}

#[test]
fn a_flood_of_labels_is_refused_in_a_few_lines() {
    let many: Vec<(String, String)> =
        (0..5000).map(|i| (format!("k{i}.x"), "v".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let resolution = resolve(&empty(), &[set("a/b", &many)], &[]);
    let found = problems(&resolution);
    assert_eq!(found.len(), 21);
    assert_eq!(found[20], "container a-b-1: and 4982 more problems");
    let cut = LabelSet { is_cut: true, ..set("a/b", &[("port", "80"), ("max", "2")]) };
    assert_eq!(
        problems(&resolve(&empty(), &[cut], &[])),
        ["container a-b-1: has more than 64 KiB of plimsoll.* labels, the limit"]
    );
}

#[test]
fn a_bad_set_leaves_the_last_good_one_in_force_and_others_alone() {
    let good = set("shop/web", &[("port", "80"), ("max", "3"), ("host", "a.example")]);
    let other = set("shop/api", &[("port", "81"), ("max", "3"), ("host", "b.example")]);
    let bad = set("shop/web", &[("port", "80"), ("max", "none"), ("host", "a.example")]);
    let first = resolve(&empty(), &[other.clone(), good.clone()], &[]);
    assert_eq!(first.good.len(), 2);
    let second = resolve(&empty(), &[other.clone(), bad.clone()], &first.good);
    assert_eq!(second.config, first.config);
    assert_eq!(second.good, first.good);
    let outcomes: Vec<_> = second.verdicts.iter().map(|v| (v.name.as_str(), v.outcome)).collect();
    let want = [("shop-api", LabelOutcome::Applied), ("shop-web", LabelOutcome::LastGood)];
    assert_eq!(outcomes, want);
    // Without an earlier one there is no service.
    let alone = resolve(&empty(), &[other, bad], &[]);
    assert_eq!(alone.config.services.len(), 1);
    assert_eq!(alone.verdicts[1].outcome, LabelOutcome::Rejected);
}

/// Each row: the sets before, those now, and the hosts of each service with its outcome.
#[test]
fn of_two_that_want_the_same_the_one_that_has_it_keeps_it() {
    let set = |name: &str, host: &str, created: u64| LabelSet {
        created,
        ..set(&format!("p/{name}"), &[("port", "80"), ("max", "3"), ("host", host)])
    };
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a [(&'a str, &'a str, u64)], &'a str);
    let rows: [Row; 7] = [
        // The older container comes first.
        (&[], &[("a", "x", 2), ("b", "x", 1)], "b:x a!"),
        (&[], &[("a", "x", 1), ("b", "x", 1)], "a:x b!"),
        // Who has it keeps it, however old the other is.
        (&[("a", "x")], &[("a", "x", 9), ("b", "x", 1)], "a:x b!"),
        (&[("a", "x"), ("b", "y")], &[("a", "x", 1), ("b", "x", 2)], "a:x b:y!"),
        // Two change places at once.
        (&[("a", "x"), ("b", "y")], &[("a", "y", 1), ("b", "x", 2)], "a:y b:x"),
        // One is refused, so that the other cannot have what it keeps.
        (
            &[("a", "x"), ("b", "y"), ("c", "z")],
            &[("a", "z", 1), ("b", "x", 2), ("c", "z", 3)],
            "c:z a:x! b:y!",
        ),
        (&[("a", "x")], &[("b", "x", 2)], "b:x"),
    ];
    for (before, now, want) in rows {
        let before: Vec<LabelSet> = before.iter().map(|(name, host)| set(name, host, 0)).collect();
        let before = resolve(&empty(), &before, &[]);
        let now: Vec<LabelSet> =
            now.iter().map(|(n, host, created)| set(n, host, *created)).collect();
        let resolution = resolve(&empty(), &now, &before.good);
        let shown: Vec<String> = resolution
            .verdicts
            .iter()
            .map(|verdict| {
                let services = resolution.config.services.values();
                let service = services.filter(|s| s.name.as_str() == verdict.name);
                let route = service.flat_map(|s| &s.routes).map(|route| format!(":{route}"));
                let route: String = route.collect();
                let mark = if verdict.errors.is_empty() { "" } else { "!" };
                format!("{}{}{mark}", &verdict.name[2..], route.trim_end_matches('/'))
            })
            .collect();
        let mut shown = shown;
        let mut want: Vec<&str> = want.split(' ').collect();
        shown.sort();
        want.sort_unstable();
        assert_eq!(shown, want, "{:?}", problems(&resolution));
    }
}

/// A newcomer that wants what another one has does not keep that one from changing.
#[test]
fn who_has_a_route_may_change_all_else_while_others_want_it() {
    let web = |name: &str, max: &str, created: u64| LabelSet {
        created,
        ..set(&format!("p/{name}"), &[("port", "80"), ("max", max), ("host", "x")])
    };
    let before = resolve(&empty(), &[web("a", "3", 1)], &[]);
    let both = resolve(&empty(), &[web("a", "3", 1), web("b", "3", 2)], &before.good);
    // The container that compose made anew is the younger one.
    let after = resolve(&empty(), &[web("a", "4", 9), web("b", "3", 2)], &both.good);
    let most: Vec<(&str, u32)> = after
        .config
        .services
        .values()
        .map(|service| (service.name.as_str(), service.timetable.bounds.max()))
        .collect();
    assert_eq!(most, [("p-a", 4)]);
    assert!(problems(&after)[0].starts_with("container p-b-1, label plimsoll.host: is the same"));
}

#[test]
fn the_last_good_set_is_remembered_while_the_file_is_in_its_way() {
    let good = set("shop/web", &[("port", "80"), ("max", "3"), ("listen", "81")]);
    let bad = set("shop/web", &[("port", "80"), ("max", "many")]);
    let first = resolve(&empty(), &[good], &[]);
    for text in [
        r#"{"services": {"shop-web": {"image": "a", "port": 80, "max_replicas": 1}}}"#,
        r#"{"services": {"old": {"image": "a", "port": 80, "max_replicas": 1, "listen": 81}}}"#,
    ] {
        let beside = resolve(&file(text), std::slice::from_ref(&bad), &first.good);
        assert_eq!(beside.config, file(text), "{text}");
        let undone = resolve(&empty(), std::slice::from_ref(&bad), &beside.good);
        assert_eq!(undone.config, first.config, "{text}");
    }
    // Nobody remembers a service that is no more.
    assert!(resolve(&empty(), &[], &first.good).good.is_empty());
}

#[test]
fn the_file_outranks_labels() {
    let config = file(
        r#"{"services": {
            "web": {"compose": {"project": "shop", "service": "front"}, "port": 80,
                "max_replicas": 1},
            "shop-api": {"image": "a", "port": 80, "max_replicas": 1, "listen": 81}}}"#,
    );
    let labels = [("port", "80"), ("max", "3")];
    let listens = [("port", "80"), ("max", "3"), ("listen", "81")];
    let sets = [set("shop/front", &labels), set("shop/api", &labels), set("shop/new", &listens)];
    let resolution = resolve(&config, &sets, &[]);
    assert_eq!(resolution.config, config);
    let warned: Vec<&String> = resolution.verdicts.iter().flat_map(|v| &v.warnings).collect();
    let want = [
        "container shop-front-1: its labels are ignored: the config file has services.web; remove \
         one of the two",
        "container shop-api-1: its labels are ignored: another service of the config file is \
         called shop-api; set plimsoll.name",
    ];
    assert_eq!(warned, want);
    assert_eq!(
        problems(&resolution),
        ["container shop-new-1, label plimsoll.listen: :81 is already used by services.shop-api"]
    );
}

#[test]
fn the_default_frontend_opens_with_the_first_route() {
    let plain = set("a/b", &[("port", "80"), ("max", "3"), ("listen", "8080")]);
    let routed = set("a/c", &[("port", "80"), ("max", "3"), ("host", "x")]);
    let on_80 = set("a/d", &[("port", "80"), ("max", "3"), ("listen", "80")]);
    let ports = |sets: &[LabelSet]| {
        let resolution = resolve(&empty(), sets, &[]);
        let frontends = &resolution.config.front_door.frontends;
        (frontends.iter().map(|f| f.listen.port).collect::<Vec<_>>(), problems(&resolution))
    };
    assert_eq!(ports(std::slice::from_ref(&plain)), (vec![], vec![]));
    assert_eq!(ports(&[plain, routed.clone()]), (vec![80], vec![]));
    let (open, problems) = ports(&[routed, on_80.clone()]);
    assert_eq!(open, [80]);
    assert_eq!(
        problems,
        ["container a-d-1, label plimsoll.listen: :80 is already used by the default frontend"]
    );
    assert_eq!(ports(&[on_80]), (vec![], vec![]));
    let own =
        file(r#"{"load_balancer": {"frontends": {"main": {"listen": 8000}}}, "services": {}}"#);
    let resolution =
        resolve(&own, &[set("a/c", &[("port", "80"), ("max", "3"), ("host", "x")])], &[]);
    assert_eq!(resolution.config.front_door, own.front_door);
    assert_eq!(resolution.config.services.len(), 1);
}

#[test]
fn a_service_can_be_turned_off() {
    for (enable, is_on) in [("false", false), ("False", false), ("true", true), ("True", true)] {
        let labels = [("port", "80"), ("max", "3"), ("enable", enable)];
        let resolution = resolve(&empty(), &[set("a/b", &labels)], &[]);
        let found = (resolution.config.services.len() == 1, resolution.verdicts.len() == 1);
        assert_eq!(found, (is_on, is_on), "{enable}");
    }
    let off = file(r#"{"autoscaler": {"labels": false}, "services": {}}"#);
    assert!(!off.labels && empty().labels);
}
