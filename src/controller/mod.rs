//! The control loop, apart from threads and sockets: what to do about each event that comes in,
//! when to tick, whom to probe, which metrics to read. Two drivers run it: `daemon` on threads and
//! the real world, `sim` in made-up time.
//!
//! A driver hands every event to [`Controller::handle`], calls [`Controller::poll`] when
//! [`Controller::idle`] is over or an event came in, and carries out the effects that it returns.

pub(crate) mod commands;
pub(crate) mod effective_config;
pub(crate) mod forecaster;
pub(crate) mod history_slices;
pub(crate) mod hook_gate;
pub(crate) mod image_watch;
pub(crate) mod in_flight;
pub(crate) mod load_watch;
pub(crate) mod metric_poller;
pub(crate) mod prober;
pub(crate) mod schedule;
pub(crate) mod tick;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::controller::effective_config::{EffectiveConfig, Listed};
use crate::controller::forecaster::{ForecastRead, Forecaster};
use crate::controller::history_slices::ReadSlices;
use crate::controller::image_watch::ImageWatch;
use crate::controller::in_flight::InFlight;
use crate::controller::load_watch::LoadWatch;
use crate::controller::metric_poller::{Evaluation, MetricPoller, MetricRead};
use crate::controller::prober::Prober;
use crate::controller::schedule::{NextTick, TickSchedule};
use crate::controller::tick::{Adapters, ControllerState, TickInput, TickOutput, tick};
use crate::decide::rollout;
use crate::model::action::{Action, Claim, Done};
use crate::model::config::Config;
use crate::model::event::{Event, Kind};
use crate::model::image::{ImageAnswer, ImageRequest};
use crate::model::memory::Memory;
use crate::model::metric::{Milli, Source};
use crate::model::plan::ServiceTransition;
use crate::model::replica::ContainerId;
use crate::model::service::Service;
use crate::model::status::Status;
use crate::model::time::Moment;
use crate::observe;
use crate::observe::health::probe_results::ReplicaRun;
use crate::observe::health::{ProbeOutcome, ProbeTarget};
use crate::observe::metric::EarlyEvaluation;

/// How often HAProxy is checked to be alive, which costs two reads of files.
pub(crate) const PROXY_WATCH: Duration = Duration::from_secs(1);
/// Until the next tick when an action had no room.
const CROWDED: Duration = Duration::from_millis(250);

/// What wakes the controller.
#[derive(Debug)]
pub(crate) enum LoopEvent {
    /// Something happened to one of our containers, or may have.
    Docker,
    /// Connections are held, copied or ended, or their number changed.
    Connections,
    /// An action ended.
    Done(Done),
    /// A start that waited for its image was cancelled before it was begun.
    Cancelled(Claim),
    Probed {
        id: ContainerId,
        run: ReplicaRun,
        outcome: ProbeOutcome,
    },
    /// A remote metric answered, or did not in time; and when.
    MetricRead {
        source: Source,
        result: Result<Milli, String>,
        at: Moment,
    },
    /// The load history was read for the forecast, or cannot be.
    HistoryRead {
        id: u64,
        service: String,
        read: ReadSlices,
    },
    /// A registry answered about a watched image, or did not; or this host has pulled or tagged it.
    ImageSeen {
        request: ImageRequest,
        result: Result<Option<ImageAnswer>, String>,
        at: Moment,
    },
}

/// What a driver is to do.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Carry it out; it ends with [`LoopEvent::Done`].
    Begin(Action),
    /// Cancel this start if it still waits for its image.
    Cancel(Claim),
    /// Ends with [`LoopEvent::Probed`].
    Probe(ProbeTarget),
    /// Ends with [`LoopEvent::MetricRead`].
    ReadMetric(MetricRead),
    /// Ends with [`LoopEvent::HistoryRead`].
    ReadHistory(ForecastRead),
    /// Ends with [`LoopEvent::ImageSeen`].
    AskImage(ImageRequest),
    /// Report it to the operator.
    Emit(Event),
}

