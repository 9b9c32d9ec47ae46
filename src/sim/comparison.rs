//! What was recorded of a service beside what configs would have made of the same load: figures as
//! a table and as JSON. All figures are by one metric and one target, so that a config with a laxer
//! target does not look better than it is.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use crate::model::load_history::MinuteRow;
use crate::model::metric::{Milli, shortened};
use crate::model::schedule::Timetable;
use crate::model::time::Wall;
use crate::sim::recorded_load::{RecordedLoad, TimeRange};
use crate::sim::timeline::{Point, Summary, Timeline, decimal, percent, seconds, short, span};

const NAME_SHOWN: usize = 14;
const UNIT_SHOWN: usize = 10;
const LABEL_WIDTH: usize = 16;
/// The widest is a name, or `at least 100.0%`.
const CELL_WIDTH: usize = 16;

pub(crate) struct Comparison {
    /// By the metric of the first config.
    pub(crate) load: RecordedLoad,
    /// How far back was asked for.
    pub(crate) asked: Duration,
    pub(crate) recorded: RecordedRun,
    /// Its metric and target are what all are measured by.
    pub(crate) first: SimulatedRun,
    pub(crate) others: Vec<SimulatedRun>,
}

/// What there was.
pub(crate) struct RecordedRun {
    /// The number over time, measured by the first config's target.
    pub(crate) timeline: Timeline,
    /// At different times, in the order of size.
    targets: BTreeSet<Milli>,
    /// By the target of each minute.
    above_own: Duration,
}

/// What a config would have made of it.
pub(crate) struct SimulatedRun {
    pub(crate) name: String,
    /// Of its config.
    pub(crate) file: String,
    /// Of the metric that it scales by.
    pub(crate) metric: String,
    /// In the unit and by the target of its own metric.
    pub(crate) timeline: Timeline,
}

/// One column of the comparison.
struct ComparedRun<'a> {
    name: String,
    /// `None`: what was recorded.
    simulated: Option<&'a SimulatedRun>,
    target: String,
    /// By the target of the first config.
    summary: Summary,
    above_own: Duration,
}

impl RecordedRun {
    /// The rows are those of the load, and `model` is a simulation of it: its unit, target and
    /// zone.
    pub(crate) fn new(
        rows: &[MinuteRow],
        metric: &str,
        load: &RecordedLoad,
        model: &Timeline,
        timetable: &Timetable,
    ) -> RecordedRun {
        let known: Vec<&MinuteRow> = rows.iter().filter(|row| load.start <= row.at).collect();
        let point = |row: &&MinuteRow| {
            let bounds = timetable.at(row.at).bounds;
            Point {
                at: since(load.start, row.at),
                is_look: false,
                value: 0.0,
                ready: row.ready,
                // Those that start are not ready yet; how many drained is not recorded.
                replicas: row.ready.max(row.desired),
                desired: row.desired,
                min: bounds.min(),
                max: bounds.max(),
                reason: "",
            }
        };
        let points = known.iter().map(point).collect();
        let timeline = Timeline { points, windows: Vec::new(), waits: None, ..model.clone() };
        let timeline = timeline.measured_by(&load.trace, &model.unit, model.target);
        let of_metric =
            |row: &&MinuteRow| row.loads.iter().find(|load| load.is_of(metric)).cloned();
        let loads: Vec<_> = known.iter().filter_map(|row| Some((row, of_metric(row)?))).collect();
        let is_above = |ready: u32, target: Milli, average: Option<Milli>| {
            average.is_some_and(|load| target.0.saturating_mul(u64::from(ready)) < load.0)
        };
        let above =
            loads.iter().filter(|(row, load)| is_above(row.ready, load.target, load.average));
        let minutes = u64::try_from(above.count()).unwrap_or(u64::MAX);
        RecordedRun {
            timeline,
            targets: loads.iter().map(|(_, load)| load.target).collect(),
            above_own: Duration::from_secs(minutes.saturating_mul(60)),
        }
    }

    /// `70`, or `60 to 70`.
    fn target(&self) -> String {
        let text = |target: &Milli| short(target.0 as f64 / 1000.0);
        match (self.targets.first().map(text), self.targets.last().map(text)) {
            (Some(low), Some(high)) if low != high => format!("{low} to {high}"),
            (Some(one), _) => one,
            (None, _) => "-".to_owned(),
        }
    }
}

fn since(start: Wall, at: Wall) -> Duration {
    Duration::from_secs(u64::try_from(at.0.saturating_sub(start.0)).unwrap_or(0))
}

