//! The loop: takes what comes in, takes a turn when it is time, until told to stop.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::clock::SystemClock;
use crate::config::{self, diff};
use crate::daemon::crew::WorkerCrew;
use crate::daemon::inbox::Event as Incoming;
use crate::daemon::pace::{Pace, Time};
use crate::daemon::probes::Probes;
use crate::daemon::{Options, logger};
use crate::docker::Docker;
use crate::haproxy::Haproxy;
use crate::model::action::Done;
use crate::model::config::Config;
use crate::model::event::{Event, Kind};
use crate::model::memory::Failures;
use crate::outside::{Clock, Error, Proxy, Result};
use crate::report::events;
use crate::store::FileStore;
use crate::tick::{Inputs, Mind, World, tick};

/// How long the end waits for actions under way. What is cut off goes on at the next start.
const LAST_ACTIONS: Duration = Duration::from_secs(10);
/// With `--once` the actions of the one turn are all there is.
const ONCE_ACTIONS: Duration = Duration::from_secs(120);

pub(crate) struct Parts {
    pub(crate) clock: Arc<SystemClock>,
    pub(crate) engine: Arc<Docker>,
    pub(crate) proxy: Arc<Haproxy>,
    pub(crate) store: FileStore,
    pub(crate) crew: WorkerCrew,
    pub(crate) probes: Probes,
    pub(crate) inbox: Receiver<Incoming>,
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
}

impl Life {
    pub(crate) fn new(config: Config, options: Options, parts: Parts, mind: Mind) -> Life {
        let mut config = config;
        config.dry_run |= options.dry_run;
        let pace = Pace::new(parts.clock.now(), config.check_interval);
        let done = Vec::new();
        Life { config, options, parts, mind, pace, done, proxy_was_alive: false, stopping: false }
    }

    pub(crate) fn run(&mut self) -> Result<()> {
        if self.options.once {
            return self.once();
        }
        while !self.stopping {
            let now = self.parts.clock.now();
            let probes = self.parts.probes.send_due(now);
            let idle = probes.into_iter().chain([self.pace.idle(now)]).min().unwrap_or_default();
            self.listen(idle);
            self.watch_proxy();
            let now = self.parts.clock.now();
            match self.pace.time(now) {
                Time::Due => self.turn(true),
                Time::Between => self.turn(false),
                Time::NotYet => true,
            };
        }
        self.wind_up(LAST_ACTIONS);
        logger::event(&Event::new(Kind::DaemonStopping, "replicas and HAProxy run on"));
        Ok(())
    }

    fn once(&mut self) -> Result<()> {
        let answered = self.turn(true);
        self.wind_up(ONCE_ACTIONS);
        let failed = self.done.iter().filter(|d| d.result.is_err()).count();
        match (answered, failed) {
            (true, 0) => Ok(()),
            (true, 1) => Err(Error::new("an action failed, see above")),
            (true, failed) => Err(Error::new(format!("{failed} actions failed, see above"))),
            (false, _) => Err(Error::new("docker did not answer, see above")),
        }
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
            Incoming::Done(done) => {
                self.parts.crew.finished(&done);
                self.done.push(done);
                self.pace.wake(now);
            }
            Incoming::Probed { id, result } => {
                let (changed, event) = self.parts.probes.answered(&id, result, now);
                event.iter().for_each(logger::event);
                if changed {
                    self.pace.wake(now);
                }
            }
            Incoming::Reload => self.reload(),
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

    /// Whether Docker answered.
    fn turn(&mut self, due: bool) -> bool {
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
            done: std::mem::take(&mut self.done),
        };
        let turn = tick(&mut world, &mut self.mind, inputs);
        turn.events.iter().for_each(logger::event);
        if due {
            for (service, plan) in &turn.plans {
                let rules: Vec<String> = plan.because.iter().map(|r| r.to_string()).collect();
                let (wanted, reason) = (plan.wanted, plan.reason());
                log::debug!(
                    "service={service} wanted={wanted} reason={reason} because={:?}",
                    rules.join(", ")
                );
            }
        }
        let now = parts.clock.now();
        parts.probes.watch(turn.to_probe, &turn.known, now);
        self.pace.took_turn(now, due, turn.again);
        turn.engine_answers
    }

    /// Actions that are under way are let end, within reason.
    fn wind_up(&mut self, longest: Duration) {
        let until = self.parts.clock.now().plus(longest);
        while !self.parts.crew.is_idle() && self.parts.clock.now() < until {
            let left = until.since(self.parts.clock.now());
            if let Ok(Incoming::Done(done)) = self.parts.inbox.recv_timeout(left) {
                self.parts.crew.finished(&done);
                events::done(&done).iter().for_each(logger::event);
                self.done.push(done);
            }
        }
    }

    /// The old config goes on unless the new one is good as a whole.
    fn reload(&mut self) {
        let file = self.options.config_file.clone();
        let loaded = config::load(&file);
        for problem in &loaded.problems {
            let event = Event::new(Kind::ConfigRejected, problem.to_string());
            if problem.is_warning {
                log::warn!("message={:?}", problem.to_string());
            } else {
                logger::event(&event);
            }
        }
        let Some(mut new) = loaded.config else { return };
        if new.fixed != self.config.fixed {
            let message = "state_dir, docker and load_balancer are taken at the start only; \
                           restart the daemon to change them";
            return logger::event(&Event::new(Kind::ConfigRejected, message));
        }
        new.dry_run |= self.options.dry_run;
        let now = self.parts.clock.now();
        logger::set_level(new.log_level);
        self.pace.set_interval(now, new.check_interval);
        self.pace.wake(now);
        let changes = diff::changes(&self.config, &new);
        let changes =
            if changes.is_empty() { "nothing changed".to_owned() } else { changes.join("; ") };
        let message = format!("{}, {}: {changes}", file.display(), new.counted());
        logger::event(&Event::new(Kind::ConfigReloaded, message));
        // What kept failing may have been mended.
        self.mind.memory.services.values_mut().for_each(|s| s.failures = Failures::default());
        self.config = new;
    }
}
