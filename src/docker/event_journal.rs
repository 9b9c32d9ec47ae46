//! What Docker's events add to a container's state: who ended it, and that something about it
//! changed. Events may be lost, repeated or late, so all of it is a hint; the container's own state
//! decides.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::model::replica::{ContainerId, Ended, Ending};
use crate::model::time::Moment;

/// Containers whose events are recorded.
const KEPT_MAX: usize = 4096;
/// A container that ends later than this after a signal ended by itself. Equals the longest
/// `stop_timeout`.
const SIGNAL_MEANT: Duration = Duration::from_secs(3600);
/// A stop that is fresher than this may be the first half of `docker restart`, which starts the
/// container again within a fraction of a second; with forty requests at once it took 7 s.
const FRESH: Duration = Duration::from_secs(10);
/// A kill is no half of a restart, but `docker compose kill` ends the containers of a service one
/// after the other, within a second.
const KILLED_FRESH: Duration = Duration::from_secs(2);
/// An engine that shuts down stops its containers at most this long before.
const GOES_DOWN: Duration = Duration::from_secs(20);
/// The same without events: the engine came up again within this time.
const CAME_BACK: Duration = Duration::from_secs(180);

/// Time in which the next stream tells whether the engine is still the same one.
const UNSETTLED_MAX: Duration = Duration::from_secs(60);

/// The fields of a Docker event that the journal uses.
#[derive(Deserialize)]
pub(crate) struct EngineEvent {
    #[serde(rename = "Action")]
    action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
    #[serde(default, rename = "timeNano")]
    time_ns: u64,
}

#[derive(Deserialize)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default, rename = "Attributes")]
    attributes: Attributes,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Attributes {
    signal: Option<String>,
    #[serde(rename = "exitCode")]
    exit_code: Option<String>,
    /// Labels are attributes too.
    #[serde(rename = "io.plimsoll.service")]
    service: Option<IgnoredAny>,
    #[serde(rename = "com.docker.compose.project")]
    project: Option<IgnoredAny>,
}

impl EngineEvent {
    /// Of a container of plimsoll's or of docker compose's.
    fn concerns(&self) -> bool {
        self.actor.attributes.service.is_some() || self.actor.attributes.project.is_some()
    }
}

#[derive(Debug, Default)]
struct ContainerHistory {
    /// The first terminating signal since the container was started.
    signalled: Option<(Signal, Moment)>,
    died: Option<(Option<Signal>, Moment)>,
    /// Exit code of its last end, also if it was started again since.
    exit_code: Option<i64>,
    /// It ended because the engine shut down.
    with_engine: bool,
    /// Time of the last recorded event.
    time_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Kill,
    /// A signal that the process can handle.
    Stop,
}

