//! One week made of the earlier ones, on the level of now.

use crate::forecast::correction::{DecayedSums, keep};
use crate::model::forecast::{ForecastInput, NoForecast, WeekSlice};
use crate::model::metric::Milli;

/// Minutes of the past that are looked at.
const RECENT: usize = 120;
/// Known minutes of it that are needed.
const KNOWN_MIN: usize = 5;
const WEEKS_MAX: usize = 8;
/// The level of a week is compared over the last two hours; what was half an hour ago counts half.
const LEVEL_HALF: f64 = 30.0;
/// Added to the misfit of a week, so that the best one does not outweigh all others.
const MISFIT_FLOOR: f64 = 0.05;
/// A week on another level fits less well, even if it has the same shape.
const LEVEL_MISFIT: f64 = 0.5;
/// No week is farther off the middle one than so many times, if there are three.
const OFF_MIDDLE_MAX: f64 = 1.5;
/// Less than this share of what is usual is an outage, or nobody counted: it is not known.
const SILENT_SHARE: f64 = 0.02;

pub(crate) type Minutes = Vec<Option<f64>>;

/// An earlier week.
pub(crate) struct Week {
    /// At the minutes of `Profile::recent`.
    pub(crate) before: Minutes,
    /// From the present minute on, through the horizon.
    pub(crate) ahead: Minutes,
    /// The load of now as a share of that of this week.
    pub(crate) level: f64,
    /// The more, the better the week fits.
    pub(crate) weight: f64,
}

pub(crate) struct Profile {
    /// What was measured, as long as the two others.
    pub(crate) recent: Minutes,
    pub(crate) before: Vec<f64>,
    pub(crate) ahead: Vec<f64>,
    pub(crate) weeks: Vec<Week>,
}

impl Profile {
    /// `minutes`: of the horizon.
    pub(crate) fn new(input: &ForecastInput, minutes: usize) -> Result<Profile, NoForecast> {
        let from = input.recent.len().saturating_sub(RECENT);
        let mut recent = to_numbers(&input.recent[from..]);
        let all = input.weeks.iter().take(WEEKS_MAX);
        let mut weeks: Vec<Week> =
            all.map(|week| Week::of(week, recent.len(), minutes + 1)).collect();
        forget_silence(&mut recent, &mut weeks);
        weeks.retain(|week| minutes < 2 * known(&week.ahead));
        if weeks.is_empty() {
            return Err(NoForecast::NoWeek);
        }
        if known(&recent) < KNOWN_MIN {
            return Err(NoForecast::NoRecentLoad);
        }
        weeks.iter_mut().for_each(|week| week.fit(&recent));
        let mut profile = Profile { recent, before: Vec::new(), ahead: Vec::new(), weeks };
        let minute = |i| profile.without(None, |week| week.before[i]);
        let before = (0..profile.recent.len()).map(minute).collect();
        let ahead = profile.ahead_without(None);
        profile.before = before;
        profile.ahead = ahead;
        Ok(profile)
    }

    /// Load and profile of each minute of the past, oldest first.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (Option<f64>, f64)> {
        self.recent.iter().copied().zip(self.before.iter().copied())
    }

    /// The highest load of all weeks and of now.
    pub(crate) fn highest_seen(&self) -> f64 {
        let weeks = self.weeks.iter().flat_map(|week| week.before.iter().chain(&week.ahead));
        weeks.chain(&self.recent).flatten().copied().fold(0.0, f64::max)
    }

    /// What the weeks had at this minute ahead, on their own levels.
    pub(crate) fn unscaled_ahead(&self, minute: usize) -> f64 {
        let values = self.weeks.iter().filter_map(|w| Some((w.ahead[minute]?, w.weight)));
        middle(values)
    }

    /// The minutes ahead by all weeks but one.
    pub(crate) fn ahead_without(&self, left_out: Option<usize>) -> Vec<f64> {
        let minutes = self.weeks.first().map_or(0, |week| week.ahead.len());
        (0..minutes).map(|i| self.without(left_out, |week| week.ahead[i])).collect()
    }

    /// What the other weeks had at a minute that `value` chooses, on the level of now.
    pub(crate) fn without(
        &self,
        left_out: Option<usize>,
        value: impl Fn(&Week) -> Option<f64>,
    ) -> f64 {
        let others = self.weeks.iter().enumerate().filter(|(i, _)| Some(*i) != left_out);
        middle(others.filter_map(|(_, week)| Some((value(week)? * week.level, week.weight))))
    }
}

