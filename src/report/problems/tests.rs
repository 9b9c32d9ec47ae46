//! Made-up statuses and events, and the list that comes of them.

use std::sync::Arc;

use crate::model::bounds::Bounds;
use crate::model::decision::{Counts, Decision};
use crate::model::event::{Event, Kind};
use crate::model::problem::{ProblemKind, ProblemSeverity};
use crate::model::reason::{AppliedRule, Rule};
use crate::model::replica::Load;
use crate::model::schedule::EffectiveSchedule;
use crate::model::service::{Service, ServiceName};
use crate::model::status::{ReplicaState, ReplicaStatus, ServiceStatus, Status};
use crate::model::time::{Moment, Wall};
use crate::report::problems::{FAILURES_MAX, Problems, fixes};

pub(crate) fn service(name: &str, desired: u32, replicas: &[(u32, ReplicaState)]) -> ServiceStatus {
    let is_ready = |(_, state): &&(u32, ReplicaState)| *state == ReplicaState::Ready;
    let ready = u32::try_from(replicas.iter().filter(is_ready).count()).unwrap();
    let replica = |(number, state): &(u32, ReplicaState)| ReplicaStatus {
        name: format!("{name}-{number}"),
        container: String::new(),
        node: None,
        state: *state,
        address: None,
        cpu: Load::Missing,
        memory: Load::Missing,
        sessions: None,
        server_check: None,
        error: None,
        log: Vec::new(),
        started: None,
        restarts: 0,
        is_healthy: None,
        awaits_hook: false,
        drain: None,
    };
    let decision = Decision {
        from: desired,
        desired,
        effective: EffectiveSchedule {
            bounds: Bounds::exactly(desired),
            scaling: true,
            window: None,
        },
        counts: Counts { ready, ..Counts::default() },
        samples: Vec::new(),
        measured: Vec::new(),
        forecast: None,
        because: vec![AppliedRule { rule: Rule::NoMetric, number: desired }],
    };
    ServiceStatus {
        name: name.to_owned(),
        listen: None,
        decision,
        windows: Vec::new(),
        has_hours: false,
        hold: None,
        pause: None,
        rollout: None,
        suspect: false,
        last_change: None,
        record: None,
        replicas: replicas.iter().map(replica).collect(),
        course: Arc::default(),
        service: Arc::new(Service::gone(ServiceName::new("web").unwrap())),
        last_failure: None,
        traffic: None,
        preemptions: Vec::new(),
        raise: None,
        sleep: None,
    }
}

pub(crate) fn status(at: i64, services: Vec<ServiceStatus>) -> Status {
    Status {
        config_file: None,
        now: Moment::default(),
        at: Wall(at),
        started: Moment::default(),
        check_interval: std::time::Duration::from_secs(15),
        dry_run: false,
        last_good: None,
        docker_error: None,
        proxy_error: None,
        old_proxies: Some(0),
        processor: None,
        certificates: Vec::new(),
        services,
        orphans: Vec::new(),
        labels: Vec::new(),
        nodes: Vec::new(),
        problems: Vec::new(),
    }
}

/// Each problem as `since kind service: message`.
fn shown(problems: &mut Problems, mut status: Status) -> Vec<String> {
    problems.complete(&mut status);
    let row = |p: &crate::model::problem::ActiveProblem| {
        let subject = p.replica.as_ref().or(p.service.as_ref()).map_or("-", String::as_str);
        format!("{} {} {subject}: {}", p.since.0, p.kind.word(), p.message)
    };
    status.problems.iter().map(row).collect()
}

fn failed(kind: Kind, replica: &str, message: &str) -> Event {
    Event::new(kind, message).service("web").replica(replica.to_owned())
}

const NOT_FOUND: &str = "GET http://10.0.0.2:80/health answered 404; 200-399 is healthy";

