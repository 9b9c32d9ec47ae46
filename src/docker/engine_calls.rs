//! Every call of the Engine API that plimsoll makes: what needs it, what is lost without it, and a
//! form of it that changes nothing, with which `doctor` finds out whether a proxy lets it through.
//! A call that is not in the table is a bug of plimsoll.

use crate::model::config::{Config, ProxyMode};
use crate::model::hooks::Hooks;
use crate::model::service::{Origin, Platform, Service};

/// An id that no container, image, network, exec or service has.
pub(crate) const ABSENT_ID: &str =
    "0000000000000000000000000000000000000000000000000000000000000000";
/// The body of a create that fails, since there is no such image.
const ABSENT_IMAGE: &str = concat!(
    r#"{"Image":"sha256:"#,
    "0000000000000000000000000000000000000000000000000000000000000000",
    r#""}"#
);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
    Delete,
}

impl Method {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Delete => "DELETE",
        }
    }
}

/// What in a config needs a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Always,
    /// Services whose containers plimsoll starts and stops.
    Replicas,
    /// Services with an image of their own.
    Images,
    /// Services of docker compose, which are cloned.
    Compose,
    /// Services with networks.
    Networks,
    /// Containers in several networks.
    Joins,
    /// Services whose image is followed in its registry.
    ImageUpdates,
    /// HAProxy in a container.
    Container,
    /// The same, or services with hooks.
    Exec,
    Swarm,
}

impl Need {
    pub(crate) fn applies(self, config: &Config) -> bool {
        let any = |is_one: &dyn Fn(&Service) -> bool| {
            let mut own = config.services.values().filter(|s| s.runs == Platform::Docker);
            own.any(|service| is_one(service))
        };
        let is_composed = |s: &Service| matches!(s.container.origin, Origin::Compose { .. });
        let is_in_container = matches!(config.fixed.proxy.mode, ProxyMode::Container(_));
        match self {
            Need::Always => true,
            Need::Replicas => config.labels || any(&|_| true),
            Need::Images => any(&|service| !is_composed(service)),
            Need::ImageUpdates => any(&|service| service.image_updates.is_some()),
            Need::Compose => config.labels || any(&is_composed),
            Need::Networks => any(&|service| !service.container.networks.is_empty()),
            Need::Joins => {
                config.labels
                    || any(&|service| is_composed(service) || 1 < service.container.networks.len())
            }
            Need::Container => is_in_container,
            Need::Exec => is_in_container || any(&|service| service.hooks != Hooks::default()),
            Need::Swarm => !config.of_swarm().is_empty(),
        }
    }
}

pub(crate) struct EngineCall {
    pub(crate) method: Method,
    /// `ID` stands for one segment, `NAME` for one or more.
    pub(crate) path: &'static str,
    /// The operation, for metrics; independent of the container that a call is for.
    pub(crate) op: &'static str,
    pub(crate) need: Need,
    /// Whether plimsoll is of no use without it.
    pub(crate) is_vital: bool,
    pub(crate) without: &'static str,
    /// Variables of docker-socket-proxy (Tecnativa's and linuxserver's) that allow it.
    pub(crate) switches: &'static str,
    pub(crate) harmless: Harmless,
}

/// The form of a call that changes nothing: with it, `ID` and `NAME` are ABSENT_ID.
pub(crate) struct Harmless {
    pub(crate) query: &'static [(&'static str, &'static str)],
    pub(crate) body: Option<&'static str>,
}

const PLAIN: Harmless = Harmless { query: &[], body: None };

const CHANGE: &str = "CONTAINERS=1 POST=1";
const NO_EXEC: &str = "hooks do not run, and HAProxy in a container is not validated";

const fn read(path: &'static str, op: &'static str, harmless: Harmless) -> EngineCall {
    EngineCall {
        method: Method::Get,
        path,
        op,
        need: Need::Always,
        is_vital: true,
        without: "",
        switches: "CONTAINERS=1",
        harmless,
    }
}

const fn change(path: &'static str, op: &'static str, without: &'static str) -> EngineCall {
    let need = Need::Replicas;
    let call = read(path, op, PLAIN);
    EngineCall { method: Method::Post, need, without, switches: CHANGE, ..call }
}

