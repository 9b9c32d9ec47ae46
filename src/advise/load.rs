//! The recorded load as a search needs it: times of constant load, and how many replicas carry it.

use crate::model::metric::Milli;
use crate::model::time::{Moment, Wall};
use crate::sim::recorded_load::RecordedLoad;

/// A time of constant load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoadSpan {
    pub(crate) from: Moment,
    pub(crate) to: Moment,
    /// Of the whole service, in the unit of the metric.
    pub(crate) load: Milli,
}

/// The known load in the order of time; gaps are between two spans.
pub(crate) fn load_spans(recorded: &RecordedLoad) -> Vec<LoadSpan> {
    let start = moment(recorded.start);
    let rows = recorded.trace.rows();
    let pairs = rows.iter().zip(rows.iter().skip(1));
    let spans = pairs.map(|((from, load), (to, _))| LoadSpan {
        from: start.plus(*from),
        to: start.plus(*to),
        load: Milli((load * 1000.0).round() as u64),
    });
    let is_known = |span: &LoadSpan| {
        let since = span.from.since(start);
        !recorded.gaps.iter().any(|gap| gap.from <= since && since < gap.to)
    };
    spans.filter(is_known).collect()
}

pub(crate) fn moment(at: Wall) -> Moment {
    Moment(u64::try_from(at.0).unwrap_or(0).saturating_mul(1000))
}

/// Replicas that carry a load.
pub(crate) fn need(load: Milli, carries: Milli) -> u32 {
    u32::try_from(load.0.div_ceil(carries.0.max(1))).unwrap_or(u32::MAX)
}

/// The smallest number that is at least as large as this many percent of all.
pub(crate) fn quantile(mut numbers: Vec<u32>, percent: usize) -> Option<u32> {
    numbers.sort_unstable();
    let place = (numbers.len() * percent).div_ceil(100);
    numbers.get(place.saturating_sub(1)).copied()
}
