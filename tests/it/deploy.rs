//! `contrib/deploy.sh` to a real SSH server on loopback. The service there is the real daemon,
//! beside a scripted Docker; what stands for systemd is a script of a few lines.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::daemon::{Dir, PLIMSOLL, reached, secs};
use crate::harness::Harness;

/// In the middle of the connection that they are made for; the session is cut off without a word.
#[derive(Clone, Copy)]
enum Cut {
    Upload,
    Restart,
}

/// A host to deploy to: an SSH server, and a daemon in a harness.
struct Host {
    // First, so that nothing starts another daemon once the harness goes.
    sshd: Option<Child>,
    port: u16,
    harness: Harness,
}

impl Host {
    /// With version one in place and running.
    fn new(name: &str) -> Host {
        let harness = Harness::new(name);
        let mut host = Host { sshd: None, port: free_port(), harness };
        host.keygen("host");
        host.keygen("key");
        host.write_script("restart.sh", &host.restart_script());
        host.write_script("gate.sh", &host.gate_script());
        let base64 = Command::new("base64").arg("-w0").arg(host.at("key")).output().unwrap();
        fs::write(host.at("key.base64"), base64.stdout).unwrap();
        fs::copy(host.at("key.pub"), host.at("authorized")).unwrap();
        let public = fs::read_to_string(host.at("host.pub")).unwrap();
        host.write("known_hosts", &format!("[127.0.0.1]:{} {public}", host.port));
        fs::create_dir(host.at("bin")).unwrap();
        host.write_script("bin/plimsoll", &version("one", "true"));
        fs::rename(host.harness.write(), host.at("live.json")).unwrap();
        fs::set_permissions(host.at("live.json"), fs::Permissions::from_mode(0o604)).unwrap();
        let restarted = Command::new(host.at("restart.sh")).status().unwrap();
        assert!(restarted.success());
        host.open();
        host
    }

    fn at(&self, name: &str) -> PathBuf {
        self.harness.dir.join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_default()
    }

    fn write(&self, name: &str, text: &str) {
        self.harness.dir.write(name, text);
    }

    fn write_script(&self, name: &str, text: &str) {
        self.write(name, text);
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn keygen(&self, name: &str) {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(self.at(name));
        assert!(keygen.status().unwrap().success());
    }

    /// Ends the daemon that its predecessor started, and once that is gone, as with systemd, starts
    /// one of what is in place now.
    fn restart_script(&self) -> String {
        let dir = self.harness.dir.path().display();
        format!(
            "#!/bin/sh\ncd {dir} || exit\n\
             if [ -e daemon.pid ]; then kill \"$(cat daemon.pid)\"\n\
             for i in $(seq 300); do readlink /proc/\"$(cat daemon.pid)\"/exe || break; sleep 0.1\n\
             done >/dev/null; fi\n\
             if [ -e cut-restart ]; then rm cut-restart\n\
             for i in $(seq 300); do [ ! -e session.pid ] || break; sleep 0.1; done\n\
             kill -9 \"$(cat session.pid)\"; fi\n\
             setsid {dir}/bin/plimsoll run --config {dir}/live.json >daemon.log 2>&1 </dev/null &\n\
             echo $! >daemon.pid\n"
        )
    }

    /// What the server runs instead of the command that it is sent.
    fn gate_script(&self) -> String {
        let dir = self.harness.dir.path().display();
        format!(
            "#!/bin/sh\ncd {dir} || exit\n\
             if [ -e cut-upload ]; then rm cut-upload; head -c 512 >half; kill -9 $PPID; exit; fi\n\
             case $SSH_ORIGINAL_COMMAND in *cat?status*) echo $PPID >session.pid ;; esac\n\
             cd / && exec sh -c \"$SSH_ORIGINAL_COMMAND\"\n"
        )
    }

    fn open(&mut self) {
        let dir = self.harness.dir.path().display();
        let port = self.port;
        self.write(
            "sshd_config",
            &format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {dir}/host\nPidFile none\nUsePAM no\n\
                 AuthorizedKeysFile {dir}/authorized\nStrictModes no\nPasswordAuthentication no\n\
                 KbdInteractiveAuthentication no\nPermitRootLogin yes\n\
                 ForceCommand {dir}/gate.sh\n"
            ),
        );
        // As root it parts with its rights in there; otherwise it needs none.
        drop(fs::create_dir_all("/run/sshd"));
        let mut sshd = Command::new("/usr/sbin/sshd");
        sshd.args(["-D", "-e", "-f"]).arg(self.at("sshd_config"));
        let log = fs::File::create(self.at("sshd.log")).unwrap();
        let started = sshd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.sshd = Some(started.unwrap_or_else(|e| panic!("{e}; contrib/setup.sh test gets it")));
        let answers = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(reached(secs(30), answers), "sshd: {}", self.text("sshd.log"));
    }

