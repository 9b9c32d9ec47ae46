//! The table of all commands. Parsing, help and the shells' completions read it.

use crate::cli::args::cli_command::CliCommand;
use crate::cli::args::options::{
    ALL, CAPACITY, COMPOSE, CONFIG, CSV, DRY_RUN, FOLLOW, FOR, FORECAST, FROM, HISTORY_SPAN, JSON,
    LABELS, LIVE, LOAD, ONCE, OUTPUT, Operand, OptionSpec, REASON, SERVICE, SINCE, SLO, SOCKET,
    START, START_UP, SVG, TEST, UNTIL, VERBOSE, WATCH,
};
use crate::cli::args::raw_args::RawArgs;
use crate::cli::args::readers;
use crate::model::units;

pub(crate) struct CommandSpec {
    pub(crate) name: &'static str,
    /// For the shells' completions.
    pub(crate) summary: &'static str,
    /// In their order.
    pub(crate) operands: &'static [Operand],
    pub(crate) options: &'static [OptionSpec],
    pub(crate) help: &'static str,
    pub(crate) read: fn(RawArgs) -> Result<CliCommand, String>,
}

const ADVISE: CommandSpec = CommandSpec {
    name: "advise",
    summary: "propose settings from the recorded load",
    operands: &[Operand::Service],
    options: &[SINCE, SLO, START_UP, JSON, CONFIG],
    help: include_str!("../help/advise.txt"),
    read: readers::advise,
};

const CHECK: CommandSpec = CommandSpec {
    name: "check",
    summary: "validate the config file",
    operands: &[],
    options: &[CONFIG, COMPOSE, JSON, LIVE],
    help: include_str!("../help/check.txt"),
    read: readers::check,
};

const COMPLETIONS: CommandSpec = CommandSpec {
    name: "completions",
    summary: "print a completion script for a shell",
    operands: &[Operand::Shell],
    options: &[],
    help: include_str!("../help/completions.txt"),
    read: readers::completions,
};

const DOCTOR: CommandSpec = CommandSpec {
    name: "doctor",
    summary: "check that this host has what the daemon needs",
    operands: &[],
    options: &[CONFIG, JSON],
    help: include_str!("../help/doctor.txt"),
    read: readers::doctor,
};

const EVENTS: CommandSpec = CommandSpec {
    name: "events",
    summary: "print events",
    operands: &[],
    options: &[SERVICE, SINCE, FOLLOW, JSON, CONFIG, SOCKET],
    help: include_str!("../help/events.txt"),
    read: readers::events,
};

const EXPLAIN: CommandSpec = CommandSpec {
    name: "explain",
    summary: "explain the last decision, number by number",
    operands: &[Operand::Service],
    options: &[JSON, CONFIG, SOCKET],
    help: include_str!("../help/explain.txt"),
    read: readers::explain,
};

const HEALTHCHECK: CommandSpec = CommandSpec {
    name: "healthcheck",
    summary: "check that the daemon is ready",
    operands: &[],
    options: &[VERBOSE, CONFIG, SOCKET],
    help: include_str!("../help/healthcheck.txt"),
    read: readers::healthcheck,
};

const HELP: CommandSpec = CommandSpec {
    name: "help",
    summary: "print help, also about one command",
    operands: &[Operand::Command],
    options: &[],
    help: include_str!("../help/all.txt"),
    read: readers::help,
};

const HISTORY: CommandSpec = CommandSpec {
    name: "history",
    summary: "print the load history of a service",
    operands: &[Operand::Service],
    options: &[SINCE, CSV, JSON, SVG, CONFIG],
    help: include_str!("../help/history.txt"),
    read: readers::history,
};

const INIT: CommandSpec = CommandSpec {
    name: "init",
    summary: "write a starting config",
    operands: &[],
    options: &[COMPOSE, LABELS, OUTPUT],
    help: include_str!("../help/init.txt"),
    read: readers::init,
};

const NOTIFY: CommandSpec = CommandSpec {
    name: "notify",
    summary: "send a test message to every webhook",
    operands: &[],
    options: &[TEST, JSON, CONFIG],
    help: include_str!("../help/notify.txt"),
    read: readers::notify,
};

