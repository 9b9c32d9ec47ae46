//! Revisions of a service and the progress of a rollout, as remembered.

use std::sync::Arc;

use crate::model::hooks::Hooks;
use crate::model::image::ImageMemory;
use crate::model::service::{ContainerSpec, Service};
use crate::model::time::Moment;

/// Everything needed to create a replica of an earlier revision, as a ControllerRevision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Revision {
    pub(crate) container: ContainerSpec,
    /// `Service::port` of it.
    pub(crate) port: u16,
    /// The image has the programs that they name; another revision's may not.
    pub(crate) hooks: Hooks,
}

impl Revision {
    pub(crate) fn of(service: &Service) -> Revision {
        let Service { container, port, hooks, .. } = service.clone();
        Revision { container, port, hooks }
    }

    pub(crate) fn is_of(&self, service: &Service) -> bool {
        self.port == service.port
            && self.container == service.container
            && self.hooks == service.hooks
    }

    /// The current service with the containers of this revision.
    pub(crate) fn applied_to(&self, service: &Service) -> Service {
        let Revision { container, port, hooks } = self.clone();
        Service { container, port, hooks, ..service.clone() }
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

impl RolloutMemory {
    /// The hooks for a replica with this label `io.plimsoll.spec`: of the last good revision, if it
    /// is one of those, else of the config.
    pub(crate) fn hooks<'a>(&'a self, service: &'a Service, spec: Option<&str>) -> &'a Hooks {
        let good = self.good.as_deref().filter(|good| good.hooks != service.hooks);
        let is_of = |service: &Service| spec.is_some_and(|spec| spec == service.spec_hash());
        match good {
            Some(good) if !is_of(service) && is_of(&good.applied_to(service)) => &good.hooks,
            Some(_) | None => &service.hooks,
        }
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::model::bounds::Bounds;
    use crate::model::hooks::Hooks;
    use crate::model::rollout::{Revision, RolloutMemory};
    use crate::model::schedule::Timetable;
    use crate::model::service::{ContainerSpec, Origin, Service, ServiceName};

    fn service(image: &str, hook: &str) -> Service {
        let hooks = Hooks { before_stop: vec![hook.to_owned()], ..Hooks::default() };
        let container = ContainerSpec::new(Origin::Image(image.to_owned()));
        let always = Timetable::always(Bounds::exactly(1));
        Service { hooks, ..Service::new(ServiceName::new("web").unwrap(), container, 80, always) }
    }

    #[test]
    fn a_replica_has_the_hooks_of_its_own_revision() {
        let old = service("web:1", "old");
        let new = service("web:2", "new");
        let same = service("web:1", "new");
        for (good, config, spec, want) in [
            (None, &new, Some(&new), "new"),
            (None, &new, Some(&old), "new"),
            (None, &new, None, "new"),
            (Some(&old), &new, Some(&new), "new"),
            (Some(&old), &new, Some(&old), "old"),
            // Of neither, and one of docker compose's own.
            (Some(&old), &new, Some(&service("web:3", "x")), "new"),
            (Some(&old), &new, None, "new"),
            // Only the hooks changed.
            (Some(&old), &same, Some(&old), "new"),
        ] {
            let good = good.map(|good| Arc::new(Revision::of(good)));
            let memory = RolloutMemory { good, ..RolloutMemory::default() };
            let spec = spec.map(Service::spec_hash);
            let hooks = memory.hooks(config, spec.as_deref());
            assert_eq!(hooks.before_stop, [want], "{spec:?}");
        }
    }
}
