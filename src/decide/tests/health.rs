//! Who falls ill, what comes in its place, and when the check is doubted. The notation is in
//! `mod.rs`.

use crate::decide::tests::{NOW, S, ill, shown, sketch, table, unhealthy};
use crate::decide::{plan_service, rollout};
use crate::model::memory::{Drain, DrainStep, PanicMode};
use crate::model::plan::ServiceTransition;
use crate::model::replica::Health;
use crate::model::snapshot::ProxyObservation;
use crate::model::time::Moment;

#[test]
fn a_replica_that_fell_ill_keeps_its_seat_until_another_one_is_ready() {
    table(
        "
        RI     50          1..9  2                  | 2 [ill 2, start 3] inside(50%)
        RSU    50          1..9  2  starting=3      | 2 [] inside(50%)
        RSU    50          1..9  2                  | 2 [] inside(50%)
        RSR    50          1..9  2                  | 2 [drain 2] inside(50%) draining(1)
        RSC    50          1..9  2                  | 2 [start 3] inside(50%)
        RI     50          1..9  2  between         | 2 [ill 2, start 3] effective
        RS     50          1..9  2  paused          | 2 [start 3] paused(-)
        RS     50          1..9  2  hold=2          | 2 [start 3] held(-)
        S      -           1..9  1                  | 1 [start 2] no_sample none_ready(1)
    ",
    );
}

#[test]
fn one_ill_replica_is_replaced_at_a_time() {
    table(
        "
        RSS    50          1..9  3  surge=3/0       | 3 [start 4] inside(50%)
        RSSU   50          1..9  3  surge=3/0       | 3 [] inside(50%)
        RSSR   50          1..9  3  surge=3/0       | 3 [drain 3] inside(50%) draining(1)
        RSGR   50          1..9  3  surge=3/0       | 3 [remove 3] inside(50%)
    ",
    );
}

#[test]
fn where_no_other_may_be_there_it_makes_room_first() {
    table(
        "
        RRS    50          1..9  3  surge=0/1       | 3 [drain 3] inside(50%) draining(1)
        RSS    50          1..9  3  surge=0/1       | 3 [drain 3] inside(50%) draining(1)
        RSU    50          1..9  3  surge=0/1       | 3 [] inside(50%)
        RSSU   50          1..9  4  surge=0/1       | 4 [] inside(50%)
        RS     50          1..9  2  room=9/10       | 2 [drain 2] inside(50%) no_room(9/10)
        RS     50          1..9  2  room=10/10      | 2 [start 3] inside(50%)
        R      50          1..9  2  room=9/10       | 2 [] inside(50%) no_room(9/10)
    ",
    );
}

#[test]
fn one_that_recovered_serves_again_and_its_successor_goes() {
    table(
        "
        RRU    50          1..9  2                  | 2 [drain 3] inside(50%)
        RRR    50          1..9  2                  | 2 [drain 3] inside(50%) draining(1)
    ",
    );
    let (mut snapshot, memory) = sketch("RS 50 1..9 2 between");
    snapshot.replicas[1].health = Health::Healthy;
    let (plan, next) = plan_service(&snapshot, &memory);
    assert!(next.unhealthy.is_empty() && plan.actions.is_empty(), "{plan:?}");
    assert_eq!(plan.servers.len(), 2);
}

#[test]
fn the_ill_go_first_then_those_that_never_served_then_the_newest() {
    table(
        "
        RRSRU  50          1..9  3                  | 3 [drain 3, drain 5] inside(50%) draining(1)
        RRSR   50          1..9  2           | 2 [drain 3, drain 4] inside(50%) draining(2)
        SR     50          1..9  1                  | 1 [drain 1] inside(50%) draining(1)
    ",
    );
}

#[test]
fn it_leaves_haproxy_at_once_and_is_never_put_back() {
    for (input, want) in [("RI 50 1..9 2", 1), ("RS 50 1..9 2", 1), ("RSR 50 1..9 2", 2)] {
        let (snapshot, memory) = sketch(input);
        let (plan, next) = plan_service(&snapshot, &memory);
        assert_eq!(plan.servers.len(), want, "{input}");
        let emptying = |drain: &Drain| matches!(drain.step, DrainStep::Draining { .. });
        assert!(next.drains.values().all(emptying), "what it has in hand it may finish: {input}");
    }
    table("RSG 50 1..9 2 | 2 [remove 3] inside(50%)");
}