/// What a poll came to.
pub(crate) struct Poll {
    /// In this order.
    pub(crate) effects: Vec<Effect>,
    pub(crate) tick: Option<Ticked>,
}

/// The output of a tick, for display and checks. Its events and actions are effects of the poll.
pub(crate) struct Ticked {
    pub(crate) output: TickOutput,
    pub(crate) is_evaluation: bool,
    pub(crate) took: Duration,
}

/// Settings that no reload changes.
pub(crate) struct Settings {
    /// As it is shown. `None`: there was none at the start.
    pub(crate) config_file: Option<String>,
    /// Set on the command line: it outlives a reload of the config.
    pub(crate) is_dry_run: bool,
    /// Healthy replicas are probed on.
    pub(crate) probes_healthy: bool,
}

pub(crate) struct Controller {
    config: EffectiveConfig,
    settings: Settings,
    state: ControllerState,
    schedule: TickSchedule,
    prober: Prober,
    metric_poller: MetricPoller,
    forecaster: Forecaster,
    image_watch: ImageWatch,
    load_watch: LoadWatch,
    in_flight: InFlight,
    /// Actions that ended since the last tick.
    done: Vec<Done>,
    /// The config changed since the last tick.
    is_reloaded: bool,
    proxy_was_alive: bool,
    /// At the last tick.
    proxy_was_there: bool,
    next_proxy_check: Moment,
    started: Moment,
    /// The last evaluation at which the engine answered.
    last_good: Option<Moment>,
}

/// Images whose update is complete, with their digests: this host's tag follows only now, so that
/// it never names an image that was rolled back.
fn updated(output: &TickOutput) -> Vec<(String, String)> {
    let transitions = output.plans.values().flat_map(|plan| &plan.service_transitions);
    let updated = |transition: &ServiceTransition| {
        let ServiceTransition::ImageUpdated { image, to, .. } = transition else { return None };
        Some((image.clone(), to.clone()))
    };
    transitions.filter_map(updated).collect()
}

impl Controller {
    pub(crate) fn new(
        mut config: Config,
        settings: Settings,
        state: ControllerState,
        now: Moment,
    ) -> Controller {
        config.dry_run |= settings.is_dry_run;
        let config = EffectiveConfig::new(config, state.memory.labels.clone());
        let mut metric_poller = MetricPoller::default();
        metric_poller.watch(config.get(), now);
        let mut forecaster = Forecaster::default();
        forecaster.watch(config.get(), now);
        Controller {
            schedule: TickSchedule::new(now, config.get().check_interval),
            config,
            prober: Prober::new(settings.probes_healthy),
            settings,
            state,
            metric_poller,
            forecaster,
            image_watch: ImageWatch::default(),
            load_watch: LoadWatch::default(),
            in_flight: InFlight::default(),
            done: Vec::new(),
            is_reloaded: false,
            proxy_was_alive: false,
            proxy_was_there: false,
            next_proxy_check: now,
            started: now,
            last_good: None,
        }
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.state.memory
    }

    pub(crate) fn config(&self) -> &Config {
        self.config.get()
    }

    /// Handles an event; returns events to report to the operator.
    pub(crate) fn handle(&mut self, event: LoopEvent, now: Moment) -> Vec<Event> {
        match event {
            LoopEvent::Docker => self.schedule.wake_twice(now),
            LoopEvent::Connections => self.schedule.wake(now),
            LoopEvent::Done(done) => {
                self.in_flight.ended(&done, now);
                if let Action::RunHook(run) = &done.action {
                    let (changed, event) = self.prober.hook_ended(run, &done.result, now);
                    if changed {
                        self.schedule.wake(now);
                    }
                    return event.into_iter().collect();
                }
                self.done.push(done);
                self.schedule.wake(now);
            }
            LoopEvent::Cancelled(claim) => {
                self.in_flight.cancelled(&claim);
                self.schedule.wake(now);
            }
            LoopEvent::Probed { id, run, outcome } => {
                let (changed, events) = self.prober.answered(&id, run, outcome, now);
                if changed {
                    self.schedule.wake(now);
                }
                return events;
            }
            LoopEvent::MetricRead { source, result, at } => {
                self.metric_poller.answered(&source, result, at);
            }
            LoopEvent::HistoryRead { id, service, read } => {
                self.forecaster.answered(id, &service, read, now);
            }
            LoopEvent::ImageSeen { request, result, at } => {
                self.image_watch.answered(&request, result, at);
                self.schedule.wake(now);
            }
        }
        Vec::new()
    }

