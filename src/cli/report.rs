//! `plimsoll report`: what a span cost and served, by service. Reads files only.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::advise::brief::{self, BriefAdvice};
use crate::advise::effort::Effort;
use crate::cli::args::cli_command::ReportArgs;
use crate::cli::client::failed;
use crate::cli::history_table::covered;
use crate::cli::host_zone;
use crate::cli::output::{complain, show};
use crate::cli::stored_history::{self, StoredHistory};
use crate::cli::table::{ended, hanging};
use crate::cli::width;
use crate::clock::SystemClock;
use crate::model::event::Entry;
use crate::model::time::{DAY, Wall, wall_of_ms};
use crate::model::units::plural;
use crate::model::zone::Zone;
use crate::outside::Clock;
use crate::report::load_report::{LoadReport, WorstMinute};
use crate::report::report_words::{self, grouped, hours, percent};
use crate::report::weekly_report::RankedReports;
use crate::store::events;
use crate::store::left_out::LeftOut;

/// In seconds.
const SINCE_DEFAULT: i64 = 7 * DAY;
/// Of the worst minutes; those that follow each other share one.
const WORST_LINES: usize = 5;
const CAUSES: usize = 3;
/// For the advice on all services together.
const ADVICE_TIME: Duration = Duration::from_secs(20);
/// Days of history that an advice goes by: a shorter report says little about them, and a longer
/// search takes longer.
const ADVICE_DAYS_MIN: i64 = 7;
const ADVICE_DAYS_MAX: i64 = 28;
/// Of `plimsoll advise` without `--since`.
const ADVICE_DAYS_USUAL: i64 = 14;
/// A terminal may be wider; sentences are no easier to read then.
const WIDTH_MAX: usize = 80;

pub(crate) fn report(asked: &ReportArgs) -> ExitCode {
    run(asked).err().unwrap_or(ExitCode::SUCCESS)
}

fn run(asked: &ReportArgs) -> Result<(), ExitCode> {
    let span = stored_history::span(asked.since.as_ref(), SINCE_DEFAULT, "report")?;
    let stored = StoredHistory::open(&asked.config)?;
    if stored.kept.is_empty() {
        return Err(failed(&stored.absence(None)));
    }
    let events = events::stored(&stored.fixed.state_dir);
    let mut left_out = LeftOut::default();
    let reports: Vec<LoadReport> = stored
        .names()
        .into_iter()
        .map(|name| one(&stored, name, span, &events, &mut left_out))
        // Of one that left the config long ago nobody asks.
        .filter(|report| report.max.is_some() || 0 < report.minutes)
        .collect();
    let days = advice_days(span);
    let printed = PrintedReports {
        span,
        advice: advice(&stored, &reports, (span.1, days)),
        advice_days: days,
        reports,
        events_since: events_since(&events, span.0),
    };
    if asked.json {
        show(&format!("{:#}\n", printed.json()))?;
    } else {
        show(&printed.text(&stored.zone(None), width::of_stdout().min(WIDTH_MAX)))?;
    }
    if let Some(why) = stored.unread.as_ref().filter(|_| printed.has_unknown()) {
        complain(&format!("services that are not in the config have no max and no advice: {why}"));
    }
    stored.end(&left_out)
}

fn one(
    stored: &StoredHistory,
    name: &str,
    span: (Wall, Wall),
    events: &[Entry],
    left_out: &mut LeftOut,
) -> LoadReport {
    let max = stored.service(name).map(|service| service.timetable.most());
    let days = stored.reader.days(name, span.0, span.1);
    LoadReport::of(name, span, max, days.flat_map(|day| left_out.rows(day)), events)
}

/// The first event, where those before it are not stored any more, or never were.
fn events_since(events: &[Entry], from: Wall) -> Option<Wall> {
    let first = events.first().map(|entry| wall_of_ms(entry.at_ms));
    first.filter(|first| from < *first)
}

/// Whole days, so that `plimsoll advise` can be asked for the same ones.
fn advice_days((from, until): (Wall, Wall)) -> i64 {
    let days = (until.0.saturating_sub(from.0) + DAY - 1) / DAY;
    days.clamp(ADVICE_DAYS_MIN, ADVICE_DAYS_MAX)
}

