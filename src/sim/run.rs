//! Drives the controller through a script in made-up time, as the daemon drives it on threads:
//! hands it what happens, polls it when it is time, and carries out its effects.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use crate::controller::forecaster::ForecastRead;
use crate::controller::tick::{Adapters, ControllerState, TickOutput};
use crate::controller::{Controller, Effect, LoopEvent, Poll, Settings, Ticked};
use crate::model::config::Config;
use crate::model::memory::ServiceMemory;
use crate::model::metric::Milli;
use crate::model::replica::ContainerState;
use crate::model::time::Moment;
use crate::observe::health::{ProbeOutcome, ProbeTarget};
use crate::sim::executor::SimExecutor;
#[cfg(test)]
use crate::sim::fault_injection::Fault;
use crate::sim::past::Past;
use crate::sim::timeline::Point;
use crate::sim::world::{START, Scenario, SimContainer, World};

/// After a change: the last two samples of the load are of the time since.
const SETTLED: Duration = Duration::from_secs(2);

/// What comes from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ScriptEvent {
    /// From now on, in thousandths of the metric's unit.
    Load(u64),
    #[cfg(test)]
    Fault(Fault),
}

pub(crate) struct Run {
    pub(crate) world: Arc<World>,
    /// The next one is the last.
    script: Vec<(Moment, ScriptEvent)>,
    /// What a forecast may know.
    past: Past,
    pub(crate) controller: Controller,
    pub(crate) executor: SimExecutor,
    /// When the controller is polled next, unless something happens before.
    pub(crate) next_poll: Moment,
    /// When something happened last that the load of a replica may change by.
    changed: Moment,
    /// What was decided last.
    desired: u32,
    reason: &'static str,
    /// From `START` on: each evaluation, and each change between two.
    pub(crate) points: Vec<Point>,
}

