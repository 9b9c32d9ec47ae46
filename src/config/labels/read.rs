//! One set of labels to the service that it configures.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::config::cursor::{FileFinding, Findings, Section};
use crate::config::front_door::{self, RouteReader};
use crate::config::hours::Fallback;
use crate::config::labels::short_forms;
use crate::config::labels::tree::{LabelTree, quotes_hint, truth};
use crate::config::listens::Listens;
use crate::config::problem::{Problem, plain};
use crate::config::secret::Around;
use crate::config::{service, syntax};
use crate::model::config::{Config, ProxyMode};
use crate::model::front_door::{FrontDoor, Frontend};
use crate::model::label_set::{ContainerFacts, LABEL_BYTES_MAX, LABEL_PREFIX, LabelSet};
use crate::model::metric::Source;
use crate::model::service::{Listen, Service, ServiceName};

/// CPU in percent of a replica's limit that a service scales by if its labels name nothing.
const CPU_TARGET: &str = "70";
/// Problems of one set that are reported.
const LISTED_MAX: usize = 20;
/// Labels that are no keys of a service.
const OWN: [&str; 4] = ["config", "enable", "image", "name"];
/// Where services are reached by host and path if the config has no `load_balancer.frontends`.
const DEFAULT_PORT: u16 = 80;

/// Where labels stand, for messages.
pub(crate) enum LabelOrigin<'a> {
    /// Of this name.
    Container(&'a str),
    ComposeFile {
        file: &'a str,
        /// Its name in the file.
        service: &'a str,
        /// Line and column of each label, by name without the prefix; the empty one is the service.
        places: &'a BTreeMap<String, (usize, usize)>,
    },
}

/// The names and addresses that services have already.
#[derive(Clone)]
pub(super) struct Taken<'a> {
    listens: Listens,
    routes: RouteReader<'a>,
    /// The default frontend is in use.
    pub(super) opens_default: bool,
    pub(super) services: BTreeMap<ServiceName, Arc<Service>>,
}

