//! HAProxy's Runtime API: one connection for each command, with a deadline and a bounded answer.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::haproxy::stats_csv;
use crate::model::proxy::{BackendCounts, Connections, SeenServer};
use crate::model::replica::AdminState;
use crate::outside::{Clock, Error, Result};
use crate::unix;

/// Time for a whole exchange. HAProxy answers in well under a millisecond.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of an answer. 1000 servers take about 400 KB.
const ANSWER_MAX: usize = 16 << 20;

pub(crate) struct Socket {
    path: PathBuf,
    clock: Arc<dyn Clock>,
}

pub(crate) struct Look {
    pub(crate) process: u32,
    pub(crate) servers: Vec<SeenServer>,
    /// The states of the servers that wake services, by backend.
    pub(crate) wakes: BTreeMap<String, AdminState>,
    /// Without `process` and `is_current`, which the caller sets.
    pub(crate) counts: Vec<BackendCounts>,
    pub(crate) connections: Connections,
    /// It takes new servers with a cookie.
    pub(crate) takes_cookies: bool,
}

/// A number in the answer to `show info`.
pub(crate) fn info_number(info: &str, key: &str) -> Option<u64> {
    let value = |l: &str| l.strip_prefix(key)?.strip_prefix(':')?.trim().parse().ok();
    info.lines().find_map(value)
}

/// `add server` has the word `cookie` in 3.0.11, and not in 2.6.12.
fn takes_cookies(info: &str) -> bool {
    let version = info.lines().find_map(|line| line.strip_prefix("Version: "));
    let major = version.and_then(|version| version.split('.').next()?.parse().ok());
    major.is_some_and(|major: u32| 3 <= major)
}

impl Socket {
    pub(crate) fn new(path: &Path, clock: Arc<dyn Clock>) -> Socket {
        Socket { path: path.to_owned(), clock }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn ask(&self, command: &str) -> Result<String> {
        let until = self.clock.now().plus(TIMEOUT);
        let exchange = || -> std::io::Result<String> {
            let mut stream = unix::connect(&self.path, TIMEOUT)?;
            // A command is short, so writing it does not block.
            stream.write_all(format!("{command}\n").as_bytes())?;
            let left = || until.since(self.clock.now());
            let answer = unix::read_all(&mut stream, ANSWER_MAX, left)?;
            Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        exchange().map_err(|err| {
            Error::caused(format!("haproxy does not answer at {}", self.path.display()), err)
        })
    }

    /// The number of the process that owns the socket.
    pub(crate) fn pid(&self) -> Result<u32> {
        let info = self.ask("show info")?;
        let pid = info_number(&info, "Pid").and_then(|pid| u32::try_from(pid).ok());
        pid.ok_or_else(|| Error::new("haproxy: `show info` names no Pid"))
    }

    /// The process that owns the socket and its servers, in one exchange: between two exchanges
    /// another process may have taken over.
    pub(crate) fn look(&self) -> Result<Look> {
        let answer = self.ask("show info;show servers state;show stat")?;
        let odd =
            || Error::new("haproxy: unexpected answer to `show info;show servers state;show stat`");
        let mut parts = answer.split("\n\n");
        let info = parts.next().ok_or_else(odd)?;
        let rest = (parts.next(), parts.next());
        let (states, stats) = rest.0.zip(rest.1).ok_or_else(odd)?;
        let process = info_number(info, "Pid").ok_or_else(odd)?;
        let process = u32::try_from(process).map_err(|_| odd())?;
        Ok(Look {
            process,
            servers: stats_csv::servers(states, stats)?,
            wakes: stats_csv::wakes(states),
            counts: stats_csv::counts(stats)?,
            takes_cookies: takes_cookies(info),
            connections: Connections {
                now: info_number(info, "CurrConns").unwrap_or(0),
                most: info_number(info, "Maxconn").unwrap_or(0),
            },
        })
    }

    pub(crate) fn servers(&self) -> Result<Vec<SeenServer>> {
        let states = self.ask("show servers state")?;
        let stats = self.ask("show stat")?;
        stats_csv::servers(&states, &stats)
    }

    /// The servers' states, as a new process reads them (`server-state-file`).
    pub(crate) fn states(&self) -> Result<String> {
        self.ask("show servers state")
    }
}
