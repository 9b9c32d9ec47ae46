//! Docker's stream of events, as a wake-up call and no more: events may be lost, doubled or out of
//! order, so whoever is woken looks at everything afresh.

use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::docker::LABEL_SERVICE;
use crate::docker::client::{Call, Client, agent};
use crate::model::url;

/// After each of them a look at the containers tells something new.
/// `remove` is Podman's word for `destroy`.
const EVENTS: &str = r#"["start","die","oom","health_status","destroy","remove"]"#;
/// How often the stop flag is looked at while the stream is silent.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// A frozen engine leaves the stream open and silent, so that only another call tells.
const SILENT_READS_MAX: u32 = 10;
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Follows one stream until it breaks, `stop` is set, or the engine no longer answers. Calls
/// `wake` once it is open, because of what may have been missed before, and for every event of a
/// container of ours, or of all containers.
pub(crate) fn follow(socket: &Path, of_all: bool, stop: &AtomicBool, wake: &dyn Fn()) {
    let client = Client::new(socket);
    let agent = agent(socket, None);
    let label = if of_all { String::new() } else { format!(r#""label":["{LABEL_SERVICE}"],"#) };
    let filters = format!(r#"{{"type":["container"],{label}"event":{EVENTS}}}"#);
    let Ok(prefix) = client.prefix(PING_TIMEOUT) else { return };
    let mut uri = format!("http://docker{prefix}/events?filters=");
    url::encode(&filters, &mut uri);
    let request = agent
        .get(uri)
        .config()
        .timeout_recv_response(Some(PING_TIMEOUT))
        .timeout_per_read(Some(READ_TIMEOUT))
        .build();
    let Ok(response) = request.call() else { return };
    if response.status() != 200 {
        return;
    }
    wake();
    let mut body = response.into_body().into_reader();
    let mut silent_reads = 0;
    let mut bytes = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        match body.read(&mut bytes) {
            Ok(0) => return,
            Ok(read) => {
                silent_reads = 0;
                if bytes[..read].contains(&b'\n') {
                    wake();
                }
            }
            Err(err) if is_timeout(&err) => {
                silent_reads += 1;
                if SILENT_READS_MAX <= silent_reads {
                    silent_reads = 0;
                    if client.call(Call::get("/_ping"), PING_TIMEOUT).is_err() {
                        return;
                    }
                }
            }
            Err(_) => return,
        }
    }
}

/// ureq's own timeout comes wrapped in an error of another kind.
pub(crate) fn is_timeout(err: &std::io::Error) -> bool {
    let inner = err.get_ref().and_then(|e| e.downcast_ref::<ureq::Error>());
    matches!(inner, Some(ureq::Error::Timeout(_)))
        || matches!(err.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}
