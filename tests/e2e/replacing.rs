//! Replicas are replaced under traffic: after a change of the spec, by an operator, when unhealthy.

#![allow(clippy::disallowed_methods, reason = "a test measures")]

use std::time::Instant;

use crate::daemon::{Daemon, plimsoll, reached, secs};
use crate::load::Counts;
use crate::testbed::{Testbed, everyone};

#[track_caller]
fn assert_clean(counts: &Counts) {
    assert_eq!(counts.failed(), 0, "requests were lost:\n{counts}");
    assert!(300 <= counts.sent(), "hardly any traffic:\n{counts}");
}

fn two(more: &str) -> String {
    format!(r#""min_replicas": 2, "max_replicas": 2, "drain_timeout": 20{more}"#)
}

fn numbers(testbed: &Testbed) -> Vec<String> {
    testbed.containers().into_iter().map(|(_, name, _)| name).collect()
}

#[track_caller]
fn wait_numbers(testbed: &Testbed, numbers_wanted: [u32; 2], daemon: &Daemon) {
    let want: Vec<String> = numbers_wanted.map(|n| format!("{}-{n}", testbed.service)).into();
    let done = reached(secs(30), || numbers(testbed) == want);
    assert!(done, "{:?}, not {want:?}: {:#?}", numbers(testbed), daemon.lines());
}

#[test]
fn a_changed_spec_and_a_restart_go_through_all_and_lose_no_request() {
    let testbed = Testbed::new("roll");
    let daemon = Daemon::start(&testbed.configure(&two("")));
    testbed.wait_serving(2, secs(30), &daemon);
    let load = everyone(&testbed);
    let begun = Instant::now();
    testbed.configure(&two(r#", "environment": { "COLOUR": "blue" }"#));
    daemon.signal("HUP");
    let changed = daemon.wait(&["kind=rollout.finished"], secs(120));
    println!("a change of spec through 2 replicas: {:.1} s", begun.elapsed().as_secs_f64());
    wait_numbers(&testbed, [3, 4], &daemon);
    for (id, ..) in testbed.containers() {
        let env = testbed.docker(&["inspect", "--format", "{{.Config.Env}}", &id]).unwrap();
        assert!(env.contains("COLOUR=blue"), "{env}");
    }
    let begun = Instant::now();
    let socket = testbed.dir.join("api.sock");
    let reported = plimsoll(&["restart", &testbed.service, "--socket", socket.to_str().unwrap()]);
    assert!(reported.status.success(), "{reported:?}");
    daemon.wait_from(changed + 1, &["kind=rollout.finished"], secs(120));
    println!("a restart of 2 replicas: {:.1} s", begun.elapsed().as_secs_f64());
    wait_numbers(&testbed, [5, 6], &daemon);
    // The old ones go on where they listen until the new ones serve elsewhere.
    let config = testbed.configure(&two(r#", "environment": { "PORT": "8081" }"#));
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replacen(r#""port": 8080"#, r#""port": 8081"#, 1)).unwrap();
    daemon.signal("HUP");
    wait_numbers(&testbed, [7, 8], &daemon);
    assert!(testbed.ask_haproxy("show servers state").contains(" 8081 "));
    assert_clean(&load.stop());
}

#[test]
fn a_spec_that_never_gets_ready_is_taken_back_and_loses_no_request() {
    let testbed = Testbed::new("back");
    let keys = |more: &str| two(&format!(r#", "rollout": {{ "progress_deadline": 6 }}{more}"#));
    let daemon = Daemon::start(&testbed.configure(&keys("")));
    testbed.wait_serving(2, secs(30), &daemon);
    let load = everyone(&testbed);
    // It listens where nobody asks.
    testbed.configure(&keys(r#", "environment": { "PORT": "9999" }"#));
    daemon.signal("HUP");
    let back = daemon.wait(&["kind=rollout.rolled_back"], secs(60));
    daemon.wait_from(back, &["kind=rollout.finished"], secs(60));
    wait_numbers(&testbed, [1, 2], &daemon);
    assert_clean(&load.stop());
}

#[test]
fn an_unhealthy_replica_leaves_haproxy_and_is_replaced() {
    let testbed = Testbed::new("unhealthy");
    let daemon = Daemon::start(&testbed.configure(&two("")));
    testbed.wait_serving(2, secs(30), &daemon);
    let unhealthy = format!("{}-1", testbed.service);
    let begun = Instant::now();
    // It accepts connections and answers nothing.
    testbed.docker(&["pause", &unhealthy]).unwrap();
    daemon.wait(&["kind=health.unhealthy", &unhealthy], secs(60));
    let is_out = || !testbed.ask_haproxy("show stat").contains(&format!("{unhealthy},"));
    assert!(reached(secs(30), is_out), "{:#?}", daemon.lines());
    println!("from unhealthy to out of HAProxy: {:.1} s", begun.elapsed().as_secs_f64());
    daemon.wait(&["kind=health.replaced", &unhealthy], secs(60));
    println!("from unhealthy to replaced: {:.1} s", begun.elapsed().as_secs_f64());
    testbed.wait_serving(2, secs(30), &daemon);
    wait_numbers(&testbed, [2, 3], &daemon);
}

#[test]
fn what_left_the_config_is_drained_and_removed_when_that_is_configured() {
    let testbed = Testbed::new("gone");
    let other = format!("{}-other", testbed.service);
    let more = format!(
        r#", "{other}": {{ "image": "{}", "port": 8080, "min_replicas": 1, "max_replicas": 1 }}"#,
        crate::testbed::IMAGE
    );
    let label = format!("label=io.plimsoll.service={other}");
    let count = || {
        let ids = testbed.docker(&["ps", "-aq", "--filter", &label]).unwrap();
        ids.lines().count()
    };
    let daemon = Daemon::start(&testbed.configure_with(&two(""), &more));
    testbed.wait_serving(2, secs(30), &daemon);
    assert!(reached(secs(30), || count() == 1), "{:#?}", daemon.lines());
    let config = testbed.configure(&two(""));
    daemon.signal("HUP");
    daemon.wait(&["kind=service.orphaned", &other], secs(30));
    assert_eq!(count(), 1, "nobody said that it may go");
    let text = std::fs::read_to_string(&config).unwrap();
    let text =
        text.replacen("\"check_interval\"", "\"remove_orphans\": true, \"check_interval\"", 1);
    std::fs::write(&config, text).unwrap();
    daemon.signal("HUP");
    assert!(reached(secs(60), || count() == 0), "{:#?}", daemon.lines());
    assert_eq!(testbed.serving().len(), 2);
}
