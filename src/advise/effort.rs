//! How much of the host a search may take, and for how long.

use std::num::NonZero;
use std::thread;

const THREADS_MAX: usize = 4;

#[derive(Clone, Copy)]
pub(crate) struct Effort<'a> {
    threads: usize,
    /// Asked between two simulations and within long ones, on the thread that simulates. Once it
    /// says no, the search breaks off.
    goes_on: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> Effort<'a> {
    /// On all processors.
    pub(crate) fn full(goes_on: &'a (dyn Fn() -> bool + Sync)) -> Effort<'a> {
        let threads = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
        Effort { threads, goes_on }
    }

    /// On one processor: the others are left to who serves.
    pub(crate) fn on_one_thread(goes_on: &'a (dyn Fn() -> bool + Sync)) -> Effort<'a> {
        Effort { threads: 1, goes_on }
    }

    pub(crate) fn goes_on(&self) -> bool {
        (self.goes_on)()
    }

    /// The results in the order of the items. `None`: it was broken off, or a thread could not be
    /// started or panicked.
    pub(super) fn each<T, R, F>(&self, items: &[T], run: F) -> Option<Vec<R>>
    where
        T: Sync,
        R: Send,
        F: Fn(&T) -> R + Sync,
    {
        let share = items.len().div_ceil(self.threads).max(1);
        let one = |item: &T| self.goes_on().then(|| run(item));
        let one = &one;
        let parts: Vec<Option<Vec<R>>> = thread::scope(|scope| {
            let spawned: Vec<_> = items
                .chunks(share)
                .map(|part| {
                    let thread = thread::Builder::new().name("advice".to_owned());
                    thread.spawn_scoped(scope, move || part.iter().map(one).collect())
                })
                .collect();
            spawned.into_iter().map(|thread| thread.ok()?.join().ok().flatten()).collect()
        });
        let parts: Option<Vec<Vec<R>>> = parts.into_iter().collect();
        parts.map(|parts| parts.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crate::advise::effort::Effort;

    #[test]
    fn each_item_has_its_result_on_any_number_of_threads() {
        let always = || true;
        let items: Vec<u32> = (0..11).collect();
        let want: Vec<u32> = (0..11).map(|n| 2 * n).collect();
        for threads in 1..=4 {
            let effort = Effort { threads, goes_on: &always };
            assert_eq!(effort.each(&items, |n| 2 * n), Some(want.clone()), "{threads}");
            assert_eq!(effort.each(&[], |n: &u32| *n), Some(Vec::new()));
            // One that panics leaves no result in the place of another.
            assert_eq!(effort.each(&items, |n| assert_ne!(*n, 3)), None, "{threads}");
        }
    }

    #[test]
    fn what_is_broken_off_runs_no_further_item() {
        let asked = AtomicUsize::new(0);
        let twice = || asked.fetch_add(1, Ordering::Relaxed) < 2;
        let run = AtomicUsize::new(0);
        let count = |_: &u32| run.fetch_add(1, Ordering::Relaxed);
        assert_eq!(Effort::on_one_thread(&twice).each(&[1, 2, 3, 4], count), None);
        assert_eq!(run.into_inner(), 2);
    }
}
