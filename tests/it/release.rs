//! What `make release` makes of a built program: it is complete, the same whenever and wherever it
//! is made, and says what is in it. The binary is a script, as in `install`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::daemon::Dir;
use crate::install::{shell, tree};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A release in a folder of this name; the folder that it is in.
fn release(dir: &Dir, name: &str) -> PathBuf {
    let tree = tree(dir, name);
    for part in ["Cargo.lock", "src", "tests", "examples"] {
        symlink(fs::canonicalize(part).unwrap(), tree.join(part)).unwrap();
    }
    let steps = "export SOURCE_DATE_EPOCH=1700000000\n\
                 contrib/dist.sh built x86_64\n\
                 contrib/deb.sh x86_64\n\
                 contrib/release.sh x86_64-unknown-linux-gnu";
    shell(&tree, steps);
    tree.join("dist")
}

fn files(dist: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(dist).unwrap().map(|entry| entry.unwrap());
    let read = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    let mut files: Vec<_> = entries.map(read).collect();
    files.sort();
    files
}

#[test]
fn a_release_is_complete_and_the_same_wherever_and_whenever_it_is_made() {
    let dir = Dir::new("release");
    let (one, other) = (release(&dir, "one"), release(&dir, "another place"));
    let names = |dist: &Path| files(dist).into_iter().map(|file| file.0).collect::<Vec<_>>();
    let name = |end: &str| format!("plimsoll-{VERSION}-linux-x86_64{end}");
    let all = [
        "SHA256SUMS".to_owned(),
        "plimsoll".to_owned(),
        name("-image.tar.gz"),
        name("-notes.md"),
        name(".cdx.json"),
        name(".tar.gz"),
        format!("plimsoll_{VERSION}-1_amd64.deb"),
    ];
    assert_eq!(names(&one), all);
    for ((name, bytes), (_, others)) in files(&one).into_iter().zip(files(&other)) {
        assert!(bytes == others, "{name} differs");
    }
    shell(&one, "sha256sum --check --quiet --strict SHA256SUMS");
    let sums = fs::read_to_string(one.join("SHA256SUMS")).unwrap();
    assert_eq!(sums.lines().count(), all.len() - 1, "each file but the list itself");
    let notes = fs::read_to_string(one.join(name("-notes.md"))).unwrap();
    assert!(notes.starts_with(&format!("# plimsoll {VERSION}\n\n### ")), "{notes}");
    assert!(!notes.contains("\n## "), "the notes are of one version");
}

#[test]
fn the_image_is_that_of_the_dockerfile() {
    let dir = Dir::new("release-image");
    let dist = release(&dir, "tree");
    shell(&dist, "mkdir image root && tar -xzf *-image.tar.gz -C image");
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(dist.join("image").join(name)).unwrap()).unwrap()
    };
    let manifest = read("manifest.json");
    assert_eq!(manifest[0]["RepoTags"][0], format!("plimsoll:{VERSION}"));
    let config = read(manifest[0]["Config"].as_str().unwrap());
    let layer = manifest[0]["Layers"][0].as_str().unwrap();
    let sum = shell(&dist, &format!("sha256sum image/{layer}"));
    let sum = format!("sha256:{}", sum.split(' ').next().unwrap());
    assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!([sum]));
    shell(&dist, &format!("tar -xf image/{layer} -C root && cmp root/plimsoll plimsoll"));

    let dockerfile = fs::read_to_string("contrib/docker/Dockerfile").unwrap();
    let of = |word: &str| {
        let line = dockerfile.lines().find_map(|line| line.strip_prefix(word)).unwrap();
        line.trim().to_owned()
    };
    let config = &config["config"];
    assert_eq!(config["Env"][0], of("ENV "));
    let list = |word: &str| -> Value { serde_json::from_str(&of(word)).unwrap() };
    assert_eq!(config["Entrypoint"], list("ENTRYPOINT"));
    assert_eq!(config["Cmd"], list("CMD"));
    let health = &config["Healthcheck"];
    let seconds = |key: &str| health[key].as_u64().unwrap() / 1_000_000_000;
    let (interval, timeout) = (seconds("Interval"), seconds("Timeout"));
    let command: Vec<String> = serde_json::from_value(health["Test"].clone()).unwrap();
    assert_eq!(
        of("HEALTHCHECK"),
        format!(
            "--interval={interval}s --timeout={timeout}s --start-period={}s {} [\"{}\"]",
            seconds("StartPeriod"),
            command[0],
            command[1..].join("\", \"")
        )
    );
}

#[test]
fn the_list_of_crates_has_what_the_binary_has() {
    let said = shell(
        Path::new("."),
        "SOURCE_DATE_EPOCH=1700000000 contrib/sbom.py x86_64-unknown-linux-gnu",
    );
    let bom: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&bom["bomFormat"], &bom["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    let crates = bom["components"].as_array().unwrap();
    let names: BTreeSet<_> = crates.iter().map(|c| c["name"].as_str().unwrap()).collect();
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    let table = |name: &str| {
        let rest = manifest.split_once(&format!("[{name}]\n")).unwrap().1.to_owned();
        let rows = rest.lines().take_while(|line| !line.is_empty()).map(str::to_owned);
        rows.map(|row| row.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for name in table("dependencies") {
        assert!(names.contains(name.as_str()), "{name} is not in {names:?}");
    }
    for name in table("dev-dependencies").iter().map(String::as_str).chain(["serde_derive", "url"])
    {
        assert!(!names.contains(name), "{name} is not in the binary");
    }
    for one in crates {
        let purl = format!("pkg:cargo/{}@{}", one["name"], one["version"]).replace('"', "");
        assert_eq!((&one["purl"], &one["bom-ref"]), (&purl.clone().into(), &purl.into()));
        assert_eq!(one["hashes"][0]["content"].as_str().unwrap().len(), 64, "{one}");
        let licence = one["licenses"][0]["expression"].as_str().unwrap();
        assert!(!licence.is_empty() && !licence.contains('/'), "{one}");
    }
}

#[test]
fn a_target_without_a_toolchain_is_reported_with_a_way_to_get_it() {
    let build = |target: &str| Command::new("contrib/toolchain.sh").arg(target).output().unwrap();
    let out = build("powerpc64le-unknown-linux-gnu");
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1), "{said}");
    for words in [
        "Rust's standard library for powerpc64le-unknown-linux-gnu is missing",
        "rustup target add powerpc64le-unknown-linux-gnu",
        "the linker powerpc64le-linux-gnu-gcc is missing",
        "nothing was built",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(build(&format!("{}-unknown-linux-gnu", std::env::consts::ARCH)).status.success());
}
