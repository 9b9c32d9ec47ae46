//! What Kubernetes' HPA answers is what we answer: its own tables, as `tests/hpa` has them.

use std::fmt::Debug;
use std::time::Duration;

use serde_json::Value;

use crate::decide::classify::ReplicaClass;
use crate::decide::combine::{Combined, combine};
use crate::decide::hpa::{Measure, NoProposal, ProposalInput, Sample, Tolerance, propose};
use crate::decide::normalize::{NormalizationArg, normalize};
use crate::decide::policies;
use crate::decide::stabilize::{self, Windows};
use crate::decide::tests::NOW;
use crate::decide::tests::cases::{check, load};
use crate::model::behavior::{Amount, Behavior, Policy, Rules, Select};
use crate::model::bounds::Bounds;
use crate::model::history::{History, Recommendation, ScalingEvent};
use crate::model::metric::Milli;
use crate::model::time::Moment;

fn behavior_cases() -> Value {
    load("PLIMSOLL_HPA_BEHAVIOR_CASES", "hpa_behavior_cases.json")
}

fn same<T: PartialEq + Debug>(what: &str, got: T, want: T) -> Result<(), String> {
    if got == want { Ok(()) } else { Err(format!("{what} is {got:?}, HPA has {want:?}")) }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn count(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap_or_else(|| panic!("{value} is not a count"))).unwrap()
}

fn seconds(value: &Value) -> Duration {
    Duration::from_secs_f64(value.as_f64().unwrap_or_else(|| panic!("{value} is not a span")))
}

/// Some figures are written with a fraction of nothing.
fn milli(value: &Value) -> Option<Milli> {
    let figure = value.as_u64().or(value.as_f64().map(|f| f.round() as u64));
    figure.map(Milli)
}

fn ago(value: &Value) -> Moment {
    Moment(NOW.0 - u64::try_from(seconds(value).as_millis()).unwrap())
}

#[test]
fn the_calculator_answers_as_hpas() {
    let file = load("PLIMSOLL_HPA_CASES", "hpa_cases.json");
    check(&file, "cases", |case| {
        // No source gives absolute readings of single replicas: CPU and memory are shares.
        if case["metric_kind"] == "pod_raw" {
            return Ok(());
        }
        let samples = samples(case, count(&case["pod_count"]));
        let unit = if is_utilization(case) { 1000 } else { 1 };
        let input = ProposalInput {
            measure: measure(case),
            target: Milli(milli(&case["target"]).unwrap().0 * unit),
            samples: &samples,
            current: count(&case["current_replicas"]),
            tolerance: tolerance(case),
        };
        let got = propose(&input);
        if let Some(text) = case["expected_error"].as_str() {
            let blind = got.err().ok_or_else(|| format!("{got:?}, HPA has {text}"))?;
            let fits = errors(text).contains(&blind);
            return if fits { Ok(()) } else { Err(format!("{blind:?}, HPA has {text}")) };
        }
        let got = got.map_err(|blind| format!("{blind:?}"))?;
        same("the number", got.replicas, count(&case["expected_replicas"]))?;
        if let Some(percent) = case["expected_utilization_percent"].as_u64() {
            same("the utilization", got.value, Milli(percent * 1000))?;
        }
        match milli(&case["expected_raw"]) {
            Some(raw) if !is_utilization(case) => same("the value", got.value, raw),
            _ => Ok(()),
        }
    });
}

fn is_utilization(case: &Value) -> bool {
    case["metric_kind"] == "resource_utilization"
}

fn measure(case: &Value) -> Measure {
    let readings = list(&case["usage_per_replica"]).iter().filter_map(milli);
    let sum = Milli(readings.fold(0, |sum, r| sum.saturating_add(r.0)));
    match case["metric_kind"].as_str().unwrap() {
        "resource_utilization" => Measure::Utilization,
        "object_value" | "external_value" => Measure::Common(sum),
        "object_per_pod" | "external_per_pod" => Measure::Shared(sum),
        other => panic!("no such metric_kind: {other}"),
    }
}

