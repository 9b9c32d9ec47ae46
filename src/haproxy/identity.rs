//! Which processes are our HAProxy. A process is known by its number and its start time, since
//! numbers are used again; both stand in a record beside the pid file for the next daemon. What a
//! process calls itself proves nothing: anybody may choose a command line.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::haproxy::process::account_uid;
use crate::haproxy::{files, render};
use crate::model::config::ProxyConfig;
use crate::outside::Result;
use crate::regular_file;

/// The kernel counts start times in hundredths of a second, on every platform that we run on.
const TICKS_PER_SECOND: u64 = 100;
/// Between the start of a process and the pid file that names it, a clock may be a bit off.
const CLOCK_SLACK_S: u64 = 2;
/// More processes than ever finish at once.
const RECORD_MAX: usize = 64;

/// What the kernel shows of a process that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ProcessInfo {
    /// Since the host's boot.
    started_ticks: u64,
    uid: u32,
    /// It has another pid namespace than the one whose `/proc` this is.
    is_nested: bool,
    /// `None`: we may not see it.
    executable: Option<PathBuf>,
    /// The file name of what it executed, which it may have changed.
    command: String,
}

/// Start times by process number.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnProcesses {
    known: BTreeMap<u32, u64>,
    is_read: bool,
}

fn record(config: &ProxyConfig) -> PathBuf {
    files::beside(&config.pid_file, "known")
}

impl OwnProcesses {
    /// Takes in what an earlier daemon wrote down, once, and what the pid file names. HAProxy
    /// writes that file itself, so it also names what a daemon began that was killed meanwhile.
    pub(crate) fn renew(&mut self, config: &ProxyConfig) {
        if !std::mem::replace(&mut self.is_read, true) {
            let text = regular_file::text(&record(config)).unwrap_or_default();
            for (pid, started) in parse(&text) {
                if started_if_running(pid) == Some(started) {
                    self.known.insert(pid, started);
                }
            }
        }
        if let Some(pid) = in_pid_file(config) {
            self.admit(config, pid);
        }
        self.known.retain(|pid, started| started_if_running(*pid) == Some(*started));
    }

    /// Whether it is ours. One that we did not know is looked at: `pid` has to come from our own
    /// socket or pid file.
    pub(crate) fn admit(&mut self, config: &ProxyConfig, pid: u32) -> bool {
        if self.runs(pid) {
            return true;
        }
        let Some(process_info) =
            process_info(pid).filter(|process_info| is_haproxy(config, process_info))
        else {
            return false;
        };
        self.known.insert(pid, process_info.started_ticks);
        true
    }

    /// It is one of ours, and has not ended.
    pub(crate) fn runs(&self, pid: u32) -> bool {
        let known = self.known.get(&pid);
        known.is_some_and(|started| started_if_running(pid) == Some(*started))
    }

    pub(crate) fn all(&self) -> Vec<u32> {
        self.known.keys().copied().collect()
    }

    /// For the next daemon.
    pub(crate) fn write(&self, config: &ProxyConfig) -> Result<()> {
        let lines = self.known.iter().rev().take(RECORD_MAX);
        let text: String = lines.map(|(pid, started)| format!("{pid} {started}\n")).collect();
        let path = record(config);
        if regular_file::text(&path).is_ok_and(|now| now == text) {
            return Ok(());
        }
        files::replace(&path, &text, files::PRIVATE)
    }
}

/// The process that was started last.
pub(crate) fn in_pid_file(config: &ProxyConfig) -> Option<u32> {
    regular_file::text(&config.pid_file).ok()?.trim().parse().ok()
}

/// An HAProxy that the pid file names and that runs as another user: as after a daemon that root
/// ran by hand. It is the one that was started then, and no later one of the same number.
pub(crate) fn foreign_process(config: &ProxyConfig) -> Option<u32> {
    let pid = in_pid_file(config)?;
    let process_info = process_info(pid)?;
    let written_s = u64::try_from(fs::metadata(&config.pid_file).ok()?.mtime()).ok()?;
    let started_s = boot_s()? + process_info.started_ticks / TICKS_PER_SECOND;
    let is_it = !is_user(config, &process_info)
        && !process_info.is_nested
        && is_executable(config, &process_info)
        && started_s <= written_s + CLOCK_SLACK_S;
    is_it.then_some(pid)
}

