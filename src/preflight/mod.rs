//! Preflight checks: whether this host has what the daemon needs, and the daemon has the
//! permissions. Needs no running daemon and leaves nothing behind.

pub(crate) mod folders;
pub(crate) mod live;
pub(crate) mod lock;
mod docker_access;
mod places;
mod programs;
mod registries;
mod version;
#[cfg(test)]
mod tests;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::SystemClock;
use crate::config::Loaded;
use crate::config::labels::Resolution;
use crate::docker::Docker;
use crate::haproxy::{Haproxy, certificate_files};
use crate::model::config::{Config, ProxyMode};
use crate::model::docker_host::DockerHost;
use crate::model::replica::{Container, ContainerState};
use crate::model::time::Wall;
use crate::model::units::plural;
use crate::model::zone::Zone;
use crate::net::SystemNet;
use crate::outside::{Clock, Net};
use crate::preflight::docker_access::{Access, DockerProblem};
use crate::preflight::live::HostProblem;
use crate::preflight::registries::LoginProblem;
use crate::unix;

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) check: &'static str,
    pub(crate) verdict: Severity,
    pub(crate) message: String,
    pub(crate) remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    Good,
    /// The daemon can run, perhaps with restrictions.
    Warning,
    Fails,
}

impl Severity {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Severity::Good => "ok",
            Severity::Warning => "warning",
            Severity::Fails => "fails",
        }
    }
}

impl Finding {
    fn good(check: &'static str, message: impl Into<String>) -> Finding {
        Finding { check, verdict: Severity::Good, message: message.into(), remedy: None }
    }

    fn warning(check: &'static str, message: impl Into<String>) -> Finding {
        Finding { verdict: Severity::Warning, ..Finding::good(check, message) }
    }

    fn fails(check: &'static str, message: impl Into<String>) -> Finding {
        Finding { verdict: Severity::Fails, ..Finding::good(check, message) }
    }

    fn remedy(self, remedy: impl Into<String>) -> Finding {
        Finding { remedy: Some(remedy.into()), ..self }
    }
}

/// Timeout of a connection.
const ANSWER: Duration = Duration::from_secs(2);
const CERTIFICATE: &str = "correct the file, or `certificates` of the frontend";
/// ACME clients renew earlier.
const RENEWAL_DAYS: i64 = 21;
/// The start of 2025, in seconds since 1970. An earlier clock is wrong.
const LEAST_TIME: i64 = 1_735_689_600;

/// Runs all checks. `loaded` is the config file, `is_absent`: there is none; `config` is what is
/// certain of it: without it, nothing is known of Docker, HAProxy, folders and ports that it may
/// name.
pub(crate) fn examine(loaded: &Loaded, is_absent: bool, config: Option<&Config>) -> Vec<Finding> {
    let clock = Arc::new(SystemClock::new());
    let none = "there is no config file: labels of docker compose's containers configure services";
    let mut found = vec![if is_absent { Finding::good("config", none) } else { file(loaded) }];
    found.extend(loaded.secret_files.iter().filter_map(|path| places::secret(path)));
    found.push(time(&*clock));
    match config {
        Some(config) => found.extend(examine_host(config, &clock)),
        None => found.push(
            Finding::warning("host", "Docker, HAProxy, folders and ports were not checked")
                .remedy("correct the config first: it says which they are"),
        ),
    }
    found
}

fn examine_host(config: &Config, clock: &Arc<SystemClock>) -> Vec<Finding> {
    let mut found = Vec::new();
    let engine = Arc::new(Docker::new(&config.fixed.docker, clock.clone()));
    let docker = Access::try_all(config, &engine);
    let Resolution { config, verdicts, .. } = &docker.resolution;
    match &docker.listed {
        Err(err) if !docker.answers() => {
            found.push(Finding::fails("docker", err.to_string()).remedy(unreachable_remedy(config)))
        }
        Ok(_) | Err(_) => found.push(Finding::good("docker", docker_words(config, &engine))),
    }
    for problem in verdicts.iter().flat_map(|verdict| &verdict.errors) {
        let remedy = "correct the label in the compose file, then `docker compose up -d`";
        found.push(Finding::fails("labels", problem).remedy(remedy));
    }
    if docker.answers() {
        found.extend(of_docker(config, &engine, &docker));
    }
    found.extend(balancer(config, clock, engine));
    found.extend(certificates(config, clock.wall()));
    found.extend(places::folders(&config.fixed, &**clock));
    found.extend(doors(config));
    found
}

