//! When each remote metric is read: ahead of every evaluation, so that none waits for one. Pure:
//! the driver of the controller does the reads.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::config::Config;
use crate::model::metric::{Milli, Source};
use crate::model::time::Moment;
use crate::observe::metric::{RemoteMetrics, RemoteReading};

/// Reads at once.
pub(crate) const AT_ONCE: usize = 64;
/// An answer that comes later is of no use for the evaluation that it was read for.
const TIMEOUT_MAX: Duration = Duration::from_secs(2);
/// Metrics are read at most this long before an evaluation.
const LEAD_MAX: Duration = Duration::from_secs(1);
/// Between two tries while there is no room.
const CROWDED: Duration = Duration::from_millis(50);

#[derive(Default)]
pub(crate) struct MetricPoller {
    watched: BTreeMap<Source, PollState>,
    /// The last reading of each.
    pub(crate) remote_metrics: RemoteMetrics,
}

#[derive(Debug, Default)]
struct PollState {
    is_under_way: bool,
    /// The evaluation that it was read for last.
    read_for: Option<Moment>,
    /// However far off the next evaluation is.
    at_once: bool,
}

/// When the metrics are used next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evaluation {
    pub(crate) at: Moment,
    pub(crate) interval: Duration,
}

impl Evaluation {
    fn lead(self) -> Duration {
        LEAD_MAX.min(self.interval / 4)
    }
}

/// A metric to read now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetricRead {
    pub(crate) source: Source,
    pub(crate) timeout: Duration,
}

impl MetricPoller {
    /// Every remote metric of the config is read at once, and from now on. A source that several
    /// services name is read once for all of them.
    pub(crate) fn watch(&mut self, config: &Config, now: Moment) {
        let metrics = config.services.values().flat_map(|s| &s.metrics);
        let sources = metrics.map(|m| &m.source).filter(|source| source.is_remote());
        let mut before = std::mem::take(&mut self.watched);
        for source in sources {
            let mut watch = before.remove(source).unwrap_or_default();
            watch.at_once = true;
            self.watched.entry(source.clone()).or_insert(watch);
            self.remote_metrics
                .entry(source.clone())
                .or_insert(RemoteReading { since: now, said: None });
        }
        self.remote_metrics.retain(|source, _| self.watched.contains_key(source));
    }

    /// The metrics to read now. Each result comes back by `answered`.
    pub(crate) fn due(&mut self, now: Moment, next: Evaluation) -> Vec<MetricRead> {
        let is_soon = next.at <= now.plus(next.lead());
        let timeout = TIMEOUT_MAX.min(next.interval / 2);
        let mut room = AT_ONCE.saturating_sub(self.under_way());
        let mut reads = Vec::new();
        for (source, watch) in self.watched.iter_mut().filter(|(_, w)| !w.is_under_way) {
            let is_due = watch.at_once || is_soon && watch.read_for != Some(next.at);
            if !is_due || room == 0 {
                continue;
            }
            room -= 1;
            watch.is_under_way = true;
            watch.at_once = false;
            if is_soon {
                watch.read_for = Some(next.at);
            }
            reads.push(MetricRead { source: source.clone(), timeout });
        }
        reads
    }

    /// How long until a read is due; `None`: none will be before the evaluation.
    pub(crate) fn idle(&self, now: Moment, next: Evaluation) -> Option<Duration> {
        let until_soon = next.at.since(now).saturating_sub(next.lead());
        let wait = |watch: &PollState| match watch {
            _ if watch.at_once => Some(Duration::ZERO),
            _ if watch.read_for != Some(next.at) => Some(until_soon),
            _ => None,
        };
        let idle = self.watched.values().filter(|w| !w.is_under_way).filter_map(wait).min()?;
        Some(idle.max(if AT_ONCE <= self.under_way() { CROWDED } else { Duration::ZERO }))
    }

    pub(crate) fn answered(&mut self, source: &Source, result: Result<Milli, String>, at: Moment) {
        // The config may not name it any more.
        if let (Some(watch), Some(hearing)) =
            (self.watched.get_mut(source), self.remote_metrics.get_mut(source))
        {
            watch.is_under_way = false;
            hearing.said = Some((at, result));
        }
    }