fn parse(record: &str) -> impl Iterator<Item = (u32, u64)> {
    record.lines().filter_map(|line| {
        let (pid, started) = line.split_once(' ')?;
        Some((pid.parse().ok()?, started.parse().ok()?))
    })
}

fn is_haproxy(config: &ProxyConfig, process_info: &ProcessInfo) -> bool {
    !process_info.is_nested && is_user(config, process_info) && is_executable(config, process_info)
}

/// Root's HAProxy goes on as the account of its package, or as whom the operator's file names.
fn is_user(config: &ProxyConfig, process_info: &ProcessInfo) -> bool {
    let own = own_uid();
    own == Some(process_info.uid)
        || own == Some(0)
            && (config.base_config.is_some()
                || account_uid(render::ACCOUNT) == Some(process_info.uid))
}

/// The configured binary may be a script that executes HAProxy, and an upgrade may have replaced
/// it meanwhile.
fn is_executable(config: &ProxyConfig, process_info: &ProcessInfo) -> bool {
    let Some(executable) = &process_info.executable else {
        return process_info.command.starts_with("haproxy");
    };
    let path = executable.to_string_lossy();
    let path = Path::new(path.strip_suffix(" (deleted)").unwrap_or(&path));
    let named = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("haproxy"));
    named || fs::canonicalize(&config.binary).is_ok_and(|binary| binary == path)
}

/// Ourselves as the kernel sees us.
pub(crate) fn own_uid() -> Option<u32> {
    uid(&fs::read_to_string("/proc/self/status").ok()?)
}

fn process_info(pid: u32) -> Option<ProcessInfo> {
    let started_ticks = started_if_running(pid)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(ProcessInfo {
        started_ticks,
        uid: uid(&status)?,
        is_nested: line(&status, "NSpid:").is_some_and(|pids| 1 < pids.split_whitespace().count()),
        executable: fs::read_link(format!("/proc/{pid}/exe")).ok(),
        command: line(&status, "Name:")?.to_owned(),
    })
}

fn line<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// The effective one.
fn uid(status: &str) -> Option<u32> {
    line(status, "Uid:")?.split_whitespace().nth(1)?.parse().ok()
}

/// A process that ended and was not waited for does not run.
fn started_if_running(pid: u32) -> Option<u64> {
    started(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name stands in brackets and may hold any character.
fn started(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let is_over = ["Z", "X", "x"].contains(fields.first()?);
    fields.get(19).filter(|_| !is_over)?.parse().ok()
}

/// When the host was booted, in seconds since 1970.
fn boot_s() -> Option<u64> {
    line(&fs::read_to_string("/proc/stat").ok()?, "btime ")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process;

    use crate::haproxy::identity::{parse, process_info, started, started_if_running};

    #[test]
    fn a_start_time_is_found_whatever_a_process_calls_itself() {
        let fields = "1 1 1 0 -1 4194560 1 0 0 0 2 1 0 0 20 0 3 0";
        for (stat, want) in [
            (format!("7 (haproxy) S {fields} 4711 1 1"), Some(4711)),
            (format!("7 (a) S 1 (b) R {fields} 4711 1 1"), Some(4711)),
            (format!("7 (haproxy) T {fields} 4711"), Some(4711)),
            (format!("7 (haproxy) Z {fields} 4711 1"), None),
            (format!("7 (haproxy) X {fields} 4711 1"), None),
            (format!("7 (haproxy) S {fields}"), None),
            ("7 (haproxy)".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(started(&stat), want, "{stat}");
        }
    }

    #[test]
    fn we_ourselves_are_seen_as_what_we_are() {
        let own = process_info(process::id()).unwrap();
        assert_eq!(started_if_running(process::id()), Some(own.started_ticks));
        assert_eq!(own.executable, std::env::current_exe().ok());
        assert!(!own.is_nested);
    }

    #[test]
    fn a_record_that_is_damaged_names_what_can_be_read() {
        let read: Vec<_> = parse("7 4711\n8\nx 1\n9 99 9\n10 12\n").collect();
        assert_eq!(read, [(7, 4711), (10, 12)]);
        assert_eq!(parse("").count(), 0);
    }
}
