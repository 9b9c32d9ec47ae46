//! CPU and memory use of many containers: from their control groups' files if those are readable,
//! else from the Engine's statistics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, thread};

use crate::docker::api_types::Stats;
use crate::docker::cgroup::{CpuFile, MemoryFiles};
use crate::docker::client::{Call, Client};
use crate::docker::inspected::Inspected;
use crate::model::replica::ContainerId;
use crate::outside::{Clock, CpuCounter, CpuSource, HostMemory, MemoryUse, Usage, UsageRequest};

/// Parallel calls for statistics. Measured: more gain nothing with an engine that answers at once
/// (25 and later); older ones take a second for each answer, so they are asked for all at once.
const AT_ONCE: usize = 8;
const AT_ONCE_SLOW: usize = 128;

pub(crate) struct UsageReader {
    clock: Arc<dyn Clock>,
    /// Bytes. `None`: not readable.
    host_memory: Option<u64>,
    known: BTreeMap<ContainerId, UsageFiles>,
}

struct UsageFiles {
    id: ContainerId,
    pid: u32,
    cpu: LazyFiles<CpuFile>,
    memory: LazyFiles<MemoryFiles>,
    limit_nano_cpus: Option<u64>,
    memory_limit: Option<u64>,
}

/// Files that are opened at the first read: memory is often never read.
enum LazyFiles<T> {
    NotYet,
    Open(T),
    Unreadable,
}

impl<T> LazyFiles<T> {
    /// An error: the open files are no longer readable. `None`: they never were.
    fn read<N>(
        &mut self,
        open: impl FnOnce() -> Option<T>,
        read: impl Fn(&T) -> Option<N>,
    ) -> Result<Option<N>, Gone> {
        if matches!(self, LazyFiles::NotYet) {
            // Files in an unknown format must not look like a container that is gone.
            let readable = open().filter(|files| read(files).is_some());
            *self = readable.map_or(LazyFiles::Unreadable, LazyFiles::Open);
        }
        match self {
            LazyFiles::Open(files) => read(files).map(Some).ok_or(Gone),
            LazyFiles::Unreadable | LazyFiles::NotYet => Ok(None),
        }
    }
}

/// The files are gone: a restarted container has a new control group.
struct Gone;

impl UsageReader {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> UsageReader {
        let host_memory = host_memory().map(|host| host.total);
        UsageReader { clock, host_memory, known: BTreeMap::new() }
    }

    /// Files stay open from one sweep to the next, while the main process of the container is the
    /// same. `shown` returns the cached inspect; when open files fail, it is invalidated.
    pub(crate) fn read_files(
        &mut self,
        of: &[UsageRequest],
        shown: &dyn Fn(&ContainerId) -> Option<Arc<Inspected>>,
        invalidate: &dyn Fn(&ContainerId),
    ) -> BTreeMap<ContainerId, Usage> {
        self.known.retain(|id, _| of.iter().any(|ask| ask.id == *id));
        let mut usages = BTreeMap::new();
        for ask in of {
            let known = self.known.remove(&ask.id);
            let Some(new) =
                shown(&ask.id).and_then(|inspected| UsageFiles::of(&ask.id, &inspected))
            else {
                continue;
            };
            let mut meter = match known.filter(|known| known.pid == new.pid) {
                Some(UsageFiles { cpu, memory, .. }) => UsageFiles { cpu, memory, ..new },
                None => new,
            };
            match meter.read(ask.memory, self.host_memory, &*self.clock) {
                Ok(usage) => {
                    self.known.insert(ask.id.clone(), meter);
                    usages.insert(ask.id.clone(), usage);
                }
                Err(Gone) => invalidate(&ask.id),
            }
        }
        usages
    }

    /// Of those whose CPU file is readable. A file that fails is left to the next sweep.
    pub(crate) fn cpu_counters(
        &mut self,
        of: &[ContainerId],
        shown: &dyn Fn(&ContainerId) -> Option<Arc<Inspected>>,
    ) -> BTreeMap<ContainerId, CpuCounter> {
        let mut counters = BTreeMap::new();
        for id in of {
            if !self.known.contains_key(id)
                && let Some(new) = shown(id).and_then(|inspected| UsageFiles::of(id, &inspected))
            {
                self.known.insert(id.clone(), new);
            }
            let read = self.known.get_mut(id).map(|files| files.read_cpu(&*self.clock));
            if let Some(Ok(Some(counter))) = read {
                counters.insert(id.clone(), counter);
            }
        }
        counters
    }
}

