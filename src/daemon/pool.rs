//! Threads that take jobs from one bounded queue and send the result of each to the event loop.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};

use crate::daemon::inbox::Incoming;
use crate::daemon::spawn::spawn;
use crate::outside::Result;

/// One thread for each name, which ends with the daemon. Gives the queue, where `room` jobs may
/// wait.
pub(crate) fn start<J: Send + 'static>(
    names: impl IntoIterator<Item = String>,
    room: usize,
    inbox: &SyncSender<Incoming>,
    work: impl Fn(J) -> Incoming + Clone + Send + 'static,
) -> Result<SyncSender<J>> {
    let (queue, jobs) = mpsc::sync_channel(room);
    run(names, jobs, inbox, move |job| Some(work(job)))?;
    Ok(queue)
}

/// The same for a queue that is there already; work that gives nothing goes on elsewhere.
pub(crate) fn run<J: Send + 'static>(
    names: impl IntoIterator<Item = String>,
    jobs: Receiver<J>,
    inbox: &SyncSender<Incoming>,
    work: impl Fn(J) -> Option<Incoming> + Clone + Send + 'static,
) -> Result<()> {
    let jobs = Arc::new(Mutex::new(jobs));
    for name in names {
        let (jobs, inbox, work) = (jobs.clone(), inbox.clone(), work.clone());
        spawn(&name, move || {
            while let Some(job) = next(&jobs) {
                if work(job).is_some_and(|event| inbox.send(event).is_err()) {
                    return;
                }
            }
        })?;
    }
    Ok(())
}

/// `None` when the daemon ends.
fn next<J>(jobs: &Mutex<Receiver<J>>) -> Option<J> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// A panic must not end the thread; `words` are then the error.
pub(crate) fn ask<T>(
    question: impl FnOnce() -> Result<T>,
    words: &str,
) -> std::result::Result<T, String> {
    match catch_unwind(AssertUnwindSafe(question)) {
        Ok(result) => result.map_err(|err| err.to_string()),
        Err(_) => Err(words.to_owned()),
    }
}
