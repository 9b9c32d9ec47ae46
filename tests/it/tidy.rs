//! The rules of the house that no compiler checks. Each check takes text and gives what is wrong
//! with it, and stands beside a test that it does find a planted fault: one that cannot fail would
//! be a defect itself.

use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_COLUMNS_MAX: usize = 100;

/// Who may name whom. `decide` names no trait of `outside`, so it cannot reach the world; adapters
/// do not know each other; nothing below `tick` knows `decide`.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("outside", &["model"]),
    ("config", &["model", "regular_file"]),
    ("forecast", &["model"]),
    ("decide", &["model"]),
    ("observe", &["model", "outside"]),
    ("act", &["model", "outside"]),
    ("report", &["model"]),
    ("serve", &["model", "outside", "unix", "regular_file", "http_client"]),
    ("docker", &["model", "outside", "http_client", "regular_file", "child"]),
    ("haproxy", &["model", "outside", "unix", "regular_file", "child"]),
    ("net", &["model", "outside", "http_client"]),
    ("activator", &["model", "outside", "unix"]),
    ("unix", &[]),
    ("http_client", &["unix"]),
    ("regular_file", &[]),
    ("child", &[]),
    ("clock", &["model", "outside"]),
    ("store", &["model", "outside", "regular_file"]),
    ("controller", CONTROLLER),
    ("sim", &["model", "outside", "config", "observe", "act", "controller"]),
    ("advise", &["model", "config", "decide", "sim"]),
    ("preflight", PREFLIGHT),
    ("daemon", DAEMON),
    ("cli", CLI),
    ("main", &["cli"]),
];

const CONTROLLER: &[&str] =
    &["model", "outside", "config", "observe", "forecast", "decide", "report"];

/// What it looks at before a start, and no loop.
const PREFLIGHT: &[&str] = &[
    "model",
    "outside",
    "config",
    "docker",
    "haproxy",
    "net",
    "clock",
    "unix",
    "regular_file",
    "child",
];

/// Everything but those who use it, and `sim`, which is a world of its own. Advice is for the
/// weekly report.
const DAEMON: &[&str] = &[
    "model",
    "outside",
    "config",
    "observe",
    "act",
    "report",
    "docker",
    "haproxy",
    "net",
    "activator",
    "clock",
    "store",
    "controller",
    "preflight",
    "serve",
    "advise",
    "unix",
    "regular_file",
];

const CLI: &[&str] = &[
    "model",
    "outside",
    "config",
    "clock",
    "store",
    "report",
    "serve",
    "preflight",
    "daemon",
    "sim",
    "advise",
    "regular_file",
];

const PURE: &[&str] = &["model", "forecast", "decide", "controller"];

/// What makes a file impure.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::thread",
    "std::env",
    "std::process",
    "std::io",
    "::now()",
    "log::",
    "println!",
    "eprintln!",
    "print!",
    "HashMap",
    "HashSet",
];

/// Plain data of crates that also do other things.
const PLAIN_LOG: &[&str] = &["log::LevelFilter", "log::Level"];
const PLAIN_NET: &[&str] = &["IpAddr", "Ipv4Addr", "Ipv6Addr", "SocketAddr"];

const CLOCK_READS: &[&str] =
    &["Instant::now", "SystemTime::now", "Utc::now", "Local::now", ".elapsed()"];

/// On a stream each waits for an end that the other side may never send: a deadline of the socket
/// is one for each read. `unix::read_all` has one for all of it.
const ENDLESS_READS: &[&str] = &[".read_to_end(", ".read_to_string("];

/// Where what is read has an end of its own.
const ENDING_READS: &[(&str, &str)] = &[
    ("src/regular_file.rs", "a regular file, up to a bound"),
    ("src/sim/trace.rs", "a file, up to a bound"),
    ("src/store/events.rs", "a file, up to a bound"),
    ("src/docker/client.rs", "a body up to a bound, in a call that has one deadline"),
    ("src/serve/tiny_bridge.rs", "what we ourselves wrote to our own socket"),
    ("src/preflight/version.rs", "of a child that has ended, up to a bound"),
];
/// What opens a file to write it. Only `regular_file` may: at a path that others can write to, it
/// follows no link and does not block.
const WRITES: &[&str] =
    &["File::create", "File::options", "OpenOptions", "fs::write(", "fs::copy("];
