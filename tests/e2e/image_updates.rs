//! A service that follows the image behind its tag, on a real registry, Docker and HAProxy, under
//! traffic.

#![allow(clippy::disallowed_methods, reason = "which day it is decides which hours are closed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::daemon::{Daemon, plimsoll, polled, reached, secs};
use crate::load::Counts;
use crate::registry::{ROBOT, Registry, Tls};
use crate::testbed::{IMAGE, Testbed, everyone};

/// The least interval.
const WATCHED: &str = r#""image_updates": { "check": 10 }"#;
/// From a push to the end of its rollout.
const ROLLED: u64 = 90;
/// Another name of loopback. A push by it leaves the tag of this host alone that the service has.
const ALIAS: &str = "localhost";

/// Images of the test's own. They go with it, after the containers.
struct Images<'a> {
    testbed: &'a Testbed,
    registry: &'a Registry,
}

impl Images<'_> {
    /// The service's image, as the config names it.
    fn tag(&self) -> String {
        self.registry.image(&format!("{}:1", self.testbed.service))
    }

    /// The test app with a change, only on this host.
    #[track_caller]
    fn build(&self, version: &str, change: &str) -> String {
        let image = format!("{}:{version}", self.testbed.service);
        let made = self.testbed.docker(&["create", IMAGE]).expect("docker create");
        let label = format!("LABEL version={version}");
        let changes = ["commit", "--change", &label, "--change", change, made.trim(), &image];
        self.testbed.docker(&changes).expect("docker commit");
        self.testbed.docker(&["rm", made.trim()]).expect("docker rm");
        image
    }

    /// Puts such an image behind the tag in the registry; gives its digest.
    #[track_caller]
    fn publish(&self, version: &str, change: &str) -> String {
        let image = self.build(version, change);
        let other = self.tag().replace("127.0.0.1", ALIAS);
        assert_ne!(other, self.tag());
        self.testbed.docker(&["tag", &image, &other]).expect("docker tag");
        let reported = self.testbed.docker(&["push", &other]).expect("docker push");
        self.testbed.docker(&["rmi", &other]).expect("docker rmi");
        self.testbed.docker(&["rmi", &image]).expect("docker rmi");
        let digest = reported.split_whitespace().find(|word| word.starts_with("sha256:"));
        digest.unwrap_or_else(|| panic!("no digest: {reported}")).to_owned()
    }
}

impl Drop for Images<'_> {
    fn drop(&mut self) {
        self.testbed.clean_up();
        // By name: the id of the test app has names of others.
        let format = "{{.Repository}}:{{.Tag}} {{.Repository}}@{{.Digest}}";
        let args = ["images", "--digests", "--format", format];
        let rows = self.testbed.docker(&args).unwrap_or_default();
        let names: BTreeSet<&str> = rows.split_whitespace().collect();
        let is_own =
            |name: &&str| name.contains(&self.testbed.service) && !name.ends_with("<none>");
        for name in names.into_iter().filter(is_own) {
            drop(self.testbed.docker(&["rmi", "-f", name]));
        }
    }
}

/// Two replicas of the watched image. `keys` are further ones of the service.
fn configure(testbed: &Testbed, image: &str, keys: &str) -> PathBuf {
    let keys = format!(
        r#""min_replicas": 2, "max_replicas": 2, "drain_timeout": 20,
           "rollout": {{ "progress_deadline": 6 }}, {keys}"#
    );
    let config = testbed.configure(&keys);
    let text = fs::read_to_string(&config).unwrap().replace(IMAGE, image);
    fs::write(&config, text).unwrap();
    config
}

/// The digests that the labels of its containers have.
fn digests(testbed: &Testbed) -> Vec<String> {
    let format = r#"{{index .Config.Labels "io.plimsoll.digest"}}"#;
    let of = |(id, ..): &(String, String, String)| {
        Some(testbed.docker(&["inspect", "--format", format, id])?.trim().to_owned())
    };
    testbed.containers().iter().filter_map(of).collect()
}

#[track_caller]
fn wait_digests(testbed: &Testbed, digest: &str, daemon: &Daemon) {
    let mut seen = Vec::new();
    let done = polled(secs(30), secs(1) / 4, || {
        seen = digests(testbed);
        seen == [digest; 2]
    });
    assert!(done, "{seen:?}, not {digest}: {:#?}", daemon.lines());
}

#[track_caller]
fn wait_updated(daemon: &Daemon, line: usize, from: &str, to: &str) -> usize {
    let words = format!("all replicas run {to}; before, {from}");
    daemon.wait_from(line, &["kind=image.updated", &words], secs(ROLLED))
}

