//! How a new digest behind the tag goes through the replicas, and back.

use crate::decide::commands::apply;
use crate::decide::tests::rollout::{Story, always, settled, with_spec};
use crate::model::command::Order;
use crate::model::image::{ImageAnswer, ImageUpdates, RegistryObservation};
use crate::model::schedule::{TimeOfDay, Weekdays, Window};
use crate::model::service::Service;
use crate::model::time::Wall;
use crate::model::zone::Zone;

/// The registry has digest `n`; on this host are 1 and, if it was pulled, `n`.
fn has(story: &mut Story, n: u32, is_pulled: bool) {
    let id = |n: u32| format!("id-{n}");
    let digest = |n: u32| format!("sha256:{n}");
    let digests = [(id(1), vec![digest(1)])].into();
    let answer = ImageAnswer {
        digest: digest(n),
        id: is_pulled.then(|| id(n)),
        tagged: Some(id(1)),
        digests,
    };
    story.snapshot.registry = RegistryObservation { answer: Some(answer), error: None };
}

/// Three replicas of digest 1, with the watch on.
fn watched() -> Story {
    let mut story = with_spec(settled());
    story.snapshot.replicas.iter_mut().for_each(|r| r.image.id = "id-1".to_owned());
    let check = std::time::Duration::from_secs(600);
    story.config(|service| {
        service.image_updates = Some(ImageUpdates { check, hours: None });
    });
    story
}

fn images(story: &Story) -> Vec<&str> {
    story.snapshot.replicas.iter().map(|r| r.image.id.as_str()).collect()
}

fn pin(story: &Story) -> Option<&str> {
    story.memory.rollout.images.pin.as_ref().map(|pin| pin.digest.as_str())
}

fn wanted(story: &Story) -> Option<&str> {
    story.memory.rollout.images.wanted.as_deref()
}

/// Digest 2 never gets ready.
fn all_but_two(service: &Service) -> bool {
    service.container.pin.as_ref().is_none_or(|pin| pin.digest != "sha256:2")
}

const UPDATED: &str = "ImageUpdated { image: \"web:1\", from: \"sha256:1\", to: \"sha256:2\" }";

#[test]
fn switching_it_on_or_off_rolls_nothing() {
    let mut story = watched();
    story.live(60, always);
    assert_eq!(pin(&story), None, "the registry has not answered");
    has(&mut story, 1, true);
    story.live(60, always);
    assert_eq!((pin(&story), wanted(&story)), (Some("sha256:1"), None));
    story.config(|service| service.image_updates = None);
    story.live(60, always);
    story.told(&[]);
    assert_eq!(pin(&story), None);
    assert_eq!(images(&story), ["id-1"; 3]);
}

#[test]
fn a_new_digest_is_pulled_first_and_then_goes_through_all() {
    let mut story = watched();
    has(&mut story, 2, false);
    story.live(60, always);
    story.told(&[]);
    assert_eq!((pin(&story), wanted(&story)), (Some("sha256:1"), Some("sha256:2")));
    has(&mut story, 2, true);
    story.live(60, always);
    story.told(&["RolloutStarted { old: 3 }", "RolloutFinished", UPDATED]);
    assert_eq!((images(&story), wanted(&story)), (vec!["id-2"; 3], None));
    let before = story.memory.clone();
    story.live(60, always);
    assert_eq!(story.memory, before, "and then nothing is done");
}

#[test]
fn a_digest_that_makes_no_progress_is_rolled_back_and_not_tried_again() {
    let mut story = watched();
    has(&mut story, 2, true);
    story.live(599, all_but_two);
    story.told(&["RolloutStarted"]);
    story.live(60, all_but_two);
    let back = "RolledBack { idle: 600s, new: 0, old: 3, to: Some(\"web:1@sha256:1\") }";
    let finished = "RolloutFinished { took: ";
    story.told(&[back, "ImageRejected { digest: \"sha256:2\" }", finished]);
    assert_eq!((images(&story), pin(&story)), (vec!["id-1"; 3], Some("sha256:1")));
    story.live(2000, all_but_two);
    story.told(&[]);
    // The third one is taken.
    has(&mut story, 3, true);
    story.live(60, all_but_two);
    let updated = "ImageUpdated { image: \"web:1\", from: \"sha256:1\", to: \"sha256:3\" }";
    story.told(&["RolloutStarted", "RolloutFinished", updated]);
    assert_eq!(images(&story), ["id-3"; 3]);
}

