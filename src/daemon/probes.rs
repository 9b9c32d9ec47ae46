//! Asks every replica whether it can serve: often while it starts, then at its own interval for as
//! long as it lives. Each question has a thread of its own, of a bounded number: one that hangs
//! delays nobody.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use crate::daemon::inbox::Event as Incoming;
use crate::daemon::{pool, spawn};
use crate::model::counted::{Cause, Counted};
use crate::model::event::{Event, Kind};
use crate::model::hash::fnv1a;
use crate::model::health::HealthKind;
use crate::model::replica::{ContainerId, Health};
use crate::model::service::replica_name;
use crate::model::time::Moment;
use crate::observe::health::streak::Streak;
use crate::observe::health::{self, Outcome, Target};
use crate::observe::{Answers, Run};
use crate::outside::{Clock, Error, Net, Tally};

/// Questions at once. A thread costs some 30 KB while it asks; beyond, the longest due go first.
const AT_ONCE: usize = 64;
/// A replica that starts is asked often, so that it serves soon after it can.
const EAGER: Duration = Duration::from_millis(200);
const EAGER_FOR: Duration = Duration::from_secs(30);
/// Between two tries to send off what found no thread.
const CROWDED: Duration = Duration::from_millis(50);
/// Not ready for so long is worth a line in the log.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Probes {
    net: Arc<dyn Net>,
    clock: Arc<dyn Clock>,
    tally: Tally,
    inbox: SyncSender<Incoming>,
    under_way: usize,
    /// When it was told that replicas cannot be asked, and when one last could not.
    wanting: Option<Moment>,
    watched: BTreeMap<ContainerId, Watch>,
    /// What the answers of each replica make of it.
    pub(crate) results: Answers,
}

struct Watch {
    target: Target,
    since: Moment,
    streak: Streak,
    /// `None` while a probe is under way, and for kinds that ask nobody.
    next: Option<Moment>,
    sent: Moment,
    told: bool,
}

