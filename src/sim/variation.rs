//! What differs from time to time in a real world. A simulation is the same on every run, so there
//! everything is as it usually is; a test draws.

#[cfg(test)]
use crate::sim::random::Random;

pub(crate) enum Chance {
    Usual,
    #[cfg(test)]
    Drawn(Random),
}

impl Chance {
    pub(crate) fn is_drawn(&self) -> bool {
        !matches!(self, Chance::Usual)
    }

    /// From `low` to below `high`.
    #[cfg_attr(not(test), expect(unused_variables, reason = "nothing is drawn"))]
    pub(crate) fn between(&mut self, low: u64, high: u64, usual: u64) -> u64 {
        match self {
            Chance::Usual => usual,
            #[cfg(test)]
            Chance::Drawn(random) => random.between(low, high),
        }
    }

    #[cfg_attr(not(test), expect(unused_variables, reason = "nothing is drawn"))]
    pub(crate) fn one_in(&mut self, n: u64, usual: bool) -> bool {
        match self {
            Chance::Usual => usual,
            #[cfg(test)]
            Chance::Drawn(random) => random.one_in(n),
        }
    }
}
