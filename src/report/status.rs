//! The status of each service: its state now, and the decision of the last evaluation.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::model::decision::{Counts, Decision};
use crate::model::load_history::{MinuteRow, share_of};
use crate::model::memory::{DrainStep, Hold, ServiceMemory};
use crate::model::metric::Milli;
use crate::model::plan::{Plan, ServiceTransition};
use crate::model::reason::{AppliedRule, Rule};
use crate::model::replica::{ContainerState, Health, Load, Replica};
use crate::model::rollout::RolloutMemory;
use crate::model::service::Service;
use crate::model::sleep::SleepState;
use crate::model::snapshot::Snapshot;
use crate::model::status::{
    DrainStatus, LastScale, LoadPoint, Record, ReplicaState, ReplicaStatus, RolloutState,
    RolloutStatus, ServiceStatus, SleepStatus,
};
use crate::model::time::{Moment, Wall};

/// An hour at the usual interval.
const COURSE_POINTS: usize = 240;

/// What a single tick does not show.
#[derive(Debug, Default)]
pub(crate) struct StatusHistory {
    records: BTreeMap<String, Arc<Record>>,
    changes: BTreeMap<String, LastScale>,
    /// CPU and memory of each replica at the last evaluation; other ticks read neither.
    loads: BTreeMap<(String, u32), (Load, Load)>,
    courses: BTreeMap<String, Arc<VecDeque<LoadPoint>>>,
}

impl StatusHistory {
    /// What the load history has of the time before the daemon's start.
    pub(crate) fn remember(&mut self, service: &str, rows: &[MinuteRow]) {
        let point = |row: &MinuteRow| LoadPoint {
            at: row.at,
            load: row.load(),
            forecast: row.forecast(),
            ready: row.ready,
            desired: row.desired,
        };
        let course: VecDeque<LoadPoint> = rows.iter().map(point).collect();
        self.courses.insert(service.to_owned(), Arc::new(course));
    }

    /// The last change of the number before the daemon's start.
    pub(crate) fn changed(&mut self, service: &str, change: LastScale) {
        self.changes.insert(service.to_owned(), change);
    }

    /// The status of one service after a tick. `memory` is the next one.
    pub(crate) fn service(
        &mut self,
        snapshot: &Snapshot,
        plan: &Plan,
        memory: &ServiceMemory,
    ) -> ServiceStatus {
        let name = snapshot.service.name.as_str();
        let at = snapshot.wall;
        if snapshot.due {
            self.records
                .insert(name.to_owned(), Arc::new(Record { at, decision: plan.decision.clone() }));
            let course = Arc::make_mut(self.courses.entry(name.to_owned()).or_default());
            course.push_back(point(at, &plan.decision));
            course.drain(..course.len().saturating_sub(COURSE_POINTS));
            self.loads.retain(|(service, _), _| service != name);
            let loads = snapshot.replicas.iter().map(|r| (r.number, (r.load, r.memory)));
            self.loads.extend(loads.map(|(number, loads)| ((name.to_owned(), number), loads)));
        }
        if plan.decision.from != plan.decision.desired {
            let change = change(at, &plan.decision, memory.hold.as_ref());
            self.changes.insert(name.to_owned(), change);
        }
        // A tick between two evaluations has no load: the last evaluation has.
        let stands =
            plan.decision.because.last().is_some_and(|cause| cause.rule == Rule::Unchanged);
        let record = self.records.get(name);
        let mut decision = plan.decision.clone();
        if let Some(record) = record.filter(|_| stands) {
            let lasting = record.decision.because.iter().filter(|cause| holds_on(cause, memory));
            let lasting: Vec<AppliedRule> = lasting.copied().collect();
            if !lasting.is_empty() {
                decision.because = lasting;
            }
        }
        let replicas = snapshot.replicas.iter().map(|r| self.replica(snapshot, r, memory));
        let replicas = replicas.collect();
        let timetable = &snapshot.service.timetable;
        ServiceStatus {
            name: name.to_owned(),
            listen: snapshot.service.listen.clone(),
            decision,
            windows: timetable.schedules.iter().map(|s| s.name.clone()).collect(),
            has_hours: timetable.hours.is_some(),
            hold: memory.hold.clone(),
            pause: memory.pause,
            rollout: rollout(snapshot.now, &memory.rollout),
            suspect: memory.panic_mode.is_some(),
            last_change: self.changes.get(name).cloned(),
            record: self.records.get(name).cloned(),
            replicas,
            course: self.courses.get(name).cloned().unwrap_or_default(),
            service: snapshot.service.clone(),
            last_failure: None,
            traffic: None,
            sleep: sleep(snapshot, plan, memory),
            raise: memory.forecast,
        }
    }

