//! How many replicas one metric asks for, as Kubernetes' HPA counts them. Holds nothing back: what
//! was asked for earlier, and how fast the number may change, is for later stages.
//!
//! Sums are exact, then the quotient is cut to a whole percent or a whole thousandth, and only then
//! it becomes a float. Where HPA rounds, this rounds, in the same order: a number that differs by
//! one in the last place can be a replica more.

use crate::decide::classify::ReplicaClass;
use crate::model::metric::Milli;

/// Percent are thousandths of a percent here, as everywhere in `Milli`.
const FULL: Milli = Milli(100_000);

#[derive(Clone, Copy, Debug)]
pub(crate) struct ProposalInput<'a> {
    pub(crate) measure: Measure,
    /// More than 0.
    pub(crate) target: Milli,
    /// One for each replica, with or without a reading.
    pub(crate) samples: &'a [Sample],
    /// How many replicas were last decided on.
    pub(crate) current: u32,
    pub(crate) tolerance: Tolerance,
}

/// What was measured, and what the target is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Percent of what the replicas with a reading may use together.
    Utilization,
    /// One number for all, to be shared: the target is for each replica.
    Shared(Milli),
    /// One number that stands for each replica, as a response time does: the target is for the
    /// number itself.
    Common(Milli),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) class: ReplicaClass,
    /// `None` is a missing reading.
    pub(crate) used: Option<Milli>,
    /// Only utilization asks for it, and then of every replica.
    pub(crate) allowed: Option<Milli>,
}

/// A ratio of value to target from `1 - down` to `1 + up`, both included, changes nothing.
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
    /// In the unit of the target; of the readings there were, not of those made up for gaps.
    pub(crate) value: Milli,
    /// Of this value to the target.
    pub(crate) ratio: f64,
    pub(crate) outcome: Outcome,
}

/// How the ratio became a number. `filled` is the ratio once gaps were counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    Followed,
    /// Kept: too close to the target.
    Tolerated,
    FollowedFilled {
        filled: f64,
    },
    /// Kept: the gaps explain the difference.
    ToleratedFilled {
        filled: f64,
    },
    /// Kept: counting the gaps turns the direction around.
    RatioTurned {
        filled: f64,
    },
    /// Kept: more or fewer replicas were looked at than were decided on, so that the count would
    /// go against the ratio.
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
    /// There are readings, but none of a replica that is ready.
    NoneReady,
    /// Percent of nothing.
    NoLimit,
}

pub(crate) fn propose(input: &ProposalInput) -> Result<Proposal, NoProposal> {
    match input.measure {
        Measure::Utilization => from_samples(input),
        Measure::Shared(total) => Ok(from_total(input, total)),
        Measure::Common(value) => Ok(from_value(input, value)),
    }
}

/// What a number of readings come to; those made up for gaps are added later.
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

    /// The value and its ratio to the target; `None` when it is a share of nothing.
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

/// With or without a reading: that of a replica that does not serve yet tells of its start, not of
/// the load.
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

/// Every gap is counted against the direction in which the ratio points. At 1.0 it points nowhere.
fn fill(input: &ProposalInput, read: Sums, ratio: f64) -> Sums {
    let mut sums = read;
    let (up, down) = (1.0 < ratio, ratio < 1.0);
    for sample in input.samples {
        if is_missing(sample) && down {
            sums.add(full(input, sample), sample);
        } else if up && (is_missing(sample) || is_unready(sample)) {
            sums.add(0, sample);
        }
    }
    sums
}

/// What a replica without a reading is taken to use on the way down.
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
    let (total, target) = (total.min(QUANTITY_MAX), input.target.0.max(1) as f64);
    let alone = total.0 as f64 / target;
    // None to share with: whatever there is asks for as many as it takes.
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

/// The most that HPA's counts can hold.
const COUNT_MAX: u32 = i32::MAX as u32;
/// The most that a Kubernetes quantity can hold.
const QUANTITY_MAX: Milli = Milli(i64::MAX as u64);

fn count(replicas: f64) -> u32 {
    replicas.ceil().min(f64::from(COUNT_MAX)) as u32
}
