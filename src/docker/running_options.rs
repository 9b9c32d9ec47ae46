//! What a running container of anybody's was made with, as the options of a service. What is
//! Docker's default, or what the image brings, is left out.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::container_options::{
    ContainerOptions, DeviceMapping, GpuRequest, LogSettings, Ulimit,
};
use crate::model::secret::Secret;

/// Docker's default of `/dev/shm`.
const SHM_DEFAULT: u64 = 64 << 20;

/// A part of `Config`, of a container or of its image.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ProcessPart {
    hostname: String,
    entrypoint: Option<Vec<String>>,
    working_dir: String,
    stop_signal: String,
}

/// A part of `HostConfig`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct HostPart {
    init: Option<bool>,
    readonly_rootfs: bool,
    extra_hosts: Option<Vec<String>>,
    cap_add: Option<Vec<String>>,
    cap_drop: Option<Vec<String>>,
    security_opt: Option<Vec<String>>,
    tmpfs: Option<BTreeMap<String, String>>,
    devices: Option<Vec<ShownDevice>>,
    ulimits: Option<Vec<ShownUlimit>>,
    sysctls: Option<BTreeMap<String, String>>,
    shm_size: u64,
    device_requests: Option<Vec<ShownRequest>>,
    log_config: ShownLog,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ShownDevice {
    path_on_host: String,
    path_in_container: String,
    cgroup_permissions: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ShownUlimit {
    name: String,
    soft: i64,
    hard: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ShownRequest {
    #[serde(default)]
    driver: String,
    #[serde(default)]
    count: i64,
    #[serde(rename = "DeviceIDs")]
    device_ids: Option<Vec<String>>,
    capabilities: Option<Vec<Vec<String>>>,
    options: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ShownLog {
    r#type: String,
    config: Option<BTreeMap<String, String>>,
}

impl HostPart {
    /// `id` of the container: Docker makes a host name of it.
    pub(crate) fn options(
        self,
        id: &str,
        own: ProcessPart,
        image: &ProcessPart,
    ) -> ContainerOptions {
        let word = |text: String, of_image: &str| {
            Some(text).filter(|text| !text.is_empty() && text != of_image)
        };
        let names = |list: Option<Vec<String>>| {
            let plain = |name: String| name.strip_prefix("CAP_").unwrap_or(&name).to_owned();
            list.unwrap_or_default().into_iter().map(plain).collect()
        };
        let is_own_entry = own.entrypoint != image.entrypoint;
        ContainerOptions {
            entrypoint: is_own_entry.then(|| own.entrypoint.unwrap_or_default()),
            hostname: word(own.hostname, "").filter(|name| !id.starts_with(name.as_str())),
            working_dir: word(own.working_dir, &image.working_dir),
            stop_signal: word(own.stop_signal, &image.stop_signal),
            init: self.init,
            read_only: self.readonly_rootfs,
            extra_hosts: self.extra_hosts.unwrap_or_default(),
            cap_add: names(self.cap_add),
            cap_drop: names(self.cap_drop),
            security_opt: self.security_opt.unwrap_or_default(),
            tmpfs: self.tmpfs.unwrap_or_default(),
            devices: devices(self.devices),
            ulimits: ulimits(self.ulimits),
            sysctls: self.sysctls.unwrap_or_default(),
            shm_size: Some(self.shm_size).filter(|size| ![0, SHM_DEFAULT].contains(size)),
            gpus: self.device_requests.unwrap_or_default().into_iter().map(gpu).collect(),
            logging: logging(self.log_config),
        }
    }
}

fn devices(shown: Option<Vec<ShownDevice>>) -> Vec<DeviceMapping> {
    let device = |shown: ShownDevice| DeviceMapping {
        host: shown.path_on_host,
        container: shown.path_in_container,
        permissions: shown.cgroup_permissions,
    };
    shown.unwrap_or_default().into_iter().map(device).collect()
}

fn ulimits(shown: Option<Vec<ShownUlimit>>) -> BTreeMap<String, Ulimit> {
    let ulimit = |of: ShownUlimit| (of.name, Ulimit { soft: of.soft, hard: of.hard });
    shown.unwrap_or_default().into_iter().map(ulimit).collect()
}

fn gpu(shown: ShownRequest) -> GpuRequest {
    GpuRequest {
        driver: shown.driver,
        count: shown.count,
        device_ids: shown.device_ids.unwrap_or_default(),
        capabilities: shown.capabilities.unwrap_or_default().into_iter().next().unwrap_or_default(),
        options: shown.options.unwrap_or_default(),
    }
}

/// Of json-file without options it cannot be told whether somebody chose it.
fn logging(shown: ShownLog) -> Option<LogSettings> {
    let options = shown.config.unwrap_or_default();
    if shown.r#type.is_empty() || (shown.r#type == "json-file" && options.is_empty()) {
        return None;
    }
    let options = options.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
    Some(LogSettings { driver: Some(shown.r#type), options })
}
