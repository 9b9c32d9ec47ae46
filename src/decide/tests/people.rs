//! What people do to containers by hand. The notation is in `mod.rs`.

use std::collections::BTreeMap;

use crate::decide::tests::{NOW, id, number, sketch, table};
use crate::decide::{lifecycle, plan_service};
use crate::model::memory::{KnownReplica, ServiceMemory, Started};
use crate::model::owner::Owner;
use crate::model::plan::ReplicaTransition;
use crate::model::replica::{ContainerId, Ended, Ending};
use crate::model::snapshot::Snapshot;
use crate::model::time::Moment;

/// As if the last look had shown these numbers.
fn known(numbers: impl Iterator<Item = u32>) -> BTreeMap<ContainerId, KnownReplica> {
    let known = |number| KnownReplica {
        name: format!("web-{number}"),
        number,
        run: Some(1),
        proven: Some(1),
        is_unready: false,
        restarts: 0,
        away: None,
        paused: None,
        is_ended: false,
        unaddressed: None,
    };
    numbers.map(|number| (id(number), known(number))).collect()
}

/// What people did: `ended=2:stopped`, with `!` if that was a moment ago; `known=1,2,3` were there
/// at the last look, `away=2` was stopped then, and `clones=2,3` are ours.
pub(super) fn apply(key: &str, value: &str, snapshot: &mut Snapshot, memory: &mut ServiceMemory) {
    let numbers = || value.split(',').filter(|n| !n.is_empty()).map(number);
    match key {
        "known" => memory.known = known(numbers()),
        "away" | "abandoned" => numbers().for_each(|n| {
            let ms = if key == "away" { 59_999 } else { 60_000 };
            memory.known.get_mut(&id(n)).expect("known").away = Some(Moment(NOW.0 - ms));
        }),
        "run" => snapshot.replicas.iter_mut().for_each(|r| r.started = value.parse().ok()),
        "clones" => {
            for replica in &mut snapshot.replicas {
                let is_clone = numbers().any(|n| n == replica.number);
                replica.owner = if is_clone { Owner::Clone } else { Owner::Compose };
            }
        }
        "ended" => {
            let (n, how) = value.split_once(':').unwrap();
            let by = match how.trim_end_matches('!') {
                "stopped" => Ending::Stopped,
                "killed" => Ending::Killed,
                "crashed" => Ending::Crashed,
                "shutdown" => Ending::Shutdown,
                other => panic!("nothing ends {other}"),
            };
            let ended = Some(Ended { by, is_fresh: how.ends_with('!') });
            let replica = snapshot.replicas.iter_mut().find(|r| r.number == number(n));
            replica.expect("in the strip").ended = ended;
        }
        other => panic!("no such fact: {other}"),
    }
}

#[test]
fn ours_that_somebody_restarts_is_waited_for_and_one_that_is_stopped_is_replaced() {
    table(
        "
        RX  50 1..9 2  known=1,2 ended=2:stopped!  | 2 [] inside(50%)
        RX  50 1..9 2  known=1,2 ended=2:stopped   | 2 [exited 2, remove 2, start 3] inside(50%)
        RX  50 1..9 2  known=1,2 ended=2:killed!   | 2 [exited 2, remove 2, start 3] inside(50%)
        RX  50 1..9 2  known=1,2 ended=2:killed    | 2 [exited 2, remove 2, start 3] inside(50%)
        RX  50 1..9 2  known=1,2 ended=2:shutdown  | 2 [exited 2, remove 2, start 3] inside(50%)
        RX  50 1..9 2  known=1,2                   | 2 [exited 2, remove 2, start 3] inside(50%)
    ",
    );
}

#[test]
fn only_a_crash_is_a_failure_of_the_service() {
    for (how, want) in [("crashed", 1), ("stopped", 0), ("killed", 0), ("shutdown", 0)] {
        let (snapshot, memory) = sketch(&format!("RX 50 1..9 2 known=1,2 ended=2:{how}"));
        assert_eq!(plan_service(&snapshot, &memory).1.failures.count, want, "{how}");
    }
}

