//! What load to expect of a service in the next minutes, from earlier weeks and the last hour.
//! Pure: no clock, no I/O.

use crate::model::forecast::{ForecastConfig, ForecastInput, LoadForecast, NoForecast};

/// The load from now to the horizon.
///
/// # Errors
///
/// Why nothing can be said.
pub(crate) fn forecast(
    input: &ForecastInput,
    config: &ForecastConfig,
) -> Result<LoadForecast, NoForecast> {
    let _ = (input, config);
    Err(NoForecast::NoWeek)
}
