//! Every call of the Engine API stands in QUICKREF's table, and each is tried by `doctor` before it
//! is needed: through a proxy that refuses one after another.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use serde_json::{Value, json};

use crate::daemon::{plimsoll, reached, secs};
use crate::fake_docker::{Fault, Route};
use crate::harness::Harness;

/// Copies bytes between TCP and a Unix socket. It ends with the test program.
fn front(socket: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let socket = socket.to_owned();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            // Without Docker the client is hung up on.
            let Ok(docker) = UnixStream::connect(&socket) else { continue };
            let back = (docker.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || {
                copy(client.try_clone().unwrap(), docker.try_clone().unwrap());
                drop(docker.shutdown(Shutdown::Both));
            });
            thread::spawn(move || {
                let client = back.1.try_clone().unwrap();
                copy(back.0, back.1);
                drop(client.shutdown(Shutdown::Both));
            });
        }
    });
    address
}

fn copy(mut from: impl Read, mut to: impl Write) {
    // Either side may hang up.
    drop(io::copy(&mut from, &mut to));
}

/// A harness whose daemon reaches Docker over TCP.
fn over_tcp(name: &str) -> Harness {
    let mut harness = Harness::new(name);
    let address = front(&harness.dir.join("docker.sock"));
    harness.set("/docker/socket", json!(format!("tcp://{address}/")));
    harness
}

fn doctor(harness: &Harness) -> Vec<Value> {
    let config = harness.write();
    let out = plimsoll(&["doctor", "--json", "--config", config.to_str().unwrap()]);
    let document: Value = serde_json::from_slice(&out.stdout).unwrap();
    document["findings"].as_array().unwrap().clone()
}

#[test]
fn the_whole_life_of_a_replica_goes_over_tcp() {
    let mut harness = over_tcp("tcp");
    let daemon = harness.start();
    harness.wait_served();
    let of_docker: Vec<String> = doctor(&harness)
        .iter()
        .filter(|finding| finding["check"] == "docker")
        .map(|finding| finding["message"].as_str().unwrap().to_owned())
        .collect();
    assert!(of_docker[0].starts_with("answers on tcp://127.0.0.1:"), "{of_docker:?}");
    // A stream that is cut is opened again, and events wake the daemon at once.
    let is_followed = || reached(secs(10), || harness.docker.streams() == 1);
    assert!(is_followed());
    harness.docker.cut_streams();
    assert!(is_followed());
    harness.docker.end("web-1", 3, false, "it was time");
    daemon.wait(&["kind=replica.exited"], secs(10));
    harness.set("/services/web/max_replicas", json!(2));
    harness.set("/services/web/min_replicas", json!(2));
    harness.write();
    daemon.signal("HUP");
    let running = || harness.docker.names("running").len();
    assert!(reached(secs(20), || running() == 2), "{:#?}", daemon.lines());
    // Docker goes and comes back behind the same address.
    harness.docker.close();
    daemon.wait(&["kind=docker.lost", "cannot reach Docker at tcp://127.0.0.1:"], secs(10));
    harness.docker.open();
    daemon.wait(&["kind=docker.back"], secs(10));
    // And cannot be moved by a reload.
    harness.set("/docker/socket", json!("tcp://127.0.0.1:1"));
    harness.write();
    daemon.signal("HUP");
    daemon.wait(&["kind=config.rejected"], secs(10));
}

/// Exactly these calls are named, each with a remedy.
#[track_caller]
fn check_refused(harness: &Harness, want: &[(&str, &str, &str)]) {
    let all = doctor(harness);
    let of = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let calls: Vec<_> = all.iter().filter(|f| f["check"] == "docker.calls").collect();
    assert_eq!(calls.len(), want.len(), "{all:#?}");
    for (finding, (call, verdict, switches)) in calls.iter().zip(want) {
        assert!(of(finding, "message").contains(&format!("refuses {call} (403): ")), "{finding}");
        assert_eq!(of(finding, "verdict"), *verdict, "{finding}");
        assert!(of(finding, "remedy").contains(switches), "{finding}");
    }
    let is_other = |f: &&Value| f["verdict"] == "fails" && f["check"] != "docker.calls";
    assert_eq!(all.iter().filter(is_other).count(), 0, "{all:#?}");
}

const FORBIDDEN: &str = "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n<html><body>\
    <h1>403 Forbidden</h1>\nRequest forbidden by administrative rules.\n</body></html>";

#[test]
fn each_call_that_a_proxy_refuses_is_named_with_what_allows_it() {
    let harness = over_tcp("refused");
    let vital = "fails";
    let other = "warning";
    for (route, call, verdict, switches) in [
        (Route::List, "GET /containers/json", vital, "CONTAINERS=1"),
        (Route::Inspect, "GET /containers/ID/json", vital, "CONTAINERS=1"),
        (Route::Image, "GET /images/NAME/json", vital, "IMAGES=1"),
        (Route::Events, "GET /events", other, "EVENTS=1"),
        (Route::Info, "GET /info", other, "INFO=1"),
        (Route::Stats, "GET /containers/ID/stats", other, "CONTAINERS=1"),
        (Route::Logs, "GET /containers/ID/logs", other, "CONTAINERS=1"),
        (Route::Create, "POST /containers/create", vital, "CONTAINERS=1 POST=1"),
        (Route::Start, "POST /containers/ID/start", vital, "ALLOW_START=1 POST=1"),
        (Route::Stop, "POST /containers/ID/stop", vital, "ALLOW_STOP=1 POST=1"),
        (Route::Remove, "DELETE /containers/ID", vital, "CONTAINERS=1 POST=1"),
        (Route::Pull, "POST /images/create", other, "IMAGES=1 POST=1"),
    ] {
        harness.docker.fault(route, Fault::Raw(FORBIDDEN.to_owned(), 0));
        check_refused(&harness, &[(call, verdict, switches)]);
        harness.docker.heal();
    }
    assert_eq!(harness.docker.containers().len(), 0, "a try made a container");
}

