//! What must hold for windows, rates and bounds in every small world, whether HPA's tables have it
//! or not.

use std::time::Duration;

use crate::decide::normalize::{NormalizationArg, normalize};
use crate::decide::policies;
use crate::decide::stabilize::{self, Windows};
use crate::decide::tests::{NOW, S};
use crate::model::behavior::{Amount, Behavior, Cap, Policy, Rules, Select};
use crate::model::bounds::Bounds;
use crate::model::history::{History, Recommendation, ScalingEvent};
use crate::model::reason::{AppliedRule, Rule};
use crate::model::time::Moment;

/// Numbers that look like chance, the same on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % sides
    }
}

/// HPA's answers over a log that forgets nothing.
fn naive_default(log: &[Recommendation], now: Moment, desired: u32, window: Duration) -> u32 {
    let within = log.iter().filter(|r| now.since(r.at) <= window);
    within.map(|r| r.replicas).fold(desired, u32::max)
}

fn naive(log: &[Recommendation], now: Moment, current: u32, desired: u32, w: Windows) -> u32 {
    let within = |window| log.iter().filter(move |r| now.since(r.at) < window).map(|r| r.replicas);
    let up = within(w.up).fold(desired, u32::min);
    let down = within(w.down).fold(desired, u32::max);
    current.max(up).min(down)
}

/// What a turn does with a history, and what it answers.
fn turn(history: &mut History, now: Moment, current: u32, desired: u32, w: Windows) -> u32 {
    let (got, held) = stabilize::with_behavior(history, now, current, desired, w);
    assert_eq!(held.is_some(), got != desired, "held by nothing, or by something in vain");
    stabilize::thin_out(history, now);
    assert!(history.recommendations.len() <= stabilize::KEPT_MAX);
    got
}

fn asked_at_all_windows(history: &History, log: &[Recommendation], now: Moment, lengths: &[u64]) {
    for (up, down) in lengths.iter().flat_map(|up| lengths.iter().map(move |down| (up, down))) {
        let windows =
            Windows { up: Duration::from_millis(*up), down: Duration::from_millis(*down) };
        for (current, desired) in [(1, 3), (3, 1), (2, 2), (2, 3), (0, 9), (9, 0)] {
            let mut kept = history.clone();
            let (got, _) = stabilize::with_behavior(&mut kept, now, current, desired, windows);
            let want = naive(log, now, current, desired, windows);
            assert_eq!(got, want, "{current} to {desired}, {windows:?}: {history:?} for {log:?}");
            let mut kept = history.clone();
            let (got, _) = stabilize::without_behavior(&mut kept, now, desired, windows.down);
            let want = naive_default(log, now, desired, windows.down);
            assert_eq!(got, want, "to {desired}, {windows:?}: {history:?} for {log:?}");
        }
    }
}

#[test]
fn a_thinned_log_answers_as_one_that_forgets_nothing() {
    // Every log of up to six, a second apart, of three numbers; asked then, and later.
    for length in 1..=6_u32 {
        for code in 0..3_u32.pow(length) {
            let mut history = History::default();
            let mut log = Vec::new();
            let mut now = NOW;
            for i in 0..length {
                now = now.plus(S);
                let desired = 1 + code / 3_u32.pow(i) % 3;
                let windows = Windows { up: S * 4, down: S * 4 };
                assert_eq!(turn(&mut history, now, 2, desired, windows), {
                    naive(&log, now, 2, desired, windows)
                });
                log.push(Recommendation { at: now, replicas: desired });
            }
            assert!(history.recommendations.len() <= 5, "{history:?}");
            // The turns above may overwrite what their own windows no longer reach.
            asked_at_all_windows(&history, &log, now.plus(S / 2), &[0, 499, 500, 501, 2500, 4000]);
        }
    }
}

#[test]
fn a_thinned_log_answers_the_same_for_hours() {
    let mut dice = Dice(7);
    for _ in 0..60 {
        let mut history = History::default();
        let mut log = Vec::new();
        let mut now = NOW;
        let windows = Windows { up: S * dice.roll(600) as u32, down: S * dice.roll(3601) as u32 };
        let numbers = 1 + dice.roll(30);
        for _ in 0..400 {
            now = now.plus(Duration::from_millis(dice.roll(60_000)));
            let current = dice.roll(numbers) as u32;
            let desired = dice.roll(numbers) as u32;
            let want = naive(&log, now, current, desired, windows);
            assert_eq!(turn(&mut history, now, current, desired, windows), want);
            log.push(Recommendation { at: now, replicas: desired });
        }
        assert!(history.recommendations.len() < 60, "{}", history.recommendations.len());
    }
}

