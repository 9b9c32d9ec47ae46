//! `plimsoll check`: every problem of the config file.

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::{complain, say};
use crate::config::{self, Loaded, Problem};

pub(crate) fn check(file: &Path, json: bool) -> ExitCode {
    let loaded = config::load(file);
    if json {
        let said = say(&document(file, &loaded));
        return if loaded.config.is_some() { said } else { ExitCode::FAILURE };
    }
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

fn document(file: &Path, loaded: &Loaded) -> String {
    let problem = |p: &Problem| {
        json!({
            "file": p.file,
            "line": p.line,
            "column": p.column,
            "path": p.path,
            "message": p.message,
            "severity": if p.is_warning { "warning" } else { "error" },
        })
    };
    let problems: Vec<Value> = loaded.problems.iter().map(problem).collect();
    let file = file.display().to_string();
    let good = loaded.config.is_some();
    format!("{:#}\n", json!({ "file": file, "good": good, "problems": problems }))
}

/// `1 problem`, `2 problems`; warnings are none.
pub(crate) fn count(problems: &[Problem]) -> String {
    match problems.iter().filter(|p| !p.is_warning).count() {
        1 => "1 problem".to_owned(),
        n => format!("{n} problems"),
    }
}
