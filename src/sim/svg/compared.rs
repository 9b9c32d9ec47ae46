//! A comparison as one picture: the recorded load, and the replicas that were recorded and that
//! each config would have had.

use std::time::Duration;

use crate::sim::comparison::Comparison;
use crate::sim::recorded_load::TimeRange;
use crate::sim::svg::curve::{Curve, Scale, column, pixels};
use crate::sim::svg::{
    FONT, HEADROOM, LEFT, LOAD, PLOT, REPLICAS, STRIP, STRIP_TOP, Sheet, UNIT_WIDTH, begin, cut,
    end, heading, numbers, opened, times,
};
use crate::sim::timeline::{Point, Timeline, short};

/// Of the configs' lines, in their order.
const CONFIGS: [&str; 3] = ["there", "other", "third"];
const SUM_FONT: f64 = 12.0;

const STYLE: &str = "\
.was{fill:none;stroke:#8c959f;stroke-width:3.5;stroke-opacity:.6}
.other{fill:none;stroke:#a8327e;stroke-width:1.6}
.third{fill:none;stroke:#b35900;stroke-width:1.6}
.gap{fill:#e4e8ec}
.bound{fill:#d55e00;fill-opacity:.75}
@media (prefers-color-scheme:dark){
.was{stroke:#9da7b1}
.other{stroke:#f08cc6}
.third{stroke:#ffb066}
.gap{fill:#222831}
.bound{fill:#ff8a3d}
}
";

/// A whole SVG document.
pub(crate) fn draw(comparison: &Comparison) -> String {
    let first = &comparison.first.timeline;
    let sum = cut(&comparison.sentence(), f64::from(PLOT), SUM_FONT);
    let mut sheet = opened(&first.service, &sum, STYLE);
    times(first, &mut sheet);
    let runs: Vec<Timeline> = comparison.simulated().map(|run| comparison.measured(run)).collect();
    let curves: Vec<Curve> = runs.iter().map(|timeline| Curve::new(timeline, PLOT)).collect();
    let names: Vec<&str> = comparison.simulated().map(|run| run.name.as_str()).collect();
    load(comparison, &runs, &curves, &mut sheet);
    replicas(comparison, &runs, &curves, &names, &mut sheet);
    shade(comparison, &mut sheet);
    sheet.put(format_args!("</svg>"));
    sheet.out
}

fn load(comparison: &Comparison, runs: &[Timeline], curves: &[Curve], sheet: &mut Sheet) {
    let first = &comparison.first.timeline;
    let loads = comparison.load.trace.rows().iter().map(|(_, value)| *value);
    let carried = |p: &Point| f64::from(p.ready) * first.target;
    let all = runs.iter().flat_map(|run| run.points.iter().map(carried));
    let highest = loads.chain(all).fold(first.target, f64::max);
    let scale = Scale { top: highest * HEADROOM, height: LOAD.height };
    let target = format!("carried at {} a replica", short(first.target));
    let mut legend = vec![("area", "load"), ("there", target.as_str())];
    if !comparison.load.lower_bounds.is_empty() {
        legend.push(("bound", "load was at least this"));
    }
    if !comparison.load.gaps.is_empty() {
        legend.push(("gap", "not recorded"));
    }
    heading(LOAD, &format!("Load, {}", cut(&first.unit, UNIT_WIDTH, FONT)), &legend, sheet);
    numbers(LOAD, scale, false, sheet);
    begin(LOAD, sheet);
    if let Some(curve) = curves.first() {
        sheet.path("area", &curve.area(|p| p.value, scale));
    }
    for (class, curve) in CONFIGS.iter().zip(curves) {
        sheet.path(class, &curve.line(carried, scale));
    }
    end(LOAD, sheet);
}

fn replicas(
    comparison: &Comparison,
    runs: &[Timeline],
    curves: &[Curve],
    names: &[&str],
    sheet: &mut Sheet,
) {
    let recorded = &comparison.recorded.timeline;
    let all = runs.iter().chain([recorded]).flat_map(|run| &run.points);
    let peak = all.map(|p| p.replicas).max().unwrap_or(0).max(1);
    let scale = Scale { top: f64::from(peak) * HEADROOM, height: REPLICAS.height };
    let names = CONFIGS.iter().copied().zip(names.iter().copied());
    let legend: Vec<(&str, &str)> = [("was", "recorded")].into_iter().chain(names).collect();
    heading(REPLICAS, "Replicas", &legend, sheet);
    numbers(REPLICAS, scale, true, sheet);
    begin(REPLICAS, sheet);
    let replicas = |p: &Point| f64::from(p.replicas);
    sheet.path("was", &Curve::new(recorded, PLOT).line(replicas, scale));
    for (class, curve) in CONFIGS.iter().zip(curves) {
        sheet.path(class, &curve.line(replicas, scale));
    }
    end(REPLICAS, sheet);
}

/// Gaps over both panels, and a strip above the load where it was at least that.
fn shade(comparison: &Comparison, sheet: &mut Sheet) {
    let end = comparison.first.timeline.end;
    let gaps = columns(&comparison.load.gaps, end);
    let below = bars(&gaps, REPLICAS.top, REPLICAS.height);
    let bounds = columns(&comparison.load.lower_bounds, end);
    sheet.path("gap", &(bars(&gaps, LOAD.top, LOAD.height) + &below));
    sheet.path("bound", &bars(&bounds, STRIP_TOP, STRIP));
}

/// From and to, each at least one column and none twice, so that a year of short ranges is no large
/// file.
fn columns(ranges: &[TimeRange], end: Duration) -> Vec<(u32, u32)> {
    let mut all: Vec<(u32, u32)> = Vec::new();
    for range in ranges {
        let from = column(range.from, end, PLOT).min(PLOT - 1);
        let to = column(range.to, end, PLOT).max(from + 1);
        match all.last_mut().filter(|(_, last)| from <= *last) {
            Some((_, last)) => *last = to.max(*last),
            None => all.push((from, to)),
        }
    }
    all
}

fn bars(columns: &[(u32, u32)], top: f64, height: f64) -> String {
    let top = pixels(top);
    let height = pixels(height);
    let bar = |(from, to): &(u32, u32)| {
        format!("M{},{top}H{}v{height}H{}Z", LEFT + from, LEFT + to, LEFT + from)
    };
    columns.iter().map(bar).collect()
}