const WRITER: &str = "src/regular_file.rs";

/// A test waits for a state with `reached`, never for time alone.
const WAITS: &[&str] = &[concat!("park_", "timeout("), concat!("thread::", "sleep(")];
/// Each of these is bounded, and says what it waits for.
const WAITERS: &[(&str, &str)] = &[
    ("tests/common/daemon.rs", "`reached`, `polled` and `delay`, which the tests call"),
    ("tests/bench/haproxy/deaths.rs", "the pause between two deaths is part of the measurement"),
];

/// In two parts each, or this file would be the first to hold them.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
    concat!("db", "g!"),
    concat!("#[ign", "ore"),
];

/// Where this was made, and what only its makers could look up.
const PRIVATE: &[&str] = &[
    concat!("../sha", "red"),
    concat!("sha", "red/guide"),
    concat!("sha", "red/spec"),
    concat!("sha", "red/research"),
    concat!("/wo", "rk/"),
    concat!("crates", ".io"),
];

pub(crate) fn files_below(dir: &str) -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from(dir)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap().map(|e| e.unwrap().path()) {
            let name = entry.file_name().unwrap().to_string_lossy().into_owned();
            match entry.is_dir() {
                true if !["target", "dist", ".git"].contains(&name.as_str()) => folders.push(entry),
                true => (),
                false => files.push(entry),
            }
        }
    }
    files.sort();
    files
}

pub(crate) fn rust_below(dirs: &[&str]) -> Vec<(PathBuf, String)> {
    let files = dirs.iter().flat_map(|dir| files_below(dir));
    let rust = files.filter(|path| path.extension().is_some_and(|e| e == "rs"));
    rust.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// `src/decide/bounds.rs` and `src/decide.rs` are both in layer `decide`.
fn layer(path: &Path) -> String {
    let first = path.components().nth(1).unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// With its number, without comments that take a whole line.
pub(crate) fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn wrong_arrows(from: &str, text: &str) -> Vec<String> {
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == from) else {
        return vec![format!("{from} has no row in MAY_USE")];
    };
    let mut wrong = Vec::new();
    for (number, line) in code(text) {
        // Anywhere, not only in `use`: a full path is an arrow too.
        for rest in line.split("crate::").skip(1) {
            let is_word = |c: &char| c.is_alphanumeric() || *c == '_';
            let to: String = rest.chars().take_while(is_word).collect();
            if to.is_empty() {
                wrong.push(format!("{number}: name the layer after `crate::`"));
            } else if to != from && !allowed.contains(&to.as_str()) {
                wrong.push(format!("{number}: {from} must not use {to}"));
            }
        }
    }
    wrong
}

fn impurities(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, line) in code(text) {
        let mut rest = PLAIN_LOG.iter().fold(line.to_owned(), |line, p| line.replace(p, ""));
        if names_only_addresses(&rest) {
            rest = rest.replace("std::net::", "");
        }
        let found = IMPURE.iter().filter(|word| rest.contains(**word));
        wrong.extend(found.map(|word| format!("{number}: `{word}`")));
    }
    wrong
}

fn names_only_addresses(line: &str) -> bool {
    line.split("std::net::").skip(1).all(|rest| {
        let list = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let word =
            |rest: &str| rest.split(|c: char| !c.is_alphanumeric()).next().map(str::to_owned);
        let names = list.map_or(word(rest).unwrap_or_default(), |(names, _)| names.to_owned());
        names.split(", ").all(|name| PLAIN_NET.contains(&name))
    })
}

fn words(text: &str, banned: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let found = banned.iter().filter(|word| line.contains(**word));
        wrong.extend(found.map(|word| format!("{}: `{word}`", i + 1)));
    }
    wrong
}

