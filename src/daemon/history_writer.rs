//! Keeps the load history while the daemon runs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::docker::Docker;
use crate::model::event::{Event, Kind};
use crate::model::host_cpu::CpuTimes;
use crate::model::status::Status;
use crate::model::time::{DAY, Moment, Wall};
use crate::outside::Engine;
use crate::report::minute_rows::{HostUse, MinuteRows};
use crate::store::load_history::HistoryFiles;

pub(crate) struct HistoryWriter {
    rows: MinuteRows,
    files: HistoryFiles,
    engine: Arc<Docker>,
    /// When the processors were looked at last.
    cpu: Option<(Moment, CpuTimes)>,
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
            cpu: None,
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
        let (now, at) = (status.now, status.at);
        let services = status.services.iter();
        let rows = self.rows.add(at, services, is_evaluation, || host_use(engine, (now, cpu)));
        self.clean(at, keep);
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

fn host_use(engine: &Docker, (now, last): (Moment, &mut Option<(Moment, CpuTimes)>)) -> HostUse {
    let times = engine.host_cpu().map(|host| host.times);
    let before = std::mem::replace(last, times.map(|times| (now, times)));
    let idle = before.zip(times);
    let idle = idle.and_then(|((at, before), times)| times.idle_since(before, now.since(at)));
    let memory = engine.host_memory().and_then(|memory| {
        let used = memory.total.saturating_sub(memory.available);
        percent(used, memory.total)
    });
    HostUse { cpu: idle.and_then(|idle| percent(100_00 - idle.hundredths(), 100_00)), memory }
}

fn percent(part: u64, whole: u64) -> Option<u8> {
    let percent = u128::from(part) * 100 / u128::from(whole).max(1);
    u8::try_from(percent).ok().filter(|percent| 0 < whole && *percent <= 100)
}
