//! Services that Docker Swarm runs: what its manager shows of them, as replicas.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use crate::model::config::Config;
use crate::model::metric::{Reading, Source};
use crate::model::proxy::ProxySeen;
use crate::model::replica::{ContainerState, Health, Replica};
use crate::model::service::Service;
use crate::model::swarm::{SwarmNode, SwarmSeen, SwarmServiceState, Task, TaskState};
use crate::outside::Engine;

/// What was seen last, by the names that Swarm has, and why a service was not seen now.
#[derive(Debug, Default)]
pub(crate) struct SwarmCache {
    pub(crate) nodes: Vec<SwarmNode>,
    services: BTreeMap<String, SwarmSeen>,
    troubles: BTreeMap<String, String>,
}

impl SwarmCache {
    /// A service that cannot be inspected delays no other. Its timeout is spent
    /// once at each evaluation, not at every tick.
    pub(crate) fn renew(&mut self, config: &Config, due: bool, engine: &dyn Engine) {
        let names = config.of_swarm();
        let is_known = |n: &&str| self.services.contains_key(*n) || self.troubles.contains_key(*n);
        if !due && !self.troubles.is_empty() && names.iter().all(is_known) {
            return;
        }
        self.services.retain(|name, _| names.contains(name.as_str()));
        self.troubles.clear();
        self.nodes.clear();
        if names.is_empty() {
            return;
        }
        let names: Vec<&str> = names.into_iter().collect();
        match engine.swarm(&names) {
            Ok(swarm) => {
                self.nodes = swarm.nodes;
                for (name, seen) in swarm.services {
                    match seen {
                        Ok(seen) => drop(self.services.insert(name, seen)),
                        Err(trouble) => drop(self.troubles.insert(name, trouble)),
                    }
                }
            }
            Err(err) => {
                let trouble = |name: &str| (name.to_owned(), err.to_string());
                self.troubles.extend(names.into_iter().map(trouble));
            }
        }
    }

    /// Whether the last sweep included it.
    pub(crate) fn tells(&self, name: &str) -> bool {
        self.services.contains_key(name) && !self.troubles.contains_key(name)
    }

    pub(crate) fn replicas(&self, name: &str) -> Vec<Replica> {
        let tasks = self.services.get(name).map_or(&[][..], |seen| &seen.tasks);
        let mut replicas: Vec<Replica> = tasks.iter().map(replica).collect();
        replicas.sort_by(|a, b| (a.number, &a.id).cmp(&(b.number, &b.id)));
        replicas
    }

    /// `proxy` is what HAProxy shows. In mode `none` no port is required.
    pub(crate) fn effective(
        &self,
        service: &Service,
        name: &str,
        busy: bool,
        (proxy, is_absent): (Option<&ProxySeen>, bool),
    ) -> SwarmServiceState {
        let leader = self.nodes.iter().find(|node| node.leads);
        let leads = leader.is_some_and(|node| node.is_here);
        let seen = self.services.get(name);
        let port = seen.and_then(|seen| seen.published.get(&service.port).copied());
        let port = port.filter(|port| !is_own(service, *port));
        let address = port.map(|port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
        // A daemon that begins while Swarm does not answer leaves HAProxy what it has.
        let address = if seen.is_some() { address } else { proxy.and_then(|p| kept(p, service)) };
        let mut troubles: Vec<String> = self.troubles.get(name).cloned().into_iter().collect();
        if troubles.is_empty() && !leads {
            let who = leader.map_or("no node does now", |node| node.name.as_str());
            troubles.push(format!(
                "this node does not lead the Swarm ({who}), so that nothing is changed from here"
            ));
        }
        if self.tells(name) && address.is_none() && !is_absent && needs_port(service) {
            troubles.push(self.unreachable(service, name));
        }
        let tasks = seen.map_or(&[][..], |seen| &seen.tasks);
        let node = |task: &Task| {
            let node = self.nodes.iter().find(|node| node.id == task.node)?;
            Some((task.id.clone(), node.name.clone()))
        };
        SwarmServiceState {
            desired: seen.map_or(0, |seen| seen.desired),
            leads,
            busy,
            address,
            trouble: (!troubles.is_empty()).then(|| troubles.join("; ")),
            nodes: tasks.iter().filter_map(node).collect(),
        }
    }

    fn unreachable(&self, service: &Service, name: &str) -> String {
        let port = service.port;
        match self.services.get(name).and_then(|seen| seen.published.get(&port)) {
            Some(published) => format!(
                "the Swarm service {name} publishes {published}, which is the port of `listen`: \
                 give one of the two another"
            ),
            None => format!(
                "the Swarm service {name} publishes no port of its {port} in ingress mode, so \
                 that HAProxy cannot reach it and nothing of HAProxy's can be measured; \
                 `docker service update --publish-add {port} {name}` has Swarm choose one"
            ),
        }
    }
}

/// HAProxy would ask itself, or not get the port at all.
fn is_own(service: &Service, port: u16) -> bool {
    service.listen.as_ref().is_some_and(|listen| listen.port == port)
}

fn is_of_haproxy(source: &Source) -> bool {
    match source {
        Source::Haproxy(_) => true,
        Source::Cpu | Source::Memory | Source::Http { .. } | Source::Prometheus { .. } => false,
    }
}

fn needs_port(service: &Service) -> bool {
    service.listen.is_some() || service.metrics.iter().any(|m| is_of_haproxy(&m.source))
}

/// The server that HAProxy has for it.
fn kept(proxy: &ProxySeen, service: &Service) -> Option<SocketAddr> {
    let own = |backend: &str| backend == service.name.as_str();
    let server = proxy.in_use().find(|s| own(&s.backend) && s.seen.address.ip().is_loopback());
    server.map(|server| server.seen.address)
}

/// What HAProxy counts where it has no server says nothing of the service.
pub(crate) fn without_server(service: &Service, readings: &mut [Reading]) {
    for (metric, reading) in service.metrics.iter().zip(readings) {
        if is_of_haproxy(&metric.source) && *reading != Reading::Pending {
            let why = "HAProxy has no server for it: it has no published port";
            *reading = Reading::Failed(why.to_owned());
        }
    }
}

fn replica(task: &Task) -> Replica {
    let (state, health) = match task.state {
        TaskState::Starting => (ContainerState::Created, Health::Unknown),
        TaskState::Running => (ContainerState::Running, Health::Healthy),
        TaskState::Ended => (ContainerState::Exited, Health::Unknown),
    };
    Replica { health, ..Replica::bare(task.id.clone(), task.slot, state) }
}
