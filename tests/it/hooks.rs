//! Hooks with a Docker that forbids, forgets or fails them.

use serde_json::json;

use crate::daemon::{plimsoll, reached, secs};
use crate::fake_docker::{Fault, Route};
use crate::harness::Harness;

fn harness(name: &str) -> Harness {
    let mut harness = Harness::new(name);
    harness.set("/services/web/hooks", json!({ "after_ready": ["warm", "up"], "timeout": 2 }));
    harness
}

#[test]
fn a_replica_whose_hook_cannot_be_run_waits_without_traffic_and_stays() {
    for (name, route, fault, words) in [
        ("hook-403", Route::Exec, Fault::Refuse(403, "exec is forbidden"), "exec is forbidden"),
        ("hook-lost", Route::ExecState, Fault::Refuse(404, "No such exec"), "was Docker restarted"),
    ] {
        let harness = harness(name);
        harness.docker.end_commands(0);
        harness.docker.fault(route, fault);
        let daemon = harness.start();
        daemon.wait(&["kind=hook.failed", "replica=web-1", "cannot be run", words], secs(10));
        let tries = harness.docker.count(Route::Exec);
        assert!(reached(secs(10), || tries + 2 <= harness.docker.count(Route::Exec)), "{name}");
        assert_eq!(daemon.count(&["kind=hook.failed"]), 1, "{name}: it is reported once");
        assert!(!harness.serves(), "{name}");
        let socket = harness.dir.join("api.sock");
        let shown = plimsoll(&["status", "web", "--socket", socket.to_str().unwrap()]);
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.contains("starting (hook after_ready)"), "{shown}");
        assert_eq!(harness.docker.names("running"), ["web-1"], "{name}: nothing is replaced");
        harness.docker.heal();
        harness.wait_served();
        let ran = harness.docker.count(Route::ExecStart);
        harness.wait_evaluations(2);
        assert_eq!(harness.docker.count(Route::ExecStart), ran, "{name}: it runs again");
    }
}

#[test]
fn a_replica_whose_hook_fails_is_replaced() {
    let harness = harness("hook-fails");
    harness.docker.end_commands(7);
    let daemon = harness.start();
    daemon.wait(&["kind=hook.failed", "replica=web-1", "exit code 7; last output: said"], secs(10));
    daemon.wait(&["kind=health.replaced", "hook after_ready failed: exit code 7"], secs(20));
    assert!(!harness.serves());
    harness.docker.end_commands(0);
    assert!(reached(secs(40), || harness.serves()), "{:#?}", daemon.lines());
}

#[test]
fn a_dry_run_runs_no_hook() {
    let mut harness = harness("hook-dry");
    harness.set("/autoscaler/dry_run", json!(true));
    harness.docker.end_commands(0);
    harness.docker.add("web-1", Some(("web", 1)), "running");
    let _daemon = harness.start();
    harness.wait_evaluations(3);
    assert_eq!(harness.docker.count(Route::Exec), 0);
}