fn samples(case: &Value, replicas: u32) -> Vec<Sample> {
    let named = |list_name: &str, i: usize| {
        list(&case[list_name]).iter().any(|n| n.as_u64() == Some(i as u64))
    };
    let sample = |i: usize| {
        let class = match (named("ignored", i), named("unready", i)) {
            (true, _) => ReplicaClass::Leaving,
            (false, true) => ReplicaClass::Unready,
            (false, false) => ReplicaClass::Ready,
        };
        // Samples of something that is no replica have no place in this list.
        let there = !case["usage_per_replica"][i].is_null() && !named("missing", i);
        let of_limit = is_utilization(case) && !case["usage_milli"].is_null();
        let used = if of_limit { &case["usage_milli"][i] } else { &case["usage_per_replica"][i] };
        let used = milli(used).filter(|_| there);
        Sample { class, used, allowed: milli(&case["request_milli"][i]) }
    };
    (0..replicas as usize).map(sample).collect()
}

fn tolerance(case: &Value) -> Tolerance {
    let both = case["tolerance"].as_f64();
    let side = |name: &str| case[name].as_f64().or(both).unwrap_or(0.1);
    Tolerance { down: side("tolerance_down"), up: side("tolerance_up") }
}

/// What it may be called here. A sample without its replica is none here; there it is a sample
/// that the requests do not match.
fn errors(text: &str) -> &'static [NoProposal] {
    let all =
        &[NoProposal::NoReplica, NoProposal::NoReading, NoProposal::NoneReady, NoProposal::NoLimit];
    let known: [(&str, &'static [NoProposal]); 5] = [
        ("no metrics returned from", &[NoProposal::NoReading]),
        ("matched known pods", &[NoProposal::NoReading, NoProposal::NoLimit]),
        ("did not receive metrics", &[NoProposal::NoneReady, NoProposal::NoReading]),
        ("missing request", &[NoProposal::NoLimit]),
        ("no pods returned", &[NoProposal::NoReplica]),
    ];
    known.iter().find(|(words, _)| text.contains(words)).map_or(all, |(_, blind)| blind)
}

/// A file may have bounds that no config can have. They stand for "no bound".
fn bounds(case: &Value) -> Bounds {
    let min = case["min"].as_u64().unwrap_or(1);
    let max = case["max"].as_u64().unwrap();
    let most = u64::from(Bounds::MAX);
    assert!(max <= most || case["expected"].as_u64() < Some(most), "{case}: beyond our bounds");
    Bounds::new(u32::try_from(min).unwrap(), u32::try_from(max.min(most)).unwrap()).unwrap()
}

fn rules(value: &Value, default: Rules) -> Rules {
    let policy = |p: &Value| {
        let amount = match p["type"].as_str().unwrap() {
            "Pods" => Amount::Replicas(count(&p["value"])),
            "Percent" => Amount::Percent(count(&p["value"])),
            other => panic!("no such policy: {other}"),
        };
        Policy { amount, period: seconds(&p["period_s"]) }
    };
    let select = match value["select"].as_str() {
        Some("Max") | None => Select::Max,
        Some("Min") => Select::Min,
        Some("Disabled") => Select::Disabled,
        Some(other) => panic!("no such select: {other}"),
    };
    let window = &value["stabilization_s"];
    let stabilization = if window.is_null() { default.stabilization } else { seconds(window) };
    let policies = value["policies"].as_array();
    let policies = policies.map_or(default.policies, |p| p.iter().map(policy).collect());
    Rules { stabilization, policies, select }
}

