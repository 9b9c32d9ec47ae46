//! `--once`: one evaluation with everything that can be known, its actions, and the end.

use std::time::Duration;

use crate::daemon::event_loop::EventLoop;
use crate::outside::{Error, Result};

/// How long remote metrics may take to answer.
const METRICS: Duration = Duration::from_secs(5);
/// How long probes may take: longer than the usual timeout of a health check.
const PROBES: Duration = Duration::from_secs(6);
/// How much longer a hook may take than its timeout.
const HOOK_SLACK: Duration = Duration::from_secs(5);
/// How long the actions of the tick may take.
const ACTIONS: Duration = Duration::from_secs(120);

impl EventLoop {
    pub(crate) fn run_once(&mut self) -> Result<()> {
        // There is no later tick to use what this one does not know.
        let events = self.controller.probe_all_once(&self.components.adapters());
        events.iter().for_each(|event| self.record(event));
        self.wait_until(METRICS, |this| this.controller.has_read_metrics());
        self.wait_until(PROBES, |this| this.controller.has_probed());
        // A replica that passed is ready once its hook has succeeded.
        if let Some(longest) = self.controller.hooks_left() {
            let longest = longest.saturating_add(HOOK_SLACK);
            self.wait_until(longest, |this| this.controller.hooks_left().is_none());
        }
        self.controller.stop_probing();
        let answered = self.poll().unwrap_or(false);
        match (answered, self.wind_up(ACTIONS)) {
            (false, _) => Err(Error::new("docker did not answer, see above")),
            (true, 0) if !self.controller.is_idle() => Err(Error::new(format!(
                "some actions are still running after {} s; run --once again to check",
                ACTIONS.as_secs()
            ))),
            (true, 0) => Ok(()),
            (true, 1) => Err(Error::new("an action failed, see above")),
            (true, failed) => Err(Error::new(format!("{failed} actions failed, see above"))),
        }
    }

    /// Sends what is due and receives, without a tick.
    fn wait_until(&mut self, longest: Duration, is_enough: impl Fn(&EventLoop) -> bool) {
        let until = self.now().plus(longest);
        loop {
            let now = self.now();
            let effects = self.controller.due(now);
            self.carry_out(effects);
            if self.is_stopping || until <= now || is_enough(self) {
                return;
            }
            self.receive(self.controller.until_due(now).min(until.since(now)));
        }
    }
}
