//! The outside world on one page: the only traits in the program. `clock`, `net`, `activator`,
//! `docker`, `haproxy` and `store` implement them for the real world, `sim` and the tests for a
//! simulated one. (Not called `ports`: in this program a port is a TCP port.)

use std::collections::{BTreeMap, BTreeSet};
use std::error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::model::action::{ActionOutput, HookRun, Removal, RollbackState, SetServerState};
use crate::model::config::Config;
use crate::model::endpoint::Endpoint;
use crate::model::health::HttpCheck;
use crate::model::host_cpu::HostCpu;
use crate::model::label_set::LabelSet;
use crate::model::memory::Memory;
use crate::model::metric_event::MetricEvent;
use crate::model::proxy::{ProxySeen, Routes};
use crate::model::replica::{Container, ContainerId};
use crate::model::service::{Adopted, Service};
use crate::model::sleep::Activity;
use crate::model::stranger::Stranger;
use crate::model::swarm::Swarm;
use crate::model::time::{Moment, Wall};

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// ENOMEM, ENFILE, EMFILE and ENOBUFS: no memory, no file, no buffer. EAGAIN is not among
/// them: on a socket it means that no data came.
const WANTS: [i32; 4] = [12, 23, 24, 105];

/// A call to the outside failed. The message names the problem and the fix, once; a library's
/// error stays the source.
#[derive(Debug)]
pub(crate) struct Error {
    message: String,
    source: Option<Box<dyn error::Error + Send + Sync>>,
    pub(crate) rollback_state: RollbackState,
}

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Error {
        Error { message: message.into(), source: None, rollback_state: RollbackState::AsBefore }
    }

    pub(crate) fn caused(
        message: impl Into<String>,
        source: impl Into<Box<dyn error::Error + Send + Sync>>,
    ) -> Error {
        let message = message.into();
        let source = Some(source.into());
        Error { message, source, rollback_state: RollbackState::AsBefore }
    }

    /// Our own shortage of memory or descriptors caused it: it says nothing about the other side.
    pub(crate) fn is_own_want(&self) -> bool {
        let source = self.source.as_deref().and_then(|s| s.downcast_ref::<io::Error>());
        source.is_some_and(|err| {
            let number = err.raw_os_error();
            err.kind() == ErrorKind::OutOfMemory || number.is_some_and(|n| WANTS.contains(&n))
        })
    }

    pub(crate) fn with(self, rollback_state: RollbackState) -> Error {
        Error { rollback_state, ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            None => f.write_str(&self.message),
            Some(source) => write!(f, "{}: {source}", self.message),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|s| s.as_ref() as _)
    }
}

pub(crate) trait Clock: Send + Sync {
    fn now(&self) -> Moment;
    /// The wall clock.
    fn wall(&self) -> Wall;
    /// The same clock as `now` at its full resolution, to measure short spans.
    fn fine(&self) -> Duration {
        Duration::from_millis(self.now().0)
    }
}

/// Records one observation for our own metrics. Must be cheap; cannot fail.
pub(crate) type MetricsSink = Arc<dyn Fn(MetricEvent) + Send + Sync>;

/// A container whose usage is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsageRequest {
    pub(crate) id: ContainerId,
    /// Read its memory too, which costs more than the CPU counter.
    pub(crate) memory: bool,
}

/// Usage of a container. `None` for values that could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) cpu: Option<CpuCounter>,
    pub(crate) memory: Option<MemoryUse>,
}

/// In bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryUse {
    /// Without page cache that the kernel reclaims first (inactive file pages).
    pub(crate) used: u64,
    /// Its limit, else the host's memory.
    pub(crate) limit: u64,
}

/// In bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostMemory {
    pub(crate) total: u64,
    /// MemAvailable: what the kernel estimates to be available without swapping.
    pub(crate) available: u64,
}

/// CPU time that a container has used since it was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuCounter {
    pub(crate) used_ns: u64,
    /// When it was read, in nanoseconds; comparable only with counters of the same source.
    pub(crate) read_ns: u64,
    pub(crate) source: CpuSource,
    /// Its CPU limit in billionths of a core. `None`: it has none.
    pub(crate) limit_nano_cpus: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CpuSource {
    /// The files of its control group.
    Files,
    /// Docker's stats endpoint.
    Stats,
}

/// What a list of containers is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListQuery {
    /// Services of docker compose whose containers are replicas.
    pub(crate) adopted: Vec<Adopted>,
    /// Containers that were replicas before, even if renamed since.
    pub(crate) known: BTreeSet<ContainerId>,
    /// Also the labels that configure services.
    pub(crate) labels: bool,
}

impl ListQuery {
    pub(crate) fn of(config: &Config, known: BTreeSet<ContainerId>) -> ListQuery {
        ListQuery { adopted: config.adopted(), known, labels: config.labels }
    }
}

/// The engine's list of containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) containers: Vec<Container>,
    pub(crate) strangers: Vec<Stranger>,
    /// By project and service; empty unless asked for.
    pub(crate) label_sets: Vec<LabelSet>,
    /// Services with containers whose owner is not known yet.
    pub(crate) unsettled: BTreeSet<String>,
    /// How long until more may be known. `None`: everything is known.
    pub(crate) wait: Option<Duration>,
}