impl Comparison {
    pub(crate) fn simulated(&self) -> impl Iterator<Item = &SimulatedRun> {
        std::iter::once(&self.first).chain(&self.others)
    }

    fn target(&self) -> f64 {
        self.first.timeline.target
    }

    /// The run, measured as all are.
    pub(crate) fn measured(&self, run: &SimulatedRun) -> Timeline {
        let Timeline { unit, target, .. } = &self.first.timeline;
        run.timeline.measured_by(&self.load.trace, unit, *target)
    }

    fn runs(&self) -> Vec<ComparedRun<'_>> {
        let recorded = ComparedRun {
            name: "recorded".to_owned(),
            simulated: None,
            target: self.recorded.target(),
            summary: self.recorded.timeline.summary(),
            above_own: self.recorded.above_own,
        };
        let simulated = self.simulated().map(|run| ComparedRun {
            name: shortened(&run.name, NAME_SHOWN),
            simulated: Some(run),
            target: self.target_of(run),
            summary: self.measured(run).summary(),
            above_own: run.timeline.summary().above,
        });
        std::iter::once(recorded).chain(simulated).collect()
    }

    /// With its unit where that is another.
    fn target_of(&self, run: &SimulatedRun) -> String {
        let target = short(run.timeline.target);
        if run.metric == self.first.metric {
            return target;
        }
        format!("{target} {}", shortened(&run.timeline.unit, UNIT_SHOWN))
    }

    /// At most 80 columns for up to three configs.
    pub(crate) fn table(&self) -> String {
        let runs = self.runs();
        let mut out = self.heading();
        for cells in self.rows(&runs) {
            let mut cells = cells.into_iter();
            let mut line = format!("{:<LABEL_WIDTH$}", cells.next().unwrap_or_default());
            for cell in cells {
                line += &format!("{cell:>CELL_WIDTH$}");
            }
            out += line.trim_end();
            out.push('\n');
        }
        out + &self.notes()
    }

    /// The most important figures in one line.
    pub(crate) fn sentence(&self) -> String {
        let counted = self.load.covered();
        let least = if self.load.lower_bounds.is_empty() { "" } else { "at least " };
        let own = |run: &ComparedRun| if run.simulated.is_some() { least } else { "" };
        let text = |run: &ComparedRun| {
            let above = decimal(percent(run.summary.above, counted), 1);
            let hours = short(run.summary.replica_hours);
            format!("{} {}{hours} and {least}{above}%", run.name, own(run))
        };
        let runs: Vec<String> = self.runs().iter().map(text).collect();
        let target = short(self.target());
        format!("Replica-hours and time above {target}: {}", runs.join("; "))
    }

    fn heading(&self) -> String {
        let timeline = &self.first.timeline;
        let at = |time| timeline.local(time).format("%a %Y-%m-%d %H:%M");
        let gaps = match self.load.gaps.len() {
            0 => String::new(),
            1 => format!("; a gap of {} is left out", span(left_out(&self.load.gaps))),
            n => format!("; {n} gaps, {} in all, are left out", span(left_out(&self.load.gaps))),
        };
        format!(
            "{}\nfrom {} to {}, {}\n{} of {} are recorded{gaps}\n\
             load in {}, by the minute; above and unmet by a target of {}\n\n",
            timeline.service,
            at(Duration::ZERO),
            at(timeline.end),
            timeline.zone,
            span(self.load.covered()),
            span(self.asked),
            timeline.unit,
            short(timeline.target),
        )
    }

    fn rows(&self, runs: &[ComparedRun]) -> Vec<Vec<String>> {
        let counted = self.load.covered();
        let is_bound = !self.load.lower_bounds.is_empty();
        let least = |text: String, applies: bool| {
            if applies { format!("at least {text}") } else { text }
        };
        let row = |label: &str, cell: &dyn Fn(&ComparedRun) -> String| {
            std::iter::once(label.to_owned()).chain(runs.iter().map(cell)).collect()
        };
        let percent = |part: Duration| format!("{}%", decimal(percent(part, counted), 1));
        let own = |run: &ComparedRun| is_bound && run.simulated.is_some();
        let target = short(self.target());
        let mut rows: Vec<Vec<String>> = vec![
            row("", &|run| run.name.clone()),
            row("target", &|run| run.target.clone()),
            row("replica-hours", &|run| least(short(run.summary.replica_hours), own(run))),
            row(&format!("above {target}"), &|run| least(percent(run.summary.above), is_bound)),
            row("  in all", &|run| span(run.summary.above)),
            row("  longest", &|run| span(run.summary.above_longest)),
        ];
        if runs.iter().any(|run| run.target != target) {
            let above = |run: &ComparedRun| least(percent(run.above_own), is_bound);
            rows.push(row("above own target", &above));
        }
        rows.extend([
            row("unmet load", &|run| {
                least(format!("{}%", decimal(100.0 * run.summary.unmet, 1)), is_bound)
            }),
            row("changes up", &|run| run.summary.up.to_string()),
            row("changes down", &|run| run.summary.down.to_string()),
            row("flaps", &|run| run.summary.flaps.to_string()),
            row("peak", &|run| least(run.summary.peak.to_string(), own(run))),
        ]);
        if runs.iter().any(|run| !run.summary.asleep.is_zero()) {
            rows.push(row("asleep", &|run| percent(run.summary.asleep)));
        }
        rows
    }

    /// What keeps the figures from being exact.
    fn notes(&self) -> String {
        let capped: Duration = self.load.lower_bounds.iter().map(|range| range.span()).sum();
        let mut out =
            "\nrecorded: the state at the end of each minute, without changes within it\n"
                .to_owned();
        for run in self.simulated().filter(|run| run.name != run.file) {
            out += &format!("{}: {}\n", run.name, run.file);
        }
        if !capped.is_zero() {
            out += &format!(
                "at least: for {} {};\nthe true load was at least the recorded one\n",
                span(capped),
                self.load.limit_words
            );
        }
        out
    }

    /// One JSON object.
    pub(crate) fn json(&self) -> Result<String, serde_json::Error> {
        let is_bound = !self.load.lower_bounds.is_empty();
        let counted = self.load.covered();
        let run = |run: ComparedRun| {
            let own = run.simulated.map(|run| (run.metric.clone(), run.timeline.target));
            let (metric, target) = own.unzip();
            let sum = run.summary;
            RunFields {
                name: run.simulated.map_or(run.name, |run| run.name.clone()),
                config: run.simulated.map(|run| run.file.clone()),
                metric,
                target,
                replica_hours: sum.replica_hours,
                above_s: seconds(sum.above),
                above_percent: percent(sum.above, counted),
                above_longest_s: seconds(sum.above_longest),
                above_own_target_s: seconds(run.above_own),
                unmet_percent: 100.0 * sum.unmet,
                up: sum.up,
                down: sum.down,
                flaps: sum.flaps,
                peak: sum.peak,
                asleep_s: seconds(sum.asleep),
            }
        };
        let at = |since: Duration| {
            Wall(self.load.start.0.saturating_add(i64::try_from(since.as_secs()).unwrap_or(0)))
        };
        let range = |range: &TimeRange| RangeFields {
            from: at(range.from).to_string(),
            to: at(range.to).to_string(),
        };
        let fields = ComparisonFields {
            service: &self.first.timeline.service,
            from: at(Duration::ZERO).to_string(),
            to: at(self.load.trace.span()).to_string(),
            asked_s: seconds(self.asked),
            recorded_s: seconds(counted),
            metric: &self.first.metric,
            target: self.target(),
            at_least: is_bound,
            gaps: self.load.gaps.iter().map(range).collect(),
            lower_bounds: self.load.lower_bounds.iter().map(range).collect(),
            runs: self.runs().into_iter().map(run).collect(),
        };
        Ok(serde_json::to_string(&fields)? + "\n")
    }
}

