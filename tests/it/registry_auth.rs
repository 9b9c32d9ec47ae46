//! Credentials for registries: what Docker is sent with a pull, what is said when a registry
//! refuses, and what `doctor` and `check --live` find wrong with the file and its helpers.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::{Daemon, PLIMSOLL, plimsoll, reached, secs};
use crate::harness::Harness;

const SOON: Duration = Duration::from_secs(20);
const IMAGE: &str = "reg.example:5000/shop/web:1";
const PULLED: &str = r#"{"status":"Pull complete","progressDetail":{},"id":"a"}"#;
const REFUSED: &str = r#"{"errorDetail":{"message":"unauthorized: authentication required"}}"#;

/// `docker login` wrote these: user me with the passwords `s3cret>?` and `new>?`.
const LOGIN: &str = r#"{"auths": {"reg.example:5000": {"auth": "bWU6czNjcmV0Pj8="}}}"#;
const NEW_LOGIN: &str = r#"{"auths": {"reg.example:5000": {"auth": "bWU6bmV3Pj8="}}}"#;
/// As another implementation of base64 for addresses has it.
const SENT: &str = "eyJ1c2VybmFtZSI6Im1lIiwicGFzc3dvcmQiOiJzM2NyZXQ-PyIsInNlcnZlcmFkZHJlc3MiOi\
                    JyZWcuZXhhbXBsZTo1MDAwIn0=";
const NEW_SENT: &str = "eyJ1c2VybmFtZSI6Im1lIiwicGFzc3dvcmQiOiJuZXc-PyIsInNlcnZlcmFkZHJlc3MiOiJ\
                        yZWcuZXhhbXBsZTo1MDAwIn0=";

fn harness(name: &str) -> Harness {
    let mut harness = Harness::new(name);
    harness.set("/services/web/image", json!(IMAGE));
    harness.set("/autoscaler/log_level", json!("trace"));
    harness
}

/// Names a file with this content in `docker.config`.
fn with_file(harness: &mut Harness, content: &str) -> PathBuf {
    let file = harness.dir.write("docker.json", content);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    harness.set("/docker/config", json!(file));
    file
}

fn add_helper(folder: &Path, name: &str, script: &str) {
    let path = folder.join(format!("docker-credential-{name}"));
    // Written by a process of its own, so that no fork of this one has it open.
    let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" >\"$0\" && chmod 755 \"$0\"";
    let done = Command::new("sh").args(["-c", write]).arg(path).arg(script).status().unwrap();
    assert!(done.success());
}

/// Runs the daemon with more of an environment.
fn start_in(harness: &Harness, environment: &[(&str, &str)]) -> Daemon {
    let mut program = Command::new(PLIMSOLL);
    program.env_remove("DOCKER_CONFIG").envs(environment.iter().copied());
    Daemon::start_by(program, &harness.write(), &[])
}

