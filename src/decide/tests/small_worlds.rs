//! Every small world: what must never happen is asked of all of them, thought of or not.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::decide::plan_service;
use crate::decide::tests::{NOW, S, band, replica, service};
use crate::model::action::{Action, Removal};
use crate::model::bounds::Bounds;
use crate::model::memory::{DrainStep, Failures, ServiceMemory};
use crate::model::plan::{Plan, ReplicaTransition};
use crate::model::reason::Rule;
use crate::model::replica::{ContainerState, Health, Load, Replica};
use crate::model::service::{Band, Service};
use crate::model::snapshot::{EngineSeen, ProxyObservation, Snapshot};
use crate::model::time::{Moment, Wall};

/// All that a replica can be; see `mod.rs`.
const LETTERS: [char; 11] = ['R', 'P', 'M', 'U', 'N', 'C', 'D', 'L', 'G', 'X', 'B'];
/// Strips of four are made of the most different ones only.
const FEWER: [char; 5] = ['R', 'M', 'U', 'D', 'X'];
/// In hundredths of a percent: idle, inside the band, far above.
const LOADS: [u64; 3] = [0, 50_00, 400_00];
const PROXIES: [ProxyObservation; 4] = [
    ProxyObservation::Settled { old: 0, reloaded_at: Moment(0) },
    ProxyObservation::Changing,
    ProxyObservation::Silent,
    ProxyObservation::Absent,
];

#[test]
fn every_small_world_keeps_the_rules() {
    let mut worlds = 0;
    let mut strips = 0;
    for (letters, length) in
        [(&LETTERS[..], 0), (&LETTERS, 1), (&LETTERS, 2), (&LETTERS, 3), (&FEWER, 4)]
    {
        for code in 0..letters.len().pow(length) {
            let letter = |i| letters[code / letters.len().pow(i) % letters.len()];
            let strip: Vec<char> = (0..length).map(letter).collect();
            // Longer strips take turns over the circumstances.
            let circumstances = if length <= 2 { 0..CIRCUMSTANCES } else { code..code + 1 };
            worlds += every_world(&strip, circumstances);
            strips += 1;
        }
    }
    assert_eq!(strips, 1 + 11 + 121 + 1331 + 625);
    assert_eq!(worlds, ((1 + 11 + 121) * CIRCUMSTANCES + 1331 + 625) * 3 * 3 * 4);
}

/// HAProxy and the engine, whether something just happened, and starts under way.
const CIRCUMSTANCES: usize = 5 * 2 * 3;

fn every_world(strip: &[char], circumstances: std::ops::Range<usize>) -> usize {
    let mut count = 0;
    for (bounds, band) in bounds() {
        let service = Arc::new(service(bounds, band));
        for desired in [None, Some(1), Some(3)] {
            // No load is a turn between two looks.
            for load in [None, Some(LOADS[0]), Some(LOADS[1]), Some(LOADS[2])] {
                for circumstance in circumstances.clone() {
                    // Seven goes through all of them before it comes back to one.
                    let circumstance = if 1 < circumstances.len() {
                        circumstance
                    } else {
                        circumstance + count * 7
                    };
                    let (snapshot, memory) = world(strip, &service, desired, load, circumstance);
                    check(&snapshot, &memory);
                    count += 1;
                }
            }
        }
    }
    count
}

fn bounds() -> [(Bounds, Option<Band>); 3] {
    let wide = Some(band(30_00, 75_00));
    let of = |min, max| Bounds::new(min, max).unwrap();
    [(of(0, 2), wide), (of(1, 4), wide), (of(2, 2), None)]
}

