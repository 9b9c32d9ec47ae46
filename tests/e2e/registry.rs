//! A registry of the test's own: Debian's docker-registry, with or without a login and TLS.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::{fs, io};

use crate::certificate::self_signed;
use crate::daemon::{Dir, reached, secs};
use crate::testbed::{IMAGE, free_port};

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
    dir: Dir,
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
        let config = dir.write("config.yml", &text);
        let log = File::create(dir.join("log")).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap_or_else(|err| {
            panic!("docker-registry does not start: {err}; run `make setup-test`")
        });
        let registry = Registry { dir, address, login, trusted, child };
        let peer: SocketAddr = registry.address.parse().unwrap();
        let answers = || TcpStream::connect(peer).is_ok();
        assert!(reached(secs(20), answers), "the registry does not answer: {}", registry.log());
        registry
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

const CERTS: &str = "/etc/docker/certs.d";

/// The only folder that dockerd reads certificates of registries from. It reads it at each pull.
fn certs_folder(address: &str) -> PathBuf {
    Path::new(CERTS).join(address)
}

fn set_password(dir: &Dir, login: Login) {
    dir.write("htpasswd", &format!("{}:{}\n", login.user, login.hash));
}

/// Of docker0: an address of this host that is not loopback.
fn bridge_address() -> String {
    let format = "{{range .IPAM.Config}}{{println .Gateway}}{{end}}";
    let shown = docker(&["network", "inspect", "bridge", "--format", format]);
    let first = shown.lines().next().map(str::trim).filter(|line| !line.is_empty());
    first.expect("the network bridge has a gateway").to_owned()
}

#[track_caller]
fn docker(args: &[&str]) -> String {
    let out = Command::new("docker").args(args).output().unwrap();
    assert!(out.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
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
