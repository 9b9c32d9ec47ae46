//! When the load history is read for the forecast, and what the forecast is made from: a few hours
//! of earlier weeks, read about once an hour, and the last minutes as evaluations saw them. Pure:
//! the driver of the controller does the reads.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::controller::history_slices::{
    HeldLoad, HistoryRead, HistorySlices, MinuteValues, RECENT, ReadSlices, error, held_minutes,
};
use crate::forecast::forecast;
use crate::model::config::Config;
use crate::model::forecast::{
    ForecastConfig, ForecastFailure, ForecastInput, ForecastMode, LoadForecast, MetricForecast,
    NoForecast, ReplicaShare, ServiceForecast, WeekSlice,
};
use crate::model::hash::fnv1a;
use crate::model::load_history::{MinuteLoad, MinuteRow};
use crate::model::metric::{Metric, Milli, Source};
use crate::model::service::Service;
use crate::model::status::ServiceStatus;
use crate::model::time::{MINUTE, Moment, Wall};
use crate::model::zone::Zone;
use crate::report::minute_rows::{HostUse, MinuteRows};

/// Reads at once.
pub(crate) const AT_ONCE: usize = 2;
/// A read that takes longer has failed. It may end later, and is then ignored.
const DEADLINE: Duration = Duration::from_secs(30);
/// After a read that failed.
const RETRY: Duration = Duration::from_secs(60);
/// Minutes from a read on that it is good for.
const REACH: usize = 60;
/// More than the horizon, so that a late evaluation still has all of it.
const SLACK: usize = 5;
/// Between two reads of a service: from here to `SPREAD` more, so that services take turns.
const EVERY: Duration = Duration::from_secs(30 * 60);
/// In seconds.
const SPREAD: u64 = 25 * 60;
/// A day of minutes.
const ERRORS_MAX: usize = 1440;

#[derive(Default)]
pub(crate) struct Forecaster {
    services: BTreeMap<String, ServiceWatch>,
    rows: MinuteRows,
    /// Reads since the start.
    last_id: u64,
}

/// One service.
struct ServiceWatch {
    config: ForecastConfig,
    /// Between two evaluations.
    interval: Duration,
    zone: Zone,
    metrics: Vec<MetricWatch>,
    /// As read last.
    slices: Arc<HistorySlices>,
    /// Why the last read failed.
    failure: Option<String>,
    /// Of the read that is under way, with its begin.
    under_way: Option<(u64, Moment)>,
    due: Moment,
    /// Of this minute, for all evaluations in it.
    made: Option<(i64, Arc<ServiceForecast>)>,
}

struct MetricWatch {
    name: String,
    kind: &'static str,
    unit: &'static str,
    share: ReplicaShare,
    /// By minute, those before the present one that had an evaluation.
    recent: BTreeMap<i64, Milli>,
    /// The minute that each was made in, and what it expected, for as long as the horizon.
    expected: VecDeque<(i64, Milli)>,
    /// As shares, the oldest first.
    errors: VecDeque<f32>,
}

/// In minutes.
#[derive(Clone, Copy)]
struct Reach {
    horizon: i64,
    /// After its own, for which an evaluation counts.
    held: i64,
}

/// A read to begin. It ends with `Forecaster::answered`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForecastRead {
    pub(crate) id: u64,
    pub(crate) history: HistoryRead,
}

fn minute_of(at: Wall) -> i64 {
    at.0.div_euclid(MINUTE)
}

fn minutes(span: Duration) -> usize {
    usize::try_from(span.as_secs().div_ceil(60)).unwrap_or(usize::MAX)
}

fn signed(minutes: usize) -> i64 {
    i64::try_from(minutes).unwrap_or(i64::MAX)
}

/// Minutes from one to another; `None`: that is earlier.
fn between(from: i64, to: i64) -> Option<usize> {
    usize::try_from(to.checked_sub(from)?).ok()
}

impl Forecaster {
    /// Follows the services of the config that are forecast. What changed is read at once.
    pub(crate) fn watch(&mut self, config: &Config, now: Moment) {
        let mut before = std::mem::take(&mut self.services);
        let is_kept = !config.history.is_zero();
        for service in config.services.values().filter(|_| is_kept) {
            let mut watch = ServiceWatch::new(service, config, now);
            if service.forecast.mode == ForecastMode::Off || watch.metrics.is_empty() {
                continue;
            }
            let name = service.name.as_str().to_owned();
            if let Some(before) = before.remove(&name) {
                watch.take_over(before);
            }
            self.services.insert(name, watch);
        }
    }

