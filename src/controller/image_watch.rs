//! When each watched image is asked for, pulled and tagged. Pure: the driver makes the calls.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::hash::fnv1a;
use crate::model::image::{ImageAnswer, ImageRequest, ImageStep, ImageTarget, RegistryObservation};
use crate::model::time::Moment;

/// Requests at once.
pub(crate) const AT_ONCE: usize = 64;
/// A start of the daemon does not ask for all images at once.
const FIRST_MAX: Duration = Duration::from_secs(10);
/// Longest wait after failures, unless the interval is longer.
const BACKOFF_MAX: Duration = Duration::from_secs(3600);

#[derive(Default)]
pub(crate) struct ImageWatch {
    /// By image: services that name the same one share a request.
    watched: BTreeMap<String, RegistryPoll>,
    /// What is known, by image.
    pub(crate) seen: BTreeMap<String, RegistryObservation>,
    /// Tags to move.
    tags: Vec<ImageRequest>,
}

struct RegistryPoll {
    every: Duration,
    next: Moment,
    /// A pull is not tried again before.
    pull_from: Moment,
    is_under_way: bool,
    failures: u32,
    ids: Vec<String>,
    wanted: Option<String>,
}

impl RegistryPoll {
    /// The answer to pull, if that is due.
    fn pull(&self, seen: &RegistryObservation, now: Moment) -> Option<ImageAnswer> {
        let answer = seen.answer.as_ref().filter(|answer| answer.id.is_none())?;
        let is_wanted = self.wanted.as_ref() == Some(&answer.digest) && self.pull_from <= now;
        is_wanted.then(|| answer.clone())
    }
}

/// A share of `span` that differs between images.
fn jitter(image: &str, span: Duration) -> Duration {
    let share = u32::try_from(fnv1a(image.as_bytes()) % 1000).unwrap_or(0);
    span / 1000 * share
}

impl ImageWatch {
    /// Images that are not among them any more are forgotten.
    pub(crate) fn watch(&mut self, targets: Vec<ImageTarget>, now: Moment) {
        let mut before = std::mem::take(&mut self.watched);
        for target in targets {
            let ImageTarget { image, every, ids, wanted } = target;
            if let Some(state) = self.watched.get_mut(&image) {
                state.every = state.every.min(every);
                state.ids.extend(ids);
                state.wanted = state.wanted.take().or(wanted);
                continue;
            }
            let first = now.plus(jitter(&image, FIRST_MAX.min(every / 4)));
            let mut state = before.remove(&image).unwrap_or(RegistryPoll {
                every,
                next: first,
                pull_from: now,
                is_under_way: false,
                failures: 0,
                ids: Vec::new(),
                wanted: None,
            });
            // A shorter interval holds at once.
            if every < state.every {
                state.next = state.next.min(now.plus(every));
            }
            state = RegistryPoll { every, ids, wanted, ..state };
            self.watched.insert(image, state);
        }
        let watched = &self.watched;
        self.seen.retain(|image, _| watched.contains_key(image));
    }

    pub(crate) fn tag(&mut self, image: String, digest: String) {
        if self.tags.len() < AT_ONCE {
            self.tags.push(ImageRequest { image, step: ImageStep::Tag(digest) });
        }
    }

    pub(crate) fn due(&mut self, now: Moment) -> Vec<ImageRequest> {
        let mut requests = std::mem::take(&mut self.tags);
        let under_way = self.under_way();
        for (image, state) in self.watched.iter_mut().filter(|(_, state)| !state.is_under_way) {
            let pull = self.seen.get(image).and_then(|seen| state.pull(seen, now));
            let step = match pull {
                Some(answer) => ImageStep::Pull(answer),
                None if state.next <= now => ImageStep::Ask(state.ids.clone()),
                None => continue,
            };
            if AT_ONCE <= requests.len() + under_way {
                break;
            }
            state.is_under_way = true;
            requests.push(ImageRequest { image: image.clone(), step });
        }
        requests
    }

    fn under_way(&self) -> usize {
        self.watched.values().filter(|state| state.is_under_way).count()
    }

    /// How long until something is due, answers apart.
    pub(crate) fn idle(&self, now: Moment) -> Option<Duration> {
        if !self.tags.is_empty() {
            return Some(Duration::ZERO);
        }
        if AT_ONCE <= self.under_way() {
            return None;
        }
        let waits = self.watched.iter().filter(|(_, state)| !state.is_under_way);
        let wait = |(image, state): (&String, &RegistryPoll)| {
            let pull = self.seen.get(image).and_then(|seen| state.pull(seen, now));
            if pull.is_some() { Duration::ZERO } else { state.next.since(now) }
        };
        waits.map(wait).min()
    }

