//! The main job under traffic: no request is lost, whichever way the number goes.

use std::time::Duration;

use crate::daemon::{Daemon, reached, secs};
use crate::load::{Counts, Failure, Kind, Load};
use crate::testbed::{Testbed, clients, everyone};

#[track_caller]
pub(crate) fn assert_clean(counts: &Counts, sent_min: u64) {
    assert_eq!(counts.failed(), 0, "requests were lost:\n{counts}");
    assert!(sent_min <= counts.sent(), "hardly any traffic:\n{counts}");
}

#[test]
fn load_brings_replicas_and_its_end_takes_them_away() {
    let testbed = Testbed::new("scale");
    let config = testbed.configure(
        r#""min_replicas": 1, "max_replicas": 3, "cpus": 0.2, "drain_timeout": 20,
           "scale_up_threshold": 70, "scale_down_threshold": 20,
           "cooldown_period": { "up": 1, "down": 2 }"#,
    );
    let daemon = Daemon::start(&config);
    testbed.wait_serving(1, secs(20), &daemon);
    let light = everyone(&testbed);
    let mut busy = clients(3, Kind::KeepAlive, "/burn?ms=15", 5);
    busy.extend(clients(2, Kind::Close, "/burn?ms=15", 5));
    let heavy = Load::start(testbed.address(), busy);
    testbed.wait_serving(3, secs(40), &daemon);
    let heavy = heavy.stop();
    testbed.wait_serving(1, secs(40), &daemon);
    assert!(reached(secs(20), || testbed.containers().len() == 1), "{:?}", testbed.containers());
    let light = light.stop();
    assert_clean(&heavy, 30);
    assert_clean(&light, 300);
    for kind in [Kind::KeepAlive, Kind::Close, Kind::Slow] {
        assert!(0 < light.of(kind).sent(), "no {kind} client");
    }
    assert_eq!(daemon.count(&["kind=replica.drain_timed_out"]), 0, "{:#?}", daemon.lines());
}

