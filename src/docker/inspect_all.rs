//! Running containers that are not ours, for `plimsoll init`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::docker::Docker;
use crate::docker::client::Call;
use crate::docker::labels::LABEL_SERVICE;
use crate::docker::running_options::{HostPart, ProcessPart};
use crate::model::running::{Port, Running};
use crate::outside::Result;

/// Containers that are read at most.
const CONTAINERS_MAX: usize = 200;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RunningRow {
    id: String,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerDetails {
    #[serde(default)]
    id: String,
    name: String,
    image: String,
    config: ContainerSettings,
    host_config: HostSettings,
    network_settings: NetworkDetails,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ContainerSettings {
    image: String,
    env: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    user: String,
    #[serde(flatten)]
    process: ProcessPart,
    exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostSettings {
    binds: Option<Vec<String>>,
    #[serde(default)]
    nano_cpus: u64,
    #[serde(default)]
    memory: u64,
    #[serde(default)]
    restart_policy: RestartPolicyName,
    #[serde(flatten)]
    rest: HostPart,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RestartPolicyName {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkDetails {
    ports: Option<BTreeMap<String, Option<Vec<PortBinding>>>>,
    networks: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PortBinding {
    host_ip: String,
    host_port: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ImageDetails {
    config: Option<ContainerSettings>,
}

impl Docker {
    /// Running containers that plimsoll did not create.
    pub(crate) fn running(&self) -> Result<Vec<Running>> {
        let timeout = self.look_timeout();
        let call = |path: &str| self.client.call(Call::get(path), timeout);
        let rows: Vec<RunningRow> = call("/containers/json")?.ok()?.json()?;
        let mut all = Vec::new();
        for row in rows.into_iter().take(CONTAINERS_MAX) {
            let labels = row.labels.unwrap_or_default();
            if labels.contains_key(LABEL_SERVICE) {
                continue;
            }
            let answer = call(&format!("/containers/{}/json", row.id))?;
            // It was removed meanwhile.
            if answer.status == 404 {
                continue;
            }
            let details: ContainerDetails = answer.ok()?.json()?;
            // Without its image, all settings count as the container's own.
            let image = call(&format!("/images/{}/json", details.image)).and_then(|a| a.ok());
            let image = image.and_then(|answer| answer.json::<ImageDetails>()).ok();
            let image = image.and_then(|image| image.config).unwrap_or_default();
            all.push(running(details, image, &labels));
        }
        Ok(all)
    }
}

fn running(
    details: ContainerDetails,
    image: ContainerSettings,
    labels: &BTreeMap<String, String>,
) -> Running {
    let ContainerDetails { id, name, config, host_config, network_settings, .. } = details;
    let label = |name: &str| labels.get(&format!("com.docker.compose.{name}")).cloned();
    let theirs = image.env.unwrap_or_default();
    let own = config.env.unwrap_or_default().into_iter().filter(|env| !theirs.contains(env));
    let environment = own.filter_map(|env| {
        let (name, value) = env.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    let bound = network_settings.ports.unwrap_or_default();
    let exposed = config.exposed_ports.unwrap_or_default().into_keys();
    let listed = exposed.chain(bound.keys().cloned()).collect::<std::collections::BTreeSet<_>>();
    let port = |name: &String| {
        let inside = name.strip_suffix("/tcp")?.parse().ok()?;
        let binding = bound.get(name).and_then(|all| all.as_ref()?.first());
        let outside = binding.map(|b| format!("{}:{}", b.host_ip, b.host_port));
        Some(Port { inside, outside })
    };
    let networks = network_settings.networks.unwrap_or_default().into_keys();
    let limit = |number: u64| (number != 0).then_some(number);
    let word = |text: String| (!text.is_empty()).then_some(text);
    let is_own_user = config.user != image.user;
    Running {
        name: name.trim_start_matches('/').to_owned(),
        compose: label("project").zip(label("service")),
        image: config.image,
        ports: listed.iter().filter_map(port).collect(),
        environment: environment.collect(),
        command: if config.cmd == image.cmd { Vec::new() } else { config.cmd.unwrap_or_default() },
        volumes: host_config.binds.unwrap_or_default(),
        // The default network need not be named.
        networks: networks.filter(|name| name != "bridge").collect(),
        user: word(config.user).filter(|_| is_own_user),
        restart: word(host_config.restart_policy.name).filter(|name| name != "no"),
        nano_cpus: limit(host_config.nano_cpus),
        memory: limit(host_config.memory),
        options: host_config.rest.options(&id, config.process, &image.process),
    }
}
