//! `autoscaler`: settings of the daemon itself.

use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use crate::config::cursor::{Node, Section};
use crate::config::hours::{self, Fallback};
use crate::config::values::path;
use crate::model::config::{LogFormat, ReportSchedule};
use crate::model::service::Percent;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) struct Autoscaler {
    pub(crate) check_interval: Duration,
    pub(crate) log_level: LevelFilter,
    pub(crate) log_format: LogFormat,
    pub(crate) state_dir: PathBuf,
    pub(crate) dry_run: bool,
    pub(crate) memory_reserve: Percent,
    pub(crate) cpu_reserve: Percent,
    pub(crate) remove_orphans: bool,
    pub(crate) history: Duration,
    pub(crate) report: ReportSchedule,
    pub(crate) labels: bool,
    /// Default of services without `business_hours`.
    pub(crate) business_hours: Fallback,
}

pub(crate) fn autoscaler(section: Option<Section>) -> Autoscaler {
    let mut out = Autoscaler {
        check_interval: Duration::from_secs(15),
        log_level: LevelFilter::Info,
        log_format: LogFormat::Text,
        state_dir: PathBuf::from("/var/lib/plimsoll"),
        dry_run: false,
        memory_reserve: Percent::from_hundredths(5_00),
        cpu_reserve: Percent::from_hundredths(5_00),
        remove_orphans: false,
        history: 90 * DAY,
        report: ReportSchedule::Off,
        labels: true,
        business_hours: Fallback::None,
    };
    let Some(section) = section else { return out };
    let interval = section.get("check_interval");
    let interval = interval.and_then(|n| n.duration(SECOND..=Duration::from_secs(3600)));
    out.check_interval = interval.unwrap_or(out.check_interval);
    out.log_level = section.get("log_level").and_then(|n| level(&n)).unwrap_or(out.log_level);
    let format = section.get("log_format").and_then(|n| n.word("text, json or journal", format));
    out.log_format = format.unwrap_or(out.log_format);
    out.state_dir = path(section.get("state_dir")).unwrap_or(out.state_dir);
    let flag = |key| section.get(key).and_then(|n: Node| n.boolean()).unwrap_or(false);
    out.dry_run = flag("dry_run");
    out.remove_orphans = flag("remove_orphans");
    let history = section.get("history").and_then(|n| n.duration(Duration::ZERO..=3650 * DAY));
    out.history = history.unwrap_or(out.history);
    if !out.history.is_zero() && out.history < DAY {
        let why = "keeps less than a day (a number without a unit is in seconds): for 90 days \
            write \"90d\"";
        section.unused("history", why);
    }
    let report = section.get("report").and_then(|n| n.word("off or weekly", report));
    out.report = report.unwrap_or(out.report);
    if out.report == ReportSchedule::Weekly && out.history.is_zero() {
        section.unused("report", "has no effect with `history` 0: a report is made of it");
    }
    let labels = section.get("labels").and_then(|n| n.boolean());
    out.labels = labels.unwrap_or(out.labels);
    let reserve = section.get("memory_reserve");
    let reserve = reserve.and_then(|n| n.hundredths(0..=90_00, " in percent"));
    out.memory_reserve = reserve.map_or(out.memory_reserve, Percent::from_hundredths);
    let reserve = section.get("cpu_reserve");
    let reserve = reserve.and_then(|n| n.hundredths(0..=50_00, " in percent"));
    out.cpu_reserve = reserve.map_or(out.cpu_reserve, Percent::from_hundredths);
    if let Some(node) = section.get("business_hours") {
        out.business_hours = hours::business_hours(&node).map_or(Fallback::Bad, Fallback::Window);
    }
    section.retired("backup", "use the systemd timer in contrib for backups");
    section.done();
    out
}

fn level(node: &Node) -> Option<LevelFilter> {
    let read = |word: &str| word.parse().ok().filter(|l| *l != LevelFilter::Off);
    node.word("error, warn, info, debug or trace", read)
}

fn report(word: &str) -> Option<ReportSchedule> {
    match word {
        "off" => Some(ReportSchedule::Off),
        "weekly" => Some(ReportSchedule::Weekly),
        _ => None,
    }
}

fn format(word: &str) -> Option<LogFormat> {
    match word {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        "journal" => Some(LogFormat::Journal),
        _ => None,
    }
}