#[test]
fn a_refused_ping_is_not_taken_for_another_program() {
    for (answer, words) in [
        (FORBIDDEN, "get /_ping: 403 a proxy in front of Docker refused this call"),
        (
            "HTTP/1.1 503 X\r\n\r\n<html><h1>503 Service Unavailable</h1></html>",
            "a proxy answers, but Docker behind it does not (503)",
        ),
        (
            "HTTP/1.1 400 X\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
            "wants TLS; set docker.tls",
        ),
        ("HTTP/1.1 200 OK\r\n\r\nhello", "is not a Docker socket"),
    ] {
        let harness = over_tcp("ping");
        harness.docker.fault(Route::Ping, Fault::Raw(answer.to_owned(), 0));
        let all = doctor(&harness);
        let docker = all.iter().find(|f| f["check"] == "docker").unwrap();
        assert_eq!(docker["verdict"], "fails", "{docker}");
        assert!(docker["message"].as_str().unwrap().contains(words), "{docker}");
        assert!(docker["remedy"].as_str().unwrap().contains("the proxy"), "{docker}");
    }
}

#[test]
fn a_daemon_behind_a_proxy_reports_each_refused_call_once_and_goes_on() {
    let harness = over_tcp("reported");
    harness.docker.fault(Route::Events, Fault::Raw(FORBIDDEN.to_owned(), 0));
    harness.docker.fault(Route::Info, Fault::Raw(FORBIDDEN.to_owned(), 0));
    let daemon = harness.start();
    let words = ["kind=docker.refused", "refuses GET /events (403)", "EVENTS=1"];
    daemon.wait(&words, secs(10));
    harness.wait_served();
    let asked = harness.docker.count(Route::Events);
    assert!(reached(secs(10), || asked + 2 <= harness.docker.count(Route::Events)));
    assert_eq!(daemon.count(&["kind=docker.refused", "GET /events"]), 1, "{:#?}", daemon.lines());
    harness.docker.heal();
    daemon.wait(&["kind=docker.refused", "resolved: GET /events is allowed"], secs(10));
}

#[test]
fn docker_host_is_the_default_of_the_default() {
    let mut harness = Harness::new("environment");
    let socket = harness.dir.join("docker.sock").display().to_string();
    let address = front(&harness.dir.join("docker.sock"));
    harness.set("/docker", json!({ "timeout": 1 }));
    let config = harness.write();
    let run = |host: &str, more: &[(&str, &str)]| {
        let mut command = std::process::Command::new(crate::daemon::PLIMSOLL);
        command.args(["doctor", "--json", "--config"]).arg(&config).env("DOCKER_HOST", host);
        command.env_remove("DOCKER_TLS_VERIFY").env_remove("DOCKER_CERT_PATH");
        let out = command.envs(more.iter().copied()).output().unwrap();
        let document: Value = serde_json::from_slice(&out.stdout).unwrap();
        let all = document["findings"].as_array().unwrap().clone();
        let of = |check: &str| {
            let found = all.iter().find(|f| f["check"] == check);
            found.map(|f| f["message"].as_str().unwrap().to_owned()).unwrap_or_default()
        };
        (of("config"), of("docker"))
    };
    for host in [format!("unix://{socket}"), socket.clone(), format!("tcp://{address}")] {
        let (_, docker) = run(&host, &[]);
        let shown = host.strip_prefix("unix://").unwrap_or(&host);
        assert!(docker.contains(&format!("answers on {shown} (from $DOCKER_HOST)")), "{docker}");
    }
    // DOCKER_CERT_PATH alone turns nothing on.
    let (_, docker) = run(&format!("tcp://{address}"), &[("DOCKER_CERT_PATH", "/nowhere")]);
    assert!(docker.contains("answers on tcp://"), "{docker}");
    for (host, more, words) in [
        ("ssh://me@h", &[][..], "DOCKER_HOST: plimsoll opens no SSH connection"),
        ("tcp://h:1/x", &[], "DOCKER_HOST: must be tcp://HOST:PORT, without a path"),
        ("tcp://203.0.113.1:2375", &[], "DOCKER_HOST: tcp://203.0.113.1:2375 is no private"),
        (
            "tcp://h",
            &[("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", "certs")],
            "DOCKER_CERT_PATH must be an absolute path",
        ),
    ] {
        let (config, docker) = run(host, more);
        assert!(config.contains(words) && docker.is_empty(), "{host}: {config} {docker}");
    }
    // A key of the file outranks it, and an empty variable is none.
    harness.set("/docker", json!({ "timeout": 1, "socket": socket }));
    harness.write();
    for host in ["ssh://me@h", "", "tcp://127.0.0.1:1"] {
        let (_, docker) = run(host, &[]);
        assert!(docker.starts_with(&format!("answers on {socket}, API")), "{host}: {docker}");
    }
}
