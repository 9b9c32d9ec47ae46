//! What the daemon counts of itself while it runs. What stands in the status is not counted here.
//!
//! Labels are names of the config and words of fixed lists, so their number has a bound: a service
//! that leaves the config takes its counts along.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::action::{Action, ActionOutput, Done, RollbackState};
use crate::model::event::{Event, Kind};
use crate::model::metric_event::{MetricEvent, ProbeFailureReason};
use crate::model::time::Moment;
use crate::report::series::Series;

/// Upper bounds of the histogram buckets, in milliseconds. From a cgroup's file to a slow
/// engine.
pub(crate) const EDGES_MS: [u64; 11] = [1, 5, 10, 25, 50, 100, 250, 500, 1000, 5000, 30_000];

/// Name and value of each label.
pub(crate) type Labels = Vec<(&'static str, String)>;

#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    kept: Mutex<Kept>,
}

/// Calls that a turn waits for; others are made beside it.
const WAITED_FOR: [&str; 7] = ["ping", "list", "stats", "logs", "nodes", "tasks", "service"];

/// As much as was counted up to a moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    /// Nothing is counted of others: what comes late of one that left would stay.
    services: BTreeSet<String>,
    pub(crate) numbers: BTreeMap<(Series, Labels), u64>,
    pub(crate) times: BTreeMap<(Series, Labels), Times>,
    /// By service: the time that it slept, and the last tick if it slept then.
    asleep: BTreeMap<String, (Duration, Option<Moment>)>,
    /// What a turn asked of Docker since the one before, and had to wait for longest.
    slowest: Option<(&'static str, Duration)>,
}

/// How many took how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// One for each edge; the slower ones are in none of them.
    pub(crate) within: [u64; EDGES_MS.len()],
    pub(crate) count: u64,
    pub(crate) sum: Duration,
}

impl Times {
    fn add(&mut self, took: Duration) {
        let edge = EDGES_MS.iter().position(|ms| took <= Duration::from_millis(*ms));
        if let Some(within) = edge.and_then(|at| self.within.get_mut(at)) {
            *within += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(took);
    }
}

/// Actions on a service's replicas, and the event of each.
const ACTIONS: [(&str, Kind); 5] = [
    ("up", Kind::ScaleUp),
    ("down", Kind::ScaleDown),
    ("replace", Kind::HealthReplaced),
    ("restart", Kind::RolloutStarted),
    ("rollback", Kind::RolloutRolledBack),
];
const RESULTS: [&str; 3] = ["ok", "failed", "rolled_back"];

impl Telemetry {
    /// Counters that can be known begin at 0: a rate over the first step would miss it otherwise.
    pub(crate) fn new() -> Telemetry {
        let telemetry = Telemetry::default();
        let mut kept = telemetry.kept();
        for series in [Series::EventsDropped, Series::TickOverruns] {
            kept.begin(series, Vec::new());
        }
        for kind in Kind::ALL.iter().copied() {
            kept.begin(Series::Events, vec![("kind", kind.word().to_owned())]);
        }
        for result in RESULTS {
            kept.begin(Series::Reloads, vec![("result", result.to_owned())]);
        }
        kept.set(Series::ConfigReload, Vec::new(), 1);
        drop(kept);
        telemetry
    }

    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read(&self) -> Kept {
        self.kept().clone()
    }

    /// The services that there are now.
    pub(crate) fn services(&self, names: &[&str]) {
        let mut kept = self.kept();
        let services: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        if services == kept.services {
            return;
        }
        let is_there = |labels: &Labels| {
            labels.iter().all(|(name, value)| *name != "service" || services.contains(value))
        };
        kept.numbers.retain(|(_, labels), _| is_there(labels));
        kept.times.retain(|(_, labels), _| is_there(labels));
        kept.asleep.retain(|service, _| services.contains(service));
        kept.services = services;
        for service in names {
            let of = |name, value: &str| {
                vec![("service", (*service).to_owned()), (name, value.to_owned())]
            };
            ACTIONS.iter().for_each(|(word, _)| kept.begin(Series::Scaling, of("action", word)));
            for cause in ProbeFailureReason::ALL {
                kept.begin(Series::ProbeFailures, of("cause", cause.word()));
            }
        }
    }

