//! Asks remote metrics ahead of each look, so that a look never waits for one. A bounded pool: one
//! that hangs keeps one thread, for no longer than the timeout.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use crate::daemon::inbox::Event as Incoming;
use crate::daemon::pool;
use crate::model::config::Config;
use crate::model::metric::{Milli, Source};
use crate::model::time::Moment;
use crate::observe::metric::{self, Heard, Hearing};
use crate::outside::{Clock, Net, Result};

const THREADS: usize = 4;
const QUEUE: usize = 64;
/// An answer that comes later is of no use for the look that it was asked for.
const TIMEOUT_MAX: Duration = Duration::from_secs(2);
/// So long before a look its metrics are asked, at most.
const LEAD_MAX: Duration = Duration::from_secs(1);
/// Until there is room in the queue.
const CROWDED: Duration = Duration::from_millis(50);

pub(crate) struct Gauges {
    queue: SyncSender<Job>,
    watched: BTreeMap<Source, Watch>,
    /// What each said last.
    pub(crate) heard: Heard,
}

#[derive(Debug, Default)]
struct Watch {
    under_way: bool,
    /// The look that it was asked for last.
    asked_for: Option<Moment>,
    /// However far off the next look is.
    at_once: bool,
}

struct Job {
    source: Source,
    timeout: Duration,
}

impl Gauges {
    pub(crate) fn new(
        net: Arc<dyn Net>,
        clock: Arc<dyn Clock>,
        inbox: SyncSender<Incoming>,
    ) -> Result<Gauges> {
        let work = move |Job { source, timeout }| {
            let ask = || metric::ask(&*net, &source, timeout);
            let result = pool::ask(ask, "it was asked with a bug of plimsoll's");
            Incoming::Gauged { source, result, at: clock.now() }
        };
        let names = (0..THREADS).map(|n| format!("gauge-{n}"));
        let queue = pool::start(names, QUEUE, &inbox, work)?;
        Ok(Gauges { queue, watched: BTreeMap::new(), heard: BTreeMap::new() })
    }

    /// Every remote metric of the config is asked at once, and from now on. A source that several
    /// services name is asked once for all of them.
    pub(crate) fn watch(&mut self, config: &Config, now: Moment) {
        let metrics = config.services.values().flat_map(|s| &s.metrics);
        let sources = metrics.map(|m| &m.source).filter(|source| source.is_remote());
        let mut before = std::mem::take(&mut self.watched);
        for source in sources {
            let mut watch = before.remove(source).unwrap_or_default();
            watch.at_once = true;
            self.watched.entry(source.clone()).or_insert(watch);
            self.heard.entry(source.clone()).or_insert(Hearing { since: now, said: None });
        }
        self.heard.retain(|source, _| self.watched.contains_key(source));
    }

    /// Sends off what is due; gives how long nothing will be.
    pub(crate) fn send_due(
        &mut self,
        now: Moment,
        next_look: Moment,
        interval: Duration,
    ) -> Option<Duration> {
        let lead = LEAD_MAX.min(interval / 4);
        let is_soon = next_look <= now.plus(lead);
        let timeout = TIMEOUT_MAX.min(interval / 2);
        let mut crowded = false;
        let mut waits = false;
        for (source, watch) in self.watched.iter_mut().filter(|(_, w)| !w.under_way) {
            let asked = watch.asked_for == Some(next_look);
            if !watch.at_once && (asked || !is_soon) {
                waits |= !asked;
                continue;
            }
            if self.queue.try_send(Job { source: source.clone(), timeout }).is_err() {
                crowded = true;
                continue;
            }
            watch.under_way = true;
            watch.at_once = false;
            if is_soon {
                watch.asked_for = Some(next_look);
            } else {
                waits = true;
            }
        }
        let until_soon = next_look.since(now).saturating_sub(lead);
        let wait = waits.then_some(until_soon);
        crowded.then_some(CROWDED).into_iter().chain(wait).min()
    }

    pub(crate) fn answered(
        &mut self,
        source: &Source,
        result: std::result::Result<Milli, String>,
        at: Moment,
    ) {
        // The config may not name it any more.
        if let (Some(watch), Some(hearing)) =
            (self.watched.get_mut(source), self.heard.get_mut(source))
        {
            watch.under_way = false;
            hearing.said = Some((at, result));
        }
    }

    /// Nothing was asked that is not answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.watched.values().all(|watch| !watch.under_way && !watch.at_once)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::mpsc::{self, Receiver};
    use std::time::Duration;

    use crate::config;
    use crate::daemon::gauges::{Gauges, Job};
    use crate::model::config::Config;
    use crate::model::metric::{Metric, Milli, Source};
    use crate::model::service::Service;
    use crate::model::time::Moment;

    const S: Duration = Duration::from_secs(1);

