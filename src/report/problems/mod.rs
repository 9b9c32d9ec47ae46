//! What is wrong now: from the status, and from events that begin a condition and end it.

mod fixes;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::model::event::{Event, Kind, LOG_BEGINS, Phase};
use crate::model::problem::{ActiveProblem, ProblemKind};
use crate::model::reason::Rule;
use crate::model::sleep::SleepState;
use crate::model::status::{
    Failure, ReplicaState, ReplicaStatus, RolloutState, ServiceStatus, Status,
};
use crate::model::time::Wall;
use crate::report::certificates;

/// Failures of one service that are kept: of the last replicas that failed.
const FAILURES_MAX: usize = 8;
/// How long a service may have no ready replica before that is a problem without a known cause.
/// Containers start, and images are pulled, within it.
const START: Duration = Duration::from_secs(120);
/// HAProxy is started, or started again, within it.
const PROXY_START: Duration = Duration::from_secs(5);
/// A death of HAProxy's is shown this long.
const DEATHS_SHOWN: i64 = 3600;
const DEATHS_MAX: usize = 1000;

/// Kind, service, replica.
type ProblemKey = (ProblemKind, Option<String>, Option<String>);

/// A problem as found; since when it stands is not known yet.
struct Candidate {
    key: ProblemKey,
    message: String,
    /// It is none until it has stood this long.
    grace: Duration,
}

impl Candidate {
    fn new(kind: ProblemKind, message: impl Into<String>) -> Candidate {
        Candidate { key: (kind, None, None), message: message.into(), grace: Duration::ZERO }
    }

    fn service(mut self, name: &str) -> Candidate {
        self.key.1 = Some(name.to_owned());
        self
    }

    fn replica(mut self, name: &str) -> Candidate {
        self.key.2 = Some(name.to_owned());
        self
    }
}

/// Remembers what the status does not show: since when, what events began, and how replicas failed.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    since: BTreeMap<ProblemKey, Wall>,
    /// Conditions that an event began and none has ended, with its message.
    begun: BTreeMap<ProblemKey, String>,
    /// Oldest first, by service.
    failures: BTreeMap<String, VecDeque<Failure>>,
    /// When HAProxy died, oldest first.
    deaths: VecDeque<Wall>,
}

impl Problems {
    /// Returns whether the event may change the list.
    pub(crate) fn note(&mut self, event: &Event, at: Wall) -> bool {
        if event.kind == Kind::ProxyDied {
            self.deaths.push_back(at);
            self.deaths.drain(..self.deaths.len().saturating_sub(DEATHS_MAX));
            return true;
        }
        if event.phase == Phase::Started && is_failure(event.kind) {
            self.failed(event, at);
            return true;
        }
        let webhook = event.webhook.map(|at| format!("notifications[{at}]"));
        let subject = webhook.or(event.subject.clone());
        let key = |kind| (kind, event.service.clone(), subject.clone());
        match (condition(event.kind), event.phase) {
            (Some(kind), Phase::Started) => {
                self.begun.insert(key(kind), one_line(&event.message));
                true
            }
            (Some(kind), Phase::Resolved) => self.begun.remove(&key(kind)).is_some(),
            (None, _) => {
                ended_by(event.kind).is_some_and(|kind| self.begun.remove(&key(kind)).is_some())
            }
        }
    }

    /// The webhooks are others now.
    pub(crate) fn forget_webhooks(&mut self) {
        self.begun.retain(|(kind, _, _), _| *kind != ProblemKind::WebhookFailed);
    }

    fn failed(&mut self, event: &Event, at: Wall) {
        let (Some(service), Some(replica)) = (&event.service, &event.replica) else { return };
        let (message, log) = match event.message.split_once(LOG_BEGINS) {
            Some((message, log)) => (message, log.lines().map(str::to_owned).collect()),
            None => (event.message.as_str(), Vec::new()),
        };
        let message = one_line(message);
        let failures = self.failures.entry(service.clone()).or_default();
        failures.retain(|failure| failure.replica != *replica);
        failures.push_back(Failure { at, replica: replica.clone(), message, log });
        failures.drain(..failures.len().saturating_sub(FAILURES_MAX));
    }

