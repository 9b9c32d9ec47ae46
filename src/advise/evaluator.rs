//! One service with given settings on a recorded load, by the production decisions alone: no
//! containers, HAProxy or events. It takes a fiftieth of the time of the simulator, whose figures
//! it comes close to, so that a search can try hundreds of settings.
//!
//! A service that has come to rest is evaluated once more at the end of a time of constant load,
//! any other one at every interval.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::advise::load::{LoadSpan, moment, need};
use crate::decide;
use crate::decide::metrics::cpu_threshold;
use crate::model::host_cpu::ProcessorObservation;
use crate::model::image::RegistryObservation;
use crate::model::memory::ServiceMemory;
use crate::model::metric::{Field, Milli, Reading, Source};
use crate::model::preemption::PreemptionLimits;
use crate::model::reason::Rule;
use crate::model::replica::{ContainerId, ContainerState, Health, Load, Replica};
use crate::model::schedule::{EffectiveSchedule, Hours, Outside, TimeOfDay, Timetable};
use crate::model::schedule::{Weekdays, Window};
use crate::model::service::{Percent, Platform, Service};
use crate::model::sleep::SleepObservation;
use crate::model::snapshot::{EngineSeen, ProxyObservation, Snapshot};
use crate::model::time::{Moment, Wall, wall_of_ms};
use crate::model::zone::Zone;
use crate::sim::timeline::FLAP;

/// Milliseconds. A step of CPU load is seen in two samples.
const EARLY: u64 = 2_000;
/// From a decision until the replica serves, beside its own start: Docker, a probe, HAProxy.
const READY: u64 = 2_000;
/// Evaluations of the first load before it counts, after every gap.
const SETTLE_LOOKS: u64 = 8;

/// What is the same for all settings that are compared.
#[derive(Clone, Debug)]
pub(crate) struct LoadConditions {
    /// What the load is counted in.
    pub(crate) source: Source,
    /// What one replica is to carry: the yardstick.
    pub(crate) carries: Milli,
    /// The most that one replica can carry. `None`: whatever it is given.
    pub(crate) capacity: Option<Milli>,
    pub(crate) start_up: Duration,
    pub(crate) check_interval: Duration,
    /// HAProxy wakes a service that sleeps.
    pub(crate) wakes: bool,
}

/// What a run comes to, of the recorded minutes alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RunFigures {
    pub(crate) hours: f64,
    pub(crate) replica_hours: f64,
    /// In which the load was more than the replicas that served carry.
    pub(crate) hours_above: f64,
    /// How much of the load was beyond that, from 0 to 1.
    pub(crate) unmet: f64,
    /// Changes of the number.
    pub(crate) changes: u32,
    pub(crate) flaps: u32,
    pub(crate) longest_above: Duration,
}

impl RunFigures {
    /// The share of the time in which the replicas carried the load, in percent.
    pub(crate) fn within_percent(&self) -> f64 {
        if self.hours <= 0.0 { 100.0 } else { 100.0 * (1.0 - self.hours_above / self.hours) }
    }
}

/// Begins anew after every gap.
pub(crate) fn evaluate(
    service: &Service,
    spans: &[LoadSpan],
    conditions: &LoadConditions,
) -> RunFigures {
    let (Some(first), Some(last)) = (spans.first(), spans.last()) else {
        return RunFigures::default();
    };
    let mut run = FastRun::new(service, conditions, first.from, last.to);
    let mut known_to = None;
    for span in spans {
        if known_to.replace(span.to) != Some(span.from) {
            run.settle(*span);
        }
        run.span(*span);
    }
    run.finished()
}

struct FastRun<'a> {
    conditions: &'a LoadConditions,
    /// From when on the service is what, the next change last.
    course: Vec<(Moment, Arc<Service>)>,
    snapshot: Snapshot,
    memory: ServiceMemory,
    /// When each of the replicas is ready, in their order.
    ready_at: Vec<Moment>,
    /// Average CPU load from which an evaluation comes early.
    early: Option<Percent>,
    looks_back: bool,
    load: Milli,
    next_look: Moment,
    /// Everything before is in the figures.
    counted: Moment,
    counts: bool,
    /// When there was load last.
    active: Moment,
    last_change: Option<(Moment, bool)>,
    figures: RunFigures,
    load_hours: f64,
    unmet_hours: f64,
    /// The time above until now, on end.
    stretch: Duration,
}

