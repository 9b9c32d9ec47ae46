//! A service falls asleep when nobody asks and wakes for a request, whatever fails meanwhile.

use std::time::Duration;

use crate::model::bounds::Bounds;
use crate::model::metric::{Field, Source};
use crate::model::schedule::Timetable;
use crate::model::service::Service;
use crate::model::sleep::SleepPolicy;
use crate::model::time::Moment;
use crate::sim::fault_injection::{BROKEN, CallFault, Fault, Rate, web};
use crate::sim::random::Random;
use crate::sim::run::{Run, ScriptEvent};
use crate::sim::waiting::WaitTimes;
use crate::sim::world::START;

const AFTER: Duration = Duration::from_secs(20);
const WAKES: u64 = 30_000;
const IS_AWAKE: u64 = 60_000;
const RESTS: u64 = 70_000;
/// Every cooldown, drain and retry after a single failure is over by then.
const SLEEPS: u64 = 200_000;
const WAKES_AGAIN: u64 = 210_000;
const END: u64 = 240_000;
/// A tick while it sleeps makes fewer calls.
const TICK_CALLS: u64 = 8;

/// Nobody asks; somebody does for a while; nobody; somebody.
const NAP: [(u64, ScriptEvent); 4] = [
    (0, ScriptEvent::Load(0)),
    (WAKES, ScriptEvent::Load(40_000)),
    (RESTS, ScriptEvent::Load(0)),
    (WAKES_AGAIN, ScriptEvent::Load(40_000)),
];

fn sleepy() -> Service {
    let timetable = Timetable::always(Bounds::new(0, 6).unwrap());
    let sleep = SleepPolicy { after: AFTER, ..SleepPolicy::default() };
    Service { timetable, sleep, ..web() }
}

fn asleep_run(seed: u64, script: &[(u64, ScriptEvent)]) -> Run {
    let run = Run::ordeal(seed, sleepy(), script);
    run.world.state().takes_dynamic_servers = true;
    run
}

fn times(run: &Run) -> WaitTimes {
    run.world.state().waiting.times()
}

#[test]
fn a_service_sleeps_and_wakes_and_then_nothing_is_done() {
    for seed in 1..=20 {
        let mut run = asleep_run(seed, &NAP);
        run.until(WAKES - 1);
        assert_eq!(run.memory().desired, Some(0), "{seed}: before");
        let before = run.effort();
        run.until(WAKES + 100);
        assert_eq!(run.memory().desired, Some(1), "{seed}: at once");
        assert_ne!(run.effort(), before, "{seed}");
        run.until(IS_AWAKE);
        assert_eq!(run.unsettled(), [""; 0], "{seed}: awake");
        let WaitTimes { requests, longest, refused, .. } = times(&run);
        assert_eq!((requests, refused), (1, 0), "{seed}");
        assert!(longest < Duration::from_secs(12), "{seed}: {longest:?}");
        run.until(SLEEPS);
        assert_eq!(run.memory().desired, Some(0), "{seed}: after");
        assert_eq!(run.unsettled(), [""; 0], "{seed}: asleep");
        let before = run.effort();
        run.until(WAKES_AGAIN - 1);
        assert_eq!(run.effort(), before, "{seed}: while it sleeps");
        run.until(END);
        assert_eq!(run.memory().desired, Some(1), "{seed}: again");
        assert_eq!(times(&run).requests, 2, "{seed}");
        assert_eq!(run.world.state().violations, [""; 0], "{seed}");
    }
}

/// A request may come at any moment of the way to sleep.
#[test]
fn a_request_that_comes_while_it_falls_asleep_is_answered() {
    for seed in 1..=3 {
        for ms in (RESTS + 15_000..RESTS + 45_000).step_by(170) {
            let [zero, wakes, rests, _] = NAP;
            let blip = (ms, ScriptEvent::Load(40_000));
            let over = (ms + 100, ScriptEvent::Load(0));
            let mut run = asleep_run(seed, &[zero, wakes, rests, blip, over]);
            run.until(SLEEPS);
            assert_eq!(run.world.state().violations, [""; 0], "{seed}: at {ms}");
            assert_eq!(run.unsettled(), [""; 0], "{seed}: at {ms}");
            assert_eq!(run.memory().desired, Some(0), "{seed}: at {ms}");
            let refused = times(&run).refused;
            let waits = run.world.state().waiting.queued();
            assert_eq!((refused, waits), (0, 0), "{seed}: at {ms}");
        }
    }
}

#[test]
fn all_that_come_meanwhile_wait_and_are_answered() {
    for seed in 1..=20 {
        let mut run = asleep_run(seed, &[(0, ScriptEvent::Load(0)), NAP[1], NAP[2]]);
        run.world.state().scenario.demand.source = Source::Haproxy(Field::RequestRate);
        run.until(IS_AWAKE);
        let WaitTimes { requests, median, longest, refused } = times(&run);
        // At 40 a second, the first one at once; a few more until HAProxy has the replica.
        let longest_ms = u64::try_from(longest.as_millis()).unwrap();
        assert!(
            requests.abs_diff(longest_ms * 40 / 1000 + 1) <= 5,
            "{seed}: {requests} in {longest_ms} ms"
        );
        assert!(
            median < longest && longest < Duration::from_secs(12),
            "{seed}: {median:?} {longest:?} of {requests}"
        );
        assert_eq!(refused, 0, "{seed}");
        assert_eq!(run.world.state().violations, [""; 0], "{seed}");
    }
}

