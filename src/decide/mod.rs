//! `Snapshot` and `ServiceMemory` in, `Plan` and `ServiceMemory` out. Pure: no clock, no I/O, no
//! logging, no error. Every stage takes a number and gives a number and a rule; this file is the
//! only place that knows their order.

mod adopt;
pub(crate) mod backends;
mod backoff;
mod classify;
mod cooldown;
mod drain;
pub(crate) mod headroom;
mod hpa;
mod health;
mod bounds;
mod lifecycle;
mod combine;
mod metrics;
pub(crate) mod commands;
pub(crate) mod proxy;
mod policies;
mod threshold;
mod normalize;
pub(crate) mod rollout;
mod rolling_update;
mod stabilize;
mod reconcile;
mod swarm;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::decide::classify::ReplicaCounts;
use crate::decide::combine::Combined;
use crate::decide::normalize::NormalizationArg;
use crate::decide::rollout::DesiredRevision;
use crate::model::history::History;
use crate::model::memory::{Drain, DrainStep, ServiceMemory};
use crate::model::plan::{Cause, Plan, Rule};
use crate::model::record::Measured;
use crate::model::schedule::{Standing, Wall};
use crate::model::service::{Bounds, Service};
use crate::model::snapshot::{EngineSeen, Snapshot};

pub(crate) fn plan_service(snapshot: &Snapshot, memory: &ServiceMemory) -> (Plan, ServiceMemory) {
    let mut next = memory.clone();
    commands::expire(snapshot.now, &mut next);
    if let Some(why) = silence(snapshot.engine) {
        return (keep(snapshot, memory, why), next);
    }
    next.swarm.take_if(|_| snapshot.swarm.is_none());
    if let Some(swarm) = &snapshot.swarm {
        return swarm::plan_swarm_service(snapshot, swarm, next);
    }
    drain::forget(snapshot, &mut next);
    let mut news = health::judge(snapshot, &mut next);
    let others = lifecycle::follow(snapshot, &mut next, &mut news);
    let target = DesiredRevision::choose(&snapshot.service, &mut next.rollout);
    let adopted = adopt::adopt(snapshot, others, &mut next);
    let judged = next.clone();
    let mut course = Course::begin(snapshot, &judged);
    let from = memory.wanted.unwrap_or(course.number);
    course.because.extend(adopted);
    let standing = snapshot.service.timetable.at(snapshot.wall);
    course.run(&standing, &mut next);
    if course.number == 0 && adopt::is_shared(snapshot) {
        // Without a container of compose's there is no pattern for the next.
        course.note(Rule::BelowMin(1), 1);
    }
    let room = headroom::room(snapshot);
    if let Some((room, rule)) = room {
        let back = reconcile::returnable(snapshot, &target, &next).count();
        course.keep_to_room(room, rule, back, from);
    }
    let Course { number: wanted, mut because, census, measured, is_by_load, .. } = course;
    if is_by_load && from != wanted {
        next.changed_at = Some(snapshot.now);
    }
    let behavior = snapshot.service.behavior.as_ref();
    policies::remember(&mut next.history, snapshot.now, behavior, from, wanted);
    next.wanted = Some(wanted);

    let has_failed = news.failed;
    let mut work = reconcile::Work::new(snapshot, room, news);
    backoff::count(snapshot, has_failed, &mut next, &mut work);
    drain::advance(snapshot, &mut next, &mut work);
    let target = rollout::advance(snapshot, wanted, target, &mut next, &mut work);
    reconcile::reconcile_replicas(snapshot, wanted, &target, &mut next, &mut work, &mut because);
    if from == wanted {
        because.extend(still_draining(&next, &because));
    }
    let servers = reconcile::servers(snapshot, &next);
    let again = work.requeue_after(&next).into_iter().chain(until_next_edge(snapshot));
    let again = again.chain(commands::requeue_after(snapshot.now, &next));
    let again = again.chain(health::requeue_after(snapshot.now, &next));
    let again = again.chain(lifecycle::requeue_after(snapshot, &next)).min();
    let (counts, sightings) = (census.counts(), classify::sightings(snapshot, &judged));
    let reconcile::Work { actions, steps, milestones, .. } = work;
    let plan = Plan {
        from,
        wanted,
        standing,
        counts,
        sightings,
        measured,
        because,
        actions,
        steps,
        milestones,
        servers,
        again,
    };
    (plan, next)
}

