//! The world to snapshots. Reads only.

pub(crate) mod health;
mod host_cpu;
pub(crate) mod metric;
mod swarm;
mod unique;

pub(crate) use crate::observe::unique::known;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::model::action::Claim;
use crate::model::config::{Config, ProxyMode};
use crate::model::forecast::ServiceForecast;
use crate::model::hooks::Hooks;
use crate::model::image::RegistryObservation;
use crate::model::memory::Memory;
use crate::model::metric::Reading;
use crate::model::preemption::PreemptionLimits;
use crate::model::proxy::{ProxyMemory, ProxySeen, ServiceTraffic};
use crate::model::replica::{Container, ContainerId, ContainerState, Health, Load, Replica};
use crate::model::service::{Origin, Platform, Service, ServiceName};
use crate::model::sleep::{Activity, SleepObservation};
use crate::model::snapshot::{EngineSeen, ProxyObservation, Snapshot};
use crate::model::stranger::Stranger;
use crate::model::swarm::SwarmNode;
use crate::model::time::{Moment, Wall};
use crate::observe::health::ProbeTarget;
use crate::observe::health::probe_results::{ProbeResults, ReplicaRun, probed_health};
use crate::observe::metric::{EarlyEvaluation, Loads, RemoteMetrics, Sampler};
use crate::observe::swarm::SwarmCache;
use crate::outside::{Clock, Engine, Listing, Proxy, Result};

/// What is known before anything is asked.
pub(crate) struct ObserveInput<'a> {
    pub(crate) now: Moment,
    pub(crate) wall: Wall,
    pub(crate) due: bool,
    pub(crate) early: &'a EarlyEvaluation,
    pub(crate) config: &'a Config,
    /// Services that labels name and do not configure now.
    pub(crate) unconfigured: &'a BTreeSet<String>,
    pub(crate) memory: &'a Memory,
    /// What HAProxy was last brought to, and when.
    pub(crate) proxied: &'a ProxyMemory,
    pub(crate) claims: &'a BTreeSet<Claim>,
    pub(crate) probed: &'a ProbeResults,
    pub(crate) remote_metrics: &'a RemoteMetrics,
    /// By image, what its registry answered last.
    pub(crate) registries: &'a BTreeMap<String, RegistryObservation>,
    /// By service, those that are forecast.
    pub(crate) forecasts: &'a BTreeMap<String, Arc<ServiceForecast>>,
    /// By service: starts that failed since the last tick.
    pub(crate) failed_starts: &'a BTreeMap<String, u32>,
}

impl ObserveInput<'_> {
    /// Whether load may change the number of this service.
    fn evaluates(&self, service: &str) -> bool {
        self.due || self.early.services.contains(service)
    }
}

/// Everything that was seen at one moment.
pub(crate) struct Observation {
    pub(crate) snapshots: Vec<Snapshot>,
    /// Of services that left the config and are to be removed.
    pub(crate) leaving: Vec<Snapshot>,
    /// False until the engine gave a first list: nothing is known of any service before.
    pub(crate) ever_listed: bool,
    /// `None` when HAProxy does not answer.
    pub(crate) proxy: Option<ProxySeen>,
    /// By service, what HAProxy does for it.
    pub(crate) traffic: BTreeMap<String, ServiceTraffic>,
    /// Why the engine gave no list.
    pub(crate) engine_error: Option<String>,
    /// Services of containers that carry our label and that the config does not know.
    pub(crate) orphans: BTreeSet<String>,
    /// `None`: the engine gave no list.
    pub(crate) strangers: Option<Vec<Stranger>>,
    /// How long until more may be known of single containers.
    pub(crate) wait: Option<Duration>,
    /// Where containers of those services run.
    pub(crate) orphaned: BTreeSet<IpAddr>,
    /// Every replica that runs and has an address.
    pub(crate) targets: Vec<ProbeTarget>,
    /// Of the Swarm, where one is looked at.
    pub(crate) nodes: Vec<SwarmNode>,
}

