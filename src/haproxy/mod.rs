//! `outside::Proxy` by an HAProxy that we start and own, or that another runs for us.

mod amend;
mod base;
mod files;
mod identity;
mod keeper;
mod leaving;
mod limits;
mod old;
mod process;
mod reload;
mod render;
mod sift;
mod socket;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::haproxy::identity::Roster;
use crate::haproxy::leaving::Line;
use crate::haproxy::process::Processes;
use crate::haproxy::socket::Socket;
use crate::model::action::{Effect, Steering};
use crate::model::config::{ProxyConfig, ProxyMode};
use crate::model::proxy::{BackendCounts, Lingering, ProxySeen, Routes};
use crate::model::time::Moment;
use crate::outside::{Clock, ContainerControl, Error, Proxy, Result};

pub(crate) struct Haproxy {
    config: ProxyConfig,
    clock: Arc<dyn Clock>,
    container_control: Arc<dyn ContainerControl>,
    socket: Socket,
    /// What HAProxy wrote of its servers' states before the last reload.
    state_file: PathBuf,
    /// Root starts HAProxy, which then goes on as its own account.
    drops_root: bool,
    pids: Mutex<Pids>,
    /// Our processes, whoever of us started them.
    roster: Mutex<Roster>,
    /// Of the workers in a container, by its number on this host.
    master: Mutex<Option<u32>>,
    /// When the process before the current one was told to finish.
    told_at: Mutex<Option<Moment>>,
    /// The process that was asked last, and whether it takes servers while it runs.
    amendable: Mutex<Option<(u32, bool)>>,
    /// Of the certificate, as HAProxy read it; `None` before the first reload.
    edition: Mutex<Option<String>>,
    /// To processes that finish, which each keeps alive until it is closed.
    lines: Mutex<Vec<Line>>,
    /// Whether the last look was of use for what those count.
    counting: AtomicBool,
    /// What was brought about last, as far as HAProxy took it.
    taken: Mutex<Option<Routes>>,
}

/// Processes of ours, as far as this daemon brought them about or found them in order.
#[derive(Debug, Default)]
struct Pids {
    /// The one that owns the socket.
    current: Option<u32>,
    /// Told to finish, and still at it.
    told: BTreeSet<u32>,
    /// Those of them that still listened when they were looked at last, and since when a successor
    /// serves.
    listening: BTreeMap<u32, Moment>,
}

impl Haproxy {
    pub(crate) fn new(
        config: &ProxyConfig,
        clock: Arc<dyn Clock>,
        container_control: Arc<dyn ContainerControl>,
    ) -> Haproxy {
        let names_account = match config.mode {
            ProxyMode::Process | ProxyMode::Systemd(_) => true,
            // Accounts there are its own.
            ProxyMode::Container(_) | ProxyMode::None => false,
        };
        Haproxy {
            config: limits::filled(config),
            socket: Socket::new(&config.socket, clock.clone()),
            clock,
            container_control,
            state_file: files::beside(&config.config, "state"),
            drops_root: names_account
                && identity::own_uid() == Some(0)
                && process::account_uid(render::ACCOUNT).is_some(),
            pids: Mutex::default(),
            roster: Mutex::default(),
            master: Mutex::default(),
            told_at: Mutex::default(),
            amendable: Mutex::default(),
            edition: Mutex::default(),
            lines: Mutex::default(),
            counting: AtomicBool::new(false),
            taken: Mutex::default(),
        }
    }

