//! Operands and options, and the values that they take.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    Url,
    Service,
    /// May look like an option, as `-1` does.
    Count,
    Shell,
    Command,
}

/// Options have long names only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OptionSpec {
    pub(crate) name: &'static str,
    pub(crate) takes: Takes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    Nothing,
    File,
    Service,
    /// Not completed by the shells.
    Text,
}

const fn flag(name: &'static str) -> OptionSpec {
    OptionSpec { name, takes: Takes::Nothing }
}

const fn file(name: &'static str) -> OptionSpec {
    OptionSpec { name, takes: Takes::File }
}

const fn text(name: &'static str) -> OptionSpec {
    OptionSpec { name, takes: Takes::Text }
}

pub(crate) const ALL: OptionSpec = flag("all");
pub(crate) const CAPACITY: OptionSpec = text("capacity");
pub(crate) const COMPOSE: OptionSpec = file("compose");
pub(crate) const CSV: OptionSpec = flag("csv");
pub(crate) const CONFIG: OptionSpec = file("config");
pub(crate) const DRY_RUN: OptionSpec = flag("dry-run");
pub(crate) const FOLLOW: OptionSpec = flag("follow");
pub(crate) const FOR: OptionSpec = text("for");
pub(crate) const FROM: OptionSpec = text("from");
pub(crate) const FORECAST: OptionSpec = flag("forecast");
pub(crate) const HISTORY_SPAN: OptionSpec = text("history");
pub(crate) const JSON: OptionSpec = flag("json");
pub(crate) const LABELS: OptionSpec = flag("labels");
pub(crate) const LIVE: OptionSpec = flag("live");
pub(crate) const LOAD: OptionSpec = file("load");
pub(crate) const ONCE: OptionSpec = flag("once");
pub(crate) const OUTPUT: OptionSpec = file("output");
pub(crate) const REASON: OptionSpec = text("reason");
pub(crate) const SERVICE: OptionSpec = OptionSpec { name: "service", takes: Takes::Service };
pub(crate) const SINCE: OptionSpec = text("since");
pub(crate) const SLO: OptionSpec = text("slo");
pub(crate) const SOCKET: OptionSpec = file("socket");
pub(crate) const START: OptionSpec = text("start");
pub(crate) const START_UP: OptionSpec = text("start-up");
pub(crate) const SVG: OptionSpec = file("svg");
pub(crate) const TEST: OptionSpec = flag("test");
pub(crate) const UNTIL: OptionSpec = text("until");
pub(crate) const VERBOSE: OptionSpec = flag("verbose");
pub(crate) const WATCH: OptionSpec = flag("watch");
