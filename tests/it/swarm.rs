//! Services that Docker Swarm runs: the same policies, and nothing but a number that is changed.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::{Daemon, plimsoll, reached, secs};
use crate::fake_docker::{Fault, Route};
use crate::fake_http::read_request;
use crate::harness::Harness;
use crate::raw_http::To;

const SOON: Duration = Duration::from_secs(10);

/// Says how many jobs wait. Ends with the test program.
struct Jobs {
    address: SocketAddr,
    waiting: Arc<AtomicU64>,
}

impl Jobs {
    fn start(waiting: u64) -> Jobs {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let jobs = Jobs { address, waiting: Arc::new(AtomicU64::new(waiting)) };
        let waiting = jobs.waiting.clone();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                if read_request(&mut BufReader::new(stream.try_clone().unwrap())).is_some() {
                    let body = json!({ "waiting": waiting.load(Ordering::Relaxed) }).to_string();
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                    // A client that hung up meanwhile is its own affair.
                    drop(stream.write_all((head + &body).as_bytes()));
                }
            }
        });
        jobs
    }

    fn set(&self, waiting: u64) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }
}

/// `web` is Swarm's `shop_web`, of two replicas, which scales by jobs: ten for each replica.
/// Everything that a replica is in a container of its own answers behind Swarm's published port.
fn harness(name: &str, jobs: &Jobs) -> Harness {
    let mut harness = Harness::new(name);
    let app = harness.config["services"]["web"]["port"].as_u64().unwrap();
    let web = json!({
        "engine": "swarm", "swarm_service": "shop_web", "port": 80, "listen": harness.front,
        "min_replicas": 1, "max_replicas": 9, "cooldown_period": 0,
        "metrics": [{ "source": "http", "url": format!("http://{}/", jobs.address),
                      "pointer": "/waiting", "target": 10 }],
        "behavior": { "scale_down": { "stabilization": 0 } },
        "health_check": { "path": "/", "interval": "1s", "timeout": "1s" },
    });
    harness.set("/services/web", web);
    harness.docker.lead(true);
    harness.docker.add_swarm_service("shop_web", 2, Some(u16::try_from(app).unwrap()));
    harness
}

#[track_caller]
fn wait_replicas(harness: &Harness, daemon: &Daemon, count: u64) {
    let reached = reached(SOON, || harness.docker.swarm_replicas("shop_web") == count);
    let now = harness.docker.swarm_replicas("shop_web");
    assert!(reached, "{now} and not {count}: {:#?}", daemon.lines());
}

fn asked(harness: &Harness, path: &str) -> Value {
    To::Unix(harness.dir.join("api.sock")).get(path).json()
}

/// This many evaluations without a change of the number.
#[track_caller]
fn stays(harness: &Harness, daemon: &Daemon, count: u64) {
    let before = harness.docker.count(Route::Resize);
    let from = daemon.lines().len();
    let looks = daemon.wait_from(from, &["metric=", "reading="], SOON);
    daemon.wait_from(looks + 1, &["metric=", "reading="], SOON);
    assert_eq!(harness.docker.swarm_replicas("shop_web"), count, "{:#?}", daemon.lines());
    assert_eq!(harness.docker.count(Route::Resize), before, "{:#?}", daemon.lines());
}

#[test]
fn load_changes_the_number_and_swarm_does_the_rest() {
    let jobs = Jobs::start(20);
    let harness = harness("swarm", &jobs);
    let daemon = harness.start();
    harness.wait_served();
    stays(&harness, &daemon, 2);
    jobs.set(41);
    wait_replicas(&harness, &daemon, 5);
    daemon.wait(&["kind=scale.up", "service=web", "from=2 to=5"], SOON);
    jobs.set(9);
    wait_replicas(&harness, &daemon, 1);
    daemon.wait(&["kind=scale.down", "from=5 to=1"], SOON);
    assert!(harness.serves());
    stays(&harness, &daemon, 1);
    // One server for all, and no container of ours.
    let file = std::fs::read_to_string(harness.dir.join("haproxy.cfg")).unwrap();
    let servers: Vec<&str> = file.lines().filter(|l| l.starts_with("    server ")).collect();
    assert!(matches!(servers[..], [one] if one.contains("web-swarm-")), "{servers:?}");
    assert_eq!(harness.docker.count(Route::Create), 0);
    assert_eq!(daemon.count(&["kind=swarm."]), 0, "{:#?}", daemon.lines());
}

