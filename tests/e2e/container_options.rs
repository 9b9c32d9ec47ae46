//! Keys that compose files have for a container, on the real Docker: each has its effect inside.

use std::fs;

use serde_json::{Value, json};

use crate::daemon::{Daemon, reached, secs};
use crate::testbed::Testbed;

/// What the kernel says of the first process of the container.
struct Process(String);

impl Process {
    fn read(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.0)).unwrap()
    }

    fn line(&self, file: &str, begin: &str) -> String {
        let text = self.read(file);
        let line = text.lines().find(|line| line.starts_with(begin));
        line.unwrap_or_else(|| panic!("no {begin} in {text}")).to_owned()
    }

    fn mount(&self, path: &str) -> String {
        let text = self.read("mounts");
        let line = text.lines().find(|line| line.split(' ').nth(1) == Some(path));
        line.unwrap_or_else(|| panic!("no {path} in {text}")).to_owned()
    }
}

fn one(more: &str) -> String {
    format!(r#""min_replicas": 1, "max_replicas": 1, "drain_timeout": 5{more}"#)
}

#[test]
fn each_key_has_its_effect_in_the_container_and_the_stop_signal_ends_it() {
    let testbed = Testbed::new("options");
    let profile = testbed.dir.write("seccomp.json", r#"{ "defaultAction": "SCMP_ACT_ALLOW" }"#);
    let variables = testbed.dir.write("web.env", "A='of $the file'\nPORT=9 # not this\n");
    let keys = format!(
        r#", "env_file": "{}", "environment": {{ "PORT": "8080" }},
        "entrypoint": ["/app"], "hostname": "web.example", "working_dir": "/run",
        "stop_signal": "SIGUSR1", "read_only": true,
        "extra_hosts": {{ "db": "10.0.0.5", "here": "host-gateway" }},
        "cap_add": ["NET_ADMIN"], "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true", "seccomp={}"],
        "tmpfs": ["/run:size=4m,mode=1770,noexec"],
        "devices": ["/dev/null:/dev/nothing:rw"],
        "ulimits": {{ "nofile": {{ "soft": 1000, "hard": 2000 }}, "core": 0 }},
        "sysctls": {{ "net.ipv4.ip_unprivileged_port_start": 80 }},
        "shm_size": "8m",
        "logging": {{ "driver": "json-file", "options": {{ "max-size": "1m", "max-file": 2 }} }}"#,
        variables.display(),
        profile.display()
    );
    let daemon = Daemon::start(&testbed.configure(&one(&keys)));
    testbed.wait_serving(1, secs(30), &daemon);
    let id = testbed.container_ids(&testbed.service).remove(0);
    let shown: Value = serde_json::from_str(&testbed.docker(&["inspect", &id]).unwrap()).unwrap();
    let shown = &shown[0];
    let pid = shown["State"]["Pid"].as_u64().unwrap();
    let process = Process(pid.to_string());
    let environment = process.read("environ");
    for variable in ["A=of $the file", "PORT=8080", "HOSTNAME=web.example"] {
        assert!(environment.split('\0').any(|v| v == variable), "{environment}");
    }
    assert_eq!(process.read("cmdline").trim_end_matches('\0'), "/app");
    let cwd = fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    assert_eq!(cwd.to_str(), Some("/run"));
    let hosts = process.read("root/etc/hosts");
    assert!(hosts.contains("10.0.0.5\tdb\n") && hosts.contains("\there\n"), "{hosts}");
    // CAP_NET_ADMIN is bit 12, and nothing else is left.
    assert_eq!(process.line("status", "CapBnd:"), "CapBnd:\t0000000000001000");
    assert_eq!(process.line("status", "NoNewPrivs:"), "NoNewPrivs:\t1");
    let root = process.mount("/");
    assert!(root.split(' ').nth(3).unwrap().starts_with("ro"), "{root}");
    let run = process.mount("/run");
    for option in ["size=4096k", "mode=1770", "noexec"] {
        assert!(run.starts_with("tmpfs ") && run.contains(option), "{run}");
    }
    assert!(process.mount("/dev/shm").contains("size=8192k"));
    assert!(fs::metadata(format!("/proc/{pid}/root/dev/nothing")).is_ok());
    let words = |line: String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let files = words(process.line("limits", "Max open files"));
    assert_eq!(files[3..5], ["1000", "2000"]);
    assert_eq!(words(process.line("limits", "Max core file size"))[4..6], ["0", "0"]);
    let host = &shown["HostConfig"];
    assert_eq!(host["Sysctls"], json!({ "net.ipv4.ip_unprivileged_port_start": "80" }));
    let log = json!({ "Type": "json-file", "Config": { "max-file": "2", "max-size": "1m" } });
    assert_eq!(host["LogConfig"], log);
    let seccomp = r#"seccomp={"defaultAction":"SCMP_ACT_ALLOW"}"#;
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges:true", seccomp]));
    // Process 1 without a handler does not get SIGUSR1, so that only SIGKILL ends it, after
    // `stop_timeout`.
    testbed.configure(&one(r#", "init": true, "stop_signal": "SIGINT""#));
    daemon.signal("HUP");
    daemon.wait(&["kind=rollout.finished"], secs(60));
    wait_ended(&testbed, shown, &["10", "9"]);
    let next = testbed.container_ids(&testbed.service).remove(0);
    let shown: Value = serde_json::from_str(&testbed.docker(&["inspect", &next]).unwrap()).unwrap();
    assert_eq!(shown[0]["HostConfig"]["Init"], json!(true));
    testbed.configure(&one(""));
    let from = daemon.lines().len();
    daemon.signal("HUP");
    daemon.wait_from(from, &["kind=rollout.finished"], secs(60));
    wait_ended(&testbed, &shown[0], &["2"]);
}

/// Waits until a container is gone, and these signals were what ended it.
fn wait_ended(testbed: &Testbed, shown: &Value, want: &[&str]) {
    let id = shown["Id"].as_str().unwrap();
    let is_gone = || testbed.docker(&["inspect", id]).is_none();
    assert!(reached(secs(20), is_gone), "{id} is still there");
    // Docker shows events up to the last whole second.
    let is_so = reached(secs(10), || signals(testbed, id) == want);
    assert!(is_so, "{:?}, not {want:?}", signals(testbed, id));
}

/// Every signal that Docker sent to the container.
fn signals(testbed: &Testbed, id: &str) -> Vec<String> {
    let only = format!("container={id}");
    let shown = testbed.docker(&[
        "events",
        "--since",
        "10m",
        "--until",
        "0s",
        "--filter",
        "event=kill",
        "--filter",
        &only,
        "--format",
        "{{.Actor.Attributes.signal}}",
    ]);
    shown.unwrap().lines().map(str::to_owned).collect()
}
