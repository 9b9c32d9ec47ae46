//! `outside::Engine` by Docker's Engine API over its Unix socket.

mod cgroup;
mod client;
mod clone;
mod compose;
mod details;
pub(crate) mod events;
mod logs;
mod meter;
mod pull;
mod survey;
mod swarm;
mod transport;
mod vessel;
mod wire;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::docker::client::{Answer, Call, Client, Method};
use crate::docker::details::Details;
use crate::docker::meter::Meters;
use crate::docker::wire::{Created, Info, Inspected, Listed};
use crate::model::action::Effect;
use crate::model::config::DockerConfig;
use crate::model::counted::Counted;
use crate::model::replica::{Container, ContainerId};
use crate::model::service::{Adopted, Service, replica_name};
use crate::model::swarm::Swarm;
use crate::model::url;
use crate::outside::{Ask, Clock, Engine, Error, HostMemory, Result, Tally, Usage};

pub(crate) const LABEL_SERVICE: &str = "io.plimsoll.service";
pub(crate) const LABEL_REPLICA: &str = "io.plimsoll.replica";
pub(crate) const LABEL_SPEC: &str = "io.plimsoll.spec";
pub(crate) const LABEL_PORT: &str = "io.plimsoll.port";

/// A look that takes longer than this holds up a whole turn: then Docker counts as lost.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a container's log that are read at most; lines of a megabyte are no lines.
const LOGS_MAX: u64 = 256 << 10;

pub(crate) struct Docker {
    client: Client,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    meters: Mutex<Meters>,
    details: Mutex<Details>,
    tally: Option<Tally>,
    /// What the last list was asked for.
    adopted: Mutex<Vec<Adopted>>,
    /// Which node of a Swarm this is, as far as that was asked.
    node: Mutex<Option<String>>,
}

impl Docker {
    pub(crate) fn new(config: &DockerConfig, clock: Arc<dyn Clock>) -> Docker {
        Docker {
            client: Client::new(&config.socket),
            timeout: config.timeout,
            meters: Mutex::new(Meters::new(clock.clone())),
            details: Mutex::default(),
            adopted: Mutex::default(),
            node: Mutex::default(),
            clock,
            tally: None,
        }
    }

    /// Each call is told there.
    pub(crate) fn telling(self, tally: Tally) -> Docker {
        let client = self.client.telling(self.clock.clone(), tally.clone());
        Docker { client, tally: Some(tally), ..self }
    }

    fn look_timeout(&self) -> Duration {
        self.timeout.min(LOOK_TIMEOUT)
    }

    /// One for many calls: a turn must not wait for each container that gives no answer. Gives what
    /// is left of it.
    fn deadline(&self) -> impl Fn() -> Option<Duration> {
        let until = self.clock.now().plus(self.look_timeout());
        move || Some(until.since(self.clock.now())).filter(|left| !left.is_zero())
    }

