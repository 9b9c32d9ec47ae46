//! A release, from the files in contrib to an installed program and away again. The binary is a
//! script that stands for the real one, as its size would make every step slow.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::daemon::{Dir, PLIMSOLL, plimsoll};

const DOCUMENTS: &[&str] = &[
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "QUICKREF.md",
    "README.md",
];

#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}{complaints}", output.status);
    said
}

pub(crate) fn shell(dir: &Path, line: &str) -> String {
    run(Command::new("sh").current_dir(dir).args(["-ec", line]))
}

/// As much of the source tree as a release is made of, in a folder of this name.
pub(crate) fn tree(dir: &Dir, name: &str) -> PathBuf {
    let tree = dir.join(name);
    fs::create_dir(&tree).unwrap();
    for file in DOCUMENTS.iter().chain(&["Cargo.toml"]) {
        fs::copy(file, tree.join(file)).unwrap();
    }
    run(Command::new("cp").arg("-R").arg("contrib").arg(&tree));
    let binary = tree.join("built");
    fs::write(&binary, format!("#!/bin/sh\nexec {PLIMSOLL} \"$@\"\n")).unwrap();
    fs::set_permissions(&binary, Permissions::from_mode(0o755)).unwrap();
    tree
}

/// Makes the release and gives the folder that its tarball holds, unpacked.
pub(crate) fn release(tree: &Path) -> PathBuf {
    shell(tree, "SOURCE_DATE_EPOCH=1700000000 contrib/dist.sh built riscv64");
    shell(&tree.join("dist"), "sha256sum --check --quiet SHA256SUMS && tar -xzf *.tar.gz");
    tree.join(format!("dist/plimsoll-{}-linux-riscv64", env!("CARGO_PKG_VERSION")))
}

pub(crate) fn files_below(dir: &Path) -> BTreeSet<String> {
    let listed = shell(dir, "find . -type f -o -type l");
    listed.lines().map(|line| line.trim_start_matches("./").to_owned()).collect()
}

#[test]
fn a_release_has_the_same_bytes_wherever_and_whenever_it_is_made() {
    let dir = Dir::new("dist");
    let one = tree(&dir, "one");
    let other = tree(&dir, "another place");
    // Times and rights of the files are those of whoever checked them out.
    shell(&other, "find . -exec touch -d 2001-01-01 {} + && chmod -R g-rwx,o-rwx .");
    let unpacked = release(&one);
    let _ = release(&other);
    let name = format!("{}.tar.gz", unpacked.file_name().unwrap().to_str().unwrap());
    let bytes = |tree: &Path| fs::read(tree.join("dist").join(&name)).unwrap();
    assert!(bytes(&one) == bytes(&other), "{name} differs");
    shell(&unpacked, "sha256sum --check --quiet SHA256SUMS");
    let files = files_below(&unpacked);
    for file in DOCUMENTS.iter().chain(&["plimsoll", "contrib/install.sh"]) {
        assert!(files.contains(*file), "{file} is not in {files:?}");
    }
    let sums = fs::read_to_string(unpacked.join("SHA256SUMS")).unwrap();
    assert_eq!(sums.lines().count(), files.len() - 1, "each file but the list itself");
}

#[test]
fn what_is_installed_fits_together_and_goes_away_again() {
    let dir = Dir::new("install");
    let root = dir.join("root");
    let config = root.join("etc/plimsoll/config.json");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    fs::write(&config, "{}").unwrap();
    let release = release(&tree(&dir, "tree"));
    let install = |arguments: &[&str]| {
        let mut command = Command::new(release.join("contrib/install.sh"));
        run(command.args(arguments).env("PREFIX", "/opt/plimsoll").env("DESTDIR", &root))
    };
    install(&[]);
    // Once more, as an upgrade does.
    install(&[]);
    let files = files_below(&root);
    for file in [
        "etc/plimsoll/config.json",
        "etc/plimsoll/config.json.example",
        "opt/plimsoll/bin/plimsoll",
        "opt/plimsoll/lib/systemd/system/plimsoll.service",
        "opt/plimsoll/lib/systemd/system/plimsoll-backup.timer",
        "opt/plimsoll/lib/sysusers.d/plimsoll.conf",
        "opt/plimsoll/share/bash-completion/completions/plimsoll",
        "opt/plimsoll/share/doc/plimsoll/QUICKREF.md",
        "opt/plimsoll/share/fish/vendor_completions.d/plimsoll.fish",
        "opt/plimsoll/share/plimsoll/backup.sh",
        "opt/plimsoll/share/plimsoll/config.schema.json",
        "opt/plimsoll/share/zsh/site-functions/_plimsoll",
    ] {
        assert!(files.contains(file), "{file} is not in {files:?}");
    }
    assert_eq!(fs::read_to_string(&config).unwrap(), "{}", "a config is its owner's");
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let unit = read("opt/plimsoll/lib/systemd/system/plimsoll.service");
    assert!(unit.contains("\nExecStart=/opt/plimsoll/bin/plimsoll run\n"), "{unit}");
    assert!(!unit.contains("/usr/local"), "{unit}");
    let example = "etc/plimsoll/config.json.example";
    assert!(read(example).contains(r#""/opt/plimsoll/share/plimsoll/config.schema.json""#));
    let example = root.join(example);
    let checked = plimsoll(&["check", "--config", example.to_str().unwrap()]);
    assert!(checked.status.success(), "{checked:?}");

    install(&["uninstall"]);
    assert_eq!(files_below(&root), ["etc/plimsoll/config.json".to_owned()].into());
    assert!(!root.join("opt/plimsoll/share/plimsoll").exists());
}

#[test]
fn each_config_beside_a_compose_file_is_good_and_fits_it() {
    let config = "contrib/docker/etc/config.json";
    let checked = plimsoll(&["check", "--config", config]);
    assert!(checked.status.success(), "{checked:?}");
    let named = |file: &str, before: &str, after: &str| {
        let text = fs::read_to_string(file).unwrap();
        let rest = text.split_once(before).unwrap().1.to_owned();
        rest.split_once(after).unwrap().0.to_owned()
    };
    let in_compose = named("contrib/docker/compose.yaml", "container_name: ", "\n");
    assert_eq!(named(config, "\"container\": \"", "\",\n"), in_compose.as_str());

    let config = "contrib/docker/one/etc/config.json";
    let checked = plimsoll(&["check", "--config", config]);
    assert!(checked.status.success(), "{checked:?}");
    let project = named("contrib/docker/one/.env", "COMPOSE_PROJECT_NAME=", "\n");
    assert_eq!(named(config, "\"project\": \"", "\""), project.as_str());

    let checked = plimsoll(&["check", "--compose", "contrib/docker/one/compose.labels.yaml"]);
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn without_a_binary_nothing_is_installed() {
    let dir = Dir::new("nothing");
    let tree = tree(&dir, "tree");
    let root = dir.join("root");
    let mut command = Command::new(tree.join("contrib/install.sh"));
    let output = command.env("DESTDIR", &root).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint.contains("no binary in") && complaint.contains("make dist"));
    assert!(!root.exists());
}
