//! The report of a week as one event: which week it is of, and its message.

use chrono::{Datelike, Days, NaiveDate, NaiveTime};

use crate::model::time::Wall;
use crate::model::units::plural;
use crate::model::zone::{LocalTime, Zone};
use crate::report::load_report::LoadReport;
use crate::report::report_words::{self, percent};

/// Local time on Monday from which the report of the week before is due.
const HOUR_DUE: u32 = 8;
/// Services that have a sentence; more make no message that somebody reads.
pub(crate) const SERVICES_MAX: usize = 10;
/// Of a message: a chat that takes the least cuts it at 2000.
const CHARS_MAX: usize = 1800;

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

/// Services that have rows, those with most replicas first, as they cost most; of equal ones by
/// name.
pub(crate) struct RankedReports<'a>(Vec<&'a LoadReport>);

impl<'a> RankedReports<'a> {
    pub(crate) fn new(reports: &'a [LoadReport]) -> RankedReports<'a> {
        let with_rows = reports.iter().filter(|report| 0 < report.minutes);
        let mut ranked: Vec<&LoadReport> = with_rows.collect();
        ranked.sort_by_key(|report| std::cmp::Reverse(report.replica_minutes));
        RankedReports(ranked)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(|report| report.service.as_str())
    }

    /// `left_out` says what could not be read, `advice` gives a clause for a sentence. `None`: no
    /// service has a row.
    pub(crate) fn message(
        &self,
        zone: &Zone,
        left_out: &[String],
        advice: impl Fn(&str) -> Option<String>,
    ) -> Option<String> {
        let first = self.0.first()?;
        let day = |at: Wall| zone.local(at).format("%-d %b").to_string();
        let mut out = format!("{} to {}", day(first.from), day(Wall(first.until.0 - 1)));
        let mut left = self.0.len();
        for report in self.0.iter().take(SERVICES_MAX) {
            let advice = advice(&report.service).map(|clause| format!(", {clause}"));
            let sentence = format!("; {}{}", sentence(report), advice.unwrap_or_default());
            if CHARS_MAX < out.chars().count() + sentence.chars().count() {
                break;
            }
            out += &sentence;
            left -= 1;
        }
        if 0 < left {
            out += &format!("; {} more", plural(left as u64, "service"));
        }
        for note in left_out {
            out += &format!("; {note}");
        }
        Some(out + "; all of it: plimsoll report")
    }
}

fn sentence(report: &LoadReport) -> String {
    let mut parts = vec![report_words::replica_hours(report), report_words::requests(report)];
    parts.extend(report_words::above_target(report).map(|text| format!("{text} above target")));
    let changes = report_words::changes(report);
    parts.push(changes.unwrap_or_else(|| "changes and deaths unknown".to_owned()));
    if let Some(events) = report.events.as_ref().filter(|events| 0 < events.deaths) {
        let most = events.causes.first().map(|(cause, _)| format!(" (most: {cause})"));
        parts.push(plural(events.deaths, "death") + &most.unwrap_or_default());
    }
    if report.minutes < report.span() {
        parts.push(format!("from {} of the minutes", percent(report.minutes, report.span())));
    }
    format!("{}: {}", report.service, parts.join(", "))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use crate::model::load_history::MinuteRow;
    use crate::model::time::Wall;
    use crate::model::zone::Zone;
    use crate::report::load_report::LoadReport;
    use crate::report::weekly_report::{RankedReports, due};

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
            let text = RankedReports::new(&[report]).message(&berlin, &[], |_| None).unwrap();
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
        let message = |reports: &[LoadReport], left_out: &[String]| {
            let advice = |name: &str| (name == "api").then(|| "advice: min_replicas 1".to_owned());
            RankedReports::new(reports).message(&Zone::UTC, left_out, advice)
        };
        assert_eq!(message(&[], &[]), None);
        assert_eq!(message(&[report("web", 2, 0)], &[]), None);
        let reports = [report("api", 1, 60), report("idle", 1, 0), report("web", 2, 7 * 24 * 60)];
        let want = "23 Nov to 29 Nov; web: 336 replica-hours of 1,008 at max (6), 10,080,000 \
            requests, 1 failed (5xx, <0.01%), changes and deaths unknown; \
            api: 1 replica-hours of 6 at max (6), 60,000 requests, 1 failed (5xx, <0.01%), \
            changes and deaths unknown, from 0.59% of the minutes, advice: min_replicas 1; \
            all of it: plimsoll report";
        assert_eq!(message(&reports, &[]).unwrap(), want);
        let many: Vec<LoadReport> = (0..12).map(|n| report(&format!("s{n}"), 1, 1)).collect();
        let text = message(&many, &["3 lines are no rows".to_owned()]).unwrap();
        assert!(text.contains("; 2 services more; 3 lines are no rows; all of it"), "{text}");
    }

    #[test]
    fn a_message_has_whole_sentences_and_fits_into_any_chat() {
        let many: Vec<LoadReport> = (0..10).map(|n| report(&format!("s{n}"), 1, 1)).collect();
        let ranked = RankedReports::new(&many);
        for (length, sentences) in [(1, 10), (200, 5), (1600, 1), (3000, 0)] {
            let text = ranked.message(&Zone::UTC, &[], |_| Some("x".repeat(length))).unwrap();
            assert!(text.chars().count() < 2000, "{length}: {text}");
            assert_eq!(
                text.matches(": <0.1 replica-hours of").count(),
                sentences,
                "{length}: {text}"
            );
            let left = 10 - sentences;
            let more = format!("; {left} services more; all of it: plimsoll report");
            assert_eq!(text.ends_with(&more), 0 < left, "{length}: {text}");
        }
    }
}
