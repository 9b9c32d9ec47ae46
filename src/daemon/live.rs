//! What a good config does not tell: whether Docker answers, images are there, and HAProxy takes
//! what would be written. Changes nothing.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::{env, process};

use crate::clock::SystemClock;
use crate::docker::Docker;
use crate::haproxy::Haproxy;
use crate::model::config::{Config, ProxyMode};
use crate::model::proxy::{Backend, Routes};
use crate::model::running::Running;
use crate::model::service::{Origin, Runs};
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
            found.extend(images(config, &engine).into_iter().map(warning));
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
            let refused = proxy.rehearse(&routes(config), &folder.path);
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
