//! One decision with all its inputs: the answer to "why does it not scale?".

use std::sync::Arc;

use crate::model::forecast::ServiceForecast;
use crate::model::metric::Milli;
use crate::model::reason::{AppliedRule, Rule, WITHIN_RANGE};
use crate::model::replica::Load;
use crate::model::schedule::EffectiveSchedule;

/// The number of replicas of one service, and all that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The number before and after.
    pub(crate) from: u32,
    pub(crate) desired: u32,
    pub(crate) effective: EffectiveSchedule,
    pub(crate) counts: Counts,
    pub(crate) samples: Vec<ReplicaSample>,
    /// One for each metric, also where a rule above load gave the number. Empty between two
    /// evaluations, and where the bounds alone gave the number.
    pub(crate) measured: Vec<MetricResult>,
    /// `None`: it is off, or this was no evaluation.
    pub(crate) forecast: Option<Arc<ServiceForecast>>,
    /// Every rule that gave or changed the number, in order; never empty.
    pub(crate) because: Vec<AppliedRule>,
}

impl Decision {
    /// The one word for the whole decision: that of the last rule.
    pub(crate) fn reason(&self) -> &'static str {
        self.because.last().map_or(WITHIN_RANGE, |cause| cause.rule.word())
    }
}

/// How many replicas are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Can serve.
    pub(crate) ready: u32,
    /// Created or started, not known to serve yet.
    pub(crate) unready: u32,
    /// Their health check fails.
    pub(crate) unhealthy: u32,
    /// Drained, stopped or exited: they do not count.
    pub(crate) leaving: u32,
}

/// The samples of one replica, and how it counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplicaSample {
    pub(crate) number: u32,
    pub(crate) weight: SampleClass,
    pub(crate) cpu: Load,
    pub(crate) memory: Load,
    /// Its hook `after_ready` has not succeeded yet.
    pub(crate) awaits_hook: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SampleClass {
    Ready,
    /// It cannot serve, or not yet.
    Unready,
    /// Ready, without a sample that its service scales by.
    Missing,
    /// Drained, stopped or exited.
    Ignored,
}

impl SampleClass {
    pub(crate) fn word(self) -> &'static str {
        match self {
            SampleClass::Ready => "ready",
            SampleClass::Unready => "unready",
            SampleClass::Missing => "missing",
            SampleClass::Ignored => "ignored",
        }
    }
}

/// The value and the proposal of one metric, or of the CPU thresholds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetricResult {
    /// As `Source` prints it; `cpu` for the thresholds.
    pub(crate) name: String,
    /// In percent, or in the metric's own unit.
    pub(crate) unit: &'static str,
    /// `None`: unavailable.
    pub(crate) value: Option<Milli>,
    pub(crate) target: Milli,
    /// Value divided by target, in thousandths.
    pub(crate) ratio: Option<Milli>,
    /// `None`: unavailable.
    pub(crate) proposal: Option<u32>,
    pub(crate) rule: Rule,
    /// Why there is no value.
    pub(crate) failure: Option<String>,
}
