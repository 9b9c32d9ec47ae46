//! Labels that stand for several keys, or for a longer one.

use std::borrow::Cow;

use crate::config::hours::DAYS;
use crate::config::labels::tree::LabelTree;

const ALL: [&str; 6] = ["cpu", "host", "hours", "max", "min", "path"];

pub(crate) fn is_one(label: &str) -> bool {
    ALL.contains(&label)
}

/// Adds the keys to what other labels say. `label` gives the value of a label.
pub(crate) fn expand<'a>(tree: &mut LabelTree<'a>, label: &dyn Fn(&str) -> Option<&'a str>) {
    for (short, key) in [("min", "min_replicas"), ("max", "max_replicas")] {
        if let Some(value) = label(short) {
            set(tree, short, &[key], value);
        }
    }
    if let Some(target) = label("cpu") {
        let place = tree.length("metrics").to_string();
        set(tree, "cpu", &["metrics", &place, "source"], "cpu");
        set(tree, "cpu", &["metrics", &place, "target"], target);
    }
    routes(tree, label("host"), label("path"));
    if let Some(text) = label("hours") {
        hours(tree, text);
    }
}

/// Sets one key of those that the label stands for. Each has a row of its own.
fn set<'a>(
    tree: &mut LabelTree<'a>,
    label: &'static str,
    path: &[&str],
    value: impl Into<Cow<'a, str>>,
) {
    let row = tree.row(label);
    let path: Vec<Cow<str>> = path.iter().map(|part| Cow::Owned((*part).to_owned())).collect();
    tree.set(row, &path, value.into());
}

/// A route for each host.
fn routes<'a>(tree: &mut LabelTree<'a>, host: Option<&'a str>, path: Option<&'a str>) {
    let hosts: Vec<Option<&str>> = match (host, path) {
        (None, None) => return,
        (None, Some(_)) => vec![None],
        (Some(hosts), _) => hosts.split(',').map(|host| Some(host.trim())).collect(),
    };
    let first = tree.length("routes");
    for (i, host) in hosts.into_iter().enumerate() {
        let place = (first + i).to_string();
        if let Some(host) = host {
            set(tree, "host", &["routes", &place, "host"], host);
        }
        if let Some(path) = path {
            set(tree, "path", &["routes", &place, "path"], path);
        }
    }
}

/// `mon-fri 08:00-18:00 Europe/Berlin`: days and time zone may be left out.
fn hours<'a>(tree: &mut LabelTree<'a>, text: &'a str) {
    let mut words = text.split_whitespace().peekable();
    let days = words.next_if(|word| !word.contains(':')).map(days);
    let times = words.next().and_then(|word| word.split_once('-'));
    let zone = words.next();
    let (Some((start, end)), None) = (times, words.next()) else {
        let row = tree.row("hours");
        let message = format!(
            "must be days, times and a time zone like \"mon-fri 08:00-18:00 Europe/Berlin\", got \
             \"{text}\""
        );
        return tree.fault(row, message);
    };
    set(tree, "hours", &["business_hours_only"], "true");
    if let Some(days) = days {
        set(tree, "hours", &["business_hours", "days"], days);
    }
    set(tree, "hours", &["business_hours", "start"], start);
    set(tree, "hours", &["business_hours", "end"], end);
    if let Some(zone) = zone {
        set(tree, "hours", &["business_hours", "timezone"], zone);
    }
}

/// `mon-wed,sat` as a list of days. What is no day is left for the parser to refuse.
fn days(text: &str) -> String {
    let place = |day: &str| DAYS.iter().position(|(name, _)| *name == day);
    let expand = |part: &str| {
        let ends = part.split_once('-').and_then(|(from, to)| Some((place(from)?, place(to)?)));
        let Some((from, to)) = ends else { return part.to_owned() };
        let count = (to + DAYS.len() - from) % DAYS.len();
        let days: Vec<&str> = (0..=count).map(|i| DAYS[(from + i) % DAYS.len()].0).collect();
        days.join(",")
    };
    text.to_ascii_lowercase().split(',').map(expand).collect::<Vec<_>>().join(",")
}
