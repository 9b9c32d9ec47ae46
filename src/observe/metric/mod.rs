//! Metrics, one file for each source. State that is kept between ticks is here.

pub(crate) mod cpu;
pub(crate) mod haproxy;
mod http;
mod memory;
mod prometheus;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::config::Config;
use crate::model::metric::{Milli, Reading, Source, shortened};
use crate::model::proxy::{ProxySeen, ServiceTraffic};
use crate::model::replica::{Container, ContainerId, ContainerState, Load, ReplicaUsage};
use crate::model::service::{Percent, Service};
use crate::model::time::Moment;
use crate::observe::host_cpu::ProcessorWatch;
use crate::outside::{CpuCounter, Engine, Error, Net, Result, Usage, UsageRequest};

/// A reading older than this many intervals is not used.
pub(crate) const GAP_INTERVALS: u32 = 3;
/// A document of this length is far more than a number needs.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Characters of a text that was to be a number.
const TEXT_SHOWN: usize = 40;

/// Last readings of remote metrics, and since when they are read.
pub(crate) type RemoteMetrics = BTreeMap<Source, RemoteReading>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoteReading {
    pub(crate) since: Moment,
    /// The last result and when it came. An error is a message for the operator: the value
    /// before it is not used any more.
    pub(crate) said: Option<(Moment, std::result::Result<Milli, String>)>,
}

/// Asks a remote source once.
pub(crate) fn ask(net: &dyn Net, source: &Source, timeout: Duration) -> Result<Milli> {
    match source {
        Source::Http { endpoint, pointer } => http::ask(net, endpoint, pointer, timeout),
        Source::Prometheus { endpoint, query } => prometheus::ask(net, endpoint, query, timeout),
        Source::Cpu | Source::Memory | Source::Haproxy(_) => {
            unreachable!("{source} is not read over the network")
        }
    }
}

/// Of each replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loads {
    pub(crate) cpu: Load,
    pub(crate) memory: Load,
}

/// Services whose load may change their number before the next evaluation.
#[derive(Debug, Default)]
pub(crate) struct EarlyEvaluation {
    pub(crate) services: BTreeSet<String>,
    /// Of their ready replicas: CPU load is measured since these were read.
    pub(crate) counters: BTreeMap<ContainerId, CpuCounter>,
}

/// Loads for an early evaluation. The next evaluation still averages over its whole interval.
pub(crate) fn early_loads(
    engine: &dyn Engine,
    containers: &[&Container],
    early: &EarlyEvaluation,
    config: &Config,
) -> BTreeMap<ContainerId, Loads> {
    let running = containers.iter().filter(|c| c.state == ContainerState::Running);
    let of_early = running.filter(|c| early.services.contains(&c.service));
    let asks = requests(of_early, config);
    if asks.is_empty() {
        return BTreeMap::new();
    }
    let usages = engine.usage(&asks);
    let load = |ask: UsageRequest| {
        let usage = usages.get(&ask.id);
        let new = usage.and_then(|usage| usage.cpu);
        let old = early.counters.get(&ask.id);
        let cpu = old
            .zip(new.as_ref())
            .and_then(|(old, new)| cpu::between(old, new, config.check_interval * GAP_INTERVALS));
        let memory = memory_load(usage, ask.memory);
        (ask.id, Loads { cpu: cpu.map_or(Load::Missing, Load::Read), memory })
    };
    asks.into_iter().map(load).collect()
}

/// Memory is read where a service scales by it, and of all where one may have to make room for
/// another.
fn requests<'a>(
    containers: impl Iterator<Item = &'a &'a Container>,
    config: &Config,
) -> Vec<UsageRequest> {
    let scales_by_memory = |c: &Container| {
        let service = config.service(&c.service);
        service.is_some_and(|s| s.metrics.iter().any(|m| m.source == Source::Memory))
    };
    let has_ranks = config.has_ranks();
    let ask = |c: &&Container| UsageRequest {
        id: c.id.clone(),
        memory: has_ranks || scales_by_memory(c),
    };
    containers.map(ask).collect()
}

fn memory_load(usage: Option<&Usage>, is_asked: bool) -> Load {
    let memory = usage.and_then(|usage| usage.memory);
    memory.filter(|_| is_asked).map_or(Load::Missing, memory::load)
}

