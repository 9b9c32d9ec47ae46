//! What one decision leaves for the next. This is all that the store keeps.

use std::collections::BTreeMap;

use crate::model::history::History;
use crate::model::replica::ContainerId;
use crate::model::rollout::RolloutMemory;
use crate::model::swarm::SwarmMemory;
use crate::model::time::Moment;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// By service name. A name that left the config stays until none of its replicas is left.
    pub(crate) services: BTreeMap<String, ServiceMemory>,
}

impl Memory {
    /// Alike but for times that every look renews: when the same was asked for again, and when a
    /// rollout was watched.
    pub(crate) fn is_like(&self, other: &Memory) -> bool {
        let timeless = |memory: &Memory| {
            let mut memory = memory.clone();
            let histories = memory.services.values_mut().map(|s| &mut s.history);
            let asked = histories.flat_map(|history| history.recommendations.iter_mut());
            asked.for_each(|entry| entry.at = Moment::default());
            let rollouts = memory.services.values_mut().map(|s| &mut s.rollout);
            let under_way = rollouts.filter_map(|rollout| rollout.under_way.as_mut());
            under_way.for_each(|progress| progress.watched = Moment::default());
            memory
        };
        timeless(self) == timeless(other)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceMemory {
    /// How many replicas were last decided on. `None`: never decided yet.
    pub(crate) wanted: Option<u32>,
    /// The number given last; the next replica gets the one after.
    pub(crate) last_number: u32,
    /// When load last changed `wanted`. The one source of truth for cooling down.
    pub(crate) changed_at: Option<Moment>,
    /// Set by an operator: outranks schedules and load.
    pub(crate) hold: Option<Hold>,
    /// Set by an operator: the number stands, replicas that fail are replaced.
    pub(crate) pause: Option<Pause>,
    pub(crate) drains: BTreeMap<ContainerId, Drain>,
    pub(crate) failures: Failures,
    /// Replicas whose health check fails, and those that stopped by themselves and are missed.
    pub(crate) ill: BTreeMap<ContainerId, Illness>,
    pub(crate) suspicion: Option<Suspicion>,
    pub(crate) rollout: RolloutMemory,
    /// Without recommendations it begins with the size that it finds.
    pub(crate) history: History,
    /// `None` where Swarm does not run it, or was never seen to.
    pub(crate) swarm: Option<SwarmMemory>,
    /// The replicas of the last look. An id that stands here is a replica whatever it is called.
    pub(crate) known: BTreeMap<ContainerId, Known>,
    /// Starts that succeeded and that no look has shown yet, by number.
    pub(crate) started: BTreeMap<u32, Started>,
    /// When Docker's restart policy started replicas again, oldest first.
    pub(crate) restarts: Vec<Moment>,
}

/// A replica as it was seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) name: String,
    pub(crate) number: u32,
    /// As `Container::started` had it.
    pub(crate) run: Option<u64>,
    /// The run that passed its health check, or was there when it was seen first.
    pub(crate) proven: Option<u64>,
    pub(crate) restarts: u32,
    /// Since when its owner has it stopped or paused, which was told.
    pub(crate) away: Option<Moment>,
    /// Since when its processes are paused.
    pub(crate) paused: Option<Moment>,
    /// That it ended by itself was told.
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
    /// Looks that did not show it.
    pub(crate) looks: u32,
}

impl ServiceMemory {
    /// Its health check fails, and is believed.
    pub(crate) fn is_ill(&self, id: &ContainerId) -> bool {
        self.ill.get(id).is_some_and(|illness| !illness.doubted)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) count: u32,
    /// `None`: until it is released.
    pub(crate) until: Option<Moment>,
    /// Why, in the operator's words.
    pub(crate) reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    pub(crate) until: Option<Moment>,
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
    /// It does not run, and its container is to be removed. Whoever starts it again has it back.
    Ended,
}

/// As it was when it was first seen, but for the error, which is the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Illness {
    pub(crate) since: Moment,
    pub(crate) error: String,
    /// HAProxy had it.
    pub(crate) served: bool,
    /// The health check is doubted rather than the replica.
    pub(crate) doubted: bool,
}

/// The health check is doubted, because all replicas fell ill at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Suspicion {
    /// `None` as long as none has recovered.
    pub(crate) until: Option<Moment>,
}

/// Starts that failed and replicas that exited by themselves or fell ill, without ten good minutes
/// between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failures {
    pub(crate) count: u32,
    pub(crate) last: Moment,
    /// Since when as many serve as are wanted, the times without counted out. `None`: never yet.
    pub(crate) well_since: Option<Moment>,
    /// Since when fewer do, after they did.
    pub(crate) short_since: Option<Moment>,
}