impl<'a> Taken<'a> {
    /// What the file says. `door` has the default frontend if the file has none.
    pub(super) fn by_file(config: &Config, door: &'a FrontDoor) -> Taken<'a> {
        let mut routes = RouteReader::new(door);
        for service in config.services.values() {
            routes.take(service, &format!("services.{}", service.name));
        }
        let listens = Listens::of(config);
        let services = config.services.clone();
        let opens_default = !config.front_door.frontends.is_empty();
        Taken { listens, routes, opens_default, services }
    }
}

/// The config's frontends; without any, the default one.
pub(super) fn front_door(config: &Config) -> FrontDoor {
    let mut door = config.front_door.clone();
    if door.frontends.is_empty() {
        door.frontends.push(Frontend {
            name: "http".to_owned(),
            listen: Listen { address: None, port: DEFAULT_PORT },
            redirects: false,
            certificates: Vec::new(),
            http2: true,
            hsts: None,
            default: None,
        });
    }
    door
}

/// Whether the labels ask for the service to be left alone.
pub(crate) fn is_off(set: &LabelSet) -> bool {
    set.labels.get("enable").and_then(|value| truth(value)) == Some(false)
}

/// The name of its service in the config.
pub(super) fn service_name(set: &LabelSet) -> String {
    let given = set.labels.get("name").cloned();
    given.unwrap_or_else(|| format!("{}-{}", set.project, set.service))
}

/// What labels come to: the service, unless a problem is more than a warning.
pub(super) struct Read {
    pub(super) service: Option<Arc<Service>>,
    pub(super) problems: Vec<Problem>,
}

/// Reads one set of labels. Addresses and routes are added to `taken`, also of a bad set.
pub(super) fn read(
    config: &Config,
    set: &LabelSet,
    source: &LabelOrigin,
    taken: &mut Taken,
) -> Read {
    let syntax = syntax();
    let facts = set.facts.clone().unwrap_or_default();
    let tree = tree(set, &facts, &syntax);
    // A label of a container is not to bring out what the daemon alone may read.
    let file = |_: &Path| {
        Err("labels cannot name files of the host; write this service into the config file"
            .to_owned())
    };
    let around =
        Around { variable: &|_| None, file: &file, public_file: &file, exists: &|_| false };
    let findings = Findings::of_labels(&tree, &around);
    for (offset, message) in &tree.faults {
        findings.error(*offset, "", message.clone());
    }
    if set.is_cut {
        let most = LABEL_BYTES_MAX >> 10;
        let message = format!("has more than {most} KiB of {LABEL_PREFIX}* labels, the limit");
        findings.error(tree.object.range.start, "", message);
    }
    // What text that is no JSON would have said is not missing.
    let is_read = !tree.faults.iter().any(|(offset, _)| !tree.is_label(*offset));
    let beside = (source, &facts, taken);
    let service = if is_read { named(config, set, &tree, &findings, beside) } else { None };
    let (listed, count) = findings.into_listed();
    let is_bad = listed.iter().any(|finding| !finding.is_warning);
    let unlisted = count.saturating_sub(LISTED_MAX);
    let problem = |finding| placed(finding, &tree, source);
    let mut problems: Vec<Problem> = listed.into_iter().take(LISTED_MAX).map(problem).collect();
    if 0 < unlisted {
        let (path, message) = (String::new(), format!("and {unlisted} more problems"));
        let whole = FileFinding { offset: usize::MAX, path, message, is_warning: !is_bad };
        problems.push(placed(whole, &tree, source));
    }
    Read { service: service.filter(|_| !is_bad).map(Arc::new), problems }
}

fn tree<'a>(
    set: &'a LabelSet,
    facts: &ContainerFacts,
    syntax: &jsonc_parser::ParseOptions,
) -> LabelTree<'a> {
    let config = set.labels.get("config").map(String::as_str);
    let mut tree = LabelTree::new(config, syntax);
    tree.default(&["compose", "project"], set.project.as_str());
    tree.default(&["compose", "service"], set.service.as_str());
    let label = |key: &str| set.labels.get(key).map(String::as_str);
    if let Some(value) = label("enable").filter(|value| truth(value).is_none()) {
        let row = tree.row("enable");
        let hint = quotes_hint(value);
        tree.fault(row, format!("must be true or false, got \"{value}\"{hint}"));
    }
    let name = service_name(set);
    if ServiceName::new(&name).is_none() {
        let row = label("name").map_or(0, |_| tree.row("name"));
        tree.fault(
            row,
            format!(
                "a service cannot be called \"{name}\": its name starts with a letter or digit and \
                 has at most 63 letters, digits, `_`, `.` and `-`; set {LABEL_PREFIX}name"
            ),
        );
    }
    if label("image").is_some() {
        let row = tree.row("image");
        tree.fault(row, "the compose file has the image; remove this label");
    }
    for (name, value) in &set.labels {
        if !OWN.contains(&name.as_str()) && !short_forms::is_one(name) {
            tree.label(name, value);
        }
    }
    short_forms::expand(&mut tree, &label);
    // Swarm's services may be anybody's.
    for key in ["engine", "swarm_service"] {
        if let Some(offset) = tree.object.get(key).map(|prop| prop.range.start) {
            let message = "labels cannot scale a service of Swarm; write it into the config file";
            tree.faults.push((offset, message.to_owned()));
        }
    }
    defaults(&mut tree, facts);
    tree
}

/// What labels need not say.
fn defaults(tree: &mut LabelTree, facts: &ContainerFacts) {
    let most = tree.number("max_replicas").unwrap_or(u32::MAX);
    let least = facts.replicas.min(most);
    if !tree.has("min_replicas") && 1 < least {
        tree.default(&["min_replicas"], least.to_string());
    }
    if !["metrics", "scale_up_threshold", "scale_down_threshold"].iter().any(|key| tree.has(key)) {
        tree.default(&["metrics", "0", "source"], "cpu");
        tree.default(&["metrics", "0", "target"], CPU_TARGET);
    }
    if let ([port], false) = (&facts.ports[..], tree.has("port")) {
        tree.default(&["port"], port.to_string());
    }
    let check = tree.object.get_object("health_check");
    let is_named = |check: &jsonc_parser::ast::Object| {
        ["type", "path", "expect_status", "headers"].iter().any(|key| check.get(key).is_some())
    };
    if !check.is_some_and(is_named) {
        if facts.has_health_check {
            tree.default(&["health_check", "type"], "docker");
        } else if tree.has("routes") {
            tree.default(&["health_check", "type"], "http");
        }
    }
}

