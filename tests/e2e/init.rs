//! A first config from what a real Docker runs.

use crate::daemon::{Dir, plimsoll};
use crate::testbed::{IMAGE, Testbed};

/// Gone with the test.
struct Container<'a> {
    testbed: &'a Testbed,
    name: String,
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // One that is left tells its name.
        drop(self.testbed.docker(&["rm", "-f", &self.name]));
    }
}

/// Options of `docker run` for what else a container is made with.
const MORE: [&str; 28] = [
    "--hostname",
    "by-hand",
    "--cap-add",
    "NET_ADMIN",
    "--cap-drop",
    "KILL",
    "--init",
    "--read-only",
    "--tmpfs",
    "/tmp:size=4m",
    "--shm-size",
    "8m",
    "--ulimit",
    "nofile=100:200",
    "--device",
    "/dev/null:/dev/n:rw",
    "--add-host",
    "db:10.0.0.5",
    "--stop-signal",
    "SIGINT",
    "--security-opt",
    "no-new-privileges",
    "--sysctl",
    "net.ipv4.ip_unprivileged_port_start=80",
    "--log-opt",
    "max-size=1m",
    "--workdir",
    "/tmp",
];

/// The keys that are written for them.
const MORE_KEYS: [&str; 15] = [
    r#""hostname": "by-hand""#,
    r#""working_dir": "/tmp""#,
    r#""stop_signal": "SIGINT""#,
    r#""init": true"#,
    r#""read_only": true"#,
    r#""extra_hosts": ["db:10.0.0.5"]"#,
    r#""cap_add": ["NET_ADMIN"]"#,
    r#""cap_drop": ["KILL"]"#,
    r#""security_opt": ["no-new-privileges"]"#,
    r#""tmpfs": ["/tmp:size=4m"]"#,
    r#""devices": ["/dev/null:/dev/n:rw"]"#,
    r#""ulimits": {"nofile":{"hard":200,"soft":100}}"#,
    r#""sysctls": {"net.ipv4.ip_unprivileged_port_start":"80"}"#,
    r#""shm_size": 8388608"#,
    r#""logging": {"driver":"json-file","options":{"max-size":"1m"}}"#,
];

#[test]
fn what_runs_becomes_a_config_that_is_good() {
    let testbed = Testbed::new("init");
    let dir = Dir::new("init");
    let name = format!("{}-by-hand", testbed.service);
    let container = Container { testbed: &testbed, name: name.clone() };
    let run = ["run", "-d", "--name", &name, "-p", "127.0.0.1:0:8080", "-e", "MODE=fast"];
    let limits = ["--cpus", "0.5", "--memory", "64m", "--restart", "on-failure:3", IMAGE];
    testbed.docker(&[&run[..], &MORE[..], &limits[..]].concat()).expect("docker run");
    let out = plimsoll(&["init"]);
    assert!(out.status.success(), "{out:?}");
    let text = String::from_utf8(out.stdout).unwrap();
    let config = dir.write("config.json", &text);
    let out = plimsoll(&["check", "--config", config.to_str().unwrap()]);
    assert!(out.status.success(), "{}\n{text}", String::from_utf8_lossy(&out.stdout));
    // Other tests' containers may stand there too.
    let (_, own) = text.split_once(&format!("    \"{name}\": {{\n")).expect(&text);
    let (own, _) = own.split_once("    },\n").expect(own);
    for words in [
        format!("\"image\": \"{IMAGE}\""),
        "\"port\": 8080".to_owned(),
        "\"listen\": \"127.0.0.1:".to_owned(),
        "\"cpus\": 0.5".to_owned(),
        "\"memory\": 67108864".to_owned(),
        "\"environment\": {\"MODE\":\"fast\"}".to_owned(),
        "\"restart\": \"on-failure\"".to_owned(),
    ] {
        assert!(own.contains(&words), "no {words} in\n{own}");
    }
    for words in MORE_KEYS {
        assert!(own.contains(words), "no {words} in\n{own}");
    }
    drop(container);
}
