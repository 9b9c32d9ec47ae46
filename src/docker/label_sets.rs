//! The labels that configure services of docker compose: for each service those of its newest
//! container, with what defaults are derived from.

use std::collections::{BTreeMap, BTreeSet};

use crate::docker::Docker;
use crate::docker::api_types::ListedContainer;
use crate::docker::compose_clone::{
    LABEL_HASH, LABEL_NUMBER, LABEL_OF, LABEL_ONE_OFF, LABEL_PROJECT,
};
use crate::docker::owner::{Facts, Identity, ImageLabels, identify};
use crate::model::label_set::{ContainerFacts, LABEL_PREFIX, LabelSet};
use crate::model::owner::Owner;
use crate::model::replica::ContainerId;
use crate::model::service::{Adopted, ServiceName};

/// Characters of a container's id that tools show.
const SHORT_ID: usize = 12;

/// Containers of one service of docker compose, one of which has labels for plimsoll.
pub(crate) struct LabelledService<'a> {
    project: &'a str,
    service: &'a str,
    pub(crate) rows: Vec<&'a ListedContainer>,
}

pub(crate) fn labelled(rows: &[ListedContainer]) -> Vec<LabelledService<'_>> {
    let mut found: BTreeMap<(&str, &str), Vec<&ListedContainer>> = BTreeMap::new();
    for row in rows {
        let label = |key: &str| row.labels().get(key).map(String::as_str);
        let is_made = label(LABEL_HASH).is_some() && label(LABEL_ONE_OFF) != Some("True");
        if let (Some(project), Some(service), true) =
            (label(LABEL_PROJECT), label(LABEL_OF), is_made)
        {
            found.entry((project, service)).or_default().push(row);
        }
    }
    let has_labels = |row: &&ListedContainer| {
        let settings = row.settings();
        settings.is_cut || !settings.settings.is_empty()
    };
    let with_labels = found.into_iter().filter(|(_, rows)| rows.iter().any(has_labels));
    let service = |((project, service), rows)| LabelledService { project, service, rows };
    with_labels.map(service).collect()
}

impl LabelledService<'_> {
    /// The container whose labels count, with the number of those that docker compose made, if that
    /// is known yet. `None`: it has no labels of its own for plimsoll.
    fn newest(
        &self,
        docker: &Docker,
        known: &BTreeSet<ContainerId>,
    ) -> Option<(&ListedContainer, Option<u32>)> {
        let mut own = BTreeSet::new();
        let mut newest: Option<(bool, &ListedContainer)> = None;
        for row in &self.rows {
            let identity =
                docker.by_image(row.image_id(), |image| self.identity(row, image, known));
            let is_composes = match identity {
                Identity::Replica { owner, .. } => owner == Owner::Compose,
                // Docker compose has not given it its name yet, or the file gives it another one.
                Identity::Stranger { is_copy, .. } if !is_copy => true,
                Identity::Pending { .. } => return Some((row, None)),
                Identity::Stranger { .. } | Identity::Unrelated => continue,
            };
            if is_composes {
                own.insert(row.labels().get(LABEL_NUMBER));
            }
            // A clone may be younger than what it is a copy of.
            let age = |(is_composes, row): (bool, &ListedContainer)| (is_composes, row.created());
            if newest.is_none_or(|newest| age(newest) <= age((is_composes, row))) {
                newest = Some((is_composes, row));
            }
        }
        let (_, row) = newest?;
        let is_own = docker.by_image(row.image_id(), |image| match image {
            ImageLabels::Pending => None,
            ImageLabels::Are(_) | ImageLabels::Unknown => Some(has_own(row, image)),
        });
        let count = u32::try_from(own.len()).unwrap_or(u32::MAX);
        match is_own {
            None => Some((row, None)),
            Some(is_own) => is_own.then_some((row, Some(count))),
        }
    }

    fn identity(
        &self,
        row: &ListedContainer,
        image: ImageLabels,
        known: &BTreeSet<ContainerId>,
    ) -> Identity {
        let Some(service) = ServiceName::new("labelled") else { return Identity::Unrelated };
        let (project, of) = (self.project.to_owned(), self.service.to_owned());
        let adopted = [Adopted { service, project, of }];
        let is_known = known.contains(&ContainerId(row.id().to_owned()));
        identify(&Facts { labels: row.labels(), name: row.name(), image, is_known }, &adopted)
    }
}

fn has_own(row: &ListedContainer, image: ImageLabels) -> bool {
    row.settings().is_cut || !own_labels(row, image).is_empty()
}

/// Those that its image does not have: an image that somebody else made is not to route requests to
/// itself.
fn own_labels(row: &ListedContainer, image: ImageLabels) -> BTreeMap<String, String> {
    let is_own = |key: &str, value: &str| match image {
        ImageLabels::Are(image) => {
            image.get(&format!("{LABEL_PREFIX}{key}")).is_none_or(|inherited| inherited != value)
        }
        ImageLabels::Pending => false,
        ImageLabels::Unknown => true,
    };
    let labels = row.settings().settings.iter();
    let own = labels.filter(|(key, value)| is_own(key, value));
    own.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Until docker compose has removed a container, the one that replaces it has the old one's short
/// id before its name.
fn final_name(name: &str) -> &str {
    let is_id = |id: &str| id.len() == SHORT_ID && id.bytes().all(|b| b.is_ascii_hexdigit());
    match name.split_once('_') {
        Some((id, rest)) if is_id(id) => rest,
        _ => name,
    }
}

impl Docker {
    /// The containers whose labels count.
    pub(super) fn newest<'r>(
        &self,
        services: &'r [LabelledService],
        known: &BTreeSet<ContainerId>,
    ) -> Vec<(&'r LabelledService<'r>, &'r ListedContainer, Option<u32>)> {
        let newest = |service: &'r LabelledService<'r>| {
            let (row, count) = service.newest(self, known)?;
            Some((service, row, count))
        };
        services.iter().filter_map(newest).collect()
    }

    pub(super) fn label_set(
        &self,
        service: &LabelledService,
        row: &ListedContainer,
        replicas: Option<u32>,
    ) -> LabelSet {
        let known = self.inspected.known(row.id()).zip(replicas);
        let facts = known.map(|(shown, replicas)| ContainerFacts {
            ports: shown.exposed_ports(),
            has_health_check: shown.has_health_check(),
            replicas,
        });
        LabelSet {
            project: service.project.to_owned(),
            service: service.service.to_owned(),
            container: final_name(row.name()).to_owned(),
            created: row.created(),
            labels: self.by_image(row.image_id(), |image| own_labels(row, image)),
            is_cut: row.settings().is_cut,
            facts,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::docker::label_sets::final_name;

    #[test]
    fn a_replacement_has_its_final_name_from_the_start() {
        for (name, wanted) in [
            ("47c7ad68e35c_shop-web-1", "shop-web-1"),
            ("shop-web-1", "shop-web-1"),
            ("shop_web_1", "shop_web_1"),
            ("47c7ad68e35_web-1", "47c7ad68e35_web-1"),
        ] {
            assert_eq!(final_name(name), wanted);
        }
    }
}