    /// Completes the status: how replicas failed, and the problems.
    pub(crate) fn complete(&mut self, status: &mut Status) {
        self.forget(status);
        for service in &mut status.services {
            let failures = self.failures.get(&service.name);
            service.last_failure = failures.and_then(|failures| failures.back().cloned());
            for replica in &mut service.replicas {
                let mut of_it = failures.into_iter().flatten().rev();
                let failure = of_it.find(|failure| failure.replica == replica.name);
                let Some(failure) = failure.filter(|_| is_failing(replica.state)) else { continue };
                replica.error.get_or_insert_with(|| failure.message.clone());
                replica.log.clone_from(&failure.log);
            }
        }
        let found = self.found(status);
        let is_found = |key: &ProblemKey| found.iter().any(|one| one.key == *key);
        self.since.retain(|key, _| is_found(key));
        let now = status.at;
        let mut problems: Vec<ActiveProblem> =
            found.into_iter().filter_map(|candidate| self.stands(candidate, now)).collect();
        // What no service of the config suffers from is not to hide what one does.
        let is_foreign = |problem: &ActiveProblem| problem.kind == ProblemKind::ServiceOrphaned;
        problems
            .sort_by_key(|problem| (problem.kind.severity(), is_foreign(problem), problem.since));
        status.problems = problems;
    }

    /// A service that is whole again has no failures to show, and one that left has none at all.
    fn forget(&mut self, status: &Status) {
        let of = |name: &str| status.services.iter().find(|service| service.name == name);
        let begun = &self.begun;
        let loops =
            |name: &String| begun.contains_key(&(ProblemKind::CrashLoop, Some(name.clone()), None));
        self.failures
            .retain(|name, _| of(name).is_some_and(|service| !is_whole(service) || loops(name)));
        self.begun.retain(|(_, name, _), _| name.as_ref().is_none_or(|name| of(name).is_some()));
        let now = status.at;
        self.deaths.retain(|at| now.0.saturating_sub(at.0) < DEATHS_SHOWN);
    }

    fn stands(&mut self, candidate: Candidate, now: Wall) -> Option<ActiveProblem> {
        let Candidate { key, message, grace } = candidate;
        let since = *self.since.entry(key.clone()).or_insert(now);
        let age = u64::try_from(now.0.saturating_sub(since.0)).unwrap_or(0);
        let (kind, service, replica) = key;
        let fix = fixes::fix(kind, service.as_deref(), &message);
        let problem = ActiveProblem { since, kind, service, replica, message, fix };
        (grace.as_secs() <= age).then_some(problem)
    }

    fn found(&self, status: &Status) -> Vec<Candidate> {
        let mut found = of_daemon(status);
        found.extend(self.deaths());
        for service in &status.services {
            found.extend(of_service(service, status.check_interval));
            // Without Docker nothing is known of replicas.
            if status.docker_error.is_none() {
                found.extend(of_replicas(service));
            }
        }
        for ((kind, service, replica), message) in &self.begun {
            let message = match (kind, service) {
                (ProblemKind::CrashLoop, Some(name)) => self.crash_loop(name, message),
                _ => message.clone(),
            };
            let key = (*kind, service.clone(), replica.clone());
            found.push(Candidate { key, message, grace: Duration::ZERO });
        }
        found
    }

    /// With the last failure, and without the time of the next start, which is soon past.
    fn crash_loop(&self, service: &str, message: &str) -> String {
        let message = message.split_once(", next start").map_or(message, |(first, _)| first);
        match self.failures.get(service).and_then(|failures| failures.back()) {
            Some(last) => {
                format!("{message}: {}", described(&last.replica, &last.message, &last.log))
            }
            None => message.to_owned(),
        }
    }

