//! The whole configuration as the program works with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::docker_host::DockerHost;
use crate::model::front_door::FrontDoor;
use crate::model::notification::Webhook;
use crate::model::replica::Container;
use crate::model::schedule::Window;
use crate::model::secret::Secret;
use crate::model::service::{Adopted, Origin, Percent, Platform, Service, ServiceName};
use crate::model::zone::Zone;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) check_interval: Duration,
    pub(crate) log_level: log::LevelFilter,
    pub(crate) log_format: LogFormat,
    pub(crate) dry_run: bool,
    /// Of the host's memory: what has to be free beside a replica that is started.
    pub(crate) memory_reserve: Percent,
    /// Of the host's processors: where less is idle, more replicas get none of them. 0: they are
    /// not looked at.
    pub(crate) cpu_reserve: Percent,
    /// Whether replicas of a service that left the config are drained and removed.
    pub(crate) remove_orphans: bool,
    /// How long the load history is kept. Zero: none is written.
    pub(crate) history: Duration,
    pub(crate) report: ReportSchedule,
    /// Whether labels of docker compose's containers are followed.
    pub(crate) labels: bool,
    /// Of services without `business_hours` of their own.
    pub(crate) business_hours: Option<Window>,
    pub(crate) notifications: Vec<Webhook>,
    pub(crate) fixed: Fixed,
    pub(crate) front_door: FrontDoor,
    pub(crate) services: BTreeMap<ServiceName, Arc<Service>>,
}

/// When the report of all services is an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportSchedule {
    Off,
    Weekly,
}

/// What the daemon takes once, at its start: a reload that changes any of it is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fixed {
    pub(crate) state_dir: PathBuf,
    pub(crate) docker: DockerConfig,
    pub(crate) api: Api,
    pub(crate) proxy: ProxyConfig,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
    /// For systemd's journal, which has the time: a level's number in front.
    Journal,
}

/// Where the daemon is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Api {
    /// `None` is no TCP.
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) socket: PathBuf,
    /// What a change over TCP has to show; `None`: there are none.
    pub(crate) token: Option<Secret>,
    /// To read over TCP takes the token too.
    pub(crate) protect_reads: bool,
    /// Names that it is asked by over TCP, beside addresses and localhost.
    pub(crate) hosts: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DockerConfig {
    pub(crate) host: DockerHost,
    /// Whether $DOCKER_HOST named it.
    pub(crate) is_from_environment: bool,
    /// The longest any one call may take.
    pub(crate) timeout: Duration,
    /// The file with the credentials for registries. `None`: the first default that exists.
    pub(crate) config: Option<PathBuf>,
}

/// Who runs HAProxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProxyMode {
    /// We start it, as a process of our own.
    Process,
    /// systemd, as this unit.
    Systemd(String),
    /// Docker, in this container.
    Container(String),
    /// There is none: replicas are only reported.
    None,
}

/// Bytes of a socket's path in HAProxy, which first creates its own under a longer name.
pub(crate) const HAPROXY_SOCKET_MAX: usize = 97;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProxyConfig {
    pub(crate) mode: ProxyMode,
    pub(crate) binary: PathBuf,
    /// The operator's own, read before ours.
    pub(crate) base_config: Option<PathBuf>,
    pub(crate) config: PathBuf,
    pub(crate) pid_file: PathBuf,
    pub(crate) socket: PathBuf,
    /// Of the statistics page, on the loopback address.
    pub(crate) stats_port: Option<u16>,
    /// With its key; HTTPS is served with it in place of HTTP.
    pub(crate) certificate: Option<PathBuf>,
    /// Of clients to one HAProxy process. `None`: as the host allows.
    pub(crate) max_connections: Option<u32>,
    pub(crate) hard_stop_after: Duration,
    pub(crate) min_reload_interval: Duration,
}

impl Config {
    /// The images that the daemon pulls if they are not on the host.
    pub(crate) fn images(&self) -> impl Iterator<Item = &str> {
        let here = self.services.values().filter(|service| service.runs == Platform::Docker);
        here.filter_map(|service| match &service.container.origin {
            Origin::Image(image) => Some(image.as_str()),
            Origin::Compose { .. } => None,
        })
    }

    pub(crate) fn service(&self, name: &str) -> Option<&Arc<Service>> {
        self.services.values().find(|service| service.name.as_str() == name)
    }

    /// In which people think of the load of a service, or of all: that of its own windows, else of
    /// `autoscaler.business_hours`. `None`: no window is configured.
    pub(crate) fn zone_of(&self, service: Option<&Service>) -> Option<Zone> {
        let own = service.and_then(|service| service.timetable.own_zone());
        own.or_else(|| self.business_hours.as_ref().map(|hours| hours.zone.clone()))
    }

    /// Not all services have one priority.
    pub(crate) fn has_ranks(&self) -> bool {
        let mut priorities = self.services.values().map(|service| service.priority);
        let first = priorities.next();
        priorities.any(|priority| Some(priority) != first)
    }

    pub(crate) fn adopted(&self) -> Vec<Adopted> {
        self.services.values().filter_map(|service| service.adopted()).collect()
    }

    /// The service that a container is a replica of. Those of Swarm's have none here.
    pub(crate) fn service_of(&self, container: &Container) -> Option<&Arc<Service>> {
        let mut services = self.services.values().filter(|s| s.runs == Platform::Docker);
        services.find(|s| s.name.as_str() == container.service)
    }

    /// As Swarm calls those that it runs.
    pub(crate) fn of_swarm(&self) -> BTreeSet<&str> {
        self.services.values().filter_map(|service| service.runs.swarm()).collect()
    }

    /// `1 service`, `2 services`.
    pub(crate) fn counted(&self) -> String {
        match self.services.len() {
            1 => "1 service".to_owned(),
            n => format!("{n} services"),
        }
    }
}