fn left_out(gaps: &[TimeRange]) -> Duration {
    gaps.iter().map(|gap| gap.span()).sum()
}

/// In the order in which a reader wants the fields.
#[derive(Serialize)]
struct ComparisonFields<'a> {
    service: &'a str,
    from: String,
    to: String,
    asked_s: serde_json::Value,
    recorded_s: serde_json::Value,
    metric: &'a str,
    target: f64,
    at_least: bool,
    gaps: Vec<RangeFields>,
    lower_bounds: Vec<RangeFields>,
    runs: Vec<RunFields>,
}

#[derive(Serialize)]
struct RangeFields {
    from: String,
    to: String,
}

#[derive(Serialize)]
struct RunFields {
    name: String,
    config: Option<String>,
    metric: Option<String>,
    target: Option<f64>,
    replica_hours: f64,
    above_s: serde_json::Value,
    above_percent: f64,
    above_longest_s: serde_json::Value,
    above_own_target_s: serde_json::Value,
    unmet_percent: f64,
    up: u32,
    down: u32,
    flaps: u32,
    peak: u32,
    asleep_s: serde_json::Value,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::model::bounds::Bounds;
    use crate::model::load_history::{MinuteLoad, MinuteRow};
    use crate::model::metric::Milli;
    use crate::model::schedule::Timetable;
    use crate::model::time::Wall;
    use crate::model::zone::Zone;
    use crate::sim::comparison::{Comparison, RecordedRun, SimulatedRun};
    use crate::sim::recorded_load::{LoadLimits, RecordedLoad};
    use crate::sim::svg::compared;
    use crate::sim::timeline::{Point, Timeline};
    use crate::sim::workload::LoadMetric;

