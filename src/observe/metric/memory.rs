//! Bytes in use to load.

use crate::model::replica::Load;
use crate::model::service::Percent;
use crate::outside::MemoryUse;

/// A share of the limit; more than all of it is possible for a moment.
pub(crate) fn load(memory: MemoryUse) -> Load {
    let hundredths = u128::from(memory.used) * 100_00 / u128::from(memory.limit.max(1));
    Load::Read(Percent::from_hundredths(u64::try_from(hundredths).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use crate::model::replica::Load;
    use crate::model::service::Percent;
    use crate::observe::metric::memory::load;
    use crate::outside::MemoryUse;

    #[test]
    fn memory_is_a_share_of_the_limit() {
        for (used, limit, want) in [
            (0, 64, 0),
            (32 << 20, 64 << 20, 50_00),
            (1, 3, 33_33),
            (u64::MAX, u64::MAX, 100_00),
            (65, 64, 101_56),
            (1, 0, 100_00),
        ] {
            let got = load(MemoryUse { used, limit });
            assert_eq!(got, Load::Read(Percent::from_hundredths(want)), "{used} of {limit}");
        }
    }
}
