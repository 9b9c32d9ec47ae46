//! From the rows of the history to an advice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::advise::effort::Effort;
use crate::advise::evaluator::{LoadConditions, RunFigures};
use crate::advise::judge::{Court, runs};
use crate::advise::load::{LoadSpan, load_spans, moment, need};
use crate::advise::search::{SearchResult, SearchSpace, search};
use crate::advise::tuning::Tuning;
use crate::model::bounds::Bounds;
use crate::model::config::{Config, ProxyMode};
use crate::model::forecast::ForecastMode;
use crate::model::load_history::MinuteRow;
use crate::model::metric::Milli;
use crate::model::service::Service;
use crate::model::time::{Moment, Wall, wall_of_ms};
use crate::model::zone::Zone;
use crate::sim::recorded_load::{LoadLimits, RecordedLoad};
use crate::sim::timeline::span;
use crate::sim::workload::LoadMetric;

/// Less says nothing about tomorrow.
const COVERED_MIN: Duration = Duration::from_secs(2 * 24 * 3600);
/// The last minutes are not written yet, so that `--since 2d` never has quite two days.
const UNWRITTEN: Duration = Duration::from_secs(5 * 60);
/// Schedules are proposed from so much on: each day of the week is in both halves.
const WEEKS_MIN: Duration = Duration::from_secs(13 * 24 * 3600);
/// The search looks at so much of the first half, its end: more takes longer and says little more.
const FIT_MAX: Duration = Duration::from_secs(21 * 24 * 3600);
/// Of the time that may be above the target, a fifth is left for what the next weeks bring.
const RESERVE: f64 = 0.2;
/// Percent of replica-hours: with a smaller gain, today's settings are as good.
const GAIN_MIN: f64 = 2.0;
/// Percent of the time, within which two runs are alike.
const ALIKE: f64 = 0.05;

pub(crate) struct AdviceInput<'a> {
    pub(crate) config: &'a Config,
    pub(crate) service: &'a Arc<Service>,
    /// In the order of time.
    pub(crate) rows: &'a [MinuteRow],
    /// Percent of the time that the load is to be within the target; more than 0, at most 100.
    pub(crate) slo: f64,
    pub(crate) start_up: Duration,
    /// For schedules.
    pub(crate) zone: &'a Zone,
    pub(crate) effort: Effort<'a>,
}

/// Why there is no advice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoAdvice {
    /// What is missing for one.
    Missing(String),
    /// The effort came to its end first.
    BrokenOff,
}

impl From<String> for NoAdvice {
    fn from(message: String) -> NoAdvice {
        NoAdvice::Missing(message)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Advice {
    pub(crate) service: Arc<Service>,
    /// What the load is counted in.
    pub(crate) unit: String,
    /// What one replica is to carry, for all settings alike.
    pub(crate) carries: Milli,
    pub(crate) slo: f64,
    pub(crate) zone: Zone,
    pub(crate) start_up: Duration,
    pub(crate) coverage: Coverage,
    pub(crate) tried: usize,
    pub(crate) today: Judged,
    /// Of the settings that were found, whether they are worth a change or not.
    pub(crate) found: Judged,
    pub(crate) verdict: Verdict,
    /// So many replicas at any time carry the load of the whole history.
    pub(crate) fixed: u32,
    /// They are as cheap as the settings that were found, over both halves.
    pub(crate) is_constant: bool,
    pub(crate) is_idle: bool,
    /// Replicas that the highest load needs, where today's maximum is too low.
    pub(crate) needs_max: Option<u32>,
    /// Of the second half in percent of the first: the average load.
    pub(crate) growth: Option<f64>,
    /// Other metrics, which the figures leave out.
    pub(crate) others: Vec<String>,
    /// The service acts on its forecast, which the figures leave out.
    pub(crate) acts_on_forecast: bool,
}

/// Settings and what they come to in the second half.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judged {
    pub(crate) tuning: Tuning,
    pub(crate) figures: RunFigures,
}

/// What of the history is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Coverage {
    pub(crate) from: Wall,
    pub(crate) until: Wall,
    /// The figures are of what comes from here on.
    pub(crate) split: Wall,
    pub(crate) covered: Duration,
    pub(crate) gaps: usize,
    /// In which the service was at its limit, so that the load may have been higher.
    pub(crate) capped: Duration,
    /// What was at its limit then.
    pub(crate) limit_words: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Change,
    /// Better than today's, but less of the time is within the target than was asked for.
    ChangeInPart,
    /// The search found nothing else.
    NothingBetter,
    /// The settings that were found save less than they are worth.
    NoGain,
    /// They did not do in the second half what they did in the first.
    DoesNotHold,
}

impl Verdict {
    pub(crate) fn is_change(self) -> bool {
        match self {
            Verdict::Change | Verdict::ChangeInPart => true,
            Verdict::NothingBetter | Verdict::NoGain | Verdict::DoesNotHold => false,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Verdict::Change => "change",
            Verdict::ChangeInPart => "change_in_part",
            Verdict::NothingBetter => "nothing_better",
            Verdict::NoGain => "no_gain",
            Verdict::DoesNotHold => "does_not_hold",
        }
    }
}

