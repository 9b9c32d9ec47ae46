//! Everything one decision may look at. If it is not in here, it is not decided on.

use std::sync::Arc;

use crate::model::metric::Reading;
use crate::model::replica::Replica;
use crate::model::schedule::Wall;
use crate::model::service::Service;
use crate::model::swarm::SwarmStanding;
use crate::model::time::Moment;

/// One service at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) now: Moment,
    /// For the timetable alone: it follows the system's clock, steps and all.
    pub(crate) wall: Wall,
    /// The interval is over: load was read, and the number may change because of it. In between,
    /// only what was begun goes on.
    pub(crate) due: bool,
    pub(crate) service: Arc<Service>,
    /// By number, smallest first.
    pub(crate) replicas: Vec<Replica>,
    /// One for each of the service's metrics, in their order. All pending between two looks.
    pub(crate) readings: Vec<Reading>,
    /// Numbers whose start is under way; a container may show for them already.
    pub(crate) starting: Vec<u32>,
    /// Starts that failed since the last decision.
    pub(crate) failed_starts: u32,
    /// Bytes of the host's memory beside its reserve. `None`: it could not be told.
    pub(crate) free_memory: Option<u64>,
    pub(crate) engine: EngineSeen,
    pub(crate) proxy: ProxyStanding,
    /// `None`: its replicas are containers of this host. Else they are tasks of Swarm's.
    pub(crate) swarm: Option<SwarmStanding>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineSeen {
    Answers,
    /// `replicas` is what was seen last: nothing may be started, stopped or counted as gone.
    Lost,
    /// It answers and does not tell of this service of Swarm's: the same holds for that one.
    Untold,
}

/// As much of HAProxy as concerns every service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyStanding {
    /// It shows just what we last brought it to, and nothing of ours is under way on it. `old`
    /// counts its earlier processes that still finish their sessions; the last of them was told
    /// to at `reloaded_at` or before.
    Settled { old: u32, reloaded_at: Moment },
    /// What its socket shows is not the last word: a reload is under way, or is needed, or none
    /// of ours has been seen through yet.
    Changing,
    /// It does not answer.
    Silent,
    /// There is none: whoever sends the requests reads our status.
    Absent,
}
