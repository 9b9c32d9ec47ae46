//! The hooks of a replica. Each is bound to one run of its container.

use crate::docker::Docker;
use crate::docker::exec::ExecEnd;
use crate::docker::inspected::Inspected;
use crate::model::action::{ActionOutput, HookRun, Removal};
use crate::model::hooks::{HookCause, HookFailure};
use crate::outside::Result;

impl Docker {
    pub(super) fn run_after_ready(&self, run: &HookRun) -> Result<ActionOutput> {
        let is_its = |found: &Inspected| {
            let is_same = run.started.zip(found.started_ms()).is_none_or(|(a, b)| a == b);
            is_same && found.is_up() && !found.is_paused()
        };
        let Some(found) = self.inspect(&run.id.0, self.look_timeout())?.filter(is_its) else {
            return Ok(ActionOutput::Unchanged);
        };
        let failure = match self.exec_hook(&run.id.0, &found, &run.hook)? {
            ExecEnd::Passed => return Ok(ActionOutput::Changed),
            ExecEnd::NotBegun => return Ok(ActionOutput::Unchanged),
            ExecEnd::Failed(failure) => failure,
        };
        // A container that ends takes its commands with it.
        let now = self.inspect(&run.id.0, self.look_timeout())?.filter(is_its);
        Ok(now.map_or(ActionOutput::Unchanged, |_| ActionOutput::HookFailed(failure)))
    }

    /// Runs the hook `before_stop`, and returns what the container is afterwards: `None`, it is to
    /// be left alone or is gone. Nothing that happens to the hook holds up the stop.
    pub(super) fn run_before_stop(
        &self,
        removal: &Removal,
        found: Inspected,
    ) -> Result<(Option<Inspected>, Option<HookFailure>)> {
        let Some(hook) = removal.before_stop.as_ref().filter(|_| found.is_up()) else {
            return Ok((Some(found), None));
        };
        let failure = match self.exec_hook(&removal.id.0, &found, hook) {
            Ok(ExecEnd::Passed | ExecEnd::NotBegun) => None,
            Ok(ExecEnd::Failed(failure)) => Some(failure),
            Err(err) => Some(HookFailure::of(HookCause::Unknown(err.to_string()))),
        };
        // Somebody may have restarted it meanwhile. A hook that ends the app is no failure, and
        // Docker's restart policy may have brought the app back because of it.
        let Some(now) = self.inspect(&removal.id.0, self.look_timeout())? else {
            return Ok((None, None));
        };
        let is_same_run = now.started_ms() == found.started_ms();
        let is_by_policy = found.restarts() < now.restarts();
        let failure = failure.filter(|_| is_same_run && now.is_up());
        let stays = (is_same_run || is_by_policy) && !now.is_paused();
        Ok((Some(now).filter(|_| stays), failure))
    }
}
