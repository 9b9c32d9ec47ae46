//! What is shown, as JSON. Names and units are a contract with programs; nothing else in the daemon
//! sees this shape.

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use crate::model::certificate::CertificateSeen;
use crate::model::decision::{Counts, MetricResult, ReplicaSample};
use crate::model::host::Host;
use crate::model::host_cpu::ProcessorState;
use crate::model::label_set::{LabelOutcome, LabelVerdict};
use crate::model::memory::{Hold, Pause};
use crate::model::metric::Milli;
use crate::model::preemption::Preemption;
use crate::model::problem::ActiveProblem;
use crate::model::proxy::{ServiceTraffic, TrafficCounts};
use crate::model::reason::AppliedRule;
use crate::model::replica::{Load, ServerCheck};
use crate::model::schedule::EffectiveSchedule;
use crate::model::service::{Percent, replica_name};
use crate::model::status::{
    DrainStatus, Failure, LastScale, Record, ReplicaState, ReplicaStatus, RolloutStatus,
    ServiceStatus, SleepStatus, Status,
};
use crate::model::swarm::SwarmNode;
use crate::model::time::{Moment, Wall};
use crate::serve::forecast_json;

/// What a replica waits for that passed its health check.
const HOOK_AWAITED: &str = "hook after_ready";
/// In seconds.
const WEEK: i64 = 7 * 24 * 3600;

pub(crate) fn status(status: &Status) -> Value {
    let one = |s: &ServiceStatus| {
        let mut out = service(status.now, s);
        merge(&mut out, json!({ "source": source(status, &s.name) }));
        out
    };
    let services: Vec<Value> = status.services.iter().map(one).collect();
    let certificates = status.certificates.iter().map(|seen| certificate(status.at, seen));
    let certificates: Vec<Value> = certificates.collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "config": status.config_file,
        "at": stamp(status.at),
        "uptime_s": status.now.since(status.started).as_secs(),
        "check_interval_s": status.check_interval.as_secs_f64(),
        "dry_run": status.dry_run,
        "last_good_s": status.last_good.map(|at| status.now.since(at).as_secs_f64()),
        "docker": { "answers": status.docker_error.is_none(), "error": status.docker_error },
        "haproxy": {
            "answers": status.old_proxies.is_some(),
            "error": status.proxy_error,
            "old_processes": status.old_proxies,
        },
        "processor": status.processor.map(processor),
        "services": services,
        "labels": status.labels.iter().map(labels).collect::<Vec<_>>(),
        "certificates": certificates,
        "orphans": status.orphans,
        "problems": status.problems.iter().map(problem).collect::<Vec<_>>(),
    })
}

fn processor(state: ProcessorState) -> Value {
    let percent = |share: Percent| share.hundredths() as f64 / 100.0;
    json!({
        "idle_percent": percent(state.idle),
        "pressure_percent": state.pressure.map(percent),
        "busy": state.is_busy,
        "reserve_percent": percent(state.reserve),
        "cores": state.cores,
    })
}

/// Where the settings of a service come from.
fn source(status: &Status, service: &str) -> String {
    let is_its = |verdict: &&LabelVerdict| match verdict.outcome {
        LabelOutcome::Applied | LabelOutcome::LastGood => verdict.name == service,
        LabelOutcome::Ignored | LabelOutcome::Rejected => false,
    };
    match status.labels.iter().find(is_its) {
        Some(verdict) => format!("container {}", verdict.container),
        None => "file".to_owned(),
    }
}

fn labels(verdict: &LabelVerdict) -> Value {
    json!({
        "service": verdict.name,
        "container": verdict.container,
        "outcome": verdict.outcome.word(),
        "errors": verdict.errors,
        "warnings": verdict.warnings,
    })
}

fn problem(problem: &ActiveProblem) -> Value {
    json!({
        "since": stamp(problem.since),
        "kind": problem.kind.word(),
        "service": problem.service,
        "replica": problem.replica,
        "severity": problem.kind.severity().word(),
        "message": problem.message,
        "fix": problem.fix,
    })
}

