//! The class of each replica, and how many are of each class. HPA groups pods alike (`groupPods`:
//! ready, unready, missing, ignored).

use crate::decide::after_exit::{self, AfterExit};
use crate::model::decision::{Counts, ReplicaSample, SampleClass};
use crate::model::memory::ServiceMemory;
use crate::model::metric::Source;
use crate::model::replica::{ContainerState, Health, Load, Replica};
use crate::model::service::Percent;
use crate::model::snapshot::Snapshot;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaClass {
    /// Can serve: our probe passed, or HAProxy sends it traffic already.
    Ready,
    /// Created or running, not known to serve yet.
    Unready,
    /// Its health check fails and is trusted: HAProxy must not have it.
    Unhealthy,
    /// Drained, stopped, or exited.
    Leaving,
    /// Its owner stopped or paused it, or it keeps crashing: it does not count towards the
    /// number.
    Away,
}

/// Failures in a row until another replica is started beside one that keeps crashing.
const RESTARTS_MAX: u32 = 2;

fn classify(replica: &Replica, memory: &ServiceMemory) -> ReplicaClass {
    if replica.busy || memory.drains.contains_key(&replica.id) {
        return ReplicaClass::Leaving;
    }
    if after_exit::is_away(replica) {
        return ReplicaClass::Away;
    }
    match replica.state {
        ContainerState::Exited => match after_exit::after_exit(replica) {
            AfterExit::Waits => ReplicaClass::Unready,
            AfterExit::Restarts if memory.failures.count < RESTARTS_MAX => ReplicaClass::Unready,
            AfterExit::Restarts | AfterExit::LeftAlone => ReplicaClass::Away,
            AfterExit::Replaced => ReplicaClass::Leaving,
        },
        ContainerState::Removing => ReplicaClass::Leaving,
        ContainerState::Created | ContainerState::Restarting => ReplicaClass::Unready,
        ContainerState::Paused if replica.is_held && replica.is_served() => ReplicaClass::Ready,
        ContainerState::Paused if replica.is_held => ReplicaClass::Unready,
        // A paused container answers no request, whatever its last check said.
        ContainerState::Paused => ReplicaClass::Unhealthy,
        // Nobody can probe it without an address. Swarm tasks have none: Swarm probes them.
        ContainerState::Running if replica.address.is_none() => match replica.health {
            Health::Healthy => ReplicaClass::Ready,
            _ if memory.is_unhealthy(&replica.id) => ReplicaClass::Unhealthy,
            Health::Unknown | Health::Starting | Health::AwaitsHook | Health::Unhealthy { .. } => {
                ReplicaClass::Unready
            }
        },
        ContainerState::Running => match memory.unhealthy.get(&replica.id) {
            Some(unhealthy) if !unhealthy.ignored => ReplicaClass::Unhealthy,
            Some(unhealthy) if unhealthy.served => ReplicaClass::Ready,
            Some(_) => ReplicaClass::Unready,
            None if replica.is_served() || replica.health == Health::Healthy => ReplicaClass::Ready,
            None => ReplicaClass::Unready,
        },
    }
}

/// The replicas of one snapshot with their classes, as HPA's `groupPods` groups pods.
pub(crate) struct Classified<'a> {
    /// Oldest first, as in the snapshot.
    pub(crate) replicas: Vec<(ReplicaClass, &'a Replica)>,
    pub(crate) counts: ReplicaCounts,
}

impl<'a> Classified<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot, memory: &ServiceMemory) -> Classified<'a> {
        let replicas = snapshot.replicas.iter().map(|r| (classify(r, memory), r));
        let replicas: Vec<_> = replicas.collect();
        let counts = ReplicaCounts::of(&replicas, snapshot);
        Classified { replicas, counts }
    }
}

/// How each replica counted, for the decision's record.
pub(crate) fn samples(snapshot: &Snapshot, classified: &Classified) -> Vec<ReplicaSample> {
    let service = &snapshot.service;
    let scales_by = |source: &Source| service.metrics.iter().any(|m| m.source == *source);
    let by_cpu = service.band.is_some() || scales_by(&Source::Cpu);
    let by_memory = scales_by(&Source::Memory);
    let sample = |(class, r): &(ReplicaClass, &Replica)| {
        let lacks = by_cpu && r.load == Load::Missing || by_memory && r.memory == Load::Missing;
        let weight = match class {
            ReplicaClass::Ready if lacks => SampleClass::Missing,
            ReplicaClass::Ready => SampleClass::Ready,
            ReplicaClass::Unready | ReplicaClass::Unhealthy => SampleClass::Unready,
            ReplicaClass::Leaving | ReplicaClass::Away => SampleClass::Ignored,
        };
        ReplicaSample {
            number: r.number,
            weight,
            cpu: r.load,
            memory: r.memory,
            awaits_hook: r.health == Health::AwaitsHook,
        }
    };
    classified.replicas.iter().map(sample).collect()
}

/// Numbers of starts that have not ended and have no container yet.
pub(crate) fn hidden(snapshot: &Snapshot) -> impl Iterator<Item = u32> {
    let shown = |n: &u32| snapshot.replicas.iter().any(|r| r.number == *n);
    snapshot.starting.iter().copied().filter(move |n| !shown(n))
}

/// How many replicas are of each class, and the CPU load of the ready ones.
#[derive(Debug, Default)]
pub(crate) struct ReplicaCounts {
    /// Ready, with a sample.
    pub(crate) sampled: u32,
    /// Ready, without one.
    pub(crate) missing: u32,
    /// Not ready yet, including starts without a container so far.
    pub(crate) unready: u32,
    pub(crate) unhealthy: u32,
    pub(crate) leaving: u32,
    /// CPU of the sampled ones together, in hundredths of a percent.
    pub(crate) total: u64,
}

impl ReplicaCounts {
    fn of(replicas: &[(ReplicaClass, &Replica)], snapshot: &Snapshot) -> ReplicaCounts {
        let mut counts = ReplicaCounts::default();
        for (class, replica) in replicas {
            match (class, replica.load) {
                (ReplicaClass::Leaving, _) => counts.leaving += 1,
                (ReplicaClass::Unready, _) => counts.unready += 1,
                (ReplicaClass::Unhealthy, _) => counts.unhealthy += 1,
                (ReplicaClass::Away, _) => (),
                (ReplicaClass::Ready, Load::Missing) => counts.missing += 1,
                (ReplicaClass::Ready, Load::Read(load)) => {
                    counts.sampled += 1;
                    counts.total = counts.total.saturating_add(load.hundredths());
                }
            }
        }
        counts.unready += u32::try_from(hidden(snapshot).count()).unwrap_or(u32::MAX);
        counts
    }

    pub(crate) fn by_state(&self) -> Counts {
        let ReplicaCounts { sampled, missing, unready, unhealthy, leaving, .. } = *self;
        Counts { ready: sampled + missing, unready, unhealthy, leaving }
    }

    /// What counts towards the number: replicas that serve or soon will, and unhealthy ones until
    /// they are replaced.
    pub(crate) fn size(&self) -> u32 {
        self.sampled + self.missing + self.unready + self.unhealthy
    }

    /// CPU over the replicas with a sample; `None` without any.
    pub(crate) fn average(&self) -> Option<Percent> {
        let total = self.total.checked_div(u64::from(self.sampled))?;
        Some(Percent::from_hundredths(total))
    }
}
