//! `plimsoll check`: every problem of the config file.

use std::path::Path;
use std::process::ExitCode;

use crate::cli::{complain, say};
use crate::config::{self, Problem};

pub(crate) fn check(file: &Path) -> ExitCode {
    let loaded = config::load(file);
    let lines: String = loaded.problems.iter().map(|p| format!("{p}\n")).collect();
    match loaded.config {
        Some(config) => say(&format!("{lines}{}: good, {}\n", file.display(), config.counted())),
        None => {
            // The problems are what was asked for, so they are the answer.
            say(&lines);
            complain(&format!("{} is bad: {}", file.display(), count(&loaded.problems)));
            ExitCode::FAILURE
        }
    }
}

/// `1 problem`, `2 problems`; warnings are none.
pub(crate) fn count(problems: &[Problem]) -> String {
    match problems.iter().filter(|p| !p.is_warning).count() {
        1 => "1 problem".to_owned(),
        n => format!("{n} problems"),
    }
}
