//! `load_balancer`: the HAProxy in front of the replicas, and who runs it.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::cursor::{Node, Section};
use crate::config::front_door;
use crate::config::listens::Listens;
use crate::config::values::{path, socket};
use crate::model::config::{HAPROXY_SOCKET_MAX, ProxyConfig, ProxyMode};
use crate::model::front_door::FrontDoor;
use crate::model::metric::Source;
use crate::model::service::{Platform, Service};

const HAPROXY_UNIT: &str = "haproxy.service";
const HAPROXY_CONTAINER: &str = "haproxy";

pub(crate) fn load_balancer(
    section: Option<Section>,
    listens: &mut Listens,
) -> (ProxyConfig, FrontDoor) {
    let mut out = ProxyConfig {
        mode: ProxyMode::Process,
        binary: PathBuf::from("/usr/sbin/haproxy"),
        base_config: None,
        config: PathBuf::from("/var/lib/plimsoll/haproxy.cfg"),
        pid_file: PathBuf::from("/run/plimsoll/haproxy.pid"),
        socket: PathBuf::from("/run/plimsoll/haproxy.sock"),
        stats_port: None,
        certificate: None,
        max_connections: None,
        hard_stop_after: Duration::from_secs(600),
        min_reload_interval: Duration::from_secs(2),
    };
    let Some(section) = section else { return (out, FrontDoor::default()) };
    out.mode = mode(&section).unwrap_or(out.mode);
    out.binary = path(section.get("binary")).unwrap_or(out.binary);
    out.base_config = path(section.get("base_config"));
    out.config = path(section.get("config")).unwrap_or(out.config);
    out.pid_file = path(section.get("pid_file")).unwrap_or(out.pid_file);
    let socket = section.get("socket").and_then(own_socket);
    out.socket = socket.unwrap_or(out.socket);
    out.certificate = certificate(&section);
    let port = section.get("stats_port").and_then(|n| n.whole(1..=65535));
    out.stats_port = port.and_then(|port| u16::try_from(port).ok());
    let most = section.get("max_connections").and_then(|n| n.whole(100..=1_000_000));
    out.max_connections = most;
    let hour = Duration::from_secs(3600);
    let hard_stop = section.get("hard_stop_after");
    let hard_stop = hard_stop.and_then(|n| n.duration(Duration::from_secs(1)..=24 * hour));
    out.hard_stop_after = hard_stop.unwrap_or(out.hard_stop_after);
    let pause = section.get("min_reload_interval");
    let pause = pause.and_then(|n| n.duration(Duration::from_millis(100)..=hour));
    out.min_reload_interval = pause.unwrap_or(out.min_reload_interval);
    same_file(&section, &out);
    let front_door = front_door::front_door(&section, &out.config, listens);
    section.done();
    (out, front_door)
}

fn mode(section: &Section) -> Option<ProxyMode> {
    let is_unit = |name: &str| {
        name.chars().all(|c| c.is_ascii_alphanumeric() || "._-@:\\".contains(c))
            && !name.starts_with('-')
    };
    let unit = section.get("unit").and_then(|n| n.text_that(is_unit, "the name of a systemd unit"));
    let is_container = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    let container =
        section.get("container").and_then(|n| n.text_that(is_container, "a container's name"));
    let node = section.get("mode");
    let allowed = "process, systemd, container or none";
    let known = |word: &str| match word {
        "process" => Some(ProxyMode::Process),
        "systemd" => Some(ProxyMode::Systemd(HAPROXY_UNIT.to_owned())),
        "container" => Some(ProxyMode::Container(HAPROXY_CONTAINER.to_owned())),
        "none" => Some(ProxyMode::None),
        _ => None,
    };
    let mode = match &node {
        Some(node) => node.word(allowed, known)?,
        None => ProxyMode::Process,
    };
    if !matches!(mode, ProxyMode::Systemd(_)) {
        section.unused("unit", "has no effect unless mode is \"systemd\"");
    }
    if !matches!(mode, ProxyMode::Container(_)) {
        section.unused("container", "has no effect unless mode is \"container\"");
    }
    Some(match mode {
        ProxyMode::Systemd(default) => ProxyMode::Systemd(unit.unwrap_or(default)),
        ProxyMode::Container(default) => ProxyMode::Container(container.unwrap_or(default)),
        ProxyMode::Process | ProxyMode::None => mode,
    })
}