/// Of the shared frontends.
fn certificates(config: &Config, now: Wall) -> Vec<Finding> {
    let seen = certificate_files::found(&config.front_door, now);
    if seen.is_empty() {
        return Vec::new();
    }
    let rejected = seen.iter().filter_map(|seen| seen.rejected.clone());
    let mut found: Vec<Finding> =
        rejected.map(|why| Finding::fails("certificates", why).remedy(CERTIFICATE)).collect();
    let good = || seen.iter().filter_map(|seen| Some((seen, seen.served.as_ref()?)));
    if let Some((first, facts)) = good().min_by_key(|(_, facts)| facts.not_after) {
        let days = facts.days_left(now);
        let source = first.source.display();
        let count = plural(u32::try_from(good().count()).unwrap_or(u32::MAX), "certificate");
        let message = format!("{count}, the first ends in {days} days: {source}");
        found.push(match days {
            ..=RENEWAL_DAYS => Finding::warning("certificates", message)
                .remedy("renew it: see why your ACME client has not"),
            _ => Finding::good("certificates", message),
        });
    }
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
            .remedy("`plimsoll check` lists all problems; `plimsoll init` writes a first config");
    };
    if config.services.is_empty() && !config.labels {
        return Finding::warning("config", "no services are configured")
            .remedy("`plimsoll init` writes services from running containers or a compose file");
    }
    match warnings {
        0 => Finding::good("config", config.counted()),
        n => Finding::warning("config", format!("{}, warnings: {n}", config.counted()))
            .remedy("`plimsoll check` lists them"),
    }
}

fn time(clock: &dyn Clock) -> Finding {
    let now = clock.wall();
    if now.0 < LEAST_TIME {
        return Finding::fails("clock", format!("the clock of this host shows {now}"))
            .remedy("set it (`timedatectl set-ntp true`): schedules depend on it");
    }
    Finding::good("clock", format!("{now}; time zones of {}", Zone::database_version()))
}

fn of_docker(config: &Config, engine: &Docker, docker: &Access) -> Vec<Finding> {
    let mut found = calls(config, docker);
    let elsewhere = docker_access::elsewhere(config, engine).filter(|_| docker.may("info"));
    found.extend(elsewhere.map(|DockerProblem { message, remedy, .. }| {
        Finding::warning("docker.host", message).remedy(remedy)
    }));
    if docker.may("image") {
        found.extend(images(config, engine));
    }
    found.extend(logins(config, engine));
    found.extend(containers(config, engine, docker));
    if docker.may_swarm() {
        found.extend(swarm(config, engine));
    }
    if let Ok(listing) = &docker.listed {
        found.extend(unchecked(config, &listing.containers));
        found.push(reach(config, &listing.containers));
    }
    found
}

fn docker_words(config: &Config, engine: &Docker) -> String {
    let docker = &config.fixed.docker;
    let named = if docker.is_from_environment { " (from $DOCKER_HOST)" } else { "" };
    match engine.api_version() {
        Ok(version) => format!("answers on {}{named}, API {version}", docker.host),
        Err(err) => err.to_string(),
    }
}

fn unreachable_remedy(config: &Config) -> &'static str {
    match config.fixed.docker.host {
        DockerHost::Unix(_) => "start Docker, or run this as root or as a member of group docker",
        DockerHost::Tcp(_) => {
            "start Docker or the proxy in front of it, or correct docker.socket or $DOCKER_HOST"
        }
    }
}

/// Whether Docker is reached by each call: a proxy may allow reading only.
fn calls(config: &Config, docker: &Access) -> Vec<Finding> {
    if docker.refused.is_empty() && !config.services.is_empty() {
        return vec![Finding::good("docker.calls", "all that are needed are allowed")];
    }
    let finding = |refused: &DockerProblem| {
        let message = refused.message.clone();
        let finding = match refused.is_warning {
            true => Finding::warning("docker.calls", message),
            false => Finding::fails("docker.calls", message),
        };
        finding.remedy(refused.remedy.clone())
    };
    docker.refused.iter().map(finding).collect()
}

/// Networks, volumes and ports that containers need.
fn containers(config: &Config, engine: &Docker, docker: &Access) -> Vec<Finding> {
    let told = |op, told: fn(&Config, &Docker) -> Vec<String>| {
        if docker.may(op) { told(config, engine) } else { Vec::new() }
    };
    let networks = told("network", live::networks).into_iter().map(|what| {
        Finding::fails("networks", what).remedy("create it, or remove it from the config")
    });
    let sources = told("info", live::sources).into_iter().map(|what| {
        Finding::warning("volumes", what).remedy("create it, with the owner that the image needs")
    });
    let ports = told("image", live::ports).into_iter().map(|what| {
        Finding::warning("ports", what)
            .remedy("set `port` to the port that the app listens on in its container")
    });
    networks.chain(sources).chain(ports).collect()
}

fn images(config: &Config, engine: &Docker) -> Vec<Finding> {
    let absent = |message| {
        Finding::warning("images", message)
            .remedy("pull it now, or the first start waits for the download")
    };
    let absent: Vec<Finding> = live::images(config, engine).into_iter().map(absent).collect();
    if absent.is_empty() && !config.services.is_empty() {
        return vec![Finding::good("images", "all are on this host")];
    }
    absent
}

/// The credentials for registries.
fn logins(config: &Config, engine: &Docker) -> Vec<Finding> {
    const CHECK: &str = "docker.config";
    let report = registries::examine(config, engine);
    let problem = |problem: LoginProblem| {
        let remedy = problem.remedy();
        let finding = match problem.is_warning {
            true => Finding::warning(CHECK, problem.message),
            false => Finding::fails(CHECK, problem.message),
        };
        finding.remedy(remedy)
    };
    let good = report.good.into_iter().map(|words| Finding::good(CHECK, words));
    let open = report.file.and_then(|file| places::secret(&file));
    good.chain(report.problems.into_iter().map(problem)).chain(open).collect()
}

