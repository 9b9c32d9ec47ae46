//! Checks against the running host, of a valid config: whether Docker answers, images exist, and
//! HAProxy accepts the generated config. Changes nothing.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, process};

use crate::clock::SystemClock;
use crate::config::labels::Resolution;
use crate::docker::Docker;
use crate::haproxy::Haproxy;
use crate::model::config::{Config, ProxyMode};
use crate::model::proxy::{Backend, Routes};
use crate::model::running::Running;
use crate::model::service::{Origin, Platform, Service};
use crate::outside::{Clock, Engine, Error, Result};
use crate::preflight::docker_access::{self, Access, DockerProblem, labelled};
use crate::preflight::{registries, version};

/// A problem of this host. A warning is one that the daemon handles by itself.
pub(crate) struct HostProblem {
    pub(crate) message: String,
    pub(crate) is_warning: bool,
}

/// Problems that would stop or delay the daemon.
pub(crate) fn look(config: &Config) -> Vec<HostProblem> {
    let trouble = |message| HostProblem { message, is_warning: false };
    let clock = Arc::new(SystemClock::new());
    let mut found = Vec::new();
    let engine = Arc::new(Docker::new(&config.fixed.docker, clock.clone()));
    let docker = Access::try_all(config, &engine);
    let Resolution { config, verdicts, .. } = &docker.resolution;
    let errors = verdicts.iter().flat_map(|verdict| &verdict.errors);
    found.extend(errors.cloned().map(trouble));
    match &docker.listed {
        Err(err) if !docker.answers() => found.push(trouble(format!("docker: {err}"))),
        Ok(_) | Err(_) => found.extend(of_docker(config, &engine, &docker)),
    }
    found.extend(unwakeable(config, &*clock));
    if config.fixed.proxy.mode == ProxyMode::None {
        return found;
    }
    let proxy = Haproxy::new(&config.fixed.proxy, clock, engine);
    let refused = refused(config, &proxy).into_iter();
    found.extend(refused.map(|err| trouble(format!("load_balancer: {err}"))));
    found
}

/// What Docker tells of itself, and of what the config names.
fn of_docker(config: &Config, engine: &Docker, docker: &Access) -> Vec<HostProblem> {
    let trouble = |message| HostProblem { message, is_warning: false };
    let warning = |message| HostProblem { message, is_warning: true };
    let refused = docker.refused.iter();
    let elsewhere = docker_access::elsewhere(config, engine).filter(|_| docker.may("info"));
    let mut found: Vec<HostProblem> = refused
        .chain(elsewhere.iter())
        .map(|DockerProblem { message, remedy, is_warning }| HostProblem {
            message: format!("docker: {message}; {remedy}"),
            is_warning: *is_warning,
        })
        .collect();
    if docker.may("image") {
        found.extend(images(config, engine).into_iter().map(warning));
        found.extend(ports(config, engine).into_iter().map(warning));
    }
    let of_logins = registries::examine(config, engine).problems.into_iter();
    found.extend(of_logins.map(|found| HostProblem {
        message: format!("docker.config: {}", found.message),
        is_warning: found.is_warning,
    }));
    if docker.may("network") {
        found.extend(networks(config, engine).into_iter().map(trouble));
    }
    found.extend(sources(config, engine).into_iter().map(warning));
    if docker.may_swarm() {
        let named = |f: HostProblem| HostProblem { message: format!("swarm: {}", f.message), ..f };
        found.extend(swarm(config, engine).into_iter().map(named));
    }
    found
}

/// Services that may have no replica, where no request wakes them.
fn unwakeable(config: &Config, clock: &dyn Clock) -> Option<HostProblem> {
    let sleepers = config.services.values().filter(|service| service.may_sleep());
    let names: Vec<&str> = sleepers.map(|service| service.name.as_str()).collect();
    let why = (!names.is_empty()).then(|| version::cannot_wake(&config.fixed.proxy, clock));
    let message = format!(
        "load_balancer: no request wakes {} when it has no replica, clients get 503: {}; set \
         min_replicas to 1, or have a schedule or a metric of http or prometheus start the first",
        names.join(", "),
        why.flatten()?
    );
    Some(HostProblem { message, is_warning: true })
}

/// The config with the services that labels configure. Fails if the engine does not answer.
pub(crate) fn effective(config: &Config) -> Result<Config> {
    let engine = Docker::new(&config.fixed.docker, Arc::new(SystemClock::new()));
    let (resolution, listed) = labelled(config, &engine);
    listed.map(|_| resolution.config)
}

/// Running containers that are not ours, for `plimsoll init`.
pub(crate) fn running(config: &Config) -> Result<Vec<Running>> {
    Docker::new(&config.fixed.docker, Arc::new(SystemClock::new())).running()
}

/// What HAProxy would refuse of the generated config.
pub(super) fn refused(config: &Config, proxy: &Haproxy) -> Vec<String> {
    match TempDir::new() {
        Err(err) => vec![err.to_string()],
        Ok(folder) => {
            let refused = proxy.dry_run(&routes(config), &folder.path);
            refused.iter().map(Error::to_string).collect()
        }
    }
}

