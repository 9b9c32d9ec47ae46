//! Services that labels in a compose file configure, by docker compose of both generations, on a
//! Docker of the test's own: labels are followed while clients are served, and a mistake in them
//! costs nobody a request.

use std::process::Command;
use std::sync::PoisonError;

use serde_json::{Value, json};

use crate::compose_real::{FIRST, SECOND};
use crate::daemon::{Daemon, PLIMSOLL, reached, secs, signal};
use crate::load::Load;
use crate::private_docker::{Dockerd, ONE, testbed_on};
use crate::testbed::{HAPROXY, IMAGE, QUIET, Testbed, clients, everyone};

/// What both services have in common; evaluations do not change the number.
const QUICK: &str = "health_check.interval: 1s
      plimsoll.health_check.path: /health
      plimsoll.scale_up_threshold: 5000
      plimsoll.scale_down_threshold: 0
      plimsoll.cooldown_period: 1s
      plimsoll.drain_timeout: 5s
      plimsoll.stop_timeout: 1s";

struct Project<'a> {
    testbed: &'a Testbed,
    name: &'a str,
    program: &'static str,
}

impl Project<'_> {
    /// Writes the compose file and has compose apply it to the second service, which has the lines
    /// of labels `api`. Of the first one compose would take away the replica that plimsoll made.
    #[track_caller]
    fn up(&self, api: &str) {
        let labels = match api {
            "" => String::new(),
            lines => format!("    labels:\n      {}\n", lines.replace('\n', "\n      ")),
        };
        let service = |name: &str, labels: &str| {
            format!(
                "  {name}:\n    image: {IMAGE}\n    network_mode: bridge\n    stop_grace_period: \
                 1s\n{labels}"
            )
        };
        let web = "    labels:\n      plimsoll.port: 8080\n      plimsoll.path: /\n      \
                   plimsoll.host: shop.example\n      plimsoll.routes.0.path: /\n      \
                   plimsoll.min: 2\n      plimsoll.max: 3\n      plimsoll.";
        let web = format!("{web}{QUICK}\n");
        let text = format!(
            "version: '3.3'\nservices:\n{}{}",
            service("web", &web),
            service("api", &labels)
        );
        self.testbed.dir.write("compose.yaml", &text);
        let (done, said) = self.compose(&["up", "-d", "api"]);
        assert!(done, "{said}");
    }

    fn compose(&self, args: &[&str]) -> (bool, String) {
        let file = self.testbed.dir.join("compose.yaml");
        let host = format!("unix://{}", self.testbed.docker_socket.display());
        let mut command = Command::new(self.program);
        command.env("DOCKER_HOST", host).args(["-p", self.name, "-f"]).arg(file).args(args);
        let out = command.output();
        let out = out.unwrap_or_else(|e| panic!("{}: {e}; run `make setup-test`", self.program));
        (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
    }
}

fn configure(testbed: &Testbed) -> std::path::PathBuf {
    let dir = testbed.dir.path().display().to_string();
    let config = json!({
        "autoscaler": { "cpu_reserve": 0, "check_interval": 1,
            "state_dir": format!("{dir}/state") },
        "docker": { "socket": testbed.docker_socket, "timeout": 10 },
        "api": { "listen": null, "socket": format!("{dir}/api.sock") },
        "load_balancer": {
            "binary": HAPROXY,
            "config": format!("{dir}/haproxy.cfg"),
            "pid_file": format!("{dir}/haproxy.pid"),
            "socket": format!("{dir}/haproxy.sock"),
            "min_reload_interval": "200ms",
            "frontends": { "main": { "listen": format!("127.0.0.1:{}", testbed.port) } },
        },
        "services": {},
    });
    testbed.dir.write("config.json", &config.to_string())
}

/// `plimsoll services --json`; null when nobody answers.
fn services(testbed: &Testbed) -> Value {
    let socket = testbed.dir.join("api.sock");
    let out = Command::new(PLIMSOLL).args(["services", "--json", "--socket"]).arg(socket).output();
    serde_json::from_slice(&out.unwrap().stdout).unwrap_or_default()
}

