//! What the operator asked for, already checked.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::model::behavior::Behavior;
use crate::model::bounds::Bounds;
use crate::model::container_options::ContainerOptions;
use crate::model::forecast::ForecastConfig;
use crate::model::hash::fnv1a;
use crate::model::health::HealthCheck;
use crate::model::hooks::Hooks;
use crate::model::image::{ImagePin, ImageUpdates};
use crate::model::metric::Metric;
use crate::model::route::HttpRoute;
use crate::model::schedule::Timetable;
use crate::model::secret::Secret;
use crate::model::sleep::SleepPolicy;
use crate::model::traffic_policy::TrafficPolicy;

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
        let whole = self.0 / 100;
        let part = self.0 % 100;
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

/// What a container of the service is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerSpec {
    pub(crate) origin: Origin,
    /// The image behind the tag, where that is watched. No part of the spec's hash: replicas are
    /// compared by their image.
    pub(crate) pin: Option<ImagePin>,
    /// Empty: the image's own.
    pub(crate) command: Vec<String>,
    /// Any of them may be a secret.
    pub(crate) environment: BTreeMap<String, Secret>,
    /// Docker's bind syntax, `source:target[:options]`.
    pub(crate) volumes: Vec<String>,
    /// Billionths of a core; `None` is no limit.
    pub(crate) nano_cpus: Option<u64>,
    /// Bytes; `None` is no limit.
    pub(crate) memory: Option<u64>,
    /// The first is where HAProxy reaches it; none is Docker's default bridge.
    pub(crate) networks: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// As in Docker: `name`, `uid` or `uid:gid`. `None`: the image's own.
    pub(crate) user: Option<String>,
    pub(crate) restart: Restart,
    pub(crate) options: ContainerOptions,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Image(String),
    /// One more replica of a service that docker compose started.
    Compose {
        project: String,
        service: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Image(image) => f.write_str(image),
            Origin::Compose { project, service } => write!(f, "compose {project}/{service}"),
        }
    }
}

/// A service of the config whose containers docker compose started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Adopted {
    pub(crate) service: ServiceName,
    pub(crate) project: String,
    /// Its name in the compose file.
    pub(crate) of: String,
}

/// What Docker does by itself when the container's process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    No,
    Always,
    UnlessStopped,
    /// At most so many times in a row; 0 is without end.
    OnFailure(u32),
}

/// Which engine runs the replicas of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Platform {
    Docker,
    /// Docker Swarm, which places and heals; the name of its service.
    Swarm(String),
}

impl Platform {
    /// The name that Swarm has for it.
    pub(crate) fn swarm(&self) -> Option<&str> {
        match self {
            Platform::Docker => None,
            Platform::Swarm(name) => Some(name),
        }
    }
}

/// How a change of the spec goes through the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rollout {
    /// So many above the desired number; with `max_unavailable`, at least 1 together.
    pub(crate) max_surge: u32,
    /// So many below it.
    pub(crate) max_unavailable: u32,
    /// Without progress for so long, it has failed.
    pub(crate) progress_deadline: Duration,
    /// Back to the spec that worked, when it has failed.
    pub(crate) rollback: bool,
}

impl Default for Rollout {
    fn default() -> Rollout {
        let progress_deadline = Duration::from_secs(600);
        Rollout { max_surge: 1, max_unavailable: 0, progress_deadline, rollback: true }
    }
}

/// What becomes of a request whose replica ends before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Retry {
    /// It failed: what was sent is never sent again. Where no connection opened, nothing was sent.
    #[default]
    Connect,
    /// A GET is sent to one more replica.
    Safe,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) name: ServiceName,
    pub(crate) container: ContainerSpec,
    /// The TCP port that a replica listens on, in its container.
    pub(crate) port: u16,
    pub(crate) listen: Option<Listen>,
    /// At frontends that it shares with others.
    pub(crate) routes: Vec<HttpRoute>,
    /// When it may scale, and between which bounds.
    pub(crate) timetable: Timetable,
    pub(crate) runs: Platform,
    /// Without it there are metrics, or `min == max`.
    pub(crate) band: Option<Band>,
    pub(crate) metrics: Vec<Metric>,
    /// `None`: not written down. With metrics that means HPA's defaults.
    pub(crate) behavior: Option<Behavior>,
    pub(crate) cooldown: Cooldown,
    pub(crate) health: HealthCheck,
    pub(crate) rollout: Rollout,
    /// `None`: the registry is not asked.
    pub(crate) image_updates: Option<ImageUpdates>,
    pub(crate) retry: Retry,
    pub(crate) policy: TrafficPolicy,
    pub(crate) sleep: SleepPolicy,
    pub(crate) forecast: ForecastConfig,
    /// No part of the spec: a change of them replaces no replica.
    pub(crate) hooks: Hooks,
    pub(crate) drain_timeout: Duration,
    pub(crate) stop_timeout: Duration,
}

