//! `load_balancer`: the HAProxy that we start.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::cursor::{Node, Section};
use crate::config::daemon::path;
use crate::model::config::ProxyConfig;

/// The kernel allows so many bytes for the name of a socket.
pub(crate) const SUN_PATH_MAX: usize = 107;
/// HAProxy first makes a socket under a longer name.
const HAPROXY_SOCKET_MAX: usize = 97;

pub(crate) fn load_balancer(section: Option<Section>) -> ProxyConfig {
    let mut out = ProxyConfig {
        binary: PathBuf::from("/usr/sbin/haproxy"),
        base_config: None,
        config: PathBuf::from("/var/lib/plimsoll/haproxy.cfg"),
        pid_file: PathBuf::from("/run/plimsoll/haproxy.pid"),
        socket: PathBuf::from("/run/plimsoll/haproxy.sock"),
        hard_stop_after: Duration::from_secs(600),
        min_reload_interval: Duration::from_secs(2),
    };
    let Some(section) = section else { return out };
    mode(&section);
    out.binary = path(section.get("binary")).unwrap_or(out.binary);
    out.base_config = path(section.get("base_config"));
    out.config = path(section.get("config")).unwrap_or(out.config);
    out.pid_file = path(section.get("pid_file")).unwrap_or(out.pid_file);
    let socket = section.get("socket").and_then(|n| socket(n, HAPROXY_SOCKET_MAX));
    out.socket = socket.unwrap_or(out.socket);
    tls(&section);
    stats_port(&section);
    let hour = Duration::from_secs(3600);
    let hard_stop = section.get("hard_stop_after");
    let hard_stop = hard_stop.and_then(|n| n.duration(Duration::from_secs(1)..=24 * hour));
    out.hard_stop_after = hard_stop.unwrap_or(out.hard_stop_after);
    let pause = section.get("min_reload_interval");
    let pause = pause.and_then(|n| n.duration(Duration::from_millis(100)..=hour));
    out.min_reload_interval = pause.unwrap_or(out.min_reload_interval);
    same_file(&section, &out);
    section.done();
    out
}

/// Another mode would start no HAProxy of ours, so that it cannot be passed over with a warning.
fn mode(section: &Section) {
    let allowed = "process, systemd, container or none";
    let known = |word: &str| ["process", "systemd", "container", "none"].contains(&word);
    if let Some(node) = section.get("mode")
        && let Some(word) = node.word(allowed, |word| known(word).then(|| word.to_owned()))
        && word != "process"
    {
        node.error(format!("{word} is not there in this version; \"process\" is"));
    }
    for key in ["unit", "container"] {
        if let Some(node) = section.get(key) {
            node.text();
        }
        section.idle(key);
    }
}

fn tls(section: &Section) {
    let https = section.get("https_enabled");
    let is_on = https.as_ref().and_then(|n| n.boolean()).unwrap_or(false);
    let cert = section.get("cert_path");
    path(section.get("cert_path"));
    if let Some(node) = https.filter(|_| is_on) {
        if cert.is_none() {
            node.error("needs `cert_path`, the file with certificate and key");
        }
        section.idle("https_enabled");
    }
}

fn stats_port(section: &Section) {
    if let Some(node) = section.get("stats_port") {
        node.whole(1..=65535);
        section.idle("stats_port");
    }
}

pub(crate) fn socket(node: Node, longest: usize) -> Option<PathBuf> {
    let length = node.string.as_deref().map_or(0, str::len);
    if longest < length {
        node.error(format!("is {length} bytes long; a socket's path may have {longest} at most"));
        return None;
    }
    path(Some(node))
}

/// Each would overwrite what the other holds.
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
