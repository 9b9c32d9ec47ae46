//! `plimsoll check`: every problem of the config file, or of the labels in a compose file.

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::args::cli_command::CheckArgs;
use crate::cli::check_compose::{self, Checked};
use crate::cli::output::{complain, say};
use crate::cli::untried_hooks;
use crate::config;
use crate::config::problem::Problem;
use crate::preflight::folders;
use crate::preflight::live::{self, HostProblem};

pub(crate) fn check(asked: &CheckArgs) -> ExitCode {
    match &asked.compose {
        Some(compose) => check_compose(compose, asked),
        None if asked.config.is_absent() => {
            let path = asked.config.path.display();
            let said = say(&format!(
                "{path}: does not exist, so labels of docker compose's containers are the config; \
                 check them with --compose FILE, or name a config with --config FILE\n"
            ));
            // To be checked, there has to be one.
            if said == ExitCode::SUCCESS { ExitCode::FAILURE } else { said }
        }
        None => check_config(&asked.config.path, asked.json, asked.live),
    }
}

/// Labels stand beside the config file, if there is one.
fn check_compose(compose: &Path, asked: &CheckArgs) -> ExitCode {
    let loaded = config::load_or_default(&asked.config);
    let Some(config) = &loaded.config else {
        return refuse(&asked.config.path, &loaded.problems, "; nothing was checked");
    };
    match check_compose::check(compose, config) {
        Ok(Checked { problems, counted }) => report(compose, &problems, &counted, asked.json),
        Err(message) => {
            complain(&message);
            ExitCode::FAILURE
        }
    }
}

fn check_config(file: &Path, json: bool, live: bool) -> ExitCode {
    let mut loaded = config::load(file);
    if let Some(config) = &loaded.config {
        let open = folders::open_to_others(&config.fixed).into_iter();
        let open: Vec<Problem> = open.map(|(key, words)| folder(file, key, &words)).collect();
        loaded.problems.extend(open);
    }
    if live && let Some(config) = &loaded.config {
        let found = live::look(config).into_iter().map(|found| concerning(file, found));
        loaded.problems.extend(found);
    }
    let counted =
        loaded.config.as_ref().map(|config| config.counted() + &untried_hooks::of_config(config));
    let counted = counted.unwrap_or_default();
    report(file, &loaded.problems, &counted, json)
}

/// `counted`: what a good file has.
fn report(file: &Path, problems: &[Problem], counted: &str, json: bool) -> ExitCode {
    let is_good = problems.iter().all(|p| p.is_warning);
    let said = match is_good {
        _ if json => say(&document(file, problems, is_good)),
        true => say(&(lines(problems) + &format!("{}: good, {counted}\n", file.display()))),
        // Problems are the answer of this command, so they go to stdout.
        false => say(&lines(problems)),
    };
    if is_good {
        return said;
    }
    if !json && !is_of_file(problems) {
        complain(&format!("{} is bad: {}", file.display(), count(problems)));
    }
    ExitCode::FAILURE
}

/// The file itself cannot be read, so there is nothing to count.
fn is_of_file(problems: &[Problem]) -> bool {
    matches!(problems, [only] if only.line == 0)
}

/// A problem without a place in the file.
fn concerning(file: &Path, found: HostProblem) -> Problem {
    let file = file.display().to_string();
    let path = String::new();
    let HostProblem { message, is_warning } = found;
    Problem { file, line: 0, column: 0, path, message, is_warning }
}

/// `plimsoll run` refuses the folder; the file itself is good.
fn folder(file: &Path, key: &str, words: &str) -> Problem {
    let message = format!("{words}; `plimsoll run` will refuse to start");
    let file = file.display().to_string();
    let path = key.to_owned();
    Problem { file, line: 0, column: 0, path, message, is_warning: true }
}

pub(crate) fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("{p}\n")).collect()
}

fn document(file: &Path, problems: &[Problem], good: bool) -> String {
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
    let problems: Vec<Value> = problems.iter().map(problem).collect();
    let file = file.display().to_string();
    format!("{:#}\n", json!({ "file": file, "good": good, "problems": problems }))
}

/// For commands that need a good config: prints every problem, and the consequence `so`.
pub(crate) fn refuse(file: &Path, problems: &[Problem], so: &str) -> ExitCode {
    if is_of_file(problems) {
        problems.iter().for_each(|problem| complain(&format!("{problem}{so}")));
        return ExitCode::FAILURE;
    }
    problems.iter().for_each(|problem| complain(&problem.to_string()));
    complain(&format!("{} is bad: {}{so}", file.display(), count(problems)));
    ExitCode::FAILURE
}

/// `1 problem`, `2 problems`; warnings are none.
fn count(problems: &[Problem]) -> String {
    match problems.iter().filter(|p| !p.is_warning).count() {
        1 => "1 problem".to_owned(),
        n => format!("{n} problems"),
    }
}
