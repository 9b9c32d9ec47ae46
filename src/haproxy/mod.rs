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
use std::sync::{Mutex, PoisonError};

use crate::haproxy::process::Processes;
use crate::haproxy::socket::Socket;
use crate::model::action::{Effect, Steering};
use crate::model::config::ProxyConfig;
use crate::model::proxy::{ProxySeen, Routes};
use crate::outside::{Error, Proxy, Result};

pub(crate) struct Haproxy {
    config: ProxyConfig,
    socket: Socket,
    /// What HAProxy wrote of its servers' states before the last reload.
    state_file: PathBuf,
    pids: Mutex<Pids>,
}

/// Processes of ours.
#[derive(Debug, Default)]
struct Pids {
    /// The one that owns the socket.
    current: Option<u32>,
    /// Told to finish, and still at it.
    old: BTreeSet<u32>,
}

impl Haproxy {
    /// Processes that an earlier run of ours left are found and counted.
    pub(crate) fn new(config: &ProxyConfig) -> Haproxy {
        let haproxy = Haproxy {
            config: config.clone(),
            socket: Socket::new(&config.socket),
            state_file: files::beside(&config.config, "state"),
            pids: Mutex::default(),
        };
        haproxy.take_stock();
        haproxy
    }

    /// Looks through all processes of the host.
    fn take_stock(&self) {
        let all = self.processes().all();
        let current = self.socket.pid().ok().filter(|pid| all.contains(pid));
        let old = all.into_iter().filter(|pid| Some(*pid) != current).collect();
        *self.pids.lock().unwrap_or_else(PoisonError::into_inner) = Pids { current, old };
    }

    fn processes(&self) -> Processes<'_> {
        Processes { config: &self.config }
    }

    fn old_pids(&self) -> BTreeSet<u32> {
        let mut pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner);
        pids.old.retain(|pid| self.processes().is_ours(*pid));
        pids.old.clone()
    }
}

impl Proxy for Haproxy {
    fn look(&self) -> Result<ProxySeen> {
        let servers = self.socket.servers()?;
        let old_processes = u32::try_from(self.old_pids().len()).unwrap_or(u32::MAX);
        Ok(ProxySeen { servers, old_processes })
    }

    fn old_connections(&self, to: &[IpAddr]) -> Result<BTreeMap<IpAddr, u64>> {
        old::connections(&self.old_pids(), to)
    }

    fn is_alive(&self) -> bool {
        let current = self.pids.lock().unwrap_or_else(PoisonError::into_inner).current;
        current.is_some_and(|pid| self.processes().is_ours(pid))
    }

    fn reload(&self, routes: &Routes) -> Result<Effect> {
        let effect = self.bring_to(routes);
        self.take_stock();
        effect
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