    /// The reads to begin now.
    pub(crate) fn due(&mut self, now: Moment, wall: Wall) -> Vec<ForecastRead> {
        let mut reads = Vec::new();
        if self.services.is_empty() {
            return reads;
        }
        let minute = minute_of(wall);
        for watch in self.services.values_mut() {
            if watch.under_way.is_some_and(|(_, since)| DEADLINE <= now.since(since)) {
                let words = format!("no answer within {} s", DEADLINE.as_secs());
                watch.failed(words, now);
            }
        }
        let mut room = AT_ONCE.saturating_sub(self.under_way());
        for (name, watch) in &mut self.services {
            let is_due = watch.under_way.is_none() && (watch.due <= now || watch.is_left(minute));
            if room == 0 || !is_due {
                continue;
            }
            room -= 1;
            self.last_id += 1;
            watch.under_way = Some((self.last_id, now));
            // A clock that was set does not make it due again at once.
            watch.due = now.plus(RETRY);
            let history = watch.request(name, minute);
            reads.push(ForecastRead { id: self.last_id, history });
        }
        reads
    }

    fn under_way(&self) -> usize {
        self.services.values().filter(|watch| watch.under_way.is_some()).count()
    }

    /// How long until a read is due.
    pub(crate) fn idle(&self, now: Moment) -> Option<Duration> {
        let has_room = self.under_way() < AT_ONCE;
        let wait = |watch: &ServiceWatch| match watch.under_way {
            Some((_, since)) => Some(since.plus(DEADLINE).since(now)),
            None => has_room.then(|| watch.due.since(now)),
        };
        self.services.values().filter_map(wait).min()
    }

    pub(crate) fn answered(&mut self, id: u64, service: &str, read: ReadSlices, now: Moment) {
        let Some(watch) = self.services.get_mut(service) else { return };
        if watch.under_way.is_none_or(|(own, _)| own != id) {
            return;
        }
        match read {
            Err(why) => watch.failed(why, now),
            Ok(slices) => {
                watch.under_way = None;
                let turn = Duration::from_secs(fnv1a(service.as_bytes()) % SPREAD);
                watch.due = now.plus(EVERY).plus(turn);
                watch.learn(&slices);
                (watch.slices, watch.failure) = (slices, None);
            }
        }
    }

    /// After an evaluation: what it saw counts as recent once its minute is over.
    pub(crate) fn evaluated(&mut self, at: Wall, services: &[ServiceStatus]) {
        if self.services.is_empty() {
            return;
        }
        let is_watched = |status: &&ServiceStatus| self.services.contains_key(&status.name);
        let watched = services.iter().filter(is_watched);
        let rows = self.rows.add(at, watched, true, HostUse::default);
        self.learn_minute(rows);
    }

    fn learn_minute(&mut self, rows: Vec<(String, MinuteRow)>) {
        for (name, row) in rows {
            if let Some(watch) = self.services.get_mut(&name) {
                watch.add(&row);
            }
        }
    }

    /// For an evaluation. The minute before counts, if this is the first of another one.
    pub(crate) fn forecasts(&mut self, wall: Wall) -> BTreeMap<String, Arc<ServiceForecast>> {
        let rows = self.rows.close(wall, HostUse::default);
        self.learn_minute(rows);
        let minute = minute_of(wall);
        let one = |(name, watch): (&String, &mut ServiceWatch)| {
            (name.clone(), watch.guarded(minute, ServiceWatch::made))
        };
        self.services.iter_mut().map(one).collect()
    }
}

impl ServiceWatch {
    fn new(service: &Service, config: &Config, now: Moment) -> ServiceWatch {
        ServiceWatch {
            config: service.forecast,
            interval: config.check_interval,
            zone: config.zone_of(Some(service)).unwrap_or(Zone::UTC),
            metrics: watched(service),
            slices: Arc::default(),
            failure: None,
            under_way: None,
            due: now,
            made: None,
        }
    }

    /// From before a reload of the config.
    fn take_over(&mut self, before: ServiceWatch) {
        let names = |watch: &ServiceWatch| -> Vec<String> {
            watch.metrics.iter().map(|metric| metric.name.clone()).collect()
        };
        if names(self) == names(&before)
            && (self.zone == before.zone && self.config.horizon == before.config.horizon)
            && self.interval == before.interval
        {
            self.slices = before.slices;
            self.failure = before.failure;
            self.under_way = before.under_way;
            self.due = before.due;
        }
        let mut seen: Vec<String> = Vec::new();
        for own in &mut self.metrics {
            // Thresholds and a metric of CPU have one name, and so have queries that begin alike.
            let place = seen.iter().filter(|name| **name == own.name).count();
            seen.push(own.name.clone());
            let Some(old) = before.metrics.iter().filter(|old| own.name == old.name).nth(place)
            else {
                continue;
            };
            own.recent = old.recent.clone();
            own.errors = old.errors.clone();
            if self.config.horizon == before.config.horizon {
                own.expected = old.expected.clone();
            }
        }
    }

