//! `services`: what is to run, how many of it, and how it is asked whether it can serve.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jsonc_parser::ast::Value;

use crate::config::cursor::{Node, Section};
use crate::config::{hours, units};
use crate::model::schedule::{Timetable, Window};
use crate::model::service::{
    Band, Bounds, ContainerSpec, Cooldown, HealthCheck, HealthKind, Listen, Percent, Service,
    ServiceName,
};

const HOUR: Duration = Duration::from_secs(3600);
/// Docker refuses less.
const MEMORY_MIN: u64 = 6 << 20;

/// `hours` are the business hours of services that have none of their own.
pub(crate) fn services(
    root: &Section,
    hours: Option<&Window>,
) -> Option<BTreeMap<ServiceName, Arc<Service>>> {
    let need = root.need("services", "an object that names what is to run")?;
    let section = need.section()?;
    let mut services = BTreeMap::new();
    let mut listens: BTreeMap<u16, Vec<(Option<IpAddr>, String)>> = BTreeMap::new();
    for (name, node) in section.entries() {
        let Some(good) = ServiceName::new(name) else {
            section.bad_name(
                name,
                "a service name starts with a letter or digit and has letters, digits, \
                 `_`, `.` and `-` only, 63 at most",
            );
            continue;
        };
        let Some(body) = node.section() else { continue };
        let listen = body.get("listen").map(|n| (listen(&n), n));
        if let Some((Some(listen), node)) = &listen {
            let taken = listens.entry(listen.port).or_default();
            let clash = taken
                .iter()
                .find(|(a, _)| a.is_none() || *a == listen.address || listen.address.is_none());
            if let Some((_, other)) = clash {
                node.error(format!("{listen} is taken by services.{other} already"));
            }
            taken.push((listen.address, name.to_owned()));
        }
        let listen = listen.and_then(|(listen, _)| listen);
        if let Some(service) = service(good.clone(), listen, hours, body) {
            services.insert(good, Arc::new(service));
        }
    }
    Some(services)
}

fn service(
    name: ServiceName,
    listen: Option<Listen>,
    default_hours: Option<&Window>,
    section: Section,
) -> Option<Service> {
    let container = container(&section);
    let port = section.need("port", "the port that a replica listens on, in its container");
    let port = port.and_then(|n| self::port(&n));
    let bounds = bounds(&section);
    let hours = hours::hours(&section, default_hours, bounds);
    let schedules = hours::schedules(section.get("schedules"));
    let band = band(&section, bounds);
    let cooldown = cooldown(section.get("cooldown_period"));
    let health = health(section.section("health_check"));
    let drain_timeout = section.get("drain_timeout");
    let drain_timeout = drain_timeout.and_then(|n| n.duration(Duration::ZERO..=24 * HOUR));
    let stop_timeout = section.get("stop_timeout");
    let stop_timeout = stop_timeout.and_then(|n| n.duration(Duration::ZERO..=HOUR));
    section.done();
    Some(Service {
        name,
        container: container?,
        port: port?,
        listen,
        timetable: Timetable { bounds: bounds?, hours: hours?, schedules },
        band,
        cooldown,
        health,
        drain_timeout: drain_timeout.unwrap_or(Duration::from_secs(30)),
        stop_timeout: stop_timeout.unwrap_or(Duration::from_secs(10)),
    })
}

fn container(section: &Section) -> Option<ContainerSpec> {
    let image = section.need("image", "the image that its containers are made from");
    let image = image.and_then(|n| {
        let text = n.text()?;
        if text.contains(char::is_whitespace) {
            n.wrong("an image name without spaces")
        } else {
            Some(text)
        }
    });
    let texts = |key| section.get(key).and_then(|n: Node| n.texts()).unwrap_or_default();
    let cpus = section.get("cpus").and_then(|n| n.hundredths(1..=1024_00, " of cores"));
    Some(ContainerSpec {
        command: texts("command"),
        environment: environment(section.get("environment")),
        volumes: texts("volumes"),
        nano_cpus: cpus.map(|h| h * 10_000_000),
        memory: section.get("memory").and_then(|n| memory(&n)),
        image: image?.to_owned(),
    })
}

fn environment(node: Option<Node>) -> BTreeMap<String, String> {
    let Some(section) = node.and_then(|n| n.section()) else { return BTreeMap::new() };
    let mut out = BTreeMap::new();
    for (key, node) in section.entries() {
        if key.is_empty() || key.contains(['=', '\0']) {
            section.bad_name(key, "the name of a variable is not empty and has no `=`");
            continue;
        }
        // A container's variable may be empty, other than our own texts.
        let value = match node.value {
            Value::StringLit(lit) if !lit.value.contains('\0') => Some(lit.value.to_string()),
            Value::NumberLit(lit) => Some(lit.value.to_owned()),
            Value::BooleanLit(lit) => Some(lit.value.to_string()),
            _ => node.wrong("a text"),
        };
        out.extend(value.map(|value| (key.to_owned(), value)));
    }
    out
}

