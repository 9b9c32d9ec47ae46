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

#[test]
fn what_runs_becomes_a_config_that_is_good() {
    let testbed = Testbed::new("init");
    let dir = Dir::new("init");
    let name = format!("{}-by-hand", testbed.service);
    let container = Container { testbed: &testbed, name: name.clone() };
    let run = ["run", "-d", "--name", &name, "-p", "127.0.0.1:0:8080", "-e", "MODE=fast"];
    let limits = ["--cpus", "0.5", "--memory", "64m", "--restart", "on-failure:3", IMAGE];
    let more = [
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
        "nofile=10:20",
        "--device",
        "/dev/null:/dev/n:rw",
        "--add-host",
        "db:10.0.0.5",
        "--stop-signal",
        "SIGINT",
        "--security-opt",
        "no-new-privileges",
        "--sysctl",
        "net.core.somaxconn=99",
        "--log-opt",
        "max-size=1m",
        "--workdir",
        "/tmp",
    ];
    testbed.docker(&[&run[..], &more[..], &limits[..]].concat()).expect("docker run");
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
        r#""hostname": "by-hand""#.to_owned(),
        r#""working_dir": "/tmp""#.to_owned(),
        r#""stop_signal": "SIGINT""#.to_owned(),
        r#""init": true"#.to_owned(),
        r#""read_only": true"#.to_owned(),
        r#""extra_hosts": ["db:10.0.0.5"]"#.to_owned(),
        r#""cap_add": ["NET_ADMIN"]"#.to_owned(),
        r#""cap_drop": ["KILL"]"#.to_owned(),
        r#""security_opt": ["no-new-privileges"]"#.to_owned(),
        r#""tmpfs": ["/tmp:size=4m"]"#.to_owned(),
        r#""devices": ["/dev/null:/dev/n:rw"]"#.to_owned(),
        r#""ulimits": {"nofile":{"hard":20,"soft":10}}"#.to_owned(),
        r#""sysctls": {"net.core.somaxconn":"99"}"#.to_owned(),
        r#""shm_size": 8388608"#.to_owned(),
        r#""logging": {"driver":"json-file","options":{"max-size":"1m"}}"#.to_owned(),
        "\"port\": 8080".to_owned(),
        "\"listen\": \"127.0.0.1:".to_owned(),
        "\"cpus\": 0.5".to_owned(),
        "\"memory\": 67108864".to_owned(),
        "\"environment\": {\"MODE\":\"fast\"}".to_owned(),
        "\"restart\": \"on-failure\"".to_owned(),
    ] {
        assert!(own.contains(&words), "no {words} in\n{own}");
    }
    drop(container);
}
