//! The whole settles, cuts no session, and continues after any failure.

use std::time::Duration;

use crate::model::bounds::Bounds;
use crate::model::schedule::Timetable;
use crate::model::service::{Rollout, Service};
use crate::model::time::Moment;
use crate::sim::fault_injection::{BROKEN, CallFault, Fault, Rate, web};
use crate::sim::random::Random;
use crate::sim::run::{Run, ScriptEvent};
use crate::sim::world::START;

/// One replica's worth is 100_000: 20 %, then twice what one can carry, then 20 % again.
const RUSH_HOUR: [(u64, ScriptEvent); 3] = [
    (0, ScriptEvent::Load(20_000)),
    (12_000, ScriptEvent::Load(200_000)),
    (45_000, ScriptEvent::Load(20_000)),
];
const RUSH_ENDS: u64 = 44_900;
/// Every cooldown, drain and retry after a single failure is over by then.
const LAST_HARM: u64 = 100_000;
const QUIET: u64 = 160_000;
const SWEEP_SEEDS: u64 = 2;

#[test]
fn a_rush_hour_comes_and_goes_and_then_nothing_is_done() {
    let mut run = Run::ordeal(1, web(), &RUSH_HOUR);
    run.until(RUSH_ENDS);
    assert_eq!(run.memory().desired, Some(3));
    assert_eq!(run.unsettled(), [""; 0], "at the height of it");
    run.until(QUIET);
    assert_eq!(run.numbers(), [1, 2, 3, 2, 1]);
    assert_eq!(run.unsettled(), [""; 0], "after it");
    assert_eq!(run.world.state().violations, [""; 0]);
    let before = run.effort();
    run.until(QUIET + 3_600_000);
    assert_eq!(run.effort(), before, "an hour of quiet: actions begun, stores written");
}

#[test]
fn a_clock_that_is_set_changes_nothing_where_no_schedule_is() {
    let course = |seconds: i64| {
        let step = |ms| (ms, ScriptEvent::Fault(Fault::ClockSteps(seconds)));
        let [low, high, end] = RUSH_HOUR;
        let script = [low, high, step(20_000), step(30_000), end, step(60_000)];
        let mut run = Run::ordeal(1, web(), &script);
        run.until(QUIET);
        assert_eq!(run.unsettled(), [""; 0], "set by {seconds} s");
        assert_eq!(run.world.state().violations, [""; 0], "set by {seconds} s");
        (run.numbers(), run.effort())
    };
    let still = course(0);
    for seconds in [-10 * 365 * 86_400, -3_600, -1, 1, 86_400, 10 * 365 * 86_400] {
        assert_eq!(course(seconds), still, "set by {seconds} s");
    }
}

/// The first call is faulted, then the second, … until none is left to call_fault.
#[track_caller]
fn sweep(script: &[(u64, ScriptEvent)], call_fault: CallFault) {
    let mut bad = String::new();
    for seed in 1..=SWEEP_SEEDS {
        for n in 1.. {
            let mut run = Run::ordeal(seed, web(), script);
            run.world.state().faults.call_fault = Some((n, call_fault));
            run.until(RUSH_ENDS);
            let height = run.memory().desired;
            run.until(LAST_HARM);
            if run.world.state().faults.calls < n {
                assert!(150 < n, "only {n} calls");
                break;
            }
            run.until(QUIET);
            let mut wrong = run.world.state().violations.clone();
            wrong.extend(run.unsettled());
            let after = run.memory().desired;
            if (height, after) != (Some(3), Some(1)) {
                wrong.push(format!("{height:?} at the height, {after:?} after"));
            }
            if !wrong.is_empty() {
                bad += &format!("\n  seed {seed}, call {n}: {wrong:?}");
            }
        }
    }
    assert!(bad.is_empty(), "{call_fault:?}:{bad}");
}

#[test]
fn one_refused_call_changes_nothing_in_the_end() {
    sweep(&RUSH_HOUR, CallFault::Refused);
}

#[test]
fn one_lost_answer_changes_nothing_in_the_end() {
    sweep(&RUSH_HOUR, CallFault::AnswerLost);
}

#[test]
fn a_crash_before_any_call_changes_nothing_in_the_end() {
    sweep(&RUSH_HOUR, CallFault::CrashBefore);
}

#[test]
fn a_crash_after_any_call_changes_nothing_in_the_end() {
    sweep(&RUSH_HOUR, CallFault::CrashAfter);
}

#[test]
fn one_refused_call_of_a_daemon_that_starts_anew_changes_nothing_in_the_end() {
    let [low, high, end] = RUSH_HOUR;
    sweep(&[low, high, (35_000, ScriptEvent::Fault(Fault::DaemonDies)), end], CallFault::Refused);
}