fn replica_usage(usage: &Usage, load: Load) -> ReplicaUsage {
    let limit = usage.cpu.and_then(|cpu| cpu.limit_nano_cpus);
    let of_limit = |percent: Percent| {
        let nano =
            u128::from(percent.hundredths()) * u128::from(limit.unwrap_or(cpu::ONE_CORE)) / 100_00;
        u64::try_from(nano).unwrap_or(u64::MAX)
    };
    ReplicaUsage {
        memory: usage.memory.map(|memory| memory.used),
        nano_cpus: match load {
            Load::Read(percent) => Some(of_limit(percent)),
            Load::Missing => None,
        },
        has_cpu_limit: limit.is_some(),
    }
}

#[derive(Debug, Default)]
pub(crate) struct Sampler {
    cpu: cpu::Counters,
    haproxy: haproxy::RequestCounter,
    pub(crate) processor: ProcessorWatch,
    /// Of each container that ran at the last evaluation.
    usage: BTreeMap<ContainerId, ReplicaUsage>,
}

impl Sampler {
    /// Containers that do not run get no entry.
    pub(crate) fn loads(
        &mut self,
        engine: &dyn Engine,
        containers: &[&Container],
        can_serve: impl Fn(&ContainerId) -> bool,
        config: &Config,
    ) -> BTreeMap<ContainerId, Loads> {
        let running = containers.iter().filter(|c| c.state == ContainerState::Running);
        let asks = requests(running, config);
        let usages = engine.usage(&asks);
        let counters = usages.iter().filter_map(|(id, u)| Some((id.clone(), u.cpu?))).collect();
        let cpus = self.cpu.loads(counters, can_serve, config.check_interval);
        let used = |ask: &UsageRequest| {
            let load = cpus.get(&ask.id).copied().unwrap_or(Load::Missing);
            Some((ask.id.clone(), replica_usage(usages.get(&ask.id)?, load)))
        };
        self.usage = asks.iter().filter_map(used).collect();
        let loads = |ask: UsageRequest| {
            let cpu = cpus.get(&ask.id).copied().unwrap_or(Load::Missing);
            let memory = memory_load(usages.get(&ask.id), ask.memory);
            (ask.id, Loads { cpu, memory })
        };
        asks.into_iter().map(loads).collect()
    }

    /// At the last evaluation.
    pub(crate) fn usage(&self, of: &ContainerId) -> ReplicaUsage {
        self.usage.get(of).copied().unwrap_or_default()
    }

    /// Call it at every tick.
    pub(crate) fn count(&mut self, now: Moment, seen: Option<&ProxySeen>) {
        if let Some(seen) = seen {
            self.haproxy.add(now, seen);
        }
    }

    pub(crate) fn traffic(&self, service: &str, seen: &ProxySeen) -> Option<ServiceTraffic> {
        self.haproxy.traffic(service, seen)
    }

    /// One for each of the service's metrics, in their order.
    pub(crate) fn readings(
        &self,
        (now, interval): (Moment, Duration),
        service: &Service,
        remote_metrics: &RemoteMetrics,
        seen: std::result::Result<&ProxySeen, &str>,
    ) -> Vec<Reading> {
        let one = |source: &Source| match source {
            Source::Cpu | Source::Memory => Reading::Replicas,
            Source::Haproxy(field) => {
                self.haproxy.read((now, interval), service.name.as_str(), *field, seen)
            }
            Source::Http { .. } | Source::Prometheus { .. } => {
                remote(now, interval, remote_metrics.get(source))
            }
        };
        service.metrics.iter().map(|metric| one(&metric.source)).collect()
    }

    /// After the readings of every service, if HAProxy answered.
    pub(crate) fn idle(&self, now: Moment, service: &str) -> Option<Duration> {
        self.haproxy.idle(now, service)
    }

    pub(crate) fn mark(&mut self, now: Moment, interval: Duration) {
        self.haproxy.mark(now, interval);
    }
}

/// Whether a number of replicas depends on what old processes of HAProxy count, too.
pub(crate) fn counts_requests(config: &Config) -> bool {
    let by_haproxy = |s: &Service| s.metrics.iter().any(|m| matches!(m.source, Source::Haproxy(_)));
    config.services.values().any(|service| by_haproxy(service) || service.may_sleep())
}

fn remote(now: Moment, interval: Duration, hearing: Option<&RemoteReading>) -> Reading {
    let Some(RemoteReading { since, said }) = hearing else { return Reading::Pending };
    let silent = now.since(said.as_ref().map_or(*since, |(at, _)| *at));
    if interval * GAP_INTERVALS <= silent {
        return Reading::Failed(format!(
            "not read for {} s: all metric workers are busy",
            silent.as_secs()
        ));
    }
    match said {
        None => Reading::Pending,
        Some((_, Ok(value))) => Reading::Total(*value),
        Some((_, Err(why))) => Reading::Failed(why.clone()),
    }
}

