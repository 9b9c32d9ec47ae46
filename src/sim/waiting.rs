//! Requests that wait while no replica serves, in HAProxy's queue or at the activator, and how long
//! they waited. Knows nothing of the rest of the world.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::model::sleep::Activity;
use crate::model::time::Moment;

/// A connection that the activator holds.
#[derive(Clone, Copy)]
struct WaitingConnection {
    /// When its client sent it.
    sent: Moment,
    since: Moment,
}

/// A connection that the activator copies to a replica.
pub(crate) struct CopiedConnection {
    pub(crate) to: SocketAddr,
    pub(crate) ends: Moment,
}

/// How long requests waited for a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WaitTimes {
    pub(crate) requests: u64,
    pub(crate) median: Duration,
    pub(crate) longest: Duration,
    /// Requests that waited too long and got 503.
    pub(crate) refused: u64,
}

/// HAProxy's queue and the activator, of one service.
#[derive(Default)]
pub(crate) struct Waiting {
    /// In HAProxy, the oldest first: when they were sent, and how many.
    queue: VecDeque<(Moment, u64)>,
    held: Option<WaitingConnection>,
    pub(crate) copies: Vec<CopiedConnection>,
    pub(crate) is_listening: bool,
    /// The replicas that connections are copied to.
    pub(crate) forward: Vec<SocketAddr>,
    /// Since the last look.
    answered: Vec<Duration>,
    /// Something of the activator's changed since the controller heard of it last.
    pub(crate) has_news: bool,
    /// A client that was refused asks again then.
    pub(crate) asks_again: Moment,
    /// By milliseconds: how many waited so long.
    waits: BTreeMap<u64, u64>,
    refused: u64,
}