#[test]
fn composes_that_somebody_stops_is_left_alone_and_is_no_failure() {
    table(
        "
        RRX 50 1..9 3  shop ended=3:stopped! | 3 [] inside(50%)
        RRX 50 1..9 3  shop ended=3:stopped  | 2 [stopped 3] composed(2) inside(50%)
        RRX 50 1..9 3  shop ended=3:killed!  | 3 [] inside(50%)
        RRX 50 1..9 3  shop ended=3:killed   | 2 [stopped 3] composed(2) inside(50%)
        RRX 50 1..9 2  shop ended=3:stopped away=3 | 2 [] inside(50%)
        RRX 50 3..9 2  shop ended=3:stopped away=3 | 3 [start 4] min(3)
    "
        .replace("shop", "compose known=1,2,3 given=3 clones=")
        .as_str(),
    );
}

#[test]
fn a_service_that_compose_stopped_sleeps_and_comes_back_as_it_was() {
    table(
        "
        XX  50 1..9 2  both known=1,2 | 1 [stopped 1, stopped 2] composed(1) no_sample stopped
        XX  50 1..9 1  both known=1,2 away=1,2 between | 1 [] effective stopped
        -   50 1..9 1  compose between | 1 [] effective stopped
        RR  50 1..9 1  shop away=1,2 | 2 [unpaused 1, unpaused 2] composed(2) inside(50%)
        XX  50 1..9 1  both known=1,2 away=1,2 clones=2 between | 1 [] effective stopped
    "
        .replace("both", "compose clones= ended=1:stopped ended=2:stopped")
        .replace("shop", "compose known=1,2 given=2 clones=")
        .as_str(),
    );
}

#[test]
fn composes_that_crashed_is_started_again_and_cloned_only_while_that_fails() {
    table(
        "
        RX 50 1..9 2 two ended=2:crashed | 2 [exited 2, start 2] inside(50%)
        X   50 1..9 1  solo ended=1:crashed  | 1 [exited 1, start 1] no_sample none_ready(1)
        X   50 1..9 1  solo ended=1:shutdown | 1 [exited 1, start 1] no_sample none_ready(1)
        RX 50 1..9 2 two ended=2:crashed failures=3/60000 | 2 [exited 2] inside(50%) crash(4,40000)
        RX 50 1..9 2 two ended=2:shutdown late | 2 [exited 2, start 2, start 3] inside(50%)
        RX  50 1..9 2  two clones=2 ended=2:crashed | 2 [exited 2, start 2] inside(50%)
    "
        .replace("two", "compose known=1,2 given=2 clones=")
        .replace("late", "failures=2/60000")
        .replace("solo", "compose known=1 given=1 clones=")
        .as_str(),
    );
}

#[test]
fn clones_go_first_and_composes_own_never_for_being_unhealthy() {
    table(
        "
        RRR 50 1..9 2  compose known=1,2,3 clones=1 given=3 | 2 [drain 1] inside(50%) draining(1)
        URU 50 1..9 2  compose known=1,2,3 clones=2 given=3 | 2 [] inside(50%)
        URR 50 1..9 2  compose known=1,2,3 clones=2 given=3 | 2 [] inside(50%)
        RS  50 1..9 2  compose known=1,2 clones= given=2  | 2 [start 3] inside(50%)
        RS  50 1..9 2  compose known=1,2 clones=2 given=2 | 2 [start 3] inside(50%)
        RRS 50 1..9 2  compose known=1,2,3 clones= given=3  | 2 [] inside(50%)
        RRS 50 1..9 2  compose known=1,2,3 clones=3 given=3 | 2 [drain 3] inside(50%) draining(1)
    ",
    );
}

#[test]
fn what_is_paused_is_replaced_if_ours_and_left_if_composes() {
    table(
        "
        Rf  50 1..9 2  known=1,2 given=2                 | 2 [] inside(50%)
        Rf  50 1..9 2  compose known=1,2 clones= given=2 | 2 [] inside(50%)
        RF  50 1..9 2  known=1,2 given=2                 | 2 [ill 2, start 3] inside(50%)
        RF  50 1..9 2  compose known=1,2 clones= given=2 | 1 [paused 2] composed(1) inside(50%)
        RF  50 1..9 2  compose known=1,2 clones=2 given=2 | 2 [ill 2, start 3] inside(50%)
        RR 50 1..9 1 shop away=2 | 2 [unpaused 2] composed(2) inside(50%)
    "
        .replace("shop", "compose known=1,2 given=2 clones=")
        .as_str(),
    );
}

