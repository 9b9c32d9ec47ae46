//! A made-up host: containers, HAProxy's processes, the sessions of clients and the load that they
//! bring. Every client request that an action breaks is recorded as a violation.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::action::Action;
use crate::model::health::HealthKind;
use crate::model::memory::{Memory, ServiceMemory};
use crate::model::metric::{Field, Source};
use crate::model::owner::Owner;
use crate::model::proxy::{BackendCounts, KEEP_ALIVE, TrafficCounts};
use crate::model::replica::{AdminState, ContainerId, ContainerState, Ending};
use crate::model::service::{Origin, Service};
use crate::model::stranger::Stranger;
use crate::model::time::{Moment, Wall};
#[cfg(test)]
use crate::sim::fault_injection::Faults;
use crate::sim::variation::Chance;
use crate::sim::waiting::Waiting;
use crate::sim::workload::Demand;

/// Where made-up time begins to count.
pub(crate) const START: Moment = Moment(1_000_000_000_000);
pub(crate) const REQUEST_MS: u64 = 1_000;
/// Thousandths a second times nanoseconds.
pub(crate) const WHOLE_REQUEST: u128 = 1_000_000_000_000;
/// Of an image that is absent.
const PULL: Duration = Duration::from_secs(5);

pub(crate) struct World {
    state: Mutex<WorldState>,
}

/// The initial conditions.
pub(crate) struct Scenario {
    /// The only service.
    pub(crate) service: Arc<Service>,
    /// What clocks show at `START`.
    pub(crate) wall: Wall,
    /// From the start of a container until it can serve.
    pub(crate) start_up: Duration,
    /// Containers of this image never become ready.
    pub(crate) broken_image: Option<&'static str>,
    pub(crate) demand: Demand,
    /// A request wakes the service, if it may sleep.
    pub(crate) wakes: bool,
    pub(crate) chance: Chance,
}

pub(crate) struct WorldState {
    pub(crate) now: Moment,
    pub(crate) scenario: Scenario,
    pub(crate) containers: Vec<SimContainer>,
    /// Containers with labels of replicas that are none.
    pub(crate) strangers: Vec<Stranger>,
    next_id: u64,
    /// HAProxy takes servers while it runs.
    pub(crate) takes_dynamic_servers: bool,
    /// The HAProxy that has the socket.
    pub(crate) current: Option<SimProcess>,
    /// Old processes, which finish their sessions.
    pub(crate) old: Vec<SimProcess>,
    next_process: u32,
    pub(crate) sessions: Vec<Session>,
    pub(crate) session_longest_ms: u64,
    /// A part of a request.
    pub(crate) coming: u128,
    pub(crate) waiting: Waiting,
    /// Docker reported something since the controller heard of it last.
    pub(crate) docker_event: bool,
    /// Images that have to be pulled first.
    pub(crate) absent_images: BTreeSet<String>,
    pub(crate) saved: Memory,
    /// What the daemon remembers, stored or not.
    pub(crate) believed: ServiceMemory,
    pub(crate) save_failed: bool,
    pub(crate) saves: u32,
    /// HAProxy did not answer the last query.
    pub(crate) silent: bool,
    /// The daemon is dead. Only a test does that to it.
    pub(crate) crashed: bool,
    /// Replicas whose drain ran out of time: their sessions may be cut.
    pub(crate) timed_out: BTreeSet<ContainerId>,
    /// Violated invariants, with their times.
    pub(crate) violations: Vec<String>,
    #[cfg(test)]
    pub(crate) faults: Faults,
}

/// A container.
pub(crate) struct SimContainer {
    pub(crate) id: ContainerId,
    pub(crate) number: u32,
    pub(crate) owner: Owner,
    /// As HAProxy's server.
    pub(crate) name: String,
    /// As container.
    pub(crate) called: String,
    /// What it was made from.
    pub(crate) spec: String,
    pub(crate) image: String,
    pub(crate) state: ContainerState,
    pub(crate) address: Option<IpAddr>,
    /// When it was started last.
    pub(crate) started: Option<Moment>,
    /// By whom it was ended last, and when.
    pub(crate) ended: Option<(Ending, Moment)>,
    /// When its owner starts it again.
    pub(crate) restart_at: Option<Moment>,
    /// Somebody took it out of its network.
    pub(crate) is_cut_off: bool,
    pub(crate) ready_at: Moment,
    /// The run in which its hook `after_ready` succeeded.
    pub(crate) hooked: Option<Moment>,
    /// It runs, and cannot serve.
    pub(crate) ill_until: Moment,
    pub(crate) used_ns: u64,
    pub(crate) gone_at: Option<Moment>,
}

