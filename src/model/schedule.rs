//! Windows of local time, in any zone, and what holds in them. Pure: instants in, answers out.
//!
//! A window belongs to the day on which it starts and is half-open. Where clocks are set forward,
//! a start or end that does not exist becomes the first instant that does; where they are set
//! back, a start takes the first of the two instants and an end the second. So no window loses an
//! hour by a change of the clocks.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use chrono::{Datelike, Days, NaiveDate, NaiveTime, TimeDelta, Weekday};

use crate::model::bounds::Bounds;
use crate::model::time::Wall;
use crate::model::zone::{LocalTime, Zone};

/// Minutes since local midnight, 0 to 1440; the last is the end of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimeOfDay(u16);

impl TimeOfDay {
    pub(crate) fn from_minutes(minutes: u16) -> Option<TimeOfDay> {
        (minutes <= 24 * 60).then_some(TimeOfDay(minutes))
    }
}

/// `HH:MM`, as the config has it.
impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// A set of weekdays; bit 0 is Monday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weekdays(u8);

impl Weekdays {
    pub(crate) const ALL: Weekdays = Weekdays(0b111_1111);

    pub(crate) fn of(days: impl IntoIterator<Item = Weekday>) -> Weekdays {
        Weekdays(days.into_iter().fold(0, |bits, day| bits | 1 << day.num_days_from_monday()))
    }

    pub(crate) fn has(self, day: Weekday) -> bool {
        self.0 & 1 << day.num_days_from_monday() != 0
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) days: Weekdays,
    pub(crate) start: TimeOfDay,
    /// At or before `start`: on the next day.
    pub(crate) end: TimeOfDay,
    pub(crate) zone: Zone,
    /// Local dates on which the window does not start.
    pub(crate) holidays: BTreeSet<NaiveDate>,
}

impl Window {
    /// From the first instant to the one after the last; `None` where it does not start.
    pub(crate) fn span(&self, day: NaiveDate) -> Option<(Wall, Wall)> {
        if !self.days.has(day.weekday()) || self.holidays.contains(&day) {
            return None;
        }
        let nights = if self.end <= self.start { 1 } else { 0 };
        let start = self.instant(day, self.start, Edge::Start)?;
        let end = self.instant(day.checked_add_days(Days::new(nights))?, self.end, Edge::End)?;
        Some((start, end))
    }

    /// Spans that begin near or after `from` and before `until`, with none left out that holds
    /// between the two. In the order of their days.
    pub(crate) fn spans(&self, from: Wall, until: Wall) -> impl Iterator<Item = (Wall, Wall)> {
        // A window ends on the day after its own at the latest, and a change of the clocks may go
        // across midnight.
        let first = self.zone.local(from).date_naive().checked_sub_days(Days::new(2));
        let last = self.zone.local(until).date_naive().checked_add_days(Days::new(1));
        let days = first.into_iter().flat_map(|first| first.iter_days());
        let days = days.take_while(move |day| last.is_some_and(|last| *day <= last));
        days.filter_map(|day| self.span(day))
    }

    pub(crate) fn holds(&self, at: Wall, prewarm: Duration) -> bool {
        let early = i64::try_from(prewarm.as_secs()).unwrap_or(i64::MAX);
        let ahead = Wall(at.0.saturating_add(early));
        self.spans(at, ahead).any(|(start, end)| start <= ahead && at < end)
    }

    fn instant(&self, day: NaiveDate, time: TimeOfDay, edge: Edge) -> Option<Wall> {
        let midnight = day.and_time(NaiveTime::MIN);
        let local = midnight.checked_add_signed(TimeDelta::minutes(i64::from(time.0)))?;
        Some(match (self.zone.instants(local)?, edge) {
            (LocalTime::Once(at) | LocalTime::Skipped(at), _) => at,
            (LocalTime::Twice(first, _), Edge::Start) => first,
            (LocalTime::Twice(_, second), Edge::End) => second,
        })
    }
}

#[derive(Clone, Copy)]
enum Edge {
    Start,
    End,
}

/// A window with bounds of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) name: String,
    pub(crate) window: Window,
    pub(crate) bounds: Bounds,
    /// How much earlier its bounds hold, so that replicas are there when it starts.
    pub(crate) prewarm: Duration,
}

/// What happens outside the business hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outside {
    /// The number stays as it is.
    Hold,
    /// The number goes there and stays.
    Count(u32),
}

/// Outside of `window` load changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hours {
    pub(crate) window: Window,
    pub(crate) outside: Outside,
}

/// When a service may scale, and between which bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timetable {
    /// Where no schedule holds.
    pub(crate) bounds: Bounds,
    /// `None`: it may scale at any time.
    pub(crate) hours: Option<Hours>,
    /// The first that holds gives the bounds.
    pub(crate) schedules: Vec<Schedule>,
}

/// What holds at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EffectiveSchedule {
    pub(crate) bounds: Bounds,
    /// Load may change the number.
    pub(crate) scaling: bool,
    /// The schedule that gave the bounds.
    pub(crate) window: Option<String>,
}