    fn processes(&self) -> Processes<'_> {
        Processes { config: &self.config, clock: &*self.clock }
    }

    fn pids(&self) -> MutexGuard<'_, Pids> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every process of ours that runs, as far as it is known.
    fn all_pids(&self) -> Vec<u32> {
        let mut roster = self.roster();
        roster.renew(&self.config);
        roster.all()
    }

    /// The mode of files that HAProxy reads.
    fn file_mode(&self) -> u32 {
        match self.config.mode {
            ProxyMode::Process | ProxyMode::Systemd(_) | ProxyMode::None => files::PRIVATE,
            ProxyMode::Container(_) => files::SHARED,
        }
    }

    fn taken(&self) -> MutexGuard<'_, Option<Routes>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn edition(&self) -> MutexGuard<'_, Option<String>> {
        self.edition.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_pids(&self, current: u32, told: Option<&[u32]>) {
        let now = self.clock.now();
        let mut pids = self.pids();
        pids.current = Some(current);
        for pid in told.into_iter().flatten() {
            pids.told.insert(*pid);
            if self.is_own_process() {
                pids.listening.insert(*pid, now);
            }
        }
    }

    /// Earlier processes that still listen. One that does not any more never will again.
    fn lingering(&self) -> Vec<Lingering> {
        let mut listening = self.pids().listening.clone();
        if listening.is_empty() {
            return Vec::new();
        }
        let ports = self.ports();
        listening.retain(|pid, _| {
            let held = old::listening(&[*pid].into()).unwrap_or_default();
            self.roster().runs(*pid) && !held.is_disjoint(&ports)
        });
        let mut pids = self.pids();
        pids.listening.retain(|pid, since| listening.get(pid) == Some(since));
        let found = pids.listening.iter();
        found.map(|(pid, since)| Lingering { process: *pid, since: *since }).collect()
    }

    fn end_lingering(&self, processes: &[u32]) -> Result<()> {
        let turnstile = self.processes().turnstile()?;
        let lingering = self.lingering();
        for pid in processes.iter().filter(|pid| lingering.iter().any(|l| l.process == **pid)) {
            self.processes().kill(&turnstile, *pid)?;
        }
        Ok(())
    }

    fn master(&self) -> MutexGuard<'_, Option<u32>> {
        self.master.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told_at(&self) -> MutexGuard<'_, Option<Moment>> {
        self.told_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that is out of sight counts as long as it may live.
    fn count_old(&self) -> u32 {
        match self.old_pids() {
            Some(pids) => u32::try_from(pids.len()).unwrap_or(u32::MAX),
            None => {
                let now = self.clock.now();
                let lives = |told: Moment| now.since(told) < self.config.hard_stop_after;
                u32::from(self.told_at().is_some_and(lives))
            }
        }
    }

    /// Processes that serve beside the current one and were never told to finish: a daemon that
    /// was killed while it started one leaves such. They know nothing of what drains. A master
    /// leaves none.
    fn strays(&self, current: u32) -> Vec<u32> {
        if !self.is_own_process() {
            return Vec::new();
        }
        let told = self.old_pids().unwrap_or_default();
        let all = self.all_pids().into_iter();
        all.filter(|pid| *pid != current && !told.contains(pid)).collect()
    }
}

impl Haproxy {
    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What processes counted that finish. Their lines are not asked under the lock.
    fn leaving(&self, current: u32, counting: bool) -> Vec<BackendCounts> {
        self.counting.store(counting, Ordering::Relaxed);
        let mut lines = std::mem::take(&mut *self.lines());
        if !counting {
            lines.clear();
        }
        let counts = leaving::counts(&mut lines, current, &*self.clock);
        // Others may have been opened meanwhile.
        let mut kept = self.lines();
        kept.drain(..).for_each(|line| leaving::keep(&mut lines, line));
        *kept = lines;
        counts
    }

    /// From before it is told to finish: afterwards nobody can reach it.
    fn stay_in_touch(&self, process: u32) {
        if !self.counting.load(Ordering::Relaxed) {
            return;
        }
        // Without, the requests that it still serves are not counted, which is no reason to wait.
        if let Ok(line) = Line::open(&self.socket, process, &*self.clock) {
            leaving::keep(&mut self.lines(), line);
        }
    }
}

impl Proxy for Haproxy {
    fn look(&self, counting: bool) -> Result<ProxySeen> {
        let (look, current) = (self.socket.look()?, self.pids().current);
        let process = look.process;
        if current.is_some_and(|current| current != process) {
            return Err(Error::new(format!(
                "haproxy: process {process} serves, which is not ours"
            )));
        }
        let old_processes = self.count_old();
        let own = look.counts.into_iter();
        let own = own.map(|c| BackendCounts { process, is_current: true, ..c });
        let counts = own.chain(self.leaving(process, counting)).collect();
        let is_amendable = self.is_amendable(process);
        let (is_stale, lingering) = (self.is_stale(), self.lingering());
        let servers = look.servers;
        let connections = look.connections;
        Ok(ProxySeen {
            servers,
            is_amendable,
            is_stale,
            old_processes,
            lingering,
            connections,
            counts,
        })
    }

    fn old_connections(&self, to: &[IpAddr]) -> Result<BTreeMap<IpAddr, u64>> {
        let pids = self.old_pids();
        let pids = pids.ok_or_else(|| Error::new("haproxy: its processes are out of sight"))?;
        old::connections(&pids, to)
    }

    fn is_alive(&self) -> bool {
        self.is_there()
    }

    fn reload(&self, routes: &Routes) -> Result<Effect> {
        self.bring_to(routes)
    }

    fn amend(&self, routes: &Routes) -> Result<Effect> {
        self.amend_to(routes)
    }

    fn kill(&self, processes: &[u32]) -> Result<()> {
        self.end_lingering(processes)
    }

    fn steer(&self, servers: &[Steering]) -> Result<()> {
        for server in servers {
            let Steering { backend, server, duty } = server;
            self.tell(&format!("set server {backend}/{server} state {}", duty.word()), "")?;
        }
        Ok(())
    }
}