/// An HAProxy process.
pub(crate) struct SimProcess {
    pub(crate) id: u32,
    pub(crate) servers: Vec<SimServer>,
    pub(crate) wake: Option<SimWake>,
    pub(crate) told_at: Moment,
    /// Clients of it stay connected without a request.
    pub(crate) has_idle_clients: bool,
    pub(crate) requests: u64,
}

/// The server that wakes the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SimWake {
    pub(crate) admin_state: AdminState,
    /// How long requests wait in HAProxy.
    pub(crate) queue_timeout: Duration,
}

/// A server line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SimServer {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) admin_state: AdminState,
    /// HAProxy's first health check of it.
    pub(crate) checked_at: Moment,
}

pub(crate) struct Session {
    pub(crate) process: u32,
    pub(crate) address: IpAddr,
    ends: Moment,
}

impl SimContainer {
    /// Whether the line leads to it: an address that was another's before does not.
    fn is_at(&self, line: &SimServer) -> bool {
        self.state == ContainerState::Running
            && self.address == Some(line.address.ip())
            && line.name == self.name
    }

    pub(crate) fn is_well(&self, now: Moment) -> bool {
        self.ready_at <= now && self.ill_until <= now
    }

    /// It starts, serves or drains.
    pub(crate) fn exists(&self) -> bool {
        match self.state {
            ContainerState::Created
            | ContainerState::Running
            | ContainerState::Paused
            | ContainerState::Restarting => true,
            ContainerState::Exited | ContainerState::Removing => false,
        }
    }
}

