//! The cheapest settings that keep a load within what the replicas carry for so much of the time:
//! one setting after the other is varied while the rest stay, until no change helps any more.
//! The same input gives the same answer, on any number of threads.

use std::time::Duration;

use crate::advise::effort::Effort;
use crate::advise::evaluator::{LoadConditions, RunFigures, evaluate};
use crate::advise::load::LoadSpan;
use crate::advise::tuning::Tuning;
use crate::advise::weekly;
use crate::model::bounds::Bounds;
use crate::model::metric::Milli;
use crate::model::service::{Cooldown, Service};
use crate::model::zone::Zone;
use crate::sim::workload::LoadMetric;

/// Rounds over all settings; the search has come to its end long before.
const ROUNDS_MAX: usize = 4;
/// Upper threshold or target, in percent of what a replica is to carry.
const UPPERS: [u64; 11] = [130, 115, 108, 104, 100, 96, 92, 87, 80, 70, 55];
/// Lower threshold, in percent of the upper one.
const LOWERS: [u64; 4] = [30, 45, 60, 75];
/// Seconds.
const UPS: [u64; 4] = [0, 15, 30, 60];
const DOWNS: [u64; 5] = [60, 120, 300, 600, 1200];
/// What a change of the number costs, in replica-hours: a minute of one replica, and ten if it
/// takes back the one before. Otherwise a service that never rests would be as good as another.
const CHANGE_COST: f64 = 1.0 / 60.0;
const FLAP_COST: f64 = 10.0 / 60.0;
/// A setting stays as it is unless another value saves at least this share.
const GAIN_MIN: f64 = 0.005;

pub(crate) struct SearchSpace<'a> {
    pub(crate) service: &'a Service,
    pub(crate) basis: &'a LoadMetric,
    pub(crate) conditions: &'a LoadConditions,
    pub(crate) load: &'a [LoadSpan],
    /// Percent of the time.
    pub(crate) required: f64,
    /// For schedules; `None`: none are tried.
    pub(crate) zone: Option<&'a Zone>,
    /// The numbers of replicas that the load needs at times, for the minimum.
    pub(crate) needs: &'a [u32],
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SearchResult {
    pub(crate) tuning: Tuning,
    /// Of the load that it was chosen by.
    pub(crate) figures: RunFigures,
    pub(crate) tried: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dimension {
    Upper,
    Windows,
    Min,
    Down,
    Up,
    Lower,
}

impl Dimension {
    const ALL: [Dimension; 6] = [
        Dimension::Upper,
        Dimension::Windows,
        Dimension::Min,
        Dimension::Down,
        Dimension::Up,
        Dimension::Lower,
    ];
}

/// From today's settings, and from those that follow the load more closely. `today` is within the
/// maximum that is allowed for. `None`: it was broken off.
pub(crate) fn search(space: &SearchSpace, today: &Tuning, effort: Effort) -> Option<SearchResult> {
    let mut search = TuningSearch { space, effort, tried: Vec::new() };
    let close = closer(space, today);
    for start in [today.clone(), close] {
        search.descend(start)?;
    }
    let tuning = search.simplified(search.best(today), today)?;
    let figures = search.figures(&tuning);
    Some(SearchResult { tuning, figures, tried: search.tried.len() })
}

/// Scales up earlier, and at once.
fn closer(space: &SearchSpace, today: &Tuning) -> Tuning {
    let carries = space.conditions.carries.0;
    let upper = rounded(Milli(carries * 85 / 100), carries);
    Tuning {
        goal: today.goal.with_upper(upper).unwrap_or(today.goal),
        cooldown: Cooldown { up: Duration::ZERO, ..today.cooldown },
        ..today.clone()
    }
}

struct TuningSearch<'a> {
    space: &'a SearchSpace<'a>,
    effort: Effort<'a>,
    tried: Vec<(Tuning, RunFigures)>,
}

