//! How far a change of what the replicas are made from has come, as it is remembered.

use std::sync::Arc;

use crate::model::service::{ContainerSpec, Service};
use crate::model::time::Moment;

/// All that it takes to make a replica as it was made at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recipe {
    pub(crate) container: ContainerSpec,
    /// `Service::port` of it.
    pub(crate) port: u16,
}

impl Recipe {
    pub(crate) fn of(service: &Service) -> Recipe {
        Recipe { container: service.container.clone(), port: service.port }
    }

    pub(crate) fn is_of(&self, service: &Service) -> bool {
        self.port == service.port && self.container == service.container
    }

    /// The service as it is, but made by this recipe.
    pub(crate) fn applied_to(&self, service: &Service) -> Service {
        Service { container: self.container.clone(), port: self.port, ..service.clone() }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RolloutMemory {
    /// The replicas up to this number are to be replaced, because an operator said so. Numbers
    /// only grow, so that no clock is needed to tell the old ones.
    pub(crate) restart_up_to: u32,
    /// What they were made from when last all of them served and none was old.
    pub(crate) good: Option<Arc<Recipe>>,
    /// The spec that made no progress. It is not tried again until the config has another one, or
    /// an operator asks for a restart.
    pub(crate) rejected: Option<String>,
    pub(crate) under_way: Option<Progress>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The spec that all replicas are to have.
    pub(crate) spec: String,
    pub(crate) began: Moment,
    /// When the last step forward was seen.
    pub(crate) moved: Moment,
    /// The turn before: time that nobody watched does not count.
    pub(crate) watched: Moment,
    /// The most new ones that served at once, and the fewest old ones that were left.
    pub(crate) most_new: u32,
    pub(crate) fewest_old: u32,
    /// It stands still, and that was told.
    pub(crate) is_stalled: bool,
}

impl Progress {
    pub(crate) fn begun(spec: String, now: Moment) -> Progress {
        Progress {
            spec,
            began: now,
            moved: now,
            watched: now,
            most_new: 0,
            fewest_old: u32::MAX,
            is_stalled: false,
        }
    }
}
