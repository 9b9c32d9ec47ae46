//! The loop: takes what comes in, takes a turn when it is time, until told to stop.

use std::path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::clock::SystemClock;
use crate::config::{self, diff};
use crate::daemon::crew::WorkerCrew;
use crate::daemon::gauges::Gauges;
use crate::daemon::herald::Herald;
use crate::daemon::inbox::Event as Incoming;
use crate::daemon::notify::Notify;
use crate::daemon::pace::{Pace, Time};
use crate::daemon::probes::Probes;
use crate::daemon::{Options, logger};
use crate::decide::{orders, rollout};
use crate::docker::Docker;
use crate::haproxy::Haproxy;
use crate::model::action::Done;
use crate::model::command::{Answer, Command, Refusal};
use crate::model::config::Config;
use crate::model::event::{Event, Kind};
use crate::model::memory::Failures;
use crate::model::status::Status;
use crate::model::time::Moment;
use crate::observe;
use crate::outside::{Clock, Engine, Error, Proxy, Result, Store};
use crate::report::slow::Slow;
use crate::report::telemetry::Telemetry;
use crate::serve::Board;
use crate::store::FileStore;
use crate::tick::{Inputs, Mind, Turn, World, tick};

/// How long the end waits for actions under way. What is cut off goes on at the next start.
const LAST_ACTIONS: Duration = Duration::from_secs(10);
/// With `--once`, how long remote metrics may take to answer.
const ONCE_METRICS: Duration = Duration::from_secs(5);
/// With `--once`, how long replicas may take to pass: longer than a health check's usual timeout.
const ONCE_PROBES: Duration = Duration::from_secs(6);
/// With `--once` the actions of the one turn are all there is.
const ONCE_ACTIONS: Duration = Duration::from_secs(120);

pub(crate) struct Parts {
    pub(crate) clock: Arc<SystemClock>,
    pub(crate) engine: Arc<Docker>,
    pub(crate) proxy: Arc<Haproxy>,
    pub(crate) store: FileStore,
    pub(crate) crew: WorkerCrew,
    pub(crate) probes: Probes,
    pub(crate) gauges: Gauges,
    pub(crate) inbox: Receiver<Incoming>,
    pub(crate) board: Arc<Board>,
    pub(crate) notify: Notify,
    pub(crate) herald: Herald,
    pub(crate) telemetry: Arc<Telemetry>,
}

pub(crate) struct Life {
    config: Config,
    options: Options,
    parts: Parts,
    mind: Mind,
    pace: Pace,
    done: Vec<Done>,
    proxy_was_alive: bool,
    stopping: bool,
    started: Moment,
    last_good: Option<Moment>,
    slow: Slow,
}

impl Life {
    pub(crate) fn new(config: Config, options: Options, parts: Parts, mind: Mind) -> Life {
        let (mut config, mut parts) = (config, parts);
        config.dry_run |= options.dry_run;
        let started = parts.clock.now();
        parts.gauges.watch(&config, started);
        Life {
            pace: Pace::new(started, config.check_interval),
            config,
            options,
            parts,
            mind,
            done: Vec::new(),
            proxy_was_alive: false,
            stopping: false,
            started,
            last_good: None,
            slow: Slow::default(),
        }
    }

    pub(crate) fn run(&mut self) -> Result<()> {
        if self.options.once {
            return self.once();
        }
        while !self.stopping {
            let now = self.parts.clock.now();
            let probes = self.parts.probes.send_due(now);
            let waits = probes.into_iter().chain(self.ask(now)).chain([self.pace.idle(now)]);
            self.listen(waits.min().unwrap_or_default());
            self.watch_proxy();
            let now = self.parts.clock.now();
            match self.pace.time(now) {
                Time::Due => self.turn(true),
                Time::Between => self.turn(false),
                Time::NotYet => true,
            };
            self.parts.notify.alive(now);
        }
        self.parts.notify.stopping();
        self.parts.crew.let_go(&|_| false);
        self.wind_up(LAST_ACTIONS);
        self.tell(&Event::new(Kind::DaemonStopping, "replicas and HAProxy run on"));
        Ok(())
    }

