//! The report of a week as one event: which week it is of, and its message.

use chrono::{Datelike, Days, NaiveDate, NaiveTime};

use crate::model::time::Wall;
use crate::model::units::plural;
use crate::model::zone::{LocalTime, Zone};
use crate::report::load_report::LoadReport;

/// Local time on Monday from which the report of the week before is due.
const HOUR_DUE: u32 = 8;
/// Services that have a sentence; more make no message that somebody reads.
const SERVICES_MAX: usize = 10;

/// A week of local time, from Monday to Monday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReportWeek {
    pub(crate) from: Wall,
    pub(crate) until: Wall,
    /// The day on which its report is due.
    pub(crate) monday: NaiveDate,
}

impl ReportWeek {
    /// Whether there was a report on this Monday or, before the clock was set back, on the next
    /// one. One that lies further away is of a clock that was wrong.
    pub(crate) fn is_made(&self, made: &[NaiveDate]) -> bool {
        made.iter().any(|made| (0..=7).contains(&(*made - self.monday).num_days()))
    }
}

/// The last week whose report is due. `None` beyond the calendar.
pub(crate) fn due(now: Wall, zone: &Zone) -> Option<ReportWeek> {
    let local = zone.local(now).naive_local();
    let since_monday = u64::from(local.weekday().num_days_from_monday());
    let monday = local.date().checked_sub_days(Days::new(since_monday))?;
    let is_over = instant(monday, HOUR_DUE, zone)? <= now;
    let monday = if is_over { monday } else { monday.checked_sub_days(Days::new(7))? };
    let from = instant(monday.checked_sub_days(Days::new(7))?, 0, zone)?;
    Some(ReportWeek { from, until: instant(monday, 0, zone)?, monday })
}

fn instant(day: NaiveDate, hour: u32, zone: &Zone) -> Option<Wall> {
    Some(match zone.instants(day.and_time(NaiveTime::from_hms_opt(hour, 0, 0)?))? {
        LocalTime::Once(at) | LocalTime::Twice(at, _) | LocalTime::Skipped(at) => at,
    })
}

/// `None`: there is no row of any service. `left_out` says what could not be read.
pub(crate) fn message(reports: &[LoadReport], left_out: &[String], zone: &Zone) -> Option<String> {
    let mut reports: Vec<&LoadReport> =
        reports.iter().filter(|report| 0 < report.minutes).collect();
    let first = reports.first()?;
    let day = |at: Wall| zone.local(at).format("%-d %b").to_string();
    let mut out = format!("{} to {}", day(first.from), day(Wall(first.until.0 - 1)));
    // Those with most replicas first, as they cost most; of equal ones by name.
    reports.sort_by_key(|report| std::cmp::Reverse(report.replica_minutes));
    for report in reports.iter().take(SERVICES_MAX) {
        out += "; ";
        out += &sentence(report);
    }
    let left = reports.len().saturating_sub(SERVICES_MAX);
    if 0 < left {
        out += &format!("; {} more", plural(left as u64, "service"));
    }
    for note in left_out {
        out += &format!("; {note}");
    }
    Some(out + "; all of it: plimsoll report")
}

fn sentence(report: &LoadReport) -> String {
    let at_max = report.max.map(|max| format!(" of {} at max", hours(report.minutes_at(max))));
    let events = &report.events;
    let mut out = format!(
        "{}: {} replica-hours{}, {}",
        report.service,
        hours(report.replica_minutes),
        at_max.unwrap_or_default(),
        plural_grouped(report.requests, "request"),
    );
    if 0 < report.errors_5xx {
        let share = percent(report.errors_5xx, report.requests);
        out += &format!(" ({} failed, {share} %)", grouped(report.errors_5xx));
    }
    if 0 < report.above_target {
        out += &format!(", {} above target", plural_grouped(report.above_target, "minute"));
    }
    out += &format!(", {} up and {} down", events.ups, events.downs);
    if 0 < events.deaths {
        let most = events.causes.first().map(|(cause, _)| format!(" (most: {cause})"));
        out += &format!(", {}{}", plural(events.deaths, "death"), most.unwrap_or_default());
    }
    let covered = percent(report.minutes, report.span());
    if report.minutes < report.span() {
        out += &format!(", from {covered} % of the minutes");
    }
    out
}

