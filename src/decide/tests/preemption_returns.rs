//! How replicas that were given up come back, on hosts with more than two services.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decide::tests::S;
use crate::decide::tests::crowd::{Crowd, STEP};
use crate::decide::tests::preemption::full_host;
use crate::model::bounds::Bounds;
use crate::model::hooks::Hooks;
use crate::model::memory::Failures;
use crate::model::preemption::{PreemptionStep, Shortage};
use crate::model::schedule::Timetable;

/// Victim, cap and beneficiary of each.
fn list(crowd: &Crowd) -> Vec<(&str, u32, &str)> {
    let list = crowd.kept.preemptions.list.iter();
    list.map(|one| (one.victim.as_str(), one.cap, one.beneficiary.as_str())).collect()
}

#[test]
fn what_is_free_between_two_evaluations_is_of_the_higher_priority() {
    // What a replica of the lowest uses of its 128 MiB, and the host's memory.
    for (uses, memory) in [(128, 1800), (60, 1660)] {
        let mut crowd = Crowd::new(memory);
        crowd.add("api", 80, (1, 4), 512);
        crowd.add("db", 80, (1, 4), 512);
        crowd.add("web", 20, (1, 4), 128);
        crowd.member("web").uses = uses;
        crowd.load("web", 150);
        crowd.load("api", 50);
        crowd.load("db", 50);
        crowd.run(60);
        crowd.load("api", 100);
        crowd.run(40);
        assert_eq!((crowd.ready("api"), crowd.ready("web")), (2, 2), "{uses}");
        crowd.load("db", 100);
        crowd.run(30);
        // All that `web` may give up is too little.
        assert_eq!((crowd.ready("db"), list(&crowd)), (1, vec![("web", 2, "api")]), "{uses}");
        crowd.load("api", 20);
        for _ in 0..40 {
            crowd.step();
            assert_eq!(crowd.desired("web"), 2, "{uses}: {:?}", list(&crowd));
            assert_eq!(list(&crowd), [("web", 2, "api")], "{uses}");
        }
        assert_eq!((crowd.ready("api"), crowd.ready("db")), (1, 2), "{uses}");
    }
}

#[test]
fn a_need_that_nobody_can_meet_holds_nothing_back() {
    // What `api` has when it needs one replica, and what the host has beside the four.
    for (load, memory) in [(100, 513), (20, 450)] {
        let mut crowd = full_host();
        crowd.load("api", 100);
        crowd.run(30);
        assert_eq!((crowd.ready("api"), crowd.ready("web")), (2, 2));
        crowd.add("huge", 90, (1, 2), 64 << 10);
        crowd.run(3);
        crowd.load("api", load);
        crowd.memory = memory;
        let mut waited = Duration::ZERO;
        while !list(&crowd).is_empty() {
            waited += STEP;
            crowd.step();
            assert!(waited <= 120 * S, "{load}: {:?}", list(&crowd));
        }
        crowd.run(200);
        assert_eq!((crowd.ready("web"), crowd.ready("huge")), (3, 0), "{load}");
        assert_eq!(list(&crowd), [], "{load}");
    }
}

/// `web` gave one replica up for `api` and one for `db`.
fn two_beneficiaries(memory: u64) -> Crowd {
    let mut crowd = Crowd::new(memory);
    crowd.add("api", 80, (1, 2), 100);
    crowd.add("db", 80, (1, 2), 100);
    crowd.add("web", 20, (1, 5), 100);
    crowd.load("web", 300);
    crowd.load("api", 50);
    crowd.load("db", 50);
    crowd.run(90);
    assert_eq!((crowd.ready("api"), crowd.ready("db"), crowd.ready("web")), (1, 1, 5));
    crowd.load("api", 100);
    crowd.run(30);
    crowd.load("db", 100);
    crowd.run(30);
    assert_eq!(list(&crowd), [("web", 4, "api"), ("web", 3, "db")]);
    assert_eq!((crowd.ready("api"), crowd.ready("db"), crowd.ready("web")), (2, 2, 3));
    crowd
}

