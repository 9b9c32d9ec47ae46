//! What one decision saw, number by number. The answer to "why does it not scale?".

use crate::model::metric::Milli;
use crate::model::plan::Rule;
use crate::model::replica::Load;

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

/// What was seen of one replica, and how it counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) number: u32,
    pub(crate) weight: Weight,
    pub(crate) cpu: Load,
    pub(crate) memory: Load,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    Ready,
    /// It cannot serve, or not yet.
    Unready,
    /// Ready, without a sample of what its service scales by.
    Missing,
    /// Drained, stopped or exited.
    Ignored,
}

impl Weight {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Weight::Ready => "ready",
            Weight::Unready => "unready",
            Weight::Missing => "missing",
            Weight::Ignored => "ignored",
        }
    }
}

/// What one metric, or the band on CPU, showed and asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Measured {
    /// As `Source` prints it; the band is `cpu`.
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
