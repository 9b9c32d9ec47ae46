//! How many replicas a service should have. The first rule that applies gives the number: the
//! leader of the Swarm, an operator, the bounds, the business hours, and only then load. Docker and
//! Swarm services share it.

use crate::decide::classify::Classified;
use crate::decide::combine::{self, Combined};
use crate::decide::normalize::{self, NormalizationArg};
use crate::decide::plan_builder::PlanBuilder;
use crate::decide::{adopt, bounds, commands, cooldown, forecast, metrics, stabilize, threshold};
use crate::model::bounds::Bounds;
use crate::model::decision::MetricResult;
use crate::model::history::History;
use crate::model::metric::Reading;
use crate::model::reason::{AppliedRule, Rule};
use crate::model::schedule::EffectiveSchedule;
use crate::model::service::Service;
use crate::model::snapshot::Snapshot;

pub(crate) struct ReplicaCalculation<'p, 'a> {
    plan: &'p mut PlanBuilder<'a>,
}

/// A service with thresholds alone has no stabilization windows and no scaling policies, only a
/// cooldown.
fn has_behavior(service: &Service) -> bool {
    !service.metrics.is_empty() || service.behavior.is_some()
}

/// The band first, then the metrics.
fn measured(snapshot: &Snapshot, classified: &Classified, current: u32) -> Vec<MetricResult> {
    let band = snapshot.service.band;
    let band = band.map(|band| threshold::from_band(band, &classified.counts, current));
    band.into_iter().chain(metrics::measure(snapshot, classified, current)).collect()
}

impl ReplicaCalculation<'_, '_> {
    pub(crate) fn run(plan: &mut PlanBuilder) {
        plan.record_samples();
        ReplicaCalculation { plan }.calculate();
    }

    fn calculate(&mut self) {
        let snapshot = self.plan.snapshot;
        self.start_number();
        let service = &snapshot.service;
        let effective: EffectiveSchedule = service.timetable.at(snapshot.wall);
        let bounds = effective.bounds;
        let current = self.plan.desired;
        // The forecast comes later: load goes on from the number that it gave alone.
        let load = self.plan.raise.map_or(current, |raise| raise.load);
        let commanded = commands::number(service, snapshot.now, current, &self.plan.next);
        let leader = snapshot.swarm.as_ref().filter(|swarm| !swarm.leads);
        if let Some(elsewhere) = leader {
            self.measure();
            self.plan.raise = None;
            self.plan.set_number(Rule::NotLeader, elsewhere.desired);
        } else if !commanded.is_empty() {
            self.measure();
            // A pause keeps all as it is.
            self.plan.raise = self.plan.raise.filter(|_| self.plan.next.hold.is_none());
            commanded.into_iter().for_each(|c| self.plan.set_number(c.rule, c.number));
        } else if let Some(rule) = bounds::correction(load, bounds) {
            self.plan.is_forecast_due = true;
            self.plan.desired = load;
            self.correct(rule, bounds);
        } else if !effective.scaling {
            self.measure();
            self.plan.raise = None;
            self.plan.set_number(Rule::OutsideHours, load);
        } else if !snapshot.due {
            self.plan.set_number(Rule::Unchanged, current.min(bounds.max()));
        } else {
            self.plan.is_forecast_due = true;
            return self.by_load(load, bounds);
        }
        // Load did not give this number, but stabilization looks back on it: when load gives the
        // number again, nothing scales down at once.
        if snapshot.due && has_behavior(service) {
            let number = self.plan.raise.map_or(self.plan.desired, |_| load);
            stabilize::note(&mut self.plan.next.history, snapshot.now, number);
        }
    }

    /// The number of the last tick; at the first tick, that of the replicas that run.
    fn start_number(&mut self) {
        let plan = &mut self.plan;
        match plan.next.desired {
            Some(desired) => {
                plan.desired = desired;
                // Not one that somebody else has changed since.
                plan.raise = plan.raise.filter(|raise| raise.to == desired);
            }
            None => {
                let of_swarm = plan.snapshot.swarm.as_ref().map(|swarm| swarm.desired);
                let found = of_swarm.unwrap_or_else(|| plan.classified.counts.size());
                plan.before = Some(found);
                plan.set_number(Rule::Found(found), found);
            }
        }
    }

