//! The world as the controller sees it: a simulated implementation of each trait.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::model::action::{ActionOutput, HookRun, Removal, SetServerState};
use crate::model::health::HealthKind;
use crate::model::host_cpu::{CpuTimes, HostCpu};
use crate::model::image::ReplicaImage;
use crate::model::memory::Memory;
use crate::model::proxy::{Connections, ProxySeen, Routes, SeenServer, Server};
use crate::model::replica::{
    AdminState, Container, ContainerId, ContainerState, DockerHealth, Ended, Ending, ServerCheck,
    ServerSeen,
};
use crate::model::service::{Origin, Service};
use crate::model::sleep::{Activity, WAKE_SERVER};
use crate::model::swarm::Swarm;
use crate::model::time::{Moment, Wall};
use crate::outside::{
    Activator, Clock, CpuCounter, CpuSource, Engine, Error, HostMemory, ListQuery, Listing, Proxy,
    Result, Store, Usage, UsageRequest,
};
use crate::sim::world::{SimContainer, SimServer, SimWake, World, WorldState};

impl Clock for World {
    fn now(&self) -> Moment {
        self.state().now
    }

    fn wall(&self) -> Wall {
        self.state().wall()
    }
}

/// As Docker's own check shows it, where the service goes by that.
fn docker_health(unit: &SimContainer, state: &WorldState) -> Option<DockerHealth> {
    (state.scenario.service.health.kind == HealthKind::Docker).then(|| {
        let is_well = unit.is_well(state.now);
        if is_well { DockerHealth::Healthy } else { DockerHealth::Starting }
    })
}

fn counter(unit: &SimContainer, now: Moment) -> CpuCounter {
    CpuCounter {
        used_ns: unit.used_ns,
        read_ns: now.0.saturating_mul(1_000_000),
        source: CpuSource::Files,
        limit_nano_cpus: None,
    }
}

impl Engine for World {
    fn list(&self, _: &ListQuery) -> Result<Listing> {
        self.state().call("list", |state| {
            let container = |unit: &SimContainer| Container {
                image: ReplicaImage::default(),
                id: unit.id.clone(),
                name: unit.called.clone(),
                owner: unit.owner,
                service: state.service().to_owned(),
                number: unit.number,
                created: 0,
                spec: Some(unit.spec.clone()).filter(|_| !unit.owner.is_composed()),
                port: None,
                state: unit.state,
                exit: None,
                ended: unit.ended.filter(|_| unit.state == ContainerState::Exited).map(
                    |(by, at)| {
                        let is_new = state.now.since(at) < Duration::from_secs(10);
                        Ended { by, is_fresh: is_new && by == Ending::Stopped }
                    },
                ),
                started: unit.started.map(|at| at.0),
                restarts: 0,
                docker_health: docker_health(unit, state),
                network: "bridge".to_owned(),
                address: unit.address,
            };
            let containers = state.containers.iter().map(container).collect();
            let strangers = state.strangers.clone();
            Ok(Listing { containers, strangers, ..Listing::default() })
        })
    }

    fn logs(&self, _: &ContainerId, _: usize, _: Duration) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn host_memory(&self) -> Option<HostMemory> {
        None
    }

    /// The simulated host has a processor for everybody: it is idle all the time.
    fn host_cpu(&self) -> Option<HostCpu> {
        let ticks = self.state().now.0 / 10;
        Some(HostCpu { times: CpuTimes { idle: ticks, all: ticks, cores: 1 }, pressure: None })
    }

    /// There is one host: what Swarm would run is simulated as run there.
    fn swarm(&self, _: &[&str]) -> Result<Swarm> {
        Err(Error::new("there is no Swarm in here"))
    }

    fn resize(&self, _: &str, _: u32, _: u32) -> Result<ActionOutput> {
        Err(Error::new("there is no Swarm in here"))
    }

    fn usage(&self, of: &[UsageRequest]) -> BTreeMap<ContainerId, Usage> {
        let usages = self.state().call("usage", |state| {
            let usage = |ask: &UsageRequest| {
                let unit = state.containers.iter().find(|u| u.id == ask.id)?;
                let serving = state.serving().len();
                let memory = ask.memory.then(|| state.scenario.demand.memory(serving));
                Some((ask.id.clone(), Usage { cpu: Some(counter(unit, state.now)), memory }))
            };
            Ok(of.iter().filter_map(usage).collect())
        });
        usages.unwrap_or_default()
    }

