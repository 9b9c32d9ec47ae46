//! How a change of spec, and a restart, go through the replicas. The notation is in `mod.rs`.

use std::sync::Arc;
use std::time::Duration;

use crate::decide::commands::apply;
use crate::decide::plan_service;
use crate::decide::tests::{NOW, S, shown, sketch, table};
use crate::model::action::Action;
use crate::model::command::{Order, Refusal};
use crate::model::memory::{Failures, ServiceMemory};
use crate::model::plan::{Plan, ServiceTransition};
use crate::model::replica::{ContainerState, Health};
use crate::model::rollout::{Progress, Revision};
use crate::model::service::{Origin, Service};
use crate::model::snapshot::Snapshot;
use crate::model::time::Wall;

#[test]
fn a_new_one_is_ready_before_an_old_one_goes() {
    table(
        "
        OO     50          1..9  2                  | 2 [roll 2, start 3] inside(50%)
        OOU    50          1..9  2                  | 2 [roll 2] inside(50%)
        OO     50          1..9  2  starting=3      | 2 [roll 2] inside(50%)
        OOR    50          1..9  2           | 2 [drain 2, roll 2] inside(50%) draining(1)
        OER    50          1..9  2                  | 2 [roll 1] inside(50%) draining(1)
        OR     50          1..9  2                  | 2 [roll 1, start 3] inside(50%)
        ORR    50          1..9  2           | 2 [drain 1, roll 1] inside(50%) draining(1)
        OOO    50          1..9  3  surge=2/0       | 3 [roll 3, start 4, start 5] inside(50%)
        OOORR 50 1..9 3 surge=2/0 | 3 [drain 3, drain 2, roll 3] inside(50%) draining(2)
    ",
    );
}

#[test]
fn as_many_may_be_missing_as_the_config_says() {
    table(
        "
        OO     50          1..9  2  surge=0/1       | 2 [drain 2, roll 2] inside(50%) draining(1)
        OE     50          1..9  2  surge=0/1       | 2 [roll 1] inside(50%) draining(1)
        OU     50          1..9  2  surge=0/1       | 2 [roll 1] inside(50%)
        OR     50          1..9  2  surge=0/1       | 2 [drain 1, roll 1] inside(50%) draining(1)
        OOO 50 1..9 3 surge=1/1 | 3 [drain 3, roll 3, start 4] inside(50%) draining(1)
        OO 50 1..9 2 surge=0/2 | 2 [drain 2, drain 1, roll 2] inside(50%) draining(2)
    ",
    );
}

#[test]
fn old_ones_that_never_served_go_at_once_and_are_not_started() {
    table(
        "
        RQ     50          1..9  2                  | 2 [drain 2, roll 1, start 3] inside(50%)
        OQ     50          1..9  2                  | 2 [drain 2, roll 2, start 3] inside(50%)
        OQU    50          1..9  2                  | 2 [drain 2, roll 2] inside(50%)
    ",
    );
    let (mut snapshot, memory) = sketch("RC 50 1..9 2");
    snapshot.replicas[1].spec = Some("other".to_owned());
    assert_eq!(
        shown(&plan_service(&snapshot, &memory).0),
        "2 [drain 2, roll 1, start 3] inside(50%)"
    );
    // Nobody asked it yet, as after a start of the daemon: it may well serve.
    let (mut snapshot, memory) = sketch("OQ 50 1..9 2");
    snapshot.replicas[1].health = Health::Unknown;
    assert_eq!(shown(&plan_service(&snapshot, &memory).0), "2 [roll 2, start 3] inside(50%)");
}

#[test]
fn scaling_goes_on_meanwhile() {
    table(
        "
        OOR    90          1..9  2  | 4 [roll 2, start 4, start 5] above(90%)
        OOO    50          1..2  3           | 2 [drain 3, roll 3] max(2)
        OORU   50          1..1  2           | 1 [drain 2, drain 1, drain 4, roll 2] max(1)
        OE     50          1..9  2           | 2 [roll 1, start 3] inside(50%) draining(1)
        OO     50          0..0  2           | 0 [drain 2, drain 1] max(0)
    ",
    );
}

