//! `outside::Proxy` for an HAProxy that plimsoll starts, or that systemd or a container runs.
//!
//! Lock order: `pids` before `own_processes`; every other mutex is taken alone. No lock is held
//! across a call to HAProxy or Docker, except `dynamic_servers` while `help` is asked. The start
//! lock (`process::StartLock`), a file lock, is taken before any of them.

mod dynamic_servers;
mod base_config;
pub(crate) mod certificate_files;
mod certificate_store;
mod certificates;
mod files;
mod front_door;
mod identity;
mod supervisor;
mod old_worker_stats;
mod limits;
mod map_files;
mod proc_net;
mod policy;
mod process;
mod quoting;
mod reload;
mod render;
mod partial_config;
mod socket;
mod stats_csv;
mod wake;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::haproxy::certificate_store::CertificateStore;
use crate::haproxy::identity::OwnProcesses;
use crate::haproxy::old_worker_stats::CliConnection;
use crate::haproxy::process::Processes;
use crate::haproxy::render::ProcessFacts;
use crate::haproxy::socket::Socket;
use crate::model::action::{ActionOutput, SetServerState};
use crate::model::config::{ProxyConfig, ProxyMode};
use crate::model::proxy::{BackendCounts, Lingering, ProxySeen, Routes};
use crate::model::time::Moment;
use crate::outside::{Clock, ContainerControl, Error, Proxy, Result};

pub(crate) struct Haproxy {
    config: ProxyConfig,
    clock: Arc<dyn Clock>,
    container_control: Arc<dyn ContainerControl>,
    socket: Socket,
    /// The servers' states, saved before a reload for the new process (`server-state-file`).
    state_file: PathBuf,
    /// HAProxy is started as root and changes to its own account.
    drops_root: bool,
    /// Which process serves and which ones finish. Written after a reload, read at each look.
    pids: Mutex<Pids>,
    /// Every HAProxy process of ours, including those that an earlier daemon started.
    own_processes: Mutex<OwnProcesses>,
    /// Mode `container`: the host's process number of the master.
    master: Mutex<Option<u32>>,
    /// Time of the last reload, when the process before the current one was asked to finish.
    reloaded_at: Mutex<Option<Moment>>,
    /// The process that was asked last, and whether it supports dynamic servers (`add server`).
    dynamic_servers: Mutex<Option<(u32, bool)>>,
    /// Fingerprint of the certificate file that HAProxy read; `None` before the first reload.
    fingerprint: Mutex<Option<String>>,
    certificates: Mutex<CertificateStore>,
    /// Connections to finishing processes. Each keeps its process alive until it is closed.
    old_workers: Mutex<Vec<CliConnection>>,
    /// Whether the last look asked for the counts of old processes.
    counting: AtomicBool,
    /// The routes that HAProxy accepted last.
    applied: Mutex<Option<Routes>>,
}

