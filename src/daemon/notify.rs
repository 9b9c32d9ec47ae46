//! Notifies the service manager by its protocol (sd_notify(3)): ready, reloading, stopping,
//! watchdog, and a status line. Does nothing without `NOTIFY_SOCKET` in the environment.
//!
//! Only the event loop's thread notifies. A tick that is stuck starves the watchdog, and is
//! restarted.

use std::env;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

use crate::clock;
use crate::model::status::Status;
use crate::model::time::Moment;

/// Send timeout. A manager that does not read must not block the loop; state is sent again.
const SEND_MAX: Duration = Duration::from_millis(100);

/// State that could not be sent is sent again after the next tick.
#[derive(Default)]
pub(crate) struct Notify {
    manager: Option<(UnixDatagram, SocketAddr)>,
    /// Watchdog interval: a third of the manager's timeout.
    feed_every: Option<Duration>,
    fed: Option<Moment>,
    ready: bool,
    status: String,
    complained: bool,
}

impl Notify {
    /// An unusable address is logged and ignored: scaling does not depend on it.
    pub(crate) fn from_environment() -> Notify {
        let Some(address) = env::var_os("NOTIFY_SOCKET") else { return Notify::default() };
        match open(&address) {
            Ok(manager) => {
                let number = |name| env::var(name).ok()?.parse().ok();
                let usec = number("WATCHDOG_USEC");
                let pid = number("WATCHDOG_PID");
                let feed_every = feed_every(usec, pid, process::id().into());
                Notify { manager: Some(manager), feed_every, ..Notify::default() }
            }
            Err(err) => {
                let words = format!("cannot use NOTIFY_SOCKET {}: {err}", address.display());
                log::warn!("message={words:?}");
                Notify::default()
            }
        }
    }

    /// After a tick, also one at which Docker did not answer: the daemon runs and reports that,
    /// and a manager that gave it up would change nothing.
    pub(crate) fn took_turn(&mut self, status: &Status) {
        let status = words(status);
        let mut lines = Vec::new();
        lines.extend((!self.ready).then(|| "READY=1".to_owned()));
        lines.extend((self.status != status).then(|| format!("STATUS={status}")));
        if !lines.is_empty() && self.tell(&lines.join("\n")) {
            self.ready = true;
            self.status = status;
        }
    }

    pub(crate) fn alive(&mut self, now: Moment) {
        let Some(every) = self.feed_every else { return };
        if self.fed.is_none_or(|fed| every <= now.since(fed)) && self.tell("WATCHDOG=1") {
            self.fed = Some(now);
        }
    }

    pub(crate) fn reloading(&mut self) {
        if !self.ready {
            return;
        }
        // `Type=notify-reload` alone needs it.
        let time = clock::since_boot_us().map(|us| format!("\nMONOTONIC_USEC={us}"));
        self.tell(&format!("RELOADING=1{}", time.unwrap_or_default()));
    }

    pub(crate) fn reloaded(&mut self) {
        self.ready = self.ready && self.tell("READY=1");
    }

    pub(crate) fn stopping(&mut self) {
        self.tell("STOPPING=1\nSTATUS=ending; replicas and HAProxy run on");
    }

    /// Whether everything was sent. Only the first failure is logged.
    fn tell(&mut self, message: &str) -> bool {
        let Some((socket, manager)) = &self.manager else { return true };
        let sent = socket.send_to_addr(message.as_bytes(), manager);
        if let Err(err) = &sent
            && !self.complained
        {
            self.complained = true;
            log::warn!("message={:?}", format!("cannot notify the service manager: {err}"));
        }
        sent.is_ok()
    }
}

/// A path, or a name in the abstract namespace behind an `@`.
fn open(address: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let manager = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(address)?,
        _ => return Err(io::Error::new(ErrorKind::InvalidInput, "neither a path nor an @name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(SEND_MAX))?;
    Ok((socket, manager))
}

/// `None` when the manager does not ask for it, or asks another process of the unit.
fn feed_every(usec: Option<u64>, pid: Option<u64>, own: u64) -> Option<Duration> {
    let is_meant = pid.is_none_or(|pid| pid == own);
    usec.filter(|usec| is_meant && 0 < *usec).map(|usec| Duration::from_micros(usec) / 3)
}

/// One line for `systemctl status`.
fn words(status: &Status) -> String {
    let count = status.services.len();
    let ready: u32 = status.services.iter().map(|s| s.decision.counts.ready).sum();
    let desired: u32 = status.services.iter().map(|s| s.decision.desired).sum();
    let mut out = match count {
        1 => format!("1 service, {ready} of {desired} replicas ready"),
        _ => format!("{count} services, {ready} of {desired} replicas ready"),
    };
    let troubles = [
        (status.docker_error.is_some(), "; Docker does not answer"),
        (status.old_proxies.is_none(), "; HAProxy does not answer"),
        (status.dry_run, "; a dry run"),
    ];
    troubles.iter().filter(|(holds, _)| *holds).for_each(|(_, words)| out.push_str(words));
    out
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::io::ErrorKind;
    use std::time::Duration;

    use crate::daemon::notify::{feed_every, open};

    #[test]
    fn only_the_process_that_is_meant_feeds_the_watchdog() {
        let third = Some(Duration::from_secs(20));
        for (usec, pid, want) in [
            (Some(60_000_000), None, third),
            (Some(60_000_000), Some(7), third),
            (Some(60_000_000), Some(8), None),
            (Some(0), None, None),
            (None, Some(7), None),
        ] {
            assert_eq!(feed_every(usec, pid, 7), want, "{usec:?} {pid:?}");
        }
    }

    #[test]
    fn an_address_is_a_path_or_an_abstract_name() {
        for good in ["/run/systemd/notify", "@plimsoll/notify"] {
            assert!(open(OsStr::new(good)).is_ok(), "{good}");
        }
        for bad in ["", "notify", "vsock:2:1234"] {
            assert_eq!(open(OsStr::new(bad)).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad}");
        }
        assert!(open(OsStr::new(&format!("/{}", "x".repeat(200)))).is_err());
    }
}
