//! The words of the program: exact output and exit status, as golden files.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::daemon::{Dir, PLIMSOLL};
use crate::golden;

const CONFIGS: &str = "tests/configs";
const VARIABLE: &str = "PLIMSOLL_CONFIG";

/// A command that runs in `dir`, so that the names of files are the same everywhere.
fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(PLIMSOLL);
    command.args(args).current_dir(dir).env_remove(VARIABLE).stdin(Stdio::null());
    command.env("PLIMSOLL_TEST_GREETING", "hello");
    command
}

fn shown(args: &[&str], out: &Output) -> String {
    let line = ["plimsoll"].iter().chain(args).copied().collect::<Vec<_>>().join(" ");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let status = out.status.code().unwrap();
    let stdout = text(&out.stdout);
    let stderr = text(&out.stderr);
    let all = format!("$ {line}\n{stdout}--- stderr\n{stderr}--- status {status}\n");
    all.replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

#[track_caller]
fn check(name: &str, dir: &Path, runs: &[&[&str]]) {
    let run = |args: &&[&str]| shown(args, &command(dir, args).output().unwrap());
    let got = runs.iter().map(run).collect::<Vec<_>>().join("\n");
    golden::check(&Path::new("tests/it/golden").join(format!("{name}.txt")), &got);
}

fn json_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "json"));
    files.sort();
    files
}

#[test]
fn help_is_as_written() {
    let here = Path::new(".");
    check("help", here, &[&["-h"], &["--help"], &["pause", "-h"]]);
    check("help-run", here, &[&["help", "run"]]);
    check("help-reload", here, &[&["help", "reload"]]);
    let orders: [&[&str]; 4] =
        [&["help", "scale"], &["help", "pause"], &["help", "resume"], &["help", "restart"]];
    check("help-orders", here, &orders);
    let shown: [&[&str]; 4] =
        [&["help", "status"], &["help", "events"], &["help", "explain"], &["help", "healthcheck"]];
    check("help-shown", here, &shown);
    check("help-check", here, &[&["help", "check"], &["help", "doctor"], &["help", "init"]]);
    check("help-simulate", here, &[&["help", "simulate"]]);
    check("help-past", here, &[&["help", "history"], &["help", "report"]]);
    for (one, other) in [
        (&["--help"][..], &["help"][..]),
        (&["run", "--help"], &["help", "run"]),
        (&["check", "--help"], &["help", "check"]),
        (&["-V"], &["--version"]),
    ] {
        let [one, other] = [one, other].map(|args| command(here, args).output().unwrap());
        assert_eq!(one, other);
    }
}

#[test]
fn wrong_words_are_reported_with_a_fix() {
    let runs: &[&[&str]] = &[
        &["--version"],
        &[],
        &["start"],
        &["help", "start"],
        &["--frobnicate"],
        &["-x"],
        &["check", "--frobnicate"],
        &["check", "--once"],
        &["check", "--config"],
        &["check", "good.json"],
        &["run", "--once", "--once"],
        &["run", "--once=yes"],
        &["scale", "web", "many"],
        &["scale", "web", "4", "--for", "soon"],
        &["pause"],
        &["explain"],
    ];
    check("usage", Path::new("."), runs);
}

#[test]
fn check_tells_good_from_bad() {
    let runs: &[&[&str]] = &[
        &["check", "--config", "good/least.json"],
        &["check", "--config", "good/two-services.json"],
        &["check", "--config=bad/several.json"],
        &["check", "--json", "--config", "good/least.json"],
        &["check", "--json", "--config", "bad/several.json"],
        &["run", "--config", "bad/several.json"],
    ];
    check("check", Path::new(CONFIGS), runs);
}

