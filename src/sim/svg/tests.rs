//! Pictures of made-up runs: that they are XML, small, and say what they should.

use std::path::Path;
use std::time::Duration;

use crate::model::time::Wall;
use crate::model::zone::Zone;
use crate::sim::random::Random;
use crate::sim::svg::axis::text_width;
use crate::sim::svg::{STYLE, cut, draw, escaped};
use crate::sim::timeline::{Point, Span, Timeline};
use crate::sim::trace::Trace;

const MONDAY: i64 = 1_772_406_000;
const BYTES_MAX: usize = 200_000;

/// What a plain autoscaler with a start-up time of 30 s and a cooldown of 5 min makes of a load.
/// In windows of seconds other bounds hold.
fn run(
    load: impl Fn(u64) -> f64,
    (end_s, step_s): (u64, u64),
    bounds: (u32, u32),
    windows: &[(u64, u64, &str, (u32, u32))],
) -> Timeline {
    let s = Duration::from_secs;
    let target = 70.0;
    let mut desired = bounds.0;
    let mut starts = Vec::new();
    let mut down_at = 0;
    let mut points: Vec<Point> = Vec::new();
    for t in (0..end_s).step_by(usize::try_from(step_s).unwrap()) {
        let value = load(t);
        let inside = windows.iter().find(|(from, to, ..)| (*from..*to).contains(&t));
        let (min, max) = inside.map_or(bounds, |(.., bounds)| *bounds);
        let fit = |load: f64| ((load / target).ceil() as u32).clamp(min, max);
        let up = fit(value);
        let down = fit(value * 1.15);
        if desired < up {
            (desired, down_at) = (up, t);
        } else if down < desired && down_at + 300 <= t || max < desired {
            (desired, down_at) = (down, t);
        }
        starts.resize(usize::try_from(desired).unwrap(), t + 30);
        let ready = u32::try_from(starts.iter().filter(|at| **at <= t || t == 0).count()).unwrap();
        let before = points.last().map_or(desired, |p| p.desired);
        let replicas = desired.max(before);
        let reason = "DesiredWithinRange";
        points.push(Point {
            at: s(t),
            is_look: true,
            value,
            ready,
            replicas,
            desired,
            min,
            max,
            reason,
        });
        if t == 0 {
            starts.fill(0);
        }
    }
    let window = |(from, to, name, _): &(u64, u64, &str, _)| Span {
        from: s(*from),
        to: s(*to),
        name: (*name).to_owned(),
    };
    Timeline {
        service: "web".to_owned(),
        unit: "% CPU".to_owned(),
        target,
        zone: Zone::find("Europe/Berlin").unwrap(),
        start: Wall(MONDAY),
        points,
        windows: windows.iter().map(window).collect(),
        waits: None,
        gaps: Vec::new(),
        end: s(end_s),
    }
}

fn example(name: &str) -> impl Fn(u64) -> f64 {
    let trace = Trace::read(Path::new(&format!("contrib/examples/{name}.csv"))).unwrap();
    move |t| trace.load_at(Duration::from_secs(t))
}

fn day() -> Timeline {
    let office = (8 * 3600, 18 * 3600, "office hours", (3, 8));
    let sale = (19 * 3600 + 1800, 21 * 3600, "evening", (4, 10));
    run(example("day"), (86_400, 15), (1, 8), &[office, sale])
}

fn week() -> Timeline {
    let h = 3600;
    let windows: Vec<_> =
        (0..5).map(|d| ((24 * d + 8) * h, (24 * d + 18) * h, "business-hours", (3, 8))).collect();
    let load = example("day");
    run(
        move |t| load(t % 86_400) * if t < 5 * 86_400 { 1.0 } else { 0.6 },
        (7 * 86_400, 15),
        (1, 8),
        &windows,
    )
}

fn large() -> Timeline {
    let load = example("day");
    let mut large = run(move |t| load(t) * 150.0, (86_400, 15), (50, 1000), &[]);
    large.service = "a-service-with-a-name-of-sixty-three-characters-which-is-the-max".to_owned();
    large
}

fn small() -> Timeline {
    let random = std::cell::RefCell::new(Random::new(1));
    let noise = move |_| random.borrow_mut().between(20, 64) as f64;
    run(noise, (600, 5), (1, 1), &[(120, 240, "warm-up", (1, 1))])
}

fn short() -> Timeline {
    run(|t| if t < 20 { 50.0 } else { 90.0 }, (60, 5), (1, 1000), &[])
}

/// 40,000 points, of which none is like the one before.
fn nasty() -> Timeline {
    let mut random = Random::new(7);
    let mut nasty = run(|_| 0.0, (600_000, 15), (1, 1000), &[]);
    for point in &mut nasty.points {
        let mut number = || u32::try_from(random.below(1000)).unwrap();
        point.value = f64::from(number()) * 70.0;
        (point.ready, point.replicas, point.desired) = (number(), number(), number());
        (point.min, point.max) = (number() / 2, 500 + number() / 2);
    }
    nasty
}