#[test]
fn tasks_that_do_not_run_are_reported_after_a_start_period_and_when_they_do() {
    let jobs = Jobs::start(30);
    let mut harness = harness("short", &jobs);
    let web = harness.config["services"]["web"].as_object_mut().unwrap();
    web.insert("health_check".to_owned(), json!({ "type": "tcp", "start_period": "2s" }));
    harness.docker.run_tasks("shop_web", 2);
    let daemon = harness.start();
    let reported =
        ["kind=swarm.short", "service=web", "2 of 3 tasks run", "docker service ps shop_web"];
    daemon.wait(&reported, SOON);
    harness.docker.run_tasks("shop_web", 3);
    daemon.wait(&["kind=swarm.short", "resolved: 3 of 3 tasks run"], SOON);
    assert_eq!(daemon.count(&["kind=swarm.short"]), 2, "{:#?}", daemon.lines());
}

#[test]
fn what_swarm_has_is_shown() {
    let jobs = Jobs::start(30);
    let harness = harness("seen", &jobs);
    harness.docker.run_tasks("shop_web", 2);
    let daemon = harness.start();
    wait_replicas(&harness, &daemon, 3);
    let is_seen = || asked(&harness, "/services/web")["unready"] == json!(1);
    assert!(reached(SOON, is_seen), "{:#}", asked(&harness, "/services/web/stats"));
    let stats = asked(&harness, "/services/web/stats");
    let shown = |replica: &Value| {
        let text = |key: &str| replica[key].as_str().unwrap_or("-").to_owned();
        ["name", "container", "state", "node"].map(text).join(" ")
    };
    let replicas: Vec<String> = stats["replicas"].as_array().unwrap().iter().map(shown).collect();
    let want = [
        "web-1 1xxxxxxxxxxx ready host-of-node-here",
        "web-2 2xxxxxxxxxxx ready host-of-node-there",
        "web-3 3xxxxxxxxxxx starting host-of-node-here",
    ];
    assert_eq!(replicas, want);
    assert_eq!((&stats["desired"], &stats["ready"]), (&json!(3), &json!(2)));
    let servers = asked(&harness, "/servers");
    let [here, there] = &servers.as_array().unwrap()[..] else { panic!("{servers:#}") };
    assert_eq!((&here["leader"], &there["leader"]), (&json!(true), &json!(false)));
    assert_eq!((&there["cpus"], &there["memory_bytes"]), (&json!(4), &json!(1 << 30)));
    assert_eq!((&there["state"], &there["availability"]), (&json!("ready"), &json!("active")));
    let ours = |host: &Value| host["containers"]["ours"].clone();
    assert_eq!((ours(here), ours(there)), (json!(2), json!(1)));
    assert!(here["load"].is_array() && there["load"].is_null(), "{servers:#}");
    let refused = To::Unix(harness.dir.join("api.sock")).ask("POST /services/web/restart", "", "");
    assert_eq!(refused.status, 422, "{refused:?}");
    assert!(refused.body.contains("docker service update --force shop_web"), "{refused:?}");
}

#[test]
fn an_update_that_somebody_forestalls_is_read_and_written_again() {
    let jobs = Jobs::start(20);
    let harness = harness("forestall", &jobs);
    let daemon = harness.start();
    stays(&harness, &daemon, 2);
    harness.docker.forestall(3);
    jobs.set(40);
    wait_replicas(&harness, &daemon, 4);
    assert_eq!(harness.docker.count(Route::Resize), 4);
    assert_eq!(daemon.count(&["kind=swarm.degraded"]), 0, "{:#?}", daemon.lines());
    // A manager that keeps overwriting the number is reported, and wins until it stops.
    harness.docker.forestall(6);
    jobs.set(50);
    daemon.wait(&["kind=swarm.degraded", "to 5 replicas", "changed by somebody else"], SOON);
    wait_replicas(&harness, &daemon, 5);
    daemon.wait(&["kind=swarm.recovered", "service=web", "after 1 failure"], SOON);
}

