//! Fault injection: any call can be made to fail, and anything may die at any time. Then
//! everything must settle again.

use std::sync::Arc;
use std::time::Duration;

use crate::act;
use crate::config::{self, Loaded};
use crate::controller::PROXY_WATCH;
use crate::controller::tick::ControllerState;
use crate::model::bounds::Bounds;
use crate::model::command::Order;
use crate::model::config::Config;
use crate::model::memory::DrainStep;
use crate::model::metric::{Milli, Source};
use crate::model::replica::{ContainerState, Ending};
use crate::model::schedule::Timetable;
use crate::model::service::{Band, ContainerSpec, Cooldown, Origin, Percent, Service, ServiceName};
use crate::model::time::{Moment, Wall};
use crate::outside::{Error, Result};
use crate::sim::executor::SimExecutor;
use crate::sim::random::Random;
use crate::sim::run::{Run, ScriptEvent, adapters, controller};
use crate::sim::user_actions::UserAction;
use crate::sim::variation::Chance;
use crate::sim::workload::Demand;
use crate::sim::world::{START, Scenario, WorldState};

/// The service manager restarts the daemon after this.
const STARTED_AGAIN: Duration = Duration::from_secs(1);

/// How one call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallFault {
    /// It fails without an effect.
    Refused,
    /// It takes effect, and its answer is lost.
    AnswerLost,
    /// The daemon dies before it; what was under way is cut off.
    CrashBefore,
    /// The daemon dies right after it; what was under way comes to its end.
    CrashAfter,
}

/// One call in this many.
#[derive(Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) reloads: u64,
    pub(crate) others: u64,
}

impl Rate {
    fn of(self, name: &str) -> u64 {
        if name == "reload" { self.reloads } else { self.others }
    }
}

