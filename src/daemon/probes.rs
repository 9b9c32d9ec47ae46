//! Asks replicas that are not known to serve, until they do. A bounded pool: one that hangs keeps
//! one thread, for its own timeout.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use crate::daemon::inbox::Event as Incoming;
use crate::daemon::pool;
use crate::model::event::{Event, Kind};
use crate::model::replica::{ContainerId, Probed};
use crate::model::service::replica_name;
use crate::model::time::Moment;
use crate::observe::{Answers, health};
use crate::outside::{Net, Result};
use crate::tick::Target;

const THREADS: usize = 8;
const QUEUE: usize = 64;
/// A replica that starts is asked often, so that it serves soon after it can.
const EAGER: Duration = Duration::from_millis(200);
const EAGER_FOR: Duration = Duration::from_secs(30);
/// Not ready for so long is worth a line in the log.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Probes {
    queue: SyncSender<Target>,
    watched: BTreeMap<ContainerId, Watch>,
    /// The last answer of each replica that gave one.
    pub(crate) results: Answers,
}

struct Watch {
    target: Target,
    since: Moment,
    /// `None` while a probe is under way.
    next: Option<Moment>,
    told: bool,
}

impl Probes {
    pub(crate) fn new(net: Arc<dyn Net>, inbox: SyncSender<Incoming>) -> Result<Probes> {
        let work = move |target: Target| {
            let probe = || health::probe(&*net, &target.service.health, target.address);
            let result = pool::ask(probe, "the probe failed by a bug of plimsoll's");
            Incoming::Probed { id: target.id, result }
        };
        let names = (0..THREADS).map(|n| format!("probe-{n}"));
        let queue = pool::start(names, QUEUE, &inbox, work)?;
        Ok(Probes { queue, watched: BTreeMap::new(), results: BTreeMap::new() })
    }

    /// Whom to ask from now on. The others are forgotten, but for the answers of those in `known`.
    pub(crate) fn watch(&mut self, targets: Vec<Target>, known: &[ContainerId], now: Moment) {
        self.results.retain(|id, _| known.contains(id));
        let mut before = std::mem::take(&mut self.watched);
        for target in targets {
            let id = target.id.clone();
            let watch = match before.remove(&id) {
                Some(watch) if watch.target.address == target.address => Watch { target, ..watch },
                Some(_) | None => Watch { target, since: now, next: Some(now), told: false },
            };
            self.watched.insert(id, watch);
        }
    }

    /// Sends off what is due; gives how long nothing will be.
    pub(crate) fn send_due(&mut self, now: Moment) -> Option<Duration> {
        for watch in self.watched.values_mut().filter(|w| w.next.is_some_and(|n| n <= now)) {
            if self.queue.try_send(watch.target.clone()).is_ok() {
                watch.next = None;
            }
        }
        self.watched
            .values()
            .filter_map(|w| w.next)
            .min()
            .map(|next| next.since(now).max(EAGER / 4))
    }

    /// Whether the answer changes anything, and what the operator should hear of it.
    pub(crate) fn answered(
        &mut self,
        id: &ContainerId,
        result: std::result::Result<(), String>,
        now: Moment,
    ) -> (bool, Option<Event>) {
        let Some(watch) = self.watched.get_mut(id) else { return (false, None) };
        let address = watch.target.address;
        let Err(error) = result else {
            self.watched.remove(id);
            self.results.insert(id.clone(), (address, Probed::Passed));
            return (true, None);
        };
        let waited = now.since(watch.since);
        let pause = if waited < EAGER_FOR { EAGER } else { watch.target.service.health.interval };
        watch.next = Some(now.plus(pause));
        self.results.insert(id.clone(), (address, Probed::Failed));
        if waited < PATIENCE || watch.told {
            return (false, None);
        }
        watch.told = true;
        let service = watch.target.service.name.as_str();
        let message = format!("not ready after {} s: {error}", PATIENCE.as_secs());
        let event = Event::new(Kind::ReplicaNotReady, message).service(service);
        (false, Some(event.replica(replica_name(service, watch.target.number))))
    }
}
