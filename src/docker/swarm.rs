//! Docker Swarm services: reads nodes, services and tasks from a manager, and sets `Replicas`.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::docker::Docker;
use crate::docker::client::{ApiResponse, Call};
use crate::docker::engine_calls::Method;
use crate::model::action::ActionOutput;
use crate::model::replica::ContainerId;
use crate::model::swarm::{Swarm, SwarmNode, SwarmSeen, Task, TaskState};
use crate::model::url;
use crate::outside::{Error, Result};

/// Time for all services together: a Swarm without a quorum does not answer, and the tick must go
/// on.
const SWEEP: Duration = Duration::from_secs(2);
/// A call that ends this close to the deadline is treated as timed out.
const NEARLY: Duration = Duration::from_millis(20);
const LATE: &str = "Swarm does not answer in time; perhaps too few of its managers are up";
/// Write attempts while somebody else changes the service at the same time.
const TRIES: u32 = 5;
/// Swarm's message when the service was changed since it was read. Its status is 500.
const OUT_OF_SEQUENCE: &str = "update out of sequence";
const NO_MANAGER: &str = "not a swarm manager";

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct NodeWire {
    #[serde(rename = "ID")]
    id: String,
    spec: NodeSpec,
    description: NodeDescription,
    status: StatusWire,
    manager_status: Option<ManagerStatus>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct NodeSpec {
    availability: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct NodeDescription {
    hostname: String,
    resources: Resources,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Resources {
    #[serde(rename = "NanoCPUs")]
    nano_cpus: u64,
    memory_bytes: u64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct StatusWire {
    state: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct ManagerStatus {
    leader: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct InfoWire {
    swarm: OwnNode,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OwnNode {
    #[serde(rename = "NodeID")]
    node_id: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct ServiceWire {
    #[serde(rename = "ID")]
    id: String,
    version: VersionWire,
    endpoint: ServiceEndpoint,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct VersionWire {
    index: u64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct ServiceEndpoint {
    ports: Option<Vec<PublishedPort>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct PublishedPort {
    protocol: String,
    target_port: u16,
    published_port: u16,
    publish_mode: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct TaskWire {
    #[serde(rename = "ID")]
    id: String,
    slot: u32,
    #[serde(rename = "NodeID")]
    node_id: String,
    status: StatusWire,
}

impl TaskWire {
    fn into_task(self) -> Task {
        let state = match self.status.state.as_str() {
            "running" => TaskState::Running,
            "complete" | "shutdown" | "failed" | "rejected" | "remove" | "orphaned" => {
                TaskState::Ended
            }
            // New, pending, assigned, accepted, preparing, ready, starting.
            _ => TaskState::Starting,
        };
        Task { id: ContainerId(self.id), slot: self.slot, state, node: self.node_id }
    }
}

impl NodeWire {
    fn into_node(self, own: &str) -> SwarmNode {
        let Resources { nano_cpus, memory_bytes } = self.description.resources;
        SwarmNode {
            is_here: self.id == own,
            id: self.id,
            name: self.description.hostname,
            state: self.status.state,
            availability: self.spec.availability,
            cpus: nano_cpus / 1_000_000_000,
            memory: memory_bytes,
            leads: self.manager_status.is_some_and(|status| status.leader),
        }
    }
}

fn published(endpoint: ServiceEndpoint) -> BTreeMap<u16, u16> {
    let ports = endpoint.ports.unwrap_or_default().into_iter();
    let everywhere = ports.filter(|p| p.protocol == "tcp" && p.publish_mode == "ingress");
    everywhere.map(|p| (p.target_port, p.published_port)).collect()
}

/// The `Replicas` of a service; only replicated services have it.
fn number<'a>(name: &str, service: &'a mut Value) -> Result<&'a mut Value> {
    let modes = service.pointer("/Spec/Mode").and_then(Value::as_object);
    let mode = modes.and_then(|modes| modes.keys().next()).cloned().unwrap_or_default();
    service.pointer_mut("/Spec/Mode/Replicated/Replicas").filter(|n| n.is_u64()).ok_or_else(|| {
        Error::new(format!(
            "the Swarm service {name} has mode {mode}, which has no number of replicas; only \
             replicated services can be scaled"
        ))
    })
}

fn count(number: &Value) -> u32 {
    number.as_u64().map_or(0, |n| u32::try_from(n).unwrap_or(u32::MAX))
}

fn path_of(name: &str, rest: &str) -> String {
    let mut path = "/services/".to_owned();
    url::encode(name, &mut path);
    path + rest
}

fn manager(answer: ApiResponse) -> Result<ApiResponse> {
    if answer.status == 503 && answer.message().contains(NO_MANAGER) {
        return Err(Error::new(
            "this node is not a swarm manager, so it cannot read or change services; run plimsoll \
             on the leading manager",
        ));
    }
    answer.ok()
}

/// Returns the time that is left for one sweep.
type Left<'a> = &'a dyn Fn() -> Result<Duration>;

impl Docker {
    pub(super) fn sweep_swarm(&self, of: &[&str]) -> Result<Swarm> {
        let until = self.clock.now().plus(SWEEP.min(self.look_timeout()));
        let rest = || until.since(self.clock.now());
        let left = || Some(rest()).filter(|r| !r.is_zero()).ok_or_else(|| Error::new(LATE));
        // Docker itself answers; a majority of the managers is missing.
        let late = |err| if rest() <= NEARLY { Error::new(LATE) } else { err };
        let nodes = self.nodes(&left).map_err(late)?;
        let seen = |name: &&str| {
            let seen = self.swarm_service(name, &left).map_err(|err| late(err).to_string());
            ((*name).to_owned(), seen)
        };
        Ok(Swarm { nodes, services: of.iter().map(seen).collect() })
    }

    fn nodes(&self, left: Left) -> Result<Vec<SwarmNode>> {
        let answer = manager(self.client.call(Call::get("/nodes"), left()?)?)?;
        let nodes: Vec<NodeWire> = answer.json()?;
        let known = self.node.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // A node that leaves and rejoins has another id; `info` costs more than a list.
        let own = match known.filter(|own| nodes.iter().any(|node| node.id == *own)) {
            Some(own) => own,
            None => {
                let info = self.client.call(Call::get("/info"), left()?)?.ok()?;
                let own = info.json::<InfoWire>()?.swarm.node_id;
                *self.node.lock().unwrap_or_else(PoisonError::into_inner) = Some(own.clone());
                own
            }
        };
        Ok(nodes.into_iter().map(|node| node.into_node(&own)).collect())
    }

    fn swarm_service(&self, name: &str, left: Left) -> Result<SwarmSeen> {
        let (wire, mut service) = self.read_service(name, left()?)?;
        let desired = count(number(name, &mut service)?);
        let filters = format!(r#"{{"service":["{}"],"desired-state":["running"]}}"#, wire.id);
        let query = [("filters", filters.as_str())];
        let call = Call { query: &query, ..Call::get("/tasks") };
        let tasks: Vec<TaskWire> = self.client.read(call, left()?)?;
        let tasks = tasks.into_iter().map(TaskWire::into_task).collect();
        Ok(SwarmSeen { desired, published: published(wire.endpoint), tasks })
    }

    /// The service, parsed and as it is: an update must write back all of it.
    fn read_service(&self, name: &str, timeout: Duration) -> Result<(ServiceWire, Value)> {
        let answer = self.client.call(Call::get(&path_of(name, "")), timeout)?;
        if answer.status == 404 {
            return Err(Error::new(format!(
                "there is no Swarm service {name}; `docker service ls` lists them"
            )));
        }
        let answer = manager(answer)?;
        Ok((answer.json()?, answer.json()?))
    }

    /// If somebody else writes between our read and write, the service is read again. If its number
    /// is no longer `from`, it is left for the next tick.
    pub(super) fn resize_swarm(&self, name: &str, from: u32, to: u32) -> Result<ActionOutput> {
        for _ in 0..TRIES {
            let (wire, mut service) = self.read_service(name, self.look_timeout())?;
            let replicas = number(name, &mut service)?;
            if count(replicas) != from {
                return Ok(ActionOutput::Unchanged);
            }
            *replicas = Value::from(to);
            let body = service.get("Spec").map(Value::to_string).unwrap_or_default();
            let version = wire.version.index.to_string();
            let path = path_of(&wire.id, "/update");
            let call = Call {
                method: Method::Post,
                query: &[("version", &version)],
                body: Some(body.as_bytes()),
                idempotent: false,
                ..Call::get(&path)
            };
            let answer = self.client.call(call, self.timeout)?;
            if answer.status != 500 || !answer.message().contains(OUT_OF_SEQUENCE) {
                return manager(answer).map(|_| ActionOutput::Changed);
            }
        }
        Err(Error::new(format!(
            "the Swarm service {name} was changed by somebody else during each of {TRIES} updates; \
             plimsoll retries at the next check"
        )))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::docker::swarm::{
        NodeWire, ServiceEndpoint, TaskWire, count, number, path_of, published,
    };
    use crate::model::swarm::TaskState;

    #[test]
    fn a_task_is_ready_only_when_it_runs() {
        for (word, want) in [
            ("new", TaskState::Starting),
            ("pending", TaskState::Starting),
            ("preparing", TaskState::Starting),
            ("ready", TaskState::Starting),
            ("starting", TaskState::Starting),
            ("running", TaskState::Running),
            ("failed", TaskState::Ended),
            ("rejected", TaskState::Ended),
            ("shutdown", TaskState::Ended),
        ] {
            let task = json!({ "ID": "a", "Slot": 2, "NodeID": "n", "Status": { "State": word },
                               "DesiredState": "running" });
            let task = serde_json::from_value::<TaskWire>(task).unwrap().into_task();
            assert_eq!((task.state, task.slot), (want, 2), "{word}");
        }
        // One that waits for a node has none.
        let waits = json!({ "ID": "a", "Slot": 1, "Status": { "State": "pending" } });
        assert_eq!(serde_json::from_value::<TaskWire>(waits).unwrap().into_task().node, "");
    }

    #[test]
    fn a_node_leads_only_as_a_manager() {
        let node = |status: Value| {
            let resources = json!({ "NanoCPUs": 2_000_000_000_u64, "MemoryBytes": 1024 });
            let mut node = json!({
                "ID": "n", "Spec": { "Availability": "drain" }, "Status": { "State": "ready" },
                "Description": { "Hostname": "far", "Resources": resources },
            });
            if !status.is_null() {
                node["ManagerStatus"] = status;
            }
            serde_json::from_value::<NodeWire>(node).unwrap().into_node("n")
        };
        let leader = node(json!({ "Leader": true, "Reachability": "reachable" }));
        assert_eq!((leader.name.as_str(), leader.cpus, leader.memory), ("far", 2, 1024));
        assert_eq!((leader.state.as_str(), leader.availability.as_str()), ("ready", "drain"));
        assert!(leader.leads && leader.is_here);
        assert!(!node(json!({ "Reachability": "reachable" })).leads);
        assert!(!node(Value::Null).leads);
    }

    #[test]
    fn only_what_every_node_listens_on_counts_as_published() {
        let port = |protocol: &str, mode: &str, target: u16| {
            json!({ "Protocol": protocol, "TargetPort": target, "PublishedPort": target + 8000,
                    "PublishMode": mode })
        };
        let ports = json!([
            port("tcp", "ingress", 80),
            port("tcp", "host", 81),
            port("udp", "ingress", 82)
        ]);
        let endpoint =
            |ports| serde_json::from_value::<ServiceEndpoint>(json!({ "Ports": ports })).unwrap();
        assert_eq!(published(endpoint(ports)), [(80, 8080)].into());
        assert_eq!(published(endpoint(Value::Null)), [].into());
    }

    #[test]
    fn only_a_replicated_service_has_a_number() {
        let service = |mode: Value| json!({ "Spec": { "Name": "web", "Mode": mode } });
        let mut good = service(json!({ "Replicated": { "Replicas": 3 } }));
        let found = number("web", &mut good).unwrap();
        assert_eq!(count(found), 3);
        *found = Value::from(4);
        assert_eq!(good, service(json!({ "Replicated": { "Replicas": 4 } })));
        for mode in ["Global", "ReplicatedJob", "GlobalJob"] {
            let refused = number("web", &mut service(json!({ mode: {} }))).unwrap_err();
            assert!(refused.to_string().contains(&format!("has mode {mode},")), "{refused}");
        }
        assert!(number("web", &mut json!({})).is_err());
    }

    #[test]
    fn a_name_is_one_part_of_a_path() {
        assert_eq!(path_of("a/b", "/update"), "/services/a%2Fb/update");
    }
}