    fn close(&mut self) {
        if let Some(mut sshd) = self.sshd.take() {
            sshd.kill().unwrap();
            sshd.wait().unwrap();
        }
    }

    fn cut(&self, at: Cut) {
        let name = match at {
            Cut::Upload => "cut-upload",
            Cut::Restart => "cut-restart",
        };
        self.write(name, "");
    }

    fn command(&self, binary: &Path, options: &[&str]) -> Command {
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        let user = String::from_utf8(user).unwrap();
        let mut deploy = Command::new("contrib/deploy.sh");
        deploy.args(options).args(["--port", &self.port.to_string()]);
        deploy.arg(format!("{}@127.0.0.1", user.trim())).arg(binary).stdin(Stdio::null());
        let at = |name: &str| self.at(name).into_os_string();
        deploy.env("PLIMSOLL_DEPLOY_KEY", at("key.base64"));
        deploy.env("PLIMSOLL_DEPLOY_KNOWN_HOSTS", at("known_hosts"));
        deploy.env("PLIMSOLL_DEPLOY_BINARY", at("bin/plimsoll"));
        deploy.env("PLIMSOLL_DEPLOY_CONFIG", at("live.json"));
        deploy.env("PLIMSOLL_DEPLOY_FOLDER", at("deploys"));
        deploy.env("PLIMSOLL_DEPLOY_RESTART", at("restart.sh"));
        deploy.env("PLIMSOLL_DEPLOY_WAIT", "30");
        deploy
    }

    /// Exit status, and all that was said. No word of it is of the key.
    fn deploy(&self, binary: &Path, options: &[&str]) -> (i32, String) {
        outcome(&mut self.command(binary, options), &self.text("key"))
    }

    fn pid(&self) -> String {
        self.text("daemon.pid")
    }

    fn is_healthy(&self) -> bool {
        let mut health = Command::new(PLIMSOLL);
        health.args(["healthcheck", "--config"]).arg(self.at("live.json"));
        health.output().unwrap().status.success()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.close();
    }
}

#[track_caller]
fn outcome(deploy: &mut Command, key: &str) -> (i32, String) {
    let output = deploy.output().unwrap();
    let bytes = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&bytes).into_owned();
    for line in key.lines() {
        assert!(!said.contains(line), "it tells the key: {said}");
    }
    println!("{said}");
    (output.status.code().unwrap(), said)
}