pub(crate) static ENGINE_CALLS: [EngineCall; 27] = [
    EngineCall {
        without: "Docker counts as unreachable",
        switches: "PING=1",
        ..read("/_ping", "ping", PLAIN)
    },
    EngineCall {
        without: "no container is seen",
        ..read("/containers/json", "list", Harmless { query: &[("limit", "1")], ..PLAIN })
    },
    EngineCall {
        without: "addresses, limits and exits of containers stay unknown",
        ..read("/containers/ID/json", "inspect", PLAIN)
    },
    EngineCall {
        need: Need::Replicas,
        without: "labels of images stay unknown, so no container is taken for a replica",
        switches: "IMAGES=1",
        ..read("/images/NAME/json", "image", PLAIN)
    },
    EngineCall {
        is_vital: false,
        without: "changes are seen at the next check, and who stopped a container is a guess",
        switches: "EVENTS=1",
        ..read("/events", "events", Harmless { query: &[("since", "1"), ("until", "2")], ..PLAIN })
    },
    EngineCall {
        is_vital: false,
        without: "Docker's host is not shown, and Swarm's node is unknown",
        switches: "INFO=1",
        ..read("/info", "info", PLAIN)
    },
    EngineCall {
        need: Need::Replicas,
        is_vital: false,
        without: "CPU and memory are unknown where control groups cannot be read",
        ..read(
            "/containers/ID/stats",
            "stats",
            Harmless { query: &[("stream", "false"), ("one-shot", "true")], ..PLAIN },
        )
    },
    EngineCall {
        need: Need::Replicas,
        is_vital: false,
        without: "failures are reported without the last lines of the container",
        ..read(
            "/containers/ID/logs",
            "logs",
            Harmless { query: &[("stdout", "true"), ("tail", "1")], ..PLAIN },
        )
    },
    EngineCall {
        harmless: Harmless { body: Some(ABSENT_IMAGE), ..PLAIN },
        ..change("/containers/create", "create", "no replica is created")
    },
    EngineCall {
        switches: "CONTAINERS=1 POST=1, or ALLOW_START=1 POST=1",
        ..change("/containers/ID/start", "start", "no replica is started")
    },
    EngineCall {
        switches: "CONTAINERS=1 POST=1, or ALLOW_STOP=1 POST=1",
        harmless: Harmless { query: &[("t", "1")], ..PLAIN },
        ..change("/containers/ID/stop", "stop", "no replica is stopped")
    },
    EngineCall {
        is_vital: false,
        ..change("/containers/ID/unpause", "unpause", "a paused replica is not stopped")
    },
    EngineCall {
        method: Method::Delete,
        ..change("/containers/ID", "remove", "no replica is removed")
    },
    EngineCall {
        need: Need::Compose,
        without: "docker compose's containers are not cloned",
        ..read("/containers/ID/changes", "changes", PLAIN)
    },
    EngineCall {
        need: Need::Images,
        is_vital: false,
        switches: "IMAGES=1 POST=1",
        // The name of an image has no capitals.
        harmless: Harmless { query: &[("fromImage", "INVALID"), ("tag", "1")], ..PLAIN },
        ..change("/images/create", "pull", "an image that is absent is not pulled")
    },
    EngineCall {
        need: Need::ImageUpdates,
        without: "new images behind a tag are not seen",
        switches: "DISTRIBUTION=1",
        ..read("/distribution/NAME/json", "distribution", PLAIN)
    },
    EngineCall {
        need: Need::ImageUpdates,
        is_vital: false,
        switches: "IMAGES=1 POST=1",
        harmless: Harmless { query: &[("repo", "plimsoll-absent"), ("tag", "1")], ..PLAIN },
        ..change("/images/NAME/tag", "tag", "a tag is not moved to the image that runs")
    },
    EngineCall {
        need: Need::Networks,
        is_vital: false,
        without: "`doctor` does not see whether networks exist",
        switches: "NETWORKS=1",
        ..read("/networks/NAME", "network", PLAIN)
    },
    EngineCall {
        need: Need::Joins,
        switches: "NETWORKS=1 POST=1",
        harmless: Harmless { body: Some("{}"), ..PLAIN },
        ..change("/networks/NAME/connect", "connect", "replicas do not join all their networks")
    },
    EngineCall {
        need: Need::Container,
        switches: "CONTAINERS=1 POST=1, or ALLOW_RESTARTS=1 POST=1",
        harmless: Harmless { query: &[("signal", "SIGUSR2")], ..PLAIN },
        ..change("/containers/ID/kill", "kill", "HAProxy is not reloaded")
    },
    EngineCall {
        need: Need::Exec,
        switches: "CONTAINERS=1 EXEC=1 POST=1",
        harmless: Harmless { body: Some(r#"{"Cmd":["true"]}"#), ..PLAIN },
        ..change("/containers/ID/exec", "exec", NO_EXEC)
    },
    EngineCall {
        need: Need::Exec,
        switches: "EXEC=1 POST=1",
        harmless: Harmless { body: Some(r#"{"Detach":false,"Tty":true}"#), ..PLAIN },
        ..change("/exec/ID/start", "exec", NO_EXEC)
    },
    EngineCall {
        need: Need::Exec,
        without: NO_EXEC,
        switches: "EXEC=1",
        ..read("/exec/ID/json", "exec", PLAIN)
    },
    EngineCall {
        need: Need::Swarm,
        without: "Swarm's leader is unknown",
        switches: "NODES=1",
        ..read("/nodes", "nodes", PLAIN)
    },
    EngineCall {
        need: Need::Swarm,
        without: "tasks of Swarm services are unknown",
        switches: "TASKS=1",
        ..read("/tasks", "tasks", Harmless { query: &[("filters", NO_TASK)], ..PLAIN })
    },
    EngineCall {
        need: Need::Swarm,
        without: "Swarm services are not read",
        switches: "SERVICES=1",
        ..read("/services/NAME", "service", PLAIN)
    },
    EngineCall {
        need: Need::Swarm,
        switches: "SERVICES=1 POST=1",
        // The body is no JSON, so that nothing is updated whatever the id.
        harmless: Harmless { query: &[("version", "1")], body: Some("{") },
        ..change("/services/NAME/update", "resize", "Swarm services are not scaled")
    },
];

const NO_TASK: &str = r#"{"id":["plimsoll-absent"]}"#;

impl EngineCall {
    /// `POST /containers/create`.
    pub(crate) fn words(&self) -> String {
        format!("{} {}", self.method.word(), self.path)
    }

    /// The path of the harmless form.
    pub(crate) fn harmless_path(&self) -> String {
        let part = |part| if matches!(part, "ID" | "NAME") { ABSENT_ID } else { part };
        self.path.split('/').map(part).collect::<Vec<_>>().join("/")
    }
}

/// The row of a call; its path is one without the version.
pub(crate) fn find(method: Method, path: &str) -> Option<&'static EngineCall> {
    let mut calls = ENGINE_CALLS.iter().filter(|call| call.method == method);
    // A fixed path comes before one with an id in the table.
    calls.find(|call| is_like(call.path, path))
}

fn is_like(pattern: &str, path: &str) -> bool {
    let mut pattern = pattern.split('/').peekable();
    let mut path = path.split('/').peekable();
    while let Some(part) = pattern.next() {
        let Some(of) = path.next() else { return false };
        match part {
            "ID" | "NAME" if of.is_empty() => return false,
            "ID" => (),
            "NAME" => {
                // The rest of a name, up to what follows it.
                let follows = pattern.clone().count();
                while follows < path.clone().count() {
                    path.next();
                }
            }
            part if part != of => return false,
            _ => (),
        }
    }
    path.next().is_none()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::docker::engine_calls::{ABSENT_ID, ABSENT_IMAGE, ENGINE_CALLS, Method, find};

    #[test]
    fn a_call_is_found_by_what_it_asks() {
        for (method, path, want) in [
            (Method::Get, "/_ping", Some("ping")),
            (Method::Get, "/containers/json", Some("list")),
            (Method::Get, "/containers/a/json", Some("inspect")),
            (Method::Get, "/containers/a/stats", Some("stats")),
            (Method::Post, "/containers/create", Some("create")),
            (Method::Delete, "/containers/a", Some("remove")),
            (Method::Get, "/images/a/json", Some("image")),
            (Method::Get, "/images/a/b/c:1/json", Some("image")),
            (Method::Post, "/networks/a/connect", Some("connect")),
            (Method::Get, "/networks/a", Some("network")),
            (Method::Get, "/exec/a/json", Some("exec")),
            (Method::Get, "/services/a%2Fb", Some("service")),
            (Method::Get, "/images//json", None),
            (Method::Get, "/images/json", None),
            (Method::Get, "/containers//json", None),
            (Method::Get, "/containers/a/b/json", None),
            (Method::Post, "/containers/json", None),
            (Method::Delete, "/containers/a/b", None),
            (Method::Post, "/build", None),
            (Method::Get, "", None),
        ] {
            assert_eq!(find(method, path).map(|call| call.op), want, "{path}");
        }
    }

    #[test]
    fn each_row_is_whole_and_found_by_its_harmless_form() {
        let words: BTreeSet<String> = ENGINE_CALLS.iter().map(|call| call.words()).collect();
        assert_eq!(words.len(), ENGINE_CALLS.len());
        for call in &ENGINE_CALLS {
            let found = find(call.method, &call.harmless_path()).map(|call| call.words());
            assert_eq!(found, Some(call.words()));
            assert!(!call.without.is_empty() && !call.switches.is_empty(), "{}", call.words());
        }
        assert!(ABSENT_IMAGE.contains(ABSENT_ID));
    }

    /// Also what the documentation says of it: who writes rules of a proxy reads that table.
    #[test]
    fn quickref_has_each_call_with_its_switches() {
        let quickref = include_str!("../../QUICKREF.md");
        let (_, table) = quickref.split_once("| call | switches |").expect("the table is there");
        let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| "));
        let documented: Vec<String> = rows
            .filter_map(|row| row.rsplit_once(" | ").map(|(cells, _)| cells.to_owned()))
            .collect();
        let wanted: Vec<String> = ENGINE_CALLS
            .iter()
            .map(|call| {
                let switches = call.switches.replace(", or ", "`, or `");
                format!("`{}` | `{switches}`", call.words())
            })
            .collect();
        assert_eq!(documented, wanted);
    }
}
