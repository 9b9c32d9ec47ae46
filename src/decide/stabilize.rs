//! Stabilization: of all that was proposed within a window, the most cautious counts.
//!
//! Answers come from the log of recommendations. It is kept as HPA keeps it, one entry more or one
//! too old overwritten each time, and then thinned out to what can still give an answer.

use std::time::Duration;

use crate::model::history::{History, Recommendation};
use crate::model::time::Moment;

/// Of the number on the way down, where no behavior says otherwise.
pub(crate) const DOWN_DEFAULT: Duration = Duration::from_secs(300);
/// No window may be longer, so nothing older is kept.
pub(crate) const WINDOW_MAX: Duration = Duration::from_secs(3600);
/// Reached only by proposals that go one way for minutes, with a new number each time.
pub(crate) const KEPT_MAX: usize = 256;
/// By so much one may then hold too long: a high one and a low one in each of 120 spans fit.
const SPAN_MS: u64 = 30_000;

/// What kept the number from following the proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) by: Recommendation,
    pub(crate) window: Duration,
}

/// Without a behavior only the way down has a window, and what is just as old still counts.
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

/// With a behavior, what is just as old as the window no longer counts. The answer lies between
/// `current` and `desired`: an old proposal holds a change back, it never makes one.
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
    // A low proposal holds nothing back from what is there already.
    (number, held.filter(|_| number != desired))
}

/// Of a number that nobody asked for by load.
pub(crate) fn note(history: &mut History, now: Moment, number: u32) {
    remember(history, now, number, |age| WINDOW_MAX < age);
    thin_out(history, now);
}

/// Of several that are equal, the one that will count longest.
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

/// Drops what no window can ever ask for again: what is older than the longest, and what a later
/// recommendation that is as high and one that is as low stand for. The answers stay the same.
///
/// Only when still too many are left, those close together become one, which then holds a while
/// longer.
pub(crate) fn thin_out(history: &mut History, now: Moment) {
    let log = &mut history.recommendations;
    for entry in log.iter_mut() {
        // The clock was ahead before a restart. Else this would count until it is there again.
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

/// Of the entries of one span, the oldest stands for the others, as if it were as young as they.
/// Each entry left by `thin_out` is the highest since its time or the lowest; only those of a kind
/// can stand for each other, and the newest, which is of both kinds, stays.
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