pub(crate) fn advise(input: &AdviceInput) -> Result<Advice, NoAdvice> {
    let basis = basis(input.service)?;
    let service = simulable(input.service, &basis);
    let conditions = conditions(input, &service, &basis);
    let limits = LoadLimits { timetable: &service.timetable, capacity: conditions.capacity };
    let recorded = RecordedLoad::new(input.rows, &basis, limits)?;
    let covered = recorded.covered();
    if covered + UNWRITTEN < COVERED_MIN {
        return Err(too_short(&service, covered).into());
    }
    let all = load_spans(&recorded);
    let split = split(&all, covered);
    let (fit, rest) = all.split_at(all.partition_point(|span| span.from < split));
    let needs = Needs::of(latest(fit), basis.target);
    let required = 100.0 - (100.0 - input.slo) * (1.0 - RESERVE);
    let enough = needs.carried(required);
    let today = Tuning::of(&service, &basis);
    let most = service.timetable.most();
    let needs_max = (most < enough).then(|| enough.max(needs.highest()).min(Bounds::MAX));
    let start = roomy(&today, needs_max);
    let space = SearchSpace {
        service: &service,
        basis: &basis,
        conditions: &conditions,
        load: latest(fit),
        required,
        zone: (WEEKS_MIN <= covered && service.timetable.schedules.is_empty())
            .then_some(input.zone),
        needs: &needs.steps(enough),
    };
    let found = search(&space, &start, input.effort).ok_or(NoAdvice::BrokenOff)?;
    let at = input.rows.partition_point(|row| moment(row.at) < split);
    let judged_rows = input.rows.get(at..).unwrap_or_default();
    let court = Court {
        config: input.config,
        conditions: &conditions,
        basis: &basis,
        runs: runs(judged_rows, &basis, limits),
    };
    let applied = |tuning: &Tuning| tuning.applied(&service, &basis);
    let both = [applied(&today), applied(&found.tuning)];
    let [of_today, of_found] = judged(&court, &both, input.effort)?;
    let fixed = Needs::of(&all, basis.target).carried(input.slo);
    let is_constant = is_constant(fixed, &[found.figures, of_found]);
    Ok(Advice {
        service: input.service.clone(),
        unit: basis.unit.clone(),
        carries: basis.target,
        slo: input.slo,
        zone: input.zone.clone(),
        start_up: input.start_up,
        coverage: coverage(&recorded, split),
        tried: found.tried,
        verdict: verdict(&today, &found, (of_today, of_found), input.slo),
        today: Judged { tuning: today, figures: of_today },
        found: Judged { tuning: found.tuning, figures: of_found },
        fixed,
        is_constant,
        is_idle: all.iter().all(|span| span.load.0 == 0),
        needs_max,
        growth: growth(fit, rest),
        others: basis.others.clone(),
        acts_on_forecast: input.service.forecast.mode == ForecastMode::On,
    })
}

/// The metric that the load is counted in, as for `simulate --history`.
fn basis(service: &Service) -> Result<LoadMetric, String> {
    LoadMetric::replayable(service).ok_or_else(|| {
        format!(
            "{} has no metric to scale by, so there is no load to go by: set scale_up_threshold \
             and scale_down_threshold, or metrics, and come back after 2d",
            service.name
        )
    })
}

fn too_short(service: &Service, covered: Duration) -> String {
    format!(
        "the history of {} covers {}, and advice needs {}: ask again in {}",
        service.name,
        span(covered),
        span(COVERED_MIN),
        span(COVERED_MIN.saturating_sub(covered))
    )
}

fn conditions(input: &AdviceInput, service: &Service, basis: &LoadMetric) -> LoadConditions {
    LoadConditions {
        source: basis.source.clone(),
        carries: basis.target,
        capacity: basis.capacity(service),
        start_up: input.start_up,
        check_interval: input.config.check_interval,
        wakes: input.config.fixed.proxy.mode != ProxyMode::None,
    }
}

/// Nobody knows what a remote metric would have said beside the one that the load is counted in;
/// one that says nothing would keep the number from falling. The search knows no forecast either,
/// and figures are compared only if both halves leave it out.
fn simulable(service: &Service, basis: &LoadMetric) -> Service {
    let mut service = service.clone();
    service.metrics.retain(|m| !m.source.is_remote() || m.source == basis.source);
    service.forecast.mode = ForecastMode::Off;
    service
}

/// The first moment after half of what is known, on a whole minute.
fn split(all: &[LoadSpan], covered: Duration) -> Moment {
    let half = covered / 2;
    let mut known = Duration::ZERO;
    let after = all.iter().find(|span| {
        known += span.to.since(span.from);
        half <= known
    });
    let at = after.map_or(0, |span| span.to.0);
    Moment(at.div_ceil(60_000) * 60_000)
}

fn latest(fit: &[LoadSpan]) -> &[LoadSpan] {
    let end = fit.last().map_or(Moment(0), |span| span.to);
    fit.get(fit.partition_point(|span| FIT_MAX < end.since(span.from))..).unwrap_or_default()
}

