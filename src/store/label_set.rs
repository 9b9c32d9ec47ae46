//! The format of good labels in `state.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::label_set::{ContainerFacts, LabelSet};

#[derive(Serialize, Deserialize)]
pub(super) struct StoredLabels {
    project: String,
    service: String,
    container: String,
    created: u64,
    labels: BTreeMap<String, String>,
    ports: Vec<u16>,
    has_health_check: bool,
    replicas: u32,
}

impl StoredLabels {
    /// A good set is whole, and its facts are known.
    pub(super) fn pack(set: &LabelSet) -> StoredLabels {
        let LabelSet { project, service, container, created, labels, facts, .. } = set.clone();
        let ContainerFacts { ports, has_health_check, replicas } = facts.unwrap_or_default();
        StoredLabels {
            project,
            service,
            container,
            created,
            labels,
            ports,
            has_health_check,
            replicas,
        }
    }

    pub(super) fn unpack(self) -> LabelSet {
        let StoredLabels { project, service, container, created, labels, .. } = self;
        let facts = ContainerFacts {
            ports: self.ports,
            has_health_check: self.has_health_check,
            replicas: self.replicas,
        };
        let facts = Some(facts);
        LabelSet { project, service, container, created, labels, is_cut: false, facts }
    }
}