    /// Nothing is told any more; what was told goes out.
    pub(crate) fn end(&mut self) {
        self.parts.herald.end();
    }

    /// Sends off the remote metrics that are due; gives how long none will be.
    fn ask(&mut self, now: Moment) -> Option<Duration> {
        let interval = self.config.check_interval;
        self.parts.gauges.send_due(now, self.pace.next_due(), interval)
    }

    fn once(&mut self) -> Result<()> {
        // No later look makes up for what this one does not know.
        let until = self.parts.clock.now().plus(ONCE_METRICS);
        loop {
            let now = self.parts.clock.now();
            let wait = self.ask(now).unwrap_or(ONCE_METRICS).min(until.since(now));
            if self.stopping || self.parts.gauges.is_idle() || wait.is_zero() {
                break;
            }
            self.listen(wait);
        }
        self.probe_once();
        let answered = self.turn(true);
        self.wind_up(ONCE_ACTIONS);
        let failed = self.done.iter().filter(|d| d.result.is_err()).count();
        match (answered, failed) {
            (true, 0) if !self.parts.crew.is_idle() => Err(Error::new(format!(
                "not all that was begun is done after {} s; look again with --once",
                ONCE_ACTIONS.as_secs()
            ))),
            (true, 0) => Ok(()),
            (true, 1) => Err(Error::new("an action failed, see above")),
            (true, failed) => Err(Error::new(format!("{failed} actions failed, see above"))),
            (false, _) => Err(Error::new("docker did not answer, see above")),
        }
    }

    /// Asks every replica until it is known to be healthy or not, within reason. One pass is
    /// enough: there is no time for more.
    fn probe_once(&mut self) {
        let parts = &mut self.parts;
        // What is wrong with either the turn will tell.
        let known = observe::known(&self.mind.memory);
        let listed = parts.engine.list(&self.config.adopted(), &known);
        let containers = listed.unwrap_or_default().containers;
        let proxy = parts.proxy.look(false).ok();
        let mut targets =
            observe::targets(&self.config, &containers, proxy.as_ref(), &self.mind.memory);
        for target in &mut targets {
            Arc::make_mut(&mut target.service).health.healthy_after = 1;
        }
        let known: Vec<_> = containers.into_iter().map(|c| c.id).collect();
        let until = parts.clock.now().plus(ONCE_PROBES);
        let (_, events) = parts.probes.watch(targets, &known, parts.clock.now());
        events.iter().for_each(|event| parts.herald.tell(event));
        loop {
            let now = self.parts.clock.now();
            let wait = self.parts.probes.send_due(now).unwrap_or(ONCE_PROBES).min(until.since(now));
            if self.stopping || self.parts.probes.is_settled() || wait.is_zero() {
                break;
            }
            self.listen(wait);
        }
        self.parts.probes.give_up();
    }

