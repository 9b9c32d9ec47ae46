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
use crate::raw_http::To;
use crate::stage::Stage;

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
fn stage(name: &str, jobs: &Jobs) -> Stage {
    let mut stage = Stage::new(name);
    let app = stage.config["services"]["web"]["port"].as_u64().unwrap();
    let web = json!({
        "engine": "swarm", "swarm_service": "shop_web", "port": 80, "listen": stage.front,
        "min_replicas": 1, "max_replicas": 9, "cooldown_period": 0,
        "metrics": [{ "source": "http", "url": format!("http://{}/", jobs.address),
                      "pointer": "/waiting", "target": 10 }],
        "behavior": { "scale_down": { "stabilization": 0 } },
        "health_check": { "path": "/", "interval": "1s", "timeout": "1s" },
    });
    stage.set("/services/web", web);
    stage.docker.lead(true);
    stage.docker.add_swarm_service("shop_web", 2, Some(u16::try_from(app).unwrap()));
    stage
}

#[track_caller]
fn wait_replicas(stage: &Stage, daemon: &Daemon, count: u64) {
    let reached = reached(SOON, || stage.docker.swarm_replicas("shop_web") == count);
    let now = stage.docker.swarm_replicas("shop_web");
    assert!(reached, "{now} and not {count}: {:#?}", daemon.lines());
}

fn asked(stage: &Stage, path: &str) -> Value {
    To::Unix(stage.dir.join("api.sock")).get(path).json()
}

/// So many looks at its number and not one more change.
#[track_caller]
fn stays(stage: &Stage, daemon: &Daemon, count: u64) {
    let before = stage.docker.count(Route::Resize);
    let from = daemon.lines().len();
    let looks = daemon.wait_from(from, &["metric=", "reading="], SOON);
    daemon.wait_from(looks + 1, &["metric=", "reading="], SOON);
    assert_eq!(stage.docker.swarm_replicas("shop_web"), count, "{:#?}", daemon.lines());
    assert_eq!(stage.docker.count(Route::Resize), before, "{:#?}", daemon.lines());
}

#[test]
fn load_changes_the_number_and_swarm_does_the_rest() {
    let jobs = Jobs::start(20);
    let stage = stage("swarm", &jobs);
    let daemon = stage.start();
    stage.wait_served();
    stays(&stage, &daemon, 2);
    jobs.set(41);
    wait_replicas(&stage, &daemon, 5);
    daemon.wait(&["kind=scale.up", "service=web", "from=2 to=5"], SOON);
    jobs.set(9);
    wait_replicas(&stage, &daemon, 1);
    daemon.wait(&["kind=scale.down", "from=5 to=1"], SOON);
    assert!(stage.serves());
    stays(&stage, &daemon, 1);
    // One server for all, and no container of ours.
    let file = std::fs::read_to_string(stage.dir.join("haproxy.cfg")).unwrap();
    let servers: Vec<&str> = file.lines().filter(|l| l.starts_with("    server ")).collect();
    assert!(matches!(servers[..], [one] if one.contains("web-swarm-")), "{servers:?}");
    assert_eq!(stage.docker.count(Route::Create), 0);
    assert_eq!(daemon.count(&["kind=swarm."]), 0, "{:#?}", daemon.lines());
}

#[test]
fn tasks_that_do_not_run_are_told_after_a_start_period_and_when_they_do() {
    let jobs = Jobs::start(30);
    let mut stage = stage("short", &jobs);
    let web = stage.config["services"]["web"].as_object_mut().unwrap();
    web.insert("health_check".to_owned(), json!({ "type": "tcp", "start_period": "2s" }));
    stage.docker.run_tasks("shop_web", 2);
    let daemon = stage.start();
    let told =
        ["kind=swarm.short", "service=web", "2 of 3 tasks run", "docker service ps shop_web"];
    daemon.wait(&told, SOON);
    stage.docker.run_tasks("shop_web", 3);
    daemon.wait(&["kind=swarm.short", "resolved: 3 of 3 tasks run"], SOON);
    assert_eq!(daemon.count(&["kind=swarm.short"]), 2, "{:#?}", daemon.lines());
}

