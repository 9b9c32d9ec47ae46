//! Combines the proposals of all metrics into one, as HPA's `computeReplicasForMetrics`.

/// The proposal of all metrics together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Combined {
    /// The largest proposal and the index of its metric; the first one of equal proposals.
    Largest { replicas: u32, metric: usize },
    /// `metric` proposes fewer, but `failed` is unavailable and may need more.
    Blocked { replicas: u32, metric: usize, failed: usize },
    /// No metric is available, or there is none.
    NoProposal,
}

/// `None` is a metric that failed. A failed metric blocks scaling down, never scaling up.
pub(crate) fn combine(current: u32, proposals: &[Option<u32>]) -> Combined {
    let available =
        proposals.iter().enumerate().filter_map(|(i, p)| p.map(|replicas| (i, replicas)));
    let largest = available.reduce(|best, next| if best.1 < next.1 { next } else { best });
    let Some((metric, replicas)) = largest else { return Combined::NoProposal };
    match proposals.iter().position(Option::is_none) {
        Some(failed) if replicas < current => Combined::Blocked { replicas, metric, failed },
        _ => Combined::Largest { replicas, metric },
    }
}