/// As there may be no time for all, those that cost most are first.
fn advice(
    stored: &StoredHistory,
    reports: &[LoadReport],
    (until, days): (Wall, i64),
) -> BTreeMap<String, BriefAdvice> {
    let Some(config) = &stored.config else { return BTreeMap::new() };
    if io::stderr().is_terminal() {
        let longest = ADVICE_TIME.as_secs();
        complain(&format!("searching for the advice takes up to {longest} s"));
    }
    let clock = SystemClock::new();
    let end = clock.now().plus(ADVICE_TIME);
    let goes_on = || clock.now() < end;
    let from = Wall(until.0.saturating_sub(days.saturating_mul(DAY)));
    brief::of_each(
        RankedReports::new(reports).names(),
        config,
        Effort::full(&goes_on),
        |service| host_zone::for_schedules(config, service),
        |name| stored.reader.read(name, from, until),
    )
}

struct PrintedReports {
    span: (Wall, Wall),
    reports: Vec<LoadReport>,
    /// Of services of the config with rows.
    advice: BTreeMap<String, BriefAdvice>,
    advice_days: i64,
    events_since: Option<Wall>,
}

impl PrintedReports {
    fn text(&self, zone: &Zone, width: usize) -> String {
        let time = |at: Wall| zone.local(at).format("%a %-d %b %H:%M").to_string();
        let mut out = format!("{} to {}, {zone}\n", time(self.span.0), time(self.span.1));
        if let Some(since) = self.events_since {
            let words = format!("changes and deaths are known since {} only", time(since));
            out += &ended(&hanging("", &words, width));
        }
        for report in &self.reports {
            out += "\n";
            out += &service_text(report, zone, width);
            if let Some(advice) = self.advice_line(&report.service) {
                out += &ended(&hanging(&lead("advice"), &advice, width));
            }
        }
        out
    }

    /// A service that the config does not have.
    fn has_unknown(&self) -> bool {
        self.reports.iter().any(|report| report.max.is_none())
    }

    fn advice_line(&self, service: &str) -> Option<String> {
        let mut command = format!("plimsoll advise {service}");
        if self.advice_days != ADVICE_DAYS_USUAL {
            command += &format!(" --since {}d", self.advice_days);
        }
        self.advice.get(service).map(|advice| advice.line(&command))
    }

    fn json(&self) -> Value {
        let service = |report: &LoadReport| {
            let mut json = service_json(report);
            let advice = self.advice.get(&report.service);
            json["advice"] = advice.map(BriefAdvice::text).into();
            json["advice_is_change"] = advice.and_then(BriefAdvice::is_change).into();
            json
        };
        json!({
            "from": self.span.0.to_string(),
            "until": self.span.1.to_string(),
            "events_since": self.events_since.map(|at| at.to_string()),
            "services": self.reports.iter().map(service).collect::<Vec<Value>>(),
        })
    }
}

fn lead(name: &str) -> String {
    format!("  {name:<14}")
}

