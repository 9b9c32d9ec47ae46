//! One service's plan while it is built. Each phase reads what the phases before it left here and
//! adds its own part; the phases and their order are in `mod.rs`.

use std::time::Duration;

use crate::decide::classify::{Classified, samples};
use crate::decide::{desired_servers, policies, wake_plan};
use crate::model::action::Action;
use crate::model::decision::{Counts, Decision, MetricResult, ReplicaSample};
use crate::model::forecast::ForecastRaise;
use crate::model::history::Recommendation;
use crate::model::memory::{Drain, DrainStep, ServiceMemory};
use crate::model::plan::{Plan, ReplicaTransition, ServiceTransition};
use crate::model::reason::{AppliedRule, Rule};
use crate::model::service::Percent;
use crate::model::snapshot::Snapshot;

pub(crate) struct PlanBuilder<'a> {
    pub(crate) snapshot: &'a Snapshot,
    /// What the next tick gets. A phase that adds or removes a drain, an unhealthy replica or a
    /// failure changes classes: `classify` follows it.
    pub(crate) next: ServiceMemory,
    pub(crate) classified: Classified<'a>,
    /// The number before this tick; `None` when there was none.
    pub(crate) before: Option<u32>,
    /// The number after the rules so far.
    pub(crate) desired: u32,
    /// Of the last decision. `desired` is without it where `is_forecast_due`.
    pub(crate) raise: Option<ForecastRaise>,
    /// The number before this tick that load alone had given. `None`: it is `before`.
    load_before: Option<u32>,
    /// The forecast may raise the number.
    pub(crate) is_forecast_due: bool,
    /// Load gave the number, and not the bounds, the hours or an operator.
    pub(crate) is_by_load: bool,
    pub(crate) because: Vec<AppliedRule>,
    pub(crate) measured: Vec<MetricResult>,
    /// What the number was calculated from.
    counts: Counts,
    samples: Vec<ReplicaSample>,
    pub(crate) actions: Vec<Action>,
    pub(crate) transitions: Vec<ReplicaTransition>,
    pub(crate) service_transitions: Vec<ServiceTransition>,
    /// A replica failed since the last tick, and its health check is trusted.
    pub(crate) has_failed: bool,
    /// How many replicas may be started, and the rule that allows no more. `None`: no limit known.
    pub(crate) room: Option<(u32, Rule)>,
    /// How long the backoff delays the next start.
    pub(crate) start_delay: Option<Duration>,
}

