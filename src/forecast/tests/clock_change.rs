//! People live by local time: a week earlier is the same local time, not 168 hours ago.

use chrono::{DateTime, TimeDelta};

use crate::forecast::forecast;
use crate::forecast::tests::{CONFIG, usual};
use crate::model::forecast::{ForecastInput, WeekSlice};
use crate::model::metric::Milli;
use crate::model::time::Wall;
use crate::model::zone::{LocalTime, Zone};

const MINUTE: i64 = 60;
const WEEK: i64 = 7 * 24 * 3600;

struct Place {
    zone: Zone,
    /// Whether weeks are of local time.
    is_local: bool,
}

impl Place {
    fn load(&self, at: Wall) -> Milli {
        let minute = self.zone.local(at).naive_local().and_utc().timestamp() / MINUTE;
        Milli((usual(minute) * 1000.0) as u64)
    }

    /// The load at this time of another week.
    fn earlier(&self, at: Wall, weeks: i64) -> Option<Milli> {
        if !self.is_local {
            return Some(self.load(Wall(at.0 - weeks * WEEK)));
        }
        let local = self.zone.local(at).naive_local() - TimeDelta::weeks(weeks);
        match self.zone.instants(local)? {
            LocalTime::Once(at) | LocalTime::Twice(at, _) => Some(self.load(at)),
            LocalTime::Skipped(_) => None,
        }
    }

    fn input(&self, now: Wall) -> ForecastInput {
        let minutes = |from: i64, to: i64| (from..to).map(|m| Wall(now.0 + m * MINUTE));
        let week = |weeks| WeekSlice {
            before: minutes(-120, 0).map(|at| self.earlier(at, weeks)).collect(),
            ahead: minutes(0, 11).map(|at| self.earlier(at, weeks)).collect(),
        };
        let recent = minutes(-120, 0).map(|at| Some(self.load(at))).collect();
        ForecastInput { recent, weeks: (1..=3).map(week).collect() }
    }

    /// The worst that a forecast is too low in the eight days around a moment, in percent.
    fn worst(&self, around: &str) -> f64 {
        let middle = DateTime::parse_from_rfc3339(around).unwrap().timestamp();
        let day = 24 * 3600;
        let nows = (middle - day..middle + WEEK).step_by(1200).map(Wall);
        let low = nows.map(|now| {
            let forecast = forecast(&self.input(now), &CONFIG).unwrap();
            let came = (0..=10).map(|m| self.load(Wall(now.0 + m * MINUTE))).max().unwrap();
            100.0 * (1.0 - forecast.upper.0 as f64 / came.0 as f64)
        });
        low.fold(0.0, f64::max)
    }
}

#[test]
fn a_clock_change_moves_the_load_with_the_people() {
    for (zone, around) in [
        ("Europe/Berlin", "2026-03-29T03:00:00+02:00"),
        ("Europe/Berlin", "2026-10-25T03:00:00+01:00"),
        ("America/New_York", "2026-03-08T03:00:00-04:00"),
        ("Australia/Lord_Howe", "2026-04-05T02:00:00+10:30"),
        ("UTC", "2026-03-29T03:00:00Z"),
    ] {
        let place = |is_local| Place { zone: Zone::find(zone).unwrap(), is_local };
        let local = place(true).worst(around);
        assert!(local < 1.0, "{zone} {around}: {local:.1} % too low");
        // What it would be by whole weeks of 168 hours, to show that this test can fail.
        let hours = place(false).worst(around);
        assert_eq!(10.0 < hours, zone != "UTC", "{zone} {around}: {hours:.1} % too low");
    }
}
