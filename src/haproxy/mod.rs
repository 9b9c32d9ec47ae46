//! `outside::Proxy` by an HAProxy that we start and own.

mod files;
mod old;
mod process;
mod reload;
mod render;
mod socket;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::haproxy::process::Processes;
use crate::haproxy::socket::Socket;
use crate::model::action::{Effect, Steering};
use crate::model::config::ProxyConfig;
use crate::model::proxy::{ProxySeen, Routes};
use crate::outside::{Clock, Error, Proxy, Result};

pub(crate) struct Haproxy {
    config: ProxyConfig,
    clock: Arc<dyn Clock>,
    socket: Socket,
    /// What HAProxy wrote of its servers' states before the last reload.
    state_file: PathBuf,
    /// Root starts HAProxy, which then goes on as its own account.
    drops_root: bool,
    pids: Mutex<Pids>,
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
    pub(crate) fn new(config: &ProxyConfig, clock: Arc<dyn Clock>) -> Haproxy {
        Haproxy {
            config: config.clone(),
            clock,
            socket: Socket::new(&config.socket),
            state_file: files::beside(&config.config, "state"),
            drops_root: process::is_root() && process::has_account(render::ACCOUNT),
            pids: Mutex::default(),
        }
    }

    fn processes(&self) -> Processes<'_> {
        Processes { config: &self.config, clock: &*self.clock }
    }

    fn pids(&self) -> MutexGuard<'_, Pids> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_pids(&self, current: u32, told: Option<&[u32]>) {
        let mut pids = self.pids();
        pids.current = Some(current);
        pids.told.extend(told.into_iter().flatten());
    }

    fn old_pids(&self) -> BTreeSet<u32> {
        let mut pids = self.pids();
        pids.told.retain(|pid| self.processes().is_ours(*pid));
        pids.told.clone()
    }

    /// Processes that serve beside the current one and were never told to finish: a daemon that
    /// was killed while it started one leaves such. They know nothing of what drains.
    fn strays(&self, current: u32) -> Vec<u32> {
        let told = self.old_pids();
        let all = self.processes().all().into_iter();
        all.filter(|pid| *pid != current && !told.contains(pid)).collect()
    }
}

impl Proxy for Haproxy {
    fn look(&self) -> Result<ProxySeen> {
        let (pid, current) = (self.socket.pid()?, self.pids().current);
        if current.is_some_and(|current| current != pid) {
            return Err(Error::new(format!("haproxy: process {pid} serves, which is not ours")));
        }
        let servers = self.socket.servers()?;
        let old_processes = u32::try_from(self.old_pids().len()).unwrap_or(u32::MAX);
        Ok(ProxySeen { servers, old_processes })
    }

    fn old_connections(&self, to: &[IpAddr]) -> Result<BTreeMap<IpAddr, u64>> {
        old::connections(&self.old_pids(), to)
    }

    fn is_alive(&self) -> bool {
        let current = self.pids().current;
        current.is_some_and(|pid| self.processes().is_ours(pid))
    }

    fn reload(&self, routes: &Routes) -> Result<Effect> {
        self.bring_to(routes)
    }

    fn steer(&self, servers: &[Steering]) -> Result<()> {
        for server in servers {
            let state = if server.draining { "drain" } else { "ready" };
            let command = format!("set server {}/{} state {state}", server.backend, server.server);
            let answer = self.socket.ask(&command)?;
            if !answer.trim().is_empty() {
                return Err(Error::new(format!("haproxy: `{command}`: {}", answer.trim())));
            }
        }
        Ok(())
    }
}
