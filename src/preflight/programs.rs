//! Checks of the programs that the daemon starts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::child;
use crate::model::config::ProxyConfig;
use crate::outside::Clock;
use crate::preflight::Finding;
use crate::preflight::version::{haproxy_version, version};
use crate::regular_file;

/// The oldest HAProxy that accepts the generated config.
const OLDEST: (u32, u32) = (2, 4);

pub(super) fn haproxy(proxy: &ProxyConfig, clock: &dyn Clock) -> Finding {
    let binary = proxy.binary.display();
    let remedy = "install HAProxy 2.4 or later, or set load_balancer.binary to its path";
    let Some(text) = haproxy_version(proxy, clock) else {
        let why = if is_program(&proxy.binary) {
            "does not show its version"
        } else {
            "is not a program"
        };
        return Finding::fails("haproxy", format!("{binary} {why}")).remedy(remedy);
    };
    let Some(version) = version(&text) else {
        let first = text.lines().next().unwrap_or_default();
        return Finding::fails("haproxy", format!("{binary} is not HAProxy: it prints {first:?}"))
            .remedy(remedy);
    };
    let (major, minor) = version;
    if version < OLDEST {
        return Finding::fails("haproxy", format!("{binary} is version {major}.{minor}"))
            .remedy(remedy);
    }
    Finding::good("haproxy", format!("{binary} is {major}.{minor}"))
}

/// The groups that HAProxy keeps of the running daemon, or of one that this user starts.
pub(super) fn groups(pid: Option<u32>) -> Option<Finding> {
    let process = pid.map_or("self".to_owned(), |pid| pid.to_string());
    let status = regular_file::text(Path::new(&format!("/proc/{process}/status"))).ok()?;
    let (groups, program) = child::kept_groups(&status)?;
    let words = format!(
        "{program} does not exist, so HAProxy keeps the daemon's groups ({groups}); with group \
         docker, an attacker who takes over HAProxy has root"
    );
    Some(Finding::warning("haproxy.groups", words).remedy("install util-linux, which contains it"))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
