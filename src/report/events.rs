//! The events of one tick. A condition is reported when it begins and when it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use crate::model::action::Done;
use crate::model::event::{Event, Kind};
use crate::model::memory::Memory;
use crate::model::metric::{Metric, Reading, Source};
use crate::model::owner::Owner;
use crate::model::plan::{Plan, ServiceTransition};
use crate::model::proxy::KeptAddresses;
use crate::model::reason::Rule;
use crate::model::replica::{Load, Replica};
use crate::model::schedule::EffectiveSchedule;
use crate::model::sleep::WakeCause;
use crate::model::snapshot::{EngineSeen, Snapshot};
use crate::model::units::plural;
use crate::report::action_events::events_of;
use crate::report::certificates::CertificateEvents;
use crate::report::dedup::{Deduplicator, Novelty};
use crate::report::ignored_containers::IgnoredContainers;
use crate::report::image_checks::ImageChecks;
use crate::report::orphans;
use crate::report::proxy_full::ProxyFull;
use crate::report::stale_health_checks::StaleHealthChecks;
use crate::report::swarm_shortage::SwarmShortage;
use crate::report::transitions::{self, LastWords};
use crate::report::unwakeable::Unwakeable;

/// Distinct problems that are kept of one service. A text may differ each time.
const TROUBLES_MAX: usize = 16;

/// Conditions that were reported and have not ended.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    engine_lost: bool,
    /// The state file that was missing at the start, until replicas were listed.
    missing: Option<PathBuf>,
    not_saved: bool,
    orphans: BTreeSet<String>,
    pub(crate) strangers: IgnoredContainers,
    kept_addresses: BTreeSet<KeptAddresses>,
    crash_loops: BTreeSet<String>,
    capped: BTreeSet<String>,
    repeated: Deduplicator,
    crowded: bool,
    pub(crate) full: ProxyFull,
    pub(crate) certificates: CertificateEvents,
    /// Metrics that fail, by service.
    failing: BTreeMap<String, BTreeSet<Source>>,
    /// By service.
    standings: BTreeMap<String, EffectiveSchedule>,
    /// Problems that keep Swarm services from being scaled or served, by service.
    swarm: BTreeMap<String, BTreeSet<String>>,
    pub(crate) short: SwarmShortage,
    pub(crate) stale: StaleHealthChecks,
    pub(crate) image_checks: ImageChecks,
    pub(crate) unwakeable: Unwakeable,
    /// What a dry run decided at its last evaluation, by service.
    dry: BTreeMap<String, Vec<Mark>>,
}

