//! `plimsoll simulate --history`: the recorded load of a service through today's config and another
//! one.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::args::cli_command::SimulateArgs;
use crate::cli::effective;
use crate::cli::output::{announce, complain};
use crate::cli::replay_options::{ReplicaOptions, SimulateError, basis, service};
use crate::cli::stored_history::StoredHistory;
use crate::clock::SystemClock;
use crate::config::ConfigFile;
use crate::model::config::Config;
use crate::model::load_history::MinuteRow;
use crate::model::metric::Source;
use crate::model::service::Service;
use crate::model::time::Wall;
use crate::outside::Clock;
use crate::serve::client as api;
use crate::sim::comparison::{Comparison, RecordedRun, SimulatedRun};
use crate::sim::forecast_effect::{ForecastEffect, LEARNED};
use crate::sim::recorded_load::{LoadLimits, RecordedLoad, later_than_others, with_loads};
use crate::sim::replay::{Replay, replay};
use crate::sim::timeline;
use crate::sim::trace::Trace;
use crate::sim::workload::LoadMetric;

/// For the daemon's answer: without it, the default config is today's.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// A limit of one core, which percent of CPU are of where there is no limit.
const ONE_CORE: u64 = 1_000_000_000;
/// Beyond what the forecast learns from, so that there is something to judge.
const HOUR: Duration = Duration::from_secs(3600);

/// A config, and the service that is simulated in it.
struct ComparedConfig {
    name: String,
    file: PathBuf,
    config: Config,
    service: Arc<Service>,
    basis: LoadMetric,
    /// What a simulation by this metric leaves out.
    note: Option<String>,
}

/// Gives also what must not happen and did: bugs of ours.
pub(crate) fn compared(
    asked: &SimulateArgs,
    span: Duration,
    default: &ConfigFile,
) -> Result<(Comparison, Vec<String>), SimulateError> {
    let options = ReplicaOptions::of(asked)?;
    let (today, other) = candidates(asked, default)?;
    let rows = rows(&today, span)?;
    let all: Vec<&ComparedConfig> = std::iter::once(&today).chain(&other).collect();
    let notes: BTreeSet<String> = all.iter().flat_map(|one| one.notes()).collect();
    notes.iter().for_each(|note| complain(note));
    let limits = today.limits(&options);
    // Each alone first, so that a message is about the one that is missing.
    for one in &all {
        one.recorded(&rows, limits)?;
        one.later_than_others(&rows);
    }
    announce(&format!("simulating {}", today.service.name));
    let bases: Vec<&LoadMetric> = all.iter().map(|one| &one.basis).collect();
    let rows = with_loads(rows, &bases);
    let load = RecordedLoad::new(&rows, &today.basis, limits).map_err(|_| {
        let names: Vec<String> = bases.iter().map(|basis| basis.source.to_string()).collect();
        format!("{} are never recorded in the same minute", names.join(" and "))
    })?;
    let mut violations = Vec::new();
    let mut simulate = |one: &ComparedConfig| {
        let trace = trace(&rows, &load, limits, &today, one)?;
        simulated(one, &trace, &load, &options, &mut violations)
    };
    let first = simulate(&today)?;
    let others = other.iter().map(simulate).collect::<Result<Vec<_>, _>>()?;
    let metric = today.basis.source.to_string();
    let recorded =
        RecordedRun::new(&rows, &metric, &load, &first.timeline, &today.service.timetable);
    Ok((Comparison { load, asked: span, recorded, first, others }, violations))
}

/// The config that was asked for, without and with the forecast.
pub(crate) fn forecast(
    asked: &SimulateArgs,
    span: Duration,
    default: &ConfigFile,
) -> Result<ForecastEffect, SimulateError> {
    if span <= LEARNED {
        let message = "--history needs more than 14d with --forecast, for example 28d: the first \
                       14 are the history of the forecast, and what comes after them is judged";
        return Err(SimulateError::Usage(message.to_owned()));
    }
    let options = ReplicaOptions::of(asked)?;
    let (today, other) = candidates(asked, default)?;
    let rows = rows(&today, span)?;
    let one = other.as_ref().unwrap_or(&today);
    one.notes().for_each(|note| complain(&note));
    let limits = today.limits(&options);
    let load = one.recorded(&rows, limits)?;
    one.later_than_others(&rows);
    let recorded = load.trace.span();
    if recorded <= LEARNED {
        return Err(SimulateError::Failed(format!(
            "{}: the recorded load goes back {}; the first 14d are the history of the forecast, \
             and what comes after them is judged: come back in {}",
            one.service.name,
            timeline::span(recorded),
            timeline::span(LEARNED.saturating_sub(recorded) + HOUR)
        )));
    }
    announce(&format!("simulating {}", one.service.name));
    let trace = load.trace.times(factor(&today, one)?);
    let replay = of_load(one, &trace, &load, &options);
    Ok(ForecastEffect::of(&replay, &load.gaps)?)
}

