//! `plimsoll check --compose`: every problem of the labels in a compose file. Needs no Docker.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use crate::cli::compose_file::{ComposeFile, is_checked, words};
use crate::cli::untried_hooks;
use crate::config::labels::{self, ComposeLabels};
use crate::config::problem::Problem;
use crate::model::config::Config;
use crate::model::label_set::{ContainerFacts, LABEL_BYTES_MAX, LABEL_PREFIX, LabelSet};
use crate::model::units::plural;

/// Stands for a port that the image has to name.
const PORT_OF_IMAGE: u16 = 65535;

/// What was found, and what a good file is.
pub(crate) struct Checked {
    pub(crate) problems: Vec<Problem>,
    /// `2 services by labels`
    pub(crate) counted: String,
}

/// `config` has the frontends and services beside which the labels stand.
pub(crate) fn check(file: &Path, config: &Config) -> Result<Checked, String> {
    let compose = ComposeFile::open(file)?;
    let name = file.display().to_string();
    let checker = ComposeChecker { file: &name, compose: &compose };
    let ignored = compose.ignored.iter().map(|(line, what)| {
        let column = usize::from(0 < *line);
        let (path, message) = (String::new(), what.clone());
        Problem { file: name.clone(), line: *line, column, path, message, is_warning: true }
    });
    let mut problems: Vec<Problem> = ignored.collect();
    let mut all = Vec::new();
    for (service, body) in compose.services() {
        problems.extend(checker.of_deploy(service, body));
        let labels = checker.labels(service, body, &mut problems);
        if labels.places.len() <= 1 {
            continue;
        }
        if !labels::is_off(&labels.set) {
            problems.extend(checker.beside(service, body, &labels));
        }
        all.push(labels);
    }
    let (found, good) = labels::check(config, &name, &all);
    problems.extend(found);
    if all.is_empty() {
        let message = format!("no service has a label {LABEL_PREFIX}*, so plimsoll takes none");
        problems.push(checker.problem(("", &[]), message, true));
    }
    problems.sort_by_key(|problem| (problem.line, problem.column));
    let counted =
        format!("{} by labels", plural(u32::try_from(good).unwrap_or(u32::MAX), "service"));
    let counted = counted + &untried_hooks::of_labels(all.iter().map(|labels| &labels.set));
    Ok(Checked { problems, counted })
}

struct ComposeChecker<'a> {
    file: &'a str,
    compose: &'a ComposeFile,
}

