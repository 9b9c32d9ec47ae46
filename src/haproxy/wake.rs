//! Renders what a backend has whose service may sleep: the server that wakes it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::haproxy::quoting::quoted;
use crate::model::config::HAPROXY_SOCKET_MAX;
use crate::model::proxy::{Backend, WakeServer};
use crate::model::sleep::{WAKE_SERVER, abstract_wake_socket, wake_socket};
use crate::model::traffic_policy::Protocol;

/// Between two tries of one request at the same server: HAProxy waits for a second, or for
/// `timeout connect` if that is shorter.
const RETRY: Duration = Duration::from_millis(500);

/// The `Retry-After` of a request that waited in the queue for too long, in seconds.
const RETRY_AFTER: u32 = 10;

/// `socket` is HAProxy's. The server stands before `default-server`: it has no health check, one
/// request at a time, and no idle connection. While the daemon is restarted nobody accepts there,
/// and a request is tried again for as long as it may wait.
pub(crate) fn render(backend: &Backend, socket: &Path, sees_files: bool, out: &mut String) {
    let Some(WakeServer { policy, .. }) = &backend.wake else { return };
    let name = backend.service.as_str();
    if backend.policy.retries.is_none() {
        let tries = policy.wake_timeout.as_millis().div_ceil(RETRY.as_millis());
        let _ = writeln!(out, "    retries {tries}");
    }
    if backend.policy.protocol != Protocol::Tcp {
        let _ = writeln!(
            out,
            "    http-error status 503 content-type text/plain string \"No replica is ready. Try \
             again later.\\n\" hdr Retry-After {RETRY_AFTER}"
        );
    }
    let path = wake_socket(socket, name);
    let address = if sees_files && path.as_os_str().len() <= HAPROXY_SOCKET_MAX {
        quoted(&format!("unix@{}", path.display()))
    } else {
        format!("abns@{}", abstract_wake_socket(socket, name))
    };
    let proto = if backend.policy.protocol == Protocol::H2 { " proto h2" } else { "" };
    let _ = writeln!(out, "    server {WAKE_SERVER} {address} maxconn 1 pool-max-conn 0{proto}");
}
