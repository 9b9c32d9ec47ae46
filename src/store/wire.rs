//! The format of `state.json`, separate from the model, so that the model can change without it.
//! Times are milliseconds since the Unix epoch.
//!
//! To add a field: give it `#[serde(default)]`, so that older files stay readable; write it in the
//! `pack` function and read it in the `unpack` function of its struct; a time that is read passes
//! through `past`. Older daemons ignore it. `VERSION` changes only when an older daemon would
//! misread the file: then every other version is refused and the file is set aside.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::history::{History, Recommendation, ScalingEvent};
use crate::model::memory::{
    Drain, DrainStep, Failures, Hold, KnownReplica, Memory, PanicMode, Pause, ServiceMemory,
    Started, Unaddressed, Unhealthy,
};
use crate::model::replica::{ContainerId, NUMBER_MAX};
use crate::model::swarm::SwarmMemory;
use crate::model::time::Moment;
use crate::store::forecast::RaiseFields;
use crate::store::label_set::StoredLabels;
use crate::store::preemption::StoredPreemptions;
use crate::store::rollout::StoredRollout;
use crate::store::sleep::SleepFields;

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct StateFile {
    version: u32,
    services: BTreeMap<String, ServiceState>,
    #[serde(default)]
    preemptions: StoredPreemptions,
    #[serde(default)]
    labels: Vec<StoredLabels>,
    /// Before there were labels, there was always one.
    #[serde(default = "yes")]
    has_config_file: bool,
}

