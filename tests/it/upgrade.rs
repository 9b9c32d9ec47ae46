//! `contrib/install.sh` where a daemon runs already: the real daemon, beside a scripted Docker.
//! What stands for systemd is a script of a few lines; `contrib/systemd/try.sh` takes the real one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::daemon::{Dir, PLIMSOLL, reached, secs};
use crate::harness::Harness;
use crate::install::{files_below, release, run, tree};

/// Ends the daemon, and once that is gone starts what is in place now.
const SYSTEMCTL: &str = r#"#!/bin/sh
cd DIR || exit
echo "$*" >>calls
lives() { [ -e daemon.pid ] && readlink "/proc/$(cat daemon.pid)/exe" >/dev/null; }
end() {
    ! lives || kill "$(cat daemon.pid)"
    for i in $(seq 300); do lives || break; sleep 0.1; done
}
case $* in
"-q is-active plimsoll.service") lives ;;
"show -P MainPID plimsoll.service") cat daemon.pid ;;
daemon-reload | "reset-failed plimsoll.service") ;;
"stop plimsoll.service") end ;;
"restart plimsoll.service")
    end
    UPGRADE_TOKEN=of-the-unit-alone setsid opt/bin/plimsoll run --config DIR/config.json \
        >>daemon.log 2>&1 </dev/null &
    echo $! >daemon.pid
    ;;
*) exit 9 ;;
esac
"#;

struct Host {
    release: PathBuf,
    // Before its processes end, the folder of the release goes.
    _tree: Dir,
    harness: Harness,
}

impl Host {
    /// With version one in place, and running if it is to be.
    fn new(name: &str, harness: Harness, runs: bool) -> Host {
        let mut harness = harness;
        harness.set("/api/token", json!("${UPGRADE_TOKEN}"));
        let trees = Dir::new(&format!("{name}-tree"));
        let release = release(&tree(&trees, "tree"));
        let host = Host { release, _tree: trees, harness };
        host.harness.write();
        fs::create_dir(host.at("path")).unwrap();
        let dir = host.harness.dir.path().display().to_string();
        host.write_script("path/systemctl", &SYSTEMCTL.replace("DIR", &dir));
        host.write_script("path/journalctl", &format!("#!/bin/sh\ntail -n 15 {dir}/daemon.log\n"));
        host.write_script("path/systemd-sysusers", "#!/bin/sh\n");
        host.bring("one", "");
        let (status, said) = host.install();
        assert_eq!(status, 0, "{said}");
        if runs {
            run(Command::new(host.at("path/systemctl")).args(["restart", "plimsoll.service"]));
        }
        host
    }

    fn ready(name: &str) -> Host {
        let host = Host::new(name, Harness::new(name), true);
        assert!(reached(secs(30), || host.is_ready()), "{}", host.text("daemon.log"));
        fs::remove_file(host.at("calls")).unwrap();
        host
    }

    fn at(&self, name: &str) -> PathBuf {
        self.harness.dir.join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_default()
    }

    fn write_script(&self, name: &str, text: &str) {
        self.harness.dir.write(name, text);
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Puts a version into the release: the built program, in another file, after `first`.
    fn bring(&self, name: &str, first: &str) {
        let text = format!("#!/bin/sh\n# {name}\n{first}\nexec {PLIMSOLL} \"$@\"\n");
        fs::write(self.release.join("plimsoll"), text).unwrap();
    }

    /// Exit status, and all that was said.
    fn install(&self) -> (i32, String) {
        let path = format!("{}:{}", self.at("path").display(), std::env::var("PATH").unwrap());
        let mut install = Command::new(self.release.join("contrib/install.sh"));
        install.env("PATH", path).env("PLIMSOLL_INSTALL_WAIT", "6");
        install.env("PREFIX", self.at("opt")).env("SYSCONFDIR", self.at("etc"));
        let output = install.output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        println!("{said}");
        (output.status.code().unwrap(), said)
    }

    fn is_ready(&self) -> bool {
        let socket = self.at("api.sock");
        let mut health = Command::new(PLIMSOLL);
        health.args(["healthcheck", "--socket"]).arg(socket);
        health.output().unwrap().status.success()
    }

    /// Which one is in place, and which one is kept.
    fn versions(&self) -> [String; 2] {
        ["opt/bin/plimsoll", "opt/bin/plimsoll.previous"].map(|name| {
            let text = self.text(name);
            text.lines().nth(1).unwrap_or_default().trim_start_matches("# ").to_owned()
        })
    }

    fn pid(&self) -> String {
        self.text("daemon.pid")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let end = ["stop", "plimsoll.service"];
        drop(Command::new(self.at("path/systemctl")).args(end).status());
    }
}

fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |file: String| (file.clone(), fs::read(dir.join(&file)).unwrap());
    files_below(dir).into_iter().map(read).collect()
}

