//! Docker's stream of events. Events may be lost, doubled or out of order: whoever is woken looks
//! at everything afresh, and what the journal notes of them is a hint.

use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::docker::client::{Call, Client};
use crate::docker::event_journal::Journal;
use crate::docker::labels::LABEL_SERVICE;
use crate::http_client::unix_agent;
use crate::model::url;
use crate::outside::Clock;

/// After each of them but `kill` a look at the containers tells something new.
/// `remove` is Podman's word for `destroy`.
const EVENTS: &str = r#"["start","die","oom","health_status","destroy","remove","kill","pause",
    "unpause","rename","update"]"#;
/// Bytes of one event, which has all labels of its container; a longer one is not read.
const LINE_MAX: usize = 1 << 20;
/// What happened right before the stream was opened tells who ended what.
const BACKWARDS: i64 = 600;
/// How often the stop flag is looked at while the stream is silent.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// A frozen engine leaves the stream open and silent, so that only another call tells.
const SILENT_READS_MAX: u32 = 10;
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Whose events are followed, and who hears of them.
pub(crate) struct Follower<'a> {
    pub(crate) socket: &'a Path,
    /// Docker compose's containers do not carry our label.
    pub(crate) of_all: bool,
    pub(crate) journal: &'a Mutex<Journal>,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) stop: &'a AtomicBool,
    pub(crate) wake: &'a dyn Fn(),
}

/// Follows one stream until it breaks, it is told to stop, or the engine no longer answers. Wakes
/// once it is open, because of what may have been missed before, and for what happens.
pub(crate) fn follow(follower: &Follower) {
    if read_stream(follower) {
        journal(follower).lost(follower.clock.now());
    }
}

fn journal<'a>(follower: &Follower<'a>) -> MutexGuard<'a, Journal> {
    follower.journal.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether it was open.
fn read_stream(follower: &Follower) -> bool {
    let Follower { socket, of_all, stop, wake, .. } = *follower;
    let client = Client::new(socket);
    let agent = unix_agent(socket, None, 0);
    let label = if of_all { String::new() } else { format!(r#""label":["{LABEL_SERVICE}"],"#) };
    let filters = format!(r#"{{"type":["container"],{label}"event":{EVENTS}}}"#);
    let Ok(prefix) = client.prefix(PING_TIMEOUT) else { return false };
    let newest_s = i64::try_from(journal(follower).newest_ns() / 1_000_000_000).unwrap_or(0);
    let since = newest_s.max(follower.clock.wall().0.saturating_sub(BACKWARDS));
    let mut uri = format!("http://docker{prefix}/events?since={since}&filters=");
    url::encode(&filters, &mut uri);
    let request = agent
        .get(uri)
        .config()
        .timeout_recv_response(Some(PING_TIMEOUT))
        .timeout_per_read(Some(READ_TIMEOUT))
        .build();
    let Ok(response) = request.call() else { return false };
    if response.status() != 200 {
        return false;
    }
    wake();
    let mut body = response.into_body().into_reader();
    let mut silent_reads = 0;
    let (mut bytes, mut line) = ([0; 4096], Vec::new());
    while !stop.load(Ordering::Relaxed) {
        match body.read(&mut bytes) {
            Ok(0) => return true,
            Ok(read) => {
                silent_reads = 0;
                if take_in(follower, &mut line, &bytes[..read]) {
                    wake();
                }
            }
            Err(err) if is_timeout(&err) => {
                silent_reads += 1;
                if SILENT_READS_MAX <= silent_reads {
                    silent_reads = 0;
                    if client.call(Call::get("/_ping"), PING_TIMEOUT).is_err() {
                        return true;
                    }
                }
            }
            Err(_) => return true,
        }
    }
    true
}

/// Bytes of the stream, and what is left of those before. Whether somebody has to look.
fn take_in(follower: &Follower, line: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let mut is_news = false;
    for part in bytes.split_inclusive(|b| *b == b'\n') {
        if line.len() < LINE_MAX {
            line.extend(part);
        }
        if part.ends_with(b"\n") {
            let event = serde_json::from_slice(line);
            // What cannot be read may be anything.
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
