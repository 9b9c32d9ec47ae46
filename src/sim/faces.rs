//! The world as the daemon sees it: one made-up implementation of each trait.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::model::action::{Effect, Steering};
use crate::model::memory::Memory;
use crate::model::proxy::{ProxySeen, Routes, SeenServer, Server};
use crate::model::replica::{Container, ContainerId, ContainerState, ServerSeen};
use crate::model::schedule::Wall;
use crate::model::service::Service;
use crate::model::time::Moment;
use crate::outside::{Clock, CpuCounter, CpuSource, Engine, Error, Proxy, Result, Store};
use crate::sim::world::{Line, SERVICE, START, Session, State, Unit, World};

impl Clock for World {
    fn now(&self) -> Moment {
        self.state().now
    }

    fn wall(&self) -> Wall {
        Wall(i64::try_from(self.state().now.0 / 1000).unwrap())
    }
}

impl Engine for World {
    fn list(&self) -> Result<Vec<Container>> {
        self.state().call("list", |state| {
            state.docker()?;
            let container = |unit: &Unit| Container {
                id: unit.id.clone(),
                service: SERVICE.to_owned(),
                number: unit.number,
                state: unit.state,
                address: unit.address,
            };
            Ok(state.containers.iter().map(container).collect())
        })
    }

    fn cpu(&self, ids: &[ContainerId]) -> BTreeMap<ContainerId, CpuCounter> {
        let counters = self.state().call("cpu", |state| {
            state.docker()?;
            let read_ns = u64::try_from(state.now.since(START).as_nanos()).unwrap();
            let counter = |used_ns| CpuCounter {
                used_ns,
                read_ns,
                source: CpuSource::Files,
                limit_nano_cpus: 1_000_000_000,
            };
            let units = state.containers.iter().filter(|u| ids.contains(&u.id));
            Ok(units.map(|u| (u.id.clone(), counter(u.used_ns))).collect())
        });
        counters.unwrap_or_default()
    }

    fn start(&self, _: &Service, number: u32) -> Result<()> {
        let mut state = self.state();
        state.call("create", |state| {
            state.docker()?;
            if !state.containers.iter().any(|u| u.number == number) {
                state.make(number);
            }
            Ok(())
        })?;
        let started = state.call("start", |state| {
            state.docker()?;
            let runs = |s: &State| {
                let mut own = s.containers.iter().filter(|u| u.number == number);
                own.any(|u| u.state == ContainerState::Running)
            };
            if !runs(state) {
                state.launch(number);
            }
            Ok(())
        });
        if started.is_err() {
            // What could not be started is removed again; when that fails too, it stays.
            let removed = state.call("remove again", |state| {
                state.docker()?;
                state.containers.retain(|u| u.number != number);
                Ok(())
            });
            removed?;
        }
        started
    }

    fn remove(&self, id: &ContainerId, service: &str, _: u32, _: Duration) -> Result<()> {
        assert_eq!(service, SERVICE);
        let mut state = self.state();
        state.call("stop", |state| {
            state.docker()?;
            state.stop(id);
            Ok(())
        })?;
        state.call("remove", |state| {
            state.docker()?;
            let gone_at = state.now.plus(Duration::from_millis(state.random.between(0, 300)));
            for unit in state.containers.iter_mut().filter(|u| u.id == *id) {
                unit.state = ContainerState::Removing;
                unit.gone_at = Some(gone_at);
            }
            Ok(())
        })
    }
}

impl Proxy for World {
    fn look(&self) -> Result<ProxySeen> {
        let mut state = self.state();
        let seen = state.call("look", |state| {
            let process = state.current.as_ref().ok_or_else(|| Error::new("haproxy is away"))?;
            let sessions = |address: SocketAddr| {
                let own = |s: &&Session| s.process == process.id && s.address == address.ip();
                u64::try_from(state.sessions.iter().filter(own).count()).unwrap()
            };
            let seen = |line: &Line| SeenServer {
                backend: SERVICE.to_owned(),
                name: line.name.clone(),
                seen: ServerSeen {
                    address: line.address,
                    draining: line.draining,
                    sessions: sessions(line.address),
                },
            };
            let servers = process.servers.iter().map(seen).collect();
            let old_processes = u32::try_from(state.old.len()).unwrap();
            Ok(ProxySeen { servers, old_processes })
        });
        state.silent = seen.is_err();
        seen
    }

    fn old_connections(&self, to: &[IpAddr]) -> Result<BTreeMap<IpAddr, u64>> {
        self.state().call("old connections", |state| {
            let old = |id: u32| state.old.iter().any(|p| p.id == id);
            let count = |ip: &IpAddr| {
                let own = state.sessions.iter().filter(|s| old(s.process) && s.address == *ip);
                u64::try_from(own.count()).unwrap()
            };
            Ok(to.iter().map(|ip| (*ip, count(ip))).collect())
        })
    }

    fn is_alive(&self) -> bool {
        self.state().current.is_some()
    }

    /// As the real one: a server that drains keeps doing so across the reload.
    fn reload(&self, routes: &Routes) -> Result<Effect> {
        self.state().call("reload", |state| {
            let mut lines = lines(routes);
            let before = state.serving().len();
            let old = state.current.as_ref().map(|p| p.servers.clone());
            let drains = |name: &str| old.iter().flatten().any(|o| o.name == name && o.draining);
            lines.iter_mut().for_each(|l| l.draining |= drains(&l.name));
            let same = old.as_ref().is_some_and(|old| {
                old.len() == lines.len()
                    && old
                        .iter()
                        .zip(&lines)
                        .all(|(a, b)| (&a.name, a.address) == (&b.name, b.address))
            });
            for line in &lines {
                let entered =
                    !line.draining && !old.iter().flatten().any(|o| o.address == line.address);
                let unready =
                    |u: &&Unit| u.address == Some(line.address.ip()) && state.now < u.ready_at;
                if entered && state.containers.iter().any(|u| unready(&u)) {
                    let what = format!("{} enters before it can serve", line.name);
                    state.note(what);
                    break;
                }
            }
            if let Some(process) = state.current.as_mut().filter(|_| same) {
                process.servers = lines;
                return Ok(Effect::Unchanged);
            }
            state.take_over(lines);
            state.check_floor(before, "reload");
            Ok(Effect::Changed)
        })
    }

    fn steer(&self, servers: &[Steering]) -> Result<()> {
        self.state().call("steer", |state| {
            let before = state.serving().len();
            let process = state.current.as_mut().ok_or_else(|| Error::new("haproxy is away"))?;
            for steering in servers {
                let line = process.servers.iter_mut().find(|l| l.name == steering.server);
                line.ok_or_else(|| Error::new("no such server"))?.draining = steering.draining;
            }
            state.check_floor(before, "steer");
            Ok(())
        })
    }
}

fn lines(routes: &Routes) -> Vec<Line> {
    let servers = routes.backends.iter().flat_map(|b| &b.servers);
    let line = |s: &Server| Line { name: s.name.clone(), address: s.address, draining: s.draining };
    servers.map(line).collect()
}

impl Store for World {
    fn save(&self, memory: &Memory) -> Result<()> {
        let mut state = self.state();
        let saved = state.call("save", |state| {
            state.saved = memory.clone();
            state.saves += 1;
            Ok(())
        });
        state.save_failed = saved.is_err();
        saved
    }
}