    /// Ticks if it is time, and collects what is due. `is_verbose`: the output includes readings.
    pub(crate) fn poll(&mut self, adapters: &Adapters, is_verbose: bool) -> Poll {
        let now = adapters.clock.now();
        self.watch_proxy(adapters, now);
        let mut effects = Vec::new();
        let early = self.watch_load(adapters, now);
        let next = self.schedule.next(now);
        let is_evaluation = next == NextTick::Evaluation;
        let is_due = next != NextTick::NotYet || !early.services.is_empty();
        let died = is_due.then(|| self.proxy_died(adapters, now)).flatten();
        effects.extend(died.map(Effect::Emit));
        let tick =
            is_due.then(|| self.tick(adapters, is_evaluation, &early, is_verbose, &mut effects));
        effects.extend(self.due(adapters.clock.now()));
        let reads = self.forecaster.due(adapters.clock.now(), adapters.clock.wall());
        effects.extend(reads.into_iter().map(Effect::ReadHistory));
        Poll { effects, tick }
    }

    /// Probes to send, metrics to read and hooks to run now.
    pub(crate) fn due(&mut self, now: Moment) -> Vec<Effect> {
        let probes = self.prober.due(now).into_iter().map(Effect::Probe);
        let reads = self.metric_poller.due(now, self.evaluation()).into_iter();
        let images = self.image_watch.due(now).into_iter().map(Effect::AskImage);
        let reads = reads.map(Effect::ReadMetric);
        let mut effects: Vec<Effect> = probes.chain(reads).chain(images).collect();
        effects.extend(self.begin_hooks(now));
        effects
    }

    fn begin_hooks(&mut self, now: Moment) -> Vec<Effect> {
        let mut effects = Vec::new();
        for run in self.prober.due_hooks(now) {
            let id = run.id.clone();
            let action = Action::RunHook(run);
            if self.in_flight.begin(&action) {
                self.prober.hook_begun(&id);
                effects.push(Effect::Begin(action));
            } else {
                self.prober.hook_postponed(&id, now);
            }
        }
        effects
    }

    /// How long until there is something to poll for, apart from [`Self::until_proxy_check`].
    pub(crate) fn idle(&self, now: Moment) -> Duration {
        self.idle_but_samples(now).min(self.load_watch.idle(now).unwrap_or(Duration::MAX))
    }

    /// As [`Self::idle`], for a driver which knows that load and replicas stay as they are until
    /// then.
    pub(crate) fn idle_steady(&self, now: Moment, until: Moment) -> Duration {
        let others = self.idle_but_samples(now);
        let sample = self.load_watch.idle_steady(now, until.min(now.plus(others)));
        others.min(sample.unwrap_or(Duration::MAX))
    }

    fn idle_but_samples(&self, now: Moment) -> Duration {
        let history = self.forecaster.idle(now).unwrap_or(Duration::MAX);
        self.schedule.idle(now).min(self.until_due(now)).min(history)
    }

    /// How long until `due` gives something.
    pub(crate) fn until_due(&self, now: Moment) -> Duration {
        let metrics = self.metric_poller.idle(now, self.evaluation());
        let images = self.image_watch.idle(now);
        metrics
            .into_iter()
            .chain(self.prober.idle(now))
            .chain(images)
            .min()
            .unwrap_or(Duration::MAX)
    }

