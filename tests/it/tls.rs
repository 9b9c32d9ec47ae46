//! TLS to others: metrics and health checks over HTTPS, with a CA of the test's own.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::certificate::{self_signed, signed_by_ca};
use crate::daemon::{Daemon, Dir, reached, secs};
use crate::harness::{Harness, end};

/// Heads of requests, in small letters.
type Heads = Arc<Mutex<Vec<String>>>;

/// Answers each request over TLS with 200 and `{"depth": 7}`. Ends with the test program.
fn serve_tls(cert: &str, key: &str) -> (u16, Heads) {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(cert.as_bytes()).map(|one| one.unwrap()).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let builder = ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads = Heads::default();
    let seen = heads.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let seen = seen.clone();
            thread::spawn(move || answer(StreamOwned::new(connection, stream), &seen));
        }
    });
    (port, heads)
}

fn answer(mut stream: StreamOwned<ServerConnection, TcpStream>, seen: &Heads) {
    let lines = BufReader::new(&mut stream).lines().map_while(Result::ok);
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    // A client that trusts us not has sent none.
    if !head.is_empty() {
        seen.lock().unwrap().push(head.join("\n").to_ascii_lowercase());
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{\"depth\": 7}";
        stream.write_all(text.as_bytes()).unwrap();
    }
}

fn metric(url: String, ca: Option<&Path>) -> Value {
    let mut metric = json!({
        "source": "http", "url": url, "pointer": "/depth", "target": 10,
        "headers": { "X-Scope": "a-tenant" }, "bearer": "s3cret-token",
    });
    if let Some(ca) = ca {
        metric["ca_file"] = ca.to_str().unwrap().into();
    }
    metric
}

fn started(harness: &Harness, roots: Option<&Path>) -> Daemon {
    let mut program = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    if let Some(roots) = roots {
        program.env("SSL_CERT_FILE", roots);
    }
    Daemon::start_by(program, &harness.write(), &[])
}

#[test]
fn a_metric_is_read_over_https_and_a_server_that_cannot_be_trusted_gets_no_token() {
    let mut harness = Harness::new("tls-metric");
    let (ca, cert, key) = signed_by_ca(harness.dir.path());
    let ca = harness.dir.write("own-ca.pem", &ca);
    let (port, heads) = serve_tls(&cert, &key);
    let another = Dir::new("tls-another");
    let (_, other_cert, other_key) = signed_by_ca(another.path());
    let (other, other_heads) = serve_tls(&other_cert, &other_key);
    let (own_cert, own_key) = self_signed(&["localhost"]);
    let (own, own_heads) = serve_tls(&own_cert, &own_key);
    let own_ca = harness.dir.write("self-signed.pem", &own_cert);
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain_port = plain.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in plain.incoming().flatten() {
            // A client that hung up meanwhile is its own affair.
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    harness.set(
        "/services/web/metrics",
        json!([
            metric(format!("https://localhost:{port}/good"), Some(&ca)),
            metric(format!("https://localhost:{port}/no-ca"), None),
            metric(format!("https://127.0.0.2:{port}/name"), Some(&ca)),
            metric(format!("https://localhost:{other}/other"), Some(&ca)),
            metric(format!("https://localhost:{own}/own"), Some(&own_ca)),
            metric(format!("https://localhost:{plain_port}/plain"), Some(&ca)),
        ]),
    );
    let daemon = started(&harness, None);
    daemon.wait(&["/good /depth", "reading=\"7\""], secs(10));
    let no_ca = "no trusted CA signed the server's certificate; set ca_file to the certificate of \
                 its CA";
    for (path, why) in [
        ("/no-ca", no_ca),
        ("/name", "the server's certificate is for another name; use a name that it has"),
        ("/other", "the server's certificate is not signed by the CA that is set"),
        ("/own", "the server shows the certificate of a CA, as `openssl req -x509` makes it"),
        ("/plain", "the server does not speak TLS on this port"),
    ] {
        daemon.wait(&["kind=metric.failed", path, why], secs(10));
    }
    let heads = heads.lock().unwrap();
    for head in heads.iter() {
        assert!(head.starts_with("get /good "), "{head}");
        for line in ["\nx-scope: a-tenant", "\nauthorization: bearer s3cret-token"] {
            assert!(head.contains(line), "{head}");
        }
    }
    assert!(other_heads.lock().unwrap().is_empty() && own_heads.lock().unwrap().is_empty());
    assert_eq!(daemon.count(&["s3cret"]) + daemon.count(&["a-tenant"]), 0, "{:?}", daemon.lines());
    end(daemon, "TERM", secs(5));
}

#[test]
fn certificates_that_the_host_trusts_are_trusted() {
    let mut harness = Harness::new("tls-host");
    let (ca, cert, key) = signed_by_ca(harness.dir.path());
    let ca = harness.dir.write("own-ca.pem", &ca);
    let (port, _) = serve_tls(&cert, &key);
    let url = format!("https://127.0.0.1:{port}/good");
    harness.set("/services/web/metrics", json!([metric(url, None)]));
    let daemon = started(&harness, Some(&ca));
    daemon.wait(&["/good /depth", "reading=\"7\""], secs(10));
    end(daemon, "TERM", secs(5));
}

#[test]
fn an_https_check_passes_for_daemon_and_haproxy_and_verifies_only_on_request() {
    for (name, verify, is_trusted, passes) in [
        ("tls-any", false, false, true),
        ("tls-known", true, true, true),
        ("tls-unknown", true, false, false),
    ] {
        let mut harness = Harness::new(name);
        let (ca, cert, key) = signed_by_ca(harness.dir.path());
        let ca = harness.dir.write("own-ca.pem", &ca);
        let (port, heads) = serve_tls(&cert, &key);
        let mut check = json!({
            "path": "/up", "port": port, "scheme": "https", "verify": verify,
            "interval": "200ms",
        });
        if is_trusted {
            check["ca_file"] = ca.to_str().unwrap().into();
        }
        harness.set("/services/web/health_check", check);
        let daemon = started(&harness, None);
        if !passes {
            let why = "no trusted CA signed the server's certificate";
            daemon.wait(&["kind=replica.not_ready", "GET https://", why], secs(20));
            end(daemon, "TERM", secs(5));
            continue;
        }
        daemon.wait(&["kind=haproxy.reloaded"], secs(10));
        let asked = || {
            let heads = heads.lock().unwrap();
            let ours = heads.iter().filter(|h| h.contains("user-agent: plimsoll/")).count();
            (ours, heads.len() - ours)
        };
        let both = || asked().0 >= 5 && asked().1 >= 5;
        assert!(reached(secs(20), both), "{:?}\n{:?}", asked(), daemon.lines());
        assert!(heads.lock().unwrap().iter().all(|head| head.contains("\nhost: localhost")));
        assert!(reached(secs(10), || harness.serves()), "{:?}", daemon.lines());
        assert_eq!(daemon.count(&["kind=health.unhealthy"]), 0, "{:?}", daemon.lines());
        end(daemon, "TERM", secs(5));
    }
}
