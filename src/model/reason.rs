//! The rules that give or change the number of replicas, their texts, and the fixed list of reasons
//! that programs read.

use std::fmt;
use std::time::Duration;

use crate::model::behavior::Cap;
use crate::model::metric::Milli;
use crate::model::service::{Band, Percent};
use crate::model::units::plural;

/// A rule, and the number after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AppliedRule {
    pub(crate) rule: Rule,
    pub(crate) number: u32,
}

/// A rule that gave or changed the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Requests wait for a service without a replica.
    Woken {
        waiting: u64,
    },
    /// No replica is needed until a request comes. `None`: how long none came is unknown.
    Asleep {
        idle: Option<Duration>,
    },
    /// One replica stays for requests, for so long if none comes. `None`: something needs it.
    Awake {
        left: Option<Duration>,
    },
    /// The first tick of the service found this many replicas.
    Found(u32),
    /// Between two evaluations the last number stays.
    Unchanged,
    BelowMin(u32),
    AboveMax(u32),
    /// The business hours are over, or have not begun.
    OutsideHours,
    /// An operator set the number. `None`: until it is released.
    Held {
        left: Option<Duration>,
    },
    /// An operator stopped scaling.
    Paused {
        left: Option<Duration>,
    },
    /// The host has not enough memory for more replicas. Bytes.
    NoHeadroom {
        free: u64,
        needed: u64,
    },
    /// The host's processors are busy: more replicas would not get more of them. `pressure`: the
    /// share of the time in which processes wait for one, where that and not `idle` says so.
    HostBusy {
        idle: Percent,
        pressure: Option<Percent>,
    },
    /// The service gave replicas up for one of a higher priority.
    Preempted {
        taken: u32,
        priority: u8,
    },
    /// A replica that it gave up is given back.
    GivenBack,
    /// A service of a lower priority gave a replica up for this one.
    RoomMade,
    /// Docker compose changed the number of its containers.
    Adopted(u32),
    /// Somebody else changed the replicas of the Swarm service.
    Rescaled(u32),
    /// Another manager leads the Swarm: the number is the one that Swarm has.
    NotLeader,
    /// The number is reached; this many replicas still drain.
    Draining(u32),
    /// No metric to scale by: min and max are equal, or a request wakes the only replica.
    NoMetric,
    InsideBand {
        value: Percent,
        band: Band,
    },
    AboveBand {
        value: Percent,
        upper: Percent,
    },
    BelowBand {
        value: Percent,
        lower: Percent,
    },
    /// One replica fewer would carry this much, at or above the upper threshold.
    WouldBounce {
        projected: Percent,
        upper: Percent,
    },
    /// With cautious values for missing samples the proposal no longer holds.
    GapsOutweigh {
        value: Percent,
    },
    /// No replica gave a sample.
    NoSample,
    /// The thresholds never remove the last replica: nothing would be left to measure.
    LastOne,
    /// The value is above or below the target by more than the tolerance.
    AboveTarget(MetricStatus),
    BelowTarget(MetricStatus),
    /// Within the tolerance.
    OnTarget(MetricStatus),
    /// Missing samples may explain the difference to the target.
    WithinUncertainty(MetricStatus),
    /// This metric has no value.
    Unavailable {
        metric: &'static str,
    },
    /// Other metrics propose fewer, but this one has no value and may need more.
    ScaleDownBlocked {
        metric: &'static str,
    },
    /// A proposal within the stabilization window holds the number.
    ScaleUpStabilized {
        proposed: u32,
        window: Duration,
    },
    ScaleDownStabilized {
        proposed: u32,
        window: Duration,
    },
    /// A scaling policy limits the change.
    ScaleUpLimit(Cap),
    ScaleDownLimit(Cap),
    CoolingDown {
        left: Duration,
    },
    /// What load asks for is what it would ask for on this many replicas, without those that the
    /// forecast keeps.
    LoadAlone(u32),
    /// So much load is forecast within so long.
    Forecast {
        load: MetricStatus,
        within: Duration,
    },
    /// As many were forecast within the window.
    ForecastHeld {
        proposed: u32,
        window: Duration,
    },
    EngineLost,
    /// Docker answers, but this Swarm service could not be inspected.
    SwarmUnavailable,
    /// A bug in plimsoll: the service is left as it is.
    DecisionFailed,
    /// Of this many replicas none can serve.
    NoneReady(u32),
    /// Docker compose stopped all containers of the service.
    StoppedByCompose,
    /// The backoff after failures in a row delays starts.
    CrashLoop {
        failures: u32,
        left: Duration,
    },
}

