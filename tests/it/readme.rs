//! README's orders, typed as they stand there, to a daemon that runs.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::daemon::PLIMSOLL;
use crate::doc_blocks::{blocks, typed};
use crate::docs::document;
use crate::harness::{Harness, free_address};

#[test]
fn what_readme_has_people_type_works() {
    let blocks = blocks(&document("README.md"));
    let block = blocks.iter().find(|block| block.text.contains("plimsoll explain web"));
    let lines = typed(block.unwrap());
    assert!(5 <= lines.len(), "{lines:?}");
    let mut harness = Harness::new("readme");
    let api = free_address();
    harness.set("/api/listen", json!(api));
    harness.set("/services/web/max_replicas", json!(8));
    harness.set("/services/web/scale_up_threshold", json!(75));
    harness.set("/services/web/scale_down_threshold", json!(25));
    let daemon = harness.start();
    harness.wait_served();
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", Path::new(PLIMSOLL).parent().unwrap().display());
    for line in lines {
        let line = line.replace("127.0.0.1:8000", &api).replace("curl ", "curl --fail -sS ");
        let mut shell = Command::new("timeout");
        shell.args(["30", "sh", "-c", &line]).env("PATH", &path);
        let ran = shell.env("PLIMSOLL_CONFIG", harness.dir.join("config.json")).output().unwrap();
        let said = [&ran.stdout[..], &ran.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(ran.status.success() && !said.is_empty(), "{line}: {said}\n{:#?}", daemon.lines());
    }
}