    /// A Sunday, 09:00 in Berlin.
    const START: i64 = 1_795_939_200;

    /// Of `minute load ready desired target`.
    fn rows(text: &str) -> Vec<MinuteRow> {
        let row = |text: &str| {
            let fields: Vec<u64> = text.split_whitespace().map(|n| n.parse().unwrap()).collect();
            let [minute, load, ready, desired, target] = fields[..] else { panic!("{text}") };
            let average = Some(Milli(load * 1000));
            let metric = "cpu".to_owned();
            let target = Milli(target * 1000);
            let at = Wall(START + 60 * i64::try_from(minute).unwrap());
            let count = |number: u64| u32::try_from(number).unwrap();
            let load = MinuteLoad { metric, target, average, highest: average, forecast: None };
            MinuteRow::loaded(at, (count(ready), count(desired)), load)
        };
        text.split(',').map(row).collect()
    }

    /// The number of replicas from each minute on.
    fn run(name: &str, load: &RecordedLoad, target: f64, replicas: &[(u64, u32)]) -> SimulatedRun {
        let point = |(minute, replicas): &(u64, u32)| Point {
            at: Duration::from_secs(60 * minute),
            is_look: true,
            value: 0.0,
            ready: *replicas,
            replicas: *replicas,
            desired: *replicas,
            min: 1,
            max: 8,
            reason: "DesiredWithinRange",
        };
        let timeline = Timeline {
            service: "web".to_owned(),
            unit: "% CPU".to_owned(),
            target,
            zone: Zone::find("Europe/Berlin").unwrap(),
            start: load.start,
            points: replicas.iter().map(point).filter(|p| p.at < load.trace.span()).collect(),
            windows: Vec::new(),
            waits: None,
            gaps: load.gaps.clone(),
            end: load.trace.span(),
        };
        let timeline = timeline.measured_by(&load.trace, "% CPU", target);
        let file = format!("/etc/plimsoll/{name}");
        SimulatedRun { name: name.to_owned(), file, metric: "cpu".to_owned(), timeline }
    }

    fn comparison(text: &str, max: u32, others: &[(&str, f64)]) -> Comparison {
        let rows = rows(text);
        let timetable = Timetable::always(Bounds::new(1, max).unwrap());
        let limits = LoadLimits { timetable: &timetable, capacity: None };
        let load = RecordedLoad::new(&rows, &LoadMetric::none(), limits).unwrap();
        let first = run("today", &load, 70.0, &[(0, 1), (30, 2), (40, 1), (200, 2)]);
        let lax = |(name, target): &(&str, f64)| run(name, &load, *target, &[(0, 1)]);
        let recorded = RecordedRun::new(&rows, "cpu", &load, &first.timeline, &timetable);
        let others = others.iter().map(lax).collect();
        Comparison { load, asked: Duration::from_secs(86_400), recorded, first, others }
    }

