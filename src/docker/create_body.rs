//! The body of `POST /containers/create`. What the config does not set is not sent, so that the
//! engine's own defaults apply: some differ by the engine's version and settings.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::docker::labels::{LABEL_DIGEST, LABEL_PORT, LABEL_REPLICA, LABEL_SERVICE, LABEL_SPEC};
use crate::model::container_options::{ContainerOptions, GpuRequest, LogSettings};
use crate::model::service::{Restart, Service};
use crate::outside::{Error, Result};

/// Read by docker's command and compose, and unknown to the engine: it stands for two empty lists.
const SYSTEM_PATHS: [&str; 2] = ["systempaths=unconfined", "systempaths:unconfined"];

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Create<'a> {
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint: Option<&'a [String]>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    cmd: &'a [String],
    env: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_dir: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_signal: Option<&'a str>,
    labels: BTreeMap<&'a str, String>,
    host_config: CreateHost<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CreateHost<'a> {
    binds: &'a [String],
    nano_cpus: u64,
    memory: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_mode: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restart_policy: Option<RestartPolicy>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    extra_hosts: &'a [String],
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    cap_add: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    cap_drop: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    security_opt: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    masked_paths: Option<[String; 0]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    readonly_paths: Option<[String; 0]>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    readonly_rootfs: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    init: Option<bool>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tmpfs: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    devices: Vec<CreateDevice<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ulimits: Vec<CreateUlimit<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sysctls: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shm_size: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    device_requests: Vec<DeviceRequest<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_config: Option<LogConfig<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CreateDevice<'a> {
    path_on_host: &'a str,
    path_in_container: &'a str,
    cgroup_permissions: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CreateUlimit<'a> {
    name: &'a str,
    soft: i64,
    hard: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DeviceRequest<'a> {
    driver: &'a str,
    count: i64,
    #[serde(rename = "DeviceIDs", skip_serializing_if = "<[String]>::is_empty")]
    device_ids: &'a [String],
    /// One of these sets has to be there, with all in it.
    capabilities: [&'a [String]; 1],
    options: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct LogConfig<'a> {
    /// Empty: the engine's default.
    r#type: &'a str,
    config: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RestartPolicy {
    name: &'static str,
    maximum_retry_count: u32,
}

impl RestartPolicy {
    fn of(restart: Restart) -> Option<RestartPolicy> {
        let (name, maximum_retry_count) = match restart {
            Restart::No => return None,
            Restart::Always => ("always", 0),
            Restart::UnlessStopped => ("unless-stopped", 0),
            Restart::OnFailure(most) => ("on-failure", most),
        };
        Some(RestartPolicy { name, maximum_retry_count })
    }
}

pub(crate) fn create_body(service: &Service, number: u32) -> Result<Vec<u8>> {
    let spec = &service.container;
    let Some(image) = spec.image_reference() else {
        return Err(Error::new("internal error: a compose service has no image of its own"));
    };
    let options = &spec.options;
    let mut body = Create {
        image,
        entrypoint: options.entrypoint.as_deref(),
        cmd: &spec.command,
        env: spec.environment.iter().map(|(k, v)| format!("{k}={}", v.expose())).collect(),
        user: spec.user.as_deref(),
        hostname: options.hostname.as_deref(),
        working_dir: options.working_dir.as_deref(),
        stop_signal: options.stop_signal.as_deref(),
        labels: spec.labels.iter().map(|(k, v)| (k.as_str(), v.clone())).collect(),
        host_config: host(service),
    };
    body.labels.insert(LABEL_SERVICE, service.name.as_str().to_owned());
    body.labels.insert(LABEL_REPLICA, number.to_string());
    body.labels.insert(LABEL_SPEC, service.spec_hash());
    body.labels.insert(LABEL_PORT, service.port.to_string());
    let digest = spec.pin.iter().map(|pin| (LABEL_DIGEST, pin.digest.clone()));
    body.labels.extend(digest);
    serde_json::to_vec(&body).map_err(|err| Error::caused("container body", err))
}

fn host(service: &Service) -> CreateHost<'_> {
    let spec = &service.container;
    let options = &spec.options;
    let is_of_engine = |option: &&str| !SYSTEM_PATHS.contains(option);
    let security_opt = options.security_opt.iter().map(String::as_str);
    let (security_opt, system_paths): (Vec<_>, Vec<_>) = security_opt.partition(is_of_engine);
    let unmasked = (!system_paths.is_empty()).then_some([]);
    CreateHost {
        binds: &spec.volumes,
        nano_cpus: spec.nano_cpus.unwrap_or(0),
        memory: spec.memory.unwrap_or(0),
        network_mode: spec.networks.first().map(String::as_str),
        restart_policy: RestartPolicy::of(spec.restart),
        extra_hosts: &options.extra_hosts,
        cap_add: &options.cap_add,
        cap_drop: &options.cap_drop,
        security_opt,
        masked_paths: unmasked.clone(),
        readonly_paths: unmasked,
        readonly_rootfs: options.read_only,
        init: options.init,
        tmpfs: &options.tmpfs,
        devices: devices(options),
        ulimits: ulimits(options),
        sysctls: &options.sysctls,
        shm_size: options.shm_size,
        device_requests: options.gpus.iter().map(device_request).collect(),
        log_config: options.logging.as_ref().map(log_config),
    }
}

fn devices(options: &ContainerOptions) -> Vec<CreateDevice<'_>> {
    let devices = options.devices.iter().map(|device| CreateDevice {
        path_on_host: &device.host,
        path_in_container: &device.container,
        cgroup_permissions: &device.permissions,
    });
    devices.collect()
}

fn ulimits(options: &ContainerOptions) -> Vec<CreateUlimit<'_>> {
    let ulimits = options.ulimits.iter();
    ulimits.map(|(name, of)| CreateUlimit { name, soft: of.soft, hard: of.hard }).collect()
}

fn device_request(gpu: &GpuRequest) -> DeviceRequest<'_> {
    DeviceRequest {
        driver: &gpu.driver,
        count: gpu.count,
        device_ids: &gpu.device_ids,
        capabilities: [&gpu.capabilities],
        options: &gpu.options,
    }
}

fn log_config(logging: &LogSettings) -> LogConfig<'_> {
    LogConfig {
        r#type: logging.driver.as_deref().unwrap_or_default(),
        config: logging.options.iter().map(|(k, v)| (k.as_str(), v.expose())).collect(),
    }
}
