//! The forecast of a service's load: what is configured, what it is made from, what it says.

use std::time::Duration;

use crate::model::metric::Milli;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ForecastMode {
    #[default]
    Off,
    /// Made, recorded and shown; no replica is started because of it.
    Shadow,
    /// A lower bound of the number of replicas.
    On,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForecastConfig {
    pub(crate) mode: ForecastMode,
    /// How far it looks ahead. From 1 minute to 1 hour.
    pub(crate) horizon: Duration,
    /// Of 100 minutes up to the horizon, in so many the load is to be at most the upper value. From
    /// 50 to 99.
    pub(crate) percentile: u8,
}

impl Default for ForecastConfig {
    fn default() -> ForecastConfig {
        let horizon = Duration::from_secs(600);
        ForecastConfig { mode: ForecastMode::Off, horizon, percentile: 90 }
    }
}

/// One metric's load by the minute, in its unit, summed over the replicas. `None`: not known.
///
/// Whoever fills it in does the arithmetic of local time: a week earlier is the same day of the
/// week and time of day in the zone of the service, so that a clock change moves the load as it
/// moves the people who cause it. A local time that an earlier week did not have is not known
/// there; of one that it had twice, either will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ForecastInput {
    /// The last two hours, oldest first. The last one is the minute before the present one.
    pub(crate) recent: Vec<Option<Milli>>,
    /// The latest first. One that is not known at all may be left out, or empty.
    pub(crate) weeks: Vec<WeekSlice>,
}

/// What an earlier week was like at this time of the week.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WeekSlice {
    /// At the times of `ForecastInput::recent`: their last ones are of the same minute.
    pub(crate) before: Vec<Option<Milli>>,
    /// From the present minute on, through the horizon. More than that is not looked at.
    pub(crate) ahead: Vec<Option<Milli>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoadForecast {
    /// The highest load from now to the horizon, as likely too low as too high.
    pub(crate) expected: Milli,
    /// What the load of a minute up to the horizon is at most, as often as the percentile says.
    /// Never less than `expected`, and at most twice the highest load of the input.
    pub(crate) upper: Milli,
    /// How many earlier weeks it is made from. With one alone it is of little worth.
    pub(crate) weeks: u32,
    /// What the last hours make of the load of earlier weeks, in thousandths: by 1500, half as much
    /// again is expected.
    pub(crate) correction: Milli,
    /// When the highest load is expected.
    pub(crate) peak_in: Duration,
}

/// Why there is no forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoForecast {
    /// No earlier week has this time of the week in its history.
    NoWeek,
    /// The load of the last two hours is not known, or there was none where earlier weeks had some.
    NoRecentLoad,
}