/// The last observation, for a tick that gets no answer.
#[derive(Debug, Default)]
pub(crate) struct LastKnown {
    /// `None` when there was never a list.
    containers: Option<Vec<Container>>,
    /// Services of containers of which it is not known yet whose they are.
    unsettled: BTreeSet<String>,
    proxy: Option<ProxySeen>,
    swarm: SwarmCache,
}

/// What HAProxy and the engine answered first.
pub(crate) struct Answers {
    /// What the daemon holds for services that sleep, by service.
    pub(crate) activity: BTreeMap<String, Activity>,
    /// What HAProxy shows, or why it does not.
    pub(crate) proxy: (Option<ProxySeen>, String),
    pub(crate) listing: Result<Listing>,
}

/// `last` is kept up to date here.
pub(crate) fn look(
    known: &ObserveInput,
    answers: Answers,
    (engine, proxy): (&dyn Engine, &dyn Proxy),
    (sampler, last): (&mut Sampler, &mut LastKnown),
) -> Observation {
    let (seen, proxy_error) = answers.proxy;
    sampler.count(known.now, seen.as_ref());
    // One answer that did not come does not make HAProxy's servers unknown.
    last.proxy = seen.clone().or(last.proxy.take());
    let listed = take_list(known, answers.listing, engine, last);
    let effective = if listed.error.is_some() { EngineSeen::Lost } else { EngineSeen::Answers };
    let containers = last.containers.as_deref().unwrap_or_default();
    let is_ours = |c: &&Container| known.config.service_of(c).is_some();
    let (ours, others): (Vec<_>, Vec<_>) = containers.iter().partition(is_ours);
    let mut loads = BTreeMap::new();
    if effective == EngineSeen::Answers {
        if known.due {
            let ready = ready(known, last.proxy.as_ref(), &ours);
            loads = sampler.loads(engine, &ours, |id| ready.contains(id), known.config);
            let reserve = known.config.cpu_reserve;
            let interval = known.config.check_interval;
            sampler.processor.look(known.now, interval, reserve, || engine.host_cpu());
        }
        loads.extend(metric::early_loads(engine, &ours, known.early, known.config));
    }
    let old = old_connections(known.memory, seen.as_ref(), proxy, containers);
    let view = View {
        known,
        activity: &answers.activity,
        engine: effective,
        effective: proxy_standing(known, seen.as_ref()),
        proxy: last.proxy.as_ref(),
        swarm: &last.swarm,
        unsettled: &last.unsettled,
        loads: &loads,
        old: &old,
        free_memory: free_memory(engine, known.config),
        sampler,
        counts: seen.as_ref().ok_or(&proxy_error),
    };
    let ever_listed = last.containers.is_some();
    let services = known.config.services.values().filter(|_| ever_listed);
    let snapshots = services.map(|s| view.snapshot(s, &ours)).collect();
    let orphans: BTreeSet<String> = others.iter().map(|c| c.service.clone()).collect();
    let runs = |c: &&&Container| c.state == ContainerState::Running;
    let orphaned = others.iter().filter(runs).filter_map(|c| c.address).collect();
    let leaving = gone(known, &orphans).map(|s| view.snapshot(&Arc::new(s), &others)).collect();
    if known.due && seen.is_some() {
        sampler.mark(known.now, known.config.check_interval);
    }
    let names = known.config.services.keys().map(ServiceName::as_str);
    let traffic = |name: &str| Some((name.to_owned(), sampler.traffic(name, seen.as_ref()?)?));
    let traffic = names.filter_map(traffic).collect();
    let targets = targets(known.config, containers, last.proxy.as_ref(), known.memory);
    let nodes = last.swarm.nodes.clone();
    Observation {
        snapshots,
        leaving,
        ever_listed,
        traffic,
        proxy: seen,
        engine_error: listed.error,
        orphans,
        orphaned,
        strangers: listed.strangers,
        wait: listed.wait,
        targets,
        nodes,
    }
}