#[test]
fn one_that_is_over_before_a_later_one_gives_its_replica_back() {
    type Change = fn(&mut Crowd);
    /// Victim, what it has at most, and beneficiary.
    type Listed = (&'static str, u32, &'static str);
    let cases: [(&str, Change, &[Listed], u32); 5] = [
        ("the first is gone", |c| drop(c.members.remove("api")), &[("web", 4, "db")], 4),
        ("the second is gone", |c| drop(c.members.remove("db")), &[("web", 4, "api")], 4),
        ("both are gone", |c| c.members.retain(|name, _| name == "web"), &[], 5),
        ("the first needs less", |c| c.load("api", 20), &[("web", 4, "db")], 4),
        ("the second needs less", |c| c.load("db", 20), &[("web", 4, "api")], 4),
    ];
    for (what, change, want, desired) in cases {
        // After one of them there is room for its replica, and none to spare.
        let mut crowd = two_beneficiaries(710);
        change(&mut crowd);
        crowd.run(20);
        assert_eq!((list(&crowd), crowd.desired("web")), (want.to_vec(), desired), "{what}");
        assert_eq!(crowd.ready("web"), desired as usize, "{what}");
    }
}

#[test]
fn a_victim_may_take_as_long_as_its_hook_does() {
    // Beside the timeouts of drain and stop there are two minutes.
    let hook =
        |timeout| Hooks { before_stop: vec!["save".to_owned()], timeout, ..Hooks::default() };
    for (hooks, stops_in, is_refused) in [
        (Hooks::default(), 100 * S, false),
        (Hooks::default(), 300 * S, true),
        // Of a hook that none is.
        (Hooks { timeout: 600 * S, ..Hooks::default() }, 300 * S, true),
        (hook(100 * S), 300 * S, true),
        (hook(200 * S), 300 * S, false),
    ] {
        let mut crowd = full_host();
        crowd.member("web").service.hooks = hooks.clone();
        crowd.member("web").stops_in = stops_in;
        crowd.load("api", 100);
        crowd.run(90);
        let refused = &crowd.kept.preemptions.refused;
        assert_eq!(refused.contains_key("api"), is_refused, "{hooks:?}: {stops_in:?}");
    }
}

#[test]
fn a_processor_that_is_not_known_yet_is_not_free() {
    for (load, step) in [(100, PreemptionStep::Used), (20, PreemptionStep::Returning)] {
        let mut crowd = full_host();
        crowd.memory = 100_000;
        crowd.idle = Some(2);
        crowd.load("api", 100);
        crowd.run(40);
        assert_eq!(crowd.kept.preemptions.list[0].shortage, Shortage::Processor);
        crowd.load("api", load);
        crowd.run(20);
        assert_eq!(crowd.kept.preemptions.list[0].step, step);
        // As after a restart.
        crowd.is_idle_awaited = true;
        crowd.run(30);
        assert_eq!(list(&crowd), [("web", 2, "api")], "{load}");
        // The reserve is 0, or the kernel shows nothing.
        crowd.is_idle_awaited = false;
        crowd.idle = None;
        crowd.run(30);
        assert_eq!(list(&crowd), [], "{load}");
    }
}

#[test]
fn three_failures_in_a_row_are_too_many() {
    for (count, want) in [(2, 1), (3, 0)] {
        let mut crowd = full_host();
        crowd.load("api", 100);
        crowd.run(2);
        let failures = Failures { count, last: crowd.now, ..Failures::default() };
        crowd.kept.services.get_mut("api").unwrap().failures = failures;
        // While its next start is delayed.
        crowd.step();
        assert_eq!(list(&crowd).len(), want, "{count}");
        crowd.run(12);
        assert_eq!(crowd.ready("api"), 1 + want, "{count}");
    }
}

#[test]
fn a_replica_that_died_gets_its_place_back_on_a_full_host() {
    let mut crowd = full_host();
    crowd.memory = 400;
    crowd.kill("api");
    crowd.add("new", 50, (0, 1), 100);
    crowd.run(12);
    assert_eq!((crowd.ready("api"), crowd.ready("web")), (1, 3));
    // Somebody else took the place before.
    crowd.kill("api");
    crowd.memory = 300;
    crowd.run(12);
    assert_eq!((crowd.ready("api"), crowd.ready("web")), (1, 2));
}

