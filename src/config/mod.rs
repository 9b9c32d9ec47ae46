//! Parses and validates the config file. Reports every problem in one run, each with path, line and
//! column. What passes is not validated again.

mod api;
mod container;
mod container_options;
mod devices;
mod env_file;
mod environment;
mod cursor;
mod daemon;
mod docker;
pub(crate) mod diff;
mod endpoint;
mod forecast;
mod front_door;
mod health;
pub(crate) mod host_name;
mod hooks;
mod hours;
mod image_updates;
pub(crate) mod labels;
mod listens;
mod metric;
mod notifications;
pub(crate) mod problem;
#[cfg(test)]
pub(crate) mod properties;
mod proxy;
mod secret;
mod service;
mod sleep;
#[cfg(test)]
mod tests;
mod traffic_policy;
mod values;

use std::cell::RefCell;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use crate::config::cursor::{Findings, Section};
use crate::config::listens::Listens;
use crate::config::problem::Problem;
use crate::config::secret::Around;
use crate::model::config::{Config, Fixed};
use crate::regular_file;

/// Bytes of a config file at most.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The result of loading a file; without a config when a problem is more than a warning.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Option<Config>,
    /// In file order.
    pub(crate) problems: Vec<Problem>,
    /// The settings of the daemon itself. Also of a file that has errors but is JSON, since a
    /// daemon may run with an earlier version of it; what is wrong has its default.
    pub(crate) fixed: Option<Fixed>,
    /// Files that secrets are read from.
    pub(crate) secret_files: Vec<PathBuf>,
}

/// The config file that is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    /// Somebody named it. If not, it need not exist: labels configure services then.
    pub(crate) is_named: bool,
}

impl ConfigFile {
    /// There is none, and none is needed.
    pub(crate) fn is_absent(&self) -> bool {
        let found = fs::symlink_metadata(&self.path);
        !self.is_named && found.is_err_and(|err| err.kind() == ErrorKind::NotFound)
    }
}

/// The file, or the defaults of all keys if there is none and none is needed.
pub(crate) fn load_or_default(file: &ConfigFile) -> Loaded {
    if file.is_absent() {
        return parse(&file.path.display().to_string(), NO_SERVICES);
    }
    load(&file.path)
}

pub(crate) fn load(file: &Path) -> Loaded {
    let name = file.display().to_string();
    match read(file) {
        Ok(text) => parse(&name, &text),
        Err(message) => {
            let path = String::new();
            let line = 0;
            let column = 0;
            let problem = Problem { file: name, line, column, path, message, is_warning: false };
            Loaded { config: None, problems: vec![problem], fixed: None, secret_files: Vec::new() }
        }
    }
}

fn read(file: &Path) -> Result<String, String> {
    match fs::metadata(file) {
        Err(err) if err.kind() == ErrorKind::NotFound => Err(ABSENT.to_owned()),
        Ok(_) | Err(_) => text(file),
    }
}

