//! Helpers that answer, fail, hang and flood.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::docker::credential_helper::{CredentialHelpers, OUTPUT_MAX};
use crate::docker::docker_config::Registry;
use crate::model::base64;
use crate::model::time::{Moment, Wall};
use crate::outside::Clock;

/// Each look at it takes as long as a helper is waited for between two looks.
#[derive(Default)]
pub(crate) struct CountingClock(AtomicU64);

impl Clock for CountingClock {
    fn now(&self) -> Moment {
        Moment(self.0.fetch_add(10, Ordering::Relaxed))
    }

    fn wall(&self) -> Wall {
        Wall(0)
    }
}

/// A folder of helpers, removed when dropped.
pub(crate) struct HelperFolder(pub(crate) PathBuf);

impl HelperFolder {
    pub(crate) fn new(name: &str) -> HelperFolder {
        let path = std::env::temp_dir().join(format!("plimsoll-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        HelperFolder(path)
    }

    /// Written by another process: one that this process has open for writing, as a thread that
    /// forks meanwhile passes on, cannot be run.
    pub(crate) fn add(&self, name: &str, script: &str) {
        let path = self.0.join(format!("docker-credential-{name}"));
        let write = "printf '%s' \"$1\" >\"$0\" && chmod 755 \"$0\"";
        let text = format!("#!/bin/sh\n{script}\n");
        let mut shell = Command::new("sh");
        let status = shell.args(["-c", write]).arg(&path).arg(text).status().unwrap();
        assert!(status.success());
    }

    pub(crate) fn helpers<'c>(&self, clock: &'c CountingClock, ms: u64) -> CredentialHelpers<'c> {
        let path = self.0.clone().into_os_string();
        CredentialHelpers { path, run_max: Duration::from_millis(ms), clock }
    }
}

impl Drop for HelperFolder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The header's JSON, `none`, or the error.
fn asked(folder: &HelperFolder, name: &str, image: &str, ms: u64) -> String {
    let clock = CountingClock::default();
    match folder.helpers(&clock, ms).get(name, &Registry::of(image)) {
        Ok(Some(found)) => {
            let header = found.header().unwrap();
            String::from_utf8(base64::decode(header.expose()).unwrap()).unwrap()
        }
        Ok(None) => "none".to_owned(),
        Err(why) => why,
    }
}

#[test]
fn what_a_helper_answers_is_taken_and_what_it_prints_otherwise_is_not_shown() {
    let folder = HelperFolder::new("helpers");
    let answer = r#"echo '{"ServerURL": "", "Username": "me", "Secret": "s3cret"}'"#;
    for (name, script, want) in [
        (
            "good",
            answer.to_owned(),
            r#"{"username":"me","password":"s3cret","serveraddress":"a:5"}"#,
        ),
        (
            "stdin",
            r#"read -r server; printf '{"Username": "%s/%s", "Secret": "x"}' "$1" "$server""#
                .to_owned(),
            r#"{"username":"get/a:5","password":"x","serveraddress":"a:5"}"#,
        ),
        ("deaf", format!("exec <&-\n{answer}"), r#""password":"s3cret""#),
        ("chatty", format!("echo warning >&2\n{answer}"), r#""password":"s3cret""#),
        ("unknown", "echo 'credentials not found in native keychain'; exit 1".to_owned(), "none"),
        (
            "locked",
            "echo 'The name org.freedesktop.secrets was not provided'; exit 1".to_owned(),
            "docker-credential-locked failed (exit status: 1): The name org.freedesktop.secrets \
             was not provided",
        ),
        (
            "stderr",
            "echo no region >&2; exit 3".to_owned(),
            "docker-credential-stderr failed (exit status: 3): no region",
        ),
        ("torn", format!("{answer}\nexit 1"), "docker-credential-torn failed (exit status: 1)"),
        ("silent", "exit 1".to_owned(), "docker-credential-silent failed (exit status: 1)"),
        (
            "killed",
            "kill -9 $$".to_owned(),
            "docker-credential-killed failed (signal: 9 (SIGKILL))",
        ),
        ("garbage", "echo s3cret".to_owned(), "docker-credential-garbage gave no credentials"),
        ("empty", "exit 0".to_owned(), "docker-credential-empty gave no credentials"),
        (
            "colors",
            r"printf '\033[31mred\n'; exit 1".to_owned(),
            r"failed (exit status: 1): \u001b[31mred",
        ),
    ] {
        folder.add(name, &script);
        let shown = asked(&folder, name, "a:5/web", 10_000);
        assert!(shown.contains(want), "{name}: {shown}");
        let is_answer = want.contains("s3cret");
        assert_eq!(shown.contains("s3cret"), is_answer, "{name}: {shown}");
    }
    let hub = asked(&folder, "stdin", "web", 10_000);
    assert!(hub.contains("get/https://index.docker.io/v1/"), "{hub}");
}

#[test]
fn a_helper_has_bounds_of_time_and_output_and_leaves_nobody_behind() {
    let folder = HelperFolder::new("bounds");
    let pid = folder.0.join("pid");
    folder.add("hangs", &format!("sleep 600 & echo $! >{}\nwait", pid.display()));
    let shown = asked(&folder, "hangs", "web", 500);
    assert_eq!(shown, "docker-credential-hangs did not end within 0 s and was killed");
    let sleeper = fs::read_to_string(&pid).unwrap();
    let stat = PathBuf::from(format!("/proc/{}/stat", sleeper.trim()));
    // It may be a zombie until somebody waits for it.
    let is_gone = || fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    let mut looks = 0;
    while !is_gone() {
        looks += 1;
        assert!(looks < 1000, "{sleeper} lives on");
        let mut pause = Command::new("sleep");
        pause.arg("0.01").stdin(Stdio::null()).status().unwrap();
    }

    let size = OUTPUT_MAX + 1;
    folder.add("floods", "yes s3cret");
    folder.add("long", &format!("head -c {size} /dev/zero | tr '\\0' x"));
    for name in ["floods", "long"] {
        let shown = asked(&folder, name, "web", 30_000);
        let want = format!("docker-credential-{name} wrote more than 64 KiB and was killed");
        assert_eq!(shown, want);
    }
    // Whoever keeps the output open holds nobody up.
    folder.add("leaves", "sleep 3 &\necho '{\"Username\": \"me\", \"Secret\": \"x\"}'");
    let shown = asked(&folder, "leaves", "web", 2_000);
    assert!(shown.contains("\"me\""), "{shown}");
}

#[test]
fn a_helper_that_is_not_there_is_named() {
    let folder = HelperFolder::new("absent");
    fs::write(folder.0.join("docker-credential-plain"), "").unwrap();
    fs::create_dir(folder.0.join("docker-credential-folder")).unwrap();
    for name in ["none", "plain", "folder"] {
        let shown = asked(&folder, name, "web", 1000);
        let path = folder.0.display();
        assert_eq!(shown, format!("docker-credential-{name} is not in PATH ({path})"));
    }
    fs::write(folder.0.join("docker-credential-binary"), [0x7f, b'E', b'L', b'F']).unwrap();
    let mut chmod = Command::new("chmod");
    chmod.arg("755").arg(folder.0.join("docker-credential-binary")).status().unwrap();
    let shown = asked(&folder, "binary", "web", 1000);
    assert!(shown.starts_with("docker-credential-binary cannot be run: "), "{shown}");
    let clock = CountingClock::default();
    let relative = CredentialHelpers { path: ".:".into(), ..folder.helpers(&clock, 1) };
    assert!(relative.find("none").is_err());
    assert!(Path::new(&folder.0).exists());
}
