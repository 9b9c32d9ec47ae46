//! Events of the running daemon: as a file, over HTTP, by webhook; and what becomes of them when
//! the disk or the hook does not take them.

use std::fs;
use std::io::{BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::reached;
use crate::fake_http::read_request;
use crate::harness::{Harness, end};
use crate::raw_http::To;

const SOON: Duration = Duration::from_secs(30);
const KEYS: [&str; 8] = ["at", "from", "kind", "message", "reason", "replica", "service", "to"];

fn kinds(events: &Value) -> Vec<&str> {
    events.as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect()
}

#[track_caller]
fn check_keys(event: &Value) {
    let keys: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, KEYS, "{event}");
}

#[test]
fn they_are_shown_newest_first_and_outlive_the_daemon() {
    let harness = Harness::new("events");
    let control = To::Unix(harness.dir.join("api.sock"));
    let daemon = harness.start();
    harness.wait_served();
    let served = reached(SOON, || control.get("/events").body.contains("haproxy.reloaded"));
    assert!(served, "{:?}", control.get("/events"));
    let answer = control.get("/events?limit=1000");
    assert!(answer.head.contains("content-type: application/json"), "{answer:?}");
    let events = answer.json();
    let all = kinds(&events);
    assert_eq!(all.last(), Some(&"daemon.started"), "{all:?}");
    events.as_array().unwrap().iter().for_each(check_keys);
    let times: Vec<&str> =
        events.as_array().unwrap().iter().map(|e| e["at"].as_str().unwrap()).collect();
    assert!(times.windows(2).all(|two| two[1] < two[0]), "newest first, no two alike: {times:?}");
    // What was seen last is where a follower goes on.
    let since = control.get(&format!("/events?since={}", times[1])).json();
    assert!(since.as_array().unwrap().iter().any(|event| event["at"] == times[1]), "{since}");
    assert!(!since.as_array().unwrap().iter().any(|event| event["at"] == times[2]), "{since}");
    assert_eq!(kinds(&control.get("/events?limit=1&kind=daemon.*").json()), ["daemon.started"]);
    let up = control.get("/events?service=web&kind=scale.up").json();
    assert_eq!((&up[0]["from"], &up[0]["to"]), (&json!(0), &json!(1)), "{up}");
    for (query, want) in [("limit=0", "at least 1"), ("since=noon", "10m"), ("sice=1h", "since")] {
        let refused = control.get(&format!("/events?{query}"));
        assert!(refused.status == 400 && refused.body.contains(want), "{refused:?}");
    }
    end(daemon, "TERM", SOON);
    // A crash cut the last line off.
    let file = harness.dir.join("state").join("events.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.lines().last().unwrap().contains("daemon.stopping"), "{text}");
    fs::write(&file, format!("{text}{}", &text[..30])).unwrap();
    let _daemon = harness.start();
    let again = b"GET /healthz HTTP/1.0\r\n\r\n";
    assert!(reached(SOON, || control.say(again).is_some_and(|answer| answer.status == 200)));
    let events = control.get("/events?kind=daemon.*").json();
    assert_eq!(kinds(&events), ["daemon.started", "daemon.stopping", "daemon.started"]);
    let lines: Vec<String> =
        fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect();
    let is_event = |line: &&String| serde_json::from_str::<Value>(line).is_ok();
    assert_eq!(lines.iter().filter(is_event).count(), lines.len() - 1, "{lines:#?}");
}

#[test]
fn a_disk_that_takes_none_is_reported_once_and_its_end_too() {
    let harness = Harness::new("events-disk");
    let control = To::Unix(harness.dir.join("api.sock"));
    let file = harness.dir.join("state").join("events.jsonl");
    fs::create_dir_all(&file).unwrap();
    let daemon = harness.start();
    harness.wait_served();
    let metrics = || control.get("/metrics").body;
    let dropped = reached(SOON, || !metrics().contains("\nplimsoll_events_dropped_total 0\n"));
    assert!(dropped, "{}", metrics());
    assert_eq!(daemon.count(&["error", "events cannot be written"]), 1, "{:#?}", daemon.lines());
    assert_eq!(kinds(&control.get("/events?kind=daemon.*").json()), ["daemon.started"]);
    fs::remove_dir(&file).unwrap();
    assert_eq!(control.ask("POST /pause", "", "").status, 202);
    daemon.wait(&["info", "events are written again"], SOON);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("scaling.paused"), "{text}");
}

/// Takes every POST. Gives its address and what comes.
fn hook() -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, events) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let request = read_request(&mut BufReader::new(stream.try_clone().unwrap()));
            let Some(request) = request else { continue };
            assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/s3cret/path"));
            // It may have hung up.
            drop(stream.write_all(b"HTTP/1.1 204 None\r\nContent-Length: 0\r\n\r\n"));
            if sender.send(serde_json::from_slice(&request.body).unwrap()).is_err() {
                return;
            }
        }
    });
    (address, events)
}

#[test]
fn webhooks_get_what_they_asked_for_and_a_dead_one_is_reported_once_without_its_secret() {
    let mut harness = Harness::new("events-hook");
    let (address, events) = hook();
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = |host: &str| format!("http://{host}/s3cret/path");
    let hooks = json!([
        { "url": url(&address), "events": ["scale.*", "daemon.stopping"] },
        { "url": url(&dead.to_string()) },
    ]);
    harness.set("/notifications", hooks);
    let daemon = harness.start();
    harness.wait_served();
    let event = events.recv_timeout(SOON).unwrap();
    check_keys(&event);
    assert_eq!((&event["kind"], &event["service"]), (&json!("scale.up"), &json!("web")), "{event}");
    let said = format!("notifications[1] at {dead} takes no events");
    daemon.wait(&["warn kind=webhook.failed", &said, "refused"], SOON);
    let control = To::Unix(harness.dir.join("api.sock"));
    assert_eq!(control.ask("POST /pause", "", "").status, 202);
    let begun = daemon.lines();
    end(daemon, "TERM", SOON);
    let last = events.recv_timeout(SOON).unwrap();
    assert_eq!(last["kind"], "daemon.stopping", "of the others none was asked for");
    let fails = begun.iter().filter(|line| line.contains("kind=webhook.failed")).count();
    assert!(fails == 1 && !begun.iter().any(|line| line.contains("s3cret")), "{begun:#?}");
}

#[test]
fn the_host_is_shown_with_its_containers() {
    let harness = Harness::new("events-host");
    let control = To::Unix(harness.dir.join("api.sock"));
    harness.docker.add("strange", None, "exited");
    let _daemon = harness.start();
    harness.wait_served();
    let answer = control.get("/servers");
    assert_eq!(answer.status, 200, "{answer:?}");
    let hosts = answer.json();
    let host = &hosts[0];
    assert_eq!((&host["name"], &host["cpus"]), (&json!("far"), &json!(7)), "{host}");
    let containers = json!({ "all": 2, "running": 1, "ours": 1, "ours_running": 1 });
    assert_eq!(host["containers"], containers, "{host}");
    assert!(host["memory_available_bytes"].as_u64() < host["memory_bytes"].as_u64(), "{host}");
    assert!(host["load"].as_array().unwrap().len() == 3 && host["error"].is_null(), "{host}");
}
