//! Every secret that a config can have, and every place that the daemon writes or prints: which may
//! be where.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::daemon::{Daemon, plimsoll, reached, secs};
use crate::harness::{Harness, end};
use crate::raw_http::To;

/// The registry's login is `robot:registry-s3cret`, and this is it in base64.
const LOGIN: &str = "cm9ib3Q6cmVnaXN0cnktczNjcmV0";
const REFUSED: &str = r#"{"errorDetail":{"message":"unauthorized"},"error":"unauthorized"}"#;

/// Each with the one place of a file that has to hold it, if there is one: the state has what a
/// roll-back needs, HAProxy's file what HAProxy sends.
const SECRETS: &[(&str, Option<&str>)] = &[
    ("header-s3cret", None),
    ("bearer-s3cret", None),
    ("password-s3cret", None),
    ("hook-path-s3cret", None),
    ("hook-header-s3cret", None),
    ("123456:bot-s3cret", None),
    ("template-s3cret", None),
    ("chat_s3cret", None),
    ("registry-s3cret", None),
    (LOGIN, None),
    ("token-s3cret-token-s3cret", None),
    ("environment-s3cret", Some("state.json")),
    ("logging-s3cret", Some("state.json")),
    ("health-s3cret", Some("haproxy.cfg")),
];

fn configured(harness: &mut Harness) {
    let dir = harness.dir.path().to_owned();
    let login = json!({ "auths": { "reg.example": { "auth": LOGIN } } });
    let login = harness.dir.write("docker-config.json", &login.to_string());
    let option = harness.dir.write("logging-option", "logging-s3cret\n");
    let token = harness.dir.write("token", "token-s3cret-token-s3cret\n");
    let nobody = "127.0.0.1:9";
    harness.set("/autoscaler/log_level", json!("trace"));
    harness.set("/docker/config", json!(login));
    harness.set("/api/token", json!({ "file": token }));
    harness.set(
        "/notifications",
        json!([
            { "url": format!("http://{nobody}/hook-path-s3cret"), "format": "slack" },
            {
                "url": format!("http://me:password-s3cret@{nobody}/"), "format": "gotify",
                "headers": { "X-Gotify-Key": "hook-header-s3cret" },
            },
            { "url": format!("http://{nobody}/bot123456:bot-s3cret"), "format": "telegram",
              "chat_id": "@chat_s3cret" },
            { "url": format!("http://{nobody}/"), "format": "template",
              "template": "{text} template-s3cret" },
        ]),
    );
    let web = "/services/web";
    harness.set(&format!("{web}/image"), json!("reg.example/shop/web:1"));
    harness.set(&format!("{web}/max_replicas"), json!(2));
    harness.set(&format!("{web}/environment"), json!({ "KEY": "environment-s3cret" }));
    harness.set(
        &format!("{web}/logging"),
        json!({
            "driver": "fluentd", "options": { "fluentd-address": { "file": option } },
        }),
    );
    harness.set(&format!("{web}/health_check/headers"), json!({ "X-Key": "health-s3cret" }));
    harness.set(&format!("{web}/metrics"), json!([
        {
            "source": "http", "url": format!("http://me:password-s3cret@{nobody}/a"), "target": 1,
            "headers": { "X-Key": "header-s3cret" },
        },
        {
            "source": "prometheus", "url": format!("https://{nobody}"), "query": "up",
            "bearer": "bearer-s3cret", "target": 1,
        },
    ]));
    assert!(dir.is_absolute());
}

/// What each place shows, by its name.
fn shown(harness: &Harness, daemon: &Daemon) -> Vec<(String, String)> {
    let socket = harness.dir.join("api.sock");
    let config = harness.dir.join("config.json");
    let mut all = vec![("the log".to_owned(), daemon.lines().join("\n"))];
    let control = To::Unix(socket.clone());
    for path in ["/status", "/services/web", "/events?limit=1000", "/metrics", "/history", "/"] {
        all.push((path.to_owned(), control.get(path).body));
    }
    let socket = socket.to_str().unwrap();
    let config = config.to_str().unwrap();
    for args in [
        &["status", "--socket", socket][..],
        &["status", "--json", "--socket", socket],
        &["status", "web", "--socket", socket],
        &["explain", "web", "--socket", socket],
        &["explain", "web", "--json", "--socket", socket],
        &["events", "--socket", socket],
        &["check", "--config", config],
        &["check", "--live", "--config", config],
        &["doctor", "--config", config],
        &["notify", "--test", "--config", config],
        &["schedule", "web", "--config", config],
    ] {
        let output = plimsoll(args);
        let text = [output.stdout, output.stderr].concat();
        assert!(!text.is_empty(), "{args:?} prints nothing");
        all.push((args[..2].join(" "), String::from_utf8(text).unwrap()));
    }
    let arguments = fs::read(format!("/proc/{}/cmdline", daemon.pid())).unwrap();
    all.push(("arguments".to_owned(), String::from_utf8_lossy(&arguments).into_owned()));
    files(&harness.dir.join("state"), &mut all);
    files(&harness.dir.join("haproxy.cfg"), &mut all);
    all
}

fn files(path: &Path, all: &mut Vec<(String, String)>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            files(&entry.unwrap().path(), all);
        }
    } else if let Ok(bytes) = fs::read(path) {
        let name = path.file_name().unwrap().to_str().unwrap();
        all.push((name.to_owned(), String::from_utf8_lossy(&bytes).into_owned()));
    }
}

#[test]
fn no_secret_of_a_config_is_where_it_need_not_be() {
    let mut harness = Harness::new("secrets");
    configured(&mut harness);
    let daemon = harness.start();
    assert!(reached(secs(20), || harness.serves()), "{:#?}", daemon.lines());
    let state = harness.dir.join("state/state.json");
    let has = |words: &str| fs::read_to_string(&state).is_ok_and(|text| text.contains(words));
    assert!(reached(secs(10), || has("environment-s3cret")), "{:#?}", daemon.lines());
    for at in 0..4 {
        daemon.wait(&["kind=webhook.failed", &format!("notifications[{at}]")], secs(20));
    }
    for source in ["http http://127.0.0.1:9/a", "prometheus https://127.0.0.1:9"] {
        daemon.wait(&["kind=metric.failed", source], secs(20));
    }
    // A pull with a login, which is refused.
    harness.docker.lose_images(REFUSED);
    let socket = harness.dir.join("api.sock");
    let scaled = plimsoll(&["scale", "web", "2", "--socket", socket.to_str().unwrap()]);
    assert!(scaled.status.success(), "{scaled:?}");
    daemon.wait(&["kind=replica.failed", "reg.example refused user \\\"robot\\\""], secs(20));
    // A change of secrets, whose keys are named.
    harness.set("/services/web/metrics/1/bearer", json!("another-bearer-s3cret"));
    harness.write();
    daemon.signal("HUP");
    daemon.wait(&["kind=config.reloaded", "metrics"], secs(10));

    let places = shown(&harness, &daemon);
    for (secret, home) in SECRETS {
        for (place, text) in &places {
            let is_home = home.is_some_and(|home| place.starts_with(home));
            assert!(is_home || !text.contains(secret), "{place} shows {secret}:\n{text}");
        }
        let is_there = |home: &str| {
            places.iter().any(|(place, text)| place.starts_with(home) && text.contains(secret))
        };
        assert!(home.is_none_or(is_there), "{secret} is not in {home:?}: the test is of no use");
    }
    let status: Value = serde_json::from_str(&places[1].1).unwrap();
    assert!(status["services"].is_array() || status["services"].is_object(), "{status}");
    end(daemon, "TERM", secs(20));
}
