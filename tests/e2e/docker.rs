//! What Docker's side can bring: replicas that die, images that are missing, load without files.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::daemon::{Daemon, PLIMSOLL, reached, secs};
use crate::load::{Kind, Load};
use crate::registry::{Registry, Tls};
use crate::testbed::{IMAGE, Testbed, clients};

const TWO: &str = r#""min_replicas": 2, "max_replicas": 2"#;

#[test]
fn a_killed_replica_is_replaced_at_once() {
    let testbed = Testbed::new("die");
    // An evaluation every hour: only Docker's event can bring the replacement.
    let config = testbed.configure(TWO);
    let slow = fs::read_to_string(&config)
        .unwrap()
        .replace(r#""check_interval": 1"#, r#""check_interval": 3600"#);
    fs::write(&config, slow).unwrap();
    let daemon = Daemon::start(&config);
    testbed.wait_serving(2, secs(20), &daemon);
    let (victim, name, _) = testbed.containers().remove(0);
    testbed.docker(&["kill", &victim]).expect("docker kill");
    daemon.wait(&["kind=replica.exited", &format!("replica={name}")], secs(3));
    let replaced = reached(secs(10), || {
        let serving = testbed.serving();
        serving.len() == 2 && !serving.contains(&name)
    });
    assert!(replaced, "{:?} {:#?}", testbed.serving(), daemon.lines());
    assert!(reached(secs(5), || testbed.containers().len() == 2), "{:?}", testbed.containers());
}

#[test]
fn a_replica_that_cannot_start_is_reported_removed_and_tried_ever_more_slowly() {
    let testbed = Testbed::new("broken");
    let config = testbed.configure(&format!(
        r#"{TWO}, "command": ["--no-such-option"], "networks": ["no-such-network"]"#
    ));
    let daemon = Daemon::start(&config);
    daemon.wait(&["kind=replica.failed", "no-such-network"], secs(10));
    daemon.wait(&["kind=health.crash_loop", "reason=CrashLoop"], secs(10));
    assert!(testbed.containers().is_empty(), "{:?}", testbed.containers());
    let tried = daemon.count(&["kind=replica.failed"]);
    assert!(tried <= 4, "{tried} tries: {:#?}", daemon.lines());
    testbed.configure(TWO);
    daemon.signal("HUP");
    testbed.wait_serving(2, secs(30), &daemon);
}

#[test]
fn a_container_is_made_as_the_config_says() {
    let testbed = Testbed::new("made");
    let networks = [format!("{}-a", testbed.service), format!("{}-b", testbed.service)];
    // What the daemon makes in them is gone first: the networks could not be removed before.
    let _networks = Networks { testbed: &testbed, names: &networks };
    for name in &networks {
        testbed.docker(&["network", "create", name]).expect("docker network create");
    }
    let secret = testbed.dir.write("secret", "from a file\n");
    let config = testbed.configure(&format!(
        r#""min_replicas": 1, "max_replicas": 1, "networks": ["{}", "{}"], "user": "1000:1000",
           "restart": "on-failure:3", "labels": {{ "tier": "front" }}, "memory": "64m",
           "volumes": ["{}:/secret:ro"],
           "environment": {{ "PLAIN": "a b", "SECRET": {{ "file": "{}" }} }}"#,
        networks[1],
        networks[0],
        secret.display(),
        secret.display()
    ));
    let daemon = Daemon::start(&config);
    testbed.wait_serving(1, secs(20), &daemon);
    let (id, _, _) = testbed.containers().remove(0);
    let said = testbed.docker(&["inspect", &id]).expect("docker inspect");
    let seen: serde_json::Value = serde_json::from_str(&said).unwrap();
    let seen = &seen[0];
    assert_eq!(seen["Config"]["User"], "1000:1000");
    assert_eq!(seen["Config"]["Labels"]["tier"], "front");
    let environment = seen["Config"]["Env"].to_string();
    assert!(environment.contains(r#""PLAIN=a b""#), "{environment}");
    assert!(environment.contains(r#""SECRET=from a file""#), "{environment}");
    assert_eq!(seen["HostConfig"]["RestartPolicy"]["Name"], "on-failure");
    assert_eq!(seen["HostConfig"]["RestartPolicy"]["MaximumRetryCount"], 3);
    let joined = seen["NetworkSettings"]["Networks"].as_object().unwrap();
    assert_eq!(joined.keys().collect::<Vec<_>>(), networks.iter().collect::<Vec<_>>());
    let first = joined[&networks[1]]["IPAddress"].as_str().unwrap();
    let servers = testbed.ask_haproxy("show servers state");
    assert!(servers.contains(first), "HAProxy goes by the first network: {servers}");
    let client = Load::start(testbed.address(), clients(2, Kind::KeepAlive, "/", 5));
    client.wait_for(secs(5), |c| 20 < c.sent());
    assert_eq!(client.stop().failed(), 0);
    let lines = daemon.lines();
    assert!(!lines.iter().any(|line| line.contains("from a file")), "{lines:#?}");
    drop(daemon);
    testbed.docker(&["rm", "-f", &id]).expect("docker rm");
}

struct Networks<'a> {
    testbed: &'a Testbed,
    names: &'a [String],
}

impl Drop for Networks<'_> {
    fn drop(&mut self) {
        for name in self.names {
            drop(self.testbed.docker(&["network", "rm", name]));
        }
    }
}

#[test]
fn an_image_that_no_registry_has_is_reported_in_dockers_words() {
    let testbed = Testbed::new("image");
    let registry = Registry::start(None, Tls::Off);
    let image = registry.image("no-such-image:7");
    let daemon = Daemon::start(&with_image(&testbed, &image));
    let words = format!("image {image} could not be pulled: ");
    daemon.wait(&["kind=replica.failed", &words, "not found"], secs(30));
}

#[test]
fn an_absent_image_is_pulled_from_its_registry() {
    let testbed = Testbed::new("pull");
    let registry = Registry::start(None, Tls::Off);
    let image = registry.push(IMAGE, &format!("{}:1", testbed.service)).image;
    let daemon = Daemon::start(&with_image(&testbed, &image));
    daemon.wait(&["kind=image.pulling", &image], secs(20));
    daemon.wait(&["kind=image.pulled", &image], secs(60));
    testbed.wait_serving(2, secs(30), &daemon);
    assert_eq!(daemon.count(&["kind=image.pulled"]), 1);
    drop(daemon);
    testbed.clean_up();
    testbed.docker(&["rmi", &image]).expect("docker rmi");
}

pub(crate) fn with_image(testbed: &Testbed, image: &str) -> PathBuf {
    let config = testbed.configure(TWO);
    let text = fs::read_to_string(&config).unwrap().replace(IMAGE, image);
    fs::write(&config, text).unwrap();
    config
}

#[test]
fn without_readable_files_load_comes_from_dockers_statistics() {
    let testbed = Testbed::new("stats");
    let config = testbed.configure(
        r#""min_replicas": 1, "max_replicas": 2, "cpus": 0.2,
           "scale_up_threshold": 60, "scale_down_threshold": 1, "cooldown_period": 1"#,
    );
    // A mount namespace of its own, in which the control groups' files are hidden.
    let mut hidden = Command::new("unshare");
    hidden.args([
        "-m",
        "sh",
        "-c",
        r#"mount -t tmpfs none /sys/fs/cgroup && exec "$0" "$@""#,
        PLIMSOLL,
    ]);
    let text = fs::read_to_string(&config)
        .unwrap()
        .replace(r#""check_interval": 1"#, r#""check_interval": 2"#);
    fs::write(&config, text).unwrap();
    let daemon = Daemon::start_by(hidden, &config, &[]);
    testbed.wait_serving(1, secs(20), &daemon);
    let load = Load::start(testbed.address(), clients(3, Kind::KeepAlive, "/burn?ms=15", 0));
    testbed.wait_serving(2, secs(30), &daemon);
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "{counts}");
}

#[test]
fn containers_of_others_are_never_touched() {
    let testbed = Testbed::new("others");
    let label = "io.plimsoll.replica=1";
    let name = format!("{}-1", testbed.service);
    // It has the name that our first replica would get, and one of the two labels.
    let image = crate::testbed::IMAGE;
    let id = testbed.docker(&["run", "-d", "--name", &name, "--label", label, image]).unwrap();
    let daemon = Daemon::start(&testbed.configure(r#""min_replicas": 1, "max_replicas": 1"#));
    daemon.wait(&["kind=replica.failed", "is taken by a container that is not ours"], secs(10));
    testbed.wait_serving(1, secs(30), &daemon);
    let format = "{{.State.Running}} {{.RestartCount}}";
    let state = testbed.docker(&["inspect", "--format", format, id.trim()]);
    testbed.docker(&["rm", "-f", id.trim()]).unwrap();
    assert_eq!(state.as_deref(), Some("true 0\n"));
}
