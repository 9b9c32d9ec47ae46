//! The proposal of each metric.

use crate::decide::classify::{self, Classified, ReplicaClass};
use crate::decide::hpa::{
    self, Measure, NoProposal, Outcome, Proposal, ProposalInput, Sample, Tolerance,
};
use crate::model::decision::MetricResult;
use crate::model::metric::{Metric, Milli, Reading, Source};
use crate::model::reason::{MetricStatus, Rule};
use crate::model::replica::{Load, Replica};
use crate::model::service::{Band, Percent, Service};
use crate::model::snapshot::Snapshot;

/// Percent. HPA's default (`--horizontal-pod-autoscaler-tolerance`).
const TOLERANCE: u32 = 10;
/// The limit of a replica. Loads are shares of the limit already, so it is 100 %.
const WHOLE: Milli = Milli(100_000);

/// One result for each metric, in the order of the config.
pub(crate) fn measure(
    snapshot: &Snapshot,
    classified: &Classified,
    current: u32,
) -> Vec<MetricResult> {
    let behavior = snapshot.service.behavior.as_ref();
    let tolerance = Tolerance::from_hundredths(behavior.map_or(TOLERANCE, |b| b.tolerance));
    let pairs = snapshot.service.metrics.iter().zip(&snapshot.readings);
    let one = |(metric, reading): (&Metric, &Reading)| {
        let measure = match reading {
            Reading::Replicas => Measure::Utilization,
            Reading::Total(total) => Measure::Shared(*total),
            Reading::Average(value) => Measure::Common(*value),
            Reading::Failed(why) => return unavailable(metric, why.clone()),
            Reading::Pending => return unavailable(metric, "not read yet".to_owned()),
        };
        let samples = samples(snapshot, classified, &metric.source);
        let target = metric.target;
        match hpa::propose(&ProposalInput {
            measure,
            target,
            samples: &samples,
            current,
            tolerance,
        }) {
            Ok(proposal) => available(metric, &proposal),
            Err(blind) => unavailable(metric, words(blind).to_owned()),
        }
    };
    pairs.map(one).collect()
}

/// The lowest average CPU load of the ready replicas at which a service scales up. `None`: CPU does
/// not scale it.
pub(crate) fn cpu_threshold(service: &Service) -> Option<Percent> {
    let tolerance = service.behavior.as_ref().map_or(TOLERANCE, |b| b.tolerance);
    let of_metric = |metric: &&Metric| metric.source == Source::Cpu;
    let targets = service.metrics.iter().filter(of_metric).map(|metric| {
        let tolerated = metric.target.0.saturating_mul(u64::from(tolerance) + 100) / 1000;
        Percent::from_hundredths(tolerated.saturating_add(1))
    });
    targets.chain(service.band.map(Band::upper)).min()
}

fn samples(snapshot: &Snapshot, classified: &Classified, source: &Source) -> Vec<Sample> {
    let load = |r: &Replica| match source {
        Source::Memory => r.memory,
        Source::Cpu | Source::Haproxy(_) | Source::Http { .. } | Source::Prometheus { .. } => {
            r.load
        }
    };
    let sample = |(class, r): &(ReplicaClass, &Replica)| {
        let used = match load(r) {
            Load::Read(percent) => Some(Milli(percent.hundredths().saturating_mul(10))),
            Load::Missing => None,
        };
        // An unhealthy replica is replaced: its successor will carry load, but does not yet.
        let class = match *class {
            ReplicaClass::Unhealthy => ReplicaClass::Unready,
            ReplicaClass::Away => ReplicaClass::Leaving,
            class @ (ReplicaClass::Ready | ReplicaClass::Unready | ReplicaClass::Leaving) => class,
        };
        Sample { class, used, allowed: Some(WHOLE) }
    };
    let hidden = Sample { class: ReplicaClass::Unready, used: None, allowed: Some(WHOLE) };
    let hidden = classify::hidden(snapshot).map(|_| hidden);
    classified.replicas.iter().map(sample).chain(hidden).collect()
}

fn available(metric: &Metric, proposal: &Proposal) -> MetricResult {
    let value = proposal.value;
    let unit = metric.source.unit();
    let gauge = MetricStatus { metric: metric.source.name(), value, target: metric.target, unit };
    let rule = match proposal.outcome {
        Outcome::Followed | Outcome::FollowedFilled { .. } if metric.target < value => {
            Rule::AboveTarget(gauge)
        }
        Outcome::Followed | Outcome::FollowedFilled { .. } => Rule::BelowTarget(gauge),
        Outcome::Tolerated => Rule::OnTarget(gauge),
        Outcome::ToleratedFilled { .. }
        | Outcome::RatioTurned { .. }
        | Outcome::CountTurned { .. } => Rule::WithinUncertainty(gauge),
    };
    MetricResult {
        name: metric.source.to_string(),
        unit,
        value: Some(value),
        target: metric.target,
        // Shown to people: a ratio that no number can hold is as good as the largest one.
        ratio: Some(Milli((proposal.ratio * 1000.0).round() as u64)),
        proposal: Some(proposal.replicas),
        rule,
        failure: None,
    }
}

fn unavailable(metric: &Metric, why: String) -> MetricResult {
    MetricResult {
        name: metric.source.to_string(),
        unit: metric.source.unit(),
        value: None,
        target: metric.target,
        ratio: None,
        proposal: None,
        rule: Rule::Unavailable { metric: metric.source.name() },
        failure: Some(why),
    }
}

fn words(blind: NoProposal) -> &'static str {
    match blind {
        NoProposal::NoReplica => "no replica runs",
        NoProposal::NoReading => "no replica gave a sample",
        NoProposal::NoneReady => "no ready replica gave a sample",
        NoProposal::NoLimit => "the limit of a replica is unknown",
    }
}