/// The reason where nothing limits the number. HPA's condition `ScalingLimited` has the same word.
pub(crate) const WITHIN_RANGE: &str = "DesiredWithinRange";

/// Every reason that a decision can have.
pub(crate) const REASONS: [&str; 21] = [
    "DesiredWithinRange",
    "TooFewReplicas",
    "TooManyReplicas",
    "ScaleUpStabilized",
    "ScaleDownStabilized",
    "ScaleUpLimit",
    "ScaleDownLimit",
    "Held",
    "Paused",
    "NoHeadroom",
    "Preempted",
    "Draining",
    "OutsideHours",
    "CoolingDown",
    "MetricsMissing",
    "CrashLoop",
    "StoppedByCompose",
    "NoneReady",
    "Asleep",
    "Woken",
    "Forecast",
];

/// The value of a metric beside its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MetricStatus {
    pub(crate) metric: &'static str,
    pub(crate) value: Milli,
    pub(crate) target: Milli,
    pub(crate) unit: &'static str,
}

impl fmt::Display for MetricStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MetricStatus { metric, value, target, unit } = self;
        write!(f, "{metric} {value}{unit} for a target of {target}{unit}")
    }
}

impl Rule {
    /// The reason, from the fixed list that programs read. HPA's word where HPA has one.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Rule::Awake { .. }
            | Rule::GivenBack
            | Rule::RoomMade
            | Rule::Found(_)
            | Rule::Adopted(_)
            | Rule::Rescaled(_)
            | Rule::Unchanged
            | Rule::NoMetric
            | Rule::LoadAlone(_)
            | Rule::InsideBand { .. }
            | Rule::AboveBand { .. }
            | Rule::BelowBand { .. }
            | Rule::WouldBounce { .. }
            | Rule::LastOne
            | Rule::AboveTarget(_)
            | Rule::BelowTarget(_)
            | Rule::OnTarget(_) => "DesiredWithinRange",
            Rule::Forecast { .. } | Rule::ForecastHeld { .. } => "Forecast",
            Rule::ScaleUpStabilized { .. } => "ScaleUpStabilized",
            Rule::ScaleDownStabilized { .. } => "ScaleDownStabilized",
            Rule::ScaleUpLimit(_) => "ScaleUpLimit",
            Rule::ScaleDownLimit(_) => "ScaleDownLimit",
            Rule::BelowMin(_) => "TooFewReplicas",
            Rule::AboveMax(_) => "TooManyReplicas",
            Rule::GapsOutweigh { .. }
            | Rule::NoSample
            | Rule::WithinUncertainty(_)
            | Rule::Unavailable { .. }
            | Rule::ScaleDownBlocked { .. }
            | Rule::EngineLost
            | Rule::SwarmUnavailable
            | Rule::DecisionFailed => "MetricsMissing",
            Rule::OutsideHours => "OutsideHours",
            Rule::Held { .. } => "Held",
            Rule::Paused { .. } | Rule::NotLeader => "Paused",
            Rule::NoHeadroom { .. } | Rule::HostBusy { .. } => "NoHeadroom",
            Rule::Preempted { .. } => "Preempted",
            Rule::Draining(_) => "Draining",
            Rule::CoolingDown { .. } => "CoolingDown",
            Rule::CrashLoop { .. } => "CrashLoop",
            Rule::StoppedByCompose => "StoppedByCompose",
            Rule::NoneReady(_) => "NoneReady",
            Rule::Asleep { .. } => "Asleep",
            Rule::Woken { .. } => "Woken",
        }
    }
}

impl Rule {
    /// The number is as desired: no limit, command or missing reading explains it.
    pub(crate) fn is_within_range(&self) -> bool {
        self.word() == WITHIN_RANGE
    }

    /// It explains no outage: nothing limits the number, it was raised ahead of the load, or
    /// readings are missing, as they are where nothing runs that could be read.
    pub(crate) fn is_silent_on_outage(&self) -> bool {
        self.is_within_range() || ["MetricsMissing", "Forecast"].contains(&self.word())
    }

