//! The number of replicas that one metric proposes, as Kubernetes' HPA calculates it
//! (`ReplicaCalculator` in `pkg/controller/podautoscaler/replica_calculator.go`:
//! `GetResourceReplicas`, `calcPlainMetricReplicas`, `GetObjectMetricReplicas`,
//! `GetExternalPerPodMetricReplicas`). `tests/hpa` holds HPA's own answers. Stabilization, scaling
//! policies and bounds come later, in `normalize.rs`.
//!
//! Sums are exact; the quotient is cut to a whole percent or thousandth, and only then becomes a
//! float. This rounds where HPA rounds and in the same order: a difference in the last place can
//! be a replica more.

use crate::decide::classify::ReplicaClass;
use crate::model::metric::Milli;

/// 100 %. A percentage in `Milli` is in thousandths of a percent.
const FULL: Milli = Milli(100_000);

#[derive(Clone, Copy, Debug)]
pub(crate) struct ProposalInput<'a> {
    pub(crate) measure: Measure,
    /// More than 0.
    pub(crate) target: Milli,
    /// One for each replica, with or without a reading.
    pub(crate) samples: &'a [Sample],
    /// The number before this decision.
    pub(crate) current: u32,
    pub(crate) tolerance: Tolerance,
}

/// What was measured, and what the target applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Percent of what the replicas with a reading may use together.
    Utilization,
    /// One total for all replicas; the target is per replica.
    Shared(Milli),
    /// One value that holds for every replica, as a response time does; the target is for the
    /// value itself.
    Common(Milli),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) class: ReplicaClass,
    /// `None` is a missing reading.
    pub(crate) used: Option<Milli>,
    /// The limit. Utilization needs it of every replica, other measures do not.
    pub(crate) allowed: Option<Milli>,
}

/// A ratio of value to target from `1 - down` to `1 + up`, both included, changes nothing. HPA has
/// one tolerance for each direction; the config has one for both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tolerance {
    pub(crate) down: f64,
    pub(crate) up: f64,
}

impl Tolerance {
    pub(crate) fn from_hundredths(hundredths: u32) -> Tolerance {
        let share = f64::from(hundredths) / 100.0;
        Tolerance { down: share, up: share }
    }

    fn covers(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Proposal {
    pub(crate) replicas: u32,
    /// In the unit of the target. Without the values assumed for missing readings.
    pub(crate) value: Milli,
    /// `value` divided by the target.
    pub(crate) ratio: f64,
    pub(crate) outcome: Outcome,
}

/// How the ratio became a number. `filled` is the ratio with assumed values for missing readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    Followed,
    /// Kept: too close to the target.
    Tolerated,
    FollowedFilled {
        filled: f64,
    },
    /// Kept: the missing readings may explain the difference.
    ToleratedFilled {
        filled: f64,
    },
    /// Kept: with the missing readings the ratio points the other way.
    RatioTurned {
        filled: f64,
    },
    /// Kept: the number of replicas observed differs from the number decided on, so that the
    /// proposal would go against the ratio.
    CountTurned {
        filled: f64,
        count: u32,
    },
}

/// Why there is no proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoProposal {
    NoReplica,
    NoReading,
    /// There are readings, but none of a ready replica.
    NoneReady,
    /// A replica has no limit to take a percentage of.
    NoLimit,
}

pub(crate) fn propose(input: &ProposalInput) -> Result<Proposal, NoProposal> {
    match input.measure {
        Measure::Utilization => from_samples(input),
        Measure::Shared(total) => Ok(from_total(input, total)),
        Measure::Common(value) => Ok(from_value(input, value)),
    }
}

/// The sum of readings. Assumed values for missing ones are added later.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    used: u128,
    allowed: u128,
    count: u32,
}

impl Sums {
    fn add(&mut self, used: u128, sample: &Sample) {
        self.used = self.used.saturating_add(used);
        let allowed = sample.allowed.unwrap_or_default();
        self.allowed = self.allowed.saturating_add(u128::from(allowed.0));
        self.count = self.count.saturating_add(1);
    }

    /// The value and its ratio to the target; `None` when the limit is 0.
    fn ratio(&self, input: &ProposalInput) -> Option<(Milli, f64)> {
        let target = input.target.0.max(1) as f64;
        match input.measure {
            Measure::Utilization => {
                let percent = self.used.saturating_mul(100).checked_div(self.allowed)?;
                let percent = percent.min(u128::from(COUNT_MAX)) as u64;
                // Whole percent of both: this is where HPA has them, and 1.1 is not 1100 / 1000.
                let ratio = percent as f64 / (target / 1000.0);
                Some((Milli(percent * 1000), ratio))
            }
            Measure::Shared(_) | Measure::Common(_) => {
                let average = self.used.checked_div(u128::from(self.count))?;
                let average = u64::try_from(average).unwrap_or(u64::MAX);
                Some((Milli(average), average as f64 / target))
            }
        }
    }
}