#[test]
fn what_swarm_has_is_shown() {
    let jobs = Jobs::start(30);
    let stage = stage("seen", &jobs);
    stage.docker.run_tasks("shop_web", 2);
    let daemon = stage.start();
    wait_replicas(&stage, &daemon, 3);
    let is_seen = || asked(&stage, "/services/web")["unready"] == json!(1);
    assert!(reached(SOON, is_seen), "{:#}", asked(&stage, "/services/web/stats"));
    let stats = asked(&stage, "/services/web/stats");
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
    assert_eq!((&stats["wanted"], &stats["ready"]), (&json!(3), &json!(2)));
    let servers = asked(&stage, "/servers");
    let [here, there] = &servers.as_array().unwrap()[..] else { panic!("{servers:#}") };
    assert_eq!((&here["leader"], &there["leader"]), (&json!(true), &json!(false)));
    assert_eq!((&there["cpus"], &there["memory_bytes"]), (&json!(4), &json!(1 << 30)));
    assert_eq!((&there["state"], &there["availability"]), (&json!("ready"), &json!("active")));
    let ours = |host: &Value| host["containers"]["ours"].clone();
    assert_eq!((ours(here), ours(there)), (json!(2), json!(1)));
    assert!(here["load"].is_array() && there["load"].is_null(), "{servers:#}");
    let refused = To::Unix(stage.dir.join("api.sock")).ask("POST /services/web/restart", "", "");
    assert_eq!(refused.status, 422, "{refused:?}");
    assert!(refused.body.contains("docker service update --force shop_web"), "{refused:?}");
}

#[test]
fn an_update_that_somebody_forestalls_is_read_and_written_again() {
    let jobs = Jobs::start(20);
    let stage = stage("forestall", &jobs);
    let daemon = stage.start();
    stays(&stage, &daemon, 2);
    stage.docker.forestall(3);
    jobs.set(40);
    wait_replicas(&stage, &daemon, 4);
    assert_eq!(stage.docker.count(Route::Resize), 4);
    assert_eq!(daemon.count(&["kind=swarm.trouble"]), 0, "{:#?}", daemon.lines());
    // One who never lets up is told, and outlasted.
    stage.docker.forestall(6);
    jobs.set(50);
    daemon.wait(&["kind=swarm.trouble", "make it 5", "changed by somebody else"], SOON);
    wait_replicas(&stage, &daemon, 5);
    daemon.wait(&["kind=swarm.back", "service=web", "after 1 failure"], SOON);
}

#[test]
fn a_node_that_is_no_manager_is_told_once_and_keeps_nobody_else_waiting() {
    let jobs = Jobs::start(20);
    let mut stage = stage("worker", &jobs);
    let health = json!({ "type": "none" });
    let shop = json!({ "image": "demo:1", "port": 1, "max_replicas": 1, "health_check": health });
    stage.set("/services/shop", shop);
    stage.docker.leave_swarm();
    let daemon = stage.start();
    let told = ["kind=swarm.trouble", "service=web", "this node is not a swarm manager"];
    daemon.wait(&told, SOON);
    daemon.wait(&["kind=replica.started", "replica=shop-1"], SOON);
    let from = daemon.lines().len();
    let looked = daemon.wait_from(from, &["service=web", "reason=MetricsMissing"], SOON);
    daemon.wait_from(looked + 1, &["service=web", "reason=MetricsMissing"], SOON);
    assert_eq!(daemon.count(&told), 1, "{:#?}", daemon.lines());
    stage.docker.lead(true);
    daemon.wait(&["kind=swarm.back", "service=web"], SOON);
    stage.wait_served();
    stage.docker.leave_swarm();
    assert!(reached(SOON, || daemon.count(&told) == 2), "{:#?}", daemon.lines());
    stage.docker.fault(Route::Nodes, Fault::Refuse(500, "context deadline exceeded"));
    daemon.wait(&["kind=swarm.trouble", "context deadline exceeded"], SOON);
    stage.docker.fault(Route::Nodes, Fault::Hang);
    daemon.wait(&["kind=swarm.trouble", "Swarm gives no answer in time"], SOON);
    // HAProxy keeps what it has all the while, also of a daemon that never saw the service.
    assert!(stage.serves());
    drop(daemon.kill());
    let daemon = stage.start();
    let looked = daemon.wait(&["service=web", "reason=MetricsMissing"], SOON);
    daemon.wait_from(looked + 1, &["service=web", "reason=MetricsMissing"], SOON);
    assert!(stage.serves(), "{:#?}", daemon.lines());
}