    /// Load did not decide on the number, or not on current readings.
    pub(crate) fn is_without_load(&self) -> bool {
        match self {
            Rule::Unchanged
            | Rule::OutsideHours
            | Rule::Held { .. }
            | Rule::Paused { .. }
            | Rule::NotLeader
            | Rule::CoolingDown { .. }
            | Rule::GapsOutweigh { .. }
            | Rule::NoSample
            | Rule::WithinUncertainty(_)
            | Rule::Unavailable { .. }
            | Rule::ScaleDownBlocked { .. }
            | Rule::EngineLost
            | Rule::SwarmUnavailable
            | Rule::NoneReady(_)
            | Rule::Asleep { .. }
            | Rule::Woken { .. }
            | Rule::Awake { .. }
            | Rule::DecisionFailed => true,
            Rule::Found(_)
            | Rule::BelowMin(_)
            | Rule::AboveMax(_)
            | Rule::NoHeadroom { .. }
            | Rule::HostBusy { .. }
            | Rule::Preempted { .. }
            | Rule::GivenBack
            | Rule::RoomMade
            | Rule::Adopted(_)
            | Rule::Rescaled(_)
            | Rule::Draining(_)
            | Rule::NoMetric
            | Rule::InsideBand { .. }
            | Rule::AboveBand { .. }
            | Rule::BelowBand { .. }
            | Rule::WouldBounce { .. }
            | Rule::LastOne
            | Rule::AboveTarget(_)
            | Rule::BelowTarget(_)
            | Rule::OnTarget(_)
            | Rule::ScaleUpStabilized { .. }
            | Rule::ScaleDownStabilized { .. }
            | Rule::ScaleUpLimit(_)
            | Rule::ScaleDownLimit(_)
            | Rule::LoadAlone(_)
            | Rule::Forecast { .. }
            | Rule::ForecastHeld { .. }
            | Rule::StoppedByCompose
            | Rule::CrashLoop { .. } => false,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Woken { waiting } => fmt_woken(*waiting, f),
            Rule::Asleep { idle } => fmt_asleep(*idle, f),
            Rule::Awake { left } => fmt_awake(*left, f),
            Rule::Found(n) => write!(f, "{n} found running"),
            Rule::Adopted(n) => write!(f, "docker compose set it to {n}"),
            Rule::Rescaled(n) => write!(f, "replicas were set to {n} outside plimsoll"),
            Rule::NotLeader => write!(f, "another node leads the Swarm"),
            Rule::Unchanged => write!(f, "unchanged since the last evaluation"),
            Rule::BelowMin(min) => write!(f, "at least {min}"),
            Rule::AboveMax(max) => write!(f, "at most {max}"),
            Rule::OutsideHours => write!(f, "outside the business hours"),
            Rule::Held { left: None } => write!(f, "held until it is released"),
            Rule::Held { left: Some(left) } => write!(f, "held for {}s more", ceil_s(*left)),
            Rule::Paused { left: None } => write!(f, "paused until it is resumed"),
            Rule::Paused { left: Some(left) } => write!(f, "paused for {}s more", ceil_s(*left)),
            Rule::NoHeadroom { free, needed } => fmt_full(free >> 20, needed >> 20, f),
            Rule::HostBusy { idle, pressure } => fmt_busy(*idle, *pressure, f),
            Rule::Preempted { taken, priority } => fmt_preempted(*taken, *priority, f),
            Rule::GivenBack => write!(f, "there is room again for a replica that was given up"),
            Rule::RoomMade => write!(f, "a service of a lower priority gave a replica up"),
            Rule::Draining(1) => write!(f, "1 replica still drains"),
            Rule::Draining(count) => write!(f, "{count} replicas still drain"),
            Rule::NoMetric => write!(f, "no metric to scale by"),
            Rule::InsideBand { value, band } => {
                write!(f, "cpu {value} inside the band {} to {}", band.lower(), band.upper())
            }
            Rule::AboveBand { value, upper } => write!(f, "cpu {value} >= {upper}"),
            Rule::BelowBand { value, lower } => write!(f, "cpu {value} <= {lower}"),
            Rule::WouldBounce { projected, upper } => {
                write!(f, "one replica fewer would be at {projected} >= {upper}")
            }
            Rule::GapsOutweigh { value } => {
                write!(f, "cpu {value} with cautious values for missing samples")
            }
            Rule::NoSample => write!(f, "no cpu sample"),
            Rule::LastOne => write!(f, "the last replica stays"),
            Rule::AboveTarget(gauge) | Rule::BelowTarget(gauge) => gauge.fmt(f),
            Rule::WithinUncertainty(gauge) => {
                write!(f, "{gauge}, but missing samples may explain the difference")
            }
            Rule::OnTarget(gauge) => write!(f, "{gauge} is within the tolerance"),
            Rule::Unavailable { metric } => write!(f, "{metric} is unavailable"),
            Rule::ScaleDownBlocked { metric } => fmt_blocked(metric, f),
            Rule::ScaleUpStabilized { proposed, window } => {
                write!(f, "only {proposed} were proposed within the last {}s", ceil_s(*window))
            }
            Rule::ScaleDownStabilized { proposed, window } => {
                write!(f, "{proposed} were proposed within the last {}s", ceil_s(*window))
            }
            Rule::ScaleUpLimit(cap) | Rule::ScaleDownLimit(cap) => cap.fmt(f),
            Rule::CoolingDown { left } => write!(f, "cooling down for {}s more", ceil_s(*left)),
            Rule::LoadAlone(n) => fmt_load_alone(*n, f),
            Rule::Forecast { load, within } => fmt_forecast(load, *within, f),
            Rule::ForecastHeld { proposed, window } => fmt_forecast_held(*proposed, *window, f),
            Rule::EngineLost => write!(f, "docker does not answer"),
            Rule::SwarmUnavailable => write!(f, "the Swarm service could not be inspected"),
            Rule::NoneReady(1) => write!(f, "its only replica is not ready"),
            Rule::NoneReady(count) => write!(f, "none of {count} replicas is ready"),
            Rule::DecisionFailed => write!(f, "internal error in plimsoll; see the log"),
            Rule::StoppedByCompose => {
                write!(f, "stopped by compose; nothing starts until compose starts it")
            }
            Rule::CrashLoop { failures, left } => {
                write!(f, "{failures} failures in a row, next start in {}s", ceil_s(*left))
            }
        }
    }
}