    /// Every container that has this label, running or not.
    fn listed(&self, label: &str) -> Result<Vec<Listed>> {
        let filters = format!(r#"{{"label":["{label}"]}}"#);
        let query = [("all", "true"), ("filters", filters.as_str())];
        let call = Call { query: &query, ..Call::get("/containers/json") };
        self.client.read(call, self.look_timeout())
    }

    fn inspect(&self, id_or_name: &str, timeout: Duration) -> Result<Option<Inspected>> {
        let path = format!("/containers/{id_or_name}/json");
        let answer = self.client.call(Call::get(&path), timeout)?;
        if answer.status == 404 { Ok(None) } else { answer.ok()?.json().map(Some) }
    }

    /// That both sides speak.
    pub(crate) fn api_version(&self) -> Result<String> {
        self.client.version(self.look_timeout()).map(|version| version.to_string())
    }

    /// Costs the engine more than a list does.
    pub(crate) fn info(&self) -> Result<Info> {
        self.client.call(Call::get("/info"), self.look_timeout())?.ok()?.json()
    }

    /// Whether containers can be made from it without a pull.
    pub(crate) fn has_image(&self, image: &str) -> Result<bool> {
        Ok(self.image_id(image)?.is_some())
    }

    /// `None` when there is no such image here.
    fn image_id(&self, image: &str) -> Result<Option<String>> {
        let mut name = String::new();
        url::encode(image, &mut name);
        let path = format!("/images/{}/json", name.replace("%2F", "/").replace("%3A", ":"));
        let answer = self.client.call(Call::get(&path), self.look_timeout())?;
        if answer.status == 404 {
            return Ok(None);
        }
        Ok(Some(answer.ok()?.json::<Created>()?.id))
    }

    /// Fetches it from its registry, which may take hours; gives what came of it, in words, or
    /// `None` when it is `wanted` no more. `tell` hears of the progress now and then.
    pub(crate) fn pull(
        &self,
        image: &str,
        tell: &dyn Fn(String),
        wanted: &dyn Fn() -> bool,
    ) -> Result<Option<String>> {
        pull::pull(&self.client, &*self.clock, image, tell, wanted)
    }

    /// The id of the container of this number, made now or found made.
    fn create(&self, service: &Service, number: u32) -> Result<String> {
        let name = service.replica_name(number);
        let answer = self.make(&name, &wire::create_body(service, number)?)?;
        match answer.status {
            404 if answer.message().contains("image") => {
                Err(Error::new(no_image(&service.container.origin.to_string())))
            }
            409 => match self.inspect(&name, self.look_timeout())? {
                Some(made) if made.is_replica(service.name.as_str(), number) => Ok(made.id),
                _ => Err(Error::new(format!(
                    "the name {name} is taken by a container that is not ours; \
                     rename or remove that container"
                ))),
            },
            _ => answer.ok().and_then(|answer| Ok(answer.json::<Created>()?.id)),
        }
    }

    fn make(&self, name: &str, body: &[u8]) -> Result<Answer> {
        let call = Call {
            method: Method::Post,
            query: &[("name", name)],
            body: Some(body),
            idempotent: false,
            ..Call::get("/containers/create")
        };
        self.client.call(call, self.timeout)
    }

    /// The first network is the one that it was made in. Engines before API 1.44 take one only.
    fn join_networks(&self, id: &str, service: &Service) -> Result<()> {
        for network in service.container.networks.iter().skip(1) {
            self.join(network, format!(r#"{{"Container":"{id}"}}"#).as_bytes())?;
        }
        Ok(())
    }

    fn join(&self, network: &str, body: &[u8]) -> Result<()> {
        let mut name = String::new();
        url::encode(network, &mut name);
        let path = format!("/networks/{name}/connect");
        let call = Call { method: Method::Post, body: Some(body), ..Call::get(&path) };
        let answer = self.client.call(Call { idempotent: false, ..call }, self.timeout)?;
        // It is in there already, as after a start that was cut off.
        let is_in = answer.status == 403 && answer.message().contains("already exists");
        if is_in { Ok(()) } else { answer.ok().map(drop) }
    }

    fn run(&self, id: &str) -> Result<()> {
        let path = format!("/containers/{id}/start");
        let call = Call { method: Method::Post, ..Call::get(&path) };
        let answer = self.client.call(call, self.timeout)?;
        // 304: it runs already.
        if answer.status == 304 { Ok(()) } else { answer.ok().map(drop) }
    }

    /// What was made and could not be started goes again.
    fn or_removed(&self, id: &str, started: Result<()>) -> Result<()> {
        started.map_err(|err| match self.force_remove(id) {
            Ok(()) => err,
            Err(left) => Error::caused(format!("{err}; and it could not be removed again"), left),
        })
    }

    fn force_remove(&self, id: &str) -> Result<()> {
        let path = format!("/containers/{id}");
        let call = Call {
            method: Method::Delete,
            query: &[("force", "true"), ("v", "true")],
            ..Call::get(&path)
        };
        let answer = self.client.call(call, self.timeout)?;
        // 409: a removal is under way already.
        if matches!(answer.status, 404 | 409) { Ok(()) } else { answer.ok().map(drop) }
    }
}

fn no_image(image: &str) -> String {
    format!("image {image} is not on this host any more")
}

impl Engine for Docker {
    fn list(&self, adopted: &[Adopted]) -> Result<Vec<Container>> {
        let listed = self.listed(LABEL_SERVICE)?.into_iter();
        let mut containers: Vec<_> = listed.filter_map(Listed::into_replica).collect();
        containers.extend(self.list_adopted(adopted)?);
        let left = self.deadline();
        let inspect = |id: &ContainerId| self.inspect(&id.0, left()?).ok().flatten();
        let mut details = self.details.lock().unwrap_or_else(PoisonError::into_inner);
        details.add(&mut containers, &inspect);
        Ok(containers)
    }

    fn usage(&self, of: &[Ask]) -> BTreeMap<ContainerId, Usage> {
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        let left = self.deadline();
        let inspect = |id: &ContainerId| self.inspect(&id.0, left()?).ok().flatten();
        let mut usages = meters.read_files(of, &inspect);
        let is_whole = |ask: &&Ask| {
            usages
                .get(&ask.id)
                .is_some_and(|u| u.cpu.is_some() && (u.memory.is_some() || !ask.memory))
        };
        let rest: Vec<&Ask> = of.iter().filter(|ask| !is_whole(ask)).collect();
        let read = meter::read_stats(&self.client, &rest, &meters, &left);
        if let Some(tally) = &self.tally {
            tally(Counted::Load { files: of.len() - rest.len(), statistics: read.len() });
        }
        for (id, read) in read {
            // What the files gave stays: counters of two sources do not go together.
            let usage: &mut Usage = usages.entry(id).or_default();
            usage.cpu = usage.cpu.or(read.cpu);
            usage.memory = usage.memory.or(read.memory);
        }
        usages
    }

    fn host_memory(&self) -> Option<HostMemory> {
        meter::host_memory()
    }

    fn swarm(&self, of: &[&str]) -> Result<Swarm> {
        self.sweep_swarm(of)
    }

    fn resize(&self, swarm_service: &str, from: u32, to: u32) -> Result<Effect> {
        self.resize_swarm(swarm_service, from, to)
    }

    fn logs(&self, id: &ContainerId, lines: usize, within: Duration) -> Result<Vec<String>> {
        let path = format!("/containers/{}/logs", id.0);
        let tail = lines.to_string();
        let query = [("stdout", "true"), ("stderr", "true"), ("tail", tail.as_str())];
        let call = Call { query: &query, longest: LOGS_MAX, ..Call::get(&path) };
        let answer = self.client.call(call, within.min(self.timeout))?.ok()?;
        Ok(logs::last_lines(answer.body(), lines))
    }

    fn start(&self, service: &Service, number: u32) -> Result<()> {
        if let Some(of) = service.adopted() {
            return self.start_adopted(&of, number);
        }
        let id = self.create(service, number)?;
        let started = self.join_networks(&id, service).and_then(|()| self.run(&id));
        self.or_removed(&id, started)
    }

    fn remove(
        &self,
        id: &ContainerId,
        service: &str,
        number: u32,
        stop_timeout: Duration,
    ) -> Result<()> {
        // Read again right before: what we listed may be another's by now.
        match self.inspect(&id.0, self.look_timeout())? {
            None => return Ok(()),
            Some(found) if found.is_replica(service, number) => (),
            Some(found) if self.is_adopted(&found, service, number) => (),
            Some(_) => {
                return Err(Error::new(format!(
                    "container {id} does not carry {LABEL_SERVICE}={service} or is not called \
                     {}; it is left alone",
                    replica_name(service, number)
                )));
            }
        }
        let path = format!("/containers/{}/stop", id.0);
        // Docker takes whole seconds; 0 would be no time at all.
        let seconds = stop_timeout.as_millis().div_ceil(1000).to_string();
        let query = [("t", seconds.as_str())];
        let call = Call { method: Method::Post, query: &query, ..Call::get(&path) };
        let answer = self.client.call(call, self.timeout.saturating_add(stop_timeout))?;
        if !matches!(answer.status, 304 | 404) {
            answer.ok()?;
        }
        self.force_remove(&id.0)
    }
}