fn checks(daemon: &Daemon) -> usize {
    daemon.count(&[" image=", " registry_"])
}

/// Waits until the registry was asked so many more times.
#[track_caller]
fn wait_checks(daemon: &Daemon, more: usize, within: u64) {
    let before = checks(daemon);
    let done = polled(secs(within), secs(1) / 4, || before + more <= checks(daemon));
    assert!(done, "{} checks since {before}: {:#?}", checks(daemon), daemon.lines());
}

#[track_caller]
fn assert_clean(counts: &Counts) {
    println!("{counts}");
    assert_eq!(counts.failed(), 0, "requests were lost:\n{counts}");
    assert!(300 <= counts.sent(), "hardly any traffic:\n{counts}");
}

/// Prints them, to be seen with `--nocapture`.
fn show_events(testbed: &Testbed) {
    let config = testbed.dir.join("config.json");
    let out = plimsoll(&["events", "--config", config.to_str().unwrap()]);
    println!("{}", String::from_utf8_lossy(&out.stdout));
}

#[test]
fn a_good_image_is_rolled_out_and_a_bad_one_back_for_good_and_no_request_is_lost() {
    let testbed = Testbed::new("follow");
    let registry = Registry::start(None, Tls::Off);
    let images = Images { testbed: &testbed, registry: &registry };
    let first = images.publish("v1", "ENV COLOUR=red");
    let config = configure(&testbed, &images.tag(), WATCHED);
    let daemon = Daemon::start(&config);
    testbed.wait_serving(2, secs(60), &daemon);
    wait_checks(&daemon, 1, 30);
    let load = everyone(&testbed);
    let second = images.publish("v2", "ENV COLOUR=blue");
    wait_updated(&daemon, 0, &first, &second);
    wait_digests(&testbed, &second, &daemon);

    // One ends at once; the other listens where nobody asks.
    let bad = ["ENTRYPOINT [\"/app\", \"--self-test\"]", "ENV PORT=9999"];
    for (n, change) in bad.into_iter().enumerate() {
        let line = daemon.lines().len();
        let digest = images.publish(&format!("bad{n}"), change);
        daemon.wait_from(line, &["kind=rollout.rolled_back"], secs(ROLLED));
        let at = daemon.wait_from(line, &["kind=image.rejected", &digest], secs(5));
        daemon.wait_from(at, &["kind=rollout.finished"], secs(60));
        wait_digests(&testbed, &second, &daemon);
    }
    let begun = daemon.count(&["kind=rollout.started"]);
    wait_checks(&daemon, 2, 60);
    assert_eq!(daemon.count(&["kind=rollout.started"]), begun, "{:#?}", daemon.lines());

    // HAProxy serves on while there is no daemon.
    daemon.kill();
    let daemon = Daemon::start(&config);
    wait_checks(&daemon, 2, 60);
    assert_eq!(daemon.count(&["kind=rollout.started"]), 0, "{:#?}", daemon.lines());
    let third = images.publish("v3", "ENV COLOUR=green");
    wait_updated(&daemon, 0, &second, &third);
    wait_digests(&testbed, &third, &daemon);
    assert_clean(&load.stop());
    show_events(&testbed);
}

