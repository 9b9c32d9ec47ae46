//! The load of the service as a whole, and how the serving replicas share it. The one
//! place that turns a load into what a metric shows.

use crate::model::metric::{Field, Milli, Source};
use crate::model::service::Service;
use crate::outside::MemoryUse;

/// What the load of a service is counted in, and how much of it there is.
pub(crate) struct Demand {
    pub(crate) source: Source,
    /// Now, of the whole service, in the unit of `source`.
    pub(crate) load: Milli,
    /// What one replica can carry at most. `None`: whatever it is given.
    pub(crate) capacity: Option<Milli>,
}

/// How fast a replica uses its processor, in thousandths of a percent of its limit.
pub(crate) struct CpuRate(Milli);

impl CpuRate {
    /// In nanoseconds of a limit of one core.
    pub(crate) fn over(&self, ns: u64) -> u64 {
        let used = u128::from(ns) * u128::from(self.0.0) / 100_000;
        u64::try_from(used).unwrap_or(u64::MAX)
    }
}

impl Demand {
    /// The load that `replicas` carry together; any more is unmet. This is what a metric
    /// of totals shows.
    fn carried(&self, replicas: u64) -> Milli {
        let most = self.capacity.map_or(u64::MAX, |c| c.0.saturating_mul(replicas));
        Milli(self.load.0.min(most))
    }

    /// An even share, which is what a metric of each replica shows.
    fn share(&self, replicas: usize) -> Milli {
        let replicas = u64::try_from(replicas).unwrap_or(u64::MAX);
        Milli(self.carried(replicas).0.checked_div(replicas).unwrap_or(0))
    }

    pub(crate) fn is_of(&self, field: Field) -> bool {
        self.source == Source::Haproxy(field)
    }

    /// Clients of a service that something else than its request rate drives: each asks one request
    /// after another.
    pub(crate) fn clients(&self) -> u64 {
        match self.source {
            Source::Haproxy(Field::RequestRate) => 0,
            Source::Haproxy(Field::Sessions | Field::Queue) => self.load.0.div_ceil(1000),
            Source::Haproxy(Field::ResponseTimeMs)
            | Source::Cpu
            | Source::Memory
            | Source::Http { .. }
            | Source::Prometheus { .. } => u64::from(0 < self.load.0),
        }
    }

    /// What HAProxy shows of it, if that is what drives the service.
    pub(crate) fn shown(&self, field: Field, replicas: u64) -> Option<u64> {
        self.is_of(field).then(|| self.carried(replicas).0 / 1000)
    }

    /// What a remote source says, if that is what drives the service.
    pub(crate) fn said(&self, replicas: usize) -> Option<(Source, Milli)> {
        let replicas = u64::try_from(replicas).unwrap_or(u64::MAX);
        self.source.is_remote().then(|| (self.source.clone(), self.carried(replicas)))
    }

    /// What each replica shows to use of its memory.
    pub(crate) fn memory(&self, replicas: usize) -> MemoryUse {
        let used = match self.source {
            Source::Memory => self.share(replicas).0,
            Source::Cpu | Source::Haproxy(_) | Source::Http { .. } | Source::Prometheus { .. } => 0,
        };
        MemoryUse { used, limit: WHOLE.0 }
    }

    /// Of the replica at this place of those that serve, from 0 on. It is whole hundredths of a
    /// percent, as they are measured, and the first ones have one more, so that all of them
    /// together show the load whatever their number. Of a service that another metric drives, the
    /// processors are idle.
    pub(crate) fn processor(&self, replicas: usize, place: usize) -> CpuRate {
        let [replicas, place] = [replicas, place].map(|n| u64::try_from(n).unwrap_or(u64::MAX));
        let hundredths = self.carried(replicas).0 / HUNDREDTH;
        let each = hundredths.checked_div(replicas).unwrap_or(0);
        let more = u64::from(place < hundredths.checked_rem(replicas).unwrap_or(0));
        match self.source {
            Source::Cpu => CpuRate(Milli((each + more) * HUNDREDTH)),
            Source::Memory
            | Source::Haproxy(_)
            | Source::Http { .. }
            | Source::Prometheus { .. } => CpuRate(Milli(0)),
        }
    }
}

/// By what a service is simulated.
pub(crate) struct LoadMetric {
    pub(crate) source: Source,
    pub(crate) unit: String,
    /// What one replica is to carry; of a band the upper threshold. More than 0.
    pub(crate) target: Milli,
    /// Other metrics, which always show nothing.
    pub(crate) others: Vec<String>,
}

/// Of a percent, in thousandths.
const HUNDREDTH: u64 = 10;
const WHOLE: Milli = Milli(100_000);