/// The content of a file, or why it cannot be used.
pub(crate) fn text(file: &Path) -> Result<String, String> {
    let bytes = regular_file::read(file, FILE_BYTES_MAX);
    let bytes = bytes.map_err(|err| format!("cannot be read: {err}"))?;
    let bytes = bytes.ok_or("is larger than 1 MiB, the limit of a config file")?;
    let text = String::from_utf8(bytes)
        .map_err(|err| format!("is not UTF-8 (byte {} is not)", err.utf8_error().valid_up_to()))?;
    // Some editors put a byte order mark in front.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

impl Loaded {
    /// The control socket of a daemon with this file.
    pub(crate) fn socket(&self) -> Option<&Path> {
        self.fixed.as_ref().map(|fixed| fixed.api.socket.as_path())
    }

    /// As much of a bad file as is certain: the settings of the daemon itself, if no error is in
    /// them, and no service.
    pub(crate) fn settings(&self) -> Option<Config> {
        let is_elsewhere = |problem: &Problem| {
            problem.is_warning
                || ["services", "notifications"].iter().any(|key| problem.path.starts_with(key))
        };
        let fixed = self.fixed.clone().filter(|_| self.problems.iter().all(is_elsewhere))?;
        Some(Config { fixed, ..defaults() })
    }
}

/// Every other key has a default.
const NO_SERVICES: &str = r#"{"services": {}}"#;

const ABSENT: &str =
    "does not exist; name another with --config FILE, or create one with `plimsoll init`";

/// Hint for files that do not start like JSON.
const YAML: &str = "; a config is one JSON object, { ... }; convert YAML to JSON";

/// JSON with comments and trailing commas.
fn syntax() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

pub(crate) fn parse(name: &str, text: &str) -> Loaded {
    let secret_files = RefCell::new(Vec::new());
    let file = |path: &Path| {
        secret_files.borrow_mut().push(path.to_owned());
        secret::file(path)
    };
    let around = Around {
        variable: &secret::variable,
        file: &file,
        public_file: &secret::file,
        exists: &secret::exists,
    };
    let loaded = parse_in(name, text, &around);
    Loaded { secret_files: secret_files.into_inner(), ..loaded }
}

/// The defaults of all keys, in an environment without variables.
pub(crate) fn defaults() -> Config {
    let file = |_: &Path| Err(String::new());
    let around =
        Around { variable: &|_| None, file: &file, public_file: &file, exists: &|_| false };
    let config = parse_in("", NO_SERVICES, &around).config;
    config.unwrap_or_else(|| unreachable!("every key but `services` has a default"))
}

/// The defaults of all keys. The error is what is wrong with a variable of the environment.
pub(crate) fn defaults_here() -> Result<Config, String> {
    let Loaded { config, problems, .. } = parse("", NO_SERVICES);
    let first = problems.iter().find(|problem| !problem.is_warning);
    config.ok_or_else(|| first.map(|problem| problem.message.clone()).unwrap_or_default())
}

fn parse_in(name: &str, text: &str, around: &Around) -> Loaded {
    let findings = Findings::new(name, text, around);
    let mut fixed = None;
    let config = match parse_to_ast(text, &CollectOptions::default(), &syntax()) {
        Err(err) => {
            let words = err.kind().to_string();
            let mut chars = words.chars();
            let first = chars.next().map(|c| c.to_lowercase().to_string()).unwrap_or_default();
            let hint = if text.trim_start().starts_with(['{', '/']) { "" } else { YAML };
            let message = format!("not JSON: {first}{}{hint}", chars.as_str());
            findings.error(err.range().start, "", message);
            None
        }
        Ok(parsed) => match parsed.value.as_ref().and_then(|v| v.as_object()) {
            Some(object) => root(Section::new(String::new(), object, &findings), &mut fixed),
            None => {
                findings.error(0, "", "must be one object, { ... }".to_owned());
                None
            }
        },
    };
    let problems = findings.into_problems();
    let config = config.filter(|_| problems.iter().all(|p| p.is_warning));
    Loaded { config, problems, fixed, secret_files: Vec::new() }
}

fn root(section: Section, fixed: &mut Option<Fixed>) -> Option<Config> {
    section.ignore("$schema");
    let autoscaler = daemon::autoscaler(section.section("autoscaler"));
    let docker = docker::docker(&section);
    let api = api::api(section.section("api"));
    let mut listens = Listens::new(api.listen);
    let (proxy, front_door) = proxy::load_balancer(section.section("load_balancer"), &mut listens);
    let notifications = notifications::notifications(section.get("notifications"));
    let around = (&autoscaler.business_hours, &proxy.mode, autoscaler.history);
    let services = service::services(&section, around, &front_door, &mut listens);
    if let Some(section) = section.section("load_balancer") {
        let services = services.iter().flat_map(|services| services.values());
        let services = services.map(|service| &**service);
        front_door::beside(&section, &front_door, services.clone());
        proxy::beside(&section, &proxy, &front_door, services);
    }
    let own = Fixed { state_dir: autoscaler.state_dir, docker, api, proxy };
    *fixed = Some(own.clone());
    section.retired("servers", "for several hosts use Docker Swarm, see `engine` of a service");
    section.retired("monitoring", "use the Prometheus and Grafana files in contrib");
    section.done();
    Some(Config {
        check_interval: autoscaler.check_interval,
        log_level: autoscaler.log_level,
        log_format: autoscaler.log_format,
        dry_run: autoscaler.dry_run,
        memory_reserve: autoscaler.memory_reserve,
        cpu_reserve: autoscaler.cpu_reserve,
        remove_orphans: autoscaler.remove_orphans,
        history: autoscaler.history,
        report: autoscaler.report,
        labels: autoscaler.labels,
        business_hours: autoscaler.business_hours.window(),
        notifications,
        fixed: own,
        front_door,
        services: services?,
    })
}