/// An event without its message, which names a load that differs at each evaluation.
type Mark = (Kind, Option<String>, Option<&'static str>, Option<(u32, u32)>);

impl Conditions {
    pub(crate) fn engine(&mut self, error: Option<&str>) -> Option<Event> {
        let lost = error.is_some();
        if std::mem::replace(&mut self.engine_lost, lost) == lost {
            return None;
        }
        Some(match error {
            Some(error) => Event::new(Kind::DockerLost, error),
            None => Event::new(Kind::DockerBack, ""),
        })
    }

    pub(crate) fn miss_state(&mut self, path: Option<PathBuf>) {
        self.missing = path;
    }

    /// A first start has no state file either, but no replicas made by plimsoll.
    pub(crate) fn missing(&mut self, snapshots: &[Snapshot]) -> Option<Event> {
        let path = self.missing.take()?;
        let replicas = snapshots.iter().flat_map(|snapshot| &snapshot.replicas);
        let made = replicas.filter(|replica| replica.owner != Owner::Compose).count();
        let message = format!(
            "{} is missing, but replicas made by plimsoll run ({made}): holds, pauses and other \
             state are lost; set them again and check autoscaler.state_dir",
            path.display()
        );
        (0 < made).then(|| Event::new(Kind::StateMissing, message))
    }

    pub(crate) fn saving(&mut self, error: Option<String>) -> Option<Event> {
        let failed = error.is_some();
        if std::mem::replace(&mut self.not_saved, failed) == failed {
            return None;
        }
        Some(match error {
            Some(error) => Event::new(Kind::StateNotSaved, error),
            None => Event::resolved(Kind::StateNotSaved, "the state is stored again"),
        })
    }

    /// `Some(n)`: a reload is deferred behind n old processes.
    pub(crate) fn crowded(&mut self, old_processes: Option<u32>) -> Option<Event> {
        let is_crowded = old_processes.is_some();
        if std::mem::replace(&mut self.crowded, is_crowded) == is_crowded {
            return None;
        }
        let Some(old_processes) = old_processes else {
            return Some(Event::resolved(
                Kind::ProxyReloadDeferred,
                "no reload is deferred any more",
            ));
        };
        let message = format!(
            "a reload is deferred: {old_processes} old HAProxy processes still finish their \
             sessions, for load_balancer.hard_stop_after at most"
        );
        Some(Event::new(Kind::ProxyReloadDeferred, message))
    }

    pub(crate) fn orphans(&mut self, now: BTreeSet<String>, leaving: &[Snapshot]) -> Vec<Event> {
        let events = orphans::events(now.difference(&self.orphans), leaving);
        self.orphans = now;
        events
    }

    /// Reported when it begins; its end shows in the reload that follows.
    pub(crate) fn addresses_kept(&mut self, now: Vec<KeptAddresses>) -> Vec<Event> {
        let now: BTreeSet<KeptAddresses> = now.into_iter().collect();
        let new = now.difference(&self.kept_addresses).map(|kept| {
            let KeptAddresses { service, successor, is_orphan, addresses } = kept;
            let addresses = addresses.join(", ");
            if *is_orphan {
                let message = format!(
                    "its replicas keep serving {addresses} until {successor} has a ready one"
                );
                return Event::new(Kind::ServiceOrphaned, message).service(service.as_str());
            }
            let message = format!("{service} keeps serving {addresses} until a replica is ready");
            Event::new(Kind::RouteDeferred, message).service(successor.as_str())
        });
        let events = new.collect();
        self.kept_addresses = now;
        events
    }

    /// The events of an action that ended; none if it fails again for the same reason.
    pub(crate) fn done(&mut self, done: &Done) -> Vec<Event> {
        match self.repeated.novelty(done) {
            Novelty::New => events_of(done, 0),
            Novelty::Repeated => Vec::new(),
            Novelty::Resolved(failures) => events_of(done, failures),
        }
    }

    /// A metric without a value or a failure so far changes no condition.
    pub(crate) fn metrics(&mut self, snapshot: &Snapshot) -> Vec<Event> {
        let service = &snapshot.service;
        let mut events = Vec::new();
        let failing = self.failing.entry(service.name.as_str().to_owned()).or_default();
        failing.retain(|source| service.metrics.iter().any(|m| m.source == *source));
        for (metric, reading) in service.metrics.iter().zip(&snapshot.readings) {
            let source = &metric.source;
            let event = match reading {
                Reading::Failed(why) => failing
                    .insert(source.clone())
                    .then(|| Event::new(Kind::MetricFailed, format!("{source}: {why}"))),
                Reading::Replicas | Reading::Total(_) | Reading::Average(_) => failing
                    .remove(source)
                    .then(|| Event::new(Kind::MetricRecovered, source.to_string())),
                Reading::Pending => None,
            };
            let named = |e: Event| e.service(service.name.as_str()).subject(source.to_string());
            events.extend(event.map(named));
        }
        events
    }

    /// Each problem once, and the end of all. An unreachable Docker has an event of its own.
    pub(crate) fn swarm(&mut self, snapshot: &Snapshot) -> Option<Event> {
        let name = snapshot.service.name.as_str();
        if snapshot.engine == EngineSeen::Lost {
            return None;
        }
        let trouble = snapshot.swarm.as_ref().and_then(|swarm| swarm.trouble.clone());
        let event = match trouble {
            Some(trouble) => {
                let told = self.swarm.entry(name.to_owned()).or_default();
                if TROUBLES_MAX <= told.len() {
                    told.clear();
                }
                let is_new = told.insert(trouble.clone());
                is_new.then(|| Event::new(Kind::SwarmDegraded, trouble))
            }
            None => self.swarm.remove(name).map(|_| Event::new(Kind::SwarmRecovered, "")),
        };
        event.map(|event| event.service(name))
    }

    /// The schedule at the start of the daemon is no change.
    fn effective(&mut self, service: &str, now: &EffectiveSchedule) -> Option<Event> {
        let before = self.standings.insert(service.to_owned(), now.clone());
        before.filter(|before| before != now)?;
        Some(Event::new(Kind::ScheduleChanged, standing_shown(now)).service(service))
    }

    /// Forgets services that are gone.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.crash_loops.retain(|name| is_there(name));
        self.capped.retain(|name| is_there(name));
        self.short.retain(&is_there);
        self.stale.retain(&is_there);
        self.image_checks.retain(&is_there);
        self.repeated.retain(&is_there);
        self.failing.retain(|name, _| is_there(name));
        self.standings.retain(|name, _| is_there(name));
        self.swarm.retain(|name, _| is_there(name));
        self.dry.retain(|name, _| is_there(name));
    }

    /// A dry run decides the same at each evaluation: the same event is reported once.
    pub(crate) fn dry(&mut self, service: &str, events: Vec<Event>) -> Vec<Event> {
        let mark = |e: &Event| (e.kind, e.replica.clone(), e.reason, e.change);
        let now: Vec<Mark> = events.iter().map(mark).collect();
        let before = self.dry.insert(service.to_owned(), now).unwrap_or_default();
        events.into_iter().filter(|event| !before.contains(&mark(event))).collect()
    }

    /// The events of one service's plan. `failures` is the current failure count.
    pub(crate) fn plan(
        &mut self,
        service: &str,
        plan: &Plan,
        failures: u32,
        words: &LastWords,
    ) -> Vec<Event> {
        let mut events: Vec<Event> =
            self.effective(service, &plan.decision.effective).into_iter().collect();
        events.extend(scaling(service, plan));
        events.extend(
            plan.transitions.iter().filter_map(|step| transitions::event_of(service, step, words)),
        );
        events
            .extend(plan.service_transitions.iter().map(|transition| reached(service, transition)));
        events.extend(self.crash_loop(service, plan, failures));
        events.extend(self.cap(service, plan));
        events
    }

    /// Resolved only when the failure count is reset: the next start may fail as well.
    fn crash_loop(&mut self, service: &str, plan: &Plan, failures: u32) -> Option<Event> {
        let waits = |rule: &Rule| matches!(rule, Rule::CrashLoop { .. });
        let over = (failures == 0).then_some("starts are no longer delayed");
        turned(&mut self.crash_loops, service, (Kind::CrashLoop, over), cause(plan, waits))
    }

    fn cap(&mut self, service: &str, plan: &Plan) -> Option<Event> {
        let capped = |rule: &Rule| matches!(rule, Rule::NoHeadroom { .. });
        // Whether load would ask for more than the host has is unknown then.
        let over =
            (!has(plan, Rule::is_without_load)).then_some("the host has memory for all replicas");
        turned(&mut self.capped, service, (Kind::ScaleCapped, over), cause(plan, capped))
    }
}

