//! What a good config does not tell: whether Docker answers, images are there, and HAProxy takes
//! what would be written. Changes nothing.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, process};

use crate::clock::SystemClock;
use crate::docker::Docker;
use crate::haproxy::Haproxy;
use crate::model::config::{Config, ProxyMode};
use crate::model::proxy::{Backend, Routes};
use crate::model::running::Running;
use crate::model::service::{Origin, Runs, Service};
use crate::outside::{Engine, Error, Result};

/// A warning is what the daemon will see to itself.
pub(crate) struct Found {
    pub(crate) message: String,
    pub(crate) is_warning: bool,
}

/// What would keep the daemon from its job, or cost it time.
pub(crate) fn look(config: &Config) -> Vec<Found> {
    let trouble = |message| Found { message, is_warning: false };
    let clock = Arc::new(SystemClock::new());
    let mut found = Vec::new();
    let engine = Arc::new(Docker::new(&config.fixed.docker, clock.clone()));
    match engine.list(&config.adopted(), &BTreeSet::new()) {
        Err(err) => found.push(trouble(format!("docker: {err}"))),
        Ok(_) => {
            let warning = |message| Found { message, is_warning: true };
            found.extend(
                changes(config, &engine)
                    .into_iter()
                    .map(|message| trouble(format!("docker: {message}; {CHANGES_REMEDY}"))),
            );
            found.extend(images(config, &engine).into_iter().map(warning));
            found.extend(networks(config, &engine).into_iter().map(trouble));
            found.extend(sources(config, &engine).into_iter().map(warning));
            found.extend(ports(config, &engine).into_iter().map(warning));
            let named = |f: Found| Found { message: format!("swarm: {}", f.message), ..f };
            found.extend(swarm(config, &*engine).into_iter().map(named));
        }
    }
    if config.fixed.proxy.mode == ProxyMode::None {
        return found;
    }
    let proxy = Haproxy::new(&config.fixed.proxy, clock, engine);
    let refused = refused(config, &proxy).into_iter();
    found.extend(refused.map(|err| trouble(format!("load_balancer: {err}"))));
    found
}

/// Containers that others run here.
pub(crate) fn running(config: &Config) -> Result<Vec<Running>> {
    Docker::new(&config.fixed.docker, Arc::new(SystemClock::new())).running()
}

/// What HAProxy would not take of what would be written.
pub(super) fn refused(config: &Config, proxy: &Haproxy) -> Vec<String> {
    match Folder::new() {
        Err(err) => vec![err.to_string()],
        Ok(folder) => {
            let refused = proxy.dry_run(&routes(config), &folder.path);
            refused.iter().map(Error::to_string).collect()
        }
    }
}

pub(super) fn images(config: &Config, engine: &Docker) -> Vec<String> {
    let mut found = Vec::new();
    for service in config.services.values().filter(|service| service.runs == Runs::Here) {
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

/// What to do about `changes`.
pub(super) const CHANGES_REMEDY: &str = "a proxy before Docker has to let POST and DELETE through; \
    or name Docker's own socket in docker.socket";

/// Calls that Docker would never see.
pub(super) fn changes(config: &Config, engine: &Docker) -> Vec<String> {
    let runs_here = config.services.values().any(|service| service.runs == Runs::Here);
    let kinds = [(false, runs_here), (true, !config.of_swarm().is_empty())];
    let mut found = Vec::new();
    for (of_swarm, _) in kinds.into_iter().filter(|(_, is_used)| *is_used) {
        match engine.denied(of_swarm) {
            Ok(denied) if denied.is_empty() => (),
            Ok(denied) => found.push(format!(
                "it can be read and not changed: a proxy or a plugin refuses {}",
                denied.join(", ")
            )),
            Err(err) => found.push(err.to_string()),
        }
    }
    found
}

/// Each with the key to name.
fn of_images(config: &Config) -> impl Iterator<Item = (&Service, &str)> {
    let services = config.services.values().filter(|service| service.runs == Runs::Here);
    services.filter_map(|service| match &service.container.origin {
        Origin::Image(image) => Some((&**service, image.as_str())),
        Origin::Compose { .. } => None,
    })
}

/// Networks that no replica could join.
pub(super) fn networks(config: &Config, engine: &Docker) -> Vec<String> {
    let mut found = Vec::new();
    for (service, _) in of_images(config) {
        let key = format!("services.{}.networks", service.name);
        for name in service.container.networks.iter().filter(|name| !name.contains(':')) {
            match engine.has_network(name) {
                Ok(true) => (),
                Ok(false) => found.push(format!(
                    "{key}: there is no network {name}; `docker network create {name}` makes it"
                )),
                Err(err) => found.push(format!("{key}: {err}")),
            }
        }
    }
    found
}

/// Folders of the host that Docker would make, empty and root's. Where Docker's own folder is not
/// seen, as from within a container, these cannot be seen either.
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
                    "services.{}.volumes: {source} is not there; Docker makes it, as an empty \
                     folder of root's",
                    service.name
                ));
            }
        }
    }
    found
}

/// Ports that the image does not speak of. It may listen there all the same.
pub(super) fn ports(config: &Config, engine: &Docker) -> Vec<String> {
    let mut found = Vec::new();
    for (service, image) in of_images(config) {
        // That the image cannot be asked for is told elsewhere.
        let exposed = engine.exposed(image).unwrap_or_default();
        if !exposed.is_empty() && !exposed.contains(&service.port) {
            let exposed: Vec<String> = exposed.iter().map(u16::to_string).collect();
            found.push(format!(
                "services.{}.port: {image} exposes {}, not {}; is it what a replica listens on?",
                service.name,
                exposed.join(", "),
                service.port
            ));
        }
    }
    found
}

/// Whether Swarm has the services that it is to run, and may be told from this node.
pub(super) fn swarm(config: &Config, engine: &dyn Engine) -> Vec<Found> {
    let mut names = config.of_swarm();
    if names.is_empty() {
        return Vec::new();
    }
    let all: Vec<&str> = names.iter().copied().collect();
    let trouble = |message| Found { message, is_warning: false };
    let seen = match engine.swarm(&all) {
        Ok(seen) => seen,
        Err(err) => return vec![trouble(err.to_string())],
    };
    let mut found = Vec::new();
    if !seen.nodes.iter().any(|node| node.leads && node.is_here) {
        let message = "this node does not lead the Swarm, nothing is changed from here";
        found.push(Found { message: message.to_owned(), is_warning: true });
    }
    names.retain(|name| !matches!(seen.services.get(*name), Some(Ok(_))));
    let why = |name: &str| match seen.services.get(name) {
        Some(Err(why)) => why.clone(),
        Some(Ok(_)) | None => format!("nothing was told of {name}"),
    };
    found.extend(names.into_iter().map(|name| trouble(why(name))));
    found
}

/// As at a start: every frontend, no server yet.
fn routes(config: &Config) -> Routes {
    let services = config.services.values();
    Routes { backends: services.map(|service| Backend::of(service, Vec::new())).collect() }
}

/// Gone when it is dropped.
struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Refuses one that is there, which may be another's.
    fn new() -> Result<Folder> {
        let path = env::temp_dir().join(format!("plimsoll-check-{}", process::id()));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|err| Error::caused(format!("cannot make {}", path.display()), err))?;
        Ok(Folder { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // In the folder for such things, what is left harms nobody.
        drop(fs::remove_dir_all(&self.path));
    }
}