    fn request(&self, name: &str, minute: i64) -> HistoryRead {
        let horizon = minutes(self.config.horizon);
        HistoryRead {
            service: name.to_owned(),
            metrics: self.metrics.iter().map(|metric| metric.name.clone()).collect(),
            zone: self.zone.clone(),
            now: Wall(minute.saturating_mul(MINUTE)),
            minutes: REACH + horizon + SLACK,
            horizon,
            interval: self.interval,
        }
    }

    /// What was read before stands for as long as it reaches.
    fn failed(&mut self, why: String, now: Moment) {
        self.under_way = None;
        self.due = now.plus(RETRY);
        self.failure = Some(why);
        self.made = None;
    }

    /// The slices do not have this minute: the clock was set.
    fn is_left(&self, minute: i64) -> bool {
        !self.slices.metrics.is_empty() && self.place(minute).is_none() && self.failure.is_none()
    }

    /// Where the present minute stands in the slices.
    fn place(&self, minute: i64) -> Option<usize> {
        let place = between(minute_of(self.slices.from), minute)?;
        (RECENT..RECENT + REACH + SLACK).contains(&place).then_some(place)
    }

    fn learn(&mut self, slices: &HistorySlices) {
        for (metric, read) in self.metrics.iter_mut().zip(&slices.metrics) {
            if metric.errors.is_empty() {
                metric.errors.extend(&read.errors);
            }
        }
        self.made = None;
    }

    fn add(&mut self, row: &MinuteRow) {
        let minute = minute_of(row.at);
        let reach = self.reach();
        for metric in &mut self.metrics {
            let is_named = |load: &&MinuteLoad| load.metric == metric.name;
            let is_own = |load: &&MinuteLoad| load.target == metric.share.value();
            let mut named = row.loads.iter().filter(is_named);
            let load = named.clone().find(is_own).or_else(|| named.next());
            let Some(load) = load.and_then(|load| load.average) else { continue };
            metric.recent.insert(minute, load);
            metric.compare(minute, reach);
        }
        self.made = None;
    }

    /// What a stored history brings out would else come again after each restart: a bug costs the
    /// forecast of this service and minute.
    fn guarded(
        &mut self,
        minute: i64,
        make: impl FnOnce(&mut ServiceWatch, i64) -> Arc<ServiceForecast>,
    ) -> Arc<ServiceForecast> {
        if let Ok(made) = catch_unwind(AssertUnwindSafe(|| make(self, minute))) {
            return made;
        }
        let failed = |metric: &MetricWatch| metric.failed(ForecastFailure::Internal);
        let metrics = self.metrics.iter().map(failed).collect();
        self.remember(minute, metrics)
    }

    fn remember(&mut self, minute: i64, metrics: Vec<MetricForecast>) -> Arc<ServiceForecast> {
        let (mode, horizon) = (self.config.mode, self.config.horizon);
        let made = Arc::new(ServiceForecast { mode, horizon, metrics });
        self.made = Some((minute, made.clone()));
        made
    }

    fn made(&mut self, minute: i64) -> Arc<ServiceForecast> {
        if let Some((_, made)) = self.made.as_ref().filter(|(at, _)| *at == minute) {
            return made.clone();
        }
        let reach = self.reach();
        let results: Vec<_> = (0..self.metrics.len()).map(|i| self.result(i, minute)).collect();
        let metrics = self.metrics.iter_mut().zip(results);
        let metrics = metrics.map(|(metric, result)| metric.shown(minute, reach, result));
        let metrics = metrics.collect();
        self.remember(minute, metrics)
    }

    fn reach(&self) -> Reach {
        let horizon = signed(minutes(self.config.horizon));
        Reach { horizon, held: held_minutes(self.interval) }
    }

    /// The last two hours. What was seen since the start counts more than what the history has of
    /// the same minutes.
    fn recent(&self, metric: &MetricWatch, read: &MinuteValues, minute: i64) -> Vec<Option<Milli>> {
        let read_from = minute_of(self.slices.from);
        let first = minute - signed(RECENT);
        let mut held = HeldLoad::new(self.interval);
        let before = first - held_minutes(self.interval);
        let of = |minute: i64| {
            let seen = held.at(minute, metric.recent.get(&minute).copied());
            let read = |place: usize| read.range(place, place + 1).first().copied().flatten();
            seen.or_else(|| between(read_from, minute).and_then(read))
        };
        (before..minute).map(of).skip(between(before, first).unwrap_or(0)).collect()
    }

