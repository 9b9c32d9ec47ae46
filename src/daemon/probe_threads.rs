//! Sends probes on a bounded pool: one that hangs keeps one thread, for no longer than its timeout.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use crate::controller::LoopEvent;
use crate::controller::prober::AT_ONCE;
use crate::daemon::inbox::Incoming;
use crate::daemon::pool::{self, Pool};
use crate::model::metric_event::{MetricEvent, ProbeFailureReason};
use crate::observe::health::{self, ProbeOutcome, ProbeTarget};
use crate::outside::{Clock, Error, MetricsSink, Net, Result};

pub(crate) struct ProbeThreads {
    pool: Pool<ProbeTarget>,
}

impl ProbeThreads {
    pub(crate) fn new(
        net: Arc<dyn Net>,
        clock: Arc<dyn Clock>,
        metrics_sink: MetricsSink,
        inbox: &SyncSender<Incoming>,
    ) -> Result<ProbeThreads> {
        let work = move |target: ProbeTarget| {
            let probe = || Ok(timed(&*net, &target, &*clock, &metrics_sink));
            let outcome =
                pool::ask(probe, "internal error in plimsoll (please report); see the log");
            let outcome = outcome.unwrap_or_else(ProbeOutcome::NotAsked);
            Some(Incoming::Loop(LoopEvent::Probed { id: target.id, run: target.run, outcome }))
        };
        let pool = Pool::new("probe", AT_ONCE, AT_ONCE, inbox);
        pool.start(work)?;
        Ok(ProbeThreads { pool })
    }

    /// The result comes by the inbox.
    pub(crate) fn send(&self, target: ProbeTarget) {
        // There is room for as many as the controller sends.
        self.pool.send(target);
    }
}

/// A probe that could not be sent is not counted.
fn timed(
    net: &dyn Net,
    target: &ProbeTarget,
    clock: &dyn Clock,
    metrics_sink: &MetricsSink,
) -> ProbeOutcome {
    let begun = clock.fine();
    let service = &target.service;
    let result = health::probe(net, &service.health, target.run.address);
    let took = clock.fine().saturating_sub(begun);
    if let Some(err) = result.as_ref().err().filter(|err| err.is_own_want()) {
        return ProbeOutcome::NotAsked(err.to_string());
    }
    let failure = result.as_ref().err().map(|err| cause(err, took, service.health.timeout));
    metrics_sink(MetricEvent::Probe { service: service.name.as_str(), took, failure });
    match result {
        Ok(()) => ProbeOutcome::Passed,
        Err(err) => ProbeOutcome::Failed(err.to_string()),
    }
}

