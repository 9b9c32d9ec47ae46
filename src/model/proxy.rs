//! What HAProxy is to do, and what it shows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::model::certificate::CertificateSeen;
use crate::model::front_door::FrontDoor;
use crate::model::health::{HealthCheck, HealthKind};
use crate::model::replica::{AdminState, ServerSeen};
use crate::model::route::HttpRoute;
use crate::model::service::{Listen, Platform, Retry, Service, ServiceName};
use crate::model::sleep::SleepPolicy;
use crate::model::time::Moment;
use crate::model::traffic_policy::TrafficPolicy;

/// One server line: a replica under its own name and address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) draining: bool,
}

impl Server {
    pub(crate) fn admin_state(&self) -> AdminState {
        if self.draining { AdminState::Drain } else { AdminState::Ready }
    }
}

/// How much longer a request waits in HAProxy's queue than at the daemon: the daemon's answer comes
/// first, as that says when to try again.
const QUEUE_SLACK: Duration = Duration::from_secs(5);

/// The server at the daemon's socket, which gets a service's requests while no replica serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WakeServer {
    pub(crate) policy: SleepPolicy,
    /// HAProxy sends requests to it. Not in the file, like `Server::draining`.
    pub(crate) is_ready: bool,
}

/// One backend, and the frontend before it when the service has a `listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backend {
    pub(crate) service: ServiceName,
    pub(crate) listen: Option<Listen>,
    pub(crate) routes: Vec<HttpRoute>,
    pub(crate) health: HealthCheck,
    pub(crate) retry: Retry,
    pub(crate) policy: TrafficPolicy,
    /// It never has more than one replica, but while one takes the place of another.
    pub(crate) is_single: bool,
    /// `None`: it has no server that wakes the service.
    pub(crate) wake: Option<WakeServer>,
    pub(crate) servers: Vec<Server>,
}

impl Backend {
    /// Two servers of one name would have HAProxy refuse the whole file: the first one counts.
    pub(crate) fn of(service: &Service, mut servers: Vec<Server>) -> Backend {
        let mut names = BTreeSet::new();
        servers.retain(|server| names.insert(server.name.clone()));
        Backend {
            service: service.name.clone(),
            listen: service.listen.clone(),
            routes: service.routes.clone(),
            health: health(service),
            retry: service.retry,
            policy: service.policy.clone(),
            is_single: service.timetable.most() <= 1,
            wake: None,
            servers,
        }
    }

    /// Gives it the server that wakes the service. What waits then waits as long as a wake-up may
    /// take, or as long as the config says if that is longer.
    pub(crate) fn set_wake(&mut self, service: &Service, is_ready: bool) {
        let policy = service.sleep;
        let times = &mut self.policy.timeouts;
        times.queue = Some(times.queue().max(policy.wake_timeout + QUEUE_SLACK));
        self.wake = Some(WakeServer { policy, is_ready });
    }
}

/// Of a Swarm service nothing but the published port can be asked. What would be asked on another
/// one is only that a connection opens.
fn health(service: &Service) -> HealthCheck {
    let health = service.health.clone();
    match (&service.runs, health.port) {
        (Platform::Swarm(_), Some(port)) if port == service.port => {
            HealthCheck { port: None, ..health }
        }
        (Platform::Swarm(_), Some(_)) => {
            HealthCheck { port: None, kind: HealthKind::Tcp, ..health }
        }
        (Platform::Swarm(_), None) | (Platform::Docker, _) => health,
    }
}

/// All that HAProxy is to do for us, by service name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Routes {
    pub(crate) front_door: FrontDoor,
    pub(crate) backends: Vec<Backend>,
}

impl Routes {
    /// Whether both render to the same file: whether a server drains is not in it.
    pub(crate) fn same_file(&self, other: &Routes) -> bool {
        let plain = |routes: &Routes| {
            let mut routes = routes.clone();
            for server in routes.backends.iter_mut().flat_map(|b| &mut b.servers) {
                server.draining = false;
            }
            routes.set_unwoken();
            routes
        };
        plain(self) == plain(other)
    }

    fn set_unwoken(&mut self) {
        let wakes = self.backends.iter_mut().filter_map(|backend| backend.wake.as_mut());
        wakes.for_each(|wake| wake.is_ready = false);
    }

    /// Whether a frontend is to have this address.
    pub(crate) fn opens(&self, listen: &Listen) -> bool {
        self.backends.iter().any(|b| b.listen.as_ref() == Some(listen))
            || self.front_door.frontends.iter().any(|f| f.listen == *listen)
    }

    /// Whether the path of a request is changed anywhere.
    pub(crate) fn strips(&self) -> bool {
        self.backends.iter().flat_map(|b| &b.routes).any(|route| 0 < route.stripped())
    }

    /// Whether clients that come back find the same servers.
    pub(crate) fn same_sticky_servers(&self, other: &Routes) -> bool {
        let sticky = |routes: &Routes| -> Vec<Server> {
            let sticky = routes.backends.iter().filter(|b| b.policy.sticky.is_some());
            let servers = sticky.flat_map(|b| &b.servers).cloned();
            servers.map(|server| Server { draining: false, ..server }).collect()
        };
        sticky(self) == sticky(other)
    }

