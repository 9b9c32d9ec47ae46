//! A cache of inspects of containers and images, which are fetched off the tick. An inspect that
//! the engine does not answer delays nothing and is retried with back-off.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::docker::client::{Call, Client};
use crate::model::time::Moment;
use crate::outside::{Clock, Result};

/// Timeout of one inspect. It takes a millisecond; a busy engine may take longer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Parallel inspects. Threads live only while the queue is not empty.
const THREADS: usize = 6;
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);

/// What is known of one name.
pub(crate) enum Cached<T> {
    Is(Arc<T>),
    /// It does not exist (404).
    Absent,
    /// Not answered yet.
    Pending,
    /// No answer, or an unreadable one.
    Failed,
}

pub(crate) struct InspectCache<T> {
    shared: Arc<SharedCache<T>>,
}

struct SharedCache<T> {
    /// Prefix and suffix of the path.
    around: (&'static str, &'static str),
    state: Mutex<CacheState<T>>,
    answered: Condvar,
}

struct CacheState<T> {
    entries: BTreeMap<String, CacheEntry<T>>,
    queue: VecDeque<String>,
    threads: usize,
}

struct CacheEntry<T> {
    /// `Some(None)`: it does not exist.
    value: Option<Option<Arc<T>>>,
    is_current: bool,
    is_asked: bool,
    /// Counts invalidations: an answer to a question from before the last one is out of date.
    version: u32,
    failures: u32,
    retry_at: Moment,
    answered_at: Moment,
}

impl<T> Default for CacheEntry<T> {
    fn default() -> CacheEntry<T> {
        let retry_at = Moment::default();
        let is_current = false;
        let is_asked = false;
        let answered_at = retry_at;
        CacheEntry {
            value: None,
            is_current,
            is_asked,
            version: 0,
            failures: 0,
            retry_at,
            answered_at,
        }
    }
}

impl<T> CacheEntry<T> {
    fn invalidate(&mut self) {
        self.is_current = false;
        self.version = self.version.wrapping_add(1);
    }
}

impl<T: DeserializeOwned + Send + Sync + 'static> InspectCache<T> {
    pub(crate) fn new(around: (&'static str, &'static str)) -> InspectCache<T> {
        let entries = BTreeMap::new();
        let queue = VecDeque::new();
        let threads = 0;
        let state = Mutex::new(CacheState { entries, queue, threads });
        InspectCache { shared: Arc::new(SharedCache { around, state, answered: Condvar::new() }) }
    }

    /// Marks the entry as out of date, to be fetched at the next `update`. It can be used until
    /// then.
    pub(crate) fn invalidate(&self, name: &str) {
        self.shared.state().entries.get_mut(name).into_iter().for_each(CacheEntry::invalidate);
    }

    pub(crate) fn invalidate_all(&self) {
        self.shared.state().entries.values_mut().for_each(CacheEntry::invalidate);
    }

    /// As `invalidate`, unless the entry is being fetched or already marked.
    pub(crate) fn invalidate_if_current(&self, name: &str) {
        let mut state = self.shared.state();
        let entry = state.entries.get_mut(name).filter(|entry| entry.is_current);
        entry.into_iter().for_each(CacheEntry::invalidate);
    }

    /// Age of the entry.
    pub(crate) fn age(&self, name: &str, now: Moment) -> Duration {
        let state = self.shared.state();
        state.entries.get(name).map_or(Duration::ZERO, |entry| now.since(entry.answered_at))
    }

    /// Drops all entries but these, and fetches those that are new or out of date. Waits `within`
    /// at most for those that did not fail before.
    pub(crate) fn update<'a>(
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
        let CacheState { entries, queue, .. } = &mut *state;
        for name in wanted {
            let entry = entries.entry(name.to_owned()).or_default();
            if !entry.is_current && !entry.is_asked && entry.retry_at <= now {
                entry.is_asked = true;
                queue.push_back(name.to_owned());
            }
        }
        while state.threads < THREADS.min(state.queue.len()) {
            let shared = shared.clone();
            let client = client.clone();
            let clock = clock.clone();
            let body = move || shared.work(&client, &*clock);
            let thread = thread::Builder::new().name("inspect".to_owned()).stack_size(512 << 10);
            if thread.spawn(body).is_err() {
                // Running threads take the rest; without any, the next update tries again.
                break;
            }
            state.threads += 1;
        }
        let is_awaited = |state: &mut CacheState<T>| {
            0 < state.threads && state.entries.values().any(|e| e.is_asked && e.failures == 0)
        };
        drop(shared.answered.wait_timeout_while(state, within, is_awaited));
    }

    pub(crate) fn get(&self, name: &str) -> Cached<T> {
        let state = self.shared.state();
        let Some(entry) = state.entries.get(name) else { return Cached::Pending };
        match &entry.value {
            Some(Some(value)) => Cached::Is(value.clone()),
            Some(None) => Cached::Absent,
            None if entry.failures == 0 => Cached::Pending,
            None => Cached::Failed,
        }
    }

    /// The value, if there is one.
    pub(crate) fn known(&self, name: &str) -> Option<Arc<T>> {
        match self.get(name) {
            Cached::Is(value) => Some(value),
            Cached::Absent | Cached::Pending | Cached::Failed => None,
        }
    }

    /// Whether the last fetch failed.
    pub(crate) fn is_failing(&self, name: &str) -> bool {
        self.shared.state().entries.get(name).is_some_and(|entry| 0 < entry.failures)
    }

    /// Time until the next retry of a missing answer; `None`: none is missing.
    pub(crate) fn wait(&self, now: Moment) -> Option<Duration> {
        let state = self.shared.state();
        let missing = state.entries.values().filter(|entry| !entry.is_current);
        missing.map(|entry| entry.retry_at.since(now)).min()
    }
}

