//! CPU and memory use of a container from its control group, version 1 or 2, any driver.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::model::replica::ContainerId;
use crate::outside::{Error, Result};

/// An open CPU time counter. Each read costs one system call.
pub(crate) struct CpuFile {
    file: File,
    kind: CgroupVersion,
}

/// The open files with memory use. Each read costs two system calls, one of which makes the kernel
/// write a table.
pub(crate) struct MemoryFiles {
    usage: File,
    /// `memory.stat`.
    table: File,
    kind: CgroupVersion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CgroupVersion {
    V1,
    V2,
}

impl CpuFile {
    /// Of the group that this process of the container is in.
    pub(crate) fn open(pid: u32, container: &ContainerId) -> Result<CpuFile> {
        let candidates = groups("cpuacct", &groups_of(pid, container)?);
        let open = |(kind, group): &(CgroupVersion, String)| {
            let name = match kind {
                // Nanoseconds, nothing else.
                CgroupVersion::V1 => "cpuacct.usage",
                // A table, `usage_usec` among it.
                CgroupVersion::V2 => "cpu.stat",
            };
            let file = File::open(format!("{group}/{name}")).ok()?;
            Some(CpuFile { file, kind: *kind })
        };
        candidates.iter().find_map(open).ok_or_else(|| unreadable("processor", pid))
    }

    /// Nanoseconds in all. An error once the group is gone, as after a restart of the container.
    pub(crate) fn read(&self) -> Result<u64> {
        let text = read(&self.file, "cpu counter")?;
        parse_cpu(self.kind, &text).ok_or_else(|| Error::new("cpu counter holds no number"))
    }
}

impl MemoryFiles {
    /// Of the group that this process of the container is in.
    pub(crate) fn open(pid: u32, container: &ContainerId) -> Result<MemoryFiles> {
        let candidates = groups("memory", &groups_of(pid, container)?);
        let open = |(kind, group): &(CgroupVersion, String)| {
            let name = match kind {
                CgroupVersion::V1 => "memory.usage_in_bytes",
                CgroupVersion::V2 => "memory.current",
            };
            let usage = File::open(format!("{group}/{name}")).ok()?;
            let table = File::open(format!("{group}/memory.stat")).ok()?;
            Some(MemoryFiles { usage, table, kind: *kind })
        };
        candidates.iter().find_map(open).ok_or_else(|| unreadable("memory", pid))
    }