#[test]
fn schedule_shows_what_is_coming_and_marks_what_clocks_skip_or_repeat() {
    let hours =
        |more: &[&'static str]| [&["schedule", "--config", "good/hours.json"][..], more].concat();
    let runs = [
        hours(&["web", "--from", "2026-11-22", "--until", "2026-11-25"]),
        hours(&["night", "--from", "2026-03-28", "--until=2026-03-31"]),
        hours(&["night", "--from", "2026-10-24T12:00:00Z", "--until", "2026-10-26T12:00"]),
        hours(&["night", "--from", "2026-10-25", "--until", "2026-10-26", "--json"]),
        hours(&["day"]),
        hours(&["web", "--from", "tomorrow"]),
        hours(&["night", "--from", "2026-03-29T02:30"]),
        hours(&["web", "--from", "2026-11-22", "--until", "2026-11-22"]),
        vec!["schedule", "web", "--config", "bad/several.json"],
        vec!["schedule"],
    ];
    let runs: Vec<&[&str]> = runs.iter().map(Vec::as_slice).collect();
    check("schedule", Path::new(CONFIGS), &runs);
}

#[test]
fn a_file_that_cannot_be_a_config_is_reported() {
    let dir = Dir::new("cli");
    fs::create_dir(dir.join("folder")).unwrap();
    fs::write(dir.join("bytes.json"), b"{\"services\": \"\xff\"}").unwrap();
    let blank = |size: usize| format!("{{\"services\": {{}}{}}}", " ".repeat(size - 16));
    dir.write("over.json", &blank((1 << 20) + 1));
    dir.write("just.json", &blank(1 << 20));
    dir.write("empty.json", "");
    let runs: &[&[&str]] = &[
        &["check", "--config", "missing.json"],
        &["check", "--config", "folder"],
        &["check", "--config", "bytes.json"],
        &["check", "--config", "over.json"],
        &["check", "--config", "just.json"],
        &["check", "--config", "empty.json"],
        &["run", "--config", "missing.json"],
    ];
    check("no-config", dir.path(), runs);
}

#[test]
fn bad_files_fail() {
    let dir = Path::new(CONFIGS).join("bad");
    let files = json_files(&dir);
    assert!(190 <= files.len(), "only {} files", files.len());
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let out = command(&dir, &["check", "--config", name]).output().unwrap();
        assert_eq!(out.status.code(), Some(1), "{name} passes");
        golden::check(&file.with_extension("txt"), &String::from_utf8(out.stdout).unwrap());
    }
    let texts = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path());
    for text in texts.filter(|path| path.extension().is_some_and(|e| e == "txt")) {
        assert!(text.with_extension("json").exists(), "{} belongs to nothing", text.display());
    }
}

#[test]
fn a_secret_that_cannot_be_used_is_reported() {
    let dir = Dir::new("cli");
    let token = |name: &str| {
        format!("{{\"api\": {{\"token\": {{\"file\": \"{name}\"}}}}, \"services\": {{}}}}")
    };
    fs::write(dir.join("bytes"), b"0123456789abcdef\xff").unwrap();
    dir.write("over", &"a".repeat((64 << 10) + 1));
    let mut got = String::new();
    for name in ["bytes", "over", "missing"] {
        let path = dir.join(name);
        dir.write("config.json", &token(path.to_str().unwrap()));
        got += &shown(
            &["check"],
            &command(dir.path(), &["check", "--config", "config.json"]).output().unwrap(),
        );
    }
    let got = got.replace(dir.path().to_str().unwrap(), "DIR");
    golden::check(Path::new("tests/it/golden/secret-files.txt"), &got);
}

#[test]
fn good_files_pass() {
    let dir = Path::new(CONFIGS).join("good");
    let files = json_files(&dir);
    assert!(3 <= files.len());
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let out = command(&dir, &["check", "--config", name]).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stdout));
        golden::check(&file.with_extension("txt"), &String::from_utf8(out.stdout).unwrap());
    }
}

#[test]
fn the_option_wins_over_the_variable_and_the_variable_over_the_default() {
    let good = "good/least.json";
    let bad = "bad/several.json";
    for (variable, option, named) in [
        (Some(good), None, good),
        (Some(bad), Some(good), good),
        (Some(good), Some(bad), bad),
        (Some(""), None, "/etc/plimsoll/config.json"),
        (None, None, "/etc/plimsoll/config.json"),
    ] {
        let mut command = command(Path::new(CONFIGS), &["check"]);
        command.envs(variable.map(|value| (VARIABLE, value)));
        command.args(option.map(|file| format!("--config={file}")));
        let out = command.output().unwrap();
        let stdout = String::from_utf8_lossy(&out.stdout);
        assert!(stdout.starts_with(named), "{variable:?} {option:?}: {stdout}");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    for (args, status) in [
        (&["help"][..], 0),
        (&["check", "--config", "good/least.json"], 0),
        (&["check", "--config", "bad/several.json"], 1),
    ] {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let out = command(Path::new(CONFIGS), args).stdout(writer).output().unwrap();
        assert_eq!(out.status.code(), Some(status), "{args:?}");
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert!(!stderr.contains("write") && !stderr.contains("panic"), "{args:?}: {stderr}");
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let out = command(Path::new(CONFIGS), args).stderr(writer).output().unwrap();
        assert_eq!(out.status.code(), Some(status), "{args:?}, stderr gone");
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_an_error() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let out = command(Path::new("."), &["help"]).stdout(full).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(stderr.starts_with("plimsoll: cannot write: "), "{stderr}");
}
