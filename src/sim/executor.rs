//! Carries out actions in made-up time: half of it before anything happens, half after.

use std::sync::Arc;
use std::time::Duration;

use crate::act;
use crate::model::action::{Action, ActionError, ActionOutput, Claim, Done};
use crate::model::time::Moment;
use crate::sim::world::World;

pub(crate) struct SimExecutor {
    pub(crate) world: Arc<World>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) begun: u32,
}

pub(crate) struct Job {
    pub(crate) action: Action,
    begun: Moment,
    acts_at: Moment,
    ends_at: Moment,
    pub(crate) result: Option<Result<ActionOutput, ActionError>>,
}

impl SimExecutor {
    pub(crate) fn new(world: Arc<World>) -> SimExecutor {
        SimExecutor { world, jobs: Vec::new(), begun: 0 }
    }

    /// When something happens next.
    pub(crate) fn next(&self) -> Option<Moment> {
        let next = |j: &Job| if j.result.is_some() { j.ends_at } else { j.acts_at };
        self.jobs.iter().map(next).min()
    }

    /// Does what it is time for, and gives what has ended.
    pub(crate) fn work(&mut self, now: Moment) -> Vec<Done> {
        for job in self.jobs.iter_mut().filter(|j| j.acts_at <= now && j.result.is_none()) {
            let result = act::execute(&job.action, &*self.world, &*self.world);
            job.result = Some(result.map_err(|err| ActionError {
                message: err.to_string(),
                rollback_state: err.rollback_state,
            }));
        }
        let mut done = Vec::new();
        for job in std::mem::take(&mut self.jobs) {
            match job.result {
                Some(result) if job.ends_at <= now => {
                    let took = now.since(job.begun);
                    done.push(Done { action: job.action, took, result });
                }
                Some(_) | None => self.jobs.push(job),
            }
        }
        done
    }

    pub(crate) fn begin(&mut self, action: Action) {
        let mut state = self.world.state();
        if state.crashed {
            return;
        }
        let claim = action.claim();
        if self.jobs.iter().any(|j| j.action.claim() == claim) {
            state.record_violation(format!("{action} begun while {claim:?} is under way"));
            return;
        }
        if let Action::Start { number, .. } = &action
            && !state.save_failed
            && state.saved.services.get(state.service()).is_none_or(|s| s.last_number < *number)
        {
            state.record_violation(format!("{action} begun before it was stored"));
        }
        // From half of the one to half of the other; the daemon's own log shows such times.
        let (longest, usual) = match &action {
            Action::Start { .. } => (3_000, 600),
            Action::Remove(_) => (3_000, 1_000),
            // What a hook takes is not known.
            Action::RunHook(_) => (10, 4),
            Action::Reload { .. } => (600, 200),
            Action::UpdateServers { .. } => (200, 60),
            Action::SetServerStates { .. } | Action::Resize { .. } | Action::EndProxies { .. } => {
                (20, 4)
            }
        };
        let half = state.scenario.chance.between(2, longest / 2, usual / 2);
        let half = Duration::from_millis(half);
        let begun = state.now;
        let pull = state.pull_time(&action);
        let acts_at = begun.plus(pull).plus(half);
        let ends_at = acts_at.plus(half);
        self.jobs.push(Job { action, begun, acts_at, ends_at, result: None });
        self.begun += 1;
    }

    /// Whether the start still waited for its image, and is cancelled.
    pub(crate) fn cancel(&mut self, claim: &Claim) -> bool {
        let state = self.world.state();
        let waits = |job: &Job| {
            job.action.claim() == *claim && job.result.is_none() && !state.has_image(&job.action)
        };
        let before = self.jobs.len();
        self.jobs.retain(|job| !waits(job));
        self.jobs.len() < before
    }
}
