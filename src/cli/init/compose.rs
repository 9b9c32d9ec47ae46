//! Services of a compose file as drafts. Compose goes on to own them: the settings of their
//! containers stay in the compose file.

use std::path::{self, Component, Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::cli::init::draft::Draft;
use crate::cli::init::yaml;

pub(crate) struct Composed {
    pub(crate) drafts: Vec<Draft>,
    /// What was left out of them, one line each.
    pub(crate) ignored: Vec<String>,
}

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

/// `variable` looks up an environment variable.
pub(crate) fn read(
    file: &Path,
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Composed, String> {
    // JSON is nearly YAML, but its own reader has the better messages.
    let (document, mut ignored) = if text.trim_start().starts_with('{') {
        let document =
            serde_json::from_str(text).map_err(|err| format!("is not valid JSON: {err}"))?;
        (document, Vec::new())
    } else {
        let read = yaml::read(text).map_err(|err| format!("is not valid YAML: {err}"))?;
        let placed = |(line, what): (usize, String)| format!("{}:{line}: {what}", file.display());
        (read.value, read.ignored.into_iter().map(placed).collect())
    };
    let Some(services) = document["services"].as_object().filter(|all| !all.is_empty()) else {
        return Err("has no `services`; is it a compose file?".to_owned());
    };
    let source = ComposeFile { project: project(&document, file, variable), variable };
    let mut drafts = Vec::new();
    for (name, service) in services {
        let Some(service) = service.as_object() else {
            ignored.push(format!("services.{name} is not a map; the service is left out"));
            continue;
        };
        drafts.push(source.draft(name, service));
    }
    Ok(Composed { drafts, ignored })
}

/// As compose names it: `COMPOSE_PROJECT_NAME`, else the file's `name`, else its folder.
fn project(document: &Value, file: &Path, variable: &dyn Fn(&str) -> Option<String>) -> String {
    let of_file = || Some(expand(&words(&document["name"])?, variable));
    let given = variable("COMPOSE_PROJECT_NAME").filter(|name| !name.is_empty());
    given.or_else(|| of_file().filter(|name| !name.is_empty())).unwrap_or_else(|| folder_name(file))
}

/// The name of the file's folder, normalized as compose does.
fn folder_name(file: &Path) -> String {
    let mut folder = PathBuf::new();
    for part in
        path::absolute(file).unwrap_or(file.to_owned()).parent().iter().flat_map(|p| p.components())
    {
        match part {
            Component::ParentDir => drop(folder.pop()),
            Component::CurDir => (),
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => folder.push(part),
        }
    }
    let name = folder.file_name().map(|name| name.to_string_lossy().to_lowercase());
    let plain = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(*c);
    let name: String = name.unwrap_or_default().chars().filter(plain).collect();
    name.trim_start_matches(['_', '-']).to_owned()
}

struct ComposeFile<'a> {
    project: String,
    variable: &'a dyn Fn(&str) -> Option<String>,
}

impl ComposeFile<'_> {
    fn draft(&self, name: &str, service: &Map<String, Value>) -> Draft {
        let mut draft = Draft::new(name);
        draft.put("compose", json!({ "project": self.project, "service": name }));
        let image = service.get("image").and_then(words).map(|image| self.expand(&image));
        let kept = STATEFUL.iter().find(|kind| is_of(image.as_deref().unwrap_or(name), kind));
        if let Some(kind) = kept {
            draft.unfit = Some(format!("{kind} keeps data in each replica"));
        } else if service.get("network_mode").and_then(words).is_some_and(|mode| mode == "host") {
            draft.unfit = Some("`network_mode: host`: two replicas cannot share a port".to_owned());
        }
        if service.contains_key("container_name") {
            draft.remarks.push(
                "remove `container_name` from the compose file: it allows one replica only"
                    .to_owned(),
            );
        }
        self.ports(service, &mut draft);
        let deploy = service.get("deploy").unwrap_or(&Value::Null);
        let least = service.get("scale").or(deploy.get("replicas")).and_then(words);
        draft.guess_bounds(least.and_then(|n| n.parse().ok()).unwrap_or(1).clamp(1, 1000));
        let limit = service.get("cpus").or(deploy["resources"]["limits"].get("cpus"));
        if limit.is_none() {
            draft.remarks.push(
                "no CPU limit in the compose file (`cpus`): thresholds are % of one core"
                    .to_owned(),
            );
        }
        health(service, &mut draft);
        draft
    }

    fn ports(&self, service: &Map<String, Value>, draft: &mut Draft) {
        let mut inside = None;
        let mut outside = None;
        for port in list(service.get("ports")) {
            let (host, target) = match port {
                Value::Object(port) => {
                    let get = |key: &str| Some(self.expand(&port.get(key).and_then(words)?));
                    let host = get("published").map(|p| match get("host_ip") {
                        Some(address) => format!("{address}:{p}"),
                        None => p,
                    });
                    (host, get("target"))
                }
                other => {
                    let text = self.expand(&words(other).unwrap_or_default());
                    let text = text.split('/').next().unwrap_or_default().to_owned();
                    match text.rsplit_once(':') {
                        Some((host, target)) => (Some(host.to_owned()), Some(target.to_owned())),
                        None => (None, Some(text)),
                    }
                }
            };
            inside = inside.or(target);
            outside = outside.or(host);
        }
        let exposed = list(service.get("expose"));
        let exposed = exposed.first().and_then(|port| words(port)).map(|port| self.expand(&port));
        let exposed = exposed.map(|port| port.split('/').next().unwrap_or_default().to_owned());
        match inside.or(exposed).and_then(|port| port.parse::<u16>().ok()) {
            Some(port) => draft.put("port", port),
            None => draft.guess(
                "port",
                PORT_UNKNOWN,
                "the compose file names no port; write the port that a replica listens on, or \
                 remove the service if it listens on none",
            ),
        }
        let host = outside.and_then(|host| {
            let port = host.rsplit(':').next()?.parse::<u16>().ok()?;
            Some(if host.contains(':') { json!(host) } else { json!(port) })
        });
        if let Some(host) = host {
            let why = "compose publishes this port now; change it to `expose` there first, so that \
                       HAProxy can take it";
            draft.guess("listen", host, why);
        }
    }

    fn expand(&self, text: &str) -> String {
        expand(text, self.variable)
    }
}

