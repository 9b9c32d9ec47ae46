//! Forecasts of the past of a trace, compared with what came. Only tests and the benchmark use it.

use std::time::Duration;

use crate::forecast::forecast;
use crate::model::forecast::{ForecastConfig, ForecastInput, ForecastMode, WeekSlice};
use crate::model::metric::Milli;

/// Minutes.
const WEEK: usize = 7 * 24 * 60;
const HORIZON: usize = 10;
const RECENT: usize = 120;
const WEEKS_MAX: usize = 8;

/// Loads, each of which holds for five minutes.
pub(crate) struct Trace(Vec<Milli>);

/// How good the forecasts were that began after two weeks.
pub(crate) struct Backtest {
    /// By how much the highest load was missed: on average, and by every second forecast. In
    /// percent of that load.
    pub(crate) mean_error: f64,
    pub(crate) median_error: f64,
    /// Percent of the minutes up to the horizon with a load of at most `upper`.
    pub(crate) covered: f64,
}

impl Trace {
    /// Of `time_s,value` rows.
    pub(crate) fn parse(text: &str) -> Trace {
        let rows = text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
        let load = |row: &str| Some((row.split_once(',')?.1.parse::<f64>().ok()? * 1000.0) as u64);
        Trace(rows.filter_map(load).map(Milli).collect())
    }

    /// The minutes after two weeks, as far as the horizon is known.
    pub(crate) fn judged(&self) -> std::ops::Range<usize> {
        2 * WEEK..(5 * self.0.len()).saturating_sub(HORIZON)
    }

    pub(crate) fn input(&self, now: usize) -> ForecastInput {
        let loads = |from: usize, to: usize| (from..to).map(|m| self.0.get(m / 5).copied());
        let week = |back: usize| {
            let then = now.checked_sub(back * WEEK)?;
            let before = loads(then.checked_sub(RECENT)?, then).collect();
            Some(WeekSlice { before, ahead: loads(then, then + HORIZON + 1).collect() })
        };
        let weeks = (1..=WEEKS_MAX).filter_map(week).collect();
        ForecastInput { recent: loads(now - RECENT, now).collect(), weeks }
    }

    /// One forecast each `step` minutes.
    pub(crate) fn backtest(&self, step: usize) -> Backtest {
        let config = ForecastConfig {
            mode: ForecastMode::On,
            horizon: Duration::from_secs(60 * HORIZON as u64),
            percentile: 90,
        };
        let mut errors = Vec::new();
        let (mut below, mut all) = (0.0, 0.0);
        for now in self.judged().step_by(step) {
            let Ok(forecast) = forecast(&self.input(now), &config) else { continue };
            let came: Vec<Milli> =
                (now..=now + HORIZON).filter_map(|m| self.0.get(m / 5).copied()).collect();
            let highest = came.iter().max().map_or(1.0, |load| load.0 as f64);
            errors.push(100.0 * (forecast.expected.0 as f64 / highest - 1.0).abs());
            below += came.iter().filter(|load| **load <= forecast.upper).count() as f64;
            all += came.len() as f64;
        }
        errors.sort_unstable_by(f64::total_cmp);
        Backtest {
            mean_error: errors.iter().sum::<f64>() / errors.len() as f64,
            median_error: errors[errors.len() / 2],
            covered: 100.0 * below / all,
        }
    }
}
