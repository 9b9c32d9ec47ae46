//! A compose file's services as drafts. What is not taken over is said of each.

use std::path::{self, Path};

use serde_json::{Map, Value, json};

use crate::cli::init::draft::Draft;
use crate::cli::init::yaml;

pub(crate) struct Composed {
    pub(crate) drafts: Vec<Draft>,
    /// What was not understood, one line each.
    pub(crate) unread: Vec<String>,
}

/// Images whose replicas each keep data of their own: more of them are not more of the same.
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

/// Keys of a service that become keys of ours, or mean nothing here.
const TAKEN: [&str; 22] = [
    "image",
    "build",
    "ports",
    "expose",
    "environment",
    "volumes",
    "networks",
    "command",
    "user",
    "restart",
    "labels",
    "deploy",
    "healthcheck",
    "cpus",
    "mem_limit",
    "container_name",
    "name",
    "depends_on",
    "stop_grace_period",
    "profiles",
    "scale",
    "platform",
];

/// `variable` is the environment's, for what the file takes from there.
pub(crate) fn read(
    file: &Path,
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Composed, String> {
    let (document, mut unread) = if text.trim_start().starts_with('{') {
        let document = serde_json::from_str(text).map_err(|err| format!("is no JSON: {err}"))?;
        (document, Vec::new())
    } else {
        let read = yaml::read(text);
        let told = |(line, what): (usize, String)| format!("{}:{line}: {what}", file.display());
        (read.value, read.unread.into_iter().map(told).collect())
    };
    let Some(services) = document["services"].as_object().filter(|all| !all.is_empty()) else {
        return Err("has no `services`; is it a compose file?".to_owned());
    };
    let folder = path::absolute(file).unwrap_or(file.to_owned());
    let folder = folder.parent().unwrap_or(Path::new("/"));
    let project = project(&document, folder);
    let mut drafts = Vec::new();
    for (name, service) in services {
        let Some(service) = service.as_object() else {
            unread.push(format!("services.{name}: is no map"));
            continue;
        };
        let source = Source { project: &project, folder, variable, document: &document };
        drafts.push(source.draft(name, service, &mut unread));
    }
    Ok(Composed { drafts, unread })
}

/// As compose names it.
fn project(document: &Value, folder: &Path) -> String {
    let name = document["name"].as_str().map(str::to_owned);
    let name = name.unwrap_or_else(|| {
        folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    });
    let plain = |c: &char| c.is_ascii_alphanumeric() || "_-".contains(*c);
    name.to_lowercase().chars().filter(plain).collect()
}

struct Source<'a> {
    project: &'a str,
    folder: &'a Path,
    variable: &'a dyn Fn(&str) -> Option<String>,
    document: &'a Value,
}

