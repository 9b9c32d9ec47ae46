//! What else a container of the service is made with: the keys that compose files have for it. Each
//! default is Docker's own.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::secret::Secret;

/// Nothing in it is set by default, and then nothing of it is sent to Docker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContainerOptions {
    /// `None`: the image's own. Empty: none, so that the command is run as it is.
    pub(crate) entrypoint: Option<Vec<String>>,
    /// The same in all replicas. `None`: Docker's, which is the container's id.
    pub(crate) hostname: Option<String>,
    pub(crate) working_dir: Option<String>,
    /// What Docker sends first to stop it. `None`: the image's, else SIGTERM.
    pub(crate) stop_signal: Option<String>,
    /// Whether a process of Docker's reaps zombies. `None`: as the daemon is set.
    pub(crate) init: Option<bool>,
    pub(crate) read_only: bool,
    /// Lines of its `/etc/hosts`, each `HOST:ADDRESS`.
    pub(crate) extra_hosts: Vec<String>,
    /// Upper case, without `CAP_`.
    pub(crate) cap_add: BTreeSet<String>,
    pub(crate) cap_drop: BTreeSet<String>,
    /// `NAME=VALUE` or a word. A seccomp profile stands here with its content.
    pub(crate) security_opt: Vec<String>,
    /// Mount options by path.
    pub(crate) tmpfs: BTreeMap<String, String>,
    pub(crate) devices: Vec<DeviceMapping>,
    pub(crate) ulimits: BTreeMap<String, Ulimit>,
    pub(crate) sysctls: BTreeMap<String, String>,
    /// Bytes of `/dev/shm`.
    pub(crate) shm_size: Option<u64>,
    pub(crate) gpus: Vec<GpuRequest>,
    pub(crate) logging: Option<LogSettings>,
}

/// A device of the host, and under which path and with which rights the container has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceMapping {
    pub(crate) host: String,
    pub(crate) container: String,
    /// Some of `rwm`.
    pub(crate) permissions: String,
}

/// -1 is without a limit. Invariant: `soft` is not above `hard`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ulimit {
    pub(crate) soft: i64,
    pub(crate) hard: i64,
}

/// GPUs of the host, by number or by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GpuRequest {
    /// Empty: the engine chooses by the capabilities.
    pub(crate) driver: String,
    /// -1 is all, 0 those of `device_ids`.
    pub(crate) count: i64,
    pub(crate) device_ids: Vec<String>,
    /// All of them are needed.
    pub(crate) capabilities: Vec<String>,
    pub(crate) options: BTreeMap<String, String>,
}

/// Where Docker sends what the container writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogSettings {
    /// `None`: the engine's default.
    pub(crate) driver: Option<String>,
    /// Some drivers take a token.
    pub(crate) options: BTreeMap<String, Secret>,
}

impl ContainerOptions {
    /// Passes each part with its key to `put`, and nothing for what is not set: a new key must not
    /// change the hash of those who do not use it.
    pub(crate) fn parts(&self, put: &mut dyn FnMut(&str, &str)) {
        if let Some(words) = &self.entrypoint {
            put("entrypoint", &words.len().to_string());
            words.iter().for_each(|word| put("word", word));
        }
        for (key, text) in [
            ("hostname", &self.hostname),
            ("working_dir", &self.working_dir),
            ("stop_signal", &self.stop_signal),
        ] {
            text.iter().for_each(|text| put(key, text));
        }
        self.init.iter().for_each(|init| put("init", &init.to_string()));
        if self.read_only {
            put("read_only", "true");
        }
        self.extra_hosts.iter().for_each(|line| put("extra_host", line));
        self.cap_add.iter().for_each(|name| put("cap_add", name));
        self.cap_drop.iter().for_each(|name| put("cap_drop", name));
        self.security_opt.iter().for_each(|option| put("security_opt", option));
        for (key, map) in [("tmpfs", &self.tmpfs), ("sysctl", &self.sysctls)] {
            for (name, value) in map {
                put(key, name);
                put("value", value);
            }
        }
        for device in &self.devices {
            put("device", &device.host);
            put("at", &device.container);
            put("permissions", &device.permissions);
        }
        for (name, ulimit) in &self.ulimits {
            put("ulimit", name);
            put("value", &format!("{}:{}", ulimit.soft, ulimit.hard));
        }
        self.shm_size.iter().for_each(|bytes| put("shm_size", &bytes.to_string()));
        self.gpus.iter().for_each(|gpu| gpu.parts(put));
        if let Some(logging) = &self.logging {
            put("logging", logging.driver.as_deref().unwrap_or_default());
            for (name, value) in &logging.options {
                put("option", name);
                put("value", value.expose());
            }
        }
    }

    /// The keys of the config in which the two differ.
    pub(crate) fn differences(&self, other: &ContainerOptions) -> Vec<&'static str> {
        let differs = [
            ("entrypoint", self.entrypoint != other.entrypoint),
            ("hostname", self.hostname != other.hostname),
            ("working_dir", self.working_dir != other.working_dir),
            ("stop_signal", self.stop_signal != other.stop_signal),
            ("init", self.init != other.init),
            ("read_only", self.read_only != other.read_only),
            ("extra_hosts", self.extra_hosts != other.extra_hosts),
            ("cap_add", self.cap_add != other.cap_add),
            ("cap_drop", self.cap_drop != other.cap_drop),
            ("security_opt", self.security_opt != other.security_opt),
            ("tmpfs", self.tmpfs != other.tmpfs),
            ("devices", self.devices != other.devices),
            ("ulimits", self.ulimits != other.ulimits),
            ("sysctls", self.sysctls != other.sysctls),
            ("shm_size", self.shm_size != other.shm_size),
            ("gpus", self.gpus != other.gpus),
            ("logging", self.logging != other.logging),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }
}

impl GpuRequest {
    fn parts(&self, put: &mut dyn FnMut(&str, &str)) {
        put("gpus", &self.count.to_string());
        put("driver", &self.driver);
        self.device_ids.iter().for_each(|id| put("device_id", id));
        self.capabilities.iter().for_each(|name| put("capability", name));
        for (name, value) in &self.options {
            put("gpu_option", name);
            put("value", value);
        }
    }
}
