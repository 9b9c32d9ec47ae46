//! A registry of the test's own: Debian's docker-registry, with or without a login and TLS.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::{fs, io};

use crate::certificate::self_signed;
use crate::daemon::{Daemon, Dir, PLIMSOLL, plimsoll, reached, secs};
use crate::docker::with_image;
use crate::testbed::{IMAGE, Testbed, free_port};

/// A user of the registry. It takes bcrypt hashes only, which neither openssl nor std makes.
#[derive(Clone, Copy)]
pub(crate) struct Login {
    pub(crate) user: &'static str,
    pub(crate) password: &'static str,
    hash: &'static str,
}

pub(crate) const ROBOT: Login = Login {
    user: "robot",
    password: "correct-horse-7Qd",
    hash: "$2b$04$JICLL9gBcMdubOB0V/KDJuyC8XuuSKUU1qTkTklBGqqdMXz9QgPxK",
};

/// The same user after its password was changed.
pub(crate) const ROTATED: Login = Login {
    user: "robot",
    password: "rotated-staple-9Xk",
    hash: "$2b$04$iaWGERpl2.PG9qTv0qkadutzUH57DcacuemG0RntJuwBrrAbdWajq",
};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tls {
    /// HTTP, at loopback.
    Off,
    /// At loopback, where dockerd accepts any certificate.
    Unverified,
    /// At docker0, where dockerd accepts it by `/etc/docker/certs.d/HOST:PORT/ca.crt`. That folder
    /// goes with the registry.
    Verified,
}

/// An image in the registry.
pub(crate) struct Pushed {
    /// Its full name with the tag.
    pub(crate) image: String,
    /// `sha256:…` of its manifest.
    pub(crate) digest: String,
}

pub(crate) struct Registry {
    pub(crate) dir: Dir,
    /// As in the name of an image.
    pub(crate) address: String,
    login: Option<Login>,
    /// Of dockerd, if this registry made it.
    trusted: Option<PathBuf>,
    child: Child,
}

impl Registry {
    pub(crate) fn start(login: Option<Login>, tls: Tls) -> Registry {
        let dir = Dir::new("registry");
        let host = if tls == Tls::Verified { bridge_address() } else { "127.0.0.1".to_owned() };
        let address = format!("{host}:{}", free_port());
        let trusted = (tls == Tls::Verified).then(|| certs_folder(&address));
        let at = |name: &str| dir.join(name).display().to_string();
        let mut text = format!(
            "version: 0.1\nlog: {{ level: info }}\nstorage:\n  delete: {{ enabled: true }}\n  \
             filesystem: {{ rootdirectory: {} }}\nhttp:\n  addr: {address}\n",
            at("data")
        );
        if tls != Tls::Off {
            let (certificate, key) = self_signed(&[&host]);
            dir.write("certificate.pem", &certificate);
            dir.write("key.pem", &key);
            if let Some(folder) = &trusted {
                fs::create_dir_all(folder).unwrap();
                fs::write(folder.join("ca.crt"), &certificate).unwrap();
            }
            let [certificate, key] = ["certificate.pem", "key.pem"].map(at);
            text += &format!("  tls: {{ certificate: {certificate}, key: {key} }}\n");
        }
        if let Some(login) = login {
            set_password(&dir, login);
            let file = at("htpasswd");
            text += &format!("auth:\n  htpasswd: {{ realm: plimsoll-e2e, path: {file} }}\n");
        }
        dir.write("config.yml", &text);
        let child = serve(&dir);
        let registry = Registry { dir, address, login, trusted, child };
        registry.wait();
        registry
    }

    fn wait(&self) {
        let peer: SocketAddr = self.address.parse().unwrap();
        let answers = || TcpStream::connect(peer).is_ok();
        assert!(reached(secs(20), answers), "the registry does not answer: {}", self.log());
    }

