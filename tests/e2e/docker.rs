//! What Docker's side can bring: replicas that die, images that are missing, load without files.

use std::process::Command;

use crate::daemon::{Daemon, PLIMSOLL, reached, secs};
use crate::load::{Kind, Load};
use crate::site::{Site, clients};

const TWO: &str = r#""min_replicas": 2, "max_replicas": 2"#;

#[test]
fn a_killed_replica_is_replaced_at_once() {
    let site = Site::new("die");
    // A look at load every hour: only Docker's event can bring the replacement.
    let config = site.configure(TWO);
    let slow = std::fs::read_to_string(&config)
        .unwrap()
        .replace(r#""check_interval": 1"#, r#""check_interval": 3600"#);
    std::fs::write(&config, slow).unwrap();
    let daemon = Daemon::start(&config);
    site.wait_serving(2, secs(20), &daemon);
    let (victim, name, _) = site.containers().remove(0);
    site.docker(&["kill", &victim]).expect("docker kill");
    daemon.wait(&["event=replica.exited", &format!("replica={name}")], secs(3));
    let replaced = reached(secs(10), || {
        let serving = site.serving();
        serving.len() == 2 && !serving.contains(&name)
    });
    assert!(replaced, "{:?} {:#?}", site.serving(), daemon.lines());
    assert!(reached(secs(5), || site.containers().len() == 2), "{:?}", site.containers());
}

#[test]
fn a_replica_that_cannot_start_is_told_removed_and_tried_ever_more_slowly() {
    let site = Site::new("broken");
    let config = site.configure(&format!(
        r#"{TWO}, "command": ["--no-such-option"], "networks": ["no-such-network"]"#
    ));
    let daemon = Daemon::start(&config);
    daemon.wait(&["event=replica.failed", "no-such-network"], secs(10));
    daemon.wait(&["event=health.crash_loop", "reason=CrashLoop"], secs(10));
    assert!(site.containers().is_empty(), "{:?}", site.containers());
    let tried = daemon.count(&["event=replica.failed"]);
    assert!(tried <= 4, "{tried} tries: {:#?}", daemon.lines());
    site.configure(TWO);
    daemon.signal("HUP");
    site.wait_serving(2, secs(30), &daemon);
}

#[test]
fn a_container_is_made_as_the_config_says() {
    let site = Site::new("made");
    let networks = [format!("{}-a", site.service), format!("{}-b", site.service)];
    // What the daemon makes in them is gone first: the networks could not be removed before.
    let _networks = Networks { site: &site, names: &networks };
    for name in &networks {
        site.docker(&["network", "create", name]).expect("docker network create");
    }
    let secret = site.dir.write("secret", "from a file\n");
    let config = site.configure(&format!(
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
    site.wait_serving(1, secs(20), &daemon);
    let (id, _, _) = site.containers().remove(0);
    let said = site.docker(&["inspect", &id]).expect("docker inspect");
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
    let servers = site.ask_haproxy("show servers state");
    assert!(servers.contains(first), "HAProxy goes by the first network: {servers}");
    let client = Load::start(site.address(), clients(2, Kind::KeepAlive, "/", 5));
    client.wait_for(secs(5), |c| 20 < c.sent());
    assert_eq!(client.stop().failed(), 0);
    let lines = daemon.lines();
    assert!(!lines.iter().any(|line| line.contains("from a file")), "{lines:#?}");
    drop(daemon);
    site.docker(&["rm", "-f", &id]).expect("docker rm");
}

struct Networks<'a> {
    site: &'a Site,
    names: &'a [String],
}

impl Drop for Networks<'_> {
    fn drop(&mut self) {
        for name in self.names {
            drop(self.site.docker(&["network", "rm", name]));
        }
    }
}

#[test]
fn a_missing_image_is_named_with_the_way_out() {
    let site = Site::new("image");
    let config = site.configure(TWO);
    let text =
        std::fs::read_to_string(&config).unwrap().replace("plimsoll-demo-app:1", "no-such-image:7");
    std::fs::write(&config, text).unwrap();
    let daemon = Daemon::start(&config);
    let words =
        ["event=replica.failed", "image no-such-image:7 is not on this host", "docker pull"];
    daemon.wait(&words, secs(10));
}

#[test]
fn without_readable_files_load_comes_from_dockers_statistics() {
    let site = Site::new("stats");
    let config = site.configure(
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
    let text = std::fs::read_to_string(&config)
        .unwrap()
        .replace(r#""check_interval": 1"#, r#""check_interval": 2"#);
    std::fs::write(&config, text).unwrap();
    let daemon = Daemon::start_by(hidden, &config, &[]);
    site.wait_serving(1, secs(20), &daemon);
    let load = Load::start(site.address(), clients(3, Kind::KeepAlive, "/burn?ms=15", 0));
    site.wait_serving(2, secs(30), &daemon);
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "{counts}");
}

#[test]
fn containers_of_others_are_never_touched() {
    let site = Site::new("others");
    let label = "io.plimsoll.replica=1";
    let name = format!("{}-1", site.service);
    // It has the name that our first replica would get, and one of the two labels.
    let image = crate::site::IMAGE;
    let id = site.docker(&["run", "-d", "--name", &name, "--label", label, image]).unwrap();
    let daemon = Daemon::start(&site.configure(r#""min_replicas": 1, "max_replicas": 1"#));
    daemon.wait(&["event=replica.failed", "is taken by a container that is not ours"], secs(10));
    site.wait_serving(1, secs(30), &daemon);
    let format = "{{.State.Running}} {{.RestartCount}}";
    let state = site.docker(&["inspect", "--format", format, id.trim()]);
    site.docker(&["rm", "-f", id.trim()]).unwrap();
    assert_eq!(state.as_deref(), Some("true 0\n"));
}
