//! Watches CPU load between two evaluations, so that a step in load does not wait for the next one,
//! whose average would hide it. A service whose load is above its threshold in two samples in a row
//! is evaluated early; once between two evaluations. The load since the first of the two samples
//! counts, as a step may begin within that sample. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decide::metrics::cpu_threshold;
use crate::model::decision::Decision;
use crate::model::memory::ServiceMemory;
use crate::model::replica::{ContainerId, Health};
use crate::model::service::Percent;
use crate::model::snapshot::Snapshot;
use crate::model::time::Moment;
use crate::observe::metric::{EarlyEvaluation, cpu};
use crate::outside::CpuCounter;

/// Between two samples, which cost some 5 us for each replica.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// With a shorter `check_interval`, evaluations themselves come soon enough.
const CHECK_INTERVAL_MIN: Duration = Duration::from_secs(4);
/// An older sample is not compared, as after a suspend of the host.
const GAP_MAX: Duration = Duration::from_secs(3);

/// A service that could scale up by its CPU load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WatchTarget {
    pub(crate) service: String,
    /// Average load at which it scales up.
    pub(crate) threshold: Percent,
    /// Those that are ready.
    pub(crate) replicas: Vec<ContainerId>,
    /// Their load together is that of so many. Replicas that only the forecast asks for do not
    /// count: with them, an evaluation would come later than without. Those that load asks for
    /// count before they are ready, as they do in the decision.
    pub(crate) count: u32,
}

impl WatchTarget {
    /// `None` where load has no say, or its number is the largest already. `memory` is what the
    /// decision leaves.
    pub(crate) fn of(
        snapshot: &Snapshot,
        decision: &Decision,
        memory: &ServiceMemory,
    ) -> Option<WatchTarget> {
        let raise = memory.forecast.filter(|raise| raise.to == decision.desired);
        let by_load = raise.map_or(decision.desired, |raise| raise.load);
        let effective = &decision.effective;
        let can_grow = effective.scaling && by_load < effective.bounds.max();
        let threshold = cpu_threshold(&snapshot.service).filter(|_| can_grow)?;
        let ready = snapshot.replicas.iter().filter(|replica| {
            replica.health == Health::Healthy
                && !replica.busy
                && !memory.drains.contains_key(&replica.id)
        });
        let replicas: Vec<ContainerId> = ready.map(|replica| replica.id.clone()).collect();
        // A rollout has more than are desired.
        let ready = u32::try_from(replicas.len()).unwrap_or(u32::MAX);
        let count =
            ready.saturating_sub(decision.desired.saturating_sub(by_load)).max(by_load).max(1);
        let service = snapshot.service.name.as_str().to_owned();
        (!replicas.is_empty()).then_some(WatchTarget { service, threshold, replicas, count })
    }
}

#[derive(Debug, Default)]
pub(crate) struct LoadWatch {
    services: BTreeMap<String, WatchState>,
    /// When to sample again.
    next: Moment,
}

#[derive(Debug)]
struct WatchState {
    target: WatchTarget,
    last: BTreeMap<ContainerId, CpuCounter>,
    /// The last sample was above the threshold.
    was_above: bool,
    /// The last sample was not, and of every replica: under the same load, neither is the next.
    is_steady: bool,
    /// It was evaluated early since the last evaluation.
    is_spent: bool,
}

impl LoadWatch {
    /// After each tick.
    pub(crate) fn watch(
        &mut self,
        targets: Vec<WatchTarget>,
        check_interval: Duration,
        was_evaluation: bool,
    ) {
        let mut known = std::mem::take(&mut self.services);
        if check_interval < CHECK_INTERVAL_MIN {
            return;
        }
        for target in targets {
            let name = target.service.clone();
            let state = match known.remove(&name) {
                Some(state) => WatchState {
                    is_spent: state.is_spent && !was_evaluation,
                    is_steady: state.is_steady && state.target == target,
                    target,
                    ..state
                },
                None => WatchState {
                    target,
                    last: BTreeMap::new(),
                    was_above: false,
                    is_steady: false,
                    is_spent: false,
                },
            };
            self.services.insert(name, state);
        }
    }

    /// The replicas to sample now; none when it is not time.
    pub(crate) fn due(&mut self, now: Moment) -> Vec<ContainerId> {
        if self.idle(now).is_none_or(|wait| !wait.is_zero()) {
            return Vec::new();
        }
        self.next = now.plus(SAMPLE_INTERVAL);
        self.active().flat_map(|state| &state.target.replicas).cloned().collect()
    }

