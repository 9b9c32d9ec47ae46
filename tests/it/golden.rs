//! Golden files: `UPDATE=1 cargo test --test it` rewrites them, `git diff` reviews them.

use std::path::Path;
use std::{env, fs};

/// Whether to rewrite. In CI (which sets `CI`) that would let every golden test pass.
#[track_caller]
pub(crate) fn is_update() -> bool {
    let is_update = env::var_os("UPDATE").is_some();
    assert!(!(is_update && env::var_os("CI").is_some()), "UPDATE is set in CI; unset it");
    is_update
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
