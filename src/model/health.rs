//! Health checks: how a replica shows that it can serve.

use std::sync::Arc;
use std::time::Duration;

use crate::model::secret::Secret;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HealthCheck {
    pub(crate) kind: HealthKind,
    /// `None`: the service's own port.
    pub(crate) port: Option<u16>,
    pub(crate) interval: Duration,
    /// At most `interval`.
    pub(crate) timeout: Duration,
    /// Passes in a row that make it healthy; at least 1.
    pub(crate) healthy_after: u32,
    /// Failures in a row that make it ill; at least 1.
    pub(crate) unhealthy_after: u32,
    /// From its start; failures in it do not count before the first pass.
    pub(crate) start_period: Duration,
}

impl Default for HealthCheck {
    fn default() -> HealthCheck {
        HealthCheck {
            kind: HealthKind::Tcp,
            port: None,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            healthy_after: 1,
            unhealthy_after: 3,
            start_period: Duration::from_secs(30),
        }
    }
}

/// The `Host` of a health check, HAProxy's and ours alike, so that both get the same answer. Apps
/// that are choosy about it allow this one, and not an address that changes with each start.
pub(crate) const HEALTH_HOST: &str = "localhost";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HealthKind {
    Http(HttpCheck),
    /// A connection that opens passes.
    Tcp,
    /// The image's own HEALTHCHECK.
    Docker,
    /// It serves as soon as it runs.
    None,
}

/// `GET path` passes by its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpCheck {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, Secret)>,
    /// Ranges, both ends included.
    pub(crate) expect: Vec<(u16, u16)>,
    /// `None`: plain HTTP.
    pub(crate) tls: Option<CheckTls>,
}

/// What an HTTPS check demands of the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CheckTls {
    /// Nothing, as Kubernetes' probes.
    Unverified,
    /// Signed by one of these, in PEM (`None`: by one that the host trusts), for the `Host` of the
    /// check.
    Verified { ca: Option<Arc<str>> },
}

impl HttpCheck {
    pub(crate) const EXPECT: (u16, u16) = (200, 399);

    /// The `Host` of the check, if its headers name one; else it is `HEALTH_HOST`.
    pub(crate) fn host(&self) -> Option<&str> {
        let mut headers = self.headers.iter();
        let own = headers.find(|(name, _)| name.eq_ignore_ascii_case("host"));
        own.map(|(_, value)| value.expose())
    }

    /// The host without its port: the name that a certificate has to be for.
    pub(crate) fn server_name(&self) -> &str {
        let host = self.host().unwrap_or(HEALTH_HOST);
        let end = host.rfind(':').filter(|at| !host[*at..].contains(']'));
        &host[..end.unwrap_or(host.len())]
    }

    pub(crate) fn expects(&self, status: u16) -> bool {
        self.expect.iter().any(|(from, to)| (*from..=*to).contains(&status))
    }

    /// As in the config: `200-299,401`.
    pub(crate) fn expected(&self) -> String {
        let range = |(from, to): &(u16, u16)| {
            if from == to { from.to_string() } else { format!("{from}-{to}") }
        };
        self.expect.iter().map(range).collect::<Vec<_>>().join(",")
    }
}