fn named(
    config: &Config,
    set: &LabelSet,
    tree: &LabelTree,
    findings: &Findings,
    (source, facts, taken): (&LabelOrigin, &ContainerFacts, &mut Taken),
) -> Option<Service> {
    let start = tree.object.range.start;
    // A bad name was reported already.
    let name = ServiceName::new(&service_name(set))?;
    if taken.services.contains_key(&name) {
        let message = format!("another service is called {name}; set label plimsoll.name");
        findings.error(start, "", message);
        return None;
    }
    if !tree.has("port") && 1 < facts.ports.len() {
        let ports: Vec<String> = facts.ports.iter().map(u16::to_string).collect();
        let message = format!("exposes the ports {}: say which", ports.join(", "));
        findings.error(start, "", message);
    }
    let owner = match source {
        LabelOrigin::Container(name) => format!("container {name}"),
        LabelOrigin::ComposeFile { service, .. } => format!("services.{service}"),
    };
    let section = || Section::new(format!("services.{name}"), &tree.object, findings);
    open_default(&section(), taken);
    let Taken { listens, routes, .. } = taken;
    let hours = config.business_hours.clone().map_or(Fallback::None, Fallback::Window);
    let around = (&hours, &config.fixed.proxy.mode, config.history);
    let service = service::service(name.clone(), &owner, around, section(), (listens, routes))?;
    beside_proxy(config, &section(), &service);
    Some(service)
}

/// The default frontend opens its port with the first route.
fn open_default(section: &Section, taken: &mut Taken) {
    let Some(node) = section.get("routes").filter(|_| !taken.opens_default) else { return };
    let listen = Listen { address: None, port: DEFAULT_PORT };
    if let Some(other) = taken.listens.other(&listen) {
        node.error(format!(
            "needs a frontend, and the default one needs port {DEFAULT_PORT}, which {other} uses; \
             set `load_balancer.frontends` in the config file"
        ));
    }
    taken.listens.take(&listen, "the default frontend");
    taken.opens_default = true;
}

/// Checks against `load_balancer`, as the file's own services have them.
fn beside_proxy(config: &Config, section: &Section, service: &Service) {
    let proxy = &config.fixed.proxy;
    if let (Some(node), Some(listen)) = (section.get("listen"), &service.listen)
        && proxy.stats_port == Some(listen.port)
    {
        node.error("is also load_balancer.stats_port; choose another");
    }
    if let Some(node) = section.get("sticky")
        && !front_door::is_plain(&proxy.config)
    {
        node.error(format!("needs a `load_balancer.config` of {}", front_door::PLAIN_FILE));
    }
    if let Some(node) = section.get("metrics")
        && proxy.mode == ProxyMode::None
        && service.metrics.iter().any(|metric| matches!(metric.source, Source::Haproxy(_)))
    {
        node.error("cannot use source haproxy: load_balancer.mode is none");
    }
}

fn placed(finding: FileFinding, tree: &LabelTree, source: &LabelOrigin) -> Problem {
    let FileFinding { offset, path, message, is_warning } = finding;
    let label = tree.name_at(offset);
    let message = plain(message);
    let within = tree.config_before(offset).map(|text| {
        let line = 1 + text.matches('\n').count();
        let last = text.rsplit('\n').next().unwrap_or_default();
        (line, 1 + last.chars().count())
    });
    match source {
        LabelOrigin::Container(name) => {
            let file = match label {
                "" => format!("container {name}"),
                label => format!("container {name}, label {LABEL_PREFIX}{label}"),
            };
            let (line, column) = within.unwrap_or((0, 0));
            // The name of the label is the path, but within a whole service.
            let path = within.map(|_| path).unwrap_or_default();
            Problem { file: plain(file), line, column, path, message, is_warning }
        }
        LabelOrigin::ComposeFile { file, service, places } => {
            let above = |label: &str| {
                let below = places.range(label.to_owned()..);
                below.map(|(name, place)| (name.as_str(), *place)).next()
            };
            let (_, (line, column)) = above(label)
                .filter(|(name, _)| name.starts_with(label))
                .or_else(|| places.get("").map(|place| ("", *place)))
                .unwrap_or_default();
            let path = match label {
                "" => format!("services.{service}"),
                label => format!("services.{service}.labels.{LABEL_PREFIX}{label}"),
            };
            let message = match within {
                Some((line, column)) => format!("line {line}, column {column}: {message}"),
                None => message,
            };
            let file = (*file).to_owned();
            Problem { file, line, column, path: plain(path), message, is_warning }
        }
    }
}
