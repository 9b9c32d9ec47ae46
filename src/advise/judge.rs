//! Settings on a recorded load by the simulator of the whole daemon: the figures that people see.

use std::sync::Arc;
use std::time::Duration;

use crate::advise::effort::Effort;
use crate::advise::evaluator::{LoadConditions, RunFigures};
use crate::model::config::Config;
use crate::model::load_history::MinuteRow;
use crate::model::service::Service;
use crate::sim::recorded_load::{LoadLimits, RecordedLoad};
use crate::sim::replay::{Replay, replay_while};
use crate::sim::workload::LoadMetric;

/// What is the same for all settings that are judged.
pub(crate) struct Court<'a> {
    pub(crate) config: &'a Config,
    pub(crate) conditions: &'a LoadConditions,
    pub(crate) basis: &'a LoadMetric,
    /// Each without a gap.
    pub(crate) runs: Vec<RecordedLoad>,
}

/// The rows between two gaps that a recording does not bridge.
pub(crate) fn runs(
    rows: &[MinuteRow],
    basis: &LoadMetric,
    limits: LoadLimits,
) -> Vec<RecordedLoad> {
    let Ok(whole) = RecordedLoad::new(rows, basis, limits) else { return Vec::new() };
    let mut runs = Vec::new();
    let mut rest = rows;
    let gaps = whole.gaps.iter().map(|gap| {
        let from = i64::try_from(gap.from.as_secs()).unwrap_or(i64::MAX);
        whole.start.0.saturating_add(from)
    });
    for gap in gaps.chain([i64::MAX]) {
        let (run, later) = rest.split_at(rest.partition_point(|row| row.at.0 < gap));
        runs.extend(RecordedLoad::new(run, basis, limits));
        rest = later;
    }
    runs
}

impl Court<'_> {
    /// `Err` says why the load cannot be simulated, and `None` that it was not to go on.
    pub(crate) fn judge(
        &self,
        service: &Service,
        effort: Effort,
    ) -> Result<Option<RunFigures>, String> {
        let service = Arc::new(service.clone());
        let mut all = RunFigures::default();
        let (mut load, mut unmet) = (0.0, 0.0);
        for run in &self.runs {
            let replay = Replay {
                config: self.config,
                service: service.clone(),
                basis: self.basis,
                trace: &run.trace,
                start: run.start,
                start_up: self.conditions.start_up,
                capacity: self.conditions.capacity,
            };
            let replayed = replay_while(&replay, || effort.goes_on())?;
            let Some(replayed) = replayed else { return Ok(None) };
            if let Some(violation) = replayed.violations.first() {
                return Err(format!("bug in plimsoll (please report): {violation}"));
            }
            let sum = replayed.timeline.summary();
            let own = load_hours(run);
            load += own;
            unmet += own * sum.unmet;
            all.hours += run.trace.span().as_secs_f64() / 3600.0;
            all.replica_hours += sum.replica_hours;
            all.hours_above += sum.above.as_secs_f64() / 3600.0;
            all.longest_above = all.longest_above.max(sum.above_longest);
            all.changes += sum.up + sum.down;
            all.flaps += sum.flaps;
        }
        all.unmet = if 0.0 < load { unmet / load } else { 0.0 };
        Ok(Some(all))
    }
}

/// The load in its unit, times hours.
fn load_hours(run: &RecordedLoad) -> f64 {
    let rows = run.trace.rows();
    let pairs = rows.iter().zip(rows.iter().skip(1));
    let hours = |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64() / 3600.0;
    pairs.map(|((from, load), (to, _))| load * hours(*from, *to)).sum()
}
