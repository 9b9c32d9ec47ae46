//! One container of a service, as last observed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::model::health::HealthKind;
use crate::model::image::ReplicaImage;
use crate::model::owner::Owner;
use crate::model::service::{Percent, Service};
use crate::model::time::Moment;

/// Docker's identifier of a container: 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ContainerId(pub(crate) String);

impl fmt::Display for ContainerId {
    /// As Docker shows it to people: the first twelve digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get(..12).unwrap_or(&self.0))
    }
}

/// The highest number that a replica may have: one above would not be read back.
pub(crate) const NUMBER_MAX: u32 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContainerState {
    /// Made, not started yet.
    Created,
    Running,
    /// Its processes are frozen: it answers nobody.
    Paused,
    /// It ended, and Docker is about to run it again by its restart policy.
    Restarting,
    Exited,
    /// Docker is at it already.
    Removing,
}

/// How a container's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: i64,
    /// The kernel killed it, or one of its processes, because memory ran out (OOM).
    pub(crate) oom: bool,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Exit { code, oom } = *self;
        if oom {
            write!(f, "out of memory, exit code {code}")
        } else {
            write!(f, "exit code {code}")
        }
    }
}

/// Who or what ended a container, as far as the engine's events and times tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It ended by itself, or the kernel killed it.
    Crashed,
    /// Somebody had the engine stop it: `docker stop`, or the first half of `docker restart`.
    Stopped,
    /// Somebody had the engine kill it outright: `docker kill`.
    Killed,
    /// The engine or the host went down with it.
    Shutdown,
}

/// How a container that does not run came to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) by: Ending,
    /// It ended a moment ago: the one who stopped it may be about to start it again.
    pub(crate) is_fresh: bool,
}

/// What Docker's own check of the image says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DockerHealth {
    Starting,
    Healthy,
    /// It was healthy when Docker looked last, and Docker looks no more. Seconds since then.
    Stale(u64),
    /// What the check wrote last.
    Unhealthy(String),
}

/// A container that is a replica of a service, by its labels and its name or id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    /// Docker's name for it, for display: a rename does not make it another container.
    pub(crate) name: String,
    pub(crate) owner: Owner,
    /// Of its label `io.plimsoll.service`, or the service that the config has for compose's.
    pub(crate) service: String,
    /// Of its label; no two replicas of a service have the same one.
    pub(crate) number: u32,
    /// When it was made, in seconds since 1970.
    pub(crate) created: u64,
    /// Of its label `io.plimsoll.spec`: `Service::spec_hash` when it was made.
    pub(crate) spec: Option<String>,
    pub(crate) image: ReplicaImage,
    /// Of its label `io.plimsoll.port`: `Service::port` when it was made, where it listens for as
    /// long as it lives. `None`: it listens where the config says.
    pub(crate) port: Option<u16>,
    pub(crate) state: ContainerState,
    /// `None` while it runs, and when Docker did not say. Of one that Docker's restart policy
    /// started again, how it ended before.
    pub(crate) exit: Option<Exit>,
    /// `None` unless it exited.
    pub(crate) ended: Option<Ended>,
    /// When it was started last, in milliseconds since 1970. It distinguishes a run of the
    /// container from the next. `None`: not known yet.
    pub(crate) started: Option<u64>,
    /// How often Docker's restart policy started it since somebody did.
    pub(crate) restarts: u32,
    /// `None`: the image has no HEALTHCHECK.
    pub(crate) docker_health: Option<DockerHealth>,
    /// The network that it should have an address in.
    pub(crate) network: String,
    /// `None` while it has no network.
    pub(crate) address: Option<IpAddr>,
}

impl Container {
    /// Where it listens.
    pub(crate) fn socket(&self, service: &Service) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.address?, self.port.unwrap_or(service.port)))
    }

    /// How many seconds ago Docker ran its check last, where that is too long and the service goes
    /// by it.
    pub(crate) fn unchecked_s(&self, service: &Service) -> Option<u64> {
        match self.docker_health {
            Some(DockerHealth::Stale(seconds)) if service.health.kind == HealthKind::Docker => {
                Some(seconds)
            }
            Some(_) | None => None,
        }
    }
}

/// What the service's health check makes of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Not asked yet, at the address that it has now.
    Unknown,
    /// It never passed so far, and may still.
    Starting,
    /// It passed, and its hook `after_ready` has not succeeded yet.
    AwaitsHook,
    Healthy,
    /// `error` is why it failed last.
    Unhealthy {
        since: Moment,
        error: String,
    },
}