impl ContainerSpec {
    /// Everything that makes a container what it is, in one text. What nobody asked for leaves no
    /// trace in it: a key that a later version adds changes nothing for those who do not use it.
    fn canonical(&self) -> String {
        let mut text = String::new();
        // Lengths keep `["a", "b"]` and `["a b"]` apart.
        let mut put = |key: &str, value: &str| {
            text.extend([key, " ", &value.len().to_string(), " ", value, "\n"]);
        };
        match &self.origin {
            Origin::Image(image) => put("image", image),
            Origin::Compose { project, service } => {
                put("project", project);
                put("service", service);
            }
        }
        self.command.iter().for_each(|part| put("command", part));
        for (name, value) in &self.environment {
            put("variable", name);
            put("value", value.expose());
        }
        self.volumes.iter().for_each(|volume| put("volume", volume));
        self.networks.iter().for_each(|network| put("network", network));
        for (name, value) in &self.labels {
            put("label", name);
            put("value", value);
        }
        let numbers = [("nano_cpus", self.nano_cpus), ("memory", self.memory)];
        for (key, number) in numbers {
            number.iter().for_each(|number| put(key, &number.to_string()));
        }
        self.user.iter().for_each(|user| put("user", user));
        match self.restart {
            Restart::No => (),
            Restart::Always => put("restart", "always"),
            Restart::UnlessStopped => put("restart", "unless-stopped"),
            Restart::OnFailure(most) => put("restart", &format!("on-failure:{most}")),
        }
        self.options.parts(&mut put);
        text
    }

    /// The image to create from, by its digest where it is pinned. `None`: docker compose's.
    pub(crate) fn image_reference(&self) -> Option<String> {
        match (&self.origin, &self.pin) {
            (Origin::Compose { .. }, _) => None,
            (Origin::Image(image), None) => Some(image.clone()),
            (Origin::Image(image), Some(pin)) => Some(format!("{image}@{}", pin.digest)),
        }
    }

    /// With nothing but what the image says.
    pub(crate) fn new(origin: Origin) -> ContainerSpec {
        ContainerSpec {
            origin,
            pin: None,
            command: Vec::new(),
            environment: BTreeMap::new(),
            volumes: Vec::new(),
            nano_cpus: None,
            memory: None,
            networks: Vec::new(),
            labels: BTreeMap::new(),
            user: None,
            restart: Restart::No,
            options: ContainerOptions::default(),
        }
    }
}

impl Service {
    /// With everything else as it is when nobody says.
    pub(crate) fn new(
        name: ServiceName,
        container: ContainerSpec,
        port: u16,
        timetable: Timetable,
    ) -> Service {
        let cooldown = Duration::from_secs(60);
        Service {
            name,
            container,
            port,
            listen: None,
            routes: Vec::new(),
            timetable,
            runs: Platform::Docker,
            band: None,
            metrics: Vec::new(),
            behavior: None,
            cooldown: Cooldown { up: cooldown, down: cooldown },
            health: HealthCheck::default(),
            rollout: Rollout::default(),
            image_updates: None,
            retry: Retry::default(),
            policy: TrafficPolicy::default(),
            sleep: SleepPolicy::default(),
            forecast: ForecastConfig::default(),
            hooks: Hooks::default(),
            drain_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(10),
        }
    }

    /// One that left the config: nobody knows any more what it was made from, and none is desired.
    pub(crate) fn gone(name: ServiceName) -> Service {
        let container = ContainerSpec::new(Origin::Image(String::new()));
        Service::new(name, container, 0, Timetable::always(Bounds::exactly(0)))
    }

    /// The label `io.plimsoll.spec`: equal for containers that are made alike, and another one as
    /// soon as the config would make them otherwise.
    pub(crate) fn spec_hash(&self) -> String {
        let mut text = self.container.canonical();
        // Compose decides where its containers listen, not the config.
        if self.adopted().is_none() {
            text += &format!("port {}\n", self.port);
        }
        format!("{:016x}", fnv1a(text.as_bytes()))
    }

