//! A service that Docker Swarm runs. The notation is in `mod.rs`.

use crate::decide::plan_service;
use crate::decide::tests::{S, shown, sketch, table};
use crate::model::action::Action;
use crate::model::memory::ServiceMemory;
use crate::model::plan::Plan;
use crate::model::snapshot::Snapshot;
use crate::model::swarm::SwarmMemory;

#[test]
fn its_number_is_all_that_is_changed() {
    table(
        "
        - - 1..9 ? swarm=3 by=total:90/30 | 3 [] found(3) on(30) none_ready(3)
        RR - 1..9 2 swarm=2/2 by=total:90/30 | 3 [resize 2 to 3] over(45)
        RRR - 1..9 3 swarm=3/3 by=total:90/30 | 3 [] on(30)
        RRRR - 1..9 4 swarm=4/4 by=total:30/30 | 4 [] under(7.5) down_window(4)
        RRRR - 1..9 4 swarm=4/4 by=total:30/30 asked=1/1000 | 1 [resize 4 to 1] under(7.5)
        RR - 1..9 2 swarm=2/2 by=failed/30 | 2 [] untold(haproxy queue)
        RR - 3..9 2 swarm=2/2 by=total:60/30 | 3 [resize 2 to 3] min(3)
        RR - 0..9 2 swarm=2/2 hold=0 by=total:60/30 | 0 [resize 2 to 0] held(-)
        RR - 1..9 2 swarm=2/2 paused by=total:90/30 | 2 [] paused(-)
        RR - 1..9 2 swarm=2/2 between by=pending/30 | 2 [] effective
        RR - 1..9 2 swarm=2/2 room=0/64 by=total:90/30 | 3 [resize 2 to 3] over(45)
    ",
    );
}

#[test]
fn what_swarm_has_not_shown_yet_is_asked_for_again_but_not_twice_at_once() {
    table(
        "
        RR - 1..9 3 swarm=2/2+3 between by=pending/30 | 3 [resize 2 to 3] effective
        RR - 1..9 3 swarm=2/2+3 busy between by=pending/30 | 3 [] effective
        RRU - 1..9 3 swarm=3/2+3 between by=pending/30 | 3 [] effective
        RRU - 1..9 4 swarm=3/2+3 between by=pending/30 | 4 [resize 3 to 4] effective
    ",
    );
}

#[test]
fn what_somebody_else_asked_for_stands_for_a_cooldown() {
    table(
        "
        RRRRR - 1..9 2 swarm=5/2 by=total:150/30 | 5 [] rescaled(5) on(30)
        R - 1..9 2 swarm=1/2 by=total:60/30 | 1 [] rescaled(1) over(60) cooling(30000)
        R - 1..9 1 swarm=1/1 by=total:60/30 changed=29999 | 1 [] over(60) cooling(1)
        R - 1..9 1 swarm=1/1 by=total:60/30 changed=30000 | 2 [resize 1 to 2] over(60)
        RRRRR - 1..3 2 swarm=5/2 by=total:150/30 | 5 [] rescaled(5) cooling(60000)
        - - 1..9 2 swarm=0/2 by=total:0/30 | 0 [] rescaled(0) cooling(30000)
        RRRRR - 1..9 2 swarm=5/2 busy by=total:60/30 | 2 [] on(30)
        RRR - 1..9 2 swarm=3/2 hold=2 by=total:60/30 | 2 [resize 3 to 2] rescaled(3) held(-)
    ",
    );
}

#[test]
fn where_another_node_leads_or_nothing_is_told_nothing_is_changed() {
    table(
        "
        RR - 1..9 2 swarm=2/2 follows by=total:90/30 | 2 [] not_leader
        RRRR - 1..9 2 swarm=4/2 follows by=total:90/30 | 4 [] rescaled(4) not_leader
        RR - 3..9 2 swarm=2/2 follows hold=5 by=total:90/30 | 2 [] not_leader
        RR - 1..9 2 swarm=2/2 untold by=total:90/30 | 2 [] untold_by_swarm
        RR - 1..9 2 swarm=2/2 lost by=total:90/30 | 2 [] lost
    ",
    );
}

fn decided(row: &str) -> (Plan, ServiceMemory) {
    let (snapshot, memory) = sketch(row);
    plan_service(&snapshot, &memory)
}

