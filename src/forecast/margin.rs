//! What is to be put on top of the expected load, so that the load of most minutes stays below: by
//! how forecasts of the last two hours would have been off, and forecasts of earlier weeks by the
//! other weeks.

use crate::forecast::correction::Correction;
use crate::forecast::highest;
use crate::forecast::profile::Profile;

/// The share on top that is never exceeded.
const MARGIN_MAX: f64 = 0.5;
/// The share on top when there is nothing to compare with.
const MARGIN_UNKNOWN: f64 = 0.1;
/// Minutes that a correction needs before it can be judged.
const CORRECTED: usize = 30;
/// A forecast is tried at each fifth minute of the past, and compared at each third of those ahead.
const ORIGIN_STEP: usize = 5;
const LEAD_STEP: usize = 3;

/// By how much the load was above the highest expected one, as a share; with its weight.
type WeightedError = (f64, f64);

/// As a share of the expected load.
pub(crate) fn margin(profile: &Profile, percentile: f64) -> f64 {
    let (mut samples, forecasts) = of_last_hours(profile);
    samples.extend(of_weeks(profile));
    // The less there is to compare with, the likelier it is that none of it was among the worst.
    let compared = (forecasts + profile.weeks.len()) as f64;
    let percentile = (percentile * (1.0 + 1.0 / compared)).min(1.0);
    samples.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let all: f64 = samples.iter().map(|(_, weight)| weight).sum();
    let mut below = 0.0;
    let reached = |(_, weight): &&WeightedError| {
        below += weight;
        percentile * all <= below
    };
    let found = samples.iter().find(reached).or(samples.last());
    found.map_or(MARGIN_UNKNOWN, |(value, _)| value.clamp(0.0, MARGIN_MAX))
}

/// Forecasts that began in the last two hours, and how many. Together they have a weight of 1.
fn of_last_hours(profile: &Profile) -> (Vec<WeightedError>, usize) {
    let minutes = profile.recent.len();
    let horizon = profile.ahead.len();
    let mut correction = Correction::default();
    let mut off = Vec::new();
    let mut forecasts = 0;
    for (i, (load, before)) in profile.pairs().enumerate() {
        if CORRECTED <= i && i.is_multiple_of(ORIGIN_STEP) && i + horizon <= minutes {
            let path = correction.path(&profile.before[i..i + horizon]);
            off.extend(above(&path, &profile.recent[i..i + horizon]));
            forecasts += 1;
        }
        correction.add(load, before);
    }
    (weighted(&off, 1.0), forecasts)
}

/// How each week went on, forecast by the others. Together they have a weight of 1, or less where
/// the others do not fit: how far those are off says little of a forecast that does not go by them.
fn of_weeks(profile: &Profile) -> Vec<WeightedError> {
    let mut samples = Vec::new();
    if profile.weeks.len() < 2 {
        return samples;
    }
    let weights = || profile.weeks.iter().map(|week| week.weight);
    let (all, best) = (weights().sum::<f64>(), weights().fold(0.0, f64::max));
    let from = profile.recent.len().saturating_sub(CORRECTED);
    for (left_out, week) in profile.weeks.iter().enumerate() {
        let scaled = |value: Option<f64>| value.map(|value| value * week.level);
        let minute = |i: usize| {
            (scaled(week.before[i]), profile.without(Some(left_out), |other| other.before[i]))
        };
        let correction = Correction::until((from..profile.recent.len()).map(minute));
        let path = correction.path(&profile.ahead_without(Some(left_out)));
        let ahead: Vec<Option<f64>> = week.ahead.iter().map(|value| scaled(*value)).collect();
        let others = weights().enumerate().filter(|(other, _)| *other != left_out);
        let fit = others.map(|(_, weight)| weight).fold(0.0, f64::max) / best;
        samples.extend(weighted(&above(&path, &ahead), week.weight / all * fit));
    }
    samples
}

/// By how much minutes were above the highest of the path.
fn above(path: &[f64], loads: &[Option<f64>]) -> Vec<f64> {
    let (_, top) = highest(path);
    let loads = loads.iter().step_by(LEAD_STEP).flatten();
    if top <= 0.0 { Vec::new() } else { loads.map(|load| load / top - 1.0).collect() }
}

fn weighted(off: &[f64], weight: f64) -> Vec<WeightedError> {
    let each = weight / (off.len().max(1) as f64);
    off.iter().map(|value| (*value, each)).collect()
}