    pub(crate) fn count(&self, what: MetricEvent) {
        let mut kept = self.kept();
        match what {
            MetricEvent::Request { method, route, code, took } => {
                let labels = vec![("method", method.to_owned()), ("route", route.to_owned())];
                if let Some(took) = took {
                    kept.took(Series::RequestDuration, labels.clone(), took);
                }
                kept.add(Series::Requests, [labels, vec![("code", code.to_string())]].concat(), 1);
            }
            MetricEvent::Docker { op, took, failed } => {
                let labels = vec![("op", op.to_owned())];
                kept.took(Series::Docker, labels.clone(), took);
                if WAITED_FOR.contains(&op)
                    && kept.slowest.is_none_or(|(_, longest)| longest < took)
                {
                    kept.slowest = Some((op, took));
                }
                kept.add(Series::DockerErrors, labels, u64::from(failed));
            }
            MetricEvent::Probe { service, .. } if !kept.services.contains(service) => (),
            MetricEvent::Probe { service, took, failure } => {
                let service = ("service", service.to_owned());
                kept.took(Series::Probe, vec![service.clone()], took);
                if let Some(cause) = failure {
                    let labels = vec![service, ("cause", cause.word().to_owned())];
                    kept.add(Series::ProbeFailures, labels, 1);
                }
            }
            MetricEvent::Load { files, statistics } => {
                for (source, count) in [("files", files), ("statistics", statistics)] {
                    let labels = vec![("source", source.to_owned())];
                    kept.set(Series::MetricSource, labels, u64::from(0 < count));
                }
            }
        }
    }

    pub(crate) fn event(&self, event: &Event) {
        let mut kept = self.kept();
        kept.add(Series::Events, vec![("kind", event.kind.word().to_owned())], 1);
        let action = ACTIONS.iter().find(|(_, kind)| *kind == event.kind);
        let service = event.service.as_ref().filter(|service| kept.services.contains(*service));
        if let (Some(service), Some((action, _))) = (service, action) {
            let labels = vec![("service", service.clone()), ("action", (*action).to_owned())];
            kept.add(Series::Scaling, labels, 1);
        }
    }

    pub(crate) fn dropped(&self, events: u64) {
        self.kept().add(Series::EventsDropped, Vec::new(), events);
    }

    /// A reload that had nothing to do is none.
    pub(crate) fn done(&self, done: &Done) {
        if !matches!(done.action, Action::Reload { .. })
            || done.result == Ok(ActionOutput::Unchanged)
        {
            return;
        }
        let result = match done.result.as_ref().map_err(|trouble| &trouble.rollback_state) {
            Ok(_) => "ok",
            Err(RollbackState::RolledBack) => "rolled_back",
            Err(RollbackState::AsBefore | RollbackState::PartiallyApplied { .. }) => "failed",
        };
        let mut kept = self.kept();
        kept.add(Series::Reloads, vec![("result", result.to_owned())], 1);
        kept.took(Series::Reload, Vec::new(), done.took);
    }

    /// Gives what it had to wait for longest, of what it asked Docker.
    pub(crate) fn turn(
        &self,
        took: Duration,
        interval: Duration,
    ) -> Option<(&'static str, Duration)> {
        let mut kept = self.kept();
        kept.took(Series::Tick, Vec::new(), took);
        kept.add(Series::TickOverruns, Vec::new(), u64::from(interval < took));
        kept.slowest.take()
    }

