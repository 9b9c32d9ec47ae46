//! Running HAProxy's binary, and what helps it, with a deadline and a bound on what is output.

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

/// A bind that fails is tried again by HAProxy for about 2.5 s before it gives up.
const RUN_MAX: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(5);
const SYSTEMCTL: &str = "systemctl";
/// So much of what HAProxy output goes into a message.
const MESSAGE_CHARS_MAX: usize = 1500;
/// So much of the end of what a command says is kept.
const OUTPUT_KEPT_MAX: usize = 64 << 10;
/// Whoever says more than this is ended: HAProxy says a few lines for each that it dislikes.
const OUTPUT_MAX: usize = 16 << 20;

/// One start of HAProxy at a time. Its lock is shared with the process that starts, as its
/// standard input, until that one goes into the background: so it outlives a daemon that is killed,
/// and the next daemon waits for what was begun rather than miss it.
pub(crate) struct StartLock {
    file: File,
}

pub(crate) struct Processes<'a> {
    pub(crate) config: &'a ProxyConfig,
    pub(crate) clock: &'a dyn Clock,
}

/// Time for something that gives no signal of its own.
pub(crate) struct PollDeadline<'a> {
    clock: &'a dyn Clock,
    until: Moment,
}

impl PollDeadline<'_> {
    /// Until the next look; false when the time is over.
    pub(crate) fn wait(&self) -> bool {
        // A worker may wait; it wakes no later than this, and maybe earlier.
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

    /// Waits until nobody else starts an HAProxy of ours, and keeps others from it until dropped.
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
                        "haproxy: a start that another daemon began does not end; \
                         `fuser {}` tells which process it is",
                        path.display()
                    )));
                }
            }
        }
    }

    /// The operator's own file is read before ours.
    fn base(&self) -> Vec<&OsStr> {
        let base = self.config.base_config.as_deref();
        base.map(|base| vec![OsStr::new("-f"), base.as_os_str()]).unwrap_or_default()
    }

    /// Whether HAProxy takes the file; its own words when it does not.
    pub(crate) fn validate(&self, start_lock: &StartLock, file: &Path) -> Result<Validation> {
        let mut command = child::restricted(&self.config.binary);
        command.arg("-c").args(self.base()).arg("-f").arg(file);
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

    /// Starts a process in the background that takes over from `old`. Gives what it goes on to say.
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
        self.run_well(start_lock, command, "it does not start")
    }

    /// systemd's own client waits until its job is done.
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

    /// At once, and whatever it is doing.
    pub(crate) fn kill(&self, start_lock: &StartLock, pid: u32) -> Result<()> {
        // A part of every shell, while the program of that name is not everywhere.
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

    /// Whether it ended well, and what it output. Nothing is output in a file, where it could fill a
    /// disk, and a background process that keeps the other end keeps nobody here.
    fn run(
        &self,
        start_lock: &StartLock,
        mut command: Command,
        what: &str,
    ) -> Result<(bool, ChildOutput)> {
        let cannot = |err| Error::caused("cannot listen to haproxy", err);
        let (mut output, out, err) = ChildOutput::pair().map_err(cannot)?;
        let binary = command.get_program().to_string_lossy().into_owned();
        let lock = start_lock.file.try_clone();
        let lock = lock.map_err(|err| Error::caused("cannot share haproxy's lock", err))?;
        let child = command.stdin(lock).stdout(out).stderr(err).spawn();
        // It has ends of its own of what it says.
        drop(command);
        let mut child = child.map_err(|err| {
            let key = if binary == SYSTEMCTL { "mode" } else { "binary" };
            Error::caused(format!("cannot run {binary} (see load_balancer.{key})"), err)
        })?;
        let deadline = self.deadline(RUN_MAX);
        let fault = |err| Error::caused("cannot wait for haproxy", err);
        loop {
            if let Some(status) = child.try_wait().map_err(fault)? {
                return Ok((status.success(), output));
            }
            let has_time = output.receive(&deadline);
            if !has_time || OUTPUT_MAX < output.length {
                end(&mut child).map_err(fault)?;
                let why = if has_time {
                    format!("says more than {} MB", OUTPUT_MAX >> 20)
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

/// What HAProxy makes of a file.
pub(crate) enum Validation {
    Accepted,
    Refused(RefusedConfig),
}

/// Why HAProxy refuses a file.
#[derive(Clone, Debug)]
pub(crate) struct RefusedConfig {
    /// For the operator.
    pub(crate) message: String,
    /// As HAProxy output it.
    pub(crate) output: String,
}

/// What a command says, and what it left in the background: the end of it.
pub(crate) struct ChildOutput {
    /// `None`: nobody is there any more who could say something.
    stream: Option<UnixStream>,
    end: Vec<u8>,
    /// Of all that was output.
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

    /// Until something is output or a step is over; false when the time is over.
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

    /// With what was output since, if that does not go on and on.
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

/// Of an account that there is as user and as group.
pub(crate) fn account_uid(name: &str) -> Option<u32> {
    let line = |path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|l| l.split(':').next() == Some(name));
        line.map(str::to_owned)
    };
    line("/etc/group")?;
    line("/etc/passwd")?.split(':').nth(2)?.parse().ok()
}

/// On one line, without HAProxy's marks of level and process. Its notices name its version and
/// path, which is not why it refused.
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
