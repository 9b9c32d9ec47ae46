//! A service that Docker Swarm runs. The same stages give its number; Swarm starts, places, heals
//! and stops, so that nothing else is decided here.

use crate::decide::{Course, classify, commands, policies, until_next_edge};
use crate::model::action::Action;
use crate::model::memory::ServiceMemory;
use crate::model::plan::{Cause, Plan, Rule};
use crate::model::proxy::Server;
use crate::model::snapshot::Snapshot;
use crate::model::swarm::{SwarmMemory, SwarmStanding};

/// `next` is the memory without orders that are over.
pub(crate) fn plan_swarm_service(
    snapshot: &Snapshot,
    swarm: &SwarmStanding,
    next: ServiceMemory,
) -> (Plan, ServiceMemory) {
    // What is remembered of replicas of this host is of no use here, as where it ran them before.
    let ServiceMemory { changed_at, hold, pause, history, swarm: before, .. } = next;
    let wanted = next.wanted.filter(|_| before.is_some());
    let mut next = ServiceMemory {
        wanted,
        changed_at,
        hold,
        pause,
        history,
        swarm: before,
        ..ServiceMemory::default()
    };
    let adopted = adopt(snapshot, swarm, &mut next);
    let judged = next.clone();
    let mut course = Course::begin(snapshot, &judged);
    let from = wanted.unwrap_or(course.number);
    course.because.extend(adopted);
    let standing = snapshot.service.timetable.at(snapshot.wall);
    course.run(&standing, &mut next);
    let Course { number: wanted, because, census: seen, measured, is_by_load, .. } = course;
    if is_by_load && from != wanted {
        next.changed_at = Some(snapshot.now);
    }
    let behavior = snapshot.service.behavior.as_ref();
    policies::remember(&mut next.history, snapshot.now, behavior, from, wanted);
    next.wanted = Some(wanted);
    let actions: Vec<Action> = resize(snapshot, swarm, wanted).into_iter().collect();
    if let Some(memory) = next.swarm.as_mut().filter(|_| !actions.is_empty()) {
        memory.asked = Some(wanted);
    }
    let again =
        until_next_edge(snapshot).into_iter().chain(commands::requeue_after(snapshot.now, &next));
    let plan = Plan {
        from,
        wanted,
        standing,
        counts: seen.counts(),
        sightings: classify::sightings(snapshot, &judged),
        measured,
        because,
        actions,
        steps: Vec::new(),
        milestones: Vec::new(),
        servers: servers(snapshot, swarm),
        again: again.min(),
    };
    (plan, next)
}

/// A number that neither stood there before nor was asked for by us is somebody else's. It is
/// taken over, and changed again only after a cooldown: two that put the same number right in turn
/// would never come to rest.
fn adopt(snapshot: &Snapshot, swarm: &SwarmStanding, next: &mut ServiceMemory) -> Option<Cause> {
    if swarm.busy {
        return None;
    }
    let found = swarm.desired;
    let before = next.swarm.replace(SwarmMemory { seen: found, asked: None })?;
    let is_known = before.seen == found || before.asked == Some(found);
    if is_known || next.wanted == Some(found) {
        return None;
    }
    next.wanted = Some(found);
    next.changed_at = Some(snapshot.now);
    Some(Cause { rule: Rule::Rescaled(found), number: found })
}

fn resize(snapshot: &Snapshot, swarm: &SwarmStanding, wanted: u32) -> Option<Action> {
    let is_due = swarm.leads && !swarm.busy && wanted != swarm.desired;
    let name = snapshot.service.runs.swarm().filter(|_| is_due)?;
    Some(Action::Resize {
        service: snapshot.service.name.as_str().to_owned(),
        swarm_service: name.to_owned(),
        from: swarm.desired,
        to: wanted,
    })
}

/// One for all: behind the published port Swarm itself spreads requests over its tasks.
pub(crate) fn servers(snapshot: &Snapshot, swarm: &SwarmStanding) -> Vec<Server> {
    let server = |address: std::net::SocketAddr| {
        // Another port is another server: HAProxy takes no other address under the same name.
        let name = format!("{}-swarm-{}", snapshot.service.name, address.port());
        Server { name, address, draining: false }
    };
    swarm.address.map(server).into_iter().collect()
}
