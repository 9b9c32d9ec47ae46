//! Collects evaluations into the rows of the load history, one for each service and minute.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::decision::MetricResult;
use crate::model::load_history::{MinuteLoad, MinuteRow};
use crate::model::metric::{self, Milli};
use crate::model::status::{ServiceStatus, Status};
use crate::model::time::{MINUTE, Wall};

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
    /// Of the last tick.
    last: Option<Wall>,
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
    /// Takes a tick into its minute. Gives the rows of the minute before when this is the first of
    /// another one, later or, after a step of the clock, earlier; `host` is asked only then. Loads
    /// count at evaluations only: in between they are those of the last one.
    pub(crate) fn add<'s>(
        &mut self,
        at: Wall,
        services: impl Iterator<Item = &'s ServiceStatus>,
        is_evaluation: bool,
        host: impl FnOnce() -> HostUse,
    ) -> Vec<(String, MinuteRow)> {
        let rows = self.close(at, host);
        let mut there = BTreeSet::new();
        for service in services {
            there.insert(service.name.as_str());
            self.collect(service, is_evaluation);
        }
        self.totals.retain(|name, _| there.contains(name.as_str()));
        rows
    }

    /// The rows of the minute before, if `at` is in another one. `add` gives them else.
    pub(crate) fn close(
        &mut self,
        at: Wall,
        host: impl FnOnce() -> HostUse,
    ) -> Vec<(String, MinuteRow)> {
        let minute = self.minute(at);
        let before = self.at.replace(minute).filter(|before| *before != minute);
        before.map(|at| self.rows(at, host())).unwrap_or_default()
    }

    /// A clock that is set back by seconds, over the begin of a minute, goes on with that minute:
    /// the one before has its row, which the rest of another one would replace.
    fn minute(&mut self, at: Wall) -> Wall {
        let minute = Wall(at.0.saturating_sub(at.0.rem_euclid(MINUTE)));
        let back = self.last.replace(at).map_or(0, |last| last.0.saturating_sub(at.0));
        self.at.filter(|collected| minute < *collected && back < MINUTE).unwrap_or(minute)
    }

    /// While none are written: what happens meanwhile is no part of a later row.
    pub(crate) fn skip(&mut self, status: &Status) {
        self.at = None;
        self.services.clear();
        let is_there = |name: &String| status.services.iter().any(|s| s.name == *name);
        self.totals.retain(|name, _| is_there(name));
        for service in &status.services {
            self.new_traffic(service);
        }
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
                loads: collected
                    .loads
                    .into_iter()
                    .map(|load| load.finished(collected.ready))
                    .collect(),
            };
            (name, row)
        };
        std::mem::take(&mut self.services).into_iter().map(row).collect()
    }

    fn collect(&mut self, service: &ServiceStatus, is_evaluation: bool) {
        let (requests, errors_5xx) = self.new_traffic(service);
        let collected = self.services.entry(service.name.clone()).or_default();
        collected.ready = service.decision.counts.ready;
        collected.desired = service.decision.desired;
        collected.requests += requests;
        collected.errors_5xx += errors_5xx;
        let queue = service.traffic.map_or(0, |traffic| traffic.queue);
        collected.queue = collected.queue.max(queue);
        let decision = &service.decision;
        for measured in &service.decision.measured {
            let at =
                collected.loads.iter().position(|load| load.is_of(measured)).unwrap_or_else(|| {
                    // A reload may have changed the target within the minute.
                    collected.loads.retain(|load| decision.measured.iter().any(|m| load.is_of(m)));
                    collected.loads.push(LoadSum::new(&measured.name, measured.target));
                    collected.loads.len() - 1
                });
            let forecast = decision.forecast.as_deref();
            let forecast = forecast.and_then(|all| all.of(&measured.name)?.earlier);
            let value = measured.value.filter(|_| is_evaluation);
            let Some(load) = collected.loads.get_mut(at) else { continue };
            load.forecast = forecast.or(load.forecast);
            if let Some(value) = value {
                let shares = match &measured.name {
                    name if metric::is_of_each(name) => 1,
                    name if metric::is_total(name) => decision.from,
                    _ => decision.counts.ready,
                };
                load.add(Milli(value.0.saturating_mul(u64::from(shares.max(1)))));
            }
        }
    }

    /// Requests and errors since this was asked last. What a service had before it was seen first
    /// is of no minute: one that left the config and came back has a total.
    fn new_traffic(&mut self, service: &ServiceStatus) -> (u64, u64) {
        let Some(traffic) = service.traffic else { return (0, 0) };
        let now = (traffic.total.requests, traffic.total.errors_5xx);
        let before = self.totals.insert(service.name.clone(), now).unwrap_or(now);
        (now.0.saturating_sub(before.0), now.1.saturating_sub(before.1))
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

    /// Thresholds and a metric of CPU have one name and two targets.
    fn is_of(&self, measured: &MetricResult) -> bool {
        self.metric == measured.name && self.target == measured.target
    }

    fn add(&mut self, value: Milli) {
        self.sum = self.sum.saturating_add(value.0);
        self.count += 1;
        self.highest = self.highest.max(Some(value));
    }

    /// What is of each replica is stored times the number that the row has, so that its reader
    /// gets it back whatever the number was meanwhile.
    fn finished(self, ready: u32) -> MinuteLoad {
        let times = if metric::is_of_each(&self.metric) { u64::from(ready.max(1)) } else { 1 };
        let all = |value: Milli| Milli(value.0.saturating_mul(times));
        MinuteLoad {
            metric: self.metric,
            target: self.target,
            average: self.sum.checked_div(self.count).map(|average| all(Milli(average))),
            highest: self.highest.map(all),
            forecast: self.forecast,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::decision::MetricResult;
    use crate::model::load_history::MinuteRow;
    use crate::model::metric::Milli;
    use crate::model::proxy::{ServiceTraffic, TrafficCounts};
    use crate::model::reason::Rule;
    use crate::model::status::{ReplicaState, Status};
    use crate::model::time::Wall;
    use crate::report::minute_rows::{HostUse, MinuteRows};
    use crate::report::problems::tests as samples;

    const START: i64 = 1_795_824_000;
    const HOURS: i64 = 3600;

    /// One service with two ready replicas; the load is of one replica.
    fn status(at: i64, load: Option<u64>, requests: u64) -> Status {
        let replicas = [(1, ReplicaState::Ready), (2, ReplicaState::Ready)];
        let mut service = samples::service("web", 3, &replicas);
        service.decision.measured.push(MetricResult {
            name: "cpu".to_owned(),
            unit: "%",
            target: Milli(70_000),
            value: load.map(Milli),
            ratio: None,
            proposal: None,
            rule: Rule::NoMetric,
            failure: None,
        });
        let total = TrafficCounts { requests, ..TrafficCounts::default() };
        service.traffic = Some(ServiceTraffic { total, ..ServiceTraffic::default() });
        samples::status(START + at, vec![service])
    }

    fn add(
        collected: &mut MinuteRows,
        status: &Status,
        is_evaluation: bool,
    ) -> Vec<(String, MinuteRow)> {
        collected.add(status.at, status.services.iter(), is_evaluation, HostUse::default)
    }

    /// Second, average and highest load, requests of each row that comes of these ticks: second,
    /// load of a replica, requests so far, `e` for an evaluation.
    fn rows(ticks: &[(i64, u64, u64, char)]) -> Vec<(i64, Option<u64>, Option<u64>, u64)> {
        let mut collected = MinuteRows::default();
        let mut out: Vec<MinuteRow> = Vec::new();
        for (at, load, requests, kind) in ticks {
            let status = status(*at, Some(*load), *requests);
            let rows = add(&mut collected, &status, *kind == 'e');
            out.extend(rows.into_iter().map(|(_, row)| row));
        }
        let milli = |value: Option<Milli>| value.map(|value| value.0);
        let row = |row: &MinuteRow| {
            let load = &row.loads[0];
            (row.at.0 - START, milli(load.average), milli(load.highest), row.requests)
        };
        out.iter().map(row).collect()
    }

    /// Target, average and highest load of each metric of the row that these ticks make.
    fn loads(ticks: &[&[(u64, u64)]]) -> Vec<(u64, u64, u64)> {
        let mut collected = MinuteRows::default();
        for (at, measured) in (0..).zip(ticks) {
            let mut status = status(at, Some(0), 0);
            let results = &mut status.services[0].decision.measured;
            let one = results.remove(0);
            results.extend(measured.iter().map(|(target, load)| MetricResult {
                target: Milli(*target),
                value: Some(Milli(*load)),
                ..one.clone()
            }));
            assert_eq!(add(&mut collected, &status, true), []);
        }
        let rows = add(&mut collected, &status(60, None, 0), true);
        let milli = |value: Option<Milli>| value.unwrap().0;
        let loads = rows[0].1.loads.iter();
        loads.map(|load| (load.target.0, milli(load.average), milli(load.highest))).collect()
    }

    #[test]
    fn thresholds_and_a_target_of_one_name_are_two_loads() {
        let both = |load: u64| [(80, load), (70, load)];
        let all = [both(10), both(20), both(30)];
        let all: Vec<&[(u64, u64)]> = all.iter().map(|both| &both[..]).collect();
        assert_eq!(loads(&all), [(80, 40, 60), (70, 40, 60)]);
        // A reload gives one of them another target: what was collected by it is dropped.
        assert_eq!(loads(&[&both(10), &[(80, 30), (60, 30)]]), [(80, 40, 60), (60, 60, 60)]);
        assert_eq!(loads(&[&both(10), &[(50, 30)]]), [(50, 60, 60)]);
    }

    #[test]
    fn what_is_of_each_replica_is_had_back_by_the_number_of_the_row() {
        for (metric, want) in
            [("cpu", 633_333), ("memory", 380_000), ("haproxy response_time_ms", 380_000)]
        {
            let mut collected = MinuteRows::default();
            for (at, ready) in [(0, 1), (15, 2), (30, 2)] {
                let mut status = status(at, Some(380_000), 0);
                status.services[0].decision.counts.ready = ready;
                status.services[0].decision.measured[0].name = metric.to_owned();
                add(&mut collected, &status, true);
            }
            let rows = add(&mut collected, &status(60, None, 0), true);
            let row = &rows[0].1;
            let shown = row.shown_loads()[0].average.unwrap().0;
            assert_eq!((row.ready, shown), (2, want), "{metric}");
        }
    }

    #[test]
    fn a_row_is_of_the_evaluations_of_its_minute() {
        let ticks = [(0, 10, 5, 'e'), (15, 30, 9, 'e'), (59, 20, 9, 'e'), (60, 99, 20, 'e')];
        // Of two replicas together.
        assert_eq!(rows(&ticks), [(0, Some(40), Some(60), 4)]);
        assert_eq!(rows(&ticks[..3]), [], "the minute is not over");
        // A tick between two evaluations ends a minute too, and repeats no load.
        let ticks = [(0, 10, 5, 'e'), (61, 10, 7, 't'), (122, 10, 9, 't'), (600, 10, 9, 'e')];
        let want = [(0, Some(20), Some(20), 0), (60, None, None, 2), (120, None, None, 2)];
        assert_eq!(rows(&ticks), want);
    }

    #[test]
    fn a_step_of_the_clock_ends_a_minute() {
        for step in [3 * HOURS, -3 * HOURS, 24 * HOURS, -60] {
            let ticks = [(0, 10, 5, 'e'), (step, 30, 9, 'e'), (step + 60, 0, 9, 'e')];
            let want = [(0, Some(20), Some(20), 0), (step, Some(60), Some(60), 4)];
            assert_eq!(rows(&ticks), want, "{step}");
        }
    }

    #[test]
    fn a_step_back_by_seconds_does_not_end_a_minute_twice() {
        let whole = (0, Some(40), Some(60), 4);
        for (back, want) in [
            (1, vec![whole, (60, Some(80), Some(80), 6)]),
            (30, vec![whole, (60, Some(80), Some(80), 6)]),
            // So far back that it is another time.
            (61, vec![whole, (60, Some(80), Some(80), 1), (0, None, None, 2)]),
        ] {
            let mut ticks = vec![(0, 10, 5, 'e'), (30, 30, 9, 'e'), (61, 40, 10, 'e')];
            ticks.push((61 - back, 40, 12, 't'));
            if back < 60 {
                ticks.push((59, 40, 13, 't'));
            }
            ticks.extend([(60, 40, 15, 't'), (120, 0, 15, 'e')]);
            assert_eq!(rows(&ticks)[..want.len()], want, "{back}");
        }
    }

    #[test]
    fn a_service_that_comes_back_brings_no_requests_of_before() {
        let mut collected = MinuteRows::default();
        add(&mut collected, &status(0, None, 5), true);
        let gone = Status { services: Vec::new(), ..status(30, None, 0) };
        add(&mut collected, &gone, true);
        add(&mut collected, &status(60, None, 70_000), true);
        let rows = add(&mut collected, &status(120, None, 70_002), true);
        assert_eq!((rows.len(), rows[0].1.requests), (1, 0));
    }

    #[test]
    fn what_happens_while_the_history_is_off_is_in_no_row() {
        let mut collected = MinuteRows::default();
        add(&mut collected, &status(0, Some(10), 5), true);
        collected.skip(&status(60, Some(10), 1_000));
        assert_eq!(add(&mut collected, &status(120, None, 1_003), true), []);
        let rows = add(&mut collected, &status(180, None, 1_003), true);
        assert_eq!((rows.len(), rows[0].1.requests, rows[0].1.at), (1, 3, Wall(START + 120)));
    }
}
