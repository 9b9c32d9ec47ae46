//! HAProxy's processes: which are ours, and running its binary with a deadline.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::Duration;

use crate::child;
use crate::haproxy::files;
use crate::model::config::ProxyConfig;
use crate::model::time::Moment;
use crate::outside::{Clock, Error, Result};
use crate::plain;

/// A bind that fails is tried again by HAProxy for about 2.5 s before it gives up.
const RUN_MAX: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(5);
const SYSTEMCTL: &str = "systemctl";
/// So much of what HAProxy said goes into a message.
const WORDS_MAX: usize = 1500;

/// One start of HAProxy at a time. Its lock is shared with the process that starts, as its
/// standard input, until that one goes into the background: so it outlives a daemon that is killed,
/// and the next daemon waits for what was begun rather than miss it.
pub(crate) struct Turnstile {
    file: File,
}

pub(crate) struct Processes<'a> {
    pub(crate) config: &'a ProxyConfig,
    pub(crate) clock: &'a dyn Clock,
}

/// Time for something that gives no signal of its own.
pub(crate) struct Patience<'a> {
    clock: &'a dyn Clock,
    until: Moment,
}

impl Patience<'_> {
    /// Until the next look; false when the time is over.
    pub(crate) fn wait(&self) -> bool {
        // A worker may wait; it wakes no later than this, and maybe earlier.
        thread::park_timeout(STEP);
        self.clock.now() < self.until
    }
}

impl<'a> Processes<'a> {
    /// Every process of the host that is an HAProxy running our file.
    pub(crate) fn all(&self) -> Vec<u32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|e| e.file_name().to_str()?.parse().ok());
        pids.filter(|pid| self.is_ours(*pid)).collect()
    }

    /// Numbers are used again, so a number alone proves nothing. A process that ended and was not
    /// waited for has no command line, and is none of ours.
    pub(crate) fn is_ours(&self, pid: u32) -> bool {
        let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
        let args: Vec<&[u8]> = line.split(|b| *b == 0).collect();
        let program = args.first().copied().unwrap_or_default();
        let name = program.rsplit(|b| *b == b'/').next().unwrap_or_default();
        let file = self.config.config.as_os_str().as_encoded_bytes();
        name.starts_with(b"haproxy") && args.windows(2).any(|w| w[0] == b"-f" && w[1] == file)
    }

    pub(crate) fn patience(&self, span: Duration) -> Patience<'a> {
        Patience { clock: self.clock, until: self.clock.now().plus(span) }
    }

    /// The process that was started last.
    pub(crate) fn in_pid_file(&self) -> Option<u32> {
        plain::text(&self.config.pid_file).ok()?.trim().parse().ok()
    }

    /// Waits until nobody else starts an HAProxy of ours, and keeps others from it until dropped.
    pub(crate) fn turnstile(&self) -> Result<Turnstile> {
        let path = files::beside(&self.config.config, "lock");
        let cannot = |err| Error::caused(format!("cannot lock {}", path.display()), err);
        let file = File::create(&path).map_err(cannot)?;
        let patience = self.patience(RUN_MAX);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Turnstile { file }),
                Err(TryLockError::Error(err)) => return Err(cannot(err)),
                Err(TryLockError::WouldBlock) if patience.wait() => (),
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
    pub(crate) fn validate(&self, turnstile: &Turnstile, file: &Path) -> Result<()> {
        let mut command = child::restricted(&self.config.binary);
        command.arg("-c").args(self.base()).arg("-f").arg(file);
        self.run(turnstile, command, "the file is refused")
    }

    /// Starts a process in the background that takes over from `old`.
    pub(crate) fn launch(
        &self,
        turnstile: &Turnstile,
        old: &[u32],
        take_listeners: bool,
    ) -> Result<()> {
        let mut command = child::restricted(&self.config.binary);
        command.arg("-D").args(self.base()).arg("-f").arg(&self.config.config);
        command.arg("-p").arg(&self.config.pid_file);
        if take_listeners {
            command.arg("-x").arg(&self.config.socket);
        }
        if !old.is_empty() {
            command.arg("-sf").args(old.iter().map(u32::to_string));
        }
        self.run(turnstile, command, "it does not start")
    }

    /// systemd's own client waits until its job is done.
    pub(crate) fn systemctl(&self, turnstile: &Turnstile, verb: &str, unit: &str) -> Result<()> {
        let mut command = Command::new(SYSTEMCTL);
        command.args([verb, unit]);
        self.run(turnstile, command, &format!("`{SYSTEMCTL} {verb} {unit}` fails"))
    }

    fn said(&self) -> PathBuf {
        files::beside(&self.config.config, "said")
    }

    /// Of the command that was run last, and of what it left in the background.
    pub(crate) fn last_words(&self) -> String {
        words(&String::from_utf8_lossy(&fs::read(self.said()).unwrap_or_default()))
    }

    /// What it says goes to a file, so that no background process can keep a pipe open.
    fn run(&self, turnstile: &Turnstile, mut command: Command, what: &str) -> Result<()> {
        let said = self.said();
        let open = File::create(&said).and_then(|out| Ok((out.try_clone()?, out)));
        let (out, err) =
            open.map_err(|err| Error::caused(format!("cannot write {}", said.display()), err))?;
        let binary = command.get_program().to_string_lossy().into_owned();
        let lock = turnstile.file.try_clone();
        let lock = lock.map_err(|err| Error::caused("cannot share haproxy's lock", err))?;
        let child = command.stdin(lock).stdout(out).stderr(err).spawn();
        let child = child.map_err(|err| {
            let key = if binary == SYSTEMCTL { "mode" } else { "binary" };
            Error::caused(format!("cannot run {binary} (see load_balancer.{key})"), err)
        })?;
        let status = wait(child, &self.patience(RUN_MAX))?;
        match status {
            Some(status) if status.success() => Ok(()),
            Some(_) => Err(Error::new(format!("haproxy: {what}: {}", self.last_words()))),
            None => Err(Error::new(format!(
                "haproxy: {what}: {binary} did not end within {} s and was killed",
                RUN_MAX.as_secs()
            ))),
        }
    }
}

