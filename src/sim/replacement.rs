//! Outdated and unhealthy replicas are replaced, whatever fails meanwhile.

use std::time::Duration;

use crate::model::service::{Rollout, Service};
use crate::sim::fault_injection::{BROKEN, CallFault, Fault, web};
use crate::sim::run::{Run, ScriptEvent};

const THREE: (u64, ScriptEvent) = (0, ScriptEvent::Load(200_000));
/// Three serve by then.
const BEGINS: u64 = 30_000;
/// All waits after a single failure are over by then.
const QUIET: u64 = 200_000;

fn service() -> Service {
    let progress_deadline = Duration::from_secs(40);
    Service { rollout: Rollout { progress_deadline, ..Rollout::default() }, ..web() }
}

/// `fault` happens to three that serve; gives how it ended.
fn run_with_fault(
    seed: u64,
    service: Service,
    fault: Fault,
    call_fault: Option<(u64, CallFault)>,
) -> (Run, u64) {
    let script = [THREE, (BEGINS, ScriptEvent::Fault(fault))];
    let mut run = Run::ordeal(seed, service, &script);
    run.until(BEGINS - 100);
    assert_eq!(run.unsettled(), [""; 0], "before it");
    let first = run.world.state().faults.calls;
    run.world.state().faults.call_fault = call_fault.map(|(n, call_fault)| (first + n, call_fault));
    run.until(QUIET);
    let calls = run.world.state().faults.calls - first;
    (run, calls)
}

fn wrong(run: &Run) -> Vec<String> {
    let mut wrong = run.world.state().violations.clone();
    wrong.extend(run.unsettled());
    if run.memory().desired != Some(3) {
        wrong.push(format!("{:?} desired", run.memory().desired));
    }
    wrong
}

fn images(run: &Run) -> Vec<String> {
    let state = run.world.state();
    state.containers.iter().map(|unit| unit.image.clone()).collect()
}

#[test]
fn a_changed_image_goes_through_all_replicas_and_cuts_nobody() {
    for (max_surge, max_unavailable) in [(1, 0), (0, 1), (3, 0), (1, 2)] {
        let rollout = Rollout { max_surge, max_unavailable, ..Rollout::default() };
        let service = Service { rollout, ..web() };
        let (mut run, _) = run_with_fault(1, service, Fault::Image("web:2"), None);
        assert_eq!(wrong(&run), [""; 0], "{rollout:?}");
        assert_eq!(images(&run), ["web:2", "web:2", "web:2"]);
        let before = run.effort();
        run.until(QUIET + 3_600_000);
        assert_eq!(run.effort(), before, "an hour of quiet: actions begun, stores written");
    }
}

#[test]
fn a_broken_image_is_taken_back_and_never_served() {
    let (run, _) = run_with_fault(1, service(), Fault::Image(BROKEN), None);
    assert_eq!(wrong(&run), [""; 0]);
    assert_eq!(images(&run), ["web:1", "web:1", "web:1"]);
    assert!(run.memory().rollout.rejected.is_some());
}

#[test]
fn a_restart_replaces_all() {
    let (run, _) = run_with_fault(1, service(), Fault::Restart, None);
    assert_eq!(wrong(&run), [""; 0]);
    assert_eq!(images(&run), ["web:1", "web:1", "web:1"]);
}

#[test]
fn an_ill_replica_is_replaced() {
    let (run, _) = run_with_fault(1, service(), Fault::ReplicaFallsIll, None);
    assert_eq!(wrong(&run), [""; 0]);
}

#[test]
fn when_all_are_ill_none_is_touched() {
    let (mut run, _) =
        run_with_fault(1, service(), Fault::ProbesFail(Duration::from_secs(120)), None);
    assert_eq!(wrong(&run), [""; 0]);
    run.until(QUIET + 3_600_000);
    assert_eq!(wrong(&run), [""; 0], "an hour later");
    let begun = run.world.state().containers.iter().map(|u| u.number).max();
    assert_eq!(begun, Some(3), "nothing was started");
}

/// Each call from `fault` on fails once, in each way by turns.
#[track_caller]
fn sweep(fault: Fault) {
    let call_faults =
        [CallFault::Refused, CallFault::AnswerLost, CallFault::CrashBefore, CallFault::CrashAfter];
    let mut bad = String::new();
    for (n, call_fault) in (1..=SWEPT).zip(call_faults.into_iter().cycle()) {
        let (run, calls) = run_with_fault(1, service(), fault, Some((n, call_fault)));
        assert!(n <= calls, "only {calls} calls");
        let wrong = wrong(&run);
        if !wrong.is_empty() {
            bad += &format!("\n  {call_fault:?} of call {n}: {wrong:?}");
        }
    }
    assert!(bad.is_empty(), "{fault:?}:{bad}");
}

/// By then it is over, whatever it was.
const SWEPT: u64 = 230;

#[test]
fn no_single_failure_stops_a_rollout() {
    sweep(Fault::Image("web:2"));
}

#[test]
fn no_single_failure_stops_a_rollout_whose_image_is_pulled() {
    sweep(Fault::AbsentImage("web:2"));
}

#[test]
fn no_single_failure_stops_a_restart() {
    sweep(Fault::Restart);
}

#[test]
fn a_reload_that_changes_nothing_does_nothing() {
    let (run, _) = run_with_fault(1, service(), Fault::Reload, None);
    assert_eq!(wrong(&run), [""; 0]);
    let state = run.world.state();
    assert_eq!(state.containers.iter().map(|u| u.number).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn no_single_failure_stops_a_way_back() {
    sweep(Fault::Image(BROKEN));
}

#[test]
fn no_single_failure_stops_a_replacement() {
    sweep(Fault::ReplicaFallsIll);
}
