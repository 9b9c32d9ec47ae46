//! Containers of docker compose that plimsoll removed, as it does when there are too many: compose
//! runs as many nevertheless, which is the default minimum of a service that labels configure.

use std::collections::{BTreeMap, BTreeSet};

use crate::docker::compose_clone::{LABEL_HASH, LABEL_NUMBER, LABEL_OF, LABEL_PROJECT};
use crate::docker::owner::LabelMap;

#[derive(Debug, Default)]
pub(crate) struct RemovedNumbers {
    /// By project and service.
    by_service: BTreeMap<(String, String), RemovedOf>,
}

#[derive(Debug, Default)]
struct RemovedOf {
    /// The config hash of the containers: another one is of another compose file.
    hash: String,
    numbers: BTreeSet<String>,
}

impl RemovedNumbers {
    /// The labels are those of a container that was removed.
    pub(crate) fn note(&mut self, labels: &LabelMap) {
        let label = |key: &str| labels.get(key).cloned();
        let (Some(project), Some(service), Some(hash), Some(number)) =
            (label(LABEL_PROJECT), label(LABEL_OF), label(LABEL_HASH), label(LABEL_NUMBER))
        else {
            return;
        };
        let of = self.by_service.entry((project, service)).or_default();
        if of.hash != hash {
            *of = RemovedOf { hash, numbers: BTreeSet::new() };
        }
        of.numbers.insert(number);
    }

    /// Beside a container with these labels.
    pub(crate) fn beside<'s>(&'s self, labels: &LabelMap) -> impl Iterator<Item = &'s String> {
        let label = |key: &str| labels.get(key).cloned();
        let key = label(LABEL_PROJECT).zip(label(LABEL_OF));
        let of = key.and_then(|key| self.by_service.get(&key));
        let of = of.filter(|of| labels.get(LABEL_HASH) == Some(&of.hash));
        of.into_iter().flat_map(|of| &of.numbers)
    }
}

#[cfg(test)]
mod tests {
    use crate::docker::owner::LabelMap;
    use crate::docker::removed_numbers::RemovedNumbers;

    fn labels(service: &str, hash: &str, number: &str) -> LabelMap {
        let of = [
            ("project", "shop"),
            ("service", service),
            ("config-hash", hash),
            ("container-number", number),
        ];
        of.map(|(key, value)| (format!("com.docker.compose.{key}"), value.to_owned())).into()
    }

    #[test]
    fn numbers_count_until_the_compose_file_is_another_one() {
        let mut removed = RemovedNumbers::default();
        removed.note(&labels("web", "5a", "2"));
        removed.note(&labels("web", "5a", "3"));
        removed.note(&labels("api", "5a", "4"));
        removed.note(&LabelMap::new());
        let beside = |removed: &RemovedNumbers, service: &str, hash: &str| {
            let labels = labels(service, hash, "1");
            removed.beside(&labels).cloned().collect::<Vec<_>>()
        };
        assert_eq!(beside(&removed, "web", "5a"), ["2", "3"]);
        assert_eq!(beside(&removed, "web", "6b"), [""; 0]);
        removed.note(&labels("web", "6b", "2"));
        assert_eq!(beside(&removed, "web", "6b"), ["2"]);
        assert_eq!(beside(&removed, "api", "5a"), ["4"]);
    }
}