/// `$NAME`, `${NAME}`, `${NAME:-default}`. An unset variable is empty, as with compose.
fn expand(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out += before;
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((inner, after)) =
            after.strip_prefix('{').and_then(|inner| inner.split_once('}'))
        {
            let end = inner.find([':', '-', '?', '+']).unwrap_or(inner.len());
            let (name, modifier) = inner.split_at(end);
            let default = modifier.strip_prefix(":-").or(modifier.strip_prefix('-'));
            let value = variable(name).filter(|v| !v.is_empty());
            out += &value.unwrap_or(default.unwrap_or_default().to_owned());
            rest = after;
        } else {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
            match end {
                0 => out.push('$'),
                _ => out += &variable(&after[..end]).unwrap_or_default(),
            }
            rest = &after[end..];
        }
    }
    out + rest
}

/// An HTTP check if the compose file's check requests a URL, else Docker's own health state.
fn health(service: &Map<String, Value>, draft: &mut Draft) {
    let Some(check) = service.get("healthcheck") else { return };
    let test: Vec<String> = match &check["test"] {
        Value::Array(all) => all.iter().filter_map(words).collect(),
        other => words(other).into_iter().collect(),
    };
    let line = test.join(" ");
    let address = line.split_whitespace().find_map(|word| {
        let rest = word.trim_matches(['"', '\'']);
        rest.strip_prefix("http://").or(rest.strip_prefix("https://"))
    });
    let Some(address) = address else {
        let is_off = test.first().is_none_or(|word| word == "NONE");
        if !is_off && check.get("disable").and_then(words).is_none_or(|is| is != "true") {
            draft.put("health_check", json!({ "type": "docker" }));
        }
        return;
    };
    let path = address.find('/').map_or("/", |at| &address[at..]);
    draft.put("health_check", json!({ "path": path }));
}

fn is_of(image: &str, kind: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split(['-', '_', ':', '@']).any(|part| part == kind)
}

fn list(value: Option<&Value>) -> Vec<&Value> {
    value.and_then(Value::as_array).into_iter().flatten().collect()
}

/// A scalar as its text.
fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is) => Some(is.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
