//! A world that is honest about failing: any call may be told to fail, and what our actions break
//! for a client is written down.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::memory::Memory;
use crate::model::proxy::KEEP_ALIVE;
use crate::model::replica::{ContainerId, ContainerState};
use crate::model::service::replica_name;
use crate::model::time::Moment;
use crate::outside::{Error, Result};
use crate::sim::random::Random;

pub(crate) const SERVICE: &str = "web";
pub(crate) const PORT: u16 = 80;
pub(crate) const START: Moment = Moment(1_000_000_000_000);
const FULL: u64 = 100_00;

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// It fails and does nothing.
    Refused,
    /// It does what it should, and fails.
    AnswerLost,
    /// The daemon dies before it; what was under way is cut off.
    CrashBefore,
    /// The daemon dies right after it; what was under way comes to its end.
    CrashAfter,
}

/// One call in so many.
#[derive(Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) reloads: u64,
    pub(crate) others: u64,
}

impl Rate {
    fn of(self, name: &str) -> u64 {
        if name == "reload" { self.reloads } else { self.others }
    }
}

pub(crate) struct World {
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) now: Moment,
    pub(crate) random: Random,
    /// In hundredths of a percent of what one replica can carry.
    pub(crate) load: u64,
    /// Fewer than so many must never serve because of us.
    pub(crate) min: usize,
    pub(crate) containers: Vec<Unit>,
    next_id: u64,
    /// The HAProxy that has the socket.
    pub(crate) current: Option<Process>,
    /// Told to finish.
    pub(crate) old: Vec<Process>,
    next_process: u32,
    pub(crate) sessions: Vec<Session>,
    pub(crate) session_longest_ms: u64,
    pub(crate) docker_away_until: Moment,
    /// Replicas are too busy to answer our probes.
    pub(crate) probes_fail_until: Moment,
    pub(crate) saved: Memory,
    pub(crate) save_failed: bool,
    pub(crate) saves: u32,
    pub(crate) calls: u64,
    /// Which call, counted from 1.
    pub(crate) harm: Option<(u64, Harm)>,
    /// Until the moment, one call in so many is refused or loses its answer.
    pub(crate) harm_rate: Option<(Moment, Rate)>,
    /// HAProxy gave no answer when it was asked last.
    pub(crate) silent: bool,
    pub(crate) crashed: bool,
    /// What was under way at the crash comes to its end.
    pub(crate) completes: bool,
    /// Replicas whose drain ran out of time: their sessions may be cut.
    pub(crate) timed_out: BTreeSet<ContainerId>,
    pub(crate) broken: Vec<String>,
}

/// A container.
pub(crate) struct Unit {
    pub(crate) id: ContainerId,
    pub(crate) number: u32,
    pub(crate) state: ContainerState,
    pub(crate) address: Option<IpAddr>,
    pub(crate) ready_at: Moment,
    pub(crate) used_ns: u64,
    pub(crate) gone_at: Option<Moment>,
}

/// An HAProxy process.
pub(crate) struct Process {
    pub(crate) id: u32,
    pub(crate) servers: Vec<Line>,
    pub(crate) told_at: Moment,
    /// Clients of it stay connected without a request.
    pub(crate) has_idle_clients: bool,
}

/// A server line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) draining: bool,
}

pub(crate) struct Session {
    pub(crate) process: u32,
    pub(crate) address: IpAddr,
    ends: Moment,
}

impl Unit {
    /// Whether the line leads to it: an address that was another's before does not.
    fn is_at(&self, line: &Line) -> bool {
        self.state == ContainerState::Running
            && self.address == Some(line.address.ip())
            && line.name == replica_name(SERVICE, self.number)
    }
}

