//! Drives the production `tick` through a script, as the daemon's own loop does: a look at load at
//! every interval, turns between when something waits, ended or answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::action::Done;
use crate::model::config::{Config, DockerConfig, Fixed, ProxyConfig};
use crate::model::memory::{DrainStep, ServiceMemory};
use crate::model::plan::Step;
use crate::model::replica::{ContainerId, ContainerState, Probed};
use crate::model::schedule::Timetable;
use crate::model::service::{
    Band, Bounds, ContainerSpec, Cooldown, HealthCheck, HealthKind, Percent, Service, ServiceName,
};
use crate::model::time::Moment;
use crate::observe::Answers;
use crate::outside::Proxy;
use crate::sim::crew::MadeUpCrew;
use crate::sim::world::{PORT, SERVICE, START, Unit, World};
use crate::tick::{self, Inputs, Mind, Target, Turn, tick};

const BETWEEN_TURNS: Duration = Duration::from_millis(50);
const RESYNC: Duration = Duration::from_secs(60);
const WATCH: Duration = Duration::from_secs(1);
const EAGER: Duration = Duration::from_millis(200);
/// Whoever looks after the daemon starts it again after this.
const STARTED_AGAIN: Duration = Duration::from_secs(1);

/// What happens to the world by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stroke {
    /// In hundredths of a percent of what one replica can carry.
    Load(u64),
    /// The oldest that runs exits.
    ReplicaDies,
    HaproxyDies,
    DockerAway(Duration),
    ProbesFail(Duration),
    DaemonDies,
}

pub(crate) struct Run {
    pub(crate) world: Arc<World>,
    config: Config,
    script: Vec<(Moment, Stroke)>,
    mind: Mind,
    crew: MadeUpCrew,
    probed: Answers,
    asked: BTreeMap<ContainerId, (Target, Moment)>,
    done: Vec<Done>,
    next_due: Moment,
    next_turn: Moment,
    last_turn: Moment,
    proxy_was_alive: bool,
    /// The number after each change of it.
    pub(crate) numbers: Vec<u32>,
}

impl Run {
    /// The script is in milliseconds from the start.
    pub(crate) fn new(seed: u64, service: Service, script: &[(u64, Stroke)]) -> Run {
        let world = Arc::new(World::new(seed, service.timetable.bounds.min()));
        let at = |(ms, stroke): &(u64, Stroke)| (Moment(START.0 + ms), *stroke);
        Run {
            crew: MadeUpCrew::new(world.clone()),
            world,
            config: config(service),
            script: script.iter().rev().map(at).collect(),
            mind: Mind::default(),
            probed: BTreeMap::new(),
            asked: BTreeMap::new(),
            done: Vec::new(),
            next_due: START,
            next_turn: START,
            last_turn: Moment::default(),
            proxy_was_alive: false,
            numbers: Vec::new(),
        }
    }

