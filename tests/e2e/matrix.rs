//! What people do to containers, and what follows: every verb on one replica of ours, of docker
//! compose's and of those that we made like compose's; alone, among others, while all are replaced,
//! and while it is draining. One daemon has all services of a situation, and each has its clients.

#![allow(clippy::disallowed_methods, reason = "a test measures and bounds its waits")]

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::sync::{OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, polled, reached, secs};
use crate::fleet::{Fleet, Ledger, Member, Owner, Row};
use crate::load::{Counts, Kind, Load};
use crate::matrix::wants::{Fate, VERBS, Want, want};
use crate::testbed::QUIET;

mod wants;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    /// `docker stop`.
    Stop,
    /// `docker stop`, and `docker start` when that was noticed.
    Start,
    Restart,
    /// `docker kill`.
    Kill,
    /// It dies by itself: no API call came before.
    Crash,
    Pause,
    /// `docker pause` and `docker unpause`.
    Unpause,
    Rename,
    Remove,
    Update,
    Disconnect,
    /// `docker network disconnect` and `docker network connect`, which gives another address.
    Reconnect,
    /// `docker commit`, and `docker run` of that.
    Commit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Situation {
    /// As few replicas as there can be with such a one: two with a clone, else one.
    Alone,
    Among,
    Rollout,
    Draining,
}

/// One cell while it is played.
struct Cell<'a> {
    member: &'a Member,
    verb: Verb,
    situation: Situation,
    load: Load,
    victim: Row,
    before: Counts,
    /// Lines of the log, and containers made, before it.
    line: usize,
    made: usize,
    /// How long Docker took for it.
    took: OnceLock<Duration>,
}

/// A stop is waited for this long, as the first half of a restart; less what events take.
const STOP_WAITED_FOR: Duration = Duration::from_secs(9);

fn verb_of(member: &Member) -> Verb {
    let of = |verb: &&Verb| member.name.ends_with(&format!("-{verb:?}").to_lowercase());
    *VERBS.iter().find(of).expect("a member is named by its verb")
}

fn populate(fleet: &mut Fleet, situation: Situation) {
    let owners: &[Owner] = match situation {
        // A replica of compose's is never made anew by us: there is no other spec.
        Situation::Rollout => &[Owner::Ours],
        Situation::Alone | Situation::Among | Situation::Draining => {
            &[Owner::Ours, Owner::Compose, Owner::Clone]
        }
    };
    for owner in owners {
        let (originals, replicas) = match (situation, owner) {
            (Situation::Alone, Owner::Ours) => (0, 1),
            (Situation::Alone, Owner::Compose) => (1, 1),
            (Situation::Alone, Owner::Clone) => (1, 2),
            (Situation::Rollout, _) => (0, 2),
            (Situation::Among | Situation::Draining, Owner::Ours) => (0, 3),
            (Situation::Among, Owner::Compose) => (2, 3),
            (Situation::Draining, Owner::Compose) => (3, 3),
            (Situation::Among | Situation::Draining, Owner::Clone) => (1, 3),
        };
        for verb in VERBS {
            let name = format!("{owner:?}-{verb:?}").to_lowercase();
            fleet.add(&name, *owner, originals, replicas);
        }
    }
}

