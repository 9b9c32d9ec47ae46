//! Certificates that a test signs itself, and whose certificate a client is shown.

#![allow(dead_code, reason = "each test crate uses a part of it")]

use std::process::{Command, Stdio};

/// Certificate and key for these names, each in PEM, valid for 30 days. The first name is the
/// subject's.
pub(crate) fn self_signed(names: &[&str]) -> (String, String) {
    let all: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
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
