//! The default of `load_balancer.max_connections`. Without `maxconn`, HAProxy allocates memory for
//! the limit of file descriptors, which may be a billion.

use std::fs;

use crate::model::config::ProxyConfig;

const MOST: u64 = 20_000;
const LEAST: u64 = 100;
/// Memory of one connection: buffers of both sides and the kernel's share of both sockets.
const BYTES_EACH: u64 = 40 << 10;

/// The config with `max_connections` set. With a base config it is left alone: that file may have
/// `maxconn`, and HAProxy takes the first one.
pub(crate) fn with_max_connections(config: &ProxyConfig) -> ProxyConfig {
    let mut config = config.clone();
    if config.base_config.is_none() {
        let most = config.max_connections.unwrap_or_else(|| connections(memory(), descriptors()));
        config.max_connections = Some(most);
    }
    config
}

/// A quarter of the memory and of the descriptors. A client needs two descriptors, or four if its
/// requests pass HAProxy twice (`retry: "safe"`), and servers and health checks need some. An
/// unknown amount is no limit.
fn connections(memory: Option<u64>, descriptors: Option<u64>) -> u32 {
    let by_memory = memory.map_or(MOST, |bytes| bytes / 4 / BYTES_EACH);
    let by_descriptors = descriptors.map_or(MOST, |count| count / 4);
    let most = MOST.min(by_memory).min(by_descriptors).max(LEAST);
    u32::try_from(most).unwrap_or(u32::MAX)
}

/// Memory of the host, in bytes.
fn memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The limit of file descriptors for child processes; `None` if it is `unlimited`.
fn descriptors() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use crate::haproxy::limits::{connections, descriptors, memory};

    #[test]
    fn the_scarcest_of_memory_and_descriptors_decides_how_many_clients_there_may_be() {
        const GIB: u64 = 1 << 30;
        for (memory, descriptors, want) in [
            (None, None, 20_000),
            (Some(64 * GIB), Some(1_073_741_816), 20_000),
            (Some(64 * GIB), Some(80_000), 20_000),
            (Some(64 * GIB), Some(79_999), 19_999),
            (Some(GIB), Some(1 << 20), 6_553),
            (Some(GIB / 2), None, 3_276),
            (Some(64 * GIB), Some(1024), 256),
            (Some(64 * GIB), Some(64), 100),
            (Some(0), Some(0), 100),
        ] {
            assert_eq!(connections(memory, descriptors), want, "{memory:?} {descriptors:?}");
        }
    }

    #[test]
    fn this_host_tells_its_memory_and_descriptors() {
        assert!(memory().is_some_and(|bytes| 1 << 20 < bytes));
        assert!(descriptors().is_some_and(|count| 64 < count));
    }
}
