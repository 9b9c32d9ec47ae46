//! What one decision saw, number by number. The answer to "why does it not scale?".

use crate::model::metric::Milli;
use crate::model::reason::{Cause, Rule, WITHIN_RANGE};
use crate::model::replica::Load;
use crate::model::schedule::Standing;

/// The number of replicas of one service, and all that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The number before and after.
    pub(crate) from: u32,
    pub(crate) wanted: u32,
    pub(crate) standing: Standing,
    pub(crate) counts: Counts,
    pub(crate) sightings: Vec<Sighting>,
    /// One for each metric, also where a rule above load gave the number. Empty between two
    /// evaluations, and where the bounds alone gave the number.
    pub(crate) measured: Vec<Measured>,
    /// Every rule that gave or changed the number, in order; never empty.
    pub(crate) because: Vec<Cause>,
}

impl Decision {
    /// The one word for the whole decision: that of the last rule.
    pub(crate) fn reason(&self) -> &'static str {
        self.because.last().map_or(WITHIN_RANGE, |cause| cause.rule.word())
    }
}

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
