//! The daemon's own life: how it begins, obeys signals, takes another config, and ends.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::{reached, secs};
use crate::fake_docker::{Fault, Route};
use crate::stage::{Stage, each, end};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn it_ends_in_order_and_leaves_replicas_and_haproxy_running() {
    for name in ["TERM", "INT"] {
        let stage = Stage::new("end");
        let daemon = stage.start();
        stage.wait_served();
        end(daemon, name, secs(3));
        assert!(stage.serves(), "after {name}");
        assert_eq!(stage.docker.names("running"), ["web-1"]);
        // The next one goes on with what it finds.
        let pids = stage.haproxies();
        let daemon = stage.start();
        daemon.wait(&["kind=daemon.started"], SOON);
        stage.wait_looks(3);
        assert_eq!(stage.docker.count(Route::Create), 1);
        assert_eq!(stage.haproxies(), pids, "HAProxy was not reloaded");
        assert_eq!(daemon.count(&["kind=haproxy.reloaded"]), 0);
    }
}

#[test]
fn a_second_daemon_on_the_same_state_refuses() {
    let stage = Stage::new("two");
    let daemon = stage.start();
    stage.wait_served();
    let mut second = stage.start();
    assert_eq!(second.wait_exit(secs(3)).code(), Some(1));
    let state = stage.dir.join("state");
    let (state, pid) = (state.display(), daemon.pid());
    let words = format!("plimsoll: another plimsoll (pid {pid}) runs with {state}; end it");
    second.wait(&[&words], secs(1));
    stage.wait_looks(1);
    // Ended by force, the first leaves nothing that keeps a third one out.
    daemon.kill();
    stage.start().wait(&["kind=daemon.started"], SOON);
}

#[test]
fn a_second_daemon_on_the_same_haproxy_refuses() {
    let mut stage = Stage::new("shared");
    let daemon = stage.start();
    stage.wait_served();
    stage.set("/autoscaler/state_dir", json!(stage.dir.join("another")));
    let mut second = stage.start();
    assert_eq!(second.wait_exit(secs(3)).code(), Some(1));
    let (pid, file) = (daemon.pid(), stage.dir.join("haproxy.cfg"));
    let words = format!("another plimsoll (pid {pid}) runs with {}; end it", file.display());
    second.wait(&[&words, "its own load_balancer.config"], secs(1));
}

