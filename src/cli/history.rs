//! `plimsoll history`: the stored load of a service, as a table, rows or a picture. Reads the
//! files, so that it needs no daemon.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use crate::cli::args::cli_command::{HistoryArgs, HistoryFormat};
use crate::cli::client::failed;
use crate::cli::history_table;
use crate::cli::output::show;
use crate::cli::stored_history::{self, StoredHistory};
use crate::cli::width;
use crate::model::load_history::MinuteRow;
use crate::model::metric::Milli;
use crate::model::time::{DAY, Wall};
use crate::regular_file;
use crate::report::load_report::LoadReport;
use crate::report::report_words::{grouped, hours};
use crate::sim::svg::recorded;
use crate::store::left_out::LeftOut;

/// What is asked for, and where it comes from.
struct HistoryRequest<'a> {
    stored: &'a StoredHistory,
    service: &'a str,
    span: (Wall, Wall),
}

pub(crate) fn history(asked: &HistoryArgs) -> ExitCode {
    run(asked).err().unwrap_or(ExitCode::SUCCESS)
}

fn run(asked: &HistoryArgs) -> Result<(), ExitCode> {
    let stored = StoredHistory::open(&asked.config)?;
    let service = asked.service.as_str();
    let zone = stored.zone(Some(service));
    let span = stored_history::span(asked.since.as_ref(), DAY, &zone, "history")?;
    if !stored.kept.contains_key(service) {
        return Err(failed(&stored.absence(Some(service))));
    }
    let request = HistoryRequest { stored: &stored, service, span };
    let mut left_out = LeftOut::default();
    let has_rows = match &asked.format {
        HistoryFormat::Table => request.table(&mut left_out)?,
        HistoryFormat::Csv => request.csv(&mut left_out)?,
        HistoryFormat::Json => request.json(&mut left_out)?,
        HistoryFormat::Svg(file) => request.svg(file, &mut left_out)?,
    };
    stored.end(&left_out)?;
    if has_rows { Ok(()) } else { Err(failed(&stored.none_since(service, span.0))) }
}

/// Each form gives whether there was a row.
impl HistoryRequest<'_> {
    /// Day by day, so that a long span takes little memory.
    fn days<'a>(&'a self, left_out: &'a mut LeftOut) -> impl Iterator<Item = Vec<MinuteRow>> + 'a {
        let days = self.stored.reader.days(self.service, self.span.0, self.span.1);
        days.map(|day| left_out.rows(day))
    }

    fn table(&self, left_out: &mut LeftOut) -> Result<bool, ExitCode> {
        let rows = self.days(left_out).flatten();
        let zone = self.stored.zone(Some(self.service));
        let text = history_table::text(self.service, &zone, self.span, rows, width::of_stdout());
        text.map_or(Ok(false), |text| show(&text).map(|()| true))
    }

    fn csv(&self, left_out: &mut LeftOut) -> Result<bool, ExitCode> {
        let mut metrics: Vec<String> = Vec::new();
        for row in self.days(&mut LeftOut::default()).flatten() {
            for load in row.loads {
                if !metrics.contains(&load.metric) {
                    metrics.push(load.metric);
                }
            }
        }
        show(&csv_head(&metrics))?;
        let mut has_rows = false;
        for day in self.days(left_out) {
            show(&day.iter().map(|row| csv_line(row, &metrics)).collect::<String>())?;
            has_rows |= !day.is_empty();
        }
        Ok(has_rows)
    }

    fn json(&self, left_out: &mut LeftOut) -> Result<bool, ExitCode> {
        let mut has_rows = false;
        for day in self.days(left_out) {
            show(&day.iter().map(json_line).collect::<String>())?;
            has_rows |= !day.is_empty();
        }
        Ok(has_rows)
    }

    fn svg(&self, file: &Path, left_out: &mut LeftOut) -> Result<bool, ExitCode> {
        let rows: Vec<MinuteRow> = self.days(left_out).flatten().collect();
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(false) };
        // What is before the first row is no gap in anything.
        let span = (self.span.0.max(first.at), self.span.1.max(Wall(last.at.0 + 1)));
        let mut sum = LoadReport::new(self.service, span, None);
        rows.iter().for_each(|row| sum.add(row));
        let sentence = format!(
            "{} replica-hours · {} requests, {} of them 5xx · {} minutes above target",
            hours(sum.replica_minutes),
            grouped(sum.requests),
            grouped(sum.errors_5xx),
            grouped(sum.above_target),
        );
        let zone = self.stored.zone(Some(self.service));
        let svg = recorded::draw(self.service, &sentence, &zone, span, &rows);
        match regular_file::put(file, svg.as_bytes()) {
            Ok(()) => Ok(true),
            Err(err) => Err(failed(&format!("cannot write {}: {err}", file.display()))),
        }
    }
}

fn csv_head(metrics: &[String]) -> String {
    let mut out = "time,ready,desired,requests,errors_5xx,queue,host_cpu,host_memory".to_owned();
    for metric in metrics {
        for what in ["target", "average", "highest"] {
            out.push(',');
            out += &csv_field(&format!("{metric} {what}"));
        }
    }
    for metric in metrics {
        out.push(',');
        out += &csv_field(&format!("{metric} forecast"));
    }
    out + "\n"
}

