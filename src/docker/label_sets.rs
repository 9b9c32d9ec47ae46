//! The labels that configure services of docker compose: for each service those of its newest
//! container, with what defaults are derived from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use crate::docker::Docker;
use crate::docker::api_types::ListedContainer;
use crate::docker::compose_clone::{
    LABEL_HASH, LABEL_NUMBER, LABEL_OF, LABEL_ONE_OFF, LABEL_PROJECT,
};
use crate::docker::owner::{Facts, Identity, ImageLabels, identify};
use crate::docker::removed_numbers::RemovedNumbers;
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

/// The container whose labels count.
pub(super) struct LabelSource<'a> {
    service: &'a LabelledService<'a>,
    row: &'a ListedContainer,
    /// `None`: not known yet, or not any more.
    labels: Option<BTreeMap<String, String>>,
    /// Containers that docker compose made.
    replicas: u32,
}

impl LabelSource<'_> {
    /// The container, if more has to be known of it. Too many labels are refused as they are, and
    /// an inspect has them all again.
    pub(super) fn to_inspect(&self) -> Option<&str> {
        (!self.row.settings().is_cut).then(|| self.row.id())
    }
}

/// Which of several containers counts: one that docker compose made, else a clone, which may be
/// younger than what it is a copy of, else one that only looks like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    LooksAlike,
    Clone,
    Composes,
    /// Not known yet.
    Unknown,
}

impl LabelledService<'_> {
    /// `None`: no container has labels of its own for plimsoll. `removed`: containers that plimsoll
    /// took away; docker compose runs as many nevertheless.
    fn source(
        &self,
        docker: &Docker,
        known: &BTreeSet<ContainerId>,
        removed: &RemovedNumbers,
    ) -> Option<LabelSource<'_>> {
        let mut numbers = BTreeSet::new();
        let mut newest: Option<((Standing, u64), &ListedContainer)> = None;
        let mut is_pending = false;
        for row in &self.rows {
            let Some(standing) = self.standing(docker, row, known) else { continue };
            is_pending |= standing == Standing::Unknown;
            if Standing::Composes <= standing {
                numbers.extend(row.labels().get(LABEL_NUMBER).cloned());
            }
            let age = (standing, row.created());
            if newest.is_none_or(|(newest, _)| newest <= age) {
                newest = Some((age, row));
            }
        }
        let (_, row) = newest?;
        let labels = docker.by_image(row.image_id(), |image| own_labels(row, image));
        let labels = labels.filter(|_| !is_pending);
        if labels.as_ref().is_some_and(BTreeMap::is_empty) && !row.settings().is_cut {
            return None;
        }
        numbers.extend(removed.beside(row.labels()).cloned());
        let replicas = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        Some(LabelSource { service: self, row, labels, replicas })
    }

    /// `None`: it is a copy, or nothing of the kind.
    fn standing(
        &self,
        docker: &Docker,
        row: &ListedContainer,
        known: &BTreeSet<ContainerId>,
    ) -> Option<Standing> {
        let of = |name: &str| {
            docker.by_image(row.image_id(), |image| self.identity(row, name, image, known))
        };
        match of(row.name()) {
            Identity::Replica { owner: Owner::Compose, .. } => Some(Standing::Composes),
            Identity::Replica { .. } => Some(Standing::Clone),
            Identity::Pending { .. } => Some(Standing::Unknown),
            Identity::Stranger { is_copy: true, .. } | Identity::Unrelated => None,
            Identity::Stranger { .. } => match of(final_name(row.name())) {
                Identity::Replica { .. } => Some(Standing::Composes),
                _ => Some(Standing::LooksAlike),
            },
        }
    }

    fn identity(
        &self,
        row: &ListedContainer,
        name: &str,
        image: ImageLabels,
        known: &BTreeSet<ContainerId>,
    ) -> Identity {
        let Some(service) = ServiceName::new("labelled") else { return Identity::Unrelated };
        let (project, of) = (self.project.to_owned(), self.service.to_owned());
        let adopted = [Adopted { service, project, of }];
        let is_known = known.contains(&ContainerId(row.id().to_owned()));
        identify(&Facts { labels: row.labels(), name, image, is_known }, &adopted)
    }
}

/// Those that its image does not have: an image that somebody else made is not to route requests to
/// itself. `None`: the labels of the image are not known.
fn own_labels(row: &ListedContainer, image: ImageLabels) -> Option<BTreeMap<String, String>> {
    let ImageLabels::Are(image) = image else { return None };
    let is_own = |(key, value): &(&String, &String)| {
        image.get(&format!("{LABEL_PREFIX}{key}")) != Some(*value)
    };
    let own = row.settings().settings.iter().filter(is_own);
    Some(own.map(|(key, value)| (key.clone(), value.clone())).collect())
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
    pub(super) fn label_sources<'r>(
        &self,
        services: &'r [LabelledService],
        known: &BTreeSet<ContainerId>,
    ) -> Vec<LabelSource<'r>> {
        let removed = self.removed_numbers.lock().unwrap_or_else(PoisonError::into_inner);
        services.iter().filter_map(|service| service.source(self, known, &removed)).collect()
    }

    pub(super) fn label_set(&self, source: LabelSource) -> LabelSet {
        let LabelSource { service, row, labels, replicas } = source;
        let known = self.inspected.known(row.id()).filter(|_| labels.is_some());
        let facts = known.map(|shown| ContainerFacts {
            ports: shown.exposed_ports(),
            has_health_check: shown.has_health_check(),
            replicas,
        });
        LabelSet {
            project: service.project.to_owned(),
            service: service.service.to_owned(),
            container: final_name(row.name()).to_owned(),
            created: row.created(),
            labels: labels.unwrap_or_default(),
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
