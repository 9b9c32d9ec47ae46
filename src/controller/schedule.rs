//! When the next tick is. Pure: moments in, moments out.

use std::time::Duration;

use crate::model::time::Moment;

/// At least this long between two ticks, so that a storm of events costs little.
const TICKS_APART: Duration = Duration::from_millis(50);
/// Events may be lost: without any, everything is observed again after this long.
const RESYNC: Duration = Duration::from_secs(60);
/// Docker reports a death 60 to 90 ms before its list of containers shows it.
const ECHO: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(crate) struct TickSchedule {
    interval: Duration,
    next_evaluation: Moment,
    /// A tick that reads no load: something waits, or an event came in.
    next_tick: Moment,
    last_tick: Moment,
    /// A second tick after an event of Docker's.
    echo: Option<Moment>,
}

/// What it is time for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextTick {
    /// A tick that reads load and may change the number.
    Evaluation,
    /// A tick that continues what was begun.
    Continuation,
    NotYet,
}

impl TickSchedule {
    pub(crate) fn new(now: Moment, interval: Duration) -> TickSchedule {
        TickSchedule {
            interval,
            next_evaluation: now,
            next_tick: now,
            last_tick: Moment::default(),
            echo: None,
        }
    }

    pub(crate) fn set_interval(&mut self, now: Moment, interval: Duration) {
        self.interval = interval;
        self.next_evaluation = self.next_evaluation.min(now.plus(interval));
    }

    pub(crate) fn next_evaluation(&self) -> Moment {
        self.next_evaluation
    }

    /// Something happened: tick as soon as possible.
    pub(crate) fn wake(&mut self, now: Moment) {
        self.next_tick = self.next_tick.min(now.max(self.last_tick.plus(TICKS_APART)));
    }

    /// Docker reported something that its answers may not show yet.
    pub(crate) fn wake_twice(&mut self, now: Moment) {
        self.wake(now);
        self.echo = Some(now.plus(ECHO));
    }

    pub(crate) fn next(&self, now: Moment) -> NextTick {
        if self.next_evaluation <= now {
            NextTick::Evaluation
        } else if self.next_tick <= now || self.echo.is_some_and(|echo| echo <= now) {
            NextTick::Continuation
        } else {
            NextTick::NotYet
        }
    }

    /// After a tick. An evaluation that took longer than the interval is followed by the next one
    /// at once; those that were missed besides are not made up for.
    pub(crate) fn ticked(
        &mut self,
        now: Moment,
        was_evaluation: bool,
        requeue_after: Option<Duration>,
    ) {
        if was_evaluation {
            self.next_evaluation = self.next_evaluation.plus(self.interval).max(now);
        }
        self.last_tick = now;
        self.echo.take_if(|echo| *echo <= now);
        let wait = requeue_after.unwrap_or(RESYNC).clamp(TICKS_APART, RESYNC);
        self.next_tick = now.plus(wait);
    }

    /// How long until the next tick.
    pub(crate) fn idle(&self, now: Moment) -> Duration {
        let echo = self.echo.unwrap_or(self.next_tick);
        self.next_evaluation.min(self.next_tick).min(echo).since(now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::controller::schedule::{NextTick, TickSchedule};
    use crate::model::time::Moment;

    const S: Duration = Duration::from_secs(1);
    const T0: Moment = Moment(1_000_000);

    fn at(ms: u64) -> Moment {
        T0.plus(Duration::from_millis(ms))
    }

    #[test]
    fn evaluations_come_at_the_interval_and_after_a_long_one_at_once() {
        let mut schedule = TickSchedule::new(T0, 15 * S);
        assert_eq!(schedule.next(T0), NextTick::Evaluation);
        schedule.ticked(at(20), true, None);
        assert_eq!(
            (schedule.next(at(14_999)), schedule.next(at(15_000))),
            (NextTick::NotYet, NextTick::Evaluation)
        );
        schedule.ticked(at(40_000), true, None);
        assert_eq!(schedule.next(at(40_000)), NextTick::Evaluation);
        // One is not made up for.
        schedule.ticked(at(40_010), true, None);
        assert_eq!(
            (schedule.next(at(54_999)), schedule.next(at(55_000))),
            (NextTick::NotYet, NextTick::Evaluation)
        );
    }

    #[test]
    fn what_waits_and_what_wakes_brings_a_tick_between() {
        let mut schedule = TickSchedule::new(T0, 600 * S);
        schedule.ticked(T0, true, Some(Duration::from_millis(250)));
        assert_eq!(
            (schedule.next(at(249)), schedule.next(at(250))),
            (NextTick::NotYet, NextTick::Continuation)
        );
        schedule.wake(at(10));
        assert_eq!(
            (schedule.next(at(49)), schedule.next(at(50))),
            (NextTick::NotYet, NextTick::Continuation)
        );
        schedule.ticked(at(50), false, None);
        assert_eq!(
            (schedule.next(at(60_049)), schedule.next(at(60_050))),
            (NextTick::NotYet, NextTick::Continuation)
        );
        schedule.wake(at(500));
        assert_eq!(schedule.next(at(500)), NextTick::Continuation);
    }

    #[test]
    fn an_event_brings_a_second_tick_a_little_later() {
        let mut schedule = TickSchedule::new(T0, 600 * S);
        schedule.ticked(T0, true, None);
        schedule.wake_twice(at(1000));
        assert_eq!(schedule.next(at(1000)), NextTick::Continuation);
        schedule.ticked(at(1000), false, None);
        assert_eq!(schedule.idle(at(1000)), Duration::from_millis(250));
        assert_eq!(
            (schedule.next(at(1249)), schedule.next(at(1250))),
            (NextTick::NotYet, NextTick::Continuation)
        );
        schedule.ticked(at(1250), false, None);
        assert_eq!(schedule.next(at(2000)), NextTick::NotYet);
    }

    #[test]
    fn idle_lasts_until_the_next_tick_of_either_kind() {
        let mut schedule = TickSchedule::new(T0, 600 * S);
        schedule.ticked(T0, true, None);
        assert_eq!(schedule.idle(T0), 60 * S);
        assert_eq!(schedule.idle(at(59_700)), Duration::from_millis(300));
        assert_eq!(schedule.idle(at(70_000)), Duration::ZERO);
    }

    #[test]
    fn a_shorter_interval_counts_at_once() {
        let mut schedule = TickSchedule::new(T0, 600 * S);
        schedule.ticked(T0, true, None);
        schedule.set_interval(at(1000), 5 * S);
        assert_eq!(
            (schedule.next(at(5_999)), schedule.next(at(6_000))),
            (NextTick::NotYet, NextTick::Evaluation)
        );
    }
}