fn world(
    strip: &[char],
    service: &Arc<Service>,
    desired: Option<u32>,
    load: Option<u64>,
    c: usize,
) -> (Snapshot, ServiceMemory) {
    let lost = c % 5 == 4;
    let mut memory = ServiceMemory { desired, ..ServiceMemory::default() };
    if c / 5 % 2 == 1 {
        memory.changed_at = Some(Moment(NOW.0 - 1000));
        memory.failures = Failures { count: 3, last: Moment(NOW.0 - 1000), ..Failures::default() };
    }
    let mut replicas: Vec<Replica> = Vec::new();
    for (letter, n) in strip.iter().zip(1..) {
        let (replica, drain) = replica(*letter, n, load.unwrap_or(0));
        memory.drains.extend(drain.map(|d| (replica.id.clone(), d)));
        replicas.push(replica);
    }
    let shown = u32::try_from(strip.len()).unwrap();
    // None, one that no container shows for yet, and one that may.
    let starting = [vec![], vec![shown + 1], vec![shown.max(1)]][c / 10 % 3].clone();
    let proxy = if lost { PROXIES[0] } else { PROXIES[c % 5] };
    if proxy == ProxyObservation::Absent {
        replicas.iter_mut().for_each(|r| r.server = None);
    }
    let snapshot = Snapshot {
        now: NOW,
        wall: Wall(0),
        due: load.is_some(),
        service: service.clone(),
        replicas,
        starting,
        forecast: None,
        readings: Vec::new(),
        free_memory: None,
        processor: crate::model::host_cpu::ProcessorObservation::Unlimited,
        preemption: crate::model::preemption::PreemptionLimits::default(),
        failed_starts: 0,
        engine: if lost { EngineSeen::Lost } else { EngineSeen::Answers },
        proxy,
        sleep: None,
        registry: crate::model::image::RegistryObservation::default(),
        swarm: None,
    };
    (snapshot, memory)
}

fn check(snapshot: &Snapshot, memory: &ServiceMemory) {
    let (plan, next) = plan_service(snapshot, memory);
    let broken = |rule: &str| -> String {
        format!("{rule}\nsnapshot: {snapshot:#?}\nmemory: {memory:#?}\nplan: {plan:#?}")
    };
    assert_eq!((plan.clone(), next.clone()), plan_service(snapshot, memory), "the same twice");
    assert!(!plan.decision.because.is_empty(), "{}", broken("a plan without a reason"));
    match snapshot.engine {
        EngineSeen::Lost | EngineSeen::Untold => {
            let idle = plan.actions.is_empty() && plan.transitions.is_empty() && next == *memory;
            assert!(idle, "{}", broken("something begun without the engine"));
        }
        EngineSeen::Answers => {
            let bounds = snapshot.service.timetable.bounds;
            let within = (bounds.min()..=bounds.max()).contains(&plan.decision.desired);
            assert!(within, "{}", broken("a number outside the bounds"));
            assert_eq!(
                next.desired,
                Some(plan.decision.desired),
                "{}",
                broken("another number kept")
            );
        }
    }
    check_number(snapshot, &plan, &broken);
    check_actions(snapshot, memory, &plan, &broken);
    check_ready(snapshot, memory, &plan, &next, &broken);
    check_servers(snapshot, &plan, &next, &broken);
}

fn check_number(snapshot: &Snapshot, plan: &Plan, broken: &dyn Fn(&str) -> String) {
    let ready = |r: &&Replica| r.state == ContainerState::Running && r.is_served();
    let mut loads = snapshot.replicas.iter().filter(ready).map(|r| r.load);
    let blind = loads.all(|l| l == Load::Missing)
        && snapshot.replicas.iter().all(|r| r.server.is_some() || r.load == Load::Missing);
    let corrected = plan.decision.because.iter().any(|c| matches!(c.rule, Rule::AboveMax(_)));
    let fewer = plan.decision.desired < plan.decision.from && !corrected;
    assert!(!(blind && fewer), "{}", broken("fewer without a sample"));
    assert!(!fewer || snapshot.due, "{}", broken("fewer between two looks"));
    let by_one = plan.decision.from - plan.decision.desired.min(plan.decision.from) <= 1;
    assert!(by_one || corrected, "{}", broken("more than one fewer at once"));
}