impl<'a> FastRun<'a> {
    fn new(
        service: &Service,
        conditions: &'a LoadConditions,
        from: Moment,
        until: Moment,
    ) -> FastRun<'a> {
        // The decision is the same on Docker and Swarm.
        let service = Service { runs: Platform::Docker, ..service.clone() };
        let may_sleep = service.may_sleep() && conditions.wakes;
        let mut course = course(&service, from, until);
        let now = from;
        let first = course.pop().map_or_else(|| Arc::new(service.clone()), |(_, service)| service);
        let is_cpu = conditions.source == Source::Cpu;
        let early = cpu_threshold(&service).filter(|_| is_cpu);
        let looks_back = !service.metrics.is_empty() || service.behavior.is_some();
        FastRun {
            conditions,
            course,
            snapshot: snapshot(first, now, may_sleep),
            memory: ServiceMemory::default(),
            ready_at: Vec::new(),
            early,
            looks_back,
            load: Milli(0),
            next_look: now,
            counted: now,
            counts: false,
            active: now,
            last_change: None,
            figures: RunFigures::default(),
            load_hours: 0.0,
            unmet_hours: 0.0,
            stretch: Duration::ZERO,
        }
    }

    /// Begins anew, with as many replicas as the load needs.
    fn settle(&mut self, span: LoadSpan) {
        let begin = span.from;
        let interval = self.interval();
        self.load = span.load;
        self.counts = false;
        self.counted = begin;
        self.active = begin;
        self.last_change = None;
        self.stretch = Duration::ZERO;
        self.memory = ServiceMemory::default();
        let first = Moment(begin.0.saturating_sub(SETTLE_LOOKS * interval));
        self.change_service(begin);
        let bounds = self.snapshot.service.timetable.at(wall_of_ms(begin.0)).bounds;
        let needed = need(span.load, self.conditions.carries);
        let needed = needed.clamp(bounds.min(), bounds.max());
        self.resize(needed, Moment(0));
        self.memory.desired = Some(needed);
        for n in 0..SETTLE_LOOKS {
            self.look(first.plus(Duration::from_millis(n * interval)), true);
        }
        self.ready_at.fill(Moment(0));
        self.next_look = begin.plus(self.conditions.check_interval);
        self.counts = true;
    }

    fn interval(&self) -> u64 {
        u64::try_from(self.conditions.check_interval.as_millis()).unwrap_or(u64::MAX).max(1)
    }

    fn span(&mut self, span: LoadSpan) {
        let LoadSpan { from: begin, to: end, load } = span;
        self.load = load;
        if self.load.0 != 0 {
            self.active = end;
        }
        self.early_look(begin);
        while self.next_look <= end {
            let now = self.next_look;
            while let Some(edge) = self.course.last().map(|(at, _)| *at).filter(|at| *at <= now) {
                self.change_service(edge);
                self.look(edge, false);
            }
            let is_at_rest = self.look(now, true);
            let interval = self.interval();
            let left = end.0.saturating_sub(now.0) / interval;
            // At rest, nothing but the last evaluation of the span can matter to a later one.
            let skipped = match is_at_rest {
                true if self.looks_back => left.max(1),
                true => left + 1,
                false => 1,
            };
            self.next_look = Moment(now.0.saturating_add(skipped * interval));
        }
        self.count(end);
    }

    /// What does not wait for the next evaluation: a request to a service that sleeps, and a step
    /// of CPU load.
    fn early_look(&mut self, begin: Moment) {
        if self.snapshot.sleep.is_some() && self.ready_at.is_empty() && self.load.0 != 0 {
            self.look(begin, false);
        }
        let ready = self.ready(begin);
        let Some(threshold) = self.early.filter(|_| 0 < ready) else { return };
        if threshold.hundredths() <= self.share(ready) / 10 {
            self.look(begin.plus(Duration::from_millis(EARLY)), true);
        }
    }

    /// The next service of the timetable's course, if it is due.
    fn change_service(&mut self, now: Moment) {
        while let Some((_, service)) = self.course.pop_if(|(at, _)| *at <= now) {
            self.snapshot.service = service;
        }
    }

    fn ready(&self, now: Moment) -> usize {
        self.ready_at.iter().filter(|at| **at <= now).count()
    }

    /// What each ready replica shows.
    fn share(&self, ready: usize) -> u64 {
        let ready = u64::try_from(ready).unwrap_or(u64::MAX);
        self.carried(ready).checked_div(ready).unwrap_or(0)
    }

    fn carried(&self, ready: u64) -> u64 {
        let most = self.conditions.capacity.map_or(u64::MAX, |c| c.0.saturating_mul(ready));
        self.load.0.min(most)
    }

    /// One decision. Whether nothing more comes of this load.
    fn look(&mut self, now: Moment, due: bool) -> bool {
        self.count(now);
        let ready = self.ready(now);
        self.observe(now, due, ready);
        let (plan, next) = decide::plan_number(&self.snapshot, &self.memory);
        self.memory = next;
        let decision = &plan.decision;
        let waits = |rule: &Rule| {
            matches!(
                rule,
                Rule::CoolingDown { .. }
                    | Rule::ScaleUpStabilized { .. }
                    | Rule::ScaleDownStabilized { .. }
                    | Rule::ScaleUpLimit(_)
                    | Rule::ScaleDownLimit(_)
                    | Rule::Awake { .. }
            )
        };
        let is_changed = decision.desired != self.snapshot_size();
        let is_waiting = decision.because.iter().any(|cause| waits(&cause.rule));
        let desired = decision.desired;
        if is_changed {
            self.changed(now, desired);
        }
        !is_changed && !is_waiting && ready == self.ready_at.len()
    }

    fn snapshot_size(&self) -> u32 {
        u32::try_from(self.ready_at.len()).unwrap_or(u32::MAX)
    }

    fn observe(&mut self, now: Moment, due: bool, ready: usize) {
        let share = self.share(ready);
        let total = Milli(self.carried(u64::try_from(ready).unwrap_or(u64::MAX)));
        let source = &self.conditions.source;
        let shown = |of: Source| {
            let share = if of == *source { share } else { 0 };
            Load::Read(Percent::from_hundredths(share / 10))
        };
        let (cpu, memory) = (shown(Source::Cpu), shown(Source::Memory));
        for (replica, ready_at) in self.snapshot.replicas.iter_mut().zip(&self.ready_at) {
            let is_ready = *ready_at <= now;
            replica.health = if is_ready { Health::Healthy } else { Health::Starting };
            replica.load = if is_ready { cpu } else { Load::Missing };
            replica.memory = if is_ready { memory } else { Load::Missing };
        }
        let snapshot = &mut self.snapshot;
        let metrics = snapshot.service.metrics.iter();
        snapshot.readings = metrics
            .map(|metric| match &metric.source {
                _ if !due => Reading::Pending,
                Source::Cpu | Source::Memory => Reading::Replicas,
                of if of != source => Reading::Total(Milli(0)),
                Source::Haproxy(Field::ResponseTimeMs) => Reading::Average(total),
                Source::Haproxy(_) | Source::Http { .. } | Source::Prometheus { .. } => {
                    Reading::Total(total)
                }
            })
            .collect();
        snapshot.now = now;
        snapshot.wall = wall_of_ms(now.0);
        snapshot.due = due;
        let has_load = self.load.0 != 0;
        if let Some(sleep) = &mut snapshot.sleep {
            sleep.idle = Some(if has_load { Duration::ZERO } else { now.since(self.active) });
            sleep.queue = u64::from(has_load && ready == 0);
            sleep.answered = vec![Duration::ZERO; usize::from(has_load && 0 < ready)];
        }
    }

    fn changed(&mut self, now: Moment, desired: u32) {
        let is_up = self.snapshot_size() < desired;
        let start_up = self.conditions.start_up + Duration::from_millis(READY);
        self.resize(desired, now.plus(start_up));
        if !self.counts {
            return;
        }
        self.figures.changes += 1;
        let is_back = |(at, was): (Moment, bool)| was != is_up && now.since(at) <= FLAP;
        let turned = self.last_change.is_some_and(is_back);
        self.figures.flaps += u32::from(turned);
        self.last_change = Some((now, is_up));
    }

    /// The youngest leave first.
    fn resize(&mut self, number: u32, ready_at: Moment) {
        let number_of = usize::try_from(number).unwrap_or(usize::MAX);
        self.ready_at.resize(number_of, ready_at);
        let replicas = &mut self.snapshot.replicas;
        replicas.truncate(number_of);
        while replicas.len() < number_of {
            let n = u32::try_from(replicas.len() + 1).unwrap_or(u32::MAX);
            let id = ContainerId(n.to_string());
            replicas.push(Replica::bare(id, n, ContainerState::Running));
        }
    }

    /// Puts the time up to here into the figures.
    fn count(&mut self, until: Moment) {
        while self.counts && self.counted < until {
            let from = self.counted;
            let later = self.ready_at.iter().filter(|at| from < **at);
            let to = later.fold(until, |first, at| first.min(*at));
            let ready = self.ready(from) as f64;
            let hours = to.since(from).as_secs_f64() / 3600.0;
            let load = self.load.0 as f64;
            let beyond = load - ready * self.conditions.carries.0 as f64;
            self.figures.hours += hours;
            self.figures.replica_hours += hours * self.ready_at.len() as f64;
            self.load_hours += hours * load;
            if 0.0 < beyond {
                self.figures.hours_above += hours;
                self.unmet_hours += hours * beyond;
                self.stretch += to.since(from);
            } else {
                self.stretch = Duration::ZERO;
            }
            self.figures.longest_above = self.figures.longest_above.max(self.stretch);
            self.counted = to;
        }
    }

    fn finished(self) -> RunFigures {
        let unmet = if 0.0 < self.load_hours { self.unmet_hours / self.load_hours } else { 0.0 };
        RunFigures { unmet, ..self.figures }
    }
}

