//! Runs HAProxy's binary, `systemctl` and `kill`, with a deadline and a bound on their output.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::child;
use crate::haproxy::files;
use crate::model::config::ProxyConfig;
use crate::model::time::Moment;
use crate::outside::{Clock, Error, Result};
use crate::regular_file;

/// HAProxy retries a failed bind for about 2.5 s before it gives up.
const RUN_MAX: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(5);
const SYSTEMCTL: &str = "systemctl";
/// Characters of HAProxy's output in an error message.
const MESSAGE_CHARS_MAX: usize = 1500;
/// Bytes that are kept of the end of a command's output.
const OUTPUT_KEPT_MAX: usize = 64 << 10;
/// Bytes after which a command is killed. HAProxy writes a few lines for each problem.
const OUTPUT_MAX: usize = 16 << 20;

/// A file lock that allows one start of HAProxy at a time. The starting process inherits it as
/// standard input and holds it until it goes into the background. So the lock outlives a daemon
/// that is killed, and the next daemon waits for the start instead of missing it.
pub(crate) struct StartLock {
    file: File,
}

pub(crate) struct Processes<'a> {
    pub(crate) config: &'a ProxyConfig,
    pub(crate) clock: &'a dyn Clock,
}

/// A deadline for something that has to be polled.
pub(crate) struct PollDeadline<'a> {
    clock: &'a dyn Clock,
    until: Moment,
}

impl PollDeadline<'_> {
    /// Waits until the next poll; false when the time is over.
    pub(crate) fn wait(&self) -> bool {
        // Only worker threads wait here. They wake after STEP at the latest.
        thread::park_timeout(STEP);
        self.has_time()
    }

    fn has_time(&self) -> bool {
        self.clock.now() < self.until
    }
}

impl<'a> Processes<'a> {
    pub(crate) fn deadline(&self, span: Duration) -> PollDeadline<'a> {
        PollDeadline { clock: self.clock, until: self.clock.now().plus(span) }
    }

    /// Waits until nobody else starts an HAProxy of ours. Others wait until it is dropped.
    pub(crate) fn start_lock(&self) -> Result<StartLock> {
        let path = files::beside(&self.config.config, "lock");
        let cannot = |err| Error::caused(format!("cannot lock {}", path.display()), err);
        let file = regular_file::lock_file(&path).map_err(cannot)?;
        let deadline = self.deadline(RUN_MAX);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(StartLock { file }),
                Err(TryLockError::Error(err)) => return Err(cannot(err)),
                Err(TryLockError::WouldBlock) if deadline.wait() => (),
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::new(format!(
                        "haproxy: another daemon's start of HAProxy does not end; `fuser {}` shows \
                         the process that holds the lock",
                        path.display()
                    )));
                }
            }
        }
    }

    /// The operator's base config is read before our file.
    fn base(&self) -> Vec<&OsStr> {
        let base = self.config.base_config.as_deref();
        base.map(|base| vec![OsStr::new("-f"), base.as_os_str()]).unwrap_or_default()
    }

    /// Runs `haproxy -c` on the files together.
    pub(crate) fn validate(&self, start_lock: &StartLock, files: &[&Path]) -> Result<Validation> {
        let mut command = child::restricted(&self.config.binary);
        command.arg("-c");
        for file in files {
            command.arg("-f").arg(file);
        }
        let what = "the file is refused";
        let (is_success, mut output) = self.run(start_lock, command, what)?;
        if is_success {
            return Ok(Validation::Accepted);
        }
        let output = output.text();
        Ok(Validation::Refused(RefusedConfig {
            message: format!("haproxy: {what}: {}", message_of(&output)),
            output,
        }))
    }

    /// Starts a process in the background that takes over from `old`. Returns its further output.
    pub(crate) fn launch(
        &self,
        start_lock: &StartLock,
        old: &[u32],
        take_listeners: bool,
    ) -> Result<ChildOutput> {
        let mut command = child::restricted(&self.config.binary);
        command.arg("-D").args(self.base()).arg("-f").arg(&self.config.config);
        command.arg("-p").arg(&self.config.pid_file);
        if take_listeners {
            command.arg("-x").arg(&self.config.socket);
        }
        if !old.is_empty() {
            command.arg("-sf").args(old.iter().map(u32::to_string));
        }
        self.run_well(start_lock, command, "HAProxy does not start")
    }

    /// `systemctl` waits until its job is done.
    pub(crate) fn systemctl(
        &self,
        start_lock: &StartLock,
        verb: &str,
        unit: &str,
    ) -> Result<ChildOutput> {
        let mut command = Command::new(SYSTEMCTL);
        command.args([verb, unit]);
        self.run_well(start_lock, command, &format!("`{SYSTEMCTL} {verb} {unit}` fails"))
    }

    /// Kills the process with SIGKILL.
    pub(crate) fn kill(&self, start_lock: &StartLock, pid: u32) -> Result<()> {
        // `kill` is built into every shell; the program of that name is not on every host.
        let mut command = Command::new("sh");
        command.args(["-c", "kill -KILL \"$0\"", &pid.to_string()]);
        self.run_well(start_lock, command, &format!("process {pid} cannot be killed")).map(drop)
    }

    fn run_well(
        &self,
        start_lock: &StartLock,
        command: Command,
        what: &str,
    ) -> Result<ChildOutput> {
        match self.run(start_lock, command, what)? {
            (true, output) => Ok(output),
            (false, mut output) => {
                Err(Error::new(format!("haproxy: {what}: {}", output.message())))
            }
        }
    }

    /// Runs the command to its end and returns whether its exit code was 0, with its output. The
    /// output goes through a socket: a file could fill the disk. A background process that keeps
    /// its end of the socket does not block this call.
    fn run(
        &self,
        start_lock: &StartLock,
        mut command: Command,
        what: &str,
    ) -> Result<(bool, ChildOutput)> {
        let cannot = |err| Error::caused("haproxy: cannot read the output of its command", err);
        let (mut output, out, err) = ChildOutput::pair().map_err(cannot)?;
        let binary = command.get_program().to_string_lossy().into_owned();
        let lock = start_lock.file.try_clone();
        let lock =
            lock.map_err(|err| Error::caused("haproxy: cannot share the start lock", err))?;
        let child = command.stdin(lock).stdout(out).stderr(err).spawn();
        // Closes our copies of the child's ends of the socket.
        drop(command);
        let mut child = child.map_err(|err| {
            let key = if binary == SYSTEMCTL { "mode" } else { "binary" };
            Error::caused(format!("cannot run {binary} (see load_balancer.{key})"), err)
        })?;
        let deadline = self.deadline(RUN_MAX);
        let fault = |err| Error::caused("haproxy: cannot wait for its command", err);
        loop {
            if let Some(status) = child.try_wait().map_err(fault)? {
                return Ok((status.success(), output));
            }
            let has_time = output.receive(&deadline);
            if !has_time || OUTPUT_MAX < output.length {
                end(&mut child).map_err(fault)?;
                let why = if has_time {
                    format!("wrote more than {} MB of output", OUTPUT_MAX >> 20)
                } else {
                    format!("did not end within {} s", RUN_MAX.as_secs())
                };
                return Err(Error::new(format!("haproxy: {what}: {binary} {why} and was killed")));
            }
        }
    }
}

