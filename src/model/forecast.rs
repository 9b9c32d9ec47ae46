//! The forecast of a service's load: what is configured, what it is made from, what it says.

use std::fmt;
use std::time::Duration;

use crate::model::history::Recommendation;
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

impl ForecastMode {
    pub(crate) const ALL: [ForecastMode; 3] =
        [ForecastMode::Off, ForecastMode::Shadow, ForecastMode::On];

    /// As the config has it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            ForecastMode::Off => "off",
            ForecastMode::Shadow => "shadow",
            ForecastMode::On => "on",
        }
    }
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

/// What is forecast of a service at an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceForecast {
    pub(crate) mode: ForecastMode,
    pub(crate) horizon: Duration,
    /// One for each metric that its replicas divide among them, in the order of the config.
    pub(crate) metrics: Vec<MetricForecast>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetricForecast {
    /// As `MetricResult::name`.
    pub(crate) name: String,
    /// As `Source::name`.
    pub(crate) kind: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) share: ReplicaShare,
    pub(crate) result: Result<LoadForecast, ForecastFailure>,
    /// How far forecasts of the last day were off, on average: the difference of expected and
    /// highest load as a share of the latter, in thousandths. `None`: none could be compared yet.
    pub(crate) error: Option<Milli>,
    /// What was expected for the horizon that ends now.
    pub(crate) earlier: Option<Milli>,
}

/// What one replica may carry of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaShare {
    /// A target: as much as this. More than 0.
    UpTo(Milli),
    /// The upper threshold of a band: less than this.
    Below(Milli),
}

impl ReplicaShare {
    pub(crate) fn value(self) -> Milli {
        match self {
            ReplicaShare::UpTo(value) | ReplicaShare::Below(value) => value,
        }
    }

    /// The fewest replicas that carry this load.
    pub(crate) fn replicas(self, load: Milli) -> u32 {
        let number = match self {
            ReplicaShare::UpTo(share) => load.0.div_ceil(share.0.max(1)),
            ReplicaShare::Below(share) => (load.0 / share.0.max(1)).saturating_add(1),
        };
        u32::try_from(number).unwrap_or(u32::MAX)
    }
}

impl MetricForecast {
    /// `None`: there is no forecast.
    pub(crate) fn replicas(&self) -> Option<u32> {
        let forecast = self.result.as_ref().ok()?;
        Some(self.share.replicas(forecast.upper))
    }
}

impl ServiceForecast {
    pub(crate) fn of(&self, metric: &str) -> Option<&MetricForecast> {
        self.metrics.iter().find(|one| one.name == metric)
    }

    /// The metric whose forecast asks for the most replicas, with that number.
    pub(crate) fn largest(&self) -> Option<(&MetricForecast, u32)> {
        let numbers = self.metrics.iter().filter_map(|m| Some((m, m.replicas()?)));
        numbers.rev().max_by_key(|(_, number)| *number)
    }
}

/// Why nothing is forecast of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ForecastFailure {
    /// The history was not read yet.
    NotRead,
    /// It cannot be read, and why.
    Unreadable(String),
    /// The history of the service is shorter than a week: so many days.
    TooShort { days: u32 },
    /// There is nothing to make it from.
    None(NoForecast),
    /// A bug, whose message is in the log.
    Internal,
}

impl fmt::Display for ForecastFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForecastFailure::NotRead => f.write_str("the load history was not read yet"),
            ForecastFailure::Unreadable(why) => {
                write!(f, "the load history cannot be read: {why}")
            }
            ForecastFailure::TooShort { days } => {
                write!(f, "needs one week of history, better two; has {days} d")
            }
            ForecastFailure::None(NoForecast::NoWeek) => {
                f.write_str("no earlier week has this metric at this time of the week")
            }
            ForecastFailure::None(NoForecast::NoRecentLoad) => {
                f.write_str("the load of the last two hours is not known, or there was none")
            }
            ForecastFailure::Internal => {
                f.write_str("internal error in plimsoll (please report); see the log")
            }
        }
    }
}

/// A number of replicas that the forecast raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForecastRaise {
    /// What load alone gave. Cooldowns, windows and scaling policies go by it, so that a raise
    /// changes nothing in what load does.
    pub(crate) load: u32,
    /// What it was raised to. Another number than the last decision's makes the raise void.
    pub(crate) to: u32,
    /// What the forecast asked for, and when it did so last.
    pub(crate) asked: Recommendation,
}
