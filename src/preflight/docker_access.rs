//! Whether Docker is reached, and lets through each call that the daemon needs.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use crate::config::labels::{self, Resolution};
use crate::docker::Docker;
use crate::docker::preconditions::RefusedCall;
use crate::model::config::Config;
use crate::model::docker_host::{DockerHost, Exposure};
use crate::model::label_set::LabelSet;
use crate::outside::{Engine, HostMemory, ListQuery, Listing, Result};

/// Docker reads the same file of its host, but ballooning may have changed it since.
const MEMORY_MARGIN: u64 = 64 << 20;

/// Something between plimsoll and Docker, and what to do about it.
pub(super) struct DockerProblem {
    pub(super) message: String,
    pub(super) remedy: String,
    pub(super) is_warning: bool,
}

/// What is known of Docker after the first calls.
pub(super) struct Access {
    pub(super) resolution: Resolution,
    /// Fails if Docker does not answer.
    pub(super) listed: Result<Listing>,
    /// One for each call that a proxy refuses. Empty if Docker does not answer at all.
    pub(super) refused: Vec<DockerProblem>,
    /// Operations of these calls. What they would tell is not asked for again.
    ops: BTreeSet<&'static str>,
}

impl Access {
    pub(super) fn try_all(config: &Config, engine: &Docker) -> Access {
        let (resolution, mut listed) = labelled(config, engine);
        let (mut refused, mut ops) = (Vec::new(), BTreeSet::new());
        match engine.refused_calls(&resolution.config) {
            Ok(calls) => {
                ops.extend(calls.iter().map(|refused| refused.call.op));
                refused.extend(calls.iter().map(problem));
            }
            // A list that succeeded proves little if the next call has no answer.
            Err(err) => listed = listed.and(Err(err)),
        }
        Access { resolution, listed, refused, ops }
    }

    /// Whether Docker answers, be it by refusing.
    pub(super) fn answers(&self) -> bool {
        self.listed.is_ok() || !self.refused.is_empty()
    }

    pub(super) fn may(&self, op: &str) -> bool {
        self.answers() && !self.ops.contains(op)
    }

    pub(super) fn may_swarm(&self) -> bool {
        ["nodes", "tasks", "service", "info"].iter().all(|op| self.may(op))
    }
}

/// Too many labels are refused whatever else is known.
fn is_awaited(set: &LabelSet) -> bool {
    set.facts.is_none() && !set.is_cut
}

/// Lists until every container with labels was inspected, at most.
const INSPECTS_MAX: usize = 20;
/// Between two of them.
const INSPECT_PAUSE: Duration = Duration::from_millis(100);

/// The config with the services that labels configure, and every container that is a replica.
pub(super) fn labelled(config: &Config, engine: &dyn Engine) -> (Resolution, Result<Listing>) {
    let query = |config: &Config| ListQuery::of(config, BTreeSet::new());
    let mut listed = engine.list(&query(config));
    for _ in 0..INSPECTS_MAX {
        match &listed {
            Ok(listing) if listing.label_sets.iter().any(is_awaited) => {
                thread::park_timeout(INSPECT_PAUSE);
                listed = engine.list(&query(config));
            }
            Ok(_) | Err(_) => break,
        }
    }
    let sets = listed.as_ref().map(|listed| listed.label_sets.as_slice()).unwrap_or_default();
    let known: Vec<LabelSet> = sets.iter().filter(|set| !is_awaited(set)).cloned().collect();
    let resolution = labels::resolve(config, &known, &[]);
    let is_same = resolution.config.services.len() == config.services.len();
    let listed = if is_same { listed } else { engine.list(&query(&resolution.config)) };
    (resolution, listed)
}

fn problem(refused: &RefusedCall) -> DockerProblem {
    let RefusedCall { call, status } = refused;
    DockerProblem {
        message: format!(
            "a proxy or a plugin refuses {} ({status}): {}",
            call.words(),
            call.without
        ),
        remedy: format!(
            "allow it in the proxy, with docker-socket-proxy by {}; or name Docker's own socket in \
             docker.socket",
            call.switches
        ),
        is_warning: !call.is_vital,
    }
}

/// Docker on another host: HAProxy does not reach its containers, and the free memory is not its.
pub(super) fn elsewhere(config: &Config, engine: &Docker) -> Option<DockerProblem> {
    let DockerHost::Tcp(tcp) = &config.fixed.docker.host else { return None };
    // A tunnel may begin on this host.
    let shown = engine.info().ok()?;
    let HostMemory { total, .. } = engine.host_memory()?;
    if shown.memory_bytes == 0 || shown.memory_bytes.abs_diff(total) < MEMORY_MARGIN {
        return None;
    }
    let mib = |bytes: u64| bytes >> 20;
    let through = match tcp.exposure() {
        Exposure::Loopback => ", perhaps through a tunnel",
        Exposure::Container | Exposure::Network | Exposure::Internet => "",
    };
    Some(DockerProblem {
        message: format!(
            "{} seems to be Docker on another host{through}: it has {} MiB of memory, this host {}",
            config.fixed.docker.host,
            mib(shown.memory_bytes),
            mib(total)
        ),
        remedy: "run plimsoll on Docker's host: HAProxy reaches replicas only there, and free \
                 memory is read there"
            .to_owned(),
        is_warning: true,
    })
}