impl TuningSearch<'_> {
    /// Until no change of one setting helps.
    fn descend(&mut self, start: Tuning) -> Option<()> {
        self.evaluate_all(std::slice::from_ref(&start))?;
        let mut cost = self.cost(&start);
        let mut best = start;
        for _ in 0..ROUNDS_MAX {
            let before = cost;
            for dimension in Dimension::ALL {
                let variants = self.variants(&best, dimension);
                self.evaluate_all(&variants)?;
                for variant in variants {
                    let other = self.cost(&variant);
                    if other < cost {
                        (best, cost) = (variant, other);
                    }
                }
            }
            if before * (1.0 - GAIN_MIN / 10.0) <= cost {
                break;
            }
        }
        Some(())
    }

    /// The cheapest that is within target for the required time; if none is, the one that comes
    /// closest at a price.
    fn best(&self, today: &Tuning) -> Tuning {
        let is_enough = |t: &Tuning| self.is_enough(t);
        let any = self.tried.iter().any(|(tuning, _)| is_enough(tuning));
        let all = self.tried.iter().map(|(tuning, _)| tuning);
        let eligible = all.filter(|tuning| !any || is_enough(tuning));
        let best = eligible.min_by(|one, other| self.cost(one).total_cmp(&self.cost(other)));
        best.unwrap_or(today).clone()
    }

    fn is_enough(&self, tuning: &Tuning) -> bool {
        self.space.required <= self.figures(tuning).within_percent()
    }

    /// Each setting that hardly helps is today's again, so that the advice is short.
    fn simplified(&mut self, found: Tuning, today: &Tuning) -> Option<Tuning> {
        let allowed = self.cost(&found) * (1.0 + GAIN_MIN);
        let mut best = found;
        for dimension in Dimension::ALL.into_iter().rev() {
            let plainer = with(&best, today, dimension);
            if plainer == best {
                continue;
            }
            self.evaluate_all(std::slice::from_ref(&plainer))?;
            let is_as_good = self.is_enough(&plainer) || !self.is_enough(&best);
            if self.cost(&plainer) <= allowed && is_as_good {
                best = plainer;
            }
        }
        Some(best)
    }

    fn figures(&self, tuning: &Tuning) -> RunFigures {
        let known = self.tried.iter().find(|(tried, _)| tried == tuning);
        known.map(|(_, figures)| *figures).unwrap_or_default()
    }

    /// In replica-hours. What is short of the required time costs more than it can save.
    fn cost(&self, tuning: &Tuning) -> f64 {
        let figures = self.figures(tuning);
        let short = (self.space.required - figures.within_percent()).max(0.0) / 100.0;
        let most = self.space.needs.last().copied().unwrap_or(1).max(1);
        let penalty = 100.0 * short * figures.hours * f64::from(most);
        let changes = CHANGE_COST * f64::from(figures.changes);
        figures.replica_hours + changes + FLAP_COST * f64::from(figures.flaps) + penalty
    }

    /// Each is evaluated once. `None`: it was broken off.
    fn evaluate_all(&mut self, wanted: &[Tuning]) -> Option<()> {
        let mut new: Vec<Tuning> = Vec::new();
        for tuning in wanted {
            let is_known = self.tried.iter().any(|(tried, _)| tried == tuning);
            if !is_known && !new.contains(tuning) {
                new.push(tuning.clone());
            }
        }
        let space = self.space;
        let figures = self.effort.each(&new, |tuning: &Tuning| {
            let service = tuning.applied(space.service, space.basis);
            evaluate(&service, space.load, space.conditions)
        })?;
        self.tried.extend(new.into_iter().zip(figures));
        Some(())
    }

    fn variants(&self, tuning: &Tuning, dimension: Dimension) -> Vec<Tuning> {
        let carries = self.space.conditions.carries.0;
        let seconds = |list: &[u64]| list.iter().map(|s| Duration::from_secs(*s)).collect();
        let of_downs: Vec<Duration> = seconds(&DOWNS);
        match dimension {
            Dimension::Upper => UPPERS
                .iter()
                .map(|percent| rounded(Milli(carries.saturating_mul(*percent) / 100), carries))
                .filter_map(|upper| tuning.goal.with_upper(upper))
                .map(|goal| Tuning { goal, ..tuning.clone() })
                .collect(),
            Dimension::Lower => LOWERS
                .iter()
                .filter_map(|percent| tuning.goal.with_lower(*percent))
                .map(|goal| Tuning { goal, ..tuning.clone() })
                .collect(),
            Dimension::Min => self.minimums(tuning),
            Dimension::Up => {
                let ups: Vec<Duration> = seconds(&UPS);
                let new = |up| Cooldown { up, ..tuning.cooldown };
                ups.into_iter().map(|up| Tuning { cooldown: new(up), ..tuning.clone() }).collect()
            }
            Dimension::Down if tuning.stabilization.is_some() => of_downs
                .into_iter()
                .map(|down| Tuning { stabilization: Some(down), ..tuning.clone() })
                .collect(),
            Dimension::Down => {
                let new = |down| Cooldown { down, ..tuning.cooldown };
                let downs = of_downs.into_iter();
                downs.map(|down| Tuning { cooldown: new(down), ..tuning.clone() }).collect()
            }
            Dimension::Windows => self.windows(tuning),
        }
    }

    fn minimums(&self, tuning: &Tuning) -> Vec<Tuning> {
        let now = tuning.bounds.min();
        let max = tuning.bounds.max();
        // A service sleeps only if its operator wanted that.
        let least = u32::from(self.space.service.timetable.bounds.min() != 0);
        let needs = self.space.needs.iter().copied();
        let mut all: Vec<u32> =
            needs.chain([least, 1, now.saturating_sub(1), now, now + 1]).collect();
        all.retain(|min| least <= *min && *min <= max);
        all.sort_unstable();
        all.dedup();
        let bounds = all.into_iter().filter_map(|min| Bounds::new(min, max));
        bounds.map(|bounds| tuning.with_bounds(bounds)).collect()
    }

    fn windows(&self, tuning: &Tuning) -> Vec<Tuning> {
        let none = vec![Vec::new()];
        let sets = self.space.zone.map(|zone| {
            let carries = tuning.goal.upper();
            let start_up = self.space.conditions.start_up;
            weekly::proposals(self.space.load, zone, tuning.bounds, carries, start_up)
        });
        let all = none.into_iter().chain(sets.unwrap_or_default());
        all.map(|windows| Tuning { windows, ..tuning.clone() }).collect()
    }
}

/// With one setting of the other.
fn with(tuning: &Tuning, other: &Tuning, dimension: Dimension) -> Tuning {
    let mut new = tuning.clone();
    match dimension {
        Dimension::Upper => new.goal = other.goal,
        Dimension::Lower => {
            new.goal = other.goal.with_upper(tuning.goal.upper()).unwrap_or(tuning.goal);
        }
        Dimension::Windows => new.windows.clone_from(&other.windows),
        Dimension::Min => {
            let bounds = Bounds::new(other.bounds.min(), tuning.bounds.max());
            new = tuning.with_bounds(bounds.unwrap_or(tuning.bounds));
        }
        Dimension::Down => {
            new.stabilization = other.stabilization;
            new.cooldown.down = other.cooldown.down;
        }
        Dimension::Up => new.cooldown.up = other.cooldown.up,
    }
    new
}

/// As people write it: whole units, or two digits where a replica carries less than ten.
fn rounded(value: Milli, carries: u64) -> Milli {
    let step = match carries {
        0..1_000 => 10,
        1_000..10_000 => 100,
        _ => 1_000,
    };
    Milli((value.0 + step / 2) / step * step)
}