/// This one, or Swarm's nodes with this one among them.
pub(crate) fn hosts(own: &Host, status: Option<&Status>) -> Vec<Value> {
    let services = status.map(|status| status.services.as_slice()).unwrap_or_default();
    let replicas: Vec<&ReplicaStatus> = services.iter().flat_map(|s| &s.replicas).collect();
    let nodes = status.map(|status| status.nodes.as_slice()).unwrap_or_default();
    if nodes.is_empty() {
        return vec![host(own, &replicas)];
    }
    let one = |node: &SwarmNode| {
        let is_on = |replica: &&&ReplicaStatus| {
            let name = replica.node.as_ref();
            name.map_or(node.is_here, |name| *name == node.name)
        };
        let replicas: Vec<&ReplicaStatus> = replicas.iter().filter(is_on).copied().collect();
        // A manager sees of other nodes what they are, and not what they do.
        let far = Host { name: Some(node.name.clone()), cpus: Some(node.cpus), ..Host::default() };
        let mut out = host(if node.is_here { own } else { &far }, &replicas);
        let more = json!({
            "memory_bytes": node.memory,
            "node": node.id,
            "state": node.state,
            "availability": node.availability,
            "leader": node.leads,
        });
        merge(&mut out, more);
        out
    };
    nodes.iter().map(one).collect()
}

fn host(host: &Host, replicas: &[&ReplicaStatus]) -> Value {
    let runs = |replica: &&&ReplicaStatus| replica.state != ReplicaState::Exited;
    json!({
        "name": host.name,
        "cpus": host.cpus,
        "load": host.load,
        "memory_bytes": host.memory.map(|(total, _)| total),
        "memory_available_bytes": host.memory.map(|(_, available)| available),
        "containers": {
            "all": host.containers,
            "running": host.running,
            "ours": replicas.len(),
            "ours_running": replicas.iter().filter(runs).count(),
        },
        "error": host.error,
    })
}

/// Without its replicas.
pub(crate) fn service(now: Moment, service: &ServiceStatus) -> Value {
    let measured = service.record.as_ref().map(|record| metrics(&record.decision.measured));
    let mut out = json!({
        "name": service.name,
        "listen": service.listen.as_ref().map(|listen| listen.to_string()),
        "port": service.service.port,
        "origin": service.service.container.origin.to_string(),
        "routes": service.service.routes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "desired": service.decision.desired,
        "reason": service.decision.reason(),
        "because": rules(&service.decision.because),
        "hold": service.hold.as_ref().map(|hold| hold_shown(now, hold)),
        "pause": service.pause.as_ref().map(|pause| pause_shown(now, pause)),
        "priority": service.service.priority,
        "preemptions": preemptions(now, service),
        "rollout": service.rollout.as_ref().map(rollout),
        "suspect": service.suspect,
        "last_change": service.last_change.as_ref().map(change),
        "last_failure": service.last_failure.as_ref().map(failure),
        "metrics": measured.unwrap_or_default(),
        "haproxy": service.traffic.as_ref().map(traffic),
        "sleep": service.sleep.as_ref().map(|status| sleep(now, status)),
        "forecast": forecast_json::shown(service),
    });
    merge(&mut out, counts(service.decision.counts));
    merge(&mut out, effective(&service.decision.effective));
    out
}

fn preemptions(now: Moment, service: &ServiceStatus) -> Vec<Value> {
    let one = |one: &Preemption| {
        json!({
            "victim": one.victim,
            "beneficiary": one.beneficiary,
            "step": one.step.word(),
            "for_s": now.since(one.since).as_secs(),
        })
    };
    service.preemptions.iter().map(one).collect()
}

fn sleep(now: Moment, sleep: &SleepStatus) -> Value {
    json!({
        "state": sleep.state.word(),
        "for_s": sleep.since.map(|since| now.since(since).as_secs()),
        "waiting": sleep.waiting,
        "held": sleep.held,
    })
}

/// `at` is `now` on the other clock.
pub(crate) fn service_with_replicas(now: Moment, at: Wall, status: &ServiceStatus) -> Value {
    let mut out = service(now, status);
    let replicas: Vec<Value> = status.replicas.iter().map(|r| replica(now, at, r)).collect();
    merge(&mut out, json!({ "replicas": replicas }));
    out
}