/// Of minutes, with a tenth below a hundred.
pub(crate) fn hours(minutes: u64) -> String {
    let tenths = (minutes.saturating_add(3)) / 6;
    match (tenths / 10, tenths % 10) {
        (hours, tenth) if hours < 100 && tenth != 0 => format!("{hours}.{tenth}"),
        (hours, tenth) => grouped(hours + tenth / 5 * u64::from(100 <= hours)),
    }
}

fn plural_grouped(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{} {noun}s", grouped(count)) }
}

/// `1,234,567`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if 0 < at && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// To a tenth, below that to a hundredth; `<0.01` is more than nothing, and less than all is not
/// shown as 100.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    let hundredths = u128::from(part) * 10_000 / u128::from(whole.max(1));
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    match (whole, rest) {
        (0, 0) if 0 < part => "<0.01".to_owned(),
        (0, rest) if rest != 0 && !rest.is_multiple_of(10) => format!("0.{rest:02}"),
        (whole, rest) if 10 <= rest => format!("{whole}.{}", rest / 10),
        (whole, _) => whole.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use crate::model::load_history::MinuteRow;
    use crate::model::time::Wall;
    use crate::model::zone::Zone;
    use crate::report::load_report::LoadReport;
    use crate::report::weekly_report::{due, grouped, hours, message, percent};

    fn wall(text: &str) -> Wall {
        Wall(DateTime::parse_from_rfc3339(text).unwrap().timestamp())
    }

    #[test]
    fn a_week_is_due_from_monday_at_eight() {
        for (zone, now, want) in [
            ("UTC", "2026-11-30T07:59:59Z", ("2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z")),
            ("UTC", "2026-11-30T08:00:00Z", ("2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z")),
            ("UTC", "2026-12-06T23:59:59Z", ("2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z")),
            ("UTC", "2026-12-07T08:00:00Z", ("2026-11-30T00:00:00Z", "2026-12-07T00:00:00Z")),
            // In Dhaka it is 08:00.
            (
                "Asia/Dhaka",
                "2026-11-30T02:00:00Z",
                ("2026-11-22T18:00:00Z", "2026-11-29T18:00:00Z"),
            ),
            (
                "Asia/Dhaka",
                "2026-11-30T01:59:59Z",
                ("2026-11-15T18:00:00Z", "2026-11-22T18:00:00Z"),
            ),
            // A week with a change of the clocks has an hour less or more.
            (
                "Europe/Berlin",
                "2026-03-30T06:00:00Z",
                ("2026-03-22T23:00:00Z", "2026-03-29T22:00:00Z"),
            ),
            (
                "Europe/Berlin",
                "2026-10-26T07:00:00Z",
                ("2026-10-18T22:00:00Z", "2026-10-25T23:00:00Z"),
            ),
        ] {
            let week = due(wall(now), &Zone::find(zone).unwrap()).unwrap();
            assert_eq!((week.from, week.until), (wall(want.0), wall(want.1)), "{zone} {now}");
        }
    }

    #[test]
    fn a_week_with_a_change_of_the_clocks_is_covered_by_all_of_its_minutes() {
        let berlin = Zone::find("Europe/Berlin").unwrap();
        for (now, hours) in [
            ("2026-03-30T06:00:00Z", 7 * 24 - 1),
            ("2026-10-26T07:00:00Z", 7 * 24 + 1),
            // With February 29th.
            ("2028-03-06T07:00:00Z", 7 * 24),
        ] {
            let week = due(wall(now), &berlin).unwrap();
            let minutes = (week.from.0..week.until.0).step_by(60);
            let row = |at| MinuteRow { at: Wall(at), ready: 1, desired: 1, ..MinuteRow::default() };
            let rows = minutes.map(row);
            let report = LoadReport::of("web", (week.from, week.until), Some(1), rows, &[]);
            assert_eq!((report.minutes, report.span()), (hours * 60, hours * 60), "{now}");
            let text = message(&[report], &[], &berlin).unwrap();
            let want = format!("web: {hours} replica-hours of {hours} at max");
            assert!(text.contains(&want) && !text.contains("% of the minutes"), "{text}");
        }
    }

    #[test]
    fn a_step_of_the_clock_repeats_no_report_and_ends_none() {
        let mut made: Vec<chrono::NaiveDate> = Vec::new();
        for (now, want) in [
            ("2026-11-30T08:00:00Z", Some("2026-11-30")),
            ("2026-12-01T08:00:00Z", None),
            // A day back, an hour back, and a week.
            ("2026-11-30T07:30:00Z", None),
            ("2026-11-24T08:00:00Z", None),
            ("2027-12-01T00:00:00Z", Some("2027-11-29")),
            ("2026-12-01T08:00:00Z", None),
            ("1970-01-01T00:00:00Z", Some("1969-12-29")),
            ("2026-12-01T08:00:00Z", None),
            ("1970-01-02T00:00:00Z", None),
            ("2026-12-07T08:00:00Z", Some("2026-12-07")),
        ] {
            let week = due(wall(now), &Zone::UTC).unwrap();
            let is_made = week.is_made(&made);
            let new = want.map(|day| day.parse().unwrap());
            assert_eq!((!is_made).then_some(week.monday), new, "{now}");
            made.splice(0..0, new);
        }
        // At the ends of the calendar there is none.
        for at in [i64::MIN, i64::MAX] {
            due(Wall(at), &Zone::UTC);
        }
    }

    #[test]
    fn a_week_is_made_once_and_a_wrong_clock_ends_no_reports() {
        let week = due(wall("2026-11-30T08:00:00Z"), &Zone::UTC).unwrap();
        for (made, want) in [
            ("", false),
            ("2026-11-23", false),
            ("2026-11-30", true),
            ("2026-12-07", true),
            ("2026-12-14", false),
            ("2038-01-18", false),
            // A host without a clock of its own began in 1970, and another was a year ahead.
            ("1969-12-22 2026-11-30", true),
            ("2027-11-29 2026-11-30", true),
            ("1969-12-22 2026-11-23", false),
        ] {
            let days: Vec<_> = made.split_whitespace().map(|day| day.parse().unwrap()).collect();
            assert_eq!(week.is_made(&days), want, "{made}");
        }
    }

    fn report(service: &str, ready: u32, minutes: i64) -> LoadReport {
        let span = (wall("2026-11-23T00:00:00Z"), wall("2026-11-30T00:00:00Z"));
        let mut report = LoadReport::new(service, span, Some(6));
        for minute in 0..minutes {
            report.add(&MinuteRow {
                at: Wall(span.0.0 + 60 * minute),
                ready,
                desired: ready,
                requests: 1000,
                errors_5xx: u64::from(minute == 0),
                queue: 0,
                host_cpu: None,
                host_memory: None,
                loads: Vec::new(),
            });
        }
        report.finish(&[]);
        report
    }

    #[test]
    fn the_message_has_each_service_and_none_comes_of_a_week_without_rows() {
        assert_eq!(message(&[], &[], &Zone::UTC), None);
        assert_eq!(message(&[report("web", 2, 0)], &[], &Zone::UTC), None);
        let reports = [report("api", 1, 60), report("idle", 1, 0), report("web", 2, 7 * 24 * 60)];
        let want = "23 Nov to 29 Nov; web: 336 replica-hours of 1,008 at max, 10,080,000 requests \
            (1 failed, <0.01 %), 0 up and 0 down; api: 1 replica-hours of 6 at max, 60,000 \
            requests (1 failed, <0.01 %), 0 up and 0 down, from 0.59 % of the minutes; all \
            of it: plimsoll report";
        assert_eq!(message(&reports, &[], &Zone::UTC).unwrap(), want);
        let many: Vec<LoadReport> = (0..12).map(|n| report(&format!("s{n}"), 1, 1)).collect();
        let text = message(&many, &["3 lines are no rows".to_owned()], &Zone::UTC).unwrap();
        assert!(text.contains("; 2 services more; 3 lines are no rows; all of it"), "{text}");
    }

    #[test]
    fn numbers_are_short() {
        for (minutes, want) in
            [(0, "0"), (2, "0"), (3, "0.1"), (60, "1"), (90, "1.5"), (5_999, "100"), (6_030, "101")]
        {
            assert_eq!(hours(minutes), want, "{minutes}");
        }
        for (count, want) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(count), want);
        }
        for (part, whole, want) in [
            (0, 0, "0"),
            (1, 100_000, "<0.01"),
            (1, 10_000, "0.01"),
            (1, 1_000, "0.1"),
            (125, 1_000, "12.5"),
            (99_999, 100_000, "99.9"),
            (5, 5, "100"),
        ] {
            assert_eq!(percent(part, whole), want, "{part} of {whole}");
        }
    }
}