/// A share of the replica's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    Read(Percent),
    Missing,
}

/// What HAProxy may do with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdminState {
    Ready,
    /// It ends what it has and gets nothing new.
    Drain,
    /// As if it were not there.
    Maint,
}

impl AdminState {
    /// In HAProxy's words.
    pub(crate) fn word(self) -> &'static str {
        match self {
            AdminState::Ready => "ready",
            AdminState::Drain => "drain",
            AdminState::Maint => "maint",
        }
    }
}

/// How HAProxy shows the replica now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerSeen {
    pub(crate) address: SocketAddr,
    pub(crate) admin_state: AdminState,
    /// HAProxy's own health check has given an answer, or there is none.
    pub(crate) is_checked: bool,
    /// Requests in service or queued, and connections in use for them.
    pub(crate) sessions: u64,
    pub(crate) check: ServerCheck,
}

/// HAProxy's own health check of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerCheck {
    /// Whether HAProxy gives it requests, as far as the check decides. `None`: not known.
    pub(crate) is_up: Option<bool>,
    /// Result of the last check, as `show stat` calls it: `L7OK`, `L4CON`. Empty: none yet.
    pub(crate) result: &'static str,
    /// How long it is up or down, in whole seconds.
    pub(crate) unchanged_for: Duration,
}

/// What a replica has of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplicaUsage {
    /// Bytes, without page cache that the kernel reclaims first. `None`: not read.
    pub(crate) memory: Option<u64>,
    /// Billionths of a core. `None`: no sample.
    pub(crate) nano_cpus: Option<u64>,
    /// Its container may not use as much of the processors as it likes.
    pub(crate) has_cpu_limit: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replica {
    pub(crate) id: ContainerId,
    /// Docker's name for it.
    pub(crate) name: String,
    pub(crate) owner: Owner,
    pub(crate) number: u32,
    /// As `Container` has it.
    pub(crate) spec: Option<String>,
    pub(crate) image: ReplicaImage,
    pub(crate) state: ContainerState,
    pub(crate) exit: Option<Exit>,
    pub(crate) ended: Option<Ended>,
    /// As `Container` has it.
    pub(crate) started: Option<u64>,
    pub(crate) restarts: u32,
    pub(crate) network: String,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) health: Health,
    /// Average CPU since the last look.
    pub(crate) load: Load,
    /// Now. Missing unless the service scales by it.
    pub(crate) memory: Load,
    /// At the last evaluation.
    pub(crate) usage: ReplicaUsage,
    pub(crate) server: Option<ServerSeen>,
    /// Open connections from old HAProxy processes, which finish after a reload.
    /// `None`: unknown.
    pub(crate) old_connections: Option<u64>,
    /// Connections that the daemon held and now copies to it.
    pub(crate) copies: u32,
    /// An action on it is under way.
    pub(crate) busy: bool,
    /// It is paused since a moment ago, as while `docker commit` copies it: what it has in hand
    /// waits.
    pub(crate) is_held: bool,
    /// It was started anew and has not passed its health check since: what HAProxy shows is of the
    /// run before.
    pub(crate) is_unproven: bool,
    /// Its health is Docker's word, and Docker has not run the check for so many seconds.
    pub(crate) unchecked_s: Option<u64>,
}

impl Replica {
    /// One of which nothing more is known.
    pub(crate) fn bare(id: ContainerId, number: u32, state: ContainerState) -> Replica {
        Replica {
            id,
            name: String::new(),
            owner: Owner::Ours,
            number,
            spec: None,
            image: ReplicaImage::default(),
            state,
            exit: None,
            ended: None,
            started: None,
            restarts: 0,
            network: String::new(),
            address: None,
            health: Health::Unknown,
            load: Load::Missing,
            memory: Load::Missing,
            server: None,
            usage: ReplicaUsage::default(),
            old_connections: None,
            copies: 0,
            busy: false,
            is_held: false,
            is_unproven: false,
            unchecked_s: None,
        }
    }

    /// In HAProxy's list under the address that it has now, and in this run of the container.
    pub(crate) fn is_served(&self) -> bool {
        let is_there =
            |s: ServerSeen| Some(s.address) == self.address && s.admin_state != AdminState::Maint;
        !self.is_unproven && self.server.is_some_and(is_there)
    }
}
