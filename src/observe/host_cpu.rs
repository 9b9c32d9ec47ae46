//! Whether the host's processors are busy, from a look at each evaluation.
//!
//! A look finds them busy while less than the reserve is idle, or while processes wait for them
//! much of the time. Two such looks in a row begin it, two that are clearly better end it.

use std::time::Duration;

use crate::model::host_cpu::{CpuTimes, HostCpu, ProcessorObservation, ProcessorState};
use crate::model::service::Percent;
use crate::model::time::Moment;

/// Looks in a row that change the verdict.
const LOOKS: u32 = 2;
/// Pressure (`some`) above the first is busy, below the second no longer.
const PRESSURE_BUSY: u64 = 40_00;
const PRESSURE_CALM: u64 = 30_00;
/// The kernel also counts processes that wait because their own container is at its limit. Where
/// this much is idle, nobody waits for the host.
const PRESSURE_IDLE_MAX: u64 = 25_00;

/// Looks in a row that show nothing: then what was seen before them counts no longer.
const MISSED_MAX: u32 = 3;

#[derive(Debug, Default)]
pub(crate) struct ProcessorWatch {
    last: Option<(Moment, CpuTimes)>,
    /// Looks in a row against the verdict.
    against: u32,
    /// Looks in a row that showed nothing.
    missed: u32,
    observation: ProcessorObservation,
}

impl ProcessorWatch {
    /// At each evaluation. `reserve` of 0 turns it off. A look soon after another one is of too
    /// short a time and is passed over.
    pub(crate) fn look(
        &mut self,
        now: Moment,
        interval: Duration,
        reserve: Percent,
        read: impl FnOnce() -> Option<HostCpu>,
    ) {
        if reserve.hundredths() == 0 {
            let observation = ProcessorObservation::Unlimited;
            *self = ProcessorWatch { observation, ..ProcessorWatch::default() };
            return;
        }
        if self.last.is_some_and(|(at, _)| now.since(at) < interval / 2) {
            return;
        }
        let Some(HostCpu { times, pressure }) = read() else {
            *self = ProcessorWatch { missed: self.missed, ..ProcessorWatch::default() };
            self.miss();
            return;
        };
        let Some((at, before)) = self.last.replace((now, times)) else { return };
        let Some(idle) = times.idle_since(before, now.since(at)) else {
            self.miss();
            return;
        };
        self.missed = 0;
        let was_busy = self.observation.state().is_some_and(|state| state.is_busy);
        let is_busy = self.judge(was_busy, idle, pressure, reserve);
        let cores = times.cores;
        let state = ProcessorState { idle, pressure, is_busy, reserve, cores };
        self.observation = ProcessorObservation::Known(state);
    }

    /// As last seen. The first look alone shows nothing yet.
    pub(crate) fn observation(&self) -> ProcessorObservation {
        self.observation
    }

    /// A look that shows nothing. After some of them what was seen before counts no longer: the
    /// host would else be busy for ever.
    fn miss(&mut self) {
        self.missed = self.missed.saturating_add(1);
        if MISSED_MAX <= self.missed {
            self.against = 0;
            self.observation = ProcessorObservation::Unlimited;
        }
    }

