//! Collects evaluations into the rows of the load history, one for each service and minute.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::load_history::{MinuteLoad, MinuteRow};
use crate::model::metric::Milli;
use crate::model::status::ServiceStatus;
use crate::model::time::Wall;

/// In seconds.
pub(crate) const MINUTE: i64 = 60;

/// What the host did in the minute that ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostUse {
    pub(crate) cpu: Option<u8>,
    pub(crate) memory: Option<u8>,
}

#[derive(Debug, Default)]
pub(crate) struct MinuteRows {
    /// The first second of the minute that is collected.
    at: Option<Wall>,
    services: BTreeMap<String, MinuteSums>,
    /// Requests and errors of each service since the daemon's start, as known last.
    totals: BTreeMap<String, (u64, u64)>,
}

#[derive(Debug, Default)]
struct MinuteSums {
    ready: u32,
    desired: u32,
    requests: u64,
    errors_5xx: u64,
    queue: u64,
    loads: Vec<LoadSum>,
}

#[derive(Debug)]
struct LoadSum {
    metric: String,
    target: Milli,
    sum: u64,
    count: u64,
    highest: Option<Milli>,
    forecast: Option<Milli>,
}

impl MinuteRows {
    /// Takes an evaluation. Gives the rows of the minute before when this is the first of another
    /// one, later or, after a step of the clock, earlier; `host` is asked only then.
    pub(crate) fn add<'s>(
        &mut self,
        at: Wall,
        services: impl Iterator<Item = &'s ServiceStatus>,
        host: impl FnOnce() -> HostUse,
    ) -> Vec<(String, MinuteRow)> {
        let minute = Wall(at.0 - at.0.rem_euclid(MINUTE));
        let before = self.at.replace(minute).filter(|before| *before != minute);
        let rows = before.map(|at| self.rows(at, host())).unwrap_or_default();
        let mut there = BTreeSet::new();
        for service in services {
            there.insert(service.name.as_str());
            self.collect(service);
        }
        self.totals.retain(|name, _| there.contains(name.as_str()));
        rows
    }

    fn rows(&mut self, at: Wall, host: HostUse) -> Vec<(String, MinuteRow)> {
        let row = |(name, collected): (String, MinuteSums)| {
            let row = MinuteRow {
                at,
                ready: collected.ready,
                desired: collected.desired,
                requests: collected.requests,
                errors_5xx: collected.errors_5xx,
                queue: collected.queue,
                host_cpu: host.cpu,
                host_memory: host.memory,
                loads: collected.loads.into_iter().map(LoadSum::finished).collect(),
            };
            (name, row)
        };
        std::mem::take(&mut self.services).into_iter().map(row).collect()
    }

    fn collect(&mut self, service: &ServiceStatus) {
        let collected = self.services.entry(service.name.clone()).or_default();
        collected.ready = service.decision.counts.ready;
        collected.desired = service.decision.desired;
        if let Some(traffic) = service.traffic {
            let now = (traffic.total.requests, traffic.total.errors_5xx);
            let before = self.totals.insert(service.name.clone(), now).unwrap_or_default();
            collected.requests += now.0.saturating_sub(before.0);
            collected.errors_5xx += now.1.saturating_sub(before.1);
            collected.queue = collected.queue.max(traffic.queue);
        }
        let ready = u64::from(service.decision.counts.ready.max(1));
        for measured in &service.decision.measured {
            let known =
                |load: &LoadSum| load.metric == measured.name && load.target == measured.target;
            let at = collected.loads.iter().position(known).unwrap_or_else(|| {
                // A reload may have changed the target within the minute.
                collected.loads.retain(|load| load.metric != measured.name);
                collected.loads.push(LoadSum::new(&measured.name, measured.target));
                collected.loads.len() - 1
            });
            let forecast = service.decision.forecast.as_deref();
            let forecast = forecast.and_then(|all| all.of(&measured.name)?.earlier);
            if let Some(load) = collected.loads.get_mut(at) {
                load.forecast = forecast.or(load.forecast);
            }
            if let (Some(load), Some(value)) = (collected.loads.get_mut(at), measured.value) {
                load.add(Milli(value.0.saturating_mul(ready)));
            }
        }
    }
}

impl LoadSum {
    fn new(metric: &str, target: Milli) -> LoadSum {
        LoadSum {
            metric: metric.to_owned(),
            target,
            sum: 0,
            count: 0,
            highest: None,
            forecast: None,
        }
    }

    fn add(&mut self, value: Milli) {
        self.sum = self.sum.saturating_add(value.0);
        self.count += 1;
        self.highest = self.highest.max(Some(value));
    }

    fn finished(self) -> MinuteLoad {
        let average = self.sum.checked_div(self.count).map(Milli);
        MinuteLoad {
            metric: self.metric,
            target: self.target,
            average,
            highest: self.highest,
            forecast: self.forecast,
        }
    }
}
