//! Docker over TCP behind the HAProxy of `contrib/docker/proxy`, which lets through what plimsoll
//! calls and nothing else, and behind others that refuse one call after another or cut streams.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::PoisonError;

use serde_json::Value;

use crate::daemon::{Daemon, plimsoll, reached, secs};
use crate::private_docker::{Dockerd, ONE, composes, configure_composes, run_composes, testbed_on};
use crate::raw_http::To;
use crate::testbed::{HAPROXY, IMAGE, Testbed, everyone, free_port};

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/docker/proxy/haproxy.cfg");

/// An HAProxy in front of Docker. It ends with the test.
struct Filter {
    child: Option<Child>,
    rules: PathBuf,
    docker: PathBuf,
    write: String,
    read: String,
}

impl Filter {
    fn start(rules: &Path, docker: &Path) -> Filter {
        let address = || format!("127.0.0.1:{}", free_port());
        let (rules, docker) = (rules.to_owned(), docker.to_owned());
        let mut filter = Filter { child: None, rules, docker, write: address(), read: address() };
        filter.up();
        filter
    }

    fn up(&mut self) {
        let mut command = Command::new(HAPROXY);
        command.arg("-db").arg("-f").arg(&self.rules).stdout(Stdio::null()).stderr(Stdio::null());
        command.env("WRITE", &self.write).env("READ", &self.read).env("DOCKER", &self.docker);
        self.child = Some(command.spawn().unwrap());
        let listens = || asked(&self.write, "GET", "/_ping").is_some();
        assert!(reached(secs(10), listens), "HAProxy does not start with {:?}", self.rules);
    }