#[test]
fn without_memory_for_one_more_that_is_said() {
    table(
        "
        OO     50          1..9  2  room=9/10            | 2 [roll 2] inside(50%) no_room(9/10)
        OO     50          1..9  2  room=10/10           | 2 [roll 2, start 3] inside(50%)
        OO 50 1..9 2 room=9/10 surge=0/1 | 2 [drain 2, roll 2] inside(50%) draining(1)
        OO     50          1..9  2  failures=4/1000      | 2 [roll 2] inside(50%) crash(4,39000)
    ",
    );
}

#[test]
fn a_restart_is_of_the_replicas_there_were_when_it_was_ordered() {
    table(
        "
        RR     50          1..9  2  restarted=2     | 2 [roll 2, start 3] inside(50%)
        RRR    50          1..9  2  restarted=2   | 2 [drain 2, roll 2] inside(50%) draining(1)
        RRR    50          1..9  2  restarted=1   | 2 [drain 1, roll 1] inside(50%) draining(1)
        RR     50          1..9  2  restarted=0     | 2 [] inside(50%)
    ",
    );
    let (snapshot, memory) = sketch("RR 50 1..9 2 given=2 between");
    let order =
        |memory: &ServiceMemory| apply(&snapshot.service, memory, (NOW, Wall(0)), &Order::Restart);
    let taken = order(&memory).unwrap();
    assert_eq!(taken.words, "restart, one after the other: 2");
    assert_eq!(shown(&plan_service(&snapshot, &taken.memory).0), "2 [start 3] effective");
    let unknown = order(&ServiceMemory::default());
    assert!(matches!(unknown, Err(Refusal::Conflict(_))), "{unknown:?}");
}

/// A world in which replicas are made, get ready and go as the plan says, second by second.
pub(super) struct Story {
    pub(super) snapshot: Snapshot,
    pub(super) memory: ServiceMemory,
    told: Vec<String>,
}

impl Story {
    fn begin(input: &str) -> Story {
        let (mut snapshot, memory) = sketch(input);
        snapshot.due = false;
        Story { snapshot, memory, told: Vec::new() }
    }

    pub(super) fn config(&mut self, change: impl FnOnce(&mut Service)) {
        change(Arc::make_mut(&mut self.snapshot.service));
    }

    fn image(&mut self, image: &str) {
        self.config(|service| service.container.origin = Origin::Image(image.to_owned()));
    }

    /// `works` says of a service whether replicas that are made from it get ready.
    pub(super) fn live(&mut self, seconds: u32, works: impl Fn(&Service) -> bool) {
        for _ in 0..seconds {
            self.snapshot.now = self.snapshot.now.plus(S);
            let (plan, next) = plan_service(&self.snapshot, &self.memory);
            self.memory = next;
            self.told.extend(plan.service_transitions.iter().map(|m| format!("{m:?}")));
            self.happen(&plan, &works);
        }
    }

    fn happen(&mut self, plan: &Plan, works: &impl Fn(&Service) -> bool) {
        let replicas = &mut self.snapshot.replicas;
        for replica in replicas.iter_mut() {
            let name = self.snapshot.service.replica_name(replica.number);
            let server = plan.servers.iter().find(|server| server.name == name);
            replica.server = server.map(|server| crate::model::replica::ServerSeen {
                address: server.address,
                admin_state: server.admin_state(),
                is_checked: true,
                sessions: 0,
                check: crate::model::replica::ServerCheck::default(),
            });
        }
        for action in &plan.actions {
            match action {
                Action::Start { service, number, .. } => {
                    let (mut made, _) = crate::decide::tests::replica('P', *number, 50_00);
                    made.spec = Some(service.spec_hash());
                    let pin = service.container.pin.as_ref();
                    made.image.digest = pin.map(|pin| pin.digest.clone());
                    made.image.id = pin.map_or("id-1", |pin| &pin.id).to_owned();
                    if !works(service) {
                        made.health = Health::Starting;
                    }
                    replicas.push(made);
                }
                Action::Remove(removal) => replicas.retain(|r| r.id != removal.id),
                Action::Resize { .. }
                | Action::RunHook(_)
                | Action::Reload { .. }
                | Action::UpdateServers { .. }
                | Action::SetServerStates { .. }
                | Action::EndProxies { .. } => {
                    unreachable!("no service does")
                }
            }
        }
        let running = replicas.iter().filter(|r| r.state == ContainerState::Running).count();
        let most = plan.decision.desired + self.snapshot.service.rollout.max_surge;
        assert!(running <= usize::try_from(most).unwrap(), "{replicas:?}");
    }

