//! Stabilization: of all proposals within a window, the most cautious one counts. It is HPA's
//! `stabilizeRecommendation` (without a behavior) and `stabilizeRecommendationWithBehaviors` (with
//! one), in `pkg/controller/podautoscaler/horizontal.go`.
//!
//! The log of recommendations is kept as HPA keeps it: each evaluation appends an entry or
//! overwrites one that is too old. Then it is thinned out to the entries that can still matter.

use std::time::Duration;

use crate::model::history::{History, Recommendation};
use crate::model::time::Moment;

/// The window for scaling down without a behavior: HPA's
/// `--horizontal-pod-autoscaler-downscale-stabilization`.
pub(crate) const DOWN_DEFAULT: Duration = Duration::from_secs(300);
/// The longest window that the config allows. Older entries are dropped.
pub(crate) const WINDOW_MAX: Duration = Duration::from_secs(3600);
/// Reached only when proposals change in one direction for minutes, with a new number each time.
pub(crate) const KEPT_MAX: usize = 256;
/// An entry may then count up to 30 s too long: a high and a low one in each of 120 spans fit.
const SPAN_MS: u64 = 30_000;

/// The recommendation that held the number back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) by: Recommendation,
    pub(crate) window: Duration,
}

/// Only scaling down has a window, and an entry exactly as old as the window still counts.
pub(crate) fn without_behavior(
    history: &mut History,
    now: Moment,
    desired: u32,
    window: Duration,
) -> (u32, Option<Held>) {
    let counts = |r: &&Recommendation| now.since(r.at) <= window;
    let highest = highest(history.recommendations.iter().filter(counts));
    remember(history, now, desired, |age| window < age);
    match highest {
        Some(by) if desired < by.replicas => (by.replicas, Some(Held { by, window })),
        _ => (desired, None),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    pub(crate) up: Duration,
    pub(crate) down: Duration,
}

/// An entry exactly as old as the window no longer counts. The answer lies between `current` and
/// `desired`: an old proposal holds a change back, it never makes one.
pub(crate) fn with_behavior(
    history: &mut History,
    now: Moment,
    current: u32,
    desired: u32,
    windows: Windows,
) -> (u32, Option<Held>) {
    let Windows { up, down } = windows;
    let window = if current <= desired { up } else { down };
    let within = history.recommendations.iter().filter(|r| now.since(r.at) < window);
    let answer = if current <= desired {
        match lowest(within) {
            Some(by) if by.replicas < desired => {
                (current.max(by.replicas), Some(Held { by, window }))
            }
            _ => (desired, None),
        }
    } else {
        match highest(within) {
            Some(by) if desired < by.replicas => {
                (current.min(by.replicas), Some(Held { by, window }))
            }
            _ => (desired, None),
        }
    };
    remember(history, now, desired, |age| up < age && down < age);
    let (number, held) = answer;
    // A proposal below the current number holds nothing back.
    (number, held.filter(|_| number != desired))
}

/// Logs a number that load did not give.
pub(crate) fn note(history: &mut History, now: Moment, number: u32) {
    remember(history, now, number, |age| WINDOW_MAX < age);
    thin_out(history, now);
}

/// Of several equal entries, the one that will count longest.
fn highest<'a>(log: impl Iterator<Item = &'a Recommendation>) -> Option<Recommendation> {
    log.max_by_key(|r| (r.replicas, r.at)).copied()
}

fn lowest<'a>(log: impl Iterator<Item = &'a Recommendation>) -> Option<Recommendation> {
    log.min_by_key(|r| (r.replicas, std::cmp::Reverse(r.at))).copied()
}

fn remember(history: &mut History, now: Moment, desired: u32, too_old: impl Fn(Duration) -> bool) {
    let log = &mut history.recommendations;
    let new = Recommendation { at: now, replicas: desired };
    match log.iter_mut().rev().find(|r| too_old(now.since(r.at))) {
        Some(old) => *old = new,
        None => log.push(new),
    }
}

/// Drops entries that cannot matter any more: those older than the longest window, and those with a
/// later entry at least as high and another at least as low. The answers stay the same.
///
/// Only if more than `KEPT_MAX` are left, entries close in time are joined, which may hold a number
/// a little longer.
pub(crate) fn thin_out(history: &mut History, now: Moment) {
    let log = &mut history.recommendations;
    for entry in log.iter_mut() {
        // The clock was set back: an entry from the future would count until the clock reaches it.
        entry.at = entry.at.min(now);
    }
    log.sort_by_key(|r| r.at);
    log.retain(|r| now.since(r.at) <= WINDOW_MAX);
    let mut later: Option<(u32, u32)> = None;
    let mut kept = Vec::new();
    for entry in log.iter().rev() {
        let n = entry.replicas;
        if later.is_none_or(|(low, high)| n < low || high < n) {
            kept.push(*entry);
        }
        later = Some(later.map_or((n, n), |(low, high)| (low.min(n), high.max(n))));
    }
    kept.reverse();
    if KEPT_MAX < kept.len() {
        join_by_span(&mut kept);
    }
    *log = kept;
}

/// Joins the entries of each 30 s span: the first one stays, with the time of the last one.
///
/// After `thin_out`, each entry is the highest or the lowest since its time, so there are two
/// kinds, above and below the newest entry. A high entry holds back scaling down, a low one scaling
/// up, so only entries of one kind are joined. The newest is of both kinds and stays.
fn join_by_span(log: &mut Vec<Recommendation>) {
    let Some(newest) = log.pop() else { return };
    let kind = |r: &Recommendation| (newest.replicas < r.replicas, r.at.0 / SPAN_MS);
    let mut joined: Vec<Recommendation> = Vec::new();
    for entry in log.iter() {
        match joined.iter_mut().rev().take(2).find(|r| kind(r) == kind(entry)) {
            Some(older) => older.at = entry.at,
            None => joined.push(*entry),
        }
    }
    joined.push(newest);
    joined.sort_by_key(|r| r.at);
    *log = joined;
}