    pub(crate) fn until(&mut self, ms: u64) {
        let end = Moment(START.0 + ms);
        loop {
            let now = self.next_moment();
            if end < now {
                return self.world.state().advance(end);
            }
            self.world.state().advance(now);
            while let Some((_, stroke)) = self.script.pop_if(|(at, _)| *at <= now) {
                self.strike(stroke, now);
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
            if self.world.state().crashed {
                self.start_again(now);
            }
        }
    }

    fn next_moment(&self) -> Moment {
        let script = self.script.last().map(|(at, _)| *at);
        let probe = self.asked.values().map(|(_, at)| *at).min();
        let waits = [script, probe, self.crew.next()].into_iter().flatten();
        waits.chain([self.next_due, self.next_turn]).min().unwrap_or_default()
    }

    fn wake(&mut self, now: Moment) {
        self.next_turn = self.next_turn.min(now.max(self.last_turn.plus(BETWEEN_TURNS)));
    }

    fn strike(&mut self, stroke: Stroke, now: Moment) {
        let mut state = self.world.state();
        match stroke {
            Stroke::Load(load) => state.load = load,
            Stroke::ReplicaDies => {
                let mut units = state.containers.iter();
                let victim = units.find(|u| u.state == ContainerState::Running);
                if let Some(id) = victim.map(|u| u.id.clone()) {
                    state.end(&id);
                }
            }
            Stroke::HaproxyDies => state.kill_haproxy(),
            Stroke::DockerAway(span) => state.docker_away_until = now.plus(span),
            Stroke::ProbesFail(span) => state.probes_fail_until = now.plus(span),
            Stroke::DaemonDies => state.crash(true),
        }
        drop(state);
        if matches!(stroke, Stroke::ReplicaDies) {
            self.wake(now);
        }
    }

    /// Asks the replicas whose time it is whether they can serve.
    fn ask(&mut self, now: Moment) {
        let due: Vec<ContainerId> =
            self.asked.iter().filter(|(_, (_, at))| *at <= now).map(|(id, _)| id.clone()).collect();
        for id in due {
            let asked = self.asked[&id].0.address;
            let address = asked.ip();
            let answer = self.world.state().call("probe", |state| {
                let passes = |u: &&Unit| {
                    u.address == Some(address)
                        && u.state == ContainerState::Running
                        && u.ready_at <= now
                };
                let busy = now < state.probes_fail_until;
                Ok(!busy && state.containers.iter().any(|u| passes(&u)))
            });
            if answer.unwrap_or(false) {
                self.asked.remove(&id);
                self.probed.insert(id, (asked, Probed::Passed));
                self.wake(now);
            } else {
                self.probed.insert(id.clone(), (asked, Probed::Failed));
                self.asked.get_mut(&id).unwrap().1 = now.plus(EAGER);
            }
        }
    }

    fn turn(&mut self, now: Moment, due: bool) {
        let before = self.memory();
        let mut outside = tick::World {
            clock: &*self.world,
            engine: &*self.world,
            proxy: &*self.world,
            store: &*self.world,
            crew: &mut self.crew,
        };
        let done = std::mem::take(&mut self.done);
        let inputs = Inputs { config: &self.config, due, probed: &self.probed, done };
        let turn = tick(&mut outside, &mut self.mind, inputs);
        self.check(&turn, &before, now);
        self.probed.retain(|id, _| turn.known.contains(id));
        let mut asked = std::mem::take(&mut self.asked);
        for target in turn.to_probe {
            let at = match asked.remove(&target.id) {
                Some((old, at)) if old.address == target.address => at,
                Some(_) | None => now,
            };
            self.asked.insert(target.id.clone(), (target, at));
        }
        if due {
            self.next_due = self.next_due.plus(self.config.check_interval);
        }
        self.last_turn = now;
        self.next_turn = now.plus(turn.again.unwrap_or(RESYNC).max(BETWEEN_TURNS).min(RESYNC));
    }

    fn check(&mut self, turn: &Turn, before: &ServiceMemory, now: Moment) {
        let mut state = self.world.state();
        let Some(plan) = turn.plans.get(SERVICE) else { return };
        if plan.because.is_empty() {
            state.note("a plan without a reason".to_owned());
        }
        if plan.from != plan.wanted {
            self.numbers.push(plan.wanted);
        }
        let bounds = self.config.services.values().next().unwrap().timetable.bounds;
        if turn.engine_answers && !(bounds.min()..=bounds.max()).contains(&plan.wanted) {
            state.note(format!("{} is outside the bounds", plan.wanted));
        }
        for step in &plan.steps {
            if let Step::Release { number, .. } = step {
                let mut units = state.containers.iter().filter(|u| u.number == *number);
                let id = units.next().map(|u| u.id.clone());
                let drain = id.and_then(|id| Some((before.drains.get(&id)?.since, id)));
                let longest = self.config.services.values().next().unwrap().drain_timeout;
                if let Some((_, id)) = drain.filter(|(since, _)| longest <= now.since(*since)) {
                    state.timed_out.insert(id);
                }
            }
        }
    }

    fn start_again(&mut self, now: Moment) {
        let mut state = self.world.state();
        state.crashed = false;
        let completed = state.completes;
        self.mind = Mind::new(state.saved.clone());
        drop(state);
        self.crew.abandon(completed);
        self.probed.clear();
        self.asked.clear();
        self.done.clear();
        self.next_due = now.plus(STARTED_AGAIN);
        self.next_turn = self.next_due;
        self.last_turn = Moment::default();
        self.proxy_was_alive = false;
    }

    pub(crate) fn memory(&self) -> ServiceMemory {
        self.mind.memory.services.get(SERVICE).cloned().unwrap_or_default()
    }

    /// What is not as it should be when nothing happens any more.
    pub(crate) fn unsettled(&self) -> Vec<String> {
        let (memory, state) = (self.memory(), self.world.state());
        let mut why = Vec::new();
        let wanted = usize::try_from(memory.wanted.unwrap_or(0)).unwrap();
        let running = state.containers.iter().filter(|u| u.state == ContainerState::Running);
        let (running, all) = (running.count(), state.containers.len());
        let serving = state.serving().len();
        if [wanted; 3] != [running, all, serving] {
            why.push(format!("{wanted} wanted, {all} there, {running} run, {serving} serve"));
        }
        let lines = state.current.as_ref().map_or(0, |p| p.servers.len());
        if lines != wanted {
            why.push(format!("HAProxy has {lines} of {wanted}"));
        }
        for (id, drain) in &memory.drains {
            let step = match drain.step {
                DrainStep::Emptying { .. } => "empties",
                DrainStep::Released => "is released",
            };
            why.push(format!("{id} still {step}"));
        }
        if state.saved != self.mind.memory {
            why.push("what is known is not stored".to_owned());
        }
        if !self.crew.is_idle() {
            why.push("actions are under way".to_owned());
        }
        why
    }

    /// What there was to do, for comparing two moments.
    pub(crate) fn effort(&self) -> (u32, u32) {
        (self.crew.begun, self.world.state().saves)
    }
}

/// Between one and six replicas at 30 to 75 %.
pub(crate) fn web() -> Service {
    let percent = |n: u64| Percent::from_hundredths(n * 100);
    let s = Duration::from_secs;
    Service {
        name: ServiceName::new(SERVICE).unwrap(),
        container: ContainerSpec {
            image: "web:1".to_owned(),
            command: Vec::new(),
            environment: BTreeMap::new(),
            volumes: Vec::new(),
            nano_cpus: None,
            memory: None,
        },
        port: PORT,
        listen: None,
        timetable: Timetable::always(Bounds::new(1, 6).unwrap()),
        band: Band::new(percent(30), percent(75)),
        cooldown: Cooldown { up: s(5), down: s(10) },
        health: HealthCheck { kind: HealthKind::Tcp, port: None, interval: s(10), timeout: s(1) },
        drain_timeout: s(30),
        stop_timeout: s(5),
    }
}

fn config(service: Service) -> Config {
    let s = Duration::from_secs;
    Config {
        check_interval: s(5),
        log_level: log::LevelFilter::Off,
        dry_run: false,
        fixed: Fixed {
            state_dir: "/s".into(),
            docker: DockerConfig { socket: "/docker.sock".into(), timeout: s(10) },
            proxy: ProxyConfig {
                binary: "/haproxy".into(),
                config: "/s/haproxy.cfg".into(),
                pid_file: "/r/haproxy.pid".into(),
                socket: "/r/haproxy.sock".into(),
                hard_stop_after: s(600),
                min_reload_interval: s(2),
            },
        },
        services: [(service.name.clone(), Arc::new(service))].into(),
    }
}
