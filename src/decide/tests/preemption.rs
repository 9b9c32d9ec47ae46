//! Who gives a replica up for whom, on a host that is full.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::decide::tests::S;
use crate::decide::tests::crowd::{Crowd, STEP};
use crate::decide::victims::{self, RoomNeed, VictimCandidate};
use crate::model::bounds::Bounds;
use crate::model::owner::Owner;
use crate::model::preemption::{Preemption, PreemptionStep, Shortage};
use crate::model::schedule::Timetable;
use crate::model::service::Platform;

/// `web` takes what it gets and `api` needs more than is left: 4 replicas of 100 MiB have room.
pub(super) fn full_host() -> Crowd {
    let mut crowd = Crowd::new(450);
    crowd.add("api", 80, (1, 4), 100);
    crowd.add("web", 20, (1, 4), 100);
    crowd.load("web", 150);
    crowd.load("api", 50);
    crowd.run(60);
    assert_eq!((crowd.ready("api"), crowd.ready("web")), (1, 3));
    crowd
}

fn reasons(crowd: &Crowd, name: &str) -> Vec<&'static str> {
    crowd.plans[name].decision.because.iter().map(|cause| cause.rule.word()).collect()
}

#[test]
fn a_service_of_higher_priority_gets_a_replica_after_the_lower_one_drained_it() {
    let mut crowd = full_host();
    crowd.load("api", 100);
    let mut seen = Vec::new();
    for _ in 0..30 {
        crowd.step();
        let step = crowd.kept.preemptions.list.first().map(|one| one.step);
        if seen.last() != Some(&step) {
            seen.push(step);
        }
        // Never both: the room of one is the room of the other.
        assert!(crowd.ready("api") + crowd.ready("web") <= 4);
    }
    use PreemptionStep::{Draining, Used};
    assert_eq!(seen, [None, Some(Draining), Some(Used)]);
    assert_eq!((crowd.ready("api"), crowd.ready("web")), (2, 2));
    let one = crowd.kept.preemptions.list[0].clone();
    assert_eq!((one.victim.as_str(), one.cap, one.beneficiary.as_str()), ("web", 2, "api"));
    assert_eq!((one.victim_priority, one.priority, one.had), (20, 80, 1));
    // It would have three by its load.
    crowd.load("web", 180);
    crowd.run(3);
    assert!(reasons(&crowd, "web").contains(&"Preempted"), "{:?}", reasons(&crowd, "web"));
    // What is not needed any more is given back.
    crowd.load("api", 20);
    crowd.run(40);
    assert_eq!((crowd.ready("api"), crowd.ready("web")), (1, 3));
    assert_eq!(crowd.kept.preemptions.list, []);
}

#[test]
fn what_is_taken_is_given_back_when_there_is_room_for_both_for_a_while() {
    let mut crowd = full_host();
    crowd.load("api", 100);
    crowd.run(30);
    assert_eq!((crowd.ready("api"), crowd.ready("web")), (2, 2));
    // A margin of an eighth, and not a MiB less.
    crowd.memory = 400 + 112;
    crowd.run(60);
    assert_eq!(crowd.kept.preemptions.list.len(), 1);
    crowd.memory = 400 + 113;
    let mut waited = Duration::ZERO;
    while !crowd.kept.preemptions.list.is_empty() {
        waited += STEP;
        crowd.step();
        assert!(waited < 300 * S);
    }
    assert!(60 * S <= waited && waited <= 75 * S, "{waited:?}");
    crowd.run(10);
    assert_eq!((crowd.ready("api"), crowd.ready("web")), (2, 3));
    // And it stays there.
    crowd.run(200);
    assert_eq!((crowd.kept.preemptions.list.len(), crowd.ready("web")), (0, 3));
}

#[test]
fn nobody_gives_up_what_it_has_to_keep() {
    type Change = fn(&mut Crowd);
    let cases: [(&str, Change, usize); 16] = [
        ("as it is", |_| (), 2),
        ("equal priority", |c| c.member("web").service.priority = 80, 1),
        ("higher priority", |c| c.member("web").service.priority = 81, 1),
        ("one below", |c| c.member("web").service.priority = 79, 2),
        ("its minimum", |c| bounds(c, "web", 3, 4), 1),
        ("one above its minimum", |c| bounds(c, "web", 2, 4), 2),
        ("an operator holds it", |c| c.hold("web", 3), 1),
        ("an operator holds the other", |c| c.hold("api", 1), 1),
        ("an operator paused it", |c| c.pause("web"), 1),
        ("an operator paused the other", |c| c.pause("api"), 1),
        ("docker compose made its replicas", |c| c.member("web").owner = Owner::Compose, 1),
        ("Swarm runs it", |c| swarm(c, "web"), 1),
        ("its replicas are not measured", |c| c.member("web").uses = 0, 2),
        ("it keeps failing", |c| c.member("api").is_broken = true, 0),
        ("it frees too little", |c| c.member("web").uses = 10, 2),
        ("it needs too much", |c| c.member("api").service.container.memory = Some(900 << 20), 1),
    ];
    // What it does not use is free.
    let has_room = ["it frees too little", "its replicas are not measured"];
    for (what, change, want) in cases {
        let mut crowd = full_host();
        change(&mut crowd);
        crowd.load("api", 100);
        crowd.run(40);
        assert_eq!(crowd.ready("api"), want, "{what}");
        let is_taken = crowd.ready("web") < 3;
        assert_eq!(is_taken, want == 2 && !has_room.contains(&what), "{what}");
    }
}