/// The engine's answer, without its containers.
#[derive(Default)]
struct ListAnswer {
    error: Option<String>,
    strangers: Option<Vec<Stranger>>,
    wait: Option<Duration>,
}

fn take_list(
    known: &ObserveInput,
    listing: Result<Listing>,
    engine: &dyn Engine,
    last: &mut LastKnown,
) -> ListAnswer {
    match listing {
        Ok(listing) => {
            let ids = unique::known(known.memory);
            let Listing { containers, strangers, unsettled, wait, .. } =
                unique::settle(listing, &ids);
            last.containers = Some(containers);
            last.unsettled = unsettled;
            last.swarm.renew(known.config, known.due, engine);
            ListAnswer { error: None, strangers: Some(strangers), wait }
        }
        Err(err) => ListAnswer { error: Some(err.to_string()), ..ListAnswer::default() },
    }
}

/// What HAProxy shows, or why it does not.
pub(crate) fn look_at(proxy: &dyn Proxy, config: &Config) -> (Option<ProxySeen>, String) {
    if config.fixed.proxy.mode == ProxyMode::None {
        return (None, "load_balancer.mode is none".to_owned());
    }
    match proxy.look(metric::counts_requests(config)) {
        Ok(seen) => (Some(seen), String::new()),
        Err(err) => (None, err.to_string()),
    }
}

/// Services that left the config and whose replicas are to go.
fn gone(known: &ObserveInput, orphans: &BTreeSet<String>) -> impl Iterator<Item = Service> {
    // Whom this daemon never ran may be another daemon's.
    let is_known = |name: &&String| known.memory.services.contains_key(*name);
    let is_nobodys = |name: &&String| !known.unconfigured.contains(*name);
    let removed = orphans.iter().filter(is_known).filter(|_| known.config.remove_orphans);
    let removed = removed.filter(is_nobodys);
    let names = removed.filter_map(|name| ServiceName::new(name));
    // Of a name that stands for a service of Swarm's now there is one number only.
    names.filter(|name| !known.config.services.contains_key(name)).map(Service::gone)
}

/// Lines of a container that ended, and how long all of them may take together.
const LAST_LINES: usize = 20;
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What each of these replicas wrote last. Read before anything is done to them, because it goes
/// with the container; the read has a short timeout.
pub(crate) fn last_words(
    clock: &dyn Clock,
    engine: &dyn Engine,
    of: Vec<(String, u32, ContainerId)>,
) -> BTreeMap<(String, u32), Vec<String>> {
    let until = clock.now().plus(LAST_WORDS);
    let words = |(service, number, id): (String, u32, ContainerId)| {
        let left = Some(until.since(clock.now())).filter(|left| !left.is_zero())?;
        Some(((service, number), engine.logs(&id, LAST_LINES, left).ok()?))
    };
    of.into_iter().filter_map(words).collect()
}

/// Whom a health check can ask.
pub(crate) fn targets(
    config: &Config,
    containers: &[Container],
    proxy: Option<&ProxySeen>,
    memory: &Memory,
) -> Vec<ProbeTarget> {
    let target = |container: &Container| {
        let service = config.service_of(container)?;
        let address = container.socket(service);
        let address = address.filter(|_| container.state == ContainerState::Running)?;
        let name = service.replica_name(container.number);
        let server = proxy.and_then(|p| p.server(service.name.as_str(), &name));
        let is_proven = !is_unproven(memory, service, container);
        let is_served = is_proven && server.is_some_and(|server| server.address == address);
        let own = memory.services.get(service.name.as_str());
        Some(ProbeTarget {
            id: container.id.clone(),
            number: container.number,
            run: ReplicaRun { address, started: container.started },
            service: service.clone(),
            docker_health: container.docker_health.clone(),
            is_awaited: is_awaited(memory, service),
            is_served,
            after_ready: hooks(memory, service, container)
                .after_ready()
                .filter(|_| !config.dry_run),
            was_ready: was_ready(memory, container).unwrap_or(is_served),
            is_leaving: own.is_some_and(|own| own.drains.contains_key(&container.id)),
        })
    };
    containers.iter().filter_map(target).collect()
}

