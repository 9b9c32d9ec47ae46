//! Several proposals to one. Nothing here knows where a proposal is from.

/// What all metrics together ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Combined {
    /// The largest proposal, and whose it is: the first of those that are equal.
    Largest { replicas: u32, metric: usize },
    /// Fewer would do, says `metric`; but `failed` could not tell and may need them.
    Blocked { replicas: u32, metric: usize, failed: usize },
    /// None could tell, or there is none.
    NoProposal,
}

/// `None` is a metric that failed. One that fails blocks the way down, never the way up.
pub(crate) fn combine(current: u32, proposals: &[Option<u32>]) -> Combined {
    let told = proposals.iter().enumerate().filter_map(|(i, p)| p.map(|replicas| (i, replicas)));
    let largest = told.reduce(|best, next| if best.1 < next.1 { next } else { best });
    let Some((metric, replicas)) = largest else { return Combined::NoProposal };
    match proposals.iter().position(Option::is_none) {
        Some(failed) if replicas < current => Combined::Blocked { replicas, metric, failed },
        _ => Combined::Largest { replicas, metric },
    }
}
