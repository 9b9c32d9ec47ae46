//! One service of `plimsoll report` as lines for people.

use crate::cli::history_table::covered;
use crate::cli::table::{beside_or_below, ended};
use crate::model::time::{DAY, Wall};
use crate::model::units::plural;
use crate::model::zone::{LocalTime, Zone};
use crate::report::load_report::{LoadReport, WorstMinute};
use crate::report::report_words::{self, grouped, hours, percent};

const CAUSES: usize = 3;
/// Of the names of lines, with the spaces around them.
const INDENT: usize = 16;
/// In seconds: in a longer span a date without its year may be of two.
const YEARLESS: i64 = 300 * DAY;

/// With what tells it from another time of the span.
pub(crate) fn time(at: Wall, zone: &Zone, (from, until): (Wall, Wall)) -> String {
    let local = zone.local(at);
    let has_year = YEARLESS < until.0.saturating_sub(from.0);
    let date = if has_year { "%a %-d %b %Y" } else { "%a %-d %b" };
    let is_twice = matches!(zone.instants(local.naive_local()), Some(LocalTime::Twice(..)));
    let offset = if is_twice { " %:z" } else { "" };
    local.format(&format!("{date} %H:%M{offset}")).to_string()
}

/// With its name before it, which may be none.
pub(crate) fn line(name: &str, text: &str, width: usize) -> String {
    ended(&beside_or_below(&format!("  {name:<14}"), INDENT, text, width))
}

pub(crate) fn of_service(report: &LoadReport, is_read: bool, zone: &Zone, width: usize) -> String {
    let minutes = i64::try_from(report.minutes).unwrap_or(i64::MAX);
    let span = i64::try_from(report.span()).unwrap_or(i64::MAX);
    let name = &report.service;
    if minutes == 0 {
        let why = if is_read { "no rows in the load history" } else { "its files cannot be read" };
        return format!("{name}: {why}\n");
    }
    let but = if is_read { "" } else { "; some of its files cannot be read" };
    let mut out = format!("{name}: {}{but}\n", covered(minutes, span));
    let mut put = |name: &str, text: &str| out += &line(name, text, width);
    put("cost", &cost(report));
    put("fixed number", &fixed(report));
    put("served", &report_words::requests(report));
    put("above target", &above_target(report, zone));
    put("changes", &report_words::changes(report).unwrap_or_else(|| "unknown".to_owned()));
    put("deaths", &deaths(report));
    for (at, line) in worst(report, zone).iter().enumerate() {
        put(if at == 0 { "worst minutes" } else { "" }, line);
    }
    out
}

fn cost(report: &LoadReport) -> String {
    let words = report_words::replica_hours(report);
    let Some(max) = report.max else {
        return format!("{words}; its max is unknown: it is not in the config");
    };
    let at_max = report.minutes_at(max);
    let saved = at_max.saturating_sub(report.replica_minutes);
    format!("{words}: {} saved", percent(saved, at_max))
}

fn fixed(report: &LoadReport) -> String {
    let undivided: Vec<&str> = report.undivided.iter().map(String::as_str).collect();
    let names = undivided.join(", ");
    let Some(fixed) = report.fixed else {
        return match undivided.len() {
            0 => "unknown: no minute has a load".to_owned(),
            1 => format!("unknown: {names} is not shared among replicas"),
            _ => format!("unknown: {names} are not shared among replicas"),
        };
    };
    let but = if names.is_empty() { names } else { format!(" (not counting {names})") };
    let least = if fixed.is_lower_bound { "at least " } else { "" };
    let always = report.minutes_at(fixed.replicas);
    let compared = report_words::compared(always, report.replica_minutes);
    format!(
        "with {least}{} every minute is within target{but}: {least}{} replica-hours{}",
        plural(fixed.replicas, "replica"),
        hours(always),
        compared.map(|words| format!(", {words}")).unwrap_or_default()
    )
}

