//! `load_balancer`: the HAProxy that we start.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::cursor::Section;
use crate::config::daemon::path;
use crate::model::config::ProxyConfig;

/// HAProxy first makes a socket under a longer name, in the 107 bytes that the kernel allows.
const SOCKET_BYTES_MAX: usize = 97;

pub(crate) fn load_balancer(section: Option<Section>) -> ProxyConfig {
    let mut out = ProxyConfig {
        binary: PathBuf::from("/usr/sbin/haproxy"),
        config: PathBuf::from("/var/lib/plimsoll/haproxy.cfg"),
        pid_file: PathBuf::from("/run/plimsoll/haproxy.pid"),
        socket: PathBuf::from("/run/plimsoll/haproxy.sock"),
        hard_stop_after: Duration::from_secs(600),
        min_reload_interval: Duration::from_secs(2),
    };
    let Some(section) = section else { return out };
    out.binary = path(section.get("binary"), out.binary);
    out.config = path(section.get("config"), out.config);
    out.pid_file = path(section.get("pid_file"), out.pid_file);
    out.socket = path(section.get("socket"), out.socket);
    if SOCKET_BYTES_MAX < length(&out.socket)
        && let Some(node) = section.get("socket")
    {
        node.error(format!(
            "is {} bytes long; a socket's path may have {SOCKET_BYTES_MAX} at most",
            length(&out.socket)
        ));
    }
    let hour = Duration::from_secs(3600);
    let hard_stop = section.get("hard_stop_after");
    let hard_stop = hard_stop.and_then(|n| n.duration(Duration::from_secs(1)..=24 * hour));
    out.hard_stop_after = hard_stop.unwrap_or(out.hard_stop_after);
    let pause = section.get("min_reload_interval");
    let pause = pause.and_then(|n| n.duration(Duration::from_millis(100)..=hour));
    out.min_reload_interval = pause.unwrap_or(out.min_reload_interval);
    section.done();
    out
}

fn length(path: &Path) -> usize {
    path.as_os_str().len()
}