    fn cpu_counters(&self, of: &[ContainerId]) -> BTreeMap<ContainerId, CpuCounter> {
        let state = self.state();
        let runs = |u: &&SimContainer| u.state == ContainerState::Running && of.contains(&u.id);
        let units = state.containers.iter().filter(runs);
        units.map(|unit| (unit.id.clone(), counter(unit, state.now))).collect()
    }

    fn start(&self, service: &Service, number: u32, most: u32) -> Result<ContainerId> {
        let mut state = self.state();
        let image = service.container.origin.to_string();
        if state.absent_images.contains(&image) {
            state.call("pull", |state| {
                state.absent_images.remove(&image);
                Ok(())
            })?;
        }
        state.call("create", |state| {
            if !state.containers.iter().any(|u| u.number == number) {
                let count = u32::try_from(state.containers.len()).unwrap_or(u32::MAX);
                if most <= count {
                    return Err(Error::new(format!("{count} containers exist, {most} are made")));
                }
                let is_pattern = |u: &SimContainer| u.state == ContainerState::Running;
                let is_composed = matches!(service.container.origin, Origin::Compose { .. });
                if is_composed && !state.containers.iter().any(is_pattern) {
                    return Err(Error::new("no container of compose's runs"));
                }
                state.make(service, number);
            }
            Ok(())
        })?;
        let started = state.call("start", |state| {
            let runs = |s: &WorldState| {
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
                state.containers.retain(|u| u.number != number);
                Ok(())
            });
            removed?;
        }
        started?;
        let unit = state.containers.iter().find(|u| u.number == number);
        unit.map(|u| u.id.clone()).ok_or_else(|| Error::new("it is gone again"))
    }

    /// It takes no time here, and never fails by itself.
    fn run_hook(&self, run: &HookRun) -> Result<ActionOutput> {
        self.state().call("hook", |state| Ok(state.run_hook(run)))
    }

    fn remove(&self, removal: &Removal) -> Result<ActionOutput> {
        let id = &removal.id;
        let service = &removal.service;
        let mut state = self.state();
        if *service != state.service() {
            state.record_violation(format!("a replica of {service} is removed"));
        }
        // As it was when that was decided, or not at all.
        state.check_removal(id);
        let unit = state.containers.iter().find(|u| u.id == *id);
        let is_same = |u: &SimContainer| {
            let is_up = matches!(u.state, ContainerState::Running | ContainerState::Paused);
            let is_paused = u.state == ContainerState::Paused;
            (is_up, is_paused) == (removal.is_up, removal.is_paused)
                && u.started.map(|at| at.0) == removal.started
        };
        match unit {
            Some(unit) if is_same(unit) => (),
            Some(_) => return Ok(ActionOutput::Unchanged),
            None => return Ok(ActionOutput::Changed),
        }
        state.call("stop", |state| {
            state.stop(id);
            Ok(())
        })?;
        state.call("remove", |state| {
            let gone_at =
                state.now.plus(Duration::from_millis(state.scenario.chance.between(0, 300, 100)));
            for unit in state.containers.iter_mut().filter(|u| u.id == *id) {
                unit.state = ContainerState::Removing;
                unit.gone_at = Some(gone_at);
            }
            state.docker_event = true;
            Ok(ActionOutput::Changed)
        })
    }
}

impl Activator for World {
    fn listen(&self, services: &BTreeSet<String>) -> BTreeMap<String, String> {
        let mut state = self.state();
        let is_asked = services.contains(state.service());
        state.waiting.is_listening = is_asked && state.may_sleep() && !state.crashed;
        state.settle_waiting();
        let is_refused = is_asked && !state.scenario.wakes;
        let why = || (state.service().to_owned(), "HAProxy is somebody else's".to_owned());
        is_refused.then(why).into_iter().collect()
    }

    fn look(&self) -> BTreeMap<String, Activity> {
        let mut state = self.state();
        let activity = state.waiting.look();
        activity.map(|activity| (state.service().to_owned(), activity)).into_iter().collect()
    }

    fn forward(&self, _: &str, to: &[SocketAddr]) {
        let mut state = self.state();
        if !state.crashed {
            state.waiting.forward = to.to_vec();
            state.settle_waiting();
        }
    }

