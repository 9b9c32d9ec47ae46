//! `plimsoll advise`: settings from the recorded load. Reads files only.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

use crate::advise::advice::{AdviceInput, advise as advice_of};
use crate::advise::document::document;
use crate::advise::screen::{Trial, screen};
use crate::cli::args::cli_command::AdviseArgs;
use crate::cli::output::{USAGE, complain, show};
use crate::cli::replay_options::{START_UP_DEFAULT, start_up};
use crate::cli::{check, effective};
use crate::clock::SystemClock;
use crate::config;
use crate::model::config::Config;
use crate::model::load_history::MinuteRow;
use crate::model::service::Service;
use crate::model::time::Wall;
use crate::model::units;
use crate::model::zone::Zone;
use crate::outside::Clock;
use crate::store::history_reader::HistoryReader;
use crate::store::left_out::LeftOut;

/// Hundredths of a percent.
const SLO_DEFAULT: u64 = 99_50;
const SLO_MIN: u64 = 50_00;
const SLO_MAX: u64 = 100_00;
const SINCE_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
const SINCE_MIN: Duration = Duration::from_secs(2 * 24 * 3600);
/// Where the zone of this host's clock is linked to.
const LOCAL_TIME: &str = "/etc/localtime";
const ZONE_FOLDER: &str = "zoneinfo/";

pub(crate) fn advise(args: &AdviseArgs) -> ExitCode {
    run(args).err().unwrap_or(ExitCode::SUCCESS)
}

fn run(args: &AdviseArgs) -> Result<(), ExitCode> {
    let now = SystemClock::new().wall();
    let usage = |message: String| {
        complain(&format!("{message}; see `plimsoll help advise`"));
        ExitCode::from(USAGE)
    };
    let from = since(args, now).map_err(usage)?;
    let slo = args.slo.as_deref().map_or(Ok(SLO_DEFAULT), slo).map_err(usage)?;
    let start_up = args.start_up.as_deref().map(start_up).transpose().map_err(usage)?;
    let AdvisedService { config, service, is_by_labels } = found(args)?;
    let failed = |message: String| {
        complain(&message);
        ExitCode::FAILURE
    };
    let rows = rows(&config, &service, from, now).map_err(failed)?;
    let input = AdviceInput {
        config: &config,
        service: &service,
        rows: &rows,
        slo: slo as f64 / 100.0,
        start_up: start_up.unwrap_or(START_UP_DEFAULT),
        zone: &zone(&config, &service),
    };
    let advice = advice_of(&input).map_err(failed)?;
    if args.json {
        return show(&format!("{:#}\n", document(&advice, is_by_labels)));
    }
    show(&screen(&advice, &Trial { since: &args.since_text, is_by_labels }))
}

fn since(args: &AdviseArgs, now: Wall) -> Result<Wall, String> {
    let from = args.since.instant(now).timestamp();
    let ago = Duration::from_secs(u64::try_from(now.0.saturating_sub(from)).unwrap_or(0));
    if !(SINCE_MIN..=SINCE_MAX).contains(&ago) {
        let text = &args.since_text;
        return Err(format!("`--since {text}` is not between 2d and 90d before now; write 14d"));
    }
    Ok(Wall(from))
}

fn slo(text: &str) -> Result<u64, String> {
    let number = units::decimal(text.strip_suffix('%').unwrap_or(text), 2);
    number
        .filter(|slo| SLO_MIN < *slo && *slo <= SLO_MAX)
        .ok_or_else(|| format!("`--slo {text}` is no percentage above 50, at most 100; write 99.5"))
}

struct AdvisedService {
    config: Config,
    service: Arc<Service>,
    is_by_labels: bool,
}

/// In the config file; Docker is asked for labels only about a service that is not there.
fn found(args: &AdviseArgs) -> Result<AdvisedService, ExitCode> {
    let loaded = config::load_or_default(&args.config);
    let Some(config) = loaded.config else {
        return Err(check::refuse(&args.config.path, &loaded.problems, ""));
    };
    let of = |config: &Config| {
        config.services.values().find(|s| s.name.as_str() == args.service).cloned()
    };
    if let Some(service) = of(&config) {
        return Ok(AdvisedService { config, service, is_by_labels: false });
    }
    let config = effective::config(&args.config)?;
    match of(&config) {
        Some(service) => Ok(AdvisedService { config, service, is_by_labels: true }),
        None => {
            let known = config.services.keys().map(|name| name.as_str());
            complain(&units::no_service(&args.service, known));
            Err(ExitCode::FAILURE)
        }
    }
}

fn rows(
    config: &Config,
    service: &Service,
    from: Wall,
    now: Wall,
) -> Result<Vec<MinuteRow>, String> {
    let state_dir = &config.fixed.state_dir;
    let name = service.name.as_str();
    let mut left_out = LeftOut::default();
    let reader = HistoryReader::new(state_dir);
    let days = reader.days(name, from, Wall(now.0.saturating_add(1)));
    let rows: Vec<MinuteRow> = days.flat_map(|day| left_out.rows(day)).collect();
    left_out.notes().iter().for_each(|note| complain(note));
    if !rows.is_empty() {
        return Ok(rows);
    }
    let folder = state_dir.join("history");
    let place = folder.display();
    let why = match fs::read_dir(&folder) {
        Err(err) => format!(
            "{place}: {err}; run this as root or as the daemon's account, with the daemon's config"
        ),
        Ok(_) if config.history.is_zero() => {
            "autoscaler.history is 0, which turns it off; set it to 90d".to_owned()
        }
        Ok(_) => {
            format!("{place} has no row of it; the daemon writes one each minute that it runs")
        }
    };
    Err(format!("no load of {name} is recorded since {from}: {why}"))
}

/// Where people think of the service: by its own windows, else the daemon's, else this host's.
fn zone(config: &Config, service: &Service) -> Zone {
    let timetable = &service.timetable;
    if timetable.hours.is_some() || !timetable.schedules.is_empty() {
        return timetable.zone();
    }
    let of_hours = config.business_hours.as_ref().map(|window| window.zone.clone());
    of_hours.or_else(host_zone).unwrap_or(Zone::UTC)
}

fn host_zone() -> Option<Zone> {
    let named = env::var("TZ").ok().and_then(|name| Zone::find(name.trim_start_matches(':')));
    named.or_else(|| {
        let target = fs::read_link(LOCAL_TIME).ok()?;
        let (_, name) = target.to_str()?.split_once(ZONE_FOLDER)?;
        Zone::find(name)
    })
}
