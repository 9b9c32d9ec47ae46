//! What HAProxy and the activator do for a service that may sleep.

use std::time::Duration;

use crate::model::memory::ServiceMemory;
use crate::model::proxy::Server;
use crate::model::sleep::WakePlan;
use crate::model::snapshot::Snapshot;

/// The `Retry-After` of a request that waited for too long, unless the next start is later.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// `servers` are those that HAProxy is to have, and `next_start` is how long the backoff delays a
/// start. `None`: the service cannot sleep.
pub(crate) fn of(
    snapshot: &Snapshot,
    memory: &ServiceMemory,
    desired: u32,
    servers: &[Server],
    next_start: Option<Duration>,
) -> Option<WakePlan> {
    let seen = snapshot.sleep.as_ref()?;
    let bounds = snapshot.service.timetable.at(snapshot.wall).bounds;
    let is_free = memory.hold.is_none() && memory.pause.is_none() && 0 < bounds.max();
    let serving = servers.iter().filter(|server| !server.draining);
    let forward: Vec<_> = serving.map(|server| server.address).collect();
    let waited = seen.held_since.map(|since| snapshot.now.since(since));
    let is_late = waited.is_some_and(|waited| snapshot.service.sleep.wake_timeout <= waited);
    let retry_after = next_start.unwrap_or_default().max(RETRY_AFTER);
    let accepts = is_free || 0 < desired;
    // One that came before HAProxy knew that none is to come.
    let is_refused = is_late || !accepts && 0 < seen.held;
    Some(WakePlan {
        accepts,
        refuse: (is_refused && forward.is_empty()).then_some(retry_after),
        forward,
    })
}
