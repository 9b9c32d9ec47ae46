//! When the next turn is. Pure: moments in, moments out.

use std::time::Duration;

use crate::model::time::Moment;

/// However often we are woken: between two turns at least this, so that a storm of events costs
/// little.
const BETWEEN_TURNS: Duration = Duration::from_millis(50);
/// Events may be lost: without any, all is looked at again after this.
const RESYNC: Duration = Duration::from_secs(60);
/// Docker tells of a death 60 to 90 ms before its list of containers does.
const ECHO: Duration = Duration::from_millis(250);
/// How often it is looked whether HAProxy is still there.
pub(crate) const WATCH: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Pace {
    interval: Duration,
    next_due: Moment,
    /// A turn that is no look at load: because something waits, or something woke us.
    next_turn: Moment,
    last_turn: Moment,
    /// Once more after an event.
    echo: Option<Moment>,
}

/// What it is time for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    /// A look at load, and a decision.
    Due,
    /// To go on with what was begun.
    Between,
    NotYet,
}

impl Pace {
    pub(crate) fn new(now: Moment, interval: Duration) -> Pace {
        Pace { interval, next_due: now, next_turn: now, last_turn: Moment::default(), echo: None }
    }

    pub(crate) fn set_interval(&mut self, now: Moment, interval: Duration) {
        self.interval = interval;
        self.next_due = self.next_due.min(now.plus(interval));
    }

    /// When load is looked at next.
    pub(crate) fn next_due(&self) -> Moment {
        self.next_due
    }

    /// Something happened: have a turn as soon as may be.
    pub(crate) fn wake(&mut self, now: Moment) {
        self.next_turn = self.next_turn.min(now.max(self.last_turn.plus(BETWEEN_TURNS)));
    }

    /// Docker told of something that its answers may not show yet.
    pub(crate) fn wake_twice(&mut self, now: Moment) {
        self.wake(now);
        self.echo = Some(now.plus(ECHO));
    }

    pub(crate) fn time(&self, now: Moment) -> Time {
        if self.next_due <= now {
            Time::Due
        } else if self.next_turn <= now || self.echo.is_some_and(|echo| echo <= now) {
            Time::Between
        } else {
            Time::NotYet
        }
    }

    /// After a look that took longer than the interval the next one is due at once; those that
    /// were missed besides are not made up for.
    pub(crate) fn took_turn(&mut self, now: Moment, was_due: bool, again: Option<Duration>) {
        if was_due {
            self.next_due = self.next_due.plus(self.interval).max(now);
        }
        self.last_turn = now;
        self.echo.take_if(|echo| *echo <= now);
        self.next_turn = now.plus(again.unwrap_or(RESYNC).max(BETWEEN_TURNS).min(RESYNC));
    }

    /// How long nothing has to be done.
    pub(crate) fn idle(&self, now: Moment) -> Duration {
        let turn = self.echo.into_iter().chain([self.next_turn]).min();
        turn.into_iter().chain([self.next_due]).min().map_or(WATCH, |at| at.since(now)).min(WATCH)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::daemon::pace::{Pace, Time};
    use crate::model::time::Moment;

    const S: Duration = Duration::from_secs(1);
    const T0: Moment = Moment(1_000_000);

    fn at(ms: u64) -> Moment {
        T0.plus(Duration::from_millis(ms))
    }

    #[test]
    fn looks_come_at_the_interval_and_after_a_long_one_at_once() {
        let mut pace = Pace::new(T0, 15 * S);
        assert_eq!(pace.time(T0), Time::Due);
        pace.took_turn(at(20), true, None);
        assert_eq!((pace.time(at(14_999)), pace.time(at(15_000))), (Time::NotYet, Time::Due));
        pace.took_turn(at(40_000), true, None);
        assert_eq!(pace.time(at(40_000)), Time::Due);
        // One is not made up for.
        pace.took_turn(at(40_010), true, None);
        assert_eq!((pace.time(at(54_999)), pace.time(at(55_000))), (Time::NotYet, Time::Due));
    }

    #[test]
    fn what_waits_and_what_wakes_brings_a_turn_between() {
        let mut pace = Pace::new(T0, 600 * S);
        pace.took_turn(T0, true, Some(Duration::from_millis(250)));
        assert_eq!((pace.time(at(249)), pace.time(at(250))), (Time::NotYet, Time::Between));
        pace.wake(at(10));
        assert_eq!((pace.time(at(49)), pace.time(at(50))), (Time::NotYet, Time::Between));
        pace.took_turn(at(50), false, None);
        assert_eq!((pace.time(at(60_049)), pace.time(at(60_050))), (Time::NotYet, Time::Between));
        pace.wake(at(500));
        assert_eq!(pace.time(at(500)), Time::Between);
    }

    #[test]
    fn an_event_brings_a_second_turn_a_little_later() {
        let mut pace = Pace::new(T0, 600 * S);
        pace.took_turn(T0, true, None);
        pace.wake_twice(at(1000));
        assert_eq!(pace.time(at(1000)), Time::Between);
        pace.took_turn(at(1000), false, None);
        assert_eq!(pace.idle(at(1000)), Duration::from_millis(250));
        assert_eq!((pace.time(at(1249)), pace.time(at(1250))), (Time::NotYet, Time::Between));
        pace.took_turn(at(1250), false, None);
        assert_eq!(pace.time(at(2000)), Time::NotYet);
    }

    #[test]
    fn idle_is_never_longer_than_the_watch() {
        let mut pace = Pace::new(T0, 600 * S);
        pace.took_turn(T0, true, None);
        assert_eq!(pace.idle(T0), S);
        assert_eq!(pace.idle(at(59_700)), Duration::from_millis(300));
        assert_eq!(pace.idle(at(70_000)), Duration::ZERO);
    }

    #[test]
    fn a_shorter_interval_counts_at_once() {
        let mut pace = Pace::new(T0, 600 * S);
        pace.took_turn(T0, true, None);
        pace.set_interval(at(1000), 5 * S);
        assert_eq!((pace.time(at(5_999)), pace.time(at(6_000))), (Time::NotYet, Time::Due));
    }
}