#[test]
fn log_lines_take_the_format_that_the_config_says() {
    let mut stage = Stage::new("format");
    stage.set("/autoscaler/log_format", json!("json"));
    let daemon = stage.start();
    daemon.wait(&[r#""kind":"daemon.started""#, r#""level":"info""#, r#""at":"20"#], SOON);
    stage.wait_served();
    for line in daemon.lines() {
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let keys = ["kind", "message", "service"];
        assert!(keys.iter().any(|key| value[*key].is_string()), "{line}");
        assert!(!line.contains("message="), "each pair is a field of its own: {line}");
    }
    stage.set("/autoscaler/log_format", json!("journal"));
    stage.write();
    daemon.signal("HUP");
    daemon.wait(&["<6>kind=config.reloaded", "autoscaler.log_format"], SOON);
    stage.docker.turn("web-1", "exited", "die");
    daemon.wait(&["<4>kind=replica.exited"], SOON);
}

#[test]
fn a_good_config_is_taken_over_while_it_runs() {
    let mut stage = Stage::new("hup");
    let daemon = stage.start();
    stage.wait_served();
    stage.set("/services/web/max_replicas", json!(2));
    stage.set("/services/web/min_replicas", json!(2));
    stage.write();
    daemon.signal("HUP");
    daemon.wait(&["kind=config.reloaded", "config.json, 1 service"], SOON);
    daemon.wait(&["kind=scale.up", "from=1 to=2", "reason=TooFewReplicas"], SOON);
    assert!(reached(SOON, || stage.docker.names("running") == ["web-1", "web-2"]));
}

#[test]
fn a_bad_config_is_refused_as_a_whole_and_the_old_one_goes_on() {
    let mut stage = Stage::new("bad");
    let daemon = stage.start();
    stage.wait_served();
    let good = stage.config.clone();
    stage.set("/services/web/max_replicas", json!(0));
    stage.set("/services/web/colour", json!("red"));
    stage.set("/autoscaler/log_level", json!("loud"));
    stage.write();
    daemon.signal("HUP");
    for path in ["autoscaler.log_level", "services.web.colour", "services.web.max_replicas"] {
        daemon.wait(&["kind=config.rejected", path], SOON);
    }
    // What is taken at the start only may not change, and nothing else of that file counts.
    stage.config = good.clone();
    stage.set("/autoscaler/state_dir", json!(stage.dir.join("elsewhere")));
    stage.set("/services/web/min_replicas", json!(2));
    stage.set("/services/web/max_replicas", json!(2));
    stage.write();
    daemon.signal("HUP");
    daemon.wait(&["kind=config.rejected", "taken at the start only"], SOON);
    fs::remove_file(stage.dir.join("config.json")).unwrap();
    daemon.signal("HUP");
    daemon.wait(&["kind=config.rejected", "is not there"], SOON);
    stage.docker.turn("web-1", "exited", "die");
    assert!(reached(SOON, || stage.docker.names("running") == ["web-2"]));
    stage.wait_looks(3);
    assert_eq!(stage.docker.names("running"), ["web-2"]);
    assert_eq!(daemon.count(&["kind=config.reloaded"]), 0);
    stage.config = good;
    stage.write();
    daemon.signal("HUP");
    daemon.wait(&["kind=config.reloaded"], SOON);
}

#[test]
fn a_damaged_state_is_set_aside_and_told() {
    let stage = Stage::new("damage");
    let state = stage.dir.join("state");
    fs::create_dir(&state).unwrap();
    for damage in ["{\"version\": 1, \"services\": {\"we", "", "{\"version\": 9, \"services\": {}}"]
    {
        fs::write(state.join("state.json"), damage).unwrap();
        let daemon = stage.start();
        daemon.wait(&["kind=state.damaged", "state.json: ", "kept as", "json.damaged"], SOON);
        stage.wait_served();
        let kept = fs::read_to_string(state.join("state.json.damaged")).unwrap();
        assert_eq!(kept, damage);
        let stored = || fs::read_to_string(state.join("state.json")).unwrap_or_default();
        assert!(reached(SOON, || stored().contains("\"web\"")), "{}", stored());
        end(daemon, "TERM", secs(3));
    }
    assert_eq!(stage.docker.count(Route::Create), 1);
}

#[test]
fn a_folder_that_cannot_be_made_ends_it_with_the_key_to_change() {
    for (pointer, key) in [
        ("/autoscaler/state_dir", "autoscaler.state_dir"),
        ("/load_balancer/config", "load_balancer.config"),
        ("/load_balancer/pid_file", "load_balancer.pid_file"),
        ("/load_balancer/socket", "load_balancer.socket"),
    ] {
        let mut stage = Stage::new("folder");
        stage.dir.write("file", "");
        stage.set(pointer, json!(stage.dir.join("file/below/it")));
        let mut daemon = stage.start();
        assert_eq!(daemon.wait_exit(secs(3)).code(), Some(1), "{key}");
        let words = ["plimsoll: cannot make ", &format!("(see {key}): Not a directory")];
        daemon.wait(&words, secs(1));
        assert!(stage.docker.requests().is_empty());
    }
}

#[test]
fn a_state_that_cannot_be_stored_is_told_and_keeps_nothing_from_running() {
    let stage = Stage::new("store");
    // A folder where the new file should be.
    fs::create_dir_all(stage.dir.join("state/state.json.new")).unwrap();
    let daemon = stage.start();
    daemon.wait(&["kind=state.not_saved", "cannot store", "state.json"], SOON);
    stage.wait_served();
    stage.wait_looks(3);
    assert_eq!(daemon.count(&["kind=state.not_saved"]), 1);
    fs::remove_dir(stage.dir.join("state/state.json.new")).unwrap();
    let stored = || stage.dir.join("state/state.json").exists();
    stage.wait_looks(1);
    assert!(reached(SOON, stored));
    daemon.wait(&["info kind=state.not_saved", "resolved: the state is stored again"], SOON);
}

#[test]
fn once_is_one_turn_and_its_status_says_how_it_went() {
    let stage = Stage::new("once");
    let mut daemon = stage.start_with(&["--once"]);
    assert_eq!(daemon.wait_exit(SOON).code(), Some(0), "{:?}", daemon.lines());
    assert_eq!(stage.docker.names("running"), ["web-1"]);
    // One look for whom to ask, one for what to do, and one right before a container is made.
    assert_eq!(stage.docker.count(Route::List), 3);
    assert_eq!(stage.docker.count(Route::Events), 0);

    // What the first one started, the second one brings into HAProxy.
    let mut daemon = stage.start_with(&["--once"]);
    assert_eq!(daemon.wait_exit(SOON).code(), Some(0), "{:?}", daemon.lines());
    stage.wait_served();

    stage.docker.fault(Route::Stop, Fault::Refuse(500, "no"));
    stage.docker.turn("web-1", "exited", "die");
    let mut daemon = stage.start_with(&["--once"]);
    assert_eq!(daemon.wait_exit(SOON).code(), Some(1));
    daemon.wait(&["plimsoll: an action failed, see above"], secs(1));

    stage.docker.close();
    let mut daemon = stage.start_with(&["--once"]);
    assert_eq!(daemon.wait_exit(SOON).code(), Some(1));
    daemon.wait(&["kind=docker.lost", "no such socket"], secs(1));
    daemon.wait(&["plimsoll: docker did not answer, see above"], secs(1));
}

#[test]
fn a_dry_run_changes_nothing() {
    let mut stage = Stage::new("dry");
    stage.docker.add("web-1", Some(("web", 1)), "exited");
    let mut daemon = stage.start_with(&["--dry-run", "--once"]);
    assert_eq!(daemon.wait_exit(SOON).code(), Some(0));
    let daemon = stage.start_with(&["--dry-run"]);
    daemon.wait(&["kind=scale.up", "service=web", "from=0 to=1"], SOON);
    stage.wait_looks(3);
    // A reload of the config does not make it serious.
    stage.set("/services/web/min_replicas", json!(1));
    stage.write();
    daemon.signal("HUP");
    daemon.wait(&["kind=config.reloaded"], SOON);
    stage.wait_looks(3);
    // What it would do is told once, though it is decided at each look.
    for kind in ["kind=scale.up", "kind=replica.exited"] {
        assert_eq!(daemon.count(&[kind]), 1, "{:#?}", daemon.lines());
    }
    let requests = stage.docker.requests();
    assert!(requests.iter().all(|line| line.starts_with("GET ")), "{requests:?}");
    assert_eq!(stage.haproxies(), (Vec::new(), Vec::new()));
    let there = |name: &str| Path::new(&stage.dir.join(name)).exists();
    for name in ["haproxy.cfg", "haproxy.cfg.new", "haproxy.pid", "state/state.json"] {
        assert!(!there(name), "{name} was written");
    }
    // The key of the file does the same as the option.
    drop(daemon);
    stage.set("/autoscaler/dry_run", json!(true));
    let daemon = stage.start();
    daemon.wait(&["kind=scale.up"], SOON);
    stage.wait_looks(3);
    assert!(stage.docker.requests().iter().all(|line| line.starts_with("GET ")));
}

#[test]
fn a_state_that_is_gone_beside_replicas_is_told_and_a_first_start_is_not() {
    let stage = Stage::new("missing-state");
    let told = ["kind=state.missing", "state.json is not there", "replicas are (1)"];
    for (is_removed, is_told) in [(false, 0), (false, 0), (true, 1)] {
        if is_removed {
            fs::remove_file(stage.dir.join("state/state.json")).unwrap();
        }
        let daemon = stage.start();
        stage.wait_served();
        stage.wait_looks(2);
        assert_eq!(daemon.count(&["kind=state.missing"]), is_told, "{:#?}", daemon.lines());
        assert_eq!(daemon.count(&told), is_told, "{:#?}", daemon.lines());
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
        let mut stage = Stage::new("numbers");
        let file = stage.dir.join("state/state.json");
        let stored = || -> Value { serde_json::from_slice(&fs::read(&file).unwrap()).unwrap() };
        let daemon = stage.start();
        stage.wait_served();
        end(daemon, "TERM", secs(3));
        let mut state = stored();
        assert_eq!(state["services"]["web"]["last_number"], 1);
        state["services"]["web"]["last_number"] = json!(last);
        fs::write(&file, state.to_string()).unwrap();
        stage.set("/services/web/max_replicas", json!(4));
        stage.set("/services/web/min_replicas", json!(4));
        let daemon = stage.start();
        let running = || {
            let names = stage.docker.names("running");
            let number = |name: &String| name.strip_prefix("web-").unwrap().parse().unwrap();
            let mut running: Vec<u32> = names.iter().map(number).collect();
            running.sort_unstable();
            running
        };
        assert!(reached(SOON, || running() == *numbers), "{last}: {:?}", running());
        // One that dies is replaced under a number that is free.
        stage.docker.end("web-1", 1, false, "");
        let is_replaced =
            || running().len() == 4 && !stage.docker.names("exited").contains(&"web-1".to_owned());
        assert!(reached(SOON, is_replaced), "{last}: {:?}", running());
        let most = running().into_iter().max().unwrap();
        assert!(most <= 1_000_000_000, "{last}: {most}");
        end(daemon, "TERM", secs(3));
        let number = stored()["services"]["web"]["last_number"].as_u64().unwrap();
        assert!(number <= 1_000_000_000, "{last}: {number} is stored");
        // The next daemon knows all of them, without the state too.
        let made = stage.docker.count(Route::Create);
        fs::remove_file(&file).unwrap();
        let daemon = stage.start();
        daemon.wait(&["kind=daemon.started"], SOON);
        stage.wait_looks(3);
        assert_eq!((stage.docker.count(Route::Create), running().len()), (made, 4));
        end(daemon, "TERM", secs(3));
    });
}
