//! The hooks of a replica. Each is bound to one run of its container.

use std::time::Duration;

use crate::docker::Docker;
use crate::docker::exec::{self, ExecEnd};
use crate::docker::inspected::Inspected;
use crate::model::action::{ActionOutput, HookRun, Removal};
use crate::model::hooks::{HookCause, HookFailure};
use crate::outside::Result;

/// The exit code of what SIGKILL ended.
const KILLED: i64 = 137;
/// Docker shows the end of a container this much later than that of its commands, at most.
const END_SHOWN: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(100);

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
        let now = self.inspect_after(&run.id.0, Some(&failure))?.filter(is_its);
        Ok(now.map_or(ActionOutput::Unchanged, |_| ActionOutput::HookFailed(failure)))
    }

    /// A command that was killed may have died with its container, whose end Docker shows a moment
    /// later.
    fn inspect_after(&self, id: &str, failure: Option<&HookFailure>) -> Result<Option<Inspected>> {
        let is_killed = failure.is_some_and(|failure| failure.cause == HookCause::Exit(KILLED));
        let until = self.clock.now().plus(END_SHOWN);
        loop {
            let found = self.inspect(id, self.look_timeout())?;
            let is_up = found.as_ref().is_some_and(Inspected::is_up);
            if !is_killed || !is_up || until <= self.clock.now() {
                return Ok(found);
            }
            exec::wait(LOOK_EVERY);
        }
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
        let Some(now) = self.inspect_after(&removal.id.0, failure.as_ref())? else {
            return Ok((None, None));
        };
        let is_same_run = now.started_ms() == found.started_ms();
        let is_by_policy = found.restarts() < now.restarts();
        let failure = failure.filter(|_| is_same_run && now.is_up());
        let stays = (is_same_run || is_by_policy) && !now.is_paused();
        Ok((Some(now).filter(|_| stays), failure))
    }
}
