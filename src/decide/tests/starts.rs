//! Which replicas are started, put back and chosen to go. The notation is in `mod.rs`.

use crate::decide::plan_service;
use crate::decide::tests::{NOW, id, shown, sketch, table};
use crate::model::action::{Action, Removal};
use crate::model::memory::{DrainStep, ServiceMemory};
use crate::model::replica::ContainerState;
use crate::model::snapshot::ProxyObservation;
use crate::model::time::Moment;

#[test]
fn numbers_only_grow() {
    table(
        "
        -      -           1..9  1                  | 1 [start 1] no_sample none_ready(1)
        -      -           1..9  1  given=7         | 1 [start 8] no_sample none_ready(1)
        RR     50          1..9  3  given=7         | 3 [start 8] inside(50%)
        RR     50          1..9  3  given=1         | 3 [start 3] inside(50%)
        RX     50          1..9  2                  | 2 [exited 2, remove 2, start 3] inside(50%)
        R      50          1..9  3  starting=5      | 3 [start 6] inside(50%)
    ",
    );
}

#[test]
fn a_number_seen_is_never_given_again() {
    let (snapshot, memory) = sketch("RRR 0 1..9 3");
    let after = plan_service(&snapshot, &memory).1;
    assert_eq!(after.last_number, 3, "its replica may be gone at the next look");
}

#[test]
fn a_replica_that_was_made_is_started() {
    table(
        "
        RC     50          1..9  2                  | 2 [start 2] inside(50%)
        RC     50          1..9  3                  | 3 [start 2, start 3] inside(50%)
        RC     50          1..9  2  between         | 2 [start 2] effective
        RC     50          1..9  1                  | 1 [drain 2] inside(50%)
        CC     -           1..9  2                  | 2 [start 1, start 2] no_sample none_ready(2)
    ",
    );
}

#[test]
fn a_start_under_way_is_not_begun_again() {
    table(
        "
        RC     50          1..9  2  starting=2      | 2 [] inside(50%)
        RU     50          1..9  2  starting=2      | 2 [] inside(50%)
        R      50          1..9  2  starting=2      | 2 [] inside(50%)
        R      50          1..9  4  starting=2,3    | 4 [start 4] inside(50%)
        RC     50          1..9  4  starting=2,3    | 4 [start 4] inside(50%)
        RX     50          1..9  2  starting=2      | 2 [exited 2, start 3] inside(50%)
    ",
    );
}

#[test]
fn a_start_that_fails_is_one_until_it_is_told_to_have_ended() {
    for (starting, want) in [("starting=2", "2 [] inside(50%)"), ("", "2 [start 3] inside(50%)")] {
        let (mut snapshot, memory) = sketch(&format!("RC 50 1..9 2 {starting}"));
        snapshot.replicas[1].state = ContainerState::Removing;
        assert_eq!(shown(&plan_service(&snapshot, &memory).0), want, "{starting}");
    }
}

#[test]
fn those_that_do_not_serve_go_first_then_the_newest() {
    table(
        "
        RRRR   50          1..9  3                  | 3 [drain 4] inside(50%) draining(1)
        RRRR   50          1..9  2                  | 2 [drain 4, drain 3] inside(50%) draining(2)
        RURR   50          1..9  3                  | 3 [drain 2] inside(50%)
        URUR   50          1..9  3                  | 3 [drain 3] inside(50%)
        URUR   50          1..9  1           | 1 [drain 3, drain 1, drain 4] inside(50%) draining(1)
        RCNR   50          1..9  2                  | 2 [drain 3, drain 2] inside(50%)
        RRDR   50          1..9  2                  | 2 [drain 4] inside(50%) draining(2)
        RP     50          1..9  1                  | 1 [drain 2] inside(50%) draining(1)
    ",
    );
}

#[test]
fn a_start_under_way_is_let_finish_and_costs_no_ready_replica() {
    table(
        "
        RR     50          1..9  2  starting=3      | 2 [] inside(50%)
        RRU    50          1..9  2  starting=3      | 2 [] inside(50%)
        RRC    50          1..9  2  starting=3      | 2 [] inside(50%)
        RRR    50          1..9  2  starting=4      | 2 [drain 3] inside(50%) draining(1)
        RRU    50          1..9  2  starting=4      | 2 [drain 3] inside(50%)
        RRU    50          1..9  2                  | 2 [drain 3] inside(50%)
        RRX    50          1..9  1  starting=3      | 1 [exited 3, drain 2] inside(50%) draining(1)
    ",
    );
}

