//! Threads that carry out actions. How each ended comes back through the inbox.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use crate::act;
use crate::controller::LoopEvent;
use crate::controller::in_flight::IN_FLIGHT_MAX;
use crate::daemon::image_puller::{ImagePuller, PendingAction};
use crate::daemon::inbox::Incoming;
use crate::daemon::pool::Pool;
use crate::docker::Docker;
use crate::model::action::{Action, ActionError, ActionOutput, Claim, Done, RollbackState};
use crate::outside::{Clock, Engine, Proxy, Result};

const WORKERS: usize = 8;
/// Hooks may take long: starts and other removals must not wait for them.
const HOOK_WORKERS: usize = 16;

pub(crate) struct Executor {
    engine_pool: Pool<PendingAction>,
    /// Hooks `after_ready`.
    hook_pool: Pool<PendingAction>,
    /// Removals with a hook `before_stop`.
    stop_pool: Pool<PendingAction>,
    /// HAProxy must not wait for Docker.
    proxy_pool: Pool<PendingAction>,
    pulls: ImagePuller,
    clock: Arc<dyn Clock>,
}

impl Executor {
    pub(crate) fn new(
        engine: Arc<Docker>,
        proxy: Arc<dyn Proxy>,
        clock: Arc<dyn Clock>,
        inbox: &SyncSender<Incoming>,
    ) -> Result<Executor> {
        let work = {
            let clock = clock.clone();
            let engine = engine.clone();
            move |job| Incoming::Loop(LoopEvent::Done(perform(job, &*engine, &*proxy, &*clock)))
        };
        let engine_pool = Pool::new("worker", WORKERS, IN_FLIGHT_MAX, inbox);
        let pulls = ImagePuller::new(engine, clock.clone(), inbox.clone(), engine_pool.clone());
        let engine_work = {
            let work = work.clone();
            let pulls = pulls.clone();
            move |job| pulls.park(job).map(&work)
        };
        engine_pool.start(engine_work)?;
        let hook_pool = Pool::new("exec", HOOK_WORKERS, IN_FLIGHT_MAX, inbox);
        let stop_pool = Pool::new("stop", HOOK_WORKERS, IN_FLIGHT_MAX, inbox);
        for pool in [&hook_pool, &stop_pool] {
            let work = work.clone();
            pool.start(move |job| Some(work(job)))?;
        }
        let proxy_pool = Pool::new("haproxy", 1, 1, inbox);
        proxy_pool.start(move |job| Some(work(job)))?;
        Ok(Executor { engine_pool, hook_pool, stop_pool, proxy_pool, pulls, clock })
    }

    pub(crate) fn begin(&self, action: Action) {
        let pool = match &action {
            Action::RunHook(_) => &self.hook_pool,
            Action::Remove(removal) if removal.before_stop.is_some() => &self.stop_pool,
            Action::Start { .. } | Action::Remove(_) | Action::Resize { .. } => &self.engine_pool,
            Action::Reload { .. }
            | Action::UpdateServers { .. }
            | Action::SetServerStates { .. }
            | Action::EndProxies { .. } => &self.proxy_pool,
        };
        let job = PendingAction { action, begun: self.clock.now(), is_prepared: false };
        // There is room for as many as the controller begins.
        pool.send(job);
    }

    /// Whether the start still waited for its image, and is cancelled.
    pub(crate) fn cancel(&self, claim: &Claim) -> bool {
        self.pulls.cancel(claim)
    }
}

/// A bug in one action must not take its worker away.
fn perform(job: PendingAction, engine: &dyn Engine, proxy: &dyn Proxy, clock: &dyn Clock) -> Done {
    let PendingAction { action, begun, .. } = job;
    let performed = catch_unwind(AssertUnwindSafe(|| act::execute(&action, engine, proxy)));
    let result: std::result::Result<ActionOutput, ActionError> = match performed {
        Ok(result) => result.map_err(|err| ActionError {
            message: err.to_string(),
            rollback_state: err.rollback_state,
        }),
        Err(_) => Err(ActionError {
            message: format!(
                "`{action}` failed: internal error in plimsoll (please report); see the log"
            ),
            rollback_state: RollbackState::AsBefore,
        }),
    };
    Done { action, took: clock.now().since(begun), result }
}
