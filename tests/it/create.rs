//! Making and unmaking containers when Docker says no, or says nothing.

use std::time::Duration;

use serde_json::json;

use crate::daemon::{reached, secs};
use crate::fake_docker::{Fault, Route};
use crate::harness::{Harness, each, end};

const SOON: Duration = Duration::from_secs(10);
/// Ten seconds of back-off, on a busy machine.
const BACKED_OFF: Duration = Duration::from_secs(40);

#[test]
fn what_docker_refuses_is_reported_and_tried_again_without_haste() {
    each(&[starts_are_tidied_up_and_tried_again_later, removals_are_tried_again_later], |f| f());
}

fn starts_are_tidied_up_and_tried_again_later() {
    let image = "No such image: demo:1";
    let network = "driver failed programming external connectivity";
    let rows = [
        ("image", Route::Create, 404, image, "image demo:1 is no longer on this host"),
        ("start", Route::Start, 500, network, network),
        ("limit", Route::Create, 400, "too little memory", "400 too little memory"),
    ];
    each(&rows, |(name, route, status, message, words)| {
        let harness = Harness::new(name);
        harness.docker.fault(*route, Fault::Refuse(*status, message));
        let daemon = harness.start();
        // The first failure costs nothing, the second makes the third start wait.
        daemon.wait(&["kind=replica.failed", "replica=web-1", words], SOON);
        daemon.wait(&["kind=replica.failed", "replica=web-2", words], SOON);
        daemon.wait(&["kind=health.crash_loop", "service=web", "reason=CrashLoop"], SOON);
        harness.wait_evaluations(20);
        assert_eq!(harness.docker.count(Route::Create), 2, "{name}");
        assert_eq!(
            harness.docker.count(Route::Start),
            harness.docker.count(Route::Remove),
            "{name}"
        );
        assert!(harness.docker.containers().is_empty(), "{name}");
        assert_eq!(daemon.count(&["kind=health.crash_loop"]), 1, "{name}");
        harness.docker.heal();
        assert!(reached(secs(15), || harness.docker.names("running") == ["web-3"]), "{name}");
        harness.wait_served();
        // That what failed was mended is said by a reload, or shown by ten good minutes.
        daemon.signal("HUP");
        daemon
            .wait(&["info kind=health.crash_loop", "resolved: starts are no longer delayed"], SOON);
    });
}

fn removals_are_tried_again_later() {
    let harness = Harness::new("stop");
    harness.docker.add("web-1", Some(("web", 1)), "running");
    harness.docker.add("web-2", Some(("web", 2)), "running");
    harness.docker.fault(Route::Stop, Fault::Refuse(500, "tried to kill container, but did not"));
    let daemon = harness.start();
    let words = "tried to kill container, but did not";
    daemon.wait(&["kind=replica.failed", "replica=web-2", words], SOON);
    harness.wait_evaluations(3);
    assert_eq!(harness.docker.count(Route::Stop), 1);
    // Told once, however often it is tried.
    assert!(reached(secs(30), || 3 <= harness.docker.count(Route::Stop)));
    assert_eq!(daemon.count(&["kind=replica.failed"]), 1);
    harness.docker.heal();
    daemon.wait(&["kind=replica.removed", "replica=web-2"], SOON);
    assert_eq!(harness.docker.names("running"), ["web-1"]);
    assert_eq!(harness.docker.containers().len(), 1);
}

#[test]
fn a_host_without_room_is_reported_and_nothing_is_started() {
    let mut harness = Harness::new("room");
    // A limit is all that counts; no host has this much.
    harness.set("/services/web/memory", json!("900000g"));
    let daemon = harness.start();
    daemon.wait(&["kind=scale.capped", "service=web", "reason=NoHeadroom"], SOON);
    harness.wait_evaluations(5);
    assert_eq!(harness.docker.count(Route::Create), 0);
    assert_eq!(daemon.count(&["kind=scale.capped"]), 1);
    harness.set("/services/web/memory", json!("6m"));
    harness.write();
    daemon.signal("HUP");
    assert!(reached(SOON, || harness.docker.names("running") == ["web-1"]));
    daemon.wait(&["info kind=scale.capped", "resolved: the host has room for all replicas"], SOON);
}

