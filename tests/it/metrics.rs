//! Remote metrics from scripted endpoints: those that hang, fail, come back, and keep secrets.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::{Daemon, reached, secs};
use crate::fake_http::read_request;
use crate::harness::{Harness, end};

const SOON: Duration = Duration::from_secs(10);

/// How an endpoint answers. It can be changed while it runs.
#[derive(Clone, Copy)]
enum Behaviour {
    Healthy = 0,
    Failing = 1,
    Hangs = 2,
}

/// Ends with the test program.
struct Endpoint {
    address: SocketAddr,
    behaviour: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Endpoint {
    fn start(behaviour: Behaviour) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let behaviour = Arc::new(AtomicUsize::new(behaviour as usize));
        let requests = Arc::new(AtomicUsize::new(0));
        let endpoint =
            Endpoint { address, behaviour: behaviour.clone(), requests: requests.clone() };
        thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming().flatten() {
                requests.fetch_add(1, Ordering::Relaxed);
                match behaviour.load(Ordering::Relaxed) {
                    0 => answer(stream, "200 OK", r#"{"jobs":{"waiting":7}}"#),
                    1 => answer(stream, "503 Service Unavailable", "s3cret"),
                    _ => held.push(stream),
                }
            }
        });
        endpoint
    }

    fn set(&self, behaviour: Behaviour) {
        self.behaviour.store(behaviour as usize, Ordering::Relaxed);
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    fn metric(&self, rest: &str, pointer: &str) -> Value {
        let url = format!("http://{}{rest}", self.address);
        json!({ "source": "http", "url": url, "pointer": pointer, "target": 10 })
    }
}

fn answer(mut stream: TcpStream, status: &str, body: &str) {
    if read_request(&mut BufReader::new(stream.try_clone().unwrap())).is_some() {
        let length = body.len();
        let text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
        // A client that hung up meanwhile is its own affair.
        drop(stream.write_all(text.as_bytes()));
    }
}

fn harness(name: &str, metrics: Vec<Value>) -> Harness {
    let mut harness = Harness::new(name);
    harness.set("/services/web/metrics", Value::Array(metrics));
    harness
}

#[track_caller]
fn wait_count(daemon: &Daemon, words: &[&str], count: usize) {
    let come = reached(SOON, || count <= daemon.count(words));
    assert!(come, "{words:?} came {} times: {:#?}", daemon.count(words), daemon.lines());
}

#[test]
fn sources_that_hang_delay_neither_the_others_nor_the_evaluations() {
    let hung = Endpoint::start(Behaviour::Hangs);
    let well = Endpoint::start(Behaviour::Healthy);
    // More than are asked at once.
    let mut metrics: Vec<Value> = (0..6).map(|n| hung.metric("", &format!("/{n}"))).collect();
    metrics.push(well.metric("/z", "/jobs/waiting"));
    let harness = harness("hung", metrics);
    let daemon = harness.start();
    let place = format!("http http://{}/z /jobs/waiting", well.address);
    wait_count(&daemon, &[&place, "reading=\"7\""], 4);
    assert_eq!(daemon.count(&[&place, "failed"]), 0, "{:#?}", daemon.lines());
    let words = ["kind=metric.failed", "/5: no complete answer within 500 ms"];
    daemon.wait(&words, SOON);
    wait_count(&daemon, &["reading=\"failed: no complete answer within 500 ms"], 12);
    assert_eq!(daemon.count(&["kind=metric.failed"]), 6, "{:#?}", daemon.lines());
    assert!(harness.serves());
    end(daemon, "TERM", secs(3));
}

#[test]
fn a_source_that_fails_is_reported_once_and_again_when_it_is_back() {
    let endpoint = Endpoint::start(Behaviour::Healthy);
    let mut metric = endpoint.metric("/a?token=s3cret", "/jobs/waiting");
    metric["url"] = metric["url"].as_str().unwrap().replace("//", "//me:s3cret@").into();
    let harness = harness("unhealthy", vec![metric]);
    let daemon = harness.start();
    let place = format!("http http://{}/a /jobs/waiting", endpoint.address);
    daemon.wait(&[&place, "target=10 reading=\"7\""], SOON);
    endpoint.set(Behaviour::Failing);
    let why = ": the endpoint answered 503; expected 200 to 299";
    let failed = daemon.wait(&["kind=metric.failed", "service=web", &place, why], SOON);
    let more = daemon.count(&["reading=\"failed: the endpoint answered 503"]) + 2;
    wait_count(&daemon, &["reading=\"failed: the endpoint answered 503"], more);
    endpoint.set(Behaviour::Healthy);
    let back = daemon.wait_from(failed, &["kind=metric.recovered", "service=web", &place], SOON);
    daemon.wait_from(back - 1, &[&place, "reading=\"7\""], SOON);
    for kind in ["kind=metric.failed", "kind=metric.recovered"] {
        assert_eq!(daemon.count(&[kind]), 1, "{:#?}", daemon.lines());
    }
    assert_eq!(daemon.count(&["s3cret"]), 0, "{:#?}", daemon.lines());
}

#[test]
fn sources_are_asked_at_once_at_the_start_and_after_a_reload_of_the_config() {
    let endpoint = Endpoint::start(Behaviour::Healthy);
    let mut harness = harness("once", vec![endpoint.metric("", "/jobs/waiting")]);
    harness.set("/autoscaler/check_interval", json!(3600));
    let daemon = harness.start();
    assert!(reached(SOON, || endpoint.requests() == 1), "{:#?}", daemon.lines());
    harness.wait_served();
    daemon.signal("HUP");
    daemon.wait(&["kind=config.reloaded"], SOON);
    assert!(reached(SOON, || endpoint.requests() == 2), "{:#?}", daemon.lines());
    // One that the config names no more is asked no more.
    harness.set("/services/web/metrics", json!([]));
    harness.write();
    daemon.signal("HUP");
    daemon.wait(&["kind=config.reloaded", "metrics"], SOON);
    harness.wait_evaluations(2);
    assert_eq!(endpoint.requests(), 2);
}

#[test]
fn the_one_evaluation_of_once_knows_what_remote_sources_say() {
    let endpoint = Endpoint::start(Behaviour::Healthy);
    let harness = harness("alone", vec![endpoint.metric("", "/jobs/waiting")]);
    let mut daemon = harness.start_with(&["--once"]);
    assert!(daemon.wait_exit(secs(20)).success(), "{:#?}", daemon.lines());
    daemon.wait(&["metric=\"http ", "reading=\"7\""], secs(1));
}
