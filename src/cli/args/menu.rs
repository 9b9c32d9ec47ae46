//! Every command: its name, what may follow it, and its help. Parsing, help and the shells'
//! completions all read this table.

use crate::cli::args::given::Given;
use crate::cli::args::{self, Command};

pub(crate) struct Entry {
    pub(crate) name: &'static str,
    /// In a few words, for the shells.
    pub(crate) does: &'static str,
    /// In their order.
    pub(crate) operands: &'static [Operand],
    pub(crate) options: &'static [Choice],
    pub(crate) help: &'static str,
    pub(crate) read: fn(Given) -> Result<Command, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    Service,
    /// The only one that may look like an option, as `-1` does.
    Count,
    Shell,
    Command,
}

/// An option, always long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) name: &'static str,
    pub(crate) takes: Takes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    Nothing,
    File,
    Service,
    /// Words that no shell can guess.
    Text,
}

const fn flag(name: &'static str) -> Choice {
    Choice { name, takes: Takes::Nothing }
}

const fn file(name: &'static str) -> Choice {
    Choice { name, takes: Takes::File }
}

const fn text(name: &'static str) -> Choice {
    Choice { name, takes: Takes::Text }
}

pub(crate) const ALL: Choice = flag("all");
pub(crate) const CAPACITY: Choice = text("capacity");
pub(crate) const COMPOSE: Choice = file("compose");
pub(crate) const CONFIG: Choice = file("config");
pub(crate) const DRY_RUN: Choice = flag("dry-run");
pub(crate) const FOLLOW: Choice = flag("follow");
pub(crate) const FOR: Choice = text("for");
pub(crate) const FROM: Choice = text("from");
pub(crate) const JSON: Choice = flag("json");
pub(crate) const LIVE: Choice = flag("live");
pub(crate) const LOAD: Choice = file("load");
pub(crate) const ONCE: Choice = flag("once");
pub(crate) const OUTPUT: Choice = file("output");
pub(crate) const REASON: Choice = text("reason");
pub(crate) const SERVICE: Choice = Choice { name: "service", takes: Takes::Service };
pub(crate) const SINCE: Choice = text("since");
pub(crate) const SOCKET: Choice = file("socket");
pub(crate) const START: Choice = text("start");
pub(crate) const START_UP: Choice = text("start-up");
pub(crate) const SVG: Choice = file("svg");
pub(crate) const UNTIL: Choice = text("until");
pub(crate) const WATCH: Choice = flag("watch");

const CHECK: Entry = Entry {
    name: "check",
    does: "validate the config file",
    operands: &[],
    options: &[CONFIG, JSON, LIVE],
    help: include_str!("../help/check.txt"),
    read: args::check,
};

const COMPLETIONS: Entry = Entry {
    name: "completions",
    does: "what a shell needs to complete commands",
    operands: &[Operand::Shell],
    options: &[],
    help: include_str!("../help/completions.txt"),
    read: args::completions,
};

const DOCTOR: Entry = Entry {
    name: "doctor",
    does: "whether this host has what the daemon needs",
    operands: &[],
    options: &[CONFIG, JSON],
    help: include_str!("../help/doctor.txt"),
    read: args::doctor,
};

const EVENTS: Entry = Entry {
    name: "events",
    does: "what happened",
    operands: &[],
    options: &[SERVICE, SINCE, FOLLOW, JSON, CONFIG, SOCKET],
    help: include_str!("../help/events.txt"),
    read: args::events,
};

const EXPLAIN: Entry = Entry {
    name: "explain",
    does: "the last decision, number by number",
    operands: &[Operand::Service],
    options: &[JSON, CONFIG, SOCKET],
    help: include_str!("../help/explain.txt"),
    read: args::explain,
};

const HEALTHCHECK: Entry = Entry {
    name: "healthcheck",
    does: "whether the daemon does its job",
    operands: &[],
    options: &[CONFIG, SOCKET],
    help: include_str!("../help/healthcheck.txt"),
    read: args::healthcheck,
};

const HELP: Entry = Entry {
    name: "help",
    does: "help, or more about one command",
    operands: &[Operand::Command],
    options: &[],
    help: include_str!("../help/all.txt"),
    read: args::help,
};

const INIT: Entry = Entry {
    name: "init",
    does: "write a config to begin with",
    operands: &[],
    options: &[COMPOSE, OUTPUT],
    help: include_str!("../help/init.txt"),
    read: args::init,
};

const PAUSE: Entry = Entry {
    name: "pause",
    does: "stop scaling",
    operands: &[Operand::Service],
    options: &[ALL, FOR, CONFIG, SOCKET],
    help: include_str!("../help/pause.txt"),
    read: args::pause,
};

const RELOAD: Entry = Entry {
    name: "reload",
    does: "have the daemon read its config again",
    operands: &[],
    options: &[CONFIG, SOCKET],
    help: include_str!("../help/reload.txt"),
    read: args::reload,
};

const RESTART: Entry = Entry {
    name: "restart",
    does: "replace every replica, one after the other",
    operands: &[Operand::Service],
    options: &[CONFIG, SOCKET],
    help: include_str!("../help/restart.txt"),
    read: args::restart,
};

const RESUME: Entry = Entry {
    name: "resume",
    does: "start scaling again",
    operands: &[Operand::Service],
    options: &[ALL, CONFIG, SOCKET],
    help: include_str!("../help/resume.txt"),
    read: args::resume,
};

const RUN: Entry = Entry {
    name: "run",
    does: "the daemon, in the foreground",
    operands: &[],
    options: &[CONFIG, DRY_RUN, ONCE],
    help: include_str!("../help/run.txt"),
    read: args::run,
};

const SCALE: Entry = Entry {
    name: "scale",
    does: "hold a number of replicas",
    operands: &[Operand::Service, Operand::Count],
    options: &[FOR, REASON, CONFIG, SOCKET],
    help: include_str!("../help/scale.txt"),
    read: args::scale,
};

const SCHEDULE: Entry = Entry {
    name: "schedule",
    does: "the coming changes of a service's bounds",
    operands: &[Operand::Service],
    options: &[FROM, UNTIL, JSON, CONFIG],
    help: include_str!("../help/schedule.txt"),
    read: args::schedule,
};

const SIMULATE: Entry = Entry {
    name: "simulate",
    does: "what it would do with a load",
    operands: &[],
    options: &[LOAD, SERVICE, START, START_UP, CAPACITY, JSON, SVG, CONFIG],
    help: include_str!("../help/simulate.txt"),
    read: args::simulate,
};

const STATUS: Entry = Entry {
    name: "status",
    does: "how every service stands",
    operands: &[Operand::Service],
    options: &[WATCH, JSON, CONFIG, SOCKET],
    help: include_str!("../help/status.txt"),
    read: args::status,
};

/// By name.
pub(crate) const COMMANDS: [&Entry; 17] = [
    &CHECK,
    &COMPLETIONS,
    &DOCTOR,
    &EVENTS,
    &EXPLAIN,
    &HEALTHCHECK,
    &HELP,
    &INIT,
    &PAUSE,
    &RELOAD,
    &RESTART,
    &RESUME,
    &RUN,
    &SCALE,
    &SCHEDULE,
    &SIMULATE,
    &STATUS,
];

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.into_iter().map(|entry| entry.name)
}

pub(crate) fn find(name: &str) -> Option<&'static Entry> {
    COMMANDS.into_iter().find(|entry| entry.name == name)
}
