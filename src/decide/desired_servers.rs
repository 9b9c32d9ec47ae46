//! The servers that HAProxy should have for one service.

use std::net::SocketAddr;

use crate::decide::classify::{Classified, ReplicaClass};
use crate::model::memory::{DrainStep, ServiceMemory};
use crate::model::proxy::Server;
use crate::model::replica::{ContainerState, Replica};
use crate::model::snapshot::Snapshot;
use crate::model::swarm::SwarmServiceState;

/// Every replica that can serve, and every one that drains.
pub(crate) fn of(
    snapshot: &Snapshot,
    memory: &ServiceMemory,
    classified: &Classified,
) -> Vec<Server> {
    if let Some(swarm) = &snapshot.swarm {
        return of_swarm(snapshot, swarm);
    }
    let server = |(class, r): &(ReplicaClass, &Replica)| {
        let address = r.address.filter(|_| r.state == ContainerState::Running || r.is_held)?;
        let draining = match memory.drains.get(&r.id).map(|d| d.step) {
            Some(DrainStep::Drained | DrainStep::Ended) => return None,
            Some(DrainStep::Draining { .. }) if memory.is_unhealthy(&r.id) => return None,
            Some(DrainStep::Draining { .. }) => true,
            None if *class == ReplicaClass::Ready => false,
            None => return None,
        };
        let name = snapshot.service.replica_name(r.number);
        Some(Server { name, address, draining })
    };
    classified.replicas.iter().filter_map(server).collect()
}

/// One server for all tasks: Swarm itself spreads the requests at the published port.
fn of_swarm(snapshot: &Snapshot, swarm: &SwarmServiceState) -> Vec<Server> {
    let server = |address: SocketAddr| {
        // HAProxy takes no new address under an old name, so the port is part of the name.
        let name = format!("{}-swarm-{}", snapshot.service.name, address.port());
        Server { name, address, draining: false }
    };
    swarm.address.map(server).into_iter().collect()
}
