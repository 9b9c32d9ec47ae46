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
    /// its samples begin with the first look at which it could serve.
    pub(crate) fn loads(
        &mut self,
        now: BTreeMap<ContainerId, CpuCounter>,
        can_serve: impl Fn(&ContainerId) -> bool,
        interval: Duration,
    ) -> BTreeMap<ContainerId, Load> {
        let load = |(id, new): (&ContainerId, &CpuCounter)| {
            let old = self.last.get(id);
            let load = old.and_then(|old| between(old, new, interval * GAP_INTERVALS));
            (id.clone(), load.map_or(Load::Missing, Load::Read))
        };
        let loads = now.iter().map(load).collect();
        self.last = now;
        self.last.retain(|id, _| can_serve(id));
        loads
    }
}

/// The share of the limit that was used from one counter to the next. `None` when the two do not
/// belong together: another source, a restart in between, or too long ago.
fn between(old: &CpuCounter, new: &CpuCounter, gap_max: Duration) -> Option<Percent> {
    if old.source != new.source {
        return None;
    }
    let used = u128::from(new.used_ns.checked_sub(old.used_ns)?);
    let wall = u128::from(new.read_ns.checked_sub(old.read_ns)?);
    if wall == 0 || gap_max.as_nanos() < wall {
        return None;
    }
    let available = wall * u128::from(new.limit_nano_cpus.max(1)) / 1_000_000_000;
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
        CpuCounter { used_ns, read_ns, source: CpuSource::Files, limit_nano_cpus }
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
        let (id, s) = (ContainerId("a".to_owned()), Duration::from_secs(1));
        let mut counters = Counters::default();
        let mut look = |at: u64, can_serve: bool| {
            let now = [(id.clone(), counter(at * S, at * S, S))].into();
            counters.loads(now, |_| can_serve, 15 * s)[&id]
        };
        let full = Load::Read(Percent::from_hundredths(100_00));
        for (at, can_serve, want) in [
            (1, false, Load::Missing),
            // It became ready since the last look: what it used by then was for its start.
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
    fn counters_that_do_not_belong_together_give_no_load() {
        let gap = Duration::from_secs(45);
        assert_eq!(between(&counter(5, 7, S), &counter(4, 8, S), gap), None, "fell");
        assert_eq!(between(&counter(5, 7, S), &counter(6, 6, S), gap), None, "read before");
        let stats = CpuCounter { source: CpuSource::Stats, ..counter(6, 8, S) };
        assert_eq!(between(&counter(5, 7, S), &stats, gap), None, "another source");
    }
}