#[test]
fn a_replica_that_exits_again_and_again_is_started_ever_more_slowly() {
    let harness = Harness::new("crash");
    let daemon = harness.start();
    for replica in ["web-1", "web-2"] {
        assert!(reached(SOON, || harness.docker.names("running") == [replica]), "{replica}");
        harness.docker.turn(replica, "exited", "die");
        daemon.wait(&["kind=replica.exited", &format!("replica={replica}")], SOON);
    }
    daemon.wait(&["kind=health.crash_loop", "reason=CrashLoop"], SOON);
    harness.wait_evaluations(20);
    assert_eq!(harness.docker.count(Route::Create), 2);
    assert!(harness.docker.containers().is_empty(), "{:?}", harness.docker.containers());
}

#[test]
fn how_a_replica_ended_is_reported_with_its_last_words() {
    let harness = Harness::new("words");
    let daemon = harness.start();
    assert!(reached(SOON, || harness.docker.names("running") == ["web-1"]));
    harness.docker.end("web-1", 3, false, "listening\n\u{1b}[31mcannot read \"key\"\n");
    let words = [
        "kind=replica.exited",
        "replica=web-1",
        r#"message="exit code 3; its last log lines:\nlistening\n\\u{1b}[31mcannot read \"key\"""#,
    ];
    daemon.wait(&words, SOON);
    assert!(reached(SOON, || harness.docker.names("running") == ["web-2"]));
    // Nor does a driver that only sends the lines away make the end a failure.
    let unread = "configured logging driver does not support reading";
    harness.docker.fault(Route::Logs, Fault::Refuse(501, unread));
    harness.docker.end("web-2", 4, false, "");
    let words = "exit code 4; its last log lines:\\n(not readable: Docker cannot read back";
    daemon.wait(&["kind=replica.exited", "replica=web-2", words], SOON);
    // The second end in a row: it waits for the back-off.
    assert!(reached(BACKED_OFF, || harness.docker.names("running") == ["web-3"]));
    // Docker that gives no log in time keeps nobody waiting.
    harness.docker.fault(Route::Logs, Fault::Hang);
    harness.docker.end("web-3", 137, true, "");
    let words = r#"message="out of memory, exit code 137""#;
    daemon.wait(&["kind=replica.exited", "replica=web-3", words], SOON);
}

