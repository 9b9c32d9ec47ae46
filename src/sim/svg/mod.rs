//! A timeline as one picture that stands alone: no script, no font from elsewhere, light or dark as
//! the reader's screen is. Load and what the replicas carry above, replicas below.

mod axis;
pub(crate) mod compared;
mod curve;
pub(crate) mod recorded;
#[cfg(test)]
mod tests;

use std::fmt::{Arguments, Write};
use std::time::Duration;

use crate::sim::svg::axis::text_width;
use crate::sim::svg::curve::{Curve, Scale, column, pixels};
use crate::sim::timeline::{Point, Timeline, decimal, flaps, short, span};

const WIDTH: u32 = 960;
const HEIGHT: u32 = 540;
const LEFT: u32 = 60;
/// The width of both panels; what is left of the picture is room for half a label.
const PLOT: u32 = 864;
/// Between the first heading and its panel are the names of schedule windows.
const STRIP_TOP: f64 = 92.0;
const STRIP: f64 = LOAD.top - STRIP_TOP;
const LOAD: Panel = Panel { heading: 86.0, top: 108.0, height: 212.0 };
const REPLICAS: Panel = Panel { heading: 348.0, top: 356.0, height: 128.0 };
/// As thick as the time above target is marked: an excess may be thinner than a pixel.
const BAR: f64 = 5.0;
const FONT: f64 = 11.0;
const TITLE_FONT: f64 = 19.0;
const NAME_MARGIN: f64 = 4.0;
/// The unit shares its line with the legend.
const UNIT_WIDTH: f64 = 300.0;
/// So much higher than the highest number is the top of a panel.
const HEADROOM: f64 = 1.06;
/// Where max is more than this many times the peak, it stays outside, or all else would be flat.
const MAX_SHOWN: u32 = 3;

/// Classes of lines; the others are areas.
const LINES: [&str; 6] = ["carry", "there", "wanted", "was", "other", "third"];