/// With room for what the load needs.
fn roomy(today: &Tuning, needs_max: Option<u32>) -> Tuning {
    let max = needs_max.unwrap_or(today.bounds.max());
    let bounds = Bounds::new(today.bounds.min(), max.max(today.bounds.max()));
    today.with_bounds(bounds.unwrap_or(today.bounds))
}

/// Of today's settings and of those that were found.
fn judged(
    court: &Court,
    services: &[Service; 2],
    effort: Effort,
) -> Result<[RunFigures; 2], NoAdvice> {
    let [today, found] = services;
    let differing = if today == found { &services[..1] } else { &services[..] };
    let judge = |service: &Service| court.judge(service, effort);
    let figures = effort.each(differing, judge).ok_or(NoAdvice::BrokenOff)?;
    let figures: Option<Vec<RunFigures>> = figures.into_iter().collect::<Result<_, String>>()?;
    match figures.as_deref() {
        Some([both]) => Ok([*both, *both]),
        Some([today, found]) => Ok([*today, *found]),
        Some(_) | None => Err(NoAdvice::BrokenOff),
    }
}

/// Whether so many replicas at any time are as cheap as what has these figures, one of each half.
fn is_constant(fixed: u32, halves: &[RunFigures; 2]) -> bool {
    let hours: f64 = halves.iter().map(|half| half.hours).sum();
    let replica_hours: f64 = halves.iter().map(|half| half.replica_hours).sum();
    hours * f64::from(fixed) <= replica_hours * 1.01
}

fn verdict(
    today: &Tuning,
    found: &SearchResult,
    (of_today, of_found): (RunFigures, RunFigures),
    slo: f64,
) -> Verdict {
    if *today == found.tuning {
        return Verdict::NothingBetter;
    }
    let gain = saved_percent(&of_today, &of_found);
    let better = of_found.within_percent() - of_today.within_percent();
    match (slo <= of_today.within_percent(), slo <= of_found.within_percent()) {
        (true, true) if gain < GAIN_MIN => Verdict::NoGain,
        (_, true) => Verdict::Change,
        (true, false) => Verdict::DoesNotHold,
        (false, false) if ALIKE < better || -ALIKE <= better && GAIN_MIN <= gain => {
            Verdict::ChangeInPart
        }
        (false, false) => Verdict::DoesNotHold,
    }
}

/// Of replica-hours; less than nothing if there are more.
pub(crate) fn saved_percent(today: &RunFigures, found: &RunFigures) -> f64 {
    if today.replica_hours <= 0.0 {
        return 0.0;
    }
    100.0 * (1.0 - found.replica_hours / today.replica_hours)
}

fn coverage(recorded: &RecordedLoad, split: Moment) -> Coverage {
    let capped = recorded.lower_bounds.iter().map(|range| range.span()).sum();
    let until = moment(recorded.start).plus(recorded.trace.span());
    Coverage {
        from: recorded.start,
        until: wall_of_ms(until.0),
        split: wall_of_ms(split.0),
        covered: recorded.covered(),
        gaps: recorded.gaps.len(),
        capped,
        limit_words: recorded.limit_words,
    }
}

fn growth(fit: &[LoadSpan], rest: &[LoadSpan]) -> Option<f64> {
    let average = |spans: &[LoadSpan]| {
        let time: f64 = spans.iter().map(|span| span.to.since(span.from).as_secs_f64()).sum();
        let load: f64 = spans
            .iter()
            .map(|span| span.load.0 as f64 * span.to.since(span.from).as_secs_f64())
            .sum();
        (0.0 < time).then(|| load / time)
    };
    let before = average(fit).filter(|before| 0.0 < *before)?;
    Some(100.0 * average(rest)? / before)
}

/// For how long so many replicas are needed, in milliseconds.
struct Needs(BTreeMap<u32, u64>);

impl Needs {
    fn of(spans: &[LoadSpan], carries: Milli) -> Needs {
        let mut needs = Needs(BTreeMap::new());
        for span in spans {
            let time = span.to.0.saturating_sub(span.from.0);
            *needs.0.entry(need(span.load, carries)).or_default() += time;
        }
        needs
    }

    fn highest(&self) -> u32 {
        self.0.keys().last().copied().unwrap_or(0)
    }

    /// So many replicas carry the load for this much of the time.
    fn carried(&self, percent: f64) -> u32 {
        let all: u64 = self.0.values().sum();
        let mut time = 0;
        let enough = self.0.iter().find(|(_, own)| {
            time += **own;
            percent * all as f64 <= 100.0 * time as f64
        });
        enough.map_or(0, |(number, _)| *number)
    }

    /// For minimums that are worth a try, in order.
    fn steps(&self, fixed: u32) -> Vec<u32> {
        let quantiles = [5.0, 25.0, 50.0, 75.0, 90.0, 98.0].map(|percent| self.carried(percent));
        let mut steps: Vec<u32> = quantiles.into_iter().chain([fixed, self.highest()]).collect();
        steps.sort_unstable();
        steps.dedup();
        steps
    }
}
