//! What the host's processors do, all of them together.

use std::time::Duration;

use crate::model::service::Percent;

/// The kernel's counters of its processors (proc(5), `/proc/stat`), in ticks since the host's
/// start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuTimes {
    /// Of a processor that waits for a disk as well: it could work for somebody else. Time that a
    /// hypervisor gave to others (`steal`) is not idle: no replica can have it.
    pub(crate) idle: u64,
    pub(crate) all: u64,
    /// Processors that the counters are of.
    pub(crate) cores: u32,
}

/// Ticks of one processor in a second, as the kernel shows them (`USER_HZ`) on every platform.
const TICKS_PER_S: u64 = 100;

impl CpuTimes {
    /// The idle share of the time from `before` to now. `None` where the two are not counters of
    /// one host over this time: lxcfs was seen to show an idle time that goes back or stands still.
    pub(crate) fn idle_since(self, before: CpuTimes, elapsed: Duration) -> Option<Percent> {
        let all = self.all.checked_sub(before.all)?;
        let idle = self.idle.checked_sub(before.idle)?.min(all);
        let ticks = u128::from(TICKS_PER_S) * u128::from(self.cores) * elapsed.as_millis() / 1000;
        // Half of them, as readings and clock differ by some ticks.
        let is_whole = ticks <= u128::from(all) * 2;
        let hundredths = u128::from(idle) * 100_00 / u128::from(all.max(1));
        let hundredths = u64::try_from(hundredths).ok().filter(|_| 0 < all && is_whole)?;
        Some(Percent::from_hundredths(hundredths))
    }
}

/// One look at the processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostCpu {
    pub(crate) times: CpuTimes,
    /// The share of the last 10 s in which some process waited for a processor (`some avg10` of
    /// `/proc/pressure/cpu`). `None`: this kernel does not count it.
    pub(crate) pressure: Option<Percent>,
}

/// The processors over the last looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessorState {
    /// Since the look before.
    pub(crate) idle: Percent,
    pub(crate) pressure: Option<Percent>,
    /// More replicas would not get more of them.
    pub(crate) is_busy: bool,
    /// `autoscaler.cpu_reserve`.
    pub(crate) reserve: Percent,
    pub(crate) cores: u32,
}

/// What is known of them at a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ProcessorObservation {
    /// `cpu_reserve` is 0, or the host does not show what they do: they limit nothing.
    Unlimited,
    /// There were too few looks yet.
    #[default]
    Awaited,
    Known(ProcessorState),
}

impl ProcessorObservation {
    pub(crate) fn state(self) -> Option<ProcessorState> {
        match self {
            ProcessorObservation::Known(state) => Some(state),
            ProcessorObservation::Unlimited | ProcessorObservation::Awaited => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::model::host_cpu::CpuTimes;

    #[test]
    fn the_idle_share_is_of_the_time_between_two_looks() {
        let times = |idle, all| CpuTimes { idle, all, cores: 2 };
        let first = times(850, 1000);
        let s = Duration::from_secs;
        for (later, elapsed, want) in [
            (times(905, 1100), s(0), Some(55_00)),
            (times(850, 1100), s(0), Some(0)),
            (times(950, 1100), s(0), Some(100_00)),
            // Two processors have 200 ticks a second.
            (times(1000, 1200), s(1), Some(75_00)),
            (times(900, 1100), s(1), Some(50_00)),
            // Less than half of the time is in the counters.
            (times(900, 1099), s(1), None),
            // No time has passed; all counters went back; the idle one did.
            (first, s(0), None),
            (times(800, 900), s(0), None),
            (times(849, 1100), s(0), None),
        ] {
            let got = later.idle_since(first, elapsed).map(|idle| idle.hundredths());
            assert_eq!(got, want, "{later:?} after {elapsed:?}");
        }
        let absurd = times(u64::MAX - 5, u64::MAX);
        assert_eq!(absurd.idle_since(absurd, s(1)), None);
    }
}