    fn specs(&self) -> Vec<&str> {
        self.snapshot.replicas.iter().filter_map(|r| r.spec.as_deref()).collect()
    }

    #[track_caller]
    pub(super) fn told(&mut self, want: &[&str]) {
        let told = std::mem::take(&mut self.told);
        let is_right = told.len() == want.len()
            && told.iter().zip(want).all(|(told, want)| told.starts_with(want));
        assert!(is_right, "{told:?} is not {want:?}");
    }
}

pub(super) fn always(_: &Service) -> bool {
    true
}

/// Three that are made from what the config says, and are known to be good.
pub(super) fn settled() -> Story {
    let mut story = Story::begin("RRR 50 1..9 3");
    story.live(3, always);
    story.told(&[]);
    assert!(story.memory.rollout.good.is_some());
    story
}

#[test]
fn a_change_goes_through_all_and_what_it_was_is_remembered() {
    let mut story = settled();
    let old = story.snapshot.service.spec_hash();
    story.snapshot.replicas.iter_mut().for_each(|r| r.spec = Some(old.clone()));
    story.image("web:2");
    story.live(60, always);
    story.told(&["RolloutStarted { old: 3 }", "RolloutFinished"]);
    let new = story.snapshot.service.spec_hash();
    assert_eq!(story.specs(), [&new, &new, &new]);
    let good = story.memory.rollout.good.as_deref();
    assert_eq!(good, Some(&Revision::of(&story.snapshot.service)));
    let before = story.memory.clone();
    story.live(60, always);
    assert_eq!(story.memory, before, "and then nothing is done");
}

pub(super) fn with_spec(mut story: Story) -> Story {
    let spec = story.snapshot.service.spec_hash();
    story.snapshot.replicas.iter_mut().for_each(|r| r.spec = Some(spec.clone()));
    story
}

fn is_first(service: &Service) -> bool {
    service.container.origin == Origin::Image("web:1".to_owned())
}

#[test]
fn what_makes_no_progress_is_taken_back_and_not_tried_again() {
    let mut story = with_spec(settled());
    let good = story.snapshot.service.spec_hash();
    story.image("web:2");
    story.live(599, is_first);
    story.told(&["RolloutStarted"]);
    story.memory.failures = Failures { count: 9, last: story.snapshot.now, ..Failures::default() };
    story.live(60, is_first);
    let told = "RolledBack { idle: 600s, new: 0, old: 3, to: Some(\"web:1\") }";
    story.told(&[told, "RolloutFinished"]);
    assert_eq!(story.specs(), [&good, &good, &good]);
    assert_eq!(story.memory.failures, Failures::default());
    story.live(2000, is_first);
    story.told(&[]);
    // Load asks for more: they are made from what worked.
    story.config(|service| {
        service.timetable.bounds = crate::model::bounds::Bounds::new(4, 4).unwrap();
    });
    story.live(10, is_first);
    story.told(&[]);
    assert_eq!(story.specs(), [&good, &good, &good, &good]);
    story.image("web:3");
    story.live(100, always);
    story.told(&["RolloutStarted", "RolloutFinished"]);
    assert_eq!(story.memory.rollout.rejected, None);
}