impl Watch {
    fn new(target: Target, now: Moment) -> Watch {
        let asks = match target.service.health.kind {
            HealthKind::Http(_) | HealthKind::Tcp => true,
            HealthKind::Docker | HealthKind::None => false,
        };
        let streak = Streak::new(target.is_served);
        Watch { target, since: now, streak, next: asks.then_some(now), sent: now, told: false }
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

/// What was not asked is not counted either.
fn timed(net: &dyn Net, target: &Target, clock: &dyn Clock, tally: &Tally) -> Outcome {
    let (begun, service) = (clock.fine(), &target.service);
    let result = health::probe(net, &service.health, target.run.address);
    let took = clock.fine().saturating_sub(begun);
    if let Some(err) = result.as_ref().err().filter(|err| err.is_own_want()) {
        return Outcome::NotAsked(err.to_string());
    }
    let failure = result.as_ref().err().map(|err| cause(err, took, service.health.timeout));
    tally(Counted::Probe { service: service.name.as_str(), took, failure });
    match result {
        Ok(()) => Outcome::Passed,
        Err(err) => Outcome::Failed(err.to_string()),
    }
}

/// An answer that came and was none to pass has nothing behind it.
fn cause(err: &Error, took: Duration, timeout: Duration) -> Cause {
    let source = std::error::Error::source(err);
    let kind = source.and_then(|s| s.downcast_ref::<io::Error>()).map(|err| err.kind());
    match (source, kind) {
        _ if timeout <= took => Cause::Timeout,
        (_, Some(ErrorKind::TimedOut | ErrorKind::WouldBlock)) => Cause::Timeout,
        (_, Some(ErrorKind::ConnectionRefused)) => Cause::Refused,
        (Some(_), _) => Cause::Other,
        (None, _) => Cause::Answer,
    }
}

/// Every replica has its own place in the interval, so that many are not asked in one instant.
fn slot(id: &ContainerId, earliest: Moment, interval: Duration) -> Moment {
    let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
    let phase = fnv1a(id.0.as_bytes()) % interval;
    let past = (earliest.0 % interval + interval - phase) % interval;
    Moment(earliest.0.saturating_add((interval - past) % interval))
}

impl Probes {
    pub(crate) fn new(
        net: Arc<dyn Net>,
        clock: Arc<dyn Clock>,
        tally: Tally,
        inbox: SyncSender<Incoming>,
    ) -> Probes {
        let (watched, results) = (BTreeMap::new(), BTreeMap::new());
        Probes { net, clock, tally, inbox, under_way: 0, wanting: None, watched, results }
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
            let is_same = |watch: &Watch| {
                let (old, new) = (&watch.target, &target);
                old.run.is_same(&new.run) && old.service.health == new.service.health
            };
            let mut watch = match before.remove(&id).filter(is_same) {
                Some(watch) => Watch { target, ..watch },
                None => Watch::new(target, now),
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
    fn note(&mut self, watch: &Watch) -> bool {
        let (id, health) = (&watch.target.id, &watch.streak.health);
        let new = (watch.target.run, health.clone());
        let old = self.results.insert(id.clone(), new);
        let kind = |health: &Health| std::mem::discriminant(health);
        old.map_or(kind(&Health::Unknown), |(_, old)| kind(&old)) != kind(health)
    }

    /// Sends off what is due, the longest due first; gives how long nothing will be.
    pub(crate) fn send_due(&mut self, now: Moment) -> Option<Duration> {
        let due = |w: &Watch| w.next.filter(|next| *next <= now);
        let mut ids: Vec<_> =
            self.watched.iter().filter_map(|(id, w)| Some((due(w)?, id.clone()))).collect();
        ids.sort();
        for (_, id) in ids {
            let Some(watch) = self.watched.get_mut(&id) else { continue };
            if AT_ONCE <= self.under_way {
                break;
            }
            let (target, net, inbox) = (watch.target.clone(), self.net.clone(), self.inbox.clone());
            let (clock, tally) = (self.clock.clone(), self.tally.clone());
            let body = move || {
                let probe = || Ok(timed(&*net, &target, &*clock, &tally));
                let outcome = pool::ask(probe, "the probe failed by a bug of plimsoll's");
                let outcome = outcome.unwrap_or_else(Outcome::NotAsked);
                // At the end of the daemon nobody listens.
                drop(inbox.send(Incoming::Probed { id: target.id, run: target.run, outcome }));
            };
            match spawn("probe", body) {
                Ok(()) => {
                    self.under_way += 1;
                    (watch.next, watch.sent) = (None, now);
                }
                Err(err) => {
                    let (id, run) = (watch.target.id.clone(), watch.target.run);
                    let outcome = Outcome::NotAsked(err.to_string());
                    // This is the thread that empties the inbox, so it must not wait for room.
                    let told = self.inbox.try_send(Incoming::Probed { id, run, outcome });
                    self.under_way += usize::from(told.is_ok());
                    watch.next = told.is_err().then(|| now.plus(PATIENCE));
                    watch.sent = now;
                }
            }
        }
        let next = self.watched.values().filter_map(|w| w.next).min();
        next.map(|next| next.since(now).max(CROWDED))
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
                Some(Event::over(Kind::HealthNotAsked, "all replicas can be asked again"))
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
            watch.next = Some(watch.again(now));
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
    use std::io;
    use std::net::SocketAddr;
    use std::sync::mpsc::{self, Receiver};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use crate::config;
    use crate::daemon::inbox::Event as Incoming;
    use crate::daemon::probes::{Probes, cause, slot};
    use crate::model::counted::Cause;
    use crate::model::event::{Event, Kind};
    use crate::model::health::HttpCheck;
    use crate::model::replica::{ContainerId, Health};
    use crate::model::time::Moment;
    use crate::observe::Run;
    use crate::observe::health::Target;
    use crate::outside::{Clock, Error, Net, Result};

    /// The last answer is given again and again.
    struct Script(Mutex<Vec<Answer>>);

    #[derive(Clone, Copy)]
    enum Answer {
        Pass,
        Refused,
        /// The number of an error of the system's.
        Want(i32),
        Bug,
    }

    impl Net for Script {
        fn get_status(&self, _: SocketAddr, _: &HttpCheck, _: Duration) -> Result<u16> {
            unreachable!("the check is a connection")
        }
        fn connect(&self, _: SocketAddr, _: Duration) -> Result<()> {
            let answer = *self.0.lock().unwrap().last().unwrap();
            let io = |err: io::Error| Err(Error::caused("connect", err));
            match answer {
                Answer::Pass => Ok(()),
                Answer::Refused => io(io::ErrorKind::ConnectionRefused.into()),
                Answer::Want(number) => io(io::Error::from_raw_os_error(number)),
                Answer::Bug => panic!("a planted bug"),
            }
        }
        fn get(&self, _: &str, _: u64, _: Duration) -> Result<(u16, Vec<u8>)> {
            unreachable!("a probe reads no body")
        }
    }

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Moment {
            Moment(0)
        }
        fn wall(&self) -> crate::model::schedule::Wall {
            crate::model::schedule::Wall(0)
        }
    }

    fn probes(answers: &Arc<Script>) -> (Probes, Receiver<Incoming>) {
        let text = r#"{ "services": { "web": { "image": "a", "port": 80, "max_replicas": 1,
            "health_check": { "type": "tcp", "interval": "1s", "timeout": "1s" } } } }"#;
        let config = config::parse("made up", text).config.unwrap();
        let (sender, inbox) = mpsc::sync_channel(9);
        let mut probes = Probes::new(answers.clone(), Arc::new(Still), Arc::new(|_| ()), sender);
        let target = Target {
            id: ContainerId("a".to_owned()),
            number: 1,
            run: Run { address: "127.0.0.1:1".parse().unwrap(), started: None },
            service: config.services.values().next().unwrap().clone(),
            own_health: None,
            is_served: true,
        };
        probes.watch(vec![target], &[ContainerId("a".to_owned())], Moment(0));
        (probes, inbox)
    }

    #[test]
    fn what_could_not_be_asked_for_our_own_want_is_neither_a_pass_nor_a_failure() {
        let script = Arc::new(Script(Mutex::default()));
        let (mut probes, inbox) = probes(&script);
        let mut now = Moment(0);
        let mut events: Vec<Event> = Vec::new();
        let mut ask = |answer| {
            script.0.lock().unwrap().push(answer);
            now = now.plus(Duration::from_secs(2));
            assert!(probes.send_due(now).is_none(), "one is under way");
            let Ok(Incoming::Probed { id, run, outcome }) =
                inbox.recv_timeout(Duration::from_secs(10))
            else {
                panic!("no probe came back");
            };
            events.extend(probes.answered(&id, run, outcome, now).1);
            probes.results[&id].1.clone()
        };
        assert_eq!(ask(Answer::Pass), Health::Healthy);
        // No memory, no files of this process or at all, no buffers; and what is no want.
        for number in [12, 23, 24, 105, 12, 24] {
            assert_eq!(ask(Answer::Want(number)), Health::Healthy, "{number}");
        }
        assert_eq!(ask(Answer::Bug), Health::Healthy);
        // The failures that count are those in a row, whatever could not be asked between them.
        assert_eq!(ask(Answer::Refused), Health::Healthy);
        assert_eq!(ask(Answer::Want(24)), Health::Healthy);
        assert_eq!(ask(Answer::Refused), Health::Healthy);
        assert_eq!(ask(Answer::Want(24)), Health::Healthy);
        assert!(matches!(ask(Answer::Want(111)), Health::Unhealthy { .. }));
        // And one that is unhealthy stays so.
        assert!(matches!(ask(Answer::Want(24)), Health::Unhealthy { .. }));
        (0..5).for_each(|_| drop(ask(Answer::Pass)));
        let told: Vec<String> = events.iter().map(Event::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(events.iter().all(|event| event.kind == Kind::HealthNotAsked), "{told:?}");
        assert!(told[0].contains("Cannot allocate memory") && told[1].contains("over: "));
    }

    #[test]
    fn a_failure_has_one_of_few_causes() {
        let io = |kind: io::ErrorKind| Error::caused("GET", io::Error::from(kind));
        let (soon, timeout) = (Duration::from_millis(999), Duration::from_secs(1));
        for (err, took, want) in [
            (Error::new("answered 500"), soon, Cause::Answer),
            (Error::new("no answer within 1000 ms"), timeout, Cause::Timeout),
            (io(io::ErrorKind::TimedOut), soon, Cause::Timeout),
            (io(io::ErrorKind::ConnectionRefused), soon, Cause::Refused),
            (io(io::ErrorKind::ConnectionReset), soon, Cause::Other),
        ] {
            assert_eq!(cause(&err, took, timeout), want, "{err}");
        }
    }

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