    fn replica(
        &self,
        snapshot: &Snapshot,
        replica: &Replica,
        memory: &ServiceMemory,
    ) -> ReplicaStatus {
        let key = (snapshot.service.name.as_str().to_owned(), replica.number);
        let loads = self.loads.get(&key).copied();
        let swarm = snapshot.swarm.as_ref();
        let (cpu, used) = loads.unwrap_or((Load::Missing, Load::Missing));
        ReplicaStatus {
            name: snapshot.service.replica_name(replica.number),
            container: replica.id.to_string(),
            node: swarm.and_then(|swarm| swarm.nodes.get(&replica.id).cloned()),
            state: state(replica, memory),
            address: replica.address,
            cpu,
            memory: used,
            sessions: replica.server.map(|server| server.sessions),
            server_check: replica.server.map(|server| server.check),
            error: memory.unhealthy.get(&replica.id).map(|unhealthy| unhealthy.error.clone()),
            log: Vec::new(),
            started: replica.started,
            restarts: replica.restarts,
            is_healthy: match replica.health {
                Health::Healthy => Some(true),
                Health::Unhealthy { .. } => Some(false),
                Health::Unknown | Health::Starting | Health::AwaitsHook => None,
            },
            awaits_hook: replica.health == Health::AwaitsHook,
            drain: drain(replica, &snapshot.service, memory),
        }
    }

    /// The status before the first list of containers: nothing is known of the replicas.
    pub(crate) fn unseen(
        &self,
        service: &Arc<Service>,
        at: Wall,
        memory: &ServiceMemory,
    ) -> ServiceStatus {
        let name = service.name.as_str();
        let rule = Rule::EngineLost;
        let desired = memory.desired.unwrap_or(0);
        let timetable = &service.timetable;
        let decision = Decision {
            from: desired,
            desired,
            effective: timetable.at(at),
            counts: Counts::default(),
            samples: Vec::new(),
            measured: Vec::new(),
            forecast: None,
            because: vec![AppliedRule { rule, number: desired }],
        };
        ServiceStatus {
            name: name.to_owned(),
            listen: service.listen.clone(),
            decision,
            windows: timetable.schedules.iter().map(|s| s.name.clone()).collect(),
            has_hours: timetable.hours.is_some(),
            hold: memory.hold.clone(),
            pause: memory.pause,
            rollout: None,
            suspect: memory.panic_mode.is_some(),
            last_change: self.changes.get(name).cloned(),
            record: None,
            replicas: Vec::new(),
            course: self.courses.get(name).cloned().unwrap_or_default(),
            service: service.clone(),
            last_failure: None,
            traffic: None,
            sleep: None,
            raise: None,
        }
    }

    /// Forgets services that are gone.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.records.retain(|name, _| is_there(name));
        self.changes.retain(|name, _| is_there(name));
        self.courses.retain(|name, _| is_there(name));
        self.loads.retain(|(name, _), _| is_there(name));
    }
}

fn drain(replica: &Replica, service: &Service, memory: &ServiceMemory) -> Option<DrainStatus> {
    let drain = memory.drains.get(&replica.id)?;
    matches!(drain.step, DrainStep::Draining { .. }).then_some(())?;
    let sessions = replica.server.map_or(0, |server| server.sessions);
    let sessions = sessions.saturating_add(replica.old_connections.unwrap_or(0));
    let sessions = sessions.saturating_add(u64::from(replica.copies));
    Some(DrainStatus { sessions, until: drain.since.plus(service.drain_timeout) })
}

fn sleep(snapshot: &Snapshot, plan: &Plan, memory: &ServiceMemory) -> Option<SleepStatus> {
    let seen = snapshot.sleep.as_ref()?;
    let woken = plan.service_transitions.iter().find_map(|transition| match transition {
        ServiceTransition::Woken { by, .. } => Some(*by),
        _ => None,
    });
    let asleep = memory.sleep.asleep;
    let waking = memory.sleep.waking().map(|wake_up| wake_up.since);
    let state = match (asleep, waking) {
        (Some(_), _) if snapshot.replicas.is_empty() => SleepState::Asleep,
        (Some(_), _) => SleepState::FallingAsleep,
        (None, Some(_)) => SleepState::Waking,
        (None, None) => SleepState::Awake,
    };
    Some(SleepStatus {
        state,
        since: asleep.or(waking),
        // Of one that serves, HAProxy's queue is none of a wake-up.
        waiting: if state == SleepState::Awake { 0 } else { seen.waiting() },
        held: seen.held.saturating_add(seen.copies),
        woken,
        answered: seen.answered.clone(),
    })
}

