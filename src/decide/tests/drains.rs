//! How a replica leaves HAProxy, look after look.

use std::time::Duration;

use crate::decide::plan_service;
use crate::decide::tests::{address, id, sketch};
use crate::model::action::{Action, Removal};
use crate::model::memory::{DrainStep, ServiceMemory};
use crate::model::plan::ReplicaTransition;
use crate::model::proxy::Server;
use crate::model::replica::{AdminState, ContainerState, ServerCheck, ServerSeen};
use crate::model::snapshot::{EngineSeen, ProxyObservation, Snapshot};
use crate::model::time::Moment;

/// Of two replicas the second begins to drain at 0 ms, with a `drain_timeout` of 30 s. A row is
/// `looks | answers`. A look is `ms:server[,fact…]`: the server is `rN` while HAProxy still gives
/// it new sessions, `dN` when not and `mN` when it is out of use, N of them open, or `-` when it is
/// gone from the list. An
/// answer is `qN` after N quiet looks, `out(N)` when it is released with N sessions cut, `kept`
/// while a released one may not be stopped, `remove`, `back`, or `forgotten`.
#[track_caller]
fn table(rows: &str) {
    let mut bad = String::new();
    for row in rows.lines().map(str::trim).filter(|r| !r.is_empty()) {
        let (looks, want) = row.split_once('|').expect("a row is `looks | answers`");
        let (base, memory) = sketch("RR 50 1..4 1");
        let mut memory = plan_service(&base, &memory).1;
        let mut got = Vec::new();
        for look in looks.split_whitespace() {
            let snapshot = seen(look, &base);
            let (plan, next) = plan_service(&snapshot, &memory);
            got.push(answer(&plan.transitions, &plan.actions, &next));
            memory = next;
        }
        let (got, want) = (got.join(" "), want.split_whitespace().collect::<Vec<_>>().join(" "));
        if got != want {
            bad += &format!("\n  {looks}| {got}\n    but the table says {want}");
        }
    }
    assert!(bad.is_empty(), "rows that differ:{bad}");
}

fn seen(look: &str, base: &Snapshot) -> Snapshot {
    let mut snapshot = base.clone();
    let (ms, facts) = look.split_once(':').expect("a look is `ms:server,facts`");
    snapshot.now = Moment(base.now.0 + ms.parse::<u64>().unwrap());
    snapshot.due = false;
    let mut replica = snapshot.replicas.pop().unwrap();
    replica.server = None;
    let mut gone = false;
    for fact in facts.split(',') {
        let (key, value) = fact.split_once('=').unwrap_or((fact, ""));
        match key {
            "-" => (),
            // `N@MS`: N earlier processes, the last reload at MS.
            "old" => {
                let (old, ms) = value.split_once('@').unwrap_or((value, "0"));
                let reloaded_at = Moment(base.now.0 + ms.parse::<u64>().unwrap());
                snapshot.proxy =
                    ProxyObservation::Settled { old: old.parse().unwrap(), reloaded_at };
            }
            // Connections that earlier processes hold; `?` is not known.
            "held" => replica.old_connections = value.parse().ok(),
            "changing" => snapshot.proxy = ProxyObservation::Changing,
            "silent" => snapshot.proxy = ProxyObservation::Silent,
            "absent" => snapshot.proxy = ProxyObservation::Absent,
            "exited" => replica.state = ContainerState::Exited,
            "created" => replica.state = ContainerState::Created,
            "removing" => replica.state = ContainerState::Removing,
            "busy" => replica.busy = true,
            "starting" => snapshot.starting = vec![2],
            "lost" => snapshot.engine = EngineSeen::Lost,
            // Another one was taken by a hand from outside, so one more is desired.
            "alone" => snapshot.replicas[0].state = ContainerState::Removing,
            "gone" => gone = true,
            server => {
                let (kind, sessions) = server.split_at(1);
                let admin_state = match kind {
                    "r" => AdminState::Ready,
                    "d" => AdminState::Drain,
                    "m" => AdminState::Maint,
                    _ => panic!("no such fact: {server}"),
                };
                let address = address(2);
                let is_checked = true;
                let sessions = sessions.parse().unwrap();
                replica.server = Some(ServerSeen {
                    address,
                    admin_state,
                    is_checked,
                    sessions,
                    check: ServerCheck::default(),
                });
            }
        }
    }
    if !gone {
        snapshot.replicas.push(replica);
    }
    snapshot
}

