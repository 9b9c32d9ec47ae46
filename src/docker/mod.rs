//! `outside::Engine` for Docker, through the Engine API on its Unix socket or over TCP.

pub(crate) mod preconditions;
mod agent;
mod cgroup;
mod client;
mod compose_clone;
mod compose;
mod create;
mod exec;
mod credential_helper;
mod docker_config;
mod create_body;
pub(crate) mod engine_calls;
pub(crate) mod event_stream;
mod hook;
mod host_cpu;
mod inspected;
mod label_sets;
mod labels;
mod listed_labels;
pub(crate) mod event_journal;
mod logs;
mod inspect_cache;
mod unreachable;
mod usage;
mod owner;
mod pull;
pub(crate) mod registry_auth;
mod remove;
pub(crate) mod refusals;
mod removed_numbers;
mod running_options;
mod list;
mod image_watch;
mod inspect_all;
mod swarm;
mod container_control;
mod api_types;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::docker::api_types::{Created, Info, ListedContainer};
use crate::docker::client::{Call, Client, LIST_MAX};
use crate::docker::credential_helper::CredentialHelpers;
use crate::docker::docker_config::Registry;
use crate::docker::event_journal::Journal;
use crate::docker::inspect_cache::InspectCache;
use crate::docker::inspected::{ImageInspected, Inspected};
use crate::docker::refusals::Refusals;
use crate::docker::registry_auth::{LoginFile, RegistryAuth, RegistryLogins};
use crate::docker::removed_numbers::RemovedNumbers;
use crate::docker::usage::UsageReader;
use crate::model::action::{ActionOutput, HookRun, Removal};
use crate::model::config::DockerConfig;
use crate::model::host_cpu::HostCpu;
use crate::model::metric_event::MetricEvent;
use crate::model::replica::ContainerId;
use crate::model::service::Service;
use crate::model::swarm::Swarm;
use crate::model::url;
use crate::outside::{
    Clock, CpuCounter, Engine, HostMemory, ListQuery, Listing, MetricsSink, Result, Usage,
    UsageRequest,
};

/// Timeout of calls that a tick waits for. After it Docker counts as unreachable.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a container's log that are read at most.
const LOGS_MAX: u64 = 256 << 10;

pub(crate) struct Docker {
    client: Arc<Client>,
    timeout: Duration,
    logins: RegistryLogins,
    clock: Arc<dyn Clock>,
    usage_reader: Mutex<UsageReader>,
    inspected: InspectCache<Inspected>,
    images: InspectCache<ImageInspected>,
    /// What Docker's events reported.
    journal: Arc<Mutex<Journal>>,
    /// State of each replica at the last list, to notice changes that no event reported.
    last_states: Mutex<BTreeMap<ContainerId, String>>,
    /// A lock for each service: one container of it is created at a time, so that
    /// the existing ones can be counted.
    create_locks: Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
    metrics_sink: Option<MetricsSink>,
    refusals: Arc<Refusals>,
    /// Arguments of the last `list`.
    last_query: Mutex<ListQuery>,
    removed_numbers: Mutex<RemovedNumbers>,
    /// Id of this Swarm node; `None` until it was asked for.
    node: Mutex<Option<String>>,
}

impl Docker {
    pub(crate) fn new(config: &DockerConfig, clock: Arc<dyn Clock>) -> Docker {
        Docker {
            client: Arc::new(Client::new(&config.host)),
            timeout: config.timeout,
            logins: RegistryLogins::new(config.config.as_deref()),
            usage_reader: Mutex::new(UsageReader::new(clock.clone())),
            inspected: InspectCache::new(("/containers/", "/json")),
            images: InspectCache::new(("/images/", "/json")),
            journal: Arc::default(),
            last_states: Mutex::default(),
            create_locks: Mutex::default(),
            last_query: Mutex::default(),
            removed_numbers: Mutex::default(),
            node: Mutex::default(),
            clock,
            metrics_sink: None,
            refusals: Arc::default(),
        }
    }

