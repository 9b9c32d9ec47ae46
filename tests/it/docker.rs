//! The daemon against a scripted Docker that fails in every way we know, and the real HAProxy.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::daemon::{Daemon, PLIMSOLL, reached, secs};
use crate::fake_docker::{Fault, Route};
use crate::harness::{Harness, each, end, free_address};

/// The newest API that the program was tried against.
const NEWEST: &str = "1.51";

const SOON: Duration = Duration::from_secs(10);

#[track_caller]
fn wait_running(harness: &Harness, names: &[&str]) {
    let running = reached(SOON, || harness.docker.names("running") == names);
    assert!(running, "not {names:?} but {:?}", harness.docker.containers());
}

#[test]
fn both_sides_speak_the_newest_version_that_both_know() {
    each(&[("1.41", "1.41"), ("1.45", "1.45"), ("1.55", NEWEST)], |(offered, spoken)| {
        let harness = Harness::new("api");
        harness.docker.offer_api(offered);
        let daemon = harness.start();
        harness.wait_served();
        harness.docker.turn("web-1", "exited", "die");
        wait_running(&harness, &["web-2"]);
        for route in [Route::Events, Route::Stats, Route::Inspect, Route::Stop, Route::Remove] {
            let asked = || 0 < harness.docker.count(route);
            assert!(reached(SOON, asked), "{route:?} was never asked for");
        }
        let prefix = format!(" /v{spoken}/");
        let requests = harness.docker.requests();
        let others: Vec<_> = requests.iter().filter(|r| !r.contains(&prefix)).collect();
        assert!(others.iter().all(|line| *line == "GET /_ping"), "{others:?}");
        assert_eq!(harness.docker.count(Route::Unknown), 0, "{requests:?}");
        end(daemon, "TERM", secs(3));
    });
}

/// Docker is lost with these words, once, and after the fault all goes well.
fn check_fault(api: &str, fault: Option<(Route, Fault)>, words: &str) {
    let harness = Harness::new("fault");
    harness.docker.offer_api(api);
    if let Some((route, fault)) = fault {
        harness.docker.fault(route, fault);
    }
    let daemon = harness.start();
    daemon.wait(&["kind=docker.lost", words], SOON);
    // It goes on asking.
    let asked = || harness.docker.requests().len();
    let until = asked() + 3;
    assert!(reached(SOON, || until <= asked()), "{words}: asked {} times", asked());
    assert!(harness.docker.containers().is_empty(), "{words}");
    harness.docker.offer_api("1.45");
    harness.docker.heal();
    daemon.wait(&["kind=docker.back"], SOON);
    harness.wait_served();
    assert_eq!(daemon.count(&["kind=docker.lost"]), 1, "{words}");
    assert_eq!(daemon.count(&["kind=docker.back"]), 1, "{words}");
    end(daemon, "TERM", secs(3));
}