    fn config(services: &[(&str, &[&str])]) -> Config {
        let names = services.iter().map(|(name, _)| {
            format!(
                r#""{name}": {{ "image": "a", "port": 80, "min_replicas": 1, "max_replicas": 1 }}"#
            )
        });
        let text = format!(r#"{{ "services": {{ {} }} }}"#, names.collect::<Vec<_>>().join(","));
        let mut config = config::parse("made up", &text).config.unwrap();
        for (service, (_, urls)) in config.services.values_mut().zip(services) {
            let metric = |url: &&str| Metric { source: http(url), target: Milli(1) };
            let local = Metric { source: Source::Cpu, target: Milli(1) };
            let metrics = urls.iter().map(metric).chain([local]).collect();
            *service = Arc::new(Service { metrics, ..Service::clone(service) });
        }
        config
    }

    fn http(url: &str) -> Source {
        Source::Http { url: url.to_owned(), pointer: String::new() }
    }

    /// Without threads: the test is the one who answers.
    fn gauges(room: usize) -> (Gauges, Receiver<Job>) {
        let (queue, jobs) = mpsc::sync_channel(room);
        (Gauges { queue, watched: BTreeMap::new(), heard: BTreeMap::new() }, jobs)
    }

    /// Answers what was sent off; gives the addresses and timeouts, and how long nothing is due.
    fn asked(
        gauges: &mut Gauges,
        jobs: &Receiver<Job>,
        (now, next): (u64, u64),
        interval: Duration,
    ) -> (Vec<String>, Option<u128>) {
        let wait = gauges.send_due(Moment(now), Moment(next), interval);
        let jobs: Vec<Job> = jobs.try_iter().collect();
        let shown = jobs.iter().map(|j| format!("{} {}", j.source, j.timeout.as_millis()));
        let shown = shown.collect();
        jobs.iter().for_each(|j| gauges.answered(&j.source, Ok(Milli(5)), Moment(now)));
        (shown, wait.map(|w| w.as_millis()))
    }

    #[test]
    fn each_source_is_asked_once_ahead_of_each_look() {
        let (mut gauges, jobs) = gauges(9);
        gauges.watch(&config(&[("a", &["u", "v"]), ("b", &["u"])]), Moment(0));
        let both = |ms: u64| vec![format!("http u {ms}"), format!("http v {ms}")];
        let mut ask = |time, interval| asked(&mut gauges, &jobs, time, interval);
        assert_eq!(ask((0, 0), 15 * S), (both(2000), None), "at once");
        assert_eq!(ask((5, 15_000), 15 * S), (vec![], Some(13_995)));
        assert_eq!(ask((13_999, 15_000), 15 * S), (vec![], Some(1)));
        assert_eq!(ask((14_000, 15_000), 15 * S), (both(2000), None));
        assert_eq!(ask((14_100, 15_000), 15 * S), (vec![], None));
        // A short interval has short leads and timeouts.
        assert_eq!(ask((15_000, 16_000), S), (vec![], Some(750)));
        assert_eq!(ask((15_750, 16_000), S), (both(500), None));
    }

    #[test]
    fn a_new_config_is_asked_for_at_once_and_what_it_leaves_out_is_forgotten() {
        let (mut gauges, jobs) = gauges(9);
        gauges.watch(&config(&[("a", &["u", "v"])]), Moment(0));
        asked(&mut gauges, &jobs, (0, 0), 15 * S);
        gauges.watch(&config(&[("a", &["v", "w"])]), Moment(5_000));
        let known: Vec<String> = gauges.heard.keys().map(Source::to_string).collect();
        assert_eq!(known, ["http v", "http w"]);
        assert_eq!(gauges.heard[&http("v")].said, Some((Moment(0), Ok(Milli(5)))));
        assert_eq!(gauges.heard[&http("w")].since, Moment(5_000));
        let both = vec!["http v 2000".to_owned(), "http w 2000".to_owned()];
        let first = asked(&mut gauges, &jobs, (5_000, 15_000), 15 * S);
        assert_eq!(first, (both.clone(), Some(9_000)), "at once");
        let second = asked(&mut gauges, &jobs, (14_000, 15_000), 15 * S);
        assert_eq!(second, (both, None), "and ahead of the look");
        // An answer of one that is forgotten comes late.
        gauges.answered(&http("u"), Ok(Milli(1)), Moment(0));
        assert!(!gauges.heard.contains_key(&http("u")));
    }

    #[test]
    fn one_that_hangs_is_not_asked_twice_and_a_full_queue_is_tried_again() {
        let (mut gauges, jobs) = gauges(1);
        gauges.watch(&config(&[("a", &["u", "v"])]), Moment(0));
        assert_eq!(gauges.send_due(Moment(0), Moment(0), S).unwrap().as_millis(), 50);
        assert_eq!(jobs.recv().unwrap().source, http("u"));
        assert_eq!(gauges.send_due(Moment(50), Moment(1_000), S).unwrap().as_millis(), 700);
        assert_eq!(jobs.recv().unwrap().source, http("v"));
        assert_eq!(gauges.send_due(Moment(900), Moment(1_000), S), None);
        assert!(jobs.try_recv().is_err() && !gauges.is_idle());
        for url in ["u", "v"] {
            gauges.answered(&http(url), Err("too late".to_owned()), Moment(950));
        }
        assert!(gauges.is_idle());
    }
}
