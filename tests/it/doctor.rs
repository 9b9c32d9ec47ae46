//! `plimsoll doctor`: what is well is called so, and each fault is found, with a remedy.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::daemon::plimsoll;
use crate::harness::{Harness, free_address};

/// The findings, by what was looked at, and the exit status.
fn examined(harness: &Harness) -> (Vec<Value>, Option<i32>) {
    let config = harness.write();
    let out = plimsoll(&["doctor", "--json", "--config", config.to_str().unwrap()]);
    assert!(out.stderr.is_empty(), "{out:?}");
    let mut document: Value = serde_json::from_slice(&out.stdout).unwrap();
    let fails = document["findings"].as_array().unwrap().iter().any(|f| f["verdict"] == "fails");
    assert_eq!(document["good"], !fails);
    assert_eq!(out.status.code(), Some(i32::from(fails)), "{document:#}");
    let Value::Array(findings) = document["findings"].take() else { panic!("{document:#}") };
    (findings, out.status.code())
}

/// Exactly this is not well, and there is something to be done about it.
#[track_caller]
fn check(harness: &Harness, check: &str, verdict: &str, words: &str) {
    let (findings, _) = examined(harness);
    // The scripted Docker has containers and no images.
    let is_unhealthy = |f: &&Value| f["verdict"] != "ok" && f["check"] != "images";
    let unhealthy: Vec<&Value> = findings.iter().filter(is_unhealthy).collect();
    let [only] = unhealthy[..] else { panic!("{unhealthy:#?}") };
    assert_eq!((only["check"].as_str(), only["verdict"].as_str()), (Some(check), Some(verdict)));
    let message = only["message"].as_str().unwrap();
    assert!(message.contains(words), "no {words} in {message}");
    assert!(only["remedy"].is_string(), "no remedy for {message}");
}

#[test]
fn an_api_that_is_open_to_other_hosts_is_warned_of() {
    let mut harness = Harness::new("open");
    let port = free_address().rsplit_once(':').unwrap().1.to_owned();
    harness.set("/api/listen", json!(format!("0.0.0.0:{port}")));
    let (findings, _) = examined(&harness);
    let of = |check: &str| {
        let verdict = |f: &Value| f["verdict"].as_str().unwrap().to_owned();
        findings.iter().find(|f| f["check"] == check).map(verdict)
    };
    // The config's own warning is one too.
    assert_eq!((of("config"), of("api.token")), (Some("warning".into()), Some("warning".into())));
    harness.set("/api/token", json!("0123456789abcdef"));
    let (findings, _) = examined(&harness);
    assert!(!findings.iter().any(|f| f["check"] == "api.token"), "{findings:#?}");
}

#[test]
fn a_host_that_has_everything_is_well_with_and_without_a_daemon() {
    let harness = Harness::new("well");
    let (findings, status) = examined(&harness);
    assert_eq!(status, Some(0), "{findings:#?}");
    let checks: Vec<&str> = findings.iter().filter_map(|f| f["check"].as_str()).collect();
    for check in ["config", "clock", "docker", "images", "replicas", "haproxy", "frontends"] {
        assert!(checks.contains(&check), "no {check} in {checks:?}");
    }
    assert!(!harness.dir.join("state").exists(), "it made something");
    let _daemon = harness.start();
    harness.wait_served();
    let (findings, status) = examined(&harness);
    assert_eq!(status, Some(0), "{findings:#?}");
    let says = |check: &str, words: &str| {
        let of = |f: &&Value| f["check"] == check;
        findings.iter().find(of).is_some_and(|f| f["message"].as_str().unwrap().contains(words))
    };
    assert!(says("replicas", "reachable: 1"), "{findings:#?}");
    assert!(says("daemon", "running; answers on"), "{findings:#?}");
}

#[test]
fn each_fault_is_found_and_has_a_remedy() {
    let mut harness = Harness::new("unhealthy");
    let config = harness.config.clone();
    let script = |harness: &Harness, name: &str, text: &str| {
        let path = harness.dir.write(name, &format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        json!(path)
    };
    let old = script(&harness, "old", "echo 'HA-Proxy version 2.2.9 2020/11/30'");
    let nginx = script(&harness, "nginx", "echo 'nginx 1.22'");
    let file = json!(harness.dir.write("file", "").join("below"));
    let open = harness.dir.write("token", "0123456789abcdef");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    for (pointer, value, name, verdict, words) in [
        ("/docker/socket", json!("/nowhere/docker.sock"), "docker", "fails", "no such socket"),
        (
            "/load_balancer/binary",
            json!("/nowhere/haproxy"),
            "haproxy",
            "fails",
            "is not a program",
        ),
        ("/load_balancer/binary", old, "haproxy", "fails", "is version 2.2"),
        ("/load_balancer/binary", nginx, "haproxy", "fails", "is not HAProxy"),
        ("/autoscaler/state_dir", file, "autoscaler.state_dir", "fails", "cannot write to"),
        ("/api/token", json!({ "file": open }), "secrets", "warning", "is accessible to everybody"),
        ("/services", json!({}), "config", "warning", "no services"),
        ("/services/web/max_replicas", json!(0), "config", "fails", "max_replicas"),
    ] {
        harness.config = config.clone();
        harness.set(pointer, value);
        check(&harness, name, verdict, words);
    }
}

#[test]
fn of_a_config_whose_own_settings_are_bad_only_what_is_certain_is_checked() {
    let mut harness = Harness::new("uncertain");
    harness.set("/docker/timeout", json!("soon"));
    let (findings, status) = examined(&harness);
    let checks: Vec<&str> = findings.iter().filter_map(|f| f["check"].as_str()).collect();
    assert_eq!((checks, status), (vec!["config", "clock", "host"], Some(1)), "{findings:#?}");
    assert!(findings[0]["message"].as_str().unwrap().contains("docker.timeout"), "{findings:#?}");
    // The places are certain, and what is to be there.
    harness.set("/docker/timeout", json!(1));
    harness.set("/services/web/port", json!("eighty"));
    let (findings, _) = examined(&harness);
    let has = |check: &str| findings.iter().any(|f| f["check"] == check && f["verdict"] == "ok");
    assert!(has("docker") && has("haproxy") && has("daemon"), "{findings:#?}");
}

#[test]
fn ports_that_others_have_are_found() {
    let mut harness = Harness::new("ports");
    let taken = TcpListener::bind(free_address()).unwrap();
    let address = json!(taken.local_addr().unwrap());
    harness.set("/api/listen", address.clone());
    check(&harness, "api.listen", "fails", "cannot listen on");
    harness.set("/api/listen", json!(null));
    harness.set("/services/web/listen", address);
    check(&harness, "frontends", "fails", "cannot bind");
}