#[test]
fn an_operators_restart_tries_again_what_was_taken_back() {
    let mut story = with_spec(settled());
    story.image("web:2");
    story.live(660, is_first);
    story.told(&["RolloutStarted", "RolledBack", "RolloutFinished"]);
    let now = (story.snapshot.now, Wall(0));
    let taken = apply(&story.snapshot.service, &story.memory, now, &Order::Restart).unwrap();
    story.memory = taken.memory;
    story.live(100, always);
    story.told(&["RolloutFinished"]);
    let new = story.snapshot.service.spec_hash();
    assert_eq!(story.specs(), [&new, &new, &new]);
}

#[test]
fn a_restart_without_progress_leaves_the_others_as_they_are() {
    let mut story = with_spec(settled());
    let now = (story.snapshot.now, Wall(0));
    let taken = apply(&story.snapshot.service, &story.memory, now, &Order::Restart).unwrap();
    story.memory = taken.memory;
    story.live(700, |_| false);
    story.told(&["RolledBack { idle: 600s, new: 0, old: 3, to: None }"]);
    let numbers: Vec<u32> = story.snapshot.replicas.iter().map(|r| r.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn where_there_is_no_way_back_it_goes_on_trying_and_says_so_once() {
    for (rollback, knows_good) in [(false, true), (true, false)] {
        let mut story = with_spec(settled());
        story.image("web:2");
        story.config(|service| service.rollout.rollback = rollback);
        if !knows_good {
            story.memory.rollout.good = None;
        }
        story.live(2000, is_first);
        story.told(&["RolloutStarted", "RolloutStalled { idle: 600s, new: 0, old: 3 }"]);
        assert_eq!(story.snapshot.replicas.len(), 4, "the new one goes on trying");
        for replica in &mut story.snapshot.replicas {
            replica.health = Health::Healthy;
        }
        story.live(60, always);
        story.told(&["RolloutFinished"]);
    }
}

#[test]
fn progress_is_another_new_one_ready_or_another_old_one_gone() {
    let mut story = with_spec(settled());
    story.image("web:2");
    let mut broken_after = |seconds: u32, works: bool| story.live(seconds, |_| works);
    // One is replaced, then nothing works for 599 s, then another one does.
    broken_after(3, true);
    broken_after(590, false);
    for replica in &mut story.snapshot.replicas {
        replica.health = Health::Healthy;
    }
    story.live(300, |_| false);
    story.told(&["RolloutStarted"]);
    story.live(400, |_| false);
    story.told(&["RolledBack"]);
}

#[test]
fn time_that_nobody_watched_does_not_count() {
    for (gap, is_taken_back) in [(119, true), (121, false), (7200, false)] {
        let (snapshot, mut memory) = sketch("OOU 50 1..9 2 between");
        let spec = snapshot.service.spec_hash();
        let good = Revision { port: 1, ..Revision::of(&snapshot.service) };
        memory.rollout.good = Some(Arc::new(good));
        let watched = NOW.0 - gap * 1000;
        let moved = crate::model::time::Moment(watched - (601_000 - gap.min(600) * 1000));
        let begun = Progress::begun(spec, moved);
        memory.rollout.under_way =
            Some(Progress { watched: crate::model::time::Moment(watched), fewest_old: 2, ..begun });
        let plan = plan_service(&snapshot, &memory).0;
        let is_back = plan
            .service_transitions
            .iter()
            .any(|m| matches!(m, ServiceTransition::RolledBack { .. }));
        assert_eq!(is_back, is_taken_back, "{gap}");
    }
}

#[test]
fn a_rollout_waits_for_no_look_and_survives_a_loss_of_what_is_remembered() {
    let mut story = with_spec(settled());
    story.image("web:2");
    let mut told = 0;
    for _ in 0..60 {
        story.live(1, always);
        told += story.told.drain(..).count();
        // Another daemon, without the state file.
        let last_number = story.memory.last_number;
        story.memory = ServiceMemory {
            last_number,
            desired: story.memory.desired,
            drains: story.memory.drains.clone(),
            ..ServiceMemory::default()
        };
    }
    let new = story.snapshot.service.spec_hash();
    assert_eq!(story.specs(), [&new, &new, &new]);
    assert!(0 < told);
    assert_eq!(story.snapshot.service.rollout.progress_deadline, Duration::from_secs(600));
}
