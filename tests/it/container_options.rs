//! Keys that compose files have for a container: what Docker is sent for them, and that a change of
//! any is one new revision.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::{reached, secs};
use crate::harness::{Harness, each};

const SOON: Duration = Duration::from_secs(10);
const SECCOMP: &str = "{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\"\n}\n";

/// Without what has to do with plimsoll itself.
fn body(harness: &Harness, at: usize) -> Value {
    let mut body = harness.docker.bodies()[at].clone();
    body.as_object_mut().unwrap().remove("Labels");
    body
}

fn every_key(profile: &str, variables: &[String; 3]) -> Vec<(&'static str, Value)> {
    vec![
        (
            "env_file",
            json!([
                variables[0], variables[1], { "path": variables[2], "required": false },
            ]),
        ),
        ("environment", json!({ "C": "wins" })),
        ("entrypoint", json!([])),
        ("command", json!(["/app", "-v"])),
        ("hostname", json!("web.example")),
        ("working_dir", json!("/srv")),
        ("stop_signal", json!("SIGQUIT")),
        ("init", json!(false)),
        ("read_only", json!(true)),
        ("extra_hosts", json!(["db=10.0.0.5", "host:host-gateway", "six:[::1]", "v6:::2"])),
        ("cap_add", json!(["sys_time", "CAP_NET_ADMIN"])),
        ("cap_drop", json!(["ALL"])),
        (
            "security_opt",
            json!(["no-new-privileges", format!("seccomp:{profile}"), "systempaths=unconfined",]),
        ),
        ("tmpfs", json!(["/tmp:size=64m,mode=1777", "/run"])),
        ("devices", json!(["/dev/null", "/dev/zero:/dev/z:r", { "source": "/dev/full" }])),
        ("ulimits", json!({ "nofile": { "soft": 10, "hard": 20 }, "memlock": -1 })),
        ("sysctls", json!(["net.core.somaxconn=99"])),
        ("shm_size", json!("128m")),
        ("gpus", json!("all")),
        ("logging", json!({ "driver": "local", "options": { "max-file": 3 } })),
    ]
}

