//! Threads and lifetime: drives the controller on the real world.
//!
//! The thread of the event loop alone owns the controller. Every other thread sends to its inbox:
//! the executor (actions), the probes, the remote metrics, Docker's events, the signals.

mod event_loop;
mod event_recorder;
mod executor;
mod history_threads;
mod history_writer;
mod host;
mod inbox;
pub(crate) mod logger;
mod metric_threads;
mod notify;
mod once;
mod pool;
mod probe_threads;
mod process;
mod image_puller;
mod image_threads;
mod signals;
mod spawn;
mod weekly_reporter;
pub(crate) mod webhooks;

use std::path::{self, Path};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::Duration;

use crate::activator::SocketActivator;
use crate::activator::listeners::AddressKinds;
use crate::clock::SystemClock;
use crate::config::ConfigFile;
use crate::controller::tick::ControllerState;
use crate::controller::{Controller, LoopEvent, Settings};
pub(crate) use crate::daemon::event_loop::Options;
use crate::daemon::event_loop::{Components, EventLoop};
use crate::daemon::event_recorder::EventRecorder;
use crate::daemon::executor::Executor;
use crate::daemon::history_threads::HistoryThreads;
use crate::daemon::history_writer::HistoryWriter;
use crate::daemon::image_threads::ImageThreads;
use crate::daemon::inbox::Incoming;
use crate::daemon::metric_threads::MetricThreads;
use crate::daemon::notify::Notify;
use crate::daemon::probe_threads::ProbeThreads;
use crate::daemon::spawn::spawn;
use crate::daemon::webhooks::ReportEvent;
use crate::daemon::weekly_reporter::WeeklyReporter;
use crate::docker::event_stream::Follower;
use crate::docker::refusals::Refusals;
use crate::docker::{self, Docker};
use crate::haproxy::Haproxy;
use crate::model::command::{Answer, Command};
use crate::model::config::{Config, ProxyConfig, ProxyMode};
use crate::model::event::{Entry, Event, Kind};
use crate::model::service::ServiceName;
use crate::model::time::{Moment, Wall};
use crate::net::SystemNet;
use crate::outside::{Clock, Error, MetricsSink, Result};
use crate::preflight::folders;
use crate::preflight::lock::Locks;
use crate::report::prometheus;
use crate::report::status::StatusHistory;
use crate::report::telemetry::Telemetry;
use crate::serve::acme::AcmeServer;
use crate::serve::{ApiServer, EventRing, Sources, StatusCell};
use crate::store::events::{self, EventFile};
use crate::store::history_reader::HistoryReader;
use crate::store::{FileStore, Opened};

/// Messages that may wait; a sender blocks while the inbox is full.
const INBOX: usize = 1024;
/// In seconds.
const HOUR: i64 = 3600;
/// Between two tries to open Docker's stream of events.
const STREAM_RETRY: Duration = Duration::from_secs(1);

