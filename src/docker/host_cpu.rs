//! Reads what the processors of this host do. A container that the daemon runs in sees the whole
//! host here, whatever quota it has itself.

use std::fs;

use crate::model::host_cpu::{CpuTimes, HostCpu};
use crate::model::service::Percent;

/// `None` if the kernel does not show it.
pub(crate) fn host_cpu() -> Option<HostCpu> {
    let times = parse_times(&fs::read_to_string("/proc/stat").ok()?)?;
    // The file is there and cannot be read where the kernel was started with `psi=0`.
    let pressure = fs::read_to_string("/proc/pressure/cpu").ok();
    Some(HostCpu { times, pressure: pressure.as_deref().and_then(parse_pressure) })
}

/// The first line: `cpu user nice system idle iowait irq softirq steal guest guest_nice`, where
/// `user` and `nice` include the guests. A line for each processor follows. From proc(5).
fn parse_times(text: &str) -> Option<CpuTimes> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let times: Vec<u64> =
        line.split_whitespace().take(8).map_while(|word| word.parse().ok()).collect();
    let idle = times.get(3)?.checked_add(times.get(4).copied().unwrap_or(0))?;
    let all = times.iter().try_fold(0, |sum: u64, time| sum.checked_add(*time))?;
    let is_core = |line: &&str| {
        let number = line.strip_prefix("cpu").and_then(|rest| rest.chars().next());
        number.is_some_and(|c| c.is_ascii_digit())
    };
    let cores = text.lines().skip(1).filter(is_core).count();
    Some(CpuTimes { idle, all, cores: u32::try_from(cores.max(1)).ok()? })
}

/// `some avg10=1.53 avg60=1.00 avg300=0.50 total=1234`. From the kernel's `accounting/psi.rst`.
fn parse_pressure(text: &str) -> Option<Percent> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let average = line.split_whitespace().find_map(|word| word.strip_prefix("avg10="))?;
    let (whole, part) = average.split_once('.').filter(|(_, part)| part.len() == 2)?;
    let whole: u8 = whole.parse().ok()?;
    let part: u8 = part.parse().ok()?;
    Some(Percent::from_hundredths(u64::from(whole) * 100 + u64::from(part)))
}

#[cfg(test)]
mod tests {
    use crate::docker::host_cpu::{host_cpu, parse_pressure, parse_times};
    use crate::model::host_cpu::CpuTimes;

    #[test]
    fn waiting_for_a_disk_is_idle_and_what_a_hypervisor_took_is_not() {
        let text = "cpu  100 0 50 800 50 0 0 25 7 0\ncpu0 1 2\ncpu1 1 2\nintr 5\n";
        assert_eq!(parse_times(text), Some(CpuTimes { idle: 850, all: 1025, cores: 2 }));
        let old = "cpu 1 2 3 4\n";
        assert_eq!(parse_times(old), Some(CpuTimes { idle: 4, all: 10, cores: 1 }));
        let huge = format!("cpu  1 0 0 {0} {0} 0 0 0\n", u64::MAX);
        for bad in ["", "cpu 1 2 3\n", "cpu0 1 2 3 4\n", &huge] {
            assert_eq!(parse_times(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_pressure_is_that_of_the_last_ten_seconds() {
        for (text, want) in [
            ("some avg10=40.01 avg60=1.00 avg300=0.50 total=9\nfull avg10=0.00\n", Some(40_01)),
            ("some avg10=0.00 avg60=1.00 avg300=0.50 total=9\n", Some(0)),
            ("some avg10=100.00 avg60=1.00\n", Some(100_00)),
            ("full avg10=50.00 avg60=1.00\n", None),
            ("some avg60=50.00\n", None),
            ("some avg10=x.00\n", None),
            ("some avg10=-1.00\n", None),
            ("some avg10=1.5\n", None),
            ("", None),
        ] {
            assert_eq!(parse_pressure(text).map(|p| p.hundredths()), want, "{text}");
        }
    }

    #[test]
    fn this_host_shows_its_processors() {
        let seen = host_cpu().expect("/proc/stat is there on every Linux");
        assert!(0 < seen.times.all && seen.times.idle <= seen.times.all, "{seen:?}");
    }
}
