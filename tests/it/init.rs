//! `plimsoll init`: what is written passes the check as it is, and says what it left out.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::daemon::{Dir, PLIMSOLL, plimsoll};
use crate::golden;

const FILES: &str = "tests/compose";

/// Output and complaints for a compose file, in a folder that is called the same everywhere.
fn made(file: &str) -> (String, String) {
    let mut command = Command::new(PLIMSOLL);
    command.args(["init", "--compose", file]).current_dir(FILES);
    let out = command.env_remove("SHOP_TAG").env_remove("COMPOSE_PROJECT_NAME").output().unwrap();
    assert!(out.status.success(), "{file}: {out:?}");
    let here = fs::canonicalize(FILES).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&out.stdout).replace(here.to_str().unwrap(), "/HERE"), text(&out.stderr))
}

#[test]
fn compose_files_become_configs_that_are_good() {
    let dir = Dir::new("init");
    for file in ["shop.yaml", "odd.yaml", "options.yaml", "printed.json"] {
        let (text, reported) = made(file);
        let config = dir.write("config.json", &text);
        let out = plimsoll(&["check", "--config", config.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{file}: {said}\n{text}");
        let shown = format!("{text}--- stderr\n{reported}");
        golden::check(&Path::new(FILES).join(file).with_extension("txt"), &shown);
    }
}

/// `docker compose` would not know its own containers by another name.
#[test]
fn a_project_is_named_as_compose_names_it() {
    let dir = Dir::new("project");
    let plain = "services: { web: { image: w, expose: [80] } }\n";
    let named = "name: ${X:-given}\nservices: { web: { image: w, expose: [80] } }\n";
    for (folder, text, dot_env, variable, want) in [
        ("shop", plain, "", None, "shop"),
        ("My Shop.2", plain, "", None, "myshop2"),
        ("_-Ä_a-B", plain, "", None, "a-b"),
        ("shop", named, "", None, "given"),
        ("shop", plain, "# C=1\nCOMPOSE_PROJECT_NAME=\"of-file\"\n", None, "of-file"),
        ("shop", named, "COMPOSE_PROJECT_NAME=of-file\n", Some("of-env"), "of-env"),
        ("shop", named, "", Some(""), "given"),
    ] {
        let folder = dir.join(folder);
        fs::create_dir_all(folder.join("below")).unwrap();
        fs::write(folder.join("compose.yaml"), text).unwrap();
        fs::write(folder.join(".env"), dot_env).unwrap();
        let mut command = Command::new(PLIMSOLL);
        command.args(["init", "--compose", "../compose.yaml"]).current_dir(folder.join("below"));
        command.env_remove("COMPOSE_PROJECT_NAME").env_remove("X");
        command.envs(variable.map(|value| ("COMPOSE_PROJECT_NAME", value)));
        let out = command.output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let line = format!(r#""compose": {{"project":"{want}","service":"web"}},"#);
        assert!(text.contains(&line), "no {line} in\n{text}");
    }
}

#[test]
fn a_file_is_written_once_and_for_its_owner() {
    let dir = Dir::new("once");
    let path = dir.join("config.json");
    let written = path.to_str().unwrap();
    let compose = format!("{FILES}/shop.yaml");
    let init = || plimsoll(&["init", "--compose", &compose, "--output", written]);
    let out = init();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && said.contains("next: `plimsoll check --config"), "{out:?}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&path, "mine").unwrap();
    let out = init();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(1) && said.contains("is not overwritten"), "{said}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn what_is_no_compose_file_is_refused() {
    let dir = Dir::new("no-compose");
    dir.write("empty.yaml", "");
    dir.write("bad.json", "{");
    dir.write("tab.yaml", "services:\n  web:\n\timage: x\n");
    for (name, words) in [
        ("missing.yaml", "cannot be read"),
        ("empty.yaml", "has no `services`"),
        ("bad.json", "is not valid JSON"),
        ("tab.yaml", "is not valid YAML: line 3, column 2: "),
    ] {
        let out = plimsoll(&["init", "--compose", dir.join(name).to_str().unwrap()]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(1) && said.contains(words), "{name}: {said}");
        assert!(out.stdout.is_empty(), "{name}: {out:?}");
    }
}
