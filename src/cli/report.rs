//! `plimsoll report`: what a span cost and served, by service. Reads files only.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::advise::brief::{self, BriefAdvice};
use crate::advise::effort::Effort;
use crate::cli::args::cli_command::ReportArgs;
use crate::cli::client::failed;
use crate::cli::host_zone;
use crate::cli::output::{complain, notice, show};
use crate::cli::report_text;
use crate::cli::stored_history::{self, StoredHistory};
use crate::cli::table::{ended, hanging};
use crate::cli::width;
use crate::clock::SystemClock;
use crate::model::event::Entry;
use crate::model::time::{DAY, Wall, wall_of_ms};
use crate::model::zone::Zone;
use crate::outside::Clock;
use crate::report::load_report::LoadReport;
use crate::report::weekly_report::RankedReports;
use crate::store::events;
use crate::store::left_out::LeftOut;

/// In seconds.
const SINCE_DEFAULT: i64 = 7 * DAY;
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
    let stored = StoredHistory::open(&asked.config)?;
    let zone = stored.zone(None);
    let span = stored_history::span(asked.since.as_ref(), SINCE_DEFAULT, &zone, "report")?;
    if stored.kept.is_empty() {
        return Err(failed(&stored.absence(None)));
    }
    let events = events::stored(&stored.fixed.state_dir);
    let mut left_out = LeftOut::default();
    let mut reports: Vec<LoadReport> = Vec::new();
    let mut unreadable = BTreeSet::new();
    for name in stored.names() {
        let before = left_out.unreadable_files();
        let report = one(&stored, name, span, &events, &mut left_out);
        let is_read = left_out.unreadable_files() == before;
        // Of one that left the config long ago nobody asks.
        if report.max.is_some() || 0 < report.minutes || !is_read {
            reports.push(report);
        }
        unreadable.extend((!is_read).then(|| name.to_owned()));
    }
    let days = advice_days(span);
    let printed = PrintedReports {
        span,
        advice: advice(&stored, &reports, (span.1, days)),
        advice_days: days,
        reports,
        events: EventsKnown::of(&events, span),
        unreadable,
    };
    if asked.json {
        show(&format!("{:#}\n", printed.json(&zone)))?;
    } else {
        show(&printed.text(&zone, width::of_stdout().min(WIDTH_MAX)))?;
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

/// Of which part of the span there are events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EventsKnown {
    All,
    /// Those before it are not stored any more, or never were.
    Since(Wall),
    None,
}

impl EventsKnown {
    fn of(events: &[Entry], (from, until): (Wall, Wall)) -> EventsKnown {
        match events.first().map(|entry| wall_of_ms(entry.at_ms)) {
            Some(first) if first <= from => EventsKnown::All,
            Some(first) if first < until => EventsKnown::Since(first),
            _ => EventsKnown::None,
        }
    }
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
    notice(&format!("searching for the advice takes up to {} s", ADVICE_TIME.as_secs()));
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
    events: EventsKnown,
    /// Services with files that cannot be read.
    unreadable: BTreeSet<String>,
}