fn above_target(report: &LoadReport, zone: &Zone) -> String {
    let days = plural(report.days_above(zone), "day");
    match report_words::above_target(report) {
        Some(minutes) => format!("{minutes} on {days}"),
        None => "never".to_owned(),
    }
}

fn deaths(report: &LoadReport) -> String {
    let Some(events) = &report.events else { return "unknown".to_owned() };
    if events.deaths == 0 {
        return "none".to_owned();
    }
    let causes = events.causes.iter().take(CAUSES);
    let mut parts: Vec<String> =
        causes.map(|(cause, count)| format!("{} × {cause}", grouped(*count))).collect();
    let left: u64 = events.causes.iter().skip(CAUSES).map(|(_, count)| count).sum();
    if 0 < left {
        parts.push(format!("{} × other causes", grouped(left)));
    }
    format!("{}: {}", grouped(events.deaths), parts.join("; "))
}

/// Minutes that follow each other on one line, the worst first; before them, of how many they are
/// the worst.
fn worst(report: &LoadReport, zone: &Zone) -> Vec<String> {
    if report.worst.is_empty() {
        return vec!["none above target, none with a response 5xx".to_owned()];
    }
    let mut runs: Vec<Vec<&WorstMinute>> = Vec::new();
    for minute in &report.worst {
        let touches = |run: &&mut Vec<&WorstMinute>| {
            run.iter().any(|other| (other.at.0 - minute.at.0).abs() == 60)
        };
        match runs.iter_mut().find(touches) {
            Some(run) => run.push(minute),
            None => runs.push(vec![minute]),
        }
    }
    let shown = report.worst.len() as u64;
    let mut lines = Vec::new();
    if shown < report.bad_minutes {
        let all = report_words::minutes(report.bad_minutes);
        lines.push(match (report.above_target, report.days_above(zone)) {
            (0, _) => format!("the worst {shown} of {all} with responses 5xx"),
            (above, days) if above == report.bad_minutes => {
                format!("the worst {shown} of {all} above target on {}", plural(days, "day"))
            }
            (above, days) => format!(
                "the worst {shown} of {all}: {} above target on {}, the others with responses 5xx",
                grouped(above),
                plural(days, "day")
            ),
        });
    }
    let span = (report.from, report.until);
    lines.extend(runs.iter().filter_map(|run| line_of(run, zone, span)));
    lines
}

