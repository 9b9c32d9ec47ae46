//! Replicas whose health comes from Docker, but whose check Docker no longer runs.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::event::{Event, Kind};
use crate::model::snapshot::{EngineSeen, Snapshot};

/// Their numbers, by service.
#[derive(Debug, Default)]
pub(crate) struct StaleHealthChecks {
    services: BTreeMap<String, BTreeSet<u32>>,
}

impl StaleHealthChecks {
    pub(crate) fn update(&mut self, snapshot: &Snapshot) -> Vec<Event> {
        if snapshot.engine == EngineSeen::Lost {
            return Vec::new();
        }
        let service = &snapshot.service;
        let name = service.name.as_str();
        let before = self.services.remove(name).unwrap_or_default();
        let mut now = BTreeSet::new();
        let mut events = Vec::new();
        for replica in &snapshot.replicas {
            let was = before.contains(&replica.number);
            let event = match replica.unchecked_s {
                Some(seconds) => {
                    now.insert(replica.number);
                    let message = format!(
                        "Docker has not run the image's HEALTHCHECK for {seconds}s and still \
                         reports healthy, as after a restart of dockerd; `docker restart` runs it \
                         again"
                    );
                    (!was).then(|| Event::new(Kind::HealthStale, message))
                }
                None => was.then(|| Event::resolved(Kind::HealthStale, "the check runs again")),
            };
            let named = |e: Event| e.service(name).replica(service.replica_name(replica.number));
            events.extend(event.map(named));
        }
        if !now.is_empty() {
            self.services.insert(name.to_owned(), now);
        }
        events
    }

    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.services.retain(|name, _| is_there(name));
    }
}
