//! What the whole must do: settle, cut nobody, and go on after any failure.

use std::time::Duration;

use crate::model::service::{Bounds, Service};
use crate::model::time::Moment;
use crate::sim::random::Random;
use crate::sim::run::{Run, Stroke, web};
use crate::sim::world::{Harm, START};

/// One replica's worth is 100_00: 20 %, then twice what one can carry, then 20 % again.
const RUSH_HOUR: [(u64, Stroke); 3] =
    [(0, Stroke::Load(20_00)), (12_000, Stroke::Load(200_00)), (45_000, Stroke::Load(20_00))];
const RUSH_ENDS: u64 = 44_900;
/// Every cooldown, drain and retry after a single failure is over by then.
const QUIET: u64 = 150_000;

fn rush_hour(harm: Option<(u64, Harm)>) -> Run {
    let run = Run::new(1, web(), &RUSH_HOUR);
    run.world.state().harm = harm;
    run
}

#[test]
fn a_rush_hour_comes_and_goes_and_then_nothing_is_done() {
    let mut run = rush_hour(None);
    run.until(RUSH_ENDS);
    assert_eq!(run.memory().wanted, Some(3));
    assert_eq!(run.unsettled(), [""; 0], "at the height of it");
    run.until(QUIET);
    assert_eq!(run.numbers, [1, 2, 3, 2, 1]);
    assert_eq!(run.unsettled(), [""; 0], "after it");
    assert_eq!(run.world.state().broken, [""; 0]);
    let before = run.effort();
    run.until(QUIET + 3_600_000);
    assert_eq!(run.effort(), before, "an hour of quiet: actions begun, stores written");
}

/// The first call is harmed, then the second, … until none is left to harm.
fn sweep(harm: Harm) {
    let mut bad = String::new();
    for n in 1.. {
        let mut run = rush_hour(Some((n, harm)));
        run.until(RUSH_ENDS);
        let height = (run.memory().wanted, run.unsettled());
        run.until(QUIET);
        if run.world.state().calls < n {
            assert!(300 < n, "only {n} calls");
            break;
        }
        let mut wrong = run.world.state().broken.clone();
        wrong.extend(run.unsettled());
        if run.memory().wanted != Some(1) || height.0 != Some(3) {
            wrong.push(format!("{:?} at the height, {:?} after", height.0, run.memory().wanted));
        }
        if !wrong.is_empty() {
            bad += &format!("\n  call {n}: {wrong:?}");
        }
    }
    assert!(bad.is_empty(), "{harm:?}:{bad}");
}

#[test]
fn one_refused_call_changes_nothing_in_the_end() {
    sweep(Harm::Refused);
}

#[test]
fn one_lost_answer_changes_nothing_in_the_end() {
    sweep(Harm::AnswerLost);
}

#[test]
fn a_crash_before_any_call_changes_nothing_in_the_end() {
    sweep(Harm::CrashBefore);
}

#[test]
fn a_crash_after_any_call_changes_nothing_in_the_end() {
    sweep(Harm::CrashAfter);
}
