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
    testbed.docker(&[&run[..], &limits[..]].concat()).expect("docker run");
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
    drop(container);
}
