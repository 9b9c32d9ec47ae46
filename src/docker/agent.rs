//! The HTTP agent that reaches Docker's API, with the files of its TLS.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ureq::Agent;

use crate::http_client::tls::Tls;
use crate::http_client::{DeadlineResolver, docker_tcp_agent, unix_agent};
use crate::model::docker_host::{DockerHost, DockerTls};
use crate::outside::{Error, Result};
use crate::regular_file;

/// Bytes of a file of PEM at most.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// Makes its agent at the first request, and anew once the connection failed: the files may have
/// been renewed since.
pub(crate) struct DockerAgent {
    host: DockerHost,
    body_max: Option<u64>,
    idle_max: usize,
    names: DeadlineResolver,
    made: Mutex<Option<Agent>>,
}

impl DockerAgent {
    /// `body_max` and `idle_max` as for `unix_agent`.
    pub(crate) fn new(host: &DockerHost, body_max: Option<u64>, idle_max: usize) -> DockerAgent {
        let names = DeadlineResolver::default();
        DockerAgent { host: host.clone(), body_max, idle_max, names, made: Mutex::default() }
    }

    /// For one answer without an end: the connections that are kept are for short ones.
    pub(crate) fn for_stream(&self) -> DockerAgent {
        let names = self.names.clone();
        DockerAgent { names, ..DockerAgent::new(&self.host, None, 0) }
    }

    /// A copy shares its connections. Fails if a file of TLS cannot be used.
    pub(crate) fn get(&self) -> Result<Agent> {
        let known = self.made().clone();
        match known {
            Some(agent) => Ok(agent),
            // Files are read without the lock: a hung file system holds up one caller.
            None => Ok(self.made().insert(self.make()?).clone()),
        }
    }

    /// The next request reads the files of TLS again. Without TLS there is nothing to renew.
    pub(crate) fn forget(&self) {
        if matches!(&self.host, DockerHost::Tcp(tcp) if tcp.tls.is_some()) {
            *self.made() = None;
        }
    }

    fn made(&self) -> MutexGuard<'_, Option<Agent>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self) -> Result<Agent> {
        match &self.host {
            DockerHost::Unix(path) => Ok(unix_agent(path, self.body_max, self.idle_max)),
            DockerHost::Tcp(tcp) => {
                let tls = tcp.tls.as_ref().map(tls).transpose();
                let tls = tls.map_err(|why| {
                    Error::new(format!("cannot reach Docker at {}: docker.tls.{why}", self.host))
                })?;
                Ok(docker_tcp_agent(self.body_max, self.idle_max, &self.names, tls.as_ref()))
            }
        }
    }
}

/// The error begins with the key, or the keys, of what is wrong.
fn tls(files: &DockerTls) -> std::result::Result<Tls, String> {
    match files {
        DockerTls { ca: None, client: _ } => Ok(Tls::of_host()),
        DockerTls { ca: Some(ca), client: None } => {
            Tls::of_ca(&text("ca", ca)?).map_err(|why| format!("ca: {why}"))
        }
        DockerTls { ca: Some(ca), client: Some((cert, key)) } => {
            Tls::with_client(&text("ca", ca)?, &text("cert", cert)?, &text("key", key)?)
        }
    }
}

/// Follows the rules of every file of the operator's: a regular one, of a bounded size.
fn text(key: &str, path: &Path) -> std::result::Result<String, String> {
    let shown = path.display();
    let read = regular_file::read(path, FILE_BYTES_MAX);
    let read = read.map_err(|err| format!("{key}: {shown} cannot be read: {err}"))?;
    let bytes = read.ok_or_else(|| format!("{key}: {shown} is larger than 256 KiB"))?;
    String::from_utf8(bytes).map_err(|_| format!("{key}: {shown} is no text"))
}
