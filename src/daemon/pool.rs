//! Threads that take jobs from one bounded queue and send the result of each to the event loop. A
//! pool has one thread at least, starts more when all are busy, and lets idle ones end.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::daemon::inbox::Incoming;
use crate::daemon::spawn::spawn;
use crate::outside::Result;

/// How long an idle thread stays: longer than the usual interval of a health check.
const IDLE: Duration = Duration::from_secs(30);

type Work<J> = Box<dyn Fn(J) -> Option<Incoming> + Send + Sync>;

pub(crate) struct Pool<J>(Arc<Shared<J>>);

impl<J> Clone for Pool<J> {
    fn clone(&self) -> Pool<J> {
        Pool(self.0.clone())
    }
}

struct Shared<J> {
    /// Of each thread.
    name: &'static str,
    threads_max: usize,
    jobs_max: usize,
    idle: Duration,
    inbox: SyncSender<Incoming>,
    work: OnceLock<Work<J>>,
    state: Mutex<State<J>>,
}

struct State<J> {
    /// Jobs for which no thread was idle.
    jobs: VecDeque<J>,
    threads: usize,
    /// The last one to become idle gets the next job, so that threads that are not needed end.
    idle: Vec<IdleThread<J>>,
    last_id: u64,
}

struct IdleThread<J> {
    id: u64,
    hand: SyncSender<J>,
}

impl<J: Send + 'static> Pool<J> {
    /// At most `jobs_max` jobs wait for one of at most `threads_max` threads. Jobs are done once
    /// the pool is started.
    pub(crate) fn new(
        name: &'static str,
        threads_max: usize,
        jobs_max: usize,
        inbox: &SyncSender<Incoming>,
    ) -> Pool<J> {
        let state = State { jobs: VecDeque::new(), threads: 0, idle: Vec::new(), last_id: 0 };
        Pool(Arc::new(Shared {
            name,
            threads_max,
            jobs_max,
            idle: IDLE,
            inbox: inbox.clone(),
            work: OnceLock::new(),
            state: Mutex::new(state),
        }))
    }

    /// Starts the thread that stays. `work` must not panic; where it gives nothing, the job goes
    /// on elsewhere.
    pub(crate) fn start(
        &self,
        work: impl Fn(J) -> Option<Incoming> + Send + Sync + 'static,
    ) -> Result<()> {
        drop(self.0.work.set(Box::new(work)));
        self.0.state().threads += 1;
        self.spawn()
    }

    /// Gives whether there was room. A thread that cannot be started is no error, as others take
    /// the job when they are done.
    pub(crate) fn send(&self, job: J) -> bool {
        let mut state = self.0.state();
        if let Some(thread) = state.idle.pop() {
            // It waits for it, and there is room for one.
            return thread.hand.try_send(job).is_ok();
        }
        if self.0.jobs_max <= state.jobs.len() {
            return false;
        }
        state.jobs.push_back(job);
        if self.0.work.get().is_some() && state.threads < self.0.threads_max {
            state.threads += 1;
            drop(state);
            if self.spawn().is_err() {
                self.0.state().threads -= 1;
            }
        }
        true
    }

    fn spawn(&self) -> Result<()> {
        let shared = self.0.clone();
        spawn(self.0.name, move || shared.serve())
    }
}

impl<J> Shared<J> {
    fn state(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let Some(work) = self.work.get() else { return };
        let (hand, handed) = mpsc::sync_channel(1);
        let mut state = self.state();
        state.last_id += 1;
        let id = state.last_id;
        drop(state);
        while let Some(job) = self.next(id, &hand, &handed) {
            // The receiver is gone when the daemon ends.
            if work(job).is_some_and(|event| self.inbox.send(event).is_err()) {
                return;
            }
        }
    }