/// One service, as `plimsoll services` has it.
fn service(testbed: &Testbed, name: &str) -> Option<Value> {
    let all = services(testbed);
    all["services"].as_array()?.iter().find(|service| service["name"] == name).cloned()
}

/// Compose ends a container before it starts the next one, so that nobody may answer for a while.
#[track_caller]
fn wait_status(testbed: &Testbed, host: &str) {
    let is_good = reached(secs(30), || status_for(testbed, host) == "200");
    assert!(is_good, "{host}: {} {:#?}", status_for(testbed, host), services(testbed));
}

/// The status that a host's request gets.
fn status_for(testbed: &Testbed, host: &str) -> String {
    let url = format!("http://127.0.0.1:{}/", testbed.port);
    let header = format!("Host: {host}");
    let args = ["-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "-H", &header, &url];
    let out = Command::new("curl").args(args).output().unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn follow_with(program: &'static str, name: &str) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _busy = QUIET.write().unwrap_or_else(PoisonError::into_inner);
    let dockerd = Dockerd::start(false);
    let testbed = testbed_on(&dockerd, name);
    let project = Project { testbed: &testbed, name, program };
    let [web, api] = ["web", "api"].map(|service| format!("{name}-{service}"));
    project.up("");
    assert!(project.compose(&["up", "-d"]).0);
    let config = configure(&testbed);
    let daemon = Daemon::start(&config);
    let serve = |service: &str, count: usize| {
        let done = reached(secs(60), || testbed.serving_for(service).len() == count);
        assert!(done, "{service}: {:?} {:#?}", services(&testbed), daemon.lines());
    };
    serve(&web, 2);
    assert!(service(&testbed, &api).is_none(), "it has no label");
    let source = service(&testbed, &web).unwrap()["source"].as_str().unwrap().replace('_', "-");
    // Compose made one, plimsoll the other: that of compose counts.
    assert_eq!(source, format!("container {name}-web-1"));
    let load = everyone(&testbed);

    // Added.
    let labels = format!("plimsoll.port: 8080\nplimsoll.host: api.example\nplimsoll.{QUICK}");
    let labels = labels.replace("\n      ", "\n");
    project.up(&format!("{labels}\nplimsoll.max: 2\nplimsoll.min: 2"));
    serve(&api, 2);
    wait_status(&testbed, "api.example");
    // Changed.
    project.up(&format!("{labels}\nplimsoll.max: 4"));
    let most = |most: u64| service(&testbed, &api).is_some_and(|api| api["max"] == most);
    assert!(reached(secs(30), || most(4)), "{:#?}", services(&testbed));
    // Made bad: the last good labels count, also in the containers that compose made anew.
    let from = daemon.lines().len();
    project.up(&format!("{labels}\nplimsoll.max: many\nplimsoll.prot: 1"));
    for words in ["label plimsoll.max: must be a whole number", "label plimsoll.prot: unknown key"]
    {
        let rejected = ["kind=labels.rejected", &api, words, "the last good labels stay in force"];
        daemon.wait_from(from, &rejected, secs(30));
    }
    assert!(most(4));
    wait_status(&testbed, "api.example");
    assert_eq!(daemon.count(&["kind=labels.rejected", "plimsoll.max"]), 1, "each once");

    // A restart of the daemon does not forget what was good.
    daemon.kill();
    let daemon = Daemon::start(&config);
    let bad = ["kind=labels.rejected", "label plimsoll.max", "the last good labels stay in force"];
    daemon.wait(&bad, secs(30));
    assert!(reached(secs(30), || most(4)), "{:#?}", services(&testbed));
    wait_status(&testbed, "api.example");
    let problems = || services(&testbed)["labels"].to_string();
    assert!(problems().contains("last_good"), "{}", problems());

    // Two services with one host: who has it keeps it.
    project.up(&format!("{}\nplimsoll.max: 4", labels.replace("api.example", "shop.example")));
    let taken = ["kind=labels.rejected", "label plimsoll.host: is the same as container"];
    daemon.wait(&taken, secs(30));
    wait_status(&testbed, "shop.example");
    // Corrected.
    project.up(&format!("{labels}\nplimsoll.max: 3"));
    daemon.wait(&["kind=labels.rejected", &api, "resolved:"], secs(30));
    assert!(reached(secs(30), || most(3)), "{:#?}", services(&testbed));
    // Removed.
    project.up("");
    assert!(reached(secs(30), || service(&testbed, &api).is_none()), "{:#?}", services(&testbed));
    let is_of_web = || testbed.serving_for(&api).is_empty();
    assert!(reached(secs(30), is_of_web), "{:#?}", daemon.lines());

    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "requests of {web} were lost:\n{counts}");
    assert!(100 <= counts.sent(), "hardly any traffic:\n{counts}");
    drop(daemon);
    project.compose(&["down", "-t", "1"]);
}

#[test]
fn labels_are_followed_with_docker_compose_of_the_second_generation() {
    follow_with(SECOND, "labels2");
}

#[test]
fn labels_are_followed_with_docker_compose_of_the_first_generation() {
    follow_with(FIRST, "labels1");
}

/// A container with a thousand labels of 64 KiB each: it is refused, and others are not delayed.
#[test]
fn a_flood_of_labels_costs_bounded_time_and_memory() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _busy = QUIET.write().unwrap_or_else(PoisonError::into_inner);
    let dockerd = Dockerd::start(false);
    let testbed = testbed_on(&dockerd, "flood");
    let project = Project { testbed: &testbed, name: "flood", program: SECOND };
    project.up("");
    assert!(project.compose(&["up", "-d"]).0);
    let daemon = Daemon::start(&configure(&testbed));
    assert!(reached(secs(60), || testbed.serving_for("flood-web").len() == 2));
    let before = memory_kib(&daemon);
    let load = Load::start(testbed.address(), clients(2, crate::load::Kind::KeepAlive, "/", 20));
    let labels = |bytes: usize| {
        let value = "x".repeat(bytes);
        let many = (0..1000).map(|i| (format!("plimsoll.key{i}"), json!(value)));
        let of_compose = [
            ("project", "flood"),
            ("service", "big"),
            ("container-number", "1"),
            ("config-hash", "5a"),
            ("oneoff", "False"),
        ];
        let of_compose =
            of_compose.map(|(key, value)| (format!("com.docker.compose.{key}"), json!(value)));
        let all: serde_json::Map<_, _> = many.chain(of_compose).collect();
        json!({ "Image": IMAGE, "Labels": all })
    };
    let body = testbed.dir.write("flood.json", &labels(64 << 10).to_string());
    let url = "http://docker/v1.41/containers/create?name=flood-big-1";
    let out = Command::new("curl")
        .args(["-sS", "-f", "-X", "POST", "-H", "Content-Type: application/json", "--data-binary"])
        .arg(format!("@{}", body.display()))
        .arg("--unix-socket")
        .arg(&testbed.docker_socket)
        .arg(url)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let refused =
        ["kind=labels.rejected", "flood-big-1", "has more than 64 KiB of plimsoll.* labels"];
    daemon.wait(&refused, secs(60));
    // Scaling goes on beside it.
    let socket = testbed.dir.join("api.sock");
    let out =
        Command::new(PLIMSOLL).args(["scale", "flood-web", "3", "--socket"]).arg(socket).output();
    assert!(out.unwrap().status.success());
    let grown = reached(secs(60), || testbed.serving_for("flood-web").len() == 3);
    assert!(grown, "{:#?}", daemon.lines());
    // Such a list takes seconds in a build that is not optimized, and may come too late at times.
    let answers = || {
        let lost = daemon.count(&["kind=docker.lost"]);
        lost == daemon.count(&["kind=docker.back"])
    };
    assert!(reached(secs(30), answers), "{:#?}", daemon.lines());
    let after = memory_kib(&daemon);
    assert!(after < before + (12 << 10), "{before} KiB, then {after} KiB");
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "requests were lost:\n{counts}");
    drop(daemon);
    drop(testbed.docker(&["rm", "-f", "flood-big-1"]));
    project.compose(&["down", "-t", "1"]);
}

