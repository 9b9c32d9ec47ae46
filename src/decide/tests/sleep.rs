//! When a service sleeps and what wakes it. The notation is in `mod.rs`; times are in milliseconds.

use std::time::Duration;

use crate::decide::plan_service;
use crate::decide::tests::{NOW, sketch, table};
use crate::model::memory::ServiceMemory;
use crate::model::plan::Plan;
use crate::model::sleep::{SleepObservation, WakeCause, WakeUp};
use crate::model::snapshot::Snapshot;
use crate::model::time::Moment;

/// `idle=MS`, or `idle=-` while HAProxy does not answer, makes a service that HAProxy can wake.
/// `held=COUNT/MS` is how many connections the daemon holds, and for how long. `woken=CAUSE/MS`,
/// and behind it `ready` and `used`, is the last wake-up; `slept=MS` is since when it sleeps.
pub(super) fn apply(key: &str, value: &str, snapshot: &mut Snapshot, memory: &mut ServiceMemory) {
    let ms = |text: &str| text.parse::<u64>().ok().map(Duration::from_millis);
    let ago = |text: &str| Moment(NOW.0 - text.parse::<u64>().unwrap());
    let seen = snapshot.sleep.get_or_insert_with(SleepObservation::default);
    match key {
        "idle" => seen.idle = ms(value),
        "held" => {
            let (count, since) = value.split_once('/').unwrap();
            (seen.held, seen.held_since) = (count.parse().unwrap(), Some(ago(since)));
        }
        "queue" => seen.queue = value.parse().unwrap(),
        "copies" => seen.copies = value.parse().unwrap(),
        "answered" => seen.answered.extend(ms(value)),
        "slept" => memory.sleep.asleep = Some(ago(value)),
        _ => {
            let mut words = value.split('/');
            let by = words.next().unwrap();
            let by = WakeCause::ALL.into_iter().find(|cause| cause.word() == by).unwrap();
            let since = ago(words.next().unwrap());
            let flags: Vec<&str> = words.collect();
            let is = |flag| flags.contains(&flag);
            let (is_ready, is_used, is_told) = (is("ready"), is("used"), is("told"));
            memory.sleep.wake_up = Some(WakeUp { since, by, is_ready, is_used, is_told });
        }
    }
}

#[test]
fn a_service_sleeps_when_nobody_asked_for_it_for_long_enough() {
    table(
        "
        R      0    0..9  1  idle=299999         | 1 [] last_one
        R      0    0..9  1  idle=300000         | 0 [drain 1] asleep(300000)
        R      30   0..9  1  idle=300000         | 0 [drain 1] asleep(300000)
        R      30.01 0..9 1  idle=300000         | 1 [] inside(30.01%)
        R      90   0..9  1  idle=300000         | 2 [start 2] above(90%)
        RR     0    0..9  2  idle=300000         | 0 [drain 2, drain 1] below(0%) asleep(300000)
        RRR    0    0..9  3  idle=300000         | 2 [drain 3] below(0%)
        R      0    1..9  1  idle=300000         | 1 [] last_one
        R      0    0..9  1                      | 1 [] last_one
        R      0    0..9  1  idle=-              | 1 [] last_one
        R      0    0..9  1  idle=300000 queue=1 | 1 [] last_one
        R      0    0..9  1  idle=300000 copies=1 | 1 [] last_one
        R      0    0..9  1  idle=300000 held=1/5 | 1 [] last_one
        R      0    0..9  1  idle=300000 between | 1 [] effective
        R      0    0..9  1  idle=300000 hold=1  | 1 [] held(-)
        R      0    0..9  1  idle=300000 paused  | 1 [] paused(-)
        R      0    0..9  1  idle=300000 outside=hold | 0 [drain 1] outside asleep(300000)
        R      0    0..9  1  idle=300000 schedule=1..2 | 1 [] last_one
    ",
    );
}

