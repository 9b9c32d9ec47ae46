//! Reports when the registry gives no answer about a watched image, and when it does again.

use std::collections::BTreeSet;

use crate::model::event::{Event, Kind};
use crate::model::snapshot::Snapshot;

/// Services that were reported.
#[derive(Debug, Default)]
pub(crate) struct ImageChecks(BTreeSet<String>);

impl ImageChecks {
    pub(crate) fn update(&mut self, snapshot: &Snapshot) -> Option<Event> {
        let name = snapshot.service.name.as_str();
        let event = match &snapshot.registry.error {
            Some(error) if self.0.insert(name.to_owned()) => {
                let message =
                    format!("{error}; replicas keep running, and the registry is asked again");
                Event::new(Kind::ImageCheckFailed, message)
            }
            None if self.0.remove(name) => {
                Event::resolved(Kind::ImageCheckFailed, "the registry answers again")
            }
            Some(_) | None => return None,
        };
        Some(event.service(name))
    }

    pub(crate) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|name| is_there(name));
    }
}
