//! Documents against the source: what lists things must list them all, and what it points at must
//! be there. Each check takes text, and stands beside a test that it finds a planted fault.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::daemon::plimsoll;

/// How a config key is asked for in `src/config`.
const ASKS: &[&str] =
    &["get(\"", "need(\"", "section(\"", "texts(\"", "read(\"", "span(\"", "ignore(\""];

/// What a path in a document begins with.
const PLACES: &[&str] = &["src/", "tests/", "contrib/", "examples/"];

#[track_caller]
pub(crate) fn document(name: &str) -> String {
    fs::read_to_string(name).unwrap_or_else(|err| panic!("{name} is to be there: {err}"))
}

#[track_caller]
pub(crate) fn source(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|err| panic!("{path}: {err}"))
}

/// What stands after each `start`, up to the next `end`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    let rest = text.split(start).skip(1);
    rest.filter_map(|rest| rest.split_once(end)).map(|(inner, _)| inner).collect()
}

/// The text literals of the function of this name.
pub(crate) fn literals_of<'a>(text: &'a str, function: &str) -> BTreeSet<&'a str> {
    let Some((_, rest)) = text.split_once(function) else { return BTreeSet::new() };
    let body = rest.split("\n    }\n").next().unwrap_or(rest);
    body.split('"').skip(1).step_by(2).collect()
}

fn config_keys(texts: &[String]) -> BTreeSet<String> {
    let all = texts.iter().flat_map(|text| ASKS.iter().map(move |ask| (text, ask)));
    all.flat_map(|(text, ask)| between(text, ask, "\"")).map(str::to_owned).collect()
}

/// Texts between backticks, whether on a line or a block of lines.
fn spans(markdown: &str) -> Vec<String> {
    let mut spans = Vec::new();
    let mut outside = String::new();
    for (i, part) in markdown.split("```").enumerate() {
        match i % 2 {
            0 => outside.push_str(part),
            _ => spans.push(part.to_owned()),
        }
    }
    spans.extend(outside.split('`').skip(1).step_by(2).map(str::to_owned));
    spans
}

/// Which of `words` stand in no span, as a whole word.
fn unnamed<'a>(markdown: &str, words: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let spans = spans(markdown);
    let part = |c: char| c.is_alphanumeric() || "_$-./".contains(c);
    let whole = |span: &str, word: &str| {
        span.match_indices(word).any(|(at, _)| {
            let before = span[..at].chars().next_back();
            let after = span[at + word.len()..].chars().next();
            // A key may be one part of a path.
            let ends = |c: Option<char>| c.is_none_or(|c| !part(c) || c == '.');
            ends(before) && ends(after)
        })
    };
    let missing = words.into_iter().filter(|word| !spans.iter().any(|span| whole(span, word)));
    missing.map(str::to_owned).collect()
}

/// Spans that look like a place in the source and are none. Capitals stand for any name.
fn dangling(markdown: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let is_path = |word: &&str| PLACES.iter().any(|place| word.starts_with(place));
    let pattern = |word: &&str| word.contains(|c: char| c.is_uppercase() || c == '*');
    let spans = spans(markdown);
    let words = spans.iter().flat_map(|span| span.split_whitespace());
    let paths = words.filter(is_path).filter(|word| !pattern(word));
    let paths = paths.map(|word| word.trim_end_matches([',', '.', ';', ':', ')']));
    paths.filter(|path| !exists(path)).map(str::to_owned).collect()
}

/// Commands and long options that the program takes.
fn typed_words(args: &str) -> BTreeSet<String> {
    let commands = between(args, "    name: \"", "\"").into_iter().map(str::to_owned);
    let direct = between(args, "Long(\"", "\"");
    let choices = between(args, ": OptionSpec = ", ";");
    let named = choices.into_iter().filter_map(|made| made.split('"').nth(1));
    let options = direct.into_iter().chain(named).map(|name| format!("--{name}"));
    commands.chain(options).collect()
}

fn args_sources() -> String {
    ["mod", "commands", "options", "raw_args"]
        .map(|name| source(&format!("src/cli/args/{name}.rs")))
        .concat()
}

