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
    /// The rows are those of the load, and `model` is a simulation of it: its unit, target and zone.
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
        let text = |run: &ComparedRun| {
            let above = decimal(percent(run.summary.above, counted), 1);
            format!("{}: {} replica-hours, {above}%", run.name, short(run.summary.replica_hours))
        };
        let runs: Vec<String> = self.runs().iter().map(text).collect();
        format!("{} of the time {least}above {}", runs.join(" · "), short(self.target()))
    }

    fn heading(&self) -> String {
        let timeline = &self.first.timeline;
        let at = |time| timeline.local(time).format("%a %Y-%m-%d %H:%M");
        let gaps = match self.load.gaps.len() {
            0 => String::new(),
            1 => format!("; a gap of {} is left out", span(left_out(&self.load.gaps))),
            n => format!("; {n} gaps of {} are left out", span(left_out(&self.load.gaps))),
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
        for run in self.simulated() {
            out += &format!("{}: {}\n", run.name, run.file);
        }
        if !capped.is_zero() {
            out += &format!(
                "at least: for {} the replicas were at their limit, and the true load\n\
                 was at least the recorded one\n",
                span(capped)
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
