//! What is kept of a service's load: a row for each minute.

use crate::model::metric::{self, Milli};
use crate::model::time::Wall;

/// One minute of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MinuteRow {
    /// Its first second.
    pub(crate) at: Wall,
    /// At the last evaluation in it.
    pub(crate) ready: u32,
    pub(crate) desired: u32,
    /// Of clients, as HAProxy counts them.
    pub(crate) requests: u64,
    pub(crate) errors_5xx: u64,
    /// Requests that waited for a replica, at the worst evaluation.
    pub(crate) queue: u64,
    /// Whole percent, of all processors together, over the minute.
    pub(crate) host_cpu: Option<u8>,
    /// Whole percent of the memory that is not available, at its end.
    pub(crate) host_memory: Option<u8>,
    /// In the order of the config.
    pub(crate) loads: Vec<MinuteLoad>,
}

/// Characters that are kept of a metric's name, which may be a long query.
pub(crate) const METRIC_NAME_CHARS_MAX: usize = 200;

/// The load by one metric, in its unit, summed over the ready replicas; of a metric that says how
/// each replica is, times their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MinuteLoad {
    pub(crate) metric: String,
    /// Of one replica.
    pub(crate) target: Milli,
    /// `None`: no evaluation had a value.
    pub(crate) average: Option<Milli>,
    pub(crate) highest: Option<Milli>,
    /// What was expected for the horizon of the forecast that ends with this minute, as its highest
    /// load. `None`: nothing was forecast.
    pub(crate) forecast: Option<Milli>,
}

impl MinuteLoad {
    /// Whether it is by the metric of this name, of which the history keeps the beginning.
    pub(crate) fn is_of(&self, metric: &str) -> bool {
        metric.chars().take(METRIC_NAME_CHARS_MAX).eq(self.metric.chars())
    }

    /// As people know it: where a sum says nothing, of one of these ready replicas.
    fn shown(&self, ready: u32) -> MinuteLoad {
        let shares = if metric::is_of_each(&self.metric) { u64::from(ready.max(1)) } else { 1 };
        let own = |value: Milli| Milli(value.0 / shares);
        MinuteLoad {
            average: self.average.map(own),
            highest: self.highest.map(own),
            forecast: self.forecast.map(own),
            ..self.clone()
        }
    }
}

impl MinuteRow {
    /// A quiet minute with this load.
    #[cfg(test)]
    pub(crate) fn loaded(at: Wall, (ready, desired): (u32, u32), load: MinuteLoad) -> MinuteRow {
        MinuteRow {
            at,
            ready,
            desired,
            requests: 0,
            errors_5xx: 0,
            queue: 0,
            host_cpu: None,
            host_memory: None,
            loads: vec![load],
        }
    }

    /// For people and programs that know nothing of how they are stored.
    pub(crate) fn shown_loads(&self) -> Vec<MinuteLoad> {
        self.loads.iter().map(|load| load.shown(self.ready)).collect()
    }

    /// The highest share of its target that any metric had on average, in thousandths.
    pub(crate) fn load(&self) -> Option<Milli> {
        let share = |load: &MinuteLoad| Some(share_of(load.average?, load.target, self.ready));
        self.loads.iter().filter_map(share).max()
    }

    /// As `load`, what was forecast for the horizon that ends with the minute.
    pub(crate) fn forecast(&self) -> Option<Milli> {
        let share = |load: &MinuteLoad| Some(share_of(load.forecast?, load.target, self.ready));
        self.loads.iter().filter_map(share).max()
    }
}

/// The share of their targets that a load is on so many replicas, in thousandths.
pub(crate) fn share_of(load: Milli, target: Milli, replicas: u32) -> Milli {
    let room = target.0.saturating_mul(u64::from(replicas.max(1)));
    Milli(load.0.saturating_mul(1000) / room.max(1))
}
