//! Whether everything that the daemon needs of this host is there and lets it in. Needs no daemon,
//! changes nothing, and begins nothing that is not gone again.

pub(crate) mod folders;
pub(crate) mod live;
pub(crate) mod lock;
mod places;
mod programs;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};

use crate::clock::SystemClock;
use crate::config::Loaded;
use crate::docker::Docker;
use crate::haproxy::Haproxy;
use crate::model::config::{Config, ProxyMode};
use crate::model::replica::{Container, ContainerState};
use crate::net::SystemNet;
use crate::outside::{Clock, Engine, Net};
use crate::preflight::live::Found;
use crate::unix;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) check: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) message: String,
    pub(crate) remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Good,
    /// The daemon can do its job, or most of it.
    Warning,
    Fails,
}

impl Verdict {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Verdict::Good => "ok",
            Verdict::Warning => "warning",
            Verdict::Fails => "fails",
        }
    }
}

impl Finding {
    fn good(check: &'static str, message: impl Into<String>) -> Finding {
        Finding { check, verdict: Verdict::Good, message: message.into(), remedy: None }
    }

    fn warning(check: &'static str, message: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Warning, ..Finding::good(check, message) }
    }

    fn fails(check: &'static str, message: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Fails, ..Finding::good(check, message) }
    }

    fn remedy(self, remedy: impl Into<String>) -> Finding {
        Finding { remedy: Some(remedy.into()), ..self }
    }
}

/// This long may one that is asked take.
const ANSWER: Duration = Duration::from_secs(2);
/// No clock of a host that works says less: 2025 in seconds.
const LEAST_TIME: i64 = 1_735_689_600;

/// `loaded` is the config file; what it does not tell is looked at by `config`.
pub(crate) fn examine(loaded: &Loaded, config: &Config) -> Vec<Finding> {
    let clock = Arc::new(SystemClock::new());
    let mut found = vec![file(loaded)];
    found.extend(loaded.secret_files.iter().filter_map(|path| places::secret(path)));
    found.push(time(&*clock));
    let engine = Arc::new(Docker::new(&config.fixed.docker, clock.clone()));
    let listed = engine.list(&config.adopted(), &BTreeSet::new());
    match &listed {
        Ok(_) => found.push(Finding::good("docker", docker_words(config, &engine))),
        Err(err) => found.push(
            Finding::fails("docker", err.to_string())
                .remedy("start Docker, or run this as root or as a member of group docker"),
        ),
    }
    if listed.is_ok() {
        found.extend(changes(config, &engine));
        found.extend(images(config, &engine));
        found.extend(containers(config, &engine));
        found.extend(swarm(config, &engine));
        let containers = listed.unwrap_or_default().containers;
        found.extend(unchecked(config, &containers));
        found.push(reach(config, &containers));
    }
    found.extend(balancer(config, &clock, engine));
    found.extend(places::folders(&config.fixed, &*clock));
    found.extend(doors(config));
    found
}

fn file(loaded: &Loaded) -> Finding {
    let errors = loaded.problems.iter().filter(|problem| !problem.is_warning).count();
    let warnings = loaded.problems.len() - errors;
    let Some(config) = &loaded.config else {
        let first = loaded.problems.iter().find(|problem| !problem.is_warning);
        let first = first.map(ToString::to_string).unwrap_or_default();
        let more = if 1 < errors { format!(", and {} more", errors - 1) } else { String::new() };
        return Finding::fails("config", format!("{first}{more}"))
            .remedy("`plimsoll check` tells all of it, `plimsoll init` writes one to begin with");
    };
    if config.services.is_empty() {
        return Finding::warning("config", "no services: there is nothing to do")
            .remedy("`plimsoll init` writes some, from what runs or from a compose file");
    }
    match warnings {
        0 => Finding::good("config", config.counted()),
        n => Finding::warning("config", format!("{}, warnings: {n}", config.counted()))
            .remedy("`plimsoll check` tells them"),
    }
}

fn time(clock: &dyn Clock) -> Finding {
    let now = clock.wall();
    let shown = DateTime::from_timestamp(now.0, 0).unwrap_or_default();
    let shown = shown.to_rfc3339_opts(SecondsFormat::Secs, true);
    if now.0 < LEAST_TIME {
        return Finding::fails("clock", format!("it is {shown} by the clock of this host"))
            .remedy("set it (`timedatectl set-ntp true`): schedules go by it");
    }
    Finding::good("clock", format!("{shown}; time zones of {}", chrono_tz::IANA_TZDB_VERSION))
}

fn docker_words(config: &Config, engine: &Docker) -> String {
    let socket = config.fixed.docker.socket.display();
    match engine.api_version() {
        Ok(version) => format!("answers on {socket}, API {version}"),
        Err(err) => err.to_string(),
    }
}

/// Docker may be reached and all the same not be told to start anything.
fn changes(config: &Config, engine: &Docker) -> Vec<Finding> {
    let denied = live::changes(config, engine);
    if denied.is_empty() && !config.services.is_empty() {
        return vec![Finding::good("docker.changes", "allowed")];
    }
    let fails = |what| Finding::fails("docker.changes", what).remedy(live::CHANGES_REMEDY);
    denied.into_iter().map(fails).collect()
}

/// What containers are to be made with, and is not there or as the config says.
fn containers(config: &Config, engine: &Docker) -> Vec<Finding> {
    let networks = live::networks(config, engine).into_iter().map(|what| {
        Finding::fails("networks", what).remedy("make it, or take it out of the config")
    });
    let sources = live::sources(config, engine).into_iter().map(|what| {
        Finding::warning("volumes", what).remedy("make it, with the owner that the image needs")
    });
    let ports = live::ports(config, engine).into_iter().map(|what| {
        Finding::warning("ports", what).remedy("`port` is the one inside of the container")
    });
    networks.chain(sources).chain(ports).collect()
}

