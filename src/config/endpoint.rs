//! Addresses of HTTP outside: URL, headers, and the CA that signs the server's certificate.

use std::sync::Arc;

use x509_cert::Certificate;

use crate::config::cursor::{Node, Section};
use crate::config::values;
use crate::model::endpoint::Endpoint;
use crate::model::secret::Secret;

pub(super) const HEADER_NAME: &str = "a header name must consist of letters, digits and `-`";

/// The keys `url`, `headers`, `bearer` and `ca_file` of a metric.
pub(super) fn metric(section: &Section, what: &str) -> Option<Endpoint> {
    let url = section.need("url", what).and_then(|n| values::url(&n)).map(Secret::new);
    let mut headers = headers(section.section("headers"));
    if let Some(node) = section.get("bearer") {
        let other = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        if other {
            node.error("cannot be used with the header Authorization; remove one of the two");
        }
        let token = header_value(&node).map(|token| format!("Bearer {}", token.expose()));
        headers.extend(token.map(|value| ("Authorization".to_owned(), Secret::new(value))));
    }
    let ca = ca_file(section, url.as_ref().is_some_and(is_plain));
    Some(Endpoint { url: url?, headers, ca })
}

/// Whether no TLS is used.
pub(super) fn is_plain(url: &Secret) -> bool {
    url.expose().starts_with("http://")
}

/// A `ca_file` that is not read, for this reason.
pub(super) fn unused_ca_file(section: &Section, why: &str) {
    section.unused("ca_file", why);
    values::path(section.get("ca_file"));
}

/// The key `ca_file`: certificates in PEM. `is_plain`: there is no TLS, so it has no effect.
pub(super) fn ca_file(section: &Section, is_plain: bool) -> Option<Arc<str>> {
    if is_plain {
        unused_ca_file(section, "has no effect without https");
        return None;
    }
    let node = section.get("ca_file")?;
    let pem = node.file()?;
    match Certificate::load_pem_chain(pem.as_bytes()) {
        Ok(found) if !found.is_empty() => Some(Arc::from(pem)),
        Ok(_) | Err(_) => {
            node.error("must be a file of certificates in PEM (-----BEGIN CERTIFICATE-----)");
            None
        }
    }
}

/// Whether it is a token of RFC 9110.
pub(super) fn is_header_name(name: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(token)
}

/// Printable ASCII, which every server accepts.
pub(super) fn header_value(node: &Node) -> Option<Secret> {
    let value = node.secret()?;
    if value.expose().bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return Some(value);
    }
    node.error("a header value must be printable ASCII on one line");
    None
}

/// The entries of `headers`; those that are wrong are left out and reported.
pub(super) fn headers(section: Option<Section>) -> Vec<(String, Secret)> {
    let mut out = Vec::new();
    for (name, node) in section.map(|section| section.entries()).unwrap_or_default() {
        if !is_header_name(name) {
            node.bad_name(HEADER_NAME);
        } else if let Some(value) = header_value(&node) {
            out.push((name.to_owned(), value));
        }
    }
    out
}