impl PrintedReports {
    fn text(&self, zone: &Zone, width: usize) -> String {
        let time = |at: Wall| report_text::time(at, zone, self.span);
        let mut out = format!("{} to {}, {zone}\n", time(self.span.0), time(self.span.1));
        let words = match self.events {
            EventsKnown::All => None,
            EventsKnown::Since(since) => {
                Some(format!("changes and deaths are known since {} only", time(since)))
            }
            EventsKnown::None => Some(
                "changes and deaths are unknown: events.jsonl in the state_dir has no event of \
                 this time"
                    .to_owned(),
            ),
        };
        words.iter().for_each(|words| out += &ended(&hanging("", words, width)));
        for report in &self.reports {
            out += "\n";
            let is_read = !self.unreadable.contains(&report.service);
            out += &report_text::of_service(report, is_read, zone, width);
            if let Some(advice) = self.advice_line(&report.service) {
                out += &report_text::line("advice", &advice, width);
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

    fn json(&self, zone: &Zone) -> Value {
        let service = |report: &LoadReport| {
            let mut json = service_json(report, zone);
            json["has_unreadable_files"] = self.unreadable.contains(&report.service).into();
            let advice = self.advice.get(&report.service);
            json["advice"] = advice.map(BriefAdvice::text).into();
            json["advice_is_change"] = advice.and_then(BriefAdvice::is_change).into();
            json
        };
        json!({
            "from": self.span.0.to_string(),
            "until": self.span.1.to_string(),
            "events_known": self.events != EventsKnown::None,
            "events_since": match self.events {
                EventsKnown::Since(at) => Some(at.to_string()),
                EventsKnown::All | EventsKnown::None => None,
            },
            "services": self.reports.iter().map(service).collect::<Vec<Value>>(),
        })
    }
}

fn service_json(report: &LoadReport, zone: &Zone) -> Value {
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
    let events = report.events.as_ref();
    let causes = events.map(|events| {
        let causes = events.causes.iter();
        let causes = causes.map(|(cause, count)| json!({ "cause": cause, "count": count }));
        causes.collect::<Vec<_>>()
    });
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
        "days_above_target": report.days_above(zone),
        "scaled_up": events.map(|events| events.ups),
        "scaled_down": events.map(|events| events.downs),
        "deaths": events.map(|events| events.deaths),
        "causes": causes,
        "worst_minutes": worst.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::json;

    use crate::advise::brief::BriefAdvice;
    use crate::cli::report::{EventsKnown, PrintedReports, advice_days};
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
        let mut old = report(None);
        old.service = "old".to_owned();
        let change = "min_replicas 2 -> 1: 40% fewer replica-hours, 99.9% within target";
        let change = BriefAdvice::Change(change.to_owned());
        PrintedReports {
            span: SPAN,
            reports: vec![idle, report(Some(6)), old],
            advice: BTreeMap::from([("web".to_owned(), change)]),
            advice_days,
            events: EventsKnown::Since(Wall(START + 3600)),
            unreadable: BTreeSet::new(),
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
  above target  3 minutes (0.1%) on 1 day
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
        let all = printed(7).json(&Zone::UTC);
        assert_eq!(all["services"][0]["advice_is_change"], json!(null));
        let json = &all["services"][1];
        assert_eq!(json["advice_is_change"], true);
        assert!(json["advice"].as_str().unwrap().ends_with("99.9% within target"), "{json}");
        let fixed = json!({ "replicas": 4, "replica_hours": 200.0, "is_lower_bound": true });
        assert_eq!(json["fixed"], fixed);
        assert_eq!((&json["minutes"], &json["minutes_of_span"]), (&json!(3000), &json!(10_080)));
        assert_eq!(json["replica_hours_at_max"], 300.0);
        assert_eq!(json["worst_minutes"][0]["at"], "2026-11-23T10:15:00Z");
        assert_eq!(
            (&json["causes"][0]["count"], &json["days_above_target"]),
            (&2.into(), &1.into())
        );
        assert_eq!(
            (&all["events_known"], &all["events_since"]),
            (&true.into(), &"2026-11-23T01:00:00Z".into())
        );
    }

    #[test]
    fn what_no_event_tells_and_no_file_has_is_unknown() {
        let mut printed = printed(7);
        printed.events = EventsKnown::None;
        printed.unreadable = ["idle", "old"].map(str::to_owned).into();
        printed.reports.iter_mut().for_each(|report| report.finish(&[]));
        let text = printed.text(&Zone::UTC, 80);
        for words in [
            "\nchanges and deaths are unknown: events.jsonl in the state_dir has ",
            "\nidle: its files cannot be read\n",
            "\n  changes       unknown\n  deaths        unknown\n",
            "\nold: covers 2d 2h of 7d; some of its files cannot be read\n",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let json = printed.json(&Zone::UTC);
        assert_eq!((&json["events_known"], &json["events_since"]), (&json!(false), &json!(null)));
        let [idle, web, _] = &json["services"].as_array().unwrap()[..] else { panic!("{json}") };
        for key in ["scaled_up", "scaled_down", "deaths", "causes"] {
            assert_eq!(web[key], json!(null), "{key}");
        }
        assert_eq!(idle["has_unreadable_files"], true);
        assert_eq!(web["has_unreadable_files"], false);
    }

    #[test]
    fn events_are_known_since_the_first_that_is_stored() {
        let of = |at: &[i64]| {
            let entry = |at: &i64| Entry {
                at_ms: 1000 * (START + at) as u64,
                kind: String::new(),
                service: None,
                json: String::new(),
            };
            EventsKnown::of(&at.iter().map(entry).collect::<Vec<_>>(), SPAN)
        };
        assert_eq!(of(&[-1, 5]), EventsKnown::All);
        assert_eq!(of(&[0]), EventsKnown::All);
        assert_eq!(of(&[1, 5]), EventsKnown::Since(Wall(START + 1)));
        assert_eq!(of(&[7 * DAY]), EventsKnown::None);
        assert_eq!(of(&[]), EventsKnown::None);
    }
}
