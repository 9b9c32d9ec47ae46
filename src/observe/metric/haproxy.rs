//! HAProxy's counts to readings and to the traffic of a service, right across reloads.
//!
//! Each process counts for itself from 0. So requests are added up process by process, at every
//! tick. An old process is counted until its last client has left, if a metric needs that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::metric::{Field, Milli, Reading};
use crate::model::proxy::{BackendCounts, ProxySeen, ServiceTraffic, TrafficCounts};
use crate::model::time::Moment;
use crate::observe::metric::GAP_INTERVALS;

#[derive(Debug, Default)]
pub(crate) struct RequestCounter {
    /// False until the first answer: earlier requests belong to no reading of ours.
    begun: bool,
    /// By process and backend, at the last tick.
    last: BTreeMap<(u32, String), Counted>,
    /// By backend.
    spans: BTreeMap<String, RequestSpan>,
    /// When each backend last had a session or a request, as far as a tick showed it.
    active: BTreeMap<String, Moment>,
}

/// Both count from the start of the process. A repeated request is two of `requests`.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    requests: u64,
    traffic: TrafficCounts,
}

/// Since the last reading.
#[derive(Debug)]
struct RequestSpan {
    since: Moment,
    requests: u64,
    /// What the time to the response was when it was last known.
    response_ms: Option<u64>,
    traffic: TrafficCounts,
    /// Since the first answer.
    total: TrafficCounts,
    /// Between the last two readings.
    recent: Option<(TrafficCounts, Duration)>,
}

impl RequestSpan {
    fn new(since: Moment) -> RequestSpan {
        RequestSpan {
            since,
            requests: 0,
            response_ms: None,
            traffic: TrafficCounts::default(),
            total: TrafficCounts::default(),
            recent: None,
        }
    }
}

impl RequestCounter {
    /// Call it at every tick with an answer, or a process may come and go unseen.
    pub(crate) fn add(&mut self, now: Moment, seen: &ProxySeen) {
        let before = std::mem::take(&mut self.last);
        for counts in &seen.counts {
            let key = (counts.process, counts.backend.clone());
            let BackendCounts { requests, traffic, .. } = *counts;
            // If it fell, that is another process by the same number. Of a new process, all
            // requests came since the last tick.
            let old = before.get(&key).filter(|old| old.requests <= requests);
            let old = old.copied().unwrap_or_default();
            let span = self.spans.entry(counts.backend.clone());
            let span = span.or_insert_with(|| RequestSpan::new(now));
            if self.begun {
                span.requests = span.requests.saturating_add(requests - old.requests);
                span.traffic = span.traffic.plus(traffic.minus(old.traffic));
                span.total = span.total.plus(traffic.minus(old.traffic));
            }
            if counts.is_current && 0 < counts.answered {
                span.response_ms = Some(counts.response_ms);
            }
            // A sum of several rows of HAProxy's can fall by what is under way between them.
            let traffic = traffic.max(old.traffic);
            self.last.insert(key, Counted { requests, traffic });
        }
        self.begun = true;
        self.active.retain(|backend, _| seen.counts.iter().any(|c| c.backend == *backend));
        for counts in &seen.counts {
            let old = before.get(&(counts.process, counts.backend.clone()));
            let is_busy = 0 < counts.sessions + counts.queue
                || old.is_none_or(|old| old.requests != counts.requests);
            let active = self.active.entry(counts.backend.clone()).or_insert(now);
            *active = if is_busy { now } else { *active };
        }
    }

    /// How long the backend had no session and no request. `None`: HAProxy does not show it.
    pub(crate) fn idle(&self, now: Moment, backend: &str) -> Option<Duration> {
        self.active.get(backend).map(|active| now.since(*active))
    }

