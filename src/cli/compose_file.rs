//! A compose file, as far as it concerns plimsoll.

use std::collections::BTreeMap;
use std::path::{self, Component, Path, PathBuf};

use serde_json::{Map, Value};

use crate::cli::yaml;
use crate::config;

pub(crate) struct ComposeFile {
    pub(crate) project: String,
    services: Map<String, Value>,
    /// Parts of the file that are not read, each with its line; 0: not known.
    pub(crate) ignored: Vec<(usize, String)>,
    /// Line and column of what stands below `services`, by its keys. Of JSON none is known.
    places: BTreeMap<Vec<String>, (usize, usize)>,
    /// Of the file `.env` beside it.
    variables: BTreeMap<String, String>,
}

/// A published or exposed TCP port.
pub(crate) struct ComposePort {
    pub(crate) inside: String,
    /// With the address before it, if there is one. `None`: Docker chooses one.
    pub(crate) outside: Option<String>,
}

impl ComposeFile {
    /// Errors name the file.
    pub(crate) fn open(file: &Path) -> Result<ComposeFile, String> {
        let shown = file.display();
        let text = config::text(file).map_err(|why| format!("{shown} {why}"))?;
        ComposeFile::read(file, &text).map_err(|why| format!("{shown} {why}"))
    }

    fn read(file: &Path, text: &str) -> Result<ComposeFile, String> {
        // JSON is nearly YAML, but its own reader has the better messages.
        let (mut document, mut ignored, places) = if text.trim_start().starts_with('{') {
            let document: Value =
                serde_json::from_str(text).map_err(|err| format!("is not valid JSON: {err}"))?;
            (document, Vec::new(), BTreeMap::new())
        } else {
            let read = yaml::read(text).map_err(|err| format!("is not valid YAML: {err}"))?;
            (read.value, read.ignored, read.places)
        };
        let services = document.get_mut("services").map(Value::take).unwrap_or_default();
        let Value::Object(mut services) = services else {
            return Err("has no `services`; is it a compose file?".to_owned());
        };
        if services.is_empty() {
            return Err("has no `services`; is it a compose file?".to_owned());
        }
        services.retain(|name, service| {
            if !service.is_object() {
                let what = format!("services.{name} is not a map; the service is left out");
                ignored.push((0, what));
            }
            service.is_object()
        });
        let variables = dot_env(file);
        let mut compose =
            ComposeFile { project: String::new(), services, ignored, places, variables };
        compose.project = compose.project_name(&document, file);
        Ok(compose)
    }

    /// As compose names it: `COMPOSE_PROJECT_NAME`, else the file's `name`, else its folder.
    fn project_name(&self, document: &Value, file: &Path) -> String {
        let of_file = || Some(self.expand(&words(&document["name"])?));
        let given = self.variable("COMPOSE_PROJECT_NAME").filter(|name| !name.is_empty());
        let given = given.or_else(|| of_file().filter(|name| !name.is_empty()));
        given.unwrap_or_else(|| folder_name(file))
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = (&str, &Map<String, Value>)> {
        self.services
            .iter()
            .filter_map(|(name, service)| Some((name.as_str(), service.as_object()?)))
    }

    /// Line and column of a key of a service, or of the nearest one above it.
    pub(crate) fn place(&self, service: &str, keys: &[&str]) -> (usize, usize) {
        let mut path: Vec<String> = ["services", service].map(str::to_owned).to_vec();
        path.extend(keys.iter().map(|key| (*key).to_owned()));
        while !path.is_empty() {
            if let Some(place) = self.places.get(&path) {
                return *place;
            }
            path.pop();
        }
        (0, 0)
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().or_else(|| self.variables.get(name).cloned())
    }

    /// With variables replaced as compose does it.
    pub(crate) fn expand(&self, text: &str) -> String {
        expand(text, &|name| self.variable(name))
    }

    pub(crate) fn published(&self, service: &Map<String, Value>) -> Vec<ComposePort> {
        let port = |port: &Value| match port {
            Value::Object(port) => {
                let get = |key: &str| Some(self.expand(&port.get(key).and_then(words)?));
                let outside = get("published").map(|p| match get("host_ip") {
                    Some(address) => format!("{address}:{p}"),
                    None => p,
                });
                let is_tcp = get("protocol").is_none_or(|protocol| protocol == "tcp");
                Some(ComposePort { inside: get("target")?, outside }).filter(|_| is_tcp)
            }
            other => {
                let text = self.expand(&words(other)?);
                let (text, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
                let (outside, inside) = match text.rsplit_once(':') {
                    Some((outside, inside)) => (Some(outside.to_owned()), inside),
                    None => (None, text),
                };
                let inside = inside.to_owned();
                (protocol == "tcp").then_some(ComposePort { inside, outside })
            }
        };
        list(service.get("ports")).into_iter().filter_map(port).collect()
    }

    /// TCP ports that containers listen on, published ones first, each once.
    pub(crate) fn ports(&self, service: &Map<String, Value>) -> Vec<u16> {
        let published = self.published(service).into_iter().map(|port| port.inside);
        let exposed = list(service.get("expose"));
        let exposed = exposed.iter().filter_map(|port| words(port)).map(|port| self.expand(&port));
        let exposed = exposed.filter(|port| !port.ends_with("/udp"));
        let exposed = exposed.map(|port| port.split('/').next().unwrap_or_default().to_owned());
        let mut ports = Vec::new();
        for port in published.chain(exposed).filter_map(|port| port.parse::<u16>().ok()) {
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        ports
    }

    /// How many containers compose runs of it.
    pub(crate) fn replicas(&self, service: &Map<String, Value>) -> u32 {
        let deploy = service.get("deploy").unwrap_or(&Value::Null);
        let count = service.get("scale").or(deploy.get("replicas")).and_then(words);
        let count = count.and_then(|count| self.expand(&count).parse().ok());
        count.unwrap_or(1).clamp(1, 1000)
    }
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

/// Compose takes variables from here that the environment does not have.
fn dot_env(file: &Path) -> BTreeMap<String, String> {
    let text = config::text(&file.with_file_name(".env")).unwrap_or_default();
    let pair = |line: &str| {
        let line = line.trim();
        let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
        let value = value.trim();
        let quoted = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
        let bare = || value.split(" #").next().unwrap_or_default().trim_end();
        let value = quoted('"').or_else(|| quoted('\'')).unwrap_or_else(bare);
        Some((name.trim().to_owned(), value.to_owned()))
    };
    text.lines().filter(|line| !line.trim_start().starts_with('#')).filter_map(pair).collect()
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

pub(crate) fn list(value: Option<&Value>) -> Vec<&Value> {
    value.and_then(Value::as_array).into_iter().flatten().collect()
}

/// A scalar as its text.
pub(crate) fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is) => Some(is.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