fn is_awaited(memory: &Memory, service: &Service) -> bool {
    let memory = memory.services.get(service.name.as_str());
    memory.is_some_and(|memory| memory.sleep.waking().is_some())
}

fn hooks<'a>(memory: &'a Memory, service: &'a Service, container: &Container) -> &'a Hooks {
    let own = memory.services.get(service.name.as_str());
    own.map_or(&service.hooks, |own| own.rollout.hooks(service, container.spec.as_deref()))
}

/// Whether it was ready in this run of the container. `None`: the service was never observed.
fn was_ready(memory: &Memory, container: &Container) -> Option<bool> {
    let service = memory.services.get(&container.service)?;
    let Some(known) = service.known.get(&container.id) else {
        return (!service.known.is_empty()).then_some(false);
    };
    let is_other = known.run.zip(container.started).is_some_and(|(before, now)| before != now);
    Some(!known.is_unready && !is_other)
}

/// It was started anew since it passed its health check, or its hook `after_ready` is due.
fn is_unproven(memory: &Memory, service: &Service, container: &Container) -> bool {
    let has_hook = !hooks(memory, service, container).after_ready.is_empty();
    if has_hook && was_ready(memory, container) == Some(false) {
        return true;
    }
    let service = memory.services.get(&container.service);
    let known = service.and_then(|service| service.known.get(&container.id));
    let runs = known.and_then(|known| known.proven).zip(container.started);
    runs.is_some_and(|(proven, now)| proven != now)
}

/// A pause that is longer than this is one that somebody meant.
const PAUSE_MEANT: Duration = Duration::from_secs(3);

/// Memory that is free above the reserve; read only where a service's replicas have a memory limit.
fn free_memory(engine: &dyn Engine, config: &Config) -> Option<u64> {
    let is_limited = config.services.values().any(|s| s.container.memory.is_some());
    let host = is_limited.then(|| engine.host_memory()).flatten()?;
    let reserve = u128::from(host.total) * u128::from(config.memory_reserve.hundredths()) / 100_00;
    Some(host.available.saturating_sub(u64::try_from(reserve).unwrap_or(u64::MAX)))
}

/// Those who passed their probe, or whom HAProxy serves.
fn ready(
    known: &ObserveInput,
    proxy: Option<&ProxySeen>,
    containers: &[&Container],
) -> BTreeSet<ContainerId> {
    let ready = |c: &&&Container| {
        let Some(service) = known.config.service_of(c) else { return false };
        let address = c.socket(service);
        let server =
            proxy.and_then(|p| p.server(c.service.as_str(), &service.replica_name(c.number)));
        let is_served = server.is_some_and(|server| Some(server.address) == address)
            && !is_unproven(known.memory, service, c);
        is_served || probed_health(known.probed, &c.id, address, c.started) == Some(Health::Healthy)
    };
    containers.iter().filter(ready).map(|c| c.id.clone()).collect()
}

fn proxy_standing(known: &ObserveInput, seen: Option<&ProxySeen>) -> ProxyObservation {
    if known.config.fixed.proxy.mode == ProxyMode::None {
        return ProxyObservation::Absent;
    }
    let Some(seen) = seen else { return ProxyObservation::Silent };
    let is_ours =
        known.proxied.applied.as_ref().is_some_and(|routes| match &known.proxied.failure {
            Some(failure) => routes.without(&failure.left_out).agree(seen.in_use()),
            None => routes.agree(seen.in_use()),
        });
    if is_ours && !known.claims.contains(&Claim::Proxy) {
        let reloaded_at = known.proxied.reloaded_at.unwrap_or(known.now);
        ProxyObservation::Settled { old: seen.old_processes, reloaded_at }
    } else {
        ProxyObservation::Changing
    }
}

