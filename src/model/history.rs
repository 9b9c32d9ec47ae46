//! What was proposed and what was done lately: all that windows and rate policies look back on.

use crate::model::time::Moment;

/// A service that has none yet begins with its current size, so that nothing shrinks for one
/// window; an empty history is one that holds nothing back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) recommendations: Vec<Recommendation>,
    /// Times at which replicas were added.
    pub(crate) ups: Vec<ScalingEvent>,
    /// Times at which replicas were taken away.
    pub(crate) downs: Vec<ScalingEvent>,
}

/// What the metrics asked for, before anything held it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recommendation {
    pub(crate) at: Moment,
    pub(crate) replicas: u32,
}

/// The number of replicas changed by this many; the list that holds it gives the direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScalingEvent {
    pub(crate) at: Moment,
    pub(crate) replicas: u32,
}

impl History {
    pub(crate) fn begun(now: Moment, current: u32) -> History {
        let recommendations = vec![Recommendation { at: now, replicas: current }];
        History { recommendations, ..History::default() }
    }
}