/// Why nothing is known of the service now.
fn silence(engine: EngineSeen) -> Option<Rule> {
    match engine {
        EngineSeen::Answers => None,
        EngineSeen::Lost => Some(Rule::EngineLost),
        EngineSeen::Untold => Some(Rule::SwarmUntold),
    }
}

/// The number is what it should be, the replicas are not yet. Any other reason says more.
fn still_draining(next: &ServiceMemory, because: &[Cause]) -> Option<Cause> {
    let last = because.last().filter(|cause| cause.rule.word() == "DesiredWithinRange")?;
    let emptying = |drain: &&Drain| matches!(drain.step, DrainStep::Emptying { .. });
    let count = next.drains.values().filter(emptying).count();
    let rule = Rule::Draining(u32::try_from(count).unwrap_or(u32::MAX));
    (0 < count).then_some(Cause { rule, number: last.number })
}

/// A number on its way through the stages.
struct Course<'a> {
    snapshot: &'a Snapshot,
    memory: &'a ServiceMemory,
    census: ReplicaCounts,
    number: u32,
    because: Vec<Cause>,
    measured: Vec<Measured>,
    /// Load gave the number, and not the bounds, the hours or an operator.
    is_by_load: bool,
}

/// Thresholds alone are a band with a cooldown, as they always were.
fn follows_windows(service: &Service) -> bool {
    !service.metrics.is_empty() || service.behavior.is_some()
}

