//! What the operator asked for, already checked.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::model::schedule::Timetable;

/// Matches `[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}`: it becomes part of container and HAProxy names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServiceName(String);

impl ServiceName {
    pub(crate) fn new(name: &str) -> Option<ServiceName> {
        let first = name.bytes().next()?.is_ascii_alphanumeric();
        let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        (first && rest && name.len() <= 63).then(|| ServiceName(name.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How many replicas a service may have. Invariant: `min <= max <= 1000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    min: u32,
    max: u32,
}

impl Bounds {
    pub(crate) const MAX: u32 = 1000;

    pub(crate) fn new(min: u32, max: u32) -> Option<Bounds> {
        (min <= max && max <= Self::MAX).then_some(Bounds { min, max })
    }

    /// Neither fewer nor more; at most `Bounds::MAX`.
    pub(crate) fn exactly(count: u32) -> Bounds {
        let count = count.min(Self::MAX);
        Bounds { min: count, max: count }
    }

    pub(crate) fn min(self) -> u32 {
        self.min
    }

    pub(crate) fn max(self) -> u32 {
        self.max
    }
}

/// A share in hundredths of a percent, so that sums and ratios are exact: 75 % is 7500.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Percent(u64);

impl Percent {
    pub(crate) fn from_hundredths(hundredths: u64) -> Percent {
        Percent(hundredths)
    }

    pub(crate) fn hundredths(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 100, self.0 % 100);
        match part {
            0 => write!(f, "{whole}%"),
            p if p % 10 == 0 => write!(f, "{whole}.{}%", p / 10),
            p => write!(f, "{whole}.{p:02}%"),
        }
    }
}

/// Average CPU at or above `upper` adds replicas, at or below `lower` takes one away.
/// Invariant: `lower < upper`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Band {
    lower: Percent,
    upper: Percent,
}

impl Band {
    pub(crate) fn new(lower: Percent, upper: Percent) -> Option<Band> {
        (lower < upper).then_some(Band { lower, upper })
    }

    pub(crate) fn lower(self) -> Percent {
        self.lower
    }

    pub(crate) fn upper(self) -> Percent {
        self.upper
    }
}

/// How long after a change of the number the next one may come, by the direction of that next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cooldown {
    pub(crate) up: Duration,
    pub(crate) down: Duration,
}

/// The address that HAProxy opens for a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listen {
    /// `None` is every IPv4 address of the host.
    pub(crate) address: Option<std::net::IpAddr>,
    pub(crate) port: u16,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            None => write!(f, ":{}", self.port),
            Some(address) => std::net::SocketAddr::new(address, self.port).fmt(f),
        }
    }
}

/// What tells that a replica can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HealthCheck {
    pub(crate) kind: HealthKind,
    /// `None`: the service's own port.
    pub(crate) port: Option<u16>,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
}

/// The `Host` of a health check, HAProxy's and ours alike, so that both get the same answer. Apps
/// that are choosy about it allow this one, and not an address that changes with each start.
pub(crate) const HEALTH_HOST: &str = "localhost";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HealthKind {
    /// A status of 200 to 399 on `GET path` passes.
    Http { path: String },
    /// A connection that opens passes.
    Tcp,
}

/// What a container of the service is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerSpec {
    pub(crate) image: String,
    /// Empty: the image's own.
    pub(crate) command: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    /// Docker's bind syntax, `source:target[:options]`.
    pub(crate) volumes: Vec<String>,
    /// Billionths of a core; `None` is no limit.
    pub(crate) nano_cpus: Option<u64>,
    /// Bytes; `None` is no limit.
    pub(crate) memory: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) name: ServiceName,
    pub(crate) container: ContainerSpec,
    /// The TCP port that a replica listens on, in its container.
    pub(crate) port: u16,
    pub(crate) listen: Option<Listen>,
    /// When it may scale, and between which bounds.
    pub(crate) timetable: Timetable,
    /// `None` only when `min == max`.
    pub(crate) band: Option<Band>,
    pub(crate) cooldown: Cooldown,
    pub(crate) health: HealthCheck,
    pub(crate) drain_timeout: Duration,
    pub(crate) stop_timeout: Duration,
}

impl Service {
    /// The name of a replica, as container and as HAProxy's server.
    pub(crate) fn replica_name(&self, number: u32) -> String {
        replica_name(self.name.as_str(), number)
    }
}

pub(crate) fn replica_name(service: &str, number: u32) -> String {
    format!("{service}-{number}")
}

#[cfg(test)]
mod tests {
    use crate::model::service::{Percent, ServiceName};

    #[test]
    fn a_service_name_is_short_and_plain() {
        let long = "a".repeat(63);
        for good in ["a", "web", "Web-1_x.y", "0", &long] {
            assert!(ServiceName::new(good).is_some(), "{good}");
        }
        let too_long = "a".repeat(64);
        for bad in ["", "-a", ".a", "_a", "a b", "a/b", "a\n", "ü", &too_long] {
            assert!(ServiceName::new(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_percent_prints_no_more_than_it_knows() {
        for (hundredths, text) in [(7500, "75%"), (7550, "75.5%"), (7505, "75.05%"), (0, "0%")] {
            assert_eq!(Percent::from_hundredths(hundredths).to_string(), text);
        }
    }
}