    /// How long until HAProxy is to be checked, for which a driver has to poll.
    pub(crate) fn until_proxy_check(&self, now: Moment) -> Duration {
        self.next_proxy_check.since(now)
    }

    fn evaluation(&self) -> Evaluation {
        let interval = self.config().check_interval;
        Evaluation { at: self.schedule.next_evaluation(), interval }
    }

    /// An HAProxy that died is started at once, not at the next evaluation.
    fn watch_proxy(&mut self, adapters: &Adapters, now: Moment) {
        if now < self.next_proxy_check {
            return;
        }
        self.next_proxy_check = now.plus(PROXY_WATCH);
        let is_alive = adapters.proxy.is_alive();
        if self.proxy_was_alive && !is_alive {
            self.schedule.wake(now);
        }
        self.proxy_was_alive = is_alive;
    }

    /// Before each tick, as the tick itself starts HAProxy again. A reload that is under way ends
    /// one process and starts another.
    fn proxy_died(&mut self, adapters: &Adapters, now: Moment) -> Option<Event> {
        if self.in_flight.claims(now).contains(&Claim::Proxy) {
            return None;
        }
        let is_there = adapters.proxy.is_alive();
        let was_there = std::mem::replace(&mut self.proxy_was_there, is_there);
        let died = was_there && !is_there;
        died.then(|| Event::new(Kind::ProxyDied, "HAProxy ended; it is started again"))
    }

    /// The services whose load rose since the last evaluation.
    fn watch_load(&mut self, adapters: &Adapters, now: Moment) -> EarlyEvaluation {
        let replicas = self.load_watch.due(now);
        if replicas.is_empty() {
            return EarlyEvaluation::default();
        }
        self.load_watch.sampled(&adapters.engine.cpu_counters(&replicas))
    }

    fn tick(
        &mut self,
        adapters: &Adapters,
        is_evaluation: bool,
        early: &EarlyEvaluation,
        is_verbose: bool,
        effects: &mut Vec<Effect>,
    ) -> Ticked {
        let begun = adapters.clock.fine();
        let claims = self.in_flight.claims(adapters.clock.now());
        let forecasts = match is_evaluation || !early.services.is_empty() {
            true => self.forecaster.forecasts(adapters.clock.wall()),
            false => BTreeMap::new(),
        };
        let input = TickInput {
            config: &mut self.config,
            is_evaluation,
            early,
            probed: &self.prober.results,
            remote_metrics: &self.metric_poller.remote_metrics,
            registries: &self.image_watch.seen,
            forecasts: &forecasts,
            claims: &claims,
            done: std::mem::take(&mut self.done),
            is_verbose,
        };
        let mut output = tick(adapters, &mut self.state, input);
        let took = adapters.clock.fine().saturating_sub(begun);
        effects.extend(std::mem::take(&mut output.events).into_iter().map(Effect::Emit));
        let mut requeue_after = output.requeue_after;
        for action in std::mem::take(&mut output.actions) {
            if self.in_flight.begin(&action) {
                effects.push(Effect::Begin(action));
            } else {
                requeue_after = requeue_after.into_iter().chain([CROWDED]).min();
            }
        }
        let now = adapters.clock.now();
        let to_probe = std::mem::take(&mut output.to_probe);
        let (changed, events) = self.prober.watch(to_probe, &output.known, now);
        effects.extend(events.into_iter().map(Effect::Emit));
        self.image_watch.watch(std::mem::take(&mut output.images), now);
        if !self.config.get().dry_run {
            for (image, digest) in updated(&output) {
                self.image_watch.tag(image, digest);
            }
        }
        let to_watch = std::mem::take(&mut output.to_watch);
        self.load_watch.watch(to_watch, self.config.get().check_interval, is_evaluation);
        if output.is_reconfigured {
            self.metric_poller.watch(self.config.get(), now);
            self.forecaster.watch(self.config.get(), now);
            self.is_reloaded = true;
        }
        if is_evaluation {
            self.forecaster.evaluated(adapters.clock.wall(), &output.services);
        }
        self.schedule.ticked(now, is_evaluation, requeue_after);
        if changed {
            self.schedule.wake(now);
        }
        if is_evaluation && output.engine_error.is_none() {
            self.last_good = Some(now);
        }
        let is_reloaded = std::mem::take(&mut self.is_reloaded);
        if is_evaluation || is_reloaded {
            effects.extend(self.cancel_stale_starts());
        }
        Ticked { output, is_evaluation, took }
    }

