//! The containers of the scripted Docker: what is shown of them, and what is done to them.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Value, json};

use crate::fake_docker::swarm;
use crate::fake_docker::{
    Container, FakeDocker, Fault, LABEL_SERVICE, NO_PID, Route, Shared, State, refusal,
};

impl FakeDocker {
    /// `inspect` shows it without its labels from now on.
    pub(crate) fn take_labels(&self, name: &str) {
        self.lock().find(name).unwrap().relabelled = Some(BTreeMap::new());
    }

    /// How often it was inspected.
    pub(crate) fn inspections(&self, id: &str) -> usize {
        let path = format!("/containers/{id}/json");
        self.lock().requests.iter().filter(|line| line.ends_with(&path)).count()
    }
}

impl State {
    /// What is to go wrong with this request.
    pub(super) fn fault(&self, route: Route, line: &str) -> Option<Fault> {
        let fault = self.faults.get(&route)?;
        let elsewhere = matches!(fault, Fault::HangOn(id) if !line.contains(id.as_str()));
        (!elsewhere).then(|| fault.clone())
    }

    pub(super) fn find(&mut self, id_or_name: &str) -> Option<&mut Container> {
        self.containers.iter_mut().find(|c| c.id == id_or_name || c.name == id_or_name)
    }

    pub(super) fn make(
        &mut self,
        name: &str,
        labels: BTreeMap<String, String>,
        nano_cpus: u64,
    ) -> String {
        self.made += 1;
        let id = format!("{:064x}", self.made);
        self.containers.push(Container {
            id: id.clone(),
            name: name.to_owned(),
            state: "created".to_owned(),
            labels,
            relabelled: None,
            address: format!("127.0.{}.{}", self.made / 250, 2 + self.made % 250),
            nano_cpus,
            status: String::new(),
            checked: "",
            exit: (0, false),
            wrote: String::new(),
        });
        id
    }

    /// To every stream that is open; a chunk of the answer each.
    pub(super) fn emit(&mut self, action: &str, id: &str) {
        // Docker tells all labels; one is enough here.
        let actor = json!({ "ID": id, "Attributes": { "io.plimsoll.service": "web" } });
        let line = json!({ "Type": "container", "Action": action, "Actor": actor });
        let line = format!("{line}\n");
        let chunk = format!("{:x}\r\n{line}\r\n", line.len());
        self.streams.retain_mut(|stream| stream.write_all(chunk.as_bytes()).is_ok());
    }

    pub(super) fn info(&self) -> String {
        let all = self.containers.len();
        let running = self.containers.iter().filter(|c| c.state == "running").count();
        let info = json!({
            "Name": "far", "DockerRootDir": "/",
            "NCPU": 7, "Containers": all, "ContainersRunning": running,
            "Swarm": { "NodeID": swarm::HERE },
        });
        info.to_string()
    }

    pub(super) fn listed(&self) -> String {
        let ours = self.containers.iter().filter(|c| c.labels.contains_key(LABEL_SERVICE));
        let shown = ours.map(|c| {
            // As since API 1.44: no address while it does not run.
            let address = if c.state == "running" { c.address.as_str() } else { "" };
            json!({
                "Id": c.id, "Names": [format!("/{}", c.name)], "State": c.state,
                "Labels": c.labels, "Status": c.status,
                "NetworkSettings": { "Networks": { "bridge": { "IPAddress": address } } },
            })
        });
        Value::Array(shown.collect()).to_string()
    }

    pub(super) fn create(&mut self, name: &str, body: &[u8]) -> (u16, String) {
        if self.find(name).is_some() {
            let message = format!("Conflict. The container name \"/{name}\" is already in use");
            return refusal(409, &message);
        }
        let body: Value = serde_json::from_slice(body).unwrap();
        self.bodies.push(body.clone());
        let labels = serde_json::from_value(body["Labels"].clone()).unwrap();
        let id = self.make(name, labels, body["HostConfig"]["NanoCpus"].as_u64().unwrap());
        (201, json!({ "Id": id, "Warnings": [] }).to_string())
    }
}

impl Shared {
    pub(super) fn of_container(&self, all: &mut State, route: Route, id: &str) -> (u16, String) {
        let busy = all.busy;
        let shows_start = all.exec_code.is_some();
        let elapsed = self.started.elapsed();
        let container = all.find(id).unwrap();
        let id = container.id.clone();
        let running = container.state == "running";
        match route {
            Route::Start | Route::Stop if running == (route == Route::Start) => {
                return (304, String::new());
            }
            Route::Start => "running".clone_into(&mut container.state),
            Route::Stop => "exited".clone_into(&mut container.state),
            Route::Logs => {
                let length = u8::try_from(container.wrote.len()).unwrap();
                let header = String::from_utf8(vec![2, 0, 0, 0, 0, 0, 0, length]).unwrap();
                return (200, header + &container.wrote);
            }
            Route::Remove => all.containers.retain(|c| c.id != id),
            Route::Stats => {
                let s = elapsed.as_secs();
                let ns = elapsed.subsec_nanos();
                let read = format!("2026-01-01T00:{:02}:{:02}.{ns:09}Z", s / 60, s % 60);
                let used = u64::try_from(elapsed.as_nanos()).unwrap() / 1000 * busy;
                let usage = json!({ "total_usage": used });
                let stats = json!({ "read": read, "cpu_stats": { "cpu_usage": usage } });
                return (200, stats.to_string());
            }
            _ => {
                let labels = container.relabelled.as_ref().unwrap_or(&container.labels);
                let pid = if running { NO_PID } else { 0 };
                let mut shown = json!({
                    "Id": container.id, "Name": format!("/{}", container.name),
                    "Config": { "Labels": labels }, "State": {
                        "Pid": pid, "ExitCode": container.exit.0, "OOMKilled": container.exit.1,
                    },
                    "HostConfig": { "NanoCpus": container.nano_cpus },
                });
                if shows_start {
                    shown["State"]["StartedAt"] = json!("2026-01-01T00:00:01Z");
                }
                if !container.checked.is_empty() {
                    let run = json!({ "ExitCode": 0, "Output": "", "End": container.checked });
                    shown["State"]["Health"] = json!({ "Status": "healthy", "Log": [run] });
                    shown["Config"]["Healthcheck"] = json!({ "Interval": 1, "Timeout": 1 });
                }
                return (200, shown.to_string());
            }
        }
        let event = match route {
            Route::Start => "start",
            Route::Stop => "die",
            _ => "destroy",
        };
        all.emit(event, &id);
        (204, String::new())
    }
}