/// The number of a tracker that readers of this repository do not have.
fn tracker_numbers(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.to_lowercase();
        for rest in line.split(concat!("iss", "ue")).skip(1) {
            let rest = rest.trim_start_matches([' ', '#', '_', '-', 's']);
            if rest.starts_with(|c: char| c.is_ascii_digit()) {
                wrong.push(format!("{}: number of a tracker", i + 1));
            }
        }
    }
    wrong
}

fn oversize(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    let length = code_lines(&lines);
    if FILE_LINES_MAX < length {
        wrong.push(format!("{length} lines of code, at most {FILE_LINES_MAX}"));
    }
    if !text.starts_with("//!") {
        wrong.push("1: starts without a //! line that says what it is for".to_owned());
    }
    for (i, line) in lines.iter().enumerate() {
        let columns = line.chars().count();
        if LINE_COLUMNS_MAX < columns {
            wrong.push(format!("{}: {columns} columns, at most {LINE_COLUMNS_MAX}", i + 1));
        }
        let length = if starts_function(line) { function_lines(&lines[i..]) } else { 0 };
        if FUNCTION_LINES_MAX < length {
            wrong.push(format!("{}: a function of {length} lines of code", i + 1));
        }
    }
    wrong
}

fn starts_function(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let before = ["pub", "pub(crate)", "const", "async", "unsafe"];
    words.find(|w| !before.contains(w)) == Some("fn")
}

/// From its first line to its closing brace, which rustfmt puts below the `fn`. One without a body
/// ends at its semicolon.
fn function_lines(lines: &[&str]) -> usize {
    let indent = lines[0].len() - lines[0].trim_start().len();
    let ends = |line: &&str| {
        let own = line.len() - line.trim_start().len() == indent;
        own && (line.ends_with('}') || line.ends_with(';'))
    };
    let last = lines.iter().position(ends).map_or(lines.len(), |last| last + 1);
    code_lines(&lines[..last])
}

/// Comments and blank lines explain code and set it apart, so that they are not counted.
fn code_lines(lines: &[&str]) -> usize {
    let is_code = |line: &&&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    lines.iter().filter(is_code).count()
}

/// Lines of the `[dependencies]` tables that do not say what each is for.
fn unexplained(cargo_toml: &str) -> Vec<String> {
    let mut inside = false;
    let mut wrong = Vec::new();
    for (i, line) in cargo_toml.lines().enumerate() {
        if line.starts_with('[') {
            inside = line.contains("dependencies]");
        } else if inside && line.contains('=') && !line.contains(" # ") {
            wrong.push(format!("{}: no `# reason`: {line}", i + 1));
        }
    }
    wrong
}

