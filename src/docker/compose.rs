//! Replicas of a service that docker compose started: clones that compose takes for its own.

use serde_json::{Value, json};

use crate::docker::Docker;
use crate::docker::api_types::{Created, ListedContainer};
use crate::docker::client::Call;
use crate::docker::compose_clone::{ContainerCopy, LABEL_HASH, container_copy};
use crate::docker::create::refuse_more;
use crate::docker::owner::Identity;
use crate::model::replica::ContainerState;
use crate::model::service::Adopted;
use crate::outside::{Error, Result};

/// Compose copies inline secrets and configs to these places after it created the container. An
/// inspect does not show them, so a clone would lack them.
const COPIED_TO: [&str; 2] = ["/run/secrets/", "/var/run/secrets/"];
/// Docker's number for an added file (`GET /containers/ID/changes`).
const ADDED: u64 = 1;

impl Docker {
    /// Starts the container of this number if it exists, else a clone of the others.
    pub(super) fn start_composed(&self, of: &Adopted, number: u32, most: u32) -> Result<String> {
        let service = of.service.as_str();
        let made = self.one_at_a_time(service, || {
            let adopted = std::slice::from_ref(of);
            let rows = self.identified(self.rows(true)?, adopted);
            let mut siblings = Vec::new();
            for (row, identity) in &rows {
                if let Identity::Replica { service: its, number, .. } = identity
                    && its == service
                {
                    siblings.push((row, *number));
                }
            }
            if let Some((made, _)) = siblings.iter().find(|(_, n)| *n == number) {
                return Ok((made.id().to_owned(), false));
            }
            let template = template(of, &siblings)?;
            refuse_more(service, &rows, most)?;
            self.create_clone(template.id(), of, number).map(|id| (id, true))
        });
        let (id, is_new) = made?;
        if is_new {
            self.run_new(&id)?
        } else {
            self.run(&id)?
        }
        Ok(id)
    }

    fn create_clone(&self, template: &str, of: &Adopted, number: u32) -> Result<String> {
        let timeout = self.look_timeout();
        let get = |path: &str| self.client.call(Call::get(path), timeout)?.ok()?.json::<Value>();
        let shown = get(&format!("/containers/{template}/json"))?;
        let changes = get(&format!("/containers/{template}/changes"))?;
        refuse_copied_files(&shown, &changes)?;
        let many_networks = self.client.version(timeout)?.is_of_engine_25();
        let ContainerCopy { name, body, joins } = container_copy(
            &shown,
            of.service.as_str(),
            number,
            &self.image_of(&shown)?,
            many_networks,
        )?;
        let made = self.make(&name, body.to_string().as_bytes())?.ok()?;
        let id = made.json::<Created>()?.id;
        let joined = joins.iter().try_for_each(|(network, endpoint)| {
            let body = json!({ "Container": id, "EndpointConfig": endpoint }).to_string();
            self.join(network, body.as_bytes())
        });
        self.or_removed(&id, joined).map(|()| id)
    }

    /// The image's tag if it still names the same image, else its id: a clone must run the same
    /// program.
    fn image_of(&self, shown: &Value) -> Result<String> {
        let text = |at| shown.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let tag = text("/Config/Image");
        let id = text("/Image");
        let is_same = self.image_id(tag)?.as_deref() == Some(id);
        Ok(if is_same { tag } else { id }.to_owned())
    }
}

/// The container to copy: the lowest number that is running and up to date. Up to date is the
/// config hash of the newest container, which compose created from the current file.
fn template<'a>(
    of: &Adopted,
    siblings: &[(&'a ListedContainer, u32)],
) -> Result<&'a ListedContainer> {
    let hash = |row: &ListedContainer| row.labels().get(LABEL_HASH).cloned();
    let newest = siblings.iter().max_by_key(|(row, number)| (row.created(), *number));
    let hash_now = newest.and_then(|(row, _)| hash(row));
    let fits = siblings
        .iter()
        .filter(|(row, _)| row.state() == ContainerState::Running && hash(row) == hash_now);
    fits.min_by_key(|(_, number)| *number).map(|(row, _)| *row).ok_or_else(|| {
        let Adopted { project, of, .. } = of;
        Error::new(format!(
            "docker compose runs no up-to-date container of {project}/{of} to copy; start one: \
             docker compose -p {project} up -d {of}"
        ))
    })
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
                "{name} cannot be copied: docker compose copied {path} into it; give the \
                 secret a `file:` in the compose file, so that it is mounted"
            )))
        }
    }
}
