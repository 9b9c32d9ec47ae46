//! A shared frontend under traffic: no request is lost while replicas, routes and settings change.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use crate::daemon::{Daemon, PLIMSOLL, reached, secs};
use crate::load::{Kind, Load};
use crate::real_clients::{Outcome, RealSite};
use crate::renaming::Left;
use crate::testbed::{Testbed, clients, everyone, free_port};

/// Replicas come and go behind a cookie and a limit, other services get routes, and settings that
/// take a reload change.
#[test]
fn nothing_is_lost_at_a_shared_frontend_while_everything_behind_it_changes() {
    let testbed = Testbed::new("front-door");
    let port = free_port();
    let name = testbed.service.clone();
    let frontends = format!(
        r#""frontends": {{ "http": {{ "listen": "127.0.0.1:{port}", "default": "{name}" }} }},
    "min_reload_interval""#
    );
    let other = testbed.other(free_port()).replace(
        r#""listen""#,
        r#""routes": [ { "host": "other.example", "path": "/api" } ], "listen""#,
    );
    let write = |count: u32, keys: &str, other: &str| {
        let keys = format!(
            r#""min_replicas": {count}, "max_replicas": {count}, "sticky": true,
               "max_connections": 200, "drain_timeout": 20{keys}"#
        );
        let config = testbed.configure_with(&keys, other);
        let text = fs::read_to_string(&config).unwrap();
        let text = text.replace(r#""min_reload_interval""#, &frontends);
        fs::write(&config, text).unwrap();
        config
    };
    let daemon = Daemon::start(&write(1, "", &other));
    testbed.wait_serving(1, secs(20), &daemon);
    let mut all = clients(3, Kind::KeepAlive, "/", 10);
    all.extend(clients(3, Kind::Close, "/", 20));
    all.extend(clients(2, Kind::Slow, "/slow?ms=700", 10));
    all.extend(clients(2, Kind::Http2, "/", 20));
    let load = Load::start(SocketAddr::from(([127, 0, 0, 1], port)), all);
    // Until HAProxy runs with a config that says so, and as many containers are there.
    let change = |count: u32, keys: &str, other: &str, sign: &str, is_there: bool| {
        let from = daemon.lines().len();
        write(count, keys, other);
        daemon.signal("HUP");
        daemon.wait_from(from, &["kind=config.reloaded"], secs(10));
        let good = testbed.dir.join("haproxy.cfg.good");
        let count = usize::try_from(count).unwrap();
        let is_done = || {
            fs::read_to_string(&good).unwrap().contains(sign) == is_there
                && testbed.containers().len() == count
                && testbed.serving().len() == count
        };
        assert!(reached(secs(40), is_done), "{sign}: {:#?}", daemon.lines());
    };
    let v2 = other.replace("/api", "/v2");
    let headers = r#", "response_headers": { "X-App": "1" }, "timeouts": { "server": "1m" }"#;
    for _ in 0..3 {
        change(3, "", &other, "other.example/api/", true);
        change(3, "", &v2, "other.example/v2/", true);
        change(3, headers, &v2, "X-App", true);
        change(1, headers, &other, "other.example/v2/", false);
        change(2, "", &other, "X-App", false);
    }
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "requests were lost:\n{counts}\n{:#?}", daemon.lines());
    for kind in [Kind::KeepAlive, Kind::Close, Kind::Slow, Kind::Http2] {
        assert!(10 < counts.of(kind).sent(), "hardly any {kind}:\n{counts}");
    }
    assert_eq!(daemon.count(&["kind=haproxy.update_failed"]), 0, "{:#?}", daemon.lines());
}