fn answer(transitions: &[ReplicaTransition], actions: &[Action], next: &ServiceMemory) -> String {
    for step in transitions {
        match step {
            ReplicaTransition::DrainEnded { number: 2, cut } => return format!("out({cut})"),
            ReplicaTransition::DrainCancelled { number: 2 } => return "back".to_owned(),
            ReplicaTransition::DrainEnded { .. } | ReplicaTransition::DrainCancelled { .. } => {
                panic!("not the one that drains")
            }
            ReplicaTransition::DrainStarted { .. }
            | ReplicaTransition::Exited { .. }
            | ReplicaTransition::BecameUnhealthy { .. }
            | ReplicaTransition::Recovered { .. } => (),
            other => panic!("nobody did that: {other:?}"),
        }
    }
    if actions.iter().any(|a| matches!(a, Action::Remove(Removal { number: 2, .. }))) {
        return "remove".to_owned();
    }
    match next.drains.get(&id(2)).map(|d| d.step) {
        Some(DrainStep::Draining { quiet }) => format!("q{quiet}"),
        Some(DrainStep::Drained) => "kept".to_owned(),
        Some(DrainStep::Ended) => "ended".to_owned(),
        None => "forgotten".to_owned(),
    }
}

#[test]
fn a_replica_leaves_when_it_was_quiet_twice() {
    table(
        "
        250:d2 500:d1 750:d0 1000:d0                    | q0 q0 q1 out(0)
        250:d0 500:d1 750:d0 1000:d0                    | q1 q0 q1 out(0)
        250:r0 500:r0 750:d0 1000:d0                    | q0 q0 q1 out(0)
        250:-  500:-                                    | q1 out(0)
    ",
    );
}

#[test]
fn a_container_is_stopped_only_when_haproxy_shows_it_no_more() {
    table(
        "
        250:d0 500:d0 750:d0 1000:-                     | q1 out(0) kept remove
        250:d0 500:d0 750:d0 60000:d0 60250:-           | q1 out(0) kept kept remove
        250:d0 500:d0 750:-,changing 1000:-             | q1 out(0) kept remove
        250:d0 500:d0 750:m1 1000:m0,changing 1250:m0   | q1 out(0) kept kept remove
        250:d0 500:d0 29999:m1 30000:m1                 | q1 out(0) kept remove
        250:d0 500:d0 750:m0,old=1,held=1               | q1 out(0) kept
        250:d0 500:d0 750:m0,silent                     | q1 out(0) kept
        250:d0 500:d0 750:-,busy 1000:-                 | q1 out(0) kept remove
        250:d0 500:d0 750:-,starting 1000:-             | q1 out(0) kept remove
        250:d0 500:d0 750:-,lost 1000:-                 | q1 out(0) kept remove
        250:d0 500:d0 750:-,removing 1000:gone          | q1 out(0) kept forgotten
        250:d0 500:d0 750:- 5000:-                      | q1 out(0) remove remove
    ",
    );
}

#[test]
fn a_reload_under_way_tells_nothing() {
    table(
        "
        250:d0 500:d0,changing 750:d0                   | q1 q1 out(0)
        250:d0,changing 500:d0,changing 750:d0          | q0 q0 q1
        250:d0 500:d3,changing 750:d0                   | q1 q1 out(0)
    ",
    );
}

#[test]
fn a_silent_haproxy_holds_a_released_replica_for_good() {
    table(
        "
        250:-,silent 500:-,silent 750:-,silent          | q0 q0 q0
        250:-,silent 30000:-,silent 59999:d1 60000:d1   | q0 q0 q0 out(1)
        250:d0 500:d0 750:-,silent 29999:-,silent       | q1 out(0) kept kept
        250:d0 500:d0 29999:-,silent 99000:-,silent     | q1 out(0) kept kept
        250:d0 500:-,silent 750:d0                      | q1 q1 out(0)
    ",
    );
}

#[test]
fn the_drain_timeout_runs_from_when_haproxy_knows() {
    table(
        "
        30000:r2 59999:d2 60000:d2                      | q0 q0 out(2)
        30000:r0 30250:d0 30500:d0                      | q0 q1 out(0)
        30000:r2,changing 59999:d2 60000:d2             | q0 q0 out(2)
        250:d0 30000:r0 30250:d0 30500:d0               | q1 q0 q1 out(0)
        250:d2 30000:d2                                 | q0 out(2)
    ",
    );
}

#[test]
fn without_a_haproxy_a_drain_takes_its_whole_time() {
    table(
        "
        250:-,absent 500:-,absent 750:-,absent          | q0 q0 q0
        250:-,absent 29999:-,absent 30000:-,absent      | q0 q0 out(0)
        30000:-,absent 30250:-,absent                   | out(0) remove
        250:-,absent,alone                              | back
        250:-,exited,absent                             | remove
    ",
    );
}