#[track_caller]
fn has(said: &str, words: &[&str]) {
    let missing: Vec<_> = words.iter().filter(|word| !said.contains(**word)).collect();
    assert!(missing.is_empty(), "{missing:?} is not in: {said}");
}

#[test]
fn a_good_version_replaces_the_running_one_which_is_kept() {
    let host = Host::ready("upgrade");
    let pid = host.pid();
    fs::remove_file(host.at("opt/share/doc/plimsoll/README.md")).unwrap();
    host.bring("two", "");
    let (status, said) = host.install();
    assert_eq!((status, host.versions()), (0, ["two", "one"].map(str::to_owned)), "{said}");
    assert!(host.pid() != pid && host.is_ready());
    has(&said, &["(another build)", ": good, 1 service", "the previous version is kept as"]);
    assert!(host.at("opt/share/doc/plimsoll/README.md").exists());
    host.bring("three", "[ \"$1\" != --version ] || { echo plimsoll 0.0.9; exit; }");
    let (status, said) = host.install();
    assert_eq!((status, host.versions()), (0, ["three", "two"].map(str::to_owned)), "{said}");
    let downgrade = format!("0.0.9 replaces plimsoll {} (a downgrade)", env!("CARGO_PKG_VERSION"));
    has(&said, &[&downgrade]);
}

#[test]
fn a_version_that_rejects_the_config_changes_nothing() {
    let host = Host::ready("upgrade-config");
    let before = (contents(&host.at("opt")), host.pid());
    let bad = host.text("config.json").replace("\"max_replicas\": 1", "\"max_replicas\": 0");
    host.harness.dir.write("config.json", &bad);
    host.bring("two", "");
    let (status, said) = host.install();
    assert_eq!(status, 1, "{said}");
    has(&said, &["services.web.max_replicas: ", "config.json: correct it; nothing was changed"]);
    host.bring("alien", "exit 1");
    let (status, said) = host.install();
    assert_eq!(status, 1, "{said}");
    has(&said, &["does not run here", "nothing was changed"]);
    assert!((contents(&host.at("opt")), host.pid()) == before, "{said}");
    let calls = host.text("calls");
    assert!(!calls.contains("restart") && !calls.contains("stop"), "{calls}");
}

#[test]
fn a_version_that_does_not_get_ready_is_taken_back_with_its_state() {
    let host = Host::ready("upgrade-back");
    let before = contents(&host.at("opt"));
    let format = host.text("state/state.json").replace("\"version\": 1", "\"version\": 2");
    assert!(format.contains("\"version\": 2"), "{format}");
    host.harness.dir.write("format", &format);
    let dir = host.harness.dir.path().display();
    let writes = format!("cp {dir}/format {dir}/state/state.json");
    for (end, words) in [
        ("exec sleep 600", "it was not ready within 6 s: "),
        ("echo no such moon >&2; exit 1", "no such moon\n"),
    ] {
        host.bring("two", &format!("if [ \"$1\" = run ]; then {writes}; {end}; fi"));
        let (status, said) = host.install();
        assert_eq!(status, 1, "{said}");
        has(&said, &[words, "going back to plimsoll", "as its format had changed", "runs again"]);
        assert!(contents(&host.at("opt")) == before, "{said}");
        assert!(host.is_ready());
    }
    assert!(host.text("state/state.json").contains("\"version\": 1"));
    assert!(!host.at("state/state.json.damaged").exists());
}

#[test]
fn where_no_daemon_is_ready_or_none_runs_an_upgrade_is_possible() {
    let name = "upgrade-not-ready";
    let host = Host::new(name, Harness::without_docker(name), true);
    assert!(reached(secs(30), || host.at("api.sock").exists()), "{}", host.text("daemon.log"));
    host.bring("two", "");
    let (status, said) = host.install();
    assert_eq!((status, host.versions()), (0, ["two", "one"].map(str::to_owned)), "{said}");
    has(&said, &["the running daemon is not ready (", "so the new one only has to run"]);

    let name = "upgrade-stopped";
    let host = Host::new(name, Harness::new(name), false);
    host.bring("two", "");
    let (status, said) = host.install();
    assert_eq!((status, host.versions()), (0, ["two", ""].map(str::to_owned)), "{said}");
    assert!(!host.text("calls").contains("restart"), "{}", host.text("calls"));
}