#[test]
fn two_services_whose_loads_alternate_take_from_each_other_in_one_direction_only() {
    let mut crowd = full_host();
    let mut taken = 0;
    for round in 0..20 {
        let (api, web) = if round % 2 == 0 { (100, 150) } else { (20, 180) };
        crowd.load("api", api);
        crowd.load("web", web);
        for _ in 0..24 {
            let before = list(&crowd).len();
            crowd.step();
            taken += list(&crowd).len().saturating_sub(before);
            assert!(list(&crowd).iter().all(|(victim, ..)| *victim == "web"));
            assert!(1 <= crowd.ready("web") && 1 <= crowd.ready("api"));
        }
    }
    // One for each time that it needed one, at most.
    assert!((1..=10).contains(&taken), "{taken}");
}

#[test]
fn a_minimum_that_rises_takes_what_it_needs_of_the_lower_one() {
    let mut crowd = full_host();
    let bounds = Bounds::new(2, 4).unwrap();
    crowd.member("api").service.timetable = Timetable::always(bounds);
    crowd.run(20);
    assert_eq!((crowd.ready("api"), crowd.ready("web")), (2, 2));
    // A service that sleeps has nothing to give up, and needs nothing.
    crowd.add("cron", 10, (0, 1), 100);
    crowd.run(20);
    assert_eq!((crowd.ready("cron"), list(&crowd)), (0, vec![("web", 2, "api")]));
}

#[test]
fn several_small_ones_make_room_for_a_large_one_and_all_come_back() {
    let mut crowd = Crowd::new(720);
    crowd.add("api", 80, (1, 2), 300);
    crowd.add("web", 20, (1, 4), 100);
    crowd.load("web", 300);
    crowd.load("api", 50);
    crowd.run(60);
    assert_eq!((crowd.ready("api"), crowd.ready("web")), (1, 4));
    crowd.load("api", 100);
    crowd.run(60);
    assert_eq!((crowd.ready("api"), crowd.ready("web")), (2, 1));
    let steps: BTreeMap<u32, PreemptionStep> =
        crowd.kept.preemptions.list.iter().map(|one| (one.cap, one.step)).collect();
    let used = PreemptionStep::Used;
    assert_eq!(steps, [(1, used), (2, used), (3, used)].into());
    crowd.load("api", 20);
    crowd.run(60);
    assert_eq!((crowd.ready("api"), crowd.ready("web")), (1, 4));
    assert_eq!(list(&crowd), []);
}

#[test]
fn room_that_was_made_for_one_is_not_taken_by_a_smaller_one() {
    // Of the same priority and first by name: both wait for room.
    let mut crowd = full_host();
    crowd.add("aaa", 80, (1, 2), 40);
    crowd.load("aaa", 50);
    crowd.run(12);
    assert_eq!((crowd.ready("aaa"), crowd.free()), (1, 10));
    crowd.load("api", 100);
    crowd.run(3);
    assert_eq!(list(&crowd), [("web", 2, "api")]);
    crowd.load("aaa", 100);
    for _ in 0..12 {
        crowd.step();
        assert!(crowd.desired("aaa") == 1 || crowd.ready("api") == 2);
    }
    crowd.run(20);
    assert_eq!(crowd.ready("api"), 2);
    assert_eq!((crowd.ready("aaa"), crowd.ready("web")), (2, 1));
}

#[test]
fn who_gave_a_replica_up_takes_none_from_another_for_it() {
    let mut crowd = Crowd::new(620);
    crowd.add("api", 80, (1, 3), 100);
    crowd.add("web", 50, (1, 3), 100);
    crowd.add("cron", 10, (1, 2), 100);
    crowd.load("web", 200);
    crowd.load("api", 50);
    crowd.load("cron", 100);
    crowd.run(60);
    assert_eq!((crowd.ready("api"), crowd.ready("web"), crowd.ready("cron")), (1, 3, 2));
    // Two replicas: one of each, the lowest first.
    crowd.load("api", 200);
    crowd.run(60);
    assert_eq!(list(&crowd), [("cron", 1, "api"), ("web", 2, "api")]);
    // `web` is above its band, and `cron` at its minimum.
    crowd.load("web", 300);
    crowd.member("cron").service.timetable = Timetable::always(Bounds::new(1, 1).unwrap());
    crowd.run(60);
    assert_eq!(list(&crowd), [("cron", 1, "api"), ("web", 2, "api")]);
}
