//! What one decision leaves for the next. The store keeps this and nothing else.

use std::collections::BTreeMap;

use crate::model::forecast::ForecastRaise;
use crate::model::history::History;
use crate::model::label_set::LabelSet;
use crate::model::preemption::PreemptionMemory;
use crate::model::replica::ContainerId;
use crate::model::rollout::RolloutMemory;
use crate::model::sleep::SleepMemory;
use crate::model::swarm::SwarmMemory;
use crate::model::time::Moment;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// By service name. A name that left the config stays until none of its replicas is left.
    pub(crate) services: BTreeMap<String, ServiceMemory>,
    pub(crate) preemptions: PreemptionMemory,
    /// The labels that configure services, as they were good last.
    pub(crate) labels: Vec<LabelSet>,
    /// The daemon ran with a config file.
    pub(crate) has_config_file: bool,
}

impl Memory {
    /// Equal except for times that every evaluation renews, those of repeated recommendations and
    /// when a rollout was last observed, and for what is not stored. Such a change alone is not
    /// worth a write.
    pub(crate) fn is_like(&self, other: &Memory) -> bool {
        let timeless = |memory: &Memory| {
            let mut memory = memory.clone();
            let histories = memory.services.values_mut().map(|s| &mut s.history);
            let asked = histories.flat_map(|history| history.recommendations.iter_mut());
            asked.for_each(|entry| entry.at = Moment::default());
            let raises = memory.services.values_mut().filter_map(|s| s.forecast.as_mut());
            raises.for_each(|raise| raise.asked.at = Moment::default());
            let rollouts = memory.services.values_mut().map(|s| &mut s.rollout);
            let under_way = rollouts.filter_map(|rollout| rollout.under_way.as_mut());
            under_way.for_each(|progress| progress.watched = Moment::default());
            memory.preemptions.room_since = None;
            memory
        };
        timeless(self) == timeless(other)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceMemory {
    /// The last decided number of replicas. `None`: none was decided yet.
    pub(crate) desired: Option<u32>,
    /// The highest number given to a replica; the next one gets the number after.
    pub(crate) last_number: u32,
    /// When load last changed `desired`. The cooldown is derived from it.
    pub(crate) changed_at: Option<Moment>,
    /// Set by an operator: outranks schedules and load.
    pub(crate) hold: Option<Hold>,
    /// Set by an operator: the number stays, replicas that fail are replaced.
    pub(crate) pause: Option<Pause>,
    pub(crate) drains: BTreeMap<ContainerId, Drain>,
    pub(crate) failures: Failures,
    /// Replicas whose health check fails, and exited ones that are replaced.
    pub(crate) unhealthy: BTreeMap<ContainerId, Unhealthy>,
    pub(crate) panic_mode: Option<PanicMode>,
    pub(crate) rollout: RolloutMemory,
    /// Empty recommendations are seeded with the current number.
    pub(crate) history: History,
    pub(crate) sleep: SleepMemory,
    /// `None`: the number is that of load.
    pub(crate) forecast: Option<ForecastRaise>,
    /// `None`: Swarm does not run it, or was not observed yet.
    pub(crate) swarm: Option<SwarmMemory>,
    /// The replicas of the last tick. An id in here is a replica whatever its name.
    pub(crate) known: BTreeMap<ContainerId, KnownReplica>,
    /// Starts that succeeded and that no list has shown yet, by number.
    pub(crate) started: BTreeMap<u32, Started>,
    /// When Docker's restart policy started replicas again, oldest first.
    pub(crate) restarts: Vec<Moment>,
}

/// A replica as last observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownReplica {
    pub(crate) name: String,
    pub(crate) number: u32,
    /// `Container::started`.
    pub(crate) run: Option<u64>,
    /// The run that passed its health check, or that was first observed.
    pub(crate) proven: Option<u64>,
    /// This run was not ready yet, so that its hook `after_ready` is due. Only where there is one.
    pub(crate) is_unready: bool,
    pub(crate) restarts: u32,
    /// Since when its owner has it stopped or paused. That was reported.
    pub(crate) away: Option<Moment>,
    /// Since when its processes are paused.
    pub(crate) paused: Option<Moment>,
    /// Its exit was reported.
    pub(crate) is_ended: bool,
    pub(crate) unaddressed: Option<Unaddressed>,
}

/// A replica runs without an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unaddressed {
    pub(crate) since: Moment,
    pub(crate) is_told: bool,
}

/// A container that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Started {
    pub(crate) id: ContainerId,
    /// Lists of containers that did not show it.
    pub(crate) looks: u32,
}

impl ServiceMemory {
    /// Its health check fails, and is not ignored.
    pub(crate) fn is_unhealthy(&self, id: &ContainerId) -> bool {
        self.unhealthy.get(id).is_some_and(|unhealthy| !unhealthy.ignored)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) count: u32,
    /// `None`: until it is released.
    pub(crate) until: Option<Moment>,
    /// The reason that the operator gave.
    pub(crate) reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    pub(crate) until: Option<Moment>,
}

/// A replica that leaves HAProxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drain {
    pub(crate) since: Moment,
    pub(crate) step: DrainStep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DrainStep {
    /// HAProxy gives it no new sessions; `quiet` polls in a row showed none left.
    Draining { quiet: u32 },
    /// It leaves HAProxy's list and is stopped once it has left. It cannot be cancelled.
    Drained,
    /// It does not run, and its container is removed unless somebody starts it again.
    Ended,
}

/// An unhealthy replica as first observed, with the latest error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unhealthy {
    pub(crate) since: Moment,
    pub(crate) error: String,
    /// HAProxy sent it requests.
    pub(crate) served: bool,
    /// Panic mode: the failing check is ignored.
    pub(crate) ignored: bool,
}

/// Health checks are ignored, because all replicas became unhealthy at once. See Envoy's panic
/// threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PanicMode {
    /// When checks are trusted again. `None`: no replica has recovered yet.
    pub(crate) until: Option<Moment>,
}

/// Failed starts, exits and unhealthy replicas since the service last ran at full size for ten
/// minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failures {
    pub(crate) count: u32,
    pub(crate) last: Moment,
    /// Start of the current full-size period, shifted forward by any time spent below full size.
    /// `None`: it has not been at full size yet.
    pub(crate) well_since: Option<Moment>,
    /// Since when it is below full size, after it was there.
    pub(crate) short_since: Option<Moment>,
}
