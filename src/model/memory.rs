//! What one decision leaves for the next. This is all that the store keeps.

use std::collections::BTreeMap;

use crate::model::replica::ContainerId;
use crate::model::time::Moment;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// By service name. A name that left the config stays until none of its replicas is left.
    pub(crate) services: BTreeMap<String, ServiceMemory>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceMemory {
    /// How many replicas were last decided on. `None`: never decided yet.
    pub(crate) wanted: Option<u32>,
    /// The number given last; the next replica gets the one after.
    pub(crate) last_number: u32,
    /// When load last changed `wanted`. The one source of truth for cooling down.
    pub(crate) changed_at: Option<Moment>,
    pub(crate) drains: BTreeMap<ContainerId, Drain>,
    pub(crate) failures: Failures,
}

/// A replica on its way out of HAProxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drain {
    pub(crate) since: Moment,
    pub(crate) step: DrainStep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DrainStep {
    /// HAProxy gives it no new sessions; `quiet` looks in a row showed none left.
    Emptying { quiet: u32 },
    /// It may leave HAProxy's list, and be stopped once it has left. There is no way back.
    Released,
}

/// Starts that failed and replicas that exited by themselves, without ten good minutes between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failures {
    pub(crate) count: u32,
    pub(crate) last: Moment,
}
