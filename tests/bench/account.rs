//! What the kernel counts for a process. Processor time includes that of threads that have ended.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::fs;

/// Of the kernel's account: USER_HZ is 100 on Linux.
const MS_A_JIFFY: u64 = 10;

/// utime and stime.
pub(crate) fn cpu_ms(pid: u32) -> u64 {
    let fields = stat_fields(pid);
    (fields[11] + fields[12]) * MS_A_JIFFY
}

/// cutime and cstime of this process: of the children that were waited for.
pub(crate) fn children_ms() -> u64 {
    let fields = stat_fields(std::process::id());
    (fields[13] + fields[14]) * MS_A_JIFFY
}

fn stat_fields(pid: u32) -> Vec<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = text.rsplit_once(')').unwrap();
    rest.split_whitespace().map(|f| f.parse().unwrap_or(0)).collect()
}

/// Voluntary context switches of the threads that live.
pub(crate) fn switches(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let of = |path: std::path::PathBuf| {
        let text = fs::read_to_string(path.join("status")).ok()?;
        let line = text.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    };
    tasks.filter_map(|task| of(task.path())).sum()
}

/// The number of a line of `/proc/PID/status`.
pub(crate) fn status(pid: u32, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(key)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

pub(crate) fn open_files(pid: u32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64
}

/// The one that answers at the usual socket; others may run beside it.
pub(crate) fn dockerd() -> u32 {
    let text = fs::read_to_string("/var/run/docker.pid").expect("dockerd runs");
    text.trim().parse().unwrap()
}