/// A service is called otherwise from now on, and then a part of it becomes one of its own. Each
/// new container takes three seconds until it answers.
#[test]
fn a_route_stays_where_it_is_served_until_its_new_service_can() {
    let mut testbed = Testbed::new("moved-route");
    let port = testbed.port;
    let write = |testbed: &Testbed, slow: &str| {
        let keys = r#""min_replicas": 2, "max_replicas": 2,
                      "environment": { "START_DELAY_MS": "3000" }"#;
        let config = testbed.configure_with(keys, slow);
        let text = fs::read_to_string(&config).unwrap();
        let listen = format!(r#""listen": "127.0.0.1:{port}", "stop"#);
        assert_eq!(text.matches(&listen).count(), 1);
        let text = text.replace(&listen, r#""routes": [ { "path": "/" } ], "stop"#);
        let frontends = format!(
            r#""frontends": {{ "http": {{ "listen": "127.0.0.1:{port}" }} }}, "min_reload"#
        );
        fs::write(&config, text.replace(r#""min_reload"#, &frontends)).unwrap();
        config
    };
    let config = write(&testbed, "");
    let old = testbed.service.clone();
    testbed.service = format!("{old}-new");
    let name = format!("{}-b", testbed.service);
    // Dropped after the daemon, which would start others.
    let _left = [Left(&testbed, old.clone()), Left(&testbed, name.clone())];
    let daemon = Daemon::start(&config);
    let is_serving = || testbed.serving_for(&old).len() == 2;
    assert!(reached(secs(60), is_serving), "{:#?}", daemon.lines());
    let load = everyone(&testbed);
    write(&testbed, "");
    daemon.signal("HUP");
    daemon.wait(&["kind=service.orphaned", &format!("service={old} "), "keep serving"], secs(10));
    testbed.wait_serving(2, secs(60), &daemon);
    assert!(testbed.serving_for(&old).is_empty(), "the old ones are out of HAProxy");

    let slow = testbed.other(free_port());
    let slow = slow.replace(r#""min_replicas": 0"#, r#""min_replicas": 1"#).replace(
        r#""listen""#,
        r#""environment": { "START_DELAY_MS": "3000" },
           "routes": [ { "path": "/slow" } ], "listen""#,
    );
    write(&testbed, &slow);
    daemon.signal("HUP");
    daemon.wait(&["kind=route.deferred", &format!("service={name} "), "keeps serving"], secs(10));
    let map = testbed.dir.join("haproxy.cfg.http.map");
    let is_moved = || {
        fs::read_to_string(&map).unwrap().contains(&format!("*/slow/ {name}"))
            && !testbed.serving_for(&name).is_empty()
    };
    assert!(reached(secs(30), is_moved), "{:#?}", daemon.lines());
    load.wait_for(secs(20), |c| 20 < c.of(Kind::Slow).sent());
    let before = requests(&testbed, &name);
    assert!(reached(secs(10), || before < requests(&testbed, &name)), "it gets its requests");
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "{counts}\n{:#?}", daemon.lines());
}

/// That HAProxy counted for a service.
fn requests(testbed: &Testbed, service: &str) -> u64 {
    let stats = testbed.ask_haproxy("show stat");
    let line = stats.lines().find(|line| line.starts_with(&format!("{service},BACKEND,")));
    line.and_then(|line| line.split(',').nth(7)?.parse().ok()).unwrap_or(0)
}

/// gRPC calls and streams, WebSockets, PostgreSQL and HTTP/2, each by a client that other people
/// wrote, while replicas come and go and HAProxy is reloaded.
#[test]
fn programs_of_others_lose_nothing_either() {
    let site = RealSite::start("real-clients", Command::new(PLIMSOLL));
    let clients = site.clients();
    for (count, header) in [(2, "0"), (2, "1"), (1, "1"), (2, "2"), (1, "0")] {
        site.change(count, header);
    }
    let outcomes = clients.stop();
    for Outcome { name, sent, failed, first_failure } in outcomes {
        println!("{name}: {failed} of {sent} failed");
        assert_eq!(failed, 0, "{name}, {sent} sent: {first_failure}\n{:#?}", site.daemon.lines());
        assert!(5 < sent, "{name}: hardly any, {sent}");
    }
}