#[test]
fn a_service_without_a_ready_replica_names_the_cause_and_keeps_its_age() {
    let mut problems = Problems::default();
    let starting = || service("web", 1, &[(1, ReplicaState::Starting)]);
    let none: Vec<String> = Vec::new();
    // A replica that starts is no problem, unless it takes two minutes.
    assert_eq!(shown(&mut problems, status(100, vec![starting()])), none);
    assert_eq!(shown(&mut problems, status(219, vec![starting()])), none);
    let late = "100 service.none_ready web: its only replica is not ready";
    assert_eq!(shown(&mut problems, status(220, vec![starting()])), [late]);
    let event = failed(Kind::ReplicaNotReady, "web-1", NOT_FOUND);
    assert!(problems.note(&event, Wall(221)));
    let caused = format!("{late}: web-1: {NOT_FOUND}");
    assert_eq!(shown(&mut problems, status(221, vec![starting()])), [caused.as_str()]);
    // The replica is replaced: what is known of the last one counts.
    let replaced = service("web", 1, &[(2, ReplicaState::Starting)]);
    assert_eq!(shown(&mut problems, status(222, vec![replaced])), [caused.as_str()]);
    let ready = service("web", 1, &[(2, ReplicaState::Ready)]);
    assert_eq!(shown(&mut problems, status(223, vec![ready])), none);
    // Whole again, it begins anew.
    assert_eq!(shown(&mut problems, status(224, vec![starting()])), none);
}

#[test]
fn beside_ready_replicas_each_failing_one_is_a_problem() {
    let mut problems = Problems::default();
    let log = "exit code 1; its last log lines:\nlistening\nno DATABASE_URL\n";
    problems.note(&failed(Kind::ReplicaExited, "web-2", log), Wall(7));
    let all = [(1, ReplicaState::Ready), (2, ReplicaState::Exited)];
    let mut seen = status(9, vec![service("web", 2, &all)]);
    problems.complete(&mut seen);
    let [problem] = &seen.problems[..] else { panic!("{:?}", seen.problems) };
    let want = "web-2: exit code 1; its last log line: no DATABASE_URL";
    assert_eq!((problem.kind, problem.message.as_str()), (ProblemKind::ReplicaFailed, want));
    assert_eq!(problem.replica.as_deref(), Some("web-2"));
    assert_eq!(seen.services[0].replicas[1].log, ["listening", "no DATABASE_URL"]);
    assert_eq!(seen.services[0].last_failure.as_ref().unwrap().at, Wall(7));
    // One that drains, or is stopped on purpose, has none.
    let all = [(1, ReplicaState::Ready), (2, ReplicaState::Stopping)];
    assert!(shown(&mut problems, status(10, vec![service("web", 2, &all)])).is_empty());
}

#[test]
fn what_an_event_begins_another_ends() {
    let mut problems = Problems::default();
    let on = |kind, message: &str| Event::new(kind, message);
    let lists = |problems: &mut Problems, at| shown(problems, status(at, Vec::new()));
    assert!(problems.note(&on(Kind::ConfigRejected, "line 3:\nno such key"), Wall(1)));
    assert_eq!(lists(&mut problems, 1), ["1 config.rejected -: line 3: no such key"]);
    assert!(problems.note(&on(Kind::StateNotSaved, "full"), Wall(2)));
    let both = ["2 state.not_saved -: full", "1 config.rejected -: line 3: no such key"];
    assert_eq!(lists(&mut problems, 2), both, "critical ones first");
    assert!(problems.note(&Event::resolved(Kind::StateNotSaved, "stored"), Wall(3)));
    assert!(problems.note(&on(Kind::ConfigReloaded, ""), Wall(3)));
    assert!(lists(&mut problems, 3).is_empty());
    assert!(!problems.note(&on(Kind::ConfigReloaded, ""), Wall(4)), "nothing to end");
    assert!(!problems.note(&on(Kind::ScaleUp, ""), Wall(4)), "no trouble");
}

#[test]
fn a_service_takes_its_problems_along() {
    let mut problems = Problems::default();
    let words = "2 failures in a row, next start in 10s";
    problems.note(&Event::new(Kind::CrashLoop, words).service("web"), Wall(1));
    let web = service("web", 1, &[(1, ReplicaState::Ready)]);
    let row = "1 health.crash_loop web: 2 failures in a row";
    assert_eq!(shown(&mut problems, status(1, vec![web.clone()])), [row]);
    // The failure is kept though another replica serves.
    problems.note(&failed(Kind::ReplicaExited, "web-2", "exit code 1"), Wall(1));
    let caused = format!("{row}: web-2: exit code 1");
    assert_eq!(shown(&mut problems, status(1, vec![web])), [caused]);
    assert!(shown(&mut problems, status(2, Vec::new())).is_empty());
}