/// An answer that does not pass the check has no source error.
fn cause(err: &Error, took: Duration, timeout: Duration) -> ProbeFailureReason {
    let source = std::error::Error::source(err);
    let kind = source.and_then(|s| s.downcast_ref::<io::Error>()).map(|err| err.kind());
    match (source, kind) {
        _ if timeout <= took => ProbeFailureReason::Timeout,
        (_, Some(ErrorKind::TimedOut | ErrorKind::WouldBlock)) => ProbeFailureReason::Timeout,
        (_, Some(ErrorKind::ConnectionRefused)) => ProbeFailureReason::Refused,
        (Some(_), _) => ProbeFailureReason::Other,
        (None, _) => ProbeFailureReason::Answer,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;
    use std::sync::mpsc::{self, Receiver};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use crate::config;
    use crate::controller::LoopEvent;
    use crate::controller::prober::Prober;
    use crate::daemon::inbox::Incoming;
    use crate::daemon::probe_threads::{ProbeThreads, cause};
    use crate::model::endpoint::Endpoint;
    use crate::model::event::{Event, Kind};
    use crate::model::health::HttpCheck;
    use crate::model::metric_event::ProbeFailureReason;
    use crate::model::replica::{ContainerId, Health};
    use crate::model::time::{Moment, Wall};
    use crate::observe::health::ProbeTarget;
    use crate::observe::health::probe_results::ReplicaRun;
    use crate::outside::{Clock, Error, Net, Result};

    /// The last answer is given again and again.
    struct Script(Mutex<Vec<Answer>>);

    #[derive(Clone, Copy)]
    enum Answer {
        Pass,
        Refused,
        /// The number of an error of the system's.
        Want(i32),
        Bug,
    }

    impl Net for Script {
        fn get_status(&self, _: SocketAddr, _: &HttpCheck, _: Duration) -> Result<u16> {
            unreachable!("the check is a connection")
        }
        fn connect(&self, _: SocketAddr, _: Duration) -> Result<()> {
            let answer = *self.0.lock().unwrap().last().unwrap();
            let io = |err: io::Error| Err(Error::caused("connect", err));
            match answer {
                Answer::Pass => Ok(()),
                Answer::Refused => io(io::ErrorKind::ConnectionRefused.into()),
                Answer::Want(number) => io(io::Error::from_raw_os_error(number)),
                Answer::Bug => panic!("a planted bug"),
            }
        }
        fn get(&self, _: &Endpoint, _: u64, _: Duration) -> Result<(u16, Vec<u8>)> {
            unreachable!("a probe reads no body")
        }
    }

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Moment {
            Moment(0)
        }
        fn wall(&self) -> Wall {
            Wall(0)
        }
    }

    fn probes(answers: &Arc<Script>) -> (Prober, ProbeThreads, Receiver<Incoming>) {
        let text = r#"{ "services": { "web": { "image": "a", "port": 80, "max_replicas": 1,
            "health_check": { "type": "tcp", "interval": "1s", "timeout": "1s" } } } }"#;
        let config = config::parse("made up", text).config.unwrap();
        let (sender, inbox) = mpsc::sync_channel(9);
        let threads =
            ProbeThreads::new(answers.clone(), Arc::new(Still), Arc::new(|_| ()), &sender).unwrap();
        let mut prober = Prober::new(true);
        let target = ProbeTarget {
            id: ContainerId("a".to_owned()),
            number: 1,
            run: ReplicaRun { address: "127.0.0.1:1".parse().unwrap(), started: None },
            service: config.services.values().next().unwrap().clone(),
            docker_health: None,
            is_awaited: false,
            is_served: true,
            after_ready: None,
            was_ready: true,
            is_leaving: false,
        };
        prober.watch(vec![target], &[ContainerId("a".to_owned())], Moment(0));
        (prober, threads, inbox)
    }

    #[test]
    fn what_could_not_be_asked_for_our_own_want_is_neither_a_pass_nor_a_failure() {
        let script = Arc::new(Script(Mutex::default()));
        let (mut prober, threads, inbox) = probes(&script);
        let mut now = Moment(0);
        let mut events: Vec<Event> = Vec::new();
        let mut ask = |answer| {
            script.0.lock().unwrap().push(answer);
            now = now.plus(Duration::from_secs(2));
            let due = prober.due(now);
            assert_eq!(due.len(), 1);
            threads.send(due[0].clone());
            assert!(prober.idle(now).is_none());
            let Ok(Incoming::Loop(LoopEvent::Probed { id, run, outcome })) =
                inbox.recv_timeout(Duration::from_secs(10))
            else {
                panic!("no probe came back");
            };
            events.extend(prober.answered(&id, run, outcome, now).1);
            prober.results[&id].1.clone()
        };
        assert_eq!(ask(Answer::Pass), Health::Healthy);
        // No memory, no files of this process or at all, no buffers; and what is no want.
        for number in [12, 23, 24, 105, 12, 24] {
            assert_eq!(ask(Answer::Want(number)), Health::Healthy, "{number}");
        }
        assert_eq!(ask(Answer::Bug), Health::Healthy);
        // The failures that count are those in a row, whatever could not be asked between them.
        assert_eq!(ask(Answer::Refused), Health::Healthy);
        assert_eq!(ask(Answer::Want(24)), Health::Healthy);
        assert_eq!(ask(Answer::Refused), Health::Healthy);
        assert_eq!(ask(Answer::Want(24)), Health::Healthy);
        assert!(matches!(ask(Answer::Want(111)), Health::Unhealthy { .. }));
        // And one that is unhealthy stays so.
        assert!(matches!(ask(Answer::Want(24)), Health::Unhealthy { .. }));
        (0..5).for_each(|_| drop(ask(Answer::Pass)));
        let told: Vec<String> = events.iter().map(Event::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(events.iter().all(|event| event.kind == Kind::HealthNotProbed), "{told:?}");
        assert!(told[0].contains("Cannot allocate memory") && told[1].contains("resolved: "));
    }

    #[test]
    fn a_failure_has_one_of_few_causes() {
        let io = |kind: io::ErrorKind| Error::caused("GET", io::Error::from(kind));
        let soon = Duration::from_millis(999);
        let timeout = Duration::from_secs(1);
        for (err, took, want) in [
            (Error::new("answered 500"), soon, ProbeFailureReason::Answer),
            (Error::new("no answer within 1000 ms"), timeout, ProbeFailureReason::Timeout),
            (io(io::ErrorKind::TimedOut), soon, ProbeFailureReason::Timeout),
            (io(io::ErrorKind::ConnectionRefused), soon, ProbeFailureReason::Refused),
            (io(io::ErrorKind::ConnectionReset), soon, ProbeFailureReason::Other),
        ] {
            assert_eq!(cause(&err, took, timeout), want, "{err}");
        }
    }
}