    /// From now on connections to it are refused.
    pub(crate) fn stop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Starts it again, with the images that it had.
    pub(crate) fn resume(&mut self) {
        self.child = serve(&self.dir);
        self.wait();
    }

    /// What it logged, which has each request.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// The name of an image of this registry: `web:1` to `127.0.0.1:40000/web:1`.
    pub(crate) fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// The only password from now on. The registry reads it at the next request.
    pub(crate) fn change_login(&mut self, login: Login) {
        set_password(&self.dir, login);
        self.login = Some(login);
    }

    /// Pushes an image of this host as `name`. The host does not keep that name.
    #[track_caller]
    pub(crate) fn push(&self, image: &str, name: &str) -> Pushed {
        let full = self.image(name);
        let config = self.dir.join("push");
        self.log_in(&config);
        let config = config.display().to_string();
        docker(&["tag", image, &full]);
        let said = docker(&["--config", &config, "push", &full]);
        let digest = said.split_whitespace().find(|word| word.starts_with("sha256:"));
        let digest = digest.unwrap_or_else(|| panic!("no digest: {said}")).to_owned();
        docker(&["rmi", &full]);
        Pushed { image: full, digest }
    }

    /// Makes `folder` a folder of Docker's client that is logged in here, by `docker login`.
    #[track_caller]
    pub(crate) fn log_in(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        let Some(login) = self.login else { return };
        let mut command = Command::new("docker");
        command.arg("--config").arg(folder).args(["login", "--password-stdin"]);
        command.args(["--username", login.user, &self.address]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let sent = child.stdin.take().unwrap().write_all(login.password.as_bytes());
        let out: io::Result<Output> = sent.and_then(|()| child.wait_with_output());
        let out = out.unwrap();
        assert!(out.status.success(), "login: {out:?}, registry: {}", self.log());
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if let Some(folder) = &self.trusted {
            drop(fs::remove_dir_all(folder));
            // Not if somebody else has one there.
            drop(fs::remove_dir(CERTS));
        }
    }
}

/// As `config.yml` in this folder says.
fn serve(dir: &Dir) -> Child {
    let log = File::create(dir.join("log")).unwrap();
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(dir.join("config.yml"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().unwrap_or_else(|err| {
        panic!("docker-registry does not start: {err}; run `make setup-test`")
    })
}

const CERTS: &str = "/etc/docker/certs.d";

/// The only folder that dockerd reads certificates of registries from. It reads it at each pull.
fn certs_folder(address: &str) -> PathBuf {
    Path::new(CERTS).join(address)
}

fn set_password(dir: &Dir, login: Login) {
    dir.write("htpasswd", &format!("{}:{}\n", login.user, login.hash));
}

/// Of docker0: an address of this host that is not loopback. Docker itself does not always know it.
fn bridge_address() -> String {
    let out = Command::new("ip").args(["-4", "-o", "addr", "show", "docker0"]).output().unwrap();
    let shown = String::from_utf8(out.stdout).unwrap();
    let mut words = shown.split_whitespace().skip_while(|word| *word != "inet");
    let address = words.nth(1).and_then(|word| word.split_once('/'));
    address.unwrap_or_else(|| panic!("docker0 has no address: {shown}")).0.to_owned()
}

#[track_caller]
fn docker(args: &[&str]) -> String {
    let out = Command::new("docker").args(args).output().unwrap();
    assert!(out.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// A testbed whose service has an image of this registry, and whose daemon finds credentials in
/// this file.
fn with_logins(name: &str, image: &str, file: &Path) -> Testbed {
    let testbed = Testbed::new(name);
    let config = with_image(&testbed, image);
    let text = fs::read_to_string(&config).unwrap();
    let docker = format!(r#""docker": {{ "config": "{}", "#, file.display());
    let text = text.replace(r#""docker": { "#, &docker);
    let text = text.replace(r#""log_level": "debug""#, r#""log_level": "trace""#);
    assert!(text.contains(&docker), "{text}");
    fs::write(&config, text).unwrap();
    testbed
}

fn start_with_helpers(testbed: &Testbed, helpers: &Path) -> Daemon {
    let mut program = Command::new(PLIMSOLL);
    program.env("PATH", format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", helpers.display()));
    Daemon::start_by(program, &testbed.dir.join("config.json"), &[])
}

/// Neither the passwords nor what they are encoded to: user and password in base64 at any place,
/// and the header that Docker gets.
#[track_caller]
fn check_no_secret(testbed: &Testbed, daemon: &Daemon) {
    let config = testbed.dir.join("config.json");
    let config = config.to_str().unwrap();
    let mut texts = vec![daemon.lines().join("\n")];
    for args in [&["status", "--json"][..], &["events"], &["explain", &testbed.service]] {
        let out = plimsoll(&[args, &["--config", config]].concat());
        texts.push(String::from_utf8([out.stdout, out.stderr].concat()).unwrap());
    }
    for name in ["state/state.json", "state/events.jsonl"] {
        texts.push(fs::read_to_string(testbed.dir.join(name)).unwrap());
    }
    let command_line = fs::read(format!("/proc/{}/cmdline", daemon.pid())).unwrap();
    texts.push(String::from_utf8(command_line).unwrap());
    for text in texts {
        assert!(!text.is_empty());
        for secret in [ROBOT.password, ROTATED.password, "cm9ib3Q6", "eyJ1c2VybmFtZSI6", "WRONG"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

fn drop_image(testbed: &Testbed, image: &str) {
    testbed.clean_up();
    drop(testbed.docker(&["rmi", image]));
}

#[test]
fn an_image_is_pulled_with_what_docker_login_wrote_and_a_new_password_counts_at_once() {
    let mut registry = Registry::start(Some(ROBOT), Tls::Verified);
    let folder = registry.dir.join("client");
    registry.log_in(&folder);
    let file = folder.join("config.json");
    let image = registry.push(IMAGE, "shop/web:1").image;
    let testbed = with_logins("login", &image, &file);
    let daemon = Daemon::start(&testbed.dir.join("config.json"));
    daemon.wait(&["kind=image.pulled", &image], secs(60));
    testbed.wait_serving(2, secs(30), &daemon);
    assert!(registry.log().contains("auth.user.name=robot"), "{}", registry.log());
    check_no_secret(&testbed, &daemon);

    // The registry has a new password, and the image is gone.
    registry.change_login(ROTATED);
    let from = daemon.lines().len();
    drop_image(&testbed, &image);
    let words = format!(
        "; {} refused user \\\"robot\\\" of {}; check the image's name, and log in again: `docker \
         --config {} login {}` as the daemon's user",
        registry.address,
        file.display(),
        folder.display(),
        registry.address
    );
    daemon.wait_from(from, &["kind=replica.failed", "unauthorized", &words], secs(60));
    registry.log_in(&folder);
    daemon.wait_from(from, &["kind=image.pulled", &image], secs(60));
    testbed.wait_serving(2, secs(30), &daemon);
    check_no_secret(&testbed, &daemon);
    for line in daemon.lines().iter().filter(|line| line.contains("unauthorized")).take(1) {
        println!("{line}");
    }
    drop(daemon);
    drop_image(&testbed, &image);
}

/// Helpers that give the right password, a wrong one, none, and no answer.
fn make_helpers(registry: &Registry) -> PathBuf {
    let helpers = registry.dir.join("helpers");
    fs::create_dir(&helpers).unwrap();
    let answer = |password: &str| {
        format!(r#"echo '{{"ServerURL": "", "Username": "robot", "Secret": "{password}"}}'"#)
    };
    let gives =
        format!(r#"[ "$1 $(cat)" = "get {}" ] && {}"#, registry.address, answer(ROBOT.password));
    for (name, script) in [
        ("gives", gives.as_str()),
        ("wrong", &answer("WRONG")),
        ("none", "echo 'credentials not found in native keychain'; exit 1"),
        ("hangs", "exec sleep 600"),
    ] {
        let path = helpers.join(format!("docker-credential-{name}"));
        // By a process of its own, so that no fork of this one has it open.
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" >\"$0\" && chmod 755 \"$0\"";
        let mut shell = Command::new("sh");
        assert!(shell.args(["-c", write]).arg(path).arg(script).status().unwrap().success());
    }
    helpers
}

#[test]
fn a_helper_gives_the_credentials_and_without_any_it_is_said_where_they_were_looked_for() {
    let registry = Registry::start(Some(ROBOT), Tls::Verified);
    let image = registry.push(IMAGE, "shop/web:2").image;
    let helpers = make_helpers(&registry);
    let file = registry.dir.join("logins.json");
    let logins = |name: &str| {
        format!(r#"{{"auths": {{}}, "credHelpers": {{"{}": "{name}"}}}}"#, registry.address)
    };
    let [address, shown] = [&registry.address, &file.display().to_string()];
    let login = format!("log in: `docker login {address}`, and put its entry into {shown}");
    let none = format!("{address} was asked without credentials: ");
    for (name, content, words) in [
        (
            "wrong",
            logins("wrong"),
            format!(
                "{address} refused user \\\"robot\\\" of docker-credential-wrong, which {shown} \
                 names; check the image's name, and renew the login that docker-credential-wrong \
                 has"
            ),
        ),
        (
            "none",
            logins("none"),
            format!(
                "{none}docker-credential-none, which {shown} names, has none for it; log in with \
                 docker-credential-none, or remove it from that file"
            ),
        ),
        ("empty", "{}".to_owned(), format!("{none}{shown} has none for it; {login}")),
        (
            "broken",
            "{\"auths\":\n  WRONG}".to_owned(),
            format!("{none}{shown} is not JSON: expected value at line 2 column 3; correct that"),
        ),
        (
            "absent",
            logins("desktop"),
            format!("{none}docker-credential-desktop is not in PATH ({}:/", helpers.display()),
        ),
        (
            "hangs",
            logins("hangs"),
            format!(
                "{none}docker-credential-hangs did not end within 30 s and was killed ({shown} \
                 names it); correct that; `plimsoll doctor` checks it"
            ),
        ),
    ] {
        fs::write(&file, content).unwrap();
        let testbed = with_logins(name, &image, &file);
        let daemon = start_with_helpers(&testbed, &helpers);
        let at = daemon.wait(&["kind=replica.failed", &words], secs(60));
        println!("{name}: {}", daemon.lines()[at]);
    }
    fs::write(&file, logins("gives")).unwrap();
    let testbed = with_logins("gives", &image, &file);
    let daemon = start_with_helpers(&testbed, &helpers);
    daemon.wait(&["kind=image.pulled", &image], secs(120));
    testbed.wait_serving(2, secs(30), &daemon);
    check_no_secret(&testbed, &daemon);
    drop(daemon);
    drop_image(&testbed, &image);
}

#[test]
fn a_registry_of_the_tests_takes_images_and_gives_them_to_who_logs_in() {
    for (login, tls) in
        [(None, Tls::Off), (Some(ROBOT), Tls::Unverified), (Some(ROBOT), Tls::Verified)]
    {
        let registry = Registry::start(login, tls);
        let image = registry.push(IMAGE, "shop/web:1").image;
        let folder = registry.dir.join("client");
        let pull = |folder: &Path| {
            let mut command = Command::new("docker");
            command.arg("--config").arg(folder).args(["pull", "-q", &image]).output().unwrap()
        };
        let out = pull(&folder);
        assert_eq!(out.status.success(), login.is_none(), "{out:?}");
        registry.log_in(&folder);
        let out = pull(&folder);
        assert!(out.status.success(), "{out:?}");
        docker(&["rmi", &image]);
    }
    assert!(!Path::new(CERTS).exists() || fs::read_dir(CERTS).unwrap().next().is_some());
}
