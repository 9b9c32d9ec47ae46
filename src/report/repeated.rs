//! What fails is tried again every few seconds. It is told when it begins to fail, when it fails
//! for another reason, and when it is over.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::action::{Action, Done};

/// Reasons that are kept of one failure. A reason may name what differs each time.
const REASONS_MAX: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Repeated {
    failing: BTreeMap<Doing, Failing>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Doing {
    /// Of a service, the replica of this number.
    Remove(String, u32),
    /// The number of a Swarm service.
    Resize(String),
    Reload,
    Steer,
    EndProxies,
}

#[derive(Debug, Default)]
struct Failing {
    times: u32,
    reasons: BTreeSet<String>,
}

/// What is to be told of an action that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// How it ended.
    Plain,
    /// Nothing: that was told before.
    Again,
    /// That it succeeded after so many failures in a row.
    Over(u32),
}

impl Repeated {
    pub(crate) fn news(&mut self, done: &Done) -> News {
        let doing = match &done.action {
            Action::Remove(removal) => Doing::Remove(removal.service.clone(), removal.number),
            Action::Resize { service, .. } => Doing::Resize(service.clone()),
            Action::Reload { .. } => Doing::Reload,
            Action::Steer { .. } => Doing::Steer,
            Action::EndProxies { .. } => Doing::EndProxies,
            // Each is of a replica of its own, or was told with the reload that follows.
            Action::Start { .. } | Action::Amend { .. } => return News::Plain,
        };
        let Err(trouble) = &done.result else {
            let over = self.failing.remove(&doing);
            return over.map_or(News::Plain, |failing| News::Over(failing.times));
        };
        let failing = self.failing.entry(doing).or_default();
        failing.times = failing.times.saturating_add(1);
        if REASONS_MAX <= failing.reasons.len() {
            failing.reasons.clear();
        }
        if failing.reasons.insert(trouble.message.clone()) { News::Plain } else { News::Again }
    }

    /// Of services that are gone nothing is kept.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.failing.retain(|doing, _| match doing {
            Doing::Remove(service, _) | Doing::Resize(service) => is_there(service),
            Doing::Reload | Doing::Steer | Doing::EndProxies => true,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::model::action::{Action, Aftermath, Done, Effect, Trouble};
    use crate::model::proxy::Routes;
    use crate::report::repeated::{News, REASONS_MAX, Repeated};

    fn reload(result: Result<Effect, &str>) -> Done {
        ended(Action::Reload { routes: Routes::default() }, result)
    }

    fn ended(action: Action, result: Result<Effect, &str>) -> Done {
        let aftermath = Aftermath::AsBefore;
        let result = result.map_err(|words| Trouble { message: words.to_owned(), aftermath });
        Done { action, took: Duration::from_millis(1), result }
    }

    #[test]
    fn each_reason_is_told_once_until_it_is_over() {
        let mut repeated = Repeated::default();
        for (result, news) in [
            (Ok(Effect::Changed), News::Plain),
            (Err("full"), News::Plain),
            (Err("full"), News::Again),
            (Err("taken"), News::Plain),
            (Err("full"), News::Again),
            (Ok(Effect::Unchanged), News::Over(4)),
            (Ok(Effect::Changed), News::Plain),
            (Err("full"), News::Plain),
            (Ok(Effect::Changed), News::Over(1)),
        ] {
            assert_eq!(repeated.news(&reload(result.clone())), news, "{result:?}");
        }
    }

    #[test]
    fn one_failure_hides_no_other() {
        let mut repeated = Repeated::default();
        let steer = || Action::Steer { servers: Vec::new() };
        assert_eq!(repeated.news(&reload(Err("full"))), News::Plain);
        assert_eq!(repeated.news(&ended(steer(), Err("full"))), News::Plain);
        assert_eq!(repeated.news(&ended(steer(), Ok(Effect::Changed))), News::Over(1));
        assert_eq!(repeated.news(&reload(Err("full"))), News::Again);
    }

    #[test]
    fn reasons_without_end_take_no_memory_without_end() {
        let mut repeated = Repeated::default();
        for n in 0..10 * REASONS_MAX {
            assert_eq!(repeated.news(&reload(Err(&n.to_string()))), News::Plain);
        }
        let kept: usize = repeated.failing.values().map(|failing| failing.reasons.len()).sum();
        assert!(kept <= REASONS_MAX, "{kept}");
    }
}
