//! The front door: frontends that services share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::hash::fnv1a;
use crate::model::route::{HttpRoute, Network};
use crate::model::service::{Listen, ServiceName};

/// Where ACME's servers ask for a challenge. From RFC 8555, section 8.3.
pub(crate) const ACME_PATH: &str = "/.well-known/acme-challenge/";

/// The daemon's socket for them, beside HAProxy's: no other account can put one there.
pub(crate) fn acme_socket(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".acme");
    PathBuf::from(name)
}

/// The name of its other socket, in the abstract namespace, for an HAProxy whose root folder is
/// another. All accounts of the host share those names. `socket` is HAProxy's.
pub(crate) fn abstract_acme_socket(socket: &Path) -> String {
    format!("plimsoll-acme-{:016x}", fnv1a(socket.as_os_str().as_encoded_bytes()))
}

/// An address of HAProxy's that several services share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frontend {
    /// As a service's name is spelled.
    pub(crate) name: String,
    pub(crate) listen: Listen,
    /// Every request is redirected to HTTPS.
    pub(crate) redirects: bool,
    /// Files and folders. Not empty: it serves HTTPS.
    pub(crate) certificates: Vec<PathBuf>,
    pub(crate) http2: bool,
    /// `max-age` of Strict-Transport-Security.
    pub(crate) hsts: Option<Duration>,
    /// Gets what no route matches; `None`: a page of HAProxy's with status 404 does.
    pub(crate) default: Option<ServiceName>,
}

impl Frontend {
    /// Whether its requests may go by this route.
    pub(crate) fn has(&self, route: &HttpRoute) -> bool {
        !self.redirects && route.frontend.as_ref().is_none_or(|name| *name == self.name)
    }

    pub(crate) fn is_tls(&self) -> bool {
        !self.certificates.is_empty()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrontDoor {
    /// By name.
    pub(crate) frontends: Vec<Frontend>,
    /// Their `X-Forwarded-` headers are kept.
    pub(crate) trusted_proxies: Vec<Network>,
    /// The folder whose ACME challenges frontends without TLS answer.
    pub(crate) acme_webroot: Option<PathBuf>,
}

impl FrontDoor {
    /// What stands behind the host in an address of HTTPS; empty: it is the usual port.
    pub(crate) fn https_suffix(&self) -> String {
        let port = self.https_port().filter(|port| *port != 443);
        port.map(|port| format!(":{port}")).unwrap_or_default()
    }

    /// Where a frontend that redirects sends its clients: the one on port 443, else the first.
    fn https_port(&self) -> Option<u16> {
        let ports = || self.frontends.iter().filter(|f| f.is_tls()).map(|f| f.listen.port);
        ports().find(|port| *port == 443).or_else(|| ports().next())
    }
}