#[test]
fn what_was_known_stands_until_it_passes_again() {
    for (health, is_unhealthy) in
        [(Health::Unknown, true), (Health::Starting, true), (ill(), true), (Health::Healthy, false)]
    {
        let (mut snapshot, memory) = sketch("RRS 50 1..9 3");
        snapshot.replicas[2].health = health.clone();
        let next = plan_service(&snapshot, &memory).1;
        assert_eq!(!next.unhealthy.is_empty(), is_unhealthy, "{health:?}");
    }
}

#[test]
fn one_that_goes_because_it_is_ill_is_not_put_back_by_a_daemon_that_does_not_know_it_yet() {
    for (is_unhealthy, want) in
        [(false, "2 [back 2] inside(50%)"), (true, "2 [start 3] inside(50%) draining(1)")]
    {
        let (mut snapshot, mut memory) = sketch("RD 50 1..9 2");
        snapshot.replicas[1].health = Health::Unknown;
        let unhealthy = unhealthy('S').filter(|_| is_unhealthy);
        memory
            .unhealthy
            .extend(unhealthy.map(|unhealthy| (snapshot.replicas[1].id.clone(), unhealthy)));
        assert_eq!(shown(&plan_service(&snapshot, &memory).0), want);
    }
}

#[test]
fn when_all_fall_ill_at_once_the_check_is_doubted() {
    table(
        "
        II     50          1..9  2                  | 2 [ill 1, ill 2, suspect 2] inside(50%)
        III 50 1..9 2 | 2 [ill 1, ill 2, ill 3, drain 3, suspect 3] inside(50%) draining(1)
        I      50          1..9  1                  | 1 [ill 1, start 2] no_sample none_ready(1)
        IIR    50          1..9  3  | 3 [ill 1, ill 2, start 4] inside(50%)
        IIP    50          1..9  3  | 3 [ill 1, ill 2, start 4] inside(50%)
        IIU    50          1..9  3                  | 3 [ill 1, ill 2, suspect 2] inside(50%)
        IID 50 1..9 2 | 2 [ill 1, ill 2, suspect 2] inside(50%) draining(1)
        SI     50          1..9  2                  | 2 [ill 2, start 3] no_sample none_ready(2)
        SII 50 1..9 3 | 3 [ill 2, ill 3, suspect 2, start 4] inside(50%)
        SIIR   50          1..9  4                  | 4 [ill 2, ill 3, start 5] inside(50%)
        SS     -           1..9  2                  | 2 [start 3] no_sample none_ready(2)
        SS     -           1..9  2  suspected       | 2 [] no_sample
        SSR    50          1..9  3  suspected       | 3 [] inside(50%)
        SSR    50          1..9  3  suspected=1     | 3 [] inside(50%)
        SSR    50          1..9  3  suspected=0     | 3 [trust, start 4] inside(50%)
        SRR    50          1..9  2  suspected       | 2 [drain 1] inside(50%) draining(1)
        SR 50 1..9 2 suspected surge=0/1 restarted=2 | 2 [drain 1, roll 2] inside(50%) draining(1)
        S      -           1..9  1  suspected=0     | 1 [] no_sample
        P      50          1..9  1  suspected=0     | 1 [trust] inside(50%)
    ",
    );
}

#[test]
fn those_that_never_served_are_ill_and_nothing_is_doubted() {
    for (proxy, want) in [
        (ProxyObservation::Silent, "2 [ill 1, ill 2, start 3] no_sample none_ready(2)"),
        // Where there is no HAProxy, none is known to have served.
        (ProxyObservation::Absent, "2 [ill 1, ill 2, suspect 2] no_sample"),
    ] {
        let (mut snapshot, memory) = sketch("II - 1..9 2");
        snapshot.replicas.iter_mut().for_each(|replica| replica.server = None);
        snapshot.proxy = proxy;
        assert_eq!(shown(&plan_service(&snapshot, &memory).0), want, "{proxy:?}");
    }
}