fn swarm(config: &Config, engine: &Docker) -> Vec<Finding> {
    let of = config.of_swarm().len();
    let told = live::swarm(config, engine);
    if told.is_empty() && 0 < of {
        let message = format!("this node is the leader; services found: {of}");
        return vec![Finding::good("swarm", message)];
    }
    let finding = |found: HostProblem| {
        if found.is_warning {
            return Finding::warning("swarm", found.message)
                .remedy("run plimsoll on the leader too; `docker node ls` shows it");
        }
        Finding::fails("swarm", found.message)
            .remedy("run `docker node ls` and `docker service ls` on a manager")
    };
    told.into_iter().map(finding).collect()
}

/// Containers whose health checks Docker no longer runs.
fn unchecked(config: &Config, listed: &[Container]) -> Vec<Finding> {
    let one = |container: &Container| {
        let service = config.service_of(container)?;
        let seconds = container.unchecked_s(service)?;
        let name = service.replica_name(container.number);
        let message = format!("{name}: Docker has not run its health check for {seconds}s");
        let remedy = "run `docker restart` on it: after a restart of dockerd its checks do not run";
        Some(Finding::warning("health", message).remedy(remedy))
    };
    listed.iter().filter_map(one).collect()
}

/// Connects to running replicas, as HAProxy would.
fn reach(config: &Config, listed: &[Container]) -> Finding {
    let net = SystemNet::new();
    let mut reached = 0;
    let mut lost = Vec::new();
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
        (0, []) => Finding::good("replicas", "none is running"),
        (_, []) => Finding::good("replicas", format!("reachable: {reached}")),
        (_, [first, ..]) => {
            let all = reached + lost.len();
            Finding::warning("replicas", format!("{} of {all} not reachable: {first}", lost.len()))
                .remedy(
                    "check that the app listens on `port`; plimsoll and HAProxy have to be on \
                     Docker's host, or in the network of the replicas",
                )
        }
    }
}

/// Checks of HAProxy, by `load_balancer.mode`.
fn balancer(config: &Config, clock: &Arc<SystemClock>, engine: Arc<Docker>) -> Vec<Finding> {
    let proxy = &config.fixed.proxy;
    let mut found = match proxy.mode {
        ProxyMode::Process | ProxyMode::Systemd(_) => vec![programs::haproxy(proxy, &**clock)],
        // The program is in the container.
        ProxyMode::Container(_) => Vec::new(),
        ProxyMode::None => {
            return vec![Finding::good("haproxy", "not used (load_balancer.mode is none)")];
        }
    };
    if matches!(proxy.mode, ProxyMode::Process) {
        let answers = unix::connect(&config.fixed.api.socket, ANSWER).is_ok();
        let daemon = lock::holder(&config.fixed).filter(|_| answers);
        found.extend(programs::groups(daemon));
    }
    if found.iter().all(|finding| finding.verdict != Severity::Fails) {
        found.extend(rehearsal(config, clock, engine));
    }
    found
}

/// A dry run: validates the HAProxy config and binds the ports for a moment.
fn rehearsal(config: &Config, clock: &Arc<SystemClock>, engine: Arc<Docker>) -> Vec<Finding> {
    let proxy = Haproxy::new(&config.fixed.proxy, clock.clone(), engine);
    let known = certificate_files::found(&config.front_door, clock.wall());
    let is_known = |why: &String| known.iter().any(|seen| seen.rejected.as_ref() == Some(why));
    let mut refused = live::refused(config, &proxy);
    // Each has a finding of its own.
    refused.retain(|why| !is_known(why));
    if refused.is_empty() {
        return vec![Finding::good(
            "frontends",
            "HAProxy accepts its config; ports are free or ours",
        )];
    }
    let finding = |message: String| {
        // Of a certificate, the file comes first.
        let remedy = match message.starts_with('/') {
            true => CERTIFICATE,
            false => "`ss -ltnp` shows the process of a port; a port below 1024 needs root",
        };
        Finding::fails("frontends", message).remedy(remedy)
    };
    refused.into_iter().map(finding).collect()
}

/// The API socket and address.
fn doors(config: &Config) -> Vec<Finding> {
    let api = &config.fixed.api;
    let answers = unix::connect(&api.socket, ANSWER).is_ok();
    let socket = api.socket.display();
    let mut found = vec![if answers {
        Finding::good("daemon", format!("running; answers on {socket}"))
    } else {
        Finding::good("daemon", format!("not running: no answer on {socket}"))
    }];
    let Some(listen) = api.listen else { return found };
    if !listen.ip().is_loopback() && api.token.is_none() {
        let words = format!("{listen} is reachable from other hosts and readable without a token");
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
                .remedy("`ss -ltnp` shows the process; set another api.listen, or null for none"),
        ),
    }
    found
}
