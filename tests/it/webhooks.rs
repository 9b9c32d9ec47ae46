//! Webhooks in the formats of their receivers, over TLS with a CA of the test's own: the test
//! messages of `plimsoll notify --test`, and the messages of the running daemon.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::{Dir, plimsoll, reached};
use crate::fake_docker::{Fault, Route};
use crate::harness::{Harness, end};
use crate::hook_server::{HookServer, Recorded};
use crate::raw_http::To;

const SOON: Duration = Duration::from_secs(30);
/// Whatever has this in it must not be shown.
const KEY: &str = "k3ys3cret";

fn next(server: &HookServer) -> Recorded {
    server.requests.recv_timeout(SOON).unwrap()
}

fn notify(dir: &Dir, hooks: &Value) -> Output {
    let config = json!({ "notifications": hooks, "services": {} });
    let file = dir.write("config.json", &config.to_string());
    plimsoll(&["notify", "--test", "--config", file.to_str().unwrap()])
}

fn printed(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

/// One of each format.
fn hooks(server: &HookServer, dir: &Dir, scheme: &str) -> Value {
    let at = |path: &str| format!("{scheme}://{}{path}", server.host);
    let mut hooks = json!([
        { "url": at(&format!("/json/{KEY}")) },
        { "url": at(&format!("/services/T0/{KEY}")), "format": "slack" },
        { "url": at(&format!("/api/webhooks/1/{KEY}")), "format": "discord" },
        { "url": at(&format!("/workflows/{KEY}?sig={KEY}")), "format": "teams" },
        { "url": at("/ntfy/plimsoll-topic"), "format": "ntfy",
          "headers": { "Authorization": format!("Bearer {KEY}") } },
        { "url": at("/gotify"), "format": "gotify", "headers": { "X-Gotify-Key": KEY } },
        { "url": at(&format!("/bot1:{KEY}")), "format": "telegram", "chat_id": -100_123 },
        { "url": at("/am"), "format": "alertmanager" },
        { "url": at("/template"), "format": "template",
          "template": format!(r#"{{"key":"{KEY}","text":"{{text}}"}}"#) },
    ]);
    if scheme == "https" {
        for hook in hooks.as_array_mut().unwrap() {
            hook["ca_file"] = json!(dir.join("ca.pem"));
        }
    }
    hooks
}

#[test]
fn a_test_message_reaches_each_receiver_over_tls_in_its_format() {
    let dir = Dir::new("hooks-tls");
    let server = HookServer::tls(dir.path());
    server.answer("/api/webhooks", 204, "X-A: b", "");
    server.answer("/workflows", 202, "X-A: b", "");
    server.answer("/bot", 200, "X-A: b", r#"{"ok":true,"result":{}}"#);
    let output = notify(&dir, &hooks(&server, &dir, "https"));
    let (out, err) = printed(&output);
    assert!(output.status.success(), "{out}{err}");
    let host = &server.host;
    let words = ["json", "slack", "discord", "teams", "ntfy", "gotify", "telegram"];
    let words = words.into_iter().chain(["alertmanager", "template"]).enumerate();
    let status = |word: &str| match word {
        "discord" => 204,
        "teams" => 202,
        _ => 200,
    };
    let want: String = words
        .map(|(at, word)| {
            format!("notifications[{at}] {word} at {host}: took it ({})\n", status(word))
        })
        .collect();
    assert_eq!((out, err), (want, String::new()));
    let got: BTreeMap<String, Recorded> =
        (0..9).map(|_| next(&server)).map(|one| (one.target.clone(), one)).collect();
    let of = |path: &str| got.get(path).unwrap_or_else(|| panic!("no {path}: {:?}", got.keys()));
    assert!(got.values().all(|one| one.header("content-type") == "application/json"), "{got:?}");
    let text = "this is a test of plimsoll's notifications: sent by `plimsoll notify --test` on ";
    assert_eq!(of(&format!("/json/{KEY}")).json()["kind"], "webhook.test");
    let starts =
        |text_of: &Value| assert!(text_of.as_str().unwrap().starts_with(text), "{text_of}");
    starts(&of(&format!("/services/T0/{KEY}")).json()["text"]);
    let discord = of(&format!("/api/webhooks/1/{KEY}")).json();
    assert_eq!(discord["allowed_mentions"]["parse"], json!([]));
    let teams = of(&format!("/workflows/{KEY}?sig={KEY}")).json();
    starts(&teams["attachments"][0]["content"]["body"][0]["inlines"][0]["text"]);
    let ntfy = of("/ntfy/");
    assert_eq!(ntfy.header("authorization"), format!("Bearer {KEY}"));
    assert_eq!(ntfy.json()["topic"], "plimsoll-topic");
    let gotify = of("/gotify/message");
    assert_eq!(gotify.header("x-gotify-key"), KEY);
    starts(&gotify.json()["message"]);
    let telegram = of(&format!("/bot1:{KEY}/sendMessage")).json();
    assert_eq!(telegram["chat_id"], -100_123);
    starts(&telegram["text"]);
    assert_eq!(of("/am/api/v2/alerts").json()[0]["labels"]["alertname"], "webhook.test");
    let template = of("/template").json();
    starts(&template["text"]);
}

#[test]
fn what_a_webhook_answers_is_printed_with_the_way_out_and_without_secrets() {
    let dir = Dir::new("hooks-bad");
    let server = HookServer::tls(dir.path());
    let other = Dir::new("hooks-other-ca");
    HookServer::tls(other.path());
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let host = &server.host;
    let ca = dir.join("ca.pem");
    let denied = r#"{"error":"Unauthorized","errorCode":401,"errorDescription":"no k3ys3cret"}"#;
    server.answer("/denied", 401, "X-A: b", denied);
    server.answer("/busy", 429, "Retry-After: 7", "slow down");
    server.answer("/broken", 500, "X-A: b", "<html>oops</html>");
    let hooks = json!([
        { "url": format!("https://{host}/good/{KEY}"), "ca_file": ca },
        { "url": format!("https://{host}/denied"), "ca_file": ca, "format": "gotify",
          "headers": { "X-Gotify-Key": KEY } },
        { "url": format!("http://{dead}/{KEY}"), "format": "slack" },
        { "url": format!("https://{host}/{KEY}"), "format": "discord" },
        { "url": format!("https://{host}/{KEY}"), "ca_file": other.join("ca.pem") },
        { "url": format!("https://{host}/busy/{KEY}"), "ca_file": ca },
        { "url": format!("https://{host}/broken/{KEY}"), "ca_file": ca },
        { "url": format!("http://{host}/{KEY}") },
    ]);
    let output = notify(&dir, &hooks);
    let (out, err) = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(!out.contains(KEY) && !err.contains(KEY), "{out}{err}");
    let lines: Vec<&str> = out.lines().collect();
    for (at, words) in [
        (0, "took it (200)"),
        (1, "did not take it: it answered 401 (no ***)"),
        (2, "did not take it: no complete answer: Connection refused"),
        (3, "ca_file"),
        (4, "is not signed by the CA that is set"),
        (5, "did not take it: it answered 429 (slow down)"),
        (6, "did not take it: it answered 500"),
        (7, "did not take it: the answer is not valid HTTP; if the server uses TLS, write https"),
    ] {
        let start = format!("notifications[{at}] ");
        assert!(lines[at].starts_with(&start) && lines[at].contains(words), "{words}: {out}");
    }
    assert!(err.contains("7 of 8 webhooks did not take the test message"), "{err}");
}

#[test]
fn a_bare_notify_and_a_config_without_webhooks_say_what_to_do() {
    let dir = Dir::new("hooks-none");
    let bare = plimsoll(&["notify"]);
    assert_eq!(bare.status.code(), Some(2));
    assert!(printed(&bare).1.contains("add --test"), "{bare:?}");
    let none = notify(&dir, &json!([]));
    assert_eq!(none.status.code(), Some(1));
    assert!(printed(&none).1.contains("has no webhooks"), "{none:?}");
}

#[test]
fn a_failure_is_one_message_with_the_log_line_and_its_repeats_are_counted() {
    let mut harness = Harness::new("hooks-daemon");
    let server = HookServer::tls(harness.dir.path());
    let hooks = hooks(&server, &harness.dir, "https");
    let slack = &hooks[1];
    let mut slack = slack.clone();
    slack["events"] = json!(["replica.exited", "scaling.paused"]);
    slack["every"] = json!("1h");
    harness.set("/notifications", json!([slack]));
    server.answer("/services", 500, "X-A: b", "down");
    let daemon = harness.start();
    assert!(reached(SOON, || harness.docker.names("running") == ["web-1"]));
    harness.docker.end("web-1", 3, false, "listening\n@everyone <!here> out of ideas\n");
    let failed = next(&server);
    let text = "web-1 ended: exit code 3; its last log line: @\u{200b}everyone &lt;!here&gt; out \
                of ideas";
    assert_eq!(failed.json()["text"], text);
    // The first answer was 500, so it came again.
    assert_eq!(next(&server).json()["text"], text);
    let control = To::Unix(harness.dir.join("api.sock"));
    for _ in 0..5 {
        assert_eq!(control.ask("POST /pause", "", "").status, 202);
        assert_eq!(control.ask("POST /resume", "", "").status, 202);
    }
    let first = next(&server).json();
    assert!(first["text"].as_str().unwrap().starts_with("scaling of web is paused"), "{first}");
    end(daemon, "TERM", SOON);
    let last = next(&server).json();
    let last = last["text"].as_str().unwrap();
    assert!(last.contains("(and 3 more since ") && last.ends_with(" UTC)"), "{last}");
}

/// Over the log at its most talkative, events, status, metrics and what a refusal is reported with.
#[test]
fn no_secret_of_a_webhook_is_shown_anywhere() {
    let mut harness = Harness::new("hooks-secret");
    let server = HookServer::plain();
    let mut all = hooks(&server, &harness.dir, "http");
    all.as_array_mut().unwrap().push(json!({
        "url": format!("https://{}/{KEY}", server.host), "format": "slack",
    }));
    server.answer("/am", 404, "X-A: b", "");
    for path in ["/services", "/bot", "/gotify", "/ntfy", "/template", "/json"] {
        server.answer(path, 404, "X-A: b", "no k3ys3cret, not at /services/T0/k3ys3cret");
    }
    harness.set("/notifications", all);
    harness.set("/autoscaler/log_level", json!("trace"));
    let daemon = harness.start();
    harness.wait_served();
    for at in [0, 1, 4, 5, 6, 8, 9] {
        daemon.wait(&["kind=webhook.failed", &format!("notifications[{at}] at localhost")], SOON);
    }
    let control = To::Unix(harness.dir.join("api.sock"));
    for path in ["/events?limit=1000", "/status", "/metrics", "/services"] {
        let answer = control.get(path).body;
        assert!(!answer.contains(KEY), "{path}: {answer}");
    }
    harness.docker.fault(Route::List, Fault::Hang);
    let log = daemon.lines();
    assert!(!log.iter().any(|line| line.contains(KEY)), "{log:#?}");
    end(daemon, "TERM", SOON);
}
