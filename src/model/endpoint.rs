//! An address of HTTP outside, with what each request to it carries.

use std::fmt;
use std::sync::Arc;

use crate::model::secret::Secret;
use crate::model::url;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    /// `http://` or `https://`; may hold a user, a password or a key.
    pub(crate) url: Secret,
    /// In the order of the config. One of them replaces a header that the program would send.
    pub(crate) headers: Vec<(String, Secret)>,
    /// Certificates in PEM: the server's has to be signed by one of them. `None`: by one that the
    /// host trusts.
    pub(crate) ca: Option<Arc<str>>,
}

impl Endpoint {
    /// Without headers, and with the host's certificates.
    #[cfg(test)]
    pub(crate) fn new(url: impl Into<String>) -> Endpoint {
        Endpoint { url: Secret::new(url.into()), headers: Vec::new(), ca: None }
    }

    /// Whether its headers name this one, in any case.
    pub(crate) fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name))
    }

    /// The same with another address, for a path below it.
    pub(crate) fn at(&self, url: String) -> Endpoint {
        Endpoint { url: Secret::new(url), ..self.clone() }
    }
}

impl fmt::Display for Endpoint {
    /// Without the parts that may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&url::plain(self.url.expose()))
    }
}
