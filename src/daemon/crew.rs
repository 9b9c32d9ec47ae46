//! The workers that do what was decided. `tick` begins an action and goes on; how it ended comes
//! back through the inbox.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::time::Duration;

use crate::act;
use crate::daemon::inbox::Event;
use crate::daemon::pool;
use crate::daemon::pulls::{Job, Pulls};
use crate::docker::Docker;
use crate::model::action::{Action, Aftermath, Claim, Done, Effect, Trouble};
use crate::model::service::Service;
use crate::model::time::Moment;
use crate::outside::{Clock, Crew, Engine, Proxy, Result};

const WORKERS: usize = 8;
/// Actions that wait for a worker.
const QUEUE: usize = 256;
/// What failed rests so long before it is tried again, where `decide` has no rule for it.
const REST_REMOVE: Duration = Duration::from_secs(5);
const REST_STEER: Duration = Duration::from_secs(1);

pub(crate) struct WorkerCrew {
    engine_queue: SyncSender<Job>,
    /// HAProxy must not wait for Docker.
    proxy_queue: SyncSender<Job>,
    pulls: Pulls,
    clock: Arc<dyn Clock>,
    under_way: BTreeSet<Claim>,
    resting: BTreeMap<Claim, Moment>,
}

impl WorkerCrew {
    pub(crate) fn new(
        engine: Arc<Docker>,
        proxy: Arc<dyn Proxy>,
        clock: Arc<dyn Clock>,
        inbox: SyncSender<Event>,
    ) -> Result<WorkerCrew> {
        let work = {
            let clock = clock.clone();
            let engine = engine.clone();
            move |job| Event::Done(perform(job, &*engine, &*proxy, &*clock))
        };
        let workers = (0..WORKERS).map(|n| format!("worker-{n}"));
        let (engine_queue, jobs) = mpsc::sync_channel(QUEUE);
        let pulls = Pulls::new(engine, clock.clone(), inbox.clone(), engine_queue.clone());
        let engine_work = {
            let (work, pulls) = (work.clone(), pulls.clone());
            move |job| pulls.park(job).map(&work)
        };
        pool::run(workers, jobs, &inbox, engine_work)?;
        let proxy_queue = pool::start(["haproxy".to_owned()], 1, &inbox, work)?;
        let (under_way, resting) = (BTreeSet::new(), BTreeMap::new());
        Ok(WorkerCrew { engine_queue, proxy_queue, pulls, clock, under_way, resting })
    }

    /// What ended may be begun again.
    pub(crate) fn finished(&mut self, done: &Done) {
        let claim = done.action.claim();
        self.under_way.remove(&claim);
        let rest = match done.action {
            Action::Remove { .. } | Action::Resize { .. } => REST_REMOVE,
            Action::Steer { .. } | Action::EndProxies { .. } => REST_STEER,
            Action::Start { .. } | Action::Reload { .. } | Action::Amend { .. } => return,
        };
        let now = self.clock.now();
        self.resting.retain(|_, until| now < *until);
        if done.result.is_err() {
            self.resting.insert(claim, now.plus(rest));
        }
    }

    /// Starts that wait for an image, and that nobody wants any more, were never begun.
    pub(crate) fn let_go(&mut self, is_wanted: &dyn Fn(&Service) -> bool) {
        for claim in self.pulls.let_go(is_wanted) {
            self.under_way.remove(&claim);
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }
}

/// A bug in one action must not take its worker away.
fn perform(job: Job, engine: &dyn Engine, proxy: &dyn Proxy, clock: &dyn Clock) -> Done {
    let Job { action, begun, .. } = job;
    let performed = catch_unwind(AssertUnwindSafe(|| act::perform(&action, engine, proxy)));
    let result: std::result::Result<Effect, Trouble> = match performed {
        Ok(result) => {
            result.map_err(|err| Trouble { message: err.to_string(), aftermath: err.aftermath })
        }
        Err(_) => Err(Trouble {
            message: format!("`{action}` failed by a bug of plimsoll's, see the log"),
            aftermath: Aftermath::AsBefore,
        }),
    };
    Done { action, took: clock.now().since(begun), result }
}

impl Crew for WorkerCrew {
    fn begin(&mut self, action: Action) -> bool {
        let claim = action.claim();
        let queue = match claim {
            Claim::Proxy => &self.proxy_queue,
            Claim::Start { .. } | Claim::Container(_) | Claim::Number(_) => &self.engine_queue,
        };
        let job = Job { action, begun: self.clock.now(), is_prepared: false };
        if self.under_way.contains(&claim) || queue.try_send(job).is_err() {
            return false;
        }
        self.under_way.insert(claim)
    }

    fn claims(&self) -> BTreeSet<Claim> {
        let now = self.clock.now();
        let resting = self.resting.iter().filter(|(_, until)| now < **until);
        self.under_way.iter().chain(resting.map(|(claim, _)| claim)).cloned().collect()
    }
}