    fn down(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// For `docker.socket`.
    fn address(&self) -> PathBuf {
        PathBuf::from(format!("tcp://{}", self.write))
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        self.down();
    }
}

/// Rules of a proxy that passes on all calls, but for `more`.
fn rules(testbed: &Testbed, name: &str, more: &str, silence: &str) -> PathBuf {
    let text = format!(
        "global\n    maxconn 500\ndefaults\n    mode http\n    timeout connect 5s\n    timeout \
         client {silence}\n    timeout server {silence}\nfrontend write\n    bind \"${{WRITE}}\"\n\
         {more}    default_backend docker\nbackend docker\n    server docker \
         \"unix@${{DOCKER}}\"\n"
    );
    testbed.dir.write(name, &text)
}

/// The status of the answer.
fn asked(address: &str, method: &str, path: &str) -> Option<u16> {
    let head = "Host: docker\r\nConnection: close\r\nContent-Length: 0";
    let request = format!("{method} {path} HTTP/1.1\r\n{head}\r\n\r\n");
    To::Tcp(address.to_owned()).say(request.as_bytes()).map(|answer| answer.status)
}

/// The findings of `doctor` about one subject.
fn findings(config: &Path, check: &str) -> Vec<Value> {
    let out = plimsoll(&["doctor", "--json", "--config", config.to_str().unwrap()]);
    let mut document: Value = serde_json::from_slice(&out.stdout).unwrap();
    let Value::Array(all) = document["findings"].take() else { panic!("{document:#}") };
    all.into_iter().filter(|finding| finding["check"] == check).collect()
}

const TWO: &str = r#""min_replicas": 2, "max_replicas": 2"#;

#[test]
fn the_whole_job_goes_through_the_filter_and_nothing_else_does() {
    let mut testbed = Testbed::new("filter");
    let filter = Filter::start(Path::new(RULES), &testbed.docker_socket);
    testbed.daemons_socket = Some(filter.address());
    let config = testbed.configure(TWO);
    let calls = findings(&config, "docker.calls");
    assert_eq!((calls.len(), &calls[0]["verdict"]), (1, &Value::from("ok")), "{calls:#?}");
    assert_eq!(findings(&config, "docker.host"), [] as [Value; 0]);
    let daemon = Daemon::start(&config);
    testbed.wait_serving(2, secs(40), &daemon);
    let load = everyone(&testbed);
    load.wait_for(secs(10), |c| 100 < c.sent());
    for (bounds, count) in [
        (r#""min_replicas": 4, "max_replicas": 4"#, 4),
        (r#""min_replicas": 1, "max_replicas": 1"#, 1),
    ] {
        testbed.configure(bounds);
        daemon.signal("HUP");
        testbed.wait_serving(count, secs(60), &daemon);
        let is_settled = || testbed.containers().len() == count;
        assert!(reached(secs(60), is_settled), "{:?}", testbed.containers());
    }
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "{counts}\n{:#?}", daemon.lines());
    // Docker's events arrive: the next check alone would be slower.
    let (id, ..) = testbed.containers().remove(0);
    testbed.crash(&id);
    daemon.wait(&["kind=replica.exited"], secs(10));
    let is_replaced = || {
        let all = testbed.containers();
        matches!(&all[..], [(new, _, state)] if *new != id && state == "running")
    };
    assert!(reached(secs(30), is_replaced), "{:#?}", daemon.lines());
    assert_eq!(daemon.count(&["kind=docker.refused"]), 0, "{:#?}", daemon.lines());
    assert_eq!(daemon.count(&["kind=docker.lost"]), 0, "{:#?}", daemon.lines());
    let (id, ..) = testbed.containers().remove(0);
    for (door, method, path, want) in [
        (&filter.write, "GET", "/v1.41/containers/json".to_owned(), 200),
        (&filter.write, "POST", format!("/v1.41/containers/{id}/exec"), 403),
        (&filter.write, "POST", format!("/v1.41/containers/{id}/kill"), 403),
        (&filter.write, "POST", format!("/v1.41/containers/{id}/rename?name=x"), 403),
        (&filter.write, "POST", format!("/containers/{id}/attach"), 403),
        (&filter.write, "PUT", format!("/v1.41/containers/{id}/archive?path=/"), 403),
        (&filter.write, "GET", format!("/v1.41/containers/{id}/archive?path=/"), 403),
        (&filter.write, "POST", "/v1.41/build".to_owned(), 403),
        (&filter.write, "POST", "/build".to_owned(), 403),
        (&filter.write, "POST", "//v1.41/build".to_owned(), 403),
        (&filter.write, "POST", "/v1.41/containers/../build".to_owned(), 403),
        (&filter.write, "POST", "/v1.41/containers/%2e%2e/build".to_owned(), 403),
        (&filter.write, "POST", format!("/v1.41/containers/{id}/start/../exec"), 403),
        (&filter.write, "DELETE", format!("/v1.41/images/{IMAGE}"), 403),
        (&filter.write, "DELETE", "/v1.41/volumes/x".to_owned(), 403),
        (&filter.write, "POST", "/v1.41/volumes/create".to_owned(), 403),
        (&filter.write, "POST", "/v1.41/containers/prune".to_owned(), 403),
        (&filter.write, "GET", "/v1.41/nodes".to_owned(), 403),
        (&filter.write, "GET", "/v1.41/secrets".to_owned(), 403),
        (&filter.read, "GET", "/v1.41/containers/json".to_owned(), 200),
        (&filter.read, "GET", format!("/v1.41/containers/{id}/json"), 200),
        (&filter.read, "GET", format!("/v1.41/containers/{id}/logs?stdout=1"), 403),
        (&filter.read, "POST", format!("/v1.41/containers/{id}/stop"), 403),
        (&filter.read, "DELETE", format!("/v1.41/containers/{id}"), 403),
        (&filter.read, "POST", "/v1.41/containers/create".to_owned(), 403),
    ] {
        let status = asked(door, method, &path);
        assert_eq!(status, Some(want), "{method} {path}");
    }
    let (still, ..) = testbed.containers().remove(0);
    assert_eq!(still, id);
}

/// `(METHOD, path)` of each call in the table of QUICKREF.
fn documented() -> Vec<(String, String)> {
    let quickref = include_str!("../../QUICKREF.md");
    let (_, table) = quickref.split_once("| call | switches |").unwrap();
    let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| `"));
    let calls = rows.filter_map(|row| row.split('`').next()?.split_once(' '));
    calls.map(|(method, path)| (method.to_owned(), path.to_owned())).collect()
}

/// A config that needs every call of the table.
fn needs_all(testbed: &Testbed, docker: &Path) -> PathBuf {
    let dir = testbed.dir.path().display();
    let text = format!(
        r#"{{
  "autoscaler": {{ "state_dir": "{dir}/state" }},
  "docker": {{ "socket": "{}", "timeout": 5 }},
  "api": {{ "listen": null, "socket": "{dir}/api.sock" }},
  "load_balancer": {{
    "mode": "container", "container": "plimsoll-e2e-none", "config": "{dir}/haproxy.cfg",
    "pid_file": "{dir}/haproxy.pid", "socket": "{dir}/haproxy.sock"
  }},
  "services": {{
    "a": {{ "image": "{IMAGE}", "port": 8080, "max_replicas": 1, "networks": ["bridge", "host2"],
           "image_updates": {{}} }},
    "b": {{ "engine": "swarm", "swarm_service": "none", "port": 8080, "min_replicas": 2,
           "max_replicas": 2 }}
  }}
}}
"#,
        docker.display()
    );
    testbed.dir.write("all.json", &text)
}