/// A direction that is not there has the defaults, as in a config.
fn behavior(case: &Value) -> Option<Behavior> {
    let side = |name: &str, default: Rules| {
        Some(&case[name]).filter(|v| !v.is_null()).map(|v| rules(v, default))
    };
    let scale_up = side("scale_up", Rules::up());
    let scale_down = side("scale_down", Rules::down());
    let some = scale_up.is_some() || scale_down.is_some();
    let scale_up = scale_up.unwrap_or_else(Rules::up);
    let scale_down = scale_down.unwrap_or_else(Rules::down);
    some.then_some(Behavior { tolerance: 10, scale_up, scale_down })
}

fn recommendations(case: &Value) -> Vec<Recommendation> {
    let one = |r: &Value| Recommendation { at: ago(&r["age_s"]), replicas: count(&r["value"]) };
    list(&case["recommendations"]).iter().map(one).collect()
}

fn events(value: &Value) -> Vec<ScalingEvent> {
    let one = |e: &Value| ScalingEvent { at: ago(&e["age_s"]), replicas: count(&e["change"]) };
    list(value).iter().map(one).collect()
}

#[test]
fn without_a_behavior_growth_is_capped_as_hpas() {
    check(&behavior_cases(), "convert_desired_replicas_with_rules", limited);
}

#[test]
fn rates_limit_as_hpas() {
    check(&behavior_cases(), "rate_policies", limited);
}

fn limited(case: &Value) -> Result<(), String> {
    let behavior = behavior(case);
    let request = NormalizationArg {
        now: NOW,
        current: count(&case["current"]),
        desired: count(&case["desired"]),
        bounds: bounds(case),
        behavior: behavior.as_ref(),
    };
    let ups = events(&case["scale_up_events"]);
    let downs = events(&case["scale_down_events"]);
    let mut history = History { ups, downs, ..History::default() };
    let got = normalize(&request, &mut history);
    same("the number", got.replicas, count(&case["expected"]))?;
    case["expected_condition"].as_str().map_or(Ok(()), |word| same("the word", got.word(), word))
}

#[test]
fn the_default_window_holds_as_hpas() {
    check(&behavior_cases(), "default_downscale_stabilization", |case| {
        let recommendations = recommendations(case);
        let mut history = History { recommendations, ..History::default() };
        let desired = count(&case["desired"]);
        let window = seconds(&case["window_seconds"]);
        let (got, held) = stabilize::without_behavior(&mut history, NOW, desired, window);
        same("the number", got, count(&case["expected"]))?;
        same("held", held.is_some(), got != desired)?;
        let length = u32::try_from(history.recommendations.len()).unwrap();
        same("the log's length", length, count(&case["expected_log_length"]))
    });
}

#[test]
fn windows_of_a_behavior_hold_as_hpas() {
    check(&behavior_cases(), "behavior_stabilization", |case| {
        let recommendations = recommendations(case);
        let mut history = History { recommendations, ..History::default() };
        let current = count(&case["current"]);
        let desired = count(&case["desired"]);
        let up = seconds(&case["up_window_s"]);
        let down = seconds(&case["down_window_s"]);
        let windows = Windows { up, down };
        let (got, held) = stabilize::with_behavior(&mut history, NOW, current, desired, windows);
        same("the number", got, count(&case["expected"]))?;
        same("held", held.is_some(), got != desired)?;
        let log: Vec<u32> = history.recommendations.iter().map(|r| r.replicas).collect();
        match case["expected_log_values"].as_array() {
            Some(values) => same("the log", log, values.iter().map(count).collect()),
            None => Ok(()),
        }
    });
}

#[test]
fn the_least_of_several_rates_is_hpas() {
    check(&behavior_cases(), "rate_limit_select_min", |case| {
        let current = count(&case["current"]);
        let history = History::default();
        let up = case["direction"] == "up";
        let default = if up { Rules::up() } else { Rules::down() };
        let rules = rules(&case["rules"], default);
        let limit = if up { policies::ceiling } else { policies::floor };
        let got = limit(&history, NOW, current, &rules).replicas;
        same("the limit", got, count(&case["expected_limit"]))
    });
}