/// The config names the file with the login.
fn log_in(config: &Path, file: &Path) {
    let text = fs::read_to_string(config).unwrap();
    let docker = format!(r#""docker": {{ "config": "{}", "#, file.display());
    fs::write(config, text.replace(r#""docker": { "#, &docker)).unwrap();
}

#[test]
fn a_registry_is_asked_with_the_login_and_may_be_down() {
    let testbed = Testbed::new("ask");
    let mut registry = Registry::start(Some(ROBOT), Tls::Unverified);
    let folder = registry.dir.join("client");
    registry.log_in(&folder);
    let name = format!("{}:1", testbed.service);
    let first = registry.push(IMAGE, &name);
    let config = configure(&testbed, &first.image, WATCHED);
    log_in(&config, &folder.join("config.json"));
    let daemon = Daemon::start(&config);
    testbed.wait_serving(2, secs(60), &daemon);
    wait_checks(&daemon, 2, 30);
    assert_eq!(daemon.count(&["kind=image.check_failed"]), 0, "{:#?}", daemon.lines());

    registry.stop();
    daemon.wait(&["kind=image.check_failed"], secs(60));
    // Replicas are made from what is on this host.
    testbed.crash(&format!("{}-1", testbed.service));
    daemon.wait(&["kind=replica.exited"], secs(20));
    testbed.wait_serving(2, secs(30), &daemon);
    wait_checks(&daemon, 1, 60);
    assert_eq!(daemon.count(&["kind=image.check_failed"]), 1, "{:#?}", daemon.lines());
    registry.resume();
    daemon.wait(&["kind=image.check_failed", "resolved"], secs(120));
    let images = Images { testbed: &testbed, registry: &registry };
    let image = images.build("v2", "ENV COLOUR=blue");
    // By the service's own name, which takes the tag away from this host.
    let second = registry.push(&image, &name);
    wait_updated(&daemon, 0, &first.digest, &second.digest);
    wait_digests(&testbed, &second.digest, &daemon);
    assert_eq!(daemon.count(&["kind=image.check_failed"]), 2, "{:#?}", daemon.lines());
    assert!(!daemon.lines().join("\n").contains(ROBOT.password));
    show_events(&testbed);
    // Before its containers and images.
    drop(daemon);
}

/// Hours that are closed today and tomorrow.
fn closed() -> String {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 86_400;
    // The first day of 1970 was a Thursday.
    let names = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"];
    let day = names[usize::try_from((days + 3) % 7).unwrap()];
    format!(
        r#""image_updates": {{ "check": 10, "hours": {{ "days": ["{day}"], "timezone": "UTC" }} }}"#
    )
}

#[test]
fn out_of_its_hours_nothing_is_rolled_and_nothing_is_pulled() {
    let testbed = Testbed::new("hours");
    let registry = Registry::start(None, Tls::Off);
    let images = Images { testbed: &testbed, registry: &registry };
    let first = images.publish("v1", "ENV COLOUR=red");
    configure(&testbed, &images.tag(), &closed());
    let daemon = Daemon::start(&testbed.dir.join("config.json"));
    testbed.wait_serving(2, secs(60), &daemon);
    let second = images.publish("v2", "ENV COLOUR=blue");
    wait_checks(&daemon, 2, 60);
    assert_eq!(daemon.count(&["kind=rollout.started"]), 0, "{:#?}", daemon.lines());
    let by_digest = images.tag().replace(":1", &format!("@{second}"));
    assert_eq!(testbed.docker(&["image", "inspect", &by_digest]), None);
    configure(&testbed, &images.tag(), WATCHED);
    daemon.signal("HUP");
    wait_updated(&daemon, 0, &first, &second);
}

#[test]
fn an_image_of_this_host_alone_is_one_event_and_runs_on() {
    let testbed = Testbed::new("built");
    let registry = Registry::start(None, Tls::Off);
    let images = Images { testbed: &testbed, registry: &registry };
    let image = images.build("v1", "ENV COLOUR=red");
    testbed.docker(&["tag", &image, &images.tag()]).expect("docker tag");
    let daemon = Daemon::start(&configure(&testbed, &images.tag(), WATCHED));
    testbed.wait_serving(2, secs(30), &daemon);
    daemon.wait(&["kind=image.check_failed", &images.tag()], secs(30));
    wait_checks(&daemon, 1, 60);
    assert_eq!(daemon.count(&["kind=image.check_failed"]), 1, "{:#?}", daemon.lines());
    assert_eq!(daemon.count(&["kind=rollout.started"]), 0, "{:#?}", daemon.lines());
    show_events(&testbed);
}

#[test]
fn a_pull_by_hand_is_rolled_by_the_next_check_and_a_lost_tag_stops_no_start() {
    let testbed = Testbed::new("hand");
    let registry = Registry::start(None, Tls::Off);
    let images = Images { testbed: &testbed, registry: &registry };
    let first = images.publish("v1", "ENV COLOUR=red");
    let daemon = Daemon::start(&configure(&testbed, &images.tag(), WATCHED));
    testbed.wait_serving(2, secs(60), &daemon);
    wait_checks(&daemon, 1, 30);
    let second = images.publish("v2", "ENV COLOUR=blue");
    testbed.docker(&["pull", &images.tag()]).expect("docker pull");
    wait_updated(&daemon, 0, &first, &second);
    wait_digests(&testbed, &second, &daemon);

    testbed.docker(&["rmi", "-f", &images.tag()]).expect("docker rmi");
    let line = daemon.lines().len();
    let (_, replica, _) = testbed.containers().remove(0);
    testbed.crash(&replica);
    daemon.wait_from(line, &["kind=replica.exited", &replica], secs(20));
    let replaced = || testbed.serving().len() == 2 && !testbed.serving().contains(&replica);
    assert!(reached(secs(30), replaced), "{:#?}", daemon.lines());
    wait_digests(&testbed, &second, &daemon);
    assert_eq!(daemon.count(&["kind=replica.failed"]), 0, "{:#?}", daemon.lines());
    show_events(&testbed);
}
