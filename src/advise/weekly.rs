//! Hours of the week that need a higher minimum: proposals for schedules, by the local time of the
//! service. An hour counts as it was on most days of its group, so that a holiday or an outage
//! makes no schedule and prevents none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{Datelike, NaiveDate, Timelike, Weekday};

use crate::advise::load::{LoadSpan, need, quantile};
use crate::model::bounds::Bounds;
use crate::model::metric::Milli;
use crate::model::schedule::{Schedule, TimeOfDay, Weekdays, Window};
use crate::model::time::wall_of_ms;
use crate::model::zone::Zone;

const HOURS: usize = 24;
/// Load is counted in parts of so many milliseconds.
const PART: u64 = 15_000;
/// An hour of which less than half is known says nothing.
const PARTS_MIN: usize = 120;
/// Hours begin some minutes early, and earlier by a start.
const PREWARM: Duration = Duration::from_secs(300);
/// In milliseconds.
const QUARTER: u64 = 900_000;
/// Of the minutes of an hour and of the days of a group, in percent.
const HIGH: usize = 90;
const USUAL: usize = 50;
/// More are no schedule that anybody would keep.
const WINDOWS_MAX: usize = 5;

const WORKDAYS: [Weekday; 5] =
    [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri];
const WEEKEND: [Weekday; 2] = [Weekday::Sat, Weekday::Sun];

/// For each local date the need of its hours, in replicas.
type Days = BTreeMap<NaiveDate, [Option<u32>; HOURS]>;

/// What the minimum of each hour is to be, in a group of days.
struct WeeklyNeed {
    days: Vec<Weekday>,
    needs: [u32; HOURS],
}

/// Sets of schedules that are worth a try, each within `bounds` and early enough for replicas that
/// take `start_up`. `carries` is what one replica is to carry.
pub(crate) fn proposals(
    spans: &[LoadSpan],
    zone: &Zone,
    bounds: Bounds,
    carries: Milli,
    start_up: Duration,
) -> Vec<Vec<Schedule>> {
    let days = by_day(spans, zone, carries);
    let minutes = start_up.as_secs().div_ceil(60).next_multiple_of(5);
    let prewarm = PREWARM + Duration::from_secs(60 * minutes);
    let every: Vec<Weekday> = WORKDAYS.into_iter().chain(WEEKEND).collect();
    let groupings = [vec![every], vec![WORKDAYS.to_vec(), WEEKEND.to_vec()]];
    let mut sets: Vec<Vec<Schedule>> = Vec::new();
    for grouping in groupings {
        let profiles = grouping.into_iter().map(|days_of| profile(&days, days_of));
        let profiles: Option<Vec<WeeklyNeed>> = profiles.collect();
        let Some(profiles) = profiles else { continue };
        for shares in [&[100][..], &[70], &[100, 60]] {
            let set: Vec<Schedule> =
                profiles.iter().flat_map(|p| windows(p, shares, bounds, zone)).collect();
            let set: Vec<Schedule> = set.into_iter().map(|s| Schedule { prewarm, ..s }).collect();
            if !set.is_empty() && set.len() <= WINDOWS_MAX && !sets.contains(&set) {
                sets.push(set);
            }
        }
    }
    sets
}

fn by_day(spans: &[LoadSpan], zone: &Zone, carries: Milli) -> Days {
    let mut hours: BTreeMap<(NaiveDate, u32), Vec<u32>> = BTreeMap::new();
    // Every zone's clocks change on a quarter of an hour, so one look at the zone serves for it.
    let mut known: Option<(u64, (NaiveDate, u32))> = None;
    for span in spans {
        let need = need(span.load, carries);
        let parts = span.to.0.saturating_sub(span.from.0).div_ceil(PART);
        for part in 0..parts {
            let at = span.from.0.saturating_add(part.saturating_mul(PART));
            let quarter = at / QUARTER;
            let key = match known {
                Some((of, key)) if of == quarter => key,
                _ => {
                    let local = zone.local(wall_of_ms(at));
                    (local.date_naive(), local.hour())
                }
            };
            known = Some((quarter, key));
            hours.entry(key).or_default().push(need);
        }
    }
    let mut days = Days::new();
    for ((day, hour), needs) in hours {
        let place = usize::try_from(hour).unwrap_or(0);
        if let Some(hour) = days.entry(day).or_insert([None; HOURS]).get_mut(place) {
            *hour = (PARTS_MIN <= needs.len()).then(|| quantile(needs, HIGH)).flatten();
        }
    }
    days
}

/// `None`: an hour was never recorded on such a day.
fn profile(days: &Days, of: Vec<Weekday>) -> Option<WeeklyNeed> {
    let own: Vec<_> = days.iter().filter(|(day, _)| of.contains(&day.weekday())).collect();
    let mut needs = [0; HOURS];
    for (hour, need) in needs.iter_mut().enumerate() {
        let all = own.iter().filter_map(|(_, hours)| hours.get(hour).copied().flatten());
        *need = quantile(all.collect(), USUAL)?;
    }
    Some(WeeklyNeed { days: of, needs })
}

/// Windows in which at least this share of the way from the minimum to the highest need is needed,
/// in percent, the highest first: the first schedule that holds gives the bounds.
fn windows(profile: &WeeklyNeed, shares: &[u32], bounds: Bounds, zone: &Zone) -> Vec<Schedule> {
    let needs = profile.needs.map(|need| need.min(bounds.max()));
    let most = needs.iter().copied().max().unwrap_or(0);
    let way = most.saturating_sub(bounds.min());
    let levels: BTreeSet<u32> =
        shares.iter().map(|share| bounds.min() + (way * share).div_ceil(100)).collect();
    let levels = levels.into_iter().rev().filter(|level| bounds.min() < *level);
    levels
        .flat_map(|level| {
            let hours = needs.map(|need| level <= need);
            runs(&hours).into_iter().filter_map(move |span| Some((level, span?)))
        })
        .filter_map(|(level, span)| schedule(profile, level, span, bounds.max(), zone))
        .collect()
}

