//! `plimsoll doctor`: what is well is called so, and each fault is found, with a remedy.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::daemon::plimsoll;
use crate::stage::{Stage, free_address};

/// The findings, by what was looked at, and the exit status.
fn examined(stage: &Stage) -> (Vec<Value>, Option<i32>) {
    let config = stage.write();
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
fn check(stage: &Stage, check: &str, verdict: &str, words: &str) {
    let (findings, _) = examined(stage);
    // The scripted Docker has containers and no images.
    let is_ill = |f: &&Value| f["verdict"] != "ok" && f["check"] != "images";
    let ill: Vec<&Value> = findings.iter().filter(is_ill).collect();
    let [only] = ill[..] else { panic!("{ill:#?}") };
    assert_eq!((only["check"].as_str(), only["verdict"].as_str()), (Some(check), Some(verdict)));
    let message = only["message"].as_str().unwrap();
    assert!(message.contains(words), "no {words} in {message}");
    assert!(only["remedy"].is_string(), "no remedy for {message}");
}

#[test]
fn an_api_that_is_open_to_other_hosts_is_warned_of() {
    let mut stage = Stage::new("open");
    let port = free_address().rsplit_once(':').unwrap().1.to_owned();
    stage.set("/api/listen", json!(format!("0.0.0.0:{port}")));
    let (findings, _) = examined(&stage);
    let of = |check: &str| {
        let verdict = |f: &Value| f["verdict"].as_str().unwrap().to_owned();
        findings.iter().find(|f| f["check"] == check).map(verdict)
    };
    // The config's own warning is one too.
    assert_eq!((of("config"), of("api.token")), (Some("warning".into()), Some("warning".into())));
    stage.set("/api/token", json!("0123456789abcdef"));
    let (findings, _) = examined(&stage);
    assert!(!findings.iter().any(|f| f["check"] == "api.token"), "{findings:#?}");
}

#[test]
fn a_host_that_has_everything_is_well_with_and_without_a_daemon() {
    let stage = Stage::new("well");
    let (findings, status) = examined(&stage);
    assert_eq!(status, Some(0), "{findings:#?}");
    let checks: Vec<&str> = findings.iter().filter_map(|f| f["check"].as_str()).collect();
    for check in ["config", "clock", "docker", "images", "replicas", "haproxy", "frontends"] {
        assert!(checks.contains(&check), "no {check} in {checks:?}");
    }
    assert!(!stage.dir.join("state").exists(), "it made something");
    let _daemon = stage.start();
    stage.wait_served();
    let (findings, status) = examined(&stage);
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
    let mut stage = Stage::new("ill");
    let config = stage.config.clone();
    let script = |stage: &Stage, name: &str, text: &str| {
        let path = stage.dir.write(name, &format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        json!(path)
    };
    let old = script(&stage, "old", "echo 'HA-Proxy version 2.2.9 2020/11/30'");
    let nginx = script(&stage, "nginx", "echo 'nginx 1.22'");
    let file = json!(stage.dir.write("file", "").join("below"));
    let open = stage.dir.write("token", "0123456789abcdef");
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
        stage.config = config.clone();
        stage.set(pointer, value);
        check(&stage, name, verdict, words);
    }
}

#[test]
fn ports_that_others_have_are_found() {
    let mut stage = Stage::new("ports");
    let taken = TcpListener::bind(free_address()).unwrap();
    let address = json!(taken.local_addr().unwrap());
    stage.set("/api/listen", address.clone());
    check(&stage, "api.listen", "fails", "cannot listen on");
    stage.set("/api/listen", json!(null));
    stage.set("/services/web/listen", address);
    check(&stage, "frontends", "fails", "cannot bind");
}