/// A regular evaluation comes once a minute here.
#[test]
fn a_step_in_load_does_not_wait_for_the_next_evaluation() {
    let testbed = Testbed::new("step");
    let config = testbed.configure(
        r#""min_replicas": 1, "max_replicas": 2, "cpus": 0.2, "drain_timeout": 20,
           "scale_up_threshold": 70, "scale_down_threshold": 20"#,
    );
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace(r#""check_interval": 1,"#, r#""check_interval": 60,"#);
    std::fs::write(&config, text).unwrap();
    let daemon = Daemon::start(&config);
    testbed.wait_serving(1, secs(20), &daemon);
    let busy = clients(3, Kind::KeepAlive, "/burn?ms=15", 5);
    let heavy = Load::start(testbed.address(), busy);
    testbed.wait_serving(2, secs(20), &daemon);
    assert_clean(&heavy.stop(), 10);
    assert_eq!(daemon.count(&["kind=scale.up", "from=1 to=2"]), 1, "{:#?}", daemon.lines());
}

#[test]
fn a_slow_request_in_flight_outlives_the_decision_to_remove_its_replica() {
    let testbed = Testbed::new("slow");
    let keys = |n: u32| format!(r#""min_replicas": {n}, "max_replicas": {n}, "drain_timeout": 30"#);
    let daemon = Daemon::start(&testbed.configure(&keys(2)));
    testbed.wait_serving(2, secs(20), &daemon);
    // One request of four seconds a time on each replica, whichever will have to go.
    let slow = Load::start(testbed.address(), clients(4, Kind::Slow, "/slow?ms=4000", 0));
    let in_use = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        fields.get(4).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    let both_busy = || {
        let stat = testbed.ask_haproxy("show stat");
        let own = stat.lines().filter(|l| l.starts_with(&format!("{0},{0}-", testbed.service)));
        own.filter(|l| 0 < in_use(l)).count() == 2
    };
    assert!(reached(secs(5), both_busy), "both replicas hold a request");
    testbed.configure(&keys(1));
    daemon.signal("HUP");
    let draining = daemon.wait(&["kind=replica.draining"], secs(5));
    let removed = daemon.wait_from(draining, &["kind=replica.removed"], secs(25));
    let counts = slow.stop();
    assert_clean(&counts, 4);
    assert!(draining < removed);
    assert_eq!(daemon.count(&["kind=replica.drain_timed_out"]), 0);
    assert_eq!(testbed.serving().len(), 1);
}

#[test]
fn a_request_that_outlasts_the_drain_timeout_is_cut_and_reported() {
    let testbed = Testbed::new("cut");
    let keys = |n: u32| format!(r#""min_replicas": {n}, "max_replicas": {n}, "drain_timeout": 1"#);
    let daemon = Daemon::start(&testbed.configure(&keys(2)));
    testbed.wait_serving(2, secs(20), &daemon);
    // Answers that have begun cannot be asked for again elsewhere.
    let slow =
        Load::start(testbed.address(), clients(4, Kind::Slow, "/stream?chunks=80&ms=100", 0));
    let busy = || {
        testbed
            .ask_haproxy("show stat")
            .lines()
            .filter(|l| {
                let fields: Vec<&str> = l.split(',').collect();
                l.starts_with(&format!("{0},{0}-", testbed.service))
                    && fields.get(4).is_some_and(|n| *n != "0")
            })
            .count()
    };
    assert!(reached(secs(5), || busy() == 2), "both replicas hold a request");
    testbed.configure(&keys(1));
    daemon.signal("HUP");
    let cut =
        daemon.wait(&["kind=replica.drain_timed_out", "drain_timeout is over with "], secs(10));
    daemon.wait_from(cut, &["kind=replica.removed"], secs(10));
    let counts = slow.wait_for(secs(5), |c| 0 < c.failed());
    assert!(counts.of(Kind::Slow).failures.contains_key(&Failure::Truncated), "{counts}");
}

#[test]
fn a_replica_gets_no_request_before_it_listens() {
    let testbed = Testbed::new("late");
    let keys = |n: u32| {
        format!(
            r#""min_replicas": {n}, "max_replicas": {n},
               "environment": {{ "START_DELAY_MS": "2500" }}"#
        )
    };
    let daemon = Daemon::start(&testbed.configure(&keys(1)));
    testbed.wait_serving(1, secs(20), &daemon);
    let load = everyone(&testbed);
    testbed.configure(&keys(3));
    daemon.signal("HUP");
    daemon.wait(&["kind=scale.up", "from=1 to=3"], secs(5));
    testbed.wait_serving(3, secs(20), &daemon);
    load.wait_for(secs(10), |c| 300 < c.sent());
    assert_clean(&load.stop(), 300);
}

#[test]
fn load_that_returns_cancels_a_drain() {
    let testbed = Testbed::new("back");
    let keys = |n: u32| format!(r#""min_replicas": {n}, "max_replicas": {n}, "drain_timeout": 30"#);
    let daemon = Daemon::start(&testbed.configure(&keys(2)));
    testbed.wait_serving(2, secs(20), &daemon);
    let before = testbed.containers();
    let slow = Load::start(testbed.address(), clients(4, Kind::Slow, "/slow?ms=6000", 0));
    let queued =
        || 4 <= testbed.ask_haproxy("show sess").lines().filter(|l| l.contains("srv=")).count();
    assert!(reached(secs(5), queued), "four requests are in flight");
    testbed.configure(&keys(1));
    daemon.signal("HUP");
    daemon.wait(&["kind=replica.draining"], secs(5));
    testbed.configure(&keys(2));
    daemon.signal("HUP");
    daemon.wait(&["kind=replica.drain_cancelled"], secs(5));
    testbed.wait_serving(2, Duration::from_secs(3), &daemon);
    assert_eq!(testbed.containers(), before, "no container was started or stopped");
    assert_clean(&slow.stop(), 4);
}