/// From the first hour of each run to the one after its last, across midnight where it goes on.
fn runs(hours: &[bool; HOURS]) -> Vec<Option<(usize, usize)>> {
    if hours.iter().all(|is_in| *is_in) {
        return vec![Some((0, HOURS))];
    }
    let is_in = |hour: usize| hours.get(hour % HOURS).copied().unwrap_or(false);
    let starts = (0..HOURS).filter(|hour| is_in(*hour) && !is_in(hour + HOURS - 1));
    starts
        .map(|from| (from..from + HOURS).find(|hour| !is_in(*hour)).map(|to| (from, to)))
        .collect()
}

fn schedule(
    profile: &WeeklyNeed,
    min: u32,
    (from, to): (usize, usize),
    max: u32,
    zone: &Zone,
) -> Option<Schedule> {
    let time = |hour: usize| TimeOfDay::from_minutes(u16::try_from(hour * 60).ok()?);
    let end = if to == HOURS { to } else { to % HOURS };
    let name = format!("{} {from:02}:00-{end:02}:00", days_name(&profile.days));
    let window = Window {
        days: Weekdays::of(profile.days.iter().copied()),
        start: time(from)?,
        end: time(end)?,
        zone: zone.clone(),
        holidays: BTreeSet::new(),
    };
    Some(Schedule { name, window, bounds: Bounds::new(min, max)?, prewarm: Duration::ZERO })
}

fn days_name(days: &[Weekday]) -> &'static str {
    match days.len() {
        2 => "sat-sun",
        5 => "mon-fri",
        _ => "daily",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::advise::load::LoadSpan;
    use crate::advise::weekly::proposals;
    use crate::model::bounds::Bounds;
    use crate::model::metric::Milli;
    use crate::model::schedule::Schedule;
    use crate::model::time::Moment;
    use crate::model::zone::Zone;

    /// A Monday, midnight in Berlin; clocks are set forward on the second Sunday.
    const MONDAY: u64 = 1_773_615_600;
    const DAY: u64 = 86_400;

    /// The first set of schedules, each as `name min`, with a load for each day and local hour.
    fn first(days: u64, load: impl Fn(u64, u64) -> Option<u64>) -> Option<String> {
        let zone = Zone::find("Europe/Berlin").unwrap();
        let spans: Vec<LoadSpan> = (0..days * 1440)
            .filter_map(|minute| {
                let at = MONDAY + 60 * minute;
                // The hours that local clocks show, as people plan by them.
                let change = MONDAY + 13 * DAY + 2 * 3600;
                let local = 60 * minute + if change <= at { 3600 } else { 0 };
                let load = load(local / DAY, local % DAY / 3600)?;
                let from = Moment(1000 * at);
                let to = Moment(1000 * (at + 60));
                Some(LoadSpan { from, to, load: Milli(load) })
            })
            .collect();
        let bounds = Bounds::new(1, 20).unwrap();
        let sets = proposals(&spans, &zone, bounds, Milli(100), Duration::ZERO);
        // Those of work days and weekends apart, at the highest level.
        let apart = |set: &&Vec<Schedule>| set.iter().all(|s| !s.name.starts_with("daily"));
        let set = sets.iter().find(apart)?;
        let shown = set.iter().map(|s| format!("{} {}", s.name, s.bounds.min()));
        Some(shown.collect::<Vec<_>>().join(", "))
    }

    fn office(day: u64, hour: u64) -> u64 {
        if day % 7 < 5 && (8..18).contains(&hour) { 900 } else { 100 }
    }

    const OFFICE: &str = "mon-fri 08:00-18:00 9";

    #[test]
    fn office_hours_are_found_by_local_time_across_a_change_of_the_clocks() {
        assert_eq!(first(7, |day, hour| Some(office(day, hour))).as_deref(), Some(OFFICE));
        assert_eq!(first(28, |day, hour| Some(office(day, hour))).as_deref(), Some(OFFICE));
    }

    #[test]
    fn a_holiday_an_outage_and_one_busy_night_make_no_difference() {
        let odd = |day, hour| match (day, hour) {
            (2, _) => Some(100),
            (8, 9..14) => None,
            (9, 3..5) => Some(2_000),
            _ => Some(office(day, hour)),
        };
        assert_eq!(first(14, odd).as_deref(), Some(OFFICE));
    }

    #[test]
    fn hours_across_midnight_are_one_window() {
        let night = |_, hour| Some(if !(4..22).contains(&hour) { 500 } else { 100 });
        let want = "mon-fri 22:00-04:00 5, sat-sun 22:00-04:00 5";
        assert_eq!(first(14, night).as_deref(), Some(want));
        let evening = |_, hour| Some(if 20 <= hour { 500 } else { 100 });
        let want = "mon-fri 20:00-24:00 5, sat-sun 20:00-24:00 5";
        assert_eq!(first(14, evening).as_deref(), Some(want));
    }

    #[test]
    fn a_load_without_a_pattern_gets_no_schedule() {
        assert_eq!(first(14, |_, _| Some(100)), None);
        // Less than half of each hour is known.
        assert_eq!(first(14, |day, hour| (day == 3).then(|| office(day, hour))), None);
    }
}