fn all() -> Vec<(&'static str, Timeline)> {
    let nothing = Timeline { points: Vec::new(), end: Duration::ZERO, ..short() };
    vec![
        ("day", day()),
        ("week", week()),
        ("spike", run(example("spike"), (3600, 10), (1, 8), &[])),
        ("large", large()),
        ("small", small()),
        ("short", short()),
        ("nasty", nasty()),
        ("nothing", nothing),
    ]
}

/// Elements that begin and do not end, ends of others, attributes and entities that are none.
fn faults(xml: &str) -> Vec<String> {
    let mut open = Vec::new();
    let mut wrong = Vec::new();
    for (i, piece) in xml.split('<').enumerate() {
        let Some((tag, text)) = piece.split_once('>').filter(|_| i != 0) else {
            if i != 0 || !piece.is_empty() {
                wrong.push(format!("no element: {piece}"));
            }
            continue;
        };
        for (i, part) in piece.split('&').enumerate().filter(|(i, _)| *i != 0) {
            if !["amp;", "lt;", "gt;", "quot;"].iter().any(|entity| part.starts_with(entity)) {
                wrong.push(format!("ampersand {i} of {piece}"));
            }
        }
        if text.contains(|c: char| c == '>' || c.is_control() && c != '\n') {
            wrong.push(format!("text: {text:?}"));
        }
        let inner = tag.trim_end_matches('/');
        let name = inner.split(' ').next().unwrap().to_owned();
        if tag.starts_with('/') {
            if open.pop().as_deref() != tag.strip_prefix('/') {
                wrong.push(format!("end of {tag}"));
            }
            continue;
        }
        // What is between the quotes is every second part; the others are names.
        let outside: Vec<&str> = inner[name.len()..].split('"').step_by(2).collect();
        let last = outside.len() - 1;
        let is_name = |part: &str| part.starts_with(' ') && part.ends_with('=');
        if !outside[..last].iter().all(|part| is_name(part)) || !outside[last].is_empty() {
            wrong.push(format!("attributes: {tag}"));
        }
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    wrong.extend(open.into_iter().map(|name| format!("{name} does not end")));
    wrong
}

#[test]
fn what_is_no_xml_is_found() {
    assert_eq!(faults("<a b=\"1\" c-d=\"&lt;\"><e/>x &amp;\n</a>"), Vec::<String>::new());
    for bad in ["<a>", "<a></b>", "</a>", "<a>&</a>", "<a>&nbsp;</a>", "<a b=1/>", "<a b=\"1/>"] {
        assert_ne!(faults(bad), Vec::<String>::new(), "{bad}");
    }
    for bad in ["x<a/>", "<a", "<a>></a>", "<a>\u{1}</a>", "<a b=\"\"c=\"\"/>"] {
        assert_ne!(faults(bad), Vec::<String>::new(), "{bad}");
    }
}

#[test]
fn every_picture_is_xml_and_small() {
    for (name, timeline) in all() {
        let svg = draw(&timeline);
        assert_eq!(faults(&svg), Vec::<String>::new(), "{name}");
        assert!(svg.len() <= BYTES_MAX, "{name}: {} bytes", svg.len());
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}");
    }
}

#[test]
fn a_name_cannot_end_the_element_it_is_in() {
    let mut timeline = short();
    let evil = "</text><script>&\"'\u{1}\u{ffff}";
    timeline.service = evil.to_owned();
    timeline.unit = evil.to_owned();
    timeline.windows =
        vec![Span { from: Duration::ZERO, to: Duration::from_secs(60), name: evil.to_owned() }];
    let svg = draw(&timeline);
    assert_eq!(faults(&svg), Vec::<String>::new());
    let safe = "&lt;/text&gt;&lt;script&gt;&amp;&quot;'\u{fffd}\u{fffd}";
    assert_eq!(escaped(evil), safe);
    // The title that is read out and the one that is seen, the name of the window, the unit.
    assert_eq!((svg.matches(safe).count(), svg.matches("<script").count()), (4, 0));
}

/// The value of an attribute of an element.
fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    element.split_once(&format!(" {name}=\""))?.1.split('"').next()
}

/// Left, right and line of each text, with the text.
fn texts(svg: &str) -> Vec<(f64, f64, f64, String)> {
    let mut found = Vec::new();
    for element in svg.split("<text ").skip(1) {
        let (element, text) = element.split_once("</text>").unwrap().0.split_once('>').unwrap();
        let element = format!(" {element}");
        let number = |name| attribute(&element, name).unwrap().parse::<f64>().unwrap();
        let size = match attribute(&element, "class") {
            Some("title") => 19.0,
            Some("sum") => 12.0,
            _ => 11.0,
        };
        let width = text_width(text, size);
        let left = match attribute(&element, "text-anchor") {
            Some("middle") => number("x") - width / 2.0,
            Some("end") => number("x") - width,
            _ => number("x"),
        };
        found.push((left, left + width, number("y"), text.to_owned()));
    }
    found
}