    fn refuse(&self, _: &str, _: Option<Duration>) {
        let mut state = self.state();
        if !state.crashed {
            state.refuse_held();
        }
    }
}

impl Proxy for World {
    fn look(&self, counting: bool) -> Result<ProxySeen> {
        let mut state = self.state();
        let seen = state.call("look", |state| {
            let process = state.current.as_ref().ok_or_else(|| Error::new("haproxy is away"))?;
            let mut sessions: BTreeMap<IpAddr, u64> = BTreeMap::new();
            for session in state.sessions.iter().filter(|s| s.process == process.id) {
                *sessions.entry(session.address).or_default() += 1;
            }
            let seen = |line: &SimServer| SeenServer {
                backend: state.service().to_owned(),
                name: line.name.clone(),
                seen: ServerSeen {
                    address: line.address,
                    admin_state: line.admin_state,
                    is_checked: line.checked_at <= state.now,
                    sessions: sessions.get(&line.address.ip()).copied().unwrap_or(0),
                    check: ServerCheck::default(),
                },
            };
            let servers = process.servers.iter().map(seen).collect();
            let wake = process.wake.map(|wake| (state.service().to_owned(), wake.admin_state));
            let wakes = wake.into_iter().collect();
            let old_processes = u32::try_from(state.old.len()).unwrap_or(u32::MAX);
            let earlier = state.old.iter().filter(|_| counting);
            let all = earlier.map(|p| (p, false)).chain([(process, true)]);
            let counts = all.map(|(p, is_current)| state.counts(p, is_current)).collect();
            let takes_dynamic_servers = state.takes_dynamic_servers;
            let is_stale = false;
            let lingering = Vec::new();
            let connections = Connections::default();
            Ok(ProxySeen {
                servers,
                wakes,
                takes_dynamic_servers,
                takes_dynamic_cookies: takes_dynamic_servers,
                is_stale,
                old_processes,
                lingering,
                connections,
                counts,
                certificates: Vec::new(),
            })
        });
        state.silent = seen.is_err();
        seen
    }

    fn old_connections(&self, to: &[IpAddr]) -> Result<BTreeMap<IpAddr, u64>> {
        self.state().call("old connections", |state| {
            let old = |id: u32| state.old.iter().any(|p| p.id == id);
            let count = |ip: &IpAddr| {
                let own = state.sessions.iter().filter(|s| old(s.process) && s.address == *ip);
                u64::try_from(own.count()).unwrap_or(u64::MAX)
            };
            let mut counts = BTreeMap::new();
            counts.extend(to.iter().map(|ip| (*ip, count(ip))));
            Ok(counts)
        })
    }

    fn is_alive(&self) -> bool {
        self.state().current.is_some()
    }

    /// As the real one: a server's state holds across the reload.
    fn reload(&self, routes: &Routes) -> Result<ActionOutput> {
        self.state().call("reload", |state| {
            let mut lines = lines(routes, state.now);
            let before = state.trusted();
            let old = state.current.as_ref().map(|p| p.servers.clone());
            let wake_before = state.current.as_ref().and_then(|p| p.wake);
            let wake = wake(routes, wake_before);
            let kept = |line: &SimServer| {
                let before = old.iter().flatten().find(|o| o.name == line.name);
                before.map_or(line.admin_state, |before| before.admin_state)
            };
            let mut is_in_service = true;
            for line in lines.iter_mut().filter(|l| l.admin_state == AdminState::Ready) {
                line.admin_state = kept(line);
                is_in_service &= line.admin_state == AdminState::Ready;
            }
            // No drain begins before its replacements serve.
            for line in lines.iter_mut().filter(|_| !is_in_service) {
                line.admin_state = kept(line);
            }
            let same = old.as_ref().is_some_and(|old| {
                wake == wake_before
                    && old.len() == lines.len()
                    && old
                        .iter()
                        .zip(&lines)
                        .all(|(a, b)| (&a.name, a.address) == (&b.name, b.address))
            });
            state.check_entry(&lines);
            if let Some(process) = state.current.as_mut().filter(|_| same) {
                process.servers = lines;
                return Ok(ActionOutput::Unchanged);
            }
            state.take_over(lines, wake);
            // An earlier process hands what waits in it to the activator, one after another.
            state.take_queue();
            state.settle_waiting();
            state.check_floor(before, "reload");
            Ok(ActionOutput::Changed)
        })
    }