/// Asked only while a replica drains and old processes exist that could reach it.
fn old_connections(
    memory: &Memory,
    seen: Option<&ProxySeen>,
    proxy: &dyn Proxy,
    containers: &[Container],
) -> BTreeMap<IpAddr, u64> {
    if seen.is_none_or(|s| s.old_processes == 0) {
        return BTreeMap::new();
    }
    let drains = |c: &&Container| {
        memory.services.get(&c.service).is_some_and(|m| m.drains.contains_key(&c.id))
    };
    let to: Vec<IpAddr> = containers.iter().filter(drains).filter_map(|c| c.address).collect();
    if to.is_empty() { BTreeMap::new() } else { proxy.old_connections(&to).unwrap_or_default() }
}

struct View<'a> {
    known: &'a ObserveInput<'a>,
    activity: &'a BTreeMap<String, Activity>,
    engine: EngineSeen,
    /// As it showed itself last.
    proxy: Option<&'a ProxySeen>,
    effective: ProxyObservation,
    swarm: &'a SwarmCache,
    unsettled: &'a BTreeSet<String>,
    loads: &'a BTreeMap<ContainerId, Loads>,
    old: &'a BTreeMap<IpAddr, u64>,
    /// Bytes.
    free_memory: Option<u64>,
    sampler: &'a Sampler,
    /// What HAProxy shows, or why it does not answer.
    counts: std::result::Result<&'a ProxySeen, &'a str>,
}

