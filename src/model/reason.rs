//! The rules that give or change the number of replicas, their texts, and the fixed list of reasons
//! that programs read.

use std::fmt;
use std::time::Duration;

use crate::model::behavior::Cap;
use crate::model::metric::Milli;
use crate::model::service::{Band, Percent};

/// A rule, and the number once it had its say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) rule: Rule,
    pub(crate) number: u32,
}

/// A rule that gave or changed the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// The first look at the service: so many replicas were there.
    Found(u32),
    /// Between two looks the last number stands.
    Standing,
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
    /// Docker compose changed the number of its containers.
    Adopted(u32),
    /// Somebody else changed the number of a Swarm service.
    Rescaled(u32),
    /// Another manager of the Swarm decides: the number is what it has.
    NotLeader,
    /// Replicas that go still finish their requests.
    Draining(u32),
    /// No load to scale by: min and max are equal.
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
    /// Counting the replicas without a sample cautiously, the proposal no longer holds.
    GapsOutweigh {
        value: Percent,
    },
    /// No replica gave a sample.
    NoSample,
    /// The last replica carries the only CPU there is to measure.
    LastOne,
    /// The value is so far over the target, or under it, that the number follows.
    AboveTarget(Gauge),
    BelowTarget(Gauge),
    /// Within the tolerance.
    OnTarget(Gauge),
    /// The replicas without a sample may explain the difference.
    GapsExplain(Gauge),
    /// This metric could not be told.
    Untold {
        metric: &'static str,
    },
    /// Fewer would do, but this metric could not be told and may need them.
    Unsure {
        metric: &'static str,
    },
    /// Something within the window asked for this many.
    ScaleUpStabilized {
        proposed: u32,
        window: Duration,
    },
    ScaleDownStabilized {
        proposed: u32,
        window: Duration,
    },
    /// It may change no faster.
    ScaleUpLimit(Cap),
    ScaleDownLimit(Cap),
    CoolingDown {
        left: Duration,
    },
    EngineLost,
    /// Docker answers, and does not tell of this service of Swarm's.
    SwarmUntold,
    /// A bug of ours: the service is left as it is.
    DecisionFailed,
    /// Docker compose, or whoever runs it, stopped all containers of the service.
    StoppedByCompose,
    /// Starts wait after failures in a row.
    CrashLoop {
        failures: u32,
        left: Duration,
    },
}

/// The reason where nothing limits the number. HPA's condition `ScalingLimited` has the same word.
pub(crate) const WITHIN_RANGE: &str = "DesiredWithinRange";

/// Every reason that a decision can have.
pub(crate) const REASONS: [&str; 16] = [
    WITHIN_RANGE,
    "TooFewReplicas",
    "TooManyReplicas",
    "ScaleUpStabilized",
    "ScaleDownStabilized",
    "ScaleUpLimit",
    "ScaleDownLimit",
    "Held",
    "Paused",
    "NoHeadroom",
    "Draining",
    "OutsideHours",
    "CoolingDown",
    "MetricsMissing",
    "CrashLoop",
    "StoppedByCompose",
];

/// What a metric showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gauge {
    pub(crate) metric: &'static str,
    pub(crate) value: Milli,
    pub(crate) target: Milli,
    pub(crate) unit: &'static str,
}

impl fmt::Display for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gauge { metric, value, target, unit } = self;
        write!(f, "{metric} {value}{unit} for a target of {target}{unit}")
    }
}

impl Rule {
    /// The stable word of the fixed list; where HPA has one, it is HPA's.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Rule::Found(_)
            | Rule::Adopted(_)
            | Rule::Rescaled(_)
            | Rule::Standing
            | Rule::NoMetric
            | Rule::InsideBand { .. }
            | Rule::AboveBand { .. }
            | Rule::BelowBand { .. }
            | Rule::WouldBounce { .. }
            | Rule::LastOne
            | Rule::AboveTarget(_)
            | Rule::BelowTarget(_)
            | Rule::OnTarget(_) => WITHIN_RANGE,
            Rule::ScaleUpStabilized { .. } => "ScaleUpStabilized",
            Rule::ScaleDownStabilized { .. } => "ScaleDownStabilized",
            Rule::ScaleUpLimit(_) => "ScaleUpLimit",
            Rule::ScaleDownLimit(_) => "ScaleDownLimit",
            Rule::BelowMin(_) => "TooFewReplicas",
            Rule::AboveMax(_) => "TooManyReplicas",
            Rule::GapsOutweigh { .. }
            | Rule::NoSample
            | Rule::GapsExplain(_)
            | Rule::Untold { .. }
            | Rule::Unsure { .. }
            | Rule::EngineLost
            | Rule::SwarmUntold
            | Rule::DecisionFailed => "MetricsMissing",
            Rule::OutsideHours => "OutsideHours",
            Rule::Held { .. } => "Held",
            Rule::Paused { .. } | Rule::NotLeader => "Paused",
            Rule::NoHeadroom { .. } => "NoHeadroom",
            Rule::Draining(_) => "Draining",
            Rule::CoolingDown { .. } => "CoolingDown",
            Rule::CrashLoop { .. } => "CrashLoop",
            Rule::StoppedByCompose => "StoppedByCompose",
        }
    }
}

