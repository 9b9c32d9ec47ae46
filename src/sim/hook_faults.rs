//! No replica gets traffic before its hook `after_ready` has ended, and none that serves runs it
//! again, whatever fails meanwhile. `src/sim/invariants.rs` checks both.

use crate::model::hooks::Hooks;
use crate::model::service::Service;
use crate::sim::fault_injection::{CallFault, Fault, web};
use crate::sim::run::{Run, ScriptEvent};

/// Up to three replicas, which are replaced, one of which dies, and down to one.
const SCRIPT: [(u64, ScriptEvent); 4] = [
    (0, ScriptEvent::Load(200_000)),
    (25_000, ScriptEvent::Fault(Fault::Image("web:2"))),
    (50_000, ScriptEvent::Fault(Fault::ReplicaDies)),
    (60_000, ScriptEvent::Load(20_000)),
];
/// Every wait after a single failure is over by then.
const QUIET: u64 = 200_000;
/// Every so many calls one is faulted: all of them would take minutes.
const STRIDE: usize = 13;
/// The script and what follows from it at once are over by then.
const LAST_FAULT: u64 = 80_000;

fn service() -> Service {
    let hooks = Hooks { after_ready: vec!["warm".to_owned()], ..Hooks::default() };
    Service { hooks, ..web() }
}

#[track_caller]
fn sweep(call_fault: CallFault) {
    let mut bad = String::new();
    for n in (1..).step_by(STRIDE) {
        let mut run = Run::ordeal(1, service(), &SCRIPT);
        run.world.state().faults.call_fault = Some((n, call_fault));
        run.until(LAST_FAULT);
        if run.world.state().faults.calls < n {
            assert!(200 < n, "only {n} calls");
            break;
        }
        run.until(QUIET);
        let mut wrong = run.world.state().violations.clone();
        wrong.extend(run.unsettled());
        if run.memory().desired != Some(1) {
            wrong.push(format!("{:?} desired", run.memory().desired));
        }
        if !wrong.is_empty() {
            bad += &format!("\n  call {n}: {wrong:?}");
        }
    }
    assert!(bad.is_empty(), "{call_fault:?}:{bad}");
}

#[test]
fn replicas_with_hooks_come_and_go_and_then_nothing_is_done() {
    let mut run = Run::ordeal(1, service(), &SCRIPT);
    run.until(24_900);
    assert_eq!(run.memory().desired, Some(3));
    let hooked = run.world.state().containers.iter().filter(|u| u.hooked.is_some()).count();
    assert_eq!(hooked, 3, "a hook for each");
    run.until(QUIET);
    assert_eq!(run.unsettled(), [""; 0]);
    assert_eq!(run.world.state().violations, [""; 0]);
    // What failed is forgiven by then.
    run.until(QUIET + 900_000);
    let before = run.effort();
    run.until(QUIET + 4_500_000);
    assert_eq!(run.effort(), before, "an hour of quiet: actions begun, stores written");
}

#[test]
fn no_refused_call_lets_a_replica_in_before_its_hook() {
    sweep(CallFault::Refused);
}

#[test]
fn no_lost_answer_lets_a_replica_in_before_its_hook() {
    sweep(CallFault::AnswerLost);
}

#[test]
fn no_crash_before_a_call_lets_a_replica_in_before_its_hook() {
    sweep(CallFault::CrashBefore);
}

#[test]
fn no_crash_after_a_call_lets_a_replica_in_before_its_hook() {
    sweep(CallFault::CrashAfter);
}
