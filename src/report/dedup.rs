//! A failed action is tried again every few seconds. It is reported when it begins to fail, when it
//! fails for another reason, and when it succeeds.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::action::{Action, Done};

/// Distinct reasons that are kept of one failure. A text may differ each time.
const REASONS_MAX: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Deduplicator {
    failing: BTreeMap<ActionKey, Failing>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ActionKey {
    /// Of a service, the replica of this number.
    Remove(String, u32),
    /// The number of a Swarm service.
    Resize(String),
    Reload,
    SetServerStates,
    EndProxies,
}

#[derive(Debug, Default)]
struct Failing {
    times: u32,
    reasons: BTreeSet<String>,
}

/// Whether the end of an action is to be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Novelty {
    /// Its result.
    New,
    /// Nothing: the same failure was reported before.
    Repeated,
    /// Success after this many failures in a row.
    Resolved(u32),
}

impl Deduplicator {
    pub(crate) fn novelty(&mut self, done: &Done) -> Novelty {
        let doing = match &done.action {
            Action::Remove(removal) => ActionKey::Remove(removal.service.clone(), removal.number),
            Action::Resize { service, .. } => ActionKey::Resize(service.clone()),
            Action::Reload { .. } => ActionKey::Reload,
            Action::SetServerStates { .. } => ActionKey::SetServerStates,
            Action::EndProxies { .. } => ActionKey::EndProxies,
            // Each start is another replica, and the reload that follows reports a failed update.
            // The prober reports hooks.
            Action::Start { .. } | Action::RunHook(_) | Action::UpdateServers { .. } => {
                return Novelty::New;
            }
        };
        let Err(trouble) = &done.result else {
            let over = self.failing.remove(&doing);
            return over.map_or(Novelty::New, |failing| Novelty::Resolved(failing.times));
        };
        let failing = self.failing.entry(doing).or_default();
        failing.times = failing.times.saturating_add(1);
        if REASONS_MAX <= failing.reasons.len() {
            failing.reasons.clear();
        }
        if failing.reasons.insert(trouble.message.clone()) {
            Novelty::New
        } else {
            Novelty::Repeated
        }
    }

    /// Forgets services that are gone.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.failing.retain(|doing, _| match doing {
            ActionKey::Remove(service, _) | ActionKey::Resize(service) => is_there(service),
            ActionKey::Reload | ActionKey::SetServerStates | ActionKey::EndProxies => true,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::model::action::{Action, ActionError, ActionOutput, Done, RollbackState};
    use crate::model::proxy::Routes;
    use crate::report::dedup::{Deduplicator, Novelty, REASONS_MAX};

    fn reload(result: Result<ActionOutput, &str>) -> Done {
        ended(Action::Reload { routes: Routes::default() }, result)
    }

    fn ended(action: Action, result: Result<ActionOutput, &str>) -> Done {
        let rollback_state = RollbackState::AsBefore;
        let result =
            result.map_err(|words| ActionError { message: words.to_owned(), rollback_state });
        Done { action, took: Duration::from_millis(1), result }
    }

    #[test]
    fn each_reason_is_told_once_until_it_is_over() {
        let mut repeated = Deduplicator::default();
        for (result, news) in [
            (Ok(ActionOutput::Changed), Novelty::New),
            (Err("full"), Novelty::New),
            (Err("full"), Novelty::Repeated),
            (Err("taken"), Novelty::New),
            (Err("full"), Novelty::Repeated),
            (Ok(ActionOutput::Unchanged), Novelty::Resolved(4)),
            (Ok(ActionOutput::Changed), Novelty::New),
            (Err("full"), Novelty::New),
            (Ok(ActionOutput::Changed), Novelty::Resolved(1)),
        ] {
            assert_eq!(repeated.novelty(&reload(result.clone())), news, "{result:?}");
        }
    }

    #[test]
    fn one_failure_hides_no_other() {
        let mut repeated = Deduplicator::default();
        let steer = || Action::SetServerStates { servers: Vec::new() };
        assert_eq!(repeated.novelty(&reload(Err("full"))), Novelty::New);
        assert_eq!(repeated.novelty(&ended(steer(), Err("full"))), Novelty::New);
        assert_eq!(
            repeated.novelty(&ended(steer(), Ok(ActionOutput::Changed))),
            Novelty::Resolved(1)
        );
        assert_eq!(repeated.novelty(&reload(Err("full"))), Novelty::Repeated);
    }

    #[test]
    fn reasons_without_end_take_no_memory_without_end() {
        let mut repeated = Deduplicator::default();
        for n in 0..10 * REASONS_MAX {
            assert_eq!(repeated.novelty(&reload(Err(&n.to_string()))), Novelty::New);
        }
        let kept: usize = repeated.failing.values().map(|failing| failing.reasons.len()).sum();
        assert!(kept <= REASONS_MAX, "{kept}");
    }
}
