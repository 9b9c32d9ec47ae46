//! HAProxy's Runtime API: one command a connection, each with a deadline and a bounded answer.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::haproxy::tables;
use crate::model::proxy::SeenServer;
use crate::outside::{Error, Result};
use crate::unix;

/// Of each read and write; HAProxy answers in well under a millisecond.
const TIMEOUT: Duration = Duration::from_secs(2);
/// 1000 servers show as about 400 KB.
const ANSWER_MAX: u64 = 16 << 20;

pub(crate) struct Socket {
    path: PathBuf,
}

impl Socket {
    pub(crate) fn new(path: &Path) -> Socket {
        Socket { path: path.to_owned() }
    }

    pub(crate) fn ask(&self, command: &str) -> Result<String> {
        let exchange = || -> std::io::Result<String> {
            let mut stream = unix::connect(&self.path, TIMEOUT)?;
            stream.write_all(format!("{command}\n").as_bytes())?;
            let mut answer = Vec::new();
            stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
            Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        exchange().map_err(|err| {
            Error::caused(format!("haproxy does not answer at {}", self.path.display()), err)
        })
    }

    /// Of the process that owns the socket.
    pub(crate) fn pid(&self) -> Result<u32> {
        let info = self.ask("show info")?;
        let pid = info.lines().find_map(|l| l.strip_prefix("Pid: ")?.trim().parse().ok());
        pid.ok_or_else(|| Error::new("haproxy: `show info` names no Pid"))
    }

    pub(crate) fn servers(&self) -> Result<Vec<SeenServer>> {
        let states = self.ask("show servers state")?;
        let stats = self.ask("show stat")?;
        tables::servers(&states, &stats)
    }

    /// In the form that a new process reads.
    pub(crate) fn states(&self) -> Result<String> {
        self.ask("show servers state")
    }
}
