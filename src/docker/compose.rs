//! Replicas of a service that docker compose started: seen, cloned and taken away as its own.

use std::sync::PoisonError;

use serde_json::{Value, json};

use crate::docker::Docker;
use crate::docker::client::Call;
use crate::docker::clone::{LABEL_HASH, Twin, twin};
use crate::docker::wire::{Created, Inspected};
use crate::model::replica::{Container, ContainerState};
use crate::model::service::Adopted;
use crate::outside::{Error, Result};

/// Compose copies what a file has inline to where these begin, after it made the container: an
/// inspect does not show them, so that a second container would lack them.
const COPIED_TO: [&str; 2] = ["/run/secrets/", "/var/run/secrets/"];
/// As Docker numbers what became of a file.
const ADDED: u64 = 1;

impl Docker {
    pub(super) fn list_adopted(&self, adopted: &[Adopted]) -> Result<Vec<Container>> {
        *self.adopted.lock().unwrap_or_else(PoisonError::into_inner) = adopted.to_vec();
        if adopted.is_empty() {
            return Ok(Vec::new());
        }
        let listed = self.listed(LABEL_HASH)?.into_iter();
        Ok(listed.filter_map(|listed| listed.into_adopted(adopted)).collect())
    }

    pub(super) fn is_adopted(&self, found: &Inspected, service: &str, number: u32) -> bool {
        let adopted = self.adopted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut of = adopted.iter().filter(|of| of.service.as_str() == service);
        of.any(|of| found.is_adopted(of, number))
    }

    /// One that was made before and not started is started now.
    pub(super) fn start_adopted(&self, of: &Adopted, number: u32) -> Result<()> {
        let listed = self.listed(LABEL_HASH)?.into_iter();
        let mut siblings: Vec<(Container, u64, Option<String>)> = listed
            .filter_map(|listed| {
                let (made, hash) = (listed.made(), listed.label(LABEL_HASH));
                Some((listed.into_adopted(std::slice::from_ref(of))?, made, hash))
            })
            .collect();
        if let Some((made, ..)) = siblings.iter().find(|(c, ..)| c.number == number) {
            return self.run(&made.id.0);
        }
        // The latest was made by the compose file as it is now.
        let newest = siblings.iter().max_by_key(|(c, made, _)| (*made, c.number));
        let hash = newest.and_then(|(.., hash)| hash.clone());
        siblings.retain(|(c, _, h)| c.state == ContainerState::Running && *h == hash);
        let template = siblings.iter().min_by_key(|(c, ..)| c.number).ok_or_else(|| {
            let Adopted { project, of, .. } = of;
            Error::new(format!(
                "docker compose runs no up-to-date container of {project}/{of} to copy; start \
                 one: docker compose -p {project} up -d {of}"
            ))
        })?;
        let id = self.create_adopted(&template.0.id.0, number)?;
        self.or_removed(&id, self.run(&id))
    }

    fn create_adopted(&self, template: &str, number: u32) -> Result<String> {
        let timeout = self.look_timeout();
        let get = |path: &str| self.client.call(Call::get(path), timeout)?.ok()?.json::<Value>();
        let shown = get(&format!("/containers/{template}/json"))?;
        let changes = get(&format!("/containers/{template}/changes"))?;
        refuse_copied_files(&shown, &changes)?;
        let many_networks = self.client.version(timeout)?.is_of_engine_25();
        let Twin { name, body, joins } =
            twin(&shown, number, &self.image_of(&shown)?, many_networks)?;
        let made = self.make(&name, body.to_string().as_bytes())?.ok()?;
        let id = made.json::<Created>()?.id;
        let joined = joins.iter().try_for_each(|(network, endpoint)| {
            let body = json!({ "Container": id, "EndpointConfig": endpoint }).to_string();
            self.join(network, body.as_bytes())
        });
        self.or_removed(&id, joined).map(|()| id)
    }

    /// Its tag, as long as that still is the same image: else the clone would be another program.
    fn image_of(&self, shown: &Value) -> Result<String> {
        let text = |at| shown.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let (tag, id) = (text("/Config/Image"), text("/Image"));
        let is_same = self.image_id(tag)?.as_deref() == Some(id);
        Ok(if is_same { tag } else { id }.to_owned())
    }
}

fn refuse_copied_files(shown: &Value, changes: &Value) -> Result<()> {
    let added = changes.as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(|change| {
        (change.get("Kind")?.as_u64()? == ADDED).then_some(change.get("Path")?.as_str()?)
    });
    match added.into_iter().find(|path| COPIED_TO.iter().any(|to| path.starts_with(to))) {
        None => Ok(()),
        Some(path) => {
            let name = shown.get("Name").and_then(Value::as_str).unwrap_or_default();
            let name = name.trim_start_matches('/');
            Err(Error::new(format!(
                "{name} cannot have a second one: docker compose copied {path} into it; give the \
                 secret a `file:` in the compose file, which is mounted"
            )))
        }
    }
}