/// The service with what its timetable says at each time, the last first: asking the timetable at
/// each evaluation takes longer than the rest of it.
fn course(service: &Service, from: Moment, until: Moment) -> Vec<(Moment, Arc<Service>)> {
    let course = service.timetable.course(wall_of_ms(from.0), wall_of_ms(until.0));
    let fixed = |(at, effective): (Wall, EffectiveSchedule)| {
        let hours = (!effective.scaling).then(never).flatten();
        let timetable = Timetable { bounds: effective.bounds, hours, schedules: Vec::new() };
        (moment(at), Arc::new(Service { timetable, ..service.clone() }))
    };
    course.into_iter().map(fixed).rev().collect()
}

/// Business hours that never come.
fn never() -> Option<Hours> {
    let midnight = TimeOfDay::from_minutes(0)?;
    let days = Weekdays::of([]);
    let holidays = BTreeSet::new();
    let window = Window { days, start: midnight, end: midnight, zone: Zone::UTC, holidays };
    Some(Hours { window, outside: Outside::Hold })
}

fn snapshot(service: Arc<Service>, now: Moment, may_sleep: bool) -> Snapshot {
    Snapshot {
        now,
        wall: wall_of_ms(now.0),
        due: true,
        service,
        replicas: Vec::new(),
        readings: Vec::new(),
        starting: Vec::new(),
        failed_starts: 0,
        free_memory: None,
        processor: ProcessorObservation::Unlimited,
        preemption: PreemptionLimits::default(),
        forecast: None,
        engine: EngineSeen::Answers,
        proxy: ProxyObservation::Settled { old: 0, reloaded_at: Moment(0) },
        sleep: may_sleep.then(SleepObservation::default),
        registry: RegistryObservation::default(),
        swarm: None,
    }
}