fn swarm(crowd: &mut Crowd, name: &str) {
    crowd.member(name).service.runs = Platform::Swarm(name.to_owned());
}

fn bounds(crowd: &mut Crowd, name: &str, min: u32, max: u32) {
    let bounds = Bounds::new(min, max).unwrap();
    crowd.member(name).service.timetable = Timetable::always(bounds);
}

#[test]
fn a_request_that_wakes_a_service_on_a_full_host_takes_a_replica() {
    let mut crowd = full_host();
    crowd.add("cron", 90, (0, 1), 100);
    crowd.member("cron").service.band = None;
    crowd.memory = 430;
    crowd.run(6);
    assert_eq!((crowd.desired("cron"), crowd.ready("web")), (0, 3));
    crowd.member("cron").waiting = 1;
    // At any tick, and within what drain, stop and start take.
    crowd.run(12);
    assert_eq!((crowd.ready("cron"), crowd.ready("web")), (1, 2));
    crowd.member("cron").waiting = 0;
    crowd.run(40);
    assert_eq!((crowd.ready("cron"), crowd.ready("web")), (0, 3));
    assert_eq!(crowd.kept.preemptions.list, []);
}

#[test]
fn a_service_that_cannot_start_does_not_eat_the_others() {
    let mut crowd = full_host();
    crowd.add("bad", 90, (1, 4), 100);
    crowd.member("bad").is_broken = true;
    crowd.memory = 430;
    let mut taken = BTreeSet::new();
    for _ in 0..2000 {
        crowd.step();
        let list = &crowd.kept.preemptions.list;
        taken.extend(list.iter().map(|one| (one.victim.clone(), one.cap)));
        assert!(list.len() <= 1, "{list:?}");
        assert!(2 <= crowd.ready("web"));
    }
    assert!(!taken.is_empty());
    // It has given up, and its room goes back.
    assert_eq!((crowd.ready("web"), crowd.kept.preemptions.list.len()), (3, 0));
}

#[test]
fn it_ends_with_the_service_the_priority_or_the_minimum_that_it_stands_on() {
    type Change = fn(&mut Crowd);
    let cases: [(&str, Change); 5] = [
        ("the beneficiary is gone", |c| drop(c.members.remove("api"))),
        ("priorities are equal", |c| c.member("web").service.priority = 80),
        ("the minimum rose", |c| bounds(c, "web", 3, 4)),
        ("an operator decides", |c| c.hold("web", 2)),
        ("the victim is gone", |c| drop(c.members.remove("web"))),
    ];
    for (what, change) in cases {
        let mut crowd = full_host();
        crowd.load("api", 100);
        crowd.run(30);
        assert_eq!(crowd.kept.preemptions.list.len(), 1);
        change(&mut crowd);
        crowd.run(1);
        assert_eq!(crowd.kept.preemptions.list, [], "{what}");
    }
}

#[test]
fn on_a_busy_host_the_processor_goes_to_the_higher_priority() {
    let mut crowd = full_host();
    crowd.memory = 100_000;
    crowd.idle = Some(2);
    crowd.load("api", 100);
    crowd.run(40);
    assert_eq!((crowd.ready("api"), crowd.ready("web")), (2, 2));
    assert_eq!(crowd.kept.preemptions.list[0].shortage, Shortage::Processor);
    // Of 4 processors a replica at 75 % has 18.75 %: not beside the reserve and half as much.
    crowd.idle = Some(26);
    crowd.run(60);
    assert_eq!(crowd.ready("web"), 2);
    crowd.idle = Some(27);
    crowd.run(60);
    assert_eq!((crowd.ready("api"), crowd.ready("web")), (2, 3));
}

fn need(shortage: Shortage, missing: u64) -> RoomNeed<'static> {
    RoomNeed { name: "api", priority: 50, has: 1, shortage, missing, is_waiting: false }
}