    /// Whether they differ in nothing that a running HAProxy does not take: in servers of backends
    /// and what new ones are like, and in which requests go to which backend.
    pub(crate) fn same_but_servers(&self, other: &Routes) -> bool {
        let bare = |backend: &Backend| Backend {
            servers: Vec::new(),
            routes: Vec::new(),
            is_single: false,
            wake: backend.wake.map(|wake| WakeServer { is_ready: false, ..wake }),
            ..backend.clone()
        };
        self.front_door == other.front_door
            && self.strips() == other.strips()
            && self.backends.len() == other.backends.len()
            && self.backends.iter().zip(&other.backends).all(|(a, b)| bare(a) == bare(b))
    }

    /// Whether these servers are ours, one for one, draining or not. Those of an operator's own
    /// backends are none of our business.
    pub(crate) fn agree<'a>(&self, seen: impl Iterator<Item = &'a SeenServer>) -> bool {
        let mut count = 0;
        let ours = self.backends.iter().map(|b| b.servers.len()).sum::<usize>();
        for seen in seen.filter(|seen| self.has_backend(&seen.backend)) {
            if !self.has(seen) {
                return false;
            }
            count += 1;
        }
        count == ours
    }

    /// Those in our backends that should not be there.
    pub(crate) fn strangers<'a>(
        &'a self,
        seen: &'a [SeenServer],
    ) -> impl Iterator<Item = &'a SeenServer> {
        seen.iter().filter(|seen| self.has_backend(&seen.backend) && !self.has(seen))
    }

    /// The address that a server of this name is to have.
    pub(crate) fn address_of(&self, seen: &SeenServer) -> Option<SocketAddr> {
        let backend = self.backends.iter().find(|b| b.service.as_str() == seen.backend)?;
        backend.servers.iter().find(|s| s.name == seen.name).map(|s| s.address)
    }

    /// Without these services.
    pub(crate) fn without(&self, services: &BTreeSet<String>) -> Routes {
        let backends = self.backends.iter().filter(|b| !services.contains(b.service.as_str()));
        Routes { backends: backends.cloned().collect(), ..self.clone() }
    }

    fn has_backend(&self, name: &str) -> bool {
        self.backends.iter().any(|b| b.service.as_str() == name)
    }

    /// Under its name and address.
    fn has(&self, seen: &SeenServer) -> bool {
        let mut servers = self.backends.iter().filter(|b| b.service.as_str() == seen.backend);
        let is_it = |s: &Server| s.name == seen.name && s.address == seen.seen.address;
        servers.any(|b| b.servers.iter().any(is_it))
    }
}

/// What HAProxy's socket shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProxySeen {
    pub(crate) servers: Vec<SeenServer>,
    /// By backend: the states of the servers that wake services.
    pub(crate) wakes: BTreeMap<String, AdminState>,
    /// It takes and gives away servers while it runs.
    pub(crate) takes_dynamic_servers: bool,
    /// New servers may have a cookie.
    pub(crate) takes_dynamic_cookies: bool,
    /// What it read at its start is another now: it takes a reload.
    pub(crate) is_stale: bool,
    /// Earlier processes of ours that still finish their sessions.
    pub(crate) old_processes: u32,
    /// Those of them that still take new connections, which one that does its work gives up at
    /// once.
    pub(crate) lingering: Vec<Lingering>,
    pub(crate) connections: Connections,
    /// Of each backend in each process that could be asked.
    pub(crate) counts: Vec<BackendCounts>,
    /// Of the shared frontends.
    pub(crate) certificates: Vec<CertificateSeen>,
}

/// Addresses that stay with the service that had them until their own one has a ready replica.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeptAddresses {
    pub(crate) service: ServiceName,
    pub(crate) successor: ServiceName,
    /// The service is not in the config any more.
    pub(crate) is_orphan: bool,
    /// A port, a route or a frontend's default, as people write them.
    pub(crate) addresses: Vec<String>,
}

/// An earlier process that still listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lingering {
    pub(crate) process: u32,
    /// When its successor was seen to serve.
    pub(crate) since: Moment,
}

/// Of clients, in the process that serves. All zero: it does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Connections {
    pub(crate) now: u64,
    /// No more are taken.
    pub(crate) most: u64,
}

/// What one HAProxy process counted for one backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BackendCounts {
    pub(crate) process: u32,
    /// False: it is an old process, which finishes.
    pub(crate) is_current: bool,
    pub(crate) backend: String,
    /// Requests in service now.
    pub(crate) sessions: u64,
    /// Requests that wait for a server now.
    pub(crate) queue: u64,
    /// Requests that came in since the process began.
    pub(crate) requests: u64,
    /// Those of them that were answered.
    pub(crate) answered: u64,
    /// Average time to the response, of the last 1024 that were answered.
    pub(crate) response_ms: u64,
    pub(crate) traffic: TrafficCounts,
}

