//! Which processes are our HAProxy. A process is identified by number and start time, since numbers
//! are reused; both are recorded beside the pid file for the next daemon. A command line proves
//! nothing: any process can choose its own.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::haproxy::process::account_uid;
use crate::haproxy::{files, render};
use crate::model::config::ProxyConfig;
use crate::outside::Result;
use crate::regular_file;

/// Unit of start times in /proc (USER_HZ), the same on every platform that plimsoll supports.
const TICKS_PER_SECOND: u64 = 100;
/// Tolerance between the start time of a process and the time of its pid file.
const CLOCK_SLACK_S: u64 = 2;
/// Processes in the record; more never finish at once.
const RECORD_MAX: usize = 64;

/// What /proc shows of a running process.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ProcessInfo {
    /// Since the host's boot.
    started_ticks: u64,
    uid: u32,
    /// It has another pid namespace than the one whose `/proc` this is.
    is_nested: bool,
    /// `None`: not readable for us.
    executable: Option<PathBuf>,
    /// The process name (`Name` in status), which the process can change.
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
    /// Reads the record of an earlier daemon, once, and the pid file. HAProxy writes the pid file
    /// itself, so it also names a process whose daemon was killed during the start.
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

    /// Whether the process is ours. An unknown one is examined and remembered; `pid` must come from
    /// our own socket or pid file.
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

    /// Whether it is a known process of ours and still running.
    pub(crate) fn runs(&self, pid: u32) -> bool {
        let known = self.known.get(&pid);
        known.is_some_and(|started| started_if_running(pid) == Some(*started))
    }

    pub(crate) fn all(&self) -> Vec<u32> {
        self.known.keys().copied().collect()
    }

    /// Writes the record for the next daemon.
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

/// An HAProxy that the pid file names and that runs as another user, for instance after root ran
/// the daemon by hand. Its start time is compared with the file's, since numbers are reused.
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

/// HAProxy started by root changes to its package's account, or to the base config's `user`.
fn is_user(config: &ProxyConfig, process_info: &ProcessInfo) -> bool {
    let own = own_uid();
    own == Some(process_info.uid)
        || own == Some(0)
            && (config.base_config.is_some()
                || account_uid(render::ACCOUNT) == Some(process_info.uid))
}

/// The configured binary may be a script that executes HAProxy, or an upgrade may have replaced it.
fn is_executable(config: &ProxyConfig, process_info: &ProcessInfo) -> bool {
    let Some(executable) = &process_info.executable else {
        return process_info.command.starts_with("haproxy");
    };
    let path = executable.to_string_lossy();
    let path = Path::new(path.strip_suffix(" (deleted)").unwrap_or(&path));
    let named = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("haproxy"));
    named || fs::canonicalize(&config.binary).is_ok_and(|binary| binary == path)
}

/// The effective user id of this process.
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

/// The effective user id in `/proc/PID/status`.
fn uid(status: &str) -> Option<u32> {
    line(status, "Uid:")?.split_whitespace().nth(1)?.parse().ok()
}

/// The start time of a running process. A zombie is not running.
fn started_if_running(pid: u32) -> Option<u64> {
    started(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The start time in `/proc/PID/stat`. The process name is in brackets and may hold any character.
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