    pub(crate) fn answered(
        &mut self,
        request: &ImageRequest,
        result: Result<Option<ImageAnswer>, String>,
        at: Moment,
    ) {
        let image = request.image.as_str();
        // The config may not name it any more.
        let Some(state) = self.watched.get_mut(image) else { return };
        let seen = self.seen.entry(image.to_owned()).or_default();
        if let ImageStep::Tag(_) = request.step {
            // Pins name the image; the tag is for people and for `docker run`.
            seen.error = result.err().or(seen.error.take());
            return;
        }
        state.is_under_way = false;
        match result {
            Ok(None) => (),
            Ok(Some(answer)) => {
                state.failures = 0;
                *seen = RegistryObservation { answer: Some(answer), error: None };
                state.next = at.plus(state.every + jitter(image, state.every / 10));
            }
            Err(error) => {
                state.failures = state.failures.saturating_add(1);
                seen.error = Some(error);
                let doubled = state.every.saturating_mul(1 << state.failures.min(7));
                let wait = doubled.min(BACKOFF_MAX.max(state.every));
                state.next = at.plus(wait + jitter(image, wait / 10));
                state.pull_from = state.next;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::controller::image_watch::{AT_ONCE, ImageWatch};
    use crate::model::image::{ImageAnswer, ImageRequest, ImageStep, ImageTarget};
    use crate::model::time::Moment;

    const EVERY: Duration = Duration::from_secs(600);

    fn target(image: &str, wanted: Option<&str>) -> ImageTarget {
        let wanted = wanted.map(str::to_owned);
        ImageTarget { image: image.to_owned(), every: EVERY, ids: vec!["i".to_owned()], wanted }
    }

    fn answer(digest: &str) -> ImageAnswer {
        ImageAnswer { digest: digest.to_owned(), ..ImageAnswer::default() }
    }

    fn request(step: ImageStep) -> ImageRequest {
        ImageRequest { image: "web".to_owned(), step }
    }

    /// A watch that was asked for `web` once, and the moment of that.
    fn asked() -> (ImageWatch, Moment) {
        let mut watch = ImageWatch::default();
        watch.watch(vec![target("web", None), target("web", None)], Moment(0));
        let first = Moment(0).plus(watch.idle(Moment(0)).unwrap());
        assert!(first < Moment(10_000), "{first:?}");
        let due = watch.due(first);
        assert_eq!(due.len(), 1, "one request for both services: {due:?}");
        assert!(watch.due(first).is_empty(), "it is under way");
        (watch, first)
    }

    #[test]
    fn an_image_is_asked_for_at_each_interval_and_its_failures_back_off() {
        let (mut watch, first) = asked();
        watch.answered(&request(ImageStep::Ask(Vec::new())), Ok(Some(answer("a"))), first);
        let wait = watch.idle(first).unwrap();
        assert!(EVERY <= wait && wait < EVERY * 11 / 10, "{wait:?}");
        let mut at = first.plus(wait);
        for least in [1200, 2400, 3600, 3600] {
            assert!(watch.due(Moment(at.0 - 1)).is_empty());
            assert_eq!(watch.due(at).len(), 1);
            watch.answered(
                &request(ImageStep::Ask(Vec::new())),
                Err("toomanyrequests".to_owned()),
                at,
            );
            let wait = watch.idle(at).unwrap();
            let least = Duration::from_secs(least);
            assert!(least <= wait && wait < least * 11 / 10, "{least:?}: {wait:?}");
            at = at.plus(wait);
        }
        let seen = &watch.seen["web"];
        assert_eq!(seen.error.as_deref(), Some("toomanyrequests"));
        assert_eq!(seen.answer, Some(answer("a")), "what was known stays");
        watch.watch(Vec::new(), at);
        assert!(watch.seen.is_empty() && watch.idle(at).is_none());
    }

    #[test]
    fn a_digest_is_pulled_when_it_is_wanted_and_not_at_once_again_after_a_failure() {
        let (mut watch, now) = asked();
        watch.answered(&request(ImageStep::Ask(Vec::new())), Ok(Some(answer("a"))), now);
        watch.watch(vec![target("web", Some("other"))], now);
        assert!(watch.due(now).is_empty(), "another digest");
        watch.watch(vec![target("web", Some("a"))], now);
        assert_eq!(watch.idle(now), Some(Duration::ZERO));
        assert_eq!(watch.due(now)[0].step, ImageStep::Pull(answer("a")));
        watch.answered(&request(ImageStep::Ask(Vec::new())), Err("down".to_owned()), now);
        assert!(watch.due(now).is_empty());
        let later = now.plus(watch.idle(now).unwrap());
        assert_eq!(watch.due(later)[0].step, ImageStep::Pull(answer("a")));
        let pulled = ImageAnswer { id: Some("i".to_owned()), ..answer("a") };
        watch.answered(&request(ImageStep::Ask(Vec::new())), Ok(Some(pulled)), later);
        assert!(watch.due(later).is_empty(), "it is here");
    }

    #[test]
    fn a_tag_that_moved_or_did_not_ends_no_question() {
        let (mut watch, now) = asked();
        let tag = || request(ImageStep::Tag("a".to_owned()));
        watch.answered(&tag(), Ok(None), now);
        assert_eq!(watch.idle(now), None, "the question is still under way");
        watch.answered(&tag(), Err("no such image".to_owned()), now);
        assert_eq!(watch.idle(now), None);
        assert_eq!(watch.seen["web"].error.as_deref(), Some("no such image"));
        watch.answered(&tag(), Ok(None), now);
        assert_eq!(watch.seen["web"].error.as_deref(), Some("no such image"), "until an answer");
        watch.answered(&request(ImageStep::Ask(Vec::new())), Ok(Some(answer("a"))), now);
        assert_eq!(watch.seen["web"].error, None);
    }

    #[test]
    fn questions_under_way_are_bounded() {
        let mut watch = ImageWatch::default();
        let names: Vec<String> = (0..2 * AT_ONCE).map(|n| format!("web{n}")).collect();
        watch.watch(names.iter().map(|name| target(name, None)).collect(), Moment(0));
        let later = Moment(60_000);
        let first = watch.due(later);
        assert_eq!((first.len(), watch.due(later).len()), (AT_ONCE, 0));
        assert_eq!(watch.idle(later), None, "an answer comes first");
        watch.answered(&first[0], Ok(Some(answer("a"))), later);
        assert_eq!(watch.due(later).len(), 1);
    }
}