impl<T: DeserializeOwned> SharedCache<T> {
    fn state(&self) -> MutexGuard<'_, CacheState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs until the queue is empty.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use crate::docker::client::Client;
    use crate::docker::inspect_cache::{CacheEntry, Cached, InspectCache, SharedCache};
    use crate::model::docker_host::DockerHost;
    use crate::model::time::{Moment, Wall};
    use crate::outside::{Clock, Error, Result};

    const NOW: Moment = Moment(1_000_000);

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Moment {
            NOW
        }

        fn wall(&self) -> Wall {
            Wall(0)
        }
    }

    fn cache(names: &[&str]) -> InspectCache<u32> {
        let cache = InspectCache::new(("/containers/", "/json"));
        let entries = names.iter().map(|name| ((*name).to_owned(), CacheEntry::default()));
        cache.shared.state().entries = entries.collect::<BTreeMap<_, _>>();
        cache
    }

    fn failed() -> Result<Option<u32>> {
        Err(Error::new("no answer"))
    }

    /// As a thread stores the answer to the query that it sent at `version`.
    fn take_in(cache: &InspectCache<u32>, version: u32, answer: Result<Option<u32>>) {
        SharedCache::take_in(&cache.shared, "a", version, answer, NOW);
    }

    fn shown(cache: &InspectCache<u32>) -> String {
        let value = match cache.get("a") {
            Cached::Is(value) => value.to_string(),
            Cached::Absent => "absent".to_owned(),
            Cached::Pending => "pending".to_owned(),
            Cached::Failed => "failed".to_owned(),
        };
        let state = cache.shared.state();
        let current = state.entries.get("a").is_some_and(|entry| entry.is_current);
        format!("{value}{}", if current { ", current" } else { "" })
    }

    #[test]
    fn each_failure_doubles_the_wait_up_to_a_minute_and_an_answer_ends_it() {
        let cache = cache(&["a"]);
        let wait = || cache.wait(NOW).map(|wait| wait.as_secs());
        assert_eq!(wait(), Some(0));
        for want in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            take_in(&cache, 0, failed());
            assert_eq!(wait(), Some(want));
        }
        // So many that doubling them would overflow.
        for failures in [16, 17, 31, 32, 33, u32::MAX] {
            cache.shared.state().entries.get_mut("a").unwrap().failures = failures;
            take_in(&cache, 0, failed());
            assert_eq!(wait(), Some(60), "{failures}");
        }
        assert!(cache.is_failing("a"));
        take_in(&cache, 0, Ok(Some(7)));
        assert!(!cache.is_failing("a"));
        assert_eq!(wait(), None, "nothing is missing");
        cache.invalidate("a");
        assert_eq!(wait(), Some(0), "asked at once");
        take_in(&cache, 1, failed());
        assert_eq!(wait(), Some(1), "from the beginning");
    }

    #[test]
    fn what_was_known_is_of_use_until_there_is_another_answer() {
        let cache = cache(&["a"]);
        assert_eq!(shown(&cache), "pending");
        take_in(&cache, 0, failed());
        assert_eq!(shown(&cache), "failed");
        take_in(&cache, 0, Ok(Some(7)));
        assert_eq!(shown(&cache), "7, current");
        cache.invalidate("a");
        assert_eq!(shown(&cache), "7");
        take_in(&cache, 1, failed());
        assert_eq!(shown(&cache), "7");
        take_in(&cache, 1, Ok(None));
        assert_eq!(shown(&cache), "absent, current");
    }

    #[test]
    fn an_answer_to_a_question_from_before_is_out_of_date() {
        let cache = cache(&["a", "b"]);
        cache.invalidate("a");
        take_in(&cache, 0, Ok(Some(7)));
        assert_eq!(shown(&cache), "7", "it is asked again");
        // A refresh is content with the answer that is to come.
        cache.invalidate_if_current("a");
        take_in(&cache, 1, Ok(Some(8)));
        assert_eq!(shown(&cache), "8, current");
        cache.invalidate_if_current("a");
        assert_eq!(shown(&cache), "8");
        take_in(&cache, 2, Ok(Some(9)));
        assert_eq!(shown(&cache), "9, current");
        cache.invalidate_all();
        take_in(&cache, 2, Ok(Some(9)));
        assert_eq!(shown(&cache), "9");
        assert_eq!(cache.shared.state().entries["b"].version, 1);
    }

    #[test]
    fn what_is_no_more_is_forgotten_and_what_failed_is_not_asked_before_its_time() {
        let cache = cache(&["a", "gone", "asked"]);
        cache.shared.state().entries.get_mut("asked").unwrap().is_asked = true;
        // Nobody answers there.
        let client = Arc::new(Client::new(&DockerHost::Unix("/nowhere/docker.sock".into())));
        let clock: Arc<dyn Clock> = Arc::new(Still);
        let state_of = |name: &str| {
            let state = cache.shared.state();
            state.entries.get(name).map(|entry| (entry.is_asked, entry.failures))
        };
        for _ in 0..2 {
            cache.update(["a"].into_iter(), &client, &clock, Duration::from_secs(5));
            assert_eq!(state_of("a"), Some((false, 1)), "once, as the time stands still");
            assert_eq!(state_of("gone"), None);
            assert_eq!(state_of("asked"), Some((true, 0)), "its answer is to come");
        }
        // The answer about one that was forgotten meanwhile is nobody's.
        SharedCache::take_in(&cache.shared, "gone", 0, Ok(Some(1)), NOW);
        assert!(matches!(cache.get("gone"), Cached::Pending));
    }
}
