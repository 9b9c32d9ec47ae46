//! The events of replica transitions.

use std::collections::BTreeMap;

use crate::model::event::{Event, Kind, LOG_BEGINS};
use crate::model::plan::ReplicaTransition;
use crate::model::replica::{Ending, Exit};
use crate::model::service::replica_name;
use crate::model::units::plural;

/// The last lines that containers logged, by service and number.
pub(crate) type LastWords = BTreeMap<(String, u32), Vec<String>>;

pub(super) fn event_of(
    service: &str,
    step: &ReplicaTransition,
    words: &LastWords,
) -> Option<Event> {
    let (kind, number, message) = match step {
        ReplicaTransition::DrainStarted { number } => {
            (Kind::ReplicaDraining, number, String::new())
        }
        ReplicaTransition::DrainCancelled { number } => {
            (Kind::ReplicaDrainCancelled, number, String::new())
        }
        ReplicaTransition::Exited { number, exit, by, is_restarted } => {
            let what = ending(*exit, *by, *is_restarted);
            (Kind::ReplicaExited, number, with_words(what, service, *number, words))
        }
        ReplicaTransition::Restarted { number } => {
            (Kind::ReplicaRestarted, number, "restarted outside plimsoll".to_owned())
        }
        ReplicaTransition::Renamed { number, from, to } => {
            (Kind::ReplicaRenamed, number, format!("container {from} was renamed to {to}"))
        }
        ReplicaTransition::Stopped { number, exit } => {
            let exit = exit.map(|exit| format!(", {exit}")).unwrap_or_default();
            let what = format!("stopped by its owner{exit}; left alone until it is started");
            (Kind::ComposeStopped, number, what)
        }
        ReplicaTransition::Paused { number } => {
            let what = "paused by its owner; it gets no requests until it is unpaused";
            (Kind::ComposePaused, number, what.to_owned())
        }
        ReplicaTransition::Unpaused { number } => (Kind::ComposeUnpaused, number, String::new()),
        ReplicaTransition::NotReady { number, why } => {
            let message = with_words(why.clone(), service, *number, words);
            (Kind::ReplicaNotReady, number, message)
        }
        ReplicaTransition::Lost { number } => {
            let what = "it was started, but Docker does not list it";
            (Kind::ReplicaFailed, number, what.to_owned())
        }
        ReplicaTransition::DrainEnded { cut: 0, .. } => return None,
        ReplicaTransition::DrainEnded { number, cut } => {
            let message = format!("drain_timeout is over with {}", plural(*cut, "open session"));
            (Kind::ReplicaDrainTimedOut, number, message)
        }
        ReplicaTransition::BecameUnhealthy { number, error } => {
            let message = with_words(error.clone(), service, *number, words);
            (Kind::HealthUnhealthy, number, message)
        }
        ReplicaTransition::Recovered { number } => (Kind::HealthRecovered, number, String::new()),
    };
    Some(Event::new(kind, message).service(service).replica(replica_name(service, *number)))
}

fn ending(exit: Option<Exit>, by: Option<Ending>, is_restarted: bool) -> String {
    let how = exit.map_or("it stopped".to_owned(), |exit| exit.to_string());
    let by = match by {
        Some(Ending::Stopped) => ", stopped by hand (docker stop)",
        Some(Ending::Killed) => ", killed by hand (docker kill)",
        Some(Ending::Shutdown) => ", with Docker or the host",
        Some(Ending::Crashed) | None => "",
    };
    let next = match (is_restarted, by) {
        (true, "") if exit.is_none() => "; Docker's restart policy starts it again",
        (true, _) => "; it is started again",
        (false, _) => "",
    };
    format!("{how}{by}{next}")
}

/// Appends the last log lines of the container.
fn with_words(what: String, service: &str, number: u32, words: &LastWords) -> String {
    match words.get(&(service.to_owned(), number)) {
        Some(lines) if !lines.is_empty() => {
            format!("{what}{LOG_BEGINS}{}", lines.join("\n"))
        }
        Some(_) | None => what,
    }
}

#[cfg(test)]
mod tests {
    use crate::model::event::LOG_BEGINS;
    use crate::model::plan::ReplicaTransition;
    use crate::report::transitions::{LastWords, event_of};

    #[test]
    fn a_replica_that_failed_is_reported_with_what_it_logged() {
        let lines = ["starting", "no such table"].map(str::to_owned).to_vec();
        let words = LastWords::from([(("web".to_owned(), 2), lines)]);
        let why = || "no answer".to_owned();
        let not_ready = ReplicaTransition::NotReady { number: 2, why: why() };
        let unhealthy = ReplicaTransition::BecameUnhealthy { number: 2, error: why() };
        for step in [not_ready, unhealthy] {
            let event = event_of("web", &step, &words).unwrap();
            assert_eq!(event.message, format!("no answer{LOG_BEGINS}starting\nno such table"));
            assert_eq!(event.message_and_log(), ("no answer", Some("no such table")));
            let event = event_of("web", &step, &LastWords::new()).unwrap();
            assert_eq!(event.message_and_log(), ("no answer", None));
        }
    }
}