#[test]
fn deaths_of_haproxy_are_counted_for_an_hour() {
    let mut problems = Problems::default();
    let died = Event::new(Kind::ProxyDied, "");
    problems.note(&died, Wall(0));
    problems.note(&died, Wall(10));
    for (at, want) in [
        (3599, "HAProxy died 2 times within the last hour and was started again"),
        (3600, "HAProxy died once within the last hour and was started again"),
        (3610, ""),
    ] {
        let rows = shown(&mut problems, status(at, Vec::new()));
        assert_eq!(rows.len(), usize::from(!want.is_empty()), "{rows:?}");
        assert!(rows.iter().all(|row| row.ends_with(want)), "{rows:?}");
    }
}

#[test]
fn docker_and_haproxy_come_from_the_status() {
    let mut problems = Problems::default();
    let mut lost = status(5, vec![service("web", 1, &[])]);
    lost.docker_error = Some("no such socket".to_owned());
    lost.proxy_error = Some("haproxy does not answer".to_owned());
    lost.old_proxies = None;
    lost.orphans = vec!["old".to_owned()];
    // HAProxy may be about to start.
    let rows = shown(&mut problems, lost.clone());
    assert!(rows.len() == 2 && !rows.iter().any(|row| row.contains("haproxy.down")), "{rows:?}");
    lost.at = Wall(9);
    assert_eq!(shown(&mut problems, lost.clone()), rows);
    lost.at = Wall(10);
    let rows = shown(&mut problems, lost.clone());
    let want = [
        "5 docker.lost -: no such socket",
        "5 haproxy.down -: haproxy does not answer",
        "5 service.orphaned old: it is not in the config, but its containers still run",
    ];
    assert_eq!(rows, want);
    lost.old_proxies = Some(0);
    assert!(shown(&mut problems, lost).iter().any(|row| row.contains("haproxy.reload_failed")));
}

#[test]
fn an_orphan_hides_no_problem_of_a_service_that_began_later() {
    let mut problems = Problems::default();
    let mut seen = status(5, vec![service("web", 1, &[])]);
    seen.orphans = vec!["old".to_owned()];
    assert_eq!(shown(&mut problems, seen.clone()).len(), 1);
    seen.at = Wall(9);
    problems.note(&Event::new(Kind::ConfigRejected, "line 3"), Wall(9));
    let rows = shown(&mut problems, seen);
    assert!(rows[0].starts_with("9 config.rejected") && rows[1].starts_with("5 "), "{rows:?}");
}

#[test]
fn failures_without_end_take_no_memory_without_end() {
    let mut problems = Problems::default();
    for n in 0..10 * FAILURES_MAX {
        problems.note(&failed(Kind::ReplicaExited, &format!("web-{n}"), "exit code 1"), Wall(1));
        problems.note(&Event::new(Kind::ProxyDied, ""), Wall(1));
    }
    assert_eq!(problems.failures["web"].len(), FAILURES_MAX);
}

#[test]
fn the_fix_follows_the_cause() {
    let of = |message| fixes::fix(ProblemKind::NoneReady, Some("web"), message);
    for (message, want) in [
        (NOT_FOUND, "set health_check.path of web to a path"),
        ("web-1: exit code 0", "must keep running in the foreground"),
        ("web-1: exit code 1", "the app ends by itself: see its log in `plimsoll status web`"),
        ("out of memory, exit code 137", "raise `memory` of web"),
        ("connect to 10.0.0.2:80: Connection refused (os error 111)", "listen on 0.0.0.0"),
        ("GET http://a/: no answer within 5000 ms", "raise health_check.timeout"),
        ("image web:2 is not on this host", "`docker pull` the image"),
        ("the image has no HEALTHCHECK; give it", "health_check.type"),
        ("its only replica is not ready", "`plimsoll status web` shows each replica"),
    ] {
        assert!(of(message).contains(want), "{message}: {}", of(message));
    }
    for kind in ProblemKind::ALL {
        let fix = fixes::fix(*kind, Some("web"), "");
        assert!(!fix.is_empty() && !fix.contains('\n'), "{}", kind.word());
        assert!(kind.severity() <= ProblemSeverity::Warning);
    }
}