const PAUSE: CommandSpec = CommandSpec {
    name: "pause",
    summary: "stop scaling",
    operands: &[Operand::Service],
    options: &[ALL, FOR, CONFIG, SOCKET],
    help: include_str!("../help/pause.txt"),
    read: readers::pause,
};

const RELOAD: CommandSpec = CommandSpec {
    name: "reload",
    summary: "make the daemon read its config again",
    operands: &[],
    options: &[CONFIG, SOCKET],
    help: include_str!("../help/reload.txt"),
    read: readers::reload,
};

const REPORT: CommandSpec = CommandSpec {
    name: "report",
    summary: "print what a week cost and served",
    operands: &[],
    options: &[SINCE, JSON, CONFIG],
    help: include_str!("../help/report.txt"),
    read: readers::report,
};

const RESTART: CommandSpec = CommandSpec {
    name: "restart",
    summary: "replace every replica without lost requests",
    operands: &[Operand::Service],
    options: &[CONFIG, SOCKET],
    help: include_str!("../help/restart.txt"),
    read: readers::restart,
};

const RESUME: CommandSpec = CommandSpec {
    name: "resume",
    summary: "start scaling again",
    operands: &[Operand::Service],
    options: &[ALL, CONFIG, SOCKET],
    help: include_str!("../help/resume.txt"),
    read: readers::resume,
};

const RUN: CommandSpec = CommandSpec {
    name: "run",
    summary: "run the daemon in the foreground",
    operands: &[],
    options: &[CONFIG, DRY_RUN, ONCE],
    help: include_str!("../help/run.txt"),
    read: readers::run,
};

const SCALE: CommandSpec = CommandSpec {
    name: "scale",
    summary: "hold a number of replicas",
    operands: &[Operand::Service, Operand::Count],
    options: &[FOR, REASON, CONFIG, SOCKET],
    help: include_str!("../help/scale.txt"),
    read: readers::scale,
};

const ROUTES: CommandSpec = CommandSpec {
    name: "routes",
    summary: "print which requests go to which service",
    operands: &[Operand::Url],
    options: &[JSON, CONFIG],
    help: include_str!("../help/routes.txt"),
    read: readers::routes,
};

const SCHEDULE: CommandSpec = CommandSpec {
    name: "schedule",
    summary: "print future changes of a service's bounds",
    operands: &[Operand::Service],
    options: &[FROM, UNTIL, JSON, CONFIG],
    help: include_str!("../help/schedule.txt"),
    read: readers::schedule,
};

const SERVICES: CommandSpec = CommandSpec {
    name: "services",
    summary: "print each service and where its settings come from",
    operands: &[],
    options: &[JSON, CONFIG, SOCKET],
    help: include_str!("../help/services.txt"),
    read: readers::services,
};

const SIMULATE: CommandSpec = CommandSpec {
    name: "simulate",
    summary: "replay a load trace, or the recorded load, without Docker",
    operands: &[],
    options: &[LOAD, HISTORY_SPAN, SERVICE, START, START_UP, CAPACITY, FORECAST, JSON, SVG, CONFIG],
    help: include_str!("../help/simulate.txt"),
    read: readers::simulate,
};

const STATUS: CommandSpec = CommandSpec {
    name: "status",
    summary: "print the state of every service",
    operands: &[Operand::Service],
    options: &[WATCH, JSON, CONFIG, SOCKET],
    help: include_str!("../help/status.txt"),
    read: readers::status,
};

/// By name.
pub(crate) const COMMANDS: [&CommandSpec; 23] = [
    &ADVISE,
    &CHECK,
    &COMPLETIONS,
    &DOCTOR,
    &EVENTS,
    &EXPLAIN,
    &HEALTHCHECK,
    &HELP,
    &HISTORY,
    &INIT,
    &NOTIFY,
    &PAUSE,
    &RELOAD,
    &REPORT,
    &RESTART,
    &RESUME,
    &ROUTES,
    &RUN,
    &SCALE,
    &SCHEDULE,
    &SERVICES,
    &SIMULATE,
    &STATUS,
];

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.into_iter().map(|spec| spec.name)
}

pub(crate) fn find(name: &str) -> Result<&'static CommandSpec, String> {
    COMMANDS.into_iter().find(|spec| spec.name == name).ok_or_else(|| {
        let hint = units::did_you_mean(units::nearest(name, names(), 1));
        format!("unknown command `{name}`{hint}")
    })
}