    pub(crate) fn config_read(&self, was_good: bool) {
        self.kept().set(Series::ConfigReload, Vec::new(), u64::from(was_good));
    }
}

impl Kept {
    /// How long the service has slept in all. It slept since the last call if it did then.
    pub(super) fn asleep(&mut self, service: &str, now: Moment, is_asleep: bool) -> Duration {
        let (total, since) = self.asleep.entry(service.to_owned()).or_default();
        let slept = since.map_or(Duration::ZERO, |since| now.since(since));
        *total = total.saturating_add(slept);
        *since = is_asleep.then_some(now);
        *total
    }

    pub(super) fn begin(&mut self, series: Series, labels: Labels) {
        self.numbers.entry((series, labels)).or_default();
    }

    pub(super) fn add(&mut self, series: Series, labels: Labels, by: u64) {
        let number = self.numbers.entry((series, labels)).or_default();
        *number = number.saturating_add(by);
    }

    pub(super) fn set(&mut self, series: Series, labels: Labels, to: u64) {
        self.numbers.insert((series, labels), to);
    }

    pub(super) fn took(&mut self, series: Series, labels: Labels, took: Duration) {
        self.times.entry((series, labels)).or_default().add(took);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::model::event::{Event, Kind};
    use crate::model::metric_event::{MetricEvent, ProbeFailureReason};
    use crate::report::series::Series;
    use crate::report::telemetry::{EDGES_MS, Labels, Telemetry, Times};

    fn number(
        telemetry: &Telemetry,
        series: Series,
        labels: &[(&'static str, &str)],
    ) -> Option<u64> {
        let labels: Labels = labels.iter().map(|(n, v)| (*n, (*v).to_owned())).collect();
        telemetry.read().numbers.get(&(series, labels)).copied()
    }

    #[test]
    fn a_time_counts_at_its_edge_and_not_beyond() {
        let mut times = Times::default();
        for took in [1, 2, 30_000, 30_001] {
            times.add(Duration::from_millis(took));
        }
        times.add(Duration::ZERO);
        let mut want = [0; EDGES_MS.len()];
        (want[0], want[1], want[EDGES_MS.len() - 1]) = (2, 1, 1);
        assert_eq!((times.within, times.count), (want, 5));
        assert_eq!(times.sum, Duration::from_millis(60_004));
    }

    #[test]
    fn a_service_that_leaves_takes_its_counts_along() {
        let telemetry = Telemetry::new();
        telemetry.services(&["web", "api"]);
        let up = |name: &str| Event::new(Kind::ScaleUp, "").service(name);
        ["web", "web", "api"].iter().for_each(|name| telemetry.event(&up(name)));
        let took = Duration::from_millis(3);
        telemetry.count(MetricEvent::Probe {
            service: "web",
            took,
            failure: Some(ProbeFailureReason::Refused),
        });
        let web = [("service", "web"), ("action", "up")];
        assert_eq!(number(&telemetry, Series::Scaling, &web), Some(2));
        let refused = [("service", "web"), ("cause", "refused")];
        assert_eq!(number(&telemetry, Series::ProbeFailures, &refused), Some(1));
        telemetry.services(&["api"]);
        telemetry.event(&up("web"));
        assert_eq!(number(&telemetry, Series::Scaling, &web), None);
        assert_eq!(number(&telemetry, Series::ProbeFailures, &refused), None);
        assert!(!telemetry.read().times.keys().any(|(series, _)| *series == Series::Probe));
        let api = [("service", "api"), ("action", "up")];
        assert_eq!(number(&telemetry, Series::Scaling, &api), Some(1));
        assert_eq!(number(&telemetry, Series::Events, &[("kind", "scale.up")]), Some(4));
    }

    #[test]
    fn only_a_turn_longer_than_the_interval_overruns() {
        let telemetry = Telemetry::new();
        let second = Duration::from_secs(1);
        telemetry.turn(second, second);
        assert_eq!(number(&telemetry, Series::TickOverruns, &[]), Some(0));
        telemetry.turn(second + Duration::from_nanos(1), second);
        assert_eq!(number(&telemetry, Series::TickOverruns, &[]), Some(1));
    }
}
