//! The daemon dies by SIGKILL at every step it takes on the outside, and the next one goes on from
//! what is really there: nothing leaked, nothing doubled, and no request lost while a replica ran.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::daemon::{Daemon, reached, secs};
use crate::fault_proxy::{FaultProxy, When};
use crate::load::{Kind, Load};
use crate::testbed::{HAPROXY, Testbed, clients};

fn keys(n: u32) -> String {
    format!(r#""min_replicas": {n}, "max_replicas": {n}, "drain_timeout": 10"#)
}

/// Exactly `count` replicas, all running, all in service, and nothing else of the service.
#[track_caller]
fn assert_settles(testbed: &Testbed, count: usize, daemon: &Daemon, what: &str) {
    let mut seen = String::new();
    let settled = reached(secs(30), || {
        let containers = testbed.containers();
        let serving = testbed.serving();
        seen = format!("{containers:?} with {serving:?} in service");
        let names: Vec<&String> = containers.iter().map(|(_, name, _)| name).collect();
        containers.len() == count
            && containers.iter().all(|(_, _, state)| state == "running")
            && serving.len() == count
            && serving.iter().all(|s| names.contains(&s))
    });
    assert!(settled, "{what}: {seen}, not {count} replicas\n{:#?}", daemon.lines());
}

/// From nothing to two replicas, and from two to one: all that is done to Docker and HAProxy.
/// `arm` sets the trap for a daemon before each half; it says whether it was sprung after. Where
/// the trap springs by `is_sprung`, the daemon's end is waited for: what it did is seen before.
fn live_through(
    testbed: &Testbed,
    what: &str,
    mut arm: impl FnMut(&Daemon),
    is_sprung: impl Fn() -> bool,
) -> bool {
    let mut died = false;
    let ended = |d: &mut Daemon, died: bool| {
        let must_end = !died && is_sprung();
        assert!(!must_end || reached(secs(20), || d.has_ended()), "{what}: it lives on");
        d.has_ended()
    };
    let config = testbed.configure(&keys(2));
    let mut daemon = Daemon::start(&config);
    arm(&daemon);
    let done = |d: &mut Daemon| d.has_ended() || testbed.serving().len() == 2;
    assert!(reached(secs(20), || done(&mut daemon)), "{what}: {:#?}", daemon.lines());
    if ended(&mut daemon, died) {
        died = true;
        daemon = Daemon::start(&config);
    }
    assert_settles(testbed, 2, &daemon, what);

    let load = Load::start(testbed.address(), clients(2, Kind::Close, "/slow?ms=50", 5));
    load.wait_for(secs(10), |c| 4 < c.sent());
    testbed.configure(&keys(1));
    daemon.signal("HUP");
    let done = |d: &mut Daemon| d.has_ended() || testbed.containers().len() == 1;
    assert!(reached(secs(20), || done(&mut daemon)), "{what}: {:#?}", daemon.lines());
    if ended(&mut daemon, died) {
        died = true;
        daemon = Daemon::start(&config);
    }
    assert_settles(testbed, 1, &daemon, what);
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "{what}: requests were lost\n{counts}\n{:#?}", daemon.lines());
    died
}

#[test]
fn a_crash_at_any_call_to_docker_is_survived() {
    let mut crashes = 0;
    for when in [When::Before, When::After] {
        for call in 1.. {
            let mut testbed = Testbed::new("crash");
            let socket = testbed.dir.join("proxy.sock");
            let proxy = FaultProxy::new(&socket, &testbed.docker_socket);
            testbed.daemons_socket = Some(socket);
            let mut armed = false;
            let what = format!("crash {when:?} call {call}");
            let arm = |daemon: &Daemon| {
                if !std::mem::replace(&mut armed, true) {
                    proxy.set_trap(daemon.pid(), call, when);
                }
            };
            let died = live_through(&testbed, &what, arm, || call <= proxy.calls());
            proxy.clear_trap();
            if !died {
                assert!(proxy.calls() < call, "{what}: no crash, yet {} calls", proxy.calls());
                break;
            }
            crashes += 1;
        }
    }
    // Two creations, two starts, one stop, one removal; each before and after.
    assert_eq!(crashes, 12);
}

/// A stand-in for HAProxy's binary that runs the real one, and kills the daemon right before or
/// right after its n-th run.
fn deadly_haproxy(testbed: &Testbed, run: u32, when: When) -> PathBuf {
    let dir = testbed.dir.path().display();
    let kill = r#"[ "$n" = "$at" ] && kill -KILL "$(cat "$dir/victim")" && rm "$dir/victim""#;
    let (before, after) = match when {
        When::Before => (kill, ":"),
        When::After => (":", kill),
    };
    let text = format!(
        "#!/bin/sh\ndir={dir} at={run}\necho >>$dir/runs\nn=$(wc -l <$dir/runs)\n\
         {before}\n{HAPROXY} \"$@\"\nstatus=$?\n{after}\nexit $status\n"
    );
    let path = testbed.dir.write("haproxy", &text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_crash_at_any_run_of_haproxy_is_survived() {
    let mut crashes = 0;
    for when in [When::Before, When::After] {
        for run in 1.. {
            let mut testbed = Testbed::new("crash");
            testbed.haproxy = deadly_haproxy(&testbed, run, when);
            let what = format!("crash {when:?} run {run} of HAProxy");
            let mut armed = false;
            let arm = |daemon: &Daemon| {
                if !std::mem::replace(&mut armed, true) {
                    testbed.dir.write("victim", &daemon.pid().to_string());
                }
            };
            let runs = || fs::read_to_string(testbed.dir.join("runs")).unwrap_or_default();
            let died =
                live_through(&testbed, &what, arm, || run as usize <= runs().lines().count());
            if !died {
                break;
            }
            crashes += 1;
            assert!(run < 30, "{what}: there is no end to it");
        }
    }
    // At least: check and start at first, a check with two servers, and one with one; each before
    // and after.
    assert!(8 <= crashes, "{crashes} crashes");
}