impl View<'_> {
    fn snapshot(&self, service: &Arc<Service>, containers: &[&Container]) -> Snapshot {
        match &service.runs {
            Platform::Docker => self.of_containers(service, containers),
            Platform::Swarm(name) => self.of_tasks(service, name),
        }
    }

    /// Swarm manages its tasks: plimsoll starts nothing and measures nothing of theirs.
    fn of_tasks(&self, service: &Arc<Service>, name: &str) -> Snapshot {
        let busy = Claim::SwarmCount(service.name.as_str().to_owned());
        let busy = self.known.claims.contains(&busy);
        let proxy = (self.proxy, self.effective == ProxyObservation::Absent);
        let swarm = self.swarm.effective(service, name, busy, proxy);
        let mut plain = self.of_containers(service, &[]);
        if !self.swarm.tells(name) {
            if plain.engine == EngineSeen::Answers {
                plain.engine = EngineSeen::Untold;
            }
        } else if swarm.address.is_none() {
            swarm::without_server(service, &mut plain.readings);
        }
        Snapshot { replicas: self.swarm.replicas(name), swarm: Some(swarm), ..plain }
    }

    fn of_containers(&self, service: &Arc<Service>, containers: &[&Container]) -> Snapshot {
        let name = service.name.as_str();
        let own = containers.iter().filter(|c| c.service == name);
        let mut replicas: Vec<Replica> = own.map(|c| self.replica(service, c)).collect();
        replicas.sort_by_key(|r| r.number);
        let started = |claim: &Claim| match claim {
            Claim::Start { service, number } if service == name => Some(*number),
            Claim::Start { .. }
            | Claim::Container(_)
            | Claim::Hook(_)
            | Claim::SwarmCount(_)
            | Claim::Proxy => None,
        };
        let mut starting: Vec<u32> = self.known.claims.iter().filter_map(started).collect();
        // A container that was just started is listed at the next tick.
        let memory = self.known.memory.services.get(name);
        let unseen = memory.into_iter().flat_map(|memory| &memory.started);
        let unseen = unseen.filter(|(_, started)| !replicas.iter().any(|r| r.id == started.id));
        starting.extend(unseen.map(|(number, _)| *number));
        starting.sort_unstable();
        starting.dedup();
        let is_untold = self.unsettled.contains(name) && self.engine == EngineSeen::Answers;
        Snapshot {
            now: self.known.now,
            wall: self.known.wall,
            due: self.known.evaluates(name),
            service: service.clone(),
            replicas,
            readings: self.readings(service),
            forecast: self
                .known
                .forecasts
                .get(name)
                .filter(|_| self.known.evaluates(name))
                .cloned(),
            starting,
            failed_starts: self.known.failed_starts.get(name).copied().unwrap_or(0),
            free_memory: self.free_memory,
            processor: self.sampler.processor.observation(),
            preemption: PreemptionLimits::default(),
            engine: if is_untold { EngineSeen::Untold } else { self.engine },
            proxy: self.effective,
            sleep: self.sleep(service),
            registry: self.registry(service),
            swarm: None,
        }
    }

    fn registry(&self, service: &Service) -> RegistryObservation {
        match (&service.image_updates, &service.container.origin) {
            (Some(_), Origin::Image(image)) => self.known.registries.get(image),
            (Some(_) | None, _) => None,
        }
        .cloned()
        .unwrap_or_default()
    }

    /// Of an HAProxy that takes no servers while it runs, what waits would have to wait for a
    /// reload, and longer than that.
    fn sleep(&self, service: &Service) -> Option<SleepObservation> {
        let name = service.name.as_str();
        let activity = self.activity.get(name).filter(|activity| activity.is_listening)?;
        if !service.may_sleep() || self.proxy.is_some_and(|proxy| !proxy.takes_dynamic_servers) {
            return None;
        }
        let own = |seen: &&ProxySeen| {
            let counts = seen.counts.iter().filter(|counts| counts.backend == name);
            counts.map(|counts| counts.queue).sum()
        };
        Some(SleepObservation {
            idle: self.counts.ok().and_then(|_| self.sampler.idle(self.known.now, name)),
            held: activity.held,
            held_since: activity.held_since,
            queue: self.counts.ok().as_ref().map_or(0, own),
            copies: activity.copies.values().sum(),
            answered: activity.answered.clone(),
        })
    }

    fn copies(&self, service: &Service, address: Option<SocketAddr>) -> u32 {
        let activity = self.activity.get(service.name.as_str());
        let copies = activity.zip(address).and_then(|(of, address)| of.copies.get(&address));
        copies.copied().unwrap_or(0)
    }

    fn is_held(&self, container: &Container) -> bool {
        let memory = self.known.memory.services.get(&container.service);
        let known = memory.and_then(|memory| memory.known.get(&container.id));
        let since = known.and_then(|known| known.paused);
        container.state == ContainerState::Paused
            && since.is_none_or(|since| self.known.now.since(since) < PAUSE_MEANT)
    }

    fn readings(&self, service: &Service) -> Vec<Reading> {
        if !self.known.evaluates(service.name.as_str()) {
            return vec![Reading::Pending; service.metrics.len()];
        }
        let time = (self.known.now, self.known.config.check_interval);
        self.sampler.readings(time, service, self.known.remote_metrics, self.counts)
    }

    fn replica(&self, service: &Service, container: &Container) -> Replica {
        let running = container.state == ContainerState::Running;
        let name = service.replica_name(container.number);
        let server = self.proxy.and_then(|p| p.server(service.name.as_str(), &name));
        let old = container.address.and_then(|a| self.old.get(&a)).copied();
        let loads = self.loads.get(&container.id).copied().filter(|_| running);
        let address = container.socket(service);
        let health = probed_health(self.known.probed, &container.id, address, container.started);
        let health = health.filter(|_| running);
        Replica {
            id: container.id.clone(),
            name: container.name.clone(),
            owner: container.owner,
            number: container.number,
            spec: container.spec.clone(),
            image: container.image.clone(),
            state: container.state,
            exit: container.exit,
            ended: container.ended,
            started: container.started,
            restarts: container.restarts,
            network: container.network.clone(),
            address,
            health: health.unwrap_or(Health::Unknown),
            load: loads.map_or(Load::Missing, |l| l.cpu),
            memory: loads.map_or(Load::Missing, |l| l.memory),
            usage: self.sampler.usage(&container.id),
            server,
            old_connections: old,
            copies: self.copies(service, address),
            busy: self.known.claims.contains(&Claim::Container(container.id.clone())),
            is_held: self.is_held(container),
            is_unproven: is_unproven(self.known.memory, service, container),
            unchecked_s: container.unchecked_s(service),
        }
    }
}