#[test]
fn victims_are_of_the_lowest_priority_and_none_is_given_up_in_vain() {
    let candidate = |name, priority, memory, spare| VictimCandidate {
        name,
        priority,
        desired: 9,
        spare,
        memory,
        share: memory,
    };
    let all = [
        candidate("tiny", 10, 10, 9),
        candidate("small", 10, 50, 1),
        candidate("big", 30, 100, 2),
        candidate("huge", 40, 500, 1),
        candidate("equal", 50, 999, 9),
    ];
    for (missing, want) in [
        (1, Some("small")),
        (50, Some("small")),
        // 50 + 10.
        (60, Some("small")),
        // 50 + 10 + 10 + 10.
        (80, Some("small")),
        // With 100 of big's none of the small ones is needed.
        (81, Some("big")),
        (100, Some("big")),
        // 50 + 10 + 100.
        (151, Some("small")),
        (400, Some("huge")),
        // 100 + 100 + 500, and all of 50 + 100 + 100 + 500.
        (700, Some("big")),
        (750, Some("small")),
        (751, None),
    ] {
        let memory = Shortage::Memory { needed: 1000 };
        let need = need(memory, missing);
        let got = victims::choose(&need, all.to_vec(), 4).map(|one| one.name);
        assert_eq!(got, want, "{missing}");
    }
    let processor = Shortage::Processor;
    let need = need(processor, 0);
    for (shares, want) in [
        ([1_99, 2_00, 50_00], Some("b")),
        ([2_00, 50_00, 50_00], Some("b")),
        ([1_99, 1_99, 2_00], Some("c")),
        ([1_99, 1_99, 1_99], None),
    ] {
        let names = [("a", 10), ("b", 10), ("c", 20)];
        let all = names.iter().zip(shares).map(|((name, p), share)| candidate(name, *p, share, 1));
        assert_eq!(victims::choose(&need, all.collect(), 4).map(|one| one.name), want);
    }
}

/// xorshift64*.
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}

/// Of new preemptions, beyond what the steps say.
fn check_new(crowd: &Crowd, before: &[Preemption]) -> usize {
    let list = &crowd.kept.preemptions.list;
    let is_known = |one: &&Preemption| before.iter().any(|b| b.begun == one.begun);
    let new: Vec<&Preemption> = list.iter().filter(|one| !is_known(one)).collect();
    assert!(new.len() <= 1, "{new:?}");
    for one in &new {
        assert!(one.victim_priority < one.priority, "{one:?}");
        let min = crowd.members[&one.victim].service.timetable.bounds.min();
        assert!(min.max(1) <= one.cap, "{one:?}");
        assert_eq!(one.step, PreemptionStep::Draining);
    }
    let caps: BTreeSet<(&str, u32)> = list.iter().map(|one| (&*one.victim, one.cap)).collect();
    assert_eq!(caps.len(), list.len(), "two with one cap: {list:?}");
    let draining = |one: &&Preemption| one.step == PreemptionStep::Draining;
    assert!(list.iter().filter(draining).count() <= 1, "{list:?}");
    let in_flight = list.iter().filter(|one| one.is_in_flight());
    let beneficiaries: BTreeSet<&str> = in_flight.map(|one| one.beneficiary.as_str()).collect();
    assert!(beneficiaries.len() <= 1, "{list:?}");
    new.len()
}

fn check_plans(crowd: &Crowd) {
    for (name, plan) in &crowd.plans {
        let is_preempted = plan.decision.because.iter().any(|c| c.rule.word() == "Preempted");
        let min = plan.decision.effective.bounds.min().max(1);
        assert!(!is_preempted || min <= plan.decision.desired, "{name}: {plan:?}");
    }
    // Also that what is used is there.
    crowd.free();
}

#[test]
fn whatever_the_loads_nobody_falls_below_its_minimum_and_all_comes_back() {
    let mut all_new = 0;
    for seed in 1..=8 {
        let mut random = Draws(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut crowd = Crowd::new(800);
        for name in ["a", "b", "c", "d", "e"] {
            let priority = u8::try_from(random.below(4) * 25).unwrap();
            let min = 1 + u32::try_from(random.below(2)).unwrap();
            let size = 40 + random.below(4) * 40;
            crowd.add(name, priority, (min, min + 5), size);
            // What runs without a limit of memory in force uses less than it may.
            crowd.member(name).uses = size / (1 + random.below(2));
        }
        for _ in 0..12 {
            for name in ["a", "b", "c", "d", "e"] {
                if random.below(2) == 0 {
                    let load = random.below(400);
                    crowd.load(name, load);
                }
            }
            let restart_at = random.below(200);
            let mut late = 0;
            for step in 0..200 {
                let before = crowd.kept.preemptions.list.clone();
                crowd.step();
                let new = check_new(&crowd, &before);
                check_plans(&crowd);
                all_new += new;
                // The load is the same for minutes.
                late += if 150 <= step { new } else { 0 };
                if step == restart_at && step < 100 && random.below(4) == 0 {
                    crowd.restart();
                }
            }
            assert!(late <= 1, "seed {seed}: {late} preemptions under constant load");
        }
        for name in ["a", "b", "c", "d", "e"] {
            crowd.load(name, 0);
        }
        crowd.run(400);
        assert_eq!(crowd.kept.preemptions.list, [], "seed {seed}");
    }
    assert!(30 < all_new, "only {all_new} were seen");
}