    /// How long until the next sample; `None`: there is nothing to watch.
    pub(crate) fn idle(&self, now: Moment) -> Option<Duration> {
        self.active().next().map(|_| self.next.since(now))
    }

    /// As [`Self::idle`] where load and replicas are the same until then: of samples that can only
    /// repeat the last one, the latest is taken, as the next one is compared with it.
    pub(crate) fn idle_steady(&self, now: Moment, until: Moment) -> Option<Duration> {
        let wait = self.idle(now)?;
        if !self.active().all(|state| state.is_steady) {
            return Some(wait);
        }
        let left = until.since(now.plus(wait)).as_secs() / SAMPLE_INTERVAL.as_secs();
        Some(wait + SAMPLE_INTERVAL * u32::try_from(left).unwrap_or(u32::MAX))
    }

    fn active(&self) -> impl Iterator<Item = &WatchState> {
        self.services.values().filter(|state| !state.is_spent)
    }

    /// Takes the counters of a sample, and gives the services to evaluate early.
    pub(crate) fn sampled(
        &mut self,
        counters: &BTreeMap<ContainerId, CpuCounter>,
    ) -> EarlyEvaluation {
        let mut early = EarlyEvaluation::default();
        for (name, state) in self.services.iter_mut().filter(|(_, state)| !state.is_spent) {
            let ids = state.target.replicas.iter();
            let new: BTreeMap<_, _> =
                ids.filter_map(|id| Some((id.clone(), *counters.get(id)?))).collect();
            let loads = state.loads(&new);
            let is_above = state.target.threshold <= state.average(&loads);
            state.is_steady = !is_above && loads.len() == state.target.replicas.len();
            let last = std::mem::replace(&mut state.last, new);
            let was_above = std::mem::replace(&mut state.was_above, is_above);
            if is_above && was_above {
                state.is_spent = true;
                state.was_above = false;
                early.services.insert(name.clone());
                early.counters.extend(last);
            }
        }
        early
    }
}

impl WatchState {
    /// Since the last sample, of each replica that has a counter in both.
    fn loads(&self, new: &BTreeMap<ContainerId, CpuCounter>) -> Vec<u64> {
        let load = |(id, new): (&ContainerId, &CpuCounter)| {
            cpu::between(self.last.get(id)?, new, GAP_MAX).map(Percent::hundredths)
        };
        new.iter().filter_map(load).collect()
    }