#[test]
fn a_steady_hour_is_a_short_log_and_a_long_way_down_a_bounded_one() {
    let windows = Windows { up: S * 3600, down: S * 3600 };
    let mut history = History::begun(NOW, 3);
    let mut now = NOW;
    for i in 0..7200 {
        now = now.plus(S);
        turn(&mut history, now, 3, 3, windows);
        let length = history.recommendations.len();
        assert_eq!(length, 1, "after {i} s: {history:?}");
    }
    // Never less cautious than HPA, however long it goes one way: down, then up, then both.
    for way in [0_u32, 1, 2] {
        let mut history = History::default();
        let mut log = Vec::new();
        let mut now = NOW;
        for i in 0..5000_u32 {
            now = now.plus(S);
            let desired = [9000 - i, i, if i % 2 == 0 { i } else { 9000 - i }][way as usize];
            if i % 40 == 0 {
                let low = turn(&mut history.clone(), now, 0, 10_000, windows);
                let want = naive(&log, now, 0, 10_000, windows);
                assert!((want.saturating_sub(30)..=want).contains(&low), "{way} {i} {low} {want}");
                let high = turn(&mut history.clone(), now, 10_000, 0, windows);
                let want = naive(&log, now, 10_000, 0, windows);
                assert!((want..=want + 30).contains(&high), "{way} {i} {high} {want}");
            }
            turn(&mut history, now, desired, desired, windows);
            log.push(Recommendation { at: now, replicas: desired });
        }
    }
}

#[test]
fn what_is_just_as_old_as_the_window_keeps_its_place() {
    for (age, length) in [(299_999, 2), (300_000, 2), (300_001, 1)] {
        let at = Moment(NOW.0 - age);
        let mut history = History::begun(at, 3);
        stabilize::without_behavior(&mut history, NOW, 2, S * 300);
        assert_eq!(history.recommendations.len(), length, "{age}");
        let mut history = History::begun(at, 3);
        let windows = Windows { up: S, down: S * 300 };
        stabilize::with_behavior(&mut history, NOW, 3, 2, windows);
        assert_eq!(history.recommendations.len(), length, "{age}");
        let change = ScalingEvent { at, replicas: 1 };
        assert_eq!(policies::is_outdated(&change, NOW, S * 300), length == 1, "{age}");
    }
}

#[test]
fn a_decision_leaves_a_thin_history() {
    let old = vec![ScalingEvent { at: Moment(NOW.0 - 1_800_000), replicas: 1 }];
    let mut history = History { downs: old, ..History::begun(NOW, 3) };
    let bounds = Bounds::new(1, 9).unwrap();
    for i in 0..100 {
        let now = NOW.plus(S * i);
        let request = NormalizationArg { now, current: 3, desired: 3, bounds, behavior: None };
        normalize(&request, &mut history);
    }
    assert_eq!(history, History::begun(NOW.plus(S * 99), 3));
}

#[test]
fn a_clock_that_was_ahead_holds_nothing_for_long() {
    let ahead = NOW.plus(S * 100_000);
    let mut history = History::begun(ahead, 9);
    history.downs.push(ScalingEvent { at: ahead, replicas: 9 });
    let windows = Windows { up: S, down: S * 60 };
    assert_eq!(turn(&mut history, NOW, 9, 3, windows), 9);
    policies::thin_out(&mut history, NOW);
    let later = NOW.plus(S * 60);
    assert_eq!(turn(&mut history, later, 9, 3, windows), 3);
    assert_eq!(policies::changed(&history.downs, later, S * 60), 0);
}

fn behavior(up: &[Policy], down: &[Policy], select: Select) -> Behavior {
    let rules = |policies: &[Policy]| {
        let policies = policies.to_vec();
        Rules { stabilization: Duration::ZERO, policies, select }
    };
    Behavior { tolerance: 10, scale_up: rules(up), scale_down: rules(down) }
}

const TWO: Policy = Policy { amount: Amount::Replicas(2), period: Duration::from_secs(60) };
const HALF: Policy = Policy { amount: Amount::Percent(50), period: Duration::from_secs(30) };

