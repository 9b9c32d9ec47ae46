//! Whom to probe and when, and what the results make of each replica: often while it starts, then
//! at its own interval for as long as it lives. Pure: whoever drives the controller sends probes.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::event::{Event, Kind};
use crate::model::hash::fnv1a;
use crate::model::health::HealthKind;
use crate::model::replica::{ContainerId, Health};
use crate::model::service::replica_name;
use crate::model::time::Moment;
use crate::observe::health::streak::Streak;
use crate::observe::health::{Outcome, Target};
use crate::observe::{Answers, Run};

/// Probes at once. A thread costs some 30 KB while it asks; beyond, the longest due go first.
const AT_ONCE: usize = 64;
/// A replica that starts is probed this often, so that it serves soon after it can.
const EAGER: Duration = Duration::from_millis(200);
const EAGER_FOR: Duration = Duration::from_secs(30);
/// Between two tries to send what had no room.
const CROWDED: Duration = Duration::from_millis(50);
/// Not ready for this long is reported.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Prober {
    under_way: usize,
    /// When a replica could last not be probed, since that was reported.
    wanting: Option<Moment>,
    watched: BTreeMap<ContainerId, ProbeState>,
    /// A healthy replica is probed on. Not where none can become unhealthy.
    probes_healthy: bool,
    /// What the results of each replica make of it.
    pub(crate) results: Answers,
}

struct ProbeState {
    target: Target,
    since: Moment,
    streak: Streak,
    /// `None` while a probe is under way, and for kinds that ask nobody.
    next: Option<Moment>,
    sent: Moment,
    told: bool,
}

impl ProbeState {
    fn new(target: Target, now: Moment) -> ProbeState {
        let asks = match target.service.health.kind {
            HealthKind::Http(_) | HealthKind::Tcp => true,
            HealthKind::Docker | HealthKind::None => false,
        };
        let streak = Streak::new(target.is_served);
        ProbeState { target, since: now, streak, next: asks.then_some(now), sent: now, told: false }
    }

    /// When to ask again after an answer.
    fn again(&self, now: Moment) -> Moment {
        let check = &self.target.service.health;
        let age = now.since(self.since);
        if age < EAGER_FOR && self.streak.is_excused(check, age) {
            return now.plus(EAGER);
        }
        slot(&self.target.id, self.sent.plus(check.interval / 2), check.interval).max(now)
    }

    /// Told once, when it takes long to be ready for the first time.
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

/// Every replica has its own place in the interval, so that many are not asked in one instant.
fn slot(id: &ContainerId, earliest: Moment, interval: Duration) -> Moment {
    let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
    let phase = fnv1a(id.0.as_bytes()) % interval;
    let past = (earliest.0 % interval + interval - phase) % interval;
    Moment(earliest.0.saturating_add((interval - past) % interval))
}

impl Prober {
    pub(crate) fn new(probes_healthy: bool) -> Prober {
        let (watched, results) = (BTreeMap::new(), BTreeMap::new());
        Prober { under_way: 0, wanting: None, watched, probes_healthy, results }
    }

    /// Whom to ask from now on. The others are forgotten, but for the answers of those in `known`.
    /// Gives whether anything is known of one that was not, and what the operator should hear.
    pub(crate) fn watch(
        &mut self,
        targets: Vec<Target>,
        known: &[ContainerId],
        now: Moment,
    ) -> (bool, Vec<Event>) {
        self.results.retain(|id, _| known.contains(id));
        let mut before = std::mem::take(&mut self.watched);
        let (mut changed, mut events) = (false, Vec::new());
        for target in targets {
            let id = target.id.clone();
            let is_same = |watch: &ProbeState| {
                let (old, new) = (&watch.target, &target);
                old.run.is_same(&new.run) && old.service.health == new.service.health
            };
            let mut watch = match before.remove(&id).filter(is_same) {
                Some(watch) => ProbeState { target, ..watch },
                None => ProbeState::new(target, now),
            };
            let (kind, own) = (&watch.target.service.health.kind, &watch.target.own_health);
            watch.streak.heard(kind, own.as_ref(), now);
            if *kind == HealthKind::Docker && watch.streak.health == Health::Starting {
                let why = match own {
                    None => "the image has no HEALTHCHECK; give it another health_check.type",
                    Some(_) => "the image's own check did not pass yet",
                };
                events.extend(watch.complaint(now, why));
            }
            changed |= self.note(&watch);
            self.watched.insert(id, watch);
        }
        (changed, events)
    }