#[test]
fn a_replica_that_a_silent_haproxy_may_serve_waits_until_it_answers() {
    table(
        "
        RRU    50          1..9  2  silent          | 2 [] inside(50%)
        RRN    50          1..9  2  silent          | 2 [drain 3] inside(50%)
        RRC    50          1..9  2  silent          | 2 [drain 3] inside(50%)
        RRR    50          1..9  2  silent          | 2 [drain 3] inside(50%) draining(1)
        RRRU   50          1..9  2  silent          | 2 [drain 3] inside(50%) draining(1)
        RRU    50          1..9  2  changing        | 2 [drain 3] inside(50%)
    ",
    );
}

#[test]
fn a_replica_that_empties_is_put_back_rather_than_another_started() {
    table(
        "
        RD     50          1..9  2                  | 2 [back 2] inside(50%)
        RD     50          1..9  1                  | 1 [] inside(50%) draining(1)
        RDD    50          1..9  2                  | 2 [back 2] inside(50%) draining(1)
        RDD    50          1..9  4                  | 4 [back 2, back 3, start 4] inside(50%)
        RL     50          1..9  2                  | 2 [start 3] inside(50%)
        RG     50          1..9  2                  | 2 [remove 2, start 3] inside(50%)
        RD     50          1..9  2  failures=9/0    | 2 [back 2] inside(50%)
        RD     50          1..9  2  between         | 2 [back 2] effective
    ",
    );
}

#[test]
fn an_unready_one_goes_without_a_drain_and_a_ready_one_does_not() {
    for (input, number, step) in [
        ("RRR 50 1..9 2", 3, DrainStep::Draining { quiet: 0 }),
        ("RRP 50 1..9 2", 3, DrainStep::Draining { quiet: 0 }),
        ("RRU 50 1..9 2", 3, DrainStep::Drained),
        ("RRC 50 1..9 2", 3, DrainStep::Ended),
    ] {
        let (snapshot, memory) = sketch(input);
        let next = plan_service(&snapshot, &memory).1;
        let drain = next.drains.get(&id(number)).unwrap_or_else(|| panic!("{input}: no drain"));
        assert_eq!((drain.step, drain.since), (step, NOW), "{input}");
    }
    let (mut snapshot, memory) = sketch("RRU 50 1..9 2");
    snapshot.proxy = ProxyObservation::Settled { old: 1, reloaded_at: NOW };
    let next = plan_service(&snapshot, &memory).1;
    let step = next.drains.get(&id(3)).map(|drain| drain.step);
    assert_eq!(step, Some(DrainStep::Draining { quiet: 0 }), "an old process may know it");
}

#[test]
fn starts_wait_ever_longer_after_failures() {
    table(
        "
        R      50          1..9  2  failures=1/0        | 2 [start 2] inside(50%)
        R      50          1..9  2  failures=2/9999     | 2 [] inside(50%) crash(2,1)
        R      50          1..9  2  failures=2/10000    | 2 [start 2] inside(50%)
        R      50          1..9  2  failures=3/19999    | 2 [] inside(50%) crash(3,1)
        R      50          1..9  2  failures=3/20000    | 2 [start 2] inside(50%)
        R      50          1..9  2  failures=4/39999    | 2 [] inside(50%) crash(4,1)
        R      50          1..9  2  failures=4/40000    | 2 [start 2] inside(50%)
        R      50          1..9  2  failures=6/159999   | 2 [] inside(50%) crash(6,1)
        R      50          1..9  2  failures=6/160000   | 2 [start 2] inside(50%)
        R      50          1..9  2  failures=7/299999   | 2 [] inside(50%) crash(7,1)
        R      50          1..9  2  failures=7/300000   | 2 [start 2] inside(50%)
        R      50          1..9  2  failures=99/299999  | 2 [] inside(50%) crash(99,1)
        R      50          1..9  2  failures=99/300000  | 2 [start 2] inside(50%)
        RC     50          1..9  2  failures=2/9999     | 2 [] inside(50%) crash(2,1)
        RR     50          1..9  2  failures=2/0        | 2 [] inside(50%)
        RRR    50          1..9  2  failures=9/0        | 2 [drain 3] inside(50%) draining(1)
    ",
    );
}