/// VmRSS.
fn memory_kib(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The places where the daemon looks if nobody names a file are folders of the test's own; its
/// Docker is, too.
fn daemon_without_names(testbed: &Testbed) -> Daemon {
    let mut script = String::from("set -e\n");
    for (folder, place) in
        [("etc", "/etc/plimsoll"), ("state", "/var/lib/plimsoll"), ("run", "/run/plimsoll")]
    {
        let own = testbed.dir.join(folder);
        std::fs::create_dir_all(&own).unwrap();
        script += &format!("mkdir -p {place}; mount --bind {} {place}\n", own.display());
    }
    let socket = testbed.docker_socket.display();
    script += &format!("mount --bind {socket} /var/run/docker.sock\nexec {PLIMSOLL} run\n");
    let mut command = Command::new("unshare");
    // What follows, a config file too, is for the script, which takes nothing.
    command.args(["--mount", "sh", "-c", &script, "sh"]);
    Daemon::start_by(command, std::path::Path::new("/nowhere"), &[])
}

/// Ends the HAProxy that such a daemon leaves.
struct LeftBehind<'a>(&'a Testbed);

impl Drop for LeftBehind<'_> {
    fn drop(&mut self) {
        let pids = std::fs::read_to_string(self.0.dir.join("run/haproxy.pid")).unwrap_or_default();
        pids.lines().filter_map(|pid| pid.parse().ok()).for_each(|pid| signal(pid, "KILL"));
    }
}

