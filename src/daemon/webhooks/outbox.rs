//! What waits for one webhook, and which events become one message. Pure: the time is passed in.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::model::event::Kind;
use crate::model::notification::Notice;
use crate::model::time::Moment;

/// Messages that wait for a webhook.
pub(super) const ROOM: usize = 256;
/// Pairs of service and kind that are coalesced; the events of others are sent one by one.
const WINDOWS_MAX: usize = 1024;

type NoticeKey = (Option<String>, Kind);

/// A message of this service and kind was sent; further events wait for the end.
#[derive(Debug)]
struct CoalescingWindow {
    until: Moment,
    held: Option<Notice>,
}

#[derive(Debug)]
pub(super) struct Outbox {
    /// Zero: each event is a message.
    every: Duration,
    ready: VecDeque<Notice>,
    windows: BTreeMap<NoticeKey, CoalescingWindow>,
}

impl Outbox {
    pub(super) fn new(every: Duration) -> Outbox {
        Outbox { every, ready: VecDeque::new(), windows: BTreeMap::new() }
    }

    /// False when there is no room for it.
    pub(super) fn add(&mut self, now: Moment, notice: Notice) -> bool {
        if self.every.is_zero() {
            return self.push(notice);
        }
        self.release(now);
        let key = key(&notice);
        if let Some(window) = self.windows.get_mut(&key) {
            window.held = Some(merged(window.held.take(), notice));
            return true;
        }
        if let Some(waiting) = self.ready.iter_mut().find(|waiting| is_of(waiting, &key)) {
            *waiting = merged(Some(waiting.clone()), notice);
            return true;
        }
        let is_taken = self.push(notice);
        if is_taken && self.windows.len() < WINDOWS_MAX {
            self.windows.insert(key, CoalescingWindow { until: now.plus(self.every), held: None });
        }
        is_taken
    }

    /// What is to be sent now.
    pub(super) fn next(&mut self, now: Moment) -> Option<Notice> {
        self.release(now);
        self.ready.pop_front()
    }

    /// When the next message becomes due, if none is now.
    pub(super) fn due(&self) -> Option<Moment> {
        let held = self.windows.values().filter(|window| window.held.is_some());
        held.map(|window| window.until).min()
    }

    /// At the end nothing waits for its window.
    pub(super) fn flush(&mut self) {
        let windows = std::mem::take(&mut self.windows).into_values();
        self.ready.extend(windows.filter_map(|window| window.held));
    }

    fn push(&mut self, notice: Notice) -> bool {
        let has_room = self.ready.len() < ROOM;
        if has_room {
            self.ready.push_back(notice);
        }
        has_room
    }

    /// Ends windows: what was held becomes a message, and begins the next window.
    fn release(&mut self, now: Moment) {
        let Outbox { every, ready, windows } = self;
        windows.retain(|_, window| {
            if now < window.until {
                return true;
            }
            // Held on while there is no room: a message may be late, but is not lost.
            if ready.len() < ROOM
                && let Some(notice) = window.held.take()
            {
                ready.push_back(notice);
                window.until = now.plus(*every);
                return true;
            }
            window.held.is_some()
        });
    }
}

fn key(notice: &Notice) -> NoticeKey {
    (notice.event.service.clone(), notice.event.kind)
}

fn is_of(notice: &Notice, (service, kind): &NoticeKey) -> bool {
    notice.event.service == *service && notice.event.kind == *kind
}