#[track_caller]
fn check(files: &[(PathBuf, String)], mut faults: impl FnMut(&Path, &str) -> Vec<String>) {
    assert!(!files.is_empty(), "no file was checked");
    let reported = |path: &Path, fault: String| format!("  {}:{fault}\n", path.display());
    let wrong: String = files
        .iter()
        .flat_map(|(path, text)| faults(path, text).into_iter().map(|f| reported(path, f)))
        .collect();
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// A good text gives nothing, each bad one exactly one fault, with these words.
#[track_caller]
fn check_check(faults: impl Fn(&str) -> Vec<String>, good: &str, bad: &[(&str, &str)]) {
    assert_eq!(faults(good), Vec::<String>::new(), "{good}");
    for (text, words) in bad {
        let found = faults(text);
        assert!(found.len() == 1 && found[0].contains(words), "{text}: {found:?}");
    }
}

#[test]
fn layers_only_look_down() {
    check(&rust_below(&["src"]), |path, text| wrong_arrows(&layer(path), text));
    for (layer, _) in MAY_USE {
        let there = [format!("src/{layer}.rs"), format!("src/{layer}")];
        let there = there.iter().any(|path| Path::new(path).exists());
        assert!(there, "MAY_USE has a row for {layer}, which is not there");
    }
}

#[test]
fn an_arrow_up_is_found() {
    let good = "use crate::model::time::Moment;\n// crate::daemon is far\nuse crate::decide::x;";
    let bad = [
        ("use crate::outside::Clock;", "1: decide must not use outside"),
        ("fn f() {\n    crate::docker::f()\n}", "2: decide must not use docker"),
        ("use crate::{clock, net};", "1: name the layer"),
    ];
    check_check(|text| wrong_arrows("decide", text), good, &bad);
    assert!(wrong_arrows("nobody", "")[0].contains("no row"));
}

#[test]
fn the_core_is_pure() {
    let mut files = rust_below(&["src"]);
    files.retain(|(path, _)| PURE.contains(&layer(path).as_str()));
    // It reads the cases of a test, which may be another file than ours, and says how many.
    files.retain(|(path, _)| path != Path::new("src/decide/tests/cases.rs"));
    check(&files, |_, text| impurities(text));
}

#[test]
fn an_impurity_is_found() {
    let good =
        "use std::net::{IpAddr, SocketAddr};\n// std::fs\nlog::Level::Info; std::net::IpAddr";
    let bad = [
        ("use std::net::TcpStream;", "1: `std::net`"),
        ("use std::net::{IpAddr, UdpSocket};", "1: `std::net`"),
        ("\nlet t = Instant::now();", "2: `::now()`"),
        ("log::info!(\"x\");", "`log::`"),
        ("let m: HashMap<u8, u8>;", "`HashMap`"),
    ];
    check_check(impurities, good, &bad);
}

#[test]
fn only_the_clock_reads_a_clock_and_only_the_transport_names_unversioned_traits() {
    let mut files = rust_below(&["src"]);
    files.retain(|(path, _)| path != Path::new("src/clock.rs"));
    check(&files, |_, text| words(text, CLOCK_READS));
    files.retain(|(path, _)| !path.starts_with("src/http_client"));
    check(&files, |_, text| words(text, &["unversioned"]));
}

/// Without the tests below it.
pub(crate) fn program(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

#[test]
fn only_one_module_opens_files_to_write_them() {
    let mut files = rust_below(&["src"]);
    let is_of_tests = |path: &Path| {
        let name = |part: &str| path.iter().any(|p| p == part);
        name("tests") || name("tests.rs") || name("properties")
    };
    files.retain(|(path, _)| !is_of_tests(path) && path != Path::new(WRITER));
    check(&files, |_, text| words(program(text), WRITES));
    let text = fs::read_to_string(WRITER).unwrap();
    assert!(!words(program(&text), WRITES).is_empty(), "{WRITER} opens none any more");
}

#[test]
fn a_file_that_is_opened_to_be_written_is_found() {
    let good =
        "regular_file::create(path)?;\n\n#[cfg(test)]\nmod tests {\n    fs::write(path, text);\n}";
    let bad = [
        ("fn f() {\n    File::create(path)?;", "2: `File::create`"),
        ("File::create_new(path)", "1: `File::create`"),
        ("OpenOptions::new()", "1: `OpenOptions`"),
        ("fs::write(path, text)", "1: `fs::write(`"),
    ];
    check_check(|text| words(program(text), WRITES), good, &bad);
}

#[test]
fn nothing_is_read_to_an_end_that_may_not_come() {
    let mut files = rust_below(&["src"]);
    files.retain(|(path, _)| !ENDING_READS.iter().any(|(file, _)| path == Path::new(file)));
    // Tests of our own ends are not meant.
    check(&files, |_, text| {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        words(code, ENDLESS_READS)
    });
    let bad = [("stream.read_to_end(&mut all)?;", "1: `.read_to_end(`")];
    check_check(|t| words(t, ENDLESS_READS), "fs::read_to_string(path)", &bad);
}

#[test]
fn tests_wait_for_a_state_and_not_for_time() {
    let mut files = rust_below(&["tests"]);
    files.retain(|(path, _)| !WAITERS.iter().any(|(file, _)| path == Path::new(file)));
    check(&files, |_, text| words(text, WAITS));
    for (file, _) in WAITERS {
        let text = fs::read_to_string(file).unwrap();
        assert!(!words(&text, WAITS).is_empty(), "{file} waits no longer; remove it from WAITERS");
    }
    let planted = concat!("f();\nthread::park_", "timeout(secs(1));");
    check_check(|text| words(text, WAITS), "reached(secs(1), is_up)", &[(planted, "2: ")]);
}

#[test]
fn nothing_is_left_unfinished() {
    check(&rust_below(&["src", "tests", "examples"]), |_, text| words(text, UNFINISHED));
}

#[test]
fn a_banned_word_is_found() {
    let started = "let at = std::time::Instant::now();";
    check_check(|t| words(t, CLOCK_READS), "clock.now()", &[(started, "1: `Instant::now`")]);
    let later = concat!("fn f() {\n    to", "do!()\n}");
    check_check(|t| words(t, UNFINISHED), "fn f() {}", &[(later, "2: ")]);
}

#[test]
fn files_fit_in_a_head() {
    check(&rust_below(&["src", "tests", "examples"]), |_, text| oversize(text));
}

#[test]
fn what_does_not_fit_is_found() {
    let function = |lines: usize| {
        let body = "        f();\n".repeat(lines - 2);
        format!("//! A.\nimpl X {{\n    pub(crate) fn f() {{\n{body}    }}\n}}\n")
    };
    let comments = "        // Why.\n\n".repeat(99);
    let full = function(70).replacen("        f();\n", &format!("{comments}        f();\n"), 1);
    let good = format!("//! A.\ntrait T {{\n    fn f();\n}}\n{}\n{full}", "x".repeat(100));
    let lines = format!("//! A.\n{}", "x\n".repeat(501));
    let columns = format!("//! A.\n{}", "ä".repeat(101));
    let bad = [
        (lines.as_str(), "501 lines of code"),
        (columns.as_str(), "2: 101 columns"),
        (&function(71), "3: a function of 71 lines of code"),
        ("// No.\n", "1: starts without"),
    ];
    check_check(oversize, &good, &bad);
}

#[test]
fn nothing_private_is_mentioned() {
    let mut files = Vec::new();
    for path in files_below(".") {
        // Cargo.lock names where each package comes from, as cargo wants it; in a linked work
        // tree .git is a file that names the other one.
        if !path.ends_with("Cargo.lock")
            && !path.ends_with(".git")
            && let Ok(text) = fs::read_to_string(&path)
        {
            files.push((path, text));
        }
    }
    check(&files, |_, text| [words(text, PRIVATE), tracker_numbers(text)].concat());
}

#[test]
fn a_private_mention_is_found() {
    let path = concat!("see ../sha", "red for it");
    check_check(|text| words(text, PRIVATE), "a shared network", &[(path, "1: ")]);
    let bad = [
        (concat!("fixes iss", "ue 12"), "1: "),
        (concat!("\nsee Iss", "ue #7"), "2: "),
        (concat!("mod iss", "ue_123;"), "1: "),
    ];
    check_check(tracker_numbers, concat!("the iss", "ue is 12 replicas"), &bad);
}

#[test]
fn every_dependency_says_what_it_is_for() {
    let text = fs::read_to_string("Cargo.toml").unwrap();
    check(&[(PathBuf::from("Cargo.toml"), text)], |_, text| unexplained(text));
}

#[test]
fn an_unexplained_dependency_is_found() {
    let good =
        "[package]\nname = \"x\"\n[dependencies]\nlog = \"0.4\" # the facade\n\n[lints]\na = 1";
    let bad = [
        ("[dependencies]\nlog = \"0.4\"", "2: no `# reason`"),
        ("[dev-dependencies]\nlog = { version = \"0.4\" }", "2: no `# reason`"),
    ];
    check_check(unexplained, good, &bad);
}
