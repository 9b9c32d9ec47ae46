//! What one decision saw, number by number. The answer to "why does it not scale?".

use crate::model::metric::Milli;
use crate::model::plan::Rule;

/// How many replicas stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Can serve.
    pub(crate) ready: u32,
    /// Made or started, not known to serve yet.
    pub(crate) unready: u32,
    /// Their health check fails.
    pub(crate) ill: u32,
    /// Drained, stopped or exited: they count for nothing.
    pub(crate) leaving: u32,
}

/// What one metric, or the band on CPU, showed and asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Measured {
    /// As `Source` prints it; the band is `cpu band`.
    pub(crate) name: String,
    /// In percent, or in the metric's own unit.
    pub(crate) unit: &'static str,
    /// `None`: it could not be told.
    pub(crate) value: Option<Milli>,
    pub(crate) target: Milli,
    /// Of value to target, in thousandths.
    pub(crate) ratio: Option<Milli>,
    /// `None`: it could not be told.
    pub(crate) proposal: Option<u32>,
    pub(crate) rule: Rule,
    /// Why it could not be told.
    pub(crate) failure: Option<String>,
}