    /// Reports every call to `metrics_sink`, and calls that a proxy refuses to `refusals`.
    pub(crate) fn reporting(self, metrics_sink: MetricsSink, refusals: Refusals) -> Docker {
        let refusals = Arc::new(refusals);
        let client = Client::new(self.client.host())
            .with_metrics(self.clock.clone(), metrics_sink.clone())
            .with_refusals(refusals.clone());
        Docker { client: Arc::new(client), metrics_sink: Some(metrics_sink), refusals, ..self }
    }

    /// What a follower of the event stream reports to.
    pub(crate) fn refusals(&self) -> Arc<Refusals> {
        self.refusals.clone()
    }

    fn look_timeout(&self) -> Duration {
        self.timeout.min(LOOK_TIMEOUT)
    }

    /// One deadline for many calls, so that a tick does not wait for each container that does not
    /// answer. The closure returns the time that is left, `None` if none is.
    fn deadline(&self) -> impl Fn() -> Option<Duration> {
        let until = self.clock.now().plus(self.look_timeout());
        move || Some(until.since(self.clock.now())).filter(|left| !left.is_zero())
    }

    /// Every container that has this label, a key or `key=value`, running or not.
    fn listed(&self, label: &str) -> Result<Vec<ListedContainer>> {
        let filters = format!(r#"{{"label":["{label}"]}}"#);
        let query = [("all", "true"), ("filters", filters.as_str())];
        let call = Call { query: &query, longest: LIST_MAX, ..Call::get("/containers/json") };
        self.client.read(call, self.look_timeout())
    }

    fn inspect(&self, id_or_name: &str, timeout: Duration) -> Result<Option<Inspected>> {
        let path = format!("/containers/{id_or_name}/json");
        let answer = self.client.call(Call::get(&path), timeout)?;
        if answer.status == 404 { Ok(None) } else { answer.ok()?.json().map(Some) }
    }

    /// The API version that both sides support.
    pub(crate) fn api_version(&self) -> Result<String> {
        self.client.version(self.look_timeout()).map(|version| version.to_string())
    }

    /// `GET /info`. Costs the engine more than a list.
    pub(crate) fn info(&self) -> Result<Info> {
        self.client.call(Call::get("/info"), self.look_timeout())?.ok()?.json()
    }

    /// Whether the image is on this host, so that no pull is needed.
    pub(crate) fn has_image(&self, image: &str) -> Result<bool> {
        Ok(self.image_id(image)?.is_some())
    }

    /// `None` when the image is not on this host.
    fn image_id(&self, image: &str) -> Result<Option<String>> {
        Ok(self.inspect_image::<Created>(image)?.map(|found| found.id))
    }

    /// What Docker shows of an image. `None` when it is not on this host.
    fn inspect_image<T: DeserializeOwned>(&self, image: &str) -> Result<Option<T>> {
        let path = format!("/images/{}/json", image_in_path(image));
        let answer = self.client.call(Call::get(&path), self.look_timeout())?;
        if answer.status == 404 { Ok(None) } else { answer.ok()?.json().map(Some) }
    }

    /// Pulls an image, which may take hours. Returns the final progress as text, or `None` when
    /// `is_wanted` returned false. `report` is called with the progress every 10 s.
    pub(crate) fn pull(
        &self,
        image: &str,
        report: &dyn Fn(String),
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<Option<String>> {
        let auth = self.registry_auth(image);
        pull::pull(&self.client, &*self.clock, (image, &auth), report, is_wanted)
    }

    /// The credentials for the registry of an image. A helper may take 30 s to give them.
    pub(crate) fn registry_auth(&self, image: &str) -> RegistryAuth {
        self.logins.look_up(image, &*self.clock)
    }

    /// Host and port of the registry of an image.
    pub(crate) fn registry_of(image: &str) -> String {
        Registry::of(image).host().to_owned()
    }

    /// Why the program of a credential helper is not there; `None` if it is.
    pub(crate) fn missing_helper(&self, name: &str) -> Option<String> {
        CredentialHelpers::of_host(&*self.clock).find(name).err()
    }

    /// The file with the credentials for registries.
    pub(crate) fn login_file(&self) -> LoginFile {
        self.logins.file()
    }

    /// The journal that `event_stream::follow` writes.
    pub(crate) fn journal(&self) -> Arc<Mutex<Journal>> {
        self.journal.clone()
    }
}

/// In a path slashes and the colons of ports and tags stay.
fn image_in_path(image: &str) -> String {
    let mut name = String::new();
    url::encode(image, &mut name);
    name.replace("%2F", "/").replace("%3A", ":").replace("%40", "@")
}

impl Engine for Docker {
    fn list(&self, query: &ListQuery) -> Result<Listing> {
        *self.last_query.lock().unwrap_or_else(PoisonError::into_inner) = query.clone();
        self.list_replicas(query)
    }

    fn usage(&self, of: &[UsageRequest]) -> BTreeMap<ContainerId, Usage> {
        let mut usage_reader = self.usage_reader.lock().unwrap_or_else(PoisonError::into_inner);
        let left = self.deadline();
        let shown = |id: &ContainerId| self.inspected.known(&id.0);
        let invalidate = |id: &ContainerId| self.inspected.invalidate(&id.0);
        let mut usages = usage_reader.read_files(of, &shown, &invalidate);
        let is_whole = |ask: &&UsageRequest| {
            usages
                .get(&ask.id)
                .is_some_and(|u| u.cpu.is_some() && (u.memory.is_some() || !ask.memory))
        };
        let rest: Vec<&UsageRequest> = of.iter().filter(|ask| !is_whole(ask)).collect();
        let read = usage::read_stats(&self.client, &rest, &usage_reader, &left);
        if let Some(metrics_sink) = &self.metrics_sink {
            metrics_sink(MetricEvent::Load {
                files: of.len() - rest.len(),
                statistics: read.len(),
            });
        }
        for (id, read) in read {
            // A value from files is kept: counters of two sources cannot be compared.
            let usage: &mut Usage = usages.entry(id).or_default();
            usage.cpu = usage.cpu.or(read.cpu);
            usage.memory = usage.memory.or(read.memory);
        }
        usages
    }

    fn cpu_counters(&self, of: &[ContainerId]) -> BTreeMap<ContainerId, CpuCounter> {
        let mut usage_reader = self.usage_reader.lock().unwrap_or_else(PoisonError::into_inner);
        usage_reader.cpu_counters(of, &|id| self.inspected.known(&id.0))
    }

    fn host_memory(&self) -> Option<HostMemory> {
        usage::host_memory()
    }

    fn host_cpu(&self) -> Option<HostCpu> {
        host_cpu::host_cpu()
    }

    fn swarm(&self, of: &[&str]) -> Result<Swarm> {
        self.sweep_swarm(of)
    }

    fn resize(&self, swarm_service: &str, from: u32, to: u32) -> Result<ActionOutput> {
        self.resize_swarm(swarm_service, from, to)
    }

    fn logs(&self, id: &ContainerId, lines: usize, within: Duration) -> Result<Vec<String>> {
        let path = format!("/containers/{}/logs", id.0);
        let tail = lines.to_string();
        let query = [("stdout", "true"), ("stderr", "true"), ("tail", tail.as_str())];
        let call = Call { query: &query, longest: LOGS_MAX, ..Call::get(&path) };
        let answer = self.client.call(call, within.min(self.timeout))?;
        if answer.status == 501 {
            return Ok(vec![logs::UNREADABLE.to_owned()]);
        }
        let answer = answer.ok()?;
        Ok(logs::last_lines(answer.body(), lines))
    }

    fn start(&self, service: &Service, number: u32, most: u32) -> Result<ContainerId> {
        let id = match service.adopted() {
            Some(of) => self.start_composed(&of, number, most)?,
            None => self.start_own(service, number, most)?,
        };
        Ok(ContainerId(id))
    }

    fn remove(&self, removal: &Removal) -> Result<ActionOutput> {
        self.remove_replica(removal)
    }

    fn run_hook(&self, run: &HookRun) -> Result<ActionOutput> {
        self.run_after_ready(run)
    }
}
