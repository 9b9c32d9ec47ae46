//! Text to model, once. Every problem of a file in one run, each with path, line and column; what
//! passes this door is not checked again.

mod cursor;
mod daemon;
pub(crate) mod diff;
mod hours;
mod proxy;
mod service;
#[cfg(test)]
mod tests;
mod units;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use crate::config::cursor::{Findings, Section};
use crate::model::config::{Config, Fixed};

/// A file over this is not a config.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Something in the file that is wrong, or only odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) file: String,
    /// Both count from 1; 0 when it concerns the file as a whole.
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// From the top, joined by dots; empty for the top itself.
    pub(crate) path: String,
    pub(crate) message: String,
    /// The config can be used all the same.
    pub(crate) is_warning: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if 0 < self.line {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(if self.is_warning { ": warning: " } else { ": " })?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// A config, unless a problem is more than a warning.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Option<Config>,
    /// In file order.
    pub(crate) problems: Vec<Problem>,
}

pub(crate) fn load(file: &Path) -> Loaded {
    let name = file.display().to_string();
    match read(file) {
        Ok(text) => parse(&name, &text),
        Err(message) => {
            let (path, line, column) = (String::new(), 0, 0);
            let problem = Problem { file: name, line, column, path, message, is_warning: false };
            Loaded { config: None, problems: vec![problem] }
        }
    }
}

fn read(file: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let opened = File::open(file);
    let read = opened.and_then(|f| f.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    let size = read.map_err(|err| format!("cannot be read: {err}"))?;
    if FILE_BYTES_MAX < u64::try_from(size).unwrap_or(u64::MAX) {
        return Err("is over 1 MiB, which no config is".to_owned());
    }
    String::from_utf8(bytes)
        .map_err(|err| format!("is not UTF-8 (byte {} is not)", err.utf8_error().valid_up_to()))
}

/// JSON, and of its extensions only comments and trailing commas.
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
    let findings = Findings::new(name, text);
    let config = match parse_to_ast(text, &CollectOptions::default(), &syntax()) {
        Err(err) => {
            let words = err.kind().to_string();
            let mut chars = words.chars();
            let first = chars.next().map(|c| c.to_lowercase().to_string()).unwrap_or_default();
            findings.error(err.range().start, "", format!("not JSON: {first}{}", chars.as_str()));
            None
        }
        Ok(parsed) => match parsed.value.as_ref().and_then(|v| v.as_object()) {
            Some(object) => root(Section::new(String::new(), object, &findings)),
            None => {
                findings.error(0, "", "must be one object, { ... }".to_owned());
                None
            }
        },
    };
    let problems = findings.into_problems();
    let config = config.filter(|_| problems.iter().all(|p| p.is_warning));
    Loaded { config, problems }
}

fn root(section: Section) -> Option<Config> {
    section.ignore("$schema");
    let autoscaler = daemon::autoscaler(section.section("autoscaler"));
    let docker = daemon::docker(section.section("docker"));
    let proxy = proxy::load_balancer(section.section("load_balancer"));
    let services = service::services(&section, autoscaler.business_hours.as_ref());
    section.done();
    Some(Config {
        check_interval: autoscaler.check_interval,
        log_level: autoscaler.log_level,
        dry_run: autoscaler.dry_run,
        fixed: Fixed { state_dir: autoscaler.state_dir, docker, proxy },
        services: services?,
    })
}