    /// `None`: plimsoll makes its containers, or Swarm does.
    pub(crate) fn adopted(&self) -> Option<Adopted> {
        match &self.container.origin {
            _ if self.runs != Platform::Docker => None,
            Origin::Image(_) => None,
            Origin::Compose { project, service } => Some(Adopted {
                service: self.name.clone(),
                project: project.clone(),
                of: service.clone(),
            }),
        }
    }

    /// Its bounds allow 0 replicas at some time, so a request may have to wake it.
    pub(crate) fn may_sleep(&self) -> bool {
        self.runs == Platform::Docker && self.adopted().is_none() && self.timetable.least() == 0
    }

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
    use crate::model::bounds::Bounds;
    use crate::model::container_options::ContainerOptions;
    use crate::model::schedule::Timetable;
    use crate::model::secret::Secret;
    use crate::model::service::{ContainerSpec, Origin, Percent, Restart, Service, ServiceName};

    #[test]
    fn a_spec_has_one_hash_for_ever_and_another_after_any_change() {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let plain = || ContainerSpec::new(Origin::Image("web:1".to_owned()));
        let none = ContainerOptions::default;
        let with = |options| ContainerSpec { options, ..plain() };
        let variable = |value: &str| [("A".to_owned(), Secret::new(value.to_owned()))].into();
        let label = |value: &str| [("a".to_owned(), value.to_owned())].into();
        let compose = |project: &str, service: &str| Origin::Compose {
            project: project.to_owned(),
            service: service.to_owned(),
        };
        let specs = [
            plain(),
            ContainerSpec::new(Origin::Image("web:2".to_owned())),
            ContainerSpec::new(compose("a", "b")),
            ContainerSpec::new(compose("ab", "")),
            ContainerSpec { command: texts(&["a", "b"]), ..plain() },
            ContainerSpec { command: texts(&["a b"]), ..plain() },
            ContainerSpec { environment: variable("1"), ..plain() },
            ContainerSpec { environment: variable("2"), ..plain() },
            ContainerSpec { volumes: texts(&["/a:/b"]), ..plain() },
            ContainerSpec { networks: texts(&["a", "b"]), ..plain() },
            ContainerSpec { networks: texts(&["b", "a"]), ..plain() },
            ContainerSpec { labels: label("1"), ..plain() },
            ContainerSpec { labels: label("2"), ..plain() },
            ContainerSpec { nano_cpus: Some(1), ..plain() },
            ContainerSpec { memory: Some(1), ..plain() },
            ContainerSpec { user: Some("1".to_owned()), ..plain() },
            ContainerSpec { restart: Restart::Always, ..plain() },
            ContainerSpec { restart: Restart::OnFailure(0), ..plain() },
            ContainerSpec { restart: Restart::OnFailure(1), ..plain() },
            with(ContainerOptions { entrypoint: Some(Vec::new()), ..none() }),
            with(ContainerOptions { entrypoint: Some(texts(&["a", "b"])), ..none() }),
            with(ContainerOptions { entrypoint: Some(texts(&["a b"])), ..none() }),
            with(ContainerOptions { init: Some(true), ..none() }),
            with(ContainerOptions { init: Some(false), ..none() }),
            with(ContainerOptions { read_only: true, ..none() }),
            with(ContainerOptions { hostname: Some("a".to_owned()), ..none() }),
            with(ContainerOptions { cap_add: ["A".to_owned()].into(), ..none() }),
            with(ContainerOptions { cap_drop: ["A".to_owned()].into(), ..none() }),
            with(ContainerOptions { shm_size: Some(1), ..none() }),
        ];
        let hash = |spec: &ContainerSpec, port| {
            let name = ServiceName::new("web").unwrap();
            let always = Timetable::always(Bounds::exactly(1));
            Service::new(name, spec.clone(), port, always).spec_hash()
        };
        let hashes: Vec<String> = specs.iter().map(|spec| hash(spec, 80)).collect();
        // It stands on containers that run: a new version that gives another one replaces them all.
        assert_eq!(hashes[0], "c8bee59327ed5aa5");
        for (i, one) in hashes.iter().enumerate() {
            assert!(!hashes[..i].contains(one), "{:?}", specs[i]);
            // Where compose's containers listen is found out by us, not decided.
            let is_ours = matches!(specs[i].origin, Origin::Image(_));
            assert_eq!(*one != hash(&specs[i], 81), is_ours, "{:?}", specs[i]);
        }
    }

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