fn end(child: &mut Child) -> std::io::Result<()> {
    child.kill()?;
    child.wait().map(drop)
}

/// The result of `haproxy -c`.
pub(crate) enum Validation {
    Accepted,
    Refused(RefusedConfig),
}

/// Why HAProxy refuses a file.
#[derive(Clone, Debug)]
pub(crate) struct RefusedConfig {
    /// For the operator.
    pub(crate) message: String,
    /// HAProxy's output, unchanged.
    pub(crate) output: String,
}

/// The end of the output of a command and of the background process that it left.
pub(crate) struct ChildOutput {
    /// `None`: every process that could write to it has ended.
    stream: Option<UnixStream>,
    end: Vec<u8>,
    /// Bytes of all output, kept or not.
    length: usize,
}

impl ChildOutput {
    fn pair() -> std::io::Result<(ChildOutput, Stdio, Stdio)> {
        let (ours, out) = UnixStream::pair()?;
        ours.set_read_timeout(Some(STEP))?;
        let err = out.try_clone()?;
        let output = ChildOutput { stream: Some(ours), end: Vec::new(), length: 0 };
        Ok((output, OwnedFd::from(out).into(), OwnedFd::from(err).into()))
    }

    /// Waits for output, for STEP at most; false when the time is over.
    fn receive(&mut self, deadline: &PollDeadline) -> bool {
        let Some(stream) = &mut self.stream else { return deadline.wait() };
        let mut part = [0; 16 << 10];
        match stream.read(&mut part) {
            Ok(0) => self.stream = None,
            Ok(length) => self.append(&part[..length]),
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => (),
            Err(_) => self.stream = None,
        }
        deadline.has_time()
    }

    fn append(&mut self, part: &[u8]) {
        self.length = self.length.saturating_add(part.len());
        self.end.extend_from_slice(part);
        let too_much = self.end.len().saturating_sub(OUTPUT_KEPT_MAX);
        self.end.drain(..too_much);
    }

    /// All output so far, up to OUTPUT_MAX.
    pub(crate) fn text(&mut self) -> String {
        let mut part = [0; 16 << 10];
        while let Some(stream) = &mut self.stream
            && self.length < OUTPUT_MAX
        {
            match stream.read(&mut part) {
                Ok(length) if 0 < length => self.append(&part[..length]),
                Ok(_) | Err(_) => break,
            }
        }
        String::from_utf8_lossy(&self.end).into_owned()
    }

    pub(crate) fn message(&mut self) -> String {
        message_of(&self.text())
    }
}

/// The user id of an account, if there is also a group of its name.
pub(crate) fn account_uid(name: &str) -> Option<u32> {
    let line = |path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|l| l.split(':').next() == Some(name));
        line.map(str::to_owned)
    };
    line("/etc/group")?;
    line("/etc/passwd")?.split(':').nth(2)?.parse().ok()
}

/// HAProxy's output on one line, without its prefixes of level and process. Notices are left out:
/// they name its version and path, not the reason.
pub(crate) fn message_of(output: &str) -> String {
    let plain = |line: &str| {
        let rest = line.strip_prefix('[').and_then(|l| l.split_once(" : "));
        rest.map_or(line, |(_, text)| text).trim().to_owned()
    };
    let shown =
        output.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("[NOTICE]"));
    let lines: Vec<String> = shown.map(plain).collect();
    lines.join("; ").chars().take(MESSAGE_CHARS_MAX).collect()
}
