//! Results of probes, and which run of a replica each is about.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::model::replica::{ContainerId, Health};

/// Health of each replica by its probes, and which run of it was probed.
pub(crate) type ProbeResults = BTreeMap<ContainerId, (ReplicaRun, Health)>;

/// Where a replica serves, and since when: a result for another address, or from before a restart,
/// says nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplicaRun {
    pub(crate) address: SocketAddr,
    /// As `Container` has it.
    pub(crate) started: Option<u64>,
}

impl ReplicaRun {
    /// An unknown start time matches any.
    pub(crate) fn is_same(&self, other: &ReplicaRun) -> bool {
        let is_other = |(a, b)| a != b;
        self.address == other.address && !self.started.zip(other.started).is_some_and(is_other)
    }
}

/// Health of the replica as it runs now, if it was probed since.
pub(crate) fn probed_health(
    results: &ProbeResults,
    id: &ContainerId,
    address: Option<SocketAddr>,
    started: Option<u64>,
) -> Option<Health> {
    let (run, health) = results.get(id)?;
    run.is_same(&ReplicaRun { address: address?, started }).then(|| health.clone())
}
