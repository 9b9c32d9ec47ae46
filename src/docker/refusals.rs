//! Which calls a proxy in front of Docker, or a plugin, refuses: each is reported when it begins
//! and when it ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::docker::engine_calls::EngineCall;
use crate::model::event::{Event, Kind};

/// Takes events that no tick has found.
pub(crate) type EventSink = Arc<dyn Fn(Event) + Send + Sync>;

/// Reports about one call. A proxy that judges by id or body may refuse one and allow the next.
const REPORTS_MAX: u32 = 6;

#[derive(Default)]
pub(crate) struct Refusals {
    sink: Option<EventSink>,
    /// By operation and path.
    seen: Mutex<BTreeMap<String, CallState>>,
}

#[derive(Default)]
struct CallState {
    is_refused: bool,
    reports: u32,
}

impl Refusals {
    pub(crate) fn new(sink: EventSink) -> Refusals {
        Refusals { sink: Some(sink), seen: Mutex::default() }
    }

    /// `refused`: the status of the refusal; `None`: Docker itself answered.
    pub(crate) fn note(&self, call: &EngineCall, refused: Option<u16>) {
        let Some(sink) = &self.sink else { return };
        let words = call.words();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = seen.get(&words).is_some_and(|state| state.is_refused);
        if is_known == refused.is_some() {
            return;
        }
        let state = seen.entry(words.clone()).or_default();
        state.is_refused = refused.is_some();
        state.reports += 1;
        if REPORTS_MAX < state.reports {
            return;
        }
        drop(seen);
        let event = match refused {
            Some(status) => Event::new(Kind::DockerRefused, refusal(call, status)),
            None => Event::resolved(Kind::DockerRefused, &format!("{words} is allowed")),
        };
        sink(Event { subject: Some(words), ..event });
    }
}

/// What is refused, what is lost by it, and what allows it.
fn refusal(call: &EngineCall, status: u16) -> String {
    format!(
        "a proxy or a plugin in front of Docker refuses {} ({status}): {}; allow it \
         (docker-socket-proxy: {})",
        call.words(),
        call.without,
        call.switches
    )
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use crate::docker::engine_calls::{Method, find};
    use crate::docker::refusals::{REPORTS_MAX, Refusals};

    #[test]
    fn a_refusal_is_reported_at_its_begin_and_at_its_end() {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let sink = told.clone();
        let refusals = Refusals::new(Arc::new(move |event| {
            sink.lock().unwrap().push(event.message);
        }));
        let list = find(Method::Get, "/containers/json").unwrap();
        let create = find(Method::Post, "/containers/create").unwrap();
        for (call, refused) in [
            (list, None),
            (create, Some(403)),
            (create, Some(405)),
            (list, None),
            (create, None),
            (create, None),
        ] {
            refusals.note(call, refused);
        }
        assert_eq!(
            *told.lock().unwrap(),
            [
                "a proxy or a plugin in front of Docker refuses POST /containers/create (403): no \
                 replica is created; allow it (docker-socket-proxy: CONTAINERS=1 POST=1)",
                "resolved: POST /containers/create is allowed",
            ]
        );
        for _ in 0..REPORTS_MAX {
            refusals.note(list, Some(403));
            refusals.note(list, None);
        }
        let told = told.lock().unwrap();
        let of_list = told.iter().filter(|line| line.contains("GET /containers/json")).count();
        assert_eq!(of_list, REPORTS_MAX as usize);
    }
}