/// Today's, and the one that was asked for if it is another.
fn candidates(
    asked: &SimulateArgs,
    default: &ConfigFile,
) -> Result<(ComparedConfig, Option<ComparedConfig>), SimulateError> {
    let given = effective::config(&asked.config)?;
    let (file, config) = today(&asked.config, &given, default)?;
    let is_other = asked.config.path != default.path && asked.config.path != file;
    let name = asked.service.as_deref();
    if !is_other {
        let service = service(name, &config)?;
        return Ok((ComparedConfig::new("today", file, config, service), None));
    }
    let asked_for = service(name, &given)?;
    let now = service(Some(asked_for.name.as_str()), &config).map_err(|_| {
        let name = &asked_for.name;
        let (new, old) = (asked.config.path.display(), file.display());
        format!(
            "{new} has a service `{name}` and today's config, {old}, has none; both must have it"
        )
    })?;
    let is_same = asked_for == now
        && given.check_interval == config.check_interval
        && given.fixed.proxy.mode == config.fixed.proxy.mode;
    let today = ComparedConfig::new("today", file, config, now);
    if is_same {
        complain(&format!(
            "{} has the same settings for {} as today's config, {}",
            asked.config.path.display(),
            today.service.name,
            today.file.display()
        ));
        return Ok((today, None));
    }
    let path = asked.config.path.clone();
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok((today, Some(ComparedConfig::new(&name, path, given, asked_for))))
}

impl ComparedConfig {
    fn limits(&self, options: &ReplicaOptions) -> LoadLimits<'_> {
        LoadLimits {
            timetable: &self.service.timetable,
            capacity: options.capacity(&self.basis, &self.service),
        }
    }

    /// The load by its metric.
    fn recorded(&self, rows: &[MinuteRow], limits: LoadLimits) -> Result<RecordedLoad, String> {
        let trace = match self.basis.is_shared() {
            true => "",
            false => ", or give a trace with --load F.csv",
        };
        RecordedLoad::new(rows, &self.basis, limits)
            .map_err(|why| format!("{}: {why}{trace}", self.service.name))
    }

    /// Says so if its metric is not recorded for as long as others.
    fn later_than_others(&self, rows: &[MinuteRow]) {
        let later = later_than_others(rows, &self.basis);
        later.iter().for_each(|later| complain(&format!("{}: {later}", self.service.name)));
    }

    fn new(name: &str, file: PathBuf, config: Config, service: Arc<Service>) -> ComparedConfig {
        let (basis, note) = basis(&service, LoadMetric::replayable(&service));
        ComparedConfig { name: name.to_owned(), file, config, service, basis, note }
    }

    fn notes(&self) -> impl Iterator<Item = String> {
        let memory = (self.basis.source == Source::Memory).then(|| {
            format!(
                "{}: the memory is replayed as if replicas shared all of it; what each replica \
                 uses by itself is not known",
                self.service.name
            )
        });
        self.note.clone().into_iter().chain(memory)
    }
}

/// The file and the config that the daemon of the given config's state folder uses. Where none
/// answers: the default one if it is of the same folder, else the given one.
fn today(
    file: &ConfigFile,
    given: &Config,
    default: &ConfigFile,
) -> Result<(PathBuf, Config), ExitCode> {
    let running = running(given, default);
    let is_alone = running.is_none();
    let absent = is_alone && default.is_absent();
    let file_of_today = running.unwrap_or_else(|| default.clone());
    if !absent && file_of_today.path != file.path {
        let config = effective::config(&file_of_today)?;
        if config.fixed.state_dir == given.fixed.state_dir {
            return Ok((file_of_today.path, config));
        }
    }
    if is_alone && file.path != default.path {
        let why = if absent { "does not exist" } else { "has another state_dir" };
        complain(&format!(
            "no daemon answers on {}, and {} {why}: {} stands for today's config; name today's in \
             the environment, PLIMSOLL_CONFIG=FILE, to compare the two",
            given.fixed.api.socket.display(),
            default.path.display(),
            file.path.display()
        ));
    }
    Ok((file.path.clone(), given.clone()))
}