fn images(config: &Config, engine: &Docker) -> Vec<Finding> {
    let absent = |message| {
        Finding::warning("images", message).remedy("pull it now: a first start would wait for it")
    };
    let absent: Vec<Finding> = live::images(config, engine).into_iter().map(absent).collect();
    if absent.is_empty() && !config.services.is_empty() {
        return vec![Finding::good("images", "there")];
    }
    absent
}

fn swarm(config: &Config, engine: &Docker) -> Vec<Finding> {
    let of = config.of_swarm().len();
    let told = live::swarm(config, engine);
    if told.is_empty() && 0 < of {
        let message = format!("leads, and has what the config names: {of}");
        return vec![Finding::good("swarm", message)];
    }
    let finding = |found: Found| {
        if found.is_warning {
            return Finding::warning("swarm", found.message)
                .remedy("run plimsoll on the leader too: `docker node ls` shows it");
        }
        Finding::fails("swarm", found.message)
            .remedy("`docker node ls` and `docker service ls` on a manager show what there is")
    };
    told.into_iter().map(finding).collect()
}

/// Docker's word on their health is an old one.
fn unchecked(config: &Config, listed: &[Container]) -> Vec<Finding> {
    let one = |container: &Container| {
        let service = config.service_of(container)?;
        let seconds = container.unchecked_s(service)?;
        let name = service.replica_name(container.number);
        let message = format!("{name}: Docker has not run its image's check for {seconds}s");
        let remedy = "`docker restart` it: dockerd began anew and runs no check of it any more";
        Some(Finding::warning("health", message).remedy(remedy))
    };
    listed.iter().filter_map(one).collect()
}

/// Replicas that run are asked where HAProxy would ask them.
fn reach(config: &Config, listed: &[Container]) -> Finding {
    let net = SystemNet::new();
    let (mut reached, mut lost) = (0, Vec::new());
    for container in listed.iter().filter(|c| c.state == ContainerState::Running) {
        let Some(service) = config.service_of(container) else { continue };
        let Some(address) = container.socket(service) else { continue };
        let name = service.replica_name(container.number);
        match net.connect(address, ANSWER) {
            Ok(()) => reached += 1,
            Err(err) => lost.push(format!("{name}: {err}")),
        }
    }
    match (reached, lost.as_slice()) {
        (0, []) => Finding::good("replicas", "none run"),
        (_, []) => Finding::good("replicas", format!("reached from here: {reached}")),
        (_, [first, ..]) => {
            let all = reached + lost.len();
            Finding::warning("replicas", format!("{} of {all} not reached: {first}", lost.len()))
                .remedy(
                    "is `port` what they listen on? plimsoll and HAProxy have to be on Docker's \
                     host, or in the network of the replicas",
                )
        }
    }
}

/// HAProxy as it is run here.
fn balancer(config: &Config, clock: &Arc<SystemClock>, engine: Arc<Docker>) -> Vec<Finding> {
    let proxy = &config.fixed.proxy;
    let mut found = match proxy.mode {
        ProxyMode::Process | ProxyMode::Systemd(_) => vec![programs::haproxy(proxy, &**clock)],
        // Its program is in there.
        ProxyMode::Container(_) => Vec::new(),
        ProxyMode::None => {
            return vec![Finding::good("haproxy", "there is to be none (load_balancer.mode)")];
        }
    };
    if matches!(proxy.mode, ProxyMode::Process) {
        let answers = unix::connect(&config.fixed.api.socket, ANSWER).is_ok();
        let daemon = lock::holder(&config.fixed).filter(|_| answers);
        found.extend(programs::groups(daemon));
    }
    if found.iter().all(|finding| finding.verdict != Verdict::Fails) {
        found.extend(rehearsal(config, clock, engine));
    }
    found
}

/// What would be written goes through HAProxy's own check; ports are opened for a moment.
fn rehearsal(config: &Config, clock: &Arc<SystemClock>, engine: Arc<Docker>) -> Vec<Finding> {
    let proxy = Haproxy::new(&config.fixed.proxy, clock.clone(), engine);
    let refused = live::refused(config, &proxy);
    if refused.is_empty() {
        return vec![Finding::good(
            "frontends",
            "HAProxy takes its config, ports are free or ours",
        )];
    }
    let finding = |message| {
        Finding::fails("frontends", message)
            .remedy("`ss -ltnp` tells who has a port; below 1024 a port needs root")
    };
    refused.into_iter().map(finding).collect()
}

/// Where the daemon is asked.
fn doors(config: &Config) -> Vec<Finding> {
    let api = &config.fixed.api;
    let answers = unix::connect(&api.socket, ANSWER).is_ok();
    let socket = api.socket.display();
    let mut found = vec![if answers {
        Finding::good("daemon", format!("runs, and answers on {socket}"))
    } else {
        Finding::good("daemon", format!("none answers on {socket}"))
    }];
    let Some(listen) = api.listen else { return found };
    if !listen.ip().is_loopback() && api.token.is_none() {
        let words = format!("whoever reaches {listen} may read all, also from other hosts");
        found.push(
            Finding::warning("api.token", words)
                .remedy("set api.token and api.protect_reads, or listen on 127.0.0.1"),
        );
    }
    match TcpListener::bind(listen) {
        Ok(_) => found.push(Finding::good("api.listen", format!("{listen} is free"))),
        Err(_) if answers => found.push(Finding::good("api.listen", format!("{listen} is used"))),
        Err(err) => found.push(
            Finding::fails("api.listen", format!("cannot listen on {listen}: {err}"))
                .remedy("`ss -ltnp` tells who has it; give api.listen another, or null for none"),
        ),
    }
    found
}