    /// Waits for one message, then takes all that are there.
    fn listen(&mut self, idle: Duration) {
        match self.parts.inbox.recv_timeout(idle) {
            Ok(event) => self.take(event),
            // The signal thread holds a sender as long as the process lives.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
        while let Ok(event) = self.parts.inbox.try_recv() {
            self.take(event);
        }
    }

    fn take(&mut self, event: Incoming) {
        let now = self.parts.clock.now();
        match event {
            Incoming::Docker => self.pace.wake_twice(now),
            Incoming::Told(event) => self.tell(&event),
            Incoming::Done(done) => {
                self.parts.crew.finished(&done);
                self.parts.telemetry.done(&done);
                self.done.push(done);
                self.pace.wake(now);
            }
            Incoming::Probed { id, run, outcome } => {
                let (changed, events) = self.parts.probes.answered(&id, run, outcome, now);
                events.iter().for_each(|event| self.tell(event));
                if changed {
                    self.pace.wake(now);
                }
            }
            Incoming::Command(asked) => asked.answer(|command| self.command(command)),
            Incoming::Reload => drop(self.reload()),
            Incoming::ToggleDebug => logger::toggle_debug(self.config.log_level),
            Incoming::Gauged { source, result, at } => {
                self.parts.gauges.answered(&source, result, at);
            }
            Incoming::Stop => self.stopping = true,
        }
    }

    /// An HAProxy that went away is brought back at once, not at the next look.
    fn watch_proxy(&mut self) {
        let alive = self.parts.proxy.is_alive();
        if self.proxy_was_alive && !alive {
            self.pace.wake(self.parts.clock.now());
        }
        self.proxy_was_alive = alive;
    }

    /// Starts that wait for an image which the config, or a rollback, does not name any more.
    fn let_go(&mut self) {
        let (config, memory) = (&self.config, &self.mind.memory);
        self.parts.crew.let_go(&|parked| {
            let service = config.services.get(&parked.name);
            let known = memory.services.get(parked.name.as_str()).map(|m| &m.rollout);
            let now = service.map(|service| rollout::to_make(service, known));
            now.is_some_and(|now| now.spec_hash() == parked.spec_hash())
        });
    }

    /// Whether Docker answered.
    fn turn(&mut self, due: bool) -> bool {
        self.let_go();
        let parts = &mut self.parts;
        let mut world = World {
            clock: &*parts.clock,
            engine: &*parts.engine,
            proxy: &*parts.proxy,
            store: &parts.store,
            crew: &mut parts.crew,
        };
        let inputs = Inputs {
            config: &self.config,
            due,
            probed: &parts.probes.results,
            heard: &parts.gauges.heard,
            done: std::mem::take(&mut self.done),
        };
        let begun = parts.clock.fine();
        let mut turn = tick(&mut world, &mut self.mind, inputs);
        let took = parts.clock.fine().saturating_sub(begun);
        let slowest = parts.telemetry.turn(took, self.config.check_interval);
        turn.events.extend(self.slow.news(took, slowest));
        let names: Vec<&str> = turn.services.iter().map(|s| s.name.as_str()).collect();
        parts.telemetry.services(&names);
        turn.events.iter().for_each(|event| parts.herald.tell(event));
        turn.readings.iter().for_each(|line| log::debug!("{line}"));
        if due && log::log_enabled!(log::Level::Debug) {
            for (service, plan) in &turn.plans {
                let rules: Vec<String> = plan.because.iter().map(|c| c.rule.to_string()).collect();
                let (wanted, reason) = (plan.wanted, plan.reason());
                log::debug!(
                    "service={service} wanted={wanted} reason={reason} because={:?}",
                    rules.join(", ")
                );
            }
        }
        let now = parts.clock.now();
        let to_probe = std::mem::take(&mut turn.to_probe);
        let (changed, events) = parts.probes.watch(to_probe, &turn.known, now);
        events.iter().for_each(|event| parts.herald.tell(event));
        self.pace.took_turn(now, due, turn.again);
        if changed {
            self.pace.wake(now);
        }
        let answered = turn.engine_error.is_none();
        if due && answered {
            self.last_good = Some(now);
        }
        self.publish(turn);
        answered
    }

    fn publish(&mut self, turn: Turn) {
        let clock = &self.parts.clock;
        // Whoever reads it may be in another folder.
        let config_file = &self.options.config_file;
        let config_file = path::absolute(config_file).unwrap_or_else(|_| config_file.clone());
        let status = Status {
            config_file: config_file.display().to_string(),
            now: clock.now(),
            at: clock.wall(),
            started: self.started,
            check_interval: self.config.check_interval,
            dry_run: self.config.dry_run,
            last_good: self.last_good,
            docker_error: turn.engine_error,
            proxy_error: turn.proxy_error,
            old_proxies: turn.old_proxies,
            services: turn.services,
            orphans: turn.orphans,
            nodes: turn.nodes,
        };
        self.parts.notify.took_turn(&status);
        self.parts.board.publish(status);
    }

    /// Actions that are under way are let end, within reason.
    fn wind_up(&mut self, longest: Duration) {
        let until = self.parts.clock.now().plus(longest);
        while !self.parts.crew.is_idle() && self.parts.clock.now() < until {
            let left = until.since(self.parts.clock.now());
            match self.parts.inbox.recv_timeout(left) {
                Ok(Incoming::Done(done)) => {
                    self.parts.crew.finished(&done);
                    self.parts.telemetry.done(&done);
                    self.mind.told(&done).iter().for_each(|event| self.tell(event));
                    self.done.push(done);
                }
                Ok(Incoming::Told(event)) => self.tell(&event),
                // All else is for a turn, and none follows.
                Ok(_) | Err(_) => (),
            }
        }
    }

    /// What was accepted is stored before it is said to be.
    fn command(&mut self, command: Command) -> Answer {
        let (service, order) = match command {
            Command::Reload => return self.reload().map_err(Refusal::BadConfig),
            Command::Order { service, order } => (service, order),
        };
        let chosen = |name: &str| service.as_deref().is_none_or(|service| service == name);
        let services = self.config.services.values().filter(|s| chosen(s.name.as_str()));
        let services: Vec<_> = services.cloned().collect();
        if let Some(unknown) = service.filter(|_| services.is_empty()) {
            let known: Vec<&str> = self.config.services.keys().map(|n| n.as_str()).collect();
            let known = known.join(", ");
            let words = format!("the config has no service {unknown}; it has: {known}");
            return Err(Refusal::Unknown(words));
        }
        if self.config.dry_run {
            let words = "this is a dry run, which changes nothing";
            return Err(Refusal::Conflict(words.to_owned()));
        }
        let times = (self.parts.clock.now(), self.parts.clock.wall());
        let (mut memory, mut events) = (self.mind.memory.clone(), Vec::new());
        let mut done = Vec::new();
        for service in services {
            let old = memory.services.entry(service.name.as_str().to_owned()).or_default();
            let taken = orders::take(&service, old, times, &order)?;
            *old = taken.memory;
            let name = service.name.as_str();
            done.push(format!("{name}: {}", taken.words));
            events.extend(taken.kind.map(|kind| Event::new(kind, taken.words).service(name)));
        }
        self.parts.store.save(&memory).map_err(|err| Refusal::Unavailable(err.to_string()))?;
        self.mind.memory = memory;
        self.pace.wake(times.0);
        events.iter().for_each(|event| self.tell(event));
        Ok(done.join("; "))
    }

    fn tell(&mut self, event: &Event) {
        self.parts.herald.tell(event);
    }

    fn reload(&mut self) -> std::result::Result<String, Vec<String>> {
        self.parts.notify.reloading();
        let result = self.take_config();
        self.parts.notify.reloaded();
        self.parts.telemetry.config_read(result.is_ok());
        result
    }

    /// The old config goes on unless the new one is good as a whole. Gives what changed, or every
    /// problem.
    fn take_config(&mut self) -> std::result::Result<String, Vec<String>> {
        let file = self.options.config_file.clone();
        let loaded = config::load(&file);
        for problem in &loaded.problems {
            let event = Event::new(Kind::ConfigRejected, problem.to_string());
            if problem.is_warning {
                log::warn!("message={:?}", problem.to_string());
            } else {
                self.tell(&event);
            }
        }
        let Some(mut new) = loaded.config else {
            return Err(loaded.problems.iter().map(|p| p.to_string()).collect());
        };
        if new.fixed != self.config.fixed {
            let message = "state_dir, docker, api and load_balancer are taken at the start only; \
                           restart the daemon to change them";
            self.tell(&Event::new(Kind::ConfigRejected, message));
            return Err(vec![message.to_owned()]);
        }
        new.dry_run |= self.options.dry_run;
        let now = self.parts.clock.now();
        logger::set(new.log_level, new.log_format);
        self.pace.set_interval(now, new.check_interval);
        self.pace.wake(now);
        self.parts.gauges.watch(&new, now);
        if new.notifications != self.config.notifications {
            self.parts.herald.watch(&new.notifications);
        }
        let changes = diff::changes(&self.config, &new);
        let changes =
            if changes.is_empty() { "nothing changed".to_owned() } else { changes.join("; ") };
        let message = format!("{}, {}: {changes}", file.display(), new.counted());
        self.tell(&Event::new(Kind::ConfigReloaded, message.clone()));
        // What kept failing may have been mended.
        self.mind.memory.services.values_mut().for_each(|s| s.failures = Failures::default());
        self.config = new;
        Ok(message)
    }
}