/// What a service's clients asked and got. A request that HAProxy repeats for a client is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TrafficCounts {
    pub(crate) requests: u64,
    /// Responses with a status of 400 to 499.
    pub(crate) errors_4xx: u64,
    /// Responses with a status of 500 to 599, HAProxy's own included.
    pub(crate) errors_5xx: u64,
    /// Connections to a replica and requests that were tried again.
    pub(crate) retries: u64,
    /// Bytes of requests and of responses.
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

impl TrafficCounts {
    fn by_field(self, other: TrafficCounts, with: fn(u64, u64) -> u64) -> TrafficCounts {
        TrafficCounts {
            requests: with(self.requests, other.requests),
            errors_4xx: with(self.errors_4xx, other.errors_4xx),
            errors_5xx: with(self.errors_5xx, other.errors_5xx),
            retries: with(self.retries, other.retries),
            bytes_in: with(self.bytes_in, other.bytes_in),
            bytes_out: with(self.bytes_out, other.bytes_out),
        }
    }

    pub(crate) fn plus(self, other: TrafficCounts) -> TrafficCounts {
        self.by_field(other, u64::saturating_add)
    }

    /// No field below 0.
    pub(crate) fn minus(self, other: TrafficCounts) -> TrafficCounts {
        self.by_field(other, u64::saturating_sub)
    }

    /// The greater of the two in each field.
    pub(crate) fn max(self, other: TrafficCounts) -> TrafficCounts {
        self.by_field(other, u64::max)
    }
}

/// What HAProxy does for one service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceTraffic {
    /// Since the daemon began to count.
    pub(crate) total: TrafficCounts,
    /// In the time of the last check interval. `None`: it is not over.
    pub(crate) recent: Option<(TrafficCounts, Duration)>,
    /// Requests in service now.
    pub(crate) sessions: u64,
    /// Requests that wait for a replica now.
    pub(crate) queue: u64,
    /// Average time to the response, of the last 1024 requests. `None`: there was none yet.
    pub(crate) response_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeenServer {
    pub(crate) backend: String,
    pub(crate) name: String,
    pub(crate) seen: ServerSeen,
}

impl ProxySeen {
    /// Those that may get a request.
    pub(crate) fn in_use(&self) -> impl Iterator<Item = &SeenServer> {
        self.servers.iter().filter(|s| s.seen.admin_state != AdminState::Maint)
    }

    pub(crate) fn server(&self, backend: &str, name: &str) -> Option<ServerSeen> {
        let hit = self.servers.iter().find(|s| s.backend == backend && s.name == name);
        hit.map(|s| s.seen)
    }
}

/// How long HAProxy keeps an idle client connection open for a next request. A process that was
/// that finishes may serve such a client once more until then.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// What became of the reloads of this run of the daemon. Not stored: a new daemon looks afresh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProxyMemory {
    /// What HAProxy was brought to last.
    pub(crate) applied: Option<Routes>,
    pub(crate) reloaded_at: Option<Moment>,
    pub(crate) servers_updated_at: Option<Moment>,
    pub(crate) failure: Option<ReloadFailure>,
    /// The last `set server state` failed.
    pub(crate) is_state_unset: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReloadFailure {
    pub(crate) routes: Routes,
    /// Services that HAProxy does not take, and that it was brought to do without.
    pub(crate) left_out: BTreeSet<String>,
    pub(crate) words: String,
    pub(crate) at: Moment,
    /// In a row.
    pub(crate) count: u32,
}

#[cfg(test)]
mod tests {
    use crate::model::bounds::Bounds;
    use crate::model::health::{HealthCheck, HealthKind, HttpCheck};
    use crate::model::proxy::Backend;
    use crate::model::schedule::Timetable;
    use crate::model::service::{ContainerSpec, Origin, Platform, Service, ServiceName};

    #[test]
    fn behind_swarms_port_no_other_one_is_asked() {
        let container = ContainerSpec::new(Origin::Image(String::new()));
        let always = Timetable::always(Bounds::exactly(1));
        let mut service = Service::new(ServiceName::new("web").unwrap(), container, 80, always);
        let path = "/up".to_owned();
        let http = HealthKind::Http(HttpCheck {
            path,
            headers: Vec::new(),
            expect: Vec::new(),
            tls: None,
        });
        let check = |service: &Service| {
            let HealthCheck { kind, port, .. } = Backend::of(service, Vec::new()).health;
            (matches!(kind, HealthKind::Http(_)), port)
        };
        for (runs, port, want) in [
            (Platform::Docker, Some(81), (true, Some(81))),
            (Platform::Swarm("shop_web".to_owned()), None, (true, None)),
            (Platform::Swarm("shop_web".to_owned()), Some(80), (true, None)),
            (Platform::Swarm("shop_web".to_owned()), Some(81), (false, None)),
        ] {
            service.runs = runs;
            service.health = HealthCheck { kind: http.clone(), port, ..HealthCheck::default() };
            assert_eq!(check(&service), want, "{:?} {port:?}", service.runs);
        }
    }
}
