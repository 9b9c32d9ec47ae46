//! The Swarm of the scripted Docker: two nodes, and replicated services whose tasks run at once.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::fake_docker::{FakeDocker, Route, refusal};
use crate::fake_http::Request;

/// The node that the daemon is on, and another one.
pub(crate) const HERE: &str = "node-here";
const THERE: &str = "node-there";

/// No node of a Swarm, until something is done to it.
#[derive(Default)]
pub(super) struct Swarm {
    /// The node that leads; `None`: there is no Swarm here.
    leader: Option<&'static str>,
    services: BTreeMap<String, Service>,
    /// So many updates are forestalled by somebody else's.
    forestalled: u32,
}

struct Service {
    spec: Value,
    version: u64,
    /// Where every node takes connections for the port 80 of the tasks.
    published: Option<u16>,
    /// Tasks from this one on do not run yet.
    running: u64,
}

impl Service {
    fn replicas(&mut self) -> &mut Value {
        self.spec.pointer_mut("/Mode/Replicated/Replicas").unwrap()
    }

    fn shown(&self, name: &str) -> Value {
        let port = |port| {
            json!({ "Protocol": "tcp", "TargetPort": 80, "PublishedPort": port,
                    "PublishMode": "ingress" })
        };
        let ports: Vec<Value> = self.published.map(port).into_iter().collect();
        json!({ "ID": format!("id-of-{name}"), "Version": { "Index": self.version },
                "Spec": self.spec, "Endpoint": { "Ports": ports } })
    }
}

impl Swarm {
    pub(super) fn answer(&mut self, route: Route, request: &Request) -> (u16, String) {
        if self.leader.is_none() {
            return refusal(503, "This node is not a swarm manager. Use \"docker swarm init\"");
        }
        if route == Route::Nodes {
            return (200, self.nodes().to_string());
        }
        let name = match route {
            Route::Tasks => request.query("filters").split("id-of-").nth(1).unwrap_or_default(),
            _ => request.path.split("/services/").nth(1).unwrap_or_default(),
        };
        let name = name.split(['"', '%', '/']).next().unwrap_or_default();
        let name = name.trim_start_matches("id-of-").to_owned();
        let Some(service) = self.services.get_mut(&name) else {
            return refusal(404, &format!("service {name} not found"));
        };
        match route {
            Route::Tasks => (200, tasks(service).to_string()),
            Route::Resize => self.update(&name, request),
            _ => (200, service.shown(&name).to_string()),
        }
    }

    fn nodes(&self) -> Value {
        let node = |id: &str, cpus: u64| {
            let mut node = json!({
                "ID": id, "Spec": { "Availability": "active" }, "Status": { "State": "ready" },
                "Description": { "Hostname": format!("host-of-{id}"), "Resources": {
                    "NanoCPUs": cpus * 1_000_000_000, "MemoryBytes": 1_u64 << 30,
                } },
            });
            // As Swarm has it, what is not so is left out.
            if self.leader == Some(id) {
                node["ManagerStatus"] = json!({ "Leader": true, "Reachability": "reachable" });
            }
            node
        };
        json!([node(HERE, 2), node(THERE, 4)])
    }

    /// Nothing but the number may be another one, and nobody may have written meanwhile.
    fn update(&mut self, name: &str, request: &Request) -> (u16, String) {
        let service = self.services.get_mut(name).unwrap();
        if 0 < self.forestalled {
            self.forestalled -= 1;
            service.version += 1;
        }
        if request.query("version") != service.version.to_string() {
            let message = "rpc error: code = Unknown desc = update out of sequence";
            return refusal(500, message);
        }
        let new: Value = serde_json::from_slice(&request.body).unwrap();
        let mut old = service.spec.clone();
        old["Mode"] = new["Mode"].clone();
        if old != new {
            return refusal(400, "the spec is not the whole one");
        }
        service.spec = new;
        service.version += 3;
        (200, json!({ "Warnings": null }).to_string())
    }
}

fn tasks(service: &mut Service) -> Value {
    let count = service.replicas().as_u64().unwrap();
    let running = service.running;
    let task = |slot: u64| {
        let state = if running < slot { "preparing" } else { "running" };
        let node = if slot.is_multiple_of(2) { THERE } else { HERE };
        json!({ "ID": format!("{slot:x<25}"), "Slot": slot, "DesiredState": "running",
                "NodeID": node,
                "Status": { "State": state } })
    };
    Value::Array((1..=count).map(task).collect())
}

impl FakeDocker {
    /// There is a Swarm from now on, led by this node or by the other one.
    pub(crate) fn lead(&self, is_here: bool) {
        self.lock().swarm.leader = Some(if is_here { HERE } else { THERE });
    }

    pub(crate) fn leave_swarm(&self) {
        self.lock().swarm.leader = None;
    }

    pub(crate) fn add_swarm_service(&self, name: &str, replicas: u64, published: Option<u16>) {
        let mode = json!({ "Replicated": { "Replicas": replicas } });
        // A key that nobody knows, as of a Docker that is younger than the daemon.
        let spec = json!({ "Name": name, "Mode": mode, "Odd": { "Deep": [1, "two"] } });
        let service = Service { spec, version: 10, published, running: u64::MAX };
        self.lock().swarm.services.insert(name.to_owned(), service);
    }

    /// It has no number from now on.
    pub(crate) fn make_global(&self, name: &str) {
        let mut all = self.lock();
        all.swarm.services.get_mut(name).unwrap().spec["Mode"] = json!({ "Global": {} });
    }

    /// So many of its tasks run, others do not yet.
    pub(crate) fn run_tasks(&self, name: &str, running: u64) {
        self.lock().swarm.services.get_mut(name).unwrap().running = running;
    }

    /// As `docker service scale` does.
    pub(crate) fn rescale(&self, name: &str, replicas: u64) {
        let mut all = self.lock();
        let service = all.swarm.services.get_mut(name).unwrap();
        *service.replicas() = json!(replicas);
        service.version += 1;
    }

    pub(crate) fn swarm_replicas(&self, name: &str) -> u64 {
        let mut all = self.lock();
        all.swarm.services.get_mut(name).unwrap().replicas().as_u64().unwrap()
    }

    /// Somebody else writes right before each of the next so many updates.
    pub(crate) fn forestall(&self, times: u32) {
        self.lock().swarm.forestalled = times;
    }
}
