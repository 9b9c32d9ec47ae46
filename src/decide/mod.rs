//! `Snapshot` and `ServiceMemory` in, `Plan` and `ServiceMemory` out. Pure: no clock, no I/O, no
//! logging, no error. Every stage takes a number and gives a number and a rule; this file is the
//! only place that knows their order.

mod backoff;
mod census;
mod cooldown;
mod drain;
mod limit;
pub(crate) mod proxy;
mod recommend;
mod steps;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::decide::census::Census;
use crate::model::memory::ServiceMemory;
use crate::model::plan::{Plan, Rule};
use crate::model::schedule::Wall;
use crate::model::snapshot::{EngineSeen, Snapshot};

pub(crate) fn decide(snapshot: &Snapshot, memory: &ServiceMemory) -> (Plan, ServiceMemory) {
    let mut next = memory.clone();
    let mut because = Vec::new();
    let census = Census::take(snapshot, memory);
    let from = memory.wanted.unwrap_or_else(|| {
        because.push(Rule::Found(census.size()));
        census.size()
    });

    if snapshot.engine == EngineSeen::Lost {
        return (keep(snapshot, memory, Rule::EngineLost), next);
    }

    let standing = snapshot.service.timetable.at(snapshot.wall);
    let bounds = standing.bounds;
    let wanted = match limit::correction(from, bounds) {
        Some(rule) => {
            because.push(rule);
            from.clamp(bounds.min(), bounds.max())
        }
        None if !standing.scaling => {
            because.push(Rule::OutsideHours);
            from
        }
        None => {
            let proposed = recommend::from_load(snapshot, &census, from, &mut because);
            let limited = limit::to_bounds(proposed, bounds, &mut because);
            cooldown::hold(snapshot, memory, from, limited, &mut because)
        }
    };
    cooldown::remember(snapshot, from, wanted, &because, &mut next);
    next.wanted = Some(wanted);

    let mut work = steps::Work::new(snapshot);
    backoff::count(snapshot, &mut next, &mut work);
    drain::advance(snapshot, &mut next, &mut work);
    steps::toward(snapshot, wanted, &mut next, &mut work, &mut because);
    let servers = steps::servers(snapshot, &next);
    let again = work.again(&next).into_iter().chain(until_next_edge(snapshot)).min();
    let (actions, steps) = (work.actions, work.steps);
    (Plan { from, wanted, standing, because, actions, steps, servers, again }, next)
}

/// What a window changes is not left to the next look, which may be an hour away. Beyond this the
/// daemon turns anyway.
fn until_next_edge(snapshot: &Snapshot) -> Option<Duration> {
    const SOON: i64 = 60;
    let now = snapshot.wall;
    let edges = snapshot.service.timetable.edges(now, Wall(now.0.saturating_add(SOON)));
    let seconds = edges.first()?.0.saturating_sub(now.0);
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

/// Nothing is begun, and HAProxy keeps what it has.
pub(crate) fn keep(snapshot: &Snapshot, memory: &ServiceMemory, why: Rule) -> Plan {
    let wanted = memory.wanted.unwrap_or(0);
    Plan {
        from: wanted,
        wanted,
        standing: snapshot.service.timetable.at(snapshot.wall),
        because: vec![why],
        actions: Vec::new(),
        steps: Vec::new(),
        servers: steps::servers(snapshot, memory),
        again: None,
    }
}