impl Signal {
    /// From a signal number or name. `None`: the signal does not ask the process to end.
    fn read(text: &str) -> Option<Signal> {
        match text {
            "9" | "SIGKILL" | "KILL" => Some(Signal::Kill),
            // SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD, SIGCONT and SIGWINCH have other uses.
            "1" | "10" | "12" | "17" | "18" | "28" => None,
            _ => Some(Signal::Stop),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Journal {
    histories: BTreeMap<ContainerId, ContainerHistory>,
    /// Containers that changed since the last `take_changed`.
    changed: BTreeSet<ContainerId>,
    /// Events may have been missed: everything known of any container may be out of date.
    is_stale: bool,
    /// Time of the newest event.
    newest_ns: u64,
    cut: Option<Cut>,
}

/// An end of the stream that the engine or something in front of it made.
#[derive(Clone, Copy, Debug)]
struct Cut {
    at: Moment,
    /// The newest event before. An engine that runs on repeats it.
    newest_ns: u64,
}

impl Journal {
    /// Records an event. `false`: the containers need not be listed anew.
    pub(crate) fn note(&mut self, event: &EngineEvent, now: Moment) -> bool {
        if self.cut.is_some_and(|cut| cut.newest_ns == event.time_ns) {
            self.cut = None;
        }
        self.newest_ns = self.newest_ns.max(event.time_ns);
        if !event.concerns() {
            return false;
        }
        // By the engine's clock, which is the host's.
        let now = if event.time_ns == 0 { now } else { now.min(Moment(event.time_ns / 1_000_000)) };
        let id = ContainerId(event.actor.id.clone());
        if matches!(event.action.as_str(), "destroy" | "remove") {
            self.histories.remove(&id);
            self.changed.remove(&id);
            return true;
        }
        if !self.histories.contains_key(&id) && KEPT_MAX <= self.histories.len() {
            self.is_stale = true;
            return true;
        }
        let history = self.histories.entry(id.clone()).or_default();
        if event.time_ns <= history.time_ns && event.time_ns != 0 {
            // A repeated event, as after a reconnect: without the signal before it, a stop would
            // look like a crash.
            return true;
        }
        history.time_ns = event.time_ns;
        match event.action.as_str() {
            "kill" => {
                let signal = event.actor.attributes.signal.as_deref().and_then(Signal::read);
                if history.signalled.is_none() {
                    history.signalled = signal.map(|signal| (signal, now));
                }
                return false;
            }
            "die" => {
                let meant = history.signalled.take();
                let meant = meant.filter(|(_, at)| now.since(*at) <= SIGNAL_MEANT);
                history.died = Some((meant.map(|(signal, _)| signal), now));
                let code = event.actor.attributes.exit_code.as_deref();
                history.exit_code = code.and_then(|code| code.parse().ok());
            }
            "start" => {
                let ContainerHistory { time_ns, exit_code, .. } = *history;
                *history = ContainerHistory { time_ns, exit_code, ..ContainerHistory::default() };
            }
            _ => (),
        }
        self.changed.insert(id);
        true
    }

    /// The event stream ended. Containers that were stopped right before ended with the engine.
    pub(crate) fn lost(&mut self, now: Moment) {
        self.is_stale = true;
        for history in self.histories.values_mut() {
            let died = history.died.filter(|(_, at)| went_down(*at, now));
            history.with_engine |= died.is_some_and(|(signal, _)| signal == Some(Signal::Stop));
        }
    }

    /// The event stream ended, perhaps because of a proxy in front of the engine. The next stream
    /// tells which.
    pub(crate) fn cut(&mut self, now: Moment) {
        self.is_stale = true;
        if self.newest_ns != 0 {
            self.cut = self.cut.or(Some(Cut { at: now, newest_ns: self.newest_ns }));
        }
    }

    /// The events of before were all repeated, as far as the engine remembers them. One that was
    /// started since remembers none.
    pub(crate) fn settle(&mut self) {
        if let Some(cut) = self.cut.take() {
            self.lost(cut.at);
        }
    }

    /// Whether this stop may turn out to be the engine's own.
    fn is_unsettled(&self, at: Moment, now: Moment) -> bool {
        let cut = self.cut.filter(|cut| now.since(cut.at) < UNSETTLED_MAX);
        cut.is_some_and(|cut| went_down(at, cut.at))
    }

    /// The engine's time of the newest event, in nanoseconds; 0 before the first.
    pub(crate) fn newest_ns(&self) -> u64 {
        self.newest_ns
    }

    /// Containers whose details are out of date; `None`: all of them.
    pub(crate) fn take_changed(&mut self) -> Option<BTreeSet<ContainerId>> {
        let changed = std::mem::take(&mut self.changed);
        (!std::mem::take(&mut self.is_stale)).then_some(changed)
    }

    /// The exit code of its last end.
    pub(crate) fn exit_code(&self, id: &ContainerId) -> Option<i64> {
        self.histories.get(id)?.exit_code
    }

    /// Why a container exited.
    pub(crate) fn ended(&self, id: &ContainerId, shown: &ExitSeen, now: Moment) -> Ended {
        let history = self.histories.get(id);
        let died = history.and_then(|history| history.died);
        let is_late = |at: u64| shown.finished_ms.is_some_and(|finished| finished < at);
        if is_late(shown.host_up_ms) || history.is_some_and(|history| history.with_engine) {
            return Ended { by: Ending::Shutdown, is_fresh: false };
        }
        if let Some((signal, at)) = died {
            let by = match signal {
                Some(Signal::Stop) => Ending::Stopped,
                Some(Signal::Kill) => Ending::Killed,
                None => Ending::Crashed,
            };
            let fresh = match by {
                Ending::Stopped => FRESH,
                Ending::Killed => KILLED_FRESH,
                Ending::Crashed | Ending::Shutdown => Duration::ZERO,
            };
            let is_unsettled = by == Ending::Stopped && self.is_unsettled(at, now);
            let is_fresh = is_unsettled || now.since(at) < fresh;
            return Ended { by, is_fresh };
        }
        // No event of its end. It may still arrive.
        let finished = shown.finished_ms.map(Moment);
        let is_fresh = finished.is_some_and(|at| now.since(at) < FRESH);
        let before_engine = finished.is_some_and(|at| {
            let up = Moment(shown.engine_up_ms);
            at < up && up.since(at) < CAME_BACK
        });
        let by = match shown.exit_code {
            _ if before_engine => Ending::Shutdown,
            // Exit codes after a stop: 0, or by SIGINT, SIGKILL, SIGTERM.
            0 | 130 | 137 | 143 if !shown.is_oom => Ending::Stopped,
            _ => Ending::Crashed,
        };
        Ended { by, is_fresh }
    }
}

/// Whether what ended then may have ended because the engine went down.
fn went_down(at: Moment, end: Moment) -> bool {
    end.since(at) <= GOES_DOWN
}

/// What an inspect shows of a container that exited.
pub(crate) struct ExitSeen {
    pub(crate) exit_code: i64,
    pub(crate) is_oom: bool,
    /// When it ended, in milliseconds since 1970, as the others are.
    pub(crate) finished_ms: Option<u64>,
    /// When the host came up; 0 if that is not known.
    pub(crate) host_up_ms: u64,
    /// When the engine came up; 0 if that is not known.
    pub(crate) engine_up_ms: u64,
}

#[cfg(test)]
mod tests {
    use crate::docker::event_journal::{EngineEvent, ExitSeen, Journal};
    use crate::model::replica::{ContainerId, Ended, Ending};
    use crate::model::time::Moment;

    fn line(text: &str, ms: u64) -> EngineEvent {
        let (action, signal) = text.split_once(':').unwrap_or((text, ""));
        let attributes = format!(r#"{{"signal":"{signal}","io.plimsoll.service":"x"}}"#);
        let text = format!(
            r#"{{"Type":"container","Action":"{action}","timeNano":{}000000,
                "Actor":{{"ID":"a","Attributes":{attributes}}}}}"#,
            1_000_000 + ms
        );
        serde_json::from_str(&text).unwrap()
    }

    const NOW: u64 = 1_020_000;

    /// Events as `word@ms`, `lost` for the end of the stream; looked at `NOW`, ten seconds later.
    fn ended(events: &str, shown: ExitSeen) -> Ended {
        let mut journal = Journal::default();
        for event in events.split_whitespace() {
            let (word, ms) = event.split_once('@').unwrap();
            let ms = u64::try_from(ms.parse::<i64>().unwrap() + 10_000).unwrap();
            match word {
                "lost" => journal.lost(Moment(1_000_000 + ms)),
                "cut" => journal.cut(Moment(1_000_000 + ms)),
                "settle" => journal.settle(),
                word => drop(journal.note(&line(word, ms), Moment(1_000_000 + ms))),
            }
        }
        journal.ended(&ContainerId("a".to_owned()), &shown, Moment(NOW))
    }

    fn shown(exit_code: i64) -> ExitSeen {
        let host_up_ms = 500_000;
        let engine_up_ms = 500_000;
        ExitSeen {
            exit_code,
            is_oom: false,
            finished_ms: Some(NOW - 15_000),
            host_up_ms,
            engine_up_ms,
        }
    }

    #[test]
    fn who_ended_a_container_is_told_by_the_signal_before_its_death() {
        for (events, by, is_fresh) in [
            ("die@9000", Ending::Crashed, false),
            ("kill:15@8000 die@9000", Ending::Stopped, true),
            ("kill:15@0 kill:9@0 die@0", Ending::Stopped, false),
            ("kill:15@0 kill:9@0 die@1", Ending::Stopped, true),
            ("kill:9@7000 die@8000", Ending::Killed, false),
            ("kill:9@7000 die@8001", Ending::Killed, true),
            ("kill:3@8000 die@9000", Ending::Stopped, true),
            // A signal that does not mean an end.
            ("kill:1@8000 die@9000", Ending::Crashed, false),
            ("kill:1@8000 kill:9@8500 die@9000", Ending::Killed, true),
            // It was started since.
            ("kill:15@1000 die@2000 start@3000 die@9000", Ending::Crashed, false),
            // The same events once more, as after a new connection.
            ("die@9000 kill:15@8000", Ending::Crashed, false),
            ("kill:15@8000 die@9000 kill:15@8000 die@9000", Ending::Stopped, true),
            ("kill:15@-9000 die@-8000 die@-8000", Ending::Stopped, false),
            // The engine went down with it, or the stream alone broke.
            ("kill:15@8000 die@9000 lost@9500", Ending::Shutdown, false),
            ("die@9000 lost@9500", Ending::Crashed, false),
            // A proxy cut the stream: it may have been the engine, until the next stream tells.
            ("kill:15@-9000 die@-8000 cut@-1000", Ending::Stopped, true),
            ("kill:15@-9000 die@-8000 cut@-1000 settle@0", Ending::Shutdown, false),
            ("kill:15@-9000 die@-8000 cut@-1000 die@-8000 settle@0", Ending::Stopped, false),
            ("kill:15@-9000 die@-8000 cut@-1000 start@0 settle@0", Ending::Stopped, false),
            ("die@-8000 cut@-1000 settle@0", Ending::Crashed, false),
        ] {
            assert_eq!(ended(events, shown(137)), Ended { by, is_fresh }, "{events}");
        }
    }

    #[test]
    fn a_death_that_nobody_heard_is_told_by_its_times_and_its_exit_code() {
        for (exit_code, is_oom, finished_ms, host_up_ms, engine_up_ms, by, is_fresh) in [
            (1, false, NOW - 15_000, 0, 0, Ending::Crashed, false),
            (0, false, NOW - 15_000, 0, 0, Ending::Stopped, false),
            (143, false, NOW - 15_000, 0, 0, Ending::Stopped, false),
            (137, false, NOW - 15_000, 0, 0, Ending::Stopped, false),
            (137, true, NOW - 15_000, 0, 0, Ending::Crashed, false),
            // The event may come yet.
            (0, false, NOW - 9_999, 0, 0, Ending::Stopped, true),
            (1, false, NOW - 10_000, 0, 0, Ending::Crashed, false),
            // Before the host came up, and right then.
            (0, false, NOW - 15_000, NOW - 14_999, 0, Ending::Shutdown, false),
            (0, false, NOW - 15_000, NOW - 15_000, 0, Ending::Stopped, false),
            // Shortly before the engine came up, and long before.
            (0, false, NOW - 200_000, 0, NOW - 20_001, Ending::Shutdown, false),
            (0, false, NOW - 200_000, 0, NOW - 20_000, Ending::Stopped, false),
        ] {
            let finished_ms = Some(finished_ms);
            let shown = ExitSeen { exit_code, is_oom, finished_ms, host_up_ms, engine_up_ms };
            assert_eq!(ended("", shown), Ended { by, is_fresh }, "{exit_code} {finished_ms:?}");
        }
    }

    #[test]
    fn what_an_event_may_have_changed_is_asked_for_again_once() {
        let mut journal = Journal::default();
        let changed = |journal: &mut Journal| journal.take_changed().map(|ids| ids.len());
        assert!(!journal.note(&line("kill:15", 0), Moment(0)));
        assert_eq!(changed(&mut journal), Some(0));
        assert!(journal.note(&line("rename", 1), Moment(0)));
        assert_eq!((changed(&mut journal), changed(&mut journal)), (Some(1), Some(0)));
        journal.lost(Moment(0));
        assert_eq!((changed(&mut journal), changed(&mut journal)), (None, Some(0)));
        assert!(journal.note(&line("destroy", 2), Moment(0)));
        assert_eq!(changed(&mut journal), Some(0));
    }

    #[test]
    fn what_happens_to_others_containers_is_no_news() {
        for (label, want) in [
            ("io.plimsoll.service", true),
            ("com.docker.compose.project", true),
            ("maintainer", false),
        ] {
            let text = format!(
                r#"{{"Action":"start","Actor":{{"ID":"a","Attributes":{{"{label}":"x"}}}}}}"#
            );
            let event: EngineEvent = serde_json::from_str(&text).unwrap();
            assert_eq!(Journal::default().note(&event, Moment(0)), want, "{label}");
        }
    }
}