#[test]
fn replicas_too_busy_for_a_new_daemons_probes_stay_in_haproxy() {
    let busy = (35_000, ScriptEvent::Fault(Fault::ProbesFail(Duration::from_secs(8))));
    let [low, high, end] = RUSH_HOUR;
    sweep(
        &[low, high, (35_000, ScriptEvent::Fault(Fault::DaemonDies)), busy, end],
        CallFault::Refused,
    );
}

/// Whatever comes: random loads, refused calls, lost answers, deaths, for five minutes.
fn storm(seed: u64) -> Run {
    let mut random = Random::new(seed);
    let mut script = Vec::new();
    for _ in 0..random.between(4, 14) {
        let stroke = match random.below(16) {
            0 => ScriptEvent::Fault(Fault::ReplicaDies),
            1 => ScriptEvent::Fault(Fault::HaproxyDies),
            2 => ScriptEvent::Fault(Fault::DockerAway(Duration::from_millis(
                random.between(100, 20_000),
            ))),
            3 => ScriptEvent::Fault(Fault::DaemonDies),
            4 => ScriptEvent::Fault(Fault::ProbesFail(Duration::from_millis(
                random.between(100, 20_000),
            ))),
            5 | 6 => ScriptEvent::Fault(Fault::ReplicaFallsIll),
            7 => {
                let span = Duration::from_millis(random.between(20_000, 90_000));
                ScriptEvent::Fault(Fault::ProbesFail(span))
            }
            8 => ScriptEvent::Fault(Fault::Image("web:2")),
            9 => ScriptEvent::Fault(Fault::Image(BROKEN)),
            10 => ScriptEvent::Fault(Fault::Restart),
            _ => ScriptEvent::Load(random.below(500_00) * 10),
        };
        script.push((random.below(STORM_ENDS), stroke));
    }
    script.push((0, ScriptEvent::Load(random.below(500_00) * 10)));
    script.push((STORM_ENDS, ScriptEvent::Load(random.below(400_00) * 10)));
    script.push((STORM_ENDS, ScriptEvent::Fault(Fault::Image("web:3"))));
    script.sort_by_key(|(ms, _)| *ms);
    let min = u32::try_from(random.between(1, 3)).unwrap();
    let timetable = Timetable::always(Bounds::new(min, 6).unwrap());
    let surge = [(1, 0), (0, 1), (2, 1)][usize::try_from(random.below(3)).unwrap()];
    let progress_deadline = Duration::from_secs(random.between(20, 200));
    let rollout = Rollout { max_surge: surge.0, max_unavailable: surge.1, ..Rollout::default() };
    let rollout = Rollout { progress_deadline, ..rollout };
    let service = Service { timetable, rollout, ..web() };
    let run = Run::ordeal(seed, service, &script);
    let mut state = run.world.state();
    state.session_longest_ms = [2_000, 20_000, 60_000][usize::try_from(random.below(3)).unwrap()];
    let others = [10, 40, 200][usize::try_from(random.below(3)).unwrap()];
    let reloads = [2, 40][usize::try_from(random.below(2)).unwrap()];
    let rate = Rate { reloads, others };
    state.faults.call_fault_rate = Some((Moment(START.0 + STORM_ENDS), rate));
    drop(state);
    run
}

const STORM_ENDS: u64 = 300_000;
/// The longest wait after failures in a row, a step down for each replica, the longest retry.
const CALM: u64 = STORM_ENDS + 300_000 + 200_000;
/// Failures are forgiven, which is stored.
const FORGIVEN: u64 = CALM + 600_000;
const STORMS: u64 = 120;
/// A reload carried over that the new servers drain, while the old ones were put to drain.
const FOUND_BY_CHANCE: u64 = 222;

#[test]
fn after_any_storm_it_settles_and_then_does_nothing() {
    let mut bad = String::new();
    for seed in (1..=STORMS).chain([FOUND_BY_CHANCE]) {
        let mut run = storm(seed);
        run.until(CALM);
        let mut wrong = run.world.state().violations.clone();
        wrong.extend(run.unsettled());
        run.until(FORGIVEN);
        let before = run.effort();
        run.until(FORGIVEN + 300_000);
        if run.effort() != before {
            wrong.push(format!("never still: {before:?} to {:?}", run.effort()));
        }
        if !wrong.is_empty() {
            bad += &format!("\n  seed {seed}: {wrong:?}");
        }
    }
    assert!(bad.is_empty(), "{bad}");
}
