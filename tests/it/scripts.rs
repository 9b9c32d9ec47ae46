//! Every shell script of the repository, read by ShellCheck.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Below `dir`: what ends in `.sh`, and what begins with a shell's name.
fn scripts(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        let is_made = ["target", "dist", ".git"].iter().any(|made| path.ends_with(made));
        if kind.is_dir() && !is_made {
            scripts(&path, found);
        } else if kind.is_file() && is_script(&path) {
            found.push(path);
        }
    }
}

fn is_script(path: &Path) -> bool {
    let text = fs::read(path).unwrap();
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let names_shell = first.ends_with(b"/sh") || first.ends_with(b"bash");
    path.extension().is_some_and(|e| e == "sh") || (first.starts_with(b"#!") && names_shell)
}

#[track_caller]
fn shellcheck(paths: &[PathBuf]) -> (bool, String) {
    let said = Command::new("shellcheck").arg("-x").args(paths).output();
    let said =
        said.unwrap_or_else(|err| panic!("shellcheck: {err}; contrib/setup.sh test gets it"));
    (said.status.success(), String::from_utf8_lossy(&said.stdout).into_owned())
}

#[test]
fn shellcheck_finds_nothing() {
    let mut found = Vec::new();
    scripts(&env::current_dir().unwrap(), &mut found);
    assert!(4 <= found.len(), "only {found:?}");
    let (is_clean, said) = shellcheck(&found);
    assert!(is_clean, "\n{said}");
}

#[test]
fn shellcheck_would_find_something() {
    let dir = crate::daemon::Dir::new("scripts");
    let bad = dir.write("bad.sh", "#!/bin/sh\necho $1\n");
    let (is_clean, said) = shellcheck(&[bad]);
    assert!(!is_clean && said.contains("SC2086"), "{said}");
}