#[test]
fn changes_are_kept_as_hpas() {
    check(&behavior_cases(), "scale_event_log", |case| {
        let some = Some(&case["rules"]).filter(|r| !r.is_null());
        let rules = some.map(|r| rules(r, Rules::down()));
        let both = rules.map(|r| Behavior { tolerance: 10, scale_up: r.clone(), scale_down: r });
        let change = count(&case["replica_change"]);
        for (from, to) in [(10, 10 + change), (10 + change, 10)] {
            let before = events(&case["events_before"]);
            let lately = policies::changed(&before, NOW, Duration::from_secs(60));
            let want = case["expected_change_in_last_60s"].as_i64();
            want.map_or(Ok(()), |want| same("the change", lately, want))?;

            let up = from < to;
            let mut history = History::default();
            *(if up { &mut history.ups } else { &mut history.downs }) = before;
            policies::remember(&mut history, NOW, both.as_ref(), from, to);
            let (log, other) =
                if up { (history.ups, history.downs) } else { (history.downs, history.ups) };
            same("the other direction", other, Vec::new())?;
            let policies = both.iter().flat_map(|b| &b.scale_up.policies);
            let longest = policies.map(|p| p.period).max().unwrap_or_default();
            let got = log.iter().map(|c| (c.replicas, policies::is_outdated(c, NOW, longest)));
            let want = list(&case["events_after"]).iter();
            let want = want.map(|e| (count(&e["change"]), e["outdated"] == true));
            same("the log", got.collect::<Vec<_>>(), want.collect())?;
        }
        Ok(())
    });
}

#[test]
fn whole_decisions_are_hpas() {
    check(&behavior_cases(), "reconcile", |case| {
        let (got, words) = reconcile(case);
        same("the number", got, count(&case["expected"]))?;
        match case["reason"].as_str() {
            Some(word) if !words.contains(&word) => Err(format!("{words:?}, HPA has {word}")),
            _ => Ok(()),
        }
    });
}

/// The number, and the words of what HPA keeps as several conditions.
fn reconcile(case: &Value) -> (u32, Vec<&'static str>) {
    let current = count(&case["spec_replicas"]);
    let bounds = bounds(case);
    if current < bounds.min() || bounds.max() < current {
        return (current.clamp(bounds.min(), bounds.max()), Vec::new());
    }
    let behavior = behavior(case);
    let mut facts = case.clone();
    facts["metric_kind"] = "resource_utilization".into();
    facts["usage_per_replica"] = case["usage_milli"].clone();
    let samples = samples(&facts, current);
    let tolerance = Tolerance::from_hundredths(behavior.as_ref().map_or(10, |b| b.tolerance));
    let measure = Measure::Utilization;
    let samples = &samples[..];
    let mut proposals = Vec::new();
    if let Some(Milli(percent)) = milli(&case["cpu_target_percent"]) {
        let target = Milli(percent * 1000);
        let input = ProposalInput { measure, target, samples, current, tolerance };
        proposals.push(propose(&input).ok().map(|p| p.replicas));
    }
    if !case["second_metric"].is_null() {
        proposals.push(None);
    }
    let Combined::Largest { replicas, .. } = combine(current, &proposals) else {
        return (current, vec!["FailedGetResourceMetric", "FailedGetExternalMetric"]);
    };
    let request = NormalizationArg {
        now: NOW,
        current,
        desired: replicas,
        bounds,
        behavior: behavior.as_ref(),
    };
    let mut history = match &case["recommendations"] {
        Value::Null => History::begun(NOW, current),
        _ => History { recommendations: recommendations(case), ..History::default() },
    };
    let allowed = normalize(&request, &mut history);
    let mut words: Vec<_> = allowed.because.iter().map(|c| c.rule.word()).collect();
    if !words.iter().any(|w| w.ends_with("Stabilized")) {
        words.push("ReadyForNewScale");
    }
    if words.iter().all(|w| w.ends_with("Stabilized") || *w == "ReadyForNewScale") {
        words.push("DesiredWithinRange");
    }
    (allowed.replicas, words)
}
