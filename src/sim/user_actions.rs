//! What people do to containers by hand, in the made-up world: thousands of steps at random, of
//! plimsoll's own replicas and of docker compose's. Nothing of theirs may be lost, and once they
//! leave it alone all comes to rest.

use std::time::Duration;

use crate::model::bounds::Bounds;
use crate::model::owner::Owner;
use crate::model::replica::{ContainerId, ContainerState, Ending};
use crate::model::schedule::Timetable;
use crate::model::service::{Origin, Service};
use crate::model::stranger::Stranger;
use crate::sim::fault_injection::{Fault, Rate, web};
use crate::sim::random::Random;
use crate::sim::run::{Run, ScriptEvent};
use crate::sim::world::{START, WorldState};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UserAction {
    Stop,
    Start,
    Restart,
    Kill,
    Crash,
    Pause,
    Unpause,
    Rename,
    Remove,
    Disconnect,
    Connect,
    /// `docker commit` of it, and `docker run` of the copy.
    Copy,
    /// `docker compose up`: everything of compose's runs again.
    Up,
    /// The host goes down and comes up again.
    Reboot,
}

const DEEDS: [UserAction; 14] = [
    UserAction::Stop,
    UserAction::Start,
    UserAction::Restart,
    UserAction::Kill,
    UserAction::Crash,
    UserAction::Pause,
    UserAction::Unpause,
    UserAction::Rename,
    UserAction::Remove,
    UserAction::Disconnect,
    UserAction::Connect,
    UserAction::Copy,
    UserAction::Up,
    UserAction::Reboot,
];

/// Time from the stop to the start of a `docker restart`.
const RESTART_TAKES: Duration = Duration::from_millis(300);

impl WorldState {
    /// To a replica that the deed can be done to, if there is one.
    pub(crate) fn do_by_hand(&mut self, deed: UserAction) {
        match deed {
            UserAction::Up => return self.up(),
            UserAction::Reboot => {
                let ids: Vec<ContainerId> = self.containers.iter().map(|u| u.id.clone()).collect();
                return ids.iter().for_each(|id| self.end(id, Ending::Shutdown));
            }
            _ => (),
        }
        let fits = |state: ContainerState| match deed {
            UserAction::Start => state == ContainerState::Exited,
            UserAction::Unpause => state == ContainerState::Paused,
            UserAction::Pause
            | UserAction::Restart
            | UserAction::Crash
            | UserAction::Disconnect
            | UserAction::Connect => state == ContainerState::Running,
            UserAction::Stop | UserAction::Kill => {
                matches!(state, ContainerState::Running | ContainerState::Paused)
            }
            UserAction::Rename
            | UserAction::Remove
            | UserAction::Copy
            | UserAction::Up
            | UserAction::Reboot => state != ContainerState::Removing,
        };
        let units = self.containers.iter().filter(|u| fits(u.state));
        let ids: Vec<ContainerId> = units.map(|u| u.id.clone()).collect();
        let Some(limit) = u64::try_from(ids.len()).ok().filter(|n| 0 < *n) else { return };
        let id = &ids[usize::try_from(self.scenario.chance.between(0, limit, 0)).unwrap()];
        self.one(deed, id);
    }

    fn one(&mut self, deed: UserAction, id: &ContainerId) {
        let now = self.now;
        match deed {
            UserAction::Stop => self.end(id, Ending::Stopped),
            UserAction::Kill => self.end(id, Ending::Killed),
            UserAction::Crash => self.end(id, Ending::Crashed),
            UserAction::Restart => self.end(id, Ending::Stopped),
            UserAction::Start => self.launch_unit(id),
            UserAction::Remove => {
                self.end(id, Ending::Killed);
                self.containers.retain(|u| u.id != *id);
                return;
            }
            _ => (),
        }
        let strangers = self.strangers.len();
        let Some(unit) = self.containers.iter_mut().find(|u| u.id == *id) else { return };
        match deed {
            UserAction::Restart => unit.restart_at = Some(now.plus(RESTART_TAKES)),
            UserAction::Pause => unit.state = ContainerState::Paused,
            UserAction::Unpause => unit.state = ContainerState::Running,
            UserAction::Rename => unit.called = format!("renamed-{}", now.0),
            UserAction::Copy => {
                let stranger = Stranger {
                    id: ContainerId(format!("{strangers:f>64x}")),
                    name: "copy".to_owned(),
                    service: "web".to_owned(),
                    why: "its labels are those of its image".to_owned(),
                };
                self.strangers.push(stranger);
            }
            UserAction::Disconnect => {
                unit.is_cut_off = true;
                let address = unit.address.take();
                self.sessions.retain(|s| Some(s.address) != address);
            }
            UserAction::Connect if unit.is_cut_off => {
                unit.is_cut_off = false;
                self.give_address(id);
            }
            _ => (),
        }
    }

