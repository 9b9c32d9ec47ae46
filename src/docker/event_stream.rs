//! Docker's event stream. Events may be lost, repeated or out of order: a wake-up only means that
//! the containers have to be listed anew, and what the journal records is a hint.

use std::io::{ErrorKind, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::docker::client::{Call, Client};
use crate::docker::event_journal::Journal;
use crate::docker::refusals::Refusals;
use crate::model::docker_host::DockerHost;
use crate::outside::Clock;

/// Events after which containers may differ; `kill` is for the journal only. `remove` is Podman's
/// name of `destroy`.
const EVENTS: &str = r#"["start","die","oom","health_status","destroy","remove","kill","pause",
    "unpause","rename","update"]"#;
/// Bytes of one event, which has all labels of its container. The rest of a longer one is skipped.
const LINE_MAX: usize = 1 << 20;
/// Seconds of history to read: events right before the stream was opened tell who stopped what.
const BACKWARDS: i64 = 600;
/// Interval at which the stop flag is checked while the stream is silent.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// Silent reads before a ping: a frozen engine leaves the stream open and silent.
const SILENT_READS_MAX: u32 = 10;
/// Time in which an engine repeats the events since a given time.
const REPEATED_AFTER: Duration = Duration::from_secs(3);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// What `follow` needs.
pub(crate) struct Follower<'a> {
    pub(crate) host: &'a DockerHost,
    pub(crate) refusals: &'a Arc<Refusals>,
    pub(crate) journal: &'a Mutex<Journal>,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) stop: &'a AtomicBool,
    pub(crate) wake: &'a dyn Fn(),
}

/// Follows one stream until it ends, `stop` is set, or the engine no longer answers. Calls `wake`
/// once the stream is open, because events may have been missed before, and for each event that
/// may change a container.
pub(crate) fn follow(follower: &Follower) {
    if !read_stream(follower) {
        return;
    }
    let now = follower.clock.now();
    match follower.host {
        DockerHost::Unix(_) => journal(follower).lost(now),
        // A proxy ends streams that are silent, and may be restarted by itself.
        DockerHost::Tcp(_) => journal(follower).cut(now),
    }
}

fn journal<'a>(follower: &Follower<'a>) -> MutexGuard<'a, Journal> {
    follower.journal.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns whether the stream was open.
fn read_stream(follower: &Follower) -> bool {
    let client = Client::new(follower.host).with_refusals(follower.refusals.clone());
    // Of all containers: the engine cannot be asked for one label or another.
    let filters = format!(r#"{{"type":["container"],"event":{EVENTS}}}"#);
    let newest_s = i64::try_from(journal(follower).newest_ns() / 1_000_000_000).unwrap_or(0);
    let since = newest_s.max(follower.clock.wall().0.saturating_sub(BACKWARDS));
    let since = since.to_string();
    let query = [("since", since.as_str()), ("filters", filters.as_str())];
    let call = Call { query: &query, ..Call::get("/events") };
    let Ok(mut events) = client.open(call, (PING_TIMEOUT, READ_TIMEOUT)) else { return false };
    (follower.wake)();
    read_events(follower, &client, &mut events);
    true
}

/// Returns when the stream ends, `stop` is set, or a silent engine does not answer a ping.
fn read_events(follower: &Follower, client: &Client, body: &mut dyn Read) {
    let mut silent_reads = 0;
    let mut bytes = [0; 4096];
    let mut line = Vec::new();
    let begun = follower.clock.now();
    while !follower.stop.load(Ordering::Relaxed) {
        match body.read(&mut bytes) {
            Ok(0) => return,
            Ok(read) => {
                silent_reads = 0;
                if record(follower, &mut line, &bytes[..read]) {
                    (follower.wake)();
                }
            }
            Err(err) if is_timeout(&err) => silent_reads += 1,
            Err(_) => return,
        }
        if 0 < silent_reads || REPEATED_AFTER <= follower.clock.now().since(begun) {
            journal(follower).settle();
        }
        if SILENT_READS_MAX <= silent_reads {
            silent_reads = 0;
            if client.call(Call::get("/_ping"), PING_TIMEOUT).is_err() {
                return;
            }
        }
    }
}

/// Records the events in `bytes`; `line` is the incomplete event from before. Returns whether the
/// containers have to be listed anew.
fn record(follower: &Follower, line: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let mut is_news = false;
    for part in bytes.split_inclusive(|b| *b == b'\n') {
        if line.len() < LINE_MAX {
            line.extend(part);
        }
        if part.ends_with(b"\n") {
            let event = serde_json::from_slice(line);
            // An unreadable event may be any event.
            is_news |=
                event.map_or(true, |event| journal(follower).note(&event, follower.clock.now()));
            line.clear();
        }
    }
    is_news
}

/// ureq's own timeout comes wrapped in an error of another kind.
pub(crate) fn is_timeout(err: &std::io::Error) -> bool {
    let inner = err.get_ref().and_then(|e| e.downcast_ref::<ureq::Error>());
    matches!(inner, Some(ureq::Error::Timeout(_)))
        || matches!(err.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}
