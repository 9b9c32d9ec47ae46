//! The HTTP interface of the running daemon: every route, who may use it, and what orders do.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use serde_json::json;

use crate::daemon::{Daemon, reached, secs};
use crate::fake_docker::{Fault, Route};
use crate::harness::{Harness, end, free_address};
use crate::raw_http::{Answer, To};

const SOON: Duration = Duration::from_secs(10);
const TOKEN: &str = "0123456789abcdef";
const AUTHORIZED: &str = "Authorization: Bearer 0123456789abcdef\r\n";

/// A service of one to three replicas that nothing but orders scales, on TCP and on a socket.
fn harness(name: &str) -> (Harness, To, To) {
    let mut harness = Harness::new(name);
    let address = free_address();
    harness.set("/api/listen", json!(address));
    harness.set("/api/token", json!(TOKEN));
    harness.set("/services/web/max_replicas", json!(3));
    harness.set("/services/web/scale_up_threshold", json!(90));
    harness.set("/services/web/scale_down_threshold", json!(0));
    let control = To::Unix(harness.dir.join("api.sock"));
    (harness, To::Tcp(address), control)
}

fn start(harness: &Harness, tcp: &To) -> Daemon {
    let daemon = harness.start();
    harness.wait_served();
    let ready = || tcp.say(b"GET /readyz HTTP/1.0\r\n\r\n").is_some_and(|a| a.status == 200);
    assert!(reached(SOON, ready), "it does not answer");
    daemon
}

#[track_caller]
fn check(answer: &Answer, status: u16, words: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.body.contains(words), "no {words} in {answer:?}");
    assert!(answer.head.contains("content-type: application/json"), "{answer:?}");
    assert!(answer.head.contains("cache-control: no-store"), "{answer:?}");
    assert!(answer.head.contains("connection: close"), "{answer:?}");
    assert!(!answer.head.contains("server:"), "{answer:?}");
    let length = format!("content-length: {}", answer.body.len());
    assert!(answer.head.contains(&length), "{answer:?}");
    if 400 <= status {
        let body = answer.json();
        let keys: Vec<_> = body.as_object().unwrap().keys().collect();
        assert!(body["error"].is_string() && keys == ["detail", "error"], "{answer:?}");
    }
}