impl World {
    pub(crate) fn new(mut scenario: Scenario, now: Moment) -> World {
        let takes_dynamic_servers = scenario.chance.one_in(2, true);
        World {
            state: Mutex::new(WorldState {
                now,
                scenario,
                containers: Vec::new(),
                strangers: Vec::new(),
                next_id: 0,
                takes_dynamic_servers,
                current: None,
                old: Vec::new(),
                next_process: 0,
                sessions: Vec::new(),
                session_longest_ms: 3 * REQUEST_MS,
                docker_event: false,
                absent_images: BTreeSet::new(),
                saved: Memory::default(),
                believed: ServiceMemory::default(),
                coming: 0,
                waiting: Waiting::default(),
                save_failed: false,
                saves: 0,
                silent: false,
                crashed: false,
                timed_out: BTreeSet::new(),
                violations: Vec::new(),
                #[cfg(test)]
                faults: Faults::default(),
            }),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, WorldState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WorldState {
    /// One call of the daemon's to the outside. A test may have it fail, by its name.
    #[cfg(not(test))]
    pub(crate) fn call<T>(
        &mut self,
        _: &str,
        effect: impl FnOnce(&mut WorldState) -> crate::outside::Result<T>,
    ) -> crate::outside::Result<T> {
        effect(self)
    }

    pub(crate) fn wall(&self) -> Wall {
        let ms = i64::try_from(self.now.0).unwrap_or(i64::MAX);
        let passed = ms.saturating_sub_unsigned(START.0).div_euclid(1000);
        Wall(self.scenario.wall.0.saturating_add(passed))
    }

    pub(crate) fn service(&self) -> &str {
        self.scenario.service.name.as_str()
    }

    pub(crate) fn advance(&mut self, to: Moment) {
        let ns = u64::try_from(to.since(self.now).as_nanos()).unwrap_or(u64::MAX);
        let serving = self.serving();
        let demand = &self.scenario.demand;
        let units = self.containers.iter_mut().filter(|u| serving.contains(&u.number));
        for (place, unit) in units.enumerate() {
            let rate = demand.processor(serving.len(), place);
            unit.used_ns = unit.used_ns.saturating_add(rate.over(ns));
        }
        self.now = to;
        self.restart();
        let count = self.containers.len();
        self.containers.retain(|u| u.gone_at.is_none_or(|at| to < at));
        let turns_healthy = |u: &SimContainer| u.ready_at == to && 0 < ns;
        self.docker_event |=
            self.containers.len() < count || self.containers.iter().any(turns_healthy);
        self.sessions.retain(|s| to < s.ends);
        if 0 < ns {
            let came = self.receive(ns);
            if self.is_asked(came) {
                self.begin_sessions();
            }
        }
        self.settle_waiting();
        let sessions = &self.sessions;
        self.old.retain(|p| {
            let idle = p.has_idle_clients && to < p.told_at.plus(KEEP_ALIVE);
            idle || sessions.iter().any(|s| s.process == p.id)
        });
    }

    /// When something happens by itself that Docker or the activator reports.
    pub(crate) fn next_event(&self) -> Option<Moment> {
        let checks = self.scenario.service.health.kind == HealthKind::Docker;
        let ready = self.containers.iter().filter(|_| checks).map(|u| u.ready_at);
        let known = self.containers.iter().filter_map(|u| u.gone_at);
        let restarts = self.containers.iter().filter_map(|u| u.restart_at);
        let docker = ready.chain(known).chain(restarts).filter(|at| self.now < *at);
        docker.chain(self.next_request()).min()
    }

    /// Every replica serves, none leaves, and nobody counts single requests: only the load can
    /// change anything.
    pub(crate) fn is_steady(&self) -> bool {
        let service = &self.scenario.service;
        let counts_requests =
            service.metrics.iter().any(|m| matches!(m.source, Source::Haproxy(_)));
        !self.scenario.chance.is_drawn()
            && !counts_requests
            && !self.may_sleep()
            && !self.crashed
            && self.old.is_empty()
            && self.believed.drains.is_empty()
            && self.serving().len() == self.containers.len()
    }

    /// How long the image of this start has to be pulled; zero where it is there.
    pub(crate) fn pull_time(&self, action: &Action) -> Duration {
        if self.has_image(action) { Duration::ZERO } else { PULL }
    }

    pub(crate) fn has_image(&self, action: &Action) -> bool {
        let Action::Start { service, .. } = action else { return true };
        !self.absent_images.contains(&service.container.origin.to_string())
    }

    /// Those whose `docker restart` has come to its second half.
    fn restart(&mut self) {
        let now = self.now;
        let due = |u: &&SimContainer| {
            u.state == ContainerState::Exited && u.restart_at.is_some_and(|at| at <= now)
        };
        let mut due = self.containers.iter().filter(due).map(|u| u.id.clone());
        if let Some(id) = due.next() {
            self.launch_unit(&id);
            self.restart();
        }
    }

    /// Clients send requests where HAProxy lets them; those of an earlier process may once more.
    pub(crate) fn begin_sessions(&mut self) {
        let now = self.now;
        let finishing =
            self.old.iter().filter(|p| p.has_idle_clients && now < p.told_at.plus(KEEP_ALIVE));
        let units = self.by_address();
        let mut places = Vec::new();
        for process in self.current.iter().chain(finishing) {
            let open = process.servers.iter().filter(|s| s.admin_state == AdminState::Ready);
            let alive =
                open.filter(|line| units.get(&line.address.ip()).is_some_and(|u| u.is_at(line)));
            places.extend(alive.map(|s| (process.id, s.address.ip())));
        }
        for (process, address) in places {
            let chance = &mut self.scenario.chance;
            if chance.one_in(2, true) {
                let longest = match chance.one_in(16, false) {
                    true => self.session_longest_ms,
                    false => REQUEST_MS,
                };
                let lasts = chance.between(10, longest, REQUEST_MS);
                let ends = now.plus(Duration::from_millis(lasts));
                self.sessions.push(Session { process, address, ends });
                if !self.scenario.demand.is_of(Field::RequestRate) {
                    let mut all = self.current.iter_mut().chain(&mut self.old);
                    let process = all.find(|p| p.id == process);
                    process.into_iter().for_each(|p| p.requests += 1);
                }
            }
        }
    }

    /// Requests of a service that is simulated by their rate, in whole ones. Returns how many.
    pub(crate) fn receive(&mut self, ns: u64) -> u64 {
        if !self.scenario.demand.is_of(Field::RequestRate) {
            return 0;
        }
        let rate = u128::from(self.scenario.demand.load.0);
        self.coming += rate * u128::from(ns);
        let whole = self.coming / WHOLE_REQUEST;
        self.coming -= whole * WHOLE_REQUEST;
        let whole = u64::try_from(whole).unwrap_or(u64::MAX);
        self.current.iter_mut().for_each(|p| p.requests = p.requests.saturating_add(whole));
        self.arrive_evenly(whole, self.coming);
        whole
    }

    /// What HAProxy's process counted. Of a service that something else drives, a little.
    pub(crate) fn counts(&self, process: &SimProcess, is_current: bool) -> BackendCounts {
        let open = self.sessions.iter().filter(|s| s.process == process.id).count();
        let open = u64::try_from(open).unwrap_or(u64::MAX);
        let serving = u64::try_from(self.serving().len()).unwrap_or(u64::MAX);
        let shown = |field| self.scenario.demand.shown(field, serving).filter(|_| is_current);
        // Nobody is served who waits.
        let is_waiting = self.may_sleep() && serving == 0;
        let own = |n: u64| if is_current { n } else { 0 };
        let connections = own(self.waiting.connections());
        let sessions = shown(Field::Sessions).filter(|_| !is_waiting).unwrap_or(open);
        let queued = own(self.waiting.queued());
        let queue = shown(Field::Queue).filter(|_| !is_waiting).unwrap_or(0);
        BackendCounts {
            process: process.id,
            is_current,
            backend: self.service().to_owned(),
            sessions: sessions.saturating_add(connections),
            queue: queue.saturating_add(queued),
            requests: process.requests,
            // Cut requests are counted as answered too; no metric needs the difference.
            answered: process.requests.saturating_sub(open),
            response_ms: shown(Field::ResponseTimeMs).unwrap_or(0),
            traffic: TrafficCounts { requests: process.requests, ..TrafficCounts::default() },
        }
    }

    /// Those that run.
    fn by_address(&self) -> BTreeMap<IpAddr, &SimContainer> {
        // Not collected: that sorts first, and each kind of sort is several kilobytes of code.
        let mut units = BTreeMap::new();
        for unit in &self.containers {
            units.extend(unit.address.map(|address| (address, unit)));
        }
        units
    }

    /// The numbers of those that get new sessions and can take them.
    pub(crate) fn serving(&self) -> Vec<u32> {
        let lines = self.current.as_ref().map_or(&[][..], |p| &p.servers);
        let units = self.by_address();
        let serves = |line: &&SimServer| line.admin_state == AdminState::Ready;
        let is_there =
            |u: &&&SimContainer, line: &SimServer| u.is_at(line) && self.now >= u.ill_until;
        let unit = |line: &SimServer| units.get(&line.address.ip()).filter(|u| is_there(u, line));
        lines.iter().filter(serves).filter_map(unit).map(|u| u.number).collect()
    }

    pub(crate) fn make(&mut self, service: &Service, number: u32) {
        self.next_id += 1;
        let image = service.container.origin.to_string();
        self.containers.push(SimContainer {
            id: ContainerId(format!("{:064x}", self.next_id)),
            number,
            owner: match &self.scenario.service.container.origin {
                Origin::Image(_) => Owner::Ours,
                Origin::Compose { .. } => Owner::Clone,
            },
            name: self.scenario.service.replica_name(number),
            called: self.scenario.service.replica_name(number),
            spec: service.spec_hash(),
            image,
            state: ContainerState::Created,
            address: None,
            started: None,
            ended: None,
            restart_at: None,
            is_cut_off: false,
            ready_at: self.now,
            hooked: None,
            ill_until: Moment::default(),
            used_ns: 0,
            gone_at: None,
        });
    }

    /// As Docker does, the lowest address that is free is taken again.
    pub(crate) fn give_address(&mut self, id: &ContainerId) {
        let taken = self.by_address();
        // A network of 65,536: there are never half as many containers.
        let all = (2..u16::MAX).map(|n| Ipv4Addr::new(172, 17, (n >> 8) as u8, n as u8));
        let free = all.map(IpAddr::V4).find(|ip| !taken.contains_key(ip));
        let unit = self.containers.iter_mut().find(|u| u.id == *id && !u.is_cut_off);
        unit.into_iter().for_each(|unit| unit.address = free);
    }

    pub(crate) fn launch(&mut self, number: u32) {
        let unit = self.containers.iter().find(|u| u.number == number);
        if let Some(id) = unit.map(|u| u.id.clone()) {
            self.launch_unit(&id);
        }
    }

    pub(crate) fn launch_unit(&mut self, id: &ContainerId) {
        self.give_address(id);
        self.docker_event = true;
        let usual = u64::try_from(self.scenario.start_up.as_millis()).unwrap_or(u64::MAX);
        let start_up = Duration::from_millis(self.scenario.chance.between(100, 4_000, usual));
        let ready_at = self.now.plus(start_up);
        for unit in self.containers.iter_mut().filter(|u| u.id == *id) {
            unit.state = ContainerState::Running;
            (unit.started, unit.restart_at) = (Some(self.now), None);
            let is_broken = self.scenario.broken_image == Some(unit.image.as_str());
            unit.ready_at = if is_broken { Moment(u64::MAX) } else { ready_at };
        }
    }

    /// Ends a running container.
    pub(crate) fn end(&mut self, id: &ContainerId, by: Ending) {
        let Some(unit) = self.containers.iter_mut().find(|u| u.id == *id) else { return };
        if !matches!(unit.state, ContainerState::Running | ContainerState::Paused) {
            return;
        }
        unit.state = ContainerState::Exited;
        unit.ended = Some((by, self.now));
        self.docker_event = true;
        if let Some(address) = unit.address.take() {
            self.sessions.retain(|s| s.address != address);
            self.waiting.end_copies(|copy| copy.to.ip() == address);
        }
    }

    /// A new process takes over, or the first one begins.
    pub(crate) fn take_over(&mut self, servers: Vec<SimServer>, wake: Option<SimWake>) {
        self.next_process += 1;
        let has_idle_clients = self.scenario.chance.one_in(2, true);
        let id = self.next_process;
        let told_at = self.now;
        let new = SimProcess { id, servers, wake, told_at, has_idle_clients, requests: 0 };
        if let Some(mut old) = self.current.replace(new) {
            old.told_at = self.now;
            self.old.push(old);
        }
    }
}