    /// Bytes in use, without the pages of files that the kernel would give up first.
    pub(crate) fn read(&self) -> Result<u64> {
        let usage = read(&self.usage, "memory")?;
        let table = read(&self.table, "memory.stat")?;
        parse_memory(self.kind, &usage, &table)
            .ok_or_else(|| Error::new("unknown format of the memory files of a control group"))
    }
}

/// Where Docker or plimsoll is in another pid namespace, or on another host, some other process has
/// this number: the name of a container's group has its id.
fn groups_of(pid: u32, container: &ContainerId) -> Result<String> {
    let path = format!("/proc/{pid}/cgroup");
    let groups = fs::read_to_string(&path).map_err(|err| Error::caused(path.clone(), err))?;
    if is_of(&groups, container) {
        return Ok(groups);
    }
    Err(Error::new(format!("process {pid} is not in container {container}")))
}

fn is_of(groups: &str, container: &ContainerId) -> bool {
    !container.0.is_empty() && groups.contains(&container.0)
}

fn unreadable(what: &str, pid: u32) -> Error {
    Error::new(format!("no readable {what} counter for process {pid} below /sys/fs/cgroup"))
}

fn read(file: &File, what: &str) -> Result<String> {
    let mut bytes = [0; 8192];
    let length = file.read_at(&mut bytes, 0).map_err(|err| Error::caused(what, err))?;
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

fn parse_cpu(kind: CgroupVersion, text: &str) -> Option<u64> {
    match kind {
        CgroupVersion::V1 => text.trim().parse().ok(),
        CgroupVersion::V2 => row(text, "usage_usec")?.checked_mul(1000),
    }
}

fn parse_memory(kind: CgroupVersion, usage: &str, table: &str) -> Option<u64> {
    let cache = match kind {
        // With the groups below, as the usage is.
        CgroupVersion::V1 => "total_inactive_file",
        CgroupVersion::V2 => "inactive_file",
    };
    // The files are read one after the other, so the cache may exceed the usage.
    Some(usage.trim().parse::<u64>().ok()?.saturating_sub(row(table, cache)?))
}

/// The number after this word in a table of words and numbers.
fn row(table: &str, word: &str) -> Option<u64> {
    let rest = table.lines().find_map(|l| l.strip_prefix(word)?.strip_prefix(' '))?;
    rest.trim().parse().ok()
}

/// Folders of the group, likeliest first. With both versions mounted, version 1 holds the
/// controllers.
fn groups(controller: &str, proc_cgroup: &str) -> Vec<(CgroupVersion, String)> {
    let mut found = Vec::new();
    let lines = proc_cgroup.lines().map(|l| l.splitn(3, ':').collect::<Vec<_>>());
    for parts in lines {
        let [number, controllers, group] = parts[..] else { continue };
        if controllers.split(',').any(|c| c == controller) {
            // Some systems mount two controllers as one, in either order of their names.
            for mount in [controllers, controller, "cpu,cpuacct"] {
                found.push((CgroupVersion::V1, format!("/sys/fs/cgroup/{mount}{group}")));
            }
        } else if number == "0" && controllers.is_empty() {
            found.push((CgroupVersion::V2, format!("/sys/fs/cgroup{group}")));
        }
    }
    found.sort_by_key(|(kind, _)| *kind == CgroupVersion::V2);
    found
}

#[cfg(test)]
mod tests {
    use crate::docker::cgroup::{CgroupVersion, groups, is_of, parse_cpu, parse_memory};
    use crate::model::replica::ContainerId;

    #[test]
    fn a_process_is_the_containers_if_its_group_has_the_id() {
        for (groups, id, want) in [
            ("0::/system.slice/docker-ab12.scope\n", "ab12", true),
            ("0::/../../docker/ab12/init.scope\n", "ab12", true),
            ("4:cpu,cpuacct:/docker/ab12\n0::/\n", "ab12", true),
            ("0::/system.slice/docker-ab13.scope\n", "ab12", false),
            ("0::/user.slice\n", "ab12", false),
            ("0::/user.slice\n", "", false),
        ] {
            assert_eq!(is_of(groups, &ContainerId(id.to_owned())), want, "{groups} {id}");
        }
    }

    #[test]
    fn the_group_is_found_in_either_version() {
        for (controller, text, first) in [
            (
                "cpuacct",
                "0::/system.slice/docker-ab.scope\n",
                "/sys/fs/cgroup/system.slice/docker-ab.scope",
            ),
            (
                "cpuacct",
                "0::/docker/ab\n4:memory:/docker/cd\n3:cpuacct:/docker/ab\n",
                "/sys/fs/cgroup/cpuacct/docker/ab",
            ),
            (
                "memory",
                "0::/docker/ab\n4:memory:/docker/cd\n3:cpuacct:/docker/ab\n",
                "/sys/fs/cgroup/memory/docker/cd",
            ),
            ("cpuacct", "5:cpu,cpuacct:/docker/ab\n", "/sys/fs/cgroup/cpu,cpuacct/docker/ab"),
        ] {
            assert_eq!(groups(controller, text)[0].1, first, "{controller} of {text}");
        }
        assert!(groups("cpuacct", "4:memory:/docker/ab\nnonsense\n\n").is_empty());
    }

    #[test]
    fn counters_are_nanoseconds() {
        assert_eq!(parse_cpu(CgroupVersion::V1, "123\n"), Some(123));
        assert_eq!(parse_cpu(CgroupVersion::V2, "usage_usec 12\nuser_usec 7\n"), Some(12_000));
        assert_eq!(parse_cpu(CgroupVersion::V2, "user_usec 7\n"), None);
        assert_eq!(parse_cpu(CgroupVersion::V1, ""), None);
    }

    #[test]
    fn cached_files_are_no_memory_in_use() {
        let v1 = "inactive_file 1\ntotal_inactive_file 30\ntotal_active_file 9\n";
        let v2 = "anon 5\ninactive_file 30\nactive_file 9\n";
        for (kind, usage, table, want) in [
            (CgroupVersion::V1, "100\n", v1, Some(70)),
            (CgroupVersion::V2, "100\n", v2, Some(70)),
            (CgroupVersion::V2, "30\n", v2, Some(0)),
            (CgroupVersion::V2, "29\n", v2, Some(0)),
            (CgroupVersion::V1, "100\n", v2, None),
            (CgroupVersion::V2, "max\n", v2, None),
            (CgroupVersion::V2, "100\n", "inactive_file_dirty 3\n", None),
        ] {
            assert_eq!(parse_memory(kind, usage, table), want, "{kind:?} {usage}{table}");
        }
    }
}
