//! Processor counters to load. Keeps the last counter of each container, nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::replica::{ContainerId, Load};
use crate::model::service::Percent;
use crate::observe::metric::GAP_INTERVALS;
use crate::outside::CpuCounter;

#[derive(Debug, Default)]
pub(crate) struct Counters {
    last: BTreeMap<ContainerId, CpuCounter>,
}

impl Counters {
    /// What each used since the last call. A container without a counter now gets no entry.
    ///
    /// What a replica uses while it starts says nothing of its share of the load, as HPA has it:
    /// its samples begin with the first tick at which it could serve. Usage within a
    /// moment, as when an evaluation follows a late one, is no load: there is none then, and the
    /// next one is of all the time.
    pub(crate) fn loads(
        &mut self,
        now: BTreeMap<ContainerId, CpuCounter>,
        can_serve: impl Fn(&ContainerId) -> bool,
        interval: Duration,
    ) -> BTreeMap<ContainerId, Load> {
        let mut last = std::mem::take(&mut self.last);
        let mut loads = BTreeMap::new();
        for (id, new) in now {
            let old = last.remove(&id);
            let early = old.filter(|old| is_early(old, &new, interval / 2));
            let load = old.filter(|_| early.is_none());
            let load = load.and_then(|old| between(&old, &new, interval * GAP_INTERVALS));
            loads.insert(id.clone(), load.map_or(Load::Missing, Load::Read));
            self.last.insert(id, early.unwrap_or(new));
        }
        self.last.retain(|id, _| can_serve(id));
        loads
    }
}

fn is_early(old: &CpuCounter, new: &CpuCounter, gap_min: Duration) -> bool {
    let is_same = old.source == new.source && old.used_ns <= new.used_ns;
    let wall = new.read_ns.checked_sub(old.read_ns).filter(|_| is_same);
    wall.is_some_and(|wall| u128::from(wall) < gap_min.as_nanos())
}

/// What a container without a limit may use at most is not known: its load is of one core.
pub(super) const ONE_CORE: u64 = 1_000_000_000;

/// The share of the limit that was used from one counter to the next. `None` when the two do not
/// belong together: another source, a restart in between, or too long ago.
pub(crate) fn between(old: &CpuCounter, new: &CpuCounter, gap_max: Duration) -> Option<Percent> {
    if old.source != new.source {
        return None;
    }
    let used = u128::from(new.used_ns.checked_sub(old.used_ns)?);
    let wall = u128::from(new.read_ns.checked_sub(old.read_ns)?);
    if wall == 0 || gap_max.as_nanos() < wall {
        return None;
    }
    let available =
        wall * u128::from(new.limit_nano_cpus.unwrap_or(ONE_CORE).max(1)) / 1_000_000_000;
    let hundredths = used * 100_00 / available.max(1);
    Some(Percent::from_hundredths(u64::try_from(hundredths).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::model::replica::{ContainerId, Load};
    use crate::model::service::Percent;
    use crate::observe::metric::cpu::{Counters, between};
    use crate::outside::{CpuCounter, CpuSource};

    const S: u64 = 1_000_000_000;

    fn counter(used_ns: u64, read_ns: u64, limit_nano_cpus: u64) -> CpuCounter {
        CpuCounter {
            used_ns,
            read_ns,
            source: CpuSource::Files,
            limit_nano_cpus: Some(limit_nano_cpus),
        }
    }

    #[test]
    fn load_is_the_used_share_of_the_limit() {
        let gap = Duration::from_secs(45);
        for (used, wall, limit, want) in [
            (0, 15 * S, S, Some(0)),
            (15 * S, 15 * S, S, Some(100_00)),
            (30 * S, 15 * S, S, Some(200_00)),
            (15 * S / 4, 15 * S, S / 4, Some(100_00)),
            (15 * S / 8, 15 * S, S / 4, Some(50_00)),
            (S, 45 * S, S, Some(2_22)),
            (S, 45 * S + 1, S, None),
            (S, 0, S, None),
        ] {
            let got = between(&counter(5, 7, S), &counter(5 + used, 7 + wall, limit), gap);
            assert_eq!(got.map(|p| p.hundredths()), want, "{used} in {wall} of {limit}");
        }
    }

    #[test]
    fn samples_begin_where_a_replica_could_serve() {
        let id = ContainerId("a".to_owned());
        let s = Duration::from_secs(1);
        let mut counters = Counters::default();
        let mut look = |at: u64, can_serve: bool| {
            let now = [(id.clone(), counter(at * S, at * S, S))].into();
            counters.loads(now, |_| can_serve, s)[&id]
        };
        let full = Load::Read(Percent::from_hundredths(100_00));
        for (at, can_serve, want) in [
            (1, false, Load::Missing),
            // It became ready since the last tick: its usage until then was for its start.
            (2, true, Load::Missing),
            (3, true, full),
            (4, false, full),
            (5, true, Load::Missing),
            (6, true, full),
        ] {
            assert_eq!(look(at, can_serve), want, "at {at}");
        }
    }

    #[test]
    fn a_look_right_after_another_gives_no_load_and_loses_none() {
        let id = ContainerId("a".to_owned());
        let mut counters = Counters::default();
        let mut look = |ms: u64, used_ms: u64| {
            let now = [(id.clone(), counter(used_ms * 1_000_000, ms * 1_000_000, S))].into();
            counters.loads(now, |_| true, Duration::from_secs(10))[&id]
        };
        let load = |percent: u64| Load::Read(Percent::from_hundredths(percent * 100));
        for (ms, used_ms, want) in [
            (0, 0, Load::Missing),
            (10_000, 1_000, load(10)),
            // Ten times as much, for a moment.
            (10_010, 1_010, Load::Missing),
            (14_999, 1_500, Load::Missing),
            (20_000, 3_000, load(20)),
            (25_000, 4_000, load(20)),
            // It was started again.
            (25_010, 1, Load::Missing),
            (35_010, 5_001, load(50)),
        ] {
            assert_eq!(look(ms, used_ms), want, "at {ms}");
        }
    }

    #[test]
    fn counters_that_do_not_belong_together_give_no_load() {
        let gap = Duration::from_secs(45);
        assert_eq!(between(&counter(5, 7, S), &counter(4, 8, S), gap), None, "fell");
        assert_eq!(between(&counter(5, 7, S), &counter(6, 6, S), gap), None, "read before");
        let stats = CpuCounter { source: CpuSource::Stats, ..counter(6, 8, S) };
        assert_eq!(between(&counter(5, 7, S), &stats, gap), None, "another source");
    }
}