#[test]
fn a_pull_has_the_credentials_of_its_registry_and_a_new_one_those_of_then() {
    let mut harness = harness("auth");
    let file = with_file(&mut harness, LOGIN);
    harness.docker.lose_images(REFUSED);
    let daemon = harness.start();
    let words = format!(
        "image {IMAGE} could not be pulled: unauthorized: authentication required; \
         reg.example:5000 refused user \\\"me\\\" of {}; check the image's name, and log in again: \
         `docker login reg.example:5000`, and put its entry into {}",
        file.display(),
        file.display()
    );
    daemon.wait(&["kind=replica.failed", &words], SOON);
    assert_eq!(harness.docker.pull_auths()[0], SENT);
    harness.docker.lose_images(PULLED);
    fs::write(&file, NEW_LOGIN).unwrap();
    daemon.wait(&["kind=image.pulled", IMAGE], SOON);
    assert_eq!(harness.docker.pull_auths().last().unwrap(), NEW_SENT);
    harness.wait_served();

    // At the finest level of the log, and wherever else the daemon writes.
    let out = plimsoll(&["events", "--config", harness.write().to_str().unwrap()]);
    let status = plimsoll(&["status", "--json", "--config", harness.write().to_str().unwrap()]);
    let mut texts = vec![daemon.lines().join("\n")];
    texts.extend([out.stdout, status.stdout].map(|bytes| String::from_utf8(bytes).unwrap()));
    for name in ["state/state.json", "state/events.jsonl"] {
        texts.push(fs::read_to_string(harness.dir.join(name)).unwrap());
    }
    for text in texts {
        assert!(!text.is_empty());
        for secret in ["s3cret", "new>?", "bWU6", "eyJ1c2VybmFtZSI6Im1l"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[test]
fn an_image_of_another_registry_is_pulled_without_credentials() {
    let mut harness = harness("other");
    let file = with_file(&mut harness, LOGIN);
    harness.set("/services/web/image", json!("other.example/web:1"));
    harness.docker.lose_images(REFUSED);
    let daemon = harness.start();
    let words = format!(
        "other.example was asked without credentials: {} has none for it; log in: `docker login \
         other.example`, and put its entry into {}",
        file.display(),
        file.display()
    );
    daemon.wait(&["kind=replica.failed", &words], SOON);
    assert_eq!(harness.docker.pull_auths()[0], "");
}

#[test]
fn a_token_of_many_kilobytes_arrives() {
    let mut harness = harness("long");
    let token = "t".repeat(40_000);
    let login = json!({ "auths": { "reg.example:5000": { "identitytoken": token } } });
    with_file(&mut harness, &login.to_string());
    harness.docker.lose_images(PULLED);
    let daemon = harness.start();
    daemon.wait(&["kind=image.pulled", IMAGE], SOON);
    assert!(40_000 * 4 / 3 < harness.docker.pull_auths()[0].len());
}

#[test]
fn without_a_named_file_the_first_that_exists_counts() {
    let named = r#"{"auths": {"reg.example:5000": {"username": "named"}}}"#;
    let own = r#"{"auths": {"reg.example:5000": {"username": "own"}}}"#;
    for (name, is_named, is_own, want) in [
        ("both", true, true, "refused user \\\"named\\\" of "),
        ("home", false, true, "refused user \\\"own\\\" of "),
        ("none", false, false, "was asked without credentials: there is none of "),
    ] {
        let harness = harness(name);
        let at = |name: &str| harness.dir.join(name).to_str().unwrap().to_owned();
        let folders = [at("named"), at("home/.docker")];
        for (folder, text, is_there) in [(&folders[0], named, is_named), (&folders[1], own, is_own)]
        {
            fs::create_dir_all(folder).unwrap();
            if is_there {
                fs::write(format!("{folder}/config.json"), text).unwrap();
            }
        }
        harness.docker.lose_images(REFUSED);
        let environment = [("DOCKER_CONFIG", folders[0].as_str()), ("HOME", &at("home"))];
        let daemon = start_in(&harness, &environment);
        daemon.wait(&["kind=replica.failed", "reg.example:5000", want], SOON);
        if name == "none" {
            let all = format!(
                "{}/config.json, {}/config.json, /etc/plimsoll/docker.json; log in: `docker login \
                 reg.example:5000` as the daemon's user, or put its file to \
                 /etc/plimsoll/docker.json, or name it in docker.config",
                folders[0], folders[1]
            );
            daemon.wait(&[&all], SOON);
        }
    }
}

#[test]
fn a_helper_gives_credentials_and_one_that_fails_hinders_no_pull() {
    for (name, script, sent, words) in [
        (
            "gives",
            r#"[ "$(cat)" = reg.example:5000 ] && echo '{"Username": "me", "Secret": "s3cret>?"}'"#,
            SENT,
            "1 of 1 layers",
        ),
        ("none", "echo 'credentials not found in native keychain'; exit 1", "", "1 of 1 layers"),
        (
            "fails",
            "echo 'GDBus.Error: no keyring'; exit 1",
            "",
            "pulling without credentials, since docker-credential-fails failed (exit status: 1): \
             GDBus.Error: no keyring (",
        ),
        (
            "desktop",
            "",
            "",
            "pulling without credentials, since docker-credential-desktop is not in PATH (",
        ),
    ] {
        let mut harness = harness(name);
        let helpers = harness.dir.join("helpers");
        fs::create_dir(&helpers).unwrap();
        if !script.is_empty() {
            add_helper(&helpers, name, script);
        }
        with_file(&mut harness, &json!({ "credsStore": name }).to_string());
        harness.docker.lose_images(PULLED);
        let path = format!("{}:/usr/bin:/bin", helpers.display());
        let daemon = start_in(&harness, &[("PATH", &path)]);
        daemon.wait(&["kind=image.pull", words], SOON);
        daemon.wait(&["kind=image.pulled", IMAGE], SOON);
        assert_eq!(harness.docker.pull_auths(), [sent], "{name}");
        assert_eq!(daemon.count(&["s3cret"]), 0);
    }
}

#[test]
fn the_end_of_the_daemon_waits_for_no_helper() {
    let mut harness = harness("hangs");
    let helpers = harness.dir.join("helpers");
    fs::create_dir(&helpers).unwrap();
    let pid = harness.dir.join("pid");
    add_helper(&helpers, "hangs", &format!("echo $$ >{}; exec sleep 60", pid.display()));
    with_file(&mut harness, r#"{"credsStore": "hangs"}"#);
    harness.docker.lose_images(PULLED);
    let path = format!("{}:/usr/bin:/bin", helpers.display());
    let daemon = start_in(&harness, &[("PATH", &path)]);
    daemon.wait(&["kind=image.pulling", IMAGE], SOON);
    let mut helper = String::new();
    assert!(reached(SOON, || {
        helper = fs::read_to_string(&pid).unwrap_or_default();
        helper.ends_with('\n')
    }));
    crate::harness::end(daemon, "TERM", secs(5));
    drop(Command::new("kill").arg(helper.trim()).status());
}

/// What `doctor` and `check --live` say of the file: verdict, and words of the message.
fn examined(harness: &Harness, path: &str) -> (Vec<String>, Vec<String>) {
    let config = harness.write();
    let run = |args: &[&str], list: &str| {
        let mut command = Command::new(PLIMSOLL);
        command.args(args).args(["--json", "--config"]).arg(&config).env("PATH", path);
        let out = command.env_remove("PLIMSOLL_CONFIG").output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(!text.contains("s3cret"), "{text}");
        let document: Value = serde_json::from_str(&text).unwrap();
        document[list].as_array().unwrap().clone()
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_file = |f: &&Value| ["docker.config", "secrets"].map(Value::from).contains(&f["check"]);
    let findings = run(&["doctor"], "findings");
    let findings = findings.iter().filter(of_file);
    let found = findings.map(|f| format!("{}: {}", text(&f["verdict"]), text(&f["message"])));
    let problems = run(&["check", "--live"], "problems");
    let of_file = |p: &&Value| text(&p["message"]).starts_with("docker.config: ");
    let problems = problems.iter().filter(of_file);
    let shown = problems.map(|p| format!("{}: {}", text(&p["severity"]), text(&p["message"])));
    (found.collect(), shown.collect())
}

/// Content and mode of a file, what `doctor` says of it, and what `check --live` says begins with.
type FileCase = (&'static str, &'static str, u32, &'static [&'static str], &'static [&'static str]);

const FILE_CASES: &[FileCase] = &[
    (
        "good",
        LOGIN,
        0o600,
        &["ok: FILE: 1 login", "ok: reg.example:5000: user \"me\" of FILE"],
        &[],
    ),
    ("none-for-it", "{}", 0o600, &["ok: FILE: 0 logins"], &[]),
    (
        "helper",
        r#"{"credHelpers": {"reg.example:5000": "there"}}"#,
        0o600,
        &[
            "ok: FILE: 0 logins, helper there",
            "ok: reg.example:5000: user \"you\" of docker-credential-there, which FILE names",
        ],
        &[],
    ),
    (
        "absent-helper",
        r#"{"credsStore": "desktop"}"#,
        0o600,
        &[
            "ok: FILE: 0 logins, helper desktop",
            "warning: reg.example:5000: docker-credential-desktop is not in PATH (PATH) (FILE \
             names it)",
        ],
        &["warning: docker.config: reg.example:5000: docker-credential-desktop is not in PATH"],
    ),
    (
        "unused-helper",
        r#"{"credHelpers": {"z.example": "gcr"}}"#,
        0o600,
        &[
            "ok: FILE: 0 logins, helper gcr",
            "warning: docker-credential-gcr is not in PATH (PATH) (FILE names it)",
        ],
        &["warning: docker.config: docker-credential-gcr is not in PATH"],
    ),
    (
        "open",
        LOGIN,
        0o644,
        &[
            "ok: FILE: 1 login",
            "ok: reg.example:5000: user \"me\" of FILE",
            "warning: FILE is accessible to everybody (mode 644)",
        ],
        &[],
    ),
    (
        "wrong-entry",
        r#"{"auths": {"z.example": {"auth": "s3cret!"}}}"#,
        0o600,
        &[
            "ok: FILE: 0 logins",
            "warning: FILE: \"z.example\": `auth` is not base64; log in again with \
             `docker login`",
        ],
        &["warning: docker.config: FILE: \"z.example\": `auth` is not base64"],
    ),
    (
        "broken",
        "{\"auths\": {\n  \"a\": s3cret\n}}",
        0o600,
        &["fails: FILE is not JSON: expected value at line 2 column 8"],
        &["error: docker.config: FILE is not JSON: expected value at line 2 column 8"],
    ),
];

#[test]
fn the_file_and_its_helpers_are_checked_before_they_are_needed() {
    let helper = r#"echo '{"Username": "you", "Secret": "s3cret"}'"#;
    for (name, content, mode, doctor, live) in FILE_CASES {
        let mut harness = harness(name);
        let helpers = harness.dir.join("helpers");
        fs::create_dir(&helpers).unwrap();
        add_helper(&helpers, "there", helper);
        let path = format!("{}:/usr/bin:/bin", helpers.display());
        let file = with_file(&mut harness, content);
        fs::set_permissions(&file, fs::Permissions::from_mode(*mode)).unwrap();
        let shown = |text: &&str| {
            let text = text.replace("(PATH)", &format!("({path})"));
            text.replace("FILE", &file.display().to_string())
        };
        let (found, problems) = examined(&harness, &path);
        assert_eq!(found, doctor.iter().map(shown).collect::<Vec<_>>(), "{name}");
        let live: Vec<String> = live.iter().map(shown).collect();
        let is_right = problems.iter().zip(&live).all(|(got, want)| got.starts_with(want));
        assert!(is_right && problems.len() == live.len(), "{name}: {problems:?}, not {live:?}");
    }
    let mut harness = harness("gone");
    // The lock of a daemon that ran as another user. Only root can leave it so.
    let state = harness.dir.join("state");
    fs::create_dir(&state).unwrap();
    fs::write(state.join("lock"), "").unwrap();
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if is_root {
        chown(state.join("lock"), Some(12_345), None).unwrap();
        let (found, problems) = examined(&harness, "/usr/bin:/bin");
        let words = "the daemon's user is 12345 and this is user 0";
        assert!(found.iter().any(|f| f.starts_with("warning: ") && f.contains(words)), "{found:?}");
        assert!(problems.iter().any(|p| p.contains(words)), "{problems:?}");
    }
    let file = harness.dir.join("none.json");
    harness.set("/docker/config", json!(file));
    let (found, problems) = examined(&harness, "/usr/bin:/bin");
    let words = format!("{} does not exist", file.display());
    assert_eq!(found, [format!("fails: {words}")]);
    assert_eq!(problems, [format!("error: docker.config: {words}")]);
}