#[test]
fn an_absent_image_is_pulled_before_the_start_and_a_failure_is_in_dockers_words() {
    let harness = Harness::new("pull");
    let layer = r#"{"status":"Pull complete","progressDetail":{},"id":"a"}"#;
    harness.docker.lose_images(&format!("{layer}\r\n"));
    let daemon = harness.start();
    daemon.wait(&["kind=image.pulling", "demo:1 is not on this host"], SOON);
    daemon.wait(&["kind=image.pulled", "demo:1: 1 of 1 layers"], SOON);
    harness.wait_served();
    assert_eq!((harness.docker.count(Route::Pull), harness.docker.count(Route::Create)), (1, 1));
    assert_eq!(daemon.count(&["kind=image.pulling"]), 1);

    harness.docker.lose_images(r#"{"errorDetail":{"message":"manifest unknown"},"error":"x"}"#);
    harness.docker.end("web-1", 1, false, "");
    let words = "image demo:1 could not be pulled: manifest unknown";
    daemon.wait(&["kind=replica.failed", "replica=web-2", words], SOON);
}

#[test]
fn all_starts_of_one_image_wait_for_one_pull_and_nobody_waits_with_them() {
    let mut harness = Harness::new("pulls");
    harness.set("/services/web/min_replicas", json!(12));
    harness.set("/services/web/max_replicas", json!(12));
    harness.docker.add("web-1", Some(("web", 1)), "running");
    harness.docker.add("web-2", Some(("web", 2)), "exited");
    harness.docker.lose_images("{}");
    harness.docker.fault(Route::Pull, Fault::Hang);
    let daemon = harness.start();
    daemon.wait(&["kind=image.pulling"], SOON);
    // More starts than there are workers, and still one that removes.
    daemon.wait(&["kind=health.replaced", "replica=web-2"], SOON);
    harness.wait_served();
    harness.wait_evaluations(3);
    assert_eq!((harness.docker.count(Route::Pull), harness.docker.count(Route::Create)), (1, 0));
}

#[test]
fn nobody_waits_for_an_image_that_the_config_names_no_more() {
    let mut harness = Harness::new("other");
    harness.docker.lose_images("{}");
    harness.docker.fault(Route::Pull, Fault::Hang);
    let daemon = harness.start();
    daemon.wait(&["kind=image.pulling", "demo:1 is not on this host"], SOON);
    harness.set("/services/web/image", json!("demo:2"));
    harness.write();
    daemon.signal("HUP");
    // The first one hangs on, and so does this one.
    daemon.wait(&["kind=image.pulling", "demo:2 is not on this host"], SOON);
    harness.wait_evaluations(2);
    assert_eq!(daemon.count(&["kind=replica.failed"]), 0);
}

#[test]
fn the_end_waits_for_no_image() {
    let harness = Harness::new("end");
    harness.docker.lose_images("{}");
    harness.docker.fault(Route::Pull, Fault::Hang);
    let daemon = harness.start();
    daemon.wait(&["kind=image.pulling"], SOON);
    end(daemon, "TERM", secs(5));
}

#[test]
fn a_name_that_a_stranger_has_is_reported_and_the_stranger_left_alone() {
    let harness = Harness::new("taken");
    let stranger = harness.docker.add("web-1", None, "running");
    let daemon = harness.start();
    let words = "the name web-1 is taken by a container that is not ours";
    daemon.wait(&["kind=replica.failed", "replica=web-1", words], SOON);
    assert!(reached(SOON, || harness.docker.names("running") == ["web-1", "web-2"]));
    harness.wait_served();
    let touched = |line: &&String| line.contains(&stranger) && !line.ends_with("/json");
    assert_eq!(harness.docker.requests().iter().find(touched), None);
}

#[test]
fn a_container_of_the_right_name_that_was_left_unstarted_is_started() {
    let harness = Harness::new("left");
    harness.docker.add("web-1", Some(("web", 1)), "created");
    let daemon = harness.start();
    daemon.wait(&["kind=replica.started", "replica=web-1"], SOON);
    harness.wait_served();
    assert_eq!(harness.docker.names("running"), ["web-1"]);
}

#[test]
fn a_create_whose_answer_is_lost_is_not_made_twice() {
    let harness = Harness::new("lost");
    harness.docker.fault(Route::Create, Fault::Lose(1));
    let daemon = harness.start();
    daemon.wait(&["kind=replica.failed", "replica=web-1"], SOON);
    harness.wait_served();
    harness.wait_evaluations(3);
    let names: Vec<String> = harness.docker.containers().into_iter().map(|c| c.name).collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn a_replica_whose_start_is_not_answered_is_kept() {
    let harness = Harness::new("start-lost");
    // Docker starts it, and both the call and its repetition get no answer.
    harness.docker.fault(Route::Start, Fault::Lose(2));
    let daemon = harness.start();
    daemon.wait(&["kind=replica.failed", "replica=web-1"], SOON);
    harness.wait_served();
    harness.wait_evaluations(3);
    assert_eq!(harness.docker.names("running"), ["web-1"]);
    assert_eq!(harness.docker.count(Route::Remove), 0);
}

#[test]
fn a_create_that_was_cut_off_is_not_repeated_blindly() {
    let harness = Harness::new("cut");
    harness.docker.fault(Route::Create, Fault::Cut(1));
    let daemon = harness.start();
    daemon.wait(&["kind=replica.failed", "replica=web-1"], SOON);
    harness.wait_served();
    assert_eq!(harness.docker.containers().len(), 1);
    assert_eq!(harness.docker.count(Route::Create), 2);
}

#[test]
fn a_container_that_is_ours_no_more_is_left_alone() {
    let harness = Harness::new("label");
    harness.docker.add("web-1", Some(("web", 1)), "running");
    harness.docker.add("web-2", Some(("web", 2)), "running");
    harness.docker.take_labels("web-2");
    let daemon = harness.start();
    let words =
        "does not have the label io.plimsoll.service=web and the number 2; it is left alone";
    daemon.wait(&["kind=replica.failed", "replica=web-2", words], SOON);
    harness.wait_evaluations(3);
    assert_eq!(harness.docker.names("running"), ["web-1", "web-2"]);
    assert_eq!(harness.docker.count(Route::Stop) + harness.docker.count(Route::Remove), 0);
}

#[test]
fn containers_that_are_not_ours_are_never_touched() {
    let mut harness = Harness::new("strangers");
    // Another daemon on the same Docker may have made it: this one never did.
    harness.set("/autoscaler/remove_orphans", json!(true));
    let stranger = harness.docker.add("db-1", None, "running");
    let orphan = harness.docker.add("old-1", Some(("old", 1)), "running");
    let daemon = harness.start();
    daemon.wait(&["kind=service.orphaned", "service=old"], SOON);
    harness.wait_served();
    harness.wait_evaluations(3);
    assert_eq!(daemon.count(&["kind=service.orphaned"]), 1);
    let requests = harness.docker.requests();
    let touched =
        |l: &&String| (l.contains(&stranger) || l.contains(&orphan)) && !l.ends_with("/json");
    assert_eq!(requests.iter().find(touched), None);
}
