//! Revisions of a service and the progress of a rollout, as remembered.

use std::sync::Arc;

use crate::model::image::ImageMemory;
use crate::model::service::{ContainerSpec, Service};
use crate::model::time::Moment;

/// Everything needed to create a replica of an earlier revision, as a ControllerRevision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Revision {
    pub(crate) container: ContainerSpec,
    /// `Service::port` of it.
    pub(crate) port: u16,
}

impl Revision {
    pub(crate) fn of(service: &Service) -> Revision {
        Revision { container: service.container.clone(), port: service.port }
    }

    pub(crate) fn is_of(&self, service: &Service) -> bool {
        self.port == service.port && self.container == service.container
    }

    /// The current service with the containers of this revision.
    pub(crate) fn applied_to(&self, service: &Service) -> Service {
        Service { container: self.container.clone(), port: self.port, ..service.clone() }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RolloutMemory {
    /// An operator requested to replace all replicas up to this number. Numbers only grow, so no
    /// clock is needed.
    pub(crate) restart_up_to: u32,
    /// The last revision of which all replicas served, with none outdated.
    pub(crate) good: Option<Arc<Revision>>,
    /// The spec that made no progress. It is not tried again until the config changes it or an
    /// operator requests a restart.
    pub(crate) rejected: Option<String>,
    pub(crate) under_way: Option<Progress>,
    pub(crate) images: ImageMemory,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The spec that all replicas should get.
    pub(crate) spec: String,
    pub(crate) began: Moment,
    /// The last progress.
    pub(crate) moved: Moment,
    /// The last tick: time without ticks does not count as time without progress.
    pub(crate) watched: Moment,
    /// The most new replicas that served at once, and the fewest outdated ones left.
    pub(crate) most_new: u32,
    pub(crate) fewest_old: u32,
    /// It is stalled, and that was reported.
    pub(crate) is_stalled: bool,
    /// It goes back to an earlier image.
    pub(crate) is_back: bool,
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
            is_back: false,
        }
    }
}