impl Timetable {
    /// The same at any time.
    pub(crate) fn always(bounds: Bounds) -> Timetable {
        Timetable { bounds, hours: None, schedules: Vec::new() }
    }

    /// The smallest number that it ever allows, business hours apart.
    pub(crate) fn least(&self) -> u32 {
        let all = self.schedules.iter().map(|schedule| schedule.bounds.min());
        all.fold(self.bounds.min(), u32::min)
    }

    /// The largest number that it ever allows.
    pub(crate) fn most(&self) -> u32 {
        let all = self.schedules.iter().map(|schedule| schedule.bounds.max());
        all.fold(self.bounds.max(), u32::max)
    }

    /// The zone in which people think of it: that of the business hours, else of the first
    /// schedule. Without either UTC.
    pub(crate) fn zone(&self) -> Zone {
        self.own_zone().unwrap_or(Zone::UTC)
    }

    /// As `zone`. `None`: neither is configured.
    pub(crate) fn own_zone(&self) -> Option<Zone> {
        let hours = self.hours.iter().map(|h| &h.window.zone);
        let mut zones = hours.chain(self.schedules.iter().map(|s| &s.window.zone));
        zones.next().cloned()
    }

    pub(crate) fn at(&self, at: Wall) -> EffectiveSchedule {
        let is_out = |h: &&Hours| !h.window.holds(at, Duration::ZERO);
        let outside = self.hours.as_ref().filter(is_out).map(|h| h.outside);
        let scaling = outside.is_none();
        if let Some(schedule) = self.schedules.iter().find(|s| s.window.holds(at, s.prewarm)) {
            let window = Some(schedule.name.clone());
            return EffectiveSchedule { bounds: schedule.bounds, scaling, window };
        }
        let bounds = match outside {
            Some(Outside::Count(count)) => Bounds::exactly(count),
            Some(Outside::Hold) | None => self.bounds,
        };
        EffectiveSchedule { bounds, scaling, window: None }
    }

    /// Every instant after `from` and before `until` at which what holds may change, in order.
    pub(crate) fn edges(&self, from: Wall, until: Wall) -> BTreeSet<Wall> {
        let mut edges = BTreeSet::new();
        let hours = self.hours.iter().map(|h| (&h.window, 0));
        let schedules = self
            .schedules
            .iter()
            .map(|s| (&s.window, i64::try_from(s.prewarm.as_secs()).unwrap_or(i64::MAX)));
        for (window, early) in hours.chain(schedules) {
            let ahead = Wall(until.0.saturating_add(early));
            for (start, end) in window.spans(from, ahead) {
                edges.extend([Wall(start.0.saturating_sub(early)), end]);
            }
        }
        edges.retain(|edge| from < *edge && *edge < until);
        edges
    }

