//! A service of a real Docker Swarm, of one node: a dockerd of the test's own. No port is published
//! there, since Swarm's ingress network wants IPVS of the kernel, which not every machine has.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::daemon::{Daemon, PLIMSOLL, reached};
use crate::private_docker::{Dockerd, ONE, testbed_on};
use crate::testbed::{IMAGE, Testbed, free_port};

const SOON: Duration = Duration::from_secs(30);

/// Left again with the test, with all of its services.
struct Swarm<'a> {
    testbed: &'a Testbed,
}

impl Swarm<'_> {
    fn start(testbed: &Testbed) -> Swarm<'_> {
        let address = format!("127.0.0.1:{}", free_port());
        let init = ["swarm", "init", "--advertise-addr", &address, "--listen-addr", &address];
        assert!(testbed.docker(&init).is_some(), "no Swarm here");
        Swarm { testbed }
    }

    fn create(&self, replicas: u32) {
        let replicas = replicas.to_string();
        let made = self.testbed.docker(&[
            "service",
            "create",
            "--detach",
            "--no-resolve-image",
            "--name",
            &self.testbed.service,
            "--replicas",
            &replicas,
            "--env",
            "GREETING=hello",
            "--stop-grace-period",
            "1s",
            IMAGE,
        ]);
        assert!(made.is_some(), "no service");
    }

    /// All that the service is to be, and its number apart.
    fn spec(&self) -> (Value, u64) {
        let shown = self.testbed.docker(&["service", "inspect", &self.testbed.service]);
        let mut shown: Value = serde_json::from_str(&shown.expect("it is there")).unwrap();
        let replicas = shown[0]["Spec"]["Mode"]["Replicated"]["Replicas"].take();
        (shown[0]["Spec"].take(), replicas.as_u64().unwrap())
    }

    /// Containers that run.
    fn running(&self) -> Vec<String> {
        let label = format!("label=com.docker.swarm.service.name={}", self.testbed.service);
        let ids = self.testbed.docker(&["ps", "-q", "--filter", &label]).unwrap_or_default();
        ids.lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn wait_running(&self, count: usize, daemon: &Daemon) {
        let all = reached(SOON, || self.running().len() == count);
        assert!(all, "{:?} run, not {count}: {:#?}", self.running(), daemon.lines());
    }
}

impl Drop for Swarm<'_> {
    fn drop(&mut self) {
        drop(self.testbed.docker(&["service", "rm", &self.testbed.service]));
        drop(self.testbed.docker(&["swarm", "leave", "--force"]));
        // Where something made it: it would outlive its dockerd.
        drop(self.testbed.docker(&["network", "rm", "docker_gwbridge"]));
    }
}

/// Says how many jobs wait. Ends with the test program.
fn jobs() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let waiting = Arc::new(AtomicU64::new(20));
    let count = waiting.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
            let body = format!("{{\"waiting\":{}}}", count.load(Ordering::Relaxed));
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            // A client that hung up meanwhile is its own affair.
            drop(stream.write_all((head + &body).as_bytes()));
        }
    });
    (address, waiting)
}

fn status(testbed: &Testbed) -> Value {
    let config = testbed.dir.join("config.json");
    let mut command = Command::new(PLIMSOLL);
    let asked = command.args(["status", &testbed.service, "--json", "--config"]).arg(config);
    serde_json::from_slice(&asked.output().unwrap().stdout).unwrap_or_default()
}

#[test]
fn load_an_operator_and_others_change_the_number_of_a_swarm_service() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dockerd = Dockerd::start(false);
    let testbed = testbed_on(&dockerd, "swarm");
    let swarm = Swarm::start(&testbed);
    swarm.create(2);
    let (address, waiting) = jobs();
    let daemon = Daemon::start(&testbed.configure(&format!(
        r#""engine": "swarm", "swarm_service": "{}", "min_replicas": 1, "max_replicas": 6,
           "cooldown_period": 2, "behavior": {{ "scale_down": {{ "stabilization": 0 }} }},
           "metrics": [{{ "source": "http", "url": "http://{address}/", "pointer": "/waiting",
                          "target": 10 }}]"#,
        testbed.service
    )));
    daemon.wait(&["kind=swarm.degraded", "publishes no port of its 8080"], SOON);
    daemon.wait(&["reading=\"20\""], SOON);
    let (spec, count) = swarm.spec();
    assert_eq!(count, 2);
    swarm.wait_running(2, &daemon);

    waiting.store(41, Ordering::Relaxed);
    swarm.wait_running(5, &daemon);
    let ready = |count| status(&testbed)["ready"] == count;
    assert!(reached(SOON, || ready(5)), "{:#}", status(&testbed));
    let nodes = status(&testbed);
    let host = testbed.docker(&["info", "--format", "{{.Name}}"]).unwrap();
    assert_eq!(nodes["replicas"][4]["node"], host.trim(), "{nodes:#}");

    // Somebody else's number stands for a cooldown, then load has its say.
    let scale = format!("{}=3", testbed.service);
    assert!(testbed.docker(&["service", "scale", "--detach", &scale]).is_some());
    let adopted = daemon.wait(&["kind=scale.down", "from=5 to=3", "outside plimsoll"], SOON);
    daemon.wait_from(adopted, &["kind=scale.up", "from=3 to=5"], SOON);
    swarm.wait_running(5, &daemon);

    // Swarm heals by itself.
    let lost = swarm.running().pop().unwrap();
    assert!(testbed.docker(&["kill", &lost]).is_some());
    let healed = reached(SOON, || swarm.running().len() == 5 && !swarm.running().contains(&lost));
    assert!(healed, "{:?}", swarm.running());

    waiting.store(0, Ordering::Relaxed);
    swarm.wait_running(1, &daemon);
    assert!(reached(SOON, || ready(1)), "{:#}", status(&testbed));
    assert_eq!(swarm.spec(), (spec, 1), "nothing but the number was to be changed");
    assert_eq!(daemon.count(&["kind=replica."]), 0, "{:#?}", daemon.lines());
    assert_eq!(daemon.count(&["kind=swarm."]), 1, "{:#?}", daemon.lines());
    drop(daemon);
    drop(swarm);
    assert_eq!(testbed.docker(&["ps", "-q"]).as_deref().map(str::trim), Some(""));
}
