//! An advice as people read it, in 80 columns, and in one line.

use std::path::Path;

use crate::advise::advice::{Advice, Coverage, Verdict, saved_percent};
use crate::advise::evaluator::RunFigures;
use crate::advise::fragment::{Setting, by_hand, keys, labels, settings};
use crate::model::time::Wall;
use crate::model::units::plural;
use crate::sim::timeline::{decimal, short, span};

const WIDTH: usize = 80;

/// What it takes to try the advice.
pub(crate) struct Trial<'a> {
    /// As `--history` takes it.
    pub(crate) since: &'a str,
    /// `--start-up` as it was given.
    pub(crate) start_up: Option<&'a str>,
    /// The config's file as it was given, unless it is the one that commands take by themselves.
    pub(crate) config: Option<&'a Path>,
    /// The service is configured by labels, not by the config.
    pub(crate) is_by_labels: bool,
}

/// `min_replicas 2 -> 1, scale_up_threshold 60% -> 72%: 31% fewer replica-hours, 99.7% within
/// target`
pub(crate) fn one_line(advice: &Advice) -> String {
    let figures = &advice.found.figures;
    if !advice.verdict.is_change() {
        return format!("keep what you have: {}", reason(advice));
    }
    let changes: Vec<String> = changes(advice).iter().map(change).collect();
    let within = floored(figures.within_percent(), 1);
    format!("{}: {}, {within}% within target", changes.join(", "), hours_text(advice))
}

pub(crate) fn screen(advice: &Advice, trial: &Trial) -> String {
    let mut out = head(advice);
    out += &table(advice);
    out.push('\n');
    match advice.verdict.is_change() {
        true => out += &change_text(advice, trial),
        false => out += &paragraph(&format!("Keep what you have: {}.", reason(advice))),
    }
    for note in notes(advice) {
        out.push('\n');
        out += &paragraph(&note);
    }
    out
}

pub(crate) fn changes(advice: &Advice) -> Vec<Setting> {
    settings(&advice.service, &advice.today.tuning, &advice.found.tuning)
}

fn change(setting: &Setting) -> String {
    format!("{} {} -> {}", setting.path, setting.today, setting.advised)
}

fn hours_text(advice: &Advice) -> String {
    let saved = saved_percent(&advice.today.figures, &advice.found.figures);
    if saved.abs() < 0.5 {
        return "as many replica-hours".to_owned();
    }
    let word = if saved < 0.0 { "more" } else { "fewer" };
    format!("{}% {word} replica-hours", decimal(saved.abs(), 0))
}

/// Why nothing is to change.
fn reason(advice: &Advice) -> String {
    let found = &advice.found.figures;
    let slo = slo_text(advice);
    match advice.verdict {
        Verdict::NothingBetter => format!("none of {} other settings is cheaper", advice.tried),
        Verdict::NoGain => {
            format!("the best of {} settings has {}", advice.tried, hours_text(advice))
        }
        Verdict::DoesNotHold if found.within_percent() < advice.slo => format!(
            "the best settings by the first half had {}% within target in the second, less than \
             {slo}%",
            floored(found.within_percent(), 1)
        ),
        Verdict::DoesNotHold | Verdict::Change | Verdict::ChangeInPart => {
            "what was best by the first half is no better in the second".to_owned()
        }
    }
}

fn head(advice: &Advice) -> String {
    let Coverage { from, until, split, covered, .. } = advice.coverage;
    let day = |at: Wall| advice.zone.local(at).format("%a %Y-%m-%d %H:%M").to_string();
    let slo = slo_text(advice);
    let carries = short(advice.carries.0 as f64 / 1000.0);
    let name = &advice.service.name;
    let text = format!(
        "{name}: {} of load from {} to {}, {}.",
        span(covered),
        day(from),
        day(until),
        advice.zone
    );
    let method = format!(
        "{} settings were tried on the part before {}. The cheapest that kept the load within \
         target for {slo}% of that time stands beside today's. The figures are of the part after \
         it, which did not choose them.",
        advice.tried,
        day(split)
    );
    let yardstick = format!(
        "Within target: no more than {carries} {} for each replica that serves. That is today's \
         target, whatever is tried, so a higher threshold alone makes nothing look better.",
        advice.unit
    );
    [paragraph(&text), paragraph(&method), paragraph(&yardstick)].join("\n") + "\n"
}

