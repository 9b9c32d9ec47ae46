//! Labels in compose files, as `plimsoll check --compose` reads them: each file of tests/labels
//! with what is printed about it. A first line `# beside: CONFIG` has the config file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::daemon::{Dir, PLIMSOLL};
use crate::golden;

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    files.sort();
    files
}

/// Exit status 0, and what is written.
fn check(file: &Path, more: &[&str]) -> (bool, String) {
    let dir = Dir::new("labels");
    let text = fs::read_to_string(file).unwrap();
    let beside = text.lines().next().and_then(|line| line.strip_prefix("# beside: "));
    let config = dir.write("config.json", beside.unwrap_or("{\"services\": {}}"));
    let mut command = Command::new(PLIMSOLL);
    command.args(["check", "--compose"]).arg(file.file_name().unwrap()).arg("--config").arg(config);
    command.args(more).current_dir(file.parent().unwrap());
    let out = command.env_remove("COMPOSE_PROJECT_NAME").env_remove("MOST").output().unwrap();
    let [said, complaint] = [out.stdout, out.stderr].map(|b| String::from_utf8(b).unwrap());
    (out.status.success(), said + &complaint)
}

#[test]
fn each_mistake_in_labels_has_its_place_and_its_way_out() {
    let files = files("tests/labels/bad");
    assert!(40 < files.len(), "only {} files", files.len());
    for file in files {
        let (is_good, said) = check(&file, &[]);
        assert!(!is_good, "{}: {said}", file.display());
        golden::check(&file.with_extension("txt"), &said);
    }
}

#[test]
fn good_labels_are_counted_and_warned_of() {
    for file in files("tests/labels/good") {
        let (is_good, said) = check(&file, &[]);
        assert!(is_good, "{}: {said}", file.display());
        golden::check(&file.with_extension("txt"), &said);
    }
}

#[test]
fn problems_of_labels_are_a_document_too() {
    let (is_good, said) = check(Path::new("tests/labels/bad/unknown-key.yaml"), &["--json"]);
    assert!(!is_good);
    let document: Value = serde_json::from_str(&said).unwrap();
    let problem = &document["problems"][1];
    assert_eq!(
        (&document["good"], &problem["line"], &problem["column"]),
        (&false.into(), &8.into(), &7.into())
    );
    assert_eq!(problem["path"], "services.web.labels.plimsoll.prot");
    assert_eq!(problem["severity"], "error");
    let (is_good, said) = check(Path::new("tests/labels/good/three.yaml"), &["--live"]);
    assert!(!is_good && said.contains("--live goes with the config file"), "{said}");
}

/// What `init` suggests is good as it is.
#[test]
fn labels_that_init_writes_are_good() {
    let dir = Dir::new("init-labels");
    let mut command = Command::new(PLIMSOLL);
    command.args(["init", "--labels", "--compose", "shop.yaml"]).current_dir("tests/compose");
    let out = command.env_remove("SHOP_TAG").env_remove("COMPOSE_PROJECT_NAME").output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    golden::check(Path::new("tests/compose/shop.labels.txt"), &text);
    let written = dir.write("compose.yaml", &text);
    let (is_good, said) = check(&written, &[]);
    assert!(is_good && said.ends_with("good, 3 services by labels\n"), "{said}\n{text}");
}