    /// A number outside the bounds is corrected at once; where docker compose or Swarm may have set
    /// it, only after the cooldown.
    fn correct(&mut self, rule: Rule, bounds: Bounds) {
        let current = self.plan.desired;
        let number = current.clamp(bounds.min(), bounds.max());
        if adopt::is_shared(self.plan.snapshot) && self.after_cooldown(current, number) == current {
            return;
        }
        self.plan.set_number(rule, number);
    }

    fn after_cooldown(&mut self, current: u32, number: u32) -> u32 {
        let PlanBuilder { snapshot, next, because, .. } = &mut *self.plan;
        cooldown::hold(snapshot, next, current, number, because)
    }

    /// Evaluates every metric, also where a rule above load gives the number: an operator who holds
    /// the number wants to see what load would make of it.
    fn measure(&mut self) {
        let PlanBuilder { snapshot, classified, .. } = &*self.plan;
        if !snapshot.due {
            return;
        }
        let current = self.plan.desired;
        let measured = measured(snapshot, classified, current);
        self.plan.measured.extend(measured);
    }

    /// What load alone would ask for, had the forecast not raised the number: by the same load on
    /// fewer replicas. The values shown are those of all.
    fn measure_alone(&mut self, load: u32) {
        let PlanBuilder { snapshot, classified, next, measured: all, because, .. } =
            &mut *self.plan;
        let fewer = forecast::on_fewer(snapshot, classified, load);
        let classified = Classified::new(&fewer, next);
        for (shown, alone) in all.iter_mut().zip(measured(&fewer, &classified, load)) {
            let is_common =
                snapshot.readings.iter().zip(&snapshot.service.metrics).any(|(reading, metric)| {
                    matches!(reading, Reading::Average(_))
                        && metric.source.to_string() == shown.name
                });
            // Nobody knows what the time to the response would be.
            if !is_common {
                (shown.proposal, shown.rule) = (alone.proposal, alone.rule);
            }
        }
        because.push(AppliedRule { rule: Rule::LoadAlone(load), number: load });
    }

    /// The phases of HPA's `reconcileAutoscaler`: propose, normalize, then our own cooldown.
    fn by_load(&mut self, current: u32, bounds: Bounds) {
        let snapshot = self.plan.snapshot;
        self.plan.is_by_load = true;
        self.measure();
        if current < self.plan.desired {
            self.measure_alone(current);
            self.plan.desired = current;
        }
        if self.plan.measured.is_empty() {
            return self.plan.set_number(Rule::NoMetric, current);
        }
        self.propose(current);
        let desired = self.plan.desired;
        let PlanBuilder { next, because, .. } = &mut *self.plan;
        let number = if !has_behavior(&snapshot.service) {
            bounds::to_bounds(desired, bounds, because)
        } else {
            if next.history.recommendations.is_empty() {
                let begun = History::begun(snapshot.now, current);
                next.history.recommendations = begun.recommendations;
            }
            let behavior = snapshot.service.behavior.as_ref();
            let arg = NormalizationArg { now: snapshot.now, current, desired, bounds, behavior };
            let normalized = normalize::normalize(&arg, &mut next.history);
            because.extend(normalized.because);
            normalized.replicas
        };
        self.plan.desired = self.after_cooldown(current, number);
    }

    /// The largest proposal of all metrics.
    fn propose(&mut self, current: u32) {
        let measured = &self.plan.measured;
        let proposals: Vec<Option<u32>> = measured.iter().map(|m| m.proposal).collect();
        let rules: Vec<Rule> = measured.iter().map(|m| m.rule).collect();
        let rule_of = |i: usize| rules.get(i).copied().unwrap_or(Rule::NoMetric);
        match combine::combine(current, &proposals) {
            Combined::Largest { replicas, metric } => {
                self.plan.set_number(rule_of(metric), replicas);
            }
            Combined::Blocked { replicas, metric, failed } => {
                self.plan.set_number(rule_of(metric), replicas);
                let metric = match rule_of(failed) {
                    Rule::Unavailable { metric } => metric,
                    _ => "cpu",
                };
                self.plan.set_number(Rule::ScaleDownBlocked { metric }, current);
            }
            Combined::NoProposal => self.plan.set_number(rule_of(0), current),
        }
    }
}