/// What happens to the world by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The oldest that runs exits.
    ReplicaDies,
    HaproxyDies,
    DockerAway(Duration),
    ProbesFail(Duration),
    DaemonDies,
    /// The wall clock is set forward by this many seconds.
    ClockSteps(i64),
    /// The newest serving replica becomes unhealthy for good.
    ReplicaFallsIll,
    /// The config names another image from now on.
    Image(&'static str),
    /// The same, of an image that has to be pulled first.
    AbsentImage(&'static str),
    /// The config is read again, and says the same.
    Reload,
    /// An operator has all replicas replaced.
    Restart,
    /// Somebody does this to a container by hand.
    UserAction(UserAction),
}

/// Containers of this image never become ready.
pub(crate) const BROKEN: &str = "web:violations";

#[derive(Default)]
pub(crate) struct Faults {
    pub(crate) calls: u64,
    /// Which call, counted from 1.
    pub(crate) call_fault: Option<(u64, CallFault)>,
    /// Until the moment, calls fail at this rate.
    pub(crate) call_fault_rate: Option<(Moment, Rate)>,
    docker_away_until: Moment,
    /// Replicas are too busy to answer our probes.
    probes_fail_until: Moment,
    /// What was under way at the crash comes to its end.
    completes: bool,
}

impl WorldState {
    /// One call of the daemon's to the outside.
    pub(crate) fn call<T>(
        &mut self,
        name: &str,
        effect: impl FnOnce(&mut WorldState) -> Result<T>,
    ) -> Result<T> {
        if self.crashed {
            return Err(Error::new(format!("{name}: the daemon is dead")));
        }
        self.faults.calls += 1;
        let failed = || Error::new(format!("{name}: made to fail"));
        let effect = |state: &mut WorldState| {
            state.reach(name)?;
            effect(state)
        };
        match self.call_fault_of_this_call(name) {
            None => effect(self),
            Some(CallFault::Refused) => Err(failed()),
            Some(CallFault::AnswerLost) => effect(self).and_then(|_| Err(failed())),
            Some(CallFault::CrashBefore) => {
                self.crash(false);
                Err(failed())
            }
            Some(CallFault::CrashAfter) => {
                let end = effect(self);
                self.crash(true);
                end.and_then(|_| Err(failed()))
            }
        }
    }

    fn crash(&mut self, completes: bool) {
        self.crashed = true;
        self.faults.completes = completes;
    }

    fn call_fault_of_this_call(&mut self, name: &str) -> Option<CallFault> {
        if let Some((call, call_fault)) = self.faults.call_fault
            && call == self.faults.calls
        {
            return Some(call_fault);
        }
        let chance = &mut self.scenario.chance;
        match self.faults.call_fault_rate {
            Some((until, rate)) if self.now < until && chance.one_in(rate.of(name), false) => {
                let lost = chance.one_in(2, false);
                Some(if lost { CallFault::AnswerLost } else { CallFault::Refused })
            }
            Some(_) | None => None,
        }
    }

    /// Whether the one that is called is there.
    fn reach(&self, name: &str) -> Result<()> {
        let until = match name {
            "list" | "usage" | "hook" | "pull" | "create" | "start" | "remove again" | "stop"
            | "remove" => self.faults.docker_away_until,
            "probe" => self.faults.probes_fail_until,
            "look" | "old connections" | "reload" | "update servers" | "set server states"
            | "save" => Moment::default(),
            name => unreachable!("nobody said who is called by {name}"),
        };
        if self.now < until { Err(Error::new(format!("{name}: nobody answers"))) } else { Ok(()) }
    }

    fn kill_haproxy(&mut self) {
        if let Some(process) = self.current.take() {
            self.sessions.retain(|s| s.process != process.id);
            self.waiting.end_proxy();
        }
    }
}

impl SimExecutor {
    /// The daemon is gone. Docker and HAProxy may still finish what they were asked.
    fn abandon(&mut self, completed: bool) {
        for job in std::mem::take(&mut self.jobs) {
            if completed && job.result.is_none() {
                // There is no daemon left to receive the result.
                let _ = act::execute(&job.action, &*self.world, &*self.world);
            }
        }
    }
}

impl Run {
    /// In a world of chances, in which one replica can carry 100 %. The script is in milliseconds
    /// from the start.
    pub(crate) fn ordeal(seed: u64, service: Service, script: &[(u64, ScriptEvent)]) -> Run {
        let at = |(ms, stroke): &(u64, ScriptEvent)| (Moment(START.0 + ms), *stroke);
        let capacity = Some(Milli(100_000));
        let config = config(service);
        let scenario = Scenario {
            service: config.services.values().next().unwrap().clone(),
            wall: Wall(1_000_000_000),
            start_up: Duration::ZERO,
            broken_image: Some(BROKEN),
            demand: Demand { source: Source::Cpu, load: Milli(0), capacity },
            wakes: true,
            chance: Chance::Drawn(Random::new(seed)),
        };
        Run::new(scenario, config, START, script.iter().map(at).collect())
    }

    pub(crate) fn inject(&mut self, fault: Fault, now: Moment) {
        let mut state = self.world.state();
        match fault {
            Fault::ReplicaDies => {
                let mut units = state.containers.iter();
                let victim = units.find(|u| u.state == ContainerState::Running);
                if let Some(id) = victim.map(|u| u.id.clone()) {
                    state.end(&id, Ending::Crashed);
                }
            }
            Fault::HaproxyDies => {
                state.kill_haproxy();
                // The daemon checks at least this often.
                self.next_poll = self.next_poll.min(now.plus(PROXY_WATCH));
            }
            Fault::DockerAway(span) => state.faults.docker_away_until = now.plus(span),
            Fault::ProbesFail(span) => state.faults.probes_fail_until = now.plus(span),
            Fault::DaemonDies => state.crash(true),
            Fault::ClockSteps(seconds) => state.scenario.wall.0 += seconds,
            Fault::ReplicaFallsIll => {
                let serving = state.serving().into_iter().max();
                let mut units = state.containers.iter_mut();
                let victim = units.find(|u| Some(u.number) == serving);
                victim.into_iter().for_each(|u| u.ill_until = Moment(u64::MAX));
            }
            Fault::Image(image) | Fault::AbsentImage(image) => {
                if matches!(fault, Fault::AbsentImage(_)) {
                    state.absent_images.insert(image.to_owned());
                }
                let mut service = (*state.scenario.service).clone();
                service.container.origin = Origin::Image(image.to_owned());
                let service = Arc::new(service);
                state.scenario.service = service.clone();
                drop(state);
                let mut config = self.controller.config().clone();
                config.services.insert(service.name.clone(), service);
                self.reload(config, now);
            }
            Fault::UserAction(deed) => state.do_by_hand(deed),
            Fault::Reload => {
                drop(state);
                self.reload(self.controller.config().clone(), now);
            }
            Fault::Restart => {
                drop(state);
                self.command(&Order::Restart, now);
            }
        }
    }

    fn reload(&mut self, config: Config, now: Moment) {
        let config = Some(config);
        let fixed = None;
        let loaded = Loaded { config, problems: Vec::new(), fixed, secret_files: Vec::new() };
        let (result, _) = self.controller.reload(loaded, now);
        assert!(result.is_ok(), "{result:?}");
        self.next_poll = now;
    }

    /// An operator who is refused asks again.
    fn command(&mut self, order: &Order, now: Moment) {
        let world = self.world.clone();
        for _ in 0..3 {
            if world.state().crashed {
                return;
            }
            if self.controller.command(None, order, &adapters(&world)).0.is_ok() {
                break;
            }
        }
        world.state().believed = self.memory();
        self.next_poll = now;
    }

    pub(crate) fn start_again(&mut self, now: Moment) {
        let mut state = self.world.state();
        state.crashed = false;
        let completed = state.faults.completes;
        let saved = state.saved.clone();
        let config = self.controller.config().clone();
        let begin = now.plus(STARTED_AGAIN);
        self.controller = controller(&state.scenario, config, ControllerState::new(saved), begin);
        state.docker_event = false;
        state.waiting.end_daemon();
        drop(state);
        self.executor.abandon(completed);
        self.next_poll = begin;
    }

    /// The number after each change of it.
    pub(crate) fn numbers(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = self.points.iter().map(|p| p.desired).collect();
        numbers.dedup();
        numbers
    }

    /// What is wrong once nothing happens any more.
    pub(crate) fn unsettled(&self) -> Vec<String> {
        let memory = self.memory();
        let state = self.world.state();
        let mut why = Vec::new();
        let desired = usize::try_from(memory.desired.unwrap_or(0)).unwrap();
        let running = state.containers.iter().filter(|u| u.state == ContainerState::Running);
        let running = running.count();
        let all = state.containers.len();
        let serving = state.serving().len();
        if [desired; 3] != [running, all, serving] {
            why.push(format!("{desired} desired, {all} there, {running} run, {serving} serve"));
        }
        let lines = state.current.as_ref().map_or(0, |p| p.servers.len());
        if lines != desired {
            why.push(format!("HAProxy has {lines} of {desired}"));
        }
        for (id, drain) in &memory.drains {
            let step = match drain.step {
                DrainStep::Draining { .. } => "empties",
                DrainStep::Ended => "has ended",
                DrainStep::Drained => "is released",
            };
            why.push(format!("{id} still {step}"));
        }
        if state.saved != *self.controller.memory() {
            why.push("the state is not stored".to_owned());
        }
        let rollout = &memory.rollout;
        if rollout.under_way.is_some()
            || !memory.unhealthy.is_empty()
            || memory.panic_mode.is_some()
        {
            why.push(format!("it still rolls or is ill: {memory:?}"));
        }
        let service = &state.scenario.service;
        let config = service.spec_hash();
        let good = rollout.good.as_ref().map(|good| good.applied_to(service).spec_hash());
        let spec = rollout.rejected.as_ref().and(good).unwrap_or(config);
        if let Some(unit) = state.containers.iter().find(|u| u.spec != spec) {
            why.push(format!("{} is outdated", unit.number));
        }
        if state.containers.iter().any(|u| u.number <= rollout.restart_up_to) {
            why.push("an old one is left of a restart".to_owned());
        }
        if !self.executor.jobs.is_empty() {
            why.push("actions are under way".to_owned());
        }
        why
    }

    /// Actions begun and states stored so far, to compare two moments.
    pub(crate) fn effort(&self) -> (u32, u32) {
        (self.executor.begun, self.world.state().saves)
    }
}

/// Between one and six replicas at 30 to 75 %.
pub(crate) fn web() -> Service {
    let percent = |n: u64| Percent::from_hundredths(n * 100);
    let s = Duration::from_secs;
    let name = ServiceName::new("web").unwrap();
    let image = Origin::Image("web:1".to_owned());
    let always = Timetable::always(Bounds::new(1, 6).unwrap());
    Service {
        band: Band::new(percent(30), percent(75)),
        cooldown: Cooldown { up: s(5), down: s(10) },
        stop_timeout: s(5),
        ..Service::new(name, ContainerSpec::new(image), 80, always)
    }
}

fn config(service: Service) -> Config {
    let text = r#"{ "autoscaler": { "check_interval": 5 }, "services": {} }"#;
    let services = [(service.name.clone(), Arc::new(service))].into();
    Config { services, ..config::parse("made up", text).config.unwrap() }
}