    fn result(&self, metric: usize, minute: i64) -> Result<LoadForecast, ForecastFailure> {
        let own = self.slices.metrics.get(metric).zip(self.place(minute));
        let (own, place) = own.ok_or_else(|| match &self.failure {
            Some(why) => ForecastFailure::Unreadable(why.clone()),
            None => ForecastFailure::NotRead,
        })?;
        let horizon = minutes(self.config.horizon);
        let week = |values: &MinuteValues| WeekSlice {
            before: values.range(place - RECENT, place),
            ahead: values.range(place, (place + horizon + SLACK).min(values.len())),
        };
        let known = own.weeks.iter().map(|values| match values.is_empty() {
            true => WeekSlice::default(),
            false => week(values),
        });
        let recent = self.recent(&self.metrics[metric], &own.recent, minute);
        let input = ForecastInput { recent, weeks: known.collect() };
        forecast(&input, &self.config).map_err(|why| match why {
            NoForecast::NoWeek if self.slices.days < 7 => {
                ForecastFailure::TooShort { days: self.slices.days }
            }
            why => ForecastFailure::None(why),
        })
    }
}

impl Reach {
    /// The minutes whose forecasts are for the horizon that ends with this one.
    fn made_for(self, minute: i64) -> std::ops::RangeInclusive<i64> {
        let latest = minute - self.horizon;
        latest - self.held..=latest
    }
}

impl MetricWatch {
    fn new(name: String, source: &Source, share: ReplicaShare) -> MetricWatch {
        MetricWatch {
            name,
            kind: source.name(),
            unit: source.unit(),
            share,
            recent: BTreeMap::new(),
            expected: VecDeque::new(),
            errors: VecDeque::new(),
        }
    }

    /// What was expected for the horizon that ends with this minute.
    fn earlier(&self, minute: i64, reach: Reach) -> Option<Milli> {
        let made = reach.made_for(minute);
        self.expected.iter().rev().find(|(at, _)| made.contains(at)).map(|(_, load)| *load)
    }

    /// A minute is over: compares what was forecast for the horizon that ends with it.
    fn compare(&mut self, minute: i64, reach: Reach) {
        let highest = self.recent.range(minute - reach.horizon..=minute).map(|(_, load)| *load);
        let earlier = self.earlier(minute, reach);
        let off = earlier.zip(highest.max()).and_then(|(earlier, load)| error(earlier, load));
        self.errors.extend(off);
        self.errors.drain(..self.errors.len().saturating_sub(ERRORS_MAX));
        // Those from before a step of the clock go, too.
        let recent = signed(RECENT) + reach.held;
        self.recent.retain(|at, _| (minute - recent..=minute).contains(at));
        let oldest = *reach.made_for(minute).start();
        self.expected.retain(|(at, _)| (oldest..=minute).contains(at));
    }

    fn shown(
        &mut self,
        minute: i64,
        reach: Reach,
        result: Result<LoadForecast, ForecastFailure>,
    ) -> MetricForecast {
        let earlier = self.earlier(minute, reach);
        let is_made = self.expected.back().is_some_and(|(at, _)| *at == minute);
        if let Some(made) = result.as_ref().ok().filter(|_| !is_made) {
            self.expected.push_back((minute, made.expected));
        }
        let sum: f64 = self.errors.iter().copied().map(f64::from).sum();
        let average = (sum * 1000.0 / self.errors.len() as f64).round();
        let error = (!self.errors.is_empty()).then_some(Milli(average as u64));
        MetricForecast { result, error, earlier, ..self.failed(ForecastFailure::NotRead) }
    }

    fn failed(&self, why: ForecastFailure) -> MetricForecast {
        MetricForecast {
            name: self.name.clone(),
            kind: self.kind,
            unit: self.unit,
            share: self.share,
            result: Err(why),
            error: None,
            earlier: None,
        }
    }
}

/// The metrics that replicas divide among them. The thresholds stand for one of CPU.
fn watched(service: &Service) -> Vec<MetricWatch> {
    let band = service.band.map(|band| {
        let below = ReplicaShare::Below(Milli(band.upper().hundredths().saturating_mul(10)));
        MetricWatch::new("cpu".to_owned(), &Source::Cpu, below)
    });
    let divided = service.metrics.iter().filter(|metric| metric.source.is_divided());
    let one = |metric: &Metric| {
        let share = ReplicaShare::UpTo(metric.target);
        MetricWatch::new(metric.source.to_string(), &metric.source, share)
    };
    band.into_iter().chain(divided.map(one)).collect()
}
