//! The daemon's own life: how it begins, obeys signals, takes another config, and ends.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::{reached, secs};
use crate::fake_docker::{Fault, Route};
use crate::harness::{Harness, each, end};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn it_ends_in_order_and_leaves_replicas_and_haproxy_running() {
    for name in ["TERM", "INT"] {
        let harness = Harness::new("end");
        let daemon = harness.start();
        harness.wait_served();
        end(daemon, name, secs(3));
        assert!(harness.serves(), "after {name}");
        assert_eq!(harness.docker.names("running"), ["web-1"]);
        // The next one goes on with what it finds.
        let pids = harness.haproxies();
        let daemon = harness.start();
        daemon.wait(&["kind=daemon.started"], SOON);
        harness.wait_evaluations(3);
        assert_eq!(harness.docker.count(Route::Create), 1);
        assert_eq!(harness.haproxies(), pids, "HAProxy was not reloaded");
        assert_eq!(daemon.count(&["kind=haproxy.reloaded"]), 0);
    }
}

#[test]
fn a_second_daemon_on_the_same_state_refuses() {
    let harness = Harness::new("two");
    let daemon = harness.start();
    harness.wait_served();
    let mut second = harness.start();
    assert_eq!(second.wait_exit(secs(3)).code(), Some(1));
    let state = harness.dir.join("state");
    let state = state.display();
    let pid = daemon.pid();
    let words = format!("plimsoll: another plimsoll (pid {pid}) runs with {state}; stop it");
    second.wait(&[&words], secs(1));
    harness.wait_evaluations(1);
    // Ended by force, the first leaves nothing that keeps a third one out.
    daemon.kill();
    harness.start().wait(&["kind=daemon.started"], SOON);
}

#[test]
fn a_second_daemon_on_the_same_haproxy_refuses() {
    let mut harness = Harness::new("shared");
    let daemon = harness.start();
    harness.wait_served();
    harness.set("/autoscaler/state_dir", json!(harness.dir.join("another")));
    let mut second = harness.start();
    assert_eq!(second.wait_exit(secs(3)).code(), Some(1));
    let pid = daemon.pid();
    let file = harness.dir.join("haproxy.cfg");
    let words = format!("another plimsoll (pid {pid}) runs with {}; stop it", file.display());
    second.wait(&[&words, "another load_balancer.config"], secs(1));
}