fn fmt_blocked(metric: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{metric} is unavailable; not scaling down")
}

fn fmt_preempted(taken: u32, priority: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let replicas = plural(taken, "replica");
    write!(f, "{replicas} given up for a service of priority {priority}")
}

fn fmt_load_alone(n: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "load as on {}, without those of the forecast", plural(n, "replica"))
}

fn fmt_forecast(
    MetricStatus { metric, value, target, unit }: &MetricStatus,
    within: Duration,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let minutes = within.as_secs().div_ceil(60);
    write!(f, "{metric} up to {value}{unit} in all within {minutes} min, ")?;
    write!(f, "for a target of {target}{unit}")
}

fn fmt_forecast_held(proposed: u32, window: Duration, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{proposed} were forecast within the last {}s", ceil_s(window))
}

fn fmt_woken(waiting: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match waiting {
        1 => write!(f, "woken by a request that waits"),
        waiting => write!(f, "woken by {waiting} requests that wait"),
    }
}

fn fmt_asleep(idle: Option<Duration>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match idle {
        None => write!(f, "asleep until a request comes"),
        Some(idle) => write!(f, "asleep: no request for {}s", idle.as_secs()),
    }
}

fn fmt_awake(left: Option<Duration>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match left {
        None => write!(f, "awake"),
        Some(left) => write!(f, "sleeps after {}s without a request", ceil_s(left)),
    }
}

/// In MiB.
fn fmt_full(free: u64, needed: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "a replica needs {needed} MiB; only {free} MiB is free above memory_reserve")
}

fn fmt_busy(idle: Percent, pressure: Option<Percent>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let waits = pressure.map(|share| format!(", processes wait {share} of the time"));
    let waits = waits.unwrap_or_default();
    write!(
        f,
        "the host's processor is busy: {idle} idle{waits}; more replicas would not get more of it"
    )
}

fn ceil_s(span: Duration) -> u128 {
    span.as_millis().div_ceil(1000)
}