    fn judge(
        &mut self,
        was_busy: bool,
        idle: Percent,
        pressure: Option<Percent>,
        reserve: Percent,
    ) -> bool {
        let pressure = pressure.filter(|_| idle.hundredths() < PRESSURE_IDLE_MAX);
        let pressure = pressure.map_or(0, Percent::hundredths);
        let is_against = match was_busy {
            false => idle < reserve || PRESSURE_BUSY < pressure,
            // Half as much again as the reserve.
            true => reserve.hundredths() * 3 / 2 <= idle.hundredths() && pressure < PRESSURE_CALM,
        };
        self.against = if is_against { self.against + 1 } else { 0 };
        let turns = LOOKS <= self.against;
        if turns {
            self.against = 0;
        }
        was_busy != turns
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::model::host_cpu::{CpuTimes, HostCpu, ProcessorObservation};
    use crate::model::service::Percent;
    use crate::model::time::Moment;
    use crate::observe::host_cpu::ProcessorWatch;

    const INTERVAL: Duration = Duration::from_secs(10);
    const AWAITED: ProcessorObservation = ProcessorObservation::Awaited;

    /// A host with 10 processors: 10 000 ticks in 10 s.
    struct SeenHost {
        watch: ProcessorWatch,
        now: Moment,
        times: CpuTimes,
    }

    impl SeenHost {
        fn new() -> SeenHost {
            let times = CpuTimes { idle: 0, all: 0, cores: 10 };
            let mut host = SeenHost { watch: ProcessorWatch::default(), now: Moment(0), times };
            host.look(100_00, None, 5_00);
            host
        }

        /// Whether it is busy after an interval with so much idle.
        fn look(&mut self, idle: u64, pressure: Option<u64>, reserve: u64) -> Option<bool> {
            self.now = self.now.plus(INTERVAL);
            self.times.all += 100_00;
            self.times.idle += idle;
            let pressure = pressure.map(Percent::from_hundredths);
            let seen = HostCpu { times: self.times, pressure };
            let reserve = Percent::from_hundredths(reserve);
            self.watch.look(self.now, INTERVAL, reserve, || Some(seen));
            self.watch.observation().state().map(|state| state.is_busy)
        }
    }

    #[test]
    fn two_looks_below_the_reserve_are_busy_and_two_clearly_above_end_it() {
        let mut host = SeenHost::new();
        assert_eq!(host.watch.observation(), AWAITED, "one look is of no time");
        for (idle, pressure, want) in [
            (4_99, None, false),
            (5_00, None, false),
            (4_99, None, false),
            (4_99, None, true),
            // At the reserve, and a little above it.
            (5_00, None, true),
            (7_49, None, true),
            (7_50, None, true),
            (7_49, None, true),
            (7_50, None, true),
            (7_50, None, false),
            // Pressure alone, on each side of its thresholds.
            (20_00, Some(40_00), false),
            (20_00, Some(40_01), false),
            (20_00, Some(40_01), true),
            (20_00, Some(30_00), true),
            (20_00, Some(29_99), true),
            (20_00, Some(29_99), false),
            // Those who wait do so for the limits of their own containers.
            (25_00, Some(99_00), false),
            (25_00, Some(99_00), false),
            (24_99, Some(99_00), false),
            (24_99, Some(99_00), true),
            (25_00, Some(99_00), true),
            (25_00, Some(99_00), false),
        ] {
            assert_eq!(host.look(idle, pressure, 5_00), Some(want), "{idle} {pressure:?}");
        }
    }

    #[test]
    fn the_largest_reserve_can_be_over_as_well() {
        let mut host = SeenHost::new();
        let looks = [40_00, 40_00, 74_99, 75_00, 75_00].map(|idle| host.look(idle, None, 50_00));
        assert_eq!(looks, [false, true, true, true, false].map(Some));
    }

    #[test]
    fn a_reserve_of_none_and_a_host_that_shows_nothing_are_never_busy() {
        let mut host = SeenHost::new();
        assert_eq!([0, 0].map(|idle| host.look(idle, None, 5_00)), [Some(false), Some(true)]);
        assert_eq!(host.look(0, Some(99_00), 0), None);
        assert_eq!(host.watch.observation(), ProcessorObservation::Unlimited);
        assert_eq!([0, 0, 0].map(|_| host.look(0, None, 5_00)), [None, Some(false), Some(true)]);
        host.now = host.now.plus(INTERVAL);
        for want in [AWAITED, AWAITED, ProcessorObservation::Unlimited] {
            host.now = host.now.plus(INTERVAL);
            host.watch.look(host.now, INTERVAL, Percent::from_hundredths(5_00), || None);
            assert_eq!(host.watch.observation(), want);
        }
    }

    #[test]
    fn counters_that_are_not_whole_and_looks_right_after_another_decide_nothing() {
        let mut host = SeenHost::new();
        assert_eq!([0, 0].map(|idle| host.look(idle, None, 5_00)), [Some(false), Some(true)]);
        // An idle counter that stands still beside used ones, as lxcfs was seen to show it.
        let reserve = Percent::from_hundredths(5_00);
        for busy in [Some(true), Some(true), None, None] {
            host.now = host.now.plus(INTERVAL);
            host.times.all += 10_00;
            let seen = HostCpu { times: host.times, pressure: None };
            host.watch.look(host.now, INTERVAL, reserve, || Some(seen));
            assert_eq!(host.watch.observation().state().map(|state| state.is_busy), busy);
        }
        assert_eq!(host.watch.observation(), ProcessorObservation::Unlimited);
        assert_eq!([0, 0].map(|idle| host.look(idle, None, 5_00)), [Some(false), Some(true)]);
        let soon = host.now.plus(INTERVAL / 2 - Duration::from_millis(1));
        host.watch.look(soon, INTERVAL, reserve, || panic!("it is read again"));
    }
}
