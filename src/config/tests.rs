//! A row for each side of each rule.

use std::time::Duration;

use crate::config::{Loaded, parse};
use crate::model::bounds::Bounds;
use crate::model::health::{HealthKind, HttpCheck};
use crate::model::schedule::Timetable;
use crate::model::secret::Secret;
use crate::model::service::Percent;

fn service(extra: &str) -> String {
    format!(r#"{{"services": {{"web": {{"image": "a:1", "port": 80, {extra}}}}}}}"#)
}

fn said(loaded: &Loaded) -> Vec<String> {
    loaded.problems.iter().map(|p| format!("{}: {}", p.path, p.message)).collect()
}

#[track_caller]
fn check_bad(text: &str, want: &str) {
    let loaded = parse("c", text);
    assert!(loaded.config.is_none(), "accepted: {text}");
    assert_eq!(said(&loaded), [want], "{text}");
}

#[track_caller]
fn check_good(text: &str) -> crate::model::config::Config {
    let loaded = parse("c", text);
    assert_eq!(said(&loaded), Vec::<String>::new(), "{text}");
    loaded.config.unwrap()
}

#[test]
fn the_least_config_has_defaults() {
    let config = check_good(&service(r#""max_replicas": 1"#));
    assert_eq!(config.check_interval, Duration::from_secs(15));
    assert_eq!(config.fixed.state_dir.to_str(), Some("/var/lib/plimsoll"));
    assert_eq!(config.fixed.docker.timeout, Duration::from_secs(30));
    let web = config.services.values().next().unwrap();
    assert_eq!((web.timetable.clone(), web.band), (Timetable::always(Bounds::exactly(1)), None));
    assert_eq!(
        (web.cooldown.up, web.cooldown.down),
        (Duration::from_secs(60), Duration::from_secs(60))
    );
    assert_eq!(web.health.kind, HealthKind::Tcp);
    assert_eq!(
        (web.drain_timeout, web.stop_timeout),
        (Duration::from_secs(30), Duration::from_secs(10))
    );
}

#[test]
fn comments_and_trailing_commas_are_allowed_and_nothing_else() {
    check_good("// a\n{ /* b */ \"services\": {}, }");
    for text in [
        "{'services': {}}",
        "{services: {}}",
        "{\"services\": {} \"docker\": {}}",
        "",
        "[]",
        "{\"services\": {}} {}",
    ] {
        assert!(parse("c", text).config.is_none(), "{text}");
    }
}

#[test]
fn no_secret_is_printed() {
    let secret = "hunter2hunter2hunter2";
    let text = service(&format!(
        r#""max_replicas": 1, "environment": {{"A": "{secret}"}},
           "health_check": {{"headers": {{"X-Key": "{secret}"}}}}"#
    ));
    let more = format!(
        r#"{{"api": {{"token": "{secret}"}},
            "notifications": [{{"url": "http://127.0.0.1/{secret}"}}], "#
    );
    let loaded = parse("c", &text.replacen('{', &more, 1));
    let shown = format!("{loaded:?}");
    assert!(loaded.config.is_some() && !shown.contains(secret), "{shown}");
    for bad in [
        format!(r#"{{"api": {{"token": "{secret} "}}}}"#),
        format!(r#"{{"notifications": [{{"url": "https://{secret}"}}]}}"#),
        service(&format!(r#""environment": ["{secret}"]"#)),
        service(&format!(r#""environment": {{"A": "{secret}\u0000"}}"#)),
        service(&format!(r#""health_check": {{"headers": {{"X": "{secret}\n"}}}}"#)),
    ] {
        let loaded = parse("c", &bad);
        let shown = format!("{loaded:?}");
        assert!(loaded.config.is_none() && !shown.contains(secret), "{shown}");
    }
}

#[test]
fn a_problem_has_its_place() {
    let text = "{\n  \"services\": {\n    \"wéb\": 1,\n    \
                \"web\": {\"image\": \"a\", \"port\": 80, \"min_replicas\": 3, \
                \"max_replicas\": 2}\n  }\n}";
    let shown: Vec<String> =
        parse("config.json", text).problems.iter().map(|p| p.to_string()).collect();
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert!(
        shown[0].starts_with("config.json:3:5: services.wéb: a service name must start"),
        "{}",
        shown[0]
    );
    assert_eq!(
        shown[1],
        "config.json:4:74: services.web.max_replicas: must be at least min_replicas (3), got 2"
    );
}

#[test]
fn bounds() {
    check_good(&service(r#""min_replicas": 2, "max_replicas": 2"#));
    check_good(&service(r#""min_replicas": 1000, "max_replicas": 1000"#));
    let range = "must be a whole number from";
    check_bad(
        &service(r#""max_replicas": 0"#),
        &format!("services.web.max_replicas: {range} 1 to 1000, got 0"),
    );
    check_bad(
        &service(r#""max_replicas": 1001"#),
        &format!("services.web.max_replicas: {range} 1 to 1000, got 1001"),
    );
    check_bad(
        &service(r#""max_replicas": 1.5"#),
        &format!("services.web.max_replicas: {range} 1 to 1000, got 1.5"),
    );
    check_bad(
        &service(r#""max_replicas": "two""#),
        &format!("services.web.max_replicas: {range} 1 to 1000, got \"two\""),
    );
    check_bad(
        &service(r#""min_replicas": -1, "max_replicas": 1"#),
        &format!("services.web.min_replicas: {range} 0 to 1000, got -1"),
    );
    check_bad(
        &service(r#""min_replicas": 2, "max_replicas": 1"#),
        "services.web.max_replicas: must be at least min_replicas (2), got 1",
    );
    check_bad(
        &service(r#""cpus": 1"#),
        "services.web: `max_replicas` is missing: the largest number of replicas",
    );
}

#[test]
fn thresholds() {
    let with = |up: &str, down: &str| {
        service(&format!(
            r#""max_replicas": 4, "scale_up_threshold": {up}, "scale_down_threshold": {down}"#
        ))
    };
    let web = check_good(&with("75.5", "25"));
    let band = web.services.values().next().unwrap().band.unwrap();
    assert_eq!(
        (band.upper(), band.lower()),
        (Percent::from_hundredths(7550), Percent::from_hundredths(2500))
    );
    check_good(&with("10000", "0"));
    check_good(&with("60", "29.99"));
    check_bad(
        &with("75", "75"),
        "services.web.scale_down_threshold: must be less than scale_up_threshold (75%), got 75%",
    );
    let number = "must be a number in percent from 0 to 10000, with at most two decimals, got";
    check_bad(
        &with("10000.01", "5"),
        &format!("services.web.scale_up_threshold: {number} 10000.01"),
    );
    check_bad(&with("75", "-1"), &format!("services.web.scale_down_threshold: {number} -1"));
    check_bad(
        &service(r#""max_replicas": 4, "scale_up_threshold": 75"#),
        "services.web.scale_up_threshold: set both scale_up_threshold and \
         scale_down_threshold",
    );
    check_bad(
        &service(r#""max_replicas": 4"#),
        "services.web: nothing to scale by: set scale_up_threshold and scale_down_threshold, \
         or metrics, or make min_replicas and max_replicas equal",
    );
    // A request wakes it, and it sleeps again.
    check_good(&service(r#""min_replicas": 0, "max_replicas": 1"#));
    let bouncing = parse("c", &with("60", "30"));
    assert!(bouncing.config.is_some() && bouncing.problems[0].is_warning);
    assert!(said(&bouncing)[0].contains("30% on 2 replicas is 60% on 1"), "{:?}", said(&bouncing));
}

#[test]
fn durations_have_ranges() {
    let interval =
        |v: &str| format!(r#"{{"autoscaler": {{"check_interval": {v}}}, "services": {{}}}}"#);
    for (good, want) in [("1", 1), ("\"1s\"", 1), ("3600", 3600), ("\"1h\"", 3600)] {
        assert_eq!(check_good(&interval(good)).check_interval, Duration::from_secs(want));
    }
    for bad in ["0", "3601", "\"999ms\""] {
        check_bad(
            &interval(bad),
            &format!("autoscaler.check_interval: must be a duration from 1s to 1h, got {bad}"),
        );
    }
    for odd in ["\"5 sec\"", "true", "-5"] {
        let like = r#"seconds like 60, or "500ms", "60s", "5m", "2h", "90d""#;
        let want = format!(
            "autoscaler.check_interval: must be a duration from 1s to 1h: {like}, got {odd}"
        );
        check_bad(&interval(odd), &want);
    }
}

#[test]
fn health_checks() {
    let with = |v: &str| service(&format!(r#""max_replicas": 1, "health_check": {{{v}}}"#));
    let web = check_good(&with(r#""path": "/up?x=1", "interval": 5, "timeout": 5, "port": 81"#));
    let health = &web.services.values().next().unwrap().health;
    let path = "/up?x=1".to_owned();
    let expect = vec![HttpCheck::EXPECT];
    assert_eq!(
        health.kind,
        HealthKind::Http(HttpCheck { path, headers: Vec::new(), expect, tls: None })
    );
    assert_eq!(
        check_good(&with(r#""type": "tcp""#)).services.values().next().unwrap().health.kind,
        HealthKind::Tcp
    );
    check_bad(
        &with(r#""interval": 5, "timeout": 6"#),
        "services.web.health_check.timeout: must be at most interval (5s), got 6s",
    );
    for path in ["health", "/a b", "/a'b", "/a#b"] {
        let loaded = parse("c", &with(&format!(r#""path": "{path}""#)));
        assert!(
            loaded.config.is_none() && said(&loaded)[0].contains("must be a path like"),
            "{path}"
        );
    }
    check_bad(
        &with(r#""type": "icmp""#),
        "services.web.health_check.type: must be http, tcp, docker or none, got \"icmp\"",
    );
}

#[test]
fn no_two_services_listen_at_one_place() {
    let two = |a: &str, b: &str| {
        let one = |listen: &str| {
            format!(r#"{{"image": "a", "port": 80, "max_replicas": 1, "listen": {listen}}}"#)
        };
        format!(r#"{{"services": {{"a": {}, "b": {}}}}}"#, one(a), one(b))
    };
    check_good(&two("80", "81"));
    check_good(&two("\"127.0.0.1:80\"", "\"127.0.0.2:80\""));
    check_bad(&two("80", "80"), "services.b.listen: :80 is already used by services.a");
    check_bad(
        &two("80", "\"127.0.0.1:80\""),
        "services.b.listen: 127.0.0.1:80 is already used by services.a",
    );
    check_bad(
        &two("\"127.0.0.1:80\"", "80"),
        "services.b.listen: :80 is already used by services.a",
    );
    check_bad(&two("0", "81"), "services.a.listen: must be a whole number from 1 to 65535, got 0");
    let like = r#"a port like 80, or an address and port like "127.0.0.1:80""#;
    let want = format!("services.a.listen: must be {like}, got \"web:80\"");
    check_bad(&two("\"web:80\"", "81"), &want);
}

#[test]
fn unknown_and_doubled_keys() {
    check_bad(
        &service(r#""max_replicas": 1, "max_replica": 2"#),
        "services.web.max_replica: unknown key; did you mean `max_replicas`?",
    );
    check_bad(
        r#"{"services": {}, "docker": {"zzz": 1}}"#,
        "docker.zzz: unknown key; known keys: config, socket, timeout, tls",
    );
    check_bad(
        &service(r#""max_replicas": 1, "max_replicas": 400"#),
        "services.web.max_replicas: is defined twice; remove one of the two",
    );
    check_bad(
        r#"{"services": {}, "services": {}}"#,
        "services: is defined twice; remove one of the two",
    );
    check_good(r#"{"$schema": "x", "services": {}}"#);
}

#[test]
fn the_rest_of_a_service() {
    let with = |v: &str| service(&format!(r#""max_replicas": 1, {v}"#));
    let config = check_good(&with(
        r#""cpus": 0.25, "memory": "64m", "command": ["a", "b c"],
           "environment": {"A": "", "B": 1, "C": true}, "volumes": ["/a:/b:ro"],
           "cooldown_period": {"up": 5, "down": "2m"}, "drain_timeout": 0"#,
    ));
    let web = config.services.values().next().unwrap();
    assert_eq!(
        (web.container.nano_cpus, web.container.memory),
        (Some(250_000_000), Some(64 << 20))
    );
    let environment = web.container.environment.values().map(Secret::expose);
    assert_eq!(environment.collect::<Vec<_>>(), ["", "1", "true"]);
    assert_eq!(
        (web.cooldown.up, web.cooldown.down),
        (Duration::from_secs(5), Duration::from_secs(120))
    );
    check_bad(
        &with(r#""cpus": 0"#),
        "services.web.cpus: must be a number of cores from 0.01 to 1024, with at most \
         three decimals, got 0",
    );
    let like = r#"a size of at least 6m: bytes, or like "512m" or "2g""#;
    check_bad(
        &with(r#""memory": "1m""#),
        &format!("services.web.memory: must be {like}, got \"1m\""),
    );
    check_bad(
        &with(r#""environment": {"A=B": "c"}"#),
        "services.web.environment.A=B: the name of a variable must not be empty or contain `=`",
    );
    check_bad(
        &with(r#""command": ["a", 1]"#),
        "services.web.command[1]: must be a text in double quotes, got 1",
    );
    check_bad(
        r#"{"services": {"a": {"port": 1, "max_replicas": 1}}}"#,
        "services.a: `image` is missing: the image of its containers (or `compose`, the \
         service that docker compose started)",
    );
    check_bad(
        r#"{"load_balancer": {"socket": "run/x"}, "services": {}}"#,
        "load_balancer.socket: must be an absolute path, got \"run/x\"",
    );
    let long = format!("/{}", "a".repeat(97));
    check_bad(
        &format!(r#"{{"load_balancer": {{"socket": "{long}"}}, "services": {{}}}}"#),
        "load_balancer.socket: is 98 bytes long; a socket's path has at most 97",
    );
}

#[test]
fn every_problem_is_told_in_one_run() {
    let text = r#"{"autoscaler": {"check_interval": 0, "log_level": "loud"},
        "services": {"a b": {}, "web": {"image": "", "port": 0, "max_replicas": 0, "colour": 1}}}"#;
    let paths: Vec<String> = parse("c", text).problems.into_iter().map(|p| p.path).collect();
    assert_eq!(
        paths,
        [
            "autoscaler.check_interval",
            "autoscaler.log_level",
            "services.a b",
            "services.web.image",
            "services.web.port",
            "services.web.max_replicas",
            "services.web.colour",
        ]
    );
}
