//! The load history of a simulated service: the trace itself, as far as it is over.

use crate::controller::history_slices::RowSource;
use crate::model::load_history::{MinuteLoad, MinuteRow};
use crate::model::metric::Milli;
use crate::model::time::{DAY, MINUTE, Moment, Wall};
use crate::sim::world::START;

pub(crate) struct Past {
    /// As `MetricResult::name` has it.
    pub(crate) metric: String,
    /// The time at `START`.
    pub(crate) begin: Wall,
    /// In the order of their times; each holds until the next.
    pub(crate) loads: Vec<(Moment, u64)>,
}

impl Past {
    /// `None` before the trace, and after its last row.
    fn average(&self, minute: i64) -> Option<Milli> {
        let ms = minute.checked_sub(self.begin.0)?.checked_mul(1000)?;
        let from = START.0.checked_add_signed(ms)?;
        let until = from.checked_add(60_000)?;
        let first = self.loads.partition_point(|(at, _)| at.0 <= from).checked_sub(1)?;
        let mut sum: u128 = 0;
        for pair in self.loads.get(first..)?.windows(2) {
            let [(at, load), (end, _)] = pair else { break };
            let (at, end) = (at.0.max(from), end.0.min(until));
            if end <= at {
                break;
            }
            sum += u128::from(*load) * u128::from(end - at);
        }
        (until <= self.loads.last()?.0.0).then(|| Milli(u64::try_from(sum / 60_000).unwrap_or(0)))
    }
}

impl RowSource for Past {
    fn rows(&self, from: Wall, until: Wall) -> Result<Vec<MinuteRow>, String> {
        let first = from.0 + (-from.0).rem_euclid(MINUTE);
        let mut rows = Vec::new();
        let mut at = first;
        while at < until.0 {
            if let Some(load) = self.average(at) {
                let load = MinuteLoad {
                    metric: self.metric.clone(),
                    target: Milli(0),
                    average: Some(load),
                    highest: Some(load),
                    forecast: None,
                };
                rows.push(MinuteRow { at: Wall(at), loads: vec![load], ..MinuteRow::default() });
            }
            at += MINUTE;
        }
        Ok(rows)
    }

    fn days(&self, now: Wall) -> u32 {
        let days = now.0.saturating_sub(self.begin.0).div_euclid(DAY);
        u32::try_from(days.clamp(0, 14)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use crate::controller::history_slices::RowSource;
    use crate::model::time::{Moment, Wall};
    use crate::sim::past::Past;
    use crate::sim::world::START;

    #[test]
    fn a_minute_has_the_average_of_what_held_in_it() {
        let at = |ms: u64| Moment(START.0 + ms);
        let loads = vec![(at(0), 100), (at(90_000), 200), (at(105_000), 400), (at(240_000), 0)];
        let past = Past { metric: "cpu".to_owned(), begin: Wall(6_000), loads };
        let rows = past.rows(Wall(5_000), Wall(9_000)).unwrap();
        let shown: Vec<_> = rows.iter().map(|r| (r.at.0, r.loads[0].average.unwrap().0)).collect();
        assert_eq!(shown, [(6_000, 100), (6_060, 200), (6_120, 400), (6_180, 400)]);
        assert_eq!(past.rows(Wall(6_001), Wall(6_061)).unwrap().len(), 1);
        for (now, days) in [(6_000, 0), (92_399, 0), (92_400, 1), (9_999_999, 14), (0, 0)] {
            assert_eq!(past.days(Wall(now)), days, "{now}");
        }
    }
}
