//! Which replicas to probe and when, and their health by the results: often while they start, then
//! at its own interval for as long as it lives. Also when the hook `after_ready` of each is run.
//! Pure: the driver of the controller sends probes and runs hooks.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::controller::hook_gate::HookGate;
use crate::model::action::{ActionError, ActionOutput, HookRun};
use crate::model::event::{Event, Kind};
use crate::model::hash::fnv1a;
use crate::model::health::HealthKind;
use crate::model::replica::{ContainerId, Health};
use crate::model::service::replica_name;
use crate::model::time::Moment;
use crate::observe::health::probe_results::{ProbeResults, ReplicaRun};
use crate::observe::health::tracker::HealthTracker;
use crate::observe::health::{ProbeOutcome, ProbeTarget};

/// Probes at once. A thread costs some 30 KB while it asks; beyond, the longest due go first.
pub(crate) const AT_ONCE: usize = 64;
/// A replica that starts is probed this often, so that it serves soon after it can.
const EAGER: Duration = Duration::from_millis(200);
/// The same while requests may wait for it.
const AWAITED: Duration = Duration::from_millis(25);
const EAGER_FOR: Duration = Duration::from_secs(30);
/// Between two tries to send what had no room.
const CROWDED: Duration = Duration::from_millis(50);
/// Between two tries to begin a hook that had no room.
const HOOK_CROWDED: Duration = Duration::from_millis(250);
/// Not ready for this long is reported.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Prober {
    under_way: usize,
    /// When a replica could last not be probed, since that was reported.
    wanting: Option<Moment>,
    watched: BTreeMap<ContainerId, ProbeState>,
    /// A healthy replica is probed on. Not where none can become unhealthy.
    probes_healthy: bool,
    /// Health of each replica by its results.
    pub(crate) results: ProbeResults,
}

struct ProbeState {
    target: ProbeTarget,
    since: Moment,
    tracker: HealthTracker,
    gate: HookGate,
    /// `None` while a probe is in flight, and for check types that send none.
    next: Option<Moment>,
    sent: Moment,
    told: bool,
}

impl ProbeState {
    fn new(target: ProbeTarget, now: Moment) -> ProbeState {
        let asks = match target.service.health.kind {
            HealthKind::Http(_) | HealthKind::Tcp => true,
            HealthKind::Docker | HealthKind::None => false,
        };
        let tracker = HealthTracker::new(target.is_served);
        let gate = HookGate::new(target.was_ready, now);
        ProbeState {
            target,
            since: now,
            tracker,
            gate,
            next: asks.then_some(now),
            sent: now,
            told: false,
        }
    }

    /// When to probe again after a result.
    fn again(&self, now: Moment) -> Moment {
        let check = &self.target.service.health;
        let age = now.since(self.since);
        if age < EAGER_FOR && self.tracker.is_excused(check, age) {
            return now.plus(if self.target.is_awaited { AWAITED } else { EAGER });
        }
        slot(&self.target.id, self.sent.plus(check.interval / 2), check.interval).max(now)
    }

    /// Its health by its checks and its hook.
    fn health(&mut self) -> Health {
        self.gate.health(self.target.after_ready.as_ref(), &self.tracker.health)
    }

    /// When its hook is to be run. The run of the container is known by then: a hook that an
    /// earlier daemon saw succeed is not run again.
    fn hook_due(&self) -> Option<Moment> {
        let may_run = self.target.run.started.is_some() && !self.target.is_leaving;
        let due = self.gate.due(self.target.after_ready.as_ref(), &self.tracker.health);
        due.filter(|_| may_run)
    }

    /// Reported once, when a replica takes long to become ready for the first time.
    fn complaint(&mut self, now: Moment, why: &str) -> Option<Event> {
        if self.told || now.since(self.since) < PATIENCE {
            return None;
        }
        self.told = true;
        let service = self.target.service.name.as_str();
        let message = format!("not ready after {} s: {why}", PATIENCE.as_secs());
        let event = Event::new(Kind::ReplicaNotReady, message).service(service);
        Some(event.replica(replica_name(service, self.target.number)))
    }
}

/// Every replica has its own slot in the interval, so that many are not probed at one instant.
fn slot(id: &ContainerId, earliest: Moment, interval: Duration) -> Moment {
    let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
    let phase = fnv1a(id.0.as_bytes()) % interval;
    let past = (earliest.0 % interval + interval - phase) % interval;
    Moment(earliest.0.saturating_add((interval - past) % interval))
}

impl Prober {
    pub(crate) fn new(probes_healthy: bool) -> Prober {
        let watched = BTreeMap::new();
        let results = BTreeMap::new();
        Prober { under_way: 0, wanting: None, watched, probes_healthy, results }
    }