#[test]
fn a_metric_that_asks_for_a_replica_keeps_it_awake() {
    table(
        "
        R      0    0..9  1  idle=300000 band=- by=total:0/40 | \
            0 [drain 1] under(0) down_window(1) asleep(300000)
        R      0    0..9  1  idle=300000 band=- by=total:1/40  | 1 [] under(1)
        R      0    0..9  1  idle=300000 band=- by=failed/40   | 1 [] untold(haproxy queue)
        R      0    0..9  1  idle=300000 band=- by=pending/40  | 1 [] untold(haproxy queue)
        R      30   0..9  1  idle=300000 band=- by=cpu/60 | \
            0 [drain 1] under(30) asleep(300000)
        R      90   0..9  1  idle=300000 band=- by=cpu/60      | 2 [start 2] over(90)
        R      0    0..9  1  idle=1000 band=- by=total:0/40    | 1 [] under(0) down_window(1)
        R      0    0..9  1  idle=1000 band=- calm asked=0/1 by=total:0/40 | \
            1 [] under(0) awake(299000)
    ",
    );
}

#[test]
fn a_request_that_waits_wakes_it_at_any_tick() {
    table(
        "
        -      0    0..9  0  idle=0 held=1/5 between       | 1 [start 1] woken(1)
        -      0    0..9  0  idle=0 queue=1                | 1 [start 1] no_sample woken(1)
        -      0    0..9  0  idle=9000 slept=9000 between  | 0 [asleep 9] asleep(9000)
        -      0    0..9  0  idle=0 held=1/5 queue=99 band=- by=total:99/40 | \
            3 [start 1, start 2, start 3] over(99) woken(100)
        -      0    0..2  0  idle=0 held=1/5 queue=99 between band=- by=total:99/40 | \
            2 [start 1, start 2] woken(100)
        -      0    0..0  0  idle=0 held=1/5               | 0 [] no_sample
        -      0    0..9  0  idle=0 held=1/5 hold=0        | 0 [] held(-)
        -      0    0..9  0  idle=0 held=1/5 paused        | 0 [] paused(-)
        -      0    0..9  0  idle=0 held=1/5 outside=hold  | 1 [start 1] outside woken(1)
        -      0    0..9  0  idle=0 held=1/5 outside=0     | 0 [] outside
        -      0    0..9  0  idle=0 held=1/5 failures=3/10 | 1 [] no_sample woken(1) crash(3,19990)
        -      0    0..9  0  held=1/5 lost                 | 0 [] lost
        D      0    0..9  0  idle=0 held=1/5 between slept=50 | 1 [back 1] woken(1)
        L      0    0..9  0  idle=0 held=1/5 between slept=50 | 1 [start 2] woken(1)
    ",
    );
}

#[test]
fn what_waits_while_it_wakes_counts_and_its_replica_stays_until_it_was_of_no_use() {
    table(
        "
        U      0    0..9  1  idle=0 held=1/500 woken=request/500 between    | 1 [] woken(1)
        U      0    0..9  1  idle=0 held=1/500 queue=79 woken=request/500 between band=- \
            by=total:9/40 | 2 [start 2] woken(80)
        U      0    0..9  1  idle=9000 woken=request/9500 | \
            1 [] no_sample none_ready(1)
        U      0    0..9  1  idle=11000 woken=request/11500 | \
            1 [] no_sample none_ready(1)
        U      0    0..9  1  idle=300000 woken=request/300000 | \
            0 [drain 1] no_sample asleep(300000)
        R      0    0..9  1  idle=9999 woken=request/20000/ready/told       | 1 [] last_one
        R      0    0..9  1  idle=10000 woken=request/20000/ready/told | \
            0 [drain 1] asleep(10000)
        R      0    0..9  1  idle=10000 woken=request/20000/ready/used/told | 1 [] last_one
        R      0    0..9  1  idle=10000 woken=metric/20000/ready/told       | 1 [] last_one
    ",
    );
}