/// As RFC 4180 quotes it.
fn csv_field(text: &str) -> String {
    if text.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

fn csv_line(row: &MinuteRow, metrics: &[String]) -> String {
    let MinuteRow { at, ready, desired, requests, errors_5xx, queue, .. } = row;
    let mut out = format!("{at},{ready},{desired},{requests},{errors_5xx},{queue}");
    for percent in [row.host_cpu, row.host_memory] {
        out += &percent.map_or(",".to_owned(), |percent| format!(",{percent}"));
    }
    let loads = row.shown_loads();
    let of = |metric: &String| loads.iter().find(|load| load.metric == *metric);
    for metric in metrics {
        let load = of(metric);
        let target = load.map(|load| load.target);
        let average = load.and_then(|load| load.average);
        for value in [target, average, load.and_then(|load| load.highest)] {
            out.push(',');
            out += &value.map(|value| value.to_string()).unwrap_or_default();
        }
    }
    for metric in metrics {
        let forecast = of(metric).and_then(|load| load.forecast);
        out.push(',');
        out += &forecast.map(|value| value.to_string()).unwrap_or_default();
    }
    out + "\n"
}

fn json_line(row: &MinuteRow) -> String {
    let value = |value: Milli| value.0 as f64 / 1000.0;
    let loads = row.shown_loads();
    let loads = loads.iter().map(|load| {
        json!({
            "metric": load.metric,
            "target": value(load.target),
            "average": load.average.map(value),
            "highest": load.highest.map(value),
            "forecast": load.forecast.map(value),
        })
    });
    let line = json!({
        "time": row.at.to_string(),
        "ready": row.ready,
        "desired": row.desired,
        "requests": row.requests,
        "errors_5xx": row.errors_5xx,
        "queue": row.queue,
        "host_cpu": row.host_cpu,
        "host_memory": row.host_memory,
        "loads": loads.collect::<Vec<_>>(),
    });
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use crate::cli::history::{csv_head, csv_line, json_line};
    use crate::model::load_history::{MinuteLoad, MinuteRow};
    use crate::model::metric::Milli;
    use crate::model::time::Wall;

    fn row() -> MinuteRow {
        let load = |metric: &str, average: Option<u64>| MinuteLoad {
            metric: metric.to_owned(),
            target: Milli(70_500),
            average: average.map(Milli),
            highest: average.map(|average| Milli(average + 1000)),
            forecast: average.map(|average| Milli(average + 2000)),
        };
        MinuteRow {
            at: Wall(1_795_824_060),
            ready: 2,
            desired: 3,
            requests: 531,
            errors_5xx: 4,
            queue: 5,
            host_cpu: Some(45),
            host_memory: None,
            loads: vec![load("cpu", Some(123_400)), load("prometheus sum(\"a\", b)", None)],
        }
    }

    #[test]
    fn a_row_is_a_line_under_the_head_of_all_metrics() {
        let metrics = ["prometheus sum(\"a\", b)", "memory", "cpu"].map(str::to_owned);
        let head = csv_head(&metrics);
        let quoted = "\"prometheus sum(\"\"a\"\", b) highest\",memory target";
        assert!(
            head.starts_with("time,ready,desired,requests,errors_5xx,queue,host_cpu,"),
            "{head}"
        );
        assert!(head.contains(quoted), "{head}");
        let ends = ",\"prometheus sum(\"\"a\"\", b) forecast\",memory forecast,cpu forecast\n";
        assert!(head.ends_with(ends), "{head}");
        let want = "2026-11-28T00:01:00Z,2,3,531,4,5,45,,70.5,,,,,,70.5,123.4,124.4,,,125.4\n";
        assert_eq!(csv_line(&row(), &metrics), want);
    }

    #[test]
    fn what_is_of_each_replica_is_no_sum_over_them() {
        let mut row = row();
        row.loads[0].metric = "memory".to_owned();
        let want = "2026-11-28T00:01:00Z,2,3,531,4,5,45,,70.5,61.7,62.2,62.7\n";
        assert_eq!(csv_line(&row, &["memory".to_owned()]), want);
        let line: serde_json::Value = serde_json::from_str(&json_line(&row)).unwrap();
        assert_eq!(
            (&line["loads"][0]["target"], &line["loads"][0]["average"]),
            (&70.5.into(), &61.7.into())
        );
    }

    #[test]
    fn a_program_gets_one_object_a_row() {
        let line: serde_json::Value = serde_json::from_str(&json_line(&row())).unwrap();
        assert_eq!(line["time"], "2026-11-28T00:01:00Z");
        assert_eq!((&line["host_cpu"], &line["host_memory"]), (&45.into(), &None::<u8>.into()));
        assert_eq!(line["loads"][0]["average"], 123.4);
        assert_eq!(line["loads"][0]["forecast"], 125.4);
        assert!(line["loads"][1]["average"].is_null(), "{line}");
        assert!(line["loads"][1]["forecast"].is_null(), "{line}");
    }
}
