//! Actions that were begun and have not ended, and those that failed and rest before they are
//! tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::action::{Action, Claim, Done};
use crate::model::service::Service;
use crate::model::time::Moment;

/// Actions at once; the next tick decides anew about what had no room.
pub(crate) const IN_FLIGHT_MAX: usize = 256;
/// Those among them that run a hook, which may take an hour: starts and updates of HAProxy keep
/// room.
const HOOKS_MAX: usize = IN_FLIGHT_MAX / 2;
/// How long a failed action rests, where `decide` has no back-off for it.
const REST_REMOVE: Duration = Duration::from_secs(5);
const REST_SET_STATES: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct InFlight {
    begun: BTreeMap<Claim, Action>,
    resting: BTreeMap<Claim, Moment>,
}

impl InFlight {
    /// False when there is no room, or another action on the same thing has not ended.
    pub(crate) fn begin(&mut self, action: &Action) -> bool {
        let claim = action.claim();
        if IN_FLIGHT_MAX <= self.begun.len() || self.begun.contains_key(&claim) {
            return false;
        }
        let hooks = || self.begun.values().filter(|begun| runs_hook(begun)).count();
        if runs_hook(action) && HOOKS_MAX <= hooks() {
            return false;
        }
        self.begun.insert(claim, action.clone());
        true
    }

    pub(crate) fn ended(&mut self, done: &Done, now: Moment) {
        let claim = done.action.claim();
        self.begun.remove(&claim);
        let rest = match done.action {
            Action::Remove { .. } | Action::Resize { .. } => REST_REMOVE,
            Action::SetServerStates { .. } | Action::EndProxies { .. } => REST_SET_STATES,
            // The prober has a back-off for it.
            Action::RunHook(_)
            | Action::Start { .. }
            | Action::Reload { .. }
            | Action::UpdateServers { .. } => return,
        };
        self.resting.retain(|_, until| now < *until);
        if done.result.is_err() {
            self.resting.insert(claim, now.plus(rest));
        }
    }

    /// The action was cancelled before it was begun.
    pub(crate) fn cancelled(&mut self, claim: &Claim) {
        self.begun.remove(claim);
    }

    /// What no other action may touch now.
    pub(crate) fn claims(&self, now: Moment) -> BTreeSet<Claim> {
        let resting = self.resting.iter().filter(|(_, until)| now < **until);
        self.begun.keys().chain(resting.map(|(claim, _)| claim)).cloned().collect()
    }

    /// Starts of services that `is_wanted` rejects: their spec has changed since.
    pub(crate) fn stale_starts(&self, is_wanted: impl Fn(&Service) -> bool) -> Vec<Claim> {
        let is_stale =
            |action: &Action| action.as_start().is_some_and(|(service, _)| !is_wanted(service));
        let stale = self.begun.iter().filter(|(_, action)| is_stale(action));
        stale.map(|(claim, _)| claim.clone()).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.begun.is_empty()
    }
}

fn runs_hook(action: &Action) -> bool {
    match action {
        Action::RunHook(_) => true,
        Action::Remove(removal) => removal.before_stop.is_some(),
        Action::Start { .. }
        | Action::Resize { .. }
        | Action::Reload { .. }
        | Action::UpdateServers { .. }
        | Action::SetServerStates { .. }
        | Action::EndProxies { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::controller::in_flight::{HOOKS_MAX, IN_FLIGHT_MAX, InFlight};
    use crate::model::action::{Action, ActionError, ActionOutput, Done, HookRun, RollbackState};
    use crate::model::hooks::HookCommand;
    use crate::model::replica::ContainerId;
    use crate::model::time::Moment;

    fn resize(service: &str) -> Action {
        let (service, swarm_service) = (service.to_owned(), service.to_owned());
        Action::Resize { service, swarm_service, from: 1, to: 2 }
    }

    fn done(action: Action, is_good: bool) -> Done {
        let trouble =
            ActionError { message: "no".to_owned(), rollback_state: RollbackState::AsBefore };
        let result = if is_good { Ok(ActionOutput::Changed) } else { Err(trouble) };
        Done { action, took: Duration::ZERO, result }
    }

    #[test]
    fn what_failed_rests_and_what_went_well_does_not() {
        let steer = || Action::SetServerStates { servers: Vec::new() };
        for (action, is_good, at, rests) in [
            (resize("a"), true, 0, false),
            (resize("a"), false, 4_999, true),
            (resize("a"), false, 5_000, false),
            (steer(), false, 999, true),
            (steer(), false, 1_000, false),
            (Action::EndProxies { processes: vec![1] }, false, 999, true),
        ] {
            let mut in_flight = InFlight::default();
            assert!(in_flight.begin(&action));
            assert!(!in_flight.begin(&action), "it has not ended");
            in_flight.ended(&done(action.clone(), is_good), Moment(0));
            assert!(in_flight.is_empty());
            let claims = in_flight.claims(Moment(at));
            assert_eq!(claims.contains(&action.claim()), rests, "{action} at {at}");
        }
    }

    #[test]
    fn there_is_a_bound() {
        let mut in_flight = InFlight::default();
        for n in 0..IN_FLIGHT_MAX {
            assert!(in_flight.begin(&resize(&n.to_string())));
        }
        assert!(!in_flight.begin(&resize("more")));
        in_flight.cancelled(&resize("0").claim());
        assert!(in_flight.begin(&resize("more")));
    }

    #[test]
    fn hooks_leave_room_for_everything_else() {
        let hook = |n: usize| {
            let command = vec!["warm".to_owned()];
            Action::RunHook(HookRun {
                service: "web".to_owned(),
                number: 1,
                id: ContainerId(n.to_string()),
                started: None,
                hook: HookCommand { command, timeout: Duration::from_secs(3600) },
            })
        };
        let mut in_flight = InFlight::default();
        let begun = (0..IN_FLIGHT_MAX).filter(|n| in_flight.begin(&hook(*n))).count();
        assert_eq!(begun, HOOKS_MAX);
        assert!(in_flight.begin(&resize("web")));
        in_flight.ended(&done(hook(0), true), Moment(0));
        assert!(in_flight.begin(&hook(IN_FLIGHT_MAX)));
    }
}
