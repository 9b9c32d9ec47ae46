//! Reads the load history for the forecast, on a bounded pool: the event loop reads no file of it.

use std::collections::BTreeSet;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use crate::controller::LoopEvent;
use crate::controller::forecaster::{AT_ONCE, ForecastRead};
use crate::controller::history_slices::RowSource;
use crate::daemon::inbox::Incoming;
use crate::daemon::pool::{self, Pool};
use crate::model::load_history::MinuteRow;
use crate::model::time::Wall;
use crate::outside::{Error, Result};
use crate::store::history_reader::HistoryReader;

/// Files that the log names.
const NAMED_MAX: usize = 100;
/// Days of a history that is shorter than needed.
const DAYS_MAX: u32 = 14;

pub(crate) struct HistoryThreads {
    pool: Pool<ForecastRead>,
}

impl HistoryThreads {
    pub(crate) fn new(reader: HistoryReader, inbox: &SyncSender<Incoming>) -> Result<Self> {
        let bad_files = BadFiles::default();
        let work = move |ForecastRead { id, history }: ForecastRead| {
            let service = &history.service;
            let source = FileRows { reader: &reader, service, bad_files: &bad_files };
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

/// Files that cannot be read, each as its error, which names it.
#[derive(Default)]
struct BadFiles(Mutex<BTreeSet<String>>);

impl BadFiles {
    /// Gives whether it is to be logged: each is once.
    fn add(&self, why: &str) -> bool {
        let mut named = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        named.len() < NAMED_MAX && named.insert(why.to_owned())
    }
}

struct FileRows<'a> {
    reader: &'a HistoryReader,
    service: &'a str,
    bad_files: &'a BadFiles,
}

impl RowSource for FileRows<'_> {
    fn rows(&self, from: Wall, until: Wall) -> std::result::Result<Vec<MinuteRow>, String> {
        let mut rows = Vec::new();
        let mut failed = None;
        for day in self.reader.days(self.service, from, until) {
            match day {
                Ok(day) => rows.extend(day.rows),
                Err(err) => {
                    let why = err.to_string();
                    if self.bad_files.add(&why) {
                        let message = format!("the forecast goes without a file: {why}");
                        log::warn!("service={} message={message:?}", self.service);
                    }
                    failed.get_or_insert(why);
                }
            }
        }
        failed.filter(|_| rows.is_empty()).map_or(Ok(rows), Err)
    }

    fn days(&self, now: Wall) -> u32 {
        self.reader.age_in_days(self.service, now, DAYS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use crate::daemon::history_threads::{BadFiles, NAMED_MAX};

    #[test]
    fn a_file_is_named_once_and_so_are_a_hundred_at_most() {
        let files = BadFiles::default();
        assert_eq!(["a", "a", "b"].map(|why| files.add(why)), [true, false, true]);
        let named = (0..200).filter(|n| files.add(&n.to_string())).count();
        assert_eq!(named, NAMED_MAX - 2);
    }
}
