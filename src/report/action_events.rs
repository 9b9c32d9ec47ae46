//! The events of an action that ended.

use crate::model::action::{Action, ActionOutput, Done, Removal, RollbackState};
use crate::model::event::{Event, Kind};
use crate::model::service::replica_name;

/// `failures` is how often it failed before, if that was reported.
pub(crate) fn events_of(done: &Done, failures: u32) -> Vec<Event> {
    let trouble = done.result.as_ref().err();
    let words = match (trouble, failures) {
        (Some(trouble), _) => trouble.message.clone(),
        (None, 0) => format!("took {} ms", done.took.as_millis()),
        (None, 1) => format!("took {} ms, after 1 failure", done.took.as_millis()),
        (None, n) => format!("took {} ms, after {n} failures", done.took.as_millis()),
    };
    match &done.action {
        Action::Start { service, number, .. } => {
            let kind = if trouble.is_some() { Kind::ReplicaFailed } else { Kind::ReplicaStarted };
            let name = service.name.as_str();
            vec![Event::new(kind, words).service(name).replica(replica_name(name, *number))]
        }
        // The container had changed since the decision: the next tick decides again.
        Action::Remove(_) if done.result == Ok(ActionOutput::Unchanged) && failures == 0 => {
            Vec::new()
        }
        Action::Remove(removal) => removed(removal, done, words),
        // The prober knows whether its result still matters.
        Action::RunHook(_) => Vec::new(),
        // The decision reported the change; only a failure and its end are new.
        Action::Resize { service, to, .. } if trouble.is_some() => {
            let words = format!("cannot set the Swarm service to {to} replicas: {words}");
            vec![Event::new(Kind::SwarmDegraded, words).service(service)]
        }
        Action::Resize { .. } if failures == 0 => Vec::new(),
        Action::Resize { service, .. } => {
            vec![Event::new(Kind::SwarmRecovered, words).service(service)]
        }
        Action::Reload { .. } | Action::UpdateServers { .. }
            if done.result == Ok(ActionOutput::Unchanged) && failures == 0 =>
        {
            Vec::new()
        }
        Action::Reload { .. } => {
            let kind =
                if trouble.is_some() { Kind::ProxyReloadFailed } else { Kind::ProxyReloaded };
            let mut events = vec![Event::new(kind, words)];
            if trouble.is_some_and(|t| t.rollback_state == RollbackState::RolledBack) {
                let message = "HAProxy runs with the last good configuration";
                events.push(Event::new(Kind::ProxyRolledBack, message));
            }
            events
        }
        Action::UpdateServers { .. } => {
            let kind =
                if trouble.is_some() { Kind::ProxyUpdateFailed } else { Kind::ProxyServersUpdated };
            vec![Event::new(kind, words)]
        }
        Action::EndProxies { processes } => {
            let words = if trouble.is_some() { words } else { killed(processes) };
            vec![Event::new(Kind::ProxyKilled, words)]
        }
        // The decision reported each drain; only a failure and its end are new.
        Action::SetServerStates { .. } if trouble.is_some() => {
            vec![Event::new(Kind::ProxyReloadFailed, words)]
        }
        Action::SetServerStates { .. } if failures == 0 => Vec::new(),
        Action::SetServerStates { .. } => vec![Event::new(Kind::ProxyReloaded, words)],
    }
}

/// The failure of its hook comes before the end of the removal.
fn removed(removal: &Removal, done: &Done, words: String) -> Vec<Event> {
    let Removal { service, number, ill, .. } = removal;
    let name = replica_name(service, *number);
    let hook = match &done.result {
        Ok(ActionOutput::HookFailed(failure)) => Some(failure),
        Ok(_) | Err(_) => None,
    };
    let hook = hook.map(|failure| {
        let words = format!("hook before_stop failed: {failure}; the replica is stopped anyway");
        Event::new(Kind::HookFailed, words).service(service).replica(name.clone())
    });
    let (kind, words) = match (&done.result, ill) {
        (Err(_), _) => (Kind::ReplicaFailed, words),
        (Ok(_), None) => (Kind::ReplicaRemoved, words),
        (Ok(_), Some(ill)) => (Kind::HealthReplaced, format!("{words}; replaced because: {ill}")),
    };
    let removed = Event::new(kind, words).service(service).replica(name);
    hook.into_iter().chain([removed]).collect()
}

fn killed(processes: &[u32]) -> String {
    let pids: Vec<String> = processes.iter().map(u32::to_string).collect();
    format!(
        "old process {} did not answer and still accepted connections; it was killed (SIGKILL)",
        pids.join(", ")
    )
}