/// The file of the daemon that answers.
fn running(given: &Config, default: &ConfigFile) -> Option<ConfigFile> {
    let socket = &given.fixed.api.socket;
    let (_, status) = api::send_within(socket, "GET", "/status", None, ANSWER_TIMEOUT).ok()?;
    let path = PathBuf::from(status["config"].as_str()?);
    // One that the daemon was given relative to its own folder is not known here.
    let file = ConfigFile { is_named: path != default.path || default.is_named, path };
    file.path.is_absolute().then_some(file)
}

fn rows(today: &ComparedConfig, span: Duration) -> Result<Vec<MinuteRow>, String> {
    let until = Wall(SystemClock::new().wall().0.div_euclid(60) * 60);
    let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    let from = Wall(until.0.saturating_sub(seconds));
    StoredHistory::of(&today.config)?.rows(today.service.name.as_str(), (from, until))
}

/// The load in the unit of this config's metric.
fn trace(
    rows: &[MinuteRow],
    load: &RecordedLoad,
    limits: LoadLimits,
    today: &ComparedConfig,
    one: &ComparedConfig,
) -> Result<Trace, String> {
    let of_metric = if one.basis.source == today.basis.source {
        None
    } else {
        Some(RecordedLoad::new(rows, &one.basis, limits)?.trace)
    };
    Ok(of_metric.as_ref().unwrap_or(&load.trace).times(factor(today, one)?))
}

/// What a load of today's replicas is in the unit of this config's.
fn factor(today: &ComparedConfig, one: &ComparedConfig) -> Result<f64, String> {
    let (now, then) = (&today.service.container, &one.service.container);
    let factor = match one.basis.source {
        // The history is in percent of the limit that replicas had.
        Source::Cpu => share(now.nano_cpus.or(Some(ONE_CORE)), then.nano_cpus.or(Some(ONE_CORE))),
        Source::Memory => share(now.memory, then.memory),
        Source::Haproxy(_) | Source::Http { .. } | Source::Prometheus { .. } => Some(1.0),
    };
    factor.ok_or_else(|| {
        format!(
            "{}: the recorded load is in percent of another memory limit, and one of the configs \
             sets none; set `memory` in both",
            one.service.name
        )
    })
}

/// What one of the first limit is in terms of the second.
fn share(now: Option<u64>, then: Option<u64>) -> Option<f64> {
    match (now, then) {
        (Some(now), Some(then)) => Some(now as f64 / (then as f64).max(1.0)),
        (now, then) => (now == then).then_some(1.0),
    }
}

fn of_load<'a>(
    one: &'a ComparedConfig,
    trace: &'a Trace,
    load: &RecordedLoad,
    options: &ReplicaOptions,
) -> Replay<'a> {
    Replay {
        config: &one.config,
        service: one.service.clone(),
        basis: &one.basis,
        trace,
        start: load.start,
        start_up: options.start_up,
        capacity: options.capacity(&one.basis, &one.service),
    }
}