impl World {
    pub(crate) fn new(seed: u64, min: u32) -> World {
        World {
            state: Mutex::new(State {
                now: START,
                random: Random::new(seed),
                load: 0,
                min: usize::try_from(min).unwrap(),
                containers: Vec::new(),
                next_id: 0,
                current: None,
                old: Vec::new(),
                next_process: 0,
                sessions: Vec::new(),
                session_longest_ms: 3_000,
                docker_away_until: START,
                probes_fail_until: START,
                saved: Memory::default(),
                save_failed: false,
                saves: 0,
                calls: 0,
                harm: None,
                harm_rate: None,
                silent: false,
                crashed: false,
                completes: false,
                timed_out: BTreeSet::new(),
                broken: Vec::new(),
            }),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// One call of the daemon's to the outside.
    pub(crate) fn call<T>(
        &mut self,
        name: &str,
        effect: impl FnOnce(&mut State) -> Result<T>,
    ) -> Result<T> {
        if self.crashed {
            return Err(Error::new(format!("{name}: the daemon is dead")));
        }
        self.calls += 1;
        let failed = || Error::new(format!("{name}: made to fail"));
        match self.harm_of_this_call(name) {
            None => effect(self),
            Some(Harm::Refused) => Err(failed()),
            Some(Harm::AnswerLost) => effect(self).and_then(|_| Err(failed())),
            Some(Harm::CrashBefore) => {
                self.crash(false);
                Err(failed())
            }
            Some(Harm::CrashAfter) => {
                let end = effect(self);
                self.crash(true);
                end.and_then(|_| Err(failed()))
            }
        }
    }

    pub(crate) fn crash(&mut self, completes: bool) {
        self.crashed = true;
        self.completes = completes;
    }

    fn harm_of_this_call(&mut self, name: &str) -> Option<Harm> {
        if let Some((call, harm)) = self.harm
            && call == self.calls
        {
            return Some(harm);
        }
        match self.harm_rate {
            Some((until, rate)) if self.now < until && self.random.one_in(rate.of(name)) => {
                let lost = self.random.one_in(2);
                Some(if lost { Harm::AnswerLost } else { Harm::Refused })
            }
            Some(_) | None => None,
        }
    }

    pub(crate) fn docker(&self) -> Result<()> {
        if self.now < self.docker_away_until {
            return Err(Error::new("docker is away"));
        }
        Ok(())
    }

    pub(crate) fn advance(&mut self, to: Moment) {
        let ns = u64::try_from(to.since(self.now).as_nanos()).unwrap();
        let serving = self.serving();
        let share = self.load.checked_div(u64::try_from(serving.len()).unwrap());
        for unit in self.containers.iter_mut().filter(|u| serving.contains(&u.number)) {
            unit.used_ns += ns / FULL * share.unwrap_or(0).min(FULL);
        }
        self.now = to;
        self.containers.retain(|u| u.gone_at.is_none_or(|at| to < at));
        self.sessions.retain(|s| to < s.ends);
        if 0 < ns {
            self.begin_sessions();
        }
        let sessions = &self.sessions;
        self.old.retain(|p| {
            let idle = p.has_idle_clients && to < p.told_at.plus(KEEP_ALIVE);
            idle || sessions.iter().any(|s| s.process == p.id)
        });
    }

    /// Clients send requests where HAProxy lets them; those of an earlier process may once more.
    fn begin_sessions(&mut self) {
        let now = self.now;
        let finishing =
            self.old.iter().filter(|p| p.has_idle_clients && now < p.told_at.plus(KEEP_ALIVE));
        let mut places = Vec::new();
        for process in self.current.iter().chain(finishing) {
            let open = process.servers.iter().filter(|s| !s.draining);
            let alive = open.filter(|line| self.containers.iter().any(|u| u.is_at(line)));
            places.extend(alive.map(|s| (process.id, s.address.ip())));
        }
        for (process, address) in places {
            if self.random.one_in(2) {
                let longest = match self.random.one_in(16) {
                    true => self.session_longest_ms,
                    false => 1_000,
                };
                let ends = now.plus(Duration::from_millis(self.random.between(10, longest)));
                self.sessions.push(Session { process, address, ends });
            }
        }
    }

    /// The numbers of those that get new sessions and can take them.
    pub(crate) fn serving(&self) -> Vec<u32> {
        let lines = self.current.as_ref().map_or(&[][..], |p| &p.servers);
        let serves = |unit: &&Unit| lines.iter().any(|l| !l.draining && unit.is_at(l));
        self.containers.iter().filter(serves).map(|u| u.number).collect()
    }

    /// Notes it when what was just done left fewer serving than there must be.
    pub(crate) fn check_floor(&mut self, before: usize, what: &str) {
        let after = self.serving().len();
        if after < before.min(self.min) {
            self.note(format!("{what}: from {before} to {after} that serve"));
        }
    }

    pub(crate) fn note(&mut self, what: String) {
        let at = self.now.since(START).as_millis();
        self.broken.push(format!("at {at} ms: {what}"));
    }

    pub(crate) fn make(&mut self, number: u32) {
        self.next_id += 1;
        self.containers.push(Unit {
            id: ContainerId(format!("{:064x}", self.next_id)),
            number,
            state: ContainerState::Created,
            address: None,
            ready_at: self.now,
            used_ns: 0,
            gone_at: None,
        });
    }

    /// As Docker does, the lowest address that is free is taken again.
    pub(crate) fn launch(&mut self, number: u32) {
        let taken = |ip: &IpAddr| self.containers.iter().any(|u| u.address == Some(*ip));
        let all = (2..250).map(|n| IpAddr::V4(Ipv4Addr::new(172, 17, 0, n)));
        let free = all.into_iter().find(|ip| !taken(ip)).unwrap();
        let ready_at = self.now.plus(Duration::from_millis(self.random.between(100, 4_000)));
        for unit in self.containers.iter_mut().filter(|u| u.number == number) {
            unit.state = ContainerState::Running;
            unit.address = Some(free);
            unit.ready_at = ready_at;
        }
    }

    /// Stops a container, and writes down whom that cut.
    pub(crate) fn stop(&mut self, id: &ContainerId) {
        let Some(unit) = self.containers.iter().find(|u| u.id == *id) else { return };
        let Some(address) = unit.address.filter(|_| unit.state == ContainerState::Running) else {
            return self.end(id);
        };
        let name = replica_name(SERVICE, unit.number);
        if !self.timed_out.contains(id) {
            let open = self.sessions.iter().filter(|s| s.address == address).count();
            if 0 < open {
                self.note(format!("{name} stopped with {open} sessions"));
            }
            let own = |l: &&Line| l.name == name && l.address.ip() == address;
            let has = |p: &Process| p.servers.iter().any(|l| own(&l));
            if !self.silent && self.current.as_ref().is_some_and(has) {
                self.note(format!("{name} stopped while HAProxy has it"));
            }
            let current = self.current.iter().flat_map(|p| &p.servers);
            if current.filter(own).any(|l| !l.draining) {
                self.note(format!("{name} stopped while HAProxy sends it requests"));
            }
            let sends = |p: &Process| {
                let mut open = p.servers.iter().filter(own);
                p.has_idle_clients
                    && self.now < p.told_at.plus(KEEP_ALIVE)
                    && open.any(|l| !l.draining)
            };
            if self.old.iter().any(sends) {
                self.note(format!("{name} stopped while an earlier HAProxy may send it requests"));
            }
        }
        let before = self.serving().len();
        self.end(id);
        self.check_floor(before, &format!("stop of {name}"));
    }

    /// It runs no more, whoever did that.
    pub(crate) fn end(&mut self, id: &ContainerId) {
        let Some(unit) = self.containers.iter_mut().find(|u| u.id == *id) else { return };
        unit.state = ContainerState::Exited;
        if let Some(address) = unit.address.take() {
            self.sessions.retain(|s| s.address != address);
        }
    }

    /// A new process takes over, or the first one begins.
    pub(crate) fn take_over(&mut self, servers: Vec<Line>) {
        self.next_process += 1;
        let has_idle_clients = self.random.one_in(2);
        let new = Process { id: self.next_process, servers, told_at: self.now, has_idle_clients };
        if let Some(mut old) = self.current.replace(new) {
            old.told_at = self.now;
            self.old.push(old);
        }
    }

    pub(crate) fn kill_haproxy(&mut self) {
        if let Some(process) = self.current.take() {
            self.sessions.retain(|s| s.process != process.id);
        }
    }
}