    /// `seen` is what HAProxy showed at this tick, or why it did not answer.
    pub(crate) fn read(
        &self,
        (now, interval): (Moment, Duration),
        backend: &str,
        field: Field,
        seen: Result<&ProxySeen, &str>,
    ) -> Reading {
        let Some(span) = self.spans.get(backend) else { return Reading::Pending };
        let seen = match seen {
            Ok(seen) => seen,
            Err(why) => return Reading::Failed(why.to_owned()),
        };
        let own = || seen.counts.iter().filter(|c| c.backend == backend);
        if !own().any(|c| c.is_current) {
            return Reading::Failed(format!("haproxy does not show a backend {backend}"));
        }
        let sum = |of: fn(&BackendCounts) -> u64| own().map(of).fold(0, u64::saturating_add);
        let total = |count: u64| Reading::Total(Milli(count.saturating_mul(1000)));
        let passed = now.since(span.since);
        // A moment is too short for a rate, and what was long ago says nothing about now.
        let is_whole = interval / 2 <= passed && passed <= interval * GAP_INTERVALS;
        match field {
            Field::Sessions => total(sum(|c| c.sessions)),
            Field::Queue => total(sum(|c| c.queue)),
            Field::RequestRate | Field::ResponseTimeMs if !is_whole => Reading::Pending,
            Field::RequestRate => Reading::Total(rate(span.requests, passed)),
            // The average is of the last 1024 requests, whenever they were: without any, it would
            // stand for ever.
            Field::ResponseTimeMs if span.requests == 0 && sum(|c| c.sessions + c.queue) == 0 => {
                Reading::Average(Milli(0))
            }
            Field::ResponseTimeMs => match span.response_ms {
                Some(ms) => Reading::Average(Milli(ms.saturating_mul(1000))),
                None => Reading::Pending,
            },
        }
    }

    /// `None`: HAProxy does not show the backend.
    pub(crate) fn traffic(&self, backend: &str, seen: &ProxySeen) -> Option<ServiceTraffic> {
        let span = self.spans.get(backend)?;
        let own = || seen.counts.iter().filter(|c| c.backend == backend);
        own().find(|c| c.is_current)?;
        Some(ServiceTraffic {
            total: span.total,
            recent: span.recent,
            sessions: own().map(|c| c.sessions).sum(),
            queue: own().map(|c| c.queue).sum(),
            response_ms: span.response_ms,
        })
    }

    /// The next readings are of the time from now on. Not when there was no answer: the requests
    /// meanwhile are in the next one.
    pub(crate) fn mark(&mut self, now: Moment, interval: Duration) {
        // Those of a service that left the config go with its last process.
        let shown: BTreeSet<&String> = self.last.keys().map(|(_, backend)| backend).collect();
        self.spans.retain(|backend, span| 0 < span.requests || shown.contains(backend));
        for (backend, span) in &mut self.spans {
            let passed = now.since(span.since);
            if interval / 2 <= passed {
                let requests = span.requests;
                let ms = passed.as_millis();
                log::trace!("service={backend} haproxy_requests={requests} in_ms={ms}");
                span.recent = Some((std::mem::take(&mut span.traffic), passed));
                (span.since, span.requests) = (now, 0);
            }
        }
    }
}