impl ComposeChecker<'_> {
    fn problem(
        &self,
        (service, keys): (&str, &[&str]),
        message: String,
        is_warning: bool,
    ) -> Problem {
        let (line, column) = match service {
            "" => (0, 0),
            service => self.compose.place(service, keys),
        };
        let above = if service.is_empty() { vec![] } else { vec!["services", service] };
        let path = [&above[..], keys].concat().join(".");
        Problem { file: self.file.to_owned(), line, column, path, message, is_warning }
    }

    /// Labels of a service, with their places. The first place is that of the service.
    fn labels(
        &self,
        service: &str,
        body: &Map<String, Value>,
        problems: &mut Vec<Problem>,
    ) -> ComposeLabels {
        let mut labels = BTreeMap::new();
        let mut places: BTreeMap<String, (usize, usize)> =
            [(String::new(), self.compose.place(service, &[]))].into();
        let mut add = |name: &str, value: &Value, key: &str| {
            let Some(name) = name.strip_prefix(LABEL_PREFIX) else { return };
            let text = words(value).unwrap_or_default();
            let place = self.compose.place(service, &["labels", key]);
            match self.compose.expanded(&text) {
                Ok(text) => drop(labels.insert(name.to_owned(), text)),
                Err(why) => problems.push(self.problem((service, &["labels", key]), why, false)),
            }
            if places.insert(name.to_owned(), place).is_some() {
                let message = "is defined twice; remove one of the two".to_owned();
                problems.push(self.problem((service, &["labels", key]), message, false));
            }
        };
        match body.get("labels") {
            Some(Value::Object(map)) => {
                map.iter().for_each(|(name, value)| add(name, value, name));
            }
            Some(Value::Array(entries)) => {
                for (i, entry) in entries.iter().enumerate() {
                    let text = words(entry).unwrap_or_default();
                    let (name, value) = text.split_once('=').unwrap_or((&text, ""));
                    add(name, &Value::from(value), &i.to_string());
                }
            }
            Some(_) | None => (),
        }
        let facts = self.facts(body, &labels);
        let bytes =
            |(name, value): (&String, &String)| LABEL_PREFIX.len() + name.len() + value.len();
        let is_cut = LABEL_BYTES_MAX < labels.iter().map(bytes).sum();
        let set = LabelSet {
            project: self.compose.project.clone(),
            service: service.to_owned(),
            container: String::new(),
            created: 0,
            labels,
            is_cut,
            facts: Some(facts),
        };
        ComposeLabels { set, places }
    }

    fn facts(
        &self,
        body: &Map<String, Value>,
        labels: &BTreeMap<String, String>,
    ) -> ContainerFacts {
        let mut ports = self.compose.ports(body);
        // What the image exposes is not known here.
        if ports.is_empty() && !labels.contains_key("config") {
            ports.push(PORT_OF_IMAGE);
        }
        ContainerFacts {
            ports,
            has_health_check: is_checked(body),
            replicas: self.compose.replicas(body),
        }
    }

    /// Labels there are of a Swarm service, and no container has them.
    fn of_deploy(&self, service: &str, body: &Map<String, Value>) -> Option<Problem> {
        let is_ours = |text: &str| text.starts_with(LABEL_PREFIX);
        let has = match body.get("deploy")?.get("labels")? {
            Value::Object(map) => map.keys().any(|name| is_ours(name)),
            Value::Array(entries) => entries.iter().filter_map(words).any(|text| is_ours(&text)),
            _ => false,
        };
        let message = "containers do not get these labels; write them into `labels` of the service";
        has.then(|| self.problem((service, &["deploy", "labels"]), message.to_owned(), false))
    }

    /// Settings of the service that keep it from being scaled.
    fn beside(
        &self,
        service: &str,
        body: &Map<String, Value>,
        labels: &ComposeLabels,
    ) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut add = |key: &'static str, message: &str, is_warning| {
            found.push(self.problem((service, &[key]), message.to_owned(), is_warning));
        };
        if body.contains_key("container_name") {
            add("container_name", "allows one container only: remove it", false);
        }
        let mode = body.get("network_mode").and_then(words).unwrap_or_default();
        if ["host", "none"].contains(&mode.as_str()) || mode.contains(':') {
            let message = "HAProxy needs containers with an address of their own: remove it";
            add("network_mode", message, false);
        }
        let fixed = self.compose.published(body).into_iter().find_map(|port| port.outside);
        if let Some(port) = fixed.filter(|port| !port.is_empty()) {
            let message = format!(
                "publishes the fixed port {port}, so there can be one container: use `expose`; \
                 HAProxy opens a port with {LABEL_PREFIX}listen, or the one of {LABEL_PREFIX}host"
            );
            add("ports", &message, false);
        }
        let names_port = ["port", "config"].iter().any(|key| labels.set.labels.contains_key(*key));
        let exposed = self.compose.ports(body);
        if exposed.is_empty() && !names_port {
            let message = format!(
                "{LABEL_PREFIX}port is not set, and the file exposes no port: the image has to \
                 expose exactly one"
            );
            add("labels", &message, true);
        }
        let port = labels.set.labels.get("port").and_then(|port| port.trim().parse().ok());
        if let Some(port) = port.filter(|port: &u16| !exposed.is_empty() && !exposed.contains(port))
        {
            let exposed: Vec<String> = exposed.iter().map(u16::to_string).collect();
            let message = format!(
                "{LABEL_PREFIX}port is {port}, the port in the container, and the file exposes {}",
                exposed.join(", ")
            );
            add("labels", &message, true);
        }
        if body.contains_key("label_file") {
            add("label_file", "is not read by this check", true);
        }
        found
    }
}