    /// Sets the replicas to probe. Others are forgotten, except the results of those in `known`.
    /// Returns whether the health of any changed, and events to report.
    pub(crate) fn watch(
        &mut self,
        targets: Vec<ProbeTarget>,
        known: &[ContainerId],
        now: Moment,
    ) -> (bool, Vec<Event>) {
        self.results.retain(|id, _| known.contains(id));
        let mut before = std::mem::take(&mut self.watched);
        let mut changed = false;
        let mut events = Vec::new();
        for target in targets {
            let id = target.id.clone();
            let is_same = |watch: &ProbeState| {
                let old = &watch.target;
                let new = &target;
                old.run.is_same(&new.run) && old.service.health == new.service.health
            };
            let mut watch = match before.remove(&id).filter(is_same) {
                Some(watch) => ProbeState { target, ..watch },
                None => ProbeState::new(target, now),
            };
            let kind = &watch.target.service.health.kind;
            let own = &watch.target.docker_health;
            watch.tracker.note_docker_health(kind, own.as_ref(), now);
            if *kind == HealthKind::Docker && watch.tracker.health == Health::Starting {
                let why = match own {
                    None => "the image has no HEALTHCHECK; give it another health_check.type",
                    Some(_) => "the image's own check did not pass yet",
                };
                events.extend(watch.complaint(now, why));
            }
            changed |= self.note(&mut watch);
            self.watched.insert(id, watch);
        }
        (changed, events)
    }

    /// Whether its health changed.
    fn note(&mut self, watch: &mut ProbeState) -> bool {
        let health = &watch.health();
        let id = &watch.target.id;
        let new = (watch.target.run, health.clone());
        let old = self.results.insert(id.clone(), new);
        let kind = |health: &Health| std::mem::discriminant(health);
        old.map_or(kind(&Health::Unknown), |(_, old)| kind(&old)) != kind(health)
    }

    /// The replicas to probe now, the longest due first. Each result comes back by `answered`.
    pub(crate) fn due(&mut self, now: Moment) -> Vec<ProbeTarget> {
        let due = |w: &ProbeState| w.next.filter(|next| *next <= now);
        let mut ids: Vec<_> =
            self.watched.iter().filter_map(|(id, w)| Some((due(w)?, id.clone()))).collect();
        ids.sort();
        let mut targets = Vec::new();
        for (_, id) in ids.into_iter().take(AT_ONCE.saturating_sub(self.under_way)) {
            let Some(watch) = self.watched.get_mut(&id) else { continue };
            watch.next = None;
            watch.sent = now;
            targets.push(watch.target.clone());
        }
        self.under_way += targets.len();
        targets
    }

    /// How long until a probe or a hook is due; `None`: none will be.
    pub(crate) fn idle(&self, now: Moment) -> Option<Duration> {
        let next = self.watched.values().filter_map(|w| w.next).min();
        let is_full = AT_ONCE <= self.under_way;
        let floor = if is_full { CROWDED } else { Duration::ZERO };
        let hook = self.watched.values().filter_map(ProbeState::hook_due).min();
        let hook = hook.map(|at| at.since(now));
        next.map(|next| next.since(now).max(floor)).into_iter().chain(hook).min()
    }

    /// Reports when replicas cannot be probed, and when they can again. It is resolved when it was
    /// not so for a while: when descriptors run short, some probes still get one.
    fn tell_want(&mut self, outcome: &ProbeOutcome, now: Moment) -> Option<Event> {
        let before = self.wanting;
        match outcome {
            ProbeOutcome::NotAsked(why) => {
                self.wanting = Some(now);
                let words = format!("cannot probe replicas, so their health stays as it is: {why}");
                before.is_none().then(|| Event::new(Kind::HealthNotProbed, words))
            }
            ProbeOutcome::Passed | ProbeOutcome::Failed(_) => {
                before.filter(|last| PATIENCE <= now.since(*last))?;
                self.wanting = None;
                Some(Event::resolved(Kind::HealthNotProbed, "all replicas can be probed again"))
            }
        }
    }