/// Runs until it is stopped. Errors: it could not start, or `--once` could not complete its tick.
pub(crate) fn run(config: Config, mut options: Options) -> Result<()> {
    let clock = Arc::new(SystemClock::new());
    folders::prepare(&config.fixed)?;
    let _locks = Locks::take(&config.fixed, &options.config_file.path)?;
    let opened = open_store(&config, &mut options, &*clock)?;
    let (sender, inbox) = mpsc::sync_channel(INBOX);
    signals::listen(sender.clone())?;
    let telemetry = Arc::new(Telemetry::new());
    let sink = metrics_sink(&telemetry);
    let engine = engine(&config, clock.clone(), sink.clone(), &sender);
    let proxy = Arc::new(Haproxy::new(&config.fixed.proxy, clock.clone(), engine.clone()));
    let activator = activator(&config, &proxy, clock.clone(), &sender)?;
    let stop = Arc::new(AtomicBool::new(false));
    listen_to_docker(&config, &options, &engine, clock.clone(), (stop.clone(), sender.clone()))?;
    let executor = Executor::new(engine.clone(), proxy.clone(), clock.clone(), &sender)?;
    let net = Arc::new(SystemNet::new());
    let probes = ProbeThreads::new(net.clone(), clock.clone(), sink.clone(), &sender)?;
    let metric_threads = MetricThreads::new(net, clock.clone(), &sender)?;
    let ring = Arc::new(EventRing::default());
    let state_dir = &config.fixed.state_dir;
    let (file, earlier) = EventFile::open(state_dir);
    let reader = HistoryReader::new(state_dir);
    let past = past(&config, &reader, &earlier, clock.wall());
    let (history_writer, history_threads) = history(&reader, state_dir, &engine, &sender)?;
    let report = report_event(&sender);
    let weekly_reporter = WeeklyReporter::new(state_dir, report.clone());
    let mut recorder = EventRecorder::new(file, earlier, telemetry.clone(), ring.clone(), report);
    record_start(&mut recorder, &config, &options, opened.damage);
    let status_cell = Arc::new(StatusCell::default());
    let sources = Sources {
        status_cell: status_cell.clone(),
        ask: Box::new(asker(sender.clone())),
        event_ring: ring,
        host: host::teller(engine.clone(), clock.clone()),
        metrics: metrics(telemetry.clone(), status_cell.clone(), clock.now()),
        history: Box::new(move |service, from, until| reader.read(service, from, until)),
    };
    // Kept to the end: dropped, it takes its sockets away.
    let api_server = (!options.once)
        .then(|| ApiServer::open(&config.fixed.api, clock.clone(), sources, sink))
        .transpose()?;
    let acme = acme_server(&config, options.once);
    let state = ControllerState::opened(opened.memory, opened.missing).with_past(past);
    let controller = Controller::new(config, settings(&options), state, clock.now());
    let components = Components {
        history_writer,
        history_threads,
        images: ImageThreads::new(engine.clone(), clock.clone(), &sender)?,
        notify: if options.once { Notify::default() } else { Notify::from_environment() },
        clock,
        engine,
        proxy,
        activator,
        store: opened.store,
        executor,
        probes,
        metrics: metric_threads,
        inbox,
        status_cell,
        recorder,
        weekly_reporter,
        telemetry,
        acme,
    };
    let mut event_loop = EventLoop::new(controller, options, components);
    let ended = event_loop.run();
    event_loop.end();
    drop(api_server);
    stop.store(true, Ordering::Relaxed);
    ended
}

fn asker(sender: SyncSender<Incoming>) -> impl Fn(Command) -> Answer + Send + Sync {
    move |command| inbox::ask(&sender, command)
}

/// Who writes the load history, and who reads it for forecasts.
fn history(
    reader: &HistoryReader,
    state_dir: &Path,
    engine: &Arc<Docker>,
    sender: &SyncSender<Incoming>,
) -> Result<(HistoryWriter, HistoryThreads)> {
    let threads = HistoryThreads::new(reader.clone(), sender)?;
    Ok((HistoryWriter::new(state_dir, engine.clone()), threads))
}

fn engine(
    config: &Config,
    clock: Arc<dyn Clock>,
    sink: MetricsSink,
    sender: &SyncSender<Incoming>,
) -> Arc<Docker> {
    let engine = Docker::new(&config.fixed.docker, clock);
    Arc::new(engine.reporting(sink, Refusals::new(report_event(sender))))
}

fn activator(
    config: &Config,
    proxy: &Haproxy,
    clock: Arc<dyn Clock>,
    sender: &SyncSender<Incoming>,
) -> Result<SocketActivator> {
    let ProxyConfig { socket, mode, base_config, .. } = &config.fixed.proxy;
    // HAProxy may have another root folder.
    let is_jailed = matches!(mode, ProxyMode::Systemd(_)) || base_config.is_some();
    let kinds = if is_jailed { AddressKinds::Both } else { AddressKinds::File };
    let sender = sender.clone();
    // Full means that a tick follows anyway.
    let wake = move || drop(sender.try_send(Incoming::Loop(LoopEvent::Connections)));
    SocketActivator::new(socket.clone(), proxy.account(), kinds, clock, Arc::new(wake))
}

/// Fails if the config file is gone: its services would go with it.
fn open_store(config: &Config, options: &mut Options, clock: &dyn Clock) -> Result<Opened> {
    let mut opened = FileStore::open(&config.fixed.state_dir, clock.now());
    let is_absent = options.config_file.is_absent();
    let memory = &mut opened.memory;
    if is_absent && memory.has_config_file && !memory.services.is_empty() {
        return Err(missing(&options.config_file));
    }
    memory.has_config_file = !is_absent;
    // If it is missing later, that is an error, too.
    options.config_file.is_named |= !is_absent;
    Ok(opened)
}

