//! The number of replicas by the CPU thresholds: a band on the average load.
//!
//! Missing samples count against a change, as in Kubernetes' HPA: on the way up, a replica without
//! a sample or not ready yet counts as idle; on the way down, one without a sample counts as fully
//! loaded, and one not ready does not count.

use crate::decide::classify::ReplicaCounts;
use crate::model::decision::MetricResult;
use crate::model::metric::Milli;
use crate::model::reason::Rule;
use crate::model::service::{Band, Percent};

const FULL: u64 = 100_00;

pub(crate) fn from_band(band: Band, census: &ReplicaCounts, current: u32) -> MetricResult {
    let average = census.average();
    let proposed = average.map(|value| {
        if band.upper() <= value {
            up(census, band, current, value)
        } else if value <= band.lower() {
            down(census, band, current, value)
        } else {
            (current, Rule::InsideBand { value, band })
        }
    });
    let milli = |percent: Percent| Milli(percent.hundredths().saturating_mul(10));
    let value = average.map(milli);
    let target = milli(band.upper());
    let ratio = value.and_then(|v| v.0.saturating_mul(1000).checked_div(target.0)).map(Milli);
    MetricResult {
        name: "cpu".to_owned(),
        unit: "%",
        value,
        target,
        ratio,
        proposal: proposed.map(|(number, _)| number),
        rule: proposed.map_or(Rule::NoSample, |(_, rule)| rule),
        failure: None,
    }
}

fn up(census: &ReplicaCounts, band: Band, current: u32, value: Percent) -> (u32, Rule) {
    let upper = band.upper();
    let everyone = u64::from(census.size().max(current)).max(1);
    if census.total < upper.hundredths().saturating_mul(everyone) {
        let value = Percent::from_hundredths(census.total / everyone);
        return (current, Rule::GapsOutweigh { value });
    }
    let desired = census.total.div_ceil(upper.hundredths().max(1));
    let desired = u32::try_from(desired).unwrap_or(u32::MAX).max(current.saturating_add(1));
    (desired, Rule::AboveBand { value, upper })
}

fn down(census: &ReplicaCounts, band: Band, current: u32, value: Percent) -> (u32, Rule) {
    let lower = band.lower();
    let upper = band.upper();
    if current <= 1 {
        return (current, Rule::LastOne);
    }
    let gap = FULL.max(upper.hundredths()).saturating_mul(u64::from(census.missing));
    let total = census.total.saturating_add(gap);
    let counted = u64::from(census.sampled + census.missing).max(1);
    if lower.hundredths().saturating_mul(counted) < total {
        let value = Percent::from_hundredths(total / counted);
        return (current, Rule::GapsOutweigh { value });
    }
    let fewer = current - 1;
    if upper.hundredths().saturating_mul(u64::from(fewer)) <= total {
        let projected = Percent::from_hundredths(total / u64::from(fewer));
        return (current, Rule::WouldBounce { projected, upper });
    }
    (fewer, Rule::BelowBand { value, lower })
}
