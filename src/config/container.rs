//! Keys of a service that say how its containers are created.

use std::collections::BTreeMap;

use crate::config::container_options;
use crate::config::cursor::{Node, Section};
use crate::config::env_file::env_files;
use crate::config::environment::environment;
use crate::model::service::{ContainerSpec, Origin, Restart};
use crate::model::units;

/// Docker's minimum, in bytes.
const MEMORY_MIN: u64 = 6 << 20;
/// Options that Docker accepts after the second colon of a volume.
const VOLUME_OPTIONS: [&str; 11] =
    ["ro", "rw", "z", "Z", "nocopy", "shared", "slave", "private", "rshared", "rslave", "rprivate"];
/// Prefixes of labels that mark the owner of a container; the operator cannot set them.
const LABELS_TAKEN: [&str; 3] = ["io.plimsoll.", "com.docker.compose.", "com.docker.swarm."];

/// Keys that apply to containers created from `image`.
pub(super) const MAKE: [&str; 27] = [
    "command",
    "environment",
    "env_file",
    "volumes",
    "networks",
    "labels",
    "user",
    "cpus",
    "memory",
    "restart",
    "entrypoint",
    "hostname",
    "working_dir",
    "stop_signal",
    "init",
    "read_only",
    "extra_hosts",
    "cap_add",
    "cap_drop",
    "security_opt",
    "tmpfs",
    "devices",
    "ulimits",
    "sysctls",
    "shm_size",
    "gpus",
    "logging",
];

pub(crate) fn container(section: &Section, needs_origin: bool) -> Option<ContainerSpec> {
    let texts = |key| section.get(key).and_then(|n: Node| n.texts()).unwrap_or_default();
    let cpus = section.get("cpus").and_then(|n| n.thousandths(10..=1024_000, " of cores"));
    let user = section.get("user").and_then(|n| Some(n.text()?.into_owned()));
    let restart = section
        .get("restart")
        .and_then(|n| n.word("no, always, unless-stopped, on-failure or on-failure:5", restart));
    let mut variables = env_files(section.get("env_file"));
    variables.extend(environment(section.get("environment")));
    let volumes = volumes(section.get("volumes"));
    let options = container_options::options(section, &volumes);
    let origin = origin(section, needs_origin);
    Some(ContainerSpec {
        command: texts("command"),
        environment: variables,
        volumes,
        nano_cpus: cpus.map(|thousandths| thousandths * 1_000_000),
        memory: section.get("memory").and_then(|n| memory(&n)),
        networks: networks(section.get("networks")),
        labels: labels(section.section("labels")),
        user,
        restart: restart.unwrap_or(Restart::No),
        options,
        origin: origin?,
        pin: None,
    })
}

fn origin(section: &Section, is_needed: bool) -> Option<Origin> {
    let image = section.get("image").map(|n| image(&n));
    let compose = section.section("compose");
    if let (Some(_), Some(_)) = (&image, &compose)
        && let Some(node) = section.get("compose")
    {
        node.error("a service has either `image` or `compose`, not both");
    }
    match (image, compose) {
        (Some(image), _) => image,
        (None, Some(compose)) => {
            of_compose(section);
            self::compose(compose)
        }
        (None, None) if section.get("compose").is_some() => None,
        (None, None) if is_needed => {
            section.error(
                "`image` is missing: the image of its containers (or `compose`, the service that \
                 docker compose started)",
            );
            None
        }
        (None, None) => Some(Origin::Image(String::new())),
    }
}

fn image(node: &Node) -> Option<Origin> {
    let text = node.text()?;
    if text.contains(char::is_whitespace) {
        node.wrong("an image name without spaces")
    } else {
        Some(Origin::Image(text.into_owned()))
    }
}

/// With `compose`, the compose file defines the containers, and new ones are copies of those.
fn of_compose(section: &Section) {
    for key in MAKE {
        if let Some(node) = section.get(key) {
            node.error("cannot be used with `compose`; set it in the compose file");
        }
    }
    if let Some(min) = section.get("min_replicas")
        && min.number() == Some("0")
    {
        min.error("must be 1 or more with `compose`: one container has to stay as the template");
    }
}

fn compose(section: Section) -> Option<Origin> {
    let read = |key, what| section.need(key, what).and_then(|n| Some(n.text()?.into_owned()));
    let project = read("project", "the project's name, as `docker compose ls` shows it");
    let service = read("service", "the service's name in the compose file");
    section.done();
    Some(Origin::Compose { project: project?, service: service? })
}

fn volumes(node: Option<Node>) -> Vec<String> {
    let nodes = node.and_then(|n| n.list()).unwrap_or_default();
    let volume = |node: &Node| {
        let text = node.text()?;
        let parts: Vec<&str> = text.split(':').collect();
        let good = match parts[..] {
            [source, target] => is_volume(source, target),
            [source, target, options] => {
                let known = |option| VOLUME_OPTIONS.contains(&option);
                is_volume(source, target) && options.split(',').all(known)
            }
            _ => false,
        };
        if good {
            return Some(text.into_owned());
        }
        node.wrong(
            "\"SOURCE:TARGET\" or \"SOURCE:TARGET:ro\", SOURCE an absolute path or a volume's \
             name, TARGET an absolute path in the container",
        )
    };
    nodes.iter().filter_map(volume).collect()
}

fn is_volume(source: &str, target: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let named = 1 < source.len() && source.bytes().all(plain) && !source.starts_with(['.', '-']);
    (source.starts_with('/') || named) && target.starts_with('/')
}

/// Refuses networks in which a container has no address of its own, so HAProxy cannot reach it.
fn networks(node: Option<Node>) -> Vec<String> {
    let nodes = node.and_then(|n| n.list()).unwrap_or_default();
    let network = |node: &Node| {
        let text = node.text()?;
        if ["host", "none"].contains(&&*text) || text.starts_with("container:") {
            return node.wrong("a network in which a container has an address of its own");
        }
        Some(text.into_owned())
    };
    nodes.iter().filter_map(network).collect()
}

fn labels(section: Option<Section>) -> BTreeMap<String, String> {
    let Some(section) = section else { return BTreeMap::new() };
    let mut out = BTreeMap::new();
    for (name, node) in section.entries() {
        if name.is_empty() || LABELS_TAKEN.iter().any(|taken| name.starts_with(taken)) {
            node.bad_name(
                "a label needs a name, without the reserved prefixes io.plimsoll., \
                 com.docker.compose. and com.docker.swarm.",
            );
            continue;
        }
        match &node.string {
            Some(text) => drop(out.insert(name.to_owned(), text.clone().into_owned())),
            None => drop(node.wrong::<()>("a text in double quotes")),
        }
    }
    out
}

fn restart(word: &str) -> Option<Restart> {
    match word {
        "no" => Some(Restart::No),
        "always" => Some(Restart::Always),
        "unless-stopped" => Some(Restart::UnlessStopped),
        "on-failure" => Some(Restart::OnFailure(0)),
        _ => word.strip_prefix("on-failure:")?.parse().ok().map(Restart::OnFailure),
    }
}

fn memory(node: &Node) -> Option<u64> {
    let bytes = node.number().or(node.string.as_deref()).and_then(units::bytes);
    bytes
        .filter(|b| MEMORY_MIN <= *b)
        .or_else(|| node.wrong(r#"a size of at least 6m: bytes, or like "512m" or "2g""#))
}
