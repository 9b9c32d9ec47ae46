//! `plimsoll doctor`: checks what the daemon needs from this host, each with a verdict.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::output::show_painted;
use crate::cli::paint::{Colour, Paint};
use crate::cli::problems;
use crate::cli::table::{beside_or_below, ended, hanging, plain, word};
use crate::cli::width;
use crate::config::{self, ConfigFile, Loaded};
use crate::preflight::{self, Finding, Severity};
use crate::serve::client;

/// Columns of the longest verdict.
const VERDICT_WIDTH: usize = 7;

pub(crate) fn doctor(file: &ConfigFile, json: bool) -> ExitCode {
    let loaded = config::load_or_default(file);
    let config = loaded.config.clone().or_else(|| loaded.settings());
    let mut found = preflight::examine(&loaded, file.is_absent(), config.as_ref());
    found.extend(running(&loaded));
    let fails = found.iter().any(|finding| finding.verdict == Severity::Fails);
    let paint = Paint::for_stdout();
    let said = match json {
        true => document(&found, fails),
        false => lines(&found, paint, width::of_terminal().unwrap_or(usize::MAX)),
    };
    let written = show_painted(&said, paint);
    if fails { ExitCode::FAILURE } else { written.err().unwrap_or(ExitCode::SUCCESS) }
}

/// What a daemon that runs has to say. None has to.
fn running(loaded: &Loaded) -> Vec<Finding> {
    let status = loaded.socket().map(|socket| client::send(socket, "GET", "/status", None));
    let Some(Ok((200, status))) = status else { return Vec::new() };
    let finding = |problem: &&Value| {
        let service = problem["service"].as_str().map(|name| format!("{name}: "));
        Finding {
            check: "problem",
            verdict: match problem["severity"].as_str() {
                Some("critical") => Severity::Fails,
                _ => Severity::Warning,
            },
            message: service.unwrap_or_default() + &word(&problem["message"]),
            remedy: Some(word(&problem["fix"])),
        }
    };
    problems::of(&status, None).iter().map(finding).collect()
}

fn document(found: &[Finding], fails: bool) -> String {
    let finding = |finding: &Finding| {
        json!({
            "check": finding.check,
            "verdict": finding.verdict.word(),
            "message": finding.message,
            "remedy": finding.remedy,
        })
    };
    let findings: Vec<Value> = found.iter().map(finding).collect();
    format!("{:#}\n", json!({ "good": !fails, "findings": findings }))
}

fn lines(found: &[Finding], paint: Paint, columns: usize) -> String {
    let width = found.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let indent = VERDICT_WIDTH + 2 + width + 2;
    let mut out = String::new();
    for Finding { check, verdict, message, remedy } in found {
        let colour = match verdict {
            Severity::Good => Colour::Good,
            Severity::Warning => Colour::Odd,
            Severity::Fails => Colour::Bad,
        };
        let word = paint.paint(colour, &format!("{:<VERDICT_WIDTH$}", verdict.word()));
        let first = format!("{word}  {check:<width$}  ");
        out += &ended(&beside_or_below(&first, indent, &plain(message), columns));
        if let Some(remedy) = remedy {
            out += &ended(&hanging(&format!("{:indent$}-> ", ""), remedy, columns));
        }
    }
    let count = |verdict| found.iter().filter(|finding| finding.verdict == verdict).count();
    let fails = count(Severity::Fails);
    let warnings = count(Severity::Warning);
    let end = match (fails, warnings) {
        (0, 0) => "no problems found".to_owned(),
        (0, n) => format!("the daemon can run; warnings: {n}"),
        (n, 0) => format!("the daemon cannot fully work; failed: {n}"),
        (n, m) => format!("the daemon cannot fully work; failed: {n}, warnings: {m}"),
    };
    format!("{out}\n{end}\n")
}

#[cfg(test)]
mod tests {
    use crate::cli::doctor::{document, lines};
    use crate::cli::paint::Paint;
    use crate::preflight::{Finding, Severity};

    #[test]
    fn each_finding_has_a_verdict_and_what_is_not_well_a_remedy() {
        let finding = |check, verdict, message: &str, remedy: Option<&str>| Finding {
            check,
            verdict,
            message: message.to_owned(),
            remedy: remedy.map(str::to_owned),
        };
        let found = [
            finding("clock", Severity::Good, "it is late", None),
            finding("docker", Severity::Fails, "gone\x1b", Some("start it")),
        ];
        let want = "\
ok       clock   it is late
fails    docker  gone\\u001b
                 -> start it

the daemon cannot fully work; failed: 1
";
        assert_eq!(lines(&found, Paint::none(), 80), want);
        assert!(lines(&found[..1], Paint::none(), 80).ends_with("\nno problems found\n"));
        let document: serde_json::Value = serde_json::from_str(&document(&found, true)).unwrap();
        assert_eq!(document["good"], false);
        assert_eq!(document["findings"][1]["remedy"], "start it");
    }
}
