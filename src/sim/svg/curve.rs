//! Points to paths. A picture has fewer columns of pixels than a week has points: of each column
//! the lowest and the highest value are kept, so that no peak is lost and no file is large.

use std::time::Duration;

use crate::sim::timeline::{Point, Timeline, decimal};

/// The points that begin in one column of pixels, which reaches to the next cell.
struct Cell<'a> {
    x: u32,
    points: &'a [Point],
}

/// A timeline over columns of pixels, from 0 to `width`.
pub(crate) struct Curve<'a> {
    timeline: &'a Timeline,
    cells: Vec<Cell<'a>>,
    width: u32,
}

/// From a value to a height in pixels, which counts from the top.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) top: f64,
    pub(crate) height: f64,
}

impl Scale {
    pub(crate) fn y(self, value: f64) -> f64 {
        self.height * (1.0 - value / self.top)
    }
}

/// A corner of a step line: beside the one before, or above or below it.
type Corner = (f64, f64);

/// More than the outline of an area is wide.
const MARGIN: f64 = 4.0;

pub(crate) fn column(at: Duration, span: Duration, width: u32) -> u32 {
    if span.is_zero() {
        return 0;
    }
    let share = (at.as_secs_f64() / span.as_secs_f64()).min(1.0);
    (share * f64::from(width)).floor() as u32
}