fn keys(replicas: u32, more: &str) -> String {
    format!(r#""min_replicas": {replicas}, "max_replicas": {replicas}{more}"#)
}

/// The number that it has before, if nothing is about to drain or be replaced.
fn number_of_victim(member: &Member) -> u32 {
    match (member.owner, member.replicas) {
        (Owner::Clone, _) => 2,
        (_, 1) => 1,
        (Owner::Compose, _) => 1,
        (Owner::Ours, _) => 2,
    }
}

/// Waits until each serves with all its replicas.
#[track_caller]
fn wait_all_serve(fleet: &Fleet, daemon: &Daemon) {
    let mut missing = Vec::new();
    let done = reached(secs(120), || {
        let serving = fleet.serving();
        let count = |m: &Member| serving.get(&m.name).map_or(0, Vec::len);
        let all = fleet.members.iter().filter(|m| count(m) != m.replicas as usize);
        missing = all.map(|m| m.name.clone()).collect();
        missing.is_empty()
    });
    assert!(done, "{missing:?} do not serve: {:#?}", daemon.lines());
}

/// Brings about the situation, and says which container of each is the one.
fn victims(fleet: &Fleet, situation: Situation, daemon: &Daemon) -> BTreeMap<String, String> {
    let from = daemon.lines().len();
    let reported = |kind: &str| {
        let mut of = BTreeMap::new();
        for member in &fleet.members {
            let service = format!("service={} ", member.name);
            let at = daemon.wait_from(from, &[&format!("kind={kind} "), &service], secs(60));
            let line = daemon.lines().swap_remove(at);
            let replica = line.split(' ').find_map(|word| word.strip_prefix("replica="));
            let number = replica.and_then(|name| name.rsplit('-').next()?.parse().ok());
            of.insert(member.name.clone(), member.container(number.unwrap_or_default()));
        }
        of
    };
    match situation {
        Situation::Alone | Situation::Among => {
            let name = |m: &Member| (m.name.clone(), m.container(number_of_victim(m)));
            fleet.members.iter().map(name).collect()
        }
        Situation::Rollout => {
            fleet.configure(|m| keys(m.replicas, r#", "environment": { "COLOUR": "blue" }"#));
            daemon.signal("HUP");
            reported("rollout.started");
            fleet.members.iter().map(|m| (m.name.clone(), m.container(1))).collect()
        }
        Situation::Draining => {
            fleet.configure(|m| keys(m.replicas - 1, ""));
            daemon.signal("HUP");
            reported("replica.draining")
        }
    }
}

/// What a person types, on the one container.
fn act(fleet: &Fleet, daemon: &Daemon, cell: &Cell) {
    let testbed = &fleet.testbed;
    let id = cell.victim.id.as_str();
    let name = cell.victim.name.as_str();
    let run = |args: &[&str]| testbed.docker(args).is_some();
    let network = match cell.member.owner {
        Owner::Ours => "bridge",
        Owner::Compose | Owner::Clone => &fleet.network,
    };
    match cell.verb {
        Verb::Stop => assert!(run(&["stop", "-t", "1", id]), "stop {name}"),
        Verb::Start => {
            assert!(run(&["stop", "-t", "1", id]), "stop {name}");
            let service = format!("service={} ", cell.member.name);
            let is_noticed = || {
                let lines = daemon.lines();
                let mut new = lines.iter().skip(cell.line);
                new.any(|l| {
                    l.contains(&service)
                        && (l.contains("kind=compose.stopped ")
                            || l.contains("kind=replica.exited "))
                })
            };
            // It may be gone by now, where it was replaced.
            let _ = reached(secs(20), is_noticed);
            drop(testbed.docker(&["start", id]));
        }
        Verb::Restart => assert!(run(&["restart", "-t", "0", id]), "restart {name}"),
        Verb::Kill => assert!(run(&["kill", id]), "kill {name}"),
        Verb::Crash => testbed.crash(id),
        Verb::Pause => assert!(run(&["pause", id]), "pause {name}"),
        Verb::Unpause => assert!(run(&["pause", id]) && run(&["unpause", id]), "pause {name}"),
        Verb::Rename => assert!(run(&["rename", id, &renamed(cell.member)]), "rename {name}"),
        Verb::Remove => assert!(run(&["rm", "-f", id]), "rm {name}"),
        Verb::Update => assert!(run(&["update", "--cpus", "0.7", id]), "update {name}"),
        Verb::Disconnect => {
            assert!(run(&["network", "disconnect", network, id]), "disconnect {name}");
        }
        Verb::Reconnect => {
            assert!(run(&["network", "disconnect", network, id]), "disconnect {name}");
            assert!(run(&["network", "connect", network, id]), "connect {name}");
        }
        Verb::Commit => {
            let image = format!("{}-copy:1", cell.member.name);
            let stranger = stranger(cell.member);
            assert!(run(&["commit", id, &image]), "commit {name}");
            let run_it = ["run", "-d", "--name", &stranger, "--network", network, &image];
            assert!(run(&run_it), "run a copy of {name}");
            fleet.note_volumes(&stranger);
        }
    }
}

fn renamed(member: &Member) -> String {
    format!("renamed-{}", member.name)
}

fn stranger(member: &Member) -> String {
    format!("stranger-{}", member.name)
}

impl Cell<'_> {
    /// A restart that Docker is too busy for is a stop, and a start after another one was begun.
    fn want(&self) -> Want {
        let mut want = want(self.verb, self.member, self.situation);
        let is_late = self.took.get().is_some_and(|took| STOP_WAITED_FOR <= *took);
        if self.verb == Verb::Restart && is_late {
            println!("{}: Docker took {:?} for the restart", self.member.name, self.took);
            (want.fate, want.beyond) = (Fate::Any, want.beyond.max(1));
            want.made = 0..=(*want.made.end()).max(1);
        }
        want
    }

    /// What is not as it should be; nothing, once it is.
    fn short_of(&self, want: &Want, rows: &[Row], serving: usize, daemon: &Daemon) -> Vec<String> {
        let mut short = Vec::new();
        let victim = rows.iter().find(|row| row.id == self.victim.id);
        let state = victim.map(|row| row.state.as_str());
        let is_so = match want.fate {
            Fate::Any => true,
            Fate::Gone => state.is_none(),
            Fate::Platform => state == Some("running"),
            Fate::Exited => state == Some("exited"),
            Fate::Paused => state == Some("paused"),
        };
        if !is_so {
            short.push(format!("{} is {state:?}, not {:?}", self.victim.name, want.fate));
        }
        if !want.serving.contains(&serving) {
            short.push(format!("{serving} serve, not {:?}", want.serving));
        }
        let lines = self.lines(daemon);
        for words in &want.reported {
            let is_reported = |line: &&String| words.split(' ').all(|word| line.contains(word));
            if !lines.iter().any(|line| is_reported(&line)) {
                short.push(format!("no line with {words:?}"));
            }
        }
        short
    }

    /// What must not have come about, whenever it did.
    fn broken(&self, want: &Want, fleet: &Fleet, ledger: &Ledger, daemon: &Daemon) -> Vec<String> {
        let name = &self.member.name;
        let mut broken = Vec::new();
        let made = ledger.count(name, "create") - self.made;
        if !want.made.contains(&made) {
            broken.push(format!("{made} containers were made, not {:?}", want.made));
        }
        let most = ledger.most(name);
        let max = self.member.replicas as usize + want.beyond;
        // Those that compose made are there before the ledger is open, or not; it is opened first.
        if max < most {
            broken.push(format!("{most} containers at once, {max} at most"));
        }
        let failed = self.failed();
        let counts = self.load.counts();
        if let Some(max) = want.failed_max.filter(|max| *max < failed) {
            broken.push(format!("{failed} requests failed, {max} at most: {counts}"));
        }
        if let Some(words) = want.status {
            let said = fleet.ask(&["status", name]);
            if !said.contains(words) {
                broken.push(format!("status does not say {words:?}: {said}"));
            }
        }
        if self.verb == Verb::Rename && want.fate == Fate::Platform {
            let said = fleet.ask(&["status", name]);
            if !said.contains(&self.victim.id[..12]) {
                broken.push(format!("status does not know the renamed one: {said}"));
            }
        }
        for word in &want.untold {
            if let Some(line) = self.lines(daemon).iter().find(|line| line.contains(word)) {
                broken.push(format!("reported: {line}"));
            }
        }
        if self.verb == Verb::Commit {
            let name = stranger(self.member);
            let warned = |l: &&String| l.contains(" warn ") && l.contains(&name);
            let count = daemon.lines().iter().filter(warned).count();
            if count != 1 {
                broken.push(format!("{count} warnings of {name}, not one"));
            }
        }
        broken
    }

    fn failed(&self) -> u64 {
        self.load.counts().failed() - self.before.failed()
    }

    fn lines(&self, daemon: &Daemon) -> Vec<String> {
        let service = format!("service={} ", self.member.name);
        let lines = daemon.lines().into_iter().skip(self.line);
        lines.filter(|line| line.contains("kind=") && line.contains(&service)).collect()
    }
}

/// Containers that others made and that nobody but plimsoll can have removed.
fn lost(fleet: &Fleet, cells: &[Cell], ledger: &Ledger, situation: Situation) -> Vec<String> {
    let mut lost = Vec::new();
    let entries = ledger.entries();
    for cell in cells {
        let member = cell.member;
        let originals: Vec<String> =
            (1..=member.originals).map(|number| member.container(number)).collect();
        // A way down may take one that compose made, if it is not the last.
        let may_go = situation == Situation::Draining && member.owner == Owner::Compose;
        let gone = entries.iter().filter(|e| e.action == "destroy" && e.member == member.name);
        let mut gone: Vec<_> = gone
            .filter(|e| e.is_stranger() || originals.contains(&e.name) || e.name == renamed(member))
            .filter(|e| e.is_stranger() || member.owner != Owner::Ours)
            .filter(|e| !(cell.verb == Verb::Remove && e.id == cell.victim.id))
            .filter(|e| !(member.owner == Owner::Clone && e.id == cell.victim.id))
            .map(|e| e.name.clone())
            .collect();
        if may_go && gone.len() == 1 && !gone[0].starts_with("stranger-") {
            gone.clear();
        }
        lost.extend(gone);
        if cell.verb == Verb::Commit {
            let rows = fleet.rows();
            let name = stranger(member);
            let runs = rows.iter().any(|row| row.name == name && row.state == "running");
            if !runs {
                lost.push(name);
            }
        }
    }
    lost.sort();
    lost.dedup();
    lost
}

/// Waits until the daemon looked so many times more at each.
#[track_caller]
fn wait_evaluations(fleet: &Fleet, daemon: &Daemon, looks: usize) {
    let last = fleet.members.last().expect("there are some");
    let line = format!("service={} desired=", last.name);
    let before = daemon.count(&[&line]);
    let enough = || before + looks <= daemon.count(&[&line]);
    assert!(reached(secs(60), enough), "it looks no more: {:#?}", daemon.lines());
}

/// One request in each replica's hands, so that what drains does so for a while.
fn keep_busy(fleet: &Fleet, situation: Situation) -> Vec<Load> {
    let slow: Vec<Load> = fleet
        .members
        .iter()
        .filter(|_| situation == Situation::Draining)
        .map(|m| m.load(Kind::Slow, "/slow?ms=12000", m.replicas as usize, 0))
        .collect();
    if situation == Situation::Draining {
        let rows = || fleet.testbed.ask_haproxy("show stat");
        let all_busy = || {
            let rows = rows();
            let busy =
                |l: &&str| l.split(',').nth(4).is_some_and(|now| now != "0") && !l.contains("END,");
            let want: u32 = fleet.members.iter().map(|m| m.replicas).sum();
            want as usize <= rows.lines().filter(|l| l.contains("e2e-")).filter(busy).count()
        };
        assert!(reached(secs(5), all_busy), "not every replica has a request: {}", rows());
    }
    slow
}

fn keep_log(situation: Situation, complaints: &[String], daemon: &Daemon) {
    if !complaints.is_empty() {
        let kept = std::env::temp_dir().join(format!("plimsoll-matrix-{situation:?}.log"));
        fs::write(&kept, daemon.lines().join("\n")).unwrap();
        println!("the daemon's log is {}:\n{}", kept.display(), complaints.join("\n"));
    }
}

/// Plays all cells of a situation at once.
fn play(situation: Situation) {
    let _quiet = QUIET.read().unwrap_or_else(PoisonError::into_inner);
    let begun = Instant::now();
    let mut fleet = Fleet::new(&format!("{situation:?}").to_lowercase());
    let ledger = fleet.ledger();
    populate(&mut fleet, situation);
    fleet.run_originals();
    let daemon = Daemon::start(&fleet.configure(|m| keys(m.replicas, "")));
    wait_all_serve(&fleet, &daemon);
    let ready = begun.elapsed();
    let slow = keep_busy(&fleet, situation);
    let loads: Vec<Load> = fleet.members.iter().map(light).collect();
    let chosen = victims(&fleet, situation, &daemon);
    let rows = fleet.rows();
    let line = daemon.lines().len();
    let cells: Vec<Cell> = fleet
        .members
        .iter()
        .zip(loads)
        .map(|(member, load)| {
            let name = &chosen[&member.name];
            let victim = rows.iter().find(|row| row.name == *name).cloned();
            let victim = victim.unwrap_or_else(|| panic!("{name} is not in {rows:#?}"));
            let before = load.counts();
            let made = ledger.count(&member.name, "create");
            let verb = verb_of(member);
            let took = OnceLock::new();
            Cell { member, verb, situation, load, victim, before, line, made, took }
        })
        .collect();
    fleet.on(&cells, |cell| {
        let begun = Instant::now();
        act(&fleet, &daemon, cell);
        cell.took.set(begun.elapsed()).unwrap();
    });
    let acted = begun.elapsed();
    let mut complaints = settle(&fleet, &cells, &daemon);
    let settled = begun.elapsed();
    drop(slow);
    wait_evaluations(&fleet, &daemon, 5);
    complaints.extend(settle_once(&fleet, &cells, &daemon).into_iter().map(|c| c + " (later)"));
    let mut failed_all = 0;
    let mut sent_all = 0;
    let lost = lost(&fleet, &cells, &ledger, situation);
    for cell in &cells {
        let want = cell.want();
        let broken = cell.broken(&want, &fleet, &ledger, &daemon);
        complaints.extend(broken.into_iter().map(|b| format!("{}: {b}", cell.member.name)));
        sent_all += cell.load.counts().sent() - cell.before.sent();
        failed_all += if want.failed_max.is_some() { cell.failed() } else { 0 };
    }
    let volumes = fleet.volumes_lost();
    println!(
        "{situation:?}: {} rows, {sent_all} requests, {failed_all} of them failed beside a healthy \
         replica, {} containers lost, {} volumes lost; ready after {:.0} s, done after {:.0} s, \
         settled after {:.0} s",
        cells.len(),
        lost.len(),
        volumes.len(),
        ready.as_secs_f64(),
        acted.as_secs_f64(),
        settled.as_secs_f64(),
    );
    complaints.extend(lost.iter().map(|name| format!("{name}: lost")));
    complaints.extend(volumes.iter().map(|name| format!("volume {name}: lost")));
    keep_log(situation, &complaints, &daemon);
    drop(daemon);
    assert!(complaints.is_empty(), "{:#?}", complaints);
}

/// Light enough for one replica: what an interrupted one has in its hands are two requests at most.
fn light(member: &Member) -> Load {
    member.load(Kind::KeepAlive, "/", 2, 150)
}

fn settle_once(fleet: &Fleet, cells: &[Cell], daemon: &Daemon) -> Vec<String> {
    let rows = fleet.rows();
    let serving = fleet.serving();
    let mut short = Vec::new();
    for cell in cells {
        let want = cell.want();
        let serving = serving.get(&cell.member.name).map_or(0, Vec::len);
        let of = cell.short_of(&want, &rows, serving, daemon);
        short.extend(of.into_iter().map(|s| format!("{}: {s}", cell.member.name)));
    }
    short
}

/// Until all are as they should be, or a bound of time each has is over.
fn settle(fleet: &Fleet, cells: &[Cell], daemon: &Daemon) -> Vec<String> {
    let mut short = Vec::new();
    polled(wants::SETTLED_WITHIN, Duration::from_millis(250), || {
        short = settle_once(fleet, cells, daemon);
        short.is_empty()
    });
    short
}

pub(crate) type Range = RangeInclusive<usize>;

#[test]
fn what_is_done_to_one_replica_follows_the_table() {
    play(Situation::Alone);
}

#[test]
fn what_is_done_to_one_replica_of_three_costs_no_request() {
    play(Situation::Among);
}

#[test]
fn what_is_done_to_an_old_replica_holds_up_no_rollout() {
    play(Situation::Rollout);
}

#[test]
fn what_is_done_to_a_replica_that_drains_keeps_the_number() {
    play(Situation::Draining);
}
