//! Removes a container, if it is still in the state that the decision was based on.

use std::sync::PoisonError;

use crate::docker::Docker;
use crate::docker::client::Call;
use crate::docker::engine_calls::Method;
use crate::docker::inspected::Inspected;
use crate::docker::labels::LABEL_SERVICE;
use crate::docker::owner::{Facts, Identity, LabelMap, identify};
use crate::model::action::{ActionOutput, Removal};
use crate::model::owner::Owner;
use crate::outside::{Error, Result};

impl Docker {
    /// Inspects the container right before: somebody may have started or replaced it. Then nothing
    /// is done, and the next tick decides anew.
    pub(super) fn remove_replica(&self, removal: &Removal) -> Result<ActionOutput> {
        let id = &removal.id;
        let Some(found) = self.inspect(&id.0, self.look_timeout())? else {
            return Ok(ActionOutput::Changed);
        };
        let is_same_run = match (removal.started, found.started_ms()) {
            (Some(decided), Some(now)) => decided == now,
            (_, _) => true,
        };
        let is_as_it_was = (found.is_up(), found.is_paused()) == (removal.is_up, removal.is_paused);
        if !is_as_it_was || !is_same_run {
            return Ok(ActionOutput::Unchanged);
        }
        let Some(owner) = self.owner_of(&found, removal) else {
            return Err(Error::new(format!(
                "container {} ({id}) does not have the label {LABEL_SERVICE}={} and the number {}; \
                 it is left alone",
                found.name(),
                removal.service,
                removal.number
            )));
        };
        if found.is_paused() {
            // Stopping a paused container may hang in the engine, and it takes no commands.
            let path = format!("/containers/{}/unpause", id.0);
            let call = Call { method: Method::Post, ..Call::get(&path) };
            self.client.call(call, self.timeout)?;
        }
        let (found, failure) = self.run_before_stop(removal, found)?;
        let Some(found) = found else { return Ok(ActionOutput::Unchanged) };
        // The hook may have taken an hour, in which others removed containers.
        let took_time = removal.before_stop.is_some();
        if owner == Owner::Compose && took_time && !self.has_other_of_compose(removal)? {
            return Ok(ActionOutput::Unchanged);
        }
        let path = format!("/containers/{}/stop", id.0);
        // Docker takes whole seconds; 0 would kill the container at once.
        let seconds = removal.stop_timeout.as_millis().div_ceil(1000).to_string();
        let query = [("t", seconds.as_str())];
        let call = Call { method: Method::Post, query: &query, ..Call::get(&path) };
        let answer = self.client.call(call, self.timeout.saturating_add(removal.stop_timeout))?;
        if !matches!(answer.status, 304 | 404) {
            answer.ok()?;
        }
        self.delete(&id.0, owner.volumes_go())?;
        if owner == Owner::Compose {
            let mut removed = self.removed_numbers.lock().unwrap_or_else(PoisonError::into_inner);
            found.labels().into_iter().for_each(|labels| removed.note(labels));
        }
        Ok(failure.map_or(ActionOutput::Changed, ActionOutput::HookFailed))
    }

    /// By labels only, whatever its name: the decision was about this id.
    fn owner_of(&self, found: &Inspected, removal: &Removal) -> Option<Owner> {
        let none = LabelMap::new();
        let labels = found.labels().unwrap_or(&none);
        let adopted =
            self.last_query.lock().unwrap_or_else(PoisonError::into_inner).adopted.clone();
        let name = found.name();
        let identity = self.by_image(found.image_id(), |image| {
            identify(&Facts { labels, name, image, is_known: true }, &adopted)
        });
        match identity {
            Identity::Replica { service, number, owner } => {
                (service == removal.service && number == removal.number).then_some(owner)
            }
            Identity::Stranger { .. } | Identity::Pending { .. } | Identity::Unrelated => None,
        }
    }

    /// Docker compose has another container of the service, which the next one can be copied from.
    fn has_other_of_compose(&self, removal: &Removal) -> Result<bool> {
        let adopted =
            self.last_query.lock().unwrap_or_else(PoisonError::into_inner).adopted.clone();
        let rows = self.identified(self.rows(true)?, &adopted);
        Ok(rows.iter().any(|(row, identity)| {
            matches!(
                identity,
                Identity::Replica { service, owner: Owner::Compose, .. }
                    if *service == removal.service && row.id() != removal.id.0
            )
        }))
    }

    pub(super) fn delete(&self, id: &str, volumes: bool) -> Result<()> {
        let path = format!("/containers/{id}");
        let query = [("force", "true"), ("v", if volumes { "true" } else { "false" })];
        let call = Call { method: Method::Delete, query: &query, ..Call::get(&path) };
        let answer = self.client.call(call, self.timeout)?;
        // 409: it is already being removed.
        if matches!(answer.status, 404 | 409) { Ok(()) } else { answer.ok().map(drop) }
    }
}