impl Run {
    /// The config has the one service of the world. The script is in the order of its times.
    pub(crate) fn new(
        scenario: Scenario,
        config: Config,
        begin: Moment,
        mut script: Vec<(Moment, ScriptEvent)>,
    ) -> Run {
        let past = past(&scenario, &script);
        script.reverse();
        let controller = controller(&scenario, config, ControllerState::default(), begin);
        let world = Arc::new(World::new(scenario, begin));
        Run {
            controller,
            executor: SimExecutor::new(world.clone()),
            world,
            past,
            script,
            next_poll: begin,
            changed: begin,
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
                self.changed = now;
                match stroke {
                    ScriptEvent::Load(load) => self.world.state().set_load(Milli(load)),
                    #[cfg(test)]
                    ScriptEvent::Fault(fault) => self.inject(fault, now),
                }
            }
            let mut events: Vec<LoopEvent> =
                self.executor.work(now).into_iter().map(LoopEvent::Done).collect();
            if std::mem::take(&mut self.world.state().docker_event) {
                events.push(LoopEvent::Docker);
            }
            if std::mem::take(&mut self.world.state().waiting.has_news) {
                events.push(LoopEvent::Connections);
            }
            let is_woken = !events.is_empty();
            if is_woken {
                self.changed = now;
            }
            events.into_iter().for_each(|event| self.handle(event, now));
            let is_due = is_woken || self.next_poll <= now;
            let is_evaluation = is_due && self.poll(now);
            #[cfg(test)]
            if self.world.state().crashed {
                self.start_again(now);
            }
            if START <= now {
                self.record(is_evaluation);
            } else {
                self.world.state().waiting.forget_times();
            }
        }
    }

    fn next_moment(&self) -> Moment {
        let script = self.script.last().map(|(at, _)| *at);
        let world = self.world.state().next_event();
        let waits = [script, world, self.executor.next()].into_iter().flatten();
        waits.fold(self.next_poll, Moment::min)
    }

    /// Events for the operator are dropped.
    pub(crate) fn handle(&mut self, event: LoopEvent, now: Moment) {
        drop(self.controller.handle(event, now));
    }

    /// Gives whether load was evaluated.
    fn poll(&mut self, now: Moment) -> bool {
        if self.world.state().crashed {
            return false;
        }
        let world = self.world.clone();
        let adapters = adapters(&world);
        let Poll { effects, tick } = self.controller.poll(&adapters, false);
        let is_evaluation = tick.as_ref().is_some_and(|tick| tick.is_evaluation);
        if let Some(Ticked { output, is_evaluation, .. }) = tick {
            let after = self.memory();
            let mut state = self.world.state();
            let before = std::mem::replace(&mut state.believed, after);
            state.check_tick(&output, &before);
            drop(state);
            self.learn(&output, is_evaluation);
        }
        effects.into_iter().for_each(|effect| self.carry_out(effect, now));
        let wait = match self.steady_until(now) {
            Some(until) => self.controller.idle_steady(now, until),
            None => self.controller.idle(now),
        };
        self.next_poll = now.plus(wait);
        is_evaluation
    }

    /// Until when nothing but the controller changes anything, so that samples of the load repeat
    /// each other. `None`: something is under way.
    fn steady_until(&self, now: Moment) -> Option<Moment> {
        let state = self.world.state();
        let is_settled =
            self.changed.plus(SETTLED) <= now && self.executor.jobs.is_empty() && state.is_steady();
        let script = self.script.last().map(|(at, _)| *at);
        // The record begins with what is there at the start.
        let start = (now < START).then_some(START);
        let next = [script, start, state.next_event()].into_iter().flatten();
        is_settled.then(|| next.fold(Moment(u64::MAX), Moment::min))
    }

    fn carry_out(&mut self, effect: Effect, now: Moment) {
        match effect {
            Effect::Begin(action) => {
                self.changed = now;
                self.executor.begin(action);
            }
            Effect::Cancel(claim) => {
                if self.executor.cancel(&claim) {
                    self.handle(LoopEvent::Cancelled(claim), now);
                }
            }
            Effect::Probe(target) => {
                self.changed = now;
                let outcome = self.probe(&target, now);
                let id = target.id;
                let run = target.run;
                self.handle(LoopEvent::Probed { id, run, outcome }, now);
            }
            Effect::ReadHistory(ForecastRead { id, history }) => {
                let read = history.answer(&self.past).map(Arc::new);
                let service = history.service;
                self.handle(LoopEvent::HistoryRead { id, service, read }, now);
            }
            // No registry is simulated.
            Effect::AskImage(_) => (),
            Effect::ReadMetric(read) => {
                let state = self.world.state();
                let said = state.scenario.demand.said(state.serving().len());
                drop(state);
                let value =
                    said.filter(|(source, _)| *source == read.source).map(|(_, value)| value);
                let result = value.ok_or_else(|| "nobody answers".to_owned());
                self.handle(LoopEvent::MetricRead { source: read.source, result, at: now }, now);
            }
            Effect::Emit(_) => (),
        }
    }

    fn probe(&self, target: &ProbeTarget, now: Moment) -> ProbeOutcome {
        let passed = self.world.state().call("probe", |state| {
            let passes = |u: &SimContainer| {
                u.address == Some(target.run.address.ip())
                    && u.state == ContainerState::Running
                    && u.is_well(now)
            };
            Ok(state.containers.iter().any(passes))
        });
        match passed {
            Ok(true) => ProbeOutcome::Passed,
            Ok(false) | Err(_) => ProbeOutcome::Failed("no answer".to_owned()),
        }
    }

    /// What the controller remembers of the service.
    pub(crate) fn memory(&self) -> ServiceMemory {
        let services = &self.controller.memory().services;
        services.values().next().cloned().unwrap_or_default()
    }

    /// Between two evaluations the reason of the last one stands, unless the number changes.
    fn learn(&mut self, output: &TickOutput, is_evaluation: bool) {
        let Some(plan) = output.plans.values().next() else { return };
        if is_evaluation || plan.decision.desired != self.desired {
            self.reason = plan.decision.reason();
        }
        self.desired = plan.decision.desired;
    }

    fn record(&mut self, is_look: bool) {
        let state = self.world.state();
        let bounds = state.scenario.service.timetable.at(state.wall()).bounds;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let point = Point {
            at: state.now.since(START),
            is_look,
            value: state.scenario.demand.load.0 as f64 / 1000.0,
            ready: count(state.serving().len()),
            replicas: count(state.containers.iter().filter(|u| u.exists()).count()),
            desired: self.desired,
            min: bounds.min(),
            max: bounds.max(),
            reason: self.reason,
        };
        let is_news = |last: &Point| {
            let at = point.at;
            let is_look = point.is_look;
            let reason = point.reason;
            Point { at, is_look, reason, ..*last } != point
        };
        if is_look || self.points.last().is_none_or(is_news) {
            self.points.push(point);
        }
    }
}

fn past(scenario: &Scenario, script: &[(Moment, ScriptEvent)]) -> Past {
    let load = |(at, event): &(Moment, ScriptEvent)| match event {
        ScriptEvent::Load(load) => Some((*at, *load)),
        #[cfg(test)]
        ScriptEvent::Fault(_) => None,
    };
    // What is applied before the trace is no part of it.
    let loads = script.iter().filter_map(load).filter(|(at, _)| START <= *at).collect();
    let metric = scenario.demand.source.to_string();
    Past { metric, begin: scenario.wall, loads }
}

/// Where no faults are drawn, no replica becomes unhealthy: probing healthy ones on would only cost
/// time.
pub(crate) fn controller(
    scenario: &Scenario,
    config: Config,
    state: ControllerState,
    now: Moment,
) -> Controller {
    let settings = Settings {
        config_file: Some("made up".to_owned()),
        is_dry_run: false,
        probes_healthy: scenario.chance.is_drawn(),
    };
    Controller::new(config, settings, state, now)
}

pub(crate) fn adapters(world: &World) -> Adapters<'_> {
    Adapters { clock: world, engine: world, proxy: world, activator: world, store: world }
}