#[test]
fn a_node_that_is_no_manager_is_reported_once_and_keeps_nobody_else_waiting() {
    let jobs = Jobs::start(20);
    let mut harness = harness("worker", &jobs);
    let health = json!({ "type": "none" });
    let shop = json!({ "image": "demo:1", "port": 1, "max_replicas": 1, "health_check": health });
    harness.set("/services/shop", shop);
    harness.docker.leave_swarm();
    let daemon = harness.start();
    let reported = ["kind=swarm.degraded", "service=web", "this node is not a swarm manager"];
    daemon.wait(&reported, SOON);
    daemon.wait(&["kind=replica.started", "replica=shop-1"], SOON);
    let from = daemon.lines().len();
    let looked = daemon.wait_from(from, &["service=web", "reason=MetricsMissing"], SOON);
    daemon.wait_from(looked + 1, &["service=web", "reason=MetricsMissing"], SOON);
    assert_eq!(daemon.count(&reported), 1, "{:#?}", daemon.lines());
    harness.docker.lead(true);
    daemon.wait(&["kind=swarm.recovered", "service=web"], SOON);
    harness.wait_served();
    harness.docker.leave_swarm();
    assert!(reached(SOON, || daemon.count(&reported) == 2), "{:#?}", daemon.lines());
    harness.docker.fault(Route::Nodes, Fault::Refuse(500, "context deadline exceeded"));
    daemon.wait(&["kind=swarm.degraded", "context deadline exceeded"], SOON);
    harness.docker.fault(Route::Nodes, Fault::Hang);
    daemon.wait(&["kind=swarm.degraded", "Swarm does not answer in time"], SOON);
    // HAProxy keeps what it has all the while, also of a daemon that never saw the service.
    assert!(harness.serves());
    drop(daemon.kill());
    let daemon = harness.start();
    let looked = daemon.wait(&["service=web", "reason=MetricsMissing"], SOON);
    daemon.wait_from(looked + 1, &["service=web", "reason=MetricsMissing"], SOON);
    assert!(harness.serves(), "{:#?}", daemon.lines());
}

#[test]
fn what_somebody_else_asks_of_swarm_stands_for_a_cooldown() {
    let jobs = Jobs::start(20);
    let mut harness = harness("rescaled", &jobs);
    harness.set("/services/web/cooldown_period", json!(3));
    let daemon = harness.start();
    stays(&harness, &daemon, 2);
    harness.docker.rescale("shop_web", 6);
    daemon.wait(&["kind=scale.up", "from=2 to=6", "replicas were set to 6 outside plimsoll"], SOON);
    let cooling = daemon.wait(&["service=web", "reason=CoolingDown"], SOON);
    assert_eq!(harness.docker.swarm_replicas("shop_web"), 6);
    wait_replicas(&harness, &daemon, 2);
    daemon.wait_from(cooling, &["kind=scale.down", "from=6 to=2"], SOON);
}

