//! The processor time of a container from its control group, version 1 or 2, whichever driver.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::outside::{Error, Result};

/// An open counter. Reading it again costs one system call.
pub(crate) struct CpuFile {
    file: File,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `cpuacct.usage`: nanoseconds, nothing else.
    V1,
    /// `cpu.stat`: a table, `usage_usec` among it.
    V2,
}

impl CpuFile {
    /// Of the group that this process is in.
    pub(crate) fn open(pid: u32) -> Result<CpuFile> {
        let path = format!("/proc/{pid}/cgroup");
        let text = fs::read_to_string(&path).map_err(|err| Error::caused(path.clone(), err))?;
        for (kind, candidate) in candidates(&text) {
            if let Ok(file) = File::open(&candidate) {
                return Ok(CpuFile { file, kind });
            }
        }
        Err(Error::new(format!("no readable processor counter for {path} below /sys/fs/cgroup")))
    }

    /// Nanoseconds in all. An error once the group is gone, as after a restart of the container.
    pub(crate) fn read(&self) -> Result<u64> {
        let mut bytes = [0; 4096];
        let length =
            self.file.read_at(&mut bytes, 0).map_err(|err| Error::caused("cpu counter", err))?;
        let text = String::from_utf8_lossy(&bytes[..length]);
        parse(self.kind, &text).ok_or_else(|| Error::new("cpu counter holds no number"))
    }
}

fn parse(kind: Kind, text: &str) -> Option<u64> {
    match kind {
        Kind::V1 => text.trim().parse().ok(),
        Kind::V2 => {
            let usec = text.lines().find_map(|l| l.strip_prefix("usage_usec "))?;
            usec.trim().parse::<u64>().ok()?.checked_mul(1000)
        }
    }
}

/// Where the counter may be, likeliest first. With both versions mounted, version 1 holds the
/// controllers.
fn candidates(proc_cgroup: &str) -> Vec<(Kind, String)> {
    let mut found = Vec::new();
    let lines = proc_cgroup.lines().map(|l| l.splitn(3, ':').collect::<Vec<_>>());
    for parts in lines {
        let [number, controllers, group] = parts[..] else { continue };
        if controllers.split(',').any(|c| c == "cpuacct") {
            for mount in [controllers, "cpuacct", "cpu,cpuacct"] {
                let path = format!("/sys/fs/cgroup/{mount}{group}/cpuacct.usage");
                found.push((Kind::V1, path));
            }
        } else if number == "0" && controllers.is_empty() {
            found.push((Kind::V2, format!("/sys/fs/cgroup{group}/cpu.stat")));
        }
    }
    found.sort_by_key(|(kind, _)| *kind == Kind::V2);
    found
}

#[cfg(test)]
mod tests {
    use crate::docker::cgroup::{Kind, candidates, parse};

    #[test]
    fn the_counter_is_found_in_either_version() {
        for (text, first) in [
            (
                "0::/system.slice/docker-ab.scope\n",
                "/sys/fs/cgroup/system.slice/docker-ab.scope/cpu.stat",
            ),
            (
                "0::/docker/ab\n4:memory:/docker/ab\n3:cpuacct:/docker/ab\n",
                "/sys/fs/cgroup/cpuacct/docker/ab/cpuacct.usage",
            ),
            ("5:cpu,cpuacct:/docker/ab\n", "/sys/fs/cgroup/cpu,cpuacct/docker/ab/cpuacct.usage"),
        ] {
            assert_eq!(candidates(text)[0].1, first, "{text}");
        }
        assert!(candidates("4:memory:/docker/ab\nnonsense\n\n").is_empty());
    }

    #[test]
    fn counters_are_nanoseconds() {
        assert_eq!(parse(Kind::V1, "123\n"), Some(123));
        assert_eq!(parse(Kind::V2, "usage_usec 12\nuser_usec 7\n"), Some(12_000));
        assert_eq!(parse(Kind::V2, "user_usec 7\n"), None);
        assert_eq!(parse(Kind::V1, ""), None);
    }
}