fn missing(file: &ConfigFile) -> Error {
    let path = file.path.display();
    Error::new(format!(
        "{path} does not exist, and the daemon ran with it before: restore it; or, if labels alone \
         are to configure services from now on, write {{\"services\": {{}}}} there; nothing was \
         started"
    ))
}

/// Without its socket the daemon goes on: only challenges are not answered.
fn acme_server(config: &Config, once: bool) -> AcmeServer {
    let mut acme = AcmeServer::new(&config.fixed.proxy.socket);
    let webroot = config.front_door.acme_webroot.as_deref().filter(|_| !once);
    if let Err(err) = acme.serve(webroot) {
        log::warn!("message={:?}", err.to_string());
    }
    acme
}

/// What is shown of the time before this start.
fn past(config: &Config, reader: &HistoryReader, events: &[Entry], now: Wall) -> StatusHistory {
    let mut past = StatusHistory::default();
    for name in config.services.keys().map(ServiceName::as_str) {
        past.remember(name, &reader.read(name, Wall(now.0 - HOUR), now));
    }
    events::changes(events).into_iter().for_each(|(name, change)| past.changed(&name, change));
    past
}

/// `damage`: why the state file was set aside.
fn record_start(
    recorder: &mut EventRecorder,
    config: &Config,
    options: &Options,
    damage: Option<String>,
) {
    recorder.watch(&config.notifications);
    let damage = damage.map(|why| Event::new(Kind::StateDamaged, why));
    let events = [started(config, options)].into_iter().chain(damage);
    events.for_each(|event| recorder.record(&event));
}

fn started(config: &Config, options: &Options) -> Event {
    let version = env!("CARGO_PKG_VERSION");
    let message = match options.config_file.is_absent() {
        true => format!("plimsoll {version}, no config file: labels configure services"),
        false => {
            let file = options.config_file.path.display();
            format!("plimsoll {version}, config {file}, {}", config.counted())
        }
    };
    Event::new(Kind::DaemonStarted, message)
}

fn settings(options: &Options) -> Settings {
    // The reader may have another working directory.
    let file = &options.config_file.path;
    let file = path::absolute(file).unwrap_or_else(|_| file.clone());
    Settings {
        config_file: (!options.config_file.is_absent()).then(|| file.display().to_string()),
        is_dry_run: options.dry_run,
        probes_healthy: true,
    }
}

/// What a webhook reports. While the inbox is full it is lost.
fn report_event(sender: &SyncSender<Incoming>) -> ReportEvent {
    let sender = sender.clone();
    Arc::new(move |event| drop(sender.try_send(Incoming::Report(event))))
}

fn metrics_sink(telemetry: &Arc<Telemetry>) -> MetricsSink {
    let telemetry = telemetry.clone();
    Arc::new(move |what| telemetry.count(what))
}

/// What Prometheus reads, made when it does.
fn metrics(
    telemetry: Arc<Telemetry>,
    status_cell: Arc<StatusCell>,
    started: Moment,
) -> Box<dyn Fn() -> String + Send + Sync> {
    Box::new(move || {
        let status = status_cell.read();
        prometheus::text(&telemetry, status.as_deref(), &process::read(started))
    })
}

fn listen_to_docker(
    config: &Config,
    options: &Options,
    engine: &Docker,
    clock: Arc<dyn Clock>,
    (stop, sender): (Arc<AtomicBool>, SyncSender<Incoming>),
) -> Result<()> {
    if options.once {
        return Ok(());
    }
    let host = config.fixed.docker.host.clone();
    let (journal, refusals) = (engine.journal(), engine.refusals());
    let listen = move || {
        // Full means that a tick follows anyway.
        let wake = || drop(sender.try_send(Incoming::Loop(LoopEvent::Docker)));
        while !stop.load(Ordering::Relaxed) {
            docker::event_stream::follow(&Follower {
                host: &host,
                refusals: &refusals,
                journal: &journal,
                clock: &*clock,
                stop: &stop,
                wake: &wake,
            });
            thread::park_timeout(STREAM_RETRY);
        }
    };
    spawn("events", listen)
}
