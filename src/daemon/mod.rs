//! Threads and lifetime: wires the real world to `tick` and keeps it turning.
//!
//! `tick` alone owns what is remembered. Every other thread sends to its inbox: the crew (actions),
//! the probes, the remote metrics, Docker's events, the signals.

mod crew;
pub(crate) mod doctor;
pub(crate) mod folders;
mod gauges;
mod herald;
mod hooks;
mod host;
mod inbox;
mod life;
pub(crate) mod live;
mod lock;
pub(crate) mod logger;
mod notify;
mod pace;
mod pool;
mod probes;
mod process;
mod pulls;
mod signals;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::clock::SystemClock;
use crate::daemon::crew::WorkerCrew;
use crate::daemon::gauges::Gauges;
use crate::daemon::herald::Herald;
use crate::daemon::inbox::Event as Incoming;
use crate::daemon::life::{Life, Parts};
use crate::daemon::lock::Locks;
use crate::daemon::notify::Notify;
use crate::daemon::probes::Probes;
use crate::docker::events::Follower;
use crate::docker::journal::Journal;
use crate::docker::{self, Docker};
use crate::haproxy::Haproxy;
use crate::model::config::Config;
use crate::model::event::{Event, Kind};
use crate::model::time::Moment;
use crate::net::SystemNet;
use crate::outside::{Clock, Error, Result, Tally};
use crate::report::prometheus;
use crate::report::telemetry::Telemetry;
use crate::serve::{Annals, Board, Front, Sources};
use crate::store::FileStore;
use crate::tick::Mind;

pub(crate) struct Options {
    pub(crate) config_file: PathBuf,
    pub(crate) once: bool,
    /// Given on the command line: it outlives a reload of the config.
    pub(crate) dry_run: bool,
}

/// As many messages may wait for a turn; a sender beyond waits itself.
const INBOX: usize = 1024;
/// Between two tries to open Docker's stream of events.
const STREAM_RETRY: Duration = Duration::from_secs(1);

/// Until told to stop. An error: it could not start, or `--once` could not do its one turn.
pub(crate) fn run(config: Config, options: Options) -> Result<()> {
    let clock = Arc::new(SystemClock::new());
    folders::prepare(&config.fixed)?;
    let _locks = Locks::take(&config.fixed, &options.config_file)?;
    let opened = FileStore::open(&config.fixed.state_dir, clock.now());
    let (sender, inbox) = mpsc::sync_channel(INBOX);
    signals::listen(sender.clone())?;
    let telemetry = Arc::new(Telemetry::new());
    let tally = tally(&telemetry);
    let engine = Docker::new(&config.fixed.docker, clock.clone()).telling(tally.clone());
    let engine = Arc::new(engine);
    let proxy = Arc::new(Haproxy::new(&config.fixed.proxy, clock.clone(), engine.clone()));
    let stop = Arc::new(AtomicBool::new(false));
    if !options.once {
        let journal = engine.journal();
        listen_to_docker(&config, journal, clock.clone(), stop.clone(), sender.clone())?;
    }
    let asking = sender.clone();
    let crew = WorkerCrew::new(engine.clone(), proxy.clone(), clock.clone(), sender.clone())?;
    let net = Arc::new(SystemNet::new());
    let probes = Probes::new(net.clone(), clock.clone(), tally.clone(), sender.clone());
    let gauges = Gauges::new(net, clock.clone(), sender)?;
    let message = format!(
        "plimsoll {}, config {}, {}",
        env!("CARGO_PKG_VERSION"),
        options.config_file.display(),
        config.counted()
    );
    let annals = Arc::new(Annals::default());
    let mut herald = Herald::new(&config.fixed.state_dir, telemetry.clone(), annals.clone());
    herald.watch(&config.notifications);
    herald.tell(&Event::new(Kind::DaemonStarted, message));
    let damage = opened.damage.map(|why| Event::new(Kind::StateDamaged, why));
    damage.iter().for_each(|event| herald.tell(event));
    let board = Arc::new(Board::default());
    let sources = Sources {
        board: board.clone(),
        ask: Box::new(move |command| inbox::ask(&asking, command)),
        annals,
        host: host::teller(engine.clone(), clock.clone()),
        metrics: metrics(telemetry.clone(), board.clone(), clock.now()),
    };
    // Kept to the end: dropped, it takes its sockets away.
    let front = (!options.once)
        .then(|| Front::open(&config.fixed.api, clock.clone(), sources, tally))
        .transpose()?;
    let store = opened.store;
    let notify = if options.once { Notify::default() } else { Notify::from_environment() };
    let parts = Parts {
        clock,
        engine,
        proxy,
        store,
        crew,
        probes,
        gauges,
        inbox,
        board,
        notify,
        herald,
        telemetry,
    };
    let mind = Mind::opened(opened.memory, opened.missing);
    let mut life = Life::new(config, options, parts, mind);
    let ended = life.run();
    life.end();
    drop(front);
    stop.store(true, Ordering::Relaxed);
    ended
}

fn tally(telemetry: &Arc<Telemetry>) -> Tally {
    let telemetry = telemetry.clone();
    Arc::new(move |what| telemetry.count(what))
}

/// What Prometheus reads, made when it does.
fn metrics(
    telemetry: Arc<Telemetry>,
    board: Arc<Board>,
    started: Moment,
) -> Box<dyn Fn() -> String + Send + Sync> {
    Box::new(move || {
        let status = board.read();
        prometheus::text(&telemetry, status.as_deref(), &process::read(started))
    })
}

fn listen_to_docker(
    config: &Config,
    journal: Arc<Mutex<Journal>>,
    clock: Arc<dyn Clock>,
    stop: Arc<AtomicBool>,
    sender: SyncSender<Incoming>,
) -> Result<()> {
    let socket = config.fixed.docker.socket.clone();
    let of_all = !config.adopted().is_empty();
    let listen = move || {
        // Full means that a turn is due anyway.
        let wake = || drop(sender.try_send(Incoming::Docker));
        while !stop.load(Ordering::Relaxed) {
            let (journal, clock) = (&*journal, &*clock);
            let follower =
                Follower { socket: &socket, of_all, journal, clock, stop: &stop, wake: &wake };
            docker::events::follow(&follower);
            thread::park_timeout(STREAM_RETRY);
        }
    };
    spawn("events", listen)
}

/// Named, so that a debugger and `/proc` tell who is who.
fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = thread::Builder::new().name(name.to_owned()).stack_size(512 << 10).spawn(body);
    thread.map(drop).map_err(|err| Error::caused(format!("cannot start thread {name}"), err))
}