fn cause(plan: &Plan, is_it: impl Fn(&Rule) -> bool) -> Option<&Rule> {
    plan.decision.because.iter().map(|cause| &cause.rule).find(|rule| is_it(rule))
}

fn has(plan: &Plan, is_it: impl Fn(&Rule) -> bool) -> bool {
    cause(plan, is_it).is_some()
}

/// Holds and pauses whose time is over.
pub(crate) fn over(before: &Memory, after: &Memory) -> Vec<Event> {
    let mut events = Vec::new();
    for (name, old) in &before.services {
        let Some(new) = after.services.get(name) else { continue };
        let mut tell = |was: bool, is: bool, kind| {
            if was && !is {
                events.push(Event::new(kind, "its time is over").service(name));
            }
        };
        tell(old.hold.is_some(), new.hold.is_some(), Kind::HoldReleased);
        tell(old.pause.is_some(), new.pause.is_some(), Kind::ScalingResumed);
    }
    events
}

/// The event when a rule begins to hold a service back, and when that is `over`.
fn turned(
    told: &mut BTreeSet<String>,
    service: &str,
    (kind, over): (Kind, Option<&str>),
    rule: Option<&Rule>,
) -> Option<Event> {
    let event = match (rule, over) {
        (Some(rule), _) if told.insert(service.to_owned()) => {
            Event { reason: Some(rule.word()), ..Event::new(kind, rule.to_string()) }
        }
        (None, Some(how)) if told.remove(service) => Event::resolved(kind, how),
        (Some(_) | None, _) => return None,
    };
    Some(event.service(service))
}

/// `2 to 8 replicas, by load; schedule "monday rush"`.
fn standing_shown(effective: &EffectiveSchedule) -> String {
    let min = effective.bounds.min();
    let max = effective.bounds.max();
    let by = if effective.scaling { "by load" } else { "outside the business hours" };
    let window = effective.window.as_ref().map(|w| format!("; schedule {w:?}")).unwrap_or_default();
    format!("{min} to {max} replicas, {by}{window}")
}

