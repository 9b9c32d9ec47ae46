//! The traces of load beside the examples, and those of another seed.

use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const EXAMPLES: &str = "contrib/examples";
pub(crate) const TRACES: [&str; 2] = ["daily.csv", "weekly.csv"];
const OTHER_SEED: &str = "4711";

/// Each seed with the folder of its traces. Those of the other one are made in `folder`.
pub(crate) fn by_seed(folder: &Path) -> [(&'static str, PathBuf); 2] {
    let script = Path::new(EXAMPLES).join("weeks.py");
    let made = Command::new("python3").arg(script).arg(OTHER_SEED).arg(folder).status().unwrap();
    assert!(made.success(), "{made}");
    [("default", PathBuf::from(EXAMPLES)), (OTHER_SEED, folder.to_owned())]
}
