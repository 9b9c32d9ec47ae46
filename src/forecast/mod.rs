//! What load to expect of a service in the next minutes: that of this time of the week, weighted by
//! how well each earlier week fits now, and corrected by the last hour. Pure: no clock, no I/O.
//!
//! `profile.rs` makes one week of the earlier ones, on the level of now. `correction.rs` has how
//! far the load is off that week, and how long that lasts; `margin.rs` what is put on top of it.

#[cfg(test)]
mod backtest;
mod correction;
mod margin;
mod profile;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::forecast::correction::Correction;
use crate::forecast::profile::Profile;
use crate::model::forecast::{ForecastConfig, ForecastInput, LoadForecast, NoForecast};
use crate::model::metric::Milli;

/// No forecast is beyond so many times the highest load of its input.
const OVER_SEEN_MAX: f64 = 2.0;
const MINUTE: u64 = 60;

/// The highest load from now to the horizon.
///
/// # Errors
///
/// Why nothing can be said.
pub(crate) fn forecast(
    input: &ForecastInput,
    config: &ForecastConfig,
) -> Result<LoadForecast, NoForecast> {
    let minutes = usize::try_from(config.horizon.as_secs().div_ceil(MINUTE)).unwrap_or(0);
    let profile = Profile::new(input, minutes.clamp(1, 60))?;
    let correction = Correction::until(profile.pairs());
    let path = correction.path(&profile.ahead);
    let (at, expected) = highest(&path);
    let limit = profile.highest_seen() * OVER_SEEN_MAX;
    let percentile = f64::from(config.percentile.clamp(50, 99)) / 100.0;
    let upper = expected * (1.0 + margin::margin(&profile, percentile));
    let before = profile.unscaled_ahead(at);
    let ratio = if 0.0 < before { expected / before } else { 1.0 };
    Ok(LoadForecast {
        expected: milli(expected.min(limit)),
        upper: milli(upper.min(limit)),
        weeks: u32::try_from(profile.weeks.len()).unwrap_or(u32::MAX),
        correction: milli(1000.0 * ratio),
        peak_in: Duration::from_secs(MINUTE * u64::try_from(at).unwrap_or(0)),
    })
}

/// The first of the highest values, and where it is.
fn highest(path: &[f64]) -> (usize, f64) {
    let higher = |best: (usize, f64), (at, value): (usize, &f64)| {
        if best.1 < *value { (at, *value) } else { best }
    };
    path.iter().enumerate().fold((0, 0.0), higher)
}

fn milli(value: f64) -> Milli {
    Milli(value.round() as u64)
}