impl Week {
    fn of(slice: &WeekSlice, recent: usize, ahead: usize) -> Week {
        let mut before = vec![None; recent.saturating_sub(slice.before.len())];
        let from = slice.before.len().saturating_sub(recent);
        before.extend(to_numbers(&slice.before[from..]));
        let mut minutes = to_numbers(&slice.ahead);
        minutes.resize(ahead, None);
        Week { before, ahead: minutes, level: 1.0, weight: 1.0 }
    }

    /// The load of now in comparison with this week, in level and in shape.
    fn fit(&mut self, recent: &Minutes) {
        let pairs =
            || recent.iter().zip(&self.before).filter_map(|(now, was)| Some(((*now)?, (*was)?)));
        let mut sums = DecayedSums::default();
        let keep = keep(LEVEL_HALF);
        pairs().for_each(|(now, was)| sums.add(keep, now, was));
        let coming = self.ahead.iter().flatten().copied().fold(0.0, f64::max);
        let level = sums.ratio(coming);
        let off: f64 = pairs().map(|(now, was)| (now - level * was).abs()).sum();
        let all: f64 = pairs().map(|(now, was)| now.max(level * was)).sum();
        // Without a minute in common it fits as badly as one can.
        let shape = if pairs().next().is_none() { 1.0 } else { off / all.max(1.0) };
        let misfit = MISFIT_FLOOR + shape + LEVEL_MISFIT * (level.max(1.0 / level) - 1.0);
        self.level = level;
        self.weight = 1.0 / (misfit * misfit);
    }
}

/// Of values with weights the average, after those that are far off the middle one were moved
/// towards it. 0 if there is none.
fn middle(values: impl Iterator<Item = (f64, f64)>) -> f64 {
    let mut all = [(0.0, 0.0); WEEKS_MAX];
    let mut count = 0;
    for (place, value) in all.iter_mut().zip(values) {
        *place = value;
        count += 1;
    }
    let all = &mut all[..count];
    all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let Some((median, _)) = all.get(count / 2) else { return 0.0 };
    let (low, high) = match count {
        0..3 => (0.0, f64::INFINITY),
        _ => (median / OFF_MIDDLE_MAX, median * OFF_MIDDLE_MAX),
    };
    let sum: f64 = all.iter().map(|(value, weight)| value.clamp(low, high) * weight).sum();
    sum / all.iter().map(|(_, weight)| weight).sum::<f64>()
}

/// A minute with next to nothing in one week, where the others had load, is not known: the service
/// was down, or nobody counted. The same of a minute of the last two hours.
fn forget_silence(recent: &mut Minutes, weeks: &mut [Week]) {
    for (i, now) in recent.iter_mut().enumerate() {
        let usual = forget_silent_minute(weeks, |week| &mut week.before[i]);
        *now = now.filter(|now| usual * SILENT_SHARE <= *now);
    }
    for i in 0..weeks.first().map_or(0, |week| week.ahead.len()) {
        forget_silent_minute(weeks, |week| &mut week.ahead[i]);
    }
}

/// Gives what is usual: the upper one of two weeks, so that one with an outage is recognized.
fn forget_silent_minute(weeks: &mut [Week], minute: impl Fn(&mut Week) -> &mut Option<f64>) -> f64 {
    let mut all = [0.0; WEEKS_MAX];
    let values = weeks.iter_mut().filter_map(|week| *minute(week));
    let count = all.iter_mut().zip(values).map(|(place, value)| *place = value).count();
    let all = &mut all[..count];
    all.sort_unstable_by(f64::total_cmp);
    let usual = all.get(count / 2).copied().unwrap_or(0.0);
    for week in weeks {
        let value = minute(week);
        *value = value.filter(|value| usual * SILENT_SHARE <= *value);
    }
    usual
}

fn to_numbers(minutes: &[Option<Milli>]) -> Minutes {
    minutes.iter().map(|minute| minute.map(|load| load.0 as f64)).collect()
}

fn known(minutes: &Minutes) -> usize {
    minutes.iter().flatten().count()
}
