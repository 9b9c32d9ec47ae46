//! Golden files: `UPDATE=1 cargo test --test it` rewrites them, `git diff` reviews them.

use std::path::Path;
use std::{env, fs};

#[track_caller]
pub(crate) fn check(path: &Path, got: &str) {
    if env::var_os("UPDATE").is_some() {
        fs::write(path, got).unwrap();
        return;
    }
    let want = fs::read_to_string(path).unwrap_or_default();
    let name = path.display();
    assert!(want == got, "{name} differs; UPDATE=1 rewrites it\n--- want\n{want}\n--- got\n{got}");
}
