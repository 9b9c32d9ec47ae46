//! The fewest and the most replicas.

/// How many replicas a service may have. Invariant: `min <= max <= 1000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    min: u32,
    max: u32,
}

impl Bounds {
    pub(crate) const MAX: u32 = 1000;

    pub(crate) fn new(min: u32, max: u32) -> Option<Bounds> {
        (min <= max && max <= Self::MAX).then_some(Bounds { min, max })
    }

    /// Neither fewer nor more; at most `Bounds::MAX`.
    pub(crate) fn exactly(count: u32) -> Bounds {
        let count = count.min(Self::MAX);
        Bounds { min: count, max: count }
    }

    pub(crate) fn min(self) -> u32 {
        self.min
    }

    pub(crate) fn max(self) -> u32 {
        self.max
    }
}