#[test]
fn doctor_names_exactly_the_call_that_is_refused() {
    let testbed = Testbed::new("refused");
    let before = testbed.docker(&["ps", "-aq"]);
    let socket = testbed.docker_socket.clone();
    let all = documented();
    assert!(20 < all.len(), "{all:?}");
    // What needs no proxy is whole without one: Docker itself answers each harmless form.
    let config = needs_all(&testbed, &socket);
    let calls = findings(&config, "docker.calls");
    assert_eq!((calls.len(), &calls[0]["verdict"]), (1, &Value::from("ok")), "{calls:#?}");
    for (method, path) in all.iter().filter(|(_, path)| path != "/_ping") {
        let pattern = path.replace("ID", "[^/]+").replace("NAME", "[^/]+");
        let more = format!(
            "    http-request deny if {{ method {method} }} {{ path -m reg \
             ^(/v[0-9.]+)?{pattern}$ }}\n"
        );
        let filter = Filter::start(&rules(&testbed, "one.cfg", &more, "10m"), &socket);
        let calls = findings(&needs_all(&testbed, &filter.address()), "docker.calls");
        let words = format!("refuses {method} {path} (403)");
        let named: Vec<&str> = calls.iter().filter_map(|call| call["message"].as_str()).collect();
        assert!(matches!(named[..], [one] if one.contains(&words)), "{words}: {calls:#?}");
        assert!(calls[0]["remedy"].as_str().unwrap().contains("=1"), "{calls:#?}");
    }
    assert_eq!(testbed.docker(&["ps", "-aq"]), before, "a try made a container");
}

/// Somebody's stop stays one, though the proxy ends streams that are silent and is restarted.
#[test]
fn a_proxy_that_cuts_the_stream_of_events_starts_nothing_that_was_stopped() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dockerd = Dockerd::start(false);
    let mut testbed = testbed_on(&dockerd, "cut");
    run_composes(&testbed, 2);
    let short = rules(&testbed, "short.cfg", "", "2s");
    let mut filter = Filter::start(&short, &testbed.docker_socket);
    testbed.daemons_socket = Some(filter.address());
    let daemon = Daemon::start(&configure_composes(&testbed));
    testbed.wait_serving(2, secs(30), &daemon);
    let stopped = composes(&testbed).remove(0);
    testbed.docker(&["stop", "-t", "1", &stopped]).unwrap();
    // Right after: as `docker compose stop` ends the proxy's container too.
    filter.down();
    daemon.wait(&["kind=docker.lost"], secs(20));
    filter.up();
    daemon.wait(&["kind=docker.back"], secs(20));
    daemon.wait(&["kind=compose.stopped"], secs(40));
    let look = "desired=";
    let looks = daemon.count(&[look]);
    // For several cuts, each of which repeats the newest event.
    assert!(reached(secs(40), || looks + 12 <= daemon.count(&[look])));
    let format = "{{.State.Status}} {{.RestartCount}}";
    let state = testbed.docker(&["inspect", "--format", format, &stopped]).unwrap();
    assert_eq!(state.trim(), "exited 0", "{:#?}", daemon.lines());
    // Events come through the streams that were opened since.
    testbed.docker(&["start", &stopped]).unwrap();
    testbed.wait_serving(2, secs(20), &daemon);
    assert_eq!(composes(&testbed).len(), 2);
}

#[test]
fn what_compose_made_is_started_again_after_a_restart_of_docker_behind_a_proxy() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut dockerd = Dockerd::start(false);
    let mut testbed = testbed_on(&dockerd, "behind");
    run_composes(&testbed, 2);
    let filter = Filter::start(Path::new(RULES), &testbed.docker_socket);
    testbed.daemons_socket = Some(filter.address());
    let daemon = Daemon::start(&configure_composes(&testbed));
    testbed.wait_serving(2, secs(30), &daemon);
    let before = composes(&testbed);
    dockerd.down();
    daemon.wait(&["kind=docker.lost"], secs(20));
    dockerd.up();
    daemon.wait(&["kind=docker.back"], secs(10));
    testbed.wait_serving(2, secs(40), &daemon);
    assert_eq!(composes(&testbed), before, "{:#?}", daemon.lines());
}

/// The file may be read by people who write rules of their own: it stands as HAProxy reads it.
#[test]
fn the_rules_are_good_by_default_and_with_each_switch() {
    for switches in [&[][..], &[("EXEC", "1"), ("SWARM", "1")]] {
        let mut haproxy = Command::new(HAPROXY);
        let out = haproxy.args(["-c", "-f", RULES]).envs(switches.iter().copied()).output();
        let out = out.unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    assert!(fs::read_to_string(RULES).unwrap().is_ascii());
}