#[test]
fn every_route_answers_to_whom_it_should() {
    let (harness, tcp, control) = harness("api");
    let daemon = start(&harness, &tcp);
    for to in [&tcp, &control] {
        for (path, status, words) in [
            ("/", 200, r#""status":"running""#),
            ("/healthz", 200, "alive"),
            ("/readyz?x", 200, "ready"),
            ("/status", 200, r#""name":"web""#),
            ("/services", 200, r#"[{"#),
            ("/services/web", 200, r#""desired":1"#),
            ("/services/web/stats", 200, r#""name":"web-1""#),
            ("/services/web/explain", 200, r#""desired":1"#),
            ("/services/web/schedule", 200, r#""scaling":true"#),
            ("/services/shop", 404, "has no service shop; it has: web"),
            ("/services/shop/explain", 404, "has no service shop"),
            ("/events?limit=1", 200, r#""kind":""#),
            ("/events?limit=5000", 200, r#""kind":""#),
            ("/events?limit=x", 400, "a whole number, at least 1"),
            ("/servers", 200, r#""containers":{"#),
            ("/nothing", 404, "no such path"),
            ("/services/web/scale", 405, "method GET is not allowed"),
        ] {
            check(&to.get(path), status, words);
        }
        let post = |path: &str, body: &str| to.ask(&format!("POST {path}"), AUTHORIZED, body);
        for (path, body, status, words) in [
            ("/status", "", 405, "method POST is not allowed"),
            ("/services/web/scale", r#"{"replicas":4}"#, 422, "max_replicas"),
            ("/services/web/scale", r#"{"replica":4}"#, 422, "did you mean `replicas`?"),
            ("/services/web/scale", "{", 400, "not JSON"),
            ("/services/shop/scale", r#"{"auto":true}"#, 404, "has no service shop"),
            ("/services/web/scale/down", "", 409, "TooFewReplicas"),
            ("/services/web/restart", r#"{"for":1}"#, 422, "unknown key"),
            ("/services/web/scale", r#"{"auto":true}"#, 202, "web: no hold was set"),
            ("/services/web/pause", r#"{"for":"10m"}"#, 202, "scaling paused, for 600s"),
            ("/services/web/resume", "", 202, "scaling resumed"),
            ("/pause", "", 202, "until further notice"),
            ("/resume", "", 202, "scaling resumed"),
            ("/config/reload", "", 200, "nothing changed"),
        ] {
            check(&post(path, body), status, words);
        }
    }
    for (line, allow) in [("DELETE /status", "get, head"), ("PUT /pause", "post")] {
        let answer = control.ask(line, "", "");
        check(&answer, 405, "is not allowed");
        assert!(answer.head.contains(&format!("allow: {allow}")), "{answer:?}");
    }
    // The last line of each of the two who asked is there, and so are those before it.
    assert!(reached(SOON, || daemon.count(&["kind=config.reloaded"]) == 2));
    // Two of each by whom it was asked: what changed nothing was no event.
    for (event, times) in [("hold.released", 0), ("scaling.paused", 4), ("scaling.resumed", 4)] {
        assert_eq!(daemon.count(&[&format!("kind={event}")]), times, "{event}");
    }
    let head = tcp.ask("HEAD /healthz", "", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(head.head.contains("content-length: 19"), "{head:?}");
    let mode = fs::metadata(harness.dir.join("api.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mode = fs::metadata(harness.dir.join("api.sock.http")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    end(daemon, "TERM", secs(3));
    for name in ["api.sock", "api.sock.http"] {
        assert!(!harness.dir.join(name).exists(), "{name} is left");
    }
}

#[test]
fn no_page_reads_by_a_name_of_its_own_that_leads_here() {
    let (mut harness, tcp, control) = harness("host");
    harness.set("/api/hosts", json!(["plimsoll.lan"]));
    let _daemon = start(&harness, &tcp);
    for path in ["/", "/healthz", "/readyz", "/status", "/events", "/metrics", "/no-such-path"] {
        for (host, is_ours) in
            [("evil.example", false), ("evil.example:8000", false), ("plimsoll.lan:1", true)]
        {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let answer = tcp.say(request.as_bytes()).unwrap();
            assert_eq!(answer.status != 421, is_ours, "{path} {host}: {answer:?}");
            assert!(is_ours || !answer.body.contains("web"), "{answer:?}");
            assert_ne!(control.say(request.as_bytes()).unwrap().status, 421, "{path}");
        }
    }
    let order = "POST /pause HTTP/1.1\r\nHost: evil.example\r\n";
    let order = format!("{order}{AUTHORIZED}Content-Length: 0\r\n\r\n");
    check(&tcp.say(order.as_bytes()).unwrap(), 421, "api.hosts");
    check(&tcp.say(b"GET /status HTTP/1.1\r\n\r\n").unwrap(), 400, "one Host header");
    assert_eq!(tcp.say(b"GET /status HTTP/1.0\r\n\r\n").unwrap().status, 200);
    let old = b"GET /status HTTP/1.0\r\nHost: evil.example\r\n\r\n";
    assert_eq!(tcp.say(old).unwrap().status, 421);
}

#[test]
fn with_protected_reads_only_the_probes_of_monitors_need_no_token() {
    let (mut harness, tcp, control) = harness("reads");
    harness.set("/api/protect_reads", json!(true));
    let _daemon = start(&harness, &tcp);
    for path in ["/", "/status", "/events", "/metrics", "/servers", "/history", "/services/web"] {
        check(&tcp.get(path), 401, "the token is missing");
        assert_eq!(tcp.ask(&format!("GET {path}"), AUTHORIZED, "").status, 200, "{path}");
        assert_eq!(control.get(path).status, 200, "{path}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(tcp.get(path).status, 200, "{path}");
    }
    // The page itself shows nothing: it asks for the token.
    let page = tcp.ask("GET /", "Accept: text/html\r\n", "");
    assert_eq!((page.status, page.body.contains("web-1")), (200, false));
    harness.docker.close();
    let readyz = || tcp.get("/readyz");
    assert!(reached(secs(30), || readyz().status == 503), "{:?}", readyz());
    assert!(!readyz().body.to_lowercase().contains("docker"), "{:?}", readyz());
    let reported = tcp.ask("GET /readyz", AUTHORIZED, "");
    assert!(reported.body.contains("docker.sock"), "{reported:?}");
}

#[test]
fn a_change_over_tcp_needs_the_token_and_is_of_no_other_site() {
    let (mut harness, tcp, control) = harness("auth");
    let daemon = start(&harness, &tcp);
    let none = String::new();
    let forged = format!("{AUTHORIZED}X-Plimsoll-Via: control\r\n");
    let other = format!("{AUTHORIZED}Origin: http://elsewhere\r\n");
    let site = format!("{AUTHORIZED}Sec-Fetch-Site: cross-site\r\n");
    let own = format!("{AUTHORIZED}Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n");
    for (headers, status, words) in [
        (&none, 401, "the token is missing"),
        (&"X-Plimsoll-Via: control\r\n".to_owned(), 401, "the token is missing"),
        (&"Authorization: Bearer 0123456789abcdeF\r\n".to_owned(), 401, "the token is wrong"),
        (&"Authorization: Basic abc\r\n".to_owned(), 401, "the token is missing"),
        (&other, 403, "from other sites"),
        (&site, 403, "from other sites"),
        (&own, 202, "scaling resumed"),
        (&forged, 202, "was not paused"),
    ] {
        if status == 202 && words == "scaling resumed" {
            check(&control.ask("POST /services/web/pause", "", ""), 202, "scaling paused");
        }
        let answer = tcp.ask("POST /services/web/resume", headers, "");
        check(&answer, status, words);
        assert_eq!(answer.head.contains("www-authenticate: bearer"), status == 401);
    }
    // To read is allowed to everybody, and tells nobody the token.
    assert!(!tcp.get("/status").body.contains(TOKEN));
    assert!(!daemon.lines().iter().any(|line| line.contains(TOKEN)));
    drop(daemon);
    harness.set("/api/token", json!(null));
    harness.config["api"].as_object_mut().unwrap().remove("token");
    let _daemon = start(&harness, &tcp);
    check(&tcp.ask("POST /pause", AUTHORIZED, ""), 403, "set api.token");
    check(&control.ask("POST /pause", "", ""), 202, "scaling paused");
}

#[test]
fn a_command_changes_what_runs_and_survives_the_daemon() {
    let (harness, tcp, control) = harness("order");
    let daemon = start(&harness, &tcp);
    let running = |n: usize| reached(SOON, || harness.docker.names("running").len() == n);
    let scale = |body: &str| control.ask("POST /services/web/scale", "", body);
    check(&scale(r#"{"replicas":3,"for":"2h","reason":"sale"}"#), 202, "web: 3 replicas, for");
    assert!(running(3), "{:?}", harness.docker.names("running"));
    let service = control.get("/services/web").json();
    assert_eq!((&service["hold"]["replicas"], &service["reason"]), (&json!(3), &json!("Held")));
    check(&control.ask("POST /services/web/scale/up", "", ""), 409, "TooManyReplicas");
    end(daemon, "TERM", secs(5));

    let daemon = start(&harness, &tcp);
    let service = control.get("/services/web").json();
    assert_eq!(service["hold"]["reason"], "sale");
    assert!(service["hold"]["left_s"].as_u64().unwrap() <= 7200);
    check(&scale(r#"{"by":-2}"#), 202, "web: 1 replica, until further notice");
    assert!(running(1));
    // Killed at once after the answer: what was accepted was stored before.
    check(
        &control.ask("POST /services/web/scale/up", "", ""),
        202,
        "web: 2 replicas, until further notice",
    );
    daemon.kill();
    let _daemon = start(&harness, &tcp);
    assert!(running(2));
    check(&scale(r#"{"auto":true}"#), 202, "released by command");
}

#[test]
fn a_pause_keeps_the_number_and_replaces_what_exits() {
    let (mut harness, tcp, control) = harness("pause");
    let daemon = start(&harness, &tcp);
    check(&control.ask("POST /services/web/pause", "", ""), 202, "scaling paused");
    harness.set("/services/web/min_replicas", json!(3));
    harness.write();
    check(&control.ask("POST /config/reload", "", ""), 200, "services.web: min_replicas");
    harness.wait_evaluations(3);
    assert_eq!(harness.docker.names("running"), ["web-1"]);
    harness.docker.turn("web-1", "exited", "die");
    assert!(reached(SOON, || harness.docker.names("running") == ["web-2"]));
    assert_eq!(daemon.count(&["kind=scale.up", "from=1"]), 0);
    check(&control.ask("POST /services/web/resume", "", ""), 202, "scaling resumed");
    assert!(reached(SOON, || harness.docker.names("running").len() == 3));
}

#[test]
fn a_bad_config_is_answered_with_every_problem() {
    let (mut harness, tcp, control) = harness("config");
    let _daemon = start(&harness, &tcp);
    harness.set("/services/web/max_replicas", json!(0));
    harness.set("/autoscaler/log_level", json!("loud"));
    harness.write();
    let answer = control.ask("POST /config/reload", "", "");
    check(&answer, 422, "the daemon keeps the old one");
    let problems = answer.json()["detail"].as_array().unwrap().len();
    assert_eq!(problems, 2, "{answer:?}");
}

#[test]
fn it_is_not_ready_while_docker_does_not_answer() {
    let (mut harness, tcp, control) = harness("ready");
    harness.set("/docker/timeout", json!(1));
    let _daemon = start(&harness, &tcp);
    harness.docker.fault(Route::List, Fault::Refuse(500, "no"));
    let answer = || control.get("/readyz");
    assert!(reached(secs(20), || answer().status == 503), "{:?}", answer());
    check(&answer(), 503, "the last good tick was 1");
    check(&control.get("/healthz"), 200, "alive");
    harness.docker.heal();
    assert!(reached(SOON, || answer().status == 200), "{:?}", answer());
}

/// Docker may come late: what the config says and what was ordered is shown until then.
#[test]
fn services_are_shown_before_docker_ever_answered() {
    let mut harness = Harness::without_docker("unseen");
    harness.set("/services/web/max_replicas", json!(3));
    harness.set("/services/web/scale_up_threshold", json!(90));
    harness.set("/services/web/scale_down_threshold", json!(0));
    let control = To::Unix(harness.dir.join("api.sock"));
    let daemon = harness.start();
    daemon.wait(&["kind=docker.lost"], SOON);
    let pause = r#"{"for":"10m"}"#;
    check(&control.ask("POST /services/web/pause", "", pause), 202, "scaling paused");
    let hold = r#"{"replicas":2,"reason":"sale"}"#;
    check(&control.ask("POST /services/web/scale", "", hold), 202, "2 replicas");
    let web = || control.get("/services/web").json();
    assert!(reached(SOON, || !web()["hold"].is_null()), "{}", web());
    let seen = web();
    let keys = ["ready", "unready", "min", "max", "reason"];
    let shown = keys.map(|key| seen[key].clone());
    assert_eq!(json!(shown), json!([0, 0, 1, 3, "MetricsMissing"]), "{seen}");
    assert_eq!((&seen["hold"]["replicas"], &seen["hold"]["reason"]), (&json!(2), &json!("sale")));
    assert!(seen["pause"]["left_s"].as_u64().is_some_and(|left| left <= 600), "{seen}");
    assert_eq!(control.get("/services").json().as_array().map(Vec::len), Some(1));
    assert_eq!(control.get("/services/web/stats").json()["replicas"], json!([]));
    check(&control.get("/services/web/explain"), 503, "docker does not answer: cannot reach");
    check(&control.get("/services/shop"), 404, "it has: web");
    let page = control.get("/metrics").body;
    for line in
        ["plimsoll_replicas_min{service=\"web\"} 1", "plimsoll_hold_active{service=\"web\"} 1"]
    {
        assert!(page.lines().any(|l| l == line), "no {line} in\n{page}");
    }
    harness.docker.open();
    assert!(reached(SOON, || web()["ready"] == 2), "{}", web());
}

#[test]
fn a_place_that_is_taken_is_reported_and_keeps_nothing_from_running() {
    let (harness, tcp, control) = harness("taken");
    let To::Tcp(address) = &tcp else { unreachable!() };
    let taken = TcpListener::bind(address).unwrap();
    let other = UnixListener::bind(harness.dir.join("api.sock")).unwrap();
    let daemon = harness.start();
    daemon.wait(&["error", &format!("cannot listen on {address}"), "another api.listen"], SOON);
    daemon.wait(&["error", "api.sock: ", "another api.socket"], SOON);
    harness.wait_served();
    drop((taken, other));
    // What the other one left is nobody's any more.
    let answers =
        |to: &To| to.say(b"GET /healthz HTTP/1.0\r\n\r\n").is_some_and(|a| a.status == 200);
    assert!(reached(secs(25), || answers(&tcp) && answers(&control)));
    assert_eq!(daemon.count(&["cannot listen on"]), 2, "reported once each");
}