#[test]
fn haproxy_keeps_its_list_while_the_check_is_doubted() {
    for (input, want) in [
        ("II 50 1..9 2", 2),
        ("SS - 1..9 2 suspected", 2),
        ("SSR 50 1..9 3 suspected", 3),
        ("SSR 50 1..9 3 suspected=0", 1),
        // Who was ill before stays out.
        ("SII 50 1..9 3", 2),
    ] {
        let (snapshot, memory) = sketch(input);
        assert_eq!(plan_service(&snapshot, &memory).0.servers.len(), want, "{input}");
    }
}

#[test]
fn an_operator_has_the_doubted_replaced_and_what_passes_ends_the_doubt() {
    let (snapshot, mut memory) = sketch("SS - 1..9 2 suspected");
    memory.last_number = 2;
    rollout::restart(&snapshot.service, &mut memory, snapshot.now);
    let (plan, memory) = plan_service(&snapshot, &memory);
    assert_eq!(shown(&plan), "2 [start 3] no_sample");
    assert_eq!(plan.servers.len(), 2, "HAProxy keeps them meanwhile");
    let (mut snapshot, _) = sketch("SSR 50 1..9 3");
    snapshot.now = NOW.plus(S * 60);
    let (plan, memory) = plan_service(&snapshot, &memory);
    assert!(memory.panic_mode.is_some_and(|s| s.until.is_some()), "{}", shown(&plan));
}

/// The check has an interval of 10 s and a timeout of 5 s.
#[test]
fn at_once_is_within_an_interval_of_the_check() {
    for (seconds, suspected) in [(0, true), (15, true), (16, false)] {
        let (mut snapshot, mut memory) = sketch("SI 50 1..9 2");
        let first = Moment(NOW.0 - seconds * 1000);
        memory.unhealthy.values_mut().for_each(|unhealthy| unhealthy.since = first);
        snapshot.replicas[0].health = Health::Unhealthy { since: first, error: String::new() };
        let (plan, next) = plan_service(&snapshot, &memory);
        assert_eq!(next.panic_mode.is_some(), suspected, "{seconds}");
        assert_eq!(plan.service_transitions.is_empty(), !suspected, "{seconds}");
    }
}

#[test]
fn after_the_first_recovered_the_others_have_the_time_to() {
    let (mut snapshot, mut memory) = sketch("SSS - 1..9 3 suspected between");
    let mut look = |healthy: &[usize], at: u32| {
        snapshot.now = NOW.plus(S * at);
        for (i, replica) in snapshot.replicas.iter_mut().enumerate() {
            replica.health = if healthy.contains(&i) { Health::Healthy } else { ill() };
        }
        let (plan, next) = plan_service(&snapshot, &memory);
        memory = next;
        (memory.panic_mode, plan.service_transitions.contains(&ServiceTransition::PanicModeLeft))
    };
    let until = |at: u32| Some(PanicMode { until: Some(NOW.plus(S * at)) });
    assert_eq!(look(&[], 0), (Some(PanicMode { until: None }), false));
    assert_eq!(look(&[1], 1), (until(16), false));
    // All are ill again.
    assert_eq!(look(&[], 2), (Some(PanicMode { until: None }), false));
    assert_eq!(look(&[1], 3), (until(18), false));
    assert_eq!(look(&[0, 1], 17), (until(18), false));
    assert_eq!(look(&[0, 1], 18), (None, true));
}

#[test]
fn an_illness_counts_as_a_failure_unless_the_check_is_doubted() {
    for (input, want) in [
        ("RI 50 1..9 2", 1),
        ("RII 50 1..9 3", 1),
        ("RS 50 1..9 2", 0),
        ("II 50 1..9 2", 0),
        ("RI 50 1..9 2 failures=2/1000", 3),
    ] {
        let (snapshot, memory) = sketch(input);
        assert_eq!(plan_service(&snapshot, &memory).1.failures.count, want, "{input}");
    }
    table(
        "
        RI 50 1..9 2  failures=1/1000       | 2 [ill 2] inside(50%) crash(2,10000)
        RS 50 1..9 2  failures=4/39999      | 2 [] inside(50%) crash(4,1)
        RS 50 1..9 2  failures=4/40000      | 2 [start 3] inside(50%)
    ",
    );
}
