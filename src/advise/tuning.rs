//! The settings that a search varies: one value of each, taken from a service and put into it.

use std::time::Duration;

use crate::model::behavior::{Behavior, Rules};
use crate::model::bounds::Bounds;
use crate::model::metric::Milli;
use crate::model::schedule::{Schedule, Timetable};
use crate::model::service::{Band, Cooldown, Percent, Service};
use crate::sim::workload::LoadMetric;

/// Hundredths: what HPA tolerates unless told otherwise.
const TOLERANCE: u32 = 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tuning {
    pub(crate) goal: Goal,
    pub(crate) bounds: Bounds,
    pub(crate) cooldown: Cooldown,
    /// Of scaling down. `None`: the service has no stabilization, only cooldowns.
    pub(crate) stabilization: Option<Duration>,
    /// Schedules beside those that the service has.
    pub(crate) windows: Vec<Schedule>,
}

/// At what load the number changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Two thresholds of CPU load.
    Thresholds(Band),
    /// The target of the metric that the load is counted in.
    Target(Milli),
}

impl Goal {
    /// What a replica carries when the number is to grow, in thousandths of the unit.
    pub(crate) fn upper(self) -> Milli {
        match self {
            Goal::Thresholds(band) => Milli(band.upper().hundredths().saturating_mul(10)),
            Goal::Target(target) => target,
        }
    }

    /// With another upper threshold or target. The lower threshold keeps its share of the upper.
    pub(crate) fn with_upper(self, upper: Milli) -> Option<Goal> {
        match self {
            Goal::Target(_) => (0 < upper.0).then_some(Goal::Target(upper)),
            Goal::Thresholds(band) => {
                let new = upper.0 / 10;
                let lower = band.lower().hundredths().saturating_mul(new);
                let lower = whole(lower / band.upper().hundredths().max(1));
                let of = Percent::from_hundredths;
                Band::new(of(lower), of(new)).map(Goal::Thresholds)
            }
        }
    }

    /// With a lower threshold of this share of the upper one, in percent.
    pub(crate) fn with_lower(self, percent: u64) -> Option<Goal> {
        match self {
            Goal::Target(_) => None,
            Goal::Thresholds(band) => {
                let lower = whole(band.upper().hundredths() * percent / 100);
                Band::new(Percent::from_hundredths(lower), band.upper()).map(Goal::Thresholds)
            }
        }
    }
}

/// Hundredths of a percent, to the whole percent.
fn whole(hundredths: u64) -> u64 {
    hundredths / 100 * 100
}

impl Tuning {
    /// What the service has today; `basis` is the metric that the load is counted in.
    pub(crate) fn of(service: &Service, basis: &LoadMetric) -> Tuning {
        let has_windows = !service.metrics.is_empty() || service.behavior.is_some();
        let down = service
            .behavior
            .as_ref()
            .map_or(Rules::down().stabilization, |behavior| behavior.scale_down.stabilization);
        Tuning {
            goal: service.band.map_or(Goal::Target(basis.target), Goal::Thresholds),
            bounds: service.timetable.bounds,
            cooldown: service.cooldown,
            stabilization: has_windows.then_some(down),
            windows: Vec::new(),
        }
    }

    /// A schedule that does not raise the minimum any more is left out: it would lower it.
    pub(crate) fn with_bounds(&self, bounds: Bounds) -> Tuning {
        let mut new = Tuning { bounds, ..self.clone() };
        new.windows.retain(|window| bounds.min() < window.bounds.min());
        new
    }

    /// The service with these settings; what is today's stays as it is.
    pub(crate) fn applied(&self, service: &Service, basis: &LoadMetric) -> Service {
        let mut service = service.clone();
        match self.goal {
            Goal::Thresholds(band) => service.band = Some(band),
            Goal::Target(target) => {
                let own = service.metrics.iter_mut().find(|m| m.source == basis.source);
                own.into_iter().for_each(|metric| metric.target = target);
            }
        }
        service.cooldown = self.cooldown;
        service.behavior = self.behavior(&service);
        let schedules = service.timetable.schedules.iter().chain(&self.windows).cloned();
        service.timetable =
            Timetable { bounds: self.bounds, schedules: schedules.collect(), ..service.timetable };
        service
    }

    /// Nothing that the service does not have, unless the stabilization is another one.
    pub(crate) fn behavior(&self, service: &Service) -> Option<Behavior> {
        let today = service.behavior.as_ref();
        let down = today.map_or(Rules::down().stabilization, |b| b.scale_down.stabilization);
        let Some(new) = self.stabilization.filter(|new| *new != down) else {
            return today.cloned();
        };
        let mut behavior = today.cloned().unwrap_or_else(|| Behavior {
            tolerance: TOLERANCE,
            scale_up: Rules::up(),
            scale_down: Rules::down(),
        });
        behavior.scale_down.stabilization = new;
        Some(behavior)
    }
}