fn every_field() -> Value {
    json!({
        "Image": "demo:1", "Entrypoint": [], "Cmd": ["/app", "-v"],
        "Env": ["A=a", "B=of the second", "C=wins", "D=$A"],
        "Hostname": "web.example", "WorkingDir": "/srv", "StopSignal": "SIGQUIT",
        "HostConfig": {
            "Binds": [], "NanoCpus": 0, "Memory": 0,
            "Init": false, "ReadonlyRootfs": true,
            "ExtraHosts": ["db:10.0.0.5", "host:host-gateway", "six:::1", "v6:::2"],
            "CapAdd": ["NET_ADMIN", "SYS_TIME"], "CapDrop": ["ALL"],
            "SecurityOpt":
                ["no-new-privileges", r#"seccomp={"defaultAction":"SCMP_ACT_ALLOW"}"#],
            "MaskedPaths": [], "ReadonlyPaths": [],
            "Tmpfs": { "/run": "", "/tmp": "size=64m,mode=1777" },
            "Devices": [
                { "PathOnHost": "/dev/null", "PathInContainer": "/dev/null",
                  "CgroupPermissions": "rwm" },
                { "PathOnHost": "/dev/zero", "PathInContainer": "/dev/z",
                  "CgroupPermissions": "r" },
                { "PathOnHost": "/dev/full", "PathInContainer": "/dev/full",
                  "CgroupPermissions": "rwm" },
            ],
            "Ulimits": [
                { "Name": "memlock", "Soft": -1, "Hard": -1 },
                { "Name": "nofile", "Soft": 10, "Hard": 20 },
            ],
            "Sysctls": { "net.core.somaxconn": "99" },
            "ShmSize": 128 << 20,
            "DeviceRequests": [
                { "Driver": "", "Count": -1, "Capabilities": [["gpu"]], "Options": {} },
            ],
            "LogConfig": { "Type": "local", "Config": { "max-file": "3" } },
        },
    })
}

#[test]
fn docker_is_sent_each_key_and_nothing_that_is_not_set() {
    let mut harness = Harness::new("options");
    let file = |name: &str| harness.dir.join(name).to_str().unwrap().to_owned();
    let profile = file("seccomp.json");
    let variables = [file("a.env"), file("b.env"), file("none.env")];
    fs::write(&profile, SECCOMP).unwrap();
    fs::write(&variables[0], "# both\nA=a\nB=\"b # $A\"\nC=c\n").unwrap();
    fs::write(&variables[1], "B=of the second\nexport D='$A'\n").unwrap();
    let daemon = harness.start();
    harness.wait_served();
    let plain = json!({
        "Image": "demo:1", "Env": [], "HostConfig": { "Binds": [], "NanoCpus": 0, "Memory": 0 },
    });
    assert_eq!(body(&harness, 0), plain);
    for (key, value) in every_key(&profile, &variables) {
        harness.set(&format!("/services/web/{key}"), value);
    }
    harness.write();
    daemon.signal("HUP");
    daemon.wait(&["kind=rollout.finished", "service=web"], secs(30));
    assert_eq!(harness.docker.bodies().len(), 2);
    assert_eq!(body(&harness, 1), every_field());
    // The same config again is no new revision; other content of a file is.
    daemon.signal("HUP");
    harness.wait_evaluations(2);
    assert_eq!(harness.docker.bodies().len(), 2);
    let reported = daemon.lines().len();
    fs::write(&variables[1], "B=s3cret\n").unwrap();
    daemon.signal("HUP");
    daemon.wait_from(reported, &["kind=config.reloaded", "services.web: environment"], SOON);
    daemon.wait_from(reported, &["kind=rollout.finished", "service=web"], secs(30));
    assert_eq!(body(&harness, 2)["Env"], json!(["A=a", "B=s3cret", "C=wins"]));
    // What worked before can be made again by a daemon that finds only its own state.
    let state = fs::read_to_string(harness.dir.join("state/state.json")).unwrap();
    assert!(state.contains("\"hostname\": \"web.example\""), "{state}");
    assert!(!daemon.lines().join("\n").contains("s3cret"));
}

#[test]
fn a_change_of_each_key_is_one_new_revision() {
    let rows = [
        ("entrypoint", json!(["/app"])),
        ("hostname", json!("a")),
        ("working_dir", json!("/")),
        ("stop_signal", json!("SIGINT")),
        ("init", json!(true)),
        ("read_only", json!(true)),
        ("extra_hosts", json!({ "a": "10.0.0.1" })),
        ("cap_add", json!(["ALL"])),
        ("cap_drop", json!(["KILL"])),
        ("security_opt", json!(["no-new-privileges:true"])),
        ("tmpfs", json!("/tmp")),
        ("devices", json!(["/dev/null"])),
        ("ulimits", json!({ "core": 0 })),
        ("sysctls", json!({ "net.core.somaxconn": 9 })),
        ("shm_size", json!("1m")),
        ("gpus", json!([{ "device_ids": ["0"] }])),
        ("logging", json!({ "driver": "none" })),
    ];
    each(&rows, |(key, value)| {
        let mut harness = Harness::new(key);
        let daemon = harness.start();
        harness.wait_served();
        harness.set(&format!("/services/web/{key}"), value.clone());
        harness.write();
        daemon.signal("HUP");
        daemon.wait(&["kind=config.reloaded", &format!("services.web: {key}")], SOON);
        daemon.wait(&["kind=rollout.finished", "service=web"], secs(30));
        assert!(reached(SOON, || harness.docker.names("running") == ["web-2"]), "{key}");
        harness.wait_evaluations(2);
        assert_eq!(harness.docker.bodies().len(), 2, "{key}");
    });
}
