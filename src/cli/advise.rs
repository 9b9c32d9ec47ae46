//! `plimsoll advise`: settings from the recorded load. Reads files only.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::advise::advice::{AdviceInput, NoAdvice, advise as advice_of};
use crate::advise::brief::SLO;
use crate::advise::document::document;
use crate::advise::effort::Effort;
use crate::advise::screen::{Trial, screen};
use crate::cli::args::cli_command::{AdviseArgs, SinceArg};
use crate::cli::output::{USAGE, announce, complain, show};
use crate::cli::replay_options::start_up;
use crate::cli::stored_history::StoredHistory;
use crate::cli::{check, effective, host_zone};
use crate::clock::SystemClock;
use crate::config;
use crate::model::config::Config;
use crate::model::service::Service;
use crate::model::time::Wall;
use crate::model::units;
use crate::outside::Clock;
use crate::sim::replay::START_UP;

/// Hundredths of a percent.
const SLO_MIN: u64 = 50_00;
const SLO_MAX: u64 = 100_00;
const SINCE_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
const SINCE_MIN: Duration = Duration::from_secs(2 * 24 * 3600);
/// Seconds.
const HOUR: u64 = 3600;

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
    let slo = args.slo.as_deref().map_or(Ok(SLO), slo).map_err(usage)?;
    let start_up = args.start_up.as_deref().map(start_up).transpose().map_err(usage)?;
    let AdvisedService { config, service, is_by_labels } = found(args)?;
    let failed = |message: String| {
        complain(&message);
        ExitCode::FAILURE
    };
    let stored = StoredHistory::of(&config).map_err(failed)?;
    let rows = stored.rows(&args.service, (from, Wall(now.0.saturating_add(1)))).map_err(failed)?;
    announce(&format!("searching for the settings of {}", args.service));
    let input = AdviceInput {
        config: &config,
        service: &service,
        rows: &rows,
        slo,
        start_up: start_up.unwrap_or(START_UP),
        zone: &host_zone::for_schedules(&config, &service),
        effort: Effort::full(&|| true),
    };
    let advice = advice_of(&input).map_err(|why| match why {
        NoAdvice::Missing(message) => failed(message),
        NoAdvice::BrokenOff => {
            failed("bug in plimsoll (please report): the search broke off".to_owned())
        }
    })?;
    if args.json {
        return show(&format!("{:#}\n", document(&advice, is_by_labels)));
    }
    show(&screen(
        &advice,
        &Trial {
            since: &history_span(args, now),
            start_up: args.start_up.as_deref(),
            config: (args.config != args.default).then_some(&*args.config.path),
            is_by_labels,
        },
    ))
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

/// As `simulate --history` takes it, which knows no timestamps.
fn history_span(args: &AdviseArgs, now: Wall) -> String {
    match &args.since {
        SinceArg::Ago(_) => args.since_text.clone(),
        SinceArg::At(at) => {
            let seconds = u64::try_from(now.0.saturating_sub(at.timestamp())).unwrap_or(0);
            units::show(Duration::from_secs(seconds.div_ceil(HOUR) * HOUR))
        }
    }
}

fn slo(text: &str) -> Result<f64, String> {
    let number = units::decimal(text.strip_suffix('%').unwrap_or(text), 2);
    number
        .filter(|slo| SLO_MIN < *slo && *slo <= SLO_MAX)
        .map(|slo| slo as f64 / 100.0)
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
    let of = |config: &Config| config.service(&args.service).cloned();
    if let Some(service) = of(&config) {
        return Ok(AdvisedService { config, service, is_by_labels: false });
    }
    let (config, unread) = effective::with_labels(&args.config, config);
    match of(&config) {
        Some(service) => Ok(AdvisedService { config, service, is_by_labels: true }),
        None => {
            let known = config.services.keys().map(|name| name.as_str());
            let mut message = units::no_service(&args.service, known);
            if let Some(why) = unread {
                message += &format!("; {why}");
            }
            complain(&message);
            Err(ExitCode::FAILURE)
        }
    }
}