impl<'a> PlanBuilder<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot, memory: &ServiceMemory) -> PlanBuilder<'a> {
        let raise = memory.forecast.filter(|raise| memory.desired == Some(raise.to));
        PlanBuilder {
            snapshot,
            raise,
            load_before: raise.map(|raise| raise.load),
            is_forecast_due: false,
            next: memory.clone(),
            before: memory.desired,
            desired: memory.desired.unwrap_or(0),
            is_by_load: false,
            because: Vec::new(),
            measured: Vec::new(),
            counts: Counts::default(),
            samples: Vec::new(),
            classified: Classified::new(snapshot, memory),
            actions: Vec::new(),
            transitions: Vec::new(),
            service_transitions: Vec::new(),
            has_failed: false,
            room: None,
            start_delay: None,
        }
    }

    /// Adapts the classes to the memory as it is now.
    pub(crate) fn classify(&mut self) {
        self.classified = Classified::new(self.snapshot, &self.next);
    }

    /// The counts and samples that the number is calculated from, for the decision's record.
    pub(crate) fn record_samples(&mut self) {
        self.counts = self.classified.counts.by_state();
        self.samples = samples(self.snapshot, &self.classified);
    }

    pub(crate) fn set_number(&mut self, rule: Rule, number: u32) {
        self.desired = number;
        self.because.push(AppliedRule { rule, number });
    }

    /// The number before this tick, or the one that the first tick found.
    pub(crate) fn from(&self) -> u32 {
        self.before.unwrap_or(self.desired)
    }

    /// The number before this tick that load alone had given.
    pub(crate) fn load_before(&self) -> u32 {
        self.load_before.unwrap_or_else(|| self.from())
    }

    /// Load alone gives no more than this. What it asks for beyond it is had where the forecast
    /// has raised the number before, and counts as raised.
    pub(crate) fn cap_load(&mut self, most: u32) {
        let load = self.raise.map_or(self.desired, |raise| raise.load);
        if most < load {
            let asked = Recommendation { at: self.snapshot.now, replicas: self.desired };
            let asked = self.raise.map_or(asked, |raise| raise.asked);
            self.raise = Some(ForecastRaise { load: most, to: self.desired, asked });
        }
    }

    /// CPU of the replicas, as if there were none but those that load alone had asked for.
    pub(crate) fn average_alone(&self) -> Option<Percent> {
        let counts = &self.classified.counts;
        let average = counts.average()?;
        let alone = self.load_before.filter(|alone| (1..counts.sampled).contains(alone));
        let total = |alone: u32| Percent::from_hundredths(counts.total / u64::from(alone));
        Some(alone.map_or(average, total))
    }

    /// No rule changes the number any more. What load alone gave is remembered for cooldowns and
    /// scaling policies.
    pub(crate) fn commit_number(&mut self) {
        let desired = self.desired;
        let now = self.snapshot.now;
        // A later stage may have lowered the number.
        let raise = self.raise.map(|raise| ForecastRaise {
            load: raise.load.min(desired),
            to: desired,
            ..raise
        });
        let raise = raise.filter(|raise| raise.load < desired);
        let from = self.load_before();
        let load = raise.map_or(desired, |raise| raise.load);
        if self.is_by_load && from != load {
            self.next.changed_at = Some(now);
        }
        let behavior = self.snapshot.service.behavior.as_ref();
        policies::remember(&mut self.next.history, now, behavior, from, load);
        self.next.forecast = raise;
        self.next.desired = Some(desired);
    }

    /// Begins nothing: HAProxy keeps the servers that it has.
    pub(crate) fn unchanged(mut self, rule: Rule) -> (Plan, ServiceMemory) {
        self.record_samples();
        self.set_number(rule, self.desired);
        self.assemble(None)
    }

    pub(crate) fn finish(mut self, requeue_after: Option<Duration>) -> (Plan, ServiceMemory) {
        if self.from() == self.desired {
            self.because.extend(self.none_ready().or_else(|| self.still_draining()));
        }
        self.assemble(requeue_after)
    }

    /// An outage is the reason, unless a rule says more about it.
    fn none_ready(&self) -> Option<AppliedRule> {
        let last = self.because.last().filter(|cause| cause.rule.is_silent_on_outage())?;
        let rule = Rule::NoneReady(self.desired);
        // In panic mode HAProxy keeps its servers, whatever their checks say.
        let is_down = 0 < self.desired && self.counts.ready == 0 && self.next.panic_mode.is_none();
        is_down.then_some(AppliedRule { rule, number: last.number })
    }

    /// The number is reached, but some replicas still drain. Any other reason says more.
    fn still_draining(&self) -> Option<AppliedRule> {
        let last = self.because.last().filter(|cause| cause.rule.is_within_range())?;
        let is_draining = |drain: &&Drain| matches!(drain.step, DrainStep::Draining { .. });
        let count = self.next.drains.values().filter(is_draining).count();
        let rule = Rule::Draining(u32::try_from(count).unwrap_or(u32::MAX));
        (0 < count).then_some(AppliedRule { rule, number: last.number })
    }

    fn assemble(self, again: Option<Duration>) -> (Plan, ServiceMemory) {
        let servers = desired_servers::of(self.snapshot, &self.next, &self.classified);
        let PlanBuilder { snapshot, next, desired, start_delay, .. } = &self;
        let wake = wake_plan::of(snapshot, next, *desired, &servers, *start_delay);
        let decision = Decision {
            from: self.from(),
            desired: self.desired,
            effective: self.snapshot.service.timetable.at(self.snapshot.wall),
            counts: self.counts,
            samples: self.samples,
            measured: self.measured,
            forecast: self.snapshot.forecast.clone(),
            because: self.because,
        };
        let plan = Plan {
            decision,
            actions: self.actions,
            transitions: self.transitions,
            service_transitions: self.service_transitions,
            servers,
            wake,
            again,
        };
        (plan, self.next)
    }
}