/// A program that is the built one and yet another file. `first` is run before the daemon is.
fn version(name: &str, first: &str) -> String {
    format!("#!/bin/sh\n# {name}\nif [ $1 = run ]; then {first}; fi\nexec {PLIMSOLL} \"$@\"\n")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_new_version_and_a_new_config_are_put_in_place() {
    let mut host = Host::new("deploy-good");
    let two = host.harness.dir.write("two", &version("two", "true"));
    host.harness.set("/services/web/drain_timeout", json!("2s"));
    let config = host.harness.write();
    let before = (host.text("bin/plimsoll"), host.text("live.json"), host.pid());
    let (status, said) = host.deploy(&two, &["--config", config.to_str().unwrap()]);
    assert_eq!((status, host.text("bin/plimsoll")), (0, version("two", "true")), "{said}");
    assert_eq!(host.text("live.json"), fs::read_to_string(config).unwrap());
    let mode = fs::metadata(host.at("live.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o604, "the mode is that of the one before");
    let previous = (host.text("bin/plimsoll.previous"), host.text("live.json.previous"));
    assert_eq!(previous, (before.0, before.1));
    assert!(host.pid() != before.2 && host.is_healthy());
    let words = [": good, 1 service", "the new version runs and is healthy", "deploy: done"];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    // Once more, as after an end that nobody saw.
    let (status, said) = host.deploy(&two, &[]);
    assert!(status == 0 && said.contains("already in place"), "{status}: {said}");
    host.close();
}

#[test]
fn what_is_sent_belongs_to_who_receives_it() {
    let mut host = Host::new("deploy-owner");
    fs::create_dir(host.at("path")).unwrap();
    // The sender is another user than root over there.
    let tar = "#!/bin/sh\nexec /bin/tar --owner=+12345 --group=+12345 \"$@\"\n";
    host.write_script("path/tar", tar);
    let two = host.harness.dir.write("two", &version("two", "true"));
    let path = format!("{}:{}", host.at("path").display(), std::env::var("PATH").unwrap());
    let (status, said) = outcome(host.command(&two, &[]).env("PATH", path), &host.text("key"));
    assert_eq!(status, 0, "{said}");
    let us = fs::metadata("/proc/self").unwrap().uid();
    let run = fs::read_dir(host.at("deploys")).unwrap().map(|run| run.unwrap().path());
    let sent: Vec<PathBuf> = run.map(|run| run.join("target.sh")).filter(|f| f.exists()).collect();
    assert!(!sent.is_empty());
    for file in sent.iter().chain([&host.at("bin/plimsoll")]) {
        assert_eq!(fs::metadata(file).unwrap().uid(), us, "{}", file.display());
    }
    host.close();
}

#[test]
fn a_version_that_does_not_take_the_config_there_changes_nothing() {
    let host = Host::new("deploy-config");
    let pid = host.pid();
    let bad = host.text("live.json").replace("\"max_replicas\": 1", "\"max_replicas\": 0");
    host.write("live.json", &bad);
    let two = host.harness.dir.write("two", &version("two", "true"));
    let (status, said) = host.deploy(&two, &[]);
    assert_eq!((status, host.text("bin/plimsoll")), (1, version("one", "true")), "{said}");
    assert!(said.contains("services.web.max_replicas: ") && said.contains("nothing was changed"));
    assert_eq!(host.pid(), pid);
    // Nor does one that does not even run there.
    let (status, said) = host.deploy(&host.harness.dir.write("text", "none of our programs"), &[]);
    assert!(status == 1 && said.contains("does not run here"), "{status}: {said}");
}

#[test]
fn a_version_that_gets_not_healthy_is_taken_back() {
    let mut host = Host::new("deploy-unhealthy");
    let live = host.text("live.json");
    let two = host.harness.dir.write("two", &version("two", "exit 1"));
    host.harness.set("/services/web/drain_timeout", json!("2s"));
    let config = host.harness.write();
    let mut deploy = host.command(&two, &["--config", config.to_str().unwrap()]);
    let (status, said) = outcome(deploy.env("PLIMSOLL_DEPLOY_WAIT", "15"), &host.text("key"));
    assert_eq!((status, host.text("bin/plimsoll")), (1, version("one", "true")), "{said}");
    assert_eq!(host.text("live.json"), live);
    let words = ["not healthy within 15 s: ", "rolling back", "runs again and is healthy"];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    assert!(host.is_healthy());
}

#[test]
fn a_connection_lost_half_way_is_made_again() {
    let host = Host::new("deploy-lost");
    let two = host.harness.dir.write("two", &version("two", "true"));
    host.cut(Cut::Upload);
    host.cut(Cut::Restart);
    let (status, said) = host.deploy(&two, &[]);
    assert_eq!((status, host.text("bin/plimsoll")), (0, version("two", "true")), "{said}");
    let words =
        ["sending the files: attempt 1 of 5: ", "waiting for the outcome: attempt 1 of 5: "];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    assert!(host.is_healthy());
}

#[test]
fn without_any_connection_the_host_finishes_by_itself() {
    let mut host = Host::new("deploy-alone");
    let two = host.harness.dir.write("two", &version("two", "true"));
    // The session goes, and with it whatever would let us in again.
    let locked = format!("rm {}\nkill -9", host.at("authorized").display());
    host.write("restart.sh", &host.text("restart.sh").replace("kill -9", &locked));
    host.cut(Cut::Restart);
    let (status, said) = host.deploy(&two, &[]);
    assert_eq!(status, 3, "{said}");
    let statuses = || {
        let runs = fs::read_dir(host.at("deploys")).unwrap().map(|run| run.unwrap().path());
        runs.filter_map(|run| fs::read_to_string(run.join("status")).ok()).collect::<Vec<_>>()
    };
    assert!(reached(secs(60), || !statuses().is_empty()), "it does not finish");
    assert_eq!(
        (statuses(), host.text("bin/plimsoll")),
        (vec!["0\n".to_owned()], version("two", "true"))
    );
    assert!(host.is_healthy());
    host.close();
}

#[test]
fn another_host_key_and_another_key_are_refused_at_once() {
    let host = Host::new("deploy-keys");
    let two = host.harness.dir.write("two", &version("two", "true"));
    let good = host.text("known_hosts");
    let other = fs::read_to_string(host.at("key.pub")).unwrap();
    host.write("known_hosts", &format!("[127.0.0.1]:{} {other}", host.port));
    let (status, said) = host.deploy(&two, &[]);
    assert!(status == 1 && said.contains("has another host key than"), "{status}: {said}");
    host.write("known_hosts", &good);
    let dir = Dir::new("deploy-key");
    let mut deploy = host.command(&two, &[]);
    for text in ["no key\n", "-----BEGIN OPENSSH PRIVATE KEY-----\nmore\n", "bm8ga2V5\n"] {
        deploy.env("PLIMSOLL_DEPLOY_KEY", dir.write("key", text));
        let (status, said) = outcome(&mut deploy, text);
        let is_told = said.contains("no private key") || said.contains("neither a private key");
        assert!(status != 0 && is_told, "{status}: {said}");
    }
    deploy.env("PLIMSOLL_DEPLOY_KEY", host.at("host"));
    let (status, said) = outcome(&mut deploy, &host.text("host"));
    assert!(status == 1 && said.contains("rejects the key"), "{status}: {said}");
    assert!(!said.contains("attempt 1"), "{said}");
    assert_eq!(host.text("bin/plimsoll"), version("one", "true"));
}