/// Thousandths of a request a second.
fn rate(requests: u64, passed: Duration) -> Milli {
    let milli = u128::from(requests) * 1_000_000 / passed.as_millis().max(1);
    Milli(u64::try_from(milli).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::model::metric::{Field, Milli, Reading};
    use crate::model::proxy::{BackendCounts, ProxySeen, TrafficCounts};
    use crate::model::time::Moment;
    use crate::observe::metric::haproxy::RequestCounter;

    const INTERVAL: Duration = Duration::from_secs(10);

    /// Looks as `ms process:requests[/answered/response_ms]…[!]`, the current process first; `!`
    /// takes a reading. Gives the readings of this field.
    fn readings(field: Field, looks: &str) -> Vec<Reading> {
        let mut metrics_sink = RequestCounter::default();
        let mut readings = Vec::new();
        for look in looks.lines().map(str::trim).filter(|l| !l.is_empty()) {
            let mut words: Vec<&str> = look.split_whitespace().collect();
            let reads = words.pop_if(|w| *w == "!").is_some();
            let now = Moment(words[0].parse().unwrap());
            let counts = |(at, word): (usize, &&str)| {
                let (process, rest) = word.split_once(':').unwrap();
                let mut numbers = rest.split('/').map(|n| n.parse::<u64>().unwrap());
                let requests = numbers.next().unwrap();
                BackendCounts {
                    process: process.parse().unwrap(),
                    is_current: at == 0,
                    backend: "web".to_owned(),
                    sessions: 1,
                    queue: 2,
                    requests,
                    answered: numbers.next().unwrap_or(requests),
                    response_ms: numbers.next().unwrap_or(7),
                    traffic: TrafficCounts::default(),
                }
            };
            let counts = words[1..].iter().enumerate().map(counts).collect();
            let seen = ProxySeen { counts, ..ProxySeen::default() };
            let answers = 1 < words.len();
            if answers {
                metrics_sink.add(now, &seen);
            }
            if reads {
                let seen = if answers { Ok(&seen) } else { Err("away") };
                readings.push(metrics_sink.read((now, INTERVAL), "web", field, seen));
                if answers {
                    metrics_sink.mark(now, INTERVAL);
                }
            }
        }
        readings
    }

    #[track_caller]
    fn rates(looks: &str, want: &[Option<u64>]) {
        let rate = |n: &Option<u64>| n.map_or(Reading::Pending, |n| Reading::Total(Milli(n)));
        let want: Vec<Reading> = want.iter().map(rate).collect();
        assert_eq!(readings(Field::RequestRate, looks), want, "{looks}");
    }

    #[test]
    fn a_rate_is_of_the_time_between_two_readings() {
        rates("0 1:500 !\n 10000 1:600 !\n 20000 1:600 !", &[None, Some(10_000), Some(0)]);
        rates("0 1:500 !\n 3000 1:501 !\n 13000 1:513 !", &[None, None, Some(1_000)]);
        rates("0 1:5 !\n 5000 1:6 !", &[None, Some(200)]);
        rates("0 1:5 !\n 4999 1:6 !", &[None, None]);
        rates("0 1:5 !\n 30000 1:8 !", &[None, Some(100)]);
        rates("0 1:5 !\n 30001 1:8 !\n 40001 1:9 !", &[None, None, Some(100)]);
        rates("0 1:5\n 4000 1:7\n 10000 1:9 !", &[Some(400)]);
    }

    #[test]
    fn requests_are_neither_lost_nor_invented_across_reloads() {
        // The old process is seen to its end.
        rates("0 1:50 !\n 4000 2:1 1:60\n 6000 2:3 1:62\n 10000 2:7 !", &[None, Some(1_900)]);
        // It ends between two looks.
        rates("0 1:50 !\n 10000 2:7 !", &[None, Some(700)]);
        // Two reloads between two looks: the one in the middle is seen as an earlier one.
        rates("0 1:50 !\n 10000 3:1 2:2 1:51 !", &[None, Some(400)]);
        // A process that has the number of an earlier one.
        rates("0 1:50 !\n 10000 1:7 !\n 20000 1:8 !", &[None, Some(700), Some(100)]);
        // Requests that old processes counted before the first tick are not ours.
        rates("0 2:9 1:50 !\n 10000 2:10 1:51 !", &[None, Some(200)]);
    }

    #[test]
    fn a_look_without_an_answer_fails_and_loses_nothing() {
        let want =
            [Reading::Pending, Reading::Failed("away".to_owned()), Reading::Total(Milli(500))];
        let looks = "0 1:50 !\n 10000 !\n 20000 1:60 !";
        assert_eq!(readings(Field::RequestRate, looks), want);
        assert_eq!(readings(Field::Sessions, "0 !"), [Reading::Pending], "never seen yet");
    }

    #[test]
    fn what_is_open_now_is_that_of_all_processes() {
        let total = |n: u64| [Reading::Total(Milli(n * 1000))];
        assert_eq!(readings(Field::Sessions, "0 1:50 !"), total(1));
        assert_eq!(readings(Field::Sessions, "0 2:50 1:9 !"), total(2));
        assert_eq!(readings(Field::Queue, "0 2:50 1:9 !"), total(4));
    }

    #[test]
    fn a_backend_that_is_gone_is_a_failure() {
        let mut metrics_sink = RequestCounter::default();
        let counts = BackendCounts { backend: "web".to_owned(), ..BackendCounts::default() };
        let seen = |is_current| ProxySeen {
            counts: vec![BackendCounts { is_current, ..counts.clone() }],
            ..ProxySeen::default()
        };
        metrics_sink.add(Moment(0), &seen(true));
        let read = |seen: &ProxySeen, name: &str| {
            metrics_sink.read((Moment(0), INTERVAL), name, Field::Sessions, Ok(seen))
        };
        assert_eq!(read(&seen(true), "web"), Reading::Total(Milli(0)));
        let gone = Reading::Failed("haproxy does not show a backend web".to_owned());
        assert_eq!(read(&seen(false), "web"), gone);
        assert_eq!(read(&seen(true), "api"), Reading::Pending);
    }

    /// Of looks without a session, unlike those of `readings`.
    #[track_caller]
    fn response(sessions: u64, (requests, answered, ms): (u64, u64, u64), want: Reading) {
        let counts = |process, requests, answered, response_ms| ProxySeen {
            counts: vec![BackendCounts {
                process,
                is_current: true,
                backend: "web".to_owned(),
                sessions,
                queue: 0,
                requests,
                answered,
                response_ms,
                traffic: TrafficCounts::default(),
            }],
            ..ProxySeen::default()
        };
        let mut metrics_sink = RequestCounter::default();
        metrics_sink.add(Moment(0), &counts(1, 5, 5, 40));
        let now = counts(2, requests, answered, ms);
        metrics_sink.add(Moment(10_000), &now);
        let time = (Moment(10_000), INTERVAL);
        let got = metrics_sink.read(time, "web", Field::ResponseTimeMs, Ok(&now));
        assert_eq!(got, want, "{sessions} sessions, {requests} requests, {answered} answered");
    }

    #[test]
    fn the_time_to_the_response_is_0_when_idle_and_the_last_one_known_else() {
        let average = |ms: u64| Reading::Average(Milli(ms * 1000));
        response(0, (3, 3, 90), average(90));
        response(0, (0, 0, 0), average(0));
        response(1, (0, 0, 0), average(40));
        response(1, (1, 0, 0), average(40));
        response(1, (2, 1, 60), average(60));
        assert_eq!(readings(Field::ResponseTimeMs, "0 1:5/5/40 !"), [Reading::Pending]);
        assert_eq!(
            readings(Field::ResponseTimeMs, "0 1:0/0/0 !\n 10000 1:1/0/0 !"),
            [Reading::Pending, Reading::Pending]
        );
    }

    #[test]
    fn traffic_is_of_the_last_interval_and_since_the_first_answer() {
        let seen = |process, requests, errors_5xx| {
            let traffic = TrafficCounts { requests, errors_5xx, ..TrafficCounts::default() };
            let counts = BackendCounts {
                process,
                is_current: true,
                backend: "web".to_owned(),
                sessions: 3,
                queue: 1,
                requests,
                answered: requests,
                response_ms: 20,
                traffic,
            };
            ProxySeen { counts: vec![counts], ..ProxySeen::default() }
        };
        let mut counter = RequestCounter::default();
        let mut look = |at: u64, seen: &ProxySeen| {
            counter.add(Moment(at), seen);
            counter.mark(Moment(at), INTERVAL);
            let traffic = counter.traffic("web", seen).unwrap();
            let recent = traffic.recent.map(|(t, in_time)| (t.requests, t.errors_5xx, in_time));
            assert_eq!((traffic.sessions, traffic.queue, traffic.response_ms), (3, 1, Some(20)));
            (traffic.total.requests, traffic.total.errors_5xx, recent)
        };
        assert_eq!(look(0, &seen(1, 500, 9)), (0, 0, None));
        assert_eq!(look(10_000, &seen(1, 530, 10)), (30, 1, Some((30, 1, INTERVAL))));
        // A reload: the new process counts from 0.
        assert_eq!(look(20_000, &seen(2, 7, 2)), (37, 3, Some((7, 2, INTERVAL))));
        // Too soon for another rate.
        assert_eq!(look(24_999, &seen(2, 8, 2)), (38, 3, Some((7, 2, INTERVAL))));
        // An error that was counted in one row and not yet in the other is counted once.
        assert_eq!(look(30_000, &seen(2, 9, 1)), (39, 3, Some((2, 0, INTERVAL))));
        assert_eq!(look(40_000, &seen(2, 10, 2)), (40, 3, Some((1, 0, INTERVAL))));
        assert_eq!(counter.traffic("web", &ProxySeen::default()), None);
        assert_eq!(counter.traffic("api", &seen(2, 10, 2)), None);
    }
}