fn certificate(section: &Section) -> Option<PathBuf> {
    let https = section.get("https_enabled");
    let is_on = https.as_ref().and_then(|n| n.boolean()).unwrap_or(false);
    let file = path(section.get("cert_path"));
    if https.is_none() {
        section.unused("cert_path", "has no effect without `https_enabled`");
    }
    if !is_on {
        return None;
    }
    if let Some(node) = https.filter(|_| section.get("cert_path").is_none()) {
        node.error("needs `cert_path`, the file with certificate and key");
    }
    file
}

/// Checks that need the services.
pub(crate) fn beside<'a>(
    section: &Section,
    proxy: &ProxyConfig,
    front_door: &FrontDoor,
    services: impl Iterator<Item = &'a Service>,
) {
    for frontend in &front_door.frontends {
        if let Some(node) = section.get("stats_port")
            && proxy.stats_port == Some(frontend.listen.port)
        {
            let name = &frontend.name;
            node.error(format!("is also the port of frontend {name}; choose another"));
        }
    }
    if let Some(node) = section.get("frontends").filter(|_| proxy.mode == ProxyMode::None) {
        node.warning("are not opened with mode \"none\"");
    }
    for service in services {
        let name = service.name.as_str();
        if service.policy.sticky.is_some()
            && let Some(node) =
                section.get("config").filter(|_| !front_door::is_plain(&proxy.config))
        {
            let plain = front_door::PLAIN_FILE;
            node.error(format!("must consist of {plain}, with services.{name}.sticky"));
        }
        if let (Some(node), Some(listen)) = (section.get("stats_port"), &service.listen)
            && proxy.stats_port == Some(listen.port)
        {
            node.error(format!("is also the port of services.{name}.listen; choose another"));
        }
        if let Some(node) = section.get("mode").filter(|_| proxy.mode == ProxyMode::None) {
            if service.listen.is_some() {
                node.warning(format!("with mode \"none\", services.{name}.listen is not opened"));
            }
            if service.metrics.iter().any(|m| matches!(m.source, Source::Haproxy(_))) {
                node.error(format!(
                    "with mode \"none\", services.{name}.metrics cannot use source haproxy"
                ));
            }
        }
        if let Some(node) = section.get("hard_stop_after")
            && service.runs == Platform::Docker
            && proxy.hard_stop_after < service.drain_timeout
        {
            node.warning(format!(
                "is shorter than services.{name}.drain_timeout ({} s): after a reload, requests \
                 may be cut before that time",
                service.drain_timeout.as_secs()
            ));
        }
    }
}

/// HAProxy expands environment variables in a socket's path, even in quotes.
fn own_socket(node: Node) -> Option<PathBuf> {
    if node.string.as_deref().is_some_and(|text| text.contains('$')) {
        node.error("must not contain `$`, which HAProxy expands as a variable");
        return None;
    }
    socket(node, HAPROXY_SOCKET_MAX)
}

/// Two files of the same path would overwrite each other.
fn same_file(section: &Section, proxy: &ProxyConfig) {
    let files =
        [("config", &proxy.config), ("pid_file", &proxy.pid_file), ("socket", &proxy.socket)];
    let base = proxy.base_config.as_ref().map(|base| ("base_config", base));
    let files: Vec<_> = base.into_iter().chain(files).collect();
    for (i, (key, path)) in files.iter().enumerate() {
        if let Some((other, _)) = files[..i].iter().find(|(_, p)| p == path)
            && let Some(node) = section.get(key)
        {
            node.error(format!("is the same file as {other}"));
        }
    }
}