pub(super) fn images(config: &Config, engine: &Docker) -> Vec<String> {
    let mut found = Vec::new();
    for service in config.services.values().filter(|service| service.runs == Platform::Docker) {
        let Origin::Image(image) = &service.container.origin else { continue };
        let key = format!("services.{}.image", service.name);
        match engine.has_image(image) {
            Ok(true) => (),
            Ok(false) => found.push(format!("{key}: {image} is absent and will be pulled")),
            Err(err) => found.push(format!("{key}: {err}")),
        }
    }
    found
}

/// Services with an image, each with its image.
fn of_images(config: &Config) -> impl Iterator<Item = (&Service, &str)> {
    let services = config.services.values().filter(|service| service.runs == Platform::Docker);
    services.filter_map(|service| match &service.container.origin {
        Origin::Image(image) => Some((&**service, image.as_str())),
        Origin::Compose { .. } => None,
    })
}

/// Configured networks that do not exist.
pub(super) fn networks(config: &Config, engine: &Docker) -> Vec<String> {
    let mut found = Vec::new();
    for (service, _) in of_images(config) {
        let key = format!("services.{}.networks", service.name);
        for name in service.container.networks.iter().filter(|name| !name.contains(':')) {
            match engine.has_network(name) {
                Ok(true) => (),
                Ok(false) => found.push(format!(
                    "{key}: network {name} does not exist; run `docker network create {name}`"
                )),
                Err(err) => found.push(format!("{key}: {err}")),
            }
        }
    }
    found
}

/// Host directories of volumes that do not exist, which Docker would create empty and owned by
/// root. If Docker's own directory is not visible, as in a container, these are not visible either.
pub(super) fn sources(config: &Config, engine: &Docker) -> Vec<String> {
    if !engine.info().is_ok_and(|info| Path::new(&info.root_dir).is_dir()) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (service, _) in of_images(config) {
        for volume in &service.container.volumes {
            let source = volume.split(':').next().unwrap_or_default();
            let is_missing = || {
                let file = fs::symlink_metadata(source);
                file.is_err_and(|err| err.kind() == ErrorKind::NotFound)
            };
            if source.starts_with('/') && is_missing() {
                found.push(format!(
                    "services.{}.volumes: {source} does not exist; Docker would create it as an \
                     empty directory owned by root",
                    service.name
                ));
            }
        }
    }
    found
}

/// Ports that the image does not expose. The app may listen there nevertheless.
pub(super) fn ports(config: &Config, engine: &Docker) -> Vec<String> {
    let mut found = Vec::new();
    for (service, image) in of_images(config) {
        // A failed inspect of the image is reported by `images`.
        let exposed = engine.exposed(image).unwrap_or_default();
        if !exposed.is_empty() && !exposed.contains(&service.port) {
            let exposed: Vec<String> = exposed.iter().map(u16::to_string).collect();
            found.push(format!(
                "services.{}.port: {image} exposes {}, not {}; check the port the app listens on",
                service.name,
                exposed.join(", "),
                service.port
            ));
        }
    }
    found
}

/// Whether the configured Swarm services exist, and this node is the leader.
pub(super) fn swarm(config: &Config, engine: &dyn Engine) -> Vec<HostProblem> {
    let mut names = config.of_swarm();
    if names.is_empty() {
        return Vec::new();
    }
    let all: Vec<&str> = names.iter().copied().collect();
    let trouble = |message| HostProblem { message, is_warning: false };
    let seen = match engine.swarm(&all) {
        Ok(seen) => seen,
        Err(err) => return vec![trouble(err.to_string())],
    };
    let mut found = Vec::new();
    if !seen.nodes.iter().any(|node| node.leads && node.is_here) {
        let message = "this node is not the Swarm leader, so plimsoll changes nothing from here";
        found.push(HostProblem { message: message.to_owned(), is_warning: true });
    }
    names.retain(|name| !matches!(seen.services.get(*name), Some(Ok(_))));
    let why = |name: &str| match seen.services.get(name) {
        Some(Err(why)) => why.clone(),
        Some(Ok(_)) | None => format!("Swarm gave no answer about {name}"),
    };
    found.extend(names.into_iter().map(|name| trouble(why(name))));
    found
}

/// As at the first start: every frontend, no servers.
fn routes(config: &Config) -> Routes {
    let services = config.services.values();
    let backend = |service: &Arc<Service>| {
        let mut backend = Backend::of(service, Vec::new());
        if service.may_sleep() {
            backend.set_wake(service, true);
        }
        backend
    };
    let backends = services.map(backend).collect();
    Routes { front_door: config.front_door.clone(), backends }
}

/// A temporary directory that is removed when dropped.
struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// An error if it exists: it may belong to somebody else.
    fn new() -> Result<TempDir> {
        let path = env::temp_dir().join(format!("plimsoll-check-{}", process::id()));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|err| Error::caused(format!("cannot make {}", path.display()), err))?;
        Ok(TempDir { path })
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A leftover in the temporary directory does no harm.
        drop(fs::remove_dir_all(&self.path));
    }
}