    /// As the real one: a new server drains, and one with a client on it stays, out of use.
    fn update_servers(&self, routes: &Routes) -> Result<ActionOutput> {
        self.state().call("update servers", |state| {
            let before = state.trusted();
            let desired = lines(routes, state.now);
            state.check_entry(&desired);
            let mut now = state.current.as_ref().map(|p| p.servers.clone());
            let shown = now.as_mut().ok_or_else(|| Error::new("haproxy is away"))?;
            let is = |a: &SimServer, b: &SimServer| (&a.name, a.address) == (&b.name, b.address);
            for stranger in shown.iter_mut().filter(|s| !desired.iter().any(|w| is(w, s))) {
                stranger.admin_state = AdminState::Maint;
            }
            let sessions = &state.sessions;
            let chance = &mut state.scenario.chance;
            let names: Vec<_> = shown.iter().map(|l| (l.name.clone(), l.address)).collect();
            shown.retain(|l| {
                // The address may be another's by now, and the sessions with it.
                let is_other = |(name, at): &(String, _)| *name != l.name && *at == l.address;
                let is_held = sessions.iter().any(|s| s.address == l.address.ip());
                let is_held = is_held && !names.iter().any(is_other);
                l.admin_state != AdminState::Maint || is_held || chance.one_in(4, false)
            });
            for new in desired {
                if shown.iter().any(|s| is(s, &new)) {
                    continue;
                }
                if shown.iter().any(|s| s.name == new.name) {
                    return Err(Error::new("a server of the name is there"));
                }
                let look = Duration::from_millis(chance.between(10, 1_000, 500));
                let checked_at = state.now.plus(look);
                shown.push(SimServer { admin_state: AdminState::Drain, checked_at, ..new });
            }
            let shown = std::mem::take(shown);
            state.current.iter_mut().for_each(|p| p.servers = shown.clone());
            state.check_floor(before, "update servers");
            Ok(ActionOutput::Changed)
        })
    }

    fn kill(&self, _: &[u32]) -> Result<()> {
        Ok(())
    }

    fn set_server_states(&self, servers: &[SetServerState]) -> Result<()> {
        self.state().call("set server states", |state| {
            let before = state.trusted();
            let process = state.current.as_mut().ok_or_else(|| Error::new("haproxy is away"))?;
            let mut early = Vec::new();
            let mut takes_queue = false;
            for steering in servers {
                if steering.server == WAKE_SERVER {
                    let wake = process.wake.as_mut().ok_or_else(|| Error::new("no such server"))?;
                    wake.admin_state = steering.admin_state;
                    continue;
                }
                let line = process.servers.iter_mut().find(|l| l.name == steering.server);
                let line = line.ok_or_else(|| Error::new("no such server"))?;
                let is_early =
                    steering.admin_state == AdminState::Ready && state.now < line.checked_at;
                early.extend(is_early.then(|| line.name.clone()));
                takes_queue |= (line.admin_state, steering.admin_state)
                    == (AdminState::Maint, AdminState::Ready);
                line.admin_state = steering.admin_state;
            }
            for name in early {
                state.record_violation(format!("{name} gets requests before HAProxy looked at it"));
            }
            if takes_queue {
                state.take_queue();
            }
            state.settle_waiting();
            state.check_floor(before, "set server states");
            Ok(())
        })
    }
}

/// `now`: HAProxy takes a server of its file for looked at.
fn lines(routes: &Routes, now: Moment) -> Vec<SimServer> {
    let servers = routes.backends.iter().flat_map(|b| &b.servers);
    let line = |s: &Server| SimServer {
        name: s.name.clone(),
        address: s.address,
        admin_state: s.admin_state(),
        checked_at: now,
    };
    servers.map(line).collect()
}

/// Ready at a fresh start; its state holds across a reload.
fn wake(routes: &Routes, before: Option<SimWake>) -> Option<SimWake> {
    let backend = routes.backends.iter().find(|backend| backend.wake.is_some())?;
    Some(SimWake {
        admin_state: before.map_or(AdminState::Ready, |before| before.admin_state),
        queue_timeout: backend.policy.timeouts.queue(),
    })
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
