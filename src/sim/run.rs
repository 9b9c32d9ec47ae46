//! Drives the production `tick` through a script, as the daemon's own loop does: a look at load at
//! every interval, turns between when something waits, ended or answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::action::Done;
use crate::model::config::Config;
use crate::model::metric::Milli;
use crate::model::replica::{ContainerId, ContainerState, Health};
use crate::model::time::Moment;
use crate::observe::Answers;
use crate::observe::health::Target;
use crate::observe::health::streak::Streak;
use crate::observe::metric::{Heard, Hearing};
use crate::outside::Proxy;
use crate::sim::crew::MadeUpCrew;
#[cfg(test)]
use crate::sim::ordeal::Fault;
use crate::sim::timeline::Point;
use crate::sim::world::{Nature, START, Unit, World};
use crate::tick::{self, Inputs, Mind, Turn, tick};

const BETWEEN_TURNS: Duration = Duration::from_millis(50);
const RESYNC: Duration = Duration::from_secs(60);
const WATCH: Duration = Duration::from_secs(1);
const EAGER: Duration = Duration::from_millis(200);

/// What comes from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stroke {
    /// From now on, in thousandths of the metric's unit.
    Load(u64),
    #[cfg(test)]
    Fault(Fault),
}

/// A replica that is asked whether it can serve.
pub(crate) struct Asked {
    target: Target,
    streak: Streak,
    since: Moment,
    /// `None`: never again.
    next: Option<Moment>,
}

impl Asked {
    fn new(target: Target, now: Moment) -> Asked {
        let streak = Streak::new(target.is_served);
        Asked { target, streak, since: now, next: Some(now) }
    }
}

pub(crate) struct Run {
    pub(crate) world: Arc<World>,
    pub(crate) config: Config,
    /// The next one is the last.
    script: Vec<(Moment, Stroke)>,
    pub(crate) mind: Mind,
    pub(crate) crew: MadeUpCrew,
    pub(crate) probed: Answers,
    /// What remote sources say.
    pub(crate) heard: Heard,
    pub(crate) asked: BTreeMap<ContainerId, Asked>,
    /// Replicas that serve are asked again and again: they may fall ill.
    pub(crate) is_watching: bool,
    pub(crate) done: Vec<Done>,
    pub(crate) next_due: Moment,
    pub(crate) next_turn: Moment,
    pub(crate) last_turn: Moment,
    pub(crate) proxy_was_alive: bool,
    /// What was decided last.
    desired: u32,
    reason: &'static str,
    /// From `START` on: each look, and each change between two.
    pub(crate) points: Vec<Point>,
}

impl Run {
    /// The config has the one service of the world. The script is in the order of its times.
    pub(crate) fn new(
        nature: Nature,
        config: Config,
        begin: Moment,
        mut script: Vec<(Moment, Stroke)>,
    ) -> Run {
        script.reverse();
        let world = Arc::new(World::new(nature, begin));
        Run {
            crew: MadeUpCrew::new(world.clone()),
            world,
            config,
            script,
            mind: Mind::default(),
            probed: BTreeMap::new(),
            heard: BTreeMap::new(),
            asked: BTreeMap::new(),
            is_watching: false,
            done: Vec::new(),
            next_due: begin,
            next_turn: begin,
            last_turn: Moment::default(),
            proxy_was_alive: false,
            desired: 0,
            reason: "",
            points: Vec::new(),
        }
    }

    /// Milliseconds from `START`, and what happens at the very end included.
    pub(crate) fn until(&mut self, ms: u64) {
        let end = Moment(START.0.saturating_add(ms));
        loop {
            let now = self.next_moment();
            if end < now {
                return self.world.state().advance(end);
            }
            self.world.state().advance(now);
            while let Some((_, stroke)) = self.script.pop_if(|(at, _)| *at <= now) {
                match stroke {
                    Stroke::Load(load) => self.world.state().nature.demand.load = Milli(load),
                    #[cfg(test)]
                    Stroke::Fault(fault) => self.suffer(fault, now),
                }
            }
            for done in self.crew.work(now) {
                self.done.push(done);
                self.wake(now);
            }
            self.ask(now);
            let alive = self.world.is_alive();
            if std::mem::replace(&mut self.proxy_was_alive, alive) && !alive {
                self.wake(now.plus(WATCH));
            }
            let due = self.next_due <= now;
            if !self.world.state().crashed && (due || self.next_turn <= now) {
                self.turn(now, due);
            }
            #[cfg(test)]
            if self.world.state().crashed {
                self.start_again(now);
            }
            if START <= now {
                self.record(due);
            }
        }
    }

    fn next_moment(&self) -> Moment {
        let script = self.script.last().map(|(at, _)| *at);
        let probe = self.asked.values().filter_map(|asked| asked.next).min();
        let waits = [script, probe, self.crew.next()].into_iter().flatten();
        waits.chain([self.next_due, self.next_turn]).min().unwrap_or_default()
    }