/// The nearest number of thousandths.
fn milli(value: f64) -> Result<Milli> {
    if !value.is_finite() {
        return Err(Error::new(format!("{value} is no number that can be counted with")));
    }
    if value < 0.0 {
        return Err(Error::new(format!("{value} is less than 0, which no target can be held at")));
    }
    let thousandths = (value * 1000.0).round();
    // 2 to the power of 64, which a conversion would take down to what fits.
    if 18_446_744_073_709_551_616.0 <= thousandths {
        return Err(Error::new(format!("{value} is too large; scale it down")));
    }
    Ok(Milli(thousandths as u64))
}

fn milli_of_text(text: &str) -> Result<Milli> {
    let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
    let why = || format!("{:?} is no number that can be counted with", shortened(text, TEXT_SHOWN));
    milli(value.ok_or_else(|| Error::new(why()))?)
}

#[cfg(test)]
pub(crate) mod scripted {
    //! A network that gives one answer to every request and records the requests.

    use std::net::SocketAddr;
    use std::sync::Mutex;
    use std::time::Duration;

    use crate::model::endpoint::Endpoint;
    use crate::model::health::HttpCheck;
    use crate::observe::metric::ANSWER_BYTES_MAX;
    use crate::outside::{Net, Result};

    pub(crate) struct Scripted {
        status: u16,
        body: String,
        asked: Mutex<Vec<String>>,
    }

    impl Scripted {
        pub(crate) fn new(status: u16, body: &str) -> Scripted {
            Scripted { status, body: body.to_owned(), asked: Mutex::default() }
        }

        pub(crate) fn asked(&self) -> Vec<String> {
            self.asked.lock().unwrap().clone()
        }
    }

    impl Net for Scripted {
        fn get_status(&self, _: SocketAddr, _: &HttpCheck, _: Duration) -> Result<u16> {
            unreachable!("no replica is asked")
        }

        fn connect(&self, _: SocketAddr, _: Duration) -> Result<()> {
            unreachable!("no replica is asked")
        }

        fn get(
            &self,
            endpoint: &Endpoint,
            longest: u64,
            timeout: Duration,
        ) -> Result<(u16, Vec<u8>)> {
            assert_eq!((longest, timeout), (ANSWER_BYTES_MAX, Duration::from_secs(1)));
            self.asked.lock().unwrap().push(endpoint.url.expose().to_owned());
            Ok((self.status, self.body.clone().into_bytes()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::model::metric::{Milli, Reading};
    use crate::model::replica::Load;
    use crate::model::service::Percent;
    use crate::model::time::Moment;
    use crate::observe::metric::{RemoteReading, remote, replica_usage};
    use crate::outside::{CpuCounter, CpuSource, Usage};

    #[test]
    fn a_container_with_a_limit_of_one_core_has_one() {
        for (limit_nano_cpus, used, has_cpu_limit) in [
            (None, 500_000_000, false),
            (Some(1_000_000_000), 500_000_000, true),
            (Some(2_000_000_000), 1_000_000_000, true),
        ] {
            let source = CpuSource::Files;
            let cpu = Some(CpuCounter { used_ns: 0, read_ns: 0, source, limit_nano_cpus });
            let half = Load::Read(Percent::from_hundredths(50_00));
            let usage = replica_usage(&Usage { cpu, memory: None }, half);
            assert_eq!(
                (usage.nano_cpus, usage.has_cpu_limit),
                (Some(used), has_cpu_limit),
                "{limit_nano_cpus:?}"
            );
        }
    }

    #[test]
    fn an_answer_counts_for_three_intervals() {
        let interval = Duration::from_secs(5);
        let value = Ok(Milli(7));
        let why = Err("down".to_owned());
        let silence = |seconds: u64| {
            Reading::Failed(format!("not read for {seconds} s: all metric workers are busy"))
        };
        for (said, now, want) in [
            (Some((1_000, value.clone())), 1_000, Reading::Total(Milli(7))),
            (Some((1_000, value.clone())), 15_999, Reading::Total(Milli(7))),
            (Some((1_000, value)), 16_000, silence(15)),
            (Some((1_000, why.clone())), 15_999, Reading::Failed("down".to_owned())),
            (Some((1_000, why)), 16_000, silence(15)),
            (None, 14_999, Reading::Pending),
            (None, 15_000, silence(15)),
        ] {
            let said = said.map(|(at, result)| (Moment(at), result));
            let last = RemoteReading { since: Moment(0), said };
            assert_eq!(remote(Moment(now), interval, Some(&last)), want, "{now}: {last:?}");
        }
        assert_eq!(remote(Moment(99_000), interval, None), Reading::Pending);
    }
}
