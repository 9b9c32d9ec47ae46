//! The three ways to run HAProxy (`load_balancer.mode`): how each reloads, and which processes
//! belong to it.
//!
//! In mode `process` plimsoll starts each new process itself. Under systemd and in a container,
//! HAProxy runs as a master with workers: the master starts a new worker, and the worker that
//! answers on the socket is the one that serves.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::haproxy::Haproxy;
use crate::haproxy::process::{ChildOutput, RefusedConfig, StartLock, Validation, message_of};
use crate::model::config::ProxyMode;
use crate::outside::{Error, Result};

impl Haproxy {
    /// Whether the process is ours. An HAProxy of somebody else is left alone.
    pub(crate) fn owns(&self, process: u32) -> bool {
        match self.config.mode {
            ProxyMode::Process => self.own_processes().admit(&self.config, process),
            // Only our file names the socket, so the process that answers there has read our file.
            ProxyMode::Systemd(_) | ProxyMode::Container(_) => true,
            ProxyMode::None => false,
        }
    }

    pub(crate) fn is_own_process(&self) -> bool {
        self.config.mode == ProxyMode::Process
    }

    /// Runs `haproxy -c` on the file after the base config, in the container if HAProxy is in one.
    pub(crate) fn validate(&self, start_lock: &StartLock, file: &Path) -> Result<Validation> {
        let base = self.config.base_config.as_deref();
        let files: Vec<&Path> = base.into_iter().chain([file]).collect();
        self.validate_files(start_lock, &files)
    }

    /// False: HAProxy's container is not running, and needs its files to start.
    pub(crate) fn can_validate(&self) -> Result<bool> {
        let ProxyMode::Container(container) = &self.config.mode else { return Ok(true) };
        Ok(self.container_control.main_process(container)?.is_some())
    }

    pub(crate) fn validate_files(
        &self,
        start_lock: &StartLock,
        files: &[&Path],
    ) -> Result<Validation> {
        let ProxyMode::Container(container) = &self.config.mode else {
            return self.processes().validate(start_lock, files);
        };
        if !self.can_validate()? {
            return Ok(Validation::Accepted);
        }
        let files: Vec<_> = files.iter().map(|p| p.to_string_lossy().into_owned()).collect();
        let named = files.iter().flat_map(|file| ["-f", file.as_str()]);
        let command: Vec<&str> = ["haproxy", "-c"].into_iter().chain(named).collect();
        let output = self.container_control.run(container, &command)?;
        if output.is_success {
            return Ok(Validation::Accepted);
        }
        let output = output.text;
        let reason = message_of(&output);
        let message = format!("haproxy: the file is refused in container {container}: {reason}");
        Ok(Validation::Refused(RefusedConfig { message, output }))
    }

    /// Starts the process that replaces those in `old`, or has systemd or the master start it. In
    /// mode `process` returns its further output.
    pub(crate) fn start_reload(
        &self,
        start_lock: &StartLock,
        old: &[u32],
        serves: bool,
    ) -> Result<Option<ChildOutput>> {
        match &self.config.mode {
            ProxyMode::Process => self.processes().launch(start_lock, old, serves).map(Some),
            ProxyMode::Systemd(unit) => {
                let verb = if serves { "reload" } else { "reload-or-restart" };
                self.processes().systemctl(start_lock, verb, unit).map(|_| None)
            }
            ProxyMode::Container(container) => {
                self.is_reloadable(container)?;
                self.container_control.signal(container, "USR2").map(|()| None)
            }
            ProxyMode::None => {
                Err(Error::new("haproxy: nothing to reload, load_balancer.mode is \"none\""))
            }
        }
    }

    /// Looks up the master before its workers are counted: it may be known to an earlier daemon
    /// only.
    pub(crate) fn refresh_master_pid(&self) {
        if let ProxyMode::Container(container) = &self.config.mode
            && let Ok(master) = self.container_control.main_process(container)
        {
            *self.master() = master;
        }
    }

    /// An error unless the container runs a master with workers (`-W`): only a master reloads on a
    /// signal.
    pub(crate) fn is_reloadable(&self, container: &str) -> Result<()> {
        let Some(master) = self.container_control.main_process(container)? else {
            return Err(Error::new(format!(
                "haproxy: container {container} is not running (see load_balancer.container); run \
                 `docker start {container}`"
            )));
        };
        *self.master() = Some(master);
        // Not visible if plimsoll itself runs in a container; then the reload shows it.
        let Ok(line) = fs::read(format!("/proc/{master}/cmdline")) else { return Ok(()) };
        let mut arguments = line.split(|b| *b == 0);
        if arguments.any(|a| a == b"-W" || a == b"-Ws") {
            return Ok(());
        }
        Err(Error::new(format!(
            "haproxy: container {container} runs HAProxy without -W, so it cannot reload; start it \
             with `haproxy -W -db -f {}`",
            self.config.config.display()
        )))
    }

    /// The old processes that are still finishing. `None`: they are not visible from here.
    pub(crate) fn old_pids(&self) -> Option<BTreeSet<u32>> {
        let current = self.pids().current;
        match self.config.mode {
            ProxyMode::Process => {
                let mut pids = self.pids();
                let own_processes = self.own_processes();
                pids.old.retain(|pid| own_processes.runs(*pid));
                Some(pids.old.clone())
            }
            ProxyMode::Systemd(_) => workers(parent(current?)?, current?),
            ProxyMode::Container(_) => {
                let master = *self.master();
                workers(master?, current?)
            }
            ProxyMode::None => Some(BTreeSet::new()),
        }
    }

    /// Whether the serving process exists. Cheap: reads /proc only.
    pub(crate) fn is_there(&self) -> bool {
        match self.config.mode {
            ProxyMode::Process => {
                let current = self.pids().current;
                current.is_some_and(|pid| self.own_processes().runs(pid))
            }
            ProxyMode::Systemd(_) => self.pids().current.is_some_and(is_haproxy),
            ProxyMode::Container(_) => self.master().is_some_and(is_haproxy),
            ProxyMode::None => false,
        }
    }
}

fn is_haproxy(process: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{process}/comm"));
    name.is_ok_and(|name| name.starts_with("haproxy"))
}

fn parent(process: u32) -> Option<u32> {
    field(&fs::read_to_string(format!("/proc/{process}/status")).ok()?, "PPid:")
}

/// The last number of a line of `/proc/PID/status`.
fn field(status: &str, name: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().last()?.parse().ok()
}

/// The workers of the master except `current`, which is a number of the innermost pid namespace.
fn workers(master: u32, current: u32) -> Option<BTreeSet<u32>> {
    let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).ok()?;
    let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    let is_old = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        // A zombie has no connections any more.
        let is_gone = status.lines().any(|l| l.starts_with("State:\tZ")) || status.is_empty();
        !is_gone && is_haproxy(*pid) && field(&status, "NSpid:") != Some(current)
    };
    Some(children.filter(is_old).collect())
}

#[cfg(test)]
mod tests {
    use crate::haproxy::supervisor::field;

    #[test]
    fn a_process_goes_by_its_number_in_the_innermost_namespace() {
        let status = "Name:\thaproxy\nPPid:\t4711\nNSpid:\t4712\t8\n";
        assert_eq!(field(status, "NSpid:"), Some(8));
        assert_eq!(field(status, "PPid:"), Some(4711));
        assert_eq!(field("Name:\thaproxy\n", "NSpid:"), None);
    }
}