fn line_of(run: &[&WorstMinute], zone: &Zone, span: (Wall, Wall)) -> Option<String> {
    let first = run.iter().map(|minute| minute.at).min()?;
    let mut parts = vec![time(first, zone, span)];
    if 1 < run.len() {
        parts.push(plural(run.len() as u64, "minute"));
    }
    let load = run.iter().filter_map(|minute| minute.load).max();
    parts.extend(load.map(|load| format!("load {}%", load.0.div_ceil(10))));
    let errors: u64 = run.iter().map(|minute| minute.errors_5xx).sum();
    if 0 < errors {
        parts.push(format!("{} failed", grouped(errors)));
    }
    let least = run.iter().map(|minute| minute.ready).min()?;
    parts.push(format!("{least} ready"));
    Some(parts.join(", "))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use crate::cli::report_text::{fixed, of_service, time, worst};
    use crate::model::load_history::{MinuteLoad, MinuteRow};
    use crate::model::metric::Milli;
    use crate::model::time::{DAY, Wall};
    use crate::model::zone::Zone;
    use crate::report::load_report::LoadReport;

    const SPAN: (Wall, Wall) = (Wall(0), Wall(7 * DAY));

    /// One replica with this load of a target of 50.
    fn row(minute: i64, metric: &str, load: u64, errors_5xx: u64) -> MinuteRow {
        let average = Some(Milli(1000 * load));
        let target = Milli(50_000);
        let metric = metric.to_owned();
        let load = MinuteLoad { metric, target, average, highest: average, forecast: None };
        MinuteRow { errors_5xx, ..MinuteRow::loaded(Wall(60 * minute), (1, 1), load) }
    }

    fn report(rows: impl Iterator<Item = MinuteRow>) -> LoadReport {
        LoadReport::of("web", SPAN, Some(4), rows, &[])
    }

    #[test]
    fn the_worst_minutes_say_of_how_many_they_are_the_worst() {
        // Two hours of each day, of which those of the first are worst.
        let days = (0..7).flat_map(|day| (0..120).map(move |n| (day, 1440 * day + 720 + n)));
        let every_day = report(days.map(|(day, at)| row(at, "cpu", 200 - 10 * day as u64, 0)));
        let want = [
            "the worst 10 of 840 minutes above target on 7 days",
            "Thu 1 Jan 12:00, 10 minutes, load 400%, 1 ready",
        ];
        assert_eq!(worst(&every_day, &Zone::UTC), want);
        // All ten, and no count where they are all.
        let apart = |count: i64| report((0..count).map(|n| row(10 * n, "cpu", 10, 2)));
        let lines = worst(&apart(10), &Zone::UTC);
        assert_eq!(
            (lines.len(), lines[9].as_str()),
            (10, "Thu 1 Jan 01:30, load 20%, 2 failed, 1 ready")
        );
        let lines = worst(&apart(1200), &Zone::UTC);
        assert_eq!(
            (lines.len(), lines[0].as_str()),
            (11, "the worst 10 of 1,200 minutes with responses 5xx")
        );
        let both = report((0..20).map(|n| row(10 * n, "cpu", if n < 5 { 60 } else { 10 }, 1)));
        let head =
            "the worst 10 of 20 minutes: 5 above target on 1 day, the others with responses 5xx";
        assert_eq!(worst(&both, &Zone::UTC)[0], head);
        let none = report((0..20).map(|n| row(n, "cpu", 10, 0)));
        assert_eq!(worst(&none, &Zone::UTC), ["none above target, none with a response 5xx"]);
    }

    #[test]
    fn a_number_is_fixed_by_what_replicas_share() {
        let of = |metrics: &[&str]| fixed(&report(metrics.iter().map(|name| row(0, name, 90, 0))));
        assert_eq!(of(&[]), "unknown: no minute has a load");
        assert_eq!(of(&["memory"]), "unknown: memory is not shared among replicas");
        let two = "unknown: haproxy queue, memory are not shared among replicas";
        assert_eq!(of(&["memory", "haproxy queue"]), two);
        let both = "with at least 2 replicas every minute is within target (not counting memory): ";
        assert!(of(&["cpu", "memory"]).starts_with(both), "{}", of(&["cpu", "memory"]));
    }

    #[test]
    fn a_time_has_what_tells_it_from_others_of_the_span() {
        let wall = |text: &str| Wall(DateTime::parse_from_rfc3339(text).unwrap().timestamp());
        let berlin = Zone::find("Europe/Berlin").unwrap();
        for (at, days, want) in [
            ("2026-10-25T00:30:00Z", 7, "Sun 25 Oct 02:30 +02:00"),
            ("2026-10-25T01:30:00Z", 7, "Sun 25 Oct 02:30 +01:00"),
            ("2026-10-25T02:00:00Z", 7, "Sun 25 Oct 03:00"),
            ("2026-10-24T23:59:00Z", 300, "Sun 25 Oct 01:59"),
            ("2026-10-24T23:59:00Z", 301, "Sun 25 Oct 2026 01:59"),
        ] {
            assert_eq!(time(wall(at), &berlin, (Wall(0), Wall(days * DAY))), want, "{at}");
        }
    }

    #[test]
    fn no_line_is_wider_than_its_terminal() {
        let rows = (0..400).map(|n| row(10 * n, "cpu", 500_000 + n as u64, 7));
        let report = report(rows);
        for width in [20, 30, 35, 36, 80] {
            let text = of_service(&report, true, &Zone::UTC, width);
            let longest = text.lines().skip(1).map(|line| line.chars().count()).max();
            assert!(longest.unwrap() <= width, "{width}: {text}");
            assert!(text.contains("more than 1,000") || width < 80, "{text}");
        }
    }
}
