//! `business_hours` and `schedules`: windows of local time.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{NaiveDate, Weekday};

use crate::config::cursor::{Node, Section};
use crate::config::values;
use crate::model::bounds::Bounds;
use crate::model::schedule::{Hours, Outside, Schedule, TimeOfDay, Weekdays, Window};
use crate::model::units;
use crate::model::zone::Zone;

pub(super) const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Mon),
    ("tue", Weekday::Tue),
    ("wed", Weekday::Wed),
    ("thu", Weekday::Thu),
    ("fri", Weekday::Fri),
    ("sat", Weekday::Sat),
    ("sun", Weekday::Sun),
];
const DAY: Duration = Duration::from_secs(24 * 3600);

/// `autoscaler.business_hours`, the default of services that have none.
pub(crate) enum Fallback {
    None,
    /// Present but wrong, which was reported.
    Bad,
    Window(Window),
}

impl Fallback {
    pub(crate) fn window(self) -> Option<Window> {
        match self {
            Fallback::Window(window) => Some(window),
            Fallback::None | Fallback::Bad => None,
        }
    }
}

/// `business_hours` of `autoscaler` or of a service. The default is 09:00 to 17:00, UTC, every day.
pub(crate) fn business_hours(node: &Node) -> Option<Window> {
    let section = node.section()?;
    let window = window(&section, Some((9 * 60, 17 * 60)));
    section.done();
    window
}

/// When a service may scale. The outer `None`: a key is wrong.
pub(crate) fn hours(
    section: &Section,
    fallback: &Fallback,
    bounds: Option<Bounds>,
) -> Option<Option<Hours>> {
    let own = section.get("business_hours").map(|n| business_hours(&n));
    let only = section.get("business_hours_only");
    let is_only = only.as_ref().and_then(|n| n.boolean()).unwrap_or(false);
    let outside = section.get("outside_hours").map(|n| outside(&n, bounds));
    let window = match (own, fallback) {
        (Some(own), _) => Some(own?),
        (None, Fallback::Window(window)) => Some(window.clone()),
        (None, Fallback::None | Fallback::Bad) => None,
    };
    if !is_only {
        return Some(None);
    }
    let outside = outside.unwrap_or(Some(Outside::Hold))?;
    if let (None, Fallback::None, Some(only)) = (&window, fallback, only) {
        only.error("needs business_hours, in this service or in autoscaler");
    }
    Some(Some(Hours { window: window?, outside }))
}