#[test]
fn earlier_processes_hold_a_replica_as_long_as_they_may_reach_it() {
    table(
        "
        250:d0,old=1,held=1 500:d0,old=1,held=1         | q0 q0
        250:d0,old=1,held=0 500:d0,old=1,held=0         | q0 q0
        10999:d0,old=1,held=0 11000:d0,old=1,held=0     | q0 q1
        11000:d0,old=1,held=0 11250:d0,old=1,held=0     | q1 out(0)
        11000:d0,old=1,held=1 11250:d0,old=1,held=1     | q0 q0
        11000:d0,old=1,held=? 11250:d0,old=1,held=?     | q0 q0
        11000:d0,old=1,held=0 11250:d0,old=1,held=1     | q1 q0
        250:d0,old=1,held=1 500:d0 750:d0               | q0 q1 out(0)
        250:d0,old=3,held=0 11000:d0,old=2,held=0       | q0 q1
        11000:d1,old=1,held=0 11250:d0,old=1,held=0     | q0 q1
        11000:d0,old=1@1,held=0 11001:d0,old=1@1,held=0 | q0 q1
        20000:d0,old=1@9001,held=0                      | q0
        20000:d0,old=1@9000,held=0                      | q1
        250:d0,old=0@200 500:d0,old=0@200               | q1 out(0)
    ",
    );
}

#[test]
fn a_released_replica_runs_while_an_earlier_process_holds_its_address() {
    table(
        "
        250:d0 500:d0 750:-,old=1,held=0                | q1 out(0) remove
        250:d0 500:d0 750:-,old=1,held=1                | q1 out(0) kept
        250:d0 500:d0 750:-,old=1,held=?                | q1 out(0) kept
        250:d0 500:d0 29999:-,old=1,held=1              | q1 out(0) kept
        250:d0 500:d0 30000:-,old=1,held=1              | q1 out(0) remove
    ",
    );
}

#[test]
fn the_drain_timeout_cuts_and_says_how_many() {
    table(
        "
        29999:d2                                        | q0
        30000:d2                                        | out(2)
        30000:d2,old=1,held=3                           | out(5)
        30000:d0,old=1,held=3                           | out(3)
        30000:d2,changing                               | out(2)
        29750:d0 30000:d0                               | q1 out(0)
        30000:d2 30250:d2 30500:-                       | out(2) kept remove
    ",
    );
}

#[test]
fn a_replica_is_put_back_before_its_release_and_never_after() {
    table(
        "
        250:d0 500:d1,alone                             | q1 back
        250:d0 500:d0,alone 750:d0,alone                | q1 out(0) kept
        250:d0 500:d0 750:-,alone                       | q1 out(0) remove
        250:-,alone                                     | q1
        250:d0,busy,alone                               | q1
    ",
    );
}

#[test]
fn a_replica_that_stopped_meanwhile_is_removed_at_once() {
    table(
        "
        250:d1,exited                                   | remove
        250:d1,exited,changing                          | remove
        250:d1,exited,silent                            | remove
        250:d1,created                                  | remove
        250:d1,exited,busy 500:d1,exited                | ended remove
        250:d1,exited,starting 500:d1,exited            | ended remove
        250:d1,removing 500:gone                        | ended forgotten
    ",
    );
}

/// An old HAProxy process may send it requests again.
#[test]
fn a_replica_that_is_started_again_is_drained_anew() {
    table(
        "
        250:d1,exited,busy 500:d0 750:d0 1000:d0        | ended q0 q1 out(0)
        250:d1,exited,busy 500:d1,old=1,held=1          | ended q0
    ",
    );
}

/// `strip | number number~ …`, a tilde behind those that drain.
#[test]
fn haproxy_has_those_that_can_serve_and_those_that_empty() {
    for (strip, want) in [
        ("RRR", "1 2 3"),
        ("RMP", "1 2 3"),
        ("UNCXGLB", ""),
        ("RDR", "1 2~ 3"),
        ("RLR", "1 3"),
        ("-", ""),
    ] {
        let (mut snapshot, memory) = sketch(&format!("{strip} 50 0..9 ?"));
        for engine in [EngineSeen::Answers, EngineSeen::Lost] {
            snapshot.engine = engine;
            let servers = plan_service(&snapshot, &memory).0.servers;
            let name = |s: &Server| {
                let number = s.name.strip_prefix("web-").unwrap();
                format!("{number}{}", if s.draining { "~" } else { "" })
            };
            let got: Vec<String> = servers.iter().map(name).collect();
            assert_eq!(got.join(" "), want, "{strip} {engine:?}");
        }
    }
}

#[test]
fn what_empties_is_looked_at_again_soon() {
    for (input, want_ms) in [
        ("RD 50 1..4 1", Some(250)),
        ("RL 50 1..4 1", Some(250)),
        ("RR 50 1..4 1", Some(250)),
        ("RR 50 1..4 2", None),
        ("R 50 1..4 2 failures=2/4000", Some(6_000)),
        ("RD 50 1..4 3 failures=2/4000", Some(6_000)),
    ] {
        let (snapshot, memory) = sketch(input);
        let again = plan_service(&snapshot, &memory).0.again;
        assert_eq!(again, want_ms.map(Duration::from_millis), "{input}");
    }
}
