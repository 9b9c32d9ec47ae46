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
        let services = document.get_mut("services").and_then(Value::as_object_mut);
        let services = services.map(std::mem::take).filter(|services| !services.is_empty());
        let mut services = services.ok_or("has no `services`; is it a compose file?")?;
        services.retain(|name, service| {
            if !service.is_object() {
                let what = format!("services.{name} is not a map; the service is left out");
                ignored.push((0, what));
            }
            service.is_object()
        });
        if document.get("include").is_some() {
            ignored.push((0, "the files of `include` are not read".to_owned()));
        }
        for (name, service) in &services {
            if service.get("extends").is_some() {
                ignored.push((0, format!("services.{name}: what `extends` names is not read")));
            }
        }
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

    /// With variables replaced as compose does it, or why compose would refuse the file.
    pub(crate) fn expanded(&self, text: &str) -> Result<String, String> {
        expand(text, &|name| self.variable(name), 0)
    }

    /// Empty where compose would refuse the file.
    pub(crate) fn expand(&self, text: &str) -> String {
        self.expanded(text).unwrap_or_default()
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
                    // Without a number Docker chooses one.
                    Some((outside, inside)) if outside.ends_with(':') => (None, inside),
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

/// The words of a service's own health check.
pub(crate) fn health_test(service: &Map<String, Value>) -> Vec<String> {
    match service.get("healthcheck").and_then(|check| check.get("test")) {
        Some(Value::Array(all)) => all.iter().filter_map(words).collect(),
        Some(other) => words(other).into_iter().collect(),
        None => Vec::new(),
    }
}

/// Whether Docker runs that check.
pub(crate) fn is_checked(service: &Map<String, Value>) -> bool {
    let disable = service.get("healthcheck").and_then(|check| check.get("disable"));
    let is_off = disable.and_then(words).is_some_and(|is| is == "true");
    !is_off && health_test(service).first().is_some_and(|word| word != "NONE")
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

/// Variables inside the defaults of others, at most.
const EXPAND_DEPTH_MAX: usize = 8;

/// As docker compose replaces variables: an unset one is empty. Fails where compose does: a
/// variable that the file needs is not set.
fn expand(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
    depth: usize,
) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out += before;
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if after.starts_with('{') {
            // What is not closed, or nested deeper than anybody writes, stands for itself.
            let Some((inner, after)) = braced(after).filter(|_| depth < EXPAND_DEPTH_MAX) else {
                return Ok(format!("{out}${after}"));
            };
            out += &substituted(inner, variable, depth)?;
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
    Ok(out + rest)
}

/// What stands in the braces that the text begins with, and what follows them.
fn braced(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('{')?;
    let mut depth = 1;
    let end = inner.char_indices().find(|(_, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => (),
        }
        depth == 0
    });
    let (end, _) = end?;
    Some((&inner[..end], &inner[end + 1..]))
}

/// `NAME`, or with an operator: `-` a default, `+` a replacement, `?` a complaint; with a colon, an
/// empty value counts as unset.
fn substituted(
    inner: &str,
    variable: &dyn Fn(&str) -> Option<String>,
    depth: usize,
) -> Result<String, String> {
    let end = inner.find([':', '-', '?', '+']).unwrap_or(inner.len());
    let (name, operator) = inner.split_at(end);
    let value = variable(name);
    let (value, operator) = match operator.strip_prefix(':') {
        Some(operator) => (value.filter(|value| !value.is_empty()), operator),
        None => (value, operator),
    };
    let more = operator.get(1..).unwrap_or_default();
    match (value, operator.chars().next()) {
        (Some(_), Some('+')) | (None, Some('-')) => expand(more, variable, depth + 1),
        (None, Some('?')) => Err(format!("the variable {name} is not set: {more}")),
        (None, _) => Ok(String::new()),
        (Some(value), _) => Ok(value),
    }
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

#[cfg(test)]
mod tests {
    use crate::cli::compose_file::expand;

    #[test]
    fn variables_are_replaced_as_compose_does_it() {
        let variable = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (text, want) in [
            ("$A ${A} $B ${B} $$A $", "1 1   $A $"),
            ("${A:-2} ${EMPTY:-2} ${EMPTY-2} ${B-2}", "1 2  2"),
            ("${A:+2} ${EMPTY:+2}|${EMPTY+2} ${B+2}", "2 |2 "),
            ("${B:-${A}} ${B:-${C:-3}}x", "1 3x"),
            ("${A:?no} ${EMPTY?no}", "1 "),
            ("${A", "${A"),
            ("${B:-a}b}", "ab}"),
        ] {
            assert_eq!(expand(text, &variable, 0).as_deref(), Ok(want), "{text}");
        }
        for text in ["${B:?say which}", "${EMPTY:?say which}", "${B?say which}"] {
            let why = expand(text, &variable, 0).unwrap_err();
            assert!(why.ends_with("is not set: say which"), "{why}");
        }
        let deep = "${B:-".repeat(100_000) + &"}".repeat(100_000);
        assert!(expand(&deep, &variable, 0).is_ok());
    }
}