/// Processes that this daemon started, or found in the expected state.
#[derive(Debug, Default)]
struct Pids {
    /// The one that owns the socket.
    current: Option<u32>,
    /// Asked to finish, and still running.
    old: BTreeSet<u32>,
    /// Those of `old` that still listened at the last look, with the time since when a successor
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
            // A container has its own accounts.
            ProxyMode::Container(_) | ProxyMode::None => false,
        };
        Haproxy {
            config: limits::with_max_connections(config),
            socket: Socket::new(&config.socket, clock.clone()),
            clock,
            container_control,
            state_file: files::beside(&config.config, "state"),
            drops_root: names_account
                && identity::own_uid() == Some(0)
                && process::account_uid(render::ACCOUNT).is_some(),
            pids: Mutex::default(),
            own_processes: Mutex::default(),
            master: Mutex::default(),
            reloaded_at: Mutex::default(),
            dynamic_servers: Mutex::default(),
            fingerprint: Mutex::default(),
            certificates: Mutex::default(),
            old_workers: Mutex::default(),
            counting: AtomicBool::new(false),
            applied: Mutex::default(),
        }
    }

    /// The account that HAProxy changes to after its start, where plimsoll decides on it.
    pub(crate) fn account(&self) -> Option<u32> {
        let is_ours = self.config.mode == ProxyMode::Process && self.config.base_config.is_none();
        process::account_uid(render::ACCOUNT).filter(|_| is_ours && self.drops_root)
    }

    fn processes(&self) -> Processes<'_> {
        Processes { config: &self.config, clock: &*self.clock }
    }

    fn pids(&self) -> MutexGuard<'_, Pids> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own_processes(&self) -> MutexGuard<'_, OwnProcesses> {
        self.own_processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn process_facts(&self) -> ProcessFacts {
        ProcessFacts { drops_root: self.drops_root, sees_files: self.sees_files() }
    }

    /// Every known process of ours that is running.
    fn all_pids(&self) -> Vec<u32> {
        let mut own_processes = self.own_processes();
        own_processes.renew(&self.config);
        own_processes.all()
    }

    /// The mode of files that HAProxy reads.
    fn file_mode(&self) -> u32 {
        match self.config.mode {
            ProxyMode::Process | ProxyMode::Systemd(_) | ProxyMode::None => files::PRIVATE,
            ProxyMode::Container(_) => files::SHARED,
        }
    }

    fn applied(&self) -> MutexGuard<'_, Option<Routes>> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn certificates(&self) -> MutexGuard<'_, CertificateStore> {
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fingerprint(&self) -> MutexGuard<'_, Option<String>> {
        self.fingerprint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_pids(&self, current: u32, old: Option<&[u32]>) {
        let now = self.clock.now();
        let mut pids = self.pids();
        pids.current = Some(current);
        for pid in old.into_iter().flatten() {
            pids.old.insert(*pid);
            if self.is_own_process() {
                pids.listening.insert(*pid, now);
            }
        }
    }

    /// Old processes that still listen. One that stopped listening never starts again.
    fn lingering(&self) -> Vec<Lingering> {
        let mut listening = self.pids().listening.clone();
        if listening.is_empty() {
            return Vec::new();
        }
        let ports = self.ports();
        listening.retain(|pid, _| {
            let held = proc_net::listening(&[*pid].into()).unwrap_or_default();
            self.own_processes().runs(*pid) && !held.is_disjoint(&ports)
        });
        let mut pids = self.pids();
        pids.listening.retain(|pid, since| listening.get(pid) == Some(since));
        let found = pids.listening.iter();
        found.map(|(pid, since)| Lingering { process: *pid, since: *since }).collect()
    }

    fn end_lingering(&self, processes: &[u32]) -> Result<()> {
        let start_lock = self.processes().start_lock()?;
        let lingering = self.lingering();
        for pid in processes.iter().filter(|pid| lingering.iter().any(|l| l.process == **pid)) {
            self.processes().kill(&start_lock, *pid)?;
        }
        Ok(())
    }

    fn master(&self) -> MutexGuard<'_, Option<u32>> {
        self.master.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reloaded_at(&self) -> MutexGuard<'_, Option<Moment>> {
        self.reloaded_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many old processes are running. If they cannot be seen, as in another pid namespace, one
    /// is assumed until `hard_stop_after` has passed.
    fn count_old(&self) -> u32 {
        match self.old_pids() {
            Some(pids) => u32::try_from(pids.len()).unwrap_or(u32::MAX),
            None => {
                let now = self.clock.now();
                let lives = |told: Moment| now.since(told) < self.config.hard_stop_after;
                u32::from(self.reloaded_at().is_some_and(lives))
            }
        }
    }

    /// Processes that serve beside the current one and were never asked to finish. A daemon that
    /// is killed during a reload leaves such; they do not know which servers drain. A master leaves
    /// none.
    fn strays(&self, current: u32) -> Vec<u32> {
        if !self.is_own_process() {
            return Vec::new();
        }
        let old = self.old_pids().unwrap_or_default();
        let all = self.all_pids().into_iter();
        all.filter(|pid| *pid != current && !old.contains(pid)).collect()
    }
}

impl Haproxy {
    fn old_workers(&self) -> MutexGuard<'_, Vec<CliConnection>> {
        self.old_workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counts of finishing processes. The lock is not held while they are asked.
    fn old_worker_counts(&self, current: u32, counting: bool) -> Vec<BackendCounts> {
        self.counting.store(counting, Ordering::Relaxed);
        let mut connections = std::mem::take(&mut *self.old_workers());
        if !counting {
            connections.clear();
        }
        let counts = old_worker_stats::counts(&mut connections, current, &*self.clock);
        // A reload may have opened others meanwhile.
        let mut kept = self.old_workers();
        kept.drain(..).for_each(|connection| old_worker_stats::add(&mut connections, connection));
        *kept = connections;
        counts
    }

    /// Opens a connection before the process is asked to finish: afterwards it is unreachable.
    fn keep_cli_open(&self, process: u32) {
        if !self.counting.load(Ordering::Relaxed) {
            return;
        }
        // On failure the requests that it still serves are not counted; the reload goes on.
        if let Ok(connection) = CliConnection::open(&self.socket, process, &*self.clock) {
            old_worker_stats::add(&mut self.old_workers(), connection);
        }
    }
}

impl Proxy for Haproxy {
    fn look(&self, counting: bool) -> Result<ProxySeen> {
        let look = self.socket.look()?;
        let current = self.pids().current;
        let process = look.process;
        if current.is_some_and(|current| current != process) {
            return Err(Error::new(format!(
                "haproxy: the stats socket is owned by process {process}, which plimsoll did not \
                 start"
            )));
        }
        let old_processes = self.count_old();
        let own = look.counts.into_iter();
        let own = own.map(|c| BackendCounts { process, is_current: true, ..c });
        let counts = own.chain(self.old_worker_counts(process, counting)).collect();
        let takes_dynamic_servers = self.takes_dynamic_servers(process);
        let takes_dynamic_cookies = look.takes_cookies;
        let is_stale = self.is_stale() || self.has_new_certificates();
        let certificates = self.certificates().seen();
        let lingering = self.lingering();
        let servers = look.servers;
        let connections = look.connections;
        Ok(ProxySeen {
            servers,
            wakes: look.wakes,
            takes_dynamic_servers,
            takes_dynamic_cookies,
            is_stale,
            old_processes,
            lingering,
            connections,
            counts,
            certificates,
        })
    }

    fn old_connections(&self, to: &[IpAddr]) -> Result<BTreeMap<IpAddr, u64>> {
        let pids = self.old_pids();
        let pids = pids.ok_or_else(|| {
            Error::new(
                "haproxy: its old processes are not visible from here, as in another pid namespace",
            )
        })?;
        proc_net::connections(&pids, to)
    }

    fn is_alive(&self) -> bool {
        self.is_there()
    }

    fn reload(&self, routes: &Routes) -> Result<ActionOutput> {
        self.apply(routes)
    }

    fn update_servers(&self, routes: &Routes) -> Result<ActionOutput> {
        self.update_servers_to(routes)
    }

    fn kill(&self, processes: &[u32]) -> Result<()> {
        self.end_lingering(processes)
    }

    fn set_server_states(&self, servers: &[SetServerState]) -> Result<()> {
        for set in servers {
            let SetServerState { backend, server, admin_state } = set;
            // First: if it fails, the state still differs, and both are tried again.
            self.update_cookies(set)?;
            self.run_command(
                &format!("set server {backend}/{server} state {}", admin_state.word()),
                "",
            )?;
        }
        Ok(())
    }
}
