//! The options of a container in the state file's own shape. What is not set is not written, so
//! that files of versions before these keys are read as they are.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::container_options::{
    ContainerOptions, DeviceMapping, GpuRequest, LogSettings, Ulimit,
};
use crate::model::secret::Secret;

#[derive(Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct OptionsState {
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    init: Option<bool>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    read_only: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    extra_hosts: Vec<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    cap_add: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    cap_drop: BTreeSet<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    security_opt: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tmpfs: BTreeMap<String, String>,
    /// Host, container, permissions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    devices: Vec<(String, String, String)>,
    /// Soft and hard.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ulimits: BTreeMap<String, (i64, i64)>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sysctls: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shm_size: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gpus: Vec<GpuState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logging: Option<LogState>,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct GpuState {
    driver: String,
    count: i64,
    device_ids: Vec<String>,
    capabilities: Vec<String>,
    options: BTreeMap<String, String>,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct LogState {
    driver: Option<String>,
    options: BTreeMap<String, String>,
}

impl OptionsState {
    pub(crate) fn pack(options: ContainerOptions) -> OptionsState {
        OptionsState {
            entrypoint: options.entrypoint,
            hostname: options.hostname,
            working_dir: options.working_dir,
            stop_signal: options.stop_signal,
            init: options.init,
            read_only: options.read_only,
            extra_hosts: options.extra_hosts,
            cap_add: options.cap_add,
            cap_drop: options.cap_drop,
            security_opt: options.security_opt,
            tmpfs: options.tmpfs,
            devices: options
                .devices
                .into_iter()
                .map(|device| (device.host, device.container, device.permissions))
                .collect(),
            ulimits: options
                .ulimits
                .into_iter()
                .map(|(name, ulimit)| (name, (ulimit.soft, ulimit.hard)))
                .collect(),
            sysctls: options.sysctls,
            shm_size: options.shm_size,
            gpus: options
                .gpus
                .into_iter()
                .map(|gpu| GpuState {
                    driver: gpu.driver,
                    count: gpu.count,
                    device_ids: gpu.device_ids,
                    capabilities: gpu.capabilities,
                    options: gpu.options,
                })
                .collect(),
            logging: options.logging.map(|logging| LogState {
                driver: logging.driver,
                options: logging
                    .options
                    .into_iter()
                    .map(|(name, value)| (name, value.expose().to_owned()))
                    .collect(),
            }),
        }
    }

    pub(crate) fn unpack(self) -> ContainerOptions {
        let device =
            |(host, container, permissions)| DeviceMapping { host, container, permissions };
        ContainerOptions {
            entrypoint: self.entrypoint,
            hostname: self.hostname,
            working_dir: self.working_dir,
            stop_signal: self.stop_signal,
            init: self.init,
            read_only: self.read_only,
            extra_hosts: self.extra_hosts,
            cap_add: self.cap_add,
            cap_drop: self.cap_drop,
            security_opt: self.security_opt,
            tmpfs: self.tmpfs,
            devices: self.devices.into_iter().map(device).collect(),
            ulimits: self
                .ulimits
                .into_iter()
                .map(|(name, (soft, hard))| (name, Ulimit { soft, hard }))
                .collect(),
            sysctls: self.sysctls,
            shm_size: self.shm_size,
            gpus: self
                .gpus
                .into_iter()
                .map(|gpu| GpuRequest {
                    driver: gpu.driver,
                    count: gpu.count,
                    device_ids: gpu.device_ids,
                    capabilities: gpu.capabilities,
                    options: gpu.options,
                })
                .collect(),
            logging: self.logging.map(|logging| LogSettings {
                driver: logging.driver,
                options: logging
                    .options
                    .into_iter()
                    .map(|(name, value)| (name, Secret::new(value)))
                    .collect(),
            }),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == OptionsState::default()
    }
}