fn service_text(report: &LoadReport, zone: &Zone, width: usize) -> String {
    let minutes = i64::try_from(report.minutes).unwrap_or(i64::MAX);
    let span = i64::try_from(report.span()).unwrap_or(i64::MAX);
    if minutes == 0 {
        return format!("{}: no rows in the load history\n", report.service);
    }
    let mut out = format!("{}: {}\n", report.service, covered(minutes, span));
    let mut put = |name: &str, text: String| {
        out += &ended(&hanging(&lead(name), &text, width));
    };
    put("cost", cost(report));
    put("fixed number", fixed(report));
    put("served", report_words::requests(report));
    let above = report_words::above_target(report);
    put("above target", above.unwrap_or_else(|| "never".to_owned()));
    put("changes", report_words::changes(report));
    put("deaths", deaths(report));
    let worst = worst(&report.worst, zone);
    if worst.is_empty() {
        put("worst minutes", "none above target, none with a response 5xx".to_owned());
    }
    for (at, line) in worst.into_iter().enumerate() {
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
    let Some(fixed) = report.fixed else {
        return "unknown: no minute has a load".to_owned();
    };
    let least = if fixed.is_lower_bound { "at least " } else { "" };
    let always = report.minutes_at(fixed.replicas);
    let compared = match always.checked_sub(report.replica_minutes) {
        Some(more) => format!("{} more than this", percent(more, report.replica_minutes)),
        None => {
            let less = report.replica_minutes.saturating_sub(always);
            format!("{} less than this", percent(less, report.replica_minutes))
        }
    };
    format!(
        "with {least}{} every minute is within target: {least}{} replica-hours, {compared}",
        plural(fixed.replicas, "replica"),
        hours(always)
    )
}

fn deaths(report: &LoadReport) -> String {
    let events = &report.events;
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

/// Minutes that follow each other on one line, the worst first.
fn worst(minutes: &[WorstMinute], zone: &Zone) -> Vec<String> {
    let mut runs: Vec<Vec<&WorstMinute>> = Vec::new();
    for minute in minutes {
        let touches = |run: &&mut Vec<&WorstMinute>| {
            run.iter().any(|other| (other.at.0 - minute.at.0).abs() == 60)
        };
        match runs.iter_mut().find(touches) {
            Some(run) => run.push(minute),
            None => runs.push(vec![minute]),
        }
    }
    let mut lines: Vec<String> =
        runs.iter().take(WORST_LINES).filter_map(|run| line_of(run, zone)).collect();
    let left: usize = runs.iter().skip(WORST_LINES).map(Vec::len).sum();
    if 0 < left {
        lines.push(format!("and {} more", left));
    }
    lines
}

fn line_of(run: &[&WorstMinute], zone: &Zone) -> Option<String> {
    let first = run.iter().map(|minute| minute.at).min()?;
    let mut parts = vec![zone.local(first).format("%a %-d %b %H:%M").to_string()];
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

fn service_json(report: &LoadReport) -> Value {
    let in_hours = |minutes: u64| (minutes as f64 / 0.6).round() / 100.0;
    let fixed = report.fixed.map(|fixed| {
        json!({
            "replicas": fixed.replicas,
            "replica_hours": in_hours(report.minutes_at(fixed.replicas)),
            "is_lower_bound": fixed.is_lower_bound,
        })
    });
    let worst = report.worst.iter().map(|minute| {
        json!({
            "at": minute.at.to_string(),
            "load_percent": minute.load.map(|load| load.0 as f64 / 10.0),
            "errors_5xx": minute.errors_5xx,
            "ready": minute.ready,
            "desired": minute.desired,
        })
    });
    let causes = report.events.causes.iter();
    let causes = causes.map(|(cause, count)| json!({ "cause": cause, "count": count }));
    json!({
        "service": report.service,
        "minutes": report.minutes,
        "minutes_of_span": report.span(),
        "replica_hours": in_hours(report.replica_minutes),
        "max": report.max,
        "replica_hours_at_max": report.max.map(|max| in_hours(report.minutes_at(max))),
        "fixed": fixed,
        "requests": report.requests,
        "errors_5xx": report.errors_5xx,
        "minutes_above_target": report.above_target,
        "scaled_up": report.events.ups,
        "scaled_down": report.events.downs,
        "deaths": report.events.deaths,
        "causes": causes.collect::<Vec<_>>(),
        "worst_minutes": worst.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use crate::advise::brief::BriefAdvice;
    use crate::cli::report::{PrintedReports, advice_days, worst};
    use crate::model::event::Entry;
    use crate::model::load_history::{MinuteLoad, MinuteRow};
    use crate::model::metric::Milli;
    use crate::model::time::{DAY, Wall};
    use crate::model::zone::Zone;
    use crate::report::load_report::LoadReport;

    /// 2026-11-23, a Monday.
    const START: i64 = 1_795_392_000;
    const SPAN: (Wall, Wall) = (Wall(START), Wall(START + 7 * DAY));

    /// Two replicas, each with this load of a target of 50.
    fn row(minute: i64, load: u64, errors_5xx: u64) -> MinuteRow {
        let average = Some(Milli(2000 * load));
        let target = Milli(50_000);
        let metric = "cpu".to_owned();
        MinuteRow {
            at: Wall(START + 60 * minute),
            ready: 2,
            desired: 2,
            requests: 1000,
            errors_5xx,
            queue: 0,
            host_cpu: None,
            host_memory: None,
            loads: vec![MinuteLoad { metric, target, average, highest: average, forecast: None }],
        }
    }

    fn report(max: Option<u32>) -> LoadReport {
        let mut report = LoadReport::new("web", SPAN, max);
        for minute in 0..3000 {
            let (load, errors) = match minute {
                615 | 616 => (80, 4),
                900 => (51, 0),
                1200 => (10, 7),
                _ => (20, 0),
            };
            report.add(&row(minute, load, errors));
        }
        let entry = |kind: &str, message: &str| Entry {
            at_ms: START as u64 * 1000,
            kind: kind.to_owned(),
            service: Some("web".to_owned()),
            json: json!({ "message": message }).to_string(),
        };
        let exited =
            entry("replica.exited", "exit code 137 (killed: out of memory); it is started again");
        report.finish(&[entry("scale.up", ""), exited.clone(), exited]);
        report
    }

    fn printed(advice_days: i64) -> PrintedReports {
        let idle = LoadReport::new("idle", SPAN, Some(2));
        let old = LoadReport { service: "old".to_owned(), ..report(None) };
        let change = "min_replicas 2 -> 1: 40% fewer replica-hours, 99.9% within target";
        let change = BriefAdvice::Change(change.to_owned());
        PrintedReports {
            span: SPAN,
            reports: vec![idle, report(Some(6)), old],
            advice: BTreeMap::from([("web".to_owned(), change)]),
            advice_days,
            events_since: Some(Wall(START + 3600)),
        }
    }

    #[test]
    fn a_report_is_read_by_people() {
        let text = printed(7).text(&Zone::UTC, 80);
        let want = "\
Mon 23 Nov 00:00 to Mon 30 Nov 00:00, UTC
changes and deaths are known since Mon 23 Nov 01:00 only

idle: no rows in the load history

web: covers 2d 2h of 7d
  cost          100 replica-hours of 300 at max (6): 66.6% saved
  fixed number  with at least 4 replicas every minute is within target: at least
                200 replica-hours, 100% more than this
  served        3,000,000 requests, 15 failed (5xx, <0.01%)
  above target  3 minutes (0.1%)
  changes       1 up, 0 down
  deaths        2: 2 × exit code 137 (killed: out of memory)
  worst minutes Mon 23 Nov 10:15, 2 minutes, load 160%, 8 failed, 2 ready
                Mon 23 Nov 15:00, load 102%, 2 ready
                Mon 23 Nov 20:00, load 20%, 7 failed, 2 ready
  advice        min_replicas 2 -> 1: 40% fewer replica-hours, 99.9% within
                target (plimsoll advise web --since 7d)

old: covers 2d 2h of 7d
  cost          100 replica-hours; its max is unknown: it is not in the config
";
        assert!(text.starts_with(want), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.ends_with("                Mon 23 Nov 20:00, load 20%, 7 failed, 2 ready\n"));
        // It is what `plimsoll advise` says of the same days.
        assert!(printed(14).text(&Zone::UTC, 200).contains("target (plimsoll advise web)\n"));
    }

    #[test]
    fn advice_goes_by_the_days_of_the_report_within_bounds() {
        for (seconds, want) in
            [(60, 7), (7 * DAY, 7), (7 * DAY + 60, 8), (28 * DAY, 28), (90 * DAY, 28)]
        {
            assert_eq!(advice_days((Wall(START), Wall(START + seconds))), want, "{seconds}");
        }
    }

    #[test]
    fn a_program_gets_numbers() {
        let all = printed(7).json();
        assert_eq!(all["services"][0]["advice_is_change"], json!(null));
        let json = &all["services"][1];
        assert_eq!(json["advice_is_change"], true);
        assert!(json["advice"].as_str().unwrap().ends_with("99.9% within target"), "{json}");
        let fixed = json!({ "replicas": 4, "replica_hours": 200.0, "is_lower_bound": true });
        assert_eq!(json["fixed"], fixed);
        assert_eq!((&json["minutes"], &json["minutes_of_span"]), (&json!(3000), &json!(10_080)));
        assert_eq!(json["replica_hours_at_max"], 300.0);
        assert_eq!(json["worst_minutes"][0]["at"], "2026-11-23T10:15:00Z");
        assert_eq!(json["causes"][0]["count"], 2);
    }

    #[test]
    fn many_bad_times_are_some_lines() {
        let mut report = LoadReport::new("web", SPAN, None);
        (0..10).for_each(|n| report.add(&row(10 * n, 60, 0)));
        report.finish(&[]);
        let lines = worst(&report.worst, &Zone::UTC);
        assert_eq!((lines.len(), lines[5].as_str()), (6, "and 5 more"));
    }
}