#[test]
fn an_operators_hold_is_swarms_number() {
    let jobs = Jobs::start(20);
    let harness = harness("held", &jobs);
    let daemon = harness.start();
    stays(&harness, &daemon, 2);
    let control = To::Unix(harness.dir.join("api.sock"));
    let held = control.ask("POST /services/web/scale", "", r#"{"replicas":4}"#);
    assert_eq!(held.status, 202, "{held:?}");
    wait_replicas(&harness, &daemon, 4);
    stays(&harness, &daemon, 4);
    let freed = control.ask("POST /services/web/scale", "", r#"{"auto":true}"#);
    assert_eq!(freed.status, 202, "{freed:?}");
    wait_replicas(&harness, &daemon, 2);
}

#[test]
fn where_another_node_leads_it_is_observed_and_nothing_is_changed() {
    let jobs = Jobs::start(50);
    let harness = harness("follower", &jobs);
    harness.docker.lead(false);
    let daemon = harness.start();
    let reported = ["kind=swarm.degraded", "does not lead the Swarm (host-of-node-there)"];
    daemon.wait(&reported, SOON);
    harness.wait_served();
    stays(&harness, &daemon, 2);
    assert_eq!(asked(&harness, "/services/web")["reason"], json!("Paused"));
    harness.docker.rescale("shop_web", 3);
    daemon.wait(&["kind=scale.up", "from=2 to=3", "reason=Paused"], SOON);
    stays(&harness, &daemon, 3);
    assert_eq!(daemon.count(&reported), 1, "{:#?}", daemon.lines());
    harness.docker.lead(true);
    daemon.wait(&["kind=swarm.recovered", "service=web"], SOON);
    wait_replicas(&harness, &daemon, 5);
}

#[test]
fn a_service_without_a_port_or_a_number_is_reported_with_the_fix() {
    let jobs = Jobs::start(20);
    let mut harness = harness("portless", &jobs);
    harness.docker.add_swarm_service("shop_web", 2, None);
    let metrics = harness.config["services"]["web"]["metrics"].as_array_mut().unwrap();
    metrics.push(json!({ "source": "haproxy", "field": "sessions", "target": 1 }));
    let daemon = harness.start();
    let reported = ["kind=swarm.degraded", "shop_web publishes no port of its 80 in ingress mode"];
    daemon.wait(&reported, SOON);
    daemon.wait(&["kind=metric.failed", "haproxy sessions", "HAProxy has no server"], SOON);
    // What can be measured goes on to add replicas.
    jobs.set(30);
    wait_replicas(&harness, &daemon, 3);
    let own = harness.front.rsplit(':').next().unwrap().parse().unwrap();
    harness.docker.add_swarm_service("shop_web", 3, Some(own));
    daemon.wait(&["kind=swarm.degraded", "which is the port of `listen`"], SOON);
    harness.docker.make_global("shop_web");
    daemon.wait(&["kind=swarm.degraded", "has mode Global", "only replicated services"], SOON);
    assert_eq!(daemon.count(&reported), 1, "{:#?}", daemon.lines());
}

#[test]
fn what_a_daemon_would_miss_is_reported_before_there_is_one() {
    let jobs = Jobs::start(20);
    let mut harness = harness("before", &jobs);
    let check = |harness: &Harness| {
        let config = harness.write();
        let out = plimsoll(&["check", "--live", "--config", config.to_str().unwrap()]);
        String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
    };
    assert!(check(&harness).contains("good, 1 service"), "{}", check(&harness));
    harness.docker.lead(false);
    assert!(
        check(&harness).contains("warning: swarm: this node is not the Swarm leader"),
        "{}",
        check(&harness)
    );
    harness.set("/services/web/swarm_service", json!("shop"));
    let missing = "swarm: there is no Swarm service shop; `docker service ls`";
    assert!(check(&harness).contains(missing), "{}", check(&harness));
    harness.docker.leave_swarm();
    assert!(check(&harness).contains("is not a swarm manager"), "{}", check(&harness));
    let config = harness.write();
    let out = plimsoll(&["doctor", "--config", config.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&out.stdout).contains("fails    swarm"), "{out:?}");
    let ended = reached(secs(1), || harness.haproxies().0.is_empty());
    assert!(ended, "something was begun");
}

#[test]
fn one_tick_alone_changes_the_number_as_well() {
    let jobs = Jobs::start(40);
    let harness = harness("once", &jobs);
    let mut daemon = harness.start_with(&["--once"]);
    assert!(daemon.wait_exit(secs(20)).success(), "{:#?}", daemon.lines());
    assert_eq!(harness.docker.swarm_replicas("shop_web"), 4);
}

#[test]
fn a_service_that_becomes_swarms_leaves_its_containers_alone() {
    let jobs = Jobs::start(20);
    let mut harness = harness("moved", &jobs);
    let web = harness.config["services"]["web"].clone();
    let app = web["listen"].clone();
    assert_eq!(app, json!(harness.front));
    let plain = Harness::without_docker("plain").config["services"]["web"].take();
    harness.set("/services/web", plain);
    harness.set("/services/web/listen", app);
    harness.set("/autoscaler/remove_orphans", json!(true));
    let daemon = harness.start();
    harness.wait_served();
    harness.set("/services/web", web);
    harness.write();
    daemon.signal("HUP");
    daemon.wait(&["kind=config.reloaded", "engine"], SOON);
    daemon.wait(&["kind=service.orphaned", "web", "run on"], SOON);
    stays(&harness, &daemon, 2);
    assert!(harness.serves());
    assert_eq!(harness.docker.names("running"), ["web-1"]);
}

#[test]
fn a_simulation_is_the_same_whoever_runs_the_replicas() {
    let jobs = Jobs::start(0);
    let mut harness = harness("simulated", &jobs);
    let load = harness.dir.write("load.csv", "time_s,value\n0,20\n60,75\n300,10\n900,10\n");
    let simulate = |harness: &Harness| {
        let config = harness.write();
        let config = config.to_str().unwrap();
        let load = load.to_str().unwrap();
        let at = "2026-11-23T10:00:00Z";
        let out = plimsoll(&["simulate", "--load", load, "--start", at, "--config", config]);
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    let there = simulate(&harness);
    assert!(there.contains('8'), "{there}");
    harness.set("/services/web/engine", json!("docker"));
    harness.config["services"]["web"].as_object_mut().unwrap().remove("swarm_service");
    harness.set("/services/web/image", json!("demo:1"));
    assert_eq!(simulate(&harness), there);
}