    /// As compose starts whatever it does not find running.
    fn up(&mut self) {
        let composed = self.containers.iter().filter(|u| u.owner.is_composed());
        let ids: Vec<_> = composed.map(|u| (u.id.clone(), u.state, u.is_cut_off)).collect();
        for (id, state, is_cut_off) in ids {
            match state {
                ContainerState::Paused => self.one(UserAction::Unpause, &id),
                ContainerState::Exited | ContainerState::Created => self.launch_unit(&id),
                ContainerState::Running | ContainerState::Restarting | ContainerState::Removing => {
                }
            }
            if is_cut_off {
                self.one(UserAction::Connect, &id);
            }
        }
        let is_composed = matches!(self.scenario.service.container.origin, Origin::Compose { .. });
        if is_composed && !self.containers.iter().any(|u| u.owner == Owner::Compose) {
            self.compose_makes();
        }
    }

    /// One more container of compose's, which runs.
    fn compose_makes(&mut self) {
        let taken = |n: &u32| self.containers.iter().any(|u| u.number == *n);
        let number = (1..).find(|n| !taken(n)).unwrap_or_default();
        let service = self.scenario.service.clone();
        self.make(&service, number);
        let unit = self.containers.last_mut().unwrap();
        unit.owner = Owner::Compose;
        let id = unit.id.clone();
        self.launch_unit(&id);
    }
}

fn composed() -> Service {
    let mut service = web();
    let project = "shop".to_owned();
    let of = "web".to_owned();
    service.container.origin = Origin::Compose { project, service: of };
    service
}

const STEPS: u64 = 120;
const ENDS: u64 = 300_000;
/// The longest wait after failures in a row, the start period, a step down for each replica.
const CALM: u64 = ENDS + 600_000;

fn walk(seed: u64, service: Service, others: u64) -> Run {
    let mut random = Random::new(seed);
    let mut script = Vec::new();
    for _ in 0..STEPS {
        let stroke = match random.below(20) {
            0 => ScriptEvent::Fault(Fault::DaemonDies),
            1 => ScriptEvent::Fault(Fault::HaproxyDies),
            2 => ScriptEvent::Fault(Fault::DockerAway(Duration::from_millis(
                random.between(100, 8_000),
            ))),
            3 | 4 => ScriptEvent::Load(random.below(500_00) * 10),
            _ => {
                let deed = usize::try_from(random.below(DEEDS.len() as u64)).unwrap();
                ScriptEvent::Fault(Fault::UserAction(DEEDS[deed]))
            }
        };
        script.push((random.between(20_000, ENDS), stroke));
    }
    script.push((0, ScriptEvent::Load(random.below(500_00) * 10)));
    script.push((ENDS, ScriptEvent::Load(random.below(400_00) * 10)));
    script.push((ENDS + 1, ScriptEvent::Fault(Fault::UserAction(UserAction::Up))));
    script.sort_by_key(|(ms, _)| *ms);
    let min = u32::try_from(random.between(1, 3)).unwrap();
    let timetable = Timetable::always(Bounds::new(min, 6).unwrap());
    let is_composed = matches!(service.container.origin, Origin::Compose { .. });
    let run = Run::ordeal(seed, Service { timetable, ..service }, &script);
    let mut state = run.world.state();
    if is_composed {
        (0..min).for_each(|_| state.compose_makes());
    }
    let rate = Rate { reloads: 40, others };
    let until = crate::model::time::Moment(START.0 + ENDS);
    state.faults.call_fault_rate = Some((until, rate));
    drop(state);
    run
}

const SEEDS: u64 = 10;

#[track_caller]
fn wander(service: &dyn Fn() -> Service) {
    let mut bad = String::new();
    let mut steps = 0;
    for seed in 1..=SEEDS {
        for others in [200, u64::MAX] {
            let mut run = walk(seed, service(), others);
            run.until(CALM);
            let mut wrong = run.world.state().violations.clone();
            wrong.extend(run.unsettled());
            let before = run.effort().0;
            run.until(CALM + 300_000);
            if run.effort().0 != before {
                wrong.push(format!("never still: {before:?} to {:?}", run.effort()));
            }
            if !wrong.is_empty() {
                bad += &format!("\n  seed {seed}, one call in {others} fails: {wrong:?}");
            }
            steps += STEPS;
        }
    }
    assert!(bad.is_empty(), "{steps} steps:{bad}");
}

#[test]
fn whatever_people_do_to_our_replicas_all_comes_to_rest() {
    wander(&web);
}

#[test]
fn whatever_people_do_to_composes_replicas_nothing_of_theirs_is_lost() {
    wander(&composed);
}
