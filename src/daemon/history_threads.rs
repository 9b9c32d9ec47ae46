//! Reads the load history for the forecast, on a bounded pool: the event loop reads no file of it.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use crate::controller::LoopEvent;
use crate::controller::forecaster::{AT_ONCE, ForecastRead};
use crate::controller::history_slices::RowSource;
use crate::daemon::inbox::Incoming;
use crate::daemon::pool::{self, Pool};
use crate::model::load_history::MinuteRow;
use crate::model::time::Wall;
use crate::outside::{Error, Result};
use crate::store::history_reader::HistoryReader;

/// Days of a history that is shorter than needed.
const DAYS_MAX: u32 = 14;

pub(crate) struct HistoryThreads {
    pool: Pool<ForecastRead>,
}

impl HistoryThreads {
    pub(crate) fn new(reader: HistoryReader, inbox: &SyncSender<Incoming>) -> Result<Self> {
        let work = move |ForecastRead { id, history }: ForecastRead| {
            let source = FileRows { reader: &reader, service: &history.service };
            let read = || history.answer(&source).map(Arc::new).map_err(Error::new);
            let read = pool::ask(read, "internal error in plimsoll (please report); see the log");
            let service = history.service.clone();
            Some(Incoming::Loop(LoopEvent::HistoryRead { id, service, read }))
        };
        let pool = Pool::new("history", AT_ONCE, AT_ONCE, inbox);
        pool.start(work)?;
        Ok(HistoryThreads { pool })
    }

    /// Without room it is lost, and read again after its deadline.
    pub(crate) fn send(&self, read: ForecastRead) {
        self.pool.send(read);
    }
}

struct FileRows<'a> {
    reader: &'a HistoryReader,
    service: &'a str,
}

impl RowSource for FileRows<'_> {
    fn rows(&self, from: Wall, until: Wall) -> std::result::Result<Vec<MinuteRow>, String> {
        self.reader.try_read(self.service, from, until).map_err(|err| err.to_string())
    }

    fn days(&self, now: Wall) -> u32 {
        self.reader.age_in_days(self.service, now, DAYS_MAX)
    }
}
