//! Golden files: `UPDATE=1 cargo test --test it` rewrites them, `git diff` reviews them.

use std::path::Path;
use std::{env, fs};

/// Whether to rewrite.
#[track_caller]
pub(crate) fn is_update() -> bool {
    may_rewrite(env::var_os("UPDATE").is_some(), env::var_os("CI").is_some()).unwrap()
}

/// A rewrite lets every golden test pass, so CI (which sets `CI`) may not.
fn may_rewrite(is_update: bool, is_ci: bool) -> Result<bool, &'static str> {
    if is_update && is_ci { Err("UPDATE is set in CI; unset it") } else { Ok(is_update) }
}

#[track_caller]
pub(crate) fn check(path: &Path, got: &str) {
    if is_update() {
        fs::write(path, got).unwrap();
        return;
    }
    let want = fs::read_to_string(path).unwrap_or_default();
    let name = path.display();
    assert!(want == got, "{name} differs; UPDATE=1 rewrites it\n--- want\n{want}\n--- got\n{got}");
}

#[test]
fn golden_files_are_not_rewritten_in_ci() {
    let all = [(false, false), (false, true), (true, false), (true, true)];
    let results = all.map(|(is_update, is_ci)| may_rewrite(is_update, is_ci).ok());
    assert_eq!(results, [Some(false), Some(false), Some(true), None]);
}