fn slo_text(advice: &Advice) -> String {
    let slo = decimal(advice.slo, 2);
    slo.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Never more than it is, so that what falls short of a limit does not look as if it reached it.
fn floored(percent: f64, digits: u32) -> String {
    let unit = 10f64.powi(digits.cast_signed());
    // What is whole but for the rounding of floating point stays whole.
    decimal((percent * unit + 1e-6).floor() / unit, digits)
}

fn table(advice: &Advice) -> String {
    let (today, found) = (&advice.today.figures, &advice.found.figures);
    let percent = |value: f64, digits| format!("{}%", decimal(value, digits));
    let days = |f: &RunFigures| (f.hours / 24.0).max(f64::MIN_POSITIVE);
    let per_day = |f: &RunFigures| short(f64::from(f.changes) / days(f));
    let hours = |f: &RunFigures| short(f.replica_hours);
    let within = |f: &RunFigures| format!("{}%", floored(f.within_percent(), 2));
    let longest = |f: &RunFigures| span(f.longest_above);
    let unmet = |f: &RunFigures| percent(100.0 * f.unmet, 2);
    let flaps = |f: &RunFigures| f.flaps.to_string();
    let mut out = format!("{:<22}{:>12}{:>12}\n", "", "today", "advice");
    let mut row = |name: &str, of: &dyn Fn(&RunFigures) -> String, note: &str| {
        let line = format!("{name:<22}{:>12}{:>12}  {note}", of(today), of(found));
        out += line.trim_end();
        out.push('\n');
    };
    row("replica-hours", &hours, &hours_text(advice));
    row("within target", &within, "");
    row("longest above target", &longest, "");
    row("load unmet", &unmet, "");
    row("changes a day", &per_day, "");
    row("flaps", &flaps, "");
    out
}

fn change_text(advice: &Advice, trial: &Trial) -> String {
    let settings = changes(advice);
    let mut out = String::new();
    let name = settings.iter().map(|s| s.path.len()).max().unwrap_or(0);
    let before = settings.iter().map(|s| s.today.len()).max().unwrap_or(0);
    for Setting { path, today, advised, .. } in &settings {
        let text = format!("{path:<name$}  {today:>before$} -> ");
        for (i, part) in advised.split(", ").enumerate() {
            let lead = if i == 0 { text.clone() } else { " ".repeat(text.len()) };
            out += &format!("{lead}{part}\n");
        }
    }
    out.push('\n');
    let service = advice.service.name.as_str();
    if trial.is_by_labels {
        out += &paragraph(
            "As labels, in place of those that say the same now (`plimsoll.min_replicas` is \
             `plimsoll.min`):",
        );
        out.push('\n');
        let lines = labels(&settings, &advice.service);
        lines.iter().for_each(|line| out += &format!("      {line}\n"));
    } else {
        out += &format!("In the config, these keys of services.{service}:\n\n");
        out += &members(&keys(&settings));
    }
    for setting in by_hand(&settings) {
        out.push('\n');
        out += &paragraph(&format!(
            "By hand, as its URL may be secret: {} = {}",
            setting.path, setting.advised
        ));
    }
    out.push('\n');
    if !trial.is_by_labels {
        out += "To try it, put them into a copy of the config, new.json:\n\n";
        out += &trial.command(service);
        out.push('\n');
        out += &paragraph("Its figures are of the whole history, those above of the second half.");
    }
    out
}

impl Trial<'_> {
    /// With today's config and `new.json` side by side, whether a daemon runs or not.
    fn command(&self, service: &str) -> String {
        let mut out = String::new();
        if let Some(config) = self.config {
            out += &format!("  PLIMSOLL_CONFIG={} \\\n", quoted(&config.to_string_lossy()));
        }
        out += &format!("  plimsoll simulate --history {} --service {service}", self.since);
        if let Some(start_up) = self.start_up {
            out += &format!(" --start-up {start_up}");
        }
        out + " \\\n           --config new.json\n"
    }
}

/// As one word of a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Members of an object, each on a line, and longer ones over several.
fn members(keys: &serde_json::Map<String, serde_json::Value>) -> String {
    let mut out = String::new();
    for (i, (key, value)) in keys.iter().enumerate() {
        let end = if i + 1 < keys.len() { "," } else { "" };
        let line = format!("  \"{key}\": {value}{end}");
        if line.chars().count() <= WIDTH {
            out += &format!("{line}\n");
            continue;
        }
        let text = format!("\"{key}\": {value:#}{end}");
        text.lines().for_each(|line| out += &format!("  {line}\n"));
    }
    out
}

