//! Services that follow a metric, up and down, and what a source that fails does to them.

use std::sync::atomic::Ordering;

use crate::daemon::{Daemon, secs};
use crate::load::{Kind, Load};
use crate::metrics::{Exporter, Prometheus};
use crate::testbed::{Testbed, clients, everyone, free_port};

/// The shortest windows, so that the way down takes seconds.
const QUICK: &str = r#""cooldown_period": 0, "behavior": {
    "scale_down": { "stabilization": 2,
                    "policies": [{ "type": "percent", "value": 100, "period": 1 }] } }"#;

#[test]
fn sessions_in_haproxy_bring_replicas_and_take_them_away() {
    let testbed = Testbed::new("sessions");
    let daemon = Daemon::start(&testbed.configure(&format!(
        r#""min_replicas": 1, "max_replicas": 4, {QUICK},
           "metrics": [{{ "source": "haproxy", "field": "sessions", "target": 3 }}]"#
    )));
    testbed.wait_serving(1, secs(20), &daemon);
    let quiet = Load::start(testbed.address(), clients(2, Kind::KeepAlive, "/", 20));
    // Nine at a time, each for a while: three for each of three.
    let slow = Load::start(testbed.address(), clients(9, Kind::Slow, "/slow?ms=1500", 0));
    daemon.wait(&["kind=scale.up", "haproxy sessions", "for a target of 3"], secs(20));
    testbed.wait_serving(3, secs(30), &daemon);
    let slow = slow.stop();
    testbed.wait_serving(1, secs(40), &daemon);
    daemon.wait(&["kind=scale.down", "to=1", "haproxy sessions"], secs(1));
    let quiet = quiet.stop();
    assert_eq!(slow.failed() + quiet.failed(), 0, "{slow}\n{quiet}\n{:#?}", daemon.lines());
}

#[test]
fn a_source_that_fails_takes_nothing_away_and_a_way_up_stays_open() {
    let testbed = Testbed::new("failing");
    let exporter = Exporter::start(25);
    let port = free_port();
    let prometheus = Prometheus::start(&testbed.dir, port, &exporter);
    let daemon = Daemon::start(&testbed.configure(&format!(
        r#""min_replicas": 1, "max_replicas": 4, {QUICK},
           "metrics": [
             {{ "source": "prometheus", "url": "http://127.0.0.1:{port}",
                "query": "sum(jobs_waiting)", "target": 10 }},
             {{ "source": "haproxy", "field": "sessions", "target": 3 }}
           ]"#
    )));
    // 25 jobs, ten for each.
    testbed.wait_serving(3, secs(30), &daemon);
    // Eight clients: however late they are, less than three for each.
    let load = everyone(&testbed);
    drop(prometheus);
    let from = daemon.wait(&["kind=metric.failed", "prometheus"], secs(20));
    exporter.sum.store(2, Ordering::Relaxed);
    let unsure = ["desired=3", "reason=MetricsMissing", "not scaling down"];
    let again = daemon.wait_from(from, &unsure, secs(20));
    daemon.wait_from(again + 1, &unsure, secs(20));
    // The other metric is enough for the way up.
    let slow = Load::start(testbed.address(), clients(12, Kind::Slow, "/slow?ms=1500", 0));
    testbed.wait_serving(4, secs(30), &daemon);
    let slow = slow.stop();
    let _prometheus = Prometheus::start(&testbed.dir, port, &exporter);
    let back = daemon.wait_from(from, &["kind=metric.recovered", "prometheus"], secs(20));
    daemon.wait_from(back, &["kind=scale.down"], secs(20));
    daemon.wait_from(back, &["kind=replica.removed"], secs(60));
    let counts = load.stop();
    assert_eq!(counts.failed() + slow.failed(), 0, "{counts}\n{slow}\n{:#?}", daemon.lines());
}

#[test]
fn a_service_without_a_replica_is_woken_by_requests_and_goes_to_sleep_again() {
    let testbed = Testbed::new("sleep");
    let daemon = Daemon::start(&testbed.configure(&format!(
        r#""min_replicas": 0, "max_replicas": 2, {QUICK}, "sleep_after": "2s",
           "metrics": [{{ "source": "haproxy", "field": "request_rate", "target": 1000 }}]"#
    )));
    daemon.wait(&["desired=0", "reason=Asleep"], secs(20));
    daemon.wait(&["kind=haproxy.reloaded"], secs(20));
    assert!(testbed.containers().is_empty(), "{:?}", testbed.containers());
    let callers = Load::start(testbed.address(), clients(2, Kind::Close, "/", 50));
    callers.wait_for(secs(30), |c| 20 < c.sent());
    let counts = callers.stop();
    assert_eq!(counts.failed(), 0, "{counts}\n{:#?}", daemon.lines());
    daemon.wait(&["kind=scale.down", "to=0", "reason=Asleep"], secs(30));
    daemon.wait(&["kind=replica.removed"], secs(30));
    assert!(testbed.containers().is_empty(), "{:?}", testbed.containers());
}
