//! The outside world on one page: the only traits in the program. The real ones are `clock`,
//! `net`, `docker`, `haproxy`, `store` and nothing else; the tests and the
//! simulator have made-up ones.
//! (Not called `ports`: in this program a port is a TCP port.)

use std::collections::{BTreeMap, BTreeSet};
use std::error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::model::action::{Aftermath, Effect, Removal, Steering};
use crate::model::counted::Counted;
use crate::model::health::HttpCheck;
use crate::model::memory::Memory;
use crate::model::proxy::{ProxySeen, Routes};
use crate::model::replica::{Container, ContainerId};
use crate::model::schedule::Wall;
use crate::model::service::{Adopted, Service};
use crate::model::stranger::Stranger;
use crate::model::swarm::Swarm;
use crate::model::time::Moment;

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// ENOMEM, ENFILE, EMFILE and ENOBUFS: no memory, no file, no buffer. EAGAIN is left to whoever
/// starts a thread: of a socket it says that nothing came.
const WANTS: [i32; 4] = [12, 23, 24, 105];

/// Something outside did not do what was asked. Says what and the way out, once; what a library
/// said stays its source.
#[derive(Debug)]
pub(crate) struct Error {
    message: String,
    source: Option<Box<dyn error::Error + Send + Sync>>,
    pub(crate) aftermath: Aftermath,
}

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Error {
        Error { message: message.into(), source: None, aftermath: Aftermath::AsBefore }
    }

    pub(crate) fn caused(
        message: impl Into<String>,
        source: impl Into<Box<dyn error::Error + Send + Sync>>,
    ) -> Error {
        let (message, source) = (message.into(), Some(source.into()));
        Error { message, source, aftermath: Aftermath::AsBefore }
    }

    /// What we lack ourselves stood in the way, so nothing is known of whoever was to be asked.
    pub(crate) fn is_own_want(&self) -> bool {
        let source = self.source.as_deref().and_then(|s| s.downcast_ref::<io::Error>());
        source.is_some_and(|err| {
            let number = err.raw_os_error();
            err.kind() == ErrorKind::OutOfMemory || number.is_some_and(|n| WANTS.contains(&n))
        })
    }

    pub(crate) fn with(self, aftermath: Aftermath) -> Error {
        Error { aftermath, ..self }
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
    /// The time of day, as the system's clock has it.
    fn wall(&self) -> Wall;
    /// Goes with `now`, as finely as the clock can tell: to measure what is over soon.
    fn fine(&self) -> Duration {
        Duration::from_millis(self.now().0)
    }
}

/// Where what an exchange came to is told. Takes no time worth the name, and answers nothing.
pub(crate) type Tally = Arc<dyn Fn(Counted) + Send + Sync>;

/// A container whose use is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) id: ContainerId,
    /// Its memory too: reading that costs more than the processor's counter.
    pub(crate) memory: bool,
}

/// What a container uses. What could not be read is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) cpu: Option<CpuCounter>,
    pub(crate) memory: Option<MemoryUse>,
}

/// Bytes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryUse {
    /// Without the pages of files that the kernel would give up first.
    pub(crate) used: u64,
    /// Its limit, else all that the host has.
    pub(crate) limit: u64,
}

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostMemory {
    pub(crate) total: u64,
    /// What could be given to processes without swapping, by the kernel's own estimate.
    pub(crate) available: u64,
}

/// Processor time that a container has used in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuCounter {
    pub(crate) used_ns: u64,
    /// When it was read, in nanoseconds of a clock that only goes with counters of this source.
    pub(crate) read_ns: u64,
    pub(crate) source: CpuSource,
    /// Billionths of a core that it may use: its limit, else one core.
    pub(crate) limit_nano_cpus: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CpuSource {
    /// The control group's own files.
    Files,
    /// The Engine's statistics.
    Stats,
}

/// What an engine lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) containers: Vec<Container>,
    pub(crate) strangers: Vec<Stranger>,
    /// Services of containers of which it is not known yet whose they are.
    pub(crate) unsettled: BTreeSet<String>,
    /// How long until more may be known. `None`: all is.
    pub(crate) wait: Option<Duration>,
}