    fn hours(end: u64) -> String {
        let load = |minute| if (30..40).contains(&minute) { 80 } else { 60 };
        let row = |minute| format!("{minute} {} {} 2 70", load(minute), 1 + minute / 35);
        (0..end).map(row).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn the_table_has_a_column_of_what_was_and_one_of_each_config() {
        // An hour and ten minutes; then 3 h are missing, and an hour follows.
        let late = (250..310).map(|minute| format!(",{minute} 60 2 2 70")).collect::<String>();
        let text = hours(70) + &late;
        let want = "\
web
from Sun 2026-11-29 09:00 to Sun 2026-11-29 14:10, Europe/Berlin
2h 10m of 1d are recorded; a gap of 3h is left out
load in % CPU, by the minute; above and unmet by a target of 70

                        recorded           today        new.json
target                        70              70              85
replica-hours               4.33            3.33            2.17
above 70                    3.8%            0.0%            7.7%
  in all                      5m              0s             10m
  longest                     5m              0s             10m
above own target            3.8%            0.0%            0.0%
unmet load                  0.6%            0.0%            1.3%
changes up                     0               1               0
changes down                   0               1               0
flaps                          0               0               0
peak                           2               2               1

recorded: the state at the end of each minute, without changes within it
today: /etc/plimsoll/today
new.json: /etc/plimsoll/new.json
";
        assert_eq!(comparison(&text, 8, &[("new.json", 85.0)]).table(), want);
    }

    #[test]
    fn several_gaps_are_shown_with_their_sum() {
        let late = |from: u64| {
            (from..from + 10).map(|minute| format!(",{minute} 60 2 2 70")).collect::<String>()
        };
        let table = comparison(&(hours(70) + &late(250) + &late(320)), 8, &[]).table();
        assert!(table.contains("; 2 gaps, 4h in all, are left out\n"), "{table}");
    }

    #[test]
    fn what_was_capped_is_a_lower_bound() {
        let table = comparison(&hours(60), 1, &[]).table();
        for line in [
            "1h of 1d are recorded\n",
            "replica-hours                  2   at least 1.17\n",
            "above 70           at least 8.3%   at least 0.0%\n",
            "unmet load         at least 1.3%   at least 0.0%\n",
            "peak                           2      at least 2\n",
            "at least: for 5m no more replicas could be added;\nthe true load was at least the ",
        ] {
            assert!(table.contains(line), "{line}\n{table}");
        }
        assert!(!table.contains("own target"), "{table}");
        let json: serde_json::Value =
            serde_json::from_str(&comparison(&hours(60), 1, &[]).json().unwrap()).unwrap();
        assert_eq!(json["at_least"], true);
        let bound = &json["lower_bounds"][0];
        assert_eq!(bound["from"], "2026-11-29T08:30:00Z", "{json}");
        assert_eq!(bound["to"], "2026-11-29T08:35:00Z", "{json}");
        assert_eq!(json["runs"][0]["above_s"], 300, "{json}");
        assert_eq!(json["runs"][1]["above_s"], 0, "{json}");
    }

    #[test]
    fn other_targets_and_metrics_are_named() {
        let text = hours(60).replacen(" 70", " 50", 1);
        let table = comparison(&text, 8, &[]).table();
        assert!(table.contains("target                  50 to 70              70\n"), "{table}");
        let mut other = comparison(&hours(60), 8, &[("sessions.json", 20.0)]);
        "haproxy sessions".clone_into(&mut other.others[0].metric);
        "sessions".clone_into(&mut other.others[0].timeline.unit);
        let table = other.table();
        assert!(table.contains("   20 sessions\n"), "{table}");
        assert!(table.contains("sessions.json\n"), "{table}");
    }

    #[test]
    fn a_table_of_three_configs_fits_a_terminal() {
        let long = "a-config-with-a-long-name.json";
        let table = comparison(&hours(60), 1, &[(long, 85.0), ("b.json", 1e6)]).table();
        let wide = |line: &&str| 80 < line.chars().count() && !line.contains(long);
        assert_eq!(table.lines().find(wide), None);
        assert!(table.contains("a-config-with-…"), "{table}");
    }

    #[test]
    fn the_picture_has_a_line_of_each_and_marks_gaps_and_bounds() {
        let late = (250..310).map(|minute| format!(",{minute} 60 2 2 70")).collect::<String>();
        let picture =
            |max| compared::draw(&comparison(&(hours(70) + &late), max, &[("<new>", 85.0)]));
        let svg = picture(1);
        for piece in [
            "Replica-hours and time above 70: recorded 4.33 and at least 3.8%; today at least 3.33",
            "class=\"was\" d=\"M0,",
            "class=\"there\" d=\"M0,",
            "class=\"other\" d=\"M0,",
            "class=\"area\" d=\"M-4,",
            // From 70 to 250 of 310 minutes, in both panels.
            "class=\"gap\" d=\"M255,108H756v212H255ZM255,356H756v128H255Z\"",
            // From 30 to 35.
            "class=\"bound\" d=\"M143,92H157v16H143Z\"",
            "&lt;new&gt;",
        ] {
            assert!(svg.contains(piece), "{piece}\n{svg}");
        }
        assert!(svg.len() < 20_000 && svg.ends_with("</svg>\n"), "{}", svg.len());
        assert!(!picture(8).contains("class=\"bound\""));
    }
}
