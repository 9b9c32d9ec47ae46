//! Keeps a replica that passed its health check from being healthy until its hook `after_ready` has
//! succeeded. Pure.
//!
//! A hook that fails makes the replica unhealthy at once: it is replaced with the back-off of
//! `src/decide/backoff.rs`, as its state after half a hook is unknown, and as only the end of a
//! container ends a command that hangs. Where the replica stays all the same (compose's own
//! containers, panic mode), the hook is run again after a back-off. A hook that could not be begun
//! says nothing about the replica: it waits, and is tried again.

use std::time::Duration;

use crate::model::action::{ActionError, ActionOutput};
use crate::model::hooks::HookCommand;
use crate::model::replica::Health;
use crate::model::time::Moment;

/// After the first failure; it doubles with each further one.
const FAILED_FIRST: Duration = Duration::from_secs(10);
const FAILED_LONGEST: Duration = Duration::from_secs(300);
/// The same where it could not be begun.
const BLOCKED_FIRST: Duration = Duration::from_secs(1);
const BLOCKED_LONGEST: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HookGate {
    was_ready: bool,
    is_running: bool,
    failures: u32,
    /// Tries in a row that began nothing.
    blocked: u32,
    /// Since when it fails, and how.
    failed: Option<(Moment, String)>,
    next: Moment,
}

impl HookGate {
    /// `was_ready`: in this run of the replica, perhaps for an earlier daemon.
    pub(crate) fn new(was_ready: bool, now: Moment) -> HookGate {
        HookGate { was_ready, is_running: false, failures: 0, blocked: 0, failed: None, next: now }
    }

    /// Health with the hook, from the health without it.
    pub(crate) fn health(&mut self, hook: Option<&HookCommand>, checked: &Health) -> Health {
        if *checked != Health::Healthy {
            return checked.clone();
        }
        if hook.is_none() {
            self.was_ready = true;
        }
        match &self.failed {
            _ if self.was_ready => Health::Healthy,
            None => Health::AwaitsHook,
            Some((since, error)) => Health::Unhealthy { since: *since, error: error.clone() },
        }
    }

    /// When the hook is to be run, if that is so now or later. `checked` is the health without it.
    pub(crate) fn due(&self, hook: Option<&HookCommand>, checked: &Health) -> Option<Moment> {
        let waits = hook.is_some() && *checked == Health::Healthy;
        (waits && !self.was_ready && !self.is_running).then_some(self.next)
    }

    pub(crate) fn begun(&mut self) {
        self.is_running = true;
    }

    /// There was no room for it.
    pub(crate) fn postpone(&mut self, until: Moment) {
        self.next = until;
    }

    /// Takes in how it ended; returns what is to be reported.
    pub(crate) fn ended(
        &mut self,
        result: &Result<ActionOutput, ActionError>,
        now: Moment,
    ) -> Option<String> {
        match result {
            Ok(ActionOutput::HookFailed(failure)) => {
                self.failed(format!("hook after_ready failed: {}", failure.why()), now);
                Some(format!("hook after_ready failed: {failure}; the replica gets no traffic"))
            }
            Ok(ActionOutput::Changed | ActionOutput::Started(_)) => {
                self.succeeded();
                None
            }
            // The next list shows what became of the container.
            Ok(ActionOutput::Unchanged) => {
                self.blocked(now);
                None
            }
            Err(error) => self.blocked(now).then(|| {
                format!(
                    "hook after_ready cannot be run, so the replica gets no traffic; it is tried \
                     again: {}",
                    error.message
                )
            }),
        }
    }

    fn succeeded(&mut self) {
        self.is_running = false;
        self.was_ready = true;
    }

    fn failed(&mut self, error: String, now: Moment) {
        self.is_running = false;
        self.blocked = 0;
        let since = self.failed.take().map_or(now, |(since, _)| since);
        self.failed = Some((since, error));
        self.next = now.plus(doubled(FAILED_FIRST, self.failures, FAILED_LONGEST));
        self.failures = self.failures.saturating_add(1);
    }

    /// It was not begun, or how it ended is not known. Returns whether that is new.
    fn blocked(&mut self, now: Moment) -> bool {
        self.is_running = false;
        self.next = now.plus(doubled(BLOCKED_FIRST, self.blocked, BLOCKED_LONGEST));
        self.blocked = self.blocked.saturating_add(1);
        self.blocked == 1
    }
}

fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(longest)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::controller::hook_gate::HookGate;
    use crate::model::hooks::HookCommand;
    use crate::model::replica::Health;
    use crate::model::time::Moment;

    fn hook() -> HookCommand {
        HookCommand { command: vec!["warm".to_owned()], timeout: Duration::from_secs(1) }
    }

    fn ill(error: &str, since: u64) -> Health {
        Health::Unhealthy { since: Moment(since), error: error.to_owned() }
    }

    #[test]
    fn only_one_that_passed_and_was_never_ready_awaits_its_hook() {
        let starting = Health::Starting;
        let healthy = Health::Healthy;
        for (was_ready, has_hook, checked, want, due) in [
            (false, true, &healthy, Health::AwaitsHook, true),
            (true, true, &healthy, Health::Healthy, false),
            (false, false, &healthy, Health::Healthy, false),
            (false, true, &starting, Health::Starting, false),
            (false, true, &Health::Unknown, Health::Unknown, false),
            (false, true, &ill("503", 3), ill("503", 3), false),
        ] {
            let hook = has_hook.then(hook);
            let mut gate = HookGate::new(was_ready, Moment(7));
            assert_eq!(gate.health(hook.as_ref(), checked), want, "{was_ready} {checked:?}");
            let next = gate.due(hook.as_ref(), checked);
            assert_eq!(next, due.then_some(Moment(7)), "{was_ready} {checked:?}");
        }
    }

    #[test]
    fn one_that_was_ready_without_a_hook_gets_none_later() {
        let mut gate = HookGate::new(false, Moment(0));
        assert_eq!(gate.health(None, &Health::Healthy), Health::Healthy);
        assert_eq!(gate.health(Some(&hook()), &Health::Healthy), Health::Healthy);
        assert_eq!(gate.due(Some(&hook()), &Health::Healthy), None);
    }

    #[test]
    fn a_hook_runs_once_at_a_time_and_its_success_lets_the_replica_in() {
        let hook = hook();
        let mut gate = HookGate::new(false, Moment(0));
        gate.begun();
        assert_eq!(gate.due(Some(&hook), &Health::Healthy), None);
        assert_eq!(gate.health(Some(&hook), &Health::Healthy), Health::AwaitsHook);
        // It fails its check meanwhile, and passes again.
        assert_eq!(gate.health(Some(&hook), &ill("503", 1)), ill("503", 1));
        gate.succeeded();
        assert_eq!(gate.health(Some(&hook), &Health::Healthy), Health::Healthy);
        assert_eq!(gate.due(Some(&hook), &Health::Healthy), None);
        // Later failures and passes of the check are nothing to the hook.
        assert_eq!(gate.health(Some(&hook), &ill("503", 2)), ill("503", 2));
        assert_eq!(gate.health(Some(&hook), &Health::Healthy), Health::Healthy);
    }

    #[test]
    fn a_failure_is_unhealthy_and_tried_again_ever_more_slowly() {
        let hook = hook();
        let mut gate = HookGate::new(false, Moment(0));
        let mut now = Moment(5_000);
        for wait in [10, 20, 40, 80, 160, 300, 300] {
            gate.begun();
            gate.failed(format!("exit code {wait}"), now);
            let want = ill(&format!("exit code {wait}"), 5_000);
            assert_eq!(gate.health(Some(&hook), &Health::Healthy), want);
            let next = now.plus(Duration::from_secs(wait));
            assert_eq!(gate.due(Some(&hook), &Health::Healthy), Some(next));
            now = next;
        }
        gate.begun();
        gate.succeeded();
        assert_eq!(gate.health(Some(&hook), &Health::Healthy), Health::Healthy);
    }

    #[test]
    fn what_could_not_be_begun_is_no_failure_of_the_replica() {
        let hook = hook();
        let mut gate = HookGate::new(false, Moment(0));
        let mut now = Moment(0);
        for (wait, is_new) in
            [(1, true), (2, false), (4, false), (8, false), (16, false), (30, false), (30, false)]
        {
            gate.begun();
            assert_eq!(gate.blocked(now), is_new, "{wait}");
            assert_eq!(gate.health(Some(&hook), &Health::Healthy), Health::AwaitsHook);
            let next = now.plus(Duration::from_secs(wait));
            assert_eq!(gate.due(Some(&hook), &Health::Healthy), Some(next));
            now = next;
        }
        gate.failed("exit code 1".to_owned(), now);
        assert!(gate.blocked(now), "after a hook that ran it is news again");
    }
}