impl<'a> Curve<'a> {
    pub(crate) fn new(timeline: &'a Timeline, width: u32) -> Curve<'a> {
        let mut cells: Vec<Cell> = Vec::new();
        let mut rest = timeline.points.as_slice();
        while let Some(first) = rest.first() {
            let x = column(first.at, timeline.end, width);
            let end = rest.partition_point(|p| column(p.at, timeline.end, width) <= x);
            let (points, after) = rest.split_at(end);
            let next = after.first().map_or(width, |p| column(p.at, timeline.end, width));
            cells.push(Cell { x, points });
            // All but the last of several were over within this column.
            if 1 < points.len() && x + 1 < next {
                cells.push(Cell { x: x + 1, points: &points[points.len() - 1..] });
            }
            rest = after;
        }
        Curve { timeline, cells, width }
    }

    /// The step line of a value.
    /// Broken in times without rows.
    pub(crate) fn line(&self, value: impl Fn(&Point) -> f64, scale: Scale) -> String {
        let mut out = String::new();
        let mut corners: Vec<Corner> = Vec::new();
        for cell in &self.cells {
            let x = f64::from(cell.x);
            corners.extend(corners.last().map(|(_, y)| (x, *y)));
            let known: Vec<Point> = cell.points.iter().filter(|p| p.is_known()).copied().collect();
            corners.extend(extremes(&known, &value).map(|v| (x, scale.y(v))));
            if cell.points.last().is_some_and(|last| !last.is_known()) {
                // What was known within the column is seen.
                let seen = corners.last().filter(|_| !known.is_empty()).map(|(_, y)| (x + 1.0, *y));
                corners.extend(seen);
                out += &path(&std::mem::take(&mut corners));
            }
        }
        corners.extend(corners.last().map(|(_, y)| (f64::from(self.width), *y)));
        out + &path(&corners)
    }

    /// What is below the step line, with margins on the other three sides that are cut off later,
    /// so that an outline shows on top only.
    pub(crate) fn area(&self, value: impl Fn(&Point) -> f64, scale: Scale) -> String {
        let corners = self.corners(value, scale);
        let (Some((_, first)), Some((_, last))) = (corners.first(), corners.last()) else {
            return String::new();
        };
        let base = scale.height + MARGIN;
        let right = f64::from(self.width) + MARGIN;
        let left = [(-MARGIN, base), (-MARGIN, *first)];
        let right = [(right, *last), (right, base)];
        closed(&[left.as_slice(), &corners, &right].concat())
    }

    /// What is between two step lines.
    pub(crate) fn band(
        &self,
        high: impl Fn(&Point) -> f64,
        low: impl Fn(&Point) -> f64,
        scale: Scale,
    ) -> String {
        let mut corners = self.corners(high, scale);
        corners.extend(self.corners(low, scale).into_iter().rev());
        closed(&corners)
    }

    /// What of the load the replicas that serve do not carry at target: of each column the worst.
    pub(crate) fn excess(&self, scale: Scale) -> String {
        self.above(|p| (scale.y(p.value), scale.y(self.timeline.capacity(p))))
    }

    /// The time in which there is such an excess, however small, as a bar at the bottom.
    pub(crate) fn time_above(&self, scale: Scale, thick: f64) -> String {
        self.above(|_| (scale.height - thick, scale.height))
    }

    /// From the upper to the lower height of the worst point of each column that has a bad one.
    fn above(&self, edges: impl Fn(&Point) -> (f64, f64)) -> String {
        let mut out = String::new();
        let (mut upper, mut lower): (Vec<Corner>, Vec<Corner>) = (Vec::new(), Vec::new());
        for (i, cell) in self.cells.iter().enumerate() {
            let over = |p: &Point| p.value - self.timeline.capacity(p);
            let worst = cell.points.iter().max_by(|a, b| over(a).total_cmp(&over(b)));
            if let Some(point) = worst.filter(|p| self.timeline.is_above(p)) {
                let end = self.cells.get(i + 1).map_or(self.width, |next| next.x);
                let (from, to) = (f64::from(cell.x), f64::from(end));
                let (top, bottom) = edges(point);
                upper.extend([(from, top), (to, top)]);
                lower.extend([(from, bottom), (to, bottom)]);
            } else {
                out += &between(&mut upper, &mut lower);
            }
        }
        out + &between(&mut upper, &mut lower)
    }

    fn corners(&self, value: impl Fn(&Point) -> f64, scale: Scale) -> Vec<Corner> {
        let mut corners: Vec<Corner> = Vec::new();
        for cell in &self.cells {
            let x = f64::from(cell.x);
            corners.extend(corners.last().map(|(_, y)| (x, *y)));
            corners.extend(extremes(cell.points, &value).map(|v| (x, scale.y(v))));
        }
        corners.extend(corners.last().map(|(_, y)| (f64::from(self.width), *y)));
        corners
    }
}

/// The lowest and the highest, in the order in which they came, then the last.
fn extremes(points: &[Point], value: impl Fn(&Point) -> f64) -> impl Iterator<Item = f64> {
    let values: Vec<f64> = points.iter().map(value).collect();
    let by_value = |a: &usize, b: &usize| values[*a].total_cmp(&values[*b]);
    let low = (0..values.len()).min_by(by_value);
    let high = (0..values.len()).max_by(by_value);
    let mut kept: Vec<usize> = [low.min(high), low.max(high)].into_iter().flatten().collect();
    kept.extend(values.len().checked_sub(1));
    kept.dedup();
    kept.into_iter().map(move |i| values[i])
}

/// Forward along the upper line and back along the lower one; both are empty then.
fn between(upper: &mut Vec<Corner>, lower: &mut Vec<Corner>) -> String {
    upper.extend(lower.drain(..).rev());
    closed(&std::mem::take(upper))
}

fn closed(corners: &[Corner]) -> String {
    if corners.is_empty() { String::new() } else { path(corners) + "Z" }
}

/// Steps that lead nowhere, or go on in the same direction, are left out.
fn path(corners: &[Corner]) -> String {
    let mut out = String::new();
    let mut corners = corners.iter().map(|(x, y)| (pixels(*x), pixels(*y)));
    let Some((x, y)) = corners.next() else { return out };
    out += &format!("M{x},{y}");
    let mut pen = x.clone();
    let mut x = x;
    let mut y = y;
    for (to_x, to_y) in corners {
        x = to_x;
        if y != to_y {
            if pen != x {
                out += &format!("H{x}");
                pen.clone_from(&x);
            }
            out += &format!("V{to_y}");
            y = to_y;
        }
    }
    if pen != x {
        out += &format!("H{x}");
    }
    out
}

/// Tenths of a pixel are finer than anybody sees.
pub(crate) fn pixels(length: f64) -> String {
    let text = decimal(length, 1);
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::model::time::Wall;
    use crate::model::zone::Zone;
    use crate::sim::svg::curve::{Curve, Scale, column, pixels};
    use crate::sim::timeline::{NO_ROWS, Point, Timeline};

    const SCALE: Scale = Scale { top: 100.0, height: 100.0 };

    /// A hundred seconds with rows of `seconds value ready` at a target of 10.
    fn timeline(rows: &str) -> Timeline {
        let point = |row: &str| {
            let fields: Vec<f64> = row.split_whitespace().map(|n| n.parse().unwrap()).collect();
            let [at, value, ready] = fields[..] else { panic!("{row}") };
            let at = Duration::from_secs_f64(at);
            let ready = ready as u32;
            let replicas = ready;
            let reason = "DesiredWithinRange";
            Point {
                at,
                is_look: true,
                value,
                ready,
                replicas,
                desired: ready,
                min: 1,
                max: 9,
                reason,
            }
        };
        Timeline {
            service: "web".to_owned(),
            unit: "% CPU".to_owned(),
            target: 10.0,
            zone: Zone::UTC,
            start: Wall(0),
            points: rows.split(',').filter(|row| !row.trim().is_empty()).map(point).collect(),
            windows: Vec::new(),
            waits: None,
            gaps: Vec::new(),
            end: Duration::from_secs(100),
        }
    }

    #[track_caller]
    fn check_line(rows: &str, width: u32, want: &str) {
        let timeline = timeline(rows);
        let got = Curve::new(&timeline, width).line(|p| p.value, SCALE);
        assert_eq!(got, want, "{rows}");
    }

    #[test]
    fn a_line_steps_where_the_value_changes_and_holds_to_the_end() {
        check_line("", 100, "");
        check_line("0 100 1", 100, "M0,0H100");
        check_line("0 0 1, 40 50 1, 60 50 1, 70 25 1", 100, "M0,100H40V50H70V75H100");
        check_line("0 0 1, 40 0.04 1", 100, "M0,100H100");
        check_line("20 50 1", 100, "M20,50H100");
        check_line("0 50 1, 100 20 1", 100, "M0,50H100V80");
    }

    #[test]
    fn no_peak_of_a_column_is_lost() {
        check_line("0 50 1, 1 80 1, 2 10 1, 3 40 1, 10 40 1", 10, "M0,20V90V60H10");
        check_line("0 50 1, 1 10 1, 2 80 1, 3 40 1, 20 9 1", 10, "M0,90V20V60H2V91H10");
        check_line("0 50 1, 1 60 1, 2 70 1", 10, "M0,50V30H10");
        check_line("0 50 1, 10 60 1, 11 5 1, 12 50 1", 10, "M0,50H1V40V95V50H10");
    }

    #[track_caller]
    fn check_above(rows: &str, width: u32, excess: &str, bar: &str) {
        let timeline = timeline(rows);
        let curve = Curve::new(&timeline, width);
        let got = (curve.excess(SCALE), curve.time_above(SCALE, 4.0));
        assert_eq!(got, (excess.to_owned(), bar.to_owned()), "{rows}");
    }

    #[test]
    fn time_above_target_is_marked_from_what_is_carried_to_the_load() {
        check_above("0 20 2", 100, "", "");
        check_above("0 21 2", 100, "M0,79H100V80H0Z", "M0,96H100V100H0Z");
        let excess = "M10,70H20V60H30V80H10Z";
        let bar = "M10,96H30V100H10Z";
        check_above("0 9 2, 10 30 2, 20 40 2, 30 5 2", 100, excess, bar);
        let excess = "M10,70H20V80H10ZM30,50H100V90H30Z";
        let bar = "M10,96H20V100H10ZM30,96H100V100H30Z";
        check_above("0 9 2, 10 30 2, 20 9 2, 30 50 1", 100, excess, bar);
        check_above("0 1 0, 50 0 0", 100, "M0,99H50V100H0Z", "M0,96H50V100H0Z");
    }

    #[test]
    fn a_moment_above_target_is_one_column_wide_and_shows_its_worst() {
        check_above("0 9 1, 1 40 1, 2 90 2, 3 9 1", 10, "M0,10H1V80H0Z", "M0,96H1V100H0Z");
        check_above("0 30 1, 5 9 1, 10 30 1, 20 9 1", 10, "M0,70H2V90H0Z", "M0,96H2V100H0Z");
        check_above("0 9 1, 12 90 1, 13 9 1, 20 9 1", 10, "M1,10H2V90H1Z", "M1,96H2V100H1Z");
    }

    #[test]
    fn a_line_is_broken_where_nothing_is_known() {
        let line = |rows: &str, unknown: &[usize]| {
            let mut timeline = timeline(rows);
            unknown.iter().for_each(|at| timeline.points[*at].reason = NO_ROWS);
            Curve::new(&timeline, 100).line(|p| p.value, SCALE)
        };
        assert_eq!(line("0 30 1, 50 0 0, 80 60 1", &[]), "M0,70H50V100H80V40H100");
        assert_eq!(line("0 30 1, 50 0 0, 80 60 1", &[1]), "M0,70H50M80,40H100");
        assert_eq!(line("0 0 0, 50 20 1, 80 0 0", &[0, 2]), "M50,80H80");
        // Within one column.
        assert_eq!(line("0 30 1, 0.5 0 0, 80 60 1", &[1]), "M0,70H1M80,40H100");
        assert_eq!(line("0 0 0", &[0]), "");
    }

    #[test]
    fn areas_reach_beyond_the_edges_and_bands_return() {
        let timeline = timeline("0 30 1, 50 60 2");
        let curve = Curve::new(&timeline, 100);
        let area = curve.area(|p| p.value, SCALE);
        assert_eq!(area, "M-4,104V70H50V40H104V104Z");
        let band = curve.band(|p| p.value, |p| f64::from(p.ready), SCALE);
        assert_eq!(band, "M0,70H50V40H100V98H50V99H0Z");
        let none = Timeline { points: Vec::new(), ..timeline.clone() };
        let curve = Curve::new(&none, 100);
        let empty = [curve.area(|p| p.value, SCALE), curve.band(|_| 0.0, |_| 0.0, SCALE)];
        assert_eq!(empty, ["", ""]);
    }

    #[test]
    fn times_have_a_column_and_lengths_a_tenth() {
        let s = Duration::from_secs;
        for (at, span, want) in [(0, 9, 0), (8, 9, 8), (9, 9, 9), (10, 9, 9), (0, 0, 0), (5, 0, 0)]
        {
            assert_eq!(column(s(at), s(span), 9), want, "{at} of {span}");
        }
        for (length, want) in [(0.0, "0"), (-0.04, "0"), (-4.0, "-4"), (12.04, "12"), (0.24, "0.2")]
        {
            assert_eq!(pixels(length), want, "{length}");
        }
    }
}
