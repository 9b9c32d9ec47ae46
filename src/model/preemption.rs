//! Replicas that services of low priority gave up for services of higher ones.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::time::Moment;

/// A service that did not use the room that was made for it, or whose replicas keep failing, gets
/// none for this time.
pub(crate) const REFUSED: Duration = Duration::from_secs(600);

/// One replica that one service gave up for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Preemption {
    /// The service that gave it up.
    pub(crate) victim: String,
    pub(crate) victim_priority: u8,
    /// The most replicas that it may have while this lasts.
    pub(crate) cap: u32,
    /// The service that needed one.
    pub(crate) beneficiary: String,
    pub(crate) priority: u8,
    /// The replicas that it had before.
    pub(crate) had: u32,
    pub(crate) shortage: Shortage,
    pub(crate) step: PreemptionStep,
    /// When this step began.
    pub(crate) since: Moment,
}

/// What the host has too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// Bytes that one more replica needs.
    Memory {
        needed: u64,
    },
    Processor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PreemptionStep {
    /// The replica drains, and is stopped and removed.
    Draining,
    /// It is gone: the beneficiary may start one.
    Ready,
    /// The beneficiary started one.
    Used,
    /// The beneficiary needs it no longer; it goes back as soon as there is room.
    Returning,
}

impl PreemptionStep {
    pub(crate) fn word(self) -> &'static str {
        match self {
            PreemptionStep::Draining => "draining",
            PreemptionStep::Ready => "ready",
            PreemptionStep::Used => "used",
            PreemptionStep::Returning => "returning",
        }
    }
}

impl Preemption {
    /// The beneficiary's replica does not run yet.
    pub(crate) fn is_in_flight(&self) -> bool {
        matches!(self.step, PreemptionStep::Draining | PreemptionStep::Ready)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PreemptionMemory {
    /// Oldest first.
    pub(crate) list: Vec<Preemption>,
    /// Services that did not use the room that was made for them, and until when none is made.
    pub(crate) refused: BTreeMap<String, Moment>,
    /// Since when there is room to give a replica back beside the one that took its place.
    pub(crate) room_since: Option<Moment>,
}

/// What preemptions make of the number of one service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PreemptionLimits {
    pub(crate) cap: Option<PreemptionCap>,
    /// A replica is given back: the number goes up to this.
    pub(crate) back: Option<u32>,
    /// Room was made for this number.
    pub(crate) granted: Option<u32>,
}

/// The service gave replicas up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PreemptionCap {
    pub(crate) most: u32,
    pub(crate) taken: u32,
    /// The highest priority that it gave one up for.
    pub(crate) priority: u8,
}