    pub(crate) fn wake(&mut self, now: Moment) {
        self.next_turn = self.next_turn.min(now.max(self.last_turn.plus(BETWEEN_TURNS)));
    }

    /// Asks the replicas whose time it is whether they can serve.
    fn ask(&mut self, now: Moment) {
        let mut changed = false;
        for (id, asked) in &mut self.asked {
            if asked.next.is_none_or(|next| now < next) {
                continue;
            }
            let (run, check) = (asked.target.run, &asked.target.service.health);
            let answer = self.world.state().call("probe", |state| {
                let passes = |u: &Unit| {
                    u.address == Some(run.address.ip())
                        && u.state == ContainerState::Running
                        && u.is_well(now)
                };
                Ok(state.containers.iter().any(passes))
            });
            let age = now.since(asked.since);
            if answer.unwrap_or(false) {
                asked.streak.passed(check);
            } else {
                asked.streak.failed(check, now, age, "no answer".to_owned());
            }
            let health = asked.streak.health.clone();
            asked.next = match health {
                Health::Healthy if !self.is_watching => None,
                Health::Unknown | Health::Starting if asked.streak.is_excused(check, age) => {
                    Some(now.plus(EAGER))
                }
                Health::Unknown | Health::Starting | Health::Healthy | Health::Unhealthy { .. } => {
                    Some(now.plus(check.interval))
                }
            };
            let before = self.probed.insert(id.clone(), (run, health.clone()));
            let kind = |health: &Health| std::mem::discriminant(health);
            changed |= before.is_none_or(|(_, before)| kind(&before) != kind(&health));
        }
        if changed {
            self.wake(now);
        }
    }

    fn turn(&mut self, now: Moment, due: bool) {
        let before = self.mind.memory.services.values().next().cloned().unwrap_or_default();
        if due {
            self.hear(now);
        }
        let mut outside = tick::World {
            clock: &*self.world,
            engine: &*self.world,
            proxy: &*self.world,
            store: &*self.world,
            crew: &mut self.crew,
        };
        let done = std::mem::take(&mut self.done);
        let (config, probed, heard) = (&self.config, &self.probed, &self.heard);
        let inputs = Inputs { config, due, probed, heard, done };
        let turn = tick(&mut outside, &mut self.mind, inputs);
        let after = self.mind.memory.services.values().next().cloned().unwrap_or_default();
        let mut state = self.world.state();
        state.check_turn(&turn, &before);
        state.believed = after;
        drop(state);
        self.learn(&turn, due);
        self.probed.retain(|id, _| turn.known.contains(id));
        let mut before = std::mem::take(&mut self.asked);
        for target in turn.to_probe {
            let same = before.remove(&target.id).filter(|old| {
                old.target.run.is_same(&target.run)
                    && old.target.service.health == target.service.health
            });
            let asked = match same {
                Some(old) => Asked { target, ..old },
                None => Asked::new(target, now),
            };
            self.asked.insert(asked.target.id.clone(), asked);
        }
        if due {
            self.next_due = self.next_due.plus(self.config.check_interval);
        }
        self.last_turn = now;
        self.next_turn = now.plus(turn.again.unwrap_or(RESYNC).max(BETWEEN_TURNS).min(RESYNC));
    }

    /// As if every remote source had been asked right before.
    fn hear(&mut self, now: Moment) {
        let state = self.world.state();
        let said = state.nature.demand.said(state.serving().len());
        let hearing = |value| Hearing { since: now, said: Some((now, Ok(value))) };
        self.heard.extend(said.map(|(source, value)| (source, hearing(value))));
    }

    /// Between two looks the reason of the last one stands, unless the number changes.
    fn learn(&mut self, turn: &Turn, due: bool) {
        let Some(plan) = turn.plans.values().next() else { return };
        if due || plan.wanted != self.desired {
            self.reason = plan.reason();
        }
        self.desired = plan.wanted;
    }

    fn record(&mut self, is_look: bool) {
        let state = self.world.state();
        let bounds = state.nature.service.timetable.at(state.wall()).bounds;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let point = Point {
            at: state.now.since(START),
            is_look,
            value: state.nature.demand.load.0 as f64 / 1000.0,
            ready: count(state.serving().len()),
            replicas: count(state.containers.iter().filter(|u| u.exists()).count()),
            desired: self.desired,
            min: bounds.min(),
            max: bounds.max(),
            reason: self.reason,
        };
        let is_news = |last: &Point| {
            let (at, is_look, reason) = (point.at, point.is_look, point.reason);
            Point { at, is_look, reason, ..*last } != point
        };
        if is_look || self.points.last().is_none_or(is_news) {
            self.points.push(point);
        }
    }
}