impl Waiting {
    pub(crate) fn queued(&self) -> u64 {
        self.queue.iter().map(|(_, count)| count).fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Connections of HAProxy's to the activator.
    pub(crate) fn connections(&self) -> u64 {
        let copies = u64::try_from(self.copies.len()).unwrap_or(u64::MAX);
        copies.saturating_add(u64::from(self.held.is_some()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.held.is_none()
    }

    pub(crate) fn push(&mut self, sent: Moment, count: u64) {
        self.queue.push_back((sent, count));
    }

    /// HAProxy sends one of its queue to the activator, if none is there.
    pub(crate) fn hold(&mut self, now: Moment) {
        if !self.is_listening || 0 < self.connections() {
            return;
        }
        let Some((sent, count)) = self.queue.front_mut() else { return };
        self.held = Some(WaitingConnection { sent: *sent, since: now });
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.queue.pop_front();
        }
        self.has_news = true;
    }

    pub(crate) fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// The held connection is copied to this replica.
    pub(crate) fn copy(&mut self, now: Moment, to: SocketAddr, ends: Moment) {
        let Some(held) = self.held.take() else { return };
        self.answered.push(now.since(held.since));
        self.count(now, held.sent, 1);
        self.copies.push(CopiedConnection { to, ends });
        self.has_news = true;
    }

    /// Connections end.
    pub(crate) fn end_copies(&mut self, ended: impl Fn(&CopiedConnection) -> bool) {
        let before = self.copies.len();
        self.copies.retain(|copy| !ended(copy));
        self.has_news |= self.copies.len() < before;
    }

    /// A replica takes all that waits in HAProxy. Returns how many there were.
    pub(crate) fn take_queue(&mut self, now: Moment) -> u64 {
        let mut all = 0u64;
        for (sent, count) in std::mem::take(&mut self.queue) {
            self.count(now, sent, count);
            all = all.saturating_add(count);
        }
        all
    }

    /// Those in HAProxy's queue since this moment or before leave it. Returns how many.
    pub(crate) fn expire(&mut self, until: Moment) -> u64 {
        let mut all = 0u64;
        while let Some((_, count)) = self.queue.front().filter(|(sent, _)| *sent <= until) {
            all = all.saturating_add(*count);
            self.queue.pop_front();
        }
        all
    }

    /// The activator refuses what it holds.
    pub(crate) fn refuse_held(&mut self) {
        if self.held.take().is_some() {
            self.has_news = true;
            self.refuse(1);
        }
    }

    pub(crate) fn refuse(&mut self, count: u64) {
        self.refused = self.refused.saturating_add(count);
    }

    /// Its connections end with the daemon.
    #[cfg(test)]
    pub(crate) fn end_daemon(&mut self) {
        let queue = std::mem::take(&mut self.queue);
        *self = Waiting { queue, waits: std::mem::take(&mut self.waits), ..Waiting::default() };
    }

    /// HAProxy dies.
    #[cfg(test)]
    pub(crate) fn end_proxy(&mut self) {
        self.queue.clear();
        self.held = None;
        self.end_copies(|_| true);
    }

    /// One that was passed on at once did not wait.
    fn count(&mut self, now: Moment, sent: Moment, count: u64) {
        let ms = now.0.saturating_sub(sent.0);
        if ms == 0 {
            return;
        }
        let waited = self.waits.entry(ms).or_default();
        *waited = waited.saturating_add(count);
    }

    /// What happened so far is of no interest.
    pub(crate) fn forget_times(&mut self) {
        self.waits.clear();
        self.refused = 0;
    }

    pub(crate) fn times(&self) -> WaitTimes {
        let requests = self.waits.values().fold(0u64, |sum, count| sum.saturating_add(*count));
        let mut left = requests / 2;
        let median = self.waits.iter().find(|(_, count)| {
            let is_it = left < **count;
            left = left.saturating_sub(**count);
            is_it
        });
        WaitTimes {
            requests,
            median: Duration::from_millis(median.map_or(0, |(ms, _)| *ms)),
            longest: Duration::from_millis(self.waits.keys().next_back().copied().unwrap_or(0)),
            refused: self.refused,
        }
    }

    /// As the activator shows it, where it listens or copies.
    pub(crate) fn look(&mut self) -> Option<Activity> {
        if !self.is_listening && self.copies.is_empty() {
            return None;
        }
        let mut copies: BTreeMap<SocketAddr, u32> = BTreeMap::new();
        for copy in &self.copies {
            *copies.entry(copy.to).or_default() += 1;
        }
        Some(Activity {
            is_listening: self.is_listening,
            held: u32::from(self.held.is_some()),
            held_since: self.held.map(|held| held.since),
            copies,
            answered: std::mem::take(&mut self.answered),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::model::time::Moment;
    use crate::sim::waiting::{WaitTimes, Waiting};

    #[test]
    fn the_median_is_that_of_all_requests() {
        for (waits, median, longest) in [
            (&[][..], 0, 0),
            (&[(700, 1)], 700, 700),
            (&[(100, 2), (700, 1)], 100, 700),
            (&[(100, 1), (700, 1)], 700, 700),
            (&[(100, 1), (200, 1), (700, 2)], 700, 700),
            (&[(100, 2), (200, 3), (700, 2)], 200, 700),
        ] {
            let mut waiting = Waiting::default();
            for (ms, count) in waits {
                waiting.push(Moment(1_000 - ms), *count);
            }
            let requests = waiting.take_queue(Moment(1_000));
            let [median, longest] = [median, longest].map(Duration::from_millis);
            let want = WaitTimes { requests, median, longest, refused: 0 };
            assert_eq!(waiting.times(), want, "{waits:?}");
        }
    }

    #[test]
    fn haproxy_sends_the_activator_one_at_a_time() {
        let mut waiting = Waiting::default();
        waiting.push(Moment(5), 3);
        waiting.hold(Moment(10));
        assert_eq!((waiting.queued(), waiting.connections()), (3, 0), "nobody listens");
        waiting.is_listening = true;
        for _ in 0..2 {
            waiting.hold(Moment(10));
            assert_eq!((waiting.queued(), waiting.connections()), (2, 1));
        }
        waiting.copy(Moment(15), "10.0.0.1:80".parse().unwrap(), Moment(20));
        waiting.hold(Moment(15));
        let seen = waiting.look().unwrap();
        assert_eq!((seen.held, seen.answered), (0, vec![Duration::from_millis(5)]));
        waiting.end_copies(|copy| copy.ends <= Moment(20));
        waiting.hold(Moment(20));
        assert_eq!((waiting.queued(), waiting.connections()), (1, 1));
        waiting.refuse_held();
        assert_eq!(waiting.expire(Moment(4)), 0);
        assert_eq!(waiting.expire(Moment(5)), 1);
        assert_eq!(waiting.times().requests, 1);
        assert_eq!(waiting.times().refused, 1);
    }
}