#[test]
fn a_clone_that_stays_stopped_beside_others_is_removed_and_composes_own_never() {
    table(
        "
        RX 50 1..9 1 two clones=2 ended=2:stopped away=2      | 1 [] inside(50%)
        RX 50 1..9 1 two clones=2 ended=2:stopped abandoned=2 | 1 [remove 2] inside(50%)
        RX 50 1..9 1 two ended=2:stopped abandoned=2          | 1 [] inside(50%)
        XX 50 1..9 1 two clones=2 ended=1:stopped ended=2:stopped abandoned=1,2 between | 1 [] zz
    "
        .replace("zz", "effective stopped")
        .replace("two", "compose known=1,2 given=2 clones=")
        .as_str(),
    );
}

#[test]
fn a_start_that_no_look_shows_holds_its_seat_for_three_looks() {
    let (snapshot, mut memory) = sketch("R 50 2..9 2 known=1 starting=2 given=2");
    let id = ContainerId("e".repeat(64));
    memory.started.insert(2, Started { id, looks: 0 });
    for looks in 1..=2 {
        memory = plan_service(&snapshot, &memory).1;
        assert_eq!((memory.started[&2].looks, memory.failures.count), (looks, 0));
    }
    let (plan, memory) = plan_service(&snapshot, &memory);
    assert!(
        plan.transitions.contains(&ReplicaTransition::Lost { number: 2 }),
        "{:?}",
        plan.transitions
    );
    assert!(memory.started.is_empty());
    assert_eq!(memory.failures.count, 1);
}

#[test]
fn a_number_that_could_not_be_read_back_is_never_given() {
    table(
        "
        R  50 2..9 2  known=1 given=999999999  | 2 [start 1000000000] inside(50%)
        R  50 2..9 2  known=1 given=1000000000 | 2 [start 2] inside(50%)
        R  50 3..9 3  known=1 given=4294967295 | 3 [start 2, start 3] inside(50%)
    ",
    );
}

#[test]
fn docker_restarting_a_replica_is_told_each_time_and_five_times_in_ten_minutes_is_a_loop() {
    let (mut snapshot, mut memory) = sketch("R 50 1..9 1 known=1");
    let mut told = Vec::new();
    for restarts in 1..=6 {
        snapshot.replicas[0].restarts = restarts;
        snapshot.now.0 += 10_000;
        let (plan, next) = plan_service(&snapshot, &memory);
        memory = next;
        let exits = plan
            .transitions
            .iter()
            .filter(|s| matches!(s, ReplicaTransition::Exited { .. }))
            .count();
        assert_eq!((exits, memory.failures.count), (1, 0));
        told.push(plan.service_transitions.len());
    }
    assert_eq!(told, [0, 0, 0, 0, 1, 0]);
    snapshot.now.0 += 600_000;
    let (plan, memory) = plan_service(&snapshot, &memory);
    assert_eq!((plan.service_transitions.len(), memory.restarts.len()), (1, 0));
}

#[test]
fn a_replica_without_an_address_is_told_after_ten_seconds_and_replaced_after_the_start_period() {
    let (mut snapshot, mut memory) = sketch("RN 50 1..9 2 known=1,2 given=2");
    let begin = snapshot.now;
    for (ms, want) in [
        (0, "2 [] inside(50%)"),
        (9_999, "2 [] inside(50%)"),
        (10_000, "2 [not ready 2] inside(50%)"),
        (29_999, "2 [] inside(50%)"),
        (30_000, "2 [ill 2, start 3] inside(50%)"),
    ] {
        snapshot.now = Moment(begin.0 + ms);
        let (plan, next) = plan_service(&snapshot, &memory);
        memory = next;
        assert_eq!(crate::decide::tests::shown(&plan), want, "after {ms} ms");
    }
    let replica = &snapshot.replicas[1];
    let words = lifecycle::no_address(replica);
    assert!(words.contains("network bridge") && words.contains("connect bridge web-2"), "{words}");
}