    /// Returns whether the result changes the replica's health, and events to report.
    pub(crate) fn answered(
        &mut self,
        id: &ContainerId,
        run: ReplicaRun,
        outcome: ProbeOutcome,
        now: Moment,
    ) -> (bool, Vec<Event>) {
        self.under_way = self.under_way.saturating_sub(1);
        let mut events: Vec<Event> = self.tell_want(&outcome, now).into_iter().collect();
        let Some(mut watch) = self.watched.remove(id) else { return (false, events) };
        // A result for an earlier run, address or check is ignored.
        if watch.target.run.is_same(&run) && watch.next.is_none() {
            let check = &watch.target.service.health;
            match outcome {
                ProbeOutcome::Passed => watch.tracker.passed(check),
                ProbeOutcome::NotAsked(_) => (),
                ProbeOutcome::Failed(error) => {
                    let age = now.since(watch.since);
                    watch.tracker.failed(check, now, age, error.clone());
                    let is_starting = watch.tracker.health == Health::Starting;
                    events.extend(is_starting.then(|| watch.complaint(now, &error)).flatten());
                }
            }
            let is_settled = watch.tracker.health == Health::Healthy && !self.probes_healthy;
            watch.next = (!is_settled).then(|| watch.again(now));
        }
        let changed = self.note(&mut watch);
        self.watched.insert(id.clone(), watch);
        (changed, events)
    }

    /// Hooks to run now. `hook_begun` or `hook_postponed` follows for each.
    pub(crate) fn due_hooks(&self, now: Moment) -> Vec<HookRun> {
        let due = |watch: &ProbeState| {
            watch.hook_due().filter(|at| *at <= now)?;
            let target = &watch.target;
            Some(HookRun {
                service: target.service.name.as_str().to_owned(),
                number: target.number,
                id: target.id.clone(),
                started: target.run.started,
                hook: target.after_ready.clone()?,
            })
        };
        self.watched.values().filter_map(due).collect()
    }

    pub(crate) fn hook_begun(&mut self, id: &ContainerId) {
        self.watched.get_mut(id).into_iter().for_each(|watch| watch.gate.begun());
    }

    /// Another hook of the container has not ended, or too much is under way.
    pub(crate) fn hook_postponed(&mut self, id: &ContainerId, now: Moment) {
        let until = now.plus(HOOK_CROWDED);
        self.watched.get_mut(id).into_iter().for_each(|watch| watch.gate.postpone(until));
    }

    /// Returns whether the result changes the replica's health, and an event to report. A container
    /// that is about to go ends its hook with it, which is nothing to report.
    pub(crate) fn hook_ended(
        &mut self,
        run: &HookRun,
        result: &Result<ActionOutput, ActionError>,
        now: Moment,
    ) -> (bool, Option<Event>) {
        let Some(mut watch) = self.watched.remove(&run.id) else { return (false, None) };
        if watch.target.run.started != run.started {
            self.watched.insert(run.id.clone(), watch);
            return (false, None);
        }
        let why = watch.gate.ended(result, now).filter(|_| !watch.target.is_leaving);
        let name = replica_name(&run.service, run.number);
        let event = |why| Event::new(Kind::HookFailed, why).service(&run.service).replica(name);
        let changed = self.note(&mut watch);
        self.watched.insert(run.id.clone(), watch);
        (changed, why.map(event))
    }

    /// The longest timeout of hooks that replicas await. `None`: none is awaited.
    pub(crate) fn hooks_left(&self) -> Option<Duration> {
        let awaits =
            |id: &ContainerId| matches!(self.results.get(id), Some((_, Health::AwaitsHook)));
        let waiting = self.watched.iter().filter(|(id, _)| awaits(id));
        waiting.filter_map(|(_, watch)| Some(watch.target.after_ready.as_ref()?.timeout)).max()
    }

    /// Replicas without a result so far count as starting.
    pub(crate) fn give_up(&mut self) {
        for (_, health) in self.results.values_mut().filter(|(_, h)| *h == Health::Unknown) {
            *health = Health::Starting;
        }
    }

    /// Every watched replica is known to be healthy or unhealthy.
    pub(crate) fn is_settled(&self) -> bool {
        let settled = |health: &Health| match health {
            Health::Healthy | Health::Unhealthy { .. } => true,
            Health::Unknown | Health::Starting | Health::AwaitsHook => false,
        };
        self.watched.values().all(|watch| settled(&watch.tracker.health))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::controller::prober::slot;
    use crate::model::replica::ContainerId;
    use crate::model::time::Moment;

    #[test]
    fn every_replica_has_its_own_place_in_the_interval() {
        let interval = Duration::from_secs(10);
        let mut tenths = [0; 10];
        for n in 0..100 {
            let id = ContainerId(format!("{n:064x}"));
            let first = slot(&id, Moment(1_000_000), interval);
            assert!(Moment(1_000_000) <= first && first < Moment(1_010_000), "{first:?}");
            assert_eq!(slot(&id, first, interval), first);
            assert_eq!(slot(&id, Moment(first.0 + 1), interval), first.plus(interval));
            tenths[usize::try_from((first.0 - 1_000_000) / 1000).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|n| (1..30).contains(n)), "{tenths:?}");
    }
}