/// Colours that people tell apart who see red and green alike, each with a contrast to its ground
/// of 3 and more. Viewers that ignore the media query use the light ones.
const STYLE: &str = "\
text{font:11px system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;fill:#57606a}
.ground{fill:#fff}
.title{font-size:19px;font-weight:600;fill:#1f2328}
.sum{font-size:12px}
.head{font-weight:600;fill:#1f2328}
.grid{stroke:#d8dee4}
.axis{stroke:#8c959f}
.area{fill:#0072b2;fill-opacity:.2;stroke:#0072b2}
.carry{fill:none;stroke:#1f2328;stroke-width:1.6}
.over{fill:#d55e00;fill-opacity:.85}
.room{fill:#57606a;fill-opacity:.1;stroke:#57606a;stroke-opacity:.4}
.there{fill:none;stroke:#00795a;stroke-width:2}
.wanted{fill:none;stroke:#a8327e;stroke-width:1.2;stroke-dasharray:4 3}
.window{fill:#7b5ea7;fill-opacity:.11}
.strip{fill:#7b5ea7;fill-opacity:.22}
.name{fill:#4d3a70}
@media (prefers-color-scheme:dark){
text{fill:#9da7b1}
.ground{fill:#0d1117}
.title,.head{fill:#e6edf3}
.grid{stroke:#262c34}
.axis{stroke:#6e7681}
.area{fill:#56b4e9;fill-opacity:.22;stroke:#56b4e9}
.carry{stroke:#e6edf3}
.over{fill:#ff8a3d}
.room{fill:#9da7b1;fill-opacity:.12;stroke:#9da7b1}
.there{stroke:#2fd0a0}
.wanted{stroke:#f08cc6}
.window{fill:#b497e7;fill-opacity:.13}
.strip{fill:#b497e7;fill-opacity:.3}
.name{fill:#dccdf7}
}
";

#[derive(Clone, Copy)]
struct Panel {
    /// The line on which it stands.
    heading: f64,
    top: f64,
    height: f64,
}

/// What a picture is put together from: each piece is one line.
struct Sheet {
    out: String,
}

impl Sheet {
    fn put(&mut self, piece: Arguments) {
        // Writing to a string cannot fail.
        let _ = self.out.write_fmt(piece);
        self.out.push('\n');
    }

    fn text(&mut self, (x, y): (f64, f64), class: &str, anchor: &str, text: &str) {
        let x = pixels(x);
        let y = pixels(y);
        let text = escaped(text);
        let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
        let anchor =
            if anchor.is_empty() { String::new() } else { format!(" text-anchor=\"{anchor}\"") };
        self.put(format_args!("<text x=\"{x}\" y=\"{y}\"{class}{anchor}>{text}</text>"));
    }

    fn path(&mut self, class: &str, d: &str) {
        if !d.is_empty() {
            self.put(format_args!("<path class=\"{class}\" d=\"{d}\"/>"));
        }
    }
}

/// A whole SVG document.
pub(crate) fn draw(timeline: &Timeline) -> String {
    page(timeline, &sentence(timeline), |curve, sheet| {
        load(timeline, curve, sheet);
        replicas(timeline, curve, sheet);
    })
}

/// The document around two panels.
fn page(timeline: &Timeline, sum: &str, panels: impl FnOnce(&Curve, &mut Sheet)) -> String {
    let mut sheet = opened(&timeline.service, sum, "");
    windows(timeline, &mut sheet);
    times(timeline, &mut sheet);
    panels(&Curve::new(timeline, PLOT), &mut sheet);
    sheet.put(format_args!("</svg>"));
    sheet.out
}

/// A document up to its title and the line below that; `style` goes beside what all have.
fn opened(title: &str, sum: &str, style: &str) -> Sheet {
    let mut sheet = Sheet { out: String::new() };
    // Bold letters are a tenth wider.
    let name = escaped(&cut(title, f64::from(PLOT), TITLE_FONT * 1.1));
    sheet.put(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">\n<title>{name}</title>\n\
         <desc>{}</desc>\n<style>\n{STYLE}{style}</style>\n\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
         <text x=\"{LEFT}\" y=\"32\" class=\"title\">{name}</text>",
        escaped(sum),
    ));
    sheet.text((f64::from(LEFT), 54.0), "sum", "", sum);
    sheet
}

/// The summary in one line, which fits whatever the numbers are.
fn sentence(timeline: &Timeline) -> String {
    let sum = timeline.summary();
    let percent = decimal(sum.above_percent(timeline.end), 1);
    let longest = span(sum.above_longest);
    let above = if sum.above.is_zero() {
        "never above target".to_owned()
    } else {
        format!("above target {percent}% of the time (longest {longest})")
    };
    let number = |n: u32| short(f64::from(n));
    format!(
        "{} of {} replica-hours at max ({}% saved) · {above} · {} up, {} down, {}",
        short(sum.replica_hours),
        short(sum.replica_hours_at_max),
        decimal(sum.saved_percent(), 1),
        number(sum.up),
        number(sum.down),
        flaps(sum.flaps),
    )
}

fn load(timeline: &Timeline, curve: &Curve, sheet: &mut Sheet) {
    let carried = |p: &Point| timeline.capacity(p);
    let highest = timeline.points.iter().map(|p| p.value.max(carried(p))).fold(0.0, f64::max);
    let highest = if 0.0 < highest { highest } else { timeline.target };
    let scale = Scale { top: highest * HEADROOM, height: LOAD.height };
    let target = format!("carried at target, {} a replica", short(timeline.target));
    let legend = [("area", "load"), ("carry", target.as_str()), ("over", "above target")];
    heading(LOAD, &format!("Load, {}", cut(&timeline.unit, UNIT_WIDTH, FONT)), &legend, sheet);
    numbers(LOAD, scale, false, sheet);
    begin(LOAD, sheet);
    sheet.path("area", &curve.area(|p| p.value, scale));
    sheet.path("over", &(curve.excess(scale) + &curve.time_above(scale, BAR)));
    sheet.path("carry", &curve.line(carried, scale));
    end(LOAD, sheet);
}

fn replicas(timeline: &Timeline, curve: &Curve, sheet: &mut Sheet) {
    let highest = |number: fn(&Point) -> u32| timeline.points.iter().map(number).max().unwrap_or(0);
    let peak = highest(|p| p.replicas.max(p.desired)).max(1);
    let max = highest(|p| p.max);
    let is_outside = peak.saturating_mul(MAX_SHOWN) < max;
    let top = if is_outside { f64::from(peak) * 1.5 } else { f64::from(peak.max(max)) };
    let scale = Scale { top: top * HEADROOM, height: REPLICAS.height };
    let room =
        if is_outside { format!("min to max ({max}, far above)") } else { "min to max".to_owned() };
    let sum = timeline.summary();
    let asleep = timeline.waits.map(|_| decimal(sum.asleep_percent(timeline.end), 1));
    let asleep = asleep.map(|percent| format!(", none {percent}% of the time"));
    let title = format!("Replicas, peak {} of {max}{}", sum.peak, asleep.unwrap_or_default());
    let legend = [("there", "replicas"), ("wanted", "desired"), ("room", room.as_str())];
    heading(REPLICAS, &title, &legend, sheet);
    numbers(REPLICAS, scale, true, sheet);
    begin(REPLICAS, sheet);
    // Far enough outside that its outline is, too.
    let shown = |n: u32| f64::from(n).min(scale.top * 1.1);
    sheet.path("room", &curve.band(|p| shown(p.max), |p| shown(p.min), scale));
    // Below the other, so that it shows where the two are not the same.
    sheet.path("wanted", &curve.line(|p| f64::from(p.desired), scale));
    sheet.path("there", &curve.line(|p| f64::from(p.replicas), scale));
    end(REPLICAS, sheet);
}

/// An inner picture cuts off what does not belong to the panel.
fn begin(panel: Panel, sheet: &mut Sheet) {
    sheet.put(format_args!(
        "<svg x=\"{LEFT}\" y=\"{}\" width=\"{PLOT}\" height=\"{}\">",
        pixels(panel.top),
        pixels(panel.height)
    ));
}

fn end(panel: Panel, sheet: &mut Sheet) {
    let right = LEFT + PLOT;
    let bottom = pixels(panel.top + panel.height);
    sheet.put(format_args!("</svg>\n<path class=\"axis\" d=\"M{LEFT},{bottom}H{right}\"/>"));
}

/// What the panel shows on the left, what its colours mean on the right.
fn heading(panel: Panel, title: &str, legend: &[(&str, &str)], sheet: &mut Sheet) {
    let y = panel.heading;
    sheet.text((f64::from(LEFT), y), "head", "", title);
    let mut x = f64::from(LEFT + PLOT);
    for (class, text) in legend.iter().rev() {
        x -= text_width(text, FONT);
        sheet.text((x, y), "", "", text);
        let left = pixels(x - 24.0);
        let right = pixels(x - 6.0);
        let middle = pixels(y - 4.0);
        if LINES.contains(class) {
            sheet.path(class, &format!("M{left},{middle}H{right}"));
        } else {
            sheet.path(class, &format!("M{left},{}H{right}v8H{left}Z", pixels(y - 8.0)));
        }
        x -= 24.0 + 14.0;
    }
}

fn numbers(panel: Panel, scale: Scale, whole: bool, sheet: &mut Sheet) {
    let right = LEFT + PLOT;
    for (value, label) in axis::numbers(scale.top, whole) {
        let y = panel.top + scale.y(value);
        sheet.path("grid", &format!("M{LEFT},{}H{right}", pixels(y)));
        sheet.text((f64::from(LEFT) - 8.0, y + 4.0), "", "end", &label);
    }
}

fn times(timeline: &Timeline, sheet: &mut Sheet) {
    let bottom = REPLICAS.top + REPLICAS.height;
    for tick in axis::times(timeline, PLOT, FONT) {
        let x = LEFT + tick.x;
        let short = if tick.label.is_empty() { 3 } else { 6 };
        for panel in [LOAD, REPLICAS] {
            sheet.path("grid", &format!("M{x},{}v{}", pixels(panel.top), pixels(panel.height)));
        }
        sheet.path("axis", &format!("M{x},{}v{short}", pixels(bottom)));
        if !tick.label.is_empty() {
            sheet.text((f64::from(x), bottom + 19.0), "", "middle", &tick.label);
        }
    }
    let from = timeline.local(Duration::ZERO).format("%A %-d %B %Y, %H:%M");
    let text = format!("{} from {from}, {}", span(timeline.end), timeline.zone);
    sheet.text((f64::from(LEFT), bottom + 41.0), "", "", &text);
}

/// Each window through both panels, named where its name has room: it may reach beyond the window,
/// but not into the next one or out of the picture.
fn windows(timeline: &Timeline, sheet: &mut Sheet) {
    let x = |at: Duration| LEFT + column(at, timeline.end, PLOT);
    let mut strips = String::new();
    let mut bands = String::new();
    let mut names = Vec::new();
    // No column is painted twice, so that a year of short windows is no large file.
    let mut painted = LEFT;
    for (i, window) in timeline.windows.iter().enumerate() {
        let from = x(window.from).max(painted);
        let to = x(window.to);
        if from < to {
            let bar = |top: f64, height: f64| {
                let top = pixels(top);
                let height = pixels(height);
                format!("M{from},{top}H{to}v{height}H{from}Z")
            };
            strips += &bar(STRIP_TOP, STRIP);
            bands += &bar(LOAD.top, LOAD.height);
            bands += &bar(REPLICAS.top, REPLICAS.height);
            painted = to;
        }
        let next = timeline.windows.get(i + 1).map_or(timeline.end, |next| next.from);
        let room = f64::from(x(next)) - f64::from(from) - 2.0 * NAME_MARGIN;
        let name = cut(&window.name, room, FONT);
        // Two letters and dots tell nobody anything.
        if from < to && (3 < name.chars().count() || name == window.name) {
            names.push((f64::from(from) + NAME_MARGIN, name));
        }
    }
    sheet.path("strip", &strips);
    sheet.path("window", &bands);
    for (x, name) in names {
        sheet.text((x, STRIP_TOP + 12.0), "name", "", &name);
    }
}

/// What fits in so many pixels; where something is gone an ellipsis stands.
fn cut(text: &str, room: f64, size: f64) -> String {
    if text_width(text, size) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        if room < text_width(&format!("{kept}{c}…"), size) {
            break;
        }
        kept.push(c);
    }
    if kept.is_empty() { kept } else { kept + "…" }
}

/// As XML takes it. Control characters are not allowed there in any form.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\t' | '\n' => out.push(' '),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
