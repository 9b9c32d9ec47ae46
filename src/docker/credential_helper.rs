//! Runs a program `docker-credential-NAME`, which keeps credentials outside of the file: in a
//! keychain, or as the tokens of a cloud. It has a deadline and a bound on its output. What it
//! prints is shown to nobody unless it fails.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::child;
use crate::docker::docker_config::{Credential, Registry};
use crate::model::metric::shortened;
use crate::model::terminal::plain_line;
use crate::outside::Clock;

/// The helper of a cloud asks that cloud, which may take seconds.
pub(crate) const RUN_MAX: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(10);
/// Bytes of output. An answer is a token of some kilobytes.
const OUTPUT_MAX: usize = 64 << 10;
/// Characters of a failed helper's own words.
const WORDS_MAX: usize = 200;
/// What every helper prints for a registry that it does not know.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// Where helpers are, and how long one may take.
pub(crate) struct CredentialHelpers<'a> {
    /// As the variable PATH.
    pub(crate) path: OsString,
    pub(crate) run_max: Duration,
    pub(crate) clock: &'a dyn Clock,
}

pub(crate) fn program(name: &str) -> String {
    format!("docker-credential-{name}")
}

impl CredentialHelpers<'_> {
    pub(crate) fn of_host(clock: &dyn Clock) -> CredentialHelpers<'_> {
        let path = env::var_os("PATH").unwrap_or_default();
        CredentialHelpers { path, run_max: RUN_MAX, clock }
    }

    /// The file of the program in PATH.
    pub(crate) fn find(&self, name: &str) -> Result<PathBuf, String> {
        let program = program(name);
        let is_program = |path: &PathBuf| {
            let meta = fs::metadata(path);
            meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        };
        let mut folders = env::split_paths(&self.path).filter(|folder| folder.is_absolute());
        let found = folders.find_map(|folder| Some(folder.join(&program)).filter(is_program));
        found.ok_or_else(|| {
            let path = self.path.to_string_lossy();
            format!("{program} is not in PATH ({path})")
        })
    }

    /// The credentials for a registry; `None`: the helper has none. An error says why it cannot be
    /// known, and has nothing of the helper's answer in it.
    pub(crate) fn get(&self, name: &str, of: &Registry) -> Result<Option<Credential>, String> {
        let path = self.find(name)?;
        let shown = program(name);
        let mut command = child::restricted(&path);
        command.arg("get");
        let run = self.run(command, of.key().as_bytes());
        let (status, out, err) = match run {
            Ok(HelperEnd::Itself { status, out, err }) => (status, out, err),
            Ok(HelperEnd::Late) => {
                let seconds = self.run_max.as_secs();
                return Err(format!("{shown} did not end within {seconds} s and was killed"));
            }
            Ok(HelperEnd::TooLong) => {
                let kib = OUTPUT_MAX >> 10;
                return Err(format!("{shown} wrote more than {kib} KiB and was killed"));
            }
            Err(err) => return Err(format!("{shown} cannot be run: {err}")),
        };
        if !status.success() {
            let words = String::from_utf8_lossy(&out);
            if words.trim() == NOT_FOUND {
                return Ok(None);
            }
            return Err(format!("{shown} failed ({status}){}", own_words(&out, &err)));
        }
        let credential = Credential::of_helper(&out, of);
        credential.map(Some).ok_or_else(|| {
            format!(
                "{shown} gave no credentials: it must print {{\"Username\", \"Secret\"}} as JSON"
            )
        })
    }

    fn run(&self, mut command: Command, input: &[u8]) -> io::Result<HelperEnd> {
        let (mut out, out_end) = HelperOutput::pair()?;
        let (mut err, err_end) = HelperOutput::pair()?;
        // A group of its own, so that what the helper started is killed with it.
        let command = command.process_group(0);
        let child = command.stdin(Stdio::piped()).stdout(out_end).stderr(err_end).spawn()?;
        let mut child = GroupLeader { child, has_ended: false };
        let until = self.clock.now().plus(self.run_max);
        if let Some(mut stdin) = child.child.stdin.take() {
            // One that does not read it may be gone already. It is shorter than a pipe's room.
            drop(stdin.write_all(input));
        }
        loop {
            // The status first: what an ended helper wrote is all there.
            let status = child.child.try_wait()?;
            child.has_ended = status.is_some();
            out.receive()?;
            err.receive()?;
            if OUTPUT_MAX < out.bytes.len().max(err.bytes.len()) {
                return Ok(HelperEnd::TooLong);
            }
            if let Some(status) = status {
                return Ok(HelperEnd::Itself { status, out: out.bytes, err: err.bytes });
            }
            if until <= self.clock.now() {
                return Ok(HelperEnd::Late);
            }
            // Only the thread of a pull waits here.
            thread::park_timeout(STEP);
        }
    }
}

enum HelperEnd {
    Itself { status: ExitStatus, out: Vec<u8>, err: Vec<u8> },
    Late,
    TooLong,
}

/// Unless it has ended, it is killed with its whole group when this is dropped.
struct GroupLeader {
    child: Child,
    /// Its number may be another process's by now.
    has_ended: bool,
}

impl Drop for GroupLeader {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| !self.has_ended) {
            // There may be nobody left.
            let _ = kill_process_group(pid, Signal::KILL);
            drop(self.child.wait());
        }
    }
}

/// Our end of a socket that a helper writes to. Others that keep its end hold nobody up.
struct HelperOutput {
    stream: UnixStream,
    bytes: Vec<u8>,
}

impl HelperOutput {
    fn pair() -> io::Result<(HelperOutput, Stdio)> {
        let (stream, theirs) = UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        Ok((HelperOutput { stream, bytes: Vec::new() }, OwnedFd::from(theirs).into()))
    }

    /// Takes what is there, up to a little more than OUTPUT_MAX.
    fn receive(&mut self) -> io::Result<()> {
        let mut part = [0; 8 << 10];
        while self.bytes.len() <= OUTPUT_MAX {
            match self.stream.read(&mut part) {
                Ok(0) => break,
                Ok(length) => self.bytes.extend_from_slice(&part[..length]),
                Err(err) if err.kind() == ErrorKind::WouldBlock => break,
                Err(err) if err.kind() == ErrorKind::Interrupted => (),
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }
}

/// Of a helper that failed: helpers print their errors to standard output. Whatever looks like an
/// answer is not shown.
fn own_words(out: &[u8], err: &[u8]) -> String {
    let first = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned);
        line.filter(|_| !text.contains('{'))
    };
    let line = first(out).or_else(|| first(err));
    line.map(|line| format!(": {}", plain_line(&shortened(&line, WORDS_MAX)))).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests;