#[track_caller]
fn check_named<S: AsRef<str>>(file: &str, at_least: usize, words: &BTreeSet<S>) {
    assert!(at_least <= words.len(), "only {} words were found in the source", words.len());
    let missing = unnamed(&document(file), words.iter().map(AsRef::as_ref));
    assert!(missing.is_empty(), "{file} does not name, in backticks: {missing:?}");
}

fn config_sources() -> Vec<String> {
    let mut paths: Vec<_> =
        fs::read_dir("src/config").unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.is_file() && !path.ends_with("tests.rs"));
    paths.iter().map(|path| source(path.to_str().unwrap())).collect()
}

fn help_texts() -> String {
    let entries = fs::read_dir("src/cli/help").unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| source(path.to_str().unwrap())).collect()
}

#[test]
fn quickref_names_every_config_key() {
    check_named("QUICKREF.md", 30, &config_keys(&config_sources()));
}

#[test]
fn quickref_names_every_command_and_option() {
    check_named("QUICKREF.md", 30, &typed_words(&args_sources()));
}

#[test]
fn the_help_names_every_command_and_option() {
    let words = typed_words(&args_sources());
    let missing = unnamed(&format!("```{}```", help_texts()), words.iter().map(String::as_str));
    assert!(missing.is_empty(), "no help names {missing:?}");
}

#[test]
fn the_help_points_at_what_is_there() {
    let lost = dangling(&format!("```{}```", help_texts()), |path| Path::new(path).exists());
    assert!(lost.is_empty(), "the help names what is not there: {lost:?}");
}

#[test]
fn a_config_with_every_key_is_good() {
    let every = source("tests/configs/good/every-key.json");
    let keys = config_keys(&config_sources());
    let missing: Vec<_> = keys.iter().filter(|k| !every.contains(&format!("\"{k}\""))).collect();
    assert!(missing.is_empty(), "tests/configs/good/every-key.json has no {missing:?}");
}

#[test]
fn architecture_points_at_what_is_there() {
    let text = document("ARCHITECTURE.md");
    let lost = dangling(&text, |path| Path::new(path).exists());
    assert!(lost.is_empty(), "ARCHITECTURE.md names what is not there: {lost:?}");
    let entries = fs::read_dir("src").unwrap().map(|entry| entry.unwrap());
    let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    let names: Vec<String> = folders.map(|f| f.path().to_string_lossy().into_owned()).collect();
    let missing = unnamed(&text, names.iter().map(String::as_str));
    assert!(missing.is_empty(), "ARCHITECTURE.md does not name, in backticks: {missing:?}");
}

#[test]
fn every_example_config_is_good() {
    let entries = fs::read_dir("contrib/examples").unwrap().map(|entry| entry.unwrap().path());
    let examples: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    assert!(!examples.is_empty(), "contrib/examples holds no config");
    for path in examples {
        let out = plimsoll(&["check", "--config", path.to_str().unwrap()]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    }
}

#[test]
fn what_a_document_leaves_out_is_found() {
    let text = "`min_replicas` and\n```\nweb.scale.up: 1\n```\nand port, `ports`.";
    let words = ["min_replicas", "up", "scale.up", "port", "min"];
    assert_eq!(unnamed(text, words), ["port", "min"]);
}

#[test]
fn a_path_that_leads_nowhere_is_found() {
    let text = "see `src/a.rs`, `src/b/NAME.rs`, `src/c/`\n```\ntests/d.rs, x\n```\nand src/e.rs";
    assert_eq!(dangling(text, |path| path == "src/a.rs"), ["tests/d.rs", "src/c/"]);
}

#[test]
fn words_are_found_in_the_source() {
    let keys = config_keys(&["s.get(\"a\"); need(\"b\", \"why\"); read(\"c\")".to_owned()]);
    assert_eq!(keys.into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    let text = "    fn word() {\n        \"a.b\"; \"c\"\n    }\n    fn other() { \"d\" }\n";
    assert_eq!(literals_of(text, "fn word(").into_iter().collect::<Vec<_>>(), ["a.b", "c"]);
    let args =
        "    name: \"run\",\nconst ALL: OptionSpec = flag(\"all\");\nLong(\"version\") => 2,";
    assert_eq!(typed_words(args).into_iter().collect::<Vec<_>>(), ["--all", "--version", "run"]);
}
