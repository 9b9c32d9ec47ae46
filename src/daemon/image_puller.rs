//! Starts whose image is not on the host wait here while it is pulled, and keep no worker busy.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::controller::LoopEvent;
use crate::daemon::inbox::Incoming;
use crate::daemon::pool::{self, Pool};
use crate::daemon::spawn::spawn;
use crate::docker::Docker;
use crate::model::action::{Action, ActionError, Claim, Done, RollbackState};
use crate::model::event::{Event, Kind};
use crate::model::time::Moment;
use crate::outside::Clock;

/// Images at once. Docker itself fetches three layers of each at a time.
const AT_ONCE: usize = 3;

/// An action on its way.
pub(crate) struct PendingAction {
    pub(crate) action: Action,
    pub(crate) begun: Moment,
    /// Whatever it needs was looked for.
    pub(crate) is_prepared: bool,
}

#[derive(Clone)]
pub(crate) struct ImagePuller {
    engine: Arc<Docker>,
    clock: Arc<dyn Clock>,
    inbox: SyncSender<Incoming>,
    pool: Pool<PendingAction>,
    wanted: Arc<Mutex<PullQueue>>,
}

#[derive(Default)]
struct PullQueue {
    /// By image, those who wait for it: as many as there are replicas that start.
    jobs: BTreeMap<String, Vec<PendingAction>>,
    /// Images whose pull has not begun.
    next: VecDeque<String>,
    threads: usize,
}

impl PullQueue {
    fn waiting(&self, image: &str) -> usize {
        self.jobs.get(image).map_or(0, Vec::len)
    }
}

impl ImagePuller {
    /// Jobs go to `pool` once their image is there.
    pub(crate) fn new(
        engine: Arc<Docker>,
        clock: Arc<dyn Clock>,
        inbox: SyncSender<Incoming>,
        pool: Pool<PendingAction>,
    ) -> ImagePuller {
        ImagePuller { engine, clock, inbox, pool, wanted: Arc::default() }
    }

    fn wanted(&self) -> MutexGuard<'_, PullQueue> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a job whose image is absent. Gives it back when there is nothing to wait for.
    pub(crate) fn park(&self, job: PendingAction) -> Option<PendingAction> {
        let Action::Start { service, .. } = &job.action else { return Some(job) };
        let Some(image) = service.container.image_reference() else { return Some(job) };
        // A Docker that gives no answer gives none to what comes next either.
        if job.is_prepared || self.engine.has_image(&image).unwrap_or(true) {
            return Some(job);
        }
        let mut wanted = self.wanted();
        if let Some(others) = wanted.jobs.get_mut(&image) {
            others.push(job);
            return None;
        }
        wanted.jobs.insert(image.clone(), vec![job]);
        wanted.next.push_back(image.clone());
        if wanted.threads == AT_ONCE {
            return None;
        }
        wanted.threads += 1;
        drop(wanted);
        let pulls = self.clone();
        if let Err(err) = spawn("pull", move || pulls.fetch_all()) {
            self.wanted().threads -= 1;
            self.settle(&image, &Err(err.to_string()));
        }
        None
    }

    /// Whether this start waited here; then it is cancelled.
    pub(crate) fn cancel(&self, claim: &Claim) -> bool {
        let mut wanted = self.wanted();
        let jobs = wanted.jobs.values_mut();
        let gone = jobs.flat_map(|jobs| jobs.extract_if(.., |job| job.action.claim() == *claim));
        0 < gone.count()
    }

    fn fetch_all(&self) {
        loop {
            let mut wanted = self.wanted();
            let Some(image) = wanted.next.pop_front() else {
                wanted.threads -= 1;
                return;
            };
            drop(wanted);
            self.fetch_one(&image);
        }
    }

    /// As often as somebody wants it again who had ceased to.
    fn fetch_one(&self, image: &str) {
        loop {
            if let Some(result) = self.fetch(image).transpose() {
                return self.settle(image, &result);
            }
            let mut wanted = self.wanted();
            if wanted.waiting(image) == 0 {
                wanted.jobs.remove(image);
                return;
            }
        }
    }

    /// `None`: no start waits for it.
    fn fetch(&self, image: &str) -> Result<Option<()>, String> {
        let is_wanted = || 0 < self.wanted().waiting(image);
        if !is_wanted() {
            return Ok(None);
        }
        self.tell(Kind::ImagePulling, format!("{image} is not on this host; pulling it"));
        let begun = self.clock.now();
        let progress = |words: String| self.tell(Kind::ImagePulling, format!("{image}: {words}"));
        let pull = || self.engine.pull(image, &progress, &is_wanted);
        let Some(words) = pool::ask(
            pull,
            "internal error in plimsoll while pulling (please report); see the log",
        )?
        else {
            return Ok(None);
        };
        let took = self.clock.now().since(begun).as_secs();
        self.tell(Kind::ImagePulled, format!("{image}: {words}, took {took} s"));
        Ok(Some(()))
    }

    /// Those who waited go on, or have failed.
    fn settle(&self, image: &str, result: &Result<(), String>) {
        let mut wanted = self.wanted();
        wanted.next.retain(|next| next != image);
        let jobs = wanted.jobs.remove(image).unwrap_or_default();
        drop(wanted);
        for job in jobs {
            match result {
                // There is room for as many as the controller begins.
                Ok(()) => drop(self.pool.send(PendingAction { is_prepared: true, ..job })),
                Err(words) => {
                    let took = self.clock.now().since(job.begun);
                    let trouble = ActionError {
                        message: words.clone(),
                        rollback_state: RollbackState::AsBefore,
                    };
                    let done = Done { action: job.action, took, result: Err(trouble) };
                    drop(self.inbox.send(Incoming::Loop(LoopEvent::Done(done))));
                }
            }
        }
    }

    fn tell(&self, kind: Kind, message: String) {
        // During shutdown the receiver may be gone.
        drop(self.inbox.send(Incoming::Report(Event::new(kind, message))));
    }
}