    /// `None`: this thread was idle for long, and others are left.
    fn next(&self, id: u64, hand: &SyncSender<J>, handed: &Receiver<J>) -> Option<J> {
        loop {
            let mut state = self.state();
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            state.idle.push(IdleThread { id, hand: hand.clone() });
            drop(state);
            if let Ok(job) = handed.recv_timeout(self.idle) {
                return Some(job);
            }
            let mut state = self.state();
            let Some(at) = state.idle.iter().position(|thread| thread.id == id) else {
                // A job was handed over just now.
                drop(state);
                return handed.recv().ok();
            };
            state.idle.remove(at);
            if 1 < state.threads {
                state.threads -= 1;
                return None;
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{self, Receiver};
    use std::thread::{self, ThreadId};
    use std::time::Duration;

    use crate::daemon::inbox::Incoming;
    use crate::daemon::pool::{Pool, Shared};

    const BOUND: Duration = Duration::from_secs(10);

    /// Each job is a channel that ends it; gives the thread that each began on.
    fn pool(threads_max: usize, idle: Duration) -> (Pool<Receiver<()>>, Receiver<ThreadId>) {
        let (inbox, _) = mpsc::sync_channel::<Incoming>(1);
        let pool = Pool::new("test", threads_max, 3, &inbox);
        let Pool(mut shared) = pool;
        Arc::get_mut(&mut shared).map(|shared: &mut Shared<_>| shared.idle = idle).unwrap();
        let pool = Pool(shared);
        let (begun, begins) = mpsc::channel();
        let work = move |end: Receiver<()>| {
            begun.send(thread::current().id()).unwrap();
            let _ended = end.recv();
            None
        };
        pool.start(work).unwrap();
        (pool, begins)
    }

    fn idle(pool: &Pool<Receiver<()>>) -> usize {
        pool.0.state().idle.len()
    }

    fn wait_for(what: impl Fn() -> bool) {
        let (_open, never) = mpsc::channel::<()>();
        for _ in 0..1000 {
            if what() {
                return;
            }
            assert!(never.recv_timeout(Duration::from_millis(10)).is_err());
        }
        panic!("not within 10 s");
    }

    #[test]
    fn jobs_one_after_the_other_take_one_thread() {
        let (pool, begins) = pool(4, BOUND);
        let mut threads = Vec::new();
        for _ in 0..5 {
            wait_for(|| idle(&pool) == 1);
            let (end, ended) = mpsc::channel();
            assert!(pool.send(ended));
            threads.push(begins.recv_timeout(BOUND).unwrap());
            end.send(()).unwrap();
        }
        threads.dedup();
        assert_eq!(threads.len(), 1);
    }

    #[test]
    fn jobs_that_hang_leave_room_for_others_up_to_both_limits() {
        let (pool, begins) = pool(2, BOUND);
        wait_for(|| idle(&pool) == 1);
        let (ends, ended): (Vec<_>, Vec<_>) = (0..6).map(|_| mpsc::channel()).unzip();
        let mut jobs = ended.into_iter();
        let hung: Vec<_> = jobs
            .by_ref()
            .take(2)
            .map(|job| {
                assert!(pool.send(job));
                begins.recv_timeout(BOUND).unwrap()
            })
            .collect();
        assert_ne!(hung[0], hung[1]);
        let sent: Vec<bool> = jobs.map(|job| pool.send(job)).collect();
        assert_eq!(sent, [true, true, true, false], "three wait");
        assert!(begins.try_recv().is_err(), "no third thread");
        drop(ends);
        (0..3).for_each(|_| assert!(begins.recv_timeout(BOUND).is_ok()));
    }

    #[test]
    fn threads_that_are_not_needed_end_but_for_one() {
        let (pool, begins) = pool(3, Duration::from_millis(20));
        let (ends, ended): (Vec<_>, Vec<_>) = (0..3).map(|_| mpsc::channel::<()>()).unzip();
        ended.into_iter().for_each(|job| {
            assert!(pool.send(job));
            begins.recv_timeout(BOUND).unwrap();
        });
        assert_eq!(pool.0.state().threads, 3);
        drop(ends);
        wait_for(|| pool.0.state().threads == 1);
        let (_end, ended) = mpsc::channel();
        assert!(pool.send(ended));
        assert!(begins.recv_timeout(BOUND).is_ok());
    }
}
