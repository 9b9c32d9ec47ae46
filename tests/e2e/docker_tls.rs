//! A dockerd that wants certificates on both sides, and everything that may be wrong with them.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::PoisonError;
use std::thread;

use serde_json::{Value, json};

use crate::daemon::{Daemon, Dir, plimsoll, reached, secs};
use crate::private_docker::{Dockerd, ONE, testbed_on};
use crate::testbed::{Testbed, everyone, free_port};

/// A CA and what it signed.
struct Authority {
    dir: Dir,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let dir = Dir::new(name);
        let authority = Authority { dir };
        authority.openssl(&[
            &["req", "-x509", "-days", "30", "-subj", "/CN=plimsoll test CA"][..],
            &["-keyout", "ca-key.pem", "-out", "ca.pem", "-newkey", "ec", "-nodes"],
            &["-pkeyopt", "ec_paramgen_curve:prime256v1"],
        ]);
        authority
    }

    fn openssl(&self, args: &[&[&str]]) {
        let out = Command::new("openssl").args(args.concat()).current_dir(self.dir.path()).output();
        let out = out.unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    /// `NAME.pem` and `NAME-key.pem`, valid for so many days; of fewer than 0 it has expired.
    fn sign(&self, name: &str, days: i32, extensions: &str) {
        let (key, csr) = (format!("{name}-key.pem"), format!("{name}.csr"));
        self.dir.write("extensions", extensions);
        self.openssl(&[
            &["req", "-new", "-subj", "/CN=plimsoll", "-keyout", &key, "-out", &csr][..],
            &["-newkey", "ec", "-nodes", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
        ]);
        let (days, out) = (days.to_string(), format!("{name}.pem"));
        self.openssl(&[
            &["x509", "-req", "-in", &csr, "-CA", "ca.pem", "-CAkey", "ca-key.pem"][..],
            &["-CAcreateserial", "-days", &days, "-out", &out, "-extfile", "extensions"],
        ]);
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

const SERVER: &str = "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n";
const CLIENT: &str = "extendedKeyUsage=clientAuth\n";

/// A dockerd with TLS, at `127.0.0.1:PORT`.
fn dockerd_of(authority: &Authority, port: u16) -> Dockerd {
    authority.sign("server", 30, SERVER);
    authority.sign("client", 30, CLIENT);
    let at = |name: &str| authority.at(name).display().to_string();
    Dockerd::start_with(
        true,
        &[
            format!("--host=tcp://127.0.0.1:{port}"),
            "--tlsverify".to_owned(),
            format!("--tlscacert={}", at("ca.pem")),
            format!("--tlscert={}", at("server.pem")),
            format!("--tlskey={}", at("server-key.pem")),
        ],
    )
}

/// Puts `docker` in place of the section of the config.
fn set_docker(config: &Path, docker: &Value) {
    let mut all: Value = serde_json::from_str(&fs::read_to_string(config).unwrap()).unwrap();
    all["docker"] = docker.clone();
    fs::write(config, format!("{all:#}\n")).unwrap();
}

fn section(port: u16, tls: &Value) -> Value {
    json!({ "socket": format!("tcp://127.0.0.1:{port}"), "timeout": 10, "tls": tls })
}

/// What `doctor` says of Docker.
fn doctor(config: &Path) -> String {
    let out = plimsoll(&["doctor", "--json", "--config", config.to_str().unwrap()]);
    let document: Value = serde_json::from_slice(&out.stdout).unwrap();
    let all = document["findings"].as_array().unwrap();
    let docker = all.iter().find(|finding| finding["check"] == "docker").unwrap();
    docker["message"].as_str().unwrap().to_owned()
}

#[test]
fn the_whole_job_goes_over_tls_and_renewed_certificates_need_no_restart() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let authority = Authority::new("tls-ca");
    let port = free_port();
    let mut dockerd = dockerd_of(&authority, port);
    let testbed = testbed_on(&dockerd, "tls");
    let [ca, cert, key] = ["ca.pem", "client.pem", "client-key.pem"].map(|n| authority.at(n));
    let docker = section(port, &json!({ "ca": ca, "cert": cert, "key": key }));
    let config = testbed.configure(r#""min_replicas": 2, "max_replicas": 2"#);
    set_docker(&config, &docker);
    assert!(doctor(&config).starts_with(&format!("answers on tcp://127.0.0.1:{port}, API")));
    let daemon = Daemon::start(&config);
    testbed.wait_serving(2, secs(40), &daemon);
    let load = everyone(&testbed);
    load.wait_for(secs(10), |c| 100 < c.sent());
    testbed.configure(r#""min_replicas": 1, "max_replicas": 1"#);
    set_docker(&config, &docker);
    daemon.signal("HUP");
    let is_settled = || testbed.containers().len() == 1;
    assert!(reached(secs(60), is_settled), "{:#?}", daemon.lines());
    let counts = load.stop();
    assert_eq!(counts.failed(), 0, "{counts}\n{:#?}", daemon.lines());
    // Longer than a silent read of the stream, and than the pings in between.
    let looks = daemon.count(&["desired="]);
    assert!(reached(secs(40), || looks + 12 <= daemon.count(&["desired="])));
    let (id, ..) = testbed.containers().remove(0);
    testbed.crash(&id);
    daemon.wait(&["kind=replica.exited"], secs(10));
    assert_eq!(daemon.count(&["kind=docker.lost"]), 0, "{:#?}", daemon.lines());
    // The certificate expires while Docker is restarted, and is renewed.
    let good = fs::read(&cert).unwrap();
    let good_key = fs::read(&key).unwrap();
    authority.sign("client", -1, CLIENT);
    dockerd.down();
    daemon.wait(&["kind=docker.lost"], secs(20));
    dockerd.up();
    let words = ["cannot reach Docker at tcp://127.0.0.1", "docker.tls.cert"];
    assert!(doctor(&config).contains(words[1]), "{}", doctor(&config));
    assert_eq!(daemon.count(&["kind=docker.back"]), 0, "{:#?}", daemon.lines());
    fs::write(&cert, good).unwrap();
    fs::write(&key, good_key).unwrap();
    daemon.wait(&["kind=docker.back"], secs(20));
    testbed.wait_serving(1, secs(40), &daemon);
    let secret = fs::read_to_string(&key).unwrap();
    let line = secret.lines().nth(1).unwrap();
    assert_eq!(daemon.count(&[line]), 0, "a key in the log");
}

#[test]
fn docker_host_with_tls_takes_dockers_own_variables() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let authority = Authority::new("tls-env");
    let port = free_port();
    let dockerd = dockerd_of(&authority, port);
    let testbed = testbed_on(&dockerd, "tlsenv");
    let config = testbed.configure(r#""min_replicas": 1, "max_replicas": 1"#);
    set_docker(&config, &json!({}));
    for (from, to) in [("client.pem", "cert.pem"), ("client-key.pem", "key.pem")] {
        fs::copy(authority.at(from), authority.at(to)).unwrap();
    }
    let out = Command::new(crate::daemon::PLIMSOLL)
        .args(["doctor", "--config", config.to_str().unwrap()])
        .env("DOCKER_HOST", format!("tcp://127.0.0.1:{port}"))
        .env("DOCKER_TLS_VERIFY", "1")
        .env("DOCKER_CERT_PATH", authority.dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(
        said.contains(&format!("answers on tcp://127.0.0.1:{port} (from $DOCKER_HOST)")),
        "{said}"
    );
}

/// A server of TLS with that certificate, which asks for none.
struct Server(Child);

impl Server {
    fn start(authority: &Authority, name: &str, port: u16) -> Server {
        let (cert, key) = (format!("{name}.pem"), format!("{name}-key.pem"));
        let mut openssl = Command::new("openssl");
        openssl.args(["s_server", "-quiet", "-www", "-accept", &format!("127.0.0.1:{port}")]);
        openssl.args(["-cert", &cert, "-key", &key]).current_dir(authority.dir.path());
        let child = openssl.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Server(child);
        let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(reached(secs(10), listens), "s_server does not start");
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Speaks HTTP and no TLS. It ends with the test program.
fn plain_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut bytes = [0; 1024];
            drop(stream.read(&mut bytes));
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    port
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_with_the_key_to_set() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let authority = Authority::new("tls-faults");
    let other = Authority::new("tls-other");
    other.sign("client", 30, CLIENT);
    let port = free_port();
    let _dockerd = dockerd_of(&authority, port);
    authority.sign("late", -1, CLIENT);
    authority.sign("old", -1, SERVER);
    let expired = free_port();
    let _server = Server::start(&authority, "old", expired);
    let plain = plain_server();
    authority.dir.write("text.pem", "no certificate\n");
    let at = |name: &str| authority.at(name);
    let ca = at("ca.pem");
    let client = |cert: &str, key: &str| json!({ "ca": ca, "cert": at(cert), "key": at(key) });
    let good = client("client.pem", "client-key.pem");
    let stranger =
        json!({ "ca": ca, "cert": other.at("client.pem"), "key": other.at("client-key.pem") });
    let testbed = Testbed::new("tlsfaults");
    let config = testbed.configure(r#""min_replicas": 1, "max_replicas": 1"#);
    let named = json!({ "socket": format!("tcp://localhost:{port}"), "tls": good });
    for (docker, words) in [
        (section(port, &good), "answers on tcp://127.0.0.1"),
        (
            section(port, &json!({ "ca": other.at("ca.pem") })),
            "set docker.tls.ca to the certificate",
        ),
        (section(port, &json!({})), "set docker.tls.ca to the certificate of its CA"),
        (section(port, &json!({ "ca": ca })), "set docker.tls.cert and docker.tls.key"),
        (section(port, &stranger), "is docker.tls.cert signed by the CA that Docker trusts"),
        (section(port, &client("late.pem", "late-key.pem")), "docker.tls.cert signed by the CA"),
        (section(expired, &json!({ "ca": ca })), "the server's certificate has expired"),
        (named, "the server's certificate is for another name"),
        (section(plain, &good), "does not speak TLS on this port; remove docker.tls"),
        (json!({ "socket": format!("tcp://127.0.0.1:{port}") }), "wants TLS; set docker.tls"),
        (section(port, &client("client.pem", "late-key.pem")), "docker.tls.cert and key: "),
        (section(port, &client("text.pem", "client-key.pem")), "docker.tls.cert: has no certifi"),
        (section(port, &client("client.pem", "text.pem")), "docker.tls.key: has no private key"),
        (section(port, &json!({ "ca": at("text.pem") })), "docker.tls.ca: has no certificate"),
        (section(port, &json!({ "ca": at("none.pem") })), "none.pem cannot be read: No such file"),
        (section(port, &json!({ "ca": authority.dir.path() })), "cannot be read: "),
    ] {
        set_docker(&config, &docker);
        let said = doctor(&config);
        assert!(said.contains(words), "no {words:?} for {docker} in {said}");
    }
}