fn check_actions(
    snapshot: &Snapshot,
    memory: &ServiceMemory,
    plan: &Plan,
    broken: &dyn Fn(&str) -> String,
) {
    let mut claims = BTreeSet::new();
    for action in &plan.actions {
        assert!(claims.insert(action.claim()), "{}", broken("two actions on one thing"));
        match action {
            Action::Start { number, .. } => {
                let own = snapshot.replicas.iter().find(|r| r.number == *number);
                assert!(!snapshot.starting.contains(number), "{}", broken("started twice"));
                match own {
                    Some(own) => {
                        let made = own.state == ContainerState::Created;
                        assert!(made, "{}", broken("starts what was started"));
                    }
                    None => {
                        let numbers = snapshot.replicas.iter().map(|r| r.number);
                        let most = numbers.chain(snapshot.starting.iter().copied()).max();
                        let most = most.max(Some(memory.last_number)).unwrap();
                        assert!(most < *number, "{}", broken("a number comes again"));
                    }
                }
            }
            Action::Remove(Removal { id, .. }) => {
                let own = snapshot.replicas.iter().find(|r| r.id == *id).unwrap();
                let runs = own.state == ContainerState::Running;
                let silent = snapshot.proxy == ProxyObservation::Silent;
                assert!(!own.busy, "{}", broken("removes what is being removed"));
                assert!(
                    !(runs && own.server.is_some() && !silent),
                    "{}",
                    broken("stops what HAProxy still has")
                );
                let drained = memory.drains.contains_key(id) || !runs;
                assert!(drained, "{}", broken("stops what was not drained"));
            }
            Action::Resize { .. }
            | Action::RunHook(_)
            | Action::Reload { .. }
            | Action::UpdateServers { .. }
            | Action::SetServerStates { .. }
            | Action::EndProxies { .. } => {
                panic!("{}", broken("not a service's"))
            }
        }
    }
}

/// Able to serve, and nobody took it away.
fn ready(replica: &Replica, memory: &ServiceMemory) -> bool {
    let serves = replica.is_served()
        || replica.health == Health::Healthy
        || matches!(replica.load, Load::Read(_));
    serves
        && replica.state == ContainerState::Running
        && !replica.busy
        && !memory.drains.contains_key(&replica.id)
}

fn check_ready(
    snapshot: &Snapshot,
    memory: &ServiceMemory,
    plan: &Plan,
    next: &ServiceMemory,
    broken: &dyn Fn(&str) -> String,
) {
    let count = |m: &ServiceMemory| snapshot.replicas.iter().filter(|r| ready(r, m)).count();
    let before = count(memory);
    let after = count(next);
    let starts = plan.actions.iter().any(|a| matches!(a, Action::Start { .. }));
    assert!(!(starts && after < before), "{}", broken("starts and drains at once"));
    let desired = usize::try_from(plan.decision.desired).unwrap();
    assert!(before.min(desired) <= after, "{}", broken("drains one that is needed"));
    let put_back =
        plan.transitions.iter().any(|s| matches!(s, ReplicaTransition::DrainCancelled { .. }));
    assert!(!(put_back && after <= before), "{}", broken("puts one back and drains another"));
}

fn check_servers(
    snapshot: &Snapshot,
    plan: &Plan,
    next: &ServiceMemory,
    broken: &dyn Fn(&str) -> String,
) {
    let name = |r: &Replica| snapshot.service.replica_name(r.number);
    for server in &plan.servers {
        let own = snapshot.replicas.iter().find(|r| name(r) == server.name).unwrap();
        let right = own.state == ContainerState::Running && own.address == Some(server.address);
        assert!(right, "{}", broken("a server that cannot serve"));
    }
    for replica in &snapshot.replicas {
        let server = plan.servers.iter().find(|s| s.name == name(replica));
        let drain = next.drains.get(&replica.id).map(|d| d.step);
        if ready(replica, next) {
            let kept = server.is_some_and(|s| !s.draining);
            assert!(kept, "{}", broken("a ready replica out of HAProxy"));
        }
        match drain {
            Some(DrainStep::Draining { .. }) => {
                let drains = server.is_some_and(|s| s.draining);
                assert!(drains, "{}", broken("one that empties is not told to"));
            }
            Some(DrainStep::Drained | DrainStep::Ended) => {
                assert!(server.is_none(), "{}", broken("a released one stays"));
            }
            None => assert!(server.is_none_or(|s| !s.draining), "{}", broken("drains unasked")),
        }
    }
    let again = plan.again.is_some_and(|a| a <= S);
    let waits = !next.drains.is_empty() && snapshot.engine == EngineSeen::Answers;
    assert!(again || !waits, "{}", broken("a drain that nobody looks at again"));
}
