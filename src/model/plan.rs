//! What to do, and why. The answer of `decide`, the input of `act`.

use std::fmt;
use std::time::Duration;

use crate::model::action::Action;
use crate::model::proxy::Server;
use crate::model::schedule::Standing;
use crate::model::service::Percent;

/// What one service needs now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The number before and after this decision.
    pub(crate) from: u32,
    pub(crate) wanted: u32,
    pub(crate) standing: Standing,
    /// Every rule that gave or changed the number, in order; never empty.
    pub(crate) because: Vec<Rule>,
    pub(crate) actions: Vec<Action>,
    pub(crate) steps: Vec<Step>,
    /// The servers HAProxy is to have for the service.
    pub(crate) servers: Vec<Server>,
    /// When to look again if nothing wakes us before, because something waits to go on.
    pub(crate) again: Option<Duration>,
}

impl Plan {
    /// The one word for the whole decision: that of the last rule.
    pub(crate) fn reason(&self) -> &'static str {
        self.because.last().map_or("DesiredWithinRange", Rule::word)
    }
}

/// A change in what is remembered about one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Drain {
        number: u32,
    },
    /// Load came back before the replica was empty.
    PutBack {
        number: u32,
    },
    /// It stopped by itself.
    Exited {
        number: u32,
    },
    /// Empty, or out of time with `cut` sessions left.
    Release {
        number: u32,
        cut: u64,
    },
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
    /// No load to scale by: min and max are equal.
    NoMetric,
    InsideBand {
        value: Percent,
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
    CoolingDown {
        left: Duration,
    },
    EngineLost,
    /// A bug of ours: the service is left as it is.
    DecisionFailed,
    /// Starts wait after failures in a row.
    CrashLoop {
        failures: u32,
        left: Duration,
    },
}

impl Rule {
    /// The stable word of the fixed list; where HPA has one, it is HPA's.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Rule::Found(_)
            | Rule::Standing
            | Rule::NoMetric
            | Rule::InsideBand { .. }
            | Rule::AboveBand { .. }
            | Rule::BelowBand { .. }
            | Rule::WouldBounce { .. }
            | Rule::LastOne => "DesiredWithinRange",
            Rule::BelowMin(_) => "TooFewReplicas",
            Rule::AboveMax(_) => "TooManyReplicas",
            Rule::GapsOutweigh { .. }
            | Rule::NoSample
            | Rule::EngineLost
            | Rule::DecisionFailed => "MetricsMissing",
            Rule::OutsideHours => "OutsideHours",
            Rule::CoolingDown { .. } => "CoolingDown",
            Rule::CrashLoop { .. } => "CrashLoop",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Found(n) => write!(f, "{n} found running"),
            Rule::Standing => write!(f, "stands since the last look"),
            Rule::BelowMin(min) => write!(f, "at least {min}"),
            Rule::AboveMax(max) => write!(f, "at most {max}"),
            Rule::OutsideHours => write!(f, "outside the business hours"),
            Rule::NoMetric => write!(f, "min and max are equal"),
            Rule::InsideBand { value } => write!(f, "cpu {value} inside the band"),
            Rule::AboveBand { value, upper } => write!(f, "cpu {value} >= {upper}"),
            Rule::BelowBand { value, lower } => write!(f, "cpu {value} <= {lower}"),
            Rule::WouldBounce { projected, upper } => {
                write!(f, "one fewer would carry {projected} >= {upper}")
            }
            Rule::GapsOutweigh { value } => write!(f, "cpu {value} with the gaps filled"),
            Rule::NoSample => write!(f, "no cpu sample"),
            Rule::LastOne => write!(f, "the last replica stays"),
            Rule::CoolingDown { left } => write!(f, "cooling down for {}s more", ceil_s(*left)),
            Rule::EngineLost => write!(f, "docker does not answer"),
            Rule::DecisionFailed => write!(f, "the decision failed, see the log"),
            Rule::CrashLoop { failures, left } => {
                write!(f, "{failures} failures in a row, next start in {}s", ceil_s(*left))
            }
        }
    }
}

fn ceil_s(span: Duration) -> u128 {
    span.as_millis().div_ceil(1000)
}