#[test]
fn both_ways_are_reported_once() {
    table(
        "
        -      0    0..9  0  idle=400000 slept=100 between | 0 [asleep 400] asleep(400000)
        B      0    0..9  0  idle=400000 slept=100 between | 0 [] asleep(400000)
        -      0    0..9  0  idle=400000 between           | 0 [] asleep(400000)
        R      0    0..9  1  idle=0 copies=1 woken=request/900 between | 1 [] effective
        R      0    0..9  1  idle=0 copies=1 woken=request/900 answered=850 between | \
            1 [woken by request in 850] effective
        R      0    0..9  1  idle=0 woken=request/900 between | \
            1 [woken by request in 900] effective
        R      0    0..9  1  idle=0 woken=metric/900 between | \
            1 [woken by metric in 900] effective
        U      0    0..9  1  idle=0 woken=schedule/900 between | 1 [] effective none_ready(1)
        R      0    0..9  1  idle=0 woken=metric/900/told between  | 1 [] effective
    ",
    );
}

fn planned(world: &str) -> (Plan, ServiceMemory) {
    let (snapshot, memory) = sketch(world);
    plan_service(&snapshot, &memory)
}

#[test]
fn the_cause_of_a_wake_up_is_known() {
    for (world, want) in [
        ("- 0 0..9 0 idle=0 held=1/5", WakeCause::Request),
        ("- 0 0..9 0 idle=0 band=- by=total:9/4", WakeCause::Metric),
        ("- 0 0..9 0 idle=0 schedule=1..2", WakeCause::Schedule),
        ("- 0 0..9 0 idle=0 hold=1", WakeCause::Operator),
    ] {
        let wake_up = planned(world).1.sleep.wake_up.unwrap();
        assert_eq!((wake_up.by, wake_up.since, wake_up.is_ready), (want, NOW, false), "{world}");
    }
    assert_eq!(planned("- 0 0..9 0 idle=0 hold=0").1.sleep, ServiceMemory::default().sleep);
}

#[test]
fn held_connections_go_to_those_that_serve_or_get_an_answer_in_time() {
    for (world, accepts, forward, refuse_s) in [
        ("- 0 0..9 0 idle=0", true, 0, None),
        ("- 0 0..9 0 idle=0 held=1/59999", true, 0, None),
        ("- 0 0..9 0 idle=0 held=1/60000", true, 0, Some(10)),
        ("- 0 0..9 1 idle=0 held=1/60000 failures=7/10", true, 0, Some(299)),
        ("- 0 0..9 0 held=1/60000 lost", true, 0, Some(10)),
        ("R 0 0..9 1 idle=0 held=1/60000", true, 1, None),
        ("P 0 0..9 1 idle=0 held=1/5", true, 1, None),
        ("U 0 0..9 1 idle=0 held=1/5", true, 0, None),
        ("D 0 0..9 0 idle=0", true, 0, None),
        ("R 0 0..9 1 idle=300000", true, 0, None),
        ("- 0 0..9 0 idle=0 hold=0", false, 0, None),
        ("- 0 0..9 0 idle=0 hold=0 held=1/5", false, 0, Some(10)),
        ("- 0 0..9 0 idle=0 hold=1", true, 0, None),
        ("- 0 0..9 0 idle=0 paused", false, 0, None),
        ("- 0 0..9 0 idle=0 outside=0", false, 0, None),
        ("- 0 0..0 0 idle=0", false, 0, None),
    ] {
        let wake = planned(world).0.wake.unwrap();
        let refuse = wake.refuse.map(|wait| wait.as_secs());
        assert_eq!(
            (wake.accepts, wake.forward.len(), refuse),
            (accepts, forward, refuse_s),
            "{world}"
        );
    }
    assert_eq!(planned("- 0 0..9 0").0.wake, None);
}

#[test]
fn a_tick_comes_when_the_longest_has_waited_enough() {
    let again = planned("- 0 0..9 0 idle=0 held=1/59000 between").0.again;
    assert_eq!(again, Some(Duration::from_secs(1)));
}