impl LoadMetric {
    /// The first that the service is scaled by; `None` where there is nothing.
    pub(crate) fn first(service: &Service) -> Option<LoadMetric> {
        LoadMetric::first_of(service, |_| true)
    }

    /// The first one whose total can be replayed, or else the first.
    pub(crate) fn replayable(service: &Service) -> Option<LoadMetric> {
        LoadMetric::first_of(service, is_shared).or_else(|| LoadMetric::first(service))
    }

    fn first_of(service: &Service, is_meant: fn(&Source) -> bool) -> Option<LoadMetric> {
        let upper = |percent: u64| Milli(percent.saturating_mul(10).max(1));
        let band = service.band.map(|band| (Source::Cpu, upper(band.upper().hundredths())));
        let metrics = service.metrics.iter().map(|m| (m.source.clone(), m.target));
        let mut all: Vec<(Source, Milli)> = band.into_iter().chain(metrics).collect();
        let (source, target) = all.remove(all.iter().position(|(source, _)| is_meant(source))?);
        let others = all.iter().map(|(source, _)| source.to_string()).collect();
        Some(LoadMetric { unit: unit(&source), source, target, others })
    }

    /// For the picture of a service that nothing scales.
    pub(crate) fn none() -> LoadMetric {
        let source = Source::Cpu;
        let others = Vec::new();
        LoadMetric { unit: unit(&source), source, target: WHOLE, others }
    }

    pub(crate) fn is_shared(&self) -> bool {
        is_shared(&self.source)
    }

    /// Capacity of a replica unless given: the limit of its container.
    pub(crate) fn capacity(&self, service: &Service) -> Option<Milli> {
        let container = &service.container;
        match self.source {
            Source::Cpu => container.nano_cpus.map(|_| WHOLE),
            Source::Memory => container.memory.map(|_| WHOLE),
            Source::Haproxy(_) | Source::Http { .. } | Source::Prometheus { .. } => None,
        }
    }
}

/// Whether more replicas have less of it each, so that a total can be replayed with another number
/// of them.
fn is_shared(source: &Source) -> bool {
    *source != Source::Haproxy(Field::ResponseTimeMs)
}

fn unit(source: &Source) -> String {
    match source {
        Source::Cpu => "% CPU".to_owned(),
        Source::Memory => "% memory".to_owned(),
        Source::Haproxy(Field::Sessions) => "sessions".to_owned(),
        Source::Haproxy(Field::Queue) => "queued requests".to_owned(),
        Source::Haproxy(Field::RequestRate) => "requests/s".to_owned(),
        Source::Haproxy(Field::ResponseTimeMs) => "ms".to_owned(),
        Source::Http { .. } | Source::Prometheus { .. } => source.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use crate::model::metric::{Milli, Source};
    use crate::sim::workload::Demand;

    #[test]
    fn load_is_shared_evenly_up_to_what_each_can_carry() {
        for (load, capacity, replicas, all, each) in [
            (300, None, 3, 300, 100),
            (300, Some(100), 3, 300, 100),
            (301, Some(100), 3, 300, 100),
            (299, Some(100), 3, 299, 99),
            (300, Some(100), 0, 0, 0),
            (300, None, 0, 300, 0),
            (u64::MAX, Some(u64::MAX), 2, u64::MAX, u64::MAX / 2),
        ] {
            let load = Milli(load);
            let capacity = capacity.map(Milli);
            let demand = Demand { source: Source::Cpu, load, capacity };
            let got = (demand.carried(replicas).0, demand.share(replicas as usize).0);
            assert_eq!(got, (all, each), "{load} on {replicas} of {capacity:?}");
        }
    }

    #[test]
    fn a_processor_is_used_by_its_share_of_the_time() {
        let demand =
            |source| Demand { source, load: Milli(150_000), capacity: Some(Milli(100_000)) };
        for (replicas, ns) in [(0, 0), (1, 1_000), (2, 750), (3, 500)] {
            assert_eq!(demand(Source::Cpu).processor(replicas, 0).over(1_000), ns, "{replicas}");
            assert_eq!(demand(Source::Memory).processor(replicas, 0).over(1_000), 0, "{replicas}");
        }
        // As many hundredths as the load has, whatever the number.
        let demand = Demand { source: Source::Cpu, load: Milli(1_260_009), capacity: None };
        for replicas in 1..40 {
            let all: u64 =
                (0..replicas).map(|at| demand.processor(replicas, at).over(100_000)).sum();
            assert_eq!(all, 1_260_000, "{replicas}");
        }
    }
}
