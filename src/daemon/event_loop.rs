//! Drives the controller on the real world: receives events, polls, and carries out effects, until
//! it is stopped.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::activator::SocketActivator;
use crate::clock::SystemClock;
use crate::config::{self, ConfigFile};
use crate::controller::tick::Adapters;
use crate::controller::{Controller, Effect, LoopEvent, Poll, Ticked};
use crate::daemon::event_recorder::EventRecorder;
use crate::daemon::executor::Executor;
use crate::daemon::history_threads::HistoryThreads;
use crate::daemon::history_writer::HistoryWriter;
use crate::daemon::image_threads::ImageThreads;
use crate::daemon::inbox::Incoming;
use crate::daemon::logger;
use crate::daemon::metric_threads::MetricThreads;
use crate::daemon::notify::Notify;
use crate::daemon::probe_threads::ProbeThreads;
use crate::daemon::weekly_reporter::WeeklyReporter;
use crate::docker::Docker;
use crate::haproxy::Haproxy;
use crate::model::command::{Answer, Command, Refusal};
use crate::model::event::{Event, Kind};
use crate::model::status::Status;
use crate::model::time::Moment;
use crate::outside::{Clock, Result};
use crate::report::problems::Problems;
use crate::report::slow_ticks::SlowTicks;
use crate::report::telemetry::Telemetry;
use crate::serve::StatusCell;
use crate::serve::acme::AcmeServer;
use crate::store::FileStore;

/// How long a shutdown waits for running actions. The next start continues one that is cut off.
const LAST_ACTIONS: Duration = Duration::from_secs(10);

/// How long a shutdown waits for connections that are held or copied.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

pub(crate) struct Options {
    pub(crate) config_file: ConfigFile,
    pub(crate) once: bool,
    /// Given on the command line: it outlives a reload of the config.
    pub(crate) dry_run: bool,
}

pub(crate) struct Components {
    pub(crate) clock: Arc<SystemClock>,
    pub(crate) engine: Arc<Docker>,
    pub(crate) proxy: Arc<Haproxy>,
    pub(crate) activator: SocketActivator,
    pub(crate) store: FileStore,
    pub(crate) executor: Executor,
    pub(crate) probes: ProbeThreads,
    pub(crate) metrics: MetricThreads,
    pub(crate) history_threads: HistoryThreads,
    pub(crate) images: ImageThreads,
    pub(crate) inbox: Receiver<Incoming>,
    pub(crate) status_cell: Arc<StatusCell>,
    pub(crate) notify: Notify,
    pub(crate) recorder: EventRecorder,
    pub(crate) history_writer: HistoryWriter,
    pub(crate) weekly_reporter: WeeklyReporter,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) acme: AcmeServer,
}

impl Components {
    pub(crate) fn adapters(&self) -> Adapters<'_> {
        Adapters {
            clock: &*self.clock,
            engine: &*self.engine,
            proxy: &*self.proxy,
            activator: &self.activator,
            store: &self.store,
        }
    }
}

pub(crate) struct EventLoop {
    pub(crate) controller: Controller,
    pub(crate) components: Components,
    options: Options,
    pub(crate) is_stopping: bool,
    /// When a shutdown waits no longer for what is held.
    stops_at: Option<Moment>,
    slow: SlowTicks,
    problems: Problems,
    /// An event may have changed the problems since the status was published.
    has_new_problems: bool,
}

impl EventLoop {
    pub(crate) fn new(
        controller: Controller,
        options: Options,
        components: Components,
    ) -> EventLoop {
        EventLoop {
            controller,
            components,
            options,
            is_stopping: false,
            stops_at: None,
            slow: SlowTicks::default(),
            problems: Problems::default(),
            has_new_problems: false,
        }
    }

