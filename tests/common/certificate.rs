//! Certificates that a test signs itself, and whose certificate a client is shown.

#![allow(dead_code, reason = "each test crate uses a part of it")]

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};

/// Certificate and key for these names or addresses, each in PEM, valid for 30 days. The first name
/// is the subject's.
pub(crate) fn self_signed(names: &[&str]) -> (String, String) {
    let kind = |name: &str| if name.parse::<IpAddr>().is_ok() { "IP" } else { "DNS" };
    let all: Vec<String> = names.iter().map(|name| format!("{}:{name}", kind(name))).collect();
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    openssl.args(["-nodes", "-days", "30", "-subj", &format!("/CN={}", names[0]), "-addext"]);
    openssl.arg(format!("subjectAltName={}", all.join(",")));
    openssl.args(["-keyout", "/dev/stdout", "-out", "/dev/stdout"]);
    let out = openssl.output().expect("openssl runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let both = String::from_utf8(out.stdout).expect("PEM is text");
    let at = both.find("-----BEGIN CERTIFICATE").expect("a certificate");
    (both[at..].to_owned(), both[..at].to_owned())
}

/// As `CN=name`; empty if there is no handshake. `args` are more of `openssl s_client`.
pub(crate) fn shown_subject(address: &str, args: &[&str]) -> String {
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-connect", address]).args(args).stdin(Stdio::null());
    let out = openssl.output().expect("openssl runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let subject = text.lines().find_map(|line| line.strip_prefix("subject="));
    subject.map(|name| name.replace(' ', "")).unwrap_or_default()
}

/// A CA, and a certificate with its key that it signed for `localhost` and 127.0.0.1: each in PEM.
pub(crate) fn signed_by_ca(dir: &Path) -> (String, String, String) {
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let new = |subject: &str, cert: &str, key: &str, more: &[&str]| {
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        openssl.args(["-nodes", "-days", "30", "-subj", subject, "-out", cert, "-keyout", key]);
        let out = openssl.args(more).output().expect("openssl runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let text = |path: &str| fs::read_to_string(path).expect("openssl wrote it");
        (text(cert), text(key))
    };
    let [ca, ca_key, cert, key] = ["ca.pem", "ca.key", "leaf.pem", "leaf.key"].map(at);
    let (ca_pem, _) = new("/CN=a test's CA", &ca, &ca_key, &[]);
    let names = "subjectAltName=DNS:localhost,IP:127.0.0.1";
    let constraints = "basicConstraints=critical,CA:FALSE";
    let more = ["-CA", &ca, "-CAkey", &ca_key, "-addext", names, "-addext", constraints];
    let (cert_pem, key_pem) = new("/CN=localhost", &cert, &key, &more);
    (ca_pem, cert_pem, key_pem)
}