/// `None` when it had to be killed.
fn wait(mut child: Child, patience: &Patience) -> Result<Option<ExitStatus>> {
    let fault = |err| Error::caused("cannot wait for haproxy", err);
    loop {
        if let Some(status) = child.try_wait().map_err(fault)? {
            return Ok(Some(status));
        }
        if !patience.wait() {
            child.kill().and_then(|()| child.wait()).map_err(fault)?;
            return Ok(None);
        }
    }
}

/// Files that the kernel makes for a process belong to whom it runs as.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// Whether we may tell it to finish: it runs as we do, or is gone. Root may tell anyone.
pub(crate) fn obeys(pid: u32) -> bool {
    let uid = |process: &str| fs::metadata(format!("/proc/{process}")).ok().map(|m| m.uid());
    is_root() || uid(&pid.to_string()).is_none_or(|theirs| Some(theirs) == uid("self"))
}

/// Both as user and as group.
pub(crate) fn has_account(name: &str) -> bool {
    let names = |path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().any(|l| l.split(':').next() == Some(name))
    };
    names("/etc/passwd") && names("/etc/group")
}

/// On one line, without HAProxy's marks of level and process. Its notices name its version and
/// path, which is not why it refused.
pub(crate) fn words(said: &str) -> String {
    let plain = |line: &str| {
        let rest = line.strip_prefix('[').and_then(|l| l.split_once(" : "));
        rest.map_or(line, |(_, words)| words).trim().to_owned()
    };
    let told = said.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("[NOTICE]"));
    let lines: Vec<String> = told.map(plain).collect();
    lines.join("; ").chars().take(WORDS_MAX).collect()
}