#[test]
fn what_waits_for_a_replica_that_is_never_ready_is_refused() {
    let broken = (10_000, ScriptEvent::Fault(Fault::Image(BROKEN)));
    let mut run = asleep_run(1, &[NAP[0], broken, NAP[1]]);
    run.until(WAKES + 59_000);
    assert_eq!((times(&run).refused, times(&run).requests), (0, 0));
    run.until(WAKES + 62_000);
    assert_eq!((times(&run).refused, times(&run).requests), (1, 0));
    assert_eq!(run.world.state().violations, [""; 0]);
}

#[track_caller]
fn sweep(call_fault: CallFault) {
    let mut bad = String::new();
    for seed in 1..=2 {
        for n in 1.. {
            let mut run = asleep_run(seed, &NAP);
            run.world.state().faults.call_fault = Some((n, call_fault));
            run.until(IS_AWAKE);
            let awake = run.memory().desired;
            run.until(SLEEPS);
            let asleep = run.memory().desired;
            let mut wrong = run.unsettled();
            // What failed in the last tick may not be settled by then.
            if run.world.state().faults.calls < n + TICK_CALLS {
                assert!(100 < n, "only {n} calls");
                break;
            }
            run.until(END);
            wrong.extend(run.unsettled());
            wrong.extend(run.world.state().violations.clone());
            let again = run.memory().desired;
            if (awake, asleep, again) != (Some(1), Some(0), Some(1)) {
                wrong.push(format!("{awake:?} awake, {asleep:?} asleep, {again:?} again"));
            }
            if !wrong.is_empty() {
                bad += &format!("\n  seed {seed}, call {n}: {wrong:?}");
            }
        }
    }
    assert!(bad.is_empty(), "{call_fault:?}:{bad}");
}

#[test]
fn one_refused_call_keeps_no_service_from_sleep_or_from_waking() {
    sweep(CallFault::Refused);
}

#[test]
fn one_lost_answer_keeps_no_service_from_sleep_or_from_waking() {
    sweep(CallFault::AnswerLost);
}

#[test]
fn a_crash_before_any_call_keeps_no_service_from_sleep_or_from_waking() {
    sweep(CallFault::CrashBefore);
}

#[test]
fn a_crash_after_any_call_keeps_no_service_from_sleep_or_from_waking() {
    sweep(CallFault::CrashAfter);
}

const STORM_ENDS: u64 = 300_000;
/// The longest wait after failures in a row, and the way to sleep.
const CALM: u64 = STORM_ENDS + 600_000;
const ASKS: u64 = CALM + 10_000;
const SERVES: u64 = ASKS + 60_000;
const FORGIVEN: u64 = SERVES + 600_000;

/// Loads that come and go, failed calls and deaths; then nobody asks, somebody, and nobody.
fn storm(seed: u64) -> Run {
    let mut random = Random::new(seed);
    let mut script = vec![(0, ScriptEvent::Load(0))];
    for _ in 0..random.between(6, 24) {
        let stroke = match random.below(12) {
            0 => ScriptEvent::Fault(Fault::ReplicaDies),
            1 => ScriptEvent::Fault(Fault::HaproxyDies),
            2 => ScriptEvent::Fault(Fault::DockerAway(Duration::from_millis(
                random.between(100, 20_000),
            ))),
            3 => ScriptEvent::Fault(Fault::DaemonDies),
            4 => ScriptEvent::Fault(Fault::ProbesFail(Duration::from_millis(
                random.between(100, 20_000),
            ))),
            5 => ScriptEvent::Fault(Fault::Image("web:2")),
            6..=8 => ScriptEvent::Load(0),
            _ => ScriptEvent::Load(random.below(300_00) * 10),
        };
        script.push((random.below(STORM_ENDS), stroke));
    }
    script.push((STORM_ENDS, ScriptEvent::Load(0)));
    script.push((ASKS, ScriptEvent::Load(40_000)));
    script.push((SERVES, ScriptEvent::Load(0)));
    script.sort_by_key(|(ms, _)| *ms);
    let run = asleep_run(seed, &script);
    let mut state = run.world.state();
    if random.one_in(2) {
        state.scenario.demand.source = Source::Haproxy(Field::RequestRate);
    }
    state.session_longest_ms = [2_000, 20_000][usize::try_from(random.below(2)).unwrap()];
    let others = [10, 40, 200][usize::try_from(random.below(3)).unwrap()];
    let reloads = [2, 40][usize::try_from(random.below(2)).unwrap()];
    let rate = Rate { reloads, others };
    state.faults.call_fault_rate = Some((Moment(START.0 + STORM_ENDS), rate));
    drop(state);
    run
}

#[test]
fn after_any_storm_it_sleeps_wakes_for_a_request_and_sleeps_again() {
    let mut bad = String::new();
    for seed in 1..=120 {
        let mut run = storm(seed);
        run.until(CALM);
        let asleep = run.memory().desired;
        let mut wrong = run.unsettled();
        let before = times(&run);
        run.until(SERVES - 1);
        let awake = run.memory().desired;
        let after = times(&run);
        run.until(FORGIVEN);
        wrong.extend(run.unsettled());
        wrong.extend(run.world.state().violations.clone());
        let again = run.memory().desired;
        if asleep != Some(0) || awake.is_none_or(|n| n == 0) || again != Some(0) {
            wrong.push(format!("{asleep:?} asleep, {awake:?} awake, {again:?} again"));
        }
        if after.requests <= before.requests || before.refused < after.refused {
            wrong.push(format!("{before:?} before, {after:?} after"));
        }
        let effort = run.effort();
        run.until(FORGIVEN + 300_000);
        if run.effort() != effort {
            wrong.push(format!("never still: {effort:?} to {:?}", run.effort()));
        }
        if !wrong.is_empty() {
            bad += &format!("\n  seed {seed}: {wrong:?}");
        }
    }
    assert!(bad.is_empty(), "{bad}");
}
