//! `autoscaler` and `docker`: the daemon's own settings.

use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use crate::config::cursor::{Node, Section};
use crate::config::hours;
use crate::model::config::DockerConfig;
use crate::model::schedule::Window;

const SECOND: Duration = Duration::from_secs(1);

pub(crate) struct Autoscaler {
    pub(crate) check_interval: Duration,
    pub(crate) log_level: LevelFilter,
    pub(crate) state_dir: PathBuf,
    pub(crate) dry_run: bool,
    /// Of every service that has none of its own.
    pub(crate) business_hours: Option<Window>,
}

pub(crate) fn autoscaler(section: Option<Section>) -> Autoscaler {
    let mut out = Autoscaler {
        check_interval: Duration::from_secs(15),
        log_level: LevelFilter::Info,
        state_dir: PathBuf::from("/var/lib/plimsoll"),
        dry_run: false,
        business_hours: None,
    };
    let Some(section) = section else { return out };
    let interval = section.get("check_interval");
    let interval = interval.and_then(|n| n.duration(SECOND..=Duration::from_secs(3600)));
    out.check_interval = interval.unwrap_or(out.check_interval);
    out.log_level = section.get("log_level").and_then(|n| level(&n)).unwrap_or(out.log_level);
    out.state_dir = path(section.get("state_dir"), out.state_dir);
    out.dry_run = section.get("dry_run").and_then(|n| n.boolean()).unwrap_or(false);
    out.business_hours = section.get("business_hours").and_then(|n| hours::business_hours(&n));
    section.done();
    out
}

fn level(node: &Node) -> Option<LevelFilter> {
    let level = node.text()?.parse().ok().filter(|l| *l != LevelFilter::Off);
    level.or_else(|| node.wrong("error, warn, info, debug or trace"))
}

pub(crate) fn docker(section: Option<Section>) -> DockerConfig {
    let (socket, timeout) = (PathBuf::from("/var/run/docker.sock"), Duration::from_secs(30));
    let Some(section) = section else { return DockerConfig { socket, timeout } };
    let socket = path(section.get("socket"), socket);
    let longest = Duration::from_secs(600);
    let read = section.get("timeout").and_then(|n| n.duration(SECOND..=longest));
    section.done();
    DockerConfig { socket, timeout: read.unwrap_or(timeout) }
}

/// Relative ones would mean something else for every folder the daemon is started in.
pub(crate) fn path(node: Option<Node>, default: PathBuf) -> PathBuf {
    let Some((node, text)) = node.and_then(|n| n.text().map(|t| (n, t))) else { return default };
    if !text.starts_with('/') {
        node.wrong::<()>("an absolute path");
        return default;
    }
    PathBuf::from(text)
}