impl<'a> Course<'a> {
    fn begin(snapshot: &'a Snapshot, memory: &'a ServiceMemory) -> Course<'a> {
        let census = ReplicaCounts::take(snapshot, memory);
        let (because, measured) = (Vec::new(), Vec::new());
        let (number, is_by_load) = (0, false);
        let mut course = Course { snapshot, memory, census, number, because, measured, is_by_load };
        match memory.wanted {
            Some(wanted) => course.number = wanted,
            None => {
                let of_swarm = snapshot.swarm.as_ref().map(|swarm| swarm.desired);
                let found = of_swarm.unwrap_or_else(|| course.census.size());
                course.note(Rule::Found(found), found);
            }
        }
        course
    }

    fn note(&mut self, rule: Rule, number: u32) {
        self.number = number;
        self.because.push(Cause { rule, number });
    }

    fn run(&mut self, standing: &Standing, next: &mut ServiceMemory) {
        let (now, bounds) = (self.snapshot.now, standing.bounds);
        let service = &self.snapshot.service;
        let ordered = commands::number(service, now, self.number, next);
        let leader = self.snapshot.swarm.as_ref().filter(|swarm| !swarm.leads);
        if let Some(elsewhere) = leader {
            self.measure();
            self.note(Rule::NotLeader, elsewhere.desired);
        } else if !ordered.is_empty() {
            self.measure();
            ordered.into_iter().for_each(|cause| self.note(cause.rule, cause.number));
        } else if let Some(rule) = bounds::correction(self.number, bounds) {
            self.correct(rule, bounds);
        } else if !standing.scaling {
            self.measure();
            self.note(Rule::OutsideHours, self.number);
        } else if !self.snapshot.due {
            self.note(Rule::Standing, self.number);
        } else {
            self.is_by_load = true;
            return self.by_load(bounds, next);
        }
        // When load has its say again, this is what was asked for last: nothing shrinks at once.
        if self.snapshot.due && follows_windows(service) {
            stabilize::note(&mut next.history, now, self.number);
        }
    }

    /// At once, but where somebody else may have brought it there.
    fn correct(&mut self, rule: Rule, bounds: Bounds) {
        let (current, number) = (self.number, self.number.clamp(bounds.min(), bounds.max()));
        let is_shared = adopt::is_shared(self.snapshot);
        let (snapshot, memory) = (self.snapshot, self.memory);
        if is_shared
            && cooldown::hold(snapshot, memory, current, number, &mut self.because) == current
        {
            return;
        }
        self.note(rule, number);
    }

    /// The host has memory for so many more. `back` can be put back without taking any.
    fn keep_to_room(&mut self, room: u32, rule: Rule, back: usize, from: u32) {
        let back = u32::try_from(back).unwrap_or(u32::MAX);
        let there = self.census.size().saturating_add(back);
        let most = there.saturating_add(room).max(from);
        if most < self.number {
            self.note(rule, most);
        }
    }

    /// Also where it changes nothing, at each look: an operator who holds the number wants to know
    /// what load would make of it.
    fn measure(&mut self) {
        let (snapshot, current) = (self.snapshot, self.number);
        if snapshot.due {
            let band = snapshot.service.band;
            let band = band.map(|band| threshold::from_band(band, &self.census, current));
            self.measured.extend(band);
            self.measured.extend(metrics::measure(snapshot, self.memory, current));
        }
    }

    fn by_load(&mut self, bounds: Bounds, next: &mut ServiceMemory) {
        let (snapshot, current) = (self.snapshot, self.number);
        let service = &snapshot.service;
        self.measure();
        if self.measured.is_empty() {
            return self.note(Rule::NoMetric, current);
        }
        self.ask(current);
        let mut number = self.number;
        let behavior = service.behavior.as_ref();
        if !follows_windows(service) {
            number = bounds::to_bounds(number, bounds, &mut self.because);
        } else {
            if next.history.recommendations.is_empty() {
                let begun = History::begun(snapshot.now, current);
                next.history.recommendations = begun.recommendations;
            }
            let desired = number;
            let request =
                NormalizationArg { now: snapshot.now, current, desired, bounds, behavior };
            let allowed = normalize::normalize(&request, &mut next.history);
            self.because.extend(allowed.because);
            number = allowed.replicas;
        }
        self.number = cooldown::hold(snapshot, self.memory, current, number, &mut self.because);
    }

    /// The largest of what all that was measured asks for.
    fn ask(&mut self, current: u32) {
        let proposals: Vec<Option<u32>> = self.measured.iter().map(|m| m.proposal).collect();
        let rule_of = |i: usize| self.measured.get(i).map_or(Rule::NoMetric, |m| m.rule);
        match combine::combine(current, &proposals) {
            Combined::Largest { replicas, metric } => self.note(rule_of(metric), replicas),
            Combined::Blocked { replicas, metric, failed } => {
                let (asks, fails) = (rule_of(metric), rule_of(failed));
                self.note(asks, replicas);
                let metric = match fails {
                    Rule::Untold { metric } => metric,
                    _ => "cpu",
                };
                self.note(Rule::Unsure { metric }, current);
            }
            Combined::NoProposal => self.note(rule_of(0), current),
        }
    }
}

/// What a window changes is not left to the next look, which may be an hour away. Beyond this the
/// daemon turns anyway.
fn until_next_edge(snapshot: &Snapshot) -> Option<Duration> {
    const SOON: i64 = 60;
    let now = snapshot.wall;
    let edges = snapshot.service.timetable.edges(now, Wall(now.0.saturating_add(SOON)));
    let seconds = edges.first()?.0.saturating_sub(now.0);
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

/// Nothing is begun, and HAProxy keeps what it has.
pub(crate) fn keep(snapshot: &Snapshot, memory: &ServiceMemory, why: Rule) -> Plan {
    let wanted = memory.wanted.unwrap_or(0);
    Plan {
        from: wanted,
        wanted,
        standing: snapshot.service.timetable.at(snapshot.wall),
        counts: ReplicaCounts::take(snapshot, memory).counts(),
        sightings: classify::sightings(snapshot, memory),
        measured: Vec::new(),
        because: vec![Cause { rule: why, number: wanted }],
        actions: Vec::new(),
        steps: Vec::new(),
        milestones: Vec::new(),
        servers: reconcile::servers(snapshot, memory),
        again: None,
    }
}