impl Source<'_> {
    fn draft(&self, name: &str, service: &Map<String, Value>, unread: &mut Vec<String>) -> Draft {
        let mut draft = Draft::new(name);
        let text = |key: &str| service.get(key).and_then(words).map(|t| self.expand(&t));
        let image = text("image");
        match &image {
            Some(image) => draft.put("image", image.as_str()),
            None => {
                let built = format!("{}-{name}", self.project);
                draft.guess("image", built, "compose builds it; by this name?");
            }
        }
        let published = self.ports(service, &mut draft);
        let kept = STATEFUL.iter().find(|kind| is_of(image.as_deref().unwrap_or(name), kind));
        if let Some(kind) = kept {
            draft.unfit = Some(format!("{kind} keeps data of its own in each replica"));
        } else if !published {
            draft.unfit = Some("it has no port, so that HAProxy could not reach it".to_owned());
        }
        let deploy = service.get("deploy").unwrap_or(&Value::Null);
        let least = service.get("scale").or(deploy.get("replicas")).and_then(words);
        draft.guess_bounds(least.and_then(|n| n.parse().ok()).unwrap_or(1).clamp(1, 1000));
        self.limits(service, &mut draft);
        health(service, &mut draft);
        self.container(service, &mut draft);
        let idle = service.keys().filter(|key| !TAKEN.contains(&key.as_str()));
        for key in idle.filter(|key| !key.starts_with("x-")) {
            draft.remarks.push(format!("not taken over: {key}"));
            unread.push(format!("services.{name}.{key}: not taken over"));
        }
        draft
    }

    /// Whether it has any.
    fn ports(&self, service: &Map<String, Value>, draft: &mut Draft) -> bool {
        let (mut inside, mut outside) = (None, None);
        for port in list(service.get("ports")) {
            let (host, target) = match port {
                Value::Object(port) => {
                    let address = port.get("host_ip").and_then(words);
                    let published = port.get("published").and_then(words);
                    let host = published.map(|p| address.map_or(p.clone(), |a| format!("{a}:{p}")));
                    (host, port.get("target").and_then(words))
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
        let exposed = list(service.get("expose")).first().and_then(|port| words(port));
        let port = inside.or(exposed).and_then(|port| port.parse::<u16>().ok());
        if let Some(port) = port {
            draft.put("port", port);
        }
        let host = outside.and_then(|host| {
            let port = host.rsplit(':').next()?.parse::<u16>().ok()?;
            Some(if host.contains(':') { json!(host) } else { json!(port) })
        });
        if let Some(host) = host {
            draft.guess("listen", host, "compose publishes this now: stop that service first");
        }
        port.is_some()
    }

    fn limits(&self, service: &Map<String, Value>, draft: &mut Draft) {
        let limits = &service.get("deploy").unwrap_or(&Value::Null)["resources"]["limits"];
        let cpus = service.get("cpus").or(limits.get("cpus")).and_then(words);
        match cpus.and_then(|cpus| self.expand(&cpus).parse::<f64>().ok()) {
            Some(cpus) => draft.put("cpus", cpus),
            None => draft.guess("cpus", 1, "without a limit, thresholds are % of one core"),
        }
        let memory = service.get("mem_limit").or(limits.get("memory")).and_then(words);
        if let Some(memory) = memory {
            let size = self.expand(&memory).to_lowercase();
            draft.put("memory", size.trim_end_matches(['b', 'i']));
        }
    }

    fn container(&self, service: &Map<String, Value>, draft: &mut Draft) {
        let command: Vec<String> = match service.get("command") {
            Some(Value::Array(all)) => all.iter().filter_map(words).collect(),
            Some(other) => {
                let line = words(other).unwrap_or_default();
                line.split_whitespace().map(str::to_owned).collect()
            }
            None => Vec::new(),
        };
        if !command.is_empty() {
            let command: Vec<String> = command.iter().map(|word| self.expand(word)).collect();
            draft.put("command", command);
        }
        let environment = self.environment(service.get("environment"), draft);
        if !environment.is_empty() {
            draft.put("environment", environment);
        }
        let volumes: Vec<String> =
            list(service.get("volumes")).iter().filter_map(|v| self.volume(v)).collect();
        if !volumes.is_empty() {
            draft.put("volumes", volumes);
        }
        let networks = match service.get("networks") {
            Some(Value::Object(map)) => map.keys().cloned().collect(),
            Some(list) => list.as_array().into_iter().flatten().filter_map(words).collect(),
            None => vec!["default".to_owned()],
        };
        let networks: Vec<String> = networks.iter().map(|name| self.network(name)).collect();
        draft.guess("networks", networks, "compose's own, where services find each other by name");
        for key in ["user", "restart"] {
            if let Some(text) = service.get(key).and_then(words) {
                draft.put(key, self.expand(&text));
            }
        }
    }

    fn environment(&self, value: Option<&Value>, draft: &mut Draft) -> Map<String, Value> {
        let mut out = Map::new();
        let pairs: Vec<(String, Option<String>)> = match value {
            Some(Value::Object(map)) => map.iter().map(|(k, v)| (k.clone(), words(v))).collect(),
            other => {
                let texts = list(other).into_iter().filter_map(words);
                let pair = |text: String| match text.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (text, None),
                };
                texts.map(pair).collect()
            }
        };
        for (name, value) in pairs {
            match value.map(|value| self.expand(&value)).or_else(|| (self.variable)(&name)) {
                Some(value) => drop(out.insert(name, json!(value))),
                None => draft.remarks.push(format!("{name} has no value here, nor in the file")),
            }
        }
        if out.keys().any(|name| is_secret(name)) {
            draft.remarks.push(
                "a secret in the environment? {\"file\": \"/path\"} stands for what is in a file"
                    .to_owned(),
            );
        }
        out
    }

    fn volume(&self, value: &Value) -> Option<String> {
        let text = match value {
            Value::Object(map) => {
                let get = |key: &str| map.get(key).and_then(words);
                let only = map.get("read_only").and_then(words).is_some_and(|v| v == "true");
                let end = if only { ":ro" } else { "" };
                format!("{}:{}{end}", get("source")?, get("target")?)
            }
            other => words(other)?,
        };
        let text = self.expand(&text);
        let (source, rest) = text.split_once(':')?;
        if let Some(below) = source.strip_prefix("./").or((source == ".").then_some("")) {
            return Some(format!("{}:{rest}", self.folder.join(below).display()));
        }
        if source.starts_with(['/', '~', '.']) {
            return Some(text);
        }
        let named = &self.document["volumes"][source];
        let real = named["name"].as_str().map(str::to_owned);
        let is_external = named["external"].as_bool() == Some(true) || named["external"] == "true";
        let own =
            if is_external { source.to_owned() } else { format!("{}_{source}", self.project) };
        Some(format!("{}:{rest}", real.unwrap_or(own)))
    }

    fn network(&self, name: &str) -> String {
        let named = &self.document["networks"][name];
        if let Some(real) = named["name"].as_str() {
            return real.to_owned();
        }
        let is_external = named["external"].as_bool() == Some(true) || named["external"] == "true";
        if is_external { name.to_owned() } else { format!("{}_{name}", self.project) }
    }

    /// `$NAME`, `${NAME}`, `${NAME:-default}`; what is not set is empty, as compose does it.
    fn expand(&self, text: &str) -> String {
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
                let value = (self.variable)(name).filter(|v| !v.is_empty());
                out += &value.unwrap_or(default.unwrap_or_default().to_owned());
                rest = after;
            } else {
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
                match end {
                    0 => out.push('$'),
                    _ => out += &(self.variable)(&after[..end]).unwrap_or_default(),
                }
                rest = &after[end..];
            }
        }
        out + rest
    }
}

/// From the address that the image's own check asks, if it asks one.
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
        draft.remarks.push(format!("not taken over: healthcheck {line:?}"));
        return;
    };
    let path = address.find('/').map_or("/", |at| &address[at..]);
    draft.put("health_check", json!({ "path": path }));
}

fn is_of(image: &str, kind: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split(['-', '_', ':', '@']).any(|part| part == kind)
}

fn is_secret(name: &str) -> bool {
    let name = name.to_uppercase();
    ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "_KEY"].iter().any(|word| name.contains(word))
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
