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
use crate::private_docker::{Dockerd, ONE, site_on};
use crate::site::{IMAGE, Site, free_port};

const SOON: Duration = Duration::from_secs(30);

/// Left again with the test, with all of its services.
struct Swarm<'a> {
    site: &'a Site,
}

impl Swarm<'_> {
    fn start(site: &Site) -> Swarm<'_> {
        let address = format!("127.0.0.1:{}", free_port());
        let init = ["swarm", "init", "--advertise-addr", &address, "--listen-addr", &address];
        assert!(site.docker(&init).is_some(), "no Swarm here");
        Swarm { site }
    }

    fn create(&self, replicas: u32) {
        let replicas = replicas.to_string();
        let made = self.site.docker(&[
            "service",
            "create",
            "--detach",
            "--no-resolve-image",
            "--name",
            &self.site.service,
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
        let shown = self.site.docker(&["service", "inspect", &self.site.service]);
        let mut shown: Value = serde_json::from_str(&shown.expect("it is there")).unwrap();
        let replicas = shown[0]["Spec"]["Mode"]["Replicated"]["Replicas"].take();
        (shown[0]["Spec"].take(), replicas.as_u64().unwrap())
    }

    /// Containers that run.
    fn running(&self) -> Vec<String> {
        let label = format!("label=com.docker.swarm.service.name={}", self.site.service);
        let ids = self.site.docker(&["ps", "-q", "--filter", &label]).unwrap_or_default();
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
        drop(self.site.docker(&["service", "rm", &self.site.service]));
        drop(self.site.docker(&["swarm", "leave", "--force"]));
        // Where something made it: it would outlive its dockerd.
        drop(self.site.docker(&["network", "rm", "docker_gwbridge"]));
    }
}

/// Says how many jobs wait. Ends with the test program.
fn jobs() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, waiting) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(20)));
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

fn status(site: &Site) -> Value {
    let config = site.dir.join("config.json");
    let mut command = Command::new(PLIMSOLL);
    let asked = command.args(["status", &site.service, "--json", "--config"]).arg(config);
    serde_json::from_slice(&asked.output().unwrap().stdout).unwrap_or_default()
}

#[test]
fn load_an_operator_and_others_change_the_number_of_a_swarm_service() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dockerd = Dockerd::start(false);
    let site = site_on(&dockerd, "swarm");
    let swarm = Swarm::start(&site);
    swarm.create(2);
    let (address, waiting) = jobs();
    let daemon = Daemon::start(&site.configure(&format!(
        r#""engine": "swarm", "swarm_service": "{}", "min_replicas": 1, "max_replicas": 6,
           "cooldown_period": 2, "behavior": {{ "scale_down": {{ "stabilization": 0 }} }},
           "metrics": [{{ "source": "http", "url": "http://{address}/", "pointer": "/waiting",
                          "target": 10 }}]"#,
        site.service
    )));
    daemon.wait(&["kind=swarm.trouble", "publishes no port of its 8080"], SOON);
    daemon.wait(&["reading=\"20\""], SOON);
    let (spec, count) = swarm.spec();
    assert_eq!(count, 2);
    swarm.wait_running(2, &daemon);

    waiting.store(41, Ordering::Relaxed);
    swarm.wait_running(5, &daemon);
    let ready = |count| status(&site)["ready"] == count;
    assert!(reached(SOON, || ready(5)), "{:#}", status(&site));
    let nodes = status(&site);
    let host = site.docker(&["info", "--format", "{{.Name}}"]).unwrap();
    assert_eq!(nodes["replicas"][4]["node"], host.trim(), "{nodes:#}");

    // Somebody else's number stands for a cooldown, then load has its say.
    let scale = format!("{}=3", site.service);
    assert!(site.docker(&["service", "scale", "--detach", &scale]).is_some());
    let adopted = daemon.wait(&["kind=scale.down", "from=5 to=3", "somebody else"], SOON);
    daemon.wait_from(adopted, &["kind=scale.up", "from=3 to=5"], SOON);
    swarm.wait_running(5, &daemon);

    // Swarm heals by itself.
    let lost = swarm.running().pop().unwrap();
    assert!(site.docker(&["kill", &lost]).is_some());
    let healed = reached(SOON, || swarm.running().len() == 5 && !swarm.running().contains(&lost));
    assert!(healed, "{:?}", swarm.running());

    waiting.store(0, Ordering::Relaxed);
    swarm.wait_running(1, &daemon);
    assert!(reached(SOON, || ready(1)), "{:#}", status(&site));
    assert_eq!(swarm.spec(), (spec, 1), "nothing but the number was to be changed");
    assert_eq!(daemon.count(&["kind=replica."]), 0, "{:#?}", daemon.lines());
    assert_eq!(daemon.count(&["kind=swarm."]), 1, "{:#?}", daemon.lines());
    drop(daemon);
    drop(swarm);
    assert_eq!(site.docker(&["ps", "-q"]).as_deref().map(str::trim), Some(""));
}
