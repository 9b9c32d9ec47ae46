//! Engine API types and their conversion to the model. Only `src/docker` uses these types.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use crate::docker::labels::{LABEL_DIGEST, LABEL_PORT, LABEL_SPEC};
use crate::docker::listed_labels::ListedLabels;
use crate::model::image::ReplicaImage;
use crate::model::owner::Owner;
use crate::model::replica::{Container, ContainerId, ContainerState, DockerHealth, Exit};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListedContainer {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default, rename = "ImageID")]
    image_id: String,
    #[serde(default)]
    labels: ListedLabels,
    state: String,
    /// Seconds since 1970.
    #[serde(default)]
    created: u64,
    /// For people, as `Up 2 hours (unhealthy)` or `Exited (137) 3 seconds ago`.
    #[serde(default)]
    status: String,
    #[serde(default)]
    host_config: ListedHost,
    #[serde(default)]
    network_settings: NetworkSettings,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct ListedHost {
    /// The network that the container was created in.
    network_mode: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    networks: Option<BTreeMap<String, ListedEndpoint>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ListedEndpoint {
    #[serde(rename = "IPAddress")]
    ip_address: String,
}

impl ListedContainer {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn name(&self) -> &str {
        self.names.first().map_or("", |name| name.trim_start_matches('/'))
    }

    /// Those of plimsoll and docker compose.
    pub(crate) fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels.of_system
    }

    /// What the compose file says to plimsoll.
    pub(crate) fn settings(&self) -> &ListedLabels {
        &self.labels
    }

    /// The id of its image.
    pub(crate) fn image_id(&self) -> &str {
        &self.image_id
    }

    /// In seconds since 1970.
    pub(crate) fn created(&self) -> u64 {
        self.created
    }

    pub(crate) fn state(&self) -> ContainerState {
        match self.state.as_str() {
            "created" => ContainerState::Created,
            "paused" => ContainerState::Paused,
            "restarting" => ContainerState::Restarting,
            "exited" | "dead" => ContainerState::Exited,
            "removing" => ContainerState::Removing,
            _ => ContainerState::Running,
        }
    }

    /// State, health and exit code; when it changes, the inspect is out of date.
    pub(crate) fn condition(&self) -> String {
        let health = own_health_of(&self.status);
        format!("{} {:?} {health:?}", self.state, exit_of(&self.status).map(|exit| exit.code))
    }

    /// Without the fields that only an inspect shows.
    pub(crate) fn to_container(&self, service: String, number: u32, owner: Owner) -> Container {
        let state = self.state();
        let networks = self.network_settings.networks.as_ref();
        let mode = self.host_config.network_mode.as_str();
        let first = networks.and_then(|networks| networks.get(mode));
        let rest = networks.iter().flat_map(|networks| networks.values());
        let mut all = first.into_iter().chain(rest);
        let address = all.find_map(|e| e.ip_address.parse::<IpAddr>().ok());
        Container {
            id: ContainerId(self.id.clone()),
            name: self.name().to_owned(),
            owner,
            service,
            number,
            created: self.created,
            spec: self.labels.of_system.get(LABEL_SPEC).cloned(),
            image: ReplicaImage {
                id: self.image_id.clone(),
                digest: self.labels.of_system.get(LABEL_DIGEST).cloned(),
            },
            port: self.labels.of_system.get(LABEL_PORT).and_then(|port| port.parse().ok()),
            exit: exit_of(&self.status).filter(|_| state == ContainerState::Exited),
            ended: None,
            started: None,
            restarts: 0,
            docker_health: own_health_of(&self.status).filter(|_| state == ContainerState::Running),
            state,
            network: if mode == "default" { "bridge" } else { mode }.to_owned(),
            address,
        }
    }
}

/// Whether it ran out of memory, only an inspect shows.
fn exit_of(status: &str) -> Option<Exit> {
    let (code, _) = status.strip_prefix("Exited (")?.split_once(')')?;
    Some(Exit { code: code.parse().ok()?, oom: false })
}