    fn deaths(&self) -> Option<Candidate> {
        let times = match self.deaths.len() {
            0 => return None,
            1 => "once".to_owned(),
            count => format!("{count} times"),
        };
        let message = format!("HAProxy died {times} within the last hour and was started again");
        Some(Candidate::new(ProblemKind::HaproxyDied, message))
    }
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join(" ")
}

/// As many ready as desired, and no rollout under way.
fn is_whole(service: &ServiceStatus) -> bool {
    let is_failing = |replica: &ReplicaStatus| is_failing(replica.state);
    service.decision.desired <= service.decision.counts.ready
        && service.rollout.is_none()
        && !service.replicas.iter().any(is_failing)
}

fn is_failing(state: ReplicaState) -> bool {
    match state {
        ReplicaState::Starting | ReplicaState::Unhealthy | ReplicaState::Exited => true,
        ReplicaState::Ready | ReplicaState::Draining | ReplicaState::Stopping => false,
    }
}

/// How a replica failed.
fn is_failure(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::ReplicaNotReady | Kind::ReplicaExited | Kind::ReplicaFailed | Kind::HealthUnhealthy
    )
}

/// The condition that an event of this kind begins. The status shows the others itself.
fn condition(kind: Kind) -> Option<ProblemKind> {
    Some(match kind {
        Kind::ConfigRejected => ProblemKind::ConfigRejected,
        Kind::StateNotSaved => ProblemKind::StateNotSaved,
        Kind::HistoryNotSaved => ProblemKind::HistoryNotSaved,
        Kind::WebhookFailed => ProblemKind::WebhookFailed,
        Kind::CrashLoop => ProblemKind::CrashLoop,
        Kind::ScaleCapped => ProblemKind::ScaleCapped,
        Kind::HealthStale => ProblemKind::HealthStale,
        Kind::HealthNotProbed => ProblemKind::HealthNotProbed,
        Kind::DockerRefused => ProblemKind::DockerRefused,
        Kind::ImageCheckFailed => ProblemKind::ImageCheckFailed,
        Kind::ProxyFull => ProblemKind::HaproxyFull,
        Kind::ProxyReloadDeferred => ProblemKind::HaproxyReloadDeferred,
        Kind::SwarmDegraded => ProblemKind::SwarmDegraded,
        Kind::SwarmShort => ProblemKind::SwarmShort,
        Kind::DaemonSlow => ProblemKind::DaemonSlow,
        _ => return None,
    })
}

/// The condition that an event of another kind ends.
fn ended_by(kind: Kind) -> Option<ProblemKind> {
    Some(match kind {
        Kind::ConfigReloaded => ProblemKind::ConfigRejected,
        Kind::SwarmRecovered => ProblemKind::SwarmDegraded,
        _ => return None,
    })
}

fn of_daemon(status: &Status) -> Vec<Candidate> {
    let mut found = Vec::new();
    let docker = status.docker_error.as_ref();
    found.extend(docker.map(|error| Candidate::new(ProblemKind::DockerLost, error.clone())));
    found.extend(status.proxy_error.as_ref().map(|error| match status.old_proxies {
        None => Candidate {
            grace: PROXY_START,
            ..Candidate::new(ProblemKind::HaproxyDown, error.clone())
        },
        Some(_) => Candidate::new(ProblemKind::HaproxyReloadFailed, error.clone()),
    }));
    for seen in &status.certificates {
        let source = seen.source.display().to_string();
        let rejected = seen.rejected.clone().map(|why| (ProblemKind::CertificateRejected, why));
        let expires = certificates::expiry(seen, status.at);
        let expires = expires.map(|why| (ProblemKind::CertificateExpires, why));
        for (kind, why) in rejected.into_iter().chain(expires) {
            found.push(Candidate::new(kind, why).replica(&source));
        }
    }
    for verdict in status.labels.iter().filter(|verdict| !verdict.errors.is_empty()) {
        let message = verdict.errors.join("; ");
        let candidate = Candidate::new(ProblemKind::LabelsRejected, message);
        found.push(candidate.service(&verdict.name));
    }
    found.extend(status.orphans.iter().map(|name| {
        let message = "it is not in the config, but its containers still run";
        Candidate::new(ProblemKind::ServiceOrphaned, message).service(name)
    }));
    found
}