/// Runs containers. Every call ends within the engine's own timeout.
pub(crate) trait Engine: Send + Sync {
    /// Every container that carries our label or belongs to one of these, running or not. `known`
    /// are those that were replicas before, whatever they are called by now.
    fn list(&self, adopted: &[Adopted], known: &BTreeSet<ContainerId>) -> Result<Listing>;
    /// All in one sweep. A container without an answer is left out.
    fn usage(&self, of: &[Ask]) -> BTreeMap<ContainerId, Usage>;
    /// Of the host that the containers run on; `None` when it could not be told.
    fn host_memory(&self) -> Option<HostMemory>;
    /// The last lines that it wrote, oldest first and fit for a log, if they come `within`.
    fn logs(&self, id: &ContainerId, lines: usize, within: Duration) -> Result<Vec<String>>;
    /// Makes the container of this number unless it is there, and starts it unless it runs; gives
    /// its id. What was made and could not be started is removed again. None is made when the
    /// service has `most` containers.
    fn start(&self, service: &Service, number: u32, most: u32) -> Result<ContainerId>;
    /// Stops and removes it; one that is gone already is no error. Nothing is changed when it is
    /// not any more as it was when that was decided.
    fn remove(&self, removal: &Removal) -> Result<Effect>;
    /// The nodes of the Swarm and these services of it, in one sweep. An error is that of a node
    /// that is no manager.
    fn swarm(&self, of: &[&str]) -> Result<Swarm>;
    /// Gives a Swarm service the number `to`. One that has another than `from` by then is left.
    fn resize(&self, swarm_service: &str, from: u32, to: u32) -> Result<Effect>;
}

/// Sends traffic to containers.
pub(crate) trait Proxy: Send + Sync {
    /// An error when it does not answer. `counting` is whether earlier processes are asked for
    /// their counts too; without, those are not kept up for it.
    fn look(&self, counting: bool) -> Result<ProxySeen>;
    /// Connections that earlier processes hold to each of these addresses. An error when it
    /// could not be told.
    fn old_connections(&self, to: &[IpAddr]) -> Result<BTreeMap<IpAddr, u64>>;
    /// Cheap: whether the process is there at all.
    fn is_alive(&self) -> bool;
    /// Brings the file and the process to `routes`, or puts back what worked before.
    fn reload(&self, routes: &Routes) -> Result<Effect>;
    /// Brings the servers of the process that runs to `routes`, and the file. One that idle
    /// clients hold on to may stay, out of use. After an error it is half done.
    fn amend(&self, routes: &Routes) -> Result<Effect>;
    fn steer(&self, servers: &[Steering]) -> Result<()>;
    /// Ends those of these earlier processes that still listen, at once.
    fn kill(&self, processes: &[u32]) -> Result<()>;
}

/// The container that HAProxy runs in, where it is none of our processes.
pub(crate) trait Vessel: Send + Sync {
    /// The number on this host of its main process; `None` when it does not run.
    fn main_process(&self, container: &str) -> Result<Option<u32>>;
    fn signal(&self, container: &str, name: &str) -> Result<()>;
    /// Runs a command in it to its end.
    fn run(&self, container: &str, command: &[&str]) -> Result<Said>;
}

/// What a command said, and whether it ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) is_good: bool,
    pub(crate) words: String,
}

/// Asks replicas whether they can serve, and others for a number. One call each, ended by the
/// timeout.
pub(crate) trait Net: Send + Sync {
    /// The status of the answer to what `check` asks.
    fn get_status(&self, to: SocketAddr, check: &HttpCheck, timeout: Duration) -> Result<u16>;
    fn connect(&self, to: SocketAddr, timeout: Duration) -> Result<()>;
    /// Status and body of the answer to GET, whatever the status. A body of more than
    /// `longest_bytes` is an error, and no error names the address, which may hold secrets.
    fn get(&self, url: &str, longest_bytes: u64, timeout: Duration) -> Result<(u16, Vec<u8>)>;
}

pub(crate) trait Store: Send + Sync {
    fn save(&self, memory: &Memory) -> Result<()>;
}