fn rollout(now: Moment, memory: &RolloutMemory) -> Option<RolloutStatus> {
    let is_back = memory.rejected.is_some();
    let Some(progress) = &memory.under_way else {
        let state = RolloutState::RolledBack;
        let idle = Duration::ZERO;
        return is_back.then_some(RolloutStatus { state, new: 0, old: 0, idle });
    };
    let state = match (is_back, progress.is_stalled) {
        (true, _) => RolloutState::RollingBack,
        (false, true) => RolloutState::Stalled,
        (false, false) => RolloutState::Rolling,
    };
    let new = progress.most_new;
    let old = progress.fewest_old;
    let idle = now.since(progress.moved);
    Some(RolloutStatus { state, new, old, idle })
}

fn point(at: Wall, decision: &Decision) -> LoadPoint {
    let loads = decision.measured.iter().filter_map(|measured| {
        let target = measured.target.0.max(1);
        measured.value.map(|value| Milli(value.0.saturating_mul(1000) / target))
    });
    let ready = decision.counts.ready;
    let forecasts =
        decision.forecast.iter().flat_map(|forecast| &forecast.metrics).filter_map(|forecast| {
            Some(share_of(forecast.earlier?, forecast.share.value(), ready))
        });
    let (load, forecast) = (loads.max(), forecasts.max());
    LoadPoint { at, load, forecast, ready, desired: decision.desired }
}

/// Whether a rule of an evaluation still counts before the next one: an outage may be over by then,
/// and an operator's command taken back.
fn holds_on(cause: &AppliedRule, memory: &ServiceMemory) -> bool {
    match cause.rule {
        Rule::NoneReady(_) => false,
        Rule::Held { .. } => memory.hold.is_some(),
        Rule::Paused { .. } => memory.pause.is_some(),
        _ => true,
    }
}

/// It is shown long afterwards: how long a hold was still to last says nothing then.
fn change(at: Wall, decision: &Decision, hold: Option<&Hold>) -> LastScale {
    let word = |rule: &Rule| match (rule, hold.and_then(|hold| hold.reason.as_ref())) {
        (Rule::Held { .. }, None) => "by an operator".to_owned(),
        (Rule::Held { .. }, Some(reason)) => format!("by an operator: {reason}"),
        (rule, _) => rule.to_string(),
    };
    let words: Vec<String> = decision.because.iter().map(|cause| word(&cause.rule)).collect();
    let from = decision.from;
    let to = decision.desired;
    let reason = decision.reason();
    LastScale { at, from, to, reason, words: words.join(", ") }
}

/// The state as operators see it: a draining replica still serves, a drained one does not.
fn state(replica: &Replica, memory: &ServiceMemory) -> ReplicaState {
    let drain = memory.drains.get(&replica.id).map(|drain| drain.step);
    match (replica.state, drain) {
        (ContainerState::Exited, _) => ReplicaState::Exited,
        (ContainerState::Removing, _) | (_, Some(DrainStep::Drained | DrainStep::Ended)) => {
            ReplicaState::Stopping
        }
        (_, Some(DrainStep::Draining { .. })) => ReplicaState::Draining,
        (ContainerState::Paused, None) => ReplicaState::Unhealthy,
        (ContainerState::Running, None) if memory.is_unhealthy(&replica.id) => {
            ReplicaState::Unhealthy
        }
        (ContainerState::Running, None)
            if replica.is_served() || replica.health == Health::Healthy =>
        {
            ReplicaState::Ready
        }
        (ContainerState::Created | ContainerState::Running | ContainerState::Restarting, None) => {
            ReplicaState::Starting
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::memory::{Drain, DrainStep, ServiceMemory};
    use crate::model::replica::{ContainerId, ContainerState, Health, Replica};
    use crate::model::status::ReplicaState;
    use crate::model::time::Moment;
    use crate::report::status::state;

    #[test]
    fn a_replica_is_shown_as_operators_think_of_it() {
        let replica = |state, health| Replica {
            health,
            ..Replica::bare(ContainerId("a".to_owned()), 1, state)
        };
        let running = ContainerState::Running;
        let healthy = Health::Healthy;
        let emptying = Some(DrainStep::Draining { quiet: 0 });
        let released = Some(DrainStep::Drained);
        for (state_of, health, step, want) in [
            (ContainerState::Created, Health::Unknown, None, ReplicaState::Starting),
            (running, Health::Unknown, None, ReplicaState::Starting),
            (running, Health::Starting, None, ReplicaState::Starting),
            (running, healthy.clone(), None, ReplicaState::Ready),
            (running, healthy.clone(), emptying, ReplicaState::Draining),
            (running, healthy.clone(), released, ReplicaState::Stopping),
            (ContainerState::Removing, healthy.clone(), None, ReplicaState::Stopping),
            (ContainerState::Exited, healthy, released, ReplicaState::Exited),
        ] {
            let replica = replica(state_of, health);
            let drain = step.map(|step| (replica.id.clone(), Drain { since: Moment(0), step }));
            let memory =
                ServiceMemory { drains: drain.into_iter().collect(), ..Default::default() };
            assert_eq!(state(&replica, &memory), want, "{replica:?} {step:?}");
        }
    }
}