fn from_samples(input: &ProposalInput) -> Result<Proposal, NoProposal> {
    let ProposalInput { current, tolerance, samples, .. } = *input;
    let read = read(input)?;
    let (value, ratio) = read.ratio(input).ok_or(NoProposal::NoLimit)?;
    let proposal = |replicas, outcome| Ok(Proposal { replicas, value, ratio, outcome });

    let missing = samples.iter().any(is_missing);
    let unready = samples.iter().any(is_unready) && 1.0 < ratio;
    if !missing && !unready {
        if tolerance.covers(ratio) {
            return proposal(current, Outcome::Tolerated);
        }
        return proposal(count(ratio * f64::from(read.count)), Outcome::Followed);
    }

    let sums = fill(input, read, ratio);
    let (_, filled) = sums.ratio(input).ok_or(NoProposal::NoLimit)?;
    if tolerance.covers(filled) {
        return proposal(current, Outcome::ToleratedFilled { filled });
    }
    if (ratio < 1.0 && 1.0 < filled) || (1.0 < ratio && filled < 1.0) {
        return proposal(current, Outcome::RatioTurned { filled });
    }
    let count = count(filled * f64::from(sums.count));
    if (filled < 1.0 && current < count) || (1.0 < filled && count < current) {
        return proposal(current, Outcome::CountTurned { filled, count });
    }
    proposal(count, Outcome::FollowedFilled { filled })
}

fn is_missing(sample: &Sample) -> bool {
    sample.class == ReplicaClass::Ready && sample.used.is_none()
}

/// With or without a reading: the reading of a replica that does not serve yet shows its start,
/// not the load.
fn is_unready(sample: &Sample) -> bool {
    sample.class == ReplicaClass::Unready
}

fn read(input: &ProposalInput) -> Result<Sums, NoProposal> {
    let samples = input.samples;
    if samples.is_empty() {
        return Err(NoProposal::NoReplica);
    }
    let mut sums = Sums::default();
    for sample in samples.iter().filter(|s| s.class == ReplicaClass::Ready) {
        if let Some(used) = sample.used {
            sums.add(u128::from(used.0), sample);
        }
    }
    if sums.count == 0 {
        let read = samples.iter().any(|s| s.used.is_some());
        return Err(if read { NoProposal::NoneReady } else { NoProposal::NoReading });
    }
    let limited = samples.iter().all(|s| s.allowed.is_some());
    if input.measure == Measure::Utilization && !limited {
        return Err(NoProposal::NoLimit);
    }
    Ok(sums)
}

/// Adds an assumed value for every missing reading, against the direction of the ratio: full load
/// on the way down, none on the way up. A ratio of 1.0 has no direction.
fn fill(input: &ProposalInput, read: Sums, ratio: f64) -> Sums {
    let mut sums = read;
    let up = 1.0 < ratio;
    let down = ratio < 1.0;
    for sample in input.samples {
        if is_missing(sample) && down {
            sums.add(full(input, sample), sample);
        } else if up && (is_missing(sample) || is_unready(sample)) {
            sums.add(0, sample);
        }
    }
    sums
}

/// The assumed load of a replica without a reading on the way down.
fn full(input: &ProposalInput, sample: &Sample) -> u128 {
    match input.measure {
        Measure::Utilization => {
            let allowed = u128::from(sample.allowed.unwrap_or_default().0);
            let percent = u128::from(input.target.max(FULL).0);
            // Both are below 2^64.
            allowed * percent / u128::from(FULL.0)
        }
        Measure::Shared(_) | Measure::Common(_) => u128::from(input.target.0),
    }
}

fn from_total(input: &ProposalInput, total: Milli) -> Proposal {
    let ProposalInput { current, tolerance, .. } = *input;
    let total = total.min(QUANTITY_MAX);
    let target = input.target.0.max(1) as f64;
    let alone = total.0 as f64 / target;
    // From zero replicas, the total alone gives the number.
    let ratio = if current == 0 { alone } else { total.0 as f64 / (target * f64::from(current)) };
    let value = if current == 0 || total == QUANTITY_MAX {
        total
    } else {
        Milli((total.0 as f64 / f64::from(current)).ceil() as u64)
    };
    if current != 0 && tolerance.covers(ratio) {
        return Proposal { replicas: current, value, ratio, outcome: Outcome::Tolerated };
    }
    Proposal { replicas: count(alone), value, ratio, outcome: Outcome::Followed }
}

fn from_value(input: &ProposalInput, value: Milli) -> Proposal {
    let ProposalInput { current, tolerance, .. } = *input;
    let ratio = value.0 as f64 / input.target.0.max(1) as f64;
    let (replicas, outcome) = if current == 0 {
        (count(ratio), Outcome::Followed)
    } else if tolerance.covers(ratio) {
        (current, Outcome::Tolerated)
    } else {
        let ready = input.samples.iter().filter(|s| s.class == ReplicaClass::Ready).count();
        (count(ratio * ready as f64), Outcome::Followed)
    };
    Proposal { replicas, value, ratio, outcome }
}

/// HPA's replica counts are `int32`.
const COUNT_MAX: u32 = i32::MAX as u32;
/// A Kubernetes quantity is an `int64`.
const QUANTITY_MAX: Milli = Milli(i64::MAX as u64);

fn count(replicas: f64) -> u32 {
    replicas.ceil().min(f64::from(COUNT_MAX)) as u32
}