    /// What holds at `from`, then each change of it before `until`.
    pub(crate) fn course(&self, from: Wall, until: Wall) -> Vec<(Wall, EffectiveSchedule)> {
        let mut course = vec![(from, self.at(from))];
        for edge in self.edges(from, until) {
            let effective = self.at(edge);
            if course.last().is_none_or(|(_, before)| *before != effective) {
                course.push((edge, effective));
            }
        }
        course
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{DateTime, NaiveDate, Weekday};

    use crate::model::bounds::Bounds;
    use crate::model::schedule::{
        Hours, Outside, Schedule, TimeOfDay, Timetable, Weekdays, Window,
    };
    use crate::model::time::Wall;
    use crate::model::zone::Zone;

    fn wall(text: &str) -> Wall {
        Wall(DateTime::parse_from_rfc3339(text).unwrap().timestamp())
    }

    /// `ZONE HH:MM-HH:MM`, on every day.
    fn window(text: &str) -> Window {
        let (zone, times) = text.split_once(' ').unwrap();
        let minutes = |t: &str| {
            let (h, m) = t.split_once(':').unwrap();
            TimeOfDay::from_minutes(h.parse::<u16>().unwrap() * 60 + m.parse::<u16>().unwrap())
        };
        let (start, end) = times.split_once('-').unwrap();
        let start = minutes(start).unwrap();
        let end = minutes(end).unwrap();
        let zone = Zone::find(zone).unwrap();
        Window { days: Weekdays::ALL, start, end, zone, holidays: Default::default() }
    }

    #[track_caller]
    fn check_span(text: &str, day: &str, want: &str) {
        let show =
            |at: Wall| DateTime::from_timestamp(at.0, 0).unwrap().format("%d %H:%M").to_string();
        let span = window(text).span(day.parse().unwrap());
        let got = span.map(|(from, to)| format!("{} to {}", show(from), show(to)));
        assert_eq!(got.as_deref(), Some(want), "{text} on {day}");
    }

    /// All in UTC on the right.
    #[test]
    fn a_window_never_loses_an_hour_to_the_clocks() {
        check_span("Asia/Dhaka 09:00-17:00", "2026-01-05", "05 03:00 to 05 11:00");
        check_span("Europe/Berlin 22:00-06:00", "2026-01-05", "05 21:00 to 06 05:00");
        check_span("UTC 00:00-24:00", "2026-01-05", "05 00:00 to 06 00:00");
        check_span("UTC 09:00-09:00", "2026-01-05", "05 09:00 to 06 09:00");
        // Forward: 02:00 to 03:00 does not exist.
        check_span("Europe/Berlin 02:30-04:00", "2026-03-29", "29 01:00 to 29 02:00");
        check_span("Europe/Berlin 01:00-02:30", "2026-03-29", "29 00:00 to 29 01:00");
        check_span("Europe/Berlin 02:15-02:45", "2026-03-29", "29 01:00 to 29 01:00");
        // Back: 02:00 to 03:00 comes twice.
        check_span("Europe/Berlin 02:30-04:00", "2026-10-25", "25 00:30 to 25 03:00");
        check_span("Europe/Berlin 01:00-02:30", "2026-10-25", "24 23:00 to 25 01:30");
        // Half an hour only.
        check_span("Australia/Lord_Howe 01:45-03:00", "2026-04-05", "04 14:45 to 04 16:30");
        check_span("Australia/Lord_Howe 02:15-03:00", "2026-10-04", "03 15:30 to 03 16:00");
        // The 30th did not happen there.
        check_span("Pacific/Apia 09:00-17:00", "2011-12-30", "30 10:00 to 30 10:00");
        check_span("Pacific/Apia 22:00-06:00", "2011-12-29", "30 08:00 to 30 10:00");
    }

    #[test]
    fn a_window_is_half_open_and_belongs_to_the_day_it_starts_on() {
        let mut night = window("UTC 22:00-06:00");
        night.days = Weekdays::of([Weekday::Fri]);
        let holds = |at: &str| night.holds(wall(at), Duration::ZERO);
        assert!(!holds("2026-01-02T21:59:59Z") && holds("2026-01-02T22:00:00Z"));
        assert!(holds("2026-01-03T05:59:59Z") && !holds("2026-01-03T06:00:00Z"));
        assert!(!holds("2026-01-03T22:00:00Z"), "it is Saturday");
        let early = |at: &str| night.holds(wall(at), Duration::from_secs(600));
        assert!(!early("2026-01-02T21:49:59Z") && early("2026-01-02T21:50:00Z"));
        assert!(!early("2026-01-03T06:00:00Z"), "prewarm moves the start only");
        let friday: NaiveDate = "2026-01-02".parse().unwrap();
        let off = Window { holidays: [friday].into(), ..night.clone() };
        assert!(!off.holds(wall("2026-01-03T05:00:00Z"), Duration::ZERO));
        assert!(off.holds(wall("2026-01-10T05:00:00Z"), Duration::ZERO));
    }

    fn bounds(min: u32, max: u32) -> Bounds {
        Bounds::new(min, max).unwrap()
    }

    #[test]
    fn the_first_schedule_that_holds_gives_the_bounds_and_the_hours_say_whether_it_scales() {
        let schedule = |name: &str, times: &str, min, prewarm| Schedule {
            name: name.to_owned(),
            window: window(times),
            bounds: bounds(min, 9),
            prewarm: Duration::from_secs(prewarm),
        };
        let hours = |outside| Some(Hours { window: window("UTC 09:00-17:00"), outside });
        let schedules = vec![
            schedule("rush", "UTC 10:00-11:00", 4, 600),
            schedule("day", "UTC 08:00-12:00", 2, 0),
        ];
        let table = Timetable { bounds: bounds(1, 8), hours: hours(Outside::Count(3)), schedules };
        let day = ("2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z");
        let shown = |table: &Timetable| {
            let course = table.course(wall(day.0), wall(day.1)).into_iter();
            let row = |(at, s): (Wall, super::EffectiveSchedule)| {
                let minutes = (at.0 - wall(day.0).0) / 60;
                let window = s.window.unwrap_or_default();
                let min = s.bounds.min();
                let max = s.bounds.max();
                format!(
                    "{:02}:{:02} {min}..{max} {} {window}",
                    minutes / 60,
                    minutes % 60,
                    s.scaling
                )
            };
            course.map(row).collect::<Vec<_>>()
        };
        let want = [
            "00:00 3..3 false ",
            "08:00 2..9 false day",
            "09:00 2..9 true day",
            "09:50 4..9 true rush",
            "11:00 2..9 true day",
            "12:00 1..8 true ",
            "17:00 3..3 false ",
        ];
        assert_eq!(shown(&table), want);
        let held = Timetable { hours: hours(Outside::Hold), schedules: Vec::new(), ..table };
        assert_eq!(shown(&held), ["00:00 1..8 false ", "09:00 1..8 true ", "17:00 1..8 false "]);
        let always = Timetable::always(bounds(1, 8));
        assert_eq!(shown(&always), ["00:00 1..8 true "]);
    }
}