fn of_service(service: &ServiceStatus, check_interval: Duration) -> Vec<Candidate> {
    let mut found = Vec::new();
    let name = service.name.as_str();
    let mut add = |kind, message: String| found.push(Candidate::new(kind, message).service(name));
    if service.suspect {
        add(ProblemKind::HealthSuspect, "all replicas became unhealthy at once".to_owned());
    }
    match service.rollout.as_ref().map(|rollout| (rollout.state, rollout)) {
        Some((RolloutState::Stalled, rollout)) => add(
            ProblemKind::RolloutStalled,
            format!(
                "the rollout makes no progress: {} new replicas ready, {} old left",
                rollout.new, rollout.old
            ),
        ),
        Some((RolloutState::RolledBack, _)) => add(
            ProblemKind::RolloutRolledBack,
            "the new revision made no progress and was rolled back".to_owned(),
        ),
        Some((RolloutState::Rolling | RolloutState::RollingBack, _)) | None => (),
    }
    let measured = service.record.iter().flat_map(|record| &record.decision.measured);
    let failing = measured.filter_map(|m| Some(format!("{}: {}", m.name, m.failure.as_ref()?)));
    let failing: Vec<String> = failing.collect();
    if !failing.is_empty() {
        let candidate = Candidate::new(ProblemKind::MetricFailed, failing.join("; ")).service(name);
        // The first evaluation of a replica has nothing to compare with.
        found.push(Candidate { grace: check_interval, ..candidate });
    }
    found
}

/// Where none is ready, that is the problem, with what is known of the cause. Else each replica
/// that fails has one.
fn of_replicas(service: &ServiceStatus) -> Vec<Candidate> {
    let name = service.name.as_str();
    let desired = service.decision.desired;
    let last = service.decision.because.last();
    let is_stopped = last.is_some_and(|cause| cause.rule == Rule::StoppedByCompose);
    if desired == 0 || is_stopped {
        return Vec::new();
    }
    let failing = service.replicas.iter().filter(|replica| is_failing(replica.state));
    let failing = failing.filter_map(|replica| Some((replica, replica.error.as_ref()?)));
    if service.decision.counts.ready == 0 {
        let mut cause =
            failing.map(|(replica, error)| described(&replica.name, error, &replica.log));
        let last = || {
            let last = service.last_failure.as_ref()?;
            Some(described(&last.replica, &last.message, &last.log))
        };
        let cause = cause.next_back().or_else(last);
        let what = Rule::NoneReady(desired).to_string();
        let is_waking =
            service.sleep.as_ref().is_some_and(|sleep| sleep.state == SleepState::Waking);
        let is_known = cause.is_some() && !is_waking;
        let grace = if is_known { Duration::ZERO } else { START };
        let message = cause.map_or(what.clone(), |cause| format!("{what}: {cause}"));
        let candidate = Candidate::new(ProblemKind::NoneReady, message).service(name);
        return vec![Candidate { grace, ..candidate }];
    }
    let each = failing.map(|(replica, error)| {
        let kind = match replica.state {
            ReplicaState::Unhealthy => ProblemKind::HealthUnhealthy,
            ReplicaState::Exited => ProblemKind::ReplicaFailed,
            _ => ProblemKind::ReplicaNotReady,
        };
        let message = described(&replica.name, error, &replica.log);
        Candidate::new(kind, message).service(name).replica(&replica.name)
    });
    each.collect()
}

/// The failure on one line, with the last line that the container logged.
fn described(replica: &str, error: &str, log: &[String]) -> String {
    match log.iter().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!("{replica}: {error}; its last log line: {}", line.trim()),
        None => format!("{replica}: {error}"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
