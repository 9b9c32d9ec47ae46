//! What happened in a turn, as events. A condition is told when it begins and when it ends.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::action::{Action, Aftermath, Done, Effect};
use crate::model::event::{Event, Kind};
use crate::model::plan::{Plan, Rule, Step};
use crate::model::schedule::Standing;
use crate::model::service::replica_name;

/// Conditions that were told and have not ended.
#[derive(Debug, Default)]
pub(crate) struct Told {
    engine_lost: bool,
    not_saved: bool,
    orphans: BTreeSet<String>,
    crash_loops: BTreeSet<String>,
    /// By service.
    standings: BTreeMap<String, Standing>,
}

impl Told {
    pub(crate) fn engine(&mut self, error: Option<&str>) -> Option<Event> {
        let lost = error.is_some();
        if std::mem::replace(&mut self.engine_lost, lost) == lost {
            return None;
        }
        Some(match error {
            Some(error) => Event::new(Kind::DockerLost, error),
            None => Event::new(Kind::DockerBack, ""),
        })
    }

    pub(crate) fn saving(&mut self, error: Option<String>) -> Option<Event> {
        let failed = error.is_some();
        let before = std::mem::replace(&mut self.not_saved, failed);
        error.filter(|_| !before).map(|e| Event::new(Kind::StateNotSaved, e))
    }

    pub(crate) fn orphans(&mut self, now: BTreeSet<String>) -> Vec<Event> {
        let new = now.difference(&self.orphans).map(|name| {
            let message = "its containers run on, the config does not name it; \
                           `docker ps --filter label=io.plimsoll.service` lists them";
            Event::new(Kind::ServiceOrphaned, message).service(name)
        });
        let events = new.collect();
        self.orphans = now;
        events
    }

    /// What held when the daemon started is no change.
    fn standing(&mut self, service: &str, now: &Standing) -> Option<Event> {
        let before = self.standings.insert(service.to_owned(), now.clone());
        before.filter(|before| before != now)?;
        Some(Event::new(Kind::ScheduleChanged, standing_shown(now)).service(service))
    }

    /// What one service's plan changed.
    pub(crate) fn plan(&mut self, service: &str, plan: &Plan) -> Vec<Event> {
        let mut events: Vec<Event> = self.standing(service, &plan.standing).into_iter().collect();
        events.extend(scaling(service, plan));
        events.extend(plan.steps.iter().filter_map(|step| stepped(service, step)));
        let waits = plan.because.iter().find(|r| matches!(r, Rule::CrashLoop { .. }));
        if waits.is_none() {
            self.crash_loops.remove(service);
        }
        if let Some(rule) = waits
            && self.crash_loops.insert(service.to_owned())
        {
            let event = Event::new(Kind::CrashLoop, rule.to_string()).service(service);
            events.push(Event { reason: Some(rule.word()), ..event });
        }
        events
    }
}

/// `2 to 8 replicas, by load; schedule "monday rush"`.
fn standing_shown(standing: &Standing) -> String {
    let (min, max) = (standing.bounds.min(), standing.bounds.max());
    let by = if standing.scaling { "by load" } else { "outside the business hours" };
    let window = standing.window.as_ref().map(|w| format!("; schedule {w:?}")).unwrap_or_default();
    format!("{min} to {max} replicas, {by}{window}")
}

fn scaling(service: &str, plan: &Plan) -> Option<Event> {
    let kind = match plan.from.cmp(&plan.wanted) {
        std::cmp::Ordering::Less => Kind::ScaleUp,
        std::cmp::Ordering::Greater => Kind::ScaleDown,
        std::cmp::Ordering::Equal => return None,
    };
    let rules: Vec<String> = plan.because.iter().map(Rule::to_string).collect();
    let event = Event::new(kind, rules.join(", ")).service(service);
    Some(Event { reason: Some(plan.reason()), change: Some((plan.from, plan.wanted)), ..event })
}

fn stepped(service: &str, step: &Step) -> Option<Event> {
    let (kind, number, message) = match step {
        Step::Drain { number } => (Kind::ReplicaDraining, number, String::new()),
        Step::PutBack { number } => (Kind::ReplicaPutBack, number, String::new()),
        Step::Exited { number } => (Kind::ReplicaExited, number, String::new()),
        Step::Release { cut: 0, .. } => return None,
        Step::Release { number, cut } => {
            let message = format!("drain_timeout is over, {cut} sessions were still open");
            (Kind::ReplicaCut, number, message)
        }
    };
    Some(Event::new(kind, message).service(service).replica(replica_name(service, *number)))
}

/// How an action of a worker ended.
pub(crate) fn done(done: &Done) -> Vec<Event> {
    let trouble = done.result.as_ref().err();
    let words = match trouble {
        Some(trouble) => trouble.message.clone(),
        None => format!("took {} ms", done.took.as_millis()),
    };
    match &done.action {
        Action::Start { service, number } => {
            let kind = if trouble.is_some() { Kind::ReplicaFailed } else { Kind::ReplicaStarted };
            let name = service.name.as_str();
            vec![Event::new(kind, words).service(name).replica(replica_name(name, *number))]
        }
        Action::Remove { service, number, .. } => {
            let kind = if trouble.is_some() { Kind::ReplicaFailed } else { Kind::ReplicaRemoved };
            vec![Event::new(kind, words).service(service).replica(replica_name(service, *number))]
        }
        Action::Reload { .. } if done.result == Ok(Effect::Unchanged) => Vec::new(),
        Action::Reload { .. } => {
            let kind =
                if trouble.is_some() { Kind::ProxyReloadFailed } else { Kind::ProxyReloaded };
            let mut events = vec![Event::new(kind, words)];
            if trouble.is_some_and(|t| t.aftermath == Aftermath::RolledBack) {
                let message = "HAProxy runs with the configuration that worked last";
                events.push(Event::new(Kind::ProxyRolledBack, message));
            }
            events
        }
        // Each drain was told when it was decided; only a failure is news.
        Action::Steer { .. } => {
            trouble.map(|_| Event::new(Kind::ProxyReloadFailed, words)).into_iter().collect()
        }
    }
}