fn memory(node: &Node) -> Option<u64> {
    let bytes = match node.value {
        Value::NumberLit(lit) => units::bytes(lit.value),
        Value::StringLit(lit) => units::bytes(&lit.value),
        _ => None,
    };
    bytes
        .filter(|b| MEMORY_MIN <= *b)
        .or_else(|| node.wrong(r#"a size of at least 6m: bytes, or like "512m" or "2g""#))
}

fn port(node: &Node) -> Option<u16> {
    node.whole(1..=65535).and_then(|n| u16::try_from(n).ok())
}

/// A port, or `address:port`.
fn listen(node: &Node) -> Option<Listen> {
    let Value::StringLit(lit) = node.value else {
        return port(node).map(|port| Listen { address: None, port });
    };
    let address = lit.value.parse::<SocketAddr>().ok().filter(|a| a.port() != 0);
    match address {
        Some(address) => Some(Listen { address: Some(address.ip()), port: address.port() }),
        None => node.wrong(r#"a port like 80, or an address and port like "127.0.0.1:80""#),
    }
}

pub(crate) fn bounds(section: &Section) -> Option<Bounds> {
    let min = section.get("min_replicas");
    let max = section.need("max_replicas", "the most replicas there may be")?;
    let low = min.as_ref().map_or(Some(1), |n| n.whole(0..=Bounds::MAX));
    let high = max.whole(1..=Bounds::MAX);
    let (low, high) = (low?, high?);
    Bounds::new(low, high).or_else(|| {
        let default = if min.is_none() { "the default of " } else { "" };
        max.error(format!("{high} is less than {default}min_replicas ({low})"));
        None
    })
}

fn band(section: &Section, bounds: Option<Bounds>) -> Option<Band> {
    let read = |key| {
        let node: Option<Node> = section.get(key);
        let value = node.as_ref().map(|n| n.hundredths(0..=10_000_00, " in percent"));
        (node, value)
    };
    let (upper_node, upper) = read("scale_up_threshold");
    let (lower_node, lower) = read("scale_down_threshold");
    let (upper, lower) = match (upper, lower) {
        (None, None) => {
            if bounds.is_some_and(|b| b.min() != b.max()) {
                section.error(
                    "nothing to scale by: set scale_up_threshold and scale_down_threshold, \
                     or make min_replicas and max_replicas equal",
                );
            }
            return None;
        }
        (Some(_), None) | (None, Some(_)) => {
            let node = upper_node.or(lower_node)?;
            node.error("needs its counterpart: set scale_up_threshold and scale_down_threshold");
            return None;
        }
        (Some(upper), Some(lower)) => (upper?, lower?),
    };
    let (upper, lower) = (Percent::from_hundredths(upper), Percent::from_hundredths(lower));
    if let Some(min) = section.get("min_replicas").filter(|_| bounds.is_some_and(|b| b.min() == 0))
    {
        min.warning(
            "with no replica there is no CPU load to measure, so none is ever started by load; \
             set 1 unless a schedule starts the first",
        );
    }
    let node = lower_node?;
    let band = Band::new(lower, upper);
    if band.is_none() {
        node.error(format!("{lower} is not less than scale_up_threshold ({upper})"));
    }
    if let Some(bounds) = bounds.filter(|b| b.min() < b.max() && band.is_some()) {
        warn_of_bounce(&node, bounds, lower, upper);
    }
    band
}

/// At the lower threshold, the last step down concentrates the load most.
fn warn_of_bounce(node: &Node, bounds: Bounds, lower: Percent, upper: Percent) {
    let to = u64::from(bounds.min().max(1));
    let projected = Percent::from_hundredths(lower.hundredths() * (to + 1) / to);
    if upper <= projected && to < u64::from(bounds.max()) {
        node.warning(format!(
            "at {lower} on {} replicas, {to} would carry {projected}, which is not under \
             scale_up_threshold ({upper}): the step is not taken until load falls further",
            to + 1
        ));
    }
}

fn cooldown(node: Option<Node>) -> Cooldown {
    let default = Duration::from_secs(60);
    let allowed = Duration::ZERO..=24 * HOUR;
    let both = |span| Cooldown { up: span, down: span };
    let Some(node) = node else { return both(default) };
    if !matches!(node.value, Value::Object(_)) {
        return both(node.duration(allowed).unwrap_or(default));
    }
    let Some(section) = node.section() else { return both(default) };
    let read = |key| section.get(key).and_then(|n: Node| n.duration(allowed.clone()));
    let (up, down) = (read("up").unwrap_or(default), read("down").unwrap_or(default));
    section.done();
    Cooldown { up, down }
}

fn health(section: Option<Section>) -> HealthCheck {
    let (interval, timeout) = (Duration::from_secs(10), Duration::from_secs(5));
    let Some(section) = section else {
        return HealthCheck { kind: HealthKind::Tcp, port: None, interval, timeout };
    };
    let path = section.get("path");
    let kind = section.get("type").and_then(|n| {
        let text = n.text()?;
        if matches!(text, "http" | "tcp") { Some(text) } else { n.wrong("http or tcp") }
    });
    let kind = match (kind, path) {
        (Some("tcp"), Some(path)) => {
            path.error("a health check of type tcp asks no path");
            HealthKind::Tcp
        }
        (Some("tcp") | None, None) => HealthKind::Tcp,
        (_, path) => {
            let path = path.and_then(|n| health_path(&n));
            HealthKind::Http { path: path.unwrap_or_else(|| "/".to_owned()) }
        }
    };
    let check_port = section.get("port").and_then(|n| port(&n));
    let span =
        |key| section.get(key).map(|n: Node| (n.duration(Duration::from_millis(100)..=HOUR), n));
    let read = span("interval").and_then(|(span, _)| span).unwrap_or(interval);
    let wait = span("timeout");
    let waited = wait.as_ref().and_then(|(span, _)| *span).unwrap_or(timeout.min(read));
    if read < waited
        && let Some((_, node)) = &wait
    {
        let (timeout, interval) = (units::show(waited), units::show(read));
        node.error(format!("{timeout} is more than interval ({interval})"));
    }
    section.done();
    HealthCheck { kind, port: check_port, interval: read, timeout: waited }
}

fn health_path(node: &Node) -> Option<String> {
    let text = node.text()?;
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\'#".contains(&b));
    if text.starts_with('/') && plain {
        Some(text.to_owned())
    } else {
        node.wrong(
            "a path like \"/health\": it starts with `/` and has no spaces, quotes, `\\` or `#`",
        )
    }
}