impl Rule {
    /// The number is as desired: no limit, command or missing reading explains it.
    pub(crate) fn is_within_range(&self) -> bool {
        self.word() == WITHIN_RANGE
    }

    /// Load did not decide on the number, or not on current readings.
    pub(crate) fn is_without_load(&self) -> bool {
        match self {
            Rule::Standing
            | Rule::OutsideHours
            | Rule::Held { .. }
            | Rule::Paused { .. }
            | Rule::NotLeader
            | Rule::CoolingDown { .. }
            | Rule::GapsOutweigh { .. }
            | Rule::NoSample
            | Rule::GapsExplain(_)
            | Rule::Untold { .. }
            | Rule::Unsure { .. }
            | Rule::EngineLost
            | Rule::SwarmUntold
            | Rule::DecisionFailed => true,
            Rule::Found(_)
            | Rule::BelowMin(_)
            | Rule::AboveMax(_)
            | Rule::NoHeadroom { .. }
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
            | Rule::StoppedByCompose
            | Rule::CrashLoop { .. } => false,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Found(n) => write!(f, "{n} found running"),
            Rule::Adopted(n) => write!(f, "docker compose made it {n}"),
            Rule::Rescaled(n) => write!(f, "somebody else had Swarm make it {n}"),
            Rule::NotLeader => write!(f, "this node does not lead the Swarm"),
            Rule::Standing => write!(f, "stands since the last look"),
            Rule::BelowMin(min) => write!(f, "at least {min}"),
            Rule::AboveMax(max) => write!(f, "at most {max}"),
            Rule::OutsideHours => write!(f, "outside the business hours"),
            Rule::Held { left: None } => write!(f, "held until it is released"),
            Rule::Held { left: Some(left) } => write!(f, "held for {}s more", ceil_s(*left)),
            Rule::Paused { left: None } => write!(f, "paused until it is resumed"),
            Rule::Paused { left: Some(left) } => write!(f, "paused for {}s more", ceil_s(*left)),
            Rule::NoHeadroom { free, needed } => {
                let (free, needed) = (free >> 20, needed >> 20);
                write!(f, "a replica takes {needed} MiB, the host has {free} beside its reserve")
            }
            Rule::Draining(count) => write!(f, "{count} still finish their requests"),
            Rule::NoMetric => write!(f, "min and max are equal"),
            Rule::InsideBand { value, band } => {
                write!(f, "cpu {value} inside the band {} to {}", band.lower(), band.upper())
            }
            Rule::AboveBand { value, upper } => write!(f, "cpu {value} >= {upper}"),
            Rule::BelowBand { value, lower } => write!(f, "cpu {value} <= {lower}"),
            Rule::WouldBounce { projected, upper } => {
                write!(f, "one fewer would carry {projected} >= {upper}")
            }
            Rule::GapsOutweigh { value } => write!(f, "cpu {value} with the gaps filled"),
            Rule::NoSample => write!(f, "no cpu sample"),
            Rule::LastOne => write!(f, "the last replica stays"),
            Rule::AboveTarget(gauge) | Rule::BelowTarget(gauge) => gauge.fmt(f),
            Rule::GapsExplain(gauge) => {
                write!(f, "{gauge}, which the replicas without a sample may explain")
            }
            Rule::OnTarget(gauge) => write!(f, "{gauge} is near enough"),
            Rule::Untold { metric } => write!(f, "{metric} could not be told"),
            Rule::Unsure { metric } => {
                write!(f, "{metric} could not be told, so none is taken away")
            }
            Rule::ScaleUpStabilized { proposed, window } => {
                write!(f, "only {proposed} were asked for within the last {}s", ceil_s(*window))
            }
            Rule::ScaleDownStabilized { proposed, window } => {
                write!(f, "{proposed} were asked for within the last {}s", ceil_s(*window))
            }
            Rule::ScaleUpLimit(cap) | Rule::ScaleDownLimit(cap) => cap.fmt(f),
            Rule::CoolingDown { left } => write!(f, "cooling down for {}s more", ceil_s(*left)),
            Rule::EngineLost => write!(f, "docker does not answer"),
            Rule::SwarmUntold => write!(f, "Swarm does not tell of it"),
            Rule::DecisionFailed => write!(f, "the decision failed, see the log"),
            Rule::StoppedByCompose => {
                write!(f, "stopped by compose; nothing is started until compose starts it")
            }
            Rule::CrashLoop { failures, left } => {
                write!(f, "{failures} failures in a row, next start in {}s", ceil_s(*left))
            }
        }
    }
}

fn ceil_s(span: Duration) -> u128 {
    span.as_millis().div_ceil(1000)
}