/// Runs containers. Every call ends within the engine's timeout.
pub(crate) trait Engine: Send + Sync {
    /// Every container that carries our label or is a replica by the query, running or not.
    fn list(&self, query: &ListQuery) -> Result<Listing>;
    /// Reads all at once. A container without an answer is left out.
    fn usage(&self, of: &[UsageRequest]) -> BTreeMap<ContainerId, Usage>;
    /// CPU counters of containers whose files are readable: cheap, as the engine is not called.
    /// Others are left out.
    fn cpu_counters(&self, of: &[ContainerId]) -> BTreeMap<ContainerId, CpuCounter>;
    /// Of the host that the containers run on; `None` if it cannot be read.
    fn host_memory(&self) -> Option<HostMemory>;
    /// As `host_memory`.
    fn host_cpu(&self) -> Option<HostCpu>;
    /// The last lines of its log, oldest first, escaped; fails if they do not come `within`.
    fn logs(&self, id: &ContainerId, lines: usize, within: Duration) -> Result<Vec<String>>;
    /// Creates the container of this number unless it exists, and starts it unless it runs;
    /// returns its id. A created container that cannot be started is removed again. Creates none
    /// when the service has `most` containers.
    fn start(&self, service: &Service, number: u32, most: u32) -> Result<ContainerId>;
    /// Stops and removes it; one that is gone already is no error. Does nothing if its state
    /// differs from the state that the removal was decided on.
    fn remove(&self, removal: &Removal) -> Result<ActionOutput>;
    /// Runs the hook and waits for its end, not much longer than its timeout. Waits for one that
    /// runs already instead of beginning a second. `Unchanged`: the container does not run, or was
    /// started anew. An error: it is not known how the hook ended, or it was not begun.
    fn run_hook(&self, run: &HookRun) -> Result<ActionOutput>;
    /// The nodes of the Swarm and these services. Fails on a node that is no manager.
    fn swarm(&self, of: &[&str]) -> Result<Swarm>;
    /// Sets the replicas of a Swarm service to `to`, unless they are not `from` any more.
    fn resize(&self, swarm_service: &str, from: u32, to: u32) -> Result<ActionOutput>;
}

/// Sends traffic to containers.
pub(crate) trait Proxy: Send + Sync {
    /// Fails if it does not answer. `counting`: also read the counters of old processes, which
    /// keeps those alive for it.
    fn look(&self, counting: bool) -> Result<ProxySeen>;
    /// Connections that old processes hold to each of these addresses.
    fn old_connections(&self, to: &[IpAddr]) -> Result<BTreeMap<IpAddr, u64>>;
    /// Cheap: whether the process exists.
    fn is_alive(&self) -> bool;
    /// Applies `routes` to the file and the process, or restores the last good config.
    fn reload(&self, routes: &Routes) -> Result<ActionOutput>;
    /// Applies the servers of `routes` to the running process and the file. A server that idle
    /// clients keep busy may stay in maintenance. After an error it may be applied in part.
    fn update_servers(&self, routes: &Routes) -> Result<ActionOutput>;
    fn set_server_states(&self, servers: &[SetServerState]) -> Result<()>;
    /// Kills those of these old processes that still listen.
    fn kill(&self, processes: &[u32]) -> Result<()>;
}

/// Holds connections for services that sleep, until a replica is there for them. HAProxy sends it
/// one at a time for each service, and queues the others.
pub(crate) trait Activator: Send + Sync {
    /// Listens for these services and for no others. Returns those that it cannot listen for, and
    /// why.
    fn listen(&self, services: &BTreeSet<String>) -> BTreeMap<String, String>;
    /// What it has of each service that it listens for or still copies for.
    fn look(&self) -> BTreeMap<String, Activity>;
    /// From now on, each connection of the service that is held or comes is copied to one of these
    /// replicas, until it ends. Of none, it is held. One whose replica does not accept a connection
    /// is held again: nothing of it was read before.
    fn forward(&self, service: &str, to: &[SocketAddr]);
    /// Ends the held connections of the service: with status 503 and this `Retry-After`, or
    /// without an answer where the service is no HTTP.
    fn refuse(&self, service: &str, retry_after: Option<Duration>);
}

/// The container that HAProxy runs in (`load_balancer.mode` "container"). A trait with one
/// implementation, so that `haproxy` does not depend on `docker`.
pub(crate) trait ContainerControl: Send + Sync {
    /// The host's process number of the container's main process; `None` when it is not running.
    fn main_process(&self, container: &str) -> Result<Option<u32>>;
    /// `name` is a signal without its prefix, like `USR2`.
    fn signal(&self, container: &str, name: &str) -> Result<()>;
    /// Runs a command in the container and waits for its end.
    fn run(&self, container: &str, command: &[&str]) -> Result<CommandOutput>;
}

/// What a command wrote (standard output and error, interleaved) and whether its exit code was 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommandOutput {
    pub(crate) is_success: bool,
    pub(crate) text: String,
}

/// Probes replicas and reads remote metrics. Each call ends within its timeout.
pub(crate) trait Net: Send + Sync {
    /// The HTTP status of the answer to `check`.
    fn get_status(&self, to: SocketAddr, check: &HttpCheck, timeout: Duration) -> Result<u16>;
    fn connect(&self, to: SocketAddr, timeout: Duration) -> Result<()>;
    /// Status and body of the answer to GET, whatever the status. A body over `longest_bytes` is
    /// an error. No error contains the URL or a header, which may hold secrets.
    fn get(
        &self,
        endpoint: &Endpoint,
        longest_bytes: u64,
        timeout: Duration,
    ) -> Result<(u16, Vec<u8>)>;
}

pub(crate) trait Store: Send + Sync {
    fn save(&self, memory: &Memory) -> Result<()>;
}