/// The coming week, each piece until the next one begins, in the schedule's own zone.
pub(crate) fn schedule(at: Wall, service: &ServiceStatus) -> Vec<Value> {
    let timetable = &service.service.timetable;
    let zone = timetable.zone();
    let local = |at: Wall| zone.local(at).to_rfc3339_opts(SecondsFormat::Secs, false);
    let end = Wall(at.0.saturating_add(WEEK));
    let course = timetable.course(at, end);
    let ends = course.iter().skip(1).map(|(begin, _)| *begin).chain([end]);
    let piece = |((from, holds), until): (&(Wall, EffectiveSchedule), Wall)| {
        let mut out = json!({ "from": local(*from), "until": local(until) });
        merge(&mut out, effective(holds));
        out
    };
    course.iter().zip(ends).map(piece).collect()
}

/// `None` until there was a look at its load.
pub(crate) fn explanation(status: &Status, service: &ServiceStatus) -> Option<Value> {
    let now = status.now;
    let record: &Record = service.record.as_ref()?;
    let is_its = |problem: &&ActiveProblem| problem.service.as_ref() == Some(&service.name);
    let problems: Vec<Value> = status.problems.iter().filter(is_its).map(problem).collect();
    // An operator's command since the evaluation counts, which then only gives the readings.
    let now_decided = &service.decision;
    let from = if record.decision.desired == now_decided.desired {
        record.decision.from
    } else {
        now_decided.from
    };
    let mut out = json!({
        "service": service.name,
        "at": stamp(record.at),
        "from": from,
        "desired": now_decided.desired,
        "reason": now_decided.reason(),
        "metrics": metrics(&record.decision.measured),
        "rules": rules(&now_decided.because),
        "replicas": counts(now_decided.counts),
        "seen": sightings(&service.name, &record.decision.samples),
        "problems": problems,
        "hold": service.hold.as_ref().map(|hold| hold_shown(now, hold)),
        "pause": service.pause.as_ref().map(|pause| pause_shown(now, pause)),
        "priority": service.service.priority,
        "preemptions": preemptions(now, service),
        "rollout": service.rollout.as_ref().map(rollout),
        "suspect": service.suspect,
        "forecast": forecast_json::shown(service),
    });
    merge(&mut out, effective(&now_decided.effective));
    Some(out)
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

fn certificate(now: Wall, seen: &CertificateSeen) -> Value {
    let served = seen.served.as_ref();
    json!({
        "file": seen.source,
        "names": served.map(|facts| &facts.names),
        "not_after": served.and_then(|facts| stamp(facts.not_after)),
        "days_left": served.map(|facts| facts.days_left(now)),
        "rejected": seen.rejected,
    })
}

fn stamp(at: Wall) -> Option<String> {
    let at = DateTime::from_timestamp(at.0, 0)?;
    Some(at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

fn number(milli: Milli) -> f64 {
    milli.0 as f64 / 1000.0
}

fn percent(load: Load) -> Option<f64> {
    match load {
        Load::Read(percent) => Some(percent.hundredths() as f64 / 100.0),
        Load::Missing => None,
    }
}

fn counts(counts: Counts) -> Value {
    let Counts { ready, unready, unhealthy, leaving } = counts;
    json!({ "ready": ready, "unready": unready, "unhealthy": unhealthy, "leaving": leaving })
}

fn sightings(service: &str, all: &[ReplicaSample]) -> Vec<Value> {
    let one = |seen: &ReplicaSample| {
        json!({
            "name": replica_name(service, seen.number),
            "class": seen.weight.word(),
            "waits_for": seen.awaits_hook.then_some(HOOK_AWAITED),
            "cpu_percent": percent(seen.cpu),
            "memory_percent": percent(seen.memory),
        })
    };
    all.iter().map(one).collect()
}

fn rollout(rollout: &RolloutStatus) -> Value {
    let state = rollout.state.word();
    let idle = rollout.idle.as_secs();
    json!({ "state": state, "new": rollout.new, "old": rollout.old, "idle_s": idle })
}

/// In the words of `schedule --json`.
fn effective(effective: &EffectiveSchedule) -> Value {
    let min = effective.bounds.min();
    let max = effective.bounds.max();
    json!({ "min": min, "max": max, "scaling": effective.scaling, "window": effective.window })
}

fn rules(because: &[AppliedRule]) -> Vec<Value> {
    let rule = |cause: &AppliedRule| {
        json!({
            "reason": cause.rule.word(),
            "text": cause.rule.to_string(),
            "replicas": cause.number,
        })
    };
    because.iter().map(rule).collect()
}

fn metrics(measured: &[MetricResult]) -> Vec<Value> {
    let metric = |m: &MetricResult| {
        json!({
            "name": m.name,
            "unit": m.unit,
            "value": m.value.map(number),
            "target": number(m.target),
            "ratio": m.ratio.map(number),
            "proposal": m.proposal,
            "reason": m.rule.word(),
            "text": m.rule.to_string(),
            "error": m.failure,
        })
    };
    measured.iter().map(metric).collect()
}

fn change(change: &LastScale) -> Value {
    json!({
        "at": stamp(change.at),
        "from": change.from,
        "to": change.to,
        "reason": change.reason,
        "text": change.words,
    })
}

fn failure(failure: &Failure) -> Value {
    json!({
        "at": stamp(failure.at),
        "replica": failure.replica,
        "message": failure.message,
        "log": failure.log,
    })
}

fn traffic(traffic: &ServiceTraffic) -> Value {
    let per_second = |of: fn(&TrafficCounts) -> u64| {
        let (counts, time) = traffic.recent?;
        // Two digits are more than such a short time is worth.
        Some((of(&counts) as f64 / time.as_secs_f64() * 100.0).round() / 100.0)
    };
    json!({
        "requests_per_s": per_second(|counts| counts.requests),
        "errors_4xx_per_s": per_second(|counts| counts.errors_4xx),
        "errors_5xx_per_s": per_second(|counts| counts.errors_5xx),
        "retries_per_s": per_second(|counts| counts.retries),
        "bytes_in_per_s": per_second(|counts| counts.bytes_in),
        "bytes_out_per_s": per_second(|counts| counts.bytes_out),
        "response_ms": traffic.response_ms,
        "queue": traffic.queue,
        "sessions": traffic.sessions,
    })
}

fn server_check(at: Wall, check: ServerCheck) -> Value {
    let seconds = i64::try_from(check.unchanged_for.as_secs()).unwrap_or(i64::MAX);
    json!({
        "up": check.is_up,
        "check": Some(check.result).filter(|result| !result.is_empty()),
        "since": stamp(Wall(at.0.saturating_sub(seconds))),
    })
}

fn left(now: Moment, until: Option<Moment>) -> Option<u64> {
    until.map(|until| until.since(now).as_millis().div_ceil(1000) as u64)
}

fn hold_shown(now: Moment, hold: &Hold) -> Value {
    json!({ "replicas": hold.count, "left_s": left(now, hold.until), "reason": hold.reason })
}

fn pause_shown(now: Moment, pause: &Pause) -> Value {
    json!({ "left_s": left(now, pause.until) })
}

fn replica(now: Moment, at: Wall, replica: &ReplicaStatus) -> Value {
    let seconds = |ms: u64| i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    let drain = |drain: DrainStatus| {
        let left = left(now, Some(drain.until));
        json!({ "sessions": drain.sessions, "left_s": left })
    };
    json!({
        "name": replica.name,
        "container": replica.container,
        "node": replica.node,
        "state": replica.state.word(),
        "address": replica.address.map(|address| address.to_string()),
        "cpu_percent": percent(replica.cpu),
        "memory_percent": percent(replica.memory),
        "sessions": replica.sessions,
        "haproxy": replica.server_check.map(|check| server_check(at, check)),
        "error": replica.error,
        "waits_for": replica.awaits_hook.then_some(HOOK_AWAITED),
        "log": replica.log,
        "started": replica.started.and_then(|ms| stamp(Wall(seconds(ms)))),
        "restarts": replica.restarts,
        "check": replica.is_healthy.map(|is| if is { "ok" } else { "failing" }),
        "drain": replica.drain.map(drain),
    })
}
