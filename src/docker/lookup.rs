//! Answers about single containers and images, asked for off the tick: one that the engine does not
//! answer about holds up nobody, and is asked about ever less often.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::docker::client::{Call, Client};
use crate::model::time::Moment;
use crate::outside::{Clock, Result};

/// An answer takes a millisecond; an engine that is busy may take longer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Questions at once. Threads live only while there is something to ask.
const THREADS: usize = 6;
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);

/// What is known of one thing.
pub(crate) enum Answer<T> {
    Is(Arc<T>),
    /// The engine says that there is no such thing.
    Absent,
    /// Not asked to an end yet.
    Pending,
    /// The engine gives no answer, or none that can be read.
    Failed,
}

pub(crate) struct Lookup<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    /// What a path begins and ends with.
    around: (&'static str, &'static str),
    state: Mutex<State<T>>,
    answered: Condvar,
}

struct State<T> {
    entries: BTreeMap<String, Entry<T>>,
    queue: VecDeque<String>,
    threads: usize,
}

struct Entry<T> {
    /// `Some(None)`: there is none.
    value: Option<Option<Arc<T>>>,
    is_current: bool,
    is_asked: bool,
    /// How often it was out of date: an answer to a question from before is so as well.
    version: u32,
    failures: u32,
    retry_at: Moment,
    answered_at: Moment,
}

impl<T> Default for Entry<T> {
    fn default() -> Entry<T> {
        let retry_at = Moment::default();
        let (is_current, is_asked) = (false, false);
        let answered_at = retry_at;
        Entry { value: None, is_current, is_asked, version: 0, failures: 0, retry_at, answered_at }
    }
}

impl<T> Entry<T> {
    fn outdate(&mut self) {
        self.is_current = false;
        self.version = self.version.wrapping_add(1);
    }
}

impl<T: DeserializeOwned + Send + Sync + 'static> Lookup<T> {
    pub(crate) fn new(around: (&'static str, &'static str)) -> Lookup<T> {
        let (entries, queue, threads) = (BTreeMap::new(), VecDeque::new(), 0);
        let state = Mutex::new(State { entries, queue, threads });
        Lookup { shared: Arc::new(Shared { around, state, answered: Condvar::new() }) }
    }

    /// The next question about it goes to the engine. What is known is of use until then.
    pub(crate) fn outdate(&self, name: &str) {
        self.shared.state().entries.get_mut(name).into_iter().for_each(Entry::outdate);
    }

    pub(crate) fn outdate_all(&self) {
        self.shared.state().entries.values_mut().for_each(Entry::outdate);
    }

    /// As `outdate`, but not while a question is under way or is to be asked anyhow.
    pub(crate) fn refresh(&self, name: &str) {
        let mut state = self.shared.state();
        let entry = state.entries.get_mut(name).filter(|entry| entry.is_current);
        entry.into_iter().for_each(Entry::outdate);
    }

    /// How old what is known of it is.
    pub(crate) fn age(&self, name: &str, now: Moment) -> Duration {
        let state = self.shared.state();
        state.entries.get(name).map_or(Duration::ZERO, |entry| now.since(entry.answered_at))
    }

    /// Forgets whatever is not among these, and asks for those that are new or out of date. Waits
    /// for those that were never asked for in vain, together for as long as `within`.
    pub(crate) fn renew<'a>(
        &self,
        names: impl Iterator<Item = &'a str> + Clone,
        client: &Arc<Client>,
        clock: &Arc<dyn Clock>,
        within: Duration,
    ) {
        let shared = &self.shared;
        let mut state = shared.state();
        let wanted: std::collections::BTreeSet<&str> = names.collect();
        state.entries.retain(|name, entry| wanted.contains(name.as_str()) || entry.is_asked);
        let now = clock.now();
        let State { entries, queue, .. } = &mut *state;
        for name in wanted {
            let entry = entries.entry(name.to_owned()).or_default();
            if !entry.is_current && !entry.is_asked && entry.retry_at <= now {
                entry.is_asked = true;
                queue.push_back(name.to_owned());
            }
        }
        while state.threads < THREADS.min(state.queue.len()) {
            let (shared, client, clock) = (shared.clone(), client.clone(), clock.clone());
            let body = move || shared.work(&client, &*clock);
            let thread = thread::Builder::new().name("lookup".to_owned()).stack_size(512 << 10);
            if thread.spawn(body).is_err() {
                // Those that run take the rest; with none, the next look tries again.
                break;
            }
            state.threads += 1;
        }
        let is_awaited = |state: &mut State<T>| {
            0 < state.threads && state.entries.values().any(|e| e.is_asked && e.failures == 0)
        };
        drop(shared.answered.wait_timeout_while(state, within, is_awaited));
    }

    pub(crate) fn get(&self, name: &str) -> Answer<T> {
        let state = self.shared.state();
        let Some(entry) = state.entries.get(name) else { return Answer::Pending };
        match &entry.value {
            Some(Some(value)) => Answer::Is(value.clone()),
            Some(None) => Answer::Absent,
            None if entry.failures == 0 => Answer::Pending,
            None => Answer::Failed,
        }
    }

    /// The engine gave no answer when it was asked last.
    pub(crate) fn is_failing(&self, name: &str) -> bool {
        self.shared.state().entries.get(name).is_some_and(|entry| 0 < entry.failures)
    }

    /// How long until an answer that is missing may be there; `None`: none is missing.
    pub(crate) fn wait(&self, now: Moment) -> Option<Duration> {
        let state = self.shared.state();
        let missing = state.entries.values().filter(|entry| !entry.is_current);
        missing.map(|entry| entry.retry_at.since(now)).min()
    }
}

impl<T: DeserializeOwned> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until there is nothing left to ask.
    fn work(&self, client: &Client, clock: &dyn Clock) {
        loop {
            let mut state = self.state();
            let Some(name) = state.queue.pop_front() else {
                state.threads -= 1;
                self.answered.notify_all();
                return;
            };
            let version = state.entries.get(&name).map_or(0, |entry| entry.version);
            drop(state);
            let answer = self.ask(client, &name);
            self.take_in(&name, version, answer, clock.now());
            self.answered.notify_all();
        }
    }

    fn ask(&self, client: &Client, name: &str) -> Result<Option<T>> {
        let (before, after) = self.around;
        let path = format!("{before}{name}{after}");
        let answer = client.call(Call::get(&path), TIMEOUT)?;
        if answer.status == 404 { Ok(None) } else { answer.ok()?.json().map(Some) }
    }

    fn take_in(&self, name: &str, version: u32, answer: Result<Option<T>>, now: Moment) {
        let mut state = self.state();
        let Some(entry) = state.entries.get_mut(name) else { return };
        entry.is_asked = false;
        match answer {
            Ok(value) => {
                entry.value = Some(value.map(Arc::new));
                entry.answered_at = now;
                entry.is_current = entry.version == version;
                (entry.failures, entry.retry_at) = (0, Moment::default());
            }
            Err(_) => {
                entry.failures = entry.failures.saturating_add(1);
                let wait = RETRY_FIRST.saturating_mul(1 << (entry.failures - 1).min(16));
                entry.retry_at = now.plus(wait.min(RETRY_LONGEST));
            }
        }
    }
}