    /// Starts that wait for an image which the config, or a roll-back, does not name any more.
    fn cancel_stale_starts(&self) -> Vec<Effect> {
        let is_wanted = |begun: &Service| {
            let service = self.config().services.get(&begun.name);
            let memory = self.state.memory.services.get(begun.name.as_str());
            let now = service.map(|service| rollout::to_make(service, memory.map(|m| &m.rollout)));
            now.is_some_and(|now| rollout::key(&now) == rollout::key(begun))
        };
        self.in_flight.stale_starts(is_wanted).into_iter().map(Effect::Cancel).collect()
    }

    /// The status that the API and the commands show.
    pub(crate) fn status(&self, adapters: &Adapters, output: TickOutput) -> Status {
        Status {
            config_file: self.settings.config_file.clone(),
            now: adapters.clock.now(),
            at: adapters.clock.wall(),
            started: self.started,
            check_interval: self.config().check_interval,
            dry_run: self.config().dry_run,
            last_good: self.last_good,
            docker_error: output.engine_error,
            proxy_error: output.proxy_error,
            old_proxies: output.old_proxies,
            processor: self.state.processor(),
            certificates: output.certificates,
            services: output.services,
            orphans: output.orphans,
            labels: self.config.verdicts().to_vec(),
            nodes: output.nodes,
            problems: Vec::new(),
        }
    }

    /// Begins nothing more: cancels the starts that wait for an image.
    pub(crate) fn shut_down(&self) -> Vec<Effect> {
        self.in_flight.stale_starts(|_| false).into_iter().map(Effect::Cancel).collect()
    }

    /// An action ended, and no tick follows.
    pub(crate) fn ended(&mut self, done: &Done, now: Moment) -> Vec<Event> {
        self.in_flight.ended(done, now);
        if let Action::RunHook(run) = &done.action {
            return self.prober.hook_ended(run, &done.result, now).1.into_iter().collect();
        }
        self.state.ended(done)
    }

    /// No action is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Every remote metric was read.
    pub(crate) fn has_read_metrics(&self) -> bool {
        self.metric_poller.is_idle()
    }

    /// Every replica is known to be healthy or unhealthy.
    pub(crate) fn has_probed(&self) -> bool {
        self.prober.is_settled()
    }

    /// How long hooks of replicas may take that would be ready else. `None`: none is awaited.
    pub(crate) fn hooks_left(&self) -> Option<Duration> {
        self.prober.hooks_left()
    }

    /// Before a single tick: watches every replica, and one pass is enough, as there is no time for
    /// more.
    pub(crate) fn probe_all_once(&mut self, adapters: &Adapters) -> Vec<Event> {
        let known = observe::known(&self.state.memory);
        // The tick reports errors of either.
        let Listed { listing, mut events, .. } = self.config.list(adapters.engine, known);
        self.metric_poller.watch(self.config.get(), adapters.clock.now());
        let containers = listing.unwrap_or_default().containers;
        let proxy = adapters.proxy.look(false).ok();
        let memory = &self.state.memory;
        let mut targets = observe::targets(self.config.get(), &containers, proxy.as_ref(), memory);
        for target in &mut targets {
            Arc::make_mut(&mut target.service).health.healthy_after = 1;
        }
        let known: Vec<_> = containers.into_iter().map(|c| c.id).collect();
        events.extend(self.prober.watch(targets, &known, adapters.clock.now()).1);
        events
    }

    /// Replicas that gave no answer so far count as starting.
    pub(crate) fn stop_probing(&mut self) {
        self.prober.give_up();
    }
}
