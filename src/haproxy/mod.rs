//! `outside::Proxy` by an HAProxy that we start and own, or that another runs for us.

mod amend;
mod base;
mod files;
mod keeper;
mod leaving;
mod limits;
mod old;
mod process;
mod reload;
mod render;
mod socket;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::haproxy::leaving::Line;
use crate::haproxy::process::Processes;
use crate::haproxy::socket::Socket;
use crate::model::action::{Effect, Steering};
use crate::model::config::{ProxyConfig, ProxyMode};
use crate::model::proxy::{BackendCounts, ProxySeen, Routes};
use crate::model::time::Moment;
use crate::outside::{Clock, Error, Proxy, Result, Vessel};

pub(crate) struct Haproxy {
    config: ProxyConfig,
    clock: Arc<dyn Clock>,
    vessel: Arc<dyn Vessel>,
    socket: Socket,
    /// What HAProxy wrote of its servers' states before the last reload.
    state_file: PathBuf,
    /// Root starts HAProxy, which then goes on as its own account.
    drops_root: bool,
    pids: Mutex<Pids>,
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
}

/// Processes of ours, as far as this daemon brought them about or found them in order.
#[derive(Debug, Default)]
struct Pids {
    /// The one that owns the socket.
    current: Option<u32>,
    /// Told to finish, and still at it.
    told: BTreeSet<u32>,
}

impl Haproxy {
    pub(crate) fn new(
        config: &ProxyConfig,
        clock: Arc<dyn Clock>,
        vessel: Arc<dyn Vessel>,
    ) -> Haproxy {
        let names_account = match config.mode {
            ProxyMode::Process | ProxyMode::Systemd(_) => true,
            // Accounts there are its own.
            ProxyMode::Container(_) | ProxyMode::None => false,
        };
        Haproxy {
            config: limits::filled(config),
            clock,
            vessel,
            socket: Socket::new(&config.socket),
            state_file: files::beside(&config.config, "state"),
            drops_root: names_account
                && process::is_root()
                && process::has_account(render::ACCOUNT),
            pids: Mutex::default(),
            master: Mutex::default(),
            told_at: Mutex::default(),
            amendable: Mutex::default(),
            edition: Mutex::default(),
            lines: Mutex::default(),
            counting: AtomicBool::new(false),
        }
    }

    fn processes(&self) -> Processes<'_> {
        Processes { config: &self.config, clock: &*self.clock }
    }

    fn pids(&self) -> MutexGuard<'_, Pids> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn edition(&self) -> MutexGuard<'_, Option<String>> {
        self.edition.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_pids(&self, current: u32, told: Option<&[u32]>) {
        let mut pids = self.pids();
        pids.current = Some(current);
        pids.told.extend(told.into_iter().flatten());
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
        let all = self.processes().all().into_iter();
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
        let is_stale = self.is_stale();
        Ok(ProxySeen { servers: look.servers, is_amendable, is_stale, old_processes, counts })
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

    fn steer(&self, servers: &[Steering]) -> Result<()> {
        for server in servers {
            let Steering { backend, server, duty } = server;
            self.tell(&format!("set server {backend}/{server} state {}", duty.word()), "")?;
        }
        Ok(())
    }
}