#[test]
fn log_lines_take_the_format_that_the_config_says() {
    let mut harness = Harness::new("format");
    harness.set("/autoscaler/log_format", json!("json"));
    let daemon = harness.start();
    daemon.wait(&[r#""kind":"daemon.started""#, r#""level":"info""#, r#""at":"20"#], SOON);
    harness.wait_served();
    for line in daemon.lines() {
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let keys = ["kind", "message", "service"];
        assert!(keys.iter().any(|key| value[*key].is_string()), "{line}");
        assert!(!line.contains("message="), "each pair is a field of its own: {line}");
    }
    harness.set("/autoscaler/log_format", json!("journal"));
    harness.write();
    daemon.signal("HUP");
    daemon.wait(&["<6>kind=config.reloaded", "autoscaler.log_format"], SOON);
    harness.docker.turn("web-1", "exited", "die");
    daemon.wait(&["<4>kind=replica.exited"], SOON);
}

#[test]
fn a_good_config_is_taken_over_while_it_runs() {
    let mut harness = Harness::new("hup");
    let daemon = harness.start();
    harness.wait_served();
    harness.set("/services/web/max_replicas", json!(2));
    harness.set("/services/web/min_replicas", json!(2));
    harness.write();
    daemon.signal("HUP");
    daemon.wait(&["kind=config.reloaded", "config.json, 1 service"], SOON);
    daemon.wait(&["kind=scale.up", "from=1 to=2", "reason=TooFewReplicas"], SOON);
    assert!(reached(SOON, || harness.docker.names("running") == ["web-1", "web-2"]));
}

#[test]
fn a_bad_config_is_refused_as_a_whole_and_the_old_one_goes_on() {
    let mut harness = Harness::new("bad");
    let daemon = harness.start();
    harness.wait_served();
    let good = harness.config.clone();
    harness.set("/services/web/max_replicas", json!(0));
    harness.set("/services/web/colour", json!("red"));
    harness.set("/autoscaler/log_level", json!("loud"));
    harness.write();
    daemon.signal("HUP");
    for path in ["autoscaler.log_level", "services.web.colour", "services.web.max_replicas"] {
        daemon.wait(&["kind=config.rejected", path], SOON);
    }
    // What is taken at the start only may not change, and nothing else of that file counts.
    harness.config = good.clone();
    harness.set("/autoscaler/state_dir", json!(harness.dir.join("elsewhere")));
    harness.set("/services/web/min_replicas", json!(2));
    harness.set("/services/web/max_replicas", json!(2));
    harness.write();
    daemon.signal("HUP");
    daemon.wait(&["kind=config.rejected", "taken at the start only"], SOON);
    fs::remove_file(harness.dir.join("config.json")).unwrap();
    daemon.signal("HUP");
    daemon.wait(&["kind=config.rejected", "does not exist"], SOON);
    harness.docker.turn("web-1", "exited", "die");
    assert!(reached(SOON, || harness.docker.names("running") == ["web-2"]));
    harness.wait_evaluations(3);
    assert_eq!(harness.docker.names("running"), ["web-2"]);
    assert_eq!(daemon.count(&["kind=config.reloaded"]), 0);
    harness.config = good;
    harness.write();
    daemon.signal("HUP");
    daemon.wait(&["kind=config.reloaded"], SOON);
}

#[test]
fn a_damaged_state_is_set_aside_and_reported() {
    let harness = Harness::new("damage");
    let state = harness.dir.join("state");
    fs::create_dir(&state).unwrap();
    for damage in ["{\"version\": 1, \"services\": {\"we", "", "{\"version\": 9, \"services\": {}}"]
    {
        fs::write(state.join("state.json"), damage).unwrap();
        let daemon = harness.start();
        daemon.wait(&["kind=state.damaged", "state.json: ", "kept as", "json.damaged"], SOON);
        harness.wait_served();
        let kept = fs::read_to_string(state.join("state.json.damaged")).unwrap();
        assert_eq!(kept, damage);
        let stored = || fs::read_to_string(state.join("state.json")).unwrap_or_default();
        assert!(reached(SOON, || stored().contains("\"web\"")), "{}", stored());
        end(daemon, "TERM", secs(3));
    }
    assert_eq!(harness.docker.count(Route::Create), 1);
}

#[test]
fn a_folder_that_cannot_be_made_ends_it_with_the_key_to_change() {
    for (pointer, key) in [
        ("/autoscaler/state_dir", "autoscaler.state_dir"),
        ("/load_balancer/config", "load_balancer.config"),
        ("/load_balancer/pid_file", "load_balancer.pid_file"),
        ("/load_balancer/socket", "load_balancer.socket"),
    ] {
        let mut harness = Harness::new("folder");
        harness.dir.write("file", "");
        harness.set(pointer, json!(harness.dir.join("file/below/it")));
        let mut daemon = harness.start();
        assert_eq!(daemon.wait_exit(secs(3)).code(), Some(1), "{key}");
        let words = ["plimsoll: cannot create ", &format!("(see {key}): Not a directory")];
        daemon.wait(&words, secs(1));
        assert!(harness.docker.requests().is_empty());
    }
}

#[test]
fn a_state_that_cannot_be_stored_is_reported_and_keeps_nothing_from_running() {
    let harness = Harness::new("store");
    // A folder where the new file should be.
    fs::create_dir_all(harness.dir.join("state/state.json.new")).unwrap();
    let daemon = harness.start();
    daemon.wait(&["kind=state.not_saved", "cannot write", "state.json"], SOON);
    harness.wait_served();
    harness.wait_evaluations(3);
    assert_eq!(daemon.count(&["kind=state.not_saved"]), 1);
    fs::remove_dir(harness.dir.join("state/state.json.new")).unwrap();
    let stored = || harness.dir.join("state/state.json").exists();
    harness.wait_evaluations(1);
    assert!(reached(SOON, stored));
    daemon.wait(&["info kind=state.not_saved", "resolved: the state is stored again"], SOON);
}

#[test]
fn once_is_one_tick_and_its_status_says_how_it_went() {
    let harness = Harness::new("once");
    let mut daemon = harness.start_with(&["--once"]);
    assert_eq!(daemon.wait_exit(SOON).code(), Some(0), "{:?}", daemon.lines());
    assert_eq!(harness.docker.names("running"), ["web-1"]);
    // One list for the probes, one for the decision, and one right before a container is made.
    assert_eq!(harness.docker.count(Route::List), 3);
    assert_eq!(harness.docker.count(Route::Events), 0);

    // What the first one started, the second one brings into HAProxy.
    let mut daemon = harness.start_with(&["--once"]);
    assert_eq!(daemon.wait_exit(SOON).code(), Some(0), "{:?}", daemon.lines());
    harness.wait_served();

    harness.docker.fault(Route::Stop, Fault::Refuse(500, "no"));
    harness.docker.turn("web-1", "exited", "die");
    let mut daemon = harness.start_with(&["--once"]);
    assert_eq!(daemon.wait_exit(SOON).code(), Some(1));
    daemon.wait(&["plimsoll: an action failed, see above"], secs(1));

    harness.docker.close();
    let mut daemon = harness.start_with(&["--once"]);
    assert_eq!(daemon.wait_exit(SOON).code(), Some(1));
    daemon.wait(&["kind=docker.lost", "no such socket"], secs(1));
    daemon.wait(&["plimsoll: docker did not answer, see above"], secs(1));
}

#[test]
fn a_dry_run_changes_nothing() {
    let mut harness = Harness::new("dry");
    harness.docker.add("web-1", Some(("web", 1)), "exited");
    let mut daemon = harness.start_with(&["--dry-run", "--once"]);
    assert_eq!(daemon.wait_exit(SOON).code(), Some(0));
    let daemon = harness.start_with(&["--dry-run"]);
    daemon.wait(&["kind=scale.up", "service=web", "from=0 to=1"], SOON);
    harness.wait_evaluations(3);
    // A reload of the config does not make it serious.
    harness.set("/services/web/min_replicas", json!(1));
    harness.write();
    daemon.signal("HUP");
    daemon.wait(&["kind=config.reloaded"], SOON);
    harness.wait_evaluations(3);
    // A dry run reports each planned action once, though every evaluation plans it again.
    for kind in ["kind=scale.up", "kind=replica.exited"] {
        assert_eq!(daemon.count(&[kind]), 1, "{:#?}", daemon.lines());
    }
    let requests = harness.docker.requests();
    assert!(requests.iter().all(|line| line.starts_with("GET ")), "{requests:?}");
    assert_eq!(harness.haproxies(), (Vec::new(), Vec::new()));
    let there = |name: &str| Path::new(&harness.dir.join(name)).exists();
    for name in ["haproxy.cfg", "haproxy.cfg.new", "haproxy.pid", "state/state.json"] {
        assert!(!there(name), "{name} was written");
    }
    // The key of the file does the same as the option.
    drop(daemon);
    harness.set("/autoscaler/dry_run", json!(true));
    let daemon = harness.start();
    daemon.wait(&["kind=scale.up"], SOON);
    harness.wait_evaluations(3);
    assert!(harness.docker.requests().iter().all(|line| line.starts_with("GET ")));
}

#[test]
fn a_state_that_is_gone_beside_replicas_is_reported_and_a_first_start_is_not() {
    let harness = Harness::new("missing-state");
    let reported =
        ["kind=state.missing", "state.json is missing", "replicas made by plimsoll run (1)"];
    for (is_removed, is_reported) in [(false, 0), (false, 0), (true, 1)] {
        if is_removed {
            fs::remove_file(harness.dir.join("state/state.json")).unwrap();
        }
        let daemon = harness.start();
        harness.wait_served();
        harness.wait_evaluations(2);
        assert_eq!(daemon.count(&["kind=state.missing"]), is_reported, "{:#?}", daemon.lines());
        assert_eq!(daemon.count(&reported), is_reported, "{:#?}", daemon.lines());
    }
}

/// A number above a thousand million could not be read back.
#[test]
fn numbers_end_at_the_highest_that_can_be_read_back_and_begin_again_at_the_lowest() {
    let rows: [(u32, [u32; 4]); 5] = [
        (999_999_997, [1, 999_999_998, 999_999_999, 1_000_000_000]),
        (999_999_999, [1, 2, 3, 1_000_000_000]),
        (1_000_000_000, [1, 2, 3, 4]),
        (1_000_000_001, [1, 2, 3, 4]),
        (u32::MAX, [1, 2, 3, 4]),
    ];
    each(&rows, |(last, numbers)| {
        let mut harness = Harness::new("numbers");
        let file = harness.dir.join("state/state.json");
        let stored = || -> Value { serde_json::from_slice(&fs::read(&file).unwrap()).unwrap() };
        let daemon = harness.start();
        harness.wait_served();
        end(daemon, "TERM", secs(3));
        let mut state = stored();
        assert_eq!(state["services"]["web"]["last_number"], 1);
        state["services"]["web"]["last_number"] = json!(last);
        fs::write(&file, state.to_string()).unwrap();
        harness.set("/services/web/max_replicas", json!(4));
        harness.set("/services/web/min_replicas", json!(4));
        let daemon = harness.start();
        let running = || {
            let names = harness.docker.names("running");
            let number = |name: &String| name.strip_prefix("web-").unwrap().parse().unwrap();
            let mut running: Vec<u32> = names.iter().map(number).collect();
            running.sort_unstable();
            running
        };
        assert!(reached(SOON, || running() == *numbers), "{last}: {:?}", running());
        // One that dies is replaced under a number that is free.
        harness.docker.end("web-1", 1, false, "");
        let is_replaced = || {
            running().len() == 4 && !harness.docker.names("exited").contains(&"web-1".to_owned())
        };
        assert!(reached(SOON, is_replaced), "{last}: {:?}", running());
        let most = running().into_iter().max().unwrap();
        assert!(most <= 1_000_000_000, "{last}: {most}");
        end(daemon, "TERM", secs(3));
        let number = stored()["services"]["web"]["last_number"].as_u64().unwrap();
        assert!(number <= 1_000_000_000, "{last}: {number} is stored");
        // The next daemon knows all of them, without the state too.
        let made = harness.docker.count(Route::Create);
        fs::remove_file(&file).unwrap();
        let daemon = harness.start();
        daemon.wait(&["kind=daemon.started"], SOON);
        harness.wait_evaluations(3);
        assert_eq!((harness.docker.count(Route::Create), running().len()), (made, 4));
        end(daemon, "TERM", secs(3));
    });
}