pub(crate) fn host_memory() -> Option<HostMemory> {
    memory_of(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn memory_of(meminfo: &str) -> Option<HostMemory> {
    let line = |key: &str| {
        let rest = meminfo.lines().find_map(|l| l.strip_prefix(key))?;
        rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(HostMemory { total: line("MemTotal:")?, available: line("MemAvailable:")? })
}

impl UsageFiles {
    fn of(id: &ContainerId, inspected: &Inspected) -> Option<UsageFiles> {
        Some(UsageFiles {
            id: id.clone(),
            pid: inspected.pid()?,
            cpu: LazyFiles::NotYet,
            memory: LazyFiles::NotYet,
            limit_nano_cpus: inspected.limit_nano_cpus(),
            memory_limit: inspected.memory_limit(),
        })
    }

    fn read(
        &mut self,
        memory: bool,
        host_memory: Option<u64>,
        clock: &dyn Clock,
    ) -> Result<Usage, Gone> {
        let mut usage = Usage { cpu: self.read_cpu(clock)?, memory: None };
        if memory {
            let open = || MemoryFiles::open(self.pid, &self.id).ok();
            let read_memory = |files: &MemoryFiles| files.read().ok();
            let used = self.memory.read(open, read_memory)?;
            usage.memory = self.memory_use(used, host_memory);
        }
        Ok(usage)
    }

    fn read_cpu(&mut self, clock: &dyn Clock) -> Result<Option<CpuCounter>, Gone> {
        let read = |file: &CpuFile| file.read().ok();
        let used_ns = self.cpu.read(|| CpuFile::open(self.pid, &self.id).ok(), read)?;
        Ok(used_ns.map(|used_ns| CpuCounter {
            used_ns,
            read_ns: clock.now().0.saturating_mul(1_000_000),
            source: CpuSource::Files,
            limit_nano_cpus: self.limit_nano_cpus,
        }))
    }

    fn memory_use(&self, used: Option<u64>, host_memory: Option<u64>) -> Option<MemoryUse> {
        Some(MemoryUse { used: used?, limit: self.memory_limit.or(host_memory)? })
    }
}

/// `left` is the time that is left for all of them; `None` when it is over.
pub(crate) fn read_stats(
    client: &Client,
    of: &[&UsageRequest],
    usage_reader: &UsageReader,
    left: &(dyn Fn() -> Option<Duration> + Sync),
) -> BTreeMap<ContainerId, Usage> {
    if of.is_empty() {
        return BTreeMap::new();
    }
    let version = left().and_then(|left| client.version(left).ok());
    let quick = version.is_some_and(|v| v.is_of_engine_25());
    let lanes = if quick { AT_ONCE } else { AT_ONCE_SLOW };
    let lanes = lanes.min(of.len());
    let one = |ask: &UsageRequest| {
        let meter = usage_reader.known.get(&ask.id)?;
        let path = format!("/containers/{}/stats", ask.id.0);
        let query = [("stream", "false"), ("one-shot", "true")];
        let call = Call { query: &query, ..Call::get(&path) };
        let stats: Stats = client.call(call, left()?).ok()?.ok().ok()?.json().ok()?;
        let (used_ns, read_ns) = stats.counter()?;
        let source = CpuSource::Stats;
        let limit_nano_cpus = meter.limit_nano_cpus;
        Some(Usage {
            cpu: Some(CpuCounter { used_ns, read_ns, source, limit_nano_cpus }),
            memory: meter
                .memory_use(stats.memory_used().filter(|_| ask.memory), usage_reader.host_memory),
        })
    };
    let lane = |first: usize| {
        let own = of.iter().skip(first).step_by(lanes.max(1));
        own.filter_map(|ask| Some((ask.id.clone(), one(ask)?))).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let lane = &lane;
        let lanes: Vec<_> = (0..lanes).map(|first| scope.spawn(move || lane(first))).collect();
        lanes.into_iter().filter_map(|l| l.join().ok()).flatten().collect()
    })
}

#[cfg(test)]
mod tests {
    use crate::docker::usage::memory_of;
    use crate::outside::HostMemory;

    #[test]
    fn the_hosts_memory_is_told_in_kib() {
        let text = "MemTotal:       24684092 kB\nMemFree:  1 kB\nMemAvailable:   2 kB\n";
        let host = HostMemory { total: 24_684_092 * 1024, available: 2048 };
        assert_eq!(memory_of(text), Some(host));
        for odd in ["", "MemTotal: 1 kB\n", "MemTotal: many kB\nMemAvailable: 1 kB\n"] {
            assert_eq!(memory_of(odd), None, "{odd}");
        }
    }
}