#[test]
fn a_restart_and_a_change_of_the_config_lift_a_rejection() {
    let rejected = || {
        let mut story = watched();
        has(&mut story, 2, true);
        story.live(700, all_but_two);
        story.told(&["RolloutStarted", "RolledBack", "ImageRejected", "RolloutFinished"]);
        story
    };
    let mut story = rejected();
    let times = (story.snapshot.now, Wall(0));
    let order = apply(&story.snapshot.service, &story.memory, times, &Order::Restart);
    story.memory = order.unwrap().memory;
    story.live(60, always);
    assert_eq!(images(&story), ["id-2"; 3]);
    let mut story = rejected();
    story.config(|service| service.container.command = vec!["serve".to_owned()]);
    story.live(60, always);
    assert_eq!(images(&story), ["id-2"; 3]);
}

#[test]
fn an_update_begins_within_its_hours_only() {
    for (start, end, taken) in [(1, 60, false), (0, 60, true), (60, 24 * 60, false)] {
        let mut story = watched();
        let minutes = |m| TimeOfDay::from_minutes(m).unwrap();
        let window = Window {
            days: Weekdays::ALL,
            start: minutes(start),
            end: minutes(end),
            zone: Zone::UTC,
            holidays: Default::default(),
        };
        story.config(|service| {
            service.image_updates.as_mut().unwrap().hours = Some(window);
        });
        has(&mut story, 2, false);
        story.live(5, always);
        assert_eq!(wanted(&story).is_some(), taken, "{start} to {end}");
        has(&mut story, 2, true);
        story.live(60, always);
        assert_eq!(images(&story).contains(&"id-2"), taken, "{start} to {end}");
    }
}

#[test]
fn a_second_digest_waits_for_the_first_and_replaces_one_that_is_stalled() {
    let mut story = watched();
    has(&mut story, 2, true);
    story.live(10, all_but_two);
    has(&mut story, 3, true);
    story.live(400, all_but_two);
    story.told(&["RolloutStarted"]);
    assert_eq!(pin(&story), Some("sha256:2"));
    let mut story = watched();
    story.config(|service| service.rollout.rollback = false);
    has(&mut story, 2, true);
    story.live(700, all_but_two);
    story.told(&["RolloutStarted", "RolloutStalled"]);
    has(&mut story, 3, true);
    story.live(60, all_but_two);
    assert_eq!(images(&story), ["id-3"; 3]);
}

#[test]
fn replicas_of_several_images_go_straight_to_the_registrys() {
    let mut story = watched();
    story.snapshot.replicas[2].image.id = "id-2".to_owned();
    has(&mut story, 2, true);
    story.live(60, always);
    story.told(&["RolloutStarted { old: 2 }", "RolloutFinished", UPDATED]);
    assert_eq!(images(&story), ["id-2"; 3]);
}

#[test]
fn one_that_sleeps_wakes_with_the_new_image_and_goes_back_if_it_fails() {
    for (works, runs) in [(always as fn(&Service) -> bool, "id-2"), (all_but_two, "id-1")] {
        let mut story = watched();
        has(&mut story, 1, true);
        story.live(5, always);
        let bounds = story.snapshot.service.timetable.bounds;
        let none = crate::model::bounds::Bounds::exactly(0);
        story.config(|service| service.timetable.bounds = none);
        story.snapshot.due = true;
        story.snapshot.replicas.clear();
        story.live(5, always);
        has(&mut story, 2, true);
        story.live(2000, always);
        story.config(|service| service.timetable.bounds = bounds);
        story.live(700, works);
        assert!(images(&story).iter().all(|id| *id == runs), "{:?}", images(&story));
        assert!(!images(&story).is_empty());
    }
}

#[test]
fn a_digest_that_comes_while_no_replica_runs_is_reported_and_rolled_back_like_any_other() {
    let gone = || {
        let mut story = watched();
        has(&mut story, 1, true);
        story.live(5, always);
        // The host was rebooted.
        story.snapshot.replicas.clear();
        has(&mut story, 2, true);
        story
    };
    let mut story = gone();
    story.live(60, always);
    story.told(&["RolloutFinished", UPDATED]);
    assert_eq!(images(&story), ["id-2"; 3]);
    let mut story = gone();
    story.live(700, all_but_two);
    let back = "RolledBack { idle: 600s, new: 0, old: 0, to: Some(\"web:1@sha256:1\") }";
    story.told(&[back, "ImageRejected { digest: \"sha256:2\" }", "RolloutFinished"]);
    assert_eq!(images(&story), ["id-1"; 3]);
}
