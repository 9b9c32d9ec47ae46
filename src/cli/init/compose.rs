//! Services of a compose file as drafts. Compose goes on to own them: the settings of their
//! containers stay in the compose file.

use serde_json::{Map, Value, json};

use crate::cli::compose_file::{ComposeFile, health_test, is_checked, words};
use crate::cli::init::draft::Draft;

/// Images whose replicas keep data of their own, and cannot be scaled by adding more.
const STATEFUL: [&str; 16] = [
    "postgres",
    "mysql",
    "mariadb",
    "redis",
    "valkey",
    "mongo",
    "rabbitmq",
    "kafka",
    "zookeeper",
    "elasticsearch",
    "opensearch",
    "etcd",
    "memcached",
    "minio",
    "cassandra",
    "influxdb",
];

/// A guess where none is known.
const PORT_UNKNOWN: u16 = 8080;

pub(crate) fn drafts(file: &ComposeFile) -> Vec<Draft> {
    file.services().map(|(name, service)| draft(file, name, service)).collect()
}

fn draft(file: &ComposeFile, name: &str, service: &Map<String, Value>) -> Draft {
    let mut draft = Draft::new(name);
    draft.put("compose", json!({ "project": file.project, "service": name }));
    let image = service.get("image").and_then(words).map(|image| file.expand(&image));
    let kept = STATEFUL.iter().find(|kind| is_of(image.as_deref().unwrap_or(name), kind));
    if let Some(kind) = kept {
        draft.unfit = Some(format!("{kind} keeps data in each replica"));
    } else if service.get("network_mode").and_then(words).is_some_and(|mode| mode == "host") {
        draft.unfit = Some("`network_mode: host`: two replicas cannot share a port".to_owned());
    }
    if service.contains_key("container_name") {
        draft.remarks.push(
            "remove `container_name` from the compose file: it allows one replica only".to_owned(),
        );
    }
    ports(file, service, &mut draft);
    draft.guess_bounds(file.replicas(service));
    let deploy = service.get("deploy").unwrap_or(&Value::Null);
    let limit = service.get("cpus").or(deploy["resources"]["limits"].get("cpus"));
    if limit.is_none() {
        draft.remarks.push(
            "no CPU limit in the compose file (`cpus`): thresholds are % of one core".to_owned(),
        );
    }
    health(service, &mut draft);
    draft
}

fn ports(file: &ComposeFile, service: &Map<String, Value>, draft: &mut Draft) {
    match file.ports(service).first() {
        Some(port) => draft.put("port", *port),
        None => draft.guess(
            "port",
            PORT_UNKNOWN,
            "the compose file names no port; write the port that a replica listens on, or remove \
             the service if it listens on none",
        ),
    }
    let host = file.published(service).into_iter().find_map(|port| {
        let outside = port.outside?;
        let port = outside.rsplit(':').next()?.parse::<u16>().ok()?;
        Some(if outside.contains(':') { json!(outside) } else { json!(port) })
    });
    if let Some(host) = host {
        let why = "compose publishes this port now; change it to `expose` there first, so that \
                   HAProxy can take it";
        draft.guess("listen", host, why);
    }
}

/// An HTTP check if the compose file's check requests a URL, else Docker's own health state.
fn health(service: &Map<String, Value>, draft: &mut Draft) {
    let line = health_test(service).join(" ");
    let address = line.split_whitespace().find_map(|word| {
        let rest = word.trim_matches(['"', '\'']);
        let plain = rest.strip_prefix("http://").map(|address| (address, "http"));
        plain.or_else(|| rest.strip_prefix("https://").map(|address| (address, "https")))
    });
    let Some((address, scheme)) = address else {
        if is_checked(service) {
            draft.put("health_check", json!({ "type": "docker" }));
        }
        return;
    };
    let path = address.find('/').map_or("/", |at| &address[at..]);
    let check = match scheme {
        "https" => json!({ "path": path, "scheme": "https" }),
        _ => json!({ "path": path }),
    };
    draft.put("health_check", check);
}

fn is_of(image: &str, kind: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split(['-', '_', ':', '@']).any(|part| part == kind)
}
