//! What `plimsoll completions` prints, by the shells that it is for.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::daemon::{Dir, PLIMSOLL, plimsoll};

/// A shell that finds our program, and the script of its completions as `$1`.
fn shell(program: &str, dir: &Dir, options: &[&str], words: &str) -> String {
    let out = plimsoll(&["completions", program]);
    assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
    let script = dir.write(program, &String::from_utf8(out.stdout).unwrap());
    let path = std::env::var("PATH").unwrap();
    let folder = Path::new(PLIMSOLL).parent().unwrap().display();
    let mut command = Command::new(program);
    command.args(options).arg(words).arg("shell").arg(&script).stdin(Stdio::null());
    command.env("PATH", format!("{folder}:{path}")).env("HOME", dir.path());
    let out = command.output().unwrap_or_else(|err| panic!("{program}: {err}; `make setup-test`"));
    assert!(out.status.success() && out.stderr.is_empty(), "{program}: {out:?}");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn bash_completes_commands_options_and_their_values() {
    let dir = Dir::new("bash");
    let complete = |words: &str| {
        let line = format!(
            "compopt() {{ echo files; }}; source \"$1\"; COMP_WORDS=({words}); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _plimsoll; echo \"${{COMPREPLY[*]}}\""
        );
        shell("bash", &dir, &["--norc", "-c"], &line).trim().replace('\n', " ")
    };
    for (words, want) in [
        ("plimsoll sc", "scale schedule"),
        ("plimsoll --v", "--version"),
        ("plimsoll check --l", "--live"),
        ("plimsoll check --config ''", "files"),
        ("plimsoll check --config = a", "files"),
        ("plimsoll scale web a", "auto"),
        ("plimsoll scale web 4 --for ''", ""),
        ("plimsoll completions z", "zsh"),
        ("plimsoll help stat", "status"),
        ("plimsoll nothing --j", ""),
    ] {
        assert_eq!(complete(words), want, "{words}");
    }
}

#[test]
fn zsh_takes_its_script() {
    let dir = Dir::new("zsh");
    let words = "autoload -Uz compinit; compinit -D -u; source $1; echo $_comps[plimsoll]";
    assert_eq!(shell("zsh", &dir, &["-f", "-c"], words), "_plimsoll\n");
}

#[test]
fn fish_completes_commands_and_options() {
    let dir = Dir::new("fish");
    // What follows `-c` is `shell` and the script.
    let complete = |line: &str| {
        let words = format!("source $argv[2]; complete -C '{line}'");
        let said = shell("fish", &dir, &["--no-config", "-c"], &words);
        let firsts: Vec<&str> = said.lines().filter_map(|l| l.split('\t').next()).collect();
        firsts.join(" ")
    };
    for (line, want) in [
        ("plimsoll sc", "scale schedule"),
        ("plimsoll check --l", "--live"),
        ("plimsoll scale web a", "auto"),
        ("plimsoll completions z", "zsh"),
    ] {
        assert_eq!(complete(line), want, "{line}");
    }
}