#[test]
fn failures_are_counted_once_a_look_and_forgiven_after_ten_good_minutes() {
    let check = |input: &str, count: u32, ago: u64| {
        let (snapshot, memory) = sketch(input);
        let next = plan_service(&snapshot, &memory).1.failures;
        let last = if count == 0 { Moment::default() } else { Moment(NOW.0 - ago) };
        assert_eq!((next.count, next.last), (count, last), "{input}");
        next.well_since.map(|since| next.short_since.unwrap_or(NOW).since(since).as_millis())
    };
    check("RR 50 1..9 2", 0, 0);
    check("RX 50 1..9 2", 1, 0);
    check("XX - 1..9 2", 1, 0);
    check("R 50 1..9 2 failed=1", 1, 0);
    check("R 50 1..9 2 failed=3", 1, 0);
    check("RX 50 1..9 2 failed=1", 1, 0);
    check("RX 50 1..9 2 failures=4/1000", 5, 0);
    check("RB 50 1..9 2", 0, 0);
    assert_eq!(check("RR 50 1..9 2 failures=4/900000", 4, 900_000), Some(0));
    assert_eq!(check("RR 50 1..9 2 failures=4/600000 well=599999", 4, 600_000), Some(599_999));
    assert_eq!(check("RR 50 1..9 2 failures=4/600000 well=600000", 0, 0), None);
    // Starting, unhealthy and missing replicas do not serve: that time is not counted.
    for replicas in ["RC", "RS", "R"] {
        let input = |well: &str| format!("{replicas} 50 1..9 2 failures=4/990000 well={well}");
        assert_eq!(check(&input("599999"), 4, 990_000), Some(599_999));
        assert_eq!(check(&input("900000/500000"), 4, 990_000), Some(400_000));
        let never = format!("{replicas} 50 1..9 2 failures=4/990000");
        assert_eq!(check(&never, 4, 990_000), None);
    }
    let again = "RR 50 1..9 2 failures=4/990000 well=900000/500000";
    assert_eq!(check(again, 4, 990_000), Some(400_000));
    assert_eq!(check("RX 50 1..9 2 failures=4/900000", 5, 0), None);
    assert_eq!(check("RX 50 1..9 2 failures=4/600000 well=599999", 5, 0), None);
    assert_eq!(check("RX 50 1..9 2 failures=4/600000 well=600000", 1, 0), None);
}

/// As with one that is ill; one that nobody misses is only removed.
#[test]
fn a_replica_that_exits_is_replaced_when_it_is_missed() {
    for (world, want) in [
        ("RX  50 1..9 2", "it stopped"),
        ("RX  50 1..9 2 paused", "it stopped"),
        ("RRX 50 1..9 2", "-"),
        ("RXX 50 1..9 2", "it stopped, -"),
        ("X   50 0..0 0", "-"),
    ] {
        let (snapshot, memory) = sketch(world);
        let (plan, _) = plan_service(&snapshot, &memory);
        let ill = |action: &Action| match action {
            Action::Remove(Removal { ill, .. }) => Some(ill.clone().unwrap_or("-".to_owned())),
            _ => None,
        };
        let got: Vec<String> = plan.actions.iter().filter_map(ill).collect();
        assert_eq!(got.join(", "), want, "{world}");
    }
}

#[test]
fn the_second_failure_in_a_row_is_the_first_that_waits() {
    table(
        "
        RX 50 1..9 2                        | 2 [exited 2, remove 2, start 3] inside(50%)
        RX 50 1..9 2  failures=1/1000       | 2 [exited 2, remove 2] inside(50%) crash(2,10000)
        RX 50 1..9 2  failures=2/10000      | 2 [exited 2, remove 2] inside(50%) crash(3,20000)
        R  50 1..9 2  failed=1              | 2 [start 2] inside(50%)
        R  50 1..9 2  failed=1 failures=1/0 | 2 [] inside(50%) crash(2,10000)
    ",
    );
}

#[test]
fn a_replica_that_exited_is_counted_once_and_removed_and_replaced() {
    let (mut snapshot, memory) = sketch("RX 50 1..9 2");
    let (first, next) = plan_service(&snapshot, &memory);
    assert_eq!((first.transitions.len(), first.actions.len(), next.failures.count), (1, 2, 1));
    snapshot.starting = vec![3];
    let (second, next) = plan_service(&snapshot, &next);
    assert!(second.transitions.is_empty(), "told again: {:?}", second.transitions);
    assert_eq!((second.actions.len(), next.failures.count), (1, 1), "it is still to be removed");
    snapshot.replicas[1].busy = true;
    let (third, next) = plan_service(&snapshot, &next);
    assert!(third.actions.is_empty() && third.transitions.is_empty(), "{third:?}");
    snapshot.replicas.pop();
    let next: ServiceMemory = plan_service(&snapshot, &next).1;
    assert!(next.drains.is_empty(), "what is gone is forgotten");
}