fn scaling(service: &str, plan: &Plan) -> Option<Event> {
    let kind = match plan.decision.from.cmp(&plan.decision.desired) {
        std::cmp::Ordering::Less => Kind::ScaleUp,
        std::cmp::Ordering::Greater => Kind::ScaleDown,
        std::cmp::Ordering::Equal => return None,
    };
    let rules: Vec<String> =
        plan.decision.because.iter().map(|cause| cause.rule.to_string()).collect();
    let event = Event::new(kind, rules.join(", ")).service(service);
    Some(Event {
        reason: Some(plan.decision.reason()),
        change: Some((plan.decision.from, plan.decision.desired)),
        ..event
    })
}

fn reached(service: &str, transition: &ServiceTransition) -> Event {
    let (kind, message) = match transition {
        ServiceTransition::PanicModeEntered { count } => (
            Kind::HealthSuspect,
            format!(
                "all {count} replicas became unhealthy at once: health checks are ignored, none \
                 is replaced and HAProxy keeps its list until one recovers"
            ),
        ),
        ServiceTransition::Asleep { idle } => {
            (Kind::ServiceAsleep, format!("no request for {} s", idle.as_secs()))
        }
        ServiceTransition::Woken { by, took } => (Kind::ServiceWoken, woken(*by, *took)),
        ServiceTransition::ImageUpdated { image, from, to } => {
            (Kind::ImageUpdated, format!("{image}: all replicas run {to}; before, {from}"))
        }
        ServiceTransition::ImageRejected { digest } => (
            Kind::ImageRejected,
            format!(
                "{digest} was rolled back and is not tried again; the registry's next image is. To \
                 try this one again: `plimsoll restart {service}`"
            ),
        ),
        ServiceTransition::RestartLoop => (
            Kind::CrashLoop,
            "Docker's restart policy started its replicas 5 times within 10 minutes".to_owned(),
        ),
        ServiceTransition::RestartLoopOver => {
            let how = "Docker restarted its replicas less than 5 times within 10 minutes";
            return Event::resolved(Kind::CrashLoop, how).service(service);
        }
        ServiceTransition::PanicModeLeft => {
            (Kind::HealthRecovered, "health checks are trusted again".to_owned())
        }
        ServiceTransition::RolloutStarted { old } => {
            (Kind::RolloutStarted, plural(*old, "outdated replica") + " will be replaced")
        }
        ServiceTransition::RolloutFinished { took, is_back } => {
            let what =
                if *is_back { "all replicas are rolled back" } else { "all replicas are new" };
            (Kind::RolloutFinished, format!("{what}, took {} s", took.as_secs()))
        }
        ServiceTransition::RolledBack { idle, new, old, to } => {
            let to = to.as_ref().map(|image| format!("back to {image}, the last good image"));
            let to = to.unwrap_or_else(|| "the remaining replicas are kept".to_owned());
            (Kind::RolloutRolledBack, format!("{}; {to}", stood_still(*idle, *new, *old)))
        }
        ServiceTransition::RolloutStalled { idle, new, old } => {
            let words = stood_still(*idle, *new, *old);
            (
                Kind::RolloutStalled,
                format!("{words}; still retrying (no earlier version to roll back to)"),
            )
        }
    };
    Event::new(kind, message).service(service)
}

fn woken(by: WakeCause, took: Duration) -> String {
    let ms = took.as_millis();
    match by {
        WakeCause::Request => format!("by a request, which was answered after {ms} ms"),
        WakeCause::Metric => format!("by a metric, ready after {ms} ms"),
        WakeCause::Schedule => format!("by a schedule, ready after {ms} ms"),
        WakeCause::Operator => format!("by an operator, ready after {ms} ms"),
    }
}

fn stood_still(idle: Duration, new: u32, old: u32) -> String {
    format!("no progress for {} s, with {new} new replicas ready and {old} old", idle.as_secs())
}

/// The reading of each metric, one log line each.
pub(crate) fn readings(snapshot: &Snapshot) -> Vec<String> {
    let service = &snapshot.service;
    let line = |(metric, reading): (&Metric, &Reading)| {
        let shown = match metric.source {
            Source::Cpu => samples(snapshot, |r| r.load),
            Source::Memory => samples(snapshot, |r| r.memory),
            Source::Haproxy(_) | Source::Http { .. } | Source::Prometheus { .. } => {
                reading.to_string()
            }
        };
        let source = metric.source.to_string();
        let target = metric.target;
        format!("service={} metric={source:?} target={target} reading={shown:?}", service.name)
    };
    service.metrics.iter().zip(&snapshot.readings).map(line).collect()
}