#[derive(Serialize, Deserialize)]
struct ServiceState {
    desired: Option<u32>,
    last_number: u32,
    changed_at: Option<u64>,
    drains: BTreeMap<String, DrainState>,
    failures: u32,
    failed_at: u64,
    well_since: Option<u64>,
    short_since: Option<u64>,
    hold: Option<HoldState>,
    pause: Option<PauseState>,
    /// Pairs of a moment and a number, oldest first.
    recommendations: Vec<(u64, u32)>,
    ups: Vec<(u64, u32)>,
    downs: Vec<(u64, u32)>,
    unhealthy: BTreeMap<String, UnhealthyState>,
    panic_mode: Option<PanicModeState>,
    rollout: StoredRollout,
    swarm: Option<SwarmState>,
    #[serde(default)]
    sleep: SleepFields,
    #[serde(default)]
    forecast: Option<RaiseFields>,
    known: BTreeMap<String, KnownState>,
    /// By number: the id of the container, and how many lists did not show it.
    started: BTreeMap<u32, (String, u32)>,
    restarts: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct KnownState {
    name: String,
    number: u32,
    run: Option<u64>,
    proven: Option<u64>,
    #[serde(default)]
    is_unready: bool,
    restarts: u32,
    away: Option<u64>,
    paused: Option<u64>,
    is_ended: bool,
    /// Since when, and whether that was reported.
    unaddressed: Option<(u64, bool)>,
}

#[derive(Serialize, Deserialize)]
struct SwarmState {
    seen: u32,
    asked: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct UnhealthyState {
    since: u64,
    error: String,
    served: bool,
    ignored: bool,
}

#[derive(Serialize, Deserialize)]
struct PanicModeState {
    until: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct HoldState {
    count: u32,
    until: Option<u64>,
    reason: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct PauseState {
    until: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct DrainState {
    since: u64,
    released: bool,
    ended: bool,
}

fn yes() -> bool {
    true
}

pub(crate) fn text(memory: &Memory) -> String {
    let services = memory.services.iter().map(|(name, m)| (name.clone(), pack(m))).collect();
    let labels = memory.labels.iter().map(StoredLabels::pack).collect();
    let has_config_file = memory.has_config_file;
    let state = StateFile {
        version: VERSION,
        services,
        preemptions: StoredPreemptions::pack(&memory.preemptions),
        labels,
        has_config_file,
    };
    // Cannot fail: only maps with string keys, numbers and texts.
    serde_json::to_string_pretty(&state).unwrap_or_default()
}

fn pack(memory: &ServiceMemory) -> ServiceState {
    let drain = |(id, drain): (&ContainerId, &Drain)| {
        let released = drain.step == DrainStep::Drained;
        let ended = drain.step == DrainStep::Ended;
        (id.0.clone(), DrainState { since: drain.since.0, released, ended })
    };
    let unhealthy = |(id, unhealthy): (&ContainerId, &Unhealthy)| {
        let Unhealthy { since, error, served, ignored } = unhealthy.clone();
        (id.0.clone(), UnhealthyState { since: since.0, error, served, ignored })
    };
    let history = &memory.history;
    ServiceState {
        desired: memory.desired,
        last_number: memory.last_number,
        changed_at: memory.changed_at.map(|m| m.0),
        drains: memory.drains.iter().map(drain).collect(),
        failures: memory.failures.count,
        failed_at: memory.failures.last.0,
        well_since: memory.failures.well_since.map(|m| m.0),
        short_since: memory.failures.short_since.map(|m| m.0),
        hold: memory.hold.as_ref().map(|hold| HoldState {
            count: hold.count,
            until: hold.until.map(|m| m.0),
            reason: hold.reason.clone(),
        }),
        pause: memory.pause.map(|pause| PauseState { until: pause.until.map(|m| m.0) }),
        recommendations: history.recommendations.iter().map(|r| (r.at.0, r.replicas)).collect(),
        ups: history.ups.iter().map(|c| (c.at.0, c.replicas)).collect(),
        downs: history.downs.iter().map(|c| (c.at.0, c.replicas)).collect(),
        unhealthy: memory.unhealthy.iter().map(unhealthy).collect(),
        panic_mode: memory.panic_mode.map(|s| PanicModeState { until: s.until.map(|m| m.0) }),
        rollout: StoredRollout::pack(&memory.rollout),
        sleep: SleepFields::pack(&memory.sleep),
        forecast: memory.forecast.as_ref().map(RaiseFields::pack),
        swarm: memory.swarm.map(|SwarmMemory { seen, asked }| SwarmState { seen, asked }),
        known: memory.known.iter().map(|(id, known)| (id.0.clone(), pack_known(known))).collect(),
        started: memory.started.iter().map(|(n, s)| (*n, (s.id.0.clone(), s.looks))).collect(),
        restarts: memory.restarts.iter().map(|m| m.0).collect(),
    }
}

fn pack_known(known: &KnownReplica) -> KnownState {
    KnownState {
        name: known.name.clone(),
        number: known.number,
        run: known.run,
        proven: known.proven,
        is_unready: known.is_unready,
        restarts: known.restarts,
        away: known.away.map(|since| since.0),
        paused: known.paused.map(|since| since.0),
        is_ended: known.is_ended,
        unaddressed: known.unaddressed.map(|it| (it.since.0, it.is_told)),
    }
}

fn unpack_known(state: KnownState, past: impl Fn(u64) -> Moment) -> KnownReplica {
    let unaddressed = state.unaddressed;
    KnownReplica {
        name: state.name,
        number: state.number,
        run: state.run,
        proven: state.proven,
        is_unready: state.is_unready,
        restarts: state.restarts,
        away: state.away.map(&past),
        paused: state.paused.map(&past),
        is_ended: state.is_ended,
        unaddressed: unaddressed
            .map(|(since, is_told)| Unaddressed { since: past(since), is_told }),
    }
}

/// A time in the future, after the clock was set back, is read as now, so that nothing waits for
/// years.
pub(crate) fn parse(text: &str, now: Moment) -> Result<Memory, String> {
    let state: StateFile = serde_json::from_str(text).map_err(|err| err.to_string())?;
    if state.version != VERSION {
        return Err(format!(
            "format version {} is not supported (expected {VERSION})",
            state.version
        ));
    }
    let services = state.services.into_iter().map(|(name, s)| (name, unpack(s, now)));
    let labels = state.labels.into_iter().map(StoredLabels::unpack).collect();
    let has_config_file = state.has_config_file;
    let preemptions = state.preemptions.unpack(now);
    Ok(Memory { services: services.collect(), preemptions, labels, has_config_file })
}

fn unpack(state: ServiceState, now: Moment) -> ServiceMemory {
    let past = |ms: u64| Moment(ms).min(now);
    let drain = |(id, drain): (String, DrainState)| {
        // Looks that were not seen by this daemon do not count.
        let step = match (drain.released, drain.ended) {
            (_, true) => DrainStep::Ended,
            (true, false) => DrainStep::Drained,
            (false, false) => DrainStep::Draining { quiet: 0 },
        };
        (ContainerId(id), Drain { since: past(drain.since), step })
    };
    let recommendation = |(at, replicas)| Recommendation { at: past(at), replicas };
    let change = |(at, replicas)| ScalingEvent { at: past(at), replicas };
    let history = History {
        recommendations: state.recommendations.into_iter().map(recommendation).collect(),
        ups: state.ups.into_iter().map(change).collect(),
        downs: state.downs.into_iter().map(change).collect(),
    };
    let hold = state.hold.map(|hold| Hold {
        count: hold.count,
        until: hold.until.map(Moment),
        reason: hold.reason,
    });
    let unhealthy = |(id, state): (String, UnhealthyState)| {
        let UnhealthyState { since, error, served, ignored } = state;
        (ContainerId(id), Unhealthy { since: past(since), error, served, ignored })
    };
    ServiceMemory {
        history,
        hold,
        unhealthy: state.unhealthy.into_iter().map(unhealthy).collect(),
        panic_mode: state.panic_mode.map(|s| PanicMode { until: s.until.map(past) }),
        rollout: state.rollout.unpack(past),
        sleep: state.sleep.unpack(past),
        forecast: state.forecast.map(|raise| raise.unpack(past)),
        swarm: state.swarm.map(|SwarmState { seen, asked }| SwarmMemory { seen, asked }),
        known: state
            .known
            .into_iter()
            .map(|(id, known)| (ContainerId(id), unpack_known(known, past)))
            .collect(),
        started: state
            .started
            .into_iter()
            .map(|(number, (id, looks))| (number, Started { id: ContainerId(id), looks }))
            .collect(),
        restarts: state.restarts.into_iter().map(past).collect(),
        pause: state.pause.map(|pause| Pause { until: pause.until.map(Moment) }),
        desired: state.desired,
        last_number: state.last_number.min(NUMBER_MAX),
        changed_at: state.changed_at.map(past),
        drains: state.drains.into_iter().map(drain).collect(),
        failures: Failures {
            count: state.failures,
            last: past(state.failed_at),
            well_since: state.well_since.map(past),
            short_since: state.short_since.map(past),
        },
    }
}

#[cfg(test)]
mod tests {
    use crate::model::history::{History, Recommendation, ScalingEvent};
    use std::sync::Arc;
    use std::time::Duration;

    use crate::model::container_options::{
        ContainerOptions, DeviceMapping, GpuRequest, LogSettings, Ulimit,
    };
    use crate::model::forecast::ForecastRaise;
    use crate::model::hooks::Hooks;
    use crate::model::image::{ImageMemory, ImagePin};
    use crate::model::label_set::{ContainerFacts, LabelSet};
    use crate::model::memory::{
        Drain, DrainStep, Failures, Hold, KnownReplica, Memory, PanicMode, Pause, ServiceMemory,
        Started, Unaddressed, Unhealthy,
    };
    use crate::model::replica::ContainerId;
    use crate::model::rollout::{Progress, Revision, RolloutMemory};
    use crate::model::secret::Secret;
    use crate::model::service::{ContainerSpec, Origin, Restart};
    use crate::model::sleep::{SleepMemory, WakeCause, WakeUp};
    use crate::model::swarm::SwarmMemory;
    use crate::model::time::Moment;
    use crate::store::preemption;
    use crate::store::wire::{parse, text};

    fn pin() -> ImagePin {
        ImagePin { digest: "sha256:1".to_owned(), id: "sha256:2".to_owned() }
    }

    fn images() -> ImageMemory {
        let mut images = ImageMemory {
            image: "web:1".to_owned(),
            pin: Some(pin()),
            from: Some("sha256:0".to_owned()),
            ..ImageMemory::default()
        };
        images.reject("sha256:3".to_owned(), "spec".to_owned());
        images
    }

    /// With something in every field.
    fn recipe() -> Revision {
        let text = |text: &str| text.to_owned();
        let container = ContainerSpec {
            origin: Origin::Image(text("web:1")),
            pin: Some(pin()),
            command: vec![text("serve")],
            environment: [(text("KEY"), Secret::new(text("s3cret")))].into(),
            volumes: vec![text("/a:/b")],
            nano_cpus: Some(5),
            memory: Some(6),
            networks: vec![text("shop")],
            labels: [(text("a"), text("b"))].into(),
            user: Some(text("1000")),
            restart: Restart::OnFailure(3),
            options: options(),
        };
        let hooks = Hooks {
            before_stop: vec![text("flush")],
            after_ready: vec![text("warm"), text("up")],
            timeout: Duration::from_millis(1500),
        };
        Revision { container, port: 7, hooks }
    }

    fn options() -> ContainerOptions {
        let text = |text: &str| text.to_owned();
        let map = |value: &str| [(text("k"), text(value))].into();
        ContainerOptions {
            entrypoint: Some(Vec::new()),
            hostname: Some(text("web")),
            working_dir: Some(text("/srv")),
            stop_signal: Some(text("QUIT")),
            init: Some(false),
            read_only: true,
            extra_hosts: vec![text("a:10.0.0.1")],
            cap_add: [text("KILL")].into(),
            cap_drop: [text("ALL")].into(),
            security_opt: vec![text("no-new-privileges")],
            tmpfs: map("size=1m"),
            devices: vec![DeviceMapping {
                host: text("/dev/a"),
                container: text("/dev/b"),
                permissions: text("r"),
            }],
            ulimits: [(text("core"), Ulimit { soft: -1, hard: 2 })].into(),
            sysctls: map("1"),
            shm_size: Some(9),
            gpus: vec![GpuRequest {
                driver: text("d"),
                count: -1,
                device_ids: vec![text("0")],
                capabilities: vec![text("gpu")],
                options: map("o"),
            }],
            logging: Some(LogSettings {
                driver: None,
                options: [(text("token"), Secret::new(text("s3cret")))].into(),
            }),
        }
    }

    fn raised() -> ForecastRaise {
        let asked = Recommendation { at: Moment(800), replicas: 6 };
        ForecastRaise { load: 3, to: 5, asked }
    }

    fn asleep() -> SleepMemory {
        SleepMemory {
            asleep: Some(Moment(890)),
            is_told: true,
            wake_up: Some(WakeUp {
                since: Moment(870),
                by: WakeCause::Schedule,
                is_ready: true,
                is_used: false,
                is_told: true,
            }),
        }
    }

    fn labels() -> LabelSet {
        LabelSet {
            project: "shop".to_owned(),
            service: "web".to_owned(),
            container: "shop-web-1".to_owned(),
            created: 5,
            labels: [("port".to_owned(), "80".to_owned())].into(),
            is_cut: false,
            facts: Some(ContainerFacts { ports: vec![80], has_health_check: true, replicas: 2 }),
        }
    }

    fn sample() -> Memory {
        let drain = |since, step| Drain { since: Moment(since), step };
        let unhealthy =
            Unhealthy { since: Moment(920), error: "503".into(), served: true, ignored: true };
        let web = ServiceMemory {
            desired: Some(3),
            last_number: 7,
            changed_at: Some(Moment(1000)),
            drains: [
                (ContainerId("a".to_owned()), drain(900, DrainStep::Drained)),
                (ContainerId("b".to_owned()), drain(950, DrainStep::Draining { quiet: 0 })),
                (ContainerId("d".to_owned()), drain(900, DrainStep::Ended)),
            ]
            .into(),
            failures: Failures {
                count: 2,
                last: Moment(800),
                well_since: Some(Moment(850)),
                short_since: Some(Moment(860)),
            },
            hold: Some(Hold { count: 4, until: Some(Moment(9000)), reason: Some("sale".into()) }),
            pause: Some(Pause { until: None }),
            unhealthy: [(ContainerId("c".to_owned()), unhealthy)].into(),
            panic_mode: Some(PanicMode { until: Some(Moment(940)) }),
            rollout: RolloutMemory {
                restart_up_to: 3,
                good: Some(Arc::new(recipe())),
                rejected: Some("bad".to_owned()),
                under_way: Some(Progress::begun("good".to_owned(), Moment(930))),
                images: images(),
            },
            history: History {
                recommendations: vec![Recommendation { at: Moment(700), replicas: 5 }],
                ups: vec![ScalingEvent { at: Moment(600), replicas: 1 }],
                downs: vec![ScalingEvent { at: Moment(500), replicas: 2 }],
            },
            sleep: asleep(),
            forecast: Some(raised()),
            swarm: Some(SwarmMemory { seen: 3, asked: Some(4) }),
            known: [(
                ContainerId("b".to_owned()),
                KnownReplica {
                    name: "web-old".to_owned(),
                    number: 6,
                    run: Some(11),
                    proven: Some(10),
                    is_unready: true,
                    restarts: 2,
                    away: Some(Moment(905)),
                    paused: Some(Moment(904)),
                    is_ended: true,
                    unaddressed: Some(Unaddressed { since: Moment(910), is_told: true }),
                },
            )]
            .into(),
            started: [(7, Started { id: ContainerId("e".to_owned()), looks: 1 })].into(),
            restarts: vec![Moment(880), Moment(885)],
        };
        let labels = labels();
        let services = [("web".to_owned(), web)].into();
        let preemptions = preemption::sample();
        Memory { services, preemptions, labels: vec![labels], has_config_file: true }
    }

    #[test]
    fn what_is_stored_comes_back() {
        assert_eq!(parse(&text(&sample()), Moment(1000)).unwrap(), sample());
    }

    #[test]
    fn a_recipe_of_a_version_before_the_options_is_read() {
        let mut memory = sample();
        let web = memory.services.get_mut("web").unwrap();
        let mut plain = recipe();
        plain.container.options = ContainerOptions::default();
        web.rollout.good = Some(Arc::new(plain));
        let stored = text(&memory);
        assert!(!stored.contains("\"options\""), "{stored}");
        assert_eq!(parse(&stored, Moment(1000)).unwrap(), memory);
    }

    #[test]
    fn nothing_comes_back_from_the_future() {
        let memory = parse(&text(&sample()), Moment(950)).unwrap();
        assert_eq!(memory.services["web"].changed_at, Some(Moment(950)));
        assert_eq!(memory.services["web"].failures.last, Moment(800));
        assert_eq!(memory.preemptions.refused["cron"], Moment(600_900));
        // The clock was put back by a day: a service that gets no room waits ten minutes at most.
        let mut late = sample();
        late.preemptions.refused.insert("cron".to_owned(), Moment(86_400_000));
        let late = parse(&text(&late), Moment(950)).unwrap();
        assert_eq!(late.preemptions.refused["cron"], Moment(950 + 600_000));
    }

    #[test]
    fn what_is_not_stored_is_no_reason_to_write() {
        let mut other = sample();
        other.preemptions.room_since = Some(Moment(5));
        assert_eq!(text(&other), text(&sample()));
        assert!(other.is_like(&sample()));
        other.preemptions.refused.clear();
        assert!(!other.is_like(&sample()));
    }

    #[test]
    fn a_damaged_file_is_told_apart() {
        let good = text(&sample());
        let other = good.replace("\"version\": 1", "\"version\": 2");
        for bad in ["", "{}", "null", &good[..good.len() / 2], &other] {
            assert!(parse(bad, Moment(0)).is_err(), "{bad}");
        }
    }
}