#[test]
fn a_limit_names_the_policy_that_gave_it() {
    let limit = |current, desired, select| {
        let behavior = behavior(&[TWO, HALF], &[TWO, HALF], select);
        let bounds = Bounds::new(0, 1000).unwrap();
        let request =
            NormalizationArg { now: NOW, current, desired, bounds, behavior: Some(&behavior) };
        normalize(&request, &mut History::default())
    };
    let by = |number, policy| (number, Cap::Policy(policy));
    let closed = |number| (number, Cap::Disabled);
    let up = |(number, cap)| AppliedRule { rule: Rule::ScaleUpLimit(cap), number };
    let down = |(number, cap)| AppliedRule { rule: Rule::ScaleDownLimit(cap), number };
    let table = [
        (10, 99, Select::Max, up(by(15, HALF))),
        (10, 99, Select::Min, up(by(12, TWO))),
        (10, 99, Select::Disabled, up(closed(10))),
        (2, 99, Select::Max, up(by(4, TWO))),
        (10, 0, Select::Max, down(by(5, HALF))),
        (10, 0, Select::Min, down(by(8, TWO))),
        (10, 0, Select::Disabled, down(closed(10))),
        (3, 0, Select::Max, down(by(1, TWO))),
        // Percentages are cut to more replicas up, and to fewer down.
        (3, 99, Select::Min, up(by(5, TWO))),
        (7, 0, Select::Max, down(by(3, HALF))),
    ];
    for (current, desired, select, want) in table {
        let got = limit(current, desired, select);
        assert_eq!(got.because, [want], "{current} to {desired}, {select:?}");
        assert_eq!(got.word(), want.rule.word());
    }
    // Where the bound is as tight as the rate, it is the bound's doing.
    let always = behavior(&[TWO], &[TWO], Select::Max);
    let plain = Behavior { tolerance: 10, scale_up: Rules::up(), scale_down: Rules::down() };
    let growth = |number| up((number, Cap::Growth));
    let most = |number| AppliedRule { rule: Rule::AboveMax(number), number };
    let fewest = |number| AppliedRule { rule: Rule::BelowMin(number), number };
    let some = Policy { amount: Amount::Replicas(4), period: S * 15 };
    let table = [
        (4, 9, (2, 6), Some(&always), most(6)),
        (4, 9, (2, 7), Some(&always), up(by(6, TWO))),
        (4, 0, (2, 6), Some(&always), fewest(2)),
        (4, 0, (1, 6), Some(&always), down(by(2, TWO))),
        (4, 9, (2, 8), None, most(8)),
        (4, 9, (2, 9), None, growth(8)),
        (1, 9, (1, 9), None, growth(4)),
        (1, 9, (1, 9), Some(&plain), up(by(5, some))),
    ];
    for (current, desired, (min, max), behavior, want) in table {
        let bounds = Bounds::new(min, max).unwrap();
        let request = NormalizationArg { now: NOW, current, desired, bounds, behavior };
        let got = normalize(&request, &mut History::default());
        assert_eq!(got.because, [want], "{current} to {desired} within {min}..{max}");
    }
    // 1.1 is a little more than 1.1 in binary: fifty times it is more than 55.
    let tenth = Policy { amount: Amount::Percent(10), period: S };
    let rules = behavior(&[tenth], &[], Select::Max).scale_up;
    assert_eq!(policies::ceiling(&History::default(), NOW, 50, &rules).replicas, 56, "as HPA");
}

#[test]
fn changes_of_both_ways_count_until_just_before_the_period_ends() {
    let rules = behavior(&[TWO], &[TWO], Select::Max);
    let up = rules.scale_up;
    let down = rules.scale_down;
    for (age, ceiling, floor) in [(59_999, 10, 10), (60_000, 12, 8), (60_001, 12, 8)] {
        let log = vec![ScalingEvent { at: Moment(NOW.0 - age), replicas: 2 }];
        let added = History { ups: log.clone(), ..History::default() };
        let taken = History { downs: log.clone(), ..History::default() };
        assert_eq!(policies::ceiling(&added, NOW, 10, &up).replicas, ceiling, "{age}");
        assert_eq!(policies::floor(&taken, NOW, 10, &down).replicas, floor, "{age}");
        // What went the other way meanwhile is given back.
        let both = History { ups: log.clone(), downs: log, ..History::default() };
        assert_eq!(policies::ceiling(&both, NOW, 10, &up).replicas, 12, "{age}");
        assert_eq!(policies::floor(&both, NOW, 10, &down).replicas, 8, "{age}");
    }
}

#[test]
fn the_log_of_changes_is_bounded_and_forgets_nothing_within_a_period() {
    let period = policies::PERIOD_MAX;
    let always = Policy { amount: Amount::Replicas(1), period };
    let behavior = behavior(&[always], &[always], Select::Max);
    let mut history = History::default();
    let mut now = NOW;
    for i in 0..4000_u32 {
        now = now.plus(S);
        policies::remember(&mut history, now, Some(&behavior), 5, if i % 2 == 0 { 6 } else { 4 });
        policies::thin_out(&mut history, now);
        for log in [&history.ups, &history.downs] {
            assert!(log.len() <= policies::KEPT_MAX);
            let want = i64::from((i / 2).min(899));
            let got = policies::changed(log, now, period);
            assert!((want..=want + 10).contains(&got), "{i}: {got}, not {want}");
        }
    }
    let before = history.clone();
    policies::remember(&mut history, now, Some(&behavior), 5, 5);
    assert_eq!(history, before, "no change is no event");
    policies::thin_out(&mut history, now.plus(period));
    assert_eq!((history.ups, history.downs), (vec![], vec![]));
}