fn samples(snapshot: &Snapshot, load: impl Fn(&Replica) -> Load) -> String {
    let shown = |replica: &Replica| match load(replica) {
        Load::Read(percent) => percent.to_string(),
        Load::Missing => "-".to_owned(),
    };
    let shown: Vec<String> = snapshot.replicas.iter().map(shown).collect();
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use crate::model::bounds::Bounds;
    use crate::model::decision::{Counts, Decision};
    use crate::model::event::Event;
    use crate::model::plan::Plan;
    use crate::model::reason::{AppliedRule, Rule};
    use crate::model::schedule::EffectiveSchedule;
    use crate::report::events::Conditions;
    use crate::report::transitions::LastWords;

    fn plan(rule: Rule) -> Plan {
        let desired = 2;
        let ready = 2;
        let bounds = Bounds::exactly(desired);
        let decision = Decision {
            from: desired,
            desired,
            effective: EffectiveSchedule { bounds, scaling: true, window: None },
            counts: Counts { ready, ..Counts::default() },
            samples: Vec::new(),
            measured: Vec::new(),
            forecast: None,
            because: vec![AppliedRule { rule, number: desired }],
        };
        Plan {
            decision,
            actions: Vec::new(),
            transitions: Vec::new(),
            service_transitions: Vec::new(),
            servers: Vec::new(),
            wake: None,
            again: None,
        }
    }

    fn line(event: Option<Event>) -> String {
        event.map_or("-".to_owned(), |e| format!("{} {} {}", e.level(), e.kind.word(), e.message))
    }

    #[test]
    fn what_holds_a_service_back_is_told_when_it_begins_and_when_it_is_over() {
        let crash = Rule::CrashLoop { failures: 2, left: std::time::Duration::from_secs(10) };
        let room = Rule::NoHeadroom { free: 0, needed: 1 << 20 };
        let mut told = Conditions::default();
        let cools = Rule::CoolingDown { left: std::time::Duration::from_secs(9) };
        for (rule, failures, want) in [
            (crash, 2, "WARN health.crash_loop 2 failures in a row, next start in 10s"),
            (crash, 2, "-"),
            // It is tried, serves, and fails again.
            (Rule::NoMetric, 2, "-"),
            (crash, 3, "-"),
            (Rule::Unchanged, 0, "INFO health.crash_loop resolved: starts are no longer delayed"),
            (Rule::Unchanged, 0, "-"),
            (
                room,
                0,
                "WARN scale.capped a replica needs 1 MiB; only 0 MiB is free above memory_reserve",
            ),
            (Rule::Unchanged, 0, "-"),
            (Rule::EngineLost, 0, "-"),
            (cools, 0, "-"),
            (Rule::Paused { left: None }, 0, "-"),
            (Rule::OutsideHours, 0, "-"),
            (room, 0, "-"),
            (Rule::NoMetric, 0, "INFO scale.capped resolved: the host has memory for all replicas"),
            (Rule::NoMetric, 0, "-"),
        ] {
            let events = told.plan("web", &plan(rule), failures, &LastWords::new());
            assert!(events.len() < 2, "{events:?}");
            assert_eq!(line(events.into_iter().next()), want, "{rule:?}");
        }
    }

    #[test]
    fn what_concerns_all_services_is_told_when_it_begins_and_when_it_is_over() {
        let mut told = Conditions::default();
        for (error, want) in [
            (None, "-"),
            (Some("full"), "ERROR state.not_saved full"),
            (Some("full"), "-"),
            (None, "INFO state.not_saved resolved: the state is stored again"),
        ] {
            assert_eq!(line(told.saving(error.map(str::to_owned))), want);
        }
        let crowd = line(told.crowded(Some(10)));
        assert!(
            crowd.starts_with("WARN haproxy.reload_deferred a reload is deferred: 10 old"),
            "{crowd}"
        );
        assert_eq!(line(told.crowded(Some(11))), "-");
        assert_eq!(
            line(told.crowded(None)),
            "INFO haproxy.reload_deferred resolved: no reload is deferred any more"
        );
        assert_eq!(line(told.crowded(None)), "-");
    }
}