#[test]
fn no_text_touches_another_or_leaves_the_picture() {
    let mut crowded = day();
    let window = |i: u64| Span {
        from: Duration::from_secs(i * i * 600),
        to: Duration::from_secs(i * i * 600 + 600),
        name: "a-window-with-a-long-name".to_owned(),
    };
    crowded.windows = (1..12).map(window).collect();
    crowded.unit = "requests a second of every server behind the balancer".to_owned();
    for (name, timeline) in all().into_iter().chain([("crowded", crowded)]) {
        let texts = texts(&draw(&timeline));
        assert!(10 < texts.len(), "{name}: {texts:?}");
        for (i, a) in texts.iter().enumerate() {
            assert!(0.0 <= a.0 && a.1 <= 960.0, "{name}: {a:?}");
            for b in &texts[..i] {
                let apart = a.1 < b.0 || b.1 < a.0 || 11.0 <= (a.2 - b.2).abs();
                assert!(apart, "{name}: {a:?} and {b:?}");
            }
        }
    }
}

#[test]
fn every_class_has_a_style_and_every_colour_a_dark_one() {
    let (light, dark) = STYLE.split_once("@media").unwrap();
    let svg = draw(&day());
    let classes: Vec<_> = svg.split('<').filter_map(|e| attribute(e, "class")).collect();
    assert!(10 <= classes.len(), "{classes:?}");
    for class in classes {
        assert!(light.contains(&format!("\n.{class}{{")), "{class}");
    }
    let coloured: Vec<_> = light.lines().filter(|rule| rule.contains('#')).collect();
    assert!(5 <= coloured.len(), "{coloured:?}");
    for rule in coloured {
        let name = rule.split('{').next().unwrap();
        let again = dark.lines().filter(|rule| rule.contains('#'));
        let names = again.flat_map(|rule| rule.split('{').next().unwrap().split(','));
        assert!(names.into_iter().any(|other| other == name), "{name} has no dark colour");
    }
}

#[test]
fn a_picture_says_what_it_shows() {
    let svg = draw(&day());
    for text in [
        ">web</text>",
        ">Load, % CPU</text>",
        ">carried at target, 70 a replica</text>",
        ">1d from Monday 2 March 2026, 00:00, Europe/Berlin</text>",
        ">office hours</text>",
        ">min to max</text>",
        ">06:00</text>",
        " · 8 up, 8 down, 0 flaps</text>",
        ">Replicas, peak 6 of 10</text>",
    ] {
        assert_eq!(svg.matches(text).count(), 1, "{text}");
    }
    assert!(draw(&short()).contains(">min to max (1000, far above)</text>"));
    assert!(draw(&small()).contains(" · never above target · 0 up, 0 down, 0 flaps<"));
    let limit = |max: u32| {
        let mut timeline = short();
        timeline.points.iter_mut().for_each(|p| p.max = max);
        draw(&timeline).contains("far above")
    };
    assert_eq!((limit(6), limit(7)), (false, true), "three times the peak of two");
}

#[test]
fn what_is_cut_ends_with_dots() {
    // A letter is 0.64 of the size wide, the dots 0.98.
    for (room, want) in [(0.0, ""), (1.6, ""), (1.63, "ä…"), (2.5, "äb…"), (2.57, "äbcd")] {
        assert_eq!(cut("äbcd", room, 1.0), want, "{room}");
    }
    let mut wide = short();
    wide.service = "W".repeat(63);
    assert!(draw(&wide).contains("WWW…</text>"));
}

#[test]
fn windows_are_painted_once_and_named_where_a_name_fits() {
    let s = Duration::from_secs;
    let window = |from, to, name: &str| Span { from: s(from), to: s(to), name: name.to_owned() };
    let mut timeline = small();
    // A second is 1.44 pixels.
    timeline.windows =
        vec![window(0, 100, "alpha"), window(50, 200, "beta"), window(200, 210, "gamma-delta")];
    timeline.windows.extend([window(245, 246, "q"), window(400, 600, "to the end")]);
    let svg = draw(&timeline);
    let strips = "M60,92H204v16H60ZM204,92H348v16H204ZM348,92H362v16H348ZM412,92H414v16H412Z\
                  M636,92H924v16H636Z";
    assert!(svg.contains(&format!("<path class=\"strip\" d=\"{strips}\"/>")), "{svg}");
    let names: Vec<_> = texts(&svg).into_iter().filter(|text| text.2 == 104.0).collect();
    let names: Vec<_> = names.iter().map(|(x, _, _, name)| format!("{x} {name}")).collect();
    assert_eq!(names, ["64 alpha", "208 beta", "352 gamma…", "416 q", "640 to the end"]);

    let mut year = nasty();
    let at = |i: u64| i * 600_000 / 7000;
    year.windows = (0..7000).map(|i| window(at(i), at(i) + 80, "short-window")).collect();
    let svg = draw(&year);
    assert!(svg.len() <= BYTES_MAX, "{} bytes", svg.len());
}
