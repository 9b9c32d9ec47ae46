//! How HAProxy treats the requests of one service.

use std::time::Duration;

use crate::model::route::Network;
use crate::model::secret::Secret;

/// As when nobody says: HTTP, to the replica with the fewest requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TrafficPolicy {
    pub(crate) protocol: Protocol,
    pub(crate) balance: Balance,
    pub(crate) sticky: Option<Sticky>,
    pub(crate) timeouts: Timeouts,
    /// Requests that one replica gets at once; further ones wait. `None`: no limit.
    pub(crate) max_connections: Option<u32>,
    pub(crate) retries: Option<Retries>,
    /// Empty: every client is let in.
    pub(crate) allow: Vec<Network>,
    pub(crate) basic_auth: Option<BasicAuth>,
    pub(crate) rate_limit: Option<ClientRateLimit>,
    /// In file order; `None` removes the header.
    pub(crate) request_headers: Vec<(String, Option<Secret>)>,
    pub(crate) response_headers: Vec<(String, Option<Secret>)>,
}

/// Spoken with the replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Protocol {
    #[default]
    Http,
    /// HTTP/2 without TLS, as gRPC servers speak it.
    H2,
    /// Bytes, whatever they mean.
    Tcp,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Balance {
    #[default]
    LeastConn,
    RoundRobin,
    Random,
    /// By the client's address.
    Source,
}

impl Balance {
    /// HAProxy's word, which is also that of the config.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Balance::LeastConn => "leastconn",
            Balance::RoundRobin => "roundrobin",
            Balance::Random => "random",
            Balance::Source => "source",
        }
    }
}

/// A client comes back to the replica that it had, by a cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sticky {
    pub(crate) cookie: String,
    /// `None`: as long as the browser runs.
    pub(crate) ttl: Option<Duration>,
}

/// `None`: HAProxy's default section has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timeouts {
    pub(crate) connect: Option<Duration>,
    pub(crate) server: Option<Duration>,
    pub(crate) client: Option<Duration>,
    pub(crate) queue: Option<Duration>,
    pub(crate) tunnel: Option<Duration>,
}

impl Timeouts {
    pub(crate) fn queue(&self) -> Duration {
        self.queue.unwrap_or(Duration::from_secs(30))
    }

    pub(crate) fn server(&self, protocol: Protocol) -> Duration {
        let usual = if protocol == Protocol::Tcp { 3600 } else { 300 };
        self.server.unwrap_or(Duration::from_secs(usual))
    }
}

/// When HAProxy tries another replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retries {
    /// HAProxy's words for `retry-on`.
    pub(crate) on: Vec<&'static str>,
    /// After the first try.
    pub(crate) attempts: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BasicAuth {
    pub(crate) realm: String,
    /// Each with the password, or with its hash by crypt(3).
    pub(crate) users: Vec<(String, Secret)>,
}

/// Of the requests of one client address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientRateLimit {
    pub(crate) requests: u32,
    pub(crate) period: Duration,
}
