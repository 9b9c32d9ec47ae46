//! The load history of a service as a picture like a simulation's. The load is in replicas: so many
//! carry it at target, whatever its metrics are. Times without rows are blank and named.

use std::time::Duration;

use crate::model::load_history::MinuteRow;
use crate::model::metric::Milli;
use crate::model::time::Wall;
use crate::model::zone::Zone;
use crate::sim::svg::curve::{Curve, Scale, column, pixels};
use crate::sim::svg::{
    HEADROOM, LEFT, LOAD, PLOT, REPLICAS, Sheet, begin, end, heading, load, numbers, page,
};
use crate::sim::timeline::{NO_ROWS, Point, Span, Timeline};

/// In seconds; how long a row holds.
const MINUTE: u64 = 60;

/// A whole SVG document, with one sentence below the name. The rows are of a time in `span`, in
/// their order.
pub(crate) fn draw(
    service: &str,
    sentence: &str,
    zone: &Zone,
    span: (Wall, Wall),
    rows: &[MinuteRow],
) -> String {
    let timeline = timeline(service, zone, span, rows);
    page(&timeline, sentence, |curve, sheet| {
        load(&timeline, curve, sheet);
        replicas(&timeline, curve, sheet);
        blank(&timeline, sheet);
    })
}

fn timeline(
    service: &str,
    zone: &Zone,
    (from, until): (Wall, Wall),
    rows: &[MinuteRow],
) -> Timeline {
    let since = |at: Wall| Duration::from_secs(u64::try_from(at.0 - from.0).unwrap_or(0));
    let end = since(until);
    let mut points = Vec::new();
    let mut windows = Vec::new();
    let mut covered = Duration::ZERO;
    let gap = |from: Duration, to: Duration| Span { from, to, name: NO_ROWS.to_owned() };
    for row in rows {
        let at = since(row.at);
        if covered < at {
            windows.push(gap(covered, at));
            points.push(point(covered, None));
        }
        points.push(point(at, Some(row)));
        covered = at + Duration::from_secs(MINUTE);
    }
    if covered < end {
        windows.push(gap(covered, end));
        points.push(point(covered, None));
    }
    Timeline {
        service: service.to_owned(),
        unit: "replicas at target".to_owned(),
        target: 1.0,
        zone: zone.clone(),
        start: from,
        points,
        windows,
        waits: None,
        gaps: Vec::new(),
        end,
    }
}

/// `None`: nobody knows, and it is blank later.
fn point(at: Duration, row: Option<&MinuteRow>) -> Point {
    let ready = row.map_or(0, |row| row.ready);
    let desired = row.map_or(0, |row| row.desired);
    let share = row.and_then(MinuteRow::load).unwrap_or(Milli(0));
    let value = share.0 as f64 / 1000.0 * f64::from(ready.max(1));
    let (min, max, reason) = (0, 0, if row.is_some() { "" } else { NO_ROWS });
    Point { at, is_look: true, value, ready, replicas: ready, desired, min, max, reason }
}

fn replicas(timeline: &Timeline, curve: &Curve, sheet: &mut Sheet) {
    let peak = timeline.points.iter().map(|p| p.ready.max(p.desired)).max().unwrap_or(0).max(1);
    let scale = Scale { top: f64::from(peak) * HEADROOM, height: REPLICAS.height };
    let mut legend = vec![("there", "ready"), ("wanted", "desired")];
    if !timeline.windows.is_empty() {
        legend.insert(0, ("strip", NO_ROWS));
    }
    heading(REPLICAS, &format!("Replicas, peak {peak}"), &legend, sheet);
    numbers(REPLICAS, scale, true, sheet);
    begin(REPLICAS, sheet);
    // Below the other, so that it shows where the two are not the same.
    sheet.path("wanted", &curve.line(|p| f64::from(p.desired), scale));
    sheet.path("there", &curve.line(|p| f64::from(p.ready), scale));
    end(REPLICAS, sheet);
}

/// Over the curves: what they show of a time without rows means nothing.
fn blank(timeline: &Timeline, sheet: &mut Sheet) {
    let x = |at: Duration| LEFT + column(at, timeline.end, PLOT);
    let mut out = String::new();
    for gap in &timeline.windows {
        // A column that a row begins or ends in is shown.
        let from = x(gap.from) + u32::from(!gap.from.is_zero());
        let to = x(gap.to);
        if from < to {
            for panel in [LOAD, REPLICAS] {
                let (top, height) = (pixels(panel.top), pixels(panel.height));
                out += &format!("M{from},{top}H{to}v{height}H{from}Z");
            }
        }
    }
    sheet.path("ground", &out);
}

#[cfg(test)]
mod tests {
    use crate::model::load_history::{MinuteLoad, MinuteRow};
    use crate::model::metric::Milli;
    use crate::model::time::Wall;
    use crate::model::zone::Zone;
    use crate::sim::svg::recorded::{draw, timeline};

    fn row(minute: i64, ready: u32, load: Option<u64>) -> MinuteRow {
        let average = load.map(Milli);
        let target = Milli(50_000);
        let metric = "cpu".to_owned();
        MinuteRow {
            at: Wall(60 * minute),
            ready,
            desired: ready,
            requests: 0,
            errors_5xx: 0,
            queue: 0,
            host_cpu: None,
            host_memory: None,
            loads: vec![MinuteLoad { metric, target, average, highest: average, forecast: None }],
        }
    }

    #[test]
    fn load_is_in_replicas_and_a_time_without_rows_is_a_gap() {
        let rows = [row(1, 2, Some(75_000)), row(2, 2, None), row(5, 1, Some(100_000))];
        let span = (Wall(0), Wall(600));
        let timeline = timeline("web", &Zone::UTC, span, &rows);
        let points: Vec<(u64, f64, u32)> =
            timeline.points.iter().map(|p| (p.at.as_secs(), p.value, p.ready)).collect();
        let want =
            [(0, 0.0, 0), (60, 1.5, 2), (120, 0.0, 2), (180, 0.0, 0), (300, 2.0, 1), (360, 0.0, 0)];
        assert_eq!(points, want);
        let gaps: Vec<(u64, u64)> =
            timeline.windows.iter().map(|w| (w.from.as_secs(), w.to.as_secs())).collect();
        assert_eq!(gaps, [(0, 60), (180, 300), (360, 600)]);
    }

    #[test]
    fn ten_years_of_minutes_that_come_and_go_are_a_small_picture() {
        let rows: Vec<MinuteRow> = (0..200_000)
            .map(|n| row(25 * n, 1 + (n % 7) as u32, Some(1000 * (n as u64 % 400))))
            .collect();
        let span = (Wall(0), Wall(60 * 25 * 200_000));
        let svg = draw("a<b", "a & b", &Zone::UTC, span, &rows);
        assert!(svg.len() < 200_000, "{}", svg.len());
        assert!(svg.contains("a&lt;b") && svg.contains("a &amp; b"));
        let empty = draw("web", "", &Zone::UTC, span, &[]);
        assert!(empty.contains("not recorded") && !empty.contains("NaN"), "{empty}");
    }
}
