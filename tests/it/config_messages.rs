//! Every message that `src/config` can print stands in a golden file: each rule has a file that
//! breaks it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::naming::program_files;
use crate::tidy::{code, files_below, program};

/// Texts that no golden file shows, each with the reason.
const UNSHOWN: &[(&str, &str)] = &[
    ("findings are in file order", "an assertion"),
    ("every key but `services` has a default", "an assertion"),
    ("and {unlisted} more problems", "tests/it/hostile.rs has it"),
    ("scale_up_threshold, scale_down_threshold", "names two keys in `config.reloaded`"),
    ("Bearer {}", "the value of a header"),
    (r#"{"services": {}}"#, "the config that defaults are taken from"),
    ("from the environment variable DOCKER_HOST: {why}", "tests/it/docker_calls.rs has it"),
    (
        "with DOCKER_TLS_VERIFY, DOCKER_CERT_PATH must be an absolute path",
        "tests/it/docker_calls.rs has it",
    ),
    ("the default of ", "no maximum is below the default minimum, which is the least maximum"),
];

/// Fewer letters stand in some text by accident.
const LETTERS_MIN: usize = 6;

/// Text literals of the source, as the program prints them.
fn literals(source: &str) -> Vec<String> {
    let lines: Vec<&str> = code(program(source))
        .map(|(_, line)| line)
        .filter(|line| !line.trim_start().starts_with("#["))
        .collect();
    let text = lines.join("\n");
    let mut found = Vec::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find('"') {
        let is_raw = rest[..at].ends_with("r#");
        rest = &rest[at + 1..];
        if is_raw {
            let (literal, after) = rest.split_once("\"#").unwrap();
            found.push(literal.to_owned());
            rest = after;
        } else if rest.starts_with('\'') {
            // A character, not the start of a text.
            rest = &rest[1..];
        } else {
            let end = end_of_text(rest);
            found.push(unescaped(&rest[..end]));
            rest = &rest[end + 1..];
        }
    }
    found
}

fn end_of_text(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.char_indices().find(|(_, c)| {
        let ends = *c == '"' && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        ends
    });
    end.map(|(at, _)| at).unwrap()
}

fn unescaped(text: &str) -> String {
    let mut parts = text.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    let joined = parts.fold(first, |text, next| text + next.trim_start());
    joined.replace("\\\"", "\"").replace("\\\\", "\\")
}

/// The longest part of a format string that is always printed.
fn fixed_part(literal: &str) -> &str {
    let parts = literal.split('{').map(|part| match part.split_once('}') {
        // What stands between braces is a value, when it is a name or nothing.
        Some((value, rest)) if !value.contains(' ') => rest,
        Some(_) | None => part,
    });
    let longest = parts.max_by_key(|part| part.len()).unwrap_or_default();
    longest.trim_matches(|c: char| c.is_whitespace() || c == '}')
}

/// Messages are texts with a space; a single word is a key.
fn unshown(source: &str, shown: &str, allowed: &[(&str, &str)]) -> Vec<String> {
    let mut missing = literals(source);
    missing.retain(|text| {
        let part = fixed_part(text);
        let is_message = text.contains(' ') && LETTERS_MIN <= part.len();
        let is_allowed = allowed.iter().any(|(name, _)| name == text);
        is_message && !is_allowed && !shown.contains(part)
    });
    missing
}

fn golden_texts() -> String {
    let paths =
        ["tests/configs", "tests/it/golden", "tests/labels"].into_iter().flat_map(files_below);
    let texts = paths.filter(|path| path.extension().is_some_and(|e| e == "txt"));
    texts.map(|path| fs::read_to_string(path).unwrap()).collect()
}

fn config_files() -> Vec<(PathBuf, String)> {
    let mut files = program_files();
    files.retain(|(path, _)| path.starts_with(Path::new("src/config")));
    files
}

#[test]
fn every_rule_of_the_config_has_a_file_that_breaks_it() {
    let files = config_files();
    let shown = golden_texts();
    let texts = files.iter().flat_map(|(_, source)| literals(source));
    let count = texts.filter(|text| text.contains(' ')).count();
    assert!(120 < count, "only {count} messages were found: does the check still read them?");
    let missing: Vec<_> = files.iter().flat_map(|(_, t)| unshown(t, &shown, UNSHOWN)).collect();
    assert!(missing.is_empty(), "no file of tests/configs shows these messages: {missing:#?}");
    for (text, _) in UNSHOWN {
        let is_there = files.iter().any(|(_, source)| literals(source).iter().any(|l| l == text));
        assert!(is_there, "src/config has no text {text:?} any more; remove it from UNSHOWN");
    }
}

#[test]
fn a_message_that_no_file_shows_is_found() {
    let source = "node.wrong(r#\"a port like \"80\"\"#);\nlet quote = '\"';\n\
                  // \"a comment here\"\n\
                  node.error(format!(\"{name} is \\\"gone\\\" \\\n    {}, or lost for {n}\"));\n\
                  get(\"key\");\n\n#[cfg(test)]\nmod tests {\n    \"of a test\"\n}\n";
    let both = ["a port like \"80\"", "{name} is \"gone\" {}, or lost for {n}"];
    assert_eq!(literals(source), [both[0], both[1], "key"]);
    assert_eq!(fixed_part(both[1]), ", or lost for");
    assert_eq!(unshown(source, "1:2: must be a port like \"80\", got 1", &[]), [both[1]]);
    assert_eq!(unshown(source, "x, or lost for 3", &[(both[0], "")]), Vec::<String>::new());
}