fn simulated(
    one: &ComparedConfig,
    trace: &Trace,
    load: &RecordedLoad,
    options: &ReplicaOptions,
    violations: &mut Vec<String>,
) -> Result<SimulatedRun, String> {
    let replayed = replay(&of_load(one, trace, load, options))?;
    violations.extend(replayed.violations);
    let mut timeline = replayed.timeline;
    timeline.gaps.clone_from(&load.gaps);
    Ok(SimulatedRun {
        name: one.name.clone(),
        file: one.file.display().to_string(),
        metric: one.basis.source.to_string(),
        timeline,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::time::Duration;

    use crate::cli::what_if::share;
    use crate::config;
    use crate::model::load_history::{MinuteLoad, MinuteRow};
    use crate::model::metric::Milli;
    use crate::model::time::Wall;
    use crate::sim::comparison::RecordedRun;
    use crate::sim::recorded_load::{LoadLimits, RecordedLoad};
    use crate::sim::replay::{Replay, replay};
    use crate::sim::timeline::{Point, Timeline};
    use crate::sim::trace::Trace;
    use crate::sim::workload::LoadMetric;
    use crate::store::history_reader::HistoryReader;
    use crate::store::load_history::HistoryFiles;

    const START: i64 = 1_795_824_000;
    const LOOKS: u64 = 8 * 240;

    /// A row for each minute of the evaluations in it.
    fn minutes(timeline: &Timeline, metric: &str, target: Milli) -> Vec<MinuteRow> {
        let mut minutes: BTreeMap<u64, Vec<Point>> = BTreeMap::new();
        for point in timeline.points.iter().filter(|point| point.is_look) {
            minutes.entry(point.at.as_secs() / 60).or_default().push(*point);
        }
        let row = |(minute, points): (u64, Vec<Point>)| {
            let last = points[points.len() - 1];
            let milli = |load: f64| Milli((load * 1000.0) as u64);
            let sum: f64 = points.iter().map(|point| point.value).sum();
            let highest = points.iter().map(|point| point.value).fold(0.0, f64::max);
            let at = Wall(timeline.start.0 + 60 * i64::try_from(minute).unwrap());
            let average = Some(milli(sum / points.len() as f64));
            let highest = Some(milli(highest));
            let load =
                MinuteLoad { metric: metric.to_owned(), target, average, highest, forecast: None };
            MinuteRow::loaded(at, (last.ready, last.desired), load)
        };
        minutes.into_iter().map(row).collect()
    }

    /// Eight hours of a wave with noise: up to 9 times `unit`, another value at each evaluation.
    fn noisy(unit: f64) -> Trace {
        let mut noise = 7_u64;
        let mut row = |look: u64| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let noise = (noise >> 40) as f64 / (1 << 24) as f64;
            let wave = 1.0 - (look as f64 / LOOKS as f64 * 12.0).cos();
            (Duration::from_secs(15 * look), unit * (0.5 + 3.6 * wave) * (0.8 + 0.4 * noise))
        };
        Trace::of_rows((0..=LOOKS).map(&mut row).collect()).unwrap()
    }

    /// A simulation that was written as history and read back is close to itself.
    #[track_caller]
    fn check(name: &str, metric: &str, scaling: &str, unit: f64) {
        let text = format!(
            r#"{{ "services": {{ "web": {{ "image": "a:1", "port": 80, "min_replicas": 1,
                 "max_replicas": 12, {scaling} }} }} }}"#
        );
        let loaded = config::parse("made up", &text);
        let config = loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.problems));
        let service = config.services.values().next().unwrap().clone();
        let basis = LoadMetric::replayable(&service).unwrap();
        let run = |trace: &Trace| {
            let replayed = replay(&Replay {
                config: &config,
                service: service.clone(),
                basis: &basis,
                trace,
                start: Wall(START),
                start_up: Duration::from_secs(5),
                capacity: None,
            });
            replayed.unwrap().timeline
        };
        let lived = run(&noisy(unit));

        let folder = std::env::temp_dir().join(format!("plimsoll-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir(&folder).unwrap();
        let mut files = HistoryFiles::new(&folder);
        for row in minutes(&lived, metric, basis.target) {
            files.append("web", &row).unwrap();
        }
        let rows = HistoryReader::new(&folder).read("web", Wall(START), Wall(START + 86_400));
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(rows.len(), 8 * 60);

        let limits = LoadLimits { timetable: &service.timetable, capacity: None };
        let load = RecordedLoad::new(&rows, &basis, limits).unwrap();
        let again = run(&load.trace);
        let recorded = RecordedRun::new(&rows, metric, &load, &again, &service.timetable);
        let hours = |timeline: &Timeline| timeline.summary().replica_hours;
        let truth = hours(&lived);
        assert!(lived.summary().up > 5, "{:?}", lived.summary());
        for (what, got) in [("replayed", hours(&again)), ("recorded", hours(&recorded.timeline))] {
            assert!((got / truth - 1.0).abs() < 0.05, "{name} {what}: {got} and {truth} in truth");
        }
        let above = |timeline: &Timeline| timeline.summary().above_percent(timeline.end);
        let difference = (above(&again) - above(&lived)).abs();
        assert!(difference < 4.0, "{name}: {} and {} in truth", above(&again), above(&lived));
    }

    #[test]
    fn a_recorded_simulation_replays_to_itself() {
        let band = r#""scale_up_threshold": 70, "scale_down_threshold": 40,
            "cooldown_period": { "up": 15, "down": "2m" }"#;
        check("band", "cpu", band, 70.0);
        let sessions = r#""metrics": [{ "source": "haproxy", "field": "response_time_ms",
            "target": 100 }, { "source": "haproxy", "field": "sessions", "target": 20 }]"#;
        check("sessions", "haproxy sessions", sessions, 20.0);
    }

    #[test]
    fn a_load_in_percent_of_a_limit_is_one_of_another_limit_too() {
        assert_eq!(share(Some(500), Some(1000)), Some(0.5));
        assert_eq!(share(Some(1000), Some(500)), Some(2.0));
        assert_eq!((share(None, None), share(Some(1), None), share(None, Some(1))), {
            (Some(1.0), None, None)
        });
    }
}