fn notes(advice: &Advice) -> Vec<String> {
    let mut notes = Vec::new();
    let Coverage { gaps, capped, covered, .. } = advice.coverage;
    let max = advice.service.timetable.bounds.max();
    if advice.verdict == Verdict::ChangeInPart {
        notes.push(format!(
            "It is better than today, and still less than {}% within target.",
            slo_text(advice)
        ));
    }
    if let Some(needed) = advice.needs_max {
        notes.push(format!(
            "max_replicas {max} is too low: the load took up to {needed} replicas. Raise it if the \
             host has room; the advice has {needed}."
        ));
    }
    if !capped.is_zero() {
        notes.push(format!(
            "For {} {}, so the load was at least what is recorded, and the need may be higher.",
            span(capped),
            advice.coverage.limit_words
        ));
    }
    if 0 < gaps {
        let gaps = plural(u32::try_from(gaps).unwrap_or(u32::MAX), "gap");
        notes.push(format!("{gaps} of the history are in no figure; {} remain.", span(covered)));
    }
    if advice.is_idle {
        notes.push("There was no load at all: the least number of replicas does.".to_owned());
    } else if advice.is_constant {
        notes.push(format!(
            "The need hardly changes: {} at any time would do as well.",
            plural(advice.fixed, "replica")
        ));
    }
    if let Some(growth) = advice.growth.filter(|growth| !(67.0..150.0).contains(growth)) {
        notes.push(format!(
            "The second half had {}% of the load of the first: what one of them asks for may not \
             fit the other.",
            decimal(growth, 0)
        ));
    }
    let forecast = advice.acts_on_forecast.then_some("the forecast");
    let left_out: Vec<&str> = advice.others.iter().map(String::as_str).chain(forecast).collect();
    if !left_out.is_empty() {
        let left_out = left_out.join(", ");
        notes.push(format!("Not in the figures, and left as they are: {left_out}."));
    }
    let has_schedules = !advice.service.timetable.schedules.is_empty();
    if has_schedules || advice.service.timetable.hours.is_some() {
        notes.push("Schedules and business hours of today were kept as they are.".to_owned());
    }
    notes.push(format!(
        "A replica is taken to serve {} after its start (--start-up). Nothing was changed.",
        span(advice.start_up)
    ));
    notes
}

fn paragraph(text: &str) -> String {
    let mut out = String::new();
    let mut width = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width != 0 && WIDTH < width + 1 + length {
            out.push('\n');
            width = 0;
        }
        if width != 0 {
            out.push(' ');
            width += 1;
        }
        out += word;
        width += length;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::advise::screen::{Trial, floored};

    #[test]
    fn a_share_is_never_shown_larger_than_it_is() {
        for (percent, digits, want) in [
            (100.0, 2, "100.00"),
            (99.9967, 2, "99.99"),
            (99.9967, 1, "99.9"),
            (99.94, 1, "99.9"),
            (100.0 * (1.0 - 0.005), 2, "99.50"),
            (99.499_999_999_999, 1, "99.5"),
            (99.499, 1, "99.4"),
            (0.0, 1, "0.0"),
        ] {
            assert_eq!(floored(percent, digits), want, "{percent}");
        }
    }

    #[test]
    fn the_command_has_what_the_figures_depend_on() {
        let command = |start_up, config: Option<&str>| {
            let config = config.map(Path::new);
            Trial { since: "28d", start_up, config, is_by_labels: false }.command("web")
        };
        let plain =
            "  plimsoll simulate --history 28d --service web \\\n           --config new.json\n";
        assert_eq!(command(None, None), plain);
        let slow = plain.replace("web ", "web --start-up 20s ");
        assert_eq!(command(Some("20s"), None), slow);
        let named = |file: &str| format!("  PLIMSOLL_CONFIG={file} \\\n{plain}");
        assert_eq!(command(None, Some("/srv/a-b_1.json")), named("/srv/a-b_1.json"));
        assert_eq!(command(None, Some("my $(x)'s.json")), named(r"'my $(x)'\''s.json'"));
    }
}
