//! Processor counters of many containers: from their control groups' files where those can be
//! read, else from the Engine's statistics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::docker::cgroup::CpuFile;
use crate::docker::client::{Call, Client};
use crate::docker::wire::{Inspected, Stats};
use crate::model::replica::ContainerId;
use crate::outside::{Clock, CpuCounter, CpuSource};

/// Statistics that are asked for at once. Measured: more gain nothing with an engine that answers
/// at once, while one that waits a second for each answer wants to be asked for all together.
const AT_ONCE: usize = 8;
const AT_ONCE_SLOW: usize = 128;

pub(crate) struct Meters {
    clock: Arc<dyn Clock>,
    known: BTreeMap<ContainerId, Meter>,
}

struct Meter {
    /// `None`: the files cannot be read.
    file: Option<CpuFile>,
    limit_nano_cpus: u64,
}

impl Meters {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Meters {
        Meters { clock, known: BTreeMap::new() }
    }

    /// Files stay open from one sweep to the next. A container that was restarted has a new group
    /// under its old name: then reading fails, and its process is looked up again.
    pub(crate) fn read_files(
        &mut self,
        ids: &[ContainerId],
        inspect: &dyn Fn(&ContainerId) -> Option<Inspected>,
    ) -> BTreeMap<ContainerId, CpuCounter> {
        self.known.retain(|id, _| ids.contains(id));
        let mut counters = BTreeMap::new();
        for id in ids {
            let read = |known: &BTreeMap<ContainerId, Meter>| {
                let meter = known.get(id)?;
                Some((meter.file.as_ref()?.read().ok()?, meter.limit_nano_cpus))
            };
            let without_file = self.known.get(id).is_some_and(|m| m.file.is_none());
            let counter = read(&self.known).or_else(|| {
                if without_file {
                    return None;
                }
                self.known.remove(id);
                self.known.extend(inspect(id).and_then(Meter::of).map(|m| (id.clone(), m)));
                read(&self.known)
            });
            if let Some((used_ns, limit_nano_cpus)) = counter {
                let read_ns = self.clock.now().0.saturating_mul(1_000_000);
                let source = CpuSource::Files;
                let counter = CpuCounter { used_ns, read_ns, source, limit_nano_cpus };
                counters.insert(id.clone(), counter);
            }
        }
        counters
    }

    fn limit(&self, id: &ContainerId) -> Option<u64> {
        self.known.get(id).map(|m| m.limit_nano_cpus)
    }
}

impl Meter {
    fn of(inspected: Inspected) -> Option<Meter> {
        let file = CpuFile::open(inspected.pid()?).ok();
        Some(Meter { file, limit_nano_cpus: inspected.limit_nano_cpus() })
    }
}

/// `left` is the time that is left for all of them; `None` when it is over.
pub(crate) fn read_stats(
    client: &Client,
    ids: &[&ContainerId],
    meters: &Meters,
    left: &(dyn Fn() -> Option<Duration> + Sync),
) -> BTreeMap<ContainerId, CpuCounter> {
    let version = left().and_then(|left| client.version(left).ok());
    let quick = version.is_some_and(|v| v.has_quick_stats());
    let lanes = if quick { AT_ONCE } else { AT_ONCE_SLOW };
    let lanes = lanes.min(ids.len());
    let one = |id: &ContainerId| {
        let path = format!("/containers/{}/stats", id.0);
        let query = [("stream", "false"), ("one-shot", "true")];
        let call = Call { query: &query, ..Call::get(&path) };
        let stats: Stats = client.call(call, left()?).ok()?.ok().ok()?.json().ok()?;
        let (used_ns, read_ns) = stats.counter()?;
        let limit_nano_cpus = meters.limit(id)?;
        Some(CpuCounter { used_ns, read_ns, source: CpuSource::Stats, limit_nano_cpus })
    };
    let lane = |first: usize| {
        let own = ids.iter().skip(first).step_by(lanes.max(1));
        own.filter_map(|id| Some(((*id).clone(), one(id)?))).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let lane = &lane;
        let lanes: Vec<_> = (0..lanes).map(|first| scope.spawn(move || lane(first))).collect();
        lanes.into_iter().filter_map(|l| l.join().ok()).flatten().collect()
    })
}
