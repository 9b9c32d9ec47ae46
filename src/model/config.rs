//! The whole configuration as the program works with it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::service::{Service, ServiceName};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) check_interval: Duration,
    pub(crate) log_level: log::LevelFilter,
    pub(crate) dry_run: bool,
    pub(crate) fixed: Fixed,
    pub(crate) services: BTreeMap<ServiceName, Arc<Service>>,
}

/// What the daemon takes once, at its start: a reload that changes any of it is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fixed {
    pub(crate) state_dir: PathBuf,
    pub(crate) docker: DockerConfig,
    pub(crate) proxy: ProxyConfig,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DockerConfig {
    pub(crate) socket: PathBuf,
    /// The longest any one call may take.
    pub(crate) timeout: Duration,
}

/// The HAProxy that we start and own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProxyConfig {
    pub(crate) binary: PathBuf,
    pub(crate) config: PathBuf,
    pub(crate) pid_file: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) hard_stop_after: Duration,
    pub(crate) min_reload_interval: Duration,
}

impl Config {
    /// `1 service`, `2 services`.
    pub(crate) fn counted(&self) -> String {
        match self.services.len() {
            1 => "1 service".to_owned(),
            n => format!("{n} services"),
        }
    }
}