/// The output of the check, only an inspect shows.
fn own_health_of(status: &str) -> Option<DockerHealth> {
    let (_, word) = status.strip_suffix(')')?.rsplit_once('(')?;
    match word {
        "health: starting" => Some(DockerHealth::Starting),
        "healthy" => Some(DockerHealth::Healthy),
        "unhealthy" => Some(DockerHealth::Unhealthy(String::new())),
        _ => None,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Created {
    pub(crate) id: String,
}

/// `GET /info`.
#[derive(Deserialize)]
pub(crate) struct Info {
    #[serde(rename = "Name")]
    pub(crate) name: String,
    #[serde(rename = "NCPU")]
    pub(crate) cpus: u64,
    #[serde(rename = "Containers")]
    pub(crate) containers: u64,
    #[serde(rename = "ContainersRunning")]
    pub(crate) running: u64,
    /// Of its host; 0: unknown.
    #[serde(rename = "MemTotal", default)]
    pub(crate) memory_bytes: u64,
    /// Where the engine keeps images and containers; empty: unknown.
    #[serde(rename = "DockerRootDir", default)]
    pub(crate) root_dir: String,
}

#[derive(Deserialize)]
pub(crate) struct Stats {
    read: String,
    cpu_stats: CpuStats,
    #[serde(default)]
    memory_stats: MemoryStats,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct MemoryStats {
    usage: Option<u64>,
    /// The rows of the control group's `memory.stat`.
    stats: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct CpuStats {
    cpu_usage: CpuUsage,
}

#[derive(Deserialize)]
struct CpuUsage {
    total_usage: u64,
}

impl Stats {
    /// CPU time used in all and time of the reading, both in nanoseconds. `None` for a container
    /// that is not running: its statistics are zeros of the year 1.
    pub(crate) fn counter(&self) -> Option<(u64, u64)> {
        let read = chrono::DateTime::parse_from_rfc3339(&self.read).ok()?.timestamp_nanos_opt()?;
        Some((self.cpu_stats.cpu_usage.total_usage, u64::try_from(read).ok()?))
    }

    /// Bytes in use, as `docker stats` counts them.
    pub(crate) fn memory_used(&self) -> Option<u64> {
        let rows = &self.memory_stats.stats;
        // The first is version 1's: there, `inactive_file` leaves out the groups below.
        let cache = rows.get("total_inactive_file").or_else(|| rows.get("inactive_file"));
        Some(self.memory_stats.usage?.saturating_sub(cache.copied().unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use crate::docker::api_types::{ListedContainer, Stats};
    use crate::model::owner::Owner;
    use crate::model::replica::{Container, ContainerState, DockerHealth, Exit};

    fn listed(state: &str, networks: &str) -> Container {
        let text = format!(
            r#"{{"Id":"ab","Names":["/web-3"],"State":"{state}",
                "HostConfig":{{"NetworkMode":"default"}},
                "NetworkSettings":{{"Networks":{networks}}}}}"#
        );
        let listed = serde_json::from_str::<ListedContainer>(&text).unwrap();
        listed.to_container("web".to_owned(), 3, Owner::Ours)
    }

    #[test]
    fn a_replica_has_the_address_of_its_network() {
        let bridge = r#"{"bridge":{"IPAddress":"172.17.0.2"}}"#;
        let web = listed("running", bridge);
        assert_eq!((web.service.as_str(), web.number, web.name.as_str()), ("web", 3, "web-3"));
        assert_eq!(web.address.unwrap().to_string(), "172.17.0.2");
        assert_eq!(web.network, "bridge");
        assert_eq!(listed("running", r#"{"n":{"IPAddress":""}}"#).address, None);
        assert_eq!(listed("running", "null").address, None);
    }

    #[test]
    fn states_of_docker_become_ours() {
        for (state, want) in [
            ("created", ContainerState::Created),
            ("running", ContainerState::Running),
            ("restarting", ContainerState::Restarting),
            ("paused", ContainerState::Paused),
            ("exited", ContainerState::Exited),
            ("dead", ContainerState::Exited),
            ("removing", ContainerState::Removing),
        ] {
            assert_eq!(listed(state, "{}").state, want, "{state}");
        }
    }

    #[test]
    fn how_it_ended_and_what_its_own_check_says_stand_in_the_status() {
        let text = |state: &str, status: &str| {
            let labels = r#"{"io.plimsoll.service":"web","io.plimsoll.replica":"3",
                "io.plimsoll.spec":"0123456789abcdef","io.plimsoll.port":"81"}"#;
            let text = format!(
                r#"{{"Id":"ab","Names":["/web-3"],"State":"{state}","Status":"{status}",
                    "Labels":{labels}}}"#
            );
            let listed = serde_json::from_str::<ListedContainer>(&text).unwrap();
            listed.to_container("web".to_owned(), 3, Owner::Ours)
        };
        let exit = |code| Some(Exit { code, oom: false });
        let ill = Some(DockerHealth::Unhealthy(String::new()));
        for (state, status, ended, health) in [
            ("exited", "Exited (137) 3 seconds ago", exit(137), None),
            ("exited", "Exited (0) About an hour ago", exit(0), None),
            ("dead", "Dead", None, None),
            ("restarting", "Restarting (1) 2 seconds ago", None, None),
            ("created", "Created", None, None),
            ("running", "Up 2 hours", None, None),
            ("running", "Up 2 hours (Paused)", None, None),
            ("running", "Up 1 second (health: starting)", None, Some(DockerHealth::Starting)),
            ("running", "Up 2 hours (healthy)", None, Some(DockerHealth::Healthy)),
            ("running", "Up 2 hours (unhealthy)", None, ill),
        ] {
            let container = text(state, status);
            assert_eq!((container.exit, container.docker_health), (ended, health), "{status}");
            assert_eq!(container.spec.as_deref(), Some("0123456789abcdef"));
            assert_eq!(container.port, Some(81));
        }
    }

    #[test]
    fn statistics_of_a_stopped_container_are_none() {
        let stats = |read: &str| {
            let text =
                format!(r#"{{"read":"{read}","cpu_stats":{{"cpu_usage":{{"total_usage":7}}}}}}"#);
            serde_json::from_str::<Stats>(&text).unwrap().counter()
        };
        assert_eq!(stats("1970-01-01T00:00:01.5Z"), Some((7, 1_500_000_000)));
        assert_eq!(stats("0001-01-01T00:00:00Z"), None);
    }

    #[test]
    fn memory_is_what_is_used_without_cached_files_over_the_limit() {
        for (memory, want) in [
            (r#"{"usage":100,"stats":{"inactive_file":30}}"#, Some(70)),
            (r#"{"usage":100,"stats":{"inactive_file":9,"total_inactive_file":30}}"#, Some(70)),
            (r#"{"usage":100,"stats":{"inactive_file":101}}"#, Some(0)),
            (r#"{"usage":100}"#, Some(100)),
            // Of a container that does not run.
            ("{}", None),
        ] {
            let text = format!(
                r#"{{"read":"","cpu_stats":{{"cpu_usage":{{"total_usage":7}}}},
                    "memory_stats":{memory}}}"#
            );
            assert_eq!(serde_json::from_str::<Stats>(&text).unwrap().memory_used(), want);
        }
    }
}