#[test]
fn no_config_file_is_needed_and_one_that_was_there_is_missed() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _busy = QUIET.write().unwrap_or_else(PoisonError::into_inner);
    let dockerd = Dockerd::start(false);
    let testbed = testbed_on(&dockerd, "nofile");
    let text = format!(
        "services:\n  web:\n    image: {IMAGE}\n    network_mode: bridge\n    labels:\n      \
         plimsoll.port: 8080\n      plimsoll.listen: 127.0.0.1:{}\n      plimsoll.max: 2\n      \
         plimsoll.health_check.interval: 1s\n",
        testbed.port
    );
    testbed.dir.write("compose.yaml", &text);
    let project = Project { testbed: &testbed, name: "nofile", program: SECOND };
    let _left = LeftBehind(&testbed);
    assert!(project.compose(&["up", "-d"]).0);
    let answers = || status_for(&testbed, "any.example") == "200";

    let daemon = daemon_without_names(&testbed);
    daemon.wait(&["kind=daemon.started", "no config file: labels configure services"], secs(30));
    assert!(reached(secs(60), answers), "{:#?}", daemon.lines());
    daemon.kill();

    // With a file the same service is served on; without it again, nothing is taken away.
    let config = testbed.dir.join("etc/config.json");
    std::fs::write(&config, "{\"services\": {}}").unwrap();
    let daemon = daemon_without_names(&testbed);
    // HAProxy needs no reload; the state is written by the first tick.
    let state = || std::fs::read_to_string(testbed.dir.join("state/state.json")).unwrap();
    let is_noted = || state().contains("\"has_config_file\": true");
    assert!(reached(secs(30), is_noted), "{} {:#?}", state(), daemon.lines());
    std::fs::remove_file(&config).unwrap();
    daemon.signal("HUP");
    daemon.wait(&["kind=config.rejected", "/etc/plimsoll/config.json", "does not exist"], secs(30));
    assert!(answers(), "{:#?}", daemon.lines());
    daemon.kill();
    let mut refused = daemon_without_names(&testbed);
    assert_eq!(refused.wait_exit(secs(30)).code(), Some(1), "{:#?}", refused.lines());
    let words = ["does not exist, and the daemon ran with it before: restore it"];
    assert_eq!(refused.count(&words), 1, "{:#?}", refused.lines());
    assert!(answers(), "HAProxy serves on");
    project.compose(&["down", "-t", "1"]);
}