#[test]
fn what_somebody_else_asks_of_swarm_stands_for_a_cooldown() {
    let jobs = Jobs::start(20);
    let mut stage = stage("rescaled", &jobs);
    stage.set("/services/web/cooldown_period", json!(3));
    let daemon = stage.start();
    stays(&stage, &daemon, 2);
    stage.docker.rescale("shop_web", 6);
    daemon.wait(&["kind=scale.up", "from=2 to=6", "replicas were set to 6 outside plimsoll"], SOON);
    let cooling = daemon.wait(&["service=web", "reason=CoolingDown"], SOON);
    assert_eq!(stage.docker.swarm_replicas("shop_web"), 6);
    wait_replicas(&stage, &daemon, 2);
    daemon.wait_from(cooling, &["kind=scale.down", "from=6 to=2"], SOON);
}

#[test]
fn an_operators_hold_is_swarms_number() {
    let jobs = Jobs::start(20);
    let stage = stage("held", &jobs);
    let daemon = stage.start();
    stays(&stage, &daemon, 2);
    let control = To::Unix(stage.dir.join("api.sock"));
    let held = control.ask("POST /services/web/scale", "", r#"{"replicas":4}"#);
    assert_eq!(held.status, 202, "{held:?}");
    wait_replicas(&stage, &daemon, 4);
    stays(&stage, &daemon, 4);
    let freed = control.ask("POST /services/web/scale", "", r#"{"auto":true}"#);
    assert_eq!(freed.status, 202, "{freed:?}");
    wait_replicas(&stage, &daemon, 2);
}

#[test]
fn where_another_node_leads_it_is_looked_at_and_nothing_is_changed() {
    let jobs = Jobs::start(50);
    let stage = stage("follower", &jobs);
    stage.docker.lead(false);
    let daemon = stage.start();
    let told = ["kind=swarm.trouble", "does not lead the Swarm (host-of-node-there)"];
    daemon.wait(&told, SOON);
    stage.wait_served();
    stays(&stage, &daemon, 2);
    assert_eq!(asked(&stage, "/services/web")["reason"], json!("Paused"));
    stage.docker.rescale("shop_web", 3);
    daemon.wait(&["kind=scale.up", "from=2 to=3", "reason=Paused"], SOON);
    stays(&stage, &daemon, 3);
    assert_eq!(daemon.count(&told), 1, "{:#?}", daemon.lines());
    stage.docker.lead(true);
    daemon.wait(&["kind=swarm.back", "service=web"], SOON);
    wait_replicas(&stage, &daemon, 5);
}

#[test]
fn a_service_without_a_port_or_a_number_is_told_with_the_way_out() {
    let jobs = Jobs::start(20);
    let mut stage = stage("portless", &jobs);
    stage.docker.add_swarm_service("shop_web", 2, None);
    let metrics = stage.config["services"]["web"]["metrics"].as_array_mut().unwrap();
    metrics.push(json!({ "source": "haproxy", "field": "sessions", "target": 1 }));
    let daemon = stage.start();
    let told = ["kind=swarm.trouble", "shop_web publishes no port of its 80 in ingress mode"];
    daemon.wait(&told, SOON);
    daemon.wait(&["kind=metric.failed", "haproxy sessions", "HAProxy has no server"], SOON);
    // What can be measured goes on to add replicas.
    jobs.set(30);
    wait_replicas(&stage, &daemon, 3);
    let own = stage.front.rsplit(':').next().unwrap().parse().unwrap();
    stage.docker.add_swarm_service("shop_web", 3, Some(own));
    daemon.wait(&["kind=swarm.trouble", "which is the port of `listen`"], SOON);
    stage.docker.make_global("shop_web");
    daemon.wait(&["kind=swarm.trouble", "of mode Global", "only replicated services"], SOON);
    assert_eq!(daemon.count(&told), 1, "{:#?}", daemon.lines());
}

#[test]
fn what_a_daemon_would_miss_is_told_before_there_is_one() {
    let jobs = Jobs::start(20);
    let mut stage = stage("before", &jobs);
    let check = |stage: &Stage| {
        let config = stage.write();
        let out = plimsoll(&["check", "--live", "--config", config.to_str().unwrap()]);
        String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
    };
    assert!(check(&stage).contains("good, 1 service"), "{}", check(&stage));
    stage.docker.lead(false);
    assert!(check(&stage).contains("warning: swarm: this node does not lead"), "{}", check(&stage));
    stage.set("/services/web/swarm_service", json!("shop"));
    let missing = "swarm: there is no Swarm service shop; `docker service ls`";
    assert!(check(&stage).contains(missing), "{}", check(&stage));
    stage.docker.leave_swarm();
    assert!(check(&stage).contains("is not a swarm manager"), "{}", check(&stage));
    let config = stage.write();
    let out = plimsoll(&["doctor", "--config", config.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&out.stdout).contains("fails    swarm"), "{out:?}");
    let ended = reached(secs(1), || stage.haproxies().0.is_empty());
    assert!(ended, "something was begun");
}

#[test]
fn one_turn_alone_changes_the_number_as_well() {
    let jobs = Jobs::start(40);
    let stage = stage("once", &jobs);
    let mut daemon = stage.start_with(&["--once"]);
    assert!(daemon.wait_exit(secs(20)).success(), "{:#?}", daemon.lines());
    assert_eq!(stage.docker.swarm_replicas("shop_web"), 4);
}

#[test]
fn a_service_that_becomes_swarms_leaves_its_containers_alone() {
    let jobs = Jobs::start(20);
    let mut stage = stage("moved", &jobs);
    let web = stage.config["services"]["web"].clone();
    let app = web["listen"].clone();
    assert_eq!(app, json!(stage.front));
    let plain = Stage::without_docker("plain").config["services"]["web"].take();
    stage.set("/services/web", plain);
    stage.set("/services/web/listen", app);
    stage.set("/autoscaler/remove_orphans", json!(true));
    let daemon = stage.start();
    stage.wait_served();
    stage.set("/services/web", web);
    stage.write();
    daemon.signal("HUP");
    daemon.wait(&["kind=config.reloaded", "engine"], SOON);
    daemon.wait(&["kind=service.orphaned", "web", "run on"], SOON);
    stays(&stage, &daemon, 2);
    assert!(stage.serves());
    assert_eq!(stage.docker.names("running"), ["web-1"]);
}

#[test]
fn a_simulation_is_the_same_whoever_runs_the_replicas() {
    let jobs = Jobs::start(0);
    let mut stage = stage("simulated", &jobs);
    let load = stage.dir.write("load.csv", "time_s,value\n0,20\n60,75\n300,10\n900,10\n");
    let simulate = |stage: &Stage| {
        let config = stage.write();
        let (config, load) = (config.to_str().unwrap(), load.to_str().unwrap());
        let at = "2026-11-23T10:00:00Z";
        let out = plimsoll(&["simulate", "--load", load, "--start", at, "--config", config]);
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    let there = simulate(&stage);
    assert!(there.contains('8'), "{there}");
    stage.set("/services/web/engine", json!("docker"));
    stage.config["services"]["web"].as_object_mut().unwrap().remove("swarm_service");
    stage.set("/services/web/image", json!("demo:1"));
    assert_eq!(simulate(&stage), there);
}
