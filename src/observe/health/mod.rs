//! Asks one replica whether it can serve: a file for each kind that asks. `streak.rs` is what the
//! results. The result of an image's own HEALTHCHECK comes with Docker's list, and nothing probes
//! for it here.

mod http;
pub(crate) mod probe_results;
pub(crate) mod tracker;
mod tcp;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::model::health::{HealthCheck, HealthKind};
use crate::model::hooks::HookCommand;
use crate::model::replica::{ContainerId, DockerHealth};
use crate::model::service::Service;
use crate::observe::health::probe_results::ReplicaRun;
use crate::outside::{Net, Result};

/// What came of asking a replica once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProbeOutcome {
    Passed,
    /// Why.
    Failed(String),
    /// What this program lacked for it: neither a pass nor a failure.
    NotAsked(String),
}

/// A replica to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProbeTarget {
    pub(crate) id: ContainerId,
    pub(crate) number: u32,
    /// Where it serves, and since when.
    pub(crate) run: ReplicaRun,
    pub(crate) service: Arc<Service>,
    pub(crate) docker_health: Option<DockerHealth>,
    /// HAProxy sends it traffic: it passed before, perhaps for an earlier daemon.
    pub(crate) is_served: bool,
    /// Its service was woken, and no replica was ready since.
    pub(crate) is_awaited: bool,
    /// Runs after its first pass. `None` in a dry run.
    pub(crate) after_ready: Option<HookCommand>,
    /// It was ready before in this run, perhaps for an earlier daemon.
    pub(crate) was_ready: bool,
    /// It is to be stopped: no hook is begun any more.
    pub(crate) is_leaving: bool,
}

/// The health check may name another port than the one where the replica serves.
pub(crate) fn probe(net: &dyn Net, check: &HealthCheck, address: SocketAddr) -> Result<()> {
    let to = SocketAddr::new(address.ip(), check.port.unwrap_or(address.port()));
    match &check.kind {
        HealthKind::Http(http) => http::probe(net, http, to, check.timeout),
        HealthKind::Tcp => tcp::probe(net, to, check.timeout),
        HealthKind::Docker | HealthKind::None => Ok(()),
    }
}