#[test]
fn a_hold_names_the_recommendation_and_the_window() {
    let bounds = Bounds::new(1, 10).unwrap();
    let entry = |age: u64, replicas| Recommendation { at: Moment(NOW.0 - age), replicas };
    let log = vec![entry(9000, 4), entry(5000, 8), entry(7000, 8), entry(3000, 2)];
    let history = History { recommendations: log, ..History::default() };
    let ask = |current, desired, behavior: Option<&Behavior>| {
        let request = NormalizationArg { now: NOW, current, desired, bounds, behavior };
        normalize(&request, &mut history.clone())
    };
    // The later of two equal ones: it holds longest.
    let rule = Rule::ScaleDownStabilized { proposed: 8, window: S * 300 };
    let got = ask(9, 3, None);
    assert_eq!((got.replicas, got.because), (8, vec![AppliedRule { rule, number: 8 }]));
    let mut behavior = behavior(&[TWO], &[TWO], Select::Max);
    behavior.scale_up.stabilization = S * 5;
    let rule = Rule::ScaleUpStabilized { proposed: 2, window: S * 5 };
    let got = ask(1, 9, Some(&behavior));
    assert_eq!((got.replicas, got.because), (2, vec![AppliedRule { rule, number: 2 }]));
    // What there is already is not taken away by a low recommendation.
    let got = ask(5, 9, Some(&behavior));
    assert_eq!((got.replicas, got.word()), (5, "ScaleUpStabilized"));
    let got = ask(9, 9, Some(&behavior));
    assert_eq!((got.replicas, got.word()), (9, "DesiredWithinRange"));
    // A direction without rules has HPA's: 300 s down.
    behavior.scale_down = Rules::down();
    let got = ask(9, 3, Some(&behavior));
    assert_eq!((got.replicas, got.word()), (8, "ScaleDownStabilized"));
}

#[test]
fn in_every_small_world_the_number_stays_in_bounds_and_goes_the_way_it_was_asked() {
    let selects = [Select::Max, Select::Min, Select::Disabled];
    let behaviors = selects.map(|s| Some(behavior(&[TWO, HALF], &[TWO, HALF], s)));
    let plain = Some(Behavior { tolerance: 10, scale_up: Rules::up(), scale_down: Rules::down() });
    let empty = Some(behavior(&[], &[], Select::Max));
    let mut worlds = 0;
    for behavior in behaviors.iter().chain([&None, &plain, &empty]) {
        for (min, max) in [(0, 0), (0, 3), (1, 1), (1, 6), (4, 6), (2, 1000)] {
            for (current, desired) in (min..=max.min(12)).flat_map(|c| (0..14).map(move |d| (c, d)))
            {
                for past in 0..27 {
                    let change =
                        |n: u32| vec![ScalingEvent { at: Moment(NOW.0 - 20_000), replicas: n }];
                    let recommended = past % 3;
                    let ups = past / 3 % 3;
                    let downs = past / 9;
                    let mut history = History {
                        ups: change(ups * 5),
                        downs: change(downs * 5),
                        ..History::begun(Moment(NOW.0 - 1000), recommended * 4)
                    };
                    let bounds = Bounds::new(min, max).unwrap();
                    let behavior = behavior.as_ref();
                    let request = NormalizationArg { now: NOW, current, desired, bounds, behavior };
                    let got = normalize(&request, &mut history);
                    let told = format!("{request:?} {got:?} {history:?}");
                    assert!((min..=max).contains(&got.replicas), "out of bounds: {told}");
                    let last = history.recommendations.last().unwrap().replicas;
                    assert_eq!(last, desired, "forgot what was asked: {told}");
                    let changed = got.replicas != desired;
                    assert!(!changed || !got.because.is_empty(), "unexplained: {told}");
                    // Only the plain window answers with a number from the past.
                    if behavior.is_some() {
                        let low = current.min(desired);
                        let high = current.max(desired);
                        let low = low.clamp(min, max);
                        let high = high.clamp(min, max);
                        assert!((low..=high).contains(&got.replicas), "another way: {told}");
                    }
                    worlds += 1;
                }
            }
        }
    }
    assert_eq!(worlds, 6 * (1 + 4 + 1 + 6 + 3 + 11) * 14 * 27);
}
