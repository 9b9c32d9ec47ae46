//! Swarm services that run fewer tasks than desired.

use std::collections::BTreeMap;

use crate::model::event::{Event, Kind};
use crate::model::replica::ContainerState;
use crate::model::snapshot::{EngineSeen, Snapshot};
use crate::model::time::Moment;

/// By service, since when tasks are missing.
#[derive(Debug, Default)]
pub(crate) struct SwarmShortage {
    services: BTreeMap<String, Since>,
}

#[derive(Debug)]
struct Since {
    at: Moment,
    desired: u32,
    is_reported: bool,
}

impl SwarmShortage {
    /// Reported when it lasts longer than `start_period`, and when it is over.
    pub(crate) fn update(&mut self, now: Moment, snapshot: &Snapshot) -> Option<Event> {
        let service = &snapshot.service;
        let name = service.name.as_str();
        // The Swarm is unknown while Docker does not answer.
        if snapshot.engine == EngineSeen::Lost {
            return None;
        }
        let Some(swarm) = &snapshot.swarm else {
            self.services.remove(name);
            return None;
        };
        let is_running = |state: &ContainerState| *state == ContainerState::Running;
        let running = snapshot.replicas.iter().filter(|r| is_running(&r.state)).count();
        let running = u32::try_from(running).unwrap_or(u32::MAX);
        let desired = swarm.desired;
        if desired <= running {
            let was = self.services.remove(name)?;
            let how = format!("{running} of {desired} tasks run");
            return was.is_reported.then(|| Event::resolved(Kind::SwarmShort, &how).service(name));
        }
        let since = Since { at: now, desired, is_reported: false };
        let since = self.services.entry(name.to_owned()).or_insert(since);
        if since.desired < desired && !since.is_reported {
            since.at = now;
        }
        since.desired = desired;
        let is_late = service.health.start_period <= now.since(since.at);
        if since.is_reported || !is_late {
            return None;
        }
        since.is_reported = true;
        let message = format!(
            "{running} of {desired} tasks run; `docker service ps {}` shows why",
            service.runs.swarm().unwrap_or(name)
        );
        Some(Event::new(Kind::SwarmShort, message).service(name))
    }

    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.services.retain(|name, _| is_there(name));
    }
}
