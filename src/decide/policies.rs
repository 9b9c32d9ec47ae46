//! Scaling policies: how far the number may change now, given its changes within the periods. HPA's
//! `calculateScaleUpLimitWithScalingRules` and `calculateScaleDownLimitWithBehaviors`.

use std::time::Duration;

use crate::model::behavior::{Amount, Behavior, Cap, Policy, Rules, Select};
use crate::model::history::{History, ScalingEvent};
use crate::model::time::Moment;

/// The longest period that the config allows. Older entries are dropped.
pub(crate) const PERIOD_MAX: Duration = Duration::from_secs(1800);
/// More changes than this within one period are unlikely with any cooldown.
pub(crate) const KEPT_MAX: usize = 256;
/// An entry may then count up to 10 s too long: one in each of 180 spans fits.
const SPAN_MS: u64 = 10_000;

/// The farthest number allowed, and the policy that sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateLimit {
    pub(crate) replicas: u32,
    pub(crate) by: Cap,
}

/// The cap without a behavior, as HPA's `calculateScaleUpLimit`: one wrong sample must not start a
/// hundred replicas.
pub(crate) fn growth(current: u32) -> RateLimit {
    RateLimit { replicas: current.saturating_mul(2).max(4), by: Cap::Growth }
}

/// The most replicas that `rules` allow now; never fewer than there are.
pub(crate) fn ceiling(history: &History, now: Moment, current: u32, rules: &Rules) -> RateLimit {
    let farthest = |policy: &Policy| {
        let start = start(history, now, current, policy.period);
        match policy.amount {
            Amount::Replicas(n) => start.saturating_add(i64::from(n)),
            // Rounded up, or a percentage of a few replicas would never add one.
            Amount::Percent(p) => (start as f64 * (1.0 + f64::from(p) / 100.0)).ceil() as i64,
        }
    };
    let of_all = rules.policies.iter().map(|p| (farthest(p), p));
    let chosen = match rules.select {
        Select::Max => of_all.reduce(|a, b| if a.0 < b.0 { b } else { a }),
        Select::Min => of_all.reduce(|a, b| if b.0 < a.0 { b } else { a }),
        Select::Disabled => None,
    };
    match chosen {
        Some((number, policy)) => {
            RateLimit { replicas: whole(number).max(current), by: Cap::Policy(*policy) }
        }
        None => RateLimit { replicas: current, by: Cap::Disabled },
    }
}

/// The fewest replicas that `rules` allow now; never more than there are.
pub(crate) fn floor(history: &History, now: Moment, current: u32, rules: &Rules) -> RateLimit {
    let farthest = |policy: &Policy| {
        let start = start(history, now, current, policy.period);
        match policy.amount {
            Amount::Replicas(n) => start.saturating_sub(i64::from(n)),
            Amount::Percent(p) => (start as f64 * (1.0 - f64::from(p) / 100.0)) as i64,
        }
    };
    let of_all = rules.policies.iter().map(|p| (farthest(p), p));
    // The most change is the smallest number here.
    let chosen = match rules.select {
        Select::Max => of_all.reduce(|a, b| if b.0 < a.0 { b } else { a }),
        Select::Min => of_all.reduce(|a, b| if a.0 < b.0 { b } else { a }),
        Select::Disabled => None,
    };
    match chosen {
        Some((number, policy)) => {
            RateLimit { replicas: whole(number).min(current), by: Cap::Policy(*policy) }
        }
        None => RateLimit { replicas: current, by: Cap::Disabled },
    }
}

fn whole(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

/// How many replicas there were when the period began. Negative only if somebody else removed
/// replicas that were added since.
fn start(history: &History, now: Moment, current: u32, period: Duration) -> i64 {
    let added = changed(&history.ups, now, period);
    let taken = changed(&history.downs, now, period);
    i64::from(current).saturating_sub(added).saturating_add(taken)
}

/// By how much the number changed within the period. A change exactly as old no longer counts.
pub(crate) fn changed(log: &[ScalingEvent], now: Moment, period: Duration) -> i64 {
    let within = log.iter().filter(|c| now.since(c.at) < period);
    within.fold(0, |sum: i64, c| sum.saturating_add(i64::from(c.replicas)))
}

/// Logs a change for later decisions. Without a behavior no policy reads the log.
pub(crate) fn remember(
    history: &mut History,
    now: Moment,
    behavior: Option<&Behavior>,
    from: u32,
    to: u32,
) {
    let Some(behavior) = behavior else { return };
    if from == to {
        return;
    }
    let (log, rules) = if from < to {
        (&mut history.ups, &behavior.scale_up)
    } else {
        (&mut history.downs, &behavior.scale_down)
    };
    let longest = rules.policies.iter().map(|p| p.period).max().unwrap_or_default();
    let new = ScalingEvent { at: now, replicas: from.abs_diff(to) };
    match log.iter_mut().rev().find(|c| is_outdated(c, now, longest)) {
        Some(old) => *old = new,
        None => log.push(new),
    }
}

/// No policy of this direction counts the entry any more, so it can be overwritten.
pub(crate) fn is_outdated(change: &ScalingEvent, now: Moment, longest: Duration) -> bool {
    longest < now.since(change.at)
}

/// Drops entries that no period covers. If more than `KEPT_MAX` are left, entries close in time are
/// joined, which may count a little longer.
pub(crate) fn thin_out(history: &mut History, now: Moment) {
    for log in [&mut history.ups, &mut history.downs] {
        for change in log.iter_mut() {
            // The clock was set back: an entry from the future would count until the clock
            // reaches it.
            change.at = change.at.min(now);
        }
        log.sort_by_key(|c| c.at);
        log.retain(|c| now.since(c.at) < PERIOD_MAX);
        if KEPT_MAX < log.len() {
            log.dedup_by(|younger, older| {
                let same = younger.at.0 / SPAN_MS == older.at.0 / SPAN_MS;
                if same {
                    older.at = younger.at;
                    older.replicas = older.replicas.saturating_add(younger.replicas);
                }
                same
            });
        }
    }
}