#[test]
fn a_number_that_was_asked_for_is_known_again_when_it_comes() {
    let (plan, next) = decided("RR - 1..9 2 swarm=2/2 by=total:90/30");
    assert!(matches!(&plan.actions[..], [Action::Resize { from: 2, to: 3, .. }]));
    assert_eq!(next.swarm, Some(SwarmMemory { seen: 2, asked: Some(3) }));
    let (mut snapshot, _) = sketch("RRR - 1..9 3 swarm=3/2 by=total:120/30 busy");
    // While it is under way load asks for one more, and what was begun is seen to be done.
    let next = ServiceMemory { changed_at: None, ..next };
    let (plan, next) = plan_service(&snapshot, &next);
    assert_eq!(shown(&plan), "4 [] over(40)");
    snapshot.swarm.as_mut().unwrap().busy = false;
    let (plan, next) = plan_service(&snapshot, &next);
    assert_eq!(shown(&plan), "4 [resize 3 to 4] on(30)");
    assert_eq!(next.swarm, Some(SwarmMemory { seen: 3, asked: Some(4) }));
}

#[test]
fn haproxy_has_one_server_where_a_port_is_published_and_else_none() {
    let (snapshot, memory) = sketch("RR - 1..9 2 swarm=2/2 by=total:60/30");
    assert_eq!(plan_service(&snapshot, &memory).0.servers, []);
    for look in ["", "untold", "lost", "follows"] {
        let row = format!("RR - 1..9 2 swarm=2/2 port=30080 {look} by=total:60/30");
        let servers = decided(&row).0.servers;
        let shown: Vec<String> =
            servers.iter().map(|s| format!("{} {}", s.name, s.address)).collect();
        assert_eq!(shown, ["web-swarm-30080 127.0.0.1:30080"], "{look}");
    }
}

#[test]
fn what_plimsoll_remembers_of_containers_here_is_of_no_use_there() {
    // The service was run here before, with other replicas.
    let (plan, next) = decided("RR - 1..9 7 swarm=2 given=9 failures=3/1 by=total:60/30");
    assert_eq!(shown(&plan), "2 [] found(2) on(30)");
    assert_eq!((plan.decision.from, next.last_number, next.failures.count), (2, 0, 0));
    // And back.
    let (_, next) = decided("RR 50 1..9 2 was=2");
    assert_eq!(next.swarm, None);
}

/// Numbers that are desired, that Swarm has, had and was asked for; loads; and possible states.
fn worlds() -> impl Iterator<Item = (Snapshot, ServiceMemory)> {
    let loads = ["total:0/30", "total:90/30", "total:400/30", "failed/30"];
    (0..5_u32.pow(6)).filter_map(move |code| {
        let digit = |place: u32| code / 5_u32.pow(place) % 5;
        let strip = &"RRRU"[..digit(1).min(4) as usize];
        let load = loads.get(digit(4) as usize)?;
        let facts = digit(5);
        let (mut snapshot, mut memory) =
            sketch(&format!("{strip:-<1} - 1..4 {} swarm={} by={load}", digit(0), digit(1)));
        let asked = Some(digit(3)).filter(|asked| *asked != 4);
        memory.swarm = Some(SwarmMemory { seen: digit(2), asked }).filter(|_| facts != 4);
        let swarm = snapshot.swarm.as_mut().unwrap();
        (swarm.busy, swarm.leads) = (facts == 1, facts != 2);
        snapshot.due = facts != 3;
        Some((snapshot, memory))
    })
}

#[test]
fn every_small_world_changes_one_number_when_it_may_and_comes_to_rest() {
    let mut count = 0;
    for (mut snapshot, memory) in worlds() {
        let told = format!("{snapshot:?} {memory:?}");
        let (plan, mut next) = plan_service(&snapshot, &memory);
        let swarm = snapshot.swarm.clone().unwrap();
        let is_due = swarm.leads && !swarm.busy && plan.decision.desired != swarm.desired;
        let from = swarm.desired;
        let to = plan.decision.desired;
        let service = "web".to_owned();
        let swarm_service = "shop_web".to_owned();
        let resize = Action::Resize { service, swarm_service, from, to };
        let want: Vec<Action> = is_due.then_some(resize).into_iter().collect();
        assert_eq!(plan.actions, want, "{told}");
        assert!(!plan.decision.because.is_empty() && plan.transitions.is_empty(), "{told}");
        assert_eq!(next.desired, Some(plan.decision.desired), "{told}");
        // What is asked for is done, time goes by, and nothing else happens.
        snapshot.due = true;
        let mut last = plan;
        for _ in 0..8 {
            let swarm = snapshot.swarm.as_mut().unwrap();
            swarm.desired =
                if last.actions.is_empty() { swarm.desired } else { last.decision.desired };
            (swarm.busy, snapshot.now) = (false, snapshot.now.plus(61 * S));
            (last, next) = plan_service(&snapshot, &next);
        }
        let swarm = snapshot.swarm.as_ref().unwrap();
        assert!(
            last.actions.is_empty() && last.decision.desired == swarm.desired,
            "{last:?} after {told}"
        );
        assert!(!swarm.leads || (1..=4).contains(&last.decision.desired), "{last:?} after {told}");
        count += 1;
    }
    assert_eq!(count, 5_u32.pow(5) * 4);
}