    /// No read is due at once, and every read was answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.watched.values().all(|watch| !watch.is_under_way && !watch.at_once)
    }

    fn under_way(&self) -> usize {
        self.watched.values().filter(|watch| watch.is_under_way).count()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use crate::config;
    use crate::controller::metric_poller::{AT_ONCE, Evaluation, MetricPoller};
    use crate::model::config::Config;
    use crate::model::endpoint::Endpoint;
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
        Source::Http { endpoint: Endpoint::new(url), pointer: String::new() }
    }

    fn next(at: u64, interval: Duration) -> Evaluation {
        Evaluation { at: Moment(at), interval }
    }

    /// Answers every read that is due; returns addresses and timeouts, and how long none is due.
    fn asked(
        poller: &mut MetricPoller,
        (now, at): (u64, u64),
        interval: Duration,
    ) -> (Vec<String>, Option<u128>) {
        let reads = poller.due(Moment(now), next(at, interval));
        let shown = reads.iter().map(|r| format!("{} {}", r.source, r.timeout.as_millis()));
        let shown = shown.collect();
        reads.iter().for_each(|r| poller.answered(&r.source, Ok(Milli(5)), Moment(now)));
        let wait = poller.idle(Moment(now), next(at, interval));
        (shown, wait.map(|w| w.as_millis()))
    }

    #[test]
    fn each_source_is_asked_once_ahead_of_each_look() {
        let mut poller = MetricPoller::default();
        poller.watch(&config(&[("a", &["u", "v"]), ("b", &["u"])]), Moment(0));
        let both = |ms: u64| vec![format!("http u {ms}"), format!("http v {ms}")];
        let mut ask = |time, interval| asked(&mut poller, time, interval);
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
        let mut poller = MetricPoller::default();
        poller.watch(&config(&[("a", &["u", "v"])]), Moment(0));
        asked(&mut poller, (0, 0), 15 * S);
        poller.watch(&config(&[("a", &["v", "w"])]), Moment(5_000));
        let known: Vec<String> = poller.remote_metrics.keys().map(Source::to_string).collect();
        assert_eq!(known, ["http v", "http w"]);
        assert_eq!(poller.remote_metrics[&http("v")].said, Some((Moment(0), Ok(Milli(5)))));
        assert_eq!(poller.remote_metrics[&http("w")].since, Moment(5_000));
        let both = vec!["http v 2000".to_owned(), "http w 2000".to_owned()];
        let first = asked(&mut poller, (5_000, 15_000), 15 * S);
        assert_eq!(first, (both.clone(), Some(9_000)), "at once");
        let second = asked(&mut poller, (14_000, 15_000), 15 * S);
        assert_eq!(second, (both, None), "and ahead of the look");
        // An answer of one that is forgotten comes late.
        poller.answered(&http("u"), Ok(Milli(1)), Moment(0));
        assert!(!poller.remote_metrics.contains_key(&http("u")));
    }

    #[test]
    fn one_that_hangs_is_not_read_twice_and_what_has_no_room_is_tried_again() {
        let urls: Vec<String> = (0..=AT_ONCE).map(|n| format!("u{n:02}")).collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let mut poller = MetricPoller::default();
        poller.watch(&config(&[("a", &urls)]), Moment(0));
        let soon = next(0, S);
        assert_eq!(poller.due(Moment(0), soon).len(), AT_ONCE);
        assert_eq!(poller.idle(Moment(0), soon).unwrap().as_millis(), 50);
        for url in ["u00", "u01"] {
            poller.answered(&http(url), Err("too late".to_owned()), Moment(50));
        }
        let last: Vec<String> =
            poller.due(Moment(50), soon).iter().map(|read| read.source.to_string()).collect();
        assert_eq!(last, [http(urls[AT_ONCE]).to_string()]);
        let later = next(1_000, S);
        assert_eq!(poller.idle(Moment(50), later).unwrap().as_millis(), 700);
        assert_eq!(poller.due(Moment(900), later).len(), 1, "there is room for one more");
        assert_eq!(poller.idle(Moment(900), later).unwrap().as_millis(), 50);
        assert!(!poller.is_idle());
        for url in urls {
            poller.answered(&http(url), Ok(Milli(1)), Moment(950));
        }
        assert!(poller.is_idle());
    }
}
