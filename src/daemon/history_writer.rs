//! Keeps the load history while the daemon runs.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::docker::Docker;
use crate::model::event::{Event, Kind};
use crate::model::status::Status;
use crate::model::time::{DAY, Wall};
use crate::outside::Engine;
use crate::report::minute_rows::{HostUse, MinuteRows};
use crate::store::load_history::HistoryFiles;

pub(crate) struct HistoryWriter {
    rows: MinuteRows,
    files: HistoryFiles,
    engine: Arc<Docker>,
    cpu: Option<CpuTimes>,
    /// When old files were removed last, as days since 1970, and how long they were kept.
    cleaned: Option<(i64, Duration)>,
    /// The operator knows that rows are being lost, and so many are.
    told: bool,
    lost: u64,
}

impl HistoryWriter {
    pub(crate) fn new(state_dir: &Path, engine: Arc<Docker>) -> HistoryWriter {
        HistoryWriter {
            rows: MinuteRows::default(),
            files: HistoryFiles::new(state_dir),
            engine,
            cpu: CpuTimes::read(),
            cleaned: None,
            told: false,
            lost: 0,
        }
    }

    /// After a tick. `keep` is how long rows are kept; none are written if it is zero. Gives an
    /// event when rows begin to be lost, and when they are written again.
    pub(crate) fn ticked(
        &mut self,
        status: &Status,
        is_evaluation: bool,
        keep: Duration,
    ) -> Option<Event> {
        if keep.is_zero() {
            self.rows.skip(status);
            return None;
        }
        let (engine, cpu) = (&self.engine, &mut self.cpu);
        let rows = self.rows.add(status, is_evaluation, || host_use(engine, cpu));
        self.clean(status.at, keep);
        let mut error = None;
        for (service, row) in &rows {
            if let Err(err) = self.files.append(service, row) {
                self.lost += 1;
                error.get_or_insert(format!("the row of {service}: {err}"));
            }
        }
        self.reported(!rows.is_empty(), error)
    }

    /// Once a day, and when a reload changes how long rows are kept.
    fn clean(&mut self, now: Wall, keep: Duration) {
        let today = now.0.div_euclid(DAY);
        if self.cleaned.replace((today, keep)) == Some((today, keep)) {
            return;
        }
        if let Err(err) = self.files.remove_old(now, keep) {
            let folder = self.files.folder().display();
            let message = format!("old load history in {folder} cannot be removed: {err}");
            log::warn!("message={message:?}");
        }
    }

    fn reported(&mut self, has_rows: bool, error: Option<String>) -> Option<Event> {
        let was_told = self.told;
        match error {
            Some(error) => {
                self.told = true;
                let folder = self.files.folder().display();
                let message = format!("the load history in {folder} cannot be written: {error}");
                (!was_told).then(|| Event::new(Kind::HistoryNotSaved, message))
            }
            None if was_told && has_rows => {
                self.told = false;
                let lost = std::mem::take(&mut self.lost);
                let how = format!("it is written again, without {lost} rows of one minute each");
                Some(Event::resolved(Kind::HistoryNotSaved, &how))
            }
            None => None,
        }
    }
}

fn host_use(engine: &Docker, cpu: &mut Option<CpuTimes>) -> HostUse {
    let now = CpuTimes::read();
    let before = std::mem::replace(cpu, now);
    let memory = engine.host_memory().and_then(|memory| {
        let used = memory.total.saturating_sub(memory.available);
        percent(used, memory.total)
    });
    HostUse { cpu: before.zip(now).and_then(|(before, now)| now.since(before)), memory }
}

fn percent(part: u64, whole: u64) -> Option<u8> {
    let percent = u128::from(part) * 100 / u128::from(whole).max(1);
    u8::try_from(percent).ok().filter(|percent| 0 < whole && *percent <= 100)
}

/// Of all processors since the host's start, in the kernel's ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CpuTimes {
    idle: u64,
    all: u64,
}

impl CpuTimes {
    fn read() -> Option<CpuTimes> {
        CpuTimes::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// The first line: `cpu user nice system idle iowait irq softirq steal guest guest_nice`, where
    /// `user` and `nice` include the guests. From proc(5).
    fn parse(text: &str) -> Option<CpuTimes> {
        let line = text.lines().next()?.strip_prefix("cpu ")?;
        let times: Vec<u64> =
            line.split_whitespace().take(8).map_while(|word| word.parse().ok()).collect();
        let idle = times.get(3)?.saturating_add(times.get(4).copied().unwrap_or(0));
        Some(CpuTimes { idle, all: times.iter().sum() })
    }

    /// The share that was used.
    fn since(self, before: CpuTimes) -> Option<u8> {
        let all = self.all.checked_sub(before.all)?;
        let idle = self.idle.saturating_sub(before.idle);
        percent(all.saturating_sub(idle), all)
    }
}

#[cfg(test)]
mod tests {
    use crate::daemon::history_writer::CpuTimes;

    #[test]
    fn the_used_share_of_the_processors_is_of_the_time_between_two_looks() {
        let read = |text: &str| CpuTimes::parse(text);
        let first = read("cpu  100 0 50 800 50 0 0 0 7 0\ncpu0 1 2\n").unwrap();
        assert_eq!(first, CpuTimes { idle: 850, all: 1000 });
        let later = read("cpu 130 5 60 850 55 0 0 0 7 0\n").unwrap();
        assert_eq!(later.since(first), Some(45));
        assert_eq!(first.since(first), None, "no time has passed");
        assert_eq!(first.since(later), None, "the counters went back");
        assert_eq!((read(""), read("cpu 1 2 3\n"), read("cpu0 1 2 3 4\n")), (None, None, None));
    }
}