    pub(crate) fn run(&mut self) -> Result<()> {
        if self.options.once {
            return self.run_once();
        }
        while !self.may_stop() {
            self.poll();
            self.publish_problems();
            let now = self.now();
            self.components.notify.alive(now);
            self.receive(self.controller.idle(now).min(self.controller.until_proxy_check(now)));
        }
        self.components.notify.stopping();
        let cancelled = self.controller.shut_down();
        self.carry_out(cancelled);
        self.wind_up(LAST_ACTIONS);
        self.record(&Event::new(Kind::DaemonStopping, "replicas and HAProxy run on"));
        Ok(())
    }

    /// What is held is answered first, if that does not take long.
    fn may_stop(&mut self) -> bool {
        if !self.is_stopping {
            return false;
        }
        let now = self.now();
        let until = *self.stops_at.get_or_insert(now.plus(LAST_REQUESTS));
        self.components.activator.is_idle() || until <= now
    }

    /// Sends what webhooks have not been sent yet; nothing is recorded afterwards.
    pub(crate) fn end(&mut self) {
        self.components.recorder.end();
    }

    pub(crate) fn now(&self) -> Moment {
        self.components.clock.now()
    }

    /// Waits for one message at most this long, then takes all that are there.
    pub(crate) fn receive(&mut self, longest: Duration) {
        match self.components.inbox.recv_timeout(longest) {
            Ok(message) => self.take(message),
            // The signal thread holds a sender as long as the process lives.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
        while let Ok(message) = self.components.inbox.try_recv() {
            self.take(message);
        }
    }

    fn take(&mut self, message: Incoming) {
        match message {
            Incoming::Loop(event) => self.handle(event),
            Incoming::Report(event) => self.record(&event),
            Incoming::Command(pending) => pending.answer(|command| self.command(command)),
            Incoming::Reload => drop(self.reload()),
            Incoming::ToggleDebug => logger::toggle_debug(self.controller.config().log_level),
            Incoming::Stop => self.is_stopping = true,
        }
    }

    fn handle(&mut self, event: LoopEvent) {
        if let LoopEvent::Done(done) = &event {
            self.components.telemetry.done(done);
        }
        let now = self.now();
        self.controller.handle(event, now).iter().for_each(|event| self.record(event));
    }

    /// Polls the controller; gives whether it ticked, and Docker answered.
    pub(crate) fn poll(&mut self) -> Option<bool> {
        let is_verbose = log::log_enabled!(log::Level::Debug);
        let adapters = self.components.adapters();
        let Poll { effects, tick } = self.controller.poll(&adapters, is_verbose);
        self.carry_out(effects);
        tick.map(|tick| self.ticked(tick))
    }

    pub(crate) fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Emit(event) => self.record(&event),
                Effect::Begin(action) => self.components.executor.begin(action),
                Effect::Cancel(claim) => {
                    if self.components.executor.cancel(&claim) {
                        self.handle(LoopEvent::Cancelled(claim));
                    }
                }
                Effect::Probe(target) => self.components.probes.send(target),
                Effect::AskImage(request) => self.components.images.send(request),
                Effect::ReadHistory(read) => self.components.history_threads.send(read),
                Effect::ReadMetric(read) => self.components.metrics.send(read),
            }
        }
    }

    /// Counts, logs and publishes a tick; gives whether Docker answered.
    fn ticked(&mut self, tick: Ticked) -> bool {
        let Ticked { output, is_evaluation, took } = tick;
        if is_evaluation {
            self.components.acme.retry();
        }
        let interval = self.controller.config().check_interval;
        let slowest = self.components.telemetry.turn(took, interval);
        let slow = self.slow.update(took, slowest);
        slow.iter().for_each(|event| self.record(event));
        let names: Vec<&str> = output.services.iter().map(|s| s.name.as_str()).collect();
        self.components.telemetry.services(&names);
        self.components.telemetry.slept(self.now(), &output.services);
        for (service, panic) in &output.panics {
            log::error!("service={service} message=\"decision failed\" panic={panic:?}");
        }
        output.readings.iter().for_each(|line| log::debug!("{line}"));
        if is_evaluation && log::log_enabled!(log::Level::Debug) {
            for (service, plan) in &output.plans {
                let rules: Vec<String> =
                    plan.decision.because.iter().map(|c| c.rule.to_string()).collect();
                let desired = plan.decision.desired;
                let reason = plan.decision.reason();
                log::debug!(
                    "service={service} desired={desired} reason={reason} because={:?}",
                    rules.join(", ")
                );
            }
        }
        let answered = output.engine_error.is_none();
        let mut status = self.controller.status(&self.components.adapters(), output);
        let keep = self.controller.config().history;
        let event = self.components.history_writer.ticked(&status, is_evaluation, keep);
        event.iter().for_each(|event| self.record(event));
        if !self.options.once {
            self.components.weekly_reporter.ticked(self.controller.config(), status.at);
        }
        self.problems.complete(&mut status);
        self.has_new_problems = false;
        self.components.notify.took_turn(&status);
        self.components.status_cell.publish(status);
        answered
    }

    /// Lets actions end that are under way, within a bound of time.
    pub(crate) fn wind_up(&mut self, longest: Duration) -> usize {
        let until = self.now().plus(longest);
        let mut failed = 0;
        while !self.controller.is_idle() && self.now() < until {
            match self.components.inbox.recv_timeout(until.since(self.now())) {
                Ok(Incoming::Loop(LoopEvent::Done(done))) => {
                    self.components.telemetry.done(&done);
                    failed += usize::from(done.result.is_err());
                    let events = self.controller.ended(&done, self.now());
                    events.iter().for_each(|event| self.record(event));
                }
                Ok(Incoming::Report(event)) => self.record(&event),
                // All else is for a tick, and none follows.
                Ok(_) | Err(_) => (),
            }
        }
        failed
    }

    fn command(&mut self, command: Command) -> Answer {
        match command {
            Command::Reload => self.reload().map_err(Refusal::BadConfig),
            Command::Order { service, order } => {
                let adapters = self.components.adapters();
                let (answer, events) =
                    self.controller.command(service.as_deref(), &order, &adapters);
                events.iter().for_each(|event| self.record(event));
                answer
            }
        }
    }

    pub(crate) fn record(&mut self, event: &Event) {
        self.components.recorder.record(event);
        self.has_new_problems |= self.problems.note(event, self.components.clock.wall());
    }

    /// Between two ticks.
    fn publish_problems(&mut self) {
        if !std::mem::take(&mut self.has_new_problems) {
            return;
        }
        if let Some(status) = self.components.status_cell.read() {
            let mut status = Status::clone(&status);
            self.problems.complete(&mut status);
            self.components.status_cell.publish(status);
        }
    }

    fn reload(&mut self) -> std::result::Result<String, Vec<String>> {
        self.components.notify.reloading();
        let loaded = config::load_or_default(&self.options.config_file);
        for warning in loaded.problems.iter().filter(|problem| problem.is_warning) {
            log::warn!("message={:?}", warning.to_string());
        }
        let before = self.controller.config().notifications.clone();
        let (result, events) = self.controller.reload(loaded, self.now());
        if result.is_ok() {
            // A file that was there once and is missing later is an error, not a wish for labels.
            self.options.config_file.is_named |= !self.options.config_file.is_absent();
            let config = self.controller.config();
            logger::set(config.log_level, config.log_format);
            let webroot = config.front_door.acme_webroot.as_deref();
            if let Err(err) = self.components.acme.serve(webroot) {
                log::warn!("message={:?}", err.to_string());
            }
            if config.notifications != before {
                self.components.recorder.watch(&config.notifications);
                self.problems.forget_webhooks();
            }
        }
        events.iter().for_each(|event| self.record(event));
        self.components.notify.reloaded();
        self.components.telemetry.config_read(result.is_ok());
        result
    }
}