    /// A replica without a load counts as idle.
    fn average(&self, loads: &[u64]) -> Percent {
        let total = loads.iter().copied().fold(0, u64::saturating_add);
        Percent::from_hundredths(total / u64::from(self.target.count.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use crate::controller::load_watch::{LoadWatch, SAMPLE_INTERVAL, WatchTarget};
    use crate::model::replica::ContainerId;
    use crate::model::service::Percent;
    use crate::model::time::Moment;
    use crate::outside::{CpuCounter, CpuSource};

    const CHECK: Duration = Duration::from_secs(15);

    fn id(name: &str) -> ContainerId {
        ContainerId(name.to_owned())
    }

    fn target(replicas: &[&str]) -> WatchTarget {
        WatchTarget {
            service: "web".to_owned(),
            threshold: Percent::from_hundredths(80_00),
            replicas: replicas.iter().map(|name| id(name)).collect(),
            count: u32::try_from(replicas.len()).unwrap(),
        }
    }

    /// Samples once a second. Each row is the percent that replicas `a` and `b` used since the one
    /// before. Gives the seconds at which an early evaluation came, and the second since which its
    /// load is measured.
    fn early(watch: &mut LoadWatch, from: u64, rows: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let mut used = (0, 0);
        let mut found = Vec::new();
        for (second, (a, b)) in (from..).zip(rows) {
            let now = Moment(second * 1000);
            used = (used.0 + a * 10_000_000, used.1 + b * 10_000_000);
            let counter = |used_ns| CpuCounter {
                used_ns,
                read_ns: second * 1_000_000_000,
                source: CpuSource::Files,
                limit_nano_cpus: None,
            };
            let all = BTreeMap::from([(id("a"), counter(used.0)), (id("b"), counter(used.1))]);
            let ids = watch.due(now);
            assert!(watch.due(now).is_empty(), "once a second");
            if ids.is_empty() {
                continue;
            }
            let early = watch.sampled(&all);
            assert_eq!(early.services.is_empty(), early.counters.is_empty());
            let since = early.counters.values().next().map(|c| c.read_ns / 1_000_000_000);
            found.extend(since.map(|since| (second, since)));
        }
        found
    }

    fn watched(replicas: &[&str]) -> LoadWatch {
        let mut watch = LoadWatch::default();
        watch.watch(vec![target(replicas)], CHECK, true);
        watch
    }

    #[test]
    fn two_samples_in_a_row_bring_an_evaluation_forward() {
        for (rows, want) in [
            (&[(0, 0), (80, 80), (80, 80)][..], &[(3, 2)][..]),
            (&[(0, 0), (79, 80), (79, 80), (80, 80), (79, 80)], &[]),
            (&[(0, 0), (100, 100), (10, 10), (100, 100)], &[]),
            (&[(0, 0), (100, 60), (60, 100), (0, 0)], &[(3, 2)]),
            // The first sample has none before it to compare with.
            (&[(100, 100), (100, 100)], &[]),
            (&[(100, 100), (100, 100), (100, 100)], &[(3, 2)]),
        ] {
            assert_eq!(early(&mut watched(&["a", "b"]), 1, rows), want, "{rows:?}");
        }
    }

    #[test]
    fn a_replica_without_a_counter_counts_as_idle() {
        let rows = [(0, 0), (100, 0), (100, 0), (100, 0)];
        assert_eq!(early(&mut watched(&["a"]), 1, &rows), [(3, 2)]);
        assert_eq!(early(&mut watched(&["a", "new"]), 1, &rows), []);
    }

    #[test]
    fn their_load_is_that_of_as_many_as_load_asks_for() {
        for (count, load, want) in [
            // One of the two is ahead of the load.
            (1, (40, 40), &[(3, 2)][..]),
            (1, (40, 39), &[]),
            // A third is about to start.
            (3, (119, 120), &[]),
            (3, (120, 120), &[(3, 2)]),
        ] {
            let mut watch = LoadWatch::default();
            watch.watch(vec![WatchTarget { count, ..target(&["a", "b"]) }], CHECK, true);
            assert_eq!(early(&mut watch, 1, &[(0, 0), load, load]), want, "{load:?} of {count}");
        }
    }

    /// `None`: it is not at rest.
    #[test]
    fn samples_that_can_only_repeat_the_last_one_are_left_out() {
        let quiet = [(50, 50), (50, 50)];
        for (rows, until, want) in [
            (&quiet[..], 2_000, 1_000),
            (&quiet, 3_999, 1_000),
            (&quiet, 4_000, 2_000),
            (&quiet, 14_500, 12_000),
            (&quiet[..1], 14_500, 1_000),
            (&[(50, 50), (80, 80)], 14_500, 1_000),
        ] {
            let mut watch = watched(&["a", "b"]);
            assert_eq!(early(&mut watch, 1, rows), [], "{rows:?}");
            let now = Moment(rows.len() as u64 * 1_000);
            let wait = watch.idle_steady(now, Moment(until));
            assert_eq!(wait, Some(Duration::from_millis(want)), "{rows:?} until {until}");
        }
        let mut watch = watched(&["a", "b"]);
        early(&mut watch, 1, &quiet);
        for (replicas, want) in [(&["a", "b"][..], 12_000), (&["a"], 1_000)] {
            watch.watch(vec![target(replicas)], CHECK, false);
            let wait = watch.idle_steady(Moment(2_000), Moment(14_500));
            assert_eq!(wait, Some(Duration::from_millis(want)), "{replicas:?}");
        }
    }

    #[test]
    fn a_service_is_evaluated_early_once_between_two_evaluations() {
        let mut watch = watched(&["a", "b"]);
        let full = [(100, 100); 6];
        assert_eq!(early(&mut watch, 1, &full), [(3, 2)]);
        assert_eq!(watch.idle(Moment(7_000)), None, "nothing is left to watch");
        watch.watch(vec![target(&["a", "b"])], CHECK, false);
        assert_eq!(early(&mut watch, 7, &full), []);
        watch.watch(vec![target(&["a", "b"])], CHECK, true);
        assert_eq!(early(&mut watch, 13, &full), [(15, 14)]);
    }

    #[test]
    fn nothing_is_watched_where_evaluations_come_soon_or_nothing_can_grow() {
        for (check, targets, is_watched) in [
            (4_000, vec![target(&["a"])], true),
            (3_999, vec![target(&["a"])], false),
            (15_000, vec![], false),
        ] {
            let mut watch = LoadWatch::default();
            watch.watch(targets, Duration::from_millis(check), true);
            assert_eq!(watch.idle(Moment(0)), is_watched.then_some(Duration::ZERO), "{check}");
        }
        let mut watch = watched(&["a"]);
        watch.due(Moment(5_000));
        assert_eq!(watch.idle(Moment(5_400)), Some(SAMPLE_INTERVAL - Duration::from_millis(400)));
    }
}
