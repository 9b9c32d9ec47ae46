//! One replica for each number of a service: two of them would be one server of HAProxy's.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::memory::Memory;
use crate::model::replica::{Container, ContainerId};
use crate::model::stranger::Stranger;
use crate::outside::Listing;

/// Those that were replicas before, or were started as such.
pub(crate) fn known(memory: &Memory) -> BTreeSet<ContainerId> {
    let services = memory.services.values();
    let ids = services
        .flat_map(|service| service.known.keys().chain(service.started.values().map(|s| &s.id)));
    ids.cloned().collect()
}

/// The one that is known has the number, else the older one; the other is a stranger for as long as
/// both are there.
pub(crate) fn settle(listing: Listing, known: &BTreeSet<ContainerId>) -> Listing {
    let Listing { mut containers, mut strangers, .. } = listing;
    containers.sort_by(|a, b| {
        let rank = |c: &Container| (!known.contains(&c.id), c.created, c.id.clone());
        rank(a).cmp(&rank(b))
    });
    let mut taken: BTreeMap<(String, u32), String> = BTreeMap::new();
    let mut kept = Vec::new();
    for container in containers {
        let key = (container.service.clone(), container.number);
        match taken.get(&key) {
            None => {
                taken.insert(key, container.name.clone());
                kept.push(container);
            }
            Some(first) => strangers.push(Stranger {
                why: format!("{first} has its number {} already", container.number),
                id: container.id,
                name: container.name,
                service: container.service,
            }),
        }
    }
    Listing { containers: kept, strangers, ..listing }
}