fn outside(node: &Node, bounds: Option<Bounds>) -> Option<Outside> {
    match node.string.as_deref() {
        Some("hold") => Some(Outside::Hold),
        Some("min") => bounds.map(|b| Outside::Count(b.min())),
        _ if node.number().is_some() => {
            let most = bounds.map_or(Bounds::MAX, Bounds::max);
            node.whole(0..=most).map(Outside::Count)
        }
        _ => node.wrong(r#""hold", "min" or a number of replicas"#),
    }
}

pub(crate) fn schedules(node: Option<Node>) -> Vec<Schedule> {
    let nodes = node.and_then(|n| n.list()).unwrap_or_default();
    let numbered = nodes.iter().enumerate();
    let schedules: Vec<Schedule> = numbered.filter_map(|(i, n)| schedule(i, n)).collect();
    let mut names = BTreeSet::new();
    for (schedule, node) in schedules.iter().zip(&nodes) {
        if !names.insert(schedule.name.as_str()) {
            node.error(format!(
                "another schedule of this service has the name `{}`",
                schedule.name
            ));
        }
    }
    schedules
}

fn schedule(index: usize, node: &Node) -> Option<Schedule> {
    let section = node.section()?;
    let name = section.get("name").map(|n| n.text().map(Cow::into_owned));
    let window = window(&section, None);
    let bounds = values::bounds(&section);
    let prewarm = section.get("prewarm").map(|n| n.duration(Duration::ZERO..=DAY));
    section.done();
    Some(Schedule {
        name: name.unwrap_or_else(|| Some(format!("schedule-{}", index + 1)))?,
        window: window?,
        bounds: bounds?,
        prewarm: prewarm.unwrap_or(Some(Duration::ZERO))?,
    })
}

/// Without a default both ends are required.
fn window(section: &Section, default: Option<(u16, u16)>) -> Option<Window> {
    let end = |key, fallback: Option<u16>, last| {
        let node = match fallback {
            None => section.need(key, r#"a local time like "09:00""#),
            Some(_) => section.get(key),
        };
        match node {
            Some(node) => time(&node, last),
            None => fallback.and_then(TimeOfDay::from_minutes),
        }
    };
    let start = end("start", default.map(|d| d.0), 24 * 60 - 1);
    let stop = end("end", default.map(|d| d.1), 24 * 60);
    let zone = section.get("timezone").map_or(Some(Zone::UTC), |n| zone(&n));
    let days = section.get("days").map_or(Some(Weekdays::ALL), |n| days(&n));
    let holidays = section.get("holidays").map_or(Some(BTreeSet::new()), |n| holidays(&n));
    Some(Window { days: days?, start: start?, end: stop?, zone: zone?, holidays: holidays? })
}

fn time(node: &Node, last: u16) -> Option<TimeOfDay> {
    let latest = format!("{:02}:{:02}", last / 60, last % 60);
    let allowed = format!("a local time, HH:MM, from \"00:00\" to \"{latest}\"");
    let text = node.text()?;
    let digits = |t: &str| t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit());
    let parsed = text.split_once(':').filter(|(h, m)| digits(h) && digits(m));
    let minutes = parsed.and_then(|(h, m)| {
        let (hours, minutes): (u16, u16) = (h.parse().ok()?, m.parse().ok()?);
        (minutes < 60).then_some(hours * 60 + minutes)
    });
    let minutes = minutes.filter(|m| *m <= last);
    // YAML 1.1, as the first docker compose reads it, makes a number of 18:00.
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    let allowed = if is_number { format!("{allowed}, in quotes") } else { allowed };
    minutes.and_then(TimeOfDay::from_minutes).or_else(|| node.wrong(allowed))
}

fn zone(node: &Node) -> Option<Zone> {
    let text = node.text()?;
    if let Some(zone) = Zone::find(&text) {
        return Some(zone);
    }
    let plain = |name: &str| name.to_ascii_lowercase().replace(' ', "_");
    let wanted = plain(&text);
    // Also compares the last part alone, as people write `Berlin`.
    let far = |name: &str| {
        let name = plain(name);
        let city = name.rsplit('/').next().unwrap_or_default().to_owned();
        [name, city].iter().filter_map(|name| units::distance(name, &wanted, 2)).min()
    };
    let zones = Zone::names().filter(|_| node.has_room());
    let near = zones.filter_map(|name| Some((far(name)?, name))).min_by_key(|(far, _)| *far);
    let hint = near.map(|(_, name)| format!("; did you mean \"{name}\"?")).unwrap_or_default();
    node.error(format!(
        "unknown time zone {} (IANA names look like \"Asia/Dhaka\"){hint}",
        node.found()
    ));
    None
}

fn days(node: &Node) -> Option<Weekdays> {
    let nodes = node.list()?;
    if nodes.is_empty() {
        return node.wrong("a list with at least one day");
    }
    let day = |node: &Node| {
        let names: Vec<&str> = DAYS.iter().map(|(name, _)| *name).collect();
        let found = |word: &str| DAYS.iter().find(|(name, _)| *name == word).map(|(_, day)| *day);
        node.word(&format!("one of {}", names.join(", ")), found)
    };
    let days: Vec<Weekday> = nodes.iter().filter_map(day).collect();
    (days.len() == nodes.len()).then(|| Weekdays::of(days))
}

fn holidays(node: &Node) -> Option<BTreeSet<NaiveDate>> {
    let nodes = node.list()?;
    let date = |node: &Node| {
        let text = node.text()?;
        let date = NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok();
        // chrono also accepts signs, spaces and short numbers.
        date.filter(|date| text.len() == 10 && date.to_string() == *text)
            .or_else(|| node.wrong(r#"a valid date like "2026-12-25""#))
    };
    let dates: Vec<NaiveDate> = nodes.iter().filter_map(date).collect();
    (dates.len() == nodes.len()).then(|| dates.into_iter().collect())
}