    /// Whether it is another health than before.
    fn note(&mut self, watch: &ProbeState) -> bool {
        let (id, health) = (&watch.target.id, &watch.streak.health);
        let new = (watch.target.run, health.clone());
        let old = self.results.insert(id.clone(), new);
        let kind = |health: &Health| std::mem::discriminant(health);
        old.map_or(kind(&Health::Unknown), |(_, old)| kind(&old)) != kind(health)
    }

    /// Whom to probe now, the longest due first. Each result comes back by `answered`.
    pub(crate) fn due(&mut self, now: Moment) -> Vec<Target> {
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

    /// How long until a probe is due; `None`: none will be.
    pub(crate) fn idle(&self, now: Moment) -> Option<Duration> {
        let next = self.watched.values().filter_map(|w| w.next).min()?;
        let is_full = AT_ONCE <= self.under_way;
        Some(next.since(now).max(if is_full { CROWDED } else { Duration::ZERO }))
    }

    /// What is told when replicas cannot be asked, and when they can again. It is over when it was
    /// not so for a while, as files that are short are there for one and not for another.
    fn tell_want(&mut self, outcome: &Outcome, now: Moment) -> Option<Event> {
        let before = self.wanting;
        match outcome {
            Outcome::NotAsked(why) => {
                self.wanting = Some(now);
                let words = format!("a replica could not be asked, so its health stays: {why}");
                before.is_none().then(|| Event::new(Kind::HealthNotAsked, words))
            }
            Outcome::Passed | Outcome::Failed(_) => {
                before.filter(|last| PATIENCE <= now.since(*last))?;
                self.wanting = None;
                Some(Event::resolved(Kind::HealthNotAsked, "all replicas can be asked again"))
            }
        }
    }

    /// Whether the answer changes anything, and what the operator should hear of it.
    pub(crate) fn answered(
        &mut self,
        id: &ContainerId,
        run: Run,
        outcome: Outcome,
        now: Moment,
    ) -> (bool, Vec<Event>) {
        self.under_way = self.under_way.saturating_sub(1);
        let mut events: Vec<Event> = self.tell_want(&outcome, now).into_iter().collect();
        let Some(mut watch) = self.watched.remove(id) else { return (false, events) };
        // One that was meanwhile given another address or another check is asked anew.
        if watch.target.run.is_same(&run) && watch.next.is_none() {
            let check = &watch.target.service.health;
            match outcome {
                Outcome::Passed => watch.streak.passed(check),
                Outcome::NotAsked(_) => (),
                Outcome::Failed(error) => {
                    let age = now.since(watch.since);
                    watch.streak.failed(check, now, age, error.clone());
                    let is_starting = watch.streak.health == Health::Starting;
                    events.extend(is_starting.then(|| watch.complaint(now, &error)).flatten());
                }
            }
            let is_settled = watch.streak.health == Health::Healthy && !self.probes_healthy;
            watch.next = (!is_settled).then(|| watch.again(now));
        }
        let changed = self.note(&watch);
        self.watched.insert(id.clone(), watch);
        (changed, events)
    }

    /// Whoever did not answer so far is taken as one that starts.
    pub(crate) fn give_up(&mut self) {
        for (_, health) in self.results.values_mut().filter(|(_, h)| *h == Health::Unknown) {
            *health = Health::Starting;
        }
    }

    /// Nothing more is to be learnt of anyone soon.
    pub(crate) fn is_settled(&self) -> bool {
        let settled = |health: &Health| match health {
            Health::Healthy | Health::Unhealthy { .. } => true,
            Health::Unknown | Health::Starting => false,
        };
        self.watched.values().all(|watch| settled(&watch.streak.health))
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
