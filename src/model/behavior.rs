//! How fast the number may follow the metrics: "behavior" of Kubernetes' HPA v2, word by word.

use std::fmt;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Behavior {
    /// Hundredths: a ratio of value to target within 1 ± this keeps the number; 0 to 100.
    pub(crate) tolerance: u32,
    pub(crate) scale_up: Rules,
    pub(crate) scale_down: Rules,
}

/// Of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// The most cautious proposal of this span counts; 0 to 1 h.
    pub(crate) stabilization: Duration,
    pub(crate) policies: Vec<Policy>,
    pub(crate) select: Select,
}

/// What HPA takes where nothing is said.
impl Rules {
    pub(crate) fn up() -> Rules {
        let period = Duration::from_secs(15);
        let policies = vec![
            Policy { amount: Amount::Replicas(4), period },
            Policy { amount: Amount::Percent(100), period },
        ];
        Rules { stabilization: Duration::ZERO, policies, select: Select::Max }
    }

    pub(crate) fn down() -> Rules {
        let period = Duration::from_secs(15);
        let policies = vec![Policy { amount: Amount::Percent(100), period }];
        Rules { stabilization: Duration::from_secs(300), policies, select: Select::Max }
    }
}

/// At most so much change within `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) amount: Amount,
    /// 1 s to 30 min.
    pub(crate) period: Duration,
}

/// More than 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Amount {
    /// Of the number at the start of the period.
    Percent(u32),
    Replicas(u32),
}

/// What lets the number change no faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cap {
    /// It is still the policy when earlier changes of its period used it up.
    Policy(Policy),
    /// `select` is `disabled`.
    Disabled,
    /// No behavior is set: twice the number, or four.
    Growth,
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cap::Policy(Policy { amount: Amount::Percent(n), period }) => {
                write!(f, "no more than {n}% within {}s", period.as_secs())
            }
            Cap::Policy(Policy { amount: Amount::Replicas(n), period }) => {
                write!(f, "no more than {n} within {}s", period.as_secs())
            }
            Cap::Disabled => f.write_str("this direction is disabled"),
            Cap::Growth => f.write_str("no more than twice the number, or 4, at a time"),
        }
    }
}

/// Of several policies: the one that allows most, the one that allows least, or no change at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Select {
    Max,
    Min,
    Disabled,
}
