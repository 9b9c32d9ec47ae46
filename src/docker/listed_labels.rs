//! The labels of a listed container, as far as they are used. A container may have any number of
//! any length, and each list has them all.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::docker::owner::{COMPOSES, OURS};
use crate::model::label_set::{LABEL_BYTES_MAX, LABEL_PREFIX};

/// Names and values of plimsoll's and docker compose's own labels together, in bytes.
const SYSTEM_BYTES_MAX: usize = 256 << 10;

#[derive(Debug, Default)]
pub(crate) struct ListedLabels {
    /// By whole name.
    pub(crate) of_system: BTreeMap<String, String>,
    /// Labels that begin with `plimsoll.`, by the rest of the name.
    pub(crate) settings: BTreeMap<String, String>,
    /// There are more `settings` than are allowed, and some are left out.
    pub(crate) is_cut: bool,
}

impl ListedLabels {
    fn add(&mut self, name: &str, value: String, left: &mut [usize; 2]) {
        let is_setting = name.starts_with(LABEL_PREFIX);
        let is_of_system = [OURS, COMPOSES].iter().any(|prefix| name.starts_with(prefix));
        if !is_setting && !is_of_system {
            return;
        }
        let left = &mut left[usize::from(is_setting)];
        let bytes = name.len() + value.len();
        if *left < bytes {
            self.is_cut |= is_setting;
            return;
        }
        *left -= bytes;
        match name.strip_prefix(LABEL_PREFIX) {
            Some(rest) => self.settings.insert(rest.to_owned(), value),
            None => self.of_system.insert(name.to_owned(), value),
        };
    }
}

impl<'de> Deserialize<'de> for ListedLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ListedLabels, D::Error> {
        deserializer.deserialize_option(LabelsVisitor)
    }
}

struct LabelsVisitor;

impl<'de> Visitor<'de> for LabelsVisitor {
    type Value = ListedLabels;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("labels")
    }

    fn visit_none<E>(self) -> Result<ListedLabels, E> {
        Ok(ListedLabels::default())
    }

    fn visit_unit<E>(self) -> Result<ListedLabels, E> {
        Ok(ListedLabels::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, of: D) -> Result<ListedLabels, D::Error> {
        of.deserialize_map(self)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<ListedLabels, M::Error> {
        let mut labels = ListedLabels::default();
        let mut left = [SYSTEM_BYTES_MAX, LABEL_BYTES_MAX];
        while let Some((name, value)) = map.next_entry::<String, String>()? {
            labels.add(&name, value, &mut left);
        }
        Ok(labels)
    }
}

#[cfg(test)]
mod tests {
    use crate::docker::listed_labels::ListedLabels;
    use crate::model::label_set::LABEL_BYTES_MAX;

    #[test]
    fn only_what_is_used_is_kept_up_to_a_size() {
        let read = |text: &str| serde_json::from_str::<ListedLabels>(text).unwrap();
        let labels = read(
            r#"{"plimsoll.port": "80", "io.plimsoll.service": "a",
                "com.docker.compose.project": "b", "maintainer": "c",
                "plimsoll": "d", "plimsollx": "e"}"#,
        );
        assert_eq!(labels.settings, [("port".to_owned(), "80".to_owned())].into());
        let names: Vec<&str> = labels.of_system.keys().map(String::as_str).collect();
        assert_eq!(names, ["com.docker.compose.project", "io.plimsoll.service"]);
        assert!(!labels.is_cut && read("null").settings.is_empty());
        for (bytes, is_cut) in [(LABEL_BYTES_MAX, false), (LABEL_BYTES_MAX + 1, true)] {
            let long = "x".repeat(bytes - "plimsoll.a".len());
            let labels = read(&format!(r#"{{"plimsoll.a": "{long}", "other": "{long}"}}"#));
            assert_eq!((labels.is_cut, labels.settings.is_empty()), (is_cut, is_cut), "{bytes}");
        }
    }
}
