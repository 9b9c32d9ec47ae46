//! Connections and listeners of old HAProxy processes, from `/proc/PID/net/tcp`: the new process's
//! socket does not show them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use crate::outside::{Error, Result};

/// Open connections of these processes to each address. IPv6 addresses are not counted.
pub(crate) fn connections(pids: &BTreeSet<u32>, to: &[IpAddr]) -> Result<BTreeMap<IpAddr, u64>> {
    let mut all = count("", &BTreeSet::new(), to);
    for pid in pids {
        let inodes = sockets(*pid)?;
        // From its own network namespace, which in a container is not ours.
        let path = format!("/proc/{pid}/net/tcp");
        let table = match fs::read_to_string(&path) {
            Ok(table) => table,
            Err(_) if inodes.is_empty() => continue,
            Err(err) => return Err(Error::caused(format!("cannot read {path}"), err)),
        };
        for (ip, held) in count(&table, &inodes, to) {
            *all.entry(ip).or_default() += held;
        }
    }
    Ok(all)
}

/// The inodes of a process's sockets. A process that just ended has none.
fn sockets(pid: u32) -> Result<BTreeSet<String>> {
    let dir = format!("/proc/{pid}/fd");
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(err) => return Err(Error::caused(format!("cannot read {dir}"), err)),
    };
    let inode = |entry: std::io::Result<fs::DirEntry>| {
        let link = fs::read_link(entry.ok()?.path()).ok()?;
        let name = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned();
        Some(name)
    };
    Ok(entries.filter_map(inode).collect())
}

/// The ports that these processes listen on, whatever the address.
pub(crate) fn listening(pids: &BTreeSet<u32>) -> Result<BTreeSet<u16>> {
    let mut inodes = BTreeSet::new();
    for pid in pids {
        inodes.extend(sockets(*pid)?);
    }
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    // A host without IPv6 has no second one.
    let tables: String = tables.into_iter().flatten().collect();
    Ok(ports(&tables, &inodes))
}

fn ports(table: &str, inodes: &BTreeSet<String>) -> BTreeSet<u16> {
    let port = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = fields.get(1)?;
        let state = fields.get(3)?;
        let inode = fields.get(9)?;
        let is_listener = *state == LISTENING && inodes.contains(*inode);
        let port = local.rsplit(':').next().filter(|_| is_listener)?;
        u16::from_str_radix(port, 16).ok()
    };
    table.lines().filter_map(port).collect()
}

const ESTABLISHED: &str = "01";
const LISTENING: &str = "0A";

fn count(table: &str, inodes: &BTreeSet<String>, to: &[IpAddr]) -> BTreeMap<IpAddr, u64> {
    let wanted = to.iter().filter(|ip| ip.is_ipv4()).map(|ip| (*ip, 0));
    let mut counts: BTreeMap<IpAddr, u64> = wanted.collect();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (Some(remote), Some(state), Some(inode)) =
            (fields.get(2), fields.get(3), fields.get(9))
        else {
            continue;
        };
        if *state == ESTABLISHED && inodes.contains(*inode) {
            let count = address(remote).and_then(|ip| counts.get_mut(&ip));
            count.into_iter().for_each(|n| *n += 1);
        }
    }
    counts
}

/// The kernel prints the address as one number in the machine's own byte order.
fn address(field: &str) -> Option<IpAddr> {
    let (hex, _port) = field.split_once(':')?;
    let number = u32::from_str_radix(hex, 16).ok()?;
    Some(IpAddr::V4(Ipv4Addr::from(number.to_ne_bytes())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::haproxy::proc_net::{count, ports};

    #[test]
    fn only_established_connections_of_these_sockets_count() {
        let hex = |ip: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(ip));
        let near = hex([172, 17, 0, 1]);
        let far = hex([172, 17, 0, 2]);
        let row = |remote: &str, state: &str, inode: &str| {
            format!(" 0: {near}:D2F0 {remote}:1F90 {state} 0:0 00:0 0 0 0 {inode} 1 0\n")
        };
        let table = ["  sl  local rem st tx tr ret uid timeout inode\n".to_owned()]
            .into_iter()
            .chain([row(&far, "01", "7"), row(&far, "01", "8"), row(&far, "06", "7")])
            .chain([row(&near, "01", "7"), row(&far, "01", "9"), "garbage\n".to_owned()])
            .collect::<String>();
        let ours: BTreeSet<String> = ["7", "8"].map(str::to_owned).into();
        let to = ["172.17.0.2", "172.17.0.3", "fd00::2"].map(|ip| ip.parse().unwrap());
        let counts: Vec<u64> = count(&table, &ours, &to).into_values().collect();
        assert_eq!(counts, [2, 0]);
    }

    #[test]
    fn only_listeners_of_these_sockets_are_held() {
        let row = |local: &str, state: &str, inode: &str| {
            format!(" 0: {local} 00000000:0000 {state} 0:0 00:0 0 0 0 {inode} 1 0\n")
        };
        let v6 = "00000000000000000000000000000000:01BB";
        let table = ["  sl  local rem st tx tr ret uid timeout inode\n".to_owned()]
            .into_iter()
            .chain([row("0100007F:0050", "0A", "7"), row(v6, "0A", "8"), "garbage\n".to_owned()])
            .chain([row("0100007F:0051", "0A", "9"), row("0100007F:0052", "01", "7")])
            .collect::<String>();
        let ours: BTreeSet<String> = ["7", "8"].map(str::to_owned).into();
        assert_eq!(ports(&table, &ours), [80, 443].into());
    }
}