#[test]
fn an_engine_that_is_too_old_or_none_loses_docker_and_no_more() {
    let raw = |text: &str| Fault::Raw(text.to_owned(), 0);
    let of = |length: usize, body: &str| {
        raw(&format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"))
    };
    let whole = |body: &str| of(body.len(), body);
    let heads = |lines: &str| raw(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n[]"));
    let odd = "unexpected answer";
    let none = "is not a Docker socket (no Api-Version in its answer); see docker.socket";
    let full = "get /containers/json: 500 the disk is full";
    let rows = [
        ("1.40", None, "has API 1.40; plimsoll needs 1.41 or newer (Docker 20.10)"),
        ("", None, none),
        ("x.y", None, "is not a Docker socket"),
        ("1.45", Some((Route::Ping, raw("220 mail.example ESMTP\r\n\r\n"))), "cannot reach Docker"),
        ("1.45", Some((Route::Ping, Fault::Cut(1000))), "cannot reach Docker at"),
        ("1.45", Some((Route::Ping, Fault::Hang)), "no answer in time (see docker.timeout)"),
        ("1.45", Some((Route::List, Fault::Refuse(500, "the disk is full"))), full),
        ("1.45", Some((Route::List, whole("<html>"))), odd),
        ("1.45", Some((Route::List, whole("{\"Id\": 1}"))), odd),
        ("1.45", Some((Route::List, whole("[{\"Id\": \"ab"))), odd),
        ("1.45", Some((Route::List, of(100, "["))), "cannot reach Docker"),
        ("1.45", Some((Route::List, Fault::Hang)), "no answer in time (see docker.timeout)"),
        ("1.45", Some((Route::List, heads(&"X: y\r\n".repeat(1000)))), "cannot reach Docker"),
        ("1.45", Some((Route::List, heads(&format!("X: {:>65000}\r\n", 1)))), "cannot reach"),
    ];
    each(&rows, |(api, fault, words)| check_fault(api, fault.clone(), words));
}

#[test]
fn an_endless_answer_is_cut_off_and_costs_little_memory() {
    let harness = Harness::new("flood");
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n";
    harness.docker.fault(Route::List, Fault::Raw(head.to_owned(), 100));
    let daemon = harness.start();
    daemon.wait(&["kind=docker.lost"], SOON);
    harness.wait_evaluations(3);
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    let peak_kb: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak_kb < 80_000, "{peak_kb} kB");
    harness.docker.heal();
    harness.wait_served();
    end(daemon, "TERM", secs(3));
}

#[test]
fn a_docker_that_comes_late_is_reported_once_and_used() {
    let harness = Harness::without_docker("late");
    let daemon = harness.start();
    daemon.wait(&["kind=docker.lost", "no such socket (is Docker installed and"], SOON);
    harness.docker.open();
    daemon.wait(&["kind=docker.back"], SOON);
    harness.wait_served();
    // And it may go away and come back, with what runs still there.
    harness.docker.close();
    let lost = daemon.wait_from(daemon.lines().len(), &["kind=docker.lost"], SOON);
    assert!(harness.serves(), "HAProxy keeps its list");
    harness.docker.open();
    daemon.wait_from(lost, &["kind=docker.back"], SOON);
    harness.wait_evaluations(2);
    assert_eq!(daemon.count(&["kind=docker.lost"]), 2);
    assert_eq!(daemon.count(&["kind=docker.back"]), 2);
    assert_eq!(harness.docker.count(Route::Create), 1);
    assert_eq!(harness.docker.names("running"), ["web-1"]);
}

#[test]
fn a_socket_that_may_not_be_opened_is_reported_with_the_fix() {
    let harness = Harness::new("denied");
    let open = |path: &str, mode| {
        fs::set_permissions(harness.dir.join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    open("docker.sock", 0o600);
    let config = harness.write();
    let mut command = Command::new(PLIMSOLL);
    // What nobody may not do, root may: so as root, be nobody, with a program that nobody can run.
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if root {
        fs::copy(PLIMSOLL, harness.dir.join("plimsoll")).unwrap();
        std::os::unix::fs::chown(harness.dir.path(), Some(65534), Some(65534)).unwrap();
        command = Command::new(harness.dir.join("plimsoll"));
        command.uid(65534).gid(65534);
    } else {
        open("docker.sock", 0o000);
    }
    let daemon = Daemon::start_by(command, &config, &[]);
    let words = "permission denied (is this user in group docker?)";
    daemon.wait(&["kind=docker.lost", words], SOON);
}

#[test]
fn a_hanging_docker_does_not_keep_the_daemon_from_ending() {
    let rows = [
        (Route::Ping, 1),
        (Route::List, 1),
        (Route::Inspect, 20),
        (Route::Stats, 20),
        (Route::Events, 1),
    ];
    each(&rows, |(route, replicas)| {
        let mut harness = Harness::new("hang");
        harness.set("/services/web/min_replicas", json!(replicas));
        harness.set("/services/web/max_replicas", json!(replicas));
        for number in 1..=*replicas {
            harness.docker.add(&format!("web-{number}"), Some(("web", number)), "running");
        }
        harness.docker.fault(*route, Fault::Hang);
        let daemon = harness.start();
        let hangs = || 0 < harness.docker.count(*route);
        assert!(reached(SOON, hangs), "{route:?} was not asked for");
        // An observation of a Docker that hangs takes as long as docker.timeout, which is 1 s here.
        end(daemon, "TERM", secs(3));
    });
}

#[test]
fn a_connection_that_was_cut_between_two_calls_is_made_anew() {
    let harness = Harness::new("stale");
    let daemon = harness.start();
    harness.wait_served();
    for _ in 0..5 {
        harness.docker.cut_connections();
        harness.wait_evaluations(2);
        // Cut off in the middle: what may be asked twice is, once.
        harness.docker.fault(Route::List, Fault::Cut(1));
        harness.wait_evaluations(2);
    }
    assert_eq!(daemon.count(&["kind=docker.lost"]), 0);
    end(daemon, "TERM", secs(3));
}

/// An engine that was started anew may be older than the one before, and whether a call noticed
/// that it was away is a matter of chance.
#[test]
fn an_engine_that_became_another_is_asked_in_its_own_version() {
    each(&[false, true], |are_cut| {
        let harness = Harness::new("version");
        let daemon = harness.start();
        harness.wait_served();
        harness.docker.offer_api("1.43");
        if *are_cut {
            harness.docker.cut_connections();
        }
        harness.wait_evaluations(2);
        // Not only what may be asked twice: this call may be the first to be refused.
        harness.docker.offer_api("1.42");
        harness.docker.end("web-1", 1, false, "");
        wait_running(&harness, &["web-2"]);
        assert_eq!(harness.docker.count(Route::Create), 2);
        assert_eq!(daemon.count(&["kind=docker.lost"]), 0);
        assert_eq!(daemon.count(&["kind=replica.failed"]), 0);
        end(daemon, "TERM", secs(3));
    });
}

#[test]
fn a_death_is_answered_at_once_not_at_the_next_evaluation() {
    let mut harness = Harness::new("die");
    harness.set("/autoscaler/check_interval", json!(3600));
    let daemon = harness.start();
    harness.wait_served();
    harness.wait_quiet();
    harness.docker.turn("web-1", "exited", "die");
    daemon.wait(&["kind=replica.exited", "replica=web-1"], secs(5));
    wait_running(&harness, &["web-2"]);
    let replaced = ["kind=health.replaced", "replica=web-1", "replaced because: exit code 0"];
    daemon.wait(&replaced, SOON);
    harness.wait_served();
    assert_eq!(harness.docker.containers().len(), 1);
}

#[test]
fn a_container_that_its_restart_policy_brings_back_is_not_replaced() {
    let mut harness = Harness::new("policy");
    harness.set("/autoscaler/check_interval", json!(3600));
    let daemon = harness.start();
    harness.wait_served();
    for (state, event) in [("restarting", "die"), ("running", "start")] {
        harness.wait_quiet();
        let looks = harness.docker.count(Route::List);
        harness.docker.turn("web-1", state, event);
        assert!(reached(SOON, || looks < harness.docker.count(Route::List)), "{event} wakes it");
    }
    harness.wait_served();
    assert_eq!(harness.docker.count(Route::Create), 1);
    assert_eq!(harness.docker.count(Route::Stop) + harness.docker.count(Route::Remove), 0);
    assert_eq!(daemon.count(&["kind=replica.exited"]), 0);
}

#[test]
fn a_stream_of_events_that_ends_or_freezes_is_opened_again() {
    each(&[None, Some(Fault::Hang)], |frozen| {
        let mut harness = Harness::new("events");
        harness.set("/autoscaler/check_interval", json!(3600));
        let daemon = harness.start();
        harness.wait_served();
        assert!(reached(SOON, || harness.docker.streams() == 1), "a stream is open");
        harness.wait_quiet();
        match frozen {
            None => harness.docker.cut_streams(),
            // The stream stays open and silent; only that the engine does not answer tells.
            Some(fault) => {
                harness.docker.fault(Route::Ping, fault.clone());
                let asked = harness.docker.count(Route::Ping);
                assert!(reached(secs(15), || asked < harness.docker.count(Route::Ping)), "no ping");
                assert!(reached(secs(10), || asked + 1 < harness.docker.count(Route::Ping)));
                harness.docker.lose_streams();
                harness.docker.heal();
            }
        }
        // Nobody hears of this; it is seen once the stream is open again.
        harness.docker.turn("web-1", "exited", "die");
        wait_running(&harness, &["web-2"]);
        assert_eq!(harness.docker.count(Route::Events), 2);
        harness.wait_quiet();
        harness.docker.turn("web-2", "exited", "die");
        daemon.wait(&["kind=replica.exited", "replica=web-2"], secs(5));
        end(daemon, "TERM", secs(3));
    });
}

#[test]
fn load_comes_from_statistics_where_the_control_group_cannot_be_read() {
    let mut harness = Harness::new("stats");
    harness.set("/services/web/max_replicas", json!(2));
    harness.set("/services/web/cpus", json!(0.5));
    harness.set("/services/web/scale_up_threshold", json!(80));
    harness.set("/services/web/scale_down_threshold", json!(20));
    harness.docker.make_busy(250);
    let daemon = harness.start();
    harness.wait_served();
    daemon.wait(&["service=web", "cpu 50% inside the band 20% to 80%"], SOON);
    harness.docker.make_busy(500);
    daemon.wait(&["kind=scale.up", "from=1 to=2", "reason="], SOON);
    wait_running(&harness, &["web-1", "web-2"]);
}

/// When something that is counted became more.
#[derive(Default)]
struct Times(Vec<Instant>);

impl Times {
    #[allow(
        clippy::disallowed_methods,
        reason = "a test reads the clock to bound what it measures"
    )]
    fn see(&mut self, count: usize) {
        if self.0.len() < count {
            self.0.resize(count, Instant::now());
        }
    }

    fn gaps(&self) -> Vec<Duration> {
        self.0.windows(2).map(|two| two[1].duration_since(two[0])).collect()
    }
}

/// A question about one container has 5 s, and then waits: 1 s, 2 s and so on up to 60 s.
#[test]
fn a_container_that_docker_never_tells_of_holds_up_no_other_one() {
    // One of no service of the config is only looked at. One of our own is to be removed as well,
    // which inspects it too.
    each(&["gone", "web"], |service| {
        let mut harness = Harness::new("silent");
        // Docker's own deadline is not to end the question earlier.
        harness.set("/docker/timeout", json!(30));
        let mut shop = harness.config["services"]["web"].clone();
        shop["listen"] = json!(free_address());
        harness.set("/services/shop", shop);
        let silent = harness.docker.add(&format!("{service}-1"), Some((service, 1)), "exited");
        harness.docker.fault(Route::Inspect, Fault::HangOn(silent.clone()));
        let daemon = harness.start();
        let mut looks = Times::default();
        let mut asked = Times::default();
        let mut until = |within: Duration, done: &dyn Fn(usize) -> bool| {
            reached(within, || {
                looks.see(harness.docker.count(Route::List));
                asked.see(harness.docker.inspections(&silent));
                done(asked.0.len())
            })
        };
        let runs = |name: &str| harness.docker.names("running").iter().any(|n| n == name);
        assert!(until(secs(4), &|_| runs("shop-1")), "{:#?}", daemon.lines());
        // The first question is still open.
        harness.docker.end("shop-1", 1, false, "");
        let is_told = || 0 < daemon.count(&["kind=replica.exited", "replica=shop-1"]);
        assert!(until(secs(3), &|_| is_told() && runs("shop-2")), "{:#?}", daemon.lines());
        let first = harness.docker.inspections(&silent);
        assert!(until(secs(30), &|asked| 3 <= asked), "it is given up for good");
        let longest = looks.gaps().into_iter().max().unwrap();
        assert!(longest < secs(3), "no look for {longest:?}: {:?}", looks.gaps());
        assert_eq!(daemon.count(&["kind=daemon.slow"]), 0, "{:#?}", daemon.lines());
        if *service == "gone" {
            let gaps = asked.gaps();
            let slack = Duration::from_millis(300);
            assert_eq!(first, 1, "its answer was awaited all the while");
            assert!(secs(5 + 1) <= gaps[0] + slack, "{gaps:?}");
            assert!(secs(5 + 2) <= gaps[1] + slack, "{gaps:?}");
        }
        assert!(reached(SOON, || harness.serves()));
        // The end waits for the removal that is under way.
        harness.docker.heal();
        end(daemon, "TERM", secs(3));
    });
}