/// The last event, which counts those before it.
fn merged(before: Option<Notice>, last: Notice) -> Notice {
    match before {
        Some(Notice { more, since_ms, .. }) => Notice { more: more + 1, since_ms, ..last },
        None => last,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::daemon::webhooks::outbox::{Outbox, ROOM, WINDOWS_MAX};
    use crate::model::event::{Event, Kind};
    use crate::model::notification::Notice;
    use crate::model::time::Moment;

    const EVERY: Duration = Duration::from_millis(100);

    fn notice(at: u64, kind: Kind, service: &str) -> Notice {
        let event = Event::new(kind, format!("at {at}")).service(service);
        Notice::new(at, event, String::new())
    }

    fn exited(at: u64) -> Notice {
        notice(at, Kind::ReplicaExited, "web")
    }

    /// Message, more, since.
    fn taken(outbox: &mut Outbox, now: u64) -> Vec<(String, u32, u64)> {
        let mut out = Vec::new();
        while let Some(notice) = outbox.next(Moment(now)) {
            out.push((notice.event.message, notice.more, notice.since_ms));
        }
        out
    }

    fn one(message: &str, more: u32, since: u64) -> Vec<(String, u32, u64)> {
        vec![(message.to_owned(), more, since)]
    }

    #[test]
    fn the_first_event_is_sent_at_once_and_the_rest_together_when_the_window_ends() {
        let mut outbox = Outbox::new(EVERY);
        for at in [0, 1, 50, 98, 99] {
            assert!(outbox.add(Moment(at), exited(at)));
            let want = if at == 0 { one("at 0", 0, 0) } else { Vec::new() };
            assert_eq!(taken(&mut outbox, at), want);
        }
        assert_eq!(outbox.due(), Some(Moment(100)));
        assert_eq!(taken(&mut outbox, 99), []);
        assert_eq!(taken(&mut outbox, 100), one("at 99", 3, 1));
        // That message has a window too.
        assert_eq!(outbox.due(), None);
        assert!(outbox.add(Moment(199), exited(199)));
        assert_eq!(taken(&mut outbox, 199), []);
        assert_eq!(taken(&mut outbox, 200), one("at 199", 0, 199));
        // A window with nothing in it just ends.
        assert_eq!(taken(&mut outbox, 300), []);
        assert!(outbox.add(Moment(300), exited(300)));
        assert_eq!(taken(&mut outbox, 300), one("at 300", 0, 300));
    }

    #[test]
    fn services_and_kinds_do_not_wait_for_each_other() {
        let mut outbox = Outbox::new(EVERY);
        for (kind, service) in [
            (Kind::ReplicaExited, "web"),
            (Kind::ReplicaExited, "api"),
            (Kind::ReplicaFailed, "web"),
        ] {
            assert!(outbox.add(Moment(0), notice(0, kind, service)));
        }
        assert!(outbox.add(Moment(0), Notice::new(0, Event::new(Kind::ProxyDied, ""), "".into())));
        assert_eq!(taken(&mut outbox, 0).len(), 4);
    }

    #[test]
    fn without_a_span_each_event_is_a_message_up_to_the_room_there_is() {
        let mut outbox = Outbox::new(Duration::ZERO);
        for at in 0..ROOM as u64 {
            assert!(outbox.add(Moment(0), exited(at)));
        }
        assert!(!outbox.add(Moment(0), exited(0)), "no room");
        assert_eq!(taken(&mut outbox, 0).len(), ROOM);
        assert!(outbox.add(Moment(0), exited(0)));
    }

    #[test]
    fn a_dead_webhook_fills_no_room_with_one_service_and_loses_nothing_that_was_held() {
        let mut outbox = Outbox::new(EVERY);
        // Nothing is taken for a hundred windows.
        for at in 0..10_000 {
            assert!(outbox.add(Moment(at), exited(at)), "{at}");
        }
        let sent = taken(&mut outbox, 20_000);
        let events: u32 = sent.iter().map(|(_, more, _)| 1 + more).sum();
        assert_eq!(events, 10_000, "{} messages", sent.len());
        // With no room left, what is held stays held.
        let mut outbox = Outbox::new(EVERY);
        for number in 0..ROOM {
            let service = format!("s{number}");
            assert!(outbox.add(Moment(0), notice(0, Kind::ScaleUp, &service)));
        }
        assert!(!outbox.add(Moment(0), exited(0)));
        assert!(outbox.add(Moment(1), notice(1, Kind::ScaleUp, "s0")));
        assert!(outbox.add(Moment(500), notice(500, Kind::ScaleUp, "s0")));
        assert_eq!(taken(&mut outbox, 600).len(), ROOM + 1);
    }

    #[test]
    fn at_the_end_nothing_waits_for_its_window() {
        let mut outbox = Outbox::new(EVERY);
        (0..3).for_each(|at| assert!(outbox.add(Moment(at), exited(at))));
        assert_eq!(taken(&mut outbox, 3), one("at 0", 0, 0));
        outbox.flush();
        assert_eq!(taken(&mut outbox, 3), one("at 2", 1, 1));
        assert_eq!(outbox.due(), None);
    }

    #[test]
    fn the_number_of_windows_is_bounded() {
        let mut outbox = Outbox::new(EVERY);
        for number in 0..2 * WINDOWS_MAX {
            let service = format!("s{number}");
            assert!(outbox.add(Moment(0), notice(0, Kind::ScaleUp, &service)));
            assert_eq!(taken(&mut outbox, 0).len(), 1);
        }
        assert_eq!(outbox.windows.len(), WINDOWS_MAX);
    }
}
